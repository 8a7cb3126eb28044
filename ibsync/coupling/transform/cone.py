"""The cone of influence: which cells the ends of a recording, of an epoch or at a seam reach.

A period is trusted where it is at most f / sqrt(2) times the distance to the end, f being period / scale (Grinsted et
al. 2004). In other words, an end reaches sqrt(2) scales into a recording.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .definition import FloatArray
from .scales import PERIOD_PER_SCALE

REACH = math.sqrt(2)
"""How far an end reaches into a recording, in scales."""


def cone_of_influence(n_samples: int) -> FloatArray:
    """Longest trusted period at each sample, in samples: float64 [sample].

    f / sqrt(2) * min(i, N - 1 - i), with 1e-5 in place of 0 at the two ends.
    """
    sample = np.arange(n_samples)
    distance = np.minimum(sample, n_samples - 1 - sample).astype(float)
    return PERIOD_PER_SCALE / REACH * np.where(distance == 0, 1e-5, distance)


def away_from_seam(
    seam: NDArray[np.int64], times: NDArray[np.floating] | NDArray[np.int64], scales: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Cells outside the cone of influence of a seam: bool [time, row, channel].

    Parameters
    ----------
    seam : int64 [channel]
        First sample after the seam; 0 for none.
    times : float64 or int64 [time]
        Samples.
    scales : float64 [row]
        Samples.
    """
    distance = np.where(times[:, None] >= seam, times[:, None] - seam, seam - 1 - times[:, None])
    return np.asarray((seam == 0) | (distance[:, None, :] >= REACH * scales[:, None]))


def trusted_part(part: tuple[int, int], scale: float, n_samples: int, coi: str, lag: int = 0) -> tuple[int, int] | None:
    """The samples [start, stop) of an epoch's part that the cone of influence leaves to a row; None if it leaves none.

    Parameters
    ----------
    part : (start, stop)
    scale : float
        Samples.
    n_samples : int
        Of the recording.
    coi : {"recording", "epoch", "none"}
        Whose ends reach in.
    lag : int
        Largest lag in samples: so much farther the ends reach in where one of two people is taken earlier or later.
    """
    reach = 0 if coi == "none" else math.ceil(REACH * scale * (1 - 1e-12))
    return clear_of_ends(part, lag + reach, n_samples, coi)


def clear_of_ends(part: tuple[int, int], margin: int, n_samples: int, coi: str) -> tuple[int, int] | None:
    """The samples of an epoch's part that lie a margin or more within the recording, or within the part itself."""
    start, stop = part
    if coi != "epoch":
        start, stop = max(start, margin), min(stop, n_samples - margin)
    else:
        start, stop = start + margin, stop - margin
    return (start, stop) if start < stop else None
