"""The kinds of files that ibsync writes, and the marks by which it knows them again."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from .hdf5_writing import root_attributes
from .names import as_path
from .tables import csv_text
from .whole_files import Kind, Output, require_ending

if TYPE_CHECKING:
    import pandas as pd

MARK = "ibsync"
"""Stands in the head of every page, in the first key of every JSON file, and names the program of a picture."""
JOURNAL_MAGIC = b"ibsync journal 1\n"
"""Begins the file of a computation's finished parts."""
_LOOKED_AT = 16384  # bytes at either end of a file
_PICTURE = re.compile(rb"Software\0ibsync|<dc:title>ibsync|/Creator \(ibsync")


def _ends(path: Path) -> tuple[bytes, bytes]:
    with path.open("rb") as file:
        head = file.read(_LOOKED_AT)
        file.seek(max(0, path.stat().st_size - _LOOKED_AT))
        return head, file.read(_LOOKED_AT)


def _is_study(path: Path) -> bool:
    return "ibsync_format" in root_attributes(path, "ibsync_format")


def _is_result(path: Path) -> bool:
    held = root_attributes(path, "format", "null")
    return held.get("format", "").startswith(MARK) and "null" not in held


def _is_null(path: Path) -> bool:
    held = root_attributes(path, "format", "null")
    return held.get("format", "").startswith(MARK) and "null" in held


STUDY = Kind("an ibsync study", _is_study)
RESULT = Kind("an ibsync result", _is_result)
NULL = Kind("an ibsync null distribution", _is_null)
JOURNAL = Kind("an ibsync journal", lambda path: _ends(path)[0].startswith(JOURNAL_MAGIC))
PAGE = Kind("an ibsync page", lambda path: f'<meta name="generator" content="{MARK}">'.encode() in _ends(path)[0])
PICTURE = Kind("a picture of ibsync's", lambda path: any(_PICTURE.search(end) for end in _ends(path)))


def table_kind(columns: Sequence[str]) -> Kind:
    """A CSV table, known by exactly these columns in its first line."""
    header = ",".join(columns).encode()
    return Kind("a table of ibsync's with the same columns", lambda path: _ends(path)[0].splitlines()[:1] == [header])


def json_kind(name: str) -> Kind:
    """A JSON file, known by its first key and what that says."""
    start = re.compile(rf'\s*\{{\s*"{MARK}":\s*"{re.escape(name)}"'.encode())
    return Kind(f"a {name} of ibsync's", lambda path: start.match(_ends(path)[0]) is not None)


class JsonFile:
    """A result that can be written as JSON."""

    json_name: ClassVar[str]
    """What it is, in a word: the value of the first key."""

    def to_dict(self) -> dict[str, Any]:
        """Everything, as a dictionary that JSON can carry; it begins with {"ibsync": json_name}."""
        raise NotImplementedError

    def to_json(self) -> str:
        """`to_dict` as text."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """
        Write `to_json` to a file, whole or not at all.

        Parameters
        ----------
        path : path-like
        overwrite : bool
            Replace a file that is not of this kind.

        Returns
        -------
        pathlib.Path
            The file that was written.

        Raises
        ------
        InputError
            If the file cannot be written, or holds something else.
        """
        return Output(as_path(path), json_kind(self.json_name), overwrite=overwrite).write(self.to_json().encode())


class TableFile(JsonFile):
    """A result whose table can be written as CSV, and all of it as JSON."""

    table: pd.DataFrame

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """
        Write the table as CSV, or everything as JSON; whole or not at all.

        Parameters
        ----------
        path : path-like
            Ends in .csv or .json.
        overwrite : bool
            Replace a file that is not of this kind.

        Returns
        -------
        pathlib.Path
            The file that was written.

        Raises
        ------
        PlanError
            If it ends otherwise.
        InputError
            If it cannot be written, or holds something else.
        """
        path = as_path(path)
        require_ending(path, (".csv", ".json"))
        kind = table_kind(list(self.table.columns)) if path.suffix == ".csv" else json_kind(self.json_name)
        return Output(path, kind, overwrite=overwrite).write(self.to_bytes(path.suffix))

    def to_bytes(self, suffix: str) -> bytes:
        """The content of a file with this ending."""
        return csv_text(self.table).encode() if suffix == ".csv" else self.to_json().encode()
