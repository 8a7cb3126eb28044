"""The variance over real dyads against that over re-paired ones: a slow form, what it passes over, and its warning."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from ibsync.inference import scatter
from ibsync.inference.scatter import scatter_test
from ibsync.nulls.draws import Draws
from ibsync.nulls.rematching import Matchings
from ibsync.nulls.repaired_null import RepairedNull
from ibsync.nulls.repairing import Repairing


def design_of(n, groups=None, design=Repairing):
    names = [[f"{role}{k:02d}" for k in range(n)] for role in "dab"]
    return design.of(*names, {"group": groups} if groups else None)


def null_of(values, groups=None):
    design = design_of(values.shape[1], groups)
    return RepairedNull(values, Draws.plan(design, 99, 0, list_up_to=0), tuple(map(str, range(len(values)))))


def made(seed, n=12, sessions=2, features=3, own=0.0, mean=0.0):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((sessions, n, n, features)) + rng.standard_normal((n, 1, features))
    values[:, range(n), range(n)] += mean + own * rng.standard_normal((n, features))
    return values


def slow(null, blocks):
    """One block, feature and draw after the other, in complete data."""
    sessions, n, _, n_features = null.pair_values.shape
    left = np.zeros((n, n, n_features))
    for block in blocks:
        at = np.ix_(block, block)
        for values in null.pair_values.astype(float):
            square = values[at]
            square = square - square.mean(1, keepdims=True) - square.mean(0, keepdims=True) + square.mean((0, 1))
            left[at] += square / np.sqrt(sessions)
    orders = null.design.drawn(np.arange(1000), 0)
    total = np.zeros(1000)
    for feature in range(n_features):
        variance = np.array([np.var([left[k, order[k], feature] for k in range(n)]) for order in orders])
        total += (variance - variance.mean()) / variance.std()
    return np.mean(total >= total[0] - 1e-9)


@pytest.mark.parametrize("own", [0.0, 1.0])
def test_as_loops(own, monkeypatch):
    null = null_of(made(1, own=own))
    assert_allclose(scatter_test([null]), slow(null, [np.arange(12)]))
    monkeypatch.setattr(scatter, "_TILE_VALUES", 2 * 12 * 12)
    assert_allclose(scatter_test([null]), slow(null, [np.arange(12)]))
    grouped = null_of(made(2, own=own), groups=["x", "y"] * 6)
    assert_allclose(scatter_test([grouped]), slow(grouped, [np.arange(0, 12, 2), np.arange(1, 12, 2)]))


def test_dyads_that_differ_are_seen_and_a_common_mean_is_not():
    assert scatter_test([null_of(made(3, own=2.0))]) <= 0.01
    assert scatter_test([null_of(made(3, mean=5.0))]) > 0.05
    assert_allclose(scatter_test([null_of(made(3))]), scatter_test([null_of(made(3, mean=0.0))]))


def test_what_is_missing_is_passed_over():
    values = made(4, own=2.0)
    values[1, 3] = values[1, :, 3] = np.nan  # a dyad misses a session
    values[:, 5, :, 0] = np.nan  # a person lacks a channel
    values[..., 2] = np.nan
    p = scatter_test([null_of(values)])
    assert p <= 0.01
    assert scatter_test([null_of(values[..., :2])]) == p
    assert scatter_test([null_of(values[..., :1]), null_of(values[..., 1:])]) == p  # signals in one family


def test_roles_that_can_be_exchanged_are_left_aside():
    draws = Draws.plan(design_of(6, design=Matchings), 99, 0, list_up_to=0)
    assert np.isnan(scatter_test([RepairedNull(np.zeros((1, 12, 12, 1)), draws, ("1",))]))
