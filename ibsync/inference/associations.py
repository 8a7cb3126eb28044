"""Partial correlation of two measures of the same units, feature by feature, when the second is permuted over units.

As `FreedmanLane`, but both sides differ from feature to feature: the residuals of the second side on the nuisance
variables are permuted (Freedman and Lane 1983, *J. Bus. Econ. Stat.* 1:292), one permutation per draw for all features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..nulls.draws import Draws, Integers
from ..nulls.relabelling import Permutations
from .intervals import inverted
from .partial_correlation import LEAST_UNITS, NOTHING, basis_of, crossings, residuals, slopes_of
from .permutation_test import Arrays, DrawnStatistic

Floats = NDArray[np.float64]


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
    def degrees_of_freedom(self) -> int:
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
        r: Floats = np.divide(product, length, out=np.zeros_like(product), where=square > NOTHING**2 * whole)
        return r


class Associations(DrawnStatistic):
    """
    Partial correlations of two sides under permutation of the second.

    Parameters
    ----------
    first, second : float64 [unit, feature]
        A unit that lacks (NaN) either side is passed over in that feature: whoever would take its value takes the one
        that it would have taken itself, which again is a uniform permutation of the others.
    nuisance : float64 [unit, column]
        Intercept, or one per stratum of the permutations, and covariates.
    draws : Draws of Permutations
    """

    def __init__(self, first: Floats, second: Floats, nuisance: Floats, draws: Draws[Permutations]) -> None:
        self.draws, self._n_features = draws, first.shape[1]
        self.n_units = np.asarray((np.isfinite(first) & np.isfinite(second)).sum(axis=0), np.int64)
        self._patterns = tuple(_patterns(first, second, nuisance, draws.design.strata))

    @property
    def n_tested(self) -> int:
        """Features with four units at least, a degree of freedom, and a spread on both sides."""
        return sum(len(pattern.features) for pattern in self._patterns)

    def values(self, exchanges: Integers) -> Floats:
        """Partial correlations, float64 [draw, feature]; NaN where nothing is tested."""
        out = np.full((len(exchanges), self._n_features), np.nan)
        for pattern in self._patterns:
            out[:, pattern.features] = pattern.correlations(passed_over(exchanges, pattern.units))
        return out

    def described(self) -> Arrays:
        """As `Statistic.described`, and ``n_dyads``, the ``slope`` of the second side on the first and its ``t``."""
        lengths = (
            self._of_features(lambda pattern: np.linalg.norm(pattern.second, axis=0)),
            self._of_features(lambda pattern: np.linalg.norm(pattern.first, axis=0)),
        )
        freedom = self._of_features(lambda pattern: pattern.degrees_of_freedom)
        return super().described() | slopes_of(self.observed.statistic, lengths, freedom) | {"n_dyads": self.n_units}

    def interval(self, *, alpha: float) -> tuple[Floats, Floats]:
        """
        Slopes that a two-sided permutation test does not reject at `alpha`.

        Exact without covariates, as the test is.

        Returns
        -------
        low, high : float64 [feature]
            As `inverted`; NaN where nothing is tested.
        """
        out = np.full((2, self._n_features), np.nan)
        for pattern in self._patterns:

            def turning(orders: Integers, features: slice, pattern: _Pattern = pattern) -> Floats:
                x, y = pattern.first[:, features], pattern.second[:, features]
                return crossings(x, y, passed_over(orders, pattern.units))

            n_units = len(pattern.units)
            out[:, pattern.features] = inverted(
                turning, self.draws, len(pattern.features), alpha=alpha, n_units=n_units
            )
        return out[0], out[1]

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
        out = np.full(self._n_features, np.nan)
        for pattern in self._patterns:
            variance = (pattern.first**2).sum(axis=0) / (pattern.degrees_of_freedom + 1)
            out[pattern.features] = 1 - error[np.ix_(pattern.units, pattern.features)].mean(axis=0) / variance
        return out

    def _of_features(self, number: Any) -> Floats:
        """A number of each pattern, for its features: float64 [feature]."""
        out = np.full(self._n_features, np.nan)
        for pattern in self._patterns:
            out[pattern.features] = number(pattern)
        return out


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


def _patterns(first: Floats, second: Floats, nuisance: Floats, strata: Sequence[str]) -> Iterator[_Pattern]:
    """Features by the units that have both sides; without those that cannot be tested."""
    present, which = np.unique(np.isfinite(first) & np.isfinite(second), axis=1, return_inverse=True)
    labels = np.array(strata)
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
                np.linalg.norm(rest, axis=0) > NOTHING * np.linalg.norm(side, axis=0)
                for rest, side in zip(left, sides, strict=True)
            ],
            axis=0,
        )
        keeps = basis.shape[1] == len(np.unique(labels[units]))
        if varies.any():
            yield _Pattern(units, features[varies], basis, left[0][:, varies], left[1][:, varies], keeps)
