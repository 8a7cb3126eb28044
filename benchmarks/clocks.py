"""Time on a device: events in its stream, or the host's clock in their place; and what a piece of work launches.

A device is `ibsync`'s: its compiler and its array functions are wrapped while a recording lasts, nothing else.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Clock(Protocol):
    """Marks between which time can be told."""

    name: str

    def mark(self) -> Any:
        """A mark behind all work so far."""

    def seconds(self, start: Any, stop: Any) -> float:
        """Time from one mark to another, when the work before the second is done."""


@dataclass
class HostClock:
    """The host's clock, for work that is done when its call returns."""

    name: str = "host clock"

    def mark(self) -> float:
        return time.perf_counter()

    def seconds(self, start: float, stop: float) -> float:
        return stop - start


@dataclass
class DeviceClock:
    """CUDA events in the current stream of CuPy, whose module is `xp`."""

    xp: Any
    name: str = "CUDA events"

    def mark(self) -> Any:
        event = self.xp.cuda.Event()
        event.record(self.xp.cuda.get_current_stream())
        return event

    def seconds(self, start: Any, stop: Any) -> float:
        stop.synchronize()
        return float(self.xp.cuda.get_elapsed_time(start, stop)) / 1e3


def clock_of(device: Any) -> Clock:
    """Events where there are any; else the host's clock, for the CPU and for what stands in for a GPU there."""
    runs_events = device is not None and hasattr(device.xp, "cuda")
    return DeviceClock(device.xp) if runs_events else HostClock()


def elapsed(clock: Clock, work: Callable[[], T]) -> tuple[T, float]:
    """What some work gives, and its time on the device."""
    start = clock.mark()
    value = work()
    return value, clock.seconds(start, clock.mark())


# --- what is launched -------------------------------------------------------------------------------------------------

STAGES: Mapping[str, str] = {
    "FFTs": r"fft\.",
    "band-limited signals": r"place_bins|take_samples",
    "filters": r"filters_",
    "unit features": r"units_",
    "products": r"gram",
    "sums of chunks": r"add_chunks",
    "surrogates": r"turn|shift",
}
"""Stages by the beginning of the names of what is launched."""
OTHER = "other kernels"


def stage_of(launched: str) -> str:
    """Stage of a kernel, or of an FFT ("fft.rfft")."""
    return next((stage for stage, names in STAGES.items() if re.match(names, launched)), OTHER)


@dataclass
class Launches:
    """Marks around everything launched, in order: (name, before, after)."""

    clock: Clock
    marks: list[tuple[str, Any, Any]] = field(default_factory=list)

    def around(self, name: str, work: Callable[[], T]) -> T:
        """Launch, between two marks."""
        start = self.clock.mark()
        value = work()
        self.marks.append((name, start, self.clock.mark()))
        return value

    def by_stage(self) -> dict[str, tuple[int, float]]:
        """Launches and seconds of each stage."""
        found: dict[str, tuple[int, float]] = {}
        for name, start, stop in self.marks:
            n, seconds = found.get(stage_of(name), (0, 0.0))
            found[stage_of(name)] = n + 1, seconds + self.clock.seconds(start, stop)
        return found

    def names(self) -> set[str]:
        """What was launched."""
        return {name for name, *_ in self.marks}


@contextmanager
def recorded(device: Any, clock: Clock) -> Iterator[Launches]:
    """Record what a device launches: the kernels that it compiles, and its FFTs."""
    launches, kept, xp = Launches(clock), device.loaded, device.xp
    compile_ = device.compile
    device.loaded = {}
    device.xp = _WithFfts(xp, launches)
    device.compile = lambda *words: _Module(compile_(*words), launches)
    try:
        yield launches
    finally:
        del device.compile
        device.loaded, device.xp = kept, xp


class _Module:
    """A compiled module whose kernels are recorded."""

    def __init__(self, module: Any, launches: Launches) -> None:
        self._module, self._launches = module, launches

    def get_function(self, name: str) -> _Kernel:
        return _Kernel(self._module.get_function(name), name, self._launches)


class _Kernel:
    """A kernel whose launches are recorded; everything else is its own."""

    def __init__(self, raw: Any, name: str, launches: Launches) -> None:
        vars(self).update(_raw=raw, _name=name, _launches=launches)

    def __call__(self, *words: Any, **more: Any) -> None:
        self._launches.around(self._name, lambda: self._raw(*words, **more))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._raw, name, value)


class _WithFfts:
    """Array functions whose FFTs are recorded."""

    def __init__(self, xp: Any, launches: Launches) -> None:
        self._xp, self.fft = xp, _Ffts(xp.fft, launches)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._xp, name)


class _Ffts:
    def __init__(self, fft: Any, launches: Launches) -> None:
        self._fft, self._launches = fft, launches

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._fft, name)
        if not callable(found):
            return found
        return lambda *words, **more: self._launches.around(f"fft.{name}", lambda: found(*words, **more))
