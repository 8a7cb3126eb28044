"""Recordings of trials end to end: every value against trials that are filtered and transformed one by one."""

from __future__ import annotations

import numpy as np
import pytest
from host_module import HostDevice
from numpy.testing import assert_allclose
from refusals import plan_refusal, refusal
from slow_couplings import SFREQ, slow_signal, slow_taps, slow_value

from ibsync.coupling.backends.cuda.backend import CudaBackend
from ibsync.coupling.band_spec import Coupling
from ibsync.coupling.engine import Engine
from ibsync.coupling.measures import COUPLINGS
from ibsync.coupling.plan import full_resolution_weights, make_plan
from ibsync.coupling.spec import WTC
from ibsync.coupling.transform.definition import coherency
from ibsync.coupling.trials import split
from ibsync.errors import InputError

TRIAL, N_TRIALS = 200, 7  # of 4 s
N = TRIAL * N_TRIALS
BANDS = {"theta": (4, 7), "alpha": (8, 13)}
EPOCHS = {"odd": [(0, 4), (8, 12), (16, 20), (24, 28)], "late": [(4 * k + 2, 4 * k + 4) for k in range(N_TRIALS)]}
SLOW = {"slow": (0.7, 1.4), "fast": (1.4, 4.0)}


def people(seed=0, lag=2):
    """Two people of three and of two channels, trials far apart in level and unlike in size: [channel, sample]."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal(N)
    a, b = 0.7 * common + rng.standard_normal((3, N)), np.roll(common, lag) + rng.standard_normal((2, N))
    level, size = 100 * rng.standard_normal((2, N_TRIALS)).repeat(TRIAL, axis=1)
    return a * (1 + abs(size) / 50) + level, b * (1 + abs(size) / 50) - level


def cut(x):
    """[..., trial, sample of a trial]."""
    return x.reshape(*x.shape[:-1], N_TRIALS, TRIAL)


def epoch_masks(epochs):
    """Which samples each epoch takes: bool [epoch, trial, sample of a trial]."""
    masks = []
    for parts in epochs.values():
        taken = np.zeros(N, bool)
        for start, stop in parts:
            taken[round(start * SFREQ) : round(stop * SFREQ)] = True
        masks.append(cut(taken))
    return np.array(masks)


def engine_of(spec, backend="numpy", epochs=EPOCHS):
    return Engine(N, SFREQ, spec, epochs=epochs, backend=backend, trial=TRIAL)


def found_by(engine, a, b, **words):
    return engine.coherence(engine.features(a), engine.features(b), **words)


# --- couplings of band-passed signals ---------------------------------------------------------------------------------


def analytic(x, band):
    """Analytic signals of trials, each filtered by itself, in units of the spread within trials."""
    spread = np.sqrt(cut(x).var(axis=-1).mean())
    return np.array([slow_signal(trial, band) * trial.std() / spread for trial in cut(x)])


@pytest.mark.parametrize("kind", [kind for kind in COUPLINGS if kind != "xcorr"])
def test_values_are_of_the_samples_of_all_trials_each_filtered_by_itself(kind, backend):
    a, b = people()
    found = found_by(engine_of(Coupling(kind, BANDS), backend), a, b)
    expected = np.empty(found.value.shape)
    for k, band in enumerate(BANDS.values()):
        half = len(slow_taps(*band)) // 2
        inside = (np.arange(TRIAL) >= half) & (np.arange(TRIAL) < TRIAL - half)
        for i, x in enumerate(a):
            for j, y in enumerate(b):
                z, w = analytic(x, band), analytic(y, band)
                expected[i, j, k] = [slow_value(kind, z[m & inside], w[m & inside]) for m in epoch_masks(EPOCHS)]
    assert_allclose(found.value, expected, rtol=0, atol=1e-9)
    assert np.abs(found.value).max() > 0.1


def test_windows_of_a_cross_correlation_lie_within_trials():
    a, b = people()
    words = {"max_lag": 0.1, "window": 0.5, "coi": "none"}
    found = found_by(engine_of(Coupling("xcorr", BANDS, **words), epochs=None), a, b)
    for k, band in enumerate(BANDS.values()):
        z, w = analytic(a[0], band).real, analytic(b[0], band).real
        means = [
            np.mean(
                [
                    np.corrcoef(z[trial, s : s + 25], w[trial, s + lag : s + lag + 25])[0, 1]
                    for trial in range(N_TRIALS)
                    for s in range(5, TRIAL - 5 - 25 + 1, 12)
                ]
            )
            for lag in range(-5, 6)
        ]
        assert_allclose(found.value[0, 0, k, 0], max(means), rtol=0, atol=1e-9)


def test_one_trial_is_a_recording_of_its_own():
    a, b = (x[:, :TRIAL] for x in people())
    for spec in (Coupling("coh", BANDS), WTC(SLOW)):
        whole = Engine(TRIAL, SFREQ, spec, backend="numpy")
        single = Engine(TRIAL, SFREQ, spec, backend="numpy", trial=TRIAL)
        assert_allclose(found_by(single, a, b).value, found_by(whole, a, b).value, rtol=0, atol=1e-12)


@pytest.mark.parametrize("spec", [Coupling("plv", BANDS), Coupling("wpli", BANDS), WTC(SLOW)])
def test_a_trial_sees_nothing_of_its_neighbours_and_their_order_is_free(spec):
    a, b = people()
    order = np.random.default_rng(1).permutation(N_TRIALS)
    mixed = [cut(x)[:, order].reshape(len(x), N) for x in (a, b)]
    engine = engine_of(spec, epochs=None)
    assert_allclose(found_by(engine, *mixed).value, found_by(engine, a, b).value, rtol=0, atol=1e-6)
    spoilt = a.copy()
    spoilt[:, :TRIAL] += 1e3 * np.random.default_rng(2).standard_normal((3, TRIAL))
    rest = engine_of(spec, epochs={"rest": [(4, 28)]})
    kept = found_by(rest, a, b).value
    if spec.measure != "wpli":  # which weighs samples by their size, relative to the whole channel's
        assert_allclose(found_by(rest, spoilt, b).value, kept, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["plv", "coh", "envelope"])
def test_gaps_and_flat_trials_are_left_out(kind):
    a, b = people()
    a[0, TRIAL : 2 * TRIAL] = 5.0
    a[1, 3 * TRIAL : 4 * TRIAL] = np.nan
    found = found_by(engine_of(Coupling(kind, BANDS), epochs=None), a, b)
    for channel, without in ((0, 1), (1, 3)):
        kept = np.delete(np.arange(N_TRIALS), without)
        rest = [cut(x)[:, kept].reshape(len(x), -1) for x in (a, b)]
        engine = Engine(N - TRIAL, SFREQ, Coupling(kind, BANDS), backend="numpy", trial=TRIAL)
        expected = found_by(engine, *rest)
        assert_allclose(found.value[channel], expected.value[channel], rtol=0, atol=1e-12)
        assert_allclose(found.n_samples[channel], expected.n_samples[channel])
        assert_allclose(found.valid_fraction[channel], expected.valid_fraction[channel] * 6 / 7)


# --- wavelet coherence ------------------------------------------------------------------------------------------------


def slow_means(a, b, bands, epochs, coi):
    """Mean R2 and coherency of the definition over cells of all trials, and their share, [a, b, band, epoch]."""
    masks = epoch_masks(epochs)
    shape = (len(a), len(b), len(bands), len(epochs))
    squared, inner, n, asked = np.zeros(shape), np.zeros(shape, complex), np.zeros(shape), np.zeros(shape)
    for trial in range(N_TRIALS):
        for e in range(len(epochs)):
            taken = np.flatnonzero(masks[e, trial])
            if not taken.size:
                continue
            part = {"part": (taken[0] / SFREQ, (taken[-1] + 1) / SFREQ)}
            plan = make_plan(TRIAL, SFREQ, WTC(bands, coi=coi), part)
            weights = full_resolution_weights(plan)  # [band, row, sample]
            for i, x in enumerate(a):
                for j, y in enumerate(b):
                    cell = coherency(cut(x)[trial], cut(y)[trial], plan.scales)
                    squared[i, j, :, e] += (weights * abs(cell) ** 2).sum(axis=(1, 2))
                    inner[i, j, :, e] += (weights * cell).sum(axis=(1, 2))
                    n[i, j, :, e] += weights.sum(axis=(1, 2))
                    asked[i, j, :, e] += plan.n_cells[:, 0]
    return squared / n, inner / n, n / asked


@pytest.mark.parametrize("coi", ["recording", "none"])
def test_means_are_over_the_cells_of_all_trials_each_transformed_by_itself(coi, backend):
    a, b = people()
    found = found_by(engine_of(WTC(SLOW, coi=coi, min_valid=0.1), backend), a, b)
    squared, inner, fraction = slow_means(a, b, SLOW, EPOCHS, coi)
    assert_allclose(found.coherence, squared, rtol=0, atol=3e-5)
    assert_allclose(found.coherency, inner, rtol=0, atol=6e-5)
    assert_allclose(found.valid_fraction, fraction, rtol=0, atol=1e-9)
    assert (found.coherence > 0.3).all()


@pytest.mark.parametrize("spec", [WTC(SLOW), WTC(SLOW, lags=(-0.1, 0.1)), Coupling("coh", BANDS)])
def test_dyads_are_computed_together_as_alone(spec):
    rng = np.random.default_rng(3)
    a, b = rng.standard_normal((2, 3, 2, N))
    b += a
    engine = engine_of(spec)
    together = found_by(engine, a, b, by_dyad=True)
    everybody = found_by(engine, a, b)
    for dyad in range(3):
        alone = found_by(engine, a[dyad], b[dyad])
        assert_allclose(together.value[dyad], alone.value, rtol=0, atol=1e-6)
        assert_allclose(together.valid_fraction[dyad], alone.valid_fraction, rtol=0, atol=1e-12)
        assert_allclose(everybody.value[dyad, :, dyad], alone.value, rtol=0, atol=1e-6)


def test_shares_are_of_the_coherent_cells_of_all_trials():
    a, b = people()
    engine = engine_of(WTC(SLOW, min_valid=0.1), epochs=None)
    found = found_by(engine, a, b, shares=True)
    coherent, classes, n = 0, 0, 0
    for k in range(N_TRIALS):
        one = Engine(TRIAL, SFREQ, WTC(SLOW, min_valid=0.1), backend="numpy")
        trial = found_by(one, cut(a)[:, k], cut(b)[:, k], shares=True)
        above = np.nan_to_num(trial.above)
        coherent, n = coherent + above, n + 1  # trials of one length hold as many cells
        classes = classes + above[..., None] * np.nan_to_num(trial.shares)
    assert_allclose(found.above, coherent / n, rtol=0, atol=1e-9)
    assert_allclose(found.shares, classes / coherent[..., None], rtol=0, atol=1e-9)


@pytest.mark.parametrize("spec", [Coupling("plv", BANDS), pytest.param(WTC({"b": (2.0, 4.0)}), marks=pytest.mark.slow)])
def test_a_device_gives_the_same(spec):
    a, b = (x[:1, : 2 * TRIAL] for x in people())
    there, here = (
        found_by(Engine(2 * TRIAL, SFREQ, spec, backend=backend, trial=TRIAL), a, b)
        for backend in (CudaBackend(HostDevice()), "numpy")
    )
    assert_allclose(there.value, here.value, rtol=0, atol=1e-6)


def test_controls_are_taken_out_trial_by_trial():
    a, b = people()
    z = people(5)[0][:1]
    engine = engine_of(WTC(SLOW), epochs=None)
    found = engine.coherence(*(engine.features(np.vstack([x, z]), n_controls=1) for x in (a, b)))
    total, n = 0, 0
    for k in range(N_TRIALS):
        one = Engine(TRIAL, SFREQ, WTC(SLOW), backend="numpy")
        sides = (np.vstack([cut(x)[:, k], cut(z)[:, k]]) for x in (a, b))
        total, n = total + one.coherence(*(one.features(x, n_controls=1) for x in sides)).coherence, n + 1
    assert_allclose(found.coherence, total / n, rtol=0, atol=1e-6)


# --- words ------------------------------------------------------------------------------------------------------------


def test_intervals_are_cut_at_the_ends_of_trials():
    assert split([(3, 25), (30, 40)], 10) == [(3, 10), (10, 20), (20, 25), (30, 40)]


def test_what_does_not_fit_is_refused_with_the_fix():
    plan_refusal(lambda: Engine(1000, SFREQ, WTC(SLOW), trial=300), "whole number of trials of 300", "one length")
    plan_refusal(lambda: engine_of(Coupling("plv", {"slow": (0.1, 0.3)})), "a trial lasts 4 s", "cut longer trials")
    plan_refusal(lambda: engine_of(WTC({"slow": (0.1, 0.3)})), "trials of 4 s", "slow")
    plan_refusal(lambda: engine_of(WTC(SLOW), epochs={"late": (100, 120)}), "late")
    engine = engine_of(WTC(SLOW))
    u = engine.features(people()[0])
    plan_refusal(lambda: engine.coherence(u, u, maps=True), "name bands")
    refusal(InputError, lambda: engine.features(people()[0], seam=np.array([5])), "leave out seam")
    refusal(InputError, lambda: engine.features(np.zeros((2, 100))), "100 samples", "planned for 1400")
