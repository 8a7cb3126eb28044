"""Choosing a backend by name."""

from __future__ import annotations

import re

from ...errors import PlanError
from .backend import Backend

BACKENDS = ("auto", "cuda", "numpy")


def backend_named(name: str) -> Backend:
    """
    The backend of a name: "numpy", "cuda", a certain GPU such as "cuda:1", or "auto".

    "auto" takes the first GPU where it is usable.

    Raises
    ------
    PlanError
        If there is no such name.
    DeviceError
        If a GPU is asked for and cannot be used.
    """
    chosen = re.fullmatch(r"cuda(?::(\d+))?", name)
    if name not in BACKENDS and not chosen:
        raise PlanError(
            f"backend must be one of {', '.join(map(repr, BACKENDS))} or 'cuda:1', 'cuda:2', ..., got {name!r}"
        )
    if name != "numpy":
        from .cuda.backend import CudaBackend, default_device, usable_gpu

        if chosen:
            return CudaBackend(default_device(int(chosen[1] or 0)))
        if usable_gpu():
            return CudaBackend()
    from .numpy import NumpyBackend

    return NumpyBackend()
