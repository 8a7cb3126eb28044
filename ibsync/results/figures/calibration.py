"""What a calibration found, in one figure and on one page."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

import numpy as np

from ..pages import page
from .drawing import FORMATS as FORMATS
from .drawing import NULL, QUIET, REAL, bytes_of, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..calibration_result import Calibration

_COVERAGE = 0.99


def calibration(result: Calibration) -> Figure:
    """
    False positives against what the test claims, ranks, and power by coupling.

    Parameters
    ----------
    result : Calibration
        From `calibrate`.

    Returns
    -------
    matplotlib.figure.Figure
        Three panels; the third is left out if no coupling was tried.

    Examples
    --------
    >>> plot.calibration(calibrate(study, spec, kind="phase", n_sims=10, n=39))
    """
    from matplotlib.figure import Figure

    n_panels = 3 if result.couplings else 2
    figure = Figure(figsize=(3.9 * n_panels, 3.9), layout="constrained")
    axes = figure.subplots(1, n_panels, width_ratios=[0.8, 1.15, 1.15][:n_panels])
    title = f"Calibration of {result.kind!r}, {result.signal}: {_WORDS[result.state]}"
    figure.suptitle(title, fontsize="large", x=0.01, ha="left")
    _draw_level(axes[0], result)
    _draw_ranks(axes[1], result)
    if result.couplings:
        _draw_power(axes[2], result)
    return figure


_WORDS = {
    "level": "false-positive rate as stated",
    "liberal": "false-positive rate TOO HIGH",
    "cautious": "false-positive rate low",
    "unattainable": "alpha not attainable with so few dyads",
}


def _draw_level(ax: Axes, result: Calibration) -> None:
    low, high = result.limits
    color = NULL if result.state == "liberal" else REAL
    ax.axhline(100 * result.alpha, color="black", linewidth=1.2, linestyle="--")
    ax.errorbar(
        [0], [100 * result.rate], yerr=[[100 * (result.rate - low)], [100 * (high - result.rate)]],
        fmt="o", color=color, markersize=9, capsize=6, linewidth=2,
    )  # fmt: skip
    top = min(100.0, max(100 * high * 1.15, 250 * result.alpha))
    ax.set(xlim=(-1, 1), ylim=(0, top), ylabel="called coherent without interaction, %")
    ax.set_xticks([0], [f"{result.false_positives} of {result.n_sims}\n{result.level_unit}"])
    ax.annotate(
        f"claimed: {100 * result.alpha:g} %", (0.98, 100 * result.alpha), xycoords=("axes fraction", "data"),
        xytext=(0, 3), textcoords="offset points", ha="right", va="bottom", fontsize="small",
    )  # fmt: skip
    ax.set_title("false positives, 95 % limits", fontsize="medium", loc="left")
    tidy(ax)


def _draw_ranks(ax: Axes, result: Calibration) -> None:
    from scipy.stats import binom

    edges = np.array(result.rank_edges)
    share = np.diff(edges) / (result.n + 1)
    outside = (1 - _COVERAGE) / 2
    low, high = (binom.ppf(q, result.n_sims, share) for q in (outside, 1 - outside))
    position = edges / (result.n + 1)
    ax.stairs(high, position, baseline=low, fill=True, color="#d9d9d9", label="99 % of cells, if even")
    ax.stairs(result.n_sims * share, position, baseline=None, color=QUIET, linestyle="--")
    width = np.diff(position)
    ax.bar(position[:-1], result.rank_counts, width=0.9 * width, align="edge", color=REAL, alpha=0.75, linewidth=0)
    ax.axvspan(0, result.alpha, ymax=0.02, color="black", linewidth=0)
    ax.set(xlim=(0, 1), ylabel="simulations", xlabel="p without interaction (black: called coherent)")
    ax.set_ylim(0, 1.22 * max(float(np.max(high)), max(result.rank_counts)))
    ax.locator_params(axis="y", integer=True)
    told = f", chi-square p = {result.rank_p:.2g}" if np.isfinite(result.rank_p) else ""
    ax.set_title(f"p-values should be even{told}", fontsize="medium", loc="left")
    ax.legend(fontsize="small", frameon=False, loc="upper right")
    tidy(ax)


def _draw_power(ax: Axes, result: Calibration) -> None:
    power = 100 * np.array(result.power)
    low, high = 100 * np.array(result.power_limits).T
    couplings = np.array(result.couplings)
    ax.fill_between(couplings, low, high, color=REAL, alpha=0.18, linewidth=0, label="95 % limits")
    ax.plot(couplings, power, color=REAL, marker="o", linewidth=2)
    ax.axhline(80, color=QUIET, linewidth=1, linestyle="--")
    g = result.detectable_coupling
    if np.isfinite(g):
        ax.plot([g, g], [0, 80], color=QUIET, linewidth=1, linestyle="--")
        ax.annotate(f"80 % at {g:.2f}", (0.02, 82), fontsize="small", va="bottom")
    ax.set(xlim=(0, 1), ylim=(0, 104), xlabel="coupling in one channel pair (coherency)", ylabel="found, %")
    ax.set_title(f"power, {result.n_power} {result.power_unit} each", fontsize="medium", loc="left")
    ax.legend(fontsize="small", frameon=False, loc="lower right")
    tidy(ax)


def picture_bytes(result: Calibration, suffix: str) -> bytes:
    """
    The figure as the content of a file.

    Parameters
    ----------
    result : Calibration
    suffix : str
        One of `FORMATS`.

    Raises
    ------
    PlanError
        If the format is another.
    """
    return bytes_of(lambda: calibration(result), suffix)


def html_page(result: Calibration) -> str:
    """One self-contained page: the verdict, the figure, and how it was made; equal calibrations give equal pages."""
    picture = f"data:image/svg+xml;base64,{b64encode(picture_bytes(result, '.svg')).decode()}"
    return page("calibration.html", result=result, picture=picture, scripted=False)
