"""The cone of influence: cells that a recording, an epoch or a seam cuts into."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .definition import FloatArray
from .scales import PERIOD_PER_SCALE


def cone_of_influence(n_samples: int) -> FloatArray:
    """Longest trusted period at each sample, in samples: float64 [sample].

    f / sqrt(2) * min(i, N - 1 - i), with 1e-5 in place of 0 at the two ends.
    """
    sample = np.arange(n_samples)
    distance = np.minimum(sample, n_samples - 1 - sample).astype(float)
    return PERIOD_PER_SCALE / math.sqrt(2) * np.where(distance == 0, 1e-5, distance)


# The cone of influence of an end reaches as many scales into the recording.
CONE_SCALES = 2.0**0.5


def away_from_seam(
    seam: NDArray[np.int64], times: NDArray[np.floating] | NDArray[np.int64], scales: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Cells outside the cone of influence of a seam, which is that of a recording's end: bool [time, row, channel].

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
    return np.asarray((seam == 0) | (distance[:, None, :] >= CONE_SCALES * scales[:, None]))


def _trusted(part: tuple[int, int], scale: float, n_samples: int, coi: str) -> tuple[int, int] | None:
    """The samples of an epoch's part that the cone of influence leaves to a row, as [start, stop)."""
    start, stop = part
    margin = math.ceil(math.sqrt(2) * scale * (1 - 1e-12))  # period <= f / sqrt 2 * distance, Grinsted's cone
    if coi == "recording":
        start, stop = max(start, margin), min(stop, n_samples - margin)
    elif coi == "epoch":
        start, stop = start + margin, stop - margin
    return (start, stop) if start < stop else None
