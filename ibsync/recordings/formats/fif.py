"""Recordings in MNE's .fif files, continuous or cut into trials (epochs)."""

from __future__ import annotations

import re
import struct
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from ..clock import Clock
from ..names import channel_and_signal, plain
from ..preprocess import RAW_KINDS, Preprocessing
from ..recording import Event
from ..source import Source
from .light import PREPROCESS, light_recording
from .snirf import MNE_CHAIN
from .source_recording import (
    SIGNALS,
    SignalChoice,
    Signals,
    SourceRecording,
    columns_by_channel,
    one_person,
    refused_recording,
    short,
)  # fmt: skip


def read(source: Source, choice: SignalChoice) -> list[SourceRecording]:
    """The recording in a file of MNE; raw light comes back with its `refusal`. Later parts of a file hold none."""
    if re.search(r"[-_]epo-\d+\.fif$", source.path.name):
        return []
    return [recording_of(_open_fif(source), source, choice)]


def recording_of(raw: Any, source: Source, choice: SignalChoice) -> SourceRecording:
    """The recording that an `mne.io.Raw` is, or `mne.Epochs` are; raw light comes back with its `refusal`."""
    is_cut = hasattr(raw, "selection")
    if is_cut and not raw.preload:
        raw = raw.copy().load_data()  # only then is known which epochs are bad
    if is_cut and not len(raw):
        raise InputError(f"{source.path}: holds no epoch; all were dropped")
    kinds = dict(zip(raw.ch_names, raw.get_channel_types(), strict=True))
    present = tuple(signal for signal in SIGNALS if signal in kinds.values())
    if not present and not is_cut and choice.preprocess is not None and set(kinds.values()) & set(RAW_KINDS):
        return _of_light(raw, source, choice, choice.preprocess)
    if not present:
        types = set(kinds.values())
        is_light = bool(types & set(RAW_KINDS))
        what = "raw intensity" if is_light else f"only {', '.join(sorted(types))}"
        chain = f"{PREPROCESS}, or make HbO and HbR" if is_light else "make HbO and HbR"
        return refused_recording(
            source, f"{source.path}: holds {what}, not haemoglobin or EEG; {chain} first with MNE: {MNE_CHAIN}"
        )
    chosen = choice.of(present, source.path)
    sfreq, trials = float(raw.info["sfreq"]), tuple(map(int, raw.selection)) if is_cut else ()
    clock = Clock(float(raw.tmin), sfreq, len(trials) * len(raw.times)) if is_cut else _clock(raw)
    columns = [(name, channel_and_signal(name)[0], kind) for name, kind in kinds.items() if kind in chosen]
    rows = columns_by_channel(source, columns)
    others = ", ".join(sorted(set(kinds.values()) - set(SIGNALS)))
    channels = tuple(dict.fromkeys(channel for _, channel, _ in columns))
    return one_person(
        source,
        clock,
        channels,
        chosen,
        lambda: _fif_signals(raw, rows, channels),
        bad=[(channel_and_signal(name)[0], "") for name in raw.info["bads"]],
        unit="V" if chosen == ("eeg",) else "mol/L",
        stims=_marks_of_trials(raw) if is_cut else _annotations(raw),
        started="" if is_cut else str(raw.info["meas_date"] or "").removesuffix("+00:00"),
        notes=(("not used", f"the channels of {others}"),) if others else (),
        optodes_mm=_optodes_mm(raw, rows),
        trials=trials,
        trial_onsets=tuple((raw.events[:, 0] / sfreq).tolist()) if is_cut else (),
    )


def _clock(raw: Any) -> Clock:
    return Clock(float(raw.first_time), float(raw.info["sfreq"]), int(raw.n_times))


def _of_light(raw: Any, source: Source, choice: SignalChoice, words: Preprocessing) -> SourceRecording:
    light = light_recording(raw, words, str(source.path))
    bads = {channel_and_signal(name)[0].partition(" ")[0] for name in raw.info["bads"]}
    others = ", ".join(sorted(set(raw.get_channel_types()) - set(RAW_KINDS)))
    chosen = choice.of(light.signal_names, source.path)
    return one_person(
        source,
        _clock(raw),
        light.channels,
        chosen,
        light.read,
        bad=[(name, "") for name in light.channels if name in bads],
        unit=light.unit,
        stims=_annotations(raw),
        started=str(raw.info["meas_date"] or "").removesuffix("+00:00"),
        notes=(("not used", f"the channels of {others}"),) if others else (),
        optodes_mm=light.optodes_mm,
        found_bad=light.bad,
    )


def _require_whole(path: Path) -> None:
    """Refuse a file whose chain of tags does not reach the end: MNE reads what comes before a damage, and says nothing.

    A tag is four big-endian int32, kind, type, size and next, and its data; next is 0 where the next tag follows at
    once, and -1 in the last one.
    """
    n_bytes, place = path.stat().st_size, 0
    with path.open("rb") as file:
        while place != n_bytes:
            file.seek(place)
            head = file.read(16)
            size, following = struct.unpack(">8xii", head) if len(head) == 16 else (-1, 0)
            if following == -1:
                return
            step = 16 + size if following == 0 else following - place
            if step < 16 or place + step > n_bytes:
                raise InputError(f"{path}: is cut short or damaged at byte {place}; copy or export it again")
            place += step


def _open_fif(source: Source) -> Any:
    mne = with_mne(source, ".fif files")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MNE warns of file names that it would have chosen otherwise
        is_cut = source.path.name.endswith(("-epo.fif", "_epo.fif"))
        try:
            read_fif = mne.read_epochs if is_cut else mne.io.read_raw_fif
            raw = read_fif(source.path, preload=is_cut, verbose="error")
        except Exception as error:  # MNE raises whatever a damaged file leads it to
            raise InputError(f"{source.path}: MNE cannot read it ({short(error)}); save it again") from error
    _require_whole(source.path)
    return raw


def with_mne(source: Source, what: str) -> Any:
    """The module of MNE, which reads what is named."""
    try:
        import mne
    except ImportError as error:
        raise InputError(f"{source.path}: {what} need MNE; install it with: pip install 'ibsync[mne]'") from error
    return mne


def _annotations(raw: Any) -> tuple[Event, ...]:
    return tuple(
        Event(float(mark["onset"] - raw.first_time), float(mark["duration"]), _label(mark["description"]))
        for mark in raw.annotations
    )


def _marks_of_trials(epochs: Any) -> tuple[Event, ...]:
    """A mark for each trial, by the name of its event, and what annotations say within it."""
    names = {number: name for name, number in epochs.event_id.items()}
    sfreq, n = float(epochs.info["sfreq"]), len(epochs.times)
    marks = []
    of_trials = epochs.get_annotations_per_epoch() if epochs.annotations is not None else [()] * len(epochs)
    for k, (event, inside) in enumerate(zip(epochs.events, of_trials, strict=True)):
        first = k * n / sfreq
        marks.append(Event(first, n / sfreq, _label(names[event[2]])))
        for onset, duration, description, *_ in inside:
            start, stop = (float(np.clip(t - epochs.tmin, 0, n / sfreq)) for t in (onset, onset + duration))
            marks.append(Event(first + start, stop - start, _label(description)))
    return tuple(marks)


def _label(description: str) -> str:
    """To MNE any mark that begins with "bad" is one of bad data, in whatever letters."""
    return re.sub(r"^bad", "BAD", plain(description), flags=re.IGNORECASE)


def _optodes_mm(raw: Any, rows: Mapping[str, Mapping[str, str]]) -> dict[str, tuple[float, ...]]:
    """Positions of source and detector of each channel, or twice that of its electrode; empty where none is known."""
    at = {channel["ch_name"]: 1e3 * channel["loc"] for channel in raw.info["chs"]}
    places = {
        channel: tuple((np.tile(at[name][:3], 2) if signal == "eeg" else at[name][3:9]).tolist())
        for signal, names in rows.items() for channel, name in names.items()
    }  # fmt: skip
    return {channel: place for channel, place in places.items() if np.isfinite(place).all() and any(place)}


def _fif_signals(raw: Any, rows: Mapping[str, Mapping[str, str]], channels: Sequence[str]) -> Signals:
    signals = {}
    for signal, of in rows.items():
        found = raw.get_data(picks=list(of.values()), verbose="error")
        if found.ndim == 3:  # [trial, channel, sample]
            found = found.swapaxes(0, 1).reshape(found.shape[1], -1)
        samples = np.full((len(channels), found.shape[1]), np.nan)
        samples[[channels.index(channel) for channel in of]] = found
        signals[signal] = samples
    return signals
