"""`ibsync bench`: sizes, stages, what is printed and written; no timing is judged."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from refusals import refusal

import ibsync as ibs
from ibsync.commands import bench, machine
from ibsync.commands.cli import main
from ibsync.commands.workloads import WORKLOADS, Workload, write_workload
from ibsync.errors import DeviceError, InputError, PlanError

SHORT = Workload(2, 2, 2, 60.0, 4.0, 20, "a few", periods_s=(2.0, 8.0))


def jobs_stages(size, tmp_path, **words):
    write_workload(size, tmp_path / "study.h5")
    job = bench.Job(tmp_path / "study.h5", tmp_path, size, bench.map_spec("exact", size.periods_s), "numpy", **words)
    job.run()
    return job


# --- sizes ------------------------------------------------------------------------------------------------------------


def test_workloads_have_the_published_sizes():
    found = {name: (w.n_maps, w.n_null_maps, w.n_surrogate_maps) for name, w in WORKLOADS.items()}
    assert found == {
        "tiny": (96, 2 * 3 * 2 * 16, 0),
        "small": (7_200, 360_000, 0),
        "typical": (9_680, 183_920, 0),
        "plasticity": (192_000, 7_488_000, 0),
        "large": (211_600, 20_948_400, 211_600_000),
    }


@pytest.mark.parametrize("name", WORKLOADS)
def test_study_files_hold_as_many_sessions_as_is_said(name, tmp_path):
    whole = WORKLOADS[name]
    size = replace(whole, n_channels=1, duration_s=100.0, sfreq_hz=2.0)  # who came does not depend on these
    write_workload(size, tmp_path / "study.h5")
    study = ibs.Study.open(tmp_path / "study.h5")
    assert len(study.dyads) == whole.n_occasions
    assert len({row.dyad for row in study.dyads}) == whole.n_dyads


@pytest.mark.parametrize("name", ["tiny", "typical"])
def test_files_are_about_as_large_as_is_said(name, tmp_path):
    size = WORKLOADS[name].part(0.2)
    write_workload(size, tmp_path / "study.h5")
    assert (tmp_path / "study.h5").stat().st_size == pytest.approx(size.n_file_bytes, rel=0.1, abs=1e5)


def test_a_part_has_fewer_dyads_and_nothing_else():
    whole = WORKLOADS["plasticity"]
    part = whole.part(0.1)
    assert (part.n_dyads, whole.n_dyads) == (4, 40)
    assert part == replace(whole, n_dyads=4)
    assert whole.part(1.0) is whole
    assert WORKLOADS["small"].part(0.5).n_occasions == 4 * 2
    assert WORKLOADS["large"].part(1e-6).n_dyads == 2  # re-pairing needs two


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    refusal(PlanError, lambda: WORKLOADS["large"].part(share), "share")


# --- what is timed ----------------------------------------------------------------------------------------------------


def test_the_tiny_workload_is_timed_stage_by_stage_and_end_to_end(tmp_path, capsys):
    out = tmp_path / "speed.json"
    assert main(["bench", "--backend", "numpy", "--json", str(out)]) == 0
    page, found = capsys.readouterr().out, json.loads(out.read_text())
    assert [stage["name"] for stage in found["verbs"]] == ["reading", "features", "coherence"]
    stages = {stage["name"]: stage for stage in found["stages"]}
    assert list(stages) == ["opening", "null, repair", "synchrony", "test", "saving"]
    assert (stages["synchrony"]["n_maps"], stages["null, repair"]["n_maps"]) == (None, 192)
    assert found["wall_s"] == pytest.approx(sum(stage["wall_s"] for stage in stages.values()))
    assert found["seconds_to_p"] == pytest.approx(found["wall_s"] - stages["saving"]["wall_s"])
    assert found["maps_per_s"]["null, repair"] == pytest.approx(192 / stages["null, repair"]["wall_s"])
    assert "synchrony" not in found["maps_per_s"]  # taken from the null
    assert (found["backend"], found["share"], found["pool_bytes"]) == ("numpy", 1.0, None)
    assert found["smallest_p"] >= 1 / 6  # three dyads have six pairings
    assert found["peak_rss_bytes"] > 1e7
    assert found["machine"]["versions"]["numpy"] == np.__version__
    for name in ("workload tiny", *stages, "end to end", "p-values", "MB of memory", "backend numpy"):
        assert name in page
    assert "A PART" not in page


def test_what_is_timed_is_the_whole_job(tmp_path):
    job = jobs_stages(SHORT, tmp_path)
    saved = ibs.load(tmp_path / "hbo_test.h5")
    study, spec = ibs.Study.open(tmp_path / "study.h5"), bench.map_spec("exact", SHORT.periods_s)
    real = study.synchrony(spec, backend="numpy")
    assert saved.dataset["coherence"].size == real["coherence"].size == SHORT.n_maps
    np.testing.assert_allclose(saved.dataset["coherence"], real["coherence"], rtol=0, atol=1e-7)
    assert job.smallest_p == float(saved.dataset["p"].min())


@pytest.mark.slow
def test_two_signals_growth_and_surrogates_are_stages_of_their_own(tmp_path):
    size = replace(SHORT, n_sessions=3, n_signals=2, growth=True, n_surrogates=20)
    job = jobs_stages(size, tmp_path)
    parts = ["null, repair", "synchrony", "test", "growth", "null, phase", "test, phase"]
    expected = ["opening", *(f"{part}, {signal}" for signal in ("hbo", "hbr") for part in parts), "saving"]
    assert [stage.name for stage in job.stages] == expected
    maps = [sum(s.n_maps or 0 for s in job.stages if s.name.startswith(start)) for start in ("sync", "null, repair")]
    assert maps == [0, size.n_null_maps]
    assert sum(s.n_maps or 0 for s in job.stages if s.name.startswith("null, phase")) == size.n_surrogate_maps
    kept = {f"{signal}_{name}.h5" for signal in ("hbo", "hbr") for name in ("test", "growth", "phase")}
    assert {path.name for path in tmp_path.iterdir()} == {"study.h5", *kept}


def test_surrogates_of_the_same_channels_are_tested_on_them(tmp_path):
    size = replace(SHORT, kind="phase")
    job = jobs_stages(size, tmp_path)
    names = ["opening", "null, phase", "synchrony", "synchrony, same channels", "test", "saving"]
    assert [stage.name for stage in job.stages] == names
    assert job.stages[1].n_maps == 4 * 2 * 20
    assert job.stages[2].n_maps == 4 * 4
    p = ibs.load(tmp_path / "hbo_test.h5").dataset["p"].to_numpy()
    assert np.isfinite(p).sum() == 2  # of two channels; the test is of all dyads
    assert job.smallest_p == np.nanmin(p) >= 1 / 21


def test_the_verbs_are_timed_over_all_dyads_and_signals(tmp_path, monkeypatch):
    size = replace(SHORT, n_signals=2)
    write_workload(size, tmp_path / "study.h5")
    engine = ibs.Engine(size.n_samples, size.sfreq_hz, bench.map_spec("exact", size.periods_s), backend="numpy")
    clock = iter(np.arange(1000.0))
    monkeypatch.setattr(machine.time, "perf_counter", lambda: next(clock))  # every call takes a second
    reading, features, coherence = bench.time_verbs(ibs.Study.open(tmp_path / "study.h5"), engine, size)
    assert reading.wall_s == features.wall_s == coherence.wall_s == size.n_occasions * 2
    assert coherence.n_maps == size.n_maps
    assert coherence.maps_per_s == 4.0


def test_a_stage_ends_when_the_gpu_is_done():
    waited = []
    clock = bench.Clock(SimpleNamespace(synchronize=lambda: waited.append(len(clock.stages))))
    assert clock.timed("work", lambda: "done") == "done"
    assert waited == [0]  # before the clock is read


def test_a_part_is_labelled_as_one(tmp_path, monkeypatch):
    monkeypatch.setitem(WORKLOADS, "typical", replace(SHORT, n_dyads=10))
    speed = bench.run_bench("typical", backend="numpy", share=0.2)
    assert "A PART: 2 of 10 dyads (share 0.2)" in str(speed)
    assert speed.describe()["size"]["n_dyads"] == 2


# --- the machine ------------------------------------------------------------------------------------------------------


def test_the_facts_of_a_gpu_are_what_its_driver_says(monkeypatch):
    monkeypatch.setattr(machine.shutil, "which", lambda name: None)
    runtime = SimpleNamespace(
        memGetInfo=lambda: (1, 80), driverGetVersion=lambda: 13020, runtimeGetVersion=lambda: 12090
    )
    pool = SimpleNamespace(total_bytes=lambda: 77)
    xp = SimpleNamespace(
        cuda=SimpleNamespace(runtime=runtime), __version__="14.2.0", get_default_memory_pool=lambda: pool
    )
    device = SimpleNamespace(name="A GPU", compute_capability=90, xp=xp)
    assert machine.gpu_facts(device) == {
        "name": "A GPU", "compute_capability": 9.0, "memory_bytes": 80, "cuda_of_driver": "13.2",
        "cuda_of_runtime": "12.9", "cupy": "14.2.0", "driver": "unknown",
    }  # fmt: skip
    assert machine.pool_bytes(device) == 77


def test_facts_that_cannot_be_found_out_are_unknown(monkeypatch, tmp_path):
    broken = tmp_path / "nvidia-smi"
    broken.write_text("#!/bin/sh\necho no driver; exit 9\n")
    broken.chmod(0o755)
    monkeypatch.setattr(machine.shutil, "which", lambda name: str(broken))
    found = machine.gpu_facts(SimpleNamespace(name="none", compute_capability=75, xp=np))
    assert {found[name] for name in ("memory_bytes", "cuda_of_driver", "cuda_of_runtime", "driver")} == {"unknown"}
    assert machine.pool_bytes(SimpleNamespace(xp=np)) is None


def test_peak_memory_is_forgotten_where_the_system_can():
    ballast = bytes(bytearray(b"x") * 120_000_000)
    before = machine.peak_rss_bytes()
    del ballast
    if not machine.forget_peak_rss():
        pytest.skip("this system keeps the peak")
    assert machine.peak_rss_bytes() < before - 60_000_000


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_mistakes_end_in_one_line_before_any_work(tmp_path, monkeypatch):
    def simulated(*_):
        raise AssertionError("work was done")

    monkeypatch.setattr(bench, "write_workload", simulated)
    run = bench.run_bench
    refusal(PlanError, lambda: run("huge"), "'huge'", "tiny, small, typical")
    refusal(PlanError, lambda: run("tiny", share=2.0), "share", "2")
    refusal(InputError, lambda: run("tiny", output=tmp_path / "none" / "speed.json"), "does not exist")
    full = SimpleNamespace(free=10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: full)
    refusal(InputError, lambda: run("plasticity", backend="numpy"), "'plasticity'", "1.0 free", "--share", "TMPDIR")


def test_a_gpu_that_is_not_there_is_one_line(monkeypatch, capsys):
    def none(*_):
        raise DeviceError("backend 'cuda' cannot run here: no GPU")

    monkeypatch.setattr("ibsync.coupling.backends.cuda.backend.default_device", none)
    assert main(["bench", "--backend", "cuda"]) == 1
    assert capsys.readouterr().err == "ibsync: backend 'cuda' cannot run here: no GPU\n"
