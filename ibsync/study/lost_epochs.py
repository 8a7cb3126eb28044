"""Which epochs and bands have too few cells for a value, why, and what would give them enough."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..coupling.band_spec import BandOfEach
from ..coupling.kinds import kind_of
from ..coupling.plan import asked_samples, length, within
from ..coupling.spec import Band
from ..errors import PlanError
from ..recordings.recording import DyadRow
from ..results.lost import CUT, Loss, few
from .engines import EnginePlan

_STEPS = 400  # tried lengths, at most forty times what there is
_OTHER_PLAN = "leave the epoch or the band out, or lower min_valid"

Parts = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class Cut:
    """
    Why recordings of an occasion are cut.

    Parameters
    ----------
    shortest : tuple of DyadRow
        Those that all others are cut to.
    n_others : int
        Samples that would be left without them.
    seconds : float
        How long they are, from where they are taken.
    """

    shortest: tuple[DyadRow, ...]
    n_others: int
    seconds: float

    @property
    def reason(self) -> str:
        """Whom to blame, in words."""
        named = few([f"{row.dyad!r} ({row.person_a!r}, {row.person_b!r})" for row in self.shortest])
        has = "have" if len(self.shortest) > 1 else "has"
        return f"because {named} {has} {self.seconds:g} s"

    def fix(self, parts: Sequence[tuple[int, int]]) -> str:
        """What keeps more of an epoch, in words."""
        recording = self.shortest[0].recording_a
        kept = length(within(parts, self.n_others)) / recording.sfreq
        return f"mark {few([repr(row.dyad) for row in self.shortest])} use=0 to keep {kept:g} s"


def losses_of_recording(plan: EnginePlan) -> list[Loss]:
    """What a recording of its own lacks of each epoch and band."""
    return list(epoch_losses(plan, asked_samples(plan.epochs, plan.n_samples, plan.sfreq), None))


def epoch_losses(
    plan: EnginePlan, asked: Mapping[str, Parts], cut: Cut | None, *, trials: bool = False
) -> Iterable[Loss]:
    """
    What a row lacks of each epoch and band; the dyad is not filled in.

    Parameters
    ----------
    plan : EnginePlan
    asked : mapping of epoch to intervals (start, stop) in samples
    cut : Cut or None
        Why the recordings are cut, where they are.
    trials : bool
        Whether the plan is of one trial of the epoch.
    """
    for e, (epoch, parts) in enumerate(asked.items()):
        outside = _outside(plan, parts, cut)
        for b, band in enumerate(plan.spec.bands or {}):
            if not plan.enough[e, b]:
                reason, fix = _too_few(plan, e, b)
                if trials:
                    reason = f"a trial of {plan.n_samples / plan.sfreq:g} s: {reason}"
                if outside:
                    inside = within(parts, plan.n_samples)
                    reason, fix = f"{outside[0]}; {reason}" if inside else outside[0], outside[1]
                else:
                    remedies = _remedies(plan, epoch, band, "let a trial last" if trials else "record")
                    fix = f"{fix} ({remedies})" if fix and remedies else fix or remedies or _OTHER_PLAN
                yield Loss("", epoch=epoch, band=band, reason=reason, fix=fix)
            elif outside:
                yield Loss("", epoch=epoch, band=band, what=CUT, reason=outside[0], fix=outside[1])


def _outside(plan: EnginePlan, parts: Parts, cut: Cut | None) -> tuple[str, str] | None:
    """Why an epoch lies in part or wholly outside the recording, and what would help; None if it lies inside."""
    n_asked, n_inside = length(parts), length(within(parts, plan.n_samples))
    if n_inside == n_asked:
        return None
    seconds = f"{plan.n_samples / plan.sfreq:g} s"
    end = f"the recording ends at {seconds}"
    if parts[-1][1] <= plan.n_samples:
        end = "the rest lies before the recording begins"
    if n_inside:
        reason = f"{n_inside / plan.sfreq:g} of {n_asked / plan.sfreq:g} s"
        fix = f"let the epoch lie within 0 and {seconds}, or record longer"
    else:
        reason = f"it begins at {parts[0][0] / plan.sfreq:g} s and holds no sample"
        fix = "correct its start and stop, or leave the epoch out"
    return f"{reason}, {cut.reason if cut else end}", cut.fix(parts) if cut else fix


def _too_few(plan: EnginePlan, e: int, b: int) -> tuple[str, str]:
    """Why an epoch has too few cells of a band, and what would help where the recording does not hold the band."""
    name, band = list((plan.spec.bands or {}).items())[b]
    try:
        kind_of(plan.spec, plan.trial).refuse_band(name, band, plan.n_samples, plan.sfreq, plan.spec)
    except PlanError as error:
        reason, _, fix = str(error).rpartition(": ")
        return reason, fix
    share, needed = math.floor(100 * plan.shares[e, b]), f"{100 * plan.spec.min_valid:.3g} % are needed"
    return f"{share} % of its cells are free of edge effects, {needed}", ""


def _remedies(plan: EnginePlan, epoch: str, band: str, record: str) -> str:
    """What would give an epoch enough cells of a band; empty if nothing was found."""
    edges = (plan.spec.bands or {})[band]
    low = _lower_limit(plan, epoch, edges)
    longer = _longer_trials(plan, epoch, edges) if plan.trial else _longer(plan, epoch, edges, record)
    lags = "take shorter lags" if any(plan.spec.lags) else ""
    return ", or ".join(filter(None, [lags, f"raise the lower limit to {low:g} Hz" if low else "", longer]))


def _has_value(plan: EnginePlan, epoch: str, band: Band, parts: object = None) -> bool:
    """Whether one epoch has enough cells of a band."""
    spec = replace(plan.spec, bands={"band": band})
    epochs: Any = None if plan.epochs is None else {epoch: parts or plan.epochs[epoch]}
    shares = kind_of(spec, plan.trial).trusted_shares(plan.n_samples, plan.sfreq, spec, epochs)
    return bool(shares[0, 0] >= plan.spec.min_valid)


def _lower_limit(plan: EnginePlan, epoch: str, band: Band) -> float | None:
    """The lowest limit in Hz, in two digits, above which a band has enough cells; None if there is none."""
    if isinstance(band, BandOfEach):
        return None
    step = _digit(band.low_hz)
    for k in range(math.floor(band.low_hz / step) + 1, math.ceil(band.high_hz / step)):
        low = round(k * step, 12)
        if _has_value(plan, epoch, Band(low, band.high_hz, exclude=band.exclude_hz)):
            return low
    return None


def _longer(plan: EnginePlan, epoch: str, band: Band, record: str) -> str:
    """How much longer the epoch or the recording must be, in words; empty if that does not help."""
    asked = asked_samples(plan.epochs, plan.n_samples, plan.sfreq)
    (start, stop), *others = asked["all" if plan.epochs is None else epoch]
    if others:
        return ""
    step = _digit(stop / plan.sfreq)
    first = math.floor(stop / plan.sfreq / step) + 1
    for k in range(first, first + _STEPS):
        seconds = round(k * step, 9)
        end = round(seconds * plan.sfreq)
        tried = replace(plan, n_samples=end if plan.epochs is None else max(end, plan.n_samples))
        if _has_value(tried, epoch, band, [(start / plan.sfreq, seconds)]):
            if plan.epochs is None:
                return f"{record} {seconds:g} s"
            return f"{'record until' if end > plan.n_samples else 'let it last until'} {seconds:g} s"
    return ""


def _longer_trials(plan: EnginePlan, epoch: str, band: Band) -> str:
    """How long trials must be, in words; empty if that does not help, or the epoch is a part of them."""
    if plan.epochs is not None:
        return ""
    step = _digit(plan.trial / plan.sfreq)
    for k in range(math.floor(plan.trial / plan.sfreq / step) + 1, _STEPS):
        trial = round(k * step * plan.sfreq)
        if _has_value(replace(plan, n_samples=trial, trial=trial), epoch, band):
            return f"cut trials of {k * step:g} s"
    return ""


def _digit(value: float) -> float:
    """Size of the second digit of a number."""
    return float(10 ** (math.floor(math.log10(value)) - 1))
