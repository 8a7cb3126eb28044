"""What a file of ibsync's holds, and whether it is still what ibsync wrote.

A file is read whole, vetted and digested before anything in it is believed; only the samples of a study are left for
later. Digests are of what a file says, not of its bytes: names, types, shapes, values and attributes of one member of
the root each. They stand in an attribute of the root, so that `h5repack` changes nothing and a change of a value is
reported with the name of its table. Text has a fixed length and the file the newest layout that others read, in which
HDF5 itself keeps a checksum of everything but values: a flipped bit is found by one or the other.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5g
from numpy.typing import NDArray

from ..errors import InputError
from .hdf5 import BARE_DIMENSION, HDF5_ERRORS, MAX_EXPANSION, Attribute, VettedGroup
from .names import first_of

File, Group = h5py.File, h5py.Group
DIGESTS = "ibsync_digests"
"""Attribute of the root: SHA-256 of each member by name, as JSON text."""
HOW_TO_ACCEPT = "accept the changes with accept_changes=True (--accept-changes; in a plan accept_changes = true)"


@dataclass(frozen=True)
class Content:
    """Values (None for a group and for samples that are read later) and attributes of one object."""

    values: NDArray[Any] | None
    attrs: dict[str, Attribute]


Contents = dict[str, Content]
"""By path, such as "dyads/role_a"; "" is the root."""


def _nothing_apart(path: str) -> bool:  # noqa: ARG001
    return False


def read_contents(
    file: h5py.File, path: Path, is_apart: Callable[[str], bool] = _nothing_apart, *, any_text: bool = False
) -> Contents:
    """Everything that a file holds.

    Parameters
    ----------
    file : h5py.File
        Opened for reading.
    path : Path
        Its name, for messages.
    is_apart : callable
        Says of a path whether its values are read later, and have digests of their own.
    any_text : bool
        Take text of variable length too, which other software writes and which HDF5 does not check for damage.

    Raises
    ------
    InputError
        Where something leads to other files, needs a plugin, or claims more than the file can hold.
    """
    contents: Contents = {}
    n_bytes, limit = 0, MAX_EXPANSION * file.id.get_filesize()
    for group, name in VettedGroup(h5g.open(file.id, b"/"), path, any_text=any_text).every():
        place = "/".join(part for part in (group.name, name) if part and part != ".")
        is_read_now = name != "." and not is_apart(place)
        try:
            values = group.array(name) if is_read_now and not group.is_bare_dimension(name) else None
            if is_read_now and values is None:
                continue
            contents[place] = Content(values, group.attributes(name))
        except HDF5_ERRORS as error:
            raise group.damage(name, error) from error
        n_bytes += 0 if values is None else values.nbytes
        if n_bytes > limit:
            raise group.failure(f"{name} makes more than {limit} bytes, which the file cannot hold; write it again")
    return contents


def digests_of(contents: Contents) -> dict[str, str]:
    """SHA-256 of each member of the root, with everything below it; "attributes" is that of the root's own."""
    hashes: dict[str, Any] = {}
    for place in sorted(contents):
        member = place.split("/")[0] or "attributes"
        _add(hashes.setdefault(member, hashlib.sha256()), place, contents[place])
    return {member: digest.hexdigest() for member, digest in hashes.items()}


def _add(digest: Any, place: str, content: Content) -> None:
    attrs = {name: value for name, value in content.attrs.items() if (place, name) != ("", DIGESTS)}
    parts = [("", content.values), *sorted(attrs.items())]
    for name, value in parts:
        kind, shape, data = _canonical(value)
        for text in (place, name, kind, repr(shape)):
            digest.update(text.encode("utf-8", "surrogateescape") + b"\0")
        digest.update(data)


def _canonical(value: Attribute | None) -> tuple[str, tuple[int, ...], bytes]:
    """Type, shape and bytes of a value, the same on every machine."""
    if value is None:
        return "", (), b""
    values = np.asarray(value)
    if values.dtype.kind == "U":
        texts = "\0".join(values.reshape(-1).tolist())
        return "text", values.shape, texts.encode("utf-8", "surrogateescape")
    ordered = values.astype(values.dtype.newbyteorder("<"))
    return ordered.dtype.str, values.shape, ordered.tobytes()


def changes_in(contents: Contents) -> tuple[str, ...]:
    """Members of the root that are not what ibsync wrote; empty if all are."""
    try:
        written = json.loads(str(contents[""].attrs[DIGESTS]))
        current = digests_of(contents)
        return tuple(name for name in {**written, **current} if written.get(name) != current.get(name))
    except (KeyError, ValueError, TypeError, AttributeError):
        return ("everything: it bears no digests",)


def refuse_changes(path: Path, changes: tuple[str, ...]) -> None:
    """Refuse a file that is not what ibsync wrote."""
    if changes:
        raise InputError(
            f"{path}: was changed after ibsync wrote it ({first_of(changes)}); take it as written, or {HOW_TO_ACCEPT}"
        )


def root_digest(contents: Contents) -> str:
    """One SHA-256 of everything in a file, in hexadecimal."""
    return hashlib.sha256(json.dumps(digests_of(contents), sort_keys=True).encode()).hexdigest()


def write_digests(file: h5py.File, path: Path, is_apart: Callable[[str], bool] = _nothing_apart) -> None:
    """Digest a file that has just been written, as it is read back."""
    file.flush()
    contents = read_contents(file, path, is_apart)
    file.attrs[DIGESTS] = as_fixed_text(json.dumps(digests_of(contents)))


def hdf5_bytes(fill: Callable[[h5py.File], None]) -> bytes:
    """The content of an HDF5 file that `fill` writes, with its digests.

    It is built in memory: a full disk or a kill while HDF5 writes would ruin the file and can end the process.
    """
    buffer = BytesIO()
    with h5py.File(buffer, "w", libver=("v110", "v110"), track_order=True) as file:
        fill(file)
        write_digests(file, Path("new file"))
    return buffer.getvalue()


# --- writing ----------------------------------------------------------------------------------------------------------


def write_array(group: h5py.Group, name: str, values: object, **options: Any) -> h5py.Dataset:
    """A dataset of numbers, or of text that xarray decodes."""
    array = np.asarray(values)
    if array.dtype.kind not in "OUST":
        return group.create_dataset(name, data=array, **options)
    dataset = group.create_dataset(name, data=as_fixed_text(array), **options)
    dataset.attrs["_Encoding"] = as_fixed_text("utf-8")
    return dataset


def make_scale(group: h5py.Group, name: str, size: int) -> h5py.Dataset:
    """The dimension of that name: its coordinate where there is one, else a dataset that only has its length.

    The title of the latter is netCDF's own convention.
    """
    has_values = name in group
    scale = group[name] if has_values else group.create_dataset(name, (size,), ">f4")
    scale.make_scale(name if has_values else f"{BARE_DIMENSION}. {size:9d}")
    return scale


def write_attributes(target: h5py.Group | h5py.Dataset, attrs: Mapping[str, object]) -> None:
    """Attributes that are text or numbers."""
    for name, value in attrs.items():
        target.attrs[name] = as_fixed_text(value) if isinstance(value, str) else value


def as_fixed_text(text: object) -> NDArray[Any]:
    """Text as UTF-8 of one length, that of the longest."""
    encoded = np.char.encode(np.asarray(text, dtype=str), "utf-8", "surrogateescape")
    return encoded.astype(h5py.string_dtype("utf-8", max(1, encoded.dtype.itemsize)))
