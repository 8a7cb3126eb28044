"""What flips of the sign of slopes take for granted: sessions without effects on all dyads, and symmetric slopes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..nulls.draws import Draws
from ..nulls.relabelling import Signs

Floats = NDArray[np.float64]

N_DRAWS = 999


def session_effects_test(residuals: Floats, labels: Sequence[str], *, seed: int = 0) -> float:
    """
    Permutation test of effects of sessions that all dyads have in common, beside a change along a line.

    Of each feature the sums over dyads of what the lines leave, squared and divided by the number of dyads, are added
    over sessions. Under the hypothesis that nothing links the dyads, all that a dyad's line leaves may change its sign.
    The largest value over features, each divided by its mean over all signs, is referred to that of 999 draws.

    Parameters
    ----------
    residuals : float64 [dyad, session, feature]
        Of the values of each dyad from its line; NaN where there is none.
    labels : sequence of str
        Block of each dyad; dyads of one block, such as those that share a person, change signs together.
    seed : int

    Returns
    -------
    float
        p over all features.
    """
    present = np.isfinite(residuals)
    n = np.maximum(present.sum(axis=0), 1)
    scaled = np.where(present, residuals, 0.0) / np.sqrt(n)
    signs = _signs(labels, seed)
    expected = (scaled**2).sum(axis=(0, 1))
    total = np.zeros((len(signs), residuals.shape[2]))
    for session in np.moveaxis(scaled, 1, 0):
        total += (signs @ session) ** 2
    return _p(np.divide(total, expected, out=np.zeros_like(total), where=expected > 0))


def skew_test(slopes: Floats, weights: Floats, labels: Sequence[str], *, seed: int = 0) -> float:
    """
    Test of slopes that are not symmetric about their mean.

    The largest skewness over features is referred to that of 999 draws, in which each slope's distance from the mean
    may change its sign. The mean is not known, so that the test is approximate.

    Parameters
    ----------
    slopes, weights : float64 [dyad, feature]
        Slopes and their weights in the mean; NaN where there is none.
    labels : sequence of str
        Block of each dyad.
    seed : int

    Returns
    -------
    float
        p over all features.
    """
    root = np.sqrt(np.where(np.isfinite(slopes), weights, 0.0))
    length = (root**2).sum(axis=0)
    direction = np.divide(root, np.sqrt(length), out=np.zeros_like(root), where=length > 0)
    scaled = root * np.nan_to_num(slopes)
    left = scaled - direction * (direction * scaled).sum(axis=0)
    signs = _signs(labels, seed)
    # Distances of each draw from its own mean: their second and third powers from sums over units.
    shift = signs @ (direction * left)
    square = (left**2).sum(axis=0) - shift**2
    cube = signs @ left**3 - 3 * shift * ((direction * left**2).sum(axis=0))
    cube += 3 * shift**2 * (signs @ (direction**2 * left)) - shift**3 * (direction**3).sum(axis=0)
    enough = (left != 0).sum(axis=0) > 2
    skew = np.divide(cube, np.maximum(square, 1e-300) ** 1.5, out=np.zeros_like(cube), where=enough & (square > 0))
    return _p(np.abs(skew))


def _signs(labels: Sequence[str], seed: int) -> Floats:
    """Signs of the dyads in each draw, those observed first: float64 [draw, dyad]."""
    blocks, number = np.unique(np.array(labels), return_inverse=True)
    draws = Draws(Signs(tuple(blocks.tolist())), N_DRAWS, seed, listed=False)
    return 1.0 - 2.0 * draws.take(0, N_DRAWS + 1)[:, number]


def _p(statistic: Floats) -> float:
    largest = statistic.max(axis=1, initial=0.0)
    return float((largest >= largest[0] * (1 - 1e-9)).mean())
