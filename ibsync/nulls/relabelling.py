"""Labels that may change hands: signs, times of sessions, groups of dyads, and values of any units."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from math import comb, factorial, prod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from .draws import Indices, Integers, blocks_of, digits, permutations_of_rank
from .random_streams import Purpose, entity_id, entity_ids, integers, permutations, purpose_word, stream

Flags = NDArray[np.bool_]

LEAST_UNITS = 2
"""A mean over fewer dyads is not tested."""

# Keeps orders of sessions apart from flips of signs, which are also exchanges within a dyad.
_ORDER = 1


@dataclass(frozen=True)
class Signs:
    """
    Which units show the other sign: int64 [draw, unit], 1 for those that do.

    Parameters
    ----------
    labels : tuple of str
        One label per unit (dyad, or block of dyads); the signs of a unit depend on its label alone.

    Raises
    ------
    PlanError
        Fewer than two units, or a label twice.
    """

    labels: tuple[str, ...]
    noun: ClassVar[str] = "exchanges"

    def __post_init__(self) -> None:
        if len(self.labels) < LEAST_UNITS:
            raise PlanError(f"a test over dyads needs at least {LEAST_UNITS} of them, found {len(self.labels)}")
        repeated = [label for label, count in Counter(self.labels).items() if count > 1]
        if repeated:
            raise PlanError(f"{repeated[0]!r} is listed twice; give one row per dyad, the mean over its sessions")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def n_ways(self) -> int:
        """Combinations of signs, the observed one included."""
        return 1 << len(self)

    def listed(self, k: Integers) -> Integers:
        """Combinations by their number; the unit that is first by label turns fastest."""
        out = np.empty((k.size, len(self)), np.int64)
        out[:, np.argsort(self.labels)[::-1]] = np.transpose(digits(k, [2] * len(self)))
        return out

    def drawn(self, k: Integers, seed: int) -> Integers:
        """One word of each unit's own stream chooses its sign."""
        purpose = purpose_word(Purpose.SIGN_FLIP)
        words = [stream(seed, k, 1, entity=int(e), purpose=purpose)[0] for e in self._entities]
        out = integers(np.stack(words, axis=1), 2).astype(np.int64)
        out[k == 0] = 0
        return out

    @cached_property
    def _entities(self) -> NDArray[np.uint32]:
        return entity_ids(self.labels)


@dataclass(frozen=True)
class SessionOrders:
    """
    Which of its times each session of each dyad is given: int64 [draw, session], the sessions dyad after dyad.

    Parameters
    ----------
    labels : tuple of str
        One label per dyad; its orders depend on seed, draw and label only.
    n_sessions : tuple of int
        Of each dyad.
    """

    labels: tuple[str, ...]
    n_sessions: tuple[int, ...]
    noun: ClassVar[str] = "orders of sessions"

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def n_ways(self) -> int:
        """Orders of everybody's sessions, the observed one included."""
        return prod(map(factorial, self.n_sessions))

    def listed(self, k: Integers) -> Integers:
        """Orders by their number; the dyad that is first by label turns fastest."""
        place = np.argsort(self.labels)[::-1]
        ranks = dict(zip(place.tolist(), digits(k, [factorial(self.n_sessions[dyad]) for dyad in place]), strict=True))
        parts = [permutations_of_rank(ranks[dyad], n) for dyad, n in enumerate(self.n_sessions)]
        return np.concatenate(parts, axis=1, dtype=np.int64)

    def drawn(self, k: Integers, seed: int) -> Integers:
        """A permutation of each dyad's own."""
        purpose = purpose_word(Purpose.SIGN_FLIP, _ORDER)
        parts = [
            permutations(seed, k, n, entity=int(entity), purpose=purpose)
            for n, entity in zip(self.n_sessions, entity_ids(self.labels), strict=True)
        ]
        return np.concatenate(parts, axis=1, dtype=np.int64)


@dataclass(frozen=True)
class GroupLabels:
    """
    Which units (dyads, or blocks of them) are in the first of two groups: bool [draw, unit].

    Parameters
    ----------
    labels : tuple of str
        One label per unit.
    first : tuple of bool
        Which units are in the first group.
    strata : tuple of str
        One label per unit: only units of one label exchange groups. Empty: all do.
    """

    labels: tuple[str, ...]
    first: tuple[bool, ...]
    strata: tuple[str, ...] = ()
    noun: ClassVar[str] = "divisions into groups"

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def n_ways(self) -> int:
        """Divisions into groups of these sizes, the observed one included."""
        return prod(self._sizes)

    @cached_property
    def _blocks(self) -> dict[str, Indices]:
        return blocks_of(self.labels, self.strata or [""] * len(self.labels))

    @cached_property
    def _first(self) -> list[Flags]:
        """Which units of each block are in the first group."""
        return [np.array(self.first)[units] for units in self._blocks.values()]

    @property
    def _sizes(self) -> list[int]:
        return [comb(len(first), int(first.sum())) for first in self._first]

    def listed(self, k: Integers) -> Flags:
        """Divisions of the blocks by their number, counted from the observed one; the last block turns fastest."""
        parts = []
        for first, digit in zip(self._first, digits(k, self._sizes), strict=True):
            own = _rank(first)
            # Digit 0 is what was observed, the others count the remaining divisions in order.
            rank = np.where(digit == 0, own, digit - (digit <= own))
            parts.append(_subset_of_rank(rank, len(first), int(first.sum())))
        return self._placed(parts)

    def drawn(self, k: Integers, seed: int) -> Flags:
        """The groups of each block in random order."""
        purpose = purpose_word(Purpose.GROUP_LABEL)
        return self._placed([
            first[permutations(seed, k, len(first), entity=entity_id(label), purpose=purpose)]
            for label, first in zip(self._blocks, self._first, strict=True)
        ])  # fmt: skip

    def _placed(self, parts: list[Flags]) -> Flags:
        out = np.empty((len(parts[0]), len(self.labels)), dtype=bool)
        for units, part in zip(self._blocks.values(), parts, strict=True):
            out[:, units] = part
        return out


def _rank(chosen: Flags) -> int:
    """Number of a subset among those of its size, in the combinatorial number system."""
    return sum(comb(int(place), size + 1) for size, place in enumerate(np.flatnonzero(chosen)))


def _subset_of_rank(rank: Integers, n: int, size: int) -> Flags:
    """Subsets of 0..n-1 of one size by their number: bool [draw, n]."""
    out = np.zeros((rank.size, n), dtype=bool)
    rest, left = rank.copy(), np.full(rank.size, size)
    for place in range(n - 1, -1, -1):
        before = np.array([comb(place, k) for k in range(size + 1)], dtype=np.int64)[left]
        out[:, place] = (left > 0) & (rest >= before)
        rest = np.where(out[:, place], rest - before, rest)
        left = left - out[:, place]
    return out


@dataclass(frozen=True)
class Permutations:
    """
    Whose value each unit takes over: int64 [draw, unit], everybody keeping their own in draw 0.

    Parameters
    ----------
    units : tuple of str
        One label per unit, such as a dyad; none twice in a stratum.
    strata : tuple of str
        One label per unit; values are exchanged only between units of one label.
    """

    units: tuple[str, ...]
    strata: tuple[str, ...]
    noun: ClassVar[str] = "permutations"

    def __post_init__(self) -> None:
        assert len(set(zip(self.units, self.strata, strict=True))) == len(self.units)

    def __len__(self) -> int:
        return len(self.units)

    @property
    def n_ways(self) -> int:
        """Permutations within strata, the observed one included."""
        return prod(map(factorial, Counter(self.strata).values()))

    @cached_property
    def blocks(self) -> dict[str, Indices]:
        """Units of each stratum, by its label."""
        return blocks_of(self.units, self.strata)

    def listed(self, k: Integers) -> Integers:
        """Combinations of the strata's permutations by their number, the last stratum turning fastest."""
        ranks = digits(k, [factorial(len(block)) for block in self.blocks.values()])
        return self._placed([
            permutations_of_rank(rank, len(block)) for rank, block in zip(ranks, self.blocks.values(), strict=True)
        ])  # fmt: skip

    def drawn(self, k: Integers, seed: int) -> Integers:
        """One independent permutation per stratum, from the stream that bears its label."""
        purpose = purpose_word(Purpose.OUTCOME)
        return self._placed([
            permutations(seed, k, len(block), entity=int(entity), purpose=purpose)
            for block, entity in zip(self.blocks.values(), entity_ids(list(self.blocks)), strict=True)
        ])  # fmt: skip

    def _placed(self, orders: list[Indices]) -> Integers:
        out = np.empty((len(orders[0]), len(self)), dtype=np.int64)
        for block, order in zip(self.blocks.values(), orders, strict=True):
            out[:, block] = block[order]
        return out
