"""Person by person: with whom each was measured, or might have been, and how synchronous they were."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...coupling.measures import measure_in
from ...errors import PlanError
from ...nulls.repaired_null import RepairedNull
from ..layout import FEATURE, SHIFT, TASK, tested_values
from ..wording import value_in_words
from .drawing import (
    axis_label,
    draw_matrix,
    finite_mean,
    label_ticks,
    new_axes,
    of_task,
    outline,
    place_among,
    place_of,
    place_of_shift,
    set_title,
    value_limits,
)
from .panel import whole_result

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

    from ..result import Result

Floats = np.ndarray[Any, np.dtype[np.float64]]

_MOST_PEOPLE = 40


def partners(
    source: Result | xr.Dataset | RepairedNull,
    ax: Axes | None = None,
    *,
    task: int | str = 0,
    epoch: int | str = 0,
    band: int | str = 0,
    pair: tuple[str, str] | None = None,
    shift: float | None = None,
) -> Axes:
    """
    Partner-by-partner matrix of synchrony, mean over sessions; frames mark real dyads.

    Parameters
    ----------
    source : Result, xarray.Dataset or RepairedNull
        A result or real synchrony, which fills the cells of its dyads; or a re-pairing null of `Study.null`, which
        fills those of all pairs that may be exchanged.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure if left out.
    task, epoch, band : int or str
        Position or label.
    pair : (str, str), optional
        Channel of person a and of person b; the mean over all channel pairs if left out.
    shift : float, optional
        Shift in s, where there are several; by default the strongest.

    Returns
    -------
    matplotlib.axes.Axes
        Persons a downwards, persons b to the right. Grey: not measured, or not to be exchanged. Where roles may be
        exchanged everybody stands on both sides.

    Raises
    ------
    PlanError
        If persons are not known, the null holds no pairs, or there is no such feature.

    Examples
    --------
    >>> plot.partners(result)
    """
    place = {"epoch": epoch, "band": band, "pair": pair}
    table = (
        _of_null(source, task, shift, **place)
        if isinstance(source, RepairedNull)
        else _of_rows(whole_result(source), task, shift, **place)
    )
    ax = ax if ax is not None else new_axes(5.6, 4.8)
    draw_matrix(ax, table.values, limits=value_limits(table.values), label=axis_label(table.words))
    outline(ax, table.real)
    label_ticks(ax.xaxis, table.second, most=_MOST_PEOPLE, rotation=90)
    label_ticks(ax.yaxis, table.first, most=_MOST_PEOPLE)
    ax.set(xlabel="person b", ylabel="person a")
    set_title(ax, table.labels, pair=pair, epoch=epoch, band=band)
    return ax


@dataclass(frozen=True)
class _Table:
    """
    Synchrony of pairs of people.

    Parameters
    ----------
    first, second : list of str
        People of the rows and of the columns.
    values : float64 [first, second]
    real : bool [first, second]
        Which of them are dyads.
    words : str
        What the values are.
    labels : xarray.Dataset
        With the labels of epochs and bands.
    """

    first: list[str]
    second: list[str]
    values: Floats
    real: np.ndarray[Any, np.dtype[np.bool_]]
    words: str
    labels: xr.Dataset


def _of_rows(result: Result, task: int | str, shift: float | None, **place: Any) -> _Table:
    """The dyads that were measured; several sessions of two people are averaged."""
    ds = of_task(result.dataset, task, shift)
    if not {"person_a", "person_b"} <= set(ds.coords):
        raise PlanError("plot.partners: the rows do not name their people (person_a, person_b); give real synchrony")
    values = tested_values(ds).isel(place_of(ds, **place)).transpose("dyad", ...).to_numpy()
    rows = values.reshape(ds.sizes["dyad"], -1)
    firsts, seconds = (ds[name].values.astype(str).tolist() for name in ("person_a", "person_b"))
    first, second = list(dict.fromkeys(firsts)), list(dict.fromkeys(seconds))
    met: dict[tuple[int, int], list[float]] = {}
    for one, other, row in zip(firsts, seconds, rows, strict=True):
        met.setdefault((first.index(one), second.index(other)), []).append(finite_mean(row))
    values = np.full((len(first), len(second)), np.nan)
    for cell, means in met.items():
        values[cell] = finite_mean(np.array(means))
    real = np.zeros(values.shape, bool)
    real[tuple(np.array(list(met)).T)] = True
    return _Table(first, second, values, real, value_in_words(ds), ds)


def _of_null(null: RepairedNull, task: int | str, shift: float | None, **place: Any) -> _Table:
    """All pairs that may be exchanged."""
    pairs = _labelled(null, task)
    pairs = pairs.isel(place_of_shift(pairs.to_dataset(name="value"), shift))
    cells = pairs.isel(place_of(pairs.to_dataset(name="pairs"), **place))
    flat = cells.transpose("person_a", "person_b", ...).to_numpy().reshape(*null.pair_values.shape[1:3], -1)
    design = null.design
    first, second = list(design.persons_a), list(design.persons_b)
    if design.roles == "interchangeable":
        first = second = first + second
    values, real = np.full(flat.shape[:2], np.nan), np.zeros(flat.shape[:2], bool)
    for one, other in design.pairs:
        values[one, other] = finite_mean(flat[one, other])
        if design.roles == "interchangeable":
            values[other, one] = values[one, other]
    real[np.arange(len(real)), design.real] = True
    return _Table(first, second, values, real, measure_in(null.attrs).words, pairs.to_dataset(name="pairs"))


def _labelled(null: RepairedNull, task: int | str) -> xr.DataArray:
    """The pair values of a task by the names of their axes."""
    import xarray as xr

    if "labels" not in null.attrs:
        raise PlanError("plot.partners: the null does not name its epochs, channels and bands; give one of Study.null")
    told = json.loads(str(null.attrs["labels"]))
    labels = {dim: told[dim] for dim in FEATURE}
    if SHIFT in told:
        labels[SHIFT] = [float(shift) for shift in told[SHIFT]]
    place = place_among(list(null.tasks), "task", task)
    values = null.by_task[..., place, :].reshape(*null.pair_values.shape[:3], *map(len, labels.values()))
    named = {TASK: null.tasks[place]} if len(null.tasks) > 1 else {}
    return xr.DataArray(values, dims=("session", "person_a", "person_b", *labels), coords={**labels, **named})
