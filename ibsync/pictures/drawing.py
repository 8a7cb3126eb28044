"""What all pictures share: colours, labels made safe, axes, positions of what is drawn."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import PlanError

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

    from ..results import Result

# Okabe and Ito's colours: told apart with any common colour vision, and in grey.
REAL = "#0072B2"
NULL = "#D55E00"
QUIET = "#8c8c8c"
MISSING = "#e4e4e4"
COHERENCE = "coherence (magnitude-squared)"
FORMATS = (".png", ".svg", ".pdf")
"""Endings of the files in which pictures are written."""


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
    labels = [str(label) for label in ds[dim].values]
    if isinstance(which, str) and which in labels:
        return labels.index(which)
    if isinstance(which, int) and -len(labels) <= which < len(labels):
        return which % len(labels)
    raise PlanError(f"plot: no {dim} {which!r}; there are {', '.join(labels[:12])}{', ...' * (len(labels) > 12)}")


def label_ticks(axis: Axis, labels: list[str], *, most: int, rotation: float = 0.0) -> None:
    """Ticks with names, every k-th where all would not fit."""
    step = -(-len(labels) // most)
    shown = range(0, len(labels), max(step, 1))
    axis.set_ticks(list(shown), [plain(labels[index], limit=18) for index in shown])
    axis.set_tick_params(labelrotation=rotation, labelsize="x-small" if len(labels) > 8 else "small", length=2)


def tidy(ax: Axes) -> None:
    """Two spines and a quiet grid for values."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    ax.set_axisbelow(True)


def finite_mean(values: np.ndarray[Any, Any]) -> float:
    """Mean of what is finite; NaN if nothing is."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")


def dataset_of(result: Result | xr.Dataset) -> xr.Dataset:
    """The dataset of a result, or the dataset itself."""
    from ..results import Result

    return result.dataset if isinstance(result, Result) else result


def set_title(
    ax: Axes, ds: xr.Dataset, *, pad: float | None = None, pair: tuple[str, str] | None = None, **chosen: int | str
) -> None:
    """What the panel shows: the channel pair if it is one, the epoch, the band."""
    words = [f"{plain(pair[0])}–{plain(pair[1])}"] if pair else []
    words += [f"{dim} {plain(ds[dim].values[position(ds, dim, which)], limit=18)}" for dim, which in chosen.items()]
    ax.set_title(", ".join(words), fontsize="medium", loc="left", pad=pad)


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
    with _own_style():
        buffer = io.BytesIO()
        undated = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}.get(suffix)
        draw().savefig(buffer, format=suffix[1:], dpi=150, metadata=undated)
        return buffer.getvalue()


@contextmanager
def _own_style() -> Iterator[None]:
    """Figures that look alike whatever the user has set."""
    import matplotlib as mpl

    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()
        mpl.rc("font", family="DejaVu Sans", size=10)
        mpl.rc("svg", hashsalt="ibsync", fonttype="path")
        warnings.filterwarnings("ignore", message="Glyph")
        yield
