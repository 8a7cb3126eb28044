"""Epochs of a recording, by name, by intervals or by events."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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
    """Intervals of each epoch in s: as given, or from the events of the dyad."""
    _require_words(epochs)
    if epochs is None:
        return None
    if isinstance(epochs, Mapping):
        return {str(name): [_interval(str(name), part) for part in as_pairs(v) or (v,)] for name, v in epochs.items()}
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
