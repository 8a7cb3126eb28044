"""What every backend gives back: weighted sums over cells, and what goes into them whoever computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ..plan import Plan, Segment
from ..spec import PhaseShares
from ..transform.cone import away_from_seam
from ..transform.definition import padded_length
from ..transform.signals import BAD_SHARE, Signals, bad_share

Real = NDArray[Any]
Complex = NDArray[Any]

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
        """Of sums [mean, dyad, a, b] those of one dyad, [mean, a, b]."""
        phases = self.phases and PhaseSums(self.phases.classes[:, :, dyad], self.phases.width[:, dyad])
        return Sums(self.squared[:, dyad], self.inner[:, dyad], self.weight[:, dyad], phases)

    def put_dyad(self, dyad: int, part: Sums) -> None:
        """Put sums [mean, a, b] in the place of those of one dyad."""
        self.squared[:, dyad], self.inner[:, dyad], self.weight[:, dyad] = part.squared, part.inner, part.weight
        if self.phases is not None and part.phases is not None:
            self.phases.classes[:, :, dyad], self.phases.width[:, dyad] = part.phases.classes, part.phases.width

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


@dataclass
class Spectra:
    """Spectra of unit-variance channels, of which unit features are formed group by group.

    Attributes
    ----------
    signals : Signals
    plan : Plan
    spectra : complex128 [bin, channel], or on a device [channel, bin]
    deep : bool [channel]
        Channels with cells that the plan's first rank does not resolve, as far as is known.
    controls : Spectra or None
        Those of the signals' controls.
    shifts : float64 [lag]
        How many samples later the channels are taken, now or in another part of the batch: a cell is usable where it is
        at all of them.
    """

    signals: Signals
    plan: Plan
    spectra: Any
    deep: NDArray[np.bool_]
    controls: Any = None
    shifts: NDArray[np.float64] = field(default_factory=lambda: np.zeros(1), kw_only=True)
    _usable: dict[tuple[int, int], NDArray[np.bool_]] = field(default_factory=dict, repr=False, kw_only=True)

    def of_dyad(self, dyad: int, n_dyads: int) -> Any:
        """Channels of one of so many dyads, which follow one another."""
        return self.part(channels_of_dyad(self.signals.n_channels, dyad, n_dyads))

    def part(self, channels: NDArray[np.bool_]) -> Self:
        """Some of the channels."""
        raise NotImplementedError

    def usable(self, depth: int, index: int) -> NDArray[np.bool_] | None:
        """Cells of a segment away from seams whose window holds few bad samples, bool [time, row, channel].

        None if all are.
        """
        if self.signals.bad is None and self.signals.seam is None:
            return None
        if (depth, index) not in self._usable:
            segment = self.plan.segments_at(depth)[index]
            self._usable[depth, index] = usable_on_grid(self.signals, self.plan, segment, depth, self.shifts)
        return self._usable[depth, index]

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
        signals, deep = self.signals.repeated(n), np.tile(self.deep, n)
        if controls is not None:
            signals = replace(signals, controls=controls.signals)
        return replace(
            self, signals=signals, spectra=spectra, deep=deep, controls=controls, shifts=plan.shifts, _usable={}
        )


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


def sums_by_depth(a: Any, b: Any, sum_at: Callable[[int, Any, Any], Sums]) -> Sums:
    """Sums of all pairs, each as deeply as its two channels need, whatever the other channels are.

    Pairs of a channel with cells that the first rank does not resolve are computed again at the deeper one.

    Parameters
    ----------
    a, b : features
        With `signals`, `deep` and `part`; `deep` is known better once a depth has been summed.
    sum_at : function of (depth, a, b)
    """
    everybody = np.ones(b.signals.n_channels, bool)
    totals = None if a.deep.all() or b.deep.all() else sum_at(0, a, b)
    if totals is None:
        return sum_at(1, a, b)
    for rows, columns in ((a.deep, everybody), (~a.deep, b.deep)):
        if rows.any() and columns.any():
            totals.put(rows, columns, sum_at(1, a.part(rows), b.part(columns)))
    return totals


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
