"""A multiverse from a plan file: every list checked by name, everything computed, then the files written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..coupling.measures import MEASURES
from ..coupling.spec import CONES
from ..errors import InputError, PlanError
from ..questions.multiverse import multiverse
from ..recordings.whole_files import check_writable, require_ending, write_whole
from ..results.multiverse_result import Multiverse
from ..study.study import NULL_KINDS, WITHIN, Study
from .plan_file import TAILS, Reader, parsed_toml

TABLES, PICTURES = (".csv", ".json"), (".png", ".svg", ".pdf")
_FILES = ("study", "output", "picture")
_KNOWN = {"coi": CONES, "measures": MEASURES, "nulls": NULL_KINDS}
_KEYS = (
    "bands", "signal", "presets", *_KNOWN, "pairs", "epochs", "n", "seed", "tail", "within", "alpha",
)  # fmt: skip


@dataclass(frozen=True)
class MultiversePlan:
    """One plan file of a multiverse.

    Attributes
    ----------
    path : Path
        The plan file itself.
    study : Path
        Study file; a relative path in the plan starts at the plan's folder, as do the two that follow.
    output : Path
        Table, .csv or .json.
    picture : Path or None
        Specification curve, .png, .svg or .pdf.
    words : mapping
        Arguments of `ibsync.multiverse`.
    """

    path: Path
    study: Path
    output: Path
    picture: Path | None
    words: Mapping[str, Any]


def read_multiverse_plan(path: str | Path) -> MultiversePlan:
    """Return what a plan file (TOML) asks for.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    MultiversePlan

    Raises
    ------
    InputError
        If the file cannot be read or is not TOML.
    PlanError
        If a key is unknown, missing or has a value of the wrong kind; the text names file and key.
    """
    path = Path(path)
    reader = Reader(path)
    words = reader.keys("", parsed_toml(path), (*_FILES, "multiverse"))
    if "study" not in words:
        raise PlanError(f'{path}: study is missing; add a line such as study = "study.h5"')
    return MultiversePlan(
        path=path,
        study=reader.file(words, "study", ""),
        output=reader.file(words, "output", f"{path.stem}.csv"),
        picture=reader.file(words, "picture", "") if "picture" in words else None,
        words=_words(reader, reader.table(words, "multiverse")),
    )


def _words(reader: Reader, table: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that the table gives; what bands, pairs and times hold is examined where they are used."""
    reader.keys("multiverse", table, _KEYS)
    if "bands" not in table:
        raise PlanError(f"{reader.path}: multiverse.bands is missing; add bands = {{ task = [0.02, 0.1] }}")
    words = dict(table)
    for key in {"signal", "presets", *_KNOWN} & set(table):
        words[key] = reader.strings(f"multiverse.{key}", table[key])
        words[key] = [reader.one_of(f"multiverse.{key}", word, _KNOWN.get(key, words[key])) for word in words[key]]
    for key in {"n", "seed"} & set(table):
        reader.whole(f"multiverse.{key}", table[key], 1 if key == "n" else 0)
    if "within" in table:
        words["within"] = reader.some_of("multiverse.within", table["within"], WITHIN)
    if "tail" in table:
        reader.one_of("multiverse.tail", table["tail"], TAILS)
    if "alpha" in table:
        reader.positive("multiverse.alpha", table["alpha"], below=1.0)
    if "epochs" in table and not isinstance(table["epochs"], dict):
        words["epochs"] = reader.strings("multiverse.epochs", table["epochs"])
    return words


def run_multiverse(
    path: str | Path,
    *,
    output: str | Path | None = None,
    picture: str | Path | None = None,
    backend: str = "auto",
    progress: bool = False,
) -> tuple[Multiverse, tuple[Path, ...]]:
    """Run a plan file; nothing is written before everything has been computed and drawn.

    Parameters
    ----------
    path : str or Path
        Plan file (TOML).
    output, picture : str or Path, optional
        Files to write instead of the plan's.
    backend : {"auto", "numpy", "cuda"}
    progress : bool
        Whether to show progress on standard error.

    Returns
    -------
    Multiverse
    tuple of Path
        Files that were written.

    Raises
    ------
    InputError, PlanError, DeviceError
        Before any work: if the plan, the study or the files to write will not do.
    """
    plan = read_multiverse_plan(path)
    table = plan.output if output is None else Path(output)
    curve = plan.picture if picture is None else Path(picture)
    _check_files(plan, table, curve)
    study = Study.open(plan.study)
    try:
        found = multiverse(study, **plan.words, backend=backend, progress=progress)
    except PlanError as error:
        raise PlanError(f"{plan.path}: {error}") from error
    drawn = None if curve is None else _drawn(found, curve.suffix)
    found.save(table)
    if curve is None or drawn is None:
        return found, (table,)
    write_whole(curve, drawn)
    return found, (table, curve)


def _check_files(plan: MultiversePlan, table: Path, curve: Path | None) -> None:
    """Refuse files that cannot be written, or that would overwrite the plan, the study or one another."""
    taken = [plan.path.resolve(), plan.study.resolve()]
    for file, endings in ((table, TABLES), (curve, PICTURES)):
        if file is None:
            continue
        require_ending(file, endings)
        check_writable(file)
        if file.resolve() in taken:
            raise InputError(f"{file}: is a file that this run reads or writes already; choose another name")
        taken.append(file.resolve())


def _drawn(found: Multiverse, suffix: str) -> bytes:
    """The specification curve as the bytes of a file."""
    from matplotlib.figure import Figure

    from ..results.figures.drawing import bytes_of
    from ..results.figures.specification_curve import specification_curve

    return bytes_of(lambda: specification_curve(found, Figure(layout="constrained")), suffix)
