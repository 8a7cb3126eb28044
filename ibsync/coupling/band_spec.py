"""The frozen words of a coupling of band-passed signals: `Coupling`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import PlanError, require_known
from .spec import CONES, WTC, Band, BandsAndLags, as_bands, as_lags, as_pairs, is_number

EXACT, FAST = "exact", "fast"
XCORR = "xcorr"


@dataclass(frozen=True, init=False)
class BandOfEach(Band):
    """
    A band of the first person, whose edges are its own, and another of the second.

    Parameters
    ----------
    first, second : Band
    """

    second: Band

    def __init__(self, first: Band, second: Band) -> None:
        super().__init__(first.low_hz, first.high_hz, exclude=first.exclude_hz)
        object.__setattr__(self, "second", second)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able form, in Hz."""
        return {**super().to_dict(), "second": self.second.to_dict()}


def of_sides(band: Band) -> tuple[Band, Band]:
    """The bands of the first and of the second person."""
    return (Band(band.low_hz, band.high_hz), band.second) if isinstance(band, BandOfEach) else (band, band)


def _as_band(name: str, value: Any, period: bool) -> Band:
    """One band, or that of each person from two pairs of edges."""

    def one(part: Any) -> Band:
        return as_bands({name: part}, period)[name]

    if isinstance(value, Mapping) and "second" in value:
        return BandOfEach(one({key: part for key, part in value.items() if key != "second"}), one(value["second"]))
    parts = as_pairs(value) if isinstance(value, Sequence) and not isinstance(value, str) else ()
    if len(parts) == 2:
        return BandOfEach(one(parts[0]), one(parts[1]))
    return value if isinstance(value, BandOfEach) else one(value)


@dataclass(frozen=True)
class Coupling(BandsAndLags):
    """A measure of the analytic signals of two people's channels, band by band.

    Parameters
    ----------
    kind : str
        The measure: "plv", "ciplv", "ppc", "ccorr", "accorr", "coh", "imcoh", "pli", "wpli", "dwpli", "envelope",
        "power", "correlation" or "xcorr" (`coupling.measures.MEASURES` has their definitions).
    bands : mapping of str to (low, high) or Band, or to two of these
        Named bands without holes, in Hz (in s with ``period=True``); of two the first is that of first persons and the
        other that of second ones, as of adult and infant: ``{"alpha": ((8, 13), (6, 9))}``. Each is cut out by a filter
        (`coupling.transform.band_pass`).
    accuracy : {"exact", "fast"}
        Sums in float64, or in float32.
    coi : {"recording", "epoch", "none"}
        Leave out the samples that the filter sees the recording's ends from, those that it sees each epoch's own ends
        from, or none.
    detrend : {None, "linear"}
        Remove the straight line that fits each recording best, from the signals and before surrogates are made of them.
    min_valid : float
        Values of which a smaller share of samples is valid are NaN.
    period : bool
        Whether `bands` given as tuples are periods in s.
    lags : sequence of float
        Lags in s, in whole samples, at which a(t) is compared with b(t + lag); at a positive lag a leads. The same
        samples enter at each: those that are trusted at the largest.
    max_lag, window : float
        Of "xcorr", and to be given with it: signals are correlated in windows of this length in s, each half a window
        after the one before, at every lag in samples of up to this many s; the correlations of all windows are
        averaged, and the largest over lags is taken, with its lag (variable `lag`, positive where a leads).

    Raises
    ------
    PlanError
        If a word is unknown or a number out of range.

    Examples
    --------
    >>> Coupling("plv", {"alpha": (8, 13)}).measure
    'plv'
    """

    kind: str
    bands: Mapping[str, Any]
    accuracy: str = EXACT
    coi: str = "recording"
    detrend: str | None = None
    min_valid: float = 0.5
    period: bool = False
    lags: tuple[float, ...] = ()
    max_lag: float | None = None
    window: float | None = None

    def __post_init__(self) -> None:
        from .measures import COUPLINGS, MEASURES

        if self.kind in MEASURES and self.kind not in COUPLINGS:
            raise PlanError(f"{self.kind!r} is a measure of wavelet coherence: use WTC(bands=...) and measure=")
        require_known("kind", self.kind, COUPLINGS)
        require_known("accuracy", self.accuracy, (EXACT, FAST))
        require_known("coi", self.coi, CONES)
        if self.detrend is not None:
            require_known("detrend", self.detrend, ("linear",), "None")
        if not (is_number(self.min_valid) and 0 <= self.min_valid <= 1):
            raise PlanError(f"min_valid must lie in [0, 1], got {self.min_valid!r}")
        object.__setattr__(self, "lags", as_lags(self.lags))
        self._check_windows()
        if not isinstance(self.bands, Mapping) or not self.bands:
            as_bands(self.bands, False)  # which has the words for it
        bands = {str(name): _as_band(str(name), value, self.period) for name, value in self.bands.items()}
        object.__setattr__(self, "bands", bands)
        object.__setattr__(self, "period", False)
        for name, band in self.bands.items():
            if any(side.exclude_hz for side in (band, *of_sides(band))):
                raise PlanError(f"band {name!r} has holes, which one filter cannot leave out: make it two bands")

    def _check_windows(self) -> None:
        for name in ("max_lag", "window"):
            value = getattr(self, name)
            if (value is not None) != (self.kind == XCORR):
                found = "is missing" if value is None else f"is of kind {XCORR!r} only"
                fix = f"add it in s, such as {name}=5.0" if value is None else "leave it out"
                raise PlanError(f"{name} {found}: {fix}")
            if value is not None and not (is_number(value) and 0 < value < math.inf):
                raise PlanError(f"{name} must be a positive number of s, got {value!r}")
        if self.kind == XCORR and self.lags:
            raise PlanError(f"kind {XCORR!r} looks for the lag by itself, up to max_lag: leave lags out")

    @property
    def measure(self) -> str:
        """The measure that is computed."""
        return self.kind

    __hash__ = BandsAndLags.__hash__


Spec = WTC | Coupling
"""What may be asked for wherever a spec is."""
