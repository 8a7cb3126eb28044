"""The permutation test: the one loop over draws, and what it counts, for any statistic of many features.

Every draw is one exchange for all features, so that the largest statistic, the largest cluster or the largest enhanced
statistic of each draw corrects over features (Westfall and Young 1993; Nichols and Holmes 2002, *Hum. Brain Mapp.*
15:1). Counts are integers that add up: the result does not depend on how the draws are split.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from ..nulls.counts import (
    OUTPUT_BINS,
    RANGE_VALUES,
    Exceedances,
    Histogram,
    Maxima,
    Observed,
    StepDown,
    moments,
    ranges,
    tie_tolerance,
)
from ..nulls.draws import Draws
from ..nulls.tails import Tail, oriented
from .clusters import Neighbours, normal_threshold
from .p_values import CORRECTIONS, CountedDraws, p_values, single_step_p
from .settings import TestSettings

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Arrays = dict[str, NDArray[Any]]
Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Progress = Callable[[int, int], None]

# A block of draws and features shares a second-level cache of 2 MiB and more with what it is made of.
_BLOCK_VALUES = 1 << 16


@dataclass(frozen=True)
class Limits:
    """
    What draws of some features are compared with, float64 [feature] each, and in which direction.

    Parameters
    ----------
    low, high : float64 [feature]
        Observed z less and plus its tolerance.
    evidence : float64 [feature]
        Observed evidence less its tolerance.
    tail : {"greater", "less", "two-sided"}
    """

    low: Floats
    high: Floats
    evidence: Floats
    tail: Tail


class Tile:
    """
    Consecutive features, in the order of their evidence, that are counted together.

    Parameters
    ----------
    place : slice
        Which of the ordered features they are.
    z : callable
        Makes z, float64 [draw, feature of the tile], of draws.
    """

    def __init__(self, place: slice, z: Callable[[NDArray[Any]], Floats]) -> None:
        self.place, self._made = place, z

    def z(self, drawn: NDArray[Any]) -> Floats:
        """Z, float64 [draw, feature of the tile], of draws."""
        return self._made(drawn)

    def count(self, drawn: NDArray[Any], limits: Limits, largest: Floats) -> Integers:
        """
        Draws that reach z, pass it, stay at or below it, and whose running maximum reaches the evidence.

        Parameters
        ----------
        drawn : [draw, ...]
        limits : Limits
        largest : float64 [draw]
            Largest evidence of all tiles before this one; on return with this one.

        Returns
        -------
        int64 [4, feature]
            A draw without a value is in none of the first three.
        """
        n = len(limits.low)
        exceedances, step_down = Exceedances.zeros(n), StepDown.zeros(n)
        for rows in blocks(len(drawn), n):
            of_draws = self.z(drawn[rows])
            exceedances.add(of_draws, limits.low, limits.high)
            step_down.add(oriented(of_draws, limits.tail), limits.evidence, largest[rows])
        return np.stack([exceedances.at_least, exceedances.above, exceedances.at_most, step_down.counts])


class Statistic(ABC):
    """
    What is tested: a statistic of every feature in every draw, of which draw 0 is the observed one.

    `drawn` makes whatever the statistics of a range of draws follow from, [draw, ...]; `z` and `pooled` take any of
    its rows. Draws differ by what a `Design` exchanges, statistics by nothing else than these methods.
    """

    n: int
    """Draws beside the observed one."""
    exact: bool
    """Whether these are all there are."""
    span: tuple[float, float] = (0.0, 1.0)
    """Between which the pooled statistic lies."""
    keeps_tiles: bool = True
    """Whether tiles are made once for all draws, or again for each range of them."""

    @property
    @abstractmethod
    def observed(self) -> Observed:
        """Observed statistic, its mean and deviation over draws, and its tie tolerance: [feature] each."""

    @abstractmethod
    def drawn(self, start: int, stop: int) -> NDArray[Any]:
        """What draws `start` to `stop` - 1 are made of, [draw, ...]."""

    def z(self, drawn: NDArray[Any]) -> Floats:
        """Standardised statistic, float64 [draw, feature]; NaN where a draw has no value, which is no evidence."""
        return self.observed.z(drawn)

    def tiles(self, order: Integers) -> Iterator[Tile]:
        """Consecutive parts of the features in this order."""
        yield Tile(slice(0, len(order)), lambda drawn: self.z(drawn)[:, order])

    def pooled(self, drawn: NDArray[Any]) -> Floats:
        """Statistic of each group of features, float64 [draw, group]; none without groups."""
        return np.empty((len(drawn), 0))

    def tail(self, asked: Tail) -> Tail:
        """In which direction z is evidence, by the tail that is asked for."""
        return asked

    def maps(self, drawn: NDArray[Any]) -> Floats | None:  # noqa: ARG002
        """In what clusters are sought, float64 [draw, feature]; None: in z."""
        return None

    def threshold(self, tail: Tail) -> float:
        """What a value of `maps` must pass to belong to a cluster."""
        return normal_threshold(tail)

    @property
    def range_draws(self) -> int:
        """Draws that are made in one piece."""
        return max(64, RANGE_VALUES // max(1, len(self.observed.statistic)))

    def described(self) -> Arrays:
        """What is known of each feature without counting."""
        s = self.observed
        return {
            "group_statistic": s.statistic, "group_null_mean": s.mean, "group_null_sd": s.sd, "group_z": s.shown_z,
        }  # fmt: skip


class DrawnStatistic(Statistic):
    """
    A statistic that is computed of each exchange, and standardised by its moments over all draws.

    Mean and deviation are those of all draws, the observed one among them. As neither depends on which draw was
    observed, the test stays exact.
    """

    draws: Draws[Any]

    @abstractmethod
    def values(self, exchanges: NDArray[Any]) -> Floats:
        """Statistic of some exchanges, float64 [draw, feature]."""

    @property
    def n(self) -> int:  # type: ignore[override]
        """Draws beside the observed one."""
        return self.draws.n

    @property
    def exact(self) -> bool:  # type: ignore[override]
        """Whether these are all there are."""
        return self.draws.listed

    def drawn(self, start: int, stop: int) -> Floats:
        """Statistics of draws `start` to `stop` - 1, float64 [draw, feature]."""
        return self.values(self.draws.take(start, stop))

    @cached_property
    def observed(self) -> Observed:
        """As `Statistic.observed`."""
        s = moments(self.drawn, self.n)
        mean, sd = (np.where(np.isnan(s.statistic), np.nan, part) for part in (s.mean, s.sd))
        return Observed(s.statistic, mean, sd, s.tolerance)


class ListedStatistic(Statistic):
    """
    Values of all draws that are there already.

    Parameters
    ----------
    values : float64 [draw, feature]
        Draw 0 is the observed one.
    exact : bool
    tolerance : float64 [feature], optional
        How far below the observed value a draw still reaches it; default that of values computed in float32.
    """

    def __init__(self, values: Floats, *, exact: bool = False, tolerance: Floats | None = None) -> None:
        self._values, self.n, self.exact = values, len(values) - 1, exact
        tolerance = tie_tolerance(values[0], np.dtype(np.float32)) if tolerance is None else tolerance
        self._observed = replace(moments(self.drawn, self.n), tolerance=tolerance)

    @property
    def observed(self) -> Observed:
        """As `Statistic.observed`."""
        return self._observed

    def drawn(self, start: int, stop: int) -> Floats:
        """Values of draws `start` to `stop` - 1."""
        return self._values[start:stop]


def permutation_test(
    statistic: Statistic,
    settings: TestSettings | None = None,
    *,
    graph: csr_array[Any] | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> Arrays:
    """
    Test of every feature against the same statistic in all draws.

    Parameters
    ----------
    statistic : Statistic
    settings : TestSettings, optional
        Tail and corrections.
    graph : csr_array [feature, feature], optional
        Which features are neighbours, from `clusters.feature_graph`; needed for "cluster" and "tfce".
    workers : int
        Threads. Without effect on the result.
    progress : callable, optional
        Called with the draws done and the draws in all.

    Returns
    -------
    dict of arrays [feature]
        ``group_statistic, group_null_mean, group_null_sd, group_z`` float64 and those of `p_values.p_values`. Of other
        shapes: ``null_max`` float32 [draw], the largest z of each draw; where features have groups ``null_hist`` int64
        [group, bin], the draws of the mean over a group's features, ``hist_center`` float64 [bin] and
        ``pooled_statistic`` float64 [group]. With "cluster" also ``cluster`` int64 (0 outside clusters, its sign that
        of the statistic), ``cluster_mass`` and ``p_cluster`` (1 outside clusters) float64 [feature], and
        ``null_cluster`` float64 [draw]; with "tfce" ``tfce`` and ``p_tfce`` float64 [feature], and ``null_tfce``
        float64 [draw].

    Raises
    ------
    PlanError
        If neighbours are needed and not given.
    """
    asked = TestSettings() if settings is None else settings
    return _Test(statistic, asked, graph).run(workers, progress)


@dataclass
class _Counts:
    """What a range of draws adds up to; features ascending by their evidence, untested ones left out."""

    exceedances: Exceedances
    step_down: StepDown
    maxima: Maxima
    histogram: Histogram
    neighbours: dict[str, Maxima]

    def merge(self, other: _Counts) -> None:
        """Add the counts of other draws."""
        self.exceedances.merge(other.exceedances)
        self.step_down.merge(other.step_down)
        self.maxima.merge(other.maxima)
        self.histogram.merge(other.histogram)
        for name, maxima in self.neighbours.items():
            maxima.merge(other.neighbours[name])


class _Test:
    """
    A statistic and what is asked of it: counts of disjoint ranges of draws add up however they are split.

    Attributes
    ----------
    z, tolerance, evidence : float64 [feature]
        Observed z, NaN where nothing is tested; its tie tolerance; z turned so that large is evidence.
    tail : {"greater", "less", "two-sided"}
        In which direction z is evidence.
    order : int64 [tested feature]
        Tested features, ascending by their evidence.
    """

    def __init__(self, statistic: Statistic, settings: TestSettings, graph: csr_array[Any] | None) -> None:
        self.statistic, self.settings = statistic, settings
        observed = statistic.observed
        self.z, self.tolerance = observed.z(observed.statistic), observed.z_tolerance
        self.tail = statistic.tail(settings.tail)
        self.evidence, self.order = oriented(self.z, self.tail), observed.order(self.tail)
        self._first = statistic.drawn(0, 1)
        self._pooled = statistic.pooled(self._first)[0]
        self._neighbours = self._neighbours_in(graph)

    def _neighbours_in(self, graph: csr_array[Any] | None) -> Neighbours | None:
        names = tuple(name for name in self.settings.corrections if CORRECTIONS[name].needs_neighbours)
        if not names:
            return None
        n, tail = len(self.z), self.settings.tail
        if graph is None:
            raise PlanError(
                f"correct names {names[0]!r}, which needs to know the neighbours of each feature: give graph"
            )
        if graph.shape != (n, n):
            raise PlanError(f"graph has shape {graph.shape} for {n} features; give one row per feature")
        return Neighbours(graph, self.statistic.threshold(tail), tail, names)

    def run(self, workers: int, progress: Progress | None) -> Arrays:
        """Everything that the test gives."""
        counts = self.count_all(workers, progress)
        b = counts.exceedances
        at_least, at_most, near_ties, stepped = map(
            self._spread, (b.at_least, b.at_most, b.n_near_ties, counts.step_down.counts)
        )
        counted = CountedDraws(
            self.evidence, self.tolerance, at_least, at_most, near_ties, self.statistic.n, self.statistic.exact,
            counts.maxima.values, stepped,
        )  # fmt: skip
        found = self.statistic.described() | p_values(counted, self.tail, self.settings.corrections)
        found["null_max"] = counts.maxima.values.astype(np.float32)
        return found | self._of_groups(counts) | self._of_neighbours(counts)

    def count_all(self, workers: int, progress: Progress | None = None) -> _Counts:
        """Counts of all draws, made by some threads a range at a time."""
        n = self.statistic.n
        total = self._nothing(1, n + 1)
        parts = list(ranges(1, n + 1, int(np.clip(-(-n // workers), 1, self.statistic.range_draws))))
        with ThreadPoolExecutor(workers) as pool:
            for (_, stop), part in zip(parts, pool.map(lambda ends: self.count(*ends), parts), strict=True):
                total.merge(part)
                if progress is not None:
                    progress(stop - 1, n)
        return total

    def count(self, start: int, stop: int) -> _Counts:
        """Counts of draws `start` to `stop` - 1; draw 0, the observed one, is not to be among them."""
        assert start >= 1
        out = self._nothing(start, stop)
        drawn = self.statistic.drawn(start, stop)
        low, high = self.statistic.span
        out.histogram.add((self.statistic.pooled(drawn) - low) / (high - low))
        largest = np.full(stop - start, -np.inf)
        for tile in self._tiles():
            self._count_tile(tile, drawn, out, largest)
        out.maxima.add(start, largest)
        for name, maxima in self._largest_neighbours(drawn):
            out.neighbours[name].add(start, maxima)
        return out

    def _count_tile(self, tile: Tile, drawn: NDArray[Any], out: _Counts, largest: Floats) -> None:
        members = self.order[tile.place]
        z, evidence, tolerance = self.z[members], self.evidence[members], self.tolerance[members]
        limits = Limits(z - tolerance, z + tolerance, evidence - tolerance, self.tail)
        *reached, stepped = tile.count(drawn, limits, largest)
        exceedances = Exceedances(*reached)
        exceedances.count_missing(len(drawn))
        out.exceedances.place(tile.place, exceedances)
        out.step_down.counts[tile.place] += stepped

    def _tiles(self) -> Iterable[Tile]:
        if not len(self.order):
            return ()
        return self._kept_tiles if self.statistic.keeps_tiles else self.statistic.tiles(self.order)

    @cached_property
    def _kept_tiles(self) -> list[Tile]:
        return list(self.statistic.tiles(self.order))

    def maps(self, drawn: NDArray[Any]) -> Floats:
        """In what clusters are sought, float64 [draw, feature]; NaN where nothing is tested."""
        maps = self.statistic.maps(drawn)
        if maps is None:
            maps = np.full((len(drawn), len(self.z)), np.nan)
            for tile in self._tiles():
                maps[:, self.order[tile.place]] = tile.z(drawn)
        return maps

    def _largest_neighbours(self, drawn: NDArray[Any]) -> Iterator[tuple[str, Floats]]:
        if self._neighbours is None:
            return
        parts = [self._neighbours.largest(self.maps(drawn[rows])) for rows in blocks(len(drawn), len(self.z))]
        for name in self._neighbours.statistics:
            yield name, np.concatenate([part[name] for part in parts])

    def _nothing(self, start: int, stop: int) -> _Counts:
        """Counts of draws `start` to `stop` - 1 before any of them is counted."""
        n, names = len(self.order), () if self._neighbours is None else self._neighbours.statistics
        return _Counts(
            Exceedances.zeros(n), StepDown.zeros(n), Maxima.empty(start, stop),
            Histogram.zeros(len(self._pooled)), {name: Maxima.empty(start, stop) for name in names},
        )  # fmt: skip

    def _spread(self, counted: Integers) -> Integers:
        """Counts of the tested features in the order of all features, 0 elsewhere."""
        out = np.zeros(len(self.z), np.int64)
        out[self.order] = counted
        return out

    def _of_groups(self, counts: _Counts) -> Arrays:
        if not len(self._pooled):
            return {}
        low, high = self.statistic.span
        centre = (np.arange(OUTPUT_BINS) + 0.5) / OUTPUT_BINS
        return {
            "null_hist": counts.histogram.counts, "hist_center": low + (high - low) * centre,
            "pooled_statistic": self._pooled,
        }  # fmt: skip

    def _of_neighbours(self, counts: _Counts) -> Arrays:
        if self._neighbours is None:
            return {}
        found, evidence = self._neighbours.observed(self.maps(self._first)[0])
        for name, maxima in counts.neighbours.items():
            # Sums of the same terms in another order differ by this much at most.
            slack = 1e-9 * np.maximum(1.0, np.abs(evidence[name]))
            found[f"p_{name}"] = single_step_p(evidence[name], maxima.values, slack)
            found[f"null_{name}"] = maxima.values
        return found


def blocks(n_draws: int, n_features: int) -> Iterator[slice]:
    """Parts of the draws of so many features, each small enough for the cache."""
    size = max(64, _BLOCK_VALUES // max(1, n_features))
    for start in range(0, n_draws, size):
        yield slice(start, start + size)
