"""What the rest of the package may ask of a backend, whoever computes."""

from __future__ import annotations

from typing import Any, Protocol

from ..plan import Plan
from ..spec import PhaseShares
from ..transform.signals import Signals
from .cuda.device import Device
from .sums import Sums


class Batch(Protocol):
    """Features of channels, kept where the backend computes."""

    @property
    def signals(self) -> Signals:
        """The channels that they were made of."""

    @property
    def plan(self) -> Plan:
        """The request that they were made for."""

    def of_dyad(self, dyad: int, n_dyads: int) -> Batch:
        """Those of one of so many dyads, whose channels follow one another."""


class Backend(Protocol):
    """Where features are made and multiplied."""

    @property
    def name(self) -> str:
        """As the provenance of a result names it."""

    @property
    def device(self) -> Device | None:
        """The GPU that computes, which knows its free memory; None on the CPU."""

    @property
    def xp(self) -> Any:
        """Module of the arrays that come back: NumPy, or CuPy on a GPU."""

    @property
    def squaring(self) -> Backend:
        """The same backend, of whose sums only `squared` need be known; itself where that saves nothing."""

    def features(self, signals: Signals, plan: Plan) -> Batch:
        """Features of every channel."""

    def at_lags(self, features: Any) -> Any:
        """Features of the same channels taken later by every lag of the plan, one behind the other."""

    def coherence(self, a: Any, b: Any, shares: PhaseShares | None = None) -> Sums:
        """Sums over cells for all pairs of a channel of `a` with a channel of `b`, batches of its own."""

    def coherence_of_dyads(self, a: Any, b: Any, n_dyads: int, shares: PhaseShares | None = None) -> Sums:
        """The same for pairs within so many dyads, whose channels follow one another: sums [mean, dyad, a, b]."""
