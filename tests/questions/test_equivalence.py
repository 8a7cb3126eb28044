"""Equivalence within a margin: against two one-sided tests of shifted values, by signs and between groups."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from refusals import plan_refusal
from sessions import noise, quiet, study

from ibsync.questions.contrast import contrast

MARGIN = 0.02


def within(ds):
    return ((ds["equivalence_low"] > -MARGIN) & (ds["equivalence_high"] < MARGIN)).values.ravel()


def shifted(values, by):
    return values + by * np.arange(values.shape[1])[:, None]


@pytest.mark.parametrize("weights", ["equal", "precision"])
def test_growth_is_equivalent_where_both_one_sided_tests_reject(weights):
    values = noise(9, 4, 40, missing=0.2)
    words = {"correct": [], "weights": weights}
    got = quiet(study(values), margin=MARGIN, **words)
    above = quiet(study(shifted(values, MARGIN)), tail="greater", **words).dataset["p"].values.ravel() <= 0.05
    below = quiet(study(shifted(values, -MARGIN)), tail="less", **words).dataset["p"].values.ravel() <= 0.05
    assert 0.1 < (above & below).mean() < 0.9
    assert_array_equal(within(got.dataset), above & below)
    n = int((above & below).sum())
    assert f"{n} of 40 lie within \u00b10.02, by their 90 % intervals" in got.headline
    assert "two one-sided tests (Schuirmann 1987)" in got.methods()


def test_groups_are_equivalent_within_their_wider_interval():
    real = study(noise(12, 3, 5), groups=["a", "b"] * 6)
    narrow = contrast(real, between="group", correct=[], margin=0.05).dataset
    wide = contrast(real, between="group", correct=[], alpha=0.1).dataset
    assert_array_equal(narrow["equivalence_low"], wide["statistic_low"])
    assert_array_equal(narrow["equivalence_high"], wide["statistic_high"])


def test_margins_without_meaning_are_refused():
    real = study(noise(8, 3, 2))
    plan_refusal(lambda: quiet(real, margin=0), "margin=0 must be a number above 0")
    plan_refusal(lambda: quiet(real, margin=0.1, alpha=0.5), "give an alpha below 0.5")
    plan_refusal(lambda: quiet(real, margin=0.1, kind="session_order"), "margin is for tests that have an interval")
