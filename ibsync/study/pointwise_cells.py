"""R2 of many pairs of signals on grids just dense enough: for pools of cells, not for maps."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import scipy
from numpy.typing import NDArray

from ..coupling.transform.definition import EMPTY_SHARE, morlet, padded_length
from ..coupling.transform.scales import Scales

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]

# A row has at least so many points in its shortest neighbour's scale: its products then hold nothing between two.
_POINTS_PER_SCALE = 2.4
_POINTS_OF_ZEROS = 32
_GAUSSIAN_REACH = 8.5
# Grid points beyond either end that help to stand for the samples next to it, and how sharply they are filtered.
_BEYOND = 24
_SHARPNESS = 5.0


class SparseRows:
    """
    Rows of the map at every so many-th sample, more seldom the larger their scale.

    A row holds no frequency above the rate at which it is sampled, so a short inverse transform of its part of the
    spectrum gives its values. Products are band limited likewise, and a sum over samples is one over the grid but for
    the ends of the signal: there the weights are those of the low-passed indicator of the signal. R2 is within
    1e-6 of the definition.

    Every grid holds the sample in the middle, the last one to be trusted as scales grow.

    Parameters
    ----------
    scales : Scales
    rows : (first, stop)
        Rows wanted.
    trusted : bool [row, sample]
        Which cells of these rows are wanted; signals may be shorter or longer than the recording of `scales`.
    """

    def __init__(self, scales: Scales, rows: tuple[int, int], trusted: NDArray[np.bool_]) -> None:
        guard, n = scales.n_guard, trusted.shape[1]
        self.rows, self.guard, self.trusted = rows, guard, trusted
        self.first, self.stop = max(0, rows[0] - guard), min(scales.n_rows, rows[1] + guard)
        self.scale, self.row_weights = scales.scale, scales.smoothing_weights
        self.n_samples, self.n_padded = n, padded_length(n)
        # A row serves those up to `guard` rows below it, and its samples include theirs.
        shortest = [self.scale[max(0, row - guard)] for row in range(self.stop)]
        # The weights fall off beyond the ends, in the zeros of the circle.
        longest = (self.n_padded - n) / _POINTS_OF_ZEROS
        self.step = [_step(min(scale / _POINTS_PER_SCALE, longest)) for scale in shortest]
        self.middle = (n - 1) // 2
        self.lead = -self.middle % self.step[-1]  # zeros before the signal, so that its middle is on every grid
        self.inside = {step: self._inside(step) for step in set(self.step[self.first :])}

    def coherence(self, x: Floats, y: Floats) -> Iterator[Floats]:
        """R2 of the wanted cells on their grids, row by row.

        Parameters
        ----------
        x, y : float64 [draw, sample]
            One of them may be a single draw.

        Yields
        ------
        float64 [draw, cell]
            NaN where a signal's power is empty.
        """
        late = [np.pad(_standardised(signals), [(0, 0), (self.lead, 0)]) for signals in (x, y)]
        spectra = [scipy.fft.rfft(signals, self.n_padded, norm="forward") for signals in late]
        smoothed = {}
        for row in range(self.first, self.stop):
            smoothed[row] = self._in_time(row, *(self._transform(row, spectrum) for spectrum in spectra))
            smoothed.pop(row - 2 * self.guard - 1, None)
            if row - self.guard >= self.rows[0]:
                yield self._of_row(row - self.guard, smoothed)
        for row in range(max(self.rows[0], self.stop - self.guard), self.rows[1]):
            yield self._of_row(row, smoothed)

    def _of_row(self, row: int, smoothed: dict[int, tuple[Complexes, Complexes]]) -> Floats:
        near = range(max(self.first, row - self.guard), min(self.stop, row + self.guard + 1))
        step = self.step[near[-1]]
        start = self.middle % step
        cells = self.trusted[row - self.rows[0], start::step]
        cross, power = np.zeros((2, len(smoothed[row][0]), np.count_nonzero(cells)), complex)
        for k in near:
            among = slice((start - self.middle % self.step[k]) // self.step[k], None, step // self.step[k])
            weight = self.row_weights[k - row + self.guard]
            cross += weight * smoothed[k][0][:, among][:, cells]
            power += weight * smoothed[k][1][:, among][:, cells]
        with np.errstate(divide="ignore", invalid="ignore"):
            squared = np.abs(cross) ** 2 / (power.real * power.imag)
        empty = np.minimum(power.real, power.imag) <= EMPTY_SHARE
        return np.where(empty, np.nan, np.minimum(squared, 1.0))

    def _transform(self, row: int, spectra: Complexes) -> Complexes:
        """Wavelet transform at every step-th sample of the circle: complex128 [draw, time]."""
        n_short = self.n_padded // self.step[row]
        n_bins = min(n_short, spectra.shape[1])  # beyond n_short the wavelet is 0 to the last bit
        omega = 2 * np.pi * np.arange(n_bins) / self.n_padded
        filtered = np.zeros((len(spectra), n_short), complex)
        filtered[:, :n_bins] = spectra[:, :n_bins] * morlet(self.scale[row], omega)
        return np.asarray(scipy.fft.ifft(filtered, axis=1, norm="forward", overwrite_x=True))

    def _in_time(self, row: int, wx: Complexes, wy: Complexes) -> tuple[Complexes, Complexes]:
        """Cross product, and both powers as one complex number, smoothed in time: complex128 [draw, time] each."""
        step, scale = self.step[row], self.scale[row]
        place, weight, beyond = self.inside[step]
        wx, wy = wx[:, place], wy[:, place]
        lag_reach = min(len(place), math.ceil(_GAUSSIAN_REACH * scale / step))
        n_circle = scipy.fft.next_fast_len(len(place) + lag_reach)
        lag = np.minimum(np.arange(n_circle), n_circle - np.arange(n_circle)) * step
        gauss = scipy.fft.fft(np.exp(-0.5 * (lag / scale) ** 2)).real * (step / (scale * scale * math.sqrt(2 * np.pi)))

        def smoothed(products: Complexes) -> Complexes:
            spectrum = scipy.fft.fft(products * weight, n_circle, axis=1, overwrite_x=True) * gauss
            in_time: Complexes = scipy.fft.ifft(spectrum, axis=1, overwrite_x=True)
            return in_time[:, beyond : len(place) - beyond]

        return smoothed(wx * wy.conj()), smoothed(np.abs(wx) ** 2 + 1j * np.abs(wy) ** 2)

    def _inside(self, step: int) -> tuple[NDArray[np.intp], Floats, int]:
        """Places on the circle that stand for the signal, their weights, and how many of them lie before and after."""
        from scipy.special import erfc

        indicator = np.zeros(self.n_padded)
        indicator[self.lead : self.lead + self.n_samples] = 1.0
        if step > 1:
            omega = 2 * np.pi * np.arange(self.n_padded // 2 + 1) / self.n_padded
            kept = scipy.fft.rfft(indicator) * (0.5 * erfc(_SHARPNESS * (omega * step - np.pi)))
            indicator = scipy.fft.irfft(kept, self.n_padded)[::step]
        start, stop = -(-self.lead // step), -(-(self.lead + self.n_samples) // step)
        beyond = min(_BEYOND, (len(indicator) - (stop - start)) // 2) if step > 1 else 0
        place = np.arange(start - beyond, stop + beyond) % len(indicator)
        return place, indicator[place], beyond


def _standardised(x: Floats) -> Floats:
    return np.asarray((x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True))


def _step(longest: float) -> int:
    """Largest power of two not above `longest`, at least 1."""
    return int(2 ** max(0, math.floor(math.log2(longest))))
