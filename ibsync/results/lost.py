"""What has no value, or one of less than was asked for: each with its reason and what would keep it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from ..recordings.names import natural_order

if TYPE_CHECKING:
    import pandas as pd

ALL = "(all)"
NO_VALUE, CUT, ALONE = "no value", "cut", "not exchanged"

_MOST_NAMES, _MOST_REASONS, _MOST_LINES = 3, 4, 10


@dataclass(frozen=True)
class Loss:
    """
    One thing that was asked for and is missing, in whole or in part.

    Attributes
    ----------
    dyad, session, task : str
        The row that lacks it.
    person : str
        Whose channel it is; "(all)" for both people.
    epoch, band, channel : str
        What is missing; "(all)" for every one.
    what : {"no value", "cut", "not exchanged"}
    reason, fix : str
        Why, and what would keep it.
    """

    dyad: str
    session: str = ""
    task: str = ""
    person: str = ALL
    epoch: str = ALL
    band: str = ALL
    channel: str = ALL
    what: str = NO_VALUE
    reason: str = ""
    fix: str = ""

    @property
    def row(self) -> str:
        """Dyad, session and task in one phrase."""
        if self.dyad == ALL:
            return "every dyad"
        return " / ".join(filter(None, (self.dyad, self.session, self.task)))


COLUMNS = tuple(entry.name for entry in fields(Loss))


def losses_in(attrs: Mapping[Any, Any]) -> list[Loss]:
    """The losses that attributes hold; empty if they hold none."""
    return [Loss(*values) for values in json.loads(str(attrs.get("lost", "[]")))]


def encoded(losses: Sequence[Loss]) -> list[tuple[str, ...]]:
    """Losses as attributes hold them."""
    return [astuple(loss) for loss in losses]


def lost_table(losses: Sequence[Loss]) -> pd.DataFrame:
    """One row for each loss: dyad, session, task, person, epoch, band, channel, what, reason, fix."""
    import pandas as pd

    return pd.DataFrame([asdict(loss) for loss in losses], columns=list(COLUMNS))


def lost_lines(losses: Sequence[Loss]) -> list[str]:
    """What is lost, to be read: a line for each kind, with how often, the first names, the reason and the fix."""
    kinds: dict[tuple[str, str, bool], list[Loss]] = {}
    for loss in losses:
        kinds.setdefault((loss.what, loss.epoch, loss.channel != ALL), []).append(loss)
    lines = [line for kind in kinds.values() for line in _lines_of_kind(kind)]
    more = len(lines) - _MOST_LINES
    return lines if more <= 1 else [*lines[:_MOST_LINES], f"and {more} more kinds: see the table of what was lost"]


def _lines_of_kind(kind: Sequence[Loss]) -> list[str]:
    """A line for each reason, or one with an example where there are many."""
    by_reason: dict[tuple[str, str], list[Loss]] = {}
    for loss in kind:
        by_reason.setdefault((loss.reason, loss.fix), []).append(loss)
    if len(by_reason) <= _MOST_REASONS:
        return [_line(group) for group in by_reason.values()]
    example = kind[0]
    reason = f"{len(by_reason)} reasons, of {example.row} for example: {example.reason}"
    return [_line([replace(loss, reason=reason, fix=example.fix) for loss in kind])]


def _line(group: Sequence[Loss]) -> str:
    first = group[0]
    if first.channel != ALL:
        channels: dict[str, list[str]] = {}
        for loss in group:
            whose = "" if loss.person == ALL else f" ({loss.person})"
            channels.setdefault(loss.channel, []).append(f"{loss.row}{whose}")
        listed = [f"{channel} in {few(list(dict.fromkeys(rows)))}" for channel, rows in channels.items()]
        where = "" if first.epoch == ALL else f"{_epoch(first)}: "
        n = _plural(len(channels), "channel pair" if " - " in first.channel else "channel")
        if first.what == CUT:
            return f"{_plural(len(channels), 'region')} of fewer channels ({first.reason}): {few(listed, '; ')}"
        return f"{where}{n} without a value ({first.reason}): {few(listed, '; ')}: {first.fix}"
    rows = few(list(dict.fromkeys(loss.row for loss in group if loss.row)))
    # What is cut is cut in time, for all bands.
    bands = [band for band in dict.fromkeys(loss.band for loss in group) if band != ALL and first.what != CUT]
    where = ", ".join([_epoch(first)] * (first.epoch != ALL) + [f"band {few(bands)}"] * bool(bands))
    fix = f": {first.fix}" if first.fix else ""
    what = f"{first.what} in {rows}" if rows else first.what
    return f"{f'{where}: ' if where else ''}{what}: {first.reason}{fix}"


def lost_in_a_sentence(losses: Sequence[Loss]) -> str:
    """How much is lost, in one sentence; empty if nothing is."""
    parts = []
    for what, words in ((NO_VALUE, "Without a value"), (CUT, "Cut short"), (ALONE, "Without anybody to exchange")):
        of_rows = [loss for loss in losses if loss.what == what and loss.channel == ALL]
        places: dict[str, list[str]] = {}
        for loss in of_rows:
            names = [_epoch(loss)] * (loss.epoch != ALL) + [f"band {loss.band}"] * (loss.band != ALL and what != CUT)
            places.setdefault(", ".join(names), []).append(loss.row)
        other = "missing samples" if what == CUT else "everything"
        listed = [f"{place or other} in {few(list(dict.fromkeys(rows)))}" for place, rows in places.items()]
        parts += [f"{words}: {few(listed, '; ')}"] if listed else []
    for what, words, noun in ((NO_VALUE, "Without", "channel"), (CUT, "Of fewer channels", "region")):
        names = natural_order({loss.channel for loss in losses if loss.channel != ALL and loss.what == what})
        parts += [f"{words} {_plural(len(names), noun)} in some recordings: {few(names)}"] if names else []
    return ". ".join(parts) + "." * bool(parts)


def _epoch(loss: Loss) -> str:
    return "whole recording" if loss.epoch == "all" else f"epoch {loss.epoch}"


def few(names: Sequence[str], between: str = ", ") -> str:
    """The first few of some names, and how many more there are."""
    if len(names) <= _MOST_NAMES + 1:
        return between.join(names)
    return f"{between.join(names[:_MOST_NAMES])}{between}and {len(names) - _MOST_NAMES} more"


def _plural(n: int, noun: str) -> str:
    return f"{n} {noun}{'s' * (n != 1)}"
