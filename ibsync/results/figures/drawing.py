"""What all pictures share: colours, labels made safe, axes, positions of what is drawn."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from textwrap import fill
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ...errors import PlanError
from ...recordings.output_kinds import MARK
from ..findings import Criterion, is_tested, number, top_findings
from ..layout import SHIFT, TASK, asked_pairs, rows_of_task, tasks_of, tested_values

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# Okabe and Ito's colours: told apart with any common colour vision, and in grey.
REAL = "#0072B2"
NULL = "#D55E00"
QUIET = "#8c8c8c"
MISSING = "#e4e4e4"
GROUPS = (REAL, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
COHERENCE = "coherence (magnitude-squared)"
FORMATS = (".png", ".svg", ".pdf")
"""Endings of the files in which pictures are written."""

MOST_LABELS = 24
"""Labels of an axis that are written in the usual size; more are smaller."""


def plain(label: object, *, limit: int = 28) -> str:
    """A label that matplotlib shows as it is: no mathematics between dollar signs, no control codes, not too long."""
    text = "".join(letter if letter.isprintable() else " " for letter in str(label)).strip()
    short = text if len(text) <= limit else text[: limit - 1] + "…"
    return short.replace("$", r"\$")


def new_axes(width: float, height: float) -> Axes:
    """Axes of a new figure, size in inches."""
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(width, height), layout="constrained")[1]


def position(ds: xr.Dataset, dim: str, which: int | str) -> int:
    """Position along a dimension, from a position or a label."""
    return place_among([str(label) for label in ds[dim].values], dim, which)


def place_among(labels: list[str], dim: str, which: int | str) -> int:
    """Position among labels, from a position or a label."""
    if isinstance(which, str) and which in labels:
        return labels.index(which)
    if isinstance(which, int) and -len(labels) <= which < len(labels):
        return which % len(labels)
    raise PlanError(f"plot: no {dim} {which!r}; there are {', '.join(labels[:12])}{', ...' * (len(labels) > 12)}")


def of_task(ds: xr.Dataset, which: int | str, shift: float | None = None) -> xr.Dataset:
    """Rows and group test of one of several tasks, with its name as the scalar `TASK`, at one of several shifts."""
    ds = of_task_at_all_shifts(ds, which)
    return ds.isel(place_of_shift(ds, shift))


def of_task_at_all_shifts(ds: xr.Dataset, which: int | str) -> xr.Dataset:
    """The same at all shifts."""
    tasks = tasks_of(ds)
    if tasks:
        place = place_among(tasks, "task", which)
        of_rows = ds.isel(dyad=rows_of_task(ds, tasks[place]))
        ds = of_rows.isel({TASK: place}) if TASK in ds.dims else of_rows.assign_coords({TASK: tasks[place]})
    return ds


def place_of_shift(ds: xr.Dataset, shift: float | None) -> dict[str, int]:
    """Position of a shift in s, by default of the strongest: that of the smallest p, untested of the largest mean."""
    if SHIFT not in ds.dims:
        return {}
    shifts = ds[SHIFT].values
    if shift is not None:
        if not np.isclose(shifts, shift).any():
            raise PlanError(f"plot: no shift {shift!r}; there are {', '.join(f'{s:g}' for s in shifts)} s")
        return {SHIFT: int(np.argmin(np.abs(shifts - shift)))}
    if best := top_findings(ds, limit=1) if is_tested(ds) else []:
        return {SHIFT: int(np.argmin(np.abs(shifts - float(best[0].shift))))}
    values = np.moveaxis(tested_values(ds).to_numpy(), tested_values(ds).dims.index(SHIFT), 0)
    return {SHIFT: int(np.argmax(np.nan_to_num([finite_mean(of_shift) for of_shift in values], nan=-np.inf)))}


def place_of(ds: xr.Dataset, epoch: int | str, band: int | str, pair: tuple[str, str] | None = None) -> dict[str, int]:
    """Positions of an epoch, a band and, where one is named, a channel pair."""
    named = {"epoch": epoch, "band": band}
    named |= dict(zip(("channel_a", "channel_b"), pair, strict=True)) if pair else {}
    return {dim: position(ds, dim, which) for dim, which in named.items()}


def of_pair(ds: xr.Dataset, pair: tuple[str, str] | None) -> xr.Dataset:
    """The dataset with one channel pair, or with all."""
    if pair is None:
        return ds
    return ds.isel(channel_a=[position(ds, "channel_a", pair[0])], channel_b=[position(ds, "channel_b", pair[1])])


def room_for(ax: Axes, axis: Literal["x", "y"], points: float = 7.0) -> int:
    """How many labels, each so many points high, fit along an axis."""
    box, (width, height) = ax.get_position(), ax.get_figure(root=True).get_size_inches()  # type: ignore[union-attr]
    inches = width * box.width if axis == "x" else height * box.height
    return max(int(72 * inches / points), 2)


def label_ticks(axis: Axis, labels: list[str], *, most: int, rotation: float = 0.0) -> None:
    """Ticks with names, every k-th where all would not fit."""
    step = -(-len(labels) // most)
    shown = range(0, len(labels), max(step, 1))
    axis.set_ticks(list(shown), [plain(labels[index], limit=18) for index in shown])
    size = "small" if len(labels) <= 8 else "x-small" if len(shown) <= MOST_LABELS else 5.5
    axis.set_tick_params(labelrotation=rotation, labelsize=size, length=2)


def tidy(ax: Axes, axis: Literal["x", "y"] = "y") -> None:
    """Two spines and a quiet grid for values."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis=axis, color="#e6e6e6", linewidth=0.8)
    ax.set_axisbelow(True)


def legend_above(ax: Axes) -> float:
    """A legend on top of the axes, one line per entry; returns the room that a title must leave for it, in points."""
    legend = ax.legend(fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    return 12 + 14.5 * len(legend.get_texts())


def finite_mean(values: np.ndarray[Any, Any]) -> float:
    """Mean of what is finite; NaN if nothing is."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")


@dataclass(frozen=True)
class Feature:
    """One channel pair, band and epoch of a dataset, as positions."""

    epoch: int
    channel_a: int
    channel_b: int
    band: int

    @classmethod
    def strongest(
        cls, ds: xr.Dataset, epoch: int | str | None, band: int | str | None, pair: tuple[str, str] | None
    ) -> Feature:
        """
        The feature with the smallest p among those that are named.

        Raises
        ------
        PlanError
            If there is no such epoch, band or channel, or nothing was tested there.
        """
        named = {
            "epoch": epoch,
            "band": band,
            **dict(zip(("channel_a", "channel_b"), pair or (None, None), strict=True)),
        }
        places = {dim: position(ds, dim, which) for dim, which in named.items() if which is not None}
        found = top_findings(ds.isel({dim: [place] for dim, place in places.items()}), limit=1)
        if not found:
            where = ", ".join(f"{dim} {str(ds[dim].values[place])!r}" for dim, place in places.items())
            raise PlanError(f"plot: no value could be tested{' at ' * bool(where)}{where}; choose another feature")
        labels = {"epoch": found[0].epoch, "band": found[0].band}
        labels |= {"channel_a": found[0].channel_a, "channel_b": found[0].channel_b}
        return cls(**{dim: places.get(dim, position(ds, dim, label)) for dim, label in labels.items()})

    def of(self, values: xr.DataArray) -> np.ndarray[Any, Any]:
        """The values of this feature; other axes stay, in their order."""
        return values.isel({dim: place for dim, place in asdict(self).items() if dim in values.dims}).to_numpy()

    def title(self, ax: Axes, ds: xr.Dataset, words: str, *, pad: float | None = None) -> None:
        """Title of two lines: where it is, and what was found there with its p."""
        pair = str(ds["channel_a"].values[self.channel_a]), str(ds["channel_b"].values[self.channel_b])
        name = Criterion.of(ds).name
        told = ", ".join(f"{key}\xa0=\xa0{number(float(self.of(ds[key])))}" for key in dict.fromkeys(("p", name)))
        set_title(ax, ds, pad=pad, pair=pair, epoch=self.epoch, band=self.band)
        ax.set_title(
            f"{ax.get_title(loc='left')}\n{fill(f'{words}, {told}', 56)}", fontsize="medium", loc="left", pad=pad
        )


def set_title(
    ax: Axes, ds: xr.Dataset, *, pad: float | None = None, pair: tuple[str, str] | None = None, **chosen: int | str
) -> None:
    """What the panel shows: the channel pair if it is one, the task if it is one of several, the epoch, the band."""
    words = [f"{plain(pair[0])}–{plain(pair[1])}"] if pair else []
    words += [f"task {plain(ds[TASK].item(), limit=18)}"] if TASK in ds.coords else []
    words += [f"shift {float(ds[SHIFT]):g} s"] if SHIFT in ds.coords and not ds[SHIFT].dims else []
    words += [f"{dim} {plain(ds[dim].values[position(ds, dim, which)], limit=18)}" for dim, which in chosen.items()]
    ax.set_title(", ".join(words), fontsize="medium", loc="left", pad=pad)


def axis_label(words: str) -> str:
    """What an axis shows, folded where it is long."""
    return COHERENCE if words == "coherence" else fill(plain(words, limit=90), 36)


def z_limits(values: xr.DataArray) -> tuple[float, float]:
    """Limits shared by epochs and bands, at 3 to 6: noise looks pale, and one outlier hides nothing."""
    largest = float(np.clip(_largest(values.to_numpy()), 3.0, 6.0))
    return -largest, largest


def value_limits(values: xr.DataArray | np.ndarray[Any, Any], *, signed: bool = False) -> tuple[float, float]:
    """Limits shared by epochs and bands, symmetric about 0 if asked for or if values lie on both sides."""
    array = np.asarray(values)
    finite = array[np.isfinite(array)]
    if signed or (finite < 0).any():
        largest = _largest(finite) or 1.0
        return -largest, largest
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def _largest(values: np.ndarray[Any, Any]) -> float:
    return float(np.abs(values[np.isfinite(values)]).max(initial=0.0))


def draw_matrix(ax: Axes, values: np.ndarray[Any, Any], *, limits: tuple[float, float], label: str) -> None:
    """Cells in colour with their bar, blue to red about 0 where limits have both signs; what is missing is grey."""
    import matplotlib as mpl

    colors = mpl.colormaps["RdBu_r" if limits[0] < 0 else "viridis"].with_extremes(bad=MISSING)
    image = ax.imshow(values, cmap=colors, vmin=limits[0], vmax=limits[1], aspect="auto", interpolation="nearest")
    clipped = "both" if _largest(values) > max(map(abs, limits)) else "neither"
    ax.figure.colorbar(image, ax=ax, label=label, fraction=0.06, pad=0.02, extend=clipped)


def draw_pairs(
    ax: Axes,
    ds: xr.Dataset,
    values: xr.DataArray,
    passed: xr.DataArray | None,
    *,
    limits: tuple[float, float],
    label: str,
    mark: Callable[[Axes, np.ndarray[Any, Any]], None],
) -> None:
    """
    A value of each channel pair in colour, and what passes with its mark.

    Channels of person a downwards, of person b to the right. Where only channels of the same name were paired, a bar
    for each stands in the place of a matrix that would hold little but its diagonal; a frame and a dot mark what
    passes.
    """
    axes = ("channel_a", "channel_b")
    cells = values.transpose(*axes).to_numpy()
    marked = np.zeros(cells.shape, bool) if passed is None else passed.transpose(*axes).to_numpy().astype(bool)
    if ds.attrs.get("pairs") == "same":
        same = asked_pairs(ds).to_numpy()
        _draw_bars(ax, ds, ds["channel_a"].values[same.any(axis=1)], cells[same], marked[same], limits, label)
        return
    draw_matrix(ax, cells, limits=limits, label=label)
    if passed is not None:
        mark(ax, marked)
    label_channels(ax, ds)


def _draw_bars(
    ax: Axes, ds: xr.Dataset, names: np.ndarray[Any, Any], values: np.ndarray[Any, Any],
    passed: np.ndarray[Any, Any], limits: tuple[float, float], label: str,
) -> None:  # fmt: skip
    """A bar downwards for each channel with the partner's of the same name; grey bands are missing."""
    import matplotlib as mpl

    colors, at = mpl.colormaps["RdBu_r" if limits[0] < 0 else "viridis"], np.arange(len(values))
    shown = np.where(np.isfinite(values), values, 0.0)
    share = (shown - limits[0]) / ((limits[1] - limits[0]) or 1.0)  # colours are clipped, lengths are not
    edges = ["black" if one else QUIET for one in passed]
    ax.barh(at, shown, height=0.8, color=colors(share), edgecolor=edges, linewidth=np.where(passed, 1.6, 0.4))
    ax.scatter(shown[passed], at[passed], s=22, color="black", edgecolor="white", linewidth=0.8, zorder=4)
    for missing in at[~np.isfinite(values)]:
        ax.axhspan(missing - 0.5, missing + 0.5, color=MISSING, linewidth=0)
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set_ylim(len(values) - 0.5, -0.5)
    label_ticks(ax.yaxis, [str(name) for name in names], most=room_for(ax, "y"))
    noun = "region" if "rois" in ds.attrs else "channel"
    ax.set(xlabel=label, ylabel=f"{noun} of both people")
    tidy(ax)


def outline(ax: Axes, cells: np.ndarray[Any, Any]) -> None:
    """Frames around the marked cells of a matrix; cells: bool [row, column]."""
    from matplotlib.patches import Rectangle

    for row, column in np.argwhere(cells):
        frame = Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="black", linewidth=1.6, clip_on=False)
        ax.add_patch(frame)


def label_channels(ax: Axes, ds: xr.Dataset) -> None:
    """Channels or regions of person a downwards, of person b to the right."""
    noun = "region" if "rois" in ds.attrs else "channel"
    label_ticks(ax.xaxis, [str(label) for label in ds["channel_b"].values], most=room_for(ax, "x"), rotation=90)
    label_ticks(ax.yaxis, [str(label) for label in ds["channel_a"].values], most=room_for(ax, "y"))
    ax.set(xlabel=f"{noun} of person b", ylabel=f"{noun} of person a")


def bytes_of(draw: Callable[[], Figure], suffix: str) -> bytes:
    """
    A figure as the content of a file, the same whatever the user has set and whenever it is drawn.

    Parameters
    ----------
    draw : callable
        Gives the figure.
    suffix : str
        One of `FORMATS`.

    Raises
    ------
    PlanError
        If the format is another.
    """
    if suffix not in FORMATS:
        raise PlanError(f"pictures are written as {', '.join(FORMATS)}, not {suffix!r}")
    with own_style():
        return saved(draw(), suffix, dpi=150)


def saved(figure: Figure, suffix: str, *, dpi: int) -> bytes:
    """A figure as the content of an undated file."""
    import matplotlib as mpl

    buffer = io.BytesIO()
    program = f"{MARK}, Matplotlib {mpl.__version__}"
    undated = {
        ".png": {"Software": program},
        ".pdf": {"Creator": program, "CreationDate": None},
        ".svg": {"Creator": program, "Date": None},
    }
    figure.savefig(buffer, format=suffix[1:], dpi=dpi, metadata=undated[suffix])
    return buffer.getvalue()


@contextmanager
def own_style() -> Iterator[None]:
    """Figures that look alike whatever the user has set."""
    import matplotlib as mpl

    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rc("font", family="DejaVu Sans", size=10)
        # Without a fixed salt, equal results would give unequal pages.
        mpl.rc("svg", hashsalt="ibsync", fonttype="path")
        # Labels may be in a script that the font lacks; tables show them in full.
        warnings.filterwarnings("ignore", message="Glyph")
        yield
