"""What a push of `ibs.Live` costs: windows of 60 s at 10 Hz, 20 x 20 channels, half a second at a time, one thread.

python benchmarks/live.py
"""

from __future__ import annotations

import time
from statistics import median

import numpy as np

import ibsync as ibs
from ibsync.coupling.backends.numpy import NumpyBackend

SFREQ, WINDOW_S, CHANNELS, STEP, PUSHES = 10.0, 60.0, 20, 5, 100
BANDS = {"task": (0.08, 0.2)}
SPECS = {
    "WTC": ibs.WTC(BANDS),
    "WTC, accuracy fast": ibs.WTC(BANDS, accuracy="fast"),
    "Coupling plv, coi none": ibs.Coupling("plv", BANDS, coi="none"),
    "Coupling wpli, coi none": ibs.Coupling("wpli", BANDS, coi="none"),
}


def milliseconds(spec: ibs.WTC | ibs.Coupling) -> list[float]:
    """CPU time of each push once the window is full, ms."""
    n = round(SFREQ * WINDOW_S)
    a, b = np.random.default_rng(0).standard_normal((2, CHANNELS, n + STEP * PUSHES))
    live = ibs.Live(CHANNELS, SFREQ, WINDOW_S, spec, backend="numpy")
    if isinstance(live.engine.backend, NumpyBackend):
        live.engine.backend.n_threads = 1
    live.push(a[:, :n], b[:, :n])
    taken = []
    for start in range(n, a.shape[1], STEP):
        begin = time.process_time()
        live.push(a[:, start : start + STEP], b[:, start : start + STEP])
        taken.append(1e3 * (time.process_time() - begin))
    return taken


if __name__ == "__main__":
    print("| spec | median, ms | slowest of 100, ms |\n| --- | --- | --- |")
    for name, spec in SPECS.items():
        of_spec = milliseconds(spec)
        print(f"| {name} | {median(of_spec):.1f} | {max(of_spec):.1f} |")
