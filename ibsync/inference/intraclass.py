"""Intraclass correlation of repeated values of units: how much of their scatter lies between the units."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, nan, sqrt

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_HALVINGS = 200
_LARGEST = 1e9


@dataclass(frozen=True)
class Intraclass:
    """
    Intraclass correlation of a single value, ICC(1,1), and of the mean of a unit's values, ICC(1,k).

    Attributes
    ----------
    single, low, high : float
        ICC(1,1) and its interval; NaN where there are fewer than two units, no unit has two values, or all values
        are the same.
    mean, mean_low, mean_high : float
        ICC(1,k).
    k : float
        Values a unit, their harmonic mean.
    n_units, n_values : int
    """

    single: float
    low: float
    high: float
    mean: float
    mean_low: float
    mean_high: float
    k: float
    n_units: int
    n_values: int


def intraclass(y: Floats, unit: Integers, *, alpha: float = 0.05) -> Intraclass:
    """
    One-way random effects: a unit's values are a mean, an effect of the unit and an error.

    Parameters
    ----------
    y : float64 [value]
    unit : int64 [value]
        To which unit each belongs.
    alpha : float
        1 less the coverage of the intervals.

    Notes
    -----
    With l the variance between units over that within, ICC(1,1) = l / (1 + l) and ICC(1,k) = k l / (1 + k l). l is
    estimated by restricted maximum likelihood, which is the analysis of variance where all units have as many values
    (Shrout & Fleiss 1979, *Psychol. Bull.* 86:420). The interval is exact for normal effects and errors: the ratio of
    mean squares, each unit weighted by 1 / (l + 1/n), has an F distribution at the true l (Wald 1940, *Ann. Math.
    Stat.* 11:96).
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import fdtri

    n = np.unique(unit, return_counts=True)[1].astype(np.float64)
    place = np.unique(unit, return_inverse=True)[1]
    n_units, n_values = len(n), len(y)
    if n_units < 2 or n_values == n_units or np.ptp(y) == 0:
        return Intraclass(nan, nan, nan, nan, nan, nan, nan, n_units, n_values)
    means = np.bincount(place, y) / n
    within = float(((y - means[place]) ** 2).sum())
    freedom = n_units - 1, n_values - n_units
    least = -1 / float(n.max())

    def between(ratio: float) -> float:
        weights = n / (1 + ratio * n)
        return float((weights * (means - weights @ means / weights.sum()) ** 2).sum())

    def unlikelihood(ratio: float) -> float:
        spread = np.log1p(ratio * n).sum() + np.log((n / (1 + ratio * n)).sum())
        return float(spread + (n_values - 1) * np.log(within + between(ratio)))

    def crossing(level: float) -> float:
        """The ratio at which the mean squares stand in this proportion, which falls with the ratio."""
        target = level * within * freedom[0] / freedom[1]
        low, high = least * (1 - 1e-12), _LARGEST
        if between(high) > target:
            return inf
        for _ in range(_HALVINGS):
            # Ratios may span many powers of ten above the least one.
            middle = least + sqrt((low - least) * (high - least))
            low, high = (middle, high) if between(middle) > target else (low, middle)
        return low

    if within == 0:
        best = inf
    elif np.ptp(n) == 0:
        best = crossing(1.0)
    else:
        offset = minimize_scalar(lambda x: unlikelihood(least + np.exp(x)), bounds=(-12, 20), method="bounded",
                                 options={"xatol": 1e-10})  # fmt: skip
        best = least + float(np.exp(offset.x))
    limits = crossing(float(fdtri(*freedom, 1 - alpha / 2))), crossing(float(fdtri(*freedom, alpha / 2)))
    k = n_units / float((1 / n).sum())
    single, low, high = (_share(ratio) for ratio in (best, *limits))
    mean, mean_low, mean_high = (_share(k * ratio) for ratio in (best, *limits))
    return Intraclass(single, low, high, mean, mean_low, mean_high, k, n_units, n_values)


def _share(ratio: float) -> float:
    return 1.0 if ratio == inf else ratio / (1 + ratio)
