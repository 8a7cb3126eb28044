"""What every kind of coupling gives: a dataclass of arrays over pairs of channels, bands and epochs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


class Means(Protocol):
    """A dataclass of arrays [*a, *b, band, epoch]."""

    @property
    def value(self) -> NDArray[np.float64]:
        """What is NaN where a pair has no value."""

    @property
    def valid_fraction(self) -> NDArray[np.float64]:
        """Share of the band x epoch's cells, or samples, that entered."""


@dataclass(frozen=True)
class Coupled:
    """
    One measure for all pairs of a channel of `a` with one of `b`.

    Attributes
    ----------
    value : float64 [*a, *b, band, epoch]
        NaN where less than `min_valid` of the samples entered, or the measure is 0 / 0. With lags, bands follow one
        another with all lags each.
    valid_fraction : float64, same shape
        Share of the band x epoch's samples that entered.
    n_samples : float64, same shape
        How many samples that is.
    lag : float64, same shape, or None
        Where a measure looks for it, the lag in s at which the value was found; positive: a leads.
    """

    value: NDArray[np.float64]
    valid_fraction: NDArray[np.float64]
    n_samples: NDArray[np.float64]
    lag: NDArray[np.float64] | None = None


MeansAny = TypeVar("MeansAny", bound="DataclassInstance")


def mapped(means: MeansAny, function: Callable[[Any], Any]) -> MeansAny:
    """The same dataclass of arrays with each array that is there replaced by what a function makes of it."""
    arrays = {field.name: getattr(means, field.name) for field in fields(means)}
    return replace(means, **{name: function(x) for name, x in arrays.items() if x is not None})


def ratio(part: Any, whole: Any, xp: Any) -> Any:
    """Quotient, NaN where the whole is nothing."""
    positive = whole > 0
    return xp.where(positive, part / xp.where(positive, whole, 1), np.nan)
