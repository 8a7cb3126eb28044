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
    sets = list(_sets(taken))
    if len(sets) == 1:  # all channels in their order
        channels, numbers = sets[0]
        return u - _explained(xp, u.reshape(*u.shape[:2], *channels.shape), controls[:, :, numbers]).reshape(u.shape)
    left = u.copy()
    for channels, numbers in sets:
        left[:, :, channels] -= _explained(xp, u[:, :, channels], controls[:, :, numbers])
    return left


def _explained(xp: Any, u: Any, controls: Any) -> Any:
    """What controls [cell, (K, re/im), run, control] explain of features [cell, (K, re/im), run, channel]."""
    basis = _real_basis(xp, controls).astype(u.dtype, copy=False)
    parts = xp.matmul(basis, u.transpose(0, 2, 1, 3))
    return xp.matmul(basis.swapaxes(2, 3), parts).transpose(0, 2, 1, 3)


def _sets(taken: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Runs of channels with the same controls, those of one length together: [run, channel], and [run, control]."""
    starts = np.flatnonzero(np.concatenate([[True], np.any(taken[1:] != taken[:-1], axis=1)]))
    lengths = np.diff([*starts, len(taken)])
    for length in np.unique(lengths):
        first = starts[lengths == length]
        yield first[:, None] + np.arange(length), taken[first]


def _real_basis(xp: Any, controls: Any) -> Any:
    """Orthonormal vectors c and i c, as real numbers, that span controls of [cell, (K, re/im), run, control].

    Returns
    -------
    float64 [cell, run, 2 control, (K, re/im)]
    """
    n_cells, n, n_runs, n_controls = controls.shape
    c = xp.array(controls.transpose(0, 2, 3, 1), np.float64, order="C").view(np.complex128)
    whole = _power(c)
    for k in range(n_controls):
        power = _power(c[:, :, k])
        new = power > EXPLAINED_SHARE * whole[:, :, k]
        c[:, :, k] *= xp.where(new, 1 / xp.sqrt(xp.where(new, power, 1)), 0)[..., None]
        own, later = c[:, :, k], c[:, :, k + 1 :]
        if k + 1 < n_controls:
            later -= xp.matmul(later, own.conj()[..., None]) * own[:, :, None]
    return xp.stack([c, 1j * c], axis=3).view(np.float64).reshape(n_cells, n_runs, 2 * n_controls, n)


def _power(c: Any) -> Any:
    """Power of features, [cell, run, ...]."""
    return (c.real**2 + c.imag**2).sum(axis=-1)
