"""Hides how tables of text (.tsv or .csv) are spelled: separators, quotes, missing cells, numbers, yes and no."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from unicodedata import normalize

from ..errors import InputError
from .names import suggestion

if TYPE_CHECKING:
    import pandas as pd

MISSING_WORDS = ("na", "nan", "none", "null")
_YES = {"1", "1.0", "yes", "y", "true", "t", "ja", "wahr", "vrai"}
_NO = {"0", "0.0", "no", "n", "false", "f", "nein", "falsch", "faux"}
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)
_FORMULA = re.compile(r"'*[=+\-@\t\r]")

Row = dict[str, str]


def read_table(path: Path, required: Iterable[str] = (), others: Iterable[str] = ()) -> dict[int, Row]:
    """The rows of a .tsv or .csv table by line; a cell that is empty or `n/a` is empty text, any other what it says.

    The columns that are `required`, and `others` that mean something, may be written in any letters, as "Status".

    Raises
    ------
    InputError
        Where the file cannot be read, a column is missing or named twice, or a row is too long or badly quoted.
    """
    text = read_text(path)
    separator, decimal = separators(text) if path.suffix.lower() == ".csv" else ("\t", ".")
    lines = {number: line for number, line in enumerate(text.split("\n"), 1) if line.strip(f" {separator}")}
    rows = {number: _cells(f"{path}: line {number}", line, separator) for number, line in lines.items()}
    spellings = {name.lower(): name for name in (*required, *others)}
    header = [_without_apostrophe(cell) for cell in rows.pop(min(rows))] if rows else []
    header = [spellings.get(name.lower(), name) for name in header]
    check_header(path, header, required)
    for number, row in rows.items():
        if len(row) > len(header):
            raise InputError(
                f"{path}: line {number} has {len(row)} columns, the header {len(header)}; correct the line"
            )
    return {number: {name: _cell(row, k, decimal) for k, name in enumerate(header)} for number, row in rows.items()}


def csv_text(table: pd.DataFrame) -> str:
    """
    A table as CSV that spreadsheet programs only show.

    They run text that begins like a formula; an apostrophe before it keeps them from that, and `read_table` removes it.
    """
    safe = table.rename(columns=_as_text).map(_as_text)
    return str(safe.to_csv(index=False))


def _as_text(cell: object) -> object:
    """The cell; with an apostrophe where it is text like a formula, and no number."""
    is_formula = isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell)
    return f"'{cell}" if is_formula else cell


def read_text(path: Path) -> str:
    """The text of a file, in composed Unicode."""
    try:
        return normalize("NFC", path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); fetch the file or check its name") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: cannot be read as text ({error}); save it as UTF-8") from error


def separators(text: str) -> tuple[str, str]:
    """What parts the cells of a .csv, and its decimal mark: a comma where cells are parted by something else."""
    header, _, body = text.lstrip().partition("\n")
    separator = max(",;\t", key=header.count)
    return separator, "," if separator != "," and "," in body else "."


def check_header(path: Path, header: Sequence[str], required: Iterable[str]) -> None:
    """Refuse a header that names a column twice or lacks one."""
    twice = {name for name in header if header.count(name) > 1}
    if twice:
        raise InputError(f"{path}: the column {sorted(twice)[0]} stands twice; rename one")
    for name in required:
        if name not in header:
            near = suggestion(name, header)
            fix = "; part the columns by tabs" if len(header) == 1 and name in header[0].split() else ""
            raise InputError(
                f"{path}: the column {name} is missing{near}; the columns are {', '.join(header) or 'none'}{fix}"
            )


def _cells(where: str, line: str, separator: str) -> list[str]:
    """Cells of a line. Tab-separated tables know no quotes, but some programs write them around whole cells."""
    if separator == "\t":
        return [_unquoted(cell.strip()) for cell in line.split("\t")]
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=separator, strict=True))]
    except csv.Error:
        raise InputError(f"{where}: a quotation mark is not closed on its line; close or remove it") from None


def _unquoted(cell: str) -> str:
    is_quoted = re.fullmatch(r'"([^"]|"")*"', cell)
    return cell[1:-1].replace('""', '"').strip() if is_quoted else cell


def _cell(row: Sequence[str], k: int, decimal: str) -> str:
    value = row[k] if k < len(row) else ""
    if decimal == "," and re.fullmatch(r"[-+]?\d*,\d+", value):
        return value.replace(",", ".")
    return "" if value.lower() == "n/a" else _without_apostrophe(value)


def _without_apostrophe(cell: str) -> str:
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def number_in(where: str, name: str, text: str) -> float:
    """The finite number that a cell holds; NaN where it is missing."""
    if not text or text.lower() in MISSING_WORDS:
        return float("nan")
    if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        raise InputError(f"{where}: {name} is {text!r}, not a number; write it like 3.5, or n/a")
    return float(text)


def yes_in(where: str, name: str, text: str, default: bool) -> bool:
    """What a cell answers, in the words of the usual programs."""
    if text.lower() in _YES | _NO:
        return text.lower() in _YES
    if text:
        raise InputError(f"{where}: {name} is {text!r}, neither yes nor no; write 1 or 0")
    return default
