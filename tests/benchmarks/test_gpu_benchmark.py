"""The GPU benchmarks without a GPU: the whole script on NumPy, clocks, rooflines, textbook; no timing is judged."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from ibsync.coupling.transform.definition import coherency
from ibsync.coupling.transform.scales import textbook_scales
from ibsync.errors import DeviceError

pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def load(name):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        return importlib.import_module(name)


clocks, gpu, roofline, textbook = (load(name) for name in ("clocks", "gpu", "roofline", "textbook"))


class Ticks:
    """A clock that goes on by one with every mark."""

    name = "ticks"

    def __init__(self):
        self.now = 0

    def mark(self):
        self.now += 1
        return self.now

    def seconds(self, start, stop):
        return float(stop - start)


# --- the whole script -------------------------------------------------------------------------------------------------


def test_the_whole_script_runs_on_numpy_and_says_so(tmp_path, capsys):
    out = tmp_path / "out.json"
    assert gpu.main(["--backend", "numpy", "--size", "tiny", "-o", str(out)]) == out
    found, page = json.loads(out.read_text()), capsys.readouterr().out
    origin, sections = found["provenance"], found["sections"]
    assert (origin["backend"], origin["gpu"], origin["clock"]) == ("numpy", None, "host clock")
    assert list(sections) == list(gpu.SECTIONS)
    assert all(f"== {name}" in page for name in gpu.SECTIONS)
    assert all(rate > 0 for rate in (*sections["peaks"]["flops_per_s"].values(), sections["peaks"]["bytes_per_s"]))
    jobs = sections["stages"]["jobs"]
    assert set(jobs) == {f"{job}, {how}" for job in ("dyad", "all pairs", "phase null") for how in ("exact", "fast")}
    assert jobs["all pairs, exact"]["n_maps"] == 4 * 4
    assert all(job["stages"] == {} for job in jobs.values())  # launches are a GPU's
    assert sections["targets"]["targets"] == []  # a CPU at other sizes is held to no model of a GPU
    assert set(sections["textbook"]["s_per_map"]) == {"exact", "fast", "textbook, float64", "textbook, float32"}
    assert max(sections["textbook"]["largest_difference_from_exact"].values()) <= 3e-5
    growth = sections["growth"]["backends"]
    assert {axis: len(course["rows"]) for axis, course in growth["numpy"].items()} == {
        "length": 2, "channels": 2, "dyads": 1, "draws": 0,
    }  # fmt: skip
    assert list(sections["workloads"]["runs"]["tiny"]) == ["numpy"]


def test_without_a_gpu_the_script_ends_in_one_line(monkeypatch, capsys):
    def none():
        raise DeviceError("backend 'cuda' cannot run here: no GPU")

    monkeypatch.setattr(gpu, "default_device", none)
    with pytest.raises(SystemExit, match=r"^gpu\.py: backend 'cuda' cannot run here: no GPU$"):
        gpu.main([])
    assert capsys.readouterr().out == ""


def test_results_are_named_after_device_and_date():
    origin = {"gpu": {"name": "NVIDIA H100 80GB HBM3"}, "cpu": "A CPU @ 2 GHz", "date": "2026-01-02T03:04:05+00:00"}
    assert gpu.output_name(origin) == "nvidia-h100-80gb-hbm3-2026-01-02.json"
    assert gpu.output_name({**origin, "gpu": None}) == "a-cpu-2-ghz-cpu-2026-01-02.json"


def test_a_textbook_that_differs_is_not_timed(monkeypatch, tmp_path):
    monkeypatch.setattr(gpu, "PROMISED", 1e-12)
    with pytest.raises(SystemExit, match=r"differ by .* more than 1e-12"):
        gpu.measure_textbook(gpu.Bench("numpy", gpu.SIZES["tiny"], tmp_path))


def test_targets_are_held_against_what_was_measured_and_nothing_else(tmp_path):
    products = {"products": {"flops": 50e12, "seconds": 0.1}}
    found = {
        "peaks": {"flops_per_s": {"fp16": 1000e12}},
        "stages": {
            "jobs": {
                "all pairs, fast": {"stages": products},
                "all pairs, exact": {"maps_per_s": 2e7, "stages": {}},
            }
        },
        "textbook": {"s_per_map": {"exact": {"median": 1e-6}, "textbook, float32": {"median": 15e-6}}},
        "workloads": {"runs": {"typical": {"cuda": {"seconds_to_p": 0.4, "stages": []}}}},
    }
    told = gpu.measure_targets(gpu.Bench("cuda", gpu.SIZES["full"], tmp_path, found))["targets"]
    figures = {target["what"].split(":")[0]: (target["value"], target["met"]) for target in told}
    assert figures["products of all pairs, fast"] == (0.5, [True])
    assert figures["products of all pairs, exact"] == (None, [None])
    assert figures["typical, exact"] == (0.4, [True, False])
    assert figures["large, exact"] == (None, [None, None])
    assert figures["all pairs, exact"] == (pytest.approx(300), [True, False])
    assert gpu.measure_targets(gpu.Bench("cuda", gpu.SIZES["tiny"], tmp_path, found))["targets"] == []
    page = "\n".join(gpu._targets_page({"targets": told}))
    assert "typical, exact: s from file to p: 0.4; 0.5 met, later 0.2 NOT MET" in page
    assert "large, exact: s of the re-pairings: not measured; 1.5 -, later 0.6 -" in page


def test_projectors_give_the_means_of_the_pairs(tmp_path):
    bench = gpu.Bench("numpy", gpu.SIZES["tiny"], tmp_path)
    found = gpu.measure_projectors(bench)
    assert 0 < found["largest_difference_of_means"] < 1e-3  # of numbers in halves
    assert found["product_s"] > 0


def test_without_h5netcdf_a_workload_runs_and_says_that_it_is_not_saved(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr("ibsync.results.netcdf.save_dataset", None)
    found = gpu.measure_workloads(gpu.Bench("numpy", gpu.SIZES["tiny"], tmp_path))
    assert "not saved as h5netcdf is not installed" in found["how"]
    assert found["runs"]["tiny"]["numpy"]["seconds_to_p"] > 0


def test_the_exponent_is_that_of_the_last_two_sizes():
    rows = [{"at": at, "seconds": {"median": s}} for at, s in ((1, 9.0), (10, 2.0), (20, 16.0))]
    assert gpu._exponent(rows) == pytest.approx(3.0)
    assert gpu._exponent(rows[:1]) is None


# --- clocks -----------------------------------------------------------------------------------------------------------


def test_events_are_recorded_in_the_current_stream_and_waited_for():
    told = []
    stream = SimpleNamespace(name="current")

    class Event:
        def record(self, where):
            told.append(("record", where.name))

        def synchronize(self):
            told.append(("wait",))

    cuda = SimpleNamespace(
        Event=Event, get_current_stream=lambda: stream, get_elapsed_time=lambda start, stop: 250.0  # ms
    )  # fmt: skip
    clock = clocks.clock_of(SimpleNamespace(xp=SimpleNamespace(cuda=cuda)))
    assert clock.name == "CUDA events"
    assert clocks.elapsed(clock, lambda: told.append(("work",))) == (None, 0.25)
    assert told == [("record", "current"), ("work",), ("record", "current"), ("wait",)]


def test_cupy_has_what_the_clock_and_the_textbook_use():
    cupy = pytest.importorskip("cupy")
    assert {"Event", "get_current_stream", "get_elapsed_time"} <= set(dir(cupy.cuda))
    assert {"record", "synchronize"} <= set(dir(cupy.cuda.Event))
    assert {"rfft", "irfft", "fft", "ifft", "next_fast_len"} <= set(dir(importlib.import_module("cupyx.scipy.fft")))
    assert hasattr(importlib.import_module("cupyx.scipy.ndimage"), "convolve1d")


def test_without_events_the_clock_is_the_hosts():
    assert clocks.clock_of(None).name == "host clock"
    assert clocks.clock_of(SimpleNamespace(xp=np)).name == "host clock"


def test_launches_are_added_up_by_stage():
    launches = clocks.Launches(Ticks())
    for name in ("gram", "fft.rfft", "gram_plain_f32", "unheard_of"):
        launches.around(name, lambda: None)
    assert launches.by_stage() == {"products": (2, 2.0), "FFTs": (1, 1.0), clocks.OTHER: (1, 1.0)}


# --- rooflines --------------------------------------------------------------------------------------------------------


def test_peaks_are_operations_and_bytes_over_time():
    peaks = roofline.measured_peaks(np, Ticks(), 8, 4096)  # everything takes a second
    assert peaks.flops_per_s == {"fp16": 1024.0, "fp32": 1024.0, "fp64": 1024.0}
    assert peaks.bytes_per_s == 8192.0


def test_the_least_time_is_the_longer_of_computing_and_moving():
    peaks = roofline.Peaks({"fp16": 100.0, "fp64": 10.0}, 5.0)
    assert roofline.Work(40.0, 10.0).seconds(peaks) == 4.0
    assert roofline.Work(40.0, 10.0, "fp16").seconds(peaks) == 2.0
    both = roofline.together({"a": [roofline.Work(1, 2)]}, {"a": [roofline.Work(3, 4)], "b": []}, times=2)
    assert both == {"a": [roofline.Work(2, 4), roofline.Work(6, 8)], "b": []}
    assert roofline.seconds(both["a"], peaks) == pytest.approx(4 / 5 + 8 / 5)


def test_operations_of_transforms_are_counted_as_is_customary():
    assert roofline.fft_flops(1024) == 5 * 1024 * 10
    assert roofline.fft_flops(1024, real=True) == 5 * 1024 * 5


def test_work_grows_with_channels_pairs_and_draws(tmp_path):
    plan = gpu.Bench("numpy", gpu.SIZES["tiny"], tmp_path).engine(gpu.SIZES["tiny"].dyad, "fast").plan

    def flops(stage, n_a, n_b):
        return sum(w.flops for w in roofline.coherence_work(plan, n_a, n_b, tensor_cores=True)[stage])

    assert flops("products", 6, 8) == 4 * flops("products", 3, 4)
    assert flops("filters", 6, 8) == 2 * flops("filters", 3, 4)
    null = [roofline.phase_null_work(plan, 2, 3, n, tensor_cores=True) for n in (5, 10)]
    for stage in ("surrogates", "products"):
        once, twice = (sum(work.flops for work in works[stage]) for works in null)
        assert twice == pytest.approx(2 * once)


# --- the textbook -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def signals():
    return np.random.default_rng(3).standard_normal((2, 3, 1500)).cumsum(-1)


def test_the_textbook_is_the_definition_at_other_rates_and_periods_too(signals):
    found = textbook.Textbook(signals, 0.25, periods_s=(4.0, 20.0)).coherence(1, 2)
    rows = textbook.textbook_rows(0, 4.0, (4.0, 20.0))
    expected = np.abs(coherency(signals[0, 1], signals[1, 2], textbook_scales(1500, 12))) ** 2
    assert_allclose(found, expected[rows], atol=1e-7)


@pytest.mark.parametrize("at_once", [1, 2, 32])
def test_many_pairs_at_a_time_are_each_pair_by_itself(signals, at_once):
    book = textbook.Textbook(signals, 0.25, periods_s=(4.0, 20.0))
    seen = set()
    for a, some, maps in book.all_pairs(at_once):
        for b, found in zip(range(3)[some], maps, strict=True):
            assert_allclose(found, book.coherence(a, b), rtol=1e-12)
            seen.add((a, b))
    assert seen == {(a, b) for a in range(3) for b in range(3)}


def test_the_textbook_computes_in_the_precision_of_the_signals(signals):
    white = np.random.default_rng(4).standard_normal(signals.shape)
    double, single = (
        textbook.Textbook(white.astype(kind), 0.25, periods_s=(4.0, 20.0)).coherence(0, 0)
        for kind in (np.float64, np.float32)
    )
    assert (double.dtype, single.dtype) == (np.float64, np.float32)
    assert_allclose(single, double, atol=1e-5)


def test_what_is_kept_of_the_channels_can_be_forgotten(signals):
    book = textbook.Textbook(signals, 0.25, periods_s=(4.0, 20.0))
    book.coherence(0, 0)
    assert len(book._kept) == 2
    book.forget()
    assert book._kept == {}


def test_a_cpu_is_not_asked_for_matrices_of_a_gpus_size(tmp_path):
    size = gpu.SIZES["full"]
    assert max(gpu.Bench("numpy", size, tmp_path).peak_n.values()) <= 1024
    bench = gpu.Bench("cuda", size, tmp_path)
    bench.__dict__["device"] = SimpleNamespace(xp=np)
    assert bench.peak_n == size.peak_n
