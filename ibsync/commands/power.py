"""Power from a plan file: what is supposed, what a pilot tells, and the files that say what came out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import PlanError
from ..recordings.whole_files import check_writable, write_whole
from ..results.figures.drawing import FORMATS as PICTURES
from ..results.result import load
from ..simulation.courses import TIES, Growth
from ..simulation.study_model import SynchronyModel
from ..simulation.study_power import StudyPower, study_power
from .plan_file import TAILS, Reader, parsed_toml

FORMATS = (*PICTURES, ".json")
TESTS = ("plasticity", "outcome")
OUTCOME = "outcome"
# Key of the plan: attribute of Growth, and its limits.
_COURSE: Mapping[str, tuple[str, float]] = {
    "growth": ("mean", -np.inf),
    "growth_sd": ("sd", 0.0),
    "level_sd": ("level_sd", 0.0),
    "session_sd": ("session_sd", 0.0),
    "therapist_sd": ("therapist_sd", 0.0),
    "therapist_growth_sd": ("therapist_growth_sd", 0.0),
}
_MODEL = ("noise_sd", "session_ar", "therapists", "missing", "shortest", "n_pairs")
_TEST = ("test", "tied", "correlation", "alpha", "tail", "wanted", "sims", "n_perm", "seed")
KEYS = ("dyads", "sessions", "pilot", *_COURSE, *_MODEL, *_TEST)


@dataclass(frozen=True)
class PowerPlan:
    """One plan file of a power analysis.

    Attributes
    ----------
    path : Path
        The plan file itself.
    pilot : Path or None
        Result file from which variances are taken; a relative path starts at the plan's folder.
    dyads, sessions : tuple of int
        Numbers to try.
    course : mapping
        Attributes of `Growth` that the plan gives.
    model : mapping
        Attributes of `SynchronyModel` that the plan gives.
    words : mapping
        Arguments of `ibsync.study_power`.
    """

    path: Path
    pilot: Path | None
    dyads: tuple[int, ...]
    sessions: tuple[int, ...]
    course: Mapping[str, float]
    model: Mapping[str, Any]
    words: Mapping[str, Any]


def read_power_plan(path: str | Path) -> PowerPlan:
    """Return what a plan file (TOML) asks for.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    PowerPlan

    Raises
    ------
    InputError
        If the file cannot be read or is not TOML.
    PlanError
        If a key is unknown, missing or has a value of the wrong kind; the text names file and key.
    """
    path = Path(path)
    reader = Reader(path)
    words = reader.keys("", parsed_toml(path), ("power",))
    if "power" not in words:
        raise PlanError(f"{path}: the table [power] is missing; add it with dyads = [8, 12, 20] and sessions = [4, 6]")
    table = reader.keys("power", reader.table(words, "power"), KEYS)
    _require(path, table)
    plan = PowerPlan(
        path=path,
        pilot=reader.file(table, "pilot", "") if "pilot" in table else None,
        dyads=reader.wholes("power.dyads", table["dyads"], 2),
        sessions=reader.wholes("power.sessions", table["sessions"], 1),
        course=_course(reader, table),
        model=_model(reader, table),
        words=_words(reader, table),
    )
    if plan.words["test"] == "plasticity" and {"tied", "correlation"} & set(table):
        raise PlanError(f'{path}: power.tied and power.correlation belong to an outcome; add test = "outcome"')
    return plan


def _require(path: Path, table: Mapping[str, Any]) -> None:
    """Refuse a plan that leaves open what nobody else can say."""
    wanted = {"dyads": "dyads = [8, 12, 20]", "sessions": "sessions = [4, 6]"}
    if table.get("test", TESTS[0]) == "outcome":
        wanted |= {"tied": 'tied = "growth"', "correlation": "correlation = 0.5"}
    else:
        wanted |= {"growth": "growth = 0.01, the change of coherence per session"}
    if "pilot" not in table:
        wanted |= {"noise_sd": 'noise_sd = 0.04, or pilot = "result.h5"'}
    for key, example in wanted.items():
        if key not in table:
            raise PlanError(f"{path}: power.{key} is missing; add {example}")


def _course(reader: Reader, table: Mapping[str, Any]) -> dict[str, float]:
    course = {
        name: reader.number(f"power.{key}", table[key], least) for key, (name, least) in _COURSE.items() if key in table
    }
    if "session_ar" in table:
        course["session_ar"] = reader.number("power.session_ar", table["session_ar"], -1, 1)
    return course


def _model(reader: Reader, table: Mapping[str, Any]) -> dict[str, Any]:
    model: dict[str, Any] = {}
    for key, limits in {"noise_sd": (0, np.inf), "missing": (0, 1), "shortest": (0, 1)}.items():
        if key in table:
            model[key] = reader.number(f"power.{key}", table[key], *limits)
    for key, least in {"therapists": 0, "n_pairs": 1}.items():
        if key in table:
            model[key] = reader.whole(f"power.{key}", table[key], least)
    return model


def _words(reader: Reader, table: Mapping[str, Any]) -> dict[str, Any]:
    words: dict[str, Any] = {"test": reader.one_of("power.test", table.get("test", TESTS[0]), TESTS)}
    if words["test"] == "outcome":
        words["tied"] = reader.one_of("power.tied", table["tied"], TIES)
        words["correlation"] = reader.number("power.correlation", table["correlation"], -1, 1)
    if "tail" in table:
        words["tail"] = reader.one_of("power.tail", table["tail"], TAILS)
    for key in {"alpha", "wanted"} & set(table):
        words[key] = reader.positive(f"power.{key}", table[key], below=1.0)
    for key, (name, least) in {"sims": ("n_sims", 1), "n_perm": ("n_perm", 1), "seed": ("seed", 0)}.items():
        if key in table:
            words[name] = reader.whole(f"power.{key}", table[key], least)
    return words


def run_power_plan(
    path: str | Path, *, sims: int | None = None, output: str | Path | None = None, progress: bool = False
) -> tuple[StudyPower, tuple[Path, ...]]:
    """Run a plan file; nothing is written before everything has been computed.

    Parameters
    ----------
    path : str or Path
        Plan file (TOML).
    sims : int, optional
        Studies for each number of dyads and sessions, instead of the plan's.
    output : str or Path, optional
        File to write, in the format of its ending, one of `FORMATS`.
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
    plan = read_power_plan(path)
    file = None if output is None else _checked_file(plan, Path(output))
    words = {name: value for name, value in plan.words.items() if name not in ("tied", "correlation")}
    if sims is not None:
        words["n_sims"] = sims
    try:
        found = study_power(model_of(plan), plan.dyads, plan.sessions, progress=progress, **words)
    except PlanError as error:
        raise PlanError(f"{plan.path}: {error}") from error
    if file is None:
        return found, ()
    write_whole(file, _content(found, file.suffix))
    return found, (file,)


def model_of(plan: PowerPlan) -> SynchronyModel:
    """What is simulated: the pilot's variances, where the plan does not give its own.

    Raises
    ------
    InputError, PlanError
        If the pilot cannot be read or does not tell, or the plan contradicts itself.
    """
    outcomes = {}
    if plan.words["test"] == "outcome":
        outcomes = {OUTCOME: (plan.words["tied"], plan.words["correlation"])}
    if plan.pilot is None:
        return SynchronyModel(growth=Growth(**plan.course), outcomes=outcomes, **plan.model)
    pilot = SynchronyModel.of_pilot(load(plan.pilot))
    course = {entry.name: getattr(pilot.growth, entry.name) for entry in fields(Growth)} | dict(plan.course)
    if "session_sd" in plan.course and "noise_sd" not in plan.model:
        # What the pilot's lines leave holds both.
        left = pilot.noise_sd**2 - plan.course["session_sd"] ** 2
        if left < 0:
            raise PlanError(
                f"session_sd = {plan.course['session_sd']:g} is more than the {pilot.noise_sd:.3g} by which the "
                "sessions of the pilot deviate in all; give noise_sd too, or less"
            )
        pilot = replace(pilot, noise_sd=float(np.sqrt(left)))
    return replace(pilot, growth=Growth(**course), outcomes=outcomes, **plan.model)


def _checked_file(plan: PowerPlan, file: Path) -> Path:
    """The file to write, known to be writable and no input."""
    if file.suffix not in FORMATS:
        raise PlanError(f"{file}: the ending says the format; it must be one of {', '.join(FORMATS)}")
    inputs = [plan.path] + ([] if plan.pilot is None else [plan.pilot])
    if file.resolve() in [path.resolve() for path in inputs]:
        raise PlanError(f"{file}: would replace an input; give the output another name")
    check_writable(file)
    return file


def _content(found: StudyPower, suffix: str) -> bytes:
    from ..results.figures.drawing import bytes_of
    from ..results.figures.study_power import study_power as drawn

    return found.to_json().encode() if suffix == ".json" else bytes_of(lambda: drawn(found), suffix)
