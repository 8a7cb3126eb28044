"""Hides how a study file is checked and read back into recordings, people and dyads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5g
from numpy.typing import NDArray

from ..errors import InputError
from .contents import Contents, changes_in, read_contents, refuse_changes, root_digest
from .hdf5 import VettedGroup
from .recording import AUXILIARY, DyadRow, Event, Recording, check_dyads
from .study_file_writing import (
    COLUMNS,
    FORMAT_VERSION,
    RECORDING_TEXT,
    SINCE_2_1,
    SINCE_2_2,
    Place,
    is_signal,
    signal_digest,
)

Table = dict[str, NDArray[Any]]
Participants = dict[str, dict[str, str | float]]

_TEXT = {
    "index": {"recording", "block", "signals", "digests", "auxiliary", *RECORDING_TEXT},
    "events": {"label"},
    "participants": {"participant"},
    "dyads": {"dyad", "session", "task", "role_a", "role_b", "group"},
}
_AXES = {"channel_good": 2, "channel_short": 2, "optode_position": 3}
_FINITE = (np.finfo(np.float64).min, np.finfo(np.float64).max)
_PLAUSIBLE_HZ = (1e-3, 1e5)
_COUNT = (0, 2**48)


@dataclass(frozen=True)
class StudyLayout:
    """What a study file holds but for its signals, and where these lie."""

    recordings: tuple[Recording, ...]
    participants: Participants
    dyads: tuple[DyadRow, ...]
    places: dict[str, Place]
    sha256: str
    changes: tuple[str, ...]
    version: str
    preprocessing: str


def read_study_layout(file: h5py.File, path: Path, *, accept_changes: bool) -> StudyLayout:
    """Recordings, participants and dyads, found consistent, and unchanged unless changes are accepted.

    Where they are, every signal is digested here and now, so that what is read later is what was accepted.
    """
    _check_kind(file, path)
    contents = read_contents(file, path, is_signal, any_text=accept_changes)
    _check_version(contents, path)
    changes = changes_in(contents)
    if not accept_changes:
        refuse_changes(path, changes)
    tables = {name: _checked_table(contents, name, path) for name in COLUMNS}
    recordings = _read_recordings(contents, tables["index"], tables["events"], path)
    places = _places(tables["index"])
    _check_recordings(file, recordings, places, path)
    if accept_changes:
        places, changed_signals = _digested(file, recordings, places, path)
        changes += changed_signals
        column = contents["index/digests"]
        contents["index/digests"] = replace(column, values=np.array([" ".join(p.digests) for p in places.values()]))
    dyads = _read_dyads(tables["dyads"], recordings)
    check_dyads(dyads, str(path))
    people = _read_participants(tables["participants"], recordings)
    version = str(contents[""].attrs["ibsync_format_version"])
    preprocessing = str(contents[""].attrs.get("preprocessing", ""))
    return StudyLayout(recordings, people, dyads, places, root_digest(contents), changes, version, preprocessing)


def _check_kind(file: h5py.File, path: Path) -> None:
    if "ibsync_format" in file.attrs:
        return
    if any(name.startswith("nirs") for name in file):
        raise InputError(f"{path}: a SNIRF file, not a study file; make a study with: ibsync pack {path} -o study.h5")
    raise InputError(f"{path}: not an ibsync study file; make one with: ibsync pack FOLDER -o study.h5")


def _check_version(contents: Contents, path: Path) -> None:
    version = str(contents[""].attrs.get("ibsync_format_version", ""))
    major, own = version.split(".")[0], FORMAT_VERSION.split(".")[0]
    if major != own:
        fix = "update ibsync" if major.isdecimal() and int(major) > int(own) else "pack the recordings again"
        raise InputError(f"{path}: study format {version!r}, this ibsync reads {FORMAT_VERSION}; {fix}")


def _table(contents: Contents, group: str) -> Table:
    """Columns of a table by name."""
    inside = {place.rpartition("/"): content.values for place, content in contents.items()}
    return {name: values for (owner, _, name), values in inside.items() if owner == group and values is not None}


def _checked_table(contents: Contents, name: str, path: Path) -> Table:
    """A table whose columns are there, alike in length, and of the type and range that ibsync writes."""
    table = _table(contents, name)
    if name not in contents:
        raise InputError(f"{path}: the table /{name} is missing; pack the recordings again")
    missing = [column for column in COLUMNS[name] if column not in table]
    if missing:
        raise InputError(f"{path}: /{name} lacks {', '.join(missing)}; pack the recordings again")
    more = [column for column in table if column.startswith("outcome_") or column == "day"]
    if name == "index" and set(SINCE_2_1) & set(table):
        lacking = [column for column in SINCE_2_1 if column not in table]
        if lacking:
            raise InputError(f"{path}: /{name} lacks {', '.join(lacking)}; pack the recordings again")
        more += SINCE_2_1
    if name == "index" and SINCE_2_2 in table:
        more.append(SINCE_2_2)
    for column in [*COLUMNS[name], *more]:
        is_text, n_axes = column in _TEXT[name], _AXES.get(column, 1)
        values = table[column]
        has_type = values.ndim == n_axes and (values.dtype.kind == "U") == is_text
        if not has_type or len(values) != len(table[COLUMNS[name][0]]):
            raise InputError(
                f"{path}: /{name}/{column} is no column of {'text' if is_text else 'numbers'} as long as the others; "
                "pack the recordings again"
            )
    for column in ("channel_short", "optode_position"):
        if column in more and table[column].shape != (*table["channel_good"].shape, 6)[: _AXES[column]]:
            raise InputError(f"{path}: /{name}/{column} is not of the shape of channel_good; pack the recordings again")
    n_recordings = len(_table(contents, "index").get("recording", ()))
    ranges = _ranges(name, n_recordings)
    for column, (low, high) in {column: of for column, of in ranges.items() if column in table}.items():
        is_plausible = (low <= table[column]) & (table[column] <= high)
        wrong = np.flatnonzero(~is_plausible.all(axis=tuple(range(1, is_plausible.ndim))))
        if wrong.size:
            raise InputError(
                f"{path}: /{name}/{column} is {table[column][wrong[0]]} in row {wrong[0]}, not {low:g} to {high:g}; "
                "pack the recordings again"
            )
    return table


def _ranges(name: str, n_recordings: int) -> dict[str, tuple[float, float]]:
    """Least and largest value of the columns of a table."""
    of_recording = (0, n_recordings - 1)
    ranges: dict[str, dict[str, tuple[float, float]]] = {
        "index": {
            "sampling_frequency": _PLAUSIBLE_HZ, "n_samples": (1, _COUNT[1]), "n_missing": _COUNT, "row": _COUNT,
            "t0": _FINITE, "channel_good": (-1, 1), SINCE_2_2: _COUNT,
        },
        "events": {"recording": of_recording, "onset": _FINITE, "duration": _FINITE},
        "participants": {},
        "dyads": {"recording_a": of_recording, "recording_b": of_recording, "use": (0, 1)},
    }  # fmt: skip
    return ranges[name]


def _places(index: Table) -> dict[str, Place]:
    rows = zip(index["recording"], index["block"], index["row"], index["digests"], strict=True)
    return {str(name): Place(str(block), int(row), tuple(str(digests).split())) for name, block, row, digests in rows}


def _read_recordings(contents: Contents, index: Table, events: Table, path: Path) -> tuple[Recording, ...]:
    montages = {str(name): contents.get(f"montages/{name}/channel") for name in index["montage"]}
    channels: dict[str, tuple[str, ...]] = {}
    for name, column in montages.items():
        if column is None or column.values is None or column.values.ndim != 1 or column.values.dtype.kind != "U":
            raise InputError(f"{path}: /montages/{name} has no channel names; pack the recordings again")
        channels[name] = tuple(map(str, column.values))
    marks = _read_events(events, len(index["recording"]))
    texts: list[dict[str, Any]] = [{key: str(index[key][k]) for key in RECORDING_TEXT} for k in range(len(marks))]
    recordings = (
        Recording(
            id=str(index["recording"][k]),
            sfreq=float(index["sampling_frequency"][k]),
            n_samples=int(index["n_samples"][k]),
            t0=float(index["t0"][k]),
            channels=channels[montage],
            signal_names=tuple(str(index["signals"][k]).split()),
            good=tuple(bool(mark == 1) for mark in index["channel_good"][k][: len(channels[montage])]),
            events=tuple(marks[k]),
            n_missing=int(index["n_missing"][k]),
            trial_samples=int(index[SINCE_2_2][k]) if SINCE_2_2 in index else 0,
            **texts[k],
        )
        for k, montage in enumerate(index["montage"])
    )
    return tuple(replace(recording, **_since_2_1(index, k, recording)) for k, recording in enumerate(recordings))


def _since_2_1(index: Table, k: int, recording: Recording) -> dict[str, Any]:
    """Short channels, positions and auxiliary signals of a recording; nothing where the file is older."""
    if SINCE_2_1[0] not in index:
        return {}
    n_channels = len(recording.channels)
    short = tuple(bool(mark == 1) for mark in index["channel_short"][k][:n_channels])
    places = index["optode_position"][k][:n_channels].astype(np.float64)
    is_known = not np.isnan(places).all()
    return {
        "auxiliary": tuple(str(index["auxiliary"][k]).split()),
        "short": short if any(short) else (),
        "optodes_mm": tuple(tuple(place) for place in places.tolist()) if is_known else (),
    }


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


def _read_dyads(table: Table, recordings: Sequence[Recording]) -> tuple[DyadRow, ...]:
    outcomes = [name for name in table if name.startswith("outcome_")]
    rows = []
    for k in range(len(table["dyad"])):
        a, b = (recordings[int(table[side][k])] for side in ("recording_a", "recording_b"))
        text = {name: str(table[name][k]) for name in ("dyad", "session", "task", "role_a", "role_b", "group")}
        day = float(table["day"][k]) if "day" in table else float("nan")
        scores = {name.removeprefix("outcome_"): float(table[name][k]) for name in outcomes}
        rows.append(
            DyadRow(
                recording_a=a, recording_b=b, person_a=a.participant, person_b=b.participant,
                use=bool(table["use"][k]), outcomes=scores, day=day, **text,
            )
        )  # fmt: skip
    return tuple(rows)


def _check_recordings(
    file: h5py.File, recordings: Sequence[Recording], places: Mapping[str, Place], path: Path
) -> None:
    twice = [name for name, n in Counter(r.id for r in recordings).items() if n > 1]
    if twice or not recordings:
        problem = f"recording {twice[0]!r} stands in /index twice" if twice else "there is no recording in /index"
        raise InputError(f"{path}: {problem}; pack the recordings again")
    source = OpenSamples(file, path)
    for recording in recordings:
        place, n = places[recording.id], len(recording.channels)
        if not len(place.digests) == len(recording.arrays) > 0 or len(recording.good) != n:
            raise InputError(f"{path}: {recording.id}: its signals, digests and marks do not agree; pack again")
        for signal in recording.arrays:
            dataset = source.dataset(place.block, signal)
            shape = (len(recording.auxiliary) if signal == AUXILIARY else n, recording.n_samples)
            is_whole = not recording.trial_samples or recording.n_samples % recording.trial_samples == 0
            is_there = place.row < dataset.shape[0]
            if not (is_whole and is_there and dataset.shape[1:] == shape and dataset.dtype == np.float32):
                raise InputError(f"{path}: {recording.id}: its {signal} is of another shape or type; pack again")


class OpenSamples:
    """Samples of an open study file; what holds those of a block is vetted once."""

    def __init__(self, file: h5py.File, path: Path) -> None:
        self._file, self._path = file, path
        self._datasets: dict[tuple[str, str], h5py.Dataset] = {}

    def dataset(self, block: str, signal: str) -> h5py.Dataset:
        """What holds one signal of all recordings of a block."""
        key = (block, signal)
        if key not in self._datasets:
            self._datasets[key] = h5py.Dataset(_signal_dataset(self._file, *key, self._path))
        return self._datasets[key]

    def read(self, place: Place, signal: str) -> NDArray[np.float32]:
        """One signal of one recording in full, float32 [channel, time]."""
        dataset = self.dataset(place.block, signal)
        samples = np.empty(dataset.shape[1:], np.float32)
        dataset.read_direct(samples, np.s_[place.row])
        return samples


def _signal_dataset(file: h5py.File, block: str, signal: str, path: Path) -> h5d.DatasetID:
    """The vetted dataset that holds one signal of all recordings of a block."""
    dataset = VettedGroup(h5g.open(file.id, b"/"), path, any_text=False).at(f"recordings/{block}").dataset(signal)
    if dataset is None:
        raise InputError(f"{path}: /recordings/{block} holds no {signal}; pack the recordings again")
    return dataset


def _digested(
    file: h5py.File, recordings: Sequence[Recording], places: Mapping[str, Place], path: Path
) -> tuple[dict[str, Place], tuple[str, ...]]:
    """The places with the digests of what is there now, and which signals are not what ibsync wrote."""
    current: dict[str, Place] = {}
    changes: list[str] = []
    source = OpenSamples(file, path)
    for recording in recordings:
        place = places[recording.id]
        digests = [signal_digest(source.read(place, signal)) for signal in recording.arrays]
        current[recording.id] = replace(place, digests=tuple(digests))
        pairs = zip(recording.arrays, digests, place.digests, strict=True)
        changes += [f"{signal} of {recording.id}" for signal, now, then in pairs if now != then]
    return current, tuple(changes)
