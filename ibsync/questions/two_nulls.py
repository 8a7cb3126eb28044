"""Real partners against two nulls at once: p is the larger, so that a finding passes both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from ..inference.p_values import larger_p
from ..inference.settings import TestSettings
from ..nulls.hypotheses import NullHypothesis
from ..results.layout import TESTED, axes_of
from ..results.wording import null_in_words

if TYPE_CHECKING:
    import xarray as xr

Arrays = dict[str, NDArray[Any]]

_OF_NULL = {
    "statistic_of_null": "group_statistic", "mean_of_null": "group_null_mean", "z_of_null": "group_z", "p_of_null": "p",
    "p_max_of_null": "p_max",
}  # fmt: skip


def require_two_kinds(kinds: Sequence[str], asked: TestSettings, *, sequential: bool = False) -> None:
    """
    Refuse nulls that are not a re-pairing and a complete surrogate null, and corrections that two nulls do not have.

    Raises
    ------
    PlanError
    """
    if len(kinds) != 2 or (kinds[0] == "repair") == (kinds[1] == "repair"):
        raise PlanError(
            "two nulls in one test are a re-pairing null and one of single dyads, ibs.test(real, [repairing, phase]); "
            f"given: {', '.join(map(repr, kinds)) or 'none'}"
        )
    if sequential:
        raise PlanError("a null that stops early (stop_at) has no group test: with two nulls, leave stop_at out")
    if asked.needs_neighbours:
        raise PlanError("clusters and TFCE have one null: with two, correct with 'fdr', 'fdr_by' or 'max'")


def arrays_of_both(repaired: xr.Dataset, surrogate: xr.Dataset, asked: TestSettings) -> Arrays:
    """
    Arrays of the group test against two nulls, from those of the tests against each.

    Statistic, null mean and z of a feature are those under the null with the larger p.

    Parameters
    ----------
    repaired, surrogate : xarray.Dataset
        Of two results of the same features.
    asked : TestSettings

    Returns
    -------
    dict of arrays
        By the names of `layout.ARRAYS`.
    """
    dims = axes_of(surrogate, TESTED)

    def pair(name: str) -> NDArray[Any]:
        return np.stack([ds[name].transpose(*dims).to_numpy() for ds in (repaired, surrogate)])

    of_first = pair("p")[0] >= pair("p")[1]
    plain = ("group_statistic", "group_null_mean", "group_null_sd", "group_z", "exceedances", "n_near_ties", "n_dyads")
    out: Arrays = {name: np.where(of_first, *pair(name)) for name in plain}
    out |= larger_p({name: pair(name) for name in ("p", "p_low", "p_high", "p_max", "p_max_single")}, asked.corrections)
    return out | {name: pair(source) for name, source in _OF_NULL.items()}


def hypothesis_of_both(repaired: NullHypothesis, surrogate: NullHypothesis, attrs: Mapping[Any, Any]) -> NullHypothesis:
    """
    The hypothesis that a finding against both nulls rejects: that one of them holds.

    Parameters
    ----------
    repaired, surrogate : NullHypothesis
    attrs : mapping
        Of the result against the re-pairing null.
    """
    return NullHypothesis(
        f"{repaired.kind} and {surrogate.kind}",
        f"both {null_in_words(attrs)}; and {surrogate.name}",
        f"{repaired.statement}, or {surrogate.statement}",
        "something shared by all people (a stimulus, a task) together with a rhythm that each pair has of its own, of "
        f"which each null excludes one; {repaired.not_excluded}",
        "both nulls",
        repaired.holds and surrogate.holds,
    )
