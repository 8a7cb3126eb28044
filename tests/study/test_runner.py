"""Jobs give the same wherever they run; signals are read one job ahead, and features are kept within bounds."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import ibsync as ibs
from ibsync.study.engine_memory import kept_bytes
from ibsync.study.engines import EnginePlan
from ibsync.study.runner import People, Worker, build_tables, run_jobs

SPEC = ibs.WTC(bands={"slow": (0.1, 0.3), "fast": (0.4, 0.8)}, voices=6)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    path = tmp_path_factory.mktemp("jobs") / "study.h5"
    return ibs.simulate(path, n_dyads=4, n_sessions=2, n_channels=2, duration=60.0, sfreq=4.0, seed=3)


class LastFirst(Executor):
    """Runs what it was given at the last moment, the last first, each through a pickle."""

    _max_workers = 2

    def __init__(self):
        self.runs = []
        self.numbers = []

    def submit(self, function, /, *arguments):
        future = Future()
        self.runs.append((future, pickle.dumps((function, arguments))))
        if len(self.runs) == 3:
            self.flush()
        return future

    def flush(self):
        for future, text in reversed(self.runs):
            function, arguments = pickle.loads(text)
            self.numbers.append(getattr(arguments[0], "number", None))
            future.set_result(function(*arguments))
        self.runs = []


@dataclass(frozen=True)
class Square:
    number: int
    people: tuple = ()

    def run(self, worker):
        return self.number**2


@dataclass(frozen=True)
class Broken:
    people: tuple = ()

    def run(self, worker):
        raise ValueError("no value")


def everything(study, executor):
    """Numbers of synchrony, of both kinds of re-pairing, and of surrogates."""
    words = {"epochs": {"early": (0, 30), "late": (20, 60)}, "executor": executor}
    yield study.synchrony(SPEC, shares=True, **words).to_array().to_numpy()
    for roles in ("fixed", "interchangeable"):
        yield study.null(SPEC, n=30, seed=2, roles=roles, **words).pair_values
    null = study.null(SPEC, kind="phase", n=150, seed=2, **words)
    for tally in [*null.by_row, null.together]:
        yield from (tally.exceedances.at_least, tally.exceedances.above, tally.exceedances.at_most)
        yield from (tally.step_down.counts, tally.maxima.values, tally.moments.sums, tally.moments.squares)
    yield null.pooled
    trials = {"one": [(0, 30), (30, 60)]}
    fast = ibs.WTC(bands={"fast": (0.4, 0.8)}, voices=6)
    yield study.null(fast, kind="trial", n=70, seed=2, epochs=trials, executor=executor).pooled


@pytest.fixture(scope="module")
def here(study):
    return list(everything(study, None))


def assert_same(study, here, executor):
    for one, other in zip(everything(study, executor), here, strict=True):
        assert_array_equal(one, other)


def test_threads_give_the_same_bits(study, here):
    with ThreadPoolExecutor(3) as executor:
        assert_same(study, here, executor)


@pytest.mark.slow
def test_processes_give_the_same_bits(study, here):
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        assert_same(study, here, executor)


def test_values_are_filed_under_the_number_of_their_job():
    jobs = [Square(k) for k in range(9)]
    executor = LastFirst()
    values = list(run_jobs(jobs, Worker("numpy"), executor=executor))
    assert executor.numbers == [2, 1, 0, 5, 4, 3, 8, 7, 6]
    assert sorted(values) == [(k, k * k) for k in range(9)]
    assert list(run_jobs(jobs, Worker("numpy"))) == sorted(values)
    assert list(run_jobs([], Worker("numpy"))) == []


def test_an_error_of_a_job_is_raised():
    with ThreadPoolExecutor(1) as executor, pytest.raises(ValueError, match="no value"):
        list(run_jobs([Square(1), Broken()], Worker("numpy"), executor=executor))
    with pytest.raises(ValueError, match="no value"):
        list(run_jobs([Broken()], Worker("numpy")))


def test_a_plan_survives_a_pickle_and_tells_requests_apart():
    plan = EnginePlan(240, 4.0, SPEC, {"all": [(0.0, 60.0)]})
    again = pickle.loads(pickle.dumps(plan))
    assert again.key == plan.key
    assert EnginePlan(240, 4.0, ibs.WTC(bands={"slow": (0.1, 0.3)}, voices=6)).key != plan.key


# --- a worker ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def people(study, monkeypatch):
    """One person each of four recordings, and the threads in which each was read."""
    threads = {}
    read = People.read

    def watched(self):
        threads.setdefault(self.recordings[0].id, []).append(threading.current_thread())
        return read(self)

    monkeypatch.setattr(People, "read", watched)
    rows = [row.recording_a for row in study.dyads[:4]]
    return [People(study, (r,), "hbo", r.channels, 240, (0,)) for r in rows], threads


@dataclass(frozen=True)
class Look:
    people: tuple

    def run(self, worker):
        return worker.signals(self.people[0])


def test_signals_are_read_one_job_ahead(people):
    given, threads = people
    values = dict(run_jobs([Look((one,)) for one in given], Worker("numpy")))
    for number, one in enumerate(given):
        assert_array_equal(values[number], one.study.signals(one.recordings[0])[None, :, :240])
        (thread,) = threads[one.recordings[0].id]
        assert (thread is threading.main_thread()) == (number == 0)


def test_features_are_kept_within_their_budget_and_made_again_beyond_it(people, monkeypatch):
    given, threads = people
    plan, worker = EnginePlan(240, 4.0, SPEC), Worker("numpy")
    one_person = kept_bytes(worker.engine(plan).plan) * len(given[0].channels)
    monkeypatch.setattr("ibsync.study.runner.FEATURE_BYTES", 2 * one_person)
    first = worker.features(given[0], plan)
    worker.features(given[1], plan)
    assert worker.features(given[0], plan) is first
    worker.features(given[2], plan)  # takes the place of the one that was not asked for longest
    assert worker.features(given[0], plan) is first
    worker.features(given[1], plan)
    assert [len(threads[one.recordings[0].id]) for one in given[:3]] == [1, 2, 1]


def test_what_is_kept_is_not_read_ahead(people):
    given, threads = people
    plan, worker = EnginePlan(240, 4.0, SPEC), Worker("numpy")
    worker.features(given[0], plan)
    worker.read_ahead([given[0], given[1]])
    worker.read_ahead([given[1]])
    worker.features(given[1], plan)
    worker.close()
    assert [len(threads[one.recordings[0].id]) for one in given[:2]] == [1, 1]


def test_an_engine_is_made_once_for_equal_plans():
    worker = Worker("numpy")
    assert worker.engine(EnginePlan(240, 4.0, SPEC)) is worker.engine(EnginePlan(240, 4.0, SPEC))
    assert np.isfinite(worker.feature_bytes(EnginePlan(240, 4.0, SPEC)))


@pytest.mark.parametrize("n_controls", [0, 2])
def test_tables_of_a_run_are_built_before_its_processes_begin(n_controls, tmp_path, monkeypatch):
    monkeypatch.setenv("IBSYNC_CACHE_DIR", str(tmp_path))
    plan = EnginePlan(3011, 5.0, ibs.WTC({"fast": (0.6, 1.2)}))  # long enough for the coarse grid without controls
    build_tables([plan], Worker("numpy"), with_controls=n_controls > 0)
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    engine = Worker("numpy").engine(plan)
    engine.coherence(*(engine.features(np.ones((4, 3011)) * np.arange(3011) % 7, n_controls=n_controls) for _ in "ab"))
    assert before
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == before
