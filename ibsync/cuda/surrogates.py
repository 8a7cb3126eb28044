"""Surrogates of a person on a device: the numbers of `nulls.families`, with the same draws."""

from typing import Any

import numpy as np

from ..nulls.families import turns
from ..nulls.philox import Purpose, purpose_word, split_seed
from .device import Device
from .module import load

_BLOCK = 256


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
        As `nulls.families.surrogates`.
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
        As `nulls.families.surrogates`.

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
