"""A window that moves along two streams: the numbers of the same window by itself, and words that do not fit."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from refusals import plan_refusal, refusal

import ibsync as ibs
from ibsync.errors import InputError

SFREQ, WINDOW = 10.0, 300
BANDS = {"slow": (0.2, 0.5), "fast": (0.5, 1.0)}


def streams(n=700, seed=0):
    """Two people of three and of two channels."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal(n)
    return common + rng.standard_normal((3, n)), common + rng.standard_normal((2, n))


@pytest.mark.parametrize("sizes", [[1] * 5, [299, 1, 40], [250, 100, 3, 300], [650]])
def test_means_are_those_of_wtc_of_the_last_window(sizes):
    a, b = streams()
    a[1, 200:204] = np.nan
    live = ibs.Live((3, 2), SFREQ, WINDOW / SFREQ, ibs.WTC(BANDS), channels_b=["left", "right"])
    stop = 0
    for size in sizes:
        start, stop = stop, stop + size
        found = live.push(a[:, start:stop], b[:, start:stop])
        if stop < WINDOW:
            assert found is None
            continue
        window = slice(stop - WINDOW, stop)
        expected = ibs.wtc(a[:, window], b[:, window], SFREQ, bands=BANDS, channels_b=["left", "right"])
        for name in expected.data_vars:
            assert_array_equal(found[name], expected[name])
            assert found[name].attrs == expected[name].attrs
        assert list(found.channel_b.values) == ["left", "right"]
        assert found.time.item() == stop / SFREQ


@pytest.mark.parametrize("kind", ["plv", "imcoh", "xcorr"])
def test_couplings_are_those_of_a_study_of_the_last_window(kind):
    a, b = streams()
    words = {"max_lag": 0.5, "window": 5.0} if kind == "xcorr" else {}
    spec = ibs.Coupling(kind, {"slow": (0.2, 0.5)}, coi="none", **words)
    live = ibs.Live((3, 2), SFREQ, WINDOW / SFREQ, spec)
    live.push(a[:, :450], b[:, :450])
    found = live.push(a[:, 450:500], b[:, 450:500])
    people = {"p": a[:, 200:500], "q": b[:, 200:500]}
    expected = ibs.Study.from_arrays(people, sfreq=SFREQ, signal="hbo").synchrony(spec)
    assert set(found.data_vars) == set(expected.data_vars)
    values = expected[kind].values[0, 0][:3, :2]  # the study's second person lacks a third channel
    assert_allclose(found[kind].values[..., 0], values, rtol=0, atol=1e-5)


def test_what_does_not_fit_is_refused_and_not_taken():
    a, b = streams()
    live = ibs.Live((3, 2), SFREQ, WINDOW / SFREQ, ibs.WTC(BANDS))
    live.push(a[:, :299], b[:, :299])
    refusal(InputError, lambda: live.push(a[:, :1], b[:, :2]), "1 new samples", "as many of both")
    refusal(InputError, lambda: live.push(a[:2, :1], b[:, :1]), "samples_a", "3 channels")
    refusal(InputError, lambda: live.push(a[:, :1] * np.inf, b[:, :1]), "samples_a", "NaN")
    found = live.push(a[:, 299:300], b[:, 299:300])
    assert_array_equal(found.coherence, ibs.wtc(a[:, :300], b[:, :300], SFREQ, bands=BANDS).coherence)
    plan_refusal(lambda: ibs.Live(2, SFREQ, 30.0, ibs.WTC()), "bands")
    plan_refusal(lambda: ibs.Live(0, SFREQ, 30.0, ibs.WTC(BANDS)), "n_channels=0", "whole number")
    plan_refusal(lambda: ibs.Live(True, SFREQ, 30.0, ibs.WTC(BANDS)), "n_channels=True", "whole number")
    plan_refusal(lambda: ibs.Live(2.0, SFREQ, 30.0, ibs.WTC(BANDS)), "n_channels=2.0", "whole number")
    plan_refusal(lambda: ibs.Live(2, SFREQ, True, ibs.WTC(BANDS)), "window_s=True", "give s")
    plan_refusal(lambda: ibs.Live(2, SFREQ, 8.0, ibs.WTC(BANDS)), "window_s=8", "band 'slow'", "give a longer window")
    plan_refusal(lambda: ibs.Live(2, SFREQ, float("nan"), ibs.WTC(BANDS)), "window_s=nan", "give s")
    plan_refusal(lambda: ibs.Live(2, SFREQ, 30.0, ibs.WTC(BANDS, lags=(0, 1))), "lags")
    plan_refusal(lambda: ibs.Live(2, SFREQ, 30.0, ibs.WTC(BANDS), channels_a=["x"]), "channels_a has 1 labels")
    plan_refusal(lambda: ibs.Live(2, SFREQ, 30.0, ibs.WTC(BANDS), channels_b=["x", "x"]), "channels_b", "twice")
    plan_refusal(lambda: ibs.Live(2, SFREQ, 30.0, ibs.WTC(BANDS), channels_b=[["x"], ["y"]]), "not a list of labels")
    plan_refusal(lambda: ibs.Live(np.array(2.0), SFREQ, 30.0, ibs.WTC(BANDS)), "n_channels=array(2.)", "whole number")
    plan_refusal(lambda: ibs.Live(2, SFREQ, 30.0, ibs.WTC(BANDS), channels_a=5), "channels_a=5", "not a list of labels")
    plan_refusal(lambda: ibs.Live(2, SFREQ, 30.0, ibs.WTC(BANDS), channels_a="ab"), "not a list of labels")


def test_numbers_of_numpy_are_taken_and_the_window_is_of_whole_samples():
    x = streams()[0][:2, :300]
    assert repr(ibs.Live(np.array([2, 3]), SFREQ, 30.0, ibs.WTC(BANDS))).startswith("Live(2 x 3 channels")
    live = ibs.Live(np.int64(2), SFREQ, np.float32(29.94), ibs.WTC(BANDS))
    n = round(29.94 * SFREQ)
    found = live.push(x, x)
    assert found.attrs["window_s"] == n / SFREQ
    assert repr(live) == f"Live(2 x 2 channels, {n / SFREQ:g} s at {SFREQ:g} Hz)"
    assert_array_equal(found.coherence, ibs.wtc(x[:, -n:], x[:, -n:], SFREQ, bands=BANDS).coherence)
