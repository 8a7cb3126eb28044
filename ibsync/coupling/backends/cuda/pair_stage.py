"""Pair stage: sums over cells of products of unit features, for all pairs of channels, chunk after chunk.

A chunk is a fixed stretch of a group's times. Which chunks are worked on together depends on memory; what one chunk
adds up, and the order in which chunks are added, do not: a pair has the same bits in every batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...plan import Segment
from ...spec import PhaseShares
from .channel_stage import DOUBLES, HALF_PAIRS, HALVES, VALID, Cells, Kept, Units
from .device import Device
from .launch import load

# Cells that are added up in float32, chunks in float64: sums of 256 numbers near 1 are wrong by 1e-6. Sums of chunks
# are written and read again, which costs as long as a fifth of the products; but few chunks leave a GPU idle.
CELLS_PER_CHUNK = 64
MOST_CELLS_PER_CHUNK = {"exact": 64, "fast": 512}
_LEAST_CHUNKS = 64
_WEIGHT_UNITS = 2.0**32  # of weights in samples: up to a million samples x rows are added up without rounding
_PARTIAL_SHARE = 8  # partial sums of chunks may take one part in so many of the budget

# Warps along a, tiles of 16 channels of a and of 8 channels of b in each warp: for few channels of a, and for many with
# as many sums in registers as leave none spilled.
# Where squares alone are summed there is room for more.
NARROW = (1, 2, 2)
WIDE = {(HALVES, 3): (2, 2, 4), (HALVES, 1): (2, 2, 6), (HALF_PAIRS, 3): (2, 2, 3), (HALF_PAIRS, 1): (2, 2, 4)}
_NARROW_UP_TO = 32
_MOST_STAGES = 4


def times_per_chunk(segment: Segment, accuracy: str) -> int:
    """Times of a segment whose cells are added up in float32: the same in every batch."""
    n_cells = len(segment.times) * segment.n_rows
    cells = int(np.clip(n_cells // _LEAST_CHUNKS, CELLS_PER_CHUNK, MOST_CELLS_PER_CHUNK[accuracy]))
    return max(1, cells // segment.n_rows)


@dataclass(frozen=True)
class WholeUnits:
    """
    Weights of cells in whole units, whose sums are exact and so the same whatever is added up together.

    Attributes
    ----------
    weight : float64 [mean, cell]
    """

    weight: NDArray[np.float64]
    _there: list[Any] = field(default_factory=list, repr=False, compare=False)

    @classmethod
    def of(cls, weights: NDArray[np.float64]) -> WholeUnits:
        """From weights [mean, time, row]."""
        return cls(np.rint(weights.reshape(len(weights), -1) * _WEIGHT_UNITS) / _WEIGHT_UNITS)

    @cached_property
    def total(self) -> NDArray[np.float64]:
        """Of all cells, [mean]."""
        return np.asarray(self.weight.sum(axis=1))

    def on(self, device: Device) -> Any:
        """The weights on the device, brought there once."""
        if not self._there:
            self._there.append(device.from_host(self.weight))
        return self._there[0]


@dataclass(frozen=True)
class CellLists:
    """
    Which cells enter which mean, cut into chunks.

    Attributes
    ----------
    cell : int32 [listed]
        Cells, chunk after chunk, the chunks of the first mean first.
    weight, width : float64 [listed]
    begin : int32 [chunk + 1]
        First listed cell of each chunk.
    chunk : int32 [mean + 1]
        First chunk of each mean.
    entering : (WholeUnits, WholeUnits)
        Weights and widths of all cells.
    """

    cell: NDArray[np.int32]
    weight: NDArray[np.float64]
    width: NDArray[np.float64]
    begin: NDArray[np.int32]
    chunk: NDArray[np.int32]
    entering: tuple[WholeUnits, WholeUnits]
    _there: dict[str, tuple[Any, ...]] = field(default_factory=dict, repr=False, compare=False)
    _parts: dict[tuple[int, int], CellLists] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, weights: NDArray[np.float64], per_chunk: int, widths: NDArray[np.float64] | None = None) -> CellLists:
        """From weights, and widths of cells where shares are asked for, [mean, time, row], so many times a chunk."""
        n_means, n_times, n_rows = weights.shape
        width = np.zeros_like(weights) if widths is None else widths
        enters = (weights != 0) | (width != 0)
        mean, time, row = np.nonzero(enters)
        number = mean * n_times + time // per_chunk
        first = np.flatnonzero(np.diff(number, prepend=-1))
        of_mean = np.searchsorted(mean[first], np.arange(n_means + 1))
        return cls(
            cell=(time * n_rows + row).astype(np.int32),
            weight=weights[enters],
            width=width[enters],
            begin=np.append(first, len(mean)).astype(np.int32),
            chunk=of_mean.astype(np.int32),
            entering=(WholeUnits.of(weights), WholeUnits.of(width)),
        )

    @property
    def n_chunks(self) -> int:
        """Chunks of all means."""
        return len(self.begin) - 1

    def on(self, device: Device, dtype: Any) -> tuple[Any, Any, Any, Any, Any]:
        """Cells, weights and widths (of a dtype), first cells of chunks and first chunks of means, on the device."""
        kind = np.dtype(dtype).name
        if kind not in self._there:
            host = (self.cell, self.weight.astype(dtype), self.width.astype(dtype), self.begin, self.chunk)
            self._there[kind] = tuple(device.from_host(part) for part in host)
        cell, weight, width, begin, chunk = self._there[kind]
        return cell, weight, width, begin, chunk

    def part(self, start: int, stop: int) -> CellLists:
        """Some of the chunks."""
        if (start, stop) == (0, self.n_chunks):
            return self
        if (start, stop) not in self._parts:
            begin = self.begin[start : stop + 1]
            some = slice(begin[0], begin[-1])
            chunk = (self.chunk.clip(start, stop) - start).astype(np.int32)
            of = (self.cell[some], self.weight[some], self.width[some], begin - begin[0], chunk)
            self._parts[start, stop] = CellLists(*of, self.entering)
        return self._parts[start, stop]


def add_products(
    device: Device, totals: Any, a: Units, b: Units, lists: CellLists, budget_bytes: int,
    shares: PhaseShares | None = None,
) -> None:  # fmt: skip
    """
    Add the sums of some cells.

    Parameters
    ----------
    device : Device
    totals : float64 [mean, sum, dyad, a, b] of the device
        Of weight |<x, y>|^2, weight Re <x, y>, weight Im <x, y>, of halves perhaps of the first alone; with shares also
        the width of the coherent cells in phase, of those with a or b leading, and of those in anti-phase.
    a, b : Units
    lists : CellLists
    budget_bytes : int
        Memory that a batch may plan with.
    shares : PhaseShares, optional
        Not with halves.
    """
    n_means, n_values = len(totals), math.prod(totals.shape[1:])
    one = n_values * (8 if a.form == DOUBLES else 4)
    at_once = int(np.clip(budget_bytes // _PARTIAL_SHARE // one, 1, 65_535))
    for start in range(0, lists.n_chunks, at_once):
        part = lists.part(start, min(start + at_once, lists.n_chunks))
        dtype = np.float64 if a.form == DOUBLES else np.float32
        *listed, chunk = part.on(device, dtype)
        partial = device.xp.empty((part.n_chunks, *totals.shape[1:]), dtype)
        _launch(device, a, b, listed, partial, shares)
        kind = "f64" if a.form == DOUBLES else "f32"
        load("totals", device)[f"add_chunks_{kind}"](
            (-(-n_values // 256), n_means), 256, [partial, chunk, totals, n_values]
        )


def _launch(device: Device, a: Units, b: Units, listed: list[Any], partial: Any, shares: PhaseShares | None) -> None:
    """Sums of each chunk, [chunk, sum, dyad, a, b]."""
    cell, weight, width, begin = listed
    if a.form in (HALVES, HALF_PAIRS):
        assert shares is None, "shares of phases are counted with full numbers"
        _launch_tensor(device, a, b, cell, weight, begin, partial)
        return
    kind = "f64" if a.form == DOUBLES else "f32"
    limits = (0.0, 0.0, 0.0) if shares is None else shares.limits
    module = load(f"gram_plain_{kind}", device, N_FEATURES=a.n_features, SHARES=int(shares is not None))
    n_dyads, n_a, n_b = partial.shape[2:]
    grid = (-(-n_b // 32), n_dyads * -(-n_a // 32), len(partial))
    words = [units.words.view(partial.dtype) for units in (a, b)]
    module[f"gram_plain_{kind}"](
        grid, (16, 16), [*words, cell, weight, width, begin, *limits, partial, n_dyads, n_a, n_b]
    )


def _launch_tensor(device: Device, a: Units, b: Units, cell: Any, weight: Any, begin: Any, partial: Any) -> None:
    n_sums, n_dyads, n_a, n_b = partial.shape[1:]
    warps_a, tiles_a, tiles_b = NARROW if n_a <= _NARROW_UP_TO else WIDE[a.form, n_sums]
    tile_a, tile_b = 16 * tiles_a * warps_a, 8 * tiles_b * (8 // warps_a)
    stage_bytes = (tile_a + tile_b) * (4 * a.n_words + 16)
    stages = int(np.clip(device.largest_shared_bytes // stage_bytes, 1, _MOST_STAGES))
    module = load(
        "gram", device, PAIRS_OF_HALVES=int(a.form == HALF_PAIRS), N_PADDED=a.n_padded, SUMS=n_sums,
        WARPS_A=warps_a, TILES_A=tiles_a, TILES_B=tiles_b, STAGES=stages,
    )  # fmt: skip
    grid = (-(-n_b // tile_b), n_dyads * -(-n_a // tile_a), len(partial))
    module["gram"](
        grid, 256, [a.words, b.words, a.norms, b.norms, cell, weight, begin, partial, n_dyads, n_a, n_b],
        shared_bytes=stages * stage_bytes,
    )  # fmt: skip


@dataclass(frozen=True)
class Entered:
    """
    The cells of a batch of both sides, whose products were summed.

    Attributes
    ----------
    index : int
        Of the segment.
    times : int64 [time]
    a, b : Cells
    lists : CellLists
    all_valid : (bool, bool)
        Whether all cells of a, and of b, are known to be valid.
    """

    index: int
    times: NDArray[np.int64]
    a: Cells
    b: Cells
    lists: CellLists
    all_valid: tuple[bool, bool] = (False, False)


def entered(
    device: Device, batches: Sequence[Entered], which: int, shape: tuple[int, int, int, int], kept: Kept
) -> Any:
    """Weight (`which` 0) or width (1) of the cells valid in both channels: float64 [mean, dyad, a, b] of the device."""
    xp, known = device.xp, np.zeros((shape[0], 1, 1, 1))
    parts = []
    for batch in batches:
        weights = batch.lists.entering[which]
        if all(batch.all_valid):
            known += weights.total[:, None, None, None]
            continue
        n_cells, w = weights.weight.shape[1], weights.on(device)
        one, sides = xp.ones((1, n_cells, 1)), zip(batch.all_valid, (batch.a, batch.b), strict=True)
        left, right = (
            one if whole else (side.valid == VALID).reshape(n_cells, shape[1], -1).swapaxes(0, 1).astype(np.float64)
            for whole, side in sides
        )  # [dyad or 1, cell, channel or 1]
        parts.append(xp.stack([(left * w[mean, :, None]).swapaxes(1, 2) @ right for mean in range(shape[0])]))
    total = xp.zeros(shape)
    for part in [kept(known), *parts]:
        total += part
    return total
