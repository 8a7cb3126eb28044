"""Labels that may change hands under a hypothesis: the times of a dyad's sessions, and the groups of whole dyads.

Each class lists all relabellings where they are few, else draws them; draw 0 is what was observed. `statistic` turns a
range of draws into the statistic of every feature, for `drawntest.drawn_test`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import permutations as all_orders
from math import comb, factorial, prod

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from .random_streams import Purpose, entity_id, entity_ids, permutations, purpose_word, split_seed
from .relabelling import LIST_UP_TO

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

LEAST_SESSIONS = 2
"""A slope needs values at two times."""

# Keeps the draws apart from flips of signs, which are also exchanges within a dyad.
_VARIANT = 1


def slopes(values: NDArray[np.floating], times: Floats) -> Floats:
    """
    Least-squares slope of every feature over time.

    Parameters
    ----------
    values : float [session, ...]
        A missing value (NaN) leaves the session out of that feature.
    times : float64 [session]
        Different numbers.

    Returns
    -------
    float64 [...]
        NaN where there are fewer than two values.
    """
    present = np.isfinite(values)
    n = present.sum(axis=0)
    when = np.broadcast_to(times.reshape(-1, *[1] * (values.ndim - 1)), values.shape)
    t = np.where(present, when - _mean_of(when, present, n), 0.0)
    y = np.where(present, values - _mean_of(values, present, n), 0.0)
    square = (t**2).sum(axis=0)
    slope: Floats = np.full(values.shape[1:], np.nan)
    np.divide((t * y).sum(axis=0), square, out=slope, where=n >= LEAST_SESSIONS)
    return slope


def _mean_of(values: NDArray[np.floating], present: NDArray[np.bool_], n: Integers) -> Floats:
    total = np.where(present, values, 0.0).sum(axis=0, dtype=np.float64)
    mean: Floats = np.divide(total, n, out=np.zeros(total.shape), where=n > 0)
    return mean


@dataclass(frozen=True)
class SessionOrders:
    """
    Mean slope over dyads when the sessions of each dyad come in another order.

    One order per dyad and draw holds for all features; a missing value moves with its session.

    Parameters
    ----------
    labels : tuple of str
        One label per dyad; its orders depend on seed, draw and label only.
    values : sequence of float64 [session, feature]
        Of each dyad.
    times : sequence of float64 [session]
        Of each dyad.
    n : int
        Draws beside the observed one. When they are exact these are all the other orders, each once.
    seed : int
    exact : bool
        Whether all orders are listed.
    """

    labels: tuple[str, ...]
    values: Sequence[Floats]
    times: Sequence[Floats]
    n: int
    seed: int
    exact: bool

    @classmethod
    def plan(
        cls,
        labels: Sequence[str],
        values: Sequence[Floats],
        times: Sequence[Floats],
        n: int,
        seed: int,
        *,
        list_up_to: int = LIST_UP_TO,
    ) -> "SessionOrders":
        """
        List all orders if there are at most ``max(n, list_up_to)``, else draw `n` at random.

        Raises
        ------
        PlanError
            If the number of draws or the seed is out of range.
        """
        _check_draws(n, seed)
        n_all = prod(factorial(len(when)) for when in times)
        exact = n_all <= max(n, list_up_to)
        return cls(tuple(labels), values, times, n_all - 1 if exact else n, seed, exact)

    @cached_property
    def n_dyads(self) -> Integers:
        """Dyads with a slope, int64 [feature]."""
        return np.asarray(np.sum(self._has_slope, axis=0, dtype=np.int64))

    @cached_property
    def _has_slope(self) -> list[NDArray[np.bool_]]:
        return [np.isfinite(values).sum(axis=0) >= LEAST_SESSIONS for values in self.values]

    def statistic(self, start: int, stop: int) -> Floats:
        """Mean slope of draws `start` to `stop` - 1, float64 [draw, feature]; NaN without any dyad."""
        total = np.zeros((stop - start, self.values[0].shape[1]))
        for values, times, order, has in zip(
            self.values, self.times, self.orders(start, stop), self._has_slope, strict=True
        ):
            total += np.where(has, _slopes_in_order(values, times, order), 0.0)
        return np.divide(total, self.n_dyads, out=np.full_like(total, np.nan), where=self.n_dyads > 0)

    def orders(self, start: int, stop: int) -> list[Integers]:
        """Which of its times each session of each dyad is given: int64 [draw, session] per dyad."""
        k = np.arange(start, stop, dtype=np.int64)
        return self._listed(k) if self.exact else self._drawn(k)

    def _listed(self, k: Integers) -> list[Integers]:
        """Digits of the draw's number; dyads count in the order of their labels, so that rows may be in any."""
        out: dict[int, Integers] = {}
        rest = k
        for dyad in np.argsort(self.labels):
            listed = np.array(list(all_orders(range(len(self.times[dyad])))), dtype=np.int64)
            rest, digit = np.divmod(rest, len(listed))
            out[int(dyad)] = listed[digit]
        return [out[dyad] for dyad in range(len(self.labels))]

    def _drawn(self, k: Integers) -> list[Integers]:
        purpose = purpose_word(Purpose.SIGN_FLIP, _VARIANT)
        return [
            permutations(self.seed, k, len(times), entity=int(entity), purpose=purpose).astype(np.int64)
            for times, entity in zip(self.times, entity_ids(self.labels), strict=True)
        ]


def _slopes_in_order(values: Floats, times: Floats, order: Integers) -> Floats:
    """Slopes of one dyad in each draw, float64 [draw, feature]; 0 where there are fewer than two values."""
    present = np.isfinite(values)
    n = present.sum(axis=0)
    y = np.where(present, values - _mean_of(values, present, n), 0.0)
    t = (times - times.mean())[order]
    mass = present.astype(np.float64)
    enough = n >= LEAST_SESSIONS
    square = (t**2) @ mass - np.divide((t @ mass) ** 2, n, out=np.zeros((len(t), len(n))), where=n > 0)
    slope: Floats = np.divide(t @ y, square, out=np.zeros_like(square), where=np.broadcast_to(enough, square.shape))
    return slope


@dataclass(frozen=True)
class GroupLabels:
    """
    Difference of the means of two groups of dyads when whole units (dyads, or blocks of them) change groups.

    Parameters
    ----------
    labels : tuple of str
        One label per unit.
    first : bool [unit]
        Which units are in the first group.
    values : float64 [dyad, feature]
        NaN leaves a dyad out of that feature.
    n : int
        Draws beside the observed one. When they are exact these are all other divisions, each once.
    seed : int
    exact : bool
        Whether all divisions into groups of these sizes are listed.
    strata : tuple of str
        One label per unit: only units of one label exchange groups. Empty: all do.
    unit : int64 [dyad]
        Unit of each dyad. Empty: dyads are units.
    """

    labels: tuple[str, ...]
    first: NDArray[np.bool_] = field(repr=False)
    values: Floats = field(repr=False)
    n: int
    seed: int
    exact: bool
    strata: tuple[str, ...] = ()
    unit: Integers = field(default_factory=lambda: np.empty(0, np.int64), repr=False)

    @classmethod
    def plan(
        cls,
        labels: Sequence[str],
        first: NDArray[np.bool_],
        values: Floats,
        n: int,
        seed: int,
        *,
        list_up_to: int = LIST_UP_TO,
        strata: Sequence[str] = (),
        unit: Integers | None = None,
    ) -> "GroupLabels":
        """
        List all divisions if there are at most ``max(n, list_up_to)``, else draw `n` at random.

        Raises
        ------
        PlanError
            If the number of draws or the seed is out of range, or no two units may exchange their groups.
        """
        _check_draws(n, seed)
        # Units in the order of their labels: what is drawn does not depend on the order in which they were given.
        place = np.argsort(labels)
        number = np.argsort(place)[np.arange(len(labels)) if unit is None else unit]
        label = [strata[at] for at in place] if len(strata) else [""] * len(labels)
        plan = cls(
            tuple(labels[at] for at in place),
            first[place],
            values,
            n,
            seed,
            False,
            tuple(label),
            number.astype(np.int64),
        )
        n_all = plan.n_divisions
        if n_all == 1:
            raise PlanError("no two units may exchange their groups, so there is nothing to compare; add dyads")
        exact = n_all <= max(n, list_up_to)
        return replace(plan, n=n_all - 1 if exact else n, exact=exact)

    @cached_property
    def blocks(self) -> dict[str, Integers]:
        """Units that exchange groups among themselves, by their label."""
        strata = np.array(self.strata if self.strata else [""] * len(self.labels))
        return {str(label): np.flatnonzero(strata == label) for label in np.unique(strata)}

    @property
    def n_divisions(self) -> int:
        """Divisions that there are, the observed one included."""
        return prod(comb(len(units), int(self.first[units].sum())) for units in self.blocks.values())

    def statistic(self, start: int, stop: int) -> Floats:
        """First mean minus second, float64 [draw, feature]; NaN where a group has no value."""
        return self.difference(self.values, start, stop)

    def difference(self, values: Floats, start: int, stop: int) -> Floats:
        """The same of other values [dyad, feature]."""
        members = self.members(start, stop)
        chosen = (members[:, self.unit] if self.unit.size else members).astype(np.float64)
        present = np.isfinite(values)
        filled, mass = np.where(present, values, 0.0), present.astype(np.float64)
        means = [_ratio(one @ filled, one @ mass) for one in (chosen, 1.0 - chosen)]
        return means[0] - means[1]

    def members(self, start: int, stop: int) -> NDArray[np.bool_]:
        """Which units are in the first group in draws `start` to `stop` - 1: bool [draw, unit]."""
        k = np.arange(start, stop, dtype=np.int64)
        out = np.empty((k.size, len(self.labels)), dtype=bool)
        for units, chosen in zip(self.blocks.values(), self._listed(k) if self.exact else self._drawn(k), strict=True):
            out[:, units] = chosen
        return out

    def _drawn(self, k: Integers) -> list[NDArray[np.bool_]]:
        purpose = purpose_word(Purpose.GROUP_LABEL)
        return [
            self.first[units][permutations(self.seed, k, len(units), entity=entity_id(label), purpose=purpose)]
            for label, units in self.blocks.items()
        ]

    def _listed(self, k: Integers) -> list[NDArray[np.bool_]]:
        """Combination of the blocks' divisions number k, counted from the observed one; the last turns fastest."""
        out = []
        rest = k
        for units in reversed(self.blocks.values()):
            first = self.first[units]
            n_all, own = comb(len(units), int(first.sum())), _rank(first)
            rest, digit = np.divmod(rest, n_all)
            # Digit 0 is what was observed, the others count the remaining divisions in order.
            rank = np.where(digit == 0, own, digit - (digit <= own))
            out.append(_subset_of_rank(rank, len(units), int(first.sum())))
        return out[::-1]


def _ratio(total: Floats, n: Floats) -> Floats:
    return np.divide(total, n, out=np.full_like(total, np.nan), where=n > 0)


def _rank(chosen: NDArray[np.bool_]) -> int:
    """Number of a subset among those of its size, in the combinatorial number system."""
    return sum(comb(int(place), size + 1) for size, place in enumerate(np.flatnonzero(chosen)))


def _subset_of_rank(rank: Integers, n: int, size: int) -> NDArray[np.bool_]:
    """Subsets of 0..n-1 of one size by their number: bool [draw, n]."""
    out = np.zeros((rank.size, n), dtype=bool)
    rest, left = rank.copy(), np.full(rank.size, size)
    for place in range(n - 1, -1, -1):
        before = np.array([comb(place, k) for k in range(size + 1)], dtype=np.int64)[left]
        taken = (left > 0) & (rest >= before)
        out[:, place] = taken
        rest = np.where(taken, rest - before, rest)
        left = left - taken
    return out


def _check_draws(n: int, seed: int) -> None:
    if not 1 <= n < 1 << 32:
        raise PlanError(f"{n} draws were asked for; ask for 1 to 2**32 - 1")
    split_seed(seed)
