"""Tables that turn a spectrum into unit features: built once per recording length, checked, kept on disk.

A smoothed product at one cell (row j, time t) is a Hermitian form of the two spectra, C_xy = x^T Q conj(y), with Q the
same for every pair. Its eigenvalues fall by about 0.4 each, so K eigenvectors carry it: u_k = sqrt(lambda_k) <phi_k, x>
and C_xy = <u_x, u_y>. The rows of one group share R filters z; each row's u is a small matrix times z.

Everything acts on one complex, band-limited signal per group of rows, sampled a few times per scale length: far from
the ends of the recording z is a short convolution with it, the same at every time. Near the ends the smoothing window
is cut, and every time has its own filters and matrices, which act on a *frame* of that signal. Left and right ends are
mirror images: only the left ones are kept.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from ...errors import PlanError
from .definition import gaussian_wavelet, morlet, padded_length
from .scales import MORLET_OMEGA0, Scales

FORMAT = 9

# In units of a row's scale: how far a wavelet reaches in frequency (amplitude 2e-11) and to the side in time.
SPECTRAL_REACH = 7.0
WAVELET_REACH = 6.5
GAUSSIAN_REACH = 8.5


@dataclass(frozen=True)
class Rank:
    """How finely the forms are represented.

    Attributes
    ----------
    n_filters : int
        R, filters shared by a group's rows.
    n_features : int
        K, features per cell.
    points_per_scale : float
        Grid points in time per scale length, at the group's smallest scale.
    dtype : str
        Real type of the per-channel stage.
    tail : float
        Largest share of a unit vector's power in its two weakest features for which the rank still keeps its promise.
    end_reach : float
        How far from an end the cut window still matters, in scales; at 9 a spike on the last sample leaves 1e-7.
    cell_reach : float
        How far a cell sees to either side, in scales.
    floor : float
        Smallest weight of a frequency, relative to the group's best, in choosing the filters. Well below 1, power far
        out in the wavelets' skirts (a stop band beside a strong band) is resolved, at the price of more filters.
    """

    n_filters: int
    n_features: int
    points_per_scale: float
    dtype: str
    tail: float
    end_reach: float
    cell_reach: float
    floor: float = 1.0


# Smallest power of a cell that the first rank resolves, as a share of what its filters make of the largest power that
# they meet anywhere. Below it rounding shows in float32, and in float64 the skirts of a strong band beside a stop band.
WEAK_SHARE = 3e-7


@dataclass(frozen=True)
class Stretch:
    """Times of a group's grid that share a set of tables.

    Attributes
    ----------
    place : int64 [time]
        Where each time stands among those asked for.
    times : int64 [time]
    side : int
        1 near the left end, -1 near the right one, 0 far from both.
    phase : int
        Far from the ends, which of the interior filters serve.
    """

    place: NDArray[np.int64]
    times: NDArray[np.int64]
    side: int
    phase: int = 0

    def parts(self, size: int) -> Iterator[Stretch]:
        """Pieces of at most `size` times."""
        for start in range(0, len(self.times), size):
            part = slice(start, start + size)
            yield replace(self, place=self.place[part], times=self.times[part])


@dataclass(frozen=True)
class Group:
    """Tables of up to half an octave of rows that share a time grid and R filters.

    The group's signal b is sampled at ``times[0] + m sample_step``; the grid's step is ``half_steps / 2`` of those.

    Attributes
    ----------
    first_row, n_rows : int
        Rows of the scale axis.
    n_padded, n_bins : int
        Points of the padded transform, and its bins 1..n_bins that the rows see.
    n_circle : int
        Samples of b in n_padded samples of the recording.
    half_steps : int
        Grid step in half samples of b.
    times : float64 [time]
        Grid, in samples of the recording, an odd number, symmetric about its middle; first at or before 0, last at or
        after N - 1.
    kernels : complex [phase, R, point]
        Interior filters on b, for times that fall on a sample of b and for those half-way; empty when every time is
        near an end.
    mixing : float [row, K, R]
        Interior features from filters.
    frame_first : int
        First sample of b in the left frame.
    on_circle : bool
        Whether the frame is the spectrum's bins instead, for recordings too short for a frame.
    end_filters : complex [end, R, frame]
    end_mixing : complex [end, row, K, R]
        Left end: one set per time, for the first `n_end` times.
    """

    first_row: int
    n_rows: int
    n_padded: int
    n_bins: int
    n_circle: int
    half_steps: int
    times: NDArray[np.float64]
    kernels: NDArray[Any]
    mixing: NDArray[Any]
    frame_first: int
    on_circle: bool
    end_filters: NDArray[Any]
    end_mixing: NDArray[Any]

    @property
    def n_end(self) -> int:
        """Times at the left end that have tables of their own."""
        return len(self.end_filters)

    @property
    def n_features(self) -> int:
        """K."""
        return int(self.end_mixing.shape[2])

    @property
    def n_frame(self) -> int:
        """Points of the frame."""
        return int(self.end_filters.shape[2])

    @property
    def sample_step(self) -> float:
        """Step of b, in samples of the recording."""
        return self.n_padded / self.n_circle

    @property
    def n_between(self) -> int:
        """Steps of b from the first to the last time."""
        return (len(self.times) - 1) * self.half_steps // 2

    @property
    def n_points(self) -> int:
        """Samples of b that an interior filter sees."""
        return int(self.kernels.shape[2])

    @property
    def first_sample(self) -> int:
        """Number of the first sample of b that a filter sees."""
        return min(self.frame_first, -(self.n_points // 2))

    @property
    def n_samples(self) -> int:
        """Samples of b that filters see, from the first to its mirror image."""
        return self.n_between - 2 * self.first_sample + 1

    def begins(self, times: NDArray[np.int64]) -> NDArray[np.int64]:
        """First sample of the interior filters at some times, counted from `first_sample`."""
        return times * self.half_steps // 2 - self.n_points // 2 - self.first_sample

    def mirrored(self, times: NDArray[np.int64]) -> NDArray[np.int64]:
        """The same times counted from the right end."""
        return len(self.times) - 1 - times

    def stretches(self, times: NDArray[np.int64]) -> list[Stretch]:
        """Times by the tables that serve them: near the left end, near the right one, and far in either phase."""
        left = (times < self.n_end) & (times <= self.mirrored(times))
        right = ~left & (self.mirrored(times) < self.n_end)
        phases = times * self.half_steps % 2
        kinds = [(left, 1, 0), (right, -1, 0)]
        kinds += [(~left & ~right & (phases == phase), 0, phase) for phase in range(len(self.kernels))]
        return [Stretch(np.flatnonzero(which), times[which], *kind) for which, *kind in kinds if which.any()]

    @cached_property
    def real_kernels(self) -> NDArray[Any]:
        """`kernels` as real matrices [phase, (R, re/im), (point, re/im)]."""
        return _as_real(self.kernels)

    @cached_property
    def real_end_filters(self) -> NDArray[Any]:
        """`end_filters` as real matrices [end, (R, re/im), (frame, re/im)]."""
        return _as_real(self.end_filters)

    @cached_property
    def real_end_mixing(self) -> NDArray[Any]:
        """`end_mixing` as real matrices [end, (row, K, re/im), (R, re/im)]."""
        n_end, n_rows, n_features, n_filters = self.end_mixing.shape
        return _as_real(self.end_mixing.reshape(n_end, n_rows * n_features, n_filters))

    @cached_property
    def folded(self) -> tuple[tuple[NDArray[np.int32], NDArray[Any]], ...]:
        """`kernels` of each phase, points with conjugate values together, since a filter is its own mirror image.

        Points int32 [tap, 2], the second -1 for one that stands alone, and the value at the first, [tap, R, re/im].
        """
        return tuple(_folded(kernels, phase) for phase, kernels in enumerate(self.kernels))

    @cached_property
    def single_end_mixing(self) -> NDArray[np.float32]:
        """`real_end_mixing` in float32."""
        return self.real_end_mixing.astype(np.float32)

    @cached_property
    def mixing_by_filter(self) -> dict[str, NDArray[Any]]:
        """`mixing` as [row, R, K], in either precision."""
        by_filter = self.mixing.transpose(0, 2, 1)
        return {name: np.ascontiguousarray(by_filter, name) for name in ("float32", "float64")}

    @cached_property
    def gain(self) -> NDArray[np.float64]:
        """How much of a window's power can come out as rounding, in eps**2: far from the ends, float64 [row]."""
        norms = (np.abs(self.kernels) ** 2).sum(axis=2).max(axis=0, initial=0.0)
        return np.asarray((np.abs(self.mixing) ** 2 @ norms).sum(axis=1), np.float64)

    @cached_property
    def end_gain(self) -> NDArray[np.float64]:
        """The same for the left end: float64 [end, row]."""
        norms = (np.abs(self.end_filters) ** 2).sum(axis=2)
        return np.asarray(np.einsum("trkf,tf->tr", np.abs(self.end_mixing) ** 2, norms), np.float64)


def _folded(kernels: NDArray[Any], phase: int) -> tuple[NDArray[np.int32], NDArray[Any]]:
    """Filters [R, point] whose middle is a point, or half-way to the next one in the second phase."""
    n_points = kernels.shape[1]
    points = np.arange(n_points)
    mirrored = 2 * (n_points // 2) + phase - points
    paired = (mirrored >= 0) & (mirrored < n_points) & (mirrored != points)
    apart = np.abs(kernels[:, paired] - kernels[:, mirrored[paired]].conj())
    rounding = 64 * np.finfo(kernels.dtype).eps * np.abs(kernels).max(initial=0.0)
    assert apart.max(initial=0.0) <= rounding, "a filter is no mirror image of itself"
    first = np.flatnonzero(~paired | (points > mirrored))
    taps = np.stack([first, np.where(paired[first], mirrored[first], -1)], axis=1).astype(np.int32)
    values = kernels[:, first].T
    return taps, np.stack([values.real, values.imag], axis=2)


def _as_real(matrices: NDArray[Any]) -> NDArray[Any]:
    """Complex [k, m, n] as real [k, 2 m, 2 n] acting on interleaved real and imaginary parts."""
    k, m, n = matrices.shape
    form = np.empty((k, m, 2, n, 2), matrices.real.dtype)
    form[:, :, 0, :, 0] = form[:, :, 1, :, 1] = matrices.real
    form[:, :, 1, :, 0] = matrices.imag
    form[:, :, 0, :, 1] = -matrices.imag
    return form.reshape(k, 2 * m, 2 * n)


# --- building ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rows:
    """Rows of a group and the neighbours their smoothing over scale needs."""

    scale: NDArray[np.float64]  # all rows of the axis, samples
    first: int
    n: int
    weights: NDArray[np.float64]  # [row, needed]: smoothing weight / scale of each needed row
    needed: NDArray[np.int64]

    @property
    def smallest(self) -> float:
        return float(self.scale[self.first])

    @property
    def largest(self) -> float:
        return float(self.scale[self.first + self.n - 1])

    @property
    def top_omega(self) -> float:
        return (MORLET_OMEGA0 + SPECTRAL_REACH) / float(self.scale[self.needed[0]])

    @property
    def bottom_omega(self) -> float:
        """Below 0: signals hold nothing there, and a wavelet not cut at 0 is short in time."""
        return (MORLET_OMEGA0 - SPECTRAL_REACH) / float(self.scale[self.needed[0]])

    def nodes(self, n_points: int, step: float) -> NDArray[np.float64]:
        """Frequencies of a frame within the wavelets' reach, rad/sample."""
        spacing = 2 * np.pi / (n_points * step)
        first, last = math.ceil(self.bottom_omega / spacing), math.floor(self.top_omega / spacing)
        return spacing * np.arange(first, last + 1, dtype=np.float64)


def _rows(scales: Scales, first: int, n: int) -> _Rows:
    guard, kernel = scales.n_guard, scales.smoothing_weights
    needed = np.arange(max(0, first - guard), min(scales.n_rows, first + n + guard))
    offset = needed[None, :] - np.arange(first, first + n)[:, None] + guard
    inside = (offset >= 0) & (offset < len(kernel))
    weights = np.where(inside, kernel[np.clip(offset, 0, len(kernel) - 1)], 0.0)
    return _Rows(scales.scale, first, n, weights / scales.scale[needed], needed)


@dataclass(frozen=True)
class _Grid:
    """The grid of cells and, finer, of the group's signal."""

    n_padded: int
    n_circle: int
    half_steps: int
    times: NDArray[np.float64]

    @property
    def sample_step(self) -> float:
        return self.n_padded / self.n_circle


def _grid(n_samples: int, n_padded: int, rows: _Rows, points_per_scale: float) -> _Grid:
    bandwidth = (rows.top_omega - rows.bottom_omega) / (2 * np.pi)  # cycles per sample
    half_steps = math.ceil(2 * bandwidth * rows.smallest / points_per_scale - 1e-9)
    # Lengths of factors 2, 3 and 5 only (real=True): factors 7 and 11 cost more than the points they save.
    n_steps = 2 * scipy.fft.next_fast_len(math.ceil(n_padded * points_per_scale / rows.smallest / 2), real=True)
    step = n_padded / n_steps
    n_times = math.ceil((n_samples - 1) / step - 1e-9) + 1
    n_times += 1 - n_times % 2
    times = (n_samples - 1) / 2 + (np.arange(n_times, dtype=np.float64) - n_times // 2) * step
    return _Grid(n_padded, n_steps * half_steps // 2, half_steps, times)


def build_group(scales: Scales, first_row: int, n_rows: int, rank: Rank) -> Group:
    """Build and check the tables of rows first_row .. first_row + n_rows - 1.

    Raises
    ------
    PlanError
        If the check against the direct sum fails.
    """
    n, n_padded = scales.n_samples, padded_length(scales.n_samples)
    rows = _rows(scales, first_row, n_rows)
    grid = _grid(n, n_padded, rows, rank.points_per_scale)
    n_bins = min(n_padded // 2, math.floor(rows.top_omega * n_padded / (2 * np.pi)))
    reach = rank.end_reach * rows.largest
    frame_first, frame = _local_frame(rows, grid, reach, rank.cell_reach)
    whole = n - 1 < 2 * reach or frame.n_points > grid.n_circle
    if whole:
        frame_first, frame = 0, _circle_frame(n_padded, n_bins)
    end_times = grid.times[: (len(grid.times) + 1) // 2] if whole else grid.times[grid.times < reach]
    end_filters, end_mixing = _end_tables(rows, frame, end_times, n, rank)
    if whole:
        kernels, mixing = np.zeros((1, end_filters.shape[1], 0), complex), np.zeros(end_mixing.shape[1:])
    else:
        kernels, mixing = _interior_tables(rows, grid, rank)
    group = Group(
        first_row, n_rows, n_padded, n_bins, grid.n_circle, grid.half_steps, grid.times, kernels, mixing,
        frame_first, whole, end_filters, end_mixing,
    )  # fmt: skip
    _check(group, scales, rank)
    return _cast(group, rank.dtype)


@dataclass(frozen=True)
class _Frame:
    """A basis e^{i omega_p (tau - start)} for one stretch of time."""

    omega: NDArray[np.float64]
    start: float
    step: float
    n_points: int

    def to_samples(self, vectors: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """Rows of coefficients over `omega` (conjugated functionals) as functionals of the frame's own points."""
        if self.step == 0:
            return vectors
        points = np.arange(self.n_points) * self.step
        return np.asarray(vectors @ np.exp(-1j * self.omega[:, None] * points) / self.n_points)


def _circle_frame(n_padded: int, n_bins: int) -> _Frame:
    return _Frame(2 * np.pi * np.arange(1, n_bins + 1) / n_padded, 0.0, 0.0, n_bins)


def _local_frame(rows: _Rows, grid: _Grid, reach: float, cell_reach: float) -> tuple[int, _Frame]:
    """First sample of the left frame, and the frame."""
    widest, step = float(rows.scale[rows.needed[-1]]), grid.sample_step
    first = math.floor((-WAVELET_REACH * widest - grid.times[0]) / step)
    start = grid.times[0] + first * step
    n_points = math.ceil((reach + cell_reach * widest - start) / step)
    return first, _Frame(rows.nodes(n_points, step), start, step, n_points)


def _window_transforms(
    rows: _Rows, frame: _Frame, times: NDArray[np.float64], n_samples: int
) -> NDArray[np.complex128]:
    """Sum over tau in [0, N) of g_i(t - tau) e^{-i v (tau - start)}, v = 0, 1, .. frame steps: [needed, time, v]."""
    spacing = frame.omega[1] - frame.omega[0]
    out = np.zeros((len(rows.needed), len(times), len(frame.omega)), complex)
    widest = float(rows.scale[rows.needed[-1]])
    last = min(n_samples, math.ceil(times[-1] + GAUSSIAN_REACH * widest))
    for begin in range(0, last, 2048):
        tau = np.arange(begin, min(begin + 2048, last))
        wave = np.exp(-1j * spacing * np.arange(len(frame.omega)) * (tau - frame.start)[:, None])
        for i, scale in enumerate(rows.scale[rows.needed]):
            gauss = np.exp(-0.5 * ((times[:, None] - tau) / scale) ** 2) / (scale * math.sqrt(2 * np.pi))
            out[i] += gauss @ wave
    return out


def _hermitian_toeplitz(first: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """T[p, p'] = first[p - p'] for p >= p', conjugate above: [..., v] -> [..., v, v] as a view."""
    n = first.shape[-1]
    line = np.concatenate([first[..., :0:-1].conj(), first], axis=-1)
    strides = (*line.strides[:-1], line.strides[-1], -line.strides[-1])
    return np.lib.stride_tricks.as_strided(line[..., n - 1 :], (*first.shape, n), strides, writeable=False)


def _end_tables(
    rows: _Rows, frame: _Frame, times: NDArray[np.float64], n_samples: int, rank: Rank
) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    windows = _window_transforms(rows, frame, times, n_samples)
    n_filters, n_features = _sizes(rank, len(frame.omega))
    end_filters = np.empty((len(times), n_filters, frame.n_points), complex)
    end_mixing = np.empty((len(times), rows.n, n_features, n_filters), complex)

    def one(t: int) -> None:
        basis, end_mixing[t] = _factor(rows, frame.omega, windows[:, t], rank)
        end_filters[t] = frame.to_samples(basis)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(one, range(len(times))))
    return end_filters, end_mixing


def _sizes(rank: Rank, order: int) -> tuple[int, int]:
    return min(rank.n_filters, order), min(rank.n_features, order)


def _factor(
    rows: _Rows, omega: NDArray[np.float64], window: NDArray[Any], rank: Rank
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Shared filters (conjugated eigenvectors) [R, omega] and mixing [row, K, R] of one time's forms."""
    n_filters, n_features = _sizes(rank, len(omega))
    psi = np.array([gaussian_wavelet(s, omega) for s in rows.scale[rows.needed]])
    weight = np.clip(psi.max(0) / psi.max(), rank.floor, 1)
    if rank.floor < 1:
        psi = psi / weight
    toeplitz = _hermitian_toeplitz(window)
    trace = rows.weights @ (psi**2).sum(1) * np.maximum(window[:, 0].real.max(), 1e-300)
    shares = (rows.weights / trace[:, None]).sum(0)
    joint = np.zeros((len(omega), len(omega)), window.dtype)
    for share, envelope, form in zip(shares, psi, toeplitz, strict=True):
        joint += share * (envelope[:, None] * envelope) * form
    top = len(omega) - 1
    _, vectors = scipy.linalg.eigh(
        joint, subset_by_index=(top - n_filters + 1, top), check_finite=False, overwrite_a=True
    )
    vectors = vectors[:, ::-1]
    projected = np.empty((len(psi), n_filters, n_filters), joint.dtype)
    for i, (envelope, form) in enumerate(zip(psi, toeplitz, strict=True)):
        scaled = envelope[:, None] * vectors
        projected[i] = scaled.conj().T @ (form @ scaled)
    power, axes = np.linalg.eigh(np.einsum("ji,irs->jrs", rows.weights, projected))
    power, axes = power[:, -n_features:], axes[:, :, -n_features:]  # rising: float32 sums then start small
    mixing = np.sqrt(np.maximum(power, 0))[:, :, None] * axes.conj().transpose(0, 2, 1)
    return vectors.conj().T * (weight if rank.floor < 1 else 1), mixing


def _interior_tables(rows: _Rows, grid: _Grid, rank: Rank) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
    """Kernels [phase, R, point] and mixing for a cell far from both ends."""
    step = grid.sample_step
    half = math.ceil(rank.cell_reach * float(rows.scale[rows.needed[-1]]) / step)
    n_points = 2 * half + 1
    omega = rows.nodes(n_points, step)
    window = np.exp(-0.5 * (rows.scale[rows.needed][:, None] * (omega - omega[0])) ** 2)
    vectors, mixing = _factor(rows, omega, window, rank)
    phases = [0.0] if grid.half_steps % 2 == 0 else [0.0, 0.5]
    offsets = (np.arange(-half, half + 1) - np.array(phases)[:, None]) * step
    return vectors @ np.exp(-1j * omega[:, None] * offsets[:, None, :]) / n_points, mixing


def _cast(group: Group, dtype: str) -> Group:
    real, cplx = np.dtype(dtype), np.result_type(dtype, np.complex64)
    return replace(
        group,
        kernels=group.kernels.astype(cplx),
        mixing=group.mixing.astype(real),
        end_filters=group.end_filters.astype(cplx),
        end_mixing=group.end_mixing.astype(cplx),
    )


# --- checking ---------------------------------------------------------------------------------------------------------

_CHECK_TIMES = 9


def _check(group: Group, scales: Scales, rank: Rank) -> None:
    """Compare |u|^2 with the direct sum for a random signal, at times from the left end to the middle."""
    half = (len(group.times) + 1) // 2
    chosen = np.unique(np.linspace(0, half - 1, _CHECK_TIMES).astype(int))
    x = np.random.default_rng(0).standard_normal(scales.n_samples)
    spectrum: NDArray[np.complex128] = np.fft.rfft(x - x.mean(), group.n_padded)[1 : group.n_bins + 1] / group.n_padded
    expected = _direct_power(group, scales, spectrum, group.times[chosen])
    found = np.array([(np.abs(_unscaled_features(group, spectrum, int(t))) ** 2).sum(-1) for t in chosen])
    error = np.abs(found / expected - 1).max()
    if not error < 4 * rank.tail:
        raise PlanError(
            f"tables for {scales.n_samples} samples, rows {group.first_row}..{group.first_row + group.n_rows - 1} "
            f"failed their check: relative error {error:.1e}, allowed {4 * rank.tail:.1e}"
        )


def _direct_power(
    group: Group, scales: Scales, spectrum: NDArray[np.complex128], times: NDArray[np.float64]
) -> NDArray[np.float64]:
    """A_x at `times` by the definition's own sums: float64 [time, row]."""
    rows = _rows(scales, group.first_row, group.n_rows)
    tau = np.arange(scales.n_samples)
    omega = 2 * np.pi * np.arange(1, group.n_bins + 1) / group.n_padded
    padded = np.zeros(group.n_padded, complex)
    smoothed = np.empty((len(times), len(rows.needed)))
    for i, scale in enumerate(rows.scale[rows.needed]):
        padded[1 : group.n_bins + 1] = spectrum * morlet(scale, omega)
        power = np.abs(scipy.fft.ifft(padded, norm="forward")[: scales.n_samples]) ** 2
        gauss = np.exp(-0.5 * ((times[:, None] - tau) / scale) ** 2) / (scale * math.sqrt(2 * np.pi))
        smoothed[:, i] = gauss @ power
    return smoothed @ rows.weights.T


def _unscaled_features(group: Group, spectrum: NDArray[np.complex128], t: int) -> NDArray[np.complex128]:
    """Features [row, K] of one signal at the left half's time `t`, before they are scaled to unit length."""
    omega = 2 * np.pi * np.arange(1, group.n_bins + 1) / group.n_padded

    def samples(first: int, n: int) -> NDArray[np.complex128]:
        points = group.times[0] + group.sample_step * (first + np.arange(n))
        return np.asarray(np.exp(1j * points[:, None] * omega) @ spectrum)

    if t < group.n_end:
        frame = spectrum if group.on_circle else samples(group.frame_first, group.n_frame)
        return np.asarray(group.end_mixing[t] @ (group.end_filters[t] @ frame))
    n_points = group.kernels.shape[2]
    base, phase = divmod(t * group.half_steps, 2)
    # A time half-way lies half a sample beyond its base; the kernels' offsets count from the time.
    return np.asarray(group.mixing @ (group.kernels[phase] @ samples(base - n_points // 2, n_points)))


# --- cache ------------------------------------------------------------------------------------------------------------
