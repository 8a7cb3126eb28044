"""Coherence by compiled loops and by NumPy: both keep the promises, and hardly differ."""

from __future__ import annotations

import numpy as np
import pytest
from cells import assert_every_cell_keeps_the_promise, clean_signals, rough_signals
from numpy.testing import assert_allclose, assert_array_equal

from ibsync.compiled.choice import VARIABLE
from ibsync.coupling.backends.numpy import NumpyBackend
from ibsync.coupling.engine import Engine
from ibsync.coupling.spec import WTC

N = 3000
BANDS = {"slow": (0.03, 0.1), "fast": (0.2, 0.6)}
EPOCHS = {"whole": (0, 300), "early": (20, 110), "two": [(30, 60), (120, 200)]}
# Means of cells that are right to 1e-6 in one path and in the other.
SAME = 1e-6


@pytest.mark.parametrize("make", [clean_signals, rough_signals])
@pytest.mark.parametrize(("n", "group"), [(64, 0), (500, 3), (1500, 0), (3000, 6)])
@pytest.mark.parametrize("accuracy", ["exact", "fast"])
def test_every_cell_keeps_the_promise_on_both_paths(accuracy, n, group, make, path):
    assert_every_cell_keeps_the_promise(WTC(accuracy=accuracy), make(n, 0), make(n, 1), group, "numpy")


def small_spikes(n, seed=0):
    """Walks with a spike of 3 to 100 sd, hardly enough for the deeper rank: float64 [6, sample]."""
    rng = np.random.default_rng(seed)
    out = np.cumsum(rng.standard_normal((6, n)), axis=1)
    out[np.arange(6), rng.integers(0, n, 6)] += 10 ** rng.uniform(0.5, 2, 6) * out.std(axis=1)
    return out


@pytest.mark.parametrize("seed", [0, 2, 4])
def test_cells_beside_small_spikes_keep_the_promise_on_both_paths(seed, path):
    assert_every_cell_keeps_the_promise(WTC(), small_spikes(500, seed), small_spikes(500, seed + 1), 2, "numpy")


def gapped(n, seed=0):
    out = clean_signals(n, seed)
    out[1, n // 3 : n // 3 + 40] = np.nan
    out[4, :70] = np.nan
    out[2] = 0.0
    return out


def means(path, monkeypatch, spec, a, b, *, n=N, n_threads=1, shares=False, n_controls=0):
    monkeypatch.setenv(VARIABLE, path)
    engine = Engine(n, 10.0, spec, epochs=EPOCHS, backend="numpy")
    engine.backend = NumpyBackend(n_threads)
    u, v = (engine.features(x, n_controls=n_controls) for x in (a, b))
    return engine.coherence(u, v, shares=shares)


@pytest.mark.parametrize("make", [clean_signals, rough_signals, gapped])
@pytest.mark.parametrize("accuracy", ["exact", "fast"])
def test_means_hardly_differ_from_those_of_numpy(accuracy, make, build, monkeypatch):
    spec = WTC(BANDS, accuracy=accuracy)
    a, b = make(N, 0), make(N, 1)
    found, plain = (means(path, monkeypatch, spec, a, b) for path in (build, "0"))
    limit = SAME if accuracy == "exact" else 5 * SAME
    assert_array_equal(np.isnan(found.coherence), np.isnan(plain.coherence))
    assert_allclose(found.coherence, plain.coherence, rtol=0, atol=limit)
    assert_allclose(found.coherency, plain.coherency, rtol=0, atol=limit)
    assert_allclose(found.valid_fraction, plain.valid_fraction, rtol=0, atol=1e-12)
    assert np.isfinite(plain.coherence).any()
    assert (found.coherence != plain.coherence).any()


def test_means_of_one_channel_equal_those_among_many(build, monkeypatch):
    a, b = clean_signals(N, 0), clean_signals(N, 1)
    many = means(build, monkeypatch, WTC(BANDS), np.repeat(a, 6, axis=0), b)
    one = means(build, monkeypatch, WTC(BANDS), a[2:3], b[4:5])
    assert_allclose(many.coherence[12:18, 4], np.repeat(one.coherence[:, 0], 6, axis=0), rtol=0, atol=SAME)


def test_shares_of_phases_hardly_differ_from_those_of_numpy(build, monkeypatch):
    a, b = (np.repeat(make(N, 0)[:2], 2, axis=0) for make in (clean_signals, small_spikes))
    b[1] += a[0]
    found, plain = (means(path, monkeypatch, WTC(BANDS), a, b, shares=True) for path in (build, "0"))
    # A cell at the very edge of a class may fall to either side; a mean has hundreds of cells.
    assert_allclose(np.nan_to_num(found.shares), np.nan_to_num(plain.shares), rtol=0, atol=1e-3)
    assert_allclose(found.above, plain.above, rtol=0, atol=1e-3)
    assert np.nanmax(plain.shares) > 0.1


def test_controls_are_taken_out_on_both_paths(build, monkeypatch):
    control = clean_signals(N, 2)[:1]
    a, b = (np.concatenate([clean_signals(N, seed) + control, control]) for seed in (0, 1))
    found, plain = (means(path, monkeypatch, WTC(BANDS), a, b, n_controls=1) for path in (build, "0"))
    assert found.coherence.shape[:2] == (6, 6)
    assert_allclose(found.coherence, plain.coherence, rtol=0, atol=SAME)


@pytest.mark.parametrize("n_threads", [2, 4])
def test_threads_change_no_bit(n_threads, build, monkeypatch):
    a, b = clean_signals(N, 0), rough_signals(N, 1)
    one, some = (means(build, monkeypatch, WTC(BANDS), a, b, n_threads=n) for n in (1, n_threads))
    assert_array_equal(some.coherence, one.coherence)
    assert_array_equal(some.coherency, one.coherency)
