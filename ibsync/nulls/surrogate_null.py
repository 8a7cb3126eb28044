"""The null distribution of surrogate partners: draws are kept until all are there, then counted.

For each row (dyad x session) and feature the draws that reach the observed value are counted, and so are those of the
mean over the rows of each task. What standardises them for the maximum is the mean and deviation of all values, the
observed one among them. Sequential nulls are counted as they are drawn, and have no maximum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..coupling.backends.cuda.device import Device
from ..coupling.measures import measure_in
from ..errors import PlanError
from ..recordings.memory import release
from ..recordings.notebook import labels_in, table_html
from .counts import (
    RANGE_VALUES,
    Exceedances,
    FixedPointSums,
    Histogram,
    Maxima,
    Observed,
    StepDown,
    moments,
    ranges,
    tie_tolerance,
)
from .draws import check_n
from .tails import Tail

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

LARGEST_N = 8_000_000
"""Beyond this the sums of squares could overflow."""
Room = Callable[[tuple[int, ...], Any], NDArray[Any]]
"""Makes zeros of a shape and a dtype, in memory or in a file."""

STEP = 64
"""Draws that are counted together unless told otherwise."""


class Source(Protocol):
    """Where the values of one row come from."""

    @property
    def block(self) -> int:
        """Draws computed together: a power of two that depends on the row, and on a GPU on its memory."""

    @property
    def device(self) -> Device | None:
        """The GPU on which values lie; None on the host."""

    def values(self, draws: Integers) -> Any:
        """Values of some draws, 0 being the recording itself: float64 [draw, ...feature axes] of the device."""


@dataclass
class Tally:
    """
    Counts of one row, or of the mean over rows.

    Parameters
    ----------
    standard : Observed
        Of its features, [feature]; mean and deviation are NaN until all draws are there.
    exceedances : Exceedances
    step_down : StepDown
        Draws whose maximum over the features of no more evidence reaches the feature's.
    moments : FixedPointSums
        Of the draws that were counted.
    maxima : Maxima
        Largest evidence of each draw.
    stopped_at : int64 [feature]
        Number of the draw at which a sequential count stopped; 0 while it goes on.
    """

    standard: Observed
    exceedances: Exceedances
    step_down: StepDown
    moments: FixedPointSums
    maxima: Maxima
    stopped_at: Integers

    @classmethod
    def empty(cls, observed: Floats, dtype: np.dtype[np.floating], n_draws: int) -> Tally:
        """Nothing counted yet, with room for draws 1 to `n_draws`."""
        n, unknown = len(observed), np.full(len(observed), np.nan)
        return cls(
            Observed(observed, unknown, unknown, tie_tolerance(observed, dtype)), Exceedances.zeros(n),
            StepDown.zeros(n), FixedPointSums.zeros(n), Maxima.empty(1, n_draws + 1), np.zeros(n, np.int64),
        )  # fmt: skip

    @property
    def limits(self) -> tuple[Floats, Floats]:
        """Observed statistic minus and plus its tolerance."""
        return self.standard.statistic - self.standard.tolerance, self.standard.statistic + self.standard.tolerance

    def agrees(self, other: Tally) -> bool:
        """Whether another processor may have computed the other: equal within the tolerance for ties."""
        one, two = self.standard.statistic, other.standard.statistic
        same_missing = np.array_equal(np.isnan(one), np.isnan(two))
        return same_missing and not (np.abs(one - two) > self.standard.tolerance).any()

    def count(self, drawn: Callable[[int, int], Floats], n: int, tail: Tail) -> None:
        """
        Count all draws, standardised by all values.

        Parameters
        ----------
        drawn : callable
            ``drawn(start, stop)`` gives draws `start` to `stop` - 1, float64 [draw, feature], draw 0 the observed one.
        n : int
        tail : {"greater", "less", "two-sided"}
        """
        values = moments(drawn, n)
        self.standard = s = replace(self.standard, mean=values.mean, sd=values.sd)
        order = s.order(tail)
        bar = (s.evidence(s.statistic, tail) - s.z_tolerance)[order]
        stepped = StepDown.zeros(len(order))
        for start, stop in ranges(1, n + 1, max(64, RANGE_VALUES // max(1, len(s.statistic)))):
            of_draws = drawn(start, stop)
            self.exceedances.add(of_draws, *self.limits)
            self.moments.add(of_draws)
            if len(order):
                largest = np.full(stop - start, -np.inf)
                stepped.add(s.evidence(of_draws, tail)[:, order], bar, largest)
                self.maxima.add(start, largest)
        self.step_down.counts[order] = stepped.counts

    def add_until(self, first: int, values: Floats, tail: Tail, stop_at: int) -> None:
        """Count each feature until `stop_at` draws have reached it (Besag and Clifford 1991)."""
        low, high = self.limits
        reached = values >= low if tail == "greater" else values <= high
        counts = self.exceedances.at_least if tail == "greater" else self.exceedances.at_most
        so_far = counts + np.cumsum(reached, axis=0)
        # A draw is looked at while fewer than `stop_at` came before it.
        before = np.vstack([counts[None], so_far[:-1]])
        looked_at = np.where(before < stop_at, values, np.nan)
        self.exceedances.add(looked_at, low, high)
        self.moments.add(looked_at)
        ended = (self.stopped_at == 0) & (so_far[-1] >= stop_at)
        self.stopped_at[ended] = first + np.argmax(so_far >= stop_at, axis=0)[ended]


@dataclass(repr=False)
class SurrogateNull:
    """
    Surrogate draws of every row, counted for rows and for the mean over rows once all are there.

    Parameters
    ----------
    kind : str
        Family of the null.
    n : int
        Draws wanted.
    seed : int
    tail : {"greater", "less", "two-sided"}
        Direction of the maxima and of the sequential counts.
    rows : tuple of str
        Label of each row.
    by_row : list of Tally
    together : Tally
        Of the mean over the rows of each task: [task x feature of a row].
    groups : int64 [task x feature of a row]
        Task x epoch x band of each feature.
    task_of_row : int64 [row]
        Number of each row's task; a task is a condition, over which no mean is taken.
    pooled : float32 [draw 0..n, group]
        Mean over a task's rows and channel pairs of each draw; NaN where it was not drawn. Draw 0 is the observed one.
    values : float [draw 0..n, row, feature of a row], optional
        Draws that are there, until all are and have been counted; None for a sequential null.
    done : list of (start, stop)
        Ranges of draws that are there, disjoint and ascending.
    stop_at : int, optional
        Sequential counts stop at this many draws that reach the observed value; there is no group test then.
    attrs : mapping
        Whatever the maker wants carried along: labels of the features, spec, accuracy, backend, study hash.
    """

    kind: str
    n: int
    seed: int
    tail: Tail
    rows: tuple[str, ...]
    by_row: list[Tally]
    together: Tally
    groups: Integers
    task_of_row: Integers
    pooled: NDArray[np.float32]
    values: NDArray[np.floating] | None = None
    done: list[tuple[int, int]] = field(default_factory=list)
    stop_at: int | None = None
    attrs: Mapping[str, object] = field(default_factory=dict)

    def __repr__(self) -> str:
        counted = sum(stop - start for start, stop in self.done)
        size = f"{len(self.rows)} rows, {len(self.groups)} features"
        return f"SurrogateNull({self.kind!r}, {counted} of {self.n} draws of {size}, seed {self.seed})"

    def _repr_html_(self) -> str:
        return table_html(repr(self), labels_in(self.attrs))

    @classmethod
    def begin(
        cls,
        values_of_rows: Iterable[Floats],
        *,
        kind: str,
        n: int,
        seed: int,
        tail: Tail,
        rows: Sequence[str],
        groups: Integers,
        dtype: np.dtype[np.floating],
        task_of_row: Integers | None = None,
        stop_at: int | None = None,
        attrs: Mapping[str, object] | None = None,
        room: Room = np.zeros,
    ) -> SurrogateNull:
        """
        The observed values, before anything is drawn.

        Parameters
        ----------
        values_of_rows : iterable of float64 [feature]
            From `observed_values`, one per row.
        kind, n, seed, tail, rows, groups, stop_at, attrs
            As the attributes.
        dtype : dtype
            Precision behind the values.
        task_of_row : int64 [row], optional
            As the attribute; by default there is one task.
        room : callable
            Makes the array of all draws, of a shape and a dtype, such as `memory.Budget.array`.
        """
        check_n(n, LARGEST_N, str(LARGEST_N))
        if stop_at is not None and (isinstance(stop_at, bool) or not isinstance(stop_at, int) or stop_at < 1):
            raise PlanError(f"stop_at={stop_at!r} must be a whole number of at least 1")
        if stop_at is not None and tail == "two-sided":
            raise PlanError("stop_at counts one tail: use tail='greater' or 'less', or leave stop_at out")
        task_of_row = np.zeros(len(rows), np.int64) if task_of_row is None else task_of_row
        observed = np.stack([*values_of_rows])
        means = _means(observed[None], task_of_row)
        pooled = np.full((n + 1, int(groups.max(initial=0)) + 1), np.nan, np.float32)
        pooled[0] = _group_means(means, groups)[0]
        null = cls(
            kind, n, seed, tail, tuple(rows), [Tally.empty(row, dtype, n) for row in observed],
            Tally.empty(means[0], dtype, n), groups, task_of_row, pooled, None, [], stop_at, attrs or {},
        )  # fmt: skip
        if stop_at is None:
            null.make_room(dtype, room)
        return null

    def make_room(self, dtype: np.dtype[np.floating], room: Room = np.zeros) -> None:
        """Room for all draws, the observed one in its place; memory is taken as it is filled."""
        self.values = room((self.n + 1, *self.observed.shape), dtype)
        self.values[0] = self.observed

    @property
    def observed(self) -> Floats:
        """Observed statistic of each row, float64 [row, feature]."""
        return np.stack([tally.standard.statistic for tally in self.by_row])

    @property
    def n_features(self) -> int:
        """Number of features of the group test."""
        return len(self.groups)

    @property
    def complete(self) -> bool:
        """Whether all draws have been counted."""
        return self.done == [(1, self.n + 1)]

    @property
    def min_p(self) -> float:
        """Smallest p that these draws can give."""
        return 1.0 / (self.n + 1)

    def steps(self, start: int, stop: int, size: int = STEP) -> list[tuple[int, int]]:
        """`steps`, after a check that no draw was counted before."""
        self._require_new(start, stop)
        return steps(start, stop, size)

    def put(self, start: int, row: int, values: NDArray[np.floating]) -> None:
        """Put draws `start`, `start` + 1, ... of one row in their place: values [draw, feature]."""
        assert self.values is not None
        self.values[start : start + len(values), row] = values
        release(self.values)

    def take_in(self, start: int, stop: int) -> None:
        """Take in draws `start` to `stop` - 1, which all rows have in their place; the state is whole after it."""
        self._require_new(start, stop)
        self.pooled[start:stop] = _group_means(self._means(start, stop), self.groups)
        self.done = _joined([*self.done, (start, stop)])
        self._count()

    def _means(self, start: int, stop: int) -> Floats:
        assert self.values is not None
        return _means(self.values[start:stop], self.task_of_row)

    def _count(self) -> None:
        """Count once all draws are there; then these are given up."""
        if not self.complete or self.values is None:
            return
        for row, tally in enumerate(self.by_row):
            tally.count(partial(_rows_of, self.values[:, row]), self.n, self.tail)
            release(self.values)
        self.together.count(self._means, self.n, self.tail)
        self.values = None

    def going_on(self) -> list[int]:
        """Rows of a sequential null that have features which have not stopped."""
        return [row for row, tally in enumerate(self.by_row) if not _all_stopped(tally)]

    def add_until(self, start: int, stop: int, values_of: Mapping[int, Floats]) -> None:
        """Count draws `start` to `stop` - 1 of a sequential null: values [draw, feature] of each row that goes on."""
        assert self.stop_at is not None
        if start != (self.done[-1][1] if self.done else 1):
            raise PlanError("a sequential null (stop_at) counts its draws in order: leave draws= out")
        for row, values in values_of.items():
            self.by_row[row].add_until(start, values, self.tail, self.stop_at)
        self.done = _joined([*self.done, (start, stop)])
        if not self.going_on():
            self.done = [(1, self.n + 1)]
        if self.complete:
            self._describe()

    def _describe(self) -> None:
        """Mean and deviation of the draws that a sequential count looked at."""
        for tally in [*self.by_row, self.together]:
            tally.standard = replace(tally.standard, mean=tally.moments.mean(), sd=tally.moments.sd())

    def merge(self, other: SurrogateNull) -> None:
        """
        Take in other draws; the observed values stay those of this part.

        Raises
        ------
        PlanError
            If the two are not parts of one null, or a draw is in both.
        """
        for name in ("kind", "n", "seed", "tail", "rows", "stop_at"):
            ours, theirs = getattr(self, name), getattr(other, name)
            if ours != theirs:
                raise PlanError(f"parts of a null differ in {name} ({ours!r} and {theirs!r}): compute them alike")
        if self.stop_at is not None:
            raise PlanError("a sequential null (stop_at) counts its draws in order and cannot be merged from parts")
        if not all(mine.agrees(its) for mine, its in zip(self.by_row, other.by_row, strict=True)):
            raise PlanError("parts of a null have different observed values: compute them from one study, alike")
        for start, stop in other.done:
            self._require_new(start, stop)
        assert self.values is not None
        assert other.values is not None
        for start, stop in other.done:
            self.values[start:stop] = other.values[start:stop]
            self.pooled[start:stop] = other.pooled[start:stop]
        self.done = _joined([*self.done, *other.done])
        self._count()

    def histogram(self) -> Histogram:
        """Draws of the pooled statistic in equal bins over the measure's range: counts int64 [group, bin]."""
        histogram, (low, high) = Histogram.zeros(self.pooled.shape[1]), measure_in(self.attrs).range
        histogram.add((self.pooled[1:].astype(np.float64) - low) / (high - low))
        return histogram

    def _require_new(self, start: int, stop: int) -> None:
        if not 1 <= start < stop <= self.n + 1:
            raise PlanError(f"draws {start} to {stop - 1} are not among draws 1 to {self.n}")
        for first, end in self.done:
            if start < end and first < stop:
                raise PlanError(f"draws {max(start, first)} to {min(stop, end) - 1} have been counted already")


def steps(start: int, stop: int, size: int) -> list[tuple[int, int]]:
    """Ranges of draws that are computed together.

    They end where blocks end (`drawn`), so that no source computes a block twice.

    Parameters
    ----------
    start, stop : int
        Draws `start` to `stop` - 1.
    size : int
        Draws of a range: a power of two, at least as many as any source computes together.
    """
    return list(pairwise([start, *range(1 + size * -(-start // size), stop, size), stop]))


def _rows_of(values: NDArray[np.floating], start: int, stop: int) -> Floats:
    return values[start:stop].astype(np.float64)


def _means(values: NDArray[np.floating], task_of_row: Integers) -> Floats:
    """Mean over the rows of each task, leaving out what is missing: [draw, task x feature], of [draw, row, feature]."""
    shape = (int(task_of_row.max(initial=0)) + 1, len(values), values.shape[2])
    total, count = np.zeros(shape), np.zeros(shape, np.int32)
    for row, task in enumerate(task_of_row):
        present = np.isfinite(values[:, row])
        total[task] += np.where(present, values[:, row], 0)
        count[task] += present
    means = np.divide(total, count, out=np.full(shape, np.nan), where=count > 0)
    return np.concatenate(means, axis=1)


def observed_values(source: Source) -> Floats:
    """Values of the recording itself, float64 [feature]."""
    observed: Floats = some_values(source, np.zeros(1, np.int64))[0]
    return observed


def some_values(source: Source, draws: Integers) -> Floats:
    """Values of some draws, which are not those of a null to the last bit: float64 [draw, feature]."""
    with _active(source.device):
        return np.asarray(_on_host(source.device, _flat(source.values(draws))))


def drawn_values(source: Source, start: int, stop: int) -> Floats:
    """Values of draws `start` to `stop` - 1 of a row, float64 [draw, feature]."""
    with _active(source.device):
        return _on_host(source.device, drawn(source, start, stop))


def drawn(source: Source, start: int, stop: int) -> Any:
    """
    Values of draws `start` to `stop` - 1, the same to the last bit whatever the range.

    How a matrix product rounds depends on its shape, so draws are always computed in the same company: blocks that
    begin at draw 1 + a multiple of the block size, from which those outside the range are dropped.

    Parameters
    ----------
    source : Source
    start, stop : int
        Both at least 1.

    Returns
    -------
    float64 [draw, feature], where the source has its values
    """
    size, xp = source.block, np if source.device is None else source.device.xp
    parts = []
    for first in range(1 + (start - 1) // size * size, stop, size):
        values = _flat(source.values(np.arange(first, first + size, dtype=np.int64)))
        parts.append(values[max(start - first, 0) : stop - first])
    return xp.concatenate(parts)


def _flat(values: Any) -> Any:
    return values.reshape(len(values), -1)


def _active(device: Device | None) -> AbstractContextManager[None]:
    """Context in which arrays of a source are combined."""
    return nullcontext() if device is None else device.active()


def _on_host(device: Device | None, values: Any) -> Floats:
    found: Floats = values if device is None else device.to_host(values)
    return found


def _group_means(values: Floats, groups: Integers) -> Floats:
    """Mean over the features of each group, [draw, group], leaving out what is missing."""
    present = np.isfinite(values)
    member = (groups[:, None] == np.arange(groups.max(initial=0) + 1)).astype(np.float64)
    count = present.astype(np.float64) @ member
    total: Floats = np.where(present, values, 0) @ member
    return np.asarray(np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0))


def _all_stopped(tally: Tally) -> bool:
    return bool(np.all((tally.stopped_at > 0) | ~np.isfinite(tally.standard.statistic)))


def _joined(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ascending ranges, those that touch made one."""
    out: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if out and out[-1][1] == start:
            out[-1] = (out[-1][0], stop)
        else:
            out.append((start, stop))
    return out
