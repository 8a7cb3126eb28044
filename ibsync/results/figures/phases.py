"""Who leads: phases of the dyads around a circle, and their lags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import PlanError
from ..findings import is_tested
from ..layout import SHIFT, tested_values
from ..wording import rows_in_words, value_in_words
from .drawing import (
    NULL,
    QUIET,
    REAL,
    axis_label,
    finite_mean,
    of_task,
    of_task_at_all_shifts,
    place_of,
    plain,
    set_title,
    tidy,
)
from .panel import panel

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

    from ..result import Result

_SD = 1.96
_BINS = 16
_MARKS = (0.0, 0.5 * np.pi, np.pi, 1.5 * np.pi)


@panel(4.2, 4.2, of="A result of wavelet coherence, or real synchrony.")
def phase_rose(
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
    Phase of each dyad at one channel pair, counted around a circle, and the mean direction as an arrow.

    Returns
    -------
    matplotlib.axes.Axes
        As the arrows of `wtc`: in phase to the right, anti-phase to the left, a leads by 90° downwards. The arrow is as
        long as the mean of the dyads' directions (0 where they point everywhere, 1 at the edge where all agree). Lags
        are those of the phase at the middle of the band, within half a period; a phase tells no lag beyond that.
        Without a pair the one of the largest mean is taken.

    Raises
    ------
    PlanError
        If the result holds no phases, or there is no such feature.

    Examples
    --------
    >>> plot.phase_rose(result)
    """
    ds = of_task(result.dataset, task, shift)
    if "phase" not in ds:
        raise PlanError("plot.phase_rose: the result holds no phases; give one of wavelet coherence")
    pair = pair or _largest(ds, place_of(ds, epoch, band))
    at = place_of(ds, epoch, band, pair)
    phase = ds["phase"].isel(at).to_numpy()
    phase = phase[np.isfinite(phase)]
    counts, edges = np.histogram(np.mod(-phase, 2 * np.pi), bins=_BINS, range=(0, 2 * np.pi))
    _draw_rose(ax, counts, edges)
    direction = complex(np.exp(1j * phase).mean()) if phase.size else 0j
    radius = max(int(counts.max(initial=1)), 1) ** 0.5
    arrow = radius * abs(direction) * np.array([np.cos(np.angle(direction)), -np.sin(np.angle(direction))])
    ax.annotate("", arrow, (0, 0), arrowprops={"arrowstyle": "-|>", "linewidth": 2.2, "color": "black"}, zorder=5)
    _name_directions(ax, radius, _period(ds, at["band"]))
    ax.set(xlim=(-1.75 * radius, 1.75 * radius), ylim=(-1.5 * radius, 1.5 * radius), aspect="equal")
    ax.axis("off")
    told = (
        f"{len(phase)} {_unit(ds)}, mean direction {np.degrees(np.angle(direction)):.0f}°, length {abs(direction):.2f}"
    )
    ax.text(0.5, 0.0, told, transform=ax.transAxes, ha="center", va="top", fontsize="small", color="#444444")
    set_title(ax, ds, pair=(plain(pair[0]), plain(pair[1])), epoch=epoch, band=band)


@panel(5.2, 3.6, of="A result, or real synchrony, of several lags, or of a coupling that finds its lag.")
def lags(
    result: Result,
    ax: Axes,
    *,
    task: int | str = 0,
    epoch: int | str = 0,
    band: int | str = 0,
    pair: tuple[str, str] | None = None,
) -> None:
    """
    Synchrony at each lag of one channel pair, real and null; or how many dyads have which lag, where each has one.

    Returns
    -------
    matplotlib.axes.Axes
        Lag in s to the right; at positive lags a leads. Shaded is the mean of the null ± 1.96 of its standard
        deviations. Without a pair the one of the largest mean is taken.

    Raises
    ------
    PlanError
        If the result holds no lags, or there is no such feature.

    Examples
    --------
    >>> lagged = WTC(bands={"task": (0.05, 0.15)}, lags=[-2, 0, 2])
    >>> shifted = test(study.synchrony(lagged), study.null(lagged, n=999))
    >>> plot.lags(shifted)
    """
    ds = of_task_at_all_shifts(result.dataset, task)
    if SHIFT not in ds.dims and "lag" not in ds:
        raise PlanError("plot.lags: the result holds no lags; compute it with WTC(bands, lags=[-2.0, 0.0, 2.0])")
    pair = pair or _largest(ds, place_of(ds, epoch, band))
    here = ds.isel(place_of(ds, epoch, band, pair))
    if SHIFT not in ds.dims:
        found = here["lag"].to_numpy()
        found = found[np.isfinite(found)]
        ax.hist(found, bins=_BINS, color=REAL, alpha=0.75)
        ax.axvline(float(np.median(found)) if found.size else np.nan, color="black", linewidth=2)
        ax.set_ylabel(f"{_unit(ds)} (line: median)")
    else:
        _draw_profile(ax, here)
        ax.set_ylabel(axis_label(value_in_words(ds)))
    ax.set_xlabel("lag (s), positive: a leads")
    set_title(ax, ds, pair=pair, epoch=epoch, band=band, pad=24)
    tidy(ax)


def _draw_profile(ax: Axes, here: xr.Dataset) -> None:
    """Mean over dyads against lag, and where the null has it."""
    at = here[SHIFT].to_numpy()
    rows = tested_values(here).transpose("dyad", SHIFT).to_numpy()
    ax.plot(at, rows.T, color=REAL, linewidth=0.7, alpha=0.25)
    mean = np.array([finite_mean(column) for column in rows.T])
    if is_tested(here):
        mean = here["group_statistic"].to_numpy()
        middle, sd = (here[name].to_numpy() for name in ("group_null_mean", "group_null_sd"))
        ax.fill_between(at, middle - _SD * sd, middle + _SD * sd, color=NULL, alpha=0.25, linewidth=0)
        ax.plot(at, middle, color=NULL, linewidth=1.8, linestyle="--", label=f"null, mean ± {_SD} sd")
    ax.plot(at, mean, color=REAL, linewidth=2.6, marker="o", markersize=4, label="real, mean over dyads")
    ax.legend(fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)


def _largest(ds: xr.Dataset, place: Mapping[str, int]) -> tuple[str, str]:
    """The channel pair of the largest mean over dyads, and over lags."""
    values = tested_values(ds).isel(place)
    others = [dim for dim in values.dims if dim not in ("channel_a", "channel_b")]
    mean = values.mean(others).transpose("channel_a", "channel_b").to_numpy()
    a, b = np.unravel_index(int(np.argmax(np.nan_to_num(mean, nan=-np.inf))), mean.shape)
    return str(ds["channel_a"].values[a]), str(ds["channel_b"].values[b])


def _unit(ds: xr.Dataset) -> str:
    """What the rows are."""
    return rows_in_words(ds) if len(set(ds["dyad"].values.tolist())) < ds.sizes["dyad"] else "dyads"


def _draw_rose(ax: Axes, counts: np.ndarray[Any, Any], edges: np.ndarray[Any, Any]) -> None:
    """Sectors whose areas are as the counts."""
    from matplotlib.patches import Circle, Wedge

    most = max(int(counts.max(initial=1)), 1)
    for share in (0.5, 1.0):
        ax.add_patch(Circle((0, 0), (share * most) ** 0.5, facecolor="none", edgecolor="#d9d9d9", linewidth=0.8))
    ax.text(0, -(most**0.5), f" {most}", fontsize="x-small", color=QUIET, va="bottom")
    for count, low, high in zip(counts, np.degrees(edges[:-1]), np.degrees(edges[1:]), strict=True):
        ax.add_patch(Wedge((0, 0), count**0.5, low, high, facecolor=REAL, alpha=0.7, edgecolor="white", linewidth=0.6))


def _name_directions(ax: Axes, radius: float, period_s: float) -> None:
    names = ("in phase", "b leads by 90°", "anti-phase", "a leads by 90°")
    quarter = f"\n({period_s / 4:.3g} s)" if np.isfinite(period_s) else ""
    for angle, name in zip(_MARKS, names, strict=True):
        x, y = 1.12 * radius * np.cos(angle), 1.12 * radius * np.sin(angle)
        sideways = ("center", "left", "right")[int(np.sign(round(x, 6)))]
        upright = ("center", "bottom", "top")[int(np.sign(round(y, 6)))]
        text = f"{name}{quarter}" if abs(y) > abs(x) else name
        ax.text(x, y, text, ha=sideways, va=upright, fontsize="small")


def _period(ds: Any, band: int) -> float:
    """Period in s in the middle of a band; NaN where its limits are not known."""
    if "band_low_hz" not in ds.coords:
        return float("nan")
    return float(1 / np.sqrt(ds["band_low_hz"].values[band] * ds["band_high_hz"].values[band]))
