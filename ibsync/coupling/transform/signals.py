"""Channels made ready for the transform: mean and gain removed, gaps filled and remembered, unusable ones named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from ...errors import InputError
from .definition import padded_length

FINE, CONSTANT, NO_DATA = 0, 1, 2
REASONS = ("", "constant", "no finite sample")

# A channel is constant when it strays from its mean by no more than this share of its largest value.
CONSTANT_SHARE = 1e-12
# A cell is invalid when bad samples hold more than this share of its window's weight.
BAD_SHARE = 0.05
# The window of a cell, in scales: |wavelet|^2 (sd 1 / sqrt 2) smoothed by a Gaussian (sd 1).
WINDOW_SD = 1.5**0.5


@dataclass(frozen=True)
class Signals:
    """Channels of equal length.

    Attributes
    ----------
    x : float32 or float64 [channel, sample]
        As given, or without its trend; gaps filled by straight lines; of the host, or of a device.
    shape : tuple of int
        Shape of the caller's array without its sample axis.
    mean, gain : float64 [channel]
        (x - mean) gain has unit variance; gain is 0 for an unusable channel.
    status : int8 [channel]
        FINE, CONSTANT or NO_DATA.
    bad : bool [channel, sample] or None
        Samples in gaps or masked out.
    seam : int64 [channel] or None
        First sample after the place where two ends of a recording were joined; 0 where there is none.
    controls : Signals or None
        Signals whose share is taken out of the channels' features.
    taken : int64 [channel, control] or None
        Numbers of each channel's controls among `controls`.
    """

    x: NDArray[np.floating]
    shape: tuple[int, ...]
    mean: NDArray[np.float64]
    gain: NDArray[np.float64]
    status: NDArray[np.int8]
    bad: NDArray[np.bool_] | None
    seam: NDArray[np.int64] | None = None
    controls: Signals | None = None
    taken: NDArray[np.int64] | None = None

    @property
    def n_channels(self) -> int:
        """Channels, all leading axes together."""
        return len(self.x)

    @property
    def n_samples(self) -> int:
        """Samples of each channel."""
        return int(self.x.shape[1])

    def part(self, channels: NDArray[np.bool_]) -> Signals:
        """Some of the channels, as bool [channel] marks them."""
        bad = None if self.bad is None else self.bad[channels]
        seam = None if self.seam is None else self.seam[channels]
        of = (self.mean[channels], self.gain[channels], self.status[channels])
        taken = None if self.taken is None else self.taken[channels]
        return Signals(self.x[channels], (int(channels.sum()),), *of, bad, seam, self.controls, taken)

    def repeated(self, n: int) -> Signals:
        """The same so many times, along a new first axis of the caller's array."""
        channels = np.tile(np.arange(self.n_channels), n)
        again = {
            name: values[channels]
            for name in ("x", "mean", "gain", "status", "bad", "seam")
            if (values := getattr(self, name)) is not None
        }
        shape = (n, *self.shape)
        if self.controls is None or self.taken is None:
            return replace(self, shape=shape, **again)
        taken = np.concatenate([self.taken + k * self.controls.n_channels for k in range(n)])
        return replace(self, shape=shape, **again, controls=self.controls.repeated(n), taken=taken)

    def with_controls(self, n_common: int, *, apart: bool = False) -> Signals:
        """The same with the last channels of each person, the last axis but one of the caller's array, as controls.

        Parameters
        ----------
        n_common : int
            Last channels that are controls of all others of the person.
        apart : bool
            Whether half of the channels before them are controls too, of one channel of the other half each.
        """
        if not (n_common or apart):
            return self
        *people, n = self.shape
        n_own = (n - n_common) // (2 if apart else 1)
        number = np.arange(self.n_channels).reshape(-1, n)
        is_channel = np.broadcast_to(np.arange(n) < n_own, number.shape).reshape(-1)
        of_control = (np.cumsum(~is_channel) - 1).reshape(-1, n)
        common = np.repeat(of_control[:, None, n - n_common :], n_own, axis=1)
        single = of_control[:, n_own : n - n_common, None] if apart else common[..., :0]
        taken = np.concatenate([common, single], axis=2).reshape(-1, n_common + apart)
        shape = (*people, n_own)
        return replace(self.part(is_channel), shape=shape, controls=self.part(~is_channel), taken=taken)

    def spectra(self, part: slice, n_bins: int | None = None) -> NDArray[np.complex128]:
        """Zero-padded spectra over M of unit-variance channels: complex128 [bin 0..n_bins - 1 or M/2, channel].

        In float64 whatever comes after: rounding of the long transform leaks over the whole recording.
        """
        n_padded = padded_length(self.n_samples)
        unit = (self.x[part].astype(np.float64) - self.mean[part, None]) * self.gain[part, None]
        return np.ascontiguousarray(scipy.fft.rfft(unit, n_padded, norm="forward", overwrite_x=True)[:, :n_bins].T)


def prepare(
    x: ArrayLike,
    good: ArrayLike | None = None,
    *,
    seam: ArrayLike | None = None,
    detrend: str | None = None,
    names: Sequence[str] | None = None,
) -> Signals:
    """Channels ready for the transform.

    Parameters
    ----------
    x : array [..., channel, sample] or [sample]
        Real signals; NaN marks a gap.
    good : bool array broadcastable to `x`, optional
        False marks samples not to be trusted (motion, saturation).
    seam : int array broadcastable to the channels, optional
        First sample after the place where two ends of a recording were joined; 0 for none.
    detrend : "linear", optional
        Remove the straight line that fits the good samples best.
    names : sequence of str, optional
        Channel names for messages.

    Raises
    ------
    InputError
        If `x` is not real or holds infinite values.
    """
    array = np.asarray(unwrapped(x))
    if array.ndim == 0 or array.dtype.kind not in "fiub" or array.shape[-1] == 0:
        raise InputError(
            f"signals must be a real array [..., channel, sample], got {array.dtype} of shape {array.shape}"
        )
    if array.dtype not in (np.float32, np.float64):
        array = array.astype(np.float64)
    flat = array.reshape(-1, array.shape[-1])
    if not _finite_sum(flat) and np.isinf(flat).any():
        row = int(np.flatnonzero(np.isinf(flat).any(axis=1))[0])
        name = names[row] if names else f"number {row}"
        raise InputError(f"channel {name} holds infinite values: replace them by NaN to mark a gap")
    bad = _bad_samples(array, flat, good)
    if detrend:
        flat = without_trend(np, flat, bad)
    filled = flat if bad is None else _filled(flat, bad)
    return replace(_standardised(filled, array.shape[:-1], bad), seam=seams(seam, array.shape))


def without_trend(xp: Any, flat: Any, bad: Any) -> Any:
    """
    Channels less the straight line that fits their good samples best, of NumPy or CuPy as `xp` says.

    Parameters
    ----------
    flat : float32 or float64 [channel, sample]
    bad : bool [channel, sample] or None
        Samples that do not count.

    Returns
    -------
    Same type and shape. What is left of a straight line by rounding is 0.
    """
    left = _fitted_line(xp, flat, bad)[1]
    return left.astype(flat.dtype)


def drift(x: NDArray[Any]) -> NDArray[np.float64]:
    """
    How far the best fitting straight line rises or falls over a recording, in standard deviations of what is left.

    Parameters
    ----------
    x : float [channel, sample]
        NaN marks a gap.

    Returns
    -------
    float64 [channel]
        0 for a channel without data, or without anything beside a line.
    """
    bad = np.isnan(x)
    slope, left = _fitted_line(np, x, bad)
    square = np.where(bad, 0, left**2).sum(axis=1) / np.maximum((~bad).sum(axis=1), 1)
    rise: NDArray[np.float64] = np.abs(slope) * x.shape[1] / np.where(square > 0, np.sqrt(square), np.inf)
    return rise


def _fitted_line(xp: Any, flat: Any, bad: Any) -> tuple[Any, Any]:
    """Slope a sample [channel], and what is left without the line [channel, sample], in float64."""
    good = xp.ones((1, flat.shape[1])) if bad is None else ~bad * 1.0
    x = xp.where(good > 0, flat, 0).astype(np.float64)
    rounding = 8 * np.finfo(flat.dtype).eps * xp.abs(x).max(axis=1)
    count = xp.maximum(good.sum(axis=1), 1)[:, None]
    time = xp.arange(flat.shape[1]) * 1.0
    time = time - (good * time).sum(axis=1)[:, None] / count
    mean = x.sum(axis=1)[:, None] / count
    slope = (good * time * x).sum(axis=1) / xp.maximum((good * time * time).sum(axis=1), 1)
    left = x - mean - slope[:, None] * time
    straight = xp.abs(good * left).max(axis=1) <= rounding
    return slope, xp.where(straight[:, None], 0, left)


def unwrapped(x: Any) -> Any:
    """What NumPy would lose of an array: masked samples are NaN, and the `time` of an xarray.DataArray goes last."""
    if isinstance(x, np.ma.MaskedArray):
        return np.where(np.ma.getmaskarray(x), np.float32(np.nan), x.data)
    return x.transpose(..., "time").values if "time" in getattr(x, "dims", ()) else x


def seams(seam: ArrayLike | None, shape: tuple[int, ...]) -> NDArray[np.int64] | None:
    """Seam of each channel of an array of a shape [..., channel, sample], checked: int64 [channel]."""
    if seam is None:
        return None
    places = np.asarray(seam)
    if places.dtype.kind not in "iu" or np.any((places < 0) | (places >= shape[-1])):
        raise InputError(f"seam must hold sample numbers from 0 to {shape[-1] - 1}")
    return np.broadcast_to(places, shape[:-1]).reshape(-1).astype(np.int64)


def _finite_sum(flat: NDArray[Any]) -> bool:
    """A quick look: where the sum is finite, so is every sample."""
    with np.errstate(invalid="ignore", over="ignore"):
        return bool(np.isfinite(flat.sum(dtype=np.float64)))


def _bad_samples(array: NDArray[Any], flat: NDArray[Any], good: ArrayLike | None) -> NDArray[np.bool_] | None:
    bad = None if _finite_sum(flat) else np.isnan(flat)
    left_out = masked(array.shape, good)
    return bad if left_out is None else left_out if bad is None else left_out | bad


def masked(shape: tuple[int, ...], good: ArrayLike | None) -> NDArray[np.bool_] | None:
    """Samples that flags of an array of a shape [..., channel, sample] leave out, checked: bool [channel, sample]."""
    if good is None:
        return None
    mask = np.asarray(good, bool)
    try:
        return ~np.broadcast_to(mask, shape).reshape(-1, shape[-1])
    except ValueError:
        raise InputError(f"good has shape {mask.shape}, signals {shape}: give one flag per sample") from None


def _filled(flat: NDArray[Any], bad: NDArray[np.bool_]) -> NDArray[Any]:
    """Bad samples on straight lines between their good neighbours."""
    filled = flat.copy()
    sample = np.arange(flat.shape[1])
    for channel, holes in zip(filled, bad, strict=True):
        channel[holes] = np.interp(sample[holes], sample[~holes], channel[~holes]) if not holes.all() else 0.0
    return filled


def _standardised(x: NDArray[Any], shape: tuple[int, ...], bad: NDArray[np.bool_] | None) -> Signals:
    mean = x.mean(axis=1, dtype=np.float64)
    largest = np.maximum(x.max(axis=1) - mean, mean - x.min(axis=1))
    size = np.maximum(np.abs(x.max(axis=1)), np.abs(x.min(axis=1)))
    status = np.where(largest > CONSTANT_SHARE * size, FINE, CONSTANT).astype(np.int8)
    if bad is not None:
        status[bad.all(axis=1)] = NO_DATA
    fine = status == FINE
    unit = np.where(fine, largest, 1)
    spread = np.array([np.linalg.norm((row - m) / s) for row, m, s in zip(x, mean, unit, strict=True)])
    gain = np.where(fine, np.sqrt(x.shape[1]) / np.where(fine, spread * largest, 1), 0.0)
    return Signals(x, shape, mean, gain, status, bad)


def usable_cells(bad: NDArray[np.bool_], scales: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where a cell's window holds few bad samples: bool [row, sample].

    Parameters
    ----------
    bad : bool [sample]
    scales : float64 [row]
        Samples.
    """
    return np.array([bad_share(bad, scale) <= BAD_SHARE for scale in scales])


def bad_share(bad: NDArray[np.bool_], scale: float) -> NDArray[np.float64]:
    """Share of a cell's window that bad samples hold, at each sample: float64 [sample].

    Parameters
    ----------
    bad : bool [sample]
    scale : float
        Samples.
    """
    import scipy.ndimage

    return np.asarray(scipy.ndimage.gaussian_filter1d(bad.astype(float), WINDOW_SD * scale, mode="nearest", truncate=5))
