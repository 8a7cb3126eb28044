"""What lags cost; writes the table of docs/lags.md.

python benchmarks/lags.py            # measure, write benchmarks/results/lags.json and the table
python benchmarks/lags.py --table    # the table alone
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from ibsync.coupling.backends.numpy import NumpyBackend
from ibsync.coupling.engine import Engine
from ibsync.coupling.spec import WTC

REPOSITORY = Path(__file__).resolve().parent.parent
RESULT = REPOSITORY / "benchmarks" / "results" / "lags.json"
PAGE = REPOSITORY / "docs" / "lags.md"
SFREQ, N = 10.0, 3000
COUNTS = (1, 3, 5, 9)
CHANNELS = (12, 40)
ROUNDS = 9


def engine_of(n_lags: int) -> Engine:
    """One thread; lags from -4 to 4 s, or -4 s alone, so that all have the same cells."""
    spec = WTC({"task": (0.05, 0.2)}, lags=np.linspace(-4, 4, n_lags))
    return Engine(N, SFREQ, spec, backend=NumpyBackend(n_threads=1))


def seconds(engine: Engine, a: Any, b: Any) -> float:
    """Features of both people and all products."""
    start = time.perf_counter()
    engine.coherence(engine.features(a), engine.features(b))
    return time.perf_counter() - start


def measured() -> list[dict[str, float]]:
    """Median time by number of lags, in rounds over all numbers, and its ratio to that of one."""
    rows = []
    for n in CHANNELS:
        rng = np.random.default_rng(n)
        a, b = rng.standard_normal((2, n, N)).astype(np.float32)
        engines = {k: engine_of(k) for k in COUNTS}
        for engine in engines.values():
            seconds(engine, a, b)
        rounds = [{k: seconds(engine, a, b) for k, engine in engines.items()} for _ in range(ROUNDS)]
        for k in COUNTS:
            ratio = median(of[k] / of[1] for of in rounds)
            rows.append({"channels": n, "lags": k, "seconds": median(of[k] for of in rounds), "ratio": ratio})
    return rows


def table(rows: list[dict[str, float]]) -> str:
    """Time by number of lags, in Markdown."""
    lines = ["| channels of each person | lags | time, s | times that of one lag |", "| --- | --- | --- | --- |"]
    lines += [f"| {r['channels']} | {r['lags']} | {r['seconds']:.3f} | {r['ratio']:.2f} |" for r in rows]
    return "\n".join(lines)


def write_page(found: dict[str, Any]) -> None:
    """Put the table into docs/lags.md."""
    text = PAGE.read_text(encoding="utf-8")
    begin, end = "<!-- costs: begin -->", "<!-- costs: end -->"
    PAGE.write_text(
        re.sub(f"{begin}.*{end}", lambda _: f"{begin}\n{table(found['costs'])}\n{end}", text, flags=re.DOTALL),
        encoding="utf-8",
    )


def main() -> None:
    """Measure unless only the table is asked for."""
    if "--table" not in sys.argv:
        found = {
            "machine": platform.machine(), "cores": os.cpu_count(), "date": datetime.now(UTC).date().isoformat(),
            "numpy": np.__version__, "samples": N, "costs": measured(),
        }  # fmt: skip
        RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    write_page(json.loads(RESULT.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
