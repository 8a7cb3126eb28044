"""Null distributions in files: saved whole or not at all, loaded, and merged from parts."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import fields
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import IbsyncError, InputError, PlanError
from ..nulls.counts import Exceedances, FixedPointSums, Maxima, Observed, StepDown
from ..nulls.draws import Draws
from ..nulls.random_streams import STREAM_VERSION
from ..nulls.rematching import Matchings
from ..nulls.repaired_null import RepairedNull
from ..nulls.repairing import Repairing
from ..nulls.surrogate_null import SurrogateNull, Tally
from ..recordings.names import as_path
from ..recordings.output_kinds import NULL
from ..recordings.whole_files import Output
from .netcdf import accepted_changes, dataset_bytes, encode_attrs, load_datasets

if TYPE_CHECKING:
    import xarray as xr

_STANDARD = tuple(entry.name for entry in fields(Observed))
_FEATURE_COUNTS = {
    "exceedances": tuple(entry.name for entry in fields(Exceedances)),
    "moments": tuple(entry.name for entry in fields(FixedPointSums)),
}

SAME_IN_PARTS = (
    "study_sha256", "selected", "spec", "signal", "pairs", "epochs", "controls", "rois", "backend", "measure",
    "options", "ibsync_version", "stream_version",
)  # fmt: skip
"""Attributes that two parts must share."""


def save_null(null: RepairedNull | SurrogateNull, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """
    Write a null distribution, finished or not, to a netCDF-4 file: whole or not at all.

    Parameters
    ----------
    null : RepairedNull or SurrogateNull
        From `Study.null`.
    path : str or path-like
        The file; an older null distribution is replaced.
    overwrite : bool
        Replace a file that is no null distribution of ibsync's.

    Returns
    -------
    pathlib.Path
        The file that was written.

    Raises
    ------
    InputError
        If the file cannot be written there, and where it is kept then; or if something else has its name.

    Examples
    --------
    >>> save_null(study.null(spec, n=10_000), "null.nc")
    """
    if not isinstance(null, RepairedNull | SurrogateNull):
        raise PlanError(f"give a null of Study.null, not {type(null).__name__}")
    return Output(as_path(path), NULL, overwrite=overwrite).write(_null_bytes(null))


def _null_bytes(null: RepairedNull | SurrogateNull) -> bytes:
    return dataset_bytes(_repairing_dataset(null) if isinstance(null, RepairedNull) else _surrogate_dataset(null))


def load_null(path: str | os.PathLike[str], *, accept_changes: bool = False) -> RepairedNull | SurrogateNull:
    """
    Read a null distribution that `save_null` wrote.

    Parameters
    ----------
    path : str or path-like
    accept_changes : bool
        Take a file that was changed after ibsync wrote it; results of a test against it say so.

    Returns
    -------
    RepairedNull or SurrogateNull

    Raises
    ------
    InputError
        If the file is missing, damaged, changed, no null of ibsync's, or drawn from another stream of random numbers.

    Examples
    --------
    >>> test(real, load_null("null.nc"))
    """
    dataset = load_datasets(path, accept_changes=accept_changes)["/"]
    try:
        return _null(dataset, path)
    except IbsyncError:
        raise
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise InputError(f"{path}: the null is damaged ({' '.join(str(error).split())}); compute it again") from error


def _null(dataset: xr.Dataset, path: str | os.PathLike[str]) -> RepairedNull | SurrogateNull:
    head = dataset.attrs.get("null")
    if dataset.attrs.get("kind") != "null" or head is None:
        raise InputError(f"{path}: not a null distribution of ibsync; give a file written by save_null()")
    words = json.loads(str(head))
    drawn = words["stream_version"]
    if drawn != STREAM_VERSION:
        raise InputError(
            f"{path}: was drawn with random stream version {drawn}, this is version {STREAM_VERSION}: compute it again"
        )
    attrs = {**json.loads(str(dataset.attrs["made_with"])), **accepted_changes(dataset.attrs)}
    return (
        _repairing_null(dataset, words, attrs)
        if words["family"] == "repair"
        else _surrogate_null(dataset, words, attrs)
    )


def merge_nulls(parts: Sequence[SurrogateNull]) -> SurrogateNull:
    """
    One null from parts whose draws were computed apart: the same integers as in one run.

    Parameters
    ----------
    parts : sequence of SurrogateNull
        From `Study.null(..., draws=(start, stop))`, with disjoint draws. They are not changed.

    Returns
    -------
    SurrogateNull

    Raises
    ------
    PlanError
        If the parts belong to different nulls or come from different versions of ibsync, or a draw is in two of them.
        Parts from different processors fit together: their values differ by less than the tolerance for ties.

    Examples
    --------
    >>> merge_nulls([load_null(f"part{k}.nc") for k in range(4)])
    """
    if not isinstance(parts, Sequence) or not parts or not all(isinstance(part, SurrogateNull) for part in parts):
        raise PlanError("give a list of the parts of a null, each from Study.null(..., draws=(start, stop))")
    first = deepcopy(parts[0])
    for part in parts[1:]:
        for name in SAME_IN_PARTS:
            ours, theirs = first.attrs.get(name), part.attrs.get(name)
            if ours != theirs:
                raise PlanError(f"parts of a null differ in {name} ({ours!r} and {theirs!r}): compute them alike")
        first.merge(part)
    first.attrs = {**first.attrs, **computed_with(*(part.attrs for part in parts))}
    return first


def computed_with(*attrs: Mapping[str, Any]) -> dict[str, str]:
    """The linear algebra and the loops that any of several parts were computed with."""
    words = {name: [str(part.get(name, "unknown")).split("; ") for part in attrs] for name in ("blas", "loops")}
    return {name: "; ".join(dict.fromkeys(chain.from_iterable(parts))) for name, parts in words.items()}


def _head(words: Mapping[str, Any], attrs: Mapping[str, Any]) -> dict[str, Any]:
    return encode_attrs({
        "kind": "null",
        "null": json.dumps({**words, "stream_version": STREAM_VERSION}),
        "made_with": json.dumps({name: _plain(value) for name, value in attrs.items()}),
    })  # fmt: skip


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _repairing_dataset(null: RepairedNull) -> xr.Dataset:
    import xarray as xr

    design, draws = null.design, null.draws
    words = {
        "family": null.kind, "n": draws.n, "seed": draws.seed, "listed": draws.listed, "sessions": null.sessions,
        "dyads": design.dyads, "persons_a": design.persons_a, "persons_b": design.persons_b, "strata": design.strata,
        "units": design.units, "attendance": design.attendance, "roles": design.roles, "tasks": null.tasks,
    }  # fmt: skip
    dims = ("session", "person_a", "person_b", "feature")
    variables: dict[str, Any] = {"pair_values": (dims, null.pair_values)}
    if null.valid_fraction is not None:
        variables["valid_fraction"] = (("session", "dyad", "feature"), null.valid_fraction)
    return xr.Dataset(variables, attrs=_head(words, null.attrs))


def _repairing_null(dataset: xr.Dataset, words: Mapping[str, Any], attrs: dict[str, Any]) -> RepairedNull:
    kind = Matchings if words.get("roles") == Matchings.roles else Repairing
    design = kind(*(tuple(words[entry.name]) for entry in fields(kind)))
    draws = Draws(design, words["n"], words["seed"], words["listed"])
    valid = dataset["valid_fraction"].to_numpy() if "valid_fraction" in dataset else None
    sessions, tasks = tuple(words["sessions"]), tuple(words["tasks"])
    return RepairedNull(dataset["pair_values"].to_numpy(), draws, sessions, "repair", attrs, valid, tasks)


def _surrogate_dataset(null: SurrogateNull) -> xr.Dataset:
    import xarray as xr

    words = {
        "family": null.kind, "n": null.n, "seed": null.seed, "tail": null.tail, "rows": null.rows,
        "done": null.done, "stop_at": null.stop_at,
    }  # fmt: skip
    variables: dict[str, Any] = {
        "group": (("group_feature",), null.groups),
        "task_of_row": (("row",), null.task_of_row),
        "pooled": (("draw", "task_epoch_band"), null.pooled),
        **_tally_variables("row", "feature", null.by_row),
        **_tally_variables("mean", "group_feature", [null.together]),
    }
    if null.values is not None:
        kept = np.concatenate([null.values[:0], *(null.values[start:stop] for start, stop in null.done)])
        variables["values"] = (("kept_draw", "row", "feature"), kept)
    return xr.Dataset(variables, attrs=_head(words, null.attrs))


def _tally_variables(of: str, feature: str, tallies: Sequence[Tally]) -> dict[str, Any]:
    """The arrays of some tallies along a dimension `of`, which also begins their names."""
    arrays = {name: [getattr(t.standard, name) for t in tallies] for name in _STANDARD}
    for owner, names in _FEATURE_COUNTS.items():
        arrays |= {f"{owner}_{name}": [getattr(getattr(t, owner), name) for t in tallies] for name in names}
    arrays |= {"step_down": [t.step_down.counts for t in tallies], "stopped_at": [t.stopped_at for t in tallies]}
    variables: dict[str, Any] = {f"{of}_{name}": ((of, feature), np.stack(stack)) for name, stack in arrays.items()}
    largest = np.stack([t.maxima.values for t in tallies])
    return variables | {f"{of}_largest": ((of, "counted_draw"), largest)}


def _surrogate_null(dataset: xr.Dataset, words: Mapping[str, Any], attrs: dict[str, Any]) -> SurrogateNull:
    values = {str(name): dataset[name].to_numpy() for name in dataset.variables}

    def tallies(of: str) -> list[Tally]:
        return [
            Tally(
                Observed(*(values[f"{of}_{name}"][row].copy() for name in _STANDARD)),
                Exceedances(*counts(of, "exceedances", row)),
                StepDown(values[f"{of}_step_down"][row].copy()),
                FixedPointSums(*counts(of, "moments", row)),
                Maxima(1, values[f"{of}_largest"][row].copy()),
                values[f"{of}_stopped_at"][row].copy(),
            )
            for row in range(len(values[f"{of}_step_down"]))
        ]

    def counts(of: str, owner: str, row: int) -> list[NDArray[Any]]:
        return [values[f"{of}_{owner}_{name}"][row].copy() for name in _FEATURE_COUNTS[owner]]

    (together,) = tallies("mean")
    null = SurrogateNull(
        words["family"], words["n"], words["seed"], words["tail"], tuple(words["rows"]), tallies("row"), together,
        values["group"], values["task_of_row"], values["pooled"], None, list(map(tuple, words["done"])),
        words["stop_at"], attrs,
    )  # fmt: skip
    if not null.complete and null.stop_at is None:
        null.make_room(values["values"].dtype)
        assert null.values is not None
        null.values[np.concatenate([np.arange(*ends) for ends in null.done or [(0, 0)]])] = values["values"]
    return null
