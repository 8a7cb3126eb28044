"""Peak memory of each verb above the imported program, in fresh processes: prints a table, writes JSON.

python benchmarks/memory.py [--only dyads channels ...] [--out benchmarks/results/memory.json]
python benchmarks/memory.py --table           # that of docs/scale.md, of what was found
python benchmarks/memory.py --only large      # 100 dyads x 46 channels, 5 bands x 2 epochs, in short recordings
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rates import write

import ibsync as ibs
from ibsync.commands.machine import forget_peak_rss, peak_rss_bytes
from ibsync.coupling import plan
from ibsync.recordings.memory import Budget, held_bytes


@dataclass(frozen=True)
class Case:
    """A study, a request and what memory it may take."""

    dyads: int = 8
    channels: int = 4
    sessions: int = 1
    bands: int = 1
    epochs: int = 1
    seconds: float = 120.0
    draws: int = 1000
    lengths: int = 1
    sfreq: float = 4.0
    memory: str | None = None
    band_hz: tuple[float, float] | None = None  # by default all that the recordings hold

    @property
    def study(self) -> str:
        """Name of its study."""
        return f"{self.dyads}-{self.channels}-{self.sessions}-{self.durations[-1]:g}-{self.sfreq:g}.h5"

    @property
    def durations(self) -> list[float]:
        """Seconds of each session's recordings."""
        return [self.seconds + 2.0 * (k % self.lengths) for k in range(self.sessions)]


BASE, LARGE = Case(memory="1G"), Case(100, 46, 1, 5, 2, 60.0, 10_000, sfreq=2.0)
GROWING: dict[str, list[Case]] = {
    name: [replace(BASE, **{name: getattr(BASE, name) * times}) for times in (1, 4, 16)]
    for name in ("dyads", "channels", "sessions", "bands", "seconds")
}
GROWING["draws"] = [replace(BASE, dyads=12, draws=n) for n in (1000, 4000, 16_000)]  # of 8 dyads all would be listed
GROWING["lengths"] = [replace(BASE, sessions=n, lengths=n) for n in (1, 4, 16)]
CASES = GROWING | {
    "large": [replace(LARGE, memory=memory) for memory in ("1500M", "4G")],
    "plasticity": [
        replace(BASE, dyads=4, channels=20, sessions=6, seconds=2700.0, sfreq=10.0, memory="1G", band_hz=(0.02, 0.2))
    ],
}


def digest(dataset: Any) -> str:
    """SHA-256 over all numbers of a result."""
    found = hashlib.sha256()
    for name in sorted(map(str, dataset.variables)):
        values = dataset[name].values
        if values.dtype.kind in "fiub":
            found.update(name.encode() + np.ascontiguousarray(values).tobytes())
    return found.hexdigest()


def measure(case: Case, folder: Path) -> dict[str, Any]:
    """What one case takes in this process, verb by verb."""
    warnings.simplefilter("ignore")
    path = folder / case.study
    study = ibs.Study.open(path)
    edges = np.geomspace(
        *(case.band_hz or (max(0.05, 8 * case.epochs / case.seconds), 0.45 * case.sfreq)), case.bands + 1
    )
    bands = {f"band {k}": (float(low), float(edges[k + 1])) for k, low in enumerate(edges[:-1])}
    spec = ibs.WTC(bands=bands, accuracy="fast")
    half = case.seconds / 2
    epochs = {"first": (0.0, half), "second": (half, case.seconds)} if case.epochs == 2 else None
    found: dict[str, Any] = {"imported_mb": round(held_bytes() / 1e6)}
    deep: set[Any] = set()

    def watched(*of: Any, original: Callable[..., Any] = plan.load_group) -> Any:
        group = original(*of)
        deep.update({(group.first_row, group.n_rows)} if group.n_features == plan.RANKS["exact"][1].n_features else ())
        return group

    plan.load_group = watched  # type: ignore[assignment]

    def verb(name: str, job: Callable[[], Any]) -> Any:
        forget_peak_rss()
        cpu = time.process_time()
        value = job()
        found[name] = {"peak_mb": round((peak_rss_bytes() or 0) / 1e6) - found["imported_mb"]}
        found[name]["cpu_s"] = round(time.process_time() - cpu, 2)
        return value

    null = verb("null", lambda: study.null(spec, n=case.draws, epochs=epochs, memory=case.memory))
    real = verb("synchrony", lambda: study.synchrony(spec, null=null, epochs=epochs, memory=case.memory))
    result = verb("test", lambda: ibs.test(real, null, memory=case.memory))
    found["sha256"] = digest(result.dataset)
    if case.sessions > 1:
        verb("plasticity", lambda: ibs.plasticity(real, null=null))
    found["pair_values_mb"] = round(null.pair_values.nbytes / 1e6, 1)
    check = study.check(spec, epochs=epochs, null={"kind": "repair", "n": case.draws})
    page, need = str(check), check.need
    assert need is not None
    found["deep"] = bool(deep)  # recordings asked for tables of the deeper rank
    found["promised_mb"] = round((need.least - need.deep * (not deep) + need.in_file) / 1e6)
    found["need_mb"] = {name: round(value / 1e6) for name, value in asdict(need).items()}
    found["promised_s"] = round(sum(map(float, re.findall(r"maps in about ([\d.]+) s at most", page))), 2)
    return found


def table(found: dict[str, Any]) -> str:
    """Largest peak of all verbs of each case, and what `check` says, in Markdown."""
    lines = ["| what grows | 1 x | 4 x | 16 x |", "| --- | --- | --- | --- |"]
    cells = {name: [_peak_and_promise(case) for case in cases] for name, cases in found.items()}
    for name in GROWING:
        numbers = ", ".join(f"{case[name]:g}" for case in found[name])
        lines.append(f"| {name}: {numbers} | " + " | ".join(f"{peak} ({said})" for peak, said in cells[name]) + " |")
    lines += ["", "| study | memory allowed | peak | `check` |", "| --- | --- | --- | --- |"]
    for name in ("large", "plasticity"):
        for case, (peak, said) in zip(found[name], cells[name], strict=True):
            lines.append(f"| {name} | {case['memory']} | {peak} | {said} |")
    return "\n".join(lines)


def _peak_and_promise(case: dict[str, Any]) -> tuple[int, str]:
    need = case["need_mb"]
    held = sum(need[name] for name in ("libraries", "tables", "work", "kept"))
    fits = case["imported_mb"] + held + need["deep"] + need["in_file"] <= Budget.of(case["memory"]).n_bytes / 1e6
    usual = held + need["in_file"] * fits
    return (
        max(case[verb]["peak_mb"] for verb in ("null", "synchrony", "test")),
        f"{usual} to {usual + need['deep']}" if case["deep"] else f"{usual}",
    )


def main() -> None:
    """Run the cases, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=CASES, default=[name for name in CASES if name != "large"])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "memory.json")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--table", action="store_true")
    arguments = parser.parse_args()
    if arguments.table:
        print(table(json.loads(arguments.out.read_text())["found"]))
        return
    if arguments.case:
        print(json.dumps(measure(Case(**json.loads(arguments.case)), arguments.folder)))
        return
    found = json.loads(arguments.out.read_text())["found"] if arguments.out.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.only:
            found[name] = []
            for case in CASES[name]:
                path = Path(folder) / case.study
                words = {"n_dyads": case.dyads, "n_channels": case.channels, "n_sessions": case.sessions}
                if not path.exists():
                    ibs.simulate(path, **words, duration=case.durations, sfreq=case.sfreq, coupled_band=(0.1, 0.3))
                command = [sys.executable, __file__, "--case", json.dumps(asdict(case)), "--folder", folder]
                text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
                found[name].append({**asdict(case), **json.loads(text)})
                print(name, found[name][-1], flush=True)
            write(arguments.out, "python benchmarks/memory.py", found=found)


if __name__ == "__main__":
    main()
