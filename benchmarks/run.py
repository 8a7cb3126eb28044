"""Measure ibsync, beside other programs where asked: prints tables, writes JSON.

python benchmarks/run.py [--only SECTION ...] [--rivals] [--hypyp-python PATH] [-o benchmarks/results/NAME.json]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from cases import DYAD_CHANNELS, DYAD_DURATION_S, DYAD_SFREQ_HZ, GROWTH, SMALL, SMALL_BANDS_HZ, WORKLOADS
from checkout import VARIABLE as CHECKOUT
from measure import Figures, Summary, Worker, busy_core, commit, interleaved, load_average, provenance, ratios, summary

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
PACKAGES = ("numpy", "scipy", "h5py", "xarray", "h5netcdf", "threadpoolctl")

ACCURACIES = ("exact", "fast")
PROMISED = {"exact": 3e-5, "fast": 5e-5}  # band x epoch means, whole recording and epochs of 2 min
N_KNOWN = 5  # channels of each person in one repetition of a rival: 20 pairs of known channels
TIMES = 4  # dyads in one repetition of ibsync
HYPYP_VARIABLE = "IBSYNC_BENCH_HYPYP_PYTHON"
SANE_CORRELATION = 0.5
BEFORE = ", before"

TARGETS = {
    ("small", "exact", "hypyp"): 25.0,
    ("dyad", "exact", "hypyp"): 350.0,
    ("dyad", "exact", "pycwt"): 800.0,
    ("dyad", "fast", "hypyp"): 650.0,
    ("all-pairs", "exact", "hypyp"): 2000.0,
    ("all-pairs", "fast", "hypyp"): 3000.0,
}


@dataclass
class Bench:
    """Processes, scratch files and options shared by the sections."""

    folder: str
    stack: ExitStack
    rival_pythons: Mapping[str, str]
    repeats: int
    before: Path | None = None
    workers: dict[str, Worker] = field(default_factory=dict)

    def ours(self, name: str) -> Worker:
        """The long-lived process of one accuracy, on one core."""
        return self._worker(name, [sys.executable, str(HERE / "ours.py")])

    @property
    def contenders(self) -> dict[str, tuple[Worker, str]]:
        """Process and accuracy of ibsync, and of an older checkout where one is named."""
        found = {accuracy: (self.ours(accuracy), accuracy) for accuracy in ACCURACIES}
        if self.before is not None:
            elsewhere = {**_environment(), CHECKOUT: str(self.before), "PYTHONPATH": str(self.before)}
            for accuracy in ACCURACIES:
                name, command = accuracy + BEFORE, [sys.executable, str(HERE / "ours.py")]
                found[name] = (self._worker(name, command, elsewhere), accuracy)
        return found

    def rival(self, name: str) -> Worker:
        """The long-lived process of a rival, on one core."""
        return self._worker(name, [self.rival_pythons[name], str(HERE / "rivals.py"), name])

    def _worker(self, name: str, command: list[str], environment: Mapping[str, str] | None = None) -> Worker:
        if name not in self.workers:
            worker = Worker(command, one_core=True, environment=environment or _environment())
            self.workers[name] = self.stack.enter_context(worker)
        return self.workers[name]


def _environment(**more: str) -> dict[str, str]:
    """Children measure this checkout, whatever is installed."""
    return {"PYTHONPATH": str(REPOSITORY), **more}


def _fresh(**environment: str) -> Worker:
    """A new ibsync process with all cores."""
    return Worker([sys.executable, str(HERE / "ours.py")], environment=_environment(**environment))


# --- CPU seconds per map ----------------------------------------------------------------------------------------------


def _ours_per_map(worker: Worker, path: str, accuracy: str, n_maps: int, n_times: int) -> Callable[[], Figures]:
    def run() -> Figures:
        reply = worker.call("all_pairs", path=path, sfreq_hz=DYAD_SFREQ_HZ, accuracy=accuracy, n_times=n_times)
        count = n_maps * n_times
        return {"cpu_s_per_map": reply.cpu_s / count, "wall_s_per_map": reply.wall_s / count}

    return run


def _rival_per_map(worker: Worker, path: str, channels_per_map: float, *, keeps: bool) -> Callable[[], Figures]:
    """A pair of known channels, plus each channel's transforms shared by all its pairs."""

    def run() -> Figures:
        new = worker.call("new_channels", path=path, sfreq_hz=DYAD_SFREQ_HZ, n=N_KNOWN)
        new_pair = new.cpu_s / N_KNOWN
        if not keeps:
            return {"cpu_s_per_map": new_pair}
        known = worker.call("known_channels", path=path, sfreq_hz=DYAD_SFREQ_HZ, n=N_KNOWN)
        pair = known.cpu_s / (N_KNOWN * (N_KNOWN - 1))
        channel = (new_pair - pair) / 2
        return {
            "cpu_s_per_map": pair + channels_per_map * channel,
            "cpu_s_pair_of_known_channels": pair,
            "cpu_s_pair_of_new_channels": new_pair,
        }

    return run


def _contenders(bench: Bench, path: str, n_a: int, n_times: int, rivals_path: str) -> dict[str, Callable[[], Figures]]:
    """Everybody who computes all pairs of n_a with n_a channels."""
    runs = {
        name: _ours_per_map(worker, path, accuracy, n_a**2, n_times)
        for name, (worker, accuracy) in bench.contenders.items()
    }
    for name in bench.rival_pythons:
        runs[name] = _rival_per_map(bench.rival(name), rivals_path, 2 * n_a / n_a**2, keeps=name != "pycwt")
    return runs


def measure_dyad(bench: Bench) -> dict[str, Any]:
    """One dyad, 20 x 20 channels, 10 min at 10 Hz; everybody checked before being timed."""
    path = bench.ours("exact").call("make_dyad", folder=bench.folder).value
    checks = _checks(bench, path)
    runs = _contenders(bench, path, DYAD_CHANNELS, TIMES, path)
    figures = interleaved(runs, bench.repeats)
    how = (
        f"one dyad, {DYAD_CHANNELS} x {DYAD_CHANNELS} channels, {DYAD_DURATION_S:g} s at {DYAD_SFREQ_HZ:g} Hz, periods "
        "5-50 s, 12 voices; CPU seconds of all threads / maps, each program in its own process on one core, in turn. "
        f"ibsync: features and coherence, {TIMES} dyads a turn, tables and plan ready. {_how_rivals()}"
    )
    return _per_map("dyad", how, figures, bench) | {"checks": checks}


def measure_small(bench: Bench) -> dict[str, Any]:
    """A study of few channels and short recordings, `Study.synchrony` against rivals that keep transforms."""
    made = bench.ours("exact").call("make_small", folder=bench.folder).value
    n_maps = SMALL.n_occasions * SMALL.n_channels**2
    words = {"path": made["signals"], "sfreq_hz": SMALL.sfreq_hz, "periods_s": SMALL.periods_s}

    def per_map(worker: Worker, **arguments: Any) -> Callable[[], Figures]:
        def run() -> Figures:
            reply = worker.call("small_study", **arguments)
            return {"cpu_s_per_map": reply.cpu_s / n_maps, "wall_s_per_map": reply.wall_s / n_maps}

        return run

    checks = _checks_of_small(bench, made["study"], words)
    runs = {
        name: per_map(worker, path=made["study"], accuracy=accuracy)
        for name, (worker, accuracy) in bench.contenders.items()
    }
    runs |= {name: per_map(bench.rival(name), **words) for name in bench.rival_pythons}
    figures = interleaved(runs, bench.repeats)
    how = (
        f"{SMALL.n_dyads} dyads x {SMALL.n_sessions} sessions, {SMALL.n_channels} x {SMALL.n_channels} channels, "
        f"{SMALL.duration_s:g} s at {SMALL.sfreq_hz:g} Hz, bands {', '.join(map(_band, SMALL_BANDS_HZ.values()))} Hz; "
        "CPU seconds of all threads / maps, each program in its own process on one core, in turn. ibsync: "
        "Study.synchrony from the opened study file, tables and plan ready. Rivals: arrays in memory, transforms kept "
        "within a dyad (pycwt keeps none)"
    )
    return _per_map("small", how, figures, bench) | {"checks": checks}


def _band(edges: tuple[float, float]) -> str:
    return f"{edges[0]:g}-{edges[1]:g}"


def _checks_of_small(bench: Bench, study: str, words: Mapping[str, Any]) -> dict[str, Any]:
    """Refuse to time programs whose means have nothing to do with those of ibsync."""
    ours = np.array(bench.ours("exact").call("small_study", path=study, accuracy="exact").value)
    found = {}
    for name in bench.rival_pythons:
        theirs = np.array(bench.rival(name).call("small_study", **words).value)
        found[name] = float(np.corrcoef(ours, theirs)[0, 1])
        if not (np.isfinite(theirs).all() and found[name] > SANE_CORRELATION):
            raise SystemExit(f"{name} does not compute a coherence of these signals: correlation {found[name]:.2f}")
    return {"correlation_of_pair_means": found}


def measure_all_pairs(bench: Bench) -> dict[str, Any]:
    """Every person's channels with every partner's, in the workload `typical`."""
    workload = WORKLOADS["typical"]
    n = workload.n_dyads * workload.n_channels
    maker = bench.ours("exact")
    dyad = maker.call("make_dyad", folder=bench.folder).value
    path = maker.call("make_session", folder=bench.folder, workload="typical").value
    for worker, accuracy in bench.contenders.values():  # tables and plan ready
        worker.call("all_pairs", path=dyad, sfreq_hz=DYAD_SFREQ_HZ, accuracy=accuracy)
    figures = interleaved(_contenders(bench, path, n, 1, dyad), max(2, bench.repeats // 2), n_warm_up=0)
    how = (
        f"typical, {n} x {n} channels, {workload.duration_s:g} s at {workload.sfreq_hz:g} Hz; otherwise as above. "
        "Rivals: one dyad's pairs, transforms shared by all pairs of the 440 x 440 (none could hold them all)"
    )
    return _per_map("all-pairs", how, figures, bench)


def _how_rivals() -> str:
    return (
        f"Rivals: {N_KNOWN * (N_KNOWN - 1)} pairs of channels already transformed, plus the channels' transforms "
        f"(from {N_KNOWN} pairs of new channels) shared by all pairs; pycwt keeps none: {N_KNOWN} pairs a turn"
    )


def _per_map(section: str, how: str, figures: Mapping[str, Sequence[Figures]], bench: Bench) -> dict[str, Any]:
    cpu = {name: [turn["cpu_s_per_map"] for turn in turns] for name, turns in figures.items()}
    ours = [name for name in figures if name.removesuffix(BEFORE) in ACCURACIES]
    compared = [(name, rival) for name in ours for rival in figures if rival not in ours]
    compared += [(name, name + BEFORE) for name in ACCURACIES if name + BEFORE in figures]
    faster = {f"{name} vs {rival}": asdict(ratios(cpu[rival], cpu[name])) for name, rival in compared}
    targets = [
        _target(f"{ours} at least {least:g} x {rival}", faster[f"{ours} vs {rival}"]["median"], least, at_least=True)
        for (where, ours, rival), least in TARGETS.items()
        if where == section and rival in figures
    ]
    return {
        "how": how,
        "cpu_s_per_map": {name: asdict(summary(values)) for name, values in cpu.items()},
        "times_faster": faster,
        "targets": targets,
        "peak_rss_bytes": {name: bench.workers[name].call("describe").peak_rss_bytes for name in figures},
        "raw": figures,
    }


def _target(what: str, value: float, limit: float, *, at_least: bool = False) -> dict[str, Any]:
    return {"what": what, "value": value, "limit": limit, "met": value >= limit if at_least else value <= limit}


# --- right before fast ------------------------------------------------------------------------------------------------


def _checks(bench: Bench, path: str) -> dict[str, Any]:
    """Refuse to time what is wrong: ibsync against the definition, rivals for shape, range and sense."""
    differences = bench.ours("exact").call("agreement", path=path, sfreq_hz=DYAD_SFREQ_HZ, n_channels=2).value
    for accuracy, difference in differences.items():
        if not difference <= PROMISED[accuracy]:
            raise SystemExit(
                f"{accuracy} differs from the definition by {difference:.1e}, more than {PROMISED[accuracy]:.0e}"
            )
    ours = bench.ours("exact").call("means", path=path, sfreq_hz=DYAD_SFREQ_HZ, accuracy="exact").value
    rivals = {name: _sane(name, bench.rival(name), path, np.array(ours)) for name in bench.rival_pythons}
    return {"largest_difference_from_definition": differences, "rivals": rivals}


def _sane(name: str, worker: Worker, path: str, ours: np.ndarray[Any, Any]) -> dict[str, Any]:
    found = worker.call("means", path=path, sfreq_hz=DYAD_SFREQ_HZ, n=N_KNOWN).value
    theirs, ours = np.array(found.pop("means")), ours[:N_KNOWN, :N_KNOWN]
    found["correlation_with_exact"] = float(np.corrcoef(theirs.ravel(), ours.ravel())[0, 1])
    found["largest_difference_from_exact"] = float(np.abs(theirs - ours).max())
    right_shape = found["shape"][1] == DYAD_DURATION_S * DYAD_SFREQ_HZ
    if not (found["finite"] and right_shape and found["correlation_with_exact"] > SANE_CORRELATION):
        raise SystemExit(f"{name} does not compute a coherence of these signals: {found}")
    if name == "textbook" and not found["largest_difference_from_exact"] <= PROMISED["exact"]:
        raise SystemExit(f"the textbook and exact differ by {found['largest_difference_from_exact']:.1e}")
    return found


# --- end to end -------------------------------------------------------------------------------------------------------


def measure_end_to_end(bench: Bench) -> dict[str, Any]:
    """Study file -> synchrony, 10 000 re-pairings, test -> saved result, in a process of its own."""
    with _fresh() as maker:
        study = maker.call("make_study", folder=bench.folder, workload="typical").value

    def run(cache_dir: str) -> Figures:
        result = Path(bench.folder) / "hbo_test.h5"
        result.unlink(missing_ok=True)
        started = time.perf_counter()
        with _fresh(IBSYNC_CACHE_DIR=cache_dir) as worker:
            words = {"study_path": study, "result_folder": bench.folder, "workload": "typical", "accuracy": "exact"}
            reply = worker.call("end_to_end", **words)
        seconds = {f"{stage}_wall_s": value for stage, value in reply.value.items()}
        process = {
            "wall_s": time.perf_counter() - started,
            "cpu_s": reply.cpu_s,
            "peak_rss_bytes": reply.peak_rss_bytes,
        }
        return {**process, **seconds, "result_bytes": result.stat().st_size}

    def first_run() -> Figures:
        with tempfile.TemporaryDirectory() as empty:
            return run(empty)

    kept = str(Path(bench.folder) / "tables")
    run(kept)
    figures = interleaved({"first": first_run, "later": lambda: run(kept)}, 3, n_warm_up=0)
    return _end_to_end(figures)


def _end_to_end(figures: Mapping[str, Sequence[Figures]]) -> dict[str, Any]:
    numbers = {
        name: {key: asdict(summary(turn[key] for turn in turns)) for key in turns[0]} for name, turns in figures.items()
    }
    worst_wall = max(numbers[name]["wall_s"]["median"] for name in figures)
    worst_rss = max(numbers[name]["peak_rss_bytes"]["max"] for name in figures)
    return {
        "how": "typical: study file of 20 dyads x 22 channels, 10 min at 10 Hz -> Study.synchrony, "
        "Study.null(kind='repair', n=10_000), test, saved result; wall_s: the whole process with interpreter and "
        "imports, all cores; cpu_s: from opening to saving; peak RSS of that process. first: empty table cache; later: "
        "tables on disk",
        "seconds": numbers,
        "targets": [
            _target("wall s, tables built in the run", worst_wall, 60.0),
            _target("peak RSS in GB", worst_rss / 1e9, 1.0),
        ],
        "raw": figures,
    }


# --- nulls ------------------------------------------------------------------------------------------------------------

N_SURROGATES = 1000
REPAIRINGS = {"n_dyads": 20, "n_features": 484 * 5, "n_draws": 1_000_000}


def measure_nulls(bench: Bench) -> dict[str, Any]:
    """Surrogates of one dyad, and a million re-pairings, each in a process of its own with all cores."""
    with _fresh() as maker:
        study = maker.call("make_one_dyad_study", folder=bench.folder).value

    def surrogates(kind: str) -> Figures:
        with _fresh() as worker:
            words = {"study_path": study, "kind": kind, "n_draws": N_SURROGATES, "accuracy": "fast"}
            reply = worker.call("surrogate_null", **words)
            return dict(reply.value) | {"peak_rss_bytes": reply.peak_rss_bytes}

    def repairings() -> Figures:
        with _fresh() as worker:
            reply = worker.call("repairings", **REPAIRINGS)
            return dict(reply.value) | {"peak_rss_bytes": reply.peak_rss_bytes}

    contenders = {
        "phase": lambda: surrogates("phase"),
        "shift": lambda: surrogates("shift"),
        "re-pairings": repairings,
    }
    figures = interleaved(contenders, 3, n_warm_up=0)
    numbers = {
        name: {key: asdict(summary(turn[key] for turn in turns)) for key in turns[0]} for name, turns in figures.items()
    }
    return {
        "how": f"phase, shift: Study.null of one dyad, {DYAD_CHANNELS} x {DYAD_CHANNELS} channels, "
        f"{DYAD_DURATION_S:g} s at {DYAD_SFREQ_HZ:g} Hz, periods 5-50 s, accuracy fast, {N_SURROGATES} surrogates of "
        "the person (and the 128 that give mean and sd), counted, tables ready. re-pairings: repair_test with fdr and "
        f"max, {REPAIRINGS['n_draws']} re-pairings of {REPAIRINGS['n_dyads']} dyads x {REPAIRINGS['n_features']} "
        "features. Wall time with all cores",
        "seconds": numbers,
        "targets": [
            _target("1000 phase surrogates, 400 000 maps, wall s", numbers["phase"]["null_wall_s"]["median"], 60.0),
            _target("1 000 000 re-pairings, wall s", numbers["re-pairings"]["wall_s"]["median"], 60.0),
        ],
        "raw": figures,
    }


# --- growth -----------------------------------------------------------------------------------------------------------


def measure_growth(bench: Bench) -> dict[str, Any]:
    """Cost as recordings, channels, dyads and draws grow, one at a time."""
    found: dict[str, dict[str, list[float]]] = {}
    for along, sizes in GROWTH.items():
        runs = {
            f"{name}|{size}": _grown(worker, along, size, bench.folder, accuracy)
            for name, (worker, accuracy) in bench.contenders.items()
            for size in sizes
            if along != "draws" or accuracy == "exact"
        }
        for name, turns in interleaved(runs, max(2, bench.repeats // 2), n_warm_up=0).items():
            contender, _ = name.split("|")
            found.setdefault(along, {}).setdefault(contender, []).append(min(turn["cpu_s"] for turn in turns))
    return {
        "how": "CPU seconds on one core, the least of some turns, tables and plan ready. samples: one dyad of 8 x 8 "
        "channels; channels: one dyad of 3000 samples; dyads: Study.synchrony, 8 x 8 channels, 3000 samples; draws: "
        "repair_test of 20 dyads x 484 features. 10 Hz, periods 5-50 s",
        "sizes": {along: list(sizes) for along, sizes in GROWTH.items()},
        "cpu_s": found,
        "targets": [],
    }


def _grown(worker: Worker, along: str, size: int, folder: str, accuracy: str) -> Callable[[], Figures]:
    return lambda: dict(worker.call("growing", along=along, size=size, folder=folder, accuracy=accuracy).value)


# --- tables -----------------------------------------------------------------------------------------------------------


def measure_tables(bench: Bench) -> dict[str, Any]:
    """Tables of N = 6000, periods 5-50 s: built in an empty cache folder, then loaded."""
    n_samples = round(DYAD_DURATION_S * DYAD_SFREQ_HZ)

    def run(accuracy: str, deep: bool) -> Figures:
        with _fresh() as worker:
            arguments = {"n_samples": n_samples, "sfreq_hz": DYAD_SFREQ_HZ, "accuracy": accuracy, "deep": deep}
            return dict(worker.call("tables", **arguments).value)

    def beside_another() -> Figures:
        with busy_core():
            return run("exact", False)

    contenders = {
        "exact": lambda: run("exact", False),
        "fast": lambda: run("fast", False),
        "exact, a core busy": beside_another,
    }
    figures = interleaved(contenders, max(3, bench.repeats // 2), n_warm_up=0)
    figures["for spikes"] = [run("exact", True)]
    numbers = {
        name: {key: asdict(summary(turn[key] for turn in turns)) for key in turns[0]} for name, turns in figures.items()
    }
    return {
        "how": f"tables of N = {n_samples}, periods 5-50 s, 12 voices; a fresh process with all cores: built and "
        "stored in an empty folder, then read from it (in the system's file cache). for spikes: the deeper tables that "
        "signals with spikes or steps use. a core busy: beside a program that keeps one core",
        "seconds": numbers,
        "targets": [
            _target("build, wall s (exact)", numbers["exact"]["build_wall_s"]["median"], 5.0),
            _target("load, wall s (exact)", numbers["exact"]["load_wall_s"]["median"], 0.050),
        ],
        "raw": figures,
    }


# --- what is printed --------------------------------------------------------------------------------------------------


def _table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = [[cell.rjust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    return "\n".join("  ".join(["", row[0].strip().ljust(widths[0]), *row[1:]]) for row in lines)


def _cells(found: Mapping[str, float], unit: float = 1.0) -> list[str]:
    figures = Summary(**found)  # type: ignore[arg-type]
    middle = f"{figures.quartile_low * unit:.4g}..{figures.quartile_high * unit:.4g}"
    return [f"{v * unit:.4g}" for v in (figures.median, figures.min, figures.max)] + [middle, str(figures.n)]


SPREAD = ["median", "min", "max", "middle half", "n"]


def _page(name: str, found: Mapping[str, Any]) -> Iterator[str]:
    yield f"\n== {name}\n{found['how']}. Load average at the end: {found['load_average_at_end']}."
    for key, text in _check_lines(found.get("checks", {})):
        yield f"  {key}: {text}"
    for along, of in found.get("cpu_s", {}).items():
        rows = [[along, *map(str, found["sizes"][along])]]
        yield _table([*rows, *([who, *(f"{value:.3g}" for value in values)] for who, values in of.items())])
    if "cpu_s_per_map" in found:
        per_map = found["cpu_s_per_map"].items()
        yield _table([["CPU ms per map", *SPREAD], *([who, *_cells(v, 1e3)] for who, v in per_map)])
        if faster := found["times_faster"].items():
            yield _table([["times faster", *SPREAD], *([who, *_cells(v)] for who, v in faster)])
        memory = ", ".join(f"{who} {size / 1e6:.0f} MB" for who, size in found["peak_rss_bytes"].items())
        yield f"  peak RSS of each process so far: {memory}"
    for who, numbers in found.get("seconds", {}).items():
        rows = [[key, *_cells(v)] for key, v in numbers.items()]
        yield _table([[who, *SPREAD], *rows])
    for target in found["targets"]:
        sign = "met" if target["met"] else "NOT MET"
        yield f"  target {target['what']}: {target['value']:.4g} (limit {target['limit']:g}): {sign}"


def _check_lines(checks: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for accuracy, difference in checks.get("largest_difference_from_definition", {}).items():
        yield (
            f"{accuracy}, largest difference of a mean from accuracy='reference', 4 pairs x 3 epochs",
            f"{difference:.1e}",
        )
    for name, correlation in checks.get("correlation_of_pair_means", {}).items():
        yield name, f"means of all pairs correlate {correlation:.3f} with exact"
    for name, found in checks.get("rivals", {}).items():
        like = f"correlate {found['correlation_with_exact']:.3f} with exact"
        apart = f"differ from it by at most {found['largest_difference_from_exact']:.1e}"
        yield (
            name,
            f"map {found['shape']}, finite, R2 to {found['largest']:.4f}; means of {N_KNOWN**2} pairs {like}, {apart}",
        )


# --- command ----------------------------------------------------------------------------------------------------------

SECTIONS = {
    "small": measure_small,
    "dyad": measure_dyad,
    "all-pairs": measure_all_pairs,
    "end-to-end": measure_end_to_end,
    "nulls": measure_nulls,
    "tables": measure_tables,
    "growth": measure_growth,
}


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure ibsync, beside other programs where asked.")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="SECTION",
                        help=f"some of: {', '.join(SECTIONS)}")  # fmt: skip
    parser.add_argument("--rivals", action="store_true", help="also time HyPyP, pycwt and a NumPy textbook")
    parser.add_argument("--hypyp-python", default=os.environ.get(HYPYP_VARIABLE), metavar="PATH",
                        help=f"interpreter of an environment with HyPyP; default: ${HYPYP_VARIABLE}")  # fmt: skip
    parser.add_argument("--before", type=Path, metavar="CHECKOUT",
                        help="also time an older checkout of ibsync, in the same turns")  # fmt: skip
    parser.add_argument("--repeats", type=int, default=7, help="turns of each program (default 7)")
    parser.add_argument("-o", "--output", type=Path, metavar="NAME.json", help="write the figures, raw ones too")
    return parser.parse_args(words)


def _rival_pythons(arguments: argparse.Namespace) -> dict[str, str]:
    if not arguments.rivals:
        return {}
    if not arguments.hypyp_python:
        print(f"HyPyP is left out: name its interpreter with --hypyp-python or ${HYPYP_VARIABLE}", file=sys.stderr)
    hypyp = {"hypyp": arguments.hypyp_python} if arguments.hypyp_python else {}
    return hypyp | {"pycwt": sys.executable, "textbook": sys.executable}


def main(words: Sequence[str] | None = None) -> None:
    """Run the sections asked for; what is measured is on disk after each of them."""
    arguments = _arguments(words)
    if arguments.output:
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    origin = provenance(REPOSITORY, PACKAGES)
    report: dict[str, Any] = {"provenance": origin, "sections": {}}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        bench = Bench(folder, stack, _rival_pythons(arguments), arguments.repeats, arguments.before)
        if arguments.before is not None:
            origin["before"] = commit(arguments.before)
        origin["rivals"] = {name: bench.rival(name).call("describe").value for name in bench.rival_pythons}
        print(json.dumps(origin, indent=1))
        for name in arguments.only:
            report["sections"][name] = SECTIONS[name](bench) | {"load_average_at_end": load_average()}
            origin["seconds"] = round(time.perf_counter() - started)
            print("\n".join(_page(name, report["sections"][name])), flush=True)
            if arguments.output:
                arguments.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(f"\n{origin['seconds']} s in all")


if __name__ == "__main__":
    main()
