"""The command line does the main job, and every mistake ends in one line, exit code 1 and nothing left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest

import ibsync
from ibsync.commands.cli import main
from ibsync.compiled import choice
from ibsync.recordings.study_file import write_study
from ibsync.simulation.simulate import simulate
from ibsync.study.study import Study

PLAN = """
study = "study.h5"
output = "out.h5"
report = "out.html"
[wtc]
bands = { task = [0.1, 0.3] }
[synchrony]
pairs = "same"
epochs = ["talk"]
[null]
n = 23
[test]
correct = ["max"]
"""


@pytest.fixture(scope="module")
def study_bytes(tmp_path_factory):
    path = tmp_path_factory.mktemp("study") / "study.h5"
    simulate(
        path,
        n_dyads=5,
        n_channels=2,
        duration=120.0,
        sfreq=4.0,
        coupling=0.9,
        coupled_band=(0.1, 0.3),
        epochs=[("talk", 10.0, 110.0), ("blink", 0.0, 1.0)],
        seed=1,
    )
    return path.read_bytes()


@pytest.fixture
def folder(tmp_path, monkeypatch, study_bytes):
    """A folder with a study and a plan, which is also the working folder."""
    (tmp_path / "study.h5").write_bytes(study_bytes)
    (tmp_path / "plan.toml").write_text(PLAN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def replace_in_plan(folder: Path, old: str, new: str) -> None:
    assert old in PLAN
    (folder / "plan.toml").write_text(PLAN.replace(old, new), encoding="utf-8")


# The package under test, also where it is not installed.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(ibsync.__file__).parents[1])}
COMMAND = [sys.executable, "-W", "error", "-m", "ibsync"]


def run_ibsync(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, cwd=cwd, env=ENVIRONMENT, check=False)


def assert_one_line(text: str, *parts: str) -> None:
    assert text.startswith("ibsync: ")
    assert text.count("\n") == 1
    assert text.endswith("\n")
    for part in parts:
        assert part in text


# Usage


@pytest.mark.skipif(os.name != "posix", reason="the shell closes streams here")
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_may_be_closed(tmp_path, closed):
    command = " ".join([*COMMAND, "schema", closed])
    assert subprocess.run(["bash", "-c", command], env=ENVIRONMENT, cwd=tmp_path, check=False).returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["dance"],
        ["info"],
        ["run", "plan.toml", "--backend", "abacus"],
        ["report", "out.h5"],
        ["pack", "folder"],
        ["doctor", "more"],
        ["bench", "--workload", "huge"],
        ["schema", "study"],
    ],
)
def test_wrong_usage_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "usage: ibsync" in captured.err


@pytest.mark.parametrize(
    "command",
    ["demo", "pack", "info", "check", "run", "report", "calibrate", "multiverse", "power", "schema", "bench", "doctor"],
)
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert f"usage: ibsync {command}" in capsys.readouterr().out


def test_help_and_version_of_the_program(tmp_path):
    told = run_ibsync("--help", cwd=tmp_path)
    assert told.returncode == 0
    assert all(command in told.stdout for command in ("demo", "pack", "info", "check", "run", "report", "doctor"))
    version = run_ibsync("--version", cwd=tmp_path)
    assert version.returncode == 0
    assert version.stdout.startswith("ibsync")
    assert version.stderr == ""


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["info", "none.h5"], ["none.h5"]),
        (["info", "plan.toml"], ["plan.toml"]),
        (["info", "."], ["."]),
        (["check", "none.h5"], ["none.h5"]),
        (["check", "study.h5", "--plan", "none.toml"], ["none.toml", "cannot be read"]),
        (["run", "none.toml"], ["none.toml", "cannot be read"]),
        (["run", "study.h5"], ["study.h5", "is not TOML"]),
        (["run", "plan.toml", "-o", "nowhere/out.h5"], ["nowhere"]),
        (["run", "plan.toml", "-o", "."], ["folder"]),
        (["run", "plan.toml", "-o", "study.h5"], ["output and study are one file"]),
        (["run", "plan.toml", "--report", "nowhere/out.html"], ["nowhere"]),
        (["run", "plan.toml", "--report", "out.h5"], ["report and output are one file"]),
        (["run", "plan.toml", "--backend", "cuda"], ["cuda"]),
        (["report", "none.h5", "-o", "out.html"], ["none.h5"]),
        (["report", "plan.toml", "-o", "out.html"], ["plan.toml"]),
        (["report", "study.h5", "-o", "out.html"], ["study.h5"]),
        (["report", "study.h5", "-o", "nowhere/out.html"], ["nowhere"]),
        (["pack", "none", "-o", "packed.h5"], ["none"]),
        (["demo", "-o", "nowhere/demo"], ["nowhere"]),
        (["demo", "-o", "study.h5"], ["study.h5", "is a file"]),
    ],
)
def test_a_mistake_ends_in_one_line_and_leaves_nothing(folder, capsys, arguments, parts):
    before = names(folder)
    assert main(arguments) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert_one_line(captured.err, *parts)
    assert names(folder) == before


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ('study = "study.h5"', 'study = "none.h5"', ["none.h5"]),
        ("[null]", "[nul]", ["unknown key nul", "did you mean null"]),
        ("[0.1, 0.3]", "[0.1, 3.0]", ["'task'", "Nyquist"]),
        ("[0.1, 0.3]", "[0.001, 0.3]", ["'task'"]),
        ('["talk"]', '["tolk"]', ["tolk"]),
        ('["talk"]', '["blink"]', ["blink"]),
        ('epochs = ["talk"]', "epochs = { late = [300, 400] }", ["late"]),
        ('pairs = "same"', 'pairs = [["S1_D1", "S9_D9"]]', ["S9_D9"]),
        ('pairs = "same"', 'signal = "hbt"', ["hbt"]),
        ('pairs = "same"', 'signal = ["hbo", "hbt"]', ["hbt"]),
        ("n = 23", 'kind = "fase"', ["fase", "phase"]),
        ('["max"]\n', '["max"]\ntail = "up"\n', ["tail"]),
    ],
)
def test_a_plan_that_cannot_run_is_refused_before_it_runs(folder, capsys, monkeypatch, old, new, parts):
    monkeypatch.setattr("ibsync.coupling.engine.Engine.features", lambda *_, **__: pytest.fail("the work has begun"))
    replace_in_plan(folder, old, new)
    before = names(folder)
    assert main(["run", "plan.toml"]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert_one_line(captured.err, *parts)
    assert names(folder) == before


def test_too_few_dyads_are_told_before_and_after_the_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    simulate("study.h5", n_dyads=3, n_channels=2, duration=120.0, sfreq=4.0, epochs=[("talk", 10.0, 110.0)])
    correct = next(line for line in PLAN.splitlines() if line.startswith("correct"))
    (tmp_path / "plan.toml").write_text(PLAN.replace(correct, ""), encoding="utf-8")
    assert main(["check", "study.h5", "--plan", "plan.toml"]) == 0
    assert "Caution: " in (told := capsys.readouterr().out)
    assert "3 dyads allow only 6" in told
    assert main(["run", "plan.toml"]) == 0
    assert "no p can fall below 0.167" in capsys.readouterr().out


def test_a_correction_that_can_find_nothing_is_refused_before_the_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ibsync.coupling.engine.Engine.features", lambda *_, **__: pytest.fail("the work has begun"))
    monkeypatch.chdir(tmp_path)
    simulate("study.h5", n_dyads=3, n_channels=2, duration=120.0, sfreq=4.0, epochs=[("talk", 10.0, 110.0)])
    (tmp_path / "plan.toml").write_text(PLAN, encoding="utf-8")
    assert main(["run", "plan.toml"]) == 1
    assert_one_line(capsys.readouterr().err, "3 dyads allow only 6", "at least 4 dyads", "leave test.correct out")
    assert names(tmp_path) == ["plan.toml", "study.h5"]


def test_a_dyad_with_nobody_to_exchange_partners_is_refused_before_the_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("ibsync.coupling.engine.Engine.features", lambda *_, **__: pytest.fail("the work has begun"))
    monkeypatch.chdir(tmp_path)
    simulate("study.h5", n_dyads=1, n_channels=2, duration=120.0, sfreq=4.0, epochs=[("talk", 10.0, 110.0)])
    (tmp_path / "plan.toml").write_text(PLAN, encoding="utf-8")
    assert main(["run", "plan.toml"]) == 1
    assert_one_line(capsys.readouterr().err, "plan.toml", "at least 2 dyads")
    assert names(tmp_path) == ["plan.toml", "study.h5"]


def test_debug_shows_the_traceback(tmp_path):
    for arguments in (["--debug", "info", "none.h5"], ["info", "none.h5", "--debug"]):
        told = run_ibsync(*arguments, cwd=tmp_path)
        assert told.returncode == 1
        assert "Traceback" in told.stderr


@pytest.mark.parametrize(
    ("error", "parts"),
    [
        (KeyboardInterrupt(), ["interrupted; no result was written"]),
        (OSError(28, "No space left on device", "out.h5"), ["out.h5: No space left on device"]),
        (MemoryError("7.5 GiB"), ["out of memory (7.5 GiB)"]),
        (ZeroDivisionError("two\nlines"), ["internal error, ZeroDivisionError: two lines; run again with --debug"]),
    ],
)
def test_whatever_breaks_ends_in_one_line(folder, capsys, monkeypatch, error, parts):
    def broken(*_, **__):
        raise error

    monkeypatch.setattr("ibsync.commands.run.run_plan", broken)
    assert main(["run", "plan.toml"]) == 1
    assert_one_line(capsys.readouterr().err, *parts)


def _as_from_a_terminal():
    """Undo what a shell does to the jobs it starts in the background: they ignore interrupts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_an_interrupt_while_it_works_leaves_nothing(tmp_path):
    (tmp_path / "temporary").mkdir()
    process = subprocess.Popen(
        [*COMMAND, "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        env={**ENVIRONMENT, "TMPDIR": str(tmp_path / "temporary")}, preexec_fn=_as_from_a_terminal,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("temporary/*/study.h5")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    # Python drops an interrupt that meets a destructor or a callback of the import system: a person asks again.
    while process.poll() is None and time.monotonic() < deadline:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=2)
    out, err = process.communicate(timeout=60)
    # Where it met an extension module's own code, Python ends the process by that signal after all is tidied up.
    assert process.returncode in (1, -signal.SIGINT)
    assert out == ""
    assert "interrupted; no result was written\n" in err
    assert names(tmp_path) == ["temporary"]


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_a_log_file_in_an_encoding_without_our_signs(folder, encoding):
    """Standard output of Windows, sent to a file."""
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "MPLBACKEND": "agg"}
    command = [sys.executable, "-m", "ibsync", "run", str(folder / "plan.toml")]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "<=" in done.stdout.decode(encoding)


def test_a_reader_that_has_gone_causes_no_traceback(folder):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        done = subprocess.run(
            [*COMMAND, "info", "study.h5"], stdout=pipe, stderr=subprocess.PIPE, env=ENVIRONMENT, check=False
        )
    assert done.returncode == 1
    assert done.stderr == b""


# info, check


def test_info_of_a_study(folder, capsys):
    assert main(["info", "study.h5"]) == 0
    text = capsys.readouterr().out
    assert "d01" in text
    assert main(["info", "study.h5", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert len(content["dyads"]) == 5
    assert content["event_labels"] == ["talk", "blink"]


def test_check_of_a_good_and_a_bad_plan(folder, capsys):
    assert main(["check", "study.h5", "--plan", "plan.toml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True
    assert main(["check", "study.h5", "--plan", "plan.toml"]) == 0
    assert capsys.readouterr().out.strip()
    replace_in_plan(folder, "[0.1, 0.3]", "[0.1, 3.0]")
    assert main(["check", "study.h5", "--plan", "plan.toml", "--json"]) == 1
    captured = capsys.readouterr()
    content = json.loads(captured.out)
    assert content["ok"] is False
    assert "Nyquist" in content["problems"][0]
    assert_one_line(captured.err, "study.h5", "Nyquist")


def test_check_needs_no_plan(folder, capsys):
    assert main(["check", "study.h5"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ('pairs = "same"', 'pairs = [["S1_D1", "X"]]', "no channel 'X'"),
        ('epochs = ["talk"]', 'epochs = ["tlk"]', "did you mean 'talk'"),
        ('epochs = ["talk"]', "epochs = { talk = [10, 2400] }", "110 of 2390 s"),
        ('epochs = ["talk"]', "epochs = { talk = [20, 100], rest = [0, 5] }", "'rest', band 'task' has no value"),
        ("n = 23", 'kind = "block"\nblock = 90', "fewer than two blocks"),
        ("n = 23", 'kind = "trial"', "single trial"),
        ("n = 23", 'within = "group"', ""),
        ("n = 23", "n = 23\nstop_at = 3", "stop_at is for surrogates"),
        ("n = 23", 'measure = "a_leads"\nroles = "interchangeable"', "a_leads"),
        ('output = "out.h5"', 'output = "missing/out.h5"', "missing"),
        ('study = "study.h5"', 'study = "other.h5"', "other.h5"),
    ],
)
def test_check_refuses_what_run_refuses(folder, capsys, old, new, part):
    replace_in_plan(folder, old, new)
    checked = main(["check", "study.h5", "--plan", "plan.toml"])
    told = capsys.readouterr().err
    assert main(["run", "plan.toml"]) == checked == (1 if part else 0)
    if part:
        assert_one_line(told, part)
        assert told.count("study.h5") == 1
        assert_one_line(capsys.readouterr().err, part)


def test_the_plan_of_the_readme_works_on_recordings_of_its_length(tmp_path, monkeypatch, capsys):
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    plan = text.split("```toml\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    simulate("study.h5", n_dyads=6, n_channels=1, duration=300.0, sfreq=2.0)
    Path("plan.toml").write_text(plan, encoding="utf-8")
    assert main(["check", "study.h5", "--plan", "plan.toml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["lost"] == []
    Path("plan.toml").write_text(plan.replace("rest = [0, 90]", "rest = [0, 60]"), encoding="utf-8")
    assert main(["run", "plan.toml"]) == 1
    assert_one_line(
        capsys.readouterr().err, "plan.toml: epoch 'rest', band 'task' has no value", "let it last until 70 s"
    )


# run, report


def test_what_is_lost_is_in_the_json_of_check_and_run(folder, capsys):
    whole = Study.open("study.h5")
    length = {r.id: 320 if r.participant.startswith("p05") else 480 for r in whole.recordings}
    cut = [
        (replace(r, n_samples=length[r.id]), {c: whole.signals(r, c)[:, : length[r.id]] for c in r.signal_names})
        for r in whole.recordings
    ]
    by_id = {r.id: r for r, _ in cut}
    rows = [
        replace(row, recording_a=by_id[row.recording_a.id], recording_b=by_id[row.recording_b.id])
        for row in whole.dyads
    ]
    write_study("study.h5", cut, {}, rows)
    replace_in_plan(folder, 'epochs = ["talk"]', "epochs = { talk = [10, 110] }")
    for command in (["check", "study.h5", "--plan", "plan.toml"], ["run", "plan.toml"]):
        assert main([*command, "--json"]) == 0
        content = json.loads(capsys.readouterr().out)
        lost = (content if isinstance(content, dict) else content[0])["lost"]
        assert {(loss["dyad"], loss["what"]) for loss in lost} >= {(f"d0{k}", "cut") for k in range(1, 5)}
        assert any(loss["reason"] == "70 of 100 s, because 'd05' ('p05a', 'p05b') has 80 s" for loss in lost)
    assert main(["run", "plan.toml"]) == 0
    for text in (capsys.readouterr().out, (folder / "out.html").read_text(encoding="utf-8")):
        assert "70 of 100 s, because 'd05' ('p05a', 'p05b') has 80 s" in unescape(text)


def test_a_run_that_tests_nothing_fails_and_says_why(folder, monkeypatch, capsys):
    gone = Study.signals
    monkeypatch.setattr(Study, "signals", lambda *words: np.full_like(gone(*words), np.nan))
    assert main(["run", "plan.toml"]) == 1
    assert_one_line(capsys.readouterr().err, "plan.toml: hbo: nothing could be tested", "samples are missing")
    assert names(folder) == ["plan.toml", "study.h5"]


def test_run_does_the_whole_job(folder, capsys):
    from ibsync.results.result import load

    assert main(["run", "plan.toml"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert "wrote out.h5" in captured.out
    assert "wrote out.html" in captured.out
    assert names(folder) == ["out.h5", "out.html", "plan.toml", "study.h5"]
    result = load(folder / "out.h5").dataset
    assert result.attrs["backend"] == "numpy"
    assert result.sizes["dyad"] == 5
    # 5! = 120 re-pairings, all listed; the simulated coupling of 0.9 is the most extreme of them
    assert float(result["p"].min()) == pytest.approx(1 / 120)
    assert (folder / "out.html").read_text(encoding="utf-8").lstrip().lower().startswith("<!doctype html>")


@pytest.mark.parametrize("alpha", [0.5, 0.01])
def test_the_level_of_the_plan_is_that_of_all_that_is_shown(folder, capsys, alpha):
    replace_in_plan(folder, 'correct = ["max"]', f"correct = []\nalpha = {alpha}")
    assert main(["run", "plan.toml"]) == 0
    assert main(["info", "out.h5"]) == 0
    page = (folder / "out.html").read_text(encoding="utf-8")
    for text in (capsys.readouterr().out, page):
        assert f"p ≤ {alpha:g}" in text
        assert "p ≤ 0.05" not in text
    result = ibsync.load(folder / "out.h5")
    assert result.dataset.attrs["alpha"] == alpha
    n = int((result.dataset["p"] <= alpha).sum())
    assert result.headline.startswith(f"{n} of 2 tests show" if n else "No test shows")


def test_run_from_elsewhere_with_other_outputs(folder, tmp_path_factory, capsys, monkeypatch):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    monkeypatch.chdir(elsewhere)
    assert main(["run", str(folder / "plan.toml"), "-o", "other.h5", "--report", "other.html", "--json"]) == 0
    (outcome,) = json.loads(capsys.readouterr().out)
    assert outcome["files"] == ["other.h5", "other.html"]
    assert outcome["signal"] == "hbo"
    assert outcome["backend"] == "numpy"
    assert outcome["min_p"] == pytest.approx(1 / 120)
    assert names(elsewhere) == ["other.h5", "other.html"]
    assert names(folder) == ["plan.toml", "study.h5"]


def test_two_runs_of_one_plan_give_the_same_numbers(folder):
    from ibsync.results.result import load

    assert main(["run", "plan.toml", "-o", "a.h5"]) == 0
    assert main(["run", "plan.toml", "-o", "b.h5"]) == 0
    a, b = (load(folder / name).dataset for name in ("a.h5", "b.h5"))
    for name in a.data_vars:
        np.testing.assert_array_equal(a[name], b[name])


def test_two_signals_give_two_results(folder, capsys):
    replace_in_plan(folder, 'pairs = "same"', 'pairs = "same"\nsignal = ["hbo", "hbr"]')
    assert main(["run", "plan.toml"]) == 0
    assert names(folder) == ["out.html", "out_hbo.h5", "out_hbr.h5", "plan.toml", "study.h5"]
    page = (folder / "out.html").read_text(encoding="utf-8")
    assert all(f"coherence, {signal}</h2>" in page for signal in ("hbo", "hbr"))


def test_progress_goes_to_standard_error_when_asked(folder, capsys):
    assert main(["run", "plan.toml", "--progress"]) == 0
    captured = capsys.readouterr()
    assert "it/s" in captured.err or "s/it" in captured.err or "%" in captured.err
    assert "%|" not in captured.out


def test_a_failure_at_the_end_leaves_no_result(folder, monkeypatch, capsys):
    def broken(_):
        raise RuntimeError("no fonts")

    monkeypatch.setattr("ibsync.results.report.html_page", broken)
    assert main(["run", "plan.toml"]) == 1
    assert_one_line(capsys.readouterr().err, "no fonts")
    assert names(folder) == ["plan.toml", "study.h5"]


def test_report_of_a_result_is_the_report_of_its_run(folder, capsys):
    assert main(["run", "plan.toml"]) == 0
    assert main(["report", "out.h5", "-o", "again.html"]) == 0
    assert (folder / "again.html").read_bytes() == (folder / "out.html").read_bytes()
    capsys.readouterr()
    assert main(["info", "out.h5", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["kind"] == "result"
    assert content["sizes"]["dyad"] == 5


# pack


def test_a_folder_without_recordings_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["pack", ".", "-o", "packed.h5"]) == 1
    assert_one_line(capsys.readouterr().err)
    assert names(tmp_path) == []


# demo


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """One demo, run as a newcomer runs it."""
    folder = tmp_path_factory.mktemp("demo")
    done = run_ibsync("demo", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done


def test_the_demo_finds_what_it_simulated(demo):
    folder, done = demo
    assert "Found:     3 of 3 coupled channel pairs, and 0 of " in done.stdout
    assert done.stderr == ""
    assert names(folder) == [
        "ibsync-demo",
        *(f"ibsync-demo/{n}" for n in ("plan.toml", "report.html", "result.h5", "study.h5")),
    ]
    assert all(line.strip().startswith("ibsync-demo/") for line in done.stdout.splitlines() if ".h5" in line[:40])


def test_the_lines_of_python_that_the_demo_prints_give_its_result(demo, monkeypatch):
    import ibsync as ibs
    from ibsync.results.result import load

    folder, done = demo
    monkeypatch.chdir(folder)
    lines = done.stdout.split("`import ibsync as ibs`:\n")[1]
    namespace = {"ibs": ibs}
    exec("\n".join(line.strip() for line in lines.splitlines()), namespace)
    saved = load("ibsync-demo/result.h5")
    expected = saved.dataset
    assert len(expected.to_dataframe()) == (expected.sizes["dyad"] * expected["p"].size)
    assert saved.null.sizes["draw"] > 1000
    np.testing.assert_array_equal(namespace["result"].dataset["p_max"], expected["p_max"])


def test_a_demo_replaces_a_demo_but_no_other_file(demo, capsys, monkeypatch, tmp_path):
    folder, _ = demo
    monkeypatch.chdir(folder)
    assert main(["demo"]) == 0
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "study.h5").write_bytes(b"years of work")
    capsys.readouterr()
    assert main(["demo", "-o", "mine"]) == 1
    assert_one_line(capsys.readouterr().err, "study.h5", "--overwrite")
    assert (tmp_path / "mine" / "study.h5").read_bytes() == b"years of work"
    assert names(tmp_path) == ["mine", "mine/study.h5"]


def test_the_plan_of_the_demo_runs_by_itself(demo, capsys, monkeypatch, tmp_path):
    folder, _ = demo
    monkeypatch.chdir(tmp_path)
    assert main(["check", str(folder / "ibsync-demo/study.h5"), "--plan", str(folder / "ibsync-demo/plan.toml")]) == 0


# doctor


def test_the_doctor_finds_a_working_installation_well(tmp_path):
    told = run_ibsync("doctor", "--json", cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    content = json.loads(told.stdout)
    states = {layer["layer"]: layer["state"] for layer in content["layers"]}
    assert content["ok"] is True
    assert states["numpy backend"] == "ok"
    assert "failed" not in states.values()


def test_the_doctor_names_the_layer_that_fails(monkeypatch, capsys):
    def broken():
        raise ImportError("numpy: no such\nlibrary")

    monkeypatch.setattr("ibsync.commands.doctor._packages", broken)
    monkeypatch.setattr("ibsync.commands.doctor._self_test", lambda backend: "well")
    assert main(["doctor"]) == 1
    captured = capsys.readouterr()
    assert "packages        failed  ImportError: numpy: no such library" in captured.out
    assert_one_line(captured.err, "not well: packages")


def test_the_doctor_says_which_loops_are_used_and_how_to_have_the_others(monkeypatch, capsys, build):
    monkeypatch.setattr("ibsync.commands.doctor._self_test", lambda backend: "well")
    assert main(["doctor"]) == 0
    assert f"compiled loops  ok      {build}, " in capsys.readouterr().out
    monkeypatch.setenv("IBSYNC_COMPILED", "0")
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out
    assert "compiled loops  absent  IBSYNC_COMPILED=0; NumPy" in told
    assert "leave IBSYNC_COMPILED out" in told


def test_the_doctor_says_why_nothing_was_compiled(monkeypatch, capsys):
    monkeypatch.delenv("IBSYNC_COMPILED", raising=False)
    monkeypatch.setattr("ibsync.commands.doctor._self_test", lambda backend: "well")
    monkeypatch.setattr("ibsync.compiled.choice.found", lambda package: "no C compiler was found")
    monkeypatch.setattr("ibsync.compiled.choice._choice", choice._choice.__wrapped__)
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out
    assert "compiled loops  absent  no C compiler was found; NumPy" in told
    assert "pip install --force-reinstall" in told


def test_a_self_test_that_differs_is_a_failure(monkeypatch, capsys):
    monkeypatch.setattr("ibsync.commands.doctor.PROMISED_ERROR", 0.0)
    assert main(["doctor"]) == 1
    assert_one_line(capsys.readouterr().err, "not well: numpy backend")


def test_a_cache_that_cannot_be_written_is_told_but_is_no_failure(monkeypatch, capsys, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("IBSYNC_CACHE_DIR", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr("ibsync.commands.doctor._self_test", lambda backend: "well")
    assert main(["doctor"]) == 0
    assert "IBSYNC_CACHE_DIR" in capsys.readouterr().out
