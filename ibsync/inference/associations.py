"""Partial correlation of two measures of the same units, feature by feature, when the second is permuted over units.

As `freedman_lane`, but both sides differ from feature to feature: what the nuisance variables leave of the second side
is permuted (Freedman and Lane 1983, *J. Bus. Econ. Stat.* 1:292), one permutation per draw for all features. The
statistic is for `drawntest.drawn_test`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .partial_correlation import LEAST_UNITS, Shuffles, basis_of, residuals

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# What is left of a variable after others were taken out counts as nothing below this share of its length.
_NOTHING = 1e-9
_BLOCK_VALUES = 1 << 21


@dataclass(frozen=True)
class _Pattern:
    """
    Features for which the same units have both sides.

    Parameters
    ----------
    units : int64 [unit]
    features : int64 [feature]
    basis : float64 [unit, column]
        Span of the nuisance variables in these units.
    first, second : float64 [unit, feature]
        What the nuisance variables leave of either side.
    keeps_length : bool
        Whether the nuisance variables are intercepts of the blocks alone, so that they leave permuted residuals whole.
    """

    units: Integers
    features: Integers
    basis: Floats
    first: Floats
    second: Floats
    keeps_length: bool

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the partial correlation."""
        return len(self.units) - int(self.basis.shape[1]) - 1

    def correlations(self, orders: Integers) -> Floats:
        """Partial correlations when the units take over second values in these orders: float64 [draw, feature]."""
        product = np.zeros((len(orders), len(self.features)))
        explained = np.zeros((self.basis.shape[1], *product.shape))
        for unit, first in enumerate(self.first):
            taken = self.second[orders[:, unit]]
            product += first * taken
            if not self.keeps_length:
                explained += self.basis[unit, :, None, None] * taken
        whole = (self.second**2).sum(axis=0)
        square = np.maximum(whole - (explained**2).sum(axis=0), 0.0)
        length = np.sqrt(square * (self.first**2).sum(axis=0))
        # A permuted residual that the nuisance variables explain goes along with nothing.
        r: Floats = np.divide(product, length, out=np.zeros_like(product), where=square > _NOTHING**2 * whole)
        return r

    def crossings(self, orders: Integers, features: slice) -> Floats:
        """
        Slopes at which a draw is as extreme as what was observed: float64 [draw, feature], NaN if at every slope.

        With slope b taken off, the observed product with the first side is A - b B and that of the draw a - b c, where
        c <= B: the draw reaches the observed one from b = (A - a) / (B - c) on.
        """
        x, y = self.first[:, features], self.second[:, features]
        rise, apart = np.zeros((2, len(orders), x.shape[1]))
        for unit in range(len(x)):
            taken = orders[:, unit]
            rise += x[unit] * (y[unit] - y[taken])
            apart += (x[unit] - x[taken]) ** 2 / 2
        moved = apart > _NOTHING * (x**2).sum(axis=0)
        return np.divide(rise, apart, out=np.full_like(rise, np.nan), where=moved)


@dataclass(frozen=True)
class Associations:
    """
    Partial correlations of two sides under permutation of the second.

    Parameters
    ----------
    first, second : float64 [unit, feature]
        A unit that lacks (NaN) either side is passed over in that feature: whoever would take its value takes the one
        that it would have taken itself, which again is a uniform permutation of the others.
    nuisance : float64 [unit, column]
        Intercept, or one per stratum of `shuffles`, and covariates.
    shuffles : Shuffles

    Attributes
    ----------
    n_units : int64 [feature]
        Units with both sides.
    """

    first: Floats
    second: Floats
    nuisance: Floats
    shuffles: Shuffles

    @property
    def n_units(self) -> Integers:
        """Units with both sides, int64 [feature]."""
        return np.asarray((np.isfinite(self.first) & np.isfinite(self.second)).sum(axis=0), np.int64)

    @property
    def n_tested(self) -> int:
        """Features with four units at least, a degree of freedom, and a spread on both sides."""
        return sum(len(pattern.features) for pattern in self._patterns)

    def statistic(self, start: int, stop: int) -> Floats:
        """Partial correlations in draws `start` to `stop` - 1: float64 [draw, feature], NaN where nothing is tested."""
        out = np.full((stop - start, self.first.shape[1]), np.nan)
        orders = self.shuffles.orders(start, stop)
        for pattern in self._patterns:
            out[:, pattern.features] = pattern.correlations(passed_over(orders, pattern.units))
        return out

    def slopes(self) -> dict[str, Floats]:
        """``slope`` of the second side on the first by least squares, and its ``t``: float64 [feature]."""
        slope, t = np.full((2, self.first.shape[1]), np.nan)
        observed = self.statistic(0, 1)[0]
        for pattern in self._patterns:
            r = observed[pattern.features]
            lengths = [np.linalg.norm(side, axis=0) for side in (pattern.second, pattern.first)]
            slope[pattern.features] = r * lengths[0] / lengths[1]
            with np.errstate(divide="ignore"):
                t[pattern.features] = r * np.sqrt(pattern.freedom / np.maximum(1 - r**2, 0.0))
        return {"slope": slope, "t": t}

    def interval(self, level: float) -> tuple[Floats, Floats]:
        """
        Slopes that a two-sided permutation test does not reject at 1 - `level`.

        Exact without covariates, as the test is: the interval leaves out 0 if and only if its p is at most 1 - level.

        Returns
        -------
        low, high : float64 [feature]
            Infinite where the draws are too few to bound the slope, NaN where nothing is tested.
        """
        low, high = np.full((2, self.first.shape[1]), np.nan)
        # Draws that may be as extreme as the observed one in one tail; rounding must not take one off.
        rank = int((1 - level) / 2 * (self.shuffles.n + 1) + 1e-9)
        every = self.shuffles.orders(1, self.shuffles.n + 1)
        for pattern in self._patterns:
            orders = passed_over(every, pattern.units)
            step = max(1, _BLOCK_VALUES // len(orders))
            for at in range(0, len(pattern.features), step):
                ends = _ends(pattern.crossings(orders, slice(at, at + step)), rank)
                low[pattern.features[at : at + step]], high[pattern.features[at : at + step]] = ends
        return low, high

    def reliability(self, error: Floats) -> Floats:
        """
        Share of the variance of the first side, given the nuisance variables, that is no error.

        Parameters
        ----------
        error : float64 [unit, feature]
            Variance of the error of each value.

        Returns
        -------
        float64 [feature]
            Negative where the error is larger than all variance; NaN where nothing is tested.
        """
        out = np.full(self.first.shape[1], np.nan)
        for pattern in self._patterns:
            variance = (pattern.first**2).sum(axis=0) / (pattern.freedom + 1)
            out[pattern.features] = 1 - error[np.ix_(pattern.units, pattern.features)].mean(axis=0) / variance
        return out

    @cached_property
    def _patterns(self) -> Sequence[_Pattern]:
        return tuple(_patterns(self.first, self.second, self.nuisance, self.shuffles))


def passed_over(orders: Integers, units: Integers) -> Integers:
    """
    Permutations of some units that permutations of all of them induce: int64 [draw, unit], counting in `units`.

    The others are taken out of the cycles, which turns a uniform permutation into a uniform one.

    Parameters
    ----------
    orders : int64 [draw, unit]
    units : int64 [unit]
        Ascending.
    """
    if len(units) == orders.shape[1]:
        return orders
    inside = np.zeros(orders.shape[1], bool)
    inside[units] = True
    taken = orders[:, units]
    while not inside[taken].all():
        taken = np.where(inside[taken], taken, np.take_along_axis(orders, taken, axis=1))
    return np.searchsorted(units, taken)


def _ends(crossings: Floats, rank: int) -> tuple[Floats, Floats]:
    """The `rank`-th smallest and largest crossing of each feature; a draw that never crosses counts in both tails."""
    ordered = np.sort(crossings, axis=0)
    n = np.isfinite(ordered).sum(axis=0)
    left = rank - (len(crossings) - n)
    column = np.arange(crossings.shape[1])
    bounded = (left > 0) & (left <= n)
    low = np.where(bounded, ordered[np.maximum(left - 1, 0), column], -np.inf)
    high = np.where(bounded, ordered[np.clip(n - left, 0, len(ordered) - 1), column], np.inf)
    return low, high


def _patterns(first: Floats, second: Floats, nuisance: Floats, shuffles: Shuffles) -> Iterator[_Pattern]:
    """Features by the units that have both sides; without those that cannot be tested."""
    present, which = np.unique(np.isfinite(first) & np.isfinite(second), axis=1, return_inverse=True)
    strata = np.array(shuffles.strata)
    for number, flags in enumerate(present.T):
        units = np.flatnonzero(flags)
        basis = basis_of(nuisance[units])
        if len(units) < max(LEAST_UNITS, basis.shape[1] + 2):
            continue
        features = np.flatnonzero(which.reshape(-1) == number)
        sides = [side[np.ix_(units, features)] for side in (first, second)]
        left = [residuals(side, basis) for side in sides]
        varies = np.all(
            [
                np.linalg.norm(rest, axis=0) > _NOTHING * np.linalg.norm(side, axis=0)
                for rest, side in zip(left, sides, strict=True)
            ],
            axis=0,
        )
        keeps = basis.shape[1] == len(np.unique(strata[units]))
        if varies.any():
            yield _Pattern(units, features[varies], basis, left[0][:, varies], left[1][:, varies], keeps)
