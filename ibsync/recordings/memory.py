"""How much memory a computation may take, and large arrays that lie in a file where it is little.

An array in a file is mapped: whoever reads it sees an ordinary array. The file has no name, so that nothing is left
behind however the process ends, and its room on the disk is taken at once, so that a full disk is said before the work.
"""

from __future__ import annotations

import errno
import mmap
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..errors import InputError, PlanError

Memory = int | str | None
"""A budget as users write it: bytes, text such as "8G" or "500M", or None for no limit."""

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_TEXT = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE | re.ASCII)
_PART_BYTES = 16 << 20
_STATM = Path("/proc/self/statm")


@dataclass(frozen=True)
class Budget:
    """
    What the whole process may hold in memory.

    Parameters
    ----------
    n_bytes : int or None
        None is no limit.
    folder : Path, optional
        Where files of large arrays are; by default that for temporary files.
    in_files : bool
        Whether large arrays lie in files even where there is room now, as it will be needed later.
    """

    n_bytes: int | None = None
    folder: Path | None = None
    in_files: bool = False

    @property
    def is_limited(self) -> bool:
        """Whether there is any limit."""
        return self.n_bytes is not None

    @classmethod
    def of(cls, memory: Memory | Budget) -> Budget:
        """
        A budget from bytes, or text such as "8G" (10**9 bytes each), "500M" or "7.5GiB" (2**30 bytes each).

        Raises
        ------
        PlanError
            If it is no amount of memory above 0.
        """
        if isinstance(memory, Budget):
            return memory
        if memory is None:
            return cls()
        n_bytes = _parsed(memory)
        if n_bytes is None or n_bytes < 1:
            raise PlanError(
                f"memory={memory!r} is no amount of memory: give bytes above 0, or text such as '8G' or '500M'"
            )
        return cls(n_bytes)

    def require(self, least: int, what: str) -> None:
        """
        Refuse a computation that holds at least so many bytes beside what the process holds now.

        Raises
        ------
        PlanError
            Saying how much is needed.
        """
        if not self.holds(least):
            raise PlanError(self.too_little(least, what))

    def holds(self, n_bytes: int) -> bool:
        """Whether it holds so many bytes beside what the process holds now."""
        return self.n_bytes is None or held_bytes() + n_bytes <= self.n_bytes

    def too_little(self, least: int, what: str) -> str:
        """That it is, in words."""
        return (
            f"memory={in_words(self.n_bytes or 0)} is too little: {what} needs at least "
            f"{in_words(held_bytes() + least)}, of which the program itself takes {in_words(held_bytes())}"
        )

    def array(self, shape: tuple[int, ...], dtype: DTypeLike, beside: int = 0) -> NDArray[Any]:
        """
        Zeros, in memory if that holds them and `beside` bytes more, else in a file without a name.

        Raises
        ------
        InputError
            If the disk for the file is full, or its folder is gone.
        """
        size = prod(shape) * np.dtype(dtype).itemsize
        fits = not self.in_files and self.holds(size + beside)
        if fits or not size:
            return np.zeros(shape, dtype)
        return _in_a_file(shape, dtype, self.folder or Path(tempfile.gettempdir()))


class _Map(mmap.mmap):
    """A file without a name in memory, which knows its folder."""

    folder: Path


def array_as(source: NDArray[Any], shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Zeros, in a file if `source` lies in one."""
    mapped = map_of(source)
    return np.zeros(shape, dtype) if mapped is None else _in_a_file(shape, dtype, mapped.folder)


def in_parts(values: NDArray[Any]) -> Iterator[slice]:
    """Some of the first axis at a time; the memory of those before is given back where they lie in a file."""
    step = max(1, _PART_BYTES // max(1, values[:1].nbytes))
    for start in range(0, len(values), step):
        yield slice(start, min(start + step, len(values)))
        release(values)


def _parsed(memory: object) -> int | None:
    if isinstance(memory, bool) or not isinstance(memory, int | str):
        return None
    if isinstance(memory, int):
        return memory
    text = _TEXT.fullmatch(memory.strip())
    return None if text is None else int(float(text[1]) * (_BINARY if text[3] else _UNITS)[text[2].lower()])


def _in_a_file(shape: tuple[int, ...], dtype: DTypeLike, folder: Path) -> NDArray[Any]:
    """Zeros in a file without a name, of which the room on the disk is taken."""
    size = prod(shape) * np.dtype(dtype).itemsize
    try:
        with tempfile.TemporaryFile(prefix="ibsync-", dir=folder) as file:  # the map outlives it
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            mapped = _Map(file.fileno(), size)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        fix = "free some space, set TMPDIR to a larger disk" if full else "set TMPDIR to a folder that takes files"
        raise InputError(
            f"{folder}: cannot hold {in_words(size)} of values that exceed the memory allowed "
            f"({error.strerror or error}); {fix}, or allow more memory"
        ) from error
    mapped.folder = folder
    return np.frombuffer(mapped, dtype).reshape(shape)


def release(values: NDArray[Any]) -> None:
    """Let the system take back the memory of an array that lies in a file; its values stay."""
    mapped = map_of(values)
    if mapped is not None and hasattr(mapped, "madvise") and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def map_of(values: object) -> _Map | None:
    """The file in which an array lies, or the one of which it is a part; None if it lies in memory."""
    while values is not None and not isinstance(values, _Map):
        values = values.obj if isinstance(values, memoryview) else getattr(values, "base", None)
    return values


def held_bytes() -> int:
    """Resident memory of this process now; 0 where the system does not say."""
    if not _STATM.exists():
        return 0
    return int(_STATM.read_text().split()[1]) * mmap.PAGESIZE


def in_words(n_bytes: float) -> str:
    """An amount of memory, to be read and to be given as `memory`, rounded up."""
    return f"{-(-int(n_bytes) // 10**6)}M"
