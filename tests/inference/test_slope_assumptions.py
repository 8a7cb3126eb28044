"""Session effects and skewed slopes: against all signs, their false alarms, and the warnings of growth."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import binom, skew
from sessions import noise, quiet, study

from ibsync.inference.slope_assumptions import session_effects_test, skew_test

NAMES = [f"d{k:02d}" for k in range(40)]


def p_of(statistic):
    largest = statistic.max(axis=1)
    return (largest >= largest[0] - 1e-9).mean()


def signs_of(labels):
    names = sorted(set(labels))
    return np.array([[sign[names.index(label)] for label in labels] for sign in product([1, -1], repeat=len(names))])


def near(p, exact):
    return abs(p - exact) < 4 * np.sqrt(exact * (1 - exact) / 1000) + 2e-3


@pytest.mark.parametrize("labels", [NAMES[:8], ["a", "a", "b", "c", "d", "d", "d", "e"]])
def test_session_effects_against_all_signs(labels):
    left = np.random.default_rng(3).standard_normal((8, 5, 3)) + 0.5 * np.array([1, -1, 1, -1, 0])[:, None]
    left[0, 3:] = np.nan
    n = np.isfinite(left).sum(axis=0)
    expected = (np.nan_to_num(left) ** 2 / n).sum(axis=(0, 1))
    every = [
        ((sign[:, None, None] * np.nan_to_num(left)).sum(axis=0) ** 2 / n).sum(axis=0) for sign in signs_of(labels)
    ]
    assert near(session_effects_test(left, labels), p_of(np.array(every) / expected))


def test_skew_against_all_signs():
    slopes = np.exp(np.random.default_rng(2).standard_normal((9, 2)))
    left = slopes - slopes.mean(axis=0)
    every = np.abs([skew(sign[:, None] * left, axis=0) for sign in signs_of(NAMES[:9])])
    assert near(skew_test(slopes, np.ones((9, 2)), NAMES[:9]), p_of(every))


def test_skew_of_weighted_slopes_is_that_of_distances_in_their_own_errors():
    rng = np.random.default_rng(4)
    slopes, weights = rng.standard_normal((8, 1)) ** 2, rng.uniform(0.2, 2, (8, 1))
    root = np.sqrt(weights)

    def of(x):
        x = x - root * (root * x).sum() / weights.sum()
        return abs((x**3).sum()) / (x**2).sum() ** 1.5

    left = root * (slopes - (weights * slopes).sum() / weights.sum())
    every = np.array([[of(sign[:, None] * left)] for sign in signs_of(NAMES[:8])])
    assert near(skew_test(slopes, weights, NAMES[:8]), p_of(every))


def test_false_alarms_come_as_often_as_they_may():
    rng = np.random.default_rng(5)
    effects = [session_effects_test(rng.standard_normal((12, 5, 3)), NAMES[:12]) <= 0.05 for _ in range(300)]
    skewed = [skew_test(rng.standard_normal((12, 3)), np.ones((12, 3)), NAMES[:12]) <= 0.05 for _ in range(300)]
    for alarms in (effects, skewed):
        assert np.sum(alarms) <= binom.ppf(0.999, 300, 0.05)


def test_growth_warns_of_what_it_takes_for_granted():
    values = noise(12, 5, 3, seed=1)
    calm = quiet(study(values), correct=[]).headline
    assert "Warning" not in calm
    shaken = values + 0.08 * np.array([1, -1, 0, -1, 1])[:, None]
    assert "sessions move all dyads alike beside the lines (p = 0.001" in quiet(study(shaken), correct=[]).headline
    one_grows = values + np.where(np.arange(12) == 3, 0.3, 0.0)[:, None, None] * np.arange(5)[:, None]
    assert "slopes are skewed (p = 0.00" in quiet(study(one_grows), correct=[]).headline
    assert "skewed" not in quiet(study(one_grows), correct=[], kind="session_order").headline
