"""A multiverse from a plan file: everything refused by name, everything computed, then the files written."""

from __future__ import annotations

from pathlib import Path

from ..errors import PlanError
from ..questions.multiverse import multiverse
from ..recordings.whole_files import write_whole
from ..results.figures.drawing import FORMATS as PICTURES
from ..results.multiverse_result import Multiverse
from ..study.study import Study
from .plan_file import MultiversePlan, checked_output
from .plan_reader import read

TABLES = (".csv", ".json")


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
    plan = read(path, MultiversePlan)
    table = checked_output(Path(output or plan.output), (path, plan.study), TABLES)
    curve = picture or plan.picture
    if curve is not None:
        curve = checked_output(Path(curve), (path, plan.study, table), PICTURES)
    study = Study.open(plan.study, accept_changes=plan.accept_changes)
    try:
        result = multiverse(study, **plan.multiverse.words(), backend=backend, progress=progress)
    except PlanError as error:
        raise PlanError(f"{path}: {error}") from error
    drawn = None if curve is None else _drawn(result, curve.suffix)
    result.save(table)
    if curve is None or drawn is None:
        return result, (table,)
    write_whole(curve, drawn)
    return result, (table, curve)


def _drawn(result: Multiverse, suffix: str) -> bytes:
    """The specification curve as the bytes of a file."""
    from matplotlib.figure import Figure

    from ..results.figures.drawing import bytes_of
    from ..results.figures.specification_curve import specification_curve

    return bytes_of(lambda: specification_curve(result, Figure(layout="constrained")), suffix)
