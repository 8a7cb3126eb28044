"""Recordings that were cut into trials: MNE's epochs in memory and in files, arrays, and trials that do not match."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal
from refusals import refusal

import ibsync as ibs
from ibsync.errors import InputError
from ibsync.recordings.objects import samples_of
from ibsync.recordings.study_file import StudyFile

SFREQ, TRIAL, N_TRIALS = 50.0, 100, 5
CHANNELS = ["Fz", "Cz", "Pz"]


def values(seed=0, n=N_TRIALS, n_samples=TRIAL):
    return 1e-5 * np.random.default_rng(seed).standard_normal((n, 3, n_samples))


def epochs_of(x, tmin=-0.5, annotations=None, ref=False):
    mne = pytest.importorskip("mne")
    info = mne.create_info(CHANNELS, SFREQ, "eeg")
    events = np.array([[1000 + 150 * k, 0, 1 + k % 2] for k in range(len(x))])
    made = mne.EpochsArray(x, info, events, tmin, {"rest": 1, "talk": 2}, verbose="error")
    if annotations is not None:
        made.set_annotations(annotations)
    return made


def stored(study, person):
    return next(r for r in study.recordings if r.participant == person)


@pytest.fixture
def folder(tmp_path):
    """Epochs of two people in files, of whom the second lost the second trial."""
    for name, seed in (("sub-01", 0), ("sub-02", 1)):
        made = epochs_of(values(seed))
        if name == "sub-02":
            made.drop([1], verbose="error")
        made.save(tmp_path / f"{name}_task-talk_epo.fif", verbose="error")
    (tmp_path / "dyads.tsv").write_text("dyad\tperson_a\tperson_b\nd1\tsub-01\tsub-02\n")
    return tmp_path


def test_files_of_epochs_are_packed_with_the_trials_that_both_kept(folder):
    refusal(
        InputError, lambda: ibs.pack(folder, folder / "s.h5"),
        "sub-01", "sub-02", "kept 5 and 4 trials, 4 of them the same", "crop=True (--crop)",
    )  # fmt: skip
    report = ibs.pack(folder, folder / "s.h5", crop=True)
    assert "4 of 5 trials are left" in str(report)
    study = StudyFile.open(folder / "s.h5")
    kept = [0, 2, 3, 4]
    for person, seed in (("sub-01", 0), ("sub-02", 1)):
        recording = stored(study, person)
        assert (recording.n_trials, recording.trial_samples, recording.task) == (4, TRIAL, "talk")
        assert [e.label for e in recording.events] == ["rest", "rest", "talk", "rest"]
        assert_allclose([(e.onset, e.duration) for e in recording.events], [(2.0 * k, 2.0) for k in range(4)])
        expected = values(seed)[kept].swapaxes(0, 1).reshape(3, -1)
        assert_allclose(study.signals(recording, "eeg"), expected, rtol=1e-5, atol=1e-12)
    assert study.describe()["recordings"][0]["n_trials"] == 4


def test_objects_and_arrays_give_the_same_study(tmp_path):
    made = {}
    for name, of in {
        "mne": epochs_of,
        "numpy": lambda x: x,
        "xarray": lambda x: xr.DataArray(
            x.swapaxes(0, 1), dims=("channel", "epoch", "time"), coords={"channel": CHANNELS}
        ),
    }.items():
        words = {} if name == "mne" else {"sfreq": SFREQ, "signal": "eeg"}
        ibs.pack({"p": of(values(0)), "q": of(values(1))}, tmp_path / f"{name}.h5", **words)
        study = StudyFile.open(tmp_path / f"{name}.h5")
        made[name] = study.signals(stored(study, "q"), "eeg")
        assert stored(study, "q").n_trials == N_TRIALS
    assert_array_equal(made["mne"], made["numpy"])
    assert_array_equal(made["xarray"], made["numpy"])


def test_epochs_are_read_from_raw_only_when_they_are_packed(tmp_path):
    mne = pytest.importorskip("mne")
    x = values(0).swapaxes(0, 1).reshape(3, -1)
    raw = mne.io.RawArray(x, mne.create_info(CHANNELS, SFREQ, "eeg"), verbose="error")
    made = mne.make_fixed_length_epochs(raw, 2.0, verbose="error")
    found = samples_of(made, "a")
    assert found.trials == tuple(range(N_TRIALS))
    assert_allclose(found.values, x)
    assert not made.preload


def test_bad_stretches_within_trials_are_missing():
    mne = pytest.importorskip("mne")
    marks = mne.Annotations([20.5 + 3.0, 23.0 + 2.0], [0.5, 5.0], ["BAD_blink", "note"])
    found = samples_of(epochs_of(values(), annotations=marks), "a")  # trials begin at 19.5, 22.5, 25.5 s, ...
    missing = np.zeros(N_TRIALS * TRIAL, bool)
    missing[TRIAL + 50 : TRIAL + 75] = True
    assert_array_equal(np.isnan(found.values), np.broadcast_to(missing, found.values.shape))


def test_a_reference_that_is_flat_is_bad_and_named(tmp_path):
    x = values()
    x[:, 1] = 0.0
    report = ibs.pack({"p": epochs_of(x), "q": epochs_of(values(1))}, tmp_path / "s.h5")
    assert "Cz" in str(report)
    assert "constant" in str(report)
    assert stored(StudyFile.open(tmp_path / "s.h5"), "p").bad_channels == ("Cz",)


def test_trials_that_do_not_match_are_refused_with_the_fix(tmp_path):
    def pack(a, b, **words):
        return lambda: ibs.pack({"p": a, "q": b}, tmp_path / "s.h5", **words)

    of = epochs_of(values())
    refusal(InputError, pack(of, epochs_of(values(1), tmin=0.0)), "from -0.5 s on", "from 0 s on", "same trials")
    refusal(InputError, pack(of, epochs_of(values(1, n_samples=90))), "trials of 2 s", "trials of 1.8 s")
    refusal(InputError, pack(of, epochs_of(values(1)), resample=25.0), "not resampled", "before they are cut")
    none = epochs_of(values(1))[3:]
    refusal(InputError, pack(of[:2], none, crop=True), "no trial in common", "same events")
    words = {"sfreq": SFREQ, "signal": "eeg"}
    refusal(InputError, pack(values(), values(1, 4), **words), "5 trials", "4 trials", "nothing says which")
    whole = values().swapaxes(0, 1).reshape(3, -1)
    refusal(InputError, pack(values(), whole, **words), "has 5 trials of 2 s", "is continuous")
    refusal(InputError, lambda: ibs.wtc(of, of[1:], bands={"b": (2, 4)}), "a has 5 trials", "a.selection")
    ragged = [x[:, : 90 + k] for k, x in enumerate(values())]
    refusal(InputError, lambda: ibs.wtc(ragged, ragged, SFREQ, bands={"b": (2, 4)}), "a must be real numbers")


def test_trials_are_paired_by_number_and_checked_by_time(tmp_path):
    def pack(a, b, **words):
        return ibs.pack({"p": a, "q": b}, tmp_path / "s.h5", signal="eeg", **words)

    of, backwards = epochs_of(values()), epochs_of(values(1))[::-1]
    refusal(InputError, lambda: pack(of, backwards), "same 5 trials in another order", "crop=True")
    refusal(InputError, lambda: pack(of, epochs_of(values(1))[[0, 1, 1]]), "q has trial 1 twice")
    late = epochs_of(values(1))
    late.events[3:, 0] += 50  # one event more than the partner's came before
    refusal(InputError, lambda: pack(of, late), "trial 3", "9.000 s", "10.000 s", "one table of events")
    pack(of, backwards, crop=True)
    study = ibs.Study.open(tmp_path / "s.h5")
    got = study.signals(stored(study, "q"), "eeg").reshape(3, N_TRIALS, TRIAL)
    assert_allclose(got, values(1).swapaxes(0, 1), rtol=1e-5)


def test_a_file_of_an_earlier_version_is_continuous(tmp_path):
    import h5py

    ibs.pack({"p": values()[0], "q": values(1)[0]}, tmp_path / "s.h5", sfreq=SFREQ, signal="eeg")
    with h5py.File(tmp_path / "s.h5", "a") as file:
        del file["index/trial_samples"]
    assert StudyFile.open(tmp_path / "s.h5", accept_changes=True).recordings[0].n_trials == 0


def test_a_number_of_samples_that_is_no_whole_number_of_trials_is_refused(tmp_path):
    import h5py

    ibs.pack({"p": values(), "q": values(1)}, tmp_path / "s.h5", sfreq=SFREQ, signal="eeg")
    with h5py.File(tmp_path / "s.h5", "a") as file:
        file["index/trial_samples"][:] = 33
    refusal(InputError, lambda: StudyFile.open(tmp_path / "s.h5", accept_changes=True), "pack")


def test_electrodes_keep_their_places_and_none_is_a_short_channel(tmp_path):
    mne = pytest.importorskip("mne")
    places = {"Fz": (0.0, 0.06, 0.08), "Cz": (0.0, 0.0, 0.1), "Pz": (0.01, -0.06, 0.08)}
    made = [epochs_of(values(seed)) for seed in (0, 1)]
    for epochs in made:
        epochs.set_montage(mne.channels.make_dig_montage(ch_pos=places, coord_frame="head"))
    study = ibs.Study.from_arrays({"p1": made[0], "p2": made[1]}, path=tmp_path / "s.h5")
    recording = stored(study, "p1")
    for channel, place in zip(recording.channels, recording.optodes_mm, strict=True):
        assert_allclose(place, np.tile(places[channel], 2) * 1000, atol=1e-3)
    assert not any(recording.short)
    assert set(json.loads(study.origin["positions_mm"])["a"]) == set(CHANNELS)
