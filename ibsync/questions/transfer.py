"""Whether synchrony carries over to other partners: a person's gain with one, and synchrony with another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..coupling.measures import Measure, measure_in
from ..errors import PlanError, did_you_mean, require_known
from ..inference.associations import Associations
from ..inference.attainable import attainable, n_tested
from ..inference.partial_correlation import LEAST_UNITS, basis_of, residuals
from ..inference.permutation_test import permutation_test
from ..inference.settings import TestSettings
from ..inference.signflip import sign_flip_test
from ..nulls.draws import Draws, list_up_to
from ..nulls.hypotheses import NullHypothesis
from ..nulls.relabelling import Permutations, Signs
from ..nulls.tails import Tail
from ..results.layout import ROW, unit_rows
from ..results.record import ASSOCIATED, COMPARED, NullDraws, Quantity, Record, Words
from ..results.result import Result, build_result
from .group_test import epoch_and_band, neighbour_graph, refuse_or_warn
from .outcome import FREEDMAN_LANE
from .outcome_table import mean, named, number_of
from .session_times import Source
from .transfer_persons import Gain, Persons, Which, meetings_of

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    Values = Mapping[Any, float] | pd.Series[float]
    Covariates = Sequence[str] | Mapping[str, Values]

Floats = NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]
Kind = Literal["gain", "change"]

LIST_UP_TO = 50_000
"""Permutations are listed instead of drawn when there are no more of them than this."""

_GAIN = NullHypothesis(
    "transfer_gain", "permutation over persons",
    "a person's synchrony with probe partners is as likely to go with any other's gain as with the own",
    "anything of the person that acts on both (the person's own rhythms, movement or signal quality, which raise "
    "synchrony with anybody; familiarity with the task), nor does it show that training causes it",
)  # fmt: skip
_CHANGE = NullHypothesis(
    "transfer_change", "sign flips of changes over persons",
    "synchrony with probe partners does not change on average: each unit's change is as likely to have the other sign",
    "whatever else changes from before to after (practice, familiarity with the task, the persons' own rhythms or "
    "movement), as there is no untrained group, or that other trained partners would have another effect",
)  # fmt: skip

# What is left of a covariate after others were taken out counts as nothing below this share of its spread.
_NOTHING = 1e-9


def transfer(
    real: xr.Dataset | Result,
    trained: Which,
    probe: Which,
    *,
    kind: Kind = "gain",
    gain: Gain = "slope",
    change: bool = False,
    covariates: Covariates = (),
    time: str | Mapping[str, float] = "session",
    n: int = 10_000,
    seed: int = 0,
    tail: Tail = "two-sided",
    correct: Sequence[str] | None = None,
    alpha: float = 0.05,
    neighbours: Sequence[tuple[str, str]] | None = None,
) -> Result:
    """Does synchrony carry over to another partner? Gain with one partner, tested against synchrony with another.

    A person meets a trained partner over sessions, and probe partners. Of each person the gain with the trained partner
    is taken, and the mean synchrony with probe partners at or after the last of these sessions; over persons their
    partial correlation is tested by permutation of the second (exact without covariates; with them what they leave of
    it is permuted, Freedman and Lane 1983, *J. Bus. Econ. Stat.* 1:292). Persons exchange only with those who share the
    same trained and the same probe partners, if any are shared.

    In all arrays of the result `channel_a` is a channel of the person and `channel_b` one of the partner, whichever
    side of the dyad the person was on.

    Parameters
    ----------
    real : Result or xarray.Dataset
        A Result of `ibs.test`, of whose coherence the mean of each row's own null is subtracted; or raw synchrony from
        `Study.synchrony`.
    trained, probe : str or sequence of str
        Role of the trained and of the probe partners, such as "therapist" and "stranger"; or the group of these dyads;
        or a list of dyads. Where no role tells, a person is whoever has dyads of both kinds.
    kind : {"gain", "change"}
        "change" tests whether persons change with probe partners, from before training to after, by sign flips. Those
        who share a probe partner count as one unit.
    gain : {"slope", "change", "level"}
        Least-squares slope over sessions with the trained partner, last session less first, or mean over sessions. Over
        several trained partners of a person the mean is taken.
    change : bool
        Relate the gain to the change with probe partners, from before training to after, instead of the level after.
    covariates : sequence of str, or mapping of name to values, optional
        Numbers by person to be held constant; a name is that of a numeric coordinate of the rows (such as an outcome
        of the study), averaged over a person's trained sessions.
    time : "session" or mapping of session to number
        When each session took place: the number in its label, or as given. Probes whose sessions have no number are all
        taken, which the result says.
    n, seed : int
        Draws and their seed; all are listed where they are few.
    tail : {"two-sided", "greater", "less"}
    correct : sequence of {"fdr", "fdr_by", "max", "cluster", "tfce"}, optional
        Corrections over all channel pairs x bands x epochs. One that is named must be able to find something at
        `alpha`. Default: "fdr" and "max", with a warning where they cannot.
    alpha : float
        Level at which a finding is wanted; the interval of the slope covers with probability 1 - alpha.
    neighbours : sequence of (channel, channel), optional
        For "cluster" and "tfce": channels that lie side by side, instead of what their names say.

    Returns
    -------
    Result
        With one row per person, whose name stands in the coordinate `dyad`. `gain`, `probe`, `probe_before`, float64
        [dyad, epoch, channel_a, channel_b, band], are what was related and `value` what was tested; `n_trained`,
        `n_probe`, `n_probe_before` int64 [dyad] the sessions behind them; coordinates `trained_partner` and
        `probe_partner` name the partners. `group_statistic` is the partial correlation, `slope` the change of probe
        synchrony per unit of gain, `slope_low` and `slope_high` its interval by inversion of the permutation test, `t`
        its t, `n_dyads` the persons behind each; `gain_reliability` the share of the variance of gains that is no error
        of a slope, by which the slope on the true gain is larger. For "change" `group_statistic` is the mean change.
        Attribute `left_out` names persons, dyads and sessions that did not enter.

    Raises
    ------
    PlanError
        If no person has a second partner, roles do not tell who is meant, too few persons have all values or may be
        exchanged, a covariate is unknown, constant or a sum of others, times are needed and not known, or the draws are
        too few for a correction that was named.

    Warns
    -----
    RuntimeWarning
        If anything is left out, or no single finding could survive the default corrections.

    Examples
    --------
    >>> transfer(result, trained="therapist", probe="stranger").headline
    """
    asked = TestSettings(n, seed, tail, correct, alpha, neighbours)
    _check_words(kind, gain)
    source = Source.of(real)
    persons = Persons.of(source, meetings_of(source, trained, probe), gain, time)
    held = [_covariate(source, persons, name, values) for name, values in named(covariates)]
    plan = _changes(persons, held, asked) if kind == "change" else _associations(persons, change, held, asked)
    refuse_or_warn(plan.caution, correct, plan.left_out)
    facts = {
        **plan.facts, "kind": kind, "gain": gain, "trained": _said(trained), "probe": _said(probe),
        "taken_off": source.null_words,
    }  # fmt: skip
    measure = measure_in(source.dataset.attrs)
    record = Record(
        "transfer", plan.draws, _words(facts, measure, tail, raw=not source.null_kind), asked, measure.name,
        {"transfer": facts}, caution=plan.caution, left_out=plan.left_out, entered=_entered(facts), unit="person",
    )  # fmt: skip
    rows = _rows(source, plan)
    return build_result(rows, plan.run(asked, graph=neighbour_graph([rows], asked)), record)


def _entered(facts: Mapping[str, Any]) -> str:
    """How much entered, in words."""
    return (
        f"{facts['n_persons']} persons ({facts['n_trained']} sessions with {facts['n_trained_partners']} trained "
        f"partners, {facts['n_probe']} probes after training and {facts['n_before']} before, with "
        f"{facts['n_probe_partners']} partners)"
    )


# --- sentences --------------------------------------------------------------------------------------------------------


def _words(facts: Mapping[str, Any], measure: Measure, tail: Tail, *, raw: bool) -> Words:
    """The sentences of the test."""
    less = f"The {measure.words} of each row was taken less the mean of its null ({facts['taken_off']}). "
    before, rest = (
        less * bool(facts["taken_off"]),
        "; raw coherence also follows the rhythms, noise and length of the ",
    )
    rest = f"{rest}recordings of either person" * raw
    if facts["kind"] == "change":
        return _words_of_change(facts, measure, tail, before, f"{_CHANGE.not_excluded}{rest}")
    return _words_of_gain(facts, measure, tail, before, rest)


def _words_of_change(facts: Mapping[str, Any], measure: Measure, tail: Tail, before: str, leaves_open: str) -> Words:
    change = f"change of {measure.words} with {facts['probe']} from before training to after"
    units = f"over {facts['n_units']} units, persons who share a probe partner being one," if facts["shared"] else ""
    tested = f"a {change} {COMPARED[tail]} zero"
    return Words(
        subject=f"transfer to {facts['probe']}: change after training",
        tested=tested,
        procedure=f"{before}The mean {change} was tested {units or 'over persons'} by flipping its signs",
        value=Quantity(change, measure.unit),
        statistic=Quantity(f"change of {measure.words}", measure.unit),
        name="change",
        not_excluded=leaves_open,
    )


def _words_of_gain(facts: Mapping[str, Any], measure: Measure, tail: Tail, before: str, rest: str) -> Words:
    gain = {
        "slope": f"the slope of synchrony with {facts['trained']} over sessions",
        "change": f"the change of synchrony with {facts['trained']} from the first session to the last",
        "level": f"synchrony with {facts['trained']}",
    }[str(facts["gain"])]
    probe = f"synchrony with {facts['probe']}" + " after training" * bool(facts["after"])
    if facts["change"]:
        probe = f"the change of synchrony with {facts['probe']} from before training to after"
    held = facts["covariates"]
    given = f", given {' and '.join(map(repr, held))}," if held else ""
    order = "" if facts["after"] else "No times told which probes came after training, and all were taken. "
    permuted = "what the covariates leave of it (Freedman & Lane 1983)" if held else "the second"
    among = "among persons with the same shared partners" if facts["shared"] else "over persons"
    kind = "partial correlation" if held else "correlation"
    level = "; a level with one partner that goes with the level with another is no gain" * (facts["gain"] == "level")
    tested = f"{ASSOCIATED[tail]} association of {gain} with {probe}{given} over persons"
    return Words(
        subject=f"transfer to {facts['probe']} and gain with {facts['trained']}",
        tested=tested,
        procedure=f"{before}{order}The association of {gain} with {probe} was tested by the {kind}, with {permuted} "
        f"permuted {among}; the {100 * facts['level']:g} % interval of its slope is that of the slopes which this test "
        "does not reject",
        value=Quantity(probe, measure.unit),
        statistic=Quantity(kind),
        name="correlation",
        slope=Quantity("change of synchrony with probe partners per unit of gain", "unit of value per unit of gain"),
        not_excluded=f"{_GAIN.not_excluded}{level}{rest}",
        references=(FREEDMAN_LANE,) if held else (),
    )


def _check_words(kind: str, gain: str) -> None:
    require_known("kind", kind, get_args(Kind))
    require_known("gain", gain, get_args(Gain))


def _said(which: Which) -> str:
    return repr(which) if isinstance(which, str) else ", ".join(repr(str(name)) for name in which)


def _covariate(source: Source, persons: Persons, name: str, values: str | Values) -> tuple[str, Floats]:
    """A covariate by its name and its values, float64 [person]."""
    if isinstance(values, str):
        numeric = [str(c) for c, v in source.dataset.coords.items() if v.dims == ("dyad",) and v.dtype.kind in "fiub"]
        at = next((key for key in (values, f"outcome_{values}") if key in numeric), None)
        if at is None:
            known = [key.removeprefix("outcome_") for key in numeric]
            listed = f"there are {', '.join(map(repr, known))}" if known else "give values by person"
            raise PlanError(f"there is no covariate {values!r}; {did_you_mean(values, known) or listed}")
        of_row = source.dataset[at].to_numpy().astype(np.float64)
        return name, np.array([float(mean(of_row[rows["trained"]], 0)) for rows in persons.rows])
    given = {str(key): number_of(value, key, name) for key, value in dict(values).items()}
    strange = [key for key in given if key not in persons.names]
    if strange:
        near = did_you_mean(strange[0], persons.names) or "give values by person"
        raise PlanError(f"covariate {name!r} has a value of {strange[0]!r}, who is no person of the test; {near}")
    return name, np.array([given.get(person, np.nan) for person in persons.names])


# --- what is tested ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Plan:
    """
    A test that is ready to run.

    Parameters
    ----------
    persons : Persons
        Those who enter.
    tested : float64 [person, feature]
        What is tested of them.
    run : callable
    draws : NullDraws
    facts : mapping
        What its sentences say.
    caution, left_out : str
    """

    persons: Persons
    tested: Floats
    run: Callable[..., Arrays]
    draws: NullDraws
    facts: Mapping[str, Any]
    caution: str
    left_out: str


def _associations(persons: Persons, change: bool, held: Sequence[tuple[str, Floats]], asked: TestSettings) -> _Plan:
    """Partial correlation of gain with probe, by permutation over persons."""
    goal = persons.probe - persons.before if change else persons.probe
    present = _present(persons, goal, change, needs_gain=True)
    present |= {f"a value of {name!r}": np.isfinite(values) for name, values in held}
    strata = _strata(persons, np.flatnonzero(np.all(list(present.values()), axis=0)).tolist())
    present["anybody to be exchanged with, as nobody else has the same partners"] = np.array(
        [label is not None for label in strata]
    )
    kept = np.flatnonzero(np.all(list(present.values()), axis=0)).tolist()
    if len(kept) < LEAST_UNITS:
        raise PlanError(f"transfer is tested over {LEAST_UNITS} persons at least, {len(kept)} can be: "
                        f"{_lacking(persons, present)}")  # fmt: skip
    chosen, labels = persons.only(kept), [str(strata[k]) for k in kept]
    nuisance = _nuisance(labels, [(name, values[kept]) for name, values in held])
    most = min(LIST_UP_TO, list_up_to(asked.corrections))
    draws = Draws.plan(Permutations(tuple(chosen.names), tuple(labels)), asked.n, asked.seed, list_up_to=most)
    test = Associations(chosen.gains.values, goal[kept], nuisance, draws)
    caution = attainable(asked, test.n_tested, draws, units=f"{len(kept)} persons")
    facts = {"covariates": [name for name, _ in held], "shared": int(any(labels)), "change": int(change)}
    facts |= _counts(chosen, asked)
    run, drawn = partial(_associate, test, chosen.gains.error), NullDraws.of(_GAIN, draws, asked)
    return _Plan(chosen, goal[kept], run, drawn, facts, caution, _left_out(persons, present))


def _associate(test: Associations, error: Floats, asked: TestSettings, **words: Any) -> Arrays:
    low, high = test.interval(alpha=asked.alpha)
    more = {"slope_low": low, "slope_high": high, "gain_reliability": test.reliability(error)}
    return permutation_test(test, asked, **words) | more


def _changes(persons: Persons, held: Sequence[tuple[str, Floats]], asked: TestSettings) -> _Plan:
    """Mean change with probe partners from before training to after, by sign flips."""
    if held:
        raise PlanError("covariates are held constant in an association: leave them out of kind='change'")
    goal = persons.probe - persons.before
    present = _present(persons, goal, True, needs_gain=False)
    kept = np.flatnonzero(np.all(list(present.values()), axis=0)).tolist()
    chosen = persons.only(kept)
    units = _tied([partners["probe"] for partners in chosen.partners])
    if len(units) < 2:
        shared = ", ".join(map(repr, sorted(_union(own["probe"] for own in chosen.partners))))
        why = f"all persons share probe partners ({shared}), whose own change cannot be told from theirs"
        raise PlanError(f"a mean change needs two units: {why if kept else _lacking(persons, present)}")
    values = np.stack([mean(goal[kept][unit], 0) for unit in units])
    design = Signs(tuple(min(chosen.names[k] for k in unit) for unit in units))
    draws = Draws.plan(design, asked.n, asked.seed, list_up_to=list_up_to(asked.corrections))
    caution = attainable(asked, n_tested(values), draws, units=f"{len(units)} persons")
    groups = epoch_and_band(persons.turned.shape)
    run = partial(sign_flip_test, values, draws, groups=groups)
    facts = {"n_units": len(units), "shared": int(len(units) < len(kept))} | _counts(chosen, asked)
    drawn = NullDraws.of(_CHANGE, draws, asked)
    return _Plan(chosen, goal[kept], run, drawn, facts, caution, _left_out(persons, present))


def _counts(persons: Persons, asked: TestSettings) -> dict[str, Any]:
    """How much entered, and whether times told which probes came after."""
    return {
        "n_persons": len(persons.names), "after": int(persons.after), "level": 1 - asked.alpha,
        **{f"n_{kind}": sum(persons.count(kind)) for kind in ("trained", "probe", "before")},
        **{f"n_{kind}_partners": len(_union(own[kind] for own in persons.partners)) for kind in ("trained", "probe")},
    }  # fmt: skip


def _union(some: Iterable[set[str]]) -> set[str]:
    return set().union(*some)


def _nuisance(strata: Sequence[str], held: Sequence[tuple[str, Floats]]) -> Floats:
    """
    An intercept per stratum, and the covariates centred within strata: float64 [person, column].

    Raises
    ------
    PlanError
        If a covariate is constant or a sum of others, or there are too many.
    """
    taken = np.array([[own == label for label in sorted(set(strata))] for own in strata], np.float64)
    basis = basis_of(taken)
    free = len(strata) - taken.shape[1] - 2
    if len(held) > free:
        raise PlanError(f"{len(held)} covariates are too many for {len(strata)} persons; name at most {max(free, 0)}")
    for name, values in held:
        for columns, why in ((basis, "the same for all who may exchange"), (basis_of(taken), "a sum of the others")):
            if np.linalg.norm(residuals(values, columns)) <= _NOTHING * np.linalg.norm(values):
                raise PlanError(f"covariate {name!r} is {why}; leave it out")
        taken = np.column_stack([taken, residuals(values, basis)])
    return taken


# --- who may be exchanged ---------------------------------------------------------------------------------------------


def _strata(persons: Persons, kept: Sequence[int]) -> list[str | None]:
    """
    Within which persons values are exchanged: those with the same shared partners; None for whoever is alone.

    A partner counts as shared if two persons meet him or her in dyads of the same kind.
    """
    chosen = {int(k) for k in kept}
    met: dict[tuple[str, str], int] = {}
    for k in chosen:
        for kind, partners in persons.partners[k].items():
            for partner in partners:
                met[kind, partner] = met.get((kind, partner), 0) + 1
    labels: list[str | None] = [None] * len(persons.names)
    for k in chosen:
        own = [(kind, partner) for kind, some in persons.partners[k].items() for partner in some]
        labels[k] = " | ".join(f"{kind} {partner}" for kind, partner in sorted(own) if met[kind, partner] > 1)
    return [None if label is None or labels.count(label) < 2 else label for label in labels]


def _tied(shared: Sequence[set[str]]) -> list[list[int]]:
    """Persons who are tied by shared partners, as lists of their numbers."""
    units: list[tuple[set[str], list[int]]] = []
    for number, partners in enumerate(shared):
        tied = [unit for unit in units if unit[0] & partners]
        members = sorted([number, *(k for _, some in tied for k in some)])
        units = [unit for unit in units if unit not in tied]
        units.append((partners.union(*(names for names, _ in tied)), members))
    return [members for _, members in units]


# --- who cannot enter -------------------------------------------------------------------------------------------------


def _present(persons: Persons, goal: Floats, change: bool, needs_gain: bool) -> dict[str, NDArray[np.bool_]]:
    """What each person must have, and whether they have it: bool [person]."""
    flags: dict[str, NDArray[np.bool_]] = {
        "a trained dyad": np.array([bool(partners["trained"]) for partners in persons.partners]),
        "a probe dyad": np.array([bool(partners["probe"]) for partners in persons.partners]),
    }
    if needs_gain:
        flags["a gain (values in two trained sessions)"] = _any(persons.gains.values)
    if change and not persons.after:
        raise PlanError(
            "a change with probe partners needs the times of all sessions, to tell before from after: give time, such "
            "as time={'pre': 0, 'session 1': 1, 'post': 2}"
        )
    flags["a probe at or after the last trained session"] = _any(persons.probe)
    if change:
        flags["a probe at or before the first trained session"] = _any(persons.before)
    flags["a channel pair with all values"] = _any(goal + persons.gains.values if needs_gain else goal)
    return flags


def _any(values: Floats) -> NDArray[np.bool_]:
    """Whether a person has any value, bool [person]."""
    return np.asarray(np.isfinite(values).any(axis=1))


def _lacking(persons: Persons, present: Mapping[str, NDArray[np.bool_]]) -> str:
    """Which persons lack what first, in words."""
    told: dict[str, list[str]] = {}
    for k, person in enumerate(persons.names):
        missing = [what for what, has in present.items() if not has[k]]
        if missing:
            told.setdefault(missing[0], []).append(repr(person))
    return "; ".join(
        f"person{'s' * (len(some) > 1)} {', '.join(some)} {'are' if len(some) > 1 else 'is'} left out, without {what}"
        for what, some in told.items()
    )


def _left_out(persons: Persons, present: Mapping[str, NDArray[np.bool_]]) -> str:
    notes = [f"{note} are not used" for note in persons.notes]
    return "; ".join(filter(None, [_lacking(persons, present), *notes]))


# --- labels -----------------------------------------------------------------------------------------------------------


def _rows(source: Source, plan: _Plan) -> xr.Dataset:
    """One row per person, the person's channels on axis channel_a."""
    persons, turned = plan.persons, plan.persons.turned
    every = [[row for some in rows.values() for row in some] for rows in persons.rows]
    coords = turned.coords(source.dataset)
    for kind in ("trained", "probe"):
        coords[f"{kind}_partner"] = ("dyad", [", ".join(sorted(own[kind])) for own in persons.partners])
    valid = np.array([mean(turned.valid[rows], 0) for rows in every])
    arrays = {
        "gain": (persons.gains.values, "gain with trained partners"),
        "probe": (persons.probe, "mean synchrony with probe partners at or after the last trained session"),
        "probe_before": (persons.before, "mean synchrony with probe partners at or before the first trained session"),
    }
    counts = {"n_trained": "trained", "n_probe": "probe", "n_probe_before": "before"}
    real = source.dataset.assign_attrs(pairs=turned.pairs)
    return unit_rows(real, coords, persons.names, plan.tested, valid).assign({
        **{name: (ROW, values.reshape(-1, *turned.shape), {"units": "1", "long_name": told})
           for name, (values, told) in arrays.items()},
        **{name: ("dyad", persons.count(kind), {"units": "1", "long_name": f"sessions behind the {kind} value"})
           for name, kind in counts.items()},
    })  # fmt: skip
