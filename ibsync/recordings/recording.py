"""What a study is made of: events, recordings, and the dyads that point to recordings."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import InputError

AUXILIARY = "auxiliary"
"""Name under which the auxiliary signals of a recording are stored."""

_SAME_MARK_S = 0.1


def distance_mm(place: Sequence[float]) -> float:
    """Between source and detector at (x, y, z, x, y, z) in mm, flat where z is NaN; NaN where unknown."""
    dx, dy, dz = (b - a for a, b in zip(place[:3], place[3:], strict=True))
    return math.hypot(dx, dy, 0.0 if math.isnan(dz) else dz)


@dataclass(frozen=True)
class Event:
    """A mark in a recording; `onset` counts in seconds from the first sample, `duration` in seconds."""

    onset: float
    duration: float
    label: str
    value: float = float("nan")

    @property
    def is_bad(self) -> bool:
        """Whether it marks samples that are not data: "BAD" and whatever follows, or the word bad in any letters."""
        return self.label.startswith("BAD") or re.match(r"bad(?![a-z])", self.label, re.IGNORECASE) is not None


@dataclass(frozen=True)
class Recording:
    """What is known of one person's recording; its signals are read with `StudyFile.signals`.

    Attributes
    ----------
    id : str
        Name of the recording, unique in the study.
    participant, session, task, run : str
        Who, and in which part of the study; empty where there is only one.
    sfreq : float
        Sampling rate in Hz.
    n_samples : int
        Length of every channel.
    t0 : float
        Time of the first sample on the clock of the source file, in s.
    channels : tuple of str
        Channel names such as "S1_D1"; the row order of the signals.
    signal_names : tuple of str
        Which signals there are: "hbo", "hbr", "hbt", "eeg", or "dod<wavelength in nm>".
    good : tuple of bool
        One per channel; False for a channel that is not to be used.
    events : tuple of Event
        Marks in order of onset.
    source_file : str
        Name of the file it was read from.
    montage : str
        Name of the channel layout; recordings with the same channels may share one.
    units : str
        Unit of the signals as the source gave it; empty where unknown.
    n_missing : int
        Samples that are missing (NaN) in at least one good channel; filled in when the study is written.
    short : tuple of bool
        One per channel; True for a channel whose optodes lie so close together that it sees the scalp alone. Empty
        where none does.
    auxiliary : tuple of str
        Names of the signals recorded beside the channels, such as "heart_rate"; `StudyFile.auxiliary` reads them.
    optodes_mm : tuple of (x, y, z, x, y, z)
        Positions of each channel's source and detector in mm, of EEG twice that of its electrode; z is NaN where
        positions are flat, and all are NaN where they are unknown. Empty where none is known.
    trial_samples : int
        Samples of a trial, where the recording is trials of one length that lie end to end; 0 where it is continuous.
        Events then count from the first sample of the first trial, and each trial is one.
    """

    id: str
    participant: str
    session: str
    task: str
    run: str
    sfreq: float
    n_samples: int
    t0: float
    channels: tuple[str, ...]
    signal_names: tuple[str, ...]
    good: tuple[bool, ...]
    events: tuple[Event, ...] = ()
    source_file: str = ""
    montage: str = ""
    units: str = ""
    n_missing: int = 0
    short: tuple[bool, ...] = ()
    auxiliary: tuple[str, ...] = ()
    optodes_mm: tuple[tuple[float, ...], ...] = ()
    trial_samples: int = 0

    @property
    def n_trials(self) -> int:
        """How many trials; 0 for a continuous recording."""
        return self.n_samples // self.trial_samples if self.trial_samples else 0

    @property
    def arrays(self) -> tuple[str, ...]:
        """What is stored of the recording over time: its signals, and the auxiliary ones together."""
        return (*self.signal_names, *((AUXILIARY,) if self.auxiliary else ()))

    @property
    def distances_mm(self) -> tuple[float, ...]:
        """Between source and detector of each channel, 0 of electrodes; NaN where unknown, empty where none is."""
        return tuple(map(distance_mm, self.optodes_mm))

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.sfreq

    @property
    def short_flags(self) -> tuple[bool, ...]:
        """Whether each channel is short."""
        return self.short or (False,) * len(self.channels)

    @property
    def short_channels(self) -> tuple[str, ...]:
        """Names of the channels that are short."""
        return tuple(name for name, short in zip(self.channels, self.short_flags, strict=True) if short)

    @property
    def bad_channels(self) -> tuple[str, ...]:
        """Names of the channels that are not to be used."""
        return tuple(name for name, good in zip(self.channels, self.good, strict=True) if not good)


@dataclass(frozen=True)
class DyadRow:
    """Two recordings made together: one dyad in one session and task; `day` is NaN where it is not known."""

    dyad: str
    session: str
    task: str
    recording_a: Recording
    recording_b: Recording
    person_a: str
    person_b: str
    role_a: str = ""
    role_b: str = ""
    group: str = ""
    use: bool = True
    outcomes: Mapping[str, float] = field(default_factory=dict)
    day: float = float("nan")

    @property
    def label(self) -> str:
        """Dyad, session and task in one phrase, for messages."""
        return f"dyad {self.dyad!r}, session {self.session!r}" + (f", task {self.task!r}" if self.task else "")

    def marks_apart(self, labels: Collection[str] | None = None) -> str:
        """Where marks of one label differ between the two people, in words; empty where they agree or one has none."""
        a, b = self.recording_a, self.recording_b
        tolerance = max(1 / a.sfreq, _SAME_MARK_S)
        for label in dict.fromkeys(event.label for event in (*a.events, *b.events) if not event.is_bad):
            one, other = ([(e.onset, e.duration) for e in x.events if e.label == label] for x in (a, b))
            if not (a.events and b.events) or (labels is not None and label not in labels):
                continue
            if len(one) != len(other):
                return f"{label!r} stands {len(one)} times in {a.id}, {len(other)} times in {b.id}"
            for (start, length), (other_start, other_length) in zip(one, other, strict=True):
                if max(abs(start - other_start), abs(length - other_length)) > tolerance:
                    return (
                        f"{label!r} is at {start:g} s for {length:g} s in {a.id}, at {other_start:g} s for "
                        f"{other_length:g} s in {b.id}"
                    )
        return ""


def check_dyads(dyads: Iterable[DyadRow], where: str) -> None:
    """Hold every dyad row to what the analysis relies on."""
    seen: set[tuple[str, ...]] = set()
    for row in dyads:
        a, b = row.recording_a, row.recording_b
        key = (row.dyad, row.session, row.task, a.id, b.id)
        if key in seen:
            raise InputError(f"{where}: {row.label}: the row stands twice; keep one")
        seen.add(key)
        problem = _dyad_problem(row, a, b)
        if problem:
            raise InputError(f"{where}: {row.label}: {problem}")


def _length_of_trials(recording: Recording) -> str:
    seconds = recording.trial_samples / recording.sfreq
    return f"holds trials of {seconds:g} s" if recording.trial_samples else "is continuous"


def _dyad_problem(row: DyadRow, a: Recording, b: Recording) -> str:
    if (row.person_a, row.person_b) != (a.participant, b.participant):
        return f"{row.person_a} and {row.person_b} do not own the recordings {a.id} and {b.id}; correct the row"
    if a.participant == b.participant:
        return f"{a.participant} is both persons; name two different people"
    if a.sfreq != b.sfreq:
        return f"{a.id} has {a.sfreq:g} Hz, {b.id} {b.sfreq:g} Hz; resample both to one rate (resample=)"
    if a.trial_samples != b.trial_samples:
        return f"{a.id} {_length_of_trials(a)} and {b.id} {_length_of_trials(b)}; cut both alike"
    if a.n_samples != b.n_samples:
        return f"{a.id} has {a.n_samples} samples, {b.id} {b.n_samples}; cut both to the common length (crop=True)"
    if not set(a.signal_names) & set(b.signal_names):
        has = " and ".join(f"{one.id} ({', '.join(one.signal_names)})" for one in (a, b))
        return f"{has} share no signal; pack both alike"
    return ""
