"""The two verbs by the definition: float64, every sample of every row, one pair at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from ..plan import Plan, full_resolution_weights
from ..spec import PhaseShares
from ..transform.cone import away_from_seam
from ..transform.definition import coherency, residual_coherency
from ..transform.signals import Signals, usable_cells
from .sums import Sums, channels_of_dyad, dyad_by_dyad


@dataclass
class Features:
    """The signals themselves."""

    signals: Signals
    plan: Plan
    shifts: NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))

    def of_dyad(self, dyad: int, n_dyads: int) -> Features:
        """Channels of one of so many dyads, which follow one another."""
        channels = channels_of_dyad(self.signals.n_channels, dyad, n_dyads)
        return Features(self.signals.part(channels), self.plan, self.shifts)

    def shift(self, channel: int) -> float:
        """How many samples later a channel is taken."""
        return float(np.repeat(self.shifts, self.signals.n_channels // len(self.shifts))[channel])


class ReferenceBackend:
    """Slow and obvious."""

    name = "reference"
    device = None
    xp = np

    @property
    def squaring(self) -> ReferenceBackend:
        """Itself: all sums come at once."""
        return self

    def features(self, signals: Signals, plan: Plan) -> Features:
        """Nothing is done ahead."""
        return Features(signals, plan)

    def at_lags(self, features: Features) -> Features:
        """Features of x(t + lag) at every lag of the plan, one behind the other."""
        shifts = features.plan.shifts
        return Features(features.signals.repeated(len(shifts)), features.plan, shifts)

    def coherence(self, a: Features, b: Features, shares: PhaseShares | None = None) -> Sums:
        """Sums over all samples and rows of each band x epoch."""
        plan = a.plan
        weights = full_resolution_weights(plan)
        shape = (plan.n_means, a.signals.n_channels, b.signals.n_channels)
        sums = Sums.zeros(shape, shares=shares is not None)
        usable_a, usable_b = _usable(a), [_at_all_shifts(cells, b) for cells in _usable(b)]
        for i, x in enumerate(a.signals.x.astype(np.float64)):
            for j, y in enumerate(b.signals.x.astype(np.float64)):
                value = _value(plan, [x, *_controls(a, i)], [y, *_controls(b, j)], b.shift(j))
                entered = weights * (~np.isnan(value) & usable_a[i] & usable_b[j])
                value = np.nan_to_num(value)
                sums.squared[:, i, j] = np.tensordot(entered, np.abs(value) ** 2, 2)
                sums.inner[:, i, j] = np.tensordot(entered, value, 2)
                sums.weight[:, i, j] = entered.sum(axis=(1, 2))
                if shares is not None and sums.phases is not None:
                    sums.phases.width[:, i, j] = sums.weight[:, i, j]
                    sums.phases.classes[:, :, i, j] = np.tensordot(entered, _phase_classes(value, shares), 2)
        return sums

    def coherence_of_dyads(self, a: Features, b: Features, n_dyads: int, shares: PhaseShares | None = None) -> Sums:
        """The same for pairs within so many dyads, whose channels follow one another: sums [mean, dyad, a, b]."""
        return dyad_by_dyad(self, a, b, n_dyads, shares)


def _at_all_shifts(cells: NDArray[np.bool_], features: Features) -> NDArray[np.bool_]:
    """Which cells [row or 1, sample or 1] are usable at all shifts of their samples."""
    if cells.shape[1] == 1:
        return cells
    samples = np.arange(cells.shape[1])
    at = (np.rint(samples + shift).clip(0, samples[-1]).astype(int) for shift in features.shifts)
    return np.asarray(np.logical_and.reduce([cells[:, places] for places in at]))


def _controls(features: Features, channel: int) -> NDArray[np.float64]:
    """Signals that are taken out of a channel, [control, sample]."""
    signals = features.signals
    if signals.controls is None or signals.taken is None:
        return np.empty((0, signals.n_samples))
    return np.asarray(signals.controls.x[signals.taken[channel]], np.float64)


def _value(
    plan: Plan, a: list[NDArray[np.float64]], b: list[NDArray[np.float64]], shift: float
) -> NDArray[np.complex128]:
    """Coherency [row, sample] of the first of `a` and of `b`, which is taken later, each without the others of it."""
    signals = [*((x, 0.0) for x in a), *((y, shift) for y in b)]

    def of(x: tuple[NDArray[np.float64], float], y: tuple[NDArray[np.float64], float]) -> NDArray[np.complex128]:
        return coherency(x[0], y[0], plan.scales, preset=plan.spec.preset, shifts=(x[1], y[1]))

    if len(signals) == 2:
        return of(*signals)
    return residual_coherency(np.array([[of(x, y) for y in signals] for x in signals]), len(a) - 1)


def _phase_classes(value: NDArray[np.complex128], asked: PhaseShares) -> NDArray[np.bool_]:
    """Coherent cells in phase, with a leading, with b leading, in anti-phase: bool [row, sample, class]."""
    degrees = np.degrees(np.angle(value))
    within, beyond = np.abs(degrees) < asked.in_phase, np.abs(degrees) > asked.anti_phase
    between = ~(within | beyond)
    classes = np.stack([within, between & (degrees > 0), between & (degrees < 0), beyond], axis=-1)
    return np.asarray(classes & (np.abs(value) ** 2 > asked.level)[..., None])


def _usable(features: Features) -> list[NDArray[np.bool_]]:
    """Cells of each channel, and of its controls, away from seams and with few bad samples in their window.

    bool [row or 1, sample or 1] each.
    """
    signals, scales = features.signals, features.plan.scale
    usable = [np.ones((1, 1), bool)] * signals.n_channels
    if signals.bad is not None:
        usable = [usable_cells(channel, scales) if channel.any() else np.ones((1, 1), bool) for channel in signals.bad]
    if signals.seam is not None:
        apart = away_from_seam(signals.seam, np.arange(signals.n_samples), scales)
        usable = [cells & apart[:, :, channel].T for channel, cells in enumerate(usable)]
    if signals.controls is not None and signals.taken is not None:
        of_controls = _usable(Features(signals.controls, features.plan))
        for channel, numbers in enumerate(signals.taken):
            usable[channel] = reduce(np.logical_and, (of_controls[k] for k in numbers), usable[channel])
    return usable
