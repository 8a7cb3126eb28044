"""A surrogate null that never leaves the device whole: surrogates, coherence and counts, with kernels on the CPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from ibsync.coupling.backends.cuda.backend import CudaBackend
from ibsync.coupling.engine import Engine
from ibsync.coupling.spec import WTC
from ibsync.nulls.surrogate_null import SurrogateNull, drawn_values, observed_values
from ibsync.nulls.surrogate_signals import surrogates
from ibsync.nulls.surrogates_on_device import surrogates_on
from ibsync.study.surrogate_partners import SurrogatePartners

SFREQ, N, SEED = 10.0, 128, 11
SPEC = WTC({"fast": (0.9, 1.4)}, accuracy="fast", min_valid=0.0, coi="none")


def recording(n_channels, seed, gaps=False):
    x = np.random.default_rng(seed).standard_normal((n_channels, N)).cumsum(axis=1)
    if gaps:
        x[0, 40:44] = np.nan
    return x


# --- surrogates -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["phase", "shift"])
@pytest.mark.parametrize("n", [N, N - 1])
def test_surrogates_of_the_device_are_those_of_the_host(strict, kind, n, monkeypatch):
    monkeypatch.setattr("ibsync.nulls.surrogates_on_device._MOST_DRAWS", 2)
    x = recording(4, 1)[:, :n]
    x[1], x[2] = 5.0, np.nan
    draws = np.array([3, 0, 1, (1 << 31) + 4])
    expected = surrogates(kind, x, draws, seed=SEED, entity=9)
    found = strict.to_host(surrogates_on(strict, kind, x, draws, seed=SEED, entity=9))
    assert_allclose(found, expected, rtol=0, atol=0 if kind == "shift" else 1e-11)
    assert_array_equal(found[1], x)


# --- counts -----------------------------------------------------------------------------------------------------------


@dataclass
class Given:
    """A source whose values are known, on the host or on a device."""

    table: np.ndarray
    device: Any = None
    block: int = 8

    def values(self, draws):
        found = self.table[draws % len(self.table)]
        return found if self.device is None else self.device.from_host(found)


def tables():
    rng = np.random.default_rng(2)
    for missing in (0.0, 0.1):
        drawn = rng.uniform(0, 1, (97, 1, 3, 4, 2)).round(2)
        drawn[rng.uniform(size=drawn.shape) < missing] = np.nan
        drawn[:, 0, 0, 0, 0] = 0.5
        drawn[0, 0, 2, 3, 1] = np.nan
        yield drawn


def counted(device, tail, stop_at=None, task_of_row=(0, 0)):
    sources = [Given(table, device) for table in tables()]
    null = SurrogateNull.begin(
        map(observed_values, sources), kind="phase", n=150, seed=0, tail=tail, rows=["one", "two"],
        groups=np.arange(24 * (1 + max(task_of_row))) % 2, dtype=np.dtype(np.float32), stop_at=stop_at,
        task_of_row=np.array(task_of_row),
    )  # fmt: skip
    if stop_at is not None:
        for start, stop in null.steps(1, 101):
            going_on = null.going_on()
            null.add_until(start, stop, {row: drawn_values(sources[row], start, stop) for row in going_on})
            if null.complete:
                break
        return null
    for start, stop in [*null.steps(1, 101), *null.steps(101, 151)]:
        for row, source in enumerate(sources):
            null.put(start, row, drawn_values(source, start, stop))
        null.take_in(start, stop)
    return null


@pytest.mark.parametrize("tail", ["greater", "less", "two-sided"])
@pytest.mark.parametrize("tasks", [(0, 0), (1, 0)])
def test_integers_of_the_device_are_those_of_the_host(strict, tail, tasks):
    expected, found = counted(None, tail, task_of_row=tasks), counted(strict, tail, task_of_row=tasks)
    for one, other in zip([*expected.by_row, expected.together], [*found.by_row, found.together], strict=True):
        for name in ("at_least", "above", "at_most"):
            assert_array_equal(getattr(other.exceedances, name), getattr(one.exceedances, name))
        for name in ("draws", "sums", "squares"):
            assert_array_equal(getattr(other.moments, name), getattr(one.moments, name))
        assert_array_equal(other.step_down.counts, one.step_down.counts)
        assert_array_equal(other.maxima.values, one.maxima.values)
    assert_array_equal(found.pooled, expected.pooled)
    assert expected.together.step_down.counts.any()


def test_sequential_counts_stop_at_the_same_draw(strict):
    expected, found = counted(None, "greater", 5), counted(strict, "greater", 5)
    for one, other in zip(expected.by_row, found.by_row, strict=True):
        assert_array_equal(other.stopped_at, one.stopped_at)


# --- both, with coherence between -------------------------------------------------------------------------------------


def partners(device, kind, gaps, measure="coherence"):
    engine = Engine(N, SFREQ, SPEC, backend="numpy")
    options = {"block": 40} if kind == "block" else {}
    x, y = recording(2, 5), recording(2, 6, gaps)
    made = SurrogatePartners(engine, x, y, kind, SEED, (1, 2), measure, options)
    if device is not None:
        engine.backend = CudaBackend(device, tensor_cores=False)
    return made


@pytest.mark.parametrize(
    ("kind", "gaps", "measure"),
    [
        ("phase", False, "coherence"), ("phase", True, "phase_consistency"), ("shift", True, "coherence"),
        ("iaaft", False, "in_phase"), ("block", True, "above"), ("ar1", False, "coherence"),
        ("phase", True, "imaginary_coherency"),
    ],
)  # fmt: skip
def test_draws_have_the_values_of_the_host(strict, kind, gaps, measure):
    draws = np.arange(3)
    expected = partners(None, kind, gaps, measure).values(draws)
    source = partners(strict, kind, gaps, measure)
    found = source.values(draws)
    assert hasattr(found, "__cuda_array_interface__")
    assert np.isfinite(expected).any()
    assert_allclose(strict.to_host(found), expected, rtol=0, atol=2e-6)
