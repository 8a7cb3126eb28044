"""Which variant of its contrast each dyad shows in each draw, and what so many draws can tell.

Under the hypothesis that conditions do not differ, every dyad could as well have shown any other *variant* of its
contrast: for two conditions the contrast and its negative, for more those with the labels of the conditions exchanged.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from .grouptest import Tail
from .philox import Purpose, entity_ids, integers, purpose_word, split_seed, stream

Integers = NDArray[np.int64]

CORRECTIONS = ("fdr", "fdr_by", "max", "cluster", "tfce")
"""Benjamini-Hochberg, Benjamini-Yekutieli, step-down maximum, cluster mass, threshold-free cluster enhancement."""

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
    """

    labels: tuple[str, ...]
    n_variants: int
    n: int
    seed: int
    exact: bool

    @classmethod
    def plan(
        cls, labels: Sequence[str], n: int, seed: int, *, n_variants: int = 2, list_up_to: int = LIST_UP_TO
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
        return cls(tuple(labels), n_variants, n_all - 1 if exact else n, seed, exact)

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


def check_corrections(correct: Sequence[str]) -> None:
    """Refuse a correction that does not exist, or two for one false discovery rate."""
    unknown = [name for name in correct if name not in CORRECTIONS]
    if unknown or isinstance(correct, str):
        wrong = repr(correct) if isinstance(correct, str) else repr(unknown[0])
        raise PlanError(f"correct={wrong} is not a list of corrections; valid are {', '.join(map(repr, CORRECTIONS))}")
    if {"fdr", "fdr_by"} <= set(correct):
        raise PlanError("correct names both 'fdr' and 'fdr_by'; choose one of them before seeing the result")


def min_p(draws: Exchanges, tail: Tail) -> float:
    """Smallest p these draws can give; of all sign flips two-sided twice that, as each has its mirror image."""
    mirrored = draws.exact and tail == "two-sided" and draws.n_variants == 2
    return (2.0 if mirrored else 1.0) / (draws.n + 1)


def shortfall(
    draws: Exchanges, n_features: int, correct: Sequence[str], *, tail: Tail = "two-sided", alpha: float = 0.05
) -> str:
    """
    Why a lone finding could not be seen with these draws, in one sentence; empty if it could.

    Parameters
    ----------
    draws : Exchanges
    n_features : int
        Features V that are tested together: a false discovery rate needs a p of alpha / V (Benjamini-Yekutieli a
        still smaller one), other corrections one of alpha.
    correct : sequence of str
        Names of `CORRECTIONS`.
    tail : {"greater", "less", "two-sided"}
    alpha : float
        Level at which a finding is wanted.
    """
    check_corrections(correct)
    harmonic = float(np.sum(1.0 / np.arange(1, n_features + 1)))
    factor = max({"fdr": 1.0, "fdr_by": harmonic}.get(name, 0.0) for name in (*correct, "")) * n_features
    wanted = alpha / max(factor, 1.0)
    if min_p(draws, tail) <= wanted * (1 + 1e-12):
        return ""
    why = f"{n_features} features tested with {', '.join(map(repr, correct)) or 'no correction'} at alpha={alpha:g}"
    if draws.exact:
        return (
            f"{why} need a p of {wanted:.2g}, but {len(draws)} dyads allow none below {min_p(draws, tail):.3g}; "
            "record more dyads or test fewer features"
        )
    return f"{why} need n={ceil(1 / wanted) - 1} draws, {draws.n} were asked for; ask for more or test fewer features"
