"""What is exchanged between dyads: signs, or membership of two groups. Dyads that share a person move together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from ..inference.attainable import attainable, n_tested
from ..inference.group_difference import LEAST_UNITS, AdjustedDifference, GroupDifference
from ..inference.intervals import reweighted, sign_flip_interval, student_interval
from ..inference.permutation_test import permutation_test
from ..inference.settings import TestSettings
from ..inference.signflip import sign_flip_test
from ..nulls.draws import D, Draws, list_up_to
from ..nulls.hypotheses import NullHypothesis
from ..nulls.relabelling import GroupLabels, Permutations, Signs
from ..results.record import NullDraws
from .group_test import epoch_and_band
from .shared_people import Blocks, speaking_of

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Arrays = dict[str, NDArray[Any]]
Weigh = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Plan:
    """
    A test that is ready to run.

    Parameters
    ----------
    values : float64 [dyad, feature]
        What is tested of each dyad.
    draws : NullDraws
    run : callable
    caution : str
        What it cannot find; empty if nothing.
    interval : callable
        ``interval(alpha)`` gives confidence limits of the statistic; nothing where there are none.
    weights : float64 [dyad, feature], optional
        Of the dyads in the mean, where they do not count alike.
    """

    values: Floats
    draws: NullDraws
    run: Callable[..., Arrays]
    caution: str
    interval: Callable[[float], Arrays] = lambda _: {}
    weights: Floats | None = None


def limits(plan: Plan, asked: TestSettings, margin: float | None) -> Arrays:
    """
    Confidence limits at the level of the test, and those at twice alpha by which equivalence within a margin is judged.

    Raises
    ------
    PlanError
        If the test has no interval.
    """
    found = plan.interval(asked.alpha)
    if margin is None:
        return found
    if not found:
        raise PlanError("margin is for tests that have an interval: leave it out, or exchange signs or groups of dyads")
    wide = plan.interval(2 * asked.alpha)
    return found | {f"equivalence_{end}": wide[f"statistic_{end}"] for end in ("low", "high")}


def check_margin(margin: float | None, alpha: float) -> None:
    """Refuse a margin that is no number above 0, or a level at which no interval is left."""
    if margin is None:
        return
    if isinstance(margin, bool) or not isinstance(margin, int | float) or not 0 < margin < np.inf:
        raise PlanError(f"margin={margin!r} must be a number above 0, in the unit of the statistic")
    if alpha >= 0.5:
        raise PlanError(f"margin takes the interval at 1 - 2 alpha: give an alpha below 0.5, not {alpha:g}")


@dataclass(frozen=True)
class Units:
    """
    Dyads as they may be exchanged.

    Parameters
    ----------
    dyads : sequence of str
    blocks : Blocks
        Dyads that are not independent of each other.
    shape : sequence of int
        Features: (epoch, channel_a, channel_b, band).
    needs : str
        What a dyad must have to be counted, for messages, such as "with two sessions".
    """

    dyads: Sequence[str]
    blocks: Blocks
    shape: Sequence[int]
    needs: str = ""

    def only(self, dyads: NDArray[np.int64]) -> Units:
        """Some of the dyads."""
        return replace(self, dyads=[self.dyads[at] for at in dyads], blocks=self.blocks.only(dyads))

    @property
    def block_of_dyad(self) -> list[str]:
        """Label of each dyad's block."""
        return [self.blocks.labels[number] for number in self.blocks.number]

    @property
    def noun(self) -> str:
        """What is exchanged as a whole, in words."""
        return "blocks of dyads that share a person" if self.blocks.shared else "dyads"


def draws_of(design: D, asked: TestSettings) -> Draws[D]:
    """The draws of a design, listed where they are few."""
    return Draws.plan(design, asked.n, asked.seed, list_up_to=list_up_to(asked.corrections))


def flip_signs(
    values: Floats, units: Units, null: NullHypothesis, asked: TestSettings, weigh: Weigh | None = None
) -> Plan:
    """
    Test of the mean over dyads, by flips of the sign of whole blocks.

    Parameters
    ----------
    values : float64 [dyad, feature]
    units, null, asked
        Who is exchanged, under which hypothesis, with which settings.
    weigh : callable, optional
        ``weigh(value)`` gives the weights of the dyads where `value` is the mean that is tested, float64 [dyad,
        feature]; they must not depend on the signs of what is left. Default: dyads count alike.

    Raises
    ------
    PlanError
        If there is one block only, or so few that no p could reach alpha.
    """
    blocks = units.blocks
    if len(blocks) < 2:
        raise PlanError(f"all dyads share a person, so their signs cannot be flipped one by one: {blocks.shared}")
    draws = draws_of(Signs(blocks.labels), asked)
    _refuse_few_blocks(units, draws, asked)
    present = np.isfinite(values)

    def weights(value: Floats) -> Floats:
        return present.astype(np.float64) if weigh is None else weigh(value)

    def of_blocks(weights: Floats) -> tuple[Floats, Floats]:
        return blocks.sums(weights * np.nan_to_num(values)), blocks.sums(weights)

    observed = weights(np.zeros(values.shape[1]))
    sums, mass = of_blocks(observed)
    caution = attainable(asked, n_tested(values), draws, units=f"{len(blocks)} {units.noun}")

    def run(asked: TestSettings, **words: Any) -> Arrays:
        there = np.where(mass > 0, sums, np.nan)
        groups = epoch_and_band(units.shape)
        found = sign_flip_test(there, draws, asked, groups=groups, weights=mass, **words)
        return found | {"n_dyads": present.sum(axis=0)}

    def interval(alpha: float) -> Arrays:
        def limits(value: Floats) -> tuple[Floats, Floats]:
            return sign_flip_interval(*of_blocks(weights(value)), draws, alpha=alpha)

        mean, *scatter = _mean_and_error(sums, mass)
        return _named_limits(*reweighted(limits, np.nan_to_num(mean)), *student_interval(mean, *scatter, alpha=alpha))

    return Plan(
        values,
        NullDraws.of(speaking_of(null, units.blocks.common), draws, asked),
        run,
        caution,
        interval,
        None if weigh is None else observed,
    )


def exchange_groups(
    values: Floats, first: NDArray[np.bool_], groups: Sequence[str], units: Units, null: NullHypothesis,
    asked: TestSettings,
) -> Plan:  # fmt: skip
    """
    Test of the difference of the means of two groups, by exchange of whole blocks between them.

    Parameters
    ----------
    values : float64 [dyad, feature]
    first : bool [dyad]
        Which dyads are in the first group.
    groups : sequence of str
        Names of the two.
    units, null, asked
        Who is exchanged, under which hypothesis, with which settings.

    Raises
    ------
    PlanError
        If a group has fewer than three units, blocks lie partly in one group and partly in both, or so few can be
        exchanged that no p could reach alpha.
    """
    design, unit = _units_of_groups(units, first, groups)
    present = np.isfinite(values)
    n_units = [
        np.stack([present[members & (unit == u)].any(axis=0) for u in range(len(design))]).sum(axis=0)
        for members in (first, ~first)
    ]
    for name, n in zip(groups, n_units, strict=True):
        if n.max() < LEAST_UNITS:
            raise PlanError(
                f"group {name!r} has {n.max()} {units.noun}{units.needs}; its mean and scatter need {LEAST_UNITS}"
            )
    tested = np.where(np.minimum(*n_units) >= LEAST_UNITS, values, np.nan)
    draws = draws_of(design, asked)
    test = GroupDifference(tested, draws, unit, tail=asked.tail)
    # Groups that change places turn the sign of t; only where they are of one size is that another division.
    floor = asked if sum(design.first) * 2 == len(design) or design.strata else replace(asked, tail="greater")

    _refuse_few_blocks(units, draws, floor)

    def run(asked: TestSettings, **words: Any) -> Arrays:
        return permutation_test(test, asked, **words)

    def interval(alpha: float) -> Arrays:
        low, high = test.interval(first, alpha=alpha)
        limits = _welch(tested, first, units.blocks, alpha)
        if design.strata:
            limits = (np.full(low.shape, np.nan),) * 2
        return _named_limits(low, high, *limits)

    caution = attainable(floor, n_tested(tested), draws, units=f"{len(values)} dyads")
    return Plan(values, NullDraws.of(speaking_of(null, units.blocks.common), draws, floor), run, caution, interval)


def exchange_residuals(
    values: Floats, first: NDArray[np.bool_], groups: Sequence[str], covariates: Floats, units: Units,
    null: NullHypothesis, asked: TestSettings,
) -> Plan:  # fmt: skip
    """
    Test of the difference of two groups beside covariates, by permutation of what these leave of the group.

    Parameters
    ----------
    values, first, groups, units, null, asked
        As `exchange_groups`.
    covariates : float64 [dyad, covariate]

    Raises
    ------
    PlanError
        If a group has fewer than three dyads, dyads share a person, covariates explain the group, or there are too few
        dyads beside them.
    """
    if units.blocks.shared:
        raise PlanError(
            f"dyads share a person ({units.blocks.shared}), so what covariates leave of the group cannot be exchanged "
            "dyad by dyad: leave covariates out, or one dyad of each person in"
        )
    for name, members in zip(groups, (first, ~first), strict=True):
        if members.sum() < LEAST_UNITS:
            raise PlanError(f"group {name!r} has {members.sum()} dyads{units.needs}; its mean and scatter need 3")
    draws = draws_of(Permutations(tuple(units.dyads), ("",) * len(first)), asked)
    test = AdjustedDifference(values, first, covariates, draws, tail=asked.tail)
    if not np.isfinite(test.difference).any():
        raise PlanError(
            f"{covariates.shape[1]} covariates and {len(first)} dyads leave nothing of the groups to compare: the "
            "covariates explain the group, or there are too many of them"
        )

    def run(asked: TestSettings, **words: Any) -> Arrays:
        return permutation_test(test, asked, **words)

    def interval(alpha: float) -> Arrays:
        low, high = test.interval(first, alpha=alpha)
        freedom = np.full(low.shape, len(first) - covariates.shape[1] - 2.0)
        student = student_interval(test.difference, test.error, freedom, alpha=alpha)
        return _named_limits(low, high, *student)

    by_size = replace(asked, tail="greater")
    caution = attainable(by_size, n_tested(values), draws, units=f"{len(values)} dyads")
    return Plan(values, NullDraws.of(speaking_of(null, units.blocks.common), draws, by_size), run, caution, interval)


def _refuse_few_blocks(units: Units, draws: Draws[Any], asked: TestSettings) -> None:
    """Refuse what no p can show only because dyads go together; without blocks that is a warning."""
    lowest = asked.min_p(draws.n + 1)
    if units.blocks.shared and draws.listed and lowest > asked.alpha:
        raise PlanError(
            f"{len(units.dyads)} dyads make only {len(units.blocks)} blocks that can be exchanged, so no p falls below "
            f"{lowest:.3g}, above alpha={asked.alpha:g}: {units.blocks.shared}; record dyads of more people"
        )


def _units_of_groups(units: Units, first: NDArray[np.bool_], groups: Sequence[str]) -> tuple[GroupLabels, Integers]:
    """
    What may change groups, and to which unit each dyad belongs, int64 [dyad].

    Whole blocks, or the dyads of each block where every block is in both groups.
    """
    blocks = units.blocks
    several = [np.flatnonzero(blocks.number == at) for at in range(len(blocks))]
    several = [rows for rows in several if len(rows) > 1]
    mixed = [rows for rows in several if 0 < first[rows].sum() < len(rows)]
    if not mixed:
        of_block = tuple(bool(first[blocks.number == at][0]) for at in range(len(blocks)))
        return GroupLabels(blocks.labels, of_block), blocks.number
    whole = [rows for rows in several if not 0 < first[rows].sum() < len(rows)]
    if whole:
        one, other = (", ".join(repr(units.dyads[row]) for row in rows[0].tolist()) for rows in (mixed, whole))
        raise PlanError(
            f"dyads {one} share a person in both groups, dyads {other} in one of {groups[0]!r} and {groups[1]!r} only, "
            "so neither whole blocks nor dyads within blocks can be exchanged: test one kind of them"
        )
    strata = [""] * len(units.dyads)
    for rows in mixed:
        for row in rows.tolist():
            strata[row] = blocks.labels[blocks.number[row]]
    return GroupLabels(tuple(units.dyads), tuple(first.tolist()), tuple(strata)), np.arange(len(first))


def _named_limits(low: Floats, high: Floats, student_low: Floats, student_high: Floats) -> Arrays:
    return {
        "statistic_low": low, "statistic_high": high, "student_low": student_low, "student_high": student_high,
    }  # fmt: skip


def _mean_and_error(sums: Floats, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean over dyads, its standard error from the residual sums of blocks, degrees of freedom: [feature] each."""
    n, n_blocks = weights.sum(axis=0), (weights > 0).sum(axis=0)
    enough = n_blocks >= 2
    mean = np.divide(sums.sum(axis=0), n, out=np.full(n.shape, np.nan), where=n > 0)
    square = ((sums - weights * np.nan_to_num(mean)) ** 2).sum(axis=0)
    factor = np.divide(n_blocks, (n_blocks - 1) * n**2, out=np.full(n.shape, np.nan), where=enough)
    return mean, np.sqrt(square * factor), (n_blocks - 1).astype(np.float64)


def _welch(values: Floats, first: NDArray[np.bool_], blocks: Blocks, alpha: float) -> tuple[Floats, Floats]:
    """Interval of the difference of two means by Welch's t, with blocks as the units of either group."""
    mean, square, freedom = [], [], []
    for members in (first, ~first):
        here = np.where(members[:, None], values, np.nan)
        sums, counts = blocks.sums(np.nan_to_num(here)), blocks.sums(np.isfinite(here).astype(np.float64))
        m, se, df = _mean_and_error(sums, counts)
        mean.append(m)
        square.append(se**2)
        freedom.append(df)
    total = square[0] + square[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        df = total**2 / (square[0] ** 2 / freedom[0] + square[1] ** 2 / freedom[1])
    return student_interval(mean[0] - mean[1], np.sqrt(total), np.nan_to_num(df), alpha=alpha)
