"""Hides where recordings and their tables lie: BIDS folders and sidecars, plain folders, single files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from os.path import exists, isdir, isfile, islink
from pathlib import Path

from ..errors import InputError
from .formats.table import ENDINGS, FORMATS
from .names import as_path, path_named, plain, suggestion
from .source import Source

_TABLES = ("participants", "dyads", "outcomes")
_ENTITY = re.compile(r"(?:^|_)(sub|ses|task|run|acq|desc|space)-([^_.]+)")
_BIDS_NAME = re.compile(r"sub-[^_]+(_[a-z]+-[^_]+)*_nirs\.snirf")


@dataclass(frozen=True)
class SourceFiles:
    """The recordings of a folder or list, the tables beside them, and what was passed over."""

    sources: tuple[Source, ...]
    tables: dict[str, Path]
    is_folder: bool
    notes: tuple[str, ...] = ()


def find_sources(where: str | Path | Sequence[str | Path]) -> SourceFiles:
    """The recordings of a folder (BIDS or plain), a file, or a list of files.

    Raises
    ------
    InputError
        Where a path does not exist or holds no recording.
    """
    if isinstance(where, Sequence) and not isinstance(where, str):
        paths = [as_path(path) for path in where]
        if not paths:
            raise InputError("no recording is given; name a folder or files")
        return SourceFiles(tuple(describe_file(path) for path in paths), _tables_near(paths[0].parent), False)
    path = as_path(where)
    if isdir(path):
        return _search(path)
    return SourceFiles((describe_file(path),), _tables_near(path.parent), False)


def describe_file(path: Path) -> Source:
    """What the name of one recording says."""
    path = path_named(path)
    if not _is_listed(path):
        near = suggestion(path.name, _names_in(path.parent))
        raise InputError(f"{path}: no such file{near}; check the name")
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{path}: not a recording; give one of {ENDINGS}")
    name = plain(path.parent.name if path.suffix.lower() == ".hdr" else path.name)  # a NIRx folder names the person
    labels = dict(_ENTITY.findall(name))
    rest = re.sub(r"[-_](nirs|eeg|raw|epo)$", "", name.split(".")[0])
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


def _is_listed(path: Path) -> bool:
    """Whether there is such a file, or a link to one that may be elsewhere: that must be told, not passed over."""
    return isfile(path) or (islink(path) and not exists(path))


def _names_in(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()] if isdir(folder) else []


def _search(folder: Path) -> SourceFiles:
    files = sorted(path for path in folder.rglob("*") if _may_be_recording(path, folder))
    chosen = _of_one_convention(files)
    if not chosen:
        raise InputError(f"{folder}: no recording in the folder; give one with {ENDINGS} files")
    others = [path.relative_to(folder) for path in files if path not in chosen]
    notes = tuple(f"{path}: {chosen[0].name} and its like are the recordings here" for path in others)
    return SourceFiles(tuple(describe_file(path) for path in chosen), _tables_near(folder), True, notes)


def _of_one_convention(files: Sequence[Path]) -> list[Path]:
    """The recordings of the strictest convention present: what else lies there may be anything."""
    bids = [path for path in files if _BIDS_NAME.fullmatch(path.name)]
    ranks = [FORMATS[path.suffix.lower()].rank for path in files]
    return bids or [path for path, rank in zip(files, ranks, strict=True) if rank == min(ranks)]


def _may_be_recording(path: Path, folder: Path) -> bool:
    parts = path.relative_to(folder).parts
    is_hidden = any(part.startswith(".") or part in ("sourcedata", "code") for part in parts)
    return path.suffix.lower() in FORMATS and path.stem not in _TABLES and _is_listed(path) and not is_hidden


def _tables_near(folder: Path) -> dict[str, Path]:
    """Tables of the folder itself, then of the folders that lead up to the root of its dataset."""
    places = [
        place / f"{name}{ending}" for place in _up_to_root(folder) for name in _TABLES for ending in (".tsv", ".csv")
    ]
    return {path.stem: path for path in reversed(places) if _is_listed(path)}


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
    return next((place / name for place in places for name in names if _is_listed(place / name)), None)
