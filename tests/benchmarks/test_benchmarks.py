"""The benchmark harness and the workloads it names; no timing is judged here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from benchmark_files import BENCHMARKS, load
from numpy.testing import assert_allclose

from ibsync.commands.workloads import Workload, write_workload
from ibsync.coupling.transform.definition import coherency
from ibsync.coupling.transform.scales import textbook_scales
from ibsync.study.study import Study

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def measure() -> ModuleType:
    return load("measure")


@pytest.fixture
def server(tmp_path: Path) -> list[str]:
    script = tmp_path / "server.py"
    script.write_text(
        "import os, time, measure\n"
        "def echo(x): print('noise'); return x\n"
        "def spin(s):\n"
        "    stop = time.process_time() + s\n"
        "    while time.process_time() < stop: pass\n"
        "def hold(n_bytes): return len(bytes(bytearray(b'x') * n_bytes))\n"
        "def cores(): return len(os.sched_getaffinity(0))\n"
        "def leave(): os._exit(3)\n"
        "measure.serve({f.__name__: f for f in (echo, spin, hold, cores, leave)})\n"
    )
    return [sys.executable, str(script)]


@pytest.fixture
def path_to_measure() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join([str(BENCHMARKS), str(BENCHMARKS.parent)])}


def test_a_job_comes_back_with_its_value_whatever_else_it_prints(measure, server, path_to_measure):
    with measure.Worker(server, environment=path_to_measure) as worker:
        assert worker.call("echo", x=[1, "two"]).value == [1, "two"]


def test_cpu_time_is_that_of_the_job_and_not_of_waiting(measure, server, path_to_measure):
    with measure.Worker(server, environment=path_to_measure) as worker:
        assert 0.05 <= worker.call("spin", s=0.05).cpu_s < 0.5
    _, slept = measure.timed(lambda: time.sleep(0.05))
    assert slept.wall_s >= 0.05
    assert slept.cpu_s < 0.04


def test_peak_memory_is_the_process_own(measure, server, path_to_measure):
    ballast = bytes(bytearray(b"x") * 150_000_000)  # the parent's peak must not be counted
    with measure.Worker(server, environment=path_to_measure) as worker:
        before = worker.call("echo", x=0).peak_rss_bytes
        after = worker.call("hold", n_bytes=60_000_000).peak_rss_bytes
    assert len(ballast) > before
    assert after - before >= 55_000_000


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no processor affinity on this system")
def test_one_core_is_one_core(measure, server, path_to_measure):
    with measure.Worker(server, one_core=True, environment=path_to_measure) as worker:
        assert worker.call("cores").value == 1


def test_a_busy_core_is_left_alone_afterwards(measure):
    with measure.busy_core() as pid:
        os.kill(pid, 0)  # is there
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_worker_that_ends_is_an_error(measure, server, path_to_measure):
    message = r"server.py: ended in job 'leave' with exit status 3"
    with measure.Worker(server, environment=path_to_measure) as worker, pytest.raises(RuntimeError, match=message):
        worker.call("leave")


def test_contenders_run_in_turn_after_warm_up(measure):
    calls = []

    def contender(name):
        return lambda: calls.append(name) or {"n": len(calls)}

    figures = measure.interleaved({"a": contender("a"), "b": contender("b")}, 2, n_warm_up=1)
    assert calls == ["a", "b"] * 3
    assert figures == {"a": [{"n": 3}, {"n": 5}], "b": [{"n": 4}, {"n": 6}]}


def test_ratios_are_taken_within_a_turn(measure):
    found = measure.ratios([10, 40, 90], [1, 2, 3])  # 10, 20, 30
    assert (found.median, found.min, found.max, found.n) == (20, 10, 30, 3)
    assert measure.summary([5.0]) == measure.Summary(5, 5, 5, 5, 5, 1)


def test_provenance_names_commit_versions_and_machine(measure):
    found = measure.provenance(BENCHMARKS.parent, ["numpy", "no-such-package"])
    assert found["versions"]["numpy"] == np.__version__
    assert found["versions"]["no-such-package"] == "not installed"
    assert found["cores"] >= 1
    assert str(BENCHMARKS.parent) not in str(found)


def test_the_textbook_of_the_comparison_is_the_definition():
    rivals = load("rivals")
    signals = np.random.default_rng(3).standard_normal((2, 1, 6000)).cumsum(-1)
    found = rivals.Textbook(signals, 0.1).coherence(0, 0)
    expected = np.abs(coherency(signals[0, 0], signals[1, 0], textbook_scales(6000, 12))) ** 2
    assert_allclose(found, expected[rivals.textbook_rows()], atol=1e-7)  # its smoothing kernel is cut at 1.5e-8


def test_what_serves_other_programs_loads_nothing_of_the_measured_library(path_to_measure):
    code = "import sys, json, rivals; print(json.dumps(sorted(sys.modules)))"
    environment = {**os.environ, **path_to_measure}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    ours = {name for name in json.loads(done.stdout) if name.split(".")[0] == "ibsync"}
    assert ours == {"ibsync", "ibsync.errors", *(f"ibsync.commands{part}" for part in ("", ".machine", ".workloads"))}


def test_the_speed_table_of_the_readme_is_that_of_the_measured_figures():
    figures = "benchmarks/results/epyc-2-cores.json"
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "readme.py"), figures, "--check"],
        capture_output=True,
        text=True,
        check=False,
        cwd=BENCHMARKS.parent,
    )
    assert done.returncode == 0, done.stderr


def made_up_gpu_report(**provenance):
    """Figures that nobody measured, in the form of gpu.py."""
    names = ("exact", "fast", "textbook, float32", "textbook, float64")
    spread = {"median": 2e-6, "min": 1e-6, "max": 3e-6}
    jobs = {f"{job}, {how}": {"maps_per_s": 5e6, "part_of_roofline": 0.25}
            for job in ("all pairs", "phase null") for how in ("exact", "fast")}  # fmt: skip
    gpu = {"name": "A made-up GPU", "driver": "1.2", "cuda_of_runtime": "13.0", "cupy": "14.2"}
    made = {"backend": "cuda", "clock": "CUDA events", "size": "full", "date": "2026-01-02T03:04:05+00:00",
            "cores": 16, "gpu": gpu}  # fmt: skip
    return {
        "provenance": made | provenance,
        "sections": {
            "stages": {"jobs": jobs},
            "textbook": {
                "s_per_map": dict.fromkeys(names, spread),
                "times_faster": {f"{mine} vs textbook, float32": {"median": 77.0} for mine in names[:2]},
            },
            "workloads": {"runs": {"typical": {"cuda": {"wall_s": 1.5}, "numpy": {"wall_s": 4.5}}}},
        },
    }


def test_the_figures_of_a_gpu_are_told_where_there_are_some():
    text = load("readme").gpu_table(made_up_gpu_report(), "benchmarks/results/made-up.json")
    assert '| ibsync, `"exact"` | 2 us (1 to 3), 77x float32 in CuPy |' in text
    for part in ("one A made-up GPU", "driver 1.2", "5e+06 maps/s (25 % of the roofline)", "1.5 s", "16 cores 4.5 s",
                 "2026-01-02", "(benchmarks/results/made-up.json)"):  # fmt: skip
        assert part in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 120
    report = made_up_gpu_report()
    del report["sections"]["workloads"]
    assert "permutations" not in load("readme").gpu_table(report, "made-up.json")


def test_only_whole_runs_on_a_gpu_are_told_and_the_newest_of_them(tmp_path):
    newest_gpu = load("readme").newest_gpu
    others = {
        "cpu": {"backend": "numpy"}, "stand-in": {"clock": "host clock"}, "tiny": {"size": "tiny"},
    }  # fmt: skip
    for name, provenance in others.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(made_up_gpu_report(date="2027", **provenance)))
    (tmp_path / "of-run.json").write_text(json.dumps({"provenance": {}, "sections": {}}))
    assert newest_gpu(tmp_path) is None
    for name, date in (("b", "2026-02-01"), ("a", "2026-03-01")):
        (tmp_path / f"{name}.json").write_text(json.dumps(made_up_gpu_report(date=date)))
    part = made_up_gpu_report(date="2027")
    del part["sections"]["stages"]
    (tmp_path / "part.json").write_text(json.dumps(part))
    assert newest_gpu(tmp_path) == tmp_path / "a.json"


def test_no_figures_of_a_gpu_are_told_before_there_are_some():
    found = load("readme").newest_gpu(BENCHMARKS / "results")
    text = (BENCHMARKS.parent / "README.md").read_text()
    assert ("Time of one map on one" in text) == (found is not None)


def test_the_calibration_writes_its_rates_with_what_they_were_measured_on(tmp_path, capsys):
    out = tmp_path / "rates.json"
    words = ["--sims", "2", "--draws", "4", "--processes", "1", "--out", str(out)]
    load("calibration").main([*words, "--only", "dyads", "groups", "person effects"])
    report = json.loads(out.read_text())
    assert report["settings"] == {"sims": 2, "draws": 4, "seed": 1, "processes": 1}
    assert report["provenance"]["versions"]["numpy"] == np.__version__
    found = report["sections"]["dyads"]["rows"]
    scenarios, kinds = {row["scenario"] for row in found}, {row["test"] for row in found}
    assert {"phase", "iaaft", "shift", "block", "ar1"} < kinds
    assert {"independent", "ar1", "stimulus", "bursts", "motion"} < scenarios
    assert len(found) == len(kinds) * len(scenarios)
    assert all(sum(row["ranks"]) == row["n"] == 2 for row in found)
    assert all(row["low"] <= row["rate"] <= row["high"] for row in found)
    page = capsys.readouterr().out
    assert all(name in page for name in (*kinds, *scenarios, "re-pairing", "derangements"))


def test_simulations_depend_on_their_scenario_part_and_seed_alone():
    simulate = load("scenarios").simulate
    first = simulate("bursts", 2, 3, seed=1)
    assert first.shape == (2, 3, 2, 500)
    assert_allclose(simulate("bursts", 2, 3, seed=1), first)
    others = [
        simulate("stimulus", 2, 3, seed=1),
        simulate("bursts", 2, 3, seed=1, part=1),
        simulate("bursts", 2, 3, seed=2),
    ]
    assert all(abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 0.2 for other in others)


@pytest.mark.parametrize("scenario", ["independent", "ar1"])
def test_persons_without_a_paradigm_share_nothing_and_keep_their_variance(scenario):
    x = load("scenarios").simulate(scenario, 2000, seed=3)[:, 0]
    expected = {"independent": 0.8**2 + 0.9**2 + 0.5**2 + 0.3**2, "ar1": 1 / (1 - 0.9**2)}[scenario]
    assert_allclose(x.var(axis=0), expected, rtol=0.2)
    assert_allclose(x.var(), expected, rtol=0.02)
    assert abs((x[:, 0] * x[:, 1]).mean()) < 0.03 * expected


def test_only_partners_of_the_coupled_scenario_share_their_band():
    simulate = load("scenarios").simulate

    def of_partners_and_strangers(scenario):
        a, b = np.moveaxis(simulate(scenario, 300, 2, seed=4), 2, 0)
        centred = [x - x.mean(axis=-1, keepdims=True) for x in (a, b)]
        a, b = (x / x.std(axis=-1, keepdims=True) for x in centred)
        return (a[..., :-2] * b[..., 2:]).mean(), (a[:, 0, :-2] * b[:, 1, 2:]).mean()

    partners, strangers = of_partners_and_strangers("coupled 1.2")
    assert partners > 0.3
    assert abs(strangers) < 0.03
    partners, strangers = of_partners_and_strangers("stimulus")
    assert partners > 0.05
    assert abs(partners - strangers) < 0.03


def test_the_arrays_of_a_session_are_those_of_its_file(tmp_path):
    short = Workload(2, 2, 2, 60.0, 4.0, 20, "a few", periods_s=(2.0, 8.0))
    write_workload(short, tmp_path / "study.h5")
    study, signals = Study.open(tmp_path / "study.h5"), load("cases").session_signals(short)
    first = [row for row in study.dyads if row.session == "1"]
    assert signals.shape == (2, 2, 2, 240)
    for row, (a, b) in zip(first, signals, strict=True):
        for recording, x in ((row.recording_a, a), (row.recording_b, b)):
            ratio = x / study.signals(recording)
            assert np.allclose(ratio, ratio[0, 0], rtol=1e-6)
