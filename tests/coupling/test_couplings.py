"""Couplings of band-passed signals: each against its definition, sample by sample, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.signal
from host_module import HostDevice
from numpy.testing import assert_allclose, assert_array_equal
from refusals import plan_refusal, refusal
from slow_couplings import SFREQ, slow_signal, slow_taps, slow_value

from ibsync.coupling.backends.cuda.backend import CudaBackend
from ibsync.coupling.band_spec import Coupling
from ibsync.coupling.engine import Engine
from ibsync.coupling.forms import FORMS, PairSums
from ibsync.coupling.measures import COUPLINGS as ALL_COUPLINGS
from ibsync.coupling.measures import MEASURES
from ibsync.coupling.spec import WTC
from ibsync.coupling.transform.band_pass import reach, taps
from ibsync.errors import InputError, PlanError

COUPLINGS = [kind for kind in ALL_COUPLINGS if kind != "xcorr"]
N = 2000
BANDS = {"theta": (4, 7), "alpha": (8, 13)}
EPOCHS = {"early": (0, 12), "late": [(14, 22), (25, 38)]}


def people(seed=0, lag=2):
    """Two people of three and of two channels, the second later: float64 [channel, sample]."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal(N)
    return 0.7 * common + rng.standard_normal((3, N)), np.roll(common, lag) + rng.standard_normal((2, N))


def engine_of(kind, backend="numpy", epochs=EPOCHS, **words):
    return Engine(N, SFREQ, Coupling(kind, BANDS, **words), epochs=epochs, backend=backend)


def found_by(engine, a, b):
    return engine.coherence(engine.features(a), engine.features(b))


# --- the definitions --------------------------------------------------------------------------------------------------


def slow_samples(band, coi="recording", lag=0, epochs=EPOCHS):
    """Samples that enter, for each epoch: bool [epoch, sample]."""
    half = len(slow_taps(*band)) // 2 if coi != "none" else 0
    inside = []
    for parts in epochs.values():
        enters = np.zeros(N, bool)
        for start, stop in parts if isinstance(parts, list) else [parts]:
            first, last = round(start * SFREQ), round(stop * SFREQ)
            if coi == "epoch":
                first, last = first + half + lag, last - half - lag
            else:
                first, last = max(first, half + lag), min(last, N - half - lag)
            enters[first:last] = True
        inside.append(enters)
    return np.array(inside)


def slow_values(kind, a, b, *, coi="recording", shift=0, lag=0, usable=lambda x, band: np.ones(N, bool)):
    """Values [a, b, band, epoch]; b is taken `shift` samples later, of samples that are trusted at `lag`."""
    out = np.empty((len(a), len(b), len(BANDS), len(EPOCHS)))
    for k, band in enumerate(BANDS.values()):
        samples = slow_samples(band, coi, lag)
        for i, x in enumerate(a):
            for j, y in enumerate(b):
                z, w = slow_signal(x, band), np.roll(slow_signal(y, band), -shift)
                both = usable(x, band) & np.roll(usable(y, band), -shift)
                out[i, j, k] = [slow_value(kind, z[enter & both], w[enter & both]) for enter in samples]
    return out


# --- against the definitions ------------------------------------------------------------------------------------------


def test_every_measure_of_band_passed_signals_has_a_form():
    assert tuple(FORMS) == ALL_COUPLINGS


def test_the_filter_is_a_difference_of_two_low_passes_and_passes_its_band():
    for band in BANDS.values():
        spec = Coupling("plv", {"b": band}).bands["b"]
        made = taps(spec, SFREQ)
        assert_allclose(made, slow_taps(*band), rtol=0, atol=1e-15)
        assert len(made) == 2 * reach(spec, SFREQ) + 1
        freq, gain = scipy.signal.freqz(made, worN=4096, fs=SFREQ)
        inside = (freq >= band[0]) & (freq <= band[1])
        assert_allclose(abs(gain[inside]), 1, rtol=0, atol=1e-2)  # under a Hamming window
        assert (abs(gain[(freq < band[0] / 4) | (freq > band[1] + 4)]) < 5e-3).all()


@pytest.mark.parametrize("kind", COUPLINGS)
def test_values_are_those_of_the_definition(kind, backend):
    a, b = people()
    found = found_by(engine_of(kind, backend), a, b)
    assert_allclose(found.value, slow_values(kind, a, b), rtol=0, atol=1e-9)
    assert np.abs(found.value).max() > 0.1
    low, high = MEASURES[kind].range
    assert (found.value >= low).all()
    assert (found.value <= high).all()


def test_how_far_the_transform_is_padded_hardly_matters():
    a, _ = people()
    for band in BANDS.values():
        assert_allclose(slow_signal(a[0], band, 20 * N), slow_signal(a[0], band), rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", COUPLINGS)
def test_a_device_gives_the_same(kind):
    a, b = people()
    there = found_by(engine_of(kind, CudaBackend(HostDevice())), a, b)
    assert_allclose(there.value, found_by(engine_of(kind), a, b).value, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", COUPLINGS)
def test_gaps_are_left_out_of_each_pair(kind):
    a, b = people()
    a[1, 900:930], a[2, 100:400], b[1, 1500:1560] = np.nan, np.nan, np.nan

    def usable(x, band):
        weight = slow_taps(*band) ** 2
        return np.convolve(np.isnan(x), weight / weight.sum(), mode="same") <= 0.05

    found = found_by(engine_of(kind, min_valid=0.3), a, b)
    assert_allclose(found.value, slow_values(kind, a, b, usable=usable), rtol=0, atol=1e-9)
    for k, band in enumerate(BANDS.values()):
        samples = slow_samples(band)
        asked = np.array([12, 21]) * SFREQ
        expected = [[(samples & usable(x, band) & usable(y, band)).sum(axis=1) / asked for y in b] for x in a]
        assert_allclose(found.valid_fraction[:, :, k], expected, rtol=0, atol=1e-12)
    whole = found_by(engine_of(kind, min_valid=0.9), a, b)
    assert np.isnan(whole.value[2, :, :, 0]).all()


@pytest.mark.parametrize("coi", ["recording", "epoch", "none"])
def test_ends_are_left_out_as_far_as_the_filter_sees_them(coi):
    a, b = people()
    found = found_by(engine_of("plv", coi=coi), a, b)
    assert_allclose(found.value, slow_values("plv", a, b, coi=coi), rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", ["plv", "ccorr", "wpli", "envelope", "imcoh"])
def test_at_a_lag_the_second_person_is_taken_later(kind):
    a, b = people()
    found = found_by(engine_of(kind, lags=[0.1, -0.04, 0]), a, b).value.reshape(3, 2, 2, 3, 2)
    for k, shift in enumerate((-2, 0, 5)):
        expected = slow_values(kind, a, b, shift=shift, lag=5)
        assert_allclose(found[:, :, :, k], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", COUPLINGS)
def test_pairs_within_dyads_and_in_single_precision(kind):
    x, y = np.stack([people(seed)[0] for seed in range(3)]), np.stack([people(seed)[1] for seed in range(3)])
    x[1, 0, 300:340] = np.nan
    engine, fast = engine_of(kind), engine_of(kind, accuracy="fast")
    together = engine.coherence(engine.features(x), engine.features(y), by_dyad=True).value
    quick = fast.coherence(fast.features(x), fast.features(y), by_dyad=True).value
    for dyad in range(3):
        assert_allclose(together[dyad], found_by(engine, x[dyad], y[dyad]).value, rtol=0, atol=1e-12)
    # A sign may change where the imaginary part is next to nothing; of 600 samples one counts 2 / 600.
    assert_allclose(quick, together, rtol=0, atol=4e-3 if kind == "pli" else 2e-5)


def test_samples_near_a_seam_are_left_out():
    a, b = people()
    band = engine_of("plv").spec.bands["alpha"]
    far = np.abs(np.arange(N) - 999.5) >= reach(band, SFREQ)
    engine = Engine(N, SFREQ, Coupling("plv", {"alpha": (8, 13)}), backend="numpy")
    found = engine.coherence(engine.features(a), engine.features(b[:1], seam=np.array([1000])))
    enter = slow_samples((8, 13), epochs={"all": (0, N / SFREQ)})[0] & far
    z, w = slow_signal(a[0], (8, 13)), slow_signal(b[0], (8, 13))
    assert_allclose(found.value[0, 0, 0, 0], slow_value("plv", z[enter], w[enter]), rtol=0, atol=1e-9)


def test_what_a_lag_does_to_a_sign():
    a, b = people(lag=1)
    assert (found_by(engine_of("imcoh"), a, b).value > 0.1).all()  # a leads
    assert_allclose(found_by(engine_of("imcoh"), b, a).value, -found_by(engine_of("imcoh"), a, b).value.swapaxes(0, 1))


@pytest.mark.parametrize("kind", [kind for kind in COUPLINGS if not MEASURES[kind].directed])
def test_measures_without_a_direction_do_not_change_with_the_order_of_the_two(kind):
    a, b = people()
    there, back = found_by(engine_of(kind), a, b).value, found_by(engine_of(kind), b, a).value
    assert_allclose(back.swapaxes(0, 1), there, rtol=0, atol=1e-12)


# --- windows ---


@pytest.mark.parametrize("with_gaps", [False, True])
def test_windowed_cross_correlation_is_the_largest_mean_of_windows(with_gaps, backend):
    a, b = people(lag=3)
    if with_gaps:
        a[1, 900:1100] = np.nan
    engine = engine_of("xcorr", backend, max_lag=0.2, window=4.0)
    found = found_by(engine, a, b)
    for k, band in enumerate(BANDS.values()):
        half = len(slow_taps(*band)) // 2 + 10
        weight = slow_taps(*band) ** 2
        for e, parts in enumerate(EPOCHS.values()):
            starts = []
            for start, stop in parts if isinstance(parts, list) else [parts]:
                first, last = max(int(start * SFREQ), half), min(int(stop * SFREQ), N - half)
                starts += range(first, last - 200 + 1, 100)
            for i, x in enumerate(a):
                bad = np.convolve(np.isnan(x), weight / weight.sum(), mode="same") > 0.05
                z, w = slow_signal(x, band).real, slow_signal(b[1], band).real
                means = []
                for lag in range(-10, 11):
                    own = [~bad[s : s + 200] for s in starts]
                    windows = zip(own, starts, strict=True)
                    r = [
                        np.corrcoef(z[s : s + 200][good], w[s + lag : s + lag + 200][good])[0, 1]
                        for good, s in windows
                        if good.sum() >= 100
                    ]
                    means.append(np.mean(r))
                assert_allclose(found.value[i, 1, k, e], np.max(means), rtol=0, atol=1e-9)
                assert_allclose(found.lag[i, 1, k, e], (np.argmax(means) - 10) / SFREQ)
    assert np.median(found.lag) == 0.06  # a leads by three samples
    assert (found.lag[0] > 0).all()


def test_a_window_of_a_few_samples_is_refused():
    words = {"max_lag": 0.2, "window": 0.05}
    plan_refusal(lambda: engine_of("xcorr", **words), "0.05 s holds 2 samples at 50 Hz", "4 samples and more")


def test_words_of_windows_are_checked():
    plan_refusal(lambda: Coupling("xcorr", BANDS, window=4.0), "max_lag is missing", "max_lag=5.0")
    plan_refusal(lambda: Coupling("plv", BANDS, window=4.0), "window is of kind 'xcorr' only")
    plan_refusal(lambda: Coupling("xcorr", BANDS, window=4.0, max_lag=-1), "positive number of s")
    plan_refusal(lambda: Coupling("xcorr", BANDS, window=4.0, max_lag=1, lags=[1]), "leave lags out")
    words = {"window": 30.0, "max_lag": 1.0}
    plan_refusal(lambda: engine_of("xcorr", **words), "epoch 'early' (12 s) holds no window of 30 s", "shorter window")


# --- a band for each person ---


@pytest.mark.parametrize("kind", ["plv", "envelope", "pli"])
def test_each_person_may_have_a_band(kind):
    a, b = people()
    engine = Engine(N, SFREQ, Coupling(kind, {"alpha": ((8, 13), (6, 9))}), backend="numpy")
    found = engine.coherence(engine.features(a), engine.features(b))
    half = max(len(slow_taps(*band)) // 2 for band in ((8, 13), (6, 9)))
    inside = slice(half, N - half)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            z, w = slow_signal(x, (8, 13))[inside], slow_signal(y, (6, 9))[inside]
            assert_allclose(found.value[i, j, 0, 0], slow_value(kind, z, w), rtol=0, atol=1e-9)
    same = Engine(N, SFREQ, Coupling(kind, {"alpha": ((8, 13), (8, 13))}), backend="numpy")
    one = Engine(N, SFREQ, Coupling(kind, {"alpha": (8, 13)}), backend="numpy")
    assert_array_equal(*(e.measure(e.features(a), e.features(b), kind) for e in (same, one)))
    assert Coupling.from_dict(engine.spec.to_dict()) == engine.spec
    plan_refusal(lambda: Coupling("plv", {"alpha": ((8, 13), (9, 6))}), "'alpha'", "0 < low < high")
    plan_refusal(lambda: Coupling("plv", {"alpha": ((8, 13), (6, 9), (4, 5))}), "'alpha'")


# --- bias -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", COUPLINGS)
def test_some_measures_grow_as_samples_fall_and_their_unbiased_forms_do_not(kind):
    """Independent trials, one sample each: 20 against 60."""
    rng, levels = np.random.default_rng(3), {}
    for n in (20, 60):
        a, b = rng.standard_normal((2, 1, 300, n)) + 1j * rng.standard_normal((2, 1, 300, n))
        form = FORMS[kind]
        sums = PairSums(form.feature(a), form.feature(b), None, None, [(0, n)], 0, np)
        levels[n] = form.value(sums).mean()
    grows = {"plv", "ciplv", "ccorr", "coh", "pli", "wpli"}
    if kind in grows:
        assert 1.4 < levels[20] / levels[60] < 2.0  # the root of 3
    else:
        assert abs(levels[20]) < 0.003
        assert abs(levels[60]) < 0.003


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_words_that_are_wrong_are_refused_with_the_fix():
    plan_refusal(lambda: Coupling("plw", BANDS), "did you mean 'plv'?")
    plan_refusal(lambda: Coupling("coherence", BANDS), "use WTC(bands=...)")
    plan_refusal(lambda: Coupling("plv", {}), "bands is empty")
    plan_refusal(lambda: Coupling("plv", BANDS, coi="recordng"), "did you mean 'recording'?")
    plan_refusal(lambda: Coupling("plv", BANDS, accuracy="reference"), "'exact'", "'fast'")
    plan_refusal(lambda: Coupling("plv", BANDS, min_valid=2), "min_valid")
    plan_refusal(lambda: Coupling("plv", {"b": {"low_hz": 1, "high_hz": 4, "exclude_hz": [(2, 3)]}}), "holes")
    plan_refusal(lambda: Coupling.from_dict({"kind": "plv", "band": BANDS}), "did you mean 'bands'?")


def test_a_spec_survives_its_plain_form():
    spec = Coupling("wpli", {"slow": (5, 50)}, period=True, lags=[1, 0])
    assert Coupling.from_dict(spec.to_dict()) == spec
    assert hash(Coupling.from_dict(spec.to_dict())) == hash(spec)
    assert spec.bands["slow"].low_hz == 0.02
    assert (spec.measure, spec.lags, spec.n_columns) == ("wpli", (0.0, 1.0), 2)


@pytest.mark.parametrize(
    ("n_samples", "bands", "words"),
    [
        (N, {"gamma": (20, 30)}, ("'gamma'", "end at 25 Hz", "lower its upper edge")),
        (N, {"slow": (0.02, 0.1)}, ("a filter of 165 s", "lasts 40 s", "record longer")),
        (N, {"narrow": (24, 24.99)}, ("a filter of 330", "move the band's edges")),
        (50, {"alpha": (8, 13)}, ("a filter of 1.66 s", "lasts 1 s")),
    ],
)
def test_bands_that_do_not_fit_are_refused_with_the_fix(n_samples, bands, words):
    plan_refusal(lambda: Engine(n_samples, SFREQ, Coupling("plv", bands), backend="numpy"), *words)


def test_epochs_that_are_too_short_are_refused_with_the_fix():
    short = {"blink": (1, 1.5)}
    words = ("'blink' (0.5 s) is too short for band 'theta'", "0.82 s to either side", "coi='none'")
    plan_refusal(lambda: engine_of("plv", epochs=short, coi="epoch"), *words)


def test_a_flat_channel_has_no_value():
    a, b = people()
    a[1] = 3.0
    found = found_by(engine_of("coh"), a, b)
    assert np.isnan(found.value[1]).all()
    assert_array_equal(found.valid_fraction[1], 0)
    assert np.isfinite(found.value[[0, 2]]).all()


def test_what_is_of_wavelet_coherence_only_is_refused():
    a, b = people()
    engine = engine_of("plv")
    u, v = engine.features(a), engine.features(b)
    plan_refusal(lambda: engine.coherence(u, v, shares=True), "'plv'", "leave it out")
    plan_refusal(lambda: engine.coherence(u, v, maps=True), "no maps over time")
    plan_refusal(lambda: engine.measure(u, v, "coherence"), "Coupling('plv') has no measure 'coherence'")
    refusal(InputError, lambda: engine.features(a, n_controls=1), "how='regression'")
    cells = Engine(N, SFREQ, WTC({"alpha": (8, 13)}), backend="numpy")
    w = cells.features(a)
    plan_refusal(lambda: cells.measure(w, w, "plv"), "give Coupling('plv', bands=...)")
    with pytest.raises(PlanError, match="spec must be a WTC or a Coupling"):
        Engine(N, SFREQ, {"alpha": (8, 13)})
