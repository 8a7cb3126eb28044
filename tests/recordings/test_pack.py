"""Recordings and tables become a study; every kind of bad input is one clear line and leaves no file behind."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal
from snirf_writer import Person, write_snirf

from ibsync.errors import InputError
from ibsync.recordings.clock import Clock, regrid
from ibsync.recordings.formats.snirf import haemoglobin, read_snirf
from ibsync.recordings.pack import pack
from ibsync.recordings.study_file import StudyFile

SHARED = Path(__file__).parents[3] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared recordings are not here")
RAW = tuple(("intensity", s, 1, w) for w in (1, 2) for s in (1, 2))


def write_table(path: Path, *rows: str) -> Path:
    """A table whose cells are parted by blanks in `rows`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("\t".join(row.split()) + "\n" for row in rows), encoding="utf-8-sig")
    return path


def bids(root: Path, sub: str, task: str = "talk", *, ses: str = "", run: str = "", desc: str = "") -> Path:
    """The path of a recording in a BIDS folder."""
    labels = [f"sub-{sub}", *([f"ses-{ses}"] if ses else []), f"task-{task}", *([f"run-{run}"] if run else [])]
    folder = root.joinpath(f"sub-{sub}", *([f"ses-{ses}"] if ses else []), "nirs")
    return folder / ("_".join([*labels, *([f"desc-{desc}"] if desc else [])]) + "_nirs.snirf")


@pytest.fixture
def dataset(tmp_path) -> Path:
    """Two dyads, raw recordings of two tasks, processed ones of the task talk."""
    root = tmp_path / "bids"
    people = ("sub-01 d1 2 x 31", "sub-02 d1 1 x 32", "sub-03 d2 1 y n/a", "sub-04 d2 2 y 34")
    write_table(root / "participants.tsv", "participant_id dyad_id role group age", *people)
    for k, sub in enumerate(("01", "02", "03", "04")):
        write_snirf(bids(root, sub), Person(columns=RAW))
        write_snirf(bids(root, sub, "rest"), Person(columns=RAW))
        write_snirf(
            bids(root / "derivatives" / "mne", sub, desc="hb"), Person(seed=k, unit="mol/L", n_samples=200 + k // 2)
        )
    channels = ("S1_D1 hb S1 D1 good", "S1_D1 hb S1 D1 bad", "S2_D1 hb S2 D1 good")
    table = bids(root, "01").with_name("sub-01_task-talk_channels.tsv")
    write_table(table, "name type source detector status", *channels)
    write_table(bids(root, "01").with_name("sub-01_task-talk_events.tsv"), "onset duration trial_type", "2.5 10 song")
    return root


@pytest.fixture
def pair(tmp_path) -> Path:
    """A folder with two recordings and a table of the one dyad."""
    folder = tmp_path / "pair"
    write_snirf(folder / "ann.snirf", Person(seed=1))
    write_snirf(folder / "bob.snirf", Person(seed=2))
    write_table(folder / "dyads.tsv", "dyad person_a person_b", "d1 ann bob")
    return folder


@pytest.fixture
def output(tmp_path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "study.h5"


def refused(source, output: Path, *words: str, **options) -> None:
    """Packing is refused in one line with these words, and leaves nothing behind."""
    with pytest.raises(InputError) as error:
        pack(source, output, **options)
    text = str(error.value)
    assert "\n" not in text
    for word in words:
        assert word in text, text
    assert list(output.parent.iterdir()) == []


def packed(source, output: Path, **options) -> tuple[StudyFile, list[str]]:
    report = pack(source, output, **options)
    return StudyFile.open(output), [str(note) for note in report.notes]


def signals_in(path: Path) -> dict[str, np.ndarray]:
    return haemoglobin(read_snirf(path)[0]).read()


def test_bids_folder_takes_processed_files_and_reports_the_rest(dataset, output):
    study, notes = packed(dataset, output)
    assert [(r.dyad, r.task, r.person_a, r.person_b, r.role_a, r.group) for r in study.dyads] == [
        ("d1", "talk", "sub-02", "sub-01", "1", "x"),
        ("d2", "talk", "sub-03", "sub-04", "1", "y"),
    ]
    for row in study.dyads:
        for recording in (row.recording_a, row.recording_b):
            source = bids(dataset / "derivatives" / "mne", recording.participant[4:], desc="hb")
            assert recording.source_file == source.name
            for signal, samples in signals_in(source).items():
                assert_array_equal(study.signals(recording, signal), samples)
    assert sum("holds this recording, processed" in note for note in notes) == 4
    assert sum("skipped" in note and "task-rest" in note and "beer_lambert_law" in note for note in notes) == 2
    assert study.recordings[0].units == "mol/L"


def test_bids_sidecars_of_the_raw_recording_serve_its_derivative(dataset, output):
    study, notes = packed(dataset / "derivatives" / "mne", output)
    recording = study.recording("sub-01_task-talk")
    assert recording.bad_channels == ("S1_D1",)
    assert [(e.onset, e.duration, e.label) for e in recording.events] == [(2.5, 10.0, "song")]
    assert any("sub-01_task-talk_channels.tsv: S1_D1" in note for note in notes)
    assert study.participants["sub-01"] == {"dyad_id": "d1", "role": "2", "group": "x", "age": 31.0}


def test_sessions_tasks_and_runs_become_rows(tmp_path, output):
    root = tmp_path / "bids"
    write_table(root / "participants.tsv", "participant_id dyad_id", "sub-a d", "sub-b d")
    for sub in "ab":
        for ses, task, run in (("1", "rest", ""), ("1", "talk", "1"), ("1", "talk", "2"), ("2", "talk", "1")):
            write_snirf(bids(root, sub, task, ses=ses, run=run), Person())
    write_snirf(bids(root, "a", "song", ses="2"), Person())
    study, notes = packed(root, output)
    assert sorted((r.session, r.task) for r in study.dyads) == [
        ("1", "rest"), ("1", "talk_run-1"), ("1", "talk_run-2"), ("2", "talk"),
    ]  # fmt: skip
    assert any("sub-a_ses-2_task-song" in note and "the partner has no recording" in note for note in notes)


def test_explicit_participants_table_serves_a_folder_without_one(dataset, output, tmp_path):
    table = (dataset / "participants.tsv").rename(tmp_path / "people.tsv")
    refused(dataset, output, "nothing says who was recorded with whom", "dyads.tsv")
    study, _ = packed(dataset, output, participants=table)
    assert len(study.dyads) == 2


def test_plain_folder_with_dyads_table(pair, output):
    study, notes = packed(pair, output)
    (row,) = study.dyads
    assert (row.dyad, row.person_a, row.person_b, row.session) == ("d1", "ann", "bob", "1")
    assert notes == []
    assert xr.open_dataset(output, engine="h5netcdf", group="recordings/block1").hbo.shape == (2, 2, 200)


def test_person_in_several_dyads_is_stored_once_with_roles_groups_and_outcomes(pair, output):
    write_snirf(pair / "cat.snirf", Person(seed=3))
    write_table(pair / "dyads.tsv", "dyad person_a person_b role_a role_b group outcome_trust use",
                "d1 ann bob therapist client x 3.5 1", "d2 ann cat therapist client y n/a 0")  # fmt: skip
    write_table(pair / "outcomes.tsv", "dyad session symptoms", "d1 1 12", "d2 1 8")
    study, _ = packed(pair, output)
    assert [r.id for r in study.recordings] == ["ann", "bob", "cat"]
    one, two = study.all_dyads
    assert one.outcomes == {"trust": 3.5, "symptoms": 12.0}
    assert np.isnan(two.outcomes["trust"])
    assert (two.outcomes["symptoms"], two.use, two.role_b, two.group) == (8.0, False, "client", "y")
    assert two.recording_a is one.recording_a


def test_dyads_table_of_files_with_labels(tmp_path, output):
    for name in ("a/run.snirf", "b/run.snirf"):
        write_snirf(tmp_path / "files" / name, Person())
    table = write_table(tmp_path / "dyads.tsv", "dyad file_a file_b person_a person_b session task",
                        "d1 files/a/run.snirf files/b/run.snirf ann bob 3 talk")  # fmt: skip
    study, _ = packed(tmp_path / "files", output, dyads=table)
    (row,) = study.dyads
    assert (row.person_a, row.person_b, row.session, row.task) == ("ann", "bob", "3", "talk")
    assert row.recording_a.session == "3"


def test_list_of_files_with_a_table(pair, output, tmp_path):
    table = (pair / "dyads.tsv").rename(tmp_path / "who.tsv")
    study, _ = packed([pair / "ann.snirf", pair / "bob.snirf"], output, dyads=table)
    assert len(study.dyads) == 1


def test_two_person_file_makes_one_dyad(tmp_path, output):
    tags = [{"SubjectID": f"P{k}", "DyadID": "D7", "DyadRole": role} for k, role in ((1, "parent"), (2, "child"))]
    path = write_snirf(tmp_path / "x.snirf", Person(seed=1, tags=tags[0]), Person(seed=2, tags=tags[1]))
    study, _ = packed(path, output)
    (row,) = study.dyads
    assert (row.dyad, row.person_a, row.person_b, row.role_b) == ("D7", "P1", "P2", "child")
    assert_array_equal(study.signals(row.recording_b), haemoglobin(read_snirf(path)[1]).read()["hbo"])


def test_persons_without_names_in_one_file_are_numbered(tmp_path, output):
    study, _ = packed(write_snirf(tmp_path / "both_task-talk.snirf", Person(), Person()), output)
    (row,) = study.dyads
    assert (row.dyad, row.person_a, row.person_b, row.task) == ("both_task-talk", "both-1", "both-2", "talk")


def test_persons_can_be_named_by_the_subject_id_in_the_file(pair, output):
    write_snirf(pair / "ann.snirf", Person(tags={"SubjectID": "P17"}))
    write_table(pair / "dyads.tsv", "dyad person_a person_b", "d1 P17 bob")
    study, _ = packed(pair, output)
    assert study.dyads[0].person_a == "ann"


def test_optical_density_packs_only_when_asked_for(tmp_path, output):
    columns = (("dod", 1, 1, 1), ("dod", 1, 1, 2))
    path = write_snirf(tmp_path / "x.snirf", Person(columns=columns), Person(columns=columns, seed=1))
    refused(path, output, "x.snirf", "optical density", "allow_dod")
    study, _ = packed(path, output, allow_dod=True)
    assert study.recordings[0].signal_names == ("dod760", "dod850")


def test_only_the_signals_that_are_asked_for(pair, output):
    study, _ = packed(pair, output, signal=("hbr",))
    assert study.recordings[0].signal_names == ("hbr",)
    output.unlink()
    refused(pair, output, "ann.snirf", "no hbt", "hbo, hbr", signal=("hbt",))


def test_channels_stand_in_one_order_for_everybody(pair, output):
    columns = (("hbr", 3, 1), ("hbo", 2, 1), ("hbo", 3, 1), ("hbr", 2, 1))
    write_snirf(pair / "bob.snirf", bob := Person(columns=columns))
    study, notes = packed(pair, output)
    ann, bob_recording = study.recordings
    assert ann.channels == bob_recording.channels == ("S1_D1", "S2_D1", "S3_D1")
    assert (ann.bad_channels, bob_recording.bad_channels) == (("S3_D1",), ("S1_D1",))
    assert_array_equal(study.signals("bob", "hbo")[1:], bob.values[:, [1, 2]].T.astype(np.float32))
    assert np.isnan(study.signals("ann", "hbo")[2]).all()
    assert "bad channels: ann: not in the file: S3_D1" in notes


def with_columns(**columns: object) -> np.ndarray:
    """float64 [time, channel] of noise, some columns replaced."""
    values = np.random.default_rng(5).standard_normal((200, 4))
    for name, value in columns.items():
        values[:, int(name[1:])] = value
    return values


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (np.nan, "no samples in hbo"),
        (np.inf, "no samples in hbo"),
        (3.25, "constant hbo"),
        (np.where(np.arange(200) < 150, np.nan, np.arange(200)), "more than half of hbo missing"),
    ],
)
def test_unusable_channels_are_marked_and_reported(pair, output, column, reason):
    write_snirf(pair / "ann.snirf", Person(samples=with_columns(c1=column)))
    study, notes = packed(pair, output)
    assert study.recording("ann").bad_channels == ("S2_D1",)
    assert study.recording("bob").bad_channels == ()
    assert notes == [f"bad channels: ann: {reason}: S2_D1"]


def test_missing_samples_are_kept_and_reported(pair, output):
    column = np.where(np.arange(200) < 7, np.nan, np.arange(200))
    write_snirf(pair / "ann.snirf", Person(samples=with_columns(c3=column)))
    study, notes = packed(pair, output)
    assert study.recording("ann").bad_channels == ()
    assert study.recording("ann").n_missing == 7
    assert notes == ["missing samples: ann: hbr: S2_D1 7 of 200"]


def test_a_recording_without_a_good_channel_is_refused(pair, output):
    write_snirf(pair / "ann.snirf", Person(samples=with_columns(c0=np.nan, c1=0.0)))
    refused(pair, output, "ann.snirf", "none of its 2 channels", "constant hbo, no samples in hbo", "channels.tsv")


def test_different_rates_are_refused_and_mended_by_resampling(pair, output):
    times = np.arange(400) / 20
    slow = np.sin(2 * np.pi * 0.2 * times[:, None] + np.arange(4))
    write_snirf(pair / "ann.snirf", Person(samples=slow, sfreq=20.0, n_samples=400))
    refused(pair, output, "dyads.tsv: line 2", "'d1'", "ann.snirf", "20 Hz", "bob.snirf", "10 Hz", "resample=10")
    study, notes = packed(pair, output, resample=10)
    assert (study.recording("ann").sfreq, study.recording("ann").n_samples) == (10.0, 200)
    assert_allclose(study.signals("ann", "hbo")[:, 20:-20], slow[::2, :2].T[:, 20:-20], atol=2e-3)
    assert notes == ["resampled: ann: 20 Hz to an even 10 Hz (interpolate in gaps)"]


def test_different_lengths_are_refused_and_mended_by_cropping(pair, output):
    write_snirf(pair / "ann.snirf", ann := Person(n_samples=170))
    refused(pair, output, "'d1'", "ann.snirf", "170", "bob.snirf", "200", "crop=True")
    study, notes = packed(pair, output, crop=True)
    assert [r.n_samples for r in study.recordings] == [170, 170]
    assert_array_equal(study.signals("ann"), ann.values[:, :2].T.astype(np.float32))
    assert notes == ["cropped: bob: 0 s cut at the start, 3 s at the end"]


def test_a_person_in_several_dyads_is_cropped_with_all_partners(pair, output):
    write_snirf(pair / "cat.snirf", Person(n_samples=150))
    write_table(pair / "dyads.tsv", "dyad person_a person_b", "d1 ann bob", "d2 ann cat")
    study, _ = packed(pair, output, crop=True)
    assert {r.n_samples for r in study.recordings} == {150}


def test_start_times_in_one_file_are_brought_together(tmp_path, output):
    stims = {"stim1": ("talk", [[6.0, 2.0, 1.0]])}
    early, late = Person(seed=1, stims=stims), Person(seed=2, t0=3.0, time_unit="ms", stims=stims)
    path = write_snirf(tmp_path / "x.snirf", early, late)
    refused(path, output, "x.snirf", "start 3 s apart", "crop=True")
    study, notes = packed(path, output, crop=True)
    one, two = study.recordings
    assert (one.n_samples, two.n_samples, one.t0, two.t0) == (170, 170, 3.0, 3.0)
    assert_array_equal(study.signals(one), early.values[30:, :2].T.astype(np.float32))
    assert_array_equal(study.signals(two), late.values[:170, :2].T.astype(np.float32))
    assert [event.onset for r in study.recordings for event in r.events] == [3.0, 3.0]
    assert len(notes) == 2


def test_two_persons_of_one_file_with_other_rates_starts_and_units(tmp_path, output):
    """One sine on the common clock must come out the same for both, whatever grid it was taken on."""

    def sine(sfreq: float, t0: float, n: int) -> np.ndarray:
        return np.sin(2 * np.pi * 0.1 * (t0 + np.arange(n) / sfreq))[:, None] * np.ones(4)

    one = Person(samples=sine(10.0, 0.0, 600), sfreq=10.0)
    two = Person(samples=sine(7.8125, 4.03, 450), sfreq=7.8125, t0=4.03, time_unit="us")
    path = write_snirf(tmp_path / "x.snirf", one, two)
    refused(path, output, "10 Hz", "7.8125 Hz", "resample=7.8125")
    refused(path, output, "4.03 s apart", "crop=True", resample=5)
    study, _ = packed(path, output, resample=5, crop=True)
    a, b = (study.signals(recording)[0] for recording in study.recordings)
    assert a.shape == b.shape
    assert_allclose(a[25:-25], b[25:-25], atol=5e-3)
    expected = np.sin(2 * np.pi * 0.1 * (4.03 + np.arange(a.size) / 5))
    assert_allclose(a[25:-25], expected[25:-25], atol=5e-3)


def test_files_of_different_clocks_are_taken_as_started_together_and_reported(pair, output):
    write_snirf(pair / "ann.snirf", Person(t0=2.0, tags={"MeasurementTime": "10:00:07"}))
    study, notes = packed(pair, output)
    assert [r.n_samples for r in study.recordings] == [200, 200]
    assert "start times" in notes[0]
    assert "10:00:07" in notes[0]


def gap_times() -> np.ndarray:
    times = np.arange(200) / 10
    times[100:] += 3
    return times


def test_gaps_are_refused_or_bridged_or_left_empty(pair, output):
    ramp = gap_times()[:, None] * np.ones(4)
    for name in ("ann", "bob"):
        write_snirf(pair / f"{name}.snirf", Person(samples=ramp, times=gap_times()))
    refused(pair, output, "ann.snirf", "gap of 3.1 s at 9.9", "resample=10", "on_gap='nan'")
    study, notes = packed(pair, output, on_gap="interpolate")
    assert_allclose(study.signals("ann")[0], np.arange(230) / 10, atol=1e-5)
    assert "gap of 3.1 s" in notes[0]
    study, _ = packed(pair, output, on_gap="nan")
    missing = np.isnan(study.signals("ann")[0])
    assert_array_equal(np.flatnonzero(missing), np.arange(100, 130))
    assert study.recordings[0].n_missing == 30
    study, _ = packed(pair, output, resample=5)
    assert not np.isnan(study.signals("ann")).any()


def test_uneven_sampling_is_refused_or_resampled(pair, output):
    times = np.arange(200) / 10 + np.random.default_rng(1).uniform(-0.01, 0.01, 200)
    write_snirf(pair / "ann.snirf", Person(samples=np.sin(times)[:, None] * np.ones(4), times=times))
    refused(pair, output, "ann.snirf", "uneven", "resample=")
    study, _ = packed(pair, output, resample=10, crop=True)
    expected = np.sin(times[0] + np.arange(study.recordings[0].n_samples) / 10)
    assert_allclose(study.signals("ann")[0], expected, atol=1e-4)


def test_nothing_in_common_in_time(tmp_path, output):
    path = write_snirf(tmp_path / "x.snirf", Person(), Person(t0=100.0))
    refused(path, output, "x.snirf", "do not overlap", crop=True)


def test_resampling_removes_what_the_new_rate_cannot_carry():
    times = np.arange(2000) / 10
    samples = np.stack([np.sin(2 * np.pi * 0.1 * times), np.sin(2 * np.pi * 1.7 * times)]).astype(np.float32)
    result = regrid(samples, Clock(0.0, 10.0, 2000), 2.0, gaps="interpolate")
    assert result.shape == (2, 400)
    assert_allclose(result[0, 20:-20], np.sin(2 * np.pi * 0.1 * np.arange(400) / 2)[20:-20], atol=1e-3)
    assert np.abs(result[1, 20:-20]).max() < 1e-3


def test_resampling_keeps_missing_samples_missing():
    samples = np.tile(np.sin(np.arange(300) / 20), (2, 1)).astype(np.float32)
    samples[0, 100:140] = np.nan
    result = regrid(samples, Clock(0.0, 10.0, 300), 25.0, gaps="interpolate")
    assert_array_equal(np.flatnonzero(np.isnan(result[0])), np.arange(249, 349))
    assert_allclose(result[1], np.sin(np.arange(748) / 50), atol=1e-5)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["dyad person_a person_b", "d1 ann bobb"], ("line 2", "'d1'", "'bobb'", "did you mean bob")),
        (["dyad person_a person_b", "d1 ann ann"], ("line 2", "'d1'", "ann twice")),
        (["dyad person_a person_b", "d1 ann bob", "d1 bob ann"], ("line 3", "'d1'", "repeats line 2", "remove one")),
        (["dyad person_a personb", "d1 ann bob"], ("person_b is missing", "did you mean personb")),
        (["dyad person_a person_b", "d1 ann n/a"], ("line 2", "person_b is empty")),
        (["dyad person_a person_b", "d1 ann bob extra"], ("line 2", "4 columns")),
        (["dyad dyad person_a person_b", "d1 d1 ann bob"], ("the column dyad stands twice",)),
        (["dyad person_a person_b"], ("no dyad", "add one row")),
        (["dyad person_a person_b outcome_x", "d1 ann bob high"], ("line 2", "outcome_x is 'high'", "n/a")),
        (
            ["dyad file_a file_b", "d1 ann.snirf bop.snirf"],
            ("line 2", "'d1'", "bop.snirf", "no such file", "mean bob.snirf"),
        ),
        (["dyad file_a file_b", "d1 ann.snirf dyads.tsv"], ("'d1'", "dyads.tsv", "not a recording")),
    ],
)
def test_dyads_tables_that_are_wrong(pair, output, rows, words):
    write_table(pair / "dyads.tsv", *rows)
    refused(pair, output, "dyads.tsv", *words)


def test_labels_that_no_recording_has(tmp_path, output):
    for name in ("ann_ses-1", "bob_ses-1"):
        write_snirf(tmp_path / "p" / f"{name}.snirf", Person())
    write_table(tmp_path / "p" / "dyads.tsv", "dyad person_a person_b session", "d1 ann bob 2")
    refused(tmp_path / "p", output, "line 2", "'d1'", "no recording of session 2", "correct the labels")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            ["participant_id dyad_id", "sub-01 d1", "sub-02 d1", "sub-03 d1"],
            ("d1 has 3 people", "sub-01, sub-02, sub-03"),
        ),
        (["participant_id dyad_id", "sub-01 d1"], ("d1 has 1 people", "sub-01")),
        (["participant_id dyad_id", "sub-01 d1", "sub-01 d1"], ("line 3", "sub-01 stands twice")),
        (["participant_id dyad_id", "sub-01 d1", "sub-09 d1"], ("d1", "no recording of 'sub-09'", "did you mean")),
        (["participant dyad_id", "sub-01 d1"], ("participant_id is missing", "did you mean participant")),
    ],
)
def test_participants_tables_that_are_wrong(dataset, output, rows, words):
    write_table(dataset / "participants.tsv", *rows)
    refused(dataset, output, "participants.tsv", *words)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["dyad score", "d11 3"], ("line 2", "'d11'", "did you mean d1")),
        (["dyad session score", "d1 7 3"], ("line 2", "'d1'", "no such session")),
        (["dyad score", "d1 many"], ("line 2", "score is 'many'")),
        (["score", "3"], ("dyad is missing",)),
        (["dyad score", "d1 3", "d1 4"], ("line 3", "dyad 'd1' has a line already; keep one")),
    ],
)
def test_outcomes_tables_that_are_wrong(pair, output, rows, words):
    write_table(pair / "outcomes.tsv", *rows)
    refused(pair, output, "outcomes.tsv", *words)


def test_unknown_columns_are_reported(pair, output):
    write_table(pair / "dyads.tsv", "dyad person_a person_b sesion", "d1 ann bob 1")
    _, notes = packed(pair, output)
    assert "sesion is not used (did you mean session?)" in notes[0]


def test_truncated_and_foreign_files_are_refused(pair, output):
    path = pair / "ann.snirf"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    refused(pair, output, "ann.snirf", "truncated", "copy or export it again")
    path.write_text("no HDF5")
    refused(pair, output, "ann.snirf", "not an HDF5 file")


def test_raw_recordings_are_refused_with_the_steps_that_mend_them(pair, output):
    steps = "optical_density -> temporal_derivative_distribution_repair -> beer_lambert_law"
    write_snirf(pair / "bob.snirf", Person(columns=RAW))
    refused(pair, output, "line 2", "'d1'", "bob.snirf", "raw intensity", steps)
    refused(pair / "bob.snirf", output, "bob.snirf", "raw intensity", steps)
    refused(write_snirf(pair / "both.snirf", Person(columns=RAW), Person(columns=RAW)), output, "both.snirf", steps)


def test_a_dyad_with_one_processed_and_one_raw_recording_is_refused(dataset, output):
    bids(dataset / "derivatives" / "mne", "03", desc="hb").unlink()
    refused(dataset, output, "dyad_id d2", "sub-03_task-talk_nirs.snirf", "raw intensity")


def test_one_person_alone_is_no_study(pair, output):
    refused(pair / "ann.snirf", output, "ann.snirf", "holds one person", "dyads.tsv")


def test_three_persons_in_one_file_need_a_table(tmp_path, output):
    refused(
        write_snirf(tmp_path / "x.snirf", *(Person() for _ in range(3))), output, "x.snirf", "3 people", "dyads.tsv"
    )


def test_the_same_recording_twice_is_refused(dataset, output):
    write_snirf(bids(dataset / "derivatives" / "other", "01", desc="hb"), Person())
    refused(dataset, output, "sub-01_task-talk", "derivatives/mne", "derivatives/other", "one pipeline")


def test_sources_that_are_not_there_or_empty(tmp_path, output, pair):
    refused(tmp_path / "none", output, "none", "no such file")
    refused(pair / "an.snirf", output, "an.snirf", "did you mean ann.snirf")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", output, "empty", "no recording in the folder")
    refused([], output, "no recording", "give")
    refused(pair, output, "no such dyads table", dyads=tmp_path / "none.tsv")


def test_settings_that_make_no_sense(pair, output):
    refused(pair, output, "resample = -1", resample=-1)
    refused(pair, output, "resample = nan", resample=float("nan"))


def test_output_paths_that_cannot_be_written(pair, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        pack(pair, tmp_path / "no" / "s.h5")
    with pytest.raises(InputError, match="is a folder"):
        pack(pair, tmp_path)
    with pytest.raises(InputError, match="not an ibsync study"):
        pack(pair, pair / "ann.snirf")
    with pytest.raises(InputError, match="not an ibsync study"):
        pack(pair, pair / "dyads.tsv")
    assert sorted(p.name for p in pair.iterdir()) == ["ann.snirf", "bob.snirf", "dyads.tsv"]


def test_interrupted_packing_leaves_nothing(pair, output, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("ibsync.recordings.pack.usable_signals", interrupt)
    with pytest.raises(KeyboardInterrupt):
        pack(pair, output)
    assert list(output.parent.iterdir()) == []


def test_report_reads_and_carries_json(pair, output):
    write_snirf(pair / "ann.snirf", Person(samples=with_columns(c0=0.0)))
    report = pack(pair, output, progress=True)
    text = str(report)
    assert "2 recordings of 2 people in 1 dyad row" in text
    assert "constant hbo: S1_D1" in text
    assert json.loads(json.dumps(report.describe()))["notes"][0]["where"] == "ann"


@needs_shared
@pytest.mark.parametrize("folder", ["", "derivatives/mne"])
def test_real_hyperscanning_dataset(folder, output):
    root = SHARED / "hyperscanning_fnirs"
    study, _ = packed(root / folder, output)
    assert [(r.dyad, r.person_a, r.person_b, r.task) for r in study.dyads] == [
        ("dyad-132", "sub-132A", "sub-132B", "convo"),
        ("dyad-134", "sub-134A", "sub-134B", "convo"),
    ]
    assert {r.sfreq for r in study.recordings} == {3.90625}
    assert [r.n_samples for r in study.recordings] == [743, 743, 1079, 1079]
    assert [len(r.bad_channels) for r in study.recordings] == [6, 3, 12, 0]
    source = root / "derivatives/mne/sub-134B/nirs/sub-134B_task-convo_desc-hb_nirs.snirf"
    assert_array_equal(study.signals("sub-134B_task-convo", "hbr"), signals_in(source)["hbr"])


@needs_shared
def test_real_two_person_file_is_raw_and_says_so(output):
    path = SHARED / "hyperscanning_fnirs" / "dyad-134_task-convo_twosubjects.snirf"
    refused(path, output, path.name, "/nirs1", "raw intensity", "beer_lambert_law")


@needs_shared
def test_real_recording_with_empty_channels_packs_with_them_marked_bad(tmp_path, output):
    quirk = {n: next((SHARED / "quirks").glob(f"q{n:02d}_*")) for n in (7, 9)}
    table = write_table(tmp_path / "dyads.tsv", "dyad file_a file_b person_a person_b", f"d {quirk[7]} {quirk[9]} a b")
    study, notes = packed([quirk[7], quirk[9]], output, dyads=table)
    assert study.recordings[0].bad_channels == ("S3_D5", "S3_D6")
    assert any("no samples in hbo: S3_D5, S3_D6" in note for note in notes)


# --- days -------------------------------------------------------------------------------------------------------------


def sessions_of(folder: Path, *rows: str) -> Path:
    """Two people in two sessions each."""
    for k, (sub, ses) in enumerate((s, v) for s in ("01", "02") for v in ("1", "2")):
        write_snirf(bids(folder, sub, ses=ses), Person(seed=k))
    write_table(folder / "dyads.tsv", *rows)
    return folder


@pytest.mark.parametrize(
    ("column", "cells", "days"),
    [
        ("day", ("0", "14.5"), [0.0, 14.5]),
        ("date", ("1970-01-03", "2026-03-31"), [2.0, 20543.0]),
        ("day", ("n/a", "3"), [np.nan, 3.0]),
    ],
)
def test_days_of_sessions_are_kept(tmp_path, output, column, cells, days):
    rows = [f"d1 01 02 {session} {cell}" for session, cell in zip("12", cells, strict=True)]
    folder = sessions_of(tmp_path / "bids", f"dyad person_a person_b session {column}", *rows)
    study, notes = packed(folder, output)
    assert_array_equal([row.day for row in study.dyads], days)
    assert not any("not used" in note for note in notes)
    assert study.describe()["dyads"][1]["day"] == days[1]
    assert_array_equal(xr.open_dataset(output, group="dyads", engine="h5netcdf")["day"], days)


def test_a_study_without_days_has_no_such_column(pair, output):
    study, _ = packed(pair, output)
    assert "day" not in xr.open_dataset(output, group="dyads", engine="h5netcdf")
    assert np.isnan(study.dyads[0].day)
    assert study.describe()["dyads"][0]["day"] is None


def test_days_that_are_wrong(tmp_path, output):
    folder = sessions_of(tmp_path / "bids", "dyad person_a person_b day", "d1 01 02 3")
    refused(folder, output, "dyads.tsv: line 2", "'d1' has one day for sessions 1, 2", "one row per session")
    head = "dyad person_a person_b session"
    write_table(folder / "dyads.tsv", f"{head} date", "d1 01 02 1 31.3.2026")
    refused(folder, output, "line 2", "date is '31.3.2026'", "write it as 2026-03-31")
    write_table(folder / "dyads.tsv", f"{head} day", "d1 01 02 1 late")
    refused(folder, output, "line 2", "day is 'late', not a number")
    write_table(folder / "dyads.tsv", f"{head} day date", "d1 01 02 1 4 2026-03-31")
    refused(folder, output, "line 2", "both day and date")


@pytest.mark.parametrize(
    "words",
    [{"sources": None}, {"sources": 3}, {"sources": [None]}, {"output": None}, {"dyads": 3}, {"resample": "5"},
     {"on_gap": "zero"}],
)  # fmt: skip
def test_wrong_objects_are_refused_in_one_line(pair, output, words):
    (value,) = words.values()
    with pytest.raises(InputError, match=re.escape(repr(value[0] if isinstance(value, list) else value))):
        pack(**{"sources": pair, "output": output, **words})
    assert list(output.parent.iterdir()) == []


def test_recordings_that_no_dyad_takes_are_told(pair, tmp_path):
    other = next(path for path in pair.iterdir() if path.suffix == ".snirf")
    (pair / "third.snirf").write_bytes(other.read_bytes())
    report = pack(pair, tmp_path / "s.h5")
    assert "not used: third.snirf: no dyad row takes " in str(report)


def test_one_name_for_two_couples_is_refused(pair, output):
    for seed, name in ((3, "cat"), (4, "dan")):
        write_snirf(pair / f"{name}.snirf", Person(seed=seed))
    write_table(pair / "dyads.tsv", "dyad person_a person_b", "d1 ann bob", "d1 cat dan")
    refused(pair, output, "line 3", "'d1'", "names another couple than", "line 2", "a name of its own")
