"""What the dyads of a study and their null look like: by band, by channel pair, dyad by dyad."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..findings import Criterion, is_tested
from ..layout import row_labels, tested_values
from ..wording import names_in, statistic_in_words, value_in_words
from .drawing import (
    GROUPS,
    NULL,
    QUIET,
    REAL,
    axis_label,
    draw_matrix,
    draw_pairs,
    finite_mean,
    label_ticks,
    of_pair,
    of_task,
    place_of,
    plain,
    position,
    room_for,
    set_title,
    tidy,
    value_limits,
    z_limits,
)
from .panel import panel

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

    from ..result import Result

_Z = "z against the null"
_MOST_JOINED = 60
_MOST_NAMED = 4
_MOST_PAIRS = 150


@panel(5.5, 4)
def band_summary(
    result: Result,
    ax: Axes,
    *,
    task: int | str = 0,
    epoch: int | str = 0,
    pair: tuple[str, str] | None = None,
    shift: float | None = None,
) -> None:
    """
    Synchrony by band: every dyad beside the mean of its own null, and the means over dyads, or over each group.

    Returns
    -------
    matplotlib.axes.Axes
        What the result holds of each dyad against band.

    Examples
    --------
    >>> plot.band_summary(result)
    """
    ds = of_task(result.dataset, task, shift)
    chosen = of_pair(ds.isel(epoch=position(ds, "epoch", epoch)), pair)
    real, groups = _over_pairs(tested_values(chosen)), names_in(ds.attrs, "between")
    aside = 0.16 if "null_mean" in chosen else 0.0
    if "null_mean" in chosen:
        null = _over_pairs(chosen["null_mean"])
        for band in range(ds.sizes["band"]) if len(real) <= _MOST_JOINED else ():
            ax.plot([band - 0.16, band + 0.16], [null[:, band], real[:, band]], color=QUIET, lw=0.7, alpha=0.4)
        partners = "mean of own re-paired partners" if ds.attrs.get("null_kind") == "repair" else "mean of own null"
        _draw_dots(ax, null, shift=-0.16, color=NULL, marker="s", label=partners)
    if len(groups) == 2:
        for group, side, color, marker in zip(groups, (-0.16, 0.16), GROUPS, "os", strict=False):
            own = real[ds["group"].values.astype(str) == group]
            _draw_dots(ax, own, shift=side, color=color, marker=marker, label=group)
    else:
        _draw_dots(ax, real, shift=aside, color=REAL, marker="o", label="real partners")
    ax.set_xticks(range(ds.sizes["band"]), _band_labels(ds))
    if ds.sizes["band"] > _MOST_NAMED:
        ax.tick_params("x", labelrotation=60, labelsize="x-small")
    ax.set_xlim(-0.5, ds.sizes["band"] - 0.5)
    ax.set_ylabel(axis_label(value_in_words(ds)))
    ax.margins(y=0.06)
    ax.legend(
        fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False, handletextpad=0.2
    )
    set_title(ax, ds, pad=24, pair=pair, epoch=epoch)
    tidy(ax)


def _draw_dots(ax: Axes, values: np.ndarray[Any, Any], *, shift: float, color: str, **style: Any) -> None:
    """One mark per row and band, side by side if they are many, and a bar at each mean; values: float [row, band]."""
    bands = np.arange(values.shape[1]) + shift
    many = len(values) > _MOST_JOINED
    aside = 0.22 * np.modf(0.618034 * np.arange(len(values)))[0] - 0.11 if many else np.zeros(len(values))
    drawn: dict[str, Any] = {"s": 7, "alpha": 0.45} if many else {"s": 18, "alpha": 0.6}
    ax.scatter((bands + aside[:, None]).ravel(), values.ravel(), color=color, linewidth=0, zorder=3, **drawn, **style)
    means = [finite_mean(values[:, band]) for band in range(len(bands))]
    ax.hlines(means, bands - 0.1, bands + 0.1, color=color, linewidth=3, zorder=4)


@panel(5, 4.4)
def pair_matrix(
    result: Result,
    ax: Axes,
    *,
    show: str = "z",
    task: int | str = 0,
    epoch: int | str = 0,
    band: int | str = 0,
    shift: float | None = None,
) -> None:
    """
    Channel-by-channel matrix of the group; a dot marks what survives correction at the level of the test.

    Returns
    -------
    matplotlib.axes.Axes
        Channels of person a downwards, of person b to the right; bars where only channels of the same name were paired.

    Examples
    --------
    >>> plot.pair_matrix(result)
    """
    ds = of_task(result.dataset, task, shift)
    place = place_of(ds, epoch, band)
    group, words = ("group_z", _Z) if show == "z" else ("group_statistic", axis_label(statistic_in_words(ds)))
    every = ds[group] if group in ds else tested_values(ds).mean("dyad")
    passed = Criterion.of(ds).passed(ds).isel(place) if is_tested(ds) else None
    limits = z_limits(every) if show == "z" else value_limits(every)
    draw_pairs(ax, ds, every.isel(place), passed, limits=limits, label=words, mark=_dots)
    set_title(ax, ds, epoch=epoch, band=band)


def _dots(ax: Axes, cells: np.ndarray[Any, Any]) -> None:
    rows, columns = np.nonzero(cells)
    ax.scatter(columns, rows, s=22, color="black", edgecolor="white", linewidth=0.8)


@panel(7, 4.4)
def dyad_matrix(
    result: Result,
    ax: Axes,
    *,
    show: str = "z",
    task: int | str = 0,
    epoch: int | str = 0,
    band: int | str = 0,
    shift: float | None = None,
) -> None:
    """
    Dyads against channel pairs: who is synchronous, and where.

    Returns
    -------
    matplotlib.axes.Axes
        One row per dyad and session, one column per channel pair that has any value; of more than 150 those of the
        largest mean over rows.

    Examples
    --------
    >>> plot.dyad_matrix(result)
    """
    ds = of_task(result.dataset, task, shift)
    every, words = (ds["z"], _Z) if show == "z" else (tested_values(ds), axis_label(value_in_words(ds)))
    place = place_of(ds, epoch, band)
    cells = every.isel(place).transpose("dyad", "channel_a", "channel_b").to_numpy()
    flat = cells.reshape(len(cells), -1)
    used = np.isfinite(flat).any(0) | ~np.isfinite(flat).any()
    n_used = int(used.sum())
    if n_used > _MOST_PAIRS:
        size = np.nan_to_num(np.abs([finite_mean(column) for column in flat.T]), nan=-1.0)
        used &= np.isin(np.arange(len(size)), np.argsort(-size, kind="stable")[:_MOST_PAIRS])
    draw_matrix(ax, flat[:, used], limits=z_limits(every) if show == "z" else value_limits(every), label=words)
    pairs = [f"{a}–{b}" for a in ds["channel_a"].values for b in ds["channel_b"].values]
    shown = [pair for pair, keep in zip(pairs, used, strict=True) if keep]
    label_ticks(ax.xaxis, shown, most=room_for(ax, "x", 11), rotation=90)
    repeated = len(set(ds["dyad"].values.tolist())) < ds.sizes["dyad"]
    label_ticks(ax.yaxis, row_labels(ds, ["session"] * repeated, " "), most=room_for(ax, "y"))
    ax.set_xlabel(
        f"channel pair (a–b), {f'the {len(shown)} of the largest mean, ' * (len(shown) < n_used)}{n_used} in all"
    )
    set_title(ax, ds, epoch=epoch, band=band)


def _over_pairs(values: xr.DataArray) -> np.ndarray[Any, Any]:
    """Mean over channel pairs: float [dyad, band]."""
    return values.mean(("channel_a", "channel_b")).transpose("dyad", "band").to_numpy()


def _band_labels(ds: xr.Dataset) -> list[str]:
    labels = [plain(label, limit=16) for label in ds["band"].values]
    if "band_low_hz" not in ds.coords or len(labels) > _MOST_NAMED:
        return labels
    limits = zip(labels, ds["band_low_hz"].values, ds["band_high_hz"].values, strict=True)
    return [f"{label}\n{low:.3g}–{high:.3g} Hz" for label, low, high in limits]
