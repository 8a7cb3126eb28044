"""What a result keeps of its test: settings, draws, and the sentences of the question that was asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from ..inference.settings import TestSettings
from ..nulls.draws import Draws
from ..nulls.hypotheses import NullHypothesis
from ..nulls.random_streams import STREAM_VERSION
from ..nulls.tails import Tail

COMPARED: dict[Tail, str] = {"greater": "above", "less": "below", "two-sided": "different from"}
"""Tails, to be followed by what a value is compared with."""
ASSOCIATED: dict[Tail, str] = {"greater": "a positive", "less": "a negative", "two-sided": "an"}
"""Tails, to be followed by "association"."""

SETTINGS = (
    "warning", "stop_at", "roles", "contrast", "between", "tasks", "change", "outcome", "covariates", "level",
    "outcome_level", "ahead", "less_null_mean", "shared_persons", "transfer", "relations", "margin", "row_null",
)  # fmt: skip
"""Attributes that only some tests have; those of an earlier test say nothing of the next."""


@dataclass(frozen=True)
class Quantity:
    """A number in words, and its unit."""

    words: str
    unit: str = "1"


@dataclass(frozen=True)
class Words:
    """
    What a question says of its test.

    Attributes
    ----------
    subject : str
        What the result is about, as a heading says it.
    tested : str
        Follows "Tested:".
    procedure : str
        Sentences of the methods, up to the name of the null.
    value, statistic, slope : Quantity
        What each row holds, the group statistic, and the slope of the regression where there is one.
    name : str
        The group statistic, as short as the head of a column.
    finding : str
        Follows "shows", where a test passes; the same as `tested` where it is empty.
    not_excluded : str
        What a small p leaves open; that of the null where it is empty.
    references : tuple of str
        Works that the procedure cites.
    """

    subject: str
    tested: str
    procedure: str
    value: Quantity
    statistic: Quantity
    name: str
    slope: Quantity = Quantity("slope")
    finding: str = ""
    not_excluded: str = ""
    references: tuple[str, ...] = ()


@dataclass(frozen=True)
class NullDraws:
    """The null of a test and its draws: how many, whether these are all, the smallest p they allow, their seed."""

    null: NullHypothesis
    n: int
    listed: bool
    min_p: float
    seed: int

    @classmethod
    def of(cls, null: NullHypothesis, draws: Draws[Any], test: TestSettings, n_ways: int | None = None) -> NullDraws:
        """From the draws of a test, of which `n_ways` differ (by default all)."""
        return cls(null, draws.n, draws.listed, test.min_p(n_ways or draws.n + 1), draws.seed)


@dataclass(frozen=True)
class Record:
    """
    What is kept of a test.

    Attributes
    ----------
    question : str
        Name of the public function.
    draws : NullDraws
    words : Words
    test : TestSettings
        Tail, corrections and level.
    measure : str
        Number of the coupling that was tested.
    settings : mapping
        Further attributes, of `SETTINGS`.
    caution, warning : str
        What it cannot find, and what it may find wrongly; empty if nothing.
    left_out, entered, blocks : str
        What did not enter, what did, and what was exchanged together.
    unit : str
        What a row stands for.
    corrected_over : sequence of str
        Signals over which p-values were corrected together; that of the rows where it is empty.
    """

    question: str
    draws: NullDraws
    words: Words
    test: TestSettings
    measure: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    caution: str = ""
    warning: str = ""
    left_out: str = ""
    entered: str = ""
    blocks: str = ""
    unit: str = "dyad"
    corrected_over: Sequence[str] = ()

    def attrs(self, signal: str) -> dict[str, Any]:
        """The attributes of its result, whose rows are of a signal."""
        words, draws = self.words, self.draws
        plain = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        apart = ("draws", "words", "test", "settings", *["warning"] * (not self.warning))
        plain = {name: value for name, value in plain.items() if name not in apart}
        return {
            **self.settings, **plain, "tail": self.test.tail, "correct": list(self.test.corrections),
            "alpha": self.test.alpha,
            "corrected_over": list(self.corrected_over) or [signal],
            "null_kind": draws.null.kind, "null_name": draws.null.name, "n": draws.n,
            "listed": int(draws.listed), "exact": int(draws.listed and draws.null.holds),
            "min_p": draws.min_p, "seed": draws.seed, "subject": words.subject,
            "finding": words.finding or words.tested,
            "hypothesis": f"Tested: {words.tested}, against the hypothesis that {draws.null.statement}",
            "not_excluded": words.not_excluded or draws.null.not_excluded, "procedure": words.procedure,
            "statistic": words.name, "references": list(words.references),
            "stream_version": STREAM_VERSION,
        }  # fmt: skip
