"""Means of pairs of channels, averaged over the pairs of two regions of interest."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .means import mapped, ratio
from .wavelet_coherence import Coherence

Members = tuple[NDArray[np.bool_], NDArray[np.bool_]]
"""Which channels make up each region of `a` and of `b`: bool [..., region, channel], leading axes as theirs or 1."""


def averaged(means: Any, n_axes: tuple[int, int], members: Members, xp: Any = np) -> Any:
    """
    The mean of what is there, over the pairs of a channel of one region with a channel of another.

    Shares of coherent cells are counted over the cells of all pairs together.

    Parameters
    ----------
    means : Means
        Of channels, [dyad, *a, *b, band, epoch].
    n_axes : (int, int)
        How many axes `a` and `b` have beside that of dyads.
    members : Members
        With dyads first as well, or 1.
    xp : module
        NumPy, or CuPy where the means lie on the GPU.

    Returns
    -------
    Means
        Of regions. Its `valid_fraction` is the mean over the pairs that have a value, or over all where none has.
    """
    sides = tuple(xp.asarray(side, np.float64) for side in members)

    def total(values: Any) -> Any:
        return _total(values, n_axes, sides, xp)

    present = xp.isfinite(means.value)
    n, n_all = total(present), total(xp.ones_like(present))

    def mean(values: Any) -> Any:
        return ratio(total(xp.where(present, values, 0)), n, xp)

    valid = xp.where(n > 0, mean(means.valid_fraction), total(means.valid_fraction) / xp.where(n_all > 0, n_all, 1))
    if not isinstance(means, Coherence) or means.shares is None or means.above is None:
        return replace(mapped(means, mean), valid_fraction=valid)
    of_all = xp.where((means.above > 0)[..., None], means.shares * means.above[..., None], 0)
    made = replace(mapped(replace(means, shares=None), mean), valid_fraction=valid)
    return replace(made, shares=ratio(ratio(total(of_all), n[..., None], xp), mean(means.above)[..., None], xp))


def _total(values: Any, n_axes: tuple[int, int], sides: tuple[Any, Any], xp: Any) -> Any:
    """Sums over the channels of regions: from [dyad, *a, *b, ...] to the same of regions."""
    n_dyads, *people = values.shape[: 1 + sum(n_axes)]
    (*first, n_first), (*second, n_second) = people[: n_axes[0]], people[n_axes[0] :]
    rest = values.shape[1 + sum(n_axes) :]
    # Of [dyad or 1, person or 1, region, channel]
    a, b = (side.reshape(len(side) if side.ndim > 2 else 1, -1, *side.shape[-2:]) for side in sides)
    kind = values.dtype if values.dtype.kind == "c" else np.float64
    flat = values.astype(kind).reshape(n_dyads, math.prod(first), n_first, -1)
    left = xp.matmul(a, flat).reshape(n_dyads, -1, math.prod(second), n_second, math.prod(rest))
    both = xp.matmul(b[:, None], left)
    return both.reshape(n_dyads, *first, a.shape[2], *second, b.shape[2], *rest)
