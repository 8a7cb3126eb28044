"""Signals of dyads in situations with and without interaction, on which null distributions are judged.

A simulation is a study of some dyads. Within it all persons follow one paradigm: stimuli and blocks fall at the same
times for everybody, while each person's physiology, gains and delays are drawn anew. But for the coupled scenarios
partners are therefore exchangeable: real partners are like pseudo-dyads.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Scenario = Callable[[np.random.Generator, tuple[int, int], int], Floats]

SFREQ_HZ = 2.0
DURATION_S = 250.0
BAND_S = (6.0, 20.0)
"""Periods of the band that is tested; the Mayer wave at 10 s lies in it."""

MAYER_HZ, MAYER_JITTER_HZ, MAYER_WIDTH_HZ = 0.1, 0.008, 0.012
BREATHING_HZ, BREATHING_WIDTH_HZ = 0.25, 0.02
AR1 = 0.9
STIMULUS_GAIN = 0.6
BURST_GAIN = 3.0
PARTNER_LAG_S = 1.0


def simulate(
    scenario: str, n_sims: int, n_dyads: int = 1, *, seed: int, part: int = 0, duration_s: float = DURATION_S
) -> Floats:
    """Signals of many studies.

    Parameters
    ----------
    scenario : str
        One of `SCENARIOS`.
    n_sims, n_dyads : int
        Independent studies, and dyads in each.
    seed, part : int
        Every scenario and every part of a seed has random numbers of its own.
    duration_s : float

    Returns
    -------
    float64 [sim, dyad, person, sample]
    """
    rng = np.random.default_rng([seed, part, *scenario.encode()])
    return SCENARIOS[scenario](rng, (n_sims, n_dyads), round(duration_s * SFREQ_HZ))


def fnirs_like(rng: np.random.Generator, shape: tuple[int, int], n: int) -> Floats:
    """A 1/f background, the Mayer wave, breathing and white noise of persons who have nothing in common."""
    return _background(rng, shape, n) + 0.9 * _mayer_waves(rng, shape, n)


def autoregressive(rng: np.random.Generator, shape: tuple[int, int], n: int) -> Floats:
    """What the AR(1) null supposes: two independent autoregressions of order 1."""
    from scipy.signal import lfilter

    innovations = rng.standard_normal((*shape, 2, n))
    innovations[..., 0] /= np.sqrt(1 - AR1**2)
    return np.asarray(lfilter([1.0], [1.0, -AR1], innovations, axis=-1))


def with_stimulus(rng: np.random.Generator, shape: tuple[int, int], n: int) -> Floats:
    """Everybody answers the same stimuli, each person with a gain and a delay of their own."""
    n_sims, n_dyads = shape
    n_long = 2 * n
    gaps = rng.uniform(8.0, 16.0, (n_sims, n_long // round(8 * SFREQ_HZ))) * SFREQ_HZ
    onsets = np.cumsum(gaps, axis=1).astype(int)
    events = np.zeros((n_sims, n_long))
    sims, times = np.nonzero(onsets < n_long)
    events[sims, onsets[sims, times]] = 1.0
    t = np.arange(n_long) / SFREQ_HZ
    response = np.fft.rfft(events) * np.fft.rfft(t**5 * np.exp(-t))
    delay_s = rng.uniform(0.0, 1.0, (n_sims, n_dyads, 2, 1))
    turned = response[:, None, None] * np.exp(-2j * np.pi * _frequencies(n_long) * delay_s)
    answers = _standardised(np.fft.irfft(turned, n_long)[..., n:])
    return fnirs_like(rng, shape, n) + STIMULUS_GAIN * rng.uniform(0.5, 1.5, (*shape, 2, 1)) * answers


def with_bursts(rng: np.random.Generator, shape: tuple[int, int], n: int) -> Floats:
    """In every other block of the paradigm all Mayer waves are stronger, but their phases have nothing in common."""
    n_sims, _ = shape
    lengths = rng.uniform(20.0, 40.0, (n_sims, n // round(20 * SFREQ_HZ) + 1)) * SFREQ_HZ
    changes = np.cumsum(lengths, axis=1)
    block = (changes[:, None, :] <= np.arange(n)[:, None]).sum(axis=2)
    envelope = np.where(block % 2 == 1, BURST_GAIN, 1.0)[:, None, None]
    return _background(rng, shape, n) + 0.9 * envelope * _mayer_waves(rng, shape, n)


def with_motion(rng: np.random.Generator, shape: tuple[int, int], n: int) -> Floats:
    """Each person moves at times of their own: four spikes that die away within seconds, and two steps."""
    out = fnirs_like(rng, shape, n)
    since = (np.arange(n) - rng.integers(0, n, (6, *shape, 2, 1))) / SFREQ_HZ
    size = rng.choice([-1.0, 1.0], (6, *shape, 2, 1)) * rng.uniform(1.0, 2.0, (6, *shape, 2, 1))
    spikes = 5.0 * size[:4] * np.where(since[:4] >= 0, np.exp(-np.maximum(since[:4], 0.0)), 0.0)
    steps = size[4:] * (since[4:] >= 0)
    return np.asarray(out + spikes.sum(axis=0) + steps.sum(axis=0))


def coupled(rng: np.random.Generator, shape: tuple[int, int], n: int, *, gain: float) -> Floats:
    """Partners share a signal of standard deviation `gain` in the band, beside Mayer waves of their own of 0.9."""
    return fnirs_like(rng, shape, n) + gain * _shared(rng, shape, n)


WITHOUT_INTERACTION: dict[str, Scenario] = {
    "independent": fnirs_like,
    "ar1": autoregressive,
    "stimulus": with_stimulus,
    "bursts": with_bursts,
    "motion": with_motion,
}
SCENARIOS = WITHOUT_INTERACTION | {f"coupled {gain}": partial(coupled, gain=gain) for gain in (0.4, 0.7, 1.2)}


def _background(rng: np.random.Generator, shape: tuple[int, int], n: int) -> Floats:
    persons = (*shape, 2)
    frequency = _frequencies(2 * n)
    slow = np.divide(1.0, frequency**1.5, out=np.zeros_like(frequency), where=frequency > 0)
    breathing = _bump(frequency, np.array(BREATHING_HZ), BREATHING_WIDTH_HZ)
    return (
        0.8 * _gaussian(rng, slow, persons, n)
        + 0.5 * _gaussian(rng, breathing, persons, n)
        + 0.3 * rng.standard_normal((*persons, n))
    )


def _mayer_waves(rng: np.random.Generator, shape: tuple[int, int], n: int) -> Floats:
    persons = (*shape, 2)
    centre = MAYER_HZ + MAYER_JITTER_HZ * rng.standard_normal((*persons, 1))
    return _gaussian(rng, _bump(_frequencies(2 * n), centre, MAYER_WIDTH_HZ), persons, n)


def _shared(rng: np.random.Generator, shape: tuple[int, int], n: int) -> Floats:
    """One signal per dyad with power all over the band, which reaches the second person a little later."""
    lag = round(PARTNER_LAG_S * SFREQ_HZ)
    frequency = _frequencies(2 * (n + lag))
    in_band = ((frequency >= 1 / BAND_S[1]) & (frequency <= 1 / BAND_S[0])).astype(np.float64)
    wave = _gaussian(rng, in_band, shape, n + lag)
    return np.stack([wave[..., lag:], wave[..., :n]], axis=-2)


def _frequencies(n: int) -> Floats:
    return np.asarray(np.fft.rfftfreq(n, 1 / SFREQ_HZ), np.float64)


def _bump(frequency: Floats, centre: Floats, width: float) -> Floats:
    """Power of a rhythm, [..., frequency]."""
    return np.where(frequency > 0, np.exp(-0.5 * ((frequency - centre) / width) ** 2), 0.0)


def _gaussian(rng: np.random.Generator, power: Floats, shape: tuple[int, ...], n: int) -> Floats:
    """Gaussian noise of unit variance, float64 [*shape, sample], from power [..., frequency] of twice the length.

    Half of what is synthesised is thrown away, because a sum of harmonics ends where it begins.
    """
    amplitude = np.sqrt(power / power.sum(axis=-1, keepdims=True))
    parts = rng.standard_normal((2, *shape, power.shape[-1]))
    # A sum over frequencies of amplitude * (a cos + b sin) has variance 1; irfft divides by the length 2 n and doubles.
    return np.asarray(np.fft.irfft(n * amplitude * (parts[0] + 1j * parts[1]), 2 * n)[..., :n])


def _standardised(x: Floats) -> Floats:
    centred = x - x.mean(axis=-1, keepdims=True)
    return np.asarray(centred / centred.std(axis=-1, keepdims=True))
