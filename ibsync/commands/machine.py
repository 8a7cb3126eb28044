"""What a measured figure must not be quoted without: the clock it was taken by, and the machine it was taken on.

The standard library alone: the benchmarks use this in environments that hold other programs.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from ..coupling.backends.cuda.device import Device

T = TypeVar("T")

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_UNKNOWN = "unknown"


@dataclass(frozen=True)
class Sample:
    """One timed call: CPU seconds of all threads of the process, and seconds on the clock."""

    cpu_s: float
    wall_s: float


def timed(job: Callable[[], T]) -> tuple[T, Sample]:
    """What `job` returns, and what it took."""
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    value = job()
    return value, Sample(time.process_time() - cpu_s, time.perf_counter() - wall_s)


def peak_rss_bytes() -> int | None:
    """Largest resident memory of this process so far; None on Windows.

    Linux counts a parent's peak into `getrusage` of a child that it starts; VmHWM belongs to the program alone.
    """
    if _STATUS.exists():
        (line,) = (text for text in _STATUS.read_text().splitlines() if text.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def forget_peak_rss() -> bool:
    """Let `peak_rss_bytes` count from now on; False where the system has no such thing."""
    try:
        _RESET.write_text("5")
    except OSError:
        return False
    return True


def usable_cores() -> set[int]:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def cpu_model() -> str:
    """The processor's name as the system gives it."""
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].split(":", 1)[1].strip() if names else platform.processor() or platform.machine()


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Versions of the interpreter and of installed packages."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def load_average() -> list[float]:
    """Average number of running processes over 1, 5 and 15 minutes, where the system counts them."""
    return [round(load, 2) for load in os.getloadavg()] if hasattr(os, "getloadavg") else []


def machine_facts(packages: Iterable[str]) -> dict[str, Any]:
    """Date, processor, system, load and versions."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_model(),
        "cores": len(usable_cores()),
        "system": f"{platform.system()} {platform.release()}",
        "load_average_at_start": load_average(),
        "versions": versions(packages),
    }


def gpu_facts(device: Device) -> dict[str, Any]:
    """Name, compute capability, memory, driver and CUDA versions of a GPU; what cannot be found out is "unknown"."""
    facts: dict[str, Any] = {"name": device.name, "compute_capability": device.compute_capability / 10}
    runtime: Any = getattr(getattr(device.xp, "cuda", None), "runtime", None)
    ask: dict[str, Callable[[], Any]] = {
        "memory_bytes": lambda: int(runtime.memGetInfo()[1]),
        "cuda_of_driver": lambda: _dotted(runtime.driverGetVersion()),
        "cuda_of_runtime": lambda: _dotted(runtime.runtimeGetVersion()),
        "cupy": lambda: str(device.xp.__version__),
    }
    for name, answer in ask.items():
        try:
            facts[name] = answer()
        except (AttributeError, RuntimeError):
            facts[name] = _UNKNOWN
    return {**facts, "driver": _driver()}


def _dotted(number: int) -> str:
    """CUDA's 13020 as 13.2."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _driver() -> str:
    """Release of NVIDIA's driver, of the first GPU."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return _UNKNOWN
    command = [tool, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.splitlines()  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return _UNKNOWN
    return said[0].strip() if said else _UNKNOWN


def pool_bytes(device: Device) -> int | None:
    """Memory that CuPy's pool has taken from the GPU since it last gave some back; None where there is no pool."""
    pool = getattr(device.xp, "get_default_memory_pool", None)
    return int(pool().total_bytes()) if pool is not None else None
