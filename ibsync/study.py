"""Hides the study file: people, recordings, dyads, events and outcomes in one HDF5 file.

Every recording is stored once; a dyad is a row that points to two of them. Small things stand in columnar tables
(`/index`, `/events`, `/participants`, `/dyads`), one dataset a column, and signals in `/recordings/<block>`, a block
being all recordings with the same channels, sampling rate, length and chromophores, stacked
`float32 [recording, channel, time]`. Each of these groups opens with `xarray.open_dataset(path, group=...)`.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from ibsync.errors import InputError
from ibsync.hdf5 import check_free_space, open_hdf5, written_whole

FORMAT_VERSION = "0.1"
_LONG_NAMES = {
    "hbo": "oxygenated haemoglobin change",
    "hbr": "deoxygenated haemoglobin change",
    "hbt": "total haemoglobin change",
    "eeg": "scalp potential",
}
_INDEX_TEXT = (
    "recording",
    "participant",
    "session",
    "task",
    "run",
    "montage",
    "block",
    "chromas",
    "units",
    "source_file",
)
_INDEX_NUMBERS = ("sampling_frequency", "n_samples", "t0", "n_missing", "row", "channel_good")
_COLUMNS = {
    "index": (*_INDEX_TEXT, *_INDEX_NUMBERS),
    "events": ("recording", "onset", "duration", "label", "value"),
    "participants": ("participant",),
    "dyads": ("dyad", "session", "task", "recording_a", "recording_b", "role_a", "role_b", "group", "use"),
}

Signals = Mapping[str, NDArray[np.float32]]
Table = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Event:
    """A mark in a recording; `onset` counts in seconds from the first sample, `duration` in seconds."""

    onset: float
    duration: float
    label: str
    value: float = float("nan")


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
    chromas : tuple of str
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
    chromas: tuple[str, ...]
    good: tuple[bool, ...]
    events: tuple[Event, ...] = ()
    source_file: str = ""
    montage: str = ""
    units: str = ""
    n_missing: int = 0

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.sfreq

    @property
    def bad_channels(self) -> tuple[str, ...]:
        """Names of the channels that are not to be used."""
        return tuple(name for name, good in zip(self.channels, self.good, strict=True) if not good)


@dataclass(frozen=True)
class DyadRow:
    """Two recordings made together: one dyad in one session and task."""

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

    @property
    def label(self) -> str:
        """Dyad, session and task in one phrase, for messages."""
        return f"dyad {self.dyad!r}, session {self.session!r}" + (f", task {self.task!r}" if self.task else "")


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
            _check_format(file, path)
            try:
                return cls(path, *_read_study(file, path))
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

    def signals(self, recording: Recording | str, chroma: str = "hbo") -> NDArray[np.float32]:
        """One recording's signals of one chromophore.

        Parameters
        ----------
        recording : Recording or str
            The recording or its id.
        chroma : str
            "hbo", "hbr", or another of the recording's `chromas`.

        Returns
        -------
        float32 [channel, time]
            In the recording's units; rows in the order of its `channels`; NaN where a sample is missing.
        """
        recording = self.recording(recording) if isinstance(recording, str) else recording
        if chroma not in recording.chromas:
            raise InputError(f"{self.path}: {recording.id} has no {chroma!r}; it has {', '.join(recording.chromas)}")
        block, row = self._places[recording.id]
        samples = np.empty((len(recording.channels), recording.n_samples), np.float32)
        with open_hdf5(self.path) as file:
            try:
                file[f"recordings/{block}/{chroma}"].read_direct(samples, np.s_[row])
            except (OSError, KeyError) as error:
                raise InputError(f"{self.path}: {recording.id}: {chroma} is damaged; pack the study again") from error
        return samples

    def describe(self) -> dict[str, Any]:
        """What the study holds, as a dictionary that JSON can carry."""
        return {
            "path": str(self.path),
            "sha256": self.sha256,
            "people": sorted(self.participants),
            "dyads": [_describe_dyad(row) for row in self.all_dyads],
            "sessions": _distinct(row.session for row in self.all_dyads),
            "tasks": _distinct(row.task for row in self.all_dyads),
            "groups": _distinct(row.group for row in self.all_dyads),
            "outcomes": _distinct(name for row in self.all_dyads for name in row.outcomes),
            "event_labels": _distinct(event.label for r in self.recordings for event in r.events),
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
    recordings : iterable of (Recording, {chroma: float32 [channel, time]})
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
    _check_dyads(dyads, str(path))
    with written_whole(path) as file:
        places, written = _write_recordings(file, recordings, path)
        rows = _point_to_written(dyads, written, path)
        _check_dyads(rows, str(path))
        _write_tables(file, written, places, _complete_participants(participants, written), rows)
        file.attrs.update(
            {
                "Conventions": "CF-1.11",
                "ibsync_format": "dataset",
                "ibsync_format_version": FORMAT_VERSION,
                "title": f"Study of {len({r.participant for r in written})} people in {len(rows)} dyad rows",
                "history": "packed by ibsync",
            }
        )


def _write_recordings(
    file: h5py.File, recordings: Iterable[tuple[Recording, Signals]], path: Path
) -> tuple[list[tuple[str, int]], list[Recording]]:
    """Write the signals block by block; returns each recording's place and the recordings as written."""
    root, blocks, montages = file.create_group("recordings"), _Blocks(), _Montages(file.create_group("montages"), path)
    places: list[tuple[str, int]] = []
    written: list[Recording] = []
    for recording, signals in recordings:
        samples = _checked_signals(recording, signals, path)
        if any(recording.id == other.id for other in written):
            raise InputError(f"{path}: recording {recording.id!r} is given twice; keep one")
        check_free_space(path, sum(x.nbytes for x in samples.values()))
        recording = replace(
            recording, montage=montages.name_of(recording), n_missing=_count_missing(recording, samples)
        )
        places.append(blocks.append(root, recording, samples))
        written.append(recording)
    if not written:
        raise InputError(f"{path}: there is no recording to write; give at least one")
    return places, written


def _checked_signals(recording: Recording, signals: Signals, path: Path) -> dict[str, NDArray[np.float32]]:
    shape = (len(recording.channels), recording.n_samples)
    where = f"{path}: recording {recording.id!r}"
    if len(recording.good) != shape[0] or len(set(recording.channels)) != shape[0]:
        raise InputError(
            f"{where}: channel names must differ and each needs one good/bad mark; correct the channel list"
        )
    if set(signals) != set(recording.chromas) or not signals:
        raise InputError(
            f"{where}: signals {sorted(signals)} do not match chromas {sorted(recording.chromas)}; give both alike"
        )
    for chroma, samples in signals.items():
        if samples.shape != shape:
            raise InputError(f"{where}: {chroma} has shape {samples.shape}, not [channel, time] = {shape}; give it so")
    return {chroma: np.ascontiguousarray(signals[chroma], np.float32) for chroma in recording.chromas}


def _count_missing(recording: Recording, samples: Signals) -> int:
    good = np.array(recording.good, bool)
    missing = [np.isnan(x[good]).any(axis=0) for x in samples.values()]
    return int(np.logical_or.reduce(missing).sum())


class _Montages:
    """The channel layouts written so far, by name."""

    def __init__(self, root: h5py.Group, path: Path) -> None:
        self._root, self._path = root, path
        self._channels: dict[str, tuple[str, ...]] = {}

    def name_of(self, recording: Recording) -> str:
        """The name of the recording's layout, written when it is new."""
        name = recording.montage or self._name_for(recording.channels)
        if not re.fullmatch(r"[\w.-]+", name):
            raise InputError(f"{self._path}: montage name {name!r} may only have letters, digits, _ . -; rename it")
        if self._channels.setdefault(name, recording.channels) != recording.channels:
            raise InputError(
                f"{self._path}: {recording.id}: montage {name!r} stands for other channels already; rename it"
            )
        if name not in self._root:
            _write_montage(self._root.create_group(name), recording.channels)
        return name

    def _name_for(self, channels: tuple[str, ...]) -> str:
        known = {value: key for key, value in self._channels.items()}
        return known.get(channels, f"montage{len(known) + 1}")


def _write_montage(group: h5py.Group, channels: tuple[str, ...]) -> None:
    optodes = [re.fullmatch(r"S(\d+)_D(\d+)", name) for name in channels]
    columns: dict[str, Sequence[Any] | NDArray[Any]] = {"channel": channels}
    if all(optodes):
        columns["source"] = np.array([int(m[1]) for m in optodes if m], np.int32)
        columns["detector"] = np.array([int(m[2]) for m in optodes if m], np.int32)
    _write_table(group, "channel", columns)


class _Blocks:
    """Which block and row the next recording of a given shape goes to."""

    def __init__(self) -> None:
        self._names: dict[tuple[Any, ...], str] = {}

    def append(self, root: h5py.Group, recording: Recording, samples: Signals) -> tuple[str, int]:
        """Write one recording's signals; returns its block and row."""
        key = (recording.montage, recording.sfreq, recording.n_samples, recording.chromas, recording.units)
        if key not in self._names:
            self._names[key] = f"block{len(self._names) + 1}"
            _make_block(root.create_group(self._names[key]), recording)
        block = root[self._names[key]]
        row = len(block["recording"])
        block["recording"].resize((row + 1,))
        block["recording"][row] = recording.id
        for chroma, values in samples.items():
            block[chroma].resize(row + 1, axis=0)
            block[chroma][row] = values
        return self._names[key], row


def _make_block(block: h5py.Group, recording: Recording) -> None:
    block.attrs["sampling_frequency"] = recording.sfreq
    scales = (
        block.create_dataset("recording", (0,), h5py.string_dtype(), maxshape=(None,), chunks=(64,)),
        block.create_dataset("channel", data=list(recording.channels), dtype=h5py.string_dtype()),
        block.create_dataset("time", data=np.arange(recording.n_samples) / recording.sfreq),
    )
    scales[2].attrs["units"] = "s"
    for scale in scales:
        scale.make_scale(scale.name.rpartition("/")[2])
    for chroma in recording.chromas:
        _make_signal(block, chroma, recording, scales)


def _make_signal(block: h5py.Group, chroma: str, recording: Recording, scales: Sequence[h5py.Dataset]) -> None:
    shape = (len(recording.channels), recording.n_samples)
    signal = block.create_dataset(
        chroma, (0, *shape), np.float32, maxshape=(None, *shape), chunks=(1, *shape), fletcher32=True, fillvalue=np.nan
    )
    signal.attrs["long_name"] = _LONG_NAMES.get(chroma, chroma)
    if recording.units:
        signal.attrs["units"] = recording.units
    for axis, scale in enumerate(scales):
        signal.dims[axis].attach_scale(scale)


def _point_to_written(dyads: Sequence[DyadRow], written: Sequence[Recording], path: Path) -> list[DyadRow]:
    by_id = {recording.id: recording for recording in written}
    for row in dyads:
        for recording in (row.recording_a, row.recording_b):
            if recording.id not in by_id:
                raise InputError(
                    f"{path}: {row.label}: recording {recording.id!r} was not given; add it or drop the dyad"
                )
    return [replace(r, recording_a=by_id[r.recording_a.id], recording_b=by_id[r.recording_b.id]) for r in dyads]


def _complete_participants(
    participants: Mapping[str, Mapping[str, str | float]], written: Sequence[Recording]
) -> dict[str, Mapping[str, str | float]]:
    return {**{recording.participant: {} for recording in written}, **participants}


def _write_tables(
    file: h5py.File,
    recordings: Sequence[Recording],
    places: Sequence[tuple[str, int]],
    participants: Mapping[str, Mapping[str, str | float]],
    dyads: Sequence[DyadRow],
) -> None:
    _write_index(file.create_group("index"), recordings, places)
    _write_table(file.create_group("events"), "event", _event_columns(recordings))
    _write_table(file.create_group("participants"), "participant", _participant_columns(participants))
    _write_table(file.create_group("dyads"), "dyad", _dyad_columns(dyads, [r.id for r in recordings]))
    file["events/onset"].attrs["units"] = file["events/duration"].attrs["units"] = file["index/t0"].attrs["units"] = "s"
    file["index/sampling_frequency"].attrs["units"] = "Hz"


def _write_index(group: h5py.Group, recordings: Sequence[Recording], places: Sequence[tuple[str, int]]) -> None:
    text = {
        "recording": [r.id for r in recordings],
        "chromas": [" ".join(r.chromas) for r in recordings],
        "block": [block for block, _ in places],
    } | {
        name: [getattr(r, name) for r in recordings]
        for name in _INDEX_TEXT
        if name not in ("recording", "block", "chromas")
    }
    numbers = {
        "sampling_frequency": np.array([r.sfreq for r in recordings], np.float64),
        "t0": np.array([r.t0 for r in recordings], np.float64),
        "n_samples": np.array([r.n_samples for r in recordings], np.int64),
        "n_missing": np.array([r.n_missing for r in recordings], np.int64),
        "row": np.array([row for _, row in places], np.int64),
    }
    _write_table(group, "recording", {**text, **numbers})
    _write_channel_marks(group, recordings)


def _write_channel_marks(group: h5py.Group, recordings: Sequence[Recording]) -> None:
    marks = np.full((len(recordings), max(len(r.channels) for r in recordings)), -1, np.int8)
    for row, recording in zip(marks, recordings, strict=True):
        row[: len(recording.good)] = recording.good
    good = group.create_dataset("channel_good", data=marks)
    good.attrs["flag_values"] = np.array([-1, 0, 1], np.int8)
    good.attrs["flag_meanings"] = "no_such_channel bad good"
    good.dims[0].attach_scale(group["recording"])
    good.dims[1].attach_scale(_bare_dimension(group, "channel_number", marks.shape[1]))


def _event_columns(recordings: Sequence[Recording]) -> dict[str, Sequence[Any] | NDArray[Any]]:
    events = [(k, event) for k, recording in enumerate(recordings) for event in recording.events]
    columns: dict[str, Sequence[Any] | NDArray[Any]] = {
        name: np.array([getattr(event, name) for _, event in events], np.float64)
        for name in ("onset", "duration", "value")
    }
    columns["recording"] = np.array([k for k, _ in events], np.int32)
    columns["label"] = [event.label for _, event in events]
    return columns


def _participant_columns(
    participants: Mapping[str, Mapping[str, str | float]],
) -> dict[str, Sequence[Any] | NDArray[Any]]:
    columns: dict[str, Sequence[Any] | NDArray[Any]] = {"participant": list(participants)}
    for name in _distinct(name for row in participants.values() for name in row):
        values = [row.get(name) for row in participants.values()]
        if all(value is None or isinstance(value, (int, float)) for value in values):
            columns[name] = np.array([np.nan if value is None else value for value in values], np.float64)
        else:
            columns[name] = ["" if value is None else str(value) for value in values]
    return columns


def _dyad_columns(dyads: Sequence[DyadRow], ids: Sequence[str]) -> dict[str, Sequence[Any] | NDArray[Any]]:
    number = {name: k for k, name in enumerate(ids)}
    columns: dict[str, Sequence[Any] | NDArray[Any]] = {
        name: [getattr(row, name) for row in dyads] for name in ("dyad", "session", "task", "group", "role_a", "role_b")
    }
    columns["recording_a"] = np.array([number[row.recording_a.id] for row in dyads], np.int32)
    columns["recording_b"] = np.array([number[row.recording_b.id] for row in dyads], np.int32)
    columns["use"] = np.array([row.use for row in dyads], np.int8)
    for name in _distinct(name for row in dyads for name in row.outcomes):
        columns[f"outcome_{name}"] = np.array([row.outcomes.get(name, np.nan) for row in dyads], np.float64)
    return columns


def _write_table(group: h5py.Group, dimension: str, columns: Mapping[str, Sequence[Any] | NDArray[Any]]) -> None:
    """One dataset a column, all along one named dimension, as netCDF has it."""
    for name, values in columns.items():
        dtype = values.dtype if isinstance(values, np.ndarray) else h5py.string_dtype()
        data = values if isinstance(values, np.ndarray) else np.array(list(values), object)
        group.create_dataset(name.replace("/", "_"), data=data, dtype=dtype)
    if dimension in columns:
        scale = group[dimension]
        scale.make_scale(dimension)
    else:
        scale = _bare_dimension(group, dimension, len(next(iter(columns.values()))))
    for name in set(columns) - {dimension}:
        group[name.replace("/", "_")].dims[0].attach_scale(scale)


def _bare_dimension(group: h5py.Group, name: str, size: int) -> h5py.Dataset:
    """A dimension without coordinate values; the wording of its name is netCDF's own convention."""
    scale = group.create_dataset(name, (size,), ">f4")
    scale.make_scale(f"This is a netCDF dimension but not a netCDF variable. {size:9d}")
    return scale


def _check_format(file: h5py.File, path: Path) -> None:
    kind = file.attrs.get("ibsync_format")
    if kind != "dataset":
        if any(name.startswith("nirs") for name in file):
            raise InputError(
                f"{path}: a SNIRF file, not a study file; make a study with: ibsync pack {path} -o study.h5"
            )
        raise InputError(f"{path}: not an ibsync study file; make one with: ibsync pack FOLDER -o study.h5")
    version = str(file.attrs.get("ibsync_format_version", ""))
    if version.split(".")[0] != FORMAT_VERSION.split(".")[0]:
        raise InputError(
            f"{path}: study format {version!r}, this ibsync reads {FORMAT_VERSION}; update ibsync or pack again"
        )


def _read_study(
    file: h5py.File, path: Path
) -> tuple[tuple[Recording, ...], dict[str, dict[str, str | float]], tuple[DyadRow, ...], dict[str, tuple[str, int]]]:
    tables = {name: _read_table(file, name, path) for name in _COLUMNS}
    index = tables["index"]
    recordings = _read_recordings(file, index, tables["events"])
    places = {
        str(i): (str(b), int(r)) for i, b, r in zip(index["recording"], index["block"], index["row"], strict=True)
    }
    _check_recordings(file, recordings, places, path)
    dyads = _read_dyads(tables["dyads"], recordings, path)
    _check_dyads(dyads, str(path))
    return recordings, _read_participants(tables["participants"], recordings), dyads, places


def _read_table(file: h5py.File, name: str, path: Path) -> Table:
    if name not in file:
        raise InputError(f"{path}: the table /{name} is missing; pack the recordings again")
    table = {key: _read_column(dataset) for key, dataset in file[name].items()}
    missing = [column for column in _COLUMNS[name] if column not in table]
    if missing:
        raise InputError(f"{path}: /{name} lacks {', '.join(missing)}; pack the recordings again")
    lengths = {len(table[column]) for column in _COLUMNS[name]}
    if len(lengths) > 1:
        raise InputError(f"{path}: the columns of /{name} differ in length; pack the recordings again")
    return table


def _read_column(dataset: h5py.Dataset) -> NDArray[Any]:
    values: NDArray[Any] = dataset.asstr()[()] if h5py.check_string_dtype(dataset.dtype) else dataset[()]
    return values


def _read_recordings(file: h5py.File, index: Table, events: Table) -> tuple[Recording, ...]:
    channels = {name: tuple(_read_column(group["channel"])) for name, group in file["montages"].items()}
    marks = _read_events(events, len(index["recording"]))
    return tuple(
        Recording(
            id=str(index["recording"][k]),
            sfreq=float(index["sampling_frequency"][k]),
            n_samples=int(index["n_samples"][k]),
            t0=float(index["t0"][k]),
            channels=channels[montage],
            chromas=tuple(str(index["chromas"][k]).split()),
            good=tuple(bool(mark == 1) for mark in index["channel_good"][k][: len(channels[montage])]),
            events=tuple(marks[k]),
            n_missing=int(index["n_missing"][k]),
            **{key: str(index[key][k]) for key in _INDEX_TEXT if key not in ("recording", "block", "chromas")},
        )
        for k, montage in enumerate(index["montage"])
    )


def _read_events(events: Table, n_recordings: int) -> list[list[Event]]:
    marks: list[list[Event]] = [[] for _ in range(n_recordings)]
    columns = (events[name] for name in ("recording", "onset", "duration", "label", "value"))
    for k, onset, duration, label, value in zip(*columns, strict=True):
        marks[int(k)].append(Event(float(onset), float(duration), str(label), float(value)))
    return marks


def _read_participants(table: Table, recordings: Sequence[Recording]) -> dict[str, dict[str, str | float]]:
    people: dict[str, dict[str, str | float]] = {recording.participant: {} for recording in recordings}
    names = [name for name in table if name != "participant"]
    for k, person in enumerate(table["participant"]):
        values = {name: table[name][k] for name in names}
        people[str(person)] = {name: v if isinstance(v, str) else float(v) for name, v in values.items()}
    return people


def _read_dyads(table: Table, recordings: Sequence[Recording], path: Path) -> tuple[DyadRow, ...]:
    outcomes = [name for name in table if name.startswith("outcome_")]
    rows = []
    for k, dyad in enumerate(table["dyad"]):
        pair = [int(table[side][k]) for side in ("recording_a", "recording_b")]
        if not all(0 <= number < len(recordings) for number in pair):
            raise InputError(f"{path}: dyad {dyad!r} (row {k}) points to a recording that is not there; pack again")
        a, b = (recordings[number] for number in pair)
        text = {name: str(table[name][k]) for name in ("dyad", "session", "task", "role_a", "role_b", "group")}
        scores = {name.removeprefix("outcome_"): float(table[name][k]) for name in outcomes}
        rows.append(
            DyadRow(
                recording_a=a, recording_b=b, person_a=a.participant, person_b=b.participant,
                use=bool(table["use"][k]), outcomes=scores, **text,
            )
        )  # fmt: skip
    return tuple(rows)


def _check_recordings(
    file: h5py.File, recordings: Sequence[Recording], places: Mapping[str, tuple[str, int]], path: Path
) -> None:
    twice = [name for name, n in Counter(r.id for r in recordings).items() if n > 1]
    if twice:
        raise InputError(f"{path}: recording {twice[0]!r} stands in /index twice; pack the recordings again")
    for recording in recordings:
        block, row = places[recording.id]
        for chroma in recording.chromas:
            signal = file.get(f"recordings/{block}/{chroma}")
            shape = (len(recording.channels), recording.n_samples)
            if signal is None or not 0 <= row < len(signal) or signal.shape[1:] != shape or signal.dtype != np.float32:
                raise InputError(f"{path}: {recording.id}: its {chroma} is missing or of another shape; pack again")


def _check_dyads(dyads: Iterable[DyadRow], where: str) -> None:
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


def _dyad_problem(row: DyadRow, a: Recording, b: Recording) -> str:
    if (row.person_a, row.person_b) != (a.participant, b.participant):
        return f"{row.person_a} and {row.person_b} do not own the recordings {a.id} and {b.id}; correct the row"
    if a.participant == b.participant:
        return f"{a.participant} is both persons; name two different people"
    if a.sfreq != b.sfreq:
        return f"{a.id} has {a.sfreq:g} Hz, {b.id} {b.sfreq:g} Hz; resample both to one rate (resample=)"
    if a.n_samples != b.n_samples:
        return f"{a.id} has {a.n_samples} samples, {b.id} {b.n_samples}; cut both to the common length (crop=True)"
    if not set(a.chromas) & set(b.chromas):
        return f"{a.id} ({', '.join(a.chromas)}) and {b.id} ({', '.join(b.chromas)}) share no signal; pack both alike"
    return ""


def _distinct(values: Iterable[str]) -> list[str]:
    return [value for value in dict.fromkeys(values) if value]


def _some(values: Iterable[str], limit: int = 6) -> str:
    """The first few values, and how many more there are."""
    names = list(values)
    more = f", ... ({len(names)} in all)" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def _describe_dyad(row: DyadRow) -> dict[str, Any]:
    text = {
        name: getattr(row, name)
        for name in ("dyad", "session", "task", "group", "person_a", "person_b", "role_a", "role_b")
    }
    outcomes = {name: None if np.isnan(value) else value for name, value in row.outcomes.items()}
    return text | {"use": row.use, "outcomes": outcomes, "recordings": [row.recording_a.id, row.recording_b.id]}


def _describe_recording(recording: Recording) -> dict[str, Any]:
    text = {
        name: getattr(recording, name)
        for name in ("id", "participant", "session", "task", "run", "units", "source_file")
    }
    return text | {
        "sfreq_hz": recording.sfreq,
        "n_samples": recording.n_samples,
        "n_missing": recording.n_missing,
        "n_channels": len(recording.channels),
        "bad_channels": list(recording.bad_channels),
        "chromas": list(recording.chromas),
        "n_events": len(recording.events),
    }


def _summary_lines(study: StudyFile) -> Iterator[str]:
    recordings, dyads = study.recordings, study.all_dyads
    durations = [r.duration_s for r in recordings]
    unused = sum(not row.use for row in dyads)
    yield f"Study {study.path.name}"
    yield f"  people        {len(study.participants)}: {_some(study.participants)}"
    names = _distinct(row.dyad for row in dyads)
    yield f"  dyads         {len(names)} in {len(dyads)} rows: {_some(names)}"
    if unused:
        yield f"  not used      {unused} dyad rows are marked use=0"
    for name, values in (("sessions", "session"), ("tasks", "task"), ("groups", "group")):
        found = _distinct(getattr(row, values) for row in dyads)
        if found:
            yield f"  {name:<13} {_some(found)}"
    yield f"  recordings    {len(recordings)}, {min(durations):.1f} to {max(durations):.1f} s"
    yield f"  rates         {_some(f'{rate:g} Hz' for rate in sorted({r.sfreq for r in recordings}))}"
    yield f"  signals       {_some(_distinct(c for r in recordings for c in r.chromas))}"
    yield f"  channels      {_some(_distinct(c for r in recordings for c in r.channels))}"
    yield from _attention_lines(study)


def _attention_lines(study: StudyFile) -> Iterator[str]:
    labels = _distinct(event.label for r in study.recordings for event in r.events)
    outcomes = _distinct(name for row in study.all_dyads for name in row.outcomes)
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
