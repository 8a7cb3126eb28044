"""Hides when two spellings are one name: composed and decomposed letters, and the ways to write an optode pair."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from os import PathLike
from os.path import exists, isdir
from pathlib import Path
from unicodedata import normalize

from ..errors import InputError

_SIGNALS = {"hbo": "hbo", "hbr": "hbr", "hbt": "hbt", "eeg": "eeg", "hbo2": "hbo", "o2hb": "hbo", "oxyhb": "hbo"}
_SIGNALS |= {"oxy": "hbo", "hhb": "hbr", "deoxyhb": "hbr", "deoxy": "hbr", "thb": "hbt"}
_SIGNALS |= {"oxydata": "hbo", "dxydata": "hbr", "deoxydata": "hbr", "tothbdata": "hbt", "thbdata": "hbt"}
_MOST_NAMES = 6  # in a line
_CHANNEL_AND_SIGNAL = re.compile(rf"(.+?)[ _.]\[?({'|'.join(_SIGNALS)})\]?", re.IGNORECASE)


def natural_order(labels: Iterable[str]) -> list[str]:
    """Labels by the numbers in them, 2 before 10; as they are where one has no number."""
    parts = {label: re.split(r"([0-9]+)", label) for label in labels}
    if not all(len(words) > 1 for words in parts.values()):
        return list(parts)
    return sorted(parts, key=lambda label: [int(part) if part.isdecimal() else part for part in parts[label]])


def plain(text: str) -> str:
    """The one spelling of a name: Unicode NFC, no blanks around it."""
    return normalize("NFC", text).strip()


def label_of(value: object) -> str:
    """A label that is given as text, as a whole number or as a date; empty for anything else."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, bool) or value != value:
        return ""
    if hasattr(value, "isoformat"):
        return str(value.isoformat()).removesuffix("T00:00:00")
    try:
        return str(int(value)) if value == int(value) else ""  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError):
        return ""


def channel_and_signal(text: str) -> tuple[str, str]:
    """The channel in its one spelling ("S1-D1" is S1_D1), and the signal at the end of the name, if there is one."""
    name = plain(text)
    match = _CHANNEL_AND_SIGNAL.fullmatch(name)
    channel, signal = (match[1].strip(), signal_named(match[2])) if match else (name, "")
    optodes = re.fullmatch(r"S(\d+)[-_ ]D(\d+)", channel)
    return f"S{optodes[1]}_D{optodes[2]}" if optodes else channel, signal


def signal_named(text: str) -> str:
    """Our word for a signal that programs call "HbO2", "[O2Hb]" or "oxy"; any other text in small letters."""
    word = plain(text).lower().strip("[]")
    return _SIGNALS.get(word, word)


def as_path(path: object) -> Path:
    """The path of a file; anything else is refused."""
    if not isinstance(path, str | PathLike):
        raise InputError(f"give the path of a file, got {path!r}")
    return Path(path)


def path_named(path: Path) -> Path:
    """The file at `path`, or its neighbour whose name is the same in another spelling."""
    if exists(path) or not isdir(path.parent):
        return path
    return next((other for other in path.parent.iterdir() if plain(other.name) == plain(path.name)), path)


def first_of(names: Iterable[str]) -> str:
    """The first few names, and how many there are."""
    listed = list(names)
    more = f", ... ({len(listed)} in all)" if len(listed) > _MOST_NAMES else ""
    return ", ".join(listed[:_MOST_NAMES]) + more


def suggestion(name: str, known: Iterable[str]) -> str:
    """Names near to an unknown one, as the end of a message; empty if there is none."""
    spellings = {candidate.lower(): candidate for candidate in known}
    near = [spellings[lower] for lower in get_close_matches(name.lower(), spellings, 3, 0.6)]
    return f" (did you mean {' or '.join(near)}?)" if near else ""
