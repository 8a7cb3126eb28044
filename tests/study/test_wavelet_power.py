"""Wavelet power: its normalisation, red noise, and the variance in a band."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import ibsync as ibs
from ibsync.coupling.transform.cone import cone_of_influence
from ibsync.coupling.transform.definition import transform
from ibsync.coupling.transform.scales import Scales


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def test_power_is_that_of_the_definition_at_the_textbook_rows():
    x = noise(2, 300).cumsum(axis=1)
    ds = ibs.wavelet_power(x, sfreq=4.0)
    scales = Scales(300, 12)
    assert_allclose(ds.power[1], np.abs(transform(x[1], scales.scale)) ** 2)
    assert_allclose(ds.freq, scales.freq(4.0))
    assert_allclose(ds.period, 1 / ds.freq)
    assert_allclose(ds.coi, cone_of_influence(300) / 4)
    assert_allclose(ds.mean_power, ds.power.mean("time"))


def test_white_noise_has_its_variance_as_power_and_exceeds_the_level_in_5_percent_of_cells():
    x = 3 * noise(200, 1000)
    ds = ibs.wavelet_power(x, sfreq=1.0, lag1_coefficient=0.0)
    inner = (ds.period < 60).values & (ds.period > 4).values
    middle = ds.power.values[:, inner, 300:700]
    # A period of 60 has 200 x 4 or so independent cells: 0.035.
    assert_allclose(middle.mean(axis=(0, 2)), 9, rtol=0.14)
    assert_allclose(middle[:, :24].mean(axis=(0, 2)), 9, rtol=0.04)
    above = middle > ds.significance_level.values[:, inner, None]
    assert above.mean() == pytest.approx(0.05, abs=0.003)


def test_red_noise_exceeds_its_level_in_5_percent_of_cells():
    x = noise(200, 1000)
    for t in range(1, 1000):
        x[:, t] += 0.7 * x[:, t - 1]
    ds = ibs.wavelet_power(x, sfreq=1.0)
    assert_allclose(ds.lag1.mean(), 0.7, atol=0.02)
    inner = (ds.period < 60).values & (ds.period > 4).values
    above = ds.power.values[:, inner, 300:700] > ds.significance_level.values[:, inner, None]
    assert above.mean() == pytest.approx(0.05, abs=0.006)


def test_band_variance_of_a_sine_is_half_its_squared_amplitude():
    t = np.arange(2000) / 10.0
    bands = {"in": ibs.Band(period=(2, 8)), "out": ibs.Band(period=(0.3, 1))}
    ds = ibs.wavelet_power(3 * np.sin(2 * np.pi * t / 4), sfreq=10.0, bands=bands)
    assert ds.band_variance.dims == ("channel", "band", "time")
    # The integral over all scales for a sine, where C_delta is that of a delta function: 0.98757.
    assert_allclose(ds.band_variance.sel(band="in").values[0, 500:1500], 4.5 * 0.98757, rtol=0.001)
    assert (ds.band_variance.sel(band="out").values[0, 500:1500] < 1e-6).all()


def test_fmin_reaches_as_far_as_a_scale_as_long_as_the_recording():
    ds = ibs.wavelet_power(noise(100), sfreq=1.0, voices=4, fmin=1 / (1.0330436 * 64.01))
    assert_allclose(ds.period, 1.0330436 * 2 ** np.arange(1, 6.1, 0.25), rtol=1e-6)


@pytest.mark.parametrize(
    ("x", "words", "error", "message"),
    [
        (noise(100), {"fmin": 0.001}, ibs.PlanError, "as long as the recording"),
        (noise(100), {"fmin": 0.9}, ibs.PlanError, "fmin=0.9"),
        (noise(100), {"lag1_coefficient": 1.0}, ibs.PlanError, "within -1 and 1"),
        (noise(100), {"bands": {"slow": (0.001, 0.002)}}, ibs.PlanError, "'slow' holds no row"),
        (noise(20), {}, ibs.PlanError, "too short"),
        (np.ones(100), {}, ibs.InputError, "constant"),
        (np.r_[np.nan, noise(99)], {}, ibs.InputError, "gaps"),
        (noise(2, 2, 50), {}, ibs.InputError, "shape"),
    ],
)
def test_what_cannot_be_computed_is_refused_in_one_line(x, words, error, message):
    with pytest.raises(error) as caught:
        ibs.wavelet_power(x, sfreq=1.0, **words)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
