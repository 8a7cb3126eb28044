"""Hides how a study's HDF5 file is written whole or not at all, through full disks and interrupts."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

import h5py

from ..errors import InputError
from .hdf5 import HDF5_ERRORS, VettedGroup
from .whole_files import Output, write_all, written_whole

_SPARE_BYTES = 2**20
_END, _STOP = object(), object()
T = TypeVar("T")


def check_free_space(path: Path, n_bytes: int) -> None:
    """Refuse to start on what the disk cannot hold."""
    free = shutil.disk_usage(path.parent).free
    if n_bytes + _SPARE_BYTES > free:
        raise InputError(
            f"{path}: needs {n_bytes + _SPARE_BYTES} bytes, {free} are free; make room or choose another disk"
        )


def root_attributes(path: Path, *names: str) -> dict[str, str]:
    """Those of the attributes of an HDF5 file that it has, as text; empty if it is no HDF5 file."""
    try:
        # Without a lock: another process may have the file open, and nothing is changed.
        with h5py.File(path, "r", locking=False) as file:
            held = VettedGroup(file["/"].id, path, any_text=False).attributes()
            return {name: str(held[name]) for name in names if name in held}
    except (InputError, *HDF5_ERRORS):
        return {}


def write_hdf5(output: Output, items: Iterable[T], write: Callable[[h5py.File, Iterator[T]], None]) -> None:
    """
    Write an HDF5 file whole, or leave nothing behind.

    Parameters
    ----------
    output : Output
    items : iterable
        What is written, taken one at a time in the thread of the caller.
    write : callable
        Writes the items into an empty file, in another thread: HDF5 crashes where an interrupt, which Python raises in
        the main thread alone, meets it at work.
    """
    with written_whole(output) as raw:
        stream, items = _Stream(raw), iter(items)
        requests, answers = SimpleQueue[object](), SimpleQueue[Any]()
        with ThreadPoolExecutor(1) as pool:
            try:
                job = pool.submit(_write, stream, write, requests, answers)
                while requests.get() is not _END:
                    stream.raise_error()
                    answers.put(next(items, _END))
            except BaseException:
                answers.put(_STOP)
                raise
        stream.raise_error()
        job.result()


def _write(
    stream: _Stream,
    write: Callable[[h5py.File, Iterator[Any]], None],
    requests: SimpleQueue[object],
    answers: SimpleQueue[Any],
) -> None:
    try:
        # v110 keeps the file readable by MATLAB, R and older h5py.
        with h5py.File(stream, "w", libver=("v110", "v110"), track_order=True) as file:
            write(file, _received(requests, answers))
    finally:
        requests.put(_END)


def _received(requests: SimpleQueue[object], answers: SimpleQueue[Any]) -> Iterator[Any]:
    """Items that the caller's thread hands over, each when it is asked for."""
    while True:
        requests.put(None)
        item = answers.get()
        if item is _STOP:
            raise InterruptedError
        if item is _END:
            return
        yield item


class _Stream:
    """
    A file for HDF5 to write, on which no write ever fails.

    HDF5 crashes at the end of the process if a write failed. From the first one that does, nothing more is written,
    HDF5 closes its file in peace, and the error is raised then.
    """

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self._error: Exception | None = None
        self.seek, self.tell, self.readinto, self.read = file.seek, file.tell, file.readinto, file.read

    def write(self, payload: memoryview) -> int:
        """Write all bytes."""
        self._attempt(write_all, self._file, payload)
        return len(payload)

    def truncate(self, size: int) -> int:
        """Set the length of the file."""
        self._attempt(self._file.truncate, size)
        return size

    def flush(self) -> None:
        """Nothing is held back here."""

    def raise_error(self) -> None:
        """Raise the error of a write that failed."""
        if self._error is not None:
            raise self._error

    def _attempt(self, write: Callable[..., object], *arguments: object) -> None:
        if self._error is None:
            try:
                write(*arguments)
            except (OSError, ValueError) as error:  # a closed file is a ValueError
                self._error = error
