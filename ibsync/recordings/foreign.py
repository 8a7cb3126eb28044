"""Hides recordings that are no SNIRF: MNE's .fif, MATLAB's .mat, tables of samples in .csv. One person per file.

.fif
    Continuous haemoglobin (hbo, hbr) or EEG; needs MNE. Bad channels and annotations are taken over.
.mat
    Saved with -v7 or older: `hbo`, `hbr`, `hbt` or `eeg` as [time, channel]; `sfreq` (Hz) or `time` (s);
    optional `channels` (names, a cell array), `good` (0 or 1 per channel) and `unit`.
.csv
    A column `time` (s), and one column per channel and signal such as "S1_D1 hbo". Empty cells are missing samples.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .clock import Clock
from .incoming import Incoming, events_of, wanted_chromas
from .recording import Event
from .snirf import MNE_CHAIN
from .sources import Source, read_bad_channels

_SIGNALS = ("hbo", "hbr", "hbt", "eeg")
_COLUMN = re.compile(r"(?P<channel>.+?)[ _.](?P<chroma>hbo|hbr|hbt|eeg)", re.IGNORECASE)
_RAW_TYPES = ("fnirs_cw_amplitude", "fnirs_od")

Signals = dict[str, NDArray[np.float32]]


def read_csv_recording(source: Source, *, chromas: Sequence[str] | None) -> Incoming:
    """The recording in a table of samples."""
    import pandas as pd

    try:
        table = pd.read_csv(source.path, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(f"{source.path}: cannot be read as a table ({_short(error)}); save it as UTF-8 CSV") from error
    if "time" not in table:
        raise InputError(f"{source.path}: the column time (in s) is missing; add it")
    for name in table:
        if not pd.api.types.is_numeric_dtype(table[name]):
            raise InputError(f"{source.path}: the column {name} holds text; leave cells without a sample empty")
    columns = {str(name): table[name].to_numpy(np.float64) for name in table}
    return _of_columns(source, columns, chromas)


def _of_columns(source: Source, columns: Mapping[str, NDArray[np.float64]], chromas: Sequence[str] | None) -> Incoming:
    found = {name: match for name in columns if (match := _COLUMN.fullmatch(name))}
    channels = tuple(dict.fromkeys(match["channel"] for match in found.values()))
    present = tuple(c for c in _SIGNALS if any(match["chroma"].lower() == c for match in found.values()))
    if not present:
        raise InputError(f"{source.path}: no column is named like 'S1_D1 hbo' or 'Cz eeg'; rename the columns")
    clock = _clock(source, columns["time"])
    signals = {chroma: np.full((len(channels), clock.n_samples), np.nan, np.float32) for chroma in present}
    for name, match in found.items():
        signals[match["chroma"].lower()][channels.index(match["channel"])] = columns[name]
    notes = tuple(f"the column {name}" for name in columns if name not in found and name != "time")
    return _incoming(source, clock, channels, wanted_chromas(str(source.path), present, chromas), signals, notes=notes)


def read_mat_recording(source: Source, *, chromas: Sequence[str] | None) -> Incoming:
    """The recording in a MATLAB file."""
    content = _load_mat(source)
    present = tuple(chroma for chroma in _SIGNALS if chroma in content)
    if not present:
        names = ", ".join(name for name in content if not name.startswith("__")) or "nothing"
        raise InputError(
            f"{source.path}: none of hbo, hbr, hbt, eeg is in the file ({names}); save them as [time, channel]"
        )
    signals = {chroma: np.ascontiguousarray(_matrix(source, content, chroma).T, np.float32) for chroma in present}
    n_channels, n_samples = signals[present[0]].shape
    if len({x.shape for x in signals.values()}) > 1:
        raise InputError(f"{source.path}: {', '.join(present)} differ in size; save them alike as [time, channel]")
    channels = _mat_channels(source, content, n_channels)
    good = np.ravel(content.get("good", np.ones(n_channels)))
    bad = [(name, "") for name, mark in zip(channels, good, strict=False) if not mark]
    unit = str(np.ravel(content.get("unit", ""))[0])
    clock = _mat_clock(source, content, n_samples)
    wanted = wanted_chromas(str(source.path), present, chromas)
    return _incoming(source, clock, channels, wanted, signals, bad=bad, unit=unit)


def _load_mat(source: Source) -> dict[str, Any]:
    from scipy.io import loadmat

    try:
        content: dict[str, Any] = loadmat(source.path, chars_as_strings=True)
    except NotImplementedError as error:
        raise InputError(f"{source.path}: saved as MATLAB 7.3; save it with -v7") from error
    except Exception as error:  # scipy raises whatever a damaged file leads it to
        raise InputError(f"{source.path}: not a MATLAB file, or damaged ({_short(error)}); save it again") from error
    return content


def _matrix(source: Source, content: Mapping[str, Any], name: str) -> NDArray[np.float64]:
    values = content[name]
    if not (isinstance(values, np.ndarray) and values.ndim == 2 and values.dtype.kind in "fiu"):
        raise InputError(f"{source.path}: {name} is not a matrix of numbers; save it as [time, channel]")
    if values.shape[0] < values.shape[1]:
        raise InputError(
            f"{source.path}: {name} is {values.shape}, more channels than samples; save it as [time, channel]"
        )
    return values.astype(np.float64)


def _mat_channels(source: Source, content: Mapping[str, Any], n_channels: int) -> tuple[str, ...]:
    cells = np.ravel(content.get("channels", np.empty(0, object)))
    names = tuple(str(np.ravel(cell)[0]).strip() if np.size(cell) else "" for cell in cells)
    if not names:
        return tuple(f"ch{k}" for k in range(1, n_channels + 1))
    if len(names) != n_channels or len(set(names)) != n_channels:
        raise InputError(
            f"{source.path}: channels has {len(set(names))} names for {n_channels} channels; name each once"
        )
    return names


def _mat_clock(source: Source, content: Mapping[str, Any], n_samples: int) -> Clock:
    if "time" in content:
        times = np.ravel(content["time"]).astype(np.float64)
        if times.size != n_samples:
            raise InputError(f"{source.path}: time has {times.size} values for {n_samples} samples; save it again")
        return _clock(source, times)
    if "sfreq" not in content or not float(np.ravel(content["sfreq"])[0]) > 0:
        raise InputError(f"{source.path}: neither time (s) nor a positive sfreq (Hz) is in the file; add one")
    return Clock(0.0, float(np.ravel(content["sfreq"])[0]), n_samples)


def _clock(source: Source, times: NDArray[np.float64]) -> Clock:
    if times.size < 2:
        raise InputError(f"{source.path}: has {times.size} samples; export the recording again")
    try:
        return Clock.from_times(times)
    except InputError as error:
        raise InputError(f"{source.path}: {error}") from None


def read_fif_recording(source: Source, *, chromas: Sequence[str] | None) -> Incoming:
    """The recording in a file of MNE; raw light comes back with its `refusal`."""
    raw = _open_fif(source)
    types = raw.get_channel_types()
    found = [(name, kind) for name, kind in zip(raw.ch_names, types, strict=True) if kind in _SIGNALS]
    present = tuple(chroma for chroma in _SIGNALS if any(kind == chroma for _, kind in found))
    clock = Clock(0.0, float(raw.info["sfreq"]), int(raw.n_times))
    if not present:
        what = "raw intensity" if set(types) & set(_RAW_TYPES) else f"only {', '.join(sorted(set(types)))}"
        refusal = f"{source.path}: holds {what}, not haemoglobin or EEG; make HbO and HbR first with MNE: {MNE_CHAIN}"
        return Incoming(source, source.participant, clock, (), (), dict, refusal=refusal)
    wanted = wanted_chromas(str(source.path), present, chromas)
    rows = {chroma: [name for name, kind in found if kind == chroma] for chroma in wanted}
    channels = tuple(dict.fromkeys(_plain_name(name) for names in rows.values() for name in names))
    bad = [(_plain_name(name), "") for name in raw.info["bads"]]
    stims = _annotations(raw)
    started = str(raw.info["meas_date"] or "").removesuffix("+00:00")
    unit = "V" if present == ("eeg",) else "mol/L"
    return _incoming(
        source, clock, channels, wanted, lambda: _fif_signals(raw, rows, channels), bad=bad, unit=unit, stims=stims,
        started=started,
    )  # fmt: skip


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
            raise InputError(f"{source.path}: MNE cannot read it ({_short(error)}); save it again") from error


def _plain_name(name: str) -> str:
    """The channel without its signal: "S1_D1 hbo" is S1_D1, "Cz" is Cz."""
    match = _COLUMN.fullmatch(name)
    return match["channel"] if match else name


def _annotations(raw: Any) -> tuple[Event, ...]:
    return tuple(
        Event(float(mark["onset"] - raw.first_time), float(mark["duration"]), str(mark["description"]))
        for mark in raw.annotations
    )


def _fif_signals(raw: Any, rows: Mapping[str, Sequence[str]], channels: Sequence[str]) -> Signals:
    signals = {}
    for chroma, names in rows.items():
        samples = np.full((len(channels), raw.n_times), np.nan, np.float32)
        samples[[channels.index(_plain_name(name)) for name in names]] = raw.get_data(
            picks=list(names), verbose="error"
        )
        signals[chroma] = samples
    return signals


def _incoming(
    source: Source,
    clock: Clock,
    channels: tuple[str, ...],
    chromas: tuple[str, ...],
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
        chromas=chromas,
        read=lambda: _copies(fetch(), chromas),
        names=(source.path.name.split(".")[0],),
        unit=unit,
        events=events_of(source, stims),
        bad=tuple(dict([*bad, *read_bad_channels(source, (), ()).items()]).items()),
        started=started,
        notes=notes,
    )


def _copies(signals: Signals, chromas: Sequence[str]) -> Signals:
    return {chroma: signals[chroma].copy() for chroma in chromas}


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
