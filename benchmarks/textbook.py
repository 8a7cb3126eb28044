"""Grinsted's formulae vectorised over rows and pairs, transforms and smoothed powers kept: on NumPy or on CuPy.

The definition of ibsync's results, written independently: same values, cells by FFT smoothing. Nothing of ibsync is
used.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import numpy as np
from cases import DYAD_SFREQ_HZ, PERIODS_S, VOICES
from numpy.typing import NDArray

MORLET_OMEGA0 = 6.0
PERIOD_PER_SCALE = 4 * math.pi / (MORLET_OMEGA0 + math.sqrt(2 + MORLET_OMEGA0**2))
BOXCAR = np.array([0.6, 1, 1, 1, 1, 1, 1, 1, 0.6]) / 8.2
_GUARD = len(BOXCAR) // 2

Map = Any
"""Real array [.., row, sample] of NumPy or CuPy."""


def textbook_rows(
    n_guard: int = 0, sfreq_hz: float = DYAD_SFREQ_HZ, periods_s: tuple[float, float] = PERIODS_S
) -> NDArray[np.int64]:
    """Rows j of scale 2 * 2^(j/12) samples whose period lies in the range, and guards beyond them."""
    shortest, longest = (math.log2(p * sfreq_hz / PERIOD_PER_SCALE / 2) * VOICES for p in periods_s)
    return np.arange(math.ceil(shortest) - n_guard, math.floor(longest) + 1 + n_guard)


class Textbook:
    """Coherence maps of two people's channels.

    Parameters
    ----------
    signals : real [person, channel, sample]
        Of NumPy or of `xp`; all computing is in their precision, float64 or float32.
    dt : float
        Of a sample, in s.
    xp : module
        numpy or cupy; SciPy's functions come from scipy or cupyx.scipy.
    periods_s : (float, float)
    """

    def __init__(self, signals: Any, dt: float, xp: Any = np, periods_s: tuple[float, float] = PERIODS_S) -> None:
        scipy_of = "cupyx.scipy" if xp.__name__ == "cupy" else "scipy"
        self._fft, self._ndimage = import_module(f"{scipy_of}.fft"), import_module(f"{scipy_of}.ndimage")
        self._xp, self._signals = xp, xp.asarray(signals)
        self._n, real = signals.shape[-1], self._signals.dtype
        self._complex = np.result_type(real, np.complex64)
        scale = 2 * 2.0 ** (textbook_rows(_GUARD, 1 / dt, periods_s) / VOICES)
        self._per_root_scale = xp.asarray(1 / np.sqrt(scale)[:, None], real)
        self._n_padded = 2 ** (math.trunc(math.log2(self._n) + 0.4999) + 1)
        omega = 2 * np.pi * np.arange(self._n_padded // 2 + 1) / self._n_padded
        morlet = np.sqrt(2 * np.pi * scale)[:, None] * math.pi**-0.25 * np.exp(
            -0.5 * (scale[:, None] * omega - MORLET_OMEGA0) ** 2
        ) * (omega > 0)  # fmt: skip
        self._morlet = xp.asarray(morlet, real)
        # Beyond 6 standard deviations the smoothing kernel is 1e-8 of its peak: enough zeros for a linear convolution.
        self._n_circle = self._fft.next_fast_len(self._n + math.ceil(6 * scale[-1]))
        gauss = np.exp(-0.5 * (scale[:, None] * 2 * np.pi * np.fft.fftfreq(self._n_circle)) ** 2)
        self._gauss, self._boxcar = xp.asarray(gauss, real), xp.asarray(BOXCAR, real)
        self.forget()

    def forget(self) -> None:
        """Drop what is kept of the channels."""
        self._kept: dict[tuple[int, int], tuple[Any, Map]] = {}

    def coherence(self, a: int, b: int) -> Map:
        """Magnitude-squared coherence [row, sample] of channel `a` of one person and `b` of the other."""
        return self._coherence(self._channel(0, a), self._channel(1, b))

    def all_pairs(self, at_once: int = 32) -> Iterator[tuple[int, slice, Map]]:
        """Maps [b, row, sample] of each channel `a` with some channels of the other person: a, which, maps."""
        for start in range(0, self._signals.shape[1], at_once):
            some = slice(start, start + at_once)
            partners = self._transformed(self._signals[1, some])
            for a in range(self._signals.shape[1]):
                yield a, some, self._coherence(self._channel(0, a), partners)

    def _coherence(self, first: tuple[Any, Map], second: tuple[Any, Map]) -> Map:
        (x, power_x), (y, power_y) = first, second
        cross = self._smoothed(x * y.conj())
        return (cross.real**2 + cross.imag**2) / (power_x * power_y)

    def _channel(self, person: int, channel: int) -> tuple[Any, Map]:
        key = (person, channel)
        if key not in self._kept:
            self._kept[key] = self._transformed(self._signals[key])
        return self._kept[key]

    def _transformed(self, x: Any) -> tuple[Any, Map]:
        """Transform over root of scale, and smoothed power, [.., row, sample] each, of signals [.., sample]."""
        spectrum = self._fft.rfft(x - x.mean(axis=-1, keepdims=True), self._n_padded)
        rows = self._xp.zeros((*x.shape[:-1], len(self._morlet), self._n_padded), self._complex)
        rows[..., : self._morlet.shape[1]] = spectrum[..., None, :] * self._morlet
        w = self._fft.ifft(rows, axis=-1, overwrite_x=True)[..., : self._n] * self._per_root_scale
        return w, self._smoothed(w.real**2 + w.imag**2)

    def _smoothed(self, products: Any) -> Any:
        if products.dtype.kind == "c":
            spectrum = self._fft.fft(products, self._n_circle, axis=-1)
            spectrum *= self._gauss
            in_time = self._fft.ifft(spectrum, axis=-1, overwrite_x=True)
        else:
            spectrum = self._fft.rfft(products, self._n_circle, axis=-1)
            spectrum *= self._gauss[:, : spectrum.shape[-1]]
            in_time = self._fft.irfft(spectrum, self._n_circle, axis=-1)
        smoothed = self._ndimage.convolve1d(in_time[..., : self._n], self._boxcar, axis=-2, mode="constant")
        return smoothed[..., _GUARD:-_GUARD, :]


def inside_cone(
    n_samples: int, sfreq_hz: float = DYAD_SFREQ_HZ, periods_s: tuple[float, float] = PERIODS_S
) -> NDArray[np.bool_]:
    """Cells [row, sample] of the textbook rows inside the cone of influence: sqrt(2) scales from either end."""
    scale = 2 * 2.0 ** (textbook_rows(0, sfreq_hz, periods_s) / VOICES)
    sample = np.arange(n_samples)
    distance = np.minimum(sample, n_samples - 1 - sample)
    return distance >= math.sqrt(2) * scale[:, None] * (1 - 1e-12)  # where the product is a whole number, it is inside
