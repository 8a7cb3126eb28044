"""Change over sessions: every dyad's course, its slope, and where in the channel pairs synchrony grows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import PlanError
from ..findings import Criterion
from ..wording import settings, statistic_in_words, value_in_words
from .drawing import (
    GROUPS,
    NULL,
    QUIET,
    Feature,
    axis_label,
    draw_pairs,
    finite_mean,
    label_ticks,
    legend_above,
    outline,
    place_of,
    plain,
    set_title,
    tidy,
    value_limits,
)
from .panel import panel

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

    from ..result import Result

Floats = np.ndarray[Any, np.dtype[np.float64]]

_OF = "A result of `ibs.plasticity`."
_SD = 1.96
_MOST_DYADS = 40
_MOST_TICKS = 20


@panel(5.4, 4.4, of=_OF)
def growth(
    result: Result,
    ax: Axes,
    *,
    epoch: int | str | None = None,
    band: int | str | None = None,
    pair: tuple[str, str] | None = None,
) -> None:
    """
    Synchrony over sessions: each dyad's values and line, the mean line, and the slopes that the null allows it.

    Returns
    -------
    matplotlib.axes.Axes
        Synchrony, less the mean of its null where that was subtracted, against time. The shaded wedge holds lines that
        begin where the mean line does, with slopes from the mean of the null - 1.96 to + 1.96 of its standard
        deviations; the dashed line has the mean of the null. Where two groups are compared, it begins where the line of
        the second does, and holds that of the first if they change alike.

    Raises
    ------
    PlanError
        If the result is of another kind, or there is no such feature.

    Examples
    --------
    >>> plot.growth(plasticity(result))
    """
    ds = _of_changes(result)
    if "session_value" not in ds:
        raise PlanError("plot.growth: the result does not hold the values of single sessions; compute it again")
    feature = Feature.strongest(ds, epoch, band, pair)
    when, values = ds["session_time"].to_numpy(), feature.of(ds["session_value"])
    slopes = feature.of(ds["value"])
    lengths = feature.of(ds["session_weight"]) if "session_weight" in ds else np.ones_like(values)
    shares = feature.of(ds["weight"]) if "weight" in ds else np.ones_like(slopes)
    groups = _groups(ds)
    lines = list(_lines(when, values, slopes, lengths, shares))
    means = [_draw_courses(ax, when, values, [lines[row] for row in group.rows], group) for group in groups]
    low, high = _null_range(ds, feature, means[-1].slope if len(groups) > 1 else 0.0)
    _draw_fan(ax, means[-1], low, high, _null_words(groups))
    _name_times(ax, ds)
    ax.set_ylabel(axis_label(str(ds["session_value"].attrs["long_name"])))
    feature.title(ax, ds, _found(ds, feature), pad=legend_above(ax))
    tidy(ax)


@dataclass(frozen=True)
class _Group:
    """Dyads of one colour; `rows` int64 [dyad]."""

    name: str
    rows: np.ndarray[Any, np.dtype[np.int64]]
    color: str


@dataclass(frozen=True)
class _Line:
    """A straight line: its value at a time, its slope, from when to when it is drawn, how much it counts in a mean."""

    time: float
    value: float
    slope: float
    ends: Floats
    share: float = 1.0

    def at(self, slope: float) -> Floats:
        """Values at the ends of a line of another slope through the same point."""
        return self.value + slope * (self.ends - self.time)


def _draw_courses(ax: Axes, when: Floats, values: Floats, lines: list[_Line | None], group: _Group) -> _Line:
    """Values and lines of a group's dyads, and their mean line; when, values: [dyad, session] of all dyads."""
    from matplotlib.patheffects import Normal, Stroke

    faint = 1.0 if len(lines) <= 12 else 0.5
    for times, measured in zip(when[group.rows], values[group.rows], strict=True):
        there = np.isfinite(measured)
        ax.plot(
            times[there], measured[there], color=group.color, lw=0.6, alpha=0.25 * faint, marker="o", markersize=2.5
        )
    drawn = [line for line in lines if line is not None]
    for line in drawn:
        ax.plot(line.ends, line.at(line.slope), color=group.color, linewidth=1.0, alpha=0.6 * faint)
    mean = _mean_line(drawn)
    name = f"{plain(group.name)}: " if group.name else ""
    label = f"{name}mean of {len(drawn)} dyads' lines"
    halo = [Stroke(linewidth=6.0, foreground="white"), Normal()]
    ax.plot(mean.ends, mean.at(mean.slope), color=group.color, linewidth=3.2, label=label, zorder=4, path_effects=halo)
    return mean


def _lines(when: Floats, values: Floats, slopes: Floats, lengths: Floats, shares: Floats) -> Iterator[_Line | None]:
    """The least-squares line of each dyad that has a slope: it goes through the dyad's weighted means."""
    for times, measured, slope, weights, share in zip(when, values, slopes, lengths, shares, strict=True):
        there = np.isfinite(measured) & np.isfinite(times)
        if not np.isfinite(slope) or not there.any():
            yield None
            continue
        ends = np.array([times[there].min(), times[there].max()])
        time, value = (float(np.average(x[there], weights=weights[there])) for x in (times, measured))
        yield _Line(time, value, float(slope), ends, float(share))


def _mean_line(lines: list[_Line]) -> _Line:
    """The mean of lines, each continued over all times and counted by its share."""
    if not lines:
        return _Line(np.nan, np.nan, np.nan, np.array([np.nan, np.nan]))
    shares = [line.share for line in lines]
    middle = float(np.mean([line.time for line in lines]))
    value = float(np.average([line.value + line.slope * (middle - line.time) for line in lines], weights=shares))
    ends = np.array([min(line.ends[0] for line in lines), max(line.ends[1] for line in lines)])
    return _Line(middle, value, float(np.average([line.slope for line in lines], weights=shares)), ends)


def _draw_fan(ax: Axes, line: _Line, low: float, high: float, words: str) -> None:
    """Where a line that begins as this one does would lead, with slopes from low to high and, dashed, their middle."""
    begin = line.at(line.slope)[0]
    edges = np.array([begin + slope * (line.ends - line.ends[0]) for slope in (low, (low + high) / 2, high)])
    ax.fill_between(line.ends, edges[0], edges[2], color=NULL, alpha=0.22, linewidth=0, label=words)
    ax.plot(line.ends, edges[1], color=NULL, linewidth=1.6, linestyle="--", zorder=3)


def _null_range(ds: xr.Dataset, feature: Feature, about: float) -> tuple[float, float]:
    """Where the mean slope would lie under the null: about 0, or the first group's about the second's."""
    mean, sd = (float(feature.of(ds[name])) for name in ("group_null_mean", "group_null_sd"))
    return about + mean - _SD * sd, about + mean + _SD * sd


def _null_words(groups: list[_Group]) -> str:
    if len(groups) == 1:
        return f"null of the mean slope, ± {_SD} sd"
    return f"mean of {plain(groups[0].name)} if both change alike, ± {_SD} sd"


def _groups(ds: xr.Dataset) -> list[_Group]:
    """The two groups that were compared, or all dyads as one."""
    compared = settings(ds.attrs, "change").get("between") or []
    if not compared:
        return [_Group("", np.arange(ds.sizes["dyad"]), GROUPS[0])]
    of_dyad = ds["group"].values.astype(str)
    return [_Group(name, np.flatnonzero(of_dyad == name), color) for name, color in zip(compared, GROUPS, strict=False)]


def _found(ds: xr.Dataset, feature: Feature) -> str:
    """The group statistic in words."""
    change = settings(ds.attrs, "change")
    what = "difference of mean slopes" if change.get("between") else "mean slope"
    return f"{what} {float(feature.of(ds['group_statistic'])):.3g} per {change['per']}"


def _name_times(ax: Axes, ds: xr.Dataset) -> None:
    when = np.unique(ds["session_time"].to_numpy()[np.isfinite(ds["session_time"].to_numpy())])
    if len(when) <= _MOST_TICKS:
        ax.set_xticks(when, [f"{time:g}" for time in when])
    per = settings(ds.attrs, "change")["per"]
    ax.set_xlabel("time of the session" if per == "unit of time" else per)


def _height(ds: xr.Dataset) -> float:
    """Room for the names of dyads, in inches."""
    return float(np.clip(1.8 + 0.17 * ds.sizes["dyad"], 3.4, 8))


@panel(5.4, _height, of=_OF)
def dyad_slopes(
    result: Result,
    ax: Axes,
    *,
    epoch: int | str | None = None,
    band: int | str | None = None,
    pair: tuple[str, str] | None = None,
) -> None:
    """
    Slope of each dyad, their mean, and where the mean would lie under the null.

    Returns
    -------
    matplotlib.axes.Axes
        Dyads that have a slope downwards, the largest first; change per session or unit of time to the right. Dots are
        larger the more a dyad counts in the mean. The band
        is the mean of the null +- 1.96 of its standard deviations, for the mean slope and not for single dyads; where
        two groups are compared it lies about the mean of the second.

    Raises
    ------
    PlanError
        If the result is of another kind, or there is no such feature.

    Examples
    --------
    >>> plot.dyad_slopes(plasticity(result))
    """
    ds = _of_changes(result)
    feature = Feature.strongest(ds, epoch, band, pair)
    slopes = feature.of(ds["value"])
    shares = feature.of(ds["weight"]) if "weight" in ds else np.ones_like(slopes)
    order = [row for row in np.argsort(slopes, kind="stable") if np.isfinite(slopes[row])]
    ax.axvline(0, color=QUIET, linewidth=1)
    groups = _groups(ds)
    for group in groups:
        _draw_slopes(ax, slopes, shares, order, group)
    about = finite_mean(slopes[groups[1].rows]) if len(groups) > 1 else 0.0
    low, high = _null_range(ds, feature, about)
    ax.axvspan(low, high, color=NULL, alpha=0.22, linewidth=0, label=_null_words(groups), zorder=0)
    if "null_mean" in ds:
        own = feature.of(ds["null_mean"])[order]
        ax.scatter(own, range(len(order)), s=16, color=NULL, marker="s", label="mean of own re-paired partners")
    label_ticks(ax.yaxis, [str(ds["dyad"].values[row]) for row in order], most=_MOST_DYADS)
    ax.locator_params(axis="x", nbins=6)
    ax.set_xlabel(axis_label(value_in_words(ds)))
    ax.set_ylabel(f"{len(order)} of {len(slopes)} dyads" if len(order) < len(slopes) else "dyad")
    feature.title(ax, ds, _found(ds, feature), pad=legend_above(ax))
    tidy(ax, "x")


def _draw_slopes(ax: Axes, slopes: Floats, shares: Floats, order: list[np.intp], group: _Group) -> None:
    """The slopes of a group at their places, larger the more they count, and their mean as a line across."""
    rows = [row for row in order if row in group.rows]
    if not rows:
        return
    values, weights = slopes[rows], shares[rows]
    places = [order.index(row) for row in rows]
    ax.hlines(places, 0, values, color=group.color, linewidth=0.8, alpha=0.5)
    ax.scatter(values, places, s=24 * weights / weights.mean(), color=group.color, linewidth=0, zorder=3)
    name = f"{plain(group.name)}: " if group.name else ""
    how = ", weighted" if np.ptp(weights) > 1e-9 else ""
    label = f"{name}mean of {len(rows)} dyads{how}"
    ax.axvline(np.average(values, weights=weights), color=group.color, linewidth=2.4, label=label, zorder=2)


@panel(5, 4.4, of=_OF)
def growth_map(
    result: Result,
    ax: Axes,
    *,
    epoch: int | str = 0,
    band: int | str = 0,
) -> None:
    """
    Channel-by-channel matrix of the mean slope; frames mark what survives correction at the level of the test.

    Returns
    -------
    matplotlib.axes.Axes
        Channels of person a downwards, of person b to the right; growth is red, decline blue, missing grey. Of two
        groups the difference of their mean slopes.

    Raises
    ------
    PlanError
        If the result is of another kind, or there is no such epoch or band.

    Examples
    --------
    >>> plot.growth_map(plasticity(result))
    """
    ds = _of_changes(result)
    place = place_of(ds, epoch, band)
    slopes, passed = ds["group_statistic"], Criterion.of(ds).passed(ds)
    limits, words = value_limits(slopes, signed=True), axis_label(statistic_in_words(ds))
    draw_pairs(ax, ds, slopes.isel(place), passed.isel(place), limits=limits, label=words, mark=outline)
    set_title(ax, ds, epoch=epoch, band=band)


def _of_changes(result: Result) -> xr.Dataset:
    if result.dataset.attrs.get("question") != "plasticity":
        raise PlanError("plot: the result holds no change over sessions; give one of ibs.plasticity")
    return result.dataset
