"""Draws of a permutation test: the exchanges of a design in their fixed order, all of them if few, else at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from .random_streams import split_seed

Indices = NDArray[np.int32]
Integers = NDArray[np.int64]

LIST_UP_TO = 400_000
"""Exchanges are listed instead of drawn when there are no more of them: all re-pairings of 9 dyads, signs of 18."""

LIST_CLUSTERS_UP_TO = 1 << 14
"""The same where clusters are sought in each draw, which takes a thousand times as long."""


class Design(Protocol):
    """
    What may be exchanged under a hypothesis.

    An exchange is an array of which the first axis is that of the draws; what it holds depends on the design. Neither
    its list nor its random numbers depend on the order of rows: units and blocks stand in the order of their labels.
    """

    noun: ClassVar[str]
    """What an exchange is called, in the plural."""

    def __len__(self) -> int:
        """Units that are exchanged."""

    @property
    def n_ways(self) -> int:
        """Number of exchanges that there are, the observed one included."""

    def listed(self, k: Integers) -> NDArray[Any]:
        """Exchanges by their number, 0 to `n_ways` - 1; 0 is the observed one: [draw, ...]."""

    def drawn(self, k: Integers, seed: int) -> NDArray[Any]:
        """Random exchanges of draws `k`; 0 is the observed one: [draw, ...]."""


D = TypeVar("D", bound=Design)


@dataclass(frozen=True)
class Draws(Generic[D]):
    """
    Exchanges in their fixed order: number 0 is what was observed, the others are draws 1..n.

    Parameters
    ----------
    design : Design
    n : int
        Draws beside the observed one. When they are listed these are all the other exchanges, each once.
    seed : int
        The user's seed; without effect on listed draws.
    listed : bool
        Whether all exchanges are listed.
    """

    design: D
    n: int
    seed: int
    listed: bool

    @classmethod
    def plan(cls, design: D, n: int, seed: int, *, list_up_to: int = LIST_UP_TO) -> Draws[D]:
        """
        List every exchange if there are at most ``max(n, list_up_to)``, else draw `n` at random.

        Raises
        ------
        PlanError
            If the number of draws or the seed is out of range, or nothing can be exchanged.
        """
        check_draws(n, seed)
        if design.n_ways == 1:
            raise PlanError("no two units may be exchanged, so there is nothing to test; add dyads or sessions")
        listed = design.n_ways <= max(n, list_up_to)
        return cls(design, design.n_ways - 1 if listed else n, seed, listed)

    @property
    def min_p(self) -> float:
        """Smallest one-sided p that these draws can give."""
        return 1.0 / (self.n + 1)

    def take(self, start: int, stop: int) -> NDArray[Any]:
        """Exchanges `start` to `stop` - 1, [draw, ...]; the same whatever the range."""
        k = np.arange(start, stop, dtype=np.int64)
        return self.design.listed(k) if self.listed else self.design.drawn(k, self.seed)


def check_draws(n: int, seed: int) -> None:
    """Refuse a number of draws or a seed that is out of range."""
    check_n(n, (1 << 32) - 1, "2**32 - 1")
    split_seed(seed)


def check_n(n: int, most: int, written: str) -> None:
    """Refuse what is no whole number of draws, or more than `most`, which is `written` so."""
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or not 1 <= n <= most:
        raise PlanError(f"{n!r} draws were asked for; ask for 1 to {written}")


def list_up_to(correct: Sequence[str]) -> int:
    """Up to how many exchanges are listed with these corrections."""
    return LIST_CLUSTERS_UP_TO if {"cluster", "tfce"} & set(correct) else LIST_UP_TO


def blocks_of(labels: Sequence[str], strata: Sequence[str]) -> dict[str, Indices]:
    """Units of each stratum, int32 [unit], by its label; strata and units in the order of their labels."""
    ordered = sorted(range(len(labels)), key=lambda unit: labels[unit])
    return {
        stratum: np.array([unit for unit in ordered if strata[unit] == stratum], dtype=np.int32)
        for stratum in sorted(set(strata))
    }


def digits(k: Integers, sizes: Sequence[int]) -> list[Integers]:
    """Digits of numbers [draw] in a base of several sizes, the last turning fastest: int64 [draw] for each size."""
    out = []
    for size in reversed(sizes):
        k, digit = np.divmod(k, size)
        out.append(digit)
    return out[::-1]


def permutations_of_rank(rank: Integers, n: int) -> Indices:
    """Permutation of 0..n-1 with a lexicographic rank, int32 [draw, n], through its factorial-base digits."""
    order = np.array(digits(rank, range(n, 0, -1)), dtype=np.int32)
    for position in range(n - 2, -1, -1):
        order[position + 1 :] += order[position + 1 :] >= order[position]
    return order.T
