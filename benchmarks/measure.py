"""The harness: contenders in processes of their own, run in turn, with what is needed to judge a figure.

Nothing of the measured library is imported here but its words about the machine, which need the standard library alone.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import checkout  # noqa: F401

from ibsync.commands.machine import Sample, load_average, machine_facts, peak_rss_bytes, timed, usable_cores

__all__ = [
    "Figures", "Reply", "Sample", "Summary", "Worker", "busy_core", "commit", "interleaved", "load_average",
    "peak_rss_bytes", "provenance", "ratios", "serve", "summary", "timed", "usable_cores",
]  # fmt: skip

Figures = Mapping[str, float]


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


def provenance(repository: Path, packages: Iterable[str]) -> dict[str, Any]:
    """What a figure must not be quoted without."""
    return {"commit": commit(repository), **machine_facts(packages)}
