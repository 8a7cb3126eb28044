"""Memory that a null, synchrony and a test of a study take beside the imported program, known before any work."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass

from ..coupling.band_spec import Spec
from ..inference.repaired_test import BYTES_OF_ROW, bytes_of_test
from ..inference.settings import TestSettings
from ..recordings.memory import held_bytes, in_words
from ..recordings.study_file import StudyFile
from .engine_memory import kept_bytes, pair_bytes, table_bytes, worked_bytes
from .engines import CHANNELS_TOGETHER, EnginePlan
from .epochs import EpochWords, epoch_names
from .pair_values import (
    COLUMNS_BY_BAND,
    SECONDS_AT_ONCE,
    bytes_of_people,
    is_by_band,
    matching_of,
    people_by_band,
    people_of_tile,
)
from .planned import Planned, PlannedRepairing, dyads_job
from .runner import FEATURE_BYTES, KEPT_TABLE_BYTES, Worker
from .surrogate_partners import block_size, draws_of_job
from .surrogate_runs import Request

_OF_NULL, _OF_SYNCHRONY, _OF_TEST = 64 << 20, 112 << 20, 136 << 20  # libraries that each has loaded when it is done
_LOADED = {"scipy.fft": _OF_NULL, "xarray": _OF_SYNCHRONY}
_OF_MEANS, _OF_SHARES, _OF_REAL = 66, 40, 34  # of each value of a row: synchrony, its shares, and what a null keeps
_HEADROOM = 20 * 10**6  # what a process holds before it begins differs by as much
_IN_THE_MAKING = 34  # of each value, until it is in its place


@dataclass(frozen=True)
class Need:
    """
    Memory in bytes of some steps, one after the other.

    Parameters
    ----------
    libraries : int
        What is imported on the way.
    tables : int
        Of the engines, which all steps share.
    deep : int
        Tables of the deeper rank, which recordings with spikes or steps ask for.
    work : int
        What is given back when a step is done.
    kept : int
        What stays until all are done.
    in_file : int
        What stays, and lies in a file where memory is little.
    """

    libraries: int = 0
    tables: int = 0
    deep: int = 0
    work: int = 0
    kept: int = 0
    in_file: int = 0

    def then(self, other: Need) -> Need:
        """Of all steps of both."""
        return Need(
            max(self.libraries, other.libraries), max(self.tables, other.tables), max(self.deep, other.deep),
            max(self.work, other.work), self.kept + other.kept, self.in_file + other.in_file,
        )  # fmt: skip

    @property
    def still(self) -> int:
        """The least, less libraries that are loaded, which the process holds already."""
        loaded = [n_bytes for name, n_bytes in _LOADED.items() if name in sys.modules]
        return self.least - min(self.libraries, max(loaded, default=0))

    @property
    def least(self) -> int:
        """What is refused less than: without what may lie in a file, but whatever the recordings hold."""
        return self.libraries + self.tables + self.deep + self.work + self.kept

    def __str__(self) -> str:
        usual = f"about {in_words(self.least - self.deep + self.in_file)} of memory beside the program"
        deep = f", up to {in_words(self.deep)} more where recordings hold spikes or steps" if self.deep else ""
        least = in_words(held_bytes() + self.still + _HEADROOM)
        in_file = ", with values in a temporary file" if self.in_file else ""
        return f"{usual}{deep}; --memory {least}, the program included, is enough{in_file}"


def need_of_synchrony(study: StudyFile, made: Planned, spec: Spec, epochs: EpochWords, *, shares: bool = False) -> Need:
    """Means of all rows, with one job and its features."""
    n_means, people = len(epoch_names(epochs)) * spec.n_columns, _People(study, made)
    engines, n_rows = _Engines(one.plan for one in made.rows), len(made.rows)
    together = min(max(1, CHANNELS_TOGETHER // people.n_read), n_rows)
    job = together * (2 * people.n_read * engines.worked + engines.of_people(people.n_pairs, n_means))
    n_values = n_rows * n_means * made.axes.mask.size
    kept = n_values * (_OF_MEANS + _OF_SHARES * shares)
    return Need(_OF_SYNCHRONY, *engines.tables, max(job + engines.of_pair, _IN_THE_MAKING * n_values), kept)


def need_of_null(study: StudyFile, made: Planned, request: Request) -> Need:
    """A null of either kind, without synchrony."""
    of_kind = _of_repairing if isinstance(made, PlannedRepairing) else _of_surrogates
    return of_kind(_People(study, made), made, request)


def need_of_test(made: Planned, request: Request) -> Need:
    """A test against a null that is there, and what it gives of each row."""
    n_features = len(epoch_names(request.epochs)) * request.spec.n_columns * made.axes.mask.size
    kept = BYTES_OF_ROW * len(made.rows) * n_features // 2  # half of it is in the making
    work = kept
    if isinstance(made, PlannedRepairing):
        with_neighbours = TestSettings(correct=request.correct).needs_neighbours
        work += bytes_of_test(made.draws, len(made.tasks) * n_features, with_neighbours=with_neighbours)
    return Need(_OF_TEST, work=work, kept=kept)


def _of_repairing(people: _People, made: Planned, request: Request) -> Need:
    assert isinstance(made, PlannedRepairing)
    n_means = len(epoch_names(request.epochs)) * request.spec.n_columns
    n_features, n_people = n_means * made.axes.mask.size, max(len(one.occasion.rows) for one, _, _ in made.exchanges)
    engines = _Engines(plan for *_, plan in made.exchanges)
    longest = max((plan for *_, plan in made.exchanges if plan.computable), key=lambda plan: plan.n_samples)
    worker = Worker("numpy")
    matching = matching_of(made.axes, made.controls, request.roles, worker, longest, people.n_read)
    n_pairs = people.n_pairs if matching is None else len(matching)
    n_tile = min(n_people, people_of_tile(FEATURE_BYTES, engines.worked * people.n_read, n_pairs, n_means))
    tile = engines.of_people(n_pairs, n_means) * n_tile**2 + 2 * n_tile * people.n_read * engines.worked
    features = min(FEATURE_BYTES, 2 * n_people * people.n_read * engines.kept)
    if is_by_band(worker, longest, people.n_read):
        first = min(n_people, people_by_band(worker, longest, people.n_read))
        of_band = first * people.n_read * engines.worked // len(request.spec.bands or {"": 0})
        tile, features = 8 * first * min(n_people, COLUMNS_BY_BAND) * people.n_pairs * n_means, of_band
        features += SECONDS_AT_ONCE * of_band // first + 8 * first * people.n_read * longest.n_samples
    kept = _OF_REAL * n_features * len(made.rows)
    values = 4 * len(made.sessions) * made.draws.design.n_people**2 * len(made.tasks) * n_features
    return Need(_OF_NULL, *engines.tables, tile + features + engines.of_pair, kept, values)


def _of_surrogates(people: _People, made: Planned, request: Request) -> Need:
    n_means = len(epoch_names(request.epochs)) * request.spec.n_columns
    n_rows, n_features = len(made.rows), n_means * made.axes.mask.size
    engines, n_read = _Engines(one.plan for one in made.rows), people.n_read
    block, n_job = block_size(n_read, engines.n_samples), draws_of_job(n_read, engines.n_samples)
    drawn = 2 * block * n_read * (engines.worked + 16 * engines.n_samples)
    drawn += block * engines.of_people(people.n_pairs, n_means)
    signals = min(FEATURE_BYTES, 2 * n_rows * n_read * engines.kept)
    work = drawn + signals + 24 * n_job * n_features + engines.of_pair
    kept = n_rows * (100 * n_features + 8 * request.n)
    values = 0 if request.stop_at is not None else (request.n + 1) * n_rows * n_features * request.dtype.itemsize
    return Need(_OF_NULL, *engines.tables, work, kept, values)


class _People:
    """Signals that are read of a person, and pairs of two persons that are computed, whatever is made of them."""

    def __init__(self, study: StudyFile, made: Planned) -> None:
        a, b = dyads_job(study, made.rows[:1], "", made).people
        self.n_read = max(a.n_read, b.n_read)
        self.n_pairs = a.n_paired * b.n_paired


class _Engines:
    """What the largest of several engines takes of a channel, and the tables of as many as are kept."""

    def __init__(self, plans: Iterable[EnginePlan]) -> None:
        by_key = {plan.key: plan for plan in plans if plan.computable}
        longest = max(by_key.values(), key=lambda plan: plan.n_samples)
        engine, self.n_samples = Worker("numpy").engine(longest), longest.n_samples
        plan, self._n_threads = engine.plan, getattr(engine.backend, "n_threads", 1)
        self.kept, self.worked, self.of_pair = kept_bytes(plan), worked_bytes(plan), pair_bytes(plan)
        first, deep = table_bytes(plan)
        n_held = min(len(by_key), max(1.0, KEPT_TABLE_BYTES / max(1, first + deep)))
        self.tables = int(n_held * first), int(n_held * deep)

    def of_people(self, n_pairs: int, n_means: int) -> int:
        """What comes out of two people while it is computed; every thread has parts of it in hand."""
        return bytes_of_people(n_pairs, n_means) * (2 + self._n_threads) // 8
