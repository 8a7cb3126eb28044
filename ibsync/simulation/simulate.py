"""Studies with known truth: dyads whose coupling was planted, as arrays or as a study file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from .courses import Courses, Growth, Normals, Tie, attended, check_outcomes, courses_of, outcomes_of, therapist_of
from .haemoglobin import ATTENDANCE, DYADS, LENGTHS, OUTCOMES, SESSIONS, THERAPISTS, Design, Meeting, recorded

if TYPE_CHECKING:
    from pathlib import Path

    from ..recordings.recording import DyadRow, Recording
    from ..study.study import Study

EpochSpan = tuple[str, float, float]
Floats = NDArray[np.float64]

THERAPIST, STRANGER, CLIENT = "therapist", "stranger", "client"
_PLANTED, _GROWN = "planted_coupling", "planted_growth"
_OF_THERAPISTS, _OF_STRANGERS = 2, 3  # persons 0 and 1 are those of a dyad


@dataclass(frozen=True)
class Simulation:
    """Simulated signals and what was planted in them.

    Attributes
    ----------
    hbo, hbr : ndarray
        float32 [dyad, session, person, channel, time], mol/L. NaN where a session did not take place, or has ended.
    sfreq : float
        Sampling frequency in Hz.
    coupling : ndarray
        float64 [session, time]: the planted in-band correlation of the coupled channels of true partners, without
        `growth`.
    coupled_band : tuple of float
        Low and high edge in Hz.
    coupled_channels : tuple of str
        Channels that are coupled with the partner's channel of the same name.
    channels : tuple of str
        All channel names.
    planted : ndarray
        float64 [dyad, session]: mean coupling over each recording, with `growth`; NaN where a session did not take
        place.
    growth : ndarray
        float64 [dyad]: change of coupling per session.
    n_samples : ndarray
        int64 [dyad, session]: length of each recording; 0 where the session did not take place.
    outcomes : mapping of str to ndarray
        float64 [dyad, session], of all sessions.
    """

    hbo: NDArray[np.float32]
    hbr: NDArray[np.float32]
    sfreq: float
    coupling: Floats
    coupled_band: tuple[float, float]
    coupled_channels: tuple[str, ...]
    channels: tuple[str, ...]
    planted: Floats
    growth: Floats
    n_samples: NDArray[np.int64]
    outcomes: Mapping[str, Floats] = field(default_factory=dict)


class _Arguments(TypedDict, total=False):
    n_dyads: int
    n_sessions: int
    n_channels: int
    duration: float | Sequence[float]
    sfreq: float
    coupling: float | Sequence[float] | Mapping[str, float]
    coupled_band: tuple[float, float]
    coupled_pairs: Literal["same"] | float
    shared_stimulus: float
    lag: float
    epochs: Sequence[EpochSpan]
    groups: Sequence[str]
    growth: float | Growth
    outcomes: Mapping[str, Tie]
    therapists: int
    strangers: Sequence[int]
    transfer: float
    missing: float
    shortest: float
    motion: float
    seed: int


@overload
def simulate(path: None = None, **arguments: Unpack[_Arguments]) -> Simulation: ...


@overload
def simulate(path: str | Path, **arguments: Unpack[_Arguments]) -> Study: ...


def simulate(
    path: str | Path | None = None,
    *,
    n_dyads: int = 8,
    n_sessions: int = 1,
    n_channels: int = 6,
    duration: float | Sequence[float] = 300.0,
    sfreq: float = 10.0,
    coupling: float | Sequence[float] | Mapping[str, float] = 0.5,
    coupled_band: tuple[float, float] = (0.03, 0.08),
    coupled_pairs: Literal["same"] | float = "same",
    shared_stimulus: float = 0.0,
    lag: float = 0.0,
    epochs: Sequence[EpochSpan] = (),
    groups: Sequence[str] = (),
    growth: float | Growth = 0.0,
    outcomes: Mapping[str, Tie] | None = None,
    therapists: int = 0,
    strangers: Sequence[int] = (),
    transfer: float = 0.0,
    missing: float = 0.0,
    shortest: float = 1.0,
    motion: float = 0.0,
    seed: int = 0,
) -> Simulation | Study:
    """Return a study whose coupling is known, as arrays or as a study file.

    One seed gives one study: the signal of a person depends on the seed, the dyad, the session and the person, and
    not on how many dyads, sessions or channels come after them.

    Parameters
    ----------
    path : str or Path, optional
        Study file to write, whole or not at all. Without it the arrays are returned.
    n_dyads, n_sessions, n_channels : int
        Size of the study; each dyad has two persons of its own, but for `therapists`.
    duration : float or sequence of float
        Length of each recording in s; or one length per session.
    sfreq : float
        Sampling frequency in Hz.
    coupling : float, sequence or mapping
        In-band correlation of coupled channels of true partners, 0 to 1; one value per session; or a mapping from the
        label of an epoch to the value within it (0 elsewhere).
    coupled_band : tuple of float
        Low and high edge of the shared component in Hz.
    coupled_pairs : "same" or float
        "same": every channel is coupled with the partner's channel of the same name. A fraction from 0 to 1: only the
        first channels, rounded to whole ones, are.
    shared_stimulus : float
        In-band correlation that all persons have in common, as from one stimulus that everybody sees; re-pairing does
        not count it as synchrony. `coupling` + `shared_stimulus` is at most 1.
    lag : float
        Delay in s by which person B follows person A in the shared component.
    epochs : sequence of (label, start, stop)
        Events to write, in s from the first sample.
    groups : sequence of str
        Group labels, given to the dyads in turn.
    growth : float or Growth
        Change of coupling per session; or what dyads, their sessions and therapists differ in as well. It is added to
        `coupling` (where `coupling` names epochs, within these), and the sum kept within 0 and 1 - `shared_stimulus`.
    outcomes : mapping of name to (what, correlation) or None
        Numbers of dyads (mean 0, standard deviation 1) tied to "level", their mean coupling over all sessions, or
        "growth", their change per session; scores of each session tied to "session", its deviation from the line of
        its dyad; or either tied to an outcome that stands before. None: tied to nothing. ``{"age": ("level", 0.5),
        "symptoms": ("age", 0.7)}`` makes symptoms go with synchrony through age alone. The truth is meant before
        coupling is kept within its limits.
    therapists : int
        So many persons are shared as second persons, by the dyads in turn; 0: each dyad has its own. A therapist is
        recorded with each client apart.
    strangers : sequence of int
        Sessions, by number, in which each first person also meets a stranger, another one each time; 0 is before the
        first session, `n_sessions` + 1 after the last. Only with `path`.
    transfer : float
        Share of what a dyad gained since the first session that its first person shows with a stranger. Besides, each
        meeting with a stranger deviates from the level by itself as dyads and sessions do.
    missing : float
        Share of sessions, at random, that did not take place; each dyad keeps one at least. Strangers always come.
    shortest : float
        Recordings last a random share, between this and 1, of their duration.
    motion : float
        Artefacts of motion of each person per minute, at random: half spikes of up to 10, half lasting steps of up to
        4 standard deviations, in all channels at once.
    seed : int
        Seed of everything random.

    Returns
    -------
    Simulation or Study
        Arrays and truth without a path; the opened study file with one. Its dyads carry the `outcomes` and
        "planted_coupling", the mean coupling over the recording; with `growth` also "planted_growth", the dyad's
        change per session. First persons have role "client", second ones "therapist" or "stranger" where there are
        `therapists` or `strangers`, else "a" and "b". Where there are strangers the task tells the kind of partner.

    Raises
    ------
    PlanError
        If an argument is out of its range, or the recording has no frequency inside the coupled band.

    Examples
    --------
    >>> grown = simulate(n_dyads=3, n_sessions=4, growth=Growth(mean=0.05, sd=0.02), outcomes={"gain": ("growth", 0.6)})
    >>> grown.planted.shape, grown.growth.shape, list(grown.outcomes)
    ((3, 4), (3,), ['gain'])
    """
    _check_sizes(n_dyads=n_dyads, n_sessions=n_sessions, n_channels=n_channels)
    durations = _durations(duration, n_sessions)
    n_times = max(_n_times(seconds, sfreq) for seconds in durations)
    least = _share("shortest", shortest) * min(durations)
    _n_times(least, sfreq)
    spans = _checked_epochs(epochs, least)
    grows = growth if isinstance(growth, Growth) else Growth(mean=growth)
    ties = dict(outcomes or {})
    check_outcomes(ties, grows, n_sessions, taken=(_PLANTED, _GROWN))
    plan = _Plan(
        design=Design(
            n_channels=n_channels,
            n_times=n_times,
            sfreq=float(sfreq),
            coupled_band=_checked_band(coupled_band, least, sfreq),
            n_coupled=_n_coupled(coupled_pairs, n_channels),
            shared_stimulus=_fraction("shared_stimulus", shared_stimulus),
            lag_s=float(lag),
            motion_per_min=_rate(motion),
            seed=_checked_seed(seed),
        ),
        n_dyads=n_dyads,
        durations=durations,
        course=_coupling_course(coupling, spans, n_sessions, n_times, sfreq, coupled_band),
        coupled_share=_coupled_share(coupling, spans, n_times, sfreq, coupled_band),
        growth=grows,
        ties=ties,
        n_therapists=_whole("therapists", therapists),
        strangers=_checked_strangers(strangers, n_sessions, in_file=path is not None),
        transfer=_finite("transfer", transfer),
        missing=_fraction("missing", missing),
        shortest=shortest,
        channels=tuple(f"S{i}_D{i}" for i in range(1, n_channels + 1)),
        epochs=spans,
        groups=tuple(groups),
    )
    if plan.course.max() + plan.design.shared_stimulus > 1 + 1e-12:
        raise PlanError("simulate: coupling + shared_stimulus exceeds 1; lower one of them")
    return _arrays(plan) if path is None else _study_file(path, plan)


# --- what is planted --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Plan:
    """
    A study to be simulated; every field is checked by `simulate`.

    Parameters
    ----------
    design : Design
    n_dyads : int
    durations : tuple of float
        Of the sessions, in s.
    course : float64 [session, time]
        Coupling before growth.
    coupled_share : float64 [time]
        Where growth is added, from 0 to 1.
    """

    design: Design
    n_dyads: int
    durations: tuple[float, ...]
    course: Floats
    coupled_share: Floats
    growth: Growth
    ties: Mapping[str, Tie]
    n_therapists: int
    strangers: tuple[int, ...]
    transfer: float
    missing: float
    shortest: float
    channels: tuple[str, ...]
    epochs: tuple[EpochSpan, ...]
    groups: tuple[str, ...]

    @property
    def n_sessions(self) -> int:
        return len(self.durations)

    def therapist(self, dyad: int) -> int:
        """Number of the therapist, where therapists are shared."""
        return therapist_of(dyad, self.n_therapists, len(self.groups))

    def group(self, dyad: int) -> str:
        return self.groups[dyad % len(self.groups)] if self.groups else ""


@dataclass(frozen=True)
class _Person:
    """Somebody in a meeting: name, role, and the name of the recording without its session."""

    name: str
    role: str
    recording: str


@dataclass(frozen=True)
class _Row:
    """
    One meeting with its labels.

    Parameters
    ----------
    at : (dyad, session)
        Numbers, from 0.
    dyad, session, task, group : str
    people : pair of _Person
    meeting : Meeting
    n_samples : int
    outcomes : mapping of str to float
    """

    at: tuple[int, int]
    dyad: str
    session: str
    task: str
    group: str
    people: tuple[_Person, _Person]
    meeting: Meeting
    n_samples: int
    outcomes: Mapping[str, float]


@dataclass(frozen=True)
class _Truth:
    """
    What is drawn of a study before any signal.

    Parameters
    ----------
    courses : Courses
    outcomes : mapping of str to float64 [dyad, session]
    attended : bool [dyad, session]
    n_samples : int64 [dyad, session]
    """

    courses: Courses
    outcomes: Mapping[str, Floats]
    attended: NDArray[np.bool_]
    n_samples: NDArray[np.int64]


def _truth(plan: _Plan) -> _Truth:
    normals = Normals(
        dyads=_drawn(plan, DYADS, 2),
        sessions=_drawn(plan, SESSIONS, plan.n_sessions),
        therapists=_drawn(plan, THERAPISTS, 2, plan.n_therapists),
        outcomes=lambda name: _drawn(plan, OUTCOMES, 1 + plan.n_sessions, key=tuple(name.encode())),
    )
    of_dyads = np.array([plan.therapist(dyad) for dyad in range(plan.n_dyads)]) if plan.n_therapists else None
    courses = courses_of(plan.growth, normals, of_dyads)
    lasting = plan.shortest + (1 - plan.shortest) * _drawn(plan, LENGTHS, plan.n_sessions, uniform=True)
    return _Truth(
        courses=courses,
        outcomes=outcomes_of(plan.ties, plan.growth, courses, normals.outcomes),
        attended=attended(_drawn(plan, ATTENDANCE, plan.n_sessions, uniform=True), plan.missing),
        n_samples=np.rint(lasting * plan.durations * plan.design.sfreq).astype(np.int64),
    )


def _drawn(
    plan: _Plan, purpose: int, n: int, n_rows: int | None = None, *, key: tuple[int, ...] = (), uniform: bool = False
) -> Floats:
    """Random numbers [row, n], each row from a stream of its own; rows are dyads unless said otherwise."""
    streams = [plan.design.generator(purpose, row, *key) for row in range(plan.n_dyads if n_rows is None else n_rows)]
    rows = [stream.random(n) if uniform else stream.standard_normal(n) for stream in streams]
    return np.array(rows).reshape(len(rows), n)


def _rows(plan: _Plan, truth: _Truth) -> list[_Row]:
    """All meetings: those of the dyads, session by session, each dyad followed by its strangers."""
    rows = []
    for dyad in range(plan.n_dyads):
        rows += [_of_partners(plan, truth, dyad, int(session)) for session in np.flatnonzero(truth.attended[dyad])]
        rows += [_with_stranger(plan, truth, dyad, number) for number in plan.strangers]
    return rows


def _of_partners(plan: _Plan, truth: _Truth, dyad: int, session: int) -> _Row:
    """A dyad in one of its sessions."""
    coupling = plan.course[session] + truth.courses.values[dyad, session] * plan.coupled_share
    name, labelled = f"d{dyad + 1:02d}", bool(plan.n_therapists or plan.strangers)
    first = _person(f"p{dyad + 1:02d}a", CLIENT if labelled else "a")
    second, rhythms = _person(f"p{dyad + 1:02d}b", THERAPIST if labelled else "b"), (dyad, 1)
    if plan.n_therapists:
        therapist = plan.therapist(dyad)
        shared = f"t{therapist + 1:02d}"
        second, rhythms = _Person(shared, THERAPIST, f"{shared}_{name}"), (therapist, _OF_THERAPISTS)
    meeting = Meeting((dyad, session), ((dyad, 0), rhythms), (session,), _kept(plan, coupling))
    told = {outcome: float(values[dyad, session]) for outcome, values in truth.outcomes.items()}
    if plan.growth != Growth():
        told[_GROWN] = float(truth.courses.growth[dyad])
    task = THERAPIST if plan.strangers else "simulated"
    return _row(plan, truth, (dyad, session), name, task, (first, second), meeting, told)


def _with_stranger(plan: _Plan, truth: _Truth, dyad: int, number: int) -> _Row:
    """The first person of a dyad with somebody whom nobody has met before, in a session by its number."""
    session = min(max(number - 1, 0), plan.n_sessions - 1)
    line, share = truth.courses.line[dyad], plan.coupled_share
    gain = plan.course[session] - plan.course[0] + (line[session] - line[0]) * share
    spread = (plan.growth.level_sd, plan.growth.session_sd)
    own = float(np.dot(spread, plan.design.generator(SESSIONS, dyad, number, 1).standard_normal(2)))
    coupling = plan.course[0] + plan.transfer * gain + own * share
    client = f"p{dyad + 1:02d}a"
    people = (
        _Person(client, CLIENT, f"{client}_{STRANGER}"),
        _person(f"p{dyad + 1:02d}x{number}", STRANGER),
    )
    rhythms = ((dyad, 0), (dyad, _OF_STRANGERS + number))
    meeting = Meeting((dyad, number, 1), rhythms, (number, 1), _kept(plan, coupling))
    row = _row(plan, truth, (dyad, session), f"d{dyad + 1:02d}x{number}", STRANGER, people, meeting, {})
    return replace(row, session=f"{number}")


def _row(
    plan: _Plan,
    truth: _Truth,
    at: tuple[int, int],
    dyad: str,
    task: str,
    people: tuple[_Person, _Person],
    meeting: Meeting,
    told: Mapping[str, float],
) -> _Row:
    n_samples = int(truth.n_samples[at])
    told = {_PLANTED: float(meeting.coupling[:n_samples].mean()), **told}
    return _Row(at, dyad, f"{at[1] + 1}", task, plan.group(at[0]), people, meeting, n_samples, told)


def _person(name: str, role: str) -> _Person:
    """Somebody whose recordings need no other name than theirs."""
    return _Person(name, role, name)


def _kept(plan: _Plan, coupling: Floats) -> Floats:
    """Coupling within its limits."""
    return np.clip(coupling, 0.0, max(1 - plan.design.shared_stimulus, 0.0))


# --- arrays and files -------------------------------------------------------------------------------------------------


def _signals(plan: _Plan, row: _Row) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """HbO and HbR of a meeting while it lasts, float32 [person, channel, time]."""
    hbo, hbr = recorded(plan.design, row.meeting)
    return hbo[..., : row.n_samples], hbr[..., : row.n_samples]


def _arrays(plan: _Plan) -> Simulation:
    """All signals of a study in two arrays."""
    design, truth = plan.design, _truth(plan)
    size = (plan.n_dyads, plan.n_sessions)
    hbo, hbr = (np.full((*size, 2, design.n_channels, design.n_times), np.nan, np.float32) for _ in range(2))
    planted = np.full(size, np.nan)
    for row in _rows(plan, truth):
        hbo[row.at][..., : row.n_samples], hbr[row.at][..., : row.n_samples] = _signals(plan, row)
        planted[row.at] = row.outcomes[_PLANTED]
    return Simulation(
        hbo=hbo,
        hbr=hbr,
        sfreq=design.sfreq,
        coupling=plan.course,
        coupled_band=design.coupled_band,
        coupled_channels=plan.channels[: design.n_coupled],
        channels=plan.channels,
        planted=planted,
        growth=truth.courses.growth,
        n_samples=np.where(truth.attended, truth.n_samples, 0),
        outcomes=truth.outcomes,
    )


def _study_file(path: str | Path, plan: _Plan) -> Study:
    """Write the study and open it."""
    from ..recordings.study_file import write_study
    from ..study.study import Study

    rows = _rows(plan, _truth(plan))
    write_study(path, _recordings(plan, rows), _participants(rows), [_dyad_row(plan, row) for row in rows])
    return Study.open(path)


def _recordings(plan: _Plan, rows: Sequence[_Row]) -> Iterator[tuple[Recording, dict[str, NDArray[np.float32]]]]:
    """Each recording with its signals, one meeting in memory at a time."""
    for row in rows:
        hbo, hbr = _signals(plan, row)
        for person in range(2):
            yield _recording(plan, row, person), {"hbo": hbo[person], "hbr": hbr[person]}


def _recording(plan: _Plan, row: _Row, person: int) -> Recording:
    """What describes one recording, without its signals."""
    from ..recordings.recording import Event, Recording

    who = row.people[person]
    return Recording(
        id=f"{who.recording}_s{row.session}",
        participant=who.name,
        session=row.session,
        task=row.task,
        run="1",
        sfreq=plan.design.sfreq,
        n_samples=row.n_samples,
        t0=0.0,
        channels=plan.channels,
        signal_names=("hbo", "hbr"),
        good=(True,) * plan.design.n_channels,
        events=tuple(Event(start, stop - start, label, 1.0) for label, start, stop in plan.epochs),
        source_file="simulated",
        montage="simulated",
        units="mol/L",
    )


def _participants(rows: Sequence[_Row]) -> dict[str, dict[str, str]]:
    """Table of persons: role and group of each; a therapist who works in several groups is in none."""
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        for who in row.people:
            known = found.setdefault(who.name, {"role": who.role, "group": row.group})
            if known["group"] != row.group:
                known["group"] = ""
    return found


def _dyad_row(plan: _Plan, row: _Row) -> DyadRow:
    """One row of the table of dyads."""
    from ..recordings.recording import DyadRow

    first, second = row.people
    return DyadRow(
        dyad=row.dyad,
        session=row.session,
        task=row.task,
        recording_a=_recording(plan, row, 0),
        recording_b=_recording(plan, row, 1),
        person_a=first.name,
        person_b=second.name,
        role_a=first.role,
        role_b=second.role,
        group=row.group,
        use=True,
        outcomes=row.outcomes,
    )


# --- what is asked for ------------------------------------------------------------------------------------------------


def _check_sizes(**counts: int) -> None:
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
            raise PlanError(f"simulate: {name} = {count!r} must be a whole number of at least 1")


def _whole(name: str, count: int) -> int:
    if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 0:
        raise PlanError(f"simulate: {name} = {count!r} must be a whole number of at least 0")
    return int(count)


def _finite(name: str, number: float) -> float:
    if isinstance(number, bool | str) or not np.isfinite(number):
        raise PlanError(f"simulate: {name} = {number!r} must be a number")
    return float(number)


def _rate(motion: float) -> float:
    if _finite("motion", motion) < 0:
        raise PlanError(f"simulate: motion = {motion!r} artefacts per minute must be at least 0")
    return float(motion)


def _share(name: str, number: float) -> float:
    if isinstance(number, bool | str) or not 0 < number <= 1:
        raise PlanError(f"simulate: {name} = {number!r} must lie above 0 and at most at 1")
    return float(number)


def _checked_strangers(sessions: Sequence[int], n_sessions: int, *, in_file: bool) -> tuple[int, ...]:
    """Sessions with strangers, by number."""
    last = n_sessions + 1
    for session in sessions:
        if isinstance(session, bool) or not isinstance(session, int | np.integer) or not 0 <= session <= last:
            raise PlanError(
                f"simulate: strangers has session {session!r}; give numbers from 0 (before) to {last} (after)"
            )
    if len(set(sessions)) < len(sessions):
        raise PlanError(f"simulate: strangers = {tuple(sessions)} names a session twice; name each once")
    if len(sessions) and not in_file:
        raise PlanError("simulate: strangers come in a study file only; give path")
    return tuple(int(session) for session in sessions)


def _durations(duration: float | Sequence[float], n_sessions: int) -> tuple[float, ...]:
    """Length of each session in s."""
    values = np.asarray(duration, np.float64)
    if values.ndim > 1 or values.size not in (1, n_sessions):
        raise PlanError(f"simulate: duration has {values.size} values for {n_sessions} sessions; give one, or one each")
    return tuple(float(seconds) for seconds in np.broadcast_to(values.reshape(-1), n_sessions))


def _n_times(duration: float, sfreq: float) -> int:
    """Number of samples of a recording."""
    for name, number in (("duration", duration), ("sfreq", sfreq)):
        if not (np.isfinite(number) and number > 0):
            raise PlanError(f"simulate: {name} = {number!r} must be a positive number")
    n_times = round(duration * sfreq)
    if n_times < 16:
        raise PlanError(f"simulate: {duration:g} s at {sfreq:g} Hz are {n_times} samples; at least 16 are needed")
    return n_times


def _checked_epochs(epochs: Sequence[EpochSpan], duration: float) -> tuple[EpochSpan, ...]:
    """Epochs as (label, start, stop), each inside the recording."""
    for label, start, stop in epochs:
        if not 0 <= start < stop <= duration:
            raise PlanError(
                f"simulate: epoch {label!r}, {start:g} to {stop:g} s, does not lie inside the {duration:g} s recording"
            )
    return tuple((str(label), float(start), float(stop)) for label, start, stop in epochs)


def _checked_band(band: tuple[float, float], duration: float, sfreq: float) -> tuple[float, float]:
    """The coupled band, if the recording can hold at least one cycle of it."""
    low, high = (float(edge) for edge in band)
    nyquist = sfreq / 2
    if not 0 < low < high <= nyquist:
        raise PlanError(
            f"simulate: coupled_band ({low:g}, {high:g}) Hz must rise from above 0 to at most {nyquist:g} Hz (Nyquist)"
        )
    if (high - low) * duration < 1:
        raise PlanError(
            f"simulate: coupled_band ({low:g}, {high:g}) Hz is narrower than one cycle of {duration:g} s; widen it"
        )
    return low, high


def _n_coupled(coupled_pairs: Literal["same"] | float, n_channels: int) -> int:
    """How many channels are coupled with their namesake."""
    if coupled_pairs == "same":
        return n_channels
    if isinstance(coupled_pairs, str):
        raise PlanError(f'simulate: coupled_pairs = {coupled_pairs!r} must be "same" or a fraction from 0 to 1')
    return round(_fraction("coupled_pairs", coupled_pairs) * n_channels)


def _fraction(name: str, number: float) -> float:
    if isinstance(number, str) or not 0 <= number <= 1:
        raise PlanError(f"simulate: {name} = {number!r} must lie between 0 and 1")
    return float(number)


def _checked_seed(seed: int) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise PlanError(f"simulate: seed = {seed!r} must be a whole number of at least 0")
    return int(seed)


def _coupling_course(
    coupling: float | Sequence[float] | Mapping[str, float],
    epochs: tuple[EpochSpan, ...],
    n_sessions: int,
    n_times: int,
    sfreq: float,
    band: tuple[float, float],
) -> NDArray[np.float64]:
    """Coupling over time, float64 [session, time]."""
    if isinstance(coupling, Mapping):
        course = _epoch_course(coupling, epochs, n_times, sfreq)
        return np.tile(_smoothed(course, _ramp(sfreq, band)), (n_sessions, 1))
    values = np.asarray(coupling, np.float64)
    if values.ndim > 1 or values.size not in (1, n_sessions):
        raise PlanError(f"simulate: coupling has {values.size} values for {n_sessions} sessions; give one, or one each")
    for value in values.flat:
        _fraction("coupling", float(value))
    return np.broadcast_to(np.atleast_1d(values)[:, None], (n_sessions, n_times))


def _coupled_share(
    coupling: object, epochs: tuple[EpochSpan, ...], n_times: int, sfreq: float, band: tuple[float, float]
) -> NDArray[np.float64]:
    """Where growth is added to the coupling, from 0 to 1: float64 [time]."""
    if not isinstance(coupling, Mapping):
        return np.ones(n_times)
    return _smoothed(_epoch_course(dict.fromkeys(coupling, 1.0), epochs, n_times, sfreq), _ramp(sfreq, band))


def _ramp(sfreq: float, band: tuple[float, float]) -> int:
    """Samples of one cycle."""
    return round(sfreq / float(np.mean(band)))


def _epoch_course(
    coupling: Mapping[str, float], epochs: tuple[EpochSpan, ...], n_times: int, sfreq: float
) -> NDArray[np.float64]:
    """Coupling that is switched on during epochs, float64 [time]."""
    unknown = sorted(set(coupling) - {label for label, _, _ in epochs})
    if unknown:
        raise PlanError(f"simulate: coupling names the epoch {unknown[0]!r}, which is not among epochs")
    course = np.zeros(n_times)
    for label, start, stop in epochs:
        course[round(start * sfreq) : round(stop * sfreq)] = _fraction("coupling", coupling.get(label, 0.0))
    return course


def _smoothed(course: NDArray[np.float64], n_width: int) -> NDArray[np.float64]:
    """The course with ramps of one cycle instead of steps, which would spread over all frequencies."""
    width = max(1, min(n_width, course.size // 4))
    window = np.hanning(width + 2)[1:-1]
    padded = np.pad(course, (width // 2, width - 1 - width // 2), mode="edge")
    return np.convolve(padded, window / window.sum(), mode="valid")
