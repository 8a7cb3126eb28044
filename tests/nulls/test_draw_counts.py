import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from ibsync.nulls.counts import Exceedances, FixedPointSums, Histogram, Maxima, StepDown, count_true, tie_tolerance

N_DRAWS, N_FEATURES = 1000, 13


@pytest.fixture
def statistic():
    values = np.random.default_rng(1).normal(size=(N_DRAWS, N_FEATURES))
    values[::7, 3] = np.nan
    values.flags.writeable = False
    return values


def splits(n_splits):
    return np.array_split(np.arange(N_DRAWS), n_splits)


def test_exceedances_are_the_counts_of_their_definition():
    observed, tolerance = np.array([1.0]), np.array([0.1])
    drawn = np.array([[0.5], [0.9], [0.95], [1.0], [1.1], [1.2], [np.nan]])
    counts = Exceedances.zeros(1)
    counts.add(drawn, observed - tolerance, observed + tolerance)
    assert (counts.at_least[0], counts.above[0], counts.at_most[0]) == (5, 1, 5)
    assert counts.n_near_ties[0] == 4


@pytest.mark.parametrize("n_splits", [1, 2, 7])
def test_exceedances_do_not_know_the_split(statistic, n_splits):
    observed = np.linspace(-1, 2, N_FEATURES)
    total = Exceedances.zeros(N_FEATURES)
    for rows in reversed(splits(n_splits)):
        part = Exceedances.zeros(N_FEATURES)
        part.add(statistic[rows], observed - 0.01, observed + 0.01)
        total.merge(part)
    assert_array_equal(
        total.at_least, [np.sum(column >= t) for column, t in zip(statistic.T, observed - 0.01, strict=True)]
    )
    assert_array_equal(
        total.above, [np.sum(column > t) for column, t in zip(statistic.T, observed + 0.01, strict=True)]
    )
    assert_array_equal(
        total.at_most, [np.sum(column <= t) for column, t in zip(statistic.T, observed + 0.01, strict=True)]
    )


def test_exceedances_of_some_features_are_placed():
    total, part = Exceedances.zeros(5), Exceedances.zeros(2)
    part.add(np.array([[1.0, -1.0]]), np.zeros(2), np.zeros(2))
    total.place(slice(2, 4), part)
    assert_array_equal(total.at_least, [0, 0, 1, 0, 0])
    assert_array_equal(total.at_most, [0, 0, 0, 1, 0])


@pytest.mark.parametrize("n_splits", [1, 2, 7])
@pytest.mark.parametrize("n_tiles", [1, 3])
def test_step_down_is_westfall_young_however_it_is_split(statistic, n_splits, n_tiles):
    drawn = np.nan_to_num(statistic, nan=-np.inf)
    observed = np.sort(np.random.default_rng(2).normal(size=N_FEATURES))
    expected = [int(np.sum(drawn[:, : v + 1].max(axis=1) >= observed[v])) for v in range(N_FEATURES)]
    total = StepDown.zeros(N_FEATURES)
    largest = np.full(N_DRAWS, -np.inf)
    for tile in np.array_split(np.arange(N_FEATURES), n_tiles):
        for rows in splits(n_splits):
            part = StepDown.zeros(len(tile))
            carried = largest[rows]
            part.add(drawn[np.ix_(rows, tile)], observed[tile], carried)
            largest[rows] = carried
            whole = StepDown.zeros(N_FEATURES)
            whole.counts[tile] = part.counts
            total.merge(whole)
    assert_array_equal(total.counts, expected)
    assert_array_equal(largest, drawn.max(axis=1))


def test_maxima_are_filed_under_their_draw():
    values = np.random.default_rng(3).normal(size=20)
    total = Maxima.empty(1, 21)
    for start, stop in ((15, 21), (1, 8), (8, 15)):
        part = Maxima.empty(start, stop)
        part.add(start, values[start - 1 : stop - 1] - 1)
        part.add(start, values[start - 1 : stop - 1])
        total.merge(part)
    assert_array_equal(total.values, values)
    with pytest.raises(AssertionError, match="room"):
        total.add(0, values)


@pytest.mark.parametrize("n_splits", [1, 2, 7])
def test_histograms_agree_with_numpy_however_they_are_split(n_splits):
    values = np.random.default_rng(4).beta(2, 5, size=(N_DRAWS, 3))
    values[0, 0], values[1, 0], values[2, 1] = 0.0, 1.0, np.nan
    total = Histogram.zeros(3)
    for rows in splits(n_splits):
        part = Histogram.zeros(3)
        part.add(values[rows])
        total.merge(part)
    expected = [np.histogram(column[np.isfinite(column)], bins=4096, range=(0, 1))[0] for column in values.T]
    assert_array_equal(total.counts, expected)
    assert_array_equal(total.counts.sum(axis=1), [N_DRAWS, N_DRAWS - 1, N_DRAWS])


@pytest.mark.parametrize("n_splits", [1, 2, 7])
def test_fixed_point_sums_do_not_know_order_or_split(n_splits):
    values = np.random.default_rng(6).uniform(-1, 1, size=(N_DRAWS, 4))
    values[::3, 2] = np.nan
    whole, total = FixedPointSums.zeros(4), FixedPointSums.zeros(4)
    whole.add(values)
    for rows in splits(n_splits):
        part = FixedPointSums.zeros(4)
        part.add(values[rows[::-1]])
        total.merge(part)
    for name in ("draws", "sums", "squares"):
        assert_array_equal(getattr(total, name), getattr(whole, name))
    assert_allclose(total.mean(), np.nanmean(values, axis=0), rtol=0, atol=2**-33)
    # Each square is off by at most 2**-20; random signs and the division by 2 sd leave far less.
    assert_allclose(total.sd(), np.nanstd(values, axis=0), rtol=0, atol=2**-20)


def test_fixed_point_sums_refuse_what_would_overflow():
    with pytest.raises(AssertionError, match="-1, 1"):
        FixedPointSums.zeros(1).add(np.array([[1.5]]))
    empty = FixedPointSums.zeros(1)
    assert np.isnan(empty.mean()[0])


def test_counting_survives_more_rows_than_sixteen_bits():
    flags = np.ones((150_001, 2), dtype=bool)
    flags[::2, 1] = False
    assert_array_equal(count_true(flags), [150_001, 75_000])


def test_tie_tolerance_follows_the_precision_of_the_values():
    observed = np.array([0.0, 1.0, 1e6])
    eps = np.finfo(float).eps
    assert_allclose(tie_tolerance(observed, np.dtype(np.float64)), [1e-12, 1e-12, 100 * eps * 1e6], rtol=1e-12)
    assert_allclose(tie_tolerance(observed, np.dtype(np.float32)), 1e-6, rtol=1e-12)
