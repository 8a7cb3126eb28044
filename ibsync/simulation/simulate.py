"""Studies with known truth: dyads whose coupling is simulated, as arrays or as a study file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from ..recordings.names import as_path
from ..recordings.output_kinds import STUDY
from ..recordings.recording import DyadRow, Event, Recording
from ..recordings.whole_files import Output
from .checks import fraction, is_whole, number, positive_fraction, whole
from .courses import Courses, Growth, Normals, Roster, Tie, attended, check_outcomes, courses_of, outcomes_of
from .haemoglobin import ATTENDANCE, DYADS, LENGTHS, OUTCOMES, SESSIONS, THERAPISTS, Design, Meeting, recorded

if TYPE_CHECKING:
    from ..study.study import Study

EpochSpan = tuple[str, float, float]
Floats = NDArray[np.float64]

THERAPIST, STRANGER, CLIENT = "therapist", "stranger", "client"
_COUPLING, _GROWTH = "simulated_coupling", "simulated_growth"
_OF_THERAPISTS, _OF_STRANGERS = 2, 3  # persons 0 and 1 are those of a dyad


@dataclass(frozen=True)
class Simulation:
    """Simulated signals and their truth.

    Attributes
    ----------
    hbo, hbr : ndarray
        float32 [dyad, session, person, channel, time], mol/L. NaN where a session did not take place, or has ended.
    sfreq : float
        Sampling frequency in Hz.
    coupling : ndarray
        float64 [session, time]: the in-band correlation of the coupled channels of true partners, without `growth`.
    coupled_band : tuple of float
        Low and high edge in Hz.
    coupled_channels : tuple of str
        Channels that are coupled with the partner's channel of the same name.
    channels : tuple of str
        All channel names.
    mean_coupling : ndarray
        float64 [dyad, session]: mean over each recording, with `growth`; NaN where a session did not take place.
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
    mean_coupling: Floats
    growth: Floats
    n_samples: NDArray[np.int64]
    outcomes: Mapping[str, Floats] = field(default_factory=dict)


# The arguments are declared once, below.
@overload
def simulate(path: None = None, **arguments: Any) -> Simulation: ...


@overload
def simulate(path: str | Path, **arguments: Any) -> Study: ...


def simulate(  # type: ignore[misc]
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
    overwrite: bool = False,
) -> Simulation | Study:
    """Return a study whose coupling is known, as arrays or as a study file.

    One seed gives one study: the signal of a person depends on the seed, the dyad, the session and the person, and
    not on how many dyads, sessions or channels come after them.

    Parameters
    ----------
    path : str or Path, optional
        Study file to write, whole or not at all; it replaces an older study. Without it the arrays are returned.
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
    overwrite : bool
        Replace a file that is no study.

    Returns
    -------
    Simulation or Study
        Arrays and truth without a path; the opened study file with one. Its dyads carry the `outcomes` and
        "simulated_coupling", the mean coupling over the recording; with `growth` also "simulated_growth", the dyad's
        change per session. First persons have role "client", second ones "therapist" or "stranger" where there are
        `therapists` or `strangers`, else "a" and "b". Where there are strangers the task tells the kind of partner.

    Raises
    ------
    PlanError
        If an argument is out of its range, or the recording has no frequency inside the coupled band.

    Examples
    --------
    >>> grown = simulate(n_dyads=3, n_sessions=4, growth=Growth(mean=0.05, sd=0.02), outcomes={"gain": ("growth", 0.6)})
    >>> grown.mean_coupling.shape, grown.growth.shape, list(grown.outcomes)
    ((3, 4), (3,), ['gain'])
    """
    for name, count in (("n_dyads", n_dyads), ("n_sessions", n_sessions), ("n_channels", n_channels)):
        whole(f"simulate: {name}", count, 1)
    durations = tuple(_of_sessions("duration", duration, n_sessions).tolist())
    n_times = max(_n_times(seconds, sfreq) for seconds in durations)
    least = positive_fraction("simulate: shortest", shortest) * min(durations)
    _n_times(least, sfreq)
    spans = _checked_epochs(epochs, least)
    change = growth if isinstance(growth, Growth) else Growth(mean=growth)
    ties = dict(outcomes or {})
    check_outcomes(ties, change, n_sessions, taken=(_COUPLING, _GROWTH))
    design = Design(
        n_channels=n_channels,
        n_times=n_times,
        sfreq=float(sfreq),
        coupled_band=_checked_band(coupled_band, least, sfreq),
        n_coupled=_n_coupled(coupled_pairs, n_channels),
        shared_stimulus=fraction("simulate: shared_stimulus", shared_stimulus),
        lag_s=float(lag),
        motion_per_min=_rate(motion),
        seed=whole("simulate: seed", seed),
    )
    course, coupled_share = _coupling_course(coupling, spans, n_sessions, design)
    study = _Study(
        design=design,
        n_dyads=n_dyads,
        durations=durations,
        course=course,
        coupled_share=coupled_share,
        change=change,
        ties=ties,
        roster=Roster(whole("simulate: therapists", therapists), tuple(groups)),
        strangers=_checked_strangers(strangers, n_sessions, in_file=path is not None),
        transfer=number("simulate: transfer", transfer),
        missing=fraction("simulate: missing", missing),
        shortest=shortest,
        epochs=spans,
    )
    if course.max() + design.shared_stimulus > 1 + 1e-12:
        raise PlanError("simulate: coupling + shared_stimulus exceeds 1; lower one of them")
    return _arrays(study) if path is None else _study_file(Output(as_path(path), STUDY, overwrite=overwrite), study)


# --- the truth --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Study:
    """A study to be simulated, checked by `simulate`, and what is drawn of it before any signal.

    `durations` are those of the sessions in s, `course` [session, time] the coupling before growth, `coupled_share`
    [time] where growth is added, from 0 to 1.
    """

    design: Design
    n_dyads: int
    durations: tuple[float, ...]
    course: Floats
    coupled_share: Floats
    change: Growth
    ties: Mapping[str, Tie]
    roster: Roster
    strangers: tuple[int, ...]
    transfer: float
    missing: float
    shortest: float
    epochs: tuple[EpochSpan, ...]

    @property
    def n_sessions(self) -> int:
        return len(self.durations)

    @property
    def channels(self) -> tuple[str, ...]:
        return tuple(f"S{i}_D{i}" for i in range(1, self.design.n_channels + 1))

    @cached_property
    def normals(self) -> Normals:
        return Normals(
            dyads=self._normal(DYADS, 2),
            sessions=self._normal(SESSIONS, self.n_sessions),
            therapists=self._normal(THERAPISTS, 2, self.roster.n_therapists),
            outcomes=lambda name: self._normal(OUTCOMES, 1 + self.n_sessions, key=tuple(name.encode())),
        )

    @cached_property
    def courses(self) -> Courses:
        return courses_of(self.change, self.normals, self.roster.therapists(self.n_dyads))

    @cached_property
    def outcomes(self) -> dict[str, Floats]:
        return outcomes_of(self.ties, self.change, self.courses, self.normals.outcomes)

    @cached_property
    def attended(self) -> NDArray[np.bool_]:
        return attended(self._uniform(ATTENDANCE), self.missing)

    @cached_property
    def n_samples(self) -> NDArray[np.int64]:
        share = self.shortest + (1 - self.shortest) * self._uniform(LENGTHS)
        return np.rint(share * self.durations * self.design.sfreq).astype(np.int64)

    def _normal(self, purpose: int, n: int, n_rows: int | None = None, key: tuple[int, ...] = ()) -> Floats:
        """Normal numbers [row, n], each row from a stream of its own; rows are dyads unless said otherwise."""
        rows = range(self.n_dyads if n_rows is None else n_rows)
        normals = [self.design.generator(purpose, row, *key).standard_normal(n) for row in rows]
        return np.array(normals).reshape(len(rows), n)

    def _uniform(self, purpose: int) -> Floats:
        """Uniform numbers [dyad, session]."""
        streams = [self.design.generator(purpose, dyad) for dyad in range(self.n_dyads)]
        return np.array([stream.random(self.n_sessions) for stream in streams])

    def within_limits(self, coupling: Floats) -> Floats:
        return np.clip(coupling, 0.0, max(1 - self.design.shared_stimulus, 0.0))


@dataclass(frozen=True)
class _Session:
    """Two people recorded once: numbers of dyad and session, what is synthesised, and their row of the study file."""

    at: tuple[int, int]
    meeting: Meeting
    row: DyadRow

    def signals(self, design: Design) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """HbO and HbR while it lasts, float32 [person, channel, time]."""
        hbo, hbr = recorded(design, self.meeting)
        n_samples = self.row.recording_a.n_samples
        return hbo[..., :n_samples], hbr[..., :n_samples]


def _sessions(study: _Study) -> Iterator[_Session]:
    """Those of the dyads, session by session, each dyad followed by its strangers."""
    for dyad in range(study.n_dyads):
        yield from (_of_partners(study, dyad, int(session)) for session in np.flatnonzero(study.attended[dyad]))
        yield from (_with_stranger(study, dyad, number) for number in study.strangers)


def _of_partners(study: _Study, dyad: int, session: int) -> _Session:
    """A dyad in one of its sessions."""
    coupling = study.course[session] + study.courses.values[dyad, session] * study.coupled_share
    name, first, second = study.roster.names(dyad)
    roles = (CLIENT, THERAPIST) if study.roster.n_therapists or study.strangers else ("a", "b")
    rhythms, recording = (dyad, 1), second
    if study.roster.n_therapists:
        rhythms, recording = (study.roster.therapist(dyad), _OF_THERAPISTS), f"{second}_{name}"
    meeting = Meeting((dyad, session), ((dyad, 0), rhythms), (session,), study.within_limits(coupling))
    truth = {outcome: float(values[dyad, session]) for outcome, values in study.outcomes.items()}
    if study.change != Growth():
        truth[_GROWTH] = float(study.courses.growth[dyad])
    task = THERAPIST if study.strangers else "simulated"
    people = ((first, roles[0], first), (second, roles[1], recording))
    return _session(study, (dyad, session), meeting, (name, f"{session + 1}", task), people, truth)


def _with_stranger(study: _Study, dyad: int, number: int) -> _Session:
    """The first person of a dyad with somebody whom nobody has met before, in a session by its number."""
    session = min(max(number - 1, 0), study.n_sessions - 1)
    line, share = study.courses.line[dyad], study.coupled_share
    gain = study.course[session] - study.course[0] + (line[session] - line[0]) * share
    spread = (study.change.level_sd, study.change.session_sd)
    own = float(np.dot(spread, study.design.generator(SESSIONS, dyad, number, 1).standard_normal(2)))
    coupling = study.within_limits(study.course[0] + study.transfer * gain + own * share)
    name, client, _ = study.roster.names(dyad)
    stranger = f"{client[:-1]}x{number}"
    people = ((client, CLIENT, f"{client}_{STRANGER}"), (stranger, STRANGER, stranger))
    rhythms = ((dyad, 0), (dyad, _OF_STRANGERS + number))
    meeting = Meeting((dyad, number, 1), rhythms, (number, 1), coupling)
    return _session(study, (dyad, session), meeting, (f"{name}x{number}", f"{number}", STRANGER), people, {})


def _session(
    study: _Study,
    at: tuple[int, int],
    meeting: Meeting,
    labels: tuple[str, str, str],
    people: Sequence[tuple[str, str, str]],
    truth: Mapping[str, float],
) -> _Session:
    """From labels (dyad, session, task), and the name, role and recording of both people."""
    n_samples = int(study.n_samples[at])
    dyad, session, task = labels
    (first, role_a, _), (second, role_b, _) = people
    a, b = (
        Recording(
            id=f"{recording}_s{session}",
            participant=name,
            session=session,
            task=task,
            run="1",
            sfreq=study.design.sfreq,
            n_samples=n_samples,
            t0=0.0,
            channels=study.channels,
            signal_names=("hbo", "hbr"),
            good=(True,) * study.design.n_channels,
            events=tuple(Event(start, stop - start, label, 1.0) for label, start, stop in study.epochs),
            source_file="simulated",
            montage="simulated",
            units="mol/L",
        )
        for name, _, recording in people
    )
    row = DyadRow(
        dyad, session, task, a, b, first, second, role_a, role_b, study.roster.group(at[0]),
        outcomes={_COUPLING: float(meeting.coupling[:n_samples].mean()), **truth},
    )  # fmt: skip
    return _Session(at, meeting, row)


# --- arrays and files -------------------------------------------------------------------------------------------------


def _arrays(study: _Study) -> Simulation:
    design, size = study.design, (study.n_dyads, study.n_sessions)
    hbo, hbr = (np.full((*size, 2, design.n_channels, design.n_times), np.nan, np.float32) for _ in range(2))
    mean_coupling = np.full(size, np.nan)
    for session in _sessions(study):
        n_samples = session.row.recording_a.n_samples
        hbo[session.at][..., :n_samples], hbr[session.at][..., :n_samples] = session.signals(design)
        mean_coupling[session.at] = session.row.outcomes[_COUPLING]
    return Simulation(
        hbo=hbo,
        hbr=hbr,
        sfreq=design.sfreq,
        coupling=study.course,
        coupled_band=design.coupled_band,
        coupled_channels=study.channels[: design.n_coupled],
        channels=study.channels,
        mean_coupling=mean_coupling,
        growth=study.courses.growth,
        n_samples=np.where(study.attended, study.n_samples, 0),
        outcomes=study.outcomes,
    )


def _study_file(output: Output, study: _Study) -> Study:
    from ..recordings.study_file import write_study
    from ..study.study import Study

    sessions = list(_sessions(study))
    rows = [session.row for session in sessions]
    write_study(output, _recordings(study.design, sessions), _participants(rows), rows)
    return Study.open(output.path)


def _recordings(
    design: Design, sessions: Sequence[_Session]
) -> Iterator[tuple[Recording, dict[str, NDArray[np.float32]]]]:
    """Each recording with its signals, one session in memory at a time."""
    for session in sessions:
        hbo, hbr = session.signals(design)
        for person, recording in enumerate((session.row.recording_a, session.row.recording_b)):
            yield recording, {"hbo": hbo[person], "hbr": hbr[person]}


def _participants(rows: Sequence[DyadRow]) -> dict[str, dict[str, str | float]]:
    """Table of persons: role and group of each; a therapist who works in several groups is in none."""
    people: dict[str, dict[str, str | float]] = {}
    for row in rows:
        for name, role in ((row.person_a, row.role_a), (row.person_b, row.role_b)):
            person = people.setdefault(name, {"role": role, "group": row.group})
            if person["group"] != row.group:
                person["group"] = ""
    return people


# --- checks -----------------------------------------------------------------------------------------------------------


def _rate(motion: float) -> float:
    if number("simulate: motion", motion) < 0:
        raise PlanError(f"simulate: motion = {motion!r} artefacts per minute must be at least 0")
    return float(motion)


def _checked_strangers(sessions: Sequence[int], n_sessions: int, *, in_file: bool) -> tuple[int, ...]:
    last = n_sessions + 1
    for session in sessions:
        if not is_whole(session, 0) or session > last:
            raise PlanError(
                f"simulate: strangers has session {session!r}; give numbers from 0 (before) to {last} (after)"
            )
    if len(set(sessions)) < len(sessions):
        raise PlanError(f"simulate: strangers = {tuple(sessions)} names a session twice; name each once")
    if len(sessions) and not in_file:
        raise PlanError("simulate: strangers come in a study file only; give path")
    return tuple(int(session) for session in sessions)


def _of_sessions(name: str, value: float | Sequence[float], n_sessions: int) -> Floats:
    """One value for each session, float64 [session]."""
    values = np.asarray(value, np.float64)
    if values.ndim > 1 or values.size not in (1, n_sessions):
        raise PlanError(f"simulate: {name} has {values.size} values for {n_sessions} sessions; give one, or one each")
    return np.broadcast_to(values.reshape(-1), n_sessions)


def _n_times(duration: float, sfreq: float) -> int:
    for name, value in (("duration", duration), ("sfreq", sfreq)):
        if not (np.isfinite(value) and value > 0):
            raise PlanError(f"simulate: {name} = {value!r} must be a positive number")
    n_times = round(duration * sfreq)
    if n_times < 16:
        raise PlanError(f"simulate: {duration:g} s at {sfreq:g} Hz are {n_times} samples; at least 16 are needed")
    return n_times


def _checked_epochs(epochs: Sequence[EpochSpan], duration: float) -> tuple[EpochSpan, ...]:
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
    return round(fraction("simulate: coupled_pairs", coupled_pairs) * n_channels)


def _coupling_course(
    coupling: float | Sequence[float] | Mapping[str, float],
    epochs: tuple[EpochSpan, ...],
    n_sessions: int,
    design: Design,
) -> tuple[Floats, Floats]:
    """Coupling over time, float64 [session, time], and where growth is added to it, from 0 to 1: float64 [time]."""
    if isinstance(coupling, Mapping):
        course = _epoch_course(coupling, epochs, design)
        return np.tile(course, (n_sessions, 1)), _epoch_course(dict.fromkeys(coupling, 1.0), epochs, design)
    values = _of_sessions("coupling", coupling, n_sessions)
    for value in values.tolist():
        fraction("simulate: coupling", value)
    return np.broadcast_to(values[:, None], (n_sessions, design.n_times)), np.ones(design.n_times)


def _epoch_course(coupling: Mapping[str, float], epochs: tuple[EpochSpan, ...], design: Design) -> Floats:
    """Coupling that is switched on during epochs, float64 [time].

    It has ramps of one cycle instead of steps, which would spread over all frequencies.
    """
    unknown = sorted(set(coupling) - {label for label, _, _ in epochs})
    if unknown:
        raise PlanError(f"simulate: coupling names the epoch {unknown[0]!r}, which is not among epochs")
    course = np.zeros(design.n_times)
    for label, start, stop in epochs:
        course[round(start * design.sfreq) : round(stop * design.sfreq)] = fraction(
            "simulate: coupling", coupling.get(label, 0.0)
        )
    width = max(1, min(round(design.sfreq / float(np.mean(design.coupled_band))), course.size // 4))
    window = np.hanning(width + 2)[1:-1]
    padded = np.pad(course, (width // 2, width - 1 - width // 2), mode="edge")
    return np.convolve(padded, window / window.sum(), mode="valid")
