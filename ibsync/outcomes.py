"""Association of synchrony with an outcome: over dyads, or over the sessions of each dyad."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from .blocks import components
from .errors import PlanError
from .nulls.freedman_lane import LEAST_UNITS, FreedmanLane, Shuffles, basis_of, residuals
from .nulls.grouptest import Tail
from .nulls.inference import check_corrections, hopeless
from .nulls.philox import STREAM_VERSION
from .recordings.study import StudyFile
from .results import FEATURE, TEST_ARRAYS, Result, build_result
from .testing import DEFAULT_CORRECTIONS, refuse_or_warn

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    Values = Mapping[Any, float] | pd.Series[float]
    Covariates = Sequence[str] | Mapping[str, Values]

Floats = NDArray[np.float64]
Level = Literal["mean", "slope", "within"]

_PREFIX = "outcome_"
_TIME = "session"
# What is left of a covariate after others were taken out counts as nothing below this share of its spread.
_NOTHING = 1e-9
# Attributes of a former test that say nothing of this one.
_FORMER = (
    "stop_at", "warning", "roles", "caution", "left_out", "exact", "min_p", "n_draws", "hypothesis", "not_excluded",
)  # fmt: skip


def outcome(
    real: xr.Dataset | Result,
    outcome: str | Values,
    *,
    covariates: Covariates = (),
    level: Level = "mean",
    lag: int = 0,
    study: StudyFile | None = None,
    order: Sequence[str] | None = None,
    n_perm: int = 10_000,
    seed: int = 1,
    tail: Tail = "two-sided",
    correct: Sequence[str] | None = None,
    alpha: float = 0.05,
) -> Result:
    """Do the synchronous improve? Partial correlation of synchrony with an outcome, tested by permutation.

    Without covariates the outcome is permuted over dyads, which is exact; with covariates what they leave of the
    outcome (Freedman and Lane 1983, *J. Bus. Econ. Stat.* 1:292), which is right in large samples and close in small
    ones. Synchrony is taken less its `null_mean` where `real` has one. Dyads that share a person, such as the clients
    of one therapist, only exchange outcomes among themselves.

    Parameters
    ----------
    real : xarray.Dataset or Result
        From `Study.synchrony` or a test.
    outcome : str, mapping or pandas.Series
        Name of an outcome that `real` carries as a coordinate of its dyads or that `study` holds; or values by dyad,
        or by (dyad, session). NaN is missing.
    covariates : sequence of str, or mapping of name to values, optional
        Numbers like the outcome, to be held constant. The name "session" is the number of the session in time.
    level : {"mean", "slope", "within"}
        What is related: means over the sessions of each dyad; the slope of synchrony over sessions and the mean
        outcome; or the sessions of each dyad, both sides less the dyad's mean, exchanged within the dyad.
    lag : int
        Pairs synchrony with the outcome so many sessions later, where both are there. Not for "slope".
    study : Study, optional
        Holds the outcomes and covariates that are named.
    order : sequence of str, optional
        Sessions in time, where their labels hold no number that tells.
    n_perm, seed : int
        Permutations to be drawn, and their seed; all are listed where there are no more than a million.
    tail : {"two-sided", "greater", "less"}
        "greater": higher outcomes go with more synchrony.
    correct : sequence of {"fdr", "fdr_by", "max"}, optional
        Corrections over all channel pairs x bands x epochs. One that is named must be able to find something at
        `alpha`. Default: "fdr" and "max", with a warning where they cannot.
    alpha : float
        Level at which a finding is wanted.

    Returns
    -------
    Result
        With one row per dyad (per dyad and session for "within"), whose `coherence` is what was related and `outcome`
        the outcome. `group_statistic` is the partial correlation, `slope` the change of the outcome per unit of
        coherence, `t` its t, `n_dyads` the dyads behind each. Attribute `left_out` names the dyads that lack something.

    Raises
    ------
    PlanError
        If a name is unknown, fewer than four dyads have all values, the outcome is constant, a covariate is constant
        or a sum of others, there are too many of them, dyads are tied through several persons, the order of sessions
        is needed and not known, or the draws are too few for a correction that was named.

    Warns
    -----
    RuntimeWarning
        If a dyad is left out, or no single finding could survive the default corrections.
    """
    names = DEFAULT_CORRECTIONS if correct is None else correct
    _check_words(level, lag, tail, names)
    dataset = real.dataset if isinstance(real, Result) else real
    lookup = _Lookup(dataset, study)
    wanted = lookup.column(outcome, "outcome")
    others = [lookup.column(values, name) for name, values in _named(covariates)]
    table = _Table.of(dataset, wanted, others, order, needs_time=lag > 0 or level == "slope")
    sample = _SAMPLES[level](table, lag)
    _refuse_unusable(sample, wanted.name, table.names)
    shuffles = Shuffles.plan(sample.units, sample.strata, n_perm, seed)
    bands = np.broadcast_to(_groups(table.shape), table.shape).reshape(-1)
    test = FreedmanLane(sample.values, sample.outcome, sample.nuisance, shuffles, tail=tail, groups=bands)
    caution = hopeless(lambda some: test.too_few(some, alpha=alpha), names)
    refuse_or_warn(caution, correct, sample.left_out)
    attrs = {
        "null_kind": "outcome", "outcome": wanted.name, "covariates": table.names, "level": level, "lag": lag,
        "less_null_mean": int("null_mean" in dataset), "shared_persons": int(sample.shared), "tail": tail,
        "correct": list(names), "alpha": alpha, "n_draws": shuffles.n, "exact": int(shuffles.exact),
        "min_p": test.min_p, "seed": seed, "caution": caution, "left_out": sample.left_out,
        "stream_version": STREAM_VERSION, "corrected_over": [str(dataset["chroma"].item())],
        "measure": str(dataset.attrs.get("measure", "coherence")),
    }  # fmt: skip
    found = test.run(names) | {"n_dyads": _n_dyads(sample)}
    return build_result(_dataset(dataset, sample, table, wanted.name), _shaped(found, table.shape), attrs)


def _check_words(level: str, lag: int, tail: str, correct: Sequence[str]) -> None:
    for name, value, known in (("level", level, get_args(Level)), ("tail", tail, get_args(Tail))):
        if value not in known:
            raise PlanError(f"{name}={value!r} is unknown; valid are {', '.join(map(repr, known))}")
    if isinstance(lag, bool) or not isinstance(lag, int) or lag < 0:
        raise PlanError(f"lag={lag!r} is not a number of sessions; give 0, 1, 2, ...")
    if lag and level == "slope":
        raise PlanError("lag pairs single sessions, a slope takes all of them: use level='mean' or 'within' with lag")
    check_corrections(correct)
    for name in correct:
        if name in ("cluster", "tfce"):
            raise PlanError(f"correct={name!r} is not offered for outcomes; use 'max', 'fdr' or 'fdr_by'")


def _named(covariates: Covariates) -> list[tuple[str, str | Values]]:
    """Each covariate with its name, and its values or the name again."""
    if isinstance(covariates, str):
        raise PlanError(f"covariates={covariates!r} is one name; give a list, [{covariates!r}]")
    if isinstance(covariates, Mapping):
        return [(str(name), values) for name, values in covariates.items()]
    return [(str(name), name) for name in covariates]


# --- where the numbers are --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Column:
    """Numbers by (dyad, session), or by (dyad, None) where one holds for all sessions; NaN or absent is missing."""

    name: str
    values: Mapping[tuple[str, str | None], float]

    @property
    def sessions(self) -> set[str]:
        return {session for _, session in self.values if session is not None}

    def on(self, dyads: Sequence[str], sessions: Sequence[str]) -> Floats:
        """float64 [dyad, session]."""
        every = {dyad: self.values.get((dyad, None), np.nan) for dyad in dyads}
        return np.array([[self.values.get((dyad, label), every[dyad]) for label in sessions] for dyad in dyads])


@dataclass(frozen=True)
class _Lookup:
    """Where outcomes and covariates are found by name."""

    real: xr.Dataset
    study: StudyFile | None

    def column(self, what: str | Values, name: str) -> _Column:
        """The values of a name, or values that were given."""
        if isinstance(what, str):
            return self._by_name(what, "outcome" if name == "outcome" else "covariate")
        if hasattr(what, "to_dict"):
            own = getattr(what, "name", None)
            name = str(own) if name == "outcome" and own is not None else name
            what = what.to_dict()
        if not isinstance(what, Mapping) or not what:
            raise PlanError(f"{name} is neither a name nor values by dyad; write {{'dyad01': 3.5, ...}}")
        return _Column(name, {_key(key, name): _number(value, key, name) for key, value in what.items()})

    def _by_name(self, name: str, role: str) -> _Column:
        if name == _TIME:
            return _Column(name, {})
        coordinates = self._coordinates()
        if name in coordinates:
            return _Column(name, _mean_by_key(self.real, self.real[coordinates[name]].to_numpy(), name))
        rows = self.study.dyads if self.study is not None else ()
        stored = dict.fromkeys(key for row in rows for key in row.outcomes)
        if name in stored:
            keys = [(row.dyad, row.session) for row in rows]
            return _Column(name, _mean_of(keys, [row.outcomes.get(name, np.nan) for row in rows]))
        if name in self.real.coords and self.real[name].dims == ("dyad",):
            raise PlanError(f"{role} {name!r} holds text; give numbers by dyad, such as 0 and 1")
        known = [*coordinates, *stored]
        near = difflib.get_close_matches(name, known, 1)
        if near:
            raise PlanError(f"there is no {role} {name!r}; did you mean {near[0]!r}?")
        there = f"there are {', '.join(map(repr, known))}" if known else "give study=, or values by dyad"
        raise PlanError(f"there is no {role} {name!r}; {there}")

    def _coordinates(self) -> dict[str, str]:
        """Coordinates of dyads that hold numbers, by their names without the prefix that a study gives them."""
        numeric = [str(name) for name, c in self.real.coords.items() if c.dims == ("dyad",) and c.dtype.kind in "fiub"]
        return {name.removeprefix(_PREFIX): name for name in numeric}


def _key(key: Any, name: str) -> tuple[str, str | None]:
    if isinstance(key, tuple):
        if len(key) != 2:
            raise PlanError(f"{name} has the key {key!r}; use a dyad or (dyad, session)")
        return str(key[0]), str(key[1])
    return str(key), None


def _number(value: Any, key: Any, name: str) -> float:
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
    keys = list(zip(*_labels(real), strict=True))
    return _mean_of(keys, [_number(value, key, name) for value, key in zip(values, keys, strict=True)])


def _mean_of(keys: Iterable[tuple[str, str]], values: Iterable[float]) -> dict[tuple[str, str | None], float]:
    """Mean of the values of each dyad and session, which may have several tasks."""
    gathered: dict[tuple[str, str | None], list[float]] = {}
    for key, value in zip(keys, values, strict=True):
        gathered.setdefault(key, []).append(value)
    return {key: float(_mean(np.array(some), 0)) for key, some in gathered.items()}


def _labels(real: xr.Dataset) -> tuple[list[str], list[str]]:
    """Dyad and session of each row."""
    dyads = real["dyad"].values.astype(str).tolist()
    has_sessions = "session" in real.coords
    return dyads, real["session"].values.astype(str).tolist() if has_sessions else [""] * len(dyads)


def _in_time(labels: Iterable[str], order: Sequence[str] | None, needed: bool) -> list[str]:
    """Sessions in time, by `order` or by the number in each label."""
    found = sorted(set(labels))
    if order is not None:
        absent = [label for label in found if label not in list(order)]
        if absent or len(set(order)) != len(order):
            wrong = f"lacks session {absent[0]!r}" if absent else "names a session twice"
            raise PlanError(f"order {wrong}; name each session once, first to last")
        return [label for label in order if label in found]
    numbers = [re.findall(r"\d+", label) for label in found]
    if all(len(some) == 1 for some in numbers) and len({int(some[0]) for some in numbers}) == len(found):
        return sorted(found, key=lambda label: int(re.findall(r"\d+", label)[0]))
    if needed:
        raise PlanError(
            f"sessions {', '.join(map(repr, found))} do not tell their order; give order=[first, ..., last]"
        )
    return found


# --- what is related --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Table:
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
    shape: tuple[int, ...]

    @classmethod
    def of(
        cls, real: xr.Dataset, wanted: _Column, others: Sequence[_Column], order: Sequence[str] | None, needs_time: bool
    ) -> _Table:
        of_dyad, of_session = _labels(real)
        names = [column.name for column in others]
        needs_time = needs_time or _TIME in names or wanted.name == _TIME
        dyads = list(dict.fromkeys(of_dyad))
        sessions = _in_time({*of_session, *wanted.sessions}, order, needs_time)
        rows: list[list[list[int]]] = [[[] for _ in sessions] for _ in dyads]
        for row, (dyad, session) in enumerate(zip(of_dyad, of_session, strict=True)):
            rows[dyads.index(dyad)][sessions.index(session)].append(row)
        values = _synchrony(real)
        synchrony = np.stack([[_mean(values[some], 0) for some in of_one] for of_one in rows])
        time = np.tile(np.arange(1.0, len(sessions) + 1), (len(dyads), 1))
        columns = [time if column.name == _TIME else column.on(dyads, sessions) for column in (wanted, *others)]
        covariates = np.array(columns[1:]).reshape(len(others), *columns[0].shape)
        persons = [_persons(real, [row for some in of_one for row in some]) for of_one in rows]
        shape = tuple(real.sizes[dim] for dim in FEATURE)
        return cls(dyads, sessions, rows, synchrony, columns[0], covariates, wanted.name, names, persons, shape)

    def later(self, lag: int) -> Floats:
        """The outcome so many sessions later: float64 [dyad, session]."""
        out = np.full(self.outcome.shape, np.nan)
        out[:, : max(len(self.sessions) - lag, 0)] = self.outcome[:, lag:]
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


def _synchrony(real: xr.Dataset) -> Floats:
    """The measure that was tested, less the mean of its null: float64 [row, feature]."""
    values = real["statistic" if "statistic" in real else "coherence"]
    if "null_mean" in real:
        values = values - real["null_mean"]
    array = values.transpose("dyad", *FEATURE).to_numpy().astype(np.float64)
    return np.asarray(array.reshape(len(array), -1))


def _persons(real: xr.Dataset, rows: Sequence[int]) -> set[str]:
    columns = [real[name].values.astype(str) for name in ("person_a", "person_b") if name in real.coords]
    return {str(column[row]) for column in columns for row in rows}


def _mean(values: Floats, axis: int) -> Floats:
    """Mean of what is not missing, NaN where all is."""
    present = np.isfinite(values)
    n = present.sum(axis=axis)
    total = np.where(present, values, 0.0).sum(axis=axis)
    return np.asarray(np.divide(total, n, out=np.full(np.shape(total), np.nan), where=n > 0))


@dataclass(frozen=True)
class _Sample:
    """
    What enters the test.

    Parameters
    ----------
    units, strata : list of str
        Label of each unit, and within which it may be exchanged.
    places : list of (int, list of int)
        Dyad and sessions of each unit.
    values : float64 [unit, feature]
    outcome : float64 [unit]
    covariates : float64 [unit, covariate]
    left_out : str
    within : bool
        Whether units are the sessions of dyads.
    """

    units: list[str]
    strata: list[str]
    places: list[tuple[int, list[int]]]
    values: Floats
    outcome: Floats
    covariates: Floats
    left_out: str
    within: bool = False

    @property
    def n_dyads(self) -> int:
        return len({dyad for dyad, _ in self.places})

    @property
    def shared(self) -> bool:
        """Whether dyads that share a person only exchange among themselves."""
        return not self.within and any(self.strata)

    @property
    def intercepts(self) -> Floats:
        """One per stratum, as differences between strata are never exchanged: float64 [unit, stratum]."""
        return np.array([[own == label for label in sorted(set(self.strata))] for own in self.strata], np.float64)

    @property
    def nuisance(self) -> Floats:
        """Intercepts and covariates, float64 [unit, column]."""
        centred = residuals(self.covariates, basis_of(self.intercepts))
        return np.hstack([self.intercepts, centred])


def _of_means(table: _Table, lag: int) -> _Sample:
    """Means over the sessions of each dyad."""
    later = table.later(lag)
    if lag == 0:
        return _over_dyads(table, _mean(table.synchrony, 1), _mean(later, 1), _mean(table.covariates, 2))
    paired = np.isfinite(table.synchrony).any(axis=2) & np.isfinite(later)
    synchrony = _mean(np.where(paired[:, :, None], table.synchrony, np.nan), 1)
    covariates = _mean(np.where(paired, table.covariates, np.nan), 2)
    return _over_dyads(table, synchrony, _mean(np.where(paired, later, np.nan), 1), covariates)


def _of_slopes(table: _Table, _: int) -> _Sample:
    """Slope of synchrony over the sessions of each dyad, per session."""
    present = np.isfinite(table.synchrony)
    time = np.where(present, np.arange(len(table.sessions), dtype=np.float64)[:, None], np.nan)
    centred = np.where(present, time - _mean(time, 1)[:, None], 0.0)
    square = (centred**2).sum(axis=1)
    product = (centred * np.nan_to_num(table.synchrony)).sum(axis=1)
    slope = np.divide(product, square, out=np.full(square.shape, np.nan), where=square > 0)
    return _over_dyads(table, slope, _mean(table.outcome, 1), _mean(table.covariates, 2), "synchrony in two sessions")


def _over_dyads(
    table: _Table, synchrony: Floats, outcome: Floats, covariates: Floats, what: str = "synchrony"
) -> _Sample:
    present = {
        what: np.isfinite(synchrony).any(axis=1),
        repr(table.outcome_name): np.isfinite(outcome),
        **{repr(name): np.isfinite(values) for name, values in zip(table.names, covariates, strict=True)},
    }
    kept = np.flatnonzero(np.all(list(present.values()), axis=0)).tolist()
    _refuse_few(len(kept), present)
    strata = _strata([table.dyads[dyad] for dyad in kept], [table.persons[dyad] for dyad in kept])
    every = [session for session, _ in enumerate(table.sessions)]
    return _Sample(
        units=[table.dyads[dyad] for dyad in kept], strata=strata, places=[(dyad, every) for dyad in kept],
        values=synchrony[kept], outcome=outcome[kept], covariates=covariates[:, kept].T,
        left_out=table.lacking(present),
    )  # fmt: skip


def _within(table: _Table, lag: int) -> _Sample:
    """Sessions of each dyad, an intercept for each dyad, exchanged within it."""
    later = table.later(lag)
    here = {"synchrony": np.isfinite(table.synchrony).any(axis=2), repr(table.outcome_name): np.isfinite(later)}
    here |= {repr(name): np.isfinite(v) for name, v in zip(table.names, table.covariates, strict=True)}
    complete = np.all(list(here.values()), axis=0)
    listed = list(here)
    enough = {f"two sessions that have {', '.join(listed[:-1])} and {listed[-1]}": complete.sum(axis=1) >= 2}
    kept = np.flatnonzero(complete.sum(axis=1) >= 2)
    _refuse_few(len(kept), enough)
    places = [(int(dyad), int(session)) for dyad in kept for session in np.flatnonzero(complete[dyad])]
    at = tuple(np.array(places).T)
    return _Sample(
        units=[table.sessions[session] for _, session in places],
        strata=[table.dyads[dyad] for dyad, _ in places],
        places=[(dyad, [session]) for dyad, session in places],
        values=table.synchrony[at],
        outcome=later[at],
        covariates=table.covariates[:, *at].T,
        left_out=table.lacking(enough),
        within=True,
    )


_SAMPLES: dict[str, Callable[[_Table, int], _Sample]] = {"mean": _of_means, "slope": _of_slopes, "within": _within}


def _strata(dyads: Sequence[str], persons: Sequence[set[str]]) -> list[str]:
    """
    Within which dyads outcomes are exchanged: those that share a person, and all others, labelled "".

    Raises
    ------
    PlanError
        If dyads are tied through several persons, as in a round robin.
    """
    strata = [""] * len(dyads)
    for members in components(persons):
        if len(members) > 1:
            if not set.intersection(*(persons[at] for at in members)):
                tied = ", ".join(repr(dyads[at]) for at in members)
                raise PlanError(
                    f"dyads {tied} are tied through several persons, so their outcomes cannot be exchanged: test "
                    "dyads that share nobody, or one person"
                )
            for at in members:
                strata[at] = min(dyads[member] for member in members)
    return strata


# --- what cannot be tested --------------------------------------------------------------------------------------------


def _refuse_few(n_dyads: int, present: Mapping[str, NDArray[np.bool_]]) -> None:
    if n_dyads < LEAST_UNITS:
        having = " and ".join(f"{what} ({int(has.sum())})" for what, has in present.items())
        raise PlanError(f"an association needs {LEAST_UNITS} dyads with all values, {n_dyads} have {having}")


def _refuse_unusable(sample: _Sample, outcome: str, names: Sequence[str]) -> None:
    """Refuse what leaves nothing to be related."""
    free = len(sample.units) - sample.intercepts.shape[1] - len(names) - 1
    if free < 1:
        what = f"{len(sample.units)} sessions of " * sample.within + f"{sample.n_dyads} dyads"
        raise PlanError(f"{len(names)} covariates are too many for {what}; name at most {len(names) + free - 1}")
    varies = "varies over the sessions of no dyad" if sample.within else "is the same for all dyads that may exchange"
    if _is_nothing(sample.outcome, sample.intercepts):
        raise PlanError(
            f"outcome {outcome!r} {varies}, so nothing can go along with it; choose another outcome or level"
        )
    taken = sample.intercepts
    for name, values in zip(names, sample.covariates.T, strict=True):
        if _is_nothing(values, sample.intercepts):
            raise PlanError(f"covariate {name!r} {varies}; leave it out")
        if _is_nothing(values, taken):
            raise PlanError(f"covariate {name!r} is a weighted sum of the others; leave it out")
        taken = np.column_stack([taken, residuals(values, basis_of(sample.intercepts))])
    if _is_nothing(sample.outcome, taken):
        raise PlanError(f"the covariates explain outcome {outcome!r} entirely; leave out the one that repeats it")


def _is_nothing(values: Floats, taken: Floats) -> bool:
    """Whether nothing is left of values [unit] after columns [unit, column] were taken out."""
    left = np.linalg.norm(residuals(values, basis_of(taken)))
    return bool(left <= _NOTHING * np.linalg.norm(values))


# --- labels -----------------------------------------------------------------------------------------------------------


def _groups(shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Number of the epoch and band, [epoch, 1, 1, band]."""
    return np.arange(shape[0] * shape[3]).reshape(shape[0], 1, 1, shape[3])


def _n_dyads(sample: _Sample) -> NDArray[np.int64]:
    """Dyads with values, for "within" in two sessions: int64 [feature]."""
    dyads = np.array([dyad for dyad, _ in sample.places])
    least = 2 if sample.within else 1
    present = np.isfinite(sample.values)
    counts = [present[dyads == dyad].sum(axis=0) >= least for dyad in np.unique(dyads)]
    return np.asarray(np.sum(counts, axis=0))


def _dataset(real: xr.Dataset, sample: _Sample, table: _Table, name: str) -> xr.Dataset:
    """One row per unit, with what was related and the outcome."""
    import xarray as xr

    rows = [np.concatenate([table.rows[dyad][session] for session in some]).astype(int) for dyad, some in sample.places]
    valid = real["valid_fraction"].transpose("dyad", *FEATURE).to_numpy()
    dims = ("dyad", *FEATURE)
    told = {"units": "1", "long_name": "synchrony that was related to the outcome"}
    variables = {
        "coherence": (dims, sample.values.reshape(len(rows), *table.shape), told),
        "valid_fraction": (dims, np.stack([_mean(valid[some], 0) for some in rows]), real["valid_fraction"].attrs),
        "outcome": ("dyad", sample.outcome, {"long_name": name}),
    }
    coords: dict[str, Any] = {
        str(label): values for label, values in real.coords.items() if {*values.dims} <= {*FEATURE}
    }
    coords["dyad"] = [table.dyads[dyad] for dyad, _ in sample.places]
    for label, values in real.coords.items():
        of_unit = [set(values.values[some].tolist()) for some in rows] if values.dims == ("dyad",) else []
        # What changes between the sessions of a dyad is no property of their mean.
        if label != "dyad" and of_unit and all(len(labels) == 1 for labels in of_unit):
            coords[str(label)] = ("dyad", [labels.pop() for labels in of_unit])
    attrs = {key: value for key, value in real.attrs.items() if key not in _FORMER}
    return xr.Dataset(variables, coords=coords, attrs=attrs)


_TOLD = {
    "t": "t of the slope of the outcome on synchrony",
    "slope": "change of the outcome per unit of synchrony",
    "group_statistic": "partial correlation of synchrony with the outcome",
    "group_null_sd": "standard deviation of the correlation under the hypothesis",
}


def _shaped(found: Mapping[str, NDArray[Any]], shape: tuple[int, ...]) -> dict[str, Any]:
    """The arrays that a result holds, each with its axes."""
    out: dict[str, Any] = {}
    for name, values in found.items():
        if name in ("null_hist", "pooled_statistic"):
            out[name] = values.reshape(shape[0], shape[3], *values.shape[1:])
        elif name in ("t", "slope"):
            out[name] = (FEATURE, values.reshape(shape))
        elif name in TEST_ARRAYS:
            out[name] = values.reshape(shape) if TEST_ARRAYS[name][0] == FEATURE else values
    return out
