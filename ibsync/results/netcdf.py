"""Datasets as netCDF-4 files, written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import IbsyncError, InputError
from ..recordings.contents import (
    DIGESTS,
    Contents,
    File,
    Group,
    changes_in,
    hdf5_bytes,
    make_scale,
    read_contents,
    refuse_changes,
    write_array,
    write_attributes,
)
from ..recordings.hdf5 import HDF5_ERRORS, open_hdf5
from ..recordings.names import as_path
from ..recordings.output_kinds import RESULT
from ..recordings.whole_files import Output

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


FORMAT = "ibsync 4"
"""How files are laid out; the attribute `format` of each."""
ACCEPTED = "accepted_changes"
_DIMENSIONS = "ibsync_dimensions"
_COMPRESSION = {"compression": "gzip", "compression_opts": 4, "shuffle": True, "fletcher32": True}


def save_dataset(
    dataset: xr.Dataset,
    path: str | os.PathLike[str],
    *,
    null: xr.Dataset | None = None,
    maps: xr.Dataset | None = None,
    overwrite: bool = False,
) -> Path:
    """
    Write a dataset as netCDF-4, whole or not at all; it is kept elsewhere where its folder is gone or full.

    Parameters
    ----------
    dataset : xarray.Dataset
        A result, or the output of `Study.synchrony`; not changed.
    path : str or path-like
        The file; an older result is replaced.
    null, maps : xarray.Dataset, optional
        What goes into the groups "null" and "maps" of the file.
    overwrite : bool
        Replace a file that is no result of ibsync's.

    Returns
    -------
    pathlib.Path
        The file that was written.

    Raises
    ------
    InputError
        If the file cannot be written, and where it is kept then; or if the path holds something else.
    """
    return Output(as_path(path), RESULT, overwrite=overwrite).write(dataset_bytes(dataset, null, maps))


def dataset_bytes(dataset: xr.Dataset, null: xr.Dataset | None = None, maps: xr.Dataset | None = None) -> bytes:
    """A dataset as a netCDF-4 file with a checksum on every array, `null` and `maps` in groups of these names."""
    groups = {"": dataset.assign_attrs(format=FORMAT)}
    beside = {"null": null, "maps": maps}
    groups |= {name: content for name, content in beside.items() if content is not None and content.variables}

    def fill(file: File) -> None:
        dims: dict[str, list[str]] = {}
        for group, content in groups.items():
            _write_group(file.create_group(group) if group else file, content)
            dims |= {f"{group}/{name}".strip("/"): list(map(str, v.dims)) for name, v in content.variables.items()}
        write_attributes(file, {_DIMENSIONS: json.dumps(dims)})

    return hdf5_bytes(fill)


def _write_group(group: Group, dataset: xr.Dataset) -> None:
    """A dataset as netCDF-4 has it: variables along dimension scales, and which of them are coordinates."""
    for name, variable in dataset.variables.items():
        values = variable.to_numpy()
        # HDF5 compresses and checks neither scalars nor empty arrays.
        options = _COMPRESSION if values.size and values.ndim and values.dtype.kind in "fiub" else {}
        write_attributes(write_array(group, str(name), values, **options), encode_attrs(variable.attrs))
    for dim, size in dataset.sizes.items():
        make_scale(group, str(dim), size)
    for name, variable in dataset.variables.items():
        for axis, dim in enumerate(variable.dims if name not in variable.dims else ()):
            group[str(name)].dims[axis].attach_scale(group[str(dim)])
    coordinates = " ".join(str(name) for name in dataset.coords if name not in dataset.dims)
    write_attributes(group, encode_attrs({**dataset.attrs, **({"coordinates": coordinates} if coordinates else {})}))


def load_datasets(path: str | os.PathLike[str], *, accept_changes: bool = False) -> dict[str, xr.Dataset]:
    """
    Read a netCDF-4 file of ibsync into memory.

    Parameters
    ----------
    path : str or path-like
        A file written by `save_dataset`.
    accept_changes : bool
        Take a file that was changed after ibsync wrote it. Its attribute `accepted_changes` names what differs.

    Returns
    -------
    dict of str to xarray.Dataset
        Everything the file holds, by group; "/" is the root. The file is closed.

    Raises
    ------
    InputError
        If the file is missing, cut short, damaged, changed, or one that another version of ibsync wrote.
    """
    shown = as_path(path)
    with open_hdf5(shown) as file:
        try:
            return _checked_datasets(file, shown, accept_changes)
        except IbsyncError:
            raise
        except HDF5_ERRORS as error:
            text = " ".join(str(error).split())
            raise InputError(f"{path}: damaged or cut short ({text}); copy it again or compute it again") from error


def _checked_datasets(file: File, path: Path, accept_changes: bool) -> dict[str, xr.Dataset]:
    if not {"format", "kind"} & set(file.attrs):
        raise InputError(f"{path}: not a results file of ibsync; give a file written by save() or `ibsync run`")
    contents = read_contents(file, path, any_text=accept_changes)
    attrs = contents[""].attrs
    written = attrs.get("format")
    if written != FORMAT:
        raise InputError(
            f"{path}: was written by another version of ibsync (format {written or 'unknown'}, not {FORMAT}): "
            "compute it again"
        )
    changes = changes_in(contents)
    if not accept_changes:
        refuse_changes(path, changes)
    dims = json.loads(str(attrs.pop(_DIMENSIONS)))
    for name in ("format", DIGESTS):
        attrs.pop(name, None)
    datasets = {f"/{name}": _dataset(contents, name, dims) for name, part in contents.items() if part.values is None}
    if changes:
        datasets["/"].attrs |= accepted_changes(attrs, {ACCEPTED: f"{path.name}: {', '.join(changes)}"})
    return datasets


def accepted_changes(*attrs: Mapping[Any, Any]) -> dict[str, str]:
    """The attribute that says what was changed in the files behind several attributes; none where nothing was."""
    changes = "; ".join(dict.fromkeys(str(one[ACCEPTED]) for one in attrs if ACCEPTED in one))
    return {ACCEPTED: changes} if changes else {}


def _dataset(contents: Contents, group: str, dims: Mapping[str, Sequence[str]]) -> xr.Dataset:
    import xarray as xr

    variables = {}
    for place, names in dims.items():
        owner, _, name = place.rpartition("/")
        content = contents.get(place)
        if owner == group and content is not None and content.values is not None:
            attrs = {word: value for word, value in content.attrs.items() if word != "_Encoding"}
            variables[name] = (list(names), _joined(content.values, len(names)), attrs)
    attrs = dict(contents[group].attrs)
    coordinates = str(attrs.pop("coordinates", "")).split()
    return xr.Dataset(variables, attrs=attrs).set_coords(coordinates)


def _joined(values: NDArray[Any], n_dims: int) -> NDArray[Any]:
    """Text that xarray saved letter by letter, as text."""
    if values.dtype.kind != "U" or values.ndim != n_dims + 1:
        return values
    letters = np.char.encode(values, "utf-8", "surrogateescape").astype("S1")
    return np.char.decode(np.ascontiguousarray(letters).view(f"S{values.shape[-1]}")[..., 0], "utf-8")
