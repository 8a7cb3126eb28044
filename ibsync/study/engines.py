"""What an engine is made for; rows that share it share the engine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property

from ..coupling.plan import Epochs
from ..coupling.spec import WTC


@dataclass(frozen=True)
class EnginePlan:
    """
    What an engine is made for.

    Parameters
    ----------
    n_samples : int
    sfreq : float
        Sampling rate in Hz.
    spec : WTC
    epochs : mapping of name to sequence of (start, stop) in s, or None
    """

    n_samples: int
    sfreq: float
    spec: WTC
    epochs: Epochs | None = None

    @cached_property
    def key(self) -> str:
        """Text that is the same for equal plans."""
        return json.dumps([self.n_samples, self.sfreq, self.spec.to_dict(), self.epochs])
