"""The two scripts for a GPU without one: one line where there is none, and their steps with a stand-in for Python."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
pytestmark = pytest.mark.skipif(
    not (shutil.which("bash") and shutil.which("timeout")), reason="the script needs bash and timeout"
)

PYTHON = """#!/bin/sh
case "$*" in
  *default_device*) echo "A fake GPU" ;;
  *) echo "$*" >> "$LOG" ;;
esac
case "$*" in *"${FAILS:-nothing fails}"*) exit "${STATUS:-3}" ;; esac
"""
SANITIZER = """#!/bin/sh
echo "compute-sanitizer $*" >> "$LOG"
"""


def check(part, **environment):
    command = ["bash", str(BENCHMARKS / f"gpu_part{part}.sh")]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})


@pytest.fixture
def fake(tmp_path):
    """Environment in which Python is a stand-in that writes down what it is asked."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "timeout", "dirname", "basename", "env", "sh", "mkdir", "tee", "cat"):
        if found := shutil.which(name):
            (tools / name).symlink_to(found)
    _write(tools / "fake_python", PYTHON)
    return {"PATH": str(tools), "PYTHON": "fake_python", "LOG": str(tmp_path / "log"), "OUT": str(tmp_path / "out")}


def _write(path, text):
    path.write_text(text)
    path.chmod(0o755)


def asked(fake):
    return Path(fake["LOG"]).read_text().splitlines()


@pytest.mark.parametrize("part", [1, 2])
def test_without_a_gpu_it_stops_with_one_line(part, tmp_path):
    done = check(part, PYTHON=sys.executable, CUDA_VISIBLE_DEVICES="", OUT=str(tmp_path))
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"gpu_part{part}: backend 'cuda' cannot run here: ")


def table(done, part):
    return [line.split() for line in done.stdout.split(f"== gpu_part{part}\n")[1].splitlines()]


def test_the_first_part_runs_its_steps_in_turn_and_ends_in_a_table(fake):
    done, out = check(1, **fake), fake["OUT"]
    assert done.returncode == 0, done.stderr
    assert asked(fake) == [
        "-m ibsync doctor",
        "benchmarks/gpu_tiny.py",
        f"benchmarks/gpu.py --only peaks -o {out}/peaks.json",
        f"-m ibsync bench --backend cuda --workload typical --json {out}/typical.json",
    ]
    assert [row[0] for row in table(done, 1)] == ["device", "doctor", "tiny", "peaks", "typical"]
    assert all(row[-1] == "ok" for row in table(done, 1)[1:])
    assert (Path(out) / "doctor.log").is_file()


def test_the_second_part_tests_measures_and_looks_for_errors_of_memory(fake):
    _write(Path(fake["PATH"]) / "compute-sanitizer", SANITIZER)
    done, out = check(2, **fake), fake["OUT"]
    assert done.returncode == 0, done.stderr
    assert asked(fake) == [
        "-m pytest tests/coupling/test_engine.py tests/kernels/test_backend.py tests/kernels/test_null_there.py "
        "--backend cuda -q --maxfail=30 -p no:cacheprovider",
        f"benchmarks/gpu.py --only peaks stages workloads textbook -o {out}/stages.json",
        "compute-sanitizer --tool memcheck --error-exitcode 9 fake_python benchmarks/gpu_tiny.py",
    ]
    assert [row[0] for row in table(done, 2)] == ["device", "tests", "stages", "memcheck"]


def test_without_the_sanitizer_it_says_so(fake):
    done = check(2, **fake)
    assert done.returncode == 0, done.stderr
    assert "left out: compute-sanitizer is not on the PATH" in done.stdout


@pytest.mark.parametrize(("fails", "step"), [("doctor", "doctor"), ("gpu_tiny", "tiny"), ("peaks", "peaks")])
def test_a_step_that_fails_is_named_and_the_others_run(fake, fails, step):
    done = check(1, **fake, FAILS=fails)
    assert done.returncode == 1
    assert len(asked(fake)) == 4
    assert [row[0] for row in table(done, 1) if row[-1] == "FAILED"] == [step]
    assert done.stderr.startswith("gpu_part1: 1 of its steps FAILED, after ")


def test_a_step_that_takes_too_long_is_named(fake):
    done = check(1, **fake, FAILS="doctor", STATUS="124")  # what timeout says
    assert "FAILED: more than 90 s" in done.stdout


@pytest.mark.parametrize(("part", "most_s"), [(1, 240), (2, 400)])
def test_the_time_of_a_part_is_bounded_and_its_files_exist(part, most_s):
    text = (BENCHMARKS / f"gpu_part{part}.sh").read_text()
    assert sum(int(seconds) for seconds in re.findall(r"^ *step \w+ (\d+) ", text, re.M)) <= most_s
    files = re.findall(r"(?:benchmarks|tests)/[\w/]+\.(?:py|sh)", text)
    assert len(files) >= 3
    assert all((BENCHMARKS.parent / file).is_file() for file in files)


def test_options_of_the_scripts_are_known(capsys):
    """What the steps ask for is what the programs take."""
    gpu = subprocess.run([sys.executable, str(BENCHMARKS / "gpu.py"), "--help"], capture_output=True, text=True,
                         check=True, env={**os.environ, "PYTHONPATH": str(BENCHMARKS.parent)}).stdout  # fmt: skip
    assert all(word in gpu for word in ("--only", "peaks", "stages", "workloads", "textbook"))


def test_what_the_sanitizer_watches_runs():
    environment = {**os.environ, "PYTHONPATH": str(BENCHMARKS.parent)}
    command = [sys.executable, str(BENCHMARKS / "gpu_tiny.py"), "--backend", "numpy"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.stdout == "every stage ran on numpy\n", done.stderr
