import json
from itertools import combinations, permutations, product

import numpy as np
import pytest
import xarray as xr
from fake_results import make_real, make_result
from numpy.testing import assert_allclose, assert_array_equal
from permuted import p_of_draws
from refusals import plan_refusal
from scipy.stats import binom, false_discovery_control, permutation_test, ttest_ind
from sessions import fitted, noise, quiet, study

import ibsync as ibs
from ibsync.errors import PlanError
from ibsync.inference.group_difference import GroupDifference
from ibsync.inference.slopes import MeanSlope, slopes
from ibsync.nulls.draws import Draws
from ibsync.nulls.relabelling import GroupLabels, SessionOrders
from ibsync.nulls.rematching import Matchings
from ibsync.nulls.repaired_null import RepairedNull
from ibsync.nulls.repairing import Repairing
from ibsync.questions.plasticity import plasticity


def null_of(pairs, real, *, roles=Repairing, n=500, seed=3):
    """The re-pairing null of pair values [session, i, j, feature]."""
    names = list(dict.fromkeys(real["dyad"].values.tolist()))
    design = roles.of(names, [d + "-a" for d in names], [d + "-b" for d in names])
    sessions = tuple(f"ses-{s + 1:02d}" for s in range(len(pairs)))
    return RepairedNull(pairs, Draws.plan(design, n, seed), sessions, "repair", dict(real.attrs), tasks=("talk",))


# --- slopes -----------------------------------------------------------------------------------------------------------


def test_slopes_are_those_of_polyfit_over_the_sessions_that_are_there():
    values = noise(6, 5, 3, missing=0.4)
    values[0, 1:, 2] = np.nan  # one value has no slope
    got = plasticity(study(values), tail="greater", correct=[], weights="equal").dataset
    expected = fitted(values, np.arange(1, 6))
    assert_allclose(got["value"].values.reshape(6, 3), expected, rtol=1e-11)
    assert_array_equal(got["n_sessions"], np.isfinite(values).any(axis=2).sum(axis=1))
    assert_array_equal(got["n_dyads"].values.ravel(), [6, 6, 5])
    assert_allclose(got["group_statistic"].values.ravel(), np.nanmean(expected, axis=0), rtol=1e-11)
    assert_allclose(got["slope_mean"].values.ravel(), np.nanmean(expected, axis=0), rtol=1e-11)
    assert_allclose(got["slope_sd"].values.ravel(), np.nanstd(expected, axis=0, ddof=1), rtol=1e-11)


def test_result_keeps_what_was_measured_in_each_session_in_the_order_of_time():
    values = noise(5, 4, 2, missing=0.4)
    labels = ["ses-10", "ses-2", "ses-7", "ses-1"]
    got = quiet(study(values, sessions=labels), correct=[]).dataset
    for dyad in range(5):
        there = [s for s in (3, 1, 2, 0) if np.isfinite(values[dyad, s]).any()]
        of_dyad = got.isel(dyad=dyad, nth_session=slice(len(there)))
        assert_array_equal(of_dyad["session_time"], [[10, 2, 7, 1][s] for s in there])
        assert_array_equal(of_dyad["session_value"].values.reshape(-1, 2), values[dyad, there])
        assert np.isnan(got["session_time"].values[dyad, len(there) :]).all()
    tested = make_result(5, 3, n_draws=19)
    kept = quiet(tested, correct=[]).dataset["session_value"].transpose("nth_session", "dyad", ...)
    less = (tested.dataset["coherence"] - tested.dataset["null_mean"]).values
    assert_array_equal(kept.values.reshape(less.shape), less)


@pytest.mark.parametrize("roles", [Repairing, Matchings])
def test_with_a_null_the_sessions_hold_what_it_compares(roles):
    n, fixed = 5, roles is Repairing
    pairs = pairs_of(n, 3, people=n if fixed else 2 * n)
    compared = pairs[:, np.arange(n), np.arange(n) + (0 if fixed else n)].swapaxes(0, 1)
    real = study(compared if fixed else noise(n, 3))  # with exchangeable roles both orders are averaged
    got = quiet(real, null=null_of(pairs, real, roles=roles), correct=[]).dataset
    assert_allclose(got["session_value"].values.reshape(compared.shape), compared, rtol=1e-12)
    assert_allclose(got["value"].values.reshape(5, -1), fitted(compared, [1, 2, 3]), rtol=1e-6)


def test_time_is_the_number_in_the_label_or_what_is_said():
    values = noise(7, 3)
    for labels, times in ((["1", "2", "10"], [1, 2, 10]), (["ses-10", "ses-2", "ses-07"], [10, 2, 7])):
        got = quiet(study(values, sessions=labels), correct=[]).dataset
        assert_allclose(got["value"].values.reshape(7, 2), fitted(values, times), rtol=1e-11)
    negative = quiet(study(values, sessions=["-1", "0", "1.5"]), correct=[]).dataset
    assert_allclose(negative["value"].values.reshape(7, 2), fitted(values, [-1, 0, 1.5]), rtol=1e-11)
    named = study(values, sessions=["pre", "mid", "post"])
    got = quiet(named, {"pre": 0, "mid": 20, "post": 30}, correct=[])
    assert_allclose(got.dataset["value"].values.reshape(7, 2), fitted(values, [0, 20, 30]), rtol=1e-11)
    assert "change of coherence per unit of time" in got.hypothesis


def test_days_of_each_dyad_are_taken_from_the_study():
    values = noise(7, 3)
    real = study(values)
    day = np.random.default_rng(3).permutation(100)[: real.sizes["dyad"]].astype(float)
    dated = real.assign_coords(day=("dyad", day))
    got = quiet(dated, "day", correct=[])
    for dyad in range(7):
        mine = np.flatnonzero(real["dyad"].values == f"d{dyad + 1:02d}")
        slope = np.polyfit(day[mine], values[dyad], 1)[0]
        assert_allclose(got.dataset["value"].values[dyad].ravel(), slope, rtol=1e-9)
    assert "change of coherence per day" in got.hypothesis
    assert "day" not in got.dataset.coords
    unknown = dated.copy()
    unknown["day"].values[4] = np.nan
    plan_refusal(lambda: plasticity(unknown, "day"), "dyad 'd05': session 'ses-01' has no number in 'day'")
    plan_refusal(lambda: plasticity(real, "day"), "time='day' is unknown; write 'session', 'day' where the dyads table")


def test_the_unit_of_time_changes_slopes_but_no_p():
    values = noise(12, 4, missing=0.2)
    names = ["a", "b", "c", "d"]
    real = study(values, sessions=names)
    days, seconds = ({name: unit * day for name, day in zip(names, [0, 3, 4, 9], strict=True)} for unit in (1, 86400))
    for words in ({}, {"kind": "session_order", "n": 200}):
        one, other = (quiet(real, when, **words).dataset for when in (days, seconds))
        for name in ("p", "p_max", "p_fdr", "exceedances"):
            assert_array_equal(one[name], other[name], err_msg=name)
        for name in ("group_statistic", "group_null_sd", "value", "slope_sd"):
            assert_allclose(one[name], 86400 * other[name], rtol=1e-9, err_msg=name)


def test_rows_may_stand_in_any_order():
    real = study(noise(9, 4, missing=0.3))
    shuffled = real.isel(dyad=np.random.default_rng(1).permutation(real.sizes["dyad"]))
    for words in ({}, {"kind": "session_order", "n": 300}):
        one, other = (quiet(r, **words).dataset for r in (real, shuffled))
        assert_array_equal(one["p_max"], other["p_max"])
        assert_allclose(one["value"], other["value"].sel(dyad=one["dyad"]), rtol=1e-12)


def test_slopes_of_any_shape():
    values = np.random.default_rng(2).random((4, 3, 2, 5))
    values[np.random.default_rng(3).random(values.shape) < 0.5] = np.nan
    times = np.array([0.0, 1.0, 5.0, 7.0])
    got = slopes(values, times)
    for place in np.ndindex(got.shape):
        y = values[(slice(None), *place)]
        there = np.isfinite(y)
        expected = np.polyfit(times[there], y[there], 1)[0] if there.sum() > 1 else np.nan
        assert_allclose(got[place], expected, rtol=1e-10)


# --- p-values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tail", ["greater", "less", "two-sided"])
def test_sign_flips_are_those_of_scipy(tail):
    values = noise(8, 4, growth=0.01, missing=0.2)
    got = quiet(study(values), tail=tail, weights="equal").dataset
    for feature, slope in enumerate(fitted(values, np.arange(4)).T):
        oracle = permutation_test(
            (slope,), lambda x, axis: x.mean(axis=axis), permutation_type="samples", n_resamples=np.inf,
            alternative=tail, vectorized=True,
        )  # fmt: skip
        assert_allclose(got["p"].values.ravel()[feature], oracle.pvalue, rtol=1e-12)
    assert got.attrs["exact"] == 1
    assert got.attrs["min_p"] == (2 if tail == "two-sided" else 1) / 2**8
    assert_allclose(got["p_fdr"].values.ravel(), false_discovery_control(got["p"].values.ravel()))


@pytest.mark.parametrize("tail", ["greater", "less", "two-sided"])
def test_groups_are_compared_as_scipy_does(tail):
    values = noise(9, 3, growth=0.01)
    groups = ["train"] * 4 + ["wait"] * 5
    got = quiet(study(values, groups=groups), between=("wait", "train"), tail=tail).dataset
    slope = fitted(values, np.arange(3))
    for feature in range(2):
        oracle = permutation_test(
            (slope[4:, feature], slope[:4, feature]),
            lambda x, y, axis: ttest_ind(x, y, axis=axis, equal_var=False).statistic,
            n_resamples=np.inf, alternative=tail, vectorized=True,
        )  # fmt: skip
        of_size = (np.abs(oracle.null_distribution) >= abs(oracle.statistic) - 1e-12).mean()
        assert_allclose(got["p"].values.ravel()[feature], of_size if tail == "two-sided" else oracle.pvalue, rtol=1e-12)
        assert_allclose(got["group_z"].values.ravel()[feature], oracle.statistic, rtol=1e-9)
    assert_allclose(got["group_statistic"].values.ravel(), slope[4:].mean(axis=0) - slope[:4].mean(axis=0), rtol=1e-9)
    assert got.attrs["n"] == 125
    assert_array_equal(got["between"], ["wait", "train"])
    assert_allclose(got["slope_mean"].values.reshape(2, 2), [slope[4:].mean(axis=0), slope[:4].mean(axis=0)])
    assert_allclose(got["slope_sd"].values.reshape(2, 2), [slope[4:].std(0, ddof=1), slope[:4].std(0, ddof=1)])


def test_corrections_over_features_are_those_of_a_slow_loop():
    values = noise(8, 3, 5, growth=0.01)
    first = np.arange(8) < 4
    got = quiet(
        study(values, groups=["a" if one else "b" for one in first]), between="group", tail="greater", correct=["max"]
    )
    slope = fitted(values, np.arange(3))
    divisions = [list(some) for some in combinations(range(8), 4)]  # the first is the observed one
    z = np.array([ttest_ind(slope[c], np.delete(slope, c, axis=0), equal_var=False).statistic for c in divisions])
    order = np.argsort(z[0])
    running = np.maximum.accumulate(z[:, order], axis=1)
    step_down = np.maximum.accumulate((running >= running[0] * 0 + z[0, order] - 1e-9).mean(axis=0)[::-1])[::-1]
    expected = np.empty(5)
    expected[order] = step_down
    assert_allclose(got.dataset["p_max"].values.ravel(), expected, rtol=1e-12)
    single = (z.max(axis=1)[:, None] >= z[0] - 1e-9).mean(axis=0)
    assert_allclose(got.dataset["p_max_single"].values.ravel(), single, rtol=1e-12)
    assert_allclose(np.sort(got.null["null_max"]), np.sort(z[1:].max(axis=1)), rtol=1e-5)
    assert_allclose(got.dataset["group_z"].values.ravel(), z[0], rtol=1e-9)
    difference = slope[:4].mean(axis=0) - slope[4:].mean(axis=0)
    assert_allclose(got.dataset["group_statistic"].values.ravel(), difference, rtol=1e-9)
    assert_allclose(got.dataset["group_null_sd"].values.ravel(), difference / z[0], rtol=1e-9)


@pytest.mark.parametrize("tail", ["greater", "less", "two-sided"])
def test_orders_of_sessions_are_those_of_a_slow_loop(tail):
    values = noise(3, 4, growth=0.02)
    values[1, 3] = np.nan  # a dyad of three sessions
    values[2, 1, 0] = np.nan  # a value that moves with its session
    got = quiet(study(values), kind="session_order", tail=tail, correct=[]).dataset
    sessions = [np.flatnonzero(np.isfinite(dyad).any(axis=1)) for dyad in values]
    of_dyad = [
        [fitted(dyad[None, mine], order)[0] for order in permutations(mine)]
        for dyad, mine in zip(values, sessions, strict=True)
    ]
    every = np.array([np.mean(pick, axis=0) for pick in product(*of_dyad)])
    upper, lower = (every >= every[0] - 1e-12).mean(axis=0), (every <= every[0] + 1e-12).mean(axis=0)
    expected = {"greater": upper, "less": lower, "two-sided": np.minimum(1, 2 * np.minimum(upper, lower))}[tail]
    assert got.attrs["n"] == 24 * 6 * 24 - 1
    assert_allclose(got["p"].values.ravel(), expected, rtol=1e-12)
    assert_allclose(got["group_null_sd"].values.ravel(), every.std(axis=0), rtol=1e-9)
    assert_allclose(got["group_null_mean"].values.ravel(), 0, atol=1e-15)


def test_two_sessions_in_any_order_are_flips_of_sign():
    real = study(noise(9, 2, 3))
    flips, orders = quiet(real, tail="greater").dataset, quiet(real, kind="session_order", tail="greater").dataset
    for name in ("p", "p_max", "group_z"):
        assert_allclose(flips[name], orders[name], rtol=1e-9, err_msg=name)


def test_drawn_relabellings_agree_with_all_of_them():
    values = noise(10, 4, 3, growth=0.008)
    whole = [values[d] for d in range(10)]
    times = [np.arange(4.0)] * 10
    slope, first = fitted(values, np.arange(4)), np.arange(10) < 5
    names = [f"d{d}" for d in range(10)]
    design = GroupLabels(tuple(names), tuple(first.tolist()))
    listed = Draws.plan(design, 10_000, 5)
    assert listed.listed
    assert len(np.unique(listed.take(0, 252), axis=0)) == 252
    assert_array_equal(listed.take(0, 1)[0], first)
    many = Draws(design, 4000, 5, listed=False)
    one, other = (p_of_draws(GroupDifference(slope, draws)) for draws in (listed, many))
    assert_allclose(one["p"], other["p"], atol=5 * np.sqrt(0.25 / 4000) * 2)
    draws = Draws.plan(SessionOrders(tuple(names), (4,) * 10), 4000, 5)
    assert not draws.listed
    orders = MeanSlope(whole, times, draws)
    assert_array_equal(orders.drawn(0, 1)[0], orders.drawn(0, 50)[0])
    assert_allclose(orders.drawn(30, 50), orders.drawn(0, 50)[30:], rtol=1e-12)
    assert_array_equal(np.sort(draws.take(1, 99)[:, 12:16], axis=1), np.broadcast_to(np.arange(4), (98, 4)))
    found = p_of_draws(orders)
    assert_allclose(found["group_null_sd"] ** 2, _variance_over_orders(values), rtol=0.1)
    assert (found["p_low"] < found["p"]).all()
    assert (found["p"] < found["p_high"]).all()


def _variance_over_orders(values):
    """Of the mean slope, in closed form: t and y are permuted against each other."""
    n_dyads, n, _ = values.shape
    t = np.arange(n) - (n - 1) / 2
    y = ((values - values.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    return (y / ((n - 1) * (t**2).sum())).sum(axis=0) / n_dyads**2


def test_a_feature_without_spread_or_without_enough_dyads_is_no_finding():
    values = noise(8, 3, 3)
    values[..., 0] = 0.25
    values[1:, :, 1] = np.nan
    groups = list("aabbaabb")
    for words in ({"kind": "session_order"}, {"between": "group"}, {}):
        got = quiet(study(values, groups=groups), **words, correct=["max"]).dataset
        assert got["p"].values.ravel()[0] == 1.0
        assert got["p_max"].values.ravel()[0] == 1.0
        assert np.isfinite(got["p"].values.ravel()[2])
    assert np.isnan(got["p"].values.ravel()[1])


@pytest.mark.parametrize(
    ("sessions", "days", "offered"),
    [
        (["post", "pre"], None, "time={'pre': 0, 'post': 1}"),
        (["Post", "Mid", "Baseline"], None, "time={'Baseline': 0, 'Mid': 1, 'Post': 2}"),
        (["follow-up", "post", "pre"], None, "time={'pre': 0, 'post': 1, 'follow-up': 2}"),
        (["a", "b"], [20.0, 3.0], "time={'b': 0, 'a': 1}"),
        (["a", "b"], [3.0, 3.0], "time={'a': ..., 'b': ...}"),
        (["summer", "autumn"], None, "time={'summer': ..., 'autumn': ...}"),
        (["pre", "baseline"], None, "time={'pre': ..., 'baseline': ...}"),
    ],
)
def test_an_order_of_sessions_is_offered_only_where_it_is_known(sessions, days, offered):
    real = study(noise(4, len(sessions)), sessions=sessions)
    if days:
        real = real.assign_coords(day=("dyad", np.repeat(days, 4)))
    plan_refusal(lambda: plasticity(real), offered)


# --- partners ---------------------------------------------------------------------------------------------------------


def pairs_of(n_dyads, n_sessions, n_features=2, *, seed=0, drift=0.0, growth=0.0, people=None):
    """Coherence of person i with j [session, i, j, feature]: all pairs drift, those of real partners grow too."""
    random = np.random.default_rng(seed)
    people = people or n_dyads
    values = 0.3 + 0.03 * random.standard_normal((n_sessions, people, people, n_features))
    when = np.arange(n_sessions)[:, None, None, None]
    values += when * (drift + 0.01 * random.standard_normal((people, 1, 1)))  # people change in their own ways
    real = np.arange(n_dyads)
    values[:, real, real] += growth * np.arange(n_sessions)[:, None, None]
    return values


def real_of(pairs):
    """Values of real partners, [dyad, session, feature]."""
    real = np.arange(pairs.shape[1])
    return pairs[:, real, real].swapaxes(0, 1)


def test_one_repairing_serves_all_sessions():
    pairs = pairs_of(5, 3)
    pairs[2, 1] = pairs[2, :, 1] = np.nan  # the second dyad was not there in the last session
    real = study(pairs[:, np.arange(5), np.arange(5)].swapaxes(0, 1))
    for tail in ("greater", "less", "two-sided"):
        got = quiet(real, null=null_of(pairs, real), tail=tail, correct=[]).dataset
        slope = fitted(pairs.reshape(3, 25, 2).swapaxes(0, 1), [1, 2, 3]).reshape(5, 5, 2)
        every = np.array([slope[np.arange(5), list(order)].mean(axis=0) for order in permutations(range(5))])
        upper, lower = (every >= every[0] - 1e-12).mean(axis=0), (every <= every[0] + 1e-12).mean(axis=0)
        expected = {"greater": upper, "less": lower, "two-sided": np.minimum(1, 2 * np.minimum(upper, lower))}[tail]
        assert_allclose(got["p"].values.ravel(), expected, rtol=1e-12)
    assert_allclose(got["group_null_mean"].values.ravel(), every.mean(axis=0), rtol=1e-9)
    assert_allclose(got["value"].values.reshape(5, 2), slope[np.arange(5), np.arange(5)], rtol=1e-9)
    strangers = np.concatenate([np.delete(slope[0], 0, axis=0), np.delete(slope[:, 0], 0, axis=0)])
    assert_allclose(got["null_mean"].values[0].ravel(), strangers.mean(axis=0), rtol=1e-9)
    assert got.attrs["null_kind"] == "repair"
    assert got.attrs["min_p"] == 2 / 120


def test_what_everybody_shares_is_no_change_of_partners():
    shared, own = pairs_of(9, 4, drift=0.05), pairs_of(9, 4, drift=0.05, growth=0.06)
    result = {}
    for name, pairs in (("shared", shared), ("own", own)):
        real = study(pairs[:, np.arange(9), np.arange(9)].swapaxes(0, 1))
        result[name] = {
            "raw": quiet(real, correct=["max"]).dataset["p_max"].max().item(),
            "repaired": quiet(real, null=null_of(pairs, real), correct=["max"]).dataset["p_max"].max().item(),
            "less null": quiet(_tested(pairs, real), correct=["max"]).dataset["p_max"].max().item(),
        }
    assert result["shared"]["raw"] < 0.05, "a drift of everybody is a change of raw values"
    assert result["shared"]["repaired"] > 0.1
    assert result["shared"]["less null"] > 0.1
    assert max(result["own"].values()) < 0.05


def _tested(pairs, real):
    return ibs.test(real, null_of(pairs, real), correct=[])


def test_of_a_result_the_null_mean_is_taken_off():
    pairs = pairs_of(7, 3)
    real = study(pairs[:, np.arange(7), np.arange(7)].swapaxes(0, 1))
    tested = _tested(pairs, real)
    got = quiet(tested, correct=[])
    expected = np.empty((7, 3, 2))
    for d, s in np.ndindex(7, 3):
        strangers = np.concatenate([np.delete(pairs[s, d], d, axis=0), np.delete(pairs[s, :, d], d, axis=0)])
        expected[d, s] = pairs[s, d, d] - strangers.mean(axis=0)
    assert_allclose(got.dataset["value"].values.reshape(7, 2), fitted(expected, [1, 2, 3]), rtol=1e-9)
    assert json.loads(got.dataset.attrs["change"])["taken_off"] == "repair"
    assert (
        "over the sessions present, in each less the mean of its null (re-pairing of partners, all 5039"
        in got.methods()
    )
    assert "neural" in got.hypothesis
    assert "specific to real partners" not in got.hypothesis
    assert "roles" not in got.dataset.attrs


def test_dyads_of_one_session_are_left_out_of_the_repairing_too():
    pairs = pairs_of(6, 3)
    real = study(pairs[:, np.arange(6), np.arange(6)].swapaxes(0, 1))
    null = null_of(pairs, real)
    short = real.isel(dyad=~((real["dyad"].values == "d02") & (real["session"].values != "ses-02")))
    with pytest.warns(RuntimeWarning, match="dyad 'd02' is left out, it has only session 'ses-02'"):
        got = plasticity(short, null=null, tail="greater", correct=[])
    keep = [0, 2, 3, 4, 5]
    fewer = pairs[:, keep][:, :, keep]
    expected = quiet(real.isel(dyad=real["dyad"].values != "d02"), null=null, tail="greater", correct=[])
    assert_array_equal(got.dataset["p"], expected.dataset["p"])
    slope = fitted(fewer.reshape(3, 25, 2).swapaxes(0, 1), [1, 2, 3]).reshape(5, 5, 2)
    every = np.array([slope[np.arange(5), list(order)].mean(axis=0) for order in permutations(range(5))])
    assert_allclose(got.dataset["p"].values.ravel(), (every >= every[0] - 1e-12).mean(axis=0), rtol=1e-12)
    assert got.dataset.attrs["n"] == 119


def test_interchangeable_roles():
    n = 3
    pairs = pairs_of(n, 3, people=2 * n)
    pairs = (pairs + pairs.swapaxes(1, 2)) / 2
    own = pairs[:, np.arange(n), n + np.arange(n)].swapaxes(0, 1)
    real = study(own)
    got = quiet(real, null=null_of(pairs, real, roles=Matchings), tail="greater", correct=[])
    assert_allclose(got.dataset["value"].values.reshape(n, 2), fitted(own, [0, 1, 2]), rtol=1e-9)
    assert got.dataset.attrs["n"] == 14
    assert "any two persons" in got.hypothesis


# --- level and power --------------------------------------------------------------------------------------------------


def many(make, *, n_studies=800, n_dyads=12, n_sessions=4):
    """Values of many studies as features of one: [dyad, session, study]; tests of each are independent."""
    return make(np.random.default_rng(11), (n_dyads, n_sessions, n_studies))


def independent(random, shape):
    return random.standard_normal(shape)


def own_slopes(random, shape):
    return (
        random.standard_normal(shape) + random.standard_normal((shape[0], 1, shape[2])) * np.arange(shape[1])[:, None]
    )


def autoregressive(random, shape):
    values = random.standard_normal(shape)
    for session in range(1, shape[1]):
        values[:, session] = 0.7 * values[:, session - 1] + np.sqrt(1 - 0.49) * values[:, session]
    return values


def with_gaps(random, shape):
    values = own_slopes(random, shape)
    gone = random.random(shape[:2]) < 0.3
    gone[:, [0, -1]] = False
    values[gone] = np.nan
    return values


def band(n):
    return binom.ppf(0.0005, n, 0.05) / n, binom.ppf(0.9995, n, 0.05) / n


@pytest.mark.parametrize("make", [independent, own_slopes, autoregressive, with_gaps])
def test_flips_of_slopes_keep_their_level(make):
    values = many(make)
    low, high = band(values.shape[2])
    rate = (quiet(study(values), correct=[]).dataset["p"] <= 0.05).mean().item()
    assert low <= rate <= high
    groups = ["a", "b"] * 6
    rate = (quiet(study(values, groups=groups), between="group", correct=[]).dataset["p"] <= 0.05).mean().item()
    assert low <= rate <= high


def test_orders_of_sessions_keep_their_level_only_where_no_dyad_changes():
    """Where dyads have slopes of their own, or sessions close in time are alike, this test is liberal."""
    rates = {}
    for make in (independent, own_slopes, autoregressive):
        values = many(make, n_studies=500)
        found = quiet(study(values), kind="session_order", n=399, correct=[]).dataset
        rates[make] = (found["p"] <= 0.05).mean().item()
    low, high = band(500)
    assert low <= rates[independent] <= high
    assert rates[own_slopes] > 0.08
    assert rates[autoregressive] > 0.08


def test_maxima_keep_the_family_wise_level():
    hits = []
    for seed in range(200):
        random = np.random.default_rng(seed)
        values = own_slopes(random, (8, 3, 6)) + random.standard_normal((8, 3, 1))
        hits.append(quiet(study(values), correct=["max"]).dataset["p_max"].min().item() <= 0.05)
    low, high = band(200)
    assert low <= np.mean(hits) <= high


@pytest.mark.slow
def test_repaired_slopes_keep_their_level_where_people_change():
    hits = []
    for seed in range(200):
        pairs = pairs_of(5, 3, 1, seed=seed, drift=0.05)
        real = study(pairs[:, np.arange(5), np.arange(5)].swapaxes(0, 1))
        hits.append(quiet(real, null=null_of(pairs, real), tail="greater", correct=[]).dataset["p"].item() <= 0.05)
    low, high = band(200)
    assert low <= np.mean(hits) <= high


def test_planted_growth_is_found(tmp_path):
    made = ibs.simulate(
        tmp_path / "study.h5", n_dyads=8, n_sessions=4, n_channels=2, duration=200, sfreq=2.0,
        coupling=[0.0, 0.3, 0.6, 0.9], coupled_band=(0.05, 0.1), seed=4,
    )  # fmt: skip
    spec = ibs.WTC(bands={"task": (0.05, 0.1)}, voices=6)
    real, null = made.synchrony(spec), made.null(spec, n=200, seed=1)
    tested = ibs.test(real, null, correct=[])
    for found in (
        plasticity(tested, tail="greater", correct=["max"]),
        plasticity(real, null=null, tail="greater", correct=["max"]),
    ):
        p = found.dataset["p_max"].sel(epoch="all", band="task").values
        assert (np.diag(p) <= 0.05).all()
        assert np.diag(p).max() < min(p[0, 1], p[1, 0])
        assert (np.diag(found.dataset["slope_mean"].sel(epoch="all", band="task").values) > 0.05).all()


# --- words ------------------------------------------------------------------------------------------------------------


def test_words_say_what_changed_and_what_was_left_out():
    values = noise(10, 4, growth=0.05)
    values[3, 1:] = np.nan
    with pytest.warns(RuntimeWarning, match="dyad 'd04' is left out, it has only session 'ses-01'"):
        got = plasticity(study(values), tail="greater")
    assert got.dataset.attrs["left_out"].startswith("dyad 'd04'")
    assert "2 of 2 tests show the change of coherence per session of real partners above zero" in got.headline
    assert "change of coherence per session 0.0" in got.headline
    assert "each dyad's slope is as likely to have the other sign" in got.hypothesis
    assert "which moves raw coherence" in got.hypothesis
    text = got.methods()
    for words in (
        "Of each dyad the least-squares slope of coherence per session was taken over the sessions present.",
        "The mean slope over dyads, weighted by their precision, was compared with the same mean under the null (sign",
        "Left out: dyad 'd04'",
    ):
        assert words in text
    assert "left out: dyad 'd04'" in str(got)
    assert "task  slope 0.0" in str(got)
    assert "session" not in got.dataset.coords
    assert got.dataset["value"].attrs["long_name"] == "change of coherence per session"
    frame = got.to_frame()
    assert len(frame) == 2 * 10
    assert_allclose(frame["value"][:2], got.dataset["slope_mean"].values.ravel())
    assert frame["p"].notna().sum() == 2


def test_words_of_the_other_tests():
    values = noise(10, 3, growth=0.05)
    real = study(values, groups=["train"] * 5 + ["wait"] * 5)
    with pytest.warns(RuntimeWarning, match="rejects too often"):
        order = plasticity(real, kind="session_order", n=999)
    assert "no dyad changes at all" in order.hypothesis
    assert "Warning: exchanging the order of sessions" in order.headline
    assert "exchange of the order of sessions within dyads, 999 draws, seed 0" in order.methods()
    groups = quiet(real, between="group")
    assert "difference train - wait in change of coherence per session of real partners" in groups.hypothesis
    assert "any dyad could as well have been in the other group" in groups.hypothesis
    assert "The mean slope of group train minus that of group wait was compared with the same diff" in groups.methods()
    assert "exchange of groups among dyads, all 251" in groups.methods()
    assert groups.dataset["value"].attrs["long_name"] == "change of coherence per session"


def test_sessions_of_unlike_length_are_told_of_where_values_are_raw():
    pairs = pairs_of(8, 3)
    real = study(real_of(pairs))
    real["valid_fraction"].values[real["session"].values == "ses-02"] = 0.7
    with pytest.warns(RuntimeWarning, match="trusted cells is 0.70 in session 'ses-02' and 0.90 in session 'ses-01'"):
        got = plasticity(real, correct=["max"])
    assert "trusted cells" in got.headline
    plasticity(real, null=null_of(pairs, real), correct=["max"])
    plasticity(_tested(pairs, real), correct=["max"])


def test_a_saved_result_comes_back_and_is_reported(tmp_path):
    pairs = pairs_of(9, 3, 3)
    real = study(real_of(pairs), groups=["a"] * 4 + ["b"] * 5)
    for number, words in enumerate(({"between": "group"}, {"null": null_of(pairs, real)})):
        got = quiet(real, **words)
        again = ibs.load(got.save(tmp_path / f"{number}.h5"))
        xr.testing.assert_identical(again.dataset, got.dataset)
        assert again.methods() == got.methods()
        page = ibs.report(again, tmp_path / f"{number}.html").read_text(encoding="utf-8")
        assert "change of coherence per session" in page


def test_clusters_and_epochs():
    real = make_real(9, 3, coupling=0.15)
    result = quiet(real, correct=["cluster", "tfce", "max"], tail="greater")
    got = result.dataset
    assert got["p_tfce"].dims == ("epoch", "channel_a", "channel_b", "band")
    assert_array_equal(got["epoch"], ["talk", "rest"])
    assert result.null["null_hist"].dims == ("epoch", "band", "hist_bin")
    assert result.null["null_cluster"].dims == ("draw",)
    drawn = quiet(real, kind="session_order", n=99, correct=["cluster", "tfce"]).dataset
    assert np.isfinite(drawn["p_tfce"]).all()
    assert (drawn["p_cluster"] >= 0.01).all()
    place = {"epoch": "talk", "channel_a": "S2_D1", "channel_b": "S2_D2", "band": "task"}
    assert got["p_tfce"].sel(place) == got["p_tfce"].min()


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_sessions_without_a_place_in_time_are_refused():
    values = noise(4, 2)
    named = study(values, sessions=["pre", "post"])
    fix = "time={'pre': 0, 'post': 1}"
    plan_refusal(lambda: plasticity(named), "dyad 'd01'", "session 'pre' has no place in time", fix)
    plan_refusal(lambda: plasticity(named, {"pre": 0}), "dyad 'd01'", "'post' has no place in time", "add it")
    plan_refusal(lambda: plasticity(named, {"pre": 0, "post": "late"}), "session 'post' is 'late'", "give a number")
    plan_refusal(lambda: plasticity(named, {"pre": 0, "post": float("nan")}), "session 'post' is nan")
    plan_refusal(lambda: plasticity(named, {"pre": 3, "post": 3}), "'d01'", "'pre' and 'post' take place at one time")
    plan_refusal(lambda: plasticity(named, "age"), "time='age' is unknown")
    plan_refusal(lambda: plasticity(study(values, sessions=["ses-1", "run-2"])), "session 'run-2' has no place in time")
    plan_refusal(lambda: plasticity(study(values, sessions=["1", "01"])), "'1' and '01' take place at one time (1)")


def test_a_session_that_stands_twice_is_refused():
    one = study(noise(4, 3))
    other = one.isel(dyad=[5]).assign_coords(task=("dyad", ["rest"]))
    both = xr.concat([one, other], "dyad")
    plan_refusal(lambda: plasticity(both), "dyad 'd02' has session 'ses-02' twice", "real.task.values == 'talk'")
    again = xr.concat([one, one.isel(dyad=[5])], "dyad")
    plan_refusal(lambda: plasticity(again), "dyad 'd02' has session 'ses-02' twice; leave one of the rows out")


def test_too_few_dyads_are_said_or_refused():
    values = noise(4, 3)
    with pytest.warns(RuntimeWarning, match="4 dyads allow only 16 exchanges"):
        plasticity(study(values))
    with pytest.raises(PlanError, match="4 dyads allow only 16 exchanges"):
        plasticity(study(values), correct=["max"])
    few, groups = study(values, groups=list("aabb")), study(noise(6, 3), groups=list("aaabbb"))
    plan_refusal(lambda: plasticity(few, between="group"), "group 'a' has 2 dyads with two sessions", "need 3")
    plan_refusal(
        lambda: plasticity(groups, between="group", correct=["max"]), "6 dyads allow only 20 divisions into groups"
    )
    pairs = pairs_of(3, 3)
    real = study(pairs[:, np.arange(3), np.arange(3)].swapaxes(0, 1))
    plan_refusal(lambda: plasticity(real, null=null_of(pairs, real), correct=["max"]), "allow only 6")
    values[1:, 1:] = np.nan
    plan_refusal(lambda: plasticity(study(values)), "needs two that have at least two sessions: only 'd01' has them")
    values[0, 1:] = np.nan
    plan_refusal(lambda: plasticity(study(values)), "none has them")


def test_words_that_do_not_go_together_are_refused():
    real = study(noise(7, 3), groups=["train", "train", "train", "wait", "wait", "wait", "free"])
    pairs = pairs_of(7, 3)
    null = null_of(pairs, real)
    plan_refusal(lambda: plasticity(real, kind="order"), "kind='order' is unknown")
    plan_refusal(lambda: plasticity(real, tail="up"), "tail='up' is unknown")
    plan_refusal(lambda: plasticity(real, null="repair"), "null must be a re-pairing null")
    plan_refusal(lambda: plasticity(real, null=null, between="group"), "null and between are different tests")
    plan_refusal(lambda: plasticity(real, null=null, kind="session_order"), "null and kind='session_order' are")
    plan_refusal(lambda: plasticity(real, between="group"), "there are 'free', 'train', 'wait'; name two")
    plan_refusal(lambda: plasticity(real, between=("trian", "wait")), "no group 'trian'; did you mean 'train'?")
    plan_refusal(lambda: plasticity(real, between=("wait", "wait")), "two different groups")
    plan_refusal(lambda: plasticity(real, between=("wait", "free")), "group 'free' has 1 dyads with two sessions")
    plan_refusal(lambda: plasticity(real, correct=["bonferroni"]), "correct='bonferroni' is unknown")
    plan_refusal(lambda: plasticity(real.assign_attrs(spec="x"), null=null), "real and null differ in spec")
    mixed = real.assign_coords(group=("dyad", ["train"] * 10 + ["wait"] * 11))
    plan_refusal(lambda: plasticity(mixed, between="group"), "dyad 'd04' is in groups 'train' and 'wait'")
    change = quiet(real)
    plan_refusal(lambda: plasticity(change), "there are no sessions to change over")
    compared = quiet(real, between=("train", "wait"), tail="greater")
    assert "free" not in compared.dataset["group"].values


def test_dyads_of_groups_that_were_not_named_are_counted_out_by_name():
    real = study(noise(9, 3), groups=["a"] * 4 + ["b"] * 4 + ["c"])
    got = plasticity(real, between=("a", "b"), correct=[])
    said = "8 dyads with 24 sessions (without 'd09', of other groups)"
    assert got.dataset.attrs["entered"] == said
    assert f"{said} entered." in got.methods()


@pytest.mark.parametrize(
    "verb",
    [
        ibs.plasticity,
        ibs.SynchronyModel.of_pilot,
        lambda real: ibs.outcome(real, {f"d{d + 1:02d}": float(d * d) for d in range(6)}),
    ],
)
def test_a_row_that_stands_twice_is_refused_in_every_verb(verb):
    real = study(noise(6, 3))
    plan_refusal(lambda: verb(xr.concat([real, real.isel(dyad=[7])], "dyad")), "twice; leave one of the rows out")


def test_sessions_whose_days_run_against_their_numbers_are_named():
    real = study(noise(6, 3))
    number = np.array([int(label[-2:]) for label in real["session"].values])
    dated = real.assign_coords(day=("dyad", 7.0 * number))
    assert "warning" not in plasticity(dated, correct=[]).dataset.attrs
    days = 7.0 * number
    days[(real["dyad"].values == "d04") & (number == 2)] = 40.0
    days[real["dyad"].values == "d02"] = np.nan  # unknown days contradict nothing
    with pytest.warns(RuntimeWarning, match="dyad 'd04': session 'ses-02' .day 40. is taken before session 'ses-03'"):
        got = plasticity(dated.assign_coords(day=("dyad", days)), correct=[])
    assert "or give time='day'" in got.dataset.attrs["warning"]
    days[real["dyad"].values == "d02"] = 7.0 * number[real["dyad"].values == "d02"]
    with pytest.warns(RuntimeWarning, match="dyad 'd04': session 'ses-03' .day 21. is taken before session 'ses-02'"):
        plasticity(dated.assign_coords(day=("dyad", days)), "day", correct=[])


def test_raw_sessions_and_groups_of_unlike_lengths_are_refused_with_both_ways_out():
    real = study(noise(6, 3), groups=["a", "b"] * 3)
    second = real["session"].values == "ses-02"
    by_session = real.assign_coords(duration=("dyad", np.where(second, 120.0, 600.0)))
    plan_refusal(
        lambda: quiet(by_session), "recordings of the sessions differ, those of 'ses-02' last 120 s on average",
        "plasticity(ibs.test(real, null))", "study.select(duration=120)",
    )  # fmt: skip
    by_group = real.assign_coords(duration=("dyad", np.where(real["group"].values == "a", 300.0, 600.0)))
    plan_refusal(lambda: quiet(by_group, between="group"), "recordings of the groups differ, those of 'a' last 300 s")
    assert quiet(by_group, correct=[]).dataset.sizes["dyad"] == 6
    near = real.assign_coords(duration=("dyad", np.where(second, 570.0, 600.0)))
    assert quiet(near, correct=[]).dataset.sizes["dyad"] == 6
