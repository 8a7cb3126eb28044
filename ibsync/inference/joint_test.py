"""Several statistics of one study that share their draws, tested together: family-wise p, and one test of them all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..nulls.counts import StepDown, tie_tolerance
from ..nulls.repaired_null import Null, PairSums, group_means
from ..nulls.tails import Tail
from .p_values import step_down_p

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
    present = np.isfinite(values)
    mean, sd, low, high = _described(values, present)
    tolerance = tie_tolerance(values[0], np.dtype(np.float32))
    # Mean and sd are those of all draws, draw 0 included. They do not change when draws change places, so that under
    # the hypothesis the rows of z are as exchangeable as the rows of `values`, and so are their maxima and medians:
    # the rank of row 0 among them is an exact p. Moments of draws 1 to m alone would treat row 0 unlike the others.
    varies = sd > tolerance
    scale = np.divide(1.0, sd, out=np.zeros_like(sd), where=varies)
    z = (values - mean) * scale
    slack = np.where(varies, tolerance * scale, 1.0)
    p, hits = _each(z, present, slack, tail, alpha)
    p_max = np.fmax(p, _step_down(z, present, slack, tail))
    medians = _row_medians(z)
    median_slack = float(slack[varies].max(initial=0.0))
    share = hits / max(1, int(present.any(axis=0).sum()))
    return JointTest(
        statistic=values[0], mean=mean, sd=sd, z=z[0], low=low, high=high,
        p=p, p_max=np.where(present[0], p_max, np.nan),
        median_z=float(medians[0]), median_p=float(_ranks(_oriented(medians, tail), median_slack)[0]),
        share=float(share[0]), share_p=float(_ranks(share, 0.0)[0]),
    )  # fmt: skip


def _described(values: Floats, present: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats, Floats]:
    """Mean, sd and null range of each statistic over all its draws; NaN without any."""
    out = np.full((4, values.shape[1]), np.nan)
    for v, column in enumerate(values.T):
        drawn = column[present[:, v]]
        if drawn.size:
            out[:, v] = drawn.mean(), drawn.std(), *np.quantile(drawn, NULL_RANGE)
    return out[0], out[1], out[2], out[3]


def _oriented(z: Floats, tail: Tail) -> Floats:
    """Large is evidence."""
    if tail == "greater":
        return z
    return -z if tail == "less" else np.abs(z)


def _ranks(evidence: Floats, slack: float) -> Floats:
    """Rank every draw as if it were the observed one: p is the share of draws, itself included, that reach it."""
    below = np.searchsorted(np.sort(evidence), evidence - slack, side="left")
    return np.asarray((len(evidence) - below) / len(evidence))


def _each(
    z: Floats, present: NDArray[np.bool_], slack: Floats, tail: Tail, alpha: float
) -> tuple[Floats, NDArray[np.int64]]:
    """Observed p of each statistic, and in each draw the number of statistics with p <= alpha."""
    p, hits = np.full(z.shape[1], np.nan), np.zeros(len(z), np.int64)
    for v, column in enumerate(z.T):
        there = present[:, v]
        # A draw without a value is no evidence on either side.
        of_draws = [_ranks(np.where(there, sign * column, -np.inf), slack[v]) for sign in _SIGNS[tail]]
        both = np.minimum(1.0, len(of_draws) * np.min(of_draws, axis=0))
        hits += there & (both <= alpha * (1 + 1e-12))
        p[v] = both[0] if there[0] else np.nan
    return p, hits


_SIGNS: dict[Tail, tuple[int, ...]] = {"greater": (1,), "less": (-1,), "two-sided": (1, -1)}


def _step_down(z: Floats, present: NDArray[np.bool_], slack: Floats, tail: Tail) -> Floats:
    """Family-wise p of each statistic, without the bound by its own p."""
    observed = np.where(present[0], _oriented(z[0], tail), -np.inf)
    order = np.argsort(observed, kind="stable")
    counted = StepDown.zeros(len(order))
    for rows in _chunks(z):
        evidence = np.where(present[rows], _oriented(z[rows], tail), -np.inf)[:, order]
        counted.add(evidence, (observed - slack)[order], np.full(len(evidence), -np.inf))
    p = np.empty(len(order))
    # Draw 0 has been counted with the others; it is the 1 of (b + 1) / (m + 1).
    p[order] = step_down_p(counted.counts - 1, len(z) - 1)
    return p


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


def pooled_pairs(null: Null, groups: NDArray[np.int64]) -> PairSums:
    """
    Values of every pair of people pooled over the features of each group.

    Parameters
    ----------
    null : Null
    groups : int64 [feature]
        Group 0..G-1 of each feature.

    Returns
    -------
    PairSums
        Sums and counts over sessions and features, float64 [cell, group].
    """
    n_groups = int(groups.max()) + 1
    total = PairSums(*np.zeros((2, len(null.design.cells), n_groups)))
    width = max(1, _CHUNK // len(null.design.cells))
    for start in range(0, null.n_features, width):
        members = np.arange(start, min(start + width, null.n_features))
        part = null.pair_sums(members).pooled(groups[members], n_groups)
        total = PairSums(total.sums + part.sums, total.counts + part.counts)
    return total


def pooled_draws(null: Null, pooled: PairSums) -> Floats:
    """
    Group mean of every re-pairing, the real one first.

    Parameters
    ----------
    null : Null
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
        out[start:stop] = group_means(pooled, null.design.cells_of(null.draws.partners(start, stop)))
    return out
