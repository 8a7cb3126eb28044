from itertools import pairwise
from math import factorial

import numpy as np
import pytest
from fits import draw_statistics, fitted_out
from numpy.testing import assert_allclose, assert_array_equal
from permuted import repair_test
from scipy.stats import binom

from ibsync.errors import PlanError
from ibsync.inference import permutation_test as loop
from ibsync.inference import repaired_test
from ibsync.inference.attainable import attainable
from ibsync.inference.p_values import CORRECTIONS, adjust_fdr, clopper_pearson, p_value
from ibsync.inference.repaired_test import RepairedMean, dyad_summary
from ibsync.inference.settings import TestSettings as Settings
from ibsync.nulls.draws import Draws
from ibsync.nulls.repaired_null import RepairedNull
from ibsync.nulls.repairing import Repairing

PER_FEATURE = (
    "group_statistic",
    "group_null_mean",
    "group_null_sd",
    "group_z",
    "n_dyads",
    "exceedances",
    "n_near_ties",
    "p",
    "p_low",
    "p_high",
    "p_fdr",
    "p_max",
    "p_max_single",
)


def null_of(values, strata=None, n=200, seed=1, dyads=None, **options):
    dyads = dyads or [f"d{row:02d}" for row in range(values.shape[1])]
    design = Repairing.of(dyads, [f"{d}-a" for d in dyads], [f"{d}-b" for d in dyads], strata)
    return RepairedNull(
        values, Draws.plan(design, n, seed, **options), tuple(f"s{number}" for number in range(len(values)))
    )


def random_values(n_dyads, n_features, *, n_sessions=1, gain=0.0, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.beta(4, 8, size=(n_sessions, n_dyads, n_dyads, n_features))
    values[:, np.arange(n_dyads), np.arange(n_dyads)] += gain
    return values


def with_gaps(values):
    values = values.copy()
    values[-1, 1] = values[-1, :, 1] = np.nan
    values[:, 2, :, 0] = np.nan
    values[:, :, 3, 0] = np.nan
    values[..., 1] = np.nan
    return values


def drawn_means(null, start=1):
    """Group statistic of every draw straight from the definition, [draw, feature]."""
    partners = null.draws.take(0, null.draws.n + 1)
    rows = np.arange(len(null.design))
    values = fitted_out(null.pair_values)
    chosen = np.stack([values[:, rows, row].reshape(-1, null.n_features) for row in partners])
    return draw_statistics(values, chosen)[start:]


@pytest.mark.parametrize("n", [3, 4, 5])
@pytest.mark.parametrize("tail", ["greater", "less", "two-sided"])
def test_exact_p_equals_scipy(n, tail):
    from scipy.stats import permutation_test

    values = random_values(n, 3, gain=0.05, seed=n)
    got = repair_test(null_of(values), tail=tail)
    for feature in range(3):
        table = values[0, :, :, feature]

        def mean_of_pairing(sigma, table=table):
            return table[np.arange(n), np.asarray(sigma, dtype=int)].mean()

        expected = permutation_test(
            (np.arange(n),), mean_of_pairing, permutation_type="pairings", alternative=tail, n_resamples=np.inf
        )
        assert_allclose(got["p"][feature], expected.pvalue, rtol=1e-13)
        assert_allclose(got["group_statistic"][feature], expected.statistic, rtol=1e-13)
    assert_array_equal(got["p_low"], got["p"])


def test_smallest_exact_p_is_one_over_the_number_of_repairings():
    values = random_values(4, 1)
    values[0, np.arange(4), np.arange(4)] = 0.99
    got = repair_test(null_of(values))
    assert got["p"][0] == 1 / factorial(4)
    assert got["exceedances"][0] == 0


def test_p_lies_on_the_lattice_and_is_never_zero():
    values = random_values(12, 40, gain=0.08)
    for tail, step in (("greater", 1), ("less", 1), ("two-sided", 2)):
        got = repair_test(null_of(values, n=99), tail=tail)
        lattice = got["p"][got["p"] < 1] * 100
        assert_allclose(lattice, np.rint(lattice), atol=1e-9)
        assert_allclose(got["p"], np.minimum(1, step * (got["exceedances"] + 1) / 100), rtol=1e-13)
        assert got["p"].min() >= step / 100
    assert_array_equal(p_value(np.array([0, 99, -1]), 99), [0.01, 1.0, np.nan])


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("tail", ["greater", "less", "two-sided"])
def test_counts_are_those_of_the_definition(gaps, tail):
    values = random_values(12, 9, n_sessions=2, gain=0.03, seed=5)
    values = with_gaps(values) if gaps else values
    null = null_of(values, n=300)
    got = repair_test(null, tail=tail)
    drawn, observed = drawn_means(null), got["group_statistic"]
    upper, lower = (drawn >= observed - 1e-12).sum(axis=0), (drawn <= observed + 1e-12).sum(axis=0)
    expected = {"greater": upper, "less": lower, "two-sided": np.minimum(upper, lower)}[tail]
    tested = np.isfinite(observed)
    assert tested.sum() == (8 if gaps else 9)
    assert_array_equal(got["exceedances"], np.where(tested, expected, -1))
    assert_array_equal(np.isnan(got["p"]), ~tested)
    assert_array_equal(np.isnan(got["p_max"]), ~tested)

    z = ((drawn - got["group_null_mean"]) / got["group_null_sd"])[:, tested]
    sign = {"greater": z, "less": -z, "two-sided": np.abs(z)}[tail]
    assert_allclose(got["null_max"], sign.max(axis=1), rtol=1e-6)


@pytest.mark.parametrize("tail", ["greater", "less", "two-sided"])
def test_step_down_and_single_step_are_westfall_young(tail):
    null = null_of(random_values(12, 15, gain=-0.04 if tail == "less" else 0.04, seed=6), n=400)
    got = repair_test(null, tail=tail)
    z = (drawn_means(null) - got["group_null_mean"]) / got["group_null_sd"]
    orient = {"greater": lambda x: x, "less": np.negative, "two-sided": np.abs}[tail]
    z, observed = orient(z), orient(got["group_z"])

    single = [(1 + np.sum(z.max(axis=1) >= t - 1e-9)) / 401 for t in observed]
    assert_allclose(got["p_max_single"], single, rtol=1e-13)

    step_down, largest = np.empty(15), 0.0
    for feature in np.argsort(-observed):
        rest = observed <= observed[feature]
        largest = max(largest, (1 + np.sum(z[:, rest].max(axis=1) >= observed[feature] - 1e-9)) / 401)
        step_down[feature] = largest
    assert_allclose(got["p_max"], step_down, rtol=1e-13)
    assert (got["p_max"] <= got["p_max_single"]).all()
    assert (got["p_max"] < got["p_max_single"]).any()
    falling = got["p_max"][np.argsort(-observed)]
    assert (np.diff(falling) >= 0).all()


@pytest.mark.parametrize("tail", ["greater", "less"])
def test_maximum_statistic_of_one_feature_is_the_plain_test(tail):
    got = repair_test(null_of(random_values(11, 1, gain=0.03), n=999), tail=tail)
    assert 1 / 1000 < got["p"][0] < 1
    assert got["p_max"][0] == got["p_max_single"][0] == got["p"][0]


def test_monte_carlo_agrees_with_the_exact_test():
    values = random_values(6, 20, gain=0.03, seed=8)
    exact = repair_test(null_of(values))
    null = null_of(values)
    drawn = repair_test(RepairedNull(values, Draws(null.design, 20_000, 3, listed=False), ("s0",)))
    error = np.sqrt(exact["p"] * (1 - exact["p"]) / 20_000)
    assert (np.abs(drawn["p"] - exact["p"]) < 4.5 * error + 1 / 20_000).all()
    assert exact["p"].min() < 0.1
    inside = (drawn["p_low"] <= exact["p"]) & (exact["p"] <= drawn["p_high"])
    assert inside.sum() >= 16


def counted(null, tail, groups=None):
    return loop._Test(RepairedMean(null, groups), Settings(tail=tail), None)


@pytest.mark.parametrize("n_splits", [1, 2, 7])
@pytest.mark.parametrize("tail", ["greater", "two-sided"])
def test_counts_and_histograms_do_not_know_the_split(n_splits, tail, monkeypatch):
    null = null_of(with_gaps(random_values(12, 40, n_sessions=2, gain=0.02)), n=500)
    groups = np.arange(40) % 3
    whole = counted(null, tail, groups).count(1, 501)

    monkeypatch.setattr(loop, "_BLOCK_VALUES", 1500)
    monkeypatch.setattr(repaired_test, "_TILE_BYTES", 8 * 144 * 35)
    monkeypatch.setattr(repaired_test, "_KEPT_BYTES", 0)
    test = counted(null, tail, groups)
    assert not test.statistic.keeps_tiles
    edges = np.linspace(1, 501, n_splits + 1).astype(int)
    total = test._nothing(1, 501)
    for start, stop in reversed(list(pairwise(edges))):
        total.merge(test.count(start, stop))
    for name in ("at_least", "above", "at_most"):
        assert_array_equal(getattr(total.exceedances, name), getattr(whole.exceedances, name))
    assert_array_equal(total.step_down.counts, whole.step_down.counts)
    assert_array_equal(total.maxima.values, whole.maxima.values)
    assert_array_equal(total.histogram.counts, whole.histogram.counts)


def test_threads_do_not_change_the_result(monkeypatch):
    monkeypatch.setattr(repaired_test, "_RANGE_DRAWS", 128)
    null = null_of(with_gaps(random_values(12, 30, n_sessions=2)), n=1000)
    seen = []
    one = repair_test(null, workers=1)
    three = repair_test(null, workers=3, progress=lambda done, total: seen.append((done, total)))
    for name, values in one.items():
        assert_array_equal(three[name], values, err_msg=name)
    assert seen == [(done, 1000) for done in [*range(128, 1000, 128), 1000]]


def test_seed_changes_the_draws_and_repeats_them():
    values = random_values(12, 5)
    first, again, other = (repair_test(null_of(values, n=200, seed=seed)) for seed in (1, 1, 2))
    assert_array_equal(first["null_max"], again["null_max"])
    assert not np.isin(first["null_max"], other["null_max"]).any()


@pytest.mark.parametrize("n_dyads", [5, 12])
def test_person_effects_cancel(n_dyads):
    values = random_values(n_dyads, 8, n_sessions=2, gain=0.04)
    rng = np.random.default_rng(3)
    effect_a, effect_b = rng.normal(size=(2, n_dyads, 8))
    shifted = values + effect_a[None, :, None] + effect_b[None, None]
    plain, moved = (repair_test(null_of(v, n=300)) for v in (values, shifted))
    for name in ("p", "p_max", "exceedances", "n_near_ties"):
        assert_array_equal(moved[name], plain[name])
    assert_allclose(moved["group_z"], plain["group_z"], rtol=1e-9)


@pytest.mark.parametrize("n_dyads", [5, 11])
def test_p_does_not_change_with_row_order_or_an_increasing_line(n_dyads):
    values = random_values(n_dyads, 6, gain=0.04)
    names = [f"d{row:02d}" for row in range(n_dyads)]
    order = np.random.default_rng(4).permutation(n_dyads)
    plain = repair_test(null_of(values, n=300))
    mixed = repair_test(null_of(values[:, order][:, :, order], n=300, dyads=[names[i] for i in order]))
    line = repair_test(null_of(3 * values - 1, n=300))
    for other in (mixed, line):
        assert_array_equal(other["p"], plain["p"])
        assert_array_equal(other["p_max"], plain["p_max"])
    down = repair_test(null_of(-values, n=300), tail="less")
    assert_array_equal(down["p"], plain["p"])


def test_blocks_are_tested_together_without_mixing():
    values = random_values(6, 2, gain=0.05)
    null = null_of(values, {"site": list("xxxyyy")})
    drawn = drawn_means(null, start=0)
    assert len(drawn) == 36
    got = repair_test(null)
    assert_allclose(got["p"], (drawn >= drawn[0] - 1e-12).mean(axis=0), rtol=1e-13)
    assert_allclose(got["group_null_sd"], drawn.std(axis=0), rtol=1e-10)


def test_near_ties_are_counted_as_exceedances_and_reported():
    values = np.zeros((1, 3, 3, 2))
    values[0, :, :, 0] = np.arange(3)[:, None] / 10 + np.arange(3)[None] / 7
    values[0, :, :, 1] = [[0.5, 0.1, 0.1], [0.1, 0.4, 0.4], [0.1, 0.4, 0.4]]
    got = repair_test(null_of(values))
    assert_array_equal(got["n_near_ties"], [5, 1])
    assert_array_equal(got["p"], [1.0, 2 / 6])
    assert repair_test(null_of(values[..., 1:]))["p_max"][0] == 2 / 6
    noisy = values + np.random.default_rng(0).normal(size=values.shape) * 1e-8
    noisy[0, 1, 2, 1] = noisy[0, 2, 1, 1] = 0.4 - 1e-7
    single = repair_test(null_of(noisy.astype(np.float32)))
    assert_array_equal(single["n_near_ties"], [5, 1])
    assert_array_equal(single["p"], [1.0, 2 / 6])
    assert repair_test(null_of(noisy[..., 1:].astype(np.float32)))["p_max"][0] == 2 / 6
    assert_array_equal(repair_test(null_of(noisy))["n_near_ties"], [0, 0])


def test_a_draw_without_values_counts_as_reaching():
    rng, here = np.random.default_rng(0), np.arange(4)
    values = np.full((1, 4, 4, 2), np.nan)
    values[0, here, here, 0], values[0, here, (here + 1) % 4, 0] = rng.random((2, 4))
    values[..., 1] = rng.random((1, 4, 4))
    null = null_of(values)
    got, drawn = repair_test(null), drawn_means(null)[:, 0]
    # Of the 24 re-pairings two give nobody the own partner or the next: these have no value.
    assert np.isnan(drawn).sum() == 2
    assert got["group_statistic"][0] == pytest.approx(values[0, here, here, 0].mean())
    assert got["p"][0] == (1 + (~(drawn < got["group_statistic"][0] - 1e-12)).sum()) / 24
    assert np.isfinite(got["null_max"]).all()
    assert got["p_max"][1] <= 1


def test_fdr_equals_scipy_and_leaves_untested_features_out():
    from scipy.stats import false_discovery_control

    p = np.array([[0.01, np.nan, 0.02], [0.9, 0.03, np.nan]])
    for method in ("bh", "by"):
        got = adjust_fdr(p, method)
        assert_allclose(
            got[np.isfinite(p)], false_discovery_control([0.01, 0.02, 0.9, 0.03], method=method), rtol=1e-15
        )
        assert_array_equal(np.isnan(got), np.isnan(p))
    # By hand: 4 tests, so 0.01 * 4 / 1, 0.02 * 4 / 2, 0.03 * 4 / 3, 0.9, and each at most the next.
    assert_allclose(adjust_fdr(p)[np.isfinite(p)], [0.04, 0.04, 0.9, 0.04], rtol=1e-12)
    assert np.isnan(adjust_fdr(np.array([np.nan]))).all()


def test_corrections_are_only_those_asked_for():
    null = null_of(random_values(12, 6), n=99)
    plain, fdr, by = (repair_test(null, correct=names) for names in ([], ["fdr"], ["fdr_by", "max"]))
    assert np.isnan([plain["p_fdr"], plain["p_max"], fdr["p_max"]]).all()
    assert_allclose(fdr["p_fdr"], adjust_fdr(fdr["p"], "bh"))
    assert_allclose(by["p_fdr"], adjust_fdr(by["p"], "by"))
    assert np.isfinite(by["p_max"]).all()


@pytest.mark.parametrize(("b", "m"), [(0, 99), (3, 99), (99, 99), (500, 9999)])
def test_clopper_pearson_equals_the_exact_binomial_interval(b, m):
    from scipy.stats import binomtest

    low, high = clopper_pearson(np.array([b, -1]), m)
    expected = binomtest(b, m).proportion_ci(0.95, method="exact")
    assert_allclose([low[0], high[0]], [expected.low, expected.high], rtol=1e-10, atol=1e-15)
    assert np.isnan([low[1], high[1]]).all()
    assert low[0] <= p_value(np.array([b]), m)[0] <= high[0]


def test_histogram_counts_the_group_means_of_every_draw():
    null = null_of(random_values(12, 8), n=300)
    groups = np.array([0, 1, 0, 1, 2, 2, 2, 2])
    got = repair_test(null, groups=groups)
    drawn = drawn_means(null)
    for group in range(3):
        means = drawn[:, groups == group].mean(axis=1)
        assert_array_equal(got["null_hist"][group], np.histogram(means, bins=4096, range=(0, 1))[0])
    own = got["group_statistic"]
    assert_allclose(got["pooled_statistic"], [own[groups == g].mean() for g in range(3)], rtol=1e-12)
    with pytest.raises(PlanError, match="one group per feature"):
        repair_test(null, groups=np.arange(3))


def test_result_names_and_shapes():
    got = repair_test(null_of(with_gaps(random_values(12, 7, n_sessions=2)), n=99), groups=np.zeros(7, np.int64))
    assert {name: got[name].shape for name in PER_FEATURE} == dict.fromkeys(PER_FEATURE, (7,))
    assert got["null_max"].shape == (99,)
    assert got["null_max"].dtype == np.float32
    assert got["null_hist"].shape == (1, 4096)
    assert got["exceedances"].dtype == got["n_near_ties"].dtype == got["n_dyads"].dtype == np.int64
    assert_array_equal(got["n_dyads"], [10, 0, 12, 12, 12, 12, 12])


def test_dyads_are_compared_with_the_partners_of_their_own_people():
    values = random_values(5, 3, n_sessions=2, gain=0.1)
    values[1, 2, :] = values[1, :, 2] = np.nan
    values[:, 0, 0, 1] = np.nan
    got = dyad_summary(null_of(values))
    for session in range(2):
        for dyad in range(5):
            others = [j for j in range(5) if j != dyad]
            for feature in range(3):
                v = values[session, :, :, feature]
                pool = np.array([v[dyad, j] for j in others] + [v[j, dyad] for j in others])
                pool = pool[np.isfinite(pool)]
                own = v[dyad, dyad]
                place = (session, dyad, feature)
                mean, sd = (pool.mean(), pool.std(ddof=1)) if pool.size else (np.nan, np.nan)
                assert_allclose(got["null_mean"][place], mean, rtol=1e-12)
                assert_allclose(got["null_sd"][place], sd, rtol=1e-12)
                assert_allclose(got["z"][place], (own - mean) / sd, rtol=1e-9)
                rank = 100 * (np.sum(pool <= own) + 1) / (pool.size + 1)
                assert_allclose(got["percentile"][place], rank if np.isfinite(own) and pool.size else np.nan)
    assert_array_equal(got["statistic"], values[:, np.arange(5), np.arange(5)])


def test_partners_of_a_dyad_come_from_its_block():
    values = random_values(4, 1)
    got = dyad_summary(null_of(values, {"site": list("xyxy")}))
    assert_allclose(got["null_mean"][0, 0, 0], (values[0, 0, 2, 0] + values[0, 2, 0, 0]) / 2)


def caution(draws, n_features, correct, *, alpha=0.05, tail="greater"):
    return attainable(Settings(tail=tail, correct=correct, alpha=alpha), n_features, draws)


def test_too_few_draws_for_bh_are_named_with_the_number_needed():
    assert caution(7998, 400, ["fdr", "max"]) == (
        "no single finding could pass 'fdr': 400 features tested with 'fdr' at alpha=0.05 need n=7999 draws, 7998 were "
        "asked for; ask for more, test fewer features, or correct with 'max'"
    )
    assert not caution(7999, 400, ["fdr", "max"])
    assert not caution(7998, 400, ["max"])
    assert "need n=52" in caution(7998, 400, ["fdr_by"])
    assert "need n=39999 draws" in caution(7998, 400, ["fdr"], alpha=0.01)
    assert "need n=15999 draws" in caution(7999, 400, ["fdr"], tail="two-sided")


def test_too_few_dyads_are_named_with_the_number_needed():
    three, six = (null_of(random_values(n, 1)).draws for n in (3, 6))
    assert caution(three, 1, ["max"]) == (
        "no single finding could pass 'max': 3 dyads allow only 6 re-pairings (smallest p 0.167), too few for 1 "
        "features tested with 'max' at alpha=0.05; record at least 4 dyads in one block or test fewer features"
    )
    assert "no correction" in caution(three, 1, [])
    assert "at least 8 dyads" in caution(six, 300, ["fdr"])
    assert not caution(three, 1, [], alpha=0.2)


def test_the_limit_of_the_shortfall_is_the_limit_of_a_lone_finding():
    values = random_values(12, 20, seed=9)
    values[0, np.arange(12), np.arange(12), 0] = 0.999
    got = repair_test(null_of(values, n=399), correct=["fdr"])
    assert not caution(399, 20, ["fdr"])
    assert got["p_fdr"][0] == pytest.approx(0.05)
    assert caution(398, 20, ["fdr"])
    assert repair_test(null_of(values, n=398), correct=["fdr"])["p_fdr"][0] > 0.05


@pytest.mark.parametrize("correct", [["bonferroni"], "fdr", ["fdr", "clusters"]])
def test_unknown_corrections_are_refused_with_the_valid_names(correct):
    with pytest.raises(PlanError, match="valid are 'fdr', 'fdr_by', 'max'"):
        repair_test(null_of(random_values(4, 1)), correct=correct)


def test_other_wrong_requests_are_refused():
    null = null_of(random_values(4, 1))
    with pytest.raises(PlanError, match="choose one"):
        repair_test(null, correct=["fdr", "fdr_by"])
    with pytest.raises(PlanError, match="'greater', 'less', 'two-sided'"):
        repair_test(null, tail="both")


def count_rejections(n_dyads, n_simulations, *, effect_sd, n=None):
    """Simulations with p <= 0.05 when persons differ but no dyad is special."""
    rng = np.random.default_rng(2024)
    a, b = effect_sd * rng.normal(size=(2, n_simulations, n_dyads))
    values = a.T[None, :, None] + b.T[None, None] + rng.normal(size=(1, n_dyads, n_dyads, n_simulations))
    return repair_test(null_of(values, n=n or 1), correct=[]), values


@pytest.mark.parametrize("effect_sd", [0.0, 1.0])
def test_false_positives_stay_inside_the_binomial_band(effect_sd):
    from scipy.stats import binom

    got, _ = count_rejections(6, 1000, effect_sd=effect_sd)
    # 36 of 720 equally likely ranks reach p <= 0.05.
    low, high = binom.ppf([0.0005, 0.9995], 1000, 36 / 720)
    assert low <= np.sum(got["p"] <= 0.05 + 1e-12) <= high


def test_derangements_only_would_leave_the_band():
    from scipy.stats import binom

    _, values = count_rejections(5, 1000, effect_sd=0.0)
    null = null_of(values)
    partners = null.draws.take(0, 120)
    deranged = (partners != np.arange(5)).all(axis=1)
    drawn = drawn_means(null, start=0)
    b = (drawn[deranged] >= drawn[0] - 1e-12).sum(axis=0)
    wrong = np.sum((b + 1) / (deranged.sum() + 1) <= 0.05)
    assert wrong > binom.ppf(0.9995, 1000, 0.05)


def test_max_statistic_controls_the_family_wise_error():
    from scipy.stats import binom

    rng = np.random.default_rng(77)
    found = 0
    for _ in range(300):
        shared = rng.normal(size=(1, 6, 6, 1))
        scale = np.array([1, 1, 5, 20, 0.1])
        got = repair_test(null_of((rng.normal(size=(1, 6, 6, 5)) + shared) * scale), correct=["max"], workers=1)
        found += bool((got["p_max"] <= 0.05 + 1e-12).any())
    low, high = binom.ppf([0.0005, 0.9995], 300, 0.05)
    assert low <= found <= high


def test_a_missing_channel_keeps_the_test_calibrated():
    from scipy.stats import binom

    rng = np.random.default_rng(78)
    values = rng.normal(size=(1, 6, 6, 1000)) + rng.normal(size=(1, 6, 1, 1000))
    values[0, 1] = values[0, :, 4] = np.nan
    got = repair_test(null_of(values), correct=[])
    low, high = binom.ppf([0.0005, 0.9995], 1000, 0.05)
    assert low <= np.sum(got["p"] <= 0.05 + 1e-12) <= high


def test_nothing_heavy_is_imported_with_the_modules():
    import subprocess
    import sys

    heavy = "{'scipy', 'h5py', 'xarray', 'pandas'}"
    code = f"import sys, ibsync.inference.repaired_test; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[]"
    assert tuple(CORRECTIONS) == ("fdr", "fdr_by", "max", "cluster", "tfce")


# --- neighbours -------------------------------------------------------------------------------------------------------


def chain(n):
    from scipy.sparse import csr_array

    return csr_array(np.eye(n, k=1, dtype=bool) | np.eye(n, k=-1, dtype=bool))


def maps(null):
    """z of every draw, the observed one first."""
    test = counted(null, "greater")
    return test.maps(test.statistic.drawn(0, null.draws.n + 1))


def runs(z, threshold, sign):
    """Masses of runs of one sign in a row of numbers, the slow way."""
    masses, mass = [], 0.0
    for value in [*z, 0.0]:
        if sign * value > threshold:
            mass += sign * value
        elif mass:
            masses.append(mass)
            mass = 0.0
    return masses


@pytest.mark.parametrize("tail", ["greater", "less", "two-sided"])
def test_clusters_are_judged_by_the_largest_mass_of_every_repairing(tail):
    values = random_values(5, 8, seed=4)
    values[0, np.arange(5), np.arange(5), 2:5] += 0.25 if tail != "less" else -0.25
    null = null_of(np.clip(values, 0, 1))
    got = repair_test(null, correct=["cluster"], tail=tail, graph=chain(8))
    z = maps(null)
    threshold = 1.959963984540054 if tail == "two-sided" else 1.6448536269514722
    signs = {"greater": [1], "less": [-1], "two-sided": [1, -1]}[tail]
    masses = np.array([max([0.0, *(m for sign in signs for m in runs(row, threshold, sign))]) for row in z])
    inside = np.any([sign * z[0] > threshold for sign in signs], axis=0)
    assert inside.sum() >= 2
    assert_array_equal(got["cluster"] != 0, inside)
    assert (got["p_cluster"][~inside] == 1).all()
    best = got["p_cluster"][inside].min()
    assert best == pytest.approx(np.sum(masses >= masses[0] - 1e-9) / 120, abs=1e-12)


def test_enhanced_scores_are_judged_by_the_largest_of_every_repairing():
    from ibsync.inference.clusters import tfce

    values = random_values(5, 8, seed=5)
    values[0, np.arange(5), np.arange(5), 2:5] += 0.2
    null = null_of(np.clip(values, 0, 1))
    got = repair_test(null, correct=["tfce"], graph=chain(8))["p_tfce"]
    scores = tfce(maps(null), chain(8))
    expected = [np.sum(scores.max(axis=1) >= score - 1e-9) / 120 for score in scores[0]]
    assert_allclose(got, expected, rtol=1e-12)


def test_neighbour_corrections_hold_their_level_under_the_null():
    rejected = []
    for run in range(200):
        values = random_values(5, 12, seed=1000 + run)
        got = repair_test(null_of(values), correct=["cluster"], tail="two-sided", graph=chain(12))
        rejected.append(got["p_cluster"].min() <= 0.05)
    assert 0 <= sum(rejected) <= 22  # 99.9 % of binomial(200, 0.05)


# --- sessions that not everybody attended -----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("tail", ["greater", "less"])
def test_a_session_that_is_higher_for_everybody_is_no_interaction(tail):
    """Half of the dyads missed session 2, in which all pairs, never-met ones too, are more coherent."""
    rejected = 0
    for run in range(200):
        values = 0.4 + 0.06 * np.random.default_rng(run).standard_normal((2, 8, 8, 1))
        values[1] += 0.1
        values[1, 4:], values[1, :, 4:] = np.nan, np.nan
        rejected += repair_test(null_of(values, n=199), correct=[], tail=tail)["p"][0] <= 0.05
    assert rejected <= 22  # 99.9 % of binomial(200, 0.05)


def test_the_statistic_is_the_plain_mean_whoever_was_there():
    values = np.random.default_rng(3).random((3, 6, 6, 4))
    values[1, 2], values[2, :, 4], values[2, 0, 0, 1] = np.nan, np.nan, np.nan
    got = repair_test(null_of(values), correct=["max"])
    real = values[:, np.arange(6), np.arange(6)]
    assert_allclose(got["group_statistic"], np.nanmean(real, axis=(0, 1)), rtol=1e-12)
    levels = values.copy()
    levels[1] += 0.3  # a session's level is nobody's interaction
    shifted = repair_test(null_of(levels), correct=["max"])
    for name in ("p", "p_max"):
        assert_array_equal(got[name], shifted[name])


def test_people_and_sessions_of_a_block_change_no_z_where_sessions_are_missed():
    rng = np.random.default_rng(4)
    values, site = rng.random((3, 8, 8, 2)), np.array(list("xxxxyyyy"))
    values[1, [2, 5]], values[1, :, [2, 5]], values[2, 0] = np.nan, np.nan, np.nan
    got = repair_test(null_of(values, {"site": list(site)}), correct=["max"])
    parts = (
        rng.normal(size=(8, 1, 1)) + rng.normal(size=(8, 1)) + rng.normal(size=(3, 2))[:, (site == "y") * 1, None, None]
    )
    shifted = repair_test(null_of(values + parts, {"site": list(site)}), correct=["max"])
    assert_allclose(got["group_z"], shifted["group_z"], rtol=1e-9)
    assert_allclose(got["group_null_sd"], shifted["group_null_sd"], rtol=1e-9)
    for name in ("p", "p_max"):
        assert_array_equal(got[name], shifted[name])
    assert_allclose(
        got["group_z"], (got["group_statistic"] - got["group_null_mean"]) / got["group_null_sd"], rtol=1e-12
    )


@pytest.mark.parametrize(("few", "n"), [(1, 25), (2, 10), (3, 6), (12, 25)])
def test_what_few_dyads_have_is_not_found_by_exchange_of_all(few, n):
    """Draws in which nobody has a value reach the observed one: noise is found no more often than it may be."""
    names = [f"d{k:02d}" for k in range(n)]
    values = np.full((1, n, n, 200), np.nan)
    values[0, :few, :few] = np.random.default_rng(few).standard_normal((few, few, 200))
    design = Repairing.of(names, [f"{name}-a" for name in names], [f"{name}-b" for name in names])
    p = repair_test(RepairedNull(values, Draws.plan(design, 999, 1), ("1",)))["p"]
    assert (p <= 0.05).sum() <= binom.ppf(0.999, 200, 0.05)
    assert few > 1 or (p == 1).all()
