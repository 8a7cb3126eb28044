"""Intraclass correlations: a published example, statsmodels, a mean-squares form, and how often intervals cover."""

import numpy as np
import pytest
from fake_results import make_real, make_result
from numpy.testing import assert_allclose
from refusals import plan_refusal
from scipy.stats import binom

import ibsync
from ibsync.inference.intraclass import intraclass


def one_way(random, n_units, counts, ratio, n=1):
    """Values with this variance between units over that within: [value, study], and the unit of each."""
    unit = np.repeat(np.arange(n_units), counts)
    return np.sqrt(ratio) * random.standard_normal((n_units, n))[unit] + random.standard_normal((len(unit), n)), unit


def test_the_example_of_shrout_and_fleiss():
    ratings = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)
    found = intraclass(ratings.ravel(), np.repeat(np.arange(6), 4))
    assert_allclose([found.single, found.low, found.high], [0.166, -0.133, 0.723], atol=6e-4)
    assert_allclose([found.mean, found.mean_low, found.mean_high], [0.443, -0.884, 0.912], atol=6e-4)
    assert (found.k, found.n_units, found.n_values) == (4, 6, 24)


def test_balanced_values_are_the_ratio_of_mean_squares():
    y, unit = one_way(np.random.default_rng(1), 9, [5] * 9, 0.4)
    table = y.reshape(9, 5)
    between = 5 * table.mean(axis=1).var(ddof=1)
    within = table.var(axis=1, ddof=1).mean()
    found = intraclass(y[:, 0], unit)
    assert_allclose(found.single, (between - within) / (between + 4 * within), rtol=1e-9)
    assert_allclose(found.mean, (between - within) / between, rtol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_unequal_numbers_of_sessions_give_what_statsmodels_estimates(seed):
    from statsmodels.regression.mixed_linear_model import MixedLM

    random = np.random.default_rng(seed)
    y, unit = one_way(random, 14, random.integers(1, 8, 14), 1.5)
    fit = MixedLM(y[:, 0], np.ones((len(y), 1)), unit).fit(reml=True)
    ratio = fit.cov_re[0, 0] / fit.scale
    assert ratio > 0.1
    assert_allclose(intraclass(y[:, 0], unit).single, ratio / (1 + ratio), rtol=2e-4)


@pytest.mark.parametrize("counts", [[3] * 12, [1, 1, 2, 2, 3, 3, 4, 5, 6, 8, 9, 10]])
def test_intervals_cover_as_often_as_they_say(counts):
    y, unit = one_way(np.random.default_rng(2), 12, counts, 0.7, 400)
    found = [intraclass(column, unit) for column in y.T]
    inside = np.mean([one.low <= 0.7 / 1.7 <= one.high for one in found])
    low, high = binom.ppf([0.001, 0.999], 400, 0.95) / 400
    assert low <= inside <= high


def test_what_cannot_be_estimated_is_missing_and_what_does_not_scatter_is_one():
    assert np.isnan(intraclass(np.arange(4.0), np.arange(4)).single)
    assert np.isnan(intraclass(np.full(6, 0.3), np.repeat(np.arange(3), 2)).single)
    assert np.isnan(intraclass(np.arange(4.0), np.zeros(4, int)).single)
    repeated = intraclass(np.repeat([1.0, 2, 3], 2), np.repeat(np.arange(3), 2))
    assert (repeated.single, repeated.mean) == (1, 1)


def test_a_table_of_features():
    real = make_real(8, 3)
    real["coherence"].values[5, 0, 0, 0, 0] = np.nan
    real["coherence"].values[:, :, 2] = np.nan
    table = ibsync.reliability(real)
    assert len(table) == 2 * 5 * 6 * 2
    values = real["coherence"].to_numpy()[:, 0, 0, 0, 0]
    there = np.isfinite(values)
    expected = intraclass(values[there], np.tile(np.arange(8), 3)[there])
    assert_allclose(table.iloc[0][["icc", "low", "high", "icc_k", "k"]].astype(float),
                    [expected.single, expected.low, expected.high, expected.mean, expected.k])  # fmt: skip
    assert table.iloc[0]["n_sessions"] == 23
    assert table.attrs["entered"] == "8 dyads with 24 sessions"
    shared = real.assign_coords(person_b=("dyad", ["t"] * 24))
    assert "dyads share a person: 't' in every dyad" in ibsync.reliability(shared).attrs["caution"]


def test_of_a_result_the_null_mean_is_taken_off():
    result = make_result(6, 2)
    less = result.dataset["coherence"] - result.dataset["null_mean"]
    table = ibsync.reliability(result)
    raw = ibsync.reliability(result.dataset.drop_vars(["null_mean", "value"]).assign(coherence=less))
    assert_allclose(table["icc"], raw["icc"], rtol=1e-9)


def test_what_has_no_repetition_is_refused():
    plan_refusal(lambda: ibsync.reliability(make_real(5)), "every dyad has one session")
    plan_refusal(lambda: ibsync.reliability(make_real(1, 3)), "there is one dyad only")
    real = make_real(4, 2)
    tasks = real.assign_coords(task=("dyad", ["talk"] * 4 + ["rest"] * 4))
    plan_refusal(lambda: ibsync.reliability(tasks), "'talk', 'rest'", "no repetition", "choose one")
    plan_refusal(lambda: ibsync.reliability(real, alpha=2), "alpha=2")
