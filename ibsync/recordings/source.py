"""One file of recordings, with what BIDS tables say of its channels and events."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isnan
from pathlib import Path

from ..errors import InputError
from .names import channel_and_signal
from .tables import Row, number_in, read_table, yes_in

_STATUS = ("", "good", "bad")
_CHANNEL_COLUMNS = ("name", "source", "detector", "status", "status_description", "short_channel")
_EVENT_COLUMNS = ("duration", "trial_type", "value")


@dataclass(frozen=True)
class Source:
    """One file of recordings, what its name says (empty where it does not), and the BIDS tables that belong to it."""

    path: Path
    participant: str
    session: str = ""
    task: str = ""
    run: str = ""
    is_derivative: bool = False
    channels: Path | None = None
    events: Path | None = None

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What a recording is told apart by."""
        return self.participant, self.session, self.task, self.run


@dataclass(frozen=True)
class ChannelMarks:
    """What a BIDS table says of channels ("S1_D1"): the bad ones with the reason it gives, and the short ones."""

    bad: dict[str, str] = field(default_factory=dict)
    short: tuple[str, ...] = ()


def read_channel_marks(source: Source, source_labels: Sequence[str], detector_labels: Sequence[str]) -> ChannelMarks:
    """The marks of the BIDS table of a recording; none where there is no table."""
    if source.channels is None:
        return ChannelMarks()
    numbers = _optode_numbers("S", source_labels) | _optode_numbers("D", detector_labels)
    bad: dict[str, str] = {}
    short: list[str] = []
    for line, row in read_table(source.channels, others=_CHANNEL_COLUMNS).items():
        name, where = _channel_name(row, numbers), f"{source.channels}: line {line}"
        status = row.get("status", "").lower()
        if status not in _STATUS:
            raise InputError(f"{where}: status is {status!r}; write good, bad or n/a")
        if status == "bad" and name:
            bad.setdefault(name, row.get("status_description", ""))
        if yes_in(where, "short_channel", row.get("short_channel", ""), False) and name not in short:
            short.append(name)
    return ChannelMarks(bad, tuple(short))


def _optode_numbers(letter: str, labels: Sequence[str]) -> dict[str, str]:
    if labels and len(set(labels)) == len(labels):
        return {f"{letter}:{label}": f"{letter}{k}" for k, label in enumerate(labels, 1)}
    return {}


def _channel_name(row: Row, numbers: dict[str, str]) -> str:
    """Our name of a row of channels.tsv: by its optodes, else by a name such as "S1_D1 760", "S1-D1" or "Cz"."""
    optodes = row.get("source", ""), row.get("detector", "")
    if not all(optodes):
        match = re.match(r"(S\d+)[-_ ](D\d+)\b", row.get("name", ""))
        if not match:
            return channel_and_signal(row.get("name", ""))[0]
        optodes = match[1], match[2]
    named = [numbers.get(f"{letter}:{label}", label) for letter, label in zip("SD", optodes, strict=True)]
    return "_".join(f"{letter}{label}" if label.isdigit() else label for letter, label in zip("SD", named, strict=True))


def read_bids_events(source: Source) -> list[tuple[float, float, str, float]]:
    """Onset, duration (both s), label and value of every row of the BIDS events table, if there is one."""
    if source.events is None:
        return []
    rows = read_table(source.events, ("onset",), _EVENT_COLUMNS)
    return [_event(f"{source.events}: line {line}", row) for line, row in rows.items()]


def _event(where: str, row: Row) -> tuple[float, float, str, float]:
    onset, duration = (number_in(where, name, row.get(name, "")) for name in ("onset", "duration"))
    if isnan(onset):
        raise InputError(f"{where}: onset is missing; fill it in or remove the line")
    value = row.get("value", "")
    label = row.get("trial_type") or value or "event"
    return (
        onset,
        0.0 if isnan(duration) else duration,
        label,
        float(value) if re.fullmatch(r"-?\d+(\.\d+)?", value) else float("nan"),
    )
