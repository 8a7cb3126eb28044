"""What the host does for a GPU, counted on a stand-in whose kernels do nothing: a wait more is a fault."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from ibsync.coupling.backends.cuda.backend import CudaBackend
from ibsync.coupling.engine import Engine
from ibsync.coupling.spec import WTC

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    counting = importlib.import_module("host_operations")

SPEC = WTC({"slow": (0.4, 0.8), "fast": (0.9, 1.6)}, coi="none", min_valid=0.0)


@pytest.mark.parametrize("gaps", [False, True])
def test_the_verbs_wait_for_their_signals_and_results_and_once_for_what_is_known_of_the_cells(gaps):
    device = counting.CountingDevice()
    engine = Engine(300, 10.0, SPEC, backend=CudaBackend(device))
    assert len(engine.plan.segments) > 3
    x = np.random.default_rng(0).standard_normal((3, 300)).cumsum(axis=1)
    if gaps:
        x[0, 100:120] = np.nan

    def job():
        return engine.coherence(engine.features(x), engine.features(x))

    with np.errstate(all="ignore"):
        job()
        device.counts()
        job()
    counts = device.counts()
    assert counts["downloads"] == 4  # flags of cells; coherence, coherency, valid fraction
    assert counts["memory queries"] == 3  # for each features, and for the pairs
    if not gaps:
        assert counts["uploads"] == 2  # mean and gain of either side


def test_signals_of_the_device_are_waited_for_twice():
    device = counting.CountingDevice()
    engine = Engine(300, 10.0, SPEC, backend=CudaBackend(device))
    x = device.from_host(np.random.default_rng(0).standard_normal((3, 300)))
    device.counts()
    engine.features(x)
    assert device.counts()["downloads"] == 2  # whether there are gaps; mean and gain


def test_a_truth_that_is_asked_for_is_a_wait():
    device = counting.CountingDevice()
    assert (device.from_host(np.ones(2)) > 0).all()
    assert device.counts()["downloads"] == 1
