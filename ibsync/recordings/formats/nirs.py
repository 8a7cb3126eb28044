"""Recordings of raw light in Homer's .nirs files, which are MATLAB files."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..clock import Clock
from ..preprocess import light_of
from ..recording import Event
from ..source import Source
from .light import PREPROCESS, light_recording
from .source_recording import SignalChoice, SourceRecording, clock_of, one_person, refused_recording, short

_MILLIMETRES = {"mm": 1.0, "cm": 10.0, "m": 1000.0}


def read(source: Source, choice: SignalChoice) -> list[SourceRecording]:
    """The recording in a .nirs file; without preprocessing it comes back with its `refusal`."""
    if choice.preprocess is None:
        return [refused_recording(source, f"{source.path}: holds raw intensity, not haemoglobin; {PREPROCESS}")]
    content, probe = _loaded(source)
    samples, times = (_numbers(source, content, name) for name in ("d", "t"))
    measured = _numbers(source, probe, "MeasList")
    if samples.ndim != 2 or measured.ndim != 2 or measured.shape[1] < 4 or len(measured) != samples.shape[1]:
        raise InputError(
            f"{source.path}: d is {samples.shape} for SD.MeasList {measured.shape}; it must be [time, channel], and "
            "MeasList [channel, 4]: export it again"
        )
    clock = clock_of(source, times.ravel())
    wavelengths = _numbers(source, probe, "Lambda").ravel()
    places = [_numbers(source, probe, name).reshape(-1, 3) for name in ("SrcPos", "DetPos")]
    numbers = measured[:, [0, 1, 3]].astype(int)
    if (numbers < 1).any() or (numbers > [len(places[0]), len(places[1]), len(wavelengths)]).any():
        raise InputError(f"{source.path}: SD.MeasList names optodes or wavelengths that SD lacks; export it again")
    unit = _MILLIMETRES.get(str(probe.get("SpatialUnit", "mm")).strip().lower())
    if unit is None:
        raise InputError(f"{source.path}: SD.SpatialUnit is {probe['SpatialUnit']!r}; write mm, cm or m")
    optodes_mm = {f"S{s}_D{d}": (*unit * places[0][s - 1], *unit * places[1][d - 1]) for s, d, _ in numbers.tolist()}
    channels = [(s, d, float(wavelengths[w - 1])) for s, d, w in numbers.tolist()]
    if len(set(channels)) < len(channels):
        raise InputError(f"{source.path}: SD.MeasList names a channel twice; remove one")
    raw = light_of(samples.T, clock.sfreq, channels, optodes_mm)
    light = light_recording(raw, choice.preprocess, str(source.path))
    chosen = choice.of(light.signal_names, source.path)
    active = probe.get("MeasListAct")
    if active is not None and np.size(active) < len(numbers):
        raise InputError(f"{source.path}: SD.MeasListAct has {np.size(active)} marks for {len(numbers)} channels")
    inactive = [] if active is None else numbers[np.ravel(active)[: len(numbers)] == 0].tolist()
    bad = dict.fromkeys(f"S{s}_D{d}" for s, d, _ in inactive)
    return [
        one_person(
            source, clock, light.channels, chosen, light.read, bad=[(name, "") for name in bad], unit=light.unit,
            stims=_stims(content, times.ravel(), clock), optodes_mm=light.optodes_mm, found_bad=light.bad,
        )
    ]  # fmt: skip


def _loaded(source: Source) -> tuple[dict[str, Any], dict[str, Any]]:
    """Variables of the file, and the fields of SD."""
    from scipy.io import loadmat

    try:
        content: dict[str, Any] = loadmat(source.path, chars_as_strings=True, squeeze_me=True, struct_as_record=False)
    except NotImplementedError as error:
        raise InputError(f"{source.path}: saved as MATLAB 7.3; save it with -v7") from error
    except Exception as error:  # scipy raises whatever a damaged file leads it to
        raise InputError(f"{source.path}: not a .nirs file, or damaged ({short(error)}); export it again") from error
    probe = getattr(content.get("SD"), "__dict__", None)
    if probe is None:
        raise InputError(f"{source.path}: has no SD, so it is no .nirs file of Homer; export it again")
    return content, probe


def _numbers(source: Source, content: dict[str, Any], name: str) -> NDArray[np.float64]:
    values = np.asarray(content.get(name, np.empty(0)))
    if not values.size or values.dtype.kind not in "fiu":
        raise InputError(f"{source.path}: {name} is missing or holds no numbers; export the file again")
    return values.astype(np.float64)


def _stims(content: dict[str, Any], times: NDArray[np.float64], clock: Clock) -> tuple[Event, ...]:
    """Marks of each column of `s`, by its number, at the samples where it begins to be other than 0."""
    marks = np.asarray(content.get("s", np.empty(0)))
    if marks.dtype.kind not in "fiu" or marks.ndim == 0 or len(marks) != len(times):
        return ()
    columns = marks.reshape(len(times), -1)
    begins = (columns != 0) & (np.vstack([np.zeros((1, columns.shape[1])), columns[:-1]]) == 0)
    found = [Event(float(times[k] - clock.t0), 0.0, str(c + 1), float(columns[k, c])) for k, c in np.argwhere(begins)]
    return tuple(sorted(found, key=lambda event: event.onset))
