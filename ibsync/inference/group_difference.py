"""Difference of two groups of dyads: a robust t inside a permutation of groups, and the interval that it leaves."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..nulls.counts import Observed, tie_tolerance
from ..nulls.draws import Draws, Integers
from ..nulls.relabelling import GroupLabels, Permutations
from ..nulls.tails import Tail, n_sides
from .intervals import Limits, draws_of_interval
from .partial_correlation import NOTHING, Pattern, basis_of, patterns, residuals
from .permutation_test import Arrays, DrawnStatistic

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]

LEAST_UNITS = 3
"""A group of fewer units has no spread to speak of."""

LEAST_OF_A_DRAW = 2
"""Units with a value that either group of a draw needs."""

_HALVINGS = 60
_CHUNK_VALUES = 1 << 20


class Difference(DrawnStatistic):
    """
    Difference of two groups of dyads, first minus second, in units of its standard error.

    In both tails draws are compared by the size of t, because with groups of unequal size one tail is longer than the
    other and twice the smaller p rejects too often.

    Parameters
    ----------
    values : float64 [dyad, feature]
        NaN leaves a dyad out of that feature.
    draws : Draws
    tail : {"greater", "less", "two-sided"}
    """

    def __init__(self, values: Floats, draws: Draws[Any], tail: Tail) -> None:
        self.of_dyads, self.draws, self._by_size = values, draws, n_sides(tail) == 2

    @abstractmethod
    def _moments(self, exchanges: NDArray[Any]) -> tuple[Floats, Floats]:
        """Difference and square of its standard error: float64 [draw, feature]; NaN where there is none."""

    @abstractmethod
    def _shifted(self, first: Flags, exchanges: NDArray[Any], part: slice) -> _Shifted:
        """The same of some features when a number is taken off the values of the first group."""

    def values(self, exchanges: NDArray[Any]) -> Floats:
        """T of each draw, float64 [draw, feature]; NaN where there is none."""
        difference, square = self._moments(exchanges)
        # Where all units of a group agree the error is 0; a t of a million keeps its place as the largest.
        error = np.sqrt(np.maximum(square, 1e-12 * difference**2))
        return np.divide(difference, error, out=np.zeros_like(difference), where=~(error == 0))

    @cached_property
    def difference(self) -> Floats:
        """Observed difference, float64 [feature]."""
        return self._first_moments[0]

    @cached_property
    def error(self) -> Floats:
        """Standard error of the difference, float64 [feature]."""
        return np.sqrt(self._first_moments[1])

    @cached_property
    def _first_moments(self) -> tuple[Floats, Floats]:
        difference, square = self._moments(self.draws.take(0, 1))
        return difference[0], square[0]

    @cached_property
    def observed(self) -> Observed:
        """As `Statistic.observed`: t is its own z."""
        t = self.z(self.drawn(0, 1))[0]
        return Observed(t, np.where(np.isnan(t), np.nan, 0.0), np.ones(len(t)), tie_tolerance(t, np.dtype(np.float64)))

    def tail(self, asked: Tail) -> Tail:
        """As `Statistic.tail`: in both tails the size of t is large."""
        return "greater" if self._by_size else asked

    def z(self, drawn: Floats) -> Floats:
        """As `Statistic.z`: t, or its size."""
        return np.abs(drawn) if self._by_size else drawn

    def maps(self, drawn: Floats) -> Floats:
        """As `Statistic.maps`: t with its sign."""
        return drawn

    def described(self) -> Arrays:
        """The difference, 0 and its standard error as what it is compared with, and t; dyads behind each feature."""
        return {
            "group_statistic": self.difference, "group_null_mean": self.observed.mean, "group_null_sd": self.error,
            "group_z": self.drawn(0, 1)[0], "n_dyads": np.isfinite(self.of_dyads).sum(axis=0),
        }  # fmt: skip

    def interval(self, first: Flags, *, alpha: float = 0.05) -> Limits:
        """
        Differences that the two-sided test does not reject at `alpha`.

        The limits are found by halving, for each feature among the draws of the test, or 9 999 of them where there are
        many features.

        Parameters
        ----------
        first : bool [dyad]
            Which dyads are in the first group.
        alpha : float
            1 less the coverage.

        Returns
        -------
        low, high : float64 [feature]
            Infinite where so few draws can reject nothing; NaN where a feature is not tested.
        """
        n_features = self.of_dyads.shape[1]
        draws = draws_of_interval(self.draws, n_features)
        least = int(alpha * (draws.n + 1) * (1 + 1e-12))
        low, high = np.full((2, n_features), np.nan)
        exchanges = draws.take(1, draws.n + 1)
        width = max(1, _CHUNK_VALUES // draws.n)
        for start in range(0, n_features, width):
            part = slice(start, min(start + width, n_features))
            shifted = self._shifted(first, exchanges, part)
            low[part], high[part] = (shifted.limit(side, least) for side in (-1.0, 1.0))
        return low, high


class GroupDifference(Difference):
    """
    Difference of the means of two groups of dyads, when whole units change groups.

    Draws are compared by Welch's t (Welch 1947, *Biometrika* 34:28; Janssen 1997, *Stat. Probab. Lett.* 36:9), so that
    a group that scatters more does not pass for one that differs. The error of a mean comes from the sums over its
    units.

    Parameters
    ----------
    values, tail
        As `Difference`.
    draws : Draws of GroupLabels
    unit : int64 [dyad], optional
        Unit of each dyad, where units are blocks of dyads. Default: dyads are units.
    """

    def __init__(
        self, values: Floats, draws: Draws[GroupLabels], unit: Integers | None = None, *, tail: Tail = "two-sided"
    ) -> None:
        super().__init__(values, draws, tail)
        self._unit = np.arange(len(values)) if unit is None else unit
        present = np.isfinite(values)
        n = present.sum(axis=0)
        self._middle = np.divide(np.nansum(values, axis=0), n, out=np.zeros(n.shape), where=n > 0)
        self._sums = self._by_unit(np.where(present, values - self._middle, 0.0))
        self._counts = self._by_unit(present.astype(np.float64))

    def _by_unit(self, values: Floats) -> Floats:
        out = np.zeros((len(self.draws.design), values.shape[1]))
        np.add.at(out, self._unit, values)
        return out

    def _moments(self, exchanges: Flags) -> tuple[Floats, Floats]:
        return _moments_of(self._sums, self._counts, exchanges)

    def _shifted(self, first: Flags, exchanges: Flags, part: slice) -> _Shifted:
        values = self.of_dyads[:, part]
        ones = np.where(np.isfinite(values), first[:, None].astype(np.float64), 0.0)
        sums, moved, counts = self._sums[:, part], self._by_unit(ones), self._counts[:, part]
        d, v = _moments_of(sums, counts, exchanges)
        s, w = _moments_of(moved, counts, exchanges)
        both = _moments_of(sums + moved, counts, exchanges)[1]  # of a sum the square is v + 2 c + w
        return _Shifted(d, s, v, (both - v - w) / 2, w, self.difference[part], self.error[part])


class AdjustedDifference(Difference):
    """
    Difference of two groups of dyads beside covariates, by least squares.

    What the covariates leave of the group is permuted over dyads (Freedman and Lane 1983, *J. Bus. Econ. Stat.* 1:292,
    with the roles of the two variables exchanged). The standard error allows for groups that scatter unequally (HC2,
    MacKinnon and White 1985, *J. Econom.* 29:305): without covariates t is Welch's.

    Parameters
    ----------
    values, tail
        As `Difference`.
    first : bool [dyad]
        Which dyads are in the first group.
    covariates : float64 [dyad, covariate]
    draws : Draws of Permutations
        Of the dyads.
    """

    def __init__(
        self, values: Floats, first: Flags, covariates: Floats, draws: Draws[Permutations], *, tail: Tail = "two-sided"
    ) -> None:
        super().__init__(values, draws, tail)
        centred = covariates - covariates.mean(axis=0)
        nuisance = np.column_stack([np.ones(len(values)), centred])
        group = first.astype(np.float64)
        left = residuals(group, basis_of(nuisance))
        explained = np.linalg.norm(left) <= NOTHING * np.linalg.norm(group)
        self._residual = np.zeros_like(left) if explained else left
        self._patterns = tuple(patterns(values, nuisance))

    def _moments(self, exchanges: Integers) -> tuple[Floats, Floats]:
        out = np.full((2, len(exchanges), self.of_dyads.shape[1]), np.nan)
        for pattern in self._patterns:
            out[:, :, pattern.features] = _Regression.of(self._residual, exchanges, pattern).moments(pattern.left)
        return out[0], out[1]

    def _shifted(self, first: Flags, exchanges: Integers, part: slice) -> _Shifted:
        n = len(range(*part.indices(self.of_dyads.shape[1])))
        d, s, v, c, w = np.full((5, len(exchanges), n), np.nan)
        for pattern in self._patterns:
            inside = (pattern.features >= part.start) & (pattern.features < part.stop)
            at, left = pattern.features[inside] - part.start, pattern.left[:, inside]
            drawn = _Regression.of(self._residual, exchanges, pattern)
            own = residuals(first[pattern.units].astype(np.float64), pattern.basis)[:, None]
            d[:, at], v[:, at] = drawn.moments(left)
            s[:, at], w[:, at] = drawn.moments(own)
            c[:, at] = (drawn.moments(left + own)[1] - v[:, at] - w[:, at]) / 2  # of a sum the square is v + 2 c + w
        return _Shifted(d, s, v, c, w, self.difference[part], self.error[part])


@dataclass(frozen=True)
class _Regression:
    """
    Least squares on the permuted residual of the group, in dyads that have a value.

    Parameters
    ----------
    x : float64 [draw, dyad]
        What the covariates leave of the permuted residual, divided by the square of its length.
    weights : float64 [draw, dyad]
        ``x**2 / (1 - leverage)``, by which squared residuals add up to the square of the standard error.
    square : float64 [draw, 1]
        Square of the length.
    """

    x: Floats
    weights: Floats
    square: Floats

    @classmethod
    def of(cls, residual: Floats, exchanges: Integers, pattern: Pattern) -> _Regression:
        """Of some draws."""
        x = pattern.left_of(residual[exchanges])
        square = (x**2).sum(axis=1, keepdims=True)
        square = np.where(square > (NOTHING * np.linalg.norm(residual)) ** 2, square, np.nan)
        own = 1 - (pattern.basis**2).sum(axis=1) - x**2 / square
        weights = np.divide((x / square) ** 2, own, out=np.zeros_like(x), where=own > NOTHING)
        return cls(x / square, weights, square)

    def moments(self, left: Floats) -> tuple[Floats, Floats]:
        """Slope, and the square of its standard error, of values less the covariates' part [dyad, feature]."""
        slope = self.x @ left
        fitted = self.x * self.square
        of_line = (self.weights * fitted**2).sum(axis=1, keepdims=True)
        square = self.weights @ left**2 - 2 * slope * ((self.weights * fitted) @ left) + slope**2 * of_line
        return slope, np.maximum(square, 0.0)


def _moments_of(sums: Floats, counts: Floats, exchanges: Flags) -> tuple[Floats, Floats]:
    """Difference of the means and the square of its standard error: float64 [draw, feature]; NaN for too few units."""
    parts = [_mean_and_square(sums, counts, members) for members in (exchanges, ~exchanges)]
    return parts[0][0] - parts[1][0], parts[0][1] + parts[1][1]


def _mean_and_square(sums: Floats, counts: Floats, members: Flags) -> tuple[Floats, Floats]:
    one = members.astype(np.float64)
    n, n_units = one @ counts, one @ (counts > 0)
    total, square = one @ sums, one @ sums**2
    mean = np.divide(total, n, out=np.full_like(n, np.nan), where=n_units >= LEAST_OF_A_DRAW)
    left = square - 2 * mean * (one @ (sums * counts)) + mean**2 * (one @ counts**2)
    share = np.divide(n_units, (n_units - 1) * n**2, out=np.full_like(n, np.nan), where=n_units >= LEAST_OF_A_DRAW)
    return mean, np.maximum(left, 0.0) * share


@dataclass(frozen=True)
class _Shifted:
    """
    t of each draw when a number is taken off the values of the first group.

    The difference of a draw is then ``d - shift * s``, the square of its error ``v - 2 shift c + shift^2 w``; of the
    observed groups ``d - shift`` and ``v``.

    Parameters
    ----------
    d, s, v, c, w : float64 [draw, feature]
    difference, error : float64 [feature]
        Observed.
    """

    d: Floats
    s: Floats
    v: Floats
    c: Floats
    w: Floats
    difference: Floats
    error: Floats

    def reaching(self, shift: Floats) -> Integers:
        """Draws whose t has the size of the observed one, by shift [feature]: int64 [feature]."""
        square = np.maximum(self.v - 2 * shift * self.c + shift**2 * self.w, 0.0)
        drawn = self.d - shift * self.s
        error = np.sqrt(np.maximum(square, 1e-12 * drawn**2))
        t = np.divide(drawn, error, out=np.zeros_like(drawn), where=~(error == 0))
        own = self.difference - shift
        observed = own / np.maximum(self.error, 1e-6 * np.abs(own))
        tolerance = tie_tolerance(observed, np.dtype(np.float64))
        reached: Integers = (np.abs(t) >= np.abs(observed) - tolerance).sum(axis=0)
        return reached

    def limit(self, side: float, least: int) -> Floats:
        """The end of the interval on a side: where `least` draws begin to have the size of the observed t."""
        tested = np.isfinite(self.difference) & (self.error > 0)
        inside, step = self.difference.copy(), np.where(tested, self.error, 0.0)
        outside = inside + side * step
        for _ in range(_HALVINGS):
            open_ended = self.reaching(outside) >= least
            if not (open_ended & tested).any():
                break
            inside, step = np.where(open_ended, outside, inside), 2 * step
            outside = np.where(open_ended, inside + side * step, outside)
        endless = self.reaching(outside) >= least
        for _ in range(_HALVINGS):
            middle = (inside + outside) / 2
            reached = self.reaching(middle) >= least
            inside, outside = np.where(reached, middle, inside), np.where(reached, outside, middle)
        return np.where(tested, np.where(endless, side * np.inf, inside), np.nan)
