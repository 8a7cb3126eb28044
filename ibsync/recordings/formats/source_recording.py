"""One form for recordings of all formats, one person each: `Incoming`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..clock import Clock
from ..find_files import Source, read_bad_channels, read_bids_events
from ..recording import Event

SIGNALS = ("hbo", "hbr", "hbt", "eeg")

Signals = dict[str, NDArray[np.float32]]


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
    channels, signal_names, unit
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
        Returns {signal: float32 [channel, time]}.
    refusal : str
        Why its data cannot be used, as a whole message; empty for a usable recording.
    """

    source: Source
    participant: str
    clock: Clock
    channels: tuple[str, ...]
    signal_names: tuple[str, ...]
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


def wanted_signals(where: str, present: tuple[str, ...], wanted: Sequence[str] | None) -> tuple[str, ...]:
    """The signals to take of those that are present; all, if nothing is asked for."""
    missing = [signal for signal in wanted or () if signal not in present]
    if missing:
        raise InputError(f"{where}: has no {missing[0]}; it has {', '.join(present)}: ask for one of these")
    return present if wanted is None else tuple(wanted)


def events_of(source: Source, stims: tuple[Event, ...]) -> tuple[Event, ...]:
    """The BIDS events table where there is one with rows, else the file's own marks, in order of onset."""
    rows = [Event(*row) for row in read_bids_events(source)]
    return tuple(sorted(rows, key=lambda event: event.onset)) or stims


def clock_of(source: Source, times: NDArray[np.float64]) -> Clock:
    """Return the clock of the times of samples, in s."""
    if times.size < 2:
        raise InputError(f"{source.path}: has {times.size} samples; export the recording again")
    try:
        return Clock.from_times(times)
    except InputError as error:
        raise InputError(f"{source.path}: {error}") from None


def one_person(
    source: Source,
    clock: Clock,
    channels: tuple[str, ...],
    signal_names: tuple[str, ...],
    signals: Signals | Callable[[], Signals],
    *,
    bad: Sequence[tuple[str, str]] = (),
    unit: str = "",
    stims: tuple[Event, ...] = (),
    started: str = "",
    notes: tuple[str, ...] = (),
) -> Incoming:
    """One person's recording; the signals are at hand, or come when they are asked for."""
    fetch = signals if callable(signals) else lambda: signals
    return Incoming(
        source=source,
        participant=source.participant,
        clock=clock,
        channels=channels,
        signal_names=signal_names,
        read=lambda: _copies(fetch(), signal_names),
        names=(source.path.name.split(".")[0],),
        unit=unit,
        events=events_of(source, stims),
        bad=tuple(dict([*bad, *read_bad_channels(source, (), ()).items()]).items()),
        started=started,
        notes=notes,
    )


def _copies(signals: Signals, signal_names: Sequence[str]) -> Signals:
    return {signal: signals[signal].copy() for signal in signal_names}


def short(error: BaseException) -> str:
    """Return the message of an error on one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
