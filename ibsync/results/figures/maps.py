"""Real partners minus their null: over channel pairs, and over time and period; what passes is outlined."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import PlanError
from ..findings import Criterion, is_tested
from ..wording import statistic_in_words
from .courses import epoch_times
from .drawing import (
    Feature,
    axis_label,
    draw_matrix,
    draw_pairs,
    label_ticks,
    of_task,
    place_of,
    room_for,
    set_title,
    value_limits,
)
from .panel import panel

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

    from ..result import Result

_OF = "A result of a test."
_FEWEST_WINDOWS = 3


@panel(5.2, 4.6, of=_OF)
def group_map(
    result: Result,
    ax: Axes,
    *,
    task: int | str = 0,
    epoch: int | str = 0,
    band: int | str = 0,
    shift: float | None = None,
) -> None:
    """
    The group statistic less the mean of its null, channel by channel; a line surrounds what passes the test.

    Returns
    -------
    matplotlib.axes.Axes
        Channels of person a downwards, of person b to the right; bars where only channels of the same name were paired.
        Where clusters were tested, the line is that of the clusters that pass.

    Raises
    ------
    PlanError
        If nothing was tested, or there is no such feature.

    Examples
    --------
    >>> plot.group_map(result)
    """
    ds = of_task(_tested(result), task, shift)
    place = place_of(ds, epoch, band)
    every, passed = _difference(ds)
    limits = value_limits(every, signed=True)
    draw_pairs(
        ax, ds, every.isel(place), passed.isel(place), limits=limits, label=_label(ds), mark=draw_outline,
    )  # fmt: skip
    set_title(ax, ds, epoch=epoch, band=band)


@panel(5.2, 3.6, of=_OF)
def time_map(
    result: Result,
    ax: Axes,
    *,
    epoch: int | str | None = None,
    band: int | str | None = None,
    pair: tuple[str, str] | None = None,
) -> None:
    """
    The group statistic less the mean of its null over epochs and bands, of one channel pair; what passes is outlined.

    Returns
    -------
    matplotlib.axes.Axes
        Epochs to the right, in s where they are windows of known times; bands downwards, the shortest period on top.

    Raises
    ------
    PlanError
        If nothing was tested, or there is no such feature.

    Examples
    --------
    >>> plot.time_map(result)
    """
    ds = of_task(_tested(result), 0)
    feature = Feature.strongest(ds, epoch, band, pair)
    at = {"channel_a": feature.channel_a, "channel_b": feature.channel_b}
    order = np.argsort(-ds["band_low_hz"].to_numpy()) if "band_low_hz" in ds.coords else np.arange(ds.sizes["band"])
    values, passed = (of.isel(at).transpose("band", "epoch").to_numpy()[order] for of in _difference(ds))
    draw_matrix(ax, values, limits=value_limits(values, signed=True), label=_label(ds))
    draw_outline(ax, passed.astype(bool))
    _label_times(ax, ds)
    _label_periods(ax, ds, order)
    a, b = (str(ds[dim].values[place]) for dim, place in at.items())
    set_title(ax, ds, pair=(a, b))


def is_map(ds: xr.Dataset) -> bool:
    """Whether epochs and bands are many enough to be seen as a map over time and period."""
    return ds.sizes["epoch"] >= _FEWEST_WINDOWS and ds.sizes["band"] >= _FEWEST_WINDOWS


def draw_outline(ax: Axes, cells: np.ndarray[Any, np.dtype[np.bool_]]) -> None:
    """A line along the border of the marked cells of a matrix, neighbours being one; cells: bool [row, column]."""
    from matplotlib.collections import LineCollection

    inside = np.pad(cells, 1)
    rows, columns = np.nonzero(inside[:, 1:] != inside[:, :-1])
    sides = [((c - 0.5, r - 1.5), (c - 0.5, r - 0.5)) for r, c in zip(rows, columns, strict=True)]
    rows, columns = np.nonzero(inside[1:] != inside[:-1])
    sides += [((c - 1.5, r - 0.5), (c - 0.5, r - 0.5)) for r, c in zip(rows, columns, strict=True)]
    for color, width in (("white", 3.4), ("black", 1.8)):
        ax.add_collection(LineCollection(sides, colors=color, linewidths=width, capstyle="projecting", clip_on=False))


def _tested(result: Result) -> xr.Dataset:
    if not is_tested(result.dataset):
        raise PlanError("plot: nothing was tested, so that there is no null to compare with; give a result of ibs.test")
    return result.dataset


def _difference(ds: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    """The statistic less the mean of its null, and what passes: clusters where these were tested."""
    passed = Criterion.of(ds).passed(ds)
    if "p_cluster" in ds and bool(np.isfinite(ds["p_cluster"]).any()):
        passed = (ds["p_cluster"] <= float(ds.attrs["alpha"])) & (ds["cluster"] != 0)
    return ds["group_statistic"] - ds["group_null_mean"], passed


def _label(ds: xr.Dataset) -> str:
    return axis_label(f"{statistic_in_words(ds)}, real minus null")


def _label_times(ax: Axes, ds: xr.Dataset) -> None:
    """The time of each window, or the name of each epoch."""
    _, names, words = epoch_times(ds)
    ax.set_xlabel(words)
    label_ticks(ax.xaxis, names, most=room_for(ax, "x", 24 if max(map(len, names)) < 6 else 40))


def _label_periods(ax: Axes, ds: xr.Dataset, order: np.ndarray[Any, Any]) -> None:
    """The period in the middle of each band, or its name."""
    names = [str(label) for label in ds["band"].values[order]]
    if "band_low_hz" in ds.coords:
        centre = np.sqrt(ds["band_low_hz"].to_numpy() * ds["band_high_hz"].to_numpy())[order]
        names = [f"{1 / hz:.3g}" for hz in centre]
    ax.set_ylabel("period (s)" if "band_low_hz" in ds.coords else "band")
    label_ticks(ax.yaxis, names, most=room_for(ax, "y", 12))
