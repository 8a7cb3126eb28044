"""What enters the test of an association: one row per dyad or per session, what was left out, what cannot be tested."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError, require_known
from ..inference.partial_correlation import LEAST_UNITS, basis_of, residuals
from ..inference.slopes import slopes
from ..nulls.shared_partners import components
from .outcome_table import Table, mean
from .shared_people import in_all

Floats = NDArray[np.float64]
Level = Literal["mean", "between", "slope", "within"]
OutcomeLevel = Literal["mean", "change", "slope"]

# What is left of a covariate after others were taken out counts as nothing below this share of its spread.
_NOTHING = 1e-9


@dataclass(frozen=True)
class Sample:
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
    n_outcomes : list of int
        Values of the outcome behind each unit.
    outcome_name : str
        Where it was measured session by session, for the words; empty where one value holds for a dyad.
    left_out : str
        What lacks something and is not used, in words.
    within : bool
        Whether units are the sessions of dyads.
    common : str
        Who is in every dyad; empty if nobody is.
    """

    units: list[str]
    strata: list[str]
    places: list[tuple[int, list[int]]]
    values: Floats
    outcome: Floats
    covariates: Floats
    n_outcomes: list[int]
    outcome_name: str
    left_out: str
    within: bool = False
    common: str = ""

    @property
    def n_dyads(self) -> int:
        """Dyads behind the units."""
        return len({dyad for dyad, _ in self.places})

    @property
    def entered(self) -> str:
        """How much is related, in words."""
        n_sessions = sum(len(sessions) for _, sessions in self.places)
        told = f"{self.n_dyads} dyads with {n_sessions} sessions"
        if self.within:
            return told
        of_outcome = f" and {sum(self.n_outcomes)} values of {self.outcome_name!r}" if self.outcome_name else ""
        return f"{told} of synchrony{of_outcome}"

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


def sample_of(table: Table, level: Level, outcome_level: OutcomeLevel = "mean", ahead: int = 0) -> Sample:
    """
    The rows that are related.

    Parameters
    ----------
    table : Table
    level : {"mean", "between", "slope", "within"}
    outcome_level : {"mean", "change", "slope"}
        Of the outcome over the sessions of a dyad.
    ahead : int
        Sessions from synchrony to outcome.

    Returns
    -------
    Sample
        Its `left_out` also says what was given and not used.

    Raises
    ------
    PlanError
        If fewer than four dyads have all values, or dyads are tied through several persons.
    """
    if level == "within":
        sample = _within(table, ahead)
    elif level == "between" or ahead:
        sample = _of_pairs(table, ahead)
    else:
        sample = _of_dyads(table, level, outcome_level)
    common = in_all([table.persons[dyad] for dyad, _ in sample.places])
    return replace(sample, left_out=_joined(sample.left_out, *table.notes), common="" if sample.within else common)


def exchangeable(sample: Sample) -> Sample:
    """
    Without a dyad that has nobody to exchange outcomes with, whose own intercept would take all that it tells.

    Raises
    ------
    PlanError
        If fewer than four dyads are left.
    """
    alone = [unit for unit, label in zip(sample.units, sample.strata, strict=True) if sample.strata.count(label) == 1]
    if not alone:
        return sample
    lacking = f"dyad {alone[0]!r} is left out, without a dyad to exchange outcomes with: all others share a person"
    kept = [at for at, unit in enumerate(sample.units) if unit not in alone]
    if len(kept) < LEAST_UNITS:
        raise PlanError(
            f"an association needs {LEAST_UNITS} dyads that may exchange outcomes, {len(kept)} can: {lacking}"
        )
    return replace(
        sample,
        units=[sample.units[at] for at in kept],
        strata=[sample.strata[at] for at in kept],
        places=[sample.places[at] for at in kept],
        values=sample.values[kept],
        outcome=sample.outcome[kept],
        covariates=sample.covariates[kept],
        n_outcomes=[sample.n_outcomes[at] for at in kept],
        left_out=_joined(lacking, sample.left_out),
    )


def check_levels(level: str, outcome_level: str, ahead: int) -> None:
    """Refuse levels that are unknown or do not go together."""
    require_known("level", level, get_args(Level))
    require_known("outcome_level", outcome_level, get_args(OutcomeLevel))
    if isinstance(ahead, bool) or not isinstance(ahead, int) or ahead < 0:
        raise PlanError(f"ahead={ahead!r} is not a number of sessions; give 0, 1, 2, ...")
    if ahead and level == "slope":
        raise PlanError("ahead pairs single sessions, a slope takes all of them: use it with level='mean' or 'within'")
    if outcome_level != "mean" and (ahead or level in ("within", "between")):
        single = "ahead" if ahead else f"level={level!r}"
        raise PlanError(
            f"outcome_level={outcome_level!r} takes all sessions of a dyad, {single} single ones: use level='mean' or "
            "'slope' without ahead"
        )


def varying_covariates(table: Table, level: Level, ahead: int) -> Table:
    """
    The table with those covariates that vary where a part needs it: over the sessions of a dyad, or over dyads.

    A covariate that varies nowhere is kept, to be refused by name.
    """
    means = mean(table.covariates, 2)
    over_sessions = np.nanmax(np.abs(table.covariates - means[:, :, None]), axis=(1, 2), initial=0.0)
    paired = table.there & np.isfinite(table.later(ahead))
    of_dyads = mean(np.where(paired, table.covariates, np.nan), 2)
    spread = np.nanmax(of_dyads, axis=1, initial=-np.inf) - np.nanmin(of_dyads, axis=1, initial=np.inf)
    least = 1e-9 * np.nanmax(np.abs(table.covariates), axis=(1, 2), initial=0.0)
    own, other = (
        (over_sessions > least, spread > least) if level == "within" else (spread > least, over_sessions > least)
    )
    kept = own | ~other
    names = [name for name, keep in zip(table.names, kept, strict=True) if keep]
    return replace(table, covariates=table.covariates[kept], names=names)


def _slope(values: Floats, when: Floats) -> Floats:
    """Least-squares slope over the sessions of each dyad: float64 [dyad, ...] from [dyad, session, ...]."""
    return slopes(np.moveaxis(values, 1, 0), when)


def _change(values: Floats, _: Floats) -> Floats:
    """Last value of each dyad less its first; NaN with fewer than two: float64 [dyad] from [dyad, session]."""
    present = np.isfinite(values)
    rows, last = np.arange(len(values)), values.shape[1] - 1 - present[:, ::-1].argmax(axis=1)
    change = values[rows, last] - values[rows, present.argmax(axis=1)]
    return np.where(present.sum(axis=1) >= 2, change, np.nan)


_over_sessions: dict[str, Callable[[Floats, Floats], Floats]] = {
    "mean": lambda values, _: mean(values, 1),
    "change": _change,
    "slope": _slope,
}


def _joined(*notes: str) -> str:
    return "; ".join(filter(None, notes))


def _of_dyads(table: Table, level: Level, outcome_level: OutcomeLevel) -> Sample:
    """Mean or slope of synchrony over all sessions of each dyad, and its outcome."""
    synchrony = _over_sessions[level](table.synchrony, table.when)
    outcome = _over_sessions[outcome_level](table.outcome, table.when)
    present: dict[str, NDArray[np.bool_]] = {
        "synchrony" + " in two sessions" * (level == "slope"): np.asarray(np.isfinite(synchrony).any(axis=1)),
        repr(table.outcome_name) + " in two sessions" * (outcome_level != "mean"): np.isfinite(outcome),
    }
    sample = _over_dyads(table, synchrony, outcome, present)
    return replace(sample, left_out=_joined(sample.left_out, _sessions_lacking(table, sample, {}, 0)))


def _of_pairs(table: Table, ahead: int) -> Sample:
    """Means over the sessions of each dyad in which synchrony is there, and the outcome so many sessions later."""
    later = table.later(ahead)
    here: dict[str, NDArray[np.bool_]] = {"synchrony": table.there, repr(table.outcome_name): np.isfinite(later)}
    paired: NDArray[np.bool_] = np.logical_and.reduce(list(here.values()))
    fewer = replace(
        table,
        synchrony=np.where(paired[:, :, None], table.synchrony, np.nan),
        outcome=np.where(paired, later, np.nan),
        covariates=np.where(paired, table.covariates, np.nan),
    )
    present: dict[str, NDArray[np.bool_]] = {f"a session that has {' and '.join(here)}": np.asarray(paired.any(axis=1))}
    sample = _over_dyads(fewer, mean(fewer.synchrony, 1), mean(fewer.outcome, 1), present)
    return replace(sample, left_out=_joined(sample.left_out, _sessions_lacking(table, sample, here, ahead)))


def _over_dyads(table: Table, synchrony: Floats, outcome: Floats, present: dict[str, NDArray[np.bool_]]) -> Sample:
    """One row per dyad that has what it must and all covariates, from [dyad, feature] and [dyad]."""
    covariates = mean(table.covariates, 2)
    present |= {repr(name): np.isfinite(values) for name, values in zip(table.names, covariates, strict=True)}
    kept = np.flatnonzero(np.all(list(present.values()), axis=0)).tolist()
    _refuse_few(len(kept), present, _joined(table.lacking(present), *table.notes))
    return Sample(
        units=[table.dyads[dyad] for dyad in kept],
        strata=_strata([table.dyads[dyad] for dyad in kept], [table.persons[dyad] for dyad in kept]),
        places=[(dyad, np.flatnonzero(table.there[dyad]).tolist()) for dyad in kept],
        values=synchrony[kept],
        outcome=outcome[kept],
        covariates=covariates[:, kept].T,
        n_outcomes=np.isfinite(table.outcome[kept]).sum(axis=1).tolist(),
        outcome_name=table.outcome_name if table.by_session else "",
        left_out=table.lacking(present),
    )


def _within(table: Table, ahead: int) -> Sample:
    """Sessions of each dyad, an intercept for each dyad, exchanged within it."""
    later = table.later(ahead)
    here: dict[str, NDArray[np.bool_]] = {"synchrony": table.there, repr(table.outcome_name): np.isfinite(later)}
    here |= {repr(name): np.asarray(np.isfinite(v)) for name, v in zip(table.names, table.covariates, strict=True)}
    complete: NDArray[np.bool_] = np.logical_and.reduce(list(here.values()))
    listed = list(here)
    enough = {f"two sessions that have {', '.join(listed[:-1])} and {listed[-1]}": complete.sum(axis=1) >= 2}
    kept = np.flatnonzero(complete.sum(axis=1) >= 2)
    _refuse_few(len(kept), enough, _joined(_apart(table), table.lacking(enough), *table.notes))
    places = [(int(dyad), int(session)) for dyad in kept for session in np.flatnonzero(complete[dyad])]
    at = tuple(np.array(places).T)
    sample = Sample(
        units=[table.sessions[session] for _, session in places],
        strata=[table.dyads[dyad] for dyad, _ in places],
        places=[(dyad, [session]) for dyad, session in places],
        values=table.synchrony[at],
        outcome=later[at],
        covariates=table.covariates[:, *at].T,
        n_outcomes=[1] * len(places),
        outcome_name=table.outcome_name,
        left_out=table.lacking(enough),
        within=True,
    )
    return replace(sample, left_out=_joined(sample.left_out, _sessions_lacking(table, sample, here, ahead)))


def _sessions_lacking(table: Table, sample: Sample, here: Mapping[str, NDArray[np.bool_]], ahead: int) -> str:
    """Which sessions of dyads that are kept are empty or lack what, in words; from flags [dyad, session]."""
    told = []
    for dyad, session in product(sorted({dyad for dyad, _ in sample.places}), range(len(table.sessions) - ahead)):
        place = f"session {table.sessions[session]!r} of dyad {table.dyads[dyad]!r} is left out"
        missing = [what for what, has in here.items() if not has[dyad, session]]
        # With sessions ahead, those with an outcome alone are the later ones of a pair.
        alone = len(missing) == len(here) or (ahead and "synchrony" in missing)
        if table.rows[dyad][session] and not table.there[dyad, session]:
            told.append(f"{place}, it is empty")
        elif missing and not alone:
            told.append(f"{place}, without {' and '.join(missing)}")
    return "; ".join(told)


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


def _apart(table: Table) -> str:
    """Why synchrony and outcome have no session in common, in words; empty if they have."""
    has = table.there.any(axis=0), np.isfinite(table.outcome).any(axis=0)
    if (has[0] & has[1]).any() or not all(some.any() for some in has):
        return ""
    ours, theirs = (", ".join(repr(table.sessions[at]) for at in np.flatnonzero(some)) for some in has)
    return f"sessions of synchrony are {ours}, those of {table.outcome_name!r} {theirs}, give both the same labels"


def _refuse_few(n_dyads: int, present: Mapping[str, NDArray[np.bool_]], lacking: str) -> None:
    if n_dyads < LEAST_UNITS:
        having = " and ".join(f"{what} ({int(has.sum())})" for what, has in present.items())
        raise PlanError(
            f"an association needs {LEAST_UNITS} dyads with all values, {n_dyads} have {having}"
            + f": {lacking}" * bool(lacking)
        )


def refuse_unusable(sample: Sample, outcome: str, names: Sequence[str]) -> None:
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
