"""Channels made ready: unit variance, gaps filled and remembered, unusable channels named, bad input refused."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from ibsync.coupling.transform.signals import CONSTANT, FINE, NO_DATA, REASONS, drift, prepare
from ibsync.errors import InputError


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("size", [1, 1e-12, 1e12, 1e150])
def test_gain_gives_unit_variance_and_mean_zero(size):
    signals = prepare(size * (noise(3, 400) + 2))
    unit = (signals.x - signals.mean[:, None]) * signals.gain[:, None]
    assert_allclose(unit.mean(axis=1), 0, atol=1e-12)
    assert_allclose(unit.var(axis=1), 1, rtol=1e-12)
    assert_array_equal(signals.status, FINE)


def test_spectra_are_the_padded_transform_of_the_unit_signal():
    x = noise(2, 100) + 5
    unit = (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)
    padded = np.zeros((2, 256))
    padded[:, :100] = unit
    expected = np.fft.fft(padded, axis=1)[:, :129].T / 256
    assert_allclose(prepare(x).spectra(slice(0, 2)), expected, atol=1e-14)
    assert_allclose(prepare(x).spectra(slice(1, 2)), expected[:, 1:], atol=1e-14)


def test_leading_axes_are_kept_as_shape():
    assert prepare(noise(2, 3, 50)).shape == (2, 3)
    assert prepare(noise(50)).shape == ()
    assert prepare(noise(2, 3, 50)).n_channels == 6
    assert prepare(noise(2, 3, 50)).n_samples == 50


def test_float32_stays_float32_and_integers_become_float64():
    assert prepare(noise(2, 50).astype(np.float32)).x.dtype == np.float32
    whole = np.arange(100, dtype=np.int16).reshape(2, 50)
    assert_array_equal(prepare(whole).x, whole.astype(np.float64))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_detrending_removes_the_straight_line_that_fits_best(dtype):
    x = noise(3, 200) + np.linspace(-40, 60, 200)
    x[1, 20:50] = x[2, :] = np.nan
    signals = prepare(x.astype(dtype), detrend="linear")
    time = np.arange(200.0)
    for channel, good in ((0, time >= 0), (1, (time < 20) | (time >= 50))):
        line = np.polyval(np.polyfit(time[good], x[channel, good], 1), time[good])
        expected = x[channel, good] - line
        assert_allclose(signals.x[channel, good], expected, atol=1e-12 if dtype == np.float64 else 1e-5)
    assert signals.x.dtype == dtype
    assert_array_equal(signals.status, [FINE, FINE, NO_DATA])
    assert_array_equal(prepare(np.linspace([1, 5], [2, -7], 99).T.astype(dtype), detrend="linear").status, CONSTANT)


def test_drift_is_the_rise_of_the_line_in_standard_deviations_of_the_rest():
    x = noise(4, 500)
    x[1] += np.linspace(0, 12, 500)
    x[2] -= np.linspace(0, 12, 500)
    x[2, 100:300] = x[3] = np.nan
    time = np.arange(500.0)
    for channel in range(3):
        good = np.isfinite(x[channel])
        slope, start = np.polyfit(time[good], x[channel, good], 1)
        rest = x[channel, good] - slope * time[good] - start
        assert_allclose(drift(x)[channel], abs(slope) * 500 / rest.std(), rtol=1e-9)
    assert drift(x)[3] == 0
    assert drift(np.linspace(0, 1, 50)[None]) == 0


def test_input_is_not_changed():
    x = noise(2, 50)
    x[0, 10:20] = np.nan
    x.flags.writeable = False
    before = x.copy()
    prepare(x, np.arange(50) > 3)
    assert_array_equal(x, before)


def test_a_gap_is_filled_by_a_straight_line_and_remembered():
    x = np.tile(np.arange(20.0) ** 2, (2, 1))
    x[1, 5:9] = np.nan
    signals = prepare(x)
    assert_allclose(signals.x[1, 4:10], np.linspace(16, 81, 6))
    assert_array_equal(signals.x[0], x[0])
    assert_array_equal(np.flatnonzero(signals.bad[1]), [5, 6, 7, 8])
    assert not signals.bad[0].any()


def test_a_gap_at_an_end_repeats_the_nearest_good_sample():
    x = np.arange(20.0)
    x[:3] = x[18:] = np.nan
    assert_allclose(prepare(x).x[0, [0, 2, 18, 19]], [3, 3, 17, 17])


@pytest.mark.parametrize("shape", [(50,), (2, 50), (3, 2, 50)])
def test_a_mask_of_any_broadcastable_shape_marks_samples(shape):
    good = np.ones(shape, bool)
    good[..., 7] = False
    signals = prepare(noise(3, 2, 50), good)
    assert signals.bad.shape == (6, 50)
    assert_array_equal(np.flatnonzero(signals.bad.all(axis=0)), [7])
    assert signals.bad.sum() == 6


def test_gaps_and_mask_add_up():
    x = noise(1, 50)
    x[0, 3] = np.nan
    assert_array_equal(np.flatnonzero(prepare(x, np.arange(50) != 5).bad[0]), [3, 5])


def test_a_masked_value_has_no_influence():
    x = noise(1, 50)
    wild = x.copy()
    wild[0, 20] = 1e9
    good = np.arange(50) != 20
    assert_array_equal(prepare(wild, good).x, prepare(x, good).x)


def test_without_gaps_nothing_is_marked():
    assert prepare(noise(2, 50)).bad is None


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, -1e9])
def test_a_constant_channel_is_named_and_has_no_gain(value):
    x = noise(2, 50)
    x[1] = value
    signals = prepare(x)
    assert_array_equal(signals.status, [FINE, CONSTANT])
    assert REASONS[signals.status[1]] == "constant"
    assert signals.gain[1] == 0
    assert_array_equal(signals.spectra(slice(0, 2))[:, 1], 0)


def test_a_channel_without_a_finite_sample_is_named_and_has_no_gain():
    x = noise(2, 50)
    x[0] = np.nan
    signals = prepare(x)
    assert_array_equal(signals.status, [NO_DATA, FINE])
    assert REASONS[signals.status[0]] == "no finite sample"
    assert_array_equal(signals.spectra(slice(0, 2))[:, 0], 0)


@pytest.mark.parametrize(
    "values", [{4: np.inf}, {4: -np.inf}, {4: np.inf, 5: -np.inf}, {4: np.inf, 9: np.nan}, {49: np.inf}]
)
def test_infinite_values_are_refused_by_channel(values):
    x = noise(3, 50)
    for sample, value in values.items():
        x[1, sample] = value
    with pytest.raises(InputError, match=r"^channel number 1 holds infinite values: .*NaN") as caught:
        prepare(x)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="channel S2_D1 "):
        prepare(x, names=["S1_D1", "S2_D1", "S3_D1"])


def test_an_infinite_value_is_refused_though_another_channel_has_a_gap():
    x = noise(2, 50)
    x[0, 3], x[1, 4] = np.nan, np.inf
    with pytest.raises(InputError, match="channel number 1 "):
        prepare(x)


def test_large_finite_values_are_not_mistaken_for_infinite_ones():
    assert_array_equal(prepare(1e307 * noise(2, 50).clip(-1, 1)).status, FINE)


@pytest.mark.parametrize("x", [np.ones(50, complex), np.array(["a"] * 50), np.array(1.0), np.array([{}] * 50)])
def test_signals_that_are_not_real_arrays_are_refused(x):
    with pytest.raises(InputError, match="real array"):
        prepare(x)


def test_a_mask_of_another_length_is_refused():
    with pytest.raises(InputError, match="good"):
        prepare(noise(2, 50), np.ones(49, bool))


@pytest.mark.parametrize("shape", [(2, 0), (0,)])
def test_signals_without_samples_are_refused(shape):
    with pytest.raises(InputError, match="sample"):
        prepare(np.empty(shape))


def test_masked_samples_are_gaps_and_time_of_a_data_array_goes_last():
    import xarray as xr

    x = np.random.default_rng(0).standard_normal((2, 50)).astype(np.float32)
    mask = np.zeros(x.shape, bool)
    mask[0, 10:20] = True
    expected = prepare(np.where(mask, np.nan, x))
    array = xr.DataArray(np.where(mask, np.nan, x).T, dims=("time", "channel"))
    for given in (np.ma.masked_array(np.where(mask, 1e3, x), mask), array):
        signals = prepare(given)
        assert_array_equal(signals.x, expected.x)
        assert_array_equal(signals.bad, expected.bad)
