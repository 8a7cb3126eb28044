"""Recordings in MNE's .fif files."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import InputError
from ..clock import Clock
from ..recording import Event
from ..source import Source
from .csv_table import SIGNAL_NAME
from .snirf import MNE_CHAIN
from .source_recording import SIGNALS, SignalChoice, Signals, SourceRecording, one_person, short

_RAW_TYPES = ("fnirs_cw_amplitude", "fnirs_od")


def read(source: Source, choice: SignalChoice) -> list[SourceRecording]:
    """The recording in a file of MNE; raw light comes back with its `refusal`."""
    raw = _open_fif(source)
    types = raw.get_channel_types()
    channel_kinds = [(name, kind) for name, kind in zip(raw.ch_names, types, strict=True) if kind in SIGNALS]
    present = tuple(signal for signal in SIGNALS if any(kind == signal for _, kind in channel_kinds))
    clock = Clock(0.0, float(raw.info["sfreq"]), int(raw.n_times))
    if not present:
        what = "raw intensity" if set(types) & set(_RAW_TYPES) else f"only {', '.join(sorted(set(types)))}"
        refusal = f"{source.path}: holds {what}, not haemoglobin or EEG; make HbO and HbR first with MNE: {MNE_CHAIN}"
        return [SourceRecording(source, source.participant, clock, (), (), dict, refusal=refusal)]
    chosen = choice.of(present, source.path)
    rows = {signal: [name for name, kind in channel_kinds if kind == signal] for signal in chosen}
    channels = tuple(dict.fromkeys(_plain_name(name) for names in rows.values() for name in names))
    bad = [(_plain_name(name), "") for name in raw.info["bads"]]
    stims = _annotations(raw)
    started = str(raw.info["meas_date"] or "").removesuffix("+00:00")
    unit = "V" if present == ("eeg",) else "mol/L"
    recording = one_person(
        source, clock, channels, chosen, lambda: _fif_signals(raw, rows, channels), bad=bad, unit=unit, stims=stims,
        started=started,
    )  # fmt: skip
    return [recording]


def _open_fif(source: Source) -> Any:
    try:
        import mne
    except ImportError as error:
        raise InputError(f"{source.path}: .fif files need MNE; install it with: pip install 'ibsync[mne]'") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MNE warns of file names that it would have chosen otherwise
        if re.search(r"[-_]epo(-\d+)?\.fif$", source.path.name):
            raise InputError(
                f"{source.path}: holds epochs, which are cut apart; give the continuous recording (_raw.fif)"
            )
        try:
            return mne.io.read_raw_fif(source.path, preload=False, verbose="error")
        except Exception as error:  # MNE raises whatever a damaged file leads it to
            raise InputError(f"{source.path}: MNE cannot read it ({short(error)}); save it again") from error


def _plain_name(name: str) -> str:
    """The channel without its signal: "S1_D1 hbo" is S1_D1, "Cz" is Cz."""
    match = SIGNAL_NAME.fullmatch(name)
    return match["channel"] if match else name


def _annotations(raw: Any) -> tuple[Event, ...]:
    return tuple(
        Event(float(mark["onset"] - raw.first_time), float(mark["duration"]), str(mark["description"]))
        for mark in raw.annotations
    )


def _fif_signals(raw: Any, rows: Mapping[str, Sequence[str]], channels: Sequence[str]) -> Signals:
    signals = {}
    for signal, names in rows.items():
        samples = np.full((len(channels), raw.n_times), np.nan, np.float32)
        samples[[channels.index(_plain_name(name)) for name in names]] = raw.get_data(
            picks=list(names), verbose="error"
        )
        signals[signal] = samples
    return signals
