"""Neighbouring features tested together: cluster mass and threshold-free cluster enhancement, on host arrays.

A cluster is a set of neighbouring features whose statistics pass a threshold with one sign. What is tested is that a
cluster is there at all, not where it begins or ends (Maris and Oostenveld 2007, *J. Neurosci. Methods* 164:177;
Sassenhagen and Draschkow 2019, *Psychophysiology* 56:e13335).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import PlanError, did_you_mean
from ..nulls.tails import Tail, n_sides, oriented

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

_EDGE_TOLERANCE_HZ = 1e-9
_OPTODES = re.compile(r"S(\d+)_D(\d+)")
# Neighbour relations looked at in one call: their index arrays stay near 100 MB even if every feature is in a cluster.
_BATCH_RELATIONS = 1 << 21


def feature_graph(
    epochs: Flags, channels_a: Flags, channels_b: Flags, bands: Flags, n_lags: int = 1
) -> "csr_array[Any]":
    """
    Which features are neighbours: those that differ in one of epoch, channel pair, band and lag, and there touch.

    Two channel pairs touch when the channels of each person are equal or adjacent.

    Parameters
    ----------
    epochs, channels_a, channels_b, bands : bool [n, n]
        Symmetric neighbour relations, from `successive_epochs`, `adjacent_channels` and `touching_bands`; the
        diagonal is not read.
    n_lags : int
        Lags, each the neighbour of the one before.

    Returns
    -------
    csr_array, bool [feature, feature]
        Symmetric, without diagonal. Features in C order of epoch, channel_a, channel_b, band, lag.
    """
    from scipy.sparse import csr_array, eye_array, kron

    def relation(flags: Flags) -> "csr_array[Any]":
        return csr_array(flags & ~np.eye(len(flags), dtype=bool))

    def same(n: int) -> "csr_array[Any]":
        return csr_array(eye_array(n, dtype=bool))

    n_pairs = len(channels_a) * len(channels_b)
    a, b = (relation(flags) + same(len(flags)) for flags in (channels_a, channels_b))
    pairs = csr_array(kron(a, b))
    pairs.setdiag(False)
    pairs.eliminate_zeros()
    graph = (
        kron(relation(epochs), same(n_pairs * len(bands)))
        + kron(same(len(epochs)), kron(pairs, same(len(bands))))
        + kron(same(len(epochs) * n_pairs), relation(bands))
    )
    lags = relation(np.abs(np.subtract.outer(np.arange(n_lags), np.arange(n_lags))) == 1)
    graph = kron(graph, same(n_lags)) + kron(same(graph.shape[0]), lags)
    out = csr_array(graph, dtype=bool)
    out.sort_indices()
    return out


def successive_epochs(spans: Sequence[Sequence[tuple[float, float]]], *, tolerance: float = 1e-9) -> Flags:
    """
    Epochs that follow one another: an interval of one begins where one of the other ends, or they overlap.

    Parameters
    ----------
    spans : sequence of sequence of (start, stop)
        Intervals of each epoch in s.
    tolerance : float
        Longest gap in s that still counts as none; give the sampling interval where events are only as exact.

    Returns
    -------
    bool [epoch, epoch]
        Symmetric; False on the diagonal.
    """

    def meet(first: tuple[float, float], second: tuple[float, float]) -> bool:
        return max(first[0], second[0]) <= min(first[1], second[1]) + tolerance

    return _relation(len(spans), lambda i, j: any(meet(one, other) for one in spans[i] for other in spans[j]))


def touching_bands(edges_hz: ArrayLike) -> Flags:
    """
    Bands that share an edge, or overlap without another band between them that overlaps or touches both.

    Parameters
    ----------
    edges_hz : float64 [band, 2]
        Low and high edge of each band in Hz. A band lies between two others if its centre (the geometric mean of
        its edges) does.

    Returns
    -------
    bool [band, band]
        Symmetric; False on the diagonal.
    """
    low, high = np.asarray(edges_hz, dtype=np.float64).reshape(-1, 2).T
    centre = np.sqrt(low * high)
    overlap = np.minimum.outer(high, high) - np.maximum.outer(low, low)
    abut = np.abs(overlap) <= _EDGE_TOLERANCE_HZ
    meet = overlap >= -_EDGE_TOLERANCE_HZ

    def touch(i: int, j: int) -> bool:
        between = (centre > min(centre[i], centre[j])) & (centre < max(centre[i], centre[j]))
        return bool(abut[i, j] or (meet[i, j] and not (between & meet[i] & meet[j]).any()))

    return _relation(len(low), touch)


def adjacent_channels(names: Sequence[str], neighbours: Iterable[tuple[str, str]] | None = None) -> Flags:
    """
    Channels of one person that lie side by side.

    Parameters
    ----------
    names : sequence of str
        Channels named by source and detector ("S1_D2") are adjacent when they share one of the two; channels with
        other names have no neighbours.
    neighbours : iterable of (name, name), optional
        The pairs of adjacent channels, instead of what the names tell.

    Returns
    -------
    bool [channel, channel]
        Symmetric; False on the diagonal.

    Raises
    ------
    PlanError
        If `neighbours` names a channel that does not exist.
    """
    if neighbours is not None:
        return _listed_neighbours(list(names), neighbours)
    optodes = [_OPTODES.fullmatch(name) for name in names]

    def share(i: int, j: int) -> bool:
        one, other = optodes[i], optodes[j]
        return bool(one and other and (one[1] == other[1] or one[2] == other[2]))

    return _relation(len(names), share)


def _listed_neighbours(names: list[str], neighbours: Iterable[tuple[str, str]]) -> Flags:
    out = np.zeros((len(names), len(names)), dtype=bool)
    for pair in neighbours:
        for name in pair:
            if name not in names:
                hint = did_you_mean(name, names) or f"there are {', '.join(names)}"
                raise PlanError(f"neighbours name a channel {name!r} that does not exist; {hint}")
        i, j = (names.index(name) for name in pair)
        out[i, j] = out[j, i] = i != j
    return out


def _relation(n: int, holds: Any) -> Flags:
    out = np.zeros((n, n), dtype=bool)
    for i, j in combinations(range(n), 2):
        out[i, j] = out[j, i] = holds(i, j)
    return out


def cluster_masses(statistic: Floats, graph: "csr_array[Any]", threshold: float) -> tuple[Floats, Floats]:
    """
    Largest cluster mass of each draw, the signs apart.

    A mass is the sum of the statistics of a cluster. It does not depend on how the draws are split into calls.

    Parameters
    ----------
    statistic : float64 [draw, feature]
        A z or t; NaN belongs to no cluster.
    graph : csr_array [feature, feature]
        From `feature_graph`.
    threshold : float
        Positive features are those above it, negative ones those below its negative; 0 or more.

    Returns
    -------
    positive, negative : float64 [draw]
        Largest mass above and largest mass below, both as positive numbers; 0 without a cluster.
    """
    positive, negative = np.zeros((2, len(statistic)))
    step = max(1, _BATCH_RELATIONS // max(graph.nnz, graph.shape[0]))
    for start in range(0, len(statistic), step):
        batch = slice(start, start + step)
        row, _, _, mass = _cluster(statistic[batch], graph, threshold)
        np.maximum.at(positive[batch], row, mass)
        np.maximum.at(negative[batch], row, -mass)
    return positive, negative


def clusters(statistic: Floats, graph: "csr_array[Any]", threshold: float) -> tuple[Integers, Floats]:
    """
    The clusters of one map.

    Parameters
    ----------
    statistic : float64 [feature]
    graph, threshold
        As `cluster_masses`.

    Returns
    -------
    labels : int64 [feature]
        0 outside clusters, 1, 2, ... in positive and -1, -2, ... in negative ones, the largest mass first.
    mass : float64 [feature]
        Sum of the statistics of the feature's cluster, with their sign; 0 outside.
    """
    _, column, member, mass = _cluster(statistic[None], graph, threshold)
    number = np.zeros(len(mass), dtype=np.int64)
    for sign in (1, -1):
        mine = np.flatnonzero(sign * mass > 0)
        number[mine[np.argsort(-np.abs(mass[mine]), kind="stable")]] = sign * np.arange(1, len(mine) + 1)
    labels, masses = np.zeros(len(statistic), dtype=np.int64), np.zeros(len(statistic))
    labels[column], masses[column] = number[member], mass[member]
    return labels, masses


def largest(positive: Floats, negative: Floats, tail: Tail) -> Floats:
    """
    What a draw puts up against an observed cluster [...]: the largest mass of the tested sign, or of either sign.

    For two-sided the larger of both; taking the signed maximum would forget the negative clusters of every draw that
    holds a positive one, and reject twice too often. Both are positive numbers, as `cluster_masses` returns them.
    """
    if tail == "two-sided":
        return np.maximum(positive, negative)
    return positive if tail == "greater" else negative


def _cluster(
    statistic: Floats, graph: "csr_array[Any]", threshold: float
) -> tuple[Integers, Integers, Integers, Floats]:
    """Row of each cluster, column and cluster of each member, and mass of each cluster, for all rows at once."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    assert threshold >= 0
    sign = (statistic > threshold).astype(np.int8) - (statistic < -threshold).astype(np.int8)
    row, column = np.nonzero(sign)
    one, other = _joined(sign, row, column, graph)
    joins = coo_array((np.ones(len(one), dtype=np.int8), (one, other)), shape=(len(row), len(row)))
    n_clusters, member = connected_components(joins, directed=False)
    mass = np.bincount(member, weights=statistic[row, column], minlength=n_clusters).astype(np.float64)
    row_of = np.zeros(n_clusters, dtype=np.int64)
    row_of[member] = row
    return row_of, column.astype(np.int64), member.astype(np.int64), mass


def _joined(sign: NDArray[np.int8], row: Integers, column: Integers, graph: "csr_array[Any]") -> tuple[Any, Any]:
    """Pairs of members (their numbers, in the order of `row` and `column`) that are neighbours of one sign."""
    number = np.full(sign.shape, -1, dtype=np.int64)
    number[row, column] = np.arange(len(row))
    degree = np.diff(graph.indptr)[column]
    one = np.repeat(np.arange(len(row)), degree)
    within = np.arange(len(one)) - np.repeat(np.cumsum(degree) - degree, degree)
    place = (row[one], graph.indices[graph.indptr[column[one]] + within])
    other = number[place]
    joined = (other > one) & (sign[place] == sign[row, column][one])
    return one[joined], other[joined]


def tfce(statistic: Floats, graph: "csr_array[Any]", *, extent: float = 0.5, height: float = 2.0) -> Floats:
    """
    Threshold-free cluster enhancement (Smith and Nichols 2009, *NeuroImage* 44:83), as the exact integral.

    The score of a feature with statistic t > 0 is the integral from 0 to t of ``e(h)**extent * h**height dh``, where
    e(h) is the number of features in its cluster at threshold h. The integrand changes only where a feature joins a
    cluster, so it is summed over those pieces instead of over steps of h.

    Parameters
    ----------
    statistic : float64 [draw, feature]
        A z or t; NaN belongs to no cluster.
    graph : csr_array [feature, feature]
        From `feature_graph`.
    extent, height : float
        Exponents E and H.

    Returns
    -------
    float64 [draw, feature]
        With the sign of the statistic; NaN where that is NaN. A draw takes about 2 ms per thousand features.
    """
    first, second = _edges(graph)
    scores = [_enhanced(values, first, second, extent, height) for values in np.asarray(statistic, dtype=np.float64)]
    return np.array(scores).reshape(statistic.shape)


def _edges(graph: "csr_array[Any]") -> tuple[Integers, Integers]:
    """Both ends of each neighbour relation, once, the lower feature first and in ascending order."""
    from scipy.sparse import triu

    upper = triu(graph, k=1, format="coo")
    order = np.lexsort((upper.col, upper.row))
    return upper.row[order].astype(np.int64), upper.col[order].astype(np.int64)


def _enhanced(values: Floats, first: Integers, second: Integers, extent: float, height: float) -> Floats:
    """Scores of one map [feature], from the tree of its clusters."""
    present = np.nan_to_num(values, nan=0.0)
    level, sign = np.abs(present), np.sign(present)
    alike = sign[first] * sign[second] > 0
    one, other = _spanning_joins(level, first[alike], second[alike])
    parent, size = _cluster_tree(one, other, len(values))
    top = np.concatenate([level, np.minimum(level[one], level[other])])
    bottom = np.append(top, 0.0)[parent]
    piece = size**extent * (top ** (height + 1) - bottom ** (height + 1)) / (height + 1)
    return np.where(np.isnan(values), np.nan, np.copysign(_summed_to_root(piece, parent)[: len(values)], values))


def _spanning_joins(level: Floats, first: Integers, second: Integers) -> tuple[Integers, Integers]:
    """Of all neighbour relations those that join two clusters as the threshold sinks, in that order."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import minimum_spanning_tree

    n = len(level)
    depth = np.empty(n)
    depth[np.argsort(-level, kind="stable")] = np.arange(1, n + 1)
    ends = np.searchsorted(first, np.arange(n + 1)).astype(np.int32)  # SciPy 1.13 takes no wider indices
    relations = csr_array((np.maximum(depth[first], depth[second]), second.astype(np.int32), ends), shape=(n, n))
    tree = minimum_spanning_tree(relations).tocoo()
    order = np.argsort(tree.data, kind="stable")
    return tree.row[order].astype(np.int64), tree.col[order].astype(np.int64)


def _cluster_tree(one: Integers, other: Integers, n_features: int) -> tuple[Integers, Floats]:
    """
    Every cluster that exists at some threshold, as a node: features first, then one node per join, in order.

    Returns
    -------
    parent : int64 [node]
        The node a cluster goes up in; -1 for none.
    size : float64 [node]
        Number of features.
    """
    n_nodes = n_features + len(one)
    parent, size = [-1] * n_nodes, [1] * n_nodes
    above = list(range(n_nodes))  # some node further up the tree; a root points at itself

    def root(node: int) -> int:
        while above[node] != node:
            above[node] = above[above[node]]
            node = above[node]
        return node

    for node, (i, j) in enumerate(zip(one.tolist(), other.tolist(), strict=True), start=n_features):
        a, b = root(i), root(j)
        parent[a] = parent[b] = above[a] = above[b] = node
        size[node] = size[a] + size[b]
    return np.array(parent, dtype=np.int64), np.array(size, dtype=np.float64)


def _summed_to_root(piece: Floats, parent: Integers) -> Floats:
    """Sum of the pieces of each node and of all nodes above it; a parent has a higher number than its children."""
    total, up = piece.tolist(), parent.tolist()
    for node in range(len(total) - 1, -1, -1):
        if up[node] >= 0:
            total[node] += total[up[node]]
    return np.array(total)


CLUSTER_P = 0.05
"""A feature may belong to a cluster when its z (or t) alone would have a p below this."""


@dataclass(frozen=True)
class Neighbours:
    """
    What neighbouring features show together: the largest cluster mass, and the largest enhanced statistic.

    Parameters
    ----------
    graph : csr_array [feature, feature]
        From `feature_graph`.
    threshold : float
        What a z or t must pass to belong to a cluster.
    tail : {"greater", "less", "two-sided"}
        For two-sided a draw puts up the larger of its two signs.
    statistics : tuple of {"cluster", "tfce"}
    """

    graph: "csr_array[Any]"
    threshold: float
    tail: Tail
    statistics: tuple[str, ...]

    def largest(self, maps: Floats) -> dict[str, Floats]:
        """Largest mass and largest score of each draw, float64 [draw], from z or t [draw, feature]."""
        out = {}
        if "cluster" in self.statistics:
            out["cluster"] = largest(*cluster_masses(maps, self.graph, self.threshold), self.tail)
        if "tfce" in self.statistics:
            scores = np.nan_to_num(tfce(maps, self.graph))
            out["tfce"] = largest(scores.max(axis=1), -scores.min(axis=1), self.tail)
        return out

    def observed(self, values: Floats) -> tuple[dict[str, NDArray[Any]], dict[str, Floats]]:
        """
        The clusters and scores of the observed map, and how large each is as evidence.

        Parameters
        ----------
        values : float64 [feature]
            z or t; NaN belongs to no cluster.

        Returns
        -------
        found : dict of arrays [feature]
            ``cluster`` int64 (as `clusters`, 0 for the sign that is not tested), ``cluster_mass`` and ``tfce`` float64.
        evidence : dict of float64 [feature]
            "cluster": mass, 0 outside clusters, which every draw reaches; "tfce": score of the tested sign.
        """
        found: dict[str, NDArray[Any]] = {}
        evidence = {}
        if "cluster" in self.statistics:
            labels, mass = clusters(values, self.graph, self.threshold)
            size = np.maximum(oriented(mass, self.tail), 0.0)
            found |= {"cluster": np.where(size > 0, labels, 0), "cluster_mass": mass}
            evidence["cluster"] = np.where(np.isnan(values), np.nan, size)
        if "tfce" in self.statistics:
            found["tfce"] = tfce(values[None], self.graph)[0]
            evidence["tfce"] = oriented(found["tfce"], self.tail)
        return found, evidence


def normal_threshold(tail: Tail) -> float:
    """Z that is passed with probability `CLUSTER_P` in the chosen tail."""
    from scipy.special import ndtri

    return float(ndtri(1 - CLUSTER_P / n_sides(tail)))


def t_threshold(n_units: int, tail: Tail) -> float:
    """Student's t with n - 1 degrees of freedom that is passed with probability `CLUSTER_P` in the chosen tail."""
    from scipy.special import stdtrit

    return float(stdtrit(n_units - 1, 1 - CLUSTER_P / n_sides(tail)))
