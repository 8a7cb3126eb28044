"""One form for recordings of all formats, one person each: `SourceRecording`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..clock import Clock
from ..names import plain, signal_named
from ..preprocess import Preprocessing
from ..recording import Event, distance_mm
from ..source import ChannelMarks, Source, read_bids_events, read_channel_marks

SIGNALS = ("hbo", "hbr", "hbt", "eeg")
_SHORT_MM = 15.0
_SAME_S = 0.1

Signals = dict[str, NDArray[np.float64]]
Notes = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class SignalChoice:
    """
    Signals to take: by name, by default all; optical density only where it is allowed; raw light as it is told.

    `called` are names that MATLAB files and tables have for signals, `sfreq` is the rate in Hz of those that do not say
    it.
    """

    names: Sequence[str] | None = None
    allow_dod: bool = False
    preprocess: Preprocessing | None = None
    called: Mapping[str, str] = field(default_factory=dict)
    sfreq: float | None = None

    @classmethod
    def asked(
        cls,
        signal: str | Sequence[str] | Mapping[str, str] | None,
        *,
        allow_dod: bool = False,
        preprocess: Preprocessing | None = None,
        sfreq: float | None = None,
    ) -> Self:
        """
        What is asked for by signals, such as "hbo", or by what they are called, such as "hbo=oxy1" or {"hbo": "oxy1"}.

        Raises
        ------
        InputError
            If something else is named by that.
        """
        if signal is None:
            return cls(None, allow_dod, preprocess, {}, sfreq)
        texts = [signal] if isinstance(signal, str) else signal
        pairs = texts.items() if isinstance(texts, Mapping) else [(text.partition("=")[::2]) for text in texts]
        words = {signal_named(str(name)): plain(str(called)) for name, called in pairs}
        wrong = [name for name, called in words.items() if called and name not in SIGNALS]
        if wrong:
            raise InputError(
                f"signal {wrong[0]!r} is unknown; write one of {', '.join(SIGNALS)} before {words[wrong[0]]!r}"
            )
        called = {name: text for name, text in words.items() if text}
        return cls(list(words), allow_dod, preprocess, called, sfreq)

    def of(self, present: tuple[str, ...], where: object) -> tuple[str, ...]:
        """The signals to take of those that are present."""
        missing = [signal for signal in self.names or () if signal not in present]
        if missing:
            raise InputError(f"{where}: has no {missing[0]}; it has {', '.join(present)}: ask for one of these")
        return present if self.names is None else tuple(self.names)


@dataclass(frozen=True)
class SourceRecording:
    """One person's recording before it is fitted into a study.

    `names` are others by which a table may call the person, `bad` its channels that are marked so, with the reason
    that is given, `started` the date and time of the file's time origin, `dyad` and `role` what the file itself says,
    `notes` what else is to be reported, by kind. `read` returns {signal: float64 [channel, time]}. `refusal` says, as a
    whole message, why the data cannot be used; it is empty for a usable recording. `place` counts the people of a file.
    `short` are its short channels, `optodes_mm` positions of source and detector by channel, `auxiliary` the clocks of
    auxiliary signals by name, which `read` returns, too, as float64 [1, time] each. `found_bad` are channels that
    preprocessing found to be bad, with the reason; None where there was none. `trials` are the numbers of the trials
    that lie end to end in it, by which those of two people belong together, or -1 where they have none; empty for a
    continuous recording.
    """

    source: Source
    participant: str
    clock: Clock
    channels: tuple[str, ...]
    signal_names: tuple[str, ...]
    read: Callable[[], Signals]
    names: tuple[str, ...] = ()
    unit: str = ""
    events: tuple[Event, ...] = ()
    bad: tuple[tuple[str, str], ...] = ()
    started: str = ""
    dyad: str = ""
    role: str = ""
    notes: Notes = ()
    refusal: str = ""
    place: int = 0
    short: tuple[str, ...] = ()
    optodes_mm: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    auxiliary: Mapping[str, Clock] = field(default_factory=dict)
    found_bad: Mapping[str, str] | None = None
    trials: tuple[int, ...] = ()
    trial_onsets: tuple[float, ...] = ()

    @property
    def trial_samples(self) -> int:
        """Samples of a trial; 0 for a continuous recording."""
        return self.clock.n_samples // len(self.trials) if self.trials else 0

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


def refused_recording(source: Source, refusal: str) -> SourceRecording:
    """A recording whose data cannot be used, and why."""
    return SourceRecording(source, source.participant, Clock(0.0, 1.0, 0), (), (), dict, refusal=refusal)


def events_of(source: Source, stims: tuple[Event, ...]) -> tuple[Event, ...]:
    """The BIDS events table where there is one with rows, else the file's own marks; bad stretches of both."""
    rows = [Event(*row) for row in read_bids_events(source)]
    if not rows:
        return stims
    return tuple(sorted([*rows, *(mark for mark in stims if mark.is_bad)], key=lambda event: event.onset))


def marks_outside(events: Sequence[Event], clock: Clock) -> Notes:
    """The note on marks that do not lie within the recording, or last for less than nothing."""
    stop = clock.stop - clock.t0 + 1 / clock.sfreq
    outside = [e for e in events if not 0 <= e.onset <= e.onset + e.duration <= stop + _SAME_S]
    if not outside:
        return ()
    first = ", ".join(f"{e.label!r} at {e.onset:g} s for {e.duration:g} s" for e in outside[:3])
    return (
        (
            "marks",
            f"{len(outside)} do not lie within the recording of {stop:g} s: {first}{', ...' * (len(outside) > 3)}",
        ),
    )


def clock_of(source: Source, times: NDArray[np.float64]) -> Clock:
    """The clock of the times of samples, in s."""
    if times.size < 2:
        raise InputError(f"{source.path}: has {times.size} samples; export the recording again")
    try:
        return Clock.from_times(times)
    except InputError as error:
        raise InputError(f"{source.path}: {error}") from None


def columns_by_channel(source: Source, columns: Iterable[tuple[str, str, str]]) -> dict[str, dict[str, str]]:
    """Columns by signal and channel, of (column, channel, signal).

    Raises
    ------
    InputError
        Where two columns are one channel, or EEG and fNIRS have no channel in common.
    """
    table: dict[str, dict[str, str]] = {}
    for column, channel, signal in columns:
        other = table.setdefault(signal, {}).setdefault(channel, column)
        if other != column:
            raise InputError(
                f"{source.path}: {channel} {signal} stands twice, as {other!r} and {column!r}; remove or rename one"
            )
    optodes = {channel for signal, channels in table.items() if signal != "eeg" for channel in channels}
    if optodes and "eeg" in table and not optodes & set(table["eeg"]):
        fnirs = [signal for signal in table if signal != "eeg"]
        raise InputError(
            f"{source.path}: EEG and {', '.join(fnirs)} have no channel in common; make a study of each, with "
            f"signal='eeg' (--signal eeg) and signal={fnirs} (--signal {' '.join(fnirs)})"
        )
    return table


def short_channels(marks: ChannelMarks, optodes_mm: Mapping[str, tuple[float, ...]]) -> tuple[tuple[str, ...], Notes]:
    """Channels that the BIDS table calls short, or whose optodes lie close together, and the note on them.

    Where all lie close together, their positions have another unit, and are not believed.
    """
    distances = {name: distance_mm(place) for name, place in optodes_mm.items()}
    near = {name: f" ({mm:.3g} mm)" for name, mm in distances.items() if 0 < mm < _SHORT_MM}
    if len(near) == len(distances) > 1:
        text = f"all {len(near)} by their positions (check the unit of length), which are not used"
        return marks.short, (("short channels", text),)
    names = tuple(dict.fromkeys([*marks.short, *near]))
    listed = ", ".join(f"{name}{near.get(name, '')}" for name in names)
    text = f"{listed}; these see more scalp than brain, and are tested only where pairs names them"
    return names, (("short channels", text),) if names else ()


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
    notes: Notes = (),
    optodes_mm: Mapping[str, tuple[float, ...]] | None = None,
    found_bad: Mapping[str, str] | None = None,
    trials: tuple[int, ...] = (),
    trial_onsets: tuple[float, ...] = (),
) -> SourceRecording:
    """One person's recording; the signals are at hand, or come when they are asked for."""
    fetch = signals if callable(signals) else lambda: signals
    marks = read_channel_marks(source, (), ())
    events = stims if trials else events_of(source, stims)  # a table is of the recording before it was cut
    near, note = short_channels(marks, optodes_mm or {})
    return SourceRecording(
        source=source,
        participant=source.participant,
        clock=clock,
        channels=channels,
        signal_names=signal_names,
        read=lambda: _copies(fetch(), signal_names),
        names=(source.path.name.split(".")[0],),
        unit=unit,
        events=events,
        bad=tuple(dict([*bad, *marks.bad.items()]).items()),
        started=started,
        notes=notes + note + marks_outside(events, clock),
        short=near,
        optodes_mm=optodes_mm or {},
        found_bad=found_bad,
        trials=trials,
        trial_onsets=trial_onsets,
    )


def _copies(signals: Signals, signal_names: Sequence[str]) -> Signals:
    return {signal: signals[signal].copy() for signal in signal_names}


def short(error: BaseException) -> str:
    """The message of an error on one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
