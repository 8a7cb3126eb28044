"""The scalogram that a run adds to its result: of the smallest p, and as `ibs.wtc` gives it."""

import tracemalloc

import numpy as np
import pytest
import xarray as xr

import ibsync as ibs
from ibsync.commands.strongest_map import map_bytes, with_map
from ibsync.results.report import html_page

BANDS = {"coupled": (0.1, 0.3)}
SPEC = ibs.WTC(BANDS)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    path = tmp_path_factory.mktemp("map") / "study.h5"
    return ibs.simulate(path, n_dyads=5, n_channels=2, duration=100.0, sfreq=5.0, coupling=0.8)


@pytest.fixture(scope="module")
def result(study):
    return ibs.test(study.synchrony(SPEC), study.null(SPEC), correct=["max"])


def test_it_is_the_coherence_of_the_strongest_pair_in_the_dyad_of_the_largest_value(study, result):
    maps = with_map(result, study, SPEC).maps
    ds = result.dataset
    best = np.unravel_index(np.argmin(ds["p"].values - 1e-9 * ds["group_z"].values), ds["p"].shape)
    a, b = (str(ds[dim].values[best[axis]]) for dim, axis in (("channel_a", 1), ("channel_b", 2)))
    assert (maps["channel_a"].item(), maps["channel_b"].item()) == (a, b)
    dyad = str(ds["dyad"].values[np.argmax(ds["value"].sel(channel_a=a, channel_b=b).squeeze().values)])
    assert maps.attrs["dyad"] == dyad
    (row,) = [row for row in study.dyads if row.dyad == dyad]
    x, y = (
        study.signals(one)[one.channels.index(channel)] for one, channel in ((row.recording_a, a), (row.recording_b, b))
    )
    expected = ibs.wtc(x, y, 5.0).isel(channel_a=0, channel_b=0)
    np.testing.assert_allclose(maps["coherence"], expected["coherence"], atol=1e-6)
    np.testing.assert_allclose(maps["phase"], expected["phase"], atol=1e-5)
    np.testing.assert_allclose(maps["coi"], expected["coi"])
    assert 0.3 < float(maps["significance_level"].mean()) < 1


def test_long_recordings_are_thinned(study, result, monkeypatch):
    whole = with_map(result, study, SPEC).maps
    monkeypatch.setattr("ibsync.commands.strongest_map._MOST_COLUMNS", 100)
    monkeypatch.setattr("ibsync.commands.strongest_map._MOST_SAMPLES", 100)
    thin = with_map(result, study, SPEC).maps
    assert thin.sizes["time"] == 100
    np.testing.assert_allclose(thin["coherence"], whole["coherence"].values.reshape(-1, 100, 5).mean(axis=2), rtol=1e-5)
    np.testing.assert_array_equal(thin["phase"], whole["phase"].values[:, 2::5])
    np.testing.assert_allclose(thin["time"], whole["time"].values.reshape(100, 5).mean(axis=1))
    assert "significance_level" not in thin


def test_it_is_kept_with_the_result_and_shown_in_its_report(study, result, tmp_path):
    made = with_map(result, study, SPEC)
    again = ibs.load(made.save(tmp_path / "r.h5"))
    xr.testing.assert_identical(again.maps, made.maps)
    xr.testing.assert_identical(again.dataset, made.dataset)
    page = html_page(again)
    assert page == html_page(made)
    assert "Over time and period: dyad" in page
    assert "Over time and period" not in html_page(result)


@pytest.mark.parametrize(("duration", "voices"), [(100.0, 12), (100.0, 32), (400.0, 12)])
def test_memory_is_what_was_promised(tmp_path, result, duration, voices):
    study = ibs.simulate(tmp_path / "s.h5", n_dyads=5, n_channels=2, duration=duration, sfreq=5.0)
    promise = map_bytes(study.dyads[0].recording_a.n_samples, voices)
    tracemalloc.start()
    with_map(result, study, ibs.WTC(BANDS, voices=voices))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0.25 * promise < peak < promise


def test_what_a_scalogram_of_two_channels_does_not_show_has_none(study, result):
    for changed in ({"rois": "{}"}, {"controls": "{}"}, {"measure": "plv"}):
        other = ibs.Result(result.dataset.assign_attrs(changed), result.null)
        assert with_map(other, study, SPEC) is other
    assert with_map(result, study, ibs.Coupling("plv", BANDS)) is result
    real = ibs.Result(study.synchrony(SPEC))
    assert with_map(real, study, SPEC) is real


def test_it_is_drawn_from_the_result_that_holds_it(study, result):
    made = with_map(result, study, SPEC)
    drawn, expected = ibs.plot.wtc(made), ibs.plot.wtc(made.maps)
    assert drawn.get_title(loc="left") == expected.get_title(loc="left") != ""
    for nothing in (result, [1]):
        with pytest.raises(ibs.PlanError, match=r"plot\.wtc: (no maps|draws what)"):
            ibs.plot.wtc(nothing)
