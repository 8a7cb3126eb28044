"""Feature tables kept on disk: built once, checked when read, the oldest forgotten when they take too much room."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from ...errors import PlanError
from .features import FORMAT, GAUSSIAN_REACH, SPECTRAL_REACH, WAVELET_REACH, Group, Rank, build_group
from .scales import MORLET_OMEGA0, PERIOD_PER_SCALE, Scales

_ARRAYS = ("times", "kernels", "mixing", "end_filters", "end_mixing")
_NUMBERS = ("first_row", "n_rows", "n_padded", "n_bins", "n_circle", "half_steps", "frame_first", "on_circle")
_MAGIC = b"ibsync-tables\n"
_PART_SECONDS = 3600.0  # a table is built in minutes
_ALIGN = 64  # bytes; arrays are used where they were read


def cache_dir() -> Path:
    """Folder of the tables: $IBSYNC_CACHE_DIR, else ibsync/ in the user's cache folder."""
    if chosen := os.environ.get("IBSYNC_CACHE_DIR"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or Path.home() / ".cache"
    return Path(base) / "ibsync"


@lru_cache(maxsize=64)
def load_group(scales: Scales, first_row: int, n_rows: int, rank: Rank) -> Group:
    """Tables from the cache; built, checked and stored when missing or damaged.

    A cache that cannot be written costs time, not the result.
    """
    request = _request(scales, first_row, n_rows, rank)
    path = cache_dir() / f"{_key(scales, first_row, n_rows, rank)}.tables"
    group = _read(path, request)
    if group is None:
        # One BLAS thread: matrices are small, and idle BLAS threads that spin would hold up the pool's.
        with ThreadpoolController().limit(limits=1, user_api="blas"):
            group = build_group(scales, first_row, n_rows, rank)
        _write(path, request, group)
        _forget_oldest(path)
    return group


def _request(scales: Scales, first_row: int, n_rows: int, rank: Rank) -> str:
    """Everything that the tables depend on."""
    reaches = (SPECTRAL_REACH, WAVELET_REACH, GAUSSIAN_REACH, MORLET_OMEGA0, PERIOD_PER_SCALE)
    return repr((FORMAT, scales.n_samples, scales.voices, scales.n_rows, first_row, n_rows, rank, reaches))


def _key(scales: Scales, first_row: int, n_rows: int, rank: Rank) -> str:
    return hashlib.sha256(_request(scales, first_row, n_rows, rank).encode()).hexdigest()[:32]


def cache_limit() -> int:
    """Bytes that the tables may take: $IBSYNC_CACHE_GB, in 10^9 bytes, else 2."""
    words = os.environ.get("IBSYNC_CACHE_GB") or "2"
    try:
        limit = float(words)
    except ValueError:
        limit = math.nan
    if not 0 <= limit < math.inf:
        raise PlanError(f"IBSYNC_CACHE_GB={words!r} is no size; give a number of gigabytes, such as 2")
    return round(limit * 1e9)


def cached_files() -> list[tuple[Path, int, float]]:
    """Each file of the cache with its size in bytes and when it was last used, the latest first."""
    files = []
    with suppress(OSError):
        for path in cache_dir().iterdir():
            with suppress(OSError):  # another process may remove it just now
                if path.suffix in (".tables", ".part"):
                    files.append((path, path.stat().st_size, path.stat().st_mtime))
    return sorted(files, key=lambda file: file[2], reverse=True)


def _forget_oldest(newest: Path) -> None:
    """Remove the tables that were not used for longest, until the others fit; and what killed processes left."""
    total, limit = 0, cache_limit()
    for path, size, used in cached_files():
        total += size
        is_abandoned = path.suffix == ".part" and time.time() - used > _PART_SECONDS
        if is_abandoned or (total > limit and path != newest):
            with suppress(OSError):
                path.unlink()
                total -= size


def _write(path: Path, request: str, group: Group) -> None:
    arrays = {name: np.ascontiguousarray(getattr(group, name)) for name in _ARRAYS}
    header = {
        "request": request,
        "numbers": {name: getattr(group, name) for name in _NUMBERS},
        "arrays": {name: [array.dtype.str, array.shape] for name, array in arrays.items()},
    }
    text = json.dumps(header).encode()
    text += b" " * (-(len(_MAGIC) + 16 + len(text)) % _ALIGN)
    body = b"".join(array.tobytes() + bytes(-array.nbytes % _ALIGN) for array in arrays.values())
    content = len(text).to_bytes(8, "little") + text + body
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".part")
    except OSError:
        return
    try:
        with suppress(OSError):
            with os.fdopen(handle, "wb") as file:
                file.write(_MAGIC + zlib.crc32(content).to_bytes(8, "little") + content)
            Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _read(path: Path, request: str) -> Group | None:
    """A stored group, or None if it is missing, cut short, damaged in any byte, or of another request."""
    try:
        raw = memoryview(np.fromfile(path, np.uint8).data)
    except OSError:
        return None
    start = len(_MAGIC) + 8
    content = raw[start:]
    crc = zlib.crc32(content).to_bytes(8, "little")
    if bytes(raw[:start]) != _MAGIC + crc or len(content) < 8:
        return None
    length = int.from_bytes(content[:8], "little")
    header = json.loads(bytes(content[8 : 8 + length]))
    if header.get("request") != request:
        return None
    with suppress(OSError):
        os.utime(path)  # used just now
    words: dict[str, Any] = {**header["numbers"], **dict(_arrays(header["arrays"], content[8 + length :]))}
    return Group(**words)


def _arrays(described: dict[str, Any], body: memoryview) -> Iterator[tuple[str, NDArray[Any]]]:
    offset = 0
    for name, (dtype, shape) in described.items():
        count = math.prod(shape)
        array = np.frombuffer(body, dtype, count, offset)
        offset += array.nbytes + -array.nbytes % _ALIGN
        yield name, array.reshape(shape)
