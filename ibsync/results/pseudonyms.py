"""Results without the labels of a study, for a page that leaves the lab."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import fields, replace
from typing import TYPE_CHECKING

import numpy as np

from ..recordings.names import natural_order
from .lost import ALL, encoded, losses_in
from .result import Result

if TYPE_CHECKING:
    import xarray as xr

_KEPT = ("session", "task", "group", "role_a", "role_b", "epoch", "channel_a", "channel_b", "band", "signal")
_DATE = re.compile(r"\d{4}-?\d{2}-?\d{2}|\d{1,2}[./-]\d{1,2}[./-]\d{2,4}")
_FILES = {"study": "study.h5", "set_files": "[]", "plan": ""}
_SENTENCES = ("left_out", "caution", "warning", "entered", "blocks", "accepted_changes", "hypothesis", "not_excluded")
_LISTS = ("selected",)  # of labels, with few other words


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
    rng, losses = np.random.default_rng(), [loss for result in results for loss in losses_in(result.dataset.attrs)]
    people = {loss.person for loss in losses if loss.person != ALL}
    names = _numbered("P", people.union(*(_labels(result.dataset, "person_a", "person_b") for result in results)), rng)
    dyads = {loss.dyad for loss in losses if loss.dyad != ALL}
    names |= _numbered("D", dyads.union(*(_labels(result.dataset, "dyad") for result in results)), rng)
    kept, sessions = set(_KEPT), {loss.session for loss in losses if loss.session not in ("", ALL)}
    sessions = sessions.union(*(_labels(result.dataset, "session") for result in results))
    if any(_DATE.search(label) for label in sessions):
        names |= {label: str(number) for number, label in enumerate(sorted(sessions, key=natural_order), 1)}
        kept.remove("session")
    return [
        replace(result, **{f.name: _renamed(getattr(result, f.name), names, kept) for f in fields(result)})
        for result in results
    ]


def _labels(dataset: xr.Dataset, *names: str) -> set[str]:
    return {str(label) for name in names if name in dataset.coords for label in dataset[name].values.ravel()}


def _numbered(letter: str, labels: Set[str], rng: np.random.Generator) -> dict[str, str]:
    order = rng.permutation(len(labels))
    return {label: f"{letter}{number + 1}" for label, number in zip(sorted(labels), order, strict=True)}


def _renamed(dataset: xr.Dataset, names: Mapping[str, str], kept: Set[str]) -> xr.Dataset:
    def named(label: str) -> str:
        return names.get(label, label)

    dataset = dataset.copy()
    for name, labels in list(dataset.coords.items()):
        if labels.dtype.kind in "UO" and name not in kept:
            dataset.coords[name] = (labels.dims, np.vectorize(named, otypes=[str])(labels.values), labels.attrs)
    if "day" in dataset.coords:
        dataset.coords["day"] = dataset["day"] - dataset["day"].min()
    dataset.attrs |= {name: value for name, value in _FILES.items() if name in dataset.attrs}
    dataset.attrs |= {name: _told(dataset.attrs[name], names) for name in _SENTENCES if name in dataset.attrs}
    dataset.attrs |= {name: _told(dataset.attrs[name], names, alone=True) for name in _LISTS if name in dataset.attrs}
    session = str if "session" in kept else named
    places = {"dyad": named, "session": session}  # of the row that a map shows
    dataset.attrs |= {key: change(str(dataset.attrs[key])) for key, change in places.items() if key in dataset.attrs}
    losses = [
        replace(
            loss, dyad=named(loss.dyad), person=named(loss.person), session=session(loss.session),
            reason=_told(loss.reason, names), fix=_told(loss.fix, names),
        )
        for loss in losses_in(dataset.attrs)
    ]  # fmt: skip
    dataset.attrs |= {"lost": json.dumps(encoded(losses))} if losses else {}
    return dataset


def _told(text: str, names: Mapping[str, str], *, alone: bool = False) -> str:
    """A sentence with other labels. A number is a label in quotes, after "dyad", or where it stands `alone`."""
    longest = sorted(names, key=len, reverse=True)
    words = "|".join(re.escape(name) for name in longest if alone or not name.isdigit())
    numbers = "|".join(name for name in longest if name.isdigit())
    ways = [
        words and rf"(?<![\w-])(?:{words})(?![\w-])",
        numbers and rf"(?:(?<=')|(?<=\bdyad ))(?:{numbers})(?![\w-])",
    ]
    found = "|".join(filter(None, ways))
    return re.sub(found, lambda match: names[match[0]], text) if found else text
