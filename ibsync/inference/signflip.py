"""Tests of a mean over dyads whose conditions may be exchanged: sign flips, and permutations of condition labels.

One variant per dyad is drawn and used for all features, so that the largest statistic, the largest cluster, or the
largest enhanced statistic of each draw corrects over features (Nichols and Holmes 2002, *Hum. Brain Mapp.* 15:1).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from ..nulls.counts import OUTPUT_BINS, Exceedances, Histogram, Maxima, StepDown, tie_tolerance
from ..nulls.relabelling import LEAST_UNITS, Exchanges, list_up_to
from ..nulls.tails import Tail
from .clusters import cluster_masses, clusters, largest, tfce
from .p_values import adjust_fdr, check_corrections, clopper_pearson, p_value, single_step_p, step_down_p

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_BLOCK_VALUES = 1 << 20
# Sums of a cluster or of its enhancement, taken in another order, agree at least to this.
_RELATIVE_TIE = 1e-9


def sign_flip_test(
    values: NDArray[np.floating],
    labels: Sequence[str],
    *,
    n: int = 10_000,
    seed: int = 0,
    tail: Tail = "two-sided",
    correct: Sequence[str] = ("fdr", "max"),
    graph: "csr_array[Any] | None" = None,
    threshold: float | None = None,
    groups: Integers | None = None,
) -> dict[str, NDArray[Any]]:
    """
    Whether the mean over dyads differs from 0, given that under the hypothesis each dyad's values may change sign.

    Exact if the values are symmetric about 0 under the hypothesis. One flip per dyad and draw holds for all features.

    Parameters
    ----------
    values : float [unit, feature]
        One row per dyad: a difference of conditions, a slope over sessions. A missing value (NaN) leaves the dyad out
        of that feature.
    labels : sequence of str
        One label per row; a flip depends on seed, draw and label only.
    n : int
        Sign flips drawn; all ``2**N`` are listed where there are no more than `exchanges.LIST_UP_TO` (with "cluster"
        or "tfce" `exchanges.LIST_CLUSTERS_UP_TO`).
    seed : int
    tail : {"greater", "less", "two-sided"}
        Two-sided compares absolute values.
    correct : sequence of str
        Names of `inference.CORRECTIONS`; p-values that were not asked for are NaN.
    graph : csr_array [feature, feature], optional
        From `clusters.feature_graph`; needed for "cluster" and "tfce".
    threshold : float, optional
        |t| from which a feature belongs to a cluster; default the quantile of Student's t with p = 0.05 in the
        chosen tail.
    groups : int64 [feature], optional
        Group 0..G-1 of each feature: the histograms count the mean over a group's features. Default one group.

    Returns
    -------
    dict of arrays [feature]
        ``group_statistic`` (mean over dyads), ``group_null_mean`` (0), ``group_null_sd``, ``group_z`` float64;
        ``exceedances`` int64 (-1 where nothing was tested: fewer than two dyads); ``p, p_low, p_high`` (95 %
        Clopper-Pearson; equal to p when all flips are listed), ``p_fdr``, ``p_max`` (step-down), ``p_max_single``
        float64; ``n_dyads, n_near_ties`` int64. Of other shapes: ``null_max`` float32
        [draw], the largest z of each draw, which orders draws as the one-sample t does where no value is missing;
        ``null_hist`` int64 [group, bin]; ``hist_center`` float64 [bin]; ``pooled_statistic`` float64 [group]. With
        "cluster" also ``p_cluster`` (1 outside clusters), ``cluster`` int64 (labels as in `clusters.clusters`) and
        ``cluster_mass`` float64 [feature], and ``null_cluster`` float64 [draw]; with "tfce" ``p_tfce`` and ``tfce``
        float64 [feature], and ``null_tfce`` float64 [draw].

    Raises
    ------
    PlanError
        If a setting is unknown or does not fit the values.
    """
    both_signs = np.stack([values, -values], axis=1)
    draws = Exchanges.plan(labels, n, seed, list_up_to=list_up_to(correct))
    return exchange_test(both_signs, draws, tail=tail, correct=correct, graph=graph, threshold=threshold, groups=groups)


def exchange_test(
    variants: NDArray[np.floating],
    draws: Exchanges,
    *,
    tail: Tail = "two-sided",
    correct: Sequence[str] = ("fdr", "max"),
    graph: "csr_array[Any] | None" = None,
    threshold: float | None = None,
    groups: Integers | None = None,
    counts: Integers | None = None,
) -> dict[str, NDArray[Any]]:
    """
    Test of the mean over units that under the hypothesis show each of their variants with equal probability.

    Parameters
    ----------
    variants : float [unit, variant, feature]
        Variant 0 is what was observed. Equal probability of all makes the test exact if the variants of a unit are
        those of a group, as sign flips and label permutations are.
    draws : Exchanges
    tail, correct, graph, threshold, groups
        As `sign_flip_test`.
    counts : int64 [unit, feature], optional
        Dyads behind each unit, where units are blocks of dyads that are exchanged together: variants are then sums
        over the dyads of a block, and the mean is over dyads. The t of clusters is that of the blocks' sums.

    Returns
    -------
    dict of arrays
        As `sign_flip_test`.
    """
    check_corrections(correct)
    if tail not in get_args(Tail):
        raise PlanError(f"tail={tail!r} is unknown; valid are {', '.join(map(repr, get_args(Tail)))}")
    n_features = variants.shape[2]
    if variants.shape[:2] != (len(draws), draws.n_variants):
        raise PlanError(f"values have {variants.shape[0]} rows for {len(draws)} labels; give one label per row")
    test = _Test(variants, draws, tail, np.zeros(n_features, np.int64) if groups is None else groups, counts)
    maps = _Maps(test, correct, graph, threshold)
    added = _count(test, maps)
    return test.values() | _p_values(test, added, correct) | maps.p_values() | _null(test, added)


class _Test:
    """
    Sums that turn the variants of a draw into its statistics; features that are not tested are left out.

    Attributes
    ----------
    tested : int64 [tested feature]
        Features with at least two units, ascending by their evidence.
    z, tolerance, evidence : float64 [tested feature]
        Observed standardised mean, its tie tolerance, and z turned so that large is evidence.
    """

    def __init__(
        self,
        variants: NDArray[np.floating],
        draws: Exchanges,
        tail: Tail,
        groups: Integers,
        counts: Integers | None = None,
    ) -> None:
        if groups.shape != (variants.shape[2],):
            raise PlanError(
                f"groups has shape {groups.shape} for {variants.shape[2]} features; give one group per feature"
            )
        self.draws, self.tail, self.groups = draws, tail, groups
        self.n_features = variants.shape[2]
        present = np.isfinite(variants).all(axis=1)
        n_units: Integers = present.sum(axis=0).astype(np.int64)
        self.n_dyads: Integers = n_units if counts is None else np.where(present, counts, 0).sum(axis=0)
        filled = np.where(present[:, None], variants, 0.0).astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = filled.mean(axis=1).sum(axis=0) / self.n_dyads
            sd = np.sqrt(filled.var(axis=1).sum(axis=0)) / self.n_dyads
            statistic = filled[:, 0].sum(axis=0) / self.n_dyads
        tolerance = tie_tolerance(statistic, variants.dtype)
        varies = sd > tolerance
        scale = np.divide(1.0, sd, out=np.zeros_like(sd), where=varies)
        z = (statistic - mean) * scale
        tested = np.flatnonzero(n_units >= LEAST_UNITS)
        self.tested = tested[np.argsort(self.orient(z[tested]), kind="stable")]
        self.statistic, self.mean, self.sd, self.z = (v[self.tested] for v in (statistic, mean, sd, z))
        self.tolerance = np.where(varies, tolerance * scale, 1.0)[self.tested]
        self.evidence = self.orient(self.z)
        self.n, self.n_units = self.n_dyads[self.tested], n_units[self.tested]
        self.filled = filled[:, :, self.tested]
        centred = self.filled - self.filled.mean(axis=1, keepdims=True)
        self._z_table = _flat(centred * (scale[self.tested] / self.n))

    def orient(self, z: Floats) -> Floats:
        """z, -z or absolute z: large is evidence."""
        if self.tail == "greater":
            return z
        return -z if self.tail == "less" else np.abs(z)

    def blocks(self) -> Iterator[tuple[int, Floats]]:
        """First number and choice of variants (1 where chosen) of consecutive draws: float64 [draw, unit x variant]."""
        n_rows = max(64, _BLOCK_VALUES // max(1, self.n_features))
        for start in range(1, self.draws.n + 1, n_rows):
            yield start, self.choices(start, min(start + n_rows, self.draws.n + 1))

    def choices(self, start: int, stop: int) -> Floats:
        """Choice of variants in draws `start` to `stop` - 1."""
        chosen = self.draws.variants(start, stop)[:, :, None] == np.arange(self.draws.n_variants)
        return _flat(chosen.astype(np.float64).transpose(1, 2, 0)).T

    def z_of(self, choices: Floats) -> Floats:
        """Standardised mean of each draw: float64 [draw, tested feature]."""
        return np.asarray(choices @ self._z_table)

    def t_of(self, choices: Floats) -> Floats:
        """One-sample t of each draw: float64 [draw, feature], NaN for a feature that is not tested."""
        mean = choices @ _flat(self.filled) / self.n_units
        square = choices @ _flat(self.filled**2) / self.n_units
        # Where all units agree the spread is 0; a t of a million keeps its place as the largest.
        spread = np.sqrt(np.maximum(square - mean**2, 1e-12 * square))
        t = np.divide(np.sqrt(self.n_units - 1) * mean, spread, out=np.zeros_like(mean), where=spread > 0)
        return self.spread(t, np.nan)

    def spread(self, counted: NDArray[Any], missing: float) -> NDArray[Any]:
        """Values [..., tested feature] in the order of all features, `missing` elsewhere."""
        out = np.full((*counted.shape[:-1], self.n_features), missing, dtype=counted.dtype)
        out[..., self.tested] = counted
        return out

    @cached_property
    def pooled(self) -> Floats:
        """Contribution of each unit's variants to the mean over a group's features: float64 [unit x variant, group]."""
        member = (self.groups[self.tested, None] == np.arange(self.groups.max(initial=0) + 1)).astype(np.float64)
        n_values = self.n @ member
        return _flat(self.filled @ np.divide(member, n_values, out=np.zeros_like(member), where=n_values > 0))

    @cached_property
    def reach(self) -> float:
        """No draw can put a group's mean further from 0 than this."""
        by_unit = np.abs(self.pooled).reshape(len(self.draws), self.draws.n_variants, -1).max(axis=1)
        return float(by_unit.sum(axis=0).max(initial=0.0)) or 1.0

    def values(self) -> dict[str, NDArray[Any]]:
        """What is known of each feature without a draw."""
        found = {"group_statistic": self.statistic, "group_null_mean": self.mean, "group_null_sd": self.sd}
        z = np.where(self.sd > 0, self.z, np.nan)
        return {name: self.spread(v, np.nan) for name, v in (found | {"group_z": z}).items()} | {
            "n_dyads": self.n_dyads
        }


@dataclass
class _Counts:
    """What the draws add up to; tested features ascending by their evidence."""

    exceedances: Exceedances
    step_down: StepDown
    maxima: Maxima
    histogram: Histogram


def _count(test: _Test, maps: "_Maps") -> _Counts:
    n = len(test.tested)
    counts = _Counts(
        Exceedances.zeros(n),
        StepDown.zeros(n),
        Maxima.empty(1, test.draws.n + 1),
        Histogram.zeros(test.pooled.shape[1], OUTPUT_BINS),
    )
    low, high = test.evidence - test.tolerance, test.evidence + test.tolerance
    for start, choices in test.blocks():
        counts.histogram.add((choices @ test.pooled / test.reach + 1) / 2)
        maps.add(start, choices)
        if n:
            evidence, largest = test.orient(test.z_of(choices)), np.full(len(choices), -np.inf)
            counts.exceedances.add(evidence, low, high)
            counts.step_down.add(evidence, low, largest)
            counts.maxima.add(start, largest)
    return counts


def _p_values(test: _Test, counts: _Counts, correct: Sequence[str]) -> dict[str, NDArray[Any]]:
    n, missing = test.draws.n, np.full(test.n_features, np.nan)
    b = test.spread(counts.exceedances.at_least, -1)
    p = p_value(b, n)
    low, high = clopper_pearson(b, n)
    single = single_step_p(test.evidence, counts.maxima.values, test.tolerance)
    false_discovery = adjust_fdr(p, "by" if "fdr_by" in correct else "bh")
    return {
        "exceedances": b,
        "n_near_ties": test.spread(counts.exceedances.n_near_ties, 0),
        "p": p,
        "p_low": p if test.draws.exact else low,
        "p_high": p if test.draws.exact else high,
        "p_fdr": false_discovery if {"fdr", "fdr_by"} & set(correct) else missing,
        "p_max": test.spread(step_down_p(counts.step_down.counts, n), np.nan) if "max" in correct else missing,
        "p_max_single": test.spread(single, np.nan) if "max" in correct else missing,
    }


def _null(test: _Test, counts: _Counts) -> dict[str, NDArray[Any]]:
    centre = (np.arange(OUTPUT_BINS) + 0.5) / OUTPUT_BINS
    return {
        "null_max": counts.maxima.values.astype(np.float32),
        "null_hist": counts.histogram.counts,
        "hist_center": test.reach * (2 * centre - 1),
        "pooled_statistic": (test.choices(0, 1) @ test.pooled)[0],
    }


class _Maps:
    """Largest cluster mass and largest enhanced statistic of every draw, where they were asked for."""

    def __init__(
        self, test: _Test, correct: Sequence[str], graph: "csr_array[Any] | None", threshold: float | None
    ) -> None:
        self.test = test
        self.largest = {name: np.zeros(test.draws.n) for name in ("cluster", "tfce") if name in correct}
        if not self.largest:
            return
        if graph is None:
            raise PlanError(
                f"correct names {next(iter(self.largest))!r}, which needs to know the neighbours of each feature: "
                "give graph"
            )
        if graph.shape != (test.n_features, test.n_features):
            raise PlanError(f"graph has shape {graph.shape} for {test.n_features} features; give one row per feature")
        if threshold is not None and not 0 < threshold < np.inf:
            raise PlanError(f"threshold={threshold!r} is not a positive number; give a t such as 2.1")
        self.graph = graph
        self.threshold = t_threshold(len(test.draws), test.tail) if threshold is None else threshold

    def add(self, start: int, choices: Floats) -> None:
        """File the largest mass and score of draws `start`, `start` + 1, ..."""
        if not self.largest:
            return
        t = self.test.t_of(choices)
        rows = slice(start - 1, start - 1 + len(t))
        if "cluster" in self.largest:
            masses = cluster_masses(t, self.graph, self.threshold)
            self.largest["cluster"][rows] = largest(*masses, self.test.tail)
        if "tfce" in self.largest:
            score = np.nan_to_num(tfce(t, self.graph))
            positive, negative = (np.max(s, axis=1, initial=0.0) for s in (score, -score))
            self.largest["tfce"][rows] = largest(positive, negative, self.test.tail)

    def p_values(self) -> dict[str, NDArray[Any]]:
        """The corrected p of each feature, and the clusters and scores behind it."""
        out: dict[str, NDArray[Any]] = {}
        if not self.largest:
            return out
        t = self.test.t_of(self.test.choices(0, 1))[0]
        if "cluster" in self.largest:
            label, mass = clusters(t, self.graph, self.threshold)
            out |= {"cluster": label, "cluster_mass": mass, "p_cluster": self._p(mass, t, "cluster")}
        if "tfce" in self.largest:
            score = tfce(t[None], self.graph)[0]
            out |= {"tfce": score, "p_tfce": self._p(score, t, "tfce")}
        return out | {f"null_{name}": values for name, values in self.largest.items()}

    def _p(self, observed: Floats, t: Floats, name: str) -> Floats:
        evidence = np.where(np.isnan(t), np.nan, self.test.orient(observed))
        return single_step_p(evidence, self.largest[name], _RELATIVE_TIE * np.abs(evidence))


def t_threshold(n_units: int, tail: Tail, *, p: float = 0.05) -> float:
    """Quantile of Student's t with n - 1 degrees of freedom that is passed with probability p in the chosen tail."""
    from scipy.special import stdtrit

    return float(stdtrit(n_units - 1, 1 - p / (2 if tail == "two-sided" else 1)))


def _flat(variants: NDArray[Any]) -> NDArray[Any]:
    """[unit, variant, ...] as [unit x variant, ...]."""
    return variants.reshape(variants.shape[0] * variants.shape[1], *variants.shape[2:])
