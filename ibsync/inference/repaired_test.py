"""Test of the re-pairing null: the mean over real dyads against the mean over re-paired ones."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..compiled.choice import loops
from ..compiled.loops import Division, in_slabs
from ..coupling.measures import measure_in
from ..errors import PlanError
from ..nulls.counts import Observed, moments, tie_tolerance
from ..nulls.draws import Draws, Indices, Integers
from ..nulls.repaired_null import (
    PairSums,
    RepairedNull,
    closed_moments,
    distinct_columns,
    group_means,
    root_means,
    sum_pairs,
)
from .permutation_test import Arrays, Limits, Progress, Statistic, Tile, blocks, permutation_test
from .settings import TestSettings

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from ..nulls.repairing import Repairing

Floats = NDArray[np.float64]

# A tile's table and a block of its draws share a second-level cache of 2 MiB and more.
_TILE_BYTES = 1 << 20
# Tables up to this size are made once and kept; larger ones are made again for each range of draws.
_KEPT_BYTES = 64 << 20
_RANGE_DRAWS = 1 << 14
_LEAST_WIDTH = 32
_THREAD_BYTES = 48 << 20  # that a thread keeps of what it has given back
BYTES_OF_ROW = 100
"""Memory of what a test gives of a dyad, in each session and feature."""
_RANGE_BYTES = 32 << 20


def bytes_of_test(draws: Draws[Repairing], n_features: int, *, with_neighbours: bool = False) -> int:
    """Memory that `repair_test` takes for so many features, beside the pair values."""
    n_pairs, n_threads = len(draws.design.pairs), n_cores()
    kept = _keeps_tables(n_pairs, n_features)
    n_draws = min(draws.n + 1, _draws_together(len(draws.design), kept=kept))
    tables = 3 * 8 * n_pairs * n_features if kept else n_threads * 6 * max(_TILE_BYTES, _LEAST_WIDTH * 8 * n_pairs)
    maps = n_threads * 64 * 8 * 6 * n_features if with_neighbours else 0
    arenas = 0 if kept else n_threads * _THREAD_BYTES
    return arenas + tables + maps + n_threads * 16 * len(draws.design) * n_draws


def _keeps_tables(n_pairs: int, n_features: int) -> bool:
    """Whether the tables of all features are small."""
    return 8 * n_pairs * n_features <= _KEPT_BYTES


def _draws_together(n_dyads: int, *, kept: bool) -> int:
    """Draws per range: few if the tables are kept, as many as memory allows if each range makes them again."""
    fitting = _RANGE_BYTES // (4 * n_dyads)
    return min(_RANGE_DRAWS, fitting) if kept else fitting


def dyad_summary(null: RepairedNull) -> dict[str, NDArray[Any]]:
    """
    Each real dyad against the re-paired partners of its own two people.

    The reference of dyad i is ``C[i, j]`` and ``C[j, i]`` for all j of its block other than i; where roles may be
    exchanged, either of its people with everybody else of the block. These values share people, so z and percentile
    describe a dyad; they are not tests.

    Parameters
    ----------
    null : RepairedNull

    Returns
    -------
    dict of float64 [session, dyad, feature]
        ``statistic`` (the real value behind z), ``null_mean``, ``null_sd`` (divided by n - 1), ``z``, and
        ``percentile``: share, in percent, of the real and re-paired values that the real one reaches.
    """
    shape = (len(null.sessions), len(null.design), null.n_features)
    out = {name: np.full(shape, np.nan) for name in ("statistic", "null_mean", "null_sd", "z", "percentile")}
    pairs = [(int(dyad), *null.design.other_pairs(int(dyad), block)) for block in null.design.blocks for dyad in block]
    for part in null.parts():
        for session, values in enumerate(null.pair_values[..., part]):
            for dyad, together, others in pairs:
                own, partners = (values[some].astype(np.float64, order="C") for some in (together, others))
                for name, row in _against_partners(own, partners).items():
                    out[name][session, dyad, part] = row
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
    null: RepairedNull,
    settings: TestSettings | None = None,
    *,
    groups: Integers | None = None,
    graph: csr_array[Any] | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Arrays:
    """
    Group test of the re-pairing null.

    Parameters
    ----------
    null : RepairedNull
    settings : TestSettings, optional
        Default: the upper tail.
    groups : int64 [feature], optional
        Group 0..G-1 of each feature (epoch x band, say): the histograms count the mean over a group's features.
    graph, progress
        As `permutation_test`.
    workers : int, optional
        Threads; default one per core, at most four. Without effect on the result.

    Returns
    -------
    dict of arrays
        As `permutation_test`, and ``n_dyads`` int64 [feature].
    """
    asked = TestSettings(tail="greater") if settings is None else settings
    return permutation_test(
        RepairedMean(null, groups), asked, graph=graph, workers=workers or n_cores(), progress=progress
    )


@dataclass(frozen=True)
class _Features:
    """
    What is known of each feature before a draw is made.

    Parameters
    ----------
    observed : Observed
        Group statistic, and its mean and deviation over the re-pairings; [feature].
    centre : float64 [feature]
        What is taken from every value, so that the sum over a draw's pairs is as large as the draw speaks for a tie.
    n_values : float64 [feature]
        Values behind the observed statistic: dyads times sessions, less those missing.
    n_dyads : int64 [feature]
        Dyads with a value in any session.
    even : bool [feature]
        Whether every re-pairing averages the same number of values.
    """

    observed: Observed
    centre: Floats
    n_values: Floats
    n_dyads: Integers
    even: NDArray[np.bool_]


class _Table(Tile):
    """
    Some features, ready to be counted.

    Parameters
    ----------
    place : slice
        As `Tile`.
    table : float64 [pair, feature]
        Sums over the pairs of a draw give z, except in the columns `uneven`.
    uneven : int64 [column]
        Columns whose sums are still to be divided by the root of the number of values in the draw.
    shift : float64 [column]
        What is then taken from each of them.
    patterns, pattern_of : float64 [pair, pattern], int64 [column]
        Values per pair of each uneven column; many columns share a pattern.
    """

    def __init__(
        self, place: slice, table: Floats, uneven: Integers, shift: Floats, patterns: Floats, pattern_of: Integers
    ) -> None:
        # No callable that knows it: a cycle would hold the tables of many features until Python looks for such.
        self.place, self.table, self.uneven, self.shift = place, table, uneven, shift
        self.patterns, self.pattern_of = patterns, pattern_of

    def z(self, drawn: Indices) -> Floats:
        """Standardised group statistic, float64 [draw, feature]; NaN where a draw has no value."""
        z = sum_pairs(drawn, self.table)
        if len(self.uneven):
            z[:, self.uneven] = z[:, self.uneven] / self._roots(drawn)[:, self.pattern_of] - self.shift
        return z

    def _roots(self, drawn: Indices) -> Floats:
        """Root of the number of values of each draw, NaN for none: float64 [draw, pattern]."""
        n_values = sum_pairs(drawn, self.patterns)
        n_values[n_values == 0] = np.nan
        return np.sqrt(n_values)

    @cached_property
    def _slabs(self) -> Floats:
        """The table as compiled loops read it."""
        return in_slabs(self.table)

    def count(self, drawn: Indices, limits: Limits, largest: Floats) -> Integers:
        """As `Tile.count`, in one pass where loops are compiled: the same additions in the same order."""
        compiled = loops()
        if compiled is None:
            return super().count(drawn, limits, largest)
        n = self.table.shape[1]
        pattern, shift = np.full(n, -1, np.int32), np.zeros(n)
        pattern[self.uneven], shift[self.uneven] = self.pattern_of, self.shift
        counts = np.zeros((4, n), np.int64)
        for rows in blocks(len(drawn), self.patterns.shape[1]):
            chosen = np.ascontiguousarray(drawn[rows], np.int32)
            division = Division(self._roots(chosen), pattern, shift)
            of_columns = (limits.low, limits.high, limits.evidence)
            counts += compiled.count_draws(self._slabs, chosen, division, of_columns, limits.tail, largest[rows])
        return counts


class RepairedMean(Statistic):
    """
    Mean over dyads and sessions, of which each draw takes the values of other pairs of people.

    Where re-pairings average different numbers of values, a mean of few is likely to be far from the others by chance.
    So draw k, with n_k values, has the statistic ``centre + sum(values - centre) / sqrt(n_k n_0)``, which is the mean
    in the observed draw, and of like spread in all of them.

    Parameters
    ----------
    null : RepairedNull
    groups : int64 [feature], optional
        Histogram group 0..G-1 of each feature.
    """

    def __init__(self, null: RepairedNull, groups: Integers | None = None) -> None:
        if groups is not None and groups.shape != (null.n_features,):
            raise PlanError(
                f"groups has shape {groups.shape} for {null.n_features} features; give one group per feature"
            )
        self.null, self.n, self.exact = null, null.draws.n, null.draws.listed
        self.span = measure_in(null.attrs).range
        self._width = max(_LEAST_WIDTH, _TILE_BYTES // (8 * len(null.design.pairs)))
        self.features, self._pooled = self._look(groups)

    @property
    def observed(self) -> Observed:
        """As `Statistic.observed`, in closed form where that holds."""
        return self.features.observed

    def described(self) -> Arrays:
        """As `Statistic.described`, and the dyads behind each feature."""
        return super().described() | {"n_dyads": self.features.n_dyads}

    def drawn(self, start: int, stop: int) -> Indices:
        """Pairs of draws `start` to `stop` - 1, int32 [draw, dyad]."""
        return self.null.design.pairs_of(self.null.draws.take(start, stop))

    def pooled(self, drawn: Indices) -> Floats:
        """As `Statistic.pooled`."""
        return group_means(self._pooled, drawn)

    @property
    def keeps_tiles(self) -> bool:  # type: ignore[override]
        """Whether the tables of all features are small."""
        return _keeps_tables(len(self.null.design.pairs), self.null.n_features)

    @property
    def range_draws(self) -> int:
        """Draws that are made in one piece."""
        return _draws_together(len(self.null.design), kept=self.keeps_tiles)

    def tiles(self, order: Integers) -> Iterator[Tile]:
        """As `Statistic.tiles`: few features whose table stays in the cache."""
        for start in range(0, len(order), self._width):
            place = slice(start, min(start + self._width, len(order)))
            yield self._table(place, order[place])

    def _table(self, place: slice, members: Integers) -> _Table:
        look, pairs = self.features, self.null.pair_sums(members)
        even, scale, n = look.even[members], self.observed.scale[members], look.n_values[members]
        table = (pairs.sums - look.centre[members] * pairs.counts) * scale / np.where(even, n, np.sqrt(n))
        shift = ((look.observed.mean - look.centre)[members] * scale)[~even]
        return _Table(place, table, np.flatnonzero(~even), shift, *distinct_columns(pairs.counts[:, ~even]))

    def _look(self, groups: Integers | None) -> tuple[_Features, PairSums]:
        """Survey the features `_width` at a time, so that no array of all pairs and features is made."""
        null = self.null
        group = np.full(null.n_features, -1) if groups is None else groups
        n_groups = int(group.max(initial=-1)) + 1
        pooled = PairSums(*np.zeros((2, len(null.design.pairs), n_groups)))
        parts = []
        for start in range(0, null.n_features, self._width):
            members = np.arange(start, min(start + self._width, null.n_features))
            pairs = null.pair_sums(members)
            parts.append(self._look_at(pairs))
            of_groups = pairs.pooled(group[members], n_groups)
            pooled = PairSums(pooled.sums + of_groups.sums, pooled.counts + of_groups.counts)
        statistic, mean, sd, *rest = (np.concatenate(column) for column in zip(*parts, strict=True))
        observed = Observed(statistic, mean, sd, tie_tolerance(statistic, null.pair_values.dtype))
        return _Features(observed, *rest), pooled

    def _look_at(self, pairs: PairSums) -> tuple[NDArray[Any], ...]:
        real = self.null.design.real_pairs
        own = pairs.counts[real[0]]
        n_values, n_dyads = own.sum(axis=0), (own > 0).sum(axis=0).astype(np.int64)
        statistic, (mean, sd) = group_means(pairs, real)[0], closed_moments(pairs, self.null.design)
        centre, uneven = mean.copy(), np.isnan(mean)
        if uneven.any():
            some = PairSums(pairs.sums[:, uneven], pairs.counts[:, uneven])
            centre[uneven] = middle = some.sums.sum(axis=0) / np.maximum(1, some.counts.sum(axis=0))
            off = PairSums((some.sums - middle * some.counts) / np.sqrt(np.maximum(1, n_values[uneven])), some.counts)
            of_draws = moments(lambda start, stop: root_means(off, self.drawn(start, stop)), self.n)
            mean[uneven], sd[uneven] = middle + of_draws.mean, of_draws.sd
        return statistic, mean, sd, centre, n_values, n_dyads, ~uneven


def n_cores() -> int:
    """Cores this process may use, at most four: beyond that memory is the limit."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(4, usable)
