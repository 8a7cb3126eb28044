"""One test against re-paired partners and surrogates at once: p is the larger of the two."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from refusals import plan_refusal
from scipy.stats import false_discovery_control

import ibsync as ibs
from ibsync.results.result import load

SPEC = ibs.WTC(bands={"slow": (0.03, 0.08), "quick": (0.1, 0.2)}, accuracy="fast")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    path = tmp_path_factory.mktemp("two") / "study.h5"
    return ibs.simulate(path, n_dyads=6, n_channels=2, duration=150, sfreq=2, coupling=0.6, shared_stimulus=0.3, seed=3)


@pytest.fixture(scope="module")
def nulls(study):
    return study.null(SPEC), study.null(SPEC, kind="phase", n=799, seed=1)


@pytest.fixture(scope="module")
def both(study, nulls):
    return ibs.test(study.synchrony(SPEC), list(nulls))


@pytest.fixture(scope="module")
def apart(study, nulls):
    return [ibs.test(study.synchrony(SPEC), null) for null in nulls]


def test_p_is_the_larger_and_p_max_twice_the_larger(both, apart):
    got, (repaired, phase) = both.dataset, (result.dataset for result in apart)
    larger = np.maximum(repaired["p"], phase["p"])
    assert_array_equal(got["p"], larger)
    assert (repaired["p"] > phase["p"]).any()
    assert (repaired["p"] < phase["p"]).any()
    assert_array_equal(got["p_max"], np.minimum(1, 2 * np.maximum(repaired["p_max"], phase["p_max"])))
    assert_allclose(got["p_fdr"].values.ravel(), false_discovery_control(larger.values.ravel()))
    of_first = (repaired["p"] >= phase["p"]).values
    for name in ("group_statistic", "group_null_mean", "group_z"):
        assert_array_equal(got[name], np.where(of_first, repaired[name], phase[name]))
    for name, source in {"p_of_null": "p", "p_max_of_null": "p_max", "z_of_null": "group_z"}.items():
        assert_array_equal(got[name].sel(against="repair"), repaired[source])
        assert_array_equal(got[name].sel(against="phase"), phase[source])
    for name in ("value", "null_mean", "z", "dyad_p", "dyad_p_fdr"):
        assert_array_equal(got[name], phase[name])


def test_words_name_both_nulls(both, tmp_path):
    assert "real partners more coherent than both nulls" in both.headline
    assert "real partners are like pseudo-dyads of the same paradigm, or the two persons" in both.hypothesis
    assert "together with a rhythm that each pair has of its own" in both.hypothesis
    text = both.methods()
    assert "both re-pairing of partners, all 719 besides the real one; and Fourier phase randomisation" in text
    assert "p is the larger of the two, p_max twice the larger (Berger 1982)" in text
    both.save(tmp_path / "both.h5")
    again = load(tmp_path / "both.h5")
    assert again.headline == both.headline
    table = again.to_frame()
    assert {"p_repair", "p_max_repair", "p_phase", "p_max_phase"} <= set(table.columns)
    group = table[table.dyad == "(all)"]
    assert_array_equal(group["p"], group[["p_repair", "p_phase"]].max(axis=1))
    assert table[table.dyad != "(all)"]["p_repair"].isna().all()
    page = ibs.report(again, tmp_path / "page.html")
    text = page.read_text(encoding="utf-8")
    assert "both nulls" in text
    assert all(f">{name}</th>" in text for name in ("p_repair", "p_max_repair", "p_phase", "p_max_phase"))


def test_what_takes_a_result_takes_its_rows_less_the_surrogates(both, apart):
    rows = both.dataset["value"] - both.dataset["null_mean"]
    assert_array_equal(rows, apart[1].dataset["value"] - apart[1].dataset["null_mean"])


def test_order_of_the_nulls_does_not_matter(study, nulls, both):
    turned = ibs.test(study.synchrony(SPEC), nulls[::-1])
    assert_array_equal(turned.dataset["p_of_null"], both.dataset["p_of_null"])
    assert turned.headline == both.headline


def test_questions_name_the_null_whose_mean_was_taken_off(study):
    path = study.path.parent / "sessions.h5"
    longer = ibs.simulate(path, n_dyads=6, n_channels=1, n_sessions=3, duration=60, sfreq=2, seed=1)
    spec = ibs.WTC(bands={"quick": (0.1, 0.3)}, accuracy="fast")
    both = ibs.test(longer.synchrony(spec), [longer.null(spec), longer.null(spec, kind="phase", n=39)], correct=[])
    said = ibs.plasticity(both, correct=[]).methods()
    assert "less the mean of its null (Fourier phase randomisation of the second person, 39 draws, seed 0)" in said


def test_a_result_that_is_tested_again_keeps_nothing_of_the_first_test(study, nulls, both):
    again = ibs.test(both.dataset, nulls[0])
    assert again.headline == ibs.test(study.synchrony(SPEC), nulls[0]).headline
    assert not {"p_of_null", "against", "dyad_p"} & set(again.dataset.variables)


def test_pictures_of_draws_need_one_null(both):
    for draw in (ibs.plot.null_histogram, ibs.plot.max_histogram):
        plan_refusal(lambda draw=draw: draw(both), "holds no draws of one null")


def test_what_two_nulls_cannot_do_is_refused(study, nulls):
    real, (repaired, phase) = study.synchrony(SPEC), nulls
    plan_refusal(lambda: ibs.test(real, [repaired, repaired]), "a re-pairing null and one of single dyads", "'repair'")
    plan_refusal(lambda: ibs.test(real, [phase, phase]), "a re-pairing null and one of single dyads")
    plan_refusal(lambda: ibs.test(real, []), "a re-pairing null and one of single dyads", "none")
    plan_refusal(lambda: ibs.test(real, [repaired, phase], correct=["tfce"]), "clusters and TFCE have one null")
    plan_refusal(lambda: ibs.test(real, [repaired, "phase"]), "give a null of Study.null")
    # At half of alpha: 39 draws reach .05 / 2 and not .04 / 2.
    few = study.null(SPEC, kind="phase", n=39, seed=1)
    ibs.test(real, [repaired, few], correct=["max"])
    plan_refusal(lambda: ibs.test(real, [repaired, few], correct=["max"], alpha=0.04), "39")
    stopped = study.null(SPEC, kind="phase", n=39, stop_at=5)
    plan_refusal(lambda: ibs.test(real, [repaired, stopped]), "leave stop_at out")
    other = study.null(replace(SPEC, voices=8), kind="phase", n=39)
    plan_refusal(lambda: ibs.test(real, [repaired, other]), "real and null differ in spec")
