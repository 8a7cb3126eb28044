"""Limits of confidence intervals: order statistics of the values at which draws turn, Student's t, the normal law."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Limits = tuple[Floats, Floats]
Turning = Callable[[int, int, slice], Limits]

MOST_VALUES = 1 << 26
"""Values (draws x features) up to which all draws of the test make the interval; else `DRAWN` of them."""

DRAWN = 9_999
"""Draws for the interval where all would be too many."""

_BLOCK_VALUES = 1 << 22
_CHUNK_VALUES = 1 << 21


def limits(turning: Turning, n: int, n_features: int, share: float, n_units: int = 1) -> Limits:
    """
    The smallest value that is not rejected, and the largest.

    With c draws that reach it, p = (1 + c) / (n + 1) is above the share when c is at least k = floor(share (n + 1)):
    the limit is the k-th smallest of the draws' values.

    Parameters
    ----------
    turning : callable
        ``turning(start, stop, features)`` gives, for draws `start` to `stop` - 1, the smallest and the largest value
        that each draw reaches: float64 [draw, feature] each.
    n : int
        Draws 1 to n.
    n_features : int
    share : float
        Level of the test whose p is (1 + c) / (n + 1).
    n_units : int
        Values that one draw of one feature takes in memory.

    Returns
    -------
    low, high : float64 [feature]
    """
    k = int(share * (n + 1) * (1 + 1e-12))
    if k < 1:
        return np.full(n_features, -np.inf), np.full(n_features, np.inf)
    low, high = np.empty((2, n_features))
    width = max(1, _BLOCK_VALUES // n)
    for start in range(0, n_features, width):
        some = slice(start, min(start + width, n_features))
        n_rows = max(64, _CHUNK_VALUES // (width * n_units))
        parts = [turning(at, min(at + n_rows, n + 1), some) for at in range(1, n + 1, n_rows)]
        lows, highs = (np.concatenate([part[side] for part in parts]) for side in (0, 1))
        low[some] = np.partition(lows, k - 1, axis=0)[k - 1]
        high[some] = np.partition(highs, n - k, axis=0)[n - k]
    return low, high


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
