"""Two groups beside covariates: against least squares one dyad set at a time, all permutations, and Welch's t."""

from itertools import permutations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from refusals import plan_refusal
from scipy.stats import ttest_ind
from sessions import noise, study

from ibsync.inference.group_difference import AdjustedDifference
from ibsync.inference.permutation_test import permutation_test
from ibsync.inference.settings import TestSettings as Settings
from ibsync.nulls.draws import Draws
from ibsync.nulls.relabelling import Permutations
from ibsync.questions.contrast import contrast

N = 7
FIRST = np.arange(N) < 3
AGE = np.random.default_rng(3).standard_normal((N, 1)) + FIRST[:, None]


def draws(n=N):
    return Draws.plan(Permutations(tuple(f"d{k:02d}" for k in range(n)), ("",) * n), 99, 0)


def hc2(y, x, nuisance):
    """Coefficient of x beside nuisance, and its HC2 standard error, by plain matrices."""
    design = np.column_stack([x, nuisance])
    inverse = np.linalg.inv(design.T @ design)
    left = y - design @ (inverse @ design.T @ y)
    leverage = np.diag(design @ inverse @ design.T)
    middle = design.T @ np.diag(left**2 / (1 - leverage)) @ design
    return (inverse @ design.T @ y)[0], np.sqrt((inverse @ middle @ inverse)[0, 0])


def slow_p(y, first, covariates):
    """Share of all permutations of the group's residual of which t has the size of the observed one."""
    there = np.isfinite(y)
    nuisance = np.column_stack([np.ones(len(y)), covariates])
    residual = first - nuisance @ np.linalg.lstsq(nuisance, first.astype(float), rcond=None)[0]
    sizes = []
    for order in permutations(range(len(y))):
        slope, error = hc2(y[there], residual[list(order)][there], nuisance[there])
        sizes.append(abs(slope / error))
    return np.mean(np.array(sizes) >= sizes[0] - 1e-9)


def test_t_and_p_are_those_of_least_squares():
    values = np.random.default_rng(1).standard_normal((N, 3)) + AGE
    values[5, 2] = np.nan
    test = AdjustedDifference(values, FIRST, AGE, draws())
    got = permutation_test(test, Settings(tail="two-sided", correct=[]))
    for feature, y in enumerate(values.T):
        there = np.isfinite(y)
        nuisance = np.column_stack([np.ones(N), AGE])[there]
        slope, error = hc2(y[there], FIRST[there].astype(float), nuisance)
        assert_allclose(got["p"][feature], slow_p(y, FIRST, AGE), rtol=1e-12)
        if there.all():
            assert_allclose(got["group_statistic"][feature], slope, rtol=1e-9)
            assert_allclose(got["group_null_sd"][feature], error, rtol=1e-9)


def test_without_covariates_t_is_welchs():
    values = np.random.default_rng(2).standard_normal((N, 4))
    test = AdjustedDifference(values, FIRST, np.empty((N, 0)), draws())
    oracle = ttest_ind(values[FIRST], values[~FIRST], equal_var=False)
    assert_allclose(test.described()["group_z"], oracle.statistic, rtol=1e-10)


def test_limits_are_where_the_test_begins_to_reject():
    values = np.random.default_rng(4).standard_normal((N, 2)) + 2 * FIRST[:, None] + AGE
    test = AdjustedDifference(values, FIRST, AGE, draws())
    low, high = test.interval(FIRST, alpha=0.2)
    for feature, y in enumerate(values.T):
        for limit, side in ((low[feature], -1), (high[feature], 1)):
            assert slow_p(y - (limit + side * 1e-6) * FIRST, FIRST, AGE) <= 0.2
            assert slow_p(y - (limit - side * 1e-6) * FIRST, FIRST, AGE) > 0.2


def compared(**words):
    values = noise(10, 2, 2)
    real = study(values, groups=["a", "b"] * 5)
    sites = ["x", "y", "z", "x", "y", "z", "x", "y", "z", "x"]
    names = real["dyad"].values.tolist()
    real = real.assign_coords(site=("dyad", [sites[int(name[1:]) - 1] for name in names]))
    return contrast(real, between="group", correct=[], n=99, **words)


def test_labels_and_numbers_are_held_constant():
    ages = {f"d{k + 1:02d}": float(k**2 % 7) for k in range(10)}
    got = compared(covariates=["site"])
    assert "given 'site y' and 'site z'" in got.methods()
    assert "permutation of what the covariates leave of the group" in got.methods()
    assert got.dataset.attrs["min_p"] == 1 / 100
    part = {name: age for name, age in ages.items() if name != "d03"} | {"d99": 3.0}
    with pytest.warns(RuntimeWarning, match="'d03' is left out, without a value of 'age'"):
        fewer = compared(covariates={"age": part})
    assert fewer.dataset.sizes["dyad"] == 9
    assert "'age' of 'd99' is not used" in fewer.methods()


def test_what_cannot_be_held_constant_is_refused():
    real = study(noise(10, 2, 2), groups=["a", "b"] * 5)
    names = [f"d{k + 1:02d}" for k in range(10)]
    plan_refusal(lambda: contrast(real, ("a", "b"), covariates=["age"]), "covariates are held constant between groups")
    same = {"age": dict.fromkeys(names, 3.0)}
    plan_refusal(lambda: contrast(real, between="group", covariates=same), "'age' is 3 in all dyads; leave it out")
    group = {"arm": {name: float(k % 2) for k, name in enumerate(names)}}
    plan_refusal(lambda: contrast(real, between="group", covariates=group), "the covariates explain the group")
    shared = real.assign_coords(person_b=("dyad", [f"t{int(name[1:]) // 4}" for name in real["dyad"].values]))
    ages = {"age": {name: float(k) for k, name in enumerate(names)}}
    plan_refusal(lambda: contrast(shared, between="group", covariates=ages), "dyads share a person", "leave covariates")
    plan_refusal(lambda: contrast(real, between="group", covariates=["height"]), "there is no covariate 'height'")
