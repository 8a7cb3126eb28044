"""Recordings in CSV tables: one column a channel and signal, and one of time."""

from __future__ import annotations

import csv
import io

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..clock import Clock
from ..names import channel_and_signal, suggestion
from ..source import Source
from ..tables import check_header, read_text, separators
from .source_recording import (
    SIGNALS,
    SignalChoice,
    SourceRecording,
    clock_of,
    columns_by_channel,
    one_person,
    short,
)  # fmt: skip


def read(source: Source, choice: SignalChoice) -> list[SourceRecording]:
    """The recording in a table of samples."""
    columns = _read_columns(source, needs_time=choice.sfreq is None)
    names = {name: _named(name, choice) for name in columns if name != "time"}
    present = tuple(signal for signal in SIGNALS if any(signal == own for _, own in names.values()))
    if not present and choice.names is not None and len(choice.names) == 1 and choice.names[0] in SIGNALS:
        present = (choice.names[0],)
        names = {name: (channel, present[0]) for name, (channel, _) in names.items()}
    if not present:
        raise InputError(
            f"{source.path}: no column is named like 'S1_D1 hbo' or 'Cz eeg'; rename the columns, or say what all are, "
            "signal='hbo' (--signal hbo)"
        )
    chosen = choice.of(present, source.path)
    table = columns_by_channel(source, ((name, *names[name]) for name in names if names[name][1] in chosen))
    channels = tuple(dict.fromkeys(channel for channel, signal in names.values() if signal in chosen))
    clock = _clock(source, columns, choice.sfreq)
    unknown = np.full(clock.n_samples, np.nan)
    signals = {
        signal: np.stack([columns[of[channel]] if channel in of else unknown for channel in channels])
        for signal, of in table.items()
    }
    notes = tuple(("not used", f"the column {name}") for name, (_, signal) in names.items() if not signal)
    return [one_person(source, clock, channels, chosen, signals, notes=notes)]


def _named(column: str, choice: SignalChoice) -> tuple[str, str]:
    """Channel and signal of a column, also by what the signal is said to be called."""
    for signal, called in choice.called.items():
        channel = column.removesuffix(called)
        if channel != column and channel[-1:] in (" ", "_", "."):
            return channel_and_signal(channel[:-1])[0], signal
    return channel_and_signal(column)


def _clock(source: Source, columns: dict[str, NDArray[np.float64]], given: float | None) -> Clock:
    if "time" not in columns:
        return Clock(0.0, given or 0.0, len(next(iter(columns.values()))))
    clock = clock_of(source, columns["time"])
    if given is not None and abs(clock.sfreq / given - 1) > 1e-2:
        raise InputError(f"{source.path}: time has {clock.sfreq:.6g} samples a second, not {given:g}; leave out sfreq")
    return clock


def _read_columns(source: Source, *, needs_time: bool) -> dict[str, NDArray[np.float64]]:
    """Every column by name, `time` in small letters; semicolons and decimal commas are understood."""
    import pandas as pd

    text = read_text(source.path)
    separator, decimal = separators(text)
    try:
        header = [name.strip() for name in next(csv.reader([text.lstrip().partition("\n")[0]], delimiter=separator))]
        header = ["time" if name.lower() == "time" else name for name in header]
        table = pd.read_csv(io.StringIO(text), sep=separator, decimal=decimal, header=0, low_memory=False)
    except (ValueError, csv.Error, StopIteration) as error:
        raise InputError(
            f"{source.path}: cannot be read as a table ({short(error)}); save it as CSV, cells separated by commas, or "
            "by semicolons where there are decimal commas"
        ) from error
    if len(header) != len(table.columns) or not isinstance(table.index, pd.RangeIndex):
        raise InputError(
            f"{source.path}: the lines have more cells than the header; write decimal points, or separate the cells "
            "by semicolons"
        )
    last = text.rstrip("\r\n ").rpartition("\n")[2]
    n_cells = last.count(separator) + 1
    if n_cells < len(header):
        raise InputError(
            f"{source.path}: cut short, its last line has {n_cells} cells, the header {len(header)}; copy or export it "
            "again"
        )
    check_header(source.path, [name for name in header if name], ())
    if "time" not in header and needs_time:
        hint = suggestion("time", header)
        raise InputError(
            f"{source.path}: the column time (in s) is missing{hint}; add it, or give the rate, sfreq=HZ (--sfreq HZ)"
        )
    for name, column in zip(header, table, strict=True):
        if not pd.api.types.is_numeric_dtype(table[column]):
            raise InputError(f"{source.path}: the column {name} holds text; leave cells without a sample empty")
    return {name: table[column].to_numpy(np.float64) for name, column in zip(header, table, strict=True) if name}
