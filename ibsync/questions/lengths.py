"""Raw coherence of recordings of unlike lengths is not compared: how much of them lies near the ends moves it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError

if TYPE_CHECKING:
    import xarray as xr

Floats = NDArray[np.float64]

UNEQUAL = 1.1
"""Ratio of lengths from which raw values are not compared."""


def refuse_unequal_tasks(real: xr.Dataset, tasks: Collection[str], call: str) -> None:
    """
    Refuse tasks of one meeting that were recorded as files of unlike lengths.

    Parameters
    ----------
    real : xarray.Dataset
        Raw values, one row per dyad, session and task; without lengths nothing is refused.
    tasks : collection of str
        Those that are compared.
    call : str
        The call that takes a null off first, for the message.
    """
    if "duration" not in real.coords:
        return
    rows, seconds = np.isin(real["task"].values.astype(str), list(tasks)), _seconds(real)
    names = zip(*(real[name].values.astype(str).tolist() for name in ("dyad", "session")), strict=True)
    meetings = np.array([f"dyad {dyad!r} in session {session!r}" for dyad, session in names])
    for meeting in dict.fromkeys(meetings[rows].tolist()):
        own = seconds[rows & (meetings == meeting)]
        if own.max() > UNEQUAL * own.min():
            _refuse(f"the tasks of {meeting} last {own.min():.0f} and {own.max():.0f} s", seconds[rows], call)


def refuse_unequal_samples(real: xr.Dataset, epochs: Collection[str], measure: str, call: str) -> None:
    """
    Refuse epochs of unlike numbers of samples, where a measure is the larger the fewer there are.

    Parameters
    ----------
    real : xarray.Dataset
        Raw values of a `Coupling`.
    epochs : collection of str
        Those that are compared.
    measure : str
    call
        As `refuse_unequal_tasks`.
    """
    n = {name: float(real["n_samples"].sel(epoch=name).mean()) for name in epochs}
    short, long = min(n, key=n.__getitem__), max(n, key=n.__getitem__)
    if n[long] > UNEQUAL * n[short]:
        raise PlanError(
            f"{measure!r} grows as samples fall, and epoch {short!r} has {n[short]:.0f} of them on average, {long!r} "
            f"{n[long]:.0f}: take a null off first, {call}, compare equal lengths, or take 'ppc' or 'dwpli'"
        )


def refuse_unequal_means(real: xr.Dataset, column: str, labels: Sequence[str], call: str) -> None:
    """
    Refuse groups or sessions whose recordings differ in mean length.

    Parameters
    ----------
    real, call
        As `refuse_unequal_tasks`.
    column : {"group", "session"}
    labels : sequence of str
        Those that are compared.
    """
    if "duration" not in real.coords or not labels:
        return
    seconds, of_row = _seconds(real), real[column].values.astype(str)
    means = {label: float(seconds[of_row == label].mean()) for label in labels}
    short, long = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
    if means[long] > UNEQUAL * means[short]:
        differ = f"those of {short!r} last {means[short]:.0f} s on average, those of {long!r} {means[long]:.0f} s"
        _refuse(f"recordings of the {column}s differ, {differ}", seconds, call)


def _seconds(real: xr.Dataset) -> Floats:
    return np.asarray(real["duration"].values, np.float64)


def _refuse(what: str, seconds: Floats, call: str) -> None:
    raise PlanError(
        f"{what}, which changes raw coherence by itself: take a null off first, {call}, compare one length, "
        f"study.select(duration={seconds.min():g}), or leave the short ones out"
    )
