"""Contrasts of conditions, such as talk minus rest: of each dyad one number per feature, tested over dyads."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import permutations
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..coupling.measures import MEASURES, measure_in
from ..errors import PlanError
from ..inference.attainable import attainable, n_tested
from ..inference.repaired_test import repair_test
from ..inference.settings import TestSettings
from ..inference.signflip import exchange_test
from ..nulls.draws import Draws, list_up_to
from ..nulls.hypotheses import NullHypothesis
from ..nulls.relabelling import Variants
from ..nulls.repaired_null import RepairedNull
from ..nulls.tails import Tail
from ..results.layout import FEATURE, mean_valid, refuse_rows_twice, shared_labels, tested_values, unit_rows
from ..results.record import COMPARED, NullDraws, Quantity, Record, Words
from ..results.result import Result, build_result, measure_values
from .group_test import draws_of_repairing, neighbour_graph, real_pairs, refuse_or_warn, require_match

if TYPE_CHECKING:
    import xarray as xr

Floats = NDArray[np.float64]
Weights = Mapping[str, float] | tuple[str, str]

MOST_CONDITIONS = 5
"""The labels of so many conditions have 120 orders, each of which is computed for each dyad."""

_CONDITIONS = (
    "whatever else differs between the conditions and acts on both persons (stimuli, physiology, movement, signal "
    "power), nor does it show that the difference is specific to real partners"
)
_SIGN_FLIP = NullHypothesis(
    "sign_flip", "sign flips over dyads",
    "the two conditions do not differ: each dyad's difference is as likely to have the other sign", _CONDITIONS,
)  # fmt: skip
_CONDITION_LABELS = NullHypothesis(
    "condition_labels", "exchange of condition labels within dyads",
    "none of the conditions differ: the labels of each dyad's conditions may be exchanged", _CONDITIONS,
)  # fmt: skip


def contrast(
    real: xr.Dataset,
    weights: Weights,
    *,
    null: RepairedNull | None = None,
    measure: str | None = None,
    n: int = 10_000,
    seed: int = 0,
    tail: Tail = "two-sided",
    correct: Sequence[str] | None = None,
    alpha: float = 0.05,
    neighbours: Sequence[tuple[str, str]] | None = None,
) -> Result:
    """Test of a contrast of conditions over dyads.

    The contrast of a dyad is the weighted sum of its coherence over epochs, averaged over the sessions that hold all
    of them. Under the hypothesis that the conditions do not differ, the labels of each dyad's conditions may be
    exchanged; for two conditions that flips the sign of the dyad's difference (Nichols and Holmes 2002, *Hum. Brain
    Mapp.* 15:1). With `null` the hypothesis is another: that the contrast is not specific to real partners.

    Parameters
    ----------
    real : xarray.Dataset
        From `Study.synchrony`, with the conditions as epochs. Conditions of unequal length are comparable, as they
        are cut from the transform of the whole recording.
    weights : mapping of epoch to weight, or (epoch, epoch)
        Weights that sum to 0, such as ``{"talk": 1, "rest": -1}``, for which ``("talk", "rest")`` is short. The labels
        of all named conditions are exchanged, also of one with weight 0.
    null : RepairedNull, optional
        Re-pairing null of the same study, spec and epochs, from `Study.null`: partners are exchanged in place of
        conditions, one exchange for all of them.
    measure : str, optional
        What is contrasted, one of those that `Study.null` knows; by default that of the null, else coherence.
    n, seed : int
        Exchanges of conditions to be drawn, and their seed; all are listed where they are few. Without effect with
        `null`, which has its own.
    tail : {"greater", "less", "two-sided"}
    correct : sequence of {"fdr", "fdr_by", "max", "cluster", "tfce"}, optional
        Corrections over all channel pairs x bands. One that is named must be able to find something at `alpha`.
        Default: "fdr" and "max", with a warning where they cannot.
    alpha : float
        Level at which a finding is wanted.
    neighbours : sequence of (channel, channel), optional
        For "cluster" and "tfce": channels that lie side by side, instead of what their names say.

    Returns
    -------
    Result
        With one row per dyad and one epoch, named like "talk - rest", whose `value` is the contrast (-1..1 for
        weights 1 and -1). Attribute `left_out` names the dyads and sessions that lack a condition.

    Raises
    ------
    PlanError
        If an epoch does not exist, weights do not sum to 0, fewer than two dyads have all conditions, or the draws
        are too few for a correction that was named.

    Warns
    -----
    RuntimeWarning
        If a dyad is left out, or no single finding could survive the default corrections.

    Examples
    --------
    >>> contrast(real, ("talk", "rest"), correct=["fdr", "max"]).headline  # doctest: +SKIP
    """
    asked = TestSettings(n, seed, tail, correct, alpha, neighbours)
    refuse_rows_twice(real)
    chosen = _checked_weights(real, weights)
    of_null = measure_in(null.attrs if isinstance(null, RepairedNull) else {}).name
    measure = measure or of_null
    if null is not None:
        if measure != of_null:
            raise PlanError(f"the contrast is of {measure!r}, the null of {of_null!r}: give both one measure")
        _require_partners(real, null)
        real = real_pairs(real, null)
    dyads = _Dyads.of(real, measure_values(real, measure) if null is None else real["value"], chosen)
    plan = _exchange_conditions(dyads, asked) if null is None else _exchange_partners(real, null, dyads, asked)
    refuse_or_warn(plan.caution, correct, dyads.left_out)
    rows = _rows(real, dyads)
    record = Record(
        "contrast", plan.draws, _words(chosen, MEASURES[measure].words, tail, partners=null is not None), asked,
        measure, {"contrast": chosen}, caution=plan.caution, left_out=dyads.left_out,
    )  # fmt: skip
    return build_result(rows, plan.run(asked, graph=neighbour_graph([rows], asked)), record)


def _words(weights: Mapping[str, float], measure: str, tail: Tail, *, partners: bool) -> Words:
    """The sentences of the test, of conditions or of partners."""
    named = weights_in_words(weights)
    compared_with = "that of re-paired ones" if partners else "zero"
    tested = f"contrast {named} of real partners {COMPARED[tail]} {compared_with}"
    return Words(
        subject=f"contrast {named}",
        tested=tested,
        finding=f"the {tested}",
        procedure=f"Of each dyad the contrast {named} was taken, as the mean over its sessions. The mean {measure} "
        "over dyads was compared with the same mean under the null",
        value=Quantity(f"{measure}, {named}"),
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


# --- which conditions -------------------------------------------------------------------------------------------------


def _checked_weights(real: xr.Dataset, weights: Weights) -> dict[str, float]:
    """Weight of each condition, in the order they were given."""
    if not isinstance(weights, Mapping):
        if isinstance(weights, str) or len(weights) != 2 or weights[0] == weights[1]:
            raise PlanError(f"weights must be two different epochs or a mapping of epoch to weight, got {weights!r}")
        weights = {weights[0]: 1.0, weights[1]: -1.0}
    chosen = {str(name): float(weight) for name, weight in weights.items()}
    known = [str(label) for label in real["epoch"].values]
    for name in chosen:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise PlanError(f"there is no epoch {name!r}; {hint}there are {', '.join(map(repr, known))}")
    sizes = [abs(weight) for weight in chosen.values()]
    if not all(map(isfinite, sizes)) or not any(sizes) or abs(sum(chosen.values())) > 1e-9 * sum(sizes):
        raise PlanError(
            f"the weights of a contrast sum to 0 and are not all 0, got {chosen}; write {{'a': 1, 'b': -1}}"
        )
    if len(chosen) > MOST_CONDITIONS:
        raise PlanError(f"a contrast takes at most {MOST_CONDITIONS} conditions, got {len(chosen)}; name fewer")
    return chosen


@dataclass(frozen=True)
class _Dyads:
    """
    The dyads that have all conditions, each with the mean over its sessions.

    Parameters
    ----------
    names : tuple of str
    rows : tuple of int64 [row]
        Rows of each dyad in the real synchrony.
    variants : float64 [dyad, variant, feature]
        The contrast, and the contrast under each other order of the conditions' labels.
    weights : mapping of str to float
        Weight of each condition.
    shape : tuple of int
        Features: (1, channel_a, channel_b, band).
    left_out : str
        Which dyads lack what; empty if none does.
    """

    names: tuple[str, ...]
    rows: tuple[NDArray[np.int64], ...]
    variants: Floats
    weights: Mapping[str, float]
    shape: tuple[int, ...]
    left_out: str

    @classmethod
    def of(cls, real: xr.Dataset, measured: xr.DataArray, weights: Mapping[str, float]) -> _Dyads:
        """
        From real synchrony, and the measure of it that is contrasted.

        Raises
        ------
        PlanError
            If fewer than two dyads have all conditions.
        """
        values = measured.sel(epoch=list(weights)).transpose("dyad", *FEATURE).to_numpy()
        shape = (1, *values.shape[2:])
        values = values.reshape(*values.shape[:2], -1)
        labels = real["dyad"].values.astype(str)
        rows = {str(name): np.flatnonzero(labels == name) for name in dict.fromkeys(labels)}
        means = {name: _mean_of_complete(values[mine]) for name, mine in rows.items()}
        kept = [name for name, mean in means.items() if np.isfinite(mean).any()]
        lacking = [_lack(name, values[rows[name]], list(weights)) for name in rows if name not in kept]
        lacking += [_lack_of_session(real, int(row), list(weights)) for name in kept for row in rows[name]]
        left_out = "; ".join(filter(None, lacking))
        if len(kept) < 2:
            only = f"only {kept[0]!r} has" if kept else "none has"
            wanted = ", ".join(map(repr, weights))
            raise PlanError(f"a contrast is tested over dyads and needs two with all of {wanted}: {only} them")
        orders = np.array(list(dict.fromkeys(permutations(weights.values()))))
        variants = np.einsum("vc,dcf->dvf", orders, np.stack([means[name] for name in kept]))
        return cls(tuple(kept), tuple(rows[name] for name in kept), variants, weights, shape, left_out)


def _mean_of_complete(values: Floats) -> Floats:
    """Mean [condition, feature] of [session, condition, feature] over the sessions with all conditions of a feature."""
    complete = np.isfinite(values).all(axis=1, keepdims=True)
    n = np.broadcast_to(complete, values.shape).sum(axis=0)
    total = np.where(complete, values, 0.0).sum(axis=0)
    mean: Floats = np.divide(total, n, out=np.full(total.shape, np.nan), where=n > 0)
    return mean


def _lack(dyad: str, values: Floats, conditions: Sequence[str]) -> str:
    """What keeps a dyad out, in words."""
    absent = [name for at, name in enumerate(conditions) if not np.isfinite(values[:, at]).any()]
    if absent:
        return f"dyad {dyad!r} is left out, it has no value in {' and '.join(map(repr, absent))}"
    return f"dyad {dyad!r} is left out, it has no channel pair with values in all of {', '.join(map(repr, conditions))}"


def _lack_of_session(real: xr.Dataset, row: int, conditions: Sequence[str]) -> str:
    """What keeps a session of a dyad that is tested out, in words; empty if nothing does."""
    values = tested_values(real).sel(epoch=conditions).isel(dyad=row).transpose(*FEATURE).to_numpy()
    if np.isfinite(values).all(axis=0).any():
        return ""
    dyad, session = str(real["dyad"].values[row]), str(real["session"].values[row])
    listed = ", ".join(map(repr, conditions))
    return f"session {session!r} of dyad {dyad!r} is left out, it has no channel pair with values in all of {listed}"


# --- what is exchanged ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Plan:
    """A test that is ready to run: what it cannot find, what it draws, and how it is run."""

    caution: str
    draws: NullDraws
    run: Callable[..., dict[str, NDArray[Any]]]


def _exchange_conditions(dyads: _Dyads, asked: TestSettings) -> _Plan:
    design = Variants(dyads.names, dyads.variants.shape[1])
    draws = Draws.plan(design, asked.n, asked.seed, list_up_to=list_up_to(asked.corrections))
    hypothesis = _SIGN_FLIP if len(dyads.weights) == 2 else _CONDITION_LABELS
    caution = attainable(asked, n_tested(dyads.variants[:, 0]), draws)
    bands = np.broadcast_to(np.arange(dyads.shape[-1]), dyads.shape).reshape(-1)
    run = partial(exchange_test, dyads.variants, draws, groups=bands)
    return _Plan(caution, NullDraws.of(hypothesis, draws, asked), run)


def _exchange_partners(real: xr.Dataset, null: RepairedNull, dyads: _Dyads, asked: TestSettings) -> _Plan:
    repaired = replace(null, pair_values=_contrast_of_pairs(real, null, dyads.weights))
    caution = attainable(asked, n_tested(dyads.variants[:, 0]), null.draws)
    return _Plan(caution, draws_of_repairing(null, asked), partial(repair_test, repaired))


def _require_partners(real: xr.Dataset, null: RepairedNull) -> None:
    if not isinstance(null, RepairedNull):
        raise PlanError("a contrast takes a re-pairing null (kind='repair'), or none: leave null out to flip signs")
    if null.design.roles != "fixed":
        raise PlanError(f"roles={null.design.roles!r} is not offered for contrasts yet: compute the null without it")
    require_match(real, null)


def _contrast_of_pairs(real: xr.Dataset, null: RepairedNull, weights: Mapping[str, float]) -> NDArray[np.floating]:
    """The contrast of every permitted pair, in the precision of its values: [session, person_a, person_b, feature]."""
    known = [str(label) for label in real["epoch"].values]
    by_epoch = null.pair_values.reshape(*null.pair_values.shape[:3], len(known), -1)
    out = np.zeros((*by_epoch.shape[:3], by_epoch.shape[4]))
    for name, weight in weights.items():
        out += weight * by_epoch[..., known.index(name), :]
    return out.astype(null.pair_values.dtype)


# --- labels -----------------------------------------------------------------------------------------------------------


def _rows(real: xr.Dataset, dyads: _Dyads) -> xr.Dataset:
    """One row per dyad, and the contrast as its only epoch."""
    valid = mean_valid(real.sel(epoch=list(dyads.weights)), dyads.rows).mean(axis=1)
    coords = shared_labels(real, dyads.rows) | {"epoch": [weights_in_words(dyads.weights)]}
    return unit_rows(real, coords, dyads.names, dyads.variants[:, 0], valid)
