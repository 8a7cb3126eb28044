from itertools import permutations, product

import numpy as np
import pytest
import xarray as xr
from fake_results import COUPLED, make_real, pair_coherence
from numpy.testing import assert_allclose, assert_array_equal
from permuted import sign_flip_test

import ibsync
from ibsync.errors import PlanError
from ibsync.nulls.draws import Draws
from ibsync.nulls.repaired_null import RepairedNull
from ibsync.nulls.repairing import Repairing
from ibsync.questions.contrast import contrast, weights_in_words

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
    sessions = tuple(f"ses-{s + 1} / talk" for s in range(n_sessions))
    return RepairedNull(
        values.reshape(*values.shape[:3], -1), Draws.plan(design, 500, 3), sessions, "repair", dict(real.attrs)
    )


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
    assert ds.attrs["n_draws"] == 2**12 - 1
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


def test_labels_of_three_conditions_are_exchanged_within_dyads():
    real = small(with_third(make_real(4)))
    weights = {"talk": 1.0, "rest": -0.5, "read": -0.5}
    got = contrast(real, weights, correct=[], tail="greater").dataset
    x = real["coherence"].sel(epoch=list(weights)).to_numpy()  # [dyad, condition, a, b, band]
    orders = list(permutations(weights.values()))
    terms = np.array([[np.tensordot(order, dyad, 1) for order in orders] for dyad in x])
    every = np.array([terms[np.arange(4), list(pick)].mean(axis=0) for pick in product(range(6), repeat=4)])
    assert_allclose(got["group_statistic"].values[0], every[0], rtol=1e-12)
    assert_allclose(got["p"].values[0], (every >= every[0] - 1e-12).mean(axis=0), rtol=1e-12)
    assert_allclose(got["group_null_sd"].values[0], every.std(axis=0), rtol=1e-10)
    assert got.attrs["null_kind"] == "condition_labels"
    assert got.attrs["n_draws"] == 3**4 - 1, "equal weights make equal orders"
    assert got["epoch"].item() == "talk - 0.5 rest - 0.5 read"


def test_a_condition_of_weight_zero_is_exchanged_too():
    real = small(with_third(make_real(4)))
    with pytest.warns(RuntimeWarning, match="4 dyads allow only 16 exchanges"):
        two = contrast(real, ("talk", "rest"), correct=[]).dataset
    three = contrast(real, {"talk": 1, "rest": -1, "read": 0}, correct=[]).dataset
    assert_array_equal(three["value"].values, two["value"].values)
    assert three["epoch"].item() == "talk - rest"
    assert (two.attrs["n_draws"], three.attrs["n_draws"]) == (2**4 - 1, 6**4 - 1)
    assert three.attrs["min_p"] == 2 / 6**4


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
    assert "the two conditions do not differ" in result.hypothesis
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
    assert "contrast talk - rest of real partners above that of re-paired ones" in repaired.hypothesis
    assert "any partner in the same paradigm" in repaired.hypothesis
    exchanged = contrast(small(with_third(make_real(8))), {"talk": 1, "rest": -1, "read": 0})
    assert "none of the conditions differ" in exchanged.hypothesis
    assert "exchange of condition labels within dyads" in exchanged.methods()


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
        (("talc", "rest"), "no epoch 'talc'; did you mean 'talk'. there are 'talk', 'rest'"),
        ({"talk": 1, "sleep": -1}, "no epoch 'sleep'; there are 'talk', 'rest'"),
        ({"talk": 1, "rest": -0.5}, "sum to 0 and are not all 0"),
        ({"talk": 0, "rest": 0}, "sum to 0 and are not all 0"),
        ({"talk": float("nan"), "rest": -1}, "sum to 0 and are not all 0"),
        ({}, "sum to 0 and are not all 0"),
        ("talk", "two different epochs or a mapping"),
        (("talk", "talk"), "two different epochs or a mapping"),
        (("talk", "rest", "talk"), "two different epochs or a mapping"),
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
    six = xr.concat(
        [real.isel(epoch=[0]).assign_coords(epoch=[name]) for name in "abcdef"], "epoch", data_vars="minimal"
    )
    with pytest.raises(PlanError, match="at most 5 conditions, got 6"):
        contrast(six, {"a": 1, "b": -1, "c": 0, "d": 0, "e": 0, "f": 0})
    null = null_of(real, 6)
    with pytest.raises(PlanError, match="real and null differ in spec"):
        contrast(real.assign_attrs(spec="{}"), ("talk", "rest"), null=null)
    with pytest.raises(PlanError, match="takes a re-pairing null"):
        contrast(real, ("talk", "rest"), null="repair")
    with pytest.raises(PlanError, match="'bonferroni' is not a list of corrections"):
        contrast(real, ("talk", "rest"), correct=["bonferroni"])
