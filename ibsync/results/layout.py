"""How a result is laid out: its arrays with their axes, units and meaning, and the rows that its test rests on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..coupling.measures import COUPLINGS
from ..errors import PlanError

if TYPE_CHECKING:
    import xarray as xr

SHIFT = "shift"
FEATURE = ("epoch", "channel_a", "channel_b", "band")
"""Axes of what is computed of each recording; that of shifts comes behind where the spec has several lags."""

ROW = ("dyad", *FEATURE)
TASK = "tested_task"
TESTED = (TASK, *FEATURE)
"""Axes of a group test; that of tasks is there where several were tested, as rows have the coordinate `task`."""


PAIRS_OF = ("dyad", "channel_a", "channel_b")
PAIRS_IN_WORDS = {"units": "1", "long_name": "pairs of good channels behind a pair of regions"}
"""Axes and meaning of `n_pairs`, of results of regions of interest."""

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
    "group_statistic": (TESTED, STATISTIC, "statistic over all rows"),
    "group_null_mean": (TESTED, STATISTIC, "mean of the group statistic over the draws of the null"),
    "group_null_sd": (TESTED, STATISTIC, "standard deviation of the group statistic over the draws of the null"),
    "group_z": (TESTED, "1", "(group_statistic - group_null_mean) / group_null_sd"),
    "statistic_low": (
        TESTED,
        STATISTIC,
        "lower end of the confidence interval of group_statistic, by inversion of the test",
    ),
    "statistic_high": (TESTED, STATISTIC, "upper end of the confidence interval of group_statistic"),
    "student_low": (TESTED, STATISTIC, "lower end of its interval by Student's t, which takes values to be normal"),
    "student_high": (TESTED, STATISTIC, "upper end of its interval by Student's t"),
    "equivalence_low": (TESTED, STATISTIC, "lower end of its interval at 1 - 2 alpha, which is held against margin"),
    "equivalence_high": (TESTED, STATISTIC, "upper end of its interval at 1 - 2 alpha, which is held against margin"),
    "slope": (TESTED, SLOPE, "slope of the regression that was tested"),
    "slope_low": (TESTED, SLOPE, "lower end of the confidence interval of slope, by inversion of the test"),
    "slope_high": (TESTED, SLOPE, "upper end of the confidence interval of slope, by inversion of the test"),
    "t": (TESTED, "1", "t of slope"),
    "hc3_t": (TESTED, "1", "t of slope by standard errors that allow for unlike spread (HC3)"),
    "hc3_p": (TESTED, "1", "p of hc3_t by Student's t, not corrected"),
    "gain_reliability": (
        TESTED,
        "1",
        "share of the variance of gains over persons that is no error of the slopes over sessions",
    ),
    "exceedances": (TESTED, "1", "number of draws at least as extreme as the observed statistic"),
    "p": (TESTED, "1", "permutation p-value, not corrected"),
    "p_low": (TESTED, "1", "lower end of the Clopper-Pearson 95 % interval of p"),
    "p_high": (TESTED, "1", "upper end of the Clopper-Pearson 95 % interval of p"),
    "p_fdr": (TESTED, "1", "p adjusted for the false discovery rate"),
    "p_max": (TESTED, "1", "p adjusted for the family-wise error rate, by the step-down maximum over features"),
    "p_max_single": (TESTED, "1", "p adjusted for the family-wise error rate, by the maximum in a single step"),
    "cluster": (TESTED, "1", "number of the feature's cluster, its sign that of z; 0 outside clusters"),
    "p_cluster": (TESTED, "1", "family-wise p of the feature's cluster, by the largest cluster mass"),
    "p_tfce": (TESTED, "1", "family-wise p by the largest threshold-free enhanced z"),
    "n_dyads": (TESTED, "1", "number of dyads in the group statistic"),
    "statistic_of_null": (("against", *TESTED), STATISTIC, "statistic over all rows, as it was held against each null"),
    "mean_of_null": (("against", *TESTED), STATISTIC, "mean of the group statistic over the draws of each null"),
    "z_of_null": (("against", *TESTED), "1", "z of the group statistic against each null"),
    "p_of_null": (("against", *TESTED), "1", "p against each null, not corrected; p is the larger"),
    "p_max_of_null": (("against", *TESTED), "1", "p_max against each null; p_max is twice the larger"),
    "n_near_ties": (TESTED, "1", "number of draws that equal the observed statistic within rounding"),
}

# The same for the null, which has draws and bins as axes and is kept apart.
NULL_ARRAYS: dict[str, tuple[tuple[str, ...], str, str]] = {
    "null_hist": (
        (TASK, "epoch", "band", "hist_bin"),
        "1",
        "draws of the group statistic, averaged over channel pairs",
    ),
    "hist_center": (("hist_bin",), STATISTIC, "centre of the histogram bin"),
    "pooled_statistic": ((TASK, "epoch", "band"), STATISTIC, "observed group statistic, averaged over channel pairs"),
    "null_max": (("draw",), "1", "largest group z over all features, per draw"),
    "null_cluster": (("draw",), "1", "largest cluster mass, per draw"),
}

OF_STATISTIC = tuple(name for name, (_, unit, _) in {**ARRAYS, **NULL_ARRAYS}.items() if unit == STATISTIC)
"""Arrays in the unit of the group statistic."""


def axes_of(dataset: xr.Dataset | xr.DataArray, dims: Sequence[str]) -> tuple[str, ...]:
    """Some axes as a dataset has them: without that of tasks, or with that of shifts behind that of bands."""
    axes = [dim for dim in dims if dim != TASK or TASK in dataset.dims]
    if SHIFT in dataset.dims and "band" in axes:
        axes.insert(axes.index("band") + 1, SHIFT)
    return tuple(axes)


def tested_values(dataset: xr.Dataset) -> xr.DataArray:
    """The values of single rows that were tested; those of real synchrony where nothing has been tested."""
    return dataset[value_name(dataset)]


def value_name(dataset: xr.Dataset) -> str:
    """The variable that holds what was tested, or the values of real synchrony of which nothing has been tested."""
    return "value" if "value" in dataset else real_name(dataset)


def real_name(dataset: xr.Dataset) -> str:
    """The variable of real synchrony: coherence, or the measure of a `Coupling`."""
    measure = str(dataset.attrs.get("measure", ""))
    return measure if measure in COUPLINGS else "coherence"


def tasks_of(dataset: xr.Dataset) -> list[str]:
    """Tasks that are told apart: those of a test, or of rows of which nothing has been tested; empty unless several."""
    if TASK in dataset.dims:
        return [str(task) for task in dataset[TASK].values]
    rows = dataset["task"].values.astype(str) if "task" in dataset.coords and "p" not in dataset else ()
    tasks = list(dict.fromkeys(str(task) for task in rows))
    return tasks if len(tasks) > 1 else []


def rows_of_task(dataset: xr.Dataset, task: str) -> NDArray[np.bool_]:
    """Which rows are of a task: bool [row]."""
    return np.asarray(dataset["task"].values.astype(str) == task)


def asked_pairs(dataset: xr.Dataset) -> xr.DataArray:
    """Which pairs of channels or of regions were asked for: bool [channel_a, channel_b]."""
    import xarray as xr

    asked, dims = str(dataset.attrs.get("pairs", "all")), ("channel_a", "channel_b")
    a, b = (dataset[dim].values.astype(str) for dim in dims)
    if asked in ("all", "same"):
        return xr.DataArray((a[:, None] == b) | (asked == "all"), dims=dims)
    of_a: dict[str, set[str]] = {}
    for first, second in json.loads(asked):
        of_a.setdefault(first, set()).add(second)
    return xr.DataArray([[second in of_a.get(first, ()) for second in b] for first in a], dims=dims)


def row_labels(dataset: xr.Dataset, names: Sequence[str], between: str) -> list[str]:
    """Label of each row: its dyad, and others of its coordinates where it has them."""
    held = [name for name in names if name in dataset.coords and dataset[name].dims == ("dyad",)]
    columns = [dataset["dyad"].values, *(dataset[name].values for name in held)]
    return [between.join(filter(None, map(str, words))) for words in zip(*columns, strict=True)]


def of_nulls(dataset: xr.Dataset) -> dict[str, xr.DataArray]:
    """The p against each null by name, such as "p_phase", where there are two."""
    if "p_of_null" not in dataset:
        return {}
    names = {"p": "p_of_null", "p_max": "p_max_of_null"}
    kinds = [str(kind) for kind in dataset["against"].values]
    return {f"{column}_{kind}": dataset[name].sel(against=kind) for kind in kinds for column, name in names.items()}


def require_dataset(real: Any) -> None:
    """Refuse what is not labelled values of dyads."""
    if not hasattr(real, "data_vars") or value_name(real) not in real:
        raise PlanError(f"give what Study.synchrony returned, or a result of ibs.test, not {type(real).__name__}")


def refuse_lags(dataset: xr.Dataset) -> None:
    """Refuse values at several lags, where one is compared with another in another way."""
    if SHIFT in dataset.dims:
        raise PlanError(
            f"real holds {dataset.sizes[SHIFT]} lags, which ibs.test takes together and this question one at a time: "
            "choose one before computing, such as WTC(bands, lags=[2.0])"
        )


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
    coords: dict[str, Any] = {str(name): labels for name, labels in real.coords.items() if {*labels.dims} <= {*FEATURE}}
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
