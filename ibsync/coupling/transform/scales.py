"""The scale axis, and the rows of it that a request names."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import PlanError
from ..spec import WTC, Band

MORLET_OMEGA0 = 6.0


PERIOD_PER_SCALE = 4 * math.pi / (MORLET_OMEGA0 + math.sqrt(2 + MORLET_OMEGA0**2))
SCALE_SMOOTHING_OCTAVES = 0.6
SMALLEST_SCALE = 2.0  # samples


@dataclass(frozen=True)
class Scales:
    """The scale axis of one recording length: every row of the textbook range.

    Attributes
    ----------
    n_samples : int
        Length of the recording.
    voices : int
        Rows per octave.
    """

    n_samples: int
    voices: int

    @property
    def n_rows(self) -> int:
        """Rows of the textbook range: 1 + round(log2(0.17 N 2 dt / s0) voices), Grinsted et al. 2004."""
        return 1 + round(math.log2(0.17 * self.n_samples * 2 / SMALLEST_SCALE) * self.voices)

    @property
    def scale(self) -> NDArray[np.float64]:
        """Scales in samples, smallest first: float64 [row]."""
        factors: NDArray[np.float64] = 2.0 ** (np.arange(self.n_rows) / self.voices)
        return SMALLEST_SCALE * factors

    def freq(self, sfreq: float) -> NDArray[np.float64]:
        """Fourier frequencies in Hz: float64 [row]."""
        return sfreq / (PERIOD_PER_SCALE * self.scale)

    @property
    def smoothing_weights(self) -> NDArray[np.float64]:
        """Boxcar over 0.6 octave with fractional ends, unit sum: float64 [2 guard + 1].

        The quotient is kept in floating point: 0.6/(2 dj) falls just under an integer for dj = 1/10 and 1/20,
        and the published program has that effect too.
        """
        half_width = SCALE_SMOOTHING_OCTAVES / ((1 / self.voices) * 2)
        end = half_width % 1
        n_ones = 2 * math.floor(half_width + 0.5) - 1
        weights = np.concatenate([[end], np.ones(n_ones), [end]])
        return np.asarray(weights / weights.sum())

    @property
    def n_guard(self) -> int:
        """Rows that smoothing over scale reaches on either side."""
        return len(self.smoothing_weights) // 2


MIN_SAMPLES = 32


def textbook_scales(n_samples: int, voices: int) -> Scales:
    """Scale axis of a recording of `n_samples`.

    Raises
    ------
    PlanError
        If the recording is too short for a transform.
    """
    if n_samples < MIN_SAMPLES:
        raise PlanError(f"a recording of {n_samples} samples is too short: at least {MIN_SAMPLES} are needed")
    return Scales(n_samples, voices)


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
