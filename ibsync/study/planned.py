"""What a request comes to before anything is computed: whose recordings, how long, and what is lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..coupling.band_spec import BandOfEach, Spec
from ..coupling.kinds import KINDS, kind_of
from ..coupling.measures import measure_named, require_measure
from ..coupling.spec import PhaseShares
from ..errors import InputError, PlanError, require_known
from ..inference.attainable import attainable
from ..inference.settings import TestSettings
from ..inference.surrogate_test import check_surrogate_corrections
from ..nulls.draws import Draws
from ..nulls.repairing import Repairing
from ..nulls.surrogate_signals import require_options
from ..nulls.tails import Tail, n_sides
from ..recordings.study_file import StudyFile
from ..results.lost import ALONE, CUT, Loss
from .channel_pairs import Axes, Pairs
from .controls import Controls
from .engines import EnginePlan, channels_together
from .epochs import EpochWords, Segment, by_epochs, epoch_names, segments, spans_of
from .losses import RowPlan, good_pairs, losses_of, require_values
from .pair_values import (
    BAND_BYTES,
    TILE_BYTES,
    DyadsJob,
    Exchange,
    RealMeans,
    bytes_of_people,
    exchanges,
    is_by_band,
    require_symmetry,
)
from .regions import SIDES, Regions, Rois
from .repairing_plan import plan_draws
from .rows import recordings_in_full, require_signal, used_rows
from .runner import FEATURE_BYTES, Worker
from .surrogate_runs import SURROGATE_KINDS, Request, refuse_drifts, sources_of, trial_cuts

NULL_KINDS = ("repair", *SURROGATE_KINDS)
REPAIRINGS, SURROGATES = 10_000, 999
"""Draws of a null that was not told how many."""


@dataclass(frozen=True)
class Planned:
    """
    How each dyad row is computed, and what will be lost.

    Parameters
    ----------
    axes : Axes
    rows : tuple of RowPlan
        In the order of the study's rows.
    losses : tuple of Loss
    controls : Controls or None
        What is taken out of the channels, as the study has it.
    """

    axes: Axes
    rows: tuple[RowPlan, ...]
    losses: tuple[Loss, ...]
    controls: Controls | None = field(default=None, kw_only=True)

    @property
    def n_pairs(self) -> NDArray[np.int64]:
        """Pairs of good channels behind each pair that is asked for: [row, channel_a, channel_b]."""
        return np.stack([self.axes.n_pairs(one.row) for one in self.rows])

    @property
    def unequal(self) -> str:
        """A warning where a pair of regions rests on more channels in some dyads than in others, else empty."""
        if self.axes.regions is None:
            return ""
        n = np.ma.masked_equal(self.n_pairs, 0)
        low, high = n.min(axis=0).filled(0), n.max(axis=0).filled(0)
        if (low == high).all():
            return ""
        a, b = np.unravel_index(np.argmax(high - low), low.shape)
        return (
            f"{self.axes.a[a]} - {self.axes.b[b]} rests on {low[a, b]} to {high[a, b]} channel pairs, by the dyad, and "
            "a mean over more pairs scatters less: name channels that are good in everybody, or leave dyads out with "
            "select(dyad=[...])"
        )


@dataclass(frozen=True)
class PlannedRepairing(Planned):
    """
    The same for re-paired partners.

    Parameters
    ----------
    draws : Draws
    sessions, tasks : tuple of str
        Their labels.
    exchanges : tuple of (Exchange, Segment, EnginePlan)
        Who exchanges partners, and the parts of recordings that are computed apart.
    """

    draws: Draws[Repairing]
    sessions: tuple[str, ...]
    tasks: tuple[str, ...]
    exchanges: tuple[tuple[Exchange, Segment, EnginePlan], ...]

    @property
    def aligned(self) -> list[str]:
        """Epochs that begin at other times in some dyads."""
        names = (name for _, segment, _ in self.exchanges if segment.is_aligned for name in segment.spans or {})
        return list(dict.fromkeys(names))


def planned(
    study: StudyFile, spec: Spec, *, signal: str, pairs: Pairs, epochs: EpochWords, controls: Controls | None = None,
    regions: Regions | None = None,
) -> Planned:  # fmt: skip
    """
    Every dyad with its recordings in full.

    Raises
    ------
    PlanError, InputError
        If the request does not fit the study, or an epoch or a band would have no value in any dyad.
    """
    require_spec(spec)
    rows = used_rows(study)
    axes = Axes.of(rows, pairs, controls, regions)
    plans: dict[int, RowPlan] = {}
    for occasion in recordings_in_full(rows):
        for chosen, spans in by_epochs(occasion, epochs):
            plan = occasion.plan(spec, spans)
            plans |= {id(row): RowPlan(row, plan) for row in chosen}
    return _with_losses(study, axes, [plans[id(row)] for row in rows], signal, controls)


def planned_repairing(study: StudyFile, request: Request) -> PlannedRepairing:
    """
    Everybody with everybody's partner, cut to the shortest recording of each session, task and block.

    Epochs that begin at other times in some dyads are aligned at their onsets; `rows` then hold a dyad row once for
    each part of its recordings that is computed apart.

    Raises
    ------
    PlanError, InputError
        As `planned`, and where a study cannot be re-paired.
    """
    spec, epochs = request.spec, request.epochs
    rows = used_rows(study)
    draws = plan_draws(
        rows, request.within, request.n, request.seed, request.roles, alpha=request.alpha,
        n_sides=n_sides(request.tail),
    )  # fmt: skip
    axes = request.axes(rows)
    if request.roles == "interchangeable":
        require_symmetry(axes, rows, request.measure)
        refuse_bands_of_each(spec)
    sessions, tasks, all_exchanges = exchanges(rows, draws.design)
    pairings, plans = [], {id(row): list[RowPlan]() for row in rows}
    for exchange in all_exchanges:
        occasion = exchange.occasion
        for segment in segments(occasion, epochs):
            plan = EnginePlan(segment.n_samples, occasion.sfreq, spec, segment.spans, occasion.trial)
            pairings.append((exchange, segment, plan))
            for row in occasion.rows:
                plans[id(row)].append(RowPlan(row, plan, occasion.rows, segment.starts))
    made = _with_losses(study, axes, [one for row in rows for one in plans[id(row)]], request.signal, request.controls)
    lone = [exchange.occasion.rows[0] for exchange in all_exchanges if len(exchange.occasion.rows) == 1]
    reason = "no other dyad has this session and task, so that nobody can be exchanged"
    losses = [Loss(row.dyad, row.session, row.task, what=ALONE, reason=reason) for row in lone]
    losses += [loss for one in made.rows for loss in _shortened(one, epochs)]
    losses_of_all = (*made.losses, *losses)
    return PlannedRepairing(
        axes, made.rows, losses_of_all, draws, sessions, tasks, tuple(pairings), controls=made.controls
    )


def _shortened(one: RowPlan, epochs: EpochWords) -> Iterator[Loss]:
    """Aligned epochs of a row that last longer than the shortest of those that exchange partners."""
    row, spans = one.row, spans_of(one.row, epochs) or {}
    for name, parts in (one.plan.epochs or {}).items() if any(one.starts.values()) else ():
        kept, own = (sum(stop - start for start, stop in intervals) for intervals in (parts, spans[name]))
        if own - kept > 1 / one.plan.sfreq:
            reason = f"{kept:g} of {own:g} s, as long as the shortest of those that exchange partners"
            yield Loss(row.dyad, row.session, row.task, epoch=name, what=CUT, reason=reason)


def request_of(
    spec: Spec, *, kind: str = "repair", n: int | None = None, within: Sequence[str] | None = None,
    roles: str = "fixed", seed: int = 0, signal: str = "hbo", pairs: Pairs = "all", epochs: EpochWords = None,
    measure: str | None = None, tail: Tail | None = None, stop_at: int | None = None,
    options: Mapping[str, Any] | None = None, backend: str = "auto",
    controls: Sequence[str] = (), how: str = "both", n_components: int = 2, rois: Rois | None = None,
    roi_average: str = "coherence", correct: Sequence[str] | None = None, alpha: float = 0.05,
) -> Request:  # fmt: skip
    """
    What a null is asked for, in the words of `Study.null`.

    Raises
    ------
    PlanError
        If a word is unknown, or does not belong to the kind.
    """
    require_known("kind", kind, NULL_KINDS)
    require_bands(spec)
    if not isinstance(options, Mapping | None):
        raise PlanError(f"options={options!r} must be a mapping, such as {{'block': 60}}")
    measure = spec.measure if measure is None else measure
    require_measure(spec, measure)
    tail = tail or measure_named(measure).tail
    judged = TestSettings(tail=tail, correct=correct, alpha=alpha)
    if kind != "repair":
        check_surrogate_corrections(kind, judged.correct or (), stop_at)
    if kind == "repair":
        for word, value in {"stop_at": stop_at, "options": options}.items():
            if value is not None:
                raise PlanError(f"{word} is for surrogates: leave it out with kind='repair'")
    elif roles != "fixed":
        raise PlanError(f"roles is for re-pairing: leave it out with kind={kind!r}")
    else:
        require_options(kind, options or {})
    return Request(
        spec=spec, kind=kind, n=(REPAIRINGS if kind == "repair" else SURROGATES) if n is None else n, seed=seed,
        signal=signal, pairs=pairs, epochs=epochs, tail=tail, measure=measure, options=dict(options or {}),
        stop_at=stop_at, backend=backend, within=within, roles=roles,
        controls=Controls.of(controls, how, n_components), regions=Regions.asked(rois, roi_average),
        correct=judged.correct, alpha=judged.alpha,
    )  # fmt: skip


def rehearsed(study: StudyFile, request: Request, worker: Worker) -> Planned:
    """
    All of a null but its computation.

    Raises
    ------
    PlanError, InputError
        If the request does not fit the study, or no single finding could pass the corrections that it names.
    """
    if request.kind == "repair":
        made: Planned = planned_repairing(study, request)
        _refuse_hopeless(made, request)
        for one in made.rows:
            if one.plan.computable:
                worker.engine(one.plan)
        return made
    of_trials = [row for row in used_rows(study) if row.recording_a.trial_samples]
    if of_trials and request.kind != "trial":
        raise PlanError(
            f"{of_trials[0].label}: surrogates of kind {request.kind!r} are of continuous recordings, and this is cut "
            "into trials: use kind='trial', which exchanges trials, or 'repair'"
        )
    if request.kind == "trial" and not of_trials:
        made = _planned_trials(study, request)
    else:
        made = planned(
            study, request.spec, signal=request.signal, pairs=request.pairs, epochs=request.epochs,
            controls=request.controls, regions=request.regions,
        )  # fmt: skip
    _refuse_hopeless(made, request)
    request = replace(request, controls=made.controls)
    sources_of(study, request, worker)
    refuse_drifts(study, request)
    return made


def _refuse_hopeless(made: Planned, request: Request) -> None:
    """Refuse corrections that were named and that no single finding could pass."""
    judged = TestSettings(tail=request.tail, correct=request.correct, alpha=request.alpha)
    draws = made.draws if isinstance(made, PlannedRepairing) else request.n
    caution = attainable(judged, n_features(made, request), draws) if request.correct else ""
    if caution:
        raise PlanError(caution)


_TABLE_BYTES = 96 << 20  # libraries and tables that the first engine loads


def bytes_of_means(made: Planned, n_epochs: int, spec: Spec, *, shares: bool = False) -> int:
    """Memory that the means of all rows take beside the program, with those of one job and its features."""
    n_values = len(made.rows) * n_epochs * spec.n_columns * made.axes.mask.size
    return _TABLE_BYTES + TILE_BYTES // 2 + n_values * (140 if shares else 100)


def bytes_of_repairing(made: PlannedRepairing, epochs: EpochWords, spec: Spec) -> int:
    """Memory that re-pairing takes beside the program and the pair values."""
    n_means = len(epoch_names(epochs)) * spec.n_columns
    n_people = max(len(exchange.occasion.rows) for exchange, _, _ in made.exchanges)
    two = bytes_of_people(made.axes.mask.size, n_means)
    tile = max(two, min(TILE_BYTES, two * n_people**2))
    n_read = max(len(made.axes.a), len(made.axes.b))
    longest = max((plan for _, _, plan in made.exchanges if plan.computable), key=lambda plan: plan.n_samples)
    worker = Worker("numpy")
    features = min(FEATURE_BYTES, 2 * n_people * n_read * worker.engine(longest).plan.feature_bytes)
    if is_by_band(worker, longest, n_read):
        features = 2 * BAND_BYTES  # with those of second persons, and what they are made of
    return _TABLE_BYTES + tile + int(features) + 60 * n_means * made.axes.mask.size * len(made.rows)


def n_features(made: Planned, request: Request) -> int:
    """Features of the group test: pairs with two good channels x epochs and bands with a value x lags, task by task."""
    n_lags = max(1, len(request.spec.lags))
    trials = [(epoch, band) for epoch in epoch_names(request.epochs) for band in request.spec.bands or {}]
    good: dict[tuple[str, str, str], NDArray[np.bool_]] = {}
    for one in made.rows:
        pairs = good_pairs(one.row, made.axes)
        for epoch, band in trials if request.kind == "trial" else one.has_value:
            feature = one.row.task, epoch, band
            good[feature] = good.get(feature, False) | pairs
    return n_lags * sum(int(pairs.sum()) for pairs in good.values())


def _planned_trials(study: StudyFile, request: Request) -> Planned:
    """Every dyad with each trial as a recording of its own."""
    rows = used_rows(study)
    trials = [
        RowPlan(row, EnginePlan(n, row.recording_a.sfreq, request.spec), trials=name)
        for row in rows
        for name, (_, n) in trial_cuts(row, request.epochs).items()
    ]
    made = _with_losses(study, request.axes(rows), trials, request.signal, request.controls)
    return replace(made, rows=tuple(RowPlan(row, trials[0].plan) for row in rows))


def dyads_job(
    study: StudyFile, some: Sequence[RowPlan], signal: str, made: Planned, shares: PhaseShares | None = None
) -> DyadsJob:
    """The job of some rows that share a plan."""
    axes, plan = made.axes, some[0].plan
    a, b = (
        axes.people(
            study, [(one.row, side) for one in some], signal, plan.n_samples, [one.start_of(one.row) for one in some],
            made.controls, names=axes.names(side),
        )
        for side in SIDES
    )  # fmt: skip
    return DyadsJob(a, b, plan, shares)


def dyads_jobs(
    study: StudyFile, made: Planned, rows: Sequence[RowPlan], signal: str, worker: Worker, *, known: RealMeans,
    shares: PhaseShares | None = None,
) -> list[tuple[DyadsJob, list[int]]]:  # fmt: skip
    """Jobs of all rows that can be computed, each with the numbers of its rows.

    Rows of one plan share a job as far as their channels are few: what a call costs beside its pairs is then paid once.
    Those whose means are `known` share none with others.
    """
    by_plan: dict[str, list[int]] = {}
    for number, one in enumerate(rows):
        if one.plan.computable:
            by_plan.setdefault(one.plan.key, []).append(number)
    parts = []
    for numbers in by_plan.values():
        device = worker.engine(rows[numbers[0]].plan).device  # refuses what cannot be computed
        everybody = dyads_job(study, [rows[k] for k in numbers], signal, made, shares)
        step = max(1, channels_together(device) // max(people.n_read for people in everybody.people))
        for is_known in (True, False):
            some = [n for n, key in zip(numbers, everybody.keys, strict=True) if (key in known) == is_known]
            parts += [some[k : k + step] for k in range(0, len(some), step)]
    return [(dyads_job(study, [rows[k] for k in part], signal, made, shares), part) for part in parts]


def _with_losses(
    study: StudyFile, axes: Axes, rows: Sequence[RowPlan], signal: str, controls: Controls | None
) -> Planned:
    require_signal(study, [one.row for one in rows], signal)
    if not any(good_pairs(one.row, axes).any() for one in rows):
        raise InputError(
            f"{study.path}: no {axes.noun} pair that is asked for is good in any dyad: choose other channels"
        )
    losses = losses_of(study, rows, axes)
    require_values(losses, rows)
    if controls is not None:
        spec = rows[0].plan.spec
        if controls.how != "regression" and not kind_of(spec).takes_controls:
            raise PlanError(
                f"controls are taken out of {spec.measure!r} in time only: add how='regression', or leave them out"
            )
        controls = controls.found_in(study, [one.row for one in rows], signal)
    return Planned(axes, tuple(rows), tuple(losses), controls=controls)


def refuse_bands_of_each(spec: Spec) -> None:
    """Refuse bands that differ between first and second persons, where nobody is first."""
    for name, band in (spec.bands or {}).items():
        if isinstance(band, BandOfEach):
            raise PlanError(
                f"band {name!r} has edges for the first and for the second person, and roles='interchangeable' says "
                "that nobody is first: give one pair of edges, or roles='fixed'"
            )


def require_spec(spec: object) -> None:
    """Refuse what is no spec."""
    if type(spec) not in KINDS:
        raise PlanError(f"spec is a {type(spec).__name__}; give one such as WTC(bands={{'task': (0.02, 0.1)}})")


def require_bands(spec: Spec) -> None:
    """Refuse a spec without bands."""
    require_spec(spec)
    if not spec.bands:
        raise PlanError("a study needs bands: name them, such as WTC(bands={'task': (0.02, 0.1)})")
