"""The definition against the published program's output, closed forms and sums written out term by term."""

import cmath
import math

import h5py
import numpy as np
import pytest
from files import DATA, SHARED
from numpy.testing import assert_allclose, assert_array_equal

from ibsync.coupling.transform.cone import cone_of_influence
from ibsync.coupling.transform.definition import coherency, empty_power, padded_length, smooth, smooth_rows, transform
from ibsync.coupling.transform.scales import PERIOD_PER_SCALE, Scales

TOOLBOX = "grinsted-toolbox"
# Both programs work in float64; 1e-14 is what rounding leaves, 1e-10 catches any wrong detail.
PROGRAM_LIMIT = 1e-10


def oracle(name, group="grinsted", folder=DATA):
    with h5py.File(folder / name) as file:
        found = {key: file[group][key][()] for key in file[group]}
        found |= {"x": file["input/x"][()], "y": file["input/y"][()], "dt": float(file.attrs["dt"])}
        steps = {file[group].attrs.get("time_step", 1), file[f"{group}/Rsq"].attrs.get("time_step", 1)}
        return found | {"step": int(max(steps))}


def noise(n, seed=0, count=2):
    return np.random.default_rng(seed).standard_normal((count, n))


def packet(n, centre, width, period):
    """A wave packet: next to nothing at frequencies far from 1 / period, and no edge."""
    t = np.arange(n)
    return np.exp(-0.5 * ((t - centre) / width) ** 2) * np.cos(2 * np.pi * t / period)


@pytest.mark.parametrize(
    ("name", "group", "voices"),
    [
        ("grinsted_a.h5", "grinsted", 12),
        ("grinsted_a.h5", "grinsted_dj_1_8", 8),
        ("grinsted_a.h5", "grinsted_dj_1_10", 10),
        ("grinsted_a.h5", "grinsted_dj_1_24", 24),
        ("grinsted_b.h5", "grinsted", 12),
        ("grinsted_f.h5", "grinsted", 12),
    ],
)
def test_toolbox_preset_equals_the_published_program(name, group, voices):
    case = oracle(name, group)
    scales = Scales(len(case["x"]), voices)
    assert_allclose(scales.scale * case["dt"], case["scale"], rtol=1e-13)
    found = np.abs(coherency(case["x"], case["y"], scales, preset=TOOLBOX)) ** 2
    assert_allclose(found[:, :: case["step"]], case["Rsq"], rtol=0, atol=PROGRAM_LIMIT)


@pytest.mark.skipif(not (SHARED / "reference").is_dir(), reason="the full reference outputs are not here")
@pytest.mark.parametrize("name", ["case_a_two_sines.h5", "case_b_fnirs_like.h5", "case_f_ao_bmi.h5"])
@pytest.mark.parametrize("group", ["grinsted", "biwavelet"])
def test_toolbox_preset_equals_both_programs_on_the_full_maps(name, group):
    if (name, group) == ("case_f_ao_bmi.h5", "biwavelet"):
        pytest.skip("biwavelet pads that length to another transform")
    case = oracle(name, group, SHARED / "reference")
    found = np.abs(coherency(case["x"], case["y"], Scales(len(case["x"]), 12), preset=TOOLBOX)) ** 2
    assert_allclose(found[:, :: case["step"]], case["Rsq"], rtol=0, atol=PROGRAM_LIMIT)


def test_transform_and_smoothed_products_equal_the_published_program():
    case = oracle("grinsted_f.h5")
    scales = Scales(len(case["x"]), 12)
    wx, wy = transform(case["x"], scales.scale), transform(case["y"], scales.scale)
    assert_allclose(wx, case["Wx"], atol=1e-12 * np.abs(case["Wx"]).max())
    per_scale = 1 / scales.scale[:, None]
    for product, name in ((wx * wy.conj(), "sWxy"), (np.abs(wx) ** 2, "sX"), (np.abs(wy) ** 2, "sY")):
        found = smooth(product * per_scale, scales.scale, scales.smoothing_weights, circular=True)
        assert_allclose(found, case[name], atol=1e-12 * np.abs(case[name]).max())


@pytest.mark.parametrize("name", ["grinsted_a.h5", "grinsted_f.h5"])
def test_cone_equals_the_published_programs(name):
    case = oracle(name)
    assert_allclose(cone_of_influence(len(case["x"])) * case["dt"], case["coi"], rtol=1e-13)


def test_cone_is_the_closed_form_and_symmetric():
    cone = cone_of_influence(9)
    distance = np.array([1e-5, 1, 2, 3, 4, 3, 2, 1, 1e-5])
    assert_allclose(cone, PERIOD_PER_SCALE / math.sqrt(2) * distance, rtol=1e-15)


def both_smoothings(n):
    x, y = noise(n, seed=4)
    return (np.abs(coherency(x, y, Scales(n, 12), preset=preset)) ** 2 for preset in ("grinsted", TOOLBOX))


def test_circular_smoothing_leaks_from_one_end_to_the_other_at_a_power_of_two():
    linear, circular = both_smoothings(512)
    assert np.abs(linear - circular)[:, [0, -1]].max() > 0.1


def test_circular_smoothing_is_linear_for_scales_that_do_not_reach_around():
    linear, circular = both_smoothings(600)  # on a circle of 1024 the ends are 424 samples apart
    # A row takes its four neighbours in.
    far = np.flatnonzero(9 * Scales(600, 12).scale < 424)[:-4]
    assert len(far) > 30
    assert_allclose(circular[far], linear[far], atol=1e-12)


@pytest.mark.parametrize("n", [33, 147, 3000, 4096, 36000])
def test_padded_length_is_a_power_of_two_with_room_for_the_signal(n):
    # 2^(trunc(log2 N + 0.4999) + 1): the next power of two, or the one after it when N is past 2^(k + 0.5).
    exponent = math.log2(padded_length(n))
    assert exponent == int(exponent)
    assert exponent == (math.floor(math.log2(n)) + (1 if math.log2(n) % 1 < 0.5001 else 2))


def test_transform_equals_the_sum_over_frequencies_written_out():
    n, scales = 37, np.array([2.0, 3.7, 9.1])
    x = noise(n)[0] + 5
    n_padded = padded_length(n)
    centred = x - x.mean()
    expected = np.zeros((3, n), complex)
    for row, s in enumerate(scales):
        for k in range(1, n_padded // 2 + 1):
            omega = 2 * math.pi * k / n_padded
            bin_k = sum(centred[t] * cmath.exp(-1j * omega * t) for t in range(n))
            psi = math.sqrt(2 * math.pi * s) * math.pi**-0.25 * math.exp(-((s * omega - 6) ** 2) / 2)
            expected[row] += bin_k * psi * np.exp(1j * omega * np.arange(n)) / n_padded
    assert_allclose(transform(x, scales), expected, atol=1e-12)


def test_linear_smoothing_equals_the_double_sum_written_out():
    n, scales = 41, Scales(41, 12)
    x, y = noise(n, seed=1)
    wx, wy = transform(x, scales.scale), transform(y, scales.scale)
    weights = [0.6, 1, 1, 1, 1, 1, 1, 1, 0.6]
    in_time = np.zeros((3, scales.n_rows, n), complex)
    for row, s in enumerate(scales.scale):
        norm = sum(math.exp(-0.5 * (lag / s) ** 2) for lag in range(-2000, 2001))
        for t in range(n):
            for tau in range(n):
                gauss = math.exp(-0.5 * ((t - tau) / s) ** 2) / norm / s
                in_time[0, row, t] += gauss * wx[row, tau] * wy[row, tau].conjugate()
                in_time[1, row, t] += gauss * abs(wx[row, tau]) ** 2
                in_time[2, row, t] += gauss * abs(wy[row, tau]) ** 2
    expected = np.zeros_like(in_time)
    for row in range(scales.n_rows):
        for k, weight in enumerate(weights):
            if 0 <= row + k - 4 < scales.n_rows:
                expected[:, row] += weight / 8.2 * in_time[:, row + k - 4]
    cross, power_x, power_y = expected
    assert_allclose(coherency(x, y, scales), cross / np.sqrt(power_x.real * power_y.real), atol=1e-12)


def test_rows_outside_count_as_zero_without_renormalisation():
    smoothed = smooth_rows(np.ones((12, 1)), np.array([0.25, 0.5, 0.25]))
    assert_allclose(smoothed[:, 0], [0.75] + [1] * 10 + [0.75])


def test_x_leading_by_a_quarter_period_has_phase_plus_half_pi():
    n, period = 1024, 32
    t = np.arange(n)
    x, y = np.cos(2 * np.pi * t / period), np.cos(2 * np.pi * (t - period / 4) / period)
    scales = Scales(n, 12)
    row = np.abs(PERIOD_PER_SCALE * scales.scale - period).argmin()
    assert_allclose(np.angle(coherency(x, y, scales)[row, 300:700]), np.pi / 2, atol=1e-6)


@pytest.mark.parametrize("preset", ["grinsted", TOOLBOX])
@pytest.mark.parametrize("kind", ["white", "walk"])
def test_squared_coherency_lies_between_zero_and_one(preset, kind):
    for seed in range(5):
        x, y = noise(128, seed)
        if kind == "walk":
            x, y = np.cumsum(x), np.cumsum(y)
        r2 = np.abs(coherency(x, y, Scales(128, 12), preset=preset)) ** 2
        assert np.isfinite(r2).all()
        assert r2.min() >= 0
        assert r2.max() <= 1 + 1e-12
        assert r2.max() - r2.min() > 0.5


def test_coherence_of_a_signal_with_itself_is_one():
    x = noise(200)[0]
    assert_allclose(coherency(x, x, Scales(200, 12)), 1, atol=1e-12)


def test_swapping_the_signals_conjugates():
    x, y = noise(200)
    scales = Scales(200, 12)
    assert_allclose(coherency(y, x, scales), coherency(x, y, scales).conj(), atol=1e-13)


@pytest.mark.parametrize(("gain", "offset"), [(1e-9, 0), (1e9, 0), (3.7, -2.5), (1, 1e4)])
def test_gain_and_offset_change_nothing(gain, offset):
    x, y = noise(200)
    scales = Scales(200, 12)
    assert_allclose(coherency(gain * x + offset, y, scales), coherency(x, y, scales), atol=1e-10)


def test_a_changed_sign_turns_the_phase_by_pi_and_leaves_r2():
    x, y = noise(200)
    scales = Scales(200, 12)
    assert_allclose(coherency(-x, y, scales), -coherency(x, y, scales), atol=1e-13)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1e12])
def test_a_constant_channel_is_nan_everywhere(value):
    x, y = np.full(200, value), noise(200)[0]
    assert np.isnan(coherency(x, y, Scales(200, 12))).all()
    assert np.isnan(coherency(y, x, Scales(200, 12))).all()


def test_cells_in_a_stop_band_are_nan_and_the_others_finite():
    n = 1000
    x, y = packet(n, 500, 80, 40), noise(n)[0]
    scales = Scales(n, 12)
    found = coherency(x, y, scales)
    period = PERIOD_PER_SCALE * scales.scale
    assert np.isnan(found[period < 4]).all()
    assert np.isfinite(found[np.abs(period - 40) < 4, 300:700]).all()
    assert np.isfinite(coherency(noise(n, 7)[0], y, scales)).all()


def test_empty_power_is_relative_to_the_variance():
    x = noise(500)[0]
    assert_allclose(empty_power(1e5 * x + 3), 1e10 * empty_power(x), rtol=1e-9)
    assert empty_power(np.full(500, 0.1)) == math.inf


def test_row_weights_are_the_published_boxcar():
    assert_allclose(Scales(500, 12).smoothing_weights, np.array([0.6, 1, 1, 1, 1, 1, 1, 1, 0.6]) / 8.2, rtol=1e-15)
    assert_allclose(Scales(500, 8).smoothing_weights, np.array([0.4, 1, 1, 1, 0.4]) / 3.8, rtol=1e-12)


@pytest.mark.parametrize(("voices", "n_ones"), [(10, 5), (20, 11)])
def test_row_weights_keep_the_quotient_that_falls_just_under_an_integer(voices, n_ones):
    weights = Scales(500, voices).smoothing_weights
    assert len(weights) == n_ones + 2
    assert_allclose(weights, 1 / (n_ones + 2), rtol=1e-12)


def test_transform_does_not_change_its_input():
    x = noise(100)[0]
    before = x.copy()
    x.flags.writeable = False
    transform(x, np.array([2.0, 4.0]))
    assert_array_equal(x, before)
