"""Hides the study file: every recording once, dyads as rows that point to two recordings.

The file opens in xarray too, group by group: `xarray.open_dataset(path, group="dyads")`; `study_layout` says what
lies where.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .hdf5 import open_hdf5, written_hdf5
from .names import natural_order
from .recording import DyadRow as DyadRow
from .recording import Event as Event
from .recording import Recording as Recording
from .recording import check_dyads
from .study_file_reading import read_study_layout
from .study_file_writing import Signals, distinct, write_study_layout


@dataclass(frozen=True)
class StudyFile:
    """A study file that has been opened and found consistent.

    Attributes
    ----------
    path : Path
        Where the file is.
    recordings : tuple of Recording
        Every recording, once.
    participants : dict
        Columns of the participants table by person: numbers where the whole column is numeric, text otherwise.
    all_dyads : tuple of DyadRow
        Every dyad row, also those marked as not to be used.
    """

    path: Path
    recordings: tuple[Recording, ...]
    participants: dict[str, dict[str, str | float]]
    all_dyads: tuple[DyadRow, ...]
    _places: dict[str, tuple[str, int]] = field(repr=False, compare=False)

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """The study in a file written by `write_study` or `pack`.

        Raises
        ------
        InputError
            Where the file is missing, damaged, of another kind, or contradicts itself.
        """
        path = Path(path)
        with open_hdf5(path) as file:
            try:
                return cls(path, *read_study_layout(file, path))
            except (OSError, RuntimeError, KeyError, ValueError, TypeError, IndexError) as error:
                text = " ".join(str(error).split())
                raise InputError(f"{path}: the study file is damaged ({text}); pack the recordings again") from error

    @property
    def dyads(self) -> tuple[DyadRow, ...]:
        """The dyad rows that are to be used."""
        return tuple(row for row in self.all_dyads if row.use)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the whole file, in hexadecimal."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def recording(self, name: str) -> Recording:
        """The recording of that id."""
        for recording in self.recordings:
            if recording.id == name:
                return recording
        raise InputError(f"{self.path}: no recording {name!r}; there are {_some(r.id for r in self.recordings)}")

    def signals(self, recording: Recording | str, signal: str = "hbo") -> NDArray[np.float32]:
        """One recording's signals of one chromophore.

        Parameters
        ----------
        recording : Recording or str
            The recording or its id.
        signal : str
            "hbo", "hbr", or another of the recording's `signal_names`.

        Returns
        -------
        float32 [channel, time]
            In the recording's units; rows in the order of its `channels`; NaN where a sample is missing.
        """
        recording = self.recording(recording) if isinstance(recording, str) else recording
        if signal not in recording.signal_names:
            raise InputError(
                f"{self.path}: {recording.id} has no {signal!r}; it has {', '.join(recording.signal_names)}"
            )
        block, row = self._places[recording.id]
        samples = np.empty((len(recording.channels), recording.n_samples), np.float32)
        with open_hdf5(self.path) as file:
            try:
                file[f"recordings/{block}/{signal}"].read_direct(samples, np.s_[row])
            except (OSError, KeyError) as error:
                raise InputError(f"{self.path}: {recording.id}: {signal} is damaged; pack the study again") from error
        return samples

    def describe(self) -> dict[str, Any]:
        """What the study holds, as a dictionary that JSON can carry."""
        return {
            "path": str(self.path),
            "sha256": self.sha256,
            "people": sorted(self.participants),
            "dyads": [_describe_dyad(row) for row in self.all_dyads],
            "sessions": natural_order(distinct(row.session for row in self.all_dyads)),
            "tasks": distinct(row.task for row in self.all_dyads),
            "groups": distinct(row.group for row in self.all_dyads),
            "outcomes": distinct(name for row in self.all_dyads for name in row.outcomes),
            "event_labels": distinct(event.label for r in self.recordings for event in r.events),
            "recordings": [_describe_recording(recording) for recording in self.recordings],
        }

    def __str__(self) -> str:
        return "\n".join(_summary_lines(self))


def write_study(
    path: str | Path,
    recordings: Iterable[tuple[Recording, Signals]],
    participants: Mapping[str, Mapping[str, str | float]],
    dyads: Sequence[DyadRow],
) -> None:
    """Write a study file whole, or leave nothing behind.

    Parameters
    ----------
    path : str or Path
        The file to make; an older study of that name is replaced at the end.
    recordings : iterable of (Recording, {signal: float32 [channel, time]})
        Taken one at a time, so that a generator never holds more than one recording in memory.
    participants : mapping
        Columns by person; people who appear only in recordings are added.
    dyads : sequence of DyadRow
        Their recordings are matched by id to those written.

    Raises
    ------
    InputError
        Where the parts contradict each other, or the file cannot be written.
    """
    path = Path(path)
    check_dyads(dyads, str(path))
    with written_hdf5(path) as file:
        write_study_layout(file, recordings, participants, dyads, path)


def _some(values: Iterable[str], limit: int = 6) -> str:
    """The first few values, and how many more there are."""
    names = list(values)
    more = f", ... ({len(names)} in all)" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _describe_dyad(row: DyadRow) -> dict[str, Any]:
    names = ("dyad", "session", "task", "group", "person_a", "person_b", "role_a", "role_b")
    return {name: getattr(row, name) for name in names} | {
        "day": None if np.isnan(row.day) else row.day,
        "use": row.use,
        "outcomes": {name: None if np.isnan(value) else value for name, value in row.outcomes.items()},
        "recordings": [row.recording_a.id, row.recording_b.id],
    }


def _describe_recording(recording: Recording) -> dict[str, Any]:
    names = ("id", "participant", "session", "task", "run", "units", "source_file")
    return {name: getattr(recording, name) for name in names} | {
        "sfreq_hz": recording.sfreq,
        "n_samples": recording.n_samples,
        "n_missing": recording.n_missing,
        "n_channels": len(recording.channels),
        "bad_channels": list(recording.bad_channels),
        "signals": list(recording.signal_names),
        "n_events": len(recording.events),
    }


def _summary_lines(study: StudyFile) -> Iterator[str]:
    recordings, dyads = study.recordings, study.all_dyads
    durations = [r.duration_s for r in recordings]
    unused = sum(not row.use for row in dyads)
    yield f"Study {study.path.name}"
    yield f"  people        {len(study.participants)}: {_some(study.participants)}"
    names = distinct(row.dyad for row in dyads)
    yield f"  dyads         {len(names)} in {len(dyads)} rows: {_some(names)}"
    if unused:
        yield f"  not used      {unused} dyad rows are marked use=0"
    for name, values in (("sessions", "session"), ("tasks", "task"), ("groups", "group")):
        labels = natural_order(distinct(getattr(row, values) for row in dyads))
        if labels:
            yield f"  {name:<13} {_some(labels)}"
    yield f"  recordings    {len(recordings)}, {min(durations):.1f} to {max(durations):.1f} s"
    yield f"  rates         {_some(f'{rate:g} Hz' for rate in sorted({r.sfreq for r in recordings}))}"
    yield f"  signals       {_some(distinct(c for r in recordings for c in r.signal_names))}"
    yield f"  channels      {_some(distinct(c for r in recordings for c in r.channels))}"
    yield from _attention_lines(study)


def _attention_lines(study: StudyFile) -> Iterator[str]:
    labels = distinct(event.label for r in study.recordings for event in r.events)
    outcomes = distinct(name for row in study.all_dyads for name in row.outcomes)
    yield f"  events        {_some(labels) if labels else 'none'}"
    yield f"  outcomes      {_some(outcomes) if outcomes else 'none'}"
    bad = [r for r in study.recordings if r.bad_channels]
    yield f"  bad channels  {'none' if not bad else f'in {len(bad)} of {len(study.recordings)} recordings'}"
    for r in bad:
        yield f"    {r.id}: {len(r.bad_channels)} of {len(r.channels)}: {_some(r.bad_channels)}"
    gaps = [r for r in study.recordings if r.n_missing]
    yield f"  gaps          {'none' if not gaps else f'in {len(gaps)} of {len(study.recordings)} recordings'}"
    for r in gaps:
        yield f"    {r.id}: {r.n_missing / r.sfreq:.1f} s missing in at least one good channel"
