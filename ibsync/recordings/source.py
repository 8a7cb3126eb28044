"""One file of recordings, with what BIDS tables say of its channels and events."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from .tables import Row, read_table


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


def read_bad_channels(source: Source, source_labels: Sequence[str], detector_labels: Sequence[str]) -> dict[str, str]:
    """Channels ("S1_D1") that the BIDS table marks bad, with the reason it gives."""
    if source.channels is None:
        return {}
    numbers = _optode_numbers("S", source_labels) | _optode_numbers("D", detector_labels)
    bad: dict[str, str] = {}
    for row in read_table(source.channels):
        name = _channel_name(row, numbers)
        if row.get("status", "").lower() == "bad" and name:
            bad.setdefault(name, row.get("status_description", ""))
    return bad


def _optode_numbers(letter: str, labels: Sequence[str]) -> dict[str, str]:
    if labels and len(set(labels)) == len(labels):
        return {f"{letter}:{label}": f"{letter}{k}" for k, label in enumerate(labels, 1)}
    return {}


def _channel_name(row: Row, numbers: dict[str, str]) -> str:
    """Our name of a row of channels.tsv: by its optodes, or by a name such as "S1_D1 760" or "S1-D1"."""
    optodes = row.get("source", ""), row.get("detector", "")
    if not all(optodes):
        match = re.match(r"(S\d+)[_-](D\d+)\b", row.get("name", ""))
        optodes = (match[1], match[2]) if match else ("", "")
    named = [numbers.get(f"{letter}:{label}", label) for letter, label in zip("SD", optodes, strict=True)]
    plain = [f"{letter}{label}" if label.isdigit() else label for letter, label in zip("SD", named, strict=True)]
    return "_".join(plain) if all(plain) else ""


def read_bids_events(source: Source) -> list[tuple[float, float, str, float]]:
    """Onset, duration (both s), label and value of every row of the BIDS events table, if there is one."""
    if source.events is None:
        return []
    return [_event(source.events, number, row) for number, row in enumerate(read_table(source.events, ("onset",)), 2)]


def _event(path: Path, number: int, row: Row) -> tuple[float, float, str, float]:
    try:
        onset, duration = float(row["onset"]), float(row.get("duration") or 0)
    except ValueError:
        raise InputError(f"{path}: line {number}: onset and duration must be numbers; correct the line") from None
    value = row.get("value", "")
    label = row.get("trial_type") or value or "event"
    return onset, duration, label, float(value) if re.fullmatch(r"-?\d+(\.\d+)?", value) else float("nan")
