"""The harness: contenders in processes of their own, run in turn, with what is needed to judge a figure.

Nothing of the measured library is imported here.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
Figures = Mapping[str, float]


# --- one job ----------------------------------------------------------------------------------------------------------


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


def peak_rss_bytes() -> int:
    """Largest resident memory of this process so far.

    Linux counts a parent's peak into `getrusage` of a child that it starts; VmHWM belongs to the program alone.
    """
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (text for text in status.read_text().splitlines() if text.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


# --- a process of its own ---------------------------------------------------------------------------------------------


def serve(jobs: Mapping[str, Callable[..., Any]]) -> None:
    """Run jobs by name, one line of JSON each on standard input and output, until the input ends.

    Whatever else prints goes to standard error. A job's value must be JSON-able.
    """
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        value, sample = timed(partial(jobs[request["job"]], **request["arguments"]))
        reply = {"value": value, **asdict(sample), "peak_rss_bytes": peak_rss_bytes()}
        print(json.dumps(reply), file=replies, flush=True)


@dataclass(frozen=True)
class Reply:
    """A job's value, what it took, and the peak memory of its process so far."""

    value: Any
    cpu_s: float
    wall_s: float
    peak_rss_bytes: int


class Worker:
    """A program that calls `serve`, in a process of its own.

    Parameters
    ----------
    command : sequence of str
        Interpreter, script and arguments.
    one_core : bool
        Keep the process on one core from its start, so that no library sees a second one.
    environment : mapping, optional
        Added to this process's own.
    """

    def __init__(
        self, command: Sequence[str], *, one_core: bool = False, environment: Mapping[str, str] | None = None
    ) -> None:
        core = {max(usable_cores())} if one_core and hasattr(os, "sched_setaffinity") else None
        self.name = " ".join(Path(word).name for word in command[1:])
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
            preexec_fn=partial(os.sched_setaffinity, 0, core) if core else None,
        )

    def call(self, job: str, **arguments: Any) -> Reply:
        """Run a job and wait for it.

        Raises
        ------
        RuntimeError
            If the process ended; its own message is on standard error.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(json.dumps({"job": job, "arguments": arguments}), file=self._process.stdin, flush=True)
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise RuntimeError(f"{self.name}: ended in job {job!r} with exit status {self._process.wait()}")
        return Reply(**json.loads(line))

    def close(self) -> None:
        """Let the process end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@contextmanager
def busy_core() -> Iterator[int]:
    """Keep one core busy with another program, as on a shared machine: its process id."""
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield other.pid
    finally:
        other.kill()
        other.wait()


# --- many runs --------------------------------------------------------------------------------------------------------


def interleaved(
    contenders: Mapping[str, Callable[[], Figures]], n_repeats: int, *, n_warm_up: int = 1
) -> dict[str, list[Figures]]:
    """Run contenders in turn, A B A B, so that a busy spell of the machine meets all of them."""
    for _ in range(n_warm_up):
        for run in contenders.values():
            run()
    figures: dict[str, list[Figures]] = {name: [] for name in contenders}
    for _ in range(n_repeats):
        for name, run in contenders.items():
            figures[name].append(run())
    return figures


@dataclass(frozen=True)
class Summary:
    """Median, extremes and middle half of repeated figures."""

    median: float
    min: float
    max: float
    quartile_low: float
    quartile_high: float
    n: int


def summary(values: Iterable[float]) -> Summary:
    """Summary of at least one value."""
    ordered = sorted(values)
    low, middle, high = statistics.quantiles(ordered, n=4, method="inclusive") if len(ordered) > 1 else ordered * 3
    return Summary(middle, ordered[0], ordered[-1], low, high, len(ordered))


def ratios(of: Sequence[float], to: Sequence[float]) -> Summary:
    """Summary of `of[i] / to[i]`, figures of the same turn."""
    return summary(a / b for a, b in zip(of, to, strict=True))


# --- where and when ---------------------------------------------------------------------------------------------------


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


def commit(repository: Path) -> str:
    """Commit of a checkout, with "+changes" if tracked files differ from it."""
    try:
        ours = _git(repository, "rev-parse", "HEAD")
        return ours + ("+changes" if _git(repository, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(repository: Path, *words: str) -> str:
    command = ["git", "-C", str(repository), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


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


def provenance(repository: Path, packages: Iterable[str]) -> dict[str, Any]:
    """What a figure must not be quoted without."""
    return {
        "commit": commit(repository),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_model(),
        "cores": len(usable_cores()),
        "system": f"{platform.system()} {platform.release()}",
        "load_average_at_start": load_average(),
        "versions": versions(packages),
    }
