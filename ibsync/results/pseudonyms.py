"""Results without the labels of a study, for a page that leaves the lab."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..recordings.names import natural_order
from .lost import ALL, encoded, losses_in
from .result import Result

if TYPE_CHECKING:
    import xarray as xr

_KEPT = ("task", "group", "role_a", "role_b", "epoch", "channel_a", "channel_b", "band", "signal")
_DATE = re.compile(r"\d{4}-?\d{2}-?\d{2}|\d{1,2}[./-]\d{1,2}[./-]\d{2,4}")
_SHORT_WORDS = {"an", "as", "at", "be", "by", "if", "in", "is", "it", "no", "of", "on", "or", "sd", "so", "to"}
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

    def labels(*coords: str, lost: str) -> set[str]:
        told = {getattr(loss, lost) for loss in losses} - {ALL, ""}
        return told.union(*(_labels(result.dataset, *coords) for result in results))

    people = _numbered("P", labels("person_a", "person_b", lost="person"), rng)
    names = _Names(people, _numbered("D", labels("dyad", lost="dyad"), rng))
    sessions = labels("session", lost="session")
    if any(_DATE.search(label) for label in sessions):
        ordered = sorted(sessions, key=natural_order)
        names = replace(names, sessions={label: str(number) for number, label in enumerate(ordered, 1)})
    return [
        replace(result, **{f.name: _renamed(getattr(result, f.name), names) for f in fields(result)})
        for result in results
    ]


def _labels(dataset: xr.Dataset, *names: str) -> set[str]:
    return {str(label) for name in names if name in dataset.coords for label in dataset[name].values.ravel()}


def _numbered(letter: str, labels: Set[str], rng: np.random.Generator) -> dict[str, str]:
    order = rng.permutation(len(labels))
    return {label: f"{letter}{number + 1}" for label, number in zip(sorted(labels), order, strict=True)}


def _renamed(dataset: xr.Dataset, names: _Names) -> xr.Dataset:
    dataset = dataset.copy()
    for name, labels in list(dataset.coords.items()):
        if labels.dtype.kind in "UO" and name not in _KEPT:
            new = np.vectorize(partial(names.of, str(name)), otypes=[str])(labels.values)
            dataset.coords[name] = (labels.dims, new, labels.attrs)
    if "day" in dataset.coords:
        dataset.coords["day"] = dataset["day"] - dataset["day"].min()
    dataset.attrs |= {name: value for name, value in _FILES.items() if name in dataset.attrs}
    dataset.attrs |= {name: names.told(dataset.attrs[name]) for name in _SENTENCES if name in dataset.attrs}
    dataset.attrs |= {name: names.told(dataset.attrs[name], alone=True) for name in _LISTS if name in dataset.attrs}
    of_map = ("dyad", "session")  # the row that it shows
    dataset.attrs |= {name: names.of(name, str(dataset.attrs[name])) for name in of_map if name in dataset.attrs}
    losses = [
        replace(
            loss, reason=names.told(loss.reason), fix=names.told(loss.fix),
            **{name: names.of(name, getattr(loss, name)) for name in ("dyad", "person", "session")},
        )
        for loss in losses_in(dataset.attrs)
    ]  # fmt: skip
    dataset.attrs |= {"lost": json.dumps(encoded(losses))} if losses else {}
    return dataset


def _is_common(label: str) -> bool:
    """Whether a sentence may hold the same without meaning the label."""
    return (label.isdigit() and not _DATE.fullmatch(label)) or len(label) == 1 or label.lower() in _SHORT_WORDS


@dataclass(frozen=True)
class _Names:
    """New labels by old ones, of each kind: one label may name a dyad, a person and a session."""

    people: Mapping[str, str]
    dyads: Mapping[str, str]
    sessions: Mapping[str, str] = field(default_factory=dict)

    def of(self, kind: str, label: str) -> str:
        """The new label of what a coordinate holds."""
        others = {"dyad": (self.dyads,), "session": (self.sessions,)}.get(kind, (self.people, self.dyads))
        return next((names[label] for names in others if label in names), label)

    def told(self, text: str, *, alone: bool = False) -> str:
        """A sentence with other labels.

        A number, a letter or a word such as "of" is one in quotes, after its noun, or where it stands `alone`.
        """
        longest = sorted({*self.people, *self.dyads, *self.sessions}, key=len, reverse=True)
        words = "|".join(re.escape(name) for name in longest if alone or not _is_common(name))
        common = "|".join(re.escape(name) for name in longest if _is_common(name))
        ways = [
            words and rf"(?<![\w-])(?:{words})(?![\w-])",
            common and rf"(?:(?<=(?<!\w)')|(?<=\bdyad )|(?<=\bsession )|(?<=\bperson ))(?:{common})(?![\w-])",
        ]
        found = "|".join(filter(None, ways))

        def new(match: re.Match[str]) -> str:
            before = re.search(r"(dyad|session)s? (?:'[^']*'(?:, | and |, and ))*'?$", text[: match.start()])
            if before and before[1] == "session":
                return self.sessions.get(match[0], match[0])
            first = (self.dyads, self.people) if before else (self.people, self.dyads)
            return next(names[match[0]] for names in (*first, self.sessions) if match[0] in names)

        return re.sub(found, new, text) if found else text
