"""Coherency at every sample: the definition with transforms and powers kept per channel, in float64.

Slower than features by far, but nothing is interpolated: it agrees with the definition to rounding, ends included.
"""

from __future__ import annotations

import os

import numpy as np
import scipy
from numpy.typing import NDArray

from .cone import away_from_seam
from .definition import EMPTY_SHARE, coherency, morlet, padded_length, smooth_rows
from .scales import Scales
from .signals import FINE, Signals, usable_cells

# The Gaussian has fallen to 2e-16 here, so that what wraps around the shorter circle is rounding.
GAUSSIAN_REACH = 8.5
CHANNELS_KEPT = 8

Complex = NDArray[np.complex128]


def coherency_maps(
    a: Signals, b: Signals, scales: Scales, rows: tuple[int, int], every: int = 1, *, definition: str | None = None
) -> Complex:
    """Complex coherency of all pairs of a channel of `a` with a channel of `b`.

    Parameters
    ----------
    a, b : Signals
    scales : Scales
    rows : (first, stop)
        Rows wanted.
    every : int
        Keep every so many-th sample.
    definition : {"grinsted", "grinsted-toolbox"}, optional
        Compute by the definition itself, under that preset.

    Returns
    -------
    complex128 [a, b, row, time]
        NaN where a channel is unusable, its power empty, or bad samples fill the window.
    """
    n_times = len(range(0, a.n_samples, every))
    out = np.empty((a.n_channels, b.n_channels, rows[1] - rows[0], n_times), complex)
    if definition is None:
        _fill(out, _Rows(scales, rows), a, b, every)
    else:
        for i, x in enumerate(a.x.astype(np.float64)):
            for j, y in enumerate(b.x.astype(np.float64)):
                out[i, j] = coherency(x, y, scales, preset=definition)[rows[0] : rows[1], ::every]
    invalid_a, invalid_b = (_invalid(signals, scales, rows, every) for signals in (a, b))
    for i, j in np.ndindex(out.shape[:2]):
        out[i, j][invalid_a[i] | invalid_b[j]] = np.nan
    return out


def cross_wavelet_maps(a: Signals, b: Signals, scales: Scales, rows: tuple[int, int], every: int = 1) -> Complex:
    """
    Cross-wavelet transforms W_a conj(W_b) of unit-variance channels: complex128 [a, b, row, time].

    As `coherency_maps`, without smoothing and without division by the powers.
    """
    wanted = _Rows(scales, rows)
    n_times = len(range(0, a.n_samples, every))
    out = np.empty((a.n_channels, b.n_channels, rows[1] - rows[0], n_times), complex)
    for j in range(b.n_channels):
        (wy,) = wanted.transforms(b, slice(j, j + 1))
        for i in range(a.n_channels):
            (wx,) = wanted.transforms(a, slice(i, i + 1))
            out[i, j] = (wx * wy.conj())[wanted.wanted, ::every]
    invalid_a, invalid_b = (_invalid(signals, scales, rows, every) for signals in (a, b))
    for i, j in np.ndindex(out.shape[:2]):
        out[i, j][invalid_a[i] | invalid_b[j]] = np.nan
    return out


def _fill(out: Complex, rows: _Rows, a: Signals, b: Signals, every: int) -> None:
    for start in range(0, b.n_channels, CHANNELS_KEPT):
        part = slice(start, start + CHANNELS_KEPT)
        kept = [(transform, rows.power(transform)) for transform in rows.transforms(b, part)]
        for i in range(a.n_channels):
            (wx,) = rows.transforms(a, slice(i, i + 1))
            power_x = rows.power(wx)
            for j, (wy, power_y) in enumerate(kept, start):
                cross = rows.smoothed(wx * wy.conj())
                with np.errstate(divide="ignore", invalid="ignore"):
                    value = cross / np.sqrt(power_x * power_y)
                value[~(power_x > EMPTY_SHARE) | ~(power_y > EMPTY_SHARE)] = np.nan
                out[i, j] = value[:, ::every]


class _Rows:
    """Wanted rows with the neighbours that smoothing over scale needs."""

    def __init__(self, scales: Scales, rows: tuple[int, int]) -> None:
        n, guard = scales.n_samples, scales.n_guard
        first, stop = max(0, rows[0] - guard), min(scales.n_rows, rows[1] + guard)
        self.scale = scales.scale[first:stop]
        self.wanted = slice(rows[0] - first, rows[1] - first)
        self.row_weights = scales.smoothing_weights
        self.n_samples, self.n_padded = n, padded_length(n)
        self.n_circle = scipy.fft.next_fast_len(n + min(n, int(GAUSSIAN_REACH * self.scale[-1]) + 1))
        lag = np.minimum(np.arange(self.n_circle), self.n_circle - np.arange(self.n_circle))
        gauss = np.exp(-0.5 * (lag / self.scale[:, None]) ** 2) / (self.scale[:, None] * np.sqrt(2 * np.pi))
        self.transfer = scipy.fft.fft(gauss, axis=-1).real

    def transforms(self, signals: Signals, part: slice) -> list[Complex]:
        """Wavelet transforms of unit-variance channels, complex128 [row, sample] each."""
        spectra = signals.spectra(part)
        omega = 2 * np.pi * np.arange(len(spectra)) / self.n_padded
        wavelets = np.array([morlet(s, omega) for s in self.scale])
        out = []
        for spectrum in spectra.T:
            rows = np.zeros((len(self.scale), self.n_padded), complex)
            rows[:, : len(spectrum)] = wavelets * spectrum
            out.append(
                scipy.fft.ifft(rows, axis=-1, norm="forward", overwrite_x=True, workers=os.cpu_count())[
                    :, : self.n_samples
                ]
            )
        return out

    def power(self, transform: Complex) -> NDArray[np.float64]:
        """Smoothed |W|^2 / s of the wanted rows."""
        return np.asarray(self.smoothed((np.abs(transform) ** 2).astype(complex)).real)

    def smoothed(self, products: Complex) -> Complex:
        """Products over scale, smoothed in time and over rows: complex128 [wanted row, sample]."""
        spectrum = scipy.fft.fft(products / self.scale[:, None], self.n_circle, axis=-1, workers=os.cpu_count())
        spectrum *= self.transfer
        in_time = scipy.fft.ifft(spectrum, axis=-1, overwrite_x=True, workers=os.cpu_count())[:, : self.n_samples]
        return np.asarray(smooth_rows(in_time, self.row_weights)[self.wanted])


def _invalid(signals: Signals, scales: Scales, rows: tuple[int, int], every: int) -> list[NDArray[np.bool_]]:
    """Cells of each channel that are not to be trusted: bool [row, time] each."""
    out = []
    for channel in range(signals.n_channels):
        cells = np.zeros((rows[1] - rows[0], len(range(0, signals.n_samples, every))), bool)
        if signals.status[channel] != FINE:
            cells[:] = True
        elif signals.bad is not None and signals.bad[channel].any():
            cells = ~usable_cells(signals.bad[channel], scales.scale[rows[0] : rows[1]])[:, ::every]
        if signals.seam is not None:
            times = np.arange(0, signals.n_samples, every)
            apart = away_from_seam(signals.seam[channel : channel + 1], times, scales.scale[rows[0] : rows[1]])
            cells = cells | ~apart[:, :, 0].T
        out.append(cells)
    return out
