"""The GPU benchmarks with kernels on the CPU: stages are seen, and their work is what the launches do."""

from __future__ import annotations

import importlib
import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ibsync.coupling.engine import Engine
from ibsync.coupling.spec import WTC

REPOSITORY = Path(__file__).parents[2]


def load(name):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(REPOSITORY / "benchmarks"))
        return importlib.import_module(name)


clocks, roofline, gpu = (load(name) for name in ("clocks", "roofline", "gpu"))


@pytest.fixture
def as_gpu(host, monkeypatch):
    """The CPU in the place of the GPU that engines take; without tensor cores, whose imitation is slow."""
    host.compute_capability = 70
    monkeypatch.setattr("ibsync.coupling.backends.cuda.backend.default_device", lambda *_: host)
    monkeypatch.setattr(gpu, "default_device", lambda *_: host)
    return host


@pytest.fixture
def bench(as_gpu, tmp_path, monkeypatch):
    """The smallest of everything."""
    monkeypatch.setattr("ibsync.study.surrogate_partners._LARGEST_BLOCK_THERE", 4)
    one = replace(gpu.SIZES["tiny"].dyad, n_channels=1, duration_s=40.0, periods_s=(2.0, 4.0))
    size = replace(gpu.SIZES["tiny"], dyad=one, session=one, repeats=1, n_draws=3)
    return gpu.Bench("cuda", size, tmp_path)


# --- launches ---------------------------------------------------------------------------------------------------------


def test_every_kernel_has_a_stage():
    text = "".join(path.read_text() for path in (REPOSITORY / "kernels").glob("*.cu"))
    kernels = re.findall(r'extern "C" __global__ void\s+(?:__launch_bounds__\([^)]*\)\s*)?(\w+)\s*\(', text)
    assert len(kernels) > 15
    assert {name for name in kernels if clocks.stage_of(name) == clocks.OTHER} == set()
    assert clocks.stage_of("fft.rfft") == "FFTs"
    assert clocks.stage_of("no_such_kernel") == clocks.OTHER


def test_a_recording_sees_what_is_launched_and_leaves_the_device_as_it_was(as_gpu):
    before = dict(vars(as_gpu))
    engine = Engine(160, 10.0, WTC({"few": (0.9, 1.6)}, accuracy="fast", coi="none"), backend="cuda")
    x = np.random.default_rng(0).standard_normal((2, 160))
    expected = engine.coherence(engine.features(x), engine.features(x)).coherence
    with clocks.recorded(as_gpu, clocks.HostClock()) as launches:
        found = engine.coherence(engine.features(x), engine.features(x)).coherence
    np.testing.assert_array_equal(found, expected)
    kept = dict(vars(as_gpu))
    assert kept.keys() == before.keys()
    assert all(kept[name] is before[name] for name in ("loaded", "xp"))
    names = {name for name, *_ in launches.marks}
    assert {"fft.rfft", "filters_f32", "units_near_f32", "gram_plain_f32", "add_chunks_f32"} <= names
    n_marks = len(launches.marks)
    engine.coherence(engine.features(x), engine.features(x))
    assert len(launches.marks) == n_marks  # nothing is recorded afterwards


def test_a_failed_recording_leaves_the_device_as_it_was(as_gpu):
    loaded, xp = as_gpu.loaded, as_gpu.xp
    with pytest.raises(ZeroDivisionError), clocks.recorded(as_gpu, clocks.HostClock()):
        raise ZeroDivisionError
    assert as_gpu.loaded is loaded
    assert as_gpu.xp is xp
    assert "compile" not in vars(as_gpu)


def test_a_kernel_that_is_recorded_is_otherwise_itself():
    raw = SimpleNamespace(max_threads_per_block=256, max_dynamic_shared_size_bytes=0)
    launches = clocks.Launches(clocks.HostClock())
    kernel = clocks._Module(SimpleNamespace(get_function=lambda name: raw), launches).get_function("gram")
    assert kernel.max_threads_per_block == 256
    kernel.max_dynamic_shared_size_bytes = 90_000
    assert raw.max_dynamic_shared_size_bytes == 90_000


# --- stages and their work --------------------------------------------------------------------------------------------


def test_stages_of_the_verbs_and_of_a_null_are_all_seen(bench):
    verbs = gpu._verbs(bench, bench.size.dyad, "fast")
    null = gpu._phase_null(bench, "fast")
    channel_stages = ["FFTs", "band-limited signals", "filters", "unit features", "products", "sums of chunks"]
    assert list(verbs["stages"]) == channel_stages
    assert list(null["stages"]) == [*channel_stages, "surrogates"]
    for job in (verbs, null):
        assert all(stage["launches"] > 0 and stage["seconds"] > 0 for stage in job["stages"].values())
        assert all(stage["least_s"] > 0 and stage["bytes"] > 0 for stage in job["stages"].values())
        assert job["busy_s"] == pytest.approx(sum(stage["seconds"] for stage in job["stages"].values()))
        assert job["least_s"] == pytest.approx(sum(stage["least_s"] for stage in job["stages"].values()))
    assert verbs["n_maps"] == 1
    page = "\n".join(gpu._stages_page({"jobs": {"dyad": verbs, "null": null}}))
    assert all(page.count(stage) == 2 for stage in channel_stages)


def counted(launched):
    """Operations of launches, from their arguments."""
    flops = dict.fromkeys(clocks.STAGES, 0.0)
    for name, args in launched:
        stage = clocks.stage_of(name)
        if stage == "filters":
            *_, n_filters, n_points, n_times, n_channels, _ = args
            flops[stage] += 8.0 * int(n_filters) * int(n_points) * int(n_times) * int(n_channels)
        elif stage == "unit features":
            z, mixing, n_channels = args[0], args[1], int(args[-1])
            far = "far" in name  # real, and the same at all times
            flops[stage] += (4.0 * len(z) if far else 8.0) * mixing.size * n_channels
        elif stage == "products":
            a, _, cell, *_, n_a, n_b = args
            flops[stage] += 8.0 * (a.shape[2] // 2) * len(cell) * int(n_a) * int(n_b)
        elif stage == "sums of chunks":
            flops[stage] += args[0].size
    return flops


@pytest.mark.parametrize("accuracy", ["exact", "fast"])
@pytest.mark.parametrize(
    ("n", "bands", "epochs"),
    [
        (160, {"few": (0.9, 1.6)}, None),
        (700, {"a": (0.6, 0.7), "b": (0.65, 1.1)}, None),
        (700, {"a": (0.65, 1.1)}, {"one": (30, 50), "other": [(5, 12), (33, 45)]}),
    ],
)
def test_the_work_of_a_stage_is_what_its_launches_do(as_gpu, monkeypatch, accuracy, n, bands, epochs):
    engine = Engine(n, 10.0, WTC(bands, accuracy=accuracy), backend="cuda", epochs=epochs)
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, n)), rng.standard_normal((3, n))
    launched = []
    call = clocks._Kernel.__call__
    monkeypatch.setattr(
        clocks._Kernel, "__call__", lambda self, *w, **m: launched.append((self._name, w[2])) or call(self, *w, **m)
    )
    with clocks.recorded(as_gpu, clocks.HostClock()):
        engine.coherence(engine.features(a), engine.features(b))
    works = roofline.coherence_work(engine.plan, 2, 3, tensor_cores=False)
    expected = counted(launched)
    for stage in ("filters", "unit features", "products", "sums of chunks"):
        assert sum(work.flops for work in works[stage]) == expected[stage] > 0, stage
        twice = [args[2] for name, args in launched if stage == clocks.stage_of(name) == "sums of chunks"]
        moved = sum(x.nbytes for x in twice)  # totals are read and written
        moved += sum(x.nbytes for name, args in launched for x in args
                    if clocks.stage_of(name) == stage and isinstance(x, np.ndarray))  # fmt: skip
        least = sum(work.n_bytes for work in works[stage])
        assert 0.25 * moved < least <= 1.001 * moved, stage  # no launch can do with less


@pytest.mark.parametrize("accuracy", ["exact", "fast"])
def test_the_work_of_tensor_cores_is_that_of_their_launches_without_padding(as_gpu, monkeypatch, accuracy):
    as_gpu.compute_capability = 90
    spec = WTC({"few": (0.9, 1.2)}, accuracy=accuracy, min_valid=0.0, coi="none")
    engine = Engine(160, 10.0, spec, backend="cuda", epochs={"late": (7, 9)})
    x = np.random.default_rng(0).standard_normal((1, 160))
    launched = []
    call = clocks._Kernel.__call__
    monkeypatch.setattr(
        clocks._Kernel, "__call__", lambda self, *w, **m: launched.append((self._name, w[2])) or call(self, *w, **m)
    )
    with clocks.recorded(as_gpu, clocks.HostClock()):
        engine.coherence(engine.features(x), engine.features(x))
    works = roofline.coherence_work(engine.plan, 1, 1, tensor_cores=True)["products"]
    grams = [args for name, args in launched if name == "gram"]
    n_features = engine.plan.group(engine.plan.segments[0], 0).n_features
    multiplied = {"exact": 3, "fast": 1}[accuracy]
    assert sum(work.flops for work in works) == multiplied * 8 * n_features * sum(len(args[4]) for args in grams) > 0
    moved = sum(args[k].nbytes for args in grams for k in (0, 1, 7))
    assert 0.5 * moved < sum(work.n_bytes for work in works) <= moved


def test_pairs_of_halves_are_three_products_at_the_rate_of_halves():
    def products(accuracy, *, tensor_cores):
        plan = Engine(300, 10.0, WTC({"few": (0.5, 1.6)}, accuracy=accuracy), backend="numpy").plan
        works = roofline.coherence_work(plan, 4, 5, tensor_cores=tensor_cores)["products"]
        assert {work.precision for work in works} == ({"fp16"} if tensor_cores else {"fp32"})
        return sum(work.flops for work in works)

    assert products("exact", tensor_cores=True) == 3 * products("exact", tensor_cores=False)
    assert products("fast", tensor_cores=True) == products("fast", tensor_cores=False)


def test_a_run_on_the_stand_in_writes_what_it_saw_and_where(bench, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(gpu.SIZES, "tiny", bench.size)
    out = tmp_path / "out.json"
    assert gpu.main(["--size", "tiny", "--only", "peaks", "textbook", "-o", str(out)]) == out
    found = json.loads(out.read_text())
    origin = found["provenance"]
    assert (origin["backend"], origin["clock"]) == ("cuda", "host clock")
    assert origin["gpu"]["name"] == "the CPU, in place of a GPU"
    assert max(found["sections"]["textbook"]["largest_difference_from_exact"].values()) <= gpu.PROMISED
    assert "the CPU, in place of a GPU" in capsys.readouterr().out


def test_signals_and_matrices_that_are_on_the_device_stay_there(strict, monkeypatch, tmp_path):
    """Arrays of this device refuse to mix with those of the host, as CuPy's do."""
    strict.compute_capability = 70
    for name in ("ibsync.coupling.backends.cuda.backend.default_device", f"{gpu.__name__}.default_device"):
        monkeypatch.setattr(name, lambda *_: strict)
    one = replace(gpu.SIZES["tiny"].dyad, n_channels=1, duration_s=40.0, periods_s=(2.0, 4.0))
    size = replace(gpu.SIZES["tiny"], dyad=one, repeats=1, lengths=(160,))
    bench = gpu.Bench("cuda", size, tmp_path)
    assert min(bench.peaks.flops_per_s.values()) > 0
    assert gpu._verbs(bench, one, "fast")["stages"]["products"]["launches"] > 0
    (_, n_maps, prepare) = gpu._grown(bench, 160, one)
    assert (n_maps, prepare()().coherence.shape) == (1, (1, 1, 1, 1))
