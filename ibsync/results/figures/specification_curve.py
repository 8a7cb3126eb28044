"""The specification curve: what every combination of choices gave, and which choices it was."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import PlanError
from .drawing import NULL, QUIET, REAL, plain, tidy

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..multiverse_result import Multiverse

_CHOICES = {
    "null": "null", "signal": "signal", "band": "band", "epoch": "epoch", "preset": "preset", "coi": "cone",
    "measure": "measure",
}  # fmt: skip
_ABSENT = "#dcdcdc"
_STRIPE = "#f5f5f5"
_ROW_INCHES, _CURVE_INCHES, _GAP = 0.2, 2.7, 0.6


def specification_curve(m: Multiverse, figure: Figure | None = None) -> Figure:
    """
    Effects of all specifications in ascending order, above the choices that each is made of.

    A bar holds 95 % of the null draws of a specification; a filled mark passes the correction for all specifications
    of its null. Choices of which there was only one are named above the curve.

    Parameters
    ----------
    m : Multiverse
        From `ibs.multiverse`.
    figure : matplotlib.figure.Figure, optional
        Where to draw, an empty one with a constrained layout; its size is set. A new figure if left out.

    Returns
    -------
    matplotlib.figure.Figure
        Effect (statistic minus the mean of its null) against the rank of the specification, over a matrix of dots.

    Raises
    ------
    PlanError
        If no specification has a value.

    Examples
    --------
    >>> plot.specification_curve(multiverse(study, bands={"task": (0.05, 0.15)}, n=99))
    """
    table = m.table[np.isfinite(m.table["effect"])].sort_values("effect", kind="stable")
    if table.empty:
        raise PlanError("specification curve: no specification has a value, so there is nothing to draw")
    rows = _rows(table)
    inches = _ROW_INCHES * (max(1, len(rows)) + _GAP * len({name for name, _ in rows}))
    width = float(np.clip(4.5 + 0.13 * len(table), 7.0, 13.0))
    figure = figure if figure is not None else _new_figure()
    figure.set_size_inches(width, _CURVE_INCHES + inches + 1.1)
    curve, matrix = figure.subplots(2, 1, sharex=True, height_ratios=[_CURVE_INCHES, inches])
    _draw_effects(curve, table, m.alpha)
    _draw_choices(matrix, table, rows, m.alpha)
    curve.set_xlim(-0.8, len(table) - 0.2)
    figure.suptitle(_title(table, m.alpha, int(12 * width)), x=0.01, ha="left", fontsize="medium")
    return figure


def _new_figure() -> Figure:
    import matplotlib.pyplot as plt

    return plt.figure(layout="constrained")


def _title(table: pd.DataFrame, alpha: float, n_letters: int) -> str:
    """How many passed, and the choices of which there was one only, in lines of so many letters."""
    passed, n, of_their = int((table["p_max"] <= alpha).sum()), len(table), table["null"].nunique() > 1
    fixed = [
        f"{words} {plain(table[name].iloc[0])}"
        for name, words in _CHOICES.items()
        if table[name].nunique() == 1 and (name, table[name].iloc[0]) != ("epoch", "all")
    ]
    first = (
        f"{passed} of {n} specification{'s' * (n != 1)} {'passes' if passed == 1 else 'pass'} the correction over all"
        f"{' of their null' * of_their} (p_max ≤ {alpha:g})"
    )
    return "\n".join([first, *wrap(", ".join(fixed), n_letters)])


def _rows(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Column and value of each row of the matrix, in the order of the table's making; single values are left out."""
    made = table.sort_index()
    return [
        (name, str(value))
        for name in _CHOICES
        if made[name].nunique() > 1
        for value in dict.fromkeys(made[name])
    ]  # fmt: skip


def _mark_size(n: int) -> float:
    """Area of a mark in square points: large where there are few."""
    return float(np.clip(900 / n, 9, 42))


def _draw_effects(ax: Axes, table: pd.DataFrame, alpha: float) -> None:
    place, size = np.arange(len(table)), _mark_size(len(table))
    effect, mean = table["effect"].to_numpy(), table["null_mean"].to_numpy()
    low, high = table["null_low"].to_numpy() - mean, table["null_high"].to_numpy() - mean
    ax.use_sticky_edges = False  # the bars of the null end inside the axes, not on their lower edge
    width = 0.8 if len(table) > 12 else 0.35
    ax.bar(place, high - low, bottom=low, width=width, color=NULL, alpha=0.28, linewidth=0, label="95 % of null draws")
    ax.axhline(0, color="black", linewidth=0.8)
    passed = table["p_max"].to_numpy() <= alpha
    marks: dict[str, Any] = {"s": size, "edgecolor": REAL, "linewidth": 1.0, "zorder": 3}
    ax.scatter(place[passed], effect[passed], color=REAL, label=f"p_max ≤ {alpha:g}", **marks)
    ax.scatter(place[~passed], effect[~passed], facecolor="white", label=f"p_max > {alpha:g}", **marks)
    ax.axhline(float(np.median(effect)), color=REAL, linewidth=1, linestyle=(0, (4, 3)), label="median effect")
    ax.set_ylabel("effect: observed minus\nmean of the null")
    ax.tick_params(axis="x", length=0, labelbottom=False)
    ax.margins(y=0.08)
    ax.legend(
        fontsize="small", loc="lower left", bbox_to_anchor=(0, 1.0), ncols=4, frameon=False, handletextpad=0.4,
        columnspacing=1.2, borderaxespad=0.1,
    )  # fmt: skip
    tidy(ax)


def _draw_choices(ax: Axes, table: pd.DataFrame, rows: list[tuple[str, str]], alpha: float) -> None:
    """One dot where a specification made the choice of the row; a group of rows per kind of choice."""
    place, size = np.arange(len(table)), _mark_size(len(table)) * 0.8
    passed = table["p_max"].to_numpy() <= alpha
    heights, height = [], 0.0
    for k, (name, value) in enumerate(rows):
        new_group = k == 0 or rows[k - 1][0] != name
        height += 1 + _GAP * (new_group and k > 0)
        heights.append(height)
        if (sum(row[0] == name for row in rows[:k]) % 2) == 0:
            ax.axhspan(height - 0.5, height + 0.5, color=_STRIPE, linewidth=0, zorder=0)
        chosen = (table[name].astype(str) == value).to_numpy()
        ax.scatter(place[~chosen], np.full((~chosen).sum(), height), s=size * 0.25, color=_ABSENT, linewidth=0)
        for which, color in ((chosen & passed, REAL), (chosen & ~passed, QUIET)):
            ax.scatter(place[which], np.full(which.sum(), height), s=size, color=color, linewidth=0, zorder=3)
        if new_group:
            ax.annotate(
                _CHOICES[name], (1.01, height), xycoords=("axes fraction", "data"), va="center", fontsize="small",
                fontstyle="italic", color="#555555", annotation_clip=False,
            )  # fmt: skip
    ax.set_yticks(heights, [plain(value, limit=26) for _, value in rows], fontsize="small")
    ax.set_ylim(height + 0.6, 0.4)
    ax.tick_params(axis="both", length=0)
    ax.set_xticks([])
    ax.set_xlabel("specifications, by effect")
    ax.spines[:].set_visible(False)
