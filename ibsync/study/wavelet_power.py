"""Wavelet power of one recording and the power of red noise (Torrence & Compo 1998)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..coupling.spec import WTC
from ..coupling.transform.cone import cone_of_influence
from ..coupling.transform.definition import transform
from ..coupling.transform.scales import PERIOD_PER_SCALE, SMALLEST_SCALE, textbook_scales
from ..coupling.transform.signals import FINE, REASONS, prepare, unwrapped
from ..errors import InputError, PlanError
from .pointwise_levels import LEVEL, lag1

if TYPE_CHECKING:
    import xarray as xr

Floats = NDArray[np.float64]

RECONSTRUCTION = 0.776
"""C_delta of the Morlet wavelet with omega0 = 6 (Torrence & Compo 1998, Table 2)."""


def wavelet_power(
    x: ArrayLike,
    sfreq: float,
    *,
    fmin: float | None = None,
    bands: Mapping[str, Any] | None = None,
    voices: int = 12,
    lag1_coefficient: float | None = None,
) -> xr.Dataset:
    """
    Wavelet power of each channel, the level of red noise and the variance in bands.

    Parameters
    ----------
    x : array [channel, sample] or [sample]
        Finite; only the mean is removed.
    sfreq : float
        Sampling rate, Hz. For yearly data and the like read per year, and years in place of s.
    fmin : float, optional
        Lowest frequency; default: that of the textbook range of `wtc`.
    bands : mapping of str to (low, high) in Hz or Band, optional
        Bands whose variance is wanted over time.
    voices : int
        Rows per octave.
    lag1_coefficient : float, optional
        Of the red noise; default: (r1 + sqrt(r2)) / 2 of each channel.

    Returns
    -------
    xarray.Dataset
        power and its mean over time, mean_power, in units of x squared, dimensions channel, freq (falling), time (s);
        significance_level, channel x freq, what red noise of that variance exceeds in 5 % of cases (eq. 16 to 18);
        with bands band_variance, channel x band x time, in units of x squared (eq. 24). Coordinates period, coi,
        lag1 (channel).

    Raises
    ------
    PlanError
        If a word is wrong or a band holds no row.
    InputError
        If a signal is constant or not finite.

    Notes
    -----
    Torrence & Compo 1998, Bull. Am. Meteorol. Soc. 79:61. White noise of variance v has power v at every scale. The
    variance is that of the sample, with n - 1.

    Examples
    --------
    >>> ds = wavelet_power(np.random.default_rng(0).standard_normal(500), sfreq=4.0)
    >>> ds.power.dims
    ('channel', 'freq', 'time')
    """
    import xarray as xr

    asked = WTC(bands=bands, voices=voices).bands or {}
    signals = _checked(x)
    n = signals.shape[1]
    scales = _scales(n, sfreq, fmin, voices)
    freq = sfreq / (PERIOD_PER_SCALE * scales)
    power = np.array([np.abs(transform(channel, scales)) ** 2 for channel in signals])
    g = lag1(signals, "torrence-compo") if lag1_coefficient is None else np.full(len(signals), lag1_coefficient)
    if not (np.abs(g) < 1).all():
        raise PlanError(f"lag1_coefficient must lie within -1 and 1, got {lag1_coefficient!r}")
    level = signals.var(axis=1, ddof=1)[:, None] * _red_noise(g, freq / sfreq) * -math.log(1 - LEVEL)
    variables: dict[str, Any] = {
        "power": (("channel", "freq", "time"), power),
        "mean_power": (("channel", "freq"), power.mean(axis=2)),
        "significance_level": (("channel", "freq"), level, {"level": LEVEL, "family": "red noise"}),
    }
    coords: dict[str, Any] = {
        "freq": ("freq", freq, {"units": "Hz"}),
        "period": ("freq", 1 / freq, {"units": "s"}),
        "time": ("time", np.arange(n) / sfreq, {"units": "s"}),
        "coi": ("time", cone_of_influence(n) / sfreq, {"units": "s", "long_name": "longest trusted period"}),
        "lag1": ("channel", g, {"units": "1"}),
    }
    if asked:
        rows = {name: band.contains(freq) for name, band in asked.items()}
        empty = [name for name, inside in rows.items() if not inside.any()]
        if empty:
            raise PlanError(
                f"band {empty[0]!r} holds no row from {freq[-1]:.4g} to {freq[0]:.4g} Hz: change it or fmin"
            )
        of_band = [_band_variance(power[:, inside], scales[inside], voices) for inside in rows.values()]
        variables["band_variance"] = (("channel", "band", "time"), np.stack(of_band, axis=1))
        coords["band"] = list(asked)
    return xr.Dataset(variables, coords)


def _checked(x: ArrayLike) -> Floats:
    array = np.asarray(unwrapped(x))
    if array.ndim not in (1, 2):
        raise InputError(f"x must be [channel, sample] or [sample], got shape {array.shape}")
    signals = prepare(np.atleast_2d(array))
    for channel, status in enumerate(signals.status):
        if status != FINE:
            raise InputError(f"channel number {channel} is unusable ({REASONS[status]}): leave it out")
    if signals.bad is not None:
        raise InputError("x has gaps: fill them before a power spectrum is asked for")
    return signals.x.astype(np.float64)


def _scales(n_samples: int, sfreq: float, fmin: float | None, voices: int) -> Floats:
    textbook = textbook_scales(n_samples, voices)
    if fmin is None:
        return textbook.scale
    largest = sfreq / (PERIOD_PER_SCALE * fmin) if fmin > 0 else math.inf
    if not SMALLEST_SCALE <= largest <= n_samples:
        raise PlanError(
            f"fmin={fmin!r} must lie between {sfreq / (PERIOD_PER_SCALE * n_samples):.4g} Hz, a scale as long as the "
            f"recording, and {sfreq / (PERIOD_PER_SCALE * SMALLEST_SCALE):.4g} Hz"
        )
    n_rows = math.floor(math.log2(largest / SMALLEST_SCALE) * voices + 1e-9) + 1
    return np.asarray(SMALLEST_SCALE * 2.0 ** (np.arange(n_rows) / voices))


def _red_noise(g: Floats, cycles: Floats) -> Floats:
    """Power of AR(1) noise of unit variance at frequencies in cycles a sample, float64 [channel, freq] (eq. 16)."""
    g = g[:, None]
    return np.asarray((1 - g * g) / (1 + g * g - 2 * g * np.cos(2 * np.pi * cycles)))


def _band_variance(power: Floats, scales: Floats, voices: int) -> Floats:
    """Scale-averaged power, float64 [channel, time] (eq. 24)."""
    return np.asarray((power / scales[:, None]).sum(axis=1) / (voices * RECONSTRUCTION))
