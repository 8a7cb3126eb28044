"""Unit features without what a person's controls explain, on the device: between the channel stage and the pairs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...transform.definition import EXPLAINED_SHARE
from ..residuals import without_controls
from .channel_stage import (
    DOUBLES,
    FLOATS,
    HALVES,
    NORMS_BEHIND,
    UNRESOLVED,
    VALID,
    Cells,
    UnitMaker,
    Units,
    padded,
    words_per_channel,
)

_HALF_SCALE = 128.0  # as kernels/units.cuh has it
_WORKING_COPIES = 4  # of the features before they are packed


@dataclass(frozen=True)
class ResidualMaker:
    """
    Makes unit features of channels without their controls, as `UnitMaker` makes plain ones.

    Parameters
    ----------
    maker : UnitMaker
        Of the channels and then the controls, not packed (`unpacked`).
    taken : int64 [channel, control]
        Numbers of each channel's controls among the controls.
    form : int
        How features are packed.
    """

    maker: UnitMaker
    taken: NDArray[np.int64]
    form: int

    def units(self, times: NDArray[np.int64]) -> Units:
        """Units of the cells at some of the segment's times."""
        device, whole, n = self.maker.tables.device, self.maker.units(times), len(self.taken)
        xp = device.xp
        real = np.float64 if whole.form == DOUBLES else np.float32
        u = whole.words.view(real).swapaxes(1, 2)
        left = without_controls(xp, u[:, :, :n], u[:, :, n:], self.taken)
        power = (left * left).sum(axis=1)
        cells = whole.cells
        valid = (cells.valid[:, :n] == VALID) & (power > EXPLAINED_SHARE)
        unresolved = cells.valid[:, :n] == UNRESOLVED
        for control in range(self.taken.shape[1]):
            of_control = cells.valid[:, n + self.taken[:, control]]
            valid &= of_control == VALID
            unresolved |= of_control == UNRESOLVED
        unit = xp.ascontiguousarray(
            (left * xp.where(valid, 1 / xp.sqrt(xp.where(valid, power, 1)), 0)[:, None]).swapaxes(1, 2)
        )
        words, norms = _packed(xp, unit, whole.n_features, self.form)
        state = xp.where(valid, VALID, xp.where(unresolved, UNRESOLVED, 0)).astype(np.uint8)
        flags = xp.append((state == UNRESOLVED).any(axis=0), ~valid.all()).astype(np.int32)
        return replace(whole, form=self.form, words=words, norms=norms, cells=Cells(state, flags))


def unpacked(dtype: np.dtype[Any]) -> int:
    """The form in which features of a precision lose nothing."""
    return FLOATS if dtype == np.float32 else DOUBLES


def bytes_of_residuals(n_features: int, form: int) -> int:
    """Memory of one channel's cell while controls are taken out."""
    return _WORKING_COPIES * 16 * n_features + 4 * words_per_channel(form, n_features)


def _packed(xp: Any, unit: Any, n_features: int, form: int) -> tuple[Any, Any]:
    """Words, as kernels/units.cuh packs them, and norms, of unit features real [cell, channel, (K, re/im)]."""
    none = xp.empty(1, np.float32)
    if form in (FLOATS, DOUBLES):
        return unit.astype(np.float32 if form == FLOATS else np.float64, copy=False).view(np.uint32), none
    whole = xp.zeros((*unit.shape[:2], 2 * padded(n_features)), np.float32)
    whole[..., : 2 * n_features] = _HALF_SCALE * unit
    high = whole.astype(np.float16)
    if form == HALVES:
        power = (high.astype(np.float32) ** 2).sum(axis=2)
        some = power > 0
        norms = xp.where(some, 1 / xp.sqrt(xp.where(some, power, 1)), 0).astype(np.float32)
        return high.view(np.uint32), xp.concatenate([norms.ravel(), xp.zeros(NORMS_BEHIND, np.float32)])
    low = (whole - high.astype(np.float32)).astype(np.float16)
    return xp.concatenate([high.view(np.uint32), low.view(np.uint32)], axis=2), none
