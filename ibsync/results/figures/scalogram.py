"""The scalogram of one pair, drawn as the users of Grinsted's program expect it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import PlanError
from ..result import Result
from .drawing import new_axes, plain, position

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

ARROWS = "arrows: right in phase, left anti-phase, down a leads by 90°, up b leads by 90°"
_PAIR = ("channel_a", "channel_b")
_MOST_COLUMNS = 2000
_ARROW_GRID = (32, 20)
_CONE: dict[str, Any] = {"facecolor": (1, 1, 1, 0.6), "edgecolor": (0.3, 0.3, 0.3, 0.55), "hatch": "///", "lw": 0.0}


def wtc(
    ds: xr.Dataset | Result, ax: Axes | None = None, *, pair: int | tuple[str, str] = 0, threshold: float = 0.5
) -> Axes:
    """
    Scalogram of one channel pair: coherence over time and period, cone of influence, phase arrows.

    Arrows follow Grinsted, Moore & Jevrejeva (2004) and their program: right is in phase, left anti-phase, down means
    that `a` leads by 90°, up that `b` does. They come from the phase of the smoothed product, where that program
    draws the phase of the unsmoothed one. What lies beyond the cone of influence is pale and hatched: do not read it.
    A thick black line surrounds what exceeds `significance_level`, if the dataset has one.

    Parameters
    ----------
    ds : xarray.Dataset or Result
        Maps of `ibs.wtc`, or a result of `ibsync run`, which holds those of its strongest pair: coherence (0..1,
        magnitude-squared) and phase (rad, positive: a leads), each float [channel_a, channel_b, freq, time], with
        coordinates period [s], time [s] and coi [s] (longest valid period per time). With significance_level, float
        [channel_a, channel_b, freq], its contour is drawn.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure if left out.
    pair : int or (str, str)
        Position in the flattened (channel_a, channel_b), or the two labels.
    threshold : float
        Arrows stand where coherence is at least this.

    Returns
    -------
    matplotlib.axes.Axes
        Period in s, logarithmic, growing downwards; frequency in Hz on the right.

    Raises
    ------
    PlanError
        If the dataset holds no maps, or has no such pair.

    Examples
    --------
    >>> plot.wtc(wtc(a, b, sfreq=10.0, fmin=0.05, fmax=0.5))
    """
    maps = _one_map(ds.maps if isinstance(ds, Result) else ds, pair)
    ax = ax if ax is not None else new_axes(8.5, 4.6)
    shown = _thin_time(maps)
    image = ax.pcolormesh(
        shown["time"].to_numpy(),
        shown["period"].to_numpy(),
        np.ma.masked_invalid(shown["coherence"].to_numpy()),
        shading="nearest",
        cmap="viridis",
        vmin=0.0,
        vmax=1.0,
        rasterized=True,
    )
    if "significance_level" in maps:
        _draw_contour(ax, shown)
    _draw_phase_arrows(ax, maps, threshold)
    _draw_cone(ax, maps)
    _set_period_axis(ax, maps["period"].to_numpy())
    ax.set_xlim(float(maps["time"][0]), float(maps["time"][-1]))
    ax.set(xlabel="time (s)", ylabel="period (s)")
    _set_title(ax, maps)
    pad = 0.02 if ax.figure.get_layout_engine() else 0.12  # without a layout engine, leave room for the frequency axis
    ax.figure.colorbar(image, ax=ax, label="coherence (magnitude-squared)", pad=pad, fraction=0.05)
    return ax


def _one_map(ds: xr.Dataset, pair: int | tuple[str, str]) -> xr.Dataset:
    if not hasattr(ds, "data_vars"):
        raise PlanError(f"plot.wtc: draws what ibs.wtc returned, got {type(ds).__name__}")
    if "coherence" not in ds or not {"freq", "time"} <= set(ds["coherence"].dims):
        raise PlanError('plot.wtc: no maps over time in the dataset; ask for them with ibs.wtc(..., grid="full")')
    if "channel_a" not in ds.dims:
        return ds.transpose("freq", "time", ...)
    a, b = _pair_positions(ds, pair)
    return ds.isel(channel_a=a, channel_b=b).transpose("freq", "time", ...)


def _pair_positions(ds: xr.Dataset, pair: int | tuple[str, str]) -> tuple[int, int]:
    if isinstance(pair, tuple):
        return position(ds, "channel_a", pair[0]), position(ds, "channel_b", pair[1])
    n_pairs = ds.sizes["channel_a"] * ds.sizes["channel_b"]
    if not 0 <= pair < n_pairs:
        raise PlanError(f"plot.wtc: pair {pair} does not exist; give a number from 0 to {n_pairs - 1}, or two labels")
    return divmod(pair, ds.sizes["channel_b"])


def _thin_time(maps: xr.Dataset) -> xr.Dataset:
    """Block means over time where the map has more columns than a page can show."""
    step = -(-maps.sizes["time"] // _MOST_COLUMNS)
    shown = maps[[name for name in ("coherence", "significance_level") if name in maps]]
    return shown if step == 1 else shown.coarsen(time=step, boundary="trim").mean()


def _draw_contour(ax: Axes, shown: xr.Dataset) -> None:
    level = shown["significance_level"].to_numpy()[:, None]
    above = np.ma.masked_invalid(shown["coherence"].to_numpy() - level)
    time, period = shown["time"].to_numpy(), shown["period"].to_numpy()
    if above.count() and above.max() > 0 > above.min():
        ax.contour(time, period, above, levels=[0.0], colors="black", linewidths=2.0, linestyles="solid", zorder=2.5)


def _draw_phase_arrows(ax: Axes, maps: xr.Dataset, threshold: float) -> None:
    """Arrows on a grid: on the page x is cos(phase) and y is -sin(phase), whichever way the axis runs."""
    rows, columns = _grid(maps.sizes["freq"], _ARROW_GRID[1]), _grid(maps.sizes["time"], _ARROW_GRID[0])
    grid = maps.isel(freq=rows, time=columns)
    phase, coherence = grid["phase"].to_numpy(), grid["coherence"].to_numpy()
    shown = (coherence >= threshold) & np.isfinite(phase)
    time, period = np.meshgrid(grid["time"].to_numpy(), grid["period"].to_numpy())
    ax.quiver(
        time[shown],
        period[shown],
        np.cos(phase[shown]),
        -np.sin(phase[shown]),
        angles="uv",
        pivot="middle",
        scale=38,
        width=0.0024,
        headwidth=4.5,
        headlength=5,
        color="black",
        zorder=2,
    )


def _grid(size: int, count: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    step = max(1, round(size / count))
    return np.arange(step // 2, size, step)


def _draw_cone(ax: Axes, maps: xr.Dataset) -> None:
    if "coi" not in maps.variables:
        return
    time, period = maps["time"].to_numpy(), maps["period"].to_numpy()
    longest = np.clip(maps["coi"].to_numpy(), period.min(), period.max())
    ax.fill_between(time, longest, period.max(), **_CONE, zorder=3)
    ax.plot(time, longest, color="white", linewidth=1.2, zorder=4)


def _set_period_axis(ax: Axes, period: np.ndarray[Any, Any]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    ax.set_yscale("log", base=2)
    ax.set_ylim(float(period.max()), float(period.min()))
    twin = ax.secondary_yaxis("right", functions=(_reciprocal, _reciprocal))
    for axis, locator in ((ax.yaxis, LogLocator(base=2)), (twin.yaxis, LogLocator(base=10, subs=(1, 2, 5)))):
        axis.set_major_locator(locator)
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_locator(NullLocator())
    twin.set_ylabel("frequency (Hz)")


def _reciprocal(value: Any) -> Any:
    # The limits of a new axis include 0, before the real ones are set.
    with np.errstate(divide="ignore"):
        return 1.0 / np.asarray(value, dtype=float)


def _set_title(ax: Axes, maps: xr.Dataset) -> None:
    legend = ARROWS
    if "significance_level" in maps:
        legend += f"\nthick line: {_level_words(maps['significance_level'].attrs)}, each cell on its own"
    ax.text(0.0, 1.015, legend, transform=ax.transAxes, fontsize="small", color="#444444", va="bottom")
    if "channel_a" in maps.coords:
        a, b = (plain(maps[dim].item()) for dim in _PAIR)
        ax.set_title(f"a: {a}    b: {b}" + "\n" * (1 + legend.count("\n")), fontsize="medium", loc="left")


def _level_words(attrs: dict[str, Any]) -> str:
    null = {"ar1": "AR(1) noise", "phase": "phase-randomised b"}.get(attrs.get("family", ""), "the null")
    return f"{attrs['level']:.0%} level of {null}" if "level" in attrs else f"level of {null}"
