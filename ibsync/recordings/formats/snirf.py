"""Hides SNIRF: the many spellings of the same recording, read straight from HDF5 without trusting the file.

`read_snirf` takes any data type and reads only the description; samples follow with `SnirfBlock.read`.
`haemoglobin` narrows one person's part to the HbO/HbR signals that a study holds.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5g
from numpy.typing import NDArray

from ...errors import IbsyncError, InputError
from ..clock import Clock
from ..hdf5 import VettedGroup, open_hdf5
from ..names import plain, signal_named
from ..preprocess import light_of
from ..recording import Event
from ..source import Source, read_channel_marks
from .light import PREPROCESS, LightRecording, light_recording
from .source_recording import Notes, SignalChoice, SourceRecording, events_of, marks_outside, short_channels

MNE_CHAIN = (
    "mne.preprocessing.nirs.optical_density -> temporal_derivative_distribution_repair -> beer_lambert_law, "
    "saved with mne_nirs.io.snirf.write_raw_snirf"
)
_KINDS = {
    1: "intensity", 51: "fluorescence", 101: "fd-ac", 102: "fd-phase", 201: "td-gated", 301: "td-moment",
    401: "dcs", 410: "dcs",
}  # fmt: skip
_PROCESSED = 99999
_DATA_TYPES = {*_KINDS, 151, 152, 251, 351, _PROCESSED}
_HAEMOGLOBIN = ("hbo", "hbr", "hbt")
_SECONDS = {"": 1.0, "unknown": 1.0, "s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6}
_SECONDS |= {"µs": 1e-6, "μs": 1e-6}
_LIST_NUMBERS = ("sourceIndex", "detectorIndex", "wavelengthIndex", "dataType")
_LIST_TEXTS = ("dataTypeLabel", "dataUnit")
_MILLIMETRES = {"mm": 1.0, "cm": 10.0, "m": 1000.0}
_SLAB_VALUES = 2**20


@dataclass(frozen=True)
class SnirfChannel:
    """One column of a data block; its identity is source, detector and kind (for light: and wavelength).

    Source and detector count from 1; kinds are "intensity", "dod", "hbo", "hbr", ...; the wavelength is NaN where it
    has no meaning or is not given, the unit empty where it is unknown.
    """

    source: int
    detector: int
    kind: str
    wavelength_nm: float
    unit: str

    @property
    def name(self) -> str:
        """Channel name such as "S1_D1", the same for every kind."""
        return f"S{self.source}_D{self.detector}"


@dataclass(frozen=True)
class SnirfBlock:
    """One `data` group: its channels in file order, its clock, and the events on that clock."""

    path: Path
    group: str
    channels: tuple[SnirfChannel, ...]
    clock: Clock
    events: tuple[Event, ...]

    def read(self, columns: Sequence[int] | None = None, dtype: type[np.floating[Any]] = np.float64) -> NDArray[Any]:
        """The samples, with `dataOffset` added.

        Parameters
        ----------
        columns : sequence of int, optional
            Which channels, as positions in `channels`; all by default. -1 gives a channel of NaN.
        dtype : numpy float type
            Type of the result; sums are made in float64.

        Returns
        -------
        [channel, time]
            In each channel's own unit.
        """
        numbers = np.arange(len(self.channels)) if columns is None else np.asarray(columns, int)
        with _opened(self.path) as root:
            return _read_samples(root.at(self.group), numbers, self.clock.n_samples, np.dtype(dtype))


@dataclass(frozen=True)
class SnirfAuxiliary:
    """One `aux` group: what was recorded beside the channels, such as a heart rate, and its clock."""

    path: Path
    group: str
    clock: Clock

    def read(self) -> NDArray[np.float64]:
        """The samples, with `timeOffset` in the clock: float64 [time]."""
        with _opened(self.path) as root:
            return root.at(self.group).numbers("dataTimeSeries")


@dataclass(frozen=True)
class SnirfPerson:
    """One root group (`/nirs`, `/nirs1`, ...): one person's part of the file."""

    path: Path
    group: str
    subject: str
    date: str
    time: str
    tags: Mapping[str, str]
    source_labels: tuple[str, ...]
    detector_labels: tuple[str, ...]
    blocks: tuple[SnirfBlock, ...]
    optodes_mm: Mapping[str, tuple[float, ...]]
    auxiliary: Mapping[str, SnirfAuxiliary]
    notes: tuple[str, ...]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of data in all blocks, in order of appearance."""
        return tuple(dict.fromkeys(channel.kind for block in self.blocks for channel in block.channels))

    @property
    def where(self) -> str:
        """File and group, for messages."""
        return f"{self.path}: /{self.group}"


@dataclass(frozen=True)
class Haemoglobin:
    """The signals of one person that a study can hold: channels sorted by source and detector."""

    block: SnirfBlock
    channels: tuple[str, ...]
    columns: Mapping[str, tuple[int, ...]]
    unit: str
    notes: tuple[str, ...] = ()
    light: LightRecording | None = None

    def read(
        self, signal_names: Sequence[str] | None = None, dtype: type[np.floating[Any]] = np.float32
    ) -> dict[str, NDArray[Any]]:
        """The signals by chromophore, [channel, time]; NaN rows where a channel lacks that chromophore."""
        if self.light is not None:
            made = self.light.read()
            return {signal: made[signal].astype(dtype) for signal in signal_names or self.columns}
        return {signal: self.block.read(self.columns[signal], dtype) for signal in signal_names or self.columns}


@dataclass(frozen=True)
class _Probe:
    """Wavelengths in nm, and how many sources and detectors there are (infinitely many where the file is silent)."""

    wavelengths: NDArray[np.float64]
    n_sources: float
    n_detectors: float


def read_snirf(path: str | Path) -> tuple[SnirfPerson, ...]:
    """Every person in a SNIRF file, with any type of data.

    Parameters
    ----------
    path : str or Path
        A file of SNIRF 1.0, 1.1 or 1.2-development; what it holds is decided by content, not by `formatVersion`.

    Raises
    ------
    InputError
        Where the file is missing, damaged or contradicts itself, or its data are stored transposed.
    """
    path = Path(path)
    with _opened(path) as root:
        names = root.numbered("nirs")
        if not names:
            raise root.failure("has no /nirs group, so it is not SNIRF; give a .snirf file")
        return tuple(_read_person(path, root.at(name), name) for name in names)


def haemoglobin(person: SnirfPerson, *, allow_dod: bool = False) -> Haemoglobin:
    """The HbO/HbR(/HbT) signals of one person; of several blocks, the first that holds any.

    Parameters
    ----------
    person : SnirfPerson
        One of `read_snirf`.
    allow_dod : bool
        Take optical density (dOD), one signal per wavelength, where there is no haemoglobin.

    Raises
    ------
    InputError
        Where there is only raw light (or dOD without leave), naming the steps that make haemoglobin of it.
    """
    blocks = [block for block in person.blocks if any(c.kind in _HAEMOGLOBIN for c in block.channels)]
    if not blocks and allow_dod:
        blocks = [block for block in person.blocks if any(c.kind == "dod" for c in block.channels)]
    if not blocks:
        raise InputError(f"{person.where}: {_refusal(person.kinds)}")
    notes = tuple(
        f"/{b.group} is not used: /{blocks[0].group} holds the signals" for b in person.blocks if b is not blocks[0]
    )
    return _sorted_by_channel(blocks[0], notes)


def _refusal(kinds: Sequence[str]) -> str:
    if "dod" in kinds:
        steps = "continue with MNE (temporal_derivative_distribution_repair -> beer_lambert_law)"
        as_it_is = "take it as it is with allow_dod=True (--allow-dod)"
        return f"holds optical density, not haemoglobin; {PREPROCESS}, {steps}, or {as_it_is}"
    if "intensity" in kinds:
        return f"holds raw intensity, not haemoglobin; {PREPROCESS}, or make HbO and HbR first with MNE: {MNE_CHAIN}"
    content = ", ".join(kinds) or "no channel"
    return f"holds {content}, not haemoglobin; make HbO and HbR first with MNE: {MNE_CHAIN}"


def _sorted_by_channel(block: SnirfBlock, notes: tuple[str, ...]) -> Haemoglobin:
    columns_of: dict[str, dict[tuple[int, int], int]] = {}
    for column, channel in enumerate(block.channels):
        signal = _signal(channel)
        optodes = (channel.source, channel.detector)
        if not signal:
            notes += (f"/{block.group}: {channel.name} {channel.kind} is not used",)
        elif columns_of.setdefault(signal, {}).setdefault(optodes, column) != column:
            raise InputError(f"{block.path}: /{block.group}: {channel.name} {signal} stands twice; remove one")
    if set(columns_of) & set(_HAEMOGLOBIN):
        columns_of = {signal: columns_of[signal] for signal in _HAEMOGLOBIN if signal in columns_of}
    optodes_in_order = sorted({optodes for at in columns_of.values() for optodes in at})
    columns = {signal: tuple(at.get(o, -1) for o in optodes_in_order) for signal, at in columns_of.items()}
    used = [block.channels[k].unit for at in columns_of.values() for k in at.values()]
    return Haemoglobin(block, tuple(f"S{s}_D{d}" for s, d in optodes_in_order), columns, _one_unit(used), notes)


def _signal(channel: SnirfChannel) -> str:
    if channel.kind in _HAEMOGLOBIN:
        return channel.kind
    if channel.kind == "dod":
        return "dod" if np.isnan(channel.wavelength_nm) else f"dod{channel.wavelength_nm:g}"
    return ""


def _one_unit(units: Sequence[str]) -> str:
    different = sorted(set(units))
    return different[0] if len(different) == 1 else "mixed: " + ", ".join(unit or "unknown" for unit in different)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[VettedGroup]:
    """The root of a SNIRF file; whatever HDF5 raises on damaged content becomes one clear error."""
    with open_hdf5(path) as file:
        try:
            yield VettedGroup(h5g.open(file.id, b"/"), path)
        except IbsyncError:
            raise
        except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError) as error:
            text = " ".join(str(error).split())
            raise InputError(f"{path}: the file is damaged ({text}); copy or export it again") from error


def _read_person(path: Path, nirs: VettedGroup, name: str) -> SnirfPerson:
    tags = _read_tags(nirs)
    blocks = [nirs.at(data) for data in nirs.numbered("data")]
    if not blocks:
        raise nirs.failure("has no data group; export the recording again")
    probe = nirs.child("probe")
    described = _probe(probe)
    stims = _read_stims(nirs)
    auxiliary, notes = _read_auxiliary(nirs, tags.get("TimeUnit", ""))
    return SnirfPerson(
        path=path,
        group=name,
        subject=tags.get("SubjectID", ""),
        date=tags.get("MeasurementDate", ""),
        time=tags.get("MeasurementTime", ""),
        tags=tags,
        source_labels=_labels(probe, "sourceLabels"),
        detector_labels=_labels(probe, "detectorLabels"),
        blocks=tuple(_read_block(block, described, tags.get("TimeUnit", ""), stims) for block in blocks),
        optodes_mm=_optodes(probe, _MILLIMETRES.get(tags.get("LengthUnit", ""), np.nan)) if probe else {},
        auxiliary=auxiliary,
        notes=notes,
    )


def _probe(probe: VettedGroup | None) -> _Probe:
    if probe is None:
        return _Probe(np.empty(0), np.inf, np.inf)
    counts = []
    for side in ("source", "detector"):
        n_places = [probe.numbers(f"{side}Pos{n}D").size / n for n in (2, 3)]
        counts.append(max(*n_places, len(probe.texts(f"{side}Labels"))) or np.inf)
    return _Probe(probe.numbers("wavelengths"), *counts)


def _optodes(probe: VettedGroup, unit_mm: float) -> dict[str, tuple[float, ...]]:
    """Positions of each source and each detector, in mm, by channel name; none where they or their unit are unknown.

    The third coordinate is NaN where positions are flat.
    """
    for dimensions in (3, 2):
        places = [probe.numbers(f"{side}Pos{dimensions}D") for side in ("source", "detector")]
        if all(place.size and place.size % dimensions == 0 for place in places) and np.isfinite(unit_mm):
            sources, detectors = (unit_mm * place.reshape(-1, dimensions) for place in places)
            flat = [np.nan] * (3 - dimensions)
            return {
                f"S{s}_D{d}": (*source.tolist(), *flat, *detector.tolist(), *flat)
                for s, source in enumerate(sources, 1)
                for d, detector in enumerate(detectors, 1)
            }
    return {}


def _read_auxiliary(nirs: VettedGroup, unit: str) -> tuple[dict[str, SnirfAuxiliary], tuple[str, ...]]:
    """Auxiliary signals by name, and why others are not used: nobody's recording is refused for them."""
    found: dict[str, SnirfAuxiliary] = {}
    notes: list[str] = []
    for group in nirs.numbered("aux"):
        aux = nirs.at(group)
        try:
            clock = _auxiliary_clock(aux, unit)
            name = re.sub(r"\W+", "_", plain(aux.text("name"))).strip("_") or group
        except InputError as error:
            notes.append(str(error).removeprefix(f"{aux.path}: "))
            continue
        while name in found:
            name += "_"
        found[name] = SnirfAuxiliary(aux.path, aux.name, clock)
    return found, tuple(notes)


def _auxiliary_clock(aux: VettedGroup, unit: str) -> Clock:
    dataset = aux.dataset("dataTimeSeries")
    n_samples = math.prod(dataset.shape) if dataset is not None else 0
    if dataset is None or n_samples < 2 or n_samples != max(dataset.shape):
        raise aux.failure("is no single signal of two samples and more")
    aux.numbers("dataTimeSeries")
    clock = _read_clock(aux, n_samples, unit)
    offset = float(next(iter(aux.numbers("timeOffset")), 0.0)) * _SECONDS[unit.lower()]
    return replace(clock, t0=clock.t0 + offset)


def _read_tags(nirs: VettedGroup) -> dict[str, str]:
    tags = nirs.child("metaDataTags")
    return {name: tags.text(name) for name in tags.members()} if tags else {}


def _labels(probe: VettedGroup | None, name: str) -> tuple[str, ...]:
    """Optode labels; where there is a label per wavelength, the first of each optode."""
    dataset = probe.dataset(name) if probe else None
    if probe is None or dataset is None or not dataset.shape:
        return ()
    rows = dataset.shape[0] if dataset.shape[0] > 1 else dataset.shape[-1]
    labels = probe.texts(name)
    return tuple(labels[:: len(labels) // rows]) if rows else ()


def _read_stims(nirs: VettedGroup) -> tuple[Event, ...]:
    """All marks, onsets on the file's clock, each once: `stim01` is known to repeat `stim1`."""
    events: dict[tuple[str, ...], Event] = {}
    for name in nirs.numbered("stim"):
        stim = nirs.at(name)
        label = stim.text("name") or str(int(name.removeprefix("stim") or 1))
        for row in _stim_rows(stim):
            onset, duration, value = (*row[:3], np.nan)[:3]
            if np.isfinite(onset):
                event = Event(float(onset), float(np.nan_to_num(duration)), label, float(value))
                events.setdefault((label, *map(repr, (event.onset, event.duration, event.value))), event)
    return tuple(sorted(events.values(), key=lambda event: event.onset))


def _stim_rows(stim: VettedGroup) -> NDArray[np.float64]:
    dataset = stim.dataset("data")
    values = stim.numbers("data")
    if dataset is None or not values.size:
        return np.empty((0, 3))
    columns = dataset.shape[-1] if dataset.shape else 1
    if columns < 2:
        raise stim.failure("data needs onset, duration and value in each row; export the file again")
    rows = values.reshape(-1, columns)
    if _is_transposed(rows, n_labels=len(stim.texts("dataLabels"))):
        raise stim.failure(
            f"data is stored transposed, {rows.shape}; export it with a row of onset, duration and value per mark"
        )
    return rows


def _is_transposed(rows: NDArray[np.float64], n_labels: int) -> bool:
    """Whether three rows are the onsets, durations and values of marks: longer than a mark, or onsets along a row."""
    if len(rows) != 3 or n_labels == rows.shape[1]:
        return False
    is_sorted_across = bool((np.diff(rows[0]) > 0).all() and (np.diff(rows[:, 0]) < 0).any())
    return rows.shape[1] > 4 or is_sorted_across


def _read_block(data: VettedGroup, probe: _Probe, unit: str, stims: Sequence[Event]) -> SnirfBlock:
    dataset = data.dataset("dataTimeSeries")
    if dataset is None or not all(dataset.shape):
        raise data.failure("has no samples (dataTimeSeries is missing or empty); export the recording again")
    channels = _read_channels(data, probe)
    n_samples = _count_samples(data, dataset.shape, len(channels))
    clock = _read_clock(data, n_samples, unit)
    events = tuple(Event(e.onset - clock.t0, e.duration, e.label, e.value) for e in stims)
    return SnirfBlock(data.path, data.name, channels, clock, events)


def _count_samples(data: VettedGroup, shape: tuple[int, ...], n_channels: int) -> int:
    """Length of the block, after making sure that time runs down and channels run across."""
    n_samples, n_columns = shape if len(shape) == 2 else (shape[0], 1)
    if n_columns == n_channels and len(shape) <= 2:
        return n_samples
    if n_samples == n_channels:
        raise data.failure(
            f"dataTimeSeries is stored transposed, [channel, time] = {shape}; export it as [time, channel]"
        )
    raise data.failure(f"dataTimeSeries is {shape} but {n_channels} channels are described; export the recording again")


def _read_channels(data: VettedGroup, probe: _Probe) -> tuple[SnirfChannel, ...]:
    columns = _measurement_arrays(data) if data.child("measurementLists") else _measurement_groups(data)
    n = len(columns["sourceIndex"])
    if not n:
        raise data.failure("has no measurementList; export the recording again")
    return tuple(_channel(data, {name: column[k] for name, column in columns.items()}, probe) for k in range(n))


def _measurement_arrays(data: VettedGroup) -> dict[str, Sequence[Any]]:
    lists = data.at("measurementLists")
    columns: dict[str, Sequence[Any]] = {name: list(lists.numbers(name)) for name in _LIST_NUMBERS}
    columns |= {name: lists.texts(name) for name in _LIST_TEXTS}
    n = len(columns["sourceIndex"])
    wrong = [name for name, column in columns.items() if len(column) not in (0, n)]
    if wrong:
        raise lists.failure(f"{wrong[0]} has {len(columns[wrong[0]])} entries, sourceIndex {n}; export the file again")
    return {name: column or [np.nan if name in _LIST_NUMBERS else ""] * n for name, column in columns.items()}


def _measurement_groups(data: VettedGroup) -> dict[str, Sequence[Any]]:
    columns: dict[str, list[Any]] = {name: [] for name in (*_LIST_NUMBERS, *_LIST_TEXTS)}
    for name in data.numbered("measurementList"):
        entry = data.at(name)
        for field_name in _LIST_NUMBERS:
            columns[field_name].append(next(iter(entry.numbers(field_name)), np.nan))
        for field_name in _LIST_TEXTS:
            columns[field_name].append(entry.text(field_name))
    return dict(columns)


def _channel(data: VettedGroup, entry: Mapping[str, Any], probe: _Probe) -> SnirfChannel:
    optodes = (entry["sourceIndex"], entry["detectorIndex"])
    if not all(index >= 1 and float(index).is_integer() for index in optodes):
        raise data.failure(f"a channel has source and detector {optodes}; they count from 1: export the file again")
    if optodes[0] > probe.n_sources or optodes[1] > probe.n_detectors:
        raise data.failure(
            f"a channel has source {optodes[0]:.0f} and detector {optodes[1]:.0f}, but the probe has "
            f"{probe.n_sources:.0f} sources and {probe.n_detectors:.0f} detectors: export the file again"
        )
    if not np.isnan(entry["dataType"]) and entry["dataType"] not in _DATA_TYPES:
        raise data.failure(f"a channel has dataType {entry['dataType']:g}, which SNIRF does not know: export it again")
    kind = _kind(entry["dataType"], entry["dataTypeLabel"])
    if not kind.startswith("hb") and entry["wavelengthIndex"] > (probe.wavelengths.size or np.inf):
        raise data.failure(
            f"a channel has wavelength {entry['wavelengthIndex']:g} of {probe.wavelengths.size}: export the file again"
        )
    wavelength = _wavelength(kind, entry, probe.wavelengths)
    return SnirfChannel(int(optodes[0]), int(optodes[1]), kind, wavelength, entry["dataUnit"])


def _kind(data_type: float, label: str) -> str:
    if data_type == _PROCESSED or np.isnan(data_type):
        return signal_named(label) or "unknown"
    return _KINDS.get(int(data_type), f"type {data_type:g}")


def _wavelength(kind: str, entry: Mapping[str, Any], wavelengths: NDArray[np.float64]) -> float:
    index = entry["wavelengthIndex"]
    if kind.startswith("hb") or not 1 <= index <= len(wavelengths):
        return float("nan")
    return float(wavelengths[int(index) - 1])


def _read_clock(data: VettedGroup, n_samples: int, unit: str) -> Clock:
    if unit.lower() not in _SECONDS:
        raise data.failure(f"TimeUnit is {unit!r}, not s, ms or us; correct the tag")
    times = data.numbers("time") * _SECONDS[unit.lower()]
    if not np.isfinite(times).all():
        raise data.failure("time has missing values; export the recording again")
    is_step = times.size == 2 and n_samples != 2
    if not is_step and (times.size != n_samples or n_samples < 2):
        raise data.failure(f"time has {times.size} values for {n_samples} samples; export the recording again")
    try:
        return Clock.from_step(float(times[0]), float(times[1]), n_samples) if is_step else Clock.from_times(times)
    except InputError as error:
        raise data.failure(str(error)) from None


def _read_samples(data: VettedGroup, columns: NDArray[np.int_], n_samples: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Read in slabs of time, so that no second copy of a long recording is ever held."""
    identifier = data.dataset("dataTimeSeries")
    assert identifier is not None
    source = h5py.Dataset(identifier)
    offset = data.numbers("dataOffset")
    samples = np.full((columns.size, n_samples), np.nan, dtype)
    present = columns >= 0
    for start, slab in _slabs(source, n_samples):
        if offset.size:
            slab = slab + offset
        samples[present, start : start + len(slab)] = slab[:, columns[present]].T
    return samples


def _slabs(source: h5py.Dataset, n_samples: int) -> Iterator[tuple[int, NDArray[np.float64]]]:
    n_columns = source.size // n_samples
    # A slab at least as tall as a chunk, so that each chunk is unpacked once.
    height = max(_SLAB_VALUES // n_columns, source.chunks[0] if source.chunks else 1)
    for start in range(0, n_samples, height):
        slab = np.empty((min(height, n_samples - start), *source.shape[1:]), np.float64)
        source.read_direct(slab, np.s_[start : start + len(slab)])
        yield start, slab.reshape(len(slab), n_columns)


# --- as recordings of people ------------------------------------------------------------------------------------------


def read(source: Source, choice: SignalChoice) -> list[SourceRecording]:
    """Every person's recording in a SNIRF file; data of an unusable type come back with their `refusal`."""
    people = read_snirf(source.path)
    names = _names_of_people(source, people)
    return [_recording(source, person, name, choice) for person, name in zip(people, names, strict=True)]


def _names_of_people(source: Source, people: Sequence[SnirfPerson]) -> list[str]:
    """The file's name for one person; the SubjectIDs for several, where they tell them apart."""
    if len(people) == 1:
        return [source.participant]
    subjects = [person.subject for person in people]
    if all(subjects) and len(set(subjects)) == len(subjects):
        return subjects
    return [f"{source.participant}-{k}" for k in range(1, len(people) + 1)]


def _recording(source: Source, person: SnirfPerson, name: str, choice: SignalChoice) -> SourceRecording:
    is_dated = "unknown" not in (person.date + person.time).lower()
    bare = SourceRecording(
        source=source,
        participant=name,
        clock=person.blocks[0].clock,
        channels=(),
        signal_names=(),
        read=dict,
        names=(source.path.name.split(".")[0], person.subject),
        started=f"{person.date} {person.time}".strip() if is_dated else "",
        dyad=person.tags.get("DyadID", ""),
        role=person.tags.get("DyadRole", ""),
    )
    try:
        signals = _signals(person, choice)
    except InputError as error:
        return replace(bare, refusal=str(error))
    signal_names = choice.of(tuple(signals.columns), person.where)
    marks = read_channel_marks(source, person.source_labels, person.detector_labels)
    events = events_of(source, signals.block.events)
    optodes = {name: place for name, place in person.optodes_mm.items() if name in signals.channels}
    near, note = short_channels(marks, optodes)
    return replace(
        bare,
        clock=signals.block.clock,
        channels=signals.channels,
        signal_names=signal_names,
        read=lambda: (
            signals.read(signal_names, np.float64) | {name: aux.read()[None] for name, aux in person.auxiliary.items()}
        ),
        unit=signals.unit,
        events=events,
        bad=tuple(marks.bad.items()),
        found_bad=None if signals.light is None else signals.light.bad,
        notes=tuple(("not used", text) for text in (*signals.notes, *person.notes))
        + _auxiliary_note(person)
        + note
        + marks_outside(events, signals.block.clock),
        short=near,
        optodes_mm=optodes,
        auxiliary={name: aux.clock for name, aux in person.auxiliary.items()},
    )


def _signals(person: SnirfPerson, choice: SignalChoice) -> Haemoglobin:
    """The signals that a file holds, or those that its light becomes."""
    try:
        return haemoglobin(person, allow_dod=choice.allow_dod)
    except InputError:
        kinds = {"intensity": "fnirs_cw_amplitude", "dod": "fnirs_od"}
        blocks = [b for b in person.blocks if any(c.kind in kinds for c in b.channels)]
        if choice.preprocess is None or not blocks:
            raise
    block = blocks[0]
    kind = next(kind for kind in kinds if any(c.kind == kind for c in block.channels))
    columns = {k: c for k, c in enumerate(block.channels) if c.kind == kind}
    wavelengths = {c.wavelength_nm for c in columns.values()}
    of = Counter(c.name for c in columns.values())
    notes = [f"{name} has {n} of {len(wavelengths)} wavelengths" for name, n in of.items() if n != len(wavelengths)]
    notes += [f"/{b.group} is not used: /{block.group} holds the light" for b in person.blocks if b is not block]
    used = {k: c for k, c in columns.items() if of[c.name] == len(wavelengths)}
    channels = [(c.source, c.detector, c.wavelength_nm) for c in used.values()]
    if not used or not all(map(math.isfinite, wavelengths)) or len(set(channels)) < len(channels):
        raise InputError(f"{person.where}: no channel has light of two known wavelengths, once each; export it again")
    rows = block.read(list(used))
    raw = light_of(rows, block.clock.sfreq, channels, person.optodes_mm, kinds[kind])
    light = light_recording(raw, choice.preprocess, person.where)
    names = dict.fromkeys(light.signal_names, ())
    return Haemoglobin(block, light.channels, names, light.unit, tuple(notes), light)


def _auxiliary_note(person: SnirfPerson) -> Notes:
    return (("auxiliary signals", ", ".join(person.auxiliary)),) if person.auxiliary else ()
