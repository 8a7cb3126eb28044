"""Counts over draws on a device, equal to those of `nulls.accumulate` to the last integer.

Counters are uint64 on the device and are added to, so that batches of draws follow one another; `signed` brings them
to the host as the accumulators hold them. Nothing here depends on the order in which threads come to add.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..coupling.backends.cuda.device import Device
from ..coupling.backends.cuda.launch import load

_COLUMNS, _DRAWS, _WARPS = 128, 64, 8
TAILS = {"greater": 1, "less": -1, "two-sided": 0}
"""How the kernels know the direction of the evidence."""


@dataclass(frozen=True)
class Thresholds:
    """
    What draws are compared with, on the device.

    Parameters
    ----------
    low, high : float64 [feature]
        Observed statistic minus and plus its tolerance.
    mean, scale : float64 [feature]
        Of the evidence, as in `running_maxima`.
    order : int32 [ordered feature]
        Tested features, ascending by their observed evidence.
    bar : float64 [ordered feature]
        Observed evidence minus its tolerance.
    """

    low: Any
    high: Any
    mean: Any
    scale: Any
    order: Any
    bar: Any

    @classmethod
    def on(cls, device: Device, *arrays: NDArray[Any]) -> "Thresholds":
        """From arrays of the host in this order."""
        return cls(*(device.from_host(array) for array in arrays))


@dataclass(frozen=True)
class Counted:
    """
    Counts of a batch of draws, on the host.

    Parameters
    ----------
    exceeded : int64 [3, feature]
        At least, above, at most.
    sums : int64 [3, feature]
        Draws, sums, squares.
    reached : int64 [ordered feature]
        Draws whose running maximum reaches the bar.
    largest : float64 [draw]
    """

    exceeded: NDArray[np.int64]
    sums: NDArray[np.int64]
    reached: NDArray[np.int64]
    largest: NDArray[np.float64]


def count(device: Device, values: Any, thresholds: Thresholds, tail: str) -> Counted:
    """Count a batch, values float64 [draw, feature] of the device, which stay there."""
    xp, n_features = device.xp, values.shape[1]
    exceeded, sums = xp.zeros((3, n_features), np.uint64), xp.zeros((3, n_features), np.uint64)
    reached = xp.zeros(len(thresholds.order), np.uint64)
    add_exceedances(device, exceeded, values, thresholds.low, thresholds.high)
    add_sums(device, sums, values)
    evidence = (thresholds.mean, thresholds.scale, thresholds.order)
    running, largest = running_maxima(device, values, *evidence, tail)
    add_reaching(device, reached, running, thresholds.bar)
    return Counted(
        signed(device, exceeded), signed(device, sums), signed(device, reached), device.to_host(largest)
    )  # fmt: skip


def signed(device: Device, counts: Any) -> NDArray[np.int64]:
    """Counters on the host, int64 of their shape."""
    return device.to_host(counts).view(np.int64)


def add_exceedances(device: Device, counts: Any, values: Any, low: Any, high: Any) -> None:
    """
    Count draws that reach, pass, or stay at or below the observed statistic (`accumulate.Exceedances.add`).

    Parameters
    ----------
    device : Device
    counts : uint64 [3, feature]
        At least, above, at most; added to.
    values : float64 [draw, feature]
        NaN is counted nowhere.
    low, high : float64 [feature]
        Observed statistic minus and plus its tolerance.
    """
    assert counts.shape == (3, values.shape[1])
    _over_columns(device, "add_exceedances", values, (values, low, high, counts))


def add_reaching(device: Device, counts: Any, values: Any, low: Any) -> None:
    """Count draws with ``values >= low`` in uint64 [feature]; with `running_maxima`, `accumulate.StepDown.add`."""
    assert counts.shape == values.shape[1:]
    _over_columns(device, "add_reaching", values, (values, low, counts))


def add_sums(device: Device, sums: Any, values: Any) -> None:
    """
    Sum in whole units (`accumulate.FixedPointSums.add`).

    Parameters
    ----------
    device : Device
    sums : uint64 [3, feature]
        Draws, sums, squares; added to.
    values : float64 [draw, feature]
        Of magnitude at most 1, which is asserted; what is not finite is left out.
    """
    assert sums.shape == (3, values.shape[1])
    outside = device.xp.zeros(1, np.uint32)
    _over_columns(device, "add_sums", values, (values, sums, outside))
    assert int(device.to_host(outside)[0]) == 0, "fixed-point sums hold values in [-1, 1]"


def running_maxima(device: Device, values: Any, mean: Any, scale: Any, order: Any, tail: str) -> tuple[Any, Any]:
    """
    Running maximum of the evidence of each draw, features in ascending order of their observed evidence.

    Parameters
    ----------
    device : Device
    values : float64 [draw, feature]
    mean, scale : float64 [feature]
        Evidence is ``z = (values - mean) * scale``, -z or its magnitude by the tail; a missing value is no evidence.
    order : int32 [ordered feature]
        Tested features.
    tail : {"greater", "less", "two-sided"}

    Returns
    -------
    running : float64 [draw, ordered feature]
    largest : float64 [draw]
        Over all of them; -inf without evidence.
    """
    n_draws, n_features = values.shape
    running = device.xp.empty((n_draws, len(order)), np.float64)
    largest = device.xp.full(n_draws, -np.inf)
    if running.size:
        kernel = load("counts", device)["running_maxima"]
        sizes = (n_draws, n_features, len(order), TAILS[tail])
        arguments = (values, mean, scale, order, running, largest, *sizes)
        kernel(-(-n_draws // _WARPS), 32 * _WARPS, arguments)
    return running, largest


def _over_columns(device: Device, kernel: str, values: Any, arrays: tuple[Any, ...]) -> None:
    """Launch a kernel with one thread for each feature and stretch of draws."""
    n_draws, n_features = values.shape
    if values.size:
        grid = (-(-n_features // _COLUMNS), -(-n_draws // _DRAWS))
        load("counts", device)[kernel](grid, _COLUMNS, (*arrays, n_draws, n_features))
