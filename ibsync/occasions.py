"""Who meets whom, when: rows of a study by occasion, epochs, channel pairs, and the signals that belong to them."""

from __future__ import annotations

import difflib
import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .engine import Engine
from .errors import InputError, PlanError
from .recordings.recording import DyadRow, Recording
from .recordings.study import StudyFile
from .spec import WTC, as_pairs

Pairs = str | Sequence[tuple[str, str]]
Item = TypeVar("Item")
Read = TypeVar("Read")
EpochWords = Sequence[str] | Mapping[str, Any] | None


def occasion_label(session: object, task: object) -> str:
    """Name of an occasion: session and task, where they are named."""
    return " / ".join(str(word) for word in (session, task) if str(word)) or "all"


def row_coordinates(rows: Sequence[DyadRow]) -> dict[str, Any]:
    """Coordinates of a dataset with one row per dyad, session and task: people, roles, group, day, outcomes."""
    names = ("session", "task", "person_a", "person_b", "role_a", "role_b", "group")
    of_rows: dict[str, list[Any]] = {name: [getattr(row, name) for row in rows] for name in names}
    if any(np.isfinite(row.day) for row in rows):
        of_rows["day"] = [row.day for row in rows]
    outcomes = dict.fromkeys(name for row in rows for name in row.outcomes)
    of_rows |= {f"outcome_{name}": [row.outcomes.get(name, np.nan) for row in rows] for name in outcomes}
    return {"dyad": [row.dyad for row in rows], **{name: ("dyad", column) for name, column in of_rows.items()}}


@dataclass(frozen=True)
class Occasion:
    """Dyad rows of one session and task that are computed at one length."""

    label: str
    rows: tuple[DyadRow, ...]
    n_samples: int
    sfreq: float

    @property
    def by_dyad(self) -> dict[str, DyadRow]:
        """Row of each dyad that was there."""
        return {row.dyad: row for row in self.rows}

    def describe(self) -> list[str]:
        """Size and length, to be read."""
        longest = max(row.recording_a.n_samples for row in self.rows)
        cut = f", cut from up to {longest / self.sfreq:.1f} s" if longest > self.n_samples else ""
        return [f"{self.label}: {len(self.rows)} dyads, {self.n_samples / self.sfreq:.1f} s at {self.sfreq:g} Hz{cut}"]


def occasions_of(rows: Sequence[DyadRow], length: str, *, one_rate: bool = False) -> list[Occasion]:
    """Rows by session and task, and by rate; with length "own" also by length.

    Raises
    ------
    PlanError
        If `length` is neither "common" nor "own".
    InputError
        With `one_rate`: if dyads of an occasion differ in rate, or one has several recordings.
    """
    if length not in ("common", "own"):
        raise PlanError(f"length must be 'common' or 'own', got {length!r}")
    groups: dict[tuple[Any, ...], list[DyadRow]] = {}
    for row in rows:
        rate = row.recording_a.sfreq
        own = row.recording_a.n_samples if length == "own" else 0
        groups.setdefault((occasion_label(row.session, row.task), rate, own), []).append(row)
    occasions = [
        Occasion(label, tuple(members), min(r.recording_a.n_samples for r in members), rate)
        for (label, rate, _), members in groups.items()
    ]
    if one_rate:
        _refuse_two_rates(occasions)
    return occasions


def _refuse_two_rates(occasions: Sequence[Occasion]) -> None:
    first: dict[str, Occasion] = {}
    for occasion in occasions:
        other = first.setdefault(occasion.label, occasion)
        if other.sfreq != occasion.sfreq:
            raise InputError(
                f"{occasion.label}: dyad {occasion.rows[0].dyad!r} has {occasion.sfreq:g} Hz and dyad "
                f"{other.rows[0].dyad!r} {other.sfreq:g} Hz: pack the study again with one rate (resample)"
            )
        twice = [d for d in occasion.by_dyad if sum(row.dyad == d for row in occasion.rows) > 1]
        if twice:
            raise InputError(f"{occasion.label}: dyad {twice[0]!r} has several recordings: mark one for use")


def require_chroma(study: StudyFile, rows: Iterable[DyadRow], chroma: str) -> None:
    """Refuse a study in which a recording lacks the chroma, naming it."""
    for row in rows:
        for recording in (row.recording_a, row.recording_b):
            if chroma not in recording.chromas:
                raise InputError(
                    f"{study.path}: {row.label}: {recording.participant} has no {chroma!r}, only "
                    f"{', '.join(recording.chromas)}: choose another chroma"
                )


# --- epochs -----------------------------------------------------------------------------------------------------------

Spans = dict[str, list[tuple[float, float]]]


def epoch_names(epochs: EpochWords) -> list[str]:
    """Labels of the epochs; without epochs the whole recording is named "all"."""
    return ["all"] if epochs is None else [str(name) for name in epochs]


def spans_of(row: DyadRow, epochs: EpochWords) -> Spans | None:
    """Intervals of each epoch in s: as given, or from the events of the dyad."""
    if epochs is None:
        return None
    if isinstance(epochs, Mapping):
        return {str(name): [_interval(str(name), part) for part in as_pairs(v) or (v,)] for name, v in epochs.items()}
    if isinstance(epochs, str):
        raise PlanError(f"epochs must be a list of event labels, got {epochs!r}: write [{epochs!r}]")
    events = row.recording_a.events or row.recording_b.events
    labels = sorted({event.label for event in events})
    spans = {}
    for name in epochs:
        spans[name] = [(e.onset, e.onset + e.duration) for e in events if e.label == name and e.duration > 0]
        if not spans[name]:
            near = difflib.get_close_matches(name, labels, 1)
            known = f"did you mean {near[0]!r}?" if near else f"its events are {', '.join(map(repr, labels)) or 'none'}"
            raise PlanError(f"{row.label}: no event {name!r} with a duration; {known}")
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


# --- channels and numbers ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Axes:
    """Channel names of both people, over all dyads, and which pairs are wanted."""

    a: tuple[str, ...]
    b: tuple[str, ...]
    wanted: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: Sequence[DyadRow], pairs: Pairs) -> Axes:
        """All channels of some rows; `pairs` names those wanted: "all", "same" or a list of (channel_a, channel_b)."""
        a = tuple(dict.fromkeys(name for row in rows for name in row.recording_a.channels))
        b = tuple(dict.fromkeys(name for row in rows for name in row.recording_b.channels))
        if isinstance(pairs, str):
            if pairs not in ("all", "same"):
                raise PlanError(f"pairs must be 'all', 'same' or a list of (channel_a, channel_b), got {pairs!r}")
            wanted = np.ones((len(a), len(b)), bool) if pairs == "all" else np.array(a)[:, None] == np.array(b)
        else:
            wanted = np.zeros((len(a), len(b)), bool)
            for first, second in _listed_pairs(pairs):
                wanted[_position(first, a), _position(second, b)] = True
        if not wanted.any():
            raise PlanError(f"pairs={pairs!r} holds no pair of channels: name some, or write pairs='all'")
        return cls(a, b, wanted)


def _listed_pairs(pairs: Any) -> list[tuple[str, str]]:
    listed = list(pairs) if isinstance(pairs, Iterable) else [pairs]
    for pair in listed:
        if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
            raise PlanError(f"pairs must be 'all', 'same' or a list of (channel_a, channel_b), got {pair!r} in it")
    return listed


def _position(name: str, names: tuple[str, ...]) -> int:
    if name not in names:
        near = difflib.get_close_matches(name, names, 1)
        raise PlanError(
            f"no channel {name!r}" + (f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(names)}")
        )
    return names.index(name)


def signals_of(
    study: StudyFile, recording: Recording, chroma: str, channels: tuple[str, ...], n_samples: int
) -> NDArray[np.float32]:
    """Signals by channel name, NaN for a channel that is missing or bad: float32 [channel, sample]."""
    signals = study.signals(recording, chroma)
    rows = {name: k for k, (name, good) in enumerate(zip(recording.channels, recording.good, strict=True)) if good}
    out = np.full((len(channels), n_samples), np.nan, np.float32)
    for k, name in enumerate(channels):
        if name in rows:
            out[k] = signals[rows[name], :n_samples]
    return out


def read_ahead(read: Callable[[Item], Read], items: Iterable[Item]) -> Iterator[tuple[Item, Read]]:
    """Each item with what was read of it; the next one is read while this one is worked on."""
    with ThreadPoolExecutor(1) as pool:
        pending: deque[tuple[Item, Future[Read]]] = deque()
        for item in items:
            pending.append((item, pool.submit(read, item)))
            if len(pending) > 1:
                earlier, reading = pending.popleft()
                yield earlier, reading.result()
        for item, reading in pending:
            yield item, reading.result()


def engine_of(occasion: Occasion, spec: WTC, spans: Spans | None, backend: str, made: dict[Any, Engine]) -> Engine:
    """The engine of an occasion and timing of epochs; `made` keeps it for the next one of the kind."""
    key = (occasion.n_samples, occasion.sfreq, json.dumps(spans))
    if key not in made:
        made[key] = Engine(occasion.n_samples, occasion.sfreq, spec, epochs=spans, backend=backend)
    return made[key]


def labels_of(
    rows: Iterable[tuple[object, object, object]],
    epochs: Iterable[object],
    channels_a: Iterable[object],
    channels_b: Iterable[object],
    bands: Iterable[object],
) -> str:
    """What the axes of a study's values stand for, as JSON text: rows are (dyad, session, task)."""
    named: dict[str, list[Any]] = {"dyad": [[str(word) for word in row] for row in rows]}
    for axis, labels in (("epoch", epochs), ("channel_a", channels_a), ("channel_b", channels_b), ("band", bands)):
        named[axis] = [str(label) for label in labels]
    return json.dumps(named)
