"""Recordings that are at hand: arrays of NumPy, CuPy, xarray and pandas, and recordings of MNE, in one form."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .clock import Clock
from .formats.source_recording import SIGNALS, SignalChoice, Signals, SourceRecording, one_person
from .names import label_of, plain
from .preprocess import RAW_KINDS
from .source import Source

_OF_TRIALS = ("trial", "trials", "epoch", "epochs")
_SECONDS = {
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("min", "minute", "minutes"), 60.0),
}


@dataclass(frozen=True)
class Samples:
    """
    Channels over time, and what their object says of them.

    Attributes
    ----------
    values : float64 [channel, sample]
        NaN where MNE's annotations or its list of bad channels say so.
    sfreq : float or None
        Hz; None where nothing says it.
    channels : tuple of str or None
        Their names; None where they have none.
    bad : tuple of str
        Channels that are marked so.
    start : float or None
        Time of the first sample in s, from 1970 on where it `is_dated`; None where nothing says it.
    trials : tuple of int
        Numbers of the trials that lie end to end, -1 where they have none; empty where the recording is not cut.
    """

    values: Any
    sfreq: float | None = None
    channels: tuple[str, ...] | None = None
    bad: tuple[str, ...] = ()
    start: float | None = None
    is_dated: bool = False
    trials: tuple[int, ...] = ()

    @property
    def trial_samples(self) -> int:
        """Samples of a trial; 0 for a continuous recording."""
        return self.values.shape[-1] // len(self.trials) if self.trials else 0


def is_object(x: object) -> bool:
    """Whether something is a recording that is at hand, no path of one."""
    return hasattr(x, "__array__") or _is(x, "mne", "io.BaseRaw", "BaseEpochs", "Evoked") or hasattr(x, "data_vars")


def samples_of(x: Any, name: str, signal: str | None = None) -> Samples:
    """
    The channels of an object.

    Parameters
    ----------
    x : array [channel, sample], [sample] or [trial, channel, sample], or an object
        DataArray, DataFrame, Series, `mne.io.Raw` or `mne.Epochs`. Of a DataArray the dimension `time` is that of
        samples, and its coordinate gives the rate; a dimension `trial` or `epoch` counts trials. Of a DataFrame rows
        are samples; a column `time`, or an index of times or of floats, gives the rate.
    name : str
        What messages call it.
    signal : str, optional
        Of a recording of MNE that has several: "hbo", "hbr", "hbt" or "eeg".

    Raises
    ------
    InputError
        If it is no recording; the message says what to give instead.
    """
    if _is_of_mne(x):
        return _of_mne(x, name, signal)
    if hasattr(x, "data_vars"):
        raise InputError(f"{name} is a Dataset; give one of its variables: {', '.join(map(str, x.data_vars))}")
    if _is(x, "xarray", "DataArray"):
        found = _of_data_array(x, name)
    elif _is(x, "pandas", "DataFrame", "Series"):
        found = _of_frame(x, name)
    else:
        _refuse_cut(x, name)
        array = _array(x, name)
        _require_channels_first(array, name)
        found = _end_to_end(array)
    return found


def recording_of(x: Any, source: Source, *, sfreq: float | None, choice: SignalChoice) -> SourceRecording:
    """
    One person's recording as `pack` takes it.

    Raises
    ------
    InputError
        As `samples_of`, and where nothing says the rate or the signal.
    """
    name = str(source.path)
    if _is_of_mne(x):
        from .formats.fif import recording_of as of_raw

        rate_of([(name, Samples(None, float(x.info["sfreq"])))], sfreq)
        return of_raw(x, source, choice)
    found = samples_of(x, name)
    rate = rate_of([(name, found)], sfreq)
    if choice.names is None or len(choice.names) != 1 or choice.names[0] not in SIGNALS:
        raise InputError(f"{name}: nothing says what was recorded; give signal='hbo' (or {', '.join(SIGNALS[1:])})")
    (signal,) = choice.names
    values = np.atleast_2d(np.asarray(found.values, np.float64))
    channels = found.channels or tuple(f"ch{k}" for k in range(1, len(values) + 1))
    if len(set(channels)) < len(channels):
        twice = next(channel for channel in channels if channels.count(channel) > 1)
        raise InputError(f"{name}: the channel {twice} stands twice; rename one")
    clock = Clock(found.start or 0.0, rate, values.shape[1])
    started = "1970-01-01 00:00:00" if found.is_dated else ""  # one origin of all dates, so that they are one clock
    return one_person(source, clock, channels, (signal,), {signal: values}, started=started, trials=found.trials)


def rate_of(named: Iterable[tuple[str, Samples]], sfreq: float | None) -> float:
    """
    The one rate in Hz that objects have, or that is given for those that do not say it.

    Raises
    ------
    InputError
        If there is none, or they differ.
    """
    is_number = isinstance(sfreq, int | float | np.number) and not isinstance(sfreq, bool)
    if sfreq is not None and not (is_number and 0 < sfreq < math.inf):
        raise InputError(f"sfreq must be a positive number of Hz, got {sfreq!r}")
    every = list(named)
    rates = [("sfreq", float(sfreq))] if sfreq is not None else []
    rates += [(name, own.sfreq) for name, own in every if own.sfreq is not None]
    if not rates:
        raise InputError(f"nothing says the sampling rate of {every[0][0]}; give sfreq in Hz")
    (first, rate), *others = rates
    for name, other in others:
        if not math.isclose(rate, other, rel_tol=1e-4):
            fix = "correct sfreq, or leave it out" if first == "sfreq" else "resample both to one rate"
            raise InputError(f"{first} is {rate:g} Hz, and {name} has {other:g} Hz: {fix}")
    return rate


def require_together(named: Mapping[str, Samples], sfreq: float) -> None:
    """
    Refuse objects that say that they began at other times, by more than half a sample.

    Raises
    ------
    InputError
        Saying when each began.
    """
    for (first, one), (second, other) in pairwise(named.items()):
        if one.trial_samples != other.trial_samples or one.trials != other.trials:
            raise InputError(
                f"{first} {_trials_told(one)}, {second} {_trials_told(other)}: give the same trials of both (of epochs "
                f"of MNE {first}[np.isin({first}.selection, {second}.selection)])"
            )
    told = [(name, own) for name, own in named.items() if own.start is not None]
    for (first, one), (second, other) in pairwise(told):
        apart = (other.start or 0.0) - (one.start or 0.0)
        if one.is_dated == other.is_dated and abs(apart) * sfreq > 0.5:
            raise InputError(
                f"{second} begins {abs(apart):g} s {'after' if apart > 0 else 'before'} {first}: cut both to the time "
                "they share, or take the times off if they began together"
            )


def _trials_told(samples: Samples) -> str:
    if not samples.trials:
        return "is continuous"
    numbers = "" if -1 in samples.trials else f", numbers {', '.join(map(str, samples.trials[:3]))}, ..."
    return f"has {len(samples.trials)} trials of {samples.trial_samples} samples{numbers}"


class Held:
    """Reads recordings that are in memory, in the place of a `ReaderProcess`."""

    def signals_of(self, recordings: Iterable[SourceRecording]) -> Iterator[Signals]:
        """The signals of each recording, {signal: float64 [channel, time]}."""
        return (recording.read() for recording in recordings)


def sources_of(objects: Any) -> dict[Source, Any] | None:
    """
    Recordings that are at hand by who, in which session and task, was recorded; None for paths.

    Parameters
    ----------
    objects : mapping or sequence
        By person, (person, session) or (person, session, task); or recordings of MNE that name their subject.

    Raises
    ------
    InputError
        If a key is no label, or a recording names no subject.
    """
    if isinstance(objects, Mapping):
        if not objects:
            raise InputError("no recording is given; give {'p1': x1, 'p2': x2}")
        return _distinct((_source(key), x) for key, x in objects.items())
    if is_object(objects):
        raise InputError("one recording is no dyad: give {'p1': x1, 'p2': x2}")
    if not isinstance(objects, Sequence) or isinstance(objects, str) or not any(map(is_object, objects)):
        return None
    for number, x in enumerate(objects, 1):
        if not _subject(x):
            raise InputError(f"recording {number} names no person: give {{'p1': x1, 'p2': x2}}")
    return _distinct((_source(_subject(x)), x) for x in objects)


def _distinct(named: Iterable[tuple[Source, Any]]) -> dict[Source, Any]:
    found: dict[Source, Any] = {}
    for source, x in named:
        if source in found:
            name = source.participant
            raise InputError(f"{source.path} stands twice: name sessions, such as {{('{name}', '1'): x1, ...}}")
        found[source] = x
    return found


def _source(key: object) -> Source:
    parts = key if isinstance(key, tuple) else (key,)
    labels = [label_of(part) for part in parts]
    if not 1 <= len(parts) <= 3 or not labels[0] or any(not x and y != "" for x, y in zip(labels, parts, strict=True)):
        raise InputError(f"{key!r} names no recording: write 'p1', ('p1', session) or ('p1', session, task)")
    person, session, task = (*labels, "", "")[:3]
    return Source(Path("_".join(filter(None, labels))), person, session, task)


def _subject(x: Any) -> str:
    """Whom a recording of MNE is of, by its subject or its file; empty where it says neither."""
    info = getattr(x, "info", None)
    subject = (info["subject_info"] or {}) if _is_of_mne(x) and info is not None else {}
    files = [name for name in getattr(x, "filenames", None) or (getattr(x, "filename", None),) if name]
    return plain(str(subject.get("his_id") or (Path(files[0]).name.split(".")[0] if files else "")))


def _is(x: object, module: str, *names: str) -> bool:
    """Whether something is of a class of a module, which need not be there."""
    loaded = sys.modules.get(module)
    for name in names if loaded is not None else ():
        kind: Any = loaded
        for part in name.split("."):
            kind = getattr(kind, part, None)
        if kind is not None and isinstance(x, kind):
            return True
    return False


def _is_of_mne(x: object) -> bool:
    return _is(x, "mne", "io.BaseRaw", "BaseEpochs")


def _refuse_cut(x: Any, name: str) -> None:
    if _is(x, "mne", "Evoked"):
        raise InputError(f"{name} is an average over trials, in which no synchrony is left: give the recording (Raw)")


def _of_mne(raw: Any, name: str, signal: str | None) -> Samples:
    from .formats.fif import recording_of as of_raw

    recording = of_raw(raw, Source(Path(name), name), SignalChoice(None if signal is None else [signal]))
    if recording.refusal:
        is_light = bool(set(raw.get_channel_types()) & set(RAW_KINDS))
        raise InputError(f"{name} holds raw light: give ibs.preprocess({name})" if is_light else recording.refusal)
    if len(recording.signal_names) > 1:
        words = " or ".join(f"signal={word!r}" for word in recording.signal_names)
        raise InputError(f"{name} holds {', '.join(recording.signal_names)}: choose one, {words}")
    (values,) = recording.read().values()
    seconds = np.arange(values.shape[1]) / recording.clock.sfreq
    for mark in recording.events:
        if mark.is_bad:
            values[:, (seconds >= mark.onset) & (seconds < mark.onset + mark.duration)] = np.nan
    bad = tuple(channel for channel, _ in recording.bad if channel in recording.channels)
    values[[recording.channels.index(channel) for channel in bad]] = np.nan
    return Samples(values, recording.clock.sfreq, recording.channels, bad, recording.clock.t0, trials=recording.trials)


def _of_data_array(x: Any, name: str) -> Samples:
    dims = [str(dim) for dim in x.dims]
    if "time" not in dims:
        raise InputError(f"{name} has the dimensions {', '.join(dims)}: call that of samples 'time' (x.rename(...))")
    trial = next((dim for dim in dims if dim in _OF_TRIALS), None)
    if len(dims) > 2 + (trial is not None):
        others = [dim for dim in dims if dim not in ("time", trial)]
        raise InputError(f"{name} has the dimensions {', '.join(dims)}: choose one of {others[0]!r} (x.isel(...))")
    moved = x.transpose(*([trial] if trial else []), ..., "time")
    when: tuple[Any, ...] = (None, None, False)
    if "time" in x.coords:
        unit = str(x.coords["time"].attrs.get("units", "s")).lower()
        if unit not in _SECONDS:
            raise InputError(f"{name}: its time is in {unit!r}: give it in s or ms")
        when = _when(x.coords["time"].values, name, _SECONDS[unit])
    other = next((dim for dim in moved.dims if dim not in ("time", trial)), None)
    values = _array(moved.values if trial is None or other is not None else moved.values[:, None], name)
    names = moved.coords[other].values if other is not None and other in moved.coords else None
    if other is None and x.name is not None:
        names = np.array([x.name])
    channels = None if names is None else tuple(map(str, names.tolist()))
    numbers = moved.coords[trial].values.tolist() if trial in moved.coords else []
    found = _end_to_end(values, numbers if all(isinstance(number, int) for number in numbers) else ())
    return replace(found, sfreq=when[0], channels=channels, start=when[1], is_dated=when[2])


def _of_frame(x: Any, name: str) -> Samples:
    table = x.to_frame(x.name or name) if _is(x, "pandas", "Series") else x
    spelled = {str(column).lower(): column for column in table.columns}
    times = None
    if "time" in spelled:
        times = table[spelled["time"]].to_numpy()
        table = table.drop(columns=spelled["time"])
    elif table.index.dtype.kind in "fmM":
        times = table.index.to_numpy()
    text = [str(column) for column, kind in table.dtypes.items() if getattr(kind, "kind", "O") not in "fiub"]
    if text:
        raise InputError(f"{name}: the column {text[0]} holds no numbers; leave it out")
    when = (None, None, False) if times is None else _when(times, name)
    values = _array(table.to_numpy(np.float64, na_value=np.nan).T, name)
    return Samples(values, when[0], tuple(map(str, table.columns)), (), *when[1:])


def _when(times: NDArray[Any], name: str, seconds: float = 1.0) -> tuple[float, float, bool]:
    """Rate in Hz of the times of samples, numbers or dates, the first in s, and whether they are dates."""
    is_dated, origin = times.dtype.kind == "M", 0.0
    if times.dtype.kind in "mM" and times.size:
        first = times[0] - np.datetime64(0, "s") if is_dated else times[0]
        origin = float(first / np.timedelta64(1, "us")) * 1e-6
        times, seconds = (times - times[0]) / np.timedelta64(1, "ns") * 1e-9, 1.0
    if times.size < 2 or times.dtype.kind not in "fiu":
        raise InputError(f"{name}: its time holds no times in s: leave it out and give sfreq in Hz")
    try:
        clock = Clock.from_times(np.asarray(times, np.float64) * seconds)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    if clock.irregular:
        raise InputError(f"{name}: {clock.irregular}; put it on an even grid, with NaN in gaps")
    return clock.sfreq, origin + clock.t0, is_dated


def _array(x: Any, name: str) -> Any:
    """A real array [channel, sample], [sample] or [trial, channel, sample], on the host."""
    if isinstance(x, np.ma.MaskedArray):
        return np.where(np.ma.getmaskarray(x), np.float32(np.nan), x.data)
    if hasattr(x, "__cuda_array_interface__"):
        if not hasattr(x, "get"):
            raise InputError(f"{name} is a {type(x).__name__} on a GPU: copy it to the host, or give it to ibs.Engine")
        x = x.get()
    try:
        array = np.asarray(x)
    except (ValueError, TypeError):
        array = np.empty(0, object)
    if array.dtype.kind == "O" and isinstance(x, np.ndarray):
        raise InputError(f"{name} holds objects: make numbers of it, such as np.asarray(x, float)")
    if array.dtype.kind not in "fiub" or array.ndim not in (1, 2, 3) or array.size == 0:
        what = f"{array.dtype} of shape {array.shape}" if array.dtype.kind != "O" else type(x).__name__
        raise InputError(
            f"{name} must be real numbers [channel, sample], [sample] or [trial, channel, sample], got {what}"
        )
    return array


def _end_to_end(array: Any, numbers: Sequence[int] = ()) -> Samples:
    """Samples of an array, whose trials are laid end to end where it has any."""
    if array.ndim < 3:
        return Samples(array)
    whole = np.moveaxis(array, 0, 1).reshape(array.shape[1], -1)
    return Samples(whole, trials=tuple(map(int, numbers)) or (-1,) * len(array))


def _require_channels_first(array: Any, name: str) -> None:
    shape = array.shape[-2:]
    if len(shape) == 2 and shape[0] > shape[1] > 0:
        raise InputError(f"{name} has {shape[0]} channels of {shape[1]} samples: turn it round (x.T), time goes last")
