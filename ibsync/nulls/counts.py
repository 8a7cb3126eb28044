"""Counts that are exact and merge by addition: the same integers from any split of the draws or features.

Each accumulator takes a batch of draws with `add` and another accumulator with `merge`. What they hold is integers,
or maxima filed under their draw number, so neither the order nor the size of the batches can be told from the result.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .tails import Tail, oriented

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

RANGE_VALUES = 1 << 20
"""Values (draws x features) that are made in one piece."""
FLOAT32_TOLERANCE = 1e-6
OUTPUT_BINS = 4096
_SUM_SCALE = 2.0**32
_SQUARE_SCALE = 2.0**20
_MOST_DRAWS = 8_000_000
# A column of this many ones still fits the 16-bit partial sums below.
_COUNT_ROWS = 65_535


def tie_tolerance(observed: Floats, dtype: np.dtype[np.floating]) -> Floats:
    """
    How far below the observed statistic a draw still counts as reaching it.

    ``max(1e-12, 100 eps |T|)`` for float64 values, at least 1e-6 for values that were computed in float32.

    Parameters
    ----------
    observed : float64 [feature]
        Observed statistic T.
    dtype : dtype
        Precision in which the values behind T were computed.

    Returns
    -------
    float64 [feature]
    """
    tolerance = np.maximum(1e-12, 100 * np.finfo(np.float64).eps * np.abs(observed))
    return np.maximum(tolerance, FLOAT32_TOLERANCE) if dtype == np.float32 else tolerance


@dataclass
class Observed:
    """
    Observed statistic, and what it is measured in.

    Parameters
    ----------
    statistic, mean, sd : float64 [..., feature]
        Observed value, NaN where nothing is tested; mean and standard deviation over draws, the observed one among
        them, so that neither depends on which of them was observed.
    tolerance : float64 [..., feature]
        How far below the observed value a draw still reaches it.
    """

    statistic: Floats
    mean: Floats
    sd: Floats
    tolerance: Floats

    @property
    def scale(self) -> Floats:
        """What standardises: 1 / sd, and 0 where the spread is rounding."""
        return np.divide(1.0, self.sd, out=np.zeros_like(self.sd), where=self.sd > self.tolerance)

    def z(self, values: Floats) -> Floats:
        """Standardised values; 0 where the spread is rounding, NaN where there is none."""
        return np.asarray((values - self.mean) * self.scale)

    @property
    def shown_z(self) -> Floats:
        """Standardised observed value, NaN where draws do not differ."""
        return np.where(self.sd > 0, self.z(self.statistic), np.nan)

    @property
    def z_tolerance(self) -> Floats:
        """Tie tolerance on the scale of z."""
        varies = self.sd > self.tolerance
        return np.divide(self.tolerance, self.sd, out=np.ones_like(self.sd), where=varies)

    def evidence(self, values: Floats, tail: Tail) -> Floats:
        """Standardised values, large where they speak against the hypothesis."""
        return oriented(self.z(values), tail)

    def order(self, tail: Tail) -> Integers:
        """Tested features, ascending by their evidence: int64 [tested feature]."""
        return ascending(self.evidence(self.statistic, tail))


def moments(drawn: Callable[[int, int], Floats], n: int) -> Observed:
    """
    Observed statistic, with mean and deviation over draws 0 to n, and the tie tolerance of float64 values.

    Parameters
    ----------
    drawn : callable
        ``drawn(start, stop)`` gives the statistic of draws `start` to `stop` - 1, float64 [draw, feature].
    n : int
    """
    observed = drawn(0, 1)[0]
    # Taken from the observed value, so that squares of large numbers are not subtracted.
    reference = np.nan_to_num(observed)
    count, total, square = np.zeros((3, len(observed)))
    for start, stop in ranges(0, n + 1, max(64, RANGE_VALUES // max(1, len(observed)))):
        off = drawn(start, stop) - reference
        present = np.isfinite(off)
        off = np.where(present, off, 0.0)
        count += present.sum(axis=0)
        total += off.sum(axis=0)
        square += (off**2).sum(axis=0)
    with np.errstate(invalid="ignore"):
        shift = total / count
        sd = np.sqrt(np.maximum(square / count - shift**2, 0.0))
    return Observed(observed, reference + shift, sd, tie_tolerance(observed, np.dtype(np.float64)))


def ranges(start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    """Consecutive ranges of at most `size` draws."""
    for first in range(start, stop, size):
        yield first, min(first + size, stop)


@dataclass
class Exceedances:
    """
    Draws that reach, pass, or stay at or below the observed statistic, per feature.

    Parameters
    ----------
    at_least : int64 [feature]
        Draws with ``T* >= T - tolerance``.
    above : int64 [feature]
        Draws with ``T* > T + tolerance``.
    at_most : int64 [feature]
        Draws with ``T* <= T + tolerance``.
    """

    at_least: Integers
    above: Integers
    at_most: Integers

    @classmethod
    def zeros(cls, n_features: int) -> "Exceedances":
        """Nothing counted yet."""
        return cls(*(np.zeros(n_features, dtype=np.int64) for _ in range(3)))

    @property
    def n_near_ties(self) -> Integers:
        """Draws within the tolerance of the observed statistic, int64 [feature]."""
        return self.at_least - self.above

    def add(self, statistic: Floats, low: Floats, high: Floats) -> None:
        """
        Count a batch.

        Parameters
        ----------
        statistic : float64 [draw, feature]
            NaN is counted nowhere.
        low, high : float64 [feature]
            Observed statistic minus and plus its tolerance.
        """
        self.at_least += count_true(statistic >= low)
        self.above += count_true(statistic > high)
        self.at_most += count_true(statistic <= high)

    def count_missing(self, n_draws: int) -> None:
        """
        Count draws without a value as reaching the statistic in either tail; of so many draws that were added.

        Left out, they would make p small where few draws have a value at all.
        """
        missing = n_draws - self.above - self.at_most
        self.at_least += missing
        self.above += missing
        self.at_most += missing

    def place(self, features: slice, other: "Exceedances") -> None:
        """Add the counts of some of the features."""
        self.at_least[features] += other.at_least
        self.above[features] += other.above
        self.at_most[features] += other.at_most

    def merge(self, other: "Exceedances") -> None:
        """Add the counts of other draws."""
        self.at_least += other.at_least
        self.above += other.above
        self.at_most += other.at_most


@dataclass
class StepDown:
    """
    Step-down maximum statistic (Westfall and Young 1993): one counter per feature, features in ascending order.

    Parameters
    ----------
    counts : int64 [feature]
        Draws whose largest statistic among this feature and all before it reaches the observed one.
    """

    counts: Integers

    @classmethod
    def zeros(cls, n_features: int) -> "StepDown":
        """Nothing counted yet."""
        return cls(np.zeros(n_features, dtype=np.int64))

    def add(self, statistic: Floats, low: Floats, carried: Floats) -> None:
        """
        Count a batch of draws; `statistic` is overwritten and `carried` moves on to the next features.

        Parameters
        ----------
        statistic : float64 [draw, feature]
            Features ascending by their observed statistic; NaN is no evidence. Overwritten by the running maximum.
        low : float64 [feature]
            Observed statistic minus its tolerance.
        carried : float64 [draw]
            Largest statistic among all features before these; -inf at the start. On return those after these.
        """
        np.fmax(statistic[:, 0], carried, out=statistic[:, 0])
        np.fmax.accumulate(statistic, axis=1, out=statistic)
        self.counts += count_true(statistic >= low)
        carried[:] = statistic[:, -1]

    def merge(self, other: "StepDown") -> None:
        """Add the counts of other draws."""
        self.counts += other.counts


@dataclass
class Maxima:
    """
    Largest statistic over all features of each draw, filed under the draw's number.

    Parameters
    ----------
    first : int
        Number of the first draw that there is room for.
    values : float64 [draw]
        -inf where nothing was filed.
    """

    first: int
    values: Floats

    @classmethod
    def empty(cls, start: int, stop: int) -> "Maxima":
        """Room for draws `start` to `stop` - 1."""
        return cls(start, np.full(stop - start, -np.inf))

    def add(self, first: int, maxima: Floats) -> None:
        """File maxima [draw] of draws `first`, `first` + 1, ...; of two for one draw the larger stays."""
        start = first - self.first
        assert 0 <= start <= start + len(maxima) <= len(self.values), "draws outside the room for them"
        np.maximum(self.values[start : start + len(maxima)], maxima, out=self.values[start : start + len(maxima)])

    def merge(self, other: "Maxima") -> None:
        """Take over the maxima of other draws or of other features."""
        self.add(other.first, other.values)


@dataclass
class Histogram:
    """
    Equal bins on [0, 1] for each of several quantities.

    Parameters
    ----------
    counts : int64 [quantity, bin]
        Bin b holds ``b / bins <= x < (b + 1) / bins``; the last one holds 1 too.
    """

    counts: Integers

    @classmethod
    def zeros(cls, n_quantities: int, bins: int = OUTPUT_BINS) -> "Histogram":
        """Nothing counted yet."""
        return cls(np.zeros((n_quantities, bins), dtype=np.int64))

    def add(self, values: Floats) -> None:
        """Count values [draw, quantity]; what lies outside [0, 1] goes to the end bins, NaN nowhere."""
        n_quantities, bins = self.counts.shape
        row, quantity = np.nonzero(np.isfinite(values))
        place = np.clip((values[row, quantity] * bins).astype(np.int64), 0, bins - 1) + quantity * bins
        self.counts += np.bincount(place, minlength=self.counts.size).reshape(n_quantities, bins)

    def merge(self, other: "Histogram") -> None:
        """Add the counts of other draws."""
        self.counts += other.counts


@dataclass
class FixedPointSums:
    """
    Sum and sum of squares in whole units, so that neither order nor batches round differently.

    Values in [-1, 1] are rounded to 2**-32 for their sum, and to 2**-20 before they are squared. The sums are safe
    to 8 million draws; the mean is right to 2**-33.

    Parameters
    ----------
    draws, sums, squares : int64 [feature]
    """

    draws: Integers
    sums: Integers
    squares: Integers

    @classmethod
    def zeros(cls, n_features: int) -> "FixedPointSums":
        """Nothing summed yet."""
        return cls(*(np.zeros(n_features, dtype=np.int64) for _ in range(3)))

    def add(self, values: Floats) -> None:
        """Sum values [draw, feature] of magnitude at most 1; NaN is left out."""
        present = np.isfinite(values)
        filled = np.where(present, values, 0.0)
        assert np.abs(filled).max(initial=0.0) <= 1.0, "fixed-point sums hold values in [-1, 1]"
        self.draws += count_true(present)
        self.sums += np.rint(filled * _SUM_SCALE).astype(np.int64).sum(axis=0)
        self.squares += (np.rint(filled * _SQUARE_SCALE).astype(np.int64) ** 2).sum(axis=0)
        assert self.draws.max(initial=0) <= _MOST_DRAWS, "the sum of squares could overflow"

    def merge(self, other: "FixedPointSums") -> None:
        """Add the sums of other draws."""
        self.draws += other.draws
        self.sums += other.sums
        self.squares += other.squares

    def mean(self) -> Floats:
        """Mean of each feature, float64 [feature]; NaN without draws."""
        return self._per_draw(self.sums / _SUM_SCALE)

    def sd(self) -> Floats:
        """Standard deviation over the draws (divided by n), float64 [feature]; NaN without draws."""
        return np.sqrt(np.maximum(self._per_draw(self.squares / _SQUARE_SCALE**2) - self.mean() ** 2, 0.0))

    def _per_draw(self, total: Floats) -> Floats:
        return np.divide(total, self.draws, out=np.full_like(total, np.nan), where=self.draws > 0)


def ascending(evidence: Floats) -> Integers:
    """Tested features, those with evidence [feature] that is not NaN, in ascending order of it: int64 [tested]."""
    tested = np.flatnonzero(np.isfinite(evidence))
    return tested[np.argsort(evidence[tested], kind="stable")]


def count_true(flags: NDArray[np.bool_]) -> Integers:
    """Number of true flags of each column, int64 [feature], from bool [draw, feature]."""
    total = np.zeros(flags.shape[1], dtype=np.int64)
    for start, stop in _row_ranges(len(flags)):
        # 16-bit sums of bytes run several times faster than counting in 64 bits.
        total += np.add.reduce(flags[start:stop].view(np.uint8), axis=0, dtype=np.uint16)
    return total


def _row_ranges(n_rows: int) -> Iterator[tuple[int, int]]:
    for start in range(0, n_rows, _COUNT_ROWS):
        yield start, min(start + _COUNT_ROWS, n_rows)
