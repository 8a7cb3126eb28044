"""Dyads that share a person, and confidence intervals of a change over sessions, against slow forms."""

from functools import partial
from itertools import combinations, product

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from refusals import plan_refusal
from scipy.stats import binom, t
from sessions import fitted, noise, precisions, quiet, study

from ibsync.inference.intervals import sign_flip_interval, student_interval
from ibsync.nulls.draws import Draws
from ibsync.nulls.relabelling import Signs
from ibsync.nulls.shared_partners import components
from ibsync.questions.shared_people import Blocks

ORIENT = {"greater": lambda x: x, "less": np.negative, "two-sided": np.abs}


def treated(values, therapists, **words):
    """Real synchrony of clients with the therapist of each: [dyad, session, feature], one name per dyad."""
    real = study(values, **words)
    of_dyad = dict(zip([f"d{d + 1:02d}" for d in range(len(values))], therapists, strict=True))
    return real.assign_coords(person_b=("dyad", [of_dyad[str(dyad)] for dyad in real["dyad"].values]))


def block_signs(therapists):
    """Every sign of each block, spread over its dyads; all + first."""
    names = list(dict.fromkeys(therapists))
    for signs in product((1, -1), repeat=len(names)):
        yield np.array([signs[names.index(name)] for name in therapists])


THERAPISTS = ["t1", "t1", "t2", "t3", "t3", "t3", "t4", "t5", "t6", "t6"]


# --- components -------------------------------------------------------------------------------------------------------


def test_components_are_linked_through_others():
    sets = [{"a", "b"}, {"c"}, {"b", "d"}, set(), {"d", "e"}, {"c", "f"}]
    assert components(sets) == [[0, 2, 4], [1, 5], [3]]
    blocks = Blocks.of(["p", "q", "r", "s", "t", "u"], sets)
    assert blocks.labels == ("p", "q", "s")
    assert_array_equal(blocks.number, [0, 1, 0, 2, 0, 1])
    assert blocks.shared == "'b', 'd' in dyads 'p', 'r', 't'; 'c' in dyads 'q', 'u'"
    assert_allclose(blocks.sums(np.arange(6.0)), [6, 6, 3])


# --- signs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tail", ["greater", "less", "two-sided"])
def test_clients_of_one_therapist_change_their_signs_together(tail):
    values = noise(10, 3, 4, growth=0.01)
    values[2, :, 1] = np.nan  # the only dyad of a therapist lacks a feature
    values[3, :, 2] = np.nan
    result = quiet(treated(values, THERAPISTS), tail=tail)
    got = result.dataset
    slope = fitted(values, np.arange(3))
    every = ORIENT[tail](np.array([np.nanmean(signs[:, None] * slope, axis=0) for signs in block_signs(THERAPISTS)]))
    assert_allclose(got["p"].values.ravel(), (every >= every[0] - 1e-12).mean(axis=0), rtol=1e-12)
    assert got.attrs["n"] == 2**6 - 1
    assert_array_equal(got["n_dyads"].values.ravel(), [10, 9, 9, 10])
    assert_allclose(got["group_statistic"].values.ravel(), np.nanmean(slope, axis=0), rtol=1e-10)
    sd = np.array([np.nanmean(signs[:, None] * slope, axis=0) for signs in block_signs(THERAPISTS)]).std(axis=0)
    assert_allclose(got["group_null_sd"].values.ravel(), sd, rtol=1e-10)
    z = np.sort(every[1:] / sd, axis=1)[:, -1]
    assert_allclose(np.sort(result.null["null_max"]), np.sort(z), rtol=1e-5)


def test_words_name_who_is_shared():
    real = treated(noise(10, 3), THERAPISTS)
    got = quiet(real)
    shared = "'t1' in dyads 'd01', 'd02'; 't3' in dyads 'd04', 'd05', 'd06'; 't6' in dyads 'd09', 'd10'"
    assert got.dataset.attrs["blocks"] == shared
    assert f"exchanged together: {shared}" in str(got)
    assert "10 dyads with 30 sessions entered. Not independent, and exchanged as blocks: 't1'" in got.methods()
    alone = quiet(real, block=None)
    assert alone.dataset.attrs["blocks"] == ""
    assert alone.dataset.attrs["n"] == 2**10 - 1
    site = real.assign_coords(site=("dyad", np.where(real["dyad"].values < "d05", "west", real["dyad"].values)))
    assert quiet(site, block="site").dataset.attrs["n"] == 2**7 - 1


def test_clusters_of_blocks():
    from fake_results import make_real

    real = make_real(9, 3, coupling=0.15)
    real = real.assign_coords(person_b=("dyad", np.tile(["t1", "t1", *"bcdefgh"], 3)))
    got = quiet(real, correct=["cluster", "tfce", "max"], tail="greater").dataset
    place = {"epoch": "talk", "channel_a": "S2_D1", "channel_b": "S2_D2", "band": "task"}
    assert got["p_tfce"].sel(place) == got["p_tfce"].min()
    assert got.attrs["n"] == 2**8 - 1


# --- groups -----------------------------------------------------------------------------------------------------------


def welch(slope, divisions, units=None):
    """Welch's t of every division of dyads, float64 [division, feature]; its errors from sums over whole units."""
    units = np.arange(len(slope)) if units is None else np.unique(units, return_inverse=True)[1]
    out = []
    for chosen in map(np.array, divisions):
        parts = []
        for members in (chosen, ~chosen):
            x, names = slope[members], units[members]
            sums = np.array([(x[names == unit] - x.mean(axis=0)).sum(axis=0) for unit in np.unique(names)])
            parts.append((x.mean(axis=0), (sums**2).sum(axis=0) / len(x) ** 2 * len(sums) / (len(sums) - 1)))
        out.append((parts[0][0] - parts[1][0]) / np.sqrt(parts[0][1] + parts[1][1]))
    return np.array(out)


def of_size(every):
    return (np.abs(every) >= np.abs(every[0]) - 1e-12).mean(axis=0)


def test_therapists_change_groups_with_all_their_clients():
    therapists = ["t1", "t1", "t2", "t3", "t3", "t3", "t4", "t5", "t6", "t7"]
    values = noise(10, 3, 3, growth=0.01)
    groups = ["a"] * 6 + ["b"] * 4
    got = quiet(treated(values, therapists, groups=groups), between="group", alpha=0.1).dataset
    names = list(dict.fromkeys(therapists))
    slope = fitted(values, np.arange(3))
    every = [[therapist in some for therapist in therapists] for some in combinations(names, 3)]
    assert_allclose(got["p"].values.ravel(), of_size(welch(slope, every, therapists)), rtol=1e-12)
    assert got.attrs["n"] == 34


def test_clients_change_groups_within_a_therapist_who_treats_both():
    therapists = ["t1"] * 4 + ["t2"] * 3 + ["x", "y", "z"]
    groups = list("aabbabbaab")
    values = noise(10, 3, 3, growth=0.01)
    got = quiet(treated(values, therapists, groups=groups), between="group").dataset
    strata = [range(4), range(4, 7), range(7, 10)]
    every = []
    for some in product(combinations(strata[0], 2), combinations(strata[1], 1), combinations(strata[2], 2)):
        chosen = np.zeros(10, bool)
        chosen[[place for part in some for place in part]] = True
        every.append(chosen)
    assert_array_equal(every[0], np.array(groups) == "a")
    assert_allclose(got["p"].values.ravel(), of_size(welch(fitted(values, np.arange(3)), every)), rtol=1e-12)
    assert got.attrs["n"] == 6 * 3 * 3 - 1
    assert np.isnan(got["student_low"]).all()


def test_what_blocks_make_untestable_is_refused_by_name():
    values = noise(8, 3)
    few = treated(values, ["t1"] * 3 + ["t2"] * 3 + ["t3", "t4"])
    plan_refusal(lambda: quiet(few), "8 dyads make only 4 blocks", "below 0.125", "'t1' in dyads 'd01', 'd02', 'd03'")
    plan_refusal(lambda: quiet(few, tail="greater"), "below 0.0625")
    ring = study(values).assign_coords(person_b=("dyad", [f"d{k % 8 + 1:02d}-a" for k in range(1, 9)] * 3))
    plan_refusal(lambda: quiet(ring), "all dyads share a person", "'d02-a'")
    order = partial(quiet, few, kind="session_order")
    plan_refusal(order, "order of sessions cannot be exchanged", "'t1' in", "kind='sign_flip'")
    both = treated(values, ["t1", "t2", "t1", "t2", "t2", "t1", "t3", "t3"], groups=list("aabbaabb"))
    plan_refusal(lambda: quiet(both, between="group"), "share a person in both groups, dyads 'd07', 'd08' in one")
    plan_refusal(lambda: quiet(few, block="sight"), "block='sight' is no label of dyads; write 'person', None")
    moved = few.assign_coords(site=("dyad", np.arange(24).astype(str)))
    plan_refusal(lambda: quiet(moved, block="site"), "dyad 'd01' needs one 'site' to be in a block, it has '0' and")


def test_one_site_of_all_dyads_is_one_block():
    real = treated(noise(8, 3), [f"t{k}" for k in range(8)])
    one_site = real.assign_coords(site=("dyad", ["north"] * real.sizes["dyad"]))
    plan_refusal(lambda: quiet(one_site, block="site"), "cannot be flipped one by one", "'north' in dyads")


def test_one_therapist_speaks_of_this_therapists_dyads():
    values = noise(8, 4, growth=0.01)
    alone, apart = quiet(treated(values, ["t1"] * 8), correct=[]), quiet(study(values), correct=[])
    assert_array_equal(alone.dataset["p"], apart.dataset["p"])
    assert_array_equal(alone.dataset["statistic_low"], apart.dataset["statistic_low"])
    assert "this speaks of the dyads of 't1' only" in alone.hypothesis
    assert "'t1' is in every dyad, so that this person's own change is in every slope" in alone.headline
    assert "speaks of" not in apart.hypothesis
    assert "is in every dyad" not in apart.headline
    order = partial(quiet, treated(values, ["t1"] * 8), kind="session_order")
    plan_refusal(order, "order of sessions cannot be exchanged", "'t1' in every dyad")


# --- intervals --------------------------------------------------------------------------------------------------------


def slow_p(slope, signs):
    """Two-sided p of a mean of 0, from listed signs [draw, dyad]."""
    means = np.abs(signs @ slope)
    return (means >= means[0] - 1e-12).mean()


@pytest.mark.parametrize("therapists", [[f"t{k}" for k in range(9)], ["t1", "t1", "t2", "t3", *"abcde"]])
@pytest.mark.parametrize("alpha", [0.05, 0.2])
@pytest.mark.parametrize("weights", ["equal", "precision"])
def test_limits_of_the_mean_are_where_the_test_begins_to_reject(therapists, alpha, weights):
    values = noise(9, 4, 6, growth=0.02, missing=0.2)
    got = quiet(treated(values, therapists), alpha=alpha, correct=[], weights=weights).dataset
    signs = np.array(list(block_signs(therapists)))
    for feature, slope in enumerate(fitted(values, np.arange(4)).T):
        low, high = (got[name].values.ravel()[feature] for name in ("statistic_low", "statistic_high"))
        step = 1e-4 * (high - low) if weights == "precision" else 1e-7

        def p_of(value, slope=slope, feature=feature):
            at = precisions(values[..., [feature]], np.arange(4), value=value)[1][:, 0] if weights != "equal" else 1.0
            return slow_p(at * (slope - value), signs)

        assert p_of(low - step) <= alpha < p_of(low + step)
        assert p_of(high + step) <= alpha < p_of(high - step)
        assert low < got["group_statistic"].values.ravel()[feature] < high


def test_an_interval_leaves_out_nothing_exactly_where_the_test_rejects():
    values = noise(16, 3, 60, growth=0.012)
    values[0, :, 0] = np.nan
    drawn = quiet(study(values), n=499, correct=["max"]).dataset
    rejected = drawn["p"] <= 0.05
    assert 0.1 < rejected.mean() < 0.9
    assert_array_equal(rejected, (drawn["statistic_low"] > 0) | (drawn["statistic_high"] < 0))
    groups = quiet(study(values, groups=["a", "b"] * 8), between="group", n=499, correct=[]).dataset
    assert_array_equal(groups["p"] <= 0.05, (groups["statistic_low"] > 0) | (groups["statistic_high"] < 0))


def test_limits_of_a_difference_are_where_the_test_begins_to_reject():
    values = noise(9, 3, 4, growth=0.01)
    groups = ["a"] * 4 + ["b"] * 5
    got = quiet(study(values, groups=groups), between="group", correct=[]).dataset
    first = np.arange(9) < 4
    every = [np.isin(np.arange(9), some) for some in combinations(range(9), 4)]
    for feature, slope in enumerate(fitted(values, np.arange(3)).T):
        low, high = (got[name].values.ravel()[feature] for name in ("statistic_low", "statistic_high"))

        def p_of(shift, slope=slope):
            return of_size(welch((slope - shift * first)[:, None], every)).item()

        assert p_of(low - 1e-7) <= 0.05 < p_of(low + 1e-7)
        assert p_of(high + 1e-7) <= 0.05 < p_of(high - 1e-7)


def test_intervals_cover_as_often_as_they_say():
    """Of 1500 means of 8 dyads : 12 of 256 exchanges lie outside, so 95.3 in 100."""
    random = np.random.default_rng(5)
    values = random.standard_t(4, (8, 3, 1500)) + 0.7 * np.arange(3)[:, None]
    got = quiet(study(values), correct=[]).dataset
    inside = ((got["statistic_low"] <= 0.7) & (got["statistic_high"] >= 0.7)).mean().item()
    low, high = binom.ppf([0.0005, 0.9995], 1500, 1 - 12 / 256) / 1500
    assert low <= inside <= high


def test_students_interval_is_that_of_the_mean_and_of_welch():
    from scipy.stats import ttest_1samp, ttest_ind

    values = noise(11, 3, 4, growth=0.02)
    slope = fitted(values, np.arange(3))
    got = quiet(study(values, groups=["a"] * 5 + ["b"] * 6), correct=[]).dataset
    oracle = ttest_1samp(slope, 0).confidence_interval(0.95)
    assert_allclose(got["student_low"].values.ravel(), oracle.low, rtol=1e-9)
    assert_allclose(got["student_high"].values.ravel(), oracle.high, rtol=1e-9)
    got = quiet(study(values, groups=["a"] * 5 + ["b"] * 6), between="group", correct=[]).dataset
    oracle = ttest_ind(slope[:5], slope[5:], equal_var=False).confidence_interval(0.95)
    assert_allclose(got["student_low"].values.ravel(), oracle.low, rtol=1e-9)
    assert_allclose(got["student_high"].values.ravel(), oracle.high, rtol=1e-9)
    low, high = student_interval(np.array([1.0]), np.array([2.0]), np.array([0.0]))
    assert np.isnan([low, high]).all()


def test_students_interval_of_blocks_has_the_cluster_robust_error():
    values = noise(10, 3, 3)
    got = quiet(treated(values, THERAPISTS), correct=[]).dataset
    slope, names = fitted(values, np.arange(3)), list(dict.fromkeys(THERAPISTS))
    left = slope - slope.mean(axis=0)
    square = sum(left[np.array(THERAPISTS) == name].sum(axis=0) ** 2 for name in names) / 100 * 6 / 5
    reach = t.ppf(0.975, 5) * np.sqrt(square)
    assert_allclose(got["student_high"].values.ravel(), slope.mean(axis=0) + reach, rtol=1e-9)


def test_few_dyads_leave_the_interval_open():
    got = quiet(study(noise(5, 3)), correct=[]).dataset
    assert_array_equal(got["statistic_low"], -np.inf)
    assert_array_equal(got["statistic_high"], np.inf)
    assert "[-inf, inf]" in str(quiet(study(noise(5, 3)), correct=[]))


def test_many_features_take_a_part_of_the_exchanges(monkeypatch):
    values = noise(16, 3, 3, growth=0.01)
    slope = fitted(values, np.arange(3))
    ones = np.ones(slope.shape, np.int64)
    draws = Draws.plan(Signs(tuple(str(k) for k in range(16))), 100, 1)
    low, high = sign_flip_interval(slope, ones, draws)
    monkeypatch.setattr("ibsync.inference.intervals.MOST_VALUES", 1000)
    near_low, near_high = sign_flip_interval(slope, ones, draws)
    few = sign_flip_interval(slope, ones, Draws(draws.design, 9_999, 1, listed=False))
    assert_array_equal([near_low, near_high], few)
    assert_allclose([near_low, near_high], [low, high], atol=0.1 * (high - low).min())


# --- level ------------------------------------------------------------------------------------------------------------


def test_blocks_keep_their_level_where_therapists_differ_and_single_dyads_do_not():
    """Clients of 8 therapists whose synchrony changes with the therapist, in either direction."""
    random = np.random.default_rng(3)
    therapists = [f"t{k}" for k in range(8) for _ in range(3)]
    values = random.standard_normal((24, 3, 1000))
    values += np.repeat(random.standard_normal((8, 1, 1000)), 3, axis=0) * np.arange(3)[:, None]
    real = treated(values, therapists)
    rates = {
        block: (quiet(real, block=block, n=999, correct=[]).dataset["p"] <= 0.05).mean() for block in ("person", None)
    }
    low, high = binom.ppf([0.0005, 0.9995], 1000, 12 / 256) / 1000
    assert low <= rates["person"] <= high
    assert rates[None] > 0.15
