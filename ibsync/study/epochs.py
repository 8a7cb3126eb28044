"""Epochs of a recording, by name, by intervals or by events."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..coupling.spec import as_pairs
from ..errors import PlanError, did_you_mean
from ..recordings.names import plain
from ..recordings.recording import DyadRow
from .rows import Occasion

EpochWords = Sequence[str] | Mapping[str, Any] | None
Spans = dict[str, list[tuple[float, float]]]


def epoch_names(epochs: EpochWords) -> list[str]:
    """Labels of the epochs; without epochs the whole recording is named "all"."""
    _require_words(epochs)
    return ["all"] if epochs is None else [str(name) for name in epochs]


def _require_words(epochs: object) -> None:
    """Refuse what names no epochs."""
    if epochs is None or isinstance(epochs, Mapping):
        return
    if isinstance(epochs, str):
        raise PlanError(f"epochs must be a list of event labels, got {epochs!r}: write [{epochs!r}]")
    if not isinstance(epochs, Sequence) or not all(isinstance(name, str) for name in epochs):
        raise PlanError(
            f"epochs={epochs!r} must be a list of event labels such as ['talk'], or a mapping such as "
            "{'talk': (60, 240)} in s"
        )
    for name in epochs:
        if [*epochs].count(name) > 1:
            raise PlanError(f"epochs={epochs!r} names {name!r} twice: name each epoch once")


def spans_of(row: DyadRow, epochs: EpochWords) -> Spans | None:
    """Intervals of each epoch in s: as given, of trials in each one, or from the events of the dyad."""
    _require_words(epochs)
    if epochs is None:
        return None
    if isinstance(epochs, Mapping):
        given = given_spans(epochs)
        a = row.recording_a
        return in_every_trial(given, a.n_trials, a.trial_samples / a.sfreq) if a.trial_samples else given
    people = (row.recording_a.events, row.recording_b.events)
    labels = sorted({event.label for events in people for event in events})
    spans = {}
    for name in epochs:
        of_label = [[e for e in events if e.label == plain(name)] for events in people]
        marks = of_label[0] or of_label[1]
        spans[name] = [(e.onset, e.onset + e.duration) for e in marks if e.duration > 0]
        if marks and not spans[name]:
            raise PlanError(
                f"{row.label}: the events {name!r} have no duration; give the epoch as name = [start, stop] in s"
            )
        if not spans[name]:
            hint = did_you_mean(name, labels) or f"its events are {', '.join(map(repr, labels)) or 'none'}"
            raise PlanError(f"{row.label}: no event {name!r} with a duration; {hint}")
    return spans


def given_spans(epochs: Mapping[str, Any]) -> Spans:
    """Intervals in s of epochs that are given as one or several each."""
    return {str(name): [_interval(str(name), part) for part in as_pairs(v) or (v,)] for name, v in epochs.items()}


def in_every_trial(spans: Mapping[str, Sequence[tuple[float, float]]], n_trials: int, trial_s: float) -> Spans:
    """Intervals in s from the beginning of a trial, of all trials that lie end to end.

    Raises
    ------
    PlanError
        If one does not lie within a trial.
    """
    for name, parts in spans.items():
        for start, stop in parts:
            if not -1e-9 <= start < stop <= trial_s * (1 + 1e-9):
                raise PlanError(
                    f"epoch {name!r} ({start:g} to {stop:g} s) does not lie within a trial of {trial_s:g} s: give s "
                    "from the first sample of a trial, or name trials by the label of their event"
                )
    starts = [k * trial_s for k in range(n_trials)]
    return {name: [(at + a, at + b) for at in starts for a, b in parts] for name, parts in spans.items()}


def _interval(name: str, part: Any) -> tuple[float, float]:
    try:
        start, stop = (float(v) for v in part)
    except (TypeError, ValueError):
        raise PlanError(f"epoch {name!r}: expected (start, stop) in s, got {part!r}") from None
    return start, stop


def by_epochs(occasion: Occasion, epochs: EpochWords) -> list[tuple[list[DyadRow], Spans | None]]:
    """Rows of an occasion grouped by the timing of their epochs."""
    groups: dict[str, tuple[list[DyadRow], Spans | None]] = {}
    for row in occasion.rows:
        spans = spans_of(row, epochs)
        groups.setdefault(json.dumps(spans), ([], spans))[0].append(row)
    return list(groups.values())


@dataclass(frozen=True)
class Segment:
    """
    A part of every recording of an occasion in which some epochs lie at the same place.

    Parameters
    ----------
    epochs : tuple of int
        Numbers of these epochs among all that are asked for.
    spans : mapping of epoch to intervals in s after the beginning of the part, or None
    starts : mapping of dyad to int
        First sample of the part in the recordings of each dyad.
    n_samples : int
        Length of the part, which all have.
    """

    epochs: tuple[int, ...]
    spans: Spans | None
    starts: Mapping[str, int]
    n_samples: int

    @property
    def is_aligned(self) -> bool:
        """Whether epochs begin at other times in some dyads."""
        return any(self.starts.values())


def segments(occasion: Occasion, epochs: EpochWords) -> list[Segment]:
    """
    Parts of recordings to be exchanged, in which each epoch begins at its onset in every dyad.

    Epochs at one time in all dyads, within a sample, lie in the whole recordings. Others are aligned: as much is taken
    before the onset, and after it, as every dyad has, and an epoch lasts as long as the shortest. Epochs that are moved
    alike share a segment.

    Raises
    ------
    PlanError
        If an epoch has several intervals that do not follow each other in one way.
    """
    rows = occasion.rows
    if occasion.trial and isinstance(epochs, Mapping):  # in each trial alike
        shortest = min(rows, key=lambda row: row.recording_a.n_samples)
        places = dict.fromkeys((row.dyad for row in rows), 0)
        every = tuple(range(len(epochs)))
        return [Segment(every, spans_of(shortest, epochs), places, occasion.n_samples)]
    own = [spans_of(row, epochs) for row in rows]
    lengths = np.array([row.recording_a.n_samples for row in rows])
    groups: dict[tuple[int, ...], dict[str, list[tuple[float, float]]]] = {}
    for name in own[0] or {}:
        parts = _parts(occasion, name, [sorted(spans[name]) for spans in own if spans])
        starts, spans = [0] * len(rows), (own[0] or {})[name]
        if np.abs(parts - parts[0]).max() > 1 / occasion.sfreq:
            onsets = np.round(parts[:, 0, 0] * occasion.sfreq).astype(int)
            starts, lead = (onsets - onsets.min()).tolist(), onsets.min() / occasion.sfreq
            after = parts - parts[:, :1, :1] + lead
            spans = list(zip(after[0, :, 0].tolist(), after[:, :, 1].min(axis=0).tolist(), strict=True))
        groups.setdefault(tuple(starts), {})[name] = spans
    names, dyads = epoch_names(epochs), [row.dyad for row in rows]
    if not groups:
        return [Segment(tuple(range(len(names))), own[0], dict.fromkeys(dyads, 0), occasion.n_samples)]
    return [
        Segment(
            tuple(names.index(name) for name in spans), spans, dict(zip(dyads, starts, strict=True)),
            int((lengths - starts).min()),
        )
        for starts, spans in groups.items()
    ]  # fmt: skip


def _parts(occasion: Occasion, name: str, spans: Sequence[Sequence[tuple[float, float]]]) -> NDArray[np.float64]:
    """Intervals of an epoch in each dyad, which follow each other in one way: float64 [row, interval, 2]."""
    first, refused = occasion.rows[0], f"{occasion.label}: epoch {name!r} of dyad"
    fix = "re-pairing needs one order of intervals; name them apart, or give the epoch as name = [start, stop] in s"
    for row, intervals in zip(occasion.rows, spans, strict=True):
        if len(intervals) != len(spans[0]):
            raise PlanError(
                f"{refused} {first.dyad!r} has {len(spans[0])} intervals, that of dyad {row.dyad!r} "
                f"{len(intervals)}: {fix}"
            )
        onsets = np.array(intervals)[:, 0] - intervals[0][0] - (np.array(spans[0])[:, 0] - spans[0][0][0])
        if np.abs(onsets).max() > 1 / occasion.sfreq:
            raise PlanError(
                f"{refused} {first.dyad!r} is at {_times(np.array(spans[0]))} s, that of dyad {row.dyad!r} at "
                f"{_times(np.array(intervals))} s, at other intervals: {fix}"
            )
    return np.array(spans)


def common_epochs(occasion: Occasion, epochs: EpochWords) -> Spans | None:
    """The one timing of an occasion, within a sample.

    Raises
    ------
    PlanError
        If dyads differ: re-paired partners would not be in the same epoch at the same time.
    """
    groups = by_epochs(occasion, epochs)
    spans = groups[0][1]
    for rows, others in groups[1:]:
        for name in spans or {}:
            ours, theirs = (np.array(s[name]) for s in (spans, others) if s)
            if ours.shape != theirs.shape or np.abs(ours - theirs).max() > 1 / occasion.sfreq:
                raise PlanError(
                    f"{occasion.label}: epoch {name!r} is at {_times(ours)} s in dyad {groups[0][0][0].dyad!r} and at "
                    f"{_times(theirs)} s in dyad {rows[0].dyad!r}: re-pairing needs one timing; give the epochs as "
                    "name = [start, stop] in s, or align the recordings"
                )
    return spans


def _times(spans: NDArray[np.float64]) -> str:
    return ", ".join(f"{start:g}-{stop:g}" for start, stop in spans)
