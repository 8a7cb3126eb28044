"""MNE, MATLAB and CSV recordings pack like SNIRF; what they lack is named."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from refusals import refusal
from scipy.io import savemat
from test_pack import packed, refused, write_table

import ibsync as ibs
from ibsync.commands.cli import main
from ibsync.errors import InputError
from ibsync.recordings.find_files import find_sources
from ibsync.recordings.formats import csv_table
from ibsync.recordings.formats.source_recording import SignalChoice
from ibsync.recordings.formats.table import FORMATS, Format, read_recordings
from ibsync.recordings.study_file import StudyFile

SHARED = Path(__file__).parents[3] / "shared" / "data"
TIMES = np.arange(100) / 8
VALUES = np.random.default_rng(0).standard_normal((2, 100, 3))


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "in").mkdir()
    write_table(tmp_path / "in" / "dyads.tsv", "dyad person_a person_b", "d ann bob")
    return tmp_path / "in"


@pytest.fixture
def output(tmp_path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "study.h5"


def write_csv(path: Path, header: str, columns: list[np.ndarray], missing: str = "") -> None:
    rows = [",".join(missing if np.isnan(v) else repr(float(v)) for v in row) for row in zip(*columns, strict=True)]
    path.write_text("\n".join([header, *rows]), encoding="utf-8-sig")


def test_csv_recordings(folder, output):
    first = VALUES[0].copy()
    first[4, 1] = np.nan
    for name, x in (("ann", first), ("bob", VALUES[1])):
        write_csv(folder / f"{name}.csv", "time,S1_D1 hbo,S2_D1 HbO,S1_D1_hbr,marker", [TIMES, *x.T, TIMES])
    study, notes = packed(folder, output)
    recording = study.recording("ann")
    assert (recording.sfreq, recording.channels, recording.signal_names) == (8.0, ("S1_D1", "S2_D1"), ("hbo", "hbr"))
    assert_array_equal(study.signals("ann", "hbo"), first[:, :2].T.astype(np.float32))
    assert_array_equal(study.signals("bob", "hbr")[0], VALUES[1][:, 2].astype(np.float32))
    assert recording.bad_channels == ("S2_D1",)
    assert "not used: ann: the column marker" in notes


def test_csv_that_is_wrong(folder, output):
    for name in ("ann", "bob"):
        write_csv(folder / f"{name}.csv", "time,S1_D1 hbo", [TIMES, VALUES[0][:, 0]])
    cases = (
        ("t,S1_D1 hbo\n0,1\n1,2", "column time", "missing"),
        ("time,S1_D1 hbo\n0,1\n1,low", "S1_D1 hbo holds text", "empty"),
        ("time,left\n0,1\n1,2", "no column is named like", "rename", "--signal hbo"),
        ("time,S1_D1 hbo\n0,1", "has 1 samples", "export"),
        ("time,S1_D1 hbo\n1,1\n0,2", "does not increase", "export"),
        ("", "cannot be read as a table", "CSV"),
    )
    for text, *words in cases:
        (folder / "ann.csv").write_text(text)
        refused(folder, output, "ann.csv", *words)


def test_mat_recordings(folder, output):
    names = np.array(["S1_D1", "S1_D2", "S2_D2"], object)
    for name, x in (("ann", VALUES[0]), ("bob", VALUES[1])):
        content = {"hbo": x, "hbr": -x, "sfreq": 8.0, "channels": names, "good": [1, 0, 1], "unit": "uM"}
        savemat(folder / f"{name}.mat", content)
    study, _ = packed(folder, output)
    recording = study.recording("bob")
    assert (recording.sfreq, recording.units, recording.bad_channels) == (8.0, "uM", ("S1_D2",))
    assert recording.channels == tuple(names)
    assert_array_equal(study.signals("bob", "hbr"), -VALUES[1].T.astype(np.float32))


def test_the_rate_of_mat_recordings_has_other_names_too(folder, output):
    for name, rate in (("ann", "Fs"), ("bob", "srate")):
        savemat(folder / f"{name}.mat", {"eeg": VALUES[0], rate: 8.0, "other": 1.0})
    study, report = packed(folder, output)
    assert {recording.sfreq for recording in study.recordings} == {8.0}
    assert "srate" not in str(report)
    assert "the variable other" in str(report)


def test_one_of_several_rates_of_mat_recordings_has_to_be_right(folder, output):
    savemat(folder / "bob.mat", {"hbo": VALUES[0], "sfreq": np.empty((0, 0)), "fs": 8.0, "srate": 8.0})
    savemat(folder / "ann.mat", {"hbo": VALUES[0], "fs": 8.0, "srate": 10.0})
    refused(folder, output, "ann.mat", "fs is 8 Hz, srate is 10 Hz", "keep the one that is right")
    savemat(folder / "ann.mat", {"hbo": VALUES[0], "fs": np.float32(10.1725), "srate": [[10.1725, 10.1725]]})
    savemat(folder / "bob.mat", {"hbo": VALUES[0], "sfreq": 10.1725, "fs": "10 Hz"})
    study, _ = packed(folder, output)
    assert [recording.sfreq for recording in study.recordings] == pytest.approx([10.1725] * 2)
    output.unlink()
    savemat(folder / "bob.mat", {"hbo": VALUES[0], "fs": 8.0})
    savemat(folder / "ann.mat", {"hbo": VALUES[0], "fs": 0.0})
    refused(folder, output, "ann.mat", "a positive fs (Hz)")
    savemat(folder / "ann.mat", {"hbo": VALUES[0], "fs": 50.0, "time": TIMES})
    study, report = packed(folder, output)
    assert {recording.sfreq for recording in study.recordings} == {8.0}
    assert "the variable fs" in str(report)


def test_mat_recordings_with_times_and_without_names(folder, output):
    for name in ("ann", "bob"):
        savemat(folder / f"{name}.mat", {"eeg": VALUES[0], "time": TIMES})
    study, _ = packed(folder, output)
    assert (study.recordings[0].sfreq, study.recordings[0].channels) == (8.0, ("ch1", "ch2", "ch3"))


def test_mat_that_is_wrong(folder, output):
    savemat(folder / "bob.mat", {"hbo": VALUES[0], "sfreq": 8.0})
    cases = (
        ({"x": 1.0}, "none of hbo", "(x)", "--signal hbo=NAME", "[time, channel]"),
        ({"hbo": VALUES[0].T, "sfreq": 8.0}, "more channels than samples", "[time, channel]"),
        ({"hbo": VALUES[0]}, "neither time (s) nor a positive sfreq", "add one", "--sfreq HZ"),
        ({"hbo": VALUES[0], "hbr": VALUES[0][:, :2], "sfreq": 8.0}, "differ in size"),
        ({"hbo": VALUES[0], "time": TIMES[:5]}, "5 values for 100 samples"),
        ({"hbo": VALUES[0], "sfreq": 8.0, "channels": np.array(["a", "a", "b"], object)}, "2 names for 3 channels"),
    )
    for content, *words in cases:
        savemat(folder / "ann.mat", content)
        refused(folder, output, "ann.mat", *words)
    (folder / "ann.mat").write_bytes(b"MATLAB 5.0 but not really")
    refused(folder, output, "ann.mat", "not a MATLAB file, or damaged")


def test_mat_recordings_that_call_their_signals_otherwise(folder, output):
    for name, x in (("ann", VALUES[0]), ("bob", VALUES[1])):
        savemat(folder / f"{name}.mat", {"oxyData": x, "dxyData": -x, "mine": 2 * x})
    asked = {"oxyData": ("hbo", 1), "hbr=mine": ("hbr", 2), "hbo=mine": ("hbo", 2)}
    for text, (signal, factor) in asked.items():
        ibs.pack(folder, output, signal=text, sfreq=8.333)
        recording = StudyFile.open(output).recording("bob")
        assert (recording.sfreq, recording.signal_names) == (8.333, (signal,))
        assert_array_equal(StudyFile.open(output).signals("bob", signal), factor * VALUES[1].T.astype(np.float32))
    ibs.pack(folder, output, signal={"hbt": "mine"}, sfreq=8)
    assert StudyFile.open(output).recordings[0].signal_names == ("hbt",)
    assert main(["pack", str(folder), "-o", str(output), "--signal", "oxyData", "hbt=mine", "--sfreq", "8.333"]) == 0
    assert StudyFile.open(output).recordings[0].signal_names == ("hbo", "hbt")
    for words, parts in (
        (
            {"signal": "hbo=yours", "sfreq": 8},
            ("no yours is in the file", "oxyData, dxyData, mine", "--signal hbo=NAME"),
        ),
        ({"signal": "heart=mine", "sfreq": 8}, ("signal 'heart' is unknown", "write one of hbo")),
    ):
        refusal(InputError, lambda words=words: ibs.pack(folder, output, **words), *parts)
    savemat(folder / "bob.mat", {"hbo": VALUES[0], "sfreq": 10.0})
    refusal(
        InputError, lambda: ibs.pack(folder, output, sfreq=8), "sfreq is 10 Hz in the file and 8 Hz as given", "leave"
    )


def test_a_structure_of_matlab_is_looked_into(folder, output):
    for name, x in (("ann", VALUES[0]), ("bob", VALUES[1])):
        savemat(folder / f"{name}.mat", {"nirs_data": {"oxyData": x, "dxyData": -x, "fs": 8.0}})
    ibs.pack(folder, output, sfreq=8.0)
    study = StudyFile.open(output)
    assert_array_equal(study.signals("bob", "hbr"), -VALUES[1].T.astype(np.float32))


def test_tables_that_call_their_signals_otherwise(folder, output):
    for name, x in (("ann", VALUES[0]), ("bob", VALUES[1])):
        write_csv(folder / f"{name}.csv", "S1_D1_concO,S1_D1_concR,note", [*x[:, :2].T, x[:, 2]])
    ibs.pack(folder, output, signal={"hbo": "concO", "hbr": "concR"}, sfreq=8.0)
    study = StudyFile.open(output)
    assert (study.recordings[0].sfreq, study.recordings[0].channels) == (8.0, ("S1_D1",))
    assert_allclose(study.signals("bob", "hbr")[0], VALUES[1][:, 1], rtol=1e-4, atol=1e-4)
    refusal(InputError, lambda: ibs.pack(folder, output), "ann.csv", "column time", "--sfreq HZ")
    for name in ("ann", "bob"):
        write_csv(folder / f"{name}.csv", "time,S1_D1,S2_D1", [TIMES, *VALUES[0][:, :2].T])
    ibs.pack(folder, output, signal="hbo")
    assert StudyFile.open(output).recordings[0].channels == ("S1_D1", "S2_D1")
    refusal(InputError, lambda: ibs.pack(folder, output, signal="hbo", sfreq=12.0), "8 samples a second, not 12")


def make_raw(mne, types: list[str], seed: int):
    names = [f"S{1 + k // 2}_D1 {kind}" if kind.startswith("hb") else "S1_D1 760" for k, kind in enumerate(types)]
    info = mne.create_info(names, 8.0, types)
    return mne.io.RawArray(1e-6 * np.random.default_rng(seed).standard_normal((len(types), 400)), info, verbose="error")


def test_fif_recordings(folder, output):
    mne = pytest.importorskip("mne")
    for seed, name in enumerate(("ann", "bob")):
        raw = make_raw(mne, ["hbo", "hbr", "hbo", "hbr"], seed)
        raw.info["bads"] = ["S1_D1 hbo"]
        raw.set_annotations(mne.Annotations([3.0, 12.0], [1.0, 2.0], ["early", "talk"]))
        raw.crop(10.0, verbose="error").save(folder / f"{name}_raw.fif", verbose="error")
    study, _ = packed(folder, output)
    recording = study.recording("bob")
    assert (recording.sfreq, recording.n_samples, recording.units) == (8.0, 320, "mol/L")
    assert recording.channels == ("S1_D1", "S2_D1")
    assert recording.bad_channels == ("S1_D1",)
    assert [(event.label, event.onset) for event in recording.events] == [("talk", 2.0)]
    expected = make_raw(mne, ["hbo", "hbr", "hbo", "hbr"], 1).get_data()[::2, 80:]
    assert_allclose(study.signals("bob", "hbo"), expected, rtol=1e-6)


def test_raw_light_and_damage_in_fif_are_refused(folder, output):
    mne = pytest.importorskip("mne")
    for name in ("ann", "bob"):
        make_raw(mne, ["fnirs_cw_amplitude"], 0).save(folder / f"{name}_raw.fif", verbose="error")
    refused(folder, output, "ann_raw.fif", "raw intensity", "optical_density")
    (folder / "ann_raw.fif").write_bytes(b"no fif")
    refused(folder, output, "ann_raw.fif", "MNE cannot read it")
    (folder / "ann_raw.fif").rename(folder / "ann-epo.fif")
    refused(folder, output, "ann-epo.fif", "MNE cannot read it")


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_fif_file_that_was_cut_short_is_refused(folder, output, share):
    mne = pytest.importorskip("mne")
    for seed, name in enumerate(("ann", "bob")):
        make_raw(mne, ["hbo", "hbr"], seed).save(folder / f"{name}_raw.fif", verbose="error")
    content = (folder / "ann_raw.fif").read_bytes()
    (folder / "ann_raw.fif").write_bytes(content[: int(share * len(content))])
    refused(folder, output, "ann_raw.fif", "is cut short or damaged at byte")


def test_a_csv_file_that_was_cut_short_is_refused(folder, output):
    for name in ("ann", "bob"):
        rows = "\n".join(f"{k / 10},{k % 7},{k % 5}" for k in range(300))
        (folder / f"{name}.csv").write_text(f"time,S1_D1 hbo,S1_D1 hbr\n{rows}\n")
    (folder / "ann.csv").write_text((folder / "ann.csv").read_text()[:-3])
    refused(folder, output, "ann.csv", "cut short, its last line has 2 cells, the header 3")


def test_fif_without_mne_says_how_to_get_it(folder, output, monkeypatch):
    (folder / "mne.py").write_text("raise ImportError")
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    (folder / "ann_raw.fif").write_bytes(b"")
    refused(folder, output, "ann_raw.fif", "pip install 'ibsync[mne]'")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared recordings are not here")
def test_real_fif_recording_as_a_pseudo_dyad(tmp_path, output):
    mne = pytest.importorskip("mne")
    path = SHARED / "processed_fif" / "sub-110_session-1_pre_hb_raw.fif"
    copy = tmp_path / "other_raw.fif"
    copy.write_bytes(path.read_bytes())
    table = write_table(tmp_path / "dyads.tsv", "dyad file_a file_b person_a person_b", f"d {path} {copy} a b")
    study, _ = packed([path, copy], output, dyads=table)
    raw = mne.io.read_raw_fif(path, verbose="error")
    assert [event.onset for event in study.recordings[0].events] == pytest.approx(list(raw.annotations.onset))
    expected = raw.get_data(picks=[f"{name} hbo" for name in study.recordings[0].channels])
    assert_allclose(study.signals(study.recordings[0], "hbo"), expected, rtol=1e-6)


def test_a_format_of_the_table_is_found_and_read(folder, monkeypatch):
    """One line in the table and one module are all that a format takes."""
    module = SimpleNamespace(read=csv_table.read)
    monkeypatch.setitem(sys.modules, "ibsync.recordings.formats.made_up", module)
    monkeypatch.setitem(FORMATS, ".tab", Format("made up", "made_up", 0))
    for name, x in (("ann", VALUES[0]), ("bob", VALUES[1])):
        write_csv(folder / f"{name}.tab", "time,S1_D1 hbo", [TIMES, x[:, 0]])
    ann = next(source for source in find_sources(folder).sources if source.path.stem == "ann")
    (recording,) = read_recordings(ann, SignalChoice())
    assert_allclose(recording.read()["hbo"][0], VALUES[0][:, 0], rtol=1e-13)  # pandas 2 parses to the last bit but one
