"""Recordings in CSV tables: one column a channel and signal, and one of time."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..source import Source
from .source_recording import SIGNALS, SignalChoice, SourceRecording, clock_of, one_person, short

SIGNAL_NAME = re.compile(r"(?P<channel>.+?)[ _.](?P<signal>hbo|hbr|hbt|eeg)", re.IGNORECASE)


def read(source: Source, choice: SignalChoice) -> list[SourceRecording]:
    """The recording in a table of samples."""
    import pandas as pd

    try:
        table = pd.read_csv(source.path, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(f"{source.path}: cannot be read as a table ({short(error)}); save it as UTF-8 CSV") from error
    if "time" not in table:
        raise InputError(f"{source.path}: the column time (in s) is missing; add it")
    for name in table:
        if not pd.api.types.is_numeric_dtype(table[name]):
            raise InputError(f"{source.path}: the column {name} holds text; leave cells without a sample empty")
    columns = {str(name): table[name].to_numpy(np.float64) for name in table}
    return [_of_columns(source, columns, choice)]


def _of_columns(source: Source, columns: Mapping[str, NDArray[np.float64]], choice: SignalChoice) -> SourceRecording:
    matches = {name: match for name in columns if (match := SIGNAL_NAME.fullmatch(name))}
    channels = tuple(dict.fromkeys(match["channel"] for match in matches.values()))
    present = tuple(c for c in SIGNALS if any(match["signal"].lower() == c for match in matches.values()))
    if not present:
        raise InputError(f"{source.path}: no column is named like 'S1_D1 hbo' or 'Cz eeg'; rename the columns")
    clock = clock_of(source, columns["time"])
    signals = {signal: np.full((len(channels), clock.n_samples), np.nan, np.float32) for signal in present}
    for name, match in matches.items():
        signals[match["signal"].lower()][channels.index(match["channel"])] = columns[name]
    notes = tuple(f"the column {name}" for name in columns if name not in matches and name != "time")
    return one_person(source, clock, channels, choice.of(present, source.path), signals, notes=notes)
