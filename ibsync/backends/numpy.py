"""The two verbs with NumPy, SciPy and BLAS: `features` once per channel, `coherence` once per pair.

Per channel everything runs in the rank's precision (float64 for `exact`), since a spike or step of a thousand standard
deviations would otherwise leak rounding over the whole recording. Per pair unit vectors are float32.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import scipy.fft
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from ..definition import EMPTY_SHARE
from ..plan import Plan, Segment
from ..signals import BAD_SHARE, Signals, bad_share
from ..tables import Group

Real = NDArray[Any]
Complex = NDArray[Any]
T = TypeVar("T")
S = TypeVar("S")

# Work of one step stays in a core's second-level cache.
BLOCK_BYTES = 2 << 20
TILE_BYTES = 1 << 20
TIMES_PER_BLOCK = 4  # even where many channels overflow that cache: each block's sums are added to the totals
CHANNELS_PER_TASK = 32
CHANNELS_PER_FFT = 4


class _TooShallow(Exception):  # noqa: N818 - a signal between two functions of this module, not an error
    """A block holds cells that the present rank does not resolve."""


@dataclass
class Features:
    """Filters z of each segment, real [time, R, re/im, channel]; unit features are formed from them block by block."""

    signals: Signals
    plan: Plan
    depth: int = 0
    filtered: dict[int, list[Real]] = field(default_factory=dict)
    usable: list[NDArray[np.bool_]] | None = None


@dataclass(frozen=True)
class Sums:
    """Weighted sums over the cells of each band x epoch.

    Attributes
    ----------
    squared : float64 (of one block float32) [mean, a, b]
        Of |<u_x, u_y>|^2.
    inner : complex128 (of one block complex64) [mean, a, b]
        Of <u_x, u_y>.
    weight : float64 [mean, a, b] (of one block [mean, a or 1, b or 1])
        Of the cells that entered, in samples.
    """

    squared: Real
    inner: Complex
    weight: NDArray[np.float64]

    @classmethod
    def zeros(cls, shape: tuple[int, ...]) -> Sums:
        """Nothing summed yet."""
        return cls(np.zeros(shape), np.zeros(shape, complex), np.zeros(shape))


class NumpyBackend:
    """CPU backend: `n_threads` blocks at a time, each with one BLAS thread."""

    name = "numpy"

    def __init__(self, n_threads: int | None = None) -> None:
        self.n_threads = n_threads or _usable_cores()

    def features(self, signals: Signals, plan: Plan) -> Features:
        """Features of every channel of `signals`."""
        features = Features(signals, plan)
        self._filtered(features, 0)
        if signals.bad is not None:
            features.usable = [_usable_cells(signals.bad, plan, segment) for segment in plan.segments]
        return features

    def coherence(self, a: Features, b: Features) -> Sums:
        """Sums over cells for all pairs of a channel of `a` with a channel of `b`."""
        depth = max(a.depth, b.depth)
        while True:
            try:
                return self._coherence(a, b, depth)
            except _TooShallow:
                depth += 1
                a.depth = b.depth = depth

    def _coherence(self, a: Features, b: Features, depth: int) -> Sums:
        plan = a.plan
        za, zb = self._filtered(a, depth), self._filtered(b, depth)
        totals = Sums.zeros((plan.n_means, a.signals.n_channels, b.signals.n_channels))

        def block_sums(block: tuple[int, slice]) -> tuple[NDArray[np.int64], Sums]:
            index, times = block
            pairs = [(a, za[index][times])] if a is b else [(a, za[index][times]), (b, zb[index][times])]
            segment, group = plan.segments[index], plan.group(plan.segments[index], depth)
            mixed = _mixed([z for _, z in pairs], segment.times[times], group)
            unit = [_unit(f, u, index, times, depth) for (f, _), u in zip(pairs, mixed, strict=True)]
            weights = segment.weights[:, times]
            means = np.flatnonzero(weights.any(axis=(1, 2)))
            return means, _weighted_sums(unit[0], unit[-1], weights[means].reshape(len(means), -1))

        for means, sums in self._map(block_sums, _blocks(plan, za, zb)):
            totals.squared[means] += sums.squared
            totals.inner[means] += sums.inner
            totals.weight[means] += sums.weight
        return totals

    def _filtered(self, features: Features, depth: int) -> list[Real]:
        if depth not in features.filtered:
            plan, signals = features.plan, features.signals
            tables = [(segment, plan.group(segment, depth)) for segment in plan.segments]
            dtype = np.dtype(plan.rank(depth).dtype)
            n_bins = max(group.n_bins for _, group in tables) + 1
            out = [np.empty((len(s.times), g.n_filters, 2, signals.n_channels), dtype) for s, g in tables]

            def filter_channels(start: int) -> None:
                part = slice(start, start + CHANNELS_PER_TASK)
                spectra = signals.spectra(part, n_bins)
                for (segment, group), z in zip(tables, out, strict=True):
                    _filter(spectra, segment, group, plan.n_samples, z[..., part])

            for _ in self._map(filter_channels, range(0, signals.n_channels, CHANNELS_PER_TASK)):
                pass
            features.filtered = {depth: out}  # a shallower one is not needed again
        return features.filtered[depth]

    def _map(self, work: Callable[[S], T], items: Iterable[S]) -> Iterator[T]:
        """Results in the order of `items`, a few ahead of the consumer: sums do not depend on who finishes first."""
        with ThreadpoolController().limit(limits=1, user_api="blas"), ThreadPoolExecutor(self.n_threads) as pool:
            waiting: deque[Future[T]] = deque()
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > 2 * self.n_threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# --- per channel ------------------------------------------------------------------------------------------------------


def _filter(spectra: Complex, segment: Segment, group: Group, n_samples: int, out: Real) -> None:
    """z at the segment's times, from the interior's folded filters and the two ends' frames, into `out`."""
    n_times, n_end = len(group.times), group.n_end
    left = segment.times < n_end
    right = segment.times >= n_times - min(n_end, n_times // 2)
    bins = spectra[1 : group.n_bins + 1]
    omega = 2 * np.pi * np.arange(1, group.n_bins + 1) / group.n_padded
    inner = ~(left | right)
    for start in range(0, bins.shape[1], CHANNELS_PER_FFT):
        part = slice(start, start + CHANNELS_PER_FFT)
        if inner.any():
            _store(out[..., part], inner, _interior(bins[:, part], omega, segment.times[inner], group))
    _store(out, left, _end(bins, omega, segment.times[left], group))
    mirrored = bins.conj() * np.exp(-1j * omega * (n_samples - 1))[:, None]
    _store(out, right, _end(mirrored, omega, n_times - 1 - segment.times[right], group).conj())


def _store(out: Real, where: NDArray[np.bool_], z: Complex) -> None:
    span = np.flatnonzero(where)
    if len(span):
        target = out[span[0] : span[-1] + 1]  # each part's times lie together
        target[:, :, 0], target[:, :, 1] = z.real, z.imag


def _interior(bins: Complex, omega: NDArray[np.float64], times: NDArray[np.int64], group: Group) -> Complex:
    """Folded filtering: multiply, add modulo the short length, transform back. Complex [time, R, channel]."""
    dtype = np.result_type(group.filters.dtype, np.complex64)
    shifted = (bins * np.exp(1j * omega * group.times[0])[:, None]).astype(dtype)
    n_channels = shifted.shape[1]
    pairs = shifted.view(group.filters.dtype).reshape(len(bins), 1, 2 * n_channels)
    folded = np.zeros((group.n_circle, group.n_filters, n_channels), dtype)
    target = folded.view(group.filters.dtype)
    for begin, first in zip(*_folds(group.n_bins, group.n_circle), strict=True):
        stop = min(begin + group.n_circle - first, group.n_bins)
        here = target[first : first + stop - begin]
        if begin == 0:
            np.multiply(group.filters[:stop, :, None], pairs[:stop], out=here)
        else:
            here += group.filters[begin:stop, :, None] * pairs[begin:stop]
    z = scipy.fft.ifft(folded, axis=0, norm="forward", overwrite_x=True)
    return np.asarray(z[times])


def _folds(n_bins: int, n_circle: int) -> tuple[list[int], list[int]]:
    """Where bins 1.. start in the table, and on the circle, for each turn."""
    begins = [0, *range(n_circle - 1, n_bins, n_circle)]
    return begins, [1] + [0] * (len(begins) - 1)


def _end(bins: Complex, omega: NDArray[np.float64], times: NDArray[np.int64], group: Group) -> Complex:
    """Filters of the left end at `times` (a run, rising or falling): complex [time, R, channel]."""
    if not len(times):
        return np.empty((0, group.n_filters, bins.shape[1]), complex)
    frame = bins if group.frame_step == 0 else _frame(bins, omega, group)
    filters = group.end_filters[times.min() : times.max() + 1].reshape(-1, group.n_frame)
    z = (filters @ frame.astype(filters.dtype, copy=False)).reshape(len(times), group.n_filters, -1)
    return np.asarray(z if times[0] <= times[-1] else z[::-1])


def _frame(bins: Complex, omega: NDArray[np.float64], group: Group) -> Complex:
    """Band-limited samples of the left frame: complex128 [point, channel]."""
    n_circle = round(group.n_padded / group.frame_step)
    circle = np.zeros((n_circle, bins.shape[1]), complex)
    circle[1 : group.n_bins + 1] = bins * np.exp(1j * omega * group.frame_start)[:, None]
    return np.asarray(scipy.fft.ifft(circle, axis=0, norm="forward", overwrite_x=True)[: group.n_frame])


def _mixed(z: list[Real], times: NDArray[np.int64], group: Group) -> list[Real]:
    """Features of each batch before scaling: real [time, row, (K, re/im), channel]."""
    out = [np.empty((len(times), group.n_rows, 2 * group.n_features, v.shape[-1]), v.dtype) for v in z]
    interior = group.mixing.reshape(group.n_rows * group.n_features, group.mixing.shape[-1])
    n_times, n_end = len(group.times), group.n_end
    for t, time in enumerate(times):
        near = min(time, n_times - 1 - time)
        at_end = near < n_end
        mixing = group.end_mixing_real[int(time != near)][near] if at_end else interior
        for v, u in zip(z, out, strict=True):  # the matrix is read once for both
            n_columns = v.shape[-1] if at_end else 2 * v.shape[-1]
            np.matmul(mixing, v[t].reshape(-1, n_columns), out=u[t].reshape(-1, n_columns))
    return out


@dataclass(frozen=True)
class _Unit:
    """Unit features float32 [cell, (K, re/im), channel], zero where invalid, and validity bool [cell, channel]."""

    u: Real
    valid: NDArray[np.bool_] | None


def _unit(features: Features, u: Real, index: int, times: slice, depth: int) -> _Unit:
    power = np.einsum("trkc,trkc->trc", u, u)
    valid = power > EMPTY_SHARE  # channels have unit variance, unusable ones are zero
    last = u[:, :, -4:]
    if depth == 0:
        tail = np.einsum("trkc,trkc->trc", last, last)
        if np.any(valid & (tail > features.plan.rank(0).tail * power)):
            raise _TooShallow
    if features.usable is not None:
        valid &= features.usable[index][times]
    all_valid = bool(valid.all())
    length = np.divide(1, np.sqrt(power), out=np.zeros_like(power), where=valid)
    unit = np.multiply(u, length[:, :, None, :], dtype=np.float32, casting="same_kind")
    return _Unit(unit.reshape(-1, *unit.shape[2:]), None if all_valid else valid.reshape(-1, valid.shape[-1]))


def _usable_cells(bad: NDArray[np.bool_], plan: Plan, segment: Segment) -> NDArray[np.bool_]:
    """Cells whose window holds few bad samples: bool [time, row, channel]."""
    times = plan.group(segment, 0).times[segment.times]
    usable = np.ones((len(times), segment.n_rows, len(bad)), bool)
    for channel in np.flatnonzero(bad.any(axis=1) & ~bad.all(axis=1)):
        for row in range(segment.n_rows):
            share = bad_share(bad[channel], plan.scale[segment.first_row + row])
            usable[:, row, channel] = np.interp(times, np.arange(bad.shape[1]), share) <= BAD_SHARE
    return usable


# --- per pair ---------------------------------------------------------------------------------------------------------


def _blocks(plan: Plan, za: list[Real], zb: list[Real]) -> Iterator[tuple[int, slice]]:
    """(segment, run of times) whose features fit the cache."""
    for index, segment in enumerate(plan.segments):
        rank_size = za[index].itemsize * 2 * plan.rank(0).n_features * segment.n_rows
        per_time = rank_size * (za[index].shape[-1] + zb[index].shape[-1])
        step = max(TIMES_PER_BLOCK, BLOCK_BYTES // per_time)
        for start in range(0, len(segment.times), step):
            yield index, slice(start, min(start + step, len(segment.times)))


def _weighted_sums(a: _Unit, b: _Unit, weights: NDArray[np.float64]) -> Sums:
    """Gram products of unit features, their squares, and sums over cells under `weights` [mean, cell]."""
    ua, ub = a.u, b.u
    n_cells, _, n_a = ua.shape
    n_b = ub.shape[2]
    w = weights.astype(np.float32)
    right = _with_rotation(ub)
    squared, inner = np.empty((len(w), n_a, n_b), np.float32), np.empty((len(w), n_a, n_b), np.complex64)
    tile = max(8, int(np.sqrt(TILE_BYTES / (8 * n_cells))))
    for i in range(0, n_a, tile):
        left = ua[:, :, i : i + tile].transpose(0, 2, 1)
        for j in range(0, n_b, tile):
            product = np.matmul(left, right[:, :, 2 * j : 2 * (j + tile)])
            flat = product.reshape(n_cells, -1)
            here = (slice(None), slice(i, i + tile), slice(j, j + tile))
            shape = (len(w), product.shape[1], -1)
            inner[here] = (w @ flat).view(np.complex64).reshape(shape)
            np.multiply(flat, flat, out=flat)
            both = (w @ flat).reshape(*shape[:2], -1, 2)
            np.add(both[..., 0], both[..., 1], out=squared[here])
    return Sums(squared, inner, _entered(weights, a.valid, b.valid))


def _with_rotation(u: Real) -> Real:
    """[cell, (K, re/im), channel] -> [cell, (K, re/im), (channel, re/im)] so that one real product gives <x, y>."""
    n_cells, n, n_channels = u.shape
    pairs = u.reshape(n_cells, n // 2, 2, n_channels)
    out = np.empty((n_cells, n // 2, 2, n_channels, 2), u.dtype)
    out[..., 0] = pairs
    np.negative(pairs[:, :, 1], out=out[:, :, 0, :, 1])
    out[:, :, 1, :, 1] = pairs[:, :, 0]
    return out.reshape(n_cells, n, 2 * n_channels)


def _entered(
    weights: NDArray[np.float64], valid_a: NDArray[np.bool_] | None, valid_b: NDArray[np.bool_] | None
) -> NDArray[np.float64]:
    """Weight of the cells valid in both channels: [mean, a or 1, b or 1]."""
    if valid_a is None and valid_b is None:
        return weights.sum(axis=1)[:, None, None]
    one = np.ones((weights.shape[1], 1), bool)
    a, b = (one if valid is None else valid for valid in (valid_a, valid_b))
    return np.asarray((a.T[None] * weights[:, None, :]) @ b.astype(float))
