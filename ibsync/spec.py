"""The frozen words of a request (`Band`, `WTC`) and the rows of the scale axis that they name."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import PlanError

MORLET_OMEGA0 = 6.0
PERIOD_PER_SCALE = 4 * math.pi / (MORLET_OMEGA0 + math.sqrt(2 + MORLET_OMEGA0**2))
SCALE_SMOOTHING_OCTAVES = 0.6
SMALLEST_SCALE = 2.0  # samples

PRESETS = ("grinsted", "grinsted-toolbox")
ACCURACIES = ("reference", "exact", "fast")
CONES = ("recording", "epoch", "none")


def _interval(name: str, pair: object) -> tuple[float, float]:
    try:
        low, high = (float(value) for value in pair)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise PlanError(f"{name}: expected two numbers (low, high), got {pair!r}") from None
    if not 0 < low < high < math.inf:
        raise PlanError(f"{name}: expected 0 < low < high, got ({low:g}, {high:g})")
    return low, high


def as_pairs(value: object) -> tuple[object, ...]:
    """One pair or a sequence of pairs as pairs; what is neither is left to be refused as a pair."""
    if not isinstance(value, Iterable):
        return () if value is None else (value,)
    parts = tuple(value)
    nested = any(isinstance(part, Iterable) and not isinstance(part, str) for part in parts)
    return parts if nested or not parts else (parts,)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


@dataclass(frozen=True, init=False)
class Band:
    """A range of frequencies, with holes where asked.

    Parameters
    ----------
    low, high : float
        Edges in Hz, both included; in seconds when `period` is True.
    period : bool or (float, float)
        True: `low`, `high` and `exclude` are periods in s. A pair: the edges themselves, as periods in s.
    exclude : (float, float) or sequence of such pairs, optional
        Ranges left out of the band, in the unit of the band's edges.

    Raises
    ------
    PlanError
        If an interval is empty, reversed or not positive.

    Examples
    --------
    >>> Band(0.02, 0.1).low_hz
    0.02
    >>> Band(period=(5, 50), exclude=(9, 11)).high_hz
    0.2
    """

    low_hz: float
    high_hz: float
    exclude_hz: tuple[tuple[float, float], ...]

    def __init__(
        self,
        low: float | None = None,
        high: float | None = None,
        *,
        period: bool | tuple[float, float] = False,
        exclude: Any = None,
    ) -> None:
        edges = (low, high) if isinstance(period, bool) else period
        in_seconds = bool(period)

        def to_hz(name: str, pair: object) -> tuple[float, float]:
            first, second = _interval(name, pair)
            return (1 / second, 1 / first) if in_seconds else (first, second)

        low_hz, high_hz = to_hz("band", edges)
        object.__setattr__(self, "low_hz", low_hz)
        object.__setattr__(self, "high_hz", high_hz)
        object.__setattr__(self, "exclude_hz", tuple(to_hz("exclude", hole) for hole in as_pairs(exclude)))

    @property
    def centre_hz(self) -> float:
        """Geometric middle of the band, Hz."""
        return math.sqrt(self.low_hz * self.high_hz)

    def contains(self, freq: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which of `freq` (Hz) lie in the band and in none of its holes."""
        inside = _within(freq, self.low_hz, self.high_hz)
        for low, high in self.exclude_hz:
            inside &= ~_within(freq, low, high)
        return inside

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able form, in Hz."""
        return {"low_hz": self.low_hz, "high_hz": self.high_hz, "exclude_hz": [list(h) for h in self.exclude_hz]}


def _within(freq: NDArray[np.float64], low: float, high: float) -> NDArray[np.bool_]:
    slack = 1e-9  # a band edge that is a row's own frequency includes the row
    return (freq >= low * (1 - slack)) & (freq <= high * (1 + slack))


def _as_band(name: str, value: Any, period: bool) -> Band:
    if isinstance(value, Band):
        return value
    if isinstance(value, Mapping):
        if not {"low_hz", "high_hz"} <= set(value) <= {"low_hz", "high_hz", "exclude_hz"}:
            found = ", ".join(map(str, value))
            raise PlanError(f"band {name!r}: expected low_hz, high_hz and perhaps exclude_hz, got {found}")
        return Band(value["low_hz"], value["high_hz"], exclude=value.get("exclude_hz") or None)
    return Band(*_interval(f"band {name!r}", value), period=period)


def _as_bands(bands: object, period: bool) -> dict[str, Band]:
    if not isinstance(bands, Mapping):
        raise PlanError(f"bands must be named, such as {{'task': (0.02, 0.1)}}, got {bands!r}")
    if not bands:
        raise PlanError("bands is empty: name at least one band, or leave bands out for the full range")
    return {str(name): _as_band(str(name), value, period) for name, value in bands.items()}


@dataclass(frozen=True)
class WTC:
    """What to compute: bands or a frequency range, resolution, preset, accuracy, cone rule.

    Parameters
    ----------
    bands : mapping of str to (low, high) or Band, optional
        Named bands, in Hz (in s with ``period=True``).
    fmin, fmax : float, optional
        Frequency range of maps, Hz. Without bands, fmin and fmax the full textbook range is taken.
    voices : int
        Rows per octave (dj = 1 / voices).
    preset : {"grinsted", "grinsted-toolbox"}
        Linear smoothing in time, or the smoothing on a circle that Grinsted's program does (reference accuracy only).
    accuracy : {"exact", "fast", "reference"}
        1e-6 or 5e-4 per cell against the definition, or the definition itself in plain float64.
    coi : {"recording", "epoch", "none"}
        Drop cells beyond the recording's cone of influence, beyond each epoch's own cone, or none.
    min_valid : float
        Band means whose valid fraction is below this are NaN.
    period : bool
        Whether `bands` given as tuples are periods in s.

    Raises
    ------
    PlanError
        If a word is unknown or a number out of range.
    """

    bands: Mapping[str, Any] | None = None
    fmin: float | None = None
    fmax: float | None = None
    voices: int = 12
    preset: str = "grinsted"
    accuracy: str = "exact"
    coi: str = "recording"
    min_valid: float = 0.5
    period: bool = False

    def __post_init__(self) -> None:
        for name, allowed in (("preset", PRESETS), ("accuracy", ACCURACIES), ("coi", CONES)):
            _one_of(name, getattr(self, name), allowed)
        if self.preset == "grinsted-toolbox" and self.accuracy != "reference":
            raise PlanError(
                f"preset 'grinsted-toolbox' is offered with accuracy='reference' only, not {self.accuracy!r}: "
                "its circular smoothing ties both ends of the recording together; use preset='grinsted' for speed"
            )
        if not (_is_number(self.voices) and float(self.voices).is_integer() and 2 <= self.voices <= 64):
            raise PlanError(f"voices must be a whole number from 2 to 64, got {self.voices!r}")
        object.__setattr__(self, "voices", int(self.voices))
        if not (_is_number(self.min_valid) and 0 <= self.min_valid <= 1):
            raise PlanError(f"min_valid must lie in [0, 1], got {self.min_valid!r}")
        for name in ("fmin", "fmax"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and 0 < value < math.inf):
                raise PlanError(f"{name} must be a positive frequency in Hz, got {value!r}")
        if self.fmin is not None and self.fmax is not None and not self.fmin < self.fmax:
            raise PlanError(f"fmin must be below fmax, got fmin={self.fmin:g} Hz and fmax={self.fmax:g} Hz")
        if self.bands is not None:
            object.__setattr__(self, "bands", _as_bands(self.bands, self.period))
            object.__setattr__(self, "period", False)

    def __hash__(self) -> int:
        words = tuple(getattr(self, f.name) for f in fields(self) if f.name != "bands")
        return hash((words, frozenset((self.bands or {}).items())))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able form; `from_dict` gives an equal spec back."""
        words = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "period"}
        if self.bands is not None:
            words["bands"] = {name: band.to_dict() for name, band in self.bands.items()}
        return words

    @classmethod
    def from_dict(cls, words: Mapping[str, Any]) -> WTC:
        """Spec from plain words, e.g. a TOML table.

        Raises
        ------
        PlanError
            If a word is unknown; the nearest known one is suggested.
        """
        known = [f.name for f in fields(cls)]
        for word in words:
            if word not in known:
                near = difflib.get_close_matches(word, known, 1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
                raise PlanError(f"unknown setting {word!r}{hint}")
        return cls(**words)


def _one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        near = difflib.get_close_matches(str(value), allowed, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise PlanError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}{hint}")


@dataclass(frozen=True)
class PhaseShares:
    """Which cells count as coherent, and where the four classes of phase begin.

    Parameters
    ----------
    level : float
        Cells whose R2 exceeds this count; the default is the 95 % level of independent noise under this smoothing.
    in_phase, anti_phase : float
        Degrees. A cell is in phase where abs(phase) is smaller, in anti-phase where it is larger; in between a leads
        if the phase is positive, b if it is negative.

    Raises
    ------
    PlanError
        If the level is outside [0, 1) or the edges are not 0 < in_phase <= anti_phase < 180.
    """

    level: float = 0.7
    in_phase: float = 45.0
    anti_phase: float = 135.0

    def __post_init__(self) -> None:
        if not (_is_number(self.level) and 0 <= self.level < 1):
            raise PlanError(f"level must be an R2 in [0, 1), got {self.level!r}")
        edges = (self.in_phase, self.anti_phase)
        if not (all(map(_is_number, edges)) and 0 < self.in_phase <= self.anti_phase < 180):
            raise PlanError(f"phase edges must be 0 < in_phase <= anti_phase < 180 degrees, got {edges!r}")

    @classmethod
    def of(cls, asked: object) -> PhaseShares | None:
        """What ``shares=True``, False or a `PhaseShares` asks for; None for nothing."""
        if isinstance(asked, cls):
            return asked
        if not isinstance(asked, bool):
            raise PlanError(f"shares must be True, False or a PhaseShares, got {asked!r}")
        return cls() if asked else None

    @property
    def limits(self) -> tuple[float, float, float]:
        """The level, and c |c| of the cosine c of either edge: re |re| / |z|^2 falls with the angle as c |c| does."""
        cosines = (math.cos(math.radians(edge)) for edge in (self.in_phase, self.anti_phase))
        in_phase, anti_phase = (c * abs(c) for c in cosines)
        return self.level, in_phase, anti_phase

    def to_dict(self) -> dict[str, float]:
        """Plain JSON-able form."""
        return {f.name: float(getattr(self, f.name)) for f in fields(self)}


@dataclass(frozen=True)
class Scales:
    """The scale axis of one recording length: every row of the textbook range.

    Attributes
    ----------
    n_samples : int
        Length of the recording.
    voices : int
        Rows per octave.
    """

    n_samples: int
    voices: int

    @property
    def n_rows(self) -> int:
        """Rows of the textbook range: 1 + round(log2(0.17 N 2 dt / s0) voices), Grinsted et al. 2004."""
        return 1 + round(math.log2(0.17 * self.n_samples * 2 / SMALLEST_SCALE) * self.voices)

    @property
    def scale(self) -> NDArray[np.float64]:
        """Scales in samples, smallest first: float64 [row]."""
        factors: NDArray[np.float64] = 2.0 ** (np.arange(self.n_rows) / self.voices)
        return SMALLEST_SCALE * factors

    def freq(self, sfreq: float) -> NDArray[np.float64]:
        """Fourier frequencies in Hz: float64 [row]."""
        return sfreq / (PERIOD_PER_SCALE * self.scale)

    @property
    def smoothing_weights(self) -> NDArray[np.float64]:
        """Boxcar over 0.6 octave with fractional ends, unit sum: float64 [2 guard + 1].

        The quotient is kept in floating point: 0.6/(2 dj) falls just under an integer for dj = 1/10 and 1/20,
        and the published program has that effect too.
        """
        half_width = SCALE_SMOOTHING_OCTAVES / ((1 / self.voices) * 2)
        end = half_width % 1
        n_ones = 2 * math.floor(half_width + 0.5) - 1
        weights = np.concatenate([[end], np.ones(n_ones), [end]])
        return np.asarray(weights / weights.sum())

    @property
    def n_guard(self) -> int:
        """Rows that smoothing over scale reaches on either side."""
        return len(self.smoothing_weights) // 2


MIN_SAMPLES = 32


def textbook_scales(n_samples: int, voices: int) -> Scales:
    """Scale axis of a recording of `n_samples`.

    Raises
    ------
    PlanError
        If the recording is too short for a transform.
    """
    if n_samples < MIN_SAMPLES:
        raise PlanError(f"a recording of {n_samples} samples is too short: at least {MIN_SAMPLES} are needed")
    return Scales(n_samples, voices)


def requested_rows(spec: WTC, scales: Scales, sfreq: float) -> tuple[int, int]:
    """First and one-past-last row that `spec` asks for.

    Raises
    ------
    PlanError
        If a band or the range lies above Nyquist, or is longer than the recording supports.
    """
    freq = scales.freq(sfreq)
    wanted = np.zeros(scales.n_rows, bool)
    for name, band in (spec.bands or {}).items():
        wanted |= band_rows(name, band, scales, sfreq)
    if spec.bands is None or spec.fmin is not None or spec.fmax is not None:
        whole = spec.fmin is None and spec.fmax is None
        low = spec.fmin or 0.5 * min(freq[-1], spec.fmax or math.inf)
        range_ = Band(low, spec.fmax or 2 * max(freq[0], low))
        wanted |= np.ones_like(wanted) if whole else _checked_rows("fmin..fmax", range_, scales, sfreq, clip=True)
    chosen = np.flatnonzero(wanted)
    return int(chosen[0]), int(chosen[-1]) + 1


def band_rows(name: str, band: Band, scales: Scales, sfreq: float) -> NDArray[np.bool_]:
    """Which rows belong to a band: bool [row].

    Raises
    ------
    PlanError
        As `requested_rows`.
    """
    return _checked_rows(f"band {name!r}", band, scales, sfreq, clip=False)


def _checked_rows(what: str, band: Band, scales: Scales, sfreq: float, *, clip: bool) -> NDArray[np.bool_]:
    freq = scales.freq(sfreq)
    duration = scales.n_samples / sfreq
    if (band.high_hz > sfreq / 2 and not clip) or band.low_hz >= sfreq / 2:
        raise PlanError(
            f"{what} reaches {max(band.high_hz, band.low_hz):g} Hz, "
            f"above Nyquist ({sfreq / 2:g} Hz at sfreq={sfreq:g} Hz): lower it"
        )
    one_row = 2 ** (1 / scales.voices)
    too_long = band.low_hz * one_row < freq[-1] * (1 - 1e-9)
    inside = band.contains(freq)
    if (too_long and not clip) or (band.high_hz < freq[-1] * (1 - 1e-9)):
        raise PlanError(
            f"{what} reaches a period of {1 / band.low_hz:.4g} s; a recording of {duration:.4g} s supports periods "
            f"up to {1 / freq[-1]:.4g} s: shorten the band or record longer"
        )
    if not inside.any():
        raise PlanError(
            f"{what} ({band.low_hz:.4g} to {band.high_hz:.4g} Hz) holds no row at {scales.voices} voices per octave "
            f"between {freq[-1]:.4g} and {freq[0]:.4g} Hz: widen it or raise voices"
        )
    return inside
