"""Simulated signals hold the truth: spectrum, coupling, lag, and independence elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import csd, welch

from ibsync.errors import PlanError
from ibsync.simulation.courses import Growth, Normals, attended, courses_of, outcomes_of
from ibsync.simulation.simulate import Simulation, simulate

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
def test_in_band_coherency_of_partners_is_the_simulated_coupling(coupling):
    study = simulate(**LONG, coupling=coupling, seed=3)
    found = np.mean([mean_coherency(study, (dyad, 0), (dyad, 1)) for dyad in range(3)])
    # 3 dyads x 4 channels x 120 segments: standard error of a coherency estimate is at most 1/sqrt(1440) = 0.026
    assert abs(found - coupling) < 0.06


def test_partners_share_nothing_outside_the_band_nor_pseudo_dyads_inside_it():
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


def test_a_shared_stimulus_couples_pseudo_dyads_as_much_as_it_says():
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


def test_coupling_grows_over_sessions_as_simulated():
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
        assert row.outcomes["simulated_coupling"] == pytest.approx([0.2, 0.8][session])
        assert row.group == ("friends", "strangers")[dyad]
        assert [event.label for event in row.recording_a.events] == ["rest", "talk"]
    assert len({row.person_a for row in study.dyads} | {row.person_b for row in study.dyads}) == 4


def test_equal_arguments_write_equal_files_and_leave_nothing_beside_them(tmp_path):
    for name in ("a.h5", "b.h5"):
        simulate(tmp_path / name, n_dyads=1, n_channels=1, duration=30.0, seed=2)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "b.h5"]


# --- change over sessions, and what is tied to it ---------------------------------------------------------------------

SHORT = {"n_channels": 1, "duration": 30.0, "sfreq": 2.0, "coupled_band": (0.1, 0.4)}


def test_nothing_new_asked_for_leaves_the_signals_as_they_were():
    plain = simulate(**SHORT, n_dyads=2, n_sessions=2, coupling=[0.2, 0.6], seed=3)
    grown = simulate(**SHORT, n_dyads=2, n_sessions=2, coupling=[0.2, 0.6], growth=Growth(), seed=3)
    np.testing.assert_array_equal(plain.hbo, grown.hbo)
    np.testing.assert_allclose(plain.mean_coupling, [[0.2, 0.6]] * 2)
    np.testing.assert_array_equal(plain.growth, 0.0)
    np.testing.assert_array_equal(plain.n_samples, 60)


def test_growth_without_differences_is_a_straight_line_kept_within_its_limits():
    study = simulate(**SHORT, n_dyads=2, n_sessions=4, coupling=0.3, growth=0.2, shared_stimulus=0.2)
    np.testing.assert_allclose(study.mean_coupling, [[0.3, 0.5, 0.7, 0.8]] * 2)
    falling = simulate(**SHORT, n_dyads=1, n_sessions=4, coupling=0.3, growth=-0.2)
    np.testing.assert_allclose(falling.mean_coupling, [[0.3, 0.1, 0.0, 0.0]])
    np.testing.assert_allclose(falling.growth, -0.2)


def test_growth_is_heard_in_the_signals():
    study = simulate(**LONG | {"n_dyads": 2, "n_channels": 2}, n_sessions=2, coupling=0.2, growth=0.5, seed=14)
    for session, coupling in enumerate([0.2, 0.7]):
        frequency, c = coherency(study.hbo[:, session, 0], study.hbo[:, session, 1], study.sfreq)
        # 2 dyads x 2 channels x 120 segments: standard error at most 1/sqrt(480) = 0.046
        assert abs(c[..., inner_band(frequency)].mean() - coupling) < 0.1


def test_growth_is_added_only_where_an_epoch_is_coupled():
    epochs = [("rest", 0.0, 200.0), ("talk", 200.0, 400.0)]
    words = SHORT | {"duration": 400.0}
    study = simulate(**words, n_dyads=1, n_sessions=3, coupling={"talk": 0.4}, growth=0.1, epochs=epochs)
    whole = simulate(**words, n_dyads=1, n_sessions=3, coupling={"talk": 0.6}, epochs=epochs)
    np.testing.assert_allclose(study.mean_coupling[:, 2], whole.mean_coupling[:, 2])


def test_the_truth_does_not_depend_on_what_comes_after():
    words = {**SHORT, "growth": Growth(0.05, 0.1, 0.1, 0.1, 0.5), "missing": 0.2, "shortest": 0.5, "motion": 6.0}
    small = simulate(**words, n_dyads=2, n_sessions=3, seed=5)
    large = simulate(**words, n_dyads=4, n_sessions=5, seed=5)
    both = (small.n_samples > 0) & (large.n_samples[:2, :3] > 0)
    assert both.sum() >= 4
    np.testing.assert_array_equal(small.mean_coupling[both], large.mean_coupling[:2, :3][both])
    np.testing.assert_array_equal(small.growth, large.growth[:2])
    np.testing.assert_array_equal(small.hbo[both], large.hbo[:2, :3][both])


def test_dyads_sessions_and_therapists_differ_as_much_as_was_said():
    growth = Growth(mean=0.01, sd=0.02, level_sd=0.05, session_sd=0.03, session_ar=0.6)
    normals = random_normals(np.random.default_rng(0), 4000, 6, 3)
    found = courses_of(growth, normals)
    slope = np.polyfit(np.arange(6), found.line.T, 1)[0]
    np.testing.assert_allclose(slope, found.growth, atol=1e-12)
    # standard errors of 4000 dyads: 0.02 / sqrt(4000), and 1.1 % of a standard deviation
    assert abs(found.growth.mean() - 0.01) < 4 * 0.02 / np.sqrt(4000)
    np.testing.assert_allclose(found.growth.std(), 0.02, rtol=0.05)
    np.testing.assert_allclose(found.line[:, 0].std(), 0.05, rtol=0.05)
    np.testing.assert_allclose(found.deviation.std(axis=0), 0.03, rtol=0.05)
    lag2 = np.mean([np.corrcoef(found.deviation[:, s], found.deviation[:, s + 2])[0, 1] for s in range(4)])
    assert abs(lag2 - 0.36) < 0.05
    therapists = np.arange(4000) % 3
    shared = courses_of(Growth(therapist_sd=0.1, therapist_growth_sd=0.2), normals, therapists)
    for number, (level, change) in enumerate(normals.therapists):
        clients = shared.values[therapists == number]
        np.testing.assert_allclose(clients - (0.1 * level + 0.2 * change * np.arange(6)), 0.0, atol=1e-12)


def random_normals(random, n_dyads, n_sessions, n_therapists=0):
    """Normal numbers of one study from one stream."""
    return Normals(
        random.standard_normal((n_dyads, 2)),
        random.standard_normal((n_dyads, n_sessions)),
        random.standard_normal((n_therapists, 2)),
        lambda _: random.standard_normal((n_dyads, 1 + n_sessions)),
    )


def test_outcomes_go_with_the_truth_as_much_as_was_said():
    n, growth = 5000, Growth(mean=0.03, sd=0.02, level_sd=0.05, session_sd=0.03)
    normals = random_normals(np.random.default_rng(1), n, 4)
    courses = courses_of(growth, normals)
    ties = {"age": ("level", 0.5), "symptoms": ("age", -0.7), "gain": ("growth", 0.6), "mood": ("session", 0.4)}
    ties |= {"luck": None, "spirits": ("mood", 0.5)}
    made = outcomes_of(ties, growth, courses, normals.outcomes)

    def correlation(a, b):
        return np.corrcoef(a.ravel(), b.ravel())[0, 1]

    level = courses.line.mean(axis=1)
    # standard error of a correlation over 5000 dyads: at most 0.014
    assert abs(correlation(made["age"][:, 0], level) - 0.5) < 0.05
    assert abs(correlation(made["symptoms"][:, 0], level) + 0.35) < 0.05
    assert abs(correlation(made["gain"][:, 0], courses.growth) - 0.6) < 0.05
    assert abs(correlation(made["mood"], courses.deviation) - 0.4) < 0.05
    assert abs(correlation(made["spirits"], courses.deviation) - 0.2) < 0.05
    for truth in (level, courses.growth):
        assert abs(correlation(made["luck"][:, 0], truth)) < 0.05
    for name, values in made.items():
        assert values.shape == (n, 4)
        assert abs(values[:, 0].mean()) < 0.06, name
        assert values[:, 0].std() == pytest.approx(1.0, abs=0.05), name
        assert (np.ptp(values, axis=1) == 0).all() == (name not in ("mood", "spirits"))


def test_so_many_sessions_are_missing_and_every_dyad_keeps_one():
    uniforms = np.random.default_rng(2).random((3000, 4))
    there = attended(uniforms, 0.3)
    # 12 000 sessions: standard error 0.004; of those missing 0.3^4 / 4 in 1 were given back
    assert abs(there.mean() - (0.7 + 0.3**4 / 4)) < 0.02
    assert attended(uniforms, 1.0).sum(axis=1).tolist() == [1] * 3000
    assert attended(uniforms, 0.0).all()


def test_missing_sessions_and_short_recordings_are_nan_in_arrays_and_absent_in_a_file(tmp_path):
    words = {**SHORT, "n_dyads": 4, "n_sessions": 3, "missing": 0.4, "shortest": 0.4, "seed": 2}
    arrays, study = simulate(**words), simulate(tmp_path / "s.h5", **words)
    assert 4 <= (arrays.n_samples > 0).sum() < 12
    assert len(np.unique(arrays.n_samples)) > 4
    assert ((arrays.n_samples == 0) | ((arrays.n_samples >= 24) & (arrays.n_samples <= 60))).all()
    np.testing.assert_array_equal(np.isfinite(arrays.hbo[:, :, 1, 0]).sum(axis=-1), arrays.n_samples)
    np.testing.assert_array_equal(np.isnan(arrays.mean_coupling), arrays.n_samples == 0)
    at = [(int(row.dyad[1:]) - 1, int(row.session) - 1) for row in study.dyads]
    assert sorted(map(list, at)) == np.argwhere(arrays.n_samples > 0).tolist()
    for row, (dyad, session) in zip(study.dyads, at, strict=True):
        n = arrays.n_samples[dyad, session]
        assert row.recording_a.n_samples == row.recording_b.n_samples == n
        np.testing.assert_array_equal(study.signals(row.recording_b, "hbo"), arrays.hbo[dyad, session, 1, :, :n])


def test_sessions_may_differ_in_length():
    study = simulate(**SHORT | {"duration": [30.0, 60.0]}, n_dyads=1, n_sessions=2)
    assert study.n_samples.tolist() == [[60, 120]]


def test_motion_adds_spikes_and_steps_to_all_channels_of_a_person_at_once():
    words = {"n_dyads": 2, "n_channels": 3, "duration": 600.0, "sfreq": 5.0, "coupled_band": BAND, "seed": 3}
    still, moved = simulate(**words), simulate(**words, motion=2.0)
    added = (moved.hbo - still.hbo)[:, 0] / 1e-7
    np.testing.assert_allclose((moved.hbr - still.hbr)[:, 0] / 1e-7, added, atol=1e-5)
    jumps = np.abs(np.diff(added)) > 1e-4
    assert (jumps.any(axis=-1)).all()
    for dyad, person in np.ndindex(2, 2):
        where = jumps[dyad, person]
        # An artefact of size near 0 may stay under the bar in a single channel.
        assert (where.sum(axis=0)[where.any(axis=0)] >= 2).mean() > 0.9
    # 20 artefacts are expected of each person, half of them steps that stay: the mean over the last minute moves.
    assert np.abs(added[..., -300:].mean(axis=-1)).max() > 1.0
    assert np.abs(added).max() < 10 * 20


def test_therapists_are_one_person_for_all_their_clients(tmp_path):
    study = simulate(tmp_path / "s.h5", **SHORT, n_dyads=6, n_sessions=2, therapists=2, groups=("x", "y"))
    met = {row.dyad: row.person_b for row in study.dyads}
    assert met == {"d01": "t01", "d02": "t01", "d03": "t02", "d04": "t02", "d05": "t01", "d06": "t01"}
    assert {(row.role_a, row.role_b) for row in study.dyads} == {("client", "therapist")}
    assert study.participants["t01"] == {"role": "therapist", "group": ""}
    ids = [recording.id for recording in study.recordings]
    assert len(ids) == len(set(ids)) == 24
    assert "t01_d02_s1" in ids


def test_clients_meet_another_stranger_in_each_probe_session(tmp_path):
    words = {**SHORT, "n_dyads": 3, "n_sessions": 3, "coupling": 0.2, "therapists": 1, "strangers": (0, 1, 3, 4)}
    study = simulate(tmp_path / "s.h5", **words, growth=0.2, transfer=0.5, outcomes={"mood": None})
    probes = [row for row in study.dyads if row.role_b == "stranger"]
    assert {row.task for row in study.dyads if row.role_b == "therapist"} == {"therapist"}
    assert [(row.dyad, row.session, row.person_a, row.person_b, row.task) for row in probes[:3]] == [
        ("d01x0", "0", "p01a", "p01x0", "stranger"),
        ("d01x1", "1", "p01a", "p01x1", "stranger"),
        ("d01x3", "3", "p01a", "p01x3", "stranger"),
    ]
    assert len({row.person_b for row in probes}) == 12
    # half of the gain of 0.4 carries over
    for row in probes:
        assert row.outcomes["simulated_coupling"] == pytest.approx(
            {"0": 0.2, "1": 0.2, "3": 0.4, "4": 0.4}[row.session]
        )
        assert np.isnan(row.outcomes["mood"])
    ids = [recording.id for recording in study.recordings]
    assert len(ids) == len(set(ids)) == 3 * 3 * 2 + 3 * 4 * 2
    trained = simulate(tmp_path / "t.h5", **words | {"strangers": ()}, growth=0.2)
    same = {row.recording_a.id: study.signals(row.recording_a, "hbo") for row in study.dyads}
    np.testing.assert_array_equal(trained.signals(trained.dyads[1].recording_a, "hbo"), same["p01a_s2"])
    assert not np.array_equal(same["p01a_s1"], same["p01a_stranger_s1"])


def test_a_stranger_is_coupled_as_much_as_was_simulated(tmp_path):
    words = LONG | {"n_dyads": 2, "n_channels": 2}
    study = simulate(tmp_path / "s.h5", **words, n_sessions=2, coupling=0.1, growth=0.7, strangers=(2,), transfer=1.0)
    for row in study.dyads:
        a, b = (study.signals(recording, "hbo") for recording in (row.recording_a, row.recording_b))
        frequency, c = coherency(a, b, study.dyads[0].recording_a.sfreq)
        # 2 channels x 120 segments: standard error at most 1/sqrt(240) = 0.065
        assert abs(c[..., inner_band(frequency)].mean() - row.outcomes["simulated_coupling"]) < 0.2


def test_outcomes_and_truth_are_in_the_study_file(tmp_path):
    words = {**SHORT, "n_dyads": 3, "n_sessions": 2, "growth": Growth(0.1, 0.05, 0.1), "seed": 8}
    words["outcomes"] = {"gain": ("growth", 0.9), "mood": ("gain", 0.5)}
    arrays, study = simulate(**words), simulate(tmp_path / "s.h5", **words)
    for row in study.dyads:
        dyad, session = int(row.dyad[1:]) - 1, int(row.session) - 1
        expected = {name: values[dyad, session] for name, values in arrays.outcomes.items()}
        expected |= {"simulated_coupling": arrays.mean_coupling[dyad, session], "simulated_growth": arrays.growth[dyad]}
        assert row.outcomes == pytest.approx(expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"growth": Growth}, "Growth: mean = .* must be a number"),
        ({"duration": [10.0, 20.0, 30.0]}, "duration has 3 values for 1 sessions"),
        ({"outcomes": {"gain": ("growth", 0.5)}}, "outcome 'gain' is tied to growth, which is the same everywhere"),
        ({"outcomes": {"gain": ("grwth", 0.5)}}, "outcome 'gain' is tied to 'grwth'; tie it to one of 'level'"),
        ({"outcomes": {"gain": ("later", 0.5), "later": None}}, "or name that outcome before"),
        ({"outcomes": {"gain": "growth"}}, "outcome 'gain' = 'growth' must be"),
        ({"outcomes": {"session": None}}, "outcome 'session' has a name that is taken"),
        ({"outcomes": {"simulated_coupling": None}}, "has a name that is taken"),
        ({"outcomes": {"a": None, "b": ("a", 1.5)}}, "outcome 'b': correlation 1.5 must lie between -1 and 1"),
        ({"therapists": -1}, "therapists = -1 must be a whole number of at least 0"),
        ({"strangers": (1,)}, "strangers come in a study file only"),
        ({"strangers": (3,)}, "strangers has session 3; give numbers from 0 .before. to 2 .after."),
        ({"strangers": (1, 1)}, "names a session twice"),
        ({"transfer": float("nan")}, "transfer = nan must be a number"),
        ({"missing": 1.5}, "missing = 1.5 must lie between 0 and 1"),
        ({"shortest": 0.0}, "shortest = 0.0 must lie above 0"),
        ({"shortest": 0.001}, "at least 16 are needed"),
        ({"shortest": 0.5, "epochs": [("talk", 100.0, 200.0)]}, "epoch 'talk', 100 to 200 s, .* the 150 s recording"),
        ({"motion": -2.0}, "motion = -2.0 artefacts per minute must be at least 0"),
    ],
)
def test_a_word_about_sessions_that_is_out_of_range_is_refused_in_one_line(arguments, message):
    with pytest.raises(PlanError, match=message) as caught:
        simulate(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sd": -0.1}, "Growth: sd = -0.1 must be at least 0"),
        ({"therapist_growth_sd": -1}, "Growth: therapist_growth_sd = -1 must be at least 0"),
        ({"session_ar": 1.0}, "Growth: session_ar = 1.0 must lie between -1 and 1"),
        ({"mean": "0.1"}, "Growth: mean = '0.1' must be a number"),
        ({"level_sd": float("inf")}, "Growth: level_sd = inf must be a number"),
    ],
)
def test_a_growth_that_cannot_be_is_refused(arguments, message):
    with pytest.raises(PlanError, match=message):
        Growth(**arguments)
