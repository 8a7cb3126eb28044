"""The null beside the observed value, as histograms."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import PlanError
from ..findings import number
from ..layout import SHIFT, TASK, tasks_of
from ..wording import family_in_words, statistic_in_words
from .drawing import NULL, REAL, axis_label, finite_mean, of_task, place_among, position, set_title, tidy
from .panel import panel

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

    from ..result import Result

_MOST_BARS = 40


@panel(5, 3.6, of="A result whose null holds histograms.")
def null_histogram(
    result: Result,
    ax: Axes,
    *,
    task: int | str = 0,
    epoch: int | str = 0,
    band: int | str = 0,
    shift: float | None = None,
) -> None:
    """
    Draws of the group statistic, averaged over channel pairs, and the observed value as a line.

    Returns
    -------
    matplotlib.axes.Axes
        Number of draws against the group statistic.

    Examples
    --------
    >>> plot.null_histogram(result)
    """
    _require(result, "null_hist")
    ds = of_task(result.dataset, task, shift)
    place = {"epoch": position(ds, "epoch", epoch), "band": position(ds, "band", band)}
    null = result.null.isel(place)
    if SHIFT in null.dims:
        null = null.sel({SHIFT: ds[SHIFT].item()})
    if TASK in null.dims:
        null = null.isel({TASK: place_among(tasks_of(result.dataset), "task", task)})
    observed = null["pooled_statistic"] if "pooled_statistic" in null else ds["group_statistic"].isel(place)
    edges, counts = _bars(_bin_edges(null["hist_center"].to_numpy()), null["null_hist"].to_numpy())
    ax.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color=NULL, alpha=0.75, linewidth=0)
    _draw_observed(ax, finite_mean(observed.to_numpy().reshape(-1)))
    of_rows = ds.attrs.get("question") != "outcome"
    mean = "mean over dyads and channel pairs" if of_rows else "mean over channel pairs"
    ax.set(xlabel=f"{axis_label(statistic_in_words(ds))},\n{mean}", ylabel="draws of the null")
    ax.locator_params(axis="x", nbins=4)
    set_title(ax, ds, epoch=epoch, band=band)
    tidy(ax)


@panel(5, 3.6, of="A result whose null holds the maxima of its draws.")
def max_histogram(result: Result, ax: Axes) -> None:
    """
    Largest z of each draw over the family of features that `p_max` corrects over, and the largest observed z.

    Returns
    -------
    matplotlib.axes.Axes
        Number of draws against z. The line stands among the draws where the smallest `p_max` says.

    Examples
    --------
    >>> plot.max_histogram(result)
    """
    _require(result, "null_max")
    z, maxima = result.dataset["group_z"], result.null["null_max"].to_numpy()
    maxima = maxima[np.isfinite(maxima)]
    ax.hist(maxima, bins=int(np.clip(np.sqrt(maxima.size), 8, _MOST_BARS)), color=NULL, alpha=0.75)
    of_tail = {"less": -z, "two-sided": abs(z)}
    of_tail_z = of_tail.get(str(result.dataset.attrs["tail"]), z)
    _draw_observed(ax, _among(maxima, float(of_tail_z.max()), result.dataset))
    ax.set(xlabel=fill(f"largest z over {family_in_words(result.dataset)}", 40), ylabel="draws of the null")
    single = result.dataset.get("p_max_single", result.dataset.get("p_max"))
    told = f": p_max = {number(float(single.min()))}" if single is not None and np.isfinite(single).any() else ""
    ax.set_title(f"all features{told}", fontsize="medium", loc="left")
    tidy(ax)


def _among(maxima: np.ndarray[Any, Any], z: float, ds: xr.Dataset) -> float:
    """The largest observed z on the scale of the maxima: between those that its p counts as reaching it and the others.

    The z that a table shows may be standardised by other draws than the maxima are.
    """
    if "p_max_single" not in ds or not np.isfinite(ds["p_max_single"]).any():
        return z
    n = len(maxima)
    reached = int(np.clip(round(float(ds["p_max_single"].min()) * (n + 1)) - 1, 0, n))
    ordered = np.sort(maxima)
    low = ordered[n - reached - 1] if reached < n else -np.inf
    high = ordered[n - reached] if reached > 0 else np.inf
    return float(np.clip(z, low, high))


def _require(result: Result, name: str) -> None:
    """Refuse a result without the draws of one null."""
    if name not in result.null:
        raise PlanError("this result holds no draws of one null, as a test against two does: test against one")


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


def _bin_edges(centre: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Edges of equal histogram bins from their centres: float [hist_bin + 1]."""
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
