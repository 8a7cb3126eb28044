"""Hides the differences between recording formats: `Incoming` is one form for all, made here from SNIRF."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .clock import Clock
from .recording import Event
from .snirf import Haemoglobin, SnirfPerson, haemoglobin, read_snirf
from .sources import Source, read_bad_channels, read_bids_events


@dataclass(frozen=True)
class Incoming:
    """One person's recording before it is fitted into a study; `read` fetches the signals.

    Attributes
    ----------
    source : Source
        The file and what its name says.
    participant : str
        Who was recorded.
    names : tuple of str
        Other names by which a table may call that person.
    channels, chromas, unit
        As in `Recording`.
    clock : Clock
        When the samples were taken.
    events : tuple of Event
        Onsets count from the first sample.
    bad : tuple of (str, str)
        Channels that are marked bad, and why where that is said.
    started : str
        Date and time that the file gives for its time origin; empty where it does not say.
    dyad, role : str
        What the file itself says of dyad and role.
    notes : tuple of str
        What was left aside, in words.
    read : callable
        Returns {chroma: float32 [channel, time]}.
    refusal : str
        Why its data cannot be used, as a whole message; empty for a usable recording.
    """

    source: Source
    participant: str
    clock: Clock
    channels: tuple[str, ...]
    chromas: tuple[str, ...]
    read: Callable[[], dict[str, NDArray[np.float32]]]
    names: tuple[str, ...] = ()
    unit: str = ""
    events: tuple[Event, ...] = ()
    bad: tuple[tuple[str, str], ...] = ()
    started: str = ""
    dyad: str = ""
    role: str = ""
    notes: tuple[str, ...] = ()
    refusal: str = ""

    @property
    def path(self) -> Path:
        """The file it comes from."""
        return self.source.path

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Participant, session, task and run."""
        return self.participant, self.source.session, self.source.task, self.source.run

    @property
    def id(self) -> str:
        """Name of the recording in BIDS fashion, of the labels that there are."""
        labels = zip(("ses", "task", "run"), self.key[1:], strict=True)
        return "_".join([self.participant, *(f"{name}-{label}" for name, label in labels if label)])


def read_snirf_recordings(source: Source, *, chromas: Sequence[str] | None, allow_dod: bool) -> list[Incoming]:
    """Every person's recording in a SNIRF file; data of an unusable type come back with their `refusal`."""
    people = read_snirf(source.path)
    names = _names_of_people(source, people)
    return [_incoming(source, person, name, chromas, allow_dod) for person, name in zip(people, names, strict=True)]


def _names_of_people(source: Source, people: Sequence[SnirfPerson]) -> list[str]:
    """The file's name for one person; the SubjectIDs for several, where they tell them apart."""
    if len(people) == 1:
        return [source.participant]
    subjects = [person.subject for person in people]
    if all(subjects) and len(set(subjects)) == len(subjects):
        return subjects
    return [f"{source.participant}-{k}" for k in range(1, len(people) + 1)]


def _incoming(
    source: Source, person: SnirfPerson, name: str, chromas: Sequence[str] | None, allow_dod: bool
) -> Incoming:
    known = "unknown" not in (person.date + person.time).lower()
    bare = Incoming(
        source=source,
        participant=name,
        clock=person.blocks[0].clock,
        channels=(),
        chromas=(),
        read=dict,
        names=(source.path.name.split(".")[0], person.subject),
        started=f"{person.date} {person.time}".strip() if known else "",
        dyad=person.tags.get("DyadID", ""),
        role=person.tags.get("DyadRole", ""),
    )
    try:
        found = haemoglobin(person, allow_dod=allow_dod)
    except InputError as error:
        return replace(bare, refusal=str(error))
    return _usable(bare, person, found, wanted_chromas(person.where, tuple(found.columns), chromas))


def _usable(bare: Incoming, person: SnirfPerson, found: Haemoglobin, chromas: tuple[str, ...]) -> Incoming:
    bad = read_bad_channels(bare.source, person.source_labels, person.detector_labels)
    return replace(
        bare,
        clock=found.block.clock,
        channels=found.channels,
        chromas=chromas,
        read=lambda: found.read(chromas),
        unit=found.unit,
        events=events_of(bare.source, found.block.events),
        bad=tuple(bad.items()),
        notes=found.notes,
    )


def wanted_chromas(where: str, present: tuple[str, ...], wanted: Sequence[str] | None) -> tuple[str, ...]:
    """The signals to take of those that are present; all, if nothing is asked for."""
    missing = [chroma for chroma in wanted or () if chroma not in present]
    if missing:
        raise InputError(f"{where}: has no {missing[0]}; it has {', '.join(present)}: ask for one of these")
    return present if wanted is None else tuple(wanted)


def events_of(source: Source, stims: tuple[Event, ...]) -> tuple[Event, ...]:
    """The BIDS events table where there is one with rows, else the file's own marks, in order of onset."""
    rows = [Event(*row) for row in read_bids_events(source)]
    return tuple(sorted(rows, key=lambda event: event.onset)) or stims
