"""What channels that need the deeper rank cost among all pairs of many; writes results/deep_channels.json.

python benchmarks/deep_channels.py
"""

from __future__ import annotations

import json
import os
import platform
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray

from ibsync.coupling.backends.numpy import NumpyBackend
from ibsync.coupling.engine import Engine
from ibsync.coupling.spec import WTC

RESULT = Path(__file__).resolve().parent / "results" / "deep_channels.json"
SFREQ, N, CHANNELS, DEEP, ROUNDS = 10.0, 6000, 440, 2, 3


def walks() -> NDArray[np.float64]:
    """Random walks with noise: twice as many as are taken, float64 [channel, sample]."""
    rng = np.random.default_rng(0)
    steps, noise = rng.standard_normal((2, 2 * CHANNELS, N))
    return np.asarray(np.cumsum(steps, axis=1) + noise)


def measured(accuracy: str) -> dict[str, float]:
    """CPU seconds of all pairs without such channels, and the ratio with two of them: medians over paired rounds."""
    engine = Engine(N, SFREQ, WTC({"task": (0.02, 0.2)}, accuracy=accuracy), backend=NumpyBackend(n_threads=1))
    x = walks()
    everybody = engine.features(x)
    engine.coherence(everybody, engine.features(x[:1]))
    is_deep = everybody.deep  # type: ignore[attr-defined]
    good, deep = x[~is_deep], x[is_deep]
    people = {"none": good[:CHANNELS], "some": np.concatenate([deep[:DEEP], good[: CHANNELS - DEEP]])}
    rounds: list[dict[str, float]] = []
    for _ in range(ROUNDS + 1):  # the first builds tables
        rounds.append({})
        for name, channels in people.items():
            features = engine.features(channels)
            start = time.process_time()
            engine.coherence(features, features)
            rounds[-1][name] = time.process_time() - start
    return {
        "cpu_s_without": median(of["none"] for of in rounds[1:]),
        "ratio": median(of["some"] / of["none"] for of in rounds[1:]),
    }


def main() -> None:
    """Measure both accuracies."""
    found = {
        "machine": platform.machine(), "cores": os.cpu_count(), "date": datetime.now(UTC).date().isoformat(),
        "numpy": np.__version__, "samples": N, "channels": CHANNELS, "deep": DEEP,
        **{accuracy: measured(accuracy) for accuracy in ("exact", "fast")},
    }  # fmt: skip
    RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
