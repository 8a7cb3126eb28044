"""What the coarse time grid gets wrong in means, against the fine one; writes benchmarks/results/coarse-grid.json.

python benchmarks/coarse_grid.py [--plans 400] [-o benchmarks/results/coarse-grid.json]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import checkout
import numpy as np
from measure import provenance
from numpy.typing import NDArray

from ibsync.coupling.band_rows import band_rows
from ibsync.coupling.engine import Engine
from ibsync.coupling.plan import LARGE_MEAN, Plan, make_plan
from ibsync.coupling.spec import WTC
from ibsync.errors import PlanError

SFREQ_HZ = 10.0
MOST_CONTROLS = 4


def people(rng: np.random.Generator, n_controls: int, n_samples: int) -> list[NDArray[np.float64]]:
    """Two people with three channels that share something, and that hold their controls: [channel, sample] each."""
    sides = []
    for _ in range(2):
        x = rng.standard_normal((3 + n_controls, n_samples))
        if rng.random() < 0.5:
            x += x.cumsum(axis=1)
        x[:3] += 0.8 * x[3:].sum(axis=0) * rng.random((3, 1))
        sides.append(x)
    sides[1][:3] += 0.5 * sides[0][:3]
    return sides


def large(plan: Plan, parts: list[tuple[int, int]]) -> float:
    """How large a mean is by the rule of the plan: cells of each interval, in largest scales."""
    rows = np.flatnonzero(band_rows("band", plan.bands["band"], plan.scales, plan.sfreq)).tolist()
    cut = [plan.trusted(parts, row) for row in rows]
    cells = sum(stop - start for row in cut for start, stop in row) / max(1, *map(len, cut))
    return float(cells / plan.scale[rows[-1]])


def errors(rng: np.random.Generator, n_controls: int, coi: str) -> Iterator[tuple[float, float]]:
    """Size and largest error of each mean of a plan of random length, band and epoch; none where it fits badly."""
    n_samples, low = int(rng.integers(800, 4000)), float(np.exp(rng.uniform(np.log(0.03), np.log(0.6))))
    seconds = n_samples / SFREQ_HZ
    start = rng.uniform(0, 0.4) * seconds
    epochs = {"all": (0.0, seconds), "part": (start, start + rng.uniform(0.4, 0.6) * seconds)}
    spec = WTC(bands={"band": (low, min(low * 2 ** rng.uniform(0.5, 2.5), 3.0))}, coi=coi, min_valid=0.0)
    sides = people(rng, n_controls, n_samples)
    found = []
    for limit in (0.0, np.inf):  # the coarse grid everywhere, and nowhere
        with (
            mock.patch("ibsync.coupling.plan.LARGE_MEAN", {coi: limit}),
            mock.patch("ibsync.coupling.wavelet_coherence.kept_plan", make_plan),
            # Also where controls are taken out, to see why these have the finer grid.
            mock.patch.object(Plan, "with_controls", property(lambda plan: plan)),
        ):
            try:
                engine = Engine(n_samples, SFREQ_HZ, spec, epochs=epochs, backend="numpy")
            except PlanError:  # the band does not fit the epoch
                return
            features = [engine.features(x, n_controls=n_controls) for x in sides]
            found.append(engine.coherence(*features).coherence)
    difference = np.nan_to_num(np.abs(found[0] - found[1])).max(axis=(0, 1))[0]
    for parts, error in zip(engine.plan.epoch_samples, difference, strict=True):
        yield large(engine.plan, parts), float(error)


def measure(n_plans: int) -> dict[str, Any]:
    """Largest errors by controls and cone of influence, of means that are large and in units of their size."""
    found = []
    for coi in LARGE_MEAN:
        for n_controls in range(MOST_CONTROLS + 1 if coi == "recording" else 1):
            rng = np.random.default_rng([n_controls, coi == "none"])
            means = [mean for _ in range(n_plans) for mean in errors(rng, n_controls, coi)]
            row = {
                "coi": coi, "controls": n_controls, "means": len(means),
                "error_times_size": max(size * error for size, error in means),
                "error_of_large_means": max(error for size, error in means if size >= LARGE_MEAN[coi]),
            }  # fmt: skip
            found.append(row)
            print(row)
    return {
        "how": f"means of random plans, 80 to 400 s at {SFREQ_HZ:g} Hz: R2 on 1.5 grid points per scale length against "
        "2.5; size: cells of each interval in scale lengths",
        "rows": found, "plans": n_plans, "provenance": provenance(checkout.REPOSITORY, ("numpy", "scipy")),
    }  # fmt: skip


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plans", type=int, default=400)
    parser.add_argument("-o", type=Path, default=checkout.REPOSITORY / "benchmarks" / "results" / "coarse-grid.json")
    asked = parser.parse_args()
    asked.o.write_text(json.dumps(measure(asked.plans), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
