"""How the draws of a re-pairing test are counted: tiles of features, ranges of draws, threads, and one result."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from ..nulls.counts import OUTPUT_BINS, Exceedances, Histogram, Maxima, StepDown, tie_tolerance
from ..nulls.repaired_null import Null, PairSums, group_means, group_moments, sum_cells
from ..nulls.repairing import real_cells
from ..nulls.tails import Tail

Floats = NDArray[np.float64]
Indices = NDArray[np.int32]
Integers = NDArray[np.int64]
Progress = Callable[[int, int], None]
Number = TypeVar("Number", np.int64, np.float64)

# A tile's table and a block of its draws share a second-level cache of 2 MiB and more.
_TILE_BYTES = 1 << 20
_BLOCK_VALUES = 1 << 16
# Tables up to this size are made once and kept; larger ones are made again for each range of draws.
_KEPT_BYTES = 64 << 20
_RANGE_DRAWS = 1 << 14
_RANGE_BYTES = 32 << 20


@dataclass
class Counts:
    """What a range of draws adds up to; features ascending by their observed statistic, untested ones left out."""

    exceedances: Exceedances
    step_down: StepDown
    maxima: Maxima
    histogram: Histogram

    def merge(self, other: "Counts") -> None:
        """Add the counts of other draws."""
        self.exceedances.merge(other.exceedances)
        self.step_down.merge(other.step_down)
        self.maxima.merge(other.maxima)
        self.histogram.merge(other.histogram)


@dataclass(frozen=True)
class Features:
    """
    What is known of each feature before a draw is made.

    Parameters
    ----------
    statistic, mean, sd : float64 [feature]
        Observed group statistic, and its mean and standard deviation over the re-pairings.
    n_values : float64 [feature]
        Values behind the observed statistic: dyads times sessions, less those missing.
    n_dyads : int64 [feature]
        Dyads with a value in any session.
    even : bool [feature]
        Whether every re-pairing averages the same number of values.
    """

    statistic: Floats
    mean: Floats
    sd: Floats
    n_values: Floats
    n_dyads: Integers
    even: NDArray[np.bool_]


@dataclass(frozen=True)
class Tile:
    """
    Some features, ready to be counted.

    Parameters
    ----------
    place : slice
        Where the features stand in the order of the counts.
    table : float64 [cell, feature]
        Sums over the cells of a draw give z, except in the columns `uneven`.
    uneven : int64 [column]
        Columns whose sums are still to be divided by the number of values in the draw.
    patterns, pattern_of : float64 [cell, pattern], int64 [column]
        Values per cell of each uneven column; many columns share a pattern.
    """

    place: slice
    table: Floats
    uneven: Integers
    patterns: Floats
    pattern_of: Integers

    def z(self, cells: Indices) -> Floats:
        """Standardised group statistic, float64 [draw, feature]; NaN where a draw has no value."""
        z = sum_cells(cells, self.table)
        if len(self.uneven):
            n_values = sum_cells(cells, self.patterns)[:, self.pattern_of]
            n_values[n_values == 0] = np.nan
            z[:, self.uneven] /= n_values
        return z


class GroupTest:
    """
    One test of the group mean: counts of disjoint ranges of draws add up to the same integers however they are split.

    Parameters
    ----------
    null : Null
    tail : {"greater", "less", "two-sided"}
        Largest z, smallest z, or largest absolute z for the maximum statistic.
    groups : int64 [feature]
        Histogram group 0..G-1 of each feature.

    Attributes
    ----------
    features : Features
    pooled : PairSums
        Pair sums over the features of each group.
    z : float64 [feature]
        Observed standardised statistic; 0 for a feature whose spread is rounding, NaN for one without values.
    tolerance : float64 [feature]
        Tie tolerance on the scale of z.
    oriented : float64 [feature]
        z, -z or absolute z: large is evidence.
    order : int64 [tested feature]
        Tested features, ascending by `oriented`.
    """

    def __init__(self, null: Null, tail: Tail, groups: Integers) -> None:
        if groups.shape != (null.n_features,):
            raise PlanError(
                f"groups has shape {groups.shape} for {null.n_features} features; give one group per feature"
            )
        self.null = null
        self.tail = tail
        self._width = max(32, _TILE_BYTES // (8 * len(null.design.cells)))
        self.features, self.pooled = _look(null, groups, self._width)
        look = self.features
        tolerance = tie_tolerance(look.statistic, null.pair_values.dtype)
        varies = look.sd > tolerance
        self._scale = np.divide(1.0, look.sd, out=np.zeros_like(look.sd), where=varies)
        self.z = (look.statistic - look.mean) * self._scale
        self.tolerance = np.where(varies, tolerance * self._scale, 1.0)
        self.oriented = self._orient(self.z)
        tested = np.flatnonzero(np.isfinite(self.z))
        self.order: Integers = tested[np.argsort(self.oriented[tested], kind="stable")]

    def count_all(self, workers: int, progress: Progress | None = None) -> Counts:
        """Counts of all draws, made by some threads a range at a time."""
        n = self.null.draws.n
        total = self.no_counts(1, n + 1)
        size = int(np.clip(-(-n // workers), 1, self._range_draws()))
        starts = range(1, n + 1, size)
        with ThreadPoolExecutor(workers) as pool:
            for start, part in zip(
                starts, pool.map(lambda first: self.count(first, min(first + size, n + 1)), starts), strict=True
            ):
                total.merge(part)
                if progress is not None:
                    progress(min(start + size - 1, n), n)
        return total

    def count(self, start: int, stop: int) -> Counts:
        """Counts of draws `start` to `stop` - 1; draw 0, the real pairing, is not to be among them."""
        assert start >= 1
        out = self.no_counts(start, stop)
        cells = self.null.design.cells_of(self.null.draws.partners(start, stop))
        out.histogram.add(group_means(self.pooled, cells))
        largest = np.full(stop - start, -np.inf)
        for tile in self._tiles():
            self._count_tile(tile, cells, out, largest)
        out.maxima.add(start, largest)
        return out

    def maps(self, start: int, stop: int) -> Floats:
        """Standardised statistic of draws `start` to `stop` - 1: float64 [draw, feature], NaN if not tested."""
        cells = self.null.design.cells_of(self.null.draws.partners(start, stop))
        out = np.full((stop - start, self.null.n_features), np.nan)
        for tile in self._tiles():
            out[:, self.order[tile.place]] = tile.z(cells)
        return out

    def spread(self, counted: NDArray[Number], missing: float) -> NDArray[Number]:
        """Put values [tested feature] back in the order of the null, `missing` elsewhere."""
        out = np.full(self.null.n_features, missing, dtype=counted.dtype)
        out[self.order] = counted
        return out

    def _count_tile(self, tile: Tile, cells: Indices, out: Counts, largest: Floats) -> None:
        members = self.order[tile.place]
        z, tolerance = self.z[members], self.tolerance[members]
        exceedances = Exceedances.zeros(len(members))
        step_down = StepDown.zeros(len(members))
        n_rows = max(64, _BLOCK_VALUES // len(members))
        for row in range(0, len(cells), n_rows):
            rows = slice(row, row + n_rows)
            drawn = tile.z(cells[rows])
            exceedances.add(drawn, z - tolerance, z + tolerance)
            step_down.add(self._evidence(drawn, tile), self.oriented[members] - tolerance, largest[rows])
        out.exceedances.place(tile.place, exceedances)
        out.step_down.counts[tile.place] += step_down.counts

    def _evidence(self, z: Floats, tile: Tile) -> Floats:
        """Oriented z of the draws; one without a value is no evidence, which leaves the test exact."""
        oriented = self._orient(z)
        if len(tile.uneven):
            oriented[np.isnan(oriented)] = -np.inf
        return oriented

    def _orient(self, z: Floats) -> Floats:
        if self.tail == "greater":
            return z
        return -z if self.tail == "less" else np.abs(z)

    def no_counts(self, start: int, stop: int) -> Counts:
        """Counts of draws `start` to `stop` - 1 before any of them is counted."""
        n = len(self.order)
        histogram = Histogram.zeros(self.pooled.sums.shape[1], OUTPUT_BINS)
        return Counts(Exceedances.zeros(n), StepDown.zeros(n), Maxima.empty(start, stop), histogram)

    def _range_draws(self) -> int:
        """Draws per range: few if the tables are kept, as many as memory allows if each range makes them again."""
        fitting = _RANGE_BYTES // (4 * len(self.null.design))
        return min(_RANGE_DRAWS, fitting) if self._keeps_tiles else fitting

    @property
    def _keeps_tiles(self) -> bool:
        return 8 * len(self.null.design.cells) * len(self.order) <= _KEPT_BYTES

    def _tiles(self) -> Iterator[Tile]:
        return iter(self._kept_tiles) if self._keeps_tiles else self._made_tiles()

    @cached_property
    def _kept_tiles(self) -> tuple[Tile, ...]:
        return tuple(self._made_tiles())

    def _made_tiles(self) -> Iterator[Tile]:
        for start in range(0, len(self.order), self._width):
            yield self._tile(slice(start, min(start + self._width, len(self.order))))

    def _tile(self, place: slice) -> Tile:
        members = self.order[place]
        look, pairs = self.features, self.null.pair_sums(members)
        even = look.even[members]
        table = (pairs.sums - look.mean[members] * pairs.counts) * self._scale[members]
        table[:, even] /= look.n_values[members][even]
        uneven = np.flatnonzero(~even)
        return Tile(place, table, uneven, *_distinct_columns(pairs.counts[:, uneven]))


def n_cores() -> int:
    """Cores this process may use, at most four: beyond that memory is the limit."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(4, usable)


def _distinct_columns(counts: Floats) -> tuple[Floats, Integers]:
    """Distinct columns, [cell, pattern], and which of them each column is, [column]."""
    number: dict[bytes, int] = {}
    pattern_of = np.array([number.setdefault(column.tobytes(), len(number)) for column in counts.T], dtype=np.int64)
    firsts = np.unique(pattern_of, return_index=True)[1]
    return counts[:, firsts], pattern_of


def _look(null: Null, groups: Integers, width: int) -> tuple[Features, PairSums]:
    """Survey the features `width` at a time, so that no array of all pairs and features is made."""
    n_groups = int(groups.max(initial=0)) + 1
    pooled = PairSums(*np.zeros((2, len(null.design.cells), n_groups)))
    parts = []
    for start in range(0, null.n_features, width):
        members = np.arange(start, min(start + width, null.n_features))
        pairs = null.pair_sums(members)
        parts.append(_look_at(null, pairs))
        of_groups = pairs.pooled(groups[members], n_groups)
        pooled = PairSums(pooled.sums + of_groups.sums, pooled.counts + of_groups.counts)
    return Features(*(np.concatenate(column) for column in zip(*parts, strict=True))), pooled


def _look_at(null: Null, pairs: PairSums) -> tuple[NDArray[np.generic], ...]:
    real = real_cells(null.design)
    moments = group_moments(pairs, null.draws)
    own = pairs.counts[real[0]]
    n_dyads = (own > 0).sum(axis=0).astype(np.int64)
    return group_means(pairs, real)[0], moments.mean, moments.sd, own.sum(axis=0), n_dyads, moments.closed
