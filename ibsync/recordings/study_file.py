"""Hides the study file: every recording once, dyads as rows that point to two recordings.

The file opens in xarray too, group by group: `xarray.open_dataset(path, group="dyads")`; `study_layout` says what
lies where.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from numbers import Real
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import IbsyncError, InputError
from .contents import HOW_TO_ACCEPT
from .hdf5 import HDF5_ERRORS, open_hdf5
from .hdf5_writing import write_hdf5
from .names import as_path, first_of, natural_order, plain, suggestion
from .notebook import table_html
from .output_kinds import STUDY
from .recording import AUXILIARY, check_dyads
from .recording import DyadRow as DyadRow
from .recording import Event as Event
from .recording import Recording as Recording
from .study_file_reading import OpenSamples, read_study_layout
from .study_file_writing import (
    FORMAT_VERSION,
    Place,
    Signals,
    count_missing,
    distinct,
    signal_digest,
    write_study_layout,
)
from .whole_files import Output

_MOST_POSITIONS = 1000
# Where values stand in the lines of a summary.
_NAME = 16


@dataclass(frozen=True, repr=False)
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
    sha256 : str
        SHA-256 of everything the file holds, in hexadecimal: the same after `h5repack`, and for a file that is packed
        again from the same recordings.
    accepted_changes : str
        What was changed after ibsync wrote the file; empty where nothing was.
    selected : str
        What was chosen of it by `select`, in words; empty for all.
    format_version : str
        Files of "2.0" do not know of short channels, positions of optodes and auxiliary signals.
    preprocessing : str
        Parameters with which ibsync made haemoglobin of raw light, as JSON; empty where it did not.
    """

    path: Path
    recordings: tuple[Recording, ...]
    participants: dict[str, dict[str, str | float]]
    all_dyads: tuple[DyadRow, ...]
    _places: dict[str, Place] = field(repr=False, compare=False)
    _source: OpenSamples | None = field(default=None, repr=False, compare=False, kw_only=True)
    sha256: str = ""
    accepted_changes: str = ""
    selected: str = ""
    format_version: str = FORMAT_VERSION
    preprocessing: str = ""

    @classmethod
    def open(cls, path: str | Path, *, accept_changes: bool = False) -> Self:
        """The study in a file written by `write_study` or `pack`.

        Parameters
        ----------
        path : str or Path
        accept_changes : bool
            Take a file that was changed after ibsync wrote it; results say what was changed. All of it is read once.

        Raises
        ------
        InputError
            Where the file is missing, damaged, changed, of another kind, or contradicts itself.
        """
        path = as_path(path)
        with open_hdf5(path) as file:
            try:
                layout = read_study_layout(file, path, accept_changes=accept_changes)
            except IbsyncError:
                raise
            except HDF5_ERRORS as error:
                text = " ".join(str(error).split())
                raise InputError(f"{path}: the study file is damaged ({text}); pack the recordings again") from error
        changes = f"{path.name}: {', '.join(layout.changes)}" if layout.changes else ""
        of_layout = (layout.recordings, layout.participants, layout.dyads, layout.places, layout.sha256)
        return cls(path, *of_layout, changes, format_version=layout.version, preprocessing=layout.preprocessing)

    @property
    def dyads(self) -> tuple[DyadRow, ...]:
        """The dyad rows that are to be used."""
        return tuple(row for row in self.all_dyads if row.use)

    @property
    def origin(self) -> dict[str, Any]:
        """Attributes that name the study in what is computed of it."""
        notes = {
            "accepted_changes": self.accepted_changes,
            "selected": self.selected,
            "preprocessing": self.preprocessing,
            "positions_mm": self._positions_mm(),
        }
        return {"study": self.path.name, "study_sha256": self.sha256, **{k: text for k, text in notes.items() if text}}

    def _positions_mm(self) -> str:
        """Middle between source and detector of each channel, the mean over recordings, by side of a dyad; as JSON.

        Empty where nothing is known, or of more channels than an attribute of a file should name.
        """
        places: dict[str, dict[str, list[list[float]]]] = {"a": {}, "b": {}}
        for row in self.dyads:
            for side, recording in (("a", row.recording_a), ("b", row.recording_b)):
                for channel, place in zip(recording.channels, recording.optodes_mm, strict=bool(recording.optodes_mm)):
                    middle = [(one + other) / 2 for one, other in zip(place[:3], place[3:], strict=True)]
                    if np.isfinite(middle[:2]).all():
                        places[side].setdefault(channel, []).append(middle)
        means = {
            side: {
                channel: [None if np.isnan(x) else round(float(x), 1) for x in np.mean(found, axis=0)]
                for channel, found in of_side.items()
            }
            for side, of_side in places.items()
        }
        n_known = sum(map(len, means.values()))
        return json.dumps(means) if 0 < n_known <= _MOST_POSITIONS else ""

    def select(
        self,
        *,
        dyad: str | Sequence[str] | None = None,
        session: str | Sequence[str] | None = None,
        task: str | Sequence[str] | None = None,
        group: str | Sequence[str] | None = None,
        duration: float | None = None,
    ) -> Self:
        """A part of the study, of which everything can be asked that can be asked of the whole.

        Parameters
        ----------
        dyad, session, task, group : str or sequence of str, optional
            Labels of the dyad rows to keep; all by default.
        duration : float, optional
            Use the first so many seconds of each recording only, as if no more had been recorded. Nothing is cut of a
            recording that is shorter.

        Raises
        ------
        InputError
            If nobody has such a label, nothing is left, or the duration is no length.

        Examples
        --------
        >>> study.select(task="talk", session=["1", "2"], duration=300)
        """
        rows, words = self.all_dyads, [self.selected] if self.selected else []
        for name, chosen in (("dyad", dyad), ("session", session), ("task", task), ("group", group)):
            if chosen is not None:
                labels = [plain(str(label)) for label in self._labels(name, chosen)]
                self._require_known(name, labels)
                rows = tuple(row for row in rows if getattr(row, name) in labels)
                words.append(f"{name} {', '.join(labels)}")
        if not rows:
            raise InputError(f"{self.path}: no dyad row has {' and '.join(words)} at once; select less")
        recordings, people = self.recordings, self.participants
        if len(rows) < len(self.all_dyads):
            ids = {recording.id for row in rows for recording in (row.recording_a, row.recording_b)}
            recordings = tuple(recording for recording in recordings if recording.id in ids)
            people = {recording.participant: people[recording.participant] for recording in recordings}
        if duration is not None:
            rates, longest = [r.sfreq for r in recordings], max(r.duration_s for r in recordings)
            is_number = isinstance(duration, Real) and not isinstance(duration, bool)
            if not is_number or not 1 <= duration * min(rates) < float("inf"):
                raise InputError(f"{self.path}: duration={duration!r} is no length; give seconds")
            if duration > longest:
                raise InputError(
                    f"{self.path}: duration={duration:g}: the longest recording has {longest:g} s; leave duration out"
                )
            short = [r for r in recordings if duration * r.sfreq < r.trial_samples]
            if short:
                trial_s = short[0].trial_samples / short[0].sfreq
                raise InputError(f"{self.path}: duration={duration:g}: a trial has {trial_s:g} s; give whole trials")
            recordings = tuple(self._first_seconds(recording, float(duration)) for recording in recordings)
            words.append(f"the first {duration:g} s")
        by_id = {recording.id: recording for recording in recordings}
        rows = tuple(
            replace(row, recording_a=by_id[row.recording_a.id], recording_b=by_id[row.recording_b.id]) for row in rows
        )
        return replace(self, recordings=recordings, participants=people, all_dyads=rows, selected="; ".join(words))

    def _first_seconds(self, recording: Recording, duration: float) -> Recording:
        """The recording as if it had ended after so many seconds, of trials those that fit in; itself if shorter."""
        n_samples = min(recording.n_samples, round(duration * recording.sfreq))
        n_samples -= n_samples % recording.trial_samples if recording.trial_samples else 0
        short = replace(recording, n_samples=n_samples)
        if not recording.n_missing:
            return short
        signals = {signal: self.signals(short, signal) for signal in short.signal_names}
        return replace(short, n_missing=count_missing(short, signals))

    def _labels(self, name: str, chosen: object) -> list[object]:
        """Labels that are asked for, one or several; a number is the label that it reads like."""
        labels = [chosen] if isinstance(chosen, str | int) else list(chosen) if isinstance(chosen, Iterable) else []
        if not labels or isinstance(chosen, bool | bytes | Mapping):
            raise InputError(f"{self.path}: {name}={chosen!r} names nothing; give a label or a list of labels")
        return labels

    def _require_known(self, name: str, labels: Sequence[str]) -> None:
        known = distinct(getattr(row, name) for row in self.all_dyads)
        for label in labels:
            if label not in known:
                raise InputError(
                    f"{self.path}: no {name} {label!r}{suggestion(label, known)}; there are {first_of(known) or 'none'}"
                )

    def recording(self, name: str) -> Recording:
        """The recording of that id."""
        for recording in self.recordings:
            if recording.id == name:
                return recording
        raise InputError(f"{self.path}: no recording {name!r}; there are {first_of(r.id for r in self.recordings)}")

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
        return self._samples(recording, signal)

    def auxiliary(self, recording: Recording | str) -> NDArray[np.float32]:
        """What was recorded beside the channels of one recording, such as heart rate or respiration.

        Parameters
        ----------
        recording : Recording or str
            The recording or its id.

        Returns
        -------
        float32 [signal, time]
            At the times of the channels' samples; rows in the order of the recording's `auxiliary`; NaN where a sample
            is missing.
        """
        recording = self.recording(recording) if isinstance(recording, str) else recording
        if not recording.auxiliary:
            return np.empty((0, recording.n_samples), np.float32)
        return self._samples(recording, AUXILIARY)

    @contextmanager
    def reading(self) -> Iterator[Self]:
        """The same study with its file held open: many recordings are read faster one after the other."""
        with self._opened() as source:
            yield replace(self, _source=source)

    @contextmanager
    def _opened(self) -> Iterator[OpenSamples]:
        if self._source is not None:
            yield self._source
            return
        with open_hdf5(self.path) as file:
            yield OpenSamples(file, self.path)

    def _samples(self, recording: Recording, signal: str) -> NDArray[np.float32]:
        place = self._places[recording.id]
        with self._opened() as source:
            try:
                samples = source.read(place, signal)
            except IbsyncError:
                raise
            except HDF5_ERRORS as error:
                raise InputError(f"{self.path}: {recording.id}: {signal} is damaged; pack the study again") from error
        if signal_digest(samples) != place.digests[recording.arrays.index(signal)]:
            raise InputError(
                f"{self.path}: {recording.id}: {signal} was changed after ibsync wrote it or since the study was "
                f"opened; open it again, or {HOW_TO_ACCEPT}"
            )
        return samples[:, : recording.n_samples]

    def describe(self) -> dict[str, Any]:
        """What the study holds, as a dictionary that JSON can carry."""
        return {
            "path": str(self.path),
            "sha256": self.sha256,
            "people": sorted(self.participants),
            "preprocessing": json.loads(self.preprocessing or "{}"),
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

    def __repr__(self) -> str:
        size = f"{len(self.participants)} people, {len(self.all_dyads)} dyad rows, {len(self.recordings)} recordings"
        selected = f", selected {self.selected}" if self.selected else ""
        return f"{type(self).__name__}({str(self.path)!r}, {size}{selected})"

    def _repr_html_(self) -> str:
        title, *lines = _summary_lines(self)
        return table_html(title, ((line[:_NAME].strip(), line[_NAME:].strip()) for line in lines))


def write_study(
    path: str | Path | Output,
    recordings: Iterable[tuple[Recording, Signals]],
    participants: Mapping[str, Mapping[str, str | float]],
    dyads: Sequence[DyadRow],
    *,
    preprocessing: Mapping[str, Any] | None = None,
) -> None:
    """Write a study file whole, or leave nothing behind.

    Parameters
    ----------
    path : str, Path or Output
        The file to make; an older study of that name is replaced at the end. An Output says what else may be.
    recordings : iterable of (Recording, {signal: float32 [channel, time]})
        Taken one at a time, so that a generator never holds more than one recording in memory.
    participants : mapping
        Columns by person; people who appear only in recordings are added.
    dyads : sequence of DyadRow
        Their recordings are matched by id to those written.
    preprocessing : mapping, optional
        Parameters with which raw light became haemoglobin, and the version of MNE.

    Raises
    ------
    InputError
        Where the parts contradict each other, or the file cannot be written.
    """
    output = path if isinstance(path, Output) else Output(as_path(path), STUDY)
    check_dyads(dyads, str(output.path))
    write = partial(
        write_study_layout, participants=participants, dyads=dyads, path=output.path, preprocessing=preprocessing or {}
    )
    write_hdf5(output, recordings, write)


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
        "n_trials": recording.n_trials,
        "n_missing": recording.n_missing,
        "n_channels": len(recording.channels),
        "bad_channels": list(recording.bad_channels),
        "signals": list(recording.signal_names),
        "short_channels": list(recording.short_channels),
        "auxiliary": list(recording.auxiliary),
        "n_events": len(recording.events),
    }


def _summary_lines(study: StudyFile) -> Iterator[str]:
    recordings, dyads = study.recordings, study.all_dyads
    durations = [r.duration_s for r in recordings]
    unused = sum(not row.use for row in dyads)
    yield f"Study {study.path.name}"
    if study.selected:
        yield f"  selected      {study.selected}"
    yield f"  people        {len(study.participants)}: {first_of(study.participants)}"
    names = distinct(row.dyad for row in dyads)
    yield f"  dyads         {len(names)} in {len(dyads)} row{'s' * (len(dyads) > 1)}: {first_of(names)}"
    if unused:
        yield f"  not used      {unused} dyad rows are marked use=0"
    for name, values in (("sessions", "session"), ("tasks", "task"), ("groups", "group")):
        labels = natural_order(distinct(getattr(row, values) for row in dyads))
        if labels:
            yield f"  {name:<13} {first_of(labels)}"
    yield f"  recordings    {len(recordings)}, {min(durations):.1f} to {max(durations):.1f} s"
    of_trials = [r for r in recordings if r.trial_samples]
    if of_trials:
        n, seconds = ([*{of(r): None for r in of_trials}] for of in (lambda r: r.n_trials, _trial_s))
        yield f"  trials        {_span(n)} of {_span(seconds)} s in {len(of_trials)} of {len(recordings)} recordings"
    yield f"  rates         {first_of(f'{rate:g} Hz' for rate in sorted({r.sfreq for r in recordings}))}"
    yield f"  signals       {first_of(distinct(c for r in recordings for c in r.signal_names))}"
    if study.preprocessing:
        words = ", ".join(f"{name} {value}" for name, value in json.loads(study.preprocessing).items())
        yield f"  preprocessed  {words}"
    yield f"  channels      {first_of(distinct(c for r in recordings for c in r.channels))}"
    for name, words in (("short", "short_channels"), ("auxiliary", "auxiliary")):
        having = [r for r in study.recordings if getattr(r, words)]
        listed = first_of(distinct(c for r in having for c in getattr(r, words)))
        none = "unknown: packed by an older ibsync" if study.format_version == "2.0" else "none"
        yield f"  {name:<13} {f'{listed}, in {len(having)} of {len(recordings)} recordings' if having else none}"
    yield from _attention_lines(study)


def _trial_s(recording: Recording) -> float:
    return recording.trial_samples / recording.sfreq


def _span(values: Sequence[float]) -> str:
    return f"{min(values):g} to {max(values):g}" if len(values) > 1 else f"{values[0]:g}"


def _attention_lines(study: StudyFile) -> Iterator[str]:
    labels = distinct(event.label for r in study.recordings for event in r.events)
    outcomes = distinct(name for row in study.all_dyads for name in row.outcomes)
    yield f"  events        {first_of(labels) if labels else 'none'}"
    yield f"  outcomes      {first_of(outcomes) if outcomes else 'none'}"
    bad = [r for r in study.recordings if r.bad_channels]
    yield f"  bad channels  {'none' if not bad else f'in {len(bad)} of {len(study.recordings)} recordings'}"
    for r in bad:
        yield f"    {r.id}: {len(r.bad_channels)} of {len(r.channels)}: {first_of(r.bad_channels)}"
    gaps = [r for r in study.recordings if r.n_missing]
    yield f"  gaps          {'none' if not gaps else f'in {len(gaps)} of {len(study.recordings)} recordings'}"
    for r in gaps:
        yield f"    {r.id}: {r.n_missing / r.sfreq:.1f} s missing in at least one good channel"
