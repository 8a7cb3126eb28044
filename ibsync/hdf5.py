"""Hides how HDF5 files are opened, vetted against hostile or damaged content, and written whole or not at all."""

import contextlib
import errno
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
from h5py import h5d, h5g, h5l, h5o, h5z

from ibsync.errors import InputError

_NO_LOCKS_HERE = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, 524}
_BUILT_IN_FILTERS = {h5z.FILTER_DEFLATE, h5z.FILTER_SHUFFLE, h5z.FILTER_FLETCHER32, 5, 6, h5z.FILTER_LZF}
_MAX_BYTES = 16 * 2**30
_MAX_CHUNK_BYTES = 256 * 2**20
_MAX_EXPANSION = 2000
_SMALL_BYTES = 2**20
_SPARE_BYTES = 2**20


def open_hdf5(path: Path) -> h5py.File:
    """The HDF5 file at `path`, opened for reading.

    Raises
    ------
    InputError
        Where there is no file, or it is a folder, is not HDF5, or is cut short.
    """
    if not path.is_file():
        found = "is a folder, not a file" if path.is_dir() else "no such file"
        raise InputError(f"{path}: {found}; check the name")
    try:
        return _open_with_or_without_lock(path)
    except OSError as error:
        raise InputError(f"{path}: {_why_not_opened(error)}") from error


def _open_with_or_without_lock(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r", rdcc_nbytes=0)
    except OSError as error:
        if error.errno not in _NO_LOCKS_HERE:
            raise
        return h5py.File(path, "r", rdcc_nbytes=0, locking=False)


def _why_not_opened(error: OSError) -> str:
    text = str(error)
    if "truncated" in text:
        return "the file is truncated (its end is missing); copy or export it again"
    if "signature not found" in text:
        return "not an HDF5 file, or damaged at its start; copy or export it again"
    if error.errno == errno.EAGAIN:
        return "the file is open for writing in another program; close it there"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "no permission to read the file; change its permissions"
    return f"cannot be opened as HDF5 ({' '.join(text.split())}); copy or export it again"


def hard_child(group: h5g.GroupID, name: str) -> Any:
    """The object that `group` itself holds under `name`, or None; links that lead elsewhere are refused.

    Soft and external links are refused one component at a time, because a joined path hides what it passes through.
    """
    key = name.encode()
    if not group.links.exists(key):
        return None
    if group.links.get_info(key).type != h5l.TYPE_HARD:
        raise InputError(f"{name} is a link to somewhere else; write the file again without links")
    return h5o.open(group, key)


def vet_dataset(dataset: h5d.DatasetID, name: str) -> None:
    """Refuse a dataset whose samples lie in other files, need a plugin, or claim more than the file can hold."""
    creation = dataset.get_create_plist()
    layout = creation.get_layout()
    if layout == h5d.VIRTUAL or (layout == h5d.CONTIGUOUS and creation.get_external_count()):
        raise InputError(f"{name} keeps its values in other files; write the file again in one piece")
    _vet_size(dataset, name)
    if layout == h5d.CHUNKED:
        _vet_chunks(creation, dataset.get_type().get_size(), name)


def _vet_size(dataset: h5d.DatasetID, name: str) -> None:
    declared = math.prod(int(n) for n in dataset.shape or (0,)) * int(dataset.get_type().get_size())
    if declared <= _SMALL_BYTES:
        return
    if declared > _MAX_BYTES or declared > _MAX_EXPANSION * dataset.get_storage_size():
        raise InputError(f"{name} claims {declared} bytes, more than the file can hold; export the file again")


def _vet_chunks(creation: h5py.h5p.PropDCID, item_bytes: int, name: str) -> None:
    if math.prod(int(n) for n in creation.get_chunk()) * item_bytes > _MAX_CHUNK_BYTES:
        raise InputError(f"{name} has chunks above {_MAX_CHUNK_BYTES} bytes; rewrite the file with h5repack")
    for k in range(creation.get_nfilters()):
        code = creation.get_filter(k)[0]
        if code not in _BUILT_IN_FILTERS:
            raise InputError(f"{name} needs compression filter {code}; rewrite the file with h5repack -f GZIP=4")


def check_output(path: Path, *, suffix_hint: str = "study.h5") -> None:
    """Refuse an output path that cannot be written, before any work is done."""
    if path.is_dir():
        raise InputError(f"{path}: the output is a folder; give a file name such as {path / suffix_hint}")
    if not path.parent.is_dir():
        raise InputError(f"{path}: the folder {path.parent} does not exist; make it first")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise InputError(f"{path}: no permission to write in {path.parent}; choose another folder")
    if path.exists() and path.stat().st_size and not h5py.is_hdf5(path):
        raise InputError(f"{path}: exists and is not an HDF5 file; choose another output name")


def check_free_space(path: Path, n_bytes: int) -> None:
    """Refuse to start on what the disk cannot hold: HDF5 does not survive a full disk."""
    free = shutil.disk_usage(path.parent).free
    if n_bytes + _SPARE_BYTES > free:
        raise InputError(
            f"{path}: needs {n_bytes + _SPARE_BYTES} bytes, {free} are free; make room or choose another disk"
        )


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[h5py.File]:
    """A new HDF5 file that takes the name `path` only when the block ends well; any exception leaves nothing behind."""
    check_output(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        # v110 keeps the file readable by MATLAB, R and older h5py.
        with h5py.File(partial, "w", libver=("v110", "v110"), track_order=True) as file:
            yield file
        _flush_to_disk(partial)
        partial.replace(path)
        _flush_to_disk(path.parent)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); free space or choose another folder"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
