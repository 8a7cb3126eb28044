"""Change over sessions: the slope of each dyad's synchrony over time, tested over dyads or between groups of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..coupling.measures import measure_in
from ..errors import PlanError, require_known
from ..inference.attainable import attainable, n_tested
from ..inference.dropout import dropout_test
from ..inference.permutation_test import DrawnStatistic, permutation_test
from ..inference.repaired_test import dyad_summary, repair_test
from ..inference.settings import TestSettings
from ..inference.slope_assumptions import session_effects_test, skew_test
from ..inference.slopes import Lines, MeanSlope, slopes
from ..nulls.draws import Draws
from ..nulls.hypotheses import NullHypothesis
from ..nulls.relabelling import LEAST_UNITS, SessionOrders
from ..nulls.repaired_null import RepairedNull
from ..nulls.tails import Tail
from ..recordings.memory import release
from ..results.layout import FEATURE, OF_STATISTIC, ROW, mean_valid, require_dataset, shared_labels, unit_rows
from ..results.record import COMPARED, NullDraws, Quantity, Record, Words
from ..results.result import Result, build_result
from ..study.rows import session_label
from .exchanges import Plan, check_margin, draws_of, exchange_groups, flip_signs, limits
from .group_test import (
    SELDOM,
    draws_of_repairing,
    neighbour_graph,
    real_pairs,
    refuse_or_warn,
    require_match,
)
from .lengths import refuse_unequal_means
from .outcome_table import mean
from .session_times import Dyads, Source, disorder, in_first, two_groups

if TYPE_CHECKING:
    import xarray as xr

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Arrays = dict[str, NDArray[Any]]
Kind = Literal["sign_flip", "session_order"]
Weights = Literal["precision", "equal"]

_LESS_NULL = "plasticity(ibs.test(real, null))"

UNEVEN = 0.05
"""Difference between sessions in the share of trusted cells from which raw values call for a null."""

_SESSIONS = (
    "whatever else changes from session to session and acts on both persons (practice, familiarity, physiology, "
    "movement)"
)
_SLOPES = NullHypothesis(
    "session_slopes", "sign flips of slopes over dyads",
    "synchrony does not change on average: each dyad's slope is as likely to have the other sign", _SESSIONS,
)  # fmt: skip
_ORDER = NullHypothesis(
    "session_order", "exchange of the order of sessions within dyads",
    "no dyad changes at all: the sessions of each dyad could as well have come in any other order",
    f"changes of single dyads that cancel in the mean, likeness of sessions close in time, or {_SESSIONS}",
)  # fmt: skip
_GROUPS = NullHypothesis(
    "group_labels", "exchange of groups among dyads",
    "the groups change alike: any dyad could as well have been in the other group",
    "whatever else differs between the groups (people, equipment, number and spacing of sessions) or, where they "
    "differ in size, a mere difference of spread",
)  # fmt: skip

ORDER_WARNING = (
    "exchanging the order of sessions tests that no dyad changes at all and that sessions are exchangeable; where "
    "dyads change in different directions or sessions close in time are alike, it rejects too often (13 of 100 "
    "simulated studies at a nominal 5): test a mean change with kind='sign_flip'"
)


def plasticity(
    real: xr.Dataset | Result,
    time: str | Mapping[str, float] = "session",
    *,
    kind: Kind | None = None,
    null: RepairedNull | None = None,
    between: str | tuple[str, str] | None = None,
    block: str | None = "person",
    weights: Weights | None = None,
    n: int = 10_000,
    seed: int = 0,
    tail: Tail = "two-sided",
    correct: Sequence[str] | None = None,
    alpha: float = 0.05,
    margin: float | None = None,
    neighbours: Sequence[tuple[str, str]] | None = None,
) -> Result:
    """Test of a change of synchrony over sessions.

    Of each dyad and feature the least-squares slope over time is taken, over the sessions that are there. The test is
    of the mean slope over dyads. By default each slope may change its sign (exact if slopes are symmetric about 0 under
    the hypothesis, whatever links the sessions of a dyad), and counts by its precision. Dyads that share a person, such
    as the clients of one therapist, change it together.

    Parameters
    ----------
    real : Result or xarray.Dataset
        A Result of `ibs.test`, of whose coherence the mean of each row's own null is subtracted before the slope is
        taken; or raw synchrony from `Study.synchrony`, which also grows with the rhythms of either person.
    time : "session", "day" or mapping of session to number
        When each session took place: by default the number in its label ("2", "ses-02"); the day that the study holds
        of each dyad's session (or another number that `real` has of each row); or as given.
    kind : {"sign_flip", "session_order"}, optional
        What is exchanged within a dyad: the sign of its slope, or the order of its sessions. The second tests that *no*
        dyad changes, and rejects too often where dyads change in different directions.
    null : RepairedNull, optional
        Re-pairing null of the same study and spec, from `Study.null`. Then partners are exchanged, one exchange for all
        sessions: is the change specific to real partners? Raw values are compared, of real and re-paired alike.
    between : "group" or (group, group), optional
        Test the difference of the mean slopes of two groups, first minus second, by exchanging groups of whole dyads.
        "group" takes the two that there are, by their names. Dyads of one block change groups together where no block
        is in both groups, and among themselves where each block is.
    block : "person", str or None
        Dyads that are not independent: those that share a person, those of one label in another column (such as
        "site"), or none.
    weights : {"precision", "equal"}, optional
        How dyads count in the mean slope, for flips of sign. "precision", the default there: by ``1 / (tau**2 + s**2 /
        Sxx)``, with Sxx the squared distances of a dyad's sessions from their mean, s**2 the scatter about the lines,
        pooled over dyads, and tau**2 the variance of true slopes (Paule and Mandel 1982, *J. Res. Natl. Bur. Stand.*
        87:377), so that dyads with many sessions count more; in each line sessions count by the trusted length of their
        recordings. "equal": dyads and sessions count alike, as they always do with `between`, `null` and
        "session_order".
    n, seed : int
        Draws and their seed; all are listed where they are few. Without effect with `null`, which has its own.
    tail : {"greater", "less", "two-sided"}
    correct : sequence of {"fdr", "fdr_by", "max", "cluster", "tfce"}, optional
        Corrections over all channel pairs x bands x epochs. One that is named must be able to find something at
        `alpha`. Default: "fdr" and "max", with a warning where they cannot.
    alpha : float
        Level at which a finding is wanted.
    margin : float, optional
        Statistics within -margin to margin are too small to matter, which is to be decided before the data are seen.
        Those whose interval at ``1 - 2 alpha`` lies inside are called equivalent to none (two one-sided tests,
        Schuirmann 1987, *J. Pharmacokinet. Biopharm.* 15:657), each by itself.
    neighbours : sequence of (channel, channel), optional
        For "cluster" and "tfce": channels that lie side by side, instead of what their names say.

    Returns
    -------
    Result
        With one row per dyad. `value` is its slope, per unit of time; `n_sessions` int64 [dyad] the sessions behind it;
        `slope_mean` and `slope_sd` are those over dyads that count alike, for each group with `between`; `weight` is
        the share of a dyad in the mean that was tested, `session_weight` that of a session in the dyad's line. The
        slopes are those of
        `session_value` over `session_time`, [dyad, nth_session] in the order of time, NaN after the last.
        `statistic_low` and `statistic_high` hold the values of the mean slope (or difference) that the test does not
        reject at `alpha`, in both tails (Hartigan 1969, *J. Am. Stat. Assoc.* 64:1303; not for `null` or
        "session_order"), `student_low` and `student_high` those of Student's t. Attribute `left_out` names dyads with
        fewer than two sessions and sessions without a value, `entered` counts what is left, `blocks` names dyads that
        were exchanged together.

    Raises
    ------
    PlanError
        If a session has no place in time or occurs twice in a dyad, raw values of sessions or groups whose recordings
        differ in length by more than a tenth are compared, fewer than two dyads (of a group) have two
        sessions, settings do not go together, blocks of dyads are so few that no p could reach `alpha`, or the draws
        are too few for a correction that was named.

    Warns
    -----
    RuntimeWarning
        If a dyad is left out, no single finding could survive the default corrections, labels of sessions contradict
        their days, or the order of sessions is exchanged; and where an assumption fails on these data, by one test over
        all pairs, bands and epochs at .01: raw values of sessions with unlike shares of trusted cells are compared,
        dyads that stop early differ from those that go on, sessions move all dyads alike, one person's own change is in
        every slope, or slopes are skewed.

    Examples
    --------
    >>> plasticity(result, time="session").headline
    """
    asked = TestSettings(n, seed, tail, correct, alpha, neighbours)
    check_margin(margin, alpha)
    _check_words(kind, null, between, weights)
    kind = kind or "sign_flip"
    by_precision = kind == "sign_flip" and null is None and between is None and weights != "equal"
    source = Source.of(real) if null is None else _of_null(real, null)
    groups = None if between is None else two_groups(source.dataset, between)
    others = "" if groups is None else source.others_than(groups)
    dyads = Dyads.of(source if groups is None else source.only(groups), time, None if null is not None else block)
    if null is None and not source.null_kind:
        _refuse_unequal_lengths(dyads, groups)
    lines = dyads.lines(by_length=by_precision)
    if null is not None:
        plan = _exchange_partners(null, dyads, asked)
    elif groups is not None:
        first = in_first(dyads, groups)
        plan = _Plan(**vars(exchange_groups(lines.slope, first, groups, dyads.units, _GROUPS, asked)))
    elif kind == "sign_flip":
        weigh = lines.weights if by_precision else None
        plan = _Plan(**vars(flip_signs(lines.slope, dyads.units, _SLOPES, asked, weigh)))
    else:
        plan = _exchange_sessions(dyads, lines.slope, asked)
    misleading = _misleading(dyads, lines, block) if null is None else []
    misleading += [_skew(dyads, lines)] if plan.weights is not None else []
    warning = "; ".join(filter(None, [disorder(dyads, time), *misleading, plan.warning]))
    refuse_or_warn(plan.caution, correct, dyads.left_out, warning)
    change = {
        "per": time if time in ("session", "day") else "unit of time", "between": list(groups or ()),
        "taken_off": "" if null is not None else source.null_kind,
        "weights": "precision" if by_precision else "equal",
        "null": "" if null is not None else source.null_words,
    }  # fmt: skip
    measure = measure_in(source.dataset.attrs if null is None else null.attrs)
    words = _words(measure.words, change, plan, tail, partners=null is not None)
    settings: dict[str, Any] = {"change": change} | ({} if null is None else {"roles": null.design.roles})
    settings |= {} if margin is None else {"margin": margin}
    record = Record(
        "plasticity", plan.draws, words, asked, measure.name, settings, caution=plan.caution, warning=warning,
        left_out=dyads.left_out, entered=dyads.entered + others, blocks=dyads.blocks.shared,
    )  # fmt: skip
    rows = _rows(dyads, plan, groups, words, measure.words)
    found = plan.run(asked, graph=neighbour_graph([rows], asked)) | limits(plan, asked, margin)
    # The test counts time from 0 to 1 over the span of the study.
    per_time = {name: array / dyads.span if name in OF_STATISTIC else array for name, array in found.items()}
    return build_result(rows, per_time | dict(plan.of_rows), record)


def _words(measure: str, change: Mapping[str, Any], plan: _Plan, tail: Tail, *, partners: bool) -> Words:
    """The sentences of the test."""
    between, per = change["between"], change["per"]
    of_dyad = f"change of {measure} per {per}"
    whole = f"difference {' - '.join(between)} in {of_dyad}" if between else of_dyad
    compared_with = f"that of {plan.draws.null.others}" if partners else "zero"
    tested = f"{whole} of real partners {COMPARED[tail]} {compared_with}"
    taken_off = f", in each less the mean of its null ({change['null']})" if change["null"] else ""
    weighted = ", weighted by their precision," if change["weights"] == "precision" else ""
    mean = f"The mean slope over dyads{weighted} was compared with the same mean"
    if between:
        mean = f"The mean slope of group {between[0]} minus that of group {between[1]} was compared with the same "
        mean += "difference"
    return Words(
        subject=f"change over sessions{', ' * bool(between)}{' and '.join(between)}",
        tested=tested,
        finding=f"the {tested}",
        procedure=f"Of each dyad the least-squares slope of {measure} per {per} was taken over the sessions present"
        f"{taken_off}. {mean} under the null",
        value=Quantity(of_dyad, f"{measure} per {per}"),
        statistic=Quantity(whole, f"{measure} per {per}"),
        name="difference of slopes" if between else "slope",
        not_excluded="" if partners else _leaves_open(plan.draws.null, change["taken_off"]),
    )


def _leaves_open(null: NullHypothesis, taken_off: str) -> str:
    """What a small p leaves open, by the kind of the null whose mean was subtracted from each value, if any."""
    specific = "nor does it show that the change is specific to real partners"
    more = {
        "": f"or a change of rhythms, noise or length of the recordings, which moves raw coherence; {specific}",
        "repair": "nor does it show that what partners share more and more is neural",
    }
    return f"{null.not_excluded}, {more.get(taken_off, specific)}"


def _check_words(kind: str | None, null: RepairedNull | None, between: object, weights: str | None) -> None:
    if kind == "partners" and null is None:
        raise PlanError("kind='partners' is what null= does: give a re-pairing null, and leave kind out")
    if kind is not None:
        require_known("kind", kind, get_args(Kind))
    if null is not None and not isinstance(null, RepairedNull):
        raise PlanError("null must be a re-pairing null (kind='repair'); leave it out to flip the signs of slopes")
    named = [word for word, given in {"null": null is not None, "between": between is not None}.items() if given]
    named += [f"kind={kind!r}"] * (kind == "session_order" or (kind is not None and null is not None))
    if len(named) > 1:
        raise PlanError(f"{' and '.join(named)} are different tests: choose one of them")
    if weights is not None:
        require_known("weights", weights, get_args(Weights))
    if weights == "precision" and named:
        raise PlanError(f"weights='precision' is for flips of sign: leave it out with {named[0]}")


# --- what is exchanged ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Plan(Plan):
    """
    A test of slopes over the span of the study that is ready to run.

    Parameters
    ----------
    warning : str
        What it may find wrongly; empty if nothing.
    of_rows : mapping of str to array
        What is known of single dyads.
    of_sessions : sequence of float64 [session, feature]
        What was compared in the sessions of each dyad, if not the values of the dyads.
    """

    warning: str = ""
    of_rows: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    of_sessions: Sequence[Floats] = ()


def _exchange_sessions(dyads: Dyads, slope: Floats, asked: TestSettings) -> _Plan:
    if dyads.blocks.ties:
        raise PlanError(
            "the order of sessions cannot be exchanged dyad by dyad where dyads share a person "
            f"({dyads.blocks.ties}): use kind='sign_flip'"
        )
    draws = draws_of(SessionOrders(tuple(dyads.names), tuple(map(len, dyads.times))), asked)
    test = MeanSlope(dyads.values, dyads.times, draws)
    return replace(_of_labels(test, _ORDER, slope, asked), warning=ORDER_WARNING)


def _of_labels(test: DrawnStatistic, null: NullHypothesis, found: Floats, asked: TestSettings) -> _Plan:
    """The test by listed or drawn relabellings."""

    def run(asked: TestSettings, **words: Any) -> Arrays:
        return permutation_test(test, asked, **words) | {"n_dyads": np.isfinite(found).sum(axis=0)}

    caution = attainable(asked, n_tested(found), test.draws, units=f"{len(found)} dyads")
    return _Plan(found, NullDraws.of(null, test.draws, asked), run, caution)


def _exchange_partners(null: RepairedNull, dyads: Dyads, asked: TestSettings) -> _Plan:
    changes = _slopes_of_pairs(null, dyads)
    place = [changes.design.dyads.index(name) for name in dyads.names]
    rows = {name: array[0, place] for name, array in dyad_summary(changes).items()}
    units = {"null_mean": dyads.span, "null_sd": dyads.span, "z": 1.0, "percentile": 1.0}
    of_rows = {name: rows[name] / unit for name, unit in units.items()}
    caution = attainable(asked, n_tested(rows["statistic"]), changes.draws)
    run, measured = partial(repair_test, changes), _values_in(null, dyads)
    drawn = draws_of_repairing(changes, asked)
    return _Plan(rows["statistic"], drawn, run, caution, of_rows=of_rows, of_sessions=measured)


def _of_null(real: xr.Dataset | Result, null: RepairedNull) -> Source:
    """What the null holds of real partners."""
    dataset = real.dataset if isinstance(real, Result) else real
    require_dataset(dataset)
    require_match(dataset, null)
    raw = dataset.drop_vars([name for name in ("value", "null_mean") if name in dataset])
    return Source.of(real_pairs(raw, null))


def _values_in(null: RepairedNull, dyads: Dyads) -> list[Floats]:
    """What the null holds of each real dyad in its sessions, in the order of time: float64 [session, feature]."""
    occasions = _occasions(null, dyads.source)
    found = []
    for name, rows in zip(dyads.names, dyads.rows, strict=True):
        person = null.design.dyads.index(name)
        sessions, tasks = np.array([occasions[row] for row in rows]).T
        found.append(null.real_pairs(sessions, np.full(len(sessions), person), tasks)[0])
    return found


def _occasions(null: RepairedNull, source: Source) -> list[tuple[int, int]]:
    """Session and task of each row, as a null counts them."""
    labels = zip(source.labels("session"), source.labels("task"), strict=True)
    return [(null.sessions.index(session_label(session)), null.tasks.index(task)) for session, task in labels]


def _slopes_of_pairs(null: RepairedNull, dyads: Dyads) -> RepairedNull:
    """The slope of every permitted pair over the sessions in which both people were there, as a null of one session."""
    chosen, occasions = _only(null, dyads.names), _occasions(null, dyads.source)
    when = {
        occasions[row]: time
        for rows, times in zip(dyads.rows, dyads.times, strict=True)
        for row, time in zip(rows, times, strict=True)
    }
    sessions, tasks = np.array(list(when)).T
    were = dict(zip(dyads.names, ({occasions[row] for row in rows} for rows in dyads.rows), strict=True))
    there = np.array([[occasion in were[name] for name in chosen.design.dyads] for occasion in when])
    there = np.tile(there, chosen.design.n_people // len(chosen.design))
    by_task = chosen.by_task
    out, times = chosen.room(1, chosen.design.n_people, by_task.shape[4]), np.array(list(when.values()))
    for part in chosen.parts(by_task.shape[4]):
        for person in range(chosen.design.n_people):
            both = there[:, [person]] & there
            values = np.where(both[..., None], by_task[..., part][sessions, person, :, tasks], np.nan)
            out[0, person, :, part] = slopes(values, times)
        release(out)
    return replace(chosen, pair_values=out, sessions=("slope",), tasks=("",))


def _only(null: RepairedNull, names: Sequence[str]) -> RepairedNull:
    """The null of some of its dyads."""
    design = null.design
    keep = [row for row, name in enumerate(design.dyads) if name in names]
    if len(keep) == len(design):
        return replace(null, valid_fraction=None)
    columns = [entry.name for entry in fields(design)]
    fewer = replace(design, **{name: tuple(getattr(design, name)[row] for row in keep) for name in columns})
    people = [row + start for start in range(0, design.n_people, len(design)) for row in keep]
    values = null.room(len(null.sessions), len(people), null.n_features)
    for part in null.parts():
        values[..., part] = null.pair_values[..., part][:, people][:, :, people]
        release(values)
    draws = Draws.plan(fewer, null.draws.n, null.draws.seed)
    return replace(null, pair_values=values, draws=draws, valid_fraction=None)


# --- what may mislead -------------------------------------------------------------------------------------------------


def _refuse_unequal_lengths(dyads: Dyads, groups: Sequence[str] | None) -> None:
    """Refuse raw values of sessions or groups whose recordings differ in length."""
    used = dyads.source.dataset.isel(dyad=np.concatenate(dyads.rows))
    sessions = list(dict.fromkeys(used["session"].values.astype(str).tolist()))
    refuse_unequal_means(used, "session", sessions, _LESS_NULL)
    refuse_unequal_means(used, "group", groups or (), _LESS_NULL)


def _misleading(dyads: Dyads, lines: Lines, block: str | None) -> list[str]:
    """Why the slopes of single dyads may change for another reason than synchrony, in words; some empty."""
    return [
        _unlike_sessions(dyads), _dropout(dyads), _session_effects(dyads, lines),
        _own_change(dyads) if block == "person" else "",
    ]  # fmt: skip


def _unlike_sessions(dyads: Dyads) -> str:
    """Why raw values of these sessions are not comparable, in words; empty if nothing speaks against it."""
    source = dyads.source
    if source.null_kind:
        return ""
    valid = source.dataset["valid_fraction"].transpose(*ROW).to_numpy().reshape(source.values.shape)
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
        f"the share of trusted cells is {shares[least]:.2f} in session {least!r} and {shares[most]:.2f} in session "
        f"{most!r}, as where recordings differ in length or gaps, which changes raw coherence by itself: take a null "
        f"off first, {_LESS_NULL}"
    )


def _session_effects(dyads: Dyads, lines: Lines) -> str:
    """Whether sessions act on all dyads alike, in words; empty if nothing speaks for it or a null took it away."""
    labels = np.array(dyads.source.labels("session"))
    sessions = list(dict.fromkeys(labels.tolist()))
    left = np.full((len(dyads.names), len(sessions), int(np.prod(dyads.shape))), np.nan)
    for dyad, (rows, values, times) in enumerate(zip(dyads.rows, dyads.values, dyads.times, strict=True)):
        line = lines.start[dyad] + lines.slope[dyad] * times[:, None]
        left[dyad, [sessions.index(label) for label in labels[rows]]] = values - line
    units = dyads.units
    if dyads.source.null_kind == "repair" or len(units.blocks) < LEAST_UNITS:
        return ""
    p = session_effects_test(left, units.block_of_dyad)
    if p > SELDOM:
        return ""
    return (
        f"sessions move all dyads alike beside the lines (p = {p:.3g} over all pairs, bands and epochs), as a room, a "
        "device or a task does; the test takes such effects for growth and rejects too often: take the same sessions "
        "with other partners off, plasticity(ibs.test(real, study.null(spec)))"
    )


def _skew(dyads: Dyads, lines: Lines) -> str:
    """Whether slopes are not symmetric about their mean, in words; empty if nothing speaks for it."""
    p = skew_test(lines.slope, lines.weights(), dyads.units.block_of_dyad)
    if p > SELDOM:
        return ""
    return (
        f"slopes are skewed (p = {p:.3g} over all pairs, bands and epochs): flips of sign take them for symmetric, and "
        "reject too often where a few dyads change much; look at the slopes of the dyads, "
        "ibs.plot.dyad_slopes(result), and say how many grow"
    )


def _own_change(dyads: Dyads) -> str:
    """That the change of a person who is in every dyad is part of each slope, in words; empty where nobody is."""
    who = dyads.blocks.common
    if not who or dyads.source.null_kind == "repair":
        return ""
    return (
        f"{who} is in every dyad, so that this person's own change is in every slope: take the same meetings with "
        "other partners off, plasticity(ibs.test(real, study.null(spec)))"
    )


def _dropout(dyads: Dyads) -> str:
    """Whether dyads stop early that differ in what is measured, in words; empty if nothing speaks for it."""
    times = sorted({time for own in dyads.times for time in own.tolist()})
    values = np.full((len(dyads.names), len(times), int(np.prod(dyads.shape))), np.nan)
    for dyad, (own, at) in enumerate(zip(dyads.values, dyads.times, strict=True)):
        values[dyad, [times.index(time) for time in at.tolist()]] = own
    p, difference = dropout_test(values)
    if p > SELDOM:
        return ""
    side = "higher" if difference > 0 else "lower"
    return (
        f"dyads that stop early had {side} values in their last session than those that went on (p = {p:.3g} over all "
        "pairs, bands and epochs); slopes of short courses then lean to one side, and the test of their mean rejects "
        "far too often: mixed_model is misled much less"
    )


# --- labels -----------------------------------------------------------------------------------------------------------


def _rows(dyads: Dyads, plan: _Plan, groups: Sequence[str] | None, words: Words, measure: str) -> xr.Dataset:
    """One row per dyad, with its slope per unit of time, and what was measured in its sessions."""
    real, per_time = dyads.source.dataset, (plan.values / dyads.span).reshape(-1, *dyads.shape)
    coords, over = shared_labels(real, dyads.rows), _mean_and_sd(per_time)
    dims: tuple[str, ...] = FEATURE
    if groups is not None:
        coords["between"] = list(groups)
        first, dims = in_first(dyads, groups), ("between", *FEATURE)
        over = np.stack([_mean_and_sd(per_time[first]), _mean_and_sd(per_time[~first])], axis=1)
    rows = unit_rows(real, coords, dyads.names, per_time, mean_valid(real, dyads.rows)).assign(
        n_sessions=("dyad", dyads.n_sessions, {"units": "1", "long_name": "sessions of the dyad with a value"}),
        slope_mean=(dims, over[0], {"units": words.value.unit, "long_name": "mean of value over dyads"}),
        slope_sd=(dims, over[1], {"units": words.value.unit, "long_name": "standard deviation of value over dyads"}),
    )
    if plan.weights is not None:
        share = plan.weights / np.maximum(plan.weights.sum(axis=0), 1e-300)
        told = {"units": "1", "long_name": "share of the dyad in the mean that was tested"}
        lengths = _by_session(dyads, [dyads.source.lengths[own] for own in dyads.rows])
        of_session = {"units": "1", "long_name": "weight of the session in its dyad's line"}
        rows = rows.assign(
            weight=(ROW, share.reshape(-1, *dyads.shape), told),
            session_weight=(("dyad", "nth_session", *FEATURE), lengths, of_session),
        )
    return rows.assign(_of_sessions(dyads, plan, measure))


def _of_sessions(dyads: Dyads, plan: _Plan, measure: str) -> dict[str, Any]:
    """When the sessions of each dyad took place, and what was measured in them."""
    when = np.full((len(dyads.rows), max(map(len, dyads.rows))), np.nan)
    for dyad, mine in enumerate(dyads.when):
        when[dyad, : len(mine)] = mine
    less = " less the mean of its null" if dyads.source.null_kind and not plan.of_sessions else ""
    return {
        "session_time": (("dyad", "nth_session"), when, {"long_name": "time of the dyad's sessions"}),
        "session_value": (
            ("dyad", "nth_session", *FEATURE),
            _by_session(dyads, plan.of_sessions or dyads.values),
            {"units": "1", "long_name": f"{measure}{less}"},
        ),
    }


def _by_session(dyads: Dyads, values: Sequence[Floats]) -> Floats:
    """Values of each dyad's sessions as one array, NaN after its last: float64 [dyad, nth_session, ...feature]."""
    out = np.full((len(dyads.rows), max(map(len, dyads.rows)), *dyads.shape), np.nan)
    for dyad, mine in enumerate(values):
        out[dyad, : len(mine)] = mine.reshape(-1, *dyads.shape)
    return out


def _mean_and_sd(rows: Floats) -> Floats:
    """Mean and standard deviation (divided by n - 1) over dyads, NaN where there are too few: float64 [2, ...]."""
    n, middle = np.isfinite(rows).sum(axis=0), mean(rows, 0)
    square = np.nansum((rows - middle) ** 2, axis=0)
    return np.stack([middle, np.sqrt(np.divide(square, n - 1, out=np.full(middle.shape, np.nan), where=n > 1))])
