"""Test of a mean over dyads whose conditions may be exchanged: sign flips, and permutations of condition labels."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from ..nulls.counts import Observed, tie_tolerance
from ..nulls.draws import Draws, Integers
from ..nulls.relabelling import LEAST_UNITS, Variants
from ..nulls.tails import Tail
from .clusters import t_threshold
from .permutation_test import Arrays, Statistic, permutation_test
from .settings import TestSettings

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Floats = NDArray[np.float64]


def exchange_test(
    variants: NDArray[np.floating],
    draws: Draws[Variants],
    settings: TestSettings | None = None,
    *,
    graph: csr_array[Any] | None = None,
    groups: Integers | None = None,
    counts: Integers | None = None,
) -> Arrays:
    """
    Test of the mean over units that under the hypothesis show each of their variants with equal probability.

    Parameters
    ----------
    variants, draws, groups, counts
        As `ExchangedMean`.
    settings, graph
        As `permutation_test`.

    Returns
    -------
    dict of arrays
        As `permutation_test`, and ``n_dyads`` int64 [feature].
    """
    return permutation_test(ExchangedMean(variants, draws, groups, counts), settings, graph=graph)


class ExchangedMean(Statistic):
    """
    Mean over units (dyads), each of which shows one of its variants in each draw.

    Clusters are sought in its one-sample t.

    Parameters
    ----------
    variants : float [unit, variant, feature]
        Variant 0 is what was observed. A missing value (NaN) leaves the unit out of that feature. Equal probability of
        all makes the test exact if the variants of a unit are those of a group, as sign flips and label permutations
        are.
    draws : Draws of Variants
    groups : int64 [feature], optional
        Group 0..G-1 of each feature: the histograms count the mean over a group's features.
    counts : int64 [unit, feature], optional
        Dyads behind each unit, where units are blocks of dyads that are exchanged together: variants are then sums
        over the dyads of a block, and the mean is over dyads. The t of clusters is that of the blocks' sums.

    Raises
    ------
    PlanError
        If shapes do not fit.
    """

    def __init__(
        self,
        variants: NDArray[np.floating],
        draws: Draws[Variants],
        groups: Integers | None = None,
        counts: Integers | None = None,
    ) -> None:
        n_features = variants.shape[2]
        if variants.shape[:2] != (len(draws.design), draws.design.n_variants):
            raise PlanError(
                f"values have {variants.shape[0]} rows for {len(draws.design)} labels; give one label per row"
            )
        if groups is not None and groups.shape != (n_features,):
            raise PlanError(f"groups has shape {groups.shape} for {n_features} features; give one group per feature")
        self.draws, self.n, self.exact = draws, draws.n, draws.exact
        present = np.isfinite(variants).all(axis=1)
        self._n_units: Integers = present.sum(axis=0).astype(np.int64)
        self._tested = self._n_units >= LEAST_UNITS
        self.n_dyads = self._n_units if counts is None else np.where(present, counts, 0).sum(axis=0)
        self._filled = np.where(present[:, None], variants, 0.0).astype(np.float64)
        self._groups, self._dtype = groups, variants.dtype
        reach = self._reach
        self.span = (-reach, reach)

    @cached_property
    def observed(self) -> Observed:
        """As `Statistic.observed`; mean and deviation over all combinations of variants."""
        with np.errstate(divide="ignore", invalid="ignore"):
            sums = np.stack([self._filled[:, 0], self._filled.mean(axis=1)]).sum(axis=1)
            totals = (*sums, np.sqrt(self._filled.var(axis=1).sum(axis=0)))
            statistic, mean, sd = (np.where(self._tested, total / self.n_dyads, np.nan) for total in totals)
        return Observed(statistic, mean, sd, tie_tolerance(statistic, self._dtype))

    def described(self) -> Arrays:
        """As `Statistic.described`, and the dyads behind each feature."""
        return super().described() | {"n_dyads": self.n_dyads}

    def drawn(self, start: int, stop: int) -> Floats:
        """Choice of variants in draws `start` to `stop` - 1, 1 where chosen: float64 [draw, unit x variant]."""
        chosen = self.draws.take(start, stop)[:, :, None] == np.arange(self.draws.design.n_variants)
        return np.asarray(chosen.reshape(len(chosen), -1), np.float64)

    def z(self, drawn: Floats) -> Floats:
        """As `Statistic.z`."""
        return np.asarray(drawn @ self._z_table)

    @cached_property
    def _z_table(self) -> Floats:
        centred = self._filled - self._filled.mean(axis=1, keepdims=True)
        return np.asarray(_flat(centred * (self.observed.scale / np.maximum(self.n_dyads, 1))))

    def maps(self, drawn: Floats) -> Floats:
        """One-sample t of each draw: float64 [draw, feature], NaN for a feature that is not tested."""
        n = np.where(self._tested, self._n_units, np.nan)
        mean, square = drawn @ _flat(self._filled) / n, drawn @ _flat(self._filled**2) / n
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
        """Contribution of each unit's variants to the mean over a group's features: float64 [unit x variant, group]."""
        group = np.full(len(self._tested), -1) if self._groups is None else self._groups
        member = self._tested[:, None] & (group[:, None] == np.arange(group.max(initial=-1) + 1))
        n_values = self.n_dyads @ member
        weights = np.divide(member, n_values, out=np.zeros(member.shape), where=n_values > 0)
        return np.asarray(_flat(self._filled @ weights))

    @property
    def _reach(self) -> float:
        """No draw can put a group's mean further from 0 than this."""
        by_unit = np.abs(self._pooling).reshape(*self._filled.shape[:2], -1).max(axis=1)
        return float(by_unit.sum(axis=0).max(initial=0.0)) or 1.0


def _flat(variants: NDArray[Any]) -> NDArray[Any]:
    """[unit, variant, ...] as [unit x variant, ...]."""
    return variants.reshape(variants.shape[0] * variants.shape[1], *variants.shape[2:])
