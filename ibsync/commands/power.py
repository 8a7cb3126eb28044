"""Power from a plan file: what is supposed, what a pilot tells, and the files that say what came out."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import asdict

from ..errors import PlanError
from ..recordings.output_kinds import PICTURE, json_kind
from ..recordings.whole_files import Output
from ..results.figures.drawing import FORMATS as PICTURES
from ..results.result import load
from ..simulation.courses import Growth
from ..simulation.study_model import SynchronyModel
from ..simulation.study_power import StudyPower, study_power
from ..study.workers import workers_of
from .journals import forget, journals_of
from .plan_file import Power, PowerPlan, checked_output
from .plan_reader import read

KINDS = {**dict.fromkeys(PICTURES, PICTURE), ".json": json_kind(StudyPower.json_name)}
OUTCOME = "outcome"
_GROWTH = {"growth": "mean", "growth_sd": "sd"}
"""Keys that `Growth` has by another name."""
_OF_GROWTH = {field.name for field in fields(Growth)}
_OF_MODEL = {field.name for field in fields(SynchronyModel)} - {"growth"}
_OF_TEST = ("dyads", "sessions", "test", "alpha", "tail", "target_power", "n_sims", "n", "seed")


def run_power_plan(
    path: str | Path,
    *,
    n_sims: int | None = None,
    output: str | Path | None = None,
    resume: bool = False,
    workers: int | None = None,
    scheduler: str | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> tuple[StudyPower, tuple[Path, ...]]:
    """Run a plan file; nothing is written before everything has been computed.

    Parameters
    ----------
    path : str or Path
        Plan file (TOML).
    n_sims : int, optional
        Studies for each number of dyads and sessions, instead of the plan's.
    output : str or Path, optional
        File to write, in the format of its ending, one of `KINDS`.
    resume, workers, scheduler
        As `run.run_plan`.
    overwrite : bool
        Replace a file that is not of the kind that is written; never the plan or the pilot.
    progress : bool
        Whether to show progress on standard error.

    Returns
    -------
    StudyPower
    tuple of Path
        Files that were written.

    Raises
    ------
    InputError, PlanError
        Before any work: if the plan, the pilot or the output path will not do.
    """
    asked = read(path, PowerPlan).power
    file: Output | None = None
    if output is not None:
        inputs = (path, *([] if asked.pilot is None else [asked.pilot]))
        file = checked_output(Path(output), KINDS, inputs, overwrite)
    words: dict[str, Any] = {name: getattr(asked, name) for name in _OF_TEST}
    if n_sims is not None:
        words["n_sims"] = n_sims
    (journal,) = journals_of([] if file is None else [file.path], resume, 1)
    try:
        model, resampled = models_of(asked)
        with workers_of(workers, scheduler, "numpy") as executor:
            result = study_power(
                model, resampled=resampled, executor=executor, journal=journal, progress=progress, **words
            )
    except PlanError as error:
        raise PlanError(f"{path}: {error}") from error
    if file is None:
        return result, ()
    written = file.write(_content(result, file.path.suffix))
    forget([journal])
    return result, (written,)


def models_of(asked: Power) -> tuple[SynchronyModel, tuple[SynchronyModel, ...]]:
    """What is simulated: the pilot's variances, where the plan does not give its own; and those of resampled pilots.

    Raises
    ------
    InputError, PlanError
        If the pilot cannot be read or does not tell, or the plan contradicts itself.
    """
    words = {_GROWTH.get(name, name): value for name, value in asdict(asked).items() if value is not None}
    course = {name: value for name, value in words.items() if name in _OF_GROWTH}
    model = {name: value for name, value in words.items() if name in _OF_MODEL}
    if asked.test == "outcome":
        model["outcomes"] = {OUTCOME: (asked.tied, asked.correlation)}
    if asked.pilot is None:
        return SynchronyModel(growth=Growth(**course), **model), ()
    result = load(asked.pilot, accept_changes=asked.accept_changes)
    pilot = SynchronyModel.of_pilot(result)
    # What the pilot's lines leave holds errors and deviations of sessions.
    of_sessions = asked.session_sd or 0.0 if asked.noise_sd is None else 0.0
    if of_sessions > pilot.noise_sd:
        raise PlanError(
            f"session_sd = {of_sessions:g} is more than the {pilot.noise_sd:.3g} by which the sessions of the "
            "pilot deviate in all; give noise_sd too, or less"
        )

    def planned(own: SynchronyModel) -> SynchronyModel:
        rest = float(np.sqrt(max(own.noise_sd**2 - of_sessions**2, 0.0)))
        return replace(own, growth=replace(own.growth, **course), **{"noise_sd": rest, **model})

    resampled = SynchronyModel.resampled(result, asked.resamples, seed=asked.seed)
    return planned(pilot), tuple(map(planned, resampled))


def _content(result: StudyPower, suffix: str) -> bytes:
    from ..results.figures.drawing import bytes_of
    from ..results.figures.study_power import study_power as drawn

    return result.to_json().encode() if suffix == ".json" else bytes_of(lambda: drawn(result), suffix)
