"""Whether people of one group, or partners of one person, are more alike: what re-pairing across them denies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..nulls.random_streams import Purpose, permutations, purpose_word
from ..nulls.repaired_null import RepairedNull
from ..nulls.shared_partners import SharedPartners
from .p_values import p_value

Floats = NDArray[np.float64]

N_DRAWS = 999
_LABELS = 17  # variant of the stream of simulations


def alike_within_groups(null: RepairedNull, groups: Mapping[str, str], seed: int = 0) -> float:
    """
    P of the hypothesis that people who never met are as coherent across groups as within.

    The labels of whole dyads are exchanged, and the contrast of re-paired values within and across groups is counted
    (Mantel 1967, *Cancer Research* 27:209); real partners are left out. NaN where the dyads, by name in `groups`, are
    not in one block, share people, there are no two groups of two, or nobody is first.
    """
    if null.design.roles != "fixed" or null.design.shares_people:
        return float("nan")
    label = np.unique([groups[dyad] for dyad in null.design.dyads], return_inverse=True)[1]
    n = len(label)
    if len(null.design.blocks) > 1 or len(set(label.tolist())) < 2 or np.bincount(label).min() < 2:
        return float("nan")
    off = ~np.eye(n, dtype=bool)
    matrix = _standardised_matrix(null, off)
    return _share_of_orders(n, seed, lambda one: _within_less_across(matrix, label[one], label[one], off))


def alike_within_persons(null: RepairedNull, seed: int = 0) -> float:
    """
    P of the hypothesis that partners of one person are no more coherent with that person than those of others are.

    Values of a person's meetings with partners of the same person's other meetings are contrasted with those of
    partners of others; the partners are exchanged, the meetings stay, as they share the person. Real partners are left
    out, and of other persons' meetings the one of the same number, so that each mean is of as many. The means of
    meetings and partners are taken off. NaN where nobody has two meetings, or not all dyads are in one block.
    """
    design = null.design
    if len(design.blocks) > 1 or not design.shares_people or design.within_person:
        return float("nan")
    shared = SharedPartners.of(design.dyads, design.persons_a, design.persons_b)
    label, unit = (np.unique(labels, return_inverse=True)[1] for labels in (shared.persons, design.units))
    nth = _place_among_like(design.dyads, label)
    off = (unit[:, None] != unit) & (nth[:, None] != nth)
    if not (off & (label[:, None] == label)).any():
        return float("nan")
    matrix = _standardised_matrix(null, off)
    if "second" in shared.roles:
        matrix = matrix.T
    for axis in (1, 0):
        n = np.maximum(off.sum(axis, keepdims=True), 1)
        matrix = np.where(off, matrix - np.where(off, matrix, 0).sum(axis, keepdims=True) / n, 0)
    return _share_of_orders(len(label), seed, lambda one: _within_less_across(matrix, label, label[one], off))


def _place_among_like(names: Sequence[str], label: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which of those with its label each one is, in the order of names: int64 [unit]."""
    order = sorted(range(len(names)), key=lambda one: (label[one], names[one]))
    place = np.empty(len(names), np.int64)
    place[order] = np.concatenate([np.arange(n) for n in np.bincount(label)])
    return place


def _share_of_orders(n: int, seed: int, contrast: Callable[[NDArray[np.int32]], float]) -> float:
    """P of the contrast among those of random orders of the units; order 0 is the observed one."""
    purpose = purpose_word(Purpose.SIMULATION, _LABELS)
    orders = permutations(seed, np.arange(N_DRAWS + 1), n, entity=0, purpose=purpose)
    values = np.array([contrast(order) for order in orders])
    return float(p_value(np.array((values[1:] >= values[0] - 1e-12).sum()), N_DRAWS))


def _standardised_matrix(null: RepairedNull, off: NDArray[np.bool_]) -> Floats:
    matrix = np.zeros(off.shape)
    total, counts = np.zeros((2, int(off.sum())))
    for part in null.parts():
        of_part = _standardised_sums(null.pair_values[..., part][:, off].astype(np.float64, order="C"))
        total, counts = total + of_part[0], counts + of_part[1]
    matrix[off] = total / np.maximum(counts, 1)
    return matrix


def _standardised_sums(values: Floats) -> tuple[Floats, Floats]:
    """
    Values [session, pair, feature] in units of their spread over pairs, added over sessions and features.

    Returns
    -------
    sums, counts : float64 [pair]
    """
    present = np.isfinite(values)
    n = np.maximum(present.sum(axis=1, keepdims=True), 1)
    centred = np.where(present, values - np.where(present, values, 0).sum(axis=1, keepdims=True) / n, 0)
    spread = np.sqrt((centred**2).sum(axis=1, keepdims=True) / n)
    z = np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0)
    return np.asarray(z.sum(axis=(0, 2))), present.sum(axis=(0, 2)).astype(np.float64)


def _within_less_across(
    matrix: Floats, of_rows: NDArray[np.int64], of_columns: NDArray[np.int64], off: NDArray[np.bool_]
) -> float:
    same = of_rows[:, None] == of_columns
    return float(matrix[same & off].mean() - matrix[~same & off].mean())
