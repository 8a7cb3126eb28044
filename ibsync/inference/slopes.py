"""Slopes over sessions: of a dyad, and their mean over dyads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..nulls.draws import Draws, Integers
from ..nulls.relabelling import SessionOrders
from .permutation_test import DrawnStatistic

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]

LEAST_SESSIONS = 2
"""A slope needs values at two times."""

_MOST_STEPS = 100


@dataclass(frozen=True)
class Lines:
    """
    Least-squares lines over time, float64 [..., feature] each.

    Parameters
    ----------
    n : sessions with a value
    mean_time : weighted mean of their times
    square : sum of squared distances of the times from it, each session by its weight
    slope : NaN where there are fewer than two values
    start : the line at time 0
    residual : sum of squared distances of the values from the line, each session by its weight
    """

    n: Floats
    mean_time: Floats
    square: Floats
    slope: Floats
    start: Floats
    residual: Floats

    @classmethod
    def of(cls, values: NDArray[np.floating], times: Floats, weights: NDArray[np.floating] | float = 1.0) -> Lines:
        """
        The line of every feature.

        Parameters
        ----------
        values : float [session, ...]
            A missing value (NaN) leaves the session out of that feature.
        times : float64 [session]
            Different numbers.
        weights : float [session, ...]
            Of the sessions, such as the length of their recordings.
        """
        weight = np.where(np.isfinite(values), weights, 0.0)
        n, total = (weight > 0).sum(axis=0), weight.sum(axis=0)
        when = np.broadcast_to(times.reshape(-1, *[1] * (values.ndim - 1)), values.shape)
        y = np.where(weight > 0, values, 0.0).astype(np.float64)
        mean_time, mean = (_ratio((weight * x).sum(axis=0), total, empty=0.0) for x in (when, y))
        t, y = when - mean_time, y - mean
        square = (weight * t**2).sum(axis=0)
        enough = n >= LEAST_SESSIONS
        slope = np.divide((weight * t * y).sum(axis=0), square, out=np.full(n.shape, np.nan), where=enough)
        residual = np.where(enough, (weight * (y - np.where(enough, slope, 0.0) * t) ** 2).sum(axis=0), 0.0)
        return cls(n.astype(np.float64), mean_time, square, slope, mean - slope * mean_time, residual)

    @classmethod
    def stacked(cls, lines: Sequence[Lines]) -> Lines:
        """Lines of several dyads, [dyad, ...]."""
        return cls(*(np.stack([getattr(line, entry.name) for line in lines]) for entry in fields(cls)))

    def only(self, features: Flags) -> Lines:
        """The lines of some features."""
        return Lines(*(getattr(self, entry.name)[..., features] for entry in fields(self)))

    @property
    def freedom(self) -> Floats:
        """Degrees of freedom about each line, float64 [..., feature]."""
        return np.maximum(self.n - LEAST_SESSIONS, 0.0)

    @cached_property
    def variance(self) -> Floats:
        """
        Variance of each slope from the scatter about the lines, pooled over dyads: float64 [dyad, feature].

        0 where no dyad has more than two sessions, which say nothing of it.
        """
        error = _ratio(self.residual.sum(axis=0), self.freedom.sum(axis=0), empty=0.0)
        return np.divide(error, self.square, out=np.zeros(self.square.shape), where=self.square > 0)

    def weights(self, value: Floats | float = 0.0) -> Floats:
        """
        Weight of each dyad in the mean slope, by its precision: ``1 / (tau**2 + s**2 / Sxx)``.

        The variance tau**2 of true slopes about `value` is that with which the weighted squares of the slopes are as
        large as expected (Paule and Mandel 1982, *J. Res. Natl. Bur. Stand.* 87:377). It is of squares about the value
        that is tested, not about the mean, so that flips of sign change no weight.

        Parameters
        ----------
        value : float or float64 [feature]
            Mean slope under the hypothesis.

        Returns
        -------
        float64 [dyad, feature]
            With mean 1 over the dyads that have a slope; 0 for the others.
        """
        present = np.isfinite(self.slope)
        squares = np.where(present, self.slope - value, 0.0) ** 2
        n = present.sum(axis=0)
        spread = np.zeros(n.shape)
        # The excess falls and is convex in the variance, so that Newton's steps from 0 never pass the root.
        for _ in range(_MOST_STEPS):
            precision = _ratio(present * 1.0, spread + self.variance, empty=0.0)
            excess = (squares * precision).sum(axis=0) - n
            slope = (squares * precision**2).sum(axis=0)
            first = (self.variance + spread == 0).all(axis=0)
            step = np.where(first, _ratio(squares.sum(axis=0), n, empty=0.0), _ratio(excess, slope, empty=0.0))
            spread = spread + np.maximum(step, 0.0)
            if (step <= 1e-9 * spread).all():
                break
        precision = _ratio(present * 1.0, spread + self.variance, empty=0.0)
        alike = (precision > 0).sum(axis=0) < n
        precision = np.where(alike, present, precision)
        return precision * _ratio(n * 1.0, precision.sum(axis=0), empty=0.0)


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
    return Lines.of(values, times).slope


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


def _ratio(total: Floats, n: NDArray[Any], *, empty: float = np.nan) -> Floats:
    """Quotient, `empty` where nothing is counted."""
    out: Floats = np.full(np.broadcast_shapes(np.shape(total), np.shape(n)), empty)
    return np.asarray(np.divide(total, n, out=out, where=np.asarray(n) > 0))
