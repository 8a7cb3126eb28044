"""Small SNIRF files for the tests, in as many spellings as the format has."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

HB = (("hbo", 1, 1), ("hbo", 2, 1), ("hbr", 1, 1), ("hbr", 2, 1))
LABELS = {"hbo": "HbO", "hbr": "HbR", "hbt": "HbT", "dod": "dOD"}


@dataclass
class Person:
    """One root group; `columns` are (kind, source, detector) or (kind, source, detector, wavelength index)."""

    columns: tuple[tuple[Any, ...], ...] = HB
    n_samples: int = 200
    sfreq: float = 10.0
    t0: float = 0.0
    seed: int = 0
    samples: np.ndarray | None = None
    times: np.ndarray | None = None
    time_unit: str | None = "s"
    tags: dict[str, Any] = field(default_factory=dict)
    stims: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    as_lists: Any = None
    unit: str | None = None

    @property
    def values(self) -> np.ndarray:
        """float64 [time, channel]."""
        if self.samples is None:
            noise = np.random.default_rng(self.seed).standard_normal((self.n_samples, len(self.columns)))
            self.samples = 1e-6 * noise
        return self.samples


def write_snirf(path: Path, *people: Person, names: tuple[str, ...] = (), text: Any = None) -> Path:
    """Write the persons into one file; one is /nirs, several are /nirs1, /nirs2, ..."""
    text = text or (lambda value: np.array(value, h5py.string_dtype()))
    path.parent.mkdir(parents=True, exist_ok=True)
    names = names or (("nirs",) if len(people) == 1 else tuple(f"nirs{k}" for k in range(1, len(people) + 1)))
    with h5py.File(path, "w") as file:
        file["formatVersion"] = text("1.1")
        for name, person in zip(names, people, strict=True):
            _write_person(file.create_group(name), person, text)
    return path


def _write_person(nirs: h5py.Group, person: Person, text: Any) -> None:
    tags = {"SubjectID": "default", "MeasurementDate": "2024-05-01", "MeasurementTime": "10:00:00", "LengthUnit": "mm"}
    tags |= {"FrequencyUnit": "Hz"} | ({} if person.time_unit is None else {"TimeUnit": person.time_unit}) | person.tags
    for key, value in tags.items():
        nirs[f"metaDataTags/{key}"] = text(value) if isinstance(value, str) else value
    nirs["probe/wavelengths"] = [760.0, 850.0]
    for key, (label, rows) in person.stims.items():
        nirs[f"{key}/name"] = text(label)
        nirs[f"{key}/data"] = np.asarray(rows, float)
    data = nirs.create_group("data1")
    data["dataTimeSeries"] = person.values
    times = person.t0 + np.arange(len(person.values)) / person.sfreq if person.times is None else person.times
    data["time"] = times * {"ms": 1e3, "us": 1e6}.get(person.time_unit or "", 1.0)
    write_channels(data, person.columns, person.as_lists, text, person.unit)


def write_channels(data: h5py.Group, columns: Any, as_lists: Any, text: Any, unit: str | None = None) -> None:
    """The channel list, as groups, or as arrays that `as_lists` shapes."""
    fields = [_fields(column, unit) for column in columns]
    if as_lists is not None:
        for key in fields[0]:
            values = [entry[key] for entry in fields]
            is_text = isinstance(values[0], str)
            data[f"measurementLists/{key}"] = np.array(values, h5py.string_dtype()) if is_text else as_lists(values)
        return
    for k, entry in enumerate(fields, 1):
        for key, value in entry.items():
            data[f"measurementList{k}/{key}"] = text(value) if isinstance(value, str) else value


def _fields(column: tuple[Any, ...], unit: str | None) -> dict[str, Any]:
    kind, source, detector, *rest = column
    entry = {"sourceIndex": source, "detectorIndex": detector, "dataTypeIndex": 0}
    entry |= {"dataType": 1} if kind == "intensity" else {"dataType": 99999, "dataTypeLabel": LABELS.get(kind, kind)}
    return entry | ({"wavelengthIndex": rest[0]} if rest else {}) | ({} if unit is None else {"dataUnit": unit})
