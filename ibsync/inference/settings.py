"""What is asked of a test, checked once: draws, seed, tail, corrections, level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import PlanError
from ..nulls.draws import check_draws
from ..nulls.tails import Tail, check_tail, n_sides
from .p_values import CORRECTIONS, check_corrections

DEFAULT_CORRECTIONS = ("fdr", "max")


@dataclass(frozen=True)
class TestSettings:
    """
    Settings of a permutation test.

    Parameters
    ----------
    n, seed : int
        Draws and their seed; without effect where a null that was drawn before has its own.
    tail : {"greater", "less", "two-sided"}
    correct : sequence of {"fdr", "fdr_by", "max", "cluster", "tfce"}, optional
        Corrections that were named; None: the default ones.
    alpha : float
        Level of the test: the largest p that counts.
    neighbours : sequence of (channel, channel), optional
        For "cluster" and "tfce": channels that lie side by side, instead of what their names say.

    Raises
    ------
    PlanError
        If a word is unknown or a number is out of its range.
    """

    n: int = 10_000
    seed: int = 0
    tail: Tail = "two-sided"
    correct: Sequence[str] | None = None
    alpha: float = 0.05
    neighbours: Sequence[tuple[str, str]] | None = None

    def __post_init__(self) -> None:
        check_draws(self.n, self.seed)
        check_tail(self.tail)
        check_corrections(DEFAULT_CORRECTIONS if self.correct is None else self.correct)
        check_alpha(self.alpha)

    @property
    def corrections(self) -> tuple[str, ...]:
        """Corrections that are made."""
        return DEFAULT_CORRECTIONS if self.correct is None else tuple(self.correct)

    @property
    def n_sides(self) -> int:
        """By how many tails a p is multiplied."""
        return n_sides(self.tail)

    def min_p(self, n_ways: int) -> float:
        """Smallest p of so many exchanges that differ, the observed one included."""
        return min(1.0, self.n_sides / n_ways)

    @property
    def needs_neighbours(self) -> bool:
        """Whether a correction needs to know which features are neighbours."""
        return any(CORRECTIONS[name].needs_neighbours for name in self.corrections)


def check_alpha(alpha: float) -> None:
    """Refuse a level that is no number between 0 and 1."""
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha < 1:
        raise PlanError(f"alpha={alpha!r} must be a number between 0 and 1")
