"""Published figures from public data, by public functions."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from files import DATA

import ibsync as ibs
from ibsync.study.pointwise_levels import lag1


def share(cells, where):
    return cells[where].mean()


@pytest.fixture(scope="module")
def nino3():
    """Torrence & Compo 1998, Fig. 1: NINO3 sea surface temperature, quarters from 1871; 57 scales to 64 years."""
    sst = np.loadtxt(DATA / "nino3.txt")
    return sst, ibs.wavelet_power(sst, sfreq=4.0, voices=8, fmin=1 / 67, bands={"enso": ibs.Band(period=(2, 8))})


def test_nino3_variance_and_lag1_coefficient(nino3):
    sst, ds = nino3
    assert sst.var(ddof=1) == pytest.approx(0.539, abs=5e-4)
    assert ds.lag1.item() == pytest.approx(0.720, abs=5e-4)
    assert ds.sizes["freq"] == 57
    assert ds.period[-1].item() == pytest.approx(64 * 1.033, rel=1e-4)


def test_nino3_level_is_red_noise_times_half_a_chi_square(nino3):
    sst, ds = nino3
    g, cycles = 0.7203, ds.freq / 4
    noise = (1 - g**2) / (1 + g**2 - 2 * g * np.cos(2 * np.pi * cycles))
    np.testing.assert_allclose(ds.significance_level[0] / noise, sst.var(ddof=1) * 2.9957, rtol=1e-3)


def test_nino3_cells_above_red_noise(nino3):
    _, ds = nino3
    above = (ds.power > ds.significance_level).values[0]
    trusted, period = (ds.period <= ds.coi).values, ds.period.values
    assert share(above, np.full_like(above, True)) == pytest.approx(0.055, abs=5e-4)
    assert share(above, trusted) == pytest.approx(0.077, abs=5e-4)
    assert share(above, (period >= 2) & (period <= 8)) == pytest.approx(0.153, abs=5e-4)


def test_nino3_peak_and_variance_of_the_el_nino_band(nino3):
    _, ds = nino3
    assert ds.period.values[ds.mean_power.values[0].argmax()] == pytest.approx(3.79, abs=0.005)
    assert ds.band_variance.max().item() == pytest.approx(0.734, abs=5e-4)


@pytest.fixture(scope="module")
def winters():
    """Grinsted, Moore & Jevrejeva 2004: Arctic Oscillation and Baltic ice extent (percentiles), 147 winters."""
    with h5py.File(DATA / "grinsted_f.h5") as file:
        return file["input/x"][()], file["input/y"][()]


@pytest.fixture(scope="module")
def ice(winters):
    with pytest.warns(RuntimeWarning, match="AR"):
        return ibs.wtc(*winters, sfreq=1.0, significance="ar1", n=300)


def test_ice_lag1_coefficients(winters, ice):
    assert lag1(np.stack(winters), "naive") == pytest.approx([0.011, 0.073], abs=5e-4)
    # Those of the map are corrected for their bias, which is (1 + 3 g) / n.
    level = ice.significance_level
    assert [*level.attrs["lag1_a"], *level.attrs["lag1_b"]] == pytest.approx([0.018, 0.081], abs=5e-4)


# Between seeds, at 300 simulations: median level 0.003, share of cells 0.007; by octave 0.002, 0.005, 0.006, 0.036;
# mean phase 0.9 degrees. 4000 simulations give 0.713, 0.343 and 0.29, 0.46, 0.48, 0.155. Limits are 3 of these.
def test_ice_level_and_cells_above_it(ice):
    level = ice.significance_level.values[0, 0]
    above = (ice.coherence > ice.significance_level).values[0, 0]
    trusted, period = (ice.period <= ice.coi).values, ice.period.values[:, None]
    assert np.median(level) == pytest.approx(0.714, abs=0.009)
    assert share(above, trusted) == pytest.approx(0.357, abs=0.021)
    octaves = [share(above, trusted & (period >= low) & (period < 2 * low)) for low in (2, 4, 8, 16)]
    assert octaves[:3] == pytest.approx([0.29, 0.46, 0.48], abs=0.02)
    assert octaves[3] == pytest.approx(0.13, abs=0.11)


def test_ice_is_in_anti_phase_with_the_oscillation(ice):
    above = (ice.coherence > ice.significance_level).values[0, 0]
    cells = above & (ice.period <= ice.coi).values
    mean = np.exp(1j * ice.phase.values[0, 0][cells]).mean()
    assert np.degrees(np.angle(mean)) == pytest.approx(-176, abs=3)
    # Phases of the smoothed product scatter less than those of the unsmoothed one, whose mean length is 0.92.
    assert 0.92 < abs(mean) < 0.99
