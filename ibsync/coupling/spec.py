"""The frozen words of a request: `Band`, `WTC`, `PhaseShares`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError, did_you_mean, require_known

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


def is_number(value: object) -> bool:
    """Whether a value is a real number, and no bool."""
    return isinstance(value, Real) and not isinstance(value, bool)


def known_words(spec: type, words: Mapping[str, Any]) -> dict[str, Any]:
    """Plain words of a spec, none of them unknown."""
    known = [f.name for f in fields(spec)]
    for word in words:
        if word not in known:
            hint = did_you_mean(word, known) or f"known: {', '.join(known)}"
            raise PlanError(f"unknown setting {word!r}; {hint}")
    return dict(words)


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


def as_bands(bands: object, period: bool) -> dict[str, Band]:
    """Bands by name."""
    if not isinstance(bands, Mapping):
        raise PlanError(f"bands must be named, such as {{'task': (0.02, 0.1)}}, got {bands!r}")
    if not bands:
        raise PlanError("bands is empty: name at least one band, or leave bands out for the full range")
    return {str(name): _as_band(str(name), value, period) for name, value in bands.items()}


def as_lags(lags: object) -> tuple[float, ...]:
    """Lags in s, from the smallest to the largest."""
    values = tuple(lags) if isinstance(lags, Iterable) and not isinstance(lags, str) else None
    if values is None or not all(is_number(lag) and math.isfinite(lag) for lag in values):
        raise PlanError(f"lags must be a list of numbers of s, such as [-2, 0, 2], got {lags!r}")
    if len(set(values)) < len(values):
        raise PlanError(f"lags={list(values)} name one twice: leave it out")
    return tuple(sorted(map(float, values)))


class BandsAndLags:
    """What specs have in common that name bands, and perhaps lags."""

    bands: Mapping[str, Any] | None
    lags: tuple[float, ...]

    @property
    def n_columns(self) -> int:
        """Means of one epoch and channel pair: bands, each at all lags."""
        return len(self.bands or {}) * max(1, len(self.lags))

    @property
    def several_lags(self) -> tuple[float, ...]:
        """The lags, where they are an axis of results: one alone is none."""
        return self.lags if len(self.lags) > 1 else ()

    def __hash__(self) -> int:
        words = tuple(value for name, value in vars(self).items() if name != "bands")
        return hash((words, frozenset((self.bands or {}).items())))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able form; `from_dict` gives an equal spec back."""
        words = {f.name: getattr(self, f.name) for f in fields(cast(Any, self)) if f.name != "period"}
        words["lags"] = list(self.lags)
        if self.bands is not None:
            words["bands"] = {name: band.to_dict() for name, band in self.bands.items()}
        return words

    @classmethod
    def from_dict(cls, words: Mapping[str, Any]) -> Self:
        """Spec from plain words, e.g. a TOML table.

        Raises
        ------
        PlanError
            If a word is unknown; the nearest known one is suggested.
        """
        return cls(**known_words(cast(Any, cls), words))


@dataclass(frozen=True)
class WTC(BandsAndLags):
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
    detrend : {None, "linear"}
        Remove the straight line that fits each recording best, from the signals and before surrogates are made of them.
        Only the mean is removed by default, as in the definition.
    min_valid : float
        Band means whose valid fraction is below this are NaN.
    period : bool
        Whether `bands` given as tuples are periods in s.
    lags : sequence of float
        Lags in s at which a(t) is compared with b(t + lag); at a positive lag a leads. Every mean is computed at each
        of them, over the same cells: those that are trusted at the largest.

    Raises
    ------
    PlanError
        If a word is unknown or a number out of range.

    Examples
    --------
    >>> WTC({"task": (0.02, 0.1)}, coi="epoch").coi
    'epoch'
    """

    bands: Mapping[str, Any] | None = None
    fmin: float | None = None
    fmax: float | None = None
    voices: int = 12
    preset: str = "grinsted"
    accuracy: str = "exact"
    coi: str = "recording"
    detrend: str | None = None
    min_valid: float = 0.5
    period: bool = False
    lags: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for name, allowed in (("preset", PRESETS), ("accuracy", ACCURACIES), ("coi", CONES)):
            require_known(name, getattr(self, name), allowed)
        if self.detrend is not None:
            require_known("detrend", self.detrend, ("linear",), "None")
        if self.preset == "grinsted-toolbox" and self.accuracy != "reference":
            raise PlanError(
                f"preset 'grinsted-toolbox' is offered with accuracy='reference' only, not {self.accuracy!r}: "
                "its circular smoothing ties both ends of the recording together; use preset='grinsted' for speed"
            )
        if not (is_number(self.voices) and float(self.voices).is_integer() and 2 <= self.voices <= 64):
            raise PlanError(f"voices must be a whole number from 2 to 64, got {self.voices!r}")
        object.__setattr__(self, "voices", int(self.voices))
        if not (is_number(self.min_valid) and 0 <= self.min_valid <= 1):
            raise PlanError(f"min_valid must lie in [0, 1], got {self.min_valid!r}")
        for name in ("fmin", "fmax"):
            value = getattr(self, name)
            if value is not None and not (is_number(value) and 0 < value < math.inf):
                raise PlanError(f"{name} must be a positive frequency in Hz, got {value!r}")
        if self.fmin is not None and self.fmax is not None and not self.fmin < self.fmax:
            raise PlanError(f"fmin must be below fmax, got fmin={self.fmin:g} Hz and fmax={self.fmax:g} Hz")
        object.__setattr__(self, "lags", as_lags(self.lags))
        if self.bands is not None:
            object.__setattr__(self, "bands", as_bands(self.bands, self.period))
            object.__setattr__(self, "period", False)

    @property
    def measure(self) -> str:
        """The measure that is taken where none is named."""
        return "coherence"

    __hash__ = BandsAndLags.__hash__


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

    Examples
    --------
    >>> study.synchrony(spec, shares=PhaseShares(level=0.5, in_phase=30))["share_in_phase"]
    """

    level: float = 0.7
    in_phase: float = 45.0
    anti_phase: float = 135.0

    def __post_init__(self) -> None:
        if not (is_number(self.level) and 0 <= self.level < 1):
            raise PlanError(f"level must be an R2 in [0, 1), got {self.level!r}")
        edges = (self.in_phase, self.anti_phase)
        if not (all(map(is_number, edges)) and 0 < self.in_phase <= self.anti_phase < 180):
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
