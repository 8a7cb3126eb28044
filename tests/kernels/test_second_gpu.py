"""A GPU that is not the first: found by its number, and current whenever its arrays are combined."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
import strict as strict_arrays
from fake_cupy import Machine
from numpy.testing import assert_allclose
from strict import StrictDevice

import ibsync as ibs
from ibsync.coupling.backends.cuda import backend as cuda
from ibsync.coupling.engine import Engine
from ibsync.errors import DeviceError
from ibsync.study.channel_pairs import Axes
from ibsync.study.engine_memory import worked_bytes
from ibsync.study.pair_values import tile_jobs
from ibsync.study.rows import occasions_of
from ibsync.study.runner import Worker
from ibsync.study.surrogate_partners import SurrogatePartners

SPEC = ibs.WTC(bands={"task": (0.1, 0.3)}, voices=6, accuracy="fast")


class SecondGpu(StrictDevice):
    """One whose arrays are combined only where it is the current one."""

    depth = 0

    @contextmanager
    def active(self, stream=None):
        self.depth += 1
        yield
        self.depth -= 1


@pytest.fixture
def second(host, monkeypatch):
    device = SecondGpu()
    device.compute_capability = 70
    refuse = strict_arrays.refuse_host_arrays

    def refuse_elsewhere(what, values):
        assert device.depth, f"{what} on the current GPU, which is another"
        refuse(what, values)

    monkeypatch.setattr(strict_arrays, "refuse_host_arrays", refuse_elsewhere)
    monkeypatch.setattr(cuda, "_devices", {0: None, 1: device})
    monkeypatch.setattr("ibsync.study.surrogate_partners._LARGEST_BLOCK_THERE", 32)
    return device


def test_an_engine_computes_where_it_was_told_to(second):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 3, 160))
    a[0, 50:52] = np.nan
    engines = [Engine(160, 2.0, SPEC, backend=name) for name in ("numpy", "cuda:1")]
    assert engines[1].device is second
    for name in ("coherence", "in_phase", "imaginary_coherency"):
        expected, found = (engine.measure(engine.features(a), engine.features(b), name) for engine in engines)
        assert_allclose(found, expected, rtol=0, atol=1e-4 if name != "in_phase" else 0.05)
    engine = engines[1]
    assert np.isfinite(engine.coherence(engine.features(a), engine.features(b)).coherence[1:]).all()
    with engine.active():
        there = second.upload(b)
    assert engine.measure(engine.features(there), engine.features(b), "above").shape == (3, 3, 1, 1)


@pytest.mark.parametrize("kind", ["phase", "shift"])
def test_a_null_is_drawn_and_counted_there(second, tmp_path, kind):
    study = ibs.simulate(tmp_path / "two.h5", n_dyads=2, n_channels=1, duration=60.0, sfreq=2.0, seed=1)
    nulls = [study.null(SPEC, kind=kind, n=9, seed=5, backend=name) for name in ("numpy", "cuda:1")]
    assert_allclose(nulls[1].observed, nulls[0].observed, rtol=0, atol=1e-4)
    assert_allclose(nulls[1].pooled, nulls[0].pooled, rtol=0, atol=1e-4)
    assert nulls[1].attrs["backend"] == "cuda"


def test_partners_are_drawn_there_whoever_asks(second):
    x, y = np.random.default_rng(0).standard_normal((2, 1, 160))
    values = [
        SurrogatePartners(Engine(160, 2.0, SPEC, backend=name), x, y, "shift", 5, (1, 2)).values(np.arange(3))
        for name in ("numpy", "cuda:1")
    ]
    assert_allclose(second.to_host(values[1]), values[0], rtol=0, atol=1e-4)


def test_each_number_is_a_device_of_its_own_that_is_kept(monkeypatch):
    Machine(count=2).install(monkeypatch)
    monkeypatch.setattr(cuda, "_devices", {})
    first, second = cuda.default_device(), cuda.default_device(1)
    assert (first.index, second.index) == (0, 1)
    assert cuda.default_device(1) is second
    assert Engine(160, 2.0, SPEC, backend="cuda:1").device is second
    with pytest.raises(DeviceError, match="no GPU number 2; this process sees 2"):
        Engine(160, 2.0, SPEC, backend="cuda:2")


def test_tiles_depend_on_the_memory_that_a_gpu_has_and_not_on_what_is_free(second, tmp_path, monkeypatch):
    """A journal names tiles: they have to be the same when the run goes on beside another program."""
    study = ibs.simulate(tmp_path / "s.h5", n_dyads=6, n_channels=1, duration=80.0, sfreq=2.0)
    monkeypatch.setattr("ibsync.study.runner.FEATURE_BYTES", 1)
    (occasion,) = occasions_of(study.dyads)
    plan, dyads = occasion.plan(SPEC, None), [row.dyad for row in study.dyads]

    def names(n_people, free_bytes):
        each = worked_bytes(Worker("cuda:1").engine(plan).plan)
        monkeypatch.setattr(second, "memory_bytes", 16 * 2 * n_people * each)
        monkeypatch.setattr(second, "budget_bytes", lambda: free_bytes)
        words = ("fixed", Axes.of(study.dyads, "all"), "hbo", plan, "coherence", Worker("cuda:1"))
        return [job.name for job in tile_jobs(study, occasion, dyads, np.arange(6), *words, dict.fromkeys(dyads, 0))]

    assert names(2, free_bytes=1) == names(2, free_bytes=1 << 40)
    assert [len(names(n, free_bytes=1 << 30)) for n in (1, 2, 3, 6)] == [36, 9, 4, 1]
