"""Whether real dyads differ among themselves more than re-paired ones do, which makes re-pairing reject too often."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..nulls.draws import Indices, Integers
from ..nulls.repaired_null import RepairedNull, sum_pairs
from ..recordings.memory import release

Floats = NDArray[np.float64]

N_DRAWS = 999
_TILE_VALUES = 1 << 20  # of pairs and features


def scatter_test(nulls: Sequence[RepairedNull], *, seed: int = 0) -> float:
    """
    Permutation test of the variance over real dyads, against that over re-paired ones.

    Of the values of each session the means of both persons over the pairs of their block are taken off; what is left is
    added over sessions and divided by the root of their number. The variance over the pairs of a re-pairing, in
    standard deviations of 999 re-pairings and the real one, is added over features. A mean of the real dyads above or
    below the others does not enter.

    Parameters
    ----------
    nulls : sequence of RepairedNull
        Of the signals that are tested together, with one design.
    seed : int

    Returns
    -------
    float
        p over all features; NaN where the roles of two people may be exchanged.
    """
    design = nulls[0].design
    if design.roles != "fixed":
        return float("nan")
    chosen = design.pairs_of(design.drawn(np.arange(N_DRAWS + 1), seed))
    total = np.zeros(len(chosen))
    step = max(1, _TILE_VALUES // len(design.pairs))
    for null in nulls:
        for start in range(0, null.n_features, step):
            variance = _variance(_without_persons(null, np.arange(start, min(start + step, null.n_features))), chosen)
            sd = variance.std(axis=0)
            total += np.divide(variance - variance.mean(axis=0), sd, out=np.zeros_like(variance), where=sd > 0).sum(1)
    return float((total >= total[0] - 1e-9 * np.abs(total).max()).mean())


def _variance(table: Floats, chosen: Indices) -> Floats:
    """Variance over the pairs of each draw, of values [pair, feature]: float64 [draw, feature]."""
    present = np.isfinite(table)
    filled = np.where(present, table, 0.0)
    n = np.maximum(sum_pairs(chosen, present.astype(np.float64)), 1)
    return np.asarray(sum_pairs(chosen, filled**2) / n - (sum_pairs(chosen, filled) / n) ** 2)


def _without_persons(null: RepairedNull, features: Integers) -> Floats:
    """Sums over sessions of what persons' means leave, over the root of their number: float64 [pair, feature]."""
    first, second = null.design.pairs.T
    sums, counts = np.zeros((2, len(first), len(features)))
    for values in null.pair_values:
        left = values[first[:, None], second[:, None], features].astype(np.float64, order="C")
        # Where values are missing, the means of both persons are reached step by step.
        for people in (first, second) * (1 if np.isfinite(left).all() else 4):
            left -= _means(left, people)[people]
        present = np.isfinite(left)
        sums += np.where(present, left, 0.0)
        counts += present
    release(null.pair_values)
    return np.divide(sums, np.sqrt(counts), out=np.full_like(sums, np.nan), where=counts > 0)


def _means(values: Floats, people: Indices) -> Floats:
    """Mean of what is there over the pairs of each person: float64 [person, feature]."""
    from scipy.sparse import csr_array

    shape = (people.max() + 1, len(people))
    member = csr_array((np.ones(len(people)), (people, np.arange(len(people)))), shape=shape)
    present = np.isfinite(values)
    return np.asarray((member @ np.where(present, values, 0.0)) / np.maximum(member @ present.astype(np.float64), 1))
