from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import ndimage

from ibsync.errors import PlanError
from ibsync.inference import clusters as module
from ibsync.inference.clusters import (
    adjacent_channels,
    cluster_masses,
    clusters,
    feature_graph,
    largest,
    successive_epochs,
    tfce,
    touching_bands,
)


def line(n):
    """Neighbours along a line, bool [n, n]."""
    return np.abs(np.subtract.outer(np.arange(n), np.arange(n))) == 1


def none(n):
    return np.zeros((n, n), dtype=bool)


def random_relation(n, rng):
    upper = np.triu(rng.random((n, n)) < 0.5, 1)
    return upper | upper.T


def line_graph(n):
    return feature_graph(line(n), none(1), none(1), none(1))


def plane_graph(n_epochs, n_bands):
    return feature_graph(line(n_epochs), none(1), none(1), line(n_bands))


def some_graph(seed=0, shape=(3, 3, 2, 3)):
    rng = np.random.default_rng(seed)
    return feature_graph(*(random_relation(n, rng) for n in shape)), shape


def grown(on, graph):
    """Clusters of the features that are on, by growing each from a seed: list of sorted feature lists."""
    dense, left, found = graph.toarray(), set(np.flatnonzero(on).tolist()), []
    while left:
        todo, members = [left.pop()], []
        while todo:
            feature = todo.pop()
            members.append(feature)
            near = left & set(np.flatnonzero(dense[feature]).tolist())
            left -= near
            todo += near
        found.append(sorted(members))
    return found


def grown_masses(values, graph, threshold):
    up = [values[members].sum() for members in grown(values > threshold, graph)]
    down = [-values[members].sum() for members in grown(values < -threshold, graph)]
    return max(up, default=0.0), max(down, default=0.0)


def summed_scores(values, graph, extent=0.5, height=2.0):
    """The integral of one map by the definition: clusters grown anew between each two levels."""
    out = np.zeros(len(values))
    for sign in (1, -1):
        levels = np.unique(np.append(np.maximum(sign * np.nan_to_num(values), 0), 0))
        for low, high in pairwise(levels):
            for members in grown(np.nan_to_num(sign * values, nan=-1.0) >= high, graph):
                step = (high ** (height + 1) - low ** (height + 1)) / (height + 1)
                out[members] += sign * len(members) ** extent * step
    return np.where(np.isnan(values), np.nan, out)


def test_neighbours_differ_in_one_coordinate_only():
    graph, shape = some_graph()
    rng = np.random.default_rng(0)
    epochs, a, b, bands = (random_relation(n, rng) for n in shape)
    features = list(product(*(range(n) for n in shape)))
    expected = np.zeros((len(features),) * 2, dtype=bool)
    for (i, (e, ca, cb, f)), (j, (e2, ca2, cb2, f2)) in product(enumerate(features), repeat=2):
        pairs_touch = (ca == ca2 or a[ca, ca2]) and (cb == cb2 or b[cb, cb2])
        same_pair = (ca, cb) == (ca2, cb2)
        expected[i, j] = (
            (epochs[e, e2] and same_pair and f == f2)
            or (e == e2 and not same_pair and pairs_touch and f == f2)
            or (e == e2 and same_pair and bands[f, f2])
        )
    assert_array_equal(graph.toarray(), expected)
    assert graph.dtype == bool
    assert_array_equal(graph.toarray(), graph.toarray().T)
    assert expected.any(axis=1).all()


def test_the_diagonal_of_a_relation_is_not_read():
    with_diagonal = line(3) | np.eye(3, dtype=bool)
    graph = feature_graph(with_diagonal, with_diagonal, with_diagonal, with_diagonal)
    expected = feature_graph(line(3), line(3), line(3), line(3))
    assert_array_equal(graph.toarray(), expected.toarray())


def test_features_without_any_neighbour_make_an_empty_graph():
    graph = feature_graph(none(2), none(3), none(1), none(2))
    assert graph.shape == (12, 12)
    assert graph.nnz == 0
    assert cluster_masses(np.full((1, 12), 3.0), graph, 1.0)[0][0] == 3.0


def test_epochs_that_touch_or_overlap_follow_one_another():
    spans = [[(0, 60)], [(60, 120)], [(90, 150)], [(150.1, 200), (300, 360)], [(360, 400)]]
    got = successive_epochs(spans)
    assert_array_equal(np.argwhere(np.triu(got)), [[0, 1], [1, 2], [3, 4]])
    assert_array_equal(got, got.T)
    assert successive_epochs(spans, tolerance=0.11)[2, 3]
    # 0.1 + 0.2 s is not 0.3 s in floating point.
    assert successive_epochs([[(0, 0.3)], [(0.1 + 0.2, 1)]])[0, 1]


def test_bands_touch_at_an_edge_or_overlap_with_none_between():
    assert_array_equal(np.argwhere(touching_bands([(0.01, 0.03), (0.03, 0.1), (0.2, 0.4)])), [[0, 1], [1, 0]])
    sliding = [(0.01, 0.05), (0.02, 0.06), (0.03, 0.07)]
    assert_array_equal(touching_bands(sliding), line(3))
    assert touching_bands(sliding[::2]).all(where=~np.eye(2, dtype=bool))
    # A broad band and the two narrow ones inside it.
    assert_array_equal(touching_bands([(0.01, 0.2), (0.02, 0.04), (0.05, 0.1)])[0], [False, True, True])
    assert not touching_bands([(0.01, 0.05), (0.05 + 2e-9, 0.1)]).any()


def test_channels_share_an_optode_or_are_listed():
    names = ["S1_D1", "S1_D2", "S2_D2", "Cz", "S11_D1"]
    assert_array_equal(np.argwhere(np.triu(adjacent_channels(names))), [[0, 1], [0, 4], [1, 2]])
    listed = adjacent_channels(names, [("Cz", "S1_D1"), ("Cz", "Cz")])
    assert_array_equal(np.argwhere(listed), [[0, 3], [3, 0]])
    with pytest.raises(PlanError, match=r"'S1_D3' that does not exist; did you mean 'S1_D\d'"):
        adjacent_channels(names, [("S1_D3", "Cz")])
    with pytest.raises(PlanError, match="there are S1_D1, S1_D2"):
        adjacent_channels(names, [("Pz9", "Oz8")])


@pytest.mark.parametrize("threshold", [0.0, 0.6, 1.5, 9.0])
def test_masses_are_those_of_clusters_grown_by_hand(threshold):
    graph, _ = some_graph(4)
    values = np.random.default_rng(1).standard_normal((40, 54))
    values[3, 5:20] = np.nan
    values[4] = np.nan
    got = np.transpose(cluster_masses(values, graph, threshold))
    expected = [grown_masses(row, graph, threshold) for row in values]
    assert_allclose(got, expected, rtol=1e-13)
    assert (got > 0).any() == (threshold < 5)


def test_masses_of_a_plane_are_those_of_an_image_library():
    graph, values = plane_graph(12, 15), np.random.default_rng(2).standard_normal((30, 12, 15))
    positive, negative = cluster_masses(values.reshape(30, -1), graph, 0.5)
    for sign, got in ((1, positive), (-1, negative)):
        for plane, mass in zip(sign * values, got, strict=True):
            labels, n = ndimage.label(plane > 0.5)
            assert_allclose(mass, ndimage.sum_labels(plane, labels, range(1, n + 1)).max(), rtol=1e-12)


def test_masses_do_not_know_the_batches(monkeypatch):
    graph, _ = some_graph(5)
    values = np.random.default_rng(3).standard_normal((50, 54))
    whole = cluster_masses(values, graph, 0.4)
    monkeypatch.setattr(module, "_BATCH_RELATIONS", 3 * graph.nnz)
    assert_array_equal(cluster_masses(values, graph, 0.4), whole)
    assert_array_equal(np.concatenate([cluster_masses(values[[k]], graph, 0.4) for k in range(50)], axis=1), whole)


def test_labels_and_masses_of_one_map():
    graph = line_graph(10)
    values = np.array([2.0, 1.5, 0.1, 4.0, -3.0, -1.5, np.nan, -1.2, 1.0, 5.0])
    labels, mass = clusters(values, graph, 1.0)
    assert_array_equal(labels, [3, 3, 0, 2, -1, -1, 0, -2, 0, 1])
    assert_allclose(mass, [3.5, 3.5, 0, 4.0, -4.5, -4.5, 0, -1.2, 0, 5.0])
    assert labels.dtype == np.int64
    nothing = clusters(np.full(10, np.nan), graph, 1.0)
    assert_array_equal(nothing, np.zeros((2, 10)))
    positive, negative = cluster_masses(values[None], graph, 1.0)
    assert (positive[0], negative[0]) == (mass.max(), -mass.min())


def test_two_sided_takes_the_larger_of_both_signs():
    positive, negative = np.array([3.0, 1.0, 0.0]), np.array([2.0, 4.0, 5.0])
    assert_array_equal(largest(positive, negative, "greater"), positive)
    assert_array_equal(largest(positive, negative, "less"), negative)
    assert_array_equal(largest(positive, negative, "two-sided"), [3, 4, 5])


@pytest.mark.parametrize(("extent", "height"), [(0.5, 2.0), (1.0, 2.0), (0.5, 1.0), (2 / 3, 2.0)])
def test_enhancement_is_the_integral(extent, height):
    graph, _ = some_graph(6)
    values = 2 * np.random.default_rng(4).standard_normal((5, 54))
    values[1] = np.rint(values[1])  # ties and zeros
    values[2, ::4] = np.nan
    values[3] = np.abs(values[3])
    got = tfce(values, graph, extent=extent, height=height)
    expected = [summed_scores(row, graph, extent, height) for row in values]
    assert_allclose(got, expected, rtol=1e-11, atol=1e-12)
    assert_array_equal(np.sign(got), np.sign(values))


def test_enhancement_of_known_maps():
    # A lone feature: the integral of h**2 is t**3 / 3. Three equal neighbours: sqrt(3) times that.
    assert_allclose(tfce(np.array([[3.0]]), line_graph(1)), 9.0)
    assert_allclose(tfce(np.array([[2.0, 2.0, 2.0]]), line_graph(3)), np.sqrt(3) * 8 / 3)
    assert_allclose(tfce(np.array([[1.0, -3.0, 2.0]]), line_graph(3)), [[1 / 3, -9.0, 8 / 3]])
    assert tfce(np.zeros((0, 3)), line_graph(3)).shape == (0, 3)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 3))
def test_enhancement_and_masses_turn_with_the_sign(seed, digits):
    graph, _ = some_graph(7)
    values = np.round(np.random.default_rng(seed).standard_normal((2, 54)), digits)
    assert_allclose(tfce(-values, graph), -tfce(values, graph), rtol=1e-11, atol=1e-14)
    assert_array_equal(cluster_masses(-values, graph, 0.5), cluster_masses(values, graph, 0.5)[::-1])
