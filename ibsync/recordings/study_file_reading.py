"""Hides how a study file is checked and read back into recordings, people and dyads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .recording import DyadRow, Event, Recording, check_dyads
from .study_file_writing import COLUMNS, FORMAT_VERSION, RECORDING_TEXT

Table = dict[str, NDArray[Any]]


def read_study_layout(
    file: h5py.File, path: Path
) -> tuple[tuple[Recording, ...], dict[str, dict[str, str | float]], tuple[DyadRow, ...], dict[str, tuple[str, int]]]:
    """Recordings, participants, dyads, and the block and row of each recording's signals, all found consistent."""
    _check_format(file, path)
    tables = {name: _read_table(file, name, path) for name in COLUMNS}
    index = tables["index"]
    recordings = _read_recordings(file, index, tables["events"])
    places = {
        str(i): (str(b), int(r)) for i, b, r in zip(index["recording"], index["block"], index["row"], strict=True)
    }
    _check_recordings(file, recordings, places, path)
    dyads = _read_dyads(tables["dyads"], recordings, path)
    check_dyads(dyads, str(path))
    return recordings, _read_participants(tables["participants"], recordings), dyads, places


def _check_format(file: h5py.File, path: Path) -> None:
    kind = file.attrs.get("ibsync_format")
    if kind != "dataset":
        if any(name.startswith("nirs") for name in file):
            raise InputError(
                f"{path}: a SNIRF file, not a study file; make a study with: ibsync pack {path} -o study.h5"
            )
        raise InputError(f"{path}: not an ibsync study file; make one with: ibsync pack FOLDER -o study.h5")
    version = str(file.attrs.get("ibsync_format_version", ""))
    major, own = version.split(".")[0], FORMAT_VERSION.split(".")[0]
    if major != own:
        fix = "update ibsync" if major.isdecimal() and int(major) > int(own) else "pack the recordings again"
        raise InputError(f"{path}: study format {version!r}, this ibsync reads {FORMAT_VERSION}; {fix}")


def _read_table(file: h5py.File, name: str, path: Path) -> Table:
    if name not in file:
        raise InputError(f"{path}: the table /{name} is missing; pack the recordings again")
    table = {key: _read_column(dataset) for key, dataset in file[name].items()}
    missing = [column for column in COLUMNS[name] if column not in table]
    if missing:
        raise InputError(f"{path}: /{name} lacks {', '.join(missing)}; pack the recordings again")
    lengths = {len(table[column]) for column in COLUMNS[name]}
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
            signal_names=tuple(str(index["signals"][k]).split()),
            good=tuple(bool(mark == 1) for mark in index["channel_good"][k][: len(channels[montage])]),
            events=tuple(marks[k]),
            n_missing=int(index["n_missing"][k]),
            **{key: str(index[key][k]) for key in RECORDING_TEXT},
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
    file: h5py.File, recordings: Sequence[Recording], places: Mapping[str, tuple[str, int]], path: Path
) -> None:
    twice = [name for name, n in Counter(r.id for r in recordings).items() if n > 1]
    if twice:
        raise InputError(f"{path}: recording {twice[0]!r} stands in /index twice; pack the recordings again")
    for recording in recordings:
        block, row = places[recording.id]
        for signal in recording.signal_names:
            dataset = file.get(f"recordings/{block}/{signal}")
            shape = (len(recording.channels), recording.n_samples)
            if (
                dataset is None
                or not 0 <= row < len(dataset)
                or dataset.shape[1:] != shape
                or dataset.dtype != np.float32
            ):
                raise InputError(f"{path}: {recording.id}: its {signal} is missing or of another shape; pack again")
