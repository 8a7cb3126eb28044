"""Maps, lines between heads, roses, courses over epochs: what is drawn is what the result holds."""

import inspect
import json
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pytest
from fake_results import CHANNELS, COUPLED, make_real, make_result
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle, PathPatch, Wedge
from numpy.testing import assert_allclose, assert_array_equal

import ibsync
from ibsync import plot
from ibsync.errors import PlanError
from ibsync.results.figures.links import _from_above, positions_in
from ibsync.results.figures.maps import is_map
from ibsync.results.result import Result

mpl.use("agg")
HEAD = {channel: [60.0 - 20 * k, 40.0, 70.0] for k, channel in enumerate(CHANNELS)}


@pytest.fixture(scope="module")
def result():
    result = make_result(6, 2, n_draws=199)
    return Result(result.dataset.assign_attrs(positions_mm=json.dumps({"a": HEAD, "b": HEAD})), result.null)


@pytest.fixture
def ax():
    figure = Figure(layout="constrained")
    FigureCanvasAgg(figure)
    yield figure.add_subplot()
    figure.canvas.draw()


def of_kind(ax, kind):
    return [child for child in ax.get_children() if isinstance(child, kind)]


def test_the_module_offers_pictures_only():
    assert dir(plot) == sorted(plot.__all__)
    for name in plot.__all__:
        assert inspect.isfunction(getattr(plot, name)), name
        assert inspect.getdoc(getattr(plot, name)), name


def border(cells):
    """Sides of marked cells whose other side is not marked, by hand."""
    cells = np.asarray(cells, bool)
    sides = set()
    for row, column in np.argwhere(cells):
        for dr, dc in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            r, c = row + dr, column + dc
            if not (0 <= r < cells.shape[0] and 0 <= c < cells.shape[1] and cells[r, c]):
                y, x = row + dr / 2, column + dc / 2
                sides.add(tuple(sorted([(x - abs(dr) / 2, y - abs(dc) / 2), (x + abs(dr) / 2, y + abs(dc) / 2)])))
    return sides


def drawn_border(ax):
    lines = of_kind(ax, LineCollection)[-1].get_segments()
    return {tuple(sorted(tuple(map(float, end)) for end in side)) for side in lines}


def test_group_map_is_real_minus_null_and_outlines_what_passes(ax, result):
    plot.group_map(result, ax, epoch="talk", band="task")
    ds = result.dataset.sel(epoch="talk", band="task")
    assert_allclose(ax.images[0].get_array(), ds["group_statistic"] - ds["group_null_mean"])
    low, high = ax.images[0].get_clim()
    assert low == -high
    passed = ds["p_max"].values <= 0.05
    assert passed[COUPLED]
    assert drawn_border(ax) == border(passed)


def test_group_map_outlines_clusters_that_pass_where_they_were_tested(ax, result):
    ds = result.dataset.copy(deep=True)
    ds["cluster"], ds["p_cluster"] = (ds["p_max"] * 0).astype(int), ds["p_max"] * 0 + 1
    ds["cluster"][0, 1:4, 2:4, 0], ds["p_cluster"][0, 1:4, 2:4, 0] = 1, 0.02
    ds["cluster"][0, 5, 5, 0], ds["p_cluster"][0, 5, 5, 0] = 2, 0.4
    plot.group_map(Result(ds), ax)
    expected = np.zeros((6, 6), bool)
    expected[1:4, 2:4] = True
    assert drawn_border(ax) == border(expected)
    assert len(border(expected)) == 2 * (3 + 2)


@pytest.mark.parametrize(
    ("draw", "shown"),
    [
        (plot.group_map, lambda ds: ds["group_statistic"] - ds["group_null_mean"]),
        (plot.pair_matrix, lambda ds: ds["group_z"]),
    ],
)
def test_channels_of_the_same_name_are_bars(ax, result, draw, shown):
    ds = result.dataset.where(result.dataset["channel_a"] == result.dataset["channel_b"])
    ds["p_max"][0, 1, 1, 0] = 0.01
    ds = ds.assign_attrs(result.dataset.attrs, pairs="same")
    draw(Result(ds), ax, epoch="talk", band="task")
    here = ds.sel(epoch="talk", band="task")
    bars = ax.patches[: len(CHANNELS)]
    assert_allclose([bar.get_width() for bar in bars], np.diag(shown(here)))
    passed = np.diag(here["p_max"]) <= 0.05
    assert passed.any()
    assert [bar.get_linewidth() > 1 for bar in bars] == passed.tolist()
    assert [tick.get_text() for tick in ax.get_yticklabels()] == CHANNELS
    assert not ax.images


def test_time_map_has_the_windows_to_the_right_and_the_short_periods_on_top(ax, result):
    spans = {"0 s": [[0.0, 60.0]], "60 s": [[60.0, 120.0]]}
    ds = result.dataset.assign_coords(epoch=list(spans)).assign_attrs(epochs=json.dumps(spans))
    pair = (CHANNELS[COUPLED[0]], CHANNELS[COUPLED[1]])
    plot.time_map(Result(ds), ax, pair=pair)
    of_pair = ds.sel(channel_a=pair[0], channel_b=pair[1])
    expected = (of_pair["group_statistic"] - of_pair["group_null_mean"]).transpose("band", "epoch").values
    assert_allclose(ax.images[0].get_array(), expected)  # "task" is the faster band, and comes first
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["30", "90"]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["22.4", "70.7"]
    assert drawn_border(ax) == border((of_pair["p_max"].transpose("band", "epoch").values) <= 0.05)
    assert not is_map(ds)


def test_heads_join_the_channels_that_pass(ax, result):
    plot.heads(result, ax, epoch="talk", band="task")
    ds = result.dataset.sel(epoch="talk", band="task")
    passed = np.argwhere(ds["p_max"].values <= 0.05)
    assert len(passed) < 8
    lines = of_kind(ax, PathPatch)
    assert len(lines) == 8
    strong = [line for line in lines if line.get_alpha() > 0.5]
    assert len(strong) == len(passed) > 0
    flat, on_head = _from_above(np.array(list(HEAD.values())))
    assert on_head
    ends = {tuple(np.round(line.get_path().vertices[[0, -1]].ravel(), 6)) for line in strong}
    assert ends == {tuple(np.round([*flat[a], *(flat[b] + [2.5, 0])], 6)) for a, b in passed}
    assert f"{len(passed)} of 36 pairs pass" in " ".join(text.get_text() for text in ax.texts)
    assert len([circle for circle in of_kind(ax, Circle) if circle.radius == 1]) == 2


def test_a_head_is_seen_from_above_with_the_nose_up():
    """The top lies in the middle, ears and forehead at the edge, and half way down is half way out."""
    tilt = np.sqrt(0.5) * 90
    places = np.array([[0, 0, 90.0], [90, 0, 0], [0, 90, 0], [0, tilt, tilt], [-tilt, 0, tilt]])
    flat, on_head = _from_above(places)
    assert on_head
    expected = 0.92 * np.array([[0, 0], [1, 0], [0, 1], [0, 0.5], [-0.5, 0]])
    assert_allclose(flat, expected, atol=1e-12)


def test_a_probe_whose_place_is_unknown_is_centred_and_no_head_is_drawn(ax, result):
    flat = {channel: [30.0 * k, 0.0, None] for k, channel in enumerate(CHANNELS)}
    ds = result.dataset.assign_attrs(positions_mm=json.dumps({"a": flat, "b": flat}))
    plot.heads(Result(ds), ax)
    assert not of_kind(ax, Circle)
    assert "where it lies on the head is not known" in " ".join(text.get_text() for text in ax.texts)
    offsets = ax.collections[0].get_offsets()
    assert_allclose(offsets[:, 0], np.linspace(-0.75, 0.75, 6), atol=1e-12)


def test_heads_without_positions_are_refused_with_the_mend(ax, result):
    with pytest.raises(PlanError, match=r"no positions.*connectogram"):
        plot.heads(Result(result.dataset.drop_attrs()), ax)


def test_regions_lie_where_their_channels_do():
    rois = {"of": {"": {"left": CHANNELS[:2], "right": ["none"]}}, "average": "coherence"}
    known = positions_in({"positions_mm": json.dumps({"a": HEAD, "b": {}}), "rois": json.dumps(rois)})
    assert known["a"]["left"] == [50.0, 40.0, 70.0]
    assert "right" not in known["a"]
    assert known["b"] == {}


def test_connectogram_draws_few_of_many_pairs_and_says_so(ax, result):
    ds = result.dataset.copy(deep=True)
    ds["p_max"][:] = 0.01
    plot.connectogram(Result(ds), ax)
    lines = of_kind(ax, PathPatch)
    assert len(lines) == 30
    told = " ".join(" ".join(text.get_text() for text in ax.texts).split())
    assert "36 of 36 pairs pass" in told
    assert "strongest 30 are drawn" in told
    widths = [line.get_linewidth() for line in lines]
    assert widths == sorted(widths)
    names = [text.get_text() for text in ax.texts]
    assert all(names.count(channel) == 2 for channel in CHANNELS)
    left, right = (np.array([t.get_position() for t in ax.texts if t.get_text() == name]) for name in CHANNELS[:2])
    assert (left[:, 0] * [-1, 1] > 0).all()
    assert (left[:, 1] > right[:, 1]).all()


def test_connectogram_of_fifty_channels_names_all_of_them(ax):
    real = make_real(3).isel(epoch=[0], band=[0], channel_a=[0] * 50, channel_b=[1] * 50)
    real = real.assign_coords({dim: [f"S{k}_D{k}" for k in range(50)] for dim in ("channel_a", "channel_b")})
    plot.connectogram(real, ax)
    assert sum(text.get_text().startswith("S") for text in ax.texts) == 100
    assert len(of_kind(ax, PathPatch)) == 8


def test_rose_counts_phases_as_the_arrows_of_the_scalogram_point(ax, result):
    ds = result.dataset.copy(deep=True)
    ds["phase"][:] = np.pi / 2 + 0.01  # a leads by about 90°: downwards
    ds["phase"][3, 0, 0, 0, 0] = np.nan
    plot.phase_rose(Result(ds), ax, pair=(CHANNELS[0], CHANNELS[0]))
    (wedge,) = [wedge for wedge in of_kind(ax, Wedge) if wedge.r > 0]
    assert wedge.r == pytest.approx(np.sqrt(11))
    assert_allclose((wedge.theta1, wedge.theta2), (247.5, 270.0))
    texts = {text.get_text(): text.get_position() for text in ax.texts}
    below = next(place for text, place in texts.items() if text.startswith("a leads by 90°"))
    assert below[1] < 0
    assert "(5.59 s)" in next(text for text in texts if text.startswith("a leads"))
    assert "11 dyad sessions, mean direction 91°, length 1.00" in texts


def test_lags_of_the_dyads_are_counted_and_their_median_is_marked(ax):
    real = make_real(9)
    found = np.linspace(-2.0, 6.0, 9)
    real["lag"] = real["phase"] * np.nan
    real["lag"].loc[{"epoch": "talk", "band": "task", "channel_a": CHANNELS[0], "channel_b": CHANNELS[1]}] = found
    plot.lags(real, ax, pair=(CHANNELS[0], CHANNELS[1]))
    assert sum(patch.get_height() for patch in ax.patches) == 9
    assert ax.lines[0].get_xdata()[0] == 2.0
    assert ax.get_ylabel() == "dyads (line: median)"


def test_rose_needs_phases(ax, result):
    with pytest.raises(PlanError, match="no phases"):
        plot.phase_rose(Result(result.dataset.drop_vars("phase")), ax)


def test_time_course_shows_the_mean_and_the_null_of_the_mean(ax, result):
    pair = (CHANNELS[COUPLED[0]], CHANNELS[COUPLED[1]])
    plot.time_course(result, ax, band="task", pair=pair)
    ds = result.dataset.sel(channel_a=pair[0], channel_b=pair[1], band="task")
    *dyads, null, mean = [line.get_ydata() for line in ax.lines]
    assert_array_equal(np.array(dyads), ds["value"].values)
    assert_array_equal(mean, ds["group_statistic"].values)
    assert_array_equal(null, ds["group_null_mean"].values)
    shaded, marked = ax.collections
    heights = shaded.get_paths()[0].vertices[:, 1]
    assert heights.max() == pytest.approx((ds["group_null_mean"] + 1.96 * ds["group_null_sd"]).max().item())
    assert_array_equal(marked.get_offsets()[:, 0], np.flatnonzero(ds["p_max"].values <= 0.05))


def test_time_course_of_what_was_not_tested_needs_a_pair(ax):
    with pytest.raises(PlanError, match="name the channel pair"):
        plot.time_course(make_real(3), ax)
    plot.time_course(make_real(3), ax, pair=(CHANNELS[0], CHANNELS[1]))
    assert len(ax.lines) == 4


@pytest.mark.parametrize(
    ("names", "axis"),
    [(("0 s", "20 s"), "middle of the window (s)"), (("talk", "rest"), "epoch"), (("20 s", "0 s"), "epoch")],
)
def test_only_windows_in_order_stand_at_their_times(ax, names, axis):
    starts = {"talk": 20.0, "rest": 0.0, "0 s": 0.0, "20 s": 20.0}
    spans = {name: [[starts[name], starts[name] + 20.0]] for name in names}
    real = make_real(3).assign_coords(epoch=list(names)).assign_attrs(epochs=json.dumps(spans))
    plot.time_course(real, ax, pair=(CHANNELS[0], CHANNELS[1]))
    assert ax.get_xlabel() == axis
    assert list(ax.lines[-1].get_xdata()) == ([10.0, 30.0] if axis != "epoch" else [0.0, 1.0])


@pytest.mark.parametrize(("p", "between"), [(0.01, (None, None)), (5 / 100, (95, 96)), (1.0, (None, 0))])
def test_largest_z_stands_among_the_maxima_where_its_p_says(ax, result, p, between):
    """What a table prints as z may be standardised by other draws; read off the picture, p is that of the test."""
    maxima = np.linspace(0.0, 4.0, 99)
    ds = result.dataset.assign(p_max_single=result.dataset["p_max"] * 0 + p)
    ds["group_z"] = ds["group_z"] * 0 + 3.0
    plot.max_histogram(Result(ds, result.null.drop_vars("null_max").assign(null_max=("draw", maxima))), ax)
    line = float(ax.lines[0].get_xdata()[0])
    reached = (maxima >= line).sum()
    assert (reached + 1) / 100 == pytest.approx(p, abs=0.0101)
    assert f"p_max = {p:g}" in ax.get_title(loc="left")


def test_fifty_channels_are_all_named_in_a_matrix_of_the_report(result):
    from ibsync.results.report_figures import _map_size

    real = make_real(3).isel(epoch=[0], band=[0], channel_a=[0] * 50, channel_b=[1] * 50)
    real = real.assign_coords({dim: [f"S{k}_D{k}" for k in range(50)] for dim in ("channel_a", "channel_b")})
    figure = Figure(figsize=_map_size(real), layout="constrained")
    FigureCanvasAgg(figure)
    ax = plot.pair_matrix(real, figure.add_subplot(), show="value")
    figure.canvas.draw()
    assert len(ax.get_yticklabels()) == 50
    boxes = [label.get_window_extent() for label in ax.get_yticklabels()]
    assert all(one.y0 >= other.y1 - 0.5 for one, other in pairwise(boxes))


def test_of_very_many_pairs_the_dyads_show_those_of_the_largest_mean(ax):
    real = make_real(3).isel(epoch=[0], band=[0], channel_a=[0] * 20, channel_b=[1] * 20).copy(deep=True)
    values = np.random.default_rng(0).uniform(0.2, 0.6, (3, 400))
    real["coherence"].values[:] = values.reshape(3, 1, 20, 20, 1)
    plot.dyad_matrix(real, ax, show="value")
    shown = ax.images[0].get_array()
    assert shown.shape == (3, 150)
    largest = np.sort(np.argsort(-values.mean(axis=0))[:150])
    assert_array_equal(shown, values[:, largest])
    assert "the 150 of the largest mean, 400 in all" in ax.get_xlabel()


def test_positions_of_a_study_come_with_what_is_computed_of_it(tmp_path):
    from dataclasses import replace

    from ibsync.recordings.study_file import StudyFile, write_study

    study = ibsync.simulate(tmp_path / "plain.h5", n_dyads=3, n_channels=2, duration=60.0, sfreq=5.0)
    assert "positions_mm" not in study.origin
    places = ((10.0, 0.0, 80.0, 30.0, 0.0, 80.0), (np.nan,) * 6)
    recordings = {r.id: replace(r, optodes_mm=places, short=()) for r in study.recordings}
    rows = [
        replace(row, recording_a=recordings[row.recording_a.id], recording_b=recordings[row.recording_b.id])
        for row in study.dyads
    ]
    signals = [({name: study.signals(r.id, name) for name in r.signal_names}) for r in recordings.values()]
    write_study(tmp_path / "placed.h5", zip(recordings.values(), signals, strict=True), {}, rows)
    known = positions_in(StudyFile.open(tmp_path / "placed.h5").origin)
    (channel,) = known["a"]
    assert known == {"a": {channel: [20.0, 0.0, 80.0]}, "b": {channel: [20.0, 0.0, 80.0]}}
    real = ibsync.Study.open(tmp_path / "placed.h5").synchrony(ibsync.WTC({"b": (0.1, 0.3)}))
    assert positions_in(ibsync.load(Result(real).save(tmp_path / "real.h5")).dataset.attrs) == known
