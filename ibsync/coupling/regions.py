"""Means of pairs of channels, averaged over the pairs of two regions of interest."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .wavelet_coherence import Coherence, ratio

Members = tuple[NDArray[np.bool_], NDArray[np.bool_]]
"""Which channels make up each region of `a` and of `b`: bool [..., region, channel], leading axes as theirs or 1."""


def averaged(means: Coherence, n_axes: tuple[int, int], members: Members, xp: Any = np) -> Coherence:
    """
    The mean of what is there, over the pairs of a channel of one region with a channel of another.

    Shares of coherent cells are counted over the cells of all pairs together.

    Parameters
    ----------
    means : Coherence
        Of channels, [*a, *b, band, epoch].
    n_axes : (int, int)
        How many axes `a` and `b` have.
    members : Members
    xp : module
        NumPy, or CuPy where the means lie on the GPU.

    Returns
    -------
    Coherence
        Of regions. Its `valid_fraction` is the mean over the pairs that have a value, or over all where none has.
    """
    sides = tuple(xp.asarray(side, np.float64) for side in members)

    def total(values: Any) -> Any:
        return _total(values, n_axes, sides, xp)

    present = xp.isfinite(means.coherence)
    n, n_all = total(present), total(xp.ones_like(present))

    def mean(values: Any) -> Any:
        return ratio(total(xp.where(present, values, 0)), n, xp)

    valid = xp.where(n > 0, mean(means.valid_fraction), total(means.valid_fraction) / xp.where(n_all > 0, n_all, 1))
    made = Coherence(mean(means.coherence), mean(means.coherency), valid)
    if means.shares is None or means.above is None:
        return made
    above = mean(means.above)
    of_all = xp.where((means.above > 0)[..., None], means.shares * means.above[..., None], 0)
    shares = ratio(ratio(total(of_all), n[..., None], xp), above[..., None], xp)
    return replace(made, above=above, shares=shares)


def averaged_by_dyad(means: Coherence, n_axes: tuple[int, int], members: Members, xp: Any = np) -> Coherence:
    """The same of means [dyad, *a, *b, band, epoch], with `n_axes` and `members` that count dyads first as well."""
    arrays = {field.name: getattr(means, field.name) for field in fields(means)}
    given = {name: values for name, values in arrays.items() if values is not None}
    of_dyads = [
        averaged(
            Coherence(**{name: values[dyad] for name, values in given.items()}),
            (n_axes[0] - 1, n_axes[1] - 1),
            (_of_dyad(members[0], dyad), _of_dyad(members[1], dyad)),
            xp,
        )
        for dyad in range(len(means.coherence))
    ]
    return Coherence(**{name: xp.stack([getattr(one, name) for one in of_dyads]) for name in given})


def _of_dyad(members: NDArray[np.bool_], dyad: int) -> NDArray[np.bool_]:
    return members[dyad] if members.ndim > 2 and len(members) > 1 else members


def _total(values: Any, n_axes: tuple[int, int], sides: tuple[Any, ...], xp: Any) -> Any:
    """Sums over the channels of regions: from [*a, *b, ...] to the same of regions."""
    *first, n_first = values.shape[: n_axes[0]]
    *second, n_second = values.shape[n_axes[0] : sum(n_axes)]
    rest = values.shape[sum(n_axes) :]
    a, b = (side.reshape(-1, *side.shape[-2:]) for side in sides)
    kind = values.dtype if values.dtype.kind == "c" else np.float64
    flat = values.astype(kind).reshape(math.prod(first), n_first, -1)
    left = xp.matmul(a, flat).reshape(-1, math.prod(second), n_second, math.prod(rest))
    both = xp.matmul(b, left)
    return both.reshape(*first, a.shape[1], *second, b.shape[1], *rest)
