"""What every backend gives back: weighted sums over cells, and what goes into them whoever computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..plan import Plan, Segment, WindowedPlan
from ..spec import PhaseShares
from ..transform.cone import away_from_seam
from ..transform.definition import padded_length
from ..transform.signals import BAD_SHARE, Signals, bad_share

Real = NDArray[Any]
Complex = NDArray[Any]

WINDOWS_AT_ONCE = 32

N_PHASES = 4
"""Classes of phase: in phase, a leads, b leads, anti-phase."""


@dataclass(frozen=True)
class Sums:
    """Weighted sums over the cells of each band x epoch, on the host or on a device.

    Attributes
    ----------
    squared : float64 (of one block perhaps float32) [mean, a, b], or of several dyads [mean, dyad, a, b]
        Of |<u_x, u_y>|^2.
    inner : complex128 (of one block perhaps complex64), same shape
        Of <u_x, u_y>.
    weight : float64, same shape (of one block with 1 for axes along which it does not vary)
        Of the cells that entered, in samples.
    phases : PhaseSums or None
        Where phase shares are asked for.
    """

    squared: Real
    inner: Complex
    weight: NDArray[np.float64]
    phases: PhaseSums | None = None

    @classmethod
    def zeros(cls, shape: tuple[int, ...], *, shares: bool = False, xp: Any = np) -> Sums:
        """Nothing summed yet, for [mean, a, b], in arrays of `xp`."""
        phases = PhaseSums(xp.zeros((shape[0], N_PHASES, *shape[1:])), xp.zeros(shape)) if shares else None
        return cls(xp.zeros(shape), xp.zeros(shape, np.complex128), xp.zeros(shape), phases)

    def add(self, means: NDArray[np.int64], part: Sums) -> None:
        """Add sums of some of the means."""
        self.squared[means] += part.squared
        self.inner[means] += part.inner
        self.weight[means] += part.weight
        if self.phases is not None and part.phases is not None:
            self.phases.classes[means] += part.phases.classes
            self.phases.width[means] += part.phases.width

    def put(self, rows: NDArray[np.bool_], columns: NDArray[np.bool_], part: Sums) -> None:
        """Put the sums of some pairs in the place of those that are there."""
        row, column = np.ix_(rows, columns)
        self.squared[:, row, column] = part.squared
        self.inner[:, row, column] = part.inner
        self.weight[:, row, column] = part.weight
        if self.phases is not None and part.phases is not None:
            self.phases.classes[:, :, row, column] = part.phases.classes
            self.phases.width[:, row, column] = part.phases.width

    def of_dyad(self, dyad: int) -> Sums:
        """Of sums [mean, dyad, a, b] those of one dyad, [mean, a, b]: what is added to them is added to all."""
        phases = self.phases and PhaseSums(self.phases.classes[:, :, dyad], self.phases.width[:, dyad])
        return Sums(self.squared[:, dyad], self.inner[:, dyad], self.weight[:, dyad], phases)

    def put_dyad(self, dyad: int, part: Sums) -> None:
        """Put sums [mean, a, b] in the place of those of one dyad."""
        self.squared[:, dyad], self.inner[:, dyad], self.weight[:, dyad] = part.squared, part.inner, part.weight
        if self.phases is not None and part.phases is not None:
            self.phases.classes[:, :, dyad], self.phases.width[:, dyad] = part.phases.classes, part.phases.width

    @property
    def arrays(self) -> list[Any]:
        """All that is summed, each [mean, ..., a, b]."""
        return [self.squared, self.inner, self.weight] + ([] if self.phases is None else self.phases.arrays)

    @property
    def negative(self) -> Sums:
        """The same with the other sign."""
        phases = None if self.phases is None else PhaseSums(-self.phases.classes, -self.phases.width)
        return Sums(-self.squared, -self.inner, -self.weight, phases)

    @property
    def swapped(self) -> Sums:
        """Sums with a and b in each other's place."""
        squared, inner, weight = (part.swapaxes(-1, -2) for part in (self.squared, self.inner.conj(), self.weight))
        phases = None
        if self.phases is not None:
            classes, width = (part.swapaxes(-1, -2) for part in self.phases.arrays)
            phases = PhaseSums(classes[:, [0, 2, 1, 3]], width)
        return Sums(squared, inner, weight, phases)

    def __add__(self, other: Sums) -> Sums:
        phases = None
        if self.phases is not None and other.phases is not None:
            phases = PhaseSums(self.phases.classes + other.phases.classes, self.phases.width + other.phases.width)
        return Sums(self.squared + other.squared, self.inner + other.inner, self.weight + other.weight, phases)


@dataclass(frozen=True)
class PhaseSums:
    """Samples that the cells of each phase class stand for.

    Attributes
    ----------
    classes : float64 (of one block perhaps float32) [mean, class, a, b]
        Of coherent cells: in phase, a leads, b leads, anti-phase.
    width : float64 [mean, a, b] (of one block [mean, a or 1, b or 1])
        Of all valid cells.
    """

    classes: Real
    width: NDArray[np.float64]

    @property
    def arrays(self) -> list[Any]:
        """Both."""
        return [self.classes, self.width]


@dataclass
class Spectra:
    """Spectra of unit-variance channels, of which unit features are formed group by group.

    Attributes
    ----------
    signals : Signals
    plan : Plan
    spectra : complex128 [bin, channel], or on a device [channel, bin]
    controls : Spectra or None
        Those of the signals' controls.
    shifts : float64 [lag]
        How many samples later the channels are taken, now or in another part of the batch: a cell is usable where it is
        at all of them.
    known : bool
        Whether the cells that the first rank does not resolve are known.
    left_out : mapping of int to bool [grid time, row, channel]
        These cells, by segment.
    """

    signals: Signals
    plan: Plan
    spectra: Any
    controls: Any = None
    shifts: NDArray[np.float64] = field(default_factory=lambda: np.zeros(1), kw_only=True)
    known: bool = field(default=False, kw_only=True)
    left_out: dict[int, NDArray[np.bool_]] = field(default_factory=dict, repr=False, kw_only=True)
    _usable: dict[tuple[int, int], NDArray[np.bool_]] = field(default_factory=dict, repr=False, kw_only=True)

    def of_dyad(self, dyad: int, n_dyads: int) -> Any:
        """Channels of one of so many dyads, which follow one another."""
        return self.part(channels_of_dyad(self.signals.n_channels, dyad, n_dyads))

    def part(self, channels: NDArray[np.bool_]) -> Self:
        """Some of the channels."""
        raise NotImplementedError

    def words_of(self, channels: NDArray[np.bool_]) -> dict[str, Any]:
        """What is known of some of the channels, as words for a new object."""
        left_out = {index: cells[..., channels] for index, cells in self.left_out.items()}
        return {"shifts": self.shifts, "known": self.known, "left_out": left_out}

    def usable(self, depth: int, index: int) -> NDArray[np.bool_] | None:
        """Cells of a segment away from seams whose window holds few bad samples, bool [time, row, channel].

        None if all are. At the first depth without the cells that it does not resolve, once these are known.
        """
        segment = self.plan.segments_at(depth)[index]
        key, usable = (depth, segment.first_row), None
        if key in self._usable:
            usable = self._usable[key]
        elif self.signals.bad is not None or self.signals.seam is not None:
            usable = usable_on_grid(self.signals, self.plan, segment, depth, self.shifts)
            self._usable[key] = usable
        if depth or not self.known or index not in self.left_out:
            return usable
        return ~self.left_out[index] if usable is None else usable & ~self.left_out[index]

    @property
    def deep(self) -> NDArray[np.bool_]:
        """Channels with cells that the first rank does not resolve, as far as is known: bool [channel]."""
        none = np.zeros((1, 1, self.signals.n_channels), bool)
        return np.asarray(np.any([cells.any(axis=(0, 1)) for cells in (none, *self.left_out.values())], axis=0))

    def mark(self, index: int, times: NDArray[np.int64], cells: NDArray[np.bool_]) -> None:
        """Remember cells of a segment that the first rank does not resolve, bool [time, row, channel]."""
        if cells.any():
            self._left_out(index)[times] |= cells

    def take(self, channels: NDArray[np.bool_], part: Spectra) -> None:
        """Remember what is known of a part."""
        for index, cells in part.left_out.items():
            self._left_out(index)[..., channels] |= cells

    def _left_out(self, index: int) -> NDArray[np.bool_]:
        segment = self.plan.segments[index]
        shape = (len(self.plan.group(segment, 0).times), segment.n_rows, self.signals.n_channels)
        return self.left_out.setdefault(index, np.zeros(shape, bool))

    def unresolved(self, index: int) -> NDArray[np.bool_]:
        """Windows of a segment that hold cells left out, or are near them: bool [window, channel]."""
        near = self.plan.windows_near(index)
        if index not in self.left_out:
            return np.zeros((len(near), self.signals.n_channels), bool)
        return np.asarray(near @ self.left_out[index].any(axis=1))

    def cut(self, plan: WindowedPlan, channels: NDArray[np.bool_]) -> Self:
        """Some of the channels, in some windows of a segment."""
        cells = {(depth, plan.segments_at(depth)[0].first_row): self.usable(depth, plan.index) for depth in (0, 1)}
        usable = {key: of_all[..., channels] for key, of_all in cells.items() if of_all is not None}
        controls = self.controls
        if controls is not None:
            controls = controls.cut(plan, np.ones(controls.signals.n_channels, bool))
        return replace(self.part(channels), plan=plan, controls=controls, left_out={}, _usable=usable)

    def at_lags(self, turn: Callable[[Any, NDArray[np.complex128]], Any], join: Callable[[list[Any]], Any]) -> Self:
        """Spectra of x(t + lag) at every lag of the plan, one behind the other.

        Parameters
        ----------
        turn : function of (spectra, complex128 [bin])
            Their product.
        join : function of list of spectra
            All channels one behind the other.
        """
        plan = self.plan
        bins = np.arange(plan.n_bins) / padded_length(plan.n_samples)
        spectra = join([turn(self.spectra, np.exp(2j * np.pi * bins * shift)) for shift in plan.shifts])
        n = len(plan.shifts)
        controls = None if self.controls is None else self.controls.at_lags(turn, join)
        signals = self.signals.repeated(n)
        if controls is not None:
            signals = replace(signals, controls=controls.signals)
        return replace(
            self, signals=signals, spectra=spectra, controls=controls, shifts=plan.shifts, known=False, left_out={},
            _usable={},
        )  # fmt: skip


def dyad_by_dyad(backend: Any, a: Any, b: Any, n_dyads: int, shares: PhaseShares | None) -> Sums:
    """Sums [mean, dyad, a, b] of pairs within dyads, on a backend that has no faster way."""
    parts = [backend.coherence(a.of_dyad(dyad, n_dyads), b.of_dyad(dyad, n_dyads), shares) for dyad in range(n_dyads)]
    shape = (a.plan.n_means, n_dyads, *parts[0].squared.shape[1:])
    totals = Sums.zeros(shape, shares=shares is not None, xp=backend.xp)
    for dyad, part in enumerate(parts):
        totals.put_dyad(dyad, part)
    return totals


def channels_of_dyad(n_channels: int, dyad: int, n_dyads: int) -> NDArray[np.bool_]:
    """Marks the channels of one of the dyads that follow one another."""
    return np.asarray(np.arange(n_channels) // (n_channels // n_dyads) == dyad)


def sums_by_depth(a: Any, b: Any, sum_at: Callable[[int, Any, Any], Sums], xp: Any = np) -> Sums:
    """Sums of all pairs, each as deeply as its two channels need, whatever the other channels are.

    Cells that the first rank does not resolve are left out by it. In windows of time with such a cell of a channel, its
    pairs are computed again at the deeper rank.

    Parameters
    ----------
    a, b : features
        Which know the cells that are left out once the first rank has been summed.
    sum_at : function of (depth, a, b)
    xp : module
        Of the arrays of sums.
    """
    totals = sum_at(0, a, b)
    _deepen(totals, a, b, sum_at, xp)
    return totals


def deepen_dyads(
    totals: Sums, a: Any, b: Any, n_dyads: int, sum_at: Callable[[int, Any, Any], Sums], xp: Any = np
) -> None:
    """The same for pairs within so many dyads: add to their sums at the first rank what the deeper one changes.

    Parameters
    ----------
    totals : Sums
        Of [mean, dyad, a, b] at the first rank.
    a, b, sum_at, xp
        As `sums_by_depth`; channels of dyads follow one another.
    n_dyads : int
    """
    deep = np.concatenate([side.deep.reshape(n_dyads, -1) for side in (a, b)], axis=1).any(axis=1)
    for dyad in np.flatnonzero(deep).tolist():
        _deepen(totals.of_dyad(dyad), a.of_dyad(dyad, n_dyads), b.of_dyad(dyad, n_dyads), sum_at, xp)


def _deepen(totals: Sums, a: Any, b: Any, sum_at: Callable[[int, Any, Any], Sums], xp: Any) -> None:
    """Add to sums [mean, a, b] at the first rank what the deeper one changes."""

    def redo(index: int, chosen: NDArray[np.int64], rows: NDArray[np.bool_], columns: NDArray[np.bool_]) -> _Redone:
        plan = a.plan.in_windows(index, chosen)
        first, second = a.cut(plan, rows), b.cut(plan, columns)
        deep, shallow = (sum_at(depth, first, second) for depth in (1, 0))
        return _Redone(plan, deep + shallow.negative)

    for index in sorted({*a.left_out, *b.left_out}):
        of_a, of_b = a.unresolved(index), b.unresolved(index)
        all_a, all_b = (np.ones(side.shape[1], bool) for side in (of_a, of_b))
        rows, columns = of_a.any(axis=0), of_b.any(axis=0)
        for chosen in _some(np.flatnonzero(of_a.any(axis=1))):
            redone, mine = redo(index, chosen, rows, all_b), of_a[chosen]
            redone.add_to(totals, mine[:, rows, None] & all_b, rows, all_b, xp)
            if a is b:
                redone.swapped.add_to(totals, ~mine[:, :, None] & mine[:, None, rows], all_a, rows, xp)
        for chosen in _some(np.flatnonzero(of_b.any(axis=1))) if a is not b else []:
            wanted = ~of_a[chosen][:, :, None] & of_b[chosen][:, None, columns]
            if wanted.any():
                redo(index, chosen, all_a, columns).add_to(totals, wanted, all_a, columns, xp)


def _some(numbers: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Windows that are worked on together, so that their sums take little memory."""
    return [numbers[start : start + WINDOWS_AT_ONCE] for start in range(0, len(numbers), WINDOWS_AT_ONCE)]


@dataclass(frozen=True)
class _Redone:
    """What the deeper rank changes in the sums of each window of each mean."""

    plan: WindowedPlan
    change: Sums

    @property
    def swapped(self) -> _Redone:
        """With a and b in each other's place."""
        return _Redone(self.plan, self.change.swapped)

    def add_to(
        self, totals: Sums, wanted: NDArray[np.bool_], rows: NDArray[np.bool_], columns: NDArray[np.bool_], xp: Any
    ) -> None:
        """Add it to pairs of some channels, in the windows that each pair wants, bool [window, row, column]."""
        channels = (np.flatnonzero(rows), np.flatnonzero(columns))
        window, mean = self.plan.parts
        for number, pairs in enumerate(wanted):
            own = np.flatnonzero(window == number)
            mask = xp.asarray(pairs)
            for total, part in zip(totals.arrays, self.change.arrays, strict=True):
                between = [np.arange(n) for n in total.shape[1:-2]]
                total[np.ix_(mean[own], *between, *channels)] += mask * part[own]


def usable_on_grid(
    signals: Signals, plan: Plan, segment: Segment, depth: int, shifts: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Cells of the whole grid away from seams whose window holds few bad samples: bool [time, row, channel].

    Where channels are taken some samples later, cells that are so at all these shifts.
    """
    times = plan.group(segment, depth).times
    usable = np.ones((len(times), segment.n_rows, signals.n_channels), bool)
    if signals.seam is not None:
        scales = plan.scale[segment.first_row : segment.first_row + segment.n_rows]
        for shift in shifts:
            usable &= away_from_seam(signals.seam, times + shift, scales)
    if signals.bad is None:
        return usable
    bad = signals.bad
    for channel in np.flatnonzero(bad.any(axis=1) & ~bad.all(axis=1)):
        for row in range(segment.n_rows):
            share = bad_share(bad[channel], plan.scale[segment.first_row + row])
            at = times[:, None] + shifts
            shares = np.interp(at, np.arange(bad.shape[1]), share)
            usable[:, row, channel] &= (shares <= BAD_SHARE).all(axis=1)
    return usable
