"""Short channels, positions of optodes and auxiliary signals: from files into the study and back."""

import re
from dataclasses import replace

import h5py
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from refusals import refusal
from snirf_writer import Person, write_snirf

from ibsync.errors import InputError
from ibsync.recordings.contents import as_fixed_text, write_digests
from ibsync.recordings.pack import pack
from ibsync.recordings.recording import DyadRow, Recording
from ibsync.recordings.study_file import StudyFile, write_study
from ibsync.recordings.study_file_writing import SINCE_2_1, is_signal

N, SFREQ = 600, 10.0
DYADS = "dyad\tperson_a\tperson_b\nd\tann\tbob\n"
SOURCES, DETECTOR = [[0.0, 0.0, 0.0], [22.0, 0.0, 0.0]], [[30.0, 0.0, 0.0]]


def snirf(path, seed=0, *, aux=(), dimensions=3):
    """A file with one long channel, one of 8 mm, and auxiliary signals (name, samples, rate, offset)."""
    write_snirf(path, Person(seed=seed, n_samples=N, sfreq=SFREQ))
    with h5py.File(path, "a") as file:
        for side, places in (("source", SOURCES), ("detector", DETECTOR)):
            file[f"nirs/probe/{side}Pos{dimensions}D"] = np.array(places)[:, :dimensions]
        for k, (name, samples, rate, offset) in enumerate(aux, 1):
            file[f"nirs/aux{k}/name"] = np.array(name, h5py.string_dtype())
            file[f"nirs/aux{k}/dataTimeSeries"] = samples
            file[f"nirs/aux{k}/time"] = np.arange(len(samples)) / rate
            if offset:
                file[f"nirs/aux{k}/timeOffset"] = offset
    return path


def packed(tmp_path, *, aux=(), **words):
    for k, name in enumerate(("ann", "bob")):
        snirf(tmp_path / "in" / f"{name}.snirf", k, aux=aux, **words)
    (tmp_path / "in" / "dyads.tsv").write_text(DYADS)
    pack(tmp_path / "in", tmp_path / "study.h5")
    return StudyFile.open(tmp_path / "study.h5")


@pytest.mark.parametrize("dimensions", [2, 3])
def test_positions_and_short_channels_are_stored(tmp_path, dimensions):
    study = packed(tmp_path, dimensions=dimensions)
    ann = study.recording("ann")
    assert ann.channels == ("S1_D1", "S2_D1")
    assert ann.short_channels == ("S2_D1",)
    assert_allclose(ann.distances_mm, [30.0, 8.0])
    z = 0.0 if dimensions == 3 else np.nan
    assert_array_equal(ann.optodes_mm, [[0, 0, z, 30, 0, z], [22, 0, z, 30, 0, z]])
    assert "short         S2_D1, in 2 of 2 recordings" in str(study)
    assert study.describe()["recordings"][0]["short_channels"] == ["S2_D1"]


def test_positions_of_another_unit_make_no_channel_short(tmp_path):
    global_scale = 1e-3
    for k, name in enumerate(("ann", "bob")):
        path = snirf(tmp_path / "in" / f"{name}.snirf", k)
        with h5py.File(path, "a") as file:
            for side in ("source", "detector"):
                file[f"nirs/probe/{side}Pos3D"][:] *= global_scale
    (tmp_path / "in" / "dyads.tsv").write_text(DYADS)
    report = pack(tmp_path / "in", tmp_path / "study.h5")
    assert "check the unit of length" in str(report)
    assert StudyFile.open(tmp_path / "study.h5").recording("ann").short == ()


def test_auxiliary_signals_of_the_same_times_are_stored_as_they_are(tmp_path):
    rate = 60 + np.random.default_rng(0).standard_normal(N)
    study = packed(tmp_path, aux=[("heart rate", rate, SFREQ, 0.0)])
    assert study.recording("bob").auxiliary == ("heart_rate",)
    assert_array_equal(study.auxiliary("bob"), rate[None].astype(np.float32))
    assert "auxiliary     heart_rate, in 2 of 2 recordings" in str(study)
    assert study.select(duration=30).recording("bob").n_samples == 300
    assert study.auxiliary(study.select(duration=30).recording("bob")).shape == (1, 300)


def test_faster_auxiliary_signals_are_filtered_before_they_are_resampled(tmp_path):
    times = np.arange(10 * N) / (10 * SFREQ)
    slow, fast = np.sin(2 * np.pi * 0.2 * times), np.sin(2 * np.pi * 9.8 * times)
    study = packed(tmp_path, aux=[("resp", slow + fast, 10 * SFREQ, 0.0)])
    expected = np.sin(2 * np.pi * 0.2 * np.arange(N) / SFREQ)
    assert_allclose(study.auxiliary("ann")[0, 50:-50], expected[50:-50], atol=0.01)


def test_auxiliary_signals_lie_on_the_clock_of_the_channels(tmp_path):
    times = np.arange(300) / 5.0
    study = packed(tmp_path, aux=[("resp", times, 5.0, 10.0)])
    expected = np.arange(N) / SFREQ - 10.0
    found = study.auxiliary("ann")[0]
    assert_allclose(found[102:], expected[102:], atol=1e-4)
    assert np.isnan(found[:98]).all()


def test_gaps_and_strange_auxiliary_signals(tmp_path):
    with_gap = np.arange(N) * 1.0
    with_gap[200:260] = np.nan
    aux = [("a", with_gap, SFREQ, 0.0), ("a", np.ones(N), SFREQ, 0.0), ("short", np.ones(1), SFREQ, 0.0)]
    study = packed(tmp_path, aux=aux)
    notes = str(pack(tmp_path / "in", tmp_path / "study.h5"))
    assert "auxiliary signals: ann, bob: a, a_" in notes
    assert re.search("not used: ann, bob: .*aux3.* is no single signal", notes)
    assert study.recording("ann").auxiliary == ("a", "a_")
    assert_array_equal(np.flatnonzero(np.isnan(study.auxiliary("ann")[0])), np.arange(200, 260))


# --- the study file ---------------------------------------------------------------------------------------------------


def written(path, **words):
    channels = ("S1_D1", "S2_D1")
    recordings = [
        Recording(person, person, "", "", "", SFREQ, 50, 0.0, channels, ("hbo",), (True, True), **words)
        for person in ("ann", "bob")
    ]
    row = DyadRow("d", "", "", *recordings, "ann", "bob")
    signals = {"hbo": np.random.default_rng(0).standard_normal((2, 50)).astype(np.float32)}
    if words.get("auxiliary"):
        signals["auxiliary"] = np.random.default_rng(1).standard_normal((len(words["auxiliary"]), 50), np.float32)
    write_study(path, [(recording, signals) for recording in recordings], {}, [row])
    return StudyFile.open(path), recordings, signals


def test_what_is_written_is_read(tmp_path):
    words = {"short": (False, True), "auxiliary": ("ecg", "resp"), "optodes_mm": ((0.0,) * 6, (1.0,) * 6)}
    study, recordings, signals = written(tmp_path / "s.h5", **words)
    assert [replace(r, montage="") for r in study.recordings] == recordings
    assert_array_equal(study.auxiliary("bob"), signals["auxiliary"])


@pytest.mark.parametrize("place", ["recordings/block1/auxiliary", "index/channel_short", "index/optode_position"])
def test_a_change_is_noticed(tmp_path, place):
    words = {"short": (False, True), "auxiliary": ("ecg",), "optodes_mm": ((0.0,) * 6, (1.0,) * 6)}
    written(tmp_path / "s.h5", **words)
    with h5py.File(tmp_path / "s.h5", "a") as file:
        values = file[place][:]
        values.reshape(-1)[0] += 1
        file[place][:] = values
    refusal(InputError, lambda: StudyFile.open(tmp_path / "s.h5").auxiliary("ann"), "changed after ibsync wrote it")
    accepted = StudyFile.open(tmp_path / "s.h5", accept_changes=True)
    assert accepted.accepted_changes
    assert accepted.auxiliary("ann").shape == (1, 50)


def test_a_study_of_format_2_0_is_read_without_them(tmp_path):
    written(tmp_path / "s.h5")
    with h5py.File(tmp_path / "s.h5", "a") as file:
        for column in (*SINCE_2_1, "coordinate"):
            del file["index"][column]
        file.attrs["ibsync_format_version"] = as_fixed_text("2.0")
        write_digests(file, tmp_path / "s.h5", is_signal)
    study = StudyFile.open(tmp_path / "s.h5")
    assert study.recording("ann").short_flags == (False, False)
    assert study.auxiliary("ann").shape == (0, 50)
    assert "short         unknown: packed by an older ibsync" in str(study)


@pytest.mark.parametrize("name", ["S1_D1", "two words", ""])
def test_names_that_would_not_be_told_apart_are_refused(tmp_path, name):
    refusal(InputError, lambda: written(tmp_path / "s.h5", auxiliary=(name,)), "need names without spaces")
