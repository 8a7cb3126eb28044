"""Pointwise levels of a coherence map: what unrelated signals exceed in 5 % of the trusted cells of a row.

Geophysicists draw them as contours (Grinsted, Moore & Jevrejeva 2004, *Nonlin. Processes Geophys.* 11:561).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from .definition import EMPTY_SHARE, coherency, cone_of_influence, morlet, padded_length
from .errors import PlanError
from .nulls.families import fit_ar1, surrogates
from .nulls.philox import Purpose, entity_id, purpose_word, stream
from .signals import FINE, Signals, usable_cells
from .spec import PERIOD_PER_SCALE, Scales

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]
Draws = NDArray[np.int64]

LEVEL = 0.95
KINDS = ("ar1", "phase")
CAUTION = (
    "AR(1) levels are not a null of fNIRS: unrelated recordings with a Mayer wave or breathing exceed them in far more "
    "than 5 % of cells, and each cell is judged on its own; use significance='phase', or for inference the re-paired "
    "dyads or phase surrogates of Study.null"
)

# A row is sampled at least as often per scale as this: its smoothed products then hold nothing between two samples.
_POINTS_PER_SCALE = 3.0
_GAUSSIAN_REACH = 8.5
# Grid points beyond either end that help to stand for the samples next to it, and how sharply they are filtered.
_BEYOND = 24
_SHARPNESS = 5.0
_BINS = 4096
_SAMPLES_AT_ONCE = 1 << 16


def lag1(x: NDArray[np.floating], estimator: str = "corrected") -> Floats:
    """
    Lag-1 autocorrelation of each channel.

    Parameters
    ----------
    x : float [channel, sample]
        No channel constant.
    estimator : {"corrected", "naive", "torrence-compo"}
        Corrected for its bias (`nulls.families.fit_ar1`); the lag-1 covariance over the variance, as the toolbox of
        Grinsted et al. estimates it; or (r1 + sqrt(r2)) / 2 of Torrence & Compo (1998), with r2 of lag 2.

    Returns
    -------
    float64 [channel]

    Raises
    ------
    PlanError
        If the estimator is unknown.
    """
    if estimator == "corrected":
        return fit_ar1(x)
    centred = np.asarray(x, np.float64) - np.mean(x, axis=1, keepdims=True, dtype=np.float64)
    power, first, second = ((centred[:, k:] * centred[:, : centred.shape[1] - k]).sum(axis=1) for k in range(3))
    if estimator == "naive":
        n = centred.shape[1]
        return np.asarray(first / power * n / (n - 1))
    if estimator == "torrence-compo":
        return np.asarray((first + np.sqrt(np.maximum(second * power, 0))) / power / 2)
    raise PlanError(f"estimator={estimator!r} is unknown; valid are 'corrected', 'naive', 'torrence-compo'")


def ar1_levels(
    g_a: float,
    g_b: float,
    scales: Scales,
    rows: tuple[int, int] | None = None,
    *,
    n: int = 300,
    seed: int = 0,
    level: float = LEVEL,
    definition: str | None = None,
) -> Floats:
    """
    Level of R2 of two independent AR(1) signals, by simulation.

    As the toolbox of Grinsted et al. does: signals of six times the largest scale, all trusted cells of a row and of
    all simulations taken together.

    Parameters
    ----------
    g_a, g_b : float
        Lag-1 autocorrelations, within ±1.
    scales : Scales
        Scale axis of the recording; the simulated signals have another length.
    rows : (first, stop), optional
        Rows wanted; all by default. The level of a row does not depend on which others are wanted.
    n : int
        Simulated pairs.
    seed : int
    level : float
        Share of cells below the level.
    definition : {"grinsted", "grinsted-toolbox"}, optional
        Coherence by `definition.coherency` at every sample, slowly, under that preset.

    Returns
    -------
    float64 [row]

    Notes
    -----
    R2 is counted in 4096 bins, with a straight line inside a bin.
    """
    assert -1 < g_a < 1, "a stationary process"
    assert -1 < g_b < 1, "a stationary process"
    n_samples = math.ceil(6 * scales.scale[-1])
    cells = _cells(scales, rows or (0, scales.n_rows), n_samples, definition)

    def pair(draws: Draws) -> tuple[Floats, Floats]:
        a, b = (_ar1(g, n_samples, draws, seed, entity_id(side)) for g, side in ((g_a, "a"), (g_b, "b")))
        return a, b

    return _levels(cells, pair, n, level)


def phase_levels(
    x: Floats,
    y: Floats,
    scales: Scales,
    rows: tuple[int, int] | None = None,
    *,
    usable: NDArray[np.bool_] | None = None,
    n: int = 300,
    seed: int = 0,
    level: float = LEVEL,
    definition: str | None = None,
) -> Floats:
    """
    Level of R2 of `x` with phase-randomised surrogates of `y`, whatever the spectra of the two.

    Parameters
    ----------
    x, y : float64 [sample]
    scales, rows, n, seed, level, definition
        As `ar1_levels`.
    usable : bool [row, sample], optional
        Which cells of the wanted rows to count, beside those outside the cone of influence.

    Returns
    -------
    float64 [row]
        NaN where no cell of a row can be used.
    """
    cells = _cells(scales, rows or (0, scales.n_rows), len(x), definition, usable)
    entity = entity_id("b")

    def pair(draws: Draws) -> tuple[Floats, Floats]:
        return x[None], surrogates("phase", y[None], draws, seed=seed, entity=entity)[:, 0]

    return _levels(cells, pair, n, level)


def pair_levels(
    kind: str,
    a: Signals,
    b: Signals,
    scales: Scales,
    rows: tuple[int, int],
    *,
    n: int,
    seed: int,
    definition: str | None = None,
) -> Floats:
    """
    Level of every pair of a channel of `a` with a channel of `b`.

    Parameters
    ----------
    kind : {"ar1", "phase"}
        Simulate both channels (`ar1_levels`), or turn the phases of `b` (`phase_levels`).
    a, b : Signals
    scales, rows, n, seed, definition
        As `ar1_levels`.

    Returns
    -------
    float64 [a, b, row]
        NaN where a channel cannot be used.

    Raises
    ------
    PlanError
        If the kind is unknown or the number of surrogates not a whole number.
    """
    if kind not in KINDS:
        raise PlanError(f"significance must be one of {', '.join(map(repr, KINDS))} or None, got {kind!r}")
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise PlanError(f"n_surrogates must be a whole number of at least 1, got {n!r}; 300 is usual")
    out = np.full((a.n_channels, b.n_channels, rows[1] - rows[0]), np.nan)
    lag_1 = [fit_ar1(signals.x) for signals in (a, b)]
    for i, j in np.argwhere(np.outer(a.status == FINE, b.status == FINE)):
        if kind == "ar1":
            g_a, g_b = float(lag_1[0][i]), float(lag_1[1][j])
            out[i, j] = ar1_levels(g_a, g_b, scales, rows, n=n, seed=seed, definition=definition)
        else:
            x, y = a.x[i].astype(np.float64), b.x[j].astype(np.float64)
            usable = _usable(a, i, scales, rows) & _usable(b, j, scales, rows)
            out[i, j] = phase_levels(x, y, scales, rows, usable=usable, n=n, seed=seed, definition=definition)
    return out


def _usable(signals: Signals, channel: int, scales: Scales, rows: tuple[int, int]) -> NDArray[np.bool_]:
    """Cells whose window holds few bad samples, bool [row, sample]."""
    bad = np.zeros(signals.n_samples, bool) if signals.bad is None else signals.bad[channel]
    return usable_cells(bad, scales.scale[rows[0] : rows[1]])


def _ar1(g: float, n_samples: int, draws: Draws, seed: int, entity: int) -> Floats:
    """Stationary AR(1) signals of unit variance, float64 [draw, sample]."""
    from scipy.signal import lfilter

    words = stream(seed, draws, n_samples + n_samples % 2, entity=entity, purpose=purpose_word(Purpose.AR1))
    radius = np.sqrt(-2 * np.log((words[0::2] + 1.0) / 2**32))
    angle = words[1::2] * (2 * np.pi / 2**32)
    normals = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:n_samples].T
    normals[:, 1:] *= math.sqrt(1 - g * g)
    return np.asarray(lfilter([1.0], [1.0, -g], normals, axis=1))


Cells = Callable[[Floats, Floats], Iterator[Floats]]
"""R2 of the trusted cells of one row after the other, float64 [draw, cell], of signals [draw, sample]."""


def _levels(cells: Cells, pair: Callable[[Draws], tuple[Floats, Floats]], n: int, level: float) -> Floats:
    counts: list[NDArray[np.int64]] = []
    n_samples = pair(np.array([1]))[1].shape[1]
    for draws in np.array_split(np.arange(1, n + 1), max(1, n * n_samples // _SAMPLES_AT_ONCE)):
        found = [
            np.bincount(np.minimum(values[~np.isnan(values)] * _BINS, _BINS - 1).astype(np.intp), minlength=_BINS)
            for values in cells(*pair(draws))
        ]
        counts = [total + more for total, more in zip(counts, found, strict=True)] if counts else found
    return np.array([_quantile(of_row, level) for of_row in counts])


def _quantile(counts: NDArray[np.int64], level: float) -> float:
    below = np.concatenate([[0], np.cumsum(counts)])
    if below[-1] == 0:
        return math.nan
    edge = int(np.searchsorted(below, level * below[-1])) - 1
    return float((edge + (level * below[-1] - below[edge]) / counts[edge]) / _BINS)


def _cells(
    scales: Scales,
    rows: tuple[int, int],
    n_samples: int,
    definition: str | None,
    usable: NDArray[np.bool_] | None = None,
) -> Cells:
    period = PERIOD_PER_SCALE * scales.scale[rows[0] : rows[1], None]
    trusted = period <= cone_of_influence(n_samples)
    if usable is not None:
        trusted &= usable
    if definition is None:
        return _Sampled(scales, rows, trusted).coherence

    def by_definition(x: Floats, y: Floats) -> Iterator[Floats]:
        of_pairs = [coherency(a, b, scales, preset=definition) for a, b in zip(*np.broadcast_arrays(x, y), strict=True)]
        for row, cells in enumerate(trusted, rows[0]):
            yield np.array([np.minimum(np.abs(pair[row, cells]) ** 2, 1) for pair in of_pairs])

    return by_definition


class _Sampled:
    """
    Rows of the definition at every so many-th sample, more seldom the larger their scale.

    A transform at every D-th sample is exact: the spectrum, filtered, is added modulo M / D. Its products are band
    limited, so that sums over samples are sums over the grid, but for the two ends of the signal. There the weights
    are the filtered indicator of [0, N).
    """

    def __init__(self, scales: Scales, rows: tuple[int, int], trusted: NDArray[np.bool_]) -> None:
        guard, n = scales.n_guard, trusted.shape[1]
        self.first, stop = max(0, rows[0] - guard), min(scales.n_rows, rows[1] + guard)
        self.rows, self.n_rows, self.guard = rows, scales.n_rows, guard
        self.scale, self.row_weights = scales.scale, scales.smoothing_weights
        self.n_padded = padded_length(n)
        # A row serves those up to `guard` rows below it, and its samples include theirs.
        self.step = [_step(self.scale[max(0, row - guard)]) for row in range(stop)]
        self.n_samples, self.trusted, self.stop = n, trusted, stop
        self.inside = {step: self._inside(step) for step in set(self.step[self.first :])}

    def coherence(self, x: Floats, y: Floats) -> Iterator[Floats]:
        """R2 of the trusted cells on the grid, row by row: float64 [draw, cell]."""
        spectra = [scipy.fft.rfft(_standardised(signals), self.n_padded, norm="forward") for signals in (x, y)]
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
        cross, power = (
            sum(self.row_weights[k - row + self.guard] * smoothed[k][of][:, :: step // self.step[k]] for k in near)
            for of in (0, 1)
        )
        cells = self.trusted[row - self.rows[0], ::step]
        cross, power = np.asarray(cross)[:, cells], np.asarray(power)[:, cells]
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
        place, weight = self.inside[step]
        wx, wy = wx[:, place], wy[:, place]
        n_out, before = -(-self.n_samples // step), -int(place[0])
        lag_reach = min(len(place), math.ceil(_GAUSSIAN_REACH * scale / step))
        n_circle = scipy.fft.next_fast_len(len(place) + lag_reach)
        lag = np.minimum(np.arange(n_circle), n_circle - np.arange(n_circle)) * step
        gauss = scipy.fft.fft(np.exp(-0.5 * (lag / scale) ** 2)).real * (step / (scale * scale * math.sqrt(2 * np.pi)))

        def smoothed(products: Complexes) -> Complexes:
            spectrum = scipy.fft.fft(products * weight, n_circle, axis=1, overwrite_x=True) * gauss
            in_time: Complexes = scipy.fft.ifft(spectrum, axis=1, overwrite_x=True)
            return in_time[:, before : before + n_out]

        return smoothed(wx * wy.conj()), smoothed(np.abs(wx) ** 2 + 1j * np.abs(wy) ** 2)

    def _inside(self, step: int) -> tuple[NDArray[np.intp], Floats]:
        """Places on the circle of every step-th sample that stand for the signal, and their weights, both [time]."""
        from scipy.special import erfc

        indicator = np.zeros(self.n_padded)
        indicator[: self.n_samples] = 1.0
        if step == 1:
            return np.arange(self.n_samples), indicator[: self.n_samples]
        omega = 2 * np.pi * np.arange(self.n_padded // 2 + 1) / self.n_padded
        kept = scipy.fft.rfft(indicator) * (0.5 * erfc(_SHARPNESS * (omega * step - np.pi)))
        weights = scipy.fft.irfft(kept, self.n_padded)[::step]
        n_inside = -(-self.n_samples // step)
        beyond = min(_BEYOND, (len(weights) - n_inside) // 2)
        place = np.arange(-beyond, n_inside + beyond)
        return place, np.asarray(weights[place])


def _standardised(x: Floats) -> Floats:
    return np.asarray((x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True))


def _step(scale: float) -> int:
    """Largest power of two that leaves a scale its points."""
    return int(2 ** max(0, math.floor(math.log2(1.26 * scale / _POINTS_PER_SCALE))))
