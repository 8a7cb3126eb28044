"""Other programs on the same signals, served from a process of their own: `python rivals.py NAME`, called by run.py.

Needs NumPy, SciPy and the program itself, nothing of ibsync: a rival may live in an environment of its own.
"""

from __future__ import annotations

import math
import sys
import warnings
from functools import cache
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np
import scipy.fft
from cases import DYAD_SFREQ_HZ, PERIODS_S, VOICES
from measure import serve
from numpy.typing import NDArray
from scipy.ndimage import convolve1d

MORLET_OMEGA0 = 6.0
PERIOD_PER_SCALE = 4 * math.pi / (MORLET_OMEGA0 + math.sqrt(2 + MORLET_OMEGA0**2))

Map = NDArray[np.float64]


def textbook_rows(n_guard: int = 0) -> NDArray[np.int64]:
    """Rows j of scale 2 * 2^(j/12) samples whose period lies in 5-50 s, and guards beyond them."""
    shortest, longest = (math.log2(p * DYAD_SFREQ_HZ / PERIOD_PER_SCALE / 2) * VOICES for p in PERIODS_S)
    return np.arange(math.ceil(shortest) - n_guard, math.floor(longest) + 1 + n_guard)


class Rival(Protocol):
    """A program with the transforms it keeps of the channels it has seen."""

    def forget(self) -> None:
        """Drop what is kept."""

    def coherence(self, a: int, b: int) -> Map:
        """Magnitude-squared coherence [row, sample] of channel `a` of one person and `b` of the other."""


class Hypyp:
    """`ComplexMorletWavelet.wtc`, what `Dyad.compute_wtcs` calls for each pair, with its cache of transforms."""

    def __init__(self, signals: NDArray[np.float64], dt: float) -> None:
        from hypyp.wavelet import ComplexMorletWavelet

        self._wavelet = ComplexMorletWavelet(period_range=PERIODS_S, dj=1 / VOICES)
        self._signals = signals
        self._time = np.arange(signals.shape[-1]) * dt

    def forget(self) -> None:
        self._wavelet.clear_cache()

    def coherence(self, a: int, b: int) -> Map:
        from hypyp.wavelet import PairSignals

        pair = PairSignals(
            self._time, self._signals[0, a], self._signals[1, b], label_ch1=f"a{a}", label_ch2=f"b{b}",
            label_s1="one", label_s2="two", label_task="rest",
        )  # fmt: skip
        return self._wavelet.wtc(pair).W


class Pycwt:
    """`wct(sig=False)` at the rows of ibsync; it keeps nothing between pairs."""

    def __init__(self, signals: NDArray[np.float64], dt: float) -> None:
        self._signals, self._dt = signals, dt
        rows = textbook_rows()
        self._s0, self._J = 2 * dt * 2.0 ** (rows[0] / VOICES), len(rows) - 1

    def forget(self) -> None:
        pass

    def coherence(self, a: int, b: int) -> Map:
        import pycwt

        x, y = self._signals[0, a], self._signals[1, b]
        return pycwt.wct(x, y, self._dt, dj=1 / VOICES, s0=self._s0, J=self._J, sig=False, wavelet="morlet")[0]


class Textbook:
    """Grinsted's formulae in float64, vectorised over rows, transforms and smoothed powers kept per channel.

    The definition of ibsync's results, written independently: same values, cells by FFT smoothing.
    """

    def __init__(self, signals: NDArray[np.float64], dt: float) -> None:  # noqa: ARG002
        self._signals = signals
        self._n = signals.shape[-1]
        scale = 2 * 2.0 ** (textbook_rows(n_guard=4) / VOICES)
        self._per_root_scale = 1 / np.sqrt(scale)[:, None]
        self._n_padded = 2 ** (math.trunc(math.log2(self._n) + 0.4999) + 1)
        omega = 2 * np.pi * np.arange(self._n_padded // 2 + 1) / self._n_padded
        self._morlet = np.sqrt(2 * np.pi * scale)[:, None] * math.pi**-0.25 * np.exp(
            -0.5 * (scale[:, None] * omega - MORLET_OMEGA0) ** 2
        ) * (omega > 0)  # fmt: skip
        # Beyond 6 standard deviations the smoothing kernel is 1e-8 of its peak: enough zeros for a linear convolution.
        self._n_circle = scipy.fft.next_fast_len(self._n + math.ceil(6 * scale[-1]))
        self._gauss = np.exp(-0.5 * (scale[:, None] * 2 * np.pi * scipy.fft.fftfreq(self._n_circle)) ** 2)
        self._boxcar = np.array([0.6, 1, 1, 1, 1, 1, 1, 1, 0.6]) / 8.2
        self.forget()

    def forget(self) -> None:
        self._kept: dict[tuple[int, int], tuple[NDArray[np.complex128], Map]] = {}

    def coherence(self, a: int, b: int) -> Map:
        (x, power_x), (y, power_y) = self._channel(0, a), self._channel(1, b)
        cross = self._smoothed(x * y.conj())
        return (cross.real**2 + cross.imag**2) / (power_x * power_y)

    def _channel(self, person: int, channel: int) -> tuple[NDArray[np.complex128], Map]:
        """Transform over root of scale, and smoothed power."""
        key = (person, channel)
        if key not in self._kept:
            x = self._signals[key]
            rows = np.zeros((len(self._morlet), self._n_padded), complex)
            rows[:, : self._morlet.shape[1]] = scipy.fft.rfft(x - x.mean(), self._n_padded) * self._morlet
            w = scipy.fft.ifft(rows, axis=1, overwrite_x=True)[:, : self._n] * self._per_root_scale
            self._kept[key] = w, self._smoothed(w.real**2 + w.imag**2)
        return self._kept[key]

    def _smoothed(self, products: NDArray[Any]) -> NDArray[Any]:
        if np.iscomplexobj(products):
            spectrum = scipy.fft.fft(products, self._n_circle, axis=1)
            spectrum *= self._gauss
            in_time = scipy.fft.ifft(spectrum, axis=1, overwrite_x=True)
        else:
            spectrum = scipy.fft.rfft(products, self._n_circle, axis=1)
            spectrum *= self._gauss[:, : spectrum.shape[1]]
            in_time = scipy.fft.irfft(spectrum, self._n_circle, axis=1)
        return convolve1d(in_time[:, : self._n], self._boxcar, axis=0, mode="constant")[4:-4]


RIVALS = {"hypyp": (Hypyp, "HyPyP"), "pycwt": (Pycwt, "pycwt"), "textbook": (Textbook, "numpy")}


@cache
def _rival(name: str, path: str, sfreq_hz: float) -> Rival:
    # Recordings reach these programs in float64, as MNE and NumPy give them.
    return RIVALS[name][0](np.load(path).astype(np.float64), 1 / sfreq_hz)


def _serve(name: str) -> None:
    def new_channels(path: str, sfreq_hz: float, n: int) -> None:
        """Pairs (0, 0) .. (n-1, n-1), each of two channels not seen before."""
        rival = _rival(name, path, sfreq_hz)
        rival.forget()
        for k in range(n):
            rival.coherence(k, k)

    def known_channels(path: str, sfreq_hz: float, n: int) -> None:
        """The n (n-1) other pairs of those channels."""
        rival = _rival(name, path, sfreq_hz)
        for a in range(n):
            for b in range(n):
                if a != b:
                    rival.coherence(a, b)

    def means(path: str, sfreq_hz: float, n: int) -> dict[str, Any]:
        """Mean over the cells inside the cone of influence of n**2 pairs, and what the maps look like."""
        rival = _rival(name, path, sfreq_hz)
        maps = [[rival.coherence(a, b) for b in range(n)] for a in range(n)]
        inside = _inside(maps[0][0].shape)
        return {
            "shape": maps[0][0].shape,
            "finite": bool(all(np.isfinite(m[inside]).all() for row in maps for m in row)),
            "largest": float(max(m[inside].max() for row in maps for m in row)),
            "means": [[float(m[inside].mean()) for m in row] for row in maps],
        }

    def describe() -> dict[str, str]:
        """Versions."""
        return {package: version(package) for package in {RIVALS[name][1], "numpy", "scipy"}}

    serve({job.__name__: job for job in (new_channels, known_channels, means, describe)})


def _inside(shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Cells of the textbook rows inside the cone of influence: sqrt(2) scales from either end."""
    scale = 2 * 2.0 ** (textbook_rows() / VOICES)
    assert shape[0] == len(scale), f"{shape[0]} rows, expected {len(scale)}"
    sample = np.arange(shape[1])
    distance = np.minimum(sample, shape[1] - 1 - sample)
    return distance >= math.sqrt(2) * scale[:, None] * (1 - 1e-12)  # where the product is a whole number, it is inside


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    _serve(sys.argv[1])
