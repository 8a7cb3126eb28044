"""Whether the spread of an outcome goes with what it is related to, which permutation takes for an association."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..nulls.draws import Draws, Integers
from .associations import passed_over
from .partial_correlation import NOTHING, FreedmanLane, Pattern

Floats = NDArray[np.float64]

N_DRAWS = 999


def spread_test(test: FreedmanLane, *, seed: int = 0) -> float:
    """
    Permutation test of a spread of the outcome that grows or falls with a feature, or is larger where that is extreme.

    Absolute residuals of the full model, each over the root of 1 less its leverage, are correlated with the feature (in
    both directions) and with its distance from what the nuisance variables say (upwards). The largest z over features
    is referred to that of 999 draws in which the residuals are permuted; approximate, as residuals are not errors.

    Parameters
    ----------
    test : FreedmanLane
    seed : int

    Returns
    -------
    float
        p over all features; 1 where nothing is tested.
    """
    orders = Draws(test.draws.design, N_DRAWS, seed, listed=False).take(0, N_DRAWS + 1)
    largest = np.full(len(orders), -np.inf)
    for pattern in test.patterns:
        largest = np.maximum(largest, _largest(pattern, test.residual, passed_over(orders, pattern.units)))
    return float((largest >= largest[0] - 1e-9).mean()) if np.isfinite(largest[0]) else 1.0


def _largest(pattern: Pattern, outcome: Floats, orders: Integers) -> Floats:
    """Largest z of a pattern's features in each draw, float64 [draw]."""
    rest, kept = pattern.unexplained(outcome)
    size = np.divide(np.abs(rest), np.sqrt(np.maximum(kept, 0)), out=np.zeros_like(rest), where=kept > NOTHING)
    along = _z(pattern.directions, size, orders)
    away = _z(np.abs(pattern.directions), size, orders)
    return np.asarray(np.maximum(np.abs(along), away).max(axis=1))


def _z(feature: Floats, size: Floats, orders: Integers) -> Floats:
    """Covariance of the feature with permuted sizes in standard deviations over draws, float64 [draw, feature]."""
    centred = feature - feature.mean(axis=0)
    total = np.zeros((len(orders), feature.shape[1]))
    for unit, own in enumerate(centred):
        total += own * size[orders[:, unit]]
    sd = total.std(axis=0)
    z: Floats = np.divide(total - total.mean(axis=0), sd, out=np.zeros_like(total), where=sd > NOTHING * size.max())
    return z
