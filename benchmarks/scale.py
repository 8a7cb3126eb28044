"""The same numbers from one process, several, shards and whatever was killed; and what processes cost and save.

python benchmarks/scale.py [--kills 20] [--minutes 1.0] [--out benchmarks/results/scale.json]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import checkout
import numpy as np

import ibsync as ibs
from ibsync.commands.machine import load_average, machine_facts
from ibsync.commands.run import merge_shards, run_plan, run_shard
from ibsync.errors import InputError
from ibsync.recordings.journal import described
from ibsync.study.workers import workers_of

PACKAGES = ("ibsync", "numpy", "scipy", "distributed")
SPEC = ibs.WTC(bands={"slow": (0.05, 0.2), "fast": (0.3, 0.8)})
PLAN = """
study = "STUDY"
output = "OUT"
[wtc]
bands = { slow = [0.05, 0.2], fast = [0.3, 0.8] }
[null]
kind = "KIND"
n = DRAWS
[test]
correct = []
"""
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(checkout.REPOSITORY), "IBSYNC_THREADS": "1", "OMP_NUM_THREADS": "1"}


def digest_of(arrays: Any) -> str:
    """SHA-256 over the bytes of arrays."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()


def repaired(study: ibs.Study, **who: Any) -> str:
    """Values of everybody with everybody, and the real ones."""
    null = study.null(SPEC, n=999, seed=1, **who)
    return digest_of([null.pair_values, study.synchrony(SPEC, **who).to_array().to_numpy()])


def phases(study: ibs.Study, **who: Any) -> str:
    """All counts, maxima and moments of phase surrogates."""
    null = study.null(SPEC, kind="phase", n=DRAWS, seed=1, **who)
    arrays = [null.pooled]
    for tally in [*null.by_row, null.together]:
        counts, sums = tally.exceedances, tally.moments
        arrays += [counts.at_least, counts.above, counts.at_most, sums.sums, sums.squares]
        arrays += [tally.maxima.values, tally.step_down.counts, tally.standard.statistic]
    return digest_of(arrays)


def calibrated(study: ibs.Study, **who: Any) -> str:
    """All numbers of two calibrations."""
    words: dict[str, Any] = {"n_sims": 16, "couplings": [0.8], **who}
    found = [ibs.calibrate(study, SPEC, kind=kind, **words).to_dict() for kind in ("repair", "phase")]
    return hashlib.sha256(json.dumps(found, sort_keys=True, default=str).encode()).hexdigest()


Case = Callable[..., str]
CASES: dict[str, Case] = {"re-pairing": repaired, "phase surrogates": phases, "calibrate": calibrated}
KINDS = {"re-pairing": "repair", "phase surrogates": "phase"}
DRAWS = 128
MANY_TILES = "sessions.h5"  # of which re-pairing takes long enough to be killed often


@contextmanager
def own_cluster() -> Iterator[Executor]:
    """A Dask cluster of the user's, with Dask's own settings."""
    from distributed import Client, LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        yield client.get_executor(pure=False)


def numbers_of(path: Path) -> str:
    """Digest of all numbers of a result file."""
    result = ibs.load(path)
    parts = [dataset.variables for dataset in (result.dataset, result.null)]
    arrays = [part[name].to_numpy() for part in parts for name in sorted(part, key=str)]
    return digest_of([array for array in arrays if array.dtype.kind in "fiubc"])


def plan_of(folder: Path, case: str, out: str, draws: int = DRAWS, study: str = "study.h5") -> Path:
    """A plan file of a case."""
    path = folder / f"{out}.toml"
    words = {"KIND": KINDS.get(case, "phase"), "DRAWS": str(draws), "OUT": out, "STUDY": study}
    text = PLAN
    for name, value in words.items():
        text = text.replace(name, value)
    path.write_text(text, encoding="utf-8")
    return path


def from_shards(folder: Path, case: str, n: int, chance: random.Random) -> str:
    """Numbers of a run from shards that were computed and merged in shuffled orders."""
    plan = plan_of(folder, case, "shards.h5")
    numbers = list(range(1, n + 1))
    chance.shuffle(numbers)
    shards = [run_shard(plan, (number, n)) for number in numbers]
    chance.shuffle(shards)
    merge_shards(shards, overwrite=True)
    return numbers_of(folder / "shards.h5")


def with_kills(study: ibs.Study, case: Case, n: int, chance: random.Random) -> tuple[set[str], int]:
    """Digests of runs on two workers, one of which is killed now and then, until n were; and how many were."""
    digests, killed, stop = set(), 0, threading.Event()
    with workers_of(2) as executor:
        assert executor is not None
        nannies = executor._client.cluster.workers  # type: ignore[attr-defined]

        def kill() -> None:
            nonlocal killed
            while killed < n and not stop.wait(chance.uniform(1.5, 4.0)):
                with suppress(OSError, TypeError, IndexError):  # it is being started again
                    os.kill(chance.choice(list(nannies.values())).pid, signal.SIGKILL)
                    killed += 1

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            while killed < n:
                digests.add(case(study, executor=executor))
        finally:
            stop.set()
            killer.join()
    return digests, killed


def killed_and_resumed(folder: Path, case: str, n: int, chance: random.Random) -> tuple[str, int]:
    """Numbers of a command that was killed n times, or until it was through, and how often it was.

    It is killed within half a second of having finished a part, so that it gets on from one time to the next.
    """
    if case == "calibrate":
        plan, out = plan_of(folder, case, "c.h5"), folder / "c.json"
        command = ["calibrate", "study.h5", "--plan", plan.name, "--n-sims", "60", "-o", out.name, "--resume"]
    else:
        words = {"study": MANY_TILES} if case == "re-pairing" else {"draws": 24 * DRAWS}
        plan, out = plan_of(folder, case, "resumed.h5", **words), folder / "resumed.h5"
        command = ["run", plan.name, "--resume"]
    journal = out.with_name(f"{out.name}.journal")
    killed = 0
    while killed < n:
        process = subprocess.Popen(
            [sys.executable, "-m", "ibsync", *command], cwd=folder, env=ENVIRONMENT, stdout=subprocess.DEVNULL
        )
        before = n_parts(journal)
        while process.poll() is None and n_parts(journal) == before:
            time.sleep(0.05)
        with suppress(subprocess.TimeoutExpired):
            process.wait(chance.uniform(0.0, 0.5))
        if process.poll() is not None:
            break
        process.kill()
        process.wait()
        killed += 1
    if killed == n:
        subprocess.run([sys.executable, "-m", "ibsync", *command], cwd=folder, env=ENVIRONMENT, check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip
    digest = hashlib.sha256(out.read_bytes()).hexdigest() if out.suffix == ".json" else numbers_of(out)
    out.unlink()
    return digest, killed


def n_parts(path: Path) -> int:
    """Finished parts in a journal."""
    with suppress(InputError):  # it has hardly begun
        found = described(path)
        return 0 if found is None else int(found[1]["parts"])
    return 0


def left_alone(folder: Path, case: str) -> str:
    """Numbers of the same command that is not killed."""
    return killed_and_resumed(folder, case, 0, random.Random(0))[0]


def cost(folder: Path, draws: int, *words: str, n: int = 1) -> dict[str, float]:
    """Wall and CPU seconds of n such runs at once, their processes included."""
    plans, began = [plan_of(folder, "phase surrogates", f"cost{k}.h5", draws) for k in range(n)], time.perf_counter()
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "ibsync", "run", plan.name, *words], cwd=folder, env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
        )
        for plan in plans
    ]  # fmt: skip
    used = [os.wait4(process.pid, 0)[2] for process in processes]
    cpu_s = sum(of.ru_utime + of.ru_stime for of in used)
    return {"wall_s": time.perf_counter() - began, "cpu_s": cpu_s}


def costs(folder: Path, minutes: float, pairs: int) -> dict[str, Any]:
    """
    One process and two workers in turn, for a run of so many minutes, and two processes that share nothing.

    Each of the two has half of the draws: what they cost and save is what the machine's cores can do, whoever shares
    the work out.
    """
    few = cost(folder, 64)
    some = cost(folder, 512)
    draws = 128 * max(4, round((60 * minutes - few["wall_s"]) / (some["wall_s"] - few["wall_s"]) * 3.5))
    words: dict[str, tuple[str, ...]] = {"one": (), "workers": ("--workers", "2")}
    runs = []
    for _ in range(pairs):
        run = {name: cost(folder, draws, *of) for name, of in words.items()}
        runs.append({**run, "apart": cost(folder, draws // 2, n=2)})

    def ratio(what: str, of: str, to: str) -> float:
        return float(np.median([run[of][what] / run[to][what] for run in runs]))

    return {
        "draws": draws, "runs": runs,
        "cpu_ratio": ratio("cpu_s", "workers", "one"), "speed_up": ratio("wall_s", "one", "workers"),
        "cpu_ratio_apart": ratio("cpu_s", "apart", "one"), "speed_up_apart": ratio("wall_s", "one", "apart"),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--pairs", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=(*CASES, "cost"), default=[*CASES, "cost"])
    parser.add_argument("--out", type=Path, help="what it holds of other parts stays")
    arguments = parser.parse_args()
    chance = random.Random(1)
    found: dict[str, Any] = {}
    if arguments.out and arguments.out.exists():
        found = json.loads(arguments.out.read_text(encoding="utf-8"))
    made_by = {"machine": machine_facts(PACKAGES), "date": datetime.now(UTC).date().isoformat()}

    def keep(title: str, part: dict[str, Any]) -> None:
        found[title] = {**part, **made_by, "kills": arguments.kills, "load_after": load_average()}
        if arguments.out:
            arguments.out.write_text(json.dumps(found, indent=1, default=str) + "\n", encoding="utf-8")

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        study = ibs.simulate(
            folder / "study.h5", n_dyads=5, n_sessions=3, n_channels=4, duration=120.0, sfreq=5.0, seed=1
        )
        if "re-pairing" in arguments.only:
            ibs.simulate(
                folder / MANY_TILES, n_dyads=5, n_sessions=60, n_channels=16, duration=120.0, sfreq=5.0, seed=1
            )
        for title, case in CASES.items():
            if title not in arguments.only:
                continue
            rows = {"one process": case(study)}
            executors = {
                "2 workers": workers_of(2), "3 workers": workers_of(3), "Dask, its own settings": own_cluster(),
                "ProcessPoolExecutor(2)": ProcessPoolExecutor(2, mp_context=get_context("spawn")),
            }  # fmt: skip
            for label, made in executors.items():
                with made as executor:
                    rows[label] = case(study, executor=executor)
            digests, killed = with_kills(study, case, arguments.kills, chance)
            rows |= {f"2 workers, {killed} killed": digest for digest in digests}
            same = len({*rows.values(), *digests}) == 1
            whole, (resumed, n_resumed) = (
                left_alone(folder, title),
                killed_and_resumed(folder, title, arguments.kills, chance),
            )
            own = {"left alone": whole, f"kill -9 and resumed {n_resumed} times": resumed}
            if title in KINDS:
                run_plan(plan_of(folder, title, "whole.h5"), overwrite=True)
                merged = {"not shared out": numbers_of(folder / "whole.h5"),
                          "5 shards in shuffled order": from_shards(folder, title, 5, chance)}  # fmt: skip
                for path in folder.glob("shards.shard-*"):
                    path.unlink()
            else:
                merged = {}
            identical = same and len(set(own.values())) == 1 and len(set(merged.values())) <= 1
            keep(title, {"identical": identical, "python": rows, "resumed": own, "shards": merged})
            print(f"{title}: {'identical' if identical else 'DIFFERENT'}", flush=True)
            for label, digest in {**rows, **own, **merged}.items():
                print(f"  {digest[:16]}  {label}", flush=True)
        if "cost" in arguments.only:
            keep("cost", costs(folder, arguments.minutes, arguments.pairs))
            print(f"CPU time of 2 workers over one process: {found['cost']['cpu_ratio']:.2f}")
            print(f"speed-up on two cores: {found['cost']['speed_up']:.2f}; load {found['cost']['load_after']}")
            print("the same of two processes that share nothing: "
                  f"{found['cost']['cpu_ratio_apart']:.2f}, {found['cost']['speed_up_apart']:.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
