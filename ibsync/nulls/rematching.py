"""Re-pairing where the two people of a dyad have interchangeable roles, such as two friends.

Then anybody may be put together with anybody: the group is not the permutations of second persons but all perfect
matchings of the 2N people of a block, ``(2N - 1)!! = 1 * 3 * ... * (2N - 1)`` of them. The value of two people must
not depend on who is called first.
"""

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from math import prod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from .draws import Indices, Integers, digits
from .random_streams import Purpose, permutations, purpose_word
from .repairing import Repairing
from .shared_partners import SharedPartners, named

Floats = NDArray[np.float64]

# Keeps the draws apart from the permutations of second persons, which are for the same purpose.
_VARIANT = 1


class Matchings(Repairing):
    """
    Which people may be put together: everybody with everybody of the same block.

    Person d of the axes of people is the first person of dyad d, person N + d its second. A draw gives each person
    another one, who is given the first in turn. Make one with `Matchings.of`, which checks it.
    """

    roles: ClassVar[str] = "interchangeable"

    @staticmethod
    def ways(n_units: int) -> int:
        """Number of perfect matchings of twice as many people, the real one included."""
        return prod(range(1, 2 * n_units, 2))

    @staticmethod
    def _shared(dyads: Sequence[str], persons_a: Sequence[str], persons_b: Sequence[str]) -> SharedPartners:
        """Nobody, or a refusal: without roles nothing tells whose meetings stay and who is exchanged."""
        for person, n in Counter([*persons_a, *persons_b]).items():
            if n > 1:
                own = [dyad for dyad, *pair in zip(dyads, persons_a, persons_b, strict=True) if person in pair]
                raise PlanError(
                    f"person {person!r} is in dyads {named(own)}: of dyads that share a person one role stays and the "
                    "other is exchanged, which needs roles='fixed'"
                )
        return SharedPartners.of(dyads, persons_a, persons_b)

    @property
    def n_people(self) -> int:
        """Length of either axis of people in the pair values."""
        return 2 * len(self)

    @property
    def real(self) -> Indices:
        """Partner of each person in the real pairing: int32 [person]."""
        return np.roll(np.arange(self.n_people, dtype=np.int32), len(self))

    @cached_property
    def people(self) -> tuple[Indices, ...]:
        """People of each block dyad by dyad, the two of a dyad in the order of their labels: int32 [person]."""
        labels = (*self.persons_a, *self.persons_b)
        return tuple(
            np.array([p for d in block for p in sorted((d, len(self) + d), key=lambda p: labels[p])], dtype=np.int32)
            for block in self.blocks
        )

    @cached_property
    def pairs(self) -> Indices:
        """Pairs of people that some matching contains, int32 [pair, 2], the smaller index first, block after block."""
        return np.concatenate(
            [np.sort(block)[np.column_stack(np.triu_indices(len(block), 1))] for block in self.people]
        )

    @cached_property
    def block_of_pair(self) -> Indices:
        """Block number of each pair, int32 [pair]."""
        sizes = [len(block) * (len(block) - 1) // 2 for block in self.people]
        return np.repeat(np.arange(len(self.blocks), dtype=np.int32), sizes)

    @property
    def effects(self) -> Indices:
        """Effects of the two people of each pair, int32 [pair, 2]; a person has one, first or second."""
        return self.pairs

    @property
    def n_choices(self) -> Integers:
        """Partners that each of the two people of a pair may have, all equally likely: int64 [pair]."""
        return np.array([len(block) - 1 for block in self.people])[self.block_of_pair]

    @property
    def degrees_of_freedom(self) -> Floats:
        """
        Divisor of a squared centred value in the variance of the sum over a matching's pairs: float64 [pair].

        Of M people, a pair is in a matching with probability ``1 / (M - 1)`` and two pairs without a common person
        with ``1 / ((M - 1)(M - 3))``. With d centred, the products ``d_e d_f`` of pairs e and f that share one person
        sum to ``-2 Q`` and those of pairs that share none to Q, Q being the sum of ``d_e**2``; so the variance is
        ``Q (M - 2) / ((M - 1)(M - 3))``.
        """
        rest = self.n_choices.astype(np.float64)
        return rest * (rest - 2) / (rest - 1)

    def centred(self, table: Floats) -> Floats:
        """
        Values of pairs without the mean and without the effect of either person, which all matchings have in common.

        Parameters
        ----------
        table : float64 [pair, feature]

        Returns
        -------
        float64 [pair, feature]
            Over the pairs of any person they sum to 0.
        """
        out = table.copy()
        for number, block in enumerate(self.people):
            mine = self.block_of_pair == number
            first, second = np.searchsorted(np.sort(block), self.pairs[mine].T)
            values = table[mine] - table[mine].mean(axis=0)
            effect = np.zeros((len(block), table.shape[1]))
            for person in (first, second):
                np.add.at(effect, person, values)
            effect /= len(block) - 2
            out[mine] = values - effect[first] - effect[second]
        return out

    def other_pairs(self, dyad: int, block: Indices) -> tuple[tuple[int, int], tuple[Indices, Indices]]:
        """The pair of a real dyad, and all pairs of one of its people with anybody else, as `Repairing.other_pairs`."""
        own = (dyad, len(self) + dyad)
        others = block[block != dyad]
        partners = np.concatenate([others, len(self) + others]).astype(np.int32)
        return own, (np.repeat(np.array(own, dtype=np.int32), len(partners)), np.tile(partners, 2))

    def pairs_of(self, partners: Indices) -> Indices:
        """
        Pairs that each matching contains.

        Parameters
        ----------
        partners : int32 [draw, person]
            Partner of each person.

        Returns
        -------
        int32 [draw, dyad]
            Indices into `pairs`.
        """
        draw, first = np.nonzero(partners > np.arange(self.n_people))
        found: Indices = self.pair_number[first, partners[draw, first]].reshape(len(partners), len(self))
        assert found.min(initial=0) >= 0, "a matching left its block"
        return found

    def drawn(self, k: Integers, seed: int) -> Indices:
        """
        Random matchings, int32 [draw, person]: the people of each block in random order, taken two by two.

        Before that they stand in the order of their labels, whoever is with whom, so that a draw knows neither the
        real pairing nor who is called first.
        """
        labels = (*self.persons_a, *self.persons_b)
        partners = np.empty((k.size, self.n_people), dtype=np.int32)
        for block, entity in zip(self.people, self.entities, strict=True):
            people = np.array(sorted(block, key=lambda person: labels[person]), dtype=np.int32)
            order = permutations(seed, k, len(people), entity=entity, purpose=purpose_word(Purpose.REPAIR, _VARIANT))
            _put_together(partners, people[order])
        partners[k == 0] = self.real
        return partners

    def listed(self, k: Integers) -> Indices:
        """
        Matchings by their number, int32 [draw, person]; the last block turns fastest.

        Within a block the first of `people` who is still alone is given each of the others in turn; of these choices
        the last turns fastest.
        """
        partners = np.empty((k.size, self.n_people), dtype=np.int32)
        for block, rank in zip(self.people, self._ranks(k), strict=True):
            _put_together(partners, block[_matchings_of_rank(rank, len(block) // 2)])
        return partners


def _put_together(partners: Indices, order: Indices) -> None:
    """Enter people who stand two by two, int32 [draw, person of the block], as one another's partners."""
    np.put_along_axis(partners, order[:, 0::2], order[:, 1::2], axis=1)
    np.put_along_axis(partners, order[:, 1::2], order[:, 0::2], axis=1)


def _matchings_of_rank(rank: Integers, n: int) -> Indices:
    """Positions 0..2n-1 two by two, int32 [draw, 2n]: the first that is left with the others of its rank's digits."""
    left = np.tile(np.arange(2 * n, dtype=np.int32), (rank.size, 1))
    order = np.empty_like(left)
    for step, digit in enumerate(np.array(digits(rank, range(2 * n - 1, 0, -2)))[..., None]):
        order[:, 2 * step] = left[:, 0]
        order[:, 2 * step + 1] = np.take_along_axis(left, digit + 1, axis=1)[:, 0]
        place = np.arange(1, left.shape[1] - 1)
        left = np.take_along_axis(left, place + (place > digit), axis=1)
    return order
