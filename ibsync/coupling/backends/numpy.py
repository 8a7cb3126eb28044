"""The two verbs with NumPy, SciPy and BLAS: `features` once per channel, `coherence` once per pair.

Per channel everything runs in the rank's precision (float64 for `exact`), since a spike or step of a thousand standard
deviations would otherwise leak rounding over the whole recording. Per pair unit vectors are float32 (float64 at the
deeper rank).
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from typing import Any, TypeVar

import numpy as np
import scipy
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from ...compiled.choice import loops
from ...compiled.loops import MOST_LANES, Columns, Far, Judge, Loops, Units
from ..plan import Plan, Segment
from ..spec import PhaseShares
from ..transform.definition import EMPTY_SHARE, EXPLAINED_SHARE
from ..transform.features import WEAK_SHARE, Group
from ..transform.signals import Signals
from .residuals import without_controls
from .sums import N_PHASES, PhaseSums, Spectra, Sums, deepen_dyads, sums_by_depth

Real = NDArray[Any]
Complex = NDArray[Any]
T = TypeVar("T")
S = TypeVar("S")

# Work of one step stays in a core's second-level cache.
BLOCK_BYTES = 1 << 21
TILE_BYTES = 3 << 18
TIMES_PER_BLOCK = 4  # even where many channels overflow that cache: each block's sums are added to the totals
CELLS_PER_SUM = 512  # float32 sums over more cells would lose digits; blocks are added up in float64
CHANNELS_PER_TASK = 32


class Features(Spectra):
    """Spectra on the host, complex128 [bin, channel]."""

    def part(self, channels: NDArray[np.bool_]) -> Features:
        """Some of the channels."""
        return Features(
            self.signals.part(channels), self.plan, self.spectra[:, channels], self.controls, **self.words_of(channels)
        )


class NumpyBackend:
    """CPU backend: `n_threads` blocks at a time, each with one BLAS thread."""

    name = "numpy"
    device = None
    xp = np

    def __init__(self, n_threads: int | None = None) -> None:
        self.n_threads = n_threads or _usable_cores()
        self._blas = _controller()

    @property
    def squaring(self) -> NumpyBackend:
        """Itself: all sums come at once."""
        return self

    def features(self, signals: Signals, plan: Plan) -> Features:
        """Features of every channel of `signals`."""
        starts = range(0, signals.n_channels, CHANNELS_PER_TASK)
        parts = self._map(lambda start: signals.spectra(slice(start, start + CHANNELS_PER_TASK), plan.n_bins), starts)
        spectra = np.concatenate(list(parts), axis=1)
        controls = None if signals.controls is None else self.features(signals.controls, plan)
        return Features(signals, plan, spectra, controls)

    def at_lags(self, features: Features) -> Features:
        """Features of x(t + lag) at every lag of the plan, one behind the other."""
        return features.at_lags(lambda spectra, turn: spectra * turn[:, None], partial(np.concatenate, axis=1))

    def coherence(self, a: Features, b: Features, shares: PhaseShares | None = None) -> Sums:
        """Sums over cells for all pairs of a channel of `a` with a channel of `b`."""
        return sums_by_depth(a, b, self._sum_at(shares))

    def coherence_of_dyads(self, a: Features, b: Features, n_dyads: int, shares: PhaseShares | None = None) -> Sums:
        """The same for pairs within so many dyads, whose channels follow one another: sums [mean, dyad, a, b]."""
        totals = self._sums(a, b, 0, shares, n_dyads)
        deepen_dyads(totals, a, b, n_dyads, self._sum_at(shares))
        return totals

    def _sum_at(self, shares: PhaseShares | None) -> Callable[[int, Features, Features], Sums]:
        return lambda depth, a, b: self._sums(a, b, depth, shares).of_dyad(0)

    def _sums(self, a: Features, b: Features, depth: int, shares: PhaseShares | None, n_dyads: int = 1) -> Sums:
        """Sums [mean, dyad, a, b] at one depth; cells that it does not resolve are left out and marked."""
        of_dyad = (a.signals.n_channels // n_dyads, b.signals.n_channels // n_dyads)
        totals = Sums.zeros((a.plan.n_means, n_dyads, *of_dyad), shares=shares is not None)
        batches = [a] if a is b else [a, b]
        blocks = _blocks(batches, depth, n_dyads, self.n_threads)
        for means, sums, unresolved in self._map(partial(_block_sums, shares=shares), blocks):
            totals.add(means, sums)
            for features, part in zip(batches, _slices(batches), strict=False):
                features.mark(unresolved.index, unresolved.times, unresolved.cells[..., part])
        for features in batches:
            features.known |= depth == 0
        return totals

    def _map(self, work: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
        """Results in the order of `items`, a few ahead of the consumer: sums do not depend on who finishes first."""
        with self._blas.limit(limits=1, user_api="blas"), ThreadPoolExecutor(self.n_threads) as pool:
            waiting: deque[Future[T]] = deque()
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > 2 * self.n_threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()


@cache
def _controller() -> ThreadpoolController:
    """Of the linear algebra that is loaded now; to look for it takes milliseconds."""
    return ThreadpoolController()


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# --- per channel ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Columns:
    """Channels of one or two batches side by side, then their controls, as one group of rows sees them."""

    batches: list[Features]
    n_dyads: int  # of which each batch holds the channels one dyad after the other
    index: int
    depth: int
    group: Group
    samples: Real  # the group's signal b, [sample, re/im, column]; empty where the frame is the spectrum
    frame: Real  # left frame and mirrored right one side by side, [(point, re/im), 2 columns]

    @cached_property
    def largest_energy(self) -> NDArray[np.float64]:
        """Energy of the samples in the window, anywhere in the recording, where it is largest: [column]."""
        left, right = np.split(np.asarray(np.einsum("pc,pc->c", self.frame, self.frame), np.float64), 2)
        n_points = self.group.n_points
        if not len(self.samples) or not n_points:
            return np.asarray(np.maximum(left, right))
        total = np.cumsum(np.einsum("spc,spc->sc", self.samples, self.samples), axis=0, dtype=np.float64)
        windows = total[n_points:] - total[:-n_points]
        return np.asarray(np.maximum(np.maximum(left, right), windows.max(axis=0, initial=0.0)))

    @cached_property
    def spacing(self) -> int:
        """Samples from one far time to the next of its phase."""
        return self.group.half_steps * len(self.group.kernels) // 2

    @cached_property
    def planar(self) -> Real:
        """The samples as compiled loops read them, [column, re/im, phase, length], with room behind for a vector."""
        n_samples, _, n_columns = self.samples.shape
        length = n_samples // self.spacing + 1 + MOST_LANES
        out = np.zeros((n_columns, 2, self.spacing, length), self.samples.dtype)
        for phase in range(self.spacing):
            part = self.samples[phase :: self.spacing]
            out[:, :, phase, : len(part)] = part.transpose(2, 1, 0)
        return out

    @property
    def segment(self) -> Segment:
        return self.batches[0].plan.segments_at(self.depth)[self.index]

    @property
    def widths(self) -> NDArray[np.float64]:
        return self.batches[0].plan.widths_at(self.depth)[self.index]

    @property
    def n(self) -> int:
        return int(self.frame.shape[1]) // 2

    def slices(self) -> tuple[slice, slice]:
        """Columns of the first and of the last batch."""
        return _slices(self.batches)

    @cached_property
    def everything(self) -> list[tuple[Features, slice]]:
        """The batches and the controls of each, with their columns."""
        batches = _with_controls(self.batches)
        edges = np.cumsum([0, *(batch.signals.n_channels for batch in batches)]).tolist()
        return list(zip(batches, map(slice, edges[:-1], edges[1:]), strict=True))

    @cached_property
    def taken(self) -> NDArray[np.int64] | None:
        """Which controls are taken out of each channel, by column: int64 [channel, control]."""
        at = {id(batch): part.start for batch, part in self.everything}
        taken = [batch.signals.taken for batch in self.batches]
        if any(numbers is None for numbers in taken):
            return None
        first = [at[id(batch.controls)] for batch in self.batches]
        return np.concatenate([start + numbers for start, numbers in zip(first, taken, strict=True)])


def _with_controls(batches: list[Features]) -> list[Features]:
    return [*batches, *(batch.controls for batch in batches if batch.controls is not None)]


def _slices(batches: list[Features]) -> tuple[slice, slice]:
    """Columns of the first and of the last batch, of all side by side."""
    n_a, n_b = batches[0].signals.n_channels, batches[-1].signals.n_channels
    n = n_a if len(batches) == 1 else n_a + n_b
    return slice(0, n_a), slice(n - n_b, n)


def _columns(batches: list[Features], n_dyads: int, index: int, depth: int, n_threads: int) -> _Columns:
    plan = batches[0].plan
    group = plan.group(plan.segments_at(depth)[index], depth)
    dtype = np.dtype(plan.rank(depth).dtype)
    bins = np.concatenate([f.spectra[1 : group.n_bins + 1] for f in _with_controls(batches)], axis=1)
    omega = 2 * np.pi * np.arange(1, group.n_bins + 1) / group.n_padded
    if group.on_circle:
        mirrored = bins.conj() * np.exp(-1j * omega * (plan.n_samples - 1))[:, None]
        frame = np.concatenate([_planar(bins, dtype), _planar(mirrored, dtype)], axis=2)
        return _Columns(
            batches, n_dyads, index, depth, group, np.empty((0, 2, 0), dtype), frame.reshape(-1, frame.shape[2])
        )
    first = group.first_sample
    samples = _band_signal(group, bins * np.exp(1j * omega * group.times[0])[:, None], dtype, n_threads)
    left = slice(group.frame_first - first, group.frame_first - first + group.n_frame)
    frame = np.concatenate([samples[left], samples[::-1][left]], axis=2)
    frame[:, 1, bins.shape[1] :] *= -1  # the mirrored recording's signal is the conjugate
    return _Columns(batches, n_dyads, index, depth, group, samples, frame.reshape(-1, frame.shape[2]))


def _band_signal(group: Group, bins: Complex, dtype: np.dtype[Any], n_threads: int) -> Real:
    """The group's signal b from its bins [bin, channel]: [sample, re/im, channel]."""
    at = np.arange(group.first_sample, group.first_sample + group.n_samples) % group.n_circle
    runs = np.split(at, np.flatnonzero(np.diff(at) != 1) + 1)
    starts = np.cumsum([0, *map(len, runs)]).tolist()
    samples = np.empty((len(at), 2, bins.shape[1]), dtype)
    for first in range(0, bins.shape[1], CHANNELS_PER_TASK):  # few channels stay in the cache
        some = slice(first, first + CHANNELS_PER_TASK)
        circle = np.zeros((group.n_circle, bins[:, some].shape[1]), complex)
        circle[1 : group.n_bins + 1] = bins[:, some]
        circle = scipy.fft.ifft(circle, axis=0, norm="forward", overwrite_x=True, workers=n_threads)
        for run, start in zip(runs, starts, strict=False):
            part = circle[run[0] : run[-1] + 1]
            samples[start : start + len(run), 0, some] = part.real
            samples[start : start + len(run), 1, some] = part.imag
    return samples


def _planar(values: Complex, dtype: np.dtype[Any]) -> Real:
    """Complex [point, channel] as real [point, re/im, channel]."""
    out = np.empty((len(values), 2, values.shape[1]), dtype)
    out[:, 0], out[:, 1] = values.real, values.imag
    return out


@dataclass(frozen=True)
class _Block:
    """Times of a group that are worked on together: all near an end (counted from the left one), or all far."""

    columns: _Columns
    times: NDArray[np.int64]
    near: bool


def _blocks(batches: list[Features], depth: int, n_dyads: int, n_threads: int) -> Iterator[_Block]:
    for index, segment in enumerate(batches[0].plan.segments_at(depth)):
        columns = _columns(batches, n_dyads, index, depth, n_threads)
        group = columns.group
        stretches = group.stretches(segment.times)
        near = [s.times if s.side > 0 else group.mirrored(s.times) for s in stretches if s.side]
        runs = [(np.unique(np.concatenate(near)), True)] if near else []
        runs += [(s.times, False) for s in stretches if not s.side]
        if depth == 0:
            _ = columns.largest_energy  # made here, once, as threads have no lock around it
        if _is_compiled(columns) and not all(near for _, near in runs):
            _ = columns.planar
        per_time = group.n_rows * _bytes_per_cell(columns)
        for times, is_near in runs:
            step = min(max(TIMES_PER_BLOCK, BLOCK_BYTES // (per_time * (1 + is_near))), CELLS_PER_SUM // group.n_rows)
            parts = [times]
            if not is_near and _is_compiled(columns):
                parts = np.split(times, np.flatnonzero(np.diff(times) != len(group.kernels)) + 1)
            if loops() is not None:  # so many as fill whole vectors of cells; with many channels half of that does
                step = (16 if is_near else 32) // (1 + (32 * per_time > 8 * BLOCK_BYTES))
                step = min(step, CELLS_PER_SUM // group.n_rows)
            for part in parts:
                for start in range(0, len(part), step):
                    yield _Block(columns, part[start : start + step], is_near)


def _bytes_per_cell(columns: _Columns) -> int:
    """Features before and after scaling, the rotated ones, and the products of all pairs if they are few."""
    a, b = (part.stop - part.start for part in columns.slices())
    features = 2 * columns.group.n_features * columns.n * (columns.frame.itemsize + 4)
    return int(features + 16 * columns.group.n_features * b + min(8 * a * b // columns.n_dyads, TILE_BYTES // 64))


def _block_sums(block: _Block, shares: PhaseShares | None) -> _Part:
    """Which means a block contributes to, its sums, and the cells that the rank does not resolve."""
    columns, times = block.columns, block.times
    weights = columns.segment.weights
    if not block.near:
        u = None if _is_compiled(columns) else _far(columns, times)
        cells = _Cells(times, u, _noise(columns, columns.group.gain[None]), 1)
        return _side_sums(columns, cells, weights[:, times], _Classes.of(shares, columns, times))
    mirror = columns.group.mirrored(times)
    u, noise = _near(columns, times), _noise(columns, columns.group.end_gain[times])
    left, right = slice(0, columns.n), slice(columns.n, None)
    once = mirror != times  # the middle is its own mirror image
    of_mirror = weights[:, mirror] * once[:, None]
    sides = [
        _side_sums(columns, _Cells(at, u[..., half], noise, direction), w, classes)
        for half, at, w, direction, classes in (
            (left, times, weights[:, times], 1, _Classes.of(shares, columns, times)),
            (right, mirror, of_mirror, -1, _Classes.of(shares, columns, mirror, once)),
        )
        if w.any()
    ]
    return sides[0] if len(sides) == 1 else _joined(*sides)


@dataclass(frozen=True)
class _Cells:
    """Cells [time, row] of a group on one side.

    Attributes
    ----------
    times : int64 [time]
    u : float [time, row, (K, re/im), column] or None
        Features before scaling; None where compiled loops make them of the samples.
    noise : float64 [time or 1, row, column] or None
        Power below which a cell is too weak for the rank, where that can happen.
    direction : int
        -1 for a mirrored recording.
    """

    times: NDArray[np.int64]
    u: Real | None
    noise: NDArray[np.float64] | None
    direction: int


def _noise(columns: _Columns, gain: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Power [time or 1, row, column] below which cells drown in rounding and in what the filters leave out.

    Both are proportional to the largest power that the filters meet: a spike rings over the whole band-limited signal,
    filters cut at a few scales do not cancel that to the last digit, and a few filters leave out the skirts of a strong
    band. The deeper rank is not asked.
    """
    return None if columns.depth else np.asarray(WEAK_SHARE * gain[:, :, None] * columns.largest_energy)


def _near(columns: _Columns, times: NDArray[np.int64]) -> Real:
    """Features before scaling, [time, row, (K, re/im), left and right columns], of times counted from the left end."""
    group = columns.group
    run = slice(times[0], times[-1] + 1)
    filters = group.real_end_filters[run].reshape(-1, 2 * group.n_frame)
    z = (filters @ columns.frame).reshape(run.stop - run.start, -1, columns.frame.shape[1])
    if _is_compiled(columns) and columns.depth == 0:
        # As in `far_features`: once filters have cancelled what is outside a window, float32 is enough.
        u: Real = np.matmul(group.single_end_mixing[run], z.astype(np.float32, copy=False))
    else:
        u = np.matmul(group.real_end_mixing[run], z)
    if len(u) != len(times):  # epochs may leave holes
        u = u[times - times[0]]
    return u.reshape(len(times), group.n_rows, 2 * group.n_features, -1)


def _far(columns: _Columns, times: NDArray[np.int64]) -> Real:
    """Features before scaling, [time, row, (K, re/im), column], of times of one phase far from both ends."""
    group, samples = columns.group, columns.samples
    phase = int(times[0]) * group.half_steps % 2
    z = np.empty((len(times), len(group.real_kernels[phase]), columns.n), samples.dtype)
    for begin, out in zip(group.begins(times), z, strict=True):
        window = samples[begin : begin + group.n_points].reshape(2 * group.n_points, -1)
        np.matmul(group.real_kernels[phase], window, out=out)
    mixing = group.mixing.reshape(group.n_rows * group.n_features, -1)
    u: Real = np.matmul(mixing, z.reshape(len(times), mixing.shape[1], -1))
    return u.reshape(len(times), group.n_rows, 2 * group.n_features, -1)


@dataclass(frozen=True)
class _Unit:
    """Unit features [cell, (K, re/im), column], zero where invalid; validity bool [cell, column] or None."""

    u: Real
    valid: NDArray[np.bool_] | None

    def of(self, columns: slice) -> _Unit:
        """Some columns."""
        return _Unit(self.u[..., columns], None if self.valid is None else self.valid[:, columns])


@dataclass(frozen=True)
class _Unresolved:
    """Cells of a segment that the rank does not resolve, bool [time, row, column]."""

    index: int
    times: NDArray[np.int64]
    cells: NDArray[np.bool_]


_Judged = tuple[Real, Real, NDArray[np.bool_], NDArray[np.bool_]]


def _judged(columns: _Columns, cells: _Cells) -> _Judged:
    """Features before scaling, their power, where they are valid, and which cells are left out as not resolved."""
    u, times = cells.u, cells.times
    assert u is not None
    power = np.einsum("trkc,trkc->trc", u, u)
    valid = power > EMPTY_SHARE  # channels have unit variance, unusable ones are zero
    if (usable := _usable(columns, times)) is not None:
        valid &= usable
    shallow = np.zeros_like(valid)
    if columns.depth == 0 and not all(features.known for features in columns.batches):
        tail = np.einsum("trkc,trkc->trc", u[:, :, :4], u[:, :, :4])
        unresolved = tail > columns.batches[0].plan.rank(0).tail * power
        if cells.noise is not None:
            unresolved |= power < cells.noise
        shallow = valid & unresolved
    if columns.taken is not None:
        u, power, valid, shallow = _residual(columns, u, power, valid, shallow)
    shallow &= ~_known(columns)
    return u, power, valid & ~shallow, shallow


def _usable(columns: _Columns, times: NDArray[np.int64]) -> NDArray[np.bool_] | None:
    """Cells that can be valid, bool [time, row, column]; None if all can."""
    usable = None
    for features, part in columns.everything:
        of_part = features.usable(columns.depth, columns.index)
        if of_part is not None:
            usable = np.ones((len(times), columns.group.n_rows, columns.n), bool) if usable is None else usable
            usable[:, :, part] = of_part[times]
    return usable


def _known(columns: _Columns) -> NDArray[np.bool_]:
    """Columns whose cells that are not resolved are known, and left out already: bool [column]."""
    return np.repeat(
        [features.known for features in columns.batches], [features.signals.n_channels for features in columns.batches]
    )


def _unit(columns: _Columns, cells: _Cells) -> tuple[_Unit, _Unresolved]:
    """Unit features, and the cells that the rank does not resolve, which are left out."""
    u, power, valid, shallow = _judged(columns, cells)
    all_valid = bool(valid.all())
    length = np.divide(1, np.sqrt(power), out=np.zeros_like(power), where=valid)
    # Rounding of float32 products is 1e-6 at worst with 22 features; the deeper rank has twice as many.
    unit: Real = u.astype(np.float64 if columns.depth else np.float32, copy=False)
    unit *= length.astype(unit.dtype, copy=False)[:, :, None, :]
    flat = unit.reshape(-1, *unit.shape[2:])
    left_out = _Unresolved(columns.index, cells.times, shallow)
    return _Unit(flat, None if all_valid else valid.reshape(-1, valid.shape[-1])), left_out


def _residual(columns: _Columns, u: Real, power: Real, valid: NDArray[np.bool_], shallow: NDArray[np.bool_]) -> _Judged:
    """Features without what controls explain, their power, where they are valid, and where not resolved."""
    taken = columns.taken
    assert taken is not None
    n = len(taken)
    flat = u.reshape(-1, *u.shape[2:]).astype(np.float64 if columns.depth else np.float32, copy=False)
    left = without_controls(np, flat[..., :n], flat[..., n:], taken - n).reshape(*u.shape[:3], n)
    power_left = np.einsum("trkc,trkc->trc", left, left)
    valid_left = valid[..., :n] & (power_left > EXPLAINED_SHARE * power[..., :n])
    for control in taken.T:
        valid_left &= valid[..., control]
    return left, power_left, valid_left, shallow[..., :n] | shallow[..., taken].any(axis=-1)


# --- per pair ---------------------------------------------------------------------------------------------------------

_Part = tuple[NDArray[np.int64], Sums, _Unresolved]


def _side_sums(columns: _Columns, cells: _Cells, weights: NDArray[np.float64], classes: _Classes | None) -> _Part:
    """Sums over cells [time, row] under weights [mean, time, row]."""
    means = np.flatnonzero(weights.any(axis=(1, 2)))
    some = None if classes is None else replace(classes, widths=classes.widths[means])
    of_means = weights[means].reshape(len(means), -1)
    if (compiled := loops()) is not None:
        units = _compiled_units(compiled, columns, cells)
        shape = (len(cells.times), columns.group.n_rows, -1)
        unresolved = _Unresolved(columns.index, cells.times, units.unresolved.reshape(shape))
        return means, _compiled_sums(compiled, units, columns, of_means, cells.direction, some), unresolved
    unit, unresolved = _unit(columns, cells)
    a, b = (unit.of(part) for part in columns.slices())
    return means, _weighted_sums(a, b, of_means, cells.direction, columns.n_dyads, some), unresolved


def _is_compiled(columns: _Columns) -> bool:
    """Whether compiled loops make unit features all the way; controls are taken out between."""
    return loops() is not None and columns.taken is None


def _compiled_units(compiled: Loops, columns: _Columns, cells: _Cells) -> Units:
    """As `_unit`, by compiled loops."""
    dtype = "float64" if columns.depth else "float32"
    if columns.taken is not None:
        left, _, valid, unresolved = _judged(columns, cells)
        flat = np.ascontiguousarray(left.reshape(-1, *left.shape[2:]))
        found = compiled.unit_features(flat, dtype, Judge(-1.0, usable=valid.reshape(len(flat), -1)))
        return replace(found, unresolved=unresolved.reshape(len(flat), -1))
    judge = _judge(columns, cells)
    if cells.u is not None:
        return compiled.unit_features(cells.u.reshape(-1, *cells.u.shape[2:]), dtype, judge)
    group, times = columns.group, cells.times
    taps, kernels = group.folded[int(times[0]) * group.half_steps % 2]
    far = Far(columns.planar, int(group.begins(times[:1])[0]), len(times), taps, kernels, group.mixing_by_filter[dtype])
    return compiled.far_features(far, dtype, judge)


def _judge(columns: _Columns, cells: _Cells) -> Judge:
    """What makes cells valid and resolved."""
    usable, noise = _usable(columns, cells.times), None
    if columns.depth == 0 and cells.noise is not None:
        noise = np.ascontiguousarray(cells.noise.reshape(-1, columns.n), np.float32)
    tail = -1.0 if columns.depth else columns.batches[0].plan.rank(0).tail
    return Judge(EMPTY_SHARE, tail, noise, None if usable is None else usable.reshape(-1, columns.n), _known(columns))


def _compiled_sums(
    compiled: Loops,
    units: Units,
    columns: _Columns,
    weights: NDArray[np.float64],
    direction: int,
    classes: _Classes | None,
) -> Sums:
    """As `_weighted_sums`, by compiled loops."""
    (a, b), n_dyads = columns.slices(), columns.n_dyads
    n_a, n_b = ((part.stop - part.start) // n_dyads for part in (a, b))
    pairs = Columns(a.start, b.start, n_a, n_b, n_dyads, n_a, n_b)
    asked = None if classes is None else (classes.widths, classes.asked.limits)
    found = compiled.pair_sums(units, pairs, weights, direction, asked)
    valid_a, valid_b = (None, None) if units.valid.all() else (units.valid[:, a], units.valid[:, b])
    phases = None
    if classes is not None and found.classes is not None:
        phases = PhaseSums(np.moveaxis(found.classes, 0, 2), _entered(classes.widths, valid_a, valid_b, n_dyads))
    squared, inner = (found.squared.swapaxes(0, 1), found.inner.swapaxes(0, 1))
    return Sums(squared, inner, _entered(weights, valid_a, valid_b, n_dyads), phases)


def _joined(first: _Part, second: _Part) -> _Part:
    means = np.union1d(first[0], second[0])
    times, cells = (np.concatenate([getattr(part[2], name) for part in (first, second)]) for name in ("times", "cells"))
    unresolved = _Unresolved(first[2].index, times, cells)
    if np.array_equal(first[0], second[0]):
        return means, first[1] + second[1], unresolved
    sums = Sums.zeros((len(means), *first[1].squared.shape[1:]), shares=first[1].phases is not None)
    for own, part, _ in (first, second):
        sums.add(np.searchsorted(means, own), part)
    return means, sums, unresolved


@dataclass(frozen=True)
class _Classes:
    """Phase classes asked for, and the samples each cell stands for: float64 [mean, cell].

    Plain widths, none negative: the share of cells in a class jumps from cell to cell, and a spline gains nothing.
    """

    asked: PhaseShares
    widths: NDArray[np.float64]

    @classmethod
    def of(
        cls, asked: PhaseShares | None, columns: _Columns, times: NDArray[np.int64], counted: Any = True
    ) -> _Classes | None:
        """Of cells [time, row] at some times, those left out that are not `counted`; None where nothing is asked."""
        if asked is None:
            return None
        widths = columns.widths[:, times] * np.reshape(counted, (-1, 1))
        return cls(asked, widths.reshape(len(widths), -1))

    def sums(self, product: Real, direction: int) -> Real:
        """Samples of coherent cells in each class, [mean, class, dyad, a, b], of [cell, dyad, a, (b, re/im)]."""
        re, im = (np.ascontiguousarray(product[..., part::2]) for part in (0, 1))
        if direction < 0:
            np.negative(im, out=im)
        squared = re * re + im * im
        level, in_phase, anti_phase = self.asked.limits
        above = squared > level
        np.multiply(re, np.abs(re), out=re)
        found = np.empty((N_PHASES, *re.shape), re.dtype)
        within, beyond = above & (re > in_phase * squared), above & (re < anti_phase * squared)
        between = above & ~(within | beyond)
        found[0], found[3] = within, beyond
        np.logical_and(between, im > 0, out=found[1])
        np.subtract(between, found[1], out=found[2])
        found = found.reshape(N_PHASES, len(re), -1)
        sums: Real = np.matmul(self.widths.astype(re.dtype), found)
        return sums.transpose(1, 0, 2).reshape(-1, N_PHASES, *re.shape[1:])


def _weighted_sums(
    a: _Unit,
    b: _Unit,
    weights: NDArray[np.float64],
    direction: int,
    n_dyads: int = 1,
    classes: _Classes | None = None,
) -> Sums:
    """Gram products of the unit features of each dyad, their squares, and sums over cells under `weights` [mean, cell].

    Returns
    -------
    Sums of [mean, dyad, a, b]
    """
    n_cells = len(a.u)
    left = a.u.reshape(n_cells, a.u.shape[1], n_dyads, -1).transpose(0, 2, 3, 1)
    right = _with_rotation(b.u).reshape(n_cells, b.u.shape[1], n_dyads, -1).transpose(0, 2, 1, 3)
    n_a, n_b = left.shape[2], right.shape[3] // 2
    w, pair = weights.astype(a.u.dtype), np.result_type(a.u.dtype, np.complex64)
    shape = (len(w), n_dyads, n_a, n_b)
    squared, inner = np.empty(shape, a.u.dtype), np.empty(shape, pair)
    phases = None
    if classes is not None:
        width = _entered(classes.widths, a.valid, b.valid, n_dyads)
        phases = PhaseSums(np.empty((len(w), N_PHASES, *shape[1:]), a.u.dtype), width)
    for some_a in _tiles(n_a, n_cells * n_dyads):
        for some_b in _tiles(n_b, n_cells * n_dyads):
            product = np.matmul(left[:, :, some_a], right[..., 2 * some_b.start : 2 * some_b.stop])
            flat = product.reshape(n_cells, -1)
            here = (..., some_a, some_b)
            of_tile = (len(w), *product.shape[1:3], -1)
            inner[here] = (w @ flat).view(pair).reshape(of_tile)
            if classes is not None and phases is not None:
                phases.classes[here] = classes.sums(product, direction)
            np.multiply(flat, flat, out=flat)
            both = (w @ flat).reshape(*of_tile, 2)
            np.add(both[..., 0], both[..., 1], out=squared[here])
    if direction < 0:
        np.conj(inner, out=inner)
    return Sums(squared, inner, _entered(weights, a.valid, b.valid, n_dyads), phases)


def _tiles(n: int, n_cells: int) -> list[slice]:
    """Channels in equal parts, so that the products of two parts stay in cache."""
    largest = max(8, int(np.sqrt(TILE_BYTES / (8 * n_cells))))
    edges = np.linspace(0, n, -(-n // largest) + 1).astype(int).tolist()
    return [slice(first, stop) for first, stop in itertools.pairwise(edges)]


def _with_rotation(u: Real) -> Real:
    """[cell, (K, re/im), channel] -> [cell, (K, re/im), (channel, re/im)] so that one real product gives <x, y>."""
    n_cells, n, n_channels = u.shape
    pairs = u.reshape(n_cells, n // 2, 2, n_channels)  # a view, also of some columns
    out = np.empty((n_cells, n // 2, 2, n_channels, 2), u.dtype)
    out[..., 0] = pairs
    # Not np.negative: NumPy 2.4 gets it wrong from strided to strided float32.
    np.multiply(pairs[:, :, 1], u.dtype.type(-1), out=out[:, :, 0, :, 1])
    out[:, :, 1, :, 1] = pairs[:, :, 0]
    return out.reshape(n_cells, n, 2 * n_channels)


def _entered(
    weights: NDArray[np.float64],
    valid_a: NDArray[np.bool_] | None,
    valid_b: NDArray[np.bool_] | None,
    n_dyads: int = 1,
) -> NDArray[np.float64]:
    """Weight of the cells valid in both channels: [mean, dyad or 1, a or 1, b or 1]."""
    if valid_a is None and valid_b is None:
        return np.asarray(weights.sum(axis=1)[:, None, None, None])
    one = np.ones((weights.shape[1], n_dyads), bool)
    a, b = (
        (one if valid is None else valid).reshape(len(one), n_dyads, -1).transpose(1, 2, 0)
        for valid in (valid_a, valid_b)
    )
    return np.asarray((a[None] * weights[:, None, None, :]) @ b.transpose(0, 2, 1).astype(float))
