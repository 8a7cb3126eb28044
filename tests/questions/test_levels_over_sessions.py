"""Tests over sessions reject as often as they say where nothing changes, find what was simulated, and habits do not.

A rate is at its level when the count of rejections lies in the central 99.9 % of the binomial distribution. All seeds
are fixed, so a gate that passes keeps passing until the program changes. Independent channel pairs stand for studies.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from benchmark_files import load
from scipy.stats import binom

import ibsync as ibs
from ibsync import Growth, SynchronyModel

pytestmark = pytest.mark.slow

N_SIMS, SEED = 600, 7
OUTCOMES = ("no tie", "tied through age", "no tie, missing sessions", "no tie, therapists")


def band(n_sims: int, level: float = 0.05) -> tuple[int, int]:
    """Counts of rejections that a test at its level gives in 99.9 of 100 runs."""
    low, high = binom.interval(0.999, n_sims, level)
    return int(low), int(high)


def at_level(rejected, level: float = 0.05) -> bool:
    low, high = band(len(rejected), level)
    return low <= np.sum(rejected) <= high


def above_level(rejected) -> bool:
    return np.sum(rejected) > band(len(rejected))[1]


@cache
def study(scenario: str):
    """Studies of a scenario as the channel pairs of one, and their null."""
    model = replace(load("longitudinal").SCENARIOS[scenario], n_pairs=N_SIMS, groups=("training", "waiting"))
    return load("longitudinal")._drawn(model, (SEED,))


def rejected(scenario: str, test: str):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load("longitudinal").CHANGE[test](*study(scenario), SEED) <= 0.05


WITHOUT_THERAPISTS = (
    "independent sessions", "slopes of their own", "people change", "AR(1) 0.7", "unequal lengths", "missing sessions",
)  # fmt: skip


# --- nothing changes on average ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", WITHOUT_THERAPISTS)
@pytest.mark.parametrize("test", ["signs", "groups"])
def test_signs_and_groups_are_at_their_level_whatever_links_the_sessions(scenario, test):
    assert at_level(rejected(scenario, test))


@pytest.mark.parametrize(
    ("test", "scenario"),
    [("partners", "independent sessions"), ("partners", "people change"), ("order", "independent sessions")],
)
def test_partners_and_orders_are_at_their_level_where_their_hypothesis_holds(test, scenario):
    assert at_level(rejected(scenario, test))


@pytest.mark.parametrize("scenario", ["slopes of their own", "people change", "AR(1) 0.7"])
def test_the_order_of_sessions_rejects_too_often_where_dyads_change_in_ways_of_their_own(scenario):
    assert above_level(rejected(scenario, "order"))


def test_a_mixed_model_without_slopes_rejects_too_often_where_dyads_have_slopes():
    pytest.importorskip("statsmodels")
    real, null = (part for part in study("slopes of their own"))
    few = real.isel(channel_b=slice(0, 320))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = load("longitudinal").mixed_intercept(few, null, SEED) <= 0.05
    assert len(found) == 80
    assert above_level(found)


def test_clients_counted_as_independent_reject_too_often_where_therapists_change():
    assert above_level(rejected("therapists", "signs, clients as independent"))


def test_length_of_recordings_moves_raw_coherence_but_not_what_is_beyond_the_null():
    settings = load("longitudinal").Settings(sims=4 * 24, seed=SEED)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load("longitudinal"), "CONES", ("none",))
        found = load("longitudinal").measure_lengths(settings)
    rates = {row["test"]: row for row in found["rows"]}
    assert all(row["n"] == 24 for row in rates.values())
    means = found["mean_coherence_by_session"]["none"]
    assert means == sorted(means, reverse=True)
    assert rates["signs, raw"]["rejected"] > band(24)[1]
    for test in ("signs, less the null", "partners"):
        assert rates[test]["rejected"] <= band(24)[1], test


# --- partners against pseudo-dyads ------------------------------------------------------------------------------------


def test_pooled_pseudo_dyads_make_the_test_blind_where_people_differ():
    model = replace(load("longitudinal").PEOPLE["people differ"], n_pairs=N_SIMS)
    real, null = load("model_null").study_and_null(model, 14, 4, (SEED,), n=999)
    assert at_level(load("longitudinal").repaired(real, null) <= 0.05)
    assert np.sum(load("longitudinal").pooled(real, null) <= 0.05) < band(N_SIMS)[0]


# --- outcomes ---------------------------------------------------------------------------------------------------------


@cache
def related(scenario: str, n_sims: int = 200):
    """Rejections of every test of an association: by name, bool [sim]."""
    model, tests = load("longitudinal").OUTCOMES[scenario], load("longitudinal").ASSOCIATION
    found: dict[str, list[bool]] = {name: [] for name in tests}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for k in range(n_sims):
            real = model.study(20, 4, (SEED, k))
            for name, p in tests.items():
                found[name].append(p(real, k) <= 0.05)
    return found


@pytest.mark.parametrize("scenario", OUTCOMES)
def test_outcomes_are_at_their_level_where_synchrony_has_no_part_in_them(scenario):
    assert tuple(load("longitudinal").OUTCOMES) == OUTCOMES
    for name in ("outcome", "outcome, slopes"):
        assert at_level(related(scenario)[name]), name


def test_habits_find_associations_that_are_not_there():
    assert above_level(related("tied through age")["raw correlation"])
    assert not above_level(related("no tie")["raw correlation"])
    assert above_level(related("no tie")["correlation over sessions"])


# --- what was simulated -----------------------------------------------------------------------------------------------


def test_planted_growth_is_found_and_its_interval_holds_it():
    model = SynchronyModel(growth=Growth(0.02, 0.015, 0.03, 0.02, 0.5), missing=0.2)
    n, covered, found = 200, [], []
    for k in range(n):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = ibs.plasticity(model.study(14, 5, (SEED, k)), correct=[], n=199, seed=k).dataset
        found.append(result["p"].item() <= 0.05)
        covered.append([low <= 0.02 <= high for low, high in load("longitudinal")._limits(result).values()])
    assert np.mean(found) > 0.7
    for one in np.array(covered).T:
        assert at_level(~one)


def test_a_planted_association_is_found_where_it_was_planted():
    growth = Growth(0.0, 0.02, 0.02)
    model = SynchronyModel(growth=growth, noise_sd=0.02, outcomes={"gain": ("growth", 0.8), "liking": ("level", 0.8)})
    words = {"dyads": [24], "sessions": [6], "test": "outcome", "n_sims": 100, "n": 199}
    for outcome in ("gain", "liking"):
        assert ibs.study_power(model, outcome=outcome, **words).power.item() > 0.8


def test_planted_growth_is_found_in_signals(tmp_path):
    signals = {"n_channels": 2, "duration": 240.0, "sfreq": 2.0, "coupled_band": (0.05, 0.2), "coupled_pairs": 0.5}
    growth = Growth(mean=0.2, sd=0.03, level_sd=0.05, session_sd=0.03, session_ar=0.5)
    study = ibs.simulate(tmp_path / "s.h5", n_dyads=8, n_sessions=4, coupling=0.1, growth=growth, seed=2, **signals)
    spec = ibs.WTC(bands={"task": (0.05, 0.2)}, accuracy="fast")
    real, null = study.synchrony(spec), study.null(spec, n=999)
    for found in (ibs.plasticity(ibs.test(real, null)), ibs.plasticity(real, null=null)):
        coupled = found.dataset["p_max"].isel(epoch=0, band=0) <= 0.05
        assert coupled.sel(channel_a="S1_D1", channel_b="S1_D1")
        assert coupled.sum() == 1


# --- the figures that are quoted --------------------------------------------------------------------------------------


def test_the_script_prints_tables_and_writes_every_figure(tmp_path, capsys):
    pytest.importorskip("statsmodels")
    out = tmp_path / "new" / "l.json"
    load("longitudinal").main(["--sims", "8", "--only", "pseudo-dyads", "intervals", "--out", str(out)])
    printed, stored = capsys.readouterr().out, json.loads(out.read_text())
    assert list(stored["sections"]) == ["pseudo-dyads", "intervals"]
    assert stored["settings"]["sims"] == 8
    assert "== pseudo-dyads" in printed
    assert "t, pooled pseudo-dyads" in printed
    for row in stored["sections"]["intervals"]["rows"]:
        assert row["n"] == 8
        assert row["low"] <= row["rate"] <= row["high"]
