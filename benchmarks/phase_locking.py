"""Phase locking of 64 x 64 channels of two people, beside HyPyP in one process; values are compared first.

python benchmarks/phase_locking.py [--seconds 60] [--rounds 5] [-o benchmarks/results/phase-locking.json]

Values are compared of the same analytic signals. With its own filter HyPyP's differ: it reflects signals at their ends
and does not pad them before the Hilbert transform, which the ends then reach far into, most in slow bands.

Needs HyPyP and ibsync in one environment. CPU seconds of the process, medians of rounds that take turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import checkout
import numpy as np
from measure import provenance

from ibsync.coupling.band_spec import Coupling
from ibsync.coupling.engine import Engine
from ibsync.coupling.transform.band_pass import reach

SFREQ, N_CHANNELS = 250.0, 64
BANDS = {"delta": (1, 4), "theta": (4, 8), "alpha": (8, 13), "beta": (13, 30), "gamma": (30, 45)}


def people(n_samples: int) -> Any:
    """Two people of noise that share a little: float64 [person, channel, sample]."""
    rng = np.random.default_rng(0)
    return rng.standard_normal((2, N_CHANNELS, n_samples)) + 0.5 * rng.standard_normal(n_samples)


def cpu_s(work: Callable[[], Any]) -> float:
    """CPU seconds of all threads of the process."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Compare, then time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    from hypyp.analyses import compute_freq_bands, compute_sync

    n = round(arguments.seconds * SFREQ)
    x = people(n)
    engine = Engine(n, SFREQ, Coupling("plv", BANDS, coi="none"), backend="numpy")
    fast = Engine(n, SFREQ, Coupling("plv", BANDS, coi="none", accuracy="fast"), backend="numpy")

    def theirs_of(z: Any) -> Any:
        return compute_sync(z, "plv", optimization=None)[:, :N_CHANNELS, N_CHANNELS:]

    z = compute_freq_bands(x[:, None], SFREQ, BANDS)
    features = [(e, *(e.features(side) for side in x)) for e in (engine, fast)]
    inner = Engine(n, SFREQ, Coupling("plv", BANDS), backend="numpy")
    sides = [inner.features(side) for side in x]
    ours = inner.measure(*sides, "plv")[..., 0]
    differences, of_filters = [], []
    for k, band in enumerate(inner.spec.bands.values()):
        inside = slice(reach(band, SFREQ), n - reach(band, SFREQ))
        phasors = np.stack([side.feature(band)[0][:, inside] for side in sides])
        differences.append(float(abs(theirs_of(phasors[:, None, :, None])[0] - ours[..., k]).max()))
        of_filters.append(float(abs(theirs_of(z[..., k : k + 1, inside])[0] - ours[..., k]).max()))
    assert max(differences) < 1e-9, differences
    bands = engine.spec.bands.values()
    works: dict[str, Callable[[], Any]] = {
        "ours: filter, analytic signal": lambda: [engine.features(side).feature(b) for side in x for b in bands],
        "HyPyP: filter, analytic signal": lambda: compute_freq_bands(x[:, None], SFREQ, BANDS),
        "ours: all pairs": lambda: engine.measure(*features[0][1:], "plv"),
        "ours, fast: all pairs": lambda: fast.measure(*features[1][1:], "plv"),
        "HyPyP: all pairs": lambda: theirs_of(z),
    }
    for work in works.values():
        work()
    rounds = [{name: cpu_s(work) for name, work in works.items()} for _ in range(arguments.rounds)]
    median = {name: statistics.median(one[name] for one in rounds) for name in works}
    found = {
        "seconds": arguments.seconds, "sfreq": SFREQ, "channels": N_CHANNELS, "bands": BANDS,
        "largest_difference": max(differences),
        "largest_difference_with_its_own_filter": dict(zip(BANDS, of_filters, strict=True)), "cpu_s": median,
        "pairs_ratio": median["HyPyP: all pairs"] / median["ours: all pairs"],
        "pairs_ratio_fast": median["HyPyP: all pairs"] / median["ours, fast: all pairs"],
        "filter_ratio": median["HyPyP: filter, analytic signal"] / median["ours: filter, analytic signal"],
        **provenance(checkout.REPOSITORY, ("hypyp", "mne", "numpy", "scipy")),
    }  # fmt: skip
    print(json.dumps(found, indent=1))
    if arguments.output:
        arguments.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
