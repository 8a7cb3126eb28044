"""`ibsync bench`: how long a study of a named size takes on this machine, stage by stage and end to end."""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import InputError, PlanError
from ..recordings.output_kinds import MARK, json_kind
from ..recordings.whole_files import Output
from .machine import forget_peak_rss, gpu_facts, machine_facts, peak_rss_bytes, pool_bytes, timed
from .workloads import PERIODS_S, VOICES, WORKLOADS, Workload, write_workload

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..coupling.backends.cuda.device import Device
    from ..coupling.engine import Engine
    from ..coupling.spec import WTC
    from ..results.result import Result
    from ..study.study import Study

T = TypeVar("T")

PACKAGES = ("ibsync", "numpy", "scipy", "h5py", "xarray", "threadpoolctl")
SEED = 1
_ROOM = 1.2  # of the study file's size, for the file and the results


@dataclass(frozen=True)
class Stage:
    """One stage: its time, and the maps that it computed where it did."""

    name: str
    wall_s: float
    cpu_s: float
    n_maps: int | None = None

    @property
    def maps_per_s(self) -> float | None:
        """Maps computed in a second on the clock."""
        return None if self.n_maps is None else self.n_maps / self.wall_s


class Clock:
    """Stages by name, each with the time of everything that was done under it; a GPU is waited for."""

    def __init__(self, device: Device | None = None) -> None:
        self.device = device
        self.stages: dict[str, Stage] = {}

    def timed(self, name: str, work: Callable[[], T], n_maps: int | None = None) -> T:
        """What some work gives; `n_maps` are those of the whole stage."""

        def finished() -> T:
            value = work()
            if self.device is not None:
                self.device.synchronize()
            return value

        value, sample = timed(finished)
        before = self.stages.get(name, Stage(name, 0.0, 0.0))
        self.stages[name] = Stage(name, before.wall_s + sample.wall_s, before.cpu_s + sample.cpu_s, n_maps)
        return value


@dataclass(frozen=True)
class Speed:
    """What a workload took: the verbs of the real dyads, tables ready, and the job from study file to saved result.

    Of a share of the workload's dyads, `size` is what was run. `peak_rss_bytes` is that of the process, `pool_bytes`
    what CuPy's pool holds in the end, `smallest_p` that of the test of all dyads, uncorrected.
    """

    workload: str
    size: Workload
    share: float
    accuracy: str
    backend: str
    verbs: tuple[Stage, ...]
    stages: tuple[Stage, ...]
    seconds_to_p: float
    peak_rss_bytes: int | None
    pool_bytes: int | None
    smallest_p: float
    machine: dict[str, Any]

    @property
    def wall_s(self) -> float:
        """From opening the study to the saved result."""
        return sum(stage.wall_s for stage in self.stages)

    def describe(self) -> dict[str, Any]:
        """For a script, as a dictionary that JSON can carry."""
        rates = {stage.name: stage.maps_per_s for stage in (*self.verbs, *self.stages) if stage.n_maps is not None}
        return {MARK: "bench", **asdict(self), "wall_s": self.wall_s, "maps_per_s": rates}

    def __str__(self) -> str:
        return "\n".join([*self._head(), "", *self._table(), "", *self._foot()])

    def _head(self) -> list[str]:
        size, whole = self.size, WORKLOADS[self.workload]
        part = "" if self.share == 1 else f", A PART: {size.n_dyads} of {whole.n_dyads} dyads (share {self.share:g})"
        return [
            f"workload {self.workload}{part}: {size.n_dyads} dyads, {size.n_occasions} sessions in all, "
            f"{size.n_channels} channels x {size.n_signals} signals, {size.duration_s:g} s at {size.sfreq_hz:g} Hz",
            f"backend {self.backend}, accuracy {self.accuracy}; {self._machine()}",
        ]

    def _machine(self) -> str:
        facts = self.machine
        gpu = facts.get("gpu")
        where = f"{gpu['name']}, driver {gpu['driver']}, " if gpu else ""
        packages = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
        return f"{where}{facts['cpu']}, {facts['cores']} cores, {facts['date'][:10]}; {packages}"

    def _table(self) -> list[str]:
        rows = [("the verbs, tables ready", "seconds", "maps/s"), *map(_row, self.verbs)]
        rows += [("the whole job", "seconds", "maps/s"), *map(_row, self.stages)]
        rows += [("end to end", f"{self.wall_s:.3g}", "")]
        width = max(len(name) for name, *_ in rows)
        return [f"  {name:<{width}}  {seconds:>8}  {rate:>9}".rstrip() for name, seconds, rate in rows]

    def _foot(self) -> list[str]:
        memory = (
            "memory unknown" if self.peak_rss_bytes is None else f"{self.peak_rss_bytes / 1e6:.0f} MB of memory at most"
        )
        on_gpu = "" if self.pool_bytes is None else f", {self.pool_bytes / 1e6:.0f} MB of the GPU's held"
        return [f"{self.seconds_to_p:.3g} s to p-values (smallest p {self.smallest_p:.3g}); {memory}{on_gpu}"]


def _row(stage: Stage) -> tuple[str, str, str]:
    return stage.name, f"{stage.wall_s:.3g}", "" if stage.maps_per_s is None else f"{stage.maps_per_s:.3g}"


def run_bench(
    workload: str = "tiny",
    *,
    backend: str = "auto",
    share: float = 1.0,
    accuracy: str = "exact",
    output: str | Path | None = None,
    overwrite: bool = False,
) -> Speed:
    """Simulate a study of a named size in a temporary folder, run it, and say what it took.

    Parameters
    ----------
    workload : {"tiny", "small", "typical", "plasticity", "large"}
    backend : {"auto", "numpy", "cuda"}
    share : float
        Of the workload's dyads, above 0 and at most 1; what is told then is of that part.
    accuracy : {"exact", "fast"}
    output : str or Path, optional
        JSON file to write.
    overwrite : bool
        Replace a file that is not of this kind.

    Returns
    -------
    Speed
        Its text is what `ibsync bench` prints.

    Raises
    ------
    PlanError
        If the workload or the share is none.
    InputError
        If there is no room for the study file, or the JSON file cannot be written.
    DeviceError
        If the backend asked for is not there.
    """
    if workload not in WORKLOADS:
        raise PlanError(f"workload {workload!r} is not known; there are {', '.join(WORKLOADS)}")
    size = WORKLOADS[workload].part(share)
    target = None if output is None else Output(Path(output), json_kind("bench"), overwrite=overwrite)
    if target is not None:
        target.check()
    engine = _engine(size, accuracy, backend)
    with tempfile.TemporaryDirectory(prefix="ibsync-bench-") as name:
        folder = Path(name)
        _check_room(folder, size, workload)
        write_workload(size, folder / "study.h5")
        speed = _measured(workload, size, share, engine, folder)
    if target is not None:
        target.write((json.dumps(speed.describe(), indent=1) + "\n").encode())
    return speed


def _engine(size: Workload, accuracy: str, backend: str) -> Engine:
    from ..coupling.engine import Engine

    return Engine(size.n_samples, size.sfreq_hz, map_spec(accuracy, size.periods_s), backend=backend)


def map_spec(accuracy: str, periods_s: tuple[float, float] = PERIODS_S) -> WTC:
    """One band, the periods of a map."""
    from ..coupling.spec import WTC, Band

    return WTC(bands={"slow": Band(period=periods_s)}, voices=VOICES, accuracy=accuracy)


def _check_room(folder: Path, size: Workload, workload: str) -> None:
    needed, free = _ROOM * size.n_file_bytes, shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"workload {workload!r} needs {needed / 1e9:.1f} GB in {tempfile.gettempdir()}, which has {free / 1e9:.1f} "
            "free: take a part with --share, or set TMPDIR to a folder with more room"
        )


def _measured(workload: str, size: Workload, share: float, engine: Engine, folder: Path) -> Speed:
    from ..study.study import Study

    forget_peak_rss()
    machine = machine_facts(PACKAGES)
    if engine.device is not None:
        machine["gpu"] = gpu_facts(engine.device)
    verbs = time_verbs(Study.open(folder / "study.h5"), engine, size)
    job = Job(folder / "study.h5", folder, size, engine.spec, engine.backend.name)
    job.run()
    return Speed(
        workload=workload, size=size, share=share, accuracy=engine.spec.accuracy, backend=engine.backend.name,
        verbs=verbs, stages=job.stages, seconds_to_p=job.seconds_to_p, peak_rss_bytes=peak_rss_bytes(),
        pool_bytes=None if engine.device is None else pool_bytes(engine.device), smallest_p=job.smallest_p,
        machine=machine,
    )  # fmt: skip


# --- the verbs, each by itself ----------------------------------------------------------------------------------------


def time_verbs(study: Study, engine: Engine, size: Workload) -> tuple[Stage, ...]:
    """Reading, features and coherence of a study's dyads, one after the other; tables are ready before."""
    _warm_up(study, engine, size)
    clock = Clock(engine.device)
    for signal in size.signal_names:
        for row in study.dyads:
            x, y = clock.timed("reading", lambda: _signals(study, row, signal))  # noqa: B023
            a, b = clock.timed("features", lambda: (engine.features(x), engine.features(y)))  # noqa: B023
            clock.timed("coherence", lambda: engine.coherence(a, b), size.n_maps)  # noqa: B023
    return tuple(clock.stages.values())


def _warm_up(study: Study, engine: Engine, size: Workload) -> None:
    x, y = _signals(study, study.dyads[0], size.signal_names[0])
    engine.coherence(engine.features(x), engine.features(y))


def _signals(study: Study, row: Any, signal: str) -> tuple[NDArray[Any], NDArray[Any]]:
    return study.signals(row.recording_a, signal), study.signals(row.recording_b, signal)


# --- the whole job ----------------------------------------------------------------------------------------------------


@dataclass
class Job:
    """From study file to results saved in a folder: `clock` and `smallest_p` are filled by `run`."""

    study: Path
    folder: Path
    size: Workload
    spec: WTC
    backend: str
    clock: Clock = field(default_factory=Clock)
    smallest_p: float = 1.0

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Opening, computing, testing and saving, in this order."""
        return tuple(self.clock.stages.values())

    @property
    def seconds_to_p(self) -> float:
        """From opening the study to p-values."""
        return sum(stage.wall_s for stage in self.stages if stage.name != "saving")

    def run(self) -> None:
        """Open, compute, test and save."""
        from ..study.study import Study

        study = self.clock.timed("opening", lambda: Study.open(self.study))
        results = {
            f"{signal}_{name}": result
            for signal in self.size.signal_names
            for name, result in self._tested(study, signal).items()
        }
        self.clock.timed("saving", lambda: [one.save(self.folder / f"{name}.h5") for name, one in results.items()])

    def _tested(self, study: Study, signal: str) -> dict[str, Result]:
        """Results of one signal by the name of the test."""
        from ..questions.group_test import test
        from ..questions.plasticity import plasticity

        size, spec = self.size, self.spec
        words: dict[str, Any] = {"signal": signal, "backend": self.backend}
        suffix = f", {signal}" if size.n_signals > 1 else ""

        def timed(name: str, work: Callable[[], T], n_maps: int = 0) -> T:
            with warnings.catch_warnings():
                # That so few dyads can show little: the time is wanted, not the p-values.
                warnings.simplefilter("ignore", RuntimeWarning)
                return self.clock.timed(name + suffix, work, n_maps // size.n_signals or None)

        draws: dict[str, Any] = {"kind": size.kind, "n": size.n_draws, "seed": SEED, "pairs": size.pairs, **words}
        null = timed(f"null, {size.kind}", lambda: study.null(spec, **draws), size.n_null_maps)
        # What re-pairing has computed of the real dyads is not computed again.
        n_maps = 0 if (size.kind, size.pairs) == ("repair", "all") else size.n_maps
        real = timed("synchrony", lambda: study.synchrony(spec, null=null, **words), n_maps)
        observed = real
        if size.pairs != "all":
            observed = timed(
                f"synchrony, {size.pairs} channels",
                lambda: study.synchrony(spec, pairs=size.pairs, null=null, **words),
            )
        results = {"test": timed("test", lambda: test(observed, null))}
        self.smallest_p = min(self.smallest_p, float(results["test"].dataset["p"].min()))
        if size.growth:
            results["growth"] = timed("growth", lambda: plasticity(real, n=size.n_draws, seed=SEED))
        if size.n_surrogates:
            draws = {"kind": "phase", "n": size.n_surrogates, "seed": SEED, **words}
            phase = timed("null, phase", lambda: study.null(spec, **draws), size.n_surrogate_maps)
            results["phase"] = timed("test, phase", lambda: test(real, phase))
        return results
