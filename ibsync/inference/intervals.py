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
from ..nulls.relabelling import Signs

Floats = NDArray[np.float64]
Limits = tuple[Floats, Floats]
Turning = Callable[[NDArray[Any], slice], Floats]

MOST_VALUES = 1 << 26
"""Values (draws x features) up to which all draws of the test make the interval; else `DRAWN` of them."""

DRAWN = 9_999
"""Draws for the interval where all would be too many."""

CONVERGED, MOST_SUBSTITUTIONS = 1e-5, 20
"""Share of an interval's width by which a limit may be off where weights depend on it; turns in which it is sought."""

_BLOCK_VALUES = 1 << 22
_CHUNK_VALUES = 1 << 21


def draws_of_interval(draws: Draws[D], n_features: int) -> Draws[D]:
    """The draws of the test; where they are too many for its features, some drawn anew."""
    if draws.n * n_features > MOST_VALUES and draws.n > DRAWN:
        return Draws(draws.design, DRAWN, draws.seed, listed=False)
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


def sign_flip_interval(sums: Floats, weights: Floats, draws: Draws[Signs], *, alpha: float = 0.05) -> Limits:
    """
    Interval of a weighted mean over dyads, from flips of sign, with the same weights for every value that is tested.

    Parameters
    ----------
    sums : float64 [unit, feature]
        Weighted values of the dyads of each unit; 0 where it has none.
    weights : float64 [unit, feature]
        Weights behind each sum; of dyads that count alike their number.
    draws : Draws of Signs
        Of the test.
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
        mass = flipped @ weights[:, features]
        mean: Floats = np.divide(flipped @ sums[:, features], mass, out=np.full(mass.shape, np.nan), where=mass > 0)
        return mean

    low, high = inverted(turning, draws, sums.shape[1], alpha=alpha)
    enough = (weights > 0).sum(axis=0) >= 2
    return np.where(enough, low, np.nan), np.where(enough, high, np.nan)


def reweighted(limits: Callable[[Floats], Limits], start: Floats) -> Limits:
    """
    Interval of a test whose weights depend on the value that is tested.

    A limit is where the interval with the weights of that value ends at the value itself, which repeated substitution
    finds.

    Parameters
    ----------
    limits : callable
        ``limits(value)`` gives both limits with the weights of `value`, float64 [feature].
    start : float64 [feature]
        First value.

    Returns
    -------
    low, high : float64 [feature]
    """
    first = limits(start)
    width = np.where(np.isfinite(first[1] - first[0]), first[1] - first[0], 0.0)
    found = []
    for side in range(2):
        value, limit = start, first[side]
        for _ in range(MOST_SUBSTITUTIONS):
            if not (np.abs(limit - value) > CONVERGED * width).any():
                break
            value = np.where(np.isfinite(limit), limit, start)
            limit = limits(value)[side]
        found.append(limit)
    return found[0], found[1]


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
