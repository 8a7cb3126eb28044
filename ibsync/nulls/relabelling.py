"""Which variant of its contrast each dyad shows in each draw, and what so many draws can tell.

Under the hypothesis that conditions do not differ, every dyad could as well have shown any other *variant* of its
contrast: for two conditions the contrast and its negative, for more those with the labels of the conditions exchanged.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from .random_streams import Purpose, entity_ids, integers, purpose_word, split_seed, stream

Integers = NDArray[np.int64]

LIST_UP_TO = 1 << 20
"""Exchanges are listed instead of drawn when there are no more of them than this."""

LIST_CLUSTERS_UP_TO = 1 << 14
"""The same where clusters are sought in each draw, which takes a thousand times as long."""

LEAST_UNITS = 2
"""A mean over fewer dyads is not tested."""


@dataclass(frozen=True)
class Exchanges:
    """
    Which variant each unit shows in each draw: number 0 shows what was observed, the others are draws 1..n.

    Parameters
    ----------
    labels : tuple of str
        One label per unit (dyad); the variants of a unit depend on its label alone.
    n_variants : int
        Variants per unit, 2 for sign flips.
    n : int
        Draws beside the observed one. When the draws are exact these are all the other combinations, each once.
    seed : int
        The user's seed; without effect on exact draws.
    exact : bool
        Whether all combinations are listed.
    mirrored : bool
        Whether the negative of each variant is a variant too.
    """

    labels: tuple[str, ...]
    n_variants: int
    n: int
    seed: int
    exact: bool
    mirrored: bool = True

    @classmethod
    def plan(
        cls,
        labels: Sequence[str],
        n: int,
        seed: int,
        *,
        n_variants: int = 2,
        mirrored: bool = True,
        list_up_to: int = LIST_UP_TO,
    ) -> "Exchanges":
        """
        List every combination of variants if there are at most ``max(n, list_up_to)``, else draw `n` at random.

        Raises
        ------
        PlanError
            Fewer than two units, a label twice, or a number of draws or a seed out of range.
        """
        if not 1 <= n < 1 << 32:
            raise PlanError(f"{n} draws were asked for; ask for 1 to 2**32 - 1")
        split_seed(seed)
        if len(labels) < LEAST_UNITS:
            raise PlanError(f"a test over dyads needs at least {LEAST_UNITS} of them, found {len(labels)}")
        repeated = [label for label, count in Counter(labels).items() if count > 1]
        if repeated:
            raise PlanError(f"{repeated[0]!r} is listed twice; give one row per dyad, the mean over its sessions")
        n_all = n_variants ** len(labels)
        exact = n_all <= max(n, list_up_to)
        return cls(tuple(labels), n_variants, n_all - 1 if exact else n, seed, exact, mirrored)

    def __len__(self) -> int:
        return len(self.labels)

    def variants(self, start: int, stop: int) -> Integers:
        """Variant of each unit in draws `start` to `stop` - 1: int64 [draw, unit], 0 being the observed one."""
        k = np.arange(start, stop, dtype=np.int64)
        return self._listed(k) if self.exact else self._drawn(k)

    def _listed(self, k: Integers) -> Integers:
        """Digits of the draw's number; units count in the order of their labels, so that rows may be in any."""
        place = np.argsort(np.argsort(self.labels))
        return (k[:, None] // self.n_variants ** place.astype(np.int64)) % self.n_variants

    def _drawn(self, k: Integers) -> Integers:
        purpose = purpose_word(Purpose.SIGN_FLIP)
        words = [stream(self.seed, k, 1, entity=int(e), purpose=purpose)[0] for e in self._entities]
        out = integers(np.stack(words, axis=1), self.n_variants).astype(np.int64)
        out[k == 0] = 0
        return out

    @cached_property
    def _entities(self) -> NDArray[np.uint32]:
        return entity_ids(self.labels)


def list_up_to(correct: Sequence[str]) -> int:
    """Up to how many combinations are listed with these corrections."""
    return LIST_CLUSTERS_UP_TO if {"cluster", "tfce"} & set(correct) else LIST_UP_TO
