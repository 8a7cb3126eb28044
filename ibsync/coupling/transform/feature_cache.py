"""Feature tables kept on disk: built once, checked when read."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from .features import FORMAT, GAUSSIAN_REACH, SPECTRAL_REACH, WAVELET_REACH, Group, Rank, build_group
from .scales import MORLET_OMEGA0, PERIOD_PER_SCALE, Scales

_ARRAYS = ("times", "kernels", "mixing", "end_filters", "end_mixing")
_NUMBERS = ("first_row", "n_rows", "n_padded", "n_bins", "n_circle", "half_steps", "frame_first", "on_circle")
_MAGIC = b"ibsync-tables\n"
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
    path = cache_dir() / f"{_key(scales, first_row, n_rows, rank)}.tables"
    group = _read(path)
    if group is None:
        # One BLAS thread: matrices are small, and idle BLAS threads that spin would hold up the pool's.
        with ThreadpoolController().limit(limits=1, user_api="blas"):
            group = build_group(scales, first_row, n_rows, rank)
        _write(path, group)
    return group


def _key(scales: Scales, first_row: int, n_rows: int, rank: Rank) -> str:
    reaches = (SPECTRAL_REACH, WAVELET_REACH, GAUSSIAN_REACH, MORLET_OMEGA0, PERIOD_PER_SCALE)
    everything = (FORMAT, scales.n_samples, scales.voices, scales.n_rows, first_row, n_rows, rank, reaches)
    return hashlib.sha256(repr(everything).encode()).hexdigest()[:32]


def _write(path: Path, group: Group) -> None:
    arrays = {name: np.ascontiguousarray(getattr(group, name)) for name in _ARRAYS}
    header = {
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
        with os.fdopen(handle, "wb") as file:
            file.write(_MAGIC + zlib.crc32(content).to_bytes(8, "little") + content)
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _read(path: Path) -> Group | None:
    """A stored group, or None if it is missing, cut short or damaged in any byte."""
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
    words: dict[str, Any] = {**header["numbers"], **dict(_arrays(header["arrays"], content[8 + length :]))}
    return Group(**words)


def _arrays(described: dict[str, Any], body: memoryview) -> Iterator[tuple[str, NDArray[Any]]]:
    offset = 0
    for name, (dtype, shape) in described.items():
        count = math.prod(shape)
        array = np.frombuffer(body, dtype, count, offset)
        offset += array.nbytes + -array.nbytes % _ALIGN
        yield name, array.reshape(shape)
