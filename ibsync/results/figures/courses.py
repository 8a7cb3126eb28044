"""Synchrony over sessions and over epochs as it was measured, real and null."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import PlanError
from ...recordings.names import natural_order
from ..findings import Criterion, is_tested
from ..layout import tested_values
from ..wording import settings, value_in_words
from .drawing import (
    NULL,
    REAL,
    Feature,
    axis_label,
    finite_mean,
    label_ticks,
    of_pair,
    of_task,
    plain,
    position,
    room_for,
    set_title,
    tidy,
)
from .panel import panel

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

    from ..result import Result

_SD = 1.96


@panel(5, 3.8, of="A result, or real synchrony, with a coordinate `session` on its dyad rows.")
def session_slopes(
    result: Result,
    ax: Axes,
    *,
    task: int | str = 0,
    epoch: int | str = 0,
    band: int | str = 0,
    pair: tuple[str, str] | None = None,
    shift: float | None = None,
) -> None:
    """
    Synchrony over sessions: a line per dyad, the mean over dyads, and the mean of the null.

    Returns
    -------
    matplotlib.axes.Axes
        What the result holds of each dyad against session, in natural order of the labels.

    Examples
    --------
    >>> plot.session_slopes(result)
    """
    ds = of_task(result.dataset, task, shift)
    chosen = of_pair(ds.isel(epoch=position(ds, "epoch", epoch), band=position(ds, "band", band)), pair)
    sessions = session_labels(ds)
    real = _by_session(tested_values(chosen), sessions)
    order = np.arange(len(sessions))
    ax.plot(order, real.T, color=REAL, linewidth=0.9, alpha=0.35, marker="o", markersize=2.5)
    ax.plot(order, [finite_mean(column) for column in real.T], color=REAL, lw=3, marker="o", label="real, mean")
    if "null_mean" in chosen:
        null = _by_session(chosen["null_mean"], sessions)
        ax.plot(order, [finite_mean(column) for column in null.T], color=NULL, lw=2, ls="--", label="null, mean")
    label_ticks(ax.xaxis, sessions, most=12)
    ax.set(xlabel="session", ylabel=axis_label(value_in_words(ds)))
    ax.legend(fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
    set_title(ax, ds, pad=24, pair=pair, epoch=epoch, band=band)
    tidy(ax)


@panel(5.4, 3.6)
def time_course(
    result: Result,
    ax: Axes,
    *,
    task: int | str = 0,
    epoch: int | str | None = None,
    band: int | str | None = None,
    pair: tuple[str, str] | None = None,
    shift: float | None = None,
) -> None:
    """
    Synchrony over epochs at one channel pair and band: a line per dyad, their mean, and where the null has it.

    Returns
    -------
    matplotlib.axes.Axes
        What the result holds against epoch, in s where epochs are windows of known times. Shaded is the mean of the
        null ± 1.96 of its standard deviations, of the mean over dyads; large dots are epochs that pass the test.

    Raises
    ------
    PlanError
        If there is no such feature, or nothing was tested and no band and pair are named.

    Examples
    --------
    >>> plot.time_course(result)
    """
    ds = of_task(result.dataset, task, shift)
    feature = Feature.strongest(ds, epoch, band, pair) if is_tested(ds) else _named(ds, band, pair)
    at = {"channel_a": feature.channel_a, "channel_b": feature.channel_b, "band": feature.band}
    here = ds.isel(at)
    real = tested_values(here).transpose("dyad", "epoch").to_numpy()
    order, names, words = epoch_times(ds)
    ax.plot(order, real.T, color=REAL, linewidth=0.7, alpha=0.6 / max(len(real) / 12, 1.0) + 0.06)
    mean = np.array([finite_mean(column) for column in real.T])
    if is_tested(ds):
        mean = here["group_statistic"].to_numpy()
        middle, sd = (here[name].to_numpy() for name in ("group_null_mean", "group_null_sd"))
        ax.fill_between(order, middle - _SD * sd, middle + _SD * sd, color=NULL, alpha=0.25, linewidth=0)
        ax.plot(order, middle, color=NULL, linewidth=1.8, linestyle="--", label=f"null, mean ± {_SD} sd")
        passed = Criterion.of(ds).passed(here).to_numpy()
        ax.scatter(order[passed], mean[passed], s=46, color=REAL, edgecolor="white", zorder=5)
    ax.plot(order, mean, color=REAL, linewidth=2.6, marker="o", markersize=4, label="real, mean over dyads")
    if len(names) <= 12 or words == "epoch":
        most = room_for(ax, "x", 30)
        step = -(-len(names) // most)
        ax.set_xticks(order[::step], [plain(name, limit=18) for name in names[::step]], fontsize="small")
    ax.set(xlabel=words, ylabel=axis_label(value_in_words(ds)))
    ax.legend(fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
    channels = str(here["channel_a"].item()), str(here["channel_b"].item())
    set_title(ax, ds, pad=24, pair=channels, band=feature.band)
    tidy(ax)


def _named(ds: xr.Dataset, band: int | str | None, pair: tuple[str, str] | None) -> Feature:
    """The feature of a band and a pair, where nothing tells which is the strongest."""
    if pair is None:
        raise PlanError("plot.time_course: nothing was tested: name the channel pair, such as pair=('S1_D1', 'S1_D1')")
    a, b = position(ds, "channel_a", pair[0]), position(ds, "channel_b", pair[1])
    return Feature(0, a, b, position(ds, "band", 0 if band is None else band))


def epoch_times(ds: xr.Dataset) -> tuple[np.ndarray[Any, Any], list[str], str]:
    """Where epochs stand along an axis (float64 [epoch]), their names there, and what the axis is."""
    names, spans = [str(label) for label in ds["epoch"].values], settings(ds.attrs, "epochs")
    # Windows are named by their start (`time_windows`). Other epochs keep their names and their order.
    single = [spans[name][0] for name in names if len(spans.get(name, ())) == 1]
    windows = [window for name, window in zip(names, single, strict=False) if name == f"{window[0]:g} s"]
    middle = np.array([sum(window) / 2 for window in windows], float)
    if len(windows) < len(names) or not (np.diff(middle) > 0).all():
        return np.arange(float(len(names))), names, "epoch"
    return middle, [f"{time:g}" for time in middle], "middle of the window (s)"


def session_labels(ds: xr.Dataset) -> list[str]:
    """Labels of the sessions by the numbers in them, 2 before 10, or as they appear."""
    return natural_order(str(label) for label in ds["session"].values) if "session" in ds.coords else []


def _by_session(values: xr.DataArray, sessions: list[str]) -> np.ndarray[Any, Any]:
    """Mean over channel pairs per dyad and session; NaN where a dyad has no such session: float [dyad, session]."""
    rows = values.mean(("channel_a", "channel_b")).to_numpy()
    dyads = list(dict.fromkeys(values["dyad"].values.tolist()))
    table = np.full((len(dyads), len(sessions)), np.nan)
    for dyad, session, row in zip(values["dyad"].values.tolist(), values["session"].values, rows, strict=True):
        table[dyads.index(dyad), sessions.index(str(session))] = row
    return table
