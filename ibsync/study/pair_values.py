"""Jobs of one dyad, and of tiles of people with each other: what synchrony and the re-pairing null are made of."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..coupling.band_spec import Coupling
from ..coupling.engine import Engine
from ..coupling.means import Coupled, mapped
from ..coupling.measures import measure_named
from ..coupling.spec import PhaseShares
from ..coupling.wavelet_coherence import Coherence
from ..errors import PlanError
from ..nulls.repairing import Repairing
from ..recordings.journal import Journal
from ..recordings.recording import DyadRow
from ..recordings.study_file import StudyFile
from .channel_pairs import Axes, Matching
from .controls import Controls, measured_with_both, together
from .engine_memory import worked_bytes
from .engines import EnginePlan
from .regions import SIDES
from .rows import Occasion, occasions_of, session_label
from .runner import People, Worker, regions_of, run_jobs

RealMeans = Mapping[tuple[Any, ...], Any]
"""Means [1, channel_a, channel_b, band, epoch] of dyads that are known, by what says the same for the same means."""

_TILE_PEOPLE = 8  # few, as half of the tile of some people with themselves is not needed
TILE_BYTES = 128 << 20
"""Memory of what comes out of a tile, until it is put in its place: its sums, its means, its values and copies."""
BAND_BYTES = 768 << 20
"""Features of one band of the first persons of a tile, where those of all bands are too large to be kept."""
_FEW_PEOPLE = 16  # whose features, all bands, should fit into a worker's memory; else it is better to make them again
SECONDS_AT_ONCE = 3  # second persons whose features of one band are made together
COLUMNS_BY_BAND = 64  # second persons of such a tile
_PAIR_BYTES, _VALUE_BYTES = 2000, 120  # of a pair of channels, and of each of its bands and epochs; measured


# --- jobs -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DyadsJob:
    """
    Coupling of some dyad rows of one length.

    Parameters
    ----------
    a, b : People
        First and second persons.
    plan : EnginePlan
    shares : PhaseShares, optional
        How the phase of coherent cells is counted.
    """

    a: People
    b: People
    plan: EnginePlan
    shares: PhaseShares | None

    @property
    def name(self) -> str:
        """Whose coherence, in words."""
        return f"coherence of {self.a.name} with {self.b.name}"

    @property
    def people(self) -> tuple[People, ...]:
        """Both."""
        return self.a, self.b

    def run(self, worker: Worker) -> Coherence | Coupled:
        """Means [dyad, channel_a, channel_b, band, epoch]."""
        engine = worker.engine(self.plan)
        x, y = (worker.signals(people) for people in self.people)
        a, b = (engine.features(side, **self.a.of_features) for side in together(x, y, self.a.controls))
        regions = regions_of(self.a, self.b)
        means = engine.coherence(a, b, shares=self.shares or False, regions=regions, by_dyad=True)
        made: Coherence | Coupled = whole_means(means, self.plan)
        return made

    @property
    def keys(self) -> list[tuple[Any, ...]]:
        """What says the same for the same means, for each dyad."""
        return real_keys(self.a, self.b, self.plan)


def whole_means(means: Any, plan: EnginePlan) -> Any:
    """Means [dyad, channel_a, channel_b, band, epoch] of all bands and epochs that were asked for."""
    fraction = plan.whole(means.valid_fraction, 4, 3, missing=0.0)
    return replace(mapped(means, lambda x: plan.whole(x, 4, 3)), valid_fraction=fraction)


def _of_real(means: Any, plan: EnginePlan) -> Any:
    """The same without the shares that some measures need, as synchrony gives them where they are asked for only."""
    whole = whole_means(means, plan)
    return replace(whole, shares=None, above=None) if isinstance(whole, Coherence) else whole


def of_each_dyad(means: Any) -> Iterator[Any]:
    """Means [1, channel_a, channel_b, band, epoch] of each dyad, from those of all."""
    for dyad in range(len(means.value)):
        yield mapped(means, itemgetter(slice(dyad, dyad + 1)))


def means_of_rows(
    jobs: Sequence[tuple[DyadsJob, list[int]]], known: RealMeans, worker: Worker, *,
    executor: Executor | None = None, progress: bool = False, journal: Journal | None = None, of: Sequence[object] = (),
) -> Iterator[tuple[list[int], Any]]:  # fmt: skip
    """Means of the rows of each job, with the numbers of these rows; what is known is not computed again."""
    rest = []
    for job, numbers in jobs:
        if all(key in known for key in job.keys):
            for number, key in zip(numbers, job.keys, strict=True):
                yield [number], known[key]
        else:
            rest.append((job, numbers))
    bar = ("synchrony", "batch") if progress else None
    to_run = [job for job, _ in rest]
    for at, means in run_jobs(to_run, worker, executor=executor, bar=bar, journal=journal, of=of):
        yield rest[at][1], means


def real_keys(a: People, b: People, plan: EnginePlan) -> list[tuple[Any, ...]]:
    """What says the same for the same means of two people, for person k of `a` with person k of `b`."""
    return [(a.key_of(k), b.key_of(k), plan.key) for k in range(len(a.recordings))]


@dataclass(frozen=True)
class Tile:
    """
    What a `TileJob` gives.

    Parameters
    ----------
    values : float32 [row, column, epoch, channel_a, channel_b, band], of a matching [row, column, epoch, pair, band]
    real : Coherence, Coupled or None
        Means [dyad, channel_a, channel_b, band, epoch] of the real dyads, where rows and columns are partners.
    """

    values: NDArray[np.float32]
    real: Coherence | Coupled | None = None


@dataclass(frozen=True)
class TileJob:
    """
    A measure of each of some first persons with each of some second persons.

    Parameters
    ----------
    a, b : People
    plan : EnginePlan
    measure : str
    rows, columns : int64 [person]
        Where they stand among the people of the null.
    by_band : bool
        Whether features are made of one band at a time, and of second persons a few at a time.
    matching : Matching, optional
        Pairs of channels that are computed; all by default.
    """

    a: People
    b: People
    plan: EnginePlan
    measure: str
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    by_band: bool = field(default=False, kw_only=True)
    matching: Matching | None = field(default=None, kw_only=True)

    @property
    def name(self) -> str:
        """Who with whom, in words."""
        return f"re-pairing of {self.a.name} with {self.b.name}"

    @property
    def people(self) -> tuple[People, ...]:
        """Those of the rows, then those of the columns, unless these are read while it runs."""
        return (self.a,) if self.by_band else (self.a, self.b)

    def run(self, worker: Worker) -> Tile:
        """Values [row, column, epoch, channel_a, channel_b, band], and the means of real partners among them."""
        values, real = self._measured(worker)
        return Tile(_epochs_first(values), real)

    def _measured(self, worker: Worker) -> tuple[NDArray[Any], Any]:
        """Values [row, column, channel_a, channel_b, band, epoch], and means of real partners where there are any.

        Of a matching [row, column, pair, band, epoch].
        """
        engine, real, controls = worker.engine(self.plan), None, self.a.controls
        if controls is not None and controls.how == "both":
            first, second = (worker.signals(people) for people in (self.a, self.b))
            values = measured_with_both(engine, first, second, controls, self.measure, regions_of(self.a, self.b))
        elif self.by_band:
            return self._band_by_band(worker), None
        elif self.matching is not None:
            return self._matched(worker, engine, self.matching)
        else:
            a, b = (worker.features(people, self.plan) for people in (self.a, self.b))
            regions, shares = regions_of(self.a, self.b), measure_named(self.measure).needs == "shares"
            if self.has_real_partners:
                means = engine.coherence(a, b, shares=shares, regions=regions, on_device=True)
                values, real = engine.measure_of(means, self.measure), _of_real(engine.diagonal(means, 2), self.plan)
            else:
                values = engine.measure(a, b, self.measure, regions=regions)
            values = np.moveaxis(values, 1, 2)
        return np.asarray(self.plan.whole(values, 5, 4)), real

    def _matched(self, worker: Worker, engine: Engine, matching: Matching) -> tuple[NDArray[Any], Any]:
        """The same of a matching: each of its pairs is computed as if it were a dyad, whose people are its channels."""
        a = worker.features(self.a, self.plan, matching.a)
        b = worker.features(self.b, self.plan, matching.b)
        shares = measure_named(self.measure).needs == "shares"
        means = engine.coherence(a, b, shares=shares, by_dyad=True, on_device=True)
        with engine.active():
            means = mapped(means, lambda x: engine.xp.moveaxis(x, 0, 2))  # [row, column, pair, band, epoch]
        real = None
        if self.has_real_partners:
            own = mapped(engine.diagonal(means, 1), lambda x: matching.spread(x, 1))
            real = _of_real(replace(own, valid_fraction=np.nan_to_num(own.valid_fraction)), self.plan)
        return np.asarray(self.plan.whole(engine.measure_of(means, self.measure), 4, 3)), real

    def _band_by_band(self, worker: Worker) -> NDArray[Any]:
        """The same values, with features of one band at a time, and of second persons a few at a time."""
        made, first, columns = self.plan.computable or self.plan, worker.signals(self.a), []
        for name, band in (made.spec.bands or {}).items():
            plan = replace(made, spec=replace(made.spec, bands={name: band}))
            engine, parts = worker.engine(plan), []
            a = engine.features(first, **self.a.of_features)
            for start in range(0, len(self.b.recordings), SECONDS_AT_ONCE):
                some = _some_of(self.b, slice(start, start + SECONDS_AT_ONCE))
                b = engine.features(worker.signals(some), **self.b.of_features)
                values = engine.measure(a, b, self.measure, regions=regions_of(self.a, some))
                parts.append(np.moveaxis(values, 1, 2).astype(np.float32))
            columns.append(plan.whole(np.concatenate(parts, axis=1), 5, 4))
        return np.asarray(self.plan.whole(np.concatenate(columns, axis=4), 5, 4))

    @property
    def has_real_partners(self) -> bool:
        """Whether first person k is the partner of second person k."""
        return np.array_equal(self.rows, self.columns)

    @property
    def keys(self) -> list[tuple[Any, ...]]:
        """What says the same for the same means, for each real dyad of the tile."""
        return real_keys(self.a, self.b, self.plan)

    def put(self, values: NDArray[np.float32], found: NDArray[np.float32], part: slice) -> None:
        """Place some of the features that `run` gave, [row, column, feature], among [person_a, person_b, feature]."""
        if self.matching is None:
            values[..., part][np.ix_(self.rows, self.columns)] = found[..., part]
        else:
            features = self.matching.features(self.plan.spec.n_columns)[part]
            values[np.ix_(self.rows, self.columns, features)] = found[..., part]


@dataclass(frozen=True)
class MutualTileJob(TileJob):
    """
    The same where nobody is first: the mean over both orders of the two people's channels.

    Parameters
    ----------
    kept : tuple of int
        Which channels of the first axis make up the second.
    """

    kept: tuple[int, ...] = ()

    has_real_partners = False

    def run(self, worker: Worker) -> Tile:
        """Values [row, column, epoch, channel_a, channel_b, band]; NaN for a person with themselves."""
        one, _ = self._measured(worker)
        both = ((one + np.swapaxes(one, 2, 3)) / 2)[:, :, :, list(self.kept)]
        if self.a is self.b:
            below = np.tril_indices(len(both), -1)
            both[below] = both[below[::-1]]
            both[np.diag_indices(len(both))] = np.nan
        return Tile(_epochs_first(both))

    def put(self, values: NDArray[np.float32], found: NDArray[np.float32], part: slice) -> None:
        """Place some of the features that `run` gave, and the same for columns and rows."""
        some = found[..., part]
        values[..., part][np.ix_(self.columns, self.rows)] = np.swapaxes(some, 0, 1)
        values[..., part][np.ix_(self.rows, self.columns)] = some


def _epochs_first(values: NDArray[Any]) -> NDArray[np.float32]:
    """From [row, column, channel_a, channel_b, band, epoch] to the order of a null's features."""
    return np.ascontiguousarray(np.moveaxis(values, -1, 2), np.float32)


def _some_of(people: People, part: slice) -> People:
    """Some of the people."""
    return replace(people, recordings=people.recordings[part], starts=people.starts[part], members=people.members[part])


def is_by_band(worker: Worker, plan: EnginePlan, n_channels: int) -> bool:
    """Whether features of few people, of all bands, are too large for the memory of a worker on the CPU."""
    engine = worker.engine(plan)
    if engine.device is not None or not isinstance(plan.spec, Coupling):
        return False
    return bool(engine.plan.feature_bytes * n_channels * _FEW_PEOPLE > worker.feature_bytes(plan))


def people_by_band(worker: Worker, plan: EnginePlan, n_channels: int) -> int:
    """First persons whose features of one band fit into the memory of a tile."""
    of_band = worker.engine(plan).plan.feature_bytes * n_channels / len(plan.spec.bands or {"": 0})
    return max(1, int(BAND_BYTES / of_band))


def matching_of(
    axes: Axes, controls: Controls | None, roles: str, worker: Worker, plan: EnginePlan, n_channels: int
) -> Matching | None:
    """The pairs that a re-pairing computes, where these are a matching; all are computed where it is None."""
    if controls is not None or roles != "fixed" or is_by_band(worker, plan, n_channels):
        return None
    return axes.matching


def bytes_of_people(n_pairs: int, n_means: int) -> int:
    """Memory that two people take in a tile, by their pairs of channels and the means of each."""
    return n_pairs * (_PAIR_BYTES + _VALUE_BYTES * n_means)


def people_of_tile(going_in: float, of_person: int, n_pairs: int, n_means: int) -> int:
    """First and second persons of a tile, so that neither what goes in nor what comes out takes too much memory."""
    of_two = bytes_of_people(n_pairs, n_means)
    return max(1, min(int(going_in / of_person / 2), math.isqrt(int(TILE_BYTES // of_two))))


def tile_jobs(
    study: StudyFile, occasion: Occasion, dyads: Sequence[str], places: NDArray[np.integer], roles: str, axes: Axes,
    signal: str, plan: EnginePlan, measure: str, worker: Worker, starts: Mapping[str, int],
    controls: Controls | None = None,
) -> list[TileJob]:  # fmt: skip
    """
    Jobs for everybody of one block and occasion with everybody's partner.

    Parameters
    ----------
    study : StudyFile
    occasion : Occasion
    dyads : sequence of str
        Dyads of the design, in its order.
    places : int [dyad]
        Those of the block.
    roles : {"fixed", "interchangeable"}
    axes, signal, plan, measure
        What is computed.
    worker : Worker
        Says how much fits in its memory.
    starts : mapping of dyad to int
        First sample that is taken of its recordings.
    controls : Controls, optional
    """
    by_dyad = occasion.by_dyad
    present = np.array([place for place in places if dyads[place] in by_dyad], np.int64)
    rows = [by_dyad[dyads[place]] for place in present]

    def people(persons: Sequence[tuple[DyadRow, str]], side: str) -> People:
        first = [starts[row.dyad] for row, _ in persons]
        return axes.people(study, persons, signal, plan.n_samples, first, controls, names=axes.names(side))

    n_channels = max(people([(row, side)], side).n_read for row in rows for side in SIDES)
    of_person = worked_bytes(worker.engine(plan).plan) * n_channels
    n_means = len(worker.engine(plan).plan.epochs) * plan.spec.n_columns
    by_band = not (controls is not None and controls.how == "both") and is_by_band(worker, plan, n_channels)
    matching = matching_of(axes, controls, roles, worker, plan, n_channels)
    n_pairs = n_channels**2 if matching is None else len(matching)
    most = people_of_tile(worker.feature_bytes(plan), of_person, n_pairs, n_means)
    if roles == "fixed":
        sizes = (people_by_band(worker, plan, n_channels), COLUMNS_BY_BAND) if by_band else (most, most)
        tiles = [[slice(k, k + step) for k in range(0, len(rows), step)] for step in (min(len(rows), n) for n in sizes)]
        first, second = (
            [(people([(row, side) for row in rows[tile]], side), present[tile]) for tile in of_side]
            for side, of_side in zip(SIDES, tiles, strict=True)
        )
        words: dict[str, Any] = {"by_band": by_band, "matching": matching}
        return [TileJob(a, b, plan, measure, i, j, **words) for a, i in first for b, j in second]
    # Ordered by the names of people: nothing changes by a bit when first and second persons change places.
    everybody = [(row.person_a, (row, "a"), place) for row, place in zip(rows, present, strict=True)]
    everybody += [(row.person_b, (row, "b"), len(dyads) + k) for row, k in zip(rows, present, strict=True)]
    everybody.sort(key=lambda person: person[0])
    step = min(_TILE_PEOPLE, people_by_band(worker, plan, n_channels) if by_band else most)
    groups = [everybody[k : k + step] for k in range(0, len(everybody), step)]
    mutual = [people([member for _, member, _ in group], "a") for group in groups]
    at = [np.array([place for *_, place in group], np.int64) for group in groups]
    kept = tuple(axes.a.index(name) for name in axes.b)
    return [
        MutualTileJob(mutual[i], mutual[j], plan, measure, at[i], at[j], kept, by_band=by_band)
        for i in range(len(groups))
        for j in range(i, len(groups))
    ]


@dataclass(frozen=True)
class Exchange:
    """
    Dyads that exchange partners on one occasion, cut to the shortest recording among them.

    Parameters
    ----------
    session, task : int
        Numbers of both.
    block : int [dyad]
        Places of the block's dyads in the design.
    occasion : Occasion
        Rows of those that were there.
    """

    session: int
    task: int
    block: NDArray[np.integer]
    occasion: Occasion


def exchanges(rows: Sequence[DyadRow], design: Repairing) -> tuple[tuple[str, ...], tuple[str, ...], list[Exchange]]:
    """Labels of all sessions and of all tasks, and who exchanges partners in each session and task.

    Raises
    ------
    InputError
        If rates differ, or a dyad has several recordings of one occasion.
    """
    occasions = occasions_of(rows, one_rate=True)
    sessions = tuple(dict.fromkeys(session_label(row.session) for row in rows))
    tasks = tuple(dict.fromkeys(row.task for row in rows))
    return sessions, tasks, [
        Exchange(
            sessions.index(session_label(occasion.rows[0].session)), tasks.index(occasion.rows[0].task), block,
            occasion.of([design.dyads[place] for place in block]),
        )
        for occasion in occasions
        for block in design.blocks
        if {design.dyads[place] for place in block} & set(occasion.by_dyad)
    ]  # fmt: skip


def require_symmetry(axes: Axes, rows: Sequence[DyadRow], measure: str) -> None:
    """Refuse what has no value for two people of whom neither is the first."""
    if axes.regions is not None:
        axes.regions.refuse_by_role(rows)
    if measure_named(measure).directed:
        raise PlanError(
            f"measure {measure!r} asks who is first, and roles='interchangeable' says that nobody is: choose another "
            "measure, or roles='fixed'"
        )
    alone = sorted(set(axes.a) ^ set(axes.b))
    if alone:
        whose = "first" if alone[0] in axes.a else "second"
        raise PlanError(
            f"{axes.noun} {alone[0]!r} is known of {whose} persons only: roles='interchangeable' needs the same names "
            f"of both; rename or leave out {axes.noun}s"
        )
