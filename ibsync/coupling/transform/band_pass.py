"""Band-pass filters and analytic signals: a finite filter without phase, of both sides alike.

A filter is the difference of two low-passes, each a sinc under a Hamming window of 3.3 / w s, with w the width in Hz of
the transition from pass to stop. It is the default of MNE-Python (`mne.filter.filter_data`), with w the fourth part of
an edge, at least 2 Hz and no more than the edge; MNE lets the upper one of a slow band be 2 Hz wide all the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import PlanError
from ..spec import Band
from .signals import BAD_SHARE, FINE, Signals

HAMMING = 3.3
"""Length of a Hamming-windowed filter in units of 1 / transition width."""
CHANNELS_AT_ONCE = 16


def transitions(band: Band, sfreq: float) -> tuple[float, float]:
    """Widths in Hz of the lower and of the upper transition."""
    lower, upper = (min(max(edge / 4, 2.0), edge) for edge in (band.low_hz, band.high_hz))
    return lower, min(upper, sfreq / 2 - band.high_hz)


def reach(band: Band, sfreq: float) -> int:
    """Samples that the filter of a band sees to either side; an end of a recording reaches as far into it."""
    return math.ceil(HAMMING * sfreq / min(transitions(band, sfreq))) // 2


def refuse_band(name: str, band: Band, n_samples: int, sfreq: float) -> None:
    """
    Refuse a band that recordings of a length and rate do not hold.

    Raises
    ------
    PlanError
        If it reaches half the sampling rate, or its filter is longer than the recording.
    """
    _refuse_fast_band(name, band, sfreq)
    length = 2 * reach(band, sfreq) + 1
    if length > n_samples:
        raise PlanError(
            f"band {name!r} ({band.low_hz:g} to {band.high_hz:g} Hz) takes a filter of {length / sfreq:.4g} s, and the "
            f"recording lasts {n_samples / sfreq:.4g} s: record longer, or move the band's edges"
        )


def refuse_band_of_trials(name: str, band: Band, trial: int, sfreq: float, coi: str) -> None:
    """
    Refuse a band that trials of so many samples do not hold.

    Raises
    ------
    PlanError
        If it reaches half the sampling rate, its filter is longer than a trial and the ends of trials do not enter
        (`coi` is not "none"), or a trial is shorter than the longest period.
    """
    _refuse_fast_band(name, band, sfreq)
    seconds, filter_s = trial / sfreq, (2 * reach(band, sfreq) + 1) / sfreq
    edges = f"band {name!r} ({band.low_hz:g} to {band.high_hz:g} Hz)"
    if seconds * band.low_hz < 1:
        raise PlanError(
            f"{edges} has periods of {1 / band.low_hz:.4g} s, and a trial lasts {seconds:.4g} s: cut longer trials, or "
            "raise the band's lower edge"
        )
    if coi != "none" and filter_s > seconds:
        raise PlanError(
            f"{edges} takes a filter of {filter_s:.4g} s, and a trial lasts {seconds:.4g} s: cut longer trials, or "
            "take their ends as they are with coi='none'"
        )


def _refuse_fast_band(name: str, band: Band, sfreq: float) -> None:
    if band.high_hz >= sfreq / 2:
        raise PlanError(
            f"band {name!r} reaches {band.high_hz:g} Hz, and signals sampled at {sfreq:g} Hz end at {sfreq / 2:g} Hz: "
            "lower its upper edge"
        )


def taps(band: Band, sfreq: float) -> NDArray[np.float64]:
    """The filter of a band: float64 [2 reach + 1]."""
    half = reach(band, sfreq)
    lower, upper = transitions(band, sfreq)
    out = np.zeros(2 * half + 1)
    for sign, cutoff, width in ((1, band.high_hz + upper / 2, upper), (-1, band.low_hz - lower / 2, lower)):
        n = round(HAMMING * sfreq / width) // 2
        part = np.sinc(2 * cutoff / sfreq * np.arange(-n, n + 1)) * np.hamming(2 * n + 1)
        out[half - n : half + n + 1] += sign * part / part.sum()
    return out


def analytic_signals(
    xp: Any, signals: Signals, band: Band, sfreq: float, dtype: type, feature: Callable[[Any], Any] = np.asarray
) -> Any:
    """
    Band-passed signals of unit variance, z, whose imaginary part is the Hilbert transform of the real one.

    Parameters
    ----------
    xp : module
        NumPy, or CuPy, whose arrays `signals` may hold.
    signals : Signals
    band : Band
    sfreq : float
        Hz.
    dtype : type
        complex64 or complex128, in which they are kept, and transformed back; spectra are made in float64.
    feature : function
        What is kept of them instead, made of some channels at a time.

    Returns
    -------
    complex, or as the feature is, [channel, sample]
        0 for channels that cannot be used.
    """
    import scipy.fft

    filter_, n = taps(band, sfreq), signals.n_samples
    half = len(filter_) // 2
    n_padded = scipy.fft.next_fast_len(n + 2 * half, real=True)
    centred = np.zeros(n_padded)
    centred[: half + 1], centred[n_padded - half :] = filter_[half:], filter_[:half]
    response = np.fft.rfft(centred).real * 2
    response[0] /= 2
    if n_padded % 2 == 0:
        response[-1] /= 2
    response = xp.asarray(response)
    fft = scipy.fft if xp is np else xp.fft
    mean, gain = xp.asarray(signals.mean), xp.asarray(signals.gain)
    out = xp.empty((signals.n_channels, n), feature(xp.zeros((1, n), dtype)).dtype)
    for start in range(0, signals.n_channels, CHANNELS_AT_ONCE):
        some = slice(start, start + CHANNELS_AT_ONCE)
        unit = (xp.asarray(signals.x[some]).astype(np.float64) - mean[some, None]) * gain[some, None]
        spectrum = (fft.rfft(unit, n_padded) * response).astype(dtype, copy=False)
        out[some] = feature(fft.ifft(spectrum, n_padded)[:, :n].astype(dtype, copy=False))
    return out


def usable_samples(signals: Signals, band: Band, sfreq: float) -> NDArray[np.bool_] | None:
    """
    Where a filter's window holds few bad samples and no seam: bool [channel, sample], or None where it always does.

    A sample cannot be used when bad samples hold more than `BAD_SHARE` of its window's weight, the squares of the
    filter.
    """
    if signals.bad is None and signals.seam is None and (signals.status == FINE).all():
        return None
    n = signals.n_samples
    usable = np.repeat((signals.status == FINE)[:, None], n, axis=1)
    if signals.bad is not None:
        import scipy.signal

        weight = taps(band, sfreq) ** 2
        for channel in np.flatnonzero(signals.bad.any(axis=1)):
            share = scipy.signal.fftconvolve(signals.bad[channel].astype(float), weight / weight.sum(), mode="same")
            usable[channel] &= share <= BAD_SHARE + 1e-12
    if signals.seam is not None:
        seam, time = signals.seam[:, None], np.arange(n)
        distance = np.where(time >= seam, time - seam, seam - 1 - time)
        usable &= (seam == 0) | (distance >= reach(band, sfreq))
    return usable
