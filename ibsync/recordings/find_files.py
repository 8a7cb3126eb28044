"""Hides where recordings and their tables lie: BIDS folders and sidecars, plain folders, single files."""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError

RECORDING_SUFFIXES = (".snirf", ".fif", ".mat", ".csv")
_TABLES = ("participants", "dyads", "outcomes")
_MISSING = {"", "n/a", "na", "nan", "none"}
_ENTITY = re.compile(r"(?:^|_)(sub|ses|task|run|acq|desc|space)-([^_.]+)")
_BIDS_NAME = re.compile(r"sub-[^_]+(_[a-z]+-[^_]+)*_nirs\.snirf")

Row = dict[str, str]


@dataclass(frozen=True)
class Source:
    """One file of recordings, and what its name says.

    Attributes
    ----------
    path : Path
        The file.
    participant : str
        "sub-<label>", or the file name without its other labels.
    session, task, run : str
        Labels of the file name; empty where it has none.
    is_derivative : bool
        Whether it lies in a BIDS `derivatives` folder.
    channels, events : Path or None
        The BIDS tables that belong to it.
    """

    path: Path
    participant: str
    session: str = ""
    task: str = ""
    run: str = ""
    is_derivative: bool = False
    channels: Path | None = None
    events: Path | None = None

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What a recording is told apart by."""
        return self.participant, self.session, self.task, self.run


@dataclass(frozen=True)
class Found:
    """The files of a source, the tables beside them, and what was passed over."""

    sources: tuple[Source, ...]
    tables: dict[str, Path]
    is_folder: bool
    notes: tuple[str, ...] = ()


def find_sources(given: str | Path | Sequence[str | Path]) -> Found:
    """The recordings of a folder (BIDS or plain), a file, or a list of files.

    Raises
    ------
    InputError
        Where a path does not exist or holds no recording.
    """
    if not isinstance(given, str | Path):
        paths = [Path(path) for path in given]
        if not paths:
            raise InputError("no recording is given; name a folder or files")
        return Found(tuple(describe_file(path) for path in paths), _tables_near(paths[0].parent), False)
    path = Path(given)
    if path.is_dir():
        return _search(path)
    return Found((describe_file(path),), _tables_near(path.parent), False)


def describe_file(path: Path) -> Source:
    """What the name of one recording says."""
    if not path.is_file():
        near = difflib.get_close_matches(path.name, _names_in(path.parent), 1)
        raise InputError(f"{path}: no such file{f'; did you mean {near[0]}?' if near else '; check the name'}")
    if path.suffix.lower() not in RECORDING_SUFFIXES:
        raise InputError(f"{path}: not a recording; give one of {', '.join(RECORDING_SUFFIXES)}")
    labels = dict(_ENTITY.findall(path.name))
    rest = re.sub(r"_(nirs|eeg|raw|epo)$", "", path.name.split(".")[0])
    return Source(
        path=path,
        participant=f"sub-{labels['sub']}" if "sub" in labels else _ENTITY.sub("", rest).strip("_") or rest,
        session=labels.get("ses", ""),
        task=labels.get("task", ""),
        run=labels.get("run", ""),
        is_derivative="derivatives" in path.resolve().parts,
        channels=_sidecar(path, "channels"),
        events=_sidecar(path, "events"),
    )


def _names_in(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()] if folder.is_dir() else []


def _search(folder: Path) -> Found:
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in RECORDING_SUFFIXES and _is_wanted(p, folder))
    files = [path for path in files if path.stem not in _TABLES]
    chosen = _of_one_convention(files)
    if not chosen:
        raise InputError(f"{folder}: no recording in the folder; give one with {', '.join(RECORDING_SUFFIXES)} files")
    left = [path.relative_to(folder) for path in files if path not in chosen]
    notes = tuple(f"{path}: {chosen[0].name} and its like are the recordings here" for path in left)
    return Found(tuple(describe_file(path) for path in chosen), _tables_near(folder), True, notes)


def _of_one_convention(files: Sequence[Path]) -> list[Path]:
    """The recordings of the strictest convention present: what else lies there may be anything."""
    bids = [path for path in files if _BIDS_NAME.fullmatch(path.name)]
    by_format = [
        [p for p in files if p.suffix.lower() in kinds] for kinds in ((".snirf", ".fif"), (".mat",), (".csv",))
    ]
    return bids or next((found for found in by_format if found), [])


def _is_wanted(path: Path, folder: Path) -> bool:
    parts = path.relative_to(folder).parts
    return path.is_file() and not any(part.startswith(".") or part in ("sourcedata", "code") for part in parts)


def _tables_near(folder: Path) -> dict[str, Path]:
    """Tables of the folder itself, then of the folders that lead up to the root of its dataset."""
    found: dict[str, Path] = {}
    for place in _up_to_root(folder):
        for name in _TABLES:
            path = next((p for p in (place / f"{name}.tsv", place / f"{name}.csv") if p.is_file()), None)
            if path:
                found.setdefault(name, path)
    return found


def _up_to_root(folder: Path) -> list[Path]:
    places = [folder.resolve()]
    while re.match(r"(sub-|ses-|nirs$|derivatives$)", places[-1].name) or places[-1].parent.name == "derivatives":
        places.append(places[-1].parent)
    return places


def _sidecar(path: Path, kind: str) -> Path | None:
    """The BIDS table of a recording: beside it, or for a derivative beside the recording it was made from."""
    labels = [f"{key}-{value}" for key, value in _ENTITY.findall(path.name) if key not in ("desc", "space")]
    names = (f"{path.name.split('.')[0].removesuffix('_nirs')}_{kind}.tsv", f"{'_'.join(labels)}_{kind}.tsv")
    places = [path.parent]
    parts = path.resolve().parts
    if "derivatives" in parts:
        root = Path(*parts[: parts.index("derivatives")])
        places.append(root.joinpath(*parts[parts.index("derivatives") + 2 : -1]))
    return next((place / name for place in places for name in names if (place / name).is_file()), None)


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


def read_bad_channels(source: Source, source_labels: Sequence[str], detector_labels: Sequence[str]) -> dict[str, str]:
    """Channels ("S1_D1") that the BIDS table marks bad, with the reason it gives."""
    if source.channels is None:
        return {}
    numbers = _optode_numbers("S", source_labels) | _optode_numbers("D", detector_labels)
    bad: dict[str, str] = {}
    for row in read_table(source.channels):
        name = _channel_name(row, numbers)
        if row.get("status", "").lower() == "bad" and name:
            bad.setdefault(name, row.get("status_description", ""))
    return bad


def _optode_numbers(letter: str, labels: Sequence[str]) -> dict[str, str]:
    if labels and len(set(labels)) == len(labels):
        return {f"{letter}:{label}": f"{letter}{k}" for k, label in enumerate(labels, 1)}
    return {}


def _channel_name(row: Row, numbers: dict[str, str]) -> str:
    """Our name of a row of channels.tsv: by its optodes, or by a name such as "S1_D1 760" or "S1-D1"."""
    optodes = row.get("source", ""), row.get("detector", "")
    if not all(optodes):
        match = re.match(r"(S\d+)[_-](D\d+)\b", row.get("name", ""))
        optodes = (match[1], match[2]) if match else ("", "")
    named = [numbers.get(f"{letter}:{label}", label) for letter, label in zip("SD", optodes, strict=True)]
    plain = [f"{letter}{label}" if label.isdigit() else label for letter, label in zip("SD", named, strict=True)]
    return "_".join(plain) if all(plain) else ""


def read_bids_events(source: Source) -> list[tuple[float, float, str, float]]:
    """Onset, duration (both s), label and value of every row of the BIDS events table, if there is one."""
    if source.events is None:
        return []
    return [_event(source.events, number, row) for number, row in enumerate(read_table(source.events, ("onset",)), 2)]


def _event(path: Path, number: int, row: Row) -> tuple[float, float, str, float]:
    try:
        onset, duration = float(row["onset"]), float(row.get("duration") or 0)
    except ValueError:
        raise InputError(f"{path}: line {number}: onset and duration must be numbers; correct the line") from None
    value = row.get("value", "")
    label = row.get("trial_type") or value or "event"
    return onset, duration, label, float(value) if re.fullmatch(r"-?\d+(\.\d+)?", value) else float("nan")
