"""A task is a condition: each is tested by itself, as a study of that task alone would be, in one family of tests."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal
from refusals import plan_refusal
from scipy.stats import false_discovery_control

import ibsync as ibs
from ibsync.recordings.study_file import write_study
from ibsync.results.figures import gallery as plot
from ibsync.results.findings import top_findings
from ibsync.results.layout import FEATURE, TASK

SPEC = ibs.WTC(bands={"slow": (0.25, 0.4), "fast": (0.5, 1)}, voices=4, accuracy="fast")
TASKS = ("talk", "rest")
ARRAYS = ("group_statistic", "group_null_mean", "group_null_sd", "group_z", "exceedances", "p", "n_dyads")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Six dyads in two sessions, coupled in the task talk of 40 s, not in rest of 30 s, which dyad 1 misses once."""
    folder = tmp_path_factory.mktemp("study")
    recordings, rows = [], []
    for task, seconds, coupling, seed in (("talk", 40.0, 0.9, 1), ("rest", 30.0, 0.0, 2)):
        part = ibs.simulate(
            folder / f"{task}.h5", n_dyads=6, n_sessions=2, n_channels=2, duration=seconds, sfreq=4.0, seed=seed,
            coupling=coupling, coupled_band=(0.5, 1), groups=["a", "b"],
        )  # fmt: skip
        named = {r.id: replace(r, id=f"{r.id}_{task}", task=task) for r in part.recordings}
        recordings += [(named[r.id], {s: part.signals(r, s) for s in r.signal_names}) for r in part.recordings]
        rows += [
            replace(row, task=task, recording_a=named[row.recording_a.id], recording_b=named[row.recording_b.id])
            for row in part.all_dyads
        ]
    write_study(folder / "s.h5", recordings, {}, rows[:12] + rows[13:])
    return ibs.Study.open(folder / "s.h5")


@pytest.fixture(scope="module")
def real(study):
    return study.synchrony(SPEC)


@pytest.fixture(scope="module", params=["repair", "phase"])
def tested(study, real, request):
    words = {"n": 99, "seed": 5, "kind": request.param}
    null = study.null(SPEC, **words)
    return null, ibs.test(real, null, alpha=0.2), words


@pytest.fixture(scope="module")
def alone(study, tested):
    """The same of a study of each task alone."""
    parts = [study.select(task=task) for task in TASKS]
    return {
        task: ibs.test(part.synchrony(SPEC), part.null(SPEC, **tested[2]), correct=["max"], alpha=0.2)
        for task, part in zip(TASKS, parts, strict=True)
    }


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_features_of_all_tasks_are_counted_before_anything_is_computed(study, tested):
    _, result, words = tested
    n_features = int(np.isfinite(result.dataset["p"]).sum())
    assert study.check(SPEC, null=words, estimate=False).n_features == n_features == 2 * 2 * 2 * 2
    draws = {"repair": 720, "phase": 100}[words["kind"]]
    hopeless = {**words, "correct": ["fdr"], "alpha": 0.99 * n_features / draws}
    plan_refusal(lambda: study.null(SPEC, **hopeless), f"{n_features} features tested with 'fdr'")


def test_each_task_has_the_numbers_of_a_study_of_that_task_alone(tested, alone):
    _, result, _ = tested
    assert result.dataset[TASK].values.tolist() == list(TASKS)
    for task, one in alone.items():
        assert TASK not in one.dataset.dims
        of_task = result.dataset.sel({TASK: task})
        for name in ARRAYS:
            assert_array_equal(of_task[name], one.dataset[name], err_msg=f"{task} {name}")
        rows = result.dataset["task"].values == task
        for name in ("value", "null_mean", "null_sd", "z", "valid_fraction"):
            assert_array_equal(result.dataset[name].values[rows], one.dataset[name].values, err_msg=f"{task} {name}")
        assert_array_equal(result.null["null_hist"].sel({TASK: task}), one.null["null_hist"])
        assert_array_equal(result.null["pooled_statistic"].sel({TASK: task}), one.null["pooled_statistic"])


def test_corrections_are_over_all_tasks(tested):
    _, result, _ = tested
    ds = result.dataset
    finite = np.isfinite(ds["p"].values)
    assert_allclose(ds["p_fdr"].values[finite], false_discovery_control(ds["p"].values[finite]), rtol=1e-12)
    best = np.nanargmax(ds["group_z"].values)
    reached = (result.null["null_max"].values >= ds["group_z"].values.ravel()[best] - 1e-4).sum()
    n = len(result.null["null_max"])
    assert_allclose(ds["p_max"].values.ravel()[best], (reached + 1) / (n + 1), atol=1 / n)
    assert top_findings(ds, limit=1)[0].task == "talk"


def test_tasks_are_named_wherever_a_result_is_read(tested, tmp_path):
    _, result, words = tested
    assert "task talk: coherence" in result.headline
    assert "of the tasks talk, rest, each by itself" in result.methods()
    assert "Over all tasks, channel pairs, bands and epochs" in result.methods()
    assert "6 dyads, 23 dyad recordings of 2 tasks" in str(result)
    assert "tasks: talk, rest" in str(result)
    table = result.to_frame()
    of_group = table[table["dyad"] == "(all)"]
    assert len(of_group) == 2 * 8
    assert of_group["task"].tolist() == ["talk"] * 8 + ["rest"] * 8
    assert_array_equal(of_group["p"], result.dataset["p"].values.ravel())
    assert set(of_group["n_dyads"].dropna()) == {6}
    means = [float(result.dataset["valid_fraction"].values[result.dataset["task"].values == t].mean()) for t in TASKS]
    assert_allclose([g["valid_fraction"].mean() for _, g in of_group.groupby("task", sort=False)], means)
    page = tmp_path / "page.html"
    ibs.report(result, page)
    text = page.read_text()
    assert "<dt>Tasks</dt><dd>talk, rest</dd>" in text
    assert '<th scope="col">task</th>' in text
    assert ("session-1 / talk" in text or "/ talk" in text) == (words["kind"] == "phase")
    again = ibs.load(result.save(tmp_path / "r.nc"))
    xr.testing.assert_identical(again.dataset, result.dataset)
    xr.testing.assert_identical(again.null, result.null)


def test_figures_are_of_one_task_and_name_it(tested, alone):
    _, result, _ = tested
    for draw in (plot.pair_matrix, plot.dyad_matrix, plot.band_summary, plot.session_slopes, plot.null_histogram):
        one, other = draw(result, task="rest"), draw(alone["rest"])
        assert one.get_title(loc="left").startswith("task rest, ")
        images, lines, dots = ([list(getattr(ax, kind)) for ax in (one, other)] for kind in _KINDS)
        for drawn, expected in zip(*images, strict=True):
            assert_array_equal(drawn.get_array(), expected.get_array())
        for drawn, expected in zip(*lines, strict=True):
            assert_array_equal(drawn.get_data(), expected.get_data())
        for drawn, expected in zip(*dots, strict=True):
            assert_array_equal(drawn.get_offsets(), expected.get_offsets())
        plan_refusal(lambda draw=draw: draw(result, task="sing"), "no task 'sing'", "talk, rest")


_KINDS = ("images", "lines", "collections")


def test_partners_are_shown_of_one_task(study, real):
    null = study.null(SPEC, n=99)
    ax = plot.partners(null, task="rest", epoch=0, band=1)
    shape = (2, 6, 6, 2, 1, 2, 2, 2)
    expected = null.pair_values.reshape(shape)[:, :, :, 1, 0, :, :, 1]
    with np.errstate(invalid="ignore"):
        means = np.nanmean(expected.astype(float), axis=(0, 3, 4))
    assert_allclose(ax.images[0].get_array(), means, rtol=1e-6)
    assert ax.get_title(loc="left").startswith("task rest")


def test_tasks_are_no_neighbours(study, real):
    null = study.null(SPEC, n=199, seed=5)
    clusters = ibs.test(real, null, correct=["cluster"], alpha=0.2).dataset["cluster"].values
    own = [set(np.abs(part[part != 0]).ravel().tolist()) for part in clusters]
    assert own[0]
    assert not own[0] & own[1]


def test_nulls_of_several_tasks_are_saved_and_merged(study, tested, tmp_path):
    null, result, words = tested
    again = ibs.load_null(ibs.save_null(null, tmp_path / "n.nc"))
    real = study.synchrony(SPEC)
    xr.testing.assert_equal(ibs.test(real, again, alpha=0.2).dataset, result.dataset)
    if words["kind"] == "phase":
        parts = [study.null(SPEC, draws=draws, **words) for draws in ((1, 65), (65, 100))]
        for k, part in enumerate(parts):
            ibs.save_null(part, tmp_path / f"{k}.nc")
        merged = ibs.merge_nulls([ibs.load_null(tmp_path / f"{k}.nc") for k in (1, 0)])
        for name in ARRAYS:
            assert_array_equal(ibs.test(real, merged, alpha=0.2).dataset[name], result.dataset[name])


def test_what_takes_a_result_takes_its_rows(tested):
    _, result, _ = tested
    values = (result.dataset["value"] - result.dataset["null_mean"]).values
    with pytest.warns(RuntimeWarning, match="session '1' of dyad 'd01' is left out"):
        got = ibs.contrast(result, TASKS, correct=[]).dataset
    assert TASK not in got.coords
    assert got["p"].dims == FEATURE
    keys = zip(*(result.dataset[name].values for name in ("dyad", "session", "task")), strict=True)
    rows = dict(zip(keys, values, strict=True))
    dyad = got["dyad"].values[1]
    sessions = sorted({s for d, s, _ in rows if d == dyad})
    expected = np.mean([rows[dyad, s, "talk"] - rows[dyad, s, "rest"] for s in sessions], axis=0)
    assert_allclose(got["value"].values[1], expected, atol=1e-12)
    plan_refusal(lambda: ibs.plasticity(result), "choose one task")
    plan_refusal(lambda: ibs.outcome(result, dict.fromkeys(got["dyad"].values, 1.0)), "tasks are never averaged")
    talk = ibs.Result(result.dataset.isel(dyad=result.dataset["task"].values == "talk"))
    grown = ibs.plasticity(talk, correct=[], alpha=0.2).dataset
    assert TASK not in grown.coords
    assert grown["p"].dims == FEATURE
    between = ibs.contrast(talk, between=("a", "b"), correct=[], alpha=0.2)
    assert TASK not in between.dataset.coords
    ax = plot.band_summary(between)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]
    dots = [collection.get_offsets()[:, 1] for collection in ax.collections[::2]]
    groups = between.dataset["group"].values
    for group, y in zip(("a", "b"), dots, strict=True):
        of_group = between.dataset["value"].values[groups == group].mean(axis=(1, 2, 3))
        assert_allclose(np.sort(y), np.sort(of_group.ravel()))


def test_signals_of_several_tasks_are_tested_together(study):
    signals = ("hbo", "hbr")
    for kind in ("repair", "phase"):
        reals = [study.synchrony(SPEC, signal=signal) for signal in signals]
        nulls = [study.null(SPEC, signal=signal, n=19, kind=kind) for signal in signals]
        results = ibs.test_together(reals, nulls, correct=[], alpha=0.2)
        apart = [ibs.test(*pair, correct=[], alpha=0.2) for pair in zip(reals, nulls, strict=True)]
        for result, one in zip(results, apart, strict=True):
            for name in ARRAYS:
                assert_array_equal(result.dataset[name], one.dataset[name])
            assert_array_equal(result.null["null_hist"], one.null["null_hist"])


def test_a_multiverse_is_of_one_task(study):
    bands = {"fast": (0.25, 0.5)}
    plan_refusal(
        lambda: ibs.multiverse(study, bands=bands, kind=["repair"]), "talk and rest", "study.select(task='talk')"
    )


def test_both_nulls_tell_tasks_apart_when_calibrated(study):
    found = ibs.calibrate(study, SPEC, kind="repair", n_sims=4, couplings=(0.9,), n=19, alpha=0.3)
    assert found is not None
