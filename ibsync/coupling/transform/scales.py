"""The scale axis: every row of the textbook range of a recording length."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import PlanError

MORLET_OMEGA0 = 6.0
PERIOD_PER_SCALE = 4 * math.pi / (MORLET_OMEGA0 + math.sqrt(2 + MORLET_OMEGA0**2))
SCALE_SMOOTHING_OCTAVES = 0.6
SMALLEST_SCALE = 2.0  # samples
MIN_SAMPLES = 32


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
