"""Wavelet transform coherence as the literature writes it, in plain float64: what right means.

Nothing here is fast. Everything else in the package is compared with this text.

References
----------
Torrence & Compo 1998, Bull. Am. Meteorol. Soc. 79:61 (transform, cone of influence).
Grinsted, Moore & Jevrejeva 2004, Nonlin. Processes Geophys. 11:561 (coherence, smoothing).
"""

from __future__ import annotations

import math

import numpy as np
import scipy
from numpy.typing import NDArray

from .scales import MORLET_OMEGA0, Scales

FloatArray = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]

# A cell is empty where a channel's smoothed power is at or below this share of the channel's variance: what is left
# there (the stop band of a filter, say) is the far tail of the wavelet or rounding, not signal.
EMPTY_SHARE = 1e-9

# A cell is empty, too, where controls leave no more than this share of a channel's power.
EXPLAINED_SHARE = 1e-9


def padded_length(n_samples: int) -> int:
    """Points of the zero-padded transform: 2^(trunc(log2 N + 0.4999) + 1)."""
    return int(2 ** (math.trunc(math.log2(n_samples) + 0.4999) + 1))


def morlet(scale: float, omega: FloatArray) -> FloatArray:
    """Fourier transform of the Morlet wavelet of `scale` (samples) at `omega` (rad/sample): float64 [bin].

    sqrt(2 pi s) pi^(-1/4) exp(-(s omega - 6)^2 / 2) for omega > 0, else 0.
    """
    return np.where(omega > 0, gaussian_wavelet(scale, omega), 0.0)


def gaussian_wavelet(scale: float, omega: FloatArray) -> FloatArray:
    """`morlet` without its cut at zero frequency."""
    height = math.sqrt(2 * math.pi * scale) * math.pi**-0.25
    return np.asarray(height * np.exp(-0.5 * (scale * omega - MORLET_OMEGA0) ** 2))


def transform(x: FloatArray, scales: FloatArray, shift: float = 0.0) -> ComplexArray:
    """Continuous wavelet transform of one signal, mean removed, zeros padded at the end.

    Parameters
    ----------
    x : float64 [sample]
    scales : float64 [row], samples
    shift : float
        The transform at sample t + shift stands at t, on the circle of the padded signal.

    Returns
    -------
    complex128 [row, sample]
    """
    n_padded = padded_length(len(x))
    n_bins = n_padded // 2 + 1  # the Nyquist bin counts as positive
    spectrum = scipy.fft.rfft(x - x.mean(), n_padded)
    omega = 2 * np.pi * np.arange(n_bins) / n_padded
    spectrum = spectrum * np.exp(1j * omega * shift)
    rows = np.zeros((len(scales), n_padded), complex)
    for row, scale in zip(rows, scales, strict=True):
        row[:n_bins] = spectrum * morlet(scale, omega)
    return scipy.fft.ifft(rows, axis=-1)[:, : len(x)]


def smooth(products: NDArray, scales: FloatArray, row_weights: FloatArray, *, circular: bool) -> NDArray:  # type: ignore[type-arg]
    """Smooth in time (Gaussian of one scale), then over rows (`row_weights`).

    Parameters
    ----------
    products : float64 or complex128 [row, sample]
    scales : float64 [row], samples
    row_weights : float64 [2 guard + 1]
    circular : bool
        Smooth on a circle of 2^ceil(log2 N) points, as the published program does; else linearly, values outside the
        recording counting as zero.
    """
    n_samples = products.shape[1]
    n_circle = 2 ** math.ceil(math.log2(n_samples))
    in_time = np.empty_like(products)
    for row, (values, scale) in enumerate(zip(products, scales, strict=True)):
        if circular:
            omega = 2 * np.pi * scipy.fft.fftfreq(n_circle)
            kernel = np.exp(-0.5 * (scale * omega) ** 2)
            smoothed = scipy.fft.ifft(kernel * scipy.fft.fft(values, n_circle))[:n_samples]
        else:
            smoothed = _linear_gaussian(values, scale)
        in_time[row] = smoothed if np.iscomplexobj(products) else smoothed.real
    return smooth_rows(in_time, row_weights)


def _linear_gaussian(values: NDArray, scale: float) -> NDArray:  # type: ignore[type-arg]
    lag = np.arange(-len(values) + 1, len(values))
    kernel = np.exp(-0.5 * (lag / scale) ** 2)
    kernel /= np.exp(-0.5 * (np.arange(-math.ceil(40 * scale), math.ceil(40 * scale) + 1) / scale) ** 2).sum()
    n_fft = scipy.fft.next_fast_len(3 * len(values))
    product = scipy.fft.fft(values, n_fft) * scipy.fft.fft(kernel, n_fft)
    return scipy.fft.ifft(product)[len(values) - 1 : 2 * len(values) - 1]


def smooth_rows(values: NDArray, row_weights: FloatArray) -> NDArray:  # type: ignore[type-arg]
    """Weighted sum over neighbouring rows; rows outside count as zero: same shape as `values` [row, ...]."""
    guard = len(row_weights) // 2
    padded = np.pad(values, [(guard, guard)] + [(0, 0)] * (values.ndim - 1))
    return np.asarray(sum(weight * padded[k : k + len(values)] for k, weight in enumerate(row_weights)))


def coherency(
    x: FloatArray, y: FloatArray, scales: Scales, *, preset: str = "grinsted", shifts: tuple[float, float] = (0.0, 0.0)
) -> ComplexArray:
    """Complex coherency C / sqrt(A_x A_y) of two signals on the full map; its squared modulus is R2.

    Parameters
    ----------
    x, y : float64 [sample]
    scales : Scales
    preset : {"grinsted", "grinsted-toolbox"}
    shifts : (float, float)
        How many samples later x and y are taken.

    Returns
    -------
    complex128 [row, sample]
        Positive angle: x leads y. NaN where a channel is constant or its smoothed power is empty.

    Notes
    -----
    The angle is that of the *smoothed* cross product, which averages well; the published programs return the angle of
    the unsmoothed product.
    """
    wx, wy = (transform(signal, scales.scale, shift) for signal, shift in zip((x, y), shifts, strict=True))
    per_scale = 1 / scales.scale[:, None]

    def smoothed(products: NDArray) -> NDArray:  # type: ignore[type-arg]
        return smooth(products * per_scale, scales.scale, scales.smoothing_weights, circular=preset != "grinsted")

    cross = smoothed(wx * wy.conj())
    power_x, power_y = smoothed(np.abs(wx) ** 2), smoothed(np.abs(wy) ** 2)
    empty = ~(power_x > empty_power(x)) | ~(power_y > empty_power(y))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(empty, np.nan, cross / np.sqrt(power_x * power_y))


def empty_power(x: FloatArray) -> float:
    """Smoothed power at or below which a cell is empty; infinite for a constant or non-finite signal."""
    deviation = float(np.abs(x - x.mean()).max())
    constant = not deviation > 1e-12 * float(np.abs(x).max())
    return math.inf if constant or not math.isfinite(deviation) else EMPTY_SHARE * float(x.var())


def residual_coherency(among: ComplexArray, n_controls_a: int) -> ComplexArray:
    """Coherency of x and y, each without what its own controls explain of it.

    Parameters
    ----------
    among : complex128 [signal, signal, row, sample]
        `coherency` of all pairs of: x, the controls A of x, y, the controls B of y.
    n_controls_a : int
        How many controls x has.

    Returns
    -------
    complex128 [row, sample]
        <x', y'> / sqrt(<x', x'> <y', y'>) with x' = x - C_xA C_AA^-1 A and y' = y - C_yB C_BB^-1 B, all C smoothed
        cross-spectra. NaN where controls explain a signal, or one of the signals is empty.
    """
    first_y = 1 + n_controls_a
    x, y = (_residual_weights(among[part, part]) for part in (slice(0, first_y), slice(first_y, None)))

    def product(left: ComplexArray, right: ComplexArray, block: ComplexArray) -> ComplexArray:
        return np.asarray(np.einsum("irt,ijrt,jrt->rt", left, block, right.conj()))

    power_x = product(x, x, among[:first_y, :first_y]).real
    power_y = product(y, y, among[first_y:, first_y:]).real
    explained = ~(power_x > EXPLAINED_SHARE) | ~(power_y > EXPLAINED_SHARE)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(explained, np.nan, product(x, y, among[:first_y, first_y:]) / np.sqrt(power_x * power_y))


def _residual_weights(among: ComplexArray) -> ComplexArray:
    """Weights of a signal and of its controls in what they leave of it: complex128 [signal, row, sample]."""
    of_controls = np.moveaxis(among[1:, 1:], (0, 1), (-1, -2))  # transposed: <u_k, u_j> w_k = <x, u_j>
    with_signal = np.moveaxis(among[0, 1:], 0, -1)
    usable = np.asarray(np.isfinite(of_controls).all(axis=(-2, -1)) & np.isfinite(with_signal).all(axis=-1))
    clean = np.where(usable[..., None, None], of_controls, np.eye(of_controls.shape[-1]))
    inverse = np.linalg.pinv(clean, rcond=EXPLAINED_SHARE, hermitian=True)
    weights = np.einsum("rtjk,rtk->jrt", inverse, np.where(usable[..., None], with_signal, np.nan))
    return np.concatenate([np.ones((1, *usable.shape)), -weights])
