"""Channels that are on the device already, made ready for the transform there: `signals.prepare` without a copy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...transform.signals import (
    CONSTANT,
    CONSTANT_SHARE,
    FINE,
    NO_DATA,
    Signals,
    masked,
    prepare,
    seams,
    unwrapped,
    without_trend,
)
from .device import Device

Mask = NDArray[np.bool_]

_VALUES_AT_ONCE = 1 << 22  # of which the host looks for good neighbours


def prepare_on(
    device: Device, x: Any, good: ArrayLike | None, seam: ArrayLike | None, detrend: str | None = None
) -> Signals:
    """
    Channels ready for the transform.

    Parameters
    ----------
    device : Device
    x : real array [..., channel, sample] or [sample] of the device
        NaN marks a gap.
    good, seam, detrend
        As `signals.prepare`, of the host.

    Returns
    -------
    Signals
        With `x` float64 on the device, all else on the host.

    Raises
    ------
    InputError
        As `signals.prepare`.
    """
    xp = device.xp
    array = xp.asarray(unwrapped(x))
    fits = array.ndim > 0 and array.dtype.kind in "fiub" and array.size > 0
    # One wait for both.
    infinite, has_gaps = device.to_host(xp.stack([xp.isinf(array).any(), xp.isnan(array).any()])) if fits else (True, 0)
    if infinite:
        return prepare(device.to_host(array), good, seam=seam)  # which has the words for it
    n = array.shape[-1]
    flat = xp.ascontiguousarray(array.reshape(-1, n).astype(np.float64))
    bad = masked(array.shape, good)
    if has_gaps:
        gaps = device.to_host(xp.isnan(flat))
        bad = gaps if bad is None else bad | gaps
    if detrend:
        flat = without_trend(xp, flat, None if bad is None else device.from_host(bad))
    if bad is not None and bad.any():
        flat = _filled(device, flat, bad)
    mean, gain, fine = device.to_host(_scale(xp, flat))
    status = np.where(fine, FINE, CONSTANT).astype(np.int8)
    if bad is not None:
        status[bad.all(axis=1)] = NO_DATA
    return Signals(flat, array.shape[:-1], mean, gain * (status == FINE), status, bad, seams(seam, array.shape))


def _filled(device: Device, flat: Any, bad: Mask) -> Any:
    """Bad samples on straight lines between their good neighbours, as `numpy.interp` draws them."""
    out = flat.copy()
    at_once = max(1, _VALUES_AT_ONCE // bad.shape[1])
    for start in range(0, len(bad), at_once):
        some = slice(start, start + at_once)
        if bad[some].any():
            _fill(device, out[some], flat[some], bad[some])
    return out


def _fill(device: Device, out: Any, flat: Any, bad: Mask) -> None:
    n = bad.shape[1]
    sample = np.arange(n)
    left = np.maximum.accumulate(np.where(bad, -1, sample), axis=1)[bad]
    right = np.minimum.accumulate(np.where(bad, n, sample)[:, ::-1], axis=1)[:, ::-1][bad]
    row, at = np.nonzero(bad)
    none = (left < 0) & (right >= n)
    first = np.where(none, 0, np.where(left < 0, right, left))
    last = np.where(none, 0, np.where(right >= n, left, right))
    weight = np.where(last > first, (at - first) / np.maximum(last - first, 1), 0.0)
    low, high = flat[row, first], flat[row, last]
    between = low + device.from_host(weight) * (high - low)
    out[row, at] = device.xp.where(device.from_host(none), 0.0, between)


def _scale(xp: Any, flat: Any) -> Any:
    """Mean and gain of each channel, and whether it varies: float64 [3, channel] of the device."""
    mean, high, low = flat.mean(axis=1), flat.max(axis=1), flat.min(axis=1)
    largest = xp.maximum(high - mean, mean - low)
    fine = largest > CONSTANT_SHARE * xp.maximum(xp.abs(high), xp.abs(low))
    unit = xp.where(fine, largest, 1.0)
    spread = xp.sqrt((((flat - mean[:, None]) / unit[:, None]) ** 2).sum(axis=1))
    gain = xp.where(fine, flat.shape[1] ** 0.5 / xp.where(fine, spread * unit, 1.0), 0.0)
    return xp.stack([mean, gain, fine.astype(np.float64)])
