"""Synchrony against an outcome, one dot per dyad."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import PlanError
from ..wording import statistic_in_words, value_in_words
from .drawing import GROUPS, QUIET, Feature, axis_label, legend_above, plain, tidy
from .panel import panel

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

    from ..result import Result

Floats = np.ndarray[Any, np.dtype[np.float64]]


@panel(5.0, 4.4, of="A result of `ibs.outcome`.")
def association(
    result: Result,
    ax: Axes,
    *,
    epoch: int | str | None = None,
    band: int | str | None = None,
    pair: tuple[str, str] | None = None,
) -> None:
    """
    Outcome against synchrony, a dot per dyad in the colour of its group, and the line that was fitted.

    Returns
    -------
    matplotlib.axes.Axes
        Synchrony, or its slope, to the right, the outcome upwards. Of level "within" a dot is a session, both values
        less the means of its dyad, and the dots of a dyad are joined. The line goes through the mean of the dots with
        the slope that was tested; with covariates that is the slope given these, and dots need not lie along it.

    Raises
    ------
    PlanError
        If the result is of another kind, or there is no such feature.

    Examples
    --------
    >>> plot.association(outcome(result, "symptoms"))
    """
    ds = result.dataset
    if ds.attrs.get("question") != "outcome":
        raise PlanError("plot.association: the result holds no association with an outcome; give one of ibs.outcome")
    feature = Feature.strongest(ds, epoch, band, pair)
    within = ds.attrs.get("level") == "within"
    synchrony, outcome = feature.of(ds["value"]).astype(float), ds["outcome"].to_numpy().astype(float)
    there = np.isfinite(synchrony) & np.isfinite(outcome)
    dyads, x, y = ds["dyad"].values[there], synchrony[there], outcome[there]
    if within:
        x, y = _less_mean(x, dyads), _less_mean(y, dyads)
        _join(ax, x, y, dyads)
    n_groups = _draw_dots(ax, x, y, _groups(ds)[there], "sessions" if within else "dyads")
    _draw_line(ax, x, y, float(feature.of(ds["slope"])))
    less = ", less the dyad's mean" if within else ""
    ax.set_xlabel(axis_label(f"{value_in_words(ds)}{less}"))
    ax.set_ylabel(axis_label(f"{ds.attrs['outcome']}{less}"))
    r = "partial r" if "partial" in statistic_in_words(ds) else "r"
    words = f"{r}\xa0=\xa0{float(feature.of(ds['group_statistic'])):.2f}, {len(set(dyads.tolist()))}\xa0dyads"
    feature.title(ax, ds, words, pad=legend_above(ax) if n_groups > 1 else None)
    tidy(ax)


def _less_mean(values: Floats, dyads: np.ndarray[Any, Any]) -> Floats:
    """Values less the mean of their dyad."""
    _, which = np.unique(dyads, return_inverse=True)
    return np.asarray(values - (np.bincount(which, values) / np.bincount(which))[which])


def _groups(ds: xr.Dataset) -> np.ndarray[Any, Any]:
    """Group of each row, as text; empty where the rows have none."""
    return ds["group"].values.astype(str) if "group" in ds.coords else np.full(ds.sizes["dyad"], "")


def _draw_dots(ax: Axes, x: Floats, y: Floats, groups: np.ndarray[Any, Any], unit: str) -> int:
    """Dots in the colour of their group, or in one colour where there are too many; returns the number of colours."""
    names = list(dict.fromkeys(groups.tolist()))
    if len(names) > len(GROUPS):
        names, groups = [""], np.full(len(groups), "")
    for name, color in zip(names, GROUPS, strict=False):
        mine = groups == name
        label = f"{plain(name) or 'no group'}, {int(mine.sum())} {unit}"
        ax.scatter(x[mine], y[mine], s=30, color=color, alpha=0.75, linewidth=0, label=label, zorder=3)
    return len(names)


def _join(ax: Axes, x: Floats, y: Floats, dyads: np.ndarray[Any, Any]) -> None:
    """A quiet line through the dots of each dyad, from left to right."""
    for dyad in dict.fromkeys(dyads.tolist()):
        mine = np.flatnonzero(dyads == dyad)
        mine = mine[np.argsort(x[mine], kind="stable")]
        ax.plot(x[mine], y[mine], color=QUIET, linewidth=0.7, alpha=0.5)


def _draw_line(ax: Axes, x: Floats, y: Floats, slope: float) -> None:
    """The line of a slope through the mean of the dots, as far as they reach."""
    if x.size and np.isfinite(slope):
        ends = np.array([x.min(), x.max()])
        ax.plot(ends, y.mean() + slope * (ends - x.mean()), color="black", linewidth=1.8, zorder=2)
