"""Recordings in MATLAB files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..clock import Clock
from ..names import channel_and_signal, plain, signal_named
from ..source import Source
from .source_recording import SIGNALS, SignalChoice, SourceRecording, clock_of, one_person, short

_KNOWN = (*SIGNALS, "time", "channels", "good", "unit")
_RATES = ("sfreq", "fs", "srate")  # as ibsync, most scripts and EEGLAB call it, in whatever letters


def read(source: Source, choice: SignalChoice) -> list[SourceRecording]:
    """The recording in a MATLAB file."""
    content = _load_mat(source)
    variables = _variables(source, content, choice)
    present = tuple(variables)
    signals = {signal: np.ascontiguousarray(_matrix(source, content, variables[signal]).T) for signal in present}
    n_channels, n_samples = signals[present[0]].shape
    if len({x.shape for x in signals.values()}) > 1:
        raise InputError(f"{source.path}: {', '.join(present)} differ in size; save them alike as [time, channel]")
    channels = _mat_channels(source, content, n_channels)
    bad = [
        (name, "") for name, is_good in zip(channels, _good(source, content, n_channels), strict=True) if not is_good
    ]
    unit = plain("".join(map(str, np.ravel(content.get("unit", ""))[:1])))
    rates = _rates(source, content, choice.sfreq)
    used = {*_KNOWN, *rates, *variables.values()}
    notes = tuple(("not used", f"the variable {name}") for name in content if name not in used)
    clock = _mat_clock(source, content, rates[0], n_samples, choice.sfreq)
    chosen = choice.of(present, source.path)
    return [one_person(source, clock, channels, chosen, signals, bad=bad, unit=unit, notes=notes)]


def _rates(source: Source, content: Mapping[str, Any], given: float | None) -> list[str]:
    """Variables that hold the rate; beside times only sfreq does, as fs may be that of the device."""
    known = _RATES[:1] if np.size(content.get("time", ())) else _RATES
    found = [name for name in content if name.lower() in known and np.size(content[name])]
    found = [name for name in found if name == _RATES[0] or np.asarray(content[name]).dtype.kind in "fiu"]
    first, *others = (float(_vector(source, content, name)[0]) for name in found) if found else (np.nan,)
    for name, rate in zip(found[1:], others, strict=True):
        if given is None and not np.isclose(rate, first, rtol=1e-4, equal_nan=True):
            raise InputError(
                f"{source.path}: {found[0]} is {first:.9g} Hz, {name} is {rate:.9g} Hz; keep the one that is right"
            )
    return found or [_RATES[0]]


def _variables(source: Source, content: Mapping[str, Any], choice: SignalChoice) -> dict[str, str]:
    """Which variable holds each signal."""
    own = {signal_named(name): name for name in content} | {name: name for name in SIGNALS if name in content}
    missing = next((name for name in choice.called.values() if name not in content), None)
    found = {signal: name for signal in SIGNALS if (name := choice.called.get(signal, own.get(signal, "")))}
    if found and missing is None:
        return found
    what = f"no {missing}" if missing else f"none of {', '.join(SIGNALS)}"
    raise InputError(
        f"{source.path}: {what} is in the file ({', '.join(content) or 'nothing'}); say what holds them, such as "
        "signal={'hbo': 'NAME'} (--signal hbo=NAME), each [time, channel]"
    )


def _good(source: Source, content: Mapping[str, Any], n_channels: int) -> NDArray[np.bool_]:
    good = np.asarray(content.get("good", np.ones(n_channels)))
    if good.size != n_channels or good.dtype.kind not in "fiub" or not np.isin(good, (0, 1)).all():
        raise InputError(
            f"{source.path}: good is {good.shape} for {n_channels} channels; save one 1 (good) or 0 (bad) per channel"
        )
    return np.ravel(good).astype(bool)


def _load_mat(source: Source) -> dict[str, Any]:
    from scipy.io import loadmat

    try:
        content: dict[str, Any] = loadmat(source.path, chars_as_strings=True)
    except NotImplementedError as error:
        raise InputError(f"{source.path}: saved as MATLAB 7.3; save it with -v7") from error
    except Exception as error:  # scipy raises whatever a damaged file leads it to
        raise InputError(f"{source.path}: not a MATLAB file, or damaged ({short(error)}); save it again") from error
    content = {name: value for name, value in content.items() if not name.startswith("__")}
    for name, value in list(content.items()):
        if isinstance(value, np.ndarray) and value.dtype.names and value.size == 1:  # a structure, as of NIRS-SPM
            del content[name]
            content = {part: value[part].flat[0] for part in value.dtype.names} | content
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
    names = tuple(channel_and_signal(str(np.ravel(cell)[0]))[0] if np.size(cell) else "" for cell in cells)
    if not names:
        return tuple(f"ch{k}" for k in range(1, n_channels + 1))
    if len(names) != n_channels or len({*names} - {""}) != n_channels:
        raise InputError(
            f"{source.path}: channels has {len({*names} - {''})} names for {n_channels} channels; name each once"
        )
    return names


def _mat_clock(
    source: Source, content: Mapping[str, Any], rate_name: str, n_samples: int, given: float | None
) -> Clock:
    times, rate = (_vector(source, content, name) for name in ("time", rate_name))
    if given is not None:
        if rate.size and not np.allclose(rate, given, rtol=1e-4):
            raise InputError(
                f"{source.path}: {rate_name} is {rate[0]:g} Hz in the file and {given:g} Hz as given; leave it out"
            )
        rate = np.array([given])
    if not times.size:
        if rate.size != 1 or not 0 < rate[0] < np.inf:
            raise InputError(
                f"{source.path}: neither time (s) nor a positive {rate_name} (Hz) is in the file; add one, or give the "
                "rate, sfreq=HZ (--sfreq HZ)"
            )
        return Clock(0.0, float(rate[0]), n_samples)
    if times.size != n_samples:
        raise InputError(f"{source.path}: time has {times.size} values for {n_samples} samples; save it again")
    clock = clock_of(source, times)
    if rate.size and not np.allclose(rate, clock.sfreq, rtol=0.01):
        raise InputError(
            f"{source.path}: {rate_name} is {rate[0]:g} Hz, but time has {clock.sfreq:.6g} samples a second; correct "
            "one"
        )
    return clock


def _vector(source: Source, content: Mapping[str, Any], name: str) -> NDArray[np.float64]:
    values = np.ravel(content.get(name, np.empty(0)))
    if values.size and values.dtype.kind not in "fiu":
        raise InputError(f"{source.path}: {name} is not numeric; save it as numbers")
    return values.astype(np.float64)
