"""The same numbers from any workers in any order, from shards, and after whatever killed a process."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import ibsync as ibs
from ibsync.commands.cli import main
from ibsync.commands.run import shard_file
from ibsync.coupling.wavelet_coherence import Coherence
from ibsync.errors import DeviceError, PlanError
from ibsync.recordings.journal import Journal
from ibsync.study import workers
from ibsync.study.pair_values import Tile
from ibsync.study.runner import ShareDone, Worker, n_threads, run_jobs

PLAN = """
study = "study.h5"
output = "out.h5"
[wtc]
bands = { slow = [0.1, 0.3] }
voices = 6
[synchrony]
pairs = "same"
[null]
kind = "KIND"
seed = 3
n = 150
[test]
correct = []
"""
POWER = """
[power]
dyads = [6, 8]
sessions = [4]
growth = 0.03
growth_sd = 0.01
noise_sd = 0.04
n_sims = 60
n = 99
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ibs.simulate("study.h5", n_dyads=5, n_sessions=2, n_channels=2, duration=60.0, sfreq=4.0, seed=3)
    for kind in ("repair", "phase"):
        Path(f"{kind}.toml").write_text(PLAN.replace("KIND", kind))
    Path("power.toml").write_text(POWER)
    return tmp_path


def numbers_of(path):
    result = ibs.load(path)
    return [
        array.to_numpy()
        for dataset in (result.dataset, result.null)
        for _, array in sorted(dataset.variables.items(), key=lambda item: str(item[0]))
        if array.dtype.kind in "fiub"
    ]


def assert_same_numbers(one, other):
    for a, b in zip(numbers_of(one), numbers_of(other), strict=True):
        assert_array_equal(a, b)


def refused(capsys, arguments, *words, code=1):
    if code == 2:
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 2
    else:
        assert main(arguments) == code
    said = capsys.readouterr().err
    for word in words:
        assert word in said


# --- jobs -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TileOf:
    number: int
    people: tuple = ()

    @property
    def name(self):
        return f"tile {self.number}"

    def run(self, worker) -> Tile:
        rng = np.random.default_rng(self.number)
        means = Coherence(rng.random((2, 3)), rng.random((2, 3)) + 1j, rng.random((2, 3)), above=rng.random((2, 3)))
        return Tile(rng.random((2, 3)).astype(np.float32), means if self.number % 2 else None)


@dataclass(frozen=True)
class CountOf:
    number: int
    people: tuple = ()

    def run(self, worker) -> int:
        return self.number**2


def test_values_come_back_from_a_journal_as_they_were(tmp_path):
    jobs = [TileOf(number) for number in range(4)]
    whole = dict(run_jobs(jobs, Worker("numpy")))
    with Journal.open(tmp_path / "j", {}) as journal:
        dict(run_jobs(jobs, Worker("numpy"), journal=journal))
        again = dict(run_jobs(jobs, Worker("numpy"), journal=journal, executor=Refusing()))
        counts = [CountOf(number) for number in range(3)]
        for _ in range(2):
            assert dict(run_jobs(counts, Worker("numpy"), journal=journal)) == {0: 0, 1: 1, 2: 4}
    for number, tile in whole.items():
        assert_array_equal(again[number].values, tile.values)
        assert again[number].values.dtype == tile.values.dtype
        assert (again[number].real is None) == (tile.real is None)
        if tile.real is not None:
            assert again[number].real.maps is None
            for name in ("coherence", "coherency", "valid_fraction", "above"):
                assert_array_equal(getattr(again[number].real, name), getattr(tile.real, name))


class Refusing(Executor):
    """Takes no work."""

    def submit(self, function, /, *arguments):
        raise AssertionError("nothing is left to compute")


class Dying(Executor):
    """Processes that die while they compute certain jobs, as Dask tells of it."""

    _max_workers = 3

    def __init__(self, deaths, error):
        self.deaths, self.error, self.alone = dict(deaths), error, []

    def submit(self, function, /, *arguments):
        future, number = Future(), arguments[0].number
        if self.deaths.get(number, 0):
            self.deaths[number] -= 1
            self.alone.append(number)
            future.set_exception(self.error)
        else:
            future.set_result(function(*arguments))
        return future


class KilledWorker(Exception):  # noqa: N818
    """As that of Dask, which is known by its name."""


def test_a_job_is_run_again_when_its_process_died_and_named_when_three_have(tmp_path):
    jobs = [TileOf(number) for number in range(9)]
    done = dict(run_jobs(jobs, Worker("numpy"), executor=Dying({2: 2, 5: 1}, KilledWorker())))
    assert sorted(done) == list(range(9))
    with Journal.open(tmp_path / "j", {}) as journal:
        with pytest.raises(DeviceError, match=r"^tile 2; tile 7 killed the process that computed it 3 times; all else"):
            dict(run_jobs(jobs, Worker("numpy"), executor=Dying({2: 9, 7: 3}, KilledWorker()), journal=journal))
        rest = run_jobs(jobs, Worker("numpy"), journal=journal, executor=Dying({}, None))
        computed = [number for number, _ in rest]
    assert computed[:7] == [0, 1, 3, 4, 5, 6, 8]
    assert sorted(computed[7:]) == [2, 7]


def test_a_pool_that_died_is_told_of_with_what_it_computed():
    class Broken(Dying):
        def submit(self, function, /, *arguments):
            if self.alone:
                raise BrokenProcessPool
            return super().submit(function, *arguments)

    with pytest.raises(DeviceError, match=r"a process of the executor died.*one of tile 0: give the processes more"):
        dict(run_jobs([TileOf(0), TileOf(1)], Worker("numpy"), executor=Broken({0: 1}, BrokenProcessPool())))


def test_a_share_is_computed_into_its_file_and_the_rest_is_not(tmp_path):
    jobs = [CountOf(number) for number in range(7)]
    paths = [tmp_path / str(k) for k in range(3)]
    for k, path in enumerate(paths):
        with Journal.open(path, {}, share=(k + 1, 3)) as journal, pytest.raises(ShareDone):
            list(run_jobs(jobs, Worker("numpy"), journal=journal, is_shared=True))
        with Journal.together(paths[: k + 1]) if k == 2 else Journal.open(path, {}, share=(k + 1, 3)) as journal:
            assert len(journal.part([f"job {n + 1}" for n in range(7)]).numbers) == (7 if k == 2 else 2)
    with Journal.together(paths[::-1]) as journal:
        assert dict(run_jobs(jobs, Worker("numpy"), journal=journal, is_shared=True)) == {k: k * k for k in range(7)}
        with pytest.raises(PlanError, match="shards 1/3, 2/3, 3/3 are unfinished"):
            list(run_jobs(jobs, Worker("numpy"), journal=journal, of=("else",), is_shared=True))


def test_threads_are_those_of_the_variable(monkeypatch):
    monkeypatch.delenv("IBSYNC_THREADS", raising=False)
    assert n_threads() is None
    monkeypatch.setenv("IBSYNC_THREADS", "3")
    assert n_threads() == 3
    for words in ("0", "-1", "many"):
        monkeypatch.setenv("IBSYNC_THREADS", words)
        with pytest.raises(PlanError, match="whole number"):
            n_threads()


# --- shards -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["repair", "phase"])
def test_shards_in_any_order_give_the_numbers_of_one_run(folder, capsys, kind):
    assert main(["run", f"{kind}.toml", "-o", "whole.h5"]) == 0
    for k in (2, 3, 1):
        assert main(["run", f"{kind}.toml", "--shard", f"{k}/3"]) == 0
    shards = [str(shard_file(Path("out.h5"), (k, 3))) for k in (3, 1, 2)]
    assert shards[0] == "out.shard-03-of-03.h5"
    capsys.readouterr()
    refused(capsys, ["merge", *shards[1:], "-o", "out.h5"], "shards 3/3 are missing")
    refused(capsys, ["merge", *shards, shards[0], "-o", "out.h5"], "is shard 3/3, and so is")
    for words in ([], ["--overwrite"]):
        refused(capsys, ["merge", *shards, "-o", shards[0], *words], "would replace an input of this run")
    assert not Path("out.h5").exists()
    assert main(["merge", *shards, "-o", "out.h5"]) == 0
    assert_same_numbers("out.h5", "whole.h5")
    assert all(Path(shard).exists() for shard in shards)


def test_shards_of_other_runs_and_unfinished_ones_are_refused_by_name(folder, capsys):
    other = Path("phase.toml").read_text().replace("seed = 3", "seed = 4")
    Path("other.toml").write_text(other)
    assert main(["run", "phase.toml", "--shard", "1/2"]) == 0
    refused(capsys, ["run", "other.toml", "--shard", "1/2"], "out.shard-01-of-02.h5: was begun with another null.seed")
    assert main(["run", "other.toml", "--shard", "2/2"]) == 0
    shards = ["out.shard-01-of-02.h5", "out.shard-02-of-02.h5"]
    refused(capsys, ["merge", *shards], shards[1], "another null.seed: null.seed=4, now 3")
    Path(shards[1]).unlink()
    assert main(["run", "phase.toml", "--shard", "2/2"]) == 0
    content = Path(shards[1]).read_bytes()
    Path(shards[1]).write_bytes(content[:-9])
    refused(capsys, ["merge", *shards], "shards 2/2 are unfinished: run them again")
    assert main(["run", "phase.toml", "--shard", "2/2"]) == 0
    assert Path(shards[1]).read_bytes() == content
    Path("phase.toml").write_text(other)
    refused(capsys, ["merge", *shards], "another null.seed: null.seed=3, now 4; compute all shards again, or put back")
    refused(capsys, ["merge", "study.h5"], "study.h5: is no shard of a run")
    refused(capsys, ["merge", "none.h5"], "none.h5: cannot be read")


def test_a_shard_says_what_it_is(folder, capsys):
    assert main(["run", "phase.toml", "--shard", "1/2"]) == 0
    capsys.readouterr()
    assert main(["info", "out.shard-01-of-02.h5"]) == 0
    page = capsys.readouterr().out
    assert re.search(r"shard 1/2 of a run, \d+ parts; ibsync merge finishes", page)
    assert re.search(r"null.kind +phase\n", page)
    assert main(["info", "out.shard-01-of-02.h5", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert (content["kind"], content["shard"]) == ("shard", "1/2")
    assert content["of"]["null.seed"] == 3


@pytest.mark.parametrize("address", ["nowhere", "nowhere:x", "tcp://127.0.0.1:1", "tcp://127.0.0.1:99999999"])
def test_a_scheduler_that_is_not_there_is_told_of_at_once(folder, capsys, address):
    began = time.monotonic()
    refused(capsys, ["run", "phase.toml", "--scheduler", address], f"{address}: no Dask scheduler answers there")
    assert time.monotonic() - began < 10


def test_a_scheduler_without_workers_is_not_waited_for_for_ever(folder, capsys, monkeypatch):
    from distributed import LocalCluster

    from ibsync.study import workers

    monkeypatch.setattr(workers, "_WORKER_SECONDS", 1.0)
    with LocalCluster(n_workers=0, dashboard_address=None) as cluster:
        words = ["run", "phase.toml", "--scheduler", cluster.scheduler_address]
        refused(capsys, words, "no worker is there after 1 s: start some, such as dask worker tcp://")


def test_wrong_words_are_refused_before_any_work(folder, capsys):
    for words in ("17/16", "0/4", "x", "1", "1/0"):
        refused(capsys, ["run", "phase.toml", "--shard", words], f"'{words}' is no share", code=2)
    for words in ("0", "-1", "many"):
        refused(capsys, ["run", "phase.toml", "--workers", words], "--workers", code=2)
    refused(capsys, ["run", "phase.toml", "--workers", "2", "--scheduler", "tcp://x:1"], "not allowed with", code=2)
    refused(capsys, ["run", "phase.toml", "--shard", "1/2", "--resume"], "leave --resume out")
    refused(capsys, ["run", "phase.toml", "-o", "gone/out.h5", "--resume"], "folder", "does not exist")
    refused(capsys, ["power", "power.toml", "--resume"], "name one with -o")
    early = Path("phase.toml").read_text().replace("n = 150", "n = 150\nstop_at = 5")
    Path("early.toml").write_text(early)
    refused(capsys, ["run", "early.toml", "--shard", "1/2"], "stop early", "leave --shard out")
    assert sorted(path.suffix for path in folder.iterdir()) == [".h5", *[".toml"] * 4]


def test_dask_that_is_missing_is_named_with_its_installation(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    refused(capsys, ["run", "phase.toml", "--workers", "2"], "pip install 'ibsync[dask]'")


def test_each_process_gets_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(workers, "backend_named", lambda name: SimpleNamespace(device=None if name == "numpy" else 1))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 5")
    assert workers._gpus(2, "cuda") == ["3", "5"]
    assert workers._gpus(2, "numpy") == workers._gpus(2, "cuda:1") == []
    with pytest.raises(PlanError, match="workers=3 are more than the 2 GPUs here"):
        workers._gpus(3, "auto")


def test_power_is_taken_up_and_gives_the_same(folder, monkeypatch, capsys):
    assert main(["power", "power.toml", "-o", "whole.json"]) == 0
    finds, n = ibs.simulation.study_power._Tested.finds, itertools.count()

    def interrupted(*arguments):
        if next(n) == 40:
            raise KeyboardInterrupt
        return finds(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr("ibsync.simulation.study_power._Tested.finds", interrupted)
        assert main(["power", "power.toml", "-o", "p.json", "--resume"]) == 1
    assert Path("p.json.journal").exists()
    assert "what is finished is kept in p.json.journal: run the same command again" in capsys.readouterr().err
    n = itertools.count()
    monkeypatch.setattr("ibsync.simulation.study_power._Tested.finds", lambda *given: next(n) >= 0 and finds(*given))
    assert main(["power", "power.toml", "-o", "p.json", "--resume"]) == 0
    assert next(n) == 120 - 25
    assert Path("p.json").read_text() == Path("whole.json").read_text()
    assert not Path("p.json.journal").exists()


# --- processes --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_calibration_and_power_are_the_same_from_processes(folder):
    study, spec = ibs.Study.open("study.h5"), ibs.WTC(bands={"slow": (0.1, 0.3)}, voices=6)
    words = {"n_sims": 8, "couplings": [0.8]}
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        for kind in ("repair", "phase"):
            here = ibs.calibrate(study, spec, kind=kind, **words)
            path = f"{kind}.journal"
            assert ibs.calibrate(study, spec, kind=kind, executor=executor, journal=path, **words) == here
            assert ibs.calibrate(study, spec, kind=kind, executor=Refusing(), journal=path, **words) == here
        model = ibs.SynchronyModel(growth=ibs.Growth(mean=0.03, sd=0.01), noise_sd=0.04)
        one, two = (ibs.study_power(model, [6], [4], n_sims=60, n=99, executor=who) for who in (None, executor))
        assert one == two


@pytest.mark.slow
def test_workers_give_the_numbers_of_one_process_though_they_are_killed(folder, capsys):
    pytest.importorskip("distributed")
    assert main(["run", "phase.toml", "-o", "whole.h5"]) == 0
    assert main(["run", "phase.toml", "-o", "two.h5", "--workers", "2"]) == 0
    assert_same_numbers("two.h5", "whole.h5")
    from ibsync.study.workers import workers_of

    study, spec = ibs.Study.open("study.h5"), ibs.WTC(bands={"slow": (0.1, 0.3)}, voices=6)
    here = study.null(spec, kind="phase", n=300, seed=3)
    with workers_of(2) as executor:
        (first, *_) = executor._client.run(os.getpid).values()
        os.kill(first, signal.SIGKILL)
        null = study.null(spec, kind="phase", n=300, seed=3, executor=executor)
    for one, other in zip([*here.by_row, here.together], [*null.by_row, null.together], strict=True):
        assert_array_equal(one.exceedances.at_least, other.exceedances.at_least)
        assert_array_equal(one.maxima.values, other.maxima.values)
    assert_array_equal(here.pooled, null.pooled)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["repair", "phase"])
def test_a_run_that_is_killed_again_and_again_ends_in_the_same_numbers(folder, kind):
    Path(f"{kind}.toml").write_text(Path(f"{kind}.toml").read_text().replace("n = 150", "n = 999"))
    command = [sys.executable, "-m", "ibsync", "run", f"{kind}.toml", "--resume"]
    began = time.monotonic()
    subprocess.run([*command, "-o", "whole.h5"], check=True, capture_output=True)
    lasted, rng = time.monotonic() - began, np.random.default_rng(4)
    for _ in range(3):
        process = subprocess.Popen([*command, "-o", "out.h5"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=rng.uniform(0.4, 0.9) * lasted)
        process.kill()
        process.communicate()
        if process.returncode == 0:
            break
    done = subprocess.run([*command, "-o", "out.h5"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert_same_numbers("out.h5", "whole.h5")
    assert not Path("out.h5.journal").exists()
