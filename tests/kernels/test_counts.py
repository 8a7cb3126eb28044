"""Counts made by kernels are the host's, integer for integer, whatever the batches and the order of threads."""

from __future__ import annotations

import numpy as np
import pytest

from ibsync.nulls import draw_counts_on_device as on_device
from ibsync.nulls.counts import Exceedances, FixedPointSums, tie_tolerance
from ibsync.nulls.surrogate_null import Standard, Tally

N_DRAWS, N_FEATURES = 150, 140


@pytest.fixture(scope="module")
def values():
    """Coherence-like values with ties, missing values, and features that never vary."""
    rng = np.random.default_rng(5)
    drawn = rng.uniform(0, 1, (N_DRAWS, N_FEATURES)).round(2)
    drawn[rng.uniform(size=drawn.shape) < 0.05] = np.nan
    drawn[:, 7] = 0.5
    drawn[:, 11] = np.nan
    return drawn


@pytest.fixture(scope="module")
def observed():
    return np.random.default_rng(6).uniform(0, 1, N_FEATURES).round(2)


def zeros(*shape):
    return np.zeros(shape, np.uint64)


def batches(values, size):
    return [np.ascontiguousarray(values[start : start + size]) for start in range(0, len(values), size)]


@pytest.mark.parametrize("size", [1, 64, N_DRAWS])
def test_exceedances_are_those_of_the_host(device, values, observed, size):
    tolerance = tie_tolerance(observed, np.dtype(np.float32))
    low, high = observed - tolerance, observed + tolerance
    expected, got = Exceedances.zeros(N_FEATURES), zeros(3, N_FEATURES)
    expected.add(values, low, high)
    for batch in batches(values, size):
        on_device.add_exceedances(device, got, batch, low, high)
    np.testing.assert_array_equal(on_device.signed(device, got), [expected.at_least, expected.above, expected.at_most])
    assert expected.n_near_ties.sum() > 20


@pytest.mark.parametrize("tail", ["greater", "less", "two-sided"])
def test_maxima_and_step_down_counts_are_those_of_a_tally(device, values, observed, tail):
    """The device's parts put together as `Tally.add` does with its own."""
    moments = np.random.default_rng(8).uniform(0, 1, (40, N_FEATURES))
    moments[:, 20] = 0.25
    standard = Standard.of(observed, moments, np.dtype(np.float32))
    tally = Tally.empty(standard, N_DRAWS)
    tally.add(1, standard.count(values, tail))

    varies = standard.sd > standard.tolerance
    scale = np.divide(1.0, standard.sd, out=np.zeros_like(standard.sd), where=varies)
    order = standard.order(tail)
    running, largest = on_device.running_maxima(device, values, standard.mean, scale, order.astype(np.int32), tail)
    low = (standard.evidence(observed, tail) - standard.z_tolerance)[order]
    got = zeros(len(order))
    on_device.add_reaching(device, got, running, low)
    np.testing.assert_array_equal(on_device.signed(device, got), tally.step_down.counts[order])
    np.testing.assert_array_equal(largest, tally.maxima.values)
    assert tally.step_down.counts.any()


def test_running_maxima_follow_their_definition(device):
    rng = np.random.default_rng(9)
    values, mean, scale = rng.standard_normal((9, 70)), rng.standard_normal(70), rng.uniform(0.5, 2, 70)
    values[3] = np.nan
    order = rng.permutation(70)[:67].astype(np.int32)
    running, largest = on_device.running_maxima(device, values, mean, scale, order, "two-sided")
    for draw in range(9):
        so_far = -np.inf
        for place, feature in enumerate(order):
            evidence = abs((values[draw, feature] - mean[feature]) * scale[feature])
            so_far = so_far if np.isnan(evidence) else max(so_far, evidence)
            assert running[draw, place] == so_far
        assert largest[draw] == so_far


def test_sums_are_those_of_the_host(device):
    values = np.random.default_rng(11).uniform(-1, 1, (N_DRAWS, 5))
    values[:4, 2] = [1.0, -1.0, np.nan, np.inf]
    values[:3, 3] = [2.0**-33, 1.5 * 2.0**-32, 2.5 * 2.0**-32]  # halves go to even
    expected, got = FixedPointSums.zeros(5), zeros(3, 5)
    expected.add(values)
    for batch in batches(values, 64):
        on_device.add_sums(device, got, batch)
    np.testing.assert_array_equal(on_device.signed(device, got), [expected.draws, expected.sums, expected.squares])


def test_sums_of_values_beyond_one_are_refused(host):
    with pytest.raises(AssertionError, match="hold values in"):
        on_device.add_sums(host, zeros(3, 1), np.array([[1.0000001]]))


def test_nothing_is_counted_without_draws(host):
    got, none = zeros(3, 4), np.zeros((0, 4))
    on_device.add_exceedances(host, got, none, np.zeros(4), np.zeros(4))
    running, largest = on_device.running_maxima(
        host, none, np.zeros(4), np.ones(4), np.arange(4, dtype=np.int32), "less"
    )
    assert not got.any()
    assert running.shape == (0, 4)
    assert largest.shape == (0,)


def test_draws_without_tested_features_have_no_maximum(host):
    none = np.zeros(0, np.int32)
    _, largest = on_device.running_maxima(host, np.ones((3, 4)), np.zeros(4), np.ones(4), none, "greater")
    assert (largest == -np.inf).all()
