"""The linear mixed model of synchrony over sessions, feature by feature, for readers who expect one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from ..inference.intervals import normal_interval
from ..results.layout import FEATURE
from ..results.result import Result
from .group_test import refuse_or_warn
from .session_times import Dyads, Source, in_first, two_groups

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

Floats = NDArray[np.float64]

NUMBERS = ("estimate", "se", "z", "p", "low", "high", "n_dyads", "n_sessions", "converged", "note")
"""Columns of the table, after those that name the feature and the term."""
COLUMNS = (*FEATURE, "term", *NUMBERS)

CAUTION = (
    "z and p of a mixed model take dyads to be independent and many, residuals to be normal and unrelated from session "
    "to session; with 10 to 20 dyads, or where sessions close in time are alike, p is too small: test with plasticity; "
    "only where therapies end after low or high synchrony is the model misled less"
)


def mixed_model(
    real: xr.Dataset | Result,
    time: str | Mapping[str, float] = "session",
    *,
    between: str | tuple[str, str] | None = None,
    alpha: float = 0.05,
) -> pd.DataFrame:
    """
    Table of mixed models: synchrony over time, with an intercept and a slope of its own for each dyad.

    Each feature is fitted by restricted maximum likelihood (statsmodels `MixedLM`). In balanced data the estimate is
    the mean of the dyads' least-squares slopes, which `ibs.plasticity` tests without the model's assumptions. A model
    with an intercept of each dyad alone, which is not offered, takes slopes that differ between dyads for noise: of
    independent simulated studies in which they differ and their mean is 0 it called 12 in 100 a change.

    Parameters
    ----------
    real : Result or xarray.Dataset
        As in `ibs.plasticity`: of a tested Result the mean of each row's null is subtracted first.
    time : "session", "day" or mapping of session to number
        As in `ibs.plasticity`.
    between : "group" or (group, group), optional
        Give each of two groups an intercept and a mean slope, and the difference of the slopes, first minus second.
    alpha : float
        1 less the coverage of the intervals.

    Returns
    -------
    pandas.DataFrame
        One row per feature and term: epoch, channel_a, channel_b, band, term ("time"; with groups "time (a)", "time
        (b)" and "difference a - b"), estimate (coherence per unit of time), se, z, p (normal, two-sided, not
        corrected), low, high, n_dyads, n_sessions, converged (bool), note (what the fit complained of, "" if nothing).
        Where there is no fit numbers are NaN, converged is False and the note says why; features without any value,
        such as pairs that were not asked for, have no row. `attrs` hold "caution",
        "left_out" and "entered".

    Raises
    ------
    PlanError
        If statsmodels is not installed, and as `ibs.plasticity` for times and groups.

    Warns
    -----
    RuntimeWarning
        If a dyad or session is left out.

    Examples
    --------
    >>> mixed_model(real, time="session")
    """
    _require_statsmodels()
    source = Source.of(real)
    groups = None if between is None else two_groups(source.dataset, between)
    dyads = Dyads.of(source if groups is None else source.only(groups), time)
    first = None if groups is None else in_first(dyads, groups)
    refuse_or_warn("", None, dyads.left_out)
    table = _table(dyads, list(_terms(dyads, groups, first, alpha)))
    table.attrs["entered"] += "" if groups is None else source.others_than(groups)
    return table


def _require_statsmodels() -> None:
    try:
        import statsmodels.regression.mixed_linear_model  # noqa: F401
    except ImportError as error:
        raise PlanError("mixed_model needs statsmodels: pip install 'ibsync[stats]'") from error


def _table(dyads: Dyads, rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    table = pd.DataFrame(rows, columns=list(COLUMNS))
    shared = f"; dyads share a person, which this model ignores: {dyads.blocks.ties}" if dyads.blocks.ties else ""
    table.attrs = {"caution": CAUTION + shared, "left_out": dyads.left_out, "entered": dyads.entered}
    return table


@dataclass(frozen=True)
class _Sample:
    """Values of one feature, the dyad of each, its time, and whether the dyad is in the first group."""

    y: Floats
    dyad: NDArray[np.int64]
    time: Floats
    first: NDArray[np.bool_] | None

    @property
    def own(self) -> Floats:
        """What is random in each dyad, intercept and time: float64 [value, 2]."""
        return np.column_stack([np.ones(len(self.y)), self.time])

    @property
    def design(self) -> Floats:
        """What is fixed; of each group apart: float64 [value, 2 or 4]."""
        if self.first is None:
            return self.own
        return np.hstack([self.own * self.first[:, None], self.own * ~self.first[:, None]])


def _terms(
    dyads: Dyads, groups: tuple[str, str] | None, first: NDArray[np.bool_] | None, alpha: float
) -> Iterator[dict[str, Any]]:
    """Rows of the table, feature by feature, of those that have a value."""
    labels = product(*(dyads.source.dataset[dim].values.astype(str) for dim in FEATURE))
    values, times = np.concatenate(dyads.values), np.concatenate(dyads.times)
    of_dyad = np.repeat(np.arange(len(dyads.names)), [len(rows) for rows in dyads.rows])
    contrasts = {"time": np.array([0.0, 1.0])}
    if groups is not None:
        contrasts = {
            f"time ({groups[0]})": np.array([0.0, 1.0, 0.0, 0.0]),
            f"time ({groups[1]})": np.array([0.0, 0.0, 0.0, 1.0]),
            f"difference {groups[0]} - {groups[1]}": np.array([0.0, 1.0, 0.0, -1.0]),
        }
    for feature, place in enumerate(labels):
        there = np.isfinite(values[:, feature])
        if not there.any():  # a pair that was not asked for
            continue
        belongs = None if first is None else first[of_dyad[there]]
        sample = _Sample(values[there, feature], of_dyad[there], times[there] - 0.5, belongs)
        weights, covariance, converged, note = _fitted(sample)
        for term, contrast in contrasts.items():
            estimate = float(contrast @ weights) / dyads.span
            se = float(np.sqrt(contrast @ covariance @ contrast)) / dyads.span
            low, high = normal_interval(np.array(estimate), np.array(se), alpha=alpha)
            yield {
                **dict(zip(FEATURE, place, strict=True)), "term": term, "estimate": estimate, "se": se,
                **_z_and_p(estimate, se), "low": float(low), "high": float(high),
                "n_dyads": len(np.unique(sample.dyad)), "n_sessions": len(sample.y), "converged": converged,
                "note": note,
            }  # fmt: skip


def _z_and_p(estimate: float, se: float) -> dict[str, float]:
    from scipy.special import ndtr

    z = estimate / se if se > 0 else np.nan
    return {"z": z, "p": float(2 * ndtr(-abs(z)))}


def _fitted(sample: _Sample) -> tuple[Floats, Floats, bool, str]:
    """Fixed effects, their covariance, whether the fit converged, and what it complained of."""
    n_fixed = sample.design.shape[1]
    nothing = np.full(n_fixed, np.nan), np.full((n_fixed, n_fixed), np.nan), False
    lack = _lack(sample)
    if lack:
        return *nothing, lack
    from statsmodels.regression.mixed_linear_model import MixedLM

    # The optimiser works on values of size 1.
    scale, centre = float(sample.y.std()), float(sample.y.mean())
    model = MixedLM((sample.y - centre) / scale, sample.design, groups=sample.dyad, exog_re=sample.own)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = model.fit(reml=True, method=["lbfgs", "bfgs", "cg"])
            weights = np.asarray(result.fe_params, np.float64) * scale
            covariance = np.asarray(result.cov_params(), np.float64)[:n_fixed, :n_fixed] * scale**2
        except (np.linalg.LinAlgError, ValueError) as error:
            return *nothing, f"no fit: {' '.join(str(error).split())}"
    told = dict.fromkeys(" ".join(str(warning.message).split()) for warning in caught)
    return weights, covariance, bool(result.converged), "; ".join(told)


def _lack(sample: _Sample) -> str:
    """Why these values cannot be fitted, in words; empty if they can."""
    n_dyads = len(np.unique(sample.dyad))
    if len(sample.y) <= 2 * n_dyads:
        return f"no fit: {len(sample.y)} values of {n_dyads} dyads leave nothing to tell slopes of dyads from noise"
    if np.linalg.matrix_rank(sample.design) < sample.design.shape[1]:
        return "no fit: a group has no values at two times"
    if n_dyads < sample.design.shape[1] // 2 + 1:
        return f"no fit: {n_dyads} dyads are too few"
    if sample.y.std() <= 1e-12 * np.abs(sample.y).max():
        return "no fit: all values are the same"
    return ""
