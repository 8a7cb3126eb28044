"""Compiled loops beside NumPy, in turn, on one core: CPU seconds of four jobs; writes benchmarks/results/loops.json.

python benchmarks/loops.py [--repeats 7] [--draws 100000] [-o benchmarks/results/loops.json]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cases import DYAD_SFREQ_HZ
from measure import Worker, interleaved, load_average, provenance, ratios, summary
from run import HERE, PACKAGES, REPOSITORY, _environment

from ibsync.compiled.choice import NUMPY, VARIABLE, found
from ibsync.compiled.choice import best_build as best
from ibsync.compiled.made_from import BUILDS

REPAIRINGS = {"n_dyads": 20, "n_features": 484 * 5}
JOBS = {
    "dyad, exact": "one dyad, 20 x 20 channels, 10 min at 10 Hz: features and coherence, twice",
    "dyad, fast": "the same",
    "all pairs, exact": "440 x 440 channels of the workload typical: features and coherence",
    "re-pairings": "test of re-pairings of 20 dyads x 2420 features, values ready",
}


def usable() -> list[str]:
    """Builds that this machine runs."""
    library = found(REPOSITORY / "ibsync")
    if isinstance(library, str):
        raise SystemExit(library)
    return [build for build in BUILDS if best(library, build)]


def measure(repeats: int, draws: int) -> dict[str, Any]:
    """CPU seconds of every job by every build and by NumPy, and how many times as fast as NumPy each is."""
    builds = {NUMPY: "0", **{build: build for build in usable()}}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        workers = {
            name: stack.enter_context(
                Worker(
                    [sys.executable, str(HERE / "ours.py")], one_core=True, environment=_environment(**{VARIABLE: word})
                )
            )
            for name, word in builds.items()
        }
        first = workers[NUMPY]
        dyad = first.call("make_dyad", folder=folder).value
        everybody = first.call("make_session", folder=folder, workload="typical").value

        def cpu_s(worker: Worker, job: str) -> float:
            if job == "re-pairings":
                return float(worker.call("repairings", **REPAIRINGS, n_draws=draws).value["cpu_s"])
            path, n = (everybody, 1) if job.startswith("all") else (dyad, 2)
            words = {"sfreq_hz": DYAD_SFREQ_HZ, "accuracy": job.split(", ")[1], "n_times": n}
            return worker.call("all_pairs", path=path, **words).cpu_s

        sections = {}
        for job, what in JOBS.items():
            n = max(2, repeats // 3) if job.startswith("all") else repeats
            runs = {
                name: lambda worker=worker, job=job: {"cpu_s": cpu_s(worker, job)} for name, worker in workers.items()
            }
            rows = interleaved(runs, n)
            of = {name: [row["cpu_s"] for row in found_rows] for name, found_rows in rows.items()}
            sections[job] = {
                "what": what,
                "cpu_s": {name: asdict(summary(values)) for name, values in of.items()},
                "times_as_fast": {name: asdict(ratios(of[NUMPY], values)) for name, values in of.items()},
            }
            for name, values in of.items():
                ratio = sections[job]["times_as_fast"][name]["median"]
                print(f"{job:<18} {name:<7} {summary(values).median:8.3f} s  {ratio:5.2f} times as fast")
    return {
        "how": "CPU seconds of all threads; each build in a process of its own on one core, in turn; ratios are of the "
        "same turn",
        "draws": draws, "load": load_average(), "sections": sections, "provenance": provenance(REPOSITORY, PACKAGES),
    }  # fmt: skip


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--draws", type=int, default=100_000)
    parser.add_argument("-o", type=Path, default=HERE / "results" / "loops.json")
    asked = parser.parse_args()
    asked.o.write_text(json.dumps(measure(asked.repeats, asked.draws), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
