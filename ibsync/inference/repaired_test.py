"""From a null to p-values: exceedances, false discovery rate, maximum statistic; host arrays only.

`repair_test` runs the whole group test of the re-pairing null. The small functions before it hold for every null.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from ..nulls.repaired_null import Null, group_means
from ..nulls.repairing import real_cells
from ..nulls.tails import Tail
from .clusters import neighbour_p
from .p_values import adjust_fdr, check_corrections, clopper_pearson, p_value, single_step_p, step_down_p
from .repaired_counts import Counts, GroupTest, Progress, n_cores

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


# Draws whose z of all features are held at a time.
_MAP_VALUES = 1 << 21


def dyad_summary(null: Null) -> dict[str, NDArray[Any]]:
    """
    Each real dyad against the re-paired partners of its own two people.

    The reference of dyad i is ``C[i, j]`` and ``C[j, i]`` for all j of its block other than i; where roles may be
    exchanged, either of its people with everybody else of the block. These values share people, so z and percentile
    describe a dyad; they are not tests.

    Parameters
    ----------
    null : Null

    Returns
    -------
    dict of float64 [session, dyad, feature]
        ``statistic`` (the real value behind z), ``null_mean``, ``null_sd`` (divided by n - 1), ``z``, and
        ``percentile``: share, in percent, of the real and re-paired values that the real one reaches.
    """
    shape = (len(null.sessions), len(null.design), null.n_features)
    out = {name: np.full(shape, np.nan) for name in ("statistic", "null_mean", "null_sd", "z", "percentile")}
    for block in null.design.blocks:
        for dyad in block:
            together, others = null.design.rivals(int(dyad), block)
            for session, values in enumerate(null.pair_values):
                own, partners = values[together].astype(np.float64), values[others].astype(np.float64)
                for name, row in _against_partners(own, partners).items():
                    out[name][session, dyad] = row
    return out


def _against_partners(own: Floats, partners: Floats) -> dict[str, Floats]:
    """One dyad in one session, float64 [feature] each, from own [feature] and partners [pair, feature]."""
    present = np.isfinite(partners)
    n = present.sum(axis=0)
    missing = np.full(own.shape, np.nan)
    mean = np.divide(np.where(present, partners, 0.0).sum(axis=0), n, out=missing.copy(), where=n > 0)
    squares = np.where(present, (partners - mean) ** 2, 0.0).sum(axis=0)
    sd = np.sqrt(np.divide(squares, n - 1, out=missing.copy(), where=n > 1))
    reached = (partners <= own).sum(axis=0) + 1
    return {
        "statistic": own,
        "null_mean": mean,
        "null_sd": sd,
        "z": np.divide(own - mean, sd, out=missing.copy(), where=sd > 0),
        "percentile": np.where(np.isfinite(own) & (n > 0), 100.0 * reached / (n + 1), np.nan),
    }


def repair_test(
    null: Null,
    *,
    correct: Sequence[str] = ("fdr", "max"),
    tail: Tail = "greater",
    groups: Integers | None = None,
    graph: "csr_array[Any] | None" = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> dict[str, NDArray[Any]]:
    """
    Group test of the re-pairing null: the mean over real dyads against the mean over re-paired ones.

    Parameters
    ----------
    null : Null
    correct : sequence of str
        Names of `CORRECTIONS`; p-values that were not asked for are NaN.
    tail : {"greater", "less", "two-sided"}
        For two-sided, p is twice the smaller one-sided p, and the maximum statistic is the largest ``|z|``.
    groups : int64 [feature], optional
        Group 0..G-1 of each feature (epoch x band, say): the histograms count the mean over a group's features.
        Default one group.
    graph : csr_array [feature, feature], optional
        Which features are neighbours, from `clusters.feature_graph`; needed for "cluster" and "tfce".
    workers : int, optional
        Threads; default one per core, at most four. Without effect on the result.
    progress : callable, optional
        Called with the draws done and the draws in all.

    Returns
    -------
    dict of arrays [feature]
        ``group_statistic, group_null_mean, group_null_sd, group_z`` float64; ``exceedances`` int64 (for two-sided
        those of the smaller tail; -1 where nothing was tested); ``p, p_low, p_high`` (95 % Clopper-Pearson; equal
        to p when all re-pairings are listed), ``p_fdr, p_max`` (step-down), ``p_max_single`` (single-step) float64;
        ``n_dyads, n_near_ties`` int64. Of other shapes: ``null_max`` float32 [draw], the largest z of each draw;
        ``null_hist`` int64 [group, bin] over [0, 1]; ``pooled_statistic`` float64 [group], the real mean to be marked
        in the histogram. Where asked for: ``cluster`` int64 (0 outside clusters, its sign that of z), ``p_cluster``
        (1 outside clusters) and ``p_tfce`` float64.
    """
    check_corrections(correct)
    if tail not in get_args(Tail):
        raise PlanError(f"tail={tail!r} is unknown; valid are {', '.join(map(repr, get_args(Tail)))}")
    test = GroupTest(null, tail, np.zeros(null.n_features, np.int64) if groups is None else groups)
    counts = test.count_all(workers or n_cores(), progress)
    found = _group_values(test) | _group_p(test, counts, correct) | _group_null(test, counts)
    wanted = {"cluster", "tfce"} & set(correct)
    if not wanted:
        return found
    assert graph is not None, "cluster and tfce need the graph of neighbours"
    maps = _maps_of_draws(test)
    return found | neighbour_p(test.z, maps, graph, tail, draws_of=null.draws.n, wanted=wanted)


def _maps_of_draws(test: GroupTest) -> Iterator[Floats]:
    """Standardised statistics of all features for one range of draws after another, [draw, feature]."""
    n, size = test.null.draws.n, max(1, _MAP_VALUES // max(1, test.null.n_features))
    for start in range(1, n + 1, size):
        yield test.maps(start, min(start + size, n + 1))


def _group_values(test: GroupTest) -> dict[str, NDArray[Any]]:
    look = test.features
    return {
        "group_statistic": look.statistic,
        "group_null_mean": look.mean,
        "group_null_sd": look.sd,
        "group_z": np.divide(look.statistic - look.mean, look.sd, out=np.full_like(look.sd, np.nan), where=look.sd > 0),
        "n_dyads": look.n_dyads,
    }


def _group_p(test: GroupTest, counts: Counts, correct: Sequence[str]) -> dict[str, NDArray[Any]]:
    draws, missing = test.null.draws, np.full(test.null.n_features, np.nan)
    b, sides = _tail_exceedances(test, counts)
    p = np.minimum(1.0, sides * p_value(b, draws.n))
    low, high = (np.minimum(1.0, sides * limit) for limit in clopper_pearson(b, draws.n))
    single = single_step_p(test.oriented, counts.maxima.values, test.tolerance)
    # Doubling puts a two-sided p above the |z| maximum's; a corrected p is no smaller than the plain one.
    step_down = np.fmax(p, test.spread(step_down_p(counts.step_down.counts, draws.n), np.nan))
    false_discovery = adjust_fdr(p, "by" if "fdr_by" in correct else "bh")
    return {
        "exceedances": b,
        "n_near_ties": test.spread(counts.exceedances.n_near_ties, 0),
        "p": p,
        "p_low": p if draws.exact else low,
        "p_high": p if draws.exact else high,
        "p_fdr": false_discovery if {"fdr", "fdr_by"} & set(correct) else missing,
        "p_max": step_down if "max" in correct else missing,
        "p_max_single": np.fmax(p, single) if "max" in correct else missing,
    }


def _tail_exceedances(test: GroupTest, counts: Counts) -> tuple[Integers, int]:
    """Draws in the tested tail of each feature, and by how many tails the p is multiplied."""
    upper, lower = counts.exceedances.at_least, counts.exceedances.at_most
    if test.tail == "two-sided":
        return test.spread(np.minimum(upper, lower), -1), 2
    return test.spread(upper if test.tail == "greater" else lower, -1), 1


def _group_null(test: GroupTest, counts: Counts) -> dict[str, NDArray[Any]]:
    real = group_means(test.pooled, real_cells(test.null.design))[0]
    return {
        "null_max": counts.maxima.values.astype(np.float32),
        "null_hist": counts.histogram.counts,
        "pooled_statistic": real,
    }
