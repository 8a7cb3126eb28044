"""Surrogates made by kernels are those of the host: the same phases and shifts for the same draws."""

from __future__ import annotations

import numpy as np
import pytest

from ibsync.nulls.random_streams import Purpose, entity_id, purpose_word, stream
from ibsync.nulls.surrogate_signals import surrogates, turns
from ibsync.nulls.surrogates_on_device import shifted_signals, turned_spectra

SEED = (7 << 40) + 3
DRAWS = np.array([3, 0, 1, (1 << 31) + 5], np.uint32)


def signals(n_samples, n_channels=3):
    return np.random.default_rng(0).standard_normal((n_channels, n_samples)).cumsum(axis=1)


@pytest.mark.parametrize("n_samples", [2, 3, 64, 601, 602])
def test_phase_surrogates_are_those_of_the_host(device, n_samples):
    x, drawn = signals(n_samples), {"seed": SEED, "entity": entity_id("p01"), "variant": 2}
    turned = turned_spectra(device, np.fft.rfft(x), n_samples, DRAWS, **drawn)
    expected = surrogates("phase", x, DRAWS.astype(np.int64), **drawn)
    tolerance = 16 * np.finfo(float).eps * np.abs(x).max() * np.log2(n_samples)
    np.testing.assert_allclose(np.fft.irfft(turned, n_samples), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("purpose", [Purpose.PHASE, Purpose.IAAFT])
@pytest.mark.parametrize("n_samples", [601, 602])
def test_factors_are_the_table_at_sixteen_bits_of_the_stream(device, n_samples, purpose):
    """Frequency by frequency, by the words of the stream themselves."""
    n_frequencies = n_samples // 2 + 1
    ones = np.ones((2, n_frequencies), complex)
    got = turned_spectra(device, ones, n_samples, DRAWS, seed=SEED, entity=9, purpose=purpose)
    words = stream(SEED, DRAWS, n_frequencies, entity=9, purpose=purpose_word(purpose))
    for row, draw in enumerate(DRAWS):
        for f in range(n_frequencies):
            bits = (int(words[f // 2, row]) >> 16 * (f % 2)) & 0xFFFF
            moved = draw != 0 and f > 0 and 2 * f < n_samples
            assert (got[row, :, f] == (turns()[bits] if moved else 1)).all()


def test_the_table_of_factors_lies_on_the_unit_circle():
    np.testing.assert_allclose(np.abs(turns()), 1, rtol=1e-15)
    np.testing.assert_allclose(turns()[[0, 1 << 14, 1 << 15]], [1, 1j, -1], atol=1e-15)


@pytest.mark.parametrize("n_samples", [1, 2, 257, 600])
def test_shifts_are_those_of_the_host(device, n_samples):
    x, drawn = signals(n_samples), {"seed": SEED, "entity": entity_id("p02"), "variant": 1}
    expected = surrogates("shift", x, DRAWS.astype(np.int64), **drawn)
    np.testing.assert_array_equal(shifted_signals(device, x, DRAWS, **drawn), expected)


def test_no_draws_give_an_empty_result(host):
    x, none = signals(64), np.zeros(0, np.uint32)
    assert shifted_signals(host, x, none, seed=1, entity=1).shape == (0, 3, 64)
    assert turned_spectra(host, np.fft.rfft(x), 64, none, seed=1, entity=1).shape == (0, 3, 33)


def test_draws_do_not_depend_on_their_company(host):
    x = signals(600)
    together = turned_spectra(host, np.fft.rfft(x), 600, DRAWS, seed=1, entity=4)
    alone = [turned_spectra(host, np.fft.rfft(x), 600, DRAWS[[i]], seed=1, entity=4)[0] for i in range(len(DRAWS))]
    np.testing.assert_array_equal(together, alone)
