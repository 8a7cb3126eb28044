"""Partial correlation of many features with one outcome, against permuted residuals of the outcome.

Freedman and Lane (1983, *J. Bus. Econ. Stat.* 1:292; Winkler et al. 2014, *NeuroImage* 92:381, there with the roles of
the two variables exchanged): what the nuisance variables leave of the outcome is permuted over units, the nuisance
variables stay with the features. One permutation per draw serves all features, so that the largest statistic of each
draw corrects over features.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import factorial, prod
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from ..nulls.counts import OUTPUT_BINS, Exceedances, Histogram, Maxima, StepDown, tie_tolerance
from ..nulls.random_streams import Purpose, entity_ids, permutations, purpose_word, split_seed
from ..nulls.tails import Tail
from .attainable import shortfall
from .limits import DRAWN, MOST_VALUES, Limits, limits, normal_interval, student_interval
from .p_values import adjust_fdr, check_corrections, clopper_pearson, p_value, single_step_p, step_down_p

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

LIST_UP_TO = 1_000_000
"""Permutations are listed instead of drawn when there are no more of them than this."""

LEAST_UNITS = 4
"""A correlation over fewer units is not tested."""

_BLOCK_VALUES = 1 << 20
# What is left of a variable after others were taken out counts as nothing below this share of its length.
_NOTHING = 1e-9


@dataclass(frozen=True)
class Shuffles:
    """
    Whose residual each unit takes over in each draw: number 0 leaves everybody their own, the others are draws 1..n.

    Parameters
    ----------
    units : tuple of str
        One label per unit, such as a dyad.
    strata : tuple of str
        One label per unit; residuals are exchanged only between units of one label.
    n : int
        Draws beside the observed one. When the draws are exact these are all the other permutations, each once.
    seed : int
        The user's seed; without effect on exact draws.
    exact : bool
        Whether all permutations are listed.
    """

    units: tuple[str, ...]
    strata: tuple[str, ...]
    n: int
    seed: int
    exact: bool

    @classmethod
    def plan(
        cls, units: Sequence[str], strata: Sequence[str], n: int, seed: int, *, list_up_to: int = LIST_UP_TO
    ) -> "Shuffles":
        """
        List every permutation if there are at most ``max(n, list_up_to)``, else draw `n` at random.

        Raises
        ------
        PlanError
            If the number of draws or the seed is out of range, or no two units may be exchanged.
        """
        assert len(units) == len(strata)
        assert len(set(zip(units, strata, strict=True))) == len(units)
        if not 1 <= n < 1 << 32:
            raise PlanError(f"{n} draws were asked for; ask for 1 to 2**32 - 1")
        split_seed(seed)
        n_all = prod(factorial(size) for size in Counter(strata).values())
        if n_all == 1:
            raise PlanError("no two values may be exchanged, so there is nothing to permute; add dyads or sessions")
        exact = n_all <= max(n, list_up_to)
        return cls(tuple(units), tuple(strata), n_all - 1 if exact else n, seed, exact)

    @cached_property
    def blocks(self) -> tuple[Integers, ...]:
        """Indices of the units of each block, both in the order of their labels: rows may stand in any order."""
        return tuple(
            np.array(sorted(np.flatnonzero(np.array(self.strata) == label), key=lambda unit: self.units[unit]))
            for label in sorted(set(self.strata))
        )

    def orders(self, start: int, stop: int) -> Integers:
        """Whose residual each unit takes over in draws `start` to `stop` - 1: int64 [draw, unit]."""
        k = np.arange(start, stop, dtype=np.int64)
        out = np.empty((k.size, len(self.units)), dtype=np.int64)
        for block, order in zip(self.blocks, self._listed(k) if self.exact else self._drawn(k), strict=True):
            out[:, block] = block[order]
        return out

    def _drawn(self, k: Integers) -> Sequence[NDArray[np.integer]]:
        """One independent permutation per block, from the stream that bears the block's label."""
        entities = entity_ids(sorted(set(self.strata)))
        purpose = purpose_word(Purpose.OUTCOME)
        return [
            permutations(self.seed, k, len(block), entity=int(entity), purpose=purpose)
            for block, entity in zip(self.blocks, entities, strict=True)
        ]

    def _listed(self, k: Integers) -> Sequence[NDArray[np.integer]]:
        """Combination number k of the blocks' permutations, the last block turning fastest."""
        out, rest = [], k
        for block in reversed(self.blocks):
            rest, rank = np.divmod(rest, factorial(len(block)))
            out.append(_permutation_of_rank(rank, len(block)))
        return out[::-1]


def _permutation_of_rank(rank: Integers, n: int) -> Integers:
    """Permutations of 0..n-1 by their lexicographic rank, int64 [draw, n]."""
    left = np.tile(np.arange(n), (rank.size, 1))
    out = np.empty((rank.size, n), dtype=np.int64)
    for place in range(n):
        digit, rank = np.divmod(rank, factorial(n - 1 - place))
        out[:, place] = np.take_along_axis(left, digit[:, None], axis=1)[:, 0]
        left = left[np.arange(left.shape[1]) != digit[:, None]].reshape(rank.size, -1)
    return out


def basis_of(nuisance: Floats) -> Floats:
    """Orthonormal columns that span those of `nuisance` [unit, column]: float64 [unit, rank]."""
    length = np.linalg.norm(nuisance, axis=0)
    columns = nuisance[:, length > 0] / length[length > 0]
    if not columns.shape[1]:
        return np.empty((len(nuisance), 0))
    vectors, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(vectors[:, sizes > _NOTHING * sizes[0]])


def residuals(values: Floats, basis: Floats) -> Floats:
    """What an orthonormal basis [unit, column] leaves of `values` [unit, ...]."""
    once = values - basis @ (basis.T @ values)
    # A second pass removes what rounding left behind where the basis explains nearly all.
    return np.asarray(once - basis @ (basis.T @ once))


@dataclass(frozen=True)
class _Pattern:
    """
    Features that have values in the same units.

    Parameters
    ----------
    units : int64 [unit]
    basis : float64 [unit, column]
        Span of the nuisance variables in these units.
    features : int64 [feature]
    directions : float64 [unit, feature]
        What the nuisance variables leave of the features, each of length 1.
    lengths : float64 [feature]
        Its length before.
    """

    units: Integers
    basis: Floats
    features: Integers
    directions: Floats
    lengths: Floats

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the partial correlation."""
        return len(self.units) - int(self.basis.shape[1]) - 1

    def null_sd(self, residual: Floats, blocks: Sequence[Integers]) -> Floats:
        """
        Standard deviation of the correlation over permutations within blocks, float64 [feature].

        Exact where the permuted residual keeps its length, that is without covariates and missing values; elsewhere
        its mean square length is put in place of the square of each.
        """
        size = np.zeros(len(residual))
        share = np.zeros(len(residual))
        part = np.zeros((len(residual), len(blocks)))
        for number, block in enumerate(blocks):
            size[block], part[block, number] = len(block), 1.0
            share[block] = (residual[block] ** 2).sum() / (residual**2).sum()
        per_unit = (share / np.maximum(size - 1, 1))[self.units, None]
        size, share, part = size[self.units, None], share[self.units, None], part[self.units]

        def variance(weights: Floats) -> Floats:
            """Of weighted sums of the permuted residual, whose squares sum to 1: float64 [column]."""
            means = part @ (part.T @ weights) / size
            return np.asarray((per_unit * weights * (weights - means)).sum(axis=0))

        square = float((share / size).sum() - variance(self.basis).sum())
        return np.sqrt(np.maximum(variance(self.directions), 0.0) / square)

    def left_of(self, outcomes: Floats) -> Floats:
        """What the nuisance variables leave of outcomes [draw, unit] in these units."""
        return residuals(outcomes[:, self.units].T, self.basis).T


class FreedmanLane:
    """
    Permutation test of partial correlations with one outcome.

    Parameters
    ----------
    values : float64 [unit, feature]
        Missing values (NaN) leave the unit out of that feature.
    outcome : float64 [unit]
        Without missing values.
    nuisance : float64 [unit, column]
        Intercept, or one per stratum of `shuffles`, and covariates.
    shuffles : Shuffles
    tail : {"greater", "less", "two-sided"}
        Two-sided compares absolute values.
    groups : int64 [feature], optional
        Group 0..G-1 of each feature: the histograms count the mean over a group's features. Default one group.

    Attributes
    ----------
    residual : float64 [unit]
        What the nuisance variables leave of the outcome, which is permuted.
    tested : int64 [tested feature]
        Features with at least four units, one degree of freedom, and a spread, ascending by their evidence.
    """

    def __init__(
        self,
        values: Floats,
        outcome: Floats,
        nuisance: Floats,
        shuffles: Shuffles,
        *,
        tail: Tail = "two-sided",
        groups: Integers | None = None,
    ) -> None:
        if tail not in get_args(Tail):
            raise PlanError(f"tail={tail!r} is unknown; valid are {', '.join(map(repr, get_args(Tail)))}")
        assert len(values) == len(outcome) == len(nuisance) == len(shuffles.units)
        assert np.isfinite(outcome).all()
        assert np.isfinite(nuisance).all()
        self.shuffles, self.tail, self.n_features = shuffles, tail, values.shape[1]
        self.residual = residuals(outcome, basis_of(nuisance))
        self.n_units: Integers = np.isfinite(values).sum(axis=0)
        self._patterns = tuple(_patterns(values, nuisance))
        self._sd = self._of_features(lambda pattern: pattern.null_sd(self.residual, shuffles.blocks))
        self._groups = np.zeros(self.n_features, np.int64) if groups is None else groups
        r = self._correlations(self.residual[None])[0]
        # Without a spread over the draws every permutation gives the same correlation.
        tested = np.flatnonzero(self._sd > _NOTHING)
        self._r = np.where(self._sd > _NOTHING, r, np.nan)
        evidence = self._orient(r[tested] / self._sd[tested])
        self.tested = tested[np.argsort(evidence, kind="stable")]
        self._scale = 1 / self._sd[self.tested]
        self._evidence = self._orient(r[self.tested] * self._scale)

    @property
    def min_p(self) -> float:
        """Smallest p the draws can give: where all are listed, the share of those that change no residual."""
        if not self.shuffles.exact:
            return 1 / (self.shuffles.n + 1)
        rounded = np.round(self.residual / np.abs(self.residual).max(), 12)
        alike = [Counter(rounded[block].tolist()).values() for block in self.shuffles.blocks]
        return prod(factorial(count) for counts in alike for count in counts) / (self.shuffles.n + 1)

    def too_few(self, correct: Sequence[str], *, alpha: float = 0.05) -> str:
        """Why a lone finding could not be seen with these draws, in one sentence; empty if it could."""
        n_ways = round(1 / self.min_p)
        why = shortfall(n_ways - 1, len(self.tested), correct, alpha=alpha)
        if not why or not self.shuffles.exact:
            return why
        named = ", ".join(map(repr, correct)) or "no correction"
        return (
            f"the outcome can be permuted in only {n_ways} ways that differ (smallest p {self.min_p:.3g}), too few for "
            f"{len(self.tested)} features tested with {named} at alpha={alpha:g}; record more dyads or test fewer "
            "features"
        )

    def run(self, correct: Sequence[str] = ("fdr", "max")) -> dict[str, NDArray[Any]]:
        """
        All draws.

        Parameters
        ----------
        correct : sequence of {"fdr", "fdr_by", "max"}
            p-values that were not asked for are NaN.

        Returns
        -------
        dict of arrays [feature]
            ``group_statistic`` (partial correlation), ``group_null_mean`` (0), ``group_null_sd`` (1 / sqrt(df + 1) in
            a single block), ``group_z``, ``t`` and ``slope`` (outcome per unit of the feature, as least squares gives
            them) float64; ``exceedances`` int64 (-1 where nothing was tested);
            ``p, p_low, p_high`` (95 % Clopper-Pearson; equal to p when all permutations are listed), ``p_fdr``,
            ``p_max`` (step-down, by the largest z), ``p_max_single`` float64; ``n_units, n_near_ties`` int64. Of other
            shapes: ``null_max`` float32 [draw]; ``null_hist`` int64 [group, bin]; ``hist_center`` float64 [bin];
            ``pooled_statistic`` float64 [group].

        Raises
        ------
        PlanError
            If a correction is unknown.
        """
        check_corrections(correct)
        n, n_tested = self.shuffles.n, len(self.tested)
        tolerance = tie_tolerance(self._r[self.tested], np.dtype(np.float64)) * self._scale
        low, high = self._evidence - tolerance, self._evidence + tolerance
        exceedances, step_down = Exceedances.zeros(n_tested), StepDown.zeros(n_tested)
        maxima = Maxima.empty(1, n + 1)
        histogram = Histogram.zeros(self._pooling.shape[1], OUTPUT_BINS)
        for start, r in self._draws():
            histogram.add((r @ self._pooling + 1) / 2)
            if n_tested:
                evidence, largest = self._orient(r * self._scale), np.full(len(r), -np.inf)
                exceedances.add(evidence, low, high)
                step_down.add(evidence, low, largest)
                maxima.add(start, largest)
        b = self._spread(exceedances.at_least, -1)
        single = single_step_p(self._evidence, maxima.values, tolerance)
        return self._values() | self._p_values(b, correct, step_down.counts, single) | {
            "exceedances": b,
            "n_near_ties": self._spread(exceedances.n_near_ties, 0),
            "n_units": self.n_units,
            "null_max": maxima.values.astype(np.float32),
            "null_hist": histogram.counts,
            "hist_center": 2 * (np.arange(OUTPUT_BINS) + 0.5) / OUTPUT_BINS - 1,
            "pooled_statistic": np.nan_to_num(self._r[self.tested]) @ self._pooling,
        }  # fmt: skip

    def _p_values(
        self, b: Integers, correct: Sequence[str], step_down: Integers, single: Floats
    ) -> dict[str, NDArray[Any]]:
        n, missing = self.shuffles.n, np.full(self.n_features, np.nan)
        p = p_value(b, n)
        low, high = (p, p) if self.shuffles.exact else clopper_pearson(b, n)
        false_discovery = adjust_fdr(p, "by" if "fdr_by" in correct else "bh")
        return {
            "p": p,
            "p_low": low,
            "p_high": high,
            "p_fdr": false_discovery if {"fdr", "fdr_by"} & set(correct) else missing,
            "p_max": self._spread(step_down_p(step_down, n), np.nan) if "max" in correct else missing,
            "p_max_single": self._spread(single, np.nan) if "max" in correct else missing,
        }

    def _values(self) -> dict[str, Floats]:
        """What is known of each feature without a draw."""
        r, freedom = self._r, self._of_features(lambda pattern: pattern.freedom)
        slope = np.full(self.n_features, np.nan)
        for pattern in self._patterns:
            length = np.linalg.norm(pattern.left_of(self.residual[None]))
            slope[pattern.features] = r[pattern.features] * length / pattern.lengths
        with np.errstate(divide="ignore", invalid="ignore"):
            t = r * np.sqrt(freedom / np.maximum(1 - r**2, 0.0))
        return {
            "group_statistic": r,
            "group_null_mean": np.where(np.isfinite(r), 0.0, np.nan),
            "group_null_sd": np.where(np.isfinite(r), self._sd, np.nan),
            "group_z": np.divide(r, self._sd, out=np.full_like(r, np.nan), where=self._sd > 0),
            "t": t,
            "slope": slope,
        }

    def intervals(self, *, alpha: float = 0.05) -> dict[str, Floats]:
        """
        Confidence intervals of the correlation and of the slope.

        Parameters
        ----------
        alpha : float
            1 less the coverage.

        Returns
        -------
        dict of float64 [feature]
            ``statistic_low, statistic_high``: of the partial correlation, by Fisher's z; ``student_low, student_high``:
            of the slope, by least squares; ``slope_low, slope_high``: slopes that the permutation of what they and the
            nuisance variables leave of the outcome does not reject in two tails (exact without covariates; NaN for
            features with missing values, infinite where the permutations are too few).
        """
        found = self._values()
        freedom = self._of_features(lambda pattern: pattern.freedom)
        with np.errstate(divide="ignore", invalid="ignore"):
            z, reach = np.arctanh(np.clip(found["group_statistic"], -1, 1)), 1 / np.sqrt(freedom - 1)
            r = normal_interval(z, np.where(freedom > 1, reach, np.nan), alpha=alpha)
            se = np.abs(found["slope"] / found["t"])
            t = student_interval(found["slope"], se, np.nan_to_num(freedom), alpha=alpha)
        low, high = self._slope_limits(alpha)
        return {
            "statistic_low": np.tanh(r[0]), "statistic_high": np.tanh(r[1]), "student_low": t[0], "student_high": t[1],
            "slope_low": low, "slope_high": high,
        }  # fmt: skip

    def _slope_limits(self, alpha: float) -> tuple[Floats, Floats]:
        out = np.full((2, self.n_features), np.nan)
        shuffles = self.shuffles
        if shuffles.n * self.n_features > MOST_VALUES and shuffles.n > DRAWN:
            shuffles = Shuffles.plan(shuffles.units, shuffles.strata, DRAWN, shuffles.seed, list_up_to=0)
        for pattern in (pattern for pattern in self._patterns if len(pattern.units) == len(self.residual)):
            e = self.residual

            def turning(start: int, stop: int, some: slice, pattern: _Pattern = pattern, e: Floats = e) -> Limits:
                """Slopes between which a draw's covariance reaches the observed one in absolute value."""
                x, length = pattern.directions[:, some], pattern.lengths[some]
                orders = shuffles.orders(start, stop)
                drawn, own, observed = e[orders] @ x, np.einsum("duf,uf->df", x[orders], x), x.T @ e
                ends = [
                    np.divide(observed + sign * drawn, share, out=np.full(own.shape, np.nan), where=share > _NOTHING)
                    for sign, share in ((-1, 1 - own), (1, 1 + own))
                ]
                always = np.isnan(ends[0]) | np.isnan(ends[1])
                low, high = np.fmin(*ends) / length, np.fmax(*ends) / length
                return np.where(always, -np.inf, low), np.where(always, np.inf, high)

            out[:, pattern.features] = limits(turning, shuffles.n, len(pattern.features), alpha, len(pattern.units))
        return out[0], out[1]

    def _draws(self) -> Iterator[tuple[int, Floats]]:
        """First number and correlations [draw, tested feature] of consecutive draws."""
        n_rows = max(64, _BLOCK_VALUES // max(1, self.n_features))
        for start in range(1, self.shuffles.n + 1, n_rows):
            orders = self.shuffles.orders(start, min(start + n_rows, self.shuffles.n + 1))
            yield start, self._correlations(self.residual[orders])[:, self.tested]

    def _correlations(self, outcomes: Floats) -> Floats:
        """Partial correlation of every feature with outcomes [draw, unit]: float64 [draw, feature], NaN if untested."""
        out = np.full((len(outcomes), self.n_features), np.nan)
        least = _NOTHING * np.linalg.norm(self.residual)
        for pattern in self._patterns:
            left = pattern.left_of(outcomes)
            length = np.linalg.norm(left, axis=1, keepdims=True)
            # An outcome without spread in these units goes along with nothing.
            left = np.divide(left, length, out=np.zeros_like(left), where=length > least)
            out[:, pattern.features] = left @ pattern.directions
        return out

    def _orient(self, z: Floats) -> Floats:
        """z, -z or absolute z: large is evidence."""
        if self.tail == "greater":
            return z
        return -z if self.tail == "less" else np.abs(z)

    def _of_features(self, number: Any) -> Floats:
        """A number of each pattern, for its features: float64 [feature]."""
        out = np.full(self.n_features, np.nan)
        for pattern in self._patterns:
            out[pattern.features] = number(pattern)
        return out

    def _spread(self, counted: NDArray[Any], missing: float) -> NDArray[Any]:
        """Values [tested feature] in the order of all features, `missing` elsewhere."""
        out = np.full(self.n_features, missing, dtype=counted.dtype)
        out[self.tested] = counted
        return out

    @cached_property
    def _pooling(self) -> Floats:
        """Weights of the mean over a group's features: float64 [tested feature, group]."""
        member = (self._groups[self.tested, None] == np.arange(self._groups.max(initial=0) + 1)).astype(np.float64)
        return np.asarray(member / np.maximum(member.sum(axis=0), 1))


def _patterns(values: Floats, nuisance: Floats) -> Iterator[_Pattern]:
    """Features by the units in which they have values; without those that cannot be tested."""
    present, which = np.unique(np.isfinite(values), axis=1, return_inverse=True)
    for number, flags in enumerate(present.T):
        units = np.flatnonzero(flags)
        basis = basis_of(nuisance[units])
        if len(units) < max(LEAST_UNITS, basis.shape[1] + 2):
            continue
        features = np.flatnonzero(which.reshape(-1) == number)
        here = values[np.ix_(units, features)]
        left = residuals(here, basis)
        lengths = np.linalg.norm(left, axis=0)
        varies = lengths > _NOTHING * np.linalg.norm(here, axis=0)
        if varies.any():
            yield _Pattern(units, basis, features[varies], left[:, varies] / lengths[varies], lengths[varies])
