"""Power of a longitudinal study by the number of dyads, one curve for each number of sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from .drawing import QUIET, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

_INCHES = (7.2, 4.4)
_PALEST, _DARKEST, _FAINT = 0.25, 0.9, 0.15


class PowerBySize(Protocol):
    """What is drawn: `ibs.StudyPower` is one."""

    @property
    def dyads(self) -> tuple[int, ...]:
        """Numbers of dyads that were tried."""

    @property
    def sessions(self) -> tuple[int, ...]:
        """Numbers of sessions that were tried."""

    @property
    def n_sims(self) -> int:
        """Studies of each size."""

    @property
    def target_power(self) -> float:
        """Power that is asked for."""

    @property
    def alpha(self) -> float:
        """Level of the test."""

    @property
    def power(self) -> NDArray[np.float64]:
        """Share of studies [dyads, sessions] in which it was result."""

    @property
    def limits(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Limits of the power, lower and upper."""

    @property
    def pilot_limits(self) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """Limits of the power over resampled pilots, lower and upper; None without them."""

    @property
    def title(self) -> str:
        """What was simulated and tested."""


def study_power(result: PowerBySize) -> Figure:
    """
    Power against dyads, with 95 % limits, and in bands 5 to 95 % of resampled pilots.

    Parameters
    ----------
    result : StudyPower
        From `ibs.study_power`.

    Returns
    -------
    matplotlib.figure.Figure
        A curve for each number of sessions.

    Examples
    --------
    >>> model = SynchronyModel(growth=Growth(mean=0.01, sd=0.01), noise_sd=0.04)
    >>> plot.study_power(study_power(model, [8, 12], [4], n_sims=20, n=99))
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=_INCHES, layout="constrained")
    ax = figure.subplots()
    dyads, power, (low, high) = np.array(result.dyads), 100 * result.power, result.limits
    bands = "; bands: resampled pilots" if result.pilot_limits else ""
    shades = colormaps["cividis_r"](np.linspace(_PALEST, _DARKEST, len(result.sessions)))
    for column, (sessions, shade) in enumerate(zip(result.sessions, shades, strict=True)):
        label = f"{sessions} session{'s' * (sessions > 1)}"
        below, above = power[:, column] - 100 * low[:, column], 100 * high[:, column] - power[:, column]
        ax.errorbar(
            dyads, power[:, column], yerr=[np.maximum(below, 0), np.maximum(above, 0)], color=shade, marker="o",
            linewidth=2, capsize=3, label=label,
        )  # fmt: skip
        if result.pilot_limits:
            least, most = (100 * limit[:, column] for limit in result.pilot_limits)
            ax.fill_between(dyads, least, most, color=shade, alpha=_FAINT, linewidth=0)
    ax.axhline(100 * result.target_power, color=QUIET, linewidth=1, linestyle="--")
    ax.axhline(100 * result.alpha, color=QUIET, linewidth=1, linestyle=":")
    ax.set(ylim=(0, 104), xlabel="dyads", ylabel=f"found, % of {result.n_sims} studies (bars: 95 % limits{bands})")
    ax.set_xticks(dyads, [str(n) for n in dyads])
    ax.set_title(result.title, fontsize="medium", loc="left", wrap=True)
    ax.legend(fontsize="small", frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
    tidy(ax)
    return figure
