"""Partial correlation of many features with one outcome, against permuted residuals of the outcome.

Freedman and Lane (1983, *J. Bus. Econ. Stat.* 1:292; Winkler et al. 2014, *NeuroImage* 92:381, there with the roles of
the two variables exchanged): the residuals of the outcome on the nuisance variables are permuted over units, the
nuisance variables stay with the features.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import factorial, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..nulls.counts import Observed, tie_tolerance
from ..nulls.draws import Draws, Indices, Integers
from ..nulls.relabelling import Permutations
from ..nulls.tails import Tail, n_sides, oriented
from .intervals import inverted, normal_interval, student_interval
from .permutation_test import Arrays, Statistic

Floats = NDArray[np.float64]

LEAST_UNITS = 4
"""A correlation over fewer units is not tested."""

NOTHING = 1e-9
"""What is left of a variable after others were taken out counts as nothing below this share of its length."""


def basis_of(nuisance: Floats) -> Floats:
    """Orthonormal columns that span those of `nuisance` [unit, column]: float64 [unit, rank]."""
    length = np.linalg.norm(nuisance, axis=0)
    columns = nuisance[:, length > 0] / length[length > 0]
    if not columns.shape[1]:
        return np.empty((len(nuisance), 0))
    vectors, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(vectors[:, sizes > NOTHING * sizes[0]])


def residuals(values: Floats, basis: Floats) -> Floats:
    """What an orthonormal basis [unit, column] leaves of `values` [unit, ...]."""
    once = values - basis @ (basis.T @ values)
    # A second pass removes what rounding left behind where the basis explains nearly all.
    return np.asarray(once - basis @ (basis.T @ once))


def crossings(x: Floats, y: Floats, orders: Integers) -> Floats:
    """
    Slopes of y on x from which on a draw's product of x and permuted residuals of y reaches the observed one.

    With slope b taken off, the observed product is A - b B and that of the draw a - b c, where c <= B: the draw reaches
    the observed one from b = (A - a) / (B - c) on.

    Parameters
    ----------
    x, y : float64 [unit, feature]
        Residuals of either side.
    orders : int64 [draw, unit]

    Returns
    -------
    float64 [draw, feature]
        NaN if at every slope.
    """
    rise, apart = np.zeros((2, len(orders), x.shape[1]))
    for unit in range(len(x)):
        taken = orders[:, unit]
        rise += x[unit] * (y[unit] - y[taken])
        apart += (x[unit] - x[taken]) ** 2 / 2
    moved = apart > NOTHING * (x**2).sum(axis=0)
    return np.divide(rise, apart, out=np.full_like(rise, np.nan), where=moved)


def slopes_of(r: Floats, lengths: tuple[Floats, Floats], degrees_of_freedom: Floats) -> dict[str, Floats]:
    """``slope`` by least squares and its ``t``, from correlations and the lengths of both residuals (second, first)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        t = r * np.sqrt(degrees_of_freedom / np.maximum(1 - r**2, 0.0))
        return {"slope": r * lengths[0] / lengths[1], "t": t}


@dataclass(frozen=True)
class Pattern:
    """
    Features that have values in the same units.

    Parameters
    ----------
    units : int64 [unit]
    basis : float64 [unit, column]
        Span of the nuisance variables in these units.
    features : int64 [feature]
    directions : float64 [unit, feature]
        What the nuisance variables leave of the features, each of length 1.
    lengths : float64 [feature]
        Its length before.
    """

    units: Integers
    basis: Floats
    features: Integers
    directions: Floats
    lengths: Floats

    @property
    def left(self) -> Floats:
        """What the nuisance variables leave of the features, float64 [unit, feature]."""
        return self.directions * self.lengths

    @property
    def degrees_of_freedom(self) -> int:
        """Degrees of freedom of the partial correlation."""
        return len(self.units) - int(self.basis.shape[1]) - 1

    def null_sd(self, residual: Floats, blocks: Sequence[Indices]) -> Floats:
        """
        Observed deviation of the correlation over permutations within blocks, float64 [feature].

        Exact where the permuted residual keeps its length, that is without covariates and missing values; elsewhere
        its mean square length is put in place of the square of each.
        """
        size = np.zeros(len(residual))
        share = np.zeros(len(residual))
        part = np.zeros((len(residual), len(blocks)))
        for number, block in enumerate(blocks):
            size[block], part[block, number] = len(block), 1.0
            share[block] = (residual[block] ** 2).sum() / (residual**2).sum()
        per_unit = (share / np.maximum(size - 1, 1))[self.units, None]
        size, share, part = size[self.units, None], share[self.units, None], part[self.units]

        def variance(weights: Floats) -> Floats:
            """Of weighted sums of the permuted residual, whose squares sum to 1: float64 [column]."""
            means = part @ (part.T @ weights) / size
            return np.asarray((per_unit * weights * (weights - means)).sum(axis=0))

        square = float((share / size).sum() - variance(self.basis).sum())
        return np.sqrt(np.maximum(variance(self.directions), 0.0) / square)

    def left_of(self, outcomes: Floats) -> Floats:
        """What the nuisance variables leave of outcomes [draw, unit] in these units."""
        return residuals(outcomes[:, self.units].T, self.basis).T

    def unexplained(self, outcome: Floats) -> tuple[Floats, Floats]:
        """
        What nuisance variables and feature leave of an outcome [unit], and which share each unit keeps of its own.

        Returns
        -------
        residual, kept : float64 [unit, feature]
            Residuals by least squares, and 1 less the leverage.
        """
        y = self.left_of(outcome[None]).T
        rest = y - self.directions * (self.directions * y).sum(axis=0)
        return rest, 1 - (self.basis**2).sum(axis=1)[:, None] - self.directions**2


class FreedmanLane(Statistic):
    """
    Partial correlations with one outcome.

    Parameters
    ----------
    values : float64 [unit, feature]
        Missing values (NaN) leave the unit out of that feature.
    outcome : float64 [unit]
        Without missing values.
    nuisance : float64 [unit, column]
        Intercept, or one per stratum of the permutations, and covariates.
    draws : Draws of Permutations
    groups : int64 [feature], optional
        Group 0..G-1 of each feature: the histograms count the mean over a group's features.

    Attributes
    ----------
    residual : float64 [unit]
        Of the outcome on the nuisance variables, which is permuted.
    patterns : tuple of Pattern
    n_units : int64 [feature]
    n_tested : int
        Features with at least four units, one degree of freedom, and a spread.
    """

    span = (-1.0, 1.0)

    def __init__(
        self, values: Floats, outcome: Floats, nuisance: Floats, draws: Draws[Permutations],
        groups: Integers | None = None,
    ) -> None:  # fmt: skip
        assert len(values) == len(outcome) == len(nuisance) == len(draws.design)
        assert np.isfinite(outcome).all()
        assert np.isfinite(nuisance).all()
        self.draws, self.n, self.exact = draws, draws.n, draws.listed
        self._n_features, self._groups = values.shape[1], groups
        self.residual = residuals(outcome, basis_of(nuisance))
        self.n_units: Integers = np.isfinite(values).sum(axis=0)
        self.patterns = tuple(patterns(values, nuisance))

    @cached_property
    def observed(self) -> Observed:
        """As `Statistic.observed`; deviations in closed form, 1 / sqrt(df + 1) in a single stratum."""
        blocks = tuple(self.draws.design.blocks.values())
        sd = self._of_features(lambda pattern: pattern.null_sd(self.residual, blocks))
        # Without a spread over the draws every permutation gives the same correlation.
        r = np.where(sd > NOTHING, self._correlations(self.residual[None])[0], np.nan)
        mean, sd = (np.where(np.isfinite(r), part, np.nan) for part in (0.0, sd))
        return Observed(r, mean, sd, tie_tolerance(r, np.dtype(np.float64)))

    @property
    def n_tested(self) -> int:
        """Features that are tested."""
        return int(np.isfinite(self.observed.statistic).sum())

    @property
    def n_ways(self) -> int:
        """Draws that differ: where all are listed, without those that change no residual."""
        if not self.exact:
            return self.n + 1
        rounded = np.round(self.residual / np.abs(self.residual).max(), 12)
        alike = [Counter(rounded[block].tolist()).values() for block in self.draws.design.blocks.values()]
        return (self.n + 1) // prod(factorial(count) for counts in alike for count in counts)

    def described(self) -> Arrays:
        """
        As `Statistic.described`, and ``n_units`` int64, ``t`` and ``slope`` float64 [feature].

        The slope is that of the outcome per unit of the feature by least squares.
        """
        return super().described() | self._slopes | {"n_units": self.n_units}

    @cached_property
    def _slopes(self) -> dict[str, Floats]:
        lengths = (
            self._of_features(lambda pattern: np.linalg.norm(pattern.left_of(self.residual[None]))),
            self._of_features(lambda pattern: pattern.lengths),
        )
        return slopes_of(self.observed.statistic, lengths, self._degrees_of_freedom)

    def drawn(self, start: int, stop: int) -> Floats:
        """Correlations in draws `start` to `stop` - 1, float64 [draw, feature]."""
        return self._correlations(self.residual[self.draws.take(start, stop)])

    def pooled(self, drawn: Floats) -> Floats:
        """As `Statistic.pooled`."""
        return np.asarray(np.nan_to_num(drawn) @ self._pooling)

    def intervals(self, *, alpha: float = 0.05) -> dict[str, Floats]:
        """
        Confidence intervals of the correlation and of the slope.

        Parameters
        ----------
        alpha : float
            1 less the coverage.

        Returns
        -------
        dict of float64 [feature]
            ``statistic_low, statistic_high``: of the partial correlation, by Fisher's z; ``student_low, student_high``:
            of the slope, by least squares; ``slope_low, slope_high``: slopes that the two-sided permutation of the
            residuals which they leave does not reject (exact without covariates; NaN for features with missing values,
            infinite where the permutations are too few).
        """
        slope, t = self._slopes["slope"], self._slopes["t"]
        with np.errstate(divide="ignore", invalid="ignore"):
            z, freedom = np.arctanh(np.clip(self.observed.statistic, -1, 1)), self._degrees_of_freedom
            r = normal_interval(z, np.where(freedom > 1, 1 / np.sqrt(freedom - 1), np.nan), alpha=alpha)
            student = student_interval(slope, np.abs(slope / t), np.nan_to_num(freedom), alpha=alpha)
        low, high = self._slope_limits(alpha)
        return {
            "statistic_low": np.tanh(r[0]), "statistic_high": np.tanh(r[1]),
            "student_low": student[0], "student_high": student[1], "slope_low": low, "slope_high": high,
        }  # fmt: skip

    def robust(self, tail: Tail) -> dict[str, Floats]:
        """
        Test of the slope that allows for a spread of the outcome that differs from unit to unit.

        Standard errors are HC3 (MacKinnon and White 1985, *J. Econometrics* 29:305), p is by Student's t.

        Returns
        -------
        dict of float64 [feature]
            ``hc3_t`` and ``hc3_p``; NaN where a unit is explained by itself.
        """
        from scipy.stats import t as student

        def t_of(pattern: Pattern) -> Floats:
            rest, kept = pattern.unexplained(self.residual)
            alone = (kept < NOTHING).any(axis=0)
            weighed = pattern.directions * rest / np.where(kept < NOTHING, np.nan, kept)
            se = np.sqrt((weighed**2).sum(axis=0))
            slope = (pattern.directions * pattern.left_of(self.residual[None]).T).sum(axis=0)
            return np.asarray(np.divide(slope, se, out=np.full_like(se, np.nan), where=~alone & (se > 0)))

        t = np.where(np.isfinite(self.observed.statistic), self._of_features(t_of), np.nan)
        p = n_sides(tail) * student.sf(oriented(t, tail), self._degrees_of_freedom)
        return {"hc3_t": t, "hc3_p": np.minimum(p, 1.0)}

    def _slope_limits(self, alpha: float) -> tuple[Floats, Floats]:
        out = np.full((2, self._n_features), np.nan)
        y = self.residual[:, None]
        for pattern in (pattern for pattern in self.patterns if len(pattern.units) == len(y)):

            def turning(orders: Integers, features: slice, pattern: Pattern = pattern) -> Floats:
                return crossings(pattern.directions[:, features], y, orders) / pattern.lengths[features]

            n_units = len(pattern.units)
            out[:, pattern.features] = inverted(
                turning, self.draws, len(pattern.features), alpha=alpha, n_units=n_units
            )
        return out[0], out[1]

    def _correlations(self, outcomes: Floats) -> Floats:
        """Partial correlation of every feature with outcomes [draw, unit]: float64 [draw, feature], NaN if untested."""
        out = np.full((len(outcomes), self._n_features), np.nan)
        least = NOTHING * np.linalg.norm(self.residual)
        for pattern in self.patterns:
            left = pattern.left_of(outcomes)
            length = np.linalg.norm(left, axis=1, keepdims=True)
            # An outcome without spread in these units is correlated with nothing.
            left = np.divide(left, length, out=np.zeros_like(left), where=length > least)
            out[:, pattern.features] = left @ pattern.directions
        return out

    @property
    def _degrees_of_freedom(self) -> Floats:
        return self._of_features(lambda pattern: pattern.degrees_of_freedom)

    def _of_features(self, number: Any) -> Floats:
        """A number of each pattern, for its features: float64 [feature]."""
        out = np.full(self._n_features, np.nan)
        for pattern in self.patterns:
            out[pattern.features] = number(pattern)
        return out

    @cached_property
    def _pooling(self) -> Floats:
        """Weights of the mean over a group's features: float64 [feature, group]."""
        group = np.full(self._n_features, -1) if self._groups is None else self._groups
        tested = np.isfinite(self.observed.statistic)
        member = (tested[:, None] & (group[:, None] == np.arange(group.max(initial=-1) + 1))).astype(np.float64)
        return np.asarray(member / np.maximum(member.sum(axis=0), 1))


def patterns(values: Floats, nuisance: Floats) -> Iterator[Pattern]:
    """Features by the units in which they have values; without those that cannot be tested."""
    present, which = np.unique(np.isfinite(values), axis=1, return_inverse=True)
    for number, flags in enumerate(present.T):
        units = np.flatnonzero(flags)
        basis = basis_of(nuisance[units])
        if len(units) < max(LEAST_UNITS, basis.shape[1] + 2):
            continue
        features = np.flatnonzero(which.reshape(-1) == number)
        here = values[np.ix_(units, features)]
        left = residuals(here, basis)
        lengths = np.linalg.norm(left, axis=0)
        varies = lengths > NOTHING * np.linalg.norm(here, axis=0)
        if varies.any():
            yield Pattern(units, basis, features[varies], left[:, varies] / lengths[varies], lengths[varies])
