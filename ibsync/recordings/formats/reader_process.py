"""Hides the process in which recordings from elsewhere are read.

HDF5, MNE and pandas meet bytes of unknown origin there. A damaged file can make them loop where Ctrl-C has no effect,
end the process or claim all memory; here that is one line about the file. One process, a Python of its own, serves a
whole `pack`; the next one starts after a failure.
"""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import IO, Any, NamedTuple

from ...errors import IbsyncError, InputError
from ..source import Source
from .source_recording import SignalChoice, Signals, SourceRecording, short
from .table import read_recordings

resource: ModuleType | None
try:
    import resource
except ImportError:  # Windows has no such limits
    resource = None

# ibsync and its libraries lie where they lie for the process that asks, whatever was done to its `sys.path`.
_PROGRAM = """
import sys
root, *others = sys.argv[1:]
sys.path.insert(0, root)
import ibsync
sys.path[:] = [*sys.path[1:], *others]
from ibsync.recordings.formats.reader_process import main
main()
"""


@dataclass(frozen=True)
class Limits:
    """What reading a file may take, and what each of its bytes adds.

    Time of computing is what counts: a loop takes it, a slow disk or a busy machine does not. The time on the clock is
    for systems that cannot limit the other, and for a file that never answers.
    """

    cpu_s: float = 30.0
    clock_s: float = 300.0
    memory_bytes: float = 2.0 * 2**30

    def cpu_of(self, n_bytes: int) -> int:
        """Seconds of computing for a file of that size."""
        return math.ceil(self.cpu_s + n_bytes / 5e6)

    def clock_of(self, n_bytes: int) -> float:
        """Seconds on the clock for a file of that size."""
        return self.clock_s + n_bytes / 1e6

    def memory_of(self, n_bytes: int) -> int:
        """Bytes of memory for files of that size in all."""
        return math.ceil(self.memory_bytes + 30 * n_bytes)


class _Request(NamedTuple):
    """Asks for the descriptions of a file's recordings, or with `place` for the signals of one of them."""

    source: Source
    n_bytes: int
    place: int | None = None


class ReaderProcess:
    """
    Reads recordings in a process of their own; use it in a `with` block.

    Parameters
    ----------
    choice : SignalChoice
        Signals to take.
    limits : Limits, optional
        What a file may take.
    """

    def __init__(self, choice: SignalChoice, limits: Limits | None = None) -> None:
        self._words = choice, limits or Limits()
        self._process = _started(*self._words)

    def __enter__(self) -> ReaderProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        self._process.kill()
        self._process.communicate()

    def describe(self, source: Source) -> list[SourceRecording]:
        """
        Every person's recording in a file, as `read_recordings`; their signals come from `signals_of`.

        Raises
        ------
        InputError
            Where the file cannot be read, or reading it crashes or takes more than its limits.
        """
        self._start_again_if_ended()
        recordings: list[SourceRecording] = self._answer(self._ask(source))
        return recordings

    def signals_of(self, recordings: Iterable[SourceRecording]) -> Iterator[Signals]:
        """The signals of each recording, {signal: float64 [channel, time]}; the next ones are read meanwhile."""
        self._start_again_if_ended()
        waiting: list[_Request] = []
        try:
            for recording in recordings:
                waiting.append(self._ask(recording.source, recording.place))
                if len(waiting) > 1:
                    yield self._answer(waiting.pop(0))
            while waiting:
                yield self._answer(waiting.pop(0))
        finally:
            if waiting:  # an answer that nobody takes would be taken for the next one
                self._end()

    def _start_again_if_ended(self) -> None:
        """Only while no answer is awaited: that to the next request would be taken for it."""
        if self._process.poll() is not None:
            self._end()
            self._process = _started(*self._words)

    def _ask(self, source: Source, place: int | None = None) -> _Request:
        request = _Request(source, _size(source.path), place)
        with contextlib.suppress(OSError):  # a process that has just died shows when its answer is missing
            _send(self._process.stdin, request)
        return request

    def _answer(self, request: _Request) -> Any:
        limits = self._words[1]
        clock = threading.Timer(limits.clock_of(request.n_bytes), self._process.kill)
        clock.start()
        try:
            answer = pickle.load(_pipe(self._process.stdout))  # noqa: S301 - written by this module
        except (EOFError, pickle.UnpicklingError):
            reason = _why_ended(self._process.wait(), limits, request.n_bytes, too_late=clock.finished.is_set())
            raise InputError(f"{request.source.path}: {reason}; copy or export the file again") from None
        finally:
            clock.cancel()
        if isinstance(answer, IbsyncError):
            raise answer
        return answer


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _why_ended(code: int, limits: Limits, n_bytes: int, *, too_late: bool) -> str:
    if too_late:
        return f"could not be read within {limits.clock_of(n_bytes):.0f} s"
    if -code == getattr(signal, "SIGXCPU", None):
        return f"could not be read in {limits.cpu_of(n_bytes)} s of computing; the file is damaged"
    name = signal.strsignal(-code) if code < 0 else f"exit code {code}"
    return f"reading it ended the program that reads it ({name}); the file is damaged, or too large for the memory"


def _started(choice: SignalChoice, limits: Limits) -> subprocess.Popen[bytes]:
    places = [str(Path(__file__).parents[3]), *filter(None, sys.path)]
    # One thread: what a file may take is counted in time of computing, and BLAS reserves memory for each thread.
    words = {"HDF5_PLUGIN_PRELOAD": "::", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    try:
        process = subprocess.Popen(  # noqa: S603 - this module
            [sys.executable, "-P", "-c", _PROGRAM, *places],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **words},
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except OSError as error:
        raise InputError(
            f"recordings are read in a process of their own, and {sys.executable or 'Python'!r} cannot be started "
            f"({error.strerror}); run ibsync with Python itself"
        ) from error
    with contextlib.suppress(OSError):
        _send(process.stdin, (choice, limits))
    return process


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def _send(stream: IO[bytes] | None, content: object) -> None:
    pickle.dump(content, _pipe(stream), pickle.HIGHEST_PROTOCOL)
    _pipe(stream).flush()


# --- in the process ---------------------------------------------------------------------------------------------------


@dataclass
class _Reader:
    """What has been read so far; the signals of a recording come from where its description was made."""

    choice: SignalChoice
    limits: Limits
    recordings: dict[Source, list[SourceRecording]] = field(default_factory=dict)
    n_bytes: int = 0

    def answer(self, request: _Request) -> object:
        """Descriptions or signals, or the error that names the file."""
        self._limit(request)
        try:
            recordings = self._described(request)
            if request.place is not None:
                return recordings[request.place].read()
            return [replace(recording, read=dict, place=k) for k, recording in enumerate(recordings)]
        except IbsyncError as error:
            return error
        except MemoryError:
            return InputError(
                f"{request.source.path}: reading it takes more than {self.limits.memory_of(self.n_bytes) >> 20} MiB of "
                "memory, far more than its size accounts for; copy or export the file again"
            )
        except Exception as error:  # libraries raise whatever a damaged file leads them to
            return InputError(
                f"{request.source.path}: cannot be read ({type(error).__name__}: {short(error)}); copy or export the "
                "file again"
            )

    def _described(self, request: _Request) -> list[SourceRecording]:
        if request.source not in self.recordings:
            self.recordings[request.source] = read_recordings(request.source, self.choice)
        return self.recordings[request.source]

    def _limit(self, request: _Request) -> None:
        if resource is None:
            return
        if request.source not in self.recordings:
            self.n_bytes += request.n_bytes
        used = resource.getrusage(resource.RUSAGE_SELF)
        seconds = math.ceil(used.ru_utime + used.ru_stime) + self.limits.cpu_of(request.n_bytes)
        _lower(resource.RLIMIT_CPU, seconds)
        _lower(resource.RLIMIT_DATA, self.limits.memory_of(self.n_bytes))
        _lower(resource.RLIMIT_CORE, 0)


def _lower(kind: int, limit: int) -> None:
    """Set the soft limit; the hard one stays."""
    assert resource is not None
    hard = resource.getrlimit(kind)[1]
    with contextlib.suppress(ValueError, OSError):  # macOS refuses some limits
        resource.setrlimit(kind, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def main() -> None:
    """Answer requests on standard input until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the one that asks ends this one
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # libraries that print must not print into the answers
    with contextlib.suppress(EOFError, BrokenPipeError):
        reader = _Reader(*pickle.load(requests))  # noqa: S301 - written by this module
        while True:
            _send(answers, reader.answer(pickle.load(requests)))  # noqa: S301 - as above
