"""One simulated test after another, made of a study's own recordings: for re-pairing, and for single dyads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..coupling.band_spec import Spec
from ..coupling.spec import Band
from ..errors import InputError, PlanError
from ..inference.permutation_test import ListedStatistic, permutation_test
from ..inference.repaired_test import repair_test
from ..inference.settings import TestSettings
from ..nulls.draws import Draws
from ..nulls.random_streams import entity_id
from ..nulls.repaired_null import RepairedNull
from ..nulls.repairing import Repairing
from ..nulls.shared_partners import named
from ..recordings.memory import release
from ..recordings.recording import DyadRow, Recording
from ..study.channel_pairs import Axes, Pairs
from ..study.controls import Controls
from ..study.epochs import EpochWords, common_epochs
from ..study.repairing_plan import plan_draws
from ..study.rows import require_signal
from ..study.runner import People, Worker
from ..study.study import Study
from ..study.surrogate_runs import Request, sources_of
from .pseudo_dyads import (
    HALVES,
    ORDER,
    PAIRS,
    SHIFT,
    Injection,
    Pair,
    PseudoDyads,
    PseudoStudy,
    drawn_order,
    drawn_seed,
    pseudo_dyads,
)

Floats = NDArray[np.float64]

_LARGEST = TestSettings(tail="greater", correct=("max",))

MOST_PAIRS = 4
"""Channel pairs of a pseudo-dyad; more would make calibration as long as the analysis."""
RANKS_OF_JOB = 25
SMALLEST_BLOCK = 4
"""Dyads from which two halves can be made that have something to exchange."""


@dataclass(frozen=True)
class Design:
    """What is calibrated; the words are those of `Study.null`."""

    spec: Spec
    kind: str
    n_draws: int
    alpha: float
    signal: str
    pairs: Pairs
    epochs: EpochWords
    within: Sequence[str] | None
    measure: str
    seed: int
    backend: str
    options: Mapping[str, Any]
    controls: Controls | None = None

    @property
    def bands(self) -> tuple[Band, ...]:
        """Bands of the spec."""
        return tuple((self.spec.bands or {}).values())


class RepairedStudies:
    """
    Re-pairing tests of studies of people who never met.

    For the level, dyads are split into halves at random: first persons of one half and second persons of the other
    never met. They are put together at random, and tested against all other ways of putting them together. For the
    power, every first person gets somebody else's second person and the two a coupling; the other cells of the matrix
    are the same recordings, and the real partners among them are too few to matter (one of N in a row).

    `null` holds the values of everybody with everybody, computed by words of `Study.null` unless it is given. `n_draws`
    are those of each test, `level_unit` and `power_unit` what a simulation tests, and `page` how simulations
    are made, in words.
    """

    def __init__(self, study: Study, design: Design, *, null: RepairedNull | None = None, **who: Any) -> None:
        if null is None:
            _check_blocks(study, design)
            null = _repairing(study, design, design.pairs, design.controls, **who)
        self._design = design
        self.null = null
        whole = self.null.design
        self._blocks = [block for block in whole.blocks if len(block) >= SMALLEST_BLOCK]
        self._pseudo_dyads = PseudoDyads(study, design.signal, design.controls)
        self._pairs = usable_pairs(study.dyads, pairs_of_design(study, design))
        halved = sum(len(block) // 2 for block in self._blocks)
        self.n_draws = self._halved(0).draws.n
        self.level_unit = f"studies of {halved} dyads"
        self.power_unit = f"studies of {len(whole)} dyads"
        n_pairs = min(MOST_PAIRS, len(self._pairs))
        apart = "from other meetings" if whole.shares_people else "who never met"
        self.page = (
            f"Level: the {len(whole)} dyads were split into halves at random, and first persons of one half put "
            f"together with second persons of the other, {apart}: studies of {halved} dyads with p-values no "
            f"smaller than {1 / (self.n_draws + 1):.2g}, over all channel pairs asked for (re-pairings of all "
            f"{len(whole)} dyads allow {1 / whole.n_ways:.2g}). As partners are put together at random, the "
            "false-positive rate is right whoever the people are: what this shows is the smallest p. Power: studies "
            f"of {len(whole)} pseudo-dyads, {n_pairs} channel pairs drawn at random for each, one of them coupled."
        )

    def rank(self, simulation: int) -> int:
        """Draws, of `n_draws`, whose largest statistic reaches that of people who do not interact."""
        null = self._halved(simulation)
        return rank_of(_family_wise(null), null.draws.n)

    def finds(self, simulation: int, coupling: float) -> bool:
        """Whether a coupling put into one channel pair is found there."""
        design = self._design
        null = _repairing(self._coupled(simulation, coupling), design, "same", self._pseudo_dyads.pseudo_controls)
        n_pairs = min(MOST_PAIRS, len(self._pairs))
        shape = (-1, n_pairs, n_pairs, len(design.bands))  # tasks x epochs first
        null = replace(null, draws=self._draws(null.design, simulation))
        return bool(np.nanmin(_family_wise(null).reshape(shape)[:, 0, 0]) <= design.alpha)

    def _draws(self, design: Repairing, simulation: int) -> Draws[Repairing]:
        n = self._design.n_draws
        return Draws.plan(design, n, drawn_seed(self._design.seed, simulation), list_up_to=n)

    def _halved(self, simulation: int) -> RepairedNull:
        """A study of the first persons of one half and the second persons of the other."""
        first: list[int] = []
        second: list[int] = []
        labels: list[str] = []
        for number, block in enumerate(self._blocks):
            order = block[drawn_order(len(block), self._design.seed, simulation, f"block {number}", HALVES)]
            half = len(block) // 2
            first += order[:half].tolist()
            second += order[half : 2 * half].tolist()
            labels += [f"{number}"] * half
        whole, place = self.null.design, [f"{k:06d}" for k in range(len(first))]
        people = [whole.persons_a[i] for i in first], [whole.persons_b[j] for j in second]
        design = Repairing.of(place, *people, {"block": labels})
        values = self.null.room(len(self.null.sessions), len(first), self.null.n_features)
        for part in self.null.parts():
            values[..., part] = self.null.pair_values[..., part][:, first][:, :, second]
            release(values)
        return RepairedNull(values, self._draws(design, simulation), self.null.sessions, tasks=self.null.tasks)

    def _coupled(self, simulation: int, coupling: float) -> PseudoStudy:
        """A study of as many dyads, whose second persons were exchanged and then coupled with the first."""
        design, whole = self._design, self.null.design
        order = drawn_order(len(self._pairs), design.seed, simulation, "channel pairs", PAIRS)
        pairs = [self._pairs[k] for k in order[:MOST_PAIRS]]
        partner: dict[str, str] = {}
        for number, block in enumerate(whole.blocks):
            n = len(block)
            turn = block[drawn_order(n, design.seed, simulation, f"block {number}", ORDER)]
            by = 1 + int(drawn_order(n - 1, design.seed, simulation, f"block {number}", SHIFT)[0])
            partner |= {whole.dyads[turn[k]]: whole.dyads[turn[(k + by) % n]] for k in range(n)}
        rows = []
        for occasion in self._pseudo_dyads.occasions:
            row_of = occasion.by_dyad
            for name, other in partner.items():
                if name in row_of and other in row_of:
                    entity = entity_id(f"{name} | {occasion.label}")
                    shared = Injection(coupling, design.bands, design.seed, simulation, entity)
                    row, give = self._pseudo_dyads.row(name, row_of[name], row_of[other], pairs, shared)
                    # Under their own names, as who is shared decides who is exchanged.
                    row = replace(row, person_a=row_of[name].person_a, person_b=row_of[other].person_b)
                    rows.append((row, give))
        return PseudoStudy.of(self._pseudo_dyads.study, rows)


class SurrogateDyads:
    """
    Surrogate tests of single pseudo-dyads: two people of one session and task who never met.

    Statistics are standardised over the draws and the observed value together, which keeps their ranks exact with few
    draws and needs no others. Attributes are those of `RepairedStudies`.
    """

    def __init__(self, study: Study, design: Design, n_simulations: int) -> None:
        self._design = design
        self.n_draws = design.n_draws
        require_signal(study, study.dyads, design.signal)
        self._asked = pairs_of_design(study, design)
        self._pseudo_dyads = PseudoDyads(study, design.signal, design.controls)
        for occasion in self._pseudo_dyads.occasions:
            common_epochs(occasion, design.epochs)
        self._dyads = pseudo_dyads(study.dyads, self._pseudo_dyads.occasions, design.within, design.seed)
        # Words that do not fit the recordings are refused here, before anything is computed.
        sources_of(
            self._study(range(min(n_simulations, len(self._dyads)))), self._request(design.seed), Worker(design.backend)
        )
        n = min(n_simulations, len(self._dyads))
        people = {person for first, second in self._dyads[:n] for person in (first.person_a, second.person_b)}
        self.level_unit = self.power_unit = "pseudo-dyads"
        self.page = (
            f"Each simulation tested one pseudo-dyad of people who never met, {n} different ones of {len(people)} "
            f"people, over at most {MOST_PAIRS} channel pairs drawn at random. Limits treat simulations as "
            "independent, although the same people occur in several. Power: one of the channel pairs coupled."
        )

    def rank(self, simulation: int) -> int:
        """As `RepairedStudies.rank`."""
        return rank_of(self._tested(simulation, None), self.n_draws)

    def finds(self, simulation: int, coupling: float) -> bool:
        """As `RepairedStudies.finds`."""
        p = self._tested(simulation, coupling)
        return bool(np.nanmin(p[:, 0, 0]) <= self._design.alpha)

    def _tested(self, simulation: int, coupling: float | None) -> Floats:
        """Family-wise p: float64 [epoch, pair, pair, band]."""
        study = self._study([simulation], coupling)
        request = self._request(drawn_seed(self._design.seed, simulation))
        source = sources_of(study, request, Worker(request.backend))[0][0]
        draws = np.arange(self.n_draws + 1)
        parts = [source.values(draws[k : k + source.block]) for k in range(0, len(draws), source.block)]
        values = np.concatenate(parts)
        p = largest_p(values.reshape(len(values), -1)).reshape(values.shape[1:])
        if np.isnan(p).all():
            raise InputError(f"{study.dyads[0].label}: no channel pair has a value: see ibsync check")
        return p

    def _request(self, seed: int) -> Request:
        d = self._design
        return Request(
            spec=d.spec, kind=d.kind, n=d.n_draws, seed=seed, signal=d.signal, pairs="same", epochs=d.epochs,
            tail="greater", measure=d.measure, options=d.options, stop_at=None, backend=d.backend,
            controls=self._pseudo_dyads.pseudo_controls,
        )  # fmt: skip

    def _study(self, simulations: Sequence[int], coupling: float | None = None) -> PseudoStudy:
        design, rows = self._design, []
        for simulation in simulations:
            first, second = self._dyads[simulation % len(self._dyads)]
            pseudo = replace(first, recording_b=second.recording_b)
            usable = usable_pairs([pseudo], self._asked)
            order = drawn_order(len(usable), design.seed, simulation, "channel pairs", PAIRS)
            pairs = [usable[k] for k in order[:MOST_PAIRS]]
            shared = None if coupling is None else Injection(coupling, design.bands, design.seed, simulation, 0)
            rows.append(self._pseudo_dyads.row(f"{simulation}", first, second, pairs, shared))
        return PseudoStudy.of(self._pseudo_dyads.study, rows)


@dataclass(frozen=True)
class SimulationsJob:
    """
    Some simulations of a calibration.

    Parameters
    ----------
    study : Study
    design : Design
    n_sims : int
        Simulations of the whole calibration.
    coupling : float or None
        What is put into the recordings, for the power; None for the level.
    start, stop : int
        Simulations `start` to `stop` - 1, from 0.
    null : RepairedNull, optional
        Of `RepairedStudies`, whose values are needed for the level only.
    """

    study: Study
    design: Design
    n_sims: int
    coupling: float | None
    start: int
    stop: int
    null: RepairedNull | None = None
    people: tuple[People, ...] = ()

    @property
    def name(self) -> str:
        """Which simulations, in words."""
        what = "the level" if self.coupling is None else f"coupling {self.coupling:g}"
        return f"simulations {self.start + 1} to {self.stop} of {what}"

    def run(self, worker: Worker) -> NDArray[np.int64]:
        """Rank of each simulation of the level, or whether each finds the coupling, 0 or 1."""
        tests = worker.once(self.key, self._tests)
        if self.coupling is None:
            return np.array([tests.rank(k) for k in range(self.start, self.stop)], np.int64)
        return np.array([tests.finds(k, self.coupling) for k in range(self.start, self.stop)], np.int64)

    @property
    def key(self) -> tuple[object, ...]:
        """The same for simulations that share a test."""
        return "calibration", repr(self.design), self.n_sims, self.coupling is None

    def _tests(self) -> RepairedStudies | SurrogateDyads:
        if self.null is None:
            return SurrogateDyads(self.study, self.design, self.n_sims)
        return RepairedStudies(self.study, self.design, null=self.null)


def simulation_jobs(
    tests: RepairedStudies | SurrogateDyads, study: Study, design: Design, n_sims: int, coupling: float | None, n: int
) -> list[SimulationsJob]:
    """Jobs of `n` simulations; for the level of re-pairing, many to a job, as each carries the values of everybody."""
    null, step = None, 1
    if isinstance(tests, RepairedStudies):
        null = replace(tests.null, real_means={})
        if coupling is None:
            step = RANKS_OF_JOB
        else:
            null = replace(null, pair_values=null.pair_values[..., :0], valid_fraction=None)
    return [
        SimulationsJob(study, design, n_sims, coupling, first, min(first + step, n), null)
        for first in range(0, n, step)
    ]


def _check_blocks(study: Study, design: Design) -> None:
    """Refuse, before anything is computed, a study that has no block of four dyads, or dyads that share a recording."""
    planned = plan_draws(study.dyads, design.within, design.n_draws, design.seed, alpha=design.alpha)
    together = next((unit for units in planned.design.moves for unit in units if len(unit) > 1), None)
    if together is not None:
        raise PlanError(
            f"dyads {named([planned.design.dyads[dyad] for dyad in together])} share a recording, which calibration "
            "cannot take apart: calibrate with one dyad of each such set, study.select(dyad=[...])"
        )
    largest = max(len(block) for block in planned.design.blocks)
    if largest < SMALLEST_BLOCK:
        raise PlanError(
            f"calibrating re-pairing takes at least {SMALLEST_BLOCK} dyads that may exchange partners, to be split "
            f"into halves that never met; here {largest} may: calibrate once there are more"
        )


def _repairing(study: Study, design: Design, pairs: Pairs, controls: Controls | None, **who: Any) -> RepairedNull:
    """Values of everybody with everybody; `who` computes, in words of `Study.null`."""
    words = {} if controls is None else controls.words
    null = study.null(
        design.spec, kind="repair", n=design.n_draws, within=design.within, seed=design.seed, signal=design.signal,
        pairs=pairs, epochs=design.epochs, measure=design.measure, backend=design.backend, **who, **words,
    )  # fmt: skip
    assert isinstance(null, RepairedNull)
    return null


def pairs_of_design(study: Study, design: Design) -> list[Pair]:
    """Channel pairs by name."""
    axes = Axes.of(study.dyads, design.pairs, design.controls)
    return [(axes.a[i], axes.b[j]) for i, j in np.argwhere(axes.mask)]


def usable_pairs(rows: Sequence[DyadRow], asked: Sequence[Pair]) -> list[Pair]:
    """Channel pairs that are good in both people, in as many rows as any pair is; at least one must be."""
    good = [(_good(row.recording_a), _good(row.recording_b)) for row in rows]
    n_rows = [sum(a in first and b in second for first, second in good) for a, b in asked]
    if not max(n_rows):
        raise InputError(f"{rows[0].label}: none of the channel pairs asked for is good in both people")
    return [pair for pair, n in zip(asked, n_rows, strict=True) if n == max(n_rows)]


def _good(recording: Recording) -> list[str]:
    return [name for name, is_good in zip(recording.channels, recording.good, strict=True) if is_good]


def largest_p(values: Floats) -> Floats:
    """
    Family-wise p [feature] against the largest standardised statistic of each draw, from values [draw 0..m, feature].

    Row 0 is the observed one; where it is missing p is NaN.
    """
    return np.asarray(permutation_test(ListedStatistic(values), _LARGEST)["p_max_single"])


def rank_of(p: Floats, n_draws: int) -> int:
    """Draws b that reach the largest statistic, from family-wise p-values (b + 1) / (m + 1)."""
    return round(float(np.nanmin(p)) * (n_draws + 1)) - 1


def _family_wise(null: RepairedNull) -> Floats:
    p = np.asarray(repair_test(null, _LARGEST, workers=1)["p_max_single"])
    if np.isnan(p).all():
        raise InputError("no feature of the study has a value: see ibsync check")
    return p
