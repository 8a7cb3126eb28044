from itertools import product
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from permuted import p_of_draws, sign_flip_test

from ibsync.errors import PlanError
from ibsync.inference import permutation_test as loop
from ibsync.inference.attainable import attainable
from ibsync.inference.clusters import cluster_masses, feature_graph, largest, t_threshold
from ibsync.inference.p_values import adjust_fdr
from ibsync.inference.settings import TestSettings as Settings
from ibsync.inference.signflip import FlippedMean
from ibsync.nulls.draws import Draws
from ibsync.nulls.random_streams import Purpose, entity_id, purpose_word, stream
from ibsync.nulls.relabelling import Signs

TAILS = ("greater", "less", "two-sided")
ORIENT = {"greater": lambda x: x, "less": np.negative, "two-sided": np.abs}
SIDES = {"greater": 1, "less": 1, "two-sided": 2}


def p_of(every, tail):
    """p of row 0 among listed statistics [draw, feature], for two-sided twice the smaller one-sided p."""
    upper, lower = ((sign * (every - every[0]) >= -1e-12).mean(axis=0) for sign in (1, -1))
    return {"greater": upper, "less": lower, "two-sided": np.minimum(1, 2 * np.minimum(upper, lower))}[tail]


def names(n):
    return [f"dyad{row:02d}" for row in range(n)]


def random_values(n_units, n_features, *, gain=0.0, seed=0):
    return np.random.default_rng(seed).standard_normal((n_units, n_features)) + gain


def with_gaps(values):
    values = values.copy()
    values[1, 0] = values[2, 0] = np.nan
    values[:, 1] = np.nan
    values[1:, 2] = np.nan
    return values


def line_graph(n):
    line = np.abs(np.subtract.outer(np.arange(n), np.arange(n))) == 1
    return feature_graph(line, *(np.zeros((1, 1), dtype=bool),) * 3)


def all_flips(n_units):
    """Every combination of signs, [flip, unit], the first without any flip."""
    return np.array(list(product([1, -1], repeat=n_units)))


def means(values, signs):
    count = np.isfinite(values).sum(axis=0)
    return np.divide(
        signs @ np.nan_to_num(values), count, out=np.full((len(signs), len(count)), np.nan), where=count > 1
    )


@pytest.fixture(scope="module")
def mne():
    with h5py.File(Path(__file__).parents[1] / "data" / "mne_signflip.h5") as file:
        return {name: values[()] for name, values in file.items()}


@pytest.fixture(scope="module")
def plane(mne):
    relations = [np.abs(np.subtract.outer(np.arange(n), np.arange(n))) == 1 for n in mne["shape"]]
    none = np.zeros((1, 1), dtype=bool)
    return feature_graph(relations[0], none, none, relations[1])


@pytest.mark.parametrize("n", [3, 5, 7])
@pytest.mark.parametrize("tail", TAILS)
def test_exact_p_equals_scipy(n, tail):
    from scipy.stats import permutation_test

    values = random_values(n, 4, gain=0.3, seed=n)
    got = sign_flip_test(values, names(n), tail=tail)
    expected = permutation_test(
        (values,), lambda x, axis: x.mean(axis=axis), permutation_type="samples", alternative=tail,
        n_resamples=np.inf, vectorized=True,
    )  # fmt: skip
    assert_allclose(got["p"], expected.pvalue, rtol=1e-13)
    assert_allclose(got["group_statistic"], expected.statistic, rtol=1e-13)
    assert_array_equal(got["p_low"], got["p"])
    assert_array_equal(got["null_max"].shape, [2**n - 1])


def test_maximum_of_t_equals_mne(mne):
    got = sign_flip_test(mne["values"], names(8))
    assert_allclose(got["p_max_single"], mne["max_t_p"], rtol=1e-13)
    assert got["p_max"].min() < 0.07


def test_two_sided_clusters_equal_mne(mne, plane):
    got = sign_flip_test(mne["values"], names(8), correct=["cluster"], graph=plane)
    every = np.sort(np.append(got["null_cluster"], np.abs(got["cluster_mass"]).max()))
    # MNE lists one of each two mirrored flips.
    assert_allclose(every[::2], mne["cluster_h0 two-sided"], rtol=1e-12)
    assert_allclose(every[1::2], mne["cluster_h0 two-sided"], rtol=1e-12)
    assert_allclose(got["p_cluster"], mne["cluster_p two-sided"], rtol=1e-12)
    assert got["p_cluster"].min() < 0.01
    assert_array_equal(got["p_cluster"] == 1, got["cluster"] == 0)


@pytest.mark.parametrize(("tail", "sign"), [("greater", 1), ("less", -1)])
def test_one_sided_clusters_equal_mne_but_for_its_missing_flip(mne, plane, tail, sign):
    got = sign_flip_test(mne["values"], names(8), tail=tail, correct=["cluster"], graph=plane)
    mass = sign * got["cluster_mass"]
    every = np.append(got["null_cluster"], mass.max())
    assert_allclose(got["p_cluster"], (every >= mass[:, None] * (1 - 1e-9)).mean(axis=1), rtol=1e-12)
    # In place of the flip of all dyads, which shows the clusters of the other sign, MNE counts the observed one twice.
    mirrored = np.abs(every + mass.min()).argmin()
    assert_allclose(every[mirrored], -mass.min(), rtol=1e-12)
    every[mirrored] = mass.max()
    assert_allclose(np.sort(every), mne[f"cluster_h0 {tail}"], rtol=1e-12)
    assert_allclose(mne[f"cluster_p {tail}"], (every >= mass[:, None] * (1 - 1e-9)).mean(axis=1), rtol=1e-12)


def test_enhancement_is_that_of_mne_up_to_its_steps(mne, plane):
    got = sign_flip_test(mne["values"], names(8), correct=["tfce"], graph=plane)
    largest_score = mne["tfce"].max()
    assert_allclose(np.abs(got["tfce"]), mne["tfce"], rtol=0.02, atol=0.001 * largest_score)
    assert_array_equal(np.sign(got["tfce"]), np.sign(mne["t"]))
    every = np.sort(np.append(got["null_tfce"], np.abs(got["tfce"]).max()))[::2]
    # The step is a 200th of the observed maximum, so that draws with a smaller one are summed more coarsely.
    assert_allclose(every, mne["tfce_h0"], rtol=0.02, atol=0.001 * largest_score)
    assert_allclose(got["p_tfce"], mne["tfce_p"], atol=2 / 128)
    assert got["p_tfce"].min() < 0.1


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("tail", TAILS)
def test_counts_are_those_of_the_definition(gaps, tail):
    values = random_values(9, 6, gain=-0.3 if tail == "less" else 0.3)
    values = with_gaps(values) if gaps else values
    got = sign_flip_test(values, names(9), tail=tail)
    drawn = means(values, all_flips(9))
    n = np.isfinite(values).sum(axis=0)
    tested = n >= 2
    assert tested.sum() == (4 if gaps else 6)
    assert_array_equal(got["n_dyads"], n)
    assert_allclose(got["group_statistic"], drawn[0], rtol=1e-13)
    assert_allclose(got["group_null_sd"], drawn.std(axis=0), rtol=1e-12)
    assert_array_equal(got["group_null_mean"][tested], 0.0)
    upper, lower = ((sign * (drawn[1:] - drawn[0]) >= -1e-12).sum(axis=0) for sign in (1, -1))
    reached = {"greater": upper, "less": lower, "two-sided": np.minimum(upper, lower)}[tail]
    p = np.minimum(1, SIDES[tail] * (reached + 1) / 512)[tested]
    assert_array_equal(got["exceedances"], np.where(tested, reached, -1))
    assert_allclose(got["p"][tested], p, rtol=1e-14)
    z = ORIENT[tail](drawn / drawn.std(axis=0))[:, tested]
    assert_allclose(np.sort(got["null_max"]), np.sort(z[1:].max(axis=1)), rtol=1e-6)
    single = [(z.max(axis=1) >= t - 1e-9).mean() for t in z[0]]
    assert_allclose(got["p_max_single"][tested], np.fmax(p, single), rtol=1e-13)
    step_down, worst = np.empty(tested.sum()), 0.0
    for feature in np.argsort(-z[0]):
        worst = max(worst, (z[:, z[0] <= z[0, feature]].max(axis=1) >= z[0, feature] - 1e-9).mean())
        step_down[feature] = worst
    assert_allclose(got["p_max"][tested], np.fmax(p, step_down), rtol=1e-13)
    assert_array_equal(np.isnan(got["p_max"]), ~tested)


def test_p_lies_on_the_lattice_and_is_never_zero():
    values = random_values(24, 60, gain=0.5)
    for tail in TAILS:
        got = sign_flip_test(values, names(24), n=99, tail=tail)
        assert_allclose(got["p"] * 100, np.rint(got["p"] * 100), atol=1e-9)
        assert got["p"].min() >= SIDES[tail] * 0.01
        assert_allclose(got["p"], np.minimum(1, SIDES[tail] * (got["exceedances"] + 1) / 100), rtol=1e-14)
    assert len(got["null_max"]) == 99
    assert sign_flip_test(np.ones((4, 1)), names(4), tail="greater")["p"][0] == 1 / 16
    assert sign_flip_test(np.ones((4, 1)), names(4))["p"][0] == 2 / 16


def test_monte_carlo_agrees_with_the_exact_test():
    values = random_values(10, 20, gain=0.3)
    exact = sign_flip_test(values, names(10), tail="greater")
    draws = Draws(Signs(tuple(names(10))), 20_000, 3, listed=False)
    drawn = p_of_draws(FlippedMean(values, draws), tail="greater")
    error = np.sqrt(exact["p"] * (1 - exact["p"]) / 20_000)
    assert (np.abs(drawn["p"] - exact["p"]) < 4.5 * error + 1 / 20_000).all()
    assert exact["p"].min() < 0.05
    inside = (drawn["p_low"] <= exact["p"]) & (exact["p"] <= drawn["p_high"])
    assert inside.sum() >= 16


def test_flips_are_listed_up_to_a_number_that_clusters_lower():
    values, graph = random_values(15, 2), line_graph(2)
    assert len(sign_flip_test(values, names(15), n=10)["null_max"]) == 2**15 - 1
    assert len(sign_flip_test(values, names(15), n=10, correct=["cluster"], graph=graph)["null_max"]) == 10
    assert len(sign_flip_test(values[:6], names(6), n=10, correct=["tfce"], graph=graph)["null_tfce"]) == 63
    assert Draws.plan(Signs(tuple(names(18))), 99, 0).listed
    assert not Draws.plan(Signs(tuple(names(19))), 99, 0).listed


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("n_units", [6, 25])
def test_maximum_statistic_of_one_feature_is_the_plain_test(tail, n_units):
    values = random_values(n_units, 1, gain=-0.2 if tail == "less" else 0.2)
    got = sign_flip_test(values, names(n_units), n=999, tail=tail, correct=["max"])
    assert 0.01 < got["p"][0] < 1
    if tail == "two-sided" and n_units == 25:  # of random draws the two tails are not alike
        assert got["p_max"][0] == got["p_max_single"][0] >= got["p"][0]
    else:
        assert got["p_max"][0] == got["p_max_single"][0] == got["p"][0]


@pytest.mark.parametrize("tail", TAILS)
def test_step_down_lies_between_the_plain_and_the_single_step_p(tail):
    values = random_values(25, 40, gain=-0.3 if tail == "less" else 0.3)
    values[::3, ::4] = np.nan
    got = sign_flip_test(values, names(25), n=499, tail=tail)
    assert (got["p"] <= got["p_max"]).all()
    assert (got["p_max"] <= got["p_max_single"]).all()
    assert (got["p_max"] < got["p_max_single"]).any()
    order = np.argsort(-ORIENT[tail](got["group_z"]))
    above = got["p_max"] > got["p"]  # elsewhere a doubled p may stand in for that of the largest |z|
    assert (np.diff(got["p_max"][order][above[order]]) >= 0).all()


def test_false_discovery_rates_are_those_of_the_plain_p():
    got = {
        name: sign_flip_test(random_values(12, 20, gain=0.3), names(12), correct=[name]) for name in ("fdr", "fdr_by")
    }
    assert_allclose(got["fdr"]["p_fdr"], adjust_fdr(got["fdr"]["p"], "bh"))
    assert_allclose(got["fdr_by"]["p_fdr"], adjust_fdr(got["fdr_by"]["p"], "by"))
    assert np.isnan([got["fdr"][name] for name in ("p_max", "p_max_single")]).all()
    assert not {"p_cluster", "p_tfce", "null_cluster"} & set(got["fdr"])


def test_two_sided_clusters_use_both_signs():
    # With the signed maximum as null, twice as many experiments of pure noise hold a "significant" cluster.
    n_runs, n_draws, n_units, n_points = 600, 100, 12, 150
    random = np.random.default_rng(11)
    signs = np.where(random.random((n_draws, n_units)) < 0.5, -1.0, 1.0)
    signs[0] = 1
    graph, threshold = line_graph(n_points), t_threshold(n_units, "two-sided")
    rejected = {"both": 0, "signed": 0}
    for _ in range(n_runs):
        values = random.standard_normal((n_units, n_points))
        mean = signs @ values / n_units
        t = mean * np.sqrt(n_units - 1) / np.sqrt((values**2).mean(axis=0) - mean**2)
        positive, negative = cluster_masses(t, graph, threshold)
        both = largest(positive, negative, "two-sided")
        rejected["both"] += (both >= both[0]).mean() <= 0.05
        rejected["signed"] += (1 + (positive[1:] >= both[0]).sum()) / n_draws <= 0.05
    # 99.9 % of experiments with a level of 0.05 lie in 14..50 of 600.
    assert 14 <= rejected["both"] <= 50
    assert rejected["signed"] > 1.6 * rejected["both"]


def test_cluster_statistic_is_the_one_sample_t():
    from scipy.stats import t as student
    from scipy.stats import ttest_1samp

    values = random_values(7, 5, gain=0.8)
    test = FlippedMean(values, Draws.plan(Signs(tuple(names(7))), 10, 0))
    assert_allclose(test.maps(test.drawn(0, 1))[0], ttest_1samp(values, 0).statistic, rtol=1e-12)
    for tail, level in (("two-sided", 0.975), ("greater", 0.95), ("less", 0.95)):
        assert_allclose(test.threshold(tail), student.ppf(level, 6), rtol=1e-12)


def test_missing_dyads_leave_only_their_features():
    values = with_gaps(random_values(8, 6, gain=0.4))
    graph = line_graph(6)
    got = sign_flip_test(values, names(8), correct=["fdr", "max", "cluster", "tfce"], graph=graph)
    for name in ("p", "p_fdr", "p_max", "p_cluster", "p_tfce"):
        assert_array_equal(np.isnan(got[name]), [False, True, True, False, False, False], err_msg=name)
    alone = sign_flip_test(np.delete(values, [1, 2], axis=0)[:, :1], np.delete(names(8), [1, 2]))
    assert_allclose(got["p"][0], alone["p"][0], rtol=1e-13)
    assert np.isfinite(got["null_cluster"]).all()
    assert np.isfinite(got["null_tfce"]).all()


def test_nothing_to_test_is_no_error():
    got = sign_flip_test(np.full((3, 2), np.nan), names(3), correct=["fdr", "max", "cluster"], graph=line_graph(2))
    assert np.isnan([got[name] for name in ("p", "p_fdr", "p_max", "p_cluster", "group_z")]).all()
    assert_array_equal(got["exceedances"], [-1, -1])
    constant = sign_flip_test(np.zeros((3, 1)), names(3))
    assert constant["p"][0] == constant["p_max"][0] == 1


def test_a_flip_is_one_bit_of_the_dyads_own_stream():
    draws = Draws(Signs(("b", "a")), 500, 7, listed=False)
    got = draws.take(0, 501)
    for unit, label in enumerate("ba"):
        words = stream(7, np.arange(501), 1, entity=entity_id(label), purpose=purpose_word(Purpose.SIGN_FLIP))[0]
        assert_array_equal(got[1:, unit], (words >> 31)[1:])
    assert_array_equal(got[0], [0, 0])
    assert 200 < got[:, 0].sum() < 300
    assert_array_equal(draws.take(100, 200), got[100:200])
    more = Draws(Signs(("a", "c", "b")), 500, 7, listed=False).take(0, 501)
    assert_array_equal(more[:, [2, 0]], got)
    assert (Draws(Signs(("b", "a")), 500, 8, listed=False).take(0, 501) != got).mean() > 0.4


def test_every_combination_is_listed_once_the_observed_one_first():
    draws = Draws.plan(Signs(("b", "a", "c")), 10, 0)
    assert draws.listed
    assert draws.n == 2**3 - 1
    listed = draws.take(0, draws.n + 1)
    assert_array_equal(listed[0], 0)
    assert set(map(tuple, listed)) == set(product(range(2), repeat=3))


@pytest.mark.parametrize("n_units", [6, 24])
def test_result_does_not_depend_on_the_order_of_rows_or_on_blocks(n_units, monkeypatch):
    values = random_values(n_units, 10, gain=0.2)
    order = np.random.default_rng(1).permutation(n_units)
    plain = sign_flip_test(values, names(n_units), n=300, seed=5)
    mixed = sign_flip_test(values[order], [names(n_units)[i] for i in order], n=300, seed=5)
    monkeypatch.setattr(loop, "_BLOCK_VALUES", 1)
    monkeypatch.setattr(loop, "RANGE_VALUES", 1)
    blocks = sign_flip_test(values, names(n_units), n=300, seed=5)
    for name in ("p", "p_max", "exceedances", "n_near_ties"):
        assert_array_equal(mixed[name], plain[name])
        assert_array_equal(blocks[name], plain[name])
    assert_allclose(mixed["null_max"], plain["null_max"], rtol=1e-6)


def test_histograms_count_the_group_means_of_every_draw():
    values = random_values(8, 5, gain=0.2)
    groups = np.array([0, 0, 1, 1, 1])
    got = sign_flip_test(values, names(8), groups=groups)
    drawn = means(values, all_flips(8))
    width = got["hist_center"][1] - got["hist_center"][0]
    for group in range(2):
        pooled = drawn[:, groups == group].mean(axis=1)
        assert_allclose(got["pooled_statistic"][group], pooled[0], rtol=1e-12)
        assert got["null_hist"][group].sum() == 255
        counted = np.repeat(got["hist_center"], got["null_hist"][group])
        assert_allclose(counted, np.sort(pooled[1:]), atol=0.51 * width)


def test_two_sided_flips_have_the_p_of_the_absolute_mean_where_all_are_listed():
    """Each listed draw has its mirror image, so that twice a tail is both tails; of random draws it is not."""
    values = random_values(8, 20, gain=0.3)
    every = np.abs(means(values, all_flips(8)))
    got = sign_flip_test(values, names(8))
    assert_allclose(got["p"], (every >= every[0] - 1e-12).mean(axis=0), rtol=1e-12)
    drawn = sign_flip_test(random_values(24, 20, gain=0.3), names(24), n=199)
    assert (drawn["p"] >= 2 / 200).all()


def test_smallest_p_and_what_falls_short_of_it():
    few, many = (Draws.plan(Signs(tuple(names(n))), 99, 0) for n in (5, 30))
    assert (few.listed, many.listed) == (True, False)
    one, two = Settings(tail="greater"), Settings()
    assert one.min_p(few.n + 1) == 1 / 32
    assert two.min_p(few.n + 1) == 2 / 32
    assert two.min_p(many.n + 1) == 0.02
    assert two.min_p(1) == 1

    def caution(draws, n_features, correct, **words):
        return attainable(Settings(correct=correct, **words), n_features, draws)

    assert caution(few, 100, ["max"], tail="greater") == ""
    assert caution(few, 100, ["max"]) == (
        "no single finding could pass 'max': 5 dyads allow only 32 exchanges (smallest p 0.0625), too few for 100 "
        "features tested with 'max' at alpha=0.05; record more of them or test fewer features"
    )
    assert "10 features tested with 'fdr' at alpha=0.05 need n=399 draws, 99 were" in caution(many, 10, ["fdr", "max"])
    assert caution(many, 2, ["fdr"]) == ""
    assert caution(many, 2, ["fdr_by"]) != ""
    assert caution(many, 5, ["cluster"]) == ""
    assert "32 exchanges" in caution(few, 1, [])
    assert "only 4 exchanges that differ (smallest p 0.5)" in attainable(two, 1, few, n_ways=4)
    assert "10 clients allow" in attainable(two, 1, few, units="10 clients")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"correct": ["bonferroni"]}, "correct='bonferroni' is unknown; valid are 'fdr'"),
        ({"correct": "max"}, "correct='max' is not a list"),
        ({"correct": ["fdr", "fdr_by"]}, "both 'fdr' and 'fdr_by'"),
        ({"correct": ["cluster"]}, "'cluster', which needs to know the neighbours of each feature: give graph"),
        ({"correct": ["tfce"], "graph": line_graph(3)}, r"graph has shape \(3, 3\) for 2 features"),
        ({"tail": "both"}, "tail='both' is unknown; valid are 'greater'"),
        ({"labels": ["a", "b", "a"]}, "'a' is listed twice"),
        ({"labels": ["a", "b"]}, "3 rows for 2 labels"),
        ({"values": np.ones((1, 2)), "labels": ["a"]}, "needs at least 2 of them, found 1"),
        ({"n": 0}, "0 draws were asked for"),
        ({"seed": -1}, "seed -1 is not one of"),
        ({"groups": np.zeros(3, int)}, "one group per feature"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(options, message):
    settings = {"values": np.ones((3, 2)), "labels": ["a", "b", "c"], **options}
    with pytest.raises(PlanError, match=message) as error:
        sign_flip_test(**settings)
    assert "\n" not in str(error.value)
