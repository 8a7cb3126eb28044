"""What reading in a process of its own and digests cost: prints a table, writes JSON.

python benchmarks/border_costs.py [--repeats 5] [--recordings 480] [--out benchmarks/results/border-costs.json]
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import h5py
import numpy as np
from calibration import PACKAGES, REPOSITORY
from measure import provenance

from ibsync.recordings import pack as packing
from ibsync.recordings.formats.table import read_recordings
from ibsync.recordings.recording import DyadRow, Recording
from ibsync.recordings.study_file import StudyFile, write_study

N_FILES, N_CHANNELS = 100, 20


class ReaderHere:
    """Reads recordings as `ReaderProcess` does, in this process."""

    def __init__(self, choice: Any) -> None:
        self._choice, self._read = choice, {}

    def __enter__(self) -> ReaderHere:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def describe(self, source: Any) -> list[Any]:
        self._read[source] = read_recordings(source, self._choice)
        return self._read[source]

    def signals_of(self, recordings: Iterable[Any]) -> Iterator[Any]:
        return (recording.read() for recording in recordings)


def clocked(job: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the clock, and of computing in this process and those that it started and that have ended."""

    def spent() -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(one.ru_utime + one.ru_stime for one in used)

    cpu, start = spent(), time.perf_counter()
    job()
    return time.perf_counter() - start, spent() - cpu


def snirf(path: Path, seed: int, n_samples: int, n_channels: int) -> None:
    """A SNIRF file with HbO and HbR of some channels."""
    samples = 1e-6 * np.random.default_rng(seed).standard_normal((n_samples, 2 * n_channels))
    with h5py.File(path, "w") as file:
        file["formatVersion"] = "1.1"
        nirs = file.create_group("nirs")
        tags = {"SubjectID": path.stem, "MeasurementDate": "2026-01-01", "MeasurementTime": "10:00:00",
                "LengthUnit": "mm", "TimeUnit": "s", "FrequencyUnit": "Hz"}  # fmt: skip
        for name, text in tags.items():
            nirs[f"metaDataTags/{name}"] = text
        data = nirs.create_group("data1")
        data["dataTimeSeries"], data["time"] = samples, np.arange(n_samples) / 10
        for k in range(2 * n_channels):
            one = data.create_group(f"measurementList{k + 1}")
            one["sourceIndex"], one["detectorIndex"] = k // 2 + 1, 1
            one["dataType"], one["dataTypeIndex"], one["dataTypeLabel"] = 99999, 1, ("HbO", "HbR")[k % 2]
        nirs["probe/wavelengths"] = [760.0, 850.0]
        nirs["probe/sourcePos3D"], nirs["probe/detectorPos3D"] = 30.0 * np.eye(n_channels, 3), [[30.0, 30.0, 0.0]]


def packs(folder: Path, repeats: int) -> dict[str, list[tuple[float, float]]]:
    """Packing a folder of small files, in turn through the process and without."""
    for k in range(N_FILES):
        snirf(folder / f"p{k:03d}.snirf", k, 600, N_CHANNELS)
    lines = [f"d{k}\tp{2 * k:03d}\tp{2 * k + 1:03d}" for k in range(N_FILES // 2)]
    (folder / "dyads.tsv").write_text("\n".join(["dyad\tperson_a\tperson_b", *lines]) + "\n")
    readers = {"in a process of its own": packing.ReaderProcess, "in the same process": ReaderHere}
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in readers}
    for turn in range(repeats + 1):
        for name, reader in readers.items():
            packing.ReaderProcess = reader  # type: ignore[misc, assignment]
            found = clocked(lambda: packing.pack(folder, folder.with_name("packed.h5")))
            if turn:  # the first warms up
                seconds[name].append(found)
    return seconds


def studies(folder: Path, n_recordings: int, repeats: int) -> dict[str, list[tuple[float, float]]]:
    """Opening a study and reading all of it, with digests and by h5py alone."""
    path, channels = folder / "study.h5", tuple(f"S{k + 1}_D1" for k in range(N_CHANNELS))
    n_samples, rng = 27_000, np.random.default_rng(0)
    recordings = [
        Recording(
            f"r{k:03d}", f"r{k:03d}", "1", "", "", 10.0, n_samples, 0.0, channels, ("hbo", "hbr"), (True,) * N_CHANNELS
        )
        for k in range(n_recordings)
    ]
    noise = rng.standard_normal((N_CHANNELS, n_samples)).astype(np.float32)
    rows = [DyadRow(f"d{k}", "1", "", recordings[2 * k], recordings[2 * k + 1], f"r{2 * k:03d}", f"r{2 * k + 1:03d}")
            for k in range(n_recordings // 2)]  # fmt: skip
    write_study(path, ((r, {"hbo": noise + k, "hbr": noise - k}) for k, r in enumerate(recordings)), {}, rows)

    def all_of(study: StudyFile) -> None:
        for recording in study.recordings:
            for signal in recording.signal_names:
                study.signals(recording, signal)

    def by_h5py() -> None:
        with h5py.File(path, "r") as file:
            for block in file["recordings"].values():
                for dataset in block.values():
                    for row in range(len(dataset)):
                        dataset[row]

    jobs = {
        "open": lambda: StudyFile.open(path),
        "open and read everything": lambda: all_of(StudyFile.open(path)),
        "read everything by h5py": by_h5py,
    }
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
    for turn in range(repeats + 1):
        for name, job in jobs.items():
            found = clocked(job)
            if turn:
                seconds[name].append(found)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--recordings", type=int, default=480, help="of 45 min, 20 channels, HbO and HbR; 4.3 MB each")
    parser.add_argument("--out", type=Path)
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "files").mkdir()
        sections = {
            f"pack {N_FILES} small SNIRF files": packs(Path(name) / "files", words.repeats),
            f"study of {words.recordings} recordings": studies(Path(name), words.recordings, words.repeats),
        }
    for section, seconds in sections.items():
        print(section)
        for job, found in seconds.items():
            clock, cpu = (median(column) for column in zip(*found, strict=True))
            print(f"  {job:<28} {clock:6.2f} s on the clock {cpu:6.2f} s of computing")
    if words.out:
        found = {"sections": sections, "provenance": provenance(REPOSITORY, PACKAGES)}
        words.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
