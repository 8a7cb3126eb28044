"""Haemoglobin-like signals of two persons with a shared component of known strength.

Every person's signal is Gaussian noise with the power spectrum of haemoglobin at the scalp: a 1/f background, the
Mayer wave near 0.1 Hz, breathing, heart beat and white instrument noise. Within the coupled band, true partners share
a component that is scaled to the power that the signal has there anyway, so that

    x(t) = outside(t) + sqrt(1 - c - s) own(t) + sqrt(c) shared by the dyad(t) + sqrt(s) shared by everybody(t)

has the same spectrum for every c, and the in-band correlation of coupled channels is c + s: their magnitude-squared
coherence there tends to (c + s)^2, and that of two people who never met to s^2.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Spectrum = NDArray[np.complex128]

STANDARD_DEVIATION_MOL_PER_L = 1e-7
HBR_PER_HBO = -0.3
HBR_NOISE_FRACTION = 0.12
SYSTEMIC_SHARE = 0.6
"""Part of the Mayer, breathing and cardiac power that one person's channels have in common."""
EDGE_FRACTION = 0.1
"""Extra length that is synthesised and cut off, because a sum of harmonics ends where it begins."""

MOST_SPIKE, MOST_STEP = 10.0, 4.0
"""Largest artefacts of motion, in standard deviations of the signal."""
SPIKE_S = 0.5
"""Half width of a spike."""

(_PHYSIOLOGY, _BACKGROUND, _WAVES, _SYSTEMIC, _SHARED, _STIMULUS, _HBR, _MOTION, DYADS, SESSIONS, THERAPISTS, OUTCOMES,
 ATTENDANCE, LENGTHS) = range(14)  # fmt: skip


@dataclass(frozen=True)
class Design:
    """What to synthesise; every field is checked by `simulate`, whose words these are.

    The first `n_coupled` channels are coupled with the partner's channel of the same name.
    """

    n_channels: int
    n_times: int
    sfreq: float
    coupled_band: tuple[float, float]
    n_coupled: int
    shared_stimulus: float
    lag_s: float
    motion_per_min: float
    seed: int

    @cached_property
    def n_synthesis(self) -> int:
        """Length of the synthesis: longer than the recording, and quick to transform."""
        from scipy.fft import next_fast_len

        return int(next_fast_len(round(self.n_times * (1 + EDGE_FRACTION)), real=True))

    @cached_property
    def frequency_hz(self) -> Floats:
        """Frequencies of the synthesis, float64 [frequency]."""
        return np.arange(self.n_synthesis // 2 + 1, dtype=np.float64) * (self.sfreq / self.n_synthesis)

    @cached_property
    def in_band(self) -> NDArray[np.bool_]:
        """Which frequencies lie in the coupled band, bool [frequency]."""
        low, high = self.coupled_band
        return (self.frequency_hz >= low) & (self.frequency_hz <= high)

    def generator(self, purpose: int, *key: int) -> np.random.Generator:
        """Random numbers that depend on the seed, the purpose and the key, and on no order of calls."""
        return np.random.Generator(np.random.Philox(np.random.SeedSequence(self.seed, spawn_key=(purpose, *key))))


@dataclass(frozen=True)
class Meeting:
    """Two people recorded together once, with the in-band correlation of their coupled channels, float64 [time].

    Random numbers depend on the seed and on `key`, such as (dyad, session); the rhythms of `people`, such as
    (dyad, person), stay from meeting to meeting; `stimulus`, such as (session,), says what they see.
    """

    key: tuple[int, ...]
    people: tuple[tuple[int, int], tuple[int, int]]
    stimulus: tuple[int, ...]
    coupling: Floats


def recorded(design: Design, meeting: Meeting) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """HbO and HbR of both people of a meeting, float32 [person, channel, time]."""
    shared = _unit_spectrum(design, design.generator(_SHARED, *meeting.key), design.n_coupled)
    stimulus = _unit_spectrum(design, design.generator(_STIMULUS, *meeting.stimulus), design.n_channels)
    hbo = np.stack([_person(design, meeting, person, shared, stimulus) for person in range(2)])
    noise = np.stack([_hbr_noise(design, (*meeting.key, person)) for person in range(2)])
    hbr = HBR_PER_HBO * hbo + HBR_NOISE_FRACTION * noise
    if design.motion_per_min:
        motion = np.stack([_motion(design, (*meeting.key, person)) for person in range(2)])
        hbo, hbr = hbo + motion, hbr + motion
    scale = STANDARD_DEVIATION_MOL_PER_L
    return (scale * hbo).astype(np.float32), (scale * hbr).astype(np.float32)


def _person(design: Design, meeting: Meeting, person: int, shared: Spectrum, stimulus: Spectrum) -> Floats:
    """HbO of one person in one meeting with unit variance, float64 [channel, time]."""
    background, systemic = _power(design, meeting.people[person])
    own = _own_spectrum(design, (*meeting.key, person), background, systemic)
    band_amplitude = np.sqrt(background + systemic) * design.in_band
    delay = np.exp(-2j * np.pi * design.frequency_hz * design.lag_s * person)

    coupling = np.zeros((design.n_channels, design.n_times))
    coupling[: design.n_coupled] = meeting.coupling
    signal = _synthesise(design, own * ~design.in_band)
    signal += np.sqrt(np.clip(1 - coupling - design.shared_stimulus, 0, 1)) * _synthesise(design, own * design.in_band)
    signal[: design.n_coupled] += np.sqrt(meeting.coupling) * _synthesise(design, shared * band_amplitude * delay)
    if design.shared_stimulus:
        signal += np.sqrt(design.shared_stimulus) * _synthesise(design, stimulus * band_amplitude)
    return signal


def _own_spectrum(design: Design, key: tuple[int, ...], background: Floats, systemic: Floats) -> Spectrum:
    """Spectrum of what a person shares with nobody, complex128 [channel, frequency]."""
    noise = _unit_spectrum(design, design.generator(_BACKGROUND, *key), design.n_channels)
    here = _unit_spectrum(design, design.generator(_WAVES, *key), design.n_channels)
    everywhere = _unit_spectrum(design, design.generator(_SYSTEMIC, *key), 1)
    waves = np.sqrt(SYSTEMIC_SHARE) * everywhere + np.sqrt(1 - SYSTEMIC_SHARE) * here
    spectrum: Spectrum = np.sqrt(background) * noise + np.sqrt(systemic) * waves
    return spectrum


def _hbr_noise(design: Design, key: tuple[int, ...]) -> Floats:
    """White noise of HbR alone with unit variance, float64 [channel, time]."""
    return design.generator(_HBR, *key).standard_normal((design.n_channels, design.n_times))


def _motion(design: Design, key: tuple[int, ...]) -> Floats:
    """Spikes, and steps after which the signal stays where it is, at times that all channels share: [channel, time]."""
    random = design.generator(_MOTION, *key)
    n_artefacts = random.poisson(design.motion_per_min * design.n_times / design.sfreq / 60)
    when = random.uniform(0, design.n_times / design.sfreq, n_artefacts)
    is_step = random.random(n_artefacts) < 0.5
    size = np.where(is_step, MOST_STEP, MOST_SPIKE) * random.uniform(-1, 1, (design.n_channels, n_artefacts))
    since = np.arange(design.n_times) / design.sfreq - when[:, None]
    shape = np.where(is_step[:, None], since >= 0, np.clip(1 - np.abs(since) / SPIKE_S, 0, 1))
    return np.asarray(size @ shape)


def _power(design: Design, person: tuple[int, int]) -> tuple[Floats, Floats]:
    """Background and systemic power per frequency, float64 [frequency] each; together they sum to one."""
    jitter = design.generator(_PHYSIOLOGY, *person).standard_normal(3)
    frequency = design.frequency_hz
    mayer_hz, breathing_hz, heart_hz = 0.1 + 0.006 * jitter[0], 0.27 + 0.02 * jitter[1], 1.1 + 0.1 * jitter[2]
    slow = np.where(frequency > 0, 1 / np.maximum(frequency, 0.005), 0.0)
    white = (frequency > 0).astype(np.float64)
    systemic = (
        0.15 * _bump(frequency, mayer_hz, 0.012)
        + 0.10 * _bump(frequency, breathing_hz, 0.02)
        + 0.12 * _bump(frequency, heart_hz, 0.04)
    )
    background = 0.55 * slow / slow.sum() + 0.08 * white / white.sum()
    total = float((background + systemic).sum())
    return background / total, systemic / total


def _bump(frequency: Floats, centre_hz: float, width_hz: float) -> Floats:
    """Power of one rhythm with unit sum, float64 [frequency]; nothing if no frequency of the grid is near it."""
    power = np.where(frequency > 0, np.exp(-0.5 * ((frequency - centre_hz) / width_hz) ** 2), 0.0)
    near = centre_hz < frequency[-1] and power.sum() > 1e-3
    return power / power.sum() if near else np.zeros_like(frequency)


def _unit_spectrum(design: Design, generator: np.random.Generator, n_rows: int) -> Spectrum:
    """Complex Gaussian noise of unit power per frequency, complex128 [row, frequency]."""
    pairs = generator.standard_normal((n_rows, design.frequency_hz.size, 2))
    spectrum: Spectrum = pairs.view(np.complex128)[..., 0] / np.sqrt(2)
    return spectrum


def _synthesise(design: Design, spectrum: Spectrum) -> Floats:
    """Signal whose variance is the sum of |spectrum|^2, float64 [channel, time]."""
    n = design.n_synthesis
    signal: Floats = np.fft.irfft(spectrum, n)[..., : design.n_times] * (n / np.sqrt(2))
    return signal
