"""Every kind of kernel once, at the smallest size: what compute-sanitizer watches. `python benchmarks/gpu_tiny.py`."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import checkout  # noqa: F401
import numpy as np

from ibsync.commands.bench import map_spec
from ibsync.commands.workloads import Workload, write_workload
from ibsync.coupling.engine import Engine
from ibsync.study.study import Study

TINY = Workload(1, 1, 3, 60.0, 4.0, 8, "none", periods_s=(2.0, 8.0))
NEAR = {"exact": 1e-6, "fast": 1e-4}
"""How near means of the two backends are: float32 sums of some hundred cells, and rounding to halves."""


def main(words: Sequence[str] | None = None) -> None:
    """Run everything on a backend; means must be those of NumPy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", choices=("cuda", "numpy"), default="cuda")
    backend = parser.parse_args(words).backend
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, TINY.n_channels, TINY.n_samples)).cumsum(axis=-1)
    for accuracy in NEAR:
        _compare(x, y, accuracy, backend)
    spiky = x.copy()
    spiky[1, TINY.n_samples // 2] += 1e4  # served in float64
    _compare(spiky, y, "exact", backend)
    many = rng.standard_normal((40, TINY.n_samples)).cumsum(axis=-1)  # larger tiles
    _compare(many, y, "fast", backend)
    for kind in ("phase", "shift"):
        _null(kind, backend)
    print(f"every stage ran on {backend}")


def _compare(x: np.ndarray, y: np.ndarray, accuracy: str, backend: str) -> None:  # type: ignore[type-arg]
    for shares in (False, True):
        found, expected = (
            engine.coherence(engine.features(x), engine.features(y), shares=shares)
            for engine in (_engine(accuracy, name) for name in (backend, "numpy"))
        )
        difference = float(np.nanmax(np.abs(found.coherence - expected.coherence)))
        if not difference <= NEAR[accuracy]:
            raise SystemExit(f"{accuracy}: means differ from NumPy's by {difference:.1e}, more than {NEAR[accuracy]}")


def _engine(accuracy: str, backend: str) -> Engine:
    spec = replace(map_spec(accuracy, TINY.periods_s), min_valid=0.0)
    return Engine(TINY.n_samples, TINY.sfreq_hz, spec, backend=backend)


def _null(kind: str, backend: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.h5"
        write_workload(TINY, path)
        spec = map_spec("fast", TINY.periods_s)
        Study.open(path).null(spec, kind=kind, n=TINY.n_draws, seed=1, backend=backend)


if __name__ == "__main__":
    main()
