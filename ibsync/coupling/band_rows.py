"""The rows of the scale axis that a request names."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from .spec import WTC, Band
from .transform.scales import Scales


def requested_rows(spec: WTC, scales: Scales, sfreq: float) -> tuple[int, int]:
    """First and one-past-last row that `spec` asks for.

    Raises
    ------
    PlanError
        If a band or the range lies above Nyquist, or is longer than the recording supports.
    """
    freq = scales.freq(sfreq)
    wanted = np.zeros(scales.n_rows, bool)
    for name, band in (spec.bands or {}).items():
        wanted |= band_rows(name, band, scales, sfreq)
    if spec.bands is None or spec.fmin is not None or spec.fmax is not None:
        whole = spec.fmin is None and spec.fmax is None
        low = spec.fmin or 0.5 * min(freq[-1], spec.fmax or math.inf)
        range_ = Band(low, spec.fmax or 2 * max(freq[0], low))
        wanted |= np.ones_like(wanted) if whole else _checked_rows("fmin..fmax", range_, scales, sfreq, clip=True)
    chosen = np.flatnonzero(wanted)
    return int(chosen[0]), int(chosen[-1]) + 1


def band_rows(name: str, band: Band, scales: Scales, sfreq: float) -> NDArray[np.bool_]:
    """Which rows belong to a band: bool [row].

    Raises
    ------
    PlanError
        As `requested_rows`.
    """
    return _checked_rows(f"band {name!r}", band, scales, sfreq, clip=False)


def _checked_rows(what: str, band: Band, scales: Scales, sfreq: float, *, clip: bool) -> NDArray[np.bool_]:
    freq = scales.freq(sfreq)
    duration = scales.n_samples / sfreq
    if (band.high_hz > sfreq / 2 and not clip) or band.low_hz >= sfreq / 2:
        raise PlanError(
            f"{what} reaches {max(band.high_hz, band.low_hz):g} Hz, "
            f"above Nyquist ({sfreq / 2:g} Hz at sfreq={sfreq:g} Hz): lower it"
        )
    one_row = 2 ** (1 / scales.voices)
    too_long = band.low_hz * one_row < freq[-1] * (1 - 1e-9)
    inside = band.contains(freq)
    if (too_long and not clip) or (band.high_hz < freq[-1] * (1 - 1e-9)):
        raise PlanError(
            f"{what} reaches a period of {1 / band.low_hz:.4g} s; a recording of {duration:.4g} s supports periods "
            f"up to {1 / freq[-1]:.4g} s: shorten the band or record longer"
        )
    if not inside.any():
        raise PlanError(
            f"{what} ({band.low_hz:.4g} to {band.high_hz:.4g} Hz) holds no row at {scales.voices} voices per octave "
            f"between {freq[-1]:.4g} and {freq[0]:.4g} Hz: widen it or raise voices"
        )
    return inside
