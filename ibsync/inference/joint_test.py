"""Several statistics of one study that share their draws, tested together: family-wise p, and one test of them all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..nulls.repaired_null import PairSums, RepairedNull, group_means
from ..nulls.tails import Tail, n_sides, oriented
from .permutation_test import ListedStatistic, permutation_test
from .settings import TestSettings

Floats = NDArray[np.float64]

NULL_RANGE = (0.025, 0.975)
"""Part of its draws between which the null range of a statistic lies."""

# Values that are worked on at a time.
_CHUNK = 1 << 21
_DRAWS = 1 << 13


@dataclass(frozen=True)
class JointTest:
    """
    What came out for each of V statistics, and for all of them.

    Parameters
    ----------
    statistic, mean, sd, z : float64 [statistic]
        Observed value, mean and standard deviation of all draws with the observed one among them, and their z.
    low, high : float64 [statistic]
        `NULL_RANGE` of the draws.
    p, p_max : float64 [statistic]
        Of each statistic alone; family-wise over all (step-down maximum of z). NaN where nothing was observed.
    median_z, median_p : float
        Median z over the statistics, and its p among the medians of the draws.
    share, share_p : float
        Share of statistics with p <= alpha, and the p of a share so large.
    """

    statistic: Floats
    mean: Floats
    sd: Floats
    z: Floats
    low: Floats
    high: Floats
    p: Floats
    p_max: Floats
    median_z: float
    median_p: float
    share: float
    share_p: float


def joint_test(values: Floats, *, tail: Tail = "greater", alpha: float = 0.05) -> JointTest:
    """
    Test statistics that were computed from the same draws.

    The family-wise p is that of the step-down maximum (Westfall and Young 1993); the one test of all is that of the
    median z (after Simonsohn, Simmons and Nelson 2020, *Nat. Hum. Behav.* 4:1208, whose bootstrap the draws replace).

    Parameters
    ----------
    values : float64 [draw, statistic]
        Draw 0 is the observed one. All statistics of a draw come from one re-pairing, or one set of surrogates.
        Computed in float32, which says what a tie is.
    tail : {"greater", "less", "two-sided"}
    alpha : float
        Level of the share.

    Returns
    -------
    JointTest
    """
    # Mean and sd are those of all draws, draw 0 included. They do not change when draws change places, so that under
    # the hypothesis the rows of z are as exchangeable as the rows of `values`, and so are their maxima and medians:
    # the rank of row 0 among them is an exact p. Moments of draws 1 to m alone would treat row 0 unlike the others.
    statistic = ListedStatistic(values)
    standard = statistic.observed
    found = permutation_test(statistic, TestSettings(tail=tail, alpha=alpha, correct=("max",)))
    present, slack, z = np.isfinite(values), standard.z_tolerance, standard.z(values)
    medians = _row_medians(z)
    median_slack = float(slack[standard.scale > 0].max(initial=0.0))
    share = _hits(z, present, slack, tail, alpha) / max(1, int(present.any(axis=0).sum()))
    low, high = _null_range(values, present)
    return JointTest(
        statistic=values[0], mean=standard.mean, sd=standard.sd, z=z[0], low=low, high=high,
        p=found["p"], p_max=found["p_max"],
        median_z=float(medians[0]), median_p=float(_ranks(oriented(medians, tail), median_slack)[0]),
        share=float(share[0]), share_p=float(_ranks(share, 0.0)[0]),
    )  # fmt: skip


def _null_range(values: Floats, present: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """`NULL_RANGE` of each statistic over all its draws, NaN without any."""
    out = np.full((2, values.shape[1]), np.nan)
    for v, column in enumerate(values.T):
        if present[:, v].any():
            out[:, v] = np.quantile(column[present[:, v]], NULL_RANGE)
    return out[0], out[1]


def _ranks(evidence: Floats, slack: float) -> Floats:
    """Rank every draw as if it were the observed one: p is the share of draws, itself included, that reach it."""
    below = np.searchsorted(np.sort(evidence), evidence - slack, side="left")
    return np.asarray((len(evidence) - below) / len(evidence))


def _hits(z: Floats, present: NDArray[np.bool_], slack: Floats, tail: Tail, alpha: float) -> NDArray[np.int64]:
    """Number of statistics with p <= alpha in each draw, taken as if it were the observed one: int64 [draw]."""
    hits = np.zeros(len(z), np.int64)
    for v, column in enumerate(z.T):
        # A draw without a value is no evidence on either side.
        sides = [_ranks(np.where(present[:, v], sign * column, -np.inf), slack[v]) for sign in _SIGNS[tail]]
        hits += present[:, v] & (n_sides(tail) * np.min(sides, axis=0) <= alpha * (1 + 1e-12))
    return hits


_SIGNS: dict[Tail, tuple[int, ...]] = {"greater": (1,), "less": (-1,), "two-sided": (1, -1)}


def _row_medians(z: Floats) -> Floats:
    """Median over the statistics that a draw has: float64 [draw]; 0 where it has none."""
    out = np.empty(len(z))
    for rows in _chunks(z):
        without = np.isnan(z[rows]).all(axis=1, keepdims=True)
        out[rows] = np.nanmedian(np.where(without, 0.0, z[rows]), axis=1)
    return out


def _chunks(z: Floats) -> list[slice]:
    step = max(1, _CHUNK // z.shape[1])
    return [slice(start, start + step) for start in range(0, len(z), step)]


def pooled_pairs(null: RepairedNull, groups: NDArray[np.int64]) -> PairSums:
    """
    Values of every pair of people pooled over the features of each group.

    Parameters
    ----------
    null : RepairedNull
    groups : int64 [feature]
        Group 0..G-1 of each feature.

    Returns
    -------
    PairSums
        Sums and counts over sessions and features, float64 [pair, group].
    """
    n_groups = int(groups.max()) + 1
    total = PairSums(*np.zeros((2, len(null.design.pairs), n_groups)))
    width = max(1, _CHUNK // len(null.design.pairs))
    for start in range(0, null.n_features, width):
        members = np.arange(start, min(start + width, null.n_features))
        part = null.pair_sums(members).pooled(groups[members], n_groups)
        total = PairSums(total.sums + part.sums, total.counts + part.counts)
    return total


def pooled_draws(null: RepairedNull, pooled: PairSums) -> Floats:
    """
    Group mean of every re-pairing, the real one first.

    Parameters
    ----------
    null : RepairedNull
    pooled : PairSums
        From `pooled_pairs`.

    Returns
    -------
    float64 [draw, group]
        The mean over dyads, sessions and the features of the group; NaN where a draw has no value.
    """
    out = np.empty((null.draws.n + 1, pooled.sums.shape[1]))
    for start in range(0, len(out), _DRAWS):
        stop = min(start + _DRAWS, len(out))
        out[start:stop] = group_means(pooled, null.design.pairs_of(null.draws.take(start, stop)))
    return out
