"""The table of mixed models against the closed form of balanced data and a fit of the plain values."""

import sys

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from refusals import plan_refusal
from scipy.stats import norm
from sessions import fitted, noise, study

import ibsync


def changing(n_dyads=14, n_sessions=4, n_features=3, *, seed=1):
    """Dyads with slopes of their own, far larger than noise, so that the fit is inside its bounds."""
    random = np.random.default_rng(seed)
    values = 0.3 + 0.02 * random.standard_normal((n_dyads, n_sessions, n_features))
    values += 0.05 * random.standard_normal((n_dyads, 1, n_features))
    return values + (0.01 + 0.03 * random.standard_normal((n_dyads, 1, n_features))) * np.arange(n_sessions)[:, None]


def test_of_balanced_data_it_is_the_mean_of_the_slopes():
    values = changing()
    table = ibsync.mixed_model(study(values))
    slope = fitted(values, np.arange(4))
    assert table["converged"].all()
    assert_allclose(table["estimate"], slope.mean(axis=0), rtol=1e-7)
    se = slope.std(axis=0, ddof=1) / np.sqrt(14)
    assert_allclose(table["se"], se, rtol=1e-3)
    assert_allclose(table["z"], slope.mean(axis=0) / se, rtol=1e-3)
    assert_allclose(table["p"], 2 * norm.sf(np.abs(table["z"])), rtol=1e-12)
    assert_allclose(table["high"] - table["estimate"], norm.ppf(0.975) * table["se"], rtol=1e-12)
    assert_array_equal(table["n_sessions"], 56)
    assert_array_equal(table["term"], "time")
    assert table["channel_b"].tolist() == ["S1_D1", "S2_D1", "S3_D1"]
    found = ibsync.plasticity(study(values), correct=[]).dataset
    assert_allclose(table["estimate"], found["group_statistic"].values.ravel(), rtol=1e-7)


def test_with_sessions_missing_it_is_the_fit_of_the_plain_values():
    from statsmodels.regression.mixed_linear_model import MixedLM

    values = changing(n_features=1, seed=3)
    values[2, 3] = values[5, 0] = values[7, 1:] = np.nan
    with pytest.warns(RuntimeWarning, match="'d08' is left out"):
        ibsync.plasticity(study(values), correct=[])
    with pytest.warns(RuntimeWarning, match="'d08' is left out"):
        table = ibsync.mixed_model(study(values), {f"ses-0{k + 1}": 7 * k for k in range(4)})
    kept = np.delete(np.arange(14), 7)
    y = values[kept, :, 0]
    frame = pd.DataFrame({"y": y.ravel(), "day": np.tile(7.0 * np.arange(4), 13), "dyad": np.repeat(kept, 4)}).dropna()
    frame["week"] = frame["day"] / 7 - 1.5
    frame["y"] *= 10
    plain = MixedLM.from_formula("y ~ week", frame, groups="dyad", re_formula="~week").fit()
    assert plain.converged
    assert_allclose(table["estimate"].item(), plain.params["week"] / 70, rtol=1e-4)
    assert_allclose(table["se"].item(), plain.bse["week"] / 70, rtol=1e-3)
    assert table.attrs["left_out"].startswith("dyad 'd08'")
    assert (table["n_dyads"].item(), table["n_sessions"].item()) == (13, 50)


def test_groups_have_slopes_of_their_own():
    values = changing()
    groups = ["a"] * 6 + ["b"] * 8
    table = ibsync.mixed_model(study(values, groups=groups), between=("b", "a")).set_index(["channel_b", "term"])
    slope = fitted(values, np.arange(4))
    a, b = slope[:6, 1].mean(), slope[6:, 1].mean()
    estimates = table.loc["S2_D1", "estimate"]
    assert_allclose(estimates[["time (b)", "time (a)", "difference b - a"]], [b, a, b - a], rtol=1e-6)
    se = table.loc["S2_D1", "se"]
    assert_allclose(se["difference b - a"] ** 2, se["time (b)"] ** 2 + se["time (a)"] ** 2, rtol=1e-6)


def test_what_does_not_converge_is_said_feature_by_feature():
    values = noise(12, 4, 8, seed=2)
    values[..., 3] = 0.25
    values[:, 1:, 4] = np.nan
    values[6:, :, 4] = np.nan
    table = ibsync.mixed_model(study(values))
    assert len(table) == 8
    failed = table[~table["converged"]].drop(index=[3, 4])
    assert len(failed) >= 1, "noise alone has no slopes of dyads: some fits end on the boundary"
    assert (failed["note"] != "").all()
    assert failed["note"].str.contains("failed to converge").all()
    assert table["note"][3] == "no fit: all values are the same"
    assert table["note"][4].startswith("no fit: 6 values of 6 dyads")
    missing = table[["estimate", "se", "z", "p", "low", "high"]].isna().all(axis=1)
    assert_array_equal(np.flatnonzero(missing), [3, 4])
    assert "test with plasticity" in table.attrs["caution"]


def test_pairs_that_were_not_asked_for_have_no_row():
    values = changing()
    values[..., 1] = np.nan
    table = ibsync.mixed_model(study(values))
    assert table["channel_b"].tolist() == ["S1_D1", "S3_D1"]


def test_of_a_result_the_null_mean_is_taken_off_and_shared_persons_are_told():
    from fake_results import make_result

    result = make_result(10, 3)
    few = ibsync.Result(result.dataset.isel(channel_a=[2], channel_b=[3], band=[0]))
    few = ibsync.Result(few.dataset.assign_coords(person_a=("dyad", np.tile(["t1", "t1", *"bcdefghi"], 3))))
    table = ibsync.mixed_model(few).set_index("epoch")
    ds = few.dataset
    less = (ds["coherence"] - ds["null_mean"]).sel(epoch="talk").values.reshape(3, 10).T[:, :, None]
    assert_allclose(table.loc["talk", "estimate"], fitted(less, np.arange(3)).mean(), rtol=1e-6)
    assert "'t1' in dyads 'dyad01', 'dyad02'" in table.attrs["caution"]


def test_without_statsmodels_the_mend_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "statsmodels.regression.mixed_linear_model", None)
    plan_refusal(lambda: ibsync.mixed_model(study(changing())), "needs statsmodels: pip install 'ibsync[stats]'")


def test_times_and_groups_are_refused_as_in_plasticity():
    named = study(noise(4, 2), sessions=["pre", "post"])
    plan_refusal(lambda: ibsync.mixed_model(named), "session 'pre' has no place in time")
    plan_refusal(lambda: ibsync.mixed_model(named, {"pre": 0, "post": 1}, between="group"), "compares two groups")


def test_groups_that_were_not_named_and_dyads_that_lack_sessions_are_told():
    values = changing(9)
    values[0, 1:] = np.nan
    real = study(values, groups=["a"] * 4 + ["b"] * 4 + ["c"])
    with pytest.warns(RuntimeWarning, match="dyad 'd01' is left out, it has only session 'ses-01'"):
        table = ibsync.mixed_model(real, between=("a", "b"))
    assert table.attrs["entered"] == "7 dyads with 28 sessions (without 'd09', of other groups)"
    assert table.attrs["left_out"] == "dyad 'd01' is left out, it has only session 'ses-01'"
