"""From counted surrogate draws to p-values: of each dyad's own recording, and of the mean over dyads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from ..nulls.surrogate_null import SurrogateNull, Tally
from ..nulls.tails import Tail
from .p_values import adjust_fdr, check_corrections, clopper_pearson, p_value, single_step_p, step_down_p

Floats = NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]

CORRECTIONS = ("fdr", "fdr_by", "max")
"""Those of `inference.CORRECTIONS` that surrogate nulls have."""


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
        For each null, of the group [feature]: as `inference.repair_test`; of the rows [row, feature]: ``null_mean,
        null_sd, z, dyad_p, dyad_p_fdr, dyad_p_max`` float64, ``dyad_exceedances, dyad_draws`` int64.

    Raises
    ------
    PlanError
        If draws are missing, a correction does not exist or cannot be had from a sequential null, or the nulls differ
        in rows, draws, seed or tail.
    """
    _check(nulls, correct)
    return [_group(null, correct, nulls) | _rows(null, correct, nulls) for null in nulls]


def check_surrogate_corrections(kind: str, correct: Sequence[str], stop_at: int | None) -> None:
    """
    Refuse corrections that a surrogate null does not have, before anything is drawn.

    Raises
    ------
    PlanError
    """
    check_corrections(correct)
    unknown = [name for name in correct if name not in CORRECTIONS]
    if unknown:
        raise PlanError(
            f"correct={unknown[0]!r} is for re-pairing and contrasts; with {kind!r} surrogates use "
            f"{', '.join(map(repr, CORRECTIONS))}"
        )
    if stop_at is not None and "max" in correct:
        raise PlanError(
            "a sequential null (stop_at) has no maximum statistic, which needs all draws of all features: "
            "correct with 'fdr', or leave stop_at out"
        )


def _check(nulls: Sequence[SurrogateNull], correct: Sequence[str]) -> None:
    check_surrogate_corrections(nulls[0].kind, correct, nulls[0].stop_at)
    for null in nulls:
        if null.tail not in get_args(Tail):
            raise PlanError(f"tail={null.tail!r} is unknown; valid are {', '.join(map(repr, get_args(Tail)))}")
        if not null.complete:
            done = sum(stop - start for start, stop in null.done)
            raise PlanError(f"the null holds {done} of {null.n} draws: compute or merge the rest before testing")
        for name in ("rows", "n", "seed", "tail", "kind", "stop_at"):
            if getattr(null, name) != getattr(nulls[0], name):
                raise PlanError(f"nulls to be tested together differ in {name}: compute them alike")
        for name in ("measure", "options", "spec"):
            if null.attrs.get(name) != nulls[0].attrs.get(name):
                raise PlanError(f"nulls to be tested together differ in {name}: compute them alike")


def _group(null: SurrogateNull, correct: Sequence[str], nulls: Sequence[SurrogateNull]) -> Arrays:
    tally, standard = null.together, null.together.standard
    out = _tested(null, tally, correct, [other.together for other in nulls])
    present = np.isfinite(null.observed)
    return {
        "group_statistic": standard.statistic,
        "group_null_mean": tally.moments.mean(),
        "group_null_sd": _sample_sd(tally),
        "n_dyads": present.sum(axis=0),
        "null_max": tally.maxima.values.astype(np.float32),
        "null_hist": null.histogram().counts,
        "pooled_statistic": null.pooled[0].astype(np.float64),
        **{name: values for name, values in out.items() if name != "draws"},
    }


def _rows(null: SurrogateNull, correct: Sequence[str], nulls: Sequence[SurrogateNull]) -> Arrays:
    tested = [
        _tested(null, tally, correct, [other.by_row[row] for other in nulls]) for row, tally in enumerate(null.by_row)
    ]
    stacked = {name: np.stack([row[name] for row in tested]) for name in tested[0]}
    mean = np.stack([tally.moments.mean() for tally in null.by_row])
    sd = np.stack([_sample_sd(tally) for tally in null.by_row])
    z = np.divide(null.observed - mean, sd, out=np.full_like(sd, np.nan), where=sd > 0)
    return {
        "null_mean": mean, "null_sd": sd, "z": z,
        "dyad_p": stacked["p"], "dyad_p_fdr": stacked["p_fdr"], "dyad_p_max": stacked["p_max"],
        "dyad_exceedances": stacked["exceedances"], "dyad_draws": stacked["draws"],
    }  # fmt: skip


def _tested(null: SurrogateNull, tally: Tally, correct: Sequence[str], family: Sequence[Tally]) -> Arrays:
    """p-values of one tally [feature], corrected over all tallies of its family."""
    b, draws, p, low, high = _plain(null, tally)
    missing = np.full(p.shape, np.nan)
    out = {"exceedances": b, "draws": draws, "p": p, "p_low": low, "p_high": high, "p_fdr": missing}
    out |= {"p_max": missing, "p_max_single": missing, "n_near_ties": tally.exceedances.n_near_ties}
    if {"fdr", "fdr_by"} & set(correct):
        all_p = [_plain(null, member)[2] for member in family]
        adjusted = adjust_fdr(np.concatenate(all_p), "by" if "fdr_by" in correct else "bh")
        place = next(i for i, member in enumerate(family) if member is tally)
        out["p_fdr"] = np.split(adjusted, np.cumsum([len(values) for values in all_p])[:-1])[place]
    if "max" in correct:
        evidence = tally.standard.evidence(tally.standard.statistic, null.tail)
        largest = _drawn(np.max([member.maxima.values for member in family], axis=0))
        single = single_step_p(evidence, largest, tally.standard.z_tolerance)
        # Doubling puts a two-sided p above the |z| maximum's; a corrected p is no smaller than the plain one.
        out["p_max_single"] = np.fmax(p, single)
        out["p_max"] = out["p_max_single"] if len(family) > 1 else np.fmax(p, _step_down(null, tally))
    return out


def _plain(null: SurrogateNull, tally: Tally) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats, Floats, Floats]:
    """Exceedances, draws, p and its Clopper-Pearson limits, without correction."""
    upper, lower = tally.exceedances.at_least, tally.exceedances.at_most
    b = {"greater": upper, "less": lower, "two-sided": np.minimum(upper, lower)}[null.tail]
    sides = 2 if null.tail == "two-sided" else 1
    draws = tally.moments.draws  # those with a value: of a count that stopped, up to the one that ended it
    tested = np.isfinite(tally.standard.statistic) & (draws > 0)
    b = np.where(tested, b, -1)
    p = np.minimum(1.0, sides * p_value(b, draws))
    # The draw at which a count stopped is the last of the h that reached the observed value: p = h / L.
    stopped = tested & (tally.stopped_at > 0)
    p[stopped] = b[stopped] / draws[stopped]
    low, high = (np.minimum(1.0, sides * limit) for limit in clopper_pearson(b, np.maximum(draws, 1)))
    return b, draws, p, low, high


def _step_down(null: SurrogateNull, tally: Tally) -> Floats:
    order = tally.standard.order(null.tail)
    out = np.full(len(tally.standard.statistic), np.nan)
    out[order] = step_down_p(tally.step_down.counts[order], len(_drawn(tally.maxima.values)))
    return out


def _drawn(maxima: Floats) -> Floats:
    """Maxima of the draws in which any feature had a value."""
    return maxima[np.isfinite(maxima)]


def _sample_sd(tally: Tally) -> Floats:
    """Standard deviation over the draws, divided by n - 1."""
    n = tally.moments.draws
    return np.asarray(tally.moments.sd() * np.sqrt(np.divide(n, n - 1, out=np.full(n.shape, np.nan), where=n > 1)))
