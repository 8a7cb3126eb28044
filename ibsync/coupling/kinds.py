"""The kinds of coupling, by the spec that asks for each: what `Engine` needs to know of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from .backends.backend import Backend
from .band_coupling import BandCoupling
from .band_spec import Coupling
from .plan import Epochs
from .spec import WTC, Band, PhaseShares
from .transform.signals import Signals
from .trials import CoherenceOfTrials
from .wavelet_coherence import WaveletCoherence


class Kind(Protocol):
    """
    How signals become features, and pairs of features the means that the measures are computed from.

    Attributes
    ----------
    takes_controls : bool
        Whether controls can be taken out of features.
    counts_shares : bool
        Whether shares of cells by phase can be counted.
    """

    takes_controls: bool
    counts_shares: bool

    def backend(self, name: str, spec: Any) -> Backend:
        """The backend of a name, as far as the spec can be computed there."""

    def plan(self, n_samples: int, sfreq: float, spec: Any, epochs: Epochs | None) -> Any:
        """Everything that depends on lengths and words only."""

    def trusted_shares(self, n_samples: int, sfreq: float, spec: Any, epochs: Epochs | None) -> NDArray[np.float64]:
        """Share of what was asked for of each epoch and band that no end reaches; 0 where a band does not fit."""

    def refuse_band(self, name: str, band: Band, n_samples: int, sfreq: float, spec: Any) -> None:
        """Refuse a band that a recording does not hold."""

    def features(self, backend: Backend, signals: Signals, plan: Any) -> Any:
        """What is made once per channel and serves every partner."""

    def means(self, backend: Backend, a: Any, b: Any, shares: PhaseShares | None) -> Any:
        """A dataclass of arrays [*a, *b, band, epoch], for all pairs of a channel of `a` with one of `b`."""

    def means_of_dyads(self, backend: Backend, a: Any, b: Any, shares: PhaseShares | None) -> Any:
        """The same for pairs within a dyad, which the first axis of both counts: [dyad, *a, *b, band, epoch]."""

    def maps(self, a: Signals, b: Signals, plan: Any) -> NDArray[np.complex128]:
        """The coupling at every sample, of signals on the host: [*a, *b, row, sample]."""


KINDS: Mapping[type, Kind] = {WTC: WaveletCoherence(), Coupling: BandCoupling()}
OF_TRIALS: Mapping[type, Callable[[int], Kind]] = {WTC: CoherenceOfTrials, Coupling: BandCoupling}
"""The same for recordings of trials, by the samples of a trial."""


def kind_of(spec: object, trial: int = 0) -> Kind:
    """The kind of coupling that a spec asks for, of recordings of trials where a trial has samples.

    Raises
    ------
    PlanError
        If it is no spec.
    """
    if type(spec) not in KINDS:
        known = " or a ".join(kind.__name__ for kind in KINDS)
        raise PlanError(f"spec must be a {known}, such as WTC(bands={{'task': (0.02, 0.1)}}), got {spec!r}")
    return OF_TRIALS[type(spec)](trial) if trial else KINDS[type(spec)]
