"""What a plan asks of its results beyond the test: contrasts, change over sessions, outcomes, prediction."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec.structs import replace

from ..errors import PlanError
from ..nulls.repaired_null import RepairedNull
from ..questions.group_test import AnyNull
from ..questions.predict_outcome import Prediction, predict_outcome
from ..recordings.tables import csv_text
from ..results.layout import FEATURE, ROW
from ..results.result import Result
from ..study.epochs import epoch_names
from ..study.rows import row_coordinates
from .plan_file import Contrast, Outcome, Plasticity, RunPlan, named_beside

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from ..study.study import Study

    Content = Result | Prediction | pd.DataFrame


@dataclass(frozen=True)
class Followup:
    """One further result and where it is written.

    Attributes
    ----------
    name : str
        Such as "plasticity", which stands in the name of its file.
    content : Result, Prediction or pandas.DataFrame
    files : tuple of Path
        Those that were written.
    """

    name: str
    content: Content
    files: tuple[Path, ...] = ()

    def describe(self) -> dict[str, Any]:
        """What it found, as a dictionary that JSON can carry."""
        page: dict[str, Any] = {"name": self.name, "files": [str(path) for path in self.files]}
        if isinstance(self.content, Result | Prediction):
            return page | {"headline": self.content.headline, "hypothesis": self.content.hypothesis}
        return page | {str(name): value for name, value in self.content.attrs.items()}

    @property
    def page(self) -> str:
        """What it found, to be read; of a table what entered it, what did not and what to beware of."""
        if isinstance(self.content, Result | Prediction):
            return str(self.content)
        attrs = self.content.attrs
        lines = [f"Linear mixed models: {len(self.content)} rows", f"  entered: {attrs['entered']}"]
        lines += [f"  left out: {attrs['left_out']}"] if attrs["left_out"] else []
        return "\n".join([*lines, f"  {attrs['caution']}"])

    def file_beside(self, output: Path) -> Path:
        """Where it is written: out.h5 -> out_plasticity.h5, a table or prediction as .csv or .json."""
        ending = {Result: output.suffix, Prediction: ".json"}.get(type(self.content), ".csv")
        return named_beside(output, self.name, ending)


def payload_of(content: Content) -> bytes:
    """What is written of a result, as the content of its file."""
    if isinstance(content, Result):
        return content.to_bytes()
    return content.to_json().encode() if isinstance(content, Prediction) else csv_text(content).encode()


def problems(study: Study, plan: RunPlan) -> list[str]:
    """
    What would be refused only after everything was computed, in words.

    Each follow-up is rehearsed on made-up values of one feature, with the people, sessions and outcomes of the study.
    """
    plasticity = plan.plasticity
    if plasticity is not None and plasticity.kind == "partners":
        if plan.null.kind != "repair":
            return ["plasticity.kind = 'partners' needs null.kind = 'repair'"]
        if plasticity.margin is not None or plasticity.weights == "precision":
            return ["plasticity.margin and weights = 'precision' are not for kind = 'partners': leave them out"]
        plasticity = replace(plasticity, kind="sign_flip", block="none")
    if any(asked.kind == "partners" for asked in plan.contrasts) and plan.null.kind != "repair":
        return ["contrast.kind = 'partners' needs null.kind = 'repair'"]
    if any(asked.kind == "partners" and asked.margin is not None for asked in plan.contrasts):
        return ["contrast.margin is not for kind = 'partners': leave it out"]
    if not study.dyads or (plasticity is None and not plan.contrasts and not plan.outcomes):
        return []
    if plan.spec.several_lags:
        return ["contrast, plasticity and outcome take one lag: name one, such as wtc.lags = [2.0], or leave them out"]
    made_up = Result(_made_up(study))
    attempts: list[tuple[str, Callable[[], object]]] = []
    by_epoch = Result(_made_up(study, epoch_names(plan.synchrony.epochs)))
    for contrast in plan.contrasts:
        short_contrast = replace(contrast, n=99, correct=(), kind="dyads")
        attempts.append((contrast.file_name, partial(_contrasts, by_epoch, by_epoch.dataset, None, short_contrast)))
    if plasticity is not None:
        short = replace(plasticity, n=99, correct=())
        attempts.append(("plasticity", partial(_changes, made_up, made_up.dataset, None, short)))
    for outcome in plan.outcomes:
        short_outcome = replace(outcome, n=99, correct=())
        attempts.append((f"outcome {outcome.name!r}", partial(_associations, study, made_up, short_outcome)))
    refused = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for name, attempt in attempts:
            try:
                attempt()
            except PlanError as error:
                refused.append(f"{name}: {error}")
    return refused


def _made_up(study: Study, epochs: Sequence[str] = ("made up",)) -> xr.Dataset:
    """Values that mean nothing, of one pair and band, with the coordinates of the study's rows."""
    import xarray as xr

    # The values of a run are less their null, whatever the lengths of recordings.
    rows = {name: labels for name, labels in row_coordinates(study.dyads).items() if name != "duration"}
    values = np.random.default_rng(0).uniform(0.2, 0.5, (len(study.dyads), len(epochs), 1, 1, 1))
    features: dict[str, Any] = {name: ["made up"] for name in FEATURE} | {"epoch": list(epochs)}
    variables = dict.fromkeys(("coherence", "valid_fraction"), (ROW, values))
    return xr.Dataset(variables, {**rows, **features, "signal": "made up"})


def follow_up(study: Study, tested: Result, real: xr.Dataset, null: AnyNull, plan: RunPlan) -> list[Followup]:
    """
    All that a plan asks for, of one signal.

    Parameters
    ----------
    study : Study
    tested : Result
        Of the plan's test; the mean of each row's null is taken off.
    real : xarray.Dataset
    null : RepairedNull or SurrogateNull
    plan : RunPlan
    """
    # The results carry their warnings, and the caller says them.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        changes = [_contrasts(tested, real, null, asked) for asked in plan.contrasts]
        changes += [] if plan.plasticity is None else _changes(tested, real, null, plan.plasticity)
        return changes + [result for asked in plan.outcomes for result in _associations(study, tested, asked)]


def _contrasts(tested: Result, real: xr.Dataset, null: AnyNull | None, asked: Contrast) -> Followup:
    from ..questions.contrast import contrast

    words = asked.words()
    if words.pop("kind") == "partners":
        if not isinstance(null, RepairedNull):
            raise PlanError("contrast.kind = 'partners' needs null.kind = 'repair'")
        return Followup(asked.file_name, contrast(real, **words, null=null))
    return Followup(asked.file_name, contrast(tested, **words))


def _changes(tested: Result, real: xr.Dataset, null: AnyNull | None, asked: Plasticity) -> list[Followup]:
    from ..questions.mixed_model import mixed_model
    from ..questions.plasticity import plasticity

    words = asked.words()
    with_table = words.pop("mixed_model")
    if asked.kind == "partners":
        if not isinstance(null, RepairedNull):
            raise PlanError("plasticity.kind = 'partners' needs null.kind = 'repair'")
        result = plasticity(real, **{**words, "kind": None, "null": null})
    else:
        result = plasticity(tested, **words)
    followups = [Followup("plasticity", result)]
    if with_table:
        table = mixed_model(tested, words["time"], between=words["between"], alpha=asked.alpha)
        followups.append(Followup("mixed_model", table))
    return followups


def _associations(study: Study, tested: Result, asked: Outcome) -> list[Followup]:
    from ..questions.outcome import outcome, outcome_parts

    words = {**asked.words(), "study": study}
    name, predict = words.pop("name"), words.pop("predict")
    if asked.level == "parts":
        del words["level"], words["outcome_level"]
        parts = outcome_parts(tested, name, **words)
        return [Followup(asked.file_name("outcome", level), part) for level, part in parts.items()]
    followups = [Followup(asked.file_name("outcome"), outcome(tested, name, **words))]
    if predict:
        # A prediction has a number of draws of its own, one tail and nothing to correct.
        words = {key: value for key, value in words.items() if key not in ("n", "tail", "correct")}
        followups.append(Followup(asked.file_name("prediction"), predict_outcome(tested, name, **words)))
    return followups
