"""A part of a study gives what a study of that part alone gives."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from refusals import plan_refusal, refusal

import ibsync as ibs
from ibsync.commands.cli import main
from ibsync.errors import InputError
from ibsync.recordings.study_file import write_study

SPEC = ibs.WTC(bands={"slow": (0.08, 0.2)}, voices=6, accuracy="fast")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Five dyads in two sessions, each with a task talk of 120 s and a task rest of 60 s."""
    folder = tmp_path_factory.mktemp("study")
    parts = [
        ibs.simulate(
            folder / f"{task}.h5",
            n_dyads=5,
            n_sessions=2,
            n_channels=2,
            duration=seconds,
            sfreq=4.0,
            groups=["a", "b"],
            seed=seed,
        )
        for task, seconds, seed in (("talk", 120.0, 1), ("rest", 60.0, 2))
    ]
    recordings, rows = [], []
    for task, part in zip(("talk", "rest"), parts, strict=True):
        named = {r.id: replace(r, id=f"{r.id}_{task}", task=task) for r in part.recordings}
        recordings += [(named[r.id], {s: part.signals(r, s) for s in r.signal_names}) for r in part.recordings]
        rows += [
            replace(row, task=task, recording_a=named[row.recording_a.id], recording_b=named[row.recording_b.id])
            for row in part.all_dyads
        ]
    write_study(folder / "s.h5", recordings, {}, rows)
    return ibs.Study.open(folder / "s.h5")


def test_rows_that_are_selected_have_the_values_they_have_among_all(study):
    whole = study.synchrony(SPEC)
    part = study.select(task="talk", session="2", dyad=sorted({row.dyad for row in study.dyads})[:3]).synchrony(SPEC)
    chosen = (whole.task.values == "talk") & (whole.session.values == "2")
    chosen &= np.isin(whole.dyad.values, part.dyad.values)
    # Rows that are worked on together are rounded together.
    assert_allclose(part["coherence"], whole["coherence"].values[chosen], rtol=0, atol=1e-7)
    assert part.sizes["dyad"] == 3
    assert "Of the study dyad" in ibs.Result(part).methods()
    assert "session 2; task talk was used." in ibs.Result(part).methods()


def test_the_first_seconds_are_those_of_a_recording_that_ended_there(study, tmp_path):
    short = study.select(duration=60)
    recordings = []
    for recording in study.recordings:
        n = min(recording.n_samples, 240)
        signals = {s: study.signals(recording, s)[:, :n] for s in recording.signal_names}
        recordings.append((replace(recording, n_samples=n), signals))
    by_id = {recording.id: recording for recording, _ in recordings}
    rows = [
        replace(row, recording_a=by_id[row.recording_a.id], recording_b=by_id[row.recording_b.id])
        for row in study.all_dyads
    ]
    write_study(tmp_path / "cut.h5", recordings, {}, rows)
    cut = ibs.Study.open(tmp_path / "cut.h5")
    assert_array_equal(short.synchrony(SPEC)["coherence"], cut.synchrony(SPEC)["coherence"])
    one, other = (x.null(SPEC, n=50, seed=3).pair_values for x in (short, cut))
    assert_array_equal(one, other)
    assert_array_equal(short.null(SPEC, kind="phase", n=9).observed, cut.null(SPEC, kind="phase", n=9).observed)
    assert set(short.synchrony(SPEC)["duration"].values) == {60.0}
    assert "selected      the first 60 s" in str(short)


def test_gaps_are_those_of_the_first_seconds(study, tmp_path):
    recordings = []
    for recording, start in zip(study.recordings, (400, 200, 230), strict=False):
        signals = {s: study.signals(recording, s).copy() for s in recording.signal_names}
        signals["hbr"][0, start : start + 20] = np.nan
        recordings.append((recording, signals))
    rows = [row for row in study.all_dyads if {row.recording_a, row.recording_b} <= {r for r, _ in recordings}]
    write_study(tmp_path / "gaps.h5", recordings, {}, rows)
    whole = ibs.Study.open(tmp_path / "gaps.h5")
    assert [recording.n_missing for recording in whole.recordings] == [20, 20, 20]
    short = whole.select(duration=60)
    assert [recording.n_missing for recording in short.recordings] == [0, 20, 10]


def test_the_page_is_of_the_part(study):
    row = study.dyads[0]
    part = study.select(dyad=row.dyad, session=1)
    assert set(part.participants) == {row.person_a, row.person_b}
    assert len(part.recordings) == 4
    assert "people        2:" in str(part)


def test_tasks_of_unequal_length_are_compared_at_one_length_or_less_their_null(study):
    real = study.synchrony(SPEC)
    plan_refusal(lambda: ibs.contrast(real, ("talk", "rest")), "last 60 and 120 s", "study.select(duration=60)")
    equal = study.select(duration=60).synchrony(SPEC)
    assert np.isfinite(ibs.contrast(equal, ("talk", "rest"), correct=[], alpha=0.1).dataset["p"]).all()
    tested = ibs.test(real, study.null(SPEC, n=50), correct=[])
    assert "20 dyad recordings of 2 tasks" in tested.methods()
    values = (tested.dataset["value"] - tested.dataset["null_mean"]).values
    got = ibs.contrast(tested, ("talk", "rest"), correct=[], alpha=0.1).dataset["value"].values
    assert_allclose(got[0], (values[0] - values[10] + values[1] - values[11]) / 2, atol=1e-12)


def test_parts_that_differ_do_not_go_together(study):
    part = study.select(group="a")
    plan_refusal(lambda: ibs.test(part.synchrony(SPEC), study.null(SPEC, n=50)), "differ in selected", "group a")
    again = study.select(task="talk").select(group="a")
    assert again.selected == "task talk; group a"
    assert {row.group for row in again.dyads} == {"a"}


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ({"task": "tlak"}, ["no task 'tlak' (did you mean talk?)", "there are talk, rest"]),
        ({"dyad": ["nobody"]}, ["no dyad 'nobody'"]),
        ({"group": "c"}, ["no group 'c'", "there are a, b"]),
        ({"dyad": []}, ["dyad=[] names nothing"]),
        ({"session": 3}, ["no session '3'"]),
        ({"duration": 0}, ["duration=0 is no length"]),
        ({"duration": 0.1}, ["duration=0.1 is no length"]),
        ({"duration": 500}, ["duration=500: the longest recording has 120 s"]),
        ({"duration": "60"}, ["duration='60' is no length"]),
        ({"duration": True}, ["duration=True is no length"]),
    ],
)
def test_what_nobody_has_is_refused(study, words, parts):
    refusal(InputError, lambda: study.select(**words), "s.h5", *parts)


def test_nothing_left_is_refused(study):
    first = next(row for row in study.dyads if row.group == "a").dyad
    refusal(
        InputError, lambda: study.select(dyad=first, group="b"), f"no dyad row has dyad {first} and group b at once"
    )


def test_a_plan_selects(study, tmp_path, capsys):
    (tmp_path / "plan.toml").write_text(
        f'study = "{study.path.as_posix()}"\n[wtc]\nbands = {{ slow = [0.08, 0.2] }}\n[select]\ntask = "talk"\n'
        "duration = 60\n[null]\nn = 50\n[test]\ncorrect = []\n"
    )
    assert main(["check", str(study.path), "--plan", str(tmp_path / "plan.toml")]) == 0
    assert "selected      task talk; the first 60 s" in capsys.readouterr().out
    assert main(["run", str(tmp_path / "plan.toml")]) == 0
    saved = ibs.load(tmp_path / "plan_result.h5")
    assert set(saved.dataset["task"].values) == {"talk"}
    assert "task talk; the first 60 s was used" in saved.methods()
    text = (tmp_path / "plan.toml").read_text().replace('"talk"', '"tlak"')
    (tmp_path / "plan.toml").write_text(text)
    assert main(["run", str(tmp_path / "plan.toml")]) == 1
    assert "no task 'tlak'" in capsys.readouterr().err


def test_labels_may_be_numbers_and_other_objects_are_refused(study):
    assert {row.session for row in study.select(session=2).dyads} == {"2"}
    assert study.select(session=np.array(["1", "2"]), duration=np.int64(60)).recordings[0].duration_s == 60
    for words in ({"dyad": len}, {"dyad": b"d1"}, {"session": True}, {"task": []}, {"group": {"a": 1}}):
        refusal(InputError, lambda words=words: study.select(**words), next(iter(words)), "give a label")
