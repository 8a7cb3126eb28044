"""The null distribution of surrogate partners, counted while it is drawn: no array holds draws x features.

For each row (dyad x session) and feature the draws that reach the observed value are counted, and so are those of the
mean over the rows of each task. Everything counted is an integer, or filed under its draw number, so that ranges of
draws computed apart merge into what one run gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..coupling.backends.cuda.device import Device
from ..coupling.measures import measure_in
from ..errors import PlanError
from .counts import OUTPUT_BINS, Exceedances, FixedPointSums, Histogram, Maxima, Observed, StepDown
from .draw_counts_on_device import Thresholds, count
from .draws import check_n
from .tails import Tail

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

FIRST_MOMENT_DRAW = (1 << 31) + 1
"""Draws from here on only serve mean and standard deviation; a fixed function of the data keeps a test exact."""
MOMENT_DRAWS = 128
LARGEST_N = 8_000_000
"""Beyond this the sums of squares could overflow."""

# Draws between two moments at which the state is whole; a multiple of every source's block.
_STEP = 64


class Source(Protocol):
    """Where the values of one row come from."""

    @property
    def block(self) -> int:
        """Draws computed together: a power of two, at most 64, that depends on the row alone."""

    @property
    def device(self) -> Device | None:
        """The GPU on which values lie; None on the host."""

    def values(self, draws: Integers) -> Any:
        """Values of some draws, 0 being the recording itself: float64 [draw, ...feature axes] of the device."""


@dataclass(frozen=True)
class Counted:
    """
    Counts of some draws of a row, or of the mean over rows.

    Parameters
    ----------
    exceedances : Exceedances
    reached : int64 [feature]
        Draws whose maximum over the features of no more evidence reaches the feature's.
    moments : FixedPointSums
    largest : float64 [draw], optional
        Largest evidence of each draw; None where no feature was tested.
    """

    exceedances: Exceedances
    reached: Integers
    moments: FixedPointSums
    largest: Floats | None = None


@dataclass(frozen=True)
class Step:
    """
    Counts of draws `start` to `stop` - 1.

    Parameters
    ----------
    start, stop : int
    by_row : tuple of Counted
    together : Counted
        Of the mean over the rows of each task.
    pooled : float64 [draw, group]
        Mean over a task's rows and channel pairs.
    """

    start: int
    stop: int
    by_row: tuple[Counted, ...]
    together: Counted
    pooled: Floats


@dataclass
class Standard(Observed):
    """Observed statistic of one row, or of the mean over rows, and the counts of draws against it."""

    _there: Thresholds | None = field(default=None, init=False, repr=False, compare=False)

    def count(self, values: Any, tail: Tail, device: Device | None = None) -> Counted:
        """Counts of some draws: values [draw, feature] of the device; a missing one is no evidence."""
        if device is not None:
            return self._count_there(device, values, tail)
        n, order = len(self.statistic), self.order(tail)
        counted = Counted(Exceedances.zeros(n), np.zeros(n, np.int64), FixedPointSums.zeros(n))
        counted.exceedances.add(values, self.statistic - self.tolerance, self.statistic + self.tolerance)
        counted.moments.add(values)
        if not len(order):
            return counted
        evidence = self.evidence(values, tail)[:, order]
        observed = self.evidence(self.statistic, tail)[order]
        step_down, largest = StepDown.zeros(len(order)), np.full(len(values), -np.inf)
        step_down.add(evidence, observed - self.z_tolerance[order], largest)
        counted.reached[order] = step_down.counts
        return replace(counted, largest=largest)

    def agrees(self, other: Standard) -> bool:
        """Whether another processor may have computed the other: equal within the tolerance for ties."""
        differences = np.abs(self.statistic - other.statistic)
        same_missing = np.array_equal(np.isnan(self.statistic), np.isnan(other.statistic))
        return same_missing and not (differences > self.tolerance).any()

    def _count_there(self, device: Device, values: Any, tail: Tail) -> Counted:
        """The same integers from values that stay where they are."""
        order = self.order(tail)
        if self._there is None:
            bar = (self.evidence(self.statistic, tail) - self.z_tolerance)[order]
            limits = (self.statistic - self.tolerance, self.statistic + self.tolerance)
            self._there = Thresholds.on(device, *limits, self.mean, self.scale, order.astype(np.int32), bar)
        found = count(device, values, self._there, tail)
        reached = np.zeros(len(self.statistic), np.int64)
        reached[order] = found.reached
        largest = found.largest if len(order) else None
        return Counted(Exceedances(*found.exceeded), reached, FixedPointSums(*found.sums), largest)


@dataclass
class Tally:
    """
    Counts of one row, or of the mean over rows.

    Parameters
    ----------
    standard : Standard
        Of its features, [feature].
    exceedances : Exceedances
    step_down : StepDown
        Tested features in ascending order of evidence.
    moments : FixedPointSums
    maxima : Maxima
        Largest evidence of each draw.
    stopped_at : int64 [feature]
        Number of the draw at which a sequential count stopped; 0 while it goes on.
    """

    standard: Standard
    exceedances: Exceedances
    step_down: StepDown
    moments: FixedPointSums
    maxima: Maxima
    stopped_at: Integers

    @classmethod
    def empty(cls, standard: Standard, n_draws: int) -> Tally:
        """Nothing counted yet, with room for draws 1 to `n_draws`."""
        n = len(standard.statistic)
        return cls(
            standard, Exceedances.zeros(n), StepDown.zeros(n), FixedPointSums.zeros(n), Maxima.empty(1, n_draws + 1),
            np.zeros(n, np.int64),
        )  # fmt: skip

    def add(self, first: int, counted: Counted) -> None:
        """Add the counts of draws `first`, `first` + 1, ..."""
        self.exceedances.merge(counted.exceedances)
        self.step_down.counts += counted.reached
        self.moments.merge(counted.moments)
        if counted.largest is not None:
            self.maxima.add(first, counted.largest)

    def add_until(self, first: int, values: Floats, tail: Tail, stop_at: int) -> None:
        """Count each feature until `stop_at` draws have reached it (Besag and Clifford 1991)."""
        standard = self.standard
        low, high = standard.statistic - standard.tolerance, standard.statistic + standard.tolerance
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

    def merge(self, other: Tally) -> None:
        """Add the counts of other draws."""
        self.exceedances.merge(other.exceedances)
        self.step_down.merge(other.step_down)
        self.moments.merge(other.moments)
        self.maxima.merge(other.maxima)


@dataclass(repr=False)
class SurrogateNull:
    """
    Counts of surrogate draws for every row and for the mean over rows.

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
    done : list of (start, stop)
        Ranges of draws that have been counted, disjoint and ascending.
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
    done: list[tuple[int, int]] = field(default_factory=list)
    stop_at: int | None = None
    attrs: Mapping[str, object] = field(default_factory=dict)

    def __repr__(self) -> str:
        counted = sum(stop - start for start, stop in self.done)
        size = f"{len(self.rows)} rows, {len(self.groups)} features"
        return f"SurrogateNull({self.kind!r}, {counted} of {self.n} draws of {size}, seed {self.seed})"

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
    ) -> SurrogateNull:
        """
        The observed values and their moments, before any draw is counted.

        Parameters
        ----------
        values_of_rows : iterable of float64 [draw, feature]
            From `observed_values`, one per row.
        kind, n, seed, tail, rows, groups, stop_at, attrs
            As the attributes.
        dtype : dtype
            Precision behind the values.
        task_of_row : int64 [row], optional
            As the attribute; by default there is one task.
        """
        check_n(n, LARGEST_N, str(LARGEST_N))
        if stop_at is not None and (isinstance(stop_at, bool) or not isinstance(stop_at, int) or stop_at < 1):
            raise PlanError(f"stop_at={stop_at!r} must be a whole number of at least 1")
        if stop_at is not None and tail == "two-sided":
            raise PlanError("stop_at counts one tail: use tail='greater' or 'less', or leave stop_at out")
        task_of_row = np.zeros(len(rows), np.int64) if task_of_row is None else task_of_row
        by_row, totals = [], _Means(1 + MOMENT_DRAWS, len(groups), task_of_row)
        for values, task in zip(values_of_rows, task_of_row, strict=True):
            by_row.append(Tally.empty(Standard.of(values[0], values[1:], dtype), n))
            totals.add(values, task)
        means = totals.means()
        together = Tally.empty(Standard.of(means[0], means[1:], dtype), n)
        pooled = np.full((n + 1, int(groups.max(initial=0)) + 1), np.nan, np.float32)
        pooled[0] = _group_means(means[:1], groups)[0]
        return cls(
            kind, n, seed, tail, tuple(rows), by_row, together, groups, task_of_row, pooled, [], stop_at, attrs or {}
        )

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

    @property
    def standards(self) -> Standards:
        """What draws are counted against."""
        by_row = tuple(tally.standard for tally in self.by_row)
        return Standards(by_row, self.together.standard, self.groups, self.task_of_row, self.tail)

    def steps(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Ranges of draws that are counted together, after a check that none was counted before."""
        self._require_new(start, stop)
        return [(first, min(first + _STEP, stop)) for first in range(start, stop, _STEP)]

    def add(self, step: Step) -> None:
        """Add the counts of a step; the state is whole after it."""
        self._require_new(step.start, step.stop)
        for tally, counted in zip([*self.by_row, self.together], [*step.by_row, step.together], strict=True):
            tally.add(step.start, counted)
        self.pooled[step.start : step.stop] = step.pooled
        self.done = _joined([*self.done, (step.start, step.stop)])

    def count_until(self, sources: Sequence[Source], start: int, stop: int) -> Iterator[int]:
        """
        Count draws `start` to `stop` - 1 one after the other, until every feature has stopped.

        Yields
        ------
        int
            Number of the first draw that is still to be counted; the state is whole at that moment.
        """
        assert self.stop_at is not None
        if start != (self.done[-1][1] if self.done else 1):
            raise PlanError("a sequential null (stop_at) counts its draws in order: leave draws= out")
        for first, end in self.steps(start, stop):
            for source, tally in zip(sources, self.by_row, strict=True):
                if not _all_stopped(tally):
                    with _active(source.device):
                        values = _on_host(source.device, drawn(source, first, end))
                    tally.add_until(first, values, self.tail, self.stop_at)
            self.done = _joined([*self.done, (first, end)])
            if all(_all_stopped(tally) for tally in self.by_row):
                self.done = [(1, self.n + 1)]
                return
            yield end

    def merge(self, other: SurrogateNull) -> None:
        """
        Add the counts of other draws; the observed values stay those of this part.

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
        if not all(mine.standard.agrees(its.standard) for mine, its in zip(self.by_row, other.by_row, strict=True)):
            raise PlanError("parts of a null have different observed values: compute them from one study, alike")
        for start, stop in other.done:
            self._require_new(start, stop)
        for mine, its in zip([*self.by_row, self.together], [*other.by_row, other.together], strict=True):
            mine.merge(its)
        for start, stop in other.done:
            self.pooled[start:stop] = other.pooled[start:stop]
        self.done = _joined([*self.done, *other.done])

    def histogram(self) -> Histogram:
        """Draws of the pooled statistic in equal bins over the measure's range: counts int64 [group, bin]."""
        histogram, (low, high) = Histogram.zeros(self.pooled.shape[1], OUTPUT_BINS), measure_in(self.attrs).range
        histogram.add((self.pooled[1:].astype(np.float64) - low) / (high - low))
        return histogram

    def _require_new(self, start: int, stop: int) -> None:
        if not 1 <= start < stop <= self.n + 1:
            raise PlanError(f"draws {start} to {stop - 1} are not among draws 1 to {self.n}")
        for first, end in self.done:
            if start < end and first < stop:
                raise PlanError(f"draws {max(start, first)} to {min(stop, end) - 1} have been counted already")


@dataclass(frozen=True)
class Standards:
    """
    What the draws of all rows are counted against.

    Parameters
    ----------
    by_row : tuple of Standard
    together : Standard
        Of the mean over the rows of each task.
    groups, task_of_row
        As `SurrogateNull`.
    tail : {"greater", "less", "two-sided"}
    """

    by_row: tuple[Standard, ...]
    together: Standard
    groups: Integers
    task_of_row: Integers
    tail: Tail

    def count(self, sources: Sequence[Source], start: int, stop: int) -> Step:
        """Counts of draws `start` to `stop` - 1 of all rows."""
        with _active(sources[0].device):
            return self._count(sources, start, stop)

    def _count(self, sources: Sequence[Source], start: int, stop: int) -> Step:
        device, rows = sources[0].device, []
        totals = _Means(stop - start, len(self.groups), self.task_of_row, np if device is None else device.xp)
        for source, standard, task in zip(sources, self.by_row, self.task_of_row, strict=True):
            values = drawn(source, start, stop)
            rows.append(standard.count(values, self.tail, device))
            totals.add(values, task)
        means = totals.means()
        together = self.together.count(means, self.tail, device)
        return Step(start, stop, tuple(rows), together, _group_means(_on_host(device, means), self.groups))


class _Means:
    """Mean over the rows of each task of each draw and feature, leaving out what is missing."""

    def __init__(self, n_draws: int, n_features: int, task_of_row: Integers, xp: Any = np) -> None:
        self._xp, n_tasks = xp, int(task_of_row.max()) + 1
        self.total, self.count = xp.zeros((2, n_tasks, n_draws, n_features // n_tasks))

    def add(self, values: Any, task: int) -> None:
        present = self._xp.isfinite(values)
        self.total[task] += self._xp.where(present, values, 0)
        self.count[task] += present

    def means(self) -> Any:
        some = self.count > 0
        means = self._xp.where(some, self.total / self._xp.where(some, self.count, 1), np.nan)
        return self._xp.swapaxes(means, 0, 1).reshape(means.shape[1], -1)


def observed_values(source: Source) -> Floats:
    """Values of the recording itself, and of the draws behind mean and standard deviation: float64 [draw, feature]."""
    with _active(source.device):
        observed = _flat(source.values(np.zeros(1, np.int64)))
        moments = drawn(source, FIRST_MOMENT_DRAW, FIRST_MOMENT_DRAW + MOMENT_DRAWS)
        return np.vstack([_on_host(source.device, part) for part in (observed, moments)])


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
