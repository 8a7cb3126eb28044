"""How a result is laid out: its arrays with their axes, units and meaning, and the rows that its test rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError

if TYPE_CHECKING:
    import xarray as xr

FEATURE = ("epoch", "channel_a", "channel_b", "band")
ROW = ("dyad", *FEATURE)

# In the place of a unit: that of the rows' value, of the group statistic, and of the slope of a regression.
VALUE, STATISTIC, SLOPE = "unit of value", "unit of statistic", "unit of slope"

# name: (dimensions, unit, what it is)
ARRAYS: dict[str, tuple[tuple[str, ...], str, str]] = {
    "value": (ROW, VALUE, "what was tested"),
    "null_mean": (ROW, VALUE, "mean value of the row's null partners"),
    "null_sd": (ROW, VALUE, "standard deviation of the values of the row's null partners"),
    "z": (ROW, "1", "(value - null_mean) / null_sd"),
    "percentile": (ROW, "%", "rank of the row's value among its null partners; descriptive, not a test"),
    "dyad_p": (ROW, "1", "p-value of the row against its own surrogates, not corrected"),
    "dyad_p_fdr": (ROW, "1", "dyad_p adjusted for the false discovery rate within the row"),
    "dyad_p_max": (ROW, "1", "dyad_p adjusted for the family-wise error rate within the row, by the maximum of z"),
    "dyad_exceedances": (ROW, "1", "number of the row's draws at least as extreme as its observed value"),
    "dyad_draws": (ROW, "1", "number of draws that were looked at"),
    "group_statistic": (FEATURE, STATISTIC, "statistic over all rows"),
    "group_null_mean": (FEATURE, STATISTIC, "mean of the group statistic over the draws of the null"),
    "group_null_sd": (FEATURE, STATISTIC, "standard deviation of the group statistic over the draws of the null"),
    "group_z": (FEATURE, "1", "(group_statistic - group_null_mean) / group_null_sd"),
    "statistic_low": (
        FEATURE,
        STATISTIC,
        "lower end of the confidence interval of group_statistic, by inversion of the test",
    ),
    "statistic_high": (FEATURE, STATISTIC, "upper end of the confidence interval of group_statistic"),
    "student_low": (FEATURE, STATISTIC, "lower end of its interval by Student's t, which takes values to be normal"),
    "student_high": (FEATURE, STATISTIC, "upper end of its interval by Student's t"),
    "equivalence_low": (FEATURE, STATISTIC, "lower end of its interval at 1 - 2 alpha, which is held against margin"),
    "equivalence_high": (FEATURE, STATISTIC, "upper end of its interval at 1 - 2 alpha, which is held against margin"),
    "slope": (FEATURE, SLOPE, "slope of the regression that was tested"),
    "slope_low": (FEATURE, SLOPE, "lower end of the confidence interval of slope, by inversion of the test"),
    "slope_high": (FEATURE, SLOPE, "upper end of the confidence interval of slope, by inversion of the test"),
    "t": (FEATURE, "1", "t of slope"),
    "gain_reliability": (
        FEATURE,
        "1",
        "share of the variance of gains over persons that is no error of the slopes over sessions",
    ),
    "exceedances": (FEATURE, "1", "number of draws at least as extreme as the observed statistic"),
    "p": (FEATURE, "1", "permutation p-value, not corrected"),
    "p_low": (FEATURE, "1", "lower end of the Clopper-Pearson 95 % interval of p"),
    "p_high": (FEATURE, "1", "upper end of the Clopper-Pearson 95 % interval of p"),
    "p_fdr": (FEATURE, "1", "p adjusted for the false discovery rate"),
    "p_max": (FEATURE, "1", "p adjusted for the family-wise error rate, by the step-down maximum over features"),
    "p_max_single": (FEATURE, "1", "p adjusted for the family-wise error rate, by the maximum in a single step"),
    "cluster": (FEATURE, "1", "number of the feature's cluster, its sign that of z; 0 outside clusters"),
    "p_cluster": (FEATURE, "1", "family-wise p of the feature's cluster, by the largest cluster mass"),
    "p_tfce": (FEATURE, "1", "family-wise p by the largest threshold-free enhanced z"),
    "n_dyads": (FEATURE, "1", "number of dyads in the group statistic"),
    "n_near_ties": (FEATURE, "1", "number of draws that equal the observed statistic within rounding"),
}

# The same for the null, which has draws and bins as axes and is kept apart.
NULL_ARRAYS: dict[str, tuple[tuple[str, ...], str, str]] = {
    "null_hist": (("epoch", "band", "hist_bin"), "1", "draws of the group statistic, averaged over channel pairs"),
    "hist_center": (("hist_bin",), STATISTIC, "centre of the histogram bin"),
    "pooled_statistic": (("epoch", "band"), STATISTIC, "observed group statistic, averaged over channel pairs"),
    "null_max": (("draw",), "1", "largest group z over all features, per draw"),
    "null_cluster": (("draw",), "1", "largest cluster mass, per draw"),
}

OF_STATISTIC = tuple(name for name, (_, unit, _) in {**ARRAYS, **NULL_ARRAYS}.items() if unit == STATISTIC)
"""Arrays in the unit of the group statistic."""


def tested_values(dataset: xr.Dataset) -> xr.DataArray:
    """The values of single rows that were tested; coherence in real synchrony, of which nothing has been tested."""
    return dataset["value" if "value" in dataset else "coherence"]


def require_dataset(real: object) -> None:
    """Refuse what is not labelled values of dyads."""
    if "coherence" not in getattr(real, "data_vars", ()) and "value" not in getattr(real, "data_vars", ()):
        raise PlanError(f"give what Study.synchrony returned, or a result of ibs.test, not {type(real).__name__}")


def refuse_rows_twice(dataset: xr.Dataset) -> None:
    """
    Raise PlanError if a dyad stands twice in one session and task: it would count twice.

    Parameters
    ----------
    dataset : xarray.Dataset
        Real synchrony, one row per dyad, session and task.
    """
    require_dataset(dataset)
    names = [name for name in ("dyad", "session", "task") if name in dataset.coords]
    seen = set()
    for key in zip(*(dataset[name].values.astype(str).tolist() for name in names), strict=True):
        if key in seen:
            session = f" has session {key[1]!r} twice" if "session" in names else " stands twice"
            raise PlanError(f"dyad {key[0]!r}{session}; leave one of the rows out")
        seen.add(key)


# --- one row per unit of a test ---------------------------------------------------------------------------------------


def unit_rows(
    real: xr.Dataset,
    coords: Mapping[str, Any],
    names: Sequence[str],
    values: NDArray[np.float64],
    valid: NDArray[np.float64],
) -> xr.Dataset:
    """
    Rows of the units of a test, such as dyads or persons.

    Parameters
    ----------
    real : xarray.Dataset
        Whose attributes are kept.
    coords : mapping
        Labels of the features, and what is known of each unit.
    names : sequence of str
        Units; the coordinate is called `dyad` whatever they are.
    values, valid : float64 [unit, ...]
        What is tested of each, and its mean share of trusted cells; features in the order of `FEATURE`.
    """
    import xarray as xr

    labelled = xr.Dataset(coords={**coords, "dyad": list(names)}, attrs=real.attrs)
    shape = [labelled.sizes[dim] for dim in ROW]
    told = {"units": "1", "long_name": "share of the cells that entered, mean over the rows behind the value"}
    return labelled.assign(
        value=(ROW, values.reshape(shape)), valid_fraction=(ROW, valid.reshape(shape), told)
    )  # fmt: skip


def shared_labels(real: xr.Dataset, rows: Sequence[Any]) -> dict[str, Any]:
    """Coordinates of features, and those of the rows that are the same in all rows of each unit."""
    coords: dict[str, Any] = {str(name): labels for name, labels in real.coords.items() if "dyad" not in labels.dims}
    for name, labels in real.coords.items():
        of_unit = [set(labels.values[own].tolist()) for own in rows] if labels.dims == ("dyad",) else []
        # What changes between the sessions of a dyad, such as the session, is no property of its mean.
        if name != "dyad" and of_unit and all(len(own) == 1 for own in of_unit):
            coords[str(name)] = ("dyad", [own.pop() for own in of_unit])
    return coords


def mean_valid(real: xr.Dataset, rows: Sequence[Any]) -> NDArray[np.float64]:
    """Mean share of trusted cells over the rows of each unit that have one: float64 [unit, *FEATURE]."""
    valid = real["valid_fraction"].transpose(*ROW).to_numpy()
    return np.stack([finite_mean(valid[own]) for own in rows])


def finite_mean(values: NDArray[Any]) -> NDArray[np.float64]:
    """Mean over the first axis of what is not missing, NaN where all is."""
    present = np.isfinite(values)
    n = present.sum(axis=0)
    total = np.where(present, values, 0.0).sum(axis=0)
    return np.asarray(np.divide(total, n, out=np.full(np.shape(total), np.nan), where=n > 0))
