"""Test of a mean over dyads by flips of sign."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from ..nulls.counts import Observed, tie_tolerance
from ..nulls.draws import Draws, Integers
from ..nulls.relabelling import LEAST_UNITS, Signs
from ..nulls.tails import Tail
from .clusters import t_threshold
from .permutation_test import Arrays, Statistic, permutation_test
from .settings import TestSettings

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Floats = NDArray[np.float64]


def sign_flip_test(
    values: NDArray[np.floating],
    draws: Draws[Signs],
    settings: TestSettings | None = None,
    *,
    graph: csr_array[Any] | None = None,
    groups: Integers | None = None,
    weights: Floats | None = None,
) -> Arrays:
    """
    Test of the mean over units of which each could as well have shown the other sign.

    Parameters
    ----------
    values, draws, groups, weights
        As `FlippedMean`.
    settings, graph
        As `permutation_test`.

    Returns
    -------
    dict of arrays
        As `permutation_test`, and ``n_dyads`` int64 [feature], the units with a value.
    """
    return permutation_test(FlippedMean(values, draws, groups, weights), settings, graph=graph)


class FlippedMean(Statistic):
    """
    Mean over units (dyads, or blocks of them) of which each draw flips some signs.

    Exact if under the hypothesis the values of each unit are as likely to have the other sign, and weights do not
    depend on signs. Clusters are sought in the one-sample t of the units.

    Parameters
    ----------
    values : float [unit, feature]
        A missing value (NaN) leaves the unit out of that feature. Of a block of dyads, the weighted sum over them.
    draws : Draws of Signs
    groups : int64 [feature], optional
        Group 0..G-1 of each feature: the histograms count the mean over a group's features.
    weights : float64 [unit, feature], optional
        What sums of values are divided by: of a block the sum of its dyads' weights. Default 1.

    Raises
    ------
    PlanError
        If shapes do not fit.
    """

    def __init__(
        self,
        values: NDArray[np.floating],
        draws: Draws[Signs],
        groups: Integers | None = None,
        weights: Floats | None = None,
    ) -> None:
        if len(values) != len(draws.design):
            raise PlanError(f"values have {len(values)} rows for {len(draws.design)} labels; give one label per row")
        if groups is not None and groups.shape != values.shape[1:]:
            raise PlanError(
                f"groups has shape {groups.shape} for {values.shape[1]} features; give one group per feature"
            )
        self.draws, self.n, self.exact = draws, draws.n, draws.listed
        present = np.isfinite(values)
        self._n_units: Integers = present.sum(axis=0).astype(np.int64)
        self._tested = self._n_units >= LEAST_UNITS
        self._mass = np.where(present, 1.0 if weights is None else weights, 0.0).sum(axis=0)
        self._filled = np.where(present, values, 0.0).astype(np.float64)
        self._groups, self._dtype = groups, values.dtype
        reach = float(np.abs(self._pooling).sum(axis=0).max(initial=0.0)) or 1.0
        self.span = (-reach, reach)

    @cached_property
    def observed(self) -> Observed:
        """As `Statistic.observed`; mean and deviation over all combinations of signs."""
        with np.errstate(divide="ignore", invalid="ignore"):
            totals = (self._filled.sum(axis=0), 0.0 * self._mass, np.sqrt((self._filled**2).sum(axis=0)))
            statistic, mean, sd = (np.where(self._tested, total / self._mass, np.nan) for total in totals)
        return Observed(statistic, mean, sd, tie_tolerance(statistic, self._dtype))

    def described(self) -> Arrays:
        """As `Statistic.described`, and the units behind each feature."""
        return super().described() | {"n_dyads": self._n_units}

    def drawn(self, start: int, stop: int) -> Floats:
        """Signs in draws `start` to `stop` - 1: float64 [draw, unit]."""
        return 1.0 - 2.0 * self.draws.take(start, stop)

    def z(self, drawn: Floats) -> Floats:
        """As `Statistic.z`."""
        return np.asarray(drawn @ self._z_table)

    @cached_property
    def _z_table(self) -> Floats:
        return self._filled * (self.observed.scale / np.where(self._mass > 0, self._mass, 1.0))

    def maps(self, drawn: Floats) -> Floats:
        """One-sample t of each draw: float64 [draw, feature], NaN for a feature that is not tested."""
        n = np.where(self._tested, self._n_units, np.nan)
        mean, square = drawn @ self._filled / n, (self._filled**2).sum(axis=0) / n
        # Where all units agree the spread is 0; a t of a million keeps its place as the largest.
        spread = np.sqrt(np.maximum(square - mean**2, 1e-12 * square))
        t = np.divide(np.sqrt(n - 1) * mean, spread, out=np.zeros_like(mean), where=spread > 0)
        return np.where(self._tested, t, np.nan)

    def threshold(self, tail: Tail) -> float:
        """As `Statistic.threshold`."""
        return t_threshold(len(self.draws.design), tail)

    def pooled(self, drawn: Floats) -> Floats:
        """As `Statistic.pooled`."""
        return np.asarray(drawn @ self._pooling)

    @cached_property
    def _pooling(self) -> Floats:
        """Contribution of each unit to the mean over a group's features: float64 [unit, group]."""
        group = np.full(len(self._tested), -1) if self._groups is None else self._groups
        member = self._tested[:, None] & (group[:, None] == np.arange(group.max(initial=-1) + 1))
        mass = self._mass @ member
        return np.asarray(self._filled @ np.divide(member, mass, out=np.zeros(member.shape), where=mass > 0))
