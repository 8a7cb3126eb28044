"""From counted surrogate draws to p-values: of each dyad's own recording, and of the mean over dyads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from ..nulls.surrogate_null import SurrogateNull, Tally
from ..nulls.tails import Tail
from .p_values import SINGLE_FEATURE, CountedDraws, check_corrections, p_values

Floats = NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]


def surrogate_test(nulls: Sequence[SurrogateNull], *, correct: Sequence[str] = ("fdr", "max")) -> list[Arrays]:
    """
    Test of every row against its own surrogates, and of the mean over rows.

    Parameters
    ----------
    nulls : sequence of SurrogateNull
        Complete, of the same rows and draws: the signals that are corrected together, HbO and HbR say.
    correct : sequence of str
        "fdr", "fdr_by" and "max"; p-values that were not asked for are NaN. Within a row the correction is over the
        features of that row; for the mean over rows, over all features. Over several nulls "max" takes the maximum
        in a single step, over one it steps down.

    Returns
    -------
    list of dict of arrays
        For each null, of the group [feature]: as `permutation_test`; of the rows [row, feature]: ``null_mean, null_sd,
        z, dyad_p, dyad_p_fdr, dyad_p_max`` float64, ``dyad_exceedances, dyad_draws`` int64.

    Raises
    ------
    PlanError
        If draws are missing, a correction does not exist or cannot be had from a sequential null, or the nulls differ
        in rows, draws, seed or tail.
    """
    _check(nulls, correct)
    tail = nulls[0].tail
    together = _tested([null.together for null in nulls], tail, correct)
    by_row = [_tested(list(row), tail, correct) for row in zip(*(null.by_row for null in nulls), strict=True)]
    maxima = _maxima([null.together for null in nulls]).astype(np.float32)
    return [
        _group(null, together[at]) | {"null_max": maxima} | _rows(null, [row[at] for row in by_row])
        for at, null in enumerate(nulls)
    ]


def check_surrogate_corrections(kind: str, correct: Sequence[str], stop_at: int | None) -> None:
    """
    Refuse corrections that a surrogate null does not have, before anything is drawn.

    Raises
    ------
    PlanError
    """
    check_corrections(correct)
    unknown = [name for name in correct if name not in SINGLE_FEATURE]
    if unknown:
        raise PlanError(
            f"correct={unknown[0]!r} is for re-pairing and contrasts; with {kind!r} surrogates use "
            f"{', '.join(map(repr, SINGLE_FEATURE))}"
        )
    if stop_at is not None and "max" in correct:
        raise PlanError(
            "a sequential null (stop_at) has no maximum statistic, which needs all draws of all features: "
            "correct with 'fdr', or leave stop_at out"
        )


def _check(nulls: Sequence[SurrogateNull], correct: Sequence[str]) -> None:
    check_surrogate_corrections(nulls[0].kind, correct, nulls[0].stop_at)
    for null in nulls:
        if not null.complete:
            done = sum(stop - start for start, stop in null.done)
            raise PlanError(f"the null holds {done} of {null.n} draws: compute or merge the rest before testing")
        for name in ("rows", "n", "seed", "tail", "kind", "stop_at"):
            if getattr(null, name) != getattr(nulls[0], name):
                raise PlanError(f"nulls to be tested together differ in {name}: compute them alike")
        for name in ("measure", "options", "spec"):
            if null.attrs.get(name) != nulls[0].attrs.get(name):
                raise PlanError(f"nulls to be tested together differ in {name}: compute them alike")


def _group(null: SurrogateNull, tested: Arrays) -> Arrays:
    tally = null.together
    return {
        "group_statistic": tally.standard.statistic,
        "group_null_mean": tally.standard.mean,
        "group_null_sd": tally.standard.sd,
        "group_z": tally.standard.shown_z,
        "n_dyads": np.concatenate(
            [np.isfinite(null.observed[null.task_of_row == task]).sum(axis=0) for task in np.unique(null.task_of_row)]
        ),
        "null_hist": null.histogram().counts,
        "pooled_statistic": null.pooled[0].astype(np.float64),
        **tested,
    }


def _rows(null: SurrogateNull, tested: Sequence[Arrays]) -> Arrays:
    mean, sd, z = (
        np.stack(stack)
        for stack in zip(*((t.standard.mean, t.standard.sd, t.standard.shown_z) for t in null.by_row), strict=True)
    )
    names = ("p", "p_fdr", "p_max", "exceedances")
    of_rows = {f"dyad_{name}": np.stack([row[name] for row in tested]) for name in names}
    return {
        "null_mean": mean, "null_sd": sd, "z": z, **of_rows,
        "dyad_draws": np.stack([tally.moments.draws for tally in null.by_row]),
    }  # fmt: skip


def _tested(family: Sequence[Tally], tail: Tail, correct: Sequence[str]) -> list[Arrays]:
    """p-values of each tally [feature], corrected over all tallies of a family."""
    found = p_values(_counted(family, tail), tail, correct)
    ends = np.cumsum([len(tally.standard.statistic) for tally in family])[:-1]
    parts = {name: np.split(values, ends) for name, values in found.items()}
    return [{name: parts[name][at] for name in found} for at in range(len(family))]


def _maxima(family: Sequence[Tally]) -> Floats:
    """Largest evidence of each draw over the features of all tallies, float64 [draw]; -inf without any."""
    return np.asarray(np.max([tally.maxima.values for tally in family], axis=0))


def _counted(family: Sequence[Tally], tail: Tail) -> CountedDraws:
    """The features of all tallies side by side."""

    def joined(part: Callable[[Tally], NDArray[Any]]) -> NDArray[Any]:
        return np.concatenate([part(tally) for tally in family])

    draws = joined(lambda tally: tally.moments.draws)  # those with a value: of a count that stopped, up to its last
    evidence = joined(lambda tally: tally.standard.evidence(tally.standard.statistic, tail))
    maxima = _maxima(family)
    return CountedDraws(
        np.where(draws > 0, evidence, np.nan),
        joined(lambda tally: tally.standard.z_tolerance),
        joined(lambda tally: tally.exceedances.at_least),
        joined(lambda tally: tally.exceedances.at_most),
        joined(lambda tally: tally.exceedances.n_near_ties),
        draws,
        exact=False,
        maxima=maxima[np.isfinite(maxima)],  # of the draws in which any feature has a value
        step_down=family[0].step_down.counts if len(family) == 1 else None,
        stopped=joined(lambda tally: tally.stopped_at > 0),
    )
