"""Hides how HDF5 files are opened, and vetted against hostile or damaged content."""

from __future__ import annotations

import errno
import math
import re
from collections.abc import Iterator
from os.path import isdir, isfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5, h5a, h5d, h5g, h5l, h5o, h5s, h5t, h5z
from numpy.typing import NDArray

from ..errors import InputError
from .names import plain

_NO_LOCKS_HERE = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, 524}
_BUILT_IN_FILTERS = {h5z.FILTER_DEFLATE, h5z.FILTER_SHUFFLE, h5z.FILTER_FLETCHER32, 5, 6, h5z.FILTER_LZF}
_MAX_MEMBERS = 200_000
_MAX_ATTRIBUTES = 10_000
_MAX_DEPTH = 16
_MAX_BYTES = 16 * 2**30
_MAX_CHUNK_BYTES = 256 * 2**20
_SMALL_BYTES = 2**20
_BOOKKEEPING = {"CLASS", "NAME", "DIMENSION_LABELS", "_Netcdf4Dimid", "_Netcdf4Coordinates", "_NCProperties"}
MAX_EXPANSION = 2000
"""Most bytes that a byte of compressed samples makes."""
BARE_DIMENSION = "This is a netCDF dimension but not a netCDF variable"

HDF5_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError, IndexError, MemoryError, AttributeError)
"""What h5py raises on damaged content."""

Attribute = str | int | float | NDArray[Any]


def open_hdf5(path: Path) -> h5py.File:
    """The HDF5 file at `path`, opened for reading.

    Raises
    ------
    InputError
        Where there is no file, or it is a folder, is not HDF5, or is cut short.
    """
    if not isfile(path):
        problem = "is a folder, not a file" if isdir(path) else "no such file"
        raise InputError(f"{path}: {problem}; check the name")
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


class VettedGroup:
    """An HDF5 group read with low-level calls (recordings have hundreds of tiny datasets), every object vetted.

    Text of variable length, in which a damaged file can make HDF5 spin or crash, is read only where `any_text` is true.
    """

    def __init__(self, identifier: h5g.GroupID, path: Path, name: str = "", *, any_text: bool = True) -> None:
        self._identifier, self.path, self.name, self._any_text = identifier, path, name, any_text

    def failure(self, text: str) -> InputError:
        """An error that names the file and this group."""
        return InputError(f"{self.path}: {'/' + self.name + ': ' if self.name else ''}{text}")

    def damage(self, name: str, error: Exception) -> InputError:
        """An error that names a member which HDF5 cannot read."""
        return self.failure(f"{name} is damaged ({' '.join(str(error).split())}); copy or export the file again")

    def at(self, name: str) -> VettedGroup:
        """The group at a relative path; it must exist."""
        group: VettedGroup | None = self
        for part in name.split("/"):
            group = group.child(part) if group else None
        if group is None:
            raise self.failure(f"{name} is missing; export the file again")
        return group

    def child(self, name: str) -> VettedGroup | None:
        """The subgroup of that name, or None."""
        member = self._member(name)
        inner = f"{self.name}/{name}".lstrip("/")
        is_group = isinstance(member, h5g.GroupID)
        return VettedGroup(member, self.path, inner, any_text=self._any_text) if is_group else None

    def numbered(self, stem: str) -> list[str]:
        """Members named `stem` plus digits, in natural order (HDF5 lists 1, 10, 100, 2)."""
        if self._identifier.get_num_objs() > _MAX_MEMBERS:
            raise self.failure(f"has more than {_MAX_MEMBERS} members; export the file again")
        names = [key.decode("utf-8", "replace") for key in self._identifier]
        matches = [m for m in (re.fullmatch(rf"{stem}(\d*)", name) for name in names) if m]
        return [m[0] for m in sorted(matches, key=lambda m: (int(m[1] or 0), m[0]))]

    def dataset(self, name: str) -> h5d.DatasetID | None:
        """The vetted dataset of that name, or None."""
        member = self._member(name)
        if not isinstance(member, h5d.DatasetID) or member.get_space().get_simple_extent_type() == h5s.NULL:
            return None
        try:
            _vet_dataset(member, name)
        except InputError as error:
            raise self.failure(str(error)) from None
        return member

    def values(self, name: str) -> NDArray[Any]:
        """All values flattened; empty where there is no such dataset."""
        dataset = self.dataset(name)
        if dataset is None:
            return np.empty(0)
        if not _is_readable(dataset.get_type(), any_text=True):
            raise self.failure(f"{name} holds neither numbers nor text; export the file again")
        return _read(dataset).reshape(-1)

    def array(self, name: str) -> NDArray[Any] | None:
        """All values in their shape, text as `str`; None where there are none of a type that ibsync writes."""
        dataset = self.dataset(name)
        if dataset is None or not _is_readable(dataset.get_type(), any_text=self._any_text):
            return None
        if not dataset.get_storage_size() and math.prod(dataset.shape):
            raise self.failure(f"{name} claims values that the file does not hold; write the file again")
        return _plain_values(_read(dataset))

    def attributes(self, name: str = ".") -> dict[str, Attribute]:
        """Attributes of the group or of a member that are text or numbers, without what HDF5 and netCDF keep there."""
        member = self._identifier if name == "." else self._member(name)
        n_attributes = h5a.get_num_attrs(member)
        if n_attributes > _MAX_ATTRIBUTES:
            raise self.failure(f"{name} has {n_attributes} attributes; write the file again")
        is_ordered = bool(member.get_create_plist().get_attr_creation_order())
        order = h5.INDEX_CRT_ORDER if is_ordered else h5.INDEX_NAME
        attributes = (h5a.open(member, index=k, index_type=order) for k in range(n_attributes))
        named = ((attribute.name.decode("utf-8", "replace"), attribute) for attribute in attributes)
        return {
            title: self._attribute(name, attribute)
            for title, attribute in named
            if title not in _BOOKKEEPING
            and _is_readable(attribute.get_type(), any_text=self._any_text)
            and attribute.get_space().get_simple_extent_type() != h5s.NULL
        }

    def is_bare_dimension(self, name: str) -> bool:
        """Whether a member only gives a dimension its length, as netCDF does."""
        member = self._member(name)
        if not isinstance(member, h5d.DatasetID) or not h5a.exists(member, b"NAME"):
            return False
        title = h5a.open(member, b"NAME")
        is_text = title.get_type().get_class() == h5t.STRING and _is_readable(title.get_type(), any_text=False)
        return is_text and str(self._attribute(name, title)).startswith(BARE_DIMENSION)

    def every(self) -> Iterator[tuple[VettedGroup, str]]:
        """Every member of this group and of those below, as its group and name; "." is a group itself.

        An object that can be reached in two ways is refused: a cycle would never end.
        """
        yield from self._every(set(), 0)

    def _every(self, seen: set[tuple[int, int]], depth: int) -> Iterator[tuple[VettedGroup, str]]:
        yield self, "."
        if self._identifier.get_num_objs() > _MAX_MEMBERS:
            raise self.failure(f"has more than {_MAX_MEMBERS} members; write the file again")
        for name in self.members():
            place = h5o.get_info(self._member(name))
            if depth > _MAX_DEPTH:
                raise self.failure(f"{name} lies more than {_MAX_DEPTH} groups deep; write the file again")
            if (place.fileno, place.addr) in seen:
                raise self.failure(f"{name} stands in two places; write the file again")
            seen.add((place.fileno, place.addr))
            child = self.child(name)
            if child is None:
                yield self, name
            else:
                yield from child._every(seen, depth + 1)

    def numbers(self, name: str) -> NDArray[np.float64]:
        """All values as flat float64."""
        try:
            return self.values(name).astype(np.float64)
        except (TypeError, ValueError):
            raise self.failure(f"{name} is not numeric; export the file again") from None

    def texts(self, name: str) -> list[str]:
        """All values as text."""
        return [_text(value) for value in self.values(name)]

    def text(self, name: str) -> str:
        """The first value as text; empty where there is none."""
        return next(iter(self.texts(name)), "")

    def members(self) -> list[str]:
        """Names of all members."""
        return [key.decode("utf-8", "replace") for key in self._identifier]

    def _attribute(self, name: str, attribute: h5a.AttrID) -> Attribute:
        n_bytes = math.prod(int(n) for n in attribute.shape) * attribute.get_type().get_size()
        if n_bytes > _MAX_CHUNK_BYTES:
            raise self.failure(f"an attribute of {name} claims {n_bytes} bytes; write the file again")
        values = np.empty(attribute.shape, attribute.dtype)
        attribute.read(values)
        values = _plain_values(values)
        return values if values.size != 1 else values.item()

    def _member(self, name: str) -> Any:
        try:
            return _hard_child(self._identifier, name)
        except InputError as error:
            raise self.failure(str(error)) from None
        except HDF5_ERRORS as error:
            raise self.damage(name, error) from error


def _is_readable(datatype: h5t.TypeID, *, any_text: bool) -> bool:
    """Whether values are numbers or text; enumerations (h5py's booleans) and text of any length are of other files."""
    kind = datatype.get_class()
    if kind == h5t.STRING:
        return any_text or not datatype.is_variable_str()
    return kind in (h5t.INTEGER, h5t.FLOAT) or (any_text and kind == h5t.ENUM)


def _read(dataset: h5d.DatasetID) -> NDArray[Any]:
    values = np.empty(dataset.shape, dataset.dtype)
    dataset.read(h5s.ALL, h5s.ALL, values)
    return values


def _plain_values(values: NDArray[Any]) -> NDArray[Any]:
    """Numbers in the byte order of this machine; text as `str`, in which bytes that are no UTF-8 stay what they are."""
    if values.dtype.kind not in "SO":
        return values.astype(values.dtype.newbyteorder("="), copy=False)
    texts = [value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)
             for value in values.reshape(-1).tolist()]  # fmt: skip
    return np.array(texts, dtype=str).reshape(values.shape)


def _text(value: Any) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return plain(text.replace("\0", ""))


def _hard_child(group: h5g.GroupID, name: str) -> Any:
    """The object that `group` itself holds under `name`, or None; links that lead elsewhere are refused.

    Soft and external links are refused one component at a time, because a joined path hides what it passes through.
    """
    key = name.encode()
    if not group.links.exists(key):
        return None
    if group.links.get_info(key).type != h5l.TYPE_HARD:
        raise InputError(f"{name} is a link to somewhere else; write the file again without links")
    return h5o.open(group, key)


def _vet_dataset(dataset: h5d.DatasetID, name: str) -> None:
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
    if declared > _MAX_BYTES or declared > MAX_EXPANSION * dataset.get_storage_size():
        raise InputError(f"{name} claims {declared} bytes, more than the file can hold; export the file again")


def _vet_chunks(creation: h5py.h5p.PropDCID, item_bytes: int, name: str) -> None:
    if math.prod(int(n) for n in creation.get_chunk()) * item_bytes > _MAX_CHUNK_BYTES:
        raise InputError(f"{name} has chunks above {_MAX_CHUNK_BYTES} bytes; rewrite the file with h5repack")
    for k in range(creation.get_nfilters()):
        code = creation.get_filter(k)[0]
        if code not in _BUILT_IN_FILTERS:
            raise InputError(f"{name} needs compression filter {code}; rewrite the file with h5repack -f GZIP=4")
