"""The jobs of ibsync that are timed, served from a process of their own: `python ours.py`, called by run.py."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from unittest import mock

import numpy as np
from cases import (
    SMALL,
    SMALL_BANDS_HZ,
    WORKLOADS,
    Workload,
    dyad_signals,
    scratch,
    session_signals,
    write_one_dyad,
    write_workload,
)
from measure import serve, timed
from numpy.typing import NDArray

from ibsync import __version__
from ibsync.commands.bench import Job
from ibsync.commands.bench import map_spec as spec
from ibsync.coupling.engine import Engine
from ibsync.coupling.spec import WTC
from ibsync.study.study import Study

SHORT_EPOCHS = {"whole": (0.0, 600.0), "first": (100.0, 220.0), "middle": (250.0, 370.0)}


@cache
def _engine(n_samples: int, sfreq_hz: float, accuracy: str) -> Engine:
    return Engine(n_samples, sfreq_hz, spec(accuracy), backend="numpy")


@cache
def _signals(path: str) -> NDArray[np.float32]:
    return np.load(path)


@cache
def _study(path: str) -> Study:
    return Study.open(path)


# --- signals and study files ------------------------------------------------------------------------------------------


def make_dyad(folder: str) -> str:
    """File of the dyad on which programs are compared."""
    return str(scratch(Path(folder), "dyad", dyad_signals))


def make_session(folder: str, workload: str) -> str:
    """File of one session of a workload."""
    return str(scratch(Path(folder), workload, lambda: session_signals(WORKLOADS[workload])))


def make_study(folder: str, workload: str) -> str:
    """Study file of a workload."""
    path = Path(folder) / f"{workload}.h5"
    if not path.exists():
        write_workload(WORKLOADS[workload], path)
    return str(path)


def make_one_dyad_study(folder: str) -> str:
    """Study file of the dyad on which programs are compared."""
    path = Path(folder) / "one_dyad.h5"
    if not path.exists():
        write_one_dyad(path)
    return str(path)


def make_small(folder: str) -> dict[str, str]:
    """Study file of the small study, and its signals [row, person, channel, sample] as other programs read them."""
    path = Path(folder) / "small.h5"
    if not path.exists():
        write_workload(SMALL, path)
    study = Study.open(path)

    def signals() -> NDArray[np.float32]:
        pairs = [(row.recording_a, row.recording_b) for row in study.dyads]
        return np.array([[study.signals(recording) for recording in pair] for pair in pairs])

    return {"study": str(path), "signals": str(scratch(Path(folder), "small", signals))}


# --- timed ------------------------------------------------------------------------------------------------------------


def all_pairs(path: str, sfreq_hz: float, accuracy: str, n_times: int = 1) -> float:
    """Features of both sides and coherence of all pairs, `n_times` over: mean of the coherences.

    The file holds [person, channel, sample] or [dyad, person, channel, sample].
    """
    signals = _signals(path)
    engine = _engine(signals.shape[-1], sfreq_hz, accuracy)
    for _ in range(n_times):
        found = engine.coherence(engine.features(signals[..., 0, :, :]), engine.features(signals[..., 1, :, :]))
    return float(found.coherence.mean())


def small_study(path: str, accuracy: str) -> list[float]:
    """`Study.synchrony` of the small study, its file opened before: mean over bands of each pair's coherence."""
    real = _study(path).synchrony(WTC(bands=SMALL_BANDS_HZ, accuracy=accuracy), backend="numpy")
    return real.coherence.mean("band").to_numpy().ravel().tolist()


def growing(along: str, size: int, folder: str, accuracy: str) -> dict[str, float]:
    """CPU seconds of a job that is small but in one respect, tables and plan ready."""
    if along == "draws":
        return {"cpu_s": repairings(20, 484, size)["cpu_s"]}
    if along == "dyads":
        path = Path(folder) / f"{size}_dyads.h5"
        if not path.exists():
            write_workload(Workload(size, 1, 8, 300.0, 10.0, 0, "none"), path)

        def job() -> None:
            _study(str(path)).synchrony(spec(accuracy), backend="numpy")
    else:
        n_samples, n_channels = (size, 8) if along == "samples" else (3000, size)
        x = np.random.default_rng(0).standard_normal((2, n_channels, n_samples)).cumsum(axis=-1)
        engine = _engine(n_samples, 10.0, accuracy)

        def job() -> None:
            engine.coherence(*(engine.features(side) for side in x))

    job()
    return {"cpu_s": timed(job)[1].cpu_s}


def end_to_end(study_path: str, result_folder: str, workload: str, accuracy: str) -> dict[str, float]:
    """Study file to saved result: seconds of each stage."""
    job = Job(Path(study_path), Path(result_folder), WORKLOADS[workload], spec(accuracy), "numpy")
    job.run()
    return {stage.name: stage.wall_s for stage in job.stages}


def surrogate_null(study_path: str, kind: str, n_draws: int, accuracy: str) -> dict[str, float]:
    """Surrogate null and test of a study: seconds of each, and maps of the surrogates."""
    import ibsync as ibs

    words = spec(accuracy)
    study = ibs.Study.open(study_path)
    real = study.synchrony(words, backend="numpy")
    study.null(words, kind=kind, n=1, backend="numpy")  # tables are there before the clock runs
    null, drawn = timed(lambda: study.null(words, kind=kind, n=n_draws, seed=1, backend="numpy"))
    _, tested = timed(lambda: ibs.test(real, null, correct=["max"]))
    return {"null_wall_s": drawn.wall_s, "null_cpu_s": drawn.cpu_s, "test_wall_s": tested.wall_s,
            "maps": float(n_draws * null.n_features)}  # fmt: skip


def repairings(n_dyads: int, n_features: int, n_draws: int) -> dict[str, float]:
    """Group test of many re-pairings of pair values that are there already."""
    from ibsync.inference.repaired_test import repair_test
    from ibsync.nulls.draws import Draws
    from ibsync.nulls.repaired_null import RepairedNull
    from ibsync.nulls.repairing import Repairing

    values = np.random.default_rng(1).random((1, n_dyads, n_dyads, n_features), np.float32)
    names = [f"d{k}" for k in range(n_dyads)]
    design = Repairing.of(names, [f"{name}a" for name in names], [f"{name}b" for name in names])
    null = RepairedNull(values, Draws.plan(design, n_draws, 1), ("1",))
    found, sample = timed(lambda: repair_test(null))
    return {"wall_s": sample.wall_s, "cpu_s": sample.cpu_s, "smallest_p": float(found["p"].min())}


def tables(n_samples: int, sfreq_hz: float, accuracy: str, deep: bool = False) -> dict[str, float]:
    """Seconds to build the tables in an empty cache folder, and to load them from it."""
    from ibsync.coupling.transform.feature_cache import load_group

    plan = _engine(n_samples, sfreq_hz, accuracy).plan
    keys = [(plan.scales, *span, plan.rank(int(deep), span)) for span in plan.row_spans]

    def load_all() -> None:
        load_group.cache_clear()
        for key in keys:
            load_group(*key)

    with tempfile.TemporaryDirectory() as folder, mock.patch.dict("os.environ", IBSYNC_CACHE_DIR=folder):
        _, built = timed(load_all)
        _, loaded = timed(load_all)
        n_bytes = sum(file.stat().st_size for file in Path(folder).iterdir())
    return {
        "build_wall_s": built.wall_s, "build_cpu_s": built.cpu_s,
        "load_wall_s": loaded.wall_s, "load_cpu_s": loaded.cpu_s, "bytes": n_bytes,
    }  # fmt: skip


# --- right before fast ------------------------------------------------------------------------------------------------


def agreement(path: str, sfreq_hz: float, n_channels: int) -> dict[str, float]:
    """Largest difference of band x epoch means from the definition, over n_channels**2 pairs."""
    signals = _signals(path)[:, :n_channels]
    found = {}
    for accuracy in ("reference", "exact", "fast"):
        engine = Engine(signals.shape[-1], sfreq_hz, spec(accuracy), epochs=SHORT_EPOCHS, backend="numpy")
        found[accuracy] = engine.coherence(*(engine.features(x) for x in signals)).coherence
    return {name: float(np.abs(found[name] - found["reference"]).max()) for name in ("exact", "fast")}


def means(path: str, sfreq_hz: float, accuracy: str) -> list[list[float]]:
    """Band means of a dyad's pairs: [a, b]."""
    signals = _signals(path)
    engine = _engine(signals.shape[-1], sfreq_hz, accuracy)
    return engine.coherence(*(engine.features(x) for x in signals)).coherence[:, :, 0, 0].tolist()


def describe() -> str:
    """Version."""
    return __version__


JOBS = (
    make_dyad, make_session, make_study, make_one_dyad_study, make_small, all_pairs, small_study, growing, end_to_end,
    surrogate_null, repairings, tables, agreement, means, describe,
)  # fmt: skip

if __name__ == "__main__":
    serve({job.__name__: job for job in JOBS})
