"""Windows and bands that tile the plane, and what a test over neighbours makes of them."""

import doctest
import itertools

import numpy as np
import pytest

import ibsync as ibs
from ibsync.coupling import band_grids as grids
from ibsync.errors import PlanError
from ibsync.inference.settings import TestSettings as Settings
from ibsync.questions.group_test import neighbour_graph


def test_examples():
    assert doctest.testmod(grids).failed == 0


def test_windows_and_bands_follow_one_another():
    windows = list(ibs.time_windows(5, 98, 7).values())
    assert len(windows) == 13
    assert all(first[1] == second[0] for first, second in itertools.pairwise(windows))
    bands = list(ibs.frequency_bands(0.02, 0.5, 4).values())
    ratios = [high / low for low, high in bands]
    np.testing.assert_allclose(ratios, 2**0.25)
    assert bands[-1][1] <= 0.5 + 1e-12 < bands[-1][1] * 2**0.25
    assert all(first[1] == second[0] for first, second in itertools.pairwise(bands))


@pytest.mark.parametrize("wrong", [(10, 5, 1), (0, 10, 11), (-1, 5, 1), (0, 10, 0)])
def test_windows_that_do_not_fit_are_refused(wrong):
    with pytest.raises(PlanError, match="no window"):
        ibs.time_windows(*wrong)


@pytest.mark.parametrize(("wrong", "text"), [((0.1, 0.05, 3), "fmin < fmax"), ((0.1, 0.11, 3), "narrower")])
def test_bands_that_do_not_fit_are_refused(wrong, text):
    with pytest.raises(PlanError, match=text):
        ibs.frequency_bands(*wrong)


def test_a_burst_of_coupling_is_found_as_a_cluster_in_time_and_frequency(tmp_path):
    study = ibs.simulate(
        tmp_path / "s.h5", n_dyads=6, n_channels=1, duration=300.0, sfreq=4.0, coupled_band=(0.1, 0.3),
        epochs=[("burst", 120.0, 180.0)], coupling={"burst": 1.0}, seed=2,
    )  # fmt: skip
    epochs = ibs.time_windows(60, 240, 20)
    spec = ibs.WTC(bands=ibs.frequency_bands(0.05, 0.8, 1), accuracy="fast")
    real = study.synchrony(spec, epochs=epochs)
    graph = neighbour_graph([real], Settings(correct=["cluster"]))
    assert graph.shape == (36, 36)
    assert graph.sum() == 2 * (8 * 4 + 9 * 3)
    result = ibs.test(real, study.null(spec, epochs=epochs), correct=["cluster"]).dataset
    found = result["p_cluster"].isel(channel_a=0, channel_b=0) <= 0.05
    assert found.sel(band="0.141 Hz", epoch=["120 s", "140 s", "160 s"]).all()
    # A cluster says that something is there, not where it ends; far away there is nothing.
    assert not found.sel(epoch=["60 s", "220 s"]).any()
