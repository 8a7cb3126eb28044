"""Count what the host does for a GPU: launches, array functions, copies and waits of real jobs, without a GPU.

    python benchmarks/host_operations.py [-o NAME.json]

A device on the CPU stands in the place of the GPU. Its arrays are NumPy's and count what is done to them; its kernels
do nothing but say that every cell is valid. Plans and sizes are those of the jobs; values mean nothing.
"""
# ruff: noqa: ARG002 - the stand-ins have the signatures of what they stand for

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar
from unittest import mock

import checkout
import numpy as np
from cases import session_signals
from measure import provenance

from ibsync.commands.bench import map_spec
from ibsync.commands.workloads import WORKLOADS, Workload, write_workload
from ibsync.coupling.backends.cuda.backend import CudaBackend
from ibsync.coupling.backends.cuda.kernel_text import expand
from ibsync.coupling.backends.cuda.signatures import casts, checked, declarations
from ibsync.coupling.engine import Engine
from ibsync.study.study import Study

COUNTED = {
    "launches": "own kernels launched",
    "functions": "array functions, ufuncs, reductions, casts, fills and copies by index",
    "ffts": "FFTs",
    "fft plans": "FFTs of different kinds or sizes",
    "allocations": "arrays made without values",
    "uploads": "arrays brought to the device, each a wait for all its work",
    "downloads": "arrays brought to the host, and numbers asked for there, each a wait",
    "memory queries": "questions how much memory is free",
}
_ALLOCATING = ("empty", "empty_like")


class Counted(np.ndarray):  # type: ignore[type-arg]
    """A NumPy array that counts what is done to it."""

    counter: ClassVar[Counter[str]]

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"shape": self.shape, "typestr": self.dtype.str, "data": (self.ctypes.data, False), "version": 3}

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **words: Any) -> Any:
        self.counter["functions"] += 1
        more = words if out is None else {**words, "out": tuple(map(_bare, out))}
        return _there(getattr(ufunc, method)(*map(_bare, inputs), **more))

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        self.counter["functions"] += 1
        return _there(function(*_bare(args), **_bare(kwargs)))

    def __bool__(self) -> bool:
        self.counter["downloads"] += 1
        return bool(_bare(self))

    def astype(self, *words: Any, **more: Any) -> Any:
        self.counter["functions"] += 1
        return _there(_bare(self).astype(*words, **more))

    def __setitem__(self, key: Any, value: Any) -> None:
        self.counter["functions"] += 1
        np.asarray(self)[_bare(key)] = _bare(value)

    def __getitem__(self, key: Any) -> Any:
        parts = key if isinstance(key, tuple) else (key,)
        self.counter["functions"] += any(isinstance(part, (np.ndarray, list)) for part in parts)
        return super().__getitem__(_bare(key))


def _bare(x: Any) -> Any:
    """The same as plain arrays, in lists, tuples and dictionaries too."""
    if isinstance(x, Counted):
        return x.view(np.ndarray)
    if isinstance(x, (list, tuple)):
        return type(x)(map(_bare, x))
    return {name: _bare(one) for name, one in x.items()} if isinstance(x, dict) else x


def _there(x: Any) -> Any:
    """Arrays and numbers as arrays of the device."""
    if isinstance(x, (list, tuple)):
        return type(x)(map(_there, x))
    return np.asarray(x).view(Counted) if isinstance(x, (np.ndarray, np.generic)) else x


@dataclass
class Functions:
    """NumPy's functions, counted, on arrays that count."""

    module: ModuleType
    counter: Counter[str]
    plans: set[tuple[Any, ...]] = field(default_factory=set)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.module, name)
        if isinstance(found, ModuleType):
            return Functions(found, self.counter, self.plans)
        if name == "ndarray":
            return Counted
        if isinstance(found, type) or not callable(found):
            return found

        def function(*words: Any, **more: Any) -> Any:
            if self.module is np.fft:
                self.counter["ffts"] += 1
                self.plans.add((name, words[0].shape, words[1:], more.get("axis")))
            else:
                self.counter["allocations" if name in _ALLOCATING else "functions"] += 1
            return _there(found(*_bare(words), **_bare(more)))

        return function


@dataclass
class CountingDevice:
    """In the place of a GPU with so much memory; see the module."""

    memory_bytes: int = 60 << 30
    name: str = "counted"
    compute_capability: int = 90
    largest_shared_bytes: int = 227 * 1024
    counter: Counter[str] = field(default_factory=Counter)
    loaded: dict[tuple[Any, ...], Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        Counted.counter = self.counter
        self.xp = Functions(np, self.counter)

    def compiler_version(self) -> tuple[int, int]:
        return 13, 0

    def compile(self, source: str, name: str, options: tuple[str, ...]) -> Any:
        return _NoModule(self.counter)

    def from_host(self, x: Any) -> Any:
        self.counter["uploads"] += 1
        return np.array(x, order="C").view(Counted)

    def upload(self, x: Any) -> Any:
        """Not counted: it waits for nothing."""
        return np.array(x, np.float64, order="C").view(Counted)

    def to_host(self, x: Any) -> Any:
        self.counter["downloads"] += 1
        return np.array(_bare(x))

    def free_bytes(self) -> int:
        self.counter["memory queries"] += 1
        return self.memory_bytes

    def budget_bytes(self) -> int:
        return int(0.8 * self.free_bytes())

    def release(self) -> None:
        pass

    @contextmanager
    def active(self, stream: Any = None) -> Iterator[None]:
        yield

    def synchronize(self) -> None:
        pass

    def counts(self) -> dict[str, int]:
        """What has been counted since the last time."""
        found = {**self.counter, "fft plans": len(self.xp.plans)}
        self.counter.clear()
        self.xp.plans.clear()
        return {name: found.get(name, 0) for name in COUNTED}


@dataclass(frozen=True)
class _NoModule:
    counter: Counter[str]

    def get_function(self, name: str) -> Any:
        return _NoKernel(name, self.counter)


@dataclass
class _NoKernel:
    """A launch that is counted; of unit features all are valid."""

    name: str
    counter: Counter[str]
    max_threads_per_block: int = 1024
    max_dynamic_shared_size_bytes: int = 0

    def __call__(self, grid: Any, block: Any, args: Any, *, shared_mem: int = 0) -> None:
        self.counter["launches"] += 1
        if self.name.startswith("units_"):
            _bare(next(x for x in args[::-1] if isinstance(x, Counted) and x.dtype == np.uint8))[...] = 1


# --- jobs -------------------------------------------------------------------------------------------------------------


def _verbs(device: CountingDevice, accuracy: str, n_people: int) -> Callable[[], object]:
    """Features of both sides from the host, and means of all pairs of their channels, back on the host."""
    workload = WORKLOADS["typical"]
    a, b = session_signals(replace(workload, n_dyads=2))[0]
    a, b = (np.tile(side, (n_people, 1)) for side in (a, b))
    engine = Engine(workload.n_samples, workload.sfreq_hz, map_spec(accuracy), backend=CudaBackend(device))
    return lambda: engine.coherence(engine.features(a), engine.features(b))


def _dyads(device: CountingDevice, n_dyads: int) -> Callable[[], object]:
    """Features of both sides of some dyads from the host, and means of the pairs within each."""
    workload = WORKLOADS["typical"]
    signals = session_signals(replace(workload, n_dyads=2))[:1].repeat(n_dyads, axis=0)
    engine = Engine(workload.n_samples, workload.sfreq_hz, map_spec("exact"), backend=CudaBackend(device))
    return lambda: engine.coherence(*(engine.features(signals[:, k]) for k in (0, 1)), by_dyad=True)


def _phase_null(folder: Path) -> Callable[[], object]:
    """A phase null of one dyad with few channels: what is done does not depend on how many they are."""
    workload = Workload(1, 1, 2, 600.0, 10.0, 256, "none")
    path = folder / "phase.h5"
    write_workload(workload, path)
    study = Study.open(path)
    return lambda: study.null(map_spec("fast"), kind="phase", n=workload.n_draws, seed=1, backend="cuda")


def counted_jobs(device: CountingDevice, folder: Path) -> dict[str, dict[str, int]]:
    """Counts of each job, the second time it runs: tables and kernels are there."""
    jobs = {
        "one dyad, 22 x 22 channels, exact": _verbs(device, "exact", 1),
        "one dyad, 22 x 22 channels, fast": _verbs(device, "fast", 1),
        "20 dyads of 22 x 22 channels, exact": _dyads(device, 20),
        "all pairs, 440 x 440 channels, exact": _verbs(device, "exact", 20),
        "phase null of one dyad, 256 draws, fast": _phase_null(folder),
    }
    found = {}
    for name, job in jobs.items():
        with np.errstate(all="ignore"):
            job()
            device.counts()
            job()
        found[name] = device.counts()
    return found


# --- one launch -------------------------------------------------------------------------------------------------------

KERNELS = {"filters_f64": "filters_f64", "units_f64": "units_far_f64", "gram": "gram"}
"""A kernel of each file whose checks are timed."""


def launch_costs(repeats: int = 7) -> dict[str, float]:
    """CPU time of the argument checks of a launch, in additions of 22 numbers by NumPy timed in turn; medians."""
    x, y = np.ones(22), np.ones(22)
    found = {}
    for file, kernel in KERNELS.items():
        parameters = declarations(expand(file))[kernel].parameters
        prepared = casts(kernel, parameters, np.ndarray)
        arguments = [np.zeros(16, p.dtypes[0]) if p.pointer else p.dtypes[0].type(1).item() for p in parameters]
        times = [
            _cpu_s(lambda: checked(kernel, prepared, arguments)) / _cpu_s(lambda: np.add(x, y))  # noqa: B023
            for _ in range(repeats)
        ]
        found[kernel] = statistics.median(times)
    return found


def _cpu_s(work: Callable[[], object], n: int = 2000) -> float:
    start = time.process_time()
    for _ in range(n):
        work()
    return time.process_time() - start


def main() -> None:
    """Print the counts, and write them if a file is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, metavar="NAME.json")
    output = parser.parse_args().output
    device = CountingDevice()
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch("ibsync.coupling.backends.cuda.backend._devices", {0: device}),
    ):
        jobs = counted_jobs(device, Path(folder))
    costs = launch_costs()
    for name, counts in jobs.items():
        print(f"{name}: " + ", ".join(f"{n} {what}" for what, n in counts.items()))
    for name, cost in costs.items():
        print(f"checks of a launch of {name}: {cost:.0f} additions of 22 numbers")
    if output:
        report: Mapping[str, Any] = {
            "provenance": provenance(checkout.REPOSITORY, ("numpy",)),
            "counted": COUNTED, "jobs": jobs, "launch_costs": costs,
        }  # fmt: skip
        output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
