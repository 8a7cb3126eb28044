"""A spread of the outcome that goes with synchrony: HC3 by statsmodels, the test of it by loops, and its warning."""

import warnings

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.testing import assert_allclose
from sessions import study

import ibsync as ibs
from ibsync.inference.partial_correlation import FreedmanLane
from ibsync.inference.spread import spread_test
from ibsync.nulls.draws import Draws
from ibsync.nulls.relabelling import Permutations


def made(seed, n=14, features=3, grow=0.0):
    rng = np.random.default_rng(seed)
    values, covariate = rng.standard_normal((n, features)), rng.standard_normal(n)
    outcome = 0.5 * covariate + rng.standard_normal(n) * np.exp(grow * values[:, 0])
    return values, outcome, np.column_stack([np.ones(n), covariate])


def test_of(values, outcome, nuisance):
    labels = tuple(f"d{k:02d}" for k in range(len(values)))
    return FreedmanLane(values, outcome, nuisance, Draws.plan(Permutations(labels, ("",) * len(labels)), 99, 0))


test_of.__test__ = False


def test_hc3_is_that_of_statsmodels():
    values, outcome, nuisance = made(1, grow=0.5)
    values[3, 1] = np.nan
    for tail, share in {"two-sided": 1.0, "greater": 0.5}.items():
        got = test_of(values, outcome, nuisance).robust(tail)
        for feature in (0, 2):
            x = np.column_stack([values[:, feature], nuisance])
            fit = sm.OLS(outcome, x).fit(cov_type="HC3", use_t=True)
            assert_allclose(got["hc3_t"][feature], fit.tvalues[0], rtol=1e-9)
            p = fit.pvalues[0] * share
            assert_allclose(got["hc3_p"][feature], p if share == 1 or fit.tvalues[0] > 0 else 1 - p, rtol=1e-9)
    assert np.isfinite(got["hc3_p"][1])


def slow(values, outcome, nuisance):
    """One draw, feature and form after the other, in complete data."""
    n = len(values)
    labels = tuple(f"d{k:02d}" for k in range(n))
    orders = Draws(Permutations(labels, ("",) * n), 999, 0, listed=False).take(0, 1000)
    z = []
    for x in values.T:
        design = np.column_stack([nuisance, x])
        hat = design @ np.linalg.inv(design.T @ design) @ design.T
        size = np.abs(outcome - hat @ outcome) / np.sqrt(1 - np.diag(hat))
        left = x - nuisance @ np.linalg.lstsq(nuisance, x, rcond=None)[0]
        for form in (left, np.abs(left)):
            cov = np.array([np.cov(form, size[order])[0, 1] for order in orders])
            one = (cov - cov.mean()) / cov.std()
            z.append(np.abs(one) if form is left else one)
    largest = np.max(z, axis=0)
    return np.mean(largest >= largest[0] - 1e-9)


@pytest.mark.parametrize("grow", [0.0, 1.0])
def test_as_loops(grow):
    values, outcome, nuisance = made(2, grow=grow)
    assert_allclose(spread_test(test_of(values, outcome, nuisance)), slow(values, outcome, nuisance))


def test_what_is_missing_is_passed_over():
    values, outcome, nuisance = made(3, n=60, grow=1.0)
    values[:, 1], values[:4, 0] = np.nan, np.nan
    assert spread_test(test_of(values, outcome, nuisance)) <= 0.01
    assert spread_test(test_of(values[:, 1:2], outcome, nuisance)) == 1.0


@pytest.mark.parametrize("grow", [0.0, 1.0])
def test_the_outcome_warns_and_names_what_allows_for_it(grow):
    rng = np.random.default_rng(5)
    values = rng.standard_normal((30, 1, 2))
    outcome = dict(
        zip([f"d{k + 1:02d}" for k in range(30)], rng.standard_normal(30) * np.exp(grow * values[:, 0, 0]), strict=True)
    )
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        found = ibs.outcome(study(0.3 + 0.02 * values), outcome, n=999, correct=["max"])
    assert bool(grow) == any("tests independence: see hc3_t and hc3_p" in str(one.message) for one in told)
    assert bool(grow) == ("hc3_p" in found.dataset.attrs.get("warning", ""))
    assert found.dataset["hc3_p"].shape == found.dataset["p"].shape
    assert bool(grow) == ("hc3_t" in found.methods())
