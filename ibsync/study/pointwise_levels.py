"""Pointwise levels of a coherence map: what unrelated signals exceed in 5 % of the trusted cells of a row.

Geophysicists draw them as contours (Grinsted, Moore & Jevrejeva 2004, *Nonlin. Processes Geophys.* 11:561).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from ..coupling.transform.cone import cone_of_influence
from ..coupling.transform.definition import coherency
from ..coupling.transform.scales import PERIOD_PER_SCALE, Scales
from ..coupling.transform.signals import FINE, Signals, usable_cells
from ..errors import PlanError, require_known
from ..nulls.random_streams import Purpose, entity_id, normal_pairs, purpose_word, stream
from ..nulls.surrogate_signals import fit_ar1, refuse_drift, surrogates
from .pointwise_cells import SparseRows

Floats = NDArray[np.float64]
Draws = NDArray[np.int64]

LEVEL = 0.95
KINDS = ("ar1", "phase")
CAUTION = (
    "AR(1) levels are not a null of fNIRS: unrelated recordings with a Mayer wave or breathing exceed them in far more "
    "than 5 % of cells, and each cell is judged on its own; use significance='phase', or for inference the re-paired "
    "dyads or phase surrogates of Study.null"
)

_BINS = 4096
_SAMPLES_AT_ONCE = 1 << 16


def lag1(x: NDArray[np.floating], estimator: str = "corrected") -> Floats:
    """
    Lag-1 autocorrelation of each channel.

    Parameters
    ----------
    x : float [channel, sample]
        No channel constant.
    estimator : {"corrected", "naive", "torrence-compo"}
        Corrected for its bias (`fit_ar1`); the lag-1 covariance over the variance, as the toolbox of
        Grinsted et al. estimates it; or (r1 + sqrt(r2)) / 2 of Torrence & Compo (1998), with r2 of lag 2.

    Returns
    -------
    float64 [channel]

    Raises
    ------
    PlanError
        If the estimator is unknown.
    """
    if estimator == "corrected":
        return fit_ar1(x)
    centred = np.asarray(x, np.float64) - np.mean(x, axis=1, keepdims=True, dtype=np.float64)
    power, first, second = ((centred[:, k:] * centred[:, : centred.shape[1] - k]).sum(axis=1) for k in range(3))
    if estimator == "naive":
        n = centred.shape[1]
        return np.asarray(first / power * n / (n - 1))
    if estimator == "torrence-compo":
        return np.asarray((first + np.sqrt(np.maximum(second * power, 0))) / power / 2)
    raise PlanError(f"estimator={estimator!r} is unknown; valid are 'corrected', 'naive', 'torrence-compo'")


def ar1_levels(
    g_a: float,
    g_b: float,
    scales: Scales,
    rows: tuple[int, int] | None = None,
    *,
    n: int = 300,
    seed: int = 0,
    level: float = LEVEL,
    definition: str | None = None,
) -> Floats:
    """
    Level of R2 of two independent AR(1) signals, by simulation.

    As the toolbox of Grinsted et al. does: signals of six times the largest scale, all trusted cells of a row and of
    all simulations taken together.

    Parameters
    ----------
    g_a, g_b : float
        Lag-1 autocorrelations, within ±1.
    scales : Scales
        Scale axis of the recording; the simulated signals have another length.
    rows : (first, stop), optional
        Rows wanted; all by default. The level of a row does not depend on which others are wanted.
    n : int
        Simulated pairs.
    seed : int
    level : float
        Share of cells below the level.
    definition : {"grinsted", "grinsted-toolbox"}, optional
        Coherence by `definition.coherency` at every sample, slowly, under that preset.

    Returns
    -------
    float64 [row]

    Notes
    -----
    R2 is counted in 4096 bins, with a straight line inside a bin.
    """
    assert -1 < g_a < 1, "a stationary process"
    assert -1 < g_b < 1, "a stationary process"
    n_samples = math.ceil(6 * scales.scale[-1])
    cells = _cells(scales, rows or (0, scales.n_rows), n_samples, definition)

    def pair(draws: Draws) -> tuple[Floats, Floats]:
        a, b = (_ar1(g, n_samples, draws, seed, entity_id(side)) for g, side in ((g_a, "a"), (g_b, "b")))
        return a, b

    return _levels(cells, pair, n, level)


def phase_levels(
    x: Floats,
    y: Floats,
    scales: Scales,
    rows: tuple[int, int] | None = None,
    *,
    usable: NDArray[np.bool_] | None = None,
    n: int = 300,
    seed: int = 0,
    level: float = LEVEL,
    definition: str | None = None,
) -> Floats:
    """
    Level of R2 of `x` with phase-randomised surrogates of `y`, whatever the spectra of the two.

    Parameters
    ----------
    x, y : float64 [sample]
    scales, rows, n, seed, level, definition
        As `ar1_levels`.
    usable : bool [row, sample], optional
        Which cells of the wanted rows to count, beside those outside the cone of influence.

    Returns
    -------
    float64 [row]
        NaN where no cell of a row can be used.

    Notes
    -----
    `y` should be stationary: a drift ends elsewhere than it began, and the surrogates spread that step over all
    frequencies. A row of few trusted cells, near the longest period, has a level of few independent values.
    """
    cells = _cells(scales, rows or (0, scales.n_rows), len(x), definition, usable)
    entity = entity_id("b")

    def pair(draws: Draws) -> tuple[Floats, Floats]:
        return x[None], surrogates("phase", y[None], draws, seed=seed, entity=entity)[:, 0]

    return _levels(cells, pair, n, level)


def pair_levels(
    kind: str,
    a: Signals,
    b: Signals,
    scales: Scales,
    rows: tuple[int, int],
    *,
    n: int,
    seed: int,
    definition: str | None = None,
) -> Floats:
    """
    Level of every pair of a channel of `a` with a channel of `b`.

    Parameters
    ----------
    kind : {"ar1", "phase"}
        Simulate both channels (`ar1_levels`), or turn the phases of `b` (`phase_levels`).
    a, b : Signals
    scales, rows, n, seed, definition
        As `ar1_levels`.

    Returns
    -------
    float64 [a, b, row]
        NaN where a channel cannot be used.

    Raises
    ------
    PlanError
        If the kind is unknown or the number of surrogates not a whole number.
    """
    require_known("significance", kind, KINDS, "None")
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise PlanError(f"n must be a whole number of at least 1, got {n!r}; 300 is usual")
    out = np.full((a.n_channels, b.n_channels, rows[1] - rows[0]), np.nan)
    if kind == "phase":
        refuse_drift("b", [f"number {k}" for k in range(b.n_channels)], b.x)
    lag_1 = [fit_ar1(signals.x) for signals in (a, b)]
    for i, j in np.argwhere(np.outer(a.status == FINE, b.status == FINE)):
        if kind == "ar1":
            g_a, g_b = float(lag_1[0][i]), float(lag_1[1][j])
            out[i, j] = ar1_levels(g_a, g_b, scales, rows, n=n, seed=seed, definition=definition)
        else:
            x, y = a.x[i].astype(np.float64), b.x[j].astype(np.float64)
            usable = _usable(a, i, scales, rows) & _usable(b, j, scales, rows)
            out[i, j] = phase_levels(x, y, scales, rows, usable=usable, n=n, seed=seed, definition=definition)
    return out


def _usable(signals: Signals, channel: int, scales: Scales, rows: tuple[int, int]) -> NDArray[np.bool_]:
    """Cells whose window holds few bad samples, bool [row, sample]."""
    bad = np.zeros(signals.n_samples, bool) if signals.bad is None else signals.bad[channel]
    return usable_cells(bad, scales.scale[rows[0] : rows[1]])


def _ar1(g: float, n_samples: int, draws: Draws, seed: int, entity: int) -> Floats:
    """Stationary AR(1) signals of unit variance, float64 [draw, sample]."""
    from scipy.signal import lfilter

    words = stream(seed, draws, n_samples + n_samples % 2, entity=entity, purpose=purpose_word(Purpose.AR1))
    normals = np.concatenate(normal_pairs(words))[:n_samples].T
    normals[:, 1:] *= math.sqrt(1 - g * g)
    return np.asarray(lfilter([1.0], [1.0, -g], normals, axis=1))


Cells = Callable[[Floats, Floats], Iterator[Floats]]
"""R2 of the trusted cells of one row after the other, float64 [draw, cell], of signals [draw, sample]."""


def _levels(cells: Cells, pair: Callable[[Draws], tuple[Floats, Floats]], n: int, level: float) -> Floats:
    counts: list[NDArray[np.int64]] = []
    n_samples = pair(np.array([1]))[1].shape[1]
    for draws in np.array_split(np.arange(1, n + 1), max(1, n * n_samples // _SAMPLES_AT_ONCE)):
        found = [
            np.bincount(np.minimum(values[~np.isnan(values)] * _BINS, _BINS - 1).astype(np.intp), minlength=_BINS)
            for values in cells(*pair(draws))
        ]
        counts = [total + more for total, more in zip(counts, found, strict=True)] if counts else found
    return np.array([_quantile(of_row, level) for of_row in counts])


def _quantile(counts: NDArray[np.int64], level: float) -> float:
    below = np.concatenate([[0], np.cumsum(counts)])
    if below[-1] == 0:
        return math.nan
    wanted = level * below[-1] - 1e-9  # 0.05 of 100 values is 5 of them, however the product is rounded
    edge = int(np.searchsorted(below, wanted)) - 1
    return float((edge + (wanted - below[edge]) / counts[edge]) / _BINS)


def _cells(
    scales: Scales,
    rows: tuple[int, int],
    n_samples: int,
    definition: str | None,
    usable: NDArray[np.bool_] | None = None,
) -> Cells:
    period = PERIOD_PER_SCALE * scales.scale[rows[0] : rows[1], None]
    trusted = period <= cone_of_influence(n_samples)
    if usable is not None:
        trusted &= usable
    if definition is None:
        return SparseRows(scales, rows, trusted).coherence

    def by_definition(x: Floats, y: Floats) -> Iterator[Floats]:
        of_pairs = [coherency(a, b, scales, preset=definition) for a, b in zip(*np.broadcast_arrays(x, y), strict=True)]
        for row, cells in enumerate(trusted, rows[0]):
            yield np.array([np.minimum(np.abs(pair[row, cells]) ** 2, 1) for pair in of_pairs])

    return by_definition
