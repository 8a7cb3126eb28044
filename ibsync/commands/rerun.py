"""A result repeated from what it carries: its plan, and the checksum of its study."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from os.path import exists
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..recordings.memory import Memory
from ..results.result import Result, load
from ..study.study import Study
from ..study.workers import workers_of
from .run import run_again

_MADE_WITH = ("ibsync_version", "versions", "backend", "loops", "blas")


@dataclass(frozen=True)
class Repetition:
    """What came out when a result was computed again.

    Attributes
    ----------
    file : str
        The result.
    n_arrays : int
        Arrays that were compared: numbers and labels, of the result, its null and, where both hold them, its maps.
    differences : mapping of str to float
        Largest absolute difference of those that are not identical; NaN where one has a number and the other none, or
        where labels differ.
    made_with : mapping of str to (str, str)
        What made the result, and what made the repetition, where they differ.
    """

    file: str
    n_arrays: int
    differences: Mapping[str, float]
    made_with: Mapping[str, tuple[str, str]]

    def __str__(self) -> str:
        if not self.differences:
            return f"{self.file}: repeated, all {self.n_arrays} arrays are identical"
        largest = ", ".join(
            f"{name} by up to {value:.3g}" if np.isfinite(value) else f"{name} (labels, shape or what is missing)"
            for name, value in self.differences.items()
        )
        lines = [f"{self.file}: repeated, {len(self.differences)} of {self.n_arrays} arrays differ: {largest}"]
        lines += [
            f"  {name}: made with {before}; repeated with {now}" for name, (before, now) in self.made_with.items()
        ]
        return "\n".join(lines)

    def describe(self) -> dict[str, Any]:
        """The same for a script, as a dictionary that JSON can carry."""
        return {"identical": not self.differences, **asdict(self)}


def rerun(
    path: str | Path,
    *,
    study: str | Path | None = None,
    accept_changes: bool = False,
    backend: str = "auto",
    memory: Memory = None,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: bool = False,
) -> Repetition:
    """Compute a result of `ibsync run` again, and compare every number. Nothing is written.

    Parameters
    ----------
    path : str or Path
        Result file; it carries its plan.
    study : str or Path, optional
        Study file, where it is not at the plan's path or beside the result.
    accept_changes : bool
        Take a result that was changed after ibsync wrote it.
    backend, memory, workers, scheduler, progress
        As `run_plan`; "auto" takes the backend that made the result.

    Returns
    -------
    Repetition

    Raises
    ------
    InputError
        Before any work: if the result holds no plan, or its study is missing or another.
    """
    path = Path(path)
    kept = load(path, accept_changes=accept_changes)
    attrs = kept.dataset.attrs
    if "plan" not in attrs:
        raise InputError(
            f"{path}: holds no plan: only results of ibsync run do; repeat it from the script that made it"
        )
    source = _study(path, attrs, study)
    with tempfile.TemporaryDirectory(prefix="ibsync-") as folder, workers_of(workers, scheduler, backend) as executor:
        results = run_again(
            str(attrs["plan"]), Path(folder), source, memory=memory, executor=executor, journal=None, progress=progress,
            backend=str(attrs["backend"]) if backend == "auto" and "backend" in attrs else backend,
        )  # fmt: skip
    same = [again for again in results if _question(again) == _question(kept)]
    if not same:
        raise InputError(
            f"{path}: its plan leads to no such result with this version of ibsync: use that which made it"
        )
    return _compared(path, kept, same[0])


def _study(path: Path, attrs: Mapping[Any, Any], given: str | Path | None) -> Path:
    """The study of a result, by its checksum."""
    named = Path(str(attrs.get("study", "")))
    places = [Path(given)] if given is not None else [named, path.absolute().parent / named.name]
    found = next((place for place in places if exists(place)), None)
    if found is None:
        raise InputError(f"{places[0]}: the study of {path} is not there: name it with --study")
    if Study.open(found).sha256 != attrs["study_sha256"]:
        raise InputError(
            f"{found}: another study than {path} was made of, or changed since (its checksum differs): name the study "
            "as it was with --study"
        )
    return found


def _question(result: Result) -> tuple[str, ...]:
    """What tells a result from the others of one run."""
    told = {name: str(result.dataset.attrs.get(name, "")) for name in ("question", "hypothesis", "outcome", "level")}
    return (*told.values(), str(result.dataset["signal"].item()))


def _compared(path: Path, before: Result, now: Result) -> Repetition:
    with_maps = all(result.maps.variables for result in (before, now))  # they are left out where memory is little
    arrays, again = (_arrays(result, with_maps=with_maps) for result in (before, now))
    names = [*arrays, *(name for name in again if name not in arrays)]
    differences = {name: _difference(arrays.get(name), again.get(name)) for name in names}
    attrs = before.dataset.attrs, now.dataset.attrs
    made = {name: (_plain(attrs[0].get(name)), _plain(attrs[1].get(name))) for name in _MADE_WITH}
    return Repetition(
        str(path), len(names), {name: value for name, value in differences.items() if value != 0},
        {name: pair for name, pair in made.items() if pair[0] != pair[1]},
    )  # fmt: skip


def _arrays(result: Result, *, with_maps: bool) -> dict[str, np.ndarray[Any, Any]]:
    """All that a result holds, by name."""
    parts = {"": result.dataset, "null ": result.null} | ({"map ": result.maps} if with_maps else {})
    return {f"{of}{name}": x.to_numpy() for of, part in parts.items() for name, x in part.variables.items()}


def _difference(one: np.ndarray[Any, Any] | None, other: np.ndarray[Any, Any] | None) -> float:
    """Largest absolute difference; NaN where none can be given."""
    if one is None or other is None or one.shape != other.shape:
        return float("nan")
    if not all(x.dtype.kind in "biufc" for x in (one, other)):
        return 0.0 if np.array_equal(one.astype(str), other.astype(str)) else float("nan")
    same = (one == other) | ((one != one) & (other != other))  # infinite and missing values too
    return float(np.max(np.abs(np.subtract(one[~same], other[~same], dtype=np.complex128)), initial=0.0))


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
