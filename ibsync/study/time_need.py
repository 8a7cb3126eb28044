"""Seconds that synchrony and a null of a study take, from small parts of the work, timed here and now."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from ..coupling.band_spec import Spec
from ..coupling.engine import Engine
from ..nulls.surrogate_null import some_values
from ..recordings.study_file import StudyFile
from .channel_pairs import Matching
from .engine_memory import worked_bytes
from .engines import channels_together
from .epochs import EpochWords, epoch_names, spans_of
from .losses import RowPlan
from .pair_values import DyadsJob, matching_of, people_of_tile
from .planned import Planned, dyads_job
from .rows import Occasion
from .runner import FEATURE_BYTES, Worker
from .surrogate_runs import Request, sources_of

_TIMED_PEOPLE, _TIMED_SECONDS, _TIMES = 4, 0.3, 2  # what is timed grows to a tile or to so long


class Clock:
    """
    Times what is asked of a study, each kind of work once.

    Parameters
    ----------
    study : StudyFile
    spec : WTC or Coupling
    epochs : as `Study.synchrony`
    made : Planned
        Synchrony, or the null where there is one.
    request : Request, optional
        The null.
    """

    def __init__(
        self, study: StudyFile, spec: Spec, epochs: EpochWords, made: Planned, request: Request | None = None
    ) -> None:
        self._study, self._spec, self._epochs, self._made, self._request = study, spec, epochs, made, request
        self._known: dict[Any, str] = {}

    def line(self, occasion: Occasion) -> str:
        """Maps of an occasion and the seconds that they take, in words."""
        row, n = occasion.rows[0], len(occasion.rows)
        plan = occasion.plan(self._spec, spans_of(row, self._epochs))
        if plan.computable is None:
            return "  too short: no band has a value in any epoch"
        if (plan.key, n) not in self._known:
            self._known[plan.key, n] = self._line(RowPlan(row, plan), n)
        return self._known[plan.key, n]

    def _line(self, row: RowPlan, n: int) -> str:
        job = dyads_job(self._study, [row], "", self._made)
        n_maps, n_means = job.a.n_paired * job.b.n_paired, len(epoch_names(self._epochs)) * self._spec.n_columns
        worker = Worker()
        engine = worker.engine(row.plan)
        n_read = max(people.n_read for people in job.people)
        together = min(n, max(1, channels_together(engine.device) // n_read))
        of_person, of_dyads = timed(engine, job, together, by_dyad=True)
        real_s = n / together * of_dyads + 2 * n * of_person
        line = f"  all {job.a.n_paired} x {job.b.n_paired} channels: {n * n_maps} maps in about {real_s:.1f} s; "
        if self._request is not None and self._request.kind != "repair":
            n_draws, seconds = self._request.n, self._of_draws(self._request, row)
            at_most = "" if self._request.stop_at is None else " at most"
            return line + (
                f"{n_draws} draw{'s' * (n_draws > 1)} of kind {self._request.kind!r}, {n_draws * n * n_maps} maps in "
                f"about {n * seconds:.1f} s{at_most}"
            )
        roles = "fixed" if self._request is None else self._request.roles
        matching = matching_of(self._made.axes, self._made.controls, roles, worker, row.plan, n_read)
        n_pairs = n_maps if matching is None else len(matching)
        tile = min(n, people_of_tile(FEATURE_BYTES, worked_bytes(engine.plan) * n_read, n_pairs, n_means))
        repaired_s = (n / tile) ** 2 * _of_tile(engine, job, tile, matching) + 2 * n * of_person
        which = "" if matching is None else " of the pairs asked for"
        return line + f"re-paired {n * n * n_pairs} maps{which} in about {repaired_s:.1f} s at most"

    def _of_draws(self, request: Request, row: RowPlan) -> float:
        """Seconds of all draws of one dyad, by some of them."""
        number = self._study.dyads.index(row.row)

        def seconds(n: int, times: int = _TIMES) -> float:
            taken = []
            for _ in range(times):
                began = time.perf_counter()
                some_values(source, np.arange(1, n + 1))
                taken.append(time.perf_counter() - began)
            return min(taken)

        for _ in range(_TIMES):  # tables of the engine are made by the very first
            source = sources_of(self._study, request, Worker(request.backend))[0][number]
            first, n = seconds(1, 1), 1  # what is made once for each dyad, such as tables of pairs of trials
        taken = seconds(1)
        while n < min(source.block, request.n) and taken < _TIMED_SECONDS:
            n = min(4 * n, source.block, request.n)
            taken = seconds(n)
        return max(0.0, first - taken / n) + request.n * taken / n


def _of_tile(engine: Engine, job: DyadsJob, tile: int, matching: Matching | None) -> float:
    """Seconds of a tile of so many people with as many, by smaller ones."""

    def point(size: int) -> tuple[int, float]:
        return size, timed(engine, job, size, matching=matching)[1]

    points = [point(size) for size in dict.fromkeys((1, min(_TIMED_PEOPLE, tile)))]
    while points[-1][0] < tile and points[-1][1] < _TIMED_SECONDS:
        points.append(point(min(2 * points[-1][0], tile)))
    (small, few), (large, many) = points[-2:] if len(points) > 1 else ((0, 0.0), points[0])
    of_pair = min(max(0.0, many - few) / (large**2 - small**2), many / large**2)
    return many + of_pair * (tile**2 - large**2)


def timed(
    engine: Engine, job: DyadsJob, n: int, *, by_dyad: bool = False, matching: Matching | None = None
) -> tuple[float, float]:
    """Seconds for the features of a person of noise, and for pairs of so many first with as many second persons."""
    rng, words, n_samples = np.random.default_rng(0), job.a.of_features, engine.plan.n_samples
    shapes = [(n, people.n_read) if matching is None else (len(matching), n) for people in job.people]
    x = [rng.standard_normal((*shape, n_samples), np.float32) for shape in shapes]
    best = [np.inf, np.inf]
    for _ in range(_TIMES):  # the first time tables are built or read
        began = time.perf_counter()
        a, b = (engine.features(side, **words) for side in x)
        made = time.perf_counter()
        engine.coherence(a, b, by_dyad=by_dyad or matching is not None)
        best = [min(best[0], (made - began) / (2 * n)), min(best[1], time.perf_counter() - made)]
    return best[0], best[1]
