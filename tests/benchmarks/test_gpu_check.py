"""The script for a GPU without one: whatever fails, it goes on, keeps to its time, and writes its figures."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(BENCHMARKS))
    gpu_check = importlib.import_module("gpu_check")


def step(code, name="some", most_s=20.0):
    return gpu_check.Step(name, most_s, (sys.executable, "-c", code))


@pytest.fixture
def checked(tmp_path, monkeypatch, capsys):
    """Run some steps: exit status, what is written, what is printed."""

    def run(steps, *words):
        monkeypatch.setattr(gpu_check, "steps", lambda backend, out: steps)
        monkeypatch.setattr(sys, "argv", ["gpu_check.py", *words])
        monkeypatch.setenv("OUT", str(tmp_path))
        status = gpu_check.main()
        return status, json.loads((tmp_path / "gpu_check.json").read_text()), capsys.readouterr().out

    return run


@pytest.mark.skipif(shutil.which("bash") is None, reason="the script needs bash")
def test_without_a_gpu_every_step_fails_in_a_line_and_the_file_is_written(tmp_path):
    environment = {**os.environ, "PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": "", "OUT": str(tmp_path)}
    done = subprocess.run(
        ["bash", str(BENCHMARKS / "gpu_check.sh"), "--seconds", "60"], capture_output=True, text=True, check=False,
        env=environment,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == ""
    found = json.loads((tmp_path / "gpu_check.json").read_text())
    names = [one["name"] for one in found["steps"]]
    assert names == ["kernels", "figures", "doctor", "tests", "memcheck"]
    assert len(done.stdout.splitlines()) == len(names)
    assert "backend 'cuda' cannot run here" in found["steps"][1]["words"]
    assert found["figures"] is None
    assert found["doctor"]["layers"]


def test_a_step_that_fails_keeps_no_other_from_running_and_is_told_by_its_last_words(checked):
    status, found, out = checked([step("raise SystemExit('no such thing')", "first"), step("print('fine')", "second")])
    assert status == 1
    assert [(one["status"], one["words"]) for one in found["steps"]] == [("failed", "no such thing"), ("ok", "fine")]
    assert [line.split()[0] for line in out.splitlines()] == ["first", "second"]


def test_a_step_that_takes_too_long_is_ended_with_what_it_has_started(checked, tmp_path):
    child = f"import time, pathlib; time.sleep(3); pathlib.Path({str(tmp_path / 'late')!r}).touch()"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    status, found, _ = checked([step(code, most_s=1.0)])
    assert (status, found["steps"][0]["status"]) == (1, "too long")
    time.sleep(3)
    assert not (tmp_path / "late").exists()


def test_what_does_not_fit_the_time_is_left_out(checked):
    status, found, _ = checked([step("pass", "first"), step("pass", "second")], "--seconds", "5.5")
    assert (status, [one["status"] for one in found["steps"]]) == (0, ["no time left", "no time left"])


def test_a_tool_that_is_not_there_is_no_failure(checked):
    status, found, _ = checked([gpu_check.Step("memcheck", 9.0, ("no-such-sanitizer",))])
    assert (status, found["steps"][0]["words"]) == (0, "no-such-sanitizer is not on the PATH")


def test_figures_of_a_step_that_was_ended_are_kept_and_those_of_another_run_are_not(checked, tmp_path):
    (tmp_path / "figures.json").write_text("{}")
    assert checked([step("pass")])[1]["figures"] is None
    path = str(tmp_path / "figures.json")
    code = f"import time; open({path!r}, 'w').write('{{\"peaks\": 1}}'); time.sleep(9)"
    assert checked([step(code, most_s=1.0)])[1]["figures"] == {"peaks": 1}


def test_the_steps_fit_their_time_and_ask_for_what_there_is(tmp_path):
    steps = gpu_check.steps("cuda", tmp_path)
    # What is compiled in the first step and measured in the second is worth most.
    assert sum(step.most_s for step in steps[:4]) <= 480 - gpu_check.RESERVE_S
    files = [word for step in steps for word in step.command if word.startswith(("benchmarks/", "tests/"))]
    assert len(files) >= 5
    assert all((BENCHMARKS.parent / file).is_file() for file in files)
    environment = {**os.environ, "PYTHONPATH": str(BENCHMARKS.parent)}
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), "--help"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    sections = steps[1].command[steps[1].command.index("--only") + 1 : -2]
    assert all(section in told for section in sections)


def test_what_the_sanitizer_watches_runs():
    environment = {**os.environ, "PYTHONPATH": str(BENCHMARKS.parent)}
    command = [sys.executable, str(BENCHMARKS / "gpu_tiny.py"), "--backend", "numpy"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.stdout == "every stage ran on numpy\n", done.stderr
