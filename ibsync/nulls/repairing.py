"""The re-pairing of dyads: which persons are exchanged, and the permutations that are drawn or listed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import factorial, prod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from .random_streams import Purpose, entity_ids, permutations, purpose_word, split_seed

Floats = NDArray[np.float64]
Indices = NDArray[np.int32]
Integers = NDArray[np.int64]
ENUMERATE_UP_TO = 1_000_000
"""Re-pairings are listed instead of drawn when there are no more of them than this."""


@dataclass(frozen=True)
class Repairing:
    """
    Which dyads may exchange partners: a permutation of the second persons within each block.

    Make one with `Repairing.of`, which checks it.

    Parameters
    ----------
    dyads, persons_a, persons_b : tuple of str
        One label per dyad. Persons keep their role; no person is in two dyads.
    strata : tuple of str
        One label per dyad; partners are exchanged only between dyads of one label.
    """

    dyads: tuple[str, ...]
    persons_a: tuple[str, ...]
    persons_b: tuple[str, ...]
    strata: tuple[str, ...]

    roles: ClassVar[str] = "fixed"
    """Whether first persons stay first."""

    @classmethod
    def of(
        cls,
        dyads: Sequence[str],
        persons_a: Sequence[str],
        persons_b: Sequence[str],
        strata: Mapping[str, Sequence[str]] | None = None,
    ) -> Repairing:
        """
        Checked design.

        Parameters
        ----------
        dyads, persons_a, persons_b : sequence of str
            One label per dyad (not per session).
        strata : mapping of name to sequence of str, optional
            What must agree for partners to be exchangeable, for example ``{"group": [...], "site": [...]}``.

        Raises
        ------
        PlanError
            Fewer than two dyads, a block of one dyad, a dyad label twice, or a person in more than one dyad.
        """
        columns = dict(strata or {})
        for name, column in {"persons_a": persons_a, "persons_b": persons_b, **columns}.items():
            if len(column) != len(dyads):
                raise PlanError(f"{name} has {len(column)} labels for {len(dyads)} dyads; give one per dyad")
        labels = tuple(
            " | ".join(f"{name}={column[row]}" for name, column in columns.items()) for row in range(len(dyads))
        )
        design = cls(tuple(dyads), tuple(persons_a), tuple(persons_b), labels)
        _refuse_repeated_dyads(design)
        _refuse_shared_persons(design)
        _refuse_lone_dyads(design)
        return design

    def __len__(self) -> int:
        return len(self.dyads)

    @cached_property
    def blocks(self) -> tuple[Indices, ...]:
        """
        Dyad indices of each block, int32 [dyad of the block].

        Blocks and dyads stand in the order of their labels, so that a draw does not depend on the order of rows.
        """
        return tuple(
            np.array(sorted(self._rows(label), key=lambda row: self.dyads[row]), dtype=np.int32)
            for label in sorted(set(self.strata))
        )

    @staticmethod
    def ways(n_dyads: int) -> int:
        """Number of ways to pair the people of one block, the real one included."""
        return factorial(n_dyads)

    @cached_property
    def n_repairings(self) -> int:
        """Number of ways to pair everybody, the real one included: the product over blocks."""
        return prod(self.ways(len(block)) for block in self.blocks)

    @property
    def n_people(self) -> int:
        """Length of either axis of people in the pair values."""
        return len(self)

    @property
    def real(self) -> Indices:
        """Partner of each person in the real pairing, as in a draw: int32 [person]."""
        return np.arange(len(self), dtype=np.int32)

    @cached_property
    def cells(self) -> Indices:
        """Pairs (first person, second person) that some re-pairing contains, int32 [cell, 2], block after block."""
        return np.concatenate([np.stack(np.meshgrid(b, b, indexing="ij"), -1).reshape(-1, 2) for b in self.blocks])

    @cached_property
    def cell_number(self) -> Indices:
        """Place of each pair in `cells`, int32 [person, person]; -1 for a pair that no draw contains."""
        number = np.full((self.n_people, self.n_people), -1, dtype=np.int32)
        number[self.cells[:, 0], self.cells[:, 1]] = np.arange(len(self.cells), dtype=np.int32)
        return number

    @cached_property
    def block_of_cell(self) -> Indices:
        """Block number of each cell, int32 [cell]."""
        return np.repeat(np.arange(len(self.blocks), dtype=np.int32), [len(block) ** 2 for block in self.blocks])

    @property
    def choices(self) -> Integers:
        """Cells among which a draw chooses each of its own, all equally likely: int64 [cell]."""
        return np.array([len(block) for block in self.blocks])[self.block_of_cell]

    @property
    def freedom(self) -> Floats:
        """Divisor of a squared centred value in the variance of the sum over a draw's cells: float64 [cell]."""
        return np.asarray(np.maximum(self.choices - 1.0, 1.0))

    def centred(self, table: Floats) -> Floats:
        """Cell values without what every re-pairing has in common, float64 [cell, feature]."""
        return doubly_centred(table, self)

    def rivals(self, dyad: int, block: Indices) -> tuple[tuple[int, int], tuple[Indices, Indices]]:
        """
        The pair of a real dyad, and all pairs of one of its two people with somebody else's partner.

        Parameters
        ----------
        dyad : int
        block : int32 [dyad of the block]
            The block it is in.

        Returns
        -------
        own : (first, second)
        others : (firsts, seconds), int32 [pair] each
            Indices of people in the pair values.
        """
        others = block[block != dyad]
        same = np.full_like(others, dyad)
        return (dyad, dyad), (np.concatenate([same, others]), np.concatenate([others, same]))

    def cells_of(self, partners: Indices) -> Indices:
        """
        Cells that each re-pairing contains.

        Parameters
        ----------
        partners : int32 [draw, dyad]
            Index of the second person that each first person is given.

        Returns
        -------
        int32 [draw, dyad]
            Indices into `cells`.
        """
        found: Indices = self.cell_number[np.arange(len(self)), partners]
        assert found.min(initial=0) >= 0, "a re-pairing left its block"
        return found

    def drawn(self, k: Integers, seed: int, purpose: Purpose) -> Indices:
        """
        Random re-pairings: one independent permutation per block, from the stream that bears the block's label.

        Parameters
        ----------
        k : int64 [draw]
            Draw numbers; 0 is the real pairing.
        seed : int
        purpose : Purpose

        Returns
        -------
        int32 [draw, person]
            Partner of each.
        """
        partners = np.empty((k.size, len(self)), dtype=np.int32)
        for block, entity in zip(self.blocks, self.entities, strict=True):
            order = permutations(seed, k, len(block), entity=entity, purpose=purpose_word(purpose))
            partners[:, block] = block[order]
        return partners

    def listed(self, k: Integers) -> Indices:
        """
        Re-pairings by their number in lexicographic order, the last block turning fastest.

        Parameters
        ----------
        k : int64 [draw]
            Numbers, 0 to `n_repairings` - 1; 0 is the real pairing.

        Returns
        -------
        int32 [draw, person]
            Partner of each.
        """
        partners = np.empty((k.size, len(self)), dtype=np.int32)
        rest = k
        for block in reversed(self.blocks):
            rest, rank = np.divmod(rest, self.ways(len(block)))
            partners[:, block] = block[_permutation_of_rank(rank, len(block))]
        return partners

    @property
    def entities(self) -> list[int]:
        """Identity of each block in the streams of random numbers."""
        return [int(entity) for entity in entity_ids([self.strata[block[0]] for block in self.blocks])]

    def _rows(self, label: str) -> list[int]:
        return [row for row, stratum in enumerate(self.strata) if stratum == label]


def _refuse_repeated_dyads(design: Repairing) -> None:
    repeated = [dyad for dyad, count in Counter(design.dyads).items() if count > 1]
    if repeated:
        raise PlanError(f"dyad {repeated[0]!r} is listed twice; give one row per dyad, sessions are handled inside")


def _refuse_shared_persons(design: Repairing) -> None:
    dyads_of: dict[str, list[str]] = {}
    for dyad, *persons in zip(design.dyads, design.persons_a, design.persons_b, strict=True):
        for person in persons:
            dyads_of.setdefault(person, []).append(dyad)
    for person, dyads in dyads_of.items():
        if len(dyads) > 1:
            raise PlanError(
                f"person {person!r} is in dyads {', '.join(map(repr, dyads))}: re-pairing is not valid when dyads "
                "share a person; test a subset of dyads in which everybody occurs once, or take a null of single dyads "
                "such as kind='phase'"
            )


def _refuse_lone_dyads(design: Repairing) -> None:
    if len(design) < 2:
        raise PlanError(f"re-pairing needs at least 2 dyads, found {len(design)}; add dyads to the study")
    for block in design.blocks:
        if len(block) == 1:
            dyad, label = design.dyads[block[0]], design.strata[block[0]]
            raise PlanError(
                f"dyad {dyad!r} is alone in its block ({label}) and can exchange partners with nobody: "
                "leave it out, or name fewer columns that must agree"
            )


@dataclass(frozen=True)
class Draws:
    """
    Re-pairings in their fixed order: number 0 is the real pairing, the others are draws 1..n.

    Parameters
    ----------
    design : Repairing
    n : int
        Draws beside the real pairing. When the draws are exact these are all the other re-pairings, each once.
    seed : int
        The user's seed; without effect on exact draws.
    exact : bool
        Whether all re-pairings are listed.
    """

    design: Repairing
    n: int
    seed: int
    exact: bool

    @classmethod
    def plan(cls, design: Repairing, n: int, seed: int, *, enumerate_up_to: int = ENUMERATE_UP_TO) -> Draws:
        """
        List every re-pairing if there are at most ``max(n, enumerate_up_to)``, else draw `n` at random.

        Parameters
        ----------
        design : Repairing
        n : int
            Draws wanted.
        seed : int
        enumerate_up_to : int
            Largest number of re-pairings that is listed although fewer draws were asked for.
        """
        if not 1 <= n < 1 << 32:
            raise PlanError(f"{n} draws were asked for; ask for 1 to 2**32 - 1")
        split_seed(seed)
        exact = design.n_repairings <= max(n, enumerate_up_to)
        return cls(design, design.n_repairings - 1 if exact else n, seed, exact)

    @property
    def min_p(self) -> float:
        """Smallest p that these draws can give."""
        return 1.0 / (self.n + 1)

    def partners(self, start: int, stop: int, *, purpose: Purpose = Purpose.REPAIR) -> Indices:
        """
        Partner of each person in draws `start` to `stop` - 1.

        Parameters
        ----------
        start, stop : int
            Range of draw numbers; 0 is the real pairing.
        purpose : Purpose
            Stream of random draws; without effect on exact draws.

        Returns
        -------
        int32 [draw, person]
            Index of the partner, for `Repairing.cells_of`.
        """
        k = np.arange(start, stop, dtype=np.int64)
        return self.design.listed(k) if self.exact else self.design.drawn(k, self.seed, purpose)


def _permutation_of_rank(rank: Integers, n: int) -> Indices:
    """Permutation of 0..n-1 with a lexicographic rank, int32 [draw, n], through its factorial-base digits."""
    order = np.zeros((n, rank.size), dtype=np.int32)
    rest = rank
    for position in range(n - 1, -1, -1):
        rest, order[position] = np.divmod(rest, n - position)
    for position in range(n - 2, -1, -1):
        order[position + 1 :] += order[position + 1 :] >= order[position]
    return order.T


def real_cells(design: Repairing) -> Indices:
    """Cells of the real pairing, int32 [1, dyad]."""
    return design.cells_of(design.real[None])


def doubly_centred(table: Floats, design: Repairing) -> Floats:
    """
    Cell values without the mean of their row and column inside each block.

    Parameters
    ----------
    table : float64 [cell, feature]

    Returns
    -------
    float64 [cell, feature]
    """
    out = np.empty_like(table)
    for number, block in enumerate(design.blocks):
        rows = design.block_of_cell == number
        square = table[rows].reshape(len(block), len(block), table.shape[1])
        square = square - square.mean(axis=1, keepdims=True)
        out[rows] = (square - square.mean(axis=0, keepdims=True)).reshape(len(block) ** 2, table.shape[1])
    return out
