"""What a request will not give: told from lengths, marks and words alone, before anything is computed."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..coupling.plan import asked_samples
from ..errors import PlanError
from ..recordings.recording import DyadRow, Recording
from ..recordings.study_file import StudyFile
from ..results.lost import ALL, CUT, NO_VALUE, Loss
from .channel_pairs import Axes
from .engines import EnginePlan
from .lost_epochs import Cut, epoch_losses
from .regions import SIDES, good_in, recording_of

LOG = logging.getLogger("ibsync")

_OTHER_CHANNELS = "choose other channels, or pack again"
_NO_PAIR = Loss("", reason="no channel pair that is asked for is good", fix=_OTHER_CHANNELS)


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
    starts : mapping of dyad to int
        First sample that is taken of each of these; missing is 0.
    trials : str
        Epoch of which the plan is one trial; empty where it is of the whole recording.
    """

    row: DyadRow
    plan: EnginePlan
    together: tuple[DyadRow, ...] = ()
    starts: Mapping[str, int] = field(default_factory=dict)
    trials: str = ""

    def available(self, row: DyadRow) -> int:
        """Samples of a row from its first on that is taken."""
        return row.recording_a.n_samples - self.start_of(row)

    def start_of(self, row: DyadRow) -> int:
        """First sample that is taken of a row."""
        return self.starts.get(row.dyad, 0)

    @property
    def is_whole(self) -> bool:
        """Whether its recordings are used in full."""
        return not self.start_of(self.row) and self.row.recording_a.n_samples == self.plan.n_samples

    @cached_property
    def asked(self) -> dict[str, list[tuple[int, int]]]:
        """Intervals of each epoch in samples."""
        n = self.available(self.row) if self.together else self.plan.n_samples
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
        if not self.together or self.available(self.row) == self.plan.n_samples:
            return None
        shortest = tuple(row for row in self.together if self.available(row) == self.plan.n_samples)
        others = min(self.available(row) for row in self.together if row not in shortest)
        return Cut(shortest, others, self.plan.n_samples / self.plan.sfreq)


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
        key = (one.plan.key, one.trials, one.available(one.row), one.cut_by and one.cut_by.reason)
        if key not in by_plan:
            by_plan[key] = list(epoch_losses(one.plan, one.asked, one.cut_by, trials=bool(one.trials)))
        losses += [_of_row(one.row, loss) for loss in by_plan[key]]
    losses += [loss for row in used for loss in _gaps(row)]
    losses += [loss for row in used for loss in _bad_channels(row, axes)]
    losses += [_of_row(row, _NO_PAIR) for row in used if not good_pairs(row, axes).any()]
    return losses + list(_in_no_dyad(used, axes))


def losses_of_values(made: Sequence[RowPlan], axes: Axes, values: Iterable[NDArray[np.floating]]) -> list[Loss]:
    """
    What has no value for a reason that only signals show, such as gaps.

    Parameters
    ----------
    made : sequence of RowPlan
    axes : Axes
    values : sequence of float [epoch, channel_a, channel_b, band]
        One of each of `made`; bands with all lags each.
    """
    losses: list[Loss] = []
    for one, row_values in zip(made, values, strict=True):
        good = good_pairs(one.row, axes)
        for e, epoch in enumerate(one.asked):
            for k, band in enumerate(one.plan.spec.bands or {}):
                at = k * max(1, len(one.plan.spec.lags))  # all lags have the same cells
                lost = good & np.isnan(row_values[e, :, :, at])
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
    # Of a row that others cut the reason says who did; the row that cuts them knows of its own end only.
    cut = {(one.row.dyad, one.row.session, one.row.task) for one in rows if one.cut_by}
    losses = sorted(losses, key=lambda loss: (loss.dyad, loss.session, loss.task) not in cut)
    lost = {(loss.epoch, loss.band): loss for loss in reversed(losses) if loss.epoch != ALL and loss.what == NO_VALUE}
    lost = {place: loss for place, loss in reversed(lost.items()) if place not in valued}
    epochs = {epoch for epoch, _ in lost} - {epoch for epoch, _ in valued}
    bands = {band for _, band in lost} - {band for _, band in valued}
    if epochs or bands:
        raise NoValueError(epochs, bands, list(lost.values()))


def _of_row(row: DyadRow, loss: Loss) -> Loss:
    return replace(loss, dyad=row.dyad, session=row.session, task=row.task)


# --- rows that are missing --------------------------------------------------------------------------------------------


def _not_used(study: StudyFile) -> Iterable[Loss]:
    for row in study.all_dyads:
        if not row.use:
            yield _of_row(row, Loss("", reason="marked use=0 in the dyads table", fix="set use to 1"))


def _absent(rows: Sequence[DyadRow]) -> Iterable[Loss]:
    """Sessions and tasks that other dyads have."""
    occasions = list(dict.fromkeys((row.session, row.task) for row in rows))
    present = {(row.dyad, row.session, row.task) for row in rows}
    for dyad in dict.fromkeys(row.dyad for row in rows):
        for session, task in occasions:
            if (dyad, session, task) not in present:
                reason = "not recorded or not used, though other dyads have this session and task"
                yield Loss(dyad, session, task, reason=reason)


# --- channels and gaps ------------------------------------------------------------------------------------------------


def _gaps(row: DyadRow) -> Iterable[Loss]:
    for recording in (row.recording_a, row.recording_b):
        if recording.n_missing:
            seconds = f"{recording.n_missing / recording.sfreq:.1f} s"
            reason = f"{seconds} missing in at least one good channel of {recording.participant!r}"
            yield _of_row(row, Loss("", what=CUT, reason=reason))


def good_pairs(row: DyadRow, axes: Axes) -> NDArray[np.bool_]:
    """Which of the pairs asked for have two good channels in a row: bool [channel_a, channel_b]."""
    return axes.n_pairs(row) > 0


def _bad_channels(row: DyadRow, axes: Axes) -> Iterable[Loss]:
    """Channels that cannot be used, and regions of which some or all channels cannot."""
    for side, places in zip(SIDES, np.argwhere(axes.mask).T, strict=True):
        names, recording = axes.names(side), recording_of(row, side)
        members = axes.members(row, side, names)
        for at in np.unique(places).tolist():
            n_good = good_in(recording, members[at])
            if n_good < max(1, len(members[at])):
                what = CUT if n_good else NO_VALUE
                reason = _whats_wrong(recording, names[at], members[at], n_good)
                loss = Loss("", "", "", recording.participant, channel=names[at], what=what, reason=reason)
                yield _of_row(row, replace(loss, fix=_OTHER_CHANNELS))


def _in_no_dyad(rows: Sequence[DyadRow], axes: Axes) -> Iterable[Loss]:
    """Pairs that are good in no dyad."""
    good = np.zeros_like(axes.mask)
    for row in rows:
        good |= good_pairs(row, axes)
    for a, b in np.argwhere(axes.mask & ~good):
        yield Loss(ALL, channel=f"{axes.a[a]} - {axes.b[b]}", reason="good in no dyad", fix=_OTHER_CHANNELS)


def _whats_wrong(recording: Recording, name: str, members: Sequence[str], n_good: int) -> str:
    """Why a channel, or a region of some channels, cannot be used or not wholly."""
    if tuple(members) == (name,):
        return "bad" if name in recording.channels else "not recorded"
    return f"{n_good} of its {len(members)} channels good" if members else "no such region"
