"""A study file gives back what was written, opens in xarray, and never stands half-written or inconsistent."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_array_equal
from snirf_writer import Person, write_snirf

from ibsync.errors import InputError
from ibsync.recordings.contents import as_fixed_text, write_digests
from ibsync.recordings.study_file import DyadRow, Event, Recording, StudyFile, write_study
from ibsync.recordings.study_file_writing import is_signal

CHANNELS = ("S1_D1", "S1_D2", "S10_D3")
TALK = (Event(1.5, 20.0, "talk", 2.0), Event(30.0, 10.0, "talk"))


def make_recording(person: str, *, session: str = "1", n_samples: int = 120, **changes) -> Recording:
    recording = Recording(
        id=f"{person}_ses-{session}", participant=person, session=session, task="talk", run="", sfreq=7.8125,
        n_samples=n_samples, t0=0.25, channels=CHANNELS, signal_names=("hbo", "hbr"),
        good=(True, False, True), events=TALK,
        source_file=f"{person}.snirf", montage="cap", units="mol/L",
    )  # fmt: skip
    return replace(recording, **changes)


def make_signals(recording: Recording) -> dict[str, np.ndarray]:
    seed = int.from_bytes(hashlib.sha256(recording.id.encode()).digest()[:4])
    shape = (len(recording.channels), recording.n_samples)
    noise = np.random.default_rng(seed)
    return {signal: noise.standard_normal(shape).astype(np.float32) for signal in recording.signal_names}


def make_row(dyad: str, a: Recording, b: Recording, **changes) -> DyadRow:
    row = DyadRow(dyad, a.session, a.task, a, b, a.participant, b.participant, "therapist", "client", "treated")
    return replace(row, **changes)


@pytest.fixture
def parts():
    """A therapist with two clients, one of them in two sessions of another length."""
    first = [make_recording(person) for person in ("t", "c1")]
    second = [make_recording(person, session="2", n_samples=77) for person in ("t", "c1")]
    third = [make_recording(person, session="3") for person in ("t", "c2")]
    rows = [
        make_row("t-c1", *first, outcomes={"symptoms": 12.0}),
        make_row("t-c1", *second, outcomes={"symptoms": 8.0}),
        make_row("t-c2", *third, use=False),
    ]
    people = {"t": {"age": 50.0, "sex": "f"}, "c1": {"age": 30.0, "sex": "m"}, "c2": {"sex": "f"}}
    return [*first, *second, *third], people, rows


def write(path: Path, parts) -> Path:
    recordings, people, rows = parts
    write_study(path, ((recording, make_signals(recording)) for recording in recordings), people, rows)
    return path


@pytest.fixture
def path(tmp_path, parts):
    return write(tmp_path / "study.h5", parts)


def left_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def one_line(error: pytest.ExceptionInfo[InputError], *words: str) -> None:
    text = str(error.value)
    assert "\n" not in text
    for word in words:
        assert word in text


def test_what_was_written_is_read_back(path, parts):
    recordings, _, rows = parts
    study = StudyFile.open(path)
    # A value that is NaN does not equal itself; such events are compared by text.
    assert repr(study.recordings) == repr(tuple(recordings))
    assert study.recordings[0].bad_channels == ("S1_D2",)
    for recording in recordings:
        for signal, samples in make_signals(recording).items():
            assert_array_equal(study.signals(recording, signal), samples)
            assert_array_equal(study.signals(recording.id, signal), samples)
    assert [(r.dyad, r.session, r.role_a, r.use) for r in study.all_dyads] == [
        ("t-c1", "1", "therapist", True), ("t-c1", "2", "therapist", True), ("t-c2", "3", "therapist", False),
    ]  # fmt: skip
    assert [r.recording_b.id for r in study.dyads] == ["c1_ses-1", "c1_ses-2"]
    assert [r.outcomes["symptoms"] for r in study.dyads] == [r.outcomes["symptoms"] for r in rows[:2]]
    assert np.isnan(study.all_dyads[2].outcomes["symptoms"])


def test_participants_keep_numbers_and_text(path):
    people = StudyFile.open(path).participants
    assert people["t"] == {"age": 50.0, "sex": "f"}
    assert np.isnan(people["c2"]["age"])
    assert people["c2"]["sex"] == "f"


def test_each_recording_is_stored_once_without_small_datasets_of_its_own(path, parts):
    with h5py.File(path) as file:
        stored = sum(block["hbo"].shape[0] for block in file["recordings"].values())
        n_datasets = []
        file.visititems(lambda _, item: n_datasets.append(isinstance(item, h5py.Dataset)))
    assert stored == len(parts[0])
    more = [make_recording(f"p{k}") for k in range(40)]
    write(path, (more, {}, []))
    with h5py.File(path) as file:
        n_later = []
        file.visititems(lambda _, item: n_later.append(isinstance(item, h5py.Dataset)))
    assert sum(n_later) <= sum(n_datasets)


def test_every_group_opens_in_xarray_with_names_units_and_coordinates(path, parts):
    block = xr.open_dataset(path, engine="h5netcdf", group="recordings/block1")
    assert block.hbo.dims == ("recording", "channel", "time")
    assert block.hbo.attrs["units"] == "mol/L"
    assert block.time.attrs["units"] == "s"
    assert_array_equal(block.hbr.sel(recording="c1_ses-1"), make_signals(parts[0][1])["hbr"])
    assert list(block.channel.values) == list(CHANNELS)
    dyads = xr.open_dataset(path, engine="h5netcdf", group="dyads")
    assert list(dyads.outcome_symptoms.values[:2]) == [12.0, 8.0]
    index = xr.open_dataset(path, engine="h5netcdf", group="index")
    assert index.channel_good.dims == ("recording", "channel_number")
    for group in ("events", "participants", "montages/cap"):
        assert xr.open_dataset(path, engine="h5netcdf", group=group).sizes
    with xr.open_datatree(path, engine="h5netcdf") as tree:
        assert "/recordings/block2" in tree.groups


def test_a_study_without_events_and_dyads_opens_everywhere(tmp_path):
    path = write(tmp_path / "s.h5", ([make_recording("p", events=())], {}, []))
    study = StudyFile.open(path)
    assert (study.dyads, study.recordings[0].events) == ((), ())
    for group in ("events", "dyads"):
        assert not any(xr.open_dataset(path, engine="h5netcdf", group=group).sizes.values())
    assert "p" in str(study)


def test_missing_samples_are_kept_and_counted(tmp_path):
    recording = make_recording("p")
    signals = make_signals(recording)
    signals["hbo"][0, 5:9] = np.nan
    signals["hbr"][2, 8:10] = np.nan
    signals["hbr"][1] = np.nan  # a bad channel does not count
    write_study(tmp_path / "s.h5", [(recording, signals)], {}, [])
    study = StudyFile.open(tmp_path / "s.h5")
    assert study.recordings[0].n_missing == 5
    assert_array_equal(study.signals(recording, "hbo"), signals["hbo"])
    assert "0.6 s missing" in str(study)


def test_recordings_of_different_kinds_share_a_study(tmp_path):
    eeg = make_recording(
        "e", channels=("Fp1", "Fp2"), good=(True, True), signal_names=("eeg",), sfreq=500.0, montage=""
    )
    other = make_recording("f", channels=("S1_D1",), good=(True,), montage="", events=())
    write(tmp_path / "s.h5", ([eeg, other], {}, []))
    study = StudyFile.open(tmp_path / "s.h5")
    assert [r.channels for r in study.recordings] == [("Fp1", "Fp2"), ("S1_D1",)]
    assert_array_equal(study.signals("e_ses-1", "eeg"), make_signals(eeg)["eeg"])


def test_summary_and_description_name_what_matters(path):
    study = StudyFile.open(path)
    text = str(study)
    for word in (
        "study.h5",
        "3: t, c1, c2",
        "7.8125 Hz",
        "hbo, hbr",
        "symptoms",
        "S1_D2",
        "talk",
        "1 dyad rows are marked",
    ):
        assert word in text
    description = json.loads(json.dumps(study.describe(), allow_nan=False))
    assert description["dyads"][0]["outcomes"] == {"symptoms": 12.0}
    assert description["recordings"][2]["n_samples"] == 77


def test_one_study_gives_one_file_and_its_digest(tmp_path, parts):
    one, two = write(tmp_path / "a.h5", parts), write(tmp_path / "b.h5", parts)
    assert one.read_bytes() == two.read_bytes()
    study = StudyFile.open(one)
    assert study.sha256 == StudyFile.open(two).sha256
    assert repr(pickle.loads(pickle.dumps(study))) == repr(study)


def test_a_file_that_is_held_open_gives_the_same_signals_and_errors(path):
    study = StudyFile.open(path)
    with study.reading() as held:
        for recording in study.recordings:
            for signal in recording.signal_names:
                assert_array_equal(held.signals(recording, signal), study.signals(recording, signal))
        with pytest.raises(InputError, match="no recording"):
            held.signals("nobody")
    assert held == study


def test_unknown_recordings_and_signals_are_refused_by_name(path):
    study = StudyFile.open(path)
    with pytest.raises(InputError) as error:
        study.signals("t_ses-9")
    one_line(error, "study.h5", "'t_ses-9'", "t_ses-1")
    with pytest.raises(InputError) as error:
        study.signals("t_ses-1", "hbt")
    one_line(error, "study.h5", "t_ses-1", "'hbt'", "hbo, hbr")


A, B = make_recording("a"), make_recording("b")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([make_row("d", A, replace(B, n_samples=100))], ("'d'", "120", "100", "crop")),
        ([make_row("d", A, replace(B, sfreq=10.0))], ("'d'", "7.8125 Hz", "10 Hz", "resample")),
        ([make_row("d", A, replace(A, id="again"))], ("'d'", "a is both persons")),
        ([make_row("d", A, B), make_row("d", A, B)], ("'d'", "twice")),
        ([make_row("d", A, B, person_a="z")], ("'d'", "z and b do not own")),
        ([make_row("d", A, replace(B, signal_names=("eeg",)))], ("'d'", "share no signal")),
        ([make_row("d", A, make_recording("c"))], ("'d'", "'c_ses-1' was not given")),
    ],
)
def test_dyads_that_contradict_themselves_are_not_written(tmp_path, rows, words):
    with pytest.raises(InputError) as error:
        write(tmp_path / "s.h5", ([A, B], {}, rows))
    one_line(error, "s.h5", *words)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(
    ("recordings", "words"),
    [
        ([A, A], ("'a_ses-1'", "twice")),
        ([], ("no recording",)),
        ([replace(A, good=(True,))], ("'a_ses-1'", "good/bad")),
        ([replace(A, channels=("S1_D1", "S1_D1", "S2_D2"))], ("'a_ses-1'", "channel names must differ")),
        ([A, replace(B, channels=("S1_D1", "S9_D9", "S2_D2"))], ("b_ses-1", "'cap' stands for other channels")),
        ([replace(A, montage="a/b")], ("'a/b'", "rename")),
    ],
)
def test_recordings_that_contradict_themselves_are_not_written(tmp_path, recordings, words):
    with pytest.raises(InputError) as error:
        write(tmp_path / "s.h5", (recordings, {}, []))
    one_line(error, "s.h5", *words)
    assert left_in(tmp_path) == []


def test_signals_of_another_shape_or_name_are_not_written(tmp_path):
    for signals, word in (
        ({"hbo": np.zeros((3, 5))}, "do not match the names"),
        (make_signals(A) | {"hbr": np.zeros((3, 5))}, "(3, 5)"),
    ):
        with pytest.raises(InputError) as error:
            write_study(tmp_path / "s.h5", [(A, signals)], {}, [])
        one_line(error, "'a_ses-1'", word)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("fault", [KeyboardInterrupt, RuntimeError])
def test_interrupted_writing_leaves_the_older_study_and_nothing_else(path, parts, fault):
    before = path.read_bytes()

    def recordings():
        yield parts[0][0], make_signals(parts[0][0])
        raise fault

    with pytest.raises(fault):
        write_study(path, recordings(), {}, [])
    assert left_in(path.parent) == ["study.h5"]
    assert path.read_bytes() == before


def test_a_disk_that_is_too_small_is_refused_before_writing(tmp_path, parts, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1, 1, 1000))
    with pytest.raises(InputError) as error:
        write(tmp_path / "s.h5", parts)
    one_line(error, "s.h5", "1000 are free", "make room")
    assert left_in(tmp_path) == []


def test_output_paths_that_cannot_be_written(tmp_path, parts):
    (tmp_path / "notes.txt").write_text("mine")
    for output, word in (
        (tmp_path / "no" / "s.h5", "does not exist"),
        (tmp_path, "is a folder"),
        (tmp_path / "notes.txt", "not an ibsync study"),
    ):
        with pytest.raises(InputError) as error:
            write(output, parts)
        one_line(error, output.name, word)
    assert left_in(tmp_path) == ["notes.txt"]
    assert (tmp_path / "notes.txt").read_text() == "mine"


def change(path: Path, edit) -> None:
    """Edit a study, and give it the digests of what it holds then."""
    with h5py.File(path, "a") as file:
        edit(file)
        write_digests(file, path, is_signal)


def repoint(file):
    file["dyads/recording_b"][0] = 99


def negative(file):
    file["dyads/recording_b"][0] = -1


def other_length(file):
    file["dyads/recording_b"][0] = 3


def drop_table(file):
    del file["events"]


def drop_column(file):
    del file["index/block"]


def drop_signal(file):
    del file["recordings/block1/hbr"]


def rename_block(file):
    file["index/block"][0] = "block9"


def same_id(file):
    file["index/recording"][1] = file["index/recording"][0]


def other_samples(file):
    file["index/n_samples"][:] = 5


def newer(file):
    file.attrs["ibsync_format_version"] = as_fixed_text("3.0")


def older(file):
    file.attrs["ibsync_format_version"] = as_fixed_text("1.0")


def unversioned(file):
    del file.attrs["ibsync_format_version"]


def unmarked(file):
    del file.attrs["ibsync_format"]


def lost_montage(file):
    file["index/montage"][0] = "now"


def wrong_event(file):
    file["events/recording"][0] = 1000


@pytest.mark.parametrize(
    ("edit", "word"),
    [
        (repoint, "/dyads/recording_b is 99 in row 0, not 0 to"),
        (negative, "/dyads/recording_b is -1 in row 0, not 0 to"),
        (other_length, "120 samples"),
        (drop_table, "/events is missing"),
        (drop_column, "lacks block"),
        (drop_signal, "holds no hbr"),
        (rename_block, "recordings/block9 is missing"),
        (same_id, "twice"),
        (other_samples, "another shape"),
        (newer, "study format '3.0', this ibsync reads 2.2; update ibsync"),
        (older, "study format '1.0', this ibsync reads 2.2; pack the recordings again"),
        (unversioned, "study format '', this ibsync reads 2.2; pack the recordings again"),
        (unmarked, "not an ibsync study file"),
        (lost_montage, "/montages/now has no channel names"),
        (wrong_event, "/events/recording is 1000 in row 0"),
    ],
)
def test_a_study_that_was_tampered_with_is_refused(path, edit, word):
    change(path, edit)
    with pytest.raises(InputError) as error:
        StudyFile.open(path)
    one_line(error, "study.h5", word)


def test_other_files_are_refused_with_what_to_do(tmp_path, path):
    snirf = write_snirf(tmp_path / "x.snirf", Person())
    text = tmp_path / "x.txt"
    text.write_text("no")
    cut = tmp_path / "cut.h5"
    cut.write_bytes(path.read_bytes()[:5000])
    cases = (
        (snirf, "ibsync pack"),
        (text, "not an HDF5 file"),
        (cut, "truncated"),
        (tmp_path / "none.h5", "no such file"),
        (tmp_path, "folder"),
    )
    for given, word in cases:
        with pytest.raises(InputError) as error:
            StudyFile.open(given)
        one_line(error, given.name, word)


def test_one_flipped_bit_in_the_signals_is_noticed(path, parts):
    recording = parts[0][0]
    content = bytearray(path.read_bytes())
    start = content.index(make_signals(recording)["hbo"].tobytes())
    content[start + 100] ^= 1
    path.write_bytes(content)
    study = StudyFile.open(path)
    with pytest.raises(InputError) as error:
        study.signals(recording, "hbo")
    one_line(error, "study.h5", recording.id, "hbo is damaged")
    assert_array_equal(study.signals(recording, "hbr"), make_signals(recording)["hbr"])
