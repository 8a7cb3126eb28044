"""Who computes: numbered jobs, run here, in threads, or on any executor of `concurrent.futures`.

A job is one part of a long computation: a dyad, a tile of people, a range of draws. It carries all it needs, so that it
can be sent to another process, and its value is filed under its number: results do not depend on who computed a part,
or when. Whoever computes is a `Worker`, which owns a device and keeps what its jobs share.
"""

from __future__ import annotations

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from ..coupling.engine import Engine
from ..coupling.regions import Members
from ..errors import PlanError
from ..recordings.progress import with_bar
from ..recordings.recording import Recording
from ..recordings.study_file import StudyFile
from .controls import Controls
from .engines import EnginePlan
from .regions import mean_signals
from .rows import signals_of

Value = TypeVar("Value")
Value_co = TypeVar("Value_co", covariant=True)

FEATURE_BYTES = 256 << 20
"""Features that a worker keeps; a study larger than this is worked through in tiles of people."""
ENGINES = 16
"""Engines that a worker keeps, of some 5 MB each; one for each length of recordings."""
_JOBS_AHEAD = 2  # jobs sent to an executor for each of its workers, so that none waits for its next one


@dataclass(frozen=True)
class People:
    """
    One signal of some people, cut to one length.

    Parameters
    ----------
    study : StudyFile
    recordings : tuple of Recording
    signal : str
    channels : tuple of str
        Channels by name that are read; one that is missing or bad is NaN.
    n_samples : int
    starts : tuple of int
        First sample of each.
    controls : Controls, optional
        What is taken out of the channels.
    members : tuple of tuple of tuple of str
        For each person the channels of each region of interest; empty where there are no regions.
    average : str
        What is averaged over the channels of a region, one of `regions.AVERAGES`.
    """

    study: StudyFile
    recordings: tuple[Recording, ...]
    signal: str
    channels: tuple[str, ...]
    n_samples: int
    starts: tuple[int, ...]
    controls: Controls | None = None
    members: tuple[tuple[tuple[str, ...], ...], ...] = ()
    average: str = ""

    @cached_property
    def key(self) -> tuple[Any, ...]:
        """The same for the same numbers."""
        ids = tuple(recording.id for recording in self.recordings)
        of = (self.signal, self.channels, self.n_samples, self.starts, self.controls, self.members, self.average)
        return (self.study.path, ids, *of)

    def key_of(self, person: int) -> tuple[Any, ...]:
        """The same for the same numbers of one of the people, whoever the others are."""
        of = self.members[person] if self.members else self.channels
        beside = frozenset(self.channels) if self.controls is not None and self.controls.apart else None
        where = (self.study.sha256, self.recordings[person].id, self.starts[person])
        return (*where, self.signal, of, beside, self.n_samples, self.controls, self.average)

    @property
    def of_features(self) -> dict[str, Any]:
        """Words of `Engine.features` for what `read` gives."""
        return {} if self.controls is None else self.controls.of_features

    @property
    def n_paired(self) -> int:
        """Signals of a person that are paired with the other's."""
        return len(self.members[0]) if self.average == "signal" else len(self.channels)

    @property
    def n_read(self) -> int:
        """Signals that `read` gives of a person."""
        return self.n_paired if self.controls is None else self.controls.n_rows(self.n_paired)

    @cached_property
    def in_regions(self) -> NDArray[np.bool_] | None:
        """Which channels make up each region over which coherence is averaged: bool [person, region, channel]."""
        return self._flags if self.average == "coherence" else None

    @property
    def _flags(self) -> NDArray[np.bool_]:
        return np.array([[[name in of for name in self.channels] for of in regions] for regions in self.members])

    def read(self) -> NDArray[np.float32]:
        """Signals from the study's file, with their controls: float32 [person, channel or region, sample]."""
        with self.study.reading() as study:
            return np.stack([self._read(study, person) for person in range(len(self.recordings))])

    def _read(self, study: StudyFile, person: int) -> NDArray[np.float32]:
        recording, start = self.recordings[person], self.starts[person]
        x = signals_of(study, recording, self.signal, self.channels, self.n_samples, start)
        if self.average == "signal":
            x = mean_signals(x, self._flags[person])
        return x if self.controls is None else self.controls.read(study, recording, self.signal, x, start)


def regions_of(a: People, b: People) -> Members | None:
    """Which channels make up the regions of everybody, as the engine takes them."""
    return None if a.in_regions is None or b.in_regions is None else (a.in_regions, b.in_regions)


class Job(Protocol[Value_co]):
    """One numbered part of a computation."""

    @property
    def people(self) -> tuple[People, ...]:
        """Signals that it needs; they may be read while the job before it runs."""

    def run(self, worker: Worker) -> Value_co:
        """Its value."""


class Worker:
    """
    Whoever computes jobs one after the other: a thread or a process, with a device of its own.

    Parameters
    ----------
    backend : str
        As `Engine`.
    """

    def __init__(self, backend: str = "auto") -> None:
        if not isinstance(backend, str):
            raise PlanError(f"backend={backend!r} must be 'auto', 'numpy' or 'cuda'")
        self.backend = backend
        self._kept: dict[object, Any] = {}
        self._engines: OrderedDict[object, Engine] = OrderedDict()
        self._features: OrderedDict[tuple[str, object], tuple[Any, float]] = OrderedDict()
        self._reading: dict[object, Future[NDArray[np.float32]]] = {}
        self._reader: ThreadPoolExecutor | None = None

    def once(self, key: object, make: Callable[[], Value]) -> Value:
        """What `make` returned when it was first asked for by this key."""
        if key not in self._kept:
            self._kept[key] = make()
        return cast(Value, self._kept[key])

    def engine(self, plan: EnginePlan) -> Engine:
        """The engine of what can be computed of a plan, made once while there are few lengths."""
        made = plan if plan.spec.bands is None else plan.computable or plan
        if made.key not in self._engines:
            while len(self._engines) >= ENGINES:
                self._engines.popitem(last=False)
            self._engines[made.key] = Engine(
                made.n_samples, made.sfreq, made.spec, epochs=made.epochs, backend=self.backend
            )
        self._engines.move_to_end(made.key)
        return self._engines[made.key]

    def feature_bytes(self, plan: EnginePlan) -> float:
        """Memory for features: on a GPU a share of what is free there."""
        device = self.engine(plan).device
        return FEATURE_BYTES if device is None else max(FEATURE_BYTES, device.budget_bytes() / 8)

    def read_ahead(self, people: Sequence[People]) -> None:
        """Begin to read signals in a thread, where neither they nor their features are there yet."""
        held = {of_people for _, of_people in self._features} | set(self._reading)
        for some in people:
            if some.key not in held:
                self._reader = self._reader or ThreadPoolExecutor(1)
                self._reading[some.key] = self._reader.submit(some.read)

    def signals(self, people: People) -> NDArray[np.float32]:
        """Signals of people, float32 [person, channel, sample]."""
        reading = self._reading.pop(people.key, None)
        return people.read() if reading is None else reading.result()

    def features(self, people: People, plan: EnginePlan) -> Any:
        """Features of people [person, channel], kept while there is room for them."""
        n_channels = len(people.recordings) * people.n_read
        made = lambda: self.engine(plan).features(self.signals(people), **people.of_features)  # noqa: E731
        return self.while_room(people.key, plan, n_channels, made)

    def while_room(self, of: object, plan: EnginePlan, n_channels: int, make: Callable[[], Value]) -> Value:
        """What `make` returned for a plan, with the features of so many channels: kept while there is room for it."""
        key = (plan.key, of)
        if key not in self._features:
            n_bytes = self.engine(plan).plan.feature_bytes * n_channels
            budget = self.feature_bytes(plan) - n_bytes
            while self._features and sum(size for _, size in self._features.values()) > budget:
                self._features.popitem(last=False)
            self._features[key] = (make(), n_bytes)
        self._features.move_to_end(key)
        return cast(Value, self._features[key][0])

    def close(self) -> None:
        """Stop reading ahead."""
        if self._reader is not None:
            self._reader.shutdown(cancel_futures=True)
            self._reader = None


def run_jobs(
    jobs: Sequence[Job[Value]],
    worker: Worker,
    *,
    executor: Executor | None = None,
    bar: tuple[str, str] | None = None,
) -> Iterator[tuple[int, Value]]:
    """
    Values of jobs, each with its number.

    Parameters
    ----------
    jobs : sequence of Job
    worker : Worker
        Runs the jobs here; an executor's threads and processes have workers of their own, of the same backend.
    executor : concurrent.futures.Executor, optional
        Where to run the jobs instead. Values then come in the order in which they are done.
    bar : (str, str), optional
        What to call the work and its unit in a progress bar on standard error; by default there is none.

    Yields
    ------
    (int, value)
    """
    if executor is not None and not hasattr(executor, "submit"):
        raise PlanError(f"executor={executor!r} is none: give one of concurrent.futures, such as ThreadPoolExecutor(2)")
    values = _run_here(jobs, worker) if executor is None else _run_on(executor, jobs, worker.backend)
    yield from values if bar is None else with_bar(values, *bar, progress=True, total=len(jobs))


def _run_here(jobs: Sequence[Job[Value]], worker: Worker) -> Iterator[tuple[int, Value]]:
    try:
        for number, job in enumerate(jobs):
            if number + 1 < len(jobs):
                here = {people.key for people in job.people}
                worker.read_ahead([people for people in jobs[number + 1].people if people.key not in here])
            yield number, job.run(worker)
    finally:
        worker.close()


def _run_on(executor: Executor, jobs: Sequence[Job[Value]], backend: str) -> Iterator[tuple[int, Value]]:
    run = secrets.token_hex(8)
    most = _JOBS_AHEAD * getattr(executor, "_max_workers", 8)
    waiting: dict[Future[Value], int] = {}
    try:
        for number, job in enumerate(jobs):
            waiting[executor.submit(_run_elsewhere, job, backend, run)] = number
            if len(waiting) >= most:
                yield from _done(waiting)
        while waiting:
            yield from _done(waiting)
    finally:
        for future in waiting:
            future.cancel()


def _done(waiting: dict[Future[Value], int]) -> Iterator[tuple[int, Value]]:
    for future in wait(waiting, return_when=FIRST_COMPLETED).done:
        yield waiting.pop(future), future.result()


_elsewhere = threading.local()


def _run_elsewhere(job: Job[Value], backend: str, run: str) -> Value:
    """Run a job in a thread or process of an executor, with the worker that it has for this run."""
    if getattr(_elsewhere, "run", None) != run:
        _elsewhere.run, _elsewhere.worker = run, Worker(backend)
    worker: Worker = _elsewhere.worker
    return job.run(worker)
