"""What there is to change: which sessions each dyad has, when they took place, and its slope over them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError, did_you_mean
from ..inference.slopes import Lines
from ..results.layout import FEATURE, ROW, refuse_lags, refuse_rows_twice, require_dataset, tested_values
from ..results.result import Result
from ..results.wording import null_of_rows
from .exchanges import Units
from .shared_people import Blocks, members_of

if TYPE_CHECKING:
    import xarray as xr

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


# --- what is given ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Source:
    """
    What was measured of each dyad in each session.

    Parameters
    ----------
    dataset : xarray.Dataset
        Labels of rows and features, and the share of trusted cells.
    values : float64 [row, feature]
        Less the null mean where there is one.
    null_kind, null_words : str
        The null whose mean was subtracted; empty for raw values.
    """

    dataset: xr.Dataset
    values: Floats
    null_kind: str
    null_words: str

    @classmethod
    def of(cls, real: xr.Dataset | Result) -> Source:
        """
        From real synchrony or from its test.

        Raises
        ------
        PlanError
            If there are no sessions, or a dyad stands twice in one session and task.
        """
        dataset = real.dataset if isinstance(real, Result) else real
        require_dataset(dataset)
        if "session" not in dataset.coords:
            raise PlanError(
                "there are no sessions to change over: give real synchrony, or the result of ibs.test on it"
            )
        refuse_rows_twice(dataset)
        refuse_lags(dataset)
        values = tested_values(dataset).transpose(*ROW).to_numpy().astype(np.float64)
        kind = words = ""
        if "null_mean" in dataset:
            values = values - dataset["null_mean"].transpose(*ROW).to_numpy()
            kind, words = str(dataset.attrs["null_kind"]), null_of_rows(dataset.attrs)
        held = dataset[["valid_fraction"]].assign_attrs(value_words=tested_values(dataset).attrs.get("long_name", ""))
        return cls(held, values.reshape(len(values), -1), kind, words)

    def only(self, groups: Sequence[str]) -> Source:
        """The dyads of some groups."""
        rows = np.isin(self.dataset["group"].values.astype(str), list(groups))
        return replace(self, dataset=self.dataset.isel(dyad=rows), values=self.values[rows])

    def others_than(self, groups: Sequence[str]) -> str:
        """Which dyads are of none of some groups, in words; empty if none is."""
        of_rows = zip(self.labels("dyad"), self.labels("group"), strict=True)
        others = dict.fromkeys(repr(dyad) for dyad, group in of_rows if group not in groups)
        return f" (without {', '.join(others)}, of other groups)" if others else ""

    @property
    def lengths(self) -> Floats:
        """
        Trusted length behind each value, as a share of the longest: float64 [row, feature].

        Recordings in full differ in length; of epochs, which are of one length, the share of trusted cells differs.
        """
        valid = self.dataset["valid_fraction"].transpose(*ROW).to_numpy().reshape(self.values.shape)
        # Values over the length that partners share know no length of their own.
        cut = "shared length" in str(self.dataset.attrs.get("value_words", ""))
        whole = self.dataset.attrs.get("epochs") == "all" and "duration" in self.dataset.coords and not cut
        seconds = self.dataset["duration"].values.astype(np.float64) if whole else np.ones(len(valid))
        lengths = np.where(np.isfinite(self.values), np.nan_to_num(valid) * seconds[:, None], 0.0)
        most = lengths.max(initial=0.0)
        return lengths / most if most > 0 else np.isfinite(self.values).astype(np.float64)

    def labels(self, name: str) -> list[str]:
        """A property of each row; empty text where the data have none."""
        rows = self.dataset.sizes["dyad"]
        return [str(v) for v in self.dataset[name].values] if name in self.dataset.coords else [""] * rows


@dataclass(frozen=True)
class Dyads:
    """
    The dyads that have a slope.

    Parameters
    ----------
    source : Source
    names : tuple of str
    rows : tuple of int64 [session]
        Rows of each dyad, in the order of time.
    times : tuple of float64 [session]
        Times of these rows, from 0 for the first to 1 for the last of the study.
    when : tuple of float64 [session]
        The same in the user's unit.
    span : float
        Time from the first to the last, in the user's unit.
    left_out : str
        Which dyads have no slope, and which of their sessions have no value; empty if all have.
    blocks : Blocks
        Dyads that are not independent of each other.
    """

    source: Source
    names: tuple[str, ...]
    rows: tuple[Integers, ...]
    times: tuple[Floats, ...]
    when: tuple[Floats, ...]
    span: float
    left_out: str
    blocks: Blocks

    @classmethod
    def of(cls, source: Source, time: str | Mapping[str, float], block: str | None = "person") -> Dyads:
        """
        Sessions of each dyad in the order of time.

        Raises
        ------
        PlanError
            If a session has no time or a time is taken twice, fewer than two dyads have a slope, or there are no such
            blocks.
        """
        when = times_of(source, time)
        labels = np.array(source.labels("dyad"))
        rows = {str(name): np.flatnonzero(labels == name) for name in dict.fromkeys(labels)}
        rows = {name: mine[np.argsort(when[mine], kind="stable")] for name, mine in rows.items()}
        for name, mine in rows.items():
            refuse_one_time_twice(source, name, mine, when[mine])
        present = np.isfinite(source.values)
        kept = [name for name, mine in rows.items() if (present[mine].sum(axis=0) >= 2).any()]
        lacks = [_lack(source, name, mine) for name, mine in rows.items() if name not in kept]
        lacks += [_empty(source, int(row)) for name in kept for row in rows[name] if not present[row].any()]
        if len(kept) < 2:
            only = f"only {kept[0]!r} has" if kept else "none has"
            raise PlanError(f"a change is tested over dyads and needs two that have at least two sessions: {only} them")
        used = np.concatenate([when[rows[name]] for name in kept])
        first, span = float(used.min()), float(np.ptp(used))
        own = tuple(when[rows[name]] for name in kept)
        times = tuple((mine - first) / span for mine in own)
        blocks = Blocks.of(kept, members_of(source.dataset, kept, block), block)
        ordered = tuple(rows[name] for name in kept)
        return cls(source, tuple(kept), ordered, times, own, span, "; ".join(lacks), blocks)

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes of a feature."""
        return tuple(self.source.dataset.sizes[dim] for dim in FEATURE)

    @property
    def values(self) -> list[Floats]:
        """Values of each dyad, float64 [session, feature]."""
        return [self.source.values[rows] for rows in self.rows]

    @property
    def n_sessions(self) -> list[int]:
        """Sessions of each dyad that have a value."""
        return [int(np.isfinite(values).any(axis=1).sum()) for values in self.values]

    @property
    def entered(self) -> str:
        """How much went into the slopes, in words."""
        return f"{len(self.names)} dyads with {sum(self.n_sessions)} sessions"

    @property
    def units(self) -> Units:
        """Dyads as they may be exchanged."""
        return Units(self.names, self.blocks, self.shape, " with two sessions")

    def lines(self, *, by_length: bool) -> Lines:
        """Lines over the span of the study, [dyad, feature]; sessions count alike or by the length of recordings."""
        lengths = self.source.lengths if by_length else np.ones_like(self.source.values)
        parts = zip(self.values, self.times, self.rows, strict=True)
        return Lines.stacked([Lines.of(values, times, lengths[rows]) for values, times, rows in parts])


def _lack(source: Source, dyad: str, rows: Integers) -> str:
    """What keeps a dyad out, in words."""
    if len(rows) == 1:
        return f"dyad {dyad!r} is left out, it has only session {source.labels('session')[rows[0]]!r}"
    return f"dyad {dyad!r} is left out, it has no channel pair with values in two sessions"


def _empty(source: Source, row: int) -> str:
    """A session that holds nothing, in words."""
    return f"session {source.labels('session')[row]!r} of dyad {source.labels('dyad')[row]!r} is left out, it is empty"


# --- when -------------------------------------------------------------------------------------------------------------


def times_of(source: Source, time: str | Mapping[str, float]) -> Floats:
    """Time of each row, float64 [row]."""
    sessions = source.labels("session")
    if isinstance(time, Mapping):
        known = {str(label): number for label, number in time.items()}
        fix = "add it to time"
    elif time == "session":
        known, fix = dict(numbers_of(sessions)), _example(source, sessions)
    elif isinstance(time, str) and time in source.dataset.coords and source.dataset[time].dims == ("dyad",):
        return _of_coordinate(source, time)
    else:
        raise PlanError(
            f"time={time!r} is unknown; write 'session', 'day' where the dyads table has one, or when each session "
            "took place: time={'pre': 0, 'post': 1}"
        )
    for dyad, session in zip(source.labels("dyad"), sessions, strict=True):
        if session not in known:
            raise PlanError(f"dyad {dyad!r}: session {session!r} has no place in time; {fix}")
        if not _is_number(known[session]):
            raise PlanError(f"dyad {dyad!r}: the time of session {session!r} is {known[session]!r}; give a number")
    return np.array([float(known[session]) for session in sessions])


def _of_coordinate(source: Source, name: str) -> Floats:
    """Times that the data hold, float64 [row]."""
    values = source.dataset[name].values
    for dyad, session, value in zip(source.labels("dyad"), source.labels("session"), values, strict=True):
        if not _is_number(value):
            raise PlanError(
                f"dyad {dyad!r}: session {session!r} has no number in {name!r}; fill in the column {name} of the dyads "
                "table, or leave the row out"
            )
    return values.astype(np.float64)


def disorder(dyads: Dyads, time: str | Mapping[str, float]) -> str:
    """Where the order of a dyad's sessions contradicts their days, in words; empty if nothing is known to."""
    source = dyads.source
    if "day" not in source.dataset.coords or source.dataset["day"].dims != ("dyad",):
        return ""
    sessions, days = source.labels("session"), source.dataset["day"].values
    days = np.array([float(day) if _is_number(day) else np.nan for day in days])
    numbers = numbers_of(sessions) if time == "day" else {}
    other = np.array([numbers.get(label, np.nan) for label in sessions]) if time == "day" else days
    fix = "time='session'" if time == "day" else "time='day'"
    for name, rows in zip(dyads.names, dyads.rows, strict=True):
        for earlier, later in pairwise(rows):
            if other[later] < other[earlier]:
                return (
                    f"dyad {name!r}: session {sessions[earlier]!r} (day {days[earlier]:g}) is taken before session "
                    f"{sessions[later]!r} (day {days[later]:g}), but labels and days tell another order: correct the "
                    f"days in the dyads table, or give {fix}"
                )
    return ""


def _is_number(value: object) -> bool:
    try:
        return isfinite(float(value))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False


def numbers_of(sessions: Sequence[str]) -> dict[str, float]:
    """Number of each label that is one, or that ends in one after the same letters as the first such label."""
    plain = {label: float(label) for label in sessions if _is_number(label)}
    if plain:
        return plain
    parts = {label: re.fullmatch(r"(\D*)(\d+)", label) for label in sessions}
    found = {label: (match[1], float(match[2])) for label, match in parts.items() if match}
    letters = next(iter(found.values()))[0] if found else ""
    return {label: number for label, (before, number) in found.items() if before == letters}


_STAGES = (
    ("baseline", "pre", "before", "pretest", "first", "screening"),
    ("mid", "middle", "during", "midtest", "second"),
    ("post", "after", "posttest", "end", "last", "third"),
    ("follow-up", "followup", "follow up", "fu", "catamnesis"),
)  # fmt: skip
"""Names of sessions that say their order."""


def _example(source: Source, sessions: Sequence[str]) -> str:
    """How to say when the sessions took place, in words: with numbers where days or names tell the order."""
    shown = list(dict.fromkeys(sessions))
    places = _by_days(source, sessions) or _by_names(shown)
    if places:
        ordered = sorted(shown, key=lambda label: places[label])
        return f"say when each took place: time={ {label: place for place, label in enumerate(ordered)} }"
    numbers = ", ".join(f"{label!r}: ..." for label in shown[:4])
    return f"say when each took place, with a number for each: time={{{numbers}{', ...' if len(shown) > 4 else ''}}}"


def _by_days(source: Source, sessions: Sequence[str]) -> dict[str, float]:
    """Mean day of each session; empty unless all have one, and no two the same."""
    if "day" not in source.dataset.coords:
        return {}
    days = source.dataset["day"].values.astype(np.float64)
    labels = np.array(sessions)
    means = {label: float(days[labels == label].mean()) for label in dict.fromkeys(sessions)}
    return means if all(map(isfinite, means.values())) and len(set(means.values())) == len(means) else {}


def _by_names(labels: Sequence[str]) -> dict[str, int]:
    """Stage of each session by its name; empty unless all have one of their own."""
    stages = {name: number for number, names in enumerate(_STAGES) for name in names}
    places = {label: stages[label.lower()] for label in labels if label.lower() in stages}
    return places if len(places) == len(labels) == len(set(places.values())) else {}


def refuse_one_time_twice(source: Source, dyad: str, rows: Integers, when: Floats) -> None:
    """Raise PlanError if two rows of a dyad, in the order of time, take place at the same time."""
    for earlier, later in zip(np.flatnonzero(np.diff(when) == 0), np.flatnonzero(np.diff(when) == 0) + 1, strict=True):
        one, other = (source.labels("session")[rows[k]] for k in (earlier, later))
        if one != other:
            raise PlanError(
                f"dyad {dyad!r}: sessions {one!r} and {other!r} take place at one time ({when[later]:g}); give time "
                "with a number of its own for each"
            )
        task = source.labels("task")[rows[earlier]]
        raise PlanError(
            f"dyad {dyad!r} has session {one!r} twice; choose one task, real.isel(dyad=real.task.values == {task!r})"
        )


# --- groups -----------------------------------------------------------------------------------------------------------


def two_groups(dataset: xr.Dataset, between: str | tuple[str, str]) -> tuple[str, str]:
    """Names of the groups to compare, first and second."""
    labels = [str(group) for group in dataset["group"].values] if "group" in dataset.coords else []
    known = sorted(set(labels))
    of_dyad: dict[str, str] = {}
    for dyad, group in zip(dataset["dyad"].values, labels, strict=bool(labels)):
        if of_dyad.setdefault(str(dyad), group) != group:
            raise PlanError(f"dyad {str(dyad)!r} is in groups {of_dyad[str(dyad)]!r} and {group!r}; give it one")
    listed = ", ".join(map(repr, known)) or "none"
    if between == "group":
        if len(known) != 2:
            raise PlanError(f"between='group' compares two groups, there are {listed}; name two: between=('a', 'b')")
        return known[0], known[1]
    if not isinstance(between, list | tuple) or len(between) != 2 or between[0] == between[1]:
        raise PlanError(f"between must be 'group' or two different groups, got {between!r}")
    for name in between:
        if name not in known:
            raise PlanError(f"there is no group {name!r}; {did_you_mean(name, known) or f'there are {listed}'}")
    return between[0], between[1]


def in_first(dyads: Dyads, groups: Sequence[str]) -> NDArray[np.bool_]:
    """Which dyads are in the first group: bool [dyad]."""
    labels = dyads.source.labels("group")
    return np.array([labels[rows[0]] == groups[0] for rows in dyads.rows])
