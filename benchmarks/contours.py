"""Share of trusted cells of unrelated signals inside contours of significance: prints a table, writes JSON.

python benchmarks/contours.py [--pairs 40] [--draws 50] [--out benchmarks/results/contours.json]
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rates import asked, write
from scipy.signal import butter, lfilter, sosfiltfilt

import ibsync as ibs

Floats = NDArray[np.float64]
Rng = np.random.Generator

SFREQ_HZ, N = 10.0, 2000


def waves(rng: Rng) -> Floats:
    """Waves around 0.1 Hz, as fNIRS has, of sd 3."""
    band = butter(2, [0.085, 0.115], "bandpass", fs=SFREQ_HZ, output="sos")
    wave = sosfiltfilt(band, rng.standard_normal((2, 2 * N)), axis=1)[:, N // 2 : N // 2 + N]
    return np.asarray(3 * wave / wave.std())


def ar1(rng: Rng) -> Floats:
    """AR(1) noise of lag-1 autocorrelations 0.9 and 0.95."""
    noise = rng.standard_normal((2, 2 * N))
    made = [lfilter([1], [1, -g], own)[N:] for g, own in zip((0.9, 0.95), noise, strict=True)]
    return np.array(made)


SIGNALS: dict[str, Callable[[Rng], Floats]] = {
    "AR(1) noise, 0.9 and 0.95": ar1,
    "waves around 0.1 Hz in white noise": lambda rng: waves(rng) + rng.standard_normal((2, N)),
    "waves around 0.1 Hz on a random walk": lambda rng: waves(rng) + 0.2 * rng.standard_normal((2, N)).cumsum(axis=1),
}


def main() -> None:
    words = asked(__doc__, pairs=40, draws=50)
    rows: list[dict[str, Any]] = []
    for name, made in SIGNALS.items():
        for kind in ("ar1", "phase"):
            share = []
            for pair in range(words.pairs):
                signals = made(np.random.default_rng([1, *name.encode(), pair]))
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", RuntimeWarning)
                    ds = ibs.wtc(
                        *signals, sfreq=SFREQ_HZ, fmin=0.05, fmax=0.5, detrend="linear", significance=kind,
                        n=words.draws, seed=pair,
                    )  # fmt: skip
                trusted = (ds.period <= ds.coi).values
                share.append(float((ds.coherence > ds.significance_level).values[0, 0][trusted].mean()))
            mean, error = float(np.mean(share)), float(np.std(share, ddof=1) / np.sqrt(len(share)))
            rows.append({"signals": name, "significance": kind, "pairs": words.pairs, "share": mean, "se": error})
            print(f"{name:<40} {kind:<6} {mean:.3f} (standard error {error:.3f})", flush=True)
    how = (
        f"pairs of unrelated signals, {N / SFREQ_HZ:g} s at {SFREQ_HZ:g} Hz, 0.05-0.5 Hz, straight lines removed, "
        f"{words.draws} draws"
    )
    write(words.out, how, rows=rows)


if __name__ == "__main__":
    main()
