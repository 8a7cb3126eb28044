"""Lags in studies and nulls: an axis of shifts, within one family, in tables, sentences, figures and plans."""

import matplotlib

matplotlib.use("Agg")

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from controlled import N, made
from numpy.testing import assert_allclose, assert_array_equal
from refusals import plan_refusal

from ibsync.commands.run import run_plan
from ibsync.coupling.engine import Engine
from ibsync.coupling.spec import WTC
from ibsync.inference import settings
from ibsync.questions.contrast import contrast
from ibsync.questions.group_test import neighbour_graph
from ibsync.questions.group_test import test as group_test
from ibsync.results.figures import gallery
from ibsync.results.findings import top_findings
from ibsync.results.report_figures import pictures
from ibsync.results.result import load
from ibsync.simulation.calibrate import calibrate
from ibsync.study.wtc import wtc

LAGS = (-1.0, 0.0, 1.0)
SPEC = WTC({"slow": (0.2, 0.4), "fast": (0.5, 1)}, lags=LAGS)
EPOCHS = {"early": (0, 30), "late": (25, 60)}
AT = np.arange(N)


def later(recording, x):
    """Second persons follow the first channel of the first ones by a second."""
    shared = np.random.default_rng(int(recording.id[1])).standard_normal(N + 5)
    hbo = x["hbo"].copy()
    hbo[0] = 0.3 * hbo[0] + 8 * shared[AT + (5 if recording.id.endswith("a") else 0)]
    return recording, {**x, "hbo": hbo}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return made(tmp_path_factory.mktemp("study") / "four.h5", n=5, change=later)


@pytest.fixture(scope="module")
def real(study):
    return study.synchrony(SPEC, epochs=EPOCHS)


@pytest.fixture(scope="module")
def result(study, real):
    return group_test(real, study.null(SPEC, epochs=EPOCHS), correct=["max"], alpha=0.2)


def test_shifts_are_an_axis_whose_values_are_those_of_the_engine(study, real):
    assert real["coherence"].dims == ("dyad", "epoch", "channel_a", "channel_b", "band", "shift")
    assert_array_equal(real["shift"], LAGS)
    engine = Engine(N, 5.0, SPEC, epochs=EPOCHS, backend="numpy")
    row = study.dyads[2]
    a, b = (engine.features(study.signals(r, "hbo")[:3]) for r in (row.recording_a, row.recording_b))
    means = engine.coherence(a, b)
    for at, name in enumerate(EPOCHS):
        expected = means.coherence[..., at].reshape(3, 3, 2, 3)
        assert_allclose(real["coherence"].sel(dyad=row.dyad, epoch=name), expected, rtol=0, atol=1e-6)
    lag = real["phase_lag"] * 2 * np.pi * np.sqrt([0.08, 0.5])[:, None]
    assert_allclose(lag, real["phase"], rtol=0, atol=1e-12)


def test_who_follows_by_a_second_is_found_at_plus_one(result):
    best = result.to_frame().query("dyad == '(all)'").sort_values("value").iloc[-1]
    assert (best["channel_a"], best["channel_b"], best["shift"]) == ("S1_D1", "S1_D1", 1.0)
    assert best["p"] <= 1 / 120
    assert ", shift " in result.headline
    assert "-1, 0, 1 s later" in result.methods()
    assert "channel pairs, bands, lags and epochs" in result.methods()


def test_all_lags_are_one_family(study, result):
    """The largest of all lags, and of one alone: as many draws, fewer features."""
    one = replace(SPEC, lags=(1.0,))
    alone = group_test(study.synchrony(one, epochs=EPOCHS), study.null(one, epochs=EPOCHS), correct=["max"], alpha=0.2)
    assert "shift" not in alone.dataset["p"].dims
    assert float(alone.dataset["shift"]) == 1.0
    at_one = result.dataset.sel(shift=1.0)
    assert_allclose(at_one["p"], alone.dataset["p"], rtol=0, atol=1e-12)
    assert (at_one["p_max_single"] >= alone.dataset["p_max_single"] - 1e-12).all()
    largest, of_one = (np.sort(found.null["null_max"]) for found in (result, alone))
    assert (largest >= of_one).all()
    assert (largest > of_one).any()
    assert result.null["null_hist"].dims == ("epoch", "band", "shift", "hist_bin")
    draws = result.null["null_hist"].sum("hist_bin")
    assert (draws == draws.max()).all()


def test_re_paired_values_are_those_of_dyads_that_met_so(study):
    null = study.null(SPEC, n=19)
    mixed = replace(study.dyads[0], recording_b=study.dyads[1].recording_b, person_b="p1b")
    expected = replace(study, all_dyads=(mixed,)).synchrony(SPEC)["coherence"].values[0, 0]
    assert_allclose(null.pair_values[0, 0, 1].reshape(expected.shape), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["phase", "shift"])
def test_surrogates_have_lags_too(study, kind):
    spec = WTC({"fast": (0.5, 1)}, lags=LAGS)
    null, real = study.null(spec, kind=kind, n=19), study.synchrony(spec)
    assert_allclose(null.observed.reshape(real["coherence"].shape), real["coherence"], rtol=0, atol=1e-5)
    result = group_test(real, null, correct=["max"], alpha=0.2)
    assert result.dataset["p"].dims == ("epoch", "channel_a", "channel_b", "band", "shift")
    assert set(result.to_frame()["shift"]) == set(LAGS)


def test_regions_and_tasks_and_lags_go_together(study):
    rois = {"front": ["S1_D1", "S1_D2"], "back": ["S2_D2"]}
    few, every = study.synchrony(SPEC, rois=rois)["coherence"], study.synchrony(SPEC)["coherence"]
    expected = every.sel(channel_a=["S1_D1", "S1_D2"], channel_b="S2_D2").mean("channel_a")
    assert_allclose(few.sel(channel_a="front", channel_b="back"), expected, rtol=0, atol=1e-6)


def test_lags_beside_each_other_are_neighbours(real):
    graph = neighbour_graph([real], settings.TestSettings(correct=("cluster",))).toarray()
    shape = [real.sizes[dim] for dim in ("epoch", "channel_a", "channel_b", "band", "shift")]
    number = np.arange(graph.shape[0]).reshape(shape)
    assert graph[number[0, 0, 0, 0, 0], number[0, 0, 0, 0, 1]]
    assert not graph[number[0, 0, 0, 0, 0], number[0, 0, 0, 0, 2]]
    assert not graph[number[0, 0, 0, 0, 0], number[0, 0, 0, 1, 1]]


def test_lags_are_drawn_beside_their_null(result, real):
    pair = tuple(str(result.dataset[dim].values[0]) for dim in ("channel_a", "channel_b"))
    ax = gallery.lags(result, epoch="late", band="fast", pair=pair)
    ds = result.dataset.sel(epoch="late", band="fast", channel_a=pair[0], channel_b=pair[1])
    *dyads, null, mean = [line.get_ydata() for line in ax.lines]
    assert_array_equal(mean, ds["group_statistic"])
    assert_array_equal(null, ds["group_null_mean"])
    assert_array_equal(np.array(dyads), ds["value"])
    assert_array_equal(ax.lines[-1].get_xdata(), LAGS)
    assert mean.argmax() == 2  # second persons follow by a second
    assert len(gallery.lags(real).lines) == 5 + 1
    plan_refusal(lambda: gallery.lags(real.isel(shift=0, drop=True)), "no lags", "lags=")
    strongest = pictures(result)[0]
    assert "Lags: the same at each lag" in strongest.caption
    assert [panel.alt for panel in strongest.panels][1:] == [
        f"As before: {name}." for name in ("links", "phases", "lags", "course")
    ]
    plt.close("all")


def test_figures_show_the_strongest_shift_or_the_one_named(study, real, result):
    for draw in (gallery.band_summary, gallery.pair_matrix, gallery.dyad_matrix, gallery.null_histogram):
        strongest = float(top_findings(result.dataset, limit=1)[0].shift)
        assert f"shift {strongest:g} s" in draw(result).get_title(loc="left")
        assert "shift 1 s" in draw(result, shift=1.0).get_title(loc="left")
    followed = real.isel(channel_a=[0], channel_b=[0], band=[1])
    assert "shift 1 s" in gallery.band_summary(followed).get_title(loc="left")
    assert "shift 0 s" in gallery.partners(study.null(SPEC, n=19), shift=0).get_title(loc="left")
    plan_refusal(lambda: gallery.pair_matrix(result, shift=3.0), "no shift 3.0", "-1, 0, 1 s")
    plt.close("all")


def test_a_file_keeps_shifts(result, tmp_path):
    again = load(result.save(tmp_path / "result.nc"))
    assert_array_equal(again.dataset["p"], result.dataset["p"])
    assert str(again) == str(result)


def test_what_differs_or_cannot_be_is_refused(study, real, result):
    other = study.null(replace(SPEC, lags=(0.0, 1.0)), epochs=EPOCHS)
    plan_refusal(lambda: group_test(real, other), "differ in spec")
    plan_refusal(lambda: group_test(real.sel(shift=1.0), study.null(SPEC, epochs=EPOCHS)), "labels of shift")
    plan_refusal(lambda: contrast(real, ("early", "late")), "3 lags", "lags=[2.0]")
    plan_refusal(lambda: calibrate(study, SPEC), "lags")
    plan_refusal(lambda: wtc(np.zeros(50), np.zeros(50), sfreq=5.0, spec=SPEC), "lags are for studies")
    long = replace(SPEC, lags=(0.0, 31.0))
    plan_refusal(lambda: study.synchrony(long, epochs=EPOCHS), "31 s", "epoch 'early' lasts 30 s")
    assert "31 s" in study.check(long, epochs=EPOCHS, estimate=False).problems[0]


def test_one_lag_goes_into_every_question(study):
    one = study.synchrony(replace(SPEC, lags=(1.0,)), epochs=EPOCHS)
    found = contrast(one, ("early", "late"), correct=["max"], alpha=0.5)
    assert np.isfinite(found.dataset["p"]).any()


def test_a_plan_takes_lags(study, tmp_path):
    (tmp_path / "plan.toml").write_text(
        f'study = "{study.path}"\noutput = "out.h5"\nreport = "out.html"\n[wtc]\nbands = {{ fast = [0.5, 1.0] }}\n'
        'lags = [-1, 0, 1]\n[test]\ncorrect = ["max"]\nalpha = 0.2\n'
    )
    run_plan(tmp_path / "plan.toml")
    assert load(tmp_path / "out.h5").dataset.sizes["shift"] == 3
    assert "shift, s" in (tmp_path / "out.html").read_text()
