"""What an engine is made for; rows that share it share the engine."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..coupling.backends.cuda.device import Device
from ..coupling.band_spec import Spec
from ..coupling.kinds import kind_of
from ..coupling.plan import Epochs

CHANNELS_TOGETHER = 128
"""Channels of first persons that are worked on in one pass; more overflow a core's cache."""
_CHANNELS_TOGETHER_THERE = 4096  # on a GPU, where a call costs as much as thousands of pairs


def channels_together(device: Device | None) -> int:
    """Channels of first persons that are worked on in one pass, on a GPU or, without one, on the CPU."""
    return CHANNELS_TOGETHER if device is None else _CHANNELS_TOGETHER_THERE


@dataclass(frozen=True)
class EnginePlan:
    """
    What an engine is made for.

    Parameters
    ----------
    n_samples : int
    sfreq : float
        Sampling rate in Hz.
    spec : WTC or Coupling
    epochs : mapping of name to sequence of (start, stop) in s, or None
    trial : int
        Samples of a trial, where recordings are trials end to end, else 0.
    """

    n_samples: int
    sfreq: float
    spec: Spec
    epochs: Epochs | None = None
    trial: int = 0

    @cached_property
    def key(self) -> str:
        """Text that is the same for equal plans."""
        return json.dumps([self.n_samples, self.sfreq, self.spec.to_dict(), self.epochs, self.trial])

    @cached_property
    def shares(self) -> NDArray[np.float64]:
        """Share of the cells of each epoch and band that lie outside the cone of influence: float64 [epoch, band]."""
        kind = kind_of(self.spec, self.trial)
        return kind.trusted_shares(self.n_samples, self.sfreq, self.spec, self.epochs)

    @property
    def enough(self) -> NDArray[np.bool_]:
        """Which epochs and bands have cells enough for a value: bool [epoch, band]."""
        return (self.shares > 0) & (self.shares >= self.spec.min_valid)

    @cached_property
    def computable(self) -> EnginePlan | None:
        """The same without epochs and bands that have no cell in recordings of this length; None if none has any."""
        epochs, bands = self._having_cells
        if epochs.all() and bands.all():
            return self
        if not epochs.any():
            return None
        spec = replace(self.spec, bands=dict(compress((self.spec.bands or {}).items(), bands)))
        return replace(self, spec=spec, epochs=self.epochs and dict(compress(self.epochs.items(), epochs)))

    def whole(self, values: Any, epoch: int, band: int, xp: Any = np, missing: float = np.nan) -> Any:
        """
        Values of the epochs and bands that can be computed, among all that were asked for.

        Parameters
        ----------
        values : array
        epoch, band : int
            Their axes, counted from the front; bands with all lags each.
        xp : module
            Where the values lie.
        missing : float
            What stands in the others.
        """
        epochs, bands = self._having_cells
        if self.computable is self:
            return values
        shape = list(values.shape)
        bands = np.repeat(bands, max(1, len(self.spec.lags)))
        shape[epoch], shape[band] = len(epochs), len(bands)
        full = xp.full(shape, missing, values.dtype)
        places = np.ix_(np.flatnonzero(epochs), np.flatnonzero(bands))
        xp.moveaxis(full, (epoch, band), (0, 1))[places] = xp.moveaxis(values, (epoch, band), (0, 1))
        return full

    @property
    def _having_cells(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which epochs have a cell in any band, and which bands in any epoch: bool [epoch], bool [band]."""
        has_cells = self.shares > 0
        return np.any(has_cells, axis=1, keepdims=True)[:, 0], np.any(has_cells, axis=0, keepdims=True)[0]
