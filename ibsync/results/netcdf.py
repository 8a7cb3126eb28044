"""Files written whole or not at all, paths refused before any work is done, datasets as netCDF-4."""

from __future__ import annotations

import json
import os
from collections.abc import Hashable, Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..recordings.whole_files import check_writable, write_whole

if TYPE_CHECKING:
    import xarray as xr


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


FORMAT = "ibsync 2"
"""How files are laid out; the attribute `format` of each."""


def save_dataset(dataset: xr.Dataset, path: str | os.PathLike[str], *, null: xr.Dataset | None = None) -> Path:
    """
    Write a dataset as netCDF-4 with a checksum on every array, whole or not at all.

    Parameters
    ----------
    dataset : xarray.Dataset
        A result, or the output of `Study.synchrony`; not changed.
    path : str or path-like
        The file; replaced if it exists.
    null : xarray.Dataset, optional
        What goes into the group "null" of the file.

    Returns
    -------
    pathlib.Path
        The file that was written.
    """
    target = check_writable(path)
    # Built in memory: a full disk or a kill while HDF5 writes would ruin the file and can end the process.
    buffer = BytesIO()
    _write(dataset.assign_attrs(format=FORMAT), buffer, mode="w")
    if null is not None and null.variables:
        _write(null, buffer, mode="a", group="null")
    write_whole(target, buffer.getvalue())
    return target


def _write(dataset: xr.Dataset, buffer: BytesIO, **where: Any) -> None:
    clean = _clean(dataset)
    clean.to_netcdf(buffer, engine="h5netcdf", encoding=_filters(clean), **where)


def _clean(dataset: xr.Dataset) -> xr.Dataset:
    """A copy with attributes that netCDF can hold."""
    clean = dataset.copy()
    clean.attrs = dict(encode_attrs(dataset.attrs))
    for name in clean.variables:
        clean[name].attrs = dict(encode_attrs(dataset[name].attrs))
        clean[name].encoding = {}
    return clean


def _filters(dataset: xr.Dataset) -> dict[Hashable, dict[str, object]]:
    """Compression and a checksum for each array of numbers; HDF5 has neither for scalars, text and empty arrays."""
    filters = {"zlib": True, "complevel": 4, "shuffle": True, "fletcher32": True}
    return {
        name: dict(filters)
        for name, variable in dataset.variables.items()
        if variable.ndim and variable.size and variable.dtype.kind in "fiub"
    }


def load_datasets(path: str | os.PathLike[str]) -> dict[str, xr.Dataset]:
    """
    Read a netCDF-4 file of ibsync into memory.

    Parameters
    ----------
    path : str or path-like
        A file written by `save_dataset`, or another netCDF-4 file.

    Returns
    -------
    dict of str to xarray.Dataset
        Everything the file holds, by group; "/" is the root. The file is closed.

    Raises
    ------
    InputError
        If the file is missing, cut short, damaged, or one that another version of ibsync wrote.
    """
    import xarray as xr

    _check_is_hdf5(Path(path), shown=str(path))
    try:
        opened = xr.open_groups(path, engine="h5netcdf")
        groups = {str(name): group.load() for name, group in opened.items()}
        for group in opened.values():
            group.close()
    # A damaged file surfaces as whatever the layer that trips over it raises.
    except Exception as error:
        raise InputError(f"{path}: damaged or cut short ({_first_line(error)}); copy it again or rerun") from error
    written = groups["/"].attrs.pop("format", None)
    if "kind" in groups["/"].attrs and written != FORMAT:
        raise InputError(
            f"{path}: was written by another version of ibsync (format {written or 'unknown'}, not {FORMAT}): "
            "compute it again"
        )
    return groups


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
