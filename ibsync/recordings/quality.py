"""Hides which samples and channels of a recording can be analysed, and what its reader should be told of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .clock import Clock
from .formats.source_recording import SourceRecording
from .recording import Event

Say = Callable[[str, str, str], None]
Samples = NDArray[np.float64]

_MOSTLY_MISSING = 0.5
_FLAT_S, _FLAT_SAMPLES = 5.0, 20
# float32 keeps seven digits; an offset so many times the range of a signal leaves it fewer than three.
_LARGE_OFFSET = 1e4
_CONSTANT = 1e-9
_SMALLEST, _LARGEST = 1e-30, 1e30  # of float32, with room for squares of what is left of offsets


def usable_signals(
    original: SourceRecording, signals: dict[str, Samples], channels: Sequence[str], say: Say
) -> tuple[dict[str, NDArray[np.float32]], dict[str, str]]:
    """What is no data becomes missing, and channels without data are named with the reason.

    Parameters
    ----------
    original : SourceRecording
        The recording.
    signals : dict of str to float64 [channel, time]
        Its signals; changed.
    channels : sequence of str
        All channels of the study; those that the file lacks are bad.
    say : callable
        Takes kind, recording and text of everything that a user should know.

    Returns
    -------
    signals : dict of str to float32 [channel, time]
        In the order of the file's own channels; NaN where a sample is missing.
    bad : dict of str to str
        Reason by channel.
    """
    for samples in signals.values():
        samples[np.isinf(samples)] = np.nan
    _leave_out_bad_segments(original, signals, say)
    spellings = {channel.lower(): f", which has {channel}" for channel in original.channels}
    missing = [channel for channel in channels if channel not in original.channels]
    bad = {channel: f"not in the file{spellings.get(channel.lower(), '')}" for channel in missing}
    flat: dict[str, str] = {}
    for signal, samples in signals.items():
        bad |= _unusable(original.channels, signal, samples)
        usable = [(k, name) for k, name in enumerate(original.channels) if name not in bad]
        flat[signal] = _leave_out_flat(samples, usable, original.clock.sfreq)
        bad |= {name: f"constant {signal} in every part" for k, name in usable if np.isnan(samples[k]).all()}
    marker = (original.source.channels or original.path).name
    bad |= original.found_bad or {}
    bad |= {channel: f"marked bad in {marker}" for channel, _ in original.bad if channel in channels}
    unknown = [f"{name}{spellings.get(name.lower(), '')}" for name, _ in original.bad if name not in original.channels]
    if unknown:
        say("channels", original.id, f"{marker} marks channels bad that the file lacks: {', '.join(unknown)}")
    good = [(k, name) for k, name in enumerate(original.channels) if name not in bad]
    _report_bad(original, bad, say)
    for signal, samples in signals.items():
        if flat[signal]:
            say("flat", original.id, f"{signal} stands still, taken as missing: {flat[signal]}")
        lost = {name: int(np.isnan(samples[k]).sum()) for k, name in good}
        if any(lost.values()):
            counts = ", ".join(f"{name} {n}" for name, n in lost.items() if n)
            say("missing samples", original.id, f"{signal}: {counts} of {samples.shape[1]}")
        _refuse_sizes(original, signal, samples, good)
        offsets = _remove_large_offsets(samples, good)
        if offsets:
            say("offset", original.id, f"{signal} without its offset, to keep its digits in float32: {offsets}")
    return {signal: samples.astype(np.float32) for signal, samples in signals.items()}, bad


def _refuse_sizes(original: SourceRecording, signal: str, samples: Samples, good: Sequence[tuple[int, str]]) -> None:
    """Refuse signals that float32 does not hold; in bad channels such samples are missing."""
    bad = np.setdiff1d(np.arange(len(samples)), [k for k, _ in good])
    samples[bad] = np.where(np.abs(samples[bad]) < _LARGEST, samples[bad], np.nan)
    for k, name in good:
        largest = np.nanmax(np.abs(samples[k]))
        if not _SMALLEST < largest < _LARGEST:
            raise InputError(
                f"{original.path}: {original.id}: {signal} of channel {name} reaches {largest:.3g}, which the study "
                "file does not hold: give it in another unit, or mark the channel bad"
            )


def _leave_out_bad_segments(original: SourceRecording, signals: Mapping[str, Samples], say: Say) -> None:
    marks = [mark for mark in original.events if mark.is_bad]
    for mark in marks:
        missing = _inside(mark, original.clock)
        for samples in signals.values():
            samples[:, missing] = np.nan
    if marks:
        spans = ", ".join(f"{m.label} {m.onset:g} to {m.onset + m.duration:g} s" for m in marks)
        say("bad segments", original.id, f"taken as missing: {spans}")


def _inside(mark: Event, clock: Clock) -> NDArray[np.bool_]:
    """Samples that a mark covers; at least the one at its onset."""
    half = 0.5 / clock.sfreq
    times = clock.elapsed()
    return (times >= mark.onset - half) & (times <= mark.onset + max(mark.duration, half))


def _unusable(channels: Sequence[str], signal: str, samples: Samples) -> dict[str, str]:
    """Channels whose samples cannot be analysed, with the reason."""
    bad: dict[str, str] = {}
    present = np.isfinite(samples)
    highest = np.max(samples, axis=1, where=present, initial=-np.inf)
    lowest = np.min(samples, axis=1, where=present, initial=np.inf)
    share = present.mean(axis=1)
    for k, channel in enumerate(channels):
        if share[k] == 0:
            bad[channel] = f"no samples in {signal}"
        elif highest[k] - lowest[k] <= _CONSTANT * max(abs(highest[k]), abs(lowest[k])):
            bad[channel] = f"constant {signal}"
        elif share[k] < _MOSTLY_MISSING:
            bad[channel] = f"more than half of {signal} missing"
    return bad


def _leave_out_flat(samples: Samples, channels: Sequence[tuple[int, str]], sfreq: float) -> str:
    """Make stretches missing in which the very same value stands for seconds; returns them in words."""
    least = max(int(_FLAT_S * sfreq), _FLAT_SAMPLES)
    texts = []
    for k, name in channels:
        changes = np.flatnonzero(samples[k, 1:] != samples[k, :-1]) + 1
        edges = np.concatenate([[0], changes, [samples.shape[1]]])
        lengths = np.diff(edges)
        runs = np.flatnonzero(lengths > least)
        for run in runs:
            samples[k, edges[run] : edges[run + 1]] = np.nan
        if runs.size:
            texts.append(f"{name} {lengths[runs].sum() / sfreq:.4g} s from {edges[runs[0]] / sfreq:.4g} s on")
    return ", ".join(texts)


def _remove_large_offsets(samples: Samples, channels: Sequence[tuple[int, str]]) -> str:
    texts = []
    for k, name in channels:
        if np.nanmax(np.abs(samples[k])) > _LARGE_OFFSET * (np.nanmax(samples[k]) - np.nanmin(samples[k])):
            offset = np.nanmean(samples[k])
            samples[k] -= offset
            texts.append(f"{name} {offset:.7g}")
    return ", ".join(texts)


def _report_bad(original: SourceRecording, bad: Mapping[str, str], say: Say) -> None:
    given = {channel: f" ({text})" for channel, text in original.bad if text}
    for reason in dict.fromkeys(bad.values()):
        names = ", ".join(f"{channel}{given.get(channel, '')}" for channel, r in bad.items() if r == reason)
        say("bad channels", original.id, f"{reason}: {names}")
    for kind, text in original.notes:
        say(kind, original.id, text)
    if original.unit.startswith("mixed"):
        say("units", original.id, f"{original.unit}; coherence does not depend on them")


class Copies:
    """
    Channels met so far, by their samples: a file copied under two names is coherent with itself.

    Parameters
    ----------
    say : Say
    partners : collection of frozenset of str
        Recordings of each dyad row, of which none should be a copy of the other.
    """

    def __init__(self, say: Say, partners: Collection[frozenset[str]]) -> None:
        self._say, self._partners = say, partners
        self._first: dict[bytes, tuple[str, str]] = {}

    def look_at(
        self,
        recording: str,
        channels: Sequence[str],
        bad: Mapping[str, str],
        signals: Mapping[str, NDArray[np.float32]],
    ) -> None:
        """Report the channels of a recording whose samples were met before."""
        copies: dict[str, list[str]] = {}
        for signal, samples in signals.items():
            for channel, x in zip(channels, samples, strict=True):
                name = f"{channel} {signal}"
                other, first = self._first.setdefault(blake2b(x.tobytes()).digest(), (recording, name))
                if channel not in bad and (other, first) != (recording, name):
                    copies.setdefault(other, []).append(name if name == first else f"{name} (there {first})")
        n_good = len(signals) * sum(channel not in bad for channel in channels)
        for other, names in copies.items():
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            whole = len(names) == n_good and frozenset((recording, other)) in self._partners
            fix = "partners copied whole seem in synchrony: give each the own recording, or leave the dyad out"
            fix = fix if whole else "check that no file is a copy"
            text = f"as in {other}: {', '.join(names[:3])}{more}; {fix}"
            self._say("same samples", recording, text)
