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
    for channels, numbers in _sets(taken):
        basis = _real_basis(xp, controls[:, :, numbers]).astype(u.dtype, copy=False)
        # Runs of one length are most often all channels in their order.
        whole = channels.size == len(taken)
        x = u.reshape(*u.shape[:2], *channels.shape) if whole else u[:, :, channels]
        explained = xp.matmul(basis, xp.matmul(basis.swapaxes(2, 3), x.transpose(0, 2, 1, 3))).transpose(0, 2, 1, 3)
        if whole:
            left -= explained.reshape(u.shape)
        else:
            left[:, :, channels] -= explained
    return left


def _sets(taken: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Runs of channels with the same controls, those of one length together: [run, channel], and [run, control]."""
    starts = np.flatnonzero(np.concatenate([[True], np.any(taken[1:] != taken[:-1], axis=1)]))
    lengths = np.diff([*starts, len(taken)])
    for length in np.unique(lengths):
        first = starts[lengths == length]
        yield first[:, None] + np.arange(length), taken[first]


def _real_basis(xp: Any, controls: Any) -> Any:
    """Orthonormal columns c and i c, as real numbers, that span controls of [cell, (K, re/im), run, control].

    Returns
    -------
    float64 [cell, run, (K, re/im), 2 control]
    """
    n_cells, n, n_runs, n_controls = controls.shape
    pairs = controls.reshape(n_cells, n // 2, 2, n_runs, n_controls).astype(np.float64)
    basis = xp.empty((n_cells, n_runs, n // 2, 2, n_controls, 2))
    columns: list[Any] = []
    for k in range(n_controls):
        c = pairs[:, :, 0, :, k] + 1j * pairs[:, :, 1, :, k]
        whole = _power(c)
        for other in 2 * columns:  # twice, for what rounding left the first time
            c = c - other * (other.conj() * c).sum(axis=1)[:, None]
        power = _power(c)
        new = power > EXPLAINED_SHARE * whole
        c = c * xp.where(new, 1 / xp.sqrt(xp.where(new, power, 1)), 0)[:, None]
        columns.append(c)
        c = c.transpose(0, 2, 1)
        basis[:, :, :, 0, k, 0], basis[:, :, :, 1, k, 0] = c.real, c.imag
        basis[:, :, :, 0, k, 1], basis[:, :, :, 1, k, 1] = -c.imag, c.real
    return basis.reshape(n_cells, n_runs, n, 2 * n_controls)


def _power(c: Any) -> Any:
    """Power of features, [cell, run]."""
    return (c.real**2 + c.imag**2).sum(axis=1)
