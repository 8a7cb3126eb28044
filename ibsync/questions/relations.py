"""Person, partner and relationship parts of synchrony, where everybody met everybody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import factorial
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from ..coupling.measures import Measure, measure_in
from ..errors import PlanError, did_you_mean, require_known
from ..inference.attainable import attainable
from ..inference.permutation_test import permutation_test
from ..inference.settings import TestSettings
from ..inference.social_relations import (
    PARTS,
    Block,
    Part,
    RelabelledSessions,
    RoundRobin,
    ScatteredValues,
    variance_parts,
)
from ..nulls.draws import Draws, list_up_to
from ..nulls.hypotheses import NullHypothesis
from ..results.layout import FEATURE, unit_rows
from ..results.record import NullDraws, Quantity, Record, Words
from ..results.result import Result, build_result
from ..study.rows import occasion_label
from .group_test import neighbour_graph, refuse_or_warn
from .session_times import Source
from .transfer_persons import Meeting, Turned

if TYPE_CHECKING:
    import xarray as xr

Floats = NDArray[np.float64]

LIST_UP_TO = 50_000
"""Exchanges are listed instead of drawn when there are no more of them than this."""

LEAST_IN_BLOCK, LEAST_IN_ROUND_ROBIN = 2, 4
"""People on either side of a block, and in a round robin."""

_NULLS = {
    "relationship": NullHypothesis(
        "relations_relationship", "exchange of persons in all sessions but the first",
        "what a dyad has beyond its two persons in one session is as likely to be any other dyad's in the next",
        "what two persons share without interaction (place, time of day, equipment, stimuli of their own), or persons "
        "whose values scatter more than those of others",
    ),
    "person": NullHypothesis(
        "relations_person", "exchange of values over persons",
        "it does not matter whose synchrony it is: values are exchangeable over persons",
        "what a person brings along without interaction (rhythms, movement, signal quality), a state of single "
        "sessions, or persons whose values scatter more than those of others",
    ),
    "partner": NullHypothesis(
        "relations_partner", "exchange of values over partners",
        "it does not matter with whom: values are exchangeable over partners",
        "what a partner brings along without interaction (rhythms, movement, signal quality), a state of single "
        "sessions, or partners whose values scatter more than those of others",
    ),
}  # fmt: skip


def relations(
    real: xr.Dataset | Result,
    part: Part = "relationship",
    *,
    persons: str | None = None,
    n: int = 10_000,
    seed: int = 0,
    correct: Sequence[str] | None = None,
    alpha: float = 0.05,
    neighbours: Sequence[tuple[str, str]] | None = None,
) -> Result:
    """Test whether synchrony belongs to persons, to their partners, or to what two people are to each other.

    Takes the variance of synchrony over dyads apart (social relations model: Kenny and La Voie 1984, *Adv. Exp. Soc.
    Psychol.* 18:141), where everybody of one side met everybody of the other (a block), or all met each other (a round
    robin; Warner, Kenny and Stoto 1979, *J. Pers. Soc. Psychol.* 37:1742), and tests one part by permutation.

    "relationship": persons and partners trade places in all sessions but the first, the same for all features: is what
    a dyad has beyond its two persons the same dyad's in other sessions? "person" and "partner": values of each partner
    are exchanged over persons (of each person over partners); in a round robin whole meetings are exchanged.

    Parameters
    ----------
    real : Result or xarray.Dataset
        A Result of `ibs.test`, of whose coherence the mean of each row's own null is subtracted; or raw synchrony from
        `Study.synchrony`. Tasks count as further sessions.
    part : {"relationship", "person", "partner"}
        What is tested; "relationship" needs two sessions of all dyads.
    persons : str, optional
        Role of those whose channels stand first, in a block. By default that of the first person of the first row.
    n, seed : int
        Draws and their seed; all are listed where they are few.
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
        With one row per dyad, `value` being the mean over sessions with the person's channels on `channel_a`.
        `variance` float64 [part, epoch, channel_a, channel_b, band] are unbiased estimates, which may be negative: of
        "person", "partner" and "relationship" (what recurs over sessions), and of "person_session", "partner_session"
        and "error" (what does not). With one session "error" holds relationships too. `person_effect` and
        `partner_effect` [person or partner, ...] and `relationship_effect` [dyad, ...] are those of the mean over
        sessions. `group_statistic` is the variance that was tested. Attribute `left_out` names sessions and features
        that did not enter.

    Raises
    ------
    PlanError
        If dyads are missing, a dyad stands twice in a session, there are too few people, or sessions for the part
        asked, or the draws are too few for a correction that was named.

    Warns
    -----
    RuntimeWarning
        If a session or feature is left out, or no single finding could survive the default corrections.

    Examples
    --------
    >>> relations(real, "relationship").headline
    """
    asked = TestSettings(n, seed, "greater", correct, alpha, neighbours)
    require_known("part", part, get_args(Part))
    table = _Table.of(Source.of(real), persons)
    test = _test(table, part, asked)
    n_ways = _n_ways(table.design, part, test.draws)
    n_tested = int(np.isfinite(table.values).all(axis=(0, 1, 2)).sum())
    caution = attainable(asked, n_tested, test.draws, n_ways=n_ways, units=f"{len(table.pairs)} dyads")
    refuse_or_warn(caution, correct, table.left_out)
    told = {
        "part": part, "design": "round robin" if isinstance(table.design, RoundRobin) else "block",
        "n_persons": len(table.persons), "n_partners": len(table.partners), "n_sessions": len(table.rows),
        "n_dyads": len(table.pairs), "taken_off": table.source.null_words,
    }  # fmt: skip
    measure = measure_in(table.source.dataset.attrs)
    record = Record(
        "relations", NullDraws.of(_NULLS[part], test.draws, asked, n_ways), _words(told, measure), asked, measure.name,
        {"relations": told}, caution=caution, left_out=table.left_out,
    )  # fmt: skip
    rows = _result_rows(table)
    found = permutation_test(test, asked, graph=neighbour_graph([rows], asked))
    n_dyads = np.where(np.isfinite(found["group_statistic"]), len(table.pairs), 0)
    return build_result(rows, found | {"n_dyads": n_dyads}, record)


def _words(told: Mapping[str, Any], measure: Measure) -> Words:
    """The sentences of the test: how the variance was taken apart, and what was exchanged."""
    part = told["part"]
    less = f"The {measure.words} of each row was taken less the mean of its null ({told['taken_off']}). "
    round_robin = told["design"] == "round robin"
    whom = f"{told['n_persons']} persons" + f" with {told['n_partners']} partners" * (not round_robin)
    sessions = f"{told['n_sessions']} session{'s' * (told['n_sessions'] > 1)}"
    scattered = {
        "person": "values of each partner were exchanged over persons",
        "partner": "values of each person were exchanged over partners",
    }
    if round_robin:
        scattered = dict.fromkeys(scattered, "whole meetings were exchanged")
    drawn = {"relationship": "people traded places in all sessions but the first", **scattered}[part]
    tested = f"a {part} part of the variance of {measure.words} above zero"
    return Words(
        subject=f"{part} part of synchrony",
        tested=tested,
        procedure=f"{less * bool(told['taken_off'])}Variance over the {told['n_dyads']} dyads of a {told['design']} "
        f"({whom}, {sessions}) was taken apart by the social relations model, with moment estimates (Warner, Kenny & "
        f"Stoto 1979); the {part} part was tested by its variance, while {drawn}",
        value=Quantity(f"{measure.words}{' less the mean of its null' * bool(told['taken_off'])}", measure.unit),
        statistic=Quantity("variance"),
        name="variance",
        references=("Warner, Kenny & Stoto 1979, J. Pers. Soc. Psychol. 37:1742",),
    )


# --- who met whom -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Table:
    """
    Values by session, person and partner.

    Parameters
    ----------
    source : Source
    design : Block or RoundRobin
    persons, partners : list of str
        By their names; in a round robin the same.
    rows : mapping of str to mapping of (int, int) to int
        Row of each person and partner in each session that has all dyads; in a round robin each pair once.
    values, valid : float64 [session, person, partner, feature]
        0 on the diagonal of a round robin; all NaN in a feature that lacks a value.
    turned : Turned
    left_out : str
    """

    source: Source
    design: Block | RoundRobin
    persons: list[str]
    partners: list[str]
    rows: Mapping[str, Mapping[tuple[int, int], int]]
    values: Floats
    valid: Floats
    turned: Turned
    left_out: str

    @classmethod
    def of(cls, source: Source, role: str | None) -> _Table:
        """
        Sort out who met whom.

        Raises
        ------
        PlanError
            If a dyad is missing in all sessions, stands twice in one, or there are too few people.
        """
        met = _met(source, role)
        people = [sorted({m.person for m in met}), sorted({m.partner for m in met})]
        design: Block | RoundRobin
        if set(people[0]) & set(people[1]):
            source, people = _same_channels(source), [sorted({*people[0], *people[1]})] * 2
            design = RoundRobin(len(people[0]))
        else:
            design = Block(len(people[0]), len(people[1]))
        _refuse_few(people, design)
        rows = _rows(source, met, people)
        whole = {session: own for session, own in rows.items() if len(own) == design.n_dyads}
        if not whole:
            raise PlanError(_missing(rows, people, design))
        turned = Turned.of(source, met)
        (values, valid), n_partly = _grids(source, design, met, people, list(whole), turned)
        notes = [f"session {name!r} is left out, it lacks a dyad" for name in rows if name not in whole]
        notes += [f"{n_partly} features are not tested, they lack a value of a dyad"] * bool(n_partly)
        return cls(source, design, people[0], people[1], whole, values, valid, turned, "; ".join(notes))

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Person and partner of each dyad, by number."""
        return sorted(next(iter(self.rows.values())))


def _met(source: Source, role: str | None) -> list[Meeting]:
    """All rows, the persons first whose role is asked for; `kind` is the session."""
    roles, people = ([source.labels(f"{what}_{side}") for side in "ab"] for what in ("role", "person"))
    known = sorted({*roles[0], *roles[1]} - {""})
    if role is not None and role not in known:
        listed = ", ".join(map(repr, known)) or "none"
        raise PlanError(f"persons={role!r} is no role; {did_you_mean(role, known) or f'there are {listed}'}")
    of_two = len(known) == 2 and all(one != other for one, other in zip(*roles, strict=True))
    first = role if role is not None else roles[0][0]
    if role is not None and not of_two:
        raise PlanError(f"persons={role!r} needs dyads of two roles, each with one person of either; leave it out")
    sides = [int(of_two and own != first) for own in roles[0]]
    names = [occasion_label(*key) for key in zip(source.labels("session"), source.labels("task"), strict=True)]
    return [
        Meeting(row, names[row], dyad, people[side][row], people[1 - side][row], side)
        for row, (dyad, side) in enumerate(zip(source.labels("dyad"), sides, strict=True))
    ]


def _same_channels(source: Source) -> Source:
    """Both axes of channels in one order, which a round robin needs."""
    a, b = ([str(name) for name in source.dataset[f"channel_{side}"].values] for side in "ab")
    alone = sorted(set(a) ^ set(b))
    if alone:
        raise PlanError(
            f"channel {alone[0]!r} is known of one side of the dyads only, and in a round robin people are on both: "
            "choose channels that all have"
        )
    order = [b.index(name) for name in a]
    shape = tuple(source.dataset.sizes[dim] for dim in FEATURE)
    values = source.values.reshape(-1, *shape)[:, :, :, order]
    return replace(source, dataset=source.dataset.isel(channel_b=order), values=values.reshape(len(values), -1))


def _refuse_few(people: Sequence[Sequence[str]], design: Block | RoundRobin) -> None:
    if isinstance(design, RoundRobin):
        if len(people[0]) < LEAST_IN_ROUND_ROBIN:
            raise PlanError(f"a round robin needs {LEAST_IN_ROUND_ROBIN} persons, there are {len(people[0])}")
        return
    for some, what in zip(people, ("person", "partner"), strict=True):
        if len(some) < LEAST_IN_BLOCK:
            raise PlanError(f"{some[0]!r} is the only {what}: parts of synchrony need {LEAST_IN_BLOCK} on either side")


def _rows(source: Source, met: Sequence[Meeting], people: Sequence[list[str]]) -> dict[str, dict[tuple[int, int], int]]:
    """Row of each pair in each session; in a round robin the first by name stands first."""
    rows: dict[str, dict[tuple[int, int], int]] = {}
    for meeting in met:
        pair = (people[0].index(meeting.person), people[1].index(meeting.partner))
        pair = (min(pair), max(pair)) if people[0] is people[1] else pair
        mine = rows.setdefault(meeting.kind, {})
        if pair in mine:
            raise PlanError(
                f"{meeting.person!r} and {meeting.partner!r} stand twice in session {meeting.kind!r} (dyads "
                f"{source.labels('dyad')[mine[pair]]!r} and {meeting.dyad!r}); leave one of the rows out"
            )
        mine[pair] = meeting.row
    return rows


def _missing(
    rows: Mapping[str, Mapping[tuple[int, int], int]], people: Sequence[list[str]], design: Block | RoundRobin
) -> str:
    """Who did not meet whom, in the session that lacks least."""
    session = max(rows, key=lambda name: len(rows[name]))
    every = [(i, j) for i in range(len(people[0])) for j in range(len(people[1]))]
    round_robin = isinstance(design, RoundRobin)
    absent = [pair for pair in every if pair not in rows[session] and (pair[0] < pair[1] or not round_robin)]
    named = ", ".join(f"{people[0][i]!r} with {people[1][j]!r}" for i, j in absent[:4])
    rest = f" and {len(absent) - 4} more" if len(absent) > 4 else ""
    what = "all meet each other" if round_robin else "everybody of one side meets everybody of the other"
    return (
        f"no session has all dyads: session {session!r} lacks {named}{rest}; parts of synchrony need that {what}, so "
        "choose dyads for which this holds, real.isel(dyad=...)"
    )


def _grids(
    source: Source,
    design: Block | RoundRobin,
    met: Sequence[Meeting],
    people: Sequence[list[str]],
    sessions: Sequence[str],
    turned: Turned,
) -> tuple[Floats, int]:
    """Values and shares of trusted cells by place, [2, session, person, partner, feature]; features partly missing."""
    out = np.zeros((2, len(sessions), design.n_persons, design.n_partners, turned.values.shape[1]))
    round_robin = isinstance(design, RoundRobin)
    back = Turned.of(source, [replace(m, side=1 - m.side) for m in met]) if round_robin else turned
    for m in met:
        if m.kind in sessions:
            s, i, j = sessions.index(m.kind), people[0].index(m.person), people[1].index(m.partner)
            out[:, s, i, j] = turned.values[m.row], turned.valid[m.row]
            if round_robin:
                out[:, s, j, i] = back.values[m.row], back.valid[m.row]
    cells = ~np.eye(design.n_persons, dtype=bool) if round_robin else np.ones(out.shape[2:4], bool)
    present = np.isfinite(out[0][:, cells])
    complete = present.all(axis=(0, 1))
    out[0][..., ~complete] = np.nan
    return out, int((present.any(axis=(0, 1)) & ~complete).sum())


# --- what is tested ---------------------------------------------------------------------------------------------------


def _test(table: _Table, part: Part, asked: TestSettings) -> RelabelledSessions | ScatteredValues:
    """The variance of a part, with draws in which the part is broken up."""
    most = min(LIST_UP_TO, list_up_to(asked.corrections))
    design = table.design
    if part == "relationship":
        if len(table.rows) < 2:
            raise PlanError(
                "there is one session with all dyads, in which a relationship cannot be told from error: record two, "
                "or test part='person'"
            )
        places = RelabelledSessions.places(design, list(table.rows))
        draws = Draws.plan(places, asked.n, asked.seed, list_up_to=most)
        return RelabelledSessions(design, design.effects(table.values).relationship, draws)
    draws = Draws.plan(ScatteredValues.places(design, part), asked.n, asked.seed, list_up_to=most)
    return ScatteredValues(design, part, table.values.mean(axis=0), draws)


def _n_ways(design: Block | RoundRobin, part: Part, draws: Draws[Any]) -> int:
    """Draws that differ, the observed one included: people under other names have the same variance."""
    alike = {"relationship": 1, "person": factorial(design.n_persons), "partner": factorial(design.n_partners)}[part]
    return (draws.n + 1) // (alike if draws.listed else 1)


# --- labels -----------------------------------------------------------------------------------------------------------


def _result_rows(table: _Table) -> xr.Dataset:
    """One row per dyad, the person's channels on axis channel_a; effects and variances beside."""
    shape, mean = table.turned.shape, table.values.mean(axis=0)
    effects = table.design.effects(mean)
    i, j = np.array(table.pairs).T
    dyads, first = table.source.labels("dyad"), next(iter(table.rows.values()))
    coords = table.turned.coords(table.source.dataset) | {
        "person_a": ("dyad", [table.persons[k] for k in i]),
        "person_b": ("dyad", [table.partners[k] for k in j]),
        "part": list(PARTS), "person": table.persons, "partner": table.partners,
    }  # fmt: skip
    parts = variance_parts(table.design, table.values)
    arrays = {
        "relationship_effect": ("dyad", effects.relationship[i, j], "what the effects of both persons leave"),
        "person_effect": ("person", effects.person, "effect of the person, whose channels stand first"),
        "partner_effect": ("partner", effects.partner, "effect of the partner, whose channels stand second"),
        "variance": ("part", parts, "variance of each part, without bias; may be negative"),
    }
    valid = table.valid.mean(axis=0)[i, j]
    names = [dyads[first[pair]] for pair in table.pairs]
    return unit_rows(table.source.dataset, coords, names, mean[i, j], valid).assign({
        name: ((dim, *FEATURE), values.reshape(-1, *shape), {"units": "1", "long_name": told})
        for name, (dim, values, told) in arrays.items()
    })  # fmt: skip
