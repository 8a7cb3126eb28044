"""Which dyads are not independent of each other, as they share a person: they are exchanged together or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from ..nulls.hypotheses import NullHypothesis
from ..nulls.shared_partners import components

if TYPE_CHECKING:
    import xarray as xr

PERSONS = ("person_a", "person_b")


def in_all(members: Sequence[set[str]]) -> str:
    """Who is in every one of several dyads, in words; empty if nobody is."""
    return " and ".join(map(repr, sorted(set.intersection(*members)))) if len(members) > 1 else ""


def speaking_of(null: NullHypothesis, common: str) -> NullHypothesis:
    """The hypothesis, with whom it speaks of where one person is in every dyad."""
    whom = f"; this speaks of the dyads of {common} only, not of other people's" if common else ""
    return replace(null, statement=null.statement + whom)


@dataclass(frozen=True)
class Blocks:
    """
    Dyads that share a person, or another label, make one block; any other dyad is a block of its own.

    Parameters
    ----------
    labels : tuple of str
        One per block: the first of its dyads by name.
    number : int64 [dyad]
        Block of each dyad.
    shared : str
        What is shared by which dyads, in words; empty if nothing is.
    common : str
        Who is in every dyad, such as the one therapist of a study; empty if nobody is. Dyads are then blocks of their
        own, as all that can be said is said of this person's partners.
    """

    labels: tuple[str, ...]
    number: NDArray[np.int64]
    shared: str
    common: str = ""

    @classmethod
    def of(cls, dyads: Sequence[str], members: Sequence[set[str]], block: str | None = "person") -> Blocks:
        """From the people of each dyad, or its label in another column."""
        common = in_all(members) if block == "person" else ""
        parts = components([set() for _ in members] if common else members)
        number = np.empty(len(dyads), np.int64)
        for place, part in enumerate(parts):
            number[part] = place
        told = []
        for part in (part for part in parts if len(part) > 1):
            ties = sorted({name for one, two in combinations(part, 2) for name in members[one] & members[two]})
            told.append(f"{', '.join(map(repr, ties))} in dyads {', '.join(repr(dyads[at]) for at in part)}")
        return cls(tuple(min(dyads[at] for at in part) for part in parts), number, "; ".join(told), common)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def ties(self) -> str:
        """What links dyads, exchanged together or not, in words; empty if nothing does."""
        return self.shared or (f"{self.common} in every dyad" if self.common else "")

    def only(self, dyads: NDArray[np.int64]) -> Blocks:
        """The blocks of some dyads, whose words stay those of all."""
        blocks, number = np.unique(self.number[dyads], return_inverse=True)
        return replace(self, labels=tuple(self.labels[block] for block in blocks), number=number.astype(np.int64))

    def sums(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum over the dyads of each block: float64 [block, ...] from float64 [dyad, ...], which has no NaN."""
        out = np.zeros((len(self), *values.shape[1:]))
        np.add.at(out, self.number, values)
        return out


def members_of(dataset: xr.Dataset, dyads: Sequence[str], block: str | None) -> list[set[str]]:
    """
    What each dyad may share with others.

    Parameters
    ----------
    dataset : xarray.Dataset
        Real synchrony, one row per dyad and session.
    dyads : sequence of str
        Dyads that are wanted.
    block : str or None
        "person": its people, as far as they are known. The name of another coordinate of dyads: its label. None:
        nothing.

    Raises
    ------
    PlanError
        If there is no such coordinate, or a dyad has several of its labels or none.
    """
    rows_of = dataset["dyad"].values.astype(str)
    columns = [name for name in PERSONS if name in dataset.coords] if block == "person" else []
    if block is not None and block != "person":
        columns = [_known(dataset, block)]
    found = [{str(v) for name in columns for v in dataset[name].values[rows_of == dyad]} for dyad in dyads]
    for dyad, labels in zip(dyads, found, strict=True):
        if block not in (None, "person", *PERSONS) and (len(labels) != 1 or labels == {""}):
            has = " and ".join(map(repr, sorted(labels))) if len(labels) > 1 else "none"
            raise PlanError(f"dyad {dyad!r} needs one {block!r} to be in a block, it has {has}; give it one label")
    return [labels - {""} for labels in found]


def _known(dataset: xr.Dataset, block: str) -> str:
    known = [str(name) for name, values in dataset.coords.items() if values.dims == ("dyad",) and name != "dyad"]
    if block not in known:
        raise PlanError(
            f"block={block!r} is no label of dyads; write 'person', None, or one of {', '.join(map(repr, known))}"
        )
    return block
