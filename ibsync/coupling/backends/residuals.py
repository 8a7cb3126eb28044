"""Features without what a person's controls explain of them: partial coherence before any pair is formed.

With the unit features C of a person's controls at a cell, a channel's features u become

    u' = normalise(u - C (C^H C)^-1 C^H u),

and the coherence of two people is that of their u'. Nothing changes per pair, so that one projection per channel and
cell is all that controls cost beside their own features.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..transform.definition import EXPLAINED_SHARE


def sets_of(taken: NDArray[np.int64]) -> Iterator[tuple[slice, NDArray[np.int64]]]:
    """
    Runs of channels that have the same controls, with the numbers of these.

    Parameters
    ----------
    taken : int64 [channel, control]
        Numbers of each channel's controls.
    """
    edges = np.flatnonzero(np.any(taken[1:] != taken[:-1], axis=1)) + 1
    for start, stop in zip([0, *edges], [*edges, len(taken)], strict=True):
        yield slice(int(start), int(stop)), taken[start]


def without_controls(xp: Any, u: Any, controls: Any, taken: NDArray[np.int64]) -> Any:
    """
    What the controls leave of features: u - C (C^H C)^-1 C^H u, not scaled.

    Parameters
    ----------
    xp : module
        NumPy, or CuPy.
    u : real [cell, (K, re/im), channel]
    controls : real [cell, (K, re/im), control]
        Of whatever length.
    taken : int64 [channel, control]
        Numbers of each channel's controls. One that the others explain, or that is zero, takes nothing out.

    Returns
    -------
    Same shape and type as `u`.
    """
    left = u.copy()
    for channels, numbers in sets_of(taken):
        basis = _real_basis(xp, controls[:, :, numbers]).astype(u.dtype)
        part = left[:, :, channels]
        part -= xp.matmul(basis, xp.matmul(basis.swapaxes(1, 2), part))
    return left


def _real_basis(xp: Any, controls: Any) -> Any:
    """Orthonormal columns c and i c, as real numbers, that span the controls: float64 [cell, (K, re/im), 2 control]."""
    n_cells, n, n_controls = controls.shape
    pairs = controls.reshape(n_cells, n // 2, 2, n_controls).astype(np.float64)
    c = pairs[:, :, 0] + 1j * pairs[:, :, 1]
    for k in range(n_controls):
        own = c[:, :, k]
        whole = (xp.abs(own) ** 2).sum(axis=1)
        for _ in range(2):  # once more for what rounding left
            for j in range(k):
                own = own - c[:, :, j] * (c[:, :, j].conj() * own).sum(axis=1)[:, None]
        power = (xp.abs(own) ** 2).sum(axis=1)
        new = power > EXPLAINED_SHARE * whole
        c[:, :, k] = own * xp.where(new, 1 / xp.sqrt(xp.where(new, power, 1)), 0)[:, None]
    basis = xp.empty((n_cells, n // 2, 2, n_controls, 2))
    basis[:, :, 0, :, 0], basis[:, :, 1, :, 0] = c.real, c.imag
    basis[:, :, 0, :, 1], basis[:, :, 1, :, 1] = -c.imag, c.real
    return basis.reshape(n_cells, n, 2 * n_controls)
