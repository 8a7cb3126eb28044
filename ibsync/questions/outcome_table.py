"""Outcomes and covariates by name or by value, and everything of a study by dyad and session."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError, did_you_mean
from ..recordings.study_file import StudyFile
from ..results.layout import FEATURE, refuse_lags, refuse_rows_twice, tested_values

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

Values: TypeAlias = "Mapping[Any, float] | pd.Series[float]"
Covariates: TypeAlias = "Sequence[str] | Mapping[str, Values]"

Floats = NDArray[np.float64]

TIME = "session"
"""Name of the covariate that is the number of the session."""

BASELINE = "baseline"
"""Name of the covariate that is the dyad's first value of the outcome."""

SCALES = 5.0
"""Ratio of typical sizes from which values of two groups that do not overlap look like two scales."""

_PREFIX = "outcome_"
_NO_GROUP = ("dyad", "session", "task", "day", "person_a", "person_b", "role_a", "role_b")


# --- where the numbers are --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Column:
    """Numbers by (dyad, session), or by (dyad, None) where one holds for all; `given` if not taken from the study."""

    name: str
    values: Mapping[tuple[str, str | None], float]
    given: bool = False

    @property
    def sessions(self) -> set[str]:
        """Sessions that have numbers of their own."""
        return {session for _, session in self.values if session is not None}

    def unknown_dyads(self, dyads: Sequence[str]) -> str:
        """Which of the values given belong to no dyad, in words; empty if each does."""
        lost = sorted({dyad for dyad, _ in self.values} - set(dyads)) if self.given else []
        return f"{self.name!r} of {', '.join(map(repr, lost))} is not used, there is no such dyad" if lost else ""

    def on(self, dyads: Sequence[str], sessions: Sequence[str]) -> Floats:
        """float64 [dyad, session]."""
        every = {dyad: self.values.get((dyad, None), np.nan) for dyad in dyads}
        return np.array([[self.values.get((dyad, label), every[dyad]) for label in sessions] for dyad in dyads])


@dataclass(frozen=True)
class Lookup:
    """Where outcomes and covariates are found by name."""

    real: xr.Dataset
    study: StudyFile | None

    def column(self, what: str | Values, name: str) -> Column:
        """The values of a name, or values that were given."""
        if isinstance(what, str):
            return self._by_name(what, "outcome" if name == "outcome" else "covariate")
        if hasattr(what, "to_dict"):
            own = getattr(what, "name", None)
            name = str(own) if name == "outcome" and own is not None else name
            what = _once(what, name)
        if not isinstance(what, Mapping) or not what:
            raise PlanError(f"{name} is neither a name nor values by dyad; write {{'dyad01': 3.5, ...}}")
        values = {_key(key, name): number_of(value, key, name) for key, value in what.items()}
        if len(values) < len(what):
            raise PlanError(f"{name} has two values for one dyad, such as 1 and '1'; give one for each")
        return Column(name, values, given=True)

    def covariates(self, covariates: Covariates) -> list[Column]:
        """Covariates; a label of dyads, such as a site, becomes a column of 0 and 1 for each label but the first."""
        return [column for name, what in named(covariates) for column in self._columns(name, what)]

    def _columns(self, name: str, what: str | Values) -> list[Column]:
        labelled = isinstance(what, str) and what not in (TIME, "dyad") and what in self.real.coords
        column = self.real[name] if labelled else None
        if column is None or column.dims != ("dyad",) or column.dtype.kind not in "UOT":
            return [self.column(what, name)]
        of_dyad: dict[str, str] = {}
        for dyad, label in zip(labels(self.real)[0], column.to_numpy().astype(str).tolist(), strict=True):
            if of_dyad.setdefault(dyad, label) != label:
                raise PlanError(f"dyad {dyad!r} has {name!r} {of_dyad[dyad]!r} and {label!r}; give it one")
        others = sorted(set(of_dyad.values()))[1:]
        if not others:
            raise PlanError(f"all dyads have one {name!r}; leave this covariate out")
        return [
            Column(f"{name} {other}", {(dyad, None): float(own == other) for dyad, own in of_dyad.items()})
            for other in others
        ]

    def _by_name(self, name: str, role: str) -> Column:
        if name == TIME or (name == BASELINE and role == "covariate" and name not in self._coordinates()):
            return Column(name, {})
        coordinates = self._coordinates()
        if name in coordinates:
            return Column(name, _mean_by_key(self.real, self.real[coordinates[name]].to_numpy(), name))
        rows = self.study.dyads if self.study is not None else ()
        stored = dict.fromkeys(key for row in rows for key in row.outcomes)
        if name in stored:
            keys = [(row.dyad, row.session) for row in rows]
            return Column(name, _mean_of(keys, [row.outcomes.get(name, np.nan) for row in rows]))
        if name in self.real.coords and self.real[name].dims == ("dyad",):
            raise PlanError(f"{role} {name!r} holds text; give numbers by dyad, such as 0 and 1")
        known = [*coordinates, *stored]
        listed = f"there are {', '.join(map(repr, known))}" if known else "give study=, or values by dyad"
        raise PlanError(f"there is no {role} {name!r}; {did_you_mean(name, known) or listed}")

    def _coordinates(self) -> dict[str, str]:
        """Coordinates of dyads that hold numbers, by their names without the prefix that a study gives them."""
        numeric = [str(name) for name, c in self.real.coords.items() if c.dims == ("dyad",) and c.dtype.kind in "fiub"]
        return {name.removeprefix(_PREFIX): name for name in numeric}


def _once(series: Any, name: str) -> Values:
    """A series as a mapping; a label that stands twice would lose a value."""
    if not series.index.is_unique:
        twice = series.index[series.index.duplicated()][0]
        raise PlanError(f"{name} has {twice!r} twice; give one value for each")
    found: Values = series.to_dict()
    return found


def _key(key: Any, name: str) -> tuple[str, str | None]:
    if isinstance(key, tuple):
        if len(key) != 2:
            raise PlanError(f"{name} has the key {key!r}; use a dyad or (dyad, session)")
        return str(key[0]), str(key[1])
    return str(key), None


def number_of(value: Any, key: Any, name: str) -> float:
    """
    Return a value as a number, NaN for None.

    Raises
    ------
    PlanError
        If it is none, or infinite.
    """
    if value is None:
        return float("nan")
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = float("inf")
    if np.isinf(number):
        raise PlanError(f"{name} of {key!r} is {value!r}; give a finite number, or NaN where it is missing")
    return number


def _mean_by_key(real: xr.Dataset, values: NDArray[Any], name: str) -> dict[tuple[str, str | None], float]:
    keys = list(zip(*labels(real), strict=True))
    return _mean_of(keys, [number_of(value, key, name) for value, key in zip(values, keys, strict=True)])


def _mean_of(keys: Iterable[tuple[str, str]], values: Iterable[float]) -> dict[tuple[str, str | None], float]:
    """Mean of the values of each dyad and session, which may have several tasks."""
    gathered: dict[tuple[str, str | None], list[float]] = {}
    for key, value in zip(keys, values, strict=True):
        gathered.setdefault(key, []).append(value)
    return {key: float(mean(np.array(some), 0)) for key, some in gathered.items()}


def labels(real: xr.Dataset) -> tuple[list[str], list[str]]:
    """Dyad and session of each row."""
    dyads = real["dyad"].values.astype(str).tolist()
    has_sessions = "session" in real.coords
    return dyads, real["session"].values.astype(str).tolist() if has_sessions else [""] * len(dyads)


def _in_time(labels: Iterable[str], time: Sequence[str] | None, needed: bool) -> tuple[list[str], Floats]:
    """Sessions in time, by `time` or by the number in each label, and that number or their place: [session]."""
    found = sorted(set(labels))
    if time is not None:
        absent = [label for label in found if label not in list(time)]
        if absent or len(set(time)) != len(time):
            wrong = f"lacks session {absent[0]!r}" if absent else "names a session twice"
            raise PlanError(f"time {wrong}; name each session once, first to last")
        places = [place for place, label in enumerate(time) if label in found]
        return [time[place] for place in places], np.array(places, np.float64) + 1
    numbers = [re.findall(r"\d+", label) for label in found]
    if all(len(some) == 1 for some in numbers) and len({int(some[0]) for some in numbers}) == len(found):
        number = {label: int(some[0]) for label, some in zip(found, numbers, strict=True)}
        return sorted(found, key=number.__getitem__), np.array(sorted(number.values()), dtype=np.float64)
    if needed:
        raise PlanError(f"sessions {', '.join(map(repr, found))} do not tell their order; give time=[first, ..., last]")
    return found, np.arange(1.0, len(found) + 1)


# --- what is related --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Table:
    """
    Everything by dyad and session.

    Parameters
    ----------
    dyads, sessions : list of str
        In the order of the data, and of time.
    rows : list of list of list of int
        Rows of the data of each dyad and session.
    synchrony : float64 [dyad, session, feature]
    outcome : float64 [dyad, session]
    covariates : float64 [covariate, dyad, session]
    outcome_name : str
    names : list of str
        Of the covariates.
    persons : list of set of str
        People of each dyad; empty sets where they are not known.
    when : float64 [session]
        The number in each session's label, or its place.
    notes : tuple of str
        What was given and is not used, what was averaged, and values that look like two scales.
    by_session : bool
        Whether the outcome was measured session by session.
    shape : tuple of int
        Features: (epoch, channel_a, channel_b, band).
    """

    dyads: list[str]
    sessions: list[str]
    rows: list[list[list[int]]]
    synchrony: Floats
    outcome: Floats
    covariates: Floats
    outcome_name: str
    names: list[str]
    persons: list[set[str]]
    when: Floats
    notes: tuple[str, ...]
    by_session: bool
    shape: tuple[int, ...]

    @classmethod
    def of(
        cls, real: xr.Dataset, wanted: Column, others: Sequence[Column], time: Sequence[str] | None, needs_time: bool
    ) -> Table:
        """
        From real synchrony and columns.

        Raises
        ------
        PlanError
            If a dyad has a session twice, or the order of sessions is needed and not known.
        """
        refuse_rows_twice(real)
        refuse_lags(real)
        of_dyad, of_session = labels(real)
        names = [column.name for column in others]
        needs_time = needs_time or bool({TIME, BASELINE} & {wanted.name, *names})
        dyads = list(dict.fromkeys(of_dyad))
        sessions, when = _in_time({*of_session, *wanted.sessions}, time, needs_time)
        rows: list[list[list[int]]] = [[[] for _ in sessions] for _ in dyads]
        for row, (dyad, session) in enumerate(zip(of_dyad, of_session, strict=True)):
            rows[dyads.index(dyad)][sessions.index(session)].append(row)
        _refuse_tasks(real, rows)
        values = _synchrony(real)
        synchrony = np.stack([[mean(values[some], 0) for some in of_one] for of_one in rows])
        places = np.tile(when, (len(dyads), 1))
        own = places if wanted.name == TIME else wanted.on(dyads, sessions)
        special = {TIME: places, BASELINE: np.tile(_first(own)[:, None], (1, len(sessions)))}
        # A column of that name which the data hold goes before the one made here.
        held = [special[c.name] if c.name in special and not c.values else c.on(dyads, sessions) for c in others]
        scales = [_two_scales(real, dyads, *pair) for pair in zip((wanted.name, *names), (own, *held), strict=True)]
        unknown_dyads = [column.unknown_dyads(dyads) for column in (wanted, *others)]
        return cls(
            dyads, sessions, rows, synchrony, own, np.array(held).reshape(len(others), *own.shape), wanted.name, names,
            [_persons(real, [row for some in of_one for row in some]) for of_one in rows], when,
            tuple(filter(None, [*unknown_dyads, *scales])), bool(wanted.sessions),
            tuple(real.sizes[dim] for dim in FEATURE),
        )  # fmt: skip

    @property
    def there(self) -> NDArray[np.bool_]:
        """Whether a session has any value of synchrony: bool [dyad, session]."""
        return np.asarray(np.isfinite(self.synchrony).any(axis=2))

    def later(self, ahead: int) -> Floats:
        """The outcome so many sessions later: float64 [dyad, session]."""
        out = np.full(self.outcome.shape, np.nan)
        out[:, : max(len(self.sessions) - ahead, 0)] = self.outcome[:, ahead:]
        return out

    def lacking(self, present: Mapping[str, NDArray[np.bool_]]) -> str:
        """Which dyads lack what, in words; from flags [dyad] by what it is."""
        told: dict[str, list[str]] = {}
        for at, dyad in enumerate(self.dyads):
            missing = [what for what, has in present.items() if not has[at]]
            if missing:
                told.setdefault(" and ".join(missing), []).append(repr(dyad))
        return "; ".join(
            f"dyad{'s' * (len(some) > 1)} {', '.join(some)} {'are' if len(some) > 1 else 'is'} left out, without {what}"
            for what, some in told.items()
        )


def _first(values: Floats) -> Floats:
    """First value of each dyad that is there: float64 [dyad] from [dyad, session]."""
    present = np.isfinite(values)
    return np.where(present.any(axis=1), values[np.arange(len(values)), present.argmax(axis=1)], np.nan)


def _refuse_tasks(real: xr.Dataset, rows: Sequence[Sequence[Sequence[int]]]) -> None:
    """Refuse several tasks of one session, which are conditions and have no mean."""
    for some in (some for of_one in rows for some in of_one if len(some) > 1):
        tasks = real["task"].values[some].astype(str).tolist()
        raise PlanError(
            f"dyad {str(real['dyad'].values[some[0]])!r} has the tasks {' and '.join(map(repr, tasks))} in one "
            f"session, and tasks are never averaged: choose one, real.isel(dyad=real.task.values == {tasks[0]!r})"
        )


def _two_scales(real: xr.Dataset, dyads: Sequence[str], name: str, values: Floats) -> str:
    """Why the values [dyad, session] of two groups look as if measured on two scales, in words; empty if not."""
    of_dyad = mean(values, 1)
    for column in (str(label) for label, held in real.coords.items() if held.dims == ("dyad",)):
        kind = real[column].dtype.kind
        if column in _NO_GROUP or column.startswith(_PREFIX) or column == name or kind not in "OUSTiub":
            continue
        label = dict(zip(map(str, real["dyad"].values), map(str, real[column].values), strict=True))
        groups: dict[str, list[float]] = {}
        for dyad, value in zip(dyads, of_dyad, strict=True):
            if np.isfinite(value):
                groups.setdefault(label[dyad], []).append(float(value))
        # Sites are coded by numbers too; a count such as the age has levels of one or two dyads.
        if kind in "iub" and min(map(len, groups.values()), default=0) < 3:
            continue
        for one, other in combinations([group for group, some in groups.items() if len(some) > 1], 2):
            ranges = [(min(groups[group]), max(groups[group])) for group in (one, other)]
            sizes = sorted(float(np.median(np.abs(groups[group]))) for group in (one, other))
            if max(low for low, _ in ranges) > min(high for _, high in ranges) and sizes[1] > SCALES * sizes[0]:
                runs = " and ".join(
                    f"from {low:g} to {high:g} in {column} {group!r}"
                    for (low, high), group in zip(ranges, (one, other), strict=True)
                )
                return f"{name!r} runs {runs}, as if measured on two scales: bring them to one, or test each apart"
    return ""


def _synchrony(real: xr.Dataset) -> Floats:
    """The measure that was tested, less the mean of its null: float64 [row, feature]."""
    values = tested_values(real)
    if "null_mean" in real:
        values = values - real["null_mean"]
    array = values.transpose("dyad", *FEATURE).to_numpy().astype(np.float64)
    return np.asarray(array.reshape(len(array), -1))


def _persons(real: xr.Dataset, rows: Sequence[int]) -> set[str]:
    columns = [real[name].values.astype(str) for name in ("person_a", "person_b") if name in real.coords]
    return {str(column[row]) for column in columns for row in rows}


def mean(values: Floats, axis: int) -> Floats:
    """Mean of what is not missing, NaN where all is."""
    present = np.isfinite(values)
    n = present.sum(axis=axis)
    total = np.where(present, values, 0.0).sum(axis=axis)
    return np.asarray(np.divide(total, n, out=np.full(np.shape(total), np.nan), where=n > 0))


def named(covariates: Covariates) -> list[tuple[str, str | Values]]:
    """Each covariate with its name, and its values or the name again."""
    if isinstance(covariates, str):
        raise PlanError(f"covariates={covariates!r} is one name; give a list, [{covariates!r}]")
    if isinstance(covariates, Mapping):
        return [(str(name), values) for name, values in covariates.items()]
    return [(str(name), name) for name in covariates]
