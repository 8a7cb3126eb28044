"""The null beside the observed value, as histograms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..wording import group_in_words, outcome_in_words
from .drawing import NULL, REAL, axis_label, dataset_of, finite_mean, new_axes, position, set_title, tidy

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

    from ..result import Result

_MOST_BARS = 40


def null_histogram(
    result: Result | xr.Dataset, ax: Axes | None = None, *, epoch: int | str = 0, band: int | str = 0
) -> Axes:
    """
    Draws of the group statistic, averaged over channel pairs, and the observed value as a line.

    Parameters
    ----------
    result : Result or xarray.Dataset
        A result that holds `null_hist`, int64 [epoch, band, hist_bin].
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure if left out.
    epoch, band : int or str
        Position or label.

    Returns
    -------
    matplotlib.axes.Axes
        Number of draws against the group statistic.
    """
    ds = dataset_of(result)
    chosen = ds.isel(epoch=position(ds, "epoch", epoch), band=position(ds, "band", band))
    ax = ax if ax is not None else new_axes(5, 3.6)
    pooled = "pooled_statistic" if "pooled_statistic" in chosen else "group_statistic"
    observed = finite_mean(chosen[pooled].to_numpy().reshape(-1))
    edges, counts = _bars(_bin_edges(ds), chosen["null_hist"].to_numpy())
    ax.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color=NULL, alpha=0.75, linewidth=0)
    _draw_observed(ax, observed)
    mean = "mean over channel pairs" if outcome_in_words(ds.attrs) else "mean over dyads and channel pairs"
    ax.set(xlabel=f"{axis_label(group_in_words(ds.attrs))},\n{mean}", ylabel="draws of the null")
    ax.locator_params(axis="x", nbins=4)
    set_title(ax, ds, epoch=epoch, band=band)
    tidy(ax)
    return ax


def max_histogram(result: Result | xr.Dataset, ax: Axes | None = None) -> Axes:
    """
    Largest z of each draw over all features, and the largest observed z: the family-wise test in one picture.

    Parameters
    ----------
    result : Result or xarray.Dataset
        A result that holds `null_max`, float32 [draw].
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure if left out.

    Returns
    -------
    matplotlib.axes.Axes
        Number of draws against z.
    """
    ds = dataset_of(result)
    ax = ax if ax is not None else new_axes(5, 3.6)
    null = ds["null_max"].to_numpy()
    null = null[np.isfinite(null)]
    ax.hist(null, bins=int(np.clip(np.sqrt(null.size), 8, _MOST_BARS)), color=NULL, alpha=0.75)
    sign = {"less": -ds["group_z"], "two-sided": abs(ds["group_z"])}
    _draw_observed(ax, float(sign.get(str(ds.attrs.get("tail")), ds["group_z"]).max()))
    ax.set(xlabel="largest z over channel pairs, bands and epochs", ylabel="draws of the null")
    ax.set_title("all features", fontsize="medium", loc="left")
    tidy(ax)
    return ax


def _draw_observed(ax: Axes, observed: float) -> None:
    if not np.isfinite(observed):
        return
    ax.axvline(observed, color=REAL, linewidth=2.2)
    ax.set_ylim(0, 1.16 * ax.get_ylim()[1])
    left, right = ax.get_xlim()
    near_right = observed > (left + right) / 2
    ax.annotate(
        f"observed {observed:.4g}",
        (observed, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(-5 if near_right else 5, -4),
        textcoords="offset points",
        ha="right" if near_right else "left",
        va="top",
        color=REAL,
        fontsize="small",
        bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 1},
    )


def _bin_edges(ds: xr.Dataset) -> np.ndarray[Any, Any]:
    """Edges of equal histogram bins from their lower edges or their centres: float [hist_bin + 1]."""
    if "hist_edge_low" in ds.variables:
        low = ds["hist_edge_low"].to_numpy()
    else:
        centre = ds["hist_center"].to_numpy()
        low = centre - (centre[1] - centre[0]) / 2
    return np.append(low, 2 * low[-1] - low[-2])


def _bars(
    edges: np.ndarray[Any, Any], counts: np.ndarray[Any, Any]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The occupied bins, neighbours joined until they are few enough to see; no draw is lost."""
    occupied = np.flatnonzero(counts)
    first, last = (int(occupied[0]), int(occupied[-1])) if occupied.size else (0, 0)
    step = -(-(last + 1 - first) // _MOST_BARS)
    n_bars = -(-(last + 1 - first) // step)
    last = min(first + n_bars * step, len(counts))
    starts = np.arange(first, last, step)
    return np.append(edges[starts], edges[last]), np.add.reduceat(counts[:last], starts)
