"""Calibration of the test that a plan file asks for, and the files that tell of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import PlanError
from ..recordings.whole_files import check_writable, write_whole
from ..results.calibration_result import Calibration
from ..simulation.calibrate import calibrate
from ..study.study import Study
from .plan_file import PlanFile, read_plan, with_signal

FORMATS = (".png", ".svg", ".pdf", ".html", ".json")


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
    sims: int = 200,
    output: str | Path | None = None,
    backend: str = "auto",
    progress: bool = False,
) -> list[Calibrated]:
    """
    Calibrate the test of a plan on the recordings of a study.

    Parameters
    ----------
    study_path, plan_path : str or Path
        Study file and plan file; the plan's own study is not read.
    sims : int
        Simulations without interaction.
    output : str or Path, optional
        File to write, in the format of its ending, one of `FORMATS`; with several signal_names one file each.
    backend : {"auto", "numpy", "cuda"}
    progress : bool

    Returns
    -------
    list of Calibrated
        In the order of the plan's signal_names.

    Raises
    ------
    InputError, PlanError, DeviceError
        Before any work: if the plan, the study or the output path will not do.
    """
    plan = read_plan(plan_path)
    if plan.test.tail != "greater":
        raise PlanError(f"{plan.path}: calibration tries tests of tail='greater', test.tail is {plan.test.tail!r}")
    if plan.null.roles != "fixed":
        raise PlanError(
            f"{plan.path}: null.roles = {plan.null.roles!r} is not offered for calibration yet; leave it out"
        )
    files = _files(plan, study_path, output)
    study = Study.open(study_path)
    found = [
        calibrate(study, plan.wtc, signal=signal, n_sims=sims, backend=backend, progress=progress, **_words(plan))
        for signal in plan.synchrony.signal
    ]
    contents = [b"" if file is None else _content(one, file) for one, file in zip(found, files, strict=True)]
    for content, file in zip(contents, files, strict=True):
        if file is not None:
            write_whole(file, content)
    return [Calibrated(one, file) for one, file in zip(found, files, strict=True)]


def _words(plan: PlanFile) -> dict[str, Any]:
    synchrony, null = plan.synchrony, plan.null
    return {
        "kind": null.kind, "within": null.within, "seed": null.seed, "measure": null.measure, "alpha": plan.test.alpha,
        "options": null.options,
        "pairs": synchrony.pairs if isinstance(synchrony.pairs, str) else [tuple(pair) for pair in synchrony.pairs],
        "epochs": list(synchrony.epochs) if isinstance(synchrony.epochs, tuple) else synchrony.epochs,
    }  # fmt: skip


def _files(plan: PlanFile, study_path: str | Path, output: str | Path | None) -> list[Path | None]:
    """File of each signal, known to be writable."""
    signal_names = plan.synchrony.signal
    if output is None:
        return [None] * len(signal_names)
    path = Path(output)
    if path.suffix not in FORMATS:
        raise PlanError(f"{path}: the ending says the format; it must be one of {', '.join(FORMATS)}")
    files = [with_signal(path, signal, signal_names) for signal in signal_names]
    for file in files:
        if file.resolve() in (Path(study_path).resolve(), plan.path.resolve()):
            raise PlanError(f"{file}: would replace an input; give the output another name")
        check_writable(file)
    return list(files)


def _content(found: Calibration, file: Path) -> bytes:
    from ..results.figures.calibration import html_page, picture_bytes

    if file.suffix == ".json":
        return found.to_json().encode()
    return html_page(found).encode() if file.suffix == ".html" else picture_bytes(found, file.suffix)
