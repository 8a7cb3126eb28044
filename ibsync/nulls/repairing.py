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
from .shared_partners import SharedPartners, named, or_select

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Repairing:
    """
    Which dyads may exchange partners: a permutation of the second persons within each block.

    A person may be in several dyads, as a therapist is. Then the meetings of that person stay, and whoever was met
    there, each in one dyad, is exchanged with all recordings. Make one with `Repairing.of`, which checks it.

    Parameters
    ----------
    dyads, persons_a, persons_b : tuple of str
        One label per dyad. Persons keep their role.
    strata : tuple of str
        One label per dyad; partners are exchanged only between dyads of one label.
    units : tuple of str
        One label per dyad; dyads of one label share a recording and move together, in the order of their labels.
    attendance : tuple of str
        One label per dyad: on which occasions it was recorded.
    """

    dyads: tuple[str, ...]
    persons_a: tuple[str, ...]
    persons_b: tuple[str, ...]
    strata: tuple[str, ...]
    units: tuple[str, ...]
    attendance: tuple[str, ...]

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
        *,
        recordings: Sequence[str] | None = None,
        attendance: Sequence[str] | None = None,
    ) -> Repairing:
        """
        Checked design.

        Parameters
        ----------
        dyads, persons_a, persons_b : sequence of str
            One label per dyad (not per session).
        strata : mapping of name to sequence of str, optional
            What must agree for partners to be exchangeable, for example ``{"group": [...], "site": [...]}``.
        recordings : sequence of str, optional
            Recording that a dyad shares with others at the same time, such as that of a mother of two; else empty.
        attendance : sequence of str, optional
            On which occasions each dyad was recorded; by default all on the same.

        Raises
        ------
        PlanError
            Fewer than two dyads, a dyad label twice, dyads that share first and second persons, or dyads that can
            exchange partners with nobody.
        """
        nothing = [""] * len(dyads)
        recordings, attendance = recordings or nothing, attendance or nothing
        columns = dict(strata or {})
        for name, column in {"persons_a": persons_a, "persons_b": persons_b, **columns}.items():
            if len(column) != len(dyads):
                raise PlanError(f"{name} has {len(column)} labels for {len(dyads)} dyads; give one per dyad")
        _refuse_repeated_dyads(dyads)
        if len(dyads) < 2:
            raise PlanError(f"re-pairing needs at least 2 dyads, found {len(dyads)}; add dyads to the study")
        units = [f"recording {name!r}" if name else dyad for dyad, name in zip(dyads, recordings, strict=True)]
        shared = cls._shared(dyads, persons_a, persons_b)
        columns |= {"shared role": shared.sides} if any(shared.sides) else {}
        labels = [" | ".join(f"{name}={column[row]}" for name, column in columns.items()) for row in range(len(dyads))]
        labels = _of_units(labels, units)
        design = cls(*map(tuple, (dyads, persons_a, persons_b, labels, units, attendance)))
        _refuse_lone_units(design, by_person="person" in columns)
        return design

    @staticmethod
    def _shared(dyads: Sequence[str], persons_a: Sequence[str], persons_b: Sequence[str]) -> SharedPartners:
        return SharedPartners.of(dyads, persons_a, persons_b)

    def __len__(self) -> int:
        return len(self.dyads)

    @cached_property
    def moves(self) -> tuple[Indices, ...]:
        """
        Dyad indices of each block by the units that are exchanged, int32 [unit, dyad of the unit].

        Blocks, units and dyads stand in the order of their labels, so that a draw does not depend on the order of rows.
        """
        members: dict[str, list[int]] = {}
        for dyad in sorted(range(len(self)), key=lambda dyad: self.dyads[dyad]):
            members.setdefault(self.units[dyad], []).append(dyad)
        rows = list(members.values())
        blocks = blocks_of(list(members), [self._label(unit) for unit in rows]).values()
        return tuple(np.array([rows[unit] for unit in block], dtype=np.int32) for block in blocks)

    def _label(self, unit: Sequence[int]) -> str:
        """What is the same for all units of a block: the stratum and their size."""
        return self.strata[unit[0]] + f" | {len(unit)} dyads of one recording" * (len(unit) > 1)

    @cached_property
    def blocks(self) -> tuple[Indices, ...]:
        """Dyad indices of each block, unit after unit: int32 [dyad of the block]."""
        return tuple(units.reshape(-1) for units in self.moves)

    @property
    def unit_noun(self) -> str:
        """What is exchanged as a whole, in the plural."""
        return "dyads" if len(set(self.units)) == len(self) else "sets of dyads that share a recording"

    @cached_property
    def shares_people(self) -> bool:
        """Whether anybody is in several dyads."""
        return len({*self.persons_a, *self.persons_b}) < 2 * len(self)

    @cached_property
    def within_person(self) -> bool:
        """Whether all who exchange have one and the same partner."""
        sides = np.array([self.persons_a, self.persons_b])
        return all((sides[:, block] == sides[:, block[:1]]).all(axis=1).any() for block in self.blocks)

    @cached_property
    def same_attendance(self) -> bool:
        """Whether all who exchange were recorded on the same occasions, which makes the test exact."""
        labels = np.array(self.attendance)
        return all((labels[units] == labels[units[:1]]).all() for units in self.moves)

    @staticmethod
    def ways(n_units: int) -> int:
        """Number of ways to pair the people of one block, the real one included."""
        return factorial(n_units)

    @cached_property
    def n_ways(self) -> int:
        """Number of ways to pair everybody, the real one included: the product over blocks."""
        return prod(self.ways(len(units)) for units in self.moves)

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
        squares = (np.broadcast_arrays(units[:, None], units[None]) for units in self.moves)
        return np.concatenate([np.stack(square, -1).reshape(-1, 2) for square in squares])

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
        return np.repeat(np.arange(len(self.blocks), dtype=np.int32), [len(units) * units.size for units in self.moves])

    @property
    def effects(self) -> Indices:
        """Which effects of people are part of a pair's values, int32 [pair, 2]: its first and its second person's."""
        return self.pairs + np.array([0, self.n_people], np.int32)

    @property
    def n_choices(self) -> Integers:
        """Pairs among which a draw chooses each of its own, all equally likely: int64 [pair]."""
        return np.array([len(units) for units in self.moves])[self.block_of_pair]

    @property
    def degrees_of_freedom(self) -> Floats:
        """Divisor of a squared centred value in the variance of the sum over a draw's pairs: float64 [unit pair]."""
        n = np.array([len(units) for units in self.moves])
        return np.repeat(np.maximum(n - 1.0, 1.0), n**2)

    def centred(self, table: Floats) -> Floats:
        """Values of pairs of units without what every re-pairing has in common, float64 [unit pair, feature]."""
        return doubly_centred(table, self)

    def other_pairs(self, dyad: int, block: Indices) -> tuple[tuple[int, int], tuple[Indices, Indices]]:
        """
        The pair of a real dyad, and all pairs of one of its two people with a partner from another unit.

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
        others = block[[self.units[other] != self.units[dyad] for other in block]]
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

    def drawn(self, k: Integers, seed: int) -> Indices:
        """Random re-pairings, int32 [draw, person]: an independent permutation of each block, from its own stream."""
        partners = np.empty((k.size, len(self)), dtype=np.int32)
        for units, entity in zip(self.moves, self.entities, strict=True):
            order = permutations(seed, k, len(units), entity=entity, purpose=purpose_word(Purpose.REPAIR))
            partners[:, units.reshape(-1)] = units[order].reshape(k.size, -1)
        return partners

    def listed(self, k: Integers) -> Indices:
        """Re-pairings in lexicographic order, int32 [draw, person]; the last block turns fastest."""
        partners = np.empty((k.size, len(self)), dtype=np.int32)
        for units, rank in zip(self.moves, self._ranks(k), strict=True):
            order = permutations_of_rank(rank, len(units))
            partners[:, units.reshape(-1)] = units[order].reshape(k.size, -1)
        return partners

    def _ranks(self, k: Integers) -> list[Integers]:
        """Number of each block's own re-pairing, the last block turning fastest."""
        return digits(k, [self.ways(len(units)) for units in self.moves])

    @property
    def entities(self) -> list[int]:
        """Identity of each block in the streams of random numbers."""
        return [int(entity) for entity in entity_ids([self._label(units[0]) for units in self.moves])]


def _of_units(labels: Sequence[str], units: Sequence[str]) -> list[str]:
    """Label of the unit of each dyad: that of its dyads, or all of theirs where they differ."""
    of_unit: dict[str, list[str]] = {}
    for unit, label in zip(units, labels, strict=True):
        of_unit.setdefault(unit, []).append(label)
    return [" + ".join(sorted(of_unit[unit]) if len(set(of_unit[unit])) > 1 else of_unit[unit][:1]) for unit in units]


def _refuse_repeated_dyads(dyads: Sequence[str]) -> None:
    repeated = [dyad for dyad, count in Counter(dyads).items() if count > 1]
    if repeated:
        raise PlanError(f"dyad {repeated[0]!r} is listed twice; give one row per dyad, sessions are handled inside")


def _refuse_lone_units(design: Repairing, *, by_person: bool) -> None:
    lone = [units[0].tolist() for units in design.moves if len(units) == 1]
    if not lone:
        return
    without = [design.dyads[dyad] for dyads in lone for dyad in dyads]
    fix = "exchange over all persons, within=[]" if by_person else "name fewer columns that must agree"
    if sum(map(len, design.moves)) == 1:
        fix = "record more such sets, or take a null of single dyads such as kind='phase'"
    fix += or_select(design.dyads, without)
    sets = [f"dyads {named([design.dyads[d] for d in unit])} {design.units[unit[0]]}" for unit in lone if len(unit) > 1]
    if sets:
        raise PlanError(
            "dyads that share a recording at the same time move together, as an exchange among them changes nothing; "
            f"these have no other set of their size to exchange partners with ({'; '.join(sets)}): {fix}"
        )
    dyad, label = design.dyads[lone[0][0]], design.strata[lone[0][0]]
    if by_person:
        people = [f"{design.persons_a[d]!r} and {design.persons_b[d]!r} (dyad {design.dyads[d]!r})" for (d,) in lone]
        raise PlanError(
            "partners are exchanged within the person whom dyads share, and nobody is left to exchange with "
            f"{', '.join(people)}: {fix}"
        )
    raise PlanError(f"dyad {dyad!r} is alone in its block ({label}) and can exchange partners with nobody: {fix}")


def doubly_centred(table: Floats, design: Repairing) -> Floats:
    """
    Sums over the dyads of pairs of units, without the mean of their row and column inside each block.

    Parameters
    ----------
    table : float64 [pair, feature]

    Returns
    -------
    float64 [unit pair, feature]
    """
    out = []
    for number, units in enumerate(design.moves):
        n, n_features = len(units), table.shape[1]
        square = table[design.block_of_pair == number].reshape(n, n, units.shape[1], n_features).sum(axis=2)
        square = square - square.mean(axis=1, keepdims=True)
        out.append((square - square.mean(axis=0, keepdims=True)).reshape(n**2, n_features))
    return np.concatenate(out)
