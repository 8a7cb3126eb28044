"""Slopes over sessions: of a dyad, and their mean over dyads."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from ..nulls.draws import Draws, Integers
from ..nulls.relabelling import SessionOrders
from .permutation_test import DrawnStatistic

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]

LEAST_SESSIONS = 2
"""A slope needs values at two times."""


def slopes(values: NDArray[np.floating], times: Floats) -> Floats:
    """
    Least-squares slope of every feature over time.

    Parameters
    ----------
    values : float [session, ...]
        A missing value (NaN) leaves the session out of that feature.
    times : float64 [session]
        Different numbers.

    Returns
    -------
    float64 [...]
        NaN where there are fewer than two values.
    """
    present = np.isfinite(values)
    n = present.sum(axis=0)
    when = np.broadcast_to(times.reshape(-1, *[1] * (values.ndim - 1)), values.shape)
    t = np.where(present, when - _mean_of(when, present, n), 0.0)
    y = np.where(present, values - _mean_of(values, present, n), 0.0)
    square = (t**2).sum(axis=0)
    slope: Floats = np.full(values.shape[1:], np.nan)
    np.divide((t * y).sum(axis=0), square, out=slope, where=n >= LEAST_SESSIONS)
    return slope


def _mean_of(values: NDArray[np.floating], present: NDArray[np.bool_], n: Integers) -> Floats:
    total = np.where(present, values, 0.0).sum(axis=0, dtype=np.float64)
    mean: Floats = np.divide(total, n, out=np.zeros(total.shape), where=n > 0)
    return mean


class MeanSlope(DrawnStatistic):
    """
    Mean slope over dyads when the sessions of each dyad come in another order.

    One order per dyad and draw holds for all features; a missing value moves with its session.

    Parameters
    ----------
    values : sequence of float64 [session, feature]
        Of each dyad.
    times : sequence of float64 [session]
        Of each dyad.
    draws : Draws of SessionOrders
    """

    def __init__(self, values: Sequence[Floats], times: Sequence[Floats], draws: Draws[SessionOrders]) -> None:
        self._of_dyads, self._times, self.draws = values, times, draws

    @cached_property
    def n_dyads(self) -> Integers:
        """Dyads with a slope, int64 [feature]."""
        return np.asarray(np.sum(self._has_slope, axis=0, dtype=np.int64))

    @cached_property
    def _has_slope(self) -> list[Flags]:
        return [np.isfinite(values).sum(axis=0) >= LEAST_SESSIONS for values in self._of_dyads]

    def values(self, exchanges: Integers) -> Floats:
        """Mean slope of each draw, float64 [draw, feature]; NaN without any dyad."""
        total = np.zeros((len(exchanges), self._of_dyads[0].shape[1]))
        orders = np.split(exchanges, list(accumulate(map(len, self._times)))[:-1], axis=1)
        for values, times, order, has in zip(self._of_dyads, self._times, orders, self._has_slope, strict=True):
            total += np.where(has, _slopes_in_order(values, times, order), 0.0)
        return _ratio(total, np.broadcast_to(self.n_dyads, total.shape))


def _slopes_in_order(values: Floats, times: Floats, order: Integers) -> Floats:
    """Slopes of one dyad in each draw, float64 [draw, feature]; 0 where there are fewer than two values."""
    present = np.isfinite(values)
    n = present.sum(axis=0)
    y = np.where(present, values - _mean_of(values, present, n), 0.0)
    t = (times - times.mean())[order]
    mass = present.astype(np.float64)
    enough = n >= LEAST_SESSIONS
    square = (t**2) @ mass - np.divide((t @ mass) ** 2, n, out=np.zeros((len(t), len(n))), where=n > 0)
    slope: Floats = np.divide(t @ y, square, out=np.zeros_like(square), where=np.broadcast_to(enough, square.shape))
    return slope


def _ratio(total: Floats, n: Floats) -> Floats:
    return np.divide(total, n, out=np.full_like(total, np.nan), where=n > 0)
