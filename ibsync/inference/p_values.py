"""From counts of draws to p-values: corrections over a family, and the limits of a share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError, require_known
from ..nulls.counts import ascending
from ..nulls.tails import Tail, n_sides

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Correction(NamedTuple):
    """A correction by the word that chooses it: the array of its p-values, and what sentences say of it.

    Where a result has several, it is judged by that of the lowest `rank`. `needs_neighbours` says whether features have
    to know which others lie side by side.
    """

    name: str
    array: str
    rank: int
    short: str
    controls: str
    reference: str
    needs_neighbours: bool = False


CORRECTIONS: Mapping[str, Correction] = {
    correction.name: correction
    for correction in (
        Correction(
            "fdr", "p_fdr", 4, "false discovery rate", "the false discovery rate (Benjamini & Hochberg 1995)",
            "Benjamini & Hochberg 1995, J. R. Stat. Soc. B 57:289",
        ),
        Correction(
            "fdr_by", "p_fdr", 4, "false discovery rate",
            "the false discovery rate under any dependence (Benjamini & Yekutieli 2001)",
            "Benjamini & Yekutieli 2001, Ann. Stat. 29:1165",
        ),
        Correction(
            "max", "p_max", 1, "family-wise",
            "the family-wise error rate by the step-down maximum of z over features (Westfall & Young 1993)",
            "Westfall & Young 1993, Resampling-Based Multiple Testing, Wiley",
        ),
        Correction(
            "cluster", "p_cluster", 3, "family-wise, whole clusters",
            "the family-wise error rate by the largest cluster mass (Maris & Oostenveld 2007)",
            "Maris & Oostenveld 2007, J. Neurosci. Methods 164:177", needs_neighbours=True,
        ),
        Correction(
            "tfce", "p_tfce", 2, "family-wise, threshold-free enhancement",
            "the family-wise error rate by threshold-free cluster enhancement (Smith & Nichols 2009)",
            "Smith & Nichols 2009, NeuroImage 44:83", needs_neighbours=True,
        ),
    )
}  # fmt: skip
SINGLE_FEATURE = tuple(name for name, correction in CORRECTIONS.items() if not correction.needs_neighbours)
"""Corrections that need no neighbours."""


def p_value(exceedances: Integers, n_draws: int | Integers) -> Floats:
    """
    Monte Carlo p-value (b + 1) / (m + 1), never 0 as the observed draw is one too (Phipson and Smyth 2010).

    With every exchange listed this is the exact p. Both [...], b negative where nothing was tested, which gives NaN.
    """
    return np.where(exceedances >= 0, (exceedances + 1) / (n_draws + 1), np.nan)


def clopper_pearson(exceedances: Integers, n_draws: int | Integers, *, level: float = 0.95) -> tuple[Floats, Floats]:
    """
    Clopper-Pearson limits (low, high) of the probability that a draw reaches the observed statistic.

    Of exceedances among `n_draws`, int64 [...] each, negative where nothing was tested, which gives NaN.
    """
    from scipy.special import betaincinv

    b = exceedances.astype(np.float64)
    outside = (1 - level) / 2
    low = np.where(b > 0, betaincinv(np.maximum(b, 1), n_draws - b + 1, outside), 0.0)
    high = np.where(b < n_draws, betaincinv(b + 1, np.maximum(n_draws - b, 1), 1 - outside), 1.0)
    tested = exceedances >= 0
    return np.where(tested, low, np.nan), np.where(tested, high, np.nan)


def adjust_fdr(p: Floats, method: Literal["bh", "by"] = "bh") -> Floats:
    """
    p-values [...] adjusted for the false discovery rate over all features that were tested; NaN stays NaN.

    "bh" is Benjamini and Hochberg's (valid under positive dependence), "by" Benjamini and Yekutieli's (under any).
    """
    from scipy.stats import false_discovery_control

    adjusted = np.full(p.shape, np.nan)
    tested = np.isfinite(p)
    if tested.any():
        adjusted[tested] = false_discovery_control(p[tested], method=method)
    return adjusted


def single_step_p(statistic: Floats, null_max: Floats, tolerance: Floats) -> Floats:
    """Family-wise p [feature] against the largest statistic of each draw [draw], in a single step."""
    reached = len(null_max) - np.searchsorted(np.sort(null_max), statistic - tolerance, side="left")
    return np.where(np.isfinite(statistic), p_value(reached, len(null_max)), np.nan)


def step_down_p(counts: Integers, n_draws: int) -> Floats:
    """Step-down family-wise p from `counts.StepDown`, features ascending, monotone: float64 [feature]."""
    falling = p_value(counts, n_draws)[::-1]
    return np.maximum.accumulate(falling)[::-1]


@dataclass(frozen=True)
class CountedDraws:
    """
    Draws counted against the observed statistic of every feature.

    Parameters
    ----------
    evidence, tolerance : float64 [feature]
        Observed z turned so that large is evidence, NaN where nothing is tested; its tie tolerance.
    at_least, at_most, n_near_ties : int64 [feature]
        Draws that reach the statistic from above and from below, and those that equal it within rounding.
    n : int or int64 [feature]
        Draws in all.
    exact : bool
        Whether these are all there are.
    maxima : float64 [draw]
        Largest evidence over all features of each draw.
    step_down : int64 [feature], optional
        From `counts.StepDown`; without it the maximum is taken in a single step.
    stopped : bool [feature], optional
        Where a sequential count ended: its last draw is one that reached the statistic (Besag and Clifford 1991).
    """

    evidence: Floats
    tolerance: Floats
    at_least: Integers
    at_most: Integers
    n_near_ties: Integers
    n: int | Integers
    exact: bool
    maxima: Floats
    step_down: Integers | None = None
    stopped: NDArray[np.bool_] | None = None


def p_values(counted: CountedDraws, tail: Tail, correct: Sequence[str]) -> dict[str, NDArray[Any]]:
    """
    Every p-value that counted draws give; for two-sided p is twice the smaller one-sided p.

    Returns
    -------
    dict of arrays [feature]
        ``exceedances`` int64 (for two-sided those of the smaller tail; -1 where nothing was tested), ``n_near_ties``
        int64; ``p, p_low, p_high`` (95 % Clopper-Pearson; equal to p when all exchanges are listed), ``p_fdr``,
        ``p_max`` (step-down), ``p_max_single`` float64; those of corrections that were not asked for are NaN.
    """
    b = {"greater": counted.at_least, "less": counted.at_most}.get(
        tail, np.minimum(counted.at_least, counted.at_most)
    )  # fmt: skip
    b = np.where(np.isfinite(counted.evidence), b, -1)
    p = np.minimum(1.0, n_sides(tail) * p_value(b, counted.n))
    if counted.stopped is not None:
        p = np.where(counted.stopped, b / np.maximum(counted.n, 1), p)
    limits = (np.minimum(1.0, n_sides(tail) * limit) for limit in clopper_pearson(b, np.maximum(counted.n, 1)))
    low, high = (p, p) if counted.exact else limits
    out = {"exceedances": b, "n_near_ties": counted.n_near_ties, "p": p, "p_low": low, "p_high": high}
    missing = np.full(p.shape, np.nan)
    out |= {"p_fdr": missing, "p_max": missing, "p_max_single": missing}
    if {"fdr", "fdr_by"} & set(correct):
        out["p_fdr"] = adjust_fdr(p, "by" if "fdr_by" in correct else "bh")
    if "max" in correct:
        # Doubling puts a two-sided p above that of the largest |z|; a corrected p is no smaller than the plain one.
        single = np.fmax(p, single_step_p(counted.evidence, counted.maxima, counted.tolerance))
        out |= {"p_max_single": single, "p_max": single}
        if counted.step_down is not None:
            order = ascending(counted.evidence)
            stepped = missing.copy()
            stepped[order] = step_down_p(counted.step_down[order], len(counted.maxima))
            out["p_max"] = np.fmax(p, stepped)
    return out


def larger_p(arrays: Mapping[str, Floats], correct: Sequence[str]) -> dict[str, Floats]:
    """
    p-values of a test that has to pass several nulls, from those of the test against each.

    p is the largest (an intersection-union test; Berger 1982, *Technometrics* 24:295), and the false discovery rate is
    that of these p. Over a family the chance of an error is bounded by the sum over nulls: p_max is their number times
    the largest p_max.

    Parameters
    ----------
    arrays : mapping of str to float64 [null, ...]
        ``p, p_low, p_high, p_max, p_max_single``.
    correct : sequence of str

    Returns
    -------
    dict of float64 [...]
        The same names, and ``p_fdr``.
    """
    out = {name: arrays[name].max(axis=0) for name in ("p", "p_low", "p_high")}
    for name in ("p_max", "p_max_single"):
        out[name] = np.minimum(1.0, len(arrays[name]) * arrays[name].max(axis=0))
    fdr = {"fdr", "fdr_by"} & set(correct)
    out["p_fdr"] = adjust_fdr(out["p"], "by" if "fdr_by" in fdr else "bh") if fdr else np.full(out["p"].shape, np.nan)
    return out


def check_corrections(correct: Sequence[str]) -> None:
    """Refuse a correction that does not exist, or two for one false discovery rate."""
    if isinstance(correct, str) or not isinstance(correct, Iterable):
        valid = ", ".join(map(repr, CORRECTIONS))
        raise PlanError(f"correct={correct!r} is not a list of corrections; valid are {valid}, as correct=['max']")
    for name in correct:
        require_known("correct", name, CORRECTIONS)
    if {"fdr", "fdr_by"} <= set(correct):
        raise PlanError("correct names both 'fdr' and 'fdr_by'; choose one of them before seeing the result")
