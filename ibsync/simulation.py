"""Studies with known truth: dyads whose coupling was planted, as arrays or as a study file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack, overload

import numpy as np
from numpy.typing import NDArray

from .errors import PlanError
from .synthesis import Design, dyad_session

if TYPE_CHECKING:
    from pathlib import Path

    from .analysis import Study
    from .recordings.recording import DyadRow, Recording

EpochSpan = tuple[str, float, float]


@dataclass(frozen=True)
class Simulation:
    """Simulated signals and what was planted in them.

    Attributes
    ----------
    hbo, hbr : ndarray
        float32 [dyad, session, person, channel, time], mol/L.
    sfreq : float
        Sampling frequency in Hz.
    coupling : ndarray
        float64 [session, time]: the planted in-band correlation of the coupled channels of true partners.
    coupled_band : tuple of float
        Low and high edge in Hz.
    coupled_channels : tuple of str
        Channels that are coupled with the partner's channel of the same name.
    channels : tuple of str
        All channel names.
    """

    hbo: NDArray[np.float32]
    hbr: NDArray[np.float32]
    sfreq: float
    coupling: NDArray[np.float64]
    coupled_band: tuple[float, float]
    coupled_channels: tuple[str, ...]
    channels: tuple[str, ...]


@dataclass(frozen=True)
class _Labels:
    """Names that go with a design."""

    channels: tuple[str, ...]
    epochs: tuple[EpochSpan, ...]
    groups: tuple[str, ...]

    def group(self, dyad: int) -> str:
        """Group of a dyad."""
        return self.groups[dyad % len(self.groups)] if self.groups else ""


class _Arguments(TypedDict, total=False):
    n_dyads: int
    n_sessions: int
    n_channels: int
    duration: float
    sfreq: float
    coupling: float | Sequence[float] | Mapping[str, float]
    coupled_band: tuple[float, float]
    coupled_pairs: Literal["same"] | float
    shared_stimulus: float
    lag: float
    epochs: Sequence[EpochSpan]
    groups: Sequence[str]
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
    duration: float = 300.0,
    sfreq: float = 10.0,
    coupling: float | Sequence[float] | Mapping[str, float] = 0.5,
    coupled_band: tuple[float, float] = (0.03, 0.08),
    coupled_pairs: Literal["same"] | float = "same",
    shared_stimulus: float = 0.0,
    lag: float = 0.0,
    epochs: Sequence[EpochSpan] = (),
    groups: Sequence[str] = (),
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
        Size of the study; each dyad has two persons of its own.
    duration : float
        Length of each recording in s.
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
    seed : int
        Seed of everything random.

    Returns
    -------
    Simulation or Study
        Arrays and truth without a path; the opened study file with one. Its dyads carry the outcome
        "planted_coupling", the mean coupling over the recording.

    Raises
    ------
    PlanError
        If an argument is out of its range, or the recording has no frequency inside the coupled band.
    """
    _check_sizes(n_dyads=n_dyads, n_sessions=n_sessions, n_channels=n_channels)
    n_times = _n_times(duration, sfreq)
    spans = _checked_epochs(epochs, duration)
    design = Design(
        n_dyads=n_dyads,
        n_sessions=n_sessions,
        n_channels=n_channels,
        n_times=n_times,
        sfreq=float(sfreq),
        coupling=_coupling_course(coupling, spans, n_sessions, n_times, sfreq, coupled_band),
        coupled_band=_checked_band(coupled_band, duration, sfreq),
        n_coupled=_n_coupled(coupled_pairs, n_channels),
        shared_stimulus=_fraction("shared_stimulus", shared_stimulus),
        lag_s=float(lag),
        seed=_checked_seed(seed),
    )
    if design.coupling.max() + design.shared_stimulus > 1 + 1e-12:
        raise PlanError("simulate: coupling + shared_stimulus exceeds 1; lower one of them")
    labels = _Labels(tuple(f"S{i}_D{i}" for i in range(1, n_channels + 1)), spans, tuple(groups))
    return _arrays(design, labels) if path is None else _study_file(path, design, labels)


def _arrays(design: Design, labels: _Labels) -> Simulation:
    """All signals of a design in two arrays."""
    shape = (design.n_dyads, design.n_sessions, 2, design.n_channels, design.n_times)
    hbo, hbr = np.empty(shape, np.float32), np.empty(shape, np.float32)
    for dyad in range(design.n_dyads):
        for session in range(design.n_sessions):
            hbo[dyad, session], hbr[dyad, session] = dyad_session(design, dyad, session)
    return Simulation(
        hbo=hbo,
        hbr=hbr,
        sfreq=design.sfreq,
        coupling=design.coupling,
        coupled_band=design.coupled_band,
        coupled_channels=labels.channels[: design.n_coupled],
        channels=labels.channels,
    )


def _study_file(path: str | Path, design: Design, labels: _Labels) -> Study:
    """Write the study and open it."""
    from .analysis import Study
    from .recordings.study import write_study

    write_study(path, _recordings(design, labels), _participants(design, labels), _dyad_rows(design, labels))
    return Study.open(path)


def _recordings(design: Design, labels: _Labels) -> Iterator[tuple[Recording, dict[str, NDArray[np.float32]]]]:
    """Each recording with its signals, one dyad session in memory at a time."""
    for dyad in range(design.n_dyads):
        for session in range(design.n_sessions):
            hbo, hbr = dyad_session(design, dyad, session)
            for person in range(2):
                yield _recording(design, labels, dyad, session, person), {"hbo": hbo[person], "hbr": hbr[person]}


def _dyad_name(dyad: int) -> str:
    return f"d{dyad + 1:02d}"


def _person_name(dyad: int, person: int) -> str:
    return f"p{dyad + 1:02d}{'ab'[person]}"


def _recording(design: Design, labels: _Labels, dyad: int, session: int, person: int) -> Recording:
    """What describes one recording, without its signals."""
    from .recordings.recording import Event, Recording

    name = _person_name(dyad, person)
    return Recording(
        id=f"{name}_s{session + 1}",
        participant=name,
        session=f"{session + 1}",
        task="simulated",
        run="1",
        sfreq=design.sfreq,
        n_samples=design.n_times,
        t0=0.0,
        channels=labels.channels,
        chromas=("hbo", "hbr"),
        good=(True,) * design.n_channels,
        events=tuple(Event(start, stop - start, label, 1.0) for label, start, stop in labels.epochs),
        source_file="simulated",
        montage="simulated",
        units="mol/L",
    )


def _participants(design: Design, labels: _Labels) -> dict[str, dict[str, str]]:
    """Table of persons: role and group of each."""
    return {
        _person_name(dyad, person): {"role": "ab"[person], "group": labels.group(dyad)}
        for dyad in range(design.n_dyads)
        for person in range(2)
    }


def _dyad_rows(design: Design, labels: _Labels) -> list[DyadRow]:
    """Table of dyads, one row per session."""
    from .recordings.recording import DyadRow

    return [
        DyadRow(
            dyad=_dyad_name(dyad),
            session=f"{session + 1}",
            task="simulated",
            recording_a=_recording(design, labels, dyad, session, 0),
            recording_b=_recording(design, labels, dyad, session, 1),
            person_a=_person_name(dyad, 0),
            person_b=_person_name(dyad, 1),
            role_a="a",
            role_b="b",
            group=labels.group(dyad),
            use=True,
            outcomes={"planted_coupling": float(design.coupling[session].mean())},
        )
        for dyad in range(design.n_dyads)
        for session in range(design.n_sessions)
    ]


def _check_sizes(**counts: int) -> None:
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 1:
            raise PlanError(f"simulate: {name} = {count!r} must be a whole number of at least 1")


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
        return np.tile(_smoothed(course, round(sfreq / float(np.mean(band)))), (n_sessions, 1))
    values = np.asarray(coupling, np.float64)
    if values.ndim > 1 or values.size not in (1, n_sessions):
        raise PlanError(f"simulate: coupling has {values.size} values for {n_sessions} sessions; give one, or one each")
    for value in values.flat:
        _fraction("coupling", float(value))
    return np.broadcast_to(np.atleast_1d(values)[:, None], (n_sessions, n_times))


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
