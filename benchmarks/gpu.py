"""Measure ibsync on a GPU, stage by stage beside what the device could do at its best: prints tables, writes JSON.

python benchmarks/gpu.py [--backend cuda|numpy] [--only SECTION ...] [--size full|tiny] [-o NAME.json]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from cases import session_signals
from checkout import REPOSITORY
from clocks import STAGES, Clock, clock_of, elapsed, recorded
from measure import interleaved, load_average, provenance, ratios, summary
from numpy.typing import NDArray
from roofline import Peaks, Works, coherence_work, features_work, measured_peaks, phase_null_work, seconds, together
from textbook import Textbook, inside_cone

from ibsync.commands.bench import map_spec, run_bench
from ibsync.commands.machine import gpu_facts, pool_bytes
from ibsync.commands.workloads import Workload, write_workload
from ibsync.coupling.backends.cuda.backend import default_device
from ibsync.coupling.engine import Engine
from ibsync.coupling.spec import WTC
from ibsync.errors import IbsyncError
from ibsync.results.result import Result
from ibsync.study.study import Study

RESULTS = REPOSITORY / "benchmarks" / "results"
PACKAGES = ("numpy", "scipy", "h5py", "xarray", "threadpoolctl", "cupy-cuda12x", "cupy-cuda13x")
ACCURACIES = ("exact", "fast")
PROMISED = 3e-5
"""Of band means with accuracy "exact"; maps in float32 keep it too."""
HOST_PEAK_N = {"fp16": 64, "fp32": 1024, "fp64": 1024}
_ENOUGH_S = 4.0  # no further repetitions after so much time


@dataclass(frozen=True)
class Size:
    """How large everything is.

    Attributes
    ----------
    dyad, session : Workload
        One dyad, and several whose channels are all put together.
    peak_n : mapping
        Side of the square matrices that measure peaks, by precision.
    copy_bytes : int
    repeats : int
    n_draws : int
        Surrogates of the dyad.
    lengths, channels, dyads, draws : tuples of int
        Along which the growth of cost is followed; a length is in samples.
    host_up_to : int
        On the CPU, jobs of more maps are left out.
    workloads : tuple of str
    """

    dyad: Workload
    session: Workload
    peak_n: Mapping[str, int]
    copy_bytes: int
    repeats: int
    n_draws: int
    lengths: tuple[int, ...]
    channels: tuple[int, ...]
    dyads: tuple[int, ...]
    draws: tuple[int, ...]
    host_up_to: int
    workloads: tuple[str, ...]


_DYAD = Workload(1, 1, 20, 600.0, 10.0, 1000, "none")
_SHORT = Workload(1, 1, 3, 60.0, 4.0, 8, "none", periods_s=(2.0, 8.0))
SIZES = {
    "full": Size(
        dyad=_DYAD, session=replace(_DYAD, n_dyads=20, n_channels=22),
        peak_n={"fp16": 8192, "fp32": 8192, "fp64": 4096}, copy_bytes=1 << 30, repeats=5, n_draws=1000,
        lengths=(3000, 6000, 12_000, 27_000), channels=(5, 10, 20, 40, 80),
        dyads=(5, 10, 20, 40), draws=(100, 300, 1000, 3000), host_up_to=100_000, workloads=("tiny", "typical"),
    ),
    "tiny": Size(
        dyad=_SHORT, session=replace(_SHORT, n_dyads=2, n_channels=2), peak_n={"fp16": 16, "fp32": 64, "fp64": 64},
        copy_bytes=1 << 16, repeats=2, n_draws=8, lengths=(160, 240),
        channels=(1, 2), dyads=(1, 2), draws=(4, 8), host_up_to=16, workloads=("tiny",),
    ),
}  # fmt: skip


@dataclass
class Bench:
    """What the sections share."""

    backend: str
    size: Size
    folder: Path
    found: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def device(self) -> Any:
        """The GPU; None with NumPy."""
        return default_device() if self.backend == "cuda" else None

    @cached_property
    def clock(self) -> Clock:
        return clock_of(self.device)

    @property
    def xp(self) -> Any:
        return np if self.device is None else self.device.xp

    @cached_property
    def peaks(self) -> Peaks:
        """Of the device, measured once."""
        made: dict[str, float] = {}
        for name, n in self.peak_n.items():
            found = measured_peaks(self.xp, self.clock, n, self.size.copy_bytes, precisions=[name])
            made |= found.flops_per_s
        return Peaks(made, found.bytes_per_s)

    @property
    def peak_n(self) -> dict[str, int]:
        """Side of the matrices by precision; a CPU would need minutes for those of a GPU, in halves hours."""
        most = {} if self.device is not None else HOST_PEAK_N
        return {name: min(n, most.get(name, n)) for name, n in self.size.peak_n.items()}

    @property
    def tensor_cores(self) -> bool:
        return self.device is not None and self.device.compute_capability >= 75

    def engine(self, workload: Workload, accuracy: str, *, spec: WTC | None = None) -> Engine:
        """For recordings of a workload."""
        words = spec or map_spec(accuracy, workload.periods_s)
        return Engine(workload.n_samples, workload.sfreq_hz, words, backend=self.backend)

    def there(self, x: NDArray[Any]) -> Any:
        """Signals where the backend computes, in float64."""
        return self.xp.asarray(np.asarray(x, np.float64))

    def study(self, workload: Workload) -> Study:
        """Study file of a workload."""
        path = self.folder / f"{workload.n_dyads}x{workload.n_channels}x{workload.n_samples}.h5"
        if not path.exists():
            write_workload(workload, path)
        return Study.open(path)

    def repeated(self, work: Callable[[], object]) -> dict[str, float]:
        """Summary of the seconds of some work on the device, after one warm-up."""
        run = self.finished(work)
        run()
        taken: list[float] = []
        while len(taken) < self.size.repeats and sum(taken) < _ENOUGH_S:
            taken.append(elapsed(self.clock, run)[1])
        return asdict(summary(taken))

    def finished(self, work: Callable[[], object]) -> Callable[[], object]:
        """The same work, which is done when it returns."""

        def run() -> object:
            value = work()
            self._done()
            return value

        return run

    def _done(self) -> None:
        if self.device is not None:
            self.device.synchronize()


# --- stages beside their rooflines ------------------------------------------------------------------------------------


def measure_peaks(bench: Bench) -> dict[str, Any]:
    """Matrix products and a copy."""
    peaks = bench.peaks
    return {
        "how": f"square matrix products of {bench.peak_n} and a copy of {bench.size.copy_bytes} bytes, read "
        "and written bytes together; the best of five",
        "flops_per_s": dict(peaks.flops_per_s),
        "bytes_per_s": peaks.bytes_per_s,
    }


def measure_stages(bench: Bench) -> dict[str, Any]:
    """One dyad, all pairs of a session, and a dyad's phase null; both accuracies."""
    jobs: dict[str, Any] = {}
    for accuracy in ACCURACIES:
        jobs[f"dyad, {accuracy}"] = _verbs(bench, bench.size.dyad, accuracy)
        jobs[f"all pairs, {accuracy}"] = _verbs(bench, bench.size.session, accuracy, measured=True)  # as a null does
        jobs[f"phase null, {accuracy}"] = _phase_null(bench, accuracy)
    return {
        "how": "seconds of a job by the clock named above, the median of repetitions; of its stages from one more run "
        "in which every launch lies between two marks, beside the least time that operations and bytes allow (fp16, "
        "fp32 or fp64 and bytes at their measured peaks). busy: all stages together; the rest of a job is copies, "
        "small array functions, launches and waiting",
        "jobs": jobs,
    }


def _verbs(bench: Bench, workload: Workload, accuracy: str, *, measured: bool = False) -> dict[str, Any]:
    """Features of all channels and means, or the measure "coherence", of all pairs of first with second persons."""
    signals = session_signals(workload)
    a, b = (bench.there(signals[:, k].reshape(-1, workload.n_samples)) for k in (0, 1))
    engine = bench.engine(workload, accuracy)
    n = len(a)
    pairs = coherence_work(engine.plan, n, n, tensor_cores=bench.tensor_cores, measured=measured)

    def run() -> object:
        batches = engine.features(a), engine.features(b)
        if measured:
            return engine.measure(*batches, "coherence", on_device=True)
        return engine.coherence(*batches, on_device=True)

    return _job(bench, run, together(features_work(engine.plan, 2 * n), pairs), n * n)


def _phase_null(bench: Bench, accuracy: str) -> dict[str, Any]:
    workload, n_draws = bench.size.dyad, bench.size.n_draws
    study, spec = bench.study(workload), map_spec(accuracy, workload.periods_s)
    plan = bench.engine(workload, accuracy).plan
    n, n_all = workload.n_channels, n_draws + 1
    works = phase_null_work(plan, n, n, n_all, tensor_cores=bench.tensor_cores)
    run = lambda: study.null(spec, kind="phase", n=n_draws, seed=1, backend=bench.backend)  # noqa: E731
    return _job(bench, run, works, n_all * n * n)


def _job(bench: Bench, run: Callable[[], object], works: Works, n_maps: int) -> dict[str, Any]:
    took = bench.repeated(run)
    least = seconds((work for stage in works.values() for work in stage), bench.peaks)
    stages = _stages(bench, run, works) if bench.device is not None else {}
    return {
        "seconds": took, "n_maps": n_maps, "maps_per_s": n_maps / took["median"], "least_s": least,
        "part_of_roofline": least / took["median"], "busy_s": sum(stage["seconds"] for stage in stages.values()),
        "stages": stages,
    }  # fmt: skip


def _stages(bench: Bench, run: Callable[[], object], works: Works) -> dict[str, Any]:
    """Launches, seconds and least seconds of each stage of one run."""
    with recorded(bench.device, bench.clock) as launches:
        run()  # kernels are compiled anew for a recording, and loaded at their first launch
        launches.marks.clear()
        run()
    taken = launches.by_stage()
    out = {}
    for stage in [*(stage for stage in STAGES if stage in {*works, *taken}), *sorted({*taken} - {*STAGES})]:
        n, took = taken.get(stage, (0, 0.0))
        least = seconds(works.get(stage, []), bench.peaks)
        out[stage] = {
            "launches": n, "seconds": took, "least_s": least, "part_of_roofline": least / took if took else None,
            "flops": sum(work.flops for work in works.get(stage, [])),
            "bytes": sum(work.n_bytes for work in works.get(stage, [])),
        }  # fmt: skip
    return out


# --- targets ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """What is aimed at first, and perhaps later: a wish, no measurement.

    Attributes
    ----------
    what : str
    limits : tuple of float
    value : function of the sections found
        What was measured; KeyError or TypeError where it was not.
    at_least : bool
        Whether more is better.
    """

    what: str
    limits: tuple[float, ...]
    value: Callable[[Mapping[str, Any]], float]
    at_least: bool = False


def _part_of_halves(accuracy: str) -> Callable[[Mapping[str, Any]], float]:
    """Rate of the products of all pairs, of the rate of matrix products of random halves."""

    def value(found: Mapping[str, Any]) -> float:
        products = found["stages"]["jobs"][f"all pairs, {accuracy}"]["stages"]["products"]
        return float(products["flops"] / products["seconds"] / found["peaks"]["flops_per_s"]["fp16"])

    return value


def _over_textbook(found: Mapping[str, Any]) -> float:
    """How many times sooner a map of all pairs is there than one of the faster textbook."""
    job = found["stages"]["jobs"]["all pairs, exact"]
    books = [s["median"] for name, s in found["textbook"]["s_per_map"].items() if name.startswith("textbook")]
    return float(min(books) * job["maps_per_s"])


def _to_p(workload: str) -> Callable[[Mapping[str, Any]], float]:
    return lambda found: float(found["workloads"]["runs"][workload]["cuda"]["seconds_to_p"])


def _stage(workload: str, name: str) -> Callable[[Mapping[str, Any]], float]:
    def value(found: Mapping[str, Any]) -> float:
        stages = found["workloads"]["runs"][workload]["cuda"]["stages"]
        return float({stage["name"]: stage["wall_s"] for stage in stages}[name])

    return value


TARGETS = (
    Target("products of all pairs, fast: part of the rate of halves", (0.40,), _part_of_halves("fast"), True),
    Target("products of all pairs, exact: the same", (0.45,), _part_of_halves("exact"), True),
    Target("typical, exact: s from file to p", (0.5, 0.2), _to_p("typical")),
    Target("large, exact: s of the re-pairings", (1.5, 0.6), _stage("large", "null, repair")),
    Target("large: s of 211.6 million phase maps", (15.0, 6.0), _stage("large", "null, phase")),
    Target("all pairs, exact: times a textbook's maps/s", (100.0, 500.0), _over_textbook, True),
)


def measure_targets(bench: Bench) -> dict[str, Any]:
    """What the sections before came to, beside what is aimed at."""
    return {
        "how": "figures of the sections measured before, beside what is aimed at first and later; what was not "
        "measured has no figure. Without a GPU, and at the sizes of --size tiny, there is nothing to compare",
        "targets": [_against(target, bench.found) for target in TARGETS] if bench.size is SIZES["full"] else [],
    }


def _against(target: Target, found: Mapping[str, Any]) -> dict[str, Any]:
    try:
        value = target.value(found)
    except (KeyError, TypeError):  # not measured
        return {"what": target.what, "value": None, "limits": target.limits, "met": [None] * len(target.limits)}
    met = [value >= limit if target.at_least else value <= limit for limit in target.limits]
    return {"what": target.what, "value": value, "limits": target.limits, "met": met}


# --- a floor without kernels ------------------------------------------------------------------------------------------


def measure_projectors(bench: Bench) -> dict[str, Any]:
    """All pairs as one matrix product of projectors: |<x, y>|^2 is the inner product of x x^H and y y^H.

    A Hermitian K x K matrix is K^2 real numbers; in halves, the sums over cells are a product of two matrices with
    K^2 numbers for each cell. No kernel of ours runs.
    """
    xp, workload = bench.xp, bench.size.session
    plan = bench.engine(workload, "fast").plan
    n = workload.n_dyads * workload.n_channels
    n_features = max(plan.group(segment, 0).n_features for segment in plan.segments)
    n_cells = sum(len(segment.times) * segment.n_rows for segment in plan.segments)
    n_some = max(1, min(n_cells, bench.size.copy_bytes // (4 * n * n_features**2)))
    random = np.random.default_rng(0)
    u = xp.asarray(random.standard_normal((2, n, n_some, n_features, 2)).astype(np.float32).view(np.complex64)[..., 0])
    u /= xp.sqrt((xp.abs(u) ** 2).sum(axis=-1, keepdims=True))
    above = np.triu_indices(n_features, 1)

    def projectors(side: Any) -> Any:
        whole = side[..., above[0]] * side[..., above[1]].conj() * np.float32(2**0.5)
        parts = [xp.abs(side) ** 2, whole.real, whole.imag]
        return xp.concatenate(parts, axis=-1).reshape(n, -1).astype(np.float16)

    a, b = (projectors(side) for side in u)
    product = bench.repeated(lambda: xp.matmul(a, b.T))
    made = bench.repeated(lambda: projectors(u[0]))
    few = slice(0, 2)
    direct = (xp.abs((u[0][few, None] * u[1][None, few].conj()).sum(axis=-1)) ** 2).mean(axis=-1)
    difference = float(xp.abs(a[few].astype(np.float32) @ b[few].astype(np.float32).T / n_some - direct).max())
    times = n_cells / n_some
    return {
        "how": f"{n} x {n} channels, {n_cells} cells of {n_features} features, {n_some} of them random and measured, "
        "the time of the others in proportion: matrix products of halves, and the making of both sides' numbers from "
        "unit features. A floor that needs no kernel of ours",
        "product_s": product["median"] * times,
        "making_s": 2 * made["median"] * times,
        "part_of_halves": 2.0 * n * n * a.shape[1] / product["median"] / bench.peaks.flops_per_s["fp16"],
        "largest_difference_of_means": difference,
    }


def _walks(shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Random walks: what they are does not change the time."""
    return np.random.default_rng(1).standard_normal(shape).cumsum(axis=-1)


# --- beside a textbook ------------------------------------------------------------------------------------------------


def measure_textbook(bench: Bench) -> dict[str, Any]:
    """One dyad's pairs by the textbook on the same device, checked equal before anything is timed."""
    workload = bench.size.dyad
    signals = bench.there(session_signals(workload)[0])
    engines = {accuracy: bench.engine(workload, accuracy) for accuracy in ACCURACIES}
    books = {
        f"textbook, {name}": Textbook(
            signals.astype(name), 1 / workload.sfreq_hz, xp=bench.xp if bench.device is not None else np,
            periods_s=workload.periods_s,
        )
        for name in ("float64", "float32")
    }  # fmt: skip
    checks = _checked(bench, engines["exact"], signals, books, workload)
    n_maps = workload.n_channels**2

    def ours(engine: Engine) -> Callable[[], object]:
        return lambda: engine.coherence(engine.features(signals[0]), engine.features(signals[1]), on_device=True)

    def theirs(book: Textbook) -> Callable[[], object]:
        def run() -> None:
            book.forget()
            for _ in book.all_pairs():
                pass

        return run

    runs = {name: ours(engine) for name, engine in engines.items()} | {name: theirs(b) for name, b in books.items()}

    def per_map(run: Callable[[], object]) -> Callable[[], dict[str, float]]:
        return lambda: {"s_per_map": elapsed(bench.clock, bench.finished(run))[1] / n_maps}

    figures = interleaved({name: per_map(run) for name, run in runs.items()}, bench.size.repeats)
    took = {name: [turn["s_per_map"] for turn in turns] for name, turns in figures.items()}
    return {
        "how": f"one dyad, {workload.n_channels} x {workload.n_channels} channels, {workload.n_samples} samples, "
        f"periods {workload.periods_s[0]:g}-{workload.periods_s[1]:g} s, signals there, programs in turn. textbook: "
        "the definition by FFT smoothing on the same device, transforms and smoothed powers kept, a channel with all "
        "its partners at a time; it returns full maps, whose means are not timed",
        "s_per_map": {name: asdict(summary(values)) for name, values in took.items()},
        "times_faster": {
            f"{mine} vs {book}": asdict(ratios(took[book], took[mine])) for mine in ACCURACIES for book in books
        },
        "largest_difference_from_exact": checks,
    }


def _checked(
    bench: Bench, engine: Engine, signals: Any, books: Mapping[str, Textbook], workload: Workload
) -> dict[str, float]:
    """Largest difference of band means from ours; refused where it is more than is promised."""
    ours = engine.coherence(engine.features(signals[0]), engine.features(signals[1])).coherence[..., 0, 0]
    inside = bench.xp.asarray(inside_cone(workload.n_samples, workload.sfreq_hz, workload.periods_s), np.float64)
    found = {}
    for name, book in books.items():
        theirs = np.empty_like(ours)
        for a, some, maps in book.all_pairs():
            means = (maps.astype(np.float64) * inside).sum(axis=(-2, -1)) / inside.sum()
            theirs[a, some] = means if bench.device is None else bench.device.to_host(means)
        found[name] = float(np.abs(theirs - ours).max())
        if not found[name] <= PROMISED:
            raise SystemExit(f"the {name} and exact differ by {found[name]:.1e}, more than {PROMISED:.0e}")
    return found


# --- how cost grows ---------------------------------------------------------------------------------------------------


def measure_growth(bench: Bench) -> dict[str, Any]:
    """Seconds over length, channels, dyads and surrogates; on the CPU too, up to a size."""
    found = {bench.backend: _growth(bench)}
    if bench.backend != "numpy":
        found["numpy"] = _growth(replace(bench, backend="numpy"))
    return {
        "how": "accuracy exact; length and channels: features and all pairs of one dyad; dyads: those of every first "
        "with every second person; draws: Study.null of one dyad, phase surrogates. exponent: of the last two sizes. "
        f"On the CPU jobs of more than {bench.size.host_up_to} maps are left out",
        "backends": found,
    }


def _growth(bench: Bench) -> dict[str, Any]:
    dyad = bench.size.dyad
    axes: dict[str, list[tuple[int, int, Callable[[], object]]]] = {
        "length": [_grown(bench, n, replace(dyad, duration_s=n / dyad.sfreq_hz)) for n in bench.size.lengths],
        "channels": [_grown(bench, n, replace(dyad, n_channels=n)) for n in bench.size.channels],
        "dyads": [_grown(bench, n, replace(dyad, n_channels=n * dyad.n_channels)) for n in bench.size.dyads],
        "draws": [_drawn(bench, n) for n in bench.size.draws],
    }
    return {axis: _course(bench, jobs) for axis, jobs in axes.items()}


def _grown(bench: Bench, at: int, workload: Workload) -> tuple[int, int, Callable[[], object]]:
    def prepared() -> Callable[[], object]:
        signals = bench.there(_walks((2, workload.n_channels, workload.n_samples)))
        engine = bench.engine(workload, "exact")
        return lambda: engine.coherence(engine.features(signals[0]), engine.features(signals[1]), on_device=True)

    return at, workload.n_channels**2, prepared


def _drawn(bench: Bench, n_draws: int) -> tuple[int, int, Callable[[], object]]:
    workload = bench.size.dyad

    def prepared() -> Callable[[], object]:
        study, spec = bench.study(workload), map_spec("exact", workload.periods_s)
        return lambda: study.null(spec, kind="phase", n=n_draws, seed=1, backend=bench.backend)

    return n_draws, n_draws * workload.n_channels**2, prepared


def _course(bench: Bench, jobs: Sequence[tuple[int, int, Callable[[], Any]]]) -> dict[str, Any]:
    rows = []
    for at, n_maps, prepare in jobs:
        if bench.backend == "numpy" and n_maps > bench.size.host_up_to:
            continue
        took = bench.repeated(prepare())
        rows.append({"at": at, "n_maps": n_maps, "seconds": took})
    return {"rows": rows, "exponent": _exponent(rows)}


def _exponent(rows: Sequence[Mapping[str, Any]]) -> float | None:
    if len(rows) < 2:
        return None
    (x0, y0), (x1, y1) = ((row["at"], row["seconds"]["median"]) for row in rows[-2:])
    return math.log(y1 / y0) / math.log(x1 / x0)


# --- workloads --------------------------------------------------------------------------------------------------------


def measure_workloads(bench: Bench) -> dict[str, Any]:
    """`ibsync bench` on the backend and, beside it, on the CPU."""
    backends = dict.fromkeys((bench.backend, "numpy"))
    saves = importlib.util.find_spec("h5netcdf") is not None
    with nullcontext() if saves else mock.patch.object(Result, "save"):
        runs = {
            name: {backend: run_bench(name, backend=backend).describe() for backend in backends}
            for name in bench.size.workloads
        }
    saved = "saved result" if saves else "result, which is not saved as h5netcdf is not installed"
    return {
        "how": f"ibsync bench: study file to {saved}, wall time; tables and the kernels of the verbs are ready",
        "runs": runs,
    }


# --- what is printed --------------------------------------------------------------------------------------------------


def _page(name: str, found: Mapping[str, Any]) -> Iterator[str]:
    yield f"\n== {name}\n{found['how']}."
    yield from PAGES[name](found)


def _peaks_page(found: Mapping[str, Any]) -> Iterator[str]:
    for name, rate in found["flops_per_s"].items():
        yield f"  {name}: {rate / 1e12:.4g} TFLOP/s"
    yield f"  copy: {found['bytes_per_s'] / 1e9:.4g} GB/s"


def _stages_page(found: Mapping[str, Any]) -> Iterator[str]:
    for name, job in found["jobs"].items():
        busy = f"busy {_ms(job['busy_s'])}, " if job["stages"] else ""
        yield (
            f"  {name}: {_spread(job['seconds'], 1e3)} ms, {job['maps_per_s']:.3g} maps/s; {busy}least "
            f"{_ms(job['least_s'])}"
        )
        for stage, figures in job["stages"].items():
            part = figures["part_of_roofline"]
            yield (
                f"    {stage:<22} {figures['launches']:>6} launches {_ms(figures['seconds']):>12}, least "
                f"{_ms(figures['least_s']):>12}, {'-' if part is None else f'{100 * part:.0f} %'}"
            )


def _targets_page(found: Mapping[str, Any]) -> Iterator[str]:
    for target in found["targets"]:
        value = "not measured" if target["value"] is None else f"{target['value']:.3g}"
        signs = ["-" if met is None else "met" if met else "NOT MET" for met in target["met"]]
        aims = [f"{limit:g} {sign}" for limit, sign in zip(target["limits"], signs, strict=True)]
        yield f"  {target['what']}: {value}; {', later '.join(aims)}"


def _projectors_page(found: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"  product {_ms(found['product_s'])} ({100 * found['part_of_halves']:.0f} % of the rate of halves), making "
        f"{_ms(found['making_s'])}; means differ by at most {found['largest_difference_of_means']:.1e}"
    )


def _textbook_page(found: Mapping[str, Any]) -> Iterator[str]:
    for name, figures in found["s_per_map"].items():
        yield f"  {name}: {_spread(figures, 1e6)} us per map"
    for name, figures in found["times_faster"].items():
        yield f"  {name}: {_spread(figures)} times faster"
    for name, difference in found["largest_difference_from_exact"].items():
        yield f"  {name} differs from exact by at most {difference:.1e}"


def _growth_page(found: Mapping[str, Any]) -> Iterator[str]:
    for backend, axes in found["backends"].items():
        for axis, course in axes.items():
            steps = ", ".join(f"{row['at']}: {_ms(row['seconds']['median'])}" for row in course["rows"])
            exponent = "" if course["exponent"] is None else f"; exponent {course['exponent']:.2f}"
            yield f"  {backend}, {axis}: {steps}{exponent}"


def _workloads_page(found: Mapping[str, Any]) -> Iterator[str]:
    for name, runs in found["runs"].items():
        for backend, speed in runs.items():
            stages = ", ".join(f"{stage['name']} {stage['wall_s']:.3g}" for stage in speed["stages"])
            yield (
                f"  {name}, {backend}: {speed['wall_s']:.3g} s end to end ({stages}); p-values after "
                f"{speed['seconds_to_p']:.3g} s; {speed['peak_rss_bytes'] / 1e6:.0f} MB"
            )


def in_short(found: Mapping[str, Any]) -> Iterator[str]:
    """The few lines that one looks for first."""
    for name, job in found.get("stages", {}).get("jobs", {}).items():
        yield f"  {name}: {job['maps_per_s']:.3g} maps/s, {100 * job['part_of_roofline']:.0f} % of its roofline"
    for name, figures in found.get("textbook", {}).get("times_faster", {}).items():
        yield f"  {name}: {_spread(figures)} times faster"
    for name, runs in found.get("workloads", {}).get("runs", {}).items():
        yield f"  {name}: " + ", ".join(f"{speed['wall_s']:.3g} s with {backend}" for backend, speed in runs.items())
    targets = found.get("targets", {}).get("targets", [])
    if targets:
        yield f"  {sum(target['met'][0] is True for target in targets)} of {len(targets)} targets met"


def _spread(figures: Mapping[str, float], unit: float = 1.0) -> str:
    median, least, most = (f"{unit * figures[name]:.3g}" for name in ("median", "min", "max"))
    return f"{median} ({least} to {most})"


def _ms(value: float) -> str:
    return f"{1e3 * value:.3g} ms"


SECTIONS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "peaks": measure_peaks,
    "stages": measure_stages,
    "textbook": measure_textbook,
    "projectors": measure_projectors,
    "growth": measure_growth,
    "workloads": measure_workloads,
    "targets": measure_targets,
}
PAGES: dict[str, Callable[[Mapping[str, Any]], Iterator[str]]] = {
    "peaks": _peaks_page,
    "stages": _stages_page,
    "textbook": _textbook_page,
    "projectors": _projectors_page,
    "growth": _growth_page,
    "workloads": _workloads_page,
    "targets": _targets_page,
}


# --- command ----------------------------------------------------------------------------------------------------------


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure ibsync on a GPU, stage by stage.")
    parser.add_argument("--backend", choices=("cuda", "numpy"), default="cuda",
                        help="numpy runs the same on the CPU, by the host's clock")  # fmt: skip
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="SECTION",
                        help=f"some of: {', '.join(SECTIONS)}")  # fmt: skip
    parser.add_argument("--size", choices=SIZES, default="full", help="tiny shows that everything runs, not how fast")
    parser.add_argument("-o", "--output", type=Path, metavar="NAME.json",
                        help="default: benchmarks/results/<device>-<date>.json; of --size tiny none")  # fmt: skip
    return parser.parse_args(words)


def origin_of(bench: Bench, size: str) -> dict[str, Any]:
    """What the figures must not be quoted without."""
    origin = provenance(REPOSITORY, PACKAGES)
    gpu = None if bench.device is None else gpu_facts(bench.device)
    return {**origin, "backend": bench.backend, "gpu": gpu, "clock": bench.clock.name, "size": size}


def output_name(origin: Mapping[str, Any]) -> str:
    """<device>-<date>.json, in small letters."""
    device = origin["gpu"]["name"] if origin["gpu"] else f"{origin['cpu']} cpu"
    return f"{re.sub(r'[^a-z0-9]+', '-', device.lower()).strip('-')}-{origin['date'][:10]}.json"


def main(words: Sequence[str] | None = None) -> Path | None:
    """Run the sections asked for; what is measured is on disk after each of them."""
    arguments = _arguments(words)
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(arguments.backend, SIZES[arguments.size], Path(folder))
        try:
            origin = origin_of(bench, arguments.size)
        except IbsyncError as error:
            raise SystemExit(f"gpu.py: {error}") from None
        output = arguments.output or (RESULTS / output_name(origin) if arguments.size == "full" else None)
        print(json.dumps(origin, indent=1))
        for name in arguments.only:
            bench.found[name] = SECTIONS[name](bench) | {"load_average_at_end": load_average()}
            origin["seconds"] = round(time.perf_counter() - started)
            if bench.device is not None:
                origin["pool_bytes"] = pool_bytes(bench.device)
            print("\n".join(_page(name, bench.found[name])), flush=True)
            if output:
                output.parent.mkdir(parents=True, exist_ok=True)
                report = {"provenance": origin, "sections": bench.found}
                output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print("\n".join(["\n== in short", *in_short(bench.found)]))
    print(f"\n{origin['seconds']} s in all" + (f"; wrote {output}" if output else ""))
    return output


if __name__ == "__main__":
    main()
