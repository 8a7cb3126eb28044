"""A multiverse from a plan file: everything refused by name, everything computed, then the files written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..errors import PlanError
from ..questions.multiverse import multiverse
from ..recordings.memory import Budget, Memory
from ..recordings.output_kinds import PICTURE, json_kind, table_kind
from ..recordings.whole_files import outputs_differ, write_together
from ..results.figures.drawing import FORMATS as PICTURES
from ..results.multiverse_result import CHOICES, NUMBERS, Multiverse
from ..study.study import Study
from ..study.workers import workers_of
from .journals import forget, journals_of
from .plan_file import MultiversePlan, checked_output
from .plan_reader import read

TABLES = {".csv": table_kind([*CHOICES, *NUMBERS]), ".json": json_kind(Multiverse.json_name)}


def run_multiverse(
    path: str | Path,
    *,
    output: str | Path | None = None,
    picture: str | Path | None = None,
    backend: str = "auto",
    memory: Memory = None,
    resume: bool = False,
    workers: int | None = None,
    scheduler: str | None = None,
    overwrite: bool = False,
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
    memory : int or str, optional
        What the process may hold in all, as `run.run_plan`; instead of the plan's.
    resume, workers, scheduler
        As `run.run_plan`.
    overwrite : bool
        Replace files that are not of the kind that is written; never the plan or the study.
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
    inputs = (path, plan.study)
    outputs = [checked_output(Path(output or plan.output), TABLES, inputs, overwrite)]
    curve = picture or plan.picture
    if curve is not None:
        outputs.append(checked_output(Path(curve), dict.fromkeys(PICTURES, PICTURE), inputs, overwrite))
    outputs_differ(outputs)
    study = Study.open(plan.study, accept_changes=plan.accept_changes)
    budget = replace(Budget.of(memory or plan.memory), folder=outputs[0].path.absolute().parent)
    (journal,) = journals_of([outputs[0].path], resume, 1)
    try:
        with workers_of(workers, scheduler, backend) as executor:
            result = multiverse(
                study, **plan.multiverse.words(), backend=backend, executor=executor, journal=journal,
                progress=progress, memory=budget,
            )  # fmt: skip
    except PlanError as error:
        raise PlanError(f"{path}: {error}") from error
    payloads = [_content(result, output.path.suffix) for output in outputs]
    write_together(list(zip(outputs, payloads, strict=True)))
    forget([journal])
    return result, tuple(output.path for output in outputs)


def _content(result: Multiverse, suffix: str) -> bytes:
    return result.to_bytes(suffix) if suffix in TABLES else _drawn(result, suffix)


def _drawn(result: Multiverse, suffix: str) -> bytes:
    """The specification curve as the bytes of a file."""
    from matplotlib.figure import Figure

    from ..results.figures.drawing import bytes_of
    from ..results.figures.specification_curve import specification_curve

    return bytes_of(lambda: specification_curve(result, Figure(layout="constrained")), suffix)
