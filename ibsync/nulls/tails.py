"""The tails of a test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from ..errors import require_known

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Tail = Literal["greater", "less", "two-sided"]


def check_tail(tail: object) -> None:
    """Refuse a tail that does not exist."""
    require_known("tail", tail, get_args(Tail))


def n_sides(tail: Tail) -> int:
    """By how many tails a p is multiplied: two-sided it is twice the smaller one-sided p."""
    return 2 if tail == "two-sided" else 1


def oriented(z: NDArray[np.float64], tail: Tail) -> NDArray[np.float64]:
    """z, -z or absolute z [...]: large is evidence."""
    if tail == "two-sided":
        return abs(z)
    return z if tail == "greater" else -z
