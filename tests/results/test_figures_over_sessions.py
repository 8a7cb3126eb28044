"""Pictures of change over sessions, of outcomes and of people hold the numbers of their results."""

import json

import matplotlib as mpl
import numpy as np
import pytest
from fake_results import CHANNELS, COUPLED, make_real, make_result
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.testing import assert_allclose, assert_array_equal
from refusals import plan_refusal

import ibsync as ibs
from ibsync import plot
from ibsync.nulls.draws import Draws
from ibsync.nulls.rematching import Matchings
from ibsync.nulls.repaired_null import RepairedNull
from ibsync.nulls.repairing import Repairing
from ibsync.results.result import Result
from ibsync.study.rows import labels_of

mpl.use("agg")

PAIR = tuple(CHANNELS[index] for index in COUPLED)
AT = {"epoch": "talk", "band": "task", "pair": PAIR}
FEATURE = {"epoch": 0, "channel_a": COUPLED[0], "channel_b": COUPLED[1], "band": 0}


@pytest.fixture
def ax():
    figure = Figure(layout="constrained")
    FigureCanvasAgg(figure)
    yield figure.add_subplot()
    figure.canvas.draw()


@pytest.fixture(scope="module")
def tested():
    """Eight dyads in two groups over four sessions, of which one dyad lacks the second."""
    ds = make_result(8, 4, n_draws=99, coupling=0.2).dataset
    group = ["training" if dyad <= "dyad04" else "waiting" for dyad in ds["dyad"].values]
    ds = ds.assign_coords(group=("dyad", group))
    return Result(ds.isel(dyad=[row for row in range(32) if row != 8 + 2]))


@pytest.fixture(scope="module")
def growth(tested):
    return ibs.plasticity(tested, {"ses-1": 0, "ses-2": 1, "ses-3": 4, "ses-4": 9}, correct=["max"])


@pytest.fixture(scope="module")
def compared(tested):
    return ibs.plasticity(tested, between=("waiting", "training"), correct=[])


def scores(names):
    """An outcome by dyad."""
    return dict(zip(names, np.random.default_rng(3).standard_normal(len(names)) + 5, strict=True))


@pytest.fixture(scope="module")
def related(tested):
    return ibs.outcome(tested, scores([f"dyad{d:02d}" for d in range(1, 9)]), correct=["max"])


def lines_of(ax, width):
    return [line for line in ax.lines if line.get_linewidth() == width]


def slope_of(line):
    (first, last), (low, high) = line.get_xdata(), line.get_ydata()
    return (high - low) / (last - first)


def frames(ax):
    return {
        (round(p.get_y() + 0.5), round(p.get_x() + 0.5)) for p in ax.patches if isinstance(p, Rectangle) and not p.fill
    }


def dots(ax):
    return [c for c in ax.collections if isinstance(c, PathCollection)]


def title(ax):
    return " ".join(ax.get_title(loc="left").replace("\xa0", " ").split())


# --- change over sessions ---------------------------------------------------------------------------------------------


def test_growth_draws_every_dyads_values_and_its_least_squares_line(ax, growth, tested):
    plot.growth(growth, ax, **AT)
    measured = (tested.dataset["coherence"] - tested.dataset["null_mean"]).isel(FEATURE)
    valid = tested.dataset["valid_fraction"].isel(FEATURE)
    when = {"ses-1": 0, "ses-2": 1, "ses-3": 4, "ses-4": 9}
    raw, fitted = lines_of(ax, 0.6), lines_of(ax, 1.0)
    assert len(raw) == len(fitted) == 8
    for dyad, values, line in zip(dict.fromkeys(tested.dataset["dyad"].values), raw, fitted, strict=True):
        rows = np.flatnonzero(tested.dataset["dyad"].values == dyad)
        times = [when[session] for session in tested.dataset["session"].values[rows]]
        assert_array_equal(values.get_xdata(), times)
        assert_array_equal(values.get_ydata(), measured.values[rows])
        expected = np.polynomial.Polynomial.fit(times, measured.values[rows], 1, w=np.sqrt(valid.values[rows]))
        assert_allclose(line.get_ydata(), expected(line.get_xdata()), rtol=1e-10)
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0", "1", "4", "9"]
    assert "less the mean of its null" in ax.get_ylabel()


def test_growth_draws_the_mean_of_the_lines_and_the_slopes_of_the_null(ax, growth):
    plot.growth(growth, ax, **AT)
    ds = growth.dataset.isel(FEATURE)
    (mean,) = lines_of(ax, 3.2)
    assert_allclose(slope_of(mean), ds["group_statistic"], rtol=1e-10)
    fitted = [np.polynomial.Polynomial.fit(line.get_xdata(), line.get_ydata(), 1) for line in lines_of(ax, 1.0)]
    for time, height in zip(mean.get_xdata(), mean.get_ydata(), strict=True):
        assert_allclose(height, np.average([line(time) for line in fitted], weights=ds["weight"]), rtol=1e-10)
    (fan,) = (c for c in ax.collections if isinstance(c, PolyCollection))
    corners = fan.get_paths()[0].vertices
    begin, ends = corners[corners[:, 0] == 0][:, 1], sorted(corners[corners[:, 0] == 9][:, 1])
    assert_allclose(begin, mean.get_ydata()[0], rtol=1e-10)
    null = float(ds["group_null_mean"]) + 1.96 * np.array([-1, 1]) * float(ds["group_null_sd"])
    assert_allclose((np.array([ends[0], ends[-1]]) - begin[0]) / 9, null, rtol=1e-10)
    (dashed,) = (line for line in lines_of(ax, 1.6) if line.get_linestyle() == "--")
    assert_allclose(slope_of(dashed), ds["group_null_mean"], atol=1e-12)


def test_strongest_feature_is_taken_where_none_is_named(ax, growth):
    plot.growth(growth, ax)
    ds = growth.dataset
    assert title(ax).startswith(f"{PAIR[0]}–{PAIR[1]}, epoch talk, band task")
    assert float(ds["p_max"].isel(FEATURE)) == float(ds["p_max"].min())
    assert f"p_max = {float(ds['p_max'].min()):.3g}" in title(ax)
    plot.growth(growth, other := Figure().add_subplot(), epoch="rest")
    assert ", epoch rest, band" in title(other)
    rest = ds.sel(epoch="rest").squeeze()
    smallest = rest["p"].where(rest["p_max"] == rest["p_max"].min()).min()
    assert f"p = {float(smallest):.3g}," in title(other)


def test_two_groups_have_lines_of_their_own_and_the_null_lies_about_the_second(ax, compared):
    plot.growth(compared, ax, **AT)
    ds = compared.dataset.isel(FEATURE)
    means = lines_of(ax, 3.2)
    assert_allclose([slope_of(line) for line in means], ds["slope_mean"], rtol=1e-10)
    assert [line.get_label().split(":")[0] for line in means] == ["waiting", "training"]
    plot.dyad_slopes(compared, other := Figure().add_subplot(), **AT)
    (span,) = other.patches
    low, high = span.get_x(), span.get_x() + span.get_width()
    centre = float(ds["slope_mean"].sel(between="training") + ds["group_null_mean"])
    assert_allclose([low, high], centre + 1.96 * np.array([-1, 1]) * float(ds["group_null_sd"]), rtol=1e-10)
    first = float(ds["slope_mean"].sel(between="waiting"))
    outside = abs(float(ds["group_z"])) > 1.96
    assert (not low <= first <= high) == outside


def test_slopes_of_dyads_stand_in_order_with_the_null_of_their_mean(ax, growth):
    ds = growth.dataset.copy(deep=True)
    ds["value"][5] = np.nan
    plot.dyad_slopes(ds, ax, **AT)
    slopes = ds["value"].isel(FEATURE)
    there = slopes.values[np.isfinite(slopes.values)]
    (points,) = dots(ax)
    assert_array_equal(points.get_offsets()[:, 0], np.sort(there))
    order = slopes["dyad"].values[np.argsort(slopes.values)][:-1]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == order.tolist()
    assert ax.get_ylabel() == "7 of 8 dyads"
    (mean,) = lines_of(ax, 2.4)
    weights = ds["weight"].isel(FEATURE).values[np.isfinite(slopes.values)]
    assert_allclose(mean.get_xdata(), np.average(there, weights=weights))
    assert_allclose(points.get_sizes(), 24 * (weights / weights.mean())[np.argsort(there)])
    (span,) = ax.patches
    at = growth.dataset.isel(FEATURE)
    assert_allclose(span.get_x() + span.get_width() / 2, at["group_null_mean"], atol=1e-12)
    assert_allclose(span.get_width(), 2 * 1.96 * at["group_null_sd"])
    assert ax.get_xlabel() == "change of coherence per unit of time"


def test_growth_map_frames_what_survives_and_greys_what_is_missing(ax, growth):
    ds = growth.dataset.copy(deep=True)
    for name in ("group_statistic", "p", "p_max"):
        ds[name][0, 1] = np.nan
    plot.growth_map(ds, ax, epoch="talk", band="task")
    shown = ds.sel(epoch="talk", band="task")
    (image,) = ax.images
    assert_array_equal(np.ma.filled(image.get_array(), np.nan), shown["group_statistic"].values)
    assert_allclose(image.cmap(np.ma.masked_invalid([np.nan]))[0], mpl.colors.to_rgba("#e4e4e4"))
    assert frames(ax) == {tuple(cell) for cell in np.argwhere(shown["p_max"].values <= 0.05).tolist()}
    assert COUPLED in frames(ax)
    low, high = image.get_clim()
    assert low == -high == -np.nanmax(np.abs(ds["group_statistic"].values))
    other = plot.growth_map(ds, Figure().add_subplot(), epoch="rest", band="slow")
    assert other.images[0].get_clim() == (low, high), "panels share their colours"


def test_frames_stand_where_the_test_passes_at_its_own_level(tested):
    for alpha in (0.01, 0.05, 0.3):
        found = ibs.plasticity(tested, correct=[], alpha=alpha)
        passed = np.argwhere(found.dataset["p"].isel(epoch=0, band=0).values <= alpha)
        drawn = plot.growth_map(found, Figure().add_subplot(), epoch=0, band=0)
        assert frames(drawn) == {tuple(cell) for cell in passed.tolist()}
    assert len(passed) > 3


def test_changes_of_repaired_partners_are_marked_beside_those_of_the_dyad(ax, growth):
    ds = growth.dataset.assign(null_mean=growth.dataset["value"] * 0 + np.arange(8.0)[:, None, None, None, None])
    plot.dyad_slopes(ds, ax, **AT)
    own = dots(ax)[-1].get_offsets()
    order = np.argsort(growth.dataset["value"].isel(FEATURE).values)
    assert_array_equal(own[:, 0], np.arange(8.0)[order])


# --- outcomes ---------------------------------------------------------------------------------------------------------


def test_association_has_a_dot_per_dyad_and_the_tested_line(ax, related, tested):
    plot.association(related, ax, **AT)
    difference = (tested.dataset["coherence"] - tested.dataset["null_mean"]).isel(FEATURE)
    names = [f"dyad{d:02d}" for d in range(1, 9)]
    x = np.array([difference.values[tested.dataset["dyad"].values == name].mean() for name in names])
    y = np.array(list(scores(names).values()))
    training, waiting = (np.asarray(points.get_offsets()) for points in dots(ax))
    assert_allclose(training, np.column_stack([x, y])[:4], rtol=1e-12)
    assert_allclose(waiting, np.column_stack([x, y])[4:], rtol=1e-12)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["training, 4 dyads", "waiting, 4 dyads"]
    line = np.polynomial.Polynomial.fit(x, y, 1)
    (drawn,) = ax.lines
    assert_allclose(drawn.get_ydata(), line(drawn.get_xdata()), rtol=1e-10)
    assert f"r = {np.corrcoef(x, y)[0, 1]:.2f}, 8 dyads, p = " in title(ax)
    assert f"p_max = {float(related.dataset['p_max'].isel(FEATURE)):.3g}" in title(ax)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("coherence less the mean of its null", "outcome")


def test_sessions_of_a_dyad_are_drawn_less_its_means(ax, tested):
    random = np.random.default_rng(1)
    rows = zip(tested.dataset["dyad"].values, tested.dataset["session"].values, strict=True)
    values = {(str(dyad), str(session)): random.standard_normal() for dyad, session in rows}
    found = ibs.outcome(tested, values, level="within", n=99, correct=[])
    plot.association(found, ax, **AT)
    points = np.concatenate([group.get_offsets() for group in dots(ax)])
    assert len(points) == 31
    for line in lines_of(ax, 0.7):
        assert_allclose([line.get_xdata().mean(), line.get_ydata().mean()], 0, atol=1e-12)
    assert sorted(len(line.get_xdata()) for line in lines_of(ax, 0.7)) == [3] + 7 * [4]
    x, y = points.T
    assert_allclose(slope_of(lines_of(ax, 1.8)[0]), (x * y).sum() / (x * x).sum(), rtol=1e-9)
    assert "less the dyad's mean" in ax.get_xlabel().replace("\n", " ")


def test_with_covariates_the_line_has_the_slope_given_these(ax, tested):
    names = [f"dyad{d:02d}" for d in range(1, 9)]
    age = dict(zip(names, [0.0, 36, 4, 16, 9, 25, 1, 49], strict=True))
    found = ibs.outcome(tested, scores(names), covariates={"age": age}, n=99, correct=[])
    plot.association(found, ax, **AT)
    x, y = np.concatenate([group.get_offsets() for group in dots(ax)]).T
    weights = np.linalg.lstsq(np.column_stack([x, list(age.values()), np.ones(8)]), y)[0]
    assert_allclose(slope_of(lines_of(ax, 1.8)[0]), weights[0], rtol=1e-9)
    assert "partial r =" in title(ax)


def test_dyads_without_a_value_have_no_dot(ax, related):
    ds = related.dataset.copy(deep=True)
    ds["value"][0] = np.nan
    plot.association(ds, ax, **AT)
    assert sum(len(group.get_offsets()) for group in dots(ax)) == 7
    assert "7 dyads" in title(ax)


# --- people -----------------------------------------------------------------------------------------------------------


def test_partners_of_real_synchrony_fill_the_cells_of_those_who_met(ax):
    real = make_real(4, 2)
    people = real.assign_coords(
        person_a=("dyad", ["t1", "t1", "t2", "t2"] * 2), person_b=("dyad", ["c1", "c2", "c3", "c1"] * 2)
    )
    plot.partners(people, ax, epoch="rest", band="slow", pair=PAIR)
    values = real["coherence"].sel(epoch="rest", band="slow", channel_a=PAIR[0], channel_b=PAIR[1]).values
    mean = values.reshape(2, 4).mean(axis=0)
    nan = np.nan
    shown = np.ma.filled(ax.images[0].get_array(), nan)
    assert_allclose(shown, [[mean[0], mean[1], nan], [mean[3], nan, mean[2]]])
    assert frames(ax) == {(0, 0), (0, 1), (1, 2), (1, 0)}
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["c1", "c2", "c3"]
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["t1", "t2"]


def pairs_null(design, n_sessions=2):
    random = np.random.default_rng(5)
    n_people = design.n_people
    values = random.random((n_sessions, n_people, n_people, 8))
    if design.roles == "interchangeable":
        values = (values + values.swapaxes(1, 2)) / 2
    labels = labels_of([], ["talk", "rest"], ["a1", "a2"], ["b1"], ["slow", "task"])
    return RepairedNull(values, Draws.plan(design, 5, 1), ("1", "2"), "repair", {"labels": labels})


def people(n):
    return [f"d{d}" for d in range(n)], [f"a{d}" for d in range(n)], [f"b{d}" for d in range(n)]


def test_pseudo_dyads_of_a_null_fill_the_rest_but_across_blocks(ax):
    null = pairs_null(Repairing.of(*people(4), {"site": ["x", "x", "y", "y"]}))
    plot.partners(null, ax, epoch="rest", band="slow", pair=("a2", "b1"))
    feature = np.arange(8).reshape(2, 2, 1, 2)[1, 1, 0, 0]
    expected = null.pair_values[..., feature].mean(axis=0)
    expected[:2, 2:] = expected[2:, :2] = np.nan
    assert_allclose(np.ma.filled(ax.images[0].get_array(), np.nan), expected)
    assert frames(ax) == {(d, d) for d in range(4)}
    over_pairs = plot.partners(null, Figure().add_subplot(), epoch=0, band=1).images[0].get_array()
    assert_allclose(over_pairs[0, 1], null.pair_values[:, 0, 1].reshape(2, 2, 2, 1, 2)[:, 0, :, :, 1].mean())


def test_people_of_exchangeable_roles_stand_on_both_sides(ax):
    null = pairs_null(Matchings.of(*people(3)))
    plot.partners(null, ax, pair=("a1", "b1"))
    shown = np.ma.filled(ax.images[0].get_array(), np.nan)
    expected = null.pair_values[..., 0].mean(axis=0)
    np.fill_diagonal(expected, np.nan)
    assert_allclose(shown, expected)
    assert frames(ax) == {(d, d + 3) for d in range(3)} | {(d + 3, d) for d in range(3)}
    names = [tick.get_text() for tick in ax.get_xticklabels()]
    assert names == ["a0", "a1", "a2", "b0", "b1", "b2"]


# --- words and refusals -----------------------------------------------------------------------------------------------


def test_axes_say_what_the_result_holds(growth, related, tested):
    def words(result, draw=plot.band_summary, **more):
        return " ".join(draw(result, Figure().add_subplot(), **more).get_ylabel().split())

    assert words(tested) == "coherence (magnitude-squared)"
    assert words(growth) == "change of coherence per unit of time"
    assert words(related) == "coherence less the mean of its null"
    real = make_real(6, 2)
    contrast = ibs.contrast(real, ("talk", "rest"), correct=[])
    assert words(contrast) == "coherence, talk - rest"
    phases = tested.dataset.copy(deep=True)
    phases["value"].attrs["long_name"] = "phase consistency"
    assert words(phases) == "phase consistency"
    assert words(phases, plot.session_slopes) == "phase consistency"
    figure = Figure()
    plot.pair_matrix(related, figure.add_subplot(), show="value")
    assert "correlation with 'outcome'" in [other.get_ylabel() for other in figure.axes]


def test_pictures_of_another_measure_show_that_measure(ax, tested):
    ds = tested.dataset.assign(value=tested.dataset["coherence"] + 0.25)
    ds["value"].attrs["long_name"] = "share of coherent cells"
    plot.session_slopes(ds, ax, **AT)
    expected = ds["value"].isel(FEATURE).values[ds["session"].values == "ses-1"].mean()
    assert_allclose(lines_of(ax, 3)[0].get_ydata()[0], expected)
    drawn = plot.dyad_matrix(ds, Figure().add_subplot(), show="value").images[0].get_array()
    assert_allclose(drawn, ds["value"].values[:, 0, :, :, 0].reshape(31, -1))


def test_results_of_another_kind_and_unknown_features_are_refused(growth, related, tested):
    for draw in (plot.growth, plot.dyad_slopes, plot.growth_map):
        plan_refusal(lambda draw=draw: draw(tested), "no change over sessions", "ibs.plasticity")
    plan_refusal(lambda: plot.association(growth), "no association with an outcome", "ibs.outcome")
    plan_refusal(lambda: plot.growth(growth, band="alpha"), "no band 'alpha'", "task, slow")
    plan_refusal(lambda: plot.association(related, pair=("S1_D1", "S9_D9")), "no channel_b 'S9_D9'")
    plan_refusal(lambda: plot.growth_map(growth, epoch=2), "no epoch 2")
    nothing = growth.dataset.assign(p=growth.dataset["p"] * np.nan)
    plan_refusal(lambda: plot.growth(nothing, band=0), "no value could be tested", "band 'task'")
    old = growth.dataset.drop_vars(["session_value", "session_time"])
    plan_refusal(lambda: plot.growth(old), "values of single sessions")
    plan_refusal(lambda: plot.partners(tested.dataset.drop_vars("person_a")), "person_a")
    bare = pairs_null(Repairing.of(*people(3)))
    plan_refusal(lambda: plot.partners(RepairedNull(bare.pair_values, bare.draws, bare.sessions)), "does not name")
    plan_refusal(lambda: plot.growth(bare), "a RepairedNull cannot be drawn here")


def test_saved_results_are_drawn_alike(ax, growth, tmp_path):
    kept = ibs.load(growth.save(tmp_path / "growth.h5"))
    plot.growth(kept, ax, **AT)
    plot.growth(growth, other := Figure().add_subplot(), **AT)
    for one, same in zip(ax.lines, other.lines, strict=True):
        assert_array_equal(one.get_xydata(), same.get_xydata())
    assert json.loads(kept.dataset.attrs["change"])["per"] == "unit of time"
