from dataclasses import replace
from itertools import combinations, permutations, product

import numpy as np
import pytest
import xarray as xr
from fake_results import COUPLED, make_real, make_result, pair_coherence
from numpy.testing import assert_allclose, assert_array_equal
from permuted import sign_flip_test
from refusals import plan_refusal
from scipy.stats import ttest_1samp, ttest_ind

import ibsync
from ibsync.errors import PlanError
from ibsync.inference.settings import TestSettings as Settings
from ibsync.nulls.draws import Draws
from ibsync.nulls.repaired_null import RepairedNull
from ibsync.nulls.repairing import Repairing
from ibsync.questions.contrast import _GROUPS as GROUPS
from ibsync.questions.contrast import contrast, weights_in_words
from ibsync.questions.exchanges import Units, exchange_groups
from ibsync.questions.shared_people import Blocks

CONDITIONS = ("talk", "read", "rest")


def with_third(real, seed=5):
    """Real synchrony with a third epoch of noise between the two."""
    random = np.random.default_rng(seed)
    third = real.isel(epoch=[1]).assign_coords(epoch=["read"])
    third["coherence"] = third["coherence"] + 0.05 * random.standard_normal(third["coherence"].shape)
    both = real.assign_coords(epoch=["talk", "rest"])
    return xr.concat([both, third], "epoch", data_vars="minimal").sel(epoch=["talk", "rest", "read"])


def small(real):
    """Two by two channels, to be enumerated quickly."""
    a, b = COUPLED
    return real.isel(channel_a=[a, 0], channel_b=[b, 1])


def null_of(real, n_dyads, n_sessions=1, **options):
    """The re-pairing null that belongs to `make_real` with the same options."""
    values = pair_coherence(n_dyads, n_sessions, **options).astype(np.float32)
    dyads = [f"dyad{d + 1:02d}" for d in range(n_dyads)]
    design = Repairing.of(dyads, [d + "-a" for d in dyads], [d + "-b" for d in dyads])
    sessions, draws = tuple(f"ses-{s + 1}" for s in range(n_sessions)), Draws.plan(design, 500, 3)
    values = values.reshape(*values.shape[:3], -1)
    return RepairedNull(values, draws, sessions, "repair", dict(real.attrs), tasks=("talk",))


@pytest.fixture(scope="module")
def result():
    return contrast(make_real(12, 2), ("talk", "rest"), tail="greater")


def test_values_are_differences_and_p_those_of_sign_flips(result):
    real = make_real(12, 2)
    rows = real["coherence"].sel(epoch="talk") - real["coherence"].sel(epoch="rest")
    of_dyads = rows.to_numpy().reshape(2, 12, 6, 6, 2).mean(axis=0)
    ds = result.dataset
    assert_array_equal(ds["epoch"], ["talk - rest"])
    assert_allclose(ds["value"].values[:, 0], of_dyads, atol=1e-15)
    assert_allclose(ds["group_statistic"].values[0], of_dyads.mean(axis=0), atol=1e-15)
    expected = sign_flip_test(of_dyads.reshape(12, -1), ds["dyad"].values.tolist(), tail="greater")
    for name in ("p", "p_fdr", "p_max", "exceedances"):
        assert_array_equal(ds[name].values.ravel(), expected[name], err_msg=name)
    assert ds["p_max"].sel(channel_a="S2_D1", channel_b="S2_D2", band="task").item() <= 0.05
    assert ds.attrs["exact"] == 1
    assert ds.attrs["n"] == 2**12 - 1
    assert ds.attrs["min_p"] == 2.0**-12


def test_a_mapping_says_the_same_as_a_pair_and_the_other_sign_the_opposite(result):
    real = make_real(12, 2)
    mapped = contrast(real, {"talk": 2, "rest": -2}, tail="greater").dataset
    assert_array_equal(mapped["p_max"], result.dataset["p_max"])
    assert_array_equal(mapped["epoch"], ["2 talk - 2 rest"])
    turned = contrast(real, ("rest", "talk"), tail="less").dataset
    assert_array_equal(turned["p_max"].values, result.dataset["p_max"].values)
    assert_allclose(turned["value"].values, -result.dataset["value"].values)


def test_only_sessions_with_both_conditions_enter():
    real = make_real(4, 2, coupling=0.3)
    values = real["coherence"].values
    values[1, 1] = np.nan  # dyad02 has no rest in its first session
    said = "session 'ses-1' of dyad 'dyad02' is left out, it has no channel pair with values in all of 'talk', 'rest'"
    with pytest.warns(RuntimeWarning, match=said), pytest.warns(RuntimeWarning, match="no single finding could pass"):
        got = contrast(real, ("talk", "rest"))
    assert_allclose(got.dataset["value"].values[1, 0], values[5, 0] - values[5, 1], rtol=1e-12)
    assert got.dataset.attrs["left_out"] == said


def test_a_dyad_that_lacks_a_condition_is_left_out_and_named():
    real = make_real(9)
    real["coherence"].values[2, 1] = np.nan
    real["coherence"].values[4] = np.nan
    said = (
        "dyad 'dyad03' is left out, it has no value in 'rest'; dyad 'dyad05' is left out, it has no value in 'talk' and"
    )
    with pytest.warns(RuntimeWarning, match=said):
        got = contrast(real, ("talk", "rest"), correct=["max"])
    assert got.dataset.sizes["dyad"] == 7
    assert not {"dyad03", "dyad05"} & set(got.dataset["dyad"].values)
    assert got.dataset.attrs["left_out"].startswith("dyad 'dyad03'")
    assert "Left out: dyad 'dyad03'" in got.methods()
    assert "left out: dyad 'dyad03'" in str(got)
    real["coherence"].values[0, 0, 0] = np.nan
    real["coherence"].values[0, 1, 1:] = np.nan
    with pytest.warns(
        RuntimeWarning, match="'dyad01' is left out, it has no channel pair with values in all of 'talk'"
    ):
        contrast(real, ("talk", "rest"), correct=[])


def test_of_three_conditions_the_sign_of_the_weighted_sum_is_flipped():
    real = small(with_third(make_real(6)))
    weights = {"talk": 1.0, "rest": -0.5, "read": -0.5}
    got = contrast(real, weights, correct=[], tail="greater").dataset
    x = real["coherence"].sel(epoch=list(weights)).to_numpy()  # [dyad, condition, a, b, band]
    of_dyads = np.einsum("c,dc...->d...", np.array(list(weights.values())), x)
    every = np.array([np.tensordot(signs, of_dyads, 1) / 6 for signs in product([1, -1], repeat=6)])
    assert_allclose(got["group_statistic"].values[0], every[0], rtol=1e-12)
    assert_allclose(got["p"].values[0], (every >= every[0] - 1e-12).mean(axis=0), rtol=1e-12)
    assert_allclose(got["group_null_sd"].values[0], every.std(axis=0), rtol=1e-10)
    assert got.attrs["null_kind"] == "sign_flip"
    assert got["epoch"].item() == "talk - 0.5 rest - 0.5 read"
    oracle = ttest_1samp(of_dyads, 0).confidence_interval(0.95)
    assert_allclose(got["student_low"].values[0], oracle.low, rtol=1e-9)
    assert_allclose(got["student_high"].values[0], oracle.high, rtol=1e-9)


def test_a_condition_of_weight_zero_must_be_there_and_changes_nothing_else():
    real = small(with_third(make_real(6)))
    two = contrast(real, ("talk", "rest"), correct=[]).dataset
    three = contrast(real, {"talk": 1, "rest": -1, "read": 0}, correct=[]).dataset
    assert_array_equal(three["value"].values, two["value"].values)
    assert_array_equal(three["p"].values, two["p"].values)
    assert three["epoch"].item() == "talk - rest"


def test_with_a_null_partners_are_exchanged_instead():
    real = make_real(5)
    null = null_of(real, 5)
    for tail in ("greater", "less", "two-sided"):
        got = contrast(real, ("talk", "rest"), null=null, tail=tail, correct=[]).dataset
        pairs = null.pair_values[0].astype(float).reshape(5, 5, 2, 6, 6, 2)
        difference = pairs[:, :, 0] - pairs[:, :, 1]
        every = np.array([difference[np.arange(5), list(order)].mean(axis=0) for order in permutations(range(5))])
        upper, lower = (every >= every[0] - 1e-6).mean(axis=0), (every <= every[0] + 1e-6).mean(axis=0)
        expected = {"greater": upper, "less": lower, "two-sided": np.minimum(1, 2 * np.minimum(upper, lower))}[tail]
        assert_allclose(got["p"].values[0], expected, rtol=1e-12)
    assert_allclose(got["group_statistic"].values[0], every[0], atol=1e-6)
    assert_allclose(got["group_null_mean"].values[0], every.mean(axis=0), atol=1e-6)
    assert got.attrs["null_kind"] == "repair"
    assert got.attrs["min_p"] == 2 / 120


def test_words_name_the_contrast_and_what_it_is_compared_with(result):
    assert "the contrast talk - rest of real partners above zero (p_max" in result.headline
    assert "1 of 72 tests shows" in result.headline
    assert "the conditions do not differ" in result.hypothesis
    assert "does not exclude whatever else differs between the conditions" in result.hypothesis
    text = result.methods()
    for words in (
        "over the epochs talk, rest, cut from",
        "Of each dyad the contrast talk - rest was taken, as the mean over its sessions",
        "sign flips over dyads, all 4095 besides the real one",
        "tail: greater",
    ):
        assert words in text
    two_sided = contrast(make_real(12, 2), ("talk", "rest"))
    assert "reach the observed value, twice that of the smaller tail" in two_sided.methods()
    assert "different from zero" in two_sided.hypothesis
    real = make_real(8)
    repaired = contrast(real, ("talk", "rest"), null=null_of(real, 8), tail="greater")
    assert "contrast talk - rest of real partners above that of re-paired partners" in repaired.hypothesis
    assert "pseudo-dyads of the same paradigm" in repaired.hypothesis


def test_weights_in_words():
    words = weights_in_words
    assert words({"a": 1, "b": -1}) == "a - b"
    assert words({"a": -0.5, "b": 0, "c": 2, "d": -1.5}) == "-0.5 a + 2 c - 1.5 d"
    assert words({}) == ""


def test_a_saved_result_comes_back_and_is_reported(result, tmp_path):
    again = ibsync.load(result.save(tmp_path / "contrast.h5"))
    xr.testing.assert_identical(again.dataset, result.dataset)
    assert again.headline == result.headline
    frame = again.to_frame()
    assert set(frame["epoch"]) == {"talk - rest"}
    assert len(frame) == 72 * 13
    assert frame["p"].notna().sum() == 72
    page = ibsync.report(again, tmp_path / "contrast.html").read_text(encoding="utf-8")
    assert "talk - rest" in page
    assert "sign flips over dyads" in page
    real = make_real(6)
    repaired = contrast(real, ("talk", "rest"), null=null_of(real, 6), correct=["max"])
    assert "re-pairing" in ibsync.report(repaired, tmp_path / "repaired.html").read_text(encoding="utf-8")


def test_session_is_kept_only_where_a_dyad_has_one():
    one, two = (contrast(make_real(8, n), ("talk", "rest"), correct=["max"]) for n in (1, 2))
    assert set(one.dataset["session"].values) == {"ses-1"}
    assert "session" not in two.dataset.coords
    assert two.dataset["person_a"].values[3] == "dyad04-a"


def test_clusters_and_enhancement_are_corrected_for_and_told():
    real = make_real(10)
    got = contrast(real, ("talk", "rest"), correct=["cluster", "tfce"])
    assert {"p_cluster", "p_tfce", "cluster"} <= set(got.dataset)
    assert "p_tfce ≤ 0.05, family-wise, threshold-free enhancement" in got.headline
    for words in ("Maris & Oostenveld 2007", "Smith & Nichols 2009", "largest cluster mass"):
        assert words in got.methods()
    only = contrast(real, ("talk", "rest"), correct=["cluster"], neighbours=[("S1_D1", "S1_D2")])
    assert "p_cluster ≤ 0.05, family-wise, whole clusters" in only.headline
    assert "p_cluster" in str(only)
    repaired = contrast(real, ("talk", "rest"), null=null_of(real, 10), correct=["cluster", "max"])
    assert np.isfinite(repaired.dataset["p_max"]).all()
    assert repaired.dataset["p_cluster"].dims == ("epoch", "channel_a", "channel_b", "band")


def test_too_few_dyads_are_said_or_refused():
    real = make_real(4)
    with pytest.warns(RuntimeWarning, match="4 dyads allow only 16 exchanges"):
        got = contrast(real, ("talk", "rest"))
    assert "4 dyads allow only 16" in got.dataset.attrs["caution"]
    assert "no p can fall below 0.125" in got.headline
    with pytest.raises(PlanError, match="4 dyads allow only 16 exchanges"):
        contrast(real, ("talk", "rest"), correct=["max"])
    with pytest.raises(PlanError, match="allow only 24"):
        contrast(real, ("talk", "rest"), null=null_of(real, 4), correct=["fdr"])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (("talc", "rest"), "no condition 'talc'; did you mean 'talk'. epochs are 'talk', 'rest', tasks 'talk'"),
        ({"talk": 1, "sleep": -1}, "no condition 'sleep'; epochs are 'talk', 'rest', tasks"),
        ({"talk": 1, "rest": -0.5}, "sum to 0 and are not all 0"),
        ({"talk": 0, "rest": 0}, "sum to 0 and are not all 0"),
        ({"talk": float("nan"), "rest": -1}, "sum to 0 and are not all 0"),
        ({"talk": "a lot", "rest": -1}, "weight of 'talk' is 'a lot'; give a number"),
        ({}, "sum to 0 and are not all 0"),
        ("talk", "two different conditions or map"),
        (("talk", "talk"), "two different conditions or map"),
        (("talk", "rest", "talk"), "two different conditions or map"),
    ],
)
def test_weights_that_are_no_contrast_are_refused_in_one_line(weights, message):
    with pytest.raises(PlanError, match=message) as error:
        contrast(make_real(6), weights)
    assert "\n" not in str(error.value)


def test_what_cannot_be_tested_is_refused():
    with pytest.raises(PlanError, match="needs two with all of 'talk', 'rest': only 'dyad01' has them"):
        contrast(make_real(1), ("talk", "rest"))
    empty = make_real(3)
    empty["coherence"].values[:] = np.nan
    with pytest.raises(PlanError, match="none has them"):
        contrast(empty, ("talk", "rest"))
    real = make_real(6)
    null = null_of(real, 6)
    with pytest.raises(PlanError, match="real and null differ in spec"):
        contrast(real.assign_attrs(spec="{}"), ("talk", "rest"), null=null)
    with pytest.raises(PlanError, match="takes a re-pairing null"):
        contrast(real, ("talk", "rest"), null="repair")
    with pytest.raises(PlanError, match="correct='bonferroni' is unknown"):
        contrast(real, ("talk", "rest"), correct=["bonferroni"])


# --- tasks that were recorded as files of their own -------------------------------------------------------------------


def tasks_of(real, durations=(300.0, 300.0)):
    """Epochs talk and rest as tasks: a row for each, with the one epoch "all"."""
    parts = [
        real.sel(epoch=[name]).assign_coords(
            epoch=["all"], task=("dyad", [name] * real.sizes["dyad"]), duration=("dyad", [s] * real.sizes["dyad"])
        )
        for name, s in zip(("talk", "rest"), durations, strict=True)
    ]
    return xr.concat(parts, "dyad", data_vars="all")


def test_tasks_as_files_are_compared_as_epochs_are():
    real = make_real(12, 2)
    of_epochs, of_tasks = (contrast(x, ("talk", "rest"), correct=["max"]).dataset for x in (real, tasks_of(real)))
    for name in ("value", "p", "p_max", "statistic_low", "valid_fraction"):
        assert_allclose(of_tasks[name].values, of_epochs[name].values, rtol=1e-12, err_msg=name)
    assert_array_equal(of_tasks["epoch"], ["talk - rest"])
    text = contrast(tasks_of(real), ("talk", "rest"), correct=["max"]).methods()
    assert "over the whole recording, of the tasks talk, rest, each recorded by itself" in text
    two = xr.concat([tasks_of(real).assign_coords(epoch=[name]) for name in ("first", "last")], "epoch")
    found = contrast(two, ("talk", "rest"), correct=[]).dataset
    assert_array_equal(found["epoch"], ["talk - rest, first", "talk - rest, last"])


def test_a_task_that_a_session_lacks_is_told():
    real = tasks_of(make_real(7, 2))
    one = real.isel(dyad=~((real.dyad == "dyad02") & (real.session == "ses-1") & (real.task == "rest")).values)
    none = one.isel(dyad=~((one.dyad == "dyad03") & (one.task == "rest")).values)
    with pytest.warns(RuntimeWarning, match="'dyad03' is left out, it has no value in 'rest'; session 'ses-1' of dyad"):
        got = contrast(none, ("talk", "rest"), correct=["max"])
    values = real["coherence"].to_numpy()
    assert_allclose(got.dataset["value"].values[1], values[8] - values[22], rtol=1e-12)


def test_partners_are_exchanged_for_tasks_too():
    real = make_real(6, 2)
    null = null_of(real, 6, 2)
    expected = contrast(real, ("talk", "rest"), null=null, tail="greater", correct=[]).dataset
    of_tasks = replace(null, tasks=("talk", "rest"))  # epochs come first among the features, as tasks do
    got = contrast(tasks_of(real), ("talk", "rest"), null=of_tasks, tail="greater", correct=[]).dataset
    assert_allclose(got["p"].values, expected["p"].values, rtol=1e-12)
    assert_allclose(got["group_statistic"].values, expected["group_statistic"].values, atol=1e-7)


def test_tasks_are_never_averaged_and_unequal_ones_not_compared_raw():
    real = tasks_of(make_real(6))
    plan_refusal(lambda: contrast(real, between=("pairs", "others")), "no group 'others'")
    plan_refusal(
        lambda: contrast(real.assign_coords(epoch=["e"]), {"e": 1, "f": -1}), "no condition 'f'", "tasks 'rest'"
    )
    both = real.assign_coords(group=("dyad", ["a", "b"] * 6))
    plan_refusal(lambda: contrast(both, between="group"), "never averaged: compare 'talk' and 'rest', or choose one")
    unequal = tasks_of(make_real(6), (120.0, 600.0))
    plan_refusal(
        lambda: contrast(unequal, ("talk", "rest")), "tasks of dyad 'dyad01' in session 'ses-1' last 120 and 600 s",
        "contrast(ibs.test(real, null), ...)", "study.select(duration=120)",
    )  # fmt: skip
    named = real.assign_coords(epoch=["talk"])
    both = xr.concat([named, named.assign_coords(epoch=["rest"])], "epoch")
    plan_refusal(lambda: contrast(both, ("talk", "rest")), "'talk', 'rest' are epochs and tasks")


def test_of_a_result_each_value_counts_less_its_own_null_mean():
    result = make_result(10)
    got = contrast(result, ("talk", "rest"), correct=[])
    less = (result.dataset["coherence"] - result.dataset["null_mean"]).transpose("dyad", "epoch", ...).values
    assert_allclose(got.dataset["value"].values[:, 0], less[:, 0] - less[:, 1], atol=1e-15)
    assert "less the mean of its null" in got.methods()


# --- groups -----------------------------------------------------------------------------------------------------------


def grouped(real, n_first):
    groups = ["train" if int(name[-2:]) <= n_first else "wait" for name in real["dyad"].values]
    return real.assign_coords(group=("dyad", groups))


@pytest.mark.parametrize("weights", [None, ("talk", "rest")])
def test_groups_are_compared_by_welch_over_all_divisions(weights):
    real = small(grouped(make_real(9, 2), 4))
    got = contrast(real, weights, between=("wait", "train"), correct=["max"])
    values = real["coherence"].to_numpy().reshape(2, 9, 2, -1).mean(axis=0)
    values = values.reshape(9, -1) if weights is None else values[:, 0] - values[:, 1]
    divisions = [list(some) for some in combinations(range(9), 5)]
    divisions.sort(key=lambda some: some != [4, 5, 6, 7, 8])
    every = np.array([ttest_ind(values[c], np.delete(values, c, axis=0), equal_var=False).statistic for c in divisions])
    ds = got.dataset
    assert_allclose(ds["p"].values.ravel(), (np.abs(every) >= np.abs(every[0]) - 1e-9).mean(axis=0), rtol=1e-12)
    upper = contrast(real, weights, between=("wait", "train"), tail="greater", correct=["max"]).dataset
    assert_allclose(upper["p"].values.ravel(), (every >= every[0] - 1e-9).mean(axis=0), rtol=1e-12)
    assert_allclose(ds["group_z"].values.ravel(), every[0], rtol=1e-9)
    assert_allclose(ds["group_statistic"].values.ravel(), values[4:].mean(axis=0) - values[:4].mean(axis=0), rtol=1e-9)
    oracle = ttest_ind(values[4:], values[:4], equal_var=False).confidence_interval(0.95)
    assert_allclose(ds["student_low"].values.ravel(), oracle.low, rtol=1e-9)
    rejected = ds["p"].values <= 0.05
    assert_array_equal(rejected, (ds["statistic_low"].values > 0) | (ds["statistic_high"].values < 0))
    named = "contrast talk - rest" if weights else "coherence"
    assert f"difference wait - train in {named} of real partners" in got.hypothesis
    assert "The mean of group wait minus that of group train was compared, by Welch's t" in got.methods()
    assert ds.attrs["n"] == 125
    assert_array_equal(ds["epoch"], ["talk - rest"] if weights else ["talk", "rest"])


def test_welch_keeps_its_level_where_small_groups_scatter_more():
    """5 dyads of three times the deviation against 13: a difference of means rejects in 18 of 100, Welch's t in 8."""
    random = np.random.default_rng(11)
    values = random.standard_normal((18, 2000))
    values[:5] *= 3
    units = Units([f"d{k}" for k in range(18)], Blocks.of(list(map(str, range(18))), [set()] * 18), (1, 1, 1, 2000))
    asked = Settings(n=499, seed=1, correct=[])
    plan = exchange_groups(values, np.arange(18) < 5, ("a", "b"), units, GROUPS, asked)
    rate = (plan.run(asked)["p"] <= 0.05).mean()
    assert 0.04 < rate < 0.11


def test_raw_values_of_groups_of_unequal_lengths_are_not_compared():
    real = grouped(make_real(8), 4)
    seconds = np.where(real["group"].values == "train", 300.0, 500.0)
    refused = real.assign_coords(duration=("dyad", seconds))
    plan_refusal(
        lambda: contrast(refused, between="group"), "those of 'train' last 300 s on average, those of 'wait' 500 s"
    )
    few = grouped(make_real(8), 2)
    plan_refusal(lambda: contrast(few, between="group"), "group 'train' has 2 dyads with a value", "need 3")
    null = null_of(real, 8)
    plan_refusal(lambda: contrast(real, ("talk", "rest"), between="group", null=null), "null and between are different")
    plan_refusal(lambda: contrast(real), "name what to compare")


# --- dyads that share a person ----------------------------------------------------------------------------------------


def test_clients_of_one_therapist_change_sign_together():
    real = small(make_real(9))
    therapists = ["t1", "t1", "t1", "t2", "t2", "t3", "t4", "t5", "t6"]
    shared = real.assign_coords(person_a=("dyad", therapists))
    got = contrast(shared, ("talk", "rest"), correct=[], tail="greater")
    values = (real["coherence"].values[:, 0] - real["coherence"].values[:, 1]).reshape(9, -1)
    place = np.unique(therapists, return_inverse=True)[1]
    every = np.array([np.array(signs)[place] @ values for signs in product([1, -1], repeat=6)])
    assert_allclose(got.dataset["p"].values.ravel(), (every >= every[0] - 1e-12).mean(axis=0), rtol=1e-12)
    assert got.dataset.attrs["n"] == 63
    assert "exchanged as blocks: 't1' in dyads 'dyad01', 'dyad02', 'dyad03'" in got.methods()
    alone = contrast(shared, ("talk", "rest"), block=None, correct=[])
    assert alone.dataset.attrs["n"] == 511
    one = contrast(real.assign_coords(person_a=("dyad", ["t"] * 9)), ("talk", "rest"), correct=[])
    assert one.dataset.attrs["n"] == 511
    assert "this speaks of the dyads of 't' only" in one.hypothesis


def test_partners_exchanged_between_groups_that_are_not_alike_are_warned_of():
    """Persons of one group share a rhythm that others lack: any two of them are more coherent."""
    real = grouped(make_real(10), 5).assign_coords(group=("dyad", ["a", "b"] * 5))
    null = null_of(real, 10)
    label = np.arange(10) % 2
    same = (label[:, None] == label)[None, :, :, None]
    unlike = replace(null, pair_values=null.pair_values + np.float32(0.2) * same)
    held = unlike.real_pairs(np.zeros(10, int), np.arange(10), np.zeros(10, int))[0].reshape(real["coherence"].shape)
    shifted = real.assign(coherence=(real["coherence"].dims, held))
    with pytest.warns(RuntimeWarning, match=r"of one group are more coherent than those of two .*within=\['group'\]"):
        result = ibsync.test(shifted, unlike, correct=["max"])
    assert "exchange within groups" in result.dataset.attrs["warning"]
    assert not ibsync.test(real, null, correct=["max"]).dataset.attrs.get("warning")


def test_dyads_that_differ_among_themselves_are_warned_of():
    real, first = make_real(12), np.arange(12)
    null = null_of(real, 12)

    def tested(own):
        values = null.pair_values.copy()
        values[:, first, first] += np.float32(own) * np.random.default_rng(2).standard_normal((12, 1), np.float32)
        unlike = replace(null, pair_values=values)
        held = unlike.real_pairs(0 * first, first, 0 * first)[0].reshape(real["coherence"].shape)
        return ibsync.test(real.assign(coherence=(real["coherence"].dims, held)), unlike, correct=["max"]).dataset

    with pytest.warns(RuntimeWarning, match=r"differ among themselves more .*ibs.test\(real, \[null, "):
        assert "a second null" in tested(0.1).attrs["warning"]
    assert not tested(0.0).attrs.get("warning")
