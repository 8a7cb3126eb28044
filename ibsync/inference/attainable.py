"""Whether a number of draws or of dyads can show anything at a level."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil

import numpy as np

from ..errors import PlanError
from ..nulls.relabelling import Exchanges
from ..nulls.repairing import Repairing
from ..nulls.tails import Tail
from .p_values import check_corrections


def min_p(draws: Exchanges, tail: Tail) -> float:
    """Smallest p these draws can give; two-sided twice that where each listed draw has its mirror image."""
    return _sides(draws, tail) / (draws.n + 1)


def _sides(draws: Exchanges, tail: Tail) -> int:
    return 2 if draws.exact and draws.mirrored and tail == "two-sided" else 1


def too_few(
    draws: Exchanges,
    n_features: int,
    correct: Sequence[str],
    *,
    tail: Tail = "two-sided",
    alpha: float = 0.05,
    units: str = "dyads",
) -> str:
    """
    Why a lone finding could not be seen with these draws, in one sentence; empty if it could.

    Parameters
    ----------
    draws : Exchanges
    n_features : int
        Features that are tested together.
    correct : sequence of str
        Names of `inference.CORRECTIONS`.
    tail : {"greater", "less", "two-sided"}
    alpha : float
        Level at which a finding is wanted.
    units : str
        What is exchanged, in words.
    """
    why = shortfall(draws.n, n_features, correct, alpha=alpha, sides=_sides(draws, tail))
    if not why or not draws.exact:
        return why
    named = ", ".join(map(repr, correct)) or "no correction"
    return (
        f"{len(draws)} {units} allow only {draws.n + 1} exchanges (smallest p {min_p(draws, tail):.3g}), too few for "
        f"{n_features} features tested with {named} at alpha={alpha:g}; record more dyads or test fewer features"
    )


def shortfall(
    n_draws: int,
    n_features: int,
    correct: Sequence[str],
    *,
    alpha: float = 0.05,
    sides: int = 1,
    listed: Repairing | None = None,
) -> str:
    """
    Why a lone finding could not be seen with these draws, in one sentence; empty if it could.

    A lone finding among V features survives a false discovery rate only if V / (m + 1) <= alpha (with
    Benjamini-Yekutieli V times the harmonic sum), and a maximum statistic or a plain p only if 1 / (m + 1) <= alpha.

    Parameters
    ----------
    n_draws : int
        Draws m beside the real one.
    n_features : int
        Features V that are tested together.
    correct : sequence of str
        Names of `CORRECTIONS`.
    alpha : float
        Level at which a finding is wanted.
    sides : int
        2 where p is twice that of the smaller tail.
    listed : Repairing, optional
        The design, where the draws are all of its re-pairings.

    Raises
    ------
    PlanError
        If a correction is unknown.
    """
    check_corrections(correct)
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not 0 < alpha < 1:
        raise PlanError(f"alpha={alpha!r} must be a number between 0 and 1")
    factor = max((_family_factor(name, n_features) for name in correct), default=1.0)
    needed = ceil(sides * factor / alpha * (1 - 1e-12))
    if n_draws + 1 >= needed:
        return ""
    why = f"{n_features} features tested with {', '.join(map(repr, correct)) or 'no correction'} at alpha={alpha:g}"
    if listed is not None:
        n_dyads = _dyads_for(needed, listed.ways)
        return (
            f"{why} need {needed} re-pairings, but {len(listed)} dyads allow only {n_draws + 1} "
            f"(smallest p {sides / (n_draws + 1):.3g}); record at least {n_dyads} dyads in one block "
            "or test fewer features"
        )
    return (
        f"{why} need n={needed - 1} draws, {n_draws} were asked for; "
        "ask for more, test fewer features, or correct with 'max'"
    )


def hopeless(why: Callable[[Sequence[str]], str], correct: Sequence[str]) -> str:
    """
    Which corrections no single finding could pass, and why; empty if there is none.

    Parameters
    ----------
    why : callable
        Why a lone finding could not be seen with some corrections, as `shortfall` says it.
    correct : sequence of str
        Corrections wanted; with none of them a plain p is meant.
    """
    short = [name for name in correct if why([name])]
    if not correct and why([]):
        return f"no single finding could pass: {why([])}"
    return f"no single finding could pass {' or '.join(map(repr, short))}: {why(short)}" if short else ""


def _family_factor(name: str, n_features: int) -> float:
    """How many times the smallest p is multiplied for a lone finding."""
    if name not in ("fdr", "fdr_by"):
        return 1.0
    harmonic = float(np.sum(1.0 / np.arange(1, n_features + 1))) if name == "fdr_by" else 1.0
    return n_features * harmonic


def _dyads_for(needed: int, ways: Callable[[int], int]) -> int:
    """Smallest number of dyads that can be paired in at least `needed` ways."""
    n = 1
    while ways(n) < needed:
        n += 1
    return n
