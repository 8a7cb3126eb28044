"""What a request will not give: told from lengths, marks and words alone, before anything is computed."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..coupling.band_rows import band_rows
from ..coupling.plan import asked_samples, length, trusted_shares, within
from ..coupling.spec import Band
from ..coupling.transform.scales import textbook_scales
from ..errors import PlanError
from ..recordings.recording import DyadRow, Recording
from ..recordings.study_file import StudyFile
from ..results.lost import ALL, CUT, NO_VALUE, Loss, few
from .channel_pairs import Axes
from .engines import EnginePlan

LOG = logging.getLogger("ibsync")

_OTHER_CHANNELS = "choose other channels, or pack again"
_STEPS = 400  # tried lengths, at most forty times what there is


@dataclass(frozen=True)
class RowPlan:
    """
    How one dyad row is computed.

    Parameters
    ----------
    row : DyadRow
    plan : EnginePlan
    together : tuple of DyadRow
        Rows that are cut to one length with it; empty where its recordings are used in full.
    trials : str
        Epoch of which the plan is one trial; empty where it is of the whole recording.
    """

    row: DyadRow
    plan: EnginePlan
    together: tuple[DyadRow, ...] = ()
    trials: str = ""

    @cached_property
    def asked(self) -> dict[str, list[tuple[int, int]]]:
        """Intervals of each epoch in samples."""
        n = self.row.recording_a.n_samples if self.together else self.plan.n_samples
        epochs = asked_samples(self.plan.epochs, n, self.plan.sfreq)
        return {self.trials or name: parts for name, parts in epochs.items()}

    @cached_property
    def has_value(self) -> set[tuple[str, str]]:
        """Epochs and bands with cells enough."""
        bands = list(self.plan.spec.bands or {})
        return {(epoch, bands[b]) for e, epoch in enumerate(self.asked) for b in np.flatnonzero(self.plan.enough[e])}

    @cached_property
    def cut_by(self) -> Cut | None:
        """Whose recordings cut this one; None where nothing cuts it."""
        if not self.together or self.row.recording_a.n_samples == self.plan.n_samples:
            return None
        shortest = tuple(row for row in self.together if row.recording_a.n_samples == self.plan.n_samples)
        return Cut(shortest, min(row.recording_a.n_samples for row in self.together if row not in shortest))


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
    """

    shortest: tuple[DyadRow, ...]
    n_others: int

    @property
    def reason(self) -> str:
        """Whom to blame, in words."""
        named = few([f"{row.dyad} ({row.person_a}, {row.person_b})" for row in self.shortest])
        has = "have" if len(self.shortest) > 1 else "has"
        return f"because {named} {has} {self.shortest[0].recording_a.duration_s:g} s"

    def fix(self, parts: Sequence[tuple[int, int]]) -> str:
        """What keeps more of an epoch, in words."""
        recording = self.shortest[0].recording_a
        kept = length(within(parts, self.n_others)) / recording.sfreq
        return f"mark {few([row.dyad for row in self.shortest])} use=0 to keep {kept:g} s"


def losses_of(study: StudyFile, rows: Sequence[RowPlan], axes: Axes) -> list[Loss]:
    """
    Everything that some dyads of a study, or some of their epochs, bands and channels, will lack.

    Parameters
    ----------
    study : StudyFile
    rows : sequence of RowPlan
        All rows that are used.
    axes : Axes
        The channels that are asked for.
    """
    used = list(study.dyads)
    by_plan: dict[tuple[object, ...], list[Loss]] = {}
    losses = [*_not_used(study), *_absent(used)]
    for one in rows:
        key = (one.plan.key, one.trials, one.row.recording_a.n_samples, one.cut_by and one.cut_by.reason)
        if key not in by_plan:
            by_plan[key] = list(_of_epochs(one.plan, one.asked, one.cut_by, trials=bool(one.trials)))
        losses += [_of_row(one.row, loss) for loss in by_plan[key]]
    losses += [loss for row in used for loss in _gaps(row)]
    losses += [loss for row in used for loss in _bad_channels(row, axes)]
    return losses + list(_in_no_dyad(used, axes))


def losses_of_values(made: Sequence[RowPlan], axes: Axes, values: NDArray[np.floating]) -> list[Loss]:
    """
    What has no value for a reason that only signals show, such as gaps.

    Parameters
    ----------
    made : sequence of RowPlan
    axes : Axes
    values : float [row, epoch, channel_a, channel_b, band]
    """
    losses: list[Loss] = []
    for one, row_values in zip(made, values, strict=True):
        good = good_pairs(one.row, axes)
        for e, epoch in enumerate(one.asked):
            for k, band in enumerate(one.plan.spec.bands or {}):
                lost = good & np.isnan(row_values[e, :, :, k])
                if lost.any() and (epoch, band) in one.has_value:
                    losses += [
                        _of_row(one.row, replace(loss, epoch=epoch, band=band))
                        for loss in _empty_pairs(one.row, axes, good, lost)
                    ]
    return losses


def _empty_pairs(row: DyadRow, axes: Axes, good: NDArray[np.bool_], lost: NDArray[np.bool_]) -> Iterable[Loss]:
    """All pairs of a row, or all of a channel, or single ones."""
    loss = Loss(
        "",
        reason="too few of its cells are valid: samples are missing, or a signal is flat there",
        fix="repair the recordings, or lower min_valid",
    )
    if (lost == good).all():
        yield loss
        return
    for person, names, axis in ((row.person_a, axes.a, 1), (row.person_b, axes.b, 0)):
        for at in np.flatnonzero((lost == good).all(axis=axis) & good.any(axis=axis)):
            yield replace(loss, person=person, channel=names[at])
    whole_a, whole_b = ((lost == good).all(axis=axis) for axis in (1, 0))
    for a, b in np.argwhere(lost & ~whole_a[:, None] & ~whole_b):
        yield replace(loss, channel=f"{axes.a[a]} - {axes.b[b]}")


class NoValueError(PlanError):
    """A request of which some epochs or bands have no value in any dyad.

    Attributes
    ----------
    epochs, bands : set of str
        Those that have none.
    losses : list of Loss
        One for each epoch and band that no dyad has.
    """

    def __init__(self, epochs: set[str], bands: set[str], losses: list[Loss]) -> None:
        self.epochs, self.bands, self.losses = epochs, bands, losses
        first = next(loss for loss in losses if loss.epoch in epochs or loss.band in bands)
        where = f"band {first.band!r}" if first.epoch == "all" else f"epoch {first.epoch!r}, band {first.band!r}"
        super().__init__(f"{where} has no value in any dyad: {first.reason}: {first.fix}")


def require_values(losses: Sequence[Loss], rows: Sequence[RowPlan]) -> None:
    """
    Refuse a request of which an epoch or a band has no value in any dyad.

    Raises
    ------
    NoValueError
        With the reason, and what would keep it.
    """
    valued = set[tuple[str, str]]().union(*(one.has_value for one in rows))
    lost = {(loss.epoch, loss.band): loss for loss in reversed(losses) if loss.epoch != ALL and loss.what == NO_VALUE}
    lost = {place: loss for place, loss in reversed(lost.items()) if place not in valued}
    epochs = {epoch for epoch, _ in lost} - {epoch for epoch, _ in valued}
    bands = {band for _, band in lost} - {band for _, band in valued}
    if epochs or bands:
        raise NoValueError(epochs, bands, list(lost.values()))


def _of_row(row: DyadRow, loss: Loss) -> Loss:
    return replace(loss, dyad=row.dyad, session=row.session, task=row.task)


# --- rows that are not there ------------------------------------------------------------------------------------------


def _not_used(study: StudyFile) -> Iterable[Loss]:
    for row in study.all_dyads:
        if not row.use:
            yield _of_row(row, Loss("", reason="marked use=0 in the dyads table", fix="set use to 1"))


def _absent(rows: Sequence[DyadRow]) -> Iterable[Loss]:
    """Sessions and tasks that other dyads have."""
    occasions = list(dict.fromkeys((row.session, row.task) for row in rows))
    there = {(row.dyad, row.session, row.task) for row in rows}
    for dyad in dict.fromkeys(row.dyad for row in rows):
        for session, task in occasions:
            if (dyad, session, task) not in there:
                yield Loss(dyad, session, task, reason="no recording that is used, though other dyads have one")


# --- channels and gaps ------------------------------------------------------------------------------------------------


def _gaps(row: DyadRow) -> Iterable[Loss]:
    for recording in (row.recording_a, row.recording_b):
        if recording.n_missing:
            seconds = f"{recording.n_missing / recording.sfreq:.1f} s"
            reason = f"{seconds} missing in at least one good channel of {recording.participant}"
            yield _of_row(row, Loss("", what=CUT, reason=reason))


def good_pairs(row: DyadRow, axes: Axes) -> NDArray[np.bool_]:
    """Which of the pairs asked for have two good channels in a row: bool [channel_a, channel_b]."""
    a, b = (
        np.array([not reason for reason in _whats_wrong(recording, names)])
        for recording, names in ((row.recording_a, axes.a), (row.recording_b, axes.b))
    )
    return np.asarray(axes.mask & a[:, None] & b)


def _bad_channels(row: DyadRow, axes: Axes) -> Iterable[Loss]:
    asked = (axes.mask.any(axis=1, keepdims=True)[:, 0], axes.mask.any(axis=0, keepdims=True)[0])
    for recording, names, wanted in zip((row.recording_a, row.recording_b), (axes.a, axes.b), asked, strict=True):
        reasons = _whats_wrong(recording, names)
        for at in np.flatnonzero(wanted):
            if reasons[at]:
                loss = Loss(
                    "", person=recording.participant, channel=names[at], reason=reasons[at], fix=_OTHER_CHANNELS
                )
                yield _of_row(row, loss)


def _in_no_dyad(rows: Sequence[DyadRow], axes: Axes) -> Iterable[Loss]:
    """Pairs that are good in no dyad."""
    good = np.any([good_pairs(row, axes) for row in rows], axis=0)
    for a, b in np.argwhere(axes.mask & ~good):
        yield Loss(ALL, channel=f"{axes.a[a]} - {axes.b[b]}", reason="good in no dyad", fix=_OTHER_CHANNELS)


def _whats_wrong(recording: Recording, names: Sequence[str]) -> list[str]:
    """Why each of some channels cannot be used; empty where it can."""
    good = dict(zip(recording.channels, recording.good, strict=True))
    return ["not recorded" if name not in good else "" if good[name] else "bad" for name in names]


# --- epochs and bands -------------------------------------------------------------------------------------------------


def losses_of_recording(plan: EnginePlan) -> list[Loss]:
    """What a recording of its own lacks of each epoch and band."""
    return list(_of_epochs(plan, asked_samples(plan.epochs, plan.n_samples, plan.sfreq), None))


def _of_epochs(
    plan: EnginePlan, asked: Mapping[str, list[tuple[int, int]]], cut: Cut | None, *, trials: bool = False
) -> Iterable[Loss]:
    """What a row lacks of each epoch and band."""
    for e, (epoch, parts) in enumerate(asked.items()):
        n_asked, n_there = length(parts), length(within(parts, plan.n_samples))
        span = f"{n_there / plan.sfreq:g} of {n_asked / plan.sfreq:g} s"
        end = cut.reason if cut else _ends(parts, plan)
        keep = cut.fix(parts) if cut else ""
        for b, band in enumerate(plan.spec.bands or {}):
            if plan.enough[e, b]:
                if n_there < n_asked:
                    yield Loss("", epoch=epoch, band=band, what=CUT, reason=f"{span}, {end}", fix=keep or _end_it(plan))
                continue
            reason = _edges(plan, e, b, band)
            if trials:
                reason = f"a trial of {plan.n_samples / plan.sfreq:g} s: {reason}"
            if not n_there:
                begins = f"it begins at {parts[0][0] / plan.sfreq:g} s and holds no sample"
                reason, fix = f"{begins}, {end}", keep or "correct its start and stop, or leave the epoch out"
            elif n_there < n_asked:
                reason, fix = f"{span}, {end}; {reason}", keep or _end_it(plan)
            else:
                fix = _remedies(plan, epoch, band, "let a trial last" if trials else "record")
            yield Loss("", epoch=epoch, band=band, reason=reason, fix=fix)


def _ends(parts: Sequence[tuple[int, int]], plan: EnginePlan) -> str:
    if parts[-1][1] > plan.n_samples:
        return f"the recording ends at {plan.n_samples / plan.sfreq:g} s"
    return "the rest lies before the recording begins"


def _end_it(plan: EnginePlan) -> str:
    return f"let the epoch lie within 0 and {plan.n_samples / plan.sfreq:g} s, or record longer"


def _edges(plan: EnginePlan, e: int, b: int, band: str) -> str:
    """Why an epoch has too few cells of a band."""
    if not plan.shares[:, b].any():
        try:
            scales = textbook_scales(plan.n_samples, plan.spec.voices)
            band_rows(band, (plan.spec.bands or {})[band], scales, plan.sfreq)
        except PlanError as error:
            return str(error)
    share, needed = math.floor(100 * plan.shares[e, b]), f"{100 * plan.spec.min_valid:.3g} % are needed"
    return f"{share} % of its cells are free of edge effects, {needed}"


def _remedies(plan: EnginePlan, epoch: str, band: str, record: str) -> str:
    """What would give an epoch a value in a band."""
    edges = (plan.spec.bands or {})[band]
    low, longer = _lower_limit(plan, epoch, edges), _longer(plan, epoch, edges, record)
    words = [f"raise the lower limit to {low:g} Hz"] if low else []
    words += [longer] if longer else []
    return ", or ".join(words) or "leave the epoch or the band out, or lower min_valid"


def _has_value(plan: EnginePlan, epoch: str, band: Band, parts: object = None) -> bool:
    """Whether one epoch has enough cells of a band."""
    spec = replace(plan.spec, bands={"band": band})
    epochs: Any = None if plan.epochs is None else {epoch: parts or plan.epochs[epoch]}
    return bool(trusted_shares(plan.n_samples, plan.sfreq, spec, epochs)[0, 0] >= plan.spec.min_valid)


def _lower_limit(plan: EnginePlan, epoch: str, band: Band) -> float | None:
    """The lowest limit in Hz, in two digits, above which a band has enough cells; None if there is none."""
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


def _digit(value: float) -> float:
    """Size of the second digit of a number."""
    return float(10 ** (math.floor(math.log10(value)) - 1))
