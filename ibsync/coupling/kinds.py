"""The kinds of coupling, by the spec that asks for each: what `Engine` needs to know of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from .backends.backend import Backend, Batch
from .plan import Epochs, Plan
from .spec import WTC, PhaseShares
from .transform.signals import Signals
from .wavelet_coherence import Coherence, WaveletCoherence


class Kind(Protocol):
    """How signals become features, and pairs of features the means that the measures are computed from."""

    def backend(self, name: str, spec: Any) -> Backend:
        """The backend of a name, as far as the spec can be computed there."""

    def plan(self, n_samples: int, sfreq: float, spec: Any, epochs: Epochs | None) -> Plan:
        """Everything that depends on lengths and words only."""

    def features(self, backend: Backend, signals: Signals, plan: Plan) -> Batch:
        """What is made once per channel and serves every partner."""

    def means(self, backend: Backend, a: Batch, b: Batch, shares: PhaseShares | None) -> Coherence:
        """A dataclass of arrays [*a, *b, band, epoch], for all pairs of a channel of `a` with one of `b`."""

    def means_of_dyads(self, backend: Backend, a: Batch, b: Batch, shares: PhaseShares | None) -> Coherence:
        """The same for pairs within a dyad, which the first axis of both counts: [dyad, *a, *b, band, epoch]."""

    def maps(self, a: Signals, b: Signals, plan: Plan) -> NDArray[np.complex128]:
        """The coupling at every sample, of signals on the host: [*a, *b, row, sample]."""


KINDS: Mapping[type, Kind] = {WTC: WaveletCoherence()}


def kind_of(spec: object) -> Kind:
    """The kind of coupling that a spec asks for.

    Raises
    ------
    PlanError
        If it is no spec.
    """
    if type(spec) not in KINDS:
        known = ", ".join(kind.__name__ for kind in KINDS)
        raise PlanError(f"spec must be a {known}, such as WTC(bands={{'task': (0.02, 0.1)}}), got {spec!r}")
    return KINDS[type(spec)]
