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
from .draws import Indices, Integers, blocks_of, digits, permutations_of_rank
from .random_streams import Purpose, entity_ids, permutations, purpose_word

Floats = NDArray[np.float64]


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
    noun: ClassVar[str] = "re-pairings"

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
        return tuple(blocks_of(self.dyads, self.strata).values())

    @staticmethod
    def ways(n_dyads: int) -> int:
        """Number of ways to pair the people of one block, the real one included."""
        return factorial(n_dyads)

    @cached_property
    def n_ways(self) -> int:
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
    def pairs(self) -> Indices:
        """Pairs (first person, second person) that some re-pairing contains, int32 [pair, 2], block after block."""
        return np.concatenate([np.stack(np.meshgrid(b, b, indexing="ij"), -1).reshape(-1, 2) for b in self.blocks])

    @property
    def real_pairs(self) -> Indices:
        """Pairs of the real pairing, int32 [1, dyad]: indices into `pairs`."""
        return self.pairs_of(self.real[None])

    @cached_property
    def pair_number(self) -> Indices:
        """Place of each pair in `pairs`, int32 [person, person]; -1 for a pair that no draw contains."""
        number = np.full((self.n_people, self.n_people), -1, dtype=np.int32)
        number[self.pairs[:, 0], self.pairs[:, 1]] = np.arange(len(self.pairs), dtype=np.int32)
        return number

    @cached_property
    def block_of_pair(self) -> Indices:
        """Block number of each pair, int32 [pair]."""
        return np.repeat(np.arange(len(self.blocks), dtype=np.int32), [len(block) ** 2 for block in self.blocks])

    @property
    def n_choices(self) -> Integers:
        """Pairs among which a draw chooses each of its own, all equally likely: int64 [pair]."""
        return np.array([len(block) for block in self.blocks])[self.block_of_pair]

    @property
    def degrees_of_freedom(self) -> Floats:
        """Divisor of a squared centred value in the variance of the sum over a draw's pairs: float64 [pair]."""
        return np.asarray(np.maximum(self.n_choices - 1.0, 1.0))

    def centred(self, table: Floats) -> Floats:
        """Values of pairs without what every re-pairing has in common, float64 [pair, feature]."""
        return doubly_centred(table, self)

    def other_pairs(self, dyad: int, block: Indices) -> tuple[tuple[int, int], tuple[Indices, Indices]]:
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

    def pairs_of(self, partners: Indices) -> Indices:
        """
        Pairs that each re-pairing contains.

        Parameters
        ----------
        partners : int32 [draw, dyad]
            Index of the second person that each first person is given.

        Returns
        -------
        int32 [draw, dyad]
            Indices into `pairs`.
        """
        found: Indices = self.pair_number[np.arange(len(self)), partners]
        assert found.min(initial=0) >= 0, "a re-pairing left its block"
        return found

    def drawn(self, k: Integers, seed: int, purpose: Purpose = Purpose.REPAIR) -> Indices:
        """Random re-pairings, int32 [draw, person]: an independent permutation of each block, from its own stream."""
        partners = np.empty((k.size, len(self)), dtype=np.int32)
        for block, entity in zip(self.blocks, self.entities, strict=True):
            order = permutations(seed, k, len(block), entity=entity, purpose=purpose_word(purpose))
            partners[:, block] = block[order]
        return partners

    def listed(self, k: Integers) -> Indices:
        """Re-pairings in lexicographic order, int32 [draw, person]; the last block turns fastest."""
        partners = np.empty((k.size, len(self)), dtype=np.int32)
        for block, rank in zip(self.blocks, self._ranks(k), strict=True):
            partners[:, block] = block[permutations_of_rank(rank, len(block))]
        return partners

    def _ranks(self, k: Integers) -> list[Integers]:
        """Number of each block's own re-pairing, the last block turning fastest."""
        return digits(k, [self.ways(len(block)) for block in self.blocks])

    @property
    def entities(self) -> list[int]:
        """Identity of each block in the streams of random numbers."""
        return [int(entity) for entity in entity_ids([self.strata[block[0]] for block in self.blocks])]


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


def doubly_centred(table: Floats, design: Repairing) -> Floats:
    """
    Values of pairs without the mean of their row and column inside each block.

    Parameters
    ----------
    table : float64 [pair, feature]

    Returns
    -------
    float64 [pair, feature]
    """
    out = np.empty_like(table)
    for number, block in enumerate(design.blocks):
        rows = design.block_of_pair == number
        square = table[rows].reshape(len(block), len(block), table.shape[1])
        square = square - square.mean(axis=1, keepdims=True)
        out[rows] = (square - square.mean(axis=0, keepdims=True)).reshape(len(block) ** 2, table.shape[1])
    return out
