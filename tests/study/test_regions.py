"""Regions of interest: against slow means of the result for all channel pairs, in every null, and refusals."""

from dataclasses import replace

import numpy as np
import pytest
from controlled import LONG, SFREQ, SPEC, N, made
from numpy.testing import assert_allclose, assert_array_equal
from refusals import plan_refusal, refusal

from ibsync.coupling.engine import Engine
from ibsync.coupling.measures import PHASES
from ibsync.coupling.spec import WTC
from ibsync.errors import InputError
from ibsync.inference import settings
from ibsync.questions.group_test import neighbour_graph
from ibsync.questions.group_test import test as group_test
from ibsync.questions.multiverse import multiverse
from ibsync.results.result import Result, measure_values
from ibsync.study.pair_values import DyadsJob
from ibsync.study.regions import mean_signals

FAST = WTC({"fast": (0.5, 1)})
ROIS = {"front": ["S1_D1", "S1_D2"], "back": ["S2_D2"], "all of it": list(LONG)}
NAMES = tuple(ROIS)
PLACES = [[LONG.index(name) for name in members] for members in ROIS.values()]


OTHER_BATCH = 1e-6
"""Rounding of float32 products, whose order depends on how many channels are computed together."""


def one_bad(recording, x):
    """The second person of the first dyad lacks a channel."""
    bad = recording.id == "d0b"
    return replace(recording, good=tuple(not (bad and name == "S1_D2") for name in recording.channels)), x


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return made(tmp_path_factory.mktemp("study") / "four.h5")


@pytest.fixture(scope="module")
def with_a_bad_channel(tmp_path_factory):
    return made(tmp_path_factory.mktemp("bad") / "four.h5", change=one_bad)


def slow_mean(values, first=ROIS, second=ROIS):
    """Mean over channel pairs, of what is there: [row, epoch, region_a, region_b, band] from all pairs."""
    rows = [
        [np.nanmean(values.sel(channel_a=a, channel_b=b).to_numpy(), axis=(2, 3)) for b in second.values()]
        for a in first.values()
    ]
    return np.moveaxis(np.array(rows), (0, 1), (2, 3))


# --- real synchrony ---------------------------------------------------------------------------------------------------


def test_coherence_is_the_mean_over_the_channel_pairs_of_two_regions(study):
    real, every = study.synchrony(SPEC, rois=ROIS), study.synchrony(SPEC)
    assert tuple(real["channel_a"].values) == tuple(real["channel_b"].values) == NAMES
    assert_allclose(real["coherence"], slow_mean(every["coherence"]), rtol=0, atol=1e-12)
    assert_allclose(real["valid_fraction"], slow_mean(every["valid_fraction"]), rtol=0, atol=1e-12)
    coherency = slow_mean(every["coherency_re"]) + 1j * slow_mean(every["coherency_im"])
    assert_allclose(real["phase_consistency"], abs(coherency), rtol=0, atol=1e-12)
    assert_array_equal(real["n_pairs"], np.broadcast_to(np.outer([2, 1, 3], [2, 1, 3]), (4, 3, 3)))


def test_batches_are_sized_by_the_channels_that_are_read(study, monkeypatch):
    monkeypatch.setattr("ibsync.study.planned.channels_together", lambda device: 2)
    sizes, run = [], DyadsJob.run
    monkeypatch.setattr(DyadsJob, "run", lambda job, worker: sizes.append(len(job.a.recordings)) or run(job, worker))
    study.synchrony(SPEC, rois=ROIS)
    assert sizes == [1] * len(study.dyads)


@pytest.mark.filterwarnings("ignore:.*rests on")
def test_pairs_that_are_missing_are_left_out(with_a_bad_channel):
    study = with_a_bad_channel
    real, every = study.synchrony(SPEC, rois=ROIS), study.synchrony(SPEC)
    assert_allclose(real["coherence"], slow_mean(every["coherence"]), rtol=0, atol=1e-12)
    assert_array_equal(real["n_pairs"][0], np.outer([2, 1, 3], [1, 1, 2]))
    lost = Result(real).lost
    lost = lost[(lost["channel"] == "front") & (lost["dyad"] == "d0")]
    assert list(zip(lost["person"], lost["what"], lost["reason"], strict=True)) == [
        ("p0b", "cut", "1 of its 2 channels good")
    ]


def test_unequal_numbers_of_pairs_are_warned_of(with_a_bad_channel, study):
    with pytest.warns(RuntimeWarning, match="all of it - front rests on 3 to 6 channel pairs.*select"):
        with_a_bad_channel.synchrony(FAST, rois=ROIS)
    assert "rests on 3 to 6" in str(with_a_bad_channel.check(FAST, rois=ROIS, estimate=False))
    study.synchrony(FAST, rois=ROIS)  # warnings are errors


def test_a_region_without_a_good_channel_is_missing_and_named(with_a_bad_channel):
    real = with_a_bad_channel.synchrony(FAST, rois={"one": ["S1_D2"], "back": ["S2_D2"]})
    assert np.isnan(real["coherence"].sel(channel_b="one")[0]).all()
    assert np.isfinite(real["coherence"].sel(channel_b="one")[1:]).all()
    assert not real["n_pairs"].sel(channel_b="one")[0].any()
    lost = Result(real).lost
    assert ("d0", "p0b", "one", "no value") in set(
        zip(lost["dyad"], lost["person"], lost["channel"], lost["what"], strict=True)
    )


def test_shares_are_those_of_the_cells_of_all_pairs(study):
    real, every = (study.synchrony(SPEC, shares=True, **words) for words in ({"rois": ROIS}, {}))
    for name in ("above", *PHASES):
        of_all = measure_values(every, name)
        assert_allclose(measure_values(real, name), slow_mean(of_all), rtol=0, atol=1e-12)


def test_a_region_of_one_channel_is_that_channel(study):
    real = study.synchrony(SPEC, rois={name: [name] for name in LONG})
    every = study.synchrony(SPEC)
    for name in ("coherence", "phase", "valid_fraction"):
        assert_array_equal(real[name], every[name])


def test_pairs_name_pairs_of_regions(study):
    real = study.synchrony(FAST, rois=ROIS, pairs="same")["coherence"][0, 0, :, :, 0]
    assert_array_equal(np.isfinite(real), np.eye(3, dtype=bool))
    real = study.synchrony(FAST, rois=ROIS, pairs=[("front", "back")])["coherence"][0, 0, :, :, 0]
    assert np.argwhere(np.isfinite(real.to_numpy())).tolist() == [[0, 1]]
    plan_refusal(lambda: study.synchrony(FAST, rois=ROIS, pairs=[("S1_D1", "back")]), "no region 'S1_D1'")


@pytest.mark.parametrize("who", [("a", "b"), ("p2a", "b")])
def test_people_may_have_regions_of_their_own(study, who):
    one, other = {"x": ["S1_D1", "S1_D2"]}, {"y": ["S2_D2"], "z": ["S1_D1"]}
    rois = {who[0]: one, "a": one, who[1]: other}
    real, every = study.synchrony(SPEC, rois=rois), study.synchrony(SPEC)
    assert (tuple(real["channel_a"].values), tuple(real["channel_b"].values)) == (("x",), ("y", "z"))
    assert_allclose(real["coherence"], slow_mean(every["coherence"], one, other), rtol=0, atol=OTHER_BATCH)


def test_regions_of_a_person_come_before_those_of_all_first_persons(study):
    rois = {"a": {"x": ["S1_D1"]}, "b": {"x": ["S1_D1"]}, "p2a": {"x": ["S2_D2"]}}
    real, every = (study.synchrony(SPEC, **words)["coherence"] for words in ({"rois": rois}, {}))
    for row, channel in ((1, "S1_D1"), (2, "S2_D2")):
        expected = every.sel(channel_a=channel, channel_b="S1_D1")[row]
        assert_allclose(real[row, ..., 0, 0, :], expected, rtol=0, atol=OTHER_BATCH)


def test_signals_are_averaged_before_the_transform(study):
    real = study.synchrony(SPEC, rois=ROIS, roi_average="signal")
    engine = Engine(N, SFREQ, SPEC, backend="numpy")
    sides = []
    for recording in (study.dyads[1].recording_a, study.dyads[1].recording_b):
        x = study.signals(recording, "hbo").astype(float)
        unit = (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)
        sides.append(engine.features(np.array([unit[members].mean(axis=0) for members in PLACES])))
    assert_allclose(real["coherence"][1, 0], engine.coherence(*sides).coherence[..., 0], rtol=0, atol=1e-5)
    assert_array_equal(real["n_pairs"][0], np.outer([2, 1, 3], [2, 1, 3]))


def test_a_mean_signal_has_the_gaps_of_its_good_channels():
    x = np.random.default_rng(0).standard_normal((4, 50))
    x[0, 3], x[2, 7:9], x[3] = np.nan, np.nan, 1.0
    found = mean_signals(x, np.array([[1, 1, 0, 1], [0, 0, 0, 1], [0, 0, 1, 0]], bool))
    assert np.flatnonzero(np.isnan(found[0])).tolist() == [3]
    assert np.isnan(found[1]).all()
    assert np.flatnonzero(np.isnan(found[2])).tolist() == [7, 8]
    filled = x[:2].copy()
    filled[0, 3] = (x[0, 2] + x[0, 4]) / 2
    expected = ((x[:2] - filled.mean(axis=1, keepdims=True)) / filled.std(axis=1, keepdims=True)).mean(axis=0)
    assert_allclose(np.nan_to_num(found[0]), np.nan_to_num(expected), rtol=0, atol=1e-6)


@pytest.mark.parametrize("controls", [["short"], ["global", "heart_rate"]])
@pytest.mark.parametrize("how", ["own", "regression"])
def test_controls_are_taken_out_of_the_channels_of_a_region(study, controls, how):
    rois = {"front": ["S1_D1", "S1_D2"]}
    words = {"controls": controls, "how": how}
    real, every = study.synchrony(SPEC, rois=rois, **words), study.synchrony(SPEC, **words)
    assert_allclose(real["coherence"], slow_mean(every["coherence"], rois, rois), rtol=0, atol=OTHER_BATCH)


# --- nulls ------------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*rests on")
@pytest.mark.parametrize(
    "words",
    [{}, {"roi_average": "signal"}, {"measure": "phase_consistency"}, {"controls": ["short"]}],
    ids=str,
)
def test_re_paired_values_are_those_of_dyads_that_met_so(with_a_bad_channel, words):
    study, of = with_a_bad_channel, {name: value for name, value in words.items() if name != "measure"}
    null = study.null(FAST, n=19, rois=ROIS, **words)
    mixed = replace(study.dyads[1], recording_b=study.dyads[0].recording_b, person_b="p0b")
    real = replace(study, all_dyads=(mixed,)).synchrony(FAST, rois=ROIS, **of)
    expected = measure_values(real, words.get("measure", "coherence")).values[0, 0]
    assert_allclose(null.pair_values[0, 1, 0].reshape(expected.shape), expected, rtol=0, atol=1e-5)
    tested = group_test(study.synchrony(FAST, rois=ROIS, **of), null, correct=["max"], alpha=0.2)
    assert np.isfinite(tested.dataset["p"]).all()
    assert set(tested.to_frame()["channel_a"]) == set(NAMES)
    assert (tested.dataset["n_pairs"][0] == np.outer([2, 1, 3], [1, 1, 2])).all()


def test_people_of_interchangeable_roles_are_averaged_over_both_orders(study):
    null = study.null(FAST, n=19, rois=ROIS, roles="interchangeable")
    every = study.synchrony(FAST)["coherence"].sel(dyad="d1")
    one = slow_mean(every.expand_dims("dyad"))[0, 0]
    found = null.pair_values[0, 1, 5].reshape(3, 3, 1)
    assert_allclose(found, (one + np.swapaxes(one, 0, 1)) / 2, rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore:autoregressive noise")
@pytest.mark.parametrize(
    ("kind", "average"), [("phase", "coherence"), ("shift", "coherence"), ("block", "signal"), ("ar1", "coherence")]
)
def test_surrogates_average_every_draw(study, kind, average):
    options = {"block": 10.0} if kind == "block" else None
    null = study.null(FAST, kind=kind, n=19, rois=ROIS, roi_average=average, options=options)
    real = study.synchrony(FAST, rois=ROIS, roi_average=average)
    assert_allclose(null.observed.reshape(4, 3, 3), real["coherence"][:, 0, :, :, 0], rtol=0, atol=1e-5)
    tested = group_test(real, null, correct=["max"], alpha=0.2)
    assert tested.dataset["p"].shape == (1, 3, 3, 1)
    assert np.isfinite(tested.dataset["p"]).all()


def test_a_draw_of_a_region_is_the_mean_over_its_pairs(study):
    from ibsync.study.planned import request_of
    from ibsync.study.runner import Worker
    from ibsync.study.surrogate_runs import sources_of

    for kind in ("phase", "ar1"):
        draws = np.arange(3)
        of_regions, of_all = (
            sources_of(study, request_of(FAST, kind=kind, n=19, **words), Worker("numpy"))[0][1].values(draws)
            for words in ({"rois": {"all of it": list(LONG)}}, {})
        )
        assert_allclose(of_regions[..., 0, 0, 0], of_all.mean(axis=(2, 3, 4)), rtol=0, atol=1e-12)


def test_trials_are_exchanged_between_regions(study):
    epochs = {"talk": [(0, 20), (20, 40), (40, 60)]}
    words = {"epochs": epochs, "rois": ROIS}
    spec = WTC({"fast": (0.8, 1.2)})
    null = study.null(spec, kind="trial", n=19, **words)
    every = study.null(spec, kind="trial", n=19, epochs=epochs)
    mean = [[every.observed.reshape(4, 3, 3)[:, a][:, :, b].mean(axis=(1, 2)) for b in PLACES] for a in PLACES]
    assert_allclose(null.observed.reshape(4, 3, 3), np.moveaxis(np.array(mean), -1, 0), rtol=0, atol=1e-6)


def test_nulls_of_other_regions_are_refused(study):
    real = study.synchrony(FAST, rois=ROIS)
    other = {**ROIS, "back": ["S1_D1"]}
    plan_refusal(lambda: group_test(real, study.null(FAST, n=19, rois=other)), "differ in rois")
    plan_refusal(lambda: group_test(real, study.null(FAST, n=19, rois=ROIS, roi_average="signal")), "differ in rois")
    plan_refusal(lambda: group_test(real, study.null(FAST, n=19)), "differ in rois")


def test_regions_are_neighbours_only_if_somebody_says_so(study):
    real = study.synchrony(FAST, rois={"S1_D1": ["S1_D1"], "S1_D2": ["S1_D2"]})
    graph = neighbour_graph([real], settings.TestSettings(correct=("cluster",)))
    assert not graph.toarray().any()
    named = settings.TestSettings(correct=("cluster",), neighbours=[("S1_D1", "S1_D2")])
    assert neighbour_graph([real], named).toarray().any()


def test_the_methods_name_regions_and_how_they_are_averaged(study):
    for average, words in (("coherence", "averaged over the pairs of channels"), ("signal", "standardised signals")):
        of = {"rois": ROIS, "roi_average": average}
        result = group_test(study.synchrony(FAST, **of), study.null(FAST, **of), correct=["max"], alpha=0.2)
        assert "3 x 3 regions" in result.methods()
        assert "pairs of regions, bands and epochs" in result.methods()
        assert words in result.methods()
        assert "front (S1_D1, S1_D2)" in result.methods()


def test_a_multiverse_takes_regions(study):
    many = multiverse(study, bands={"fast": (0.5, 1)}, signal=("hbo",), rois=ROIS, alpha=0.2)
    real = study.null(FAST, n=19, rois=ROIS)
    expected = np.mean([real.pair_values[0, k, k].mean() for k in range(4)])
    assert_allclose(many.table["statistic"][0], expected, rtol=0, atol=1e-6)


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ({"rois": {"front": ["S1_D1", "S1_D3"]}}, ("region 'front'", "'S1_D3'", "did you mean")),
        ({"rois": {"front": []}}, ("region 'front' has no channel",)),
        ({"rois": {}}, ("channels by region",)),
        ({"rois": ["S1_D1"]}, ("channels by region",)),
        ({"rois": {"front": "S1_D1"}}, ("region 'front'", "give a list")),
        ({"rois": {"a": {"x": ["S1_D1"]}, "front": ["S1_D1"]}}, ("one or the other",)),
        ({"rois": {"a": {"x": ["S1_D1"]}}}, ("dyad 'd0', session '1'", "p0b has no regions")),
        ({"rois": {"a": ROIS, "b": ROIS, "p9a": ROIS}}, ("nobody is 'p9a'", "did you mean")),
        ({"rois": ROIS, "roi_average": "mean"}, ("roi_average='mean' is unknown",)),
        ({"rois": ROIS, "controls": ["S1_D1"]}, ("'S1_D1' is a control", "rois")),
        (
            {"rois": ROIS, "controls": ["global"], "how": "own", "roi_average": "signal"},
            ("'global'", "roi_average='coherence'"),
        ),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(study, words, parts):
    plan_refusal(lambda: study.synchrony(FAST, **words), *parts)
    plan_refusal(lambda: study.null(FAST, n=19, **words), *parts)


def test_interchangeable_roles_need_the_same_regions_of_both(study):
    plan_refusal(
        lambda: study.null(FAST, n=19, rois={"a": ROIS, "b": ROIS}, roles="interchangeable"), "same regions of both"
    )


def test_regions_that_are_good_in_nobody_are_refused(tmp_path):
    study = made(tmp_path / "bad.h5", change=lambda one, x: (replace(one, good=(False, *one.good[1:])), x))
    refusal(InputError, lambda: study.synchrony(FAST, rois={"one": ["S1_D1"]}), "no region pair", "good in any dyad")
