"""Confidence intervals: by inversion of a permutation test, by Student's t, by the normal distribution.

A value that is put to the test shifts the statistic, so each draw reaches the observed statistic in the upper tail from
one value on, and in the lower tail up to it. The limits are order statistics of these values (Hartigan 1969, *J. Am.
Stat. Assoc.* 64:1303), without any search: the interval leaves out 0 if, with the draws of the test, the two-sided p is
at most alpha.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..nulls.draws import D, Draws, Integers
from ..nulls.relabelling import Variants

Floats = NDArray[np.float64]
Limits = tuple[Floats, Floats]
Turning = Callable[[NDArray[Any], slice], Floats]

MOST_VALUES = 1 << 26
"""Values (draws x features) up to which all draws of the test make the interval; else `DRAWN` of them."""

DRAWN = 9_999
"""Draws for the interval where all would be too many."""

_BLOCK_VALUES = 1 << 22
_CHUNK_VALUES = 1 << 21


def draws_of_interval(draws: Draws[D], n_features: int) -> Draws[D]:
    """The draws of the test; where they are too many for its features, some drawn anew."""
    if draws.n * n_features > MOST_VALUES and draws.n > DRAWN:
        return Draws(draws.design, DRAWN, draws.seed, exact=False)
    return draws


def inverted(turning: Turning, draws: Draws[D], n_features: int, *, alpha: float, n_units: int = 1) -> Limits:
    """
    The smallest and the largest value that the two-sided test does not reject at `alpha`.

    With c draws that reach the statistic in one tail, p = 2 (1 + c) / (n + 1) is above alpha when c is at least k =
    floor(alpha / 2 (n + 1)): the limit is the k-th smallest of the values at which draws turn.

    Parameters
    ----------
    turning : callable
        ``turning(exchanges, features)`` gives the value from which on each draw reaches the statistic in the upper
        tail, float64 [draw, feature]: NaN if it does in both tails for every value, infinite if for none.
    draws : Draws
        Of the test; of too many some are drawn anew.
    n_features : int
    alpha : float
        1 less the coverage.
    n_units : int
        Values that one draw of one feature takes in memory.

    Returns
    -------
    low, high : float64 [feature]
        Infinite where so few draws can reject nothing.
    """
    draws = draws_of_interval(draws, n_features)
    n = draws.n
    k = int(alpha / 2 * (n + 1) * (1 + 1e-12))
    low, high = np.full(n_features, -np.inf), np.full(n_features, np.inf)
    if k < 1:
        return low, high
    width = max(1, _BLOCK_VALUES // n)
    for start in range(0, n_features, width):
        features = slice(start, min(start + width, n_features))
        size = max(64, _CHUNK_VALUES // (width * n_units))
        parts = [turning(draws.take(at, min(at + size, n + 1)), features) for at in range(1, n + 1, size)]
        values = np.concatenate(parts)
        always = np.isnan(values)
        low[features] = np.partition(np.where(always, -np.inf, values), k - 1, axis=0)[k - 1]
        # A draw that reaches the statistic for no value counts in neither tail.
        upper = np.where(always, np.inf, np.where(np.isinf(values), -np.inf, values))
        high[features] = np.partition(upper, n - k, axis=0)[n - k]
    return low, high


def sign_flip_interval(sums: Floats, counts: Integers, draws: Draws[Variants], *, alpha: float = 0.05) -> Limits:
    """
    Interval of a mean over dyads, from flips of sign.

    Parameters
    ----------
    sums : float64 [unit, feature]
        Of the dyads of each unit; 0 where it has none.
    counts : int64 [unit, feature]
        Dyads behind each sum.
    draws : Draws of Variants
        Of the test, two variants per unit.
    alpha : float
        1 less the coverage.

    Returns
    -------
    low, high : float64 [feature]
        As `inverted`; NaN with fewer than two units.
    """

    def turning(exchanges: Integers, features: slice) -> Floats:
        """Mean over the flipped units; where none is, the draw is the observed one for every value."""
        flipped = exchanges.astype(np.float64)
        n = flipped @ counts[:, features]
        mean: Floats = np.divide(flipped @ sums[:, features], n, out=np.full(n.shape, np.nan), where=n > 0.5)
        return mean

    low, high = inverted(turning, draws, sums.shape[1], alpha=alpha)
    enough = (counts > 0).sum(axis=0) >= 2
    return np.where(enough, low, np.nan), np.where(enough, high, np.nan)


def student_interval(mean: Floats, se: Floats, freedom: Floats, *, alpha: float = 0.05) -> tuple[Floats, Floats]:
    """
    Interval of a mean by Student's t.

    Parameters
    ----------
    mean, se, freedom : float64 [feature]
        Estimate, its standard error, degrees of freedom.
    alpha : float
        1 less the coverage.

    Returns
    -------
    low, high : float64 [feature]
        NaN without a degree of freedom.
    """
    from scipy.special import stdtrit

    enough = freedom > 0
    reach = stdtrit(np.where(enough, freedom, 1.0), 1 - alpha / 2) * se
    return np.where(enough, mean - reach, np.nan), np.where(enough, mean + reach, np.nan)


def normal_interval(mean: Floats, se: Floats, *, alpha: float = 0.05) -> tuple[Floats, Floats]:
    """
    Interval of a mean by the normal distribution, as `student_interval` with many degrees of freedom.

    Parameters
    ----------
    mean, se : float64 [...]
    alpha : float

    Returns
    -------
    low, high : float64 [...]
    """
    from scipy.special import ndtri

    reach = float(ndtri(1 - alpha / 2)) * se
    return mean - reach, mean + reach
