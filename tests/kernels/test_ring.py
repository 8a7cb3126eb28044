"""Uploads beside the work are right in whatever order the streams come to run."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from ibsync.coupling.backends.cuda.upload_ring import Ring


class World:
    """Streams that run when they like: what is launched waits in a queue, and any queue that may go on may be next."""

    def __init__(self, seed: int):
        self.rng, self.haste = np.random.default_rng(seed), seed % 4
        self.streams: list[Stream] = []
        self.done: set[object] = set()
        self.current = Stream(self)
        self.cuda = SimpleNamespace(
            Stream=lambda non_blocking: Stream(self),
            Event=lambda disable_timing: Event(self),
            get_current_stream=lambda: self.current,
        )

    def empty(self, shape, dtype):
        found = np.full(shape, 99, dtype).view(Late)
        found.world = self
        return found

    def step(self) -> bool:
        """Run the first of one queue; False if none may go on."""
        ready = [stream for stream in self.streams if stream.ready]
        if ready:
            ready[self.rng.integers(len(ready))].run()
        return bool(ready)

    def some_steps(self):
        for _ in range(self.rng.integers(0, self.haste + 1)):
            self.step()


class Stream:
    def __init__(self, world):
        self.world, self.queue = world, []
        world.streams.append(self)

    @property
    def ready(self) -> bool:
        return bool(self.queue) and self.queue[0][0] in (None, *self.world.done)

    def add(self, work, after=None):
        self.queue.append((after, work))
        self.world.some_steps()

    def run(self):
        self.queue.pop(0)[1]()

    def wait_event(self, event):
        if event.mark is not None:
            self.add(lambda: None, after=event.mark)

    def synchronize(self):
        while self.queue:
            assert self.world.step()


class Event:
    def __init__(self, world):
        self.world, self.mark = world, None

    def record(self, stream):
        mark = self.mark = object()
        stream.add(lambda: self.world.done.add(mark))

    def synchronize(self):
        while self.mark is not None and self.mark not in self.world.done:
            assert self.world.step()


class Late(np.ndarray):
    """An array of the device, written when its stream comes to it."""

    def __array_finalize__(self, source):
        self.world = getattr(source, "world", None)

    def set(self, source, stream):
        stream.add(lambda: np.copyto(self.view(np.ndarray), source))

    def __setitem__(self, key, value):
        self.world.current.add(lambda: self.view(np.ndarray).__setitem__(key, value))


def uploaded(seed, monkeypatch):
    """Arrays of several sizes and kinds, and what came of each."""
    world = World(seed)
    cupyx = ModuleType("cupyx")
    cupyx.empty_pinned = lambda shape, dtype: np.full(shape, 77, dtype)
    monkeypatch.setitem(sys.modules, "cupyx", cupyx)
    ring = Ring(world, slot_bytes=64)
    rng = np.random.default_rng(0)
    sent, arrived = [], []
    for n_rows, n_columns, dtype in ((3, 4, np.float64), (7, 5, np.float32), (2, 30, np.float32), (9, 4, np.float64)):
        x = rng.standard_normal((n_rows, n_columns)).astype(dtype)
        sent.append(x.copy())
        arrived.append(ring.upload(x))
        x[:] = -1  # the caller's own again
    while world.step():
        pass
    return sent, [np.asarray(x.view(np.ndarray)) for x in arrived]


@pytest.mark.parametrize("seed", range(40))
def test_all_arrives_whatever_the_order(seed, monkeypatch):
    for x, found in zip(*uploaded(seed, monkeypatch), strict=True):
        assert found.dtype == np.float64
        assert_array_equal(found, x)


@pytest.mark.parametrize("forgotten", ["Event.synchronize", "Stream.wait_event", "Event.record"])
def test_a_wait_that_is_forgotten_is_seen(forgotten, monkeypatch):
    owner, name = forgotten.split(".")
    monkeypatch.setattr(globals()[owner], name, lambda *_: None)
    wrong = 0
    for seed in range(40):
        sent, found = uploaded(seed, monkeypatch)
        wrong += any(not np.array_equal(x, y) for x, y in zip(sent, found, strict=True))
    assert wrong
