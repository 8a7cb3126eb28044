"""Arrays in, labelled arrays out: maps and means against the definition, partial coherence against its formula."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.signal import detrend

import ibsync as ibs
from ibsync.coupling.transform import definition
from ibsync.coupling.transform.cone import cone_of_influence
from ibsync.coupling.transform.scales import Scales

SFREQ = 10.0
BANDS = {"b": (0.1, 0.5)}


@pytest.fixture(scope="module")
def pair():
    """Two channels for each of two people, partly shared, 60 s at 10 Hz."""
    noise = np.random.default_rng(5)
    shared = np.cumsum(noise.standard_normal(600)) / 5
    return shared + noise.standard_normal((2, 600)), np.roll(shared, 3) + noise.standard_normal((2, 600))


def coherency(ds):
    """Complex coherency of a dataset of maps: complex128 [a, b, row, time]."""
    return np.sqrt(ds.coherence.values) * np.exp(1j * ds.phase.values)


def test_map_is_the_definition_at_every_sample(pair):
    a, b = pair
    ds = ibs.wtc(a, b, sfreq=SFREQ)
    want = definition.coherency(a[1], b[0], Scales(600, 12))
    assert_allclose(coherency(ds)[1, 0], want, atol=1e-10)
    assert ds.coherence.dims == ("channel_a", "channel_b", "freq", "time")
    assert_allclose(ds.period, 1 / ds.freq)
    assert (np.diff(ds.period) > 0).all()
    assert_allclose(ds.coi, cone_of_influence(600) / SFREQ)


@pytest.mark.parametrize(
    "words", [{}, {"bands": {"b": (0.1, 0.5)}}, {"bands": {"b": (0.1, 0.5)}, "accuracy": "reference"}]
)
def test_detrended_signals_give_what_signals_without_a_line_give(pair, words):
    lines = np.linspace(-30, 90, 600), np.linspace(20, -200, 600)
    found = ibs.wtc(*(x + line for x, line in zip(pair, lines, strict=True)), sfreq=SFREQ, detrend="linear", **words)
    expected = ibs.wtc(*map(detrend, pair), sfreq=SFREQ, **words)
    assert_allclose(found.coherence, expected.coherence, atol=1e-6)
    controls = np.random.default_rng(1).standard_normal(600)
    part = ibs.partial_wtc(*pair, controls + lines[0], sfreq=SFREQ, detrend="linear", **words)
    expected = ibs.partial_wtc(*map(detrend, pair), detrend(controls), sfreq=SFREQ, **words)
    assert_allclose(part.coherence, expected.coherence, atol=1e-6)


def test_range_and_grid_cut_the_full_map_without_changing_it(pair):
    a, b = pair
    full = ibs.wtc(a[0], b[0], sfreq=SFREQ)
    part = ibs.wtc(a[0], b[0], sfreq=SFREQ, fmin=0.2, fmax=1.0, grid=0.5)
    inside = (full.freq >= 0.2) & (full.freq <= 1.0)
    assert_allclose(part.coherence.values, full.coherence.values[:, :, inside.values, ::5], atol=1e-9)
    assert_allclose(part.time, full.time[::5])


def test_reference_toolbox_preset_is_the_definition_itself(pair):
    a, b = pair
    ds = ibs.wtc(a[0], b[0], sfreq=SFREQ, preset="grinsted-toolbox", accuracy="reference")
    want = definition.coherency(a[0], b[0], Scales(600, 12), preset="grinsted-toolbox")
    assert_allclose(ds.coherence.values[0, 0], np.abs(want) ** 2, atol=1e-12)


def test_means_agree_with_the_reference_and_carry_labels(pair):
    a, b = pair
    words = {
        "bands": {"fast": (0.5, 1.0), "slow": ibs.Band(period=(2, 6), exclude=(3, 4))},
        "epochs": {"one": (5, 30), "two": [(0, 10), (40, 60)]},
    }
    got = ibs.wtc(a, b, sfreq=SFREQ, channels_a=["S1", "S2"], **words)
    want = ibs.wtc(a, b, sfreq=SFREQ, accuracy="reference", **words)
    assert got.coherence.dims == ("channel_a", "channel_b", "band", "epoch")
    assert got.channel_a.values.tolist() == ["S1", "S2"]
    assert got.epoch.values.tolist() == ["one", "two"]
    for name in ("coherence", "coherency_re", "coherency_im"):
        assert_allclose(got[name], want[name], atol=3e-5)
    assert_allclose(got.valid_fraction, want.valid_fraction, atol=1e-9)


def test_a_leading_by_a_quarter_period_has_phase_plus_90_degrees_and_positive_lag():
    t = np.arange(1200) / SFREQ
    period = 4.0
    noise = np.random.default_rng(0).standard_normal((2, 1200)) * 1e-3
    a = np.cos(2 * np.pi * (t + period / 4) / period) + noise[0]
    b = np.cos(2 * np.pi * t / period) + noise[1]
    ds = ibs.wtc(a, b, sfreq=SFREQ, bands={"x": (0.24, 0.26)})
    assert_allclose(ds.phase.item(), np.pi / 2, atol=1e-3)
    assert_allclose(ds.phase_lag.item(), period / 4, rtol=0.01)
    assert ds.phase_consistency.item() > 0.99


def test_partial_coherence_of_one_control_is_the_textbook_formula(pair):
    a, b = pair
    words = {"sfreq": SFREQ, "fmin": 0.1, "fmax": 2.0}
    xy, xz, yz = (coherency(ibs.wtc(*two, **words))[0, 0] for two in ((a[0], b[0]), (a[0], a[1]), (b[0], a[1])))
    want = (xy - xz * yz.conj()) / np.sqrt((1 - np.abs(xz) ** 2) * (1 - np.abs(yz) ** 2))
    got = ibs.partial_wtc(a[0], b[0], a[1], **words)
    assert_allclose(coherency(got)[0, 0], want, atol=1e-7)


def test_partial_coherence_of_two_controls_is_the_inverse_matrix_formula(pair):
    a, b = pair
    signals = [a[0], b[0], a[1], b[1]]
    words = {"sfreq": SFREQ, "fmin": 0.5, "fmax": 1.0, "grid": 1.0}
    every = np.array([[coherency(ibs.wtc(x, y, **words))[0, 0] for y in signals] for x in signals])
    inverse = np.linalg.inv(np.moveaxis(every, (0, 1), (-2, -1)))
    want = -inverse[..., 0, 1] / np.sqrt(inverse[..., 0, 0] * inverse[..., 1, 1])
    got = ibs.partial_wtc(a[0], b[0], np.array(signals[2:]), **words)
    assert_allclose(coherency(got)[0, 0], want, atol=1e-6)


def test_a_control_that_drives_both_takes_the_coherence_away():
    noise = np.random.default_rng(2)
    z = noise.standard_normal(3000)
    a, b = z + 0.5 * noise.standard_normal(3000), z + 0.5 * noise.standard_normal(3000)
    words = {"sfreq": SFREQ, "bands": {"x": (0.2, 1.0)}}
    assert ibs.wtc(a, b, **words).coherence.item() > 0.6
    assert ibs.partial_wtc(a, b, z, **words).coherence.item() < 0.35


def test_unusable_channels_are_nan_with_their_reason(pair):
    a, b = (x.copy() for x in pair)
    a[0], b[1] = 3.0, np.nan
    for words in ({}, {"bands": {"x": (0.2, 1.0)}}):
        ds = ibs.wtc(a, b, sfreq=SFREQ, **words)
        missing = np.isnan(ds.coherence.values).reshape(2, 2, -1).all(axis=-1)
        assert missing.tolist() == [[True, True], [False, True]]
        assert np.isfinite(ds.coherence.values[1, 0]).all()
        assert ds.status_a.values.tolist() == ["constant", "fine"]
        assert ds.status_b.values.tolist() == ["fine", "no finite sample"]


def test_a_gap_is_missing_around_itself_only(pair):
    a, b = (x[0].copy() for x in pair)
    a[300:310] = np.nan
    ds = ibs.wtc(a, b, sfreq=SFREQ, fmin=0.5, fmax=2.0)
    missing = np.isnan(ds.coherence.values[0, 0])
    assert missing[:, 305].all()
    assert not missing[:, :200].any()
    means = ibs.wtc(a, b, sfreq=SFREQ, bands={"x": (0.5, 2.0)})
    whole = ibs.wtc(*(x[0] for x in pair), sfreq=SFREQ, bands={"x": (0.5, 2.0)})
    assert means.valid_fraction.item() < whole.valid_fraction.item()
    assert np.isfinite(means.coherence.item())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"acuracy": "fast"}, "did you mean 'accuracy'"),
        ({"preset": "grinsted-toolbox"}, "accuracy='reference'"),
        ({"grid": 0.33}, "grid="),
        ({"grid": "half"}, "'full' or a step"),
        ({"epochs": {"x": (0, 10)}}, "name bands"),
        ({"bands": {"x": (2.0, 7.0)}}, "Nyquist"),
        ({"bands": {"x": (0.001, 0.1)}}, "record longer"),
    ],
)
def test_wrong_words_are_refused_in_one_line(pair, words, message):
    with pytest.raises(ibs.PlanError) as caught:
        ibs.wtc(pair[0][0], pair[1][0], sfreq=SFREQ, **words)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_lengths_that_differ_are_refused(pair):
    with pytest.raises(ibs.InputError, match="a has 600 samples, b 599"):
        ibs.wtc(pair[0][0], pair[1][0][:-1], sfreq=SFREQ)


def test_a_map_too_large_for_memory_is_refused_before_work():
    with pytest.raises(ibs.PlanError, match="GiB"):
        ibs.wtc(np.zeros((60, 20000)), np.zeros((60, 20000)), sfreq=SFREQ)


@pytest.mark.parametrize("name", ibs.__all__)
def test_a_public_name_stays_what_it_is_once_its_module_is_loaded(name):
    first = getattr(ibs, name)
    assert getattr(ibs, name) is first
    assert name == "plot" or callable(first)


@pytest.mark.parametrize("bands", [{"all": (0.3, 0.8)}, None])
def test_the_definition_is_named_as_the_backend_that_computed_it(bands):
    a, b = np.random.default_rng(0).standard_normal((2, 200))
    words = {"sfreq": SFREQ, "bands": bands, "backend": "numpy"}
    assert ibs.wtc(a, b, accuracy="reference", **words).attrs["backend"] == "reference"
    assert ibs.wtc(a, b, **words).attrs["backend"] == "numpy"


def test_cross_wavelet_power_is_the_product_of_two_transforms(pair):
    x, y = pair[0][1], pair[1][0]
    found = ibs.xwt(x, y, sfreq=10.0, fmin=0.1, fmax=1.0)
    scales = Scales(600, 12)
    expected = [definition.transform((z - z.mean()) / z.std(), scales.scale) for z in (x, y)]
    rows = np.isin(np.round(scales.freq(10.0), 9), np.round(found["freq"], 9))
    product = (expected[0] * expected[1].conj())[rows]
    assert_allclose(found["power"][0, 0], abs(product), rtol=0, atol=1e-9 * abs(product).max())
    assert_allclose(found["phase"][0, 0], np.angle(product), rtol=0, atol=1e-6)
    with pytest.raises(ibs.PlanError, match="xwt makes maps"):
        ibs.xwt(x, y, sfreq=10.0, bands={"b": (0.1, 0.3)})


def test_multiple_coherence_of_two_signals_is_the_textbook_formula(pair):
    x, y = pair[0][1], pair[1][0]
    z = np.random.default_rng(5).standard_normal(len(x)) + 0.5 * y
    words = {"sfreq": 10.0, "fmin": 0.1, "fmax": 1.0}
    found = ibs.multiple_wtc(x, [y, z], **words)["coherence"][0]
    to_y, to_z, among = (coherency(ibs.wtc(*two, **words)) for two in ((x, y), (x, z), (y, z)))
    shared = 2 * (to_y * among * to_z.conj()).real
    expected = (abs(to_y) ** 2 + abs(to_z) ** 2 - shared) / (1 - abs(among) ** 2)
    assert_allclose(found, np.squeeze(expected), rtol=0, atol=1e-8)
    alone = ibs.multiple_wtc(x, [y], **words)["coherence"][0]
    assert_allclose(alone, np.squeeze(ibs.wtc(x, y, **words)["coherence"]), rtol=0, atol=1e-9)
    with pytest.raises(ibs.InputError, match="signals 0 and 2 of x are the same: leave one out"):
        ibs.multiple_wtc(x, [y, z, 3 - 2 * y], **words)


def test_means_say_how_fine_their_grid_is(pair):
    assert ibs.wtc(*pair, sfreq=10.0, bands={"b": (0.1, 0.5)}).attrs["points_per_scale"] in (1.5, 2.5)
