"""Tables of text (.tsv or .csv), missing values as empty text."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import InputError

_MISSING = {"", "n/a", "na", "nan", "none"}

Row = dict[str, str]


def read_table(path: Path, required: Iterable[str] = ()) -> list[Row]:
    """The rows of a .tsv or .csv table, missing values as empty text.

    Raises
    ------
    InputError
        Where the file cannot be read, a column is missing or named twice, or a row is too long.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error}); save it as UTF-8") from error
    reader = csv.reader([line for line in lines if line.strip()], delimiter="," if path.suffix == ".csv" else "\t")
    header, *rows = [[cell.strip() for cell in row] for row in reader] or [[]]
    _check_header(path, header, required)
    for number, row in enumerate(rows, 2):
        if len(row) > len(header):
            raise InputError(
                f"{path}: line {number} has {len(row)} columns, the header {len(header)}; correct the line"
            )
    return [{name: _cell(row, k) for k, name in enumerate(header)} for row in rows]


def _check_header(path: Path, header: Sequence[str], required: Iterable[str]) -> None:
    twice = {name for name in header if header.count(name) > 1}
    if twice:
        raise InputError(f"{path}: the column {sorted(twice)[0]} stands twice; rename one")
    for name in required:
        if name not in header:
            near = suggestion(name, header)
            raise InputError(
                f"{path}: the column {name} is missing{near}; the columns are {', '.join(header) or 'none'}"
            )


def _cell(row: Sequence[str], k: int) -> str:
    value = row[k] if k < len(row) else ""
    return "" if value.lower() in _MISSING else value


def suggestion(name: str, known: Iterable[str]) -> str:
    """Names near to an unknown one, as the end of a message; empty if there is none."""
    names = list(known)
    near = difflib.get_close_matches(name, names, 3, 0.6) or [n for n in names if n.lower() == name.lower()]
    return f" (did you mean {' or '.join(near)}?)" if near else ""
