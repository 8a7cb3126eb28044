"""Couplings of band-passed signals as their definitions say, sample by sample, in float64."""

import numpy as np
import scipy.fft
import scipy.signal

SFREQ = 50.0


def slow_taps(low, high):
    """The filter as MNE-Python designs it, each low-pass by SciPy."""
    widths = min(max(low / 4, 2), low), min(max(high / 4, 2), high, SFREQ / 2 - high)
    parts = [
        scipy.signal.firwin(2 * (round(3.3 * SFREQ / width) // 2) + 1, cutoff, window="hamming", fs=SFREQ)
        for width, cutoff in zip(widths, (low - widths[0] / 2, high + widths[1] / 2), strict=True)
    ]
    longest = max(2 * (int(np.ceil(3.3 * SFREQ / min(widths))) // 2) + 1, *map(len, parts))
    below, above = (np.pad(part, (longest - len(part)) // 2) for part in parts)
    return above - below


def slow_signal(x, band, padding=0):
    """Analytic signal: filtered sample by sample, then the negative frequencies of its transform left out."""
    n_samples = len(x)
    filled = np.interp(np.arange(n_samples), np.flatnonzero(np.isfinite(x)), x[np.isfinite(x)])
    filtered = np.convolve((filled - filled.mean()) / filled.std(), slow_taps(*band))
    half = (len(filtered) - n_samples) // 2
    n = scipy.fft.next_fast_len(n_samples + 2 * half, real=True) + padding
    long = np.concatenate([filtered[half:], np.zeros(n - n_samples - 2 * half), filtered[:half]])
    return scipy.signal.hilbert(long)[:n_samples]


def slow_value(kind, z, w):
    """The measure of two analytic signals [sample]."""
    phase, other = np.angle(z), np.angle(w)
    cross = z * w.conj()
    locked = np.exp(1j * (phase - other)).mean()
    if kind == "plv":
        return abs(locked)
    if kind == "ciplv":
        return abs(locked.imag) / np.sqrt(1 - locked.real**2)
    if kind == "ppc":
        difference = phase - other
        cosines = np.cos(difference[:, None] - difference)
        return cosines[np.triu_indices(len(z), 1)].mean()
    if kind == "ccorr":
        x, y = (np.sin(p - np.angle(np.exp(1j * p).mean())) for p in (phase, other))
        return abs((x * y).sum()) / np.sqrt((x**2).sum() * (y**2).sum())
    if kind == "accorr":
        minus, plus = np.exp(1j * (phase - other)).mean(), np.exp(1j * (phase + other)).mean()
        m, n = (np.angle(plus) + np.angle(minus)) / 2, (np.angle(plus) - np.angle(minus)) / 2
        x, y = np.sin(phase - m), np.sin(other - n)
        return len(z) * (abs(minus) - abs(plus)) / (2 * np.sqrt((x**2).sum() * (y**2).sum()))
    coherency = cross.sum() / np.sqrt((abs(z) ** 2).sum() * (abs(w) ** 2).sum())
    if kind in ("coh", "imcoh"):
        return abs(coherency) if kind == "coh" else coherency.imag
    imaginary = cross.imag
    if kind == "pli":
        return abs(np.sign(imaginary).mean())
    if kind == "wpli":
        return abs(imaginary.mean()) / abs(imaginary).mean()
    if kind == "dwpli":
        pairs, sizes = np.outer(imaginary, imaginary), np.outer(abs(imaginary), abs(imaginary))
        apart = ~np.eye(len(z), dtype=bool)
        return pairs[apart].sum() / sizes[apart].sum()
    take = {"envelope": abs, "power": lambda v: abs(v) ** 2, "correlation": np.real}[kind]
    return np.corrcoef(take(z), take(w))[0, 1]
