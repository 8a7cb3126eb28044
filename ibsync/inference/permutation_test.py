"""p-values of any statistic whose draws can be computed: exceedances, false discovery rate, maximum, clusters."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from ..nulls.counts import Exceedances, Maxima, StepDown, tie_tolerance
from ..nulls.tails import Tail
from .clusters import neighbour_p
from .p_values import adjust_fdr, check_corrections, clopper_pearson, p_value, single_step_p, step_down_p

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Floats = NDArray[np.float64]
Statistic = Callable[[int, int], Floats]

_BLOCK_VALUES = 1 << 20


def drawn_test(
    statistic: Statistic,
    n: int,
    *,
    exact: bool,
    tail: Tail = "two-sided",
    correct: Sequence[str] = ("fdr", "max"),
    graph: "csr_array[Any] | None" = None,
) -> dict[str, NDArray[Any]]:
    """
    Test of every feature against the same statistic in n draws.

    Maxima, clusters and enhancement are those of z: the statistic less the mean over all draws, the observed one among
    them, by their standard deviation. As neither depends on which draw was observed, the test stays exact.

    Parameters
    ----------
    statistic : callable
        ``statistic(start, stop)`` gives draws `start` to `stop` - 1, float64 [draw, feature], draw 0 being observed.
        NaN where a draw has no value, which is no evidence.
    n : int
        Draws beside the observed one.
    exact : bool
        Whether these are all there are.
    tail : {"greater", "less", "two-sided"}
        For two-sided, p is twice the smaller one-sided p, and the maximum statistic is the largest ``|z|``.
    correct : sequence of str
        Names of `inference.CORRECTIONS`; p-values that were not asked for are NaN.
    graph : csr_array [feature, feature], optional
        From `clusters.feature_graph`; needed for "cluster" and "tfce".

    Returns
    -------
    dict of arrays [feature]
        As `inference.repair_test`, without histograms and `n_dyads`.

    Raises
    ------
    PlanError
        If the tail or a correction is unknown.
    """
    check_corrections(correct)
    if tail not in get_args(Tail):
        raise PlanError(f"tail={tail!r} is unknown; valid are {', '.join(map(repr, get_args(Tail)))}")
    test = _Test.of(statistic, n, tail)
    found = {
        "group_statistic": test.observed, "group_null_mean": test.mean, "group_null_sd": test.sd,
        "group_z": np.where(test.sd > 0, test.z, np.nan),
    } | _p_values(test, exact, correct)  # fmt: skip
    wanted = {"cluster", "tfce"} & set(correct)
    if not wanted:
        return found
    assert graph is not None, "cluster and tfce need the graph of neighbours"
    maps = (z for _, z in test.blocks())
    return found | neighbour_p(test.z, maps, graph, tail, draws_of=n, wanted=wanted)


@dataclass(frozen=True)
class _Test:
    """
    The statistic on the scale of z.

    Parameters
    ----------
    draw : callable
        As `statistic` of `drawn_test`.
    n : int
    tail : {"greater", "less", "two-sided"}
    observed, mean, sd, scale, z, tolerance : float64 [feature]
        NaN where nothing was observed. `scale` is 1 / sd, 0 where the spread is rounding; the tolerance is that of z.
    """

    draw: Statistic
    n: int
    tail: Tail
    observed: Floats
    mean: Floats
    sd: Floats
    scale: Floats
    z: Floats
    tolerance: Floats

    @classmethod
    def of(cls, draw: Statistic, n: int, tail: Tail) -> "_Test":
        observed = draw(0, 1)[0]
        mean, sd = _moments(draw, n, observed)
        tolerance = tie_tolerance(observed, np.dtype(np.float64))
        varies = sd > tolerance
        scale = np.divide(1.0, sd, out=np.zeros_like(sd), where=varies)
        slack = np.where(varies, tolerance * scale, 1.0)
        return cls(draw, n, tail, observed, mean, sd, scale, (observed - mean) * scale, slack)

    def blocks(self) -> Iterator[tuple[int, Floats]]:
        """First number and z of consecutive draws from 1 on: float64 [draw, feature]."""
        for start, stop in _ranges(1, self.n + 1, len(self.observed)):
            yield start, (self.draw(start, stop) - self.mean) * self.scale

    def orient(self, z: Floats) -> Floats:
        """z, -z or absolute z: large is evidence."""
        if self.tail == "greater":
            return z
        return -z if self.tail == "less" else np.abs(z)


def _ranges(start: int, stop: int, n_features: int) -> Iterator[tuple[int, int]]:
    n_rows = max(64, _BLOCK_VALUES // max(1, n_features))
    for first in range(start, stop, n_rows):
        yield first, min(first + n_rows, stop)


def _moments(draw: Statistic, n: int, observed: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation over draws 0 to n."""
    count, total, square = np.zeros((3, len(observed)))
    for start, stop in _ranges(0, n + 1, len(observed)):
        # Taken from the observed value, so that squares of large numbers are not subtracted.
        off = draw(start, stop) - observed
        present = np.isfinite(off)
        off = np.where(present, off, 0.0)
        count += present.sum(axis=0)
        total += off.sum(axis=0)
        square += (off**2).sum(axis=0)
    with np.errstate(invalid="ignore"):
        shift = total / count
        return observed + shift, np.sqrt(np.maximum(square / count - shift**2, 0.0))


def _p_values(test: _Test, exact: bool, correct: Sequence[str]) -> dict[str, NDArray[Any]]:
    evidence = test.orient(test.z)
    order = np.argsort(evidence, kind="stable")
    order = order[np.isfinite(evidence[order])]
    counts, step_down, maxima = Exceedances.zeros(len(order)), StepDown.zeros(len(order)), Maxima.empty(1, test.n + 1)
    z, slack = test.z[order], test.tolerance[order]
    for start, drawn in test.blocks() if len(order) else ():
        counts.add(drawn[:, order], z - slack, z + slack)
        largest = np.full(len(drawn), -np.inf)
        oriented = np.nan_to_num(test.orient(drawn[:, order]), nan=-np.inf)
        step_down.add(oriented, evidence[order] - slack, largest)
        maxima.add(start, largest)
    sides = 2 if test.tail == "two-sided" else 1
    tails = {"greater": counts.at_least, "less": counts.at_most}
    hits = tails.get(test.tail, np.minimum(counts.at_least, counts.at_most))
    b = _spread(hits, order, len(evidence), -1)
    p = np.minimum(1.0, sides * p_value(b, test.n))
    low, high = (np.minimum(1.0, sides * limit) for limit in clopper_pearson(b, test.n))
    missing = np.full(len(evidence), np.nan)
    # Doubling puts a two-sided p above the |z| maximum's; a corrected p is no smaller than the plain one.
    family_wise = np.fmax(p, _spread(step_down_p(step_down.counts, test.n), order, len(evidence), np.nan))
    single = np.fmax(p, single_step_p(evidence, maxima.values, test.tolerance))
    return {
        "exceedances": b,
        "n_near_ties": _spread(counts.n_near_ties, order, len(evidence), 0),
        "p": p,
        "p_low": p if exact else low,
        "p_high": p if exact else high,
        "p_fdr": adjust_fdr(p, "by" if "fdr_by" in correct else "bh") if {"fdr", "fdr_by"} & set(correct) else missing,
        "p_max": family_wise if "max" in correct else missing,
        "p_max_single": single if "max" in correct else missing,
        "null_max": maxima.values.astype(np.float32),
    }


def _spread(counted: NDArray[Any], order: NDArray[np.int64], size: int, missing: float) -> NDArray[Any]:
    """Values of the tested features in the order of all features, `missing` elsewhere."""
    out = np.full(size, missing, dtype=counted.dtype)
    out[order] = counted
    return out
