"""Who meets whom, when: rows of a study by occasion, epochs, channel pairs, and the signals that belong to them."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..coupling.band_spec import Spec
from ..coupling.plan import Epochs
from ..errors import InputError
from ..recordings.recording import DyadRow, Recording
from ..recordings.study_file import StudyFile
from ..results.layout import SHIFT
from .engines import EnginePlan


def occasion_label(session: object, task: object) -> str:
    """Name of an occasion: session and task, where they are named."""
    return " / ".join(str(word) for word in (session, task) if str(word)) or "all"


def session_label(session: object) -> str:
    """Name of a session, as a null counts them."""
    return str(session) or "all"


def row_coordinates(rows: Sequence[DyadRow]) -> dict[str, Any]:
    """Coordinates of a dataset with one row per dyad, session and task: people, group, duration (s), day, outcomes."""
    names = ("session", "task", "person_a", "person_b", "role_a", "role_b", "group")
    of_rows: dict[str, list[Any]] = {name: [getattr(row, name) for row in rows] for name in names}
    of_rows["duration"] = [row.recording_a.duration_s for row in rows]
    if any(np.isfinite(row.day) for row in rows):
        of_rows["day"] = [row.day for row in rows]
    outcomes = dict.fromkeys(name for row in rows for name in row.outcomes)
    of_rows |= {f"outcome_{name}": [row.outcomes.get(name, np.nan) for row in rows] for name in outcomes}
    return {"dyad": [row.dyad for row in rows], **{name: ("dyad", column) for name, column in of_rows.items()}}


@dataclass(frozen=True)
class Occasion:
    """Dyad rows of one session and task that are computed at one length."""

    label: str
    rows: tuple[DyadRow, ...]
    n_samples: int
    sfreq: float

    def plan(self, spec: Spec, epochs: Epochs | None) -> EnginePlan:
        """What the engine of these rows is made for."""
        return EnginePlan(self.n_samples, self.sfreq, spec, epochs, self.trial)

    @property
    def trial(self) -> int:
        """Samples of a trial, where recordings are trials end to end, else 0."""
        return self.rows[0].recording_a.trial_samples

    def of(self, dyads: Collection[str]) -> Occasion:
        """The rows of some dyads, cut to the shortest of them."""
        rows = tuple(row for row in self.rows if row.dyad in dyads)
        return replace(self, rows=rows, n_samples=min(row.recording_a.n_samples for row in rows))

    @property
    def by_dyad(self) -> dict[str, DyadRow]:
        """Row of each dyad that was there."""
        return {row.dyad: row for row in self.rows}

    def describe(self) -> list[str]:
        """Size and lengths, to be read."""
        seconds = [row.recording_a.duration_s for row in self.rows]
        longest = f" to {max(seconds):.1f}" if max(seconds) > min(seconds) else ""
        trials = f", in trials of {self.trial / self.sfreq:g} s" if self.trial else ""
        return [f"{self.label}: {len(self.rows)} dyads, {min(seconds):.1f}{longest} s at {self.sfreq:g} Hz{trials}"]


def used_rows(study: StudyFile) -> tuple[DyadRow, ...]:
    """
    The dyad rows that are to be used.

    Raises
    ------
    InputError
        If there is none, or this is no study.
    """
    if not isinstance(study, StudyFile):
        raise InputError(f"give a study, such as Study.open('study.h5'), not {type(study).__name__}")
    if not study.dyads:
        raise InputError(f"{study.path}: no dyad is marked for use: set use to 1 in the dyads table")
    return study.dyads


def recordings_in_full(rows: Sequence[DyadRow]) -> list[Occasion]:
    """Rows by session and task, rate, length, and length of trials."""
    return _grouped(rows, lambda row: row.recording_a.n_samples)


def occasions_of(rows: Sequence[DyadRow], *, one_rate: bool = False) -> list[Occasion]:
    """Rows by session and task, by rate and length of trials, cut to the shortest of each.

    Raises
    ------
    InputError
        With `one_rate`: if dyads differ in rate or length of trials, or one has several recordings.
    """
    occasions = _grouped(rows, lambda _: 0)
    if one_rate:
        _refuse_two_rates(occasions)
    return occasions


def _grouped(rows: Sequence[DyadRow], apart: Callable[[DyadRow], int]) -> list[Occasion]:
    groups: dict[tuple[Any, ...], list[DyadRow]] = {}
    for row in rows:
        key = (occasion_label(row.session, row.task), row.recording_a.sfreq, row.recording_a.trial_samples, apart(row))
        groups.setdefault(key, []).append(row)
    return [
        Occasion(label, tuple(members), min(row.recording_a.n_samples for row in members), rate)
        for (label, rate, *_), members in groups.items()
    ]


def _refuse_two_rates(occasions: Sequence[Occasion]) -> None:
    first: dict[str, Occasion] = {}
    for occasion in occasions:
        other = first.setdefault(occasion.label, occasion)
        if other.sfreq != occasion.sfreq:
            raise InputError(
                f"{occasion.label}: dyad {occasion.rows[0].dyad!r} has {occasion.sfreq:g} Hz and dyad "
                f"{other.rows[0].dyad!r} {other.sfreq:g} Hz: pack the study again with one rate (resample)"
            )
        if other.trial != occasion.trial:
            trials = [f"trials of {x.trial / x.sfreq:g} s" if x.trial else "no trials" for x in (occasion, other)]
            raise InputError(
                f"{occasion.label}: dyad {occasion.rows[0].dyad!r} has {trials[0]} and dyad {other.rows[0].dyad!r} "
                f"{trials[1]}: cut all alike and pack again, or select dyads"
            )
        twice = [d for d in occasion.by_dyad if sum(row.dyad == d for row in occasion.rows) > 1]
        if twice:
            raise InputError(f"{occasion.label}: dyad {twice[0]!r} has several recordings: mark one for use")


def require_signal(study: StudyFile, rows: Iterable[DyadRow], signal: str) -> None:
    """Refuse a study in which a recording lacks the signal, naming it."""
    for row in rows:
        for recording in (row.recording_a, row.recording_b):
            if signal not in recording.signal_names:
                raise InputError(
                    f"{study.path}: {row.label}: {recording.participant} has no {signal!r}, only "
                    f"{', '.join(recording.signal_names)}: choose another signal"
                )


# --- channels and numbers ---------------------------------------------------------------------------------------------


def signals_of(
    study: StudyFile, recording: Recording, signal: str, channels: tuple[str, ...], n_samples: int, start: int = 0
) -> NDArray[np.float32]:
    """Signals by channel name from a sample on, NaN for a channel that is missing or bad: float32 [channel, sample]."""
    signals = study.signals(recording, signal)
    rows = {name: k for k, (name, good) in enumerate(zip(recording.channels, recording.good, strict=True)) if good}
    out = np.full((len(channels), n_samples), np.nan, np.float32)
    for k, name in enumerate(channels):
        if name in rows:
            out[k] = signals[rows[name], start : start + n_samples]
    return out


def labels_of(
    rows: Iterable[tuple[object, object, object]],
    epochs: Iterable[object],
    channels_a: Iterable[object],
    channels_b: Iterable[object],
    bands: Iterable[object],
    *,
    shifts: Iterable[object] = (),
) -> str:
    """What the axes of a study's values stand for, as JSON text: rows are (dyad, session, task)."""
    named: dict[str, list[Any]] = {"dyad": [[str(word) for word in row] for row in rows]}
    for axis, labels in (("epoch", epochs), ("channel_a", channels_a), ("channel_b", channels_b), ("band", bands)):
        named[axis] = [str(label) for label in labels]
    if several := [str(shift) for shift in shifts]:
        named[SHIFT] = several
    return json.dumps(named)
