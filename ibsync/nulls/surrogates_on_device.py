"""Surrogates of a person on a device: the numbers of `nulls.surrogate_signals`, with the same draws."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..coupling.backends.cuda.device import Device
from ..coupling.backends.cuda.launch import load
from .random_streams import Purpose, purpose_word, split_seed
from .surrogate_signals import turns

_BLOCK = 256
_MOST_DRAWS = 65_535  # that a grid of blocks holds

ON_DEVICE = ("phase", "shift")
"""Families that are made on a device."""


def surrogates_on(
    device: Device, kind: str, x: NDArray[np.floating], draws: NDArray[np.integer], *, seed: int, entity: int
) -> Any:
    """
    Surrogates of one person, made and left on a device: `nulls.surrogate_signals.surrogates` to rounding.

    Parameters
    ----------
    device : Device
    kind : {"phase", "shift"}
    x : float [channel, sample], of the host
        Finite, but for channels that are missing altogether (NaN).
    draws : int [draw]
        Draw numbers; 0 is the recording itself.
    seed, entity
        As `nulls.surrogate_signals.surrogates`.

    Returns
    -------
    float64 [draw, channel, sample], on the device
    """
    xp, n_samples = device.xp, x.shape[1]
    signals, numbers = device.upload(x), np.asarray(draws).astype(np.uint32)
    made = xp.empty((len(numbers), *x.shape), np.float64)
    # Channels that do not vary (or are missing) come back as they are.
    varying = np.flatnonzero(np.ptp(x, axis=1) > 0)
    made[:] = signals
    for start in range(0, len(numbers), _MOST_DRAWS):
        some = slice(start, start + _MOST_DRAWS)
        there = device.from_host(numbers[some])
        if kind == "shift":
            made[some] = shifted_signals(device, signals, there, seed=seed, entity=entity)
        elif len(varying):
            spectra = xp.ascontiguousarray(xp.fft.rfft(signals[varying], axis=1))
            turned = turned_spectra(device, spectra, n_samples, there, seed=seed, entity=entity)
            made[some, varying] = xp.fft.irfft(turned, n_samples, axis=2)
    if kind != "shift":
        for recording in np.flatnonzero(numbers == 0):
            made[int(recording)] = signals
    return made


def turned_spectra(
    device: Device,
    spectra: Any,
    n_samples: int,
    draws: Any,
    *,
    seed: int,
    entity: int,
    variant: int = 0,
    purpose: Purpose = Purpose.PHASE,
) -> Any:
    """
    Spectra of one person with the phases of each draw added; an inverse FFT gives surrogates of family ``"phase"``.

    Parameters
    ----------
    device : Device
    spectra : complex128 [channel, frequency], on the device
        ``rfft`` of channels that all vary.
    n_samples : int
        Samples behind the spectra, which decide whether there is a Nyquist frequency.
    draws : uint32 [draw], on the device
        Draw numbers, 0 being the recording itself; at most 65,535 of them.
    seed, entity, variant
        As `nulls.surrogate_signals.surrogates`.
    purpose : Purpose
        PHASE, or IAAFT for its starting point.

    Returns
    -------
    complex128 [draw, channel, frequency], on the device
    """
    n_channels, n_frequencies = spectra.shape
    assert n_frequencies == n_samples // 2 + 1, "spectra are those of rfft"
    turned = device.xp.empty((len(draws), n_channels, n_frequencies), np.complex128)
    if turned.size:
        sizes = (n_channels, n_frequencies, (n_samples - 1) // 2)
        stream = (*split_seed(seed), entity, purpose_word(purpose, variant))
        kernel = load("surrogates", device)["turn_spectra"]
        grid = (-(-n_frequencies // _BLOCK), len(draws))
        kernel(grid, _BLOCK, (spectra, _table(device), draws, turned, *sizes, *stream))
    return turned


def shifted_signals(device: Device, signals: Any, draws: Any, *, seed: int, entity: int, variant: int = 0) -> Any:
    """
    Circular shifts of one person's signals: surrogates of family ``"shift"``, to the last bit.

    Parameters
    ----------
    device : Device
    signals : float64 [channel, sample], on the device
    draws : uint32 [draw], on the device
        Draw numbers; at most 65,535 of them.
    seed, entity, variant
        As `nulls.surrogate_signals.surrogates`.

    Returns
    -------
    float64 [draw, channel, sample], on the device
    """
    n_channels, n_samples = signals.shape
    shifted = device.xp.empty((len(draws), n_channels, n_samples), np.float64)
    if shifted.size:
        stream = (*split_seed(seed), entity, purpose_word(Purpose.SHIFT, variant))
        kernel = load("surrogates", device)["shift_signals"]
        grid = (-(-n_samples // _BLOCK), len(draws))
        kernel(grid, _BLOCK, (signals, draws, shifted, n_channels, n_samples, *stream))
    return shifted


def _table(device: Device) -> Any:
    """The table of phase factors, brought to the device once."""
    key = ("table of turns",)
    if key not in device.loaded:
        device.loaded[key] = device.from_host(turns())
    return device.loaded[key]
