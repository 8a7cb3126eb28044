"""Hides how recordings of a dyad come to one rate, one start and one length.

Recordings that share a dyad, directly or through a third person, are fitted together, so that each is still stored
once. Nothing is changed unless it was asked for; what is changed is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .clock import Clock, moment, on_times, regrid
from .formats.source_recording import SourceRecording
from .match_recordings import MatchedRow
from .recording import Event

OnGap = Literal["error", "interpolate", "nan"]
Say = Callable[[str, str, str], None]
_SLOWEST_HZ = 0.1
_CLOCKS_APART_S = 0.02  # two devices mark one event within this time
_CLOCKS_DRIFT = 1e-3  # seconds that one clock gains on another in each second
_USUAL_HZ = (1.0, 300.0)


@dataclass(frozen=True)
class Wish:
    """What may be done to recordings that do not fit together."""

    crop: bool
    resample: float | None
    on_gap: OnGap


@dataclass(frozen=True)
class Fit:
    """Which stretch of a recording goes into the study, from `start` seconds on, and at what rate in Hz.

    Without `gaps` the recording keeps its own samples; else they are put on a new grid, with this in the gaps. Of
    trials `kept` are the places of those that stay.
    """

    start: float
    sfreq: float
    n_samples: int
    gaps: Literal["interpolate", "nan"] | None
    kept: tuple[int, ...] = ()

    @property
    def trial_samples(self) -> int:
        """Samples of a trial; 0 for a continuous recording."""
        return self.n_samples // len(self.kept) if self.kept else 0

    def moved(self, events: Iterable[Event]) -> tuple[Event, ...]:
        """Marks by the time that is left of the recording."""
        if not self.kept:
            return tuple(replace(event, onset=event.onset - self.start) for event in events)
        seconds = self.trial_samples / self.sfreq
        of_trial: dict[int, list[Event]] = {}
        for event in events:
            of_trial.setdefault(int((event.onset + 0.5 / self.sfreq) // seconds), []).append(event)
        return tuple(
            replace(event, onset=event.onset + (place - number) * seconds)
            for place, number in enumerate(self.kept)
            for event in of_trial.get(number, ())
        )

    def apply(self, samples: NDArray[np.float32], clock: Clock) -> NDArray[np.float32]:
        """The stretch of `samples`, float32 [channel, time], that this fit keeps."""
        if self.gaps:
            return regrid(samples, clock, self.sfreq, gaps=self.gaps, start=self.start)[:, : self.n_samples]
        if self.kept:
            by_trial = samples.reshape(len(samples), -1, self.trial_samples)
            return by_trial[:, list(self.kept)].reshape(len(samples), -1)
        first = round(self.start * clock.sfreq)
        return samples[:, first : first + self.n_samples]

    def apply_beside(self, samples: NDArray[np.float32], own: Clock, clock: Clock) -> NDArray[np.float32]:
        """An auxiliary signal, float32 [1, time] by its own clock, at the times that this fit gives the channels."""
        if own == clock:
            return self.apply(samples, clock)
        grid = clock.t0 + self.start - own.t0 + np.arange(self.n_samples) / self.sfreq
        return on_times(samples, own, grid, self.sfreq, gaps="nan")


def fit_recordings(rows: Sequence[MatchedRow], wish: Wish, say: Say) -> dict[str, Fit]:
    """How every recording is fitted to its partners, by recording id.

    Raises
    ------
    InputError
        Where sampling is uneven, or rates, starts or lengths differ, and the wish does not cover it.
    """
    recordings = {x.id: x for row in rows for x in (row.a, row.b)}
    clocks = {name: _even_clock(recording, wish) for name, recording in recordings.items()}
    for row in rows:
        _check_rates(row, clocks)
    fits: dict[str, Fit] = {}
    for group in _linked(rows):
        members = {name: recordings[name] for name in group}
        links = [row for row in rows if row.a.id in members]
        fits |= _fit_together(members, clocks, links, wish, say)
    for name, fit in fits.items():
        _report(recordings[name], fit, say)
    return fits


def _even_clock(recording: SourceRecording, wish: Wish) -> Clock:
    clock = recording.clock
    if clock.sfreq < _SLOWEST_HZ:
        raise InputError(
            f"{recording.path}: {recording.id}: no recording has {clock.sfreq:.3g} Hz; give time in s (not ms) and "
            "sfreq in Hz"
        )
    if clock.irregular and wish.resample is None and wish.on_gap == "error":
        raise InputError(
            f"{recording.path}: {recording.id}: {clock.irregular}; keep the gap with on_gap='nan' "
            f"(--on-gap nan), or interpolate with resample={clock.sfreq:.4g} (--resample {clock.sfreq:.4g})"
        )
    rate = wish.resample or clock.sfreq
    return clock if _keeps_grid(clock, rate) else clock.on_grid(rate)


def _keeps_grid(clock: Clock, rate: float) -> bool:
    return not clock.irregular and _same_rate(clock.sfreq, rate, clock.n_samples)


def _same_rate(one: float, other: float, n_samples: int) -> bool:
    """Whether two grids stay within half a sample of each other to the end."""
    return abs(one / other - 1) * n_samples < 0.5


def _check_rates(row: MatchedRow, clocks: Mapping[str, Clock]) -> None:
    a, b = clocks[row.a.id], clocks[row.b.id]
    if not _same_rate(a.sfreq, b.sfreq, max(a.n_samples, b.n_samples)):
        rate = f"{min(a.sfreq, b.sfreq):.6g}"
        raise InputError(
            f"{row.label}: sampling rates differ, {row.a.path.name} ({row.a.participant}) {a.sfreq:.6g} Hz and "
            f"{row.b.path.name} ({row.b.participant}) {b.sfreq:.6g} Hz; bring them to one with resample={rate} "
            f"(--resample {rate})"
        )


def _linked(rows: Iterable[MatchedRow]) -> list[list[str]]:
    """Groups of recordings that dyads link, directly or through others."""
    group_of: dict[str, list[str]] = {}
    for row in rows:
        a, b = (group_of.setdefault(name, [name]) for name in (row.a.id, row.b.id))
        if a is not b:
            a += b
            group_of.update(dict.fromkeys(b, a))
    return list({id(group): group for group in group_of.values()}.values())


def _fit_together(
    members: Mapping[str, SourceRecording],
    clocks: Mapping[str, Clock],
    links: Sequence[MatchedRow],
    wish: Wish,
    say: Say,
) -> dict[str, Fit]:
    if any(recording.trials for recording in members.values()):
        return _fit_trials(members, links, wish)
    sfreq = wish.resample or clocks[links[0].a.id].sfreq
    on_grid = {name for name, recording in members.items() if clocks[name] is recording.clock}
    starts = _late_starts(members, sfreq, say)
    starts = {name: round(start * sfreq) / sfreq if name in on_grid else start for name, start in starts.items()}
    if not wish.crop:
        _check_lengths(links, clocks, starts, is_resampled=wish.resample is not None)
    n_samples = min(
        clocks[name].n_samples - round(starts[name] * sfreq)
        if name in on_grid
        else x.clock.count_on_grid(sfreq, starts[name])
        for name, x in members.items()
    )
    if n_samples < 2:
        raise InputError(f"{links[0].label}: the recordings do not overlap in time; check their start times")
    gaps: Literal["interpolate", "nan"] = "nan" if wish.on_gap == "nan" else "interpolate"
    return {name: Fit(starts[name], sfreq, n_samples, None if name in on_grid else gaps) for name in members}


def _fit_trials(members: Mapping[str, SourceRecording], links: Sequence[MatchedRow], wish: Wish) -> dict[str, Fit]:
    """The trials that all members have: all of each, or as many as are the same where it is wished to crop."""
    for row in links:
        a, b = row.a, row.b
        tell = [f"{x.id} {_told(x)}" for x in (a, b)]
        if a.trial_samples != b.trial_samples or abs(a.clock.t0 - b.clock.t0) * a.clock.sfreq > 0.5:
            raise InputError(f"{row.label}: {tell[0]}, {tell[1]}; cut both into the same trials")
        if wish.resample is not None:
            raise InputError(f"{row.label}: trials are not resampled; resample before they are cut, or with MNE")
        for x in (a, b):
            if -1 not in x.trials and len(set(x.trials)) < len(x.trials):
                twice = next(number for number in x.trials if x.trials.count(number) > 1)
                raise InputError(f"{row.label}: {x.id} has trial {twice} twice; keep one")
        if -1 in (*a.trials, *b.trials) and len(a.trials) != len(b.trials):
            raise InputError(f"{row.label}: {tell[0]}, {tell[1]}, and nothing says which are the same; give the same")
    shared = set.intersection(*(set(x.trials) for x in members.values()))
    if not wish.crop:
        for row in links:
            if row.a.trials != row.b.trials:
                n = len(set(row.a.trials) & set(row.b.trials))
                if n == len(row.a.trials) == len(row.b.trials):
                    raise InputError(
                        f"{row.label}: {row.a.id} and {row.b.id} have the same {n} trials in another order; bring them "
                        "into one order, or have them sorted with crop=True (--crop)"
                    )
                raise InputError(
                    f"{row.label}: {row.a.id} and {row.b.id} kept {len(row.a.trials)} and {len(row.b.trials)} trials, "
                    f"{n} of them the same; keep these with crop=True (--crop)"
                )
    if not shared:
        raise InputError(f"{links[0].label}: the recordings have no trial in common; cut both from the same events")
    for row in links:
        _require_one_time(row, sorted(shared))
    fits = {}
    for name, x in members.items():
        kept = tuple(range(len(x.trials)) if -1 in shared else map(x.trials.index, sorted(shared)))
        fits[name] = Fit(0.0, links[0].a.clock.sfreq, len(kept) * x.trial_samples, None, kept)
    return fits


def _require_one_time(row: MatchedRow, shared: Sequence[int]) -> None:
    """Refuse trials that have one number and lie at other times from each other, as if one person had more events."""
    a, b = row.a, row.b
    if -1 in shared or not (a.trial_onsets and b.trial_onsets):
        return
    times = [np.array([x.trial_onsets[x.trials.index(number)] for number in shared]) for x in (a, b)]
    since = [x - x[0] for x in times]
    apart = np.abs(since[0] - since[1]) > _CLOCKS_APART_S + _CLOCKS_DRIFT * np.abs(since[0])
    if apart.any():
        k = int(np.argmax(apart))
        raise InputError(
            f"{row.label}: trial {shared[k]} comes {since[0][k]:.3f} s after trial {shared[0]} in {a.id} and "
            f"{since[1][k]:.3f} s in {b.id}, so their numbers count other events; cut both from one table of events"
        )


def _told(recording: SourceRecording) -> str:
    if not recording.trials:
        return "is continuous"
    seconds = recording.trial_samples / recording.clock.sfreq
    return f"has {len(recording.trials)} trials of {seconds:g} s from {recording.clock.t0:g} s on"


def _late_starts(members: Mapping[str, SourceRecording], sfreq: float, say: Say) -> dict[str, float]:
    """Seconds that each recording runs before the last of them starts; zero where no clock is known to be shared."""
    begins = _begins_on_shared_clock(list(members.values()))
    if begins is None:
        times = ", ".join(f"{name} {x.started or 'unknown'} + {x.clock.t0:g} s" for name, x in members.items())
        say("start times", next(iter(members)), f"taken as started together, though the files say {times}")
        return dict.fromkeys(members, 0.0)
    starts = {name: max(begins) - begin for name, begin in zip(members, begins, strict=True)}
    return {name: start if start * sfreq > 0.5 else 0.0 for name, start in starts.items()}


def _begins_on_shared_clock(recordings: Sequence[SourceRecording]) -> list[float] | None:
    """First samples on one clock, in s; None where the files show none.

    Recordings share a clock that name the same date and time of origin. Without any date they share one if their times
    overlap. Of one file every recording does, whatever times of origin it names, as long as these can be read.
    """
    begins = [x.clock.t0 for x in recordings]
    origins = {x.started for x in recordings}
    moments = [moment(x.started) for x in recordings]
    seconds = [(m if m.tzinfo else m.replace(tzinfo=UTC)).timestamp() for m in moments if m]
    is_legible = len(seconds) == len(recordings) and len({m.tzinfo is None for m in moments if m}) == 1
    is_one_file = len({x.path for x in recordings}) == 1
    if len(origins) == 1 or (is_legible and len(set(seconds)) == 1):
        overlap = max(begins) < min(x.clock.stop for x in recordings)
        return begins if is_one_file or overlap or "" not in origins else None
    return (
        [begin + second for begin, second in zip(begins, seconds, strict=True)] if is_one_file and is_legible else None
    )


def _check_lengths(
    links: Sequence[MatchedRow], clocks: Mapping[str, Clock], starts: Mapping[str, float], *, is_resampled: bool
) -> None:
    for row in links:
        a, b = clocks[row.a.id], clocks[row.b.id]
        late = abs(starts[row.a.id] - starts[row.b.id])
        if late:
            raise InputError(
                f"{row.label}: {row.a.id} and {row.b.id} start {late:.6g} s apart by the times in their files; "
                "cut them to the time they share with crop=True (--crop), or correct the times"
            )
        # Resampling rounds two equal durations to lengths that may differ by one.
        if abs(a.n_samples - b.n_samples) > (1 if is_resampled else 0):
            raise InputError(
                f"{row.label}: lengths differ, {row.a.path.name} ({row.a.participant}) has {a.n_samples} samples and "
                f"{row.b.path.name} ({row.b.participant}) {b.n_samples}; cut them to the time they share with "
                "crop=True (--crop)"
            )


def _report(recording: SourceRecording, fit: Fit, say: Say) -> None:
    clock = recording.clock
    slowest, fastest = _USUAL_HZ
    if clock.sfreq < slowest or (clock.sfreq > fastest and "eeg" not in recording.signal_names):
        say(
            "rate",
            recording.id,
            f"{clock.sfreq:.6g} Hz over {clock.stop - clock.t0:.6g} s; check the unit of its times",
        )
    if fit.gaps:
        before = clock.irregular or f"{clock.sfreq:.6g} Hz"
        say("resampled", recording.id, f"{before} to an even {fit.sfreq:.6g} Hz ({fit.gaps} in gaps)")
    elif clock.sfreq != fit.sfreq:
        say("rate", recording.id, f"{clock.sfreq:.9g} Hz taken as its partner's {fit.sfreq:.9g} Hz")
    if fit.kept:
        if len(fit.kept) < len(recording.trials):
            text = f"{len(fit.kept)} of {len(recording.trials)} trials are left, those that its partners have too"
            say("cropped", recording.id, text)
        if list(fit.kept) != sorted(fit.kept):
            say("sorted", recording.id, "trials were in another order, and stand by their numbers now")
        return
    end = (clock.stop - clock.t0) - fit.start - (fit.n_samples - 1) / fit.sfreq
    if fit.start or end > 0.999 / fit.sfreq:
        say("cropped", recording.id, f"{fit.start:.6g} s cut at the start, {max(end, 0):.6g} s at the end")
