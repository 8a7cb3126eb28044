"""Which channel of one person goes with which of the other: lines between two heads, and across a circle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import PlanError
from ..findings import Criterion, is_tested
from ..layout import tested_values
from ..wording import settings, value_in_words
from .drawing import QUIET, of_task, place_of, plain, set_title
from .panel import panel

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

    from ..result import Result

Floats = np.ndarray[Any, np.dtype[np.float64]]
_Positions = dict[str, dict[str, Sequence[float | None]]]

# The ends of the colours of matrices: above and below the null.
_ABOVE, _BELOW = "#b2182b", "#2166ac"
_MOST_LINES = 30
_FEWEST_LINES = 8
_ON_A_HEAD_MM = (40.0, 160.0)
_GAP = 2.5


@dataclass(frozen=True)
class _Links:
    """
    The strongest channel pairs of a panel.

    Parameters
    ----------
    pairs : list of (int, int)
        Channels of a and b, the strongest last, so that it is drawn on top.
    strength : float64 [pair]
        Size of what is compared, and its sign.
    passed : bool [pair]
    counts : (float64 [channel_a], float64 [channel_b])
        How many pairs of each channel pass.
    told : str
        What is drawn, of how many.
    """

    pairs: list[tuple[int, int]]
    strength: Floats
    passed: np.ndarray[Any, np.dtype[np.bool_]]
    counts: tuple[Floats, Floats]
    told: str


@panel(5.2, 3.6)
def heads(
    result: Result,
    ax: Axes,
    *,
    task: int | str = 0,
    epoch: int | str = 0,
    band: int | str = 0,
    shift: float | None = None,
) -> None:
    """
    Two heads from above, noses up, with lines between the channels that go together.

    Returns
    -------
    matplotlib.axes.Axes
        Person a on the left. Lines are the channel pairs that pass the test, at most the strongest thirty; where fewer
        than eight pass, the strongest others are pale. The larger a dot, the more pairs of that channel pass.
        Positions are those of the study file; of fNIRS the middle between source and detector.

    Raises
    ------
    PlanError
        If the result holds no positions, or there is no such feature.

    Examples
    --------
    >>> plot.heads(result)
    """
    ds = of_task(result.dataset, task, shift)
    if not has_positions(ds):
        raise PlanError(
            "plot.heads: the result holds no positions of its channels; pack files that have them (SNIRF, FIF), or "
            "draw ibs.plot.connectogram"
        )
    links = _links(ds, place_of(ds, epoch, band))
    known = positions_in(ds.attrs)
    sides, is_head = [], True
    for side in "ab":
        places = np.array([known[side].get(str(name), [np.nan] * 3) for name in ds[f"channel_{side}"].values], float)
        flat, on_head = _from_above(places)
        sides.append(flat)
        is_head &= on_head
    sides[1] = sides[1] + np.array([_GAP, 0.0])
    for side, x in zip("ab", (0.0, _GAP), strict=True):
        _draw_head(ax, x, is_head)
        ax.text(x, -1.18, f"person {side}", ha="center", va="top", fontsize="small")
    _draw_lines(ax, links, *sides)
    _draw_channels(ax, links, sides)
    ax.set(xlim=(-1.25, _GAP + 1.25), ylim=(-1.45, 1.3), aspect="equal")
    ax.axis("off")
    _tell(ax, links.told, "" if is_head else "layout of the probe; where it lies on the head is not known")
    set_title(ax, ds, epoch=epoch, band=band)


@panel(5.2, 5.4)
def connectogram(
    result: Result,
    ax: Axes,
    *,
    task: int | str = 0,
    epoch: int | str = 0,
    band: int | str = 0,
    shift: float | None = None,
) -> None:
    """
    Channels or regions of two people on the halves of a circle, with lines between those that go together.

    Returns
    -------
    matplotlib.axes.Axes
        Person a on the left, both from the top downwards. Lines as in `heads`.

    Raises
    ------
    PlanError
        If there is no such feature.

    Examples
    --------
    >>> plot.connectogram(result)
    """
    ds = of_task(result.dataset, task, shift)
    links = _links(ds, place_of(ds, epoch, band))
    sides = []
    for side, start, end in (("a", 98.0, 262.0), ("b", 82.0, -82.0)):
        names = [plain(name, limit=12) for name in ds[f"channel_{side}"].values]
        step = (end - start) / len(names)
        angles = np.radians(start + step * (np.arange(len(names)) + 0.5))
        sides.append(np.column_stack([np.cos(angles), np.sin(angles)]))
        _name_channels(ax, names, angles)
        ax.text(-0.9 if side == "a" else 0.9, 1.28, f"person {side}", ha="center", fontsize="small", weight="bold")
    _draw_lines(ax, links, *sides, bent=True)
    _draw_channels(ax, links, sides)
    ax.set(xlim=(-1.45, 1.45), ylim=(-1.45, 1.45), aspect="equal")
    ax.axis("off")
    _tell(ax, links.told)
    set_title(ax, ds, epoch=epoch, band=band)


def positions_in(attrs: Mapping[Any, Any]) -> _Positions:
    """Positions in mm by the side of a dyad ("a", "b") and the channel or region; empty where none are known."""
    known: _Positions = settings(attrs, "positions_mm")
    of_whom = settings(attrs, "rois").get("of", {})
    for side, places in known.items():
        for who in ("", side):
            for region, members in of_whom.get(who, {}).items():
                found = [places[channel] for channel in members if channel in places]
                if found:
                    places[region] = np.mean(np.array(found, float), axis=0).tolist()
    return known


def has_positions(ds: xr.Dataset) -> bool:
    """Whether the positions of at least three channels of either person are known."""
    known = positions_in(ds.attrs)
    return all(sum(str(name) in known.get(side, {}) for name in ds[f"channel_{side}"].values) >= 3 for side in "ab")


def _links(ds: xr.Dataset, place: Mapping[str, int]) -> _Links:
    tested = is_tested(ds)
    every = (ds["group_z"] if tested else tested_values(ds).mean("dyad")).isel(place)
    strength = every.transpose("channel_a", "channel_b").to_numpy()
    passed = np.zeros(strength.shape, bool)
    if tested:
        passed = Criterion.of(ds).passed(ds).isel(place).transpose("channel_a", "channel_b").to_numpy()
    # What passes stands before what does not, whatever its size.
    rank = np.nan_to_num(np.abs(strength), nan=-1.0) + 1e6 * passed
    n_passed, n = int(passed.sum()), int(np.isfinite(strength).sum())
    shown = min(max(n_passed, _FEWEST_LINES), _MOST_LINES, n)
    best = np.argsort(rank, axis=None, kind="stable")[::-1][:shown][::-1]
    at = np.unravel_index(best, strength.shape)
    what = f"z; {Criterion.of(ds)}" if tested else value_in_words(ds)
    told = f"{n_passed} of {n} pairs pass ({what})" if tested else f"the {shown} largest of {n} pairs ({what})"
    told += f"; the strongest {shown} are drawn" * (n_passed > shown)
    counts = passed.sum(axis=1).astype(float), passed.sum(axis=0).astype(float)
    return _Links(list(zip(*map(np.ndarray.tolist, at), strict=True)), strength[at], passed[at], counts, told)


def _draw_lines(ax: Axes, links: _Links, a: Floats, b: Floats, *, bent: bool = False) -> None:
    """Red above the null, blue below; pale where the test does not pass. a, b: float64 [channel, 2]."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    largest = float(np.abs(links.strength).max(initial=1e-12))
    for (i, j), size, passed in zip(links.pairs, links.strength, links.passed, strict=True):
        ends = np.array([a[i], b[j]])
        if not np.isfinite(ends).all():
            continue
        middle = np.zeros(2) if bent else ends.mean(axis=0) + np.array([0.0, 0.25])
        path = Path([ends[0], middle, ends[1]], [Path.MOVETO, Path.CURVE3, Path.CURVE3])
        color = (_ABOVE if size > 0 else _BELOW) if passed else QUIET
        width = 0.6 + 2.4 * abs(size) / largest if passed else 0.8
        style = {"edgecolor": color, "linewidth": width, "alpha": 0.85 if passed else 0.4}
        ax.add_patch(PathPatch(path, facecolor="none", zorder=3 if passed else 2, **style))


def _draw_channels(ax: Axes, links: _Links, sides: Sequence[Floats]) -> None:
    """A dot for each channel, its area the larger the more pairs of it pass."""
    most = max(float(counts.max(initial=1.0)) for counts in links.counts)
    for flat, counts in zip(sides, links.counts, strict=True):
        ax.scatter(flat[:, 0], flat[:, 1], s=10 + 40 * counts / most, color="black", linewidth=0, zorder=4)


def _tell(ax: Axes, *lines: str) -> None:
    """Words below a picture that has no axes."""
    words = "\n".join(fill(line, 78) for line in lines if line)
    ax.text(0.5, 0.0, words, transform=ax.transAxes, ha="center", va="top", fontsize="small", color="#444444")


def _from_above(places: Floats) -> tuple[Floats, bool]:
    """
    Positions seen from above in a head of radius 1, and whether they lie on a head.

    Distances from the top of the head are kept along the surface (azimuthal, equidistant), the ears being at 1. What
    is flat, or not about the origin, is a probe whose place is not known: it is centred and scaled.

    Parameters
    ----------
    places : float64 [channel, 3]
        In mm: x to the right ear, y to the nose, z to the top; NaN where unknown.
    """
    radius = np.linalg.norm(places, axis=1)
    known = radius[np.isfinite(radius)]
    low, high = _ON_A_HEAD_MM
    if known.size and low < known.min() and known.max() < high and known.max() < 1.8 * known.min():
        from_top = np.arccos(np.clip(places[:, 2] / radius, -1, 1)) / (np.pi / 2)
        flat = places[:, :2] / np.maximum(np.linalg.norm(places[:, :2], axis=1), 1e-9)[:, None]
        return flat * np.minimum(0.92 * from_top, 1.15)[:, None], True
    centred = places[:, :2] - np.nanmean(places[:, :2], axis=0)
    widest = float(np.nanmax(np.linalg.norm(centred, axis=1), initial=0.0))
    return 0.75 * centred / (widest or 1.0), False


def _draw_head(ax: Axes, x: float, is_head: bool) -> None:
    from matplotlib.patches import Circle, FancyBboxPatch

    if not is_head:
        frame = FancyBboxPatch((x - 0.9, -0.9), 1.8, 1.8, boxstyle="round,pad=0.05", facecolor="none", edgecolor=QUIET)
        ax.add_patch(frame)
        return
    ax.add_patch(Circle((x, 0), 1, facecolor="#fafafa", edgecolor=QUIET, linewidth=1.2, zorder=0))
    ax.plot(x + np.array([-0.12, 0, 0.12]), [0.993, 1.14, 0.993], color=QUIET, linewidth=1.2)
    for side in (-1, 1):
        ear = np.array([[0.99, 0.16], [1.07, 0.12], [1.07, -0.12], [0.99, -0.16]])
        ax.plot(x + side * ear[:, 0], ear[:, 1], color=QUIET, linewidth=1.2)


def _name_channels(ax: Axes, names: list[str], angles: Floats) -> None:
    """Names around the circle, turned so that none is upside down."""
    size = float(np.clip(300 / max(len(names), 1), 5.0, 9.0))
    for name, angle in zip(names, angles, strict=True):
        on_left = np.cos(angle) < 0
        ax.text(
            1.05 * np.cos(angle), 1.05 * np.sin(angle), name, fontsize=size, rotation_mode="anchor", va="center",
            rotation=np.degrees(angle) - 180 * on_left, ha="right" if on_left else "left",
        )  # fmt: skip
