"""Run what is worth knowing of a GPU, the most worth first, within a time; the figures come back in one file.

    [OUT=folder] python benchmarks/gpu_check.py [--seconds 480] [--backend cuda]

A step that fails is told in a line and keeps no other from running. The file is whole after every step. Nothing but the
standard library is imported here, and nothing is fetched.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
RESERVE_S = 5.0  # for the file, and for a step that has to be ended


@dataclass(frozen=True)
class Step:
    """A command, and the seconds that it may take."""

    name: str
    most_s: float
    command: tuple[str, ...]


@dataclass(frozen=True)
class Done:
    """What became of a step: "ok", "failed", "too long", "no time left" or "left out", and its last words."""

    name: str
    status: str
    seconds: float
    words: str = ""


def steps(backend: str, out: Path) -> list[Step]:
    """The most worth first."""
    sections = ("peaks", "stages", "workloads", "textbook", "projectors", "targets")
    tests = ("tests/coupling/test_engine.py", "tests/kernels/test_backend.py", "tests/kernels/test_null_there.py")
    python = sys.executable
    asked = ("--backend", backend, "-q", "--maxfail=30", "-p", "no:cacheprovider")
    tiny = (python, "benchmarks/gpu_tiny.py", "--backend", backend)
    figures = (python, "benchmarks/gpu.py", "--backend", backend, "--only", *sections, "-o", str(out / "figures.json"))
    return [
        Step("kernels", 90, tiny),  # every kernel once: from then on they are compiled
        Step("figures", 190, figures),
        Step("doctor", 40, (python, "-m", "ibsync", "doctor", "--json")),
        Step("tests", 110, (python, "-m", "pytest", *tests, *asked)),
        Step("memcheck", 100, ("compute-sanitizer", "--tool", "memcheck", "--error-exitcode", "9", *tiny)),
    ]  # fmt: skip


def run(step: Step, left_s: float, log: Path) -> Done:
    """Run a step in its time or in what is left, with its output in a file."""
    if shutil.which(step.command[0]) is None:
        return Done(step.name, "left out", 0.0, f"{step.command[0]} is not on the PATH")
    most_s = min(step.most_s, left_s - RESERVE_S)
    if most_s < 1:
        return Done(step.name, "no time left", 0.0)
    paths = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
    started = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            step.command, cwd=REPOSITORY, stdout=output, stderr=subprocess.STDOUT, env=environment,
            start_new_session=True,
        )  # fmt: skip
        try:
            status = "ok" if process.wait(most_s) == 0 else "failed"
        except subprocess.TimeoutExpired:
            status = "too long"
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return Done(step.name, status, round(time.monotonic() - started, 1), lines[-1][:300] if lines else "")


def read(path: Path) -> Any:
    """What a step wrote as JSON, if it did."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def main() -> int:
    """Run the steps; 1 if one failed or took too long."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=480.0, help="within which all is done")
    parser.add_argument("--backend", choices=("cuda", "numpy"), default="cuda")
    arguments = parser.parse_args()
    out = Path(os.environ.get("OUT") or REPOSITORY / "benchmarks" / "results").resolve()
    out.mkdir(parents=True, exist_ok=True)
    (out / "figures.json").unlink(missing_ok=True)  # of an earlier run
    end = time.monotonic() + arguments.seconds
    done: list[Done] = []
    for step in steps(arguments.backend, out):
        done.append(run(step, end - time.monotonic(), out / f"{step.name}.log"))
        print(f"{step.name:<9} {done[-1].seconds:6.1f} s  {done[-1].status:<12} {done[-1].words}", flush=True)
        report = {
            "steps": [asdict(one) for one in done],
            "figures": read(out / "figures.json"), "doctor": read(out / "doctor.log"),
        }  # fmt: skip
        (out / "gpu_check.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return int(any(one.status in ("failed", "too long") for one in done))


if __name__ == "__main__":
    raise SystemExit(main())
