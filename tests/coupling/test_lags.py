"""Lags: against the definition on shifted samples, one mask for all, and which of two people leads."""

from itertools import pairwise

import numpy as np
import pytest
import scipy.fft
from numpy.testing import assert_allclose, assert_array_equal
from refusals import plan_refusal

from ibsync.coupling.engine import Engine
from ibsync.coupling.plan import full_resolution_weights, make_plan
from ibsync.coupling.spec import WTC
from ibsync.coupling.transform.cone import trusted_part
from ibsync.coupling.transform.definition import morlet, padded_length, smooth

SFREQ, N = 10.0, 400
LAGS = (-1.5, 0.0, 0.8, 2.0)
BANDS = {"slow": (0.3, 0.6), "fast": (0.9, 1.6)}
SPEC = WTC(BANDS, lags=LAGS, min_valid=0.0)
EPOCHS = {"early": (0, 25), "late": [(20, 28), (30, 40)]}


def people(seed=0):
    rng = np.random.default_rng(seed)
    common = np.cumsum(rng.standard_normal(N))
    a, b = rng.standard_normal((2, 2, N))
    return a + common, b + np.roll(common, 8)


def slow(x, y, spec, *, usable=None, epochs=EPOCHS):
    """Mean coherence [band, lag, epoch] of two signals: y is shifted by samples, on its padded circle."""
    plan = make_plan(N, SFREQ, spec, epochs)
    scales, m = plan.scales, padded_length(N)
    omega = 2 * np.pi * np.arange(m // 2 + 1) / m

    def transform(padded):
        spectrum = scipy.fft.rfft(padded)
        return np.array([
            scipy.fft.ifft(np.concatenate([spectrum * morlet(s, omega), np.zeros(m - m // 2 - 1)]))[:N]
            for s in scales.scale
        ])  # fmt: skip

    def smoothed(products):
        return smooth(products / scales.scale[:, None], scales.scale, scales.smoothing_weights, circular=False)

    padded = [np.concatenate([signal - signal.mean(), np.zeros(m - N)]) for signal in (x, y)]
    wx, out = transform(padded[0]), []
    for lag in spec.lags:
        wy = transform(np.roll(padded[1], -round(lag * SFREQ)))
        value = smoothed(wx * wy.conj()) / np.sqrt(smoothed(abs(wx) ** 2) * smoothed(abs(wy) ** 2))
        weights = full_resolution_weights(plan) * (1 if usable is None else usable)
        out.append([(w * abs(value) ** 2).sum() / w.sum() for w in weights])
    return np.array(out).reshape(len(spec.lags), len(BANDS), -1).transpose(1, 0, 2)


def by_lag(values, spec=SPEC):
    """[a, b, band, lag, epoch] of values in which bands stand at all lags one after the other."""
    return values.reshape(*values.shape[:2], len(BANDS), len(spec.lags), -1)


@pytest.mark.parametrize(("accuracy", "atol"), [("exact", 1e-6), ("fast", 5e-4), ("reference", 1e-12)])
def test_means_are_those_of_the_definition_on_shifted_samples(accuracy, atol):
    a, b = (side[:1] for side in people())
    spec = WTC(BANDS, lags=LAGS, min_valid=0.0, accuracy=accuracy)
    engine = Engine(N, SFREQ, spec, epochs=EPOCHS, backend="numpy")
    found = engine.coherence(engine.features(a), engine.features(b))
    assert_allclose(by_lag(found.coherence)[0, 0], slow(a[0], b[0], spec), rtol=0, atol=atol)


@pytest.mark.parametrize("accuracy", ["exact", "reference"])
def test_b_delayed_by_two_seconds_peaks_at_plus_two(accuracy):
    rng = np.random.default_rng(1)
    x = rng.standard_normal(N + 20)
    spec = WTC({"fast": (0.9, 1.6)}, lags=(-2, -1, 0, 1, 2), accuracy=accuracy)
    engine = Engine(N, SFREQ, spec, backend="numpy")
    means = engine.coherence(engine.features(x[20:]), engine.features(x[:-20]))
    assert np.argmax(means.coherence[:, 0]) == 4
    assert means.coherence[4, 0] > 0.99
    small = Engine(N, SFREQ, WTC({"fast": (0.9, 1.6)}), backend="numpy")
    b = np.concatenate([x[18:20], x[20:-2]])  # a leads by 0.2 s, within half a period
    assert np.angle(small.coherence(small.features(x[20:]), small.features(b)).coherency[0, 0]) > 0


def test_without_lags_and_at_lag_zero_values_are_the_same_where_cells_are():
    a, b = people()
    alone, one = (Engine(N, SFREQ, WTC(BANDS, coi="none", lags=lags), backend="numpy") for lags in ((), (0.0,)))
    first, second = (engine.coherence(engine.features(a), engine.features(b)) for engine in (alone, one))
    assert_array_equal(first.coherence, second.coherence)
    assert_array_equal(first.valid_fraction, second.valid_fraction)


@pytest.mark.parametrize("coi", ["recording", "epoch", "none"])
@pytest.mark.parametrize("accuracy", ["exact", "reference"])
def test_all_lags_have_one_mask_the_widest(coi, accuracy):
    a, b = (side[:1] for side in people())
    b[0, 150:190] = np.nan
    spec = WTC(BANDS, lags=LAGS, min_valid=0.0, accuracy=accuracy, coi=coi)
    engine = Engine(N, SFREQ, spec, backend="numpy")
    valid = by_lag(engine.coherence(engine.features(a), engine.features(b)).valid_fraction)
    for first, second in pairwise(np.moveaxis(valid, 3, 0)):
        assert_allclose(first, second, rtol=0, atol=1e-12)
    assert (valid > 0).all()
    for part in ((0, N), (50, 150)):
        for scale in (3.0, 7.5):
            start, stop = trusted_part(part, scale, N, coi)
            if coi == "epoch" or part == (0, N):
                assert trusted_part(part, scale, N, coi, 20) == (start + 20, stop - 20)


def test_gaps_are_shifted_too():
    """A cell is left out where a window of b is bad at any lag."""
    a, b = (side[:1] for side in people())
    b[0, 150:190] = np.nan
    spec = WTC(BANDS, lags=LAGS, min_valid=0.0)
    engines = [Engine(N, SFREQ, spec, backend="numpy"), Engine(N, SFREQ, WTC(BANDS, lags=LAGS, min_valid=0.0,
               accuracy="reference"), backend="numpy")]  # fmt: skip
    means = [engine.coherence(engine.features(a), engine.features(b)) for engine in engines]
    assert_allclose(means[0].coherence, means[1].coherence, rtol=0, atol=5e-3)
    assert_allclose(means[0].valid_fraction, means[1].valid_fraction, rtol=0, atol=5e-3)
    whole = [WTC(BANDS, min_valid=0.0, lags=lags, accuracy="reference") for lags in ((), (0.0,), (2.0,), LAGS)]
    fractions = []
    for one in whole:
        engine = Engine(N, SFREQ, one, backend="numpy")
        fractions.append(engine.coherence(engine.features(a), engine.features(b)).valid_fraction[0, 0, 0, 0])
    assert fractions[0] == fractions[1] > fractions[2] > fractions[3]


def test_seams_are_shifted_too():
    a, b = (side[:1] for side in people())
    spec = WTC(BANDS, lags=LAGS, min_valid=0.0)
    reference = WTC(BANDS, lags=LAGS, min_valid=0.0, accuracy="reference")
    means = [
        engine.coherence(engine.features(a), engine.features(b, seam=170))
        for engine in (Engine(N, SFREQ, one, backend="numpy") for one in (spec, reference))
    ]
    assert_allclose(means[0].valid_fraction, means[1].valid_fraction, rtol=0, atol=5e-3)


@pytest.mark.parametrize("accuracy", ["exact", "reference"])
def test_controls_are_shifted_with_their_person(accuracy):
    """At one lag alone, as if the partner had been recorded later."""
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((2, 3, N + 20))
    y[0] += np.roll(x[0], 20) + y[2]
    spec = {lags: WTC({"fast": (0.9, 1.6)}, lags=lags, accuracy=accuracy, min_valid=0) for lags in ((), (2.0,))}
    found = []
    for lags, start in (((2.0,), 0), ((), 20)):
        engine = Engine(N, SFREQ, spec[lags], epochs={"middle": (12, 28)}, backend="numpy")
        a, b = (engine.features(side, n_controls=1) for side in (x[:, :N], y[:, start : start + N]))
        found.append(engine.coherence(a, b).coherence)
    assert_allclose(found[0], found[1], rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("lags", "part"),
    [((1, 1), "twice"), ("2", "list of numbers"), ((np.nan,), "list of numbers"), (2.0, "list of numbers")],
)
def test_lags_that_are_none_are_refused(lags, part):
    plan_refusal(lambda: WTC(BANDS, lags=lags), "lags", part)


def test_lags_beyond_an_epoch_are_refused_by_name():
    epochs = {"long": (0, 40), "short": (10, 14)}
    spec = WTC(BANDS, lags=(0, -5))
    plan_refusal(lambda: Engine(N, SFREQ, spec, epochs=epochs), "-5 s", "epoch 'short' lasts 4 s", "lags shorter")
    plan_refusal(lambda: Engine(N, SFREQ, WTC(BANDS, lags=(50,))), "50 s", "epoch 'all' lasts 40 s")


def test_a_spec_is_what_it_was_after_a_round_trip():
    assert WTC.from_dict(SPEC.to_dict()) == SPEC
    assert hash(SPEC) == hash(WTC.from_dict(SPEC.to_dict()))
    assert WTC(BANDS, lags=[2, -1]).lags == (-1.0, 2.0)
