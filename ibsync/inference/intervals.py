"""Confidence intervals that hold every value which the permutation test does not reject.

The value of a mean that is put to the test shifts all dyads alike, so for each exchange there is one value from which
on it reaches the observed statistic. The limits of the interval are order statistics of these values (Hartigan 1969,
*J. Am. Stat. Assoc.* 64:1303), without any search.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..nulls.labels import GroupLabels
from ..nulls.relabelling import Exchanges
from .limits import DRAWN, MOST_VALUES, limits

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def sign_flip_interval(
    sums: Floats, counts: Integers, draws: Exchanges, *, alpha: float = 0.05
) -> tuple[Floats, Floats, int]:
    """
    Interval of a mean over dyads, from flips of sign.

    Parameters
    ----------
    sums : float64 [unit, feature]
        Of the dyads of each unit; 0 where it has none.
    counts : int64 [unit, feature]
        Dyads behind each sum.
    draws : Exchanges
        Of the test, two variants per unit.
    alpha : float
        1 less the coverage. The interval leaves out 0 if, with the exchanges of the test, the two-sided p is at most
        alpha.

    Returns
    -------
    low, high : float64 [feature]
        Infinite where so few units can reject nothing; NaN with fewer than two units.
    n : int
        Exchanges that were used, beside the observed one.
    """
    draws = _no_more_than(draws, sums.shape[1])

    def turning(start: int, stop: int, some: slice) -> tuple[Floats, Floats]:
        """Mean over the flipped units, and over the others: between them the draw reaches the observed mean."""
        flipped = draws.variants(start, stop).astype(np.float64)
        means = []
        for chosen in (flipped, 1.0 - flipped):
            n = chosen @ counts[:, some]
            means.append(np.divide(chosen @ sums[:, some], n, out=np.full(n.shape, np.nan), where=n > 0.5))
        # Nothing flipped, or everything: the draw reaches it for every value.
        none = np.isnan(means[0]) | np.isnan(means[1])
        low, high = np.fmin(*means), np.fmax(*means)
        return np.where(none, -np.inf, low), np.where(none, np.inf, high)

    low, high = limits(turning, draws.n, sums.shape[1], alpha)
    enough = (counts > 0).sum(axis=0) >= 2
    return np.where(enough, low, np.nan), np.where(enough, high, np.nan), draws.n


def group_interval(labels: GroupLabels, first: NDArray[np.bool_], *, alpha: float = 0.05) -> tuple[Floats, Floats, int]:
    """
    Interval of the difference of two groups, from exchanges of groups.

    Parameters
    ----------
    labels : GroupLabels
        Of the test.
    first : bool [dyad]
        Which dyads are in the first group.
    alpha : float
        1 less the coverage; the two-sided p is twice that of the smaller tail.

    Returns
    -------
    low, high : float64 [feature]
    n : int
    """
    n_features = labels.values.shape[1]
    labels = _fewer_labels(labels, n_features)
    shift = np.where(np.isfinite(labels.values), first[:, None].astype(np.float64), np.nan)
    observed = labels.statistic(0, 1)[0]

    def turning(start: int, stop: int, some: slice) -> tuple[Floats, Floats]:
        """Shift of the first group from which on, and up to which, the draw reaches the observed difference."""
        drawn = labels.difference(labels.values[:, some], start, stop)
        share = 1.0 - labels.difference(shift[:, some], start, stop)
        moved = share > 1e-9
        at = np.divide(observed[some] - drawn, share, out=np.zeros_like(share), where=moved)
        # A draw in which a group has no value reaches it for no shift.
        never = np.isnan(drawn)
        low, high = np.where(moved, at, -np.inf), np.where(moved, at, np.inf)
        return np.where(never, np.inf, low), np.where(never, -np.inf, high)

    low, high = limits(turning, labels.n, n_features, alpha / 2)
    enough = np.isfinite(observed)
    return np.where(enough, low, np.nan), np.where(enough, high, np.nan), labels.n


def _no_more_than(draws: Exchanges, n_features: int) -> Exchanges:
    if draws.n * n_features <= MOST_VALUES or draws.n <= DRAWN:
        return draws
    return Exchanges.plan(draws.labels, DRAWN, draws.seed, list_up_to=0)


def _fewer_labels(labels: GroupLabels, n_features: int) -> GroupLabels:
    if labels.n * n_features <= MOST_VALUES or labels.n <= DRAWN:
        return labels
    return replace(labels, n=DRAWN, exact=False)
