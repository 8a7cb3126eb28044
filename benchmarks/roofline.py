"""What a device needs at the least for each stage: operations and bytes by the plan, over peaks measured on it.

Operations are real ones (a complex multiplication and addition are 8), bytes those that must pass the memory once: what
a stage reads and writes, its tables included, however often the caches serve them again. Padding of features to what a
tensor core takes, and operations that scaling and packing need, are not counted: a fraction of 1 is out of reach.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from clocks import Clock, elapsed

from ibsync.coupling.backends.cuda.pair_stage import times_per_chunk
from ibsync.coupling.plan import Plan, Segment
from ibsync.coupling.transform.definition import padded_length

PRODUCTS = {"exact": 3, "fast": 1}
"""Products of halves that make one product on tensor cores: hi hi + hi lo + lo hi, or the one of rounded numbers."""
_SUMS = 3  # of a pair: squared, real and imaginary part; on tensor cores the first alone where nobody asks for more
_COMPLEX, _WORD = 16, 4


@dataclass(frozen=True)
class Peaks:
    """What a device does at its best.

    Parameters
    ----------
    flops_per_s : mapping
        By precision: "fp16" (products of halves added in float32), "fp32", "fp64": large matrix products.
    bytes_per_s : float
        Of a large copy within the device's memory, read and written bytes together.
    """

    flops_per_s: Mapping[str, float]
    bytes_per_s: float


@dataclass(frozen=True)
class Work:
    """Operations of one precision, and bytes."""

    flops: float
    n_bytes: float
    precision: str = "fp64"

    def seconds(self, peaks: Peaks) -> float:
        """The longer of computing and moving, each at its peak."""
        return max(self.flops / peaks.flops_per_s[self.precision], self.n_bytes / peaks.bytes_per_s)


Works = dict[str, list[Work]]
"""Works of each stage, which follow one another."""


def seconds(works: Iterable[Work], peaks: Peaks) -> float:
    """The least time of works that follow one another."""
    return sum(work.seconds(peaks) for work in works)


def together(*parts: Works, times: float = 1.0) -> Works:
    """Works of several jobs by stage, all done some times over."""
    out: Works = {}
    for part in parts:
        for stage, works in part.items():
            out[stage] = out.get(stage, []) + [Work(w.flops * times, w.n_bytes * times, w.precision) for w in works]
    return out


# --- peaks ------------------------------------------------------------------------------------------------------------

_PRECISIONS = {"fp16": np.float16, "fp32": np.float32, "fp64": np.float64}


def measured_peaks(xp: Any, clock: Clock, n: int, copy_bytes: int, *, precisions: Iterable[str] = _PRECISIONS) -> Peaks:
    """Products of n x n random numbers, and a copy, on a device with array functions `xp`: the best of five each.

    Of equal numbers a device multiplies more in a second: fewer of its bits change, so that it draws less power.
    """
    flops = {name: 2.0 * n**3 / _product_s(xp, clock, n, _PRECISIONS[name]) for name in precisions}
    source = xp.ones(copy_bytes // 8, np.float64)
    target = xp.empty(source.shape, np.float64)
    return Peaks(flops, 2.0 * source.nbytes / _best(clock, lambda: xp.copyto(target, source)))


def _product_s(xp: Any, clock: Clock, n: int, dtype: Any) -> float:
    a = xp.asarray(np.random.default_rng(0).standard_normal((n, n), np.float32).astype(dtype))
    out = xp.empty((n, n), dtype)
    return _best(clock, lambda: xp.matmul(a, a, out=out))


def _best(clock: Clock, work: Any, n: int = 5) -> float:
    work()
    return min(elapsed(clock, work)[1] for _ in range(n))


# --- works ------------------------------------------------------------------------------------------------------------


def fft_flops(n: int, *, real: bool = False) -> float:
    """Operations of a transform of n points, as they are customarily counted: 5 n log2 n, half of it for real ones."""
    return (2.5 if real else 5.0) * n * math.log2(n)


def features_work(plan: Plan, n_channels: int) -> Works:
    """Spectra of channels that are on the device in float64."""
    n = padded_length(plan.n_samples)
    moved = 8 * plan.n_samples + _COMPLEX * plan.n_bins
    return {"FFTs": [Work(n_channels * fft_flops(n, real=True), n_channels * moved)]}


def coherence_work(plan: Plan, n_a: int, n_b: int, *, tensor_cores: bool, measured: bool = False) -> Works:
    """Unit features of both sides, and the products of all pairs; every channel is resolved by the first rank.

    With `measured` the measure "coherence" alone is asked for.
    """
    n_sums = 1 if measured and tensor_cores else _SUMS
    works: Works = {}
    for segment in plan.segments:
        if len(segment.times):
            works = together(
                works,
                _channel_work(plan, segment, n_a + n_b, tensor_cores=tensor_cores),
                _pair_work(plan, segment, n_a, n_b, n_sums, tensor_cores=tensor_cores),
            )
    return works


def _channel_work(plan: Plan, segment: Segment, n: int, *, tensor_cores: bool) -> Works:
    group, rank = plan.group(segment, 0), plan.rank(0)
    size, precision = (4, "fp32") if np.dtype(rank.dtype) == np.float32 else (8, "fp64")
    n_rows, n_features, n_filters = group.mixing.shape
    n_times, n_points = len(segment.times), group.kernels.shape[2]
    mirror = len(group.times) - 1 - segment.times
    n_near = int((np.minimum(segment.times, mirror) < group.n_end).sum())
    ends = {*np.minimum(segment.times, mirror).tolist()} & {*range(group.n_end)}
    n_far, n_ends = n_times - n_near, len(ends)
    n_signal = 0 if group.on_circle else group.n_between - 2 * min(group.frame_first, -(n_points // 2)) + 1
    n_read = n_signal if n_far else 2 * group.n_frame
    z_bytes = 2 * size * n_times * n_filters * n
    tables = 2 * size * n_filters * (n_ends * group.n_frame + (n_points if n_far else 0))
    mixed = n_rows * n_features * n_filters
    words = _WORD * n_times * n_rows * n * _words(plan, n_features, tensor_cores=tensor_cores)
    works: Works = {
        "filters": [
            Work(
                8.0 * n_filters * n * (n_near * group.n_frame + n_far * n_points),
                2 * size * n_read * n + tables + z_bytes,
                precision,
            )
        ],
        "unit features": [
            Work(
                mixed * n * (8.0 * n_near + 4.0 * n_far),
                z_bytes + words + size * mixed * (2 * n_ends + 1),
                precision,
            )
        ],
    }
    if not group.on_circle:
        circle = _COMPLEX * group.n_circle * n
        works["band-limited signals"] = [
            Work(0.0, _COMPLEX * group.n_bins * n + circle),
            Work(0.0, min(circle, _COMPLEX * n_signal * n) + 2 * size * n_signal * n),
        ]
        works["FFTs"] = [Work(n * fft_flops(group.n_circle), 2 * circle)]
    return works


def _words(plan: Plan, n_features: int, *, tensor_cores: bool) -> int:
    """32-bit words of one channel's cell, without padding: halves, pairs of halves, or floats."""
    return n_features if tensor_cores and plan.spec.accuracy == "fast" else 2 * n_features


def _pair_work(plan: Plan, segment: Segment, n_a: int, n_b: int, n_sums: int, *, tensor_cores: bool) -> Works:
    used = segment.weights[:, segment.times]
    n_listed, n_cells, n_features = int(np.count_nonzero(used)), used[0].size, plan.group(segment, 0).n_features
    multiplied = PRODUCTS[plan.spec.accuracy] if tensor_cores else 1
    flops = 8.0 * n_features * n_a * n_b * n_listed
    n_chunks = sum(_chunks(weights, times_per_chunk(segment, plan.spec.accuracy)) for weights in used)
    partial = _WORD * n_sums * n_a * n_b * n_chunks
    read = _WORD * _words(plan, n_features, tensor_cores=tensor_cores) * (n_a + n_b) * n_cells
    totals = 2 * 8 * n_sums * n_a * n_b * len(used)
    return {
        "products": [Work(multiplied * flops, read + partial, "fp16" if tensor_cores else "fp32")],
        "sums of chunks": [Work(n_sums * n_a * n_b * n_chunks, partial + totals)],
    }


def _chunks(weights: np.ndarray[Any, Any], per_chunk: int) -> int:
    """Chunks of cells that are added up in float32, of a mean's weights [time, row]."""
    times = np.flatnonzero(weights.any(axis=1))
    return len({*(times // per_chunk).tolist()})


def phase_null_work(plan: Plan, n_a: int, n_b: int, n_draws: int, *, tensor_cores: bool) -> Works:
    """Phase surrogates of one person of a dyad, their coherence with the other."""
    n, n_channels = plan.n_samples, n_draws * n_b
    n_bins = n // 2 + 1
    surrogates: Works = {
        "surrogates": [Work(6.0 * n_bins * n_channels, _COMPLEX * n_bins * (n_b + n_channels))],
        "FFTs": [Work(n_channels * fft_flops(n, real=True), n_channels * (_COMPLEX * n_bins + 8 * n))],
    }
    coherence = coherence_work(plan, n_a, n_channels, tensor_cores=tensor_cores, measured=True)
    return together(surrogates, features_work(plan, n_a + n_channels), coherence)
