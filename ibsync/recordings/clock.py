"""Hides when samples were taken: whether they lie on an even grid, and how they are put on one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

GapFill = Literal["interpolate", "nan"]
_JITTER = 0.01
_SLOWEST_HZ, _FASTEST_HZ = 1e-3, 1e6
_GAP = 1.5
_STOP_FRACTION = 0.8
_MOMENT = re.compile(
    r"(\d{4})[-/.]?(\d\d?)[-/.]?(\d\d?)[T ]+(\d\d?):?(\d\d)(?::?(\d\d)(?P<fraction>\.\d+)?)?"
    r"\s*(?P<half>[AaPp][Mm])?\s*(?P<zone>Z|[+-]\d\d:?\d\d)?"
)


@dataclass(frozen=True)
class Clock:
    """When the samples of a recording were taken.

    Attributes
    ----------
    t0 : float
        Time of the first sample in s, counted from the file's own time origin.
    sfreq : float
        Sampling rate in Hz; for an irregular clock that of the steps that are no gaps.
    n_samples : int
        How many samples.
    irregular : str
        What is wrong with the grid, in words; empty for a regular clock.
    times : float64 [time] or None
        Times in s after the first sample, kept only where they are irregular.
    """

    t0: float
    sfreq: float
    n_samples: int
    irregular: str = ""
    times: NDArray[np.float64] | None = field(default=None, repr=False, compare=False)

    @classmethod
    def from_step(cls, t0: float, step: float, n_samples: int) -> Clock:
        """The clock that starts at `t0` and ticks every `step` seconds."""
        if step <= 0:
            raise InputError(f"time gives a step of {step:g} s; export the recording again")
        return cls(t0, _tidy(1 / step), n_samples)

    @classmethod
    def from_times(cls, times: NDArray[np.float64]) -> Clock:
        """The clock that the times of all samples, in s, amount to."""
        steps = np.diff(times)
        backwards = np.flatnonzero(~(steps > 0))
        if backwards.size:
            raise InputError(f"time does not increase at sample {backwards[0] + 1}; export the recording again")
        t0, n_samples = float(times[0]), times.size
        sfreq = _tidy((n_samples - 1) / float(times[-1] - t0))
        irregular = _irregularity(times, steps)
        if irregular:
            even = steps[steps <= _GAP * np.median(steps)]
            return cls(t0, _tidy(1 / float(even.mean())), n_samples, irregular, times - t0)
        return cls(t0, sfreq, n_samples)

    def elapsed(self) -> NDArray[np.float64]:
        """Times of all samples in s after the first, float64 [time]."""
        return np.arange(self.n_samples) / self.sfreq if self.times is None else self.times

    @property
    def stop(self) -> float:
        """Time of the last sample in s, counted like `t0`."""
        last = (self.n_samples - 1) / self.sfreq if self.times is None else float(self.times[-1])
        return self.t0 + last

    def on_grid(self, sfreq: float) -> Clock:
        """The even clock of another rate that `regrid` puts the samples on."""
        return Clock(self.t0, sfreq, self.count_on_grid(sfreq))

    def count_on_grid(self, sfreq: float, start: float = 0.0) -> int:
        """How many samples an even grid has between `start` seconds after the first sample and the last sample."""
        return int((self.stop - self.t0 - start) * sfreq + 1e-6) + 1


def _irregularity(times: NDArray[np.float64], steps: NDArray[np.float64]) -> str:
    """What keeps the times from being an even grid; empty if nothing does."""
    typical = float(np.median(steps))
    longest = int(steps.argmax())
    rounding = _rounding(times, typical)
    drift = float(np.abs(times - np.linspace(times[0], times[-1], times.size)).max())
    if drift <= rounding:
        return ""
    if steps[longest] > _GAP * typical:
        return f"a gap of {steps[longest]:.3g} s at {times[longest] - times[0]:.3f} s after the first sample"
    jitter = float(np.abs(steps - typical).max())
    if jitter > max(_JITTER * typical, rounding):
        return f"uneven sampling, steps off by up to {100 * jitter / typical:.1f} %"
    return f"a drifting clock, off by up to {drift:.3g} s" if drift > typical / 2 else ""


def _rounding(times: NDArray[np.float64], typical: float) -> float:
    """By how much times are rounded, with a margin: to few decimals or as float32. An even clock steps unevenly then.

    Rounding to more than half a step would hide a lost sample and does not count.
    """
    units = [10.0**-k for k in range(1, 5) if np.allclose(times * 10**k, np.round(times * 10**k), rtol=0, atol=1e-6)]
    if np.array_equal(times, times.astype(np.float32)):
        units.append(2 * float(np.spacing(np.float32(np.abs(times).max()))))
    return 1.01 * max((unit for unit in units if unit <= typical / 2), default=0.0)


def _tidy(sfreq: float) -> float:
    """The rate without the rounding noise of the times (3.9062499999999964 is 3.90625 Hz); refused if implausible."""
    if not _SLOWEST_HZ <= sfreq <= _FASTEST_HZ:
        raise InputError(f"time gives {sfreq:g} Hz, which no recording has; export it again with times in s")
    return float(f"{sfreq:.9g}")


def moment(text: str) -> datetime | None:
    """The date and time that a recorder wrote, such as "2026-01-31 9:05:00.5 PM" or with a "Z"; None if not legible."""
    match = _MOMENT.fullmatch(text.strip())
    if not match:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in match.groups()[:6])
    half, zone = (match["half"] or "").upper(), (match["zone"] or "").replace("Z", "+0000").replace(":", "")
    hour = hour % 12 + 12 * (half == "PM") if half else hour
    offset = timedelta(hours=int(zone[:3]), minutes=int(zone[0] + zone[3:])) if zone else None
    try:
        start = datetime(year, month, day, hour, minute, second, tzinfo=None if offset is None else timezone(offset))
    except ValueError:
        return None
    return start + timedelta(seconds=float(f"0{match['fraction'] or ''}"))


def regrid(
    samples: NDArray[np.float32], clock: Clock, sfreq: float, *, gaps: GapFill, start: float = 0.0
) -> NDArray[np.float32]:
    """The samples on an even grid: cubic splines, straight lines over gaps.

    Where the rate is lowered, what the new rate cannot carry is removed first (Butterworth, order 8, forwards and
    backwards, at 0.8 of the new Nyquist frequency).

    Parameters
    ----------
    samples : float32 [channel, time]
        NaN where a sample is missing.
    clock : Clock
        When they were taken.
    sfreq : float
        New rate in Hz.
    gaps : "interpolate" or "nan"
        What stands in the gaps of the clock afterwards.
    start : float
        Where the grid starts, in s after the first sample.

    Returns
    -------
    float32 [channel, time]
        As many samples as fit; NaN where the nearest sample was missing.
    """
    return on_times(samples, clock, start + np.arange(clock.count_on_grid(sfreq, start)) / sfreq, sfreq, gaps=gaps)


def on_times(
    samples: NDArray[np.float32], clock: Clock, grid: NDArray[np.float64], sfreq: float, *, gaps: GapFill
) -> NDArray[np.float32]:
    """As `regrid`, at even times of rate `sfreq` in s after the first sample; NaN outside the recording."""
    times = clock.elapsed()
    filled, missing = _filled(samples.astype(np.float64), times)
    usable = ~missing.all(axis=1)
    result = np.full((len(samples), grid.size), np.nan, np.float32)
    if usable.any():
        result[usable] = _resampled(filled[usable], times, clock.sfreq, grid, sfreq)
    result[_nearest_missing(missing, times, grid)] = np.nan
    if gaps == "nan":
        result[:, _inside_gaps(times, grid)] = np.nan
    step = 0.5 / clock.sfreq
    result[:, (grid < times[0] - step) | (grid > times[-1] + step)] = np.nan
    return result


def _filled(samples: NDArray[np.float64], times: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The samples with missing ones bridged by straight lines, and where they were missing."""
    missing = ~np.isfinite(samples)
    for channel in np.flatnonzero(missing.any(axis=1) & ~missing.all(axis=1)):
        known = ~missing[channel]
        samples[channel] = np.interp(times, times[known], samples[channel, known])
    return samples, missing


def _resampled(
    samples: NDArray[np.float64], times: NDArray[np.float64], old_rate: float, grid: NDArray[np.float64], rate: float
) -> NDArray[np.float64]:
    samples, times = _bridged(samples, times)
    if rate < 0.999 * old_rate:
        even = np.arange(int(times[-1] * old_rate + 1e-6) + 1) / old_rate
        samples, times = _low_passed(_spline(samples, times, even), _STOP_FRACTION * rate / old_rate), even
    return _spline(samples, times, grid)


def _bridged(
    samples: NDArray[np.float64], times: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Add points on straight lines across gaps, so that a spline cannot swing there."""
    steps = np.diff(times)
    typical = np.median(steps)
    gaps = np.flatnonzero(steps > _GAP * typical)
    inside = [np.linspace(times[k], times[k + 1], int(np.ceil(steps[k] / typical)) + 1)[1:-1] for k in gaps]
    if not inside:
        return samples, times
    knots = np.sort(np.concatenate([times, *inside]))
    return np.stack([np.interp(knots, times, channel) for channel in samples]), knots


def _spline(samples: NDArray[np.float64], times: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.interpolate import CubicSpline

    values: NDArray[np.float64] = CubicSpline(times, samples, axis=1)(at)
    return values


def _low_passed(samples: NDArray[np.float64], fraction_of_nyquist: float) -> NDArray[np.float64]:
    from scipy.signal import butter, sosfiltfilt

    sections: Any = butter(8, fraction_of_nyquist, output="sos")
    filtered: NDArray[np.float64] = sosfiltfilt(sections, samples, axis=1, padlen=min(60, samples.shape[1] - 1))
    return filtered


def _nearest_missing(
    missing: NDArray[np.bool_], times: NDArray[np.float64], grid: NDArray[np.float64]
) -> NDArray[np.bool_]:
    marks = np.zeros((len(missing), grid.size), bool)
    for channel in np.flatnonzero(missing.any(axis=1)):
        marks[channel] = np.interp(grid, times, missing[channel].astype(np.float64)) >= 0.5
    return marks


def _inside_gaps(times: NDArray[np.float64], grid: NDArray[np.float64]) -> NDArray[np.bool_]:
    steps = np.diff(times)
    before = np.clip(np.searchsorted(times, grid, side="right") - 1, 0, steps.size - 1)
    between = (grid - times[before] > 0) & (grid < times[before + 1])
    inside: NDArray[np.bool_] = (steps[before] > _GAP * np.median(steps)) & between
    return inside
