"""From a null to p-values: exceedances, false discovery rate, maximum statistic; host arrays only.

`repair_test` runs the whole group test of the re-pairing null. The small functions before it hold for every null.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from .clusters import cluster_masses, clusters, largest, tfce
from .grouptest import Counts, GroupTest, Progress, Tail, n_cores
from .surrogates import Null, Repairing, group_means, real_cells

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

CORRECTIONS = ("fdr", "fdr_by", "max", "cluster", "tfce")
"""Benjamini-Hochberg, Benjamini-Yekutieli, step-down maximum statistic, cluster mass, threshold-free enhancement."""

CLUSTER_P = 0.05
"""A feature may belong to a cluster when its z alone would have a p below this."""

# Draws whose z of all features are held at a time.
_MAP_VALUES = 1 << 21


def p_value(exceedances: Integers, n_draws: int | Integers) -> Floats:
    """
    Monte Carlo p-value (b + 1) / (m + 1), never 0 as the real pairing is a draw too (Phipson and Smyth 2010).

    With every element of the group listed this is the exact p, b counting the elements other than the real one.

    Parameters
    ----------
    exceedances : int64 [...]
        Draws b that reach the observed statistic; negative where nothing was tested.
    n_draws : int or int64 [...]
        Draws m beside the real one.

    Returns
    -------
    float64 [...]
        NaN where nothing was tested.
    """
    return np.where(exceedances >= 0, (exceedances + 1) / (n_draws + 1), np.nan)


def clopper_pearson(exceedances: Integers, n_draws: int | Integers, *, level: float = 0.95) -> tuple[Floats, Floats]:
    """
    Clopper-Pearson limits of the probability that a draw reaches the observed statistic.

    Parameters
    ----------
    exceedances : int64 [...]
        Draws that did; negative where nothing was tested.
    n_draws : int or int64 [...]
        Draws in all.
    level : float
        Coverage of the interval.

    Returns
    -------
    low, high : float64 [...]
        NaN where nothing was tested.
    """
    from scipy.special import betaincinv

    b = exceedances.astype(np.float64)
    outside = (1 - level) / 2
    low = np.where(b > 0, betaincinv(np.maximum(b, 1), n_draws - b + 1, outside), 0.0)
    high = np.where(b < n_draws, betaincinv(b + 1, np.maximum(n_draws - b, 1), 1 - outside), 1.0)
    tested = exceedances >= 0
    return np.where(tested, low, np.nan), np.where(tested, high, np.nan)


def adjust_fdr(p: Floats, method: Literal["bh", "by"] = "bh") -> Floats:
    """
    p-values adjusted for the false discovery rate over all features that were tested.

    Parameters
    ----------
    p : float64 [...]
        NaN is left out of the count and stays NaN.
    method : {"bh", "by"}
        Benjamini-Hochberg (valid under positive dependence) or Benjamini-Yekutieli (under any).

    Returns
    -------
    float64 [...]
    """
    from scipy.stats import false_discovery_control

    adjusted = np.full(p.shape, np.nan)
    tested = np.isfinite(p)
    if tested.any():
        adjusted[tested] = false_discovery_control(p[tested], method=method)
    return adjusted


def single_step_p(statistic: Floats, null_max: Floats, tolerance: Floats) -> Floats:
    """
    Family-wise p-value of each feature against the largest statistic of each draw, in a single step.

    Parameters
    ----------
    statistic, tolerance : float64 [feature]
        Observed statistic on the scale of the maxima, and its tie tolerance.
    null_max : float64 [draw]

    Returns
    -------
    float64 [feature]
    """
    reached = len(null_max) - np.searchsorted(np.sort(null_max), statistic - tolerance, side="left")
    return np.where(np.isfinite(statistic), p_value(reached, len(null_max)), np.nan)


def step_down_p(counts: Integers, n_draws: int) -> Floats:
    """
    Family-wise p-value of the step-down maximum statistic, monotone from the largest statistic to the smallest.

    Parameters
    ----------
    counts : int64 [feature]
        From `accumulate.StepDown`, features ascending by their observed statistic.
    n_draws : int

    Returns
    -------
    float64 [feature]
    """
    falling = p_value(counts, n_draws)[::-1]
    return np.maximum.accumulate(falling)[::-1]


def check_corrections(correct: Sequence[str]) -> None:
    """Refuse a correction that does not exist, or two for one false discovery rate."""
    unknown = [name for name in correct if name not in CORRECTIONS]
    if unknown or isinstance(correct, str):
        wrong = repr(correct) if isinstance(correct, str) else repr(unknown[0])
        raise PlanError(f"correct={wrong} is not a list of corrections; valid are {', '.join(map(repr, CORRECTIONS))}")
    if {"fdr", "fdr_by"} <= set(correct):
        raise PlanError("correct names both 'fdr' and 'fdr_by'; choose one of them before seeing the result")


def shortfall(
    n_draws: int,
    n_features: int,
    correct: Sequence[str],
    *,
    alpha: float = 0.05,
    sides: int = 1,
    listed: Repairing | None = None,
) -> str:
    """
    Why a lone finding could not be seen with these draws, in one sentence; empty if it could.

    A lone finding among V features survives a false discovery rate only if V / (m + 1) <= alpha (with
    Benjamini-Yekutieli V times the harmonic sum), and a maximum statistic or a plain p only if 1 / (m + 1) <= alpha.

    Parameters
    ----------
    n_draws : int
        Draws m beside the real one.
    n_features : int
        Features V that are tested together.
    correct : sequence of str
        Names of `CORRECTIONS`.
    alpha : float
        Level at which a finding is wanted.
    sides : int
        2 where p is twice that of the smaller tail.
    listed : Repairing, optional
        The design, where the draws are all of its re-pairings.

    Raises
    ------
    PlanError
        If a correction is unknown.
    """
    check_corrections(correct)
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha < 1:
        raise PlanError(f"alpha={alpha!r} must be a number between 0 and 1")
    factor = max((_family_factor(name, n_features) for name in correct), default=1.0)
    needed = ceil(sides * factor / alpha * (1 - 1e-12))
    if n_draws + 1 >= needed:
        return ""
    why = f"{n_features} features tested with {', '.join(map(repr, correct)) or 'no correction'} at alpha={alpha:g}"
    if listed is not None:
        n_dyads = _dyads_for(needed, listed.ways)
        return (
            f"{why} need {needed} re-pairings, but {len(listed)} dyads allow only {n_draws + 1} "
            f"(smallest p {sides / (n_draws + 1):.3g}); record at least {n_dyads} dyads in one block "
            "or test fewer features"
        )
    return (
        f"{why} need n={needed - 1} draws, {n_draws} were asked for; "
        "ask for more, test fewer features, or correct with 'max'"
    )


def hopeless(why: Callable[[Sequence[str]], str], correct: Sequence[str]) -> str:
    """
    Which corrections no single finding could pass, and why; empty if there is none.

    Parameters
    ----------
    why : callable
        Why a lone finding could not be seen with some corrections, as `shortfall` says it.
    correct : sequence of str
        Corrections wanted; with none of them a plain p is meant.
    """
    short = [name for name in correct if why([name])]
    if not correct and why([]):
        return f"no single finding could pass: {why([])}"
    return f"no single finding could pass {' or '.join(map(repr, short))}: {why(short)}" if short else ""


def _family_factor(name: str, n_features: int) -> float:
    """How many times the smallest p is multiplied for a lone finding."""
    if name not in ("fdr", "fdr_by"):
        return 1.0
    harmonic = float(np.sum(1.0 / np.arange(1, n_features + 1))) if name == "fdr_by" else 1.0
    return n_features * harmonic


def _dyads_for(needed: int, ways: Callable[[int], int]) -> int:
    """Smallest number of dyads that can be paired in at least `needed` ways."""
    n = 1
    while ways(n) < needed:
        n += 1
    return n


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


def neighbour_p(
    z: Floats,
    drawn: Iterable[Floats],
    graph: "csr_array[Any]",
    tail: Tail,
    *,
    draws_of: int,
    wanted: Collection[str],
) -> dict[str, NDArray[Any]]:
    """
    Family-wise p-values of clusters and of enhanced features, against the largest of each draw.

    Parameters
    ----------
    z : float64 [feature]
        Observed standardised statistic; NaN belongs to no cluster.
    drawn : iterable of float64 [draw, feature]
        Those of the draws.
    graph : csr_array [feature, feature]
        From `clusters.feature_graph`.
    tail : {"greater", "less", "two-sided"}
        For two-sided a draw puts up the larger of its two signs.
    draws_of : int
        Number of draws.
    wanted : collection of {"cluster", "tfce"}

    Returns
    -------
    dict of arrays [feature]
        ``cluster`` int64 and ``p_cluster`` float64 (Maris and Oostenveld 2007); ``p_tfce`` float64 (Smith and Nichols
        2009).
    """
    from scipy.special import ndtri

    threshold = float(ndtri(1 - CLUSTER_P / (2 if tail == "two-sided" else 1)))
    masses, scores = np.zeros((2, draws_of))
    done = 0
    for values in drawn:
        here = slice(done, done + len(values))
        if "cluster" in wanted:
            masses[here] = largest(*cluster_masses(values, graph, threshold), tail)
        if "tfce" in wanted:
            enhanced = np.nan_to_num(tfce(values, graph))
            scores[here] = largest(enhanced.max(axis=1), -enhanced.min(axis=1), tail)
        done += len(values)
    out: dict[str, NDArray[Any]] = {}
    if "cluster" in wanted:
        labels, mass = clusters(z, graph, threshold)
        inside = (labels != 0) & (largest(mass, -mass, tail) > 0)
        # Outside clusters the mass is 0, which every draw reaches.
        size = np.where(np.isnan(z), np.nan, np.where(inside, np.abs(mass), 0.0))
        out = {"cluster": np.where(inside, labels, 0), "p_cluster": single_step_p(size, masses, _slack(size))}
    if "tfce" in wanted:
        score = tfce(z[None], graph)[0]
        score = largest(score, -score, tail)
        out["p_tfce"] = single_step_p(score, scores, _slack(score))
    return out


def _slack(statistic: Floats) -> Floats:
    """Sums of the same terms in another order differ by this much at most."""
    return np.asarray(1e-9 * np.maximum(1.0, np.abs(statistic)))


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
