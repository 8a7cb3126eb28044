"""What will be computed of band-passed signals: the samples of every band and epoch."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from .band_spec import FAST, BandOfEach, Coupling, of_sides
from .plan import (
    Epochs,
    asked_samples,
    largest_lag,
    length,
    refuse_bad_rate,
    refuse_epochs_outside,
    refuse_long_lags,
    within,
)
from .spec import Band
from .transform.band_pass import reach, refuse_band, refuse_band_of_trials
from .transform.cone import clear_of_ends
from .trials import split

_SHORTEST_WINDOW = 4  # samples; fewer are correlated whatever they are


@dataclass(frozen=True)
class BandPlan:
    """Everything that depends on lengths and words only.

    Attributes
    ----------
    n_samples : int
    sfreq : float
        Hz.
    spec : Coupling
    bands : mapping of str to Band
    epochs : mapping of str to intervals (start, stop) in s
        As far as they lie in the recording.
    n_cells : float64 [band, epoch]
        Samples of each value as it was asked for: before the ends are left out, and also beyond them.
    parts : list of lists of lists of (start, stop)
        The samples that enter, by band and epoch.
    trial : int
        Samples of a trial, where the recording is trials end to end, else 0.
    """

    n_samples: int
    sfreq: float
    spec: Coupling
    bands: Mapping[str, Band]
    epochs: Epochs
    n_cells: NDArray[np.float64]
    parts: list[list[list[tuple[int, int]]]]
    trial: int = 0

    @property
    def n_trials(self) -> int:
        """How many trials; 1 for a recording that is not cut."""
        return self.n_samples // (self.trial or self.n_samples)

    @property
    def shifts(self) -> list[int]:
        """Lags in samples; one of 0 without lags."""
        return [round(lag * self.sfreq) for lag in self.spec.lags or (0.0,)]

    @property
    def window(self) -> int:
        """Samples of a window of windowed cross-correlation; 0 of other couplings."""
        return round((self.spec.window or 0) * self.sfreq)

    @property
    def largest_lag(self) -> int:
        """Largest lag in samples that is looked at in windows."""
        return round((self.spec.max_lag or 0) * self.sfreq)

    @property
    def dtype(self) -> type:
        """In which analytic signals are kept."""
        return np.complex64 if self.spec.accuracy == FAST else np.complex128

    @property
    def feature_bytes(self) -> int:
        """Memory of one channel's features."""
        return (
            sum(1 + isinstance(band, BandOfEach) for band in self.bands.values())
            * self.n_samples
            * np.dtype(self.dtype).itemsize
        )

    @property
    def told(self) -> dict[str, Any]:
        """What a result says of how it was computed."""
        return {"measure": self.spec.measure, "accuracy": self.spec.accuracy}


def make_band_plan(
    n_samples: int, sfreq: float, spec: Coupling, epochs: Epochs | None = None, trial: int = 0
) -> BandPlan:
    """Plan for recordings of one length.

    Parameters
    ----------
    n_samples, sfreq, spec, epochs
        As `plan.make_plan`.
    trial : int
        Samples of a trial, where recordings are trials end to end: ends are those of every trial.

    Raises
    ------
    PlanError
        If a band does not fit the recording, or a band or an epoch has no sample that the filter sees no end from.
    """
    refuse_bad_rate(sfreq)
    for name, band in spec.bands.items():
        refuse_bands(name, band, n_samples, sfreq, trial, spec.coi)
    if spec.window and round(spec.window * sfreq) < _SHORTEST_WINDOW:
        raise PlanError(
            f"a window of {spec.window:g} s holds {round(spec.window * sfreq)} samples at {sfreq:g} Hz, too few for a "
            f"correlation: give one of {_SHORTEST_WINDOW} samples and more"
        )
    asked = asked_samples(epochs, n_samples, sfreq)
    refuse_epochs_outside(asked, n_samples, sfreq)
    refuse_long_lags(spec, asked, n_samples, sfreq)
    trial_or_all = trial or n_samples
    spans = {name: split(within(parts, n_samples), trial_or_all) for name, parts in asked.items()}
    parts = _trusted(trial_or_all, sfreq, spec, spans)
    _refuse_short_epochs(spec, spans, parts, sfreq)
    n_cells = np.array([[length(of) for of in asked.values()]] * len(spec.bands), float)
    intervals = {name: [(a / sfreq, b / sfreq) for a, b in of] for name, of in spans.items()}
    return BandPlan(n_samples, sfreq, spec, dict(spec.bands), intervals, n_cells, parts, trial)


def reach_of_both(band: Band, sfreq: float) -> int:
    """Samples that the filters of both people see to either side."""
    return max(reach(side, sfreq) for side in of_sides(band))


def refuse_bands(name: str, band: Band, n_samples: int, sfreq: float, trial: int = 0, coi: str = "recording") -> None:
    """Refuse a band that recordings, or trials, do not hold, of either person."""
    for side in of_sides(band):
        if trial:
            refuse_band_of_trials(name, side, trial, sfreq, coi)
        else:
            refuse_band(name, side, n_samples, sfreq)


def band_shares(
    n_samples: int, sfreq: float, spec: Coupling, epochs: Epochs | None, trial: int = 0
) -> NDArray[np.float64]:
    """As `plan.trusted_shares`: share of the samples of each epoch and band that enter, float64 [epoch, band]."""
    asked = asked_samples(epochs, n_samples, sfreq)
    refuse_long_lags(spec, asked, n_samples, sfreq)
    shares = np.zeros((len(asked), len(spec.bands)))
    for b, (name, band) in enumerate(spec.bands.items()):
        try:
            refuse_bands(name, band, n_samples, sfreq, trial, spec.coi)
        except PlanError:
            continue
        for e, of in enumerate(asked.values()):
            inside = {"": split(within(of, n_samples), trial or n_samples)}
            shares[e, b] = length(_trusted(trial or n_samples, sfreq, spec, inside, (band,))[0][0]) / length(of)
    return shares


def _trusted(
    trial: int, sfreq: float, spec: Coupling, spans: Mapping[str, list[tuple[int, int]]],
    bands: tuple[Band, ...] | None = None,
) -> list[list[list[tuple[int, int]]]]:  # fmt: skip
    """The samples of epochs that enter, by band and epoch; each interval lies within one trial, or the recording."""
    lag = largest_lag(spec, sfreq) + round((spec.max_lag or 0) * sfreq)
    shortest = round((spec.window or 0) * sfreq)

    def cut(parts: list[tuple[int, int]], band: Band) -> list[tuple[int, int]]:
        margin = lag + reach_of_both(band, sfreq) * (spec.coi != "none")
        clear = []
        for start, stop in parts:
            first = start // trial * trial
            inside = clear_of_ends((start - first, stop - first), margin, trial, spec.coi)
            clear += [(first + inside[0], first + inside[1])] if inside else []
        return [part for part in clear if part[1] - part[0] >= shortest]

    return [[cut(parts, band) for parts in spans.values()] for band in bands or spec.bands.values()]


def _refuse_short_epochs(
    spec: Coupling, spans: Mapping[str, list[tuple[int, int]]], parts: list[list[list[tuple[int, int]]]], sfreq: float
) -> None:
    for (b, band), (e, epoch) in itertools.product(enumerate(spec.bands), enumerate(spans)):
        if not any(parts[b]) or not any(of_band[e] for of_band in parts):
            longest = max(stop - start for start, stop in spans[epoch]) / sfreq
            seen = reach_of_both(spec.bands[band], sfreq) / sfreq
            if spec.window:
                raise PlanError(
                    f"epoch {epoch!r} ({longest:g} s) holds no window of {spec.window:g} s with lags of "
                    f"{spec.max_lag:g} s and without the {seen:.4g} s that the filter of band {band!r} sees from an "
                    "end: give a shorter window or max_lag, or a longer epoch"
                )
            raise PlanError(
                f"epoch {epoch!r} ({longest:g} s) is too short for band {band!r}, whose filter sees {seen:.4g} s to "
                "either side: lengthen the epoch, move the band's edges or set coi='none'"
            )
