"""Pictures: the scalogram of one pair, and what the dyads of a study and their null look like."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from .drawing import MISSING, NULL, QUIET, REAL, finite_mean, label_ticks, new_axes, plain, position, tidy
from .scalogram import wtc as wtc
from .wording import ALPHA, criterion

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

    from .results import Result

COHERENCE = "coherence (magnitude-squared)"
# value: (variable of the group, variable of one row, words)
_VALUES = {
    "coherence": ("group_statistic", "coherence", COHERENCE),
    "z": ("group_z", "z", "z against the null"),
}
_MOST_BARS = 40
_MOST_LABELS = 24


def band_summary(result: Result | xr.Dataset, ax: Axes | None = None, *, epoch: int | str = 0) -> Axes:
    """
    Coherence by band: every dyad beside the mean of its own null, and the means over dyads.

    Parameters
    ----------
    result : Result or xarray.Dataset
        A result, or real synchrony (then only the real values are drawn).
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure if left out.
    epoch : int or str
        Position or label.

    Returns
    -------
    matplotlib.axes.Axes
        Coherence (magnitude-squared, mean over channel pairs) against band.
    """
    ds = _dataset(result)
    chosen = ds.isel(epoch=position(ds, "epoch", epoch))
    ax = ax if ax is not None else new_axes(5.5, 4)
    real = _over_pairs(chosen["coherence"])
    if "null_mean" in chosen:
        null = _over_pairs(chosen["null_mean"])
        for band in range(ds.sizes["band"]):
            ax.plot([band - 0.16, band + 0.16], [null[:, band], real[:, band]], color=QUIET, lw=0.7, alpha=0.4)
        partners = "mean of own re-paired partners" if ds.attrs.get("null_kind") == "repair" else "mean of own null"
        _draw_dots(ax, null, shift=-0.16, color=NULL, marker="s", label=partners)
    _draw_dots(ax, real, shift=0.16, color=REAL, marker="o", label="real partners")
    ax.set_xticks(range(ds.sizes["band"]), _band_labels(ds))
    ax.set_xlim(-0.5, ds.sizes["band"] - 0.5)
    ax.set_ylabel(COHERENCE)
    ax.margins(y=0.06)
    ax.legend(
        fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False, handletextpad=0.2
    )
    _set_title(ax, ds, epoch=epoch, pad=24)
    tidy(ax)
    return ax


def _draw_dots(ax: Axes, values: np.ndarray[Any, Any], *, shift: float, color: str, **style: Any) -> None:
    """One mark per row and band, and a bar at each mean; values: float [row, band]."""
    bands = np.arange(values.shape[1]) + shift
    ax.scatter(
        np.tile(bands, len(values)), values.ravel(), s=18, color=color, alpha=0.6, linewidth=0, zorder=3, **style
    )
    means = [finite_mean(values[:, band]) for band in range(len(bands))]
    ax.hlines(means, bands - 0.1, bands + 0.1, color=color, linewidth=3, zorder=4)


def pair_matrix(
    result: Result | xr.Dataset,
    ax: Axes | None = None,
    *,
    value: str = "z",
    epoch: int | str = 0,
    band: int | str = 0,
) -> Axes:
    """
    Channel-by-channel matrix of the group; a dot marks what survives correction at 0.05.

    Parameters
    ----------
    result : Result or xarray.Dataset
        A result, or real synchrony (then the mean over dyads is drawn, and `value` must be "coherence").
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure if left out.
    value : {"z", "coherence"}
        z of the group statistic against its null, or the statistic itself.
    epoch, band : int or str
        Position or label.

    Returns
    -------
    matplotlib.axes.Axes
        Channels of person a downwards, of person b to the right.
    """
    ds = _dataset(result)
    chosen = ds.isel(epoch=position(ds, "epoch", epoch), band=position(ds, "band", band))
    ax = ax if ax is not None else new_axes(5, 4.4)
    group, row, words = _VALUES[value]
    matrix = (chosen[group] if group in chosen else chosen[row].mean("dyad")).transpose("channel_a", "channel_b")
    _draw_matrix(ax, matrix.to_numpy(), signed=value == "z", label=words)
    if "p" in chosen:
        kept = chosen[criterion(ds)[0]].transpose("channel_a", "channel_b").to_numpy() <= ALPHA
        rows, columns = np.nonzero(kept)
        ax.scatter(columns, rows, s=22, color="black", edgecolor="white", linewidth=0.8)
    label_ticks(ax.xaxis, [str(label) for label in ds["channel_b"].values], most=_MOST_LABELS, rotation=90)
    label_ticks(ax.yaxis, [str(label) for label in ds["channel_a"].values], most=_MOST_LABELS)
    ax.set(xlabel="channel of person b", ylabel="channel of person a")
    _set_title(ax, ds, epoch=epoch, band=band)
    return ax


def dyad_matrix(
    result: Result | xr.Dataset,
    ax: Axes | None = None,
    *,
    value: str = "z",
    epoch: int | str = 0,
    band: int | str = 0,
) -> Axes:
    """
    Dyads against channel pairs: who is synchronous, and where.

    Parameters
    ----------
    result : Result or xarray.Dataset
        A result, or real synchrony (then `value` must be "coherence").
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure if left out.
    value : {"z", "coherence"}
        z of each row against its own null, or its coherence.
    epoch, band : int or str
        Position or label.

    Returns
    -------
    matplotlib.axes.Axes
        One row per dyad and session, one column per channel pair that has any value.
    """
    ds = _dataset(result)
    chosen = ds.isel(epoch=position(ds, "epoch", epoch), band=position(ds, "band", band))
    ax = ax if ax is not None else new_axes(7, 4.4)
    _, variable, words = _VALUES[value]
    cells = chosen[variable].transpose("dyad", "channel_a", "channel_b").to_numpy()
    flat = cells.reshape(len(cells), -1)
    used = np.isfinite(flat).any(0)
    _draw_matrix(ax, flat[:, used], signed=value == "z", label=words)
    pairs = [f"{a}–{b}" for a in ds["channel_a"].values for b in ds["channel_b"].values]
    shown = [pair for pair, keep in zip(pairs, used, strict=True) if keep]
    label_ticks(ax.xaxis, shown, most=18, rotation=90)
    label_ticks(ax.yaxis, row_labels(ds), most=_MOST_LABELS)
    ax.set_xlabel(f"channel pair (a–b), {len(shown)} in all")
    _set_title(ax, ds, epoch=epoch, band=band)
    return ax


def _draw_matrix(ax: Axes, values: np.ndarray[Any, Any], *, signed: bool, label: str) -> None:
    import matplotlib as mpl

    finite = values[np.isfinite(values)]
    colors = mpl.colormaps["RdBu_r" if signed else "viridis"].with_extremes(bad=MISSING)
    largest = float(np.abs(finite).max()) if finite.size else 1.0
    limits = (-largest, largest) if signed else (0.0, float(finite.max()) if finite.size else 1.0)
    image = ax.imshow(values, cmap=colors, vmin=limits[0], vmax=limits[1], aspect="auto", interpolation="nearest")
    ax.figure.colorbar(image, ax=ax, label=label, fraction=0.06, pad=0.02)


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
        Number of draws against coherence.
    """
    ds = _dataset(result)
    chosen = ds.isel(epoch=position(ds, "epoch", epoch), band=position(ds, "band", band))
    ax = ax if ax is not None else new_axes(5, 3.6)
    observed = finite_mean(chosen["group_statistic"].to_numpy())
    edges, counts = _bars(_bin_edges(ds), chosen["null_hist"].to_numpy())
    ax.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color=NULL, alpha=0.75, linewidth=0)
    _draw_observed(ax, observed)
    ax.set(xlabel=f"{COHERENCE},\nmean over dyads and channel pairs", ylabel="draws of the null")
    _set_title(ax, ds, epoch=epoch, band=band)
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
    ds = _dataset(result)
    ax = ax if ax is not None else new_axes(5, 3.6)
    null = ds["null_max"].to_numpy()
    ax.hist(null[np.isfinite(null)], bins=_MOST_BARS, color=NULL, alpha=0.75)
    _draw_observed(ax, float(ds["group_z"].max()))
    ax.set(xlabel="largest z over channel pairs, bands and epochs", ylabel="draws of the null")
    ax.set_title("all features", fontsize="medium", loc="left")
    tidy(ax)
    return ax


def _draw_observed(ax: Axes, observed: float) -> None:
    if not np.isfinite(observed):
        return
    ax.axvline(observed, color=REAL, linewidth=2.2)
    left, right = ax.get_xlim()
    near_right = observed > (left + right) / 2
    ax.annotate(
        f"observed {observed:.3g}",
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


def session_slopes(
    result: Result | xr.Dataset, ax: Axes | None = None, *, epoch: int | str = 0, band: int | str = 0
) -> Axes:
    """
    Coherence over sessions: a line per dyad, the mean over dyads, and the mean of the null.

    Parameters
    ----------
    result : Result or xarray.Dataset
        A result, or real synchrony, with a coordinate `session` on its dyad rows.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure if left out.
    epoch, band : int or str
        Position or label.

    Returns
    -------
    matplotlib.axes.Axes
        Coherence (magnitude-squared, mean over channel pairs) against session, in natural order of the labels.
    """
    ds = _dataset(result)
    chosen = ds.isel(epoch=position(ds, "epoch", epoch), band=position(ds, "band", band))
    ax = ax if ax is not None else new_axes(5, 3.8)
    sessions = session_labels(ds)
    real = _by_session(chosen["coherence"], sessions)
    order = np.arange(len(sessions))
    ax.plot(order, real.T, color=REAL, linewidth=0.9, alpha=0.35, marker="o", markersize=2.5)
    ax.plot(order, [finite_mean(column) for column in real.T], color=REAL, lw=3, marker="o", label="real, mean")
    if "null_mean" in chosen:
        null = _by_session(chosen["null_mean"], sessions)
        ax.plot(order, [finite_mean(column) for column in null.T], color=NULL, lw=2, ls="--", label="null, mean")
    label_ticks(ax.xaxis, sessions, most=12)
    ax.set(xlabel="session", ylabel=COHERENCE)
    ax.legend(fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False)
    _set_title(ax, ds, epoch=epoch, band=band, pad=24)
    tidy(ax)
    return ax


def session_labels(ds: xr.Dataset) -> list[str]:
    """Labels of the sessions in natural order: 2 before 10."""
    labels = {str(label) for label in ds["session"].values} if "session" in ds.coords else set()
    return sorted(labels, key=lambda label: [int(t) if t.isdecimal() else t for t in re.split(r"([0-9]+)", label)])


def _by_session(values: xr.DataArray, sessions: list[str]) -> np.ndarray[Any, Any]:
    """Mean over channel pairs per dyad and session; NaN where a dyad has no such session: float [dyad, session]."""
    rows = values.mean(("channel_a", "channel_b")).to_numpy()
    dyads = list(dict.fromkeys(values["dyad"].values.tolist()))
    table = np.full((len(dyads), len(sessions)), np.nan)
    for dyad, session, row in zip(values["dyad"].values.tolist(), values["session"].values, rows, strict=True):
        table[dyads.index(dyad), sessions.index(str(session))] = row
    return table


def row_labels(ds: xr.Dataset) -> list[str]:
    """One label per row: the dyad, with its session where dyads have several."""
    dyads = [str(label) for label in ds["dyad"].values]
    if len(set(dyads)) == len(dyads) or "session" not in ds.coords:
        return dyads
    return [f"{dyad} {session}" for dyad, session in zip(dyads, ds["session"].values, strict=True)]


def _dataset(result: Any) -> xr.Dataset:
    dataset: xr.Dataset = getattr(result, "dataset", result)
    return dataset


def _over_pairs(values: xr.DataArray) -> np.ndarray[Any, Any]:
    """Mean over channel pairs: float [dyad, band]."""
    return values.mean(("channel_a", "channel_b")).transpose("dyad", "band").to_numpy()


def _band_labels(ds: xr.Dataset) -> list[str]:
    labels = [plain(label, limit=16) for label in ds["band"].values]
    if "band_low_hz" not in ds.coords:
        return labels
    limits = zip(labels, ds["band_low_hz"].values, ds["band_high_hz"].values, strict=True)
    return [f"{label}\n{low:.3g}–{high:.3g} Hz" for label, low, high in limits]


def _set_title(ax: Axes, ds: xr.Dataset, *, pad: float | None = None, **chosen: int | str) -> None:
    """Labels of the chosen epoch and band, where there is more than one to choose from."""
    words = [f"{dim} {plain(ds[dim].values[position(ds, dim, which)], limit=18)}" for dim, which in chosen.items()]
    ax.set_title(", ".join(words), fontsize="medium", loc="left", pad=pad)
