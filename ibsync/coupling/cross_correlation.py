"""Windowed cross-correlation: correlations of windows at every lag, their mean, and the lag where it is largest."""

from __future__ import annotations

from typing import Any

import numpy as np

from .forms import FORMS, PairSums


def windows(parts: list[tuple[int, int]], length: int) -> list[int]:
    """First samples of windows of a length, each half a window after the one before, within parts (start, stop)."""
    step = max(1, length // 2)
    return [first for start, stop in parts for first in range(start, stop - length + 1, step)]


def largest_over_lags(sums: PairSums, length: int, largest_lag: int, min_valid: float) -> tuple[Any, Any]:
    """
    The largest over lags of the mean correlation of windows, and its lag.

    Parameters
    ----------
    sums : PairSums
        Of band-passed signals, with the samples that enter; `b` is there `largest_lag` samples beyond them.
    length : int
        Of a window, in samples; there is one at least.
    largest_lag : int
        Lags run from minus this to this, in samples.
    min_valid : float
        Windows of which two people share a smaller part have no correlation, as long as the others are as many.

    Returns
    -------
    float64 [dyad, a, b], twice
        NaN where too few windows have a correlation; the lag in samples, positive where a leads.
    """
    xp = sums.xp
    starts = np.array(windows(list(sums.parts), length))
    lags = np.arange(-largest_lag, largest_lag + 1)
    best = lag_of = None
    for lag in lags.tolist():
        mean = _mean_correlation(sums, starts, length, lag, min_valid)
        if best is None:
            best, lag_of = mean, xp.full(mean.shape, float(lag))
            continue
        larger = (mean > best) | (xp.isnan(best) & ~xp.isnan(mean))
        best, lag_of = xp.where(larger, mean, best), xp.where(larger, float(lag), lag_of)
    return best, xp.where(xp.isnan(best), np.nan, lag_of)


def _mean_correlation(sums: PairSums, starts: Any, length: int, lag: int, min_valid: float) -> Any:
    """Mean over windows of the correlation at one lag: [dyad, a, b]."""
    xp, n_dyads = sums.xp, len(sums.a)

    def cut(x: Any, later: int) -> Any:
        if x is None:
            return None
        taken = xp.stack([x[..., k + later : k + later + length] for k in starts.tolist()], axis=1)
        return taken.reshape(-1, *taken.shape[2:])

    of = (cut(sums.a, 0), cut(sums.b, lag), cut(sums.has_a, 0), cut(sums.has_b, lag))
    here = PairSums(*of, [(0, length)], 0, xp)
    value = xp.where(here.n >= max(2.0, min_valid * length), FORMS["xcorr"].value(here), np.nan)
    value = value.reshape(n_dyads, len(starts), *value.shape[1:])
    there = xp.isfinite(value)
    n = there.sum(axis=1)
    total = xp.where(there, value, 0).sum(axis=1)
    return xp.where((n > 0) & (n >= min_valid * len(starts)), total / xp.maximum(n, 1), np.nan)
