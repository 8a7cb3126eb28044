"""From counts of draws to p-values: corrections over a family, and the limits of a share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

CORRECTIONS = ("fdr", "fdr_by", "max", "cluster", "tfce")
"""Benjamini-Hochberg, Benjamini-Yekutieli, step-down maximum statistic, cluster mass, threshold-free enhancement."""


def p_value(exceedances: Integers, n_draws: int | Integers) -> Floats:
    """
    Monte Carlo p-value (b + 1) / (m + 1), never 0 as the real pairing is a draw too (Phipson and Smyth 2010).

    With every element of the group listed this is the exact p, b counting the elements other than the real one.

    Parameters
    ----------
    exceedances : int64 [...]
        Draws b that reach the observed statistic; negative where nothing was tested.
    n_draws : int or int64 [...]
        Draws m beside the real one.

    Returns
    -------
    float64 [...]
        NaN where nothing was tested.
    """
    return np.where(exceedances >= 0, (exceedances + 1) / (n_draws + 1), np.nan)


def clopper_pearson(exceedances: Integers, n_draws: int | Integers, *, level: float = 0.95) -> tuple[Floats, Floats]:
    """
    Clopper-Pearson limits of the probability that a draw reaches the observed statistic.

    Parameters
    ----------
    exceedances : int64 [...]
        Draws that did; negative where nothing was tested.
    n_draws : int or int64 [...]
        Draws in all.
    level : float
        Coverage of the interval.

    Returns
    -------
    low, high : float64 [...]
        NaN where nothing was tested.
    """
    from scipy.special import betaincinv

    b = exceedances.astype(np.float64)
    outside = (1 - level) / 2
    low = np.where(b > 0, betaincinv(np.maximum(b, 1), n_draws - b + 1, outside), 0.0)
    high = np.where(b < n_draws, betaincinv(b + 1, np.maximum(n_draws - b, 1), 1 - outside), 1.0)
    tested = exceedances >= 0
    return np.where(tested, low, np.nan), np.where(tested, high, np.nan)


def adjust_fdr(p: Floats, method: Literal["bh", "by"] = "bh") -> Floats:
    """
    p-values adjusted for the false discovery rate over all features that were tested.

    Parameters
    ----------
    p : float64 [...]
        NaN is left out of the count and stays NaN.
    method : {"bh", "by"}
        Benjamini-Hochberg (valid under positive dependence) or Benjamini-Yekutieli (under any).

    Returns
    -------
    float64 [...]
    """
    from scipy.stats import false_discovery_control

    adjusted = np.full(p.shape, np.nan)
    tested = np.isfinite(p)
    if tested.any():
        adjusted[tested] = false_discovery_control(p[tested], method=method)
    return adjusted


def single_step_p(statistic: Floats, null_max: Floats, tolerance: Floats) -> Floats:
    """
    Family-wise p-value of each feature against the largest statistic of each draw, in a single step.

    Parameters
    ----------
    statistic, tolerance : float64 [feature]
        Observed statistic on the scale of the maxima, and its tie tolerance.
    null_max : float64 [draw]

    Returns
    -------
    float64 [feature]
    """
    reached = len(null_max) - np.searchsorted(np.sort(null_max), statistic - tolerance, side="left")
    return np.where(np.isfinite(statistic), p_value(reached, len(null_max)), np.nan)


def step_down_p(counts: Integers, n_draws: int) -> Floats:
    """
    Family-wise p-value of the step-down maximum statistic, monotone from the largest statistic to the smallest.

    Parameters
    ----------
    counts : int64 [feature]
        From `accumulate.StepDown`, features ascending by their observed statistic.
    n_draws : int

    Returns
    -------
    float64 [feature]
    """
    falling = p_value(counts, n_draws)[::-1]
    return np.maximum.accumulate(falling)[::-1]


def check_corrections(correct: Sequence[str]) -> None:
    """Refuse a correction that does not exist, or two for one false discovery rate."""
    unknown = [name for name in correct if name not in CORRECTIONS]
    if unknown or isinstance(correct, str):
        wrong = repr(correct) if isinstance(correct, str) else repr(unknown[0])
        raise PlanError(f"correct={wrong} is not a list of corrections; valid are {', '.join(map(repr, CORRECTIONS))}")
    if {"fdr", "fdr_by"} <= set(correct):
        raise PlanError("correct names both 'fdr' and 'fdr_by'; choose one of them before seeing the result")
