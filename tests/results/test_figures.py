import inspect

import matplotlib as mpl
import numpy as np
import pytest
from fake_results import CHANNELS, COUPLED, make_maps, make_real, make_result
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection, QuadMesh
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.quiver import Quiver

from ibsync import plot
from ibsync.errors import PlanError
from ibsync.results.figures.courses import session_labels
from ibsync.results.figures.drawing import plain
from ibsync.results.result import Result

mpl.use("agg")


@pytest.fixture(scope="module")
def result():
    return make_result(6, 3, n_draws=199)


@pytest.fixture
def ax():
    figure = Figure(layout="constrained")
    FigureCanvasAgg(figure)
    yield figure.add_subplot()
    figure.canvas.draw()


def only(ax, kind):
    found = [child for child in ax.get_children() if isinstance(child, kind)]
    assert len(found) == 1
    return found[0]


def heights(ax):
    return np.array([patch.get_height() for patch in ax.patches])


def test_scalogram_shows_the_coherence_of_its_pair(ax):
    maps = make_maps()
    plot.wtc(maps, ax)
    mesh = only(ax, QuadMesh)
    np.testing.assert_array_equal(mesh.get_array().reshape(78, 600), maps["coherence"].values[0, 0])
    assert mesh.get_clim() == (0.0, 1.0)


def test_period_grows_downwards_and_frequency_is_its_reciprocal(ax):
    maps = make_maps()
    plot.wtc(maps, ax)
    bottom, top = ax.get_ylim()
    assert bottom == maps["period"].values.max()
    assert top == maps["period"].values.min()
    assert ax.get_yscale() == "log"
    ax.figure.canvas.draw()
    twin = ax.child_axes[0]
    for frequency in (0.05, 0.2, 1.0):
        on_the_right = twin.transData.transform((0, frequency))[1]
        np.testing.assert_allclose(on_the_right, ax.transData.transform((0, 1 / frequency))[1])
    assert "Hz" in twin.get_ylabel()


@pytest.mark.parametrize(
    ("phase", "right", "up"),
    [(0.0, 1, 0), (np.pi, -1, 0), (np.pi / 2, 0, -1), (-np.pi / 2, 0, 1), (1.0, np.cos(1), -np.sin(1))],
    ids=["in phase: right", "anti-phase: left", "a leads: down", "b leads: up", "a leads by 1 rad: south-east"],
)
def test_arrows_point_as_in_grinsteds_program(ax, phase, right, up):
    maps = make_maps()
    maps["phase"][:] = phase
    plot.wtc(maps, ax)
    arrows = only(ax, Quiver)
    assert arrows.angles == "uv", "directions on the page, not along the inverted axis"
    assert arrows.N > 10
    np.testing.assert_allclose(arrows.U, right, atol=1e-12)
    np.testing.assert_allclose(arrows.V, up, atol=1e-12)


def test_arrow_for_a_leads_has_its_head_towards_the_bottom_of_the_page(ax):
    maps = make_maps()
    maps["phase"][:] = np.pi / 2
    maps["coherence"][:] = 0.0
    maps["coherence"][0, 0, 38, 294] = 0.9
    ax.figure.set_dpi(400)
    plot.wtc(maps, ax)
    arrow = only(ax, Quiver)
    assert arrow.N == 1
    with_arrow = _pixels(ax)
    arrow.remove()
    rows, columns = np.nonzero(np.abs(with_arrow - _pixels(ax)).sum(-1) > 100)
    widths = [np.ptp(columns[rows == row]) for row in np.unique(rows)]
    assert len(widths) > 20
    assert np.argmax(widths) > len(widths) / 2, "the wide end of an arrow is its head"


def _pixels(ax):
    ax.figure.canvas.draw()
    return np.asarray(ax.figure.canvas.buffer_rgba())[..., :3].astype(int)


def test_arrows_stand_only_where_coherence_reaches_the_threshold(ax):
    maps = make_maps()
    plot.wtc(maps, ax, threshold=0.8)
    arrows = only(ax, Quiver)
    for time, period in arrows.XY:
        assert maps["coherence"].sel(time=time).values[0, 0, np.argmin(abs(maps["period"].values - period))] >= 0.8
    many = only(plot.wtc(maps, Figure().add_subplot(), threshold=0.2), Quiver)
    assert many.N > arrows.N > 0


def test_cone_is_the_region_of_periods_longer_than_coi(ax):
    maps = make_maps()
    plot.wtc(maps, ax)
    cone = next(c for c in ax.collections if isinstance(c, PolyCollection) and c.get_hatch())
    path = cone.get_paths()[0]
    period = maps["period"].values
    for index in (5, 60, 300):
        time, coi = float(maps["time"][index]), float(np.clip(maps["coi"][index], period.min(), period.max()))
        assert not path.contains_point((time, coi * 0.97))
        assert coi == period.max() or path.contains_point((time, min(coi * 1.03, period.max() * 0.999)))


def levelled_maps(values, **attrs):
    maps = make_maps()
    maps["significance_level"] = maps["coherence"].isel(time=0) * 0 + np.reshape(values, (-1,))
    maps["significance_level"].attrs = attrs
    return maps


def contour_of(ax):
    return only(ax, QuadContourSet)


def test_contour_parts_cells_above_the_level_of_their_row_from_those_below(ax):
    period = make_maps()["period"].values
    level = np.where(period < 5, 0.9, 0.5)
    maps = levelled_maps(level, level=0.95, family="ar1")
    plot.wtc(maps, ax)
    contour = contour_of(ax)
    assert contour.get_edgecolor()[0].tolist() == [0, 0, 0, 1]
    assert contour.get_linewidth()[0] >= 1.5
    (path,) = contour.get_paths()
    points = path.vertices[path.codes != path.CLOSEPOLY]
    assert len(points) > 50
    above = maps["coherence"].values[0, 0] - level[:, None]
    row, column = np.searchsorted(period, points[:, 1]), np.searchsorted(maps["time"].values, points[:, 0])
    corners = np.array([above[(row - i).clip(0), (column - j).clip(0)] for i in (0, 1) for j in (0, 1)])
    assert (corners.min(axis=0) <= 1e-9).all()
    assert (corners.max(axis=0) >= -1e-9).all()
    assert any("95% level of AR(1) noise, each cell on its own" in text.get_text() for text in ax.texts)


def test_contour_is_that_of_the_pair(ax):
    maps = levelled_maps(0.5).isel(channel_a=[0, 0]).assign_coords(channel_a=["x", "y"])
    maps["significance_level"] = maps["significance_level"] + np.array([0.0, 0.3])[:, None, None]
    first = contour_of(plot.wtc(maps, ax)).get_paths()[0].get_extents()
    second = contour_of(plot.wtc(maps, Figure().add_subplot(), pair=1)).get_paths()[0].get_extents()
    assert first.width > second.width > 0


@pytest.mark.parametrize("level", [1.0, 0.0, np.nan], ids=["nothing exceeds it", "all exceed it", "no level"])
def test_no_contour_where_a_level_parts_nothing(ax, level):
    plot.wtc(levelled_maps(level), ax)
    assert not [child for child in ax.get_children() if isinstance(child, QuadContourSet)]


def test_maps_without_levels_have_no_contour_and_no_words_of_it(ax):
    plot.wtc(make_maps(), ax)
    assert not [child for child in ax.get_children() if isinstance(child, QuadContourSet)]
    assert not any("thick line" in text.get_text() for text in ax.texts)


def test_long_recordings_are_thinned_by_block_means(ax):
    maps = make_maps(5000, sfreq=10.0)
    plot.wtc(maps, ax)
    drawn = only(ax, QuadMesh).get_array().reshape(78, -1)
    assert drawn.shape[1] == 1666
    np.testing.assert_allclose(drawn[:, 7], maps["coherence"].values[0, 0, :, 21:24].mean(-1), rtol=1e-12)


def test_missing_cells_stay_empty(ax):
    maps = make_maps()
    maps["coherence"][0, 0, :, 100:120] = np.nan
    plot.wtc(maps, ax)
    drawn = only(ax, QuadMesh).get_array().reshape(78, 600)
    assert drawn.mask[:, 100:120].all()
    assert drawn.mask.sum() == 78 * 20


def test_pair_is_chosen_by_position_or_labels(ax):
    one = make_maps(200)
    maps = one.isel(channel_a=[0, 0], channel_b=[0, 0, 0]).assign_coords(
        channel_a=["x", "y"], channel_b=["u", "v", "w"]
    )
    maps["coherence"] = maps["coherence"] * np.linspace(0.1, 0.9, 6).reshape(2, 3, 1, 1)
    by_position = only(plot.wtc(maps, ax, pair=5), QuadMesh).get_array()
    by_labels = only(plot.wtc(maps, Figure().add_subplot(), pair=("y", "w")), QuadMesh).get_array()
    np.testing.assert_array_equal(by_position, by_labels)
    np.testing.assert_array_equal(by_position.reshape(78, 200), maps["coherence"].values[1, 2])
    assert "y" in ax.get_title(loc="left")
    with pytest.raises(PlanError, match="0 to 5"):
        plot.wtc(maps, pair=6)
    with pytest.raises(PlanError, match="there are u, v, w"):
        plot.wtc(maps, pair=("x", "z"))


def test_scalogram_of_band_means_is_refused_with_the_mend():
    with pytest.raises(PlanError, match='grid="full"'):
        plot.wtc(make_real(3))


def test_axes_carry_names_and_units(ax, result):
    plot.wtc(make_maps(), ax)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time (s)", "period (s)")
    assert "coherence (magnitude-squared)" in [other.get_ylabel() for other in ax.figure.axes]
    assert any("down a leads by 90°" in text.get_text() for text in ax.texts)


def test_new_figure_is_made_where_no_axes_are_given(result):
    import matplotlib.pyplot as plt

    axes = plot.wtc(make_maps(200))
    assert axes.figure.number in plt.get_fignums()
    plt.close("all")


def test_band_summary_places_real_and_null_of_every_row(ax, result):
    plot.band_summary(result, ax, epoch="rest")
    ds = result.dataset.sel(epoch="rest")
    null, real = (collection.get_offsets() for collection in ax.collections if len(collection.get_offsets()) > 1)
    over_pairs = ("channel_a", "channel_b")
    np.testing.assert_allclose(np.sort(real[:, 1]), np.sort(ds["coherence"].mean(over_pairs).values.ravel()))
    np.testing.assert_allclose(np.sort(null[:, 1]), np.sort(ds["null_mean"].mean(over_pairs).values.ravel()))
    assert set(np.round(real[:, 0])) == {0, 1}
    assert [label.get_text().split("\n")[0] for label in ax.get_xticklabels()] == ["task", "slow"]


def test_band_summary_of_one_pair(ax, result):
    pair = tuple(CHANNELS[index] for index in COUPLED)
    plot.band_summary(result, ax, pair=pair)
    real = [c.get_offsets() for c in ax.collections if len(c.get_offsets()) > 1][1]
    expected = result.dataset["coherence"].sel(epoch="talk", channel_a=pair[0], channel_b=pair[1])
    np.testing.assert_allclose(np.sort(real[:, 1]), np.sort(expected.values.ravel()))


def test_pair_matrix_shows_z_and_marks_what_survives(ax, result):
    plot.pair_matrix(result, ax, epoch="talk", band="task")
    ds = result.dataset.sel(epoch="talk", band="task")
    np.testing.assert_array_equal(ax.images[0].get_array(), ds["group_z"].values)
    marks = {tuple(int(x) for x in point[::-1]) for point in ax.collections[0].get_offsets()}
    expected = set(zip(*(int_array.tolist() for int_array in np.nonzero(ds["p_max"].values <= 0.05)), strict=True))
    assert marks == expected
    assert COUPLED in marks
    assert [label.get_text() for label in ax.get_yticklabels()] == CHANNELS


@pytest.mark.parametrize("alpha", [0.001, 0.05, 0.5])
def test_dots_stand_where_the_test_passes_at_its_own_level(ax, alpha):
    result = make_result(6, n_draws=199, alpha=alpha)
    plot.pair_matrix(result, ax, epoch="talk", band="task")
    ds = result.dataset.sel(epoch="talk", band="task")
    marks = {tuple(int(x) for x in point[::-1]) for point in ax.collections[0].get_offsets()}
    passed = {tuple(cell) for cell in np.argwhere(ds["p_max"].values <= alpha).tolist()}
    assert marks == passed
    assert bool(marks) == (alpha > 0.001)


def test_a_refused_picture_leaves_no_figure_open(result):
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    with pytest.raises(PlanError):
        plot.pair_matrix(result, epoch="none")
    assert plt.get_fignums() == before


def test_pictures_document_their_parameters():
    for draw in (plot.band_summary, plot.dyad_matrix, plot.growth, plot.max_histogram):
        names = list(inspect.signature(draw).parameters)
        assert names[:2] == ["result", "ax"]
        section = draw.__doc__.split("----------")[1].split("Returns")[0]
        entries = [line.split(" : ")[0] for line in section.splitlines() if " : " in line]
        assert ", ".join(entries).split(", ") == names


def test_colours_are_shared_by_all_panels_and_noise_looks_pale(result):
    limits = {
        plot.pair_matrix(result, Figure().add_subplot(), epoch=epoch, band=band).images[0].get_clim()
        for epoch in (0, 1)
        for band in (0, 1)
    }
    assert len(limits) == 1
    low, high = limits.pop()
    assert low == -high
    assert 3 <= high <= 6


def test_dyad_matrix_has_a_row_per_dyad_session_and_a_column_per_used_pair(ax, result):
    same = np.eye(6, dtype=bool)[None, None, :, :, None]
    ds = result.dataset.copy()
    ds["z"] = ds["z"].where(np.broadcast_to(same, ds["z"].shape))
    plot.dyad_matrix(ds, ax, epoch="rest", band=1)
    drawn = ax.images[0].get_array()
    assert drawn.shape == (18, 6)
    np.testing.assert_array_equal(drawn[:, 4], ds["z"].values[:, 1, 4, 4, 1])
    assert "6 in all" in ax.get_xlabel()
    assert ax.get_yticklabels()[0].get_text() == "dyad01 ses-1"


def test_matrices_of_real_synchrony_show_coherence(ax):
    real = make_real(4)
    plot.pair_matrix(real, ax, show="value")
    np.testing.assert_allclose(ax.images[0].get_array(), real["coherence"].values[:, 0, :, :, 0].mean(0))
    drawn = plot.dyad_matrix(real, Figure().add_subplot(), show="value").images[0].get_array()
    np.testing.assert_array_equal(drawn, real["coherence"].values[:, 0, :, :, 0].reshape(4, 36))


def test_null_histogram_holds_every_draw_and_the_observed_line(ax, result):
    plot.null_histogram(result, ax, epoch="talk", band="slow")
    ds = result.dataset.sel(epoch="talk", band="slow")
    assert heights(ax).sum() == 199
    assert len(ax.patches) <= 40
    assert np.ptp([patch.get_width() for patch in ax.patches]) < 1e-12
    null = result.null.sel(epoch="talk", band="slow")
    counts, centres = null["null_hist"].values, null["hist_center"].values
    low = min(patch.get_x() for patch in ax.patches)
    high = max(patch.get_x() + patch.get_width() for patch in ax.patches)
    assert low <= centres[counts > 0].min()
    assert high >= centres[counts > 0].max()
    observed = ds["group_statistic"].values.mean()
    np.testing.assert_allclose(ax.lines[0].get_xdata(), observed)
    assert f"{observed:.4g}" in ax.texts[0].get_text()


def test_null_histogram_marks_the_pooled_statistic_where_it_is_given(ax, result):
    null = result.null.assign(pooled_statistic=(("epoch", "band"), [[0.41, 0.42], [0.43, 0.44]]))
    plot.null_histogram(Result(result.dataset, null), ax, epoch=1, band=0)
    np.testing.assert_allclose(ax.lines[0].get_xdata(), 0.43)


def test_histogram_bars_keep_their_place(ax, result):
    null = result.null.copy()
    null["null_hist"] = null["null_hist"] * 0
    null["null_hist"][0, 0, [0, 500, 4095]] = [3, 20, 7]
    plot.null_histogram(Result(result.dataset, null), ax)
    filled = {patch.get_height(): patch for patch in ax.patches if patch.get_height()}
    assert set(filled) == {3, 20, 7}
    for count, index in ((3, 0), (20, 500), (7, 4095)):
        x = null["hist_center"].values[index]
        assert filled[count].get_x() <= x <= filled[count].get_x() + filled[count].get_width()


@pytest.mark.parametrize(("tail", "pick"), [("greater", "max"), ("less", "min"), ("two-sided", "extreme")])
def test_max_histogram_compares_with_the_largest_z_of_the_tail(ax, result, tail, pick):
    ds = result.dataset.assign_attrs(tail=tail)
    plot.max_histogram(Result(ds, result.null), ax)
    z = ds["group_z"].values
    expected = {"max": z.max(), "min": -z.min(), "extreme": abs(z).max()}[pick]
    np.testing.assert_allclose(ax.lines[0].get_xdata(), expected)
    assert heights(ax).sum() == 199


def test_session_slopes_draw_each_dyad_and_the_means(ax, result):
    ds = result.dataset.isel(dyad=[4, 0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 12, 13, 14, 15, 16])  # ses-2 and ses-3 lack dyads
    pair = (CHANNELS[1], CHANNELS[5])
    plot.session_slopes(ds, ax, epoch="rest", band="slow", pair=pair)
    chosen = ds["coherence"].sel(epoch="rest", band="slow", channel_a=pair[0], channel_b=pair[1])
    lines = [line.get_ydata() for line in ax.lines]
    *dyads, mean, null = lines
    assert len(dyads) == 6
    np.testing.assert_array_equal(dyads[0], _of(chosen, "dyad05"))
    for session in range(3):
        values = chosen.values[ds["session"].values == f"ses-{session + 1}"]
        np.testing.assert_allclose(mean[session], values.mean())
    assert np.isnan(np.array(dyads)).sum() == 2
    assert len(null) == 3
    assert [label.get_text() for label in ax.get_xticklabels()] == ["ses-1", "ses-2", "ses-3"]


def _of(values, dyad):
    row = np.full(3, np.nan)
    for label, session, value in zip(values["dyad"].values, values["session"].values, values.values, strict=True):
        if label == dyad:
            row[int(session[-1]) - 1] = value
    return row


def test_sessions_come_in_natural_order():
    real = make_real(2, 3)
    real = real.assign_coords(session=("dyad", ["10", "10", "2", "2", "1", "1"]))
    assert session_labels(real) == ["1", "2", "10"]


def test_unknown_epoch_is_refused_with_those_there_are(result):
    with pytest.raises(PlanError, match="there are talk, rest"):
        plot.band_summary(result, epoch="pause")


def test_label_with_mathematics_is_shown_as_it_is(ax, result):
    ds = result.dataset.assign_coords(channel_a=["$\\frac$", "a$b", "x_1", "<b>", "tab\tnew\nline", "y" * 60])
    plot.pair_matrix(ds, ax)
    ax.figure.canvas.draw()
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels[0] == r"\$\frac\$"
    assert labels[4] == "tab new line"
    assert len(labels[5]) == 18
    assert plain("\x00a\u2028b") == "a b"
