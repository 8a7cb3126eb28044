"""Change over sessions: the slope of each dyad's synchrony over time, tested over dyads or between groups of them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from .errors import PlanError
from .nulls.drawntest import drawn_test
from .nulls.exchanges import Exchanges, list_up_to, min_p, too_few
from .nulls.grouptest import Tail
from .nulls.inference import check_corrections, dyad_summary, hopeless, repair_test, shortfall
from .nulls.labels import GroupLabels, SessionOrders, slopes
from .nulls.philox import STREAM_VERSION
from .nulls.signflip import exchange_test
from .nulls.surrogates import Draws, Null
from .occasions import occasion_label
from .results import FEATURE, TEST_ARRAYS, Result, build_result
from .storage import encode_attrs
from .testing import DEFAULT_CORRECTIONS, neighbour_graph, refuse_or_warn, require_match
from .wording import ORDER_WARNING, change_in_words, change_leaves_open, null_in_words

if TYPE_CHECKING:
    import xarray as xr

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Arrays = dict[str, NDArray[Any]]
Kind = Literal["sign_flip", "session_order"]

UNEVEN = 0.05
"""Difference between sessions in the share of trusted cells from which raw values call for a null."""

_ROW = ("dyad", *FEATURE)
# Per unit of time, and so to be turned from the time of the test into the user's.
_PER_TIME = ("group_statistic", "group_null_mean", "group_null_sd", "pooled_statistic", "hist_center")
_OF_TEST = (
    "null_kind", "n_draws", "exact", "min_p", "seed", "stop_at", "roles", "warning", "caution", "hypothesis",
    "not_excluded", "left_out",
)  # fmt: skip


def plasticity(
    real: xr.Dataset | Result,
    time: str | Mapping[str, float] = "session",
    *,
    kind: Kind = "sign_flip",
    null: Null | None = None,
    between: str | tuple[str, str] | None = None,
    n_perm: int = 10_000,
    seed: int = 1,
    tail: Tail = "two-sided",
    correct: Sequence[str] | None = None,
    alpha: float = 0.05,
    neighbours: Sequence[tuple[str, str]] | None = None,
) -> Result:
    """Test of a change of synchrony over sessions.

    Of each dyad and feature the least-squares slope over time is taken, over the sessions that are there. The test is
    of the mean slope over dyads; dyads count alike, however many sessions they have. By default each slope may change
    its sign (exact if slopes are symmetric about 0 under the hypothesis, whatever links the sessions of a dyad).

    Parameters
    ----------
    real : Result or xarray.Dataset
        A Result of `ibs.test`, of whose coherence the mean of each row's own null is subtracted before the slope is
        taken; or raw synchrony from `Study.synchrony`, which also grows with the rhythms of either person.
    time : "session" or mapping of session to number
        When each session took place: by default the number in its label ("2", "ses-02"), or as given, in days say.
    kind : {"sign_flip", "session_order"}
        What is exchanged within a dyad: the sign of its slope, or the order of its sessions. The second tests that *no*
        dyad changes, and rejects too often where dyads change in different directions.
    null : Null, optional
        Re-pairing null of the same study and spec, from `Study.null`. Then partners are exchanged, one exchange for all
        sessions: is the change specific to real partners? Raw values are compared, of real and re-paired alike.
    between : "group" or (group, group), optional
        Test the difference of the mean slopes of two groups, first minus second, by exchanging groups of whole dyads.
        "group" takes the two that there are, by their names.
    n_perm, seed : int
        Draws and their seed; all are listed where they are few. Without effect with `null`, which has its own.
    tail : {"greater", "less", "two-sided"}
    correct : sequence of {"fdr", "fdr_by", "max", "cluster", "tfce"}, optional
        Corrections over all channel pairs x bands x epochs. One that is named must be able to find something at
        `alpha`. Default: "fdr" and "max", with a warning where they cannot.
    alpha : float
        Level at which a finding is wanted.
    neighbours : sequence of (channel, channel), optional
        For "cluster" and "tfce": channels that lie side by side, instead of what their names say.

    Returns
    -------
    Result
        With one row per dyad. `coherence` and `slope` are its slope, per unit of time; `n_sessions` int64 [dyad] the
        sessions behind it; `slope_mean` and `slope_sd` those over dyads, for each group with `between`. The slopes are
        those of `session_value` over `session_time`, [dyad, nth_session] in the order of time, NaN after the last.
        Attribute `left_out` names dyads with fewer than two sessions.

    Raises
    ------
    PlanError
        If a session has no place in time or occurs twice in a dyad, fewer than two dyads (of a group) have two
        sessions, settings do not go together, or the draws are too few for a correction that was named.

    Warns
    -----
    RuntimeWarning
        If a dyad is left out, no single finding could survive the default corrections, raw values of sessions with
        unlike shares of trusted cells are compared, or the order of sessions is exchanged.
    """
    _check_words(kind, null, between, tail)
    names = DEFAULT_CORRECTIONS if correct is None else correct
    check_corrections(names)
    source = _Source.of(real)
    groups = None if between is None else _two_groups(source.dataset, between)
    dyads = _Dyads.of(source if groups is None else source.only(groups), time)
    wanted = _Wanted(n_perm, seed, names, tail, alpha)
    if null is not None:
        plan = _exchange_partners(source, null, dyads, wanted)
    elif groups is not None:
        plan = _exchange_groups(dyads, groups, wanted)
    else:
        plan = _flip_signs(dyads, wanted) if kind == "sign_flip" else _exchange_sessions(dyads, wanted)
    warning = "; ".join(filter(None, [_unlike_sessions(dyads) if null is None else "", plan.warning]))
    refuse_or_warn(plan.caution, correct, dyads.left_out, warning)
    change = {
        "per": "session" if time == "session" else "unit of time", "between": list(groups or ()),
        "taken_off": "" if null is not None else source.null_kind,
        "null": "" if null is not None else source.null_words,
    }  # fmt: skip
    attrs = {
        **plan.attrs, "change": change, "tail": tail, "correct": list(names), "alpha": alpha, "caution": plan.caution,
        "left_out": dyads.left_out, "stream_version": STREAM_VERSION,
        "corrected_over": [str(source.dataset["chroma"].item())],
    }  # fmt: skip
    attrs.setdefault("measure", source.dataset.attrs.get("measure", "coherence"))
    if warning:
        attrs["warning"] = warning
    if null is None:
        attrs["not_excluded"] = change_leaves_open(str(attrs["null_kind"]), source.null_kind)
    tested = _dataset(dyads, plan, groups, attrs)
    graph = neighbour_graph([tested], neighbours) if {"cluster", "tfce"} & set(names) else None
    found = plan.run(tail=tail, correct=names, graph=graph)
    return build_result(tested, _shaped(found, dyads) | dict(plan.of_rows), attrs)


def _check_words(kind: str, null: Null | None, between: object, tail: str) -> None:
    if kind not in get_args(Kind):
        raise PlanError(f"kind={kind!r} is unknown; valid are {', '.join(map(repr, get_args(Kind)))}")
    if tail not in get_args(Tail):
        raise PlanError(f"tail={tail!r} is unknown; valid are {', '.join(map(repr, get_args(Tail)))}")
    if null is not None and not isinstance(null, Null):
        raise PlanError("null must be a re-pairing null (kind='repair'); leave it out to flip the signs of slopes")
    named = [word for word, given in {"null": null is not None, "between": between is not None}.items() if given]
    named += ["kind='session_order'"] * (kind == "session_order")
    if len(named) > 1:
        raise PlanError(f"{' and '.join(named)} are different tests: choose one of them")


# --- what is given ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Source:
    """
    What was measured of each dyad in each session.

    Parameters
    ----------
    dataset : xarray.Dataset
        Without the attributes of an earlier test.
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
    def of(cls, real: xr.Dataset | Result) -> _Source:
        """From real synchrony or from its test."""
        dataset = real.dataset if isinstance(real, Result) else real
        if "session" not in dataset.coords:
            raise PlanError(
                "there are no sessions to change over: give real synchrony, or the result of ibs.test on it"
            )
        measured = "statistic" if "statistic" in dataset else "coherence"
        values = dataset[measured].transpose(*_ROW).to_numpy().astype(np.float64)
        kind = words = ""
        if "null_mean" in dataset:
            values = values - dataset["null_mean"].transpose(*_ROW).to_numpy()
            kind, words = str(dataset.attrs.get("null_kind", "null")), null_in_words(dataset.attrs)
        kept = {name: value for name, value in dataset.attrs.items() if name not in _OF_TEST}
        bare = dataset[["coherence", "valid_fraction"]]
        bare.attrs = kept
        return cls(bare, values.reshape(len(values), -1), kind, words)

    def only(self, groups: Sequence[str]) -> _Source:
        """The dyads of some groups."""
        rows = np.isin(self.dataset["group"].values.astype(str), list(groups))
        return replace(self, dataset=self.dataset.isel(dyad=rows), values=self.values[rows])

    def labels(self, name: str) -> list[str]:
        """A property of each row; empty text where the data have none."""
        rows = self.dataset.sizes["dyad"]
        return [str(v) for v in self.dataset[name].values] if name in self.dataset.coords else [""] * rows


@dataclass(frozen=True)
class _Dyads:
    """
    The dyads that have a slope.

    Parameters
    ----------
    source : _Source
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
        Which dyads have no slope; empty if all have.
    """

    source: _Source
    names: tuple[str, ...]
    rows: tuple[Integers, ...]
    times: tuple[Floats, ...]
    when: tuple[Floats, ...]
    span: float
    left_out: str

    @classmethod
    def of(cls, source: _Source, time: str | Mapping[str, float]) -> _Dyads:
        """
        Sessions of each dyad in the order of time.

        Raises
        ------
        PlanError
            If a session has no time or a time is taken twice, or fewer than two dyads have a slope.
        """
        when = _times(source, time)
        labels = np.array(source.labels("dyad"))
        rows = {str(name): np.flatnonzero(labels == name) for name in dict.fromkeys(labels)}
        rows = {name: mine[np.argsort(when[mine], kind="stable")] for name, mine in rows.items()}
        for name, mine in rows.items():
            _refuse_one_time_twice(source, name, mine, when[mine])
        present = np.isfinite(source.values)
        kept = [name for name, mine in rows.items() if (present[mine].sum(axis=0) >= 2).any()]
        left_out = "; ".join(_lack(source, name, mine) for name, mine in rows.items() if name not in kept)
        if len(kept) < 2:
            only = f"only {kept[0]!r} has" if kept else "none has"
            raise PlanError(f"a change is tested over dyads and needs two that have at least two sessions: {only} them")
        used = np.concatenate([when[rows[name]] for name in kept])
        first, span = float(used.min()), float(np.ptp(used))
        own = tuple(when[rows[name]] for name in kept)
        times = tuple((mine - first) / span for mine in own)
        return cls(source, tuple(kept), tuple(rows[name] for name in kept), times, own, span, left_out)

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes of a feature."""
        return tuple(self.source.dataset.sizes[dim] for dim in FEATURE)

    @property
    def values(self) -> list[Floats]:
        """Values of each dyad, float64 [session, feature]."""
        return [self.source.values[rows] for rows in self.rows]

    @property
    def slopes(self) -> Floats:
        """Slope over the span of the study, float64 [dyad, feature]."""
        return np.stack([slopes(v, t) for v, t in zip(self.values, self.times, strict=True)])


def _lack(source: _Source, dyad: str, rows: Integers) -> str:
    """What keeps a dyad out, in words."""
    if len(rows) == 1:
        return f"dyad {dyad!r} is left out, it has only session {source.labels('session')[rows[0]]!r}"
    return f"dyad {dyad!r} is left out, it has no channel pair with values in two sessions"


# --- when -------------------------------------------------------------------------------------------------------------


def _times(source: _Source, time: str | Mapping[str, float]) -> Floats:
    """Time of each row, float64 [row]."""
    sessions = source.labels("session")
    if isinstance(time, Mapping):
        known = {str(label): number for label, number in time.items()}
        mend = "add it to time"
    elif time == "session":
        known, mend = dict(_numbers_of(sessions)), _example(sessions)
    else:
        raise PlanError(
            f"time={time!r} is unknown; write 'session', or when each session took place: time={{'pre': 0, 'post': 1}}"
        )
    for dyad, session in zip(source.labels("dyad"), sessions, strict=True):
        if session not in known:
            raise PlanError(f"dyad {dyad!r}: session {session!r} has no place in time; {mend}")
        if not _is_number(known[session]):
            raise PlanError(f"dyad {dyad!r}: the time of session {session!r} is {known[session]!r}; give a number")
    return np.array([float(known[session]) for session in sessions])


def _is_number(value: object) -> bool:
    try:
        return isfinite(float(value))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False


def _numbers_of(sessions: Sequence[str]) -> dict[str, float]:
    """Number of each label that is one, or that ends in one after the same letters as the first such label."""
    plain = {label: float(label) for label in sessions if _is_number(label)}
    if plain:
        return plain
    parts = {label: re.fullmatch(r"(\D*)(\d+)", label) for label in sessions}
    found = {label: (match[1], float(match[2])) for label, match in parts.items() if match}
    letters = next(iter(found.values()))[0] if found else ""
    return {label: number for label, (before, number) in found.items() if before == letters}


def _example(sessions: Sequence[str]) -> str:
    """How to say when the sessions took place, in words."""
    shown = list(dict.fromkeys(sessions))[:4]
    return f"say when each took place: time={ {label: place for place, label in enumerate(shown)} }"


def _refuse_one_time_twice(source: _Source, dyad: str, rows: Integers, when: Floats) -> None:
    for earlier, later in zip(np.flatnonzero(np.diff(when) == 0), np.flatnonzero(np.diff(when) == 0) + 1, strict=True):
        one, other = (source.labels("session")[rows[k]] for k in (earlier, later))
        if one != other:
            raise PlanError(
                f"dyad {dyad!r}: sessions {one!r} and {other!r} take place at one time ({when[later]:g}); give time "
                "with a number of its own for each"
            )
        tasks = [source.labels("task")[rows[k]] for k in (earlier, later)]
        mend = (
            f"choose one task, real.isel(dyad=real.task.values == {tasks[0]!r})"
            if tasks[0] != tasks[1]
            else "leave one of the rows out"
        )
        raise PlanError(f"dyad {dyad!r} has session {one!r} twice; {mend}")


# --- groups -----------------------------------------------------------------------------------------------------------


def _two_groups(dataset: xr.Dataset, between: str | tuple[str, str]) -> tuple[str, str]:
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
    if isinstance(between, str) or len(between) != 2 or between[0] == between[1]:
        raise PlanError(f"between must be 'group' or two different groups, got {between!r}")
    for name in between:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {listed}"
            raise PlanError(f"there is no group {name!r}; {hint}")
    return between[0], between[1]


def _members(dyads: _Dyads, groups: Sequence[str]) -> NDArray[np.bool_]:
    """Which dyads are in the first group: bool [dyad]."""
    labels = dyads.source.labels("group")
    return np.array([labels[rows[0]] == groups[0] for rows in dyads.rows])


# --- what is exchanged ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Wanted:
    """Draws and their seed, corrections, tail and level of a test."""

    n: int
    seed: int
    correct: Sequence[str]
    tail: Tail
    alpha: float

    @property
    def sides(self) -> int:
        """By how many tails a p is multiplied."""
        return 2 if self.tail == "two-sided" else 1


@dataclass(frozen=True)
class _Plan:
    """
    A test that is ready to run.

    Parameters
    ----------
    slopes : float64 [dyad, feature]
        Over the span of the study.
    attrs : mapping
        What is to be remembered.
    run : callable
    caution, warning : str
        What it cannot find, and what it may find wrongly; empty if nothing.
    of_rows : mapping of str to array
        What is known of single dyads.
    of_sessions : sequence of float64 [session, feature]
        What was compared in the sessions of each dyad, if not the values of the dyads.
    """

    slopes: Floats
    attrs: Mapping[str, Any]
    run: Callable[..., Arrays]
    caution: str
    warning: str = ""
    of_rows: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    of_sessions: Sequence[Floats] = ()


def _flip_signs(dyads: _Dyads, wanted: _Wanted) -> _Plan:
    found, tail = dyads.slopes, wanted.tail
    draws = Exchanges.plan(dyads.names, wanted.n, wanted.seed, list_up_to=list_up_to(wanted.correct))
    caution = hopeless(
        lambda some: too_few(draws, _n_tested(found), some, tail=tail, alpha=wanted.alpha), wanted.correct
    )
    attrs = {
        "null_kind": "session_slopes", "n_draws": draws.n, "exact": int(draws.exact), "min_p": min_p(draws, tail),
        "seed": draws.seed,
    }  # fmt: skip
    run = partial(exchange_test, np.stack([found, -found], axis=1), draws, groups=_epoch_and_band(dyads.shape))
    return _Plan(found, attrs, run, caution)


def _exchange_sessions(dyads: _Dyads, wanted: _Wanted) -> _Plan:
    listed = list_up_to(wanted.correct)
    draws = SessionOrders.plan(dyads.names, dyads.values, dyads.times, wanted.n, wanted.seed, list_up_to=listed)
    return replace(_of_labels(draws, "session_order", dyads.slopes, wanted), warning=ORDER_WARNING)


def _exchange_groups(dyads: _Dyads, groups: Sequence[str], wanted: _Wanted) -> _Plan:
    first, found = _members(dyads, groups), dyads.slopes
    for name, members in zip(groups, (first, ~first), strict=True):
        n = int(members.sum())
        if n < 2:
            raise PlanError(
                f"group {name!r} has {n} dyad{'s' * (n != 1)} with two sessions; the mean of a group needs two"
            )
    present = np.isfinite(found)
    enough = (present[first].sum(axis=0) >= 2) & (present[~first].sum(axis=0) >= 2)
    tested = np.where(enough, found, np.nan)
    listed = list_up_to(wanted.correct)
    draws = GroupLabels.plan(dyads.names, first, tested, wanted.n, wanted.seed, list_up_to=listed)
    return replace(_of_labels(draws, "group_labels", tested, wanted), slopes=found)


def _of_labels(draws: SessionOrders | GroupLabels, kind: str, found: Floats, wanted: _Wanted) -> _Plan:
    """The test by listed or drawn relabellings."""
    lowest, n_tested = min(1.0, wanted.sides / (draws.n + 1)), _n_tested(found)

    def why(some: Sequence[str]) -> str:
        short = shortfall(draws.n, n_tested, some, alpha=wanted.alpha, sides=wanted.sides)
        if not short or not draws.exact:
            return short
        named = ", ".join(map(repr, some)) or "no correction"
        return (
            f"{len(found)} dyads allow only {draws.n + 1} exchanges (smallest p {lowest:.3g}), too few for "
            f"{n_tested} features tested with {named} at alpha={wanted.alpha:g}; record more or test fewer features"
        )

    def run(**words: Any) -> Arrays:
        n_dyads = np.isfinite(found).sum(axis=0)
        return drawn_test(draws.statistic, draws.n, exact=draws.exact, **words) | {"n_dyads": n_dyads}

    attrs = {
        "null_kind": kind, "n_draws": draws.n, "exact": int(draws.exact), "min_p": lowest, "seed": draws.seed,
    }  # fmt: skip
    return _Plan(found, attrs, run, hopeless(why, wanted.correct))


def _n_tested(found: Floats) -> int:
    """Features with a slope in at least two dyads."""
    return int((np.isfinite(found).sum(axis=0) >= 2).sum())


def _exchange_partners(source: _Source, null: Null, dyads: _Dyads, wanted: _Wanted) -> _Plan:
    require_match(source.dataset, null)
    changes = _slopes_of_pairs(null, dyads)
    place = [changes.design.dyads.index(name) for name in dyads.names]
    rows = {name: array[0, place] for name, array in dyad_summary(changes).items()}
    draws = changes.draws
    words: dict[str, Any] = {
        "alpha": wanted.alpha, "sides": wanted.sides, "listed": draws.design if draws.exact else None,
    }  # fmt: skip
    n_tested = _n_tested(rows["statistic"])
    attrs = {
        "null_kind": null.kind, "n_draws": draws.n, "exact": int(draws.exact),
        "min_p": min(1.0, wanted.sides * draws.min_p), "seed": draws.seed,
        "measure": null.attrs.get("measure", "coherence"), "roles": draws.design.roles,
    }  # fmt: skip
    units = {"null_mean": dyads.span, "null_sd": dyads.span, "z": 1.0, "percentile": 1.0}
    of_rows = {name: (rows[name] / unit).reshape(-1, *dyads.shape) for name, unit in units.items()}
    caution = hopeless(lambda some: shortfall(draws.n, n_tested, some, **words), wanted.correct)
    run, measured = partial(_repair_test, changes), _values_in(null, dyads)
    return _Plan(rows["statistic"], attrs, run, caution, of_rows=of_rows, of_sessions=measured)


def _values_in(null: Null, dyads: _Dyads) -> list[Floats]:
    """What the null holds of each real dyad in its sessions, in the order of time: float64 [session, feature]."""
    labels = _occasions(dyads.source)
    found = []
    for name, rows in zip(dyads.names, dyads.rows, strict=True):
        person = null.design.dyads.index(name)
        taken = [null.sessions.index(labels[row]) for row in rows]
        found.append(null.pair_values[taken, person, null.design.real[person]].astype(np.float64))
    return found


def _occasions(source: _Source) -> list[str]:
    """Session and task of each row, as a null labels them."""
    return [occasion_label(*key) for key in zip(source.labels("session"), source.labels("task"), strict=True)]


def _slopes_of_pairs(null: Null, dyads: _Dyads) -> Null:
    """The slope of every permitted pair over the sessions in which both people were there, as a null of one session."""
    chosen, labels = _only(null, dyads.names), _occasions(dyads.source)
    when = {
        labels[row]: time
        for rows, times in zip(dyads.rows, dyads.times, strict=True)
        for row, time in zip(rows, times, strict=True)
    }
    taken = np.array([null.sessions.index(label) for label in when])
    were = dict(zip(dyads.names, ({labels[row] for row in rows} for rows in dyads.rows), strict=True))
    there = np.array([[label in were[name] for name in chosen.design.dyads] for label in when])
    there = np.tile(there, chosen.design.n_people // len(chosen.design))
    out = np.empty((1, *chosen.pair_values.shape[1:]), null.pair_values.dtype)
    for person in range(chosen.design.n_people):
        both = there[:, [person]] & there
        values = np.where(both[..., None], chosen.pair_values[taken, person], np.nan)
        out[0, person] = slopes(values, np.array(list(when.values())))
    return replace(chosen, pair_values=out, sessions=("slope",))


def _only(null: Null, names: Sequence[str]) -> Null:
    """The null of some of its dyads."""
    design = null.design
    keep = [row for row, name in enumerate(design.dyads) if name in names]
    if len(keep) == len(design):
        return replace(null, valid_fraction=None)
    columns = ("dyads", "persons_a", "persons_b", "strata")
    fewer = replace(design, **{name: tuple(getattr(design, name)[row] for row in keep) for name in columns})
    people = [row + start for start in range(0, design.n_people, len(design)) for row in keep]
    values = null.pair_values[:, people][:, :, people]
    draws = Draws.plan(fewer, null.draws.n, null.draws.seed)
    return replace(null, pair_values=values, draws=draws, valid_fraction=None)


def _repair_test(null: Null, **words: Any) -> Arrays:
    found = repair_test(null, **words)
    # Its histograms hold 0..1, and a slope may lie outside.
    return {name: values for name, values in found.items() if name not in ("null_hist", "pooled_statistic")}


def _epoch_and_band(shape: Sequence[int]) -> Integers:
    """Number of each feature's epoch and band: int64 [feature]."""
    number = np.arange(shape[0] * shape[3]).reshape(shape[0], 1, 1, shape[3])
    return np.broadcast_to(number, tuple(shape)).reshape(-1)


# --- what may mislead -------------------------------------------------------------------------------------------------


def _unlike_sessions(dyads: _Dyads) -> str:
    """Why raw values of these sessions are not comparable, in words; empty if nothing speaks against it."""
    source = dyads.source
    if source.null_kind:
        return ""
    valid = source.dataset["valid_fraction"].transpose(*_ROW).to_numpy().reshape(source.values.shape)
    valid = np.where(np.isfinite(source.values), valid, np.nan)
    sessions = np.array(source.labels("session"))
    shares = {
        label: float(np.nanmean(valid[sessions == label]))
        for label in dict.fromkeys(sessions.tolist())
        if np.isfinite(valid[sessions == label]).any()
    }
    least, most = min(shares, key=shares.__getitem__), max(shares, key=shares.__getitem__)
    if shares[most] - shares[least] <= UNEVEN:
        return ""
    return (
        f"the share of trusted cells is {shares[least]:.2f} in session {least!r} and {shares[most]:.2f} in {most!r}, "
        "as where recordings differ in length or gaps, which changes raw coherence by itself: take a null off first, "
        "plasticity(test(real, null))"
    )


# --- labels -----------------------------------------------------------------------------------------------------------


def _dataset(dyads: _Dyads, plan: _Plan, groups: Sequence[str] | None, attrs: Mapping[str, Any]) -> xr.Dataset:
    """One row per dyad, with its slope per unit of time."""
    import xarray as xr

    real, per_time = dyads.source.dataset, (plan.slopes / dyads.span).reshape(-1, *dyads.shape)
    of_dyad_alone = {"change": {**attrs["change"], "between": []}, "measure": attrs["measure"]}
    told = {"units": "1", "long_name": change_in_words(encode_attrs(of_dyad_alone))}
    valid = real["valid_fraction"].transpose(*_ROW).to_numpy()
    n_sessions = [int(np.isfinite(values).any(axis=1).sum()) for values in dyads.values]
    variables: dict[str, Any] = {
        "coherence": (_ROW, per_time, told),
        "slope": (_ROW, per_time, told),
        "n_sessions": ("dyad", n_sessions, {"units": "1", "long_name": "sessions of the dyad with a value"}),
        "valid_fraction": (
            _ROW,
            np.stack([valid[rows].mean(axis=0) for rows in dyads.rows]),
            real["valid_fraction"].attrs,
        ),
        **_of_sessions(dyads, plan.of_sessions or dyads.values),
    }
    coords: dict[str, Any] = {str(name): v for name, v in real.coords.items() if "dyad" not in v.dims}
    coords["dyad"] = list(dyads.names)
    for name, values in real.coords.items():
        of_dyad = [set(values.values[rows].tolist()) for rows in dyads.rows] if values.dims == ("dyad",) else []
        # What changes between the sessions of a dyad, such as the session, is no property of its slope.
        if name != "dyad" and of_dyad and all(len(labels) == 1 for labels in of_dyad):
            coords[str(name)] = ("dyad", [labels.pop() for labels in of_dyad])
    dims: tuple[str, ...] = FEATURE
    over = [per_time]
    if groups is not None:
        first = _members(dyads, groups)
        over, dims, coords["between"] = [per_time[first], per_time[~first]], ("between", *FEATURE), list(groups)
    for name, arrays in zip(("slope_mean", "slope_sd"), zip(*map(_mean_and_sd, over), strict=True), strict=True):
        words = {
            "units": "1",
            "long_name": f"{'mean' if name == 'slope_mean' else 'standard deviation'} of slope over dyads",
        }
        variables[name] = (dims, arrays[0] if groups is None else np.stack(arrays), words)
    return xr.Dataset(variables, coords=coords, attrs=real.attrs)


def _of_sessions(dyads: _Dyads, values: Sequence[Floats]) -> dict[str, Any]:
    """When the sessions of each dyad took place, and what was measured in them."""
    when = np.full((len(dyads.rows), max(map(len, dyads.rows))), np.nan)
    for dyad, mine in enumerate(dyads.when):
        when[dyad, : len(mine)] = mine
    less = " less the mean of the row's null" if dyads.source.null_kind else ""
    return {
        "session_time": (("dyad", "nth_session"), when, {"long_name": "time of the dyad's sessions"}),
        "session_value": (
            ("dyad", "nth_session", *FEATURE),
            _by_session(dyads, values),
            {"units": "1", "long_name": f"synchrony in the session{less}"},
        ),
    }


def _by_session(dyads: _Dyads, values: Sequence[Floats]) -> Floats:
    """Values of each dyad's sessions as one array, NaN after its last: float64 [dyad, nth_session, ...feature]."""
    out = np.full((len(dyads.rows), max(map(len, dyads.rows)), *dyads.shape), np.nan)
    for dyad, mine in enumerate(values):
        out[dyad, : len(mine)] = mine.reshape(-1, *dyads.shape)
    return out


def _mean_and_sd(rows: Floats) -> tuple[Floats, Floats]:
    """Mean and standard deviation (divided by n - 1) over dyads, NaN where there are too few."""
    present = np.isfinite(rows)
    n = present.sum(axis=0)
    missing = np.full(rows.shape[1:], np.nan)
    mean = np.divide(np.where(present, rows, 0.0).sum(axis=0), n, out=missing.copy(), where=n > 0)
    square = np.where(present, (rows - mean) ** 2, 0.0).sum(axis=0)
    return mean, np.sqrt(np.divide(square, n - 1, out=missing.copy(), where=n > 1))


def _shaped(found: Mapping[str, NDArray[Any]], dyads: _Dyads) -> Arrays:
    """The arrays that a result holds, each with its axes and in the user's unit of time."""
    out = {}
    n_epochs, _, _, n_bands = dyads.shape
    for name, values in found.items():
        scaled = values / dyads.span if name in _PER_TIME else values
        if name in ("null_hist", "pooled_statistic"):
            out[name] = scaled.reshape(n_epochs, n_bands, *values.shape[1:])
        elif name in TEST_ARRAYS:
            out[name] = scaled.reshape(dyads.shape) if TEST_ARRAYS[name][0] == FEATURE else scaled
    return out
