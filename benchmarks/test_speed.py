"""Stages of ibsync one by one, for comparing two commits: `python -m pytest benchmarks/test_speed.py`.

Wall time of one process with all cores; not among the tests that `pytest` collects.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import DYAD_SFREQ_HZ, PERIODS_S, VOICES, dyad_signals
from numpy.typing import NDArray

from ibsync.coupling.engine import Engine
from ibsync.coupling.spec import WTC, Band
from ibsync.coupling.transform.feature_cache import load_group

accuracies = pytest.mark.parametrize("accuracy", ["exact", "fast"])


@pytest.fixture(scope="module")
def signals() -> NDArray[np.float32]:
    return dyad_signals()


def engine(n_samples: int, accuracy: str) -> Engine:
    spec = WTC(bands={"slow": Band(period=PERIODS_S)}, voices=VOICES, accuracy=accuracy)
    return Engine(n_samples, DYAD_SFREQ_HZ, spec, backend="numpy")


@accuracies
@pytest.mark.benchmark(group="features of 40 channels, 10 min at 10 Hz")
def test_features(benchmark: Any, signals: NDArray[np.float32], accuracy: str) -> None:
    eng = engine(signals.shape[-1], accuracy)
    benchmark(lambda: [eng.features(person) for person in signals])


@accuracies
@pytest.mark.benchmark(group="coherence of 20 x 20 channels, 10 min at 10 Hz")
def test_coherence(benchmark: Any, signals: NDArray[np.float32], accuracy: str) -> None:
    eng = engine(signals.shape[-1], accuracy)
    a, b = (eng.features(person) for person in signals)
    found = benchmark(eng.coherence, a, b)
    assert np.isfinite(found.coherence).all()


@accuracies
@pytest.mark.benchmark(group="tables of N = 6000, periods 5-50 s, empty cache")
def test_building_tables(benchmark: Any, accuracy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = engine(6000, accuracy).plan
    monkeypatch.setenv("IBSYNC_CACHE_DIR", str(tmp_path))

    def empty() -> None:
        load_group.cache_clear()
        for file in tmp_path.iterdir():
            file.unlink()

    def build() -> None:
        for span in plan.row_spans:
            load_group(plan.scales, *span, plan.rank(0, span))

    benchmark.pedantic(build, setup=empty, rounds=3)
    load_group.cache_clear()
