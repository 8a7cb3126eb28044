"""Slopes that count by their precision: against lines and roots one at a time, all signs, and simulated studies."""

from itertools import product

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from refusals import plan_refusal
from scipy.stats import binom
from sessions import fitted, noise, precisions, quiet, study


def courses(n_features, growth=0.0, *, seed=0):
    """12 dyads of 2 to 18 sessions, slopes and levels of their own: [dyad, session, feature]."""
    rng = np.random.default_rng(seed)
    sessions = np.array([2, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 18])
    own = growth + 0.005 * rng.standard_normal((12, 1, n_features))
    values = 0.3 + 0.03 * rng.standard_normal((12, 1, n_features)) + own * np.arange(18)[:, None]
    values += 0.04 * rng.standard_normal(values.shape)
    values[np.arange(18) >= sessions[:, None]] = np.nan
    return values


def test_weights_and_p_are_those_of_the_definition():
    values = courses(5, growth=0.004)
    values[:2, :, 3] = np.nan
    values[4:, 5:, 4] = np.nan
    got = quiet(study(values), correct=[]).dataset
    slope, weights = precisions(values, np.arange(18))
    assert_allclose(got["value"].values.reshape(12, 5), slope, rtol=1e-10)
    assert_allclose(got["weight"].values.reshape(12, 5), weights / weights.sum(axis=0), rtol=1e-6)
    assert_array_equal(got["n_dyads"].values.ravel(), [12, 12, 12, 10, 12])
    part = weights * np.nan_to_num(slope)
    assert_allclose(got["group_statistic"].values.ravel(), part.sum(axis=0) / weights.sum(axis=0), rtol=1e-6)
    every = np.abs(np.array(list(product([1, -1], repeat=12))) @ part)
    assert_allclose(got["p"].values.ravel(), (every >= every[0] - 1e-12).mean(axis=0), rtol=1e-12)


def test_sessions_count_by_the_length_of_their_recordings():
    values = noise(7, 5, 2, missing=0.3)
    lengths = np.random.default_rng(2).uniform(0.85, 1, (7, 5))
    real = study(values)
    seconds = [lengths[int(dyad[1:]) - 1, int(session[-2:]) - 1] for dyad, session in zip(
        real["dyad"].values, real["session"].values, strict=True)]  # fmt: skip
    real = real.assign_coords(duration=("dyad", 600 * np.array(seconds))).assign_attrs(epochs="all")
    slope, weights = precisions(values, np.arange(5), lengths)
    got = quiet(real, correct=[]).dataset
    assert_allclose(got["value"].values.reshape(7, 2), slope, rtol=1e-10)
    assert_allclose(got["weight"].values.reshape(7, 2), weights / weights.sum(axis=0), rtol=1e-6)
    plain = quiet(real, correct=[], weights="equal").dataset
    assert_allclose(plain["value"].values.reshape(7, 2), fitted(values, np.arange(5)), rtol=1e-10)
    assert "weight" not in plain
    # Epochs have one length in all recordings, of which some is trusted.
    shares = np.broadcast_to(np.array(seconds)[:, None, None, None, None], real["coherence"].shape).copy()
    of_epochs = real.drop_vars("duration").assign(valid_fraction=(real["coherence"].dims, shares))
    assert_allclose(quiet(of_epochs, correct=[]).dataset["value"].values.reshape(7, 2), slope, rtol=1e-10)


def test_dyads_of_two_sessions_count_alike():
    values = noise(8, 2, 3, growth=0.02)
    got = quiet(study(values), correct=[]).dataset
    assert_allclose(got["weight"], 1 / 8, rtol=1e-9)
    assert_array_equal(got["p"], quiet(study(values), correct=[], weights="equal").dataset["p"])
    flat = quiet(study(np.full((6, 3, 1), 0.3)), correct=[]).dataset
    assert_allclose(flat["weight"], 1 / 6)


def test_weights_know_no_sign():
    values = courses(3, growth=0.004)
    got, turned = (quiet(study(x), correct=[]).dataset for x in (values, 0.6 - values))
    assert_allclose(turned["weight"], got["weight"], rtol=1e-9)
    assert_allclose(turned["group_statistic"], -got["group_statistic"], rtol=1e-9)


def test_level_and_power_where_courses_differ_in_length():
    """600 studies; without growth at most what chance allows beyond 1 in 20, with growth found more often."""
    rejected = quiet(study(courses(600)), n=499, correct=[]).dataset["p"] <= 0.05
    assert rejected.sum() <= binom.ppf(0.999, 600, 0.05)
    grown = study(courses(200, growth=0.01, seed=1))
    power = {
        w: (quiet(grown, n=499, correct=[], weights=w).dataset["p"] <= 0.05).mean() for w in ("equal", "precision")
    }
    assert power["precision"] > power["equal"] + 0.2


@pytest.mark.parametrize("words", [{"between": "group"}, {"kind": "session_order"}])
def test_weights_are_for_signs(words):
    real = study(noise(6, 3), groups=["a", "b"] * 3)
    plan_refusal(lambda: quiet(real, weights="precision", **words), "weights='precision' is for flips of sign")
    plan_refusal(lambda: quiet(real, weights="length"), "weights", "'length'")
    assert "weight" not in quiet(real, correct=[], **words).dataset
