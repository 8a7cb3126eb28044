"""Prediction of an outcome from synchrony, dyad by dyad from the others, against permuted outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError, require_known
from ..inference.cross_validation import PENALTIES, HeldOut
from ..inference.partial_correlation import basis_of, residuals
from ..inference.permutation_test import ListedStatistic, permutation_test
from ..inference.settings import TestSettings
from ..nulls.draws import Draws
from ..nulls.random_streams import STREAM_VERSION
from ..nulls.relabelling import Permutations
from ..nulls.shared_partners import components
from ..recordings.output_kinds import MARK, TableFile
from ..recordings.study_file import StudyFile
from ..results.findings import number
from ..results.result import Result, provenance
from .group_test import refuse_or_warn
from .outcome import association_in_words, table_of
from .outcome_sample import Level, OutcomeLevel, Sample, check_levels, refuse_unusable, sample_of
from .outcome_table import Covariates, Table, Values

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

Floats = NDArray[np.float64]
Model = Literal["ridge", "mean"]

LEAST_DYADS = 6
"""A prediction from fewer dyads is not tried."""


@dataclass(frozen=True)
class Prediction(TableFile):
    """
    How well the outcome of a dyad is predicted from synchrony by the other dyads.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per dyad: dyad, outcome, predicted (from covariates and synchrony), baseline (from covariates alone;
        without covariates the mean of the others), fold (number of the dyads that were held out together).
    r2 : float
        1 less the squared error of the predictions by that of the baseline; below 0 where synchrony makes it worse.
    p : float
        Share of the permuted outcomes, the observed one included, that are predicted at least as well.
    p_low, p_high : float
        95 % Clopper-Pearson interval of p; equal to p where all permutations are listed.
    correlation : float
        Of predicted and observed outcomes, what the covariates predict taken off both. Descriptive.
    null_r2 : float64 [draw]
        r2 of the permuted outcomes.
    attrs : mapping
        Settings, seed, what was left out, versions.

    Examples
    --------
    >>> predict_outcome(result, "symptoms", study=study).r2
    """

    json_name = "prediction"

    table: pd.DataFrame
    r2: float
    p: float
    p_low: float
    p_high: float
    correlation: float
    null_r2: Floats
    attrs: Mapping[str, Any]

    @property
    def headline(self) -> str:
        """The outcome in one sentence."""
        name, alpha = self.attrs["outcome"], float(self.attrs["alpha"])
        verdict = "predicts" if self.p <= alpha else "was not shown to predict"
        return (
            f"Synchrony {verdict} {name!r} of dyads that were held out: out-of-sample R2 {self.r2:.3f}, "
            f"p = {number(self.p)}."
        )

    @property
    def hypothesis(self) -> str:
        """What was tested, and what a small p leaves open."""
        return (
            "Tested: prediction of held-out dyads better than with permuted outcomes, against the hypothesis that the "
            "outcome is as likely to go with any other dyad's synchrony as with its own; a small p does not exclude "
            "anything that varies along with both, nor does it tell how well dyads of another study are predicted."
        )

    def methods(self) -> str:
        """A paragraph for a paper."""
        a = self.attrs
        drawn = f"all {a['n']}" if a["exact"] else f"{a['n']} random"
        held = f" with {' and '.join(map(repr, a['covariates']))} as covariates" if a["covariates"] else ""
        model = {
            "ridge": f"ridge regression on {a['n_features']} features (channel pair x band x epoch), the penalty "
            "chosen by leave-one-out error among the training dyads",
            "mean": f"least squares on the mean of {a['n_features']} features (channel pair x band x epoch)",
        }[a["model"]]
        chosen = f", of which the {a['top']} that went best with the outcome of the training dyads" if a["top"] else ""
        left_out = f" Left out: {a['left_out']}." if a["left_out"] else ""
        shared = (
            " Dyads that share a person were held out together, and permuted among themselves." * a["shared_persons"]
        )
        return (
            f"The outcome of each dyad was predicted from the other dyads by {model}{chosen}{held}; scaling, "
            f"covariates and choices were made anew in each fold. R2 is 1 less the squared error by that of the "
            f"{'covariates' if held else 'mean'} alone. p is its rank among {drawn} permutations of the outcome"
            f"{' (of what covariates leave of it, Freedman & Lane 1983)' if held else ''}, each with the whole "
            f"cross-validation, seed {a['seed']}.{shared} {a['entered']} entered.{left_out}"
        )

    def __str__(self) -> str:
        lines = [self.headline, f"  correlation of predicted and observed {self.correlation:.3f}"]
        lines += [f"  entered: {self.attrs['entered']}"]
        lines += [f"  left out: {self.attrs['left_out']}"] if self.attrs["left_out"] else []
        return "\n".join([*lines, f"  {self.hypothesis}"])

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able form."""
        numbers = {name: getattr(self, name) for name in ("r2", "p", "p_low", "p_high", "correlation")}
        return {
            MARK: self.json_name, "headline": self.headline, "hypothesis": self.hypothesis, "methods": self.methods(),
            **{name: float(value) if np.isfinite(value) else None for name, value in numbers.items()},
            "attrs": dict(self.attrs), "table": self.table.to_dict("records"), "null_r2": self.null_r2.tolist(),
        }  # fmt: skip


def predict_outcome(
    real: xr.Dataset | Result,
    outcome: str | Values,
    *,
    covariates: Covariates = (),
    level: Level = "mean",
    outcome_level: OutcomeLevel = "mean",
    ahead: int = 0,
    model: Model = "ridge",
    top: int | None = None,
    penalties: Sequence[float] = PENALTIES,
    study: StudyFile | None = None,
    time: Sequence[str] | None = None,
    n: int = 999,
    seed: int = 0,
    alpha: float = 0.05,
) -> Prediction:
    """
    Prediction of each dyad's outcome from its synchrony, learnt from the other dyads.

    Nothing that is learnt sees the dyad that is predicted: covariates, scale and choice of features, and the penalty
    come from the other dyads of each fold. Dyads that share a person are held out together. The p-value repeats the
    whole cross-validation for permuted outcomes; a predicted-observed correlation or R2 read against a table of t would
    not be valid, as folds share their dyads.

    Parameters
    ----------
    real, outcome, covariates, outcome_level, ahead, study, time
        As `ibs.outcome`. Features with a missing value in a dyad that enters are left out.
    level : {"mean", "between", "slope"}
        Of synchrony, as `ibs.outcome`.
    model : {"ridge", "mean"}
        Ridge regression on all features; or least squares on the mean over features, which has nothing to tune.
    top : int, optional
        Features that enter the ridge regression, chosen in each fold.
    penalties : sequence of float
        Penalties to choose from in each fold, in units of the number of training dyads; with one nothing is chosen.
    n, seed : int
        Permutations and their seed; all are listed where there are no more than `n`.
    alpha : float
        Level at which a finding is wanted.

    Returns
    -------
    Prediction

    Raises
    ------
    PlanError
        As `ibs.outcome`, and if fewer than six dyads (or three folds) are there, no feature has a value in all dyads,
        or the permutations are too few for `alpha`.

    Warns
    -----
    RuntimeWarning
        If something is left out.

    Examples
    --------
    >>> predict_outcome(result, "symptoms", study=study).headline
    """
    asked = TestSettings(n, seed, "greater", (), alpha)
    check_levels(level, outcome_level, ahead)
    _check_words(level, model, top, penalties)
    dataset = real.dataset if isinstance(real, Result) else real
    needs_time = ahead > 0 or level == "slope" or outcome_level != "mean"
    table = table_of(dataset, outcome, covariates, study, time, needs_time=needs_time)
    sample = sample_of(table, level, outcome_level, ahead)
    # A dyad that is held out has no intercept of its own: whom it shares a person with is held out too.
    refuse_unusable(replace(sample, strata=[""] * len(sample.units)), table.outcome_name, table.names)
    values, lacking = _complete(sample)
    left_out = "; ".join(filter(None, [sample.left_out, lacking]))
    folds = _folds(table, sample)
    draws = Draws.plan(Permutations(tuple(sample.units), tuple(sample.strata)), n, seed, list_up_to=n)
    if draws.min_p > alpha:
        raise PlanError(
            f"{draws.n} permutations give no p below {draws.min_p:.3g}, above alpha={alpha:g}; ask for more or record "
            "more dyads"
        )
    refuse_or_warn("", None, left_out)
    x, used = (values, tuple(map(float, penalties))) if model == "ridge" else (values.mean(axis=1)[:, None], (0.0,))
    held_out = HeldOut(x, sample.covariates, folds, used, top)
    attrs: dict[str, Any] = dict(provenance(study_sha256=str(dataset.attrs.get("study_sha256", "")), seed=seed))
    attrs |= {
        "outcome": table.outcome_name, "covariates": table.names, "level": level, "outcome_level": outcome_level,
        "ahead": ahead, "model": model, "top": top or 0, "penalties": list(used), "n_features": values.shape[1],
        "n_dyads": len(sample.units), "n_folds": len(folds), "n": draws.n, "exact": int(draws.listed),
        "seed": seed, "alpha": alpha, "left_out": left_out, "entered": sample.entered,
        "shared_persons": int(sample.shared), "less_null_mean": int("null_mean" in dataset),
        "stream_version": STREAM_VERSION,
    }  # fmt: skip
    attrs["tested"] = association_in_words(
        table.outcome_name, table.names, level=level, outcome_level=outcome_level, ahead=ahead
    )
    return _predicted(held_out, sample, draws, asked, attrs)


def _check_words(level: str, model: str, top: int | None, penalties: Sequence[float]) -> None:
    if level == "within":
        raise PlanError("level='within' is not offered for predictions of dyads; use 'mean', 'between' or 'slope'")
    require_known("model", model, get_args(Model))
    if top is not None and (isinstance(top, bool) or not isinstance(top, int) or top < 1 or model != "ridge"):
        raise PlanError(f"top={top!r} is a number of features for model='ridge', at least 1; or leave it out")
    if not len(penalties) or not all(np.isfinite(value) and value > 0 for value in penalties):
        raise PlanError(f"penalties={list(penalties)!r} must be numbers above 0")


def _complete(sample: Sample) -> tuple[Floats, str]:
    """Features with values in all dyads, and how many of those with any are left out, in words."""
    present = np.isfinite(sample.values)
    complete = np.asarray(present.all(axis=0))
    n = int(present.any(axis=0).sum())
    n_left = n - int(complete.sum())
    if n_left == n:
        raise PlanError(
            f"none of {n} features has a value in all {len(sample.units)} dyads; leave out the dyads without"
        )
    return sample.values[:, complete], f"{n_left} of {n} features, without a value in every dyad" if n_left else ""


def _folds(table: Table, sample: Sample) -> list[NDArray[np.int64]]:
    """Dyads that are held out together."""
    folds = [np.array(part) for part in components([table.persons[dyad] for dyad, _ in sample.places])]
    if len(sample.units) < LEAST_DYADS or len(folds) < 3:
        raise PlanError(
            f"{len(sample.units)} dyads in {len(folds)} folds that share nobody are too few to learn from; a "
            f"prediction needs {LEAST_DYADS} dyads and 3 folds"
        )
    return folds


def _predicted(
    held_out: HeldOut, sample: Sample, draws: Draws[Permutations], asked: TestSettings, attrs: dict[str, Any]
) -> Prediction:
    import pandas as pd

    y = sample.outcome
    predicted, baseline = (values[0] for values in held_out.predict(y[None]))
    left = residuals(y, basis_of(np.column_stack([np.ones(len(y)), sample.covariates])))
    r2 = held_out.r_squared(np.vstack([y, y - left + left[draws.take(1, draws.n + 1)]]))
    tolerance = 1e-10 * np.maximum(1.0, np.abs(r2[:1]))
    found = permutation_test(ListedStatistic(r2[:, None], exact=draws.listed, tolerance=tolerance), asked)
    p, low, high = (float(found[name][0]) for name in ("p", "p_low", "p_high"))
    of_fold = np.empty(len(y), np.int64)
    for place, held in enumerate(held_out.folds):
        of_fold[held] = place + 1
    table = pd.DataFrame(
        {"dyad": sample.units, "outcome": y, "predicted": predicted, "baseline": baseline, "fold": of_fold}
    )
    added, wanted = predicted - baseline, y - baseline
    varies = min(np.ptp(added), np.ptp(wanted)) > 0
    correlation = float(np.corrcoef(added, wanted)[0, 1]) if varies else float("nan")
    return Prediction(table, float(r2[0]), p, low, high, correlation, r2[1:], attrs)
