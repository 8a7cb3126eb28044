"""Results without the labels of a study, for a page that leaves the lab."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..recordings.names import natural_order
from .lost import encoded, losses_in
from .result import Result

if TYPE_CHECKING:
    import xarray as xr

_KEPT = ("session", "task", "group", "role_a", "role_b", "epoch", "channel_a", "channel_b", "band", "signal")
_DATE = re.compile(r"\d{4}-?\d{2}-?\d{2}")
_FILES = {"study": "study.h5", "set_files": "[]", "plan": ""}


def pseudonymous(results: Sequence[Result]) -> list[Result]:
    """
    Copies of results in which dyads are D1, D2, ... and people P1, P2, ..., the same in all of them.

    Labels are replaced in coordinates and in every sentence that the results carry. Numbers are drawn anew each
    time, so that they say nothing of the order of labels. Sessions that are labelled by dates become 1, 2, ...; days
    are counted from the first. Other numbers, and the labels of tasks, epochs, groups and channels, stay as they are.

    Parameters
    ----------
    results : sequence of Result
        Of one study; they are not changed.

    Returns
    -------
    list of Result
        In the order given.

    Examples
    --------
    >>> [shared] = pseudonymous([result])
    """
    rng = np.random.default_rng()
    names = _numbered("P", _labels(results, "person_a", "person_b"), rng)
    names |= _numbered("D", _labels(results, "dyad"), rng)
    kept, sessions = set(_KEPT), _labels(results, "session")
    if any(_DATE.search(label) for label in sessions):
        names |= {label: str(number) for number, label in enumerate(sessions, 1)}
        kept.remove("session")
    return [
        replace(result, **{f.name: _renamed(getattr(result, f.name), names, kept) for f in fields(result)})
        for result in results
    ]


def _labels(results: Sequence[Result], *names: str) -> list[str]:
    found = {
        str(label) for result in results for name in names if name in result.dataset.coords
        for label in result.dataset[name].values
    }  # fmt: skip
    return sorted(found, key=natural_order)


def _numbered(letter: str, labels: Sequence[str], rng: np.random.Generator) -> dict[str, str]:
    return {label: f"{letter}{number + 1}" for label, number in zip(labels, rng.permutation(len(labels)), strict=True)}


def _renamed(dataset: xr.Dataset, names: Mapping[str, str], kept: Set[str]) -> xr.Dataset:
    def named(label: str) -> str:
        return names.get(label, label)

    dataset = dataset.copy()
    for name, labels in list(dataset.coords.items()):
        if labels.dtype.kind in "UO" and name not in kept:
            dataset.coords[name] = (labels.dims, np.vectorize(named, otypes=[str])(labels.values), labels.attrs)
    if "day" in dataset.coords:
        dataset.coords["day"] = dataset["day"] - dataset["day"].min()
    losses = [
        replace(loss, dyad=named(loss.dyad), person=named(loss.person),
                session=loss.session if "session" in kept else named(loss.session))
        for loss in losses_in(dataset.attrs)
    ]  # fmt: skip
    dataset.attrs |= {"lost": json.dumps(encoded(losses))} if losses else {}
    dataset.attrs |= {name: value for name, value in _FILES.items() if name in dataset.attrs}
    dataset.attrs = {name: _told(value, names) for name, value in dataset.attrs.items()}
    return dataset


def _told(value: Any, names: Mapping[str, str]) -> Any:
    """A text with other labels. A label that is a number is meant where it stands in quotes."""
    longest = sorted(names, key=len, reverse=True)
    words = "|".join(re.escape(name) for name in longest if not name.isdigit())
    numbers = "|".join(name for name in longest if name.isdigit())
    ways = [words and rf"(?<![\w-])({words})(?![\w-])", numbers and rf"(?<=')({numbers})(?=')"]
    if not isinstance(value, str) or not names:
        return value
    return re.sub("|".join(filter(None, ways)), lambda found: names[found[0]], value)
