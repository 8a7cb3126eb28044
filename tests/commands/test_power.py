"""Studies in numbers, what a pilot tells of them, how many dyads and sessions they need, and the command."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import xarray as xr
from benchmark_files import load
from numpy.testing import assert_allclose, assert_array_equal
from refusals import plan_refusal, refusal
from scipy.stats import binom, nct, t

import ibsync as ibs
from ibsync.commands.cli import main
from ibsync.commands.plan_file import Power, PowerPlan
from ibsync.commands.plan_reader import read
from ibsync.commands.power import models_of, run_power_plan
from ibsync.errors import InputError
from ibsync.results.figures.study_power import study_power as picture
from ibsync.simulation.courses import Growth
from ibsync.simulation.study_model import SynchronyModel
from ibsync.simulation.study_power import StudyPower, study_power

GROWN = SynchronyModel(growth=Growth(mean=0.02, sd=0.01, level_sd=0.03), noise_sd=0.04)
EVERYTHING = SynchronyModel(
    growth=Growth(0.02, 0.01, 0.03, 0.02, 0.5, 0.02, 0.01), noise_sd=0.04, person_sd=0.02, person_growth_sd=0.01,
    n_pairs=3, outcomes={"gain": ("growth", 0.6), "mood": ("session", 0.5)}, groups=("x", "y"), missing=0.2,
    shortest=0.5, therapists=2,
)  # fmt: skip


study_and_null = load("model_null").study_and_null


def quiet(verb, *words, **named):
    """A verb without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return verb(*words, **named)


# --- studies in numbers -----------------------------------------------------------------------------------------------


def test_without_any_spread_coherence_is_the_simulated_line():
    drawn = SynchronyModel(level=0.3, growth=Growth(0.02), noise_sd=0.0, n_pairs=2).draw(2, 3)
    assert_allclose(drawn.coherence[..., 0], [[0.3, 0.32, 0.34]] * 2)
    assert_allclose(drawn.coherence[..., 1], 0.3)  # the first pair alone grows
    assert_array_equal(drawn.growth, 0.02)


def test_every_spread_is_as_large_as_was_said():
    n = 4000
    model = SynchronyModel(
        growth=Growth(0.0, 0.01, 0.03), noise_sd=0.04, person_sd=0.02, person_growth_sd=0.005, shortest=0.25
    )
    drawn = model.draw(n, 5, 3)
    slope, start = np.polyfit(np.arange(5), drawn.truth[..., 0].T, 1)
    # two people and the dyad; the relative error of a standard deviation over 4000 is 1.1 %
    assert_allclose(slope.std(), np.sqrt(0.01**2 + 2 * 0.005**2), rtol=0.05)
    assert_allclose(start.std(), np.sqrt(0.03**2 + 2 * 0.02**2), rtol=0.05)
    error = (drawn.coherence - drawn.truth)[..., 0]
    assert_allclose((error * np.sqrt(drawn.shares)).std(), 0.04, rtol=0.03)
    assert 0.25 <= drawn.shares.min() < 0.26
    assert 0.99 < drawn.shares.max() <= 1.0
    assert abs(np.corrcoef(error[:, 0], error[:, 1])[0, 1]) < 4 / np.sqrt(n)


def test_pairs_know_nothing_of_each_other_and_everything_of_their_own_therapist():
    model = SynchronyModel(growth=Growth(therapist_sd=0.05, therapist_growth_sd=0.02), noise_sd=0.0, therapists=3)
    drawn = replace(model, n_pairs=400).draw(6, 4)
    assert_allclose(drawn.coherence[:3], drawn.coherence[3:])  # dyads 1 and 4 have one therapist
    level = drawn.coherence[:3, 0] - 0.33
    assert_allclose(level.std(), 0.05, rtol=0.1)
    assert (np.abs(np.corrcoef(level)[np.triu_indices(3, 1)]) < 0.2).all()  # standard error 0.05
    assert_allclose(np.diff(drawn.coherence, axis=1)[:3].std(), 0.02, rtol=0.1)


def test_one_seed_gives_one_study_and_each_seed_another():
    again = [EVERYTHING.draw(6, 4, seed).coherence for seed in ((3, 1), (3, 1), (3, 2), (1, 3))]
    assert_array_equal(again[0], again[1])
    for other in again[2:]:
        assert not np.any(again[0] == other)
    assert_array_equal(EVERYTHING.draw(6, 4, 7).coherence, EVERYTHING.draw(6, 4, (7,)).coherence)


def test_a_study_in_numbers_has_the_labels_of_a_study_of_signals(tmp_path):
    signals = {"n_channels": 1, "duration": 60.0, "sfreq": 2.0, "coupled_band": (0.1, 0.4), "groups": ("x", "y")}
    study = ibs.simulate(tmp_path / "s.h5", n_dyads=2, n_sessions=2, growth=0.01, **signals)
    expected = study.synchrony(ibs.WTC(bands={"task": (0.1, 0.4)}))
    got = replace(EVERYTHING, therapists=0, missing=0.0, outcomes={}, n_pairs=1).study(2, 2)
    # Lengths are shares in numbers, not seconds.
    names = {str(name).replace("coupling", "coherence") for name in expected.coords} - {"duration"}
    assert set(got.coords) == names
    assert set(got.data_vars) <= set(expected.data_vars)
    assert got.coherence.dims == expected.coherence.dims
    for name in ("dyad", "session", "person_a", "person_b", "role_a", "role_b", "group"):
        rows = sorted(zip(expected["dyad"].values, expected["session"].values, expected[name].values, strict=True))
        assert sorted(zip(got["dyad"].values, got["session"].values, got[name].values, strict=True)) == rows, name


def test_rows_carry_the_values_outcomes_and_truth_of_their_session():
    drawn, real = EVERYTHING.draw(6, 4, 2), EVERYTHING.study(6, 4, 2)
    assert np.isnan(drawn.coherence).any()
    assert real.sizes["dyad"] == np.isfinite(drawn.coherence[..., 0]).sum()
    for row in range(real.sizes["dyad"]):
        one = real.isel(dyad=row)
        at = int(str(one["dyad"].values)[1:]) - 1, int(one["session"].values) - 1
        assert_array_equal(one["coherence"].values.ravel(), drawn.coherence[at])
        assert one["outcome_gain"] == drawn.outcomes["gain"][at]
        assert one["outcome_mood"] == drawn.outcomes["mood"][at]
        assert one["outcome_simulated_coherence"] == drawn.truth[at][0]
        assert one["outcome_simulated_growth"] == drawn.growth[at[0]]
        # groups alternate, and each therapist sees both
        assert one["group"] == "xy"[at[0] % 2]
        assert one["person_b"] == f"t{at[0] // 2 % 2 + 1:02d}"


def test_pseudo_dyads_share_the_parts_of_people_and_not_the_course_of_dyads():
    model = SynchronyModel(growth=Growth(mean=0.1, level_sd=0.1), noise_sd=0.0, person_sd=0.03, person_growth_sd=0.02)
    real, null = study_and_null(model, 5, 3, 4)
    first, second = (values[..., 0] for values in model._people(5, 3, 4))
    for session in range(3):
        table = null.pair_values[session, ..., 0]
        expected = 0.33 + first[:, None, session] + second[None, :, session]
        off = ~np.eye(5, dtype=bool)
        assert_allclose(table[off], expected[off])
        rows = real.sel(dyad=real["session"].values == f"{session + 1}")["coherence"].values.ravel()
        assert_allclose(np.diag(table), rows)
    assert_allclose(quiet(ibs.test, real, null).dataset["n_dyads"], 5)


def test_nobody_is_paired_in_a_session_that_did_not_take_place():
    model = SynchronyModel(missing=0.4)
    real, null = study_and_null(model, 6, 4, 1)
    there = np.isfinite(model.draw(6, 4, 1).coherence[..., 0]).T
    assert not there.all()
    assert_array_equal(np.isfinite(null.pair_values[..., 0]), there[:, :, None] & there[:, None])
    assert quiet(ibs.plasticity, real, null=null).dataset.attrs["null_kind"] == "repair"


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ({"growth": 0.01}, ["growth = 0.01 must be a Growth"]),
        ({"level": "high"}, ["level = 'high' must be a number"]),
        ({"noise_sd": -1.0}, ["noise_sd = -1.0 must be a number of at least 0"]),
        ({"person_sd": float("nan")}, ["person_sd = nan"]),
        ({"n_pairs": 0}, ["n_pairs = 0 must be a whole number of at least 1"]),
        ({"therapists": 1.5}, ["therapists = 1.5"]),
        ({"missing": 2}, ["missing = 2 must lie between 0 and 1"]),
        ({"shortest": 0}, ["shortest = 0 must lie above 0"]),
        ({"outcomes": {"gain": ("growth", 0.5)}}, ["outcome 'gain' is tied to growth", "Growth(sd=...)"]),
    ],
)
def test_a_model_that_cannot_be_is_refused(words, parts):
    plan_refusal(partial(SynchronyModel, **words), *parts)


def test_a_study_without_size_is_refused():
    plan_refusal(partial(GROWN.draw, 0, 3), "n_dyads = 0")
    plan_refusal(partial(GROWN.study, 3, True), "n_sessions = True")
    tied = SynchronyModel(growth=Growth(sd=0.0, level_sd=0.0, therapist_sd=0.0, session_sd=0.1))
    plan_refusal(partial(replace, tied, outcomes={"a": ("level", 0.5)}), "outcome 'a' is tied to level")


# --- a pilot ----------------------------------------------------------------------------------------------------------


def test_a_pilot_tells_the_spread_it_was_made_with():
    for missing in (0.0, 0.3):
        model = replace(GROWN, missing=missing, growth=Growth(0.02, 0.015, 0.03))
        got = SynchronyModel.of_pilot(model.study(3000, 6, 1), growth=0.05, n_pairs=4)
        # relative error of standard deviations over 3000 dyads, some of them differences of variances: below 4 %
        assert_allclose([got.growth.sd, got.growth.level_sd, got.noise_sd], [0.015, 0.03, 0.04], rtol=0.12)
        assert (got.growth.mean, got.n_pairs, got.growth.session_sd) == (0.05, 4, 0.0)


def test_components_of_a_small_balanced_pilot_are_those_of_a_mixed_model():
    formulas = pytest.importorskip("statsmodels.formula.api")
    import pandas as pd

    real = replace(GROWN, growth=Growth(0.02, 0.03, 0.05)).study(12, 6, 5)
    frame = pd.DataFrame({
        "y": 10 * real["coherence"].values.ravel(), "time": real["session"].values.astype(float) - 1,
        "dyad": real["dyad"].values,
    })  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = formulas.mixedlm("y ~ time", frame, groups="dyad", re_formula="~time").fit(reml=True)
    got = SynchronyModel.of_pilot(real)
    # With equal times for all dyads REML has the closed form of moments; statsmodels iterates to about 1e-4.
    assert_allclose(got.noise_sd, np.sqrt(fitted.scale) / 10, rtol=2e-3)
    assert_allclose([got.growth.level_sd, got.growth.sd], np.sqrt(np.diag(fitted.cov_re)) / 10, rtol=5e-3)


def test_of_a_pilot_result_what_is_beyond_the_null_counts_and_features_are_averaged():
    model = replace(GROWN, n_pairs=3, growth=Growth(0.0, 0.02, 0.03))
    real, null = study_and_null(model, 8, 5, 2)
    result = quiet(ibs.test, real, null)
    less = real.copy(deep=True)
    less["coherence"].values[:] -= result.dataset["null_mean"].values
    assert SynchronyModel.of_pilot(result) == SynchronyModel.of_pilot(less)
    each = [SynchronyModel.of_pilot(real.isel(channel_b=[pair])) for pair in range(3)]
    got = SynchronyModel.of_pilot(real)
    assert_allclose(got.noise_sd**2, np.mean([one.noise_sd**2 for one in each]))
    assert all(one.growth.sd > 0 for one in each)
    assert_allclose(got.growth.sd**2, np.mean([one.growth.sd**2 for one in each]))


def test_of_two_sessions_dyads_are_taken_to_change_alike():
    model = replace(GROWN, growth=Growth(0.02, 0.0, 0.03))
    got = SynchronyModel.of_pilot(model.study(3000, 2, 1))
    assert got.growth.sd == 0.0
    assert_allclose([got.growth.level_sd, got.noise_sd], [0.03, 0.04], rtol=0.1)


def test_time_of_a_pilot_is_the_number_of_the_session():
    real = GROWN.study(40, 4, 3)
    spaced = real.assign_coords(session=("dyad", [f"ses-{3 * int(s)}" for s in real["session"].values]))
    one, three = SynchronyModel.of_pilot(real), SynchronyModel.of_pilot(spaced)
    assert_allclose(three.growth.sd, one.growth.sd / 3)
    assert_allclose(three.noise_sd, one.noise_sd)
    named = real.assign_coords(session=("dyad", [f"ses-{'abcd'[int(s) - 1]}" for s in real["session"].values]))
    assert SynchronyModel.of_pilot(named) == one


def test_a_pilot_that_does_not_tell_is_refused():
    plan_refusal(partial(SynchronyModel.of_pilot, GROWN.study(8, 1)), "fewer than two dyads with two sessions")
    plan_refusal(partial(SynchronyModel.of_pilot, GROWN.study(1, 5)), "fewer than two dyads with two sessions")
    plan_refusal(partial(SynchronyModel.of_pilot, GROWN.study(3, 3).drop_vars("session")), "no dyads with sessions")


def test_resampled_pilots_are_those_of_dyads_drawn_with_replacement():
    real = replace(GROWN, n_pairs=2, missing=0.2, growth=Growth(0.0, 0.02, 0.05)).study(9, 4, 2)
    got = SynchronyModel.resampled(real, 30, seed=3, growth=0.01, n_pairs=4)
    assert got == SynchronyModel.resampled(real, 30, seed=3, growth=0.01, n_pairs=4)
    assert got != SynchronyModel.resampled(real, 30, seed=4, growth=0.01, n_pairs=4)
    names = list(dict.fromkeys(real["dyad"].values.tolist()))
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((3,), spawn_key=(8,))))
    for model in got[:5]:
        parts = [real.isel(dyad=real["dyad"].values == names[k]) for k in rng.integers(9, size=9)]
        renamed = [part.assign_coords(dyad=[f"x{k}"] * part.sizes["dyad"]) for k, part in enumerate(parts)]
        expected = SynchronyModel.of_pilot(xr.concat(renamed, "dyad"), growth=0.01, n_pairs=4)
        for name in ("level", "noise_sd"):
            assert_allclose(getattr(model, name), getattr(expected, name), rtol=1e-9)
        assert_allclose(
            [model.growth.sd, model.growth.level_sd], [expected.growth.sd, expected.growth.level_sd], atol=2e-9
        )
    assert (got[0].growth.mean, got[0].n_pairs) == (0.01, 4)


def test_clients_of_one_therapist_are_drawn_together():
    shared = replace(GROWN, therapists=2).study(6, 4, 2)
    assert len({model.level for model in SynchronyModel.resampled(shared, 40)}) == 3  # both, or one twice
    one = replace(GROWN, therapists=1).study(6, 4, 2)
    assert len({model.level for model in SynchronyModel.resampled(one, 40)}) > 30


def test_power_over_resampled_pilots_is_told(tmp_path):
    others = SynchronyModel.resampled(GROWN.study(8, 4, 1), 6, growth=0.02)
    got = study_power(GROWN, [8, 12], [4], n_sims=50, n=199, seed=2, resampled=others)
    assert got.detections == study_power(GROWN, [8, 12], [4], n_sims=50, n=199, seed=2).detections
    each = [study_power(one, [8, 12], [4], n_sims=10, n=199, seed=2).power for one in others]
    assert_allclose(got.resampled, np.stack(each, -1))
    low, high = got.pilot_limits
    assert_allclose([low, high], np.quantile(each, [0.05, 0.95], axis=0))
    text = str(got)
    assert f"] {low[0, 0]:.2f}-{high[0, 0]:.2f}" in text
    assert "by the pilot" in text
    assert "5 to 95 % of 6 pilots of dyads drawn with replacement" in text
    assert got.to_dict()["pilot_low"] == low.tolist()
    assert "by the pilot" not in str(replace(got, resampled=()))
    axes = ibs.plot.study_power(got).axes[0]
    assert len(axes.collections) == len(ibs.plot.study_power(replace(got, resampled=())).axes[0].collections) + 1


# --- power ------------------------------------------------------------------------------------------------------------


def counted(model, n_dyads, n_sessions, n_sims, seed, p_of):
    """Studies whose test by a public verb has p <= 0.05."""
    return sum(p_of(model.study(n_dyads, n_sessions, (seed, k)), k) <= 0.05 + 1e-12 for k in range(n_sims))


@pytest.mark.parametrize("tail", ["two-sided", "greater"])
@pytest.mark.parametrize("n_pairs", [1, 3])
def test_power_of_growth_is_the_share_that_plasticity_finds(tail, n_pairs):
    # all 2**8 flips are listed by both
    model = replace(GROWN, growth=Growth(0.025, 0.01), n_pairs=n_pairs, missing=0.1, shortest=0.5)
    name = "p" if n_pairs == 1 else "p_max"

    def p_of(real, _):
        found = quiet(ibs.plasticity, real, tail=tail, correct=[] if n_pairs == 1 else None)
        return found.dataset[name].values.ravel()[0]

    got = study_power(model, [8], [4], tail=tail, n_sims=40, seed=5)
    assert got.detections == ((counted(model, 8, 4, 40, 5, p_of),),)
    assert 5 < got.detections[0][0] < 40


@pytest.mark.parametrize(
    ("outcome", "level", "n_dyads", "n_sessions"),
    [("gain", "slope", 6, 4), ("liking", "mean", 6, 4), ("mood", "within", 5, 3), ("symptoms", "mean", 6, 1)],
)
@pytest.mark.parametrize("therapists", [0, 2])
def test_power_of_an_outcome_is_the_share_that_outcome_finds(outcome, level, n_dyads, n_sessions, therapists):
    # all orders are listed by both: 6! = 720, 3!**5 = 7776
    ties = {"gain": ("growth", 0.95), "liking": ("level", 0.95), "mood": ("session", 0.95), "symptoms": ("liking", 1.0)}
    growth = Growth(0.0, 0.05, 0.05, 0.05)
    model = SynchronyModel(growth=growth, noise_sd=0.01, outcomes=ties, therapists=therapists)

    def p_of(real, _):
        return quiet(ibs.outcome, real, outcome, level=level, tail="greater", correct=[]).dataset["p"].item()

    # Two therapists of three clients each allow 36 orders, of which no two-sided p falls below 2/36.
    words = {"test": "outcome", "outcome": outcome, "tail": "greater", "n_sims": 25, "n": 9999, "seed": 6}
    got = study_power(model, [n_dyads], [n_sessions], **words)
    assert got.level == level
    assert got.detections == ((counted(model, n_dyads, n_sessions, 25, 6, p_of),),)
    assert got.detections[0][0] > 0


def test_power_is_about_that_of_a_t_test_of_slopes():
    n, sessions, n_sims = 20, 6, 400
    model = SynchronyModel(growth=Growth(0.01, 0.01, 0.05, 0.02), noise_sd=0.03)
    sd = np.sqrt(0.01**2 + (0.02**2 + 0.03**2) / 17.5)  # 17.5 = sum of squares of 0..5 about their mean
    expected = nct.sf(t.ppf(0.95, n - 1), n - 1, 0.01 / sd * np.sqrt(n))
    got = study_power(model, [n], [sessions], tail="greater", n_sims=n_sims, n=499).power[0, 0]
    # flips cost about as much as one degree of freedom in 20; standard error of the share 0.018
    assert 0.6 < expected < 0.95
    assert abs(got - expected) < 0.07


def test_with_nothing_simulated_the_power_is_the_level():
    model = SynchronyModel(growth=Growth(0.0, 0.02, 0.03, 0.02, 0.7), missing=0.2, n_pairs=2, therapists=7)
    got = study_power(model, [14], [4], n_sims=500, n=499)
    low, high = binom.interval(0.999, 500, 0.05)
    assert low <= got.detections[0][0] <= high


def test_clients_of_one_therapist_change_signs_together():
    growth = Growth(therapist_growth_sd=0.05)
    alone = study_power(SynchronyModel(growth=growth, noise_sd=0.01), [12], [4], n_sims=100, n=99)
    shared = study_power(SynchronyModel(growth=growth, noise_sd=0.01, therapists=6), [12], [4], n_sims=200, n=99)
    assert alone.detections[0][0] < 20
    # two clients of each of 6 therapists are as one: p is a multiple of 2/64, so 0.031 can be reached
    low, high = binom.interval(0.999, 200, 2 / 64)
    assert low <= shared.detections[0][0] <= high


def made(**changes) -> StudyPower:
    words = {
        "test": "plasticity", "level": "", "tail": "two-sided", "alpha": 0.05, "dyads": (4, 8, 12), "sessions": (4, 6),
        "detections": ((0, 0), (40, 85), (70, 99)), "n_sims": 100, "target_power": 0.8, "model": GROWN,
        "n": 999, "seed": 0,
    }  # fmt: skip
    return StudyPower(**{**words, **changes})


def test_what_is_enough_is_the_fewest_dyads_that_reach_the_target_power():
    found = made()
    assert found.enough == {4: None, 6: 8}
    assert_allclose(found.power, [[0, 0], [0.4, 0.85], [0.7, 0.99]])
    low, high = found.limits
    # Clopper-Pearson: 85 of 100 is the 2.5 % and 97.5 % quantile at the limits
    assert_allclose(binom.sf(84, 100, low[1, 1]), 0.025)
    assert_allclose(binom.cdf(85, 100, high[1, 1]), 0.025)
    first, second, third = found.sentences
    assert first == ("4 sessions: no number of dyads tried reaches 80 %; 12 reach 70 % (95 % limits 60 % to 79 %).")
    assert second.startswith("6 sessions: 8 dyads reach 80 %: found in 85 %")
    assert third == "4 dyads allow no p below 0.125, so that at alpha 0.05 nothing can be found."
    assert "8 dyads or fewer reach" in made(dyads=(8, 10, 12), detections=((80, 90), (90, 90), (99, 99))).sentences[1]


def test_it_is_told_in_words_as_a_table_and_as_json(tmp_path):
    found = made()
    text = str(found)
    assert text.startswith("Power of a change of 0.02 per session at alpha 0.05, two-sided\n")
    assert "0.85 [0.76, 0.91]" in text
    assert "100 studies for each number, 999 permutations, seed 0; growth mean 0.02, growth sd 0.01" in text
    stored = json.loads(found.save(tmp_path / "p.json").read_text())
    assert stored["enough"] == {"4": None, "6": 8}
    assert stored["model"]["growth"]["mean"] == 0.02
    assert stored["power"][1] == [0.4, 0.85]
    assert stored["sentences"] == list(found.sentences)
    told = made(test="outcome", level="slope", model=replace(EVERYTHING, therapists=0))
    assert "an association of change of synchrony with an outcome" in told.title
    assert "family-wise over 3 tests" in told.title
    assert "gain with growth, correlation 0.6; mood with session, correlation 0.5" in told.design


def test_the_picture_shows_every_number_with_its_limits():
    (ax,) = picture(made()).axes
    curves = [container.lines[0] for container in ax.containers]
    assert_allclose([curve.get_ydata() for curve in curves], [[0, 40, 70], [0, 85, 99]])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["4 sessions", "6 sessions"]
    assert ibs.plot.study_power is picture


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ({"dyads": [8, 8]}, ["dyads must rise"]),
        ({"dyads": []}, ["dyads must rise"]),
        ({"dyads": [8.5]}, ["dyads holds 8.5"]),
        ({"dyads": [1]}, ["1 dyads are too few for this test; give 2 or more"]),
        ({"sessions": [1, 2]}, ["1 session does not tell a change"]),
        ({"test": "growth"}, ["test='growth' is unknown", "'plasticity', 'outcome'"]),
        ({"tail": "upper"}, ["tail='upper' is unknown"]),
        ({"outcome": "gain"}, ["belong to test='outcome'"]),
        ({"test": "outcome"}, ["needs an outcome: SynchronyModel(outcomes="]),
        ({"alpha": 0}, ["alpha=0 must be a number between 0 and 1"]),
        ({"target_power": 1.0}, ["target_power = 1.0 must lie between"]),
        ({"n_sims": 0}, ["n_sims = 0 must be a whole number"]),
        ({"n": 10}, ["10 permutations cannot give a p of 0.05: take n of at least 39"]),
        ({"model": 0.1}, ["model = 0.1 must be an ibs.SynchronyModel"]),
        ({"seed": -1}, ["seed"]),
    ],
)
def test_power_that_cannot_be_computed_is_refused(words, parts):
    asked = {"model": GROWN, "dyads": [8], "sessions": [4], "n_sims": 1, **words}
    plan_refusal(partial(study_power, **asked), *parts)


def test_an_outcome_that_is_not_told_is_refused():
    model = SynchronyModel(growth=Growth(sd=0.1), outcomes={"a": ("growth", 0.5), "b": None})
    asked = partial(study_power, model, [8], [4], test="outcome", n_sims=1)
    plan_refusal(asked, "there are outcomes 'a', 'b'; name one")
    plan_refusal(partial(asked, outcome="c"), "there is no outcome 'c'; there are 'a', 'b'")
    plan_refusal(partial(asked, outcome="a", level="middle"), "level='middle' is unknown")
    plan_refusal(partial(study_power, model, [3], [4], test="outcome", outcome="a"), "3 dyads are too few", "give 4")


# --- the command ------------------------------------------------------------------------------------------------------

PLAN = """
[power]
dyads = [6, 10]
sessions = [3, 5]
growth = 0.03
growth_sd = 0.01
noise_sd = 0.04
n_sims = 30
n = 199
seed = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a plan in it, which is where we are."""
    (tmp_path / "plan.toml").write_text(PLAN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_says_what_study_power_says(folder, capsys):
    expected = study_power(
        SynchronyModel(growth=Growth(0.03, 0.01), noise_sd=0.04), [6, 10], [3, 5], n_sims=30, n=199, seed=3
    )
    assert main(["power", "plan.toml"]) == 0
    assert capsys.readouterr().out == f"{expected}\n"
    assert main(["power", "plan.toml", "--json", "-o", "p.json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told.pop("files") == ["p.json"]
    assert told == json.loads((folder / "p.json").read_text()) == json.loads(expected.to_json())
    assert main(["power", "plan.toml", "--n-sims", "5", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["n_sims"] == 5


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_command_draws(folder, capsys, suffix):
    assert main(["power", "plan.toml", "--n-sims", "2", "-o", f"curve{suffix}"]) == 0
    assert capsys.readouterr().out.endswith(f"wrote curve{suffix}\n")
    first = (folder / f"curve{suffix}").read_bytes()
    assert first[:4] in (b"\x89PNG", b"<?xm", b"%PDF")
    assert main(["power", "plan.toml", "--n-sims", "2", "-o", f"curve{suffix}"]) == 0
    assert (folder / f"curve{suffix}").read_bytes() == first


def test_every_key_arrives(folder):
    lines = {
        "growth": 0.01, "growth_sd": 0.02, "level_sd": 0.03, "session_sd": 0.04, "session_ar": 0.5, "noise_sd": 0.06,
        "therapists": 3, "therapist_sd": 0.07, "therapist_growth_sd": 0.08, "missing": 0.1, "shortest": 0.5,
        "n_pairs": 2, "dyads": "[9]", "sessions": "[4]", "test": '"outcome"', "tied": '"growth"', "correlation": 0.5,
        "alpha": 0.1, "tail": '"greater"', "target_power": 0.9, "n_sims": 7, "n": 99, "seed": 4,
    }  # fmt: skip
    assert set(lines) | {"pilot", "resamples", "accept_changes"} == set(Power.__struct_fields__)
    (folder / "plan.toml").write_text("[power]\n" + "\n".join(f"{key} = {value}" for key, value in lines.items()))
    found, files = run_power_plan("plan.toml")
    growth = Growth(0.01, 0.02, 0.03, 0.04, 0.5, 0.07, 0.08)
    model = SynchronyModel(
        growth=growth, noise_sd=0.06, n_pairs=2, therapists=3, missing=0.1, shortest=0.5,
        outcomes={"outcome": ("growth", 0.5)},
    )  # fmt: skip
    assert found.model == model
    assert (found.test, found.level, found.alpha, found.tail) == ("outcome", "slope", 0.1, "greater")
    assert found.target_power == 0.9
    assert (found.dyads, found.sessions, found.n_sims, found.n, found.seed) == ((9,), (4,), 7, 99, 4)
    assert files == ()


def test_spreads_come_from_the_pilot_where_the_plan_gives_none(folder):
    real, null = study_and_null(replace(GROWN, growth=Growth(0.0, 0.02, 0.05)), 8, 5, 2)
    result = quiet(ibs.test, real, null)
    result.save("pilot.h5")
    pilot = SynchronyModel.of_pilot(result)
    plan = '[power]\npilot = "pilot.h5"\ndyads = [8]\nsessions = [4]\ngrowth = 0.01\n'

    def model(more: str = "") -> SynchronyModel:
        (folder / "plan.toml").write_text(plan + more)
        own, others = models_of(read("plan.toml", PowerPlan).power)
        assert len(others) == 20
        return own

    assert model() == replace(pilot, growth=replace(pilot.growth, mean=0.01))
    assert model("level_sd = 0.5\nnoise_sd = 0.1\n") == replace(
        pilot, growth=replace(pilot.growth, mean=0.01, level_sd=0.5), noise_sd=0.1
    )
    split = model("session_sd = 0.02\nsession_ar = 0.3\n")
    assert (split.growth.session_sd, split.growth.session_ar) == (0.02, 0.3)
    assert_allclose(split.noise_sd**2 + 0.02**2, pilot.noise_sd**2)
    plan_refusal(partial(model, "session_sd = 1.0\n"), "session_sd = 1 is more than")


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("[power]", "[powr]", ["plan.toml: unknown key powr; did you mean power?"]),
        (PLAN, "", ["the table [power] is missing"]),
        (PLAN, "power = 3", ["power = 3 must be a table"]),
        ("growth_sd", "growt_sd", ["unknown key power.growt_sd; did you mean power.growth_sd?"]),
        ("dyads = [6, 10]", "", ["power.dyads is missing; add dyads = [8, 12, 20]"]),
        ("growth = 0.03", "", ["power.growth is missing", "change of coherence per session"]),
        ("noise_sd = 0.04", "", ['power.noise_sd is missing; add noise_sd = 0.04, or pilot = "result.h5"']),
        ("[6, 10]", "[10, 6]", ["power.dyads = [10, 6] must be a list of rising whole numbers"]),
        ("[6, 10]", "[6, 6]", ["a list of rising whole numbers"]),
        ("[6, 10]", "[1]", ["power.dyads = 1 must be a whole number of at least 2"]),
        ("[3, 5]", "[1]", ["plan.toml: 1 session does not tell a change"]),
        ("[3, 5]", '"four"', ["power.sessions = 'four' must be a whole number"]),
        ("growth = 0.03", 'growth = "much"', ["power.growth = 'much' must be a number"]),
        ("growth_sd = 0.01", "growth_sd = -0.01", ["power.growth_sd = -0.01 must be a number of at least 0"]),
        (
            "growth_sd = 0.01",
            "session_ar = 2",
            ["power.session_ar = 2 must be a number above -1 and below 1"],
        ),
        ("growth_sd = 0.01", "session_ar = 1", ["power.session_ar = 1 must be a number above -1 and below 1"]),
        ("seed = 3", "missing = 1.5", ["power.missing = 1.5"]),
        ("seed = 3", "shortest = 0", ["power.shortest = 0 must be a number above 0"]),
        ("seed = 3", "therapists = -1", ["power.therapists = -1"]),
        ("seed = 3", "alpha = 5", ["power.alpha = 5 must be a number above 0 and below 1"]),
        ("seed = 3", 'tail = "up"', ["power.tail = 'up' must be one of"]),
        ("seed = 3", 'test = "growth"', ["power.test = 'growth' must be one of 'plasticity', 'outcome'"]),
        ("seed = 3", 'test = "outcome"', ['power.tied is missing; add tied = "growth"']),
        ("seed = 3", "correlation = 0.5", ["power.tied and correlation belong to an outcome"]),
        ("seed = 3", "n_sims = 0", ["is not TOML"]),
        ("n = 199", "n = 9", ["9 permutations cannot give a p of 0.05"]),
        ("seed = 3", 'pilot = "none.h5"', ["none.h5"]),
        ("seed = 3", 'pilot = "plan.toml"', ["plan.toml"]),
        ("growth_sd = 0.01", 'test = "outcome"\ntied = "level"\ncorrelation = 0.5', ["give Growth(level_sd=...)"]),
    ],
)
def test_a_plan_that_will_not_do_ends_in_one_line(folder, capsys, old, new, parts):
    assert old in PLAN
    (folder / "plan.toml").write_text(PLAN.replace(old, new))
    assert main(["power", "plan.toml", "-o", "p.json"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("ibsync: ")
    assert captured.err.count("\n") == 1
    assert "internal error" not in captured.err
    for part in parts:
        assert part in captured.err
    assert [path.name for path in folder.iterdir()] == ["plan.toml"]


def test_an_output_that_will_not_do_is_refused_before_the_work(folder, monkeypatch):
    monkeypatch.setattr("ibsync.commands.power.study_power", None)
    run = partial(run_power_plan, "plan.toml")
    plan_refusal(partial(run, output="p.txt"), "the ending says the format", ".png, .svg, .pdf, .json")
    refusal(InputError, partial(run, output="nowhere/p.png"), "nowhere")
    (folder / "plan.json").write_text(PLAN)
    plan_refusal(partial(run_power_plan, "plan.json", output="plan.json"), "would replace an input")
    with pytest.raises(InputError):
        run_power_plan("none.toml")
