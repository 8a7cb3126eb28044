"""Other programs on the same signals, served from a process of their own: `python rivals.py NAME`, called by run.py.

Needs NumPy, SciPy and the program itself, nothing of ibsync: a rival may live in an environment of its own.
"""

from __future__ import annotations

import sys
import warnings
from functools import cache
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np
from cases import PERIODS_S, VOICES
from measure import serve
from numpy.typing import NDArray
from textbook import Textbook, inside_cone, textbook_rows

Map = NDArray[np.float64]


class Rival(Protocol):
    """A program with the transforms it keeps of the channels it has seen."""

    def forget(self) -> None:
        """Drop what is kept."""

    def coherence(self, a: int, b: int) -> Map:
        """Magnitude-squared coherence [row, sample] of channel `a` of one person and `b` of the other."""


class Hypyp:
    """`ComplexMorletWavelet.wtc`, what `Dyad.compute_wtcs` calls for each pair, with its cache of transforms."""

    def __init__(self, signals: NDArray[np.float64], dt: float, *, periods_s: tuple[float, float] = PERIODS_S) -> None:
        from hypyp.wavelet import ComplexMorletWavelet

        self._wavelet = ComplexMorletWavelet(period_range=periods_s, dj=1 / VOICES)
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

    def __init__(self, signals: NDArray[np.float64], dt: float, *, periods_s: tuple[float, float] = PERIODS_S) -> None:
        self._signals, self._dt = signals, dt
        rows = textbook_rows(0, 1 / dt, periods_s)
        self._s0, self._J = 2 * dt * 2.0 ** (rows[0] / VOICES), len(rows) - 1

    def forget(self) -> None:
        pass

    def coherence(self, a: int, b: int) -> Map:
        import pycwt

        x, y = self._signals[0, a], self._signals[1, b]
        return pycwt.wct(x, y, self._dt, dj=1 / VOICES, s0=self._s0, J=self._J, sig=False, wavelet="morlet")[0]


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
        inside = inside_cone(maps[0][0].shape[1])
        assert inside.shape == maps[0][0].shape, f"{len(maps[0][0])} rows, expected {len(inside)}"
        return {
            "shape": maps[0][0].shape,
            "finite": bool(all(np.isfinite(m[inside]).all() for row in maps for m in row)),
            "largest": float(max(m[inside].max() for row in maps for m in row)),
            "means": [[float(m[inside].mean()) for m in row] for row in maps],
        }

    def small_study(path: str, sfreq_hz: float, periods_s: tuple[float, float]) -> list[float]:
        """All pairs of every dyad, one dyad after the other: mean over all cells of each map."""
        means = []
        for dyad in np.load(path).astype(np.float64):
            rival = RIVALS[name][0](dyad, 1 / sfreq_hz, periods_s=periods_s)
            n = range(dyad.shape[1])
            means += [float(rival.coherence(a, b).mean()) for a in n for b in n]
        return means

    def describe() -> dict[str, str]:
        """Versions."""
        return {package: version(package) for package in {RIVALS[name][1], "numpy", "scipy"}}

    serve({job.__name__: job for job in (new_channels, known_channels, means, small_study, describe)})


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    _serve(sys.argv[1])
