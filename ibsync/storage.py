"""Files written whole or not at all, paths refused before any work is done, datasets as netCDF-4."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import stat
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InputError

if TYPE_CHECKING:
    import xarray as xr


class JsonFile:
    """What a finding has that tells all of itself as a dictionary: the same as JSON text, and as a file."""

    def to_dict(self) -> dict[str, Any]:
        """Everything, as a dictionary that JSON can carry."""
        raise NotImplementedError

    def to_json(self) -> str:
        """`to_dict` as text."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"

    def save(self, path: str | os.PathLike[str]) -> Path:
        """
        Write `to_json` to a file, whole or not at all.

        Raises
        ------
        InputError
            If the file cannot be written.
        """
        write_whole(path, self.to_json().encode())
        return Path(path)


def check_writable(path: str | os.PathLike[str]) -> Path:
    """
    The resolved path, if a results file can be written there.

    Call it before a long run: a mistyped folder then costs a second, not a night.

    Parameters
    ----------
    path : str or path-like
        File that will be written later. It may exist; it is then replaced when the write succeeds.

    Returns
    -------
    pathlib.Path
        The path with links resolved, so that a link is followed and not replaced.

    Raises
    ------
    InputError
        If the folder is missing or refuses new files, or if the path is a folder, a device or a read-only file.
    """
    target = Path(path).resolve()
    if not target.parent.is_dir():
        raise InputError(f"{path}: the folder {target.parent} does not exist; create it or choose another path")
    if target.is_dir():
        raise InputError(f"{path}: is a folder; add a file name")
    if target.exists():
        _check_replaceable(target, shown=str(path))
    _check_folder_takes_files(target, shown=str(path))
    return target


def _check_replaceable(target: Path, *, shown: str) -> None:
    mode = target.stat().st_mode
    if not stat.S_ISREG(mode):
        raise InputError(f"{shown}: is not an ordinary file; choose another path")
    # The mode is read as well, because a superuser passes every access check and would replace a protected file.
    if not mode & 0o222 or not os.access(target, os.W_OK):
        raise InputError(f"{shown}: the file is read-only; make it writable or choose another path")


def _check_folder_takes_files(target: Path, *, shown: str) -> None:
    # Trying is the only sure way: mode bits know nothing of read-only mounts, quotas and network shares.
    trial = _temporary_beside(target)
    try:
        trial.touch(exist_ok=False)
        trial.unlink()
    except OSError as error:
        raise InputError(
            f"{shown}: no file can be written in its folder ({error.strerror}); choose another path"
        ) from error


def write_whole(path: str | os.PathLike[str], payload: bytes | memoryview) -> None:
    """
    Write bytes to a file so that the path holds either all of them or what it held before.

    The bytes go to a temporary file in the same folder, are forced to the disk, and take the final name in one step.

    Parameters
    ----------
    path : str or path-like
        The file; replaced if it exists.
    payload : bytes-like
        The complete content.

    Raises
    ------
    InputError
        If the path cannot be written, or the disk is full. Nothing is left behind, and an older file stays as it was.
    """
    target = check_writable(path)
    temporary = _temporary_beside(target)
    try:
        with temporary.open("xb") as stream:
            stream.write(payload)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(f"{path}: could not be written ({error.strerror}); {_mend(error)}") from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _force_folder_to_disk(target.parent)


def _mend(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free some space or choose another disk"
    return "choose another path"


def _temporary_beside(target: Path) -> Path:
    # A short prefix of the name keeps the temporary name below the file system's limit of 255 bytes.
    return target.with_name(f".{target.name[:40]}.{secrets.token_hex(4)}.tmp")


def _force_folder_to_disk(folder: Path) -> None:
    # The file is complete by now. Some network file systems refuse to sync a folder, and Windows to open one.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def encode_attrs(attrs: Mapping[Any, object]) -> dict[str, str | int | float]:
    """Attributes that netCDF can hold: text and numbers stay, all else (None, bool, list, dict) becomes JSON text."""
    return {str(name): _encode(value) for name, value in attrs.items()}


def _encode(value: object) -> str | int | float:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (str, float)):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
        return value
    return json.dumps(value, default=_jsonable, allow_nan=True)


def _jsonable(value: Any) -> object:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    return value.to_dict() if hasattr(value, "to_dict") else str(value)


def save_dataset(dataset: xr.Dataset, path: str | os.PathLike[str]) -> Path:
    """
    Write a dataset as netCDF-4 with a checksum on every array, whole or not at all.

    Parameters
    ----------
    dataset : xarray.Dataset
        A result, or the output of `Study.synchrony`; not changed.
    path : str or path-like
        The file; replaced if it exists.

    Returns
    -------
    pathlib.Path
        The file that was written.
    """
    target = check_writable(path)
    clean = dataset.copy()
    clean.attrs = dict(encode_attrs(dataset.attrs))
    for name in clean.variables:
        clean[name].attrs = dict(encode_attrs(dataset[name].attrs))
        clean[name].encoding = {}
    # Built in memory: a full disk or a kill while HDF5 writes would ruin the file and can end the process.
    write_whole(target, clean.to_netcdf(engine="h5netcdf", encoding=_filters(clean)))
    return target


def _filters(dataset: xr.Dataset) -> dict[Hashable, dict[str, object]]:
    """Compression and a checksum for each array of numbers; HDF5 has neither for scalars, text and empty arrays."""
    filters = {"zlib": True, "complevel": 4, "shuffle": True, "fletcher32": True}
    return {
        name: dict(filters)
        for name, variable in dataset.variables.items()
        if variable.ndim and variable.size and variable.dtype.kind in "fiub"
    }


def load_dataset(path: str | os.PathLike[str]) -> xr.Dataset:
    """
    Read a netCDF-4 file into memory.

    Parameters
    ----------
    path : str or path-like
        A file written by `save_dataset`, or another netCDF-4 file.

    Returns
    -------
    xarray.Dataset
        Everything the file holds; the file is closed.

    Raises
    ------
    InputError
        If the file is missing, cut short or damaged.
    """
    import xarray as xr

    _check_is_hdf5(Path(path), shown=str(path))
    try:
        with xr.open_dataset(path, engine="h5netcdf") as opened:
            return opened.load()
    # A damaged file surfaces as whatever the layer that trips over it raises.
    except Exception as error:
        raise InputError(f"{path}: damaged or cut short ({_first_line(error)}); copy it again or rerun") from error


def _check_is_hdf5(path: Path, *, shown: str) -> None:
    if path.is_dir():
        raise InputError(f"{shown}: is a folder; give a results file")
    try:
        with path.open("rb") as stream:
            signature = stream.read(8)
    except OSError as error:
        raise InputError(f"{shown}: cannot be read ({error.strerror}); check the path") from error
    if signature != b"\x89HDF\r\n\x1a\n":
        raise InputError(f"{shown}: not a netCDF-4/HDF5 file; give a results file written by ibsync")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
