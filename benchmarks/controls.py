"""What controls do to unrelated people, and what they cost; writes the tables of docs/controls.md.

python benchmarks/controls.py            # measure, write benchmarks/results/controls.json and the tables
python benchmarks/controls.py --tables   # the tables alone
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
from numpy.typing import NDArray
from scipy.signal import lfilter

from ibsync.coupling.backends.numpy import NumpyBackend
from ibsync.coupling.engine import Engine
from ibsync.coupling.spec import WTC
from ibsync.inference.p_values import clopper_pearson
from ibsync.study.controls import Controls, regressed
from ibsync.study.surrogate_partners import SurrogatePartners

REPOSITORY = Path(__file__).resolve().parent.parent
RESULT = REPOSITORY / "benchmarks" / "results" / "controls.json"
PAGE = REPOSITORY / "docs" / "controls.md"
SFREQ, N, N_CHANNELS, N_PEOPLE = 10.0, 3000, 12, 6
SPEC = WTC({"task": (0.05, 0.2)})
COUNTS = (0, 1, 2, 4, 8)
ROUNDS = 15
LEVEL = 0.05


def people(k: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Independent noise: channels and then controls of two people."""
    rng = np.random.default_rng([k, seed])
    return rng.standard_normal((N_CHANNELS + k, N)), rng.standard_normal((N_CHANNELS + k, N))


def coherence(engine: Engine, a: NDArray[np.float64], b: NDArray[np.float64], k: int) -> float:
    """Mean over all channel pairs."""
    return float(engine.coherence(*(engine.features(x, n_controls=k) for x in (a, b))).coherence.mean())


def null_means(engine: Engine) -> list[dict[str, float]]:
    rows = []
    for k in COUNTS:
        found: dict[str, list[float]] = {"own": [], "both": [], "regression": []}
        for seed in range(N_PEOPLE):
            a, b = people(k, seed)
            found["own"].append(coherence(engine, a, b, k))
            x, y = a[:N_CHANNELS], b[:N_CHANNELS]
            # As many controls in all as the row says: those of both together.
            some = np.vstack([a[N_CHANNELS:][: -(-k // 2)], b[N_CHANNELS:][: k // 2]])
            found["both"].append(coherence(engine, np.vstack([x, some]), np.vstack([y, some]), k))
            left = [np.array([regressed(c, side[N_CHANNELS:]) for c in side[:N_CHANNELS]]) for side in (a, b)]
            found["regression"].append(coherence(engine, *left, 0))
        rows.append({"controls": k, **{how: float(np.mean(values)) for how, values in found.items()}})
        print(rows[-1], flush=True)
    return rows


def costs() -> list[dict[str, float]]:
    """Seconds for 20 x 20 channels of 10 min, one core: without controls, with, and as many channels more."""
    n, channels = 6000, 20
    engine = Engine(n, SFREQ, WTC({"task": (0.02, 0.2)}), backend=NumpyBackend(1))
    rows = []
    for k in COUNTS[1:]:
        rng = np.random.default_rng(k)
        a, b = (rng.standard_normal((channels + k, n)) for _ in range(2))
        ways = {"none": (channels, 0), "own": (channels + k, k), "channels": (channels + k, 0)}
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(ROUNDS):
            for way, (rows_used, taken) in ways.items():
                begin = time.process_time()
                engine.coherence(*(engine.features(x[:rows_used], n_controls=taken) for x in (a, b)))
                seconds[way].append(time.process_time() - begin)
        rows.append({"controls": k, **{way: median(values[1:]) for way, values in seconds.items()}})
        print(rows[-1], flush=True)
    return rows


def levels(n_sims: int = 400, n_draws: int = 19) -> list[dict[str, float]]:
    """How often people who share nothing are found coherent at .05: phase surrogates, scalp in channels."""
    engine = Engine(600, SFREQ, WTC({"fast": (0.2, 0.6)}), backend=NumpyBackend(1))
    rows = []
    for k in COUNTS[:3]:
        for how in ("own", "both") if k == 1 else ("own",):
            controls = Controls(tuple(f"c{j}" for j in range(k)), how) if k else None
            hits = 0
            for sim in range(n_sims):
                rng = np.random.default_rng([k, sim])
                x, y = (_with_scalp(rng, k) for _ in range(2))
                partners = SurrogatePartners(engine, x, y, "phase", sim, (1, 2), "coherence", {}, controls)
                values = np.ravel(partners.values(np.arange(n_draws + 1)))
                hits += int((values[1:] >= values[0]).sum() + 1 <= LEVEL * (n_draws + 1))
            low, high = (float(limit) for limit in clopper_pearson(np.array(hits), n_sims))
            rows.append({"controls": k, "how": how, "rate": hits / n_sims, "low": low, "high": high})
            print(rows[-1], flush=True)
    return rows


def _with_scalp(rng: np.random.Generator, k: int) -> NDArray[np.float64]:
    """A channel with as much of each control as of its own, all AR(1), and the controls."""
    noise = lfilter([1], [1, -0.8], rng.standard_normal((1 + k, 600)))
    noise[0] += noise[1:].sum(axis=0)
    return noise


def measured() -> dict[str, Any]:
    engine = Engine(N, SFREQ, SPEC, backend="numpy")
    return {
        "machine": platform.processor() or platform.machine(), "cores": os.cpu_count(),
        "date": datetime.now(UTC).date().isoformat(), "numpy": np.__version__,
        "null_means": null_means(engine), "costs": costs(), "levels": levels(),
    }  # fmt: skip


def table(rows: list[dict[str, float]], names: dict[str, str], digits: int) -> str:
    lines = [list(names.values()), ["---"] * len(names)]
    lines += [[str(row["controls"]), *(f"{row[name]:.{digits}f}" for name in list(names)[1:])] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_tables(found: dict[str, Any]) -> None:
    tables = {
        "null means": table(
            found["null_means"],
            {"controls": "controls taken out of a channel", "own": '`"own"`', "both": '`"both"`',
             "regression": '`"regression"`'}, 2,
        ),
        "costs": table(
            found["costs"],
            {"controls": "controls of each person", "none": "20 channels, no control", "own": '`"own"`',
             "channels": "as many channels more instead"}, 3,
        ),
    }  # fmt: skip
    rows = [
        [str(row["controls"]), f'`"{row["how"]}"`', f"{row['rate']:.3f}", f"{row['low']:.3f} to {row['high']:.3f}"]
        for row in found["levels"]
    ]
    header = [["controls of each person", "how", "rate", "95 % limits"], ["---"] * 4]
    tables["levels"] = "\n".join(f"| {' | '.join(line)} |" for line in [*header, *rows])
    text = PAGE.read_text(encoding="utf-8")
    for name, made in tables.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        text = re.sub(f"{begin}.*{end}", lambda _, new=f"{begin}\n{made}\n{end}": new, text, flags=re.DOTALL)
    PAGE.write_text(text, encoding="utf-8")


def main() -> None:
    if "--tables" not in sys.argv:
        RESULT.write_text(json.dumps(measured(), indent=1) + "\n", encoding="utf-8")
    write_tables(json.loads(RESULT.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
