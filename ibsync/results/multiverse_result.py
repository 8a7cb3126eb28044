"""What a multiverse of specifications found: the table, the tests over all of it, the sentences, the files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..nulls.tails import Tail
from ..recordings.output_kinds import MARK, TableFile
from .findings import number
from .record import COMPARED

if TYPE_CHECKING:
    import pandas as pd

CHOICES = ("null", "signal", "band", "low_hz", "high_hz", "epoch", "preset", "coi", "measure")
"""Columns of a multiverse's table that say what was chosen."""
NUMBERS = ("statistic", "null_mean", "null_sd", "effect", "z", "p", "p_max", "n_dyads", "null_low", "null_high")
"""Columns that say what came out."""


@dataclass(frozen=True)
class Multiverse(TableFile):
    """What came out for every specification, and for all of them together.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per specification: null, signal, band, low_hz, high_hz, epoch, preset, coi, measure; statistic (mean
        over dyads, sessions and channel pairs), null_mean and null_sd (of all draws, the observed one among them),
        effect (statistic - null_mean), z, p, p_max (family-wise over all specifications of one null), n_dyads, and
        null_low to null_high, which hold 95 % of the draws.
    summary : dict of str to dict
        For each kind of null: its hypothesis (null), and what a small p leaves open (not_excluded);
        n_specifications, n, listed, exact, min_p, seed; n_passing (p_max <= alpha) and smallest_p_max;
        median_effect; the one test of all specifications, median_z with its p; share of specifications with p <= alpha
        and its share_p; p_bonferroni, which is p times the number of nulls.
    alpha : float
    tail : {"greater", "less", "two-sided"}
    attrs : mapping
        Study, its digest, pairs, epochs, versions, and `lost`: which specifications have no value, and why.

    Examples
    --------
    >>> multiverse(study, bands={"task": (0.05, 0.15)}, n=99).save("specifications.csv")
    """

    json_name = "multiverse"

    table: pd.DataFrame
    summary: dict[str, dict[str, Any]]
    alpha: float
    tail: Tail
    attrs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def hypothesis(self) -> str:
        """What was tested, what was shown and what was not, in a few sentences per kind of null."""
        pages = [f"{_of_all(self, kind)} {_of_each(self, kind)} {_of_null(self, kind)}" for kind in self.summary]
        return "\n\n".join([*pages, " ".join([*_of_kinds(self), _OUTSIDE])])

    def __str__(self) -> str:
        n, names = len(self.table), ", ".join(self.summary)
        title = (
            f"Multiverse of {n} specification{'s' * (n != 1)}, tail {self.tail}, null{'s' * (len(self.summary) > 1)}"
        )
        lost = self.attrs.get("lost", [])
        untested = ["", f"Not tested, {len(lost)} in all:", *(f"  {line}" for line in lost)] if lost else []
        return "\n".join([f"{title} {names}", "", self.hypothesis, *untested])

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able form; None where a number is missing."""
        rows = [{name: _jsonable(v) for name, v in row.items()} for row in self.table.to_dict("records")]
        summary = {kind: {name: _jsonable(v) for name, v in words.items()} for kind, words in self.summary.items()}
        return {
            MARK: self.json_name, "alpha": self.alpha, "tail": self.tail, "attrs": dict(self.attrs),
            "hypothesis": self.hypothesis, "summary": summary, "table": rows,
        }  # fmt: skip


def _jsonable(value: Any) -> Any:
    plain = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(plain, float) and not np.isfinite(plain) else plain


# --- words ------------------------------------------------------------------------------------------------------------

_OUTSIDE = "Choices that are not in this grid (preprocessing, exclusions, other epochs) were not corrected for."


def _of_all(found: Multiverse, kind: str) -> str:
    """The one test of all specifications."""
    words = found.summary[kind]
    n, shown = words["n_specifications"], words["p"] <= found.alpha
    drawn = f"{'all ' * words['listed']}{words['n']} draws besides the observed one"
    verdict = (
        f"taken together the specifications lie {COMPARED[found.tail]} the null"
        if shown
        else f"taken together the specifications were not shown to lie {COMPARED[found.tail]} the null"
    )
    return (
        f"Null {kind} ({drawn}), all {n} specifications: {verdict} (one test: median z {words['median_z']:.2f}, p = "
        f"{number(words['p'])}). The median effect is {words['median_effect']:+.4f}; "
        f"{round(words['share'] * n)} of {n} have p ≤ {found.alpha:g} before correction (so many: p = "
        f"{number(words['share_p'])})."
    )


def _of_each(found: Multiverse, kind: str) -> str:
    """The family-wise test of each."""
    words = found.summary[kind]
    k, n = words["n_passing"], words["n_specifications"]
    if not k:
        return (
            f"No single specification passes the correction for all {n} (step-down maximum, smallest p_max "
            f"{number(words['smallest_p_max'])}); that is no evidence of absence."
        )
    rows = found.table[(found.table["null"] == kind) & (found.table["p_max"] <= found.alpha)]
    best = rows.sort_values(["p_max", "z"], ascending=[True, found.tail == "less"]).iloc[0]
    rest = "" if k == n else "; for the others nothing was shown, which is no evidence of absence"
    return (
        f"{k} of {n} {'passes' if k == 1 else 'pass'} the correction for all {n} (p_max ≤ {found.alpha:g}, step-down "
        f"maximum), first of them {best['signal']}, band {best['band']}, epoch {best['epoch']}, {best['preset']}, cone "
        f"{best['coi']}, {best['measure']} (effect {best['effect']:+.4f}, p_max = {number(best['p_max'])}){rest}."
    )


def _of_null(found: Multiverse, kind: str) -> str:
    words = found.summary[kind]
    return f"A small p speaks against the hypothesis that {words['null']}; it does not exclude {words['not_excluded']}."


def _of_kinds(found: Multiverse) -> Iterator[str]:
    """How several nulls go together."""
    n = len(found.summary)
    if n == 1:
        return
    first = min(found.summary, key=lambda kind: float(found.summary[kind]["p"]))
    yield (
        f"The {n} nulls answer different questions and share no draws, so each is a family of its own and no p "
        f"above is corrected over them; to claim that at least one was rejected, multiply its p by {n} "
        f"(smallest: {first}, {number(found.summary[first]['p_bonferroni'])})."
    )
