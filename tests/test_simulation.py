"""Simulated signals hold the truth that was planted: spectrum, coupling, lag, and independence elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import csd, welch

from ibsync.errors import PlanError
from ibsync.simulation import Simulation, simulate

BAND = (0.03, 0.08)
LONG = {"n_dyads": 3, "n_channels": 4, "duration": 6000.0, "sfreq": 5.0, "coupled_band": BAND}


def coherency(a: np.ndarray, b: np.ndarray, sfreq: float) -> tuple[np.ndarray, np.ndarray]:
    """Frequency and complex coherency by averaged periodograms."""
    options = {"fs": sfreq, "nperseg": round(100 * sfreq)}
    frequency, cross = csd(a, b, **options)
    power_a, power_b = welch(a, **options)[1], welch(b, **options)[1]
    return frequency, cross / np.sqrt(power_a * power_b)


def inner_band(frequency: np.ndarray) -> np.ndarray:
    """Frequencies inside the band by more than the resolution of the periodograms."""
    return (frequency > BAND[0] + 0.011) & (frequency < BAND[1] - 0.011)


def mean_coherency(study: Simulation, a: tuple[int, int], b: tuple[int, int]) -> complex:
    """Mean over the inner band and over channels, of two (dyad, person)."""
    frequency, c = coherency(study.hbo[a[0], 0, a[1]], study.hbo[b[0], 0, b[1]], study.sfreq)
    return complex(c[:, inner_band(frequency)].mean())


@pytest.mark.parametrize("coupling", [0.0, 0.4, 0.9])
def test_in_band_coherency_of_partners_is_the_planted_coupling(coupling):
    study = simulate(**LONG, coupling=coupling, seed=3)
    found = np.mean([mean_coherency(study, (dyad, 0), (dyad, 1)) for dyad in range(3)])
    # 3 dyads x 4 channels x 120 segments: standard error of a coherency estimate is at most 1/sqrt(1440) = 0.026
    assert abs(found - coupling) < 0.06


def test_partners_share_nothing_outside_the_band_nor_strangers_inside_it():
    study = simulate(**LONG, coupling=1.0, seed=4)
    frequency, partners = coherency(study.hbo[:, 0, 0], study.hbo[:, 0, 1], study.sfreq)
    outside = (frequency > BAND[1] + 0.02) | ((frequency > 0) & (frequency < BAND[0] - 0.02))
    assert abs(partners[..., outside].mean()) < 0.03
    assert abs(mean_coherency(study, (0, 0), (1, 1))) < 0.1
    assert abs(mean_coherency(study, (0, 0), (0, 1))) > 0.99


def test_only_the_coupled_channels_are_coupled():
    study = simulate(**LONG, coupling=0.9, coupled_pairs=0.5, seed=5)
    frequency, c = coherency(study.hbo[:, 0, 0], study.hbo[:, 0, 1], study.sfreq)
    per_channel = np.abs(c[..., inner_band(frequency)].mean(axis=(0, -1)))
    assert study.coupled_channels == ("S1_D1", "S2_D2")
    assert (per_channel[:2] > 0.8).all()
    assert (per_channel[2:] < 0.15).all()


def test_a_shared_stimulus_couples_strangers_as_much_as_it_says():
    study = simulate(**LONG, coupling=0.3, shared_stimulus=0.5, seed=6)
    assert abs(mean_coherency(study, (0, 0), (1, 1)) - 0.5) < 0.1
    assert abs(mean_coherency(study, (0, 0), (0, 1)) - 0.8) < 0.1


def test_a_lag_gives_the_phase_of_a_leader():
    lag = 2.0
    study = simulate(**LONG, coupling=1.0, lag=lag, seed=7)
    frequency, c = coherency(study.hbo[0, 0, 0], study.hbo[0, 0, 1], study.sfreq)
    inside = inner_band(frequency)
    # csd conjugates its first argument: b(t) = a(t - lag) gives exp(-2 pi i f lag)
    expected = -2 * np.pi * frequency[inside] * lag
    np.testing.assert_allclose(np.angle(c[:, inside].mean(axis=0)), expected, atol=0.05)


def test_coupling_does_not_change_the_spectrum_of_a_person():
    free, coupled = (simulate(**LONG, coupling=coupling, seed=8) for coupling in (0.0, 0.9))
    frequency, before = welch(free.hbo, fs=5.0, nperseg=500)
    after = welch(coupled.hbo, fs=5.0, nperseg=500)[1]
    inside = inner_band(frequency)
    ratio = after[..., inside].mean() / before[..., inside].mean()
    # 24 signals x 60 segments x 3 frequencies: relative error of a power ratio below 0.03
    assert abs(ratio - 1) < 0.1


def test_signals_look_like_haemoglobin():
    study = simulate(n_dyads=2, n_channels=3, duration=3000.0, sfreq=10.0, coupling=0.0, seed=9)
    frequency, power = welch(study.hbo, fs=10.0, nperseg=2000)
    power = power.mean(axis=(0, 1, 2, 3))

    def at(low, high):
        return power[(frequency >= low) & (frequency <= high)].max()

    assert at(0.09, 0.11) > 3 * at(0.14, 0.18)
    assert at(0.25, 0.30) > 3 * at(0.45, 0.60)
    assert at(0.8, 1.4) > 3 * at(2.0, 4.0)
    slope = np.polyfit(np.log(frequency[2:10]), np.log(power[2:10]), 1)[0]
    assert -1.6 < slope < -0.6
    assert study.hbo.std() == pytest.approx(1e-7, rel=0.05)


def test_hbr_opposes_hbo():
    study = simulate(n_dyads=1, n_channels=2, duration=600.0, sfreq=10.0, seed=1)
    correlation = np.corrcoef(study.hbo[0, 0, 0, 0], study.hbr[0, 0, 0, 0])[0, 1]
    # -0.3 / sqrt(0.3^2 + 0.12^2)
    assert correlation == pytest.approx(-0.928, abs=0.02)


def test_coupling_of_an_epoch_stays_inside_it():
    epochs = [("rest", 0.0, 3000.0), ("talk", 3000.0, 6000.0)]
    study = simulate(**LONG, coupling={"talk": 0.9}, epochs=epochs, seed=10)
    half = study.hbo.shape[-1] // 2
    for part, low, high in ((np.s_[:half], 0.0, 0.15), (np.s_[half:], 0.75, 1.0)):
        frequency, c = coherency(study.hbo[:, 0, 0, :, part], study.hbo[:, 0, 1, :, part], study.sfreq)
        assert low <= abs(c[..., inner_band(frequency)].mean()) <= high
    assert study.coupling[0, 0] == 0.0
    assert study.coupling[0, -1] == pytest.approx(0.9)


def test_coupling_grows_over_sessions_as_planted():
    study = simulate(n_dyads=1, n_sessions=3, n_channels=1, coupling=[0.1, 0.5, 0.9])
    np.testing.assert_array_equal(study.coupling[:, 0], [0.1, 0.5, 0.9])


def test_one_seed_gives_one_signal_whatever_the_size_of_the_study():
    small = simulate(n_dyads=1, n_sessions=1, n_channels=2, duration=60.0, seed=11)
    large = simulate(n_dyads=3, n_sessions=2, n_channels=4, duration=60.0, seed=11)
    np.testing.assert_array_equal(small.hbo[0, 0], large.hbo[0, 0, :, :2])
    np.testing.assert_array_equal(small.hbr[0, 0], large.hbr[0, 0, :, :2])
    other = simulate(n_dyads=1, n_sessions=1, n_channels=2, duration=60.0, seed=12)
    assert not np.array_equal(small.hbo, other.hbo)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_dyads": 0}, "n_dyads = 0 must be a whole number"),
        ({"n_channels": 2.5}, "n_channels = 2.5 must be a whole number"),
        ({"duration": -1.0}, "duration = -1.0 must be a positive number"),
        ({"sfreq": float("nan")}, "sfreq = nan must be a positive number"),
        ({"duration": 1.0}, "at least 16 are needed"),
        ({"coupling": 1.5}, "coupling = 1.5 must lie between 0 and 1"),
        ({"coupling": [0.1, 0.2, 0.3]}, "3 values for 1 sessions"),
        ({"coupling": {"talk": 0.5}}, "the epoch 'talk', which is not among epochs"),
        ({"coupling": 0.7, "shared_stimulus": 0.5}, "coupling \\+ shared_stimulus exceeds 1"),
        ({"coupled_band": (0.1, 0.05)}, "coupled_band \\(0.1, 0.05\\) Hz must rise"),
        ({"coupled_band": (0.1, 9.0)}, "at most 5 Hz"),
        ({"coupled_band": (0.05, 0.051)}, "narrower than one cycle"),
        ({"coupled_pairs": "all"}, "coupled_pairs = 'all'"),
        ({"coupled_pairs": 1.1}, "coupled_pairs = 1.1 must lie between"),
        ({"epochs": [("talk", 200.0, 400.0)]}, "epoch 'talk', 200 to 400 s"),
        ({"seed": -1}, "seed = -1"),
    ],
)
def test_an_argument_out_of_range_is_refused_in_one_line(arguments, message):
    with pytest.raises(PlanError, match=message) as caught:
        simulate(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("duration", "sfreq"), [(1.6, 10.0), (100.0, 0.5), (20.0, 1000.0)])
def test_odd_sizes_stay_finite(duration, sfreq):
    study = simulate(n_dyads=1, n_channels=1, duration=duration, sfreq=sfreq, coupled_band=(0.01 * sfreq, 0.4 * sfreq))
    assert np.isfinite(study.hbo).all()
    assert study.hbo.std() > 1e-8


def test_a_study_file_holds_the_same_numbers_as_the_arrays(tmp_path):
    arguments = {
        "n_dyads": 2,
        "n_sessions": 2,
        "n_channels": 3,
        "duration": 60.0,
        "coupling": [0.2, 0.8],
        "epochs": [("rest", 0.0, 20.0), ("talk", 20.0, 60.0)],
        "groups": ("friends", "strangers"),
        "seed": 13,
    }
    study = simulate(tmp_path / "s.h5", **arguments)
    arrays = simulate(**arguments)
    assert len(study.dyads) == 4
    for row in study.dyads:
        dyad, session = int(row.dyad[1:]) - 1, int(row.session) - 1
        for person, recording in enumerate((row.recording_a, row.recording_b)):
            np.testing.assert_array_equal(study.signals(recording, "hbo"), arrays.hbo[dyad, session, person])
            np.testing.assert_array_equal(study.signals(recording, "hbr"), arrays.hbr[dyad, session, person])
        assert row.outcomes["planted_coupling"] == pytest.approx([0.2, 0.8][session])
        assert row.group == ("friends", "strangers")[dyad]
        assert [event.label for event in row.recording_a.events] == ["rest", "talk"]
    assert len({row.person_a for row in study.dyads} | {row.person_b for row in study.dyads}) == 4


def test_equal_arguments_write_equal_files_and_leave_nothing_beside_them(tmp_path):
    for name in ("a.h5", "b.h5"):
        simulate(tmp_path / name, n_dyads=1, n_channels=1, duration=30.0, seed=2)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "b.h5"]
