"""A result as one tidy table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .layout import ROW, SHIFT, TASK, TESTED, asked_pairs, axes_of, of_nulls, rows_of_task, tested_values

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

_OF_ROW = ("dyad", "session", "task", "group")
_NUMBERS = ("value", "null_mean", "null_sd", "z", "p", "p_fdr", "p_max", "valid_fraction", "n_dyads")
COLUMNS = ("dyad", "session", "task", "epoch", "group", "signal", "channel_a", "channel_b", "band", *_NUMBERS)


def tidy_table(dataset: xr.Dataset) -> pd.DataFrame:
    """Tidy table of a result or of real synchrony; see `Result.to_frame`."""
    import pandas as pd

    rows = {
        "value": tested_values(dataset), **_present(dataset, ("null_mean", "null_sd", "z", "valid_fraction")),
        **_present(dataset, {"p": "dyad_p", "p_fdr": "dyad_p_fdr", "p_max": "dyad_p_max"}),
    }  # fmt: skip
    tables = [_table(dataset, axes_of(dataset, ROW), rows)]
    if "group_statistic" in dataset:
        names = {"value": "statistic", **{name: name for name in ("null_mean", "null_sd", "z")}}
        group = {
            **_present(dataset, {column: f"group_{name}" for column, name in names.items()}),
            **_present(dataset, ("p", "p_fdr", "p_max", "n_dyads")), "valid_fraction": _mean_valid(dataset),
        }  # fmt: skip
        group |= of_nulls(dataset)
        tables.insert(0, _table(dataset, axes_of(dataset, TESTED), group))
    columns = [*COLUMNS, *([SHIFT] if SHIFT in dataset.dims else []), *of_nulls(dataset)]
    return pd.concat([pd.DataFrame(table, columns=columns) for table in tables], ignore_index=True)


def _mean_valid(dataset: xr.Dataset) -> xr.DataArray:
    """Mean share of trusted cells over the rows of each test."""
    import xarray as xr

    valid = dataset["valid_fraction"]
    if TASK not in dataset.dims:
        return valid.mean("dyad")
    of_tasks = [valid.isel(dyad=rows_of_task(dataset, str(task))).mean("dyad") for task in dataset[TASK].values]
    return xr.concat(of_tasks, dataset[TASK])


def _present(dataset: xr.Dataset, names: tuple[str, ...] | Mapping[str, str]) -> dict[str, xr.DataArray]:
    """Variables of a dataset by column, where it has them."""
    sources = names if isinstance(names, Mapping) else {name: name for name in names}
    return {column: dataset[name] for column, name in sources.items() if name in dataset}


def _table(dataset: xr.Dataset, dims: tuple[str, ...], numbers: Mapping[str, xr.DataArray]) -> dict[str, Any]:
    """One flat array per column, of the pairs that were asked for; NaN in those without numbers."""
    asked = asked_pairs(dataset)
    kept = np.broadcast_to(
        asked.expand_dims([dim for dim in dims if dim not in asked.dims]).transpose(*dims),
        [dataset.sizes[dim] for dim in dims],
    )
    size = int(np.count_nonzero(kept))
    signal = str(dataset["signal"].item()) if "signal" in dataset.coords else ""
    # Arrays, because pandas gives a column that was made from a single NaN the dtype object.
    columns: dict[str, Any] = {name: np.full(size, np.nan) for name in _NUMBERS}
    columns |= {name: np.full(size, "(all)", dtype=object) for name in _OF_ROW}
    for at, dim in enumerate(dims):
        columns["task" if dim == TASK else dim] = _spread(dataset[dim].to_numpy(), at, kept)
    columns["signal"] = np.full(size, signal, dtype=object)
    if "dyad" in dims:
        absent = np.full(dataset.sizes["dyad"], "")
        of_row = {n: dataset[n].to_numpy() if n in dataset.coords else absent for n in _OF_ROW[1:]}
        columns |= {name: _spread(labels, 0, kept) for name, labels in of_row.items()}
    return columns | {name: values.transpose(*dims).to_numpy()[kept] for name, values in numbers.items()}


def _spread(labels: NDArray[Any], axis: int, kept: NDArray[np.bool_]) -> NDArray[np.object_]:
    """Labels of one axis repeated over all others, where kept: object [size]."""
    along = [1] * kept.ndim
    along[axis] = kept.shape[axis]
    return np.broadcast_to(labels.astype(object).reshape(along), kept.shape)[kept]
