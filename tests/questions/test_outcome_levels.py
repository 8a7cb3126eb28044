"""Levels and changes of outcomes, their parts within and between dyads, intervals, and what the data may lack."""

from functools import partial
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from fake_results import make_real
from numpy.testing import assert_allclose, assert_array_equal
from permuted import p_of_draws
from permuted import permutations as exchanges
from refusals import plan_refusal
from scipy.stats import binom, pearsonr

import ibsync
from ibsync.inference.partial_correlation import FreedmanLane
from ibsync.questions.outcome import outcome, outcome_parts

SESSIONS = ["ses-1", "ses-2", "ses-3"]


def names(n):
    return [f"dyad{row + 1:02d}" for row in range(n)]


def by_session(table, sessions=SESSIONS):
    """Values [dyad, session] by (dyad, session); those missing are left away."""
    return {
        (dyad, label): v
        for dyad, row in zip(names(len(table)), table, strict=True)
        for label, v in zip(sessions, row, strict=True)
        if np.isfinite(v)
    }


def grid(real, n_sessions):
    """Coherence [dyad, session, feature] of `make_real`."""
    values = real["coherence"].to_numpy()
    return values.reshape(n_sessions, -1, *values.shape[1:]).swapaxes(0, 1).reshape(-1, n_sessions, values[0].size)


@pytest.fixture(scope="module")
def real():
    return make_real(12, 3).isel(epoch=[0], channel_a=[2], channel_b=[2, 3])


@pytest.fixture(scope="module")
def scores():
    return 20 + np.random.default_rng(4).standard_normal((12, 3)).cumsum(axis=1)


# --- levels of the outcome --------------------------------------------------------------------------------------------


def test_the_change_of_an_outcome_is_last_less_first(real, scores):
    holes = scores.copy()
    holes[2, 2] = holes[3, 0] = np.nan
    expected = holes[:, 2] - holes[:, 0]
    expected[2], expected[3] = holes[2, 1] - holes[2, 0], holes[3, 2] - holes[3, 1]
    change = partial(outcome, real, by_session(holes), outcome_level="change", n=50, correct=[])
    for level, x in (("mean", grid(real, 3).mean(axis=1)), ("slope", np.polyfit([1, 2, 3], grid(real, 3)[0], 1)[0])):
        got = change(level=level)
        assert_allclose(got.dataset["outcome"], expected)
        assert_allclose(got.dataset["value"].values.reshape(12, -1)[0], x[0] if level == "mean" else x, rtol=1e-9)
    assert "the slope of synchrony over sessions with the change in 'outcome' over dyads" in got.headline
    assert got.dataset.attrs["entered"] == "12 dyads with 36 sessions of synchrony and 34 values of 'outcome'"
    assert "12 dyads with 36 sessions of synchrony and 34 values of 'outcome' entered." in got.methods()


def test_the_slope_of_an_outcome_is_over_the_numbers_of_sessions(real, scores):
    later = real.assign_coords(session=("dyad", np.repeat(["1", "2", "10"], 12)))
    values = by_session(scores, ["1", "2", "10"])
    got = outcome(later, values, level="slope", outcome_level="slope", n=50, correct=[]).dataset
    assert_allclose(got["outcome"], np.polyfit([1, 2, 10], scores.T, 1)[0], rtol=1e-9)
    x = np.polyfit([1, 2, 10], grid(real, 3)[5], 1)[0]
    assert_allclose(got["value"].values[5].ravel(), x, rtol=1e-9)
    named = {"level": "slope", "outcome_level": "slope", "n": 50, "correct": [], "time": ["1", "2", "10"]}
    assert_allclose(
        outcome(later, values, **named).dataset["outcome"], np.polyfit([1, 2, 3], scores.T, 1)[0], rtol=1e-9
    )


def test_the_first_value_is_held_constant_as_baseline(real, scores):
    got = outcome(real, by_session(scores), outcome_level="change", covariates=["baseline"], n=50, correct=[])
    by_hand = outcome(
        real, dict(zip(names(12), scores[:, 2], strict=True)),
        covariates={"first": dict(zip(names(12), scores[:, 0], strict=True))}, n=50, correct=[],
    )  # fmt: skip
    # Change given the first value and last value given the first value are one regression.
    assert_allclose(got.dataset["slope"], by_hand.dataset["slope"], rtol=1e-8)
    assert_array_equal(got.dataset["p"], by_hand.dataset["p"])
    assert "given 'baseline'" in got.headline


def test_a_dyad_with_one_value_has_no_change(real, scores):
    holes = scores.copy()
    holes[4, 1:] = np.nan
    with pytest.warns(RuntimeWarning, match="dyad 'dyad05' is left out, without 'outcome' in two sessions"):
        got = outcome(real, by_session(holes), outcome_level="change", n=50, correct=[])
    assert got.dataset.sizes["dyad"] == 11


# --- within and between -----------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:the outcome scatters")
def test_parts_between_and_within_may_differ_in_sign(real):
    random = np.random.default_rng(1)
    x = random.standard_normal((12, 1)) + 0.5 * random.standard_normal((12, 3))
    y = 2 * x.mean(axis=1, keepdims=True) - 3 * (x - x.mean(axis=1, keepdims=True))
    y += 0.1 * random.standard_normal((12, 3))
    y[3, 1] = np.nan
    planted = real.isel(channel_b=[0], band=[0]).copy(deep=True)
    planted["coherence"].values[:, 0, 0, 0, 0] = x.T.ravel()
    age = dict(zip(names(12), random.standard_normal(12), strict=True))
    with pytest.warns(RuntimeWarning, match="session 'ses-2' of dyad 'dyad04' is left out, without 'outcome'"):
        got = outcome_parts(planted, by_session(y), covariates={"age": age}, n=500, correct=[])
    assert list(got) == ["between", "within"]
    r = {name: part.dataset["group_statistic"].item() for name, part in got.items()}
    assert r["between"] > 0.9
    assert r["within"] < -0.9
    seen = np.where(np.isfinite(y), x, np.nan)
    assert_allclose(got["between"].dataset["value"].values.ravel(), np.nanmean(seen, axis=1), rtol=1e-12)
    dx, dy = (v - np.nanmean(v, axis=1, keepdims=True) for v in (seen, y))
    assert_allclose(r["within"], np.nansum(dx * dy) / np.sqrt(np.nansum(dx**2) * np.nansum(dy**2)), rtol=1e-9)
    # The age of a dyad does not vary over its sessions.
    assert got["between"].dataset.attrs["covariates"] == '["age"]'
    assert got["within"].dataset.attrs["covariates"] == "[]"
    assert got["within"].dataset.attrs["entered"] == "12 dyads with 35 sessions"
    assert "over the sessions of each dyad" in got["within"].headline


def test_the_number_of_the_session_enters_within_alone(real, scores):
    got = outcome_parts(real, by_session(scores), covariates=["session"], n=50, correct=[])
    assert [part.dataset.attrs["covariates"] for part in got.values()] == ["[]", '["session"]']
    same = {"site": dict.fromkeys(names(12), 3.0)}
    plan_refusal(
        lambda: outcome_parts(real, by_session(scores), covariates=same, n=50, correct=[]),
        "covariate 'site' is the same for all dyads",
    )


# --- intervals --------------------------------------------------------------------------------------------------------


def table(n, n_features, n_covariates, seed=0):
    random = np.random.default_rng(seed)
    z = np.column_stack([np.ones(n), random.standard_normal((n, n_covariates))])
    y = random.standard_normal(n) + z[:, 1:].sum(axis=1)
    return random.standard_normal((n, n_features)) + 0.5 * y[:, None], y, z


@pytest.mark.parametrize("n_covariates", [0, 2])
def test_slope_t_p_and_interval_are_those_of_statsmodels(n_covariates):
    from statsmodels.regression.linear_model import OLS

    x, y, z = table(15, 4, n_covariates)
    test = FreedmanLane(x, y, z, exchanges(names(15), n=20))
    found, interval = p_of_draws(test, correct=[]), test.intervals(alpha=0.1)
    for feature in range(4):
        fit = OLS(y, np.column_stack([x[:, feature], z])).fit()
        assert_allclose(found["slope"][feature], fit.params[0], rtol=1e-9)
        assert_allclose(found["t"][feature], fit.tvalues[0], rtol=1e-9)
        limits = [interval["student_low"][feature], interval["student_high"][feature]]
        assert_allclose(limits, fit.conf_int(0.1)[0], rtol=1e-9)
        r, freedom = found["group_statistic"][feature], 15 - n_covariates - 2
        assert_allclose(fit.tvalues[0], r * np.sqrt(freedom / (1 - r**2)), rtol=1e-9)


def test_the_interval_of_a_correlation_is_that_of_scipy():
    x, y, z = table(15, 3, 0)
    test = FreedmanLane(x, y, z, exchanges(names(15), n=20))
    interval = test.intervals(alpha=0.05)
    for feature in range(3):
        oracle = pearsonr(x[:, feature], y).confidence_interval(0.95)
        got = interval["statistic_low"][feature], interval["statistic_high"][feature]
        assert_allclose(got, (oracle.low, oracle.high), rtol=1e-9)


def test_limits_of_a_slope_are_where_permutation_begins_to_reject():
    x, y, z = table(6, 5, 0, seed=2)
    test = FreedmanLane(x, y, z, exchanges(names(6), n=20))
    low, high = (test.intervals(alpha=0.1)[f"slope_{end}"] for end in ("low", "high"))
    orders = np.array(list(permutations(range(6))))

    def p_of(slope, feature):
        left = y - slope * x[:, feature]
        r = (left - left.mean())[orders] @ (x[:, feature] - x[:, feature].mean())
        return 2 * min((r >= r[0] - 1e-12).mean(), (r <= r[0] + 1e-12).mean())

    for feature in range(5):
        assert p_of(low[feature] - 1e-6, feature) <= 0.1 < p_of(low[feature] + 1e-6, feature)
        assert p_of(high[feature] + 1e-6, feature) <= 0.1 < p_of(high[feature] - 1e-6, feature)


def test_intervals_of_slopes_cover_as_often_as_they_say():
    """800 outcomes of 6 dyads with heavy tails: 36 of 720 permutations lie outside."""
    random = np.random.default_rng(6)
    inside = 0
    plan = exchanges(names(6), n=20)
    for _ in range(800):
        x = random.standard_normal((6, 1))
        y = 2.0 * x[:, 0] + random.standard_t(3, 6)
        interval = FreedmanLane(x, y, np.ones((6, 1)), plan).intervals(alpha=0.05)
        inside += interval["slope_low"][0] <= 2.0 <= interval["slope_high"][0]
    low, high = binom.ppf([0.0005, 0.9995], 800, 0.95)
    assert low <= inside <= high


def test_an_interval_leaves_out_nothing_exactly_where_permutation_rejects(real, scores):
    wide = make_real(12, 1)
    y = dict(zip(names(12), scores[:, 0], strict=True))
    got = outcome(wide, y, n=199, correct=[]).dataset
    out = (got["slope_low"] > 0) | (got["slope_high"] < 0)
    assert 0 < out.sum() < out.size
    assert_array_equal(got["p"] <= 0.05, out)
    assert "correlation" in str(ibsync.Result(got))
    missing = wide.copy(deep=True)
    missing["coherence"].values[0, 0, 0, 0, 0] = np.nan
    got = outcome(missing, y, n=199, correct=[]).dataset
    assert np.isnan(got["slope_low"].values.ravel()[0])
    assert np.isfinite(got["student_low"].values).all()


# --- what the data may lack -------------------------------------------------------------------------------------------


def test_values_that_belong_to_no_dyad_are_told(real, scores):
    values = dict(zip([*names(11), "dyad99"], scores[:, 0], strict=True))
    with pytest.warns(RuntimeWarning, match="'outcome' of 'dyad99' is not used, there is no such dyad") as caught:
        got = outcome(real, values, n=50, correct=[])
    assert "dyad 'dyad12' is left out, without 'outcome'" in str(caught[0].message)
    assert "'dyad99'" in str(got)


def test_rows_and_labels_that_stand_twice_are_refused(real, scores):
    import xarray as xr

    values = dict(zip(names(12), scores[:, 0], strict=True))
    again = xr.concat([real, real.isel(dyad=[13])], "dyad")
    plan_refusal(lambda: outcome(again, values), "dyad 'dyad02' has session 'ses-2' twice; leave one")
    series = pd.Series([*scores[:, 0], 3.0], index=[*names(12), "dyad03"], name="mood")
    plan_refusal(lambda: outcome(real, series), "mood has 'dyad03' twice")
    plan_refusal(lambda: outcome(real, {1: 2.0, "1": 3.0}), "two values for one dyad")
    tasks = xr.concat([real, real.assign_coords(task=("dyad", ["rest"] * 36))], "dyad")
    plan_refusal(lambda: outcome(tasks, values), "'talk' and 'rest' in one session", "real.task.values == 'talk'")


def test_an_outcome_on_two_scales_is_told(real, scores):
    y = scores[:, 0] * np.where(np.arange(12) < 5, 1, 10)
    values = dict(zip(names(12), y, strict=True))
    sites = real.assign_coords(site=("dyad", np.tile(["north"] * 5 + ["south"] * 7, 3)))
    said = r"'outcome' runs from \d+\.\d+ to \d+\.\d+ in site 'north' and from \d+.* in site 'south', as if measured"
    with pytest.warns(RuntimeWarning, match=said):
        got = outcome(sites, values, n=50, correct=[])
    assert "two scales" in got.methods()
    with pytest.warns(RuntimeWarning, match="'age' runs from"):
        outcome(sites, dict(zip(names(12), scores[:, 1], strict=True)), covariates={"age": values}, n=50, correct=[])
    coded = real.assign_coords(
        site=("dyad", np.tile([1] * 5 + [2] * 7, 3)), age=("dyad", np.tile(np.arange(12) // 2, 3))
    )
    with pytest.warns(RuntimeWarning, match="in site '1' and from .* in site '2'"):
        outcome(coded, values, n=50, correct=[])
    outcome(coded.drop_vars("site"), values, n=50, correct=[])  # ages of two dyads each are no sites
    # A difference of groups on one scale is a finding, not a fault.
    shifted = dict(zip(names(12), scores[:, 0] + np.where(np.arange(12) < 5, 0, 30), strict=True))
    outcome(sites, shifted, n=50, correct=[])


def test_levels_that_do_not_go_together_are_refused(real, scores):
    ask = partial(outcome, real, by_session(scores), n=50, correct=[])
    plan_refusal(partial(ask, outcome_level="change", level="within"), "takes all sessions of a dyad, level='within'")
    plan_refusal(partial(ask, outcome_level="slope", ahead=1), "takes all sessions of a dyad, ahead single ones")
    plan_refusal(partial(ask, outcome_level="rise"), "outcome_level='rise' is unknown; valid are 'mean', 'change'")
    plan_refusal(partial(outcome_parts, real, by_session(scores), ahead=-1), "ahead=-1")
    words = real.assign_coords(session=("dyad", np.repeat(["pre", "mid", "post"], 12)))
    plan_refusal(
        partial(outcome, words, by_session(scores, ["pre", "mid", "post"]), outcome_level="change"),
        "do not tell their order; give time=",
    )


# --- what does not enter ----------------------------------------------------------------------------------------------


def test_an_empty_session_is_named_wherever_it_lies():
    real = make_real(8, 3, seed=4)
    real["coherence"].values[8 + 2] = np.nan  # dyad03 in its second session
    values = by_session(np.random.default_rng(2).standard_normal((8, 3)))
    said = "session 'ses-2' of dyad 'dyad03' is left out, it is empty"
    for level in ("mean", "between", "slope", "within"):
        with pytest.warns(RuntimeWarning, match=said):
            got = outcome(real, values, level=level, n=39, correct=[])
        assert got.dataset.attrs["left_out"] == said
        assert "8 dyads with 23 sessions" in got.dataset.attrs["entered"]


def test_between_names_sessions_and_dyads_that_lack_one_side():
    real = make_real(8, 3, seed=4)
    table = np.random.default_rng(2).standard_normal((8, 3))
    table[1, 2] = table[4] = np.nan
    values = by_session(table)
    said = "'dyad05' is left out, without a session that has synchrony and 'outcome'; session 'ses-3' of dyad 'dyad02'"
    with pytest.warns(RuntimeWarning, match=said):
        got = outcome(real, values, level="between", n=20, correct=[]).dataset
    assert got.attrs["left_out"].endswith("is left out, without 'outcome'")
    assert got.attrs["entered"] == "7 dyads with 20 sessions of synchrony and 20 values of 'outcome'"


def test_a_dyad_with_nobody_to_exchange_with_is_left_out_and_the_rest_tested_alone():
    real = make_real(9, seed=6)
    therapists = np.array(["t1"] * 4 + ["t2"] * 4 + ["t3"])
    shared = real.assign_coords(person_b=("dyad", therapists))
    values = {f"dyad{d + 1:02d}": v for d, v in enumerate(np.random.default_rng(3).normal(size=9).tolist())}
    with pytest.warns(RuntimeWarning, match="dyad 'dyad09' is left out, without a dyad to exchange outcomes with"):
        got = outcome(shared, values, n=99, correct=[]).dataset
    kept = shared.isel(dyad=slice(8))
    want = outcome(kept, {name: values[name] for name in kept["dyad"].values}, n=99, correct=[]).dataset
    assert_allclose(got["p"].values, want["p"].values)
    assert_allclose(got["group_statistic"].values, want["group_statistic"].values)
    assert (got["n_dyads"] == 8).all()
    assert got.attrs["entered"] == "8 dyads with 8 sessions of synchrony"
    few = shared.isel(dyad=[0, 1, 2, 8])
    plan_refusal(
        lambda: outcome(few, {name: values[name] for name in few["dyad"].values}, n=99, correct=[]),
        "needs 4 dyads that may exchange outcomes, 3 can: dyad 'dyad09' is left out",
    )


def test_too_few_dyads_are_refused_with_the_names_of_those_that_lack_something():
    real = make_real(5, seed=6)
    plan_refusal(
        lambda: outcome(real, {"dyad01": 1.0, "dyad02": 2.0, "dyad04": 0.5}, n=99),
        "needs 4 dyads with all values, 3 have synchrony (5) and 'outcome' (3): dyads 'dyad03', 'dyad05' are left out",
    )


def test_labels_that_do_not_meet_are_shown_side_by_side():
    real = make_real(6, 3)
    values = by_session(np.random.default_rng(1).standard_normal((6, 3)), ["1", "2", "3"])
    plan_refusal(
        lambda: outcome(real, values, level="within", n=99),
        "sessions of synchrony are 'ses-1', 'ses-2', 'ses-3', those of 'outcome' '1', '2', '3', give both the same",
    )
    strangers = {f"D{d}": float(d) for d in range(6)}
    plan_refusal(lambda: outcome(real, strangers, n=99), "'outcome' of 'D0', 'D1', 'D2'", "there is no such dyad")
