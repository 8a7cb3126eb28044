"""Contrasts of conditions, such as talk minus rest, and of groups: of each dyad one number per feature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..coupling.measures import MEASURES, measure_in
from ..errors import PlanError, did_you_mean
from ..inference.attainable import attainable, n_tested
from ..inference.repaired_test import repair_test
from ..inference.settings import TestSettings
from ..nulls.hypotheses import NullHypothesis
from ..nulls.repaired_null import RepairedNull
from ..nulls.tails import Tail
from ..recordings.memory import release
from ..recordings.study_file import StudyFile
from ..results.layout import (
    FEATURE,
    finite_mean,
    real_name,
    refuse_lags,
    refuse_rows_twice,
    require_dataset,
    shared_labels,
    tested_values,
    unit_rows,
)
from ..results.record import COMPARED, Quantity, Record, Words
from ..results.result import Result, build_result, measure_values
from ..results.wording import null_of_rows
from ..study.rows import session_label
from .exchanges import Plan, Units, check_margin, exchange_groups, exchange_residuals, flip_signs, limits
from .group_test import draws_of_repairing, neighbour_graph, real_pairs, refuse_or_warn, require_match
from .lengths import refuse_unequal_means, refuse_unequal_samples, refuse_unequal_tasks
from .outcome_table import Column, Covariates, Lookup
from .session_times import two_groups
from .shared_people import Blocks, members_of

if TYPE_CHECKING:
    import xarray as xr

Floats = NDArray[np.float64]
Weights = Mapping[str, float] | tuple[str, str]

_LESS_NULL = "contrast(ibs.test(real, null), ...)"

_OTHER_CAUSES = "(stimuli, physiology, movement, signal power)"
_CONDITIONS = (
    f"whatever else differs between the conditions and acts on both persons {_OTHER_CAUSES}, nor does it show that the "
    "difference is specific to real partners"
)
_SIGN_FLIP = NullHypothesis(
    "sign_flip", "sign flips over dyads",
    "the conditions do not differ: each dyad's contrast is as likely to have the other sign", _CONDITIONS,
)  # fmt: skip
_GROUPS = NullHypothesis(
    "group_labels", "exchange of groups among dyads",
    "the groups do not differ: any dyad could as well have been in the other group",
    f"whatever else differs between the groups and acts on both persons {_OTHER_CAUSES}, nor does it show that the "
    "difference is specific to real partners",
)  # fmt: skip


_ADJUSTED = replace(
    _GROUPS, kind="group_residuals", name="permutation of what the covariates leave of the group",
    statement="the groups do not differ given the covariates: what these leave of the group goes with any dyad alike",
)  # fmt: skip


def contrast(
    real: xr.Dataset | Result,
    weights: Weights | None = None,
    *,
    between: str | tuple[str, str] | None = None,
    null: RepairedNull | None = None,
    measure: str | None = None,
    block: str | None = "person",
    covariates: Covariates = (),
    study: StudyFile | None = None,
    n: int = 10_000,
    seed: int = 0,
    tail: Tail = "two-sided",
    correct: Sequence[str] | None = None,
    alpha: float = 0.05,
    margin: float | None = None,
    neighbours: Sequence[tuple[str, str]] | None = None,
) -> Result:
    """Test of a contrast of conditions over dyads, of two groups of dyads, or of both (the interaction).

    The contrast of a dyad is the weighted sum of its coherence over conditions, averaged over the sessions that hold
    all of them. Under the hypothesis that the conditions do not differ, it is as likely to have the other sign
    (Nichols and Holmes 2002, *Hum. Brain Mapp.* 15:1). Two groups are compared by Welch's t, when dyads exchange groups
    (Janssen 1997, *Stat. Probab. Lett.* 36:9). Dyads that share a person change sign or group together. With `null`
    the hypothesis is another: that the contrast is not specific to real partners.

    Parameters
    ----------
    real : xarray.Dataset or Result
        From `Study.synchrony`; or a Result of `ibs.test`, of whose coherence the mean of each row's own null is
        subtracted. The conditions are epochs of one recording, or tasks that were recorded as files of their own.
    weights : mapping of condition to weight, or (condition, condition), optional
        Weights that sum to 0, such as ``{"talk": 1, "rest": -1}``, for which ``("talk", "rest")`` is short. May be left
        out with `between`: then each dyad's coherence is compared, of every epoch.
    between : "group" or (group, group), optional
        Test the difference of two groups, first minus second. "group" takes the two that there are, by their names.
    null : RepairedNull, optional
        Re-pairing null of the same study, spec and epochs, from `Study.null`: partners are exchanged in place of
        conditions, one exchange for all of them. Not with `between`.
    measure : str, optional
        What is contrasted, one of those that `Study.null` knows; by default that of the null, else coherence.
    block : "person", str or None
        Dyads that are not independent: those that share a person, those of one label in another column (such as
        "site"), or none.
    covariates : sequence of str, or mapping of name to values, optional
        With `between`: what is held constant, such as age or a label of dyads (a site), as in `ibs.outcome`. What they
        leave of the group is then permuted (Freedman and Lane 1983, *J. Bus. Econ. Stat.* 1:292), and t has the
        standard error HC2 (MacKinnon and White 1985, *J. Econom.* 29:305), which without covariates is Welch's.
    study : Study, optional
        Holds the covariates that are named.
    n, seed : int
        Exchanges to be drawn, and their seed; all are listed where they are few. Without effect with `null`, which has
        its own.
    tail : {"greater", "less", "two-sided"}
    correct : sequence of {"fdr", "fdr_by", "max", "cluster", "tfce"}, optional
        Corrections over all channel pairs x bands (x epochs). One that is named must be able to find something at
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
        With one row per dyad; its epoch is named like "talk - rest". `value` is the contrast (-1..1 for weights 1 and
        -1) or, without weights, the dyad's mean over sessions. `statistic_low` and `statistic_high` hold the values of
        the mean contrast (or difference of groups) that the test does not reject at `alpha`, in both tails (not for
        `null`), `student_low` and `student_high` those of Student's or Welch's t. Attribute `left_out` names the dyads
        and sessions that lack a condition, `blocks` the dyads that moved together.

    Raises
    ------
    PlanError
        If a condition or group does not exist, weights do not sum to 0, fewer than two dyads (three blocks of a group)
        have all conditions, raw values of recordings of unlike lengths are compared, several tasks would be averaged,
        settings do not go together, or the draws are too few for a correction that was named.

    Warns
    -----
    RuntimeWarning
        If a dyad is left out, or no single finding could survive the default corrections.

    Examples
    --------
    >>> contrast(real, ("talk", "rest"), correct=["max"]).headline
    >>> contrast(real, ("talk", "rest"), between=("training", "waiting"))
    """
    asked = TestSettings(n, seed, tail, correct, alpha, neighbours)
    check_margin(margin, alpha)
    source = _Source.of(real, null, measure)
    groups = None if between is None else two_groups(source.dataset, between)
    _check_words(weights, groups, null, covariates)
    source = source if groups is None else source.only(groups)
    conditions = None if weights is None else _Conditions.of(source.dataset, weights)
    dyads = _Dyads.of(source, conditions, None if null is not None else block)
    if not source.null_words and null is None:
        if conditions is not None and conditions.dim == "task":
            refuse_unequal_tasks(source.dataset, conditions.weights, _LESS_NULL)
        elif conditions is not None and MEASURES[source.measure].grows:
            refuse_unequal_samples(source.dataset, conditions.weights, source.measure, _LESS_NULL)
        refuse_unequal_means(source.dataset, "group", groups or (), _LESS_NULL)
    held: list[str] = []
    if null is not None:
        plan = _exchange_partners(source.dataset, null, conditions, dyads, asked)
    elif groups is not None and covariates:
        dyads, held, table = dyads.with_covariates(Lookup(source.dataset, study).covariates(covariates))
        first = dyads.in_group(groups[0])
        plan = exchange_residuals(dyads.values, first, groups, table, dyads.units, _ADJUSTED, asked)
    elif groups is not None:
        plan = exchange_groups(dyads.values, dyads.in_group(groups[0]), groups, dyads.units, _GROUPS, asked)
    else:
        plan = flip_signs(dyads.values, dyads.units, _SIGN_FLIP, asked)
    refuse_or_warn(plan.caution, correct, dyads.left_out)
    words = _words(conditions, groups, source, tail, held, None if null is None else plan.draws.null)
    settings: dict[str, Any] = {"contrast": conditions.weights if conditions else {}, "between": list(groups or ())}
    if held:
        settings["covariates"] = held
    if margin is not None:
        settings["margin"] = margin
    if conditions is not None and conditions.dim == "task":
        settings["tasks"] = source.dataset["epoch"].values.astype(str).tolist()
    record = Record(
        "contrast", plan.draws, words, asked, source.measure, settings, caution=plan.caution, left_out=dyads.left_out,
        blocks=dyads.units.blocks.shared,
    )  # fmt: skip
    rows = dyads.rows()
    return build_result(
        rows, plan.run(asked, graph=neighbour_graph([rows], asked)) | limits(plan, asked, margin), record
    )


def _check_words(weights: object, groups: object, null: RepairedNull | None, covariates: Covariates) -> None:
    if weights is None and groups is None:
        raise PlanError("name what to compare: two conditions, contrast(real, ('talk', 'rest')), or between=('a', 'b')")
    if covariates and groups is None:
        raise PlanError("covariates are held constant between groups: name two, between=('a', 'b')")
    if null is not None and groups is not None:
        raise PlanError(
            "null and between are different tests: compare groups of values less their own null mean, "
            "contrast(ibs.test(real, null), ..., between=...)"
        )


def _words(
    conditions: _Conditions | None, groups: Sequence[str] | None, source: _Source, tail: Tail, held: Sequence[str],
    partners: NullHypothesis | None,
) -> Words:  # fmt: skip
    """The sentences of the test, of conditions, groups or partners."""
    measure = MEASURES[source.measure].words
    named = f"contrast {conditions.words}" if conditions else measure
    whole = f"difference {' - '.join(groups)} in {named}" if groups else named
    compared_with = "zero" if partners is None else f"that of {partners.others}"
    tested = f"{whole} of real partners {COMPARED[tail]} {compared_with}"
    less = f", less the mean of its null ({source.null_words})," if source.null_words else ""
    mean = f"The mean {measure} over dyads was compared with the same mean"
    if groups:
        mean = (
            f"The mean of group {groups[0]} minus that of group {groups[1]} was compared, by Welch's t, with the same "
        )
        if held:
            mean = (
                f"The difference of group {groups[0]} minus group {groups[1]} given {' and '.join(map(repr, held))} "
                "(least squares, t with the standard error HC2) was compared with the same "
            )
        mean += "difference"
    return Words(
        subject=", ".join(filter(None, [named if conditions else "", " and ".join(groups or ())])),
        tested=tested,
        finding=f"the {tested}",
        procedure=f"Of each dyad the {named}{less} was taken, as the mean over its sessions. {mean} under the null",
        value=Quantity(f"{measure}, {conditions.words}" if conditions else measure),
        statistic=Quantity(f"difference of {measure}"),
        name=f"difference of {measure}",
    )


def weights_in_words(weights: Mapping[str, float]) -> str:
    """Weighted sum of conditions, such as "talk - 0.5 rest - 0.5 read"; those of weight 0 are not named."""
    words = ""
    for name, weight in weights.items():
        size = "" if abs(weight) == 1 else f"{abs(weight):.3g} "
        sign = (" - " if weight < 0 else " + ") if words else ("-" if weight < 0 else "")
        words += f"{sign}{size}{name}" if weight else ""
    return words


# --- what is given ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Source:
    """
    What was measured of each dyad, session and task.

    Parameters
    ----------
    dataset : xarray.Dataset
    values : float64 [row, epoch, channel_a, channel_b, band]
        Less the null mean where there is one.
    measure : str
    null_words : str
        The null whose mean was subtracted; empty for raw values.
    """

    dataset: xr.Dataset
    values: Floats
    measure: str
    null_words: str

    @classmethod
    def of(cls, real: xr.Dataset | Result, null: RepairedNull | None, measure: str | None) -> _Source:
        """From real synchrony, from its test, or as a null holds it."""
        dataset = real.dataset if isinstance(real, Result) else real
        require_dataset(dataset)
        refuse_rows_twice(dataset)
        refuse_lags(dataset)
        if real_name(dataset) not in dataset and "null_mean" not in dataset:
            raise PlanError("nothing here can be contrasted: give real synchrony, or the result of ibs.test on it")
        if null is None and "null_mean" not in dataset:
            name = measure or real_name(dataset)
            return cls(dataset, _array(measure_values(dataset, name)), name, "")
        held = measure_in((dataset if null is None else _partners(dataset, null)).attrs).name
        if measure not in (None, held):
            what = "null" if null is not None else "result"
            raise PlanError(f"the contrast is of {measure!r}, the {what} of {held!r}: give both one measure")
        if null is not None:
            dataset = real_pairs(dataset, null)
            return cls(dataset, _array(dataset["value"]), held, "")
        values = _array(tested_values(dataset)) - _array(dataset["null_mean"])
        return cls(dataset, values, held, null_of_rows(dataset.attrs))

    def only(self, groups: Sequence[str]) -> _Source:
        """The dyads of some groups."""
        rows = np.isin(self.labels("group"), list(groups))
        return replace(self, dataset=self.dataset.isel(dyad=rows), values=self.values[rows])

    def labels(self, name: str) -> NDArray[np.str_]:
        """A property of each row; empty text where the data have none."""
        rows = self.dataset.sizes["dyad"]
        return self.dataset[name].values.astype(str) if name in self.dataset.coords else np.full(rows, "")


def _array(values: xr.DataArray) -> Floats:
    return values.transpose("dyad", *FEATURE).to_numpy().astype(np.float64)


def _partners(real: xr.Dataset, null: RepairedNull) -> RepairedNull:
    if not isinstance(null, RepairedNull):
        raise PlanError("a contrast takes a re-pairing null (kind='repair'), or none: leave null out to flip signs")
    if null.design.roles != "fixed":
        raise PlanError(f"roles={null.design.roles!r} is not offered for contrasts yet: compute the null without it")
    require_match(real, null)
    return null


@dataclass(frozen=True)
class _Conditions:
    """
    What is weighed against each other.

    Parameters
    ----------
    dim : {"epoch", "task"}
        Whether conditions are epochs of a recording or recordings of their own.
    weights : mapping of str to float
        In the order they were given.
    """

    dim: str
    weights: Mapping[str, float]

    @classmethod
    def of(cls, real: xr.Dataset, weights: Weights) -> _Conditions:
        """Checked against the epochs and tasks that there are."""
        if not isinstance(weights, Mapping):
            if not isinstance(weights, list | tuple) or len(weights) != 2 or weights[0] == weights[1]:
                raise PlanError(f"weights must be two different conditions or map conditions to weights: {weights!r}")
            weights = {weights[0]: 1.0, weights[1]: -1.0}
        chosen = {str(name): _number(name, weight) for name, weight in weights.items()}
        epochs = [str(label) for label in real["epoch"].values]
        tasks = sorted(set(real["task"].values.astype(str).tolist()) - {""}) if "task" in real.coords else []
        of_tasks = len(tasks) > 1 and all(name in tasks for name in chosen)
        if of_tasks and all(name in epochs for name in chosen):
            both = ", ".join(map(repr, chosen))
            raise PlanError(f"{both} are epochs and tasks: rename the epochs, or choose one task")
        listed = f"epochs are {', '.join(map(repr, epochs))}, tasks {', '.join(map(repr, tasks)) or 'none'}"
        known = [*epochs, *(tasks if len(tasks) > 1 else ())]
        for name in chosen:
            if name not in known:
                if name in tasks:
                    listed = f"there is one task only, {name!r}, with nothing to compare it with; {listed}"
                hints = filter(None, (did_you_mean(name, known), listed))
                raise PlanError(f"there is no condition {name!r}; {' '.join(hints)}")
        if not of_tasks and not all(name in epochs for name in chosen):
            raise PlanError(f"compare epochs with epochs, or tasks with tasks; {listed}")
        sizes = [abs(weight) for weight in chosen.values()]
        if not all(map(isfinite, sizes)) or not any(sizes) or abs(sum(chosen.values())) > 1e-9 * sum(sizes):
            raise PlanError(
                f"the weights of a contrast sum to 0 and are not all 0, got {chosen}; write {{'a': 1, 'b': -1}}"
            )
        return cls("task" if of_tasks else "epoch", chosen)

    @property
    def words(self) -> str:
        """The weighted sum."""
        return weights_in_words(self.weights)

    def labels(self, epochs: Sequence[str]) -> list[str]:
        """Epochs of the contrast."""
        if self.dim == "epoch" or len(epochs) == 1:
            return [self.words]
        return [f"{self.words}, {epoch}" for epoch in epochs]


def _number(name: object, weight: object) -> float:
    try:
        return float(weight)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise PlanError(f"the weight of {name!r} is {weight!r}; give a number, such as {{'a': 1, 'b': -1}}") from None


@dataclass(frozen=True)
class _Dyads:
    """
    The dyads that have all conditions, each with the mean over its sessions.

    Parameters
    ----------
    source : _Source
    units : Units
        Names, people in common, shape of the features.
    of_rows : tuple of int64 [row]
        Rows of each dyad.
    values, valid : float64 [dyad, feature]
        The contrast, and the mean share of trusted cells behind it.
    epochs : tuple of str
    left_out : str
        Which dyads and sessions lack what; empty if none does.
    """

    source: _Source
    units: Units
    of_rows: tuple[NDArray[np.int64], ...]
    values: Floats
    valid: Floats
    epochs: tuple[str, ...]
    left_out: str

    @classmethod
    def of(cls, source: _Source, conditions: _Conditions | None, block: str | None) -> _Dyads:
        """
        The contrast of every dyad.

        Raises
        ------
        PlanError
            If fewer than two dyads have all conditions, or several tasks would be averaged.
        """
        if conditions is None or conditions.dim == "epoch":
            _refuse_tasks(source)
        epochs = [str(label) for label in source.dataset["epoch"].values]
        labels, wanted = source.labels("dyad"), list(conditions.weights) if conditions else epochs
        means, of_rows, out, empty = {}, {}, list[str](), list[str]()
        for name in dict.fromkeys(labels.tolist()):
            rows = np.flatnonzero(labels == name)
            sessions = list(_sessions(source, rows, conditions))
            contrasts = [_contrast(held, conditions) for _, held in sessions]
            mean = finite_mean(np.stack(contrasts))
            if not np.isfinite(mean).any():
                out.append(_lack(name, sessions, conditions, wanted))
                continue
            means[name], of_rows[name] = mean, rows
            lacking = [s for (s, _), value in zip(sessions, contrasts, strict=True) if not np.isfinite(value).any()]
            empty += [_lack_of_session(name, session, wanted) for session in lacking]
        kept = list(means)
        if len(kept) < 2:
            only = f"only {kept[0]!r} has" if kept else "none has"
            named = ", ".join(map(repr, wanted))
            raise PlanError(f"a contrast is tested over dyads and needs two with all of {named}: {only} them")
        values = np.stack([means[name] for name in kept])
        units = Units(
            kept, Blocks.of(kept, members_of(source.dataset, kept, block), block), values.shape[1:], " with a value"
        )
        valid = np.stack([_valid(source, of_rows[name], conditions) for name in kept])
        return cls(
            source, units, tuple(of_rows[name] for name in kept), values.reshape(len(kept), -1), valid,
            tuple(conditions.labels(epochs) if conditions else epochs), "; ".join(out + empty),
        )  # fmt: skip

    def in_group(self, name: str) -> NDArray[np.bool_]:
        """Which dyads are in a group: bool [dyad]."""
        labels = self.source.labels("group")
        return np.array([labels[rows[0]] == name for rows in self.of_rows])

    def with_covariates(self, columns: Sequence[Column]) -> tuple[_Dyads, list[str], Floats]:
        """
        The dyads that have all covariates, their names, and their means over sessions: float64 [dyad, covariate].

        Raises
        ------
        PlanError
            If fewer than two dyads have them, or one is the same in all.
        """
        sessions = list(dict.fromkeys(self.source.labels("session").tolist()))
        table = np.column_stack([finite_mean(column.on(self.units.dyads, sessions).T) for column in columns])
        present = np.isfinite(table)
        out = [
            f"dyad {dyad!r} is left out, without a value of {columns[int(np.argmin(has))].name!r}"
            for dyad, has in zip(self.units.dyads, present, strict=True)
            if not has.all()
        ]
        notes = [note for column in columns if (note := column.unknown_dyads(self.units.dyads))]
        keep = np.flatnonzero(present.all(axis=1))
        if len(keep) < 2:
            raise PlanError(f"fewer than two dyads have all covariates: {out[0]}")
        for column, values in zip(columns, table[keep].T, strict=True):
            if np.ptp(values) == 0:
                raise PlanError(f"covariate {column.name!r} is {values[0]:g} in all dyads; leave it out")
        kept = replace(self, left_out="; ".join(filter(None, (self.left_out, *out, *notes))))
        return kept.only(keep), [column.name for column in columns], table[keep]

    def only(self, keep: NDArray[np.int64]) -> _Dyads:
        """Some of the dyads."""
        return replace(
            self, units=self.units.only(keep), of_rows=tuple(self.of_rows[at] for at in keep),
            values=self.values[keep], valid=self.valid[keep],
        )  # fmt: skip

    def rows(self) -> xr.Dataset:
        """One row per dyad."""
        coords = shared_labels(self.source.dataset, self.of_rows) | {"epoch": list(self.epochs)}
        return unit_rows(self.source.dataset, coords, self.units.dyads, self.values, self.valid)


def _sessions(source: _Source, rows: NDArray[np.int64], conditions: _Conditions | None) -> list[tuple[str, Floats]]:
    """Name and values [condition, epoch, channel_a, channel_b, band] of each session of a dyad."""
    of_session = source.labels("session")[rows]
    if conditions is None:
        return [(session, source.values[row][None]) for row, session in zip(rows, of_session.tolist(), strict=True)]
    if conditions.dim == "epoch":
        epochs = source.dataset["epoch"].values.astype(str).tolist()
        at = [epochs.index(name) for name in conditions.weights]
        return [(s, source.values[row, at][:, None]) for row, s in zip(rows, of_session.tolist(), strict=True)]
    of_task, missing = source.labels("task")[rows], np.full(source.values.shape[1:], np.nan)
    sessions = []
    for session in dict.fromkeys(of_session.tolist()):
        mine = of_session == session
        here = dict(zip(of_task[mine].tolist(), source.values[rows[mine]], strict=True))
        sessions.append((session, np.stack([here.get(name, missing) for name in conditions.weights])))
    return sessions


def _contrast(values: Floats, conditions: _Conditions | None) -> Floats:
    """Weighted sum over conditions, NaN where one of them has no value."""
    weights = np.ones(1) if conditions is None else np.array(list(conditions.weights.values()))
    return np.asarray(np.tensordot(weights, values, 1))


def _valid(source: _Source, rows: NDArray[np.int64], conditions: _Conditions | None) -> Floats:
    """Mean share of trusted cells over the rows and conditions behind a dyad's value."""
    valid = source.dataset["valid_fraction"].isel(dyad=rows)
    if conditions is not None and conditions.dim == "task":
        valid = valid.isel(dyad=np.isin(valid["task"].values.astype(str), list(conditions.weights)))
    array = valid.transpose("dyad", *FEATURE).to_numpy()
    if conditions is not None and conditions.dim == "epoch":
        at = [valid["epoch"].values.astype(str).tolist().index(name) for name in conditions.weights]
        array = array[:, at].mean(axis=1, keepdims=True)
    return finite_mean(array)


def _lack(
    dyad: str, sessions: Sequence[tuple[str, Floats]], conditions: _Conditions | None, wanted: Sequence[str]
) -> str:
    """What keeps a dyad out, in words."""
    if conditions is None:
        return f"dyad {dyad!r} is left out, it has no value"
    held = np.stack([values for _, values in sessions])
    absent = [name for at, name in enumerate(wanted) if not np.isfinite(held[:, at]).any()]
    if absent:
        return f"dyad {dyad!r} is left out, it has no value in {' and '.join(map(repr, absent))}"
    if conditions.dim == "task" and not any(np.isfinite(v).any(axis=(1, 2, 3, 4)).all() for _, v in sessions):
        return f"dyad {dyad!r} is left out, it has no session with all of {', '.join(map(repr, wanted))}"
    return f"dyad {dyad!r} is left out, it has no channel pair with values in all of {', '.join(map(repr, wanted))}"


def _lack_of_session(dyad: str, session: str, wanted: Sequence[str]) -> str:
    listed = ", ".join(map(repr, wanted))
    return f"session {session!r} of dyad {dyad!r} is left out, it has no channel pair with values in all of {listed}"


# --- what may not be compared -----------------------------------------------------------------------------------------


def _refuse_tasks(source: _Source) -> None:
    tasks = list(dict.fromkeys(source.labels("task").tolist()))
    if len(tasks) > 1:
        raise PlanError(
            f"tasks are conditions and are never averaged: compare {' and '.join(map(repr, tasks))}, or choose one, "
            f"real.isel(dyad=real.task.values == {tasks[0]!r})"
        )


# --- partners ---------------------------------------------------------------------------------------------------------


def _exchange_partners(
    real: xr.Dataset, null: RepairedNull, conditions: _Conditions | None, dyads: _Dyads, asked: TestSettings
) -> Plan:
    assert conditions is not None
    repaired = _contrast_of_pairs(real, null, conditions)
    caution = attainable(asked, n_tested(dyads.values), null.draws)
    return Plan(dyads.values, draws_of_repairing(null, asked), partial(repair_test, repaired), caution)


def _contrast_of_pairs(real: xr.Dataset, null: RepairedNull, conditions: _Conditions) -> RepairedNull:
    """The contrast of every permitted pair, in the precision of its values, as a null of its own."""
    by_task, sessions = null.by_task, null.sessions
    if conditions.dim == "epoch":
        known = [str(label) for label in real["epoch"].values]
        by_epoch = by_task.reshape(*by_task.shape[:3], len(known), -1)
        of_condition = {name: by_epoch[..., known.index(name), :] for name in conditions.weights}
    else:
        labels = zip(real["session"].values.astype(str), real["task"].values.astype(str), strict=True)
        held = {(session_label(session), task) for session, task in labels}
        sessions = tuple(s for s in null.sessions if all((s, name) in held for name in conditions.weights))
        of_condition = {name: by_task[..., null.tasks.index(name), :] for name in conditions.weights}
    chosen = [null.sessions.index(s) for s in sessions]
    n_features = of_condition[next(iter(of_condition))][0, 0, 0].size
    values = null.room(len(sessions), null.design.n_people, n_features)
    for part in null.parts(n_features):
        values[..., part] = sum(
            weight * of_condition[name][..., part][chosen].astype(np.float64)
            for name, weight in conditions.weights.items()
        )
        release(values)
    return replace(null, pair_values=values, sessions=sessions, valid_fraction=None, tasks=(conditions.words,))
