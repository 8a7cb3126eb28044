"""A study's surrogate null: one source of values per dyad row, and jobs of some draws of one row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..coupling.backends.cuda.device import Device
from ..coupling.band_spec import Spec
from ..coupling.engine import Engine
from ..coupling.transform.cone import REACH
from ..coupling.transform.scales import PERIOD_PER_SCALE
from ..errors import PlanError
from ..nulls.random_streams import entity_ids
from ..nulls.surrogate_null import STEP, Room, SurrogateNull, drawn_values, observed_values, steps
from ..nulls.surrogate_signals import FAMILIES, MODELS, refuse_drift
from ..nulls.tails import Tail
from ..recordings.journal import Journal
from ..recordings.recording import DyadRow
from ..recordings.study_file import StudyFile
from .channel_pairs import Axes, Pairs
from .controls import Controls
from .engines import EnginePlan
from .epochs import EpochWords, by_epochs, epoch_names, spans_of
from .regions import SIDES, Regions, recording_of
from .rows import Occasion, recordings_in_full, require_signal
from .runner import Job, People, Worker, build_tables, regions_of, run_jobs
from .surrogate_partners import LARGEST_JOB, SurrogatePartners, TrialPartners, block_size, draws_of_job, trial_table

Value = TypeVar("Value")
Floats = NDArray[np.float64]

SURROGATE_KINDS = (*FAMILIES, "trial")


@dataclass(frozen=True)
class Request:
    """What a null is asked for; the words are those of `Study.null`."""

    spec: Spec
    kind: str
    n: int
    seed: int
    signal: str
    pairs: Pairs
    epochs: EpochWords
    tail: Tail
    measure: str
    options: Mapping[str, Any]
    stop_at: int | None
    backend: str
    within: Sequence[str] | None = None
    roles: str = "fixed"
    controls: Controls | None = None
    regions: Regions | None = None
    correct: Sequence[str] | None = None
    alpha: float = 0.05

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """Precision behind the values."""
        return np.dtype(np.float64 if self.spec.accuracy == "reference" else np.float32)

    def axes(self, rows: Sequence[DyadRow]) -> Axes:
        """The channels or regions that are asked for."""
        return Axes.of(rows, self.pairs, self.controls, self.regions)


@dataclass(frozen=True)
class _Row:
    """One dyad row as a `nulls.surrogate_null.Source`; its signals are read when they are needed."""

    make: Callable[[], Any]
    block: int
    n_at_once: int
    excluded: NDArray[np.bool_]
    device: Device | None = None
    plan: EnginePlan | None = None

    def values(self, draws: NDArray[np.int64]) -> Any:
        values = self.make().values(draws)
        if self.plan is not None:
            values = self.plan.whole(values, 1, 4, np if self.device is None else self.device.xp)
        if self.excluded.any():
            values[:, :, self.excluded] = np.nan
        return values


@dataclass(frozen=True)
class _Nothing:
    """A row that has no value."""

    shape: tuple[int, ...]
    xp: Any

    def values(self, draws: NDArray[np.int64]) -> Any:
        return self.xp.full((len(draws), *self.shape), np.nan)


def sources_of(study: StudyFile, request: Request, worker: Worker) -> tuple[list[_Row], Engine]:
    """
    A source of values for each row of the study, in the order of the rows, and an engine that they use.

    Raises
    ------
    PlanError, InputError
        If the request does not fit the study; nothing has been computed then.
    """
    return worker.once((study.path, repr(request)), lambda: _sources(study, request, worker))


def _sources(study: StudyFile, request: Request, worker: Worker) -> tuple[list[_Row], Engine]:
    rows = study.dyads
    axes = request.axes(rows)
    require_signal(study, rows, request.signal)
    labels = [f"{person} | {_occasion(row)}" for row in rows for person in (row.person_a, row.person_b)]
    entities = iter(entity_ids(labels).tolist())
    identity = {id(row): (next(entities), next(entities)) for row in rows}
    engines: list[Engine] = []
    made: dict[int, _Row] = {}
    for occasion in recordings_in_full(rows):
        if request.kind == "trial" and not occasion.trial:
            for row in occasion.rows:
                made[id(row)], used = _trials(study, request, axes, occasion, row, worker)
                engines += used
            continue
        for chosen, spans in by_epochs(occasion, request.epochs):
            plan = occasion.plan(request.spec, spans)
            if plan.computable is None:
                continue
            engines.append(worker.engine(plan))
            options = _options(request, occasion)
            for row in chosen:
                if occasion.trial:
                    options = {"groups": _exchanged(plan, row), "trial": occasion.trial}
                made[id(row)] = _surrogates(study, request, axes, plan, row, worker, identity[id(row)], options)
    # On the device of all others, as the values of all rows are added up there.
    device = engines[0].device
    shape = (len(epoch_names(request.epochs)), *axes.mask.shape, request.spec.n_columns)
    nothing = _Row(partial(_Nothing, shape, np if device is None else device.xp), STEP, LARGEST_JOB, ~axes.mask, device)
    return [made.get(id(row), nothing) for row in rows], engines[0]


def refuse_drifts(study: StudyFile, request: Request) -> None:
    """
    Refuse recordings of which no surrogates should be made.

    Raises
    ------
    InputError
        If a recording drifts too far (`surrogate_signals.refuse_drift`), naming dyad and channel.
    """
    if request.spec.detrend or request.kind == "trial":
        return
    axes = request.axes(study.dyads)
    for row in study.dyads:
        for side in reversed(SIDES) if request.kind in MODELS else SIDES[1:]:
            of = _person(study, replace(request, controls=None), axes, row, side, recording_of(row, side).n_samples)
            names = axes.names(side) if of.average == "signal" else of.channels
            where = f"{study.path}: {row.label}, {of.recordings[0].participant}, {request.signal}"
            refuse_drift(where, names, of.read()[0])


def _occasion(row: DyadRow) -> str:
    return f"{row.session} | {row.task}"


def _surrogates(
    study: StudyFile, request: Request, axes: Axes, plan: EnginePlan, row: DyadRow, worker: Worker,
    identity: tuple[int, int], options: Mapping[str, Any],
) -> _Row:  # fmt: skip
    def make() -> SurrogatePartners:
        x, y = (person.read()[0] for person in (a, b))
        return SurrogatePartners(
            engine, x, y, request.kind, request.seed, identity, request.measure, options, request.controls,
            regions_of(a, b),
        )  # fmt: skip

    def kept() -> SurrogatePartners:
        return worker.while_room(key, plan, a.n_read + b.n_read, make)

    engine = worker.engine(plan)
    a, b = (_person(study, request, axes, row, side, plan.n_samples) for side in SIDES)
    key = (repr(request), a.key, b.key)
    n_at_once = draws_of_job(b.n_read, plan.n_samples)
    block = min(n_at_once, block_size(b.n_read, plan.n_samples, engine.device, request.kind))
    return _Row(kept, block, n_at_once, ~axes.mask, engine.device, plan)


def _person(study: StudyFile, request: Request, axes: Axes, row: DyadRow, side: str, n_samples: int) -> People:
    """One person of a row."""
    names = axes.names(side)
    return axes.people(study, [(row, side)], request.signal, n_samples, (0,), request.controls, names=names)


def _options(request: Request, occasion: Occasion) -> dict[str, Any]:
    """Options of the family, in samples."""
    options = dict(request.options)
    if request.kind != "block":
        return options
    bands = request.spec.bands or {}
    longest_s = max(1 / band.low_hz for band in bands.values())
    # Twice the cone of influence of the longest period: a whole wavelet.
    block_s = options.pop("block", None)
    if block_s is None:
        block_s = 2 * REACH * longest_s / PERIOD_PER_SCALE
    if isinstance(block_s, bool) or not isinstance(block_s, int | float) or not block_s * occasion.sfreq >= 1:
        raise PlanError(f"block={block_s!r} must be a length in s of at least one sample")
    duration = occasion.n_samples / occasion.sfreq
    if block_s * 2 > duration:
        raise PlanError(
            f"{occasion.rows[0].label}: {duration:.0f} s hold fewer than two blocks of {block_s:.0f} s: give a "
            "shorter block, or bands of shorter periods"
        )
    return {"block": round(block_s * occasion.sfreq)}


def _exchanged(plan: EnginePlan, row: DyadRow) -> list[tuple[int, list[int]]]:
    """Trials of a recording that may be exchanged for each other, of the same epochs: identity and numbers."""
    seconds = plan.trial / plan.sfreq
    groups: dict[tuple[str, ...], list[int]] = {}
    for k in range(plan.n_samples // plan.trial):
        start, stop = k * seconds, (k + 1) * seconds
        spans = plan.epochs or {"all": [(start, stop)]}
        has = (name for name, parts in spans.items() if any(a < stop - 1e-6 and b > start + 1e-6 for a, b in parts))
        groups.setdefault(tuple(has), []).append(k)
    groups.pop((), None)
    for names, trials in groups.items():
        if len(trials) < 2:
            raise PlanError(
                f"{row.label}: epoch {names[0]!r} has a single trial, and exchanging trials needs two and more: leave "
                "the epoch out"
            )
    labels = [f"{row.dyad} | {_occasion(row)} | {' | '.join(names)}" for names in groups]
    return list(zip(entity_ids(labels).tolist(), groups.values(), strict=True))


def _trials(
    study: StudyFile, request: Request, axes: Axes, occasion: Occasion, row: DyadRow, worker: Worker
) -> tuple[_Row, list[Engine]]:
    cuts = trial_cuts(row, request.epochs)
    plans = [EnginePlan(length, occasion.sfreq, request.spec) for _, length in cuts.values()]
    engines = [
        _trial_engine(plan, worker, f"{row.label}, epoch {name!r}") for name, plan in zip(cuts, plans, strict=True)
    ]
    entities = entity_ids([f"{row.dyad} | {_occasion(row)} | {name}" for name in cuts]).tolist()
    kept: list[TrialPartners] = []

    def make() -> TrialPartners:
        if not kept:
            a, b = (_person(study, request, axes, row, side, occasion.n_samples) for side in SIDES)
            words = (request.measure, request.controls, regions_of(a, b))
            x, y = a.read()[0], b.read()[0]
            tables = [
                plan.whole(trial_table(engine, x, y, starts, *words)[..., None], 5, 4)[..., 0]
                for plan, engine, (starts, _) in zip(plans, engines, cuts.values(), strict=True)
            ]
            kept.append(TrialPartners(tables, request.seed, entities))
        return kept[0]

    return _Row(make, STEP, LARGEST_JOB, ~axes.mask), engines


def trial_cuts(row: DyadRow, epochs: EpochWords) -> dict[str, tuple[list[int], int]]:
    """First sample of each trial of each epoch, and the length of its trials in samples.

    Raises
    ------
    PlanError
        If there is no epoch, or one whose trials cannot be exchanged.
    """
    spans = spans_of(row, epochs)
    if spans is None:
        raise PlanError("trials are exchanged within epochs: name the epochs, such as epochs=['talk']")
    return {name: _cuts(row, name, parts) for name, parts in spans.items()}


def _cuts(row: DyadRow, name: str, parts: Sequence[tuple[float, float]]) -> tuple[list[int], int]:
    recording = row.recording_a
    if len(parts) < 2:
        raise PlanError(
            f"{row.label}: epoch {name!r} is a single trial: exchanging trials needs two and more, each an event of "
            "that label or an interval"
        )
    lengths = sorted(stop - start for start, stop in parts)
    if (lengths[-1] - lengths[0]) * recording.sfreq > 1.5:
        raise PlanError(
            f"{row.label}: trials of epoch {name!r} last {lengths[0]:g} to {lengths[-1]:g} s: exchangeable trials have "
            "one length; give the epochs as intervals of one length"
        )
    n = int(np.floor(lengths[0] * recording.sfreq + 1e-6))
    starts = [round(start * recording.sfreq) for start, _ in parts]
    if starts and (min(starts) < 0 or max(starts) + n > recording.n_samples):
        raise PlanError(
            f"{row.label}: a trial of epoch {name!r} reaches beyond the recording of {recording.duration_s:g} s: "
            "leave it out"
        )
    return starts, n


def _trial_engine(plan: EnginePlan, worker: Worker, where: str) -> Engine:
    try:
        return worker.engine(plan)
    except PlanError as error:
        raise PlanError(f"{where}: a trial of {plan.n_samples / plan.sfreq:g} s will not do: {error}") from error


# --- jobs -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ObservedJob:
    """The observed values of one row."""

    study: StudyFile
    request: Request
    row: int
    people: tuple[People, ...] = ()

    @property
    def name(self) -> str:
        """Which row, in words."""
        return self.study.dyads[self.row].label

    def run(self, worker: Worker) -> Floats:
        """Values [feature]."""
        return observed_values(sources_of(self.study, self.request, worker)[0][self.row])


@dataclass(frozen=True)
class DrawsJob:
    """Some draws of one row."""

    study: StudyFile
    request: Request
    row: int
    start: int
    stop: int
    people: tuple[People, ...] = ()

    @property
    def name(self) -> str:
        """Which draws of which row, in words."""
        return f"draws {self.start} to {self.stop - 1} of {self.study.dyads[self.row].label}"

    def run(self, worker: Worker) -> NDArray[np.floating]:
        """Values of draws `start` to `stop` - 1, [draw, feature], in the precision in which a null keeps them."""
        values = drawn_values(sources_of(self.study, self.request, worker)[0][self.row], self.start, self.stop)
        return values.astype(np.float64 if self.request.stop_at is not None else self.request.dtype)


@dataclass(frozen=True)
class Work:
    """A study's request, who computes it, and where finished parts are kept."""

    study: StudyFile
    request: Request
    worker: Worker
    executor: Executor | None = None
    journal: Journal | None = None
    progress: bool = False

    def observed(self) -> Iterator[Floats]:
        """Values of each row, in their order."""
        jobs = [ObservedJob(self.study, self.request, row) for row in range(len(self.study.dyads))]
        early, row = {}, 0
        for number, values in self._run(jobs):
            early[number] = values
            while row in early:
                yield early.pop(row)
                row += 1

    def drawn(self, steps: Sequence[tuple[int, int]]) -> Iterator[tuple[tuple[int, int], int, NDArray[np.floating]]]:
        """Each step, a row, and its values [draw, feature]."""
        n_rows = len(self.study.dyads)
        jobs = [DrawsJob(self.study, self.request, row, *step) for step in steps for row in range(n_rows)]
        for number, values in self._run(jobs, is_shared=True):
            step, row = divmod(number, n_rows)
            yield steps[step], row, values

    def compute_share(self) -> None:
        """Compute the draws of a journal's share; raises `ShareDone` then."""
        if self.request.stop_at is not None:
            raise PlanError("a sequential null (stop_at) counts its draws in order: it has no shards")
        for _ in self.drawn(steps(1, self.request.n + 1, self.n_at_once)):
            pass

    def count(self, null: SurrogateNull, start: int, stop: int) -> None:
        """Count draws `start` to `stop` - 1."""
        if null.stop_at is not None:
            self._count_until(null, start, stop)
            return
        rows_of_step = Counter[tuple[int, int]]()
        for step, row, values in self.drawn(null.steps(start, stop, self.n_at_once)):
            null.put(step[0], row, values)
            rows_of_step[step] += 1
            if rows_of_step[step] == len(null.rows):
                null.take_in(*step)

    def _count_until(self, null: SurrogateNull, start: int, stop: int) -> None:
        """Count draws one step after the other, until every feature has stopped."""
        for first, end in null.steps(start, stop, max(STEP, self._largest_block)):
            rows = null.going_on()
            jobs = [DrawsJob(self.study, self.request, row, first, end) for row in rows]
            null.add_until(first, end, {rows[number]: np.asarray(x, np.float64) for number, x in self._run(jobs)})
            if null.complete:
                return

    @cached_property
    def n_at_once(self) -> int:
        """Draws of one job, by the study alone: a power of two."""
        return max(
            self._largest_block, min(row.n_at_once for row in sources_of(self.study, self.request, self.worker)[0])
        )

    @property
    def _largest_block(self) -> int:
        return max(source.block for source in sources_of(self.study, self.request, self.worker)[0])

    def _run(self, jobs: Sequence[Job[Value]], *, is_shared: bool = False) -> Iterator[tuple[int, Value]]:
        if self.executor is not None:
            sources = sources_of(self.study, self.request, self.worker)[0]
            controls = self.request.controls
            with_controls = controls is not None and bool(controls.of_features)
            plans = [source.plan for source in sources if source.plan]
            build_tables(plans, self.worker, with_controls=with_controls)
        bar = (self.request.kind, "batch")
        return self.run(jobs, bar if is_shared else None, "null", type(jobs[0]).__name__, is_shared=is_shared)

    def run(
        self, jobs: Sequence[Job[Value]], bar: tuple[str, str] | None, *names: str, is_shared: bool = False
    ) -> Iterator[tuple[int, Value]]:
        """Values of jobs, each with its number, as `run_jobs`; `names` tell them from others of the same request."""
        return run_jobs(
            jobs, self.worker, executor=self.executor, journal=self.journal, is_shared=is_shared,
            bar=bar if self.progress else None, of=self.of(*names),
        )  # fmt: skip

    def of(self, *names: str) -> tuple[str, ...]:
        """What tells jobs of some names and this request from all others of a journal."""
        return *names, repr(replace(self.request, backend=""))


def begin(work: Work, attrs: Mapping[str, Any], room: Room) -> SurrogateNull:
    """The null of a study before anything is drawn, with room for draws; the observed values are computed."""
    study, request = work.study, work.request
    axes = request.axes(study.dyads)
    tasks = list(dict.fromkeys(row.task for row in study.dyads))
    shape = (len(tasks) * len(epoch_names(request.epochs)), len(axes.a), len(axes.b), request.spec.n_columns)
    number = np.arange(shape[0] * shape[3]).reshape(shape[0], 1, 1, shape[3])
    return SurrogateNull.begin(
        work.observed(),
        kind=request.kind,
        n=request.n,
        seed=request.seed,
        tail=request.tail,
        rows=[f"{row.dyad} | {_occasion(row)}" for row in study.dyads],
        groups=np.broadcast_to(number, shape).reshape(-1),
        task_of_row=np.array([tasks.index(row.task) for row in study.dyads]),
        dtype=request.dtype,
        stop_at=request.stop_at,
        attrs=attrs,
        room=room,
    )


def run(null: SurrogateNull, work: Work, draws: tuple[int, int] | None) -> SurrogateNull:
    """
    Count what is missing of a range of draws, all by default.

    Parameters
    ----------
    null : SurrogateNull
    work : Work
    draws : (start, stop) or None
        Draws `start` to `stop` - 1, of 1 to n.

    Returns
    -------
    SurrogateNull
        The null that was given.
    """
    for start, stop in missing(null, draws):
        work.count(null, start, stop)
    return null


def _is_whole(number: object) -> bool:
    return isinstance(number, int | np.integer) and not isinstance(number, bool)


def missing(null: SurrogateNull, draws: tuple[int, int] | None) -> list[tuple[int, int]]:
    """Ranges within `draws` that have not been counted."""
    if draws is not None and not (isinstance(draws, Sequence) and len(draws) == 2 and all(map(_is_whole, draws))):
        raise PlanError(f"draws={draws!r} must be (start, stop), two whole numbers")
    start, stop = draws or (1, null.n + 1)
    if not 1 <= start < stop <= null.n + 1:
        raise PlanError(f"draws={draws!r} must be (start, stop) with 1 <= start < stop <= n + 1 = {null.n + 1}")
    out = []
    for first, end in null.done:
        if start < min(first, stop):
            out.append((start, min(first, stop)))
        start = max(start, end)
    if start < stop:
        out.append((start, stop))
    return out
