"""What is asked of a test over dyads or persons, whatever it exchanges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..nulls.tails import Tail


@dataclass(frozen=True)
class Wanted:
    """Draws and their seed, corrections, tail and level of a test."""

    n: int
    seed: int
    correct: Sequence[str]
    tail: Tail
    alpha: float

    @property
    def sides(self) -> int:
        """By how many tails a p is multiplied."""
        return 2 if self.tail == "two-sided" else 1


def count_tested(values: NDArray[np.float64]) -> int:
    """Features with a value in at least two dyads or units, of float64 [unit, feature]."""
    return int((np.isfinite(values).sum(axis=0) >= 2).sum())
