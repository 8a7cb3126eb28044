"""What a file or table says reaches the study or the report, however it is spelled, and is never dropped in silence."""

from __future__ import annotations

import csv
from pathlib import Path
from unicodedata import normalize

import h5py
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.io import savemat
from snirf_writer import Person, write_snirf
from test_formats import make_raw
from test_pack import packed, refused, write_table

from ibsync.errors import InputError
from ibsync.recordings.clock import Clock, moment
from ibsync.recordings.names import channel_and_signal, signal_named
from ibsync.recordings.tables import csv_text, number_in, read_table, yes_in

TIMES = np.arange(300) / 5
NOISE = np.random.default_rng(3).standard_normal((4, 300))


@pytest.fixture
def folder(tmp_path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


@pytest.fixture
def output(tmp_path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "study.h5"


def csv_of(path: Path, samples=NOISE[:1], times=TIMES, header="", separator=",") -> Path:
    """A table of samples [channel, time]."""
    header = header or ",".join(["time", *(f"S{k}_D1 hbo" for k in range(1, len(samples) + 1))])
    rows = [separator.join(f"{v:.17g}" for v in row) for row in np.column_stack([times, *samples])]
    path.write_text("\n".join([header, *rows]), encoding="utf-8")
    return path


def couple(folder: Path, *, second=NOISE[1:2], **words) -> Path:
    """Recordings of ann and bob, and their dyad."""
    csv_of(folder / "ann.csv", **words)
    csv_of(folder / "bob.csv", second)
    write_table(folder / "dyads.tsv", "dyad person_a person_b", "d ann bob")
    return folder


def two_couples(folder: Path, *lines: str) -> Path:
    """Recordings of four people, and a table of lines as they are."""
    for k in range(4):
        csv_of(folder / f"p{k}.csv", NOISE[k : k + 1])
    (folder / "dyads.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


# --- tables -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "is_used"),
    [(w, True) for w in ("1", "1.0", "yes", "Y", "TRUE", "True", "", "ja")]
    + [(w, False) for w in ("0", "0.0", "no", "No", "n", "FALSE", "False", "f", "falsch")],
)
def test_yes_and_no_in_any_spelling(word, is_used):
    assert yes_in("t", "use", word, True) is is_used


@pytest.mark.parametrize(("word", "is_used"), [("n/a", True), ("n", False)])
def test_a_dyad_that_is_not_used_is_kept(word, is_used, folder, output):
    study, _ = packed(two_couples(folder, "dyad\tperson_a\tperson_b\tuse", f"d\tp0\tp1\t{word}"), output)
    assert [row.use for row in study.all_dyads] == [is_used]


def test_what_is_neither_yes_nor_no_is_refused(folder, output):
    refused(
        two_couples(folder, "dyad\tperson_a\tperson_b\tuse", "d\tp0\tp1\t7"), output, "line 2", "use is '7'", "1 or 0"
    )
    with pytest.raises(InputError, match="x is 'perhaps'"):
        yes_in("t", "x", "perhaps", True)


@pytest.mark.parametrize(
    ("table", "lines"),
    [
        ("dyads.tsv", ("Dyad Person_A Person_B USE", "d ann bob no")),
        ("ann_channels.tsv", ("Name Status", "S1_D1 bad")),
        ("participants.tsv", ("Participant_ID Group", "ann x", "bob x")),
        ("outcomes.tsv", ("DYAD y", "d 3")),
        ("ann_events.tsv", ("Onset Duration Trial_Type", "2 1 talk")),
    ],
)
def test_columns_may_be_named_in_any_letters(table, lines, folder, output):
    write_table(couple(folder, samples=NOISE[:2]) / table, *lines)
    study, _ = packed(folder, output)
    (row,) = study.all_dyads
    events = [(event.onset, event.label) for event in study.recording("ann").events]
    told = {"dyads": row.use, "ann_channels": study.recording("ann").bad_channels, "participants": row.group,
            "outcomes": dict(row.outcomes), "ann_events": events}  # fmt: skip
    expected = {"dyads": False, "ann_channels": ("S1_D1",), "participants": "x", "outcomes": {"y": 3.0},
                "ann_events": [(2.0, "talk")]}  # fmt: skip
    name = table.removesuffix(".tsv")
    assert told[name] == expected[name]


def test_a_quotation_mark_of_a_tsv_is_text_and_ends_with_its_cell(folder, output):
    lines = ("dyad\tperson_a\tperson_b\tgroup", 'd1\tp0\tp1\t"ADHD', 'd2\tp2\tp3\t"a ""b"""')
    study, _ = packed(two_couples(folder, *lines), output)
    assert [(row.dyad, row.group) for row in study.dyads] == [("d1", '"ADHD'), ("d2", 'a "b"')]


def test_an_open_quotation_mark_of_a_csv_is_refused_by_line(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text('name,group\na,"x, y"\n\nb,"open\nc,z\n')
    with pytest.raises(InputError, match=r"line 4: a quotation mark is not closed"):
        read_table(table)
    table.write_text('name,group\na,"x, y"\n')
    assert read_table(table) == {2: {"name": "a", "group": "x, y"}}


def test_lines_are_counted_as_an_editor_counts_them(folder, output):
    lines = ("", "dyad\tperson_a\tperson_b", "d1\tp0\tp1", "", "\t\t", "d2\tp2\tp9")
    refused(two_couples(folder, *lines), output, "line 6", "'p9'")


def test_semicolons_and_decimal_commas_of_a_table(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("dyad;outcome_x\nd1;3,5\nd2;4\n")
    assert [number_in("", "x", row["outcome_x"]) for row in read_table(table).values()] == [3.5, 4.0]


def test_text_that_a_spreadsheet_would_run_is_only_shown_and_read_back(tmp_path):
    labels = [
        "=1+1",
        "+S1",
        "-",
        "-1",
        "+2.5e3",
        "@sum",
        "'=x",
        "''",
        "'plain",
        "a=b",
        "=cmd|' /C calc'!A0",
        'say "=1"',
    ]
    table = pd.DataFrame({"dyad": labels, "=header": labels, "value": np.linspace(-1, 1, len(labels))})
    path = tmp_path / "table.csv"
    path.write_text(csv_text(table), encoding="utf-8")
    with path.open(encoding="utf-8", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert [cell for cell in cells[:2] + cells[3::3] if cell[0] in "=+-@"] == ["-1", "+2.5e3"]
    rows = read_table(path).values()
    assert [row["dyad"] for row in rows] == [row["=header"] for row in rows] == labels
    assert [float(row["value"]) for row in rows] == list(table["value"])


@pytest.mark.parametrize("text", ["inf", "-Infinity", "1e400", "1_000", "3,5", "0x10"])
def test_what_is_no_finite_number_is_refused(text, folder, output):
    refused(two_couples(folder, "dyad\tperson_a\tperson_b\toutcome_x", f"d\tp0\tp1\t{text}"), output, "line 2", text)


@pytest.mark.parametrize("name", ["NA", "None", "null", "nan"])
def test_labels_that_look_missing_are_labels(name, folder, output):
    csv_of(folder / f"{name}.csv")
    csv_of(folder / "bob.csv", NOISE[1:2])
    write_table(folder / "dyads.tsv", "dyad person_a person_b group outcome_x", f"{name} {name} bob {name} {name}")
    study, notes = packed(folder, output)
    (row,) = study.dyads
    assert (row.dyad, row.person_a, row.group) == (name, name, name)
    assert np.isnan(row.outcomes["x"])
    assert any(f"{name} is a label here; write n/a where one is missing" in note for note in notes)


def test_composed_and_decomposed_letters_are_one_name(folder, output):
    name = "Jürgen"
    csv_of(folder / f"{normalize('NFD', name)}.csv")
    csv_of(folder / "bob.csv", NOISE[1:2])
    table = folder / "dyads.tsv"
    for rows in (
        f"dyad\tperson_a\tperson_b\n{name}\t{name}\tbob",
        f"dyad\tfile_a\tfile_b\n{name}\t{name}.csv\tbob.csv",
    ):
        table.write_text(rows, encoding="utf-8")
        (folder / "outcomes.tsv").write_text(normalize("NFD", f"dyad\tx\n{name}\t3"), encoding="utf-8")
        study, _ = packed(folder, output)
        assert (study.dyads[0].person_a, study.dyads[0].outcomes) == (name, {"x": 3.0})


def test_people_of_a_participants_table_need_no_prefix(folder, output):
    for k, name in enumerate(("sub-01", "sub-02")):
        csv_of(folder / f"{name}_task-talk.csv", NOISE[k : k + 1])
    write_table(folder / "participants.tsv", "participant_id dyad_id role age", "01 d b 31", "02 d a NA")
    study, _ = packed(folder, output)
    assert (study.dyads[0].person_a, study.dyads[0].role_a) == ("sub-02", "a")
    assert study.participants["sub-01"]["age"] == 31.0
    assert np.isnan(study.participants["sub-02"]["age"])


def test_people_of_a_participants_table_may_have_a_prefix_that_files_lack(folder, output):
    write_table(couple(folder) / "participants.tsv", "participant_id group", "sub-ann x", "bob x")
    study, notes = packed(folder, output)
    assert study.dyads[0].group == "x"
    assert not notes


def test_people_whom_the_participants_table_lacks_are_told(folder, output):
    write_table(couple(folder) / "participants.tsv", "participant_id group", "Ann x", "bob x")
    _, notes = packed(folder, output)
    assert any(note.endswith("does not list ann (did you mean Ann?)") for note in notes)


@pytest.mark.parametrize("lines", [("d 1 3", "d n/a 4"), ("d n/a 4", "d 1 3")])
def test_two_numbers_for_one_outcome_are_refused(lines, folder, output):
    write_table(couple(folder) / "outcomes.tsv", "dyad session y", *lines)
    refused(folder, output, "outcomes.tsv: line 3", "y of", "is given already")


def test_an_outcome_in_two_tables_is_refused_and_a_missing_one_changes_nothing(folder, output):
    couple(folder)
    write_table(folder / "dyads.tsv", "dyad person_a person_b outcome_y", "d ann bob 3")
    write_table(folder / "outcomes.tsv", "dyad y", "d 4")
    refused(folder, output, "outcomes.tsv: line 2", "y of", "is given already")


# --- channels ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("other", ["S1_D1_hbo", "S1_D1 HbO", "S1-D1 hbo"])
def test_two_columns_of_one_channel_are_refused(folder, output, other):
    couple(folder, samples=NOISE[:2], header=f"time,S1_D1 hbo,{other}")
    refused(folder, output, "ann.csv", "S1_D1 hbo stands twice", other)


def test_two_channels_of_one_name_in_fif_are_refused(folder, output):
    mne = pytest.importorskip("mne")
    raw = mne.io.RawArray(NOISE[:2], mne.create_info(["Fz", "Fz_eeg"], 100.0, "eeg"), verbose="error")
    raw.save(folder / "ann_raw.fif", verbose="error")
    write_table(folder / "dyads.tsv", "dyad file_a file_b", "d ann_raw.fif ann_raw.fif")
    refused(folder, output, "ann_raw.fif", "Fz eeg stands twice", "'Fz_eeg'")


def test_channels_of_fif_that_are_not_used_are_told(folder, output):
    mne = pytest.importorskip("mne")
    for k, name in enumerate(("ann", "bob")):
        info = mne.create_info(["Cz", "ECG", "STI"], 100.0, ["eeg", "ecg", "stim"])
        mne.io.RawArray(NOISE[k : k + 3], info, verbose="error").save(folder / f"{name}_raw.fif", verbose="error")
    write_table(folder / "dyads.tsv", "dyad person_a person_b", "d ann bob")
    _, notes = packed(folder, output)
    assert notes == [f"not used: {name}: the channels of ecg, stim" for name in ("ann", "bob")]


def test_a_channel_in_other_letters_is_named(folder, output):
    couple(folder, samples=NOISE[:2], second=NOISE[2:], header="time,CZ eeg,Pz eeg")
    csv_of(folder / "bob.csv", NOISE[2:], header="time,Cz eeg,Pz eeg")
    _, notes = packed(folder, output)
    assert "bad channels: ann: not in the file, which has CZ: Cz" in notes


def test_one_spelling_of_channels():
    assert channel_and_signal("S1-D12 HbO") == ("S1_D12", "hbo")
    assert channel_and_signal(" Cz ") == ("Cz", "")
    assert channel_and_signal("EEG 001") == ("EEG 001", "")
    for signal, words in {"hbo": "HbO2 O2Hb [O2Hb] oxy OxyHb", "hbr": "HHb [HHb] deoxy", "hbt": "tHb HbT"}.items():
        assert {channel_and_signal(f"S1_D2 {word}") for word in words.split()} == {("S1_D2", signal)}
        assert {signal_named(word) for word in words.split()} == {signal}
    assert signal_named("HRF HbO") == "hrf hbo"  # an averaged response is no recording


def test_channels_table_marks_other_channels_than_optodes(folder, output):
    for k, name in enumerate(("sub-1", "sub-2")):
        csv_of(folder / f"{name}_task-talk.csv", NOISE[k : k + 2], header="time,Cz eeg,S1-D2 eeg")
    rows = ("name status status_description", "Cz Bad noisy", "S1-D2 good n/a")
    write_table(folder / "sub-1_task-talk_channels.tsv", *rows)
    write_table(folder / "dyads.tsv", "dyad person_a person_b", "d 1 2")
    study, notes = packed(folder, output)
    assert study.recordings[0].bad_channels == ("Cz",)
    assert any("Cz (noisy)" in note for note in notes)
    write_table(folder / "sub-1_task-talk_channels.tsv", "name status", "Cz dubious")
    output.unlink()
    refused(folder, output, "channels.tsv: line 2", "status is 'dubious'", "good, bad or n/a")


@pytest.mark.parametrize("good", [[1, 0], [1, 1, 0, 1], np.ones((300, 3)), [1, np.nan, 1], [1, 2, 1]])
def test_flags_of_other_channels_are_refused(folder, output, good):
    couple(folder)
    for name in ("ann", "bob"):
        savemat(folder / f"{name}.mat", {"hbo": NOISE[:3].T, "sfreq": 5.0, "good": good})
    refused(folder, output, "ann.mat", "good is", "3 channels")


def test_empty_and_contradicting_fields_of_mat(folder, output):
    couple(folder)
    for name, samples in (("ann", NOISE[:2]), ("bob", NOISE[2:])):
        savemat(folder / f"{name}.mat", {"hbo": samples.T, "sfreq": 5.0, "unit": "", "time": [], "subject": "x"})
    study, notes = packed(folder, output)
    assert (study.recordings[0].units, study.recordings[0].sfreq) == ("", 5.0)
    assert "not used: ann: the variable subject" in notes
    output.unlink()
    savemat(folder / "ann.mat", {"hbo": NOISE[:2].T, "sfreq": []})
    refused(folder, output, "ann.mat", "neither time (s) nor a positive sfreq")
    savemat(folder / "ann.mat", {"hbo": NOISE[:2].T, "sfreq": 0.2, "time": TIMES})
    refused(folder, output, "ann.mat", "sfreq is 0.2 Hz", "5 samples a second")


def test_eeg_and_fnirs_of_other_channels_are_two_studies(folder, output):
    couple(folder, samples=NOISE[:3], header="time,S1_D1 hbo,S1_D1 hbr,Cz eeg")
    csv_of(folder / "bob.csv", NOISE[1:4], header="time,S1_D1 hbo,S1_D1 hbr,Cz eeg")
    refused(folder, output, "ann.csv", "no channel in common", "--signal eeg", "--signal hbo hbr")
    study, _ = packed(folder, output, signal=["hbo", "hbr"])
    assert study.recordings[0].channels == ("S1_D1",)
    study, _ = packed(folder, output, signal="eeg")
    assert (study.recordings[0].channels, study.recordings[0].bad_channels) == (("Cz",), ())


def test_short_channels_of_a_table_are_told(tmp_path, output):
    for k, sub in enumerate(("sub-01", "sub-02")):
        path = tmp_path / "in" / sub / "nirs" / f"{sub}_task-talk_nirs.snirf"
        write_snirf(path, Person(seed=k))
        rows = ("name source detector short_channel", "S1_D1 S1 D1 false", "S2_D1 S2 D1 TRUE")
        write_table(path.with_name(f"{sub}_task-talk_channels.tsv"), *rows)
    write_table(tmp_path / "in" / "participants.tsv", "participant_id dyad_id", "sub-01 d", "sub-02 d")
    _, notes = packed(tmp_path / "in", output)
    assert sum("short channels: sub-0" in note and "S2_D1;" in note for note in notes) == 2


@pytest.mark.parametrize("unit", ["mm", "cm", "m"])
def test_short_channels_by_distance_are_told(folder, output, unit):
    scale = {"mm": 1.0, "cm": 0.1, "m": 0.001}[unit]
    for k, name in enumerate(("ann", "bob")):
        path = write_snirf(folder / f"{name}.snirf", Person(seed=k, tags={"LengthUnit": unit}))
        with h5py.File(path, "a") as file:
            file["nirs/probe/sourcePos3D"] = scale * np.array([[0.0, 0.0, 0.0], [22.0, 0.0, 0.0]])
            file["nirs/probe/detectorPos3D"] = scale * np.array([[30.0, 0.0, 0.0]])
    write_table(folder / "dyads.tsv", "dyad person_a person_b", "d ann bob")
    _, notes = packed(folder, output)
    text = "S2_D1 (8 mm); these see more scalp than brain, and are tested only where pairs names them"
    assert notes == [f"short channels: {n}: {text}" for n in ("ann", "bob")]


# --- time -------------------------------------------------------------------------------------------------------------


def raws(folder: Path, *cuts: tuple[float, float], dated: bool = True, marks=()) -> None:
    """Cuts of one recording as .fif, of ann and bob."""
    mne = pytest.importorskip("mne")
    from datetime import UTC, datetime

    for name, (start, stop) in zip(("ann", "bob"), cuts, strict=True):
        raw = make_raw(mne, ["hbo", "hbr"], 0)
        if dated:
            raw.set_meas_date(datetime(2026, 1, 1, 10, tzinfo=UTC))
        if marks:
            start_of = raw.info["meas_date"]
            onsets, durations, labels = zip(*marks, strict=True)
            raw.set_annotations(mne.Annotations(onsets, durations, labels, orig_time=start_of))
        raw.crop(start, stop, verbose="error").save(folder / f"{name}_raw.fif", verbose="error", overwrite=True)
    write_table(folder / "dyads.tsv", "dyad person_a person_b", "d ann bob")


@pytest.mark.parametrize("dated", [True, False])
def test_cropped_fif_of_one_clock_is_aligned(folder, output, dated):
    raws(folder, (5.0, 35.0), (15.0, 45.0), dated=dated)
    refused(folder, output, "start 10 s apart", "crop=True")
    study, _ = packed(folder, output, crop=True)
    a, b = (study.signals(recording) for recording in study.recordings)
    assert study.recordings[0].t0 == 15.0
    assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["csv", "mat", "snirf"])
def test_overlapping_times_without_a_date_are_one_clock(folder, output, name):
    samples = {"ann": NOISE[:, :240], "bob": NOISE[:, 60:]}
    for person, x in samples.items():
        times = 5000 + (60 / 5 if person == "bob" else 0) + TIMES[:240]
        if name == "csv":
            csv_of(folder / f"{person}.csv", x, times)
        elif name == "mat":
            savemat(folder / f"{person}.mat", {"hbo": x.T, "time": times})
        else:
            tags = {"MeasurementDate": "unknown", "MeasurementTime": "unknown"}
            write_snirf(folder / f"{person}.snirf", Person(samples=x.T, times=times, tags=tags))
    write_table(folder / "dyads.tsv", "dyad person_a person_b", "d ann bob")
    refused(folder, output, "start 12 s apart", "crop=True", "correct the times")
    study, _ = packed(folder, output, crop=True)
    a, b = (study.signals(recording) for recording in study.recordings)
    assert_array_equal(a, b)


def test_times_that_do_not_overlap_are_taken_as_together_and_told(folder, output):
    couple(folder, times=5000 + TIMES)
    study, notes = packed(folder, output)
    assert [r.n_samples for r in study.recordings] == [300, 300]
    assert notes == [
        "start times: ann: taken as started together, though the files say ann unknown + 5000 s, bob unknown + 0 s"
    ]


@pytest.mark.parametrize(
    ("clocks", "apart"),
    [(("9:05:00", "9:05:03"), True), (("11:59:58 AM", "12:00:01 PM"), True), (("soon", "later"), False)],
)
def test_start_times_of_one_file(tmp_path, output, clocks, apart):
    people = [Person(seed=k, tags={"SubjectID": f"P{k}", "MeasurementTime": clock}) for k, clock in enumerate(clocks)]
    path = write_snirf(tmp_path / "x.snirf", *people)
    if apart:
        refused(path, output, "start 3 s apart")
    else:
        _, notes = packed(path, output)
        assert any("start times" in note and clocks[0] in note and clocks[1] in note for note in notes)


def test_moments_of_many_spellings():
    texts = ("2026-01-31 21:05:00.5", "2026/1/31T9:05:00.5 PM", "20260131T210500.500")
    assert len({moment(text) for text in texts}) == 1
    ours, utc = moment("2026-01-31 21:05:00+0130"), moment("2026-01-31 19:35Z")
    assert ours == utc
    assert moment("2026-02-31 10:00") is moment("10:00:00") is moment("31.1.2026 10:00:00") is None


@pytest.mark.parametrize(
    "times",
    [
        (np.arange(200_000) / 50).astype(np.float32).astype(float),
        np.round(np.arange(500) / 7.8125, 2),
        np.round(np.arange(500) / 3.7, 1),
        np.round(np.arange(5000) / 30, 3),
    ],
    ids=["float32", "hundredths", "tenths", "milliseconds"],
)
def test_rounded_times_are_even(times):
    clock = Clock.from_times(times)
    assert clock.irregular == ""
    assert_allclose(clock.sfreq, (times.size - 1) / times[-1], rtol=1e-8)


@pytest.mark.parametrize("lost", [1, 100, 498])
def test_a_lost_sample_is_seen_through_rounding(lost):
    for sfreq, decimals in ((10.0, 1), (8.0, 2), (20.0, 2)):
        times = np.delete(np.round(np.arange(500) / sfreq, decimals), lost)
        assert Clock.from_times(times).irregular
        assert Clock.from_times(times.astype(np.float32).astype(float)).irregular


def test_milliseconds_for_seconds_are_refused_and_odd_rates_told(folder, output):
    couple(folder, times=1000 * TIMES)
    refused(folder, output, "ann.csv", "0.005 Hz", "time in s (not ms)")
    for name, x in (("ann", NOISE[:2]), ("bob", NOISE[2:])):
        csv_of(folder / f"{name}.csv", x, 10 * TIMES)
    _, notes = packed(folder, output)
    assert [note for note in notes if note.startswith("rate: ann: 0.5 Hz")]


# --- marks ------------------------------------------------------------------------------------------------------------


def test_bad_segments_of_either_person_are_missing(folder, output):
    marks = [(10.0, 5.0, "BAD_motion"), (20.0, 0.0, "bad boundary"), (30.0, 4.0, "talk")]
    raws(folder, (0.0, 40.0), (0.0, 40.0), marks=marks)
    study, notes = packed(folder, output)
    missing = np.isnan(study.signals("bob"))
    assert_array_equal(np.flatnonzero(missing[0]), [*range(80, 121), 160])
    assert "bad segments: bob: taken as missing: BAD_motion 10 to 15 s, BAD boundary 20 to 20 s" in notes
    assert [event.label for event in study.recordings[1].events] == ["BAD_motion", "BAD boundary", "talk"]


def test_bad_segments_of_an_events_table_are_missing(folder, output):
    for k, name in enumerate(("sub-1", "sub-2")):
        csv_of(folder / f"{name}_task-talk.csv", NOISE[k : k + 1])
    write_table(folder / "sub-1_task-talk_events.tsv", "onset duration trial_type", "2 1 BAD_jump", "4 9 badminton")
    write_table(folder / "dyads.tsv", "dyad person_a person_b", "d 1 2")
    study, notes = packed(folder, output)
    assert_array_equal(np.flatnonzero(np.isnan(study.signals(study.recordings[0])[0])), range(10, 16))
    assert any("BAD_jump 2 to 3 s" in note for note in notes)


@pytest.mark.parametrize("label", ["bad", "Bad", "Bad_motion", "bad motion", "BAD segment", "bad-2"])
def test_bad_segments_are_bad_in_any_letters(label, folder, output):
    (couple(folder) / "ann_events.tsv").write_text(f"onset\tduration\ttrial_type\n2\t1\t{label}\n")
    study, _ = packed(folder, output)
    assert study.recording("ann").n_missing == 6


def test_bad_channels_that_a_file_lacks_are_told(folder, output):
    write_table(couple(folder) / "ann_channels.tsv", "name status", "s1_d1 bad", "S9_D9 bad")
    study, notes = packed(folder, output)
    assert study.recording("ann").bad_channels == ()
    assert (
        "channels: ann: ann_channels.tsv marks channels bad that the file lacks: s1_d1, which has S1_D1, S9_D9" in notes
    )


def test_marks_of_the_two_people_that_differ_are_told(folder, output):
    for k, onset in ((1, 4.0), (2, 9.0)):
        stims = {"stim1": ("talk", [[onset, 5.0, 1.0]]), "stim2": ("rest", [[1.0, 2.0, 1.0]])}
        write_snirf(folder / f"p{k}.snirf", Person(seed=k, stims=stims))
    write_table(folder / "dyads.tsv", "dyad person_a person_b", "d p1 p2")
    study, notes = packed(folder, output)
    spans = "'talk' is at 4 s for 5 s in p1, at 9 s for 5 s in p2"
    assert notes == [f"marks: dyad 'd', session '1': {spans}; epochs by label take those of p1"]
    assert study.dyads[0].marks_apart(["rest"]) == ""


def test_marks_beyond_the_recording_are_told(folder, output):
    marks = [
        [4.0, 5.0, 1.0],
        [19.0, 5.0, 1.0],
        [500.0, 5.0, 1.0],
        [-3.0, 1.0, 1.0],
        [2.0, -1.0, 1.0],
        [15.0, 5.05, 1.0],
    ]
    for k in (1, 2):
        write_snirf(folder / f"p{k}.snirf", Person(seed=k, stims={"stim1": ("talk", marks[: 1 + 5 * (k == 2)])}))
    write_table(folder / "dyads.tsv", "dyad person_a person_b", "d p1 p2")
    _, notes = packed(folder, output)
    first = "'talk' at -3 s for 1 s, 'talk' at 2 s for -1 s, 'talk' at 19 s for 5 s, ..."
    assert f"marks: p2: 4 do not lie within the recording of 20 s: {first}" in notes


@pytest.mark.parametrize("n", [3, 10])
def test_marks_stored_transposed_are_refused(folder, output, n):
    marks = np.array([[2.0 * k, 1.5, 1.0] for k in range(1, n + 1)])
    for k, rows in ((1, marks), (2, marks.T)):
        write_snirf(folder / f"p{k}.snirf", Person(seed=k, stims={"stim1": ("talk", rows)}))
    write_table(folder / "dyads.tsv", "dyad person_a person_b", "d p1 p2")
    refused(folder, output, "p2.snirf", "stim1", "stored transposed")
    write_snirf(folder / "p2.snirf", Person(seed=2, stims={"stim1": ("talk", marks[::-1])}))
    study, _ = packed(folder, output)
    assert [event.onset for event in study.recordings[1].events] == list(marks[:, 0])


# --- samples ----------------------------------------------------------------------------------------------------------


def test_a_small_signal_on_a_large_offset_keeps_its_digits(folder, output):
    couple(folder, samples=1e7 + NOISE[:1])
    study, notes = packed(folder, output)
    stored = study.signals("ann")[0].astype(float)
    assert_allclose(stored - stored.mean(), NOISE[0] - NOISE[0].mean(), atol=1e-6)
    assert any("offset: ann: hbo without its offset" in note and "S1_D1 " in note for note in notes)
    assert_array_equal(study.signals("bob")[0], NOISE[1].astype(np.float32))


def test_the_same_samples_under_two_names_are_told(folder, output):
    couple(folder, samples=NOISE[:2], second=NOISE[[1, 2]])
    _, notes = packed(folder, output)
    assert notes == ["same samples: bob: as in ann: S1_D1 hbo (there S2_D1 hbo); check that no file is a copy"]


def test_partners_copied_whole_are_told_apart_from_copied_channels(folder, output):
    couple(folder, samples=NOISE[:2], second=NOISE[:2])
    _, [note] = packed(folder, output)
    assert note.startswith("same samples: bob: as in ann: S1_D1 hbo, S2_D1 hbo; partners copied whole")


def test_flat_stretches_are_missing_and_told(folder, output):
    samples = NOISE[:1].copy()
    samples[0, 40:100] = samples[0, 40]
    samples[0, 200:220] = 0.0
    couple(folder, samples=samples)
    study, notes = packed(folder, output)
    assert_array_equal(np.flatnonzero(np.isnan(study.signals("ann")[0])), range(40, 100))
    assert "flat: ann: hbo stands still, taken as missing: S1_D1 12 s from 8 s on" in notes


def test_a_step_between_two_constants_is_no_signal(folder, output):
    samples = NOISE[:2].copy()
    samples[0] = np.where(TIMES < 30, 1.0, 2.0)
    couple(folder, samples=samples, second=NOISE[2:])
    study, notes = packed(folder, output)
    assert study.recordings[0].bad_channels == ("S1_D1",)
    assert "bad channels: ann: constant hbo in every part: S1_D1" in notes


# --- the files themselves ---------------------------------------------------------------------------------------------


def test_csv_of_a_german_spreadsheet(folder, output):
    couple(folder)
    text = (folder / "ann.csv").read_text()
    (folder / "ann.csv").write_text(text.replace(",", ";").replace(".", ",").replace("time", "Time"))
    study, _ = packed(folder, output)
    assert_array_equal(study.signals("ann")[0], NOISE[0].astype(np.float32))
    (folder / "ann.csv").write_text(text.replace(".", ","))
    output.unlink()
    refused(folder, output, "ann.csv", "cells separated by commas", "semicolons where there are decimal commas")
    (folder / "ann.csv").write_text("time,S1_D1 hbo\n" + "\n".join(f"{k},5,{k},25" for k in range(9)))
    refused(folder, output, "ann.csv", "more cells than the header", "semicolons")


def test_csv_with_a_column_twice_or_another_time(folder, output):
    couple(folder, samples=NOISE[:2], header="time,S1_D1 hbo,S1_D1 hbo")
    refused(folder, output, "ann.csv", "the column S1_D1 hbo stands twice")
    couple(folder, header="Time (s),S1_D1 hbo")
    refused(folder, output, "ann.csv", "the column time (in s) is missing", "mean Time (s)")


def test_a_link_without_its_file_is_named(folder, output):
    couple(folder)
    (folder / "ann.csv").unlink()
    (folder / "ann.csv").symlink_to("../.git/annex/objects/MD5E-s1.csv")
    refused(folder, output, "'d'", "ann.csv", "link to a file that is not here", "git annex get")


def test_labels_that_do_not_meet_are_listed(folder, output):
    for k, name in enumerate(("sub-1_ses-01", "sub-2_ses-01")):
        csv_of(folder / f"{name}.csv", NOISE[k : k + 1])
    write_table(folder / "dyads.tsv", "dyad person_a person_b session", "d 1 2 1")
    refused(folder, output, "no recording of session 1", "sub-1_ses-01", "sub-2_ses-01")


def test_columns_parted_by_blanks_are_told(tmp_path):
    path = tmp_path / "dyads.tsv"
    path.write_text("dyad person_a person_b\nd a b\n")
    with pytest.raises(InputError, match=r"the column dyad is missing; .*; part the columns by tabs$"):
        read_table(path, ["dyad"])
