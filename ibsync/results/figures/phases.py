"""Who leads: phases of the dyads around a circle, with the lag that each phase is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import PlanError
from ..layout import tested_values
from ..wording import rows_in_words
from .drawing import QUIET, REAL, of_task, place_of, plain, set_title
from .panel import panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..result import Result

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
    """
    ds = of_task(result.dataset, task, shift)
    if "phase" not in ds:
        raise PlanError("plot.phase_rose: the result holds no phases; give one of wavelet coherence")
    here = ds.isel(place_of(ds, epoch, band))
    if pair is None:
        mean = tested_values(here).mean("dyad").transpose("channel_a", "channel_b").to_numpy()
        a, b = np.unravel_index(int(np.argmax(np.nan_to_num(mean, nan=-np.inf))), mean.shape)
        pair = str(ds["channel_a"].values[a]), str(ds["channel_b"].values[b])
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
    unit = rows_in_words(ds) if len(set(ds["dyad"].values.tolist())) < ds.sizes["dyad"] else "dyads"
    told = f"{len(phase)} {unit}, mean direction {np.degrees(np.angle(direction)):.0f}°, length {abs(direction):.2f}"
    ax.text(0.5, 0.0, told, transform=ax.transAxes, ha="center", va="top", fontsize="small", color="#444444")
    set_title(ax, ds, pair=(plain(pair[0]), plain(pair[1])), epoch=epoch, band=band)


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
