"""Another kind of coupling beside wavelet coherence: one class and one line in each table, and the engine takes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import scipy.signal
from numpy.testing import assert_allclose
from refusals import plan_refusal as refusal

from ibsync.coupling.backends.choice import backend_named
from ibsync.coupling.engine import Engine
from ibsync.coupling.kinds import KINDS
from ibsync.coupling.measures import MEASURES, Measure
from ibsync.coupling.spec import WTC


@dataclass(frozen=True)
class PhaseLocking:
    """Spec of a phase-locking value of signals as they are."""


@dataclass(frozen=True)
class Plan:
    n_samples: int
    sfreq: float
    spec: PhaseLocking
    epochs: Any


@dataclass(frozen=True)
class Phasors:
    signals: Any
    plan: Plan
    u: Any


@dataclass(frozen=True)
class Locking:
    locking: Any


class PhaseLockingKind:
    def backend(self, name, spec):
        return backend_named(name)

    def plan(self, n_samples, sfreq, spec, epochs):
        return Plan(n_samples, sfreq, spec, epochs)

    def features(self, backend, signals, plan):
        analytic = scipy.signal.hilbert(signals.x, axis=1)
        return Phasors(signals, plan, analytic / np.abs(analytic) / np.sqrt(plan.n_samples))

    def means(self, backend, a, b, shares):
        return Locking((a.u @ b.u.conj().T).reshape(*a.signals.shape, *b.signals.shape, 1, 1))


@pytest.fixture
def phase_locking(monkeypatch):
    locking = Measure("locking", "phase locking", "", "coherency", lambda means, _: abs(means.locking))
    monkeypatch.setitem(KINDS, PhaseLocking, PhaseLockingKind())
    monkeypatch.setitem(MEASURES, "locking", locking)


def test_an_engine_computes_a_kind_that_it_does_not_know(phase_locking):
    a, b = np.random.default_rng(0).standard_normal((2, 3, 200))
    engine = Engine(200, 10.0, PhaseLocking(), backend="numpy")
    found = engine.measure(engine.features(a), engine.features(b), "locking")
    phase_a, phase_b = (np.angle(scipy.signal.hilbert(x)) for x in (a, b))
    expected = [[abs(np.exp(1j * (x - y)).mean()) for y in phase_b] for x in phase_a]
    assert_allclose(found[..., 0, 0], expected, rtol=0, atol=1e-12)


def test_what_is_no_spec_is_refused():
    refusal(lambda: Engine(200, 10.0, {"task": (0.1, 0.3)}), "WTC")
    assert type(WTC()) in KINDS
