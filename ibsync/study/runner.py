"""Who computes: numbered jobs, run here, in threads, or on any executor of `concurrent.futures`.

A job is one part of a long computation: a dyad, a tile of people, a range of draws. It carries all it needs, so that it
can be sent to another process, and its value is filed under its number: results do not depend on who computed a part,
or when. Whoever computes is a `Worker`, which owns a device and keeps what its jobs share.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from itertools import zip_longest
from typing import Any, Protocol, TypeVar, cast, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

from ..coupling.backends.numpy import NumpyBackend
from ..coupling.engine import Engine
from ..coupling.regions import Members
from ..coupling.transform.feature_cache import load_group
from ..errors import DeviceError, PlanError
from ..recordings.journal import Journal, Parts
from ..recordings.progress import with_bar
from ..recordings.recording import Recording
from ..recordings.study_file import StudyFile
from .controls import Controls
from .engine_memory import kept_bytes, table_bytes
from .engines import EnginePlan
from .regions import mean_signals
from .rows import signals_of

Value = TypeVar("Value")
Value_co = TypeVar("Value_co", covariant=True)

FEATURE_BYTES = 256 << 20
"""Features that a worker keeps, and as much of what it works on: a larger study is worked through in tiles."""
KEPT_TABLE_BYTES = 256 << 20
"""Tables of engines that a process keeps; those of one engine may be more."""
LOG = logging.getLogger(__name__)
THREADS = "IBSYNC_THREADS"
"""The variable that says how many threads a process computes with: 1 under an executor, all cores otherwise."""
_PATIENCE_SECONDS = 20.0  # without a finished job, before it is looked whether all processes live
_MOST_DEATHS = 3  # of processes that run one job
MOST_ENGINES = 16  # that a worker keeps, of some megabytes each
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

    @property
    def name(self) -> str:
        """Who, in words, from which sample on."""
        first, last = self.recordings[0].id, self.recordings[-1].id
        others = f" to {last} ({len(self.recordings)})" if len(self.recordings) > 1 else ""
        return f"{first}{others}, {self.signal}, samples {self.starts[0]} to {self.starts[0] + self.n_samples}"

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
        self.backend, self.run = backend, ""
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        self._used: dict[str, Engine] = {}
        self._kept: dict[object, Any] = {}
        self._features: OrderedDict[tuple[str, tuple[Any, ...]], tuple[Any, float]] = OrderedDict()
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
            words: dict[str, Any] = {"epochs": made.epochs, "backend": self.backend, "trial": made.trial}
            engine = Engine(made.n_samples, made.sfreq, made.spec, **words)
            if isinstance(engine.backend, NumpyBackend):
                engine.backend.n_threads = n_threads() or engine.backend.n_threads
            self._engines[made.key] = engine
            if len(self._engines) > MOST_ENGINES:
                self._engines.popitem(last=False)
        self._engines.move_to_end(made.key)
        self._used[made.key] = self._engines[made.key]
        return self._engines[made.key]

    def do(self, job: Job[Value]) -> Value:
        """A job's value; tables of engines are forgotten where those of several are many."""
        self._used.clear()
        value = job.run(self)
        _table_bytes.update({key: sum(table_bytes(engine.plan)) for key, engine in self._used.items()})
        if len(_table_bytes) > 1 and sum(_table_bytes.values()) > KEPT_TABLE_BYTES:
            forget_tables()
        return value

    def begin(self, run: str) -> None:
        """Forget all but the engines, for another run."""
        self.run, self._kept = run, {}
        self._features.clear()

    def feature_bytes(self, plan: EnginePlan) -> float:
        """Memory for features: on a GPU a share of all that it has, as tiles must not depend on what is free."""
        device = self.engine(plan).device
        return FEATURE_BYTES if device is None else max(FEATURE_BYTES, device.memory_bytes / 16)

    def read_ahead(self, people: Sequence[People]) -> None:
        """Begin to read signals in a thread, where neither they nor their features are there yet."""
        held = {of_people for _, (of_people, *_) in self._features} | set(self._reading)
        for some in people:
            if some.key not in held:
                self._reader = self._reader or ThreadPoolExecutor(1)
                self._reading[some.key] = self._reader.submit(some.read)

    def signals(self, people: People) -> NDArray[np.float32]:
        """Signals of people, float32 [person, channel, sample]."""
        reading = self._reading.pop(people.key, None)
        return people.read() if reading is None else reading.result()

    def features(self, people: People, plan: EnginePlan, places: Sequence[int] = ()) -> Any:
        """Features of people [person, channel], or [channel, person] of some, kept while there is room for them."""
        n_channels = len(people.recordings) * (len(places) or people.n_read)

        def made() -> Any:
            x = self.signals(people)
            return self.engine(plan).features(x.swapaxes(0, 1)[list(places)] if places else x, **people.of_features)

        return self.while_room((people.key, tuple(places)), plan, n_channels, made)

    def while_room(self, of: tuple[Any, ...], plan: EnginePlan, n_channels: int, make: Callable[[], Value]) -> Value:
        """What `make` returned for a plan, with the features of so many channels: kept while there is room for it."""
        key, engine = (plan.key, of), self.engine(plan)
        if key not in self._features:
            n_bytes = kept_bytes(engine.plan) * n_channels
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


_table_bytes: dict[str, int] = {}  # that this process may hold, by the engine that used them


def forget_tables() -> None:
    """Give back the memory of the tables of all engines; they are read from the disk when they are used again."""
    load_group.cache_clear()
    _table_bytes.clear()


class ShareDone(Exception):  # noqa: N818 - no error
    """All jobs of this share are in the journal; the others are computed elsewhere."""


def run_jobs(
    jobs: Sequence[Job[Value]],
    worker: Worker,
    *,
    executor: Executor | None = None,
    bar: tuple[str, str] | None = None,
    journal: Journal | None = None,
    of: Sequence[object] = (),
    is_shared: bool = False,
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
    journal : Journal, optional
        Where finished jobs are kept. Those that are there are not run again; their values come first.
    of : sequence of what JSON can carry
        What tells these jobs from all others of the journal.
    is_shared : bool
        Whether a journal that is a share of a run (`Journal.share`) holds a share of these jobs only.

    Yields
    ------
    (int, value)

    Raises
    ------
    PlanError
        If the executor is none, or the journal holds all shards of a run and one of them is unfinished.
    DeviceError
        If jobs kill the processes that run them; all other jobs are done by then.
    ShareDone
        Instead of values, where the journal is for a share of the jobs.
    """
    if executor is not None and not hasattr(executor, "submit"):
        raise PlanError(f"executor={executor!r} is none: give one of concurrent.futures, such as ThreadPoolExecutor(2)")
    names = [name_of(job, number) for number, job in enumerate(jobs)]
    parts = None if journal is None else journal.part(*of, names)
    share = journal.share if journal is not None and is_shared else None
    if journal is not None and journal.merged_from and is_shared and parts is not None:
        _require_finished(parts.numbers, len(jobs), journal.merged_from)
    values: Iterable[tuple[int, Value]] = _values(jobs, worker, executor, parts, _share_of(len(jobs), share))
    if bar is not None:
        values = with_bar(values, *bar, progress=True, total=len(_share_of(len(jobs), share)))
    if share is None:
        yield from values
    else:
        for _ in values:
            pass
        raise ShareDone


def name_of(job: Job[Any], number: int) -> str:
    """What a job computes, in words."""
    return getattr(job, "name", "") or f"job {number + 1}"


def _share_of(n_jobs: int, share: tuple[int, int] | None) -> range:
    """Numbers of the jobs of a share; neighbours stay together, as they have people in common."""
    number, n = share or (1, 1)
    return range((number - 1) * n_jobs // n, number * n_jobs // n)


def _require_finished(there: set[int], n_jobs: int, n_shards: int) -> None:
    unfinished = [
        f"{k}/{n_shards}" for k in range(1, n_shards + 1) if not there.issuperset(_share_of(n_jobs, (k, n_shards)))
    ]
    if unfinished:
        raise PlanError(f"shards {', '.join(unfinished)} are unfinished: run them again, they go on where they stopped")


def _values(
    jobs: Sequence[Job[Value]], worker: Worker, executor: Executor | None, parts: Parts | None, numbers: range
) -> Iterator[tuple[int, Value]]:
    """Values of some jobs: those that are kept, then those that are not, which are kept as they come."""
    done = parts.numbers.intersection(numbers) if parts is not None else set()
    for number in sorted(done):
        assert parts is not None
        yield number, _restored(parts.get(number), _kinds_of(jobs[number]))
    rest = [number for number in numbers if number not in done]
    run = _run_here(jobs, rest, worker) if executor is None else _run_on(executor, jobs, rest, worker)
    for number, value in run:
        if parts is not None:
            parts.append(number, _arrays_of(value))
        yield number, value


def _arrays_of(value: Any, name: str = "value") -> dict[str, NDArray[Any]]:
    """A number, an array or a record of arrays as arrays by name; what is None has no name."""
    if value is None:
        return {}
    if is_dataclass(value):
        parts = [_arrays_of(getattr(value, entry.name), f"{name}/{entry.name}") for entry in fields(value)]
        return {key: array for part in parts for key, array in part.items()}
    return {name: np.asarray(value)}


def _restored(arrays: Mapping[str, NDArray[Any]], kinds: Sequence[Any], name: str = "value") -> Any:
    """What `_arrays_of` took apart, a record of that kind which has the names."""
    names = {key.removeprefix(f"{name}/").partition("/")[0] for key in arrays if key.startswith(f"{name}/")}
    if names:
        kind = next(kind for kind in kinds if is_dataclass(kind) and names <= {entry.name for entry in fields(kind)})
        hints = get_type_hints(kind)
        words = {
            entry.name: _restored(arrays, _kinds_in(hints[entry.name]), f"{name}/{entry.name}")
            for entry in fields(kind)
        }
        return cast(Any, kind)(**words)
    array = arrays.get(name)
    number = next((kind for kind in kinds if kind in (bool, int, float)), None)
    return array if array is None or array.shape or number is None else number(array)


def _kinds_in(hint: Any) -> list[Any]:
    """The records and kinds of numbers that a type, or one of several, may be; none for arrays."""
    return [kind for kind in (hint, *get_args(hint)) if is_dataclass(kind) or kind in (bool, int, float)]


def _kinds_of(job: Job[Any]) -> list[Any]:
    return _kinds_in(get_type_hints(type(job).run)["return"])


def _run_here(jobs: Sequence[Job[Value]], numbers: Sequence[int], worker: Worker) -> Iterator[tuple[int, Value]]:
    try:
        for number, following in zip_longest(numbers, numbers[1:]):
            job = jobs[number]
            if following is not None:
                here = {people.key for people in job.people}
                worker.read_ahead([people for people in jobs[following].people if people.key not in here])
            yield number, worker.do(job)
    finally:
        worker.close()


def _run_on(
    executor: Executor, jobs: Sequence[Job[Value]], numbers: Sequence[int], worker: Worker
) -> Iterator[tuple[int, Value]]:
    """
    Values from an executor.

    A job whose process dies is run again, by itself once all others are done, and given up when three have died.
    """
    run, rest = secrets.token_hex(8), deque(numbers)
    with_controls = any(people.of_features for number in numbers for people in jobs[number].people)
    plans = [plan for number in numbers if (plan := getattr(jobs[number], "plan", None))]
    build_tables(plans, worker, with_controls=with_controls)
    waiting: dict[Future[Value], int] = {}
    deaths, again = Counter[int](), deque[int]()
    try:
        while rest or waiting or again:
            while rest and len(waiting) < _JOBS_AHEAD * _n_workers(executor):
                number = rest.popleft()
                waiting[executor.submit(_run_elsewhere, jobs[number], worker.backend, run)] = number
            if not waiting:
                number = again.popleft()
                waiting[executor.submit(_run_elsewhere, jobs[number], worker.backend, run)] = number
            done = wait(waiting, timeout=_PATIENCE_SECONDS, return_when=FIRST_COMPLETED).done
            if not done:
                _start_missing(executor)
            for future in done:
                number = waiting.pop(future)
                try:
                    value = future.result()
                except Exception as error:
                    if not _is_death(error):
                        raise
                    deaths[number] += 1
                    LOG.warning("a process died while it computed %s", name_of(jobs[number], number))
                    if deaths[number] < _MOST_DEATHS:
                        again.append(number)
                    continue
                yield number, value
    except BrokenExecutor as error:
        ours = sorted({*waiting.values(), *again, *deaths})
        raise DeviceError(
            f"a process of the executor died, and the executor with it, while it computed one of {_named(jobs, ours)}: "
            "give the processes more memory, or compute in one process"
        ) from error
    finally:
        for future in waiting:
            future.cancel()
    killers = [number for number, n in deaths.items() if n >= _MOST_DEATHS]
    if killers:
        raise DeviceError(
            f"{_named(jobs, killers)} killed the process that computed it {_MOST_DEATHS} times; all else is computed: "
            "give the processes more memory, or leave this part of the study out"
        )


def _named(jobs: Sequence[Job[Any]], numbers: Sequence[int]) -> str:
    return "; ".join(name_of(jobs[number], number) for number in numbers)


def _is_death(error: Exception) -> bool:
    """Whether an executor says that a process died; Dask's error is known by name, as Dask need not be there."""
    return isinstance(error, BrokenExecutor) or type(error).__name__ == "KilledWorker"


def _n_workers(executor: Executor) -> int:
    """Processes or threads of an executor; those of Dask may change while it runs."""
    client = getattr(executor, "_client", None)
    if client is not None:
        return max(1, int(sum(client.nthreads().values())))
    return int(getattr(executor, "_max_workers", 8))


def _start_missing(executor: Executor) -> None:
    """Start processes again that Dask has given up, as it does with one that dies while it is starting."""
    cluster: Any = getattr(getattr(executor, "_client", None), "cluster", None)
    if hasattr(cluster, "worker_spec") and hasattr(cluster, "scale"):
        cluster.scale(len(cluster.worker_spec))


def build_tables(plans: Iterable[EnginePlan], worker: Worker, *, with_controls: bool) -> None:
    """Build what all processes read from the cache, once: one channel of noise, and a control, for each plan."""
    for plan in {plan.key: plan for plan in plans}.values():
        engine = worker.engine(plan)
        noise = np.random.default_rng(0).standard_normal((1 + with_controls, plan.n_samples), dtype=np.float32)
        one = engine.features(noise, n_controls=int(with_controls))
        engine.coherence(one, one)


_elsewhere = threading.local()


def _run_elsewhere(job: Job[Value], backend: str, run: str) -> Value:
    """Run a job in a thread or process of an executor, whose worker keeps its engines from one run to the next."""
    workers: dict[str, Worker] = _elsewhere.__dict__.setdefault("workers", {})
    worker = workers.setdefault(backend, Worker(backend))
    if worker.run != run:
        worker.begin(run)
    began, _elsewhere.is_here = time.perf_counter(), True
    try:
        value = worker.do(job)
    finally:
        _elsewhere.is_here = False
    LOG.info("computed %s in %.2f s", name_of(job, 0), time.perf_counter() - began)
    return value


def n_threads() -> int | None:
    """Threads that this process or thread computes with, as $IBSYNC_THREADS says; by default 1 under an executor.

    Raises
    ------
    PlanError
        If it is no whole number of at least 1.
    """
    words = os.environ.get(THREADS, "")
    if not words:
        return 1 if getattr(_elsewhere, "is_here", False) else None
    if not words.isdecimal() or int(words) < 1:
        raise PlanError(f"{THREADS}={words!r} must be a whole number of at least 1")
    return int(words)
