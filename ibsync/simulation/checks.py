"""Numbers of a simulation, refused in one line where they are out of their range."""

from __future__ import annotations

import numpy as np

from ..errors import PlanError


def is_whole(value: object, least: int) -> bool:
    """Whether it is a whole number of at least so much."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value >= least)


def whole(name: str, value: int, least: int = 0) -> int:
    """A whole number of at least so much."""
    if not is_whole(value, least):
        raise PlanError(f"{name} = {value!r} must be a whole number of at least {least}")
    return int(value)


def number(name: str, value: float, words: str = "") -> float:
    """A finite number; `words` end the message if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not np.isfinite(value):
        raise PlanError(f"{name} = {value!r} must be a number{words}")
    return float(value)


def fraction(name: str, value: float) -> float:
    """A number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 <= value <= 1:
        raise PlanError(f"{name} = {value!r} must lie between 0 and 1")
    return float(value)


def positive_fraction(name: str, value: float) -> float:
    """A number above 0 and at most 1."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not 0 < value <= 1:
        raise PlanError(f"{name} = {value!r} must lie above 0 and at most at 1")
    return float(value)
