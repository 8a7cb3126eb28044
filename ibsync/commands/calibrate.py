"""Calibration of the test that a plan file asks for, and the files that tell of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import PlanError
from ..recordings.memory import Memory
from ..recordings.output_kinds import PAGE, PICTURE, json_kind
from ..recordings.whole_files import Output, write_together
from ..results.calibration_result import Calibration
from ..results.figures.drawing import FORMATS as PICTURES
from ..simulation.calibrate import calibrate
from ..study.study import Study
from ..study.workers import workers_of
from .journals import forget, journals_of
from .plan_file import RunPlan, checked_output, read_plan, with_signal

KINDS = {**dict.fromkeys(PICTURES, PICTURE), ".html": PAGE, ".json": json_kind(Calibration.json_name)}


@dataclass(frozen=True)
class Calibrated:
    """One signal of a plan, and the file that was written."""

    calibration: Calibration
    file: Path | None

    def describe(self) -> dict[str, Any]:
        """For a script, as a dictionary that JSON can carry."""
        return {**self.calibration.to_dict(), "file": None if self.file is None else str(self.file)}

    def __str__(self) -> str:
        return str(self.calibration) + (f"\nwrote {self.file}" if self.file else "")


def calibrate_plan(
    study_path: str | Path,
    plan_path: str | Path,
    *,
    n_sims: int = 200,
    output: str | Path | None = None,
    accept_changes: bool = False,
    backend: str = "auto",
    memory: Memory = None,
    resume: bool = False,
    workers: int | None = None,
    scheduler: str | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> list[Calibrated]:
    """
    Calibrate the test of a plan on the recordings of a study.

    Parameters
    ----------
    study_path, plan_path : str or Path
        Study file and plan file; the plan's own study is not read.
    n_sims : int
        Simulations without interaction.
    output : str or Path, optional
        File to write, in the format of its ending, one of `KINDS`; with several signals one file each.
    accept_changes : bool
        Take a study that was changed after ibsync wrote it.
    backend : {"auto", "numpy", "cuda"}
    memory : int or str, optional
        What the process may hold in all, as `run.run_plan`; instead of the plan's.
    resume, workers, scheduler
        As `run.run_plan`; journals lie beside the outputs.
    overwrite : bool
        Replace files that are not of the kind that is written; never the plan or a study.
    progress : bool

    Returns
    -------
    list of Calibrated
        In the order of the plan's signals.

    Raises
    ------
    InputError, PlanError, DeviceError
        Before any work: if the plan, the study or the output path will not do.
    """
    plan = read_plan(plan_path)
    if plan.tail != "greater":
        raise PlanError(f"{plan_path}: calibration tries tests of tail='greater', test.tail is {plan.tail!r}")
    if plan.null.roles != "fixed":
        raise PlanError(
            f"{plan_path}: null.roles = {plan.null.roles!r} is not offered for calibration yet; leave it out"
        )
    if plan.second_null is not None:
        raise PlanError(f"{plan_path}: calibration tries one null: leave second_null out")
    if plan.synchrony.rois is not None:
        raise PlanError(f"{plan_path}: synchrony.rois are not offered for calibration, which tries channel pairs")
    outputs = _outputs(plan, (study_path, plan_path, plan.study), output, overwrite)
    study = Study.open(study_path, accept_changes=accept_changes).select(**plan.select.words())
    signals = plan.synchrony.signals
    journals = journals_of([output.path for output in outputs], resume, len(signals))
    with workers_of(workers, scheduler, backend) as executor:
        found = [
            calibrate(
                study, plan.spec, signal=signal, n_sims=n_sims, backend=backend, executor=executor,
                journal=journal, progress=progress, memory=memory or plan.memory, **_words(plan),
            )
            for signal, journal in zip(signals, journals, strict=True)
        ]  # fmt: skip
    write_together([(output, _content(one, output.path)) for one, output in zip(found, outputs, strict=False)])
    forget(journals)
    files = dict(zip(signals, (output.path for output in outputs), strict=False))
    return [Calibrated(one, files.get(one.signal)) for one in found]


def _words(plan: RunPlan) -> dict[str, Any]:
    null = plan.null.words()
    kept = {name: null[name] for name in ("kind", "within", "seed", "measure", "options")}
    computed = {name: value for name, value in plan.synchrony.words().items() if name not in ("rois", "roi_average")}
    return {**computed, **kept, "alpha": plan.test.alpha}


def _outputs(
    plan: RunPlan, inputs: Sequence[str | Path], output: str | Path | None, overwrite: bool
) -> Sequence[Output]:
    """The file of each signal, known to be writable; none where no output is asked for."""
    signals = plan.synchrony.signals
    files = [] if output is None else [with_signal(Path(output), signal, signals) for signal in signals]
    return [checked_output(file, KINDS, inputs, overwrite) for file in files]


def _content(found: Calibration, file: Path) -> bytes:
    from ..results.figures.calibration import html_page, picture_bytes

    if file.suffix == ".json":
        return found.to_json().encode()
    return html_page(found).encode() if file.suffix == ".html" else picture_bytes(found, file.suffix)
