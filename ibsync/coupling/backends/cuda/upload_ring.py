"""Copies to a device that run beside its work: page-locked buffers in turn, on a stream of their own."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

SLOT_BYTES = 32 << 20
N_SLOTS = 2


@dataclass
class _Slot:
    """A page-locked buffer and its place on the device, with the last use of each."""

    pinned: NDArray[np.uint8]
    staged: Any
    copied: Any  # event: the page-locked buffer may be filled again
    consumed: Any  # event: its place on the device may be written again

    def views(self, rows: NDArray[Any]) -> tuple[NDArray[Any], Any]:
        """Both as arrays like `rows`."""
        return tuple(
            buffer[: rows.nbytes].view(rows.dtype).reshape(rows.shape) for buffer in (self.pinned, self.staged)
        )  # type: ignore[return-value]


class Ring:
    """
    Uploads as float64, piece after piece.

    While one piece is on its way the next is written to the other buffer, and kernels that were launched before go on.
    Nothing is waited for but a buffer's own last use: the host waits until a page-locked buffer has been copied, the
    copy stream until a place on the device has been read, the current stream until the piece is there.

    Parameters
    ----------
    cupy : module
    slot_bytes, n_slots : int
        Size of a buffer (at least one row must fit, else it grows) and how many there are.
    """

    def __init__(self, cupy: Any, slot_bytes: int = SLOT_BYTES, n_slots: int = N_SLOTS) -> None:
        self._cupy, self._slot_bytes, self._n_slots = cupy, slot_bytes, n_slots
        self._stream = cupy.cuda.Stream(non_blocking=True)
        self._slots: list[_Slot] = []
        self._turn = 0

    def upload(self, x: NDArray[Any]) -> Any:
        """
        Copy on the device, as float64 in the order of the current stream.

        Parameters
        ----------
        x : real array [row, column] of the host
            May be changed as soon as this returns.
        """
        out = self._cupy.empty(x.shape, np.float64)
        per_row = max(1, x.shape[1] * x.itemsize)
        at_once = max(1, self._slot_bytes // per_row)
        for start in range(0, len(x), at_once):
            rows = x[start : start + at_once]
            out[start : start + at_once] = self._staged(rows)
            self._slots[self._turn].consumed.record(self._cupy.cuda.get_current_stream())
            self._turn = (self._turn + 1) % self._n_slots
        return out

    def _staged(self, rows: NDArray[Any]) -> Any:
        """The rows on the device once the current stream has waited for them; theirs until `consumed` is recorded."""
        slot = self._slot(rows.nbytes)
        pinned, staged = slot.views(rows)
        slot.copied.synchronize()
        pinned[...] = rows
        self._stream.wait_event(slot.consumed)
        staged.set(pinned, stream=self._stream)
        slot.copied.record(self._stream)
        self._cupy.cuda.get_current_stream().wait_event(slot.copied)
        return staged

    def _slot(self, n_bytes: int) -> _Slot:
        """The slot whose turn it is, made when it is needed first or has grown too small."""
        if not self._slots or len(self._slots[0].pinned) < n_bytes:
            if self._slots:  # their memory is given back, so nobody may still use it
                self._cupy.cuda.get_current_stream().synchronize()
                self._stream.synchronize()
            size = max(n_bytes, self._slot_bytes)
            self._slots = [self._new_slot(size) for _ in range(self._n_slots)]
        return self._slots[self._turn]

    def _new_slot(self, n_bytes: int) -> _Slot:
        event = self._cupy.cuda.Event
        pinned = import_module("cupyx").empty_pinned((n_bytes,), np.uint8)
        slot = _Slot(
            pinned, self._cupy.empty(n_bytes, np.uint8), event(disable_timing=True), event(disable_timing=True)
        )
        # Memory of the pool may still be read by work of the current stream.
        slot.consumed.record(self._cupy.cuda.get_current_stream())
        return slot
