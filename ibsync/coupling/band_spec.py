"""The frozen words of a coupling of band-passed signals: `Coupling`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ..errors import PlanError, require_known
from .spec import CONES, WTC, BandsAndLags, as_bands, as_lags, is_number, known_words

EXACT, FAST = "exact", "fast"


@dataclass(frozen=True)
class Coupling(BandsAndLags):
    """A measure of the analytic signals of two people's channels, band by band.

    Parameters
    ----------
    kind : str
        The measure: "plv", "ciplv", "ppc", "ccorr", "accorr", "coh", "imcoh", "pli", "wpli", "dwpli", "envelope",
        "power" or "correlation" (`coupling.measures.MEASURES` has their definitions).
    bands : mapping of str to (low, high) or Band
        Named bands without holes, in Hz (in s with ``period=True``). Each is cut out by a filter
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
        object.__setattr__(self, "bands", as_bands(self.bands, self.period))
        object.__setattr__(self, "period", False)
        for name, band in self.bands.items():
            if band.exclude_hz:
                raise PlanError(f"band {name!r} has holes, which one filter cannot leave out: make it two bands")

    @property
    def measure(self) -> str:
        """The measure that is computed."""
        return self.kind

    __hash__ = BandsAndLags.__hash__

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able form; `from_dict` gives an equal spec back."""
        words = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "period"}
        bands = {name: band.to_dict() for name, band in self.bands.items()}
        return words | {"lags": list(self.lags), "bands": bands}

    @classmethod
    def from_dict(cls, words: Mapping[str, Any]) -> Coupling:
        """Spec from plain words, e.g. a TOML table.

        Raises
        ------
        PlanError
            If a word is unknown; the nearest known one is suggested.
        """
        return cls(**known_words(cls, words))


Spec = WTC | Coupling
"""What may be asked for wherever a spec is."""
