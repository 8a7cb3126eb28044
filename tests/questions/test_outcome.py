from dataclasses import replace
from functools import partial
from itertools import permutations, product
from math import factorial

import numpy as np
import pytest
from fake_results import make_real, make_result
from numpy.testing import assert_allclose, assert_array_equal
from permuted import freedman_lane
from permuted import permutations as exchanges
from refusals import plan_refusal

import ibsync
from ibsync.inference import permutation_test as loop
from ibsync.inference.attainable import attainable
from ibsync.inference.p_values import adjust_fdr
from ibsync.inference.partial_correlation import FreedmanLane, basis_of, residuals
from ibsync.inference.settings import TestSettings as Settings
from ibsync.questions.outcome import association_in_words, outcome

TAILS = ("greater", "less", "two-sided")
ORIENT = {"greater": lambda x: x, "less": np.negative, "two-sided": np.abs}


def p_of(every, tail):
    """p of row 0 among the correlations of all draws, for two-sided twice the smaller one-sided p."""
    upper, lower = ((sign * (every - every[0]) >= -1e-10).mean(axis=0) for sign in (1, -1))
    return {"greater": upper, "less": lower, "two-sided": np.minimum(1, 2 * np.minimum(upper, lower))}[tail]


def names(n):
    return [f"dyad{row + 1:02d}" for row in range(n)]


def shuffles(n_units, n=10_000, seed=1, **options):
    return exchanges(names(n_units), n=n, seed=seed, **options)


def sample(n_units, n_features, n_covariates=0, seed=0):
    """Features, outcome, and nuisance variables with an intercept."""
    random = np.random.default_rng(seed)
    nuisance = np.column_stack([np.ones(n_units), random.standard_normal((n_units, n_covariates))])
    outcome = random.standard_normal(n_units) + nuisance[:, 1:].sum(axis=1)
    return random.standard_normal((n_units, n_features)) + 0.5 * outcome[:, None], outcome, nuisance


def least_squares(x, y, nuisance):
    """Slope and t of x in the regression of y on x and nuisance, and the partial correlation."""
    design = np.column_stack([x, nuisance])
    inverse = np.linalg.inv(design.T @ design)
    weights = inverse @ design.T @ y
    freedom = len(y) - design.shape[1]
    t = weights[0] / np.sqrt(((y - design @ weights) ** 2).sum() / freedom * inverse[0, 0])
    return weights[0], t, t / np.sqrt(t**2 + freedom)


def slow_correlations(values, outcome, nuisance, orders):
    """Freedman and Lane as it is written: fitted values plus permuted residuals, regressed anew."""
    fitted = nuisance @ np.linalg.lstsq(nuisance, outcome)[0]
    made = fitted + (outcome - fitted)[orders]
    return np.array([[least_squares(x, y, nuisance)[2] for x in values.T] for y in made])


# --- the permutations -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2, 4, 5])
def test_all_permutations_are_listed_in_order(n):
    plan = shuffles(n)
    assert (plan.listed, plan.n) == (True, factorial(n) - 1)
    assert_array_equal(plan.take(0, plan.n + 1), list(permutations(range(n))))


def test_permutations_within_blocks_are_listed_by_their_product():
    plan = exchanges(["1", "2", "1", "3", "2"], ["b", "b", "a", "a", "a"], 5, 0)
    assert plan.n == 2 * 6 - 1
    got = plan.take(0, 12)
    a, b = [2, 4, 3], [0, 1]  # units of each block in the order of their labels
    expected = np.tile(np.arange(5), (12, 1))
    for row, (first, second) in enumerate(product(permutations(a), permutations(b))):
        expected[row, a], expected[row, b] = first, second
    assert_array_equal(got, expected)


def test_ten_units_are_drawn_and_nine_listed():
    assert shuffles(9).listed
    assert not shuffles(10).listed
    assert shuffles(10, n=4_000_000).n == factorial(10) - 1


def test_draws_depend_on_labels_and_number_only():
    plan = exchanges(names(16), ["x"] * 7 + ["y"] * 9, 400, 3)
    assert not plan.listed
    whole = plan.take(0, 401)
    assert_array_equal(whole[0], np.arange(16))
    assert_array_equal(np.sort(whole, axis=1), np.tile(np.arange(16), (401, 1)))
    assert_array_equal(np.sort(whole[:, :7], axis=1), np.tile(np.arange(7), (401, 1)))
    assert_array_equal(whole, np.concatenate([plan.take(a, b) for a, b in ((0, 7), (7, 300), (300, 401))]))
    turned = exchanges(names(16)[::-1], plan.design.strata[::-1], 400, 3).take(0, 401)
    assert_array_equal(turned[:, ::-1], 15 - whole)
    other = replace(plan, seed=4).take(0, 401)
    assert (other != whole).any()
    assert np.bincount(whole[1:, 0], minlength=7).min() > 30


def test_an_empty_exchange_and_odd_numbers_are_refused():
    plan_refusal(partial(exchanges, ["a", "b"], ["x", "y"], 100, 0), "no two units may be exchanged")
    plan_refusal(partial(shuffles, 5, n=0), "0 draws were asked for")
    plan_refusal(partial(shuffles, 5, seed=-1), "seed -1")


# --- the test ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("n", [4, 6])
def test_exact_p_equals_scipy_without_covariates(n, tail):
    from scipy.stats import pearsonr, permutation_test

    values, y, nuisance = sample(n, 3, seed=n)
    got = freedman_lane(values, y, nuisance, shuffles(n), tail=tail, correct=[])
    for at, x in enumerate(values.T):

        def correlation(other, x=x):
            return pearsonr(x, other).statistic

        expected = permutation_test(
            (y,), correlation, permutation_type="pairings", alternative=tail, n_resamples=np.inf
        )
        assert_allclose(got["p"][at], expected.pvalue, rtol=1e-13)
    assert_allclose(got["group_statistic"], [pearsonr(x, y).statistic for x in values.T], rtol=1e-12)


@pytest.mark.parametrize("n_covariates", [0, 1, 3])
def test_values_are_those_of_least_squares(n_covariates):
    values, y, nuisance = sample(12, 5, n_covariates)
    got = freedman_lane(values, y, nuisance, shuffles(12, n=50), correct=[])
    expected = np.array([least_squares(x, y, nuisance) for x in values.T]).T
    for name, want in zip(("slope", "t", "group_statistic"), expected, strict=True):
        assert_allclose(got[name], want, rtol=1e-10, err_msg=name)


@pytest.mark.parametrize("tail", TAILS)
def test_p_values_equal_the_slow_form(tail):
    values, y, nuisance = sample(8, 4, 2, seed=3)
    plan = shuffles(8, n=300, list_up_to=1)
    got = freedman_lane(values, y, nuisance, plan, tail=tail, correct=["fdr", "max"])
    every = slow_correlations(values, y, nuisance, plan.take(0, 301))
    p = p_of(every, tail)
    every = ORIENT[tail](every)
    assert_allclose(got["p"], p, rtol=1e-12)
    assert_allclose(got["p_fdr"], adjust_fdr(p), rtol=1e-12)
    single = (every.max(axis=1)[:, None] >= every[0] - 1e-10).mean(axis=0)
    assert_allclose(got["p_max_single"], np.fmax(p, single), rtol=1e-12)
    rank = np.argsort(-every[0])
    step = [(every[:, rank[at:]].max(axis=1) >= every[0, rank[at]] - 1e-10).mean() for at in range(4)]
    assert_allclose(got["p_max"][rank], np.fmax(p[rank], np.maximum.accumulate(step)), rtol=1e-12)
    assert (got["p_max"] <= got["p_max_single"]).all()
    assert_allclose(got["null_max"], (every[1:] * np.sqrt(5)).max(axis=1), rtol=1e-6)


def test_residuals_are_orthogonal_to_the_nuisance_variables():
    values, y, nuisance = sample(15, 6, 3)
    nuisance = np.column_stack([nuisance, 1e6 * nuisance[:, 1] + 1e3])  # repeats a column on another scale
    test = FreedmanLane(values, y, nuisance, shuffles(15, n=20))
    assert_allclose(nuisance.T @ test.residual / np.linalg.norm(nuisance, axis=0), 0, atol=1e-11)
    assert basis_of(nuisance).shape == (15, 4)
    fitted = nuisance @ np.linalg.lstsq(nuisance, y)[0]
    assert_allclose(test.residual, y - fitted, atol=1e-9)
    assert_allclose(residuals(values, basis_of(np.empty((15, 0)))), values)


def test_with_an_intercept_alone_it_is_the_plain_permutation():
    values, y, nuisance = sample(11, 4)
    plan = shuffles(11, n=200)
    got = freedman_lane(values, y, nuisance, plan, correct=[])
    plain = np.array([[np.corrcoef(x, y[order])[0, 1] for x in values.T] for order in plan.take(0, 201)])
    assert_allclose(got["p"], p_of(plain, "two-sided"), rtol=1e-12)


def test_the_null_deviation_is_that_of_all_permutations():
    random = np.random.default_rng(4)
    strata, units = ["a"] * 3 + ["b"] * 4, ["1", "2", "3", "1", "2", "3", "4"]
    nuisance = (np.array(strata)[:, None] == ["a", "b"]).astype(float)
    values, y = random.standard_normal((7, 3)), random.standard_normal(7) * [3, 3, 3, 1, 1, 1, 1]
    plan = exchanges(units, strata, 10, 0)
    test = FreedmanLane(values, y, nuisance, plan)
    every = slow_correlations(values, y, nuisance, plan.take(0, 144))
    assert_allclose(every.mean(axis=0), 0, atol=1e-12)
    assert_allclose(test.described()["group_null_sd"], every.std(axis=0), rtol=1e-10)
    values, y, nuisance = sample(9, 3, 2)
    assert_allclose(freedman_lane(values, y, nuisance, shuffles(9), correct=[])["group_null_sd"], 1 / np.sqrt(6))


def test_missing_values_leave_a_unit_out_of_that_feature():
    values, y, nuisance = sample(10, 6, 1)
    values[[1, 4], 1] = np.nan
    values[3:, 2] = np.nan
    values[:, 3] = np.nan
    values[:, 4] = 0.25
    plan = shuffles(10, n=200)
    got = freedman_lane(values, y, nuisance, plan, correct=["max"])
    assert_array_equal(got["n_units"], [10, 8, 3, 0, 10, 10])
    assert_array_equal(np.isfinite(got["p"]), [True, True, False, False, False, True])
    assert_array_equal(got["exceedances"][[2, 3, 4]], -1)
    kept = np.isfinite(values[:, 1])
    slope, t, r = least_squares(values[kept, 1], y[kept], nuisance[kept])
    assert_allclose([got["slope"][1], got["t"][1], got["group_statistic"][1]], [slope, t, r], rtol=1e-10)
    e = residuals(y, basis_of(nuisance))
    drawn = [least_squares(values[kept, 1], e[order][kept], nuisance[kept])[2] for order in plan.take(0, 201)]
    assert_allclose(drawn[0], r, rtol=1e-10)
    assert_allclose(got["p"][1], p_of(np.array(drawn), "two-sided"), rtol=1e-12)


def test_tied_outcomes_have_a_larger_smallest_p():
    values, _, nuisance = sample(6, 2)
    outcome = np.array([0.0, 0, 0, 1, 1, 1])
    test = FreedmanLane(values, outcome, nuisance, shuffles(6))
    assert test.n_ways == 20
    best = freedman_lane(np.array([[0.1, 0, 0, 1, 1, 1.1]]).T, outcome, nuisance, shuffles(6), correct=[])
    assert_allclose(best["p"], 2 / 20)

    def caution(test, correct, tail="greater"):
        settings = Settings(tail=tail, correct=correct)
        return attainable(settings, test.n_tested, test.draws, n_ways=test.n_ways)

    assert caution(test, ["max"]) == ""
    assert "only 20 permutations that differ (smallest p 0.05)" in caution(test, ["fdr"])
    assert "(smallest p 0.1)" in caution(test, ["fdr"], "two-sided")
    assert "n=39 draws" in caution(FreedmanLane(*sample(12, 2), shuffles(12, n=20)), ["fdr"])


def test_batches_do_not_show(monkeypatch):
    values, y, nuisance = sample(12, 9, 1)
    values[2, 3:5] = np.nan
    groups = np.arange(9) % 2
    found = []
    for size in (1 << 20, 1):
        monkeypatch.setattr(loop, "_BLOCK_VALUES", size)
        monkeypatch.setattr(loop, "RANGE_VALUES", size)
        found.append(freedman_lane(values, y, nuisance, shuffles(12, n=500), groups=groups, correct=["fdr", "max"]))
    for name, whole in found[0].items():
        if name in ("null_max", "pooled_statistic"):
            assert_allclose(whole, found[1][name], rtol=1e-6)
        else:
            assert_array_equal(whole, found[1][name], err_msg=name)
    assert_array_equal(found[0]["null_hist"].sum(axis=1), [500, 500])
    assert_allclose(found[0]["pooled_statistic"][1], found[0]["group_statistic"][1::2].mean())


@pytest.mark.slow
def test_false_positives_with_a_covariate_that_goes_with_both():
    """Of 1500 studies of 20 dyads: within the 99.9 % binomial band of 5 %, where the raw correlation fails."""
    from scipy.stats import binom

    random = np.random.default_rng(8)
    plan = shuffles(20, n=199)
    found = {"freedman-lane": 0, "raw": 0}
    for number in range(1500):
        z = random.standard_normal(20)
        x = 0.7 * z + np.sqrt(1 - 0.49) * random.standard_normal(20)
        y = z + random.standard_normal(20)
        one, both = np.ones((20, 1)), np.column_stack([np.ones(20), z])
        for name, nuisance in (("raw", one), ("freedman-lane", both)):
            got = freedman_lane(x[:, None], y, nuisance, replace(plan, seed=number), correct=[])
            found[name] += int(got["p"][0] <= 0.05)
    low, high = binom.ppf([0.0005, 0.9995], 1500, 0.05)
    assert low <= found["freedman-lane"] <= high
    assert found["raw"] > 0.2 * 1500


# --- the face ---------------------------------------------------------------------------------------------------------


def of_dyads(values):
    return dict(zip(names(len(values)), values, strict=True))


def by_session(table):
    """Values [dyad, session] by (dyad, session)."""
    return {(d, f"ses-{s + 1}"): v for d, row in zip(names(len(table)), table, strict=True) for s, v in enumerate(row)}


def grid(real, n_sessions):
    """Coherence [dyad, session, feature] of `make_real`."""
    values = real["coherence"].to_numpy()
    return values.reshape(n_sessions, -1, *values.shape[1:]).swapaxes(0, 1).reshape(-1, n_sessions, values[0].size)


@pytest.fixture(scope="module")
def real():
    return make_real(12, 3)


@pytest.fixture(scope="module")
def symptoms(real):
    """An outcome that goes with the synchrony of the coupled channels."""
    there = real["coherence"].sel(epoch="talk", channel_a="S2_D1", channel_b="S2_D2", band="task").to_numpy()
    return 20 + 60 * there.reshape(3, 12).mean(axis=0) + 0.1 * np.random.default_rng(3).standard_normal(12)


def test_the_planted_association_is_found(real, symptoms):
    age = np.random.default_rng(5).uniform(20, 60, 12)
    got = ibsync.outcome(real, of_dyads(symptoms), covariates={"age": of_dyads(age)}, n=2000, correct=["max"])
    ds = got.dataset
    means = grid(real, 3).mean(axis=1)
    assert_allclose(ds["value"].values.reshape(12, -1), means, rtol=1e-12)
    assert_allclose(ds["outcome"].values, symptoms)
    nuisance = np.column_stack([np.ones(12), age])
    slope, t, r = np.array([least_squares(x, symptoms, nuisance) for x in means.T]).T
    for name, want in (("slope", slope), ("t", t), ("group_statistic", r)):
        assert_allclose(ds[name].values.ravel(), want, rtol=1e-8, err_msg=name)
    there = {"epoch": "talk", "channel_a": "S2_D1", "channel_b": "S2_D2", "band": "task"}
    assert ds["p_max"].sel(there).item() == 2 / 2001
    assert_array_equal(ds["n_dyads"], 12)
    assert ds.attrs["null_kind"] == "outcome"
    assert "session" not in ds.coords
    assert got.to_frame().shape[0] == 144 * 13


def test_sentences_say_what_was_tested(real, symptoms):
    values = of_dyads(symptoms)
    values["dyad04"] = np.nan
    del values["dyad07"]
    with pytest.warns(RuntimeWarning, match="dyads 'dyad04', 'dyad07' are left out, without 'outcome'"):
        got = outcome(real, values, covariates={"age": of_dyads(np.arange(12.0) ** 2)}, n=6000)
    assert_array_equal(got.dataset["n_dyads"], 10)
    assert got.dataset.attrs["left_out"] in got.methods()
    assert got.dataset.attrs["left_out"] in str(got)
    said = "an association of synchrony with 'outcome', given 'age', over dyads"
    assert said in got.headline
    assert got.hypothesis.startswith(f"Tested: {said}, against the hypothesis that the outcome is as likely to go with")
    assert "nor does it show that one causes the other" in got.hypothesis
    assert "what the covariates leave of the outcome (Freedman & Lane 1983) permuted over dyads" in got.methods()
    assert "Freedman & Lane 1983, J. Bus. Econ. Stat. 1:292" in got.methods()
    assert "correlation 0.9" in str(got)
    plain = outcome(real, of_dyads(symptoms), tail="greater", n=3000, correct=["max"])
    assert "a positive association of synchrony with 'outcome' over dyads" in plain.headline
    assert "Freedman" not in plain.methods()
    later = association_in_words("y", [], level="within", outcome_level="mean", ahead=2)
    assert later == "association of synchrony with 'y' 2 sessions later over the sessions of each dyad"


def test_a_result_is_taken_less_the_mean_of_its_null(symptoms):
    result = make_result(12)
    got = outcome(result, of_dyads(symptoms), n=100, correct=[])
    ds = result.dataset
    assert_allclose(got.dataset["value"].values, ds["coherence"].values - ds["null_mean"].values)
    assert "taken less the mean of its null" in got.methods()
    raw = outcome(make_real(12), of_dyads(symptoms), n=100, correct=[])
    assert "less the mean" not in raw.methods()


def test_it_is_saved_and_read_back(tmp_path, real, symptoms):
    got = outcome(real, of_dyads(symptoms), n=6000)
    back = ibsync.load(got.save(tmp_path / "outcome.h5"))
    assert (back.headline, back.methods(), back.hypothesis) == (got.headline, got.methods(), got.hypothesis)
    assert "association of synchrony" in ibsync.report(back, tmp_path / "outcome.html").read_text(encoding="utf-8")


def test_names_are_found_in_the_data_and_in_the_study(tmp_path, real, symptoms):
    carried = real.assign_coords(outcome_symptoms=("dyad", np.tile(symptoms, 3)), age=("dyad", np.tile(symptoms**2, 3)))
    by_name = outcome(carried, "symptoms", covariates=["age"], n=200, correct=[])
    given = outcome(real, of_dyads(symptoms), covariates={"a": of_dyads(symptoms**2)}, n=200, correct=[])
    assert_array_equal(by_name.dataset["p"], given.dataset["p"])
    assert by_name.dataset.attrs["outcome"] == "symptoms"
    study = ibsync.simulate(tmp_path / "s.h5", n_dyads=5, n_channels=1, duration=120.0, seed=1)
    spec = ibsync.WTC(bands={"task": (0.03, 0.08)}, accuracy="fast")
    planted = partial(outcome, study.synchrony(spec), study=study, correct=[])
    plan_refusal(partial(planted, "simulated_coupling"), "outcome 'simulated_coupling' is the same for all dyads")
    plan_refusal(partial(planted, "simulated_couplin"), "did you mean 'simulated_coupling'?")
    plan_refusal(
        partial(planted, {row.dyad: float(k) for k, row in enumerate(study.dyads)}, covariates=["simulated_coupling"]),
        "covariate 'simulated_coupling' is the same for all dyads",
    )


def test_a_series_gives_its_name(real, symptoms):
    import pandas as pd

    series = pd.Series(symptoms, index=names(12), name="symptoms")
    assert outcome(real, series, n=50, correct=[]).dataset.attrs["outcome"] == "symptoms"
    sessions = pd.Series(by_session(np.random.default_rng(0).standard_normal((12, 3))), name="mood")
    got = outcome(real, sessions, level="within", n=50, correct=[])
    assert_allclose(got.dataset["outcome"].values.reshape(12, 3), sessions.unstack().to_numpy())


# --- sessions ---------------------------------------------------------------------------------------------------------


def test_within_relates_deviations_from_the_mean_of_each_dyad(real):
    y = np.random.default_rng(6).standard_normal((12, 3)) + np.arange(12.0)[:, None]
    got = outcome(real, by_session(y), level="within", n=300, correct=[]).dataset
    x = grid(real, 3)
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    r = np.einsum("dsf,ds->f", x, y) / np.sqrt((x**2).sum(axis=(0, 1)) * (y**2).sum())
    assert_allclose(got["group_statistic"].values.ravel(), r, rtol=1e-9)
    assert_array_equal(got["session"].values.reshape(12, 3), [["ses-1", "ses-2", "ses-3"]] * 12)
    assert_array_equal(got["n_dyads"], 12)
    plan = exchanges(got["session"].values.tolist(), got["dyad"].values.tolist(), 300, 0)
    orders = plan.take(0, 301)
    assert_array_equal(orders // 3, np.tile(np.repeat(np.arange(12), 3), (301, 1)))
    drawn = y.reshape(-1)[orders] @ x.reshape(36, -1) / np.sqrt((x**2).sum(axis=(0, 1)) * (y**2).sum())
    assert_allclose(got["p"].values.ravel(), p_of(drawn, "two-sided"), rtol=1e-12)


def test_lag_pairs_a_session_with_the_outcome_of_a_later_one(real):
    random = np.random.default_rng(7)
    y = random.standard_normal((12, 5))  # outcomes of sessions 4 and 5 were taken without recordings
    y[3, 2] = np.nan
    x = grid(real, 3)
    with pytest.warns(RuntimeWarning, match="session 'ses-1' of dyad 'dyad04' is left out, without 'outcome'"):
        got = outcome(real, by_session(y), level="within", ahead=2, n=40, correct=[]).dataset
    keep = np.isfinite(y[:, 2:5])
    keep[keep.sum(axis=1) < 2] = False
    assert_allclose(got["outcome"].values, y[:, 2:5][keep])
    assert_allclose(got["value"].values.reshape(-1, 144), x[keep])
    with pytest.warns(RuntimeWarning, match="session 'ses-2' of dyad 'dyad04' is left out, without 'outcome'"):
        means = outcome(real, by_session(y[:, :3]), ahead=1, n=40, correct=[]).dataset
    later = np.where(np.isfinite(y[:, 1:3]), y[:, 1:3], np.nan)
    assert_allclose(means["outcome"].values, np.nanmean(later, axis=1))
    assert_allclose(means["value"].values[3].ravel(), x[3, 0])
    assert_allclose(means["value"].values[0].ravel(), x[0, :2].mean(axis=0))


def test_slopes_over_sessions(real, symptoms):
    holes = real.copy(deep=True)
    holes["coherence"].values[1, 0, 0, 0, 0] = np.nan  # dyad02 lacks a feature in its first session
    got = outcome(holes, of_dyads(symptoms), level="slope", n=40, correct=[]).dataset
    x = grid(holes, 3)
    assert_allclose(got["value"].values[0].ravel(), np.polyfit([1, 2, 3], x[0], 1)[0], rtol=1e-9)
    assert_allclose(got["value"].values[1].ravel()[0], x[1, 2, 0] - x[1, 1, 0], rtol=1e-9)
    spoken = outcome(real, of_dyads(symptoms), level="slope", n=40, correct=[])
    assert "the slope of synchrony over sessions with 'outcome' over dyads" in spoken.headline


def test_the_number_of_the_session_takes_out_a_common_trend(real):
    random = np.random.default_rng(9)
    y = 3 * np.arange(3.0) + 0.01 * random.standard_normal((12, 3))
    grown = real.copy(deep=True)
    grown["coherence"].values[:] += np.repeat([0.0, 0.1, 0.2], 12)[:, None, None, None, None]
    plain, detrended = (
        outcome(grown, by_session(y), level="within", covariates=c, n=300, correct=[]).dataset
        for c in ([], ["session"])
    )
    assert (plain["p"] < 0.05).mean() > 0.9
    assert (detrended["p"] < 0.05).mean() < 0.2


def test_sessions_are_ordered_by_number_or_as_told(real, symptoms):
    renamed = real.assign_coords(session=("dyad", np.repeat(["pre", "mid", "post"], 12)))
    slope = partial(outcome, renamed, of_dyads(symptoms), level="slope", n=40, correct=[])
    plan_refusal(slope, "do not tell their order; give time=")
    told = slope(time=["pre", "mid", "post"]).dataset
    assert_allclose(told["value"].values[0].ravel(), np.polyfit([1, 2, 3], grid(real, 3)[0], 1)[0], rtol=1e-9)
    plan_refusal(partial(slope, time=["pre", "post"]), "time lacks session 'mid'")
    plan_refusal(partial(slope, time=["pre", "mid", "post", "pre"]), "names a session twice")
    tens = real.assign_coords(session=("dyad", np.repeat(["ses-2", "ses-10", "ses-11"], 12)))
    later = {(d, f"ses-{s}"): float(s) + len(d) + k for k, d in enumerate(names(12)) for s in (2, 10, 11)}
    got = outcome(tens, later, ahead=1, n=40, correct=[]).dataset
    assert_allclose(got["outcome"].values, 10.5 + 6 + np.arange(12))


# --- shared persons ---------------------------------------------------------------------------------------------------


def test_clients_of_one_therapist_exchange_among_themselves(real, symptoms):
    person = np.tile(np.repeat(["t1", "t2", "t3"], [3, 4, 5]), 3)
    person = np.where(person == "t3", real["person_a"].values, person)
    clients = real.assign_coords(person_a=("dyad", person))
    got = outcome(clients, of_dyads(symptoms), n=100, correct=[])
    assert got.dataset.attrs["n"] == factorial(3) * factorial(4) * factorial(5) - 1
    x = grid(real, 3).mean(axis=1)
    strata = np.repeat(np.eye(3), [3, 4, 5], axis=0)
    r = [least_squares(one, symptoms, strata)[2] for one in x.T]
    assert_allclose(got.dataset["group_statistic"].values.ravel(), r, rtol=1e-9)
    assert "permuted over dyads that share a person" in got.methods()


def test_a_round_robin_is_refused(real, symptoms):
    a, b = real["person_a"].values.copy(), real["person_b"].values.copy()
    a[::12], b[::12], a[1::12], b[1::12], a[2::12], b[2::12] = "p", "q", "q", "r", "r", "p"
    robin = real.assign_coords(person_a=("dyad", a), person_b=("dyad", b))
    plan_refusal(
        partial(outcome, robin, of_dyads(symptoms)), "'dyad01', 'dyad02', 'dyad03' are tied through several persons"
    )


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_what_cannot_be_tested_is_refused_by_name(real, symptoms):
    ask = partial(outcome, real, of_dyads(symptoms), n=100, correct=[])
    x = of_dyads(np.arange(12.0) ** 2)
    many = {f"c{k}": of_dyads(np.random.default_rng(k).standard_normal(12)) for k in range(10)}
    plan_refusal(partial(ask, covariates=many), "10 covariates are too many for 12 dyads; name at most 9")
    same, line = of_dyads(np.full(12, 3.5)), of_dyads(np.arange(12.0))
    plan_refusal(partial(ask, covariates={"site": same}), "covariate 'site' is the same for all dyads")
    twice = {"x": x, "y": of_dyads(2 * np.arange(12.0) ** 2 + 5)}
    plan_refusal(partial(ask, covariates=twice), "covariate 'y' is a weighted sum of the others")
    plan_refusal(partial(ask, covariates={"copy": of_dyads(2 * symptoms)}), "explain outcome 'outcome' entirely")
    plan_refusal(partial(ask, covariates="age"), "give a list, ['age']")
    plan_refusal(partial(ask, covariates=["group"]), "all dyads have one 'group'; leave this covariate out")
    plan_refusal(partial(ask, covariates=["age"]), "there is no covariate 'age'; give study=")
    plan_refusal(partial(ask, level="beside"), "level='beside' is unknown; valid are 'mean'")
    plan_refusal(partial(ask, ahead=-1), "ahead=-1")
    plan_refusal(partial(ask, ahead=1, level="slope"), "use it with level='mean' or 'within'")
    plan_refusal(partial(ask, tail="both"), "tail='both' is unknown")
    plan_refusal(partial(ask, correct=["tfce"]), "correct='tfce' is not offered")
    plan_refusal(partial(ask, level="within"), "varies over the sessions of no dyad")
    plan_refusal(partial(ask, n=100, correct=["fdr"]), "need n=5759 draws, 100 were asked for")
    with pytest.warns(RuntimeWarning, match="no single finding could pass 'fdr'"):
        ask(correct=None)
    other = partial(outcome, real, n=100, correct=[])
    plan_refusal(partial(other, same), "outcome 'outcome' is the same for all dyads")
    plan_refusal(partial(other, {"dyad01": 1.0, "dyad02": 2.0, "dyad03": 4.0}), "needs 4 dyads with all values, 3 have")
    plan_refusal(partial(other, line | {"dyad05": "high"}), "outcome of 'dyad05' is 'high'; give a finite number")
    plan_refusal(partial(other, {("dyad01", "ses-1", "x"): 1.0}), "use a dyad or (dyad, session)")
    plan_refusal(partial(other, 3.5), "outcome is neither a name nor values by dyad")
