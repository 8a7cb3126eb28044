"""Hides how a study lies in HDF5: stacked signals, columnar tables, netCDF's dimension scales, digests of all of it.

`/index`, `/events`, `/participants` and `/dyads` are tables, one dataset a column. `/recordings/<block>` holds all
recordings that share channels, sampling rate, length and chromophores, stacked `float32 [recording, channel, time]`.
The index holds a digest of each recording's signals, the root those of all the rest.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .contents import make_scale, write_array, write_attributes, write_digests
from .hdf5_writing import check_free_space
from .recording import AUXILIARY, DyadRow, Recording, check_dyads

FORMAT_VERSION = "2.2"
_LONG_NAMES = {
    "hbo": "oxygenated haemoglobin change",
    "hbr": "deoxygenated haemoglobin change",
    "hbt": "total haemoglobin change",
    "eeg": "scalp potential",
}
RECORDING_TEXT = ("participant", "session", "task", "run", "montage", "units", "source_file")
_INDEX_NUMBERS = ("sampling_frequency", "n_samples", "t0", "n_missing", "row", "channel_good")
COLUMNS = {
    "index": ("recording", "block", "signals", "digests", *RECORDING_TEXT, *_INDEX_NUMBERS),
    "events": ("recording", "onset", "duration", "label", "value"),
    "participants": ("participant",),
    "dyads": ("dyad", "session", "task", "recording_a", "recording_b", "role_a", "role_b", "group", "use"),
}
SINCE_2_1 = ("auxiliary", "channel_short", "optode_position")
"""Columns of the index that a file of format 2.0 lacks."""
SINCE_2_2 = "trial_samples"
"""A column of the index that older files lack."""
_COORDINATES = tuple(f"{optode}_{axis}" for optode in ("source", "detector") for axis in "xyz")

Signals = Mapping[str, NDArray[np.float32]]
Columns = dict[str, Sequence[Any] | NDArray[Any]]


def write_study_layout(
    file: h5py.File,
    recordings: Iterable[tuple[Recording, Signals]],
    participants: Mapping[str, Mapping[str, str | float]],
    dyads: Sequence[DyadRow],
    path: Path,
    preprocessing: Mapping[str, Any],
) -> None:
    """Write a whole study into an empty HDF5 file; `path` is its final name, for messages."""
    places, written = _write_recordings(file, recordings, path)
    rows = _point_to_written(dyads, written, path)
    check_dyads(rows, str(path))
    people = {**{recording.participant: {} for recording in written}, **participants}
    _write_tables(file, written, places, people, rows)
    title = f"Study of {len({r.participant for r in written})} people in {len(rows)} dyad rows"
    kind = {"Conventions": "CF-1.11", "ibsync_format": "dataset", "ibsync_format_version": FORMAT_VERSION}
    made = {"preprocessing": json.dumps(preprocessing)} if preprocessing else {}
    write_attributes(file, {**kind, **made, "title": title, "history": "packed by ibsync"})
    write_digests(file, path, is_signal)


def is_signal(place: str) -> bool:
    """Whether a dataset, by its path, holds samples, which are digested recording by recording."""
    group, _, name = place.rpartition("/")
    return group.startswith("recordings/") and name not in ("recording", "channel", "time", "auxiliary_name")


def signal_digest(samples: NDArray[np.float32]) -> str:
    """SHA-256 of one signal of one recording, float32 [channel, time], in hexadecimal."""
    return hashlib.sha256(np.ascontiguousarray(samples, "<f4").data).hexdigest()


@dataclass(frozen=True)
class Place:
    """Where the signals of a recording lie, and the digest of each."""

    block: str
    row: int
    digests: tuple[str, ...]


def _write_recordings(
    file: h5py.File, recordings: Iterable[tuple[Recording, Signals]], path: Path
) -> tuple[list[Place], list[Recording]]:
    """Write the signals block by block; returns each recording's place and the recordings as written."""
    blocks, montages = _Blocks(file.create_group("recordings")), _Montages(file.create_group("montages"), path)
    places: list[Place] = []
    written: list[Recording] = []
    seen: set[str] = set()
    for recording, signals in recordings:
        samples = _checked_signals(recording, signals, path)
        if recording.id in seen:
            raise InputError(f"{path}: recording {recording.id!r} is given twice; keep one")
        check_free_space(path, sum(x.nbytes for x in samples.values()))
        recording = replace(recording, montage=montages.name_of(recording), n_missing=count_missing(recording, samples))
        places.append(blocks.append(recording, samples))
        written.append(recording)
        seen.add(recording.id)
    if not written:
        raise InputError(f"{path}: there is no recording to write; give at least one")
    blocks.label()
    return places, written


def _checked_signals(recording: Recording, signals: Signals, path: Path) -> dict[str, NDArray[np.float32]]:
    shape = (len(recording.channels), recording.n_samples)
    where = f"{path}: recording {recording.id!r}"
    if len(recording.good) != shape[0] or len(set(recording.channels)) != shape[0]:
        raise InputError(
            f"{where}: channel names must differ and each needs one good/bad mark; correct the channel list"
        )
    if set(signals) != set(recording.arrays) or not recording.signal_names or AUXILIARY in recording.signal_names:
        raise InputError(
            f"{where}: signals {sorted(signals)} do not match the names {sorted(recording.arrays)}; give both alike"
        )
    if recording.trial_samples and recording.n_samples % recording.trial_samples:
        raise InputError(f"{where}: its samples are no whole number of trials; give trials of one length")
    _check_names_and_places(recording, where)
    for signal, samples in signals.items():
        expected = (len(recording.auxiliary), shape[1]) if signal == AUXILIARY else shape
        if samples.shape != expected:
            raise InputError(
                f"{where}: {signal} has shape {samples.shape}, not [channel, time] = {expected}; give it so"
            )
    return {signal: np.ascontiguousarray(signals[signal], np.float32) for signal in recording.arrays}


def _check_names_and_places(recording: Recording, where: str) -> None:
    n = len(recording.channels)
    names = (*recording.auxiliary, *recording.channels)
    if len(set(names)) < len(names) or any(re.search(r"\s", name) or not name for name in recording.auxiliary):
        raise InputError(
            f"{where}: auxiliary signals {list(recording.auxiliary)} need names without spaces that differ from each "
            "other and from channels; rename them"
        )
    if len(recording.short) not in (0, n) or len(recording.optodes_mm) not in (0, n):
        raise InputError(f"{where}: short and optodes_mm need one entry for each of {n} channels, or none")


def count_missing(recording: Recording, samples: Signals) -> int:
    """Samples that are missing in at least one good channel."""
    good = np.array(recording.good, bool)
    missing = [np.isnan(samples[signal][good]).any(axis=0) for signal in recording.signal_names]
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
    columns: Columns = {"channel": channels}
    if all(optodes):
        columns["source"] = np.array([int(m[1]) for m in optodes if m], np.int32)
        columns["detector"] = np.array([int(m[2]) for m in optodes if m], np.int32)
    _write_table(group, "channel", columns)


class _Blocks:
    """Which block and row the next recording of a given shape goes to."""

    def __init__(self, root: h5py.Group) -> None:
        self._root = root
        self._members: dict[tuple[Any, ...], list[Recording]] = {}

    def append(self, recording: Recording, samples: Signals) -> Place:
        """Write one recording's signals; returns where they lie."""
        of = (recording.montage, recording.sfreq, recording.n_samples, recording.trial_samples)
        key = (*of, recording.signal_names, recording.units, recording.auxiliary)
        members = self._members.setdefault(key, [])
        name = f"block{list(self._members).index(key) + 1}"
        if not members:
            _make_block(self._root.create_group(name), recording)
        row = len(members)
        for signal, values in samples.items():
            dataset = self._root[name][signal]
            dataset.resize(row + 1, axis=0)
            dataset[row] = values
        members.append(recording)
        return Place(name, row, tuple(signal_digest(samples[name]) for name in recording.arrays))

    def label(self) -> None:
        """Name the recordings, channels and times of every block, when all are written."""
        for number, members in enumerate(self._members.values(), 1):
            _label_block(self._root[f"block{number}"], members)


def _make_block(block: h5py.Group, recording: Recording) -> None:
    block.attrs["sampling_frequency"] = recording.sfreq
    for signal in recording.arrays:
        names = recording.auxiliary if signal == AUXILIARY else recording.channels
        shape = (len(names), recording.n_samples)
        dataset = block.create_dataset(
            signal, (0, *shape), np.float32, maxshape=(None, *shape), chunks=(1, *shape), fletcher32=True,
            fillvalue=np.nan,
        )  # fmt: skip
        units = {"units": recording.units} if recording.units and signal != AUXILIARY else {}
        write_attributes(dataset, {"long_name": _LONG_NAMES.get(signal, signal), **units})


def _label_block(block: h5py.Group, members: Sequence[Recording]) -> None:
    first = members[0]
    labels: Columns = {
        "recording": [recording.id for recording in members],
        "channel": first.channels,
        "time": np.arange(first.n_samples) / first.sfreq,
    }
    if first.auxiliary:
        labels["auxiliary_name"] = first.auxiliary
    axes = {"recording": 0, "channel": 1, "auxiliary_name": 1, "time": 2}
    for name, values in labels.items():
        write_array(block, name, values)
        scale = make_scale(block, name, len(values))
        for signal in first.arrays:
            if name != ("channel" if signal == AUXILIARY else "auxiliary_name"):
                block[signal].dims[axes[name]].attach_scale(scale)
    write_attributes(block["time"], {"units": "s"})


def _point_to_written(dyads: Sequence[DyadRow], written: Sequence[Recording], path: Path) -> list[DyadRow]:
    by_id = {recording.id: recording for recording in written}
    for row in dyads:
        for recording in (row.recording_a, row.recording_b):
            if recording.id not in by_id:
                raise InputError(
                    f"{path}: {row.label}: recording {recording.id!r} was not given; add it or drop the dyad"
                )
    return [replace(r, recording_a=by_id[r.recording_a.id], recording_b=by_id[r.recording_b.id]) for r in dyads]


def _write_tables(
    file: h5py.File,
    recordings: Sequence[Recording],
    places: Sequence[Place],
    participants: Mapping[str, Mapping[str, str | float]],
    dyads: Sequence[DyadRow],
) -> None:
    _write_index(file.create_group("index"), recordings, places)
    _write_table(file.create_group("events"), "event", _event_columns(recordings))
    _write_table(file.create_group("participants"), "participant", _participant_columns(participants))
    _write_table(file.create_group("dyads"), "dyad", _dyad_columns(dyads, [r.id for r in recordings]))
    for name in ("events/onset", "events/duration", "index/t0"):
        write_attributes(file[name], {"units": "s"})
    write_attributes(file["index/sampling_frequency"], {"units": "Hz"})


def _write_index(group: h5py.Group, recordings: Sequence[Recording], places: Sequence[Place]) -> None:
    text = {
        "recording": [r.id for r in recordings],
        "signals": [" ".join(r.signal_names) for r in recordings],
        "auxiliary": [" ".join(r.auxiliary) for r in recordings],
        "block": [place.block for place in places],
        "digests": [" ".join(place.digests) for place in places],
    } | {name: [getattr(r, name) for r in recordings] for name in RECORDING_TEXT}
    numbers = {
        "sampling_frequency": np.array([r.sfreq for r in recordings], np.float64),
        "t0": np.array([r.t0 for r in recordings], np.float64),
        "n_samples": np.array([r.n_samples for r in recordings], np.int64),
        "n_missing": np.array([r.n_missing for r in recordings], np.int64),
        "row": np.array([place.row for place in places], np.int64),
        SINCE_2_2: np.array([r.trial_samples for r in recordings], np.int64),
    }
    _write_table(group, "recording", {**text, **numbers})
    _write_channel_marks(group, recordings)


def _write_channel_marks(group: h5py.Group, recordings: Sequence[Recording]) -> None:
    marks = np.full((len(recordings), max(len(r.channels) for r in recordings)), -1, np.int8)
    for row, recording in zip(marks, recordings, strict=True):
        row[: len(recording.good)] = recording.good
    good = group.create_dataset("channel_good", data=marks)
    flags = {"flag_values": np.array([-1, 0, 1], np.int8), "flag_meanings": "no_such_channel bad good"}
    write_attributes(good, flags)
    short = np.where(marks < 0, marks, 0)
    places = np.full((*marks.shape, len(_COORDINATES)), np.nan)
    for k, recording in enumerate(recordings):
        short[k, : len(recording.short)] = recording.short
        if recording.optodes_mm:
            places[k, : len(recording.channels)] = recording.optodes_mm
    write_attributes(group.create_dataset("channel_short", data=short), {"flag_values": flags["flag_values"],
                     "flag_meanings": "no_such_channel long short"})  # fmt: skip
    write_attributes(group.create_dataset("optode_position", data=places), {"units": "mm"})
    write_array(group, "coordinate", _COORDINATES)
    number, coordinate = make_scale(group, "channel_number", marks.shape[1]), make_scale(group, "coordinate", 6)
    for name in ("channel_good", "channel_short", "optode_position"):
        group[name].dims[0].attach_scale(group["recording"])
        group[name].dims[1].attach_scale(number)
    group["optode_position"].dims[2].attach_scale(coordinate)


def _event_columns(recordings: Sequence[Recording]) -> Columns:
    events = [(k, event) for k, recording in enumerate(recordings) for event in recording.events]
    columns: Columns = {
        name: np.array([getattr(event, name) for _, event in events], np.float64)
        for name in ("onset", "duration", "value")
    }
    columns["recording"] = np.array([k for k, _ in events], np.int32)
    columns["label"] = [event.label for _, event in events]
    return columns


def _participant_columns(participants: Mapping[str, Mapping[str, str | float]]) -> Columns:
    columns: Columns = {"participant": list(participants)}
    for name in distinct(name for row in participants.values() for name in row):
        values = [row.get(name) for row in participants.values()]
        if all(value is None or isinstance(value, (int, float)) for value in values):
            columns[name] = np.array([np.nan if value is None else value for value in values], np.float64)
        else:
            columns[name] = ["" if value is None else str(value) for value in values]
    return columns


def _dyad_columns(dyads: Sequence[DyadRow], ids: Sequence[str]) -> Columns:
    number = {name: k for k, name in enumerate(ids)}
    columns: Columns = {
        name: [getattr(row, name) for row in dyads] for name in ("dyad", "session", "task", "group", "role_a", "role_b")
    }
    columns["recording_a"] = np.array([number[row.recording_a.id] for row in dyads], np.int32)
    columns["recording_b"] = np.array([number[row.recording_b.id] for row in dyads], np.int32)
    columns["use"] = np.array([row.use for row in dyads], np.int8)
    if any(np.isfinite(row.day) for row in dyads):
        columns["day"] = np.array([row.day for row in dyads], np.float64)
    for name in distinct(name for row in dyads for name in row.outcomes):
        columns[f"outcome_{name}"] = np.array([row.outcomes.get(name, np.nan) for row in dyads], np.float64)
    return columns


def _write_table(group: h5py.Group, dimension: str, columns: Columns) -> None:
    """One dataset a column, all along one named dimension, as netCDF has it."""
    for name, values in columns.items():
        column = values if isinstance(values, np.ndarray) else np.array(list(values), str)
        write_array(group, name.replace("/", "_"), column)
    scale = make_scale(group, dimension, len(next(iter(columns.values()))))
    for name in columns:
        if name != dimension:
            group[name.replace("/", "_")].dims[0].attach_scale(scale)


def distinct(values: Iterable[str]) -> list[str]:
    """The values that are not empty, each once, in order of appearance."""
    return [value for value in dict.fromkeys(values) if value]
