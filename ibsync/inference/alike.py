"""Whether people of one group are more alike than people of two: what re-pairing across groups takes for granted."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ..nulls.random_streams import Purpose, permutations, purpose_word
from ..nulls.repaired_null import RepairedNull
from .p_values import p_value

Floats = NDArray[np.float64]

N_DRAWS = 999
_LABELS = 17  # variant of the stream of simulations


def alike_within_groups(null: RepairedNull, groups: Mapping[str, str], seed: int = 0) -> float:
    """
    P of the hypothesis that people who never met are as coherent across groups as within.

    The labels of whole dyads are exchanged, and the contrast of re-paired values within and across groups is counted
    (Mantel 1967, *Cancer Research* 27:209); real partners are left out. NaN where the dyads, by name in `groups`, are
    not in one block, there are no two groups of two, or nobody is first.
    """
    if null.design.roles != "fixed":
        return float("nan")
    label = np.unique([groups[dyad] for dyad in null.design.dyads], return_inverse=True)[1]
    n = len(label)
    if len(null.design.blocks) > 1 or len(set(label.tolist())) < 2 or np.bincount(label).min() < 2:
        return float("nan")
    off = ~np.eye(n, dtype=bool)
    matrix = np.zeros((n, n))
    matrix[off] = _standardised_mean(null.pair_values[:, off].astype(np.float64))
    purpose = purpose_word(Purpose.SIMULATION, _LABELS)
    order = permutations(seed, np.arange(N_DRAWS + 1), n, entity=0, purpose=purpose)
    contrast = np.array([_within_less_across(matrix, label[one], off) for one in order])
    return float(p_value(np.array((contrast[1:] >= contrast[0] - 1e-12).sum()), N_DRAWS))


def _standardised_mean(values: Floats) -> Floats:
    """Mean over sessions and features of values in units of their spread over pairs: [session, pair, feature]."""
    present = np.isfinite(values)
    n = np.maximum(present.sum(axis=1, keepdims=True), 1)
    centred = np.where(present, values - np.where(present, values, 0).sum(axis=1, keepdims=True) / n, 0)
    spread = np.sqrt((centred**2).sum(axis=1, keepdims=True) / n)
    z = np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0)
    return np.asarray(z.sum(axis=(0, 2)) / np.maximum(present.sum(axis=(0, 2)), 1))


def _within_less_across(matrix: Floats, label: NDArray[np.int64], off: NDArray[np.bool_]) -> float:
    same = label[:, None] == label
    return float(matrix[same & off].mean() - matrix[~same].mean())
