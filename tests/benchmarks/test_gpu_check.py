"""`benchmarks/gpu_check.sh` without a GPU: one line where there is none, and its steps with a stand-in for Python."""

from __future__ import annotations

import os
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


def check(*words, **environment):
    command = ["bash", str(BENCHMARKS / "gpu_check.sh"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})


@pytest.fixture
def fake(tmp_path):
    """Environment in which Python is a stand-in that writes down what it is asked."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "timeout", "dirname", "env", "sh", "seq"):
        if found := shutil.which(name):
            (tools / name).symlink_to(found)
    _write(tools / "fake_python", PYTHON)
    return {"PATH": str(tools), "PYTHON": "fake_python", "LOG": str(tmp_path / "log")}


def _write(path, text):
    path.write_text(text)
    path.chmod(0o755)


def asked(fake):
    return Path(fake["LOG"]).read_text().splitlines()


def test_without_a_gpu_it_stops_with_one_line():
    told = check(PYTHON=sys.executable, CUDA_VISIBLE_DEVICES="")
    assert told.returncode == 1
    assert told.stdout == ""
    (line,) = told.stderr.splitlines()
    assert line.startswith("gpu_check: backend 'cuda' cannot run here: ")


def test_all_steps_run_in_turn_and_end_in_a_table(fake):
    _write(Path(fake["PATH"]) / "compute-sanitizer", SANITIZER)
    told = check("out.json", **fake)
    assert told.returncode == 0, told.stderr
    assert asked(fake) == [
        "-m ibsync doctor",
        "-m pytest tests/test_engine.py tests/test_shares.py tests/kernels/test_backend.py "
        "tests/kernels/test_null_there.py tests/kernels/test_whole.py --backend cuda -q",
        *(
            f"compute-sanitizer --tool {tool} --error-exitcode 9 fake_python benchmarks/gpu_tiny.py"
            for tool in ("memcheck", "racecheck")
        ),
        "benchmarks/gpu.py -o out.json",
    ]
    table = told.stdout.split("== gpu_check\n")[1].splitlines()
    assert [line.split("  ")[1] for line in table] == [
        "device", "doctor", "tests on the GPU", "memcheck", "racecheck", "benchmarks",
    ]  # fmt: skip
    assert "A fake GPU" in table[0]
    assert all(line.endswith(" s  ok") for line in table[1:])
    assert told.stderr == ""


def test_without_the_sanitizer_it_says_so_and_goes_on(fake):
    told = check(**fake)
    assert told.returncode == 0, told.stderr
    assert "left out: compute-sanitizer is not on the PATH" in told.stdout.split("== gpu_check\n")[1]
    assert asked(fake)[-1] == "benchmarks/gpu.py"


@pytest.mark.parametrize(("fails", "step"), [("pytest", "tests on the GPU"), ("gpu.py", "benchmarks")])
def test_a_step_that_fails_is_told_and_the_others_run(fake, fails, step):
    told = check(**fake, FAILS=fails)
    assert told.returncode == 1
    assert len(asked(fake)) == 3
    (failed,) = (line for line in told.stdout.split("== gpu_check\n")[1].splitlines() if line.endswith("FAILED"))
    assert failed.strip().startswith(step)
    assert told.stderr.startswith("gpu_check: 1 of its steps FAILED, after ")


def test_an_installation_that_is_not_well_ends_the_check(fake):
    told = check(**fake, FAILS="doctor")
    assert told.returncode == 1
    assert asked(fake) == ["-m ibsync doctor"]
    assert told.stdout.splitlines()[-1].endswith("FAILED")


def test_a_step_that_takes_too_long_is_named(fake):
    told = check(**fake, FAILS="doctor", STATUS="124")  # what timeout says
    assert told.returncode == 1
    assert told.stdout.splitlines()[-1].endswith("FAILED: more than 30 s")


def test_all_steps_together_are_bounded_by_eight_minutes():
    text = (BENCHMARKS / "gpu_check.sh").read_text()
    seconds = [int(line.replace('"tests on the GPU"', "tests").split()[2])
               for line in map(str.strip, text.splitlines()) if line.startswith("step ")]  # fmt: skip
    assert len(seconds) == 4
    assert sum(seconds) + seconds[2] < 480  # the sanitizer's step is taken twice


def test_what_the_sanitizer_watches_runs():
    environment = {**os.environ, "PYTHONPATH": str(BENCHMARKS.parent)}
    command = [sys.executable, str(BENCHMARKS / "gpu_tiny.py"), "--backend", "numpy"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.stdout == "every stage ran on numpy\n", done.stderr
