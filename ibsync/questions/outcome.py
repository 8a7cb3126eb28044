"""Association of synchrony with an outcome: over dyads, or over the sessions of each dyad."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..coupling.measures import measure_in
from ..errors import PlanError
from ..inference.attainable import attainable
from ..inference.p_values import CORRECTIONS
from ..inference.partial_correlation import FreedmanLane
from ..inference.permutation_test import permutation_test
from ..inference.settings import TestSettings
from ..inference.spread import spread_test
from ..nulls.draws import Draws
from ..nulls.hypotheses import NullHypothesis
from ..nulls.relabelling import Permutations
from ..nulls.tails import Tail
from ..recordings.study_file import StudyFile
from ..results.layout import mean_valid, require_dataset, shared_labels, unit_rows
from ..results.record import ASSOCIATED, NullDraws, Quantity, Record, Words
from ..results.result import Result, build_result
from .group_test import SELDOM, epoch_and_band, refuse_or_warn
from .outcome_sample import (
    Level,
    OutcomeLevel,
    Sample,
    check_levels,
    exchangeable,
    refuse_unusable,
    sample_of,
    varying_covariates,
)
from .outcome_table import Covariates, Lookup, Table, Values
from .shared_people import speaking_of

if TYPE_CHECKING:
    import xarray as xr

OUTCOME_NULL = NullHypothesis(
    "outcome", "permutation of the outcome",
    "the outcome is as likely to go with any other's synchrony as with its own",
    "anything that varies along with both (severity, age, movement, signal quality, a trend over sessions), nor does "
    "it show that one causes the other",
)  # fmt: skip
FREEDMAN_LANE = "Freedman & Lane 1983, J. Bus. Econ. Stat. 1:292"
HC3 = "MacKinnon & White 1985, J. Econometrics 29:305"


def outcome(
    real: xr.Dataset | Result,
    outcome: str | Values,
    *,
    covariates: Covariates = (),
    level: Level = "mean",
    outcome_level: OutcomeLevel = "mean",
    ahead: int = 0,
    study: StudyFile | None = None,
    time: Sequence[str] | None = None,
    n: int = 10_000,
    seed: int = 0,
    tail: Tail = "two-sided",
    correct: Sequence[str] | None = None,
    alpha: float = 0.05,
) -> Result:
    """Do the synchronous improve? Partial correlation of synchrony with an outcome, tested by permutation.

    Without covariates the outcome is permuted over dyads, which is an exact test of independence; with covariates what
    a linear model of them leaves of the outcome (Freedman and Lane 1983, *J. Bus. Econ. Stat.* 1:292), which is right
    in large samples and close in small ones. Synchrony is taken less its `null_mean` where `real` has one. Dyads that
    share a person, such as the clients of one therapist, only exchange outcomes among themselves; a dyad with nobody to
    exchange with is left out.

    Parameters
    ----------
    real : xarray.Dataset or Result
        From `Study.synchrony` or a test.
    outcome : str, mapping or pandas.Series
        Name of an outcome that `real` carries as a coordinate of its dyads or that `study` holds; or values by dyad,
        or by (dyad, session). NaN is missing.
    covariates : sequence of str, or mapping of name to values, optional
        Numbers like the outcome, to be held constant. The name "session" is the number of the session in time, and
        "baseline" the first value of the outcome of each dyad.
    level : {"mean", "between", "slope", "within"}
        What is related: means over the sessions of each dyad; the same over those sessions only that have both
        synchrony and outcome; the slope of synchrony over sessions; or the sessions of each dyad, both sides less the
        dyad's mean, exchanged within the dyad.
    outcome_level : {"mean", "change", "slope"}
        What is taken of each dyad's outcome over sessions: mean, last value less first, or least-squares slope. The
        last two need values in two sessions, for "mean" and "slope" of synchrony.
    ahead : int
        Pairs synchrony with the outcome so many sessions later, where both are there. Not with slopes and changes.
    study : Study, optional
        Holds the outcomes and covariates that are named.
    time : sequence of str, optional
        Sessions in time, where their labels hold no number that tells.
    n, seed : int
        Permutations to be drawn, and their seed; all are listed where there are no more than 400 000.
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
        With one row per dyad (per dyad and session for "within"), whose `value` is what was related and `outcome` the
        outcome. `group_statistic` is the partial correlation, `statistic_low` to `statistic_high` its interval by
        Fisher's z; `slope` the change of the outcome per unit of coherence, `t` its t, `slope_low` to `slope_high` the
        slopes that permutation does not reject at `alpha` (NaN for features with missing values), `student_low` to
        `student_high` its interval by least squares; `hc3_t` and `hc3_p` a t and p (not corrected) whose standard
        errors allow for unlike spread (HC3); `n_dyads` the dyads behind each. Attribute `left_out` names
        dyads and sessions that lack something, `entered` counts what is left.

    Raises
    ------
    PlanError
        If a name is unknown, fewer than four dyads have all values, the outcome is constant, a covariate is constant
        or a sum of others, there are too many of them, dyads are tied through several persons, the order of sessions
        is needed and not known, or the draws are too few for a correction that was named.

    Warns
    -----
    RuntimeWarning
        If something is left out, values of two groups look as if measured on two scales, the outcome scatters more at
        some values of synchrony than at others, or no single finding could survive the default corrections.

    Examples
    --------
    >>> outcome(result, "symptoms", covariates=["age"], study=study).headline
    """
    asked = _settings(n, seed, tail, correct, alpha)
    check_levels(level, outcome_level, ahead)
    dataset = real.dataset if isinstance(real, Result) else real
    needs_time = ahead > 0 or level == "slope" or outcome_level != "mean"
    table = table_of(dataset, outcome, covariates, study, time, needs_time=needs_time)
    sample = sample_of(table, level, outcome_level, ahead)
    return _tested(dataset, table, sample, _Related(level, outcome_level, ahead), asked)


def outcome_parts(
    real: xr.Dataset | Result,
    outcome: str | Values,
    *,
    covariates: Covariates = (),
    ahead: int = 0,
    study: StudyFile | None = None,
    time: Sequence[str] | None = None,
    n: int = 10_000,
    seed: int = 0,
    tail: Tail = "two-sided",
    correct: Sequence[str] | None = None,
    alpha: float = 0.05,
) -> dict[str, Result]:
    """Association of synchrony with an outcome between dyads, and over the sessions within them.

    An association of single sessions mixes two that may differ in sign: dyads with more synchrony may do better, and a
    dyad may do better in sessions of more synchrony. Both parts rest on the sessions that have synchrony and outcome.

    Parameters
    ----------
    real, outcome, ahead, study, time, n, seed, tail, correct, alpha
        As `ibs.outcome`; the outcome is one of sessions.
    covariates : sequence of str, or mapping of name to values, optional
        As `ibs.outcome`. Each enters the parts in which it varies: one that is the same in all sessions of a dyad only
        "between".

    Returns
    -------
    dict of str to Result
        "between" (`level="between"`) and "within" (`level="within"`). Corrections run within each part: they are two
        families of tests.

    Raises
    ------
    PlanError
        As `ibs.outcome`.

    Warns
    -----
    RuntimeWarning
        As `ibs.outcome`, for either part.

    Examples
    --------
    >>> parts = outcome_parts(result, "symptoms", study=study, ahead=1)
    >>> parts["within"].headline
    """
    asked = _settings(n, seed, tail, correct, alpha)
    check_levels("within", "mean", ahead)
    dataset = real.dataset if isinstance(real, Result) else real
    whole = table_of(dataset, outcome, covariates, study, time, needs_time=ahead > 0)
    parts: dict[str, Result] = {}
    levels: tuple[Level, Level] = ("between", "within")
    for level in levels:
        table = varying_covariates(whole, level, ahead)
        sample = sample_of(table, level, "mean", ahead)
        parts[level] = _tested(dataset, table, sample, _Related(level, "mean", ahead), asked)
    return parts


def table_of(
    dataset: xr.Dataset,
    outcome: str | Values,
    covariates: Covariates,
    study: StudyFile | None,
    time: Sequence[str] | None,
    *,
    needs_time: bool,
) -> Table:
    """Synchrony, outcome and covariates by dyad and session; parameters as `outcome`."""
    require_dataset(dataset)
    lookup = Lookup(dataset, study)
    wanted = lookup.column(outcome, "outcome")
    others = lookup.covariates(covariates)
    return Table.of(dataset, wanted, others, time, needs_time=needs_time)


@dataclass(frozen=True)
class _Related:
    """What is related."""

    level: Level
    outcome_level: OutcomeLevel
    ahead: int


def _settings(n: int, seed: int, tail: Tail, correct: Sequence[str] | None, alpha: float) -> TestSettings:
    asked = TestSettings(n, seed, tail, correct, alpha)
    for name in asked.corrections:
        if CORRECTIONS[name].needs_neighbours:
            raise PlanError(f"correct={name!r} is not offered for outcomes; use 'max', 'fdr' or 'fdr_by'")
    return asked


def _tested(dataset: xr.Dataset, table: Table, sample: Sample, related: _Related, asked: TestSettings) -> Result:
    """The permutation test of a sample."""
    name, sample = table.outcome_name, exchangeable(sample)
    refuse_unusable(sample, name, table.names)
    draws = Draws.plan(Permutations(tuple(sample.units), tuple(sample.strata)), asked.n, asked.seed)
    test = FreedmanLane(sample.values, sample.outcome, sample.nuisance, draws, epoch_and_band(table.shape))
    caution = attainable(asked, test.n_tested, draws, n_ways=test.n_ways, units=f"{len(sample.units)} outcomes")
    spread = _spread_words(spread_test(test))
    refuse_or_warn(caution, asked.correct, sample.left_out, spread, stacklevel=4)
    settings = {
        "outcome": name, "covariates": table.names, "level": related.level, "outcome_level": related.outcome_level,
        "ahead": related.ahead, "less_null_mean": int("null_mean" in dataset), "shared_persons": int(sample.shared),
    }  # fmt: skip
    words = _sentences(dataset, table, sample, related, asked.tail, beside=bool(spread))
    record = Record(
        "outcome", NullDraws.of(speaking_of(OUTCOME_NULL, sample.common), draws, asked, test.n_ways),
        words, asked, measure_in(dataset.attrs).name, settings,
        caution=caution, warning=spread, left_out=sample.left_out, entered=sample.entered,
    )  # fmt: skip
    found = permutation_test(test, asked) | test.intervals(alpha=asked.alpha) | test.robust(asked.tail)
    return build_result(_rows(dataset, sample, table, name), found | {"n_dyads": _n_dyads(sample)}, record)


def _spread_words(p: float) -> str:
    """Why a small p need not be of a correlation, in words; empty if nothing speaks against it."""
    if p > SELDOM:
        return ""
    return (
        f"the outcome scatters more at some values of synchrony than at others (p = {p:.3g}), which permutation takes "
        "for an association, as it tests independence: see hc3_t and hc3_p, which allow for it"
    )


def _sentences(
    dataset: xr.Dataset, table: Table, sample: Sample, related: _Related, tail: Tail, *, beside: bool
) -> Words:  # fmt: skip
    """The sentences of the test."""
    measure, held, name = measure_in(dataset.attrs), table.names, repr(table.outcome_name)
    association = association_in_words(
        table.outcome_name, held, level=related.level, outcome_level=related.outcome_level, ahead=related.ahead
    )
    less = " less the mean of its null" * ("null_mean" in dataset)
    taken = f"The {measure.words} of each row was taken{less}. " if less else ""
    kind = "partial correlation" if held else "correlation"
    permuted = "what the covariates leave of the outcome (Freedman & Lane 1983)" if held else "the outcome"
    among = "within each dyad" if related.level == "within" else "over dyads"
    among += " that share a person, and over those that share nobody" if sample.shared else ""
    of_sessions = related.level == "slope"
    value = f"change of {measure.words}{less} per session" if of_sessions else f"{measure.words}{less}"
    return Words(
        subject=f"{'change of synchrony' if of_sessions else 'synchrony'} and {name}"
        + " over the sessions of each dyad" * (related.level == "within"),
        tested=f"{ASSOCIATED[tail]} {association}",
        procedure=f"{taken}The {association}, was tested by the {kind}, with {permuted} permuted {among}"
        + "; hc3_t and hc3_p allow for unlike spread of the outcome (MacKinnon & White 1985)" * beside,
        value=Quantity(value, f"{measure.words} per session" if of_sessions else measure.unit),
        statistic=Quantity(f"{kind} with {name}"),
        name="correlation",
        slope=Quantity("change of the outcome per unit of synchrony", f"{table.outcome_name} per unit of value"),
        references=(FREEDMAN_LANE,) * bool(held) + (HC3,) * beside,
    )


def association_in_words(name: str, covariates: Sequence[str], *, level: str, outcome_level: str, ahead: int) -> str:
    """The association with an outcome that is tested or predicted; parameters as `outcome`."""
    side = "the slope of synchrony over sessions" if level == "slope" else "synchrony"
    later = f" {ahead} session{'s' * (ahead > 1)} later" if ahead else ""
    given = f", given {' and '.join(map(repr, covariates))}," if covariates else ""
    where = "over the sessions of each dyad" if level == "within" else "over dyads"
    what = {"change": "the change in ", "slope": "the slope over sessions of "}.get(outcome_level, "")
    return f"association of {side} with {what}{name!r}{later}{given} {where}"


# --- labels -----------------------------------------------------------------------------------------------------------


def _n_dyads(sample: Sample) -> NDArray[np.int64]:
    """Dyads with values, for "within" in two sessions: int64 [feature]."""
    dyads = np.array([dyad for dyad, _ in sample.places])
    least = 2 if sample.within else 1
    present = np.isfinite(sample.values)
    counts = [present[dyads == dyad].sum(axis=0) >= least for dyad in np.unique(dyads)]
    return np.asarray(np.sum(counts, axis=0))


def _rows(real: xr.Dataset, sample: Sample, table: Table, name: str) -> xr.Dataset:
    """One row per unit, with what was related and the outcome."""
    rows = [np.concatenate([table.rows[dyad][session] for session in some]).astype(int) for dyad, some in sample.places]
    dyads = [table.dyads[dyad] for dyad, _ in sample.places]
    units = unit_rows(real, shared_labels(real, rows), dyads, sample.values, mean_valid(real, rows))
    return units.assign(outcome=("dyad", sample.outcome, {"long_name": name}))
