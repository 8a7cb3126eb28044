"""What controls do to unrelated people, and what they cost; writes the tables of docs/controls.md.

python benchmarks/controls.py            # measure, write benchmarks/results/controls.json and the tables
python benchmarks/controls.py --levels   # measure the levels again, and write the tables
python benchmarks/controls.py --tables   # the tables alone
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from calibration import repairing_p
from numpy.typing import NDArray
from rates import rate_row

from ibsync.coupling.backends.numpy import NumpyBackend
from ibsync.coupling.engine import Engine
from ibsync.coupling.spec import WTC
from ibsync.study.controls import HOW, regressed

REPOSITORY = Path(__file__).resolve().parent.parent
RESULT = REPOSITORY / "benchmarks" / "results" / "controls.json"
PAGE = REPOSITORY / "docs" / "controls.md"
SFREQ, N, N_CHANNELS, N_PEOPLE = 10.0, 3000, 12, 6
SPEC = WTC({"task": (0.05, 0.2)})
COUNTS = (0, 1, 2, 4, 8)
ROUNDS = 15
LEVEL, N_DYADS = 0.05, 7
SFREQ_LEVELS, N_LEVELS = 2.0, 400
Floats = NDArray[np.float64]


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


def levels(n_studies: int = 300) -> list[dict[str, Any]]:
    """How often partners who share a rhythm of the scalp are found coherent at .05: all re-pairings of 7 dyads."""
    engine = Engine(N_LEVELS, SFREQ_LEVELS, WTC({"slow": (1 / 20, 1 / 6)}, accuracy="fast"), backend="numpy")
    rows = []
    for delay_s, coupled in ((0.0, False), (1.5, False), (0.0, True), (1.5, True)):
        rng, tables = np.random.default_rng([int(10 * delay_s), coupled]), dict[str, list[Floats]]()
        for _ in range(n_studies):
            for how, values in _pairs(engine, *_study(rng, delay_s, coupled)).items():
                tables.setdefault(how, []).append(values)
        for how, values in tables.items():
            hits = repairing_p(np.array(values), 999) <= LEVEL
            row = rate_row(f"delay {delay_s:g} s{', coupled' if coupled else ''}", how, hits, holds=False)
            rows.append(
                {"delay_s": delay_s, "coupled": coupled, "how": how} | {k: row[k] for k in ("rate", "low", "high")}
            )
            print(rows[-1], flush=True)
    return rows


def _study(rng: np.random.Generator, delay_s: float, coupled: bool) -> tuple[Floats, Floats]:
    """A channel and a short channel of both people of 7 dyads: float64 [person, dyad, sample] each.

    Brains are coupled or not; scalps of a dyad are coherent, are in the channels with 1.5 times the brain's size and a
    delay, and in the short channels with a fifth of noise.
    """
    f = np.fft.rfftfreq(N_LEVELS, 1 / SFREQ_LEVELS)

    def noise(*shape: int) -> Floats:
        spectrum = rng.standard_normal((2, *shape, len(f)))
        x = np.fft.irfft((spectrum[0] + 1j * spectrum[1]) / np.sqrt(np.maximum(f, 0.02)), N_LEVELS)
        return np.asarray(x / x.std(axis=-1, keepdims=True))

    scalp = 0.8 * noise(1, N_DYADS) + 0.6 * noise(2, N_DYADS)
    brain = 0.7 * noise(1, N_DYADS) + 0.7 * noise(2, N_DYADS) if coupled else noise(2, N_DYADS)
    late = np.fft.irfft(np.fft.rfft(scalp) * np.exp(-2j * np.pi * f * delay_s), N_LEVELS)
    return brain + 1.5 * late, scalp + 0.2 * noise(2, N_DYADS)


def _pairs(engine: Engine, x: Floats, c: Floats) -> dict[str, Floats]:
    """Coherence of every first with every second person, by how controls are taken out: float64 [first, second]."""

    def of(rows: Sequence[Floats], n_controls: int = 0) -> Any:
        return engine.features(np.stack(rows, axis=1).astype(np.float32), n_controls=n_controls)

    def table(a: Any, b: Any) -> Floats:
        return np.asarray(engine.measure(a, b, "coherence"), np.float64).reshape(N_DYADS, N_DYADS)

    left = [np.array([regressed(*pair) for pair in zip(x[k], c[k, :, None], strict=True)]) for k in range(2)]
    both = np.empty((N_DYADS, N_DYADS))
    for shift in range(N_DYADS):  # first person i with second person i + shift
        b, cb = (np.roll(part[1], -shift, axis=0) for part in (x, c))
        found = table(of([x[0], c[0], cb], 2), of([b, c[0], cb], 2))
        both[np.arange(N_DYADS), (np.arange(N_DYADS) + shift) % N_DYADS] = found.diagonal()
    return {
        "none": table(of([x[0]]), of([x[1]])), "both": both,
        "own": table(of([x[0], c[0]], 1), of([x[1], c[1]], 1)), "regression": table(of([left[0]]), of([left[1]])),
    }  # fmt: skip


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
    lines = [["scalp in the channels", "brains", "no control", *(f'`"{how}"`' for how in HOW)], ["---"] * 6]
    for delay_s, coupled in dict.fromkeys((row["delay_s"], row["coupled"]) for row in found["levels"]):
        of_how = {r["how"]: r for r in found["levels"] if (r["delay_s"], r["coupled"]) == (delay_s, coupled)}
        rates = [f"{r['rate']:.3f} [{r['low']:.3f}, {r['high']:.3f}]" for r in map(of_how.get, ("none", *HOW)) if r]
        lines.append([f"{delay_s:g} s late" if delay_s else "at once", "coupled" if coupled else "independent", *rates])
    tables["levels"] = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    text = PAGE.read_text(encoding="utf-8")
    for name, made in tables.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        text = re.sub(f"{begin}.*{end}", lambda _, new=f"{begin}\n{made}\n{end}": new, text, flags=re.DOTALL)
    PAGE.write_text(text, encoding="utf-8")


def main() -> None:
    if "--levels" in sys.argv:
        found = json.loads(RESULT.read_text(encoding="utf-8")) | {"levels": levels()}
        RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    elif "--tables" not in sys.argv:
        RESULT.write_text(json.dumps(measured(), indent=1) + "\n", encoding="utf-8")
    write_tables(json.loads(RESULT.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
