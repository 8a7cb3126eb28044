"""Recordings that are trials of one length, laid end to end: nothing crosses from one trial to the next.

Every trial is transformed, filtered and freed of its mean by itself. A value is then made of the samples or cells of
all trials together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from .backends.backend import Backend, Batch
from .plan import Epochs, Plan, asked_samples, length, refuse_epochs_outside, within
from .spec import WTC, Band, PhaseShares
from .transform.signals import FINE, Signals
from .wavelet_coherence import Coherence, WaveletCoherence

Parts = Sequence[tuple[int, int]]


def split(parts: Parts, trial: int) -> list[tuple[int, int]]:
    """Intervals (start, stop) in samples, cut wherever one trial ends and the next begins."""
    pieces: list[tuple[int, int]] = []
    for start, stop in parts:
        seams = range((start // trial + 1) * trial, stop, trial)
        pieces += pairwise([start, *seams, stop])
    return pieces


def in_trials(x: Any, trial: int) -> Any:
    """From [..., channel, sample] or [sample] to [..., trial, channel, sample of a trial]."""
    x = x if x.ndim > 1 else x[None]
    *lead, n_channels, n = x.shape
    return x.reshape(*lead, n_channels, n // trial, trial).swapaxes(-3, -2)


def end_to_end(x: Any, n_channels: int, n_trials: int) -> Any:
    """From rows (..., trial, channel) of samples of a trial to [(..., channel), sample]."""
    length_of_trial = x.shape[-1]
    moved = x.reshape(-1, n_trials, n_channels, length_of_trial).swapaxes(1, 2)
    return moved.reshape(-1, n_trials * length_of_trial)


def with_one_gain(signals: Signals, n_trials: int) -> Signals:
    """The same with one gain for all trials of a channel, so that a trial counts by its power."""
    n_channels = signals.shape[-1] if signals.shape else 1
    fine = (signals.status == FINE).reshape(-1, n_trials, n_channels)
    gain = signals.gain.reshape(fine.shape)
    power = np.where(fine, 1 / np.where(fine, gain, 1) ** 2, 0).sum(axis=1, keepdims=True)
    one = np.sqrt(fine.sum(axis=1, keepdims=True) / np.where(power > 0, power, 1))
    return replace(signals, gain=np.where(fine, one, 0.0).reshape(-1))


@dataclass(frozen=True)
class TrialPlan:
    """
    What will be computed of the wavelet coherence of trials.

    Attributes
    ----------
    n_samples : int
        Of all trials together.
    sfreq : float
        Hz.
    spec : WTC
    epochs : mapping of str to intervals (start, stop) in s
        As far as they lie in the recording, each within a trial.
    trial : int
        Samples of a trial.
    one : Plan
        Of a single trial; its epochs are the different parts of trials that any epoch takes.
    taken : int64 [epoch, trial]
        Which epoch of `one` an epoch takes of a trial; -1 for none.
    n_cells : float64 [band, epoch]
        Cells of each mean as it was asked for.
    """

    n_samples: int
    sfreq: float
    spec: WTC
    epochs: Epochs
    trial: int
    one: Plan
    taken: NDArray[np.int64]
    n_cells: NDArray[np.float64]

    @property
    def n_trials(self) -> int:
        """How many trials."""
        return self.n_samples // self.trial

    @property
    def bands(self) -> Mapping[str, Band]:
        """Bands by name."""
        return self.one.bands

    @property
    def with_controls(self) -> TrialPlan:
        """The same for channels from which controls are taken out."""
        return replace(self, one=self.one.with_controls)

    @property
    def feature_bytes(self) -> int:
        """Memory of one channel's features."""
        return self.n_trials * self.one.feature_bytes

    @property
    def told(self) -> dict[str, Any]:
        """What a result says of how it was computed."""
        return self.one.told


@dataclass(frozen=True, eq=False)
class TrialFeatures:
    """Channels of some people, with the features of every trial, made when it is known in what order."""

    signals: Signals
    plan: TrialPlan
    backend: Backend
    _made: dict[bool, Batch] = field(default_factory=dict, repr=False)

    def of(self, *, by_dyad: bool) -> Batch:
        """Features [trial, ..., channel], or by dyad [dyad x trial, ..., channel]."""
        if by_dyad not in self._made:
            *lead, n_channels = self.signals.shape or (1,)
            rows = np.arange(self.signals.n_channels).reshape(*lead, self.plan.n_trials, n_channels)
            moved = np.moveaxis(rows, len(lead), 1 if by_dyad else 0)
            first, rest = (2, moved.shape[2:]) if by_dyad else (1, moved.shape[1:])
            shape = (int(np.prod(moved.shape[:first])), *(rest if self.signals.shape else ()))
            signals = _in_order(self.signals, moved.reshape(-1), shape)
            self._made[by_dyad] = WaveletCoherence().features(self.backend, signals, self.plan.one)
        return self._made[by_dyad]


def _in_order(signals: Signals, rows: NDArray[np.int64], shape: tuple[int, ...]) -> Signals:
    moved = {
        name: values[rows]
        for name in ("x", "mean", "gain", "status", "bad", "taken")
        if (values := getattr(signals, name)) is not None
    }
    return replace(signals, shape=shape, **moved)


@dataclass(frozen=True)
class CoherenceOfTrials:
    """
    The kind of coupling that a `WTC` asks for of recordings of trials: means over the cells of all trials.

    Parameters
    ----------
    trial : int
        Samples of a trial.
    """

    trial: int

    takes_controls = True
    counts_shares = True

    def backend(self, name: str, spec: WTC) -> Backend:
        """The backend of a name."""
        return WaveletCoherence().backend(name, spec)

    def plan(self, n_samples: int, sfreq: float, spec: WTC, epochs: Epochs | None) -> TrialPlan:
        """Rows, grids and weights of cells of one trial, and what epochs take of each."""
        asked = asked_samples(epochs, n_samples, sfreq)
        refuse_epochs_outside(asked, n_samples, sfreq)
        spans = {name: split(within(parts, n_samples), self.trial) for name, parts in asked.items()}
        different, taken = self._taken(list(spans.values()), n_samples)
        of_one = {str(k): [(a / sfreq, b / sfreq) for a, b in parts] for k, parts in enumerate(different)}
        try:
            one = WaveletCoherence().plan(self.trial, sfreq, replace(spec, min_valid=0.0), of_one)
        except PlanError as error:
            raise PlanError(f"trials of {self.trial / sfreq:g} s: {error}") from None
        found = np.where(taken >= 0, one.n_cells[:, taken], 0.0).sum(axis=2)
        outside = [length(parts) / length(spans[name]) for name, parts in asked.items()]
        intervals = {name: [(a / sfreq, b / sfreq) for a, b in parts] for name, parts in spans.items()}
        return TrialPlan(n_samples, sfreq, spec, intervals, self.trial, one, taken, found * np.array(outside))

    def _taken(self, spans: Sequence[Parts], n_samples: int) -> tuple[list[Parts], NDArray[np.int64]]:
        """The different parts of trials that epochs take, and which an epoch takes of each: int64 [epoch, trial]."""
        number: dict[tuple[tuple[int, int], ...], int] = {}
        taken = np.full((len(spans), n_samples // self.trial), -1)
        for e, parts in enumerate(spans):
            of_trial: dict[int, list[tuple[int, int]]] = {}
            for start, stop in parts:
                k = start // self.trial
                of_trial.setdefault(k, []).append((start - k * self.trial, stop - k * self.trial))
            for k, inside in of_trial.items():
                taken[e, k] = number.setdefault(tuple(inside), len(number))
        return [list(parts) for parts in number], taken

    def trusted_shares(self, n_samples: int, sfreq: float, spec: WTC, epochs: Epochs | None) -> NDArray[np.float64]:
        """Share of the cells of each epoch and band outside the cone of influence of its trial: [epoch, band]."""
        asked = asked_samples(epochs, n_samples, sfreq)
        spans = [split(within(parts, n_samples), self.trial) for parts in asked.values()]
        different, taken = self._taken(spans, n_samples)
        if not different:
            return np.zeros((len(asked), len(spec.bands or {})))
        of_one = {str(k): [(a / sfreq, b / sfreq) for a, b in parts] for k, parts in enumerate(different)}
        shares = WaveletCoherence().trusted_shares(self.trial, sfreq, spec, of_one)
        samples = shares * np.array([[length(parts)] for parts in different])
        total = np.where(taken[..., None] >= 0, samples[taken], 0.0).sum(axis=1)
        return np.asarray(total / np.array([[length(parts)] for parts in asked.values()]))

    def refuse_band(self, name: str, band: Band, n_samples: int, sfreq: float, spec: WTC) -> None:  # noqa: ARG002
        """Refuse a band that a trial does not hold."""
        try:
            WaveletCoherence().refuse_band(name, band, self.trial, sfreq, spec)
        except PlanError as error:
            raise PlanError(f"trials of {self.trial / sfreq:g} s: {error}") from None

    def features(self, backend: Backend, signals: Signals, plan: TrialPlan) -> TrialFeatures:
        """Features of every trial."""
        return TrialFeatures(signals, plan if signals.controls is None else plan.with_controls, backend)

    def means(self, backend: Backend, a: TrialFeatures, b: TrialFeatures, shares: PhaseShares | None) -> Coherence:
        """Means over the cells of each band x epoch, where the backend computes."""
        of_trials = WaveletCoherence().means_of_dyads(backend, a.of(by_dyad=False), b.of(by_dyad=False), shares)
        return _combined(of_trials, a.plan, backend.xp, 1, (*a.signals.shape, *b.signals.shape))

    def means_of_dyads(
        self, backend: Backend, a: TrialFeatures, b: TrialFeatures, shares: PhaseShares | None
    ) -> Coherence:
        """The same for pairs within a dyad, which the first axis of both counts."""
        (n_dyads, *of_a), (_, *of_b) = a.signals.shape, b.signals.shape
        of_trials = WaveletCoherence().means_of_dyads(backend, a.of(by_dyad=True), b.of(by_dyad=True), shares)
        return _combined(of_trials, a.plan, backend.xp, n_dyads, (n_dyads, *of_a, *of_b))

    def maps(self, a: Signals, b: Signals, plan: TrialPlan) -> NDArray[np.complex128]:  # noqa: ARG002
        """There are none."""
        raise PlanError("trials have no map over the whole recording: name bands, or give one trial at a time")


def _combined(means: Coherence, plan: TrialPlan, xp: Any, n_dyads: int, shape: tuple[int, ...]) -> Coherence:
    """Means over all trials, [*shape, band, epoch], of those of each, [dyad x trial, *a, *b, band, part of a trial]."""
    n_lags = means.valid_fraction.shape[-2] // len(plan.bands)
    n_axes = means.valid_fraction.ndim - 2  # before those of bands and parts
    taken, number = xp.asarray(plan.taken), xp.arange(plan.n_trials)
    n_cells = xp.asarray(np.repeat(plan.one.n_cells, n_lags, axis=0)[:, plan.taken])  # [band, epoch, trial]
    n_cells = xp.where(taken >= 0, n_cells, 0.0)

    def of_epochs(x: Any) -> Any:
        """What each epoch takes of each trial: [dyad, trial, pair, band, epoch, ...]."""
        by_trial = x.reshape(n_dyads, plan.n_trials, -1, *x.shape[n_axes:])
        return xp.moveaxis(by_trial[:, number[None], :, :, taken], (2, 1, 3, 4, 0), (0, 1, 2, 3, 4))

    weight = of_epochs(means.valid_fraction) * xp.moveaxis(n_cells, -1, 0)[:, None]
    total = weight.sum(axis=1)
    asked = xp.asarray(np.repeat(plan.n_cells, n_lags, axis=0))
    fraction = xp.clip(total / xp.where(asked > 0, asked, 1), 0, 1)
    enough = (fraction >= plan.spec.min_valid) & (fraction > 1e-6)

    def arranged(x: Any) -> Any:
        return x.reshape(*shape, *x.shape[2:])

    def mean(values: Any, weights: Any, whole: Any) -> Any:
        there = xp.isfinite(values) & (weights > 0)
        summed = xp.where(there, values * weights, 0).sum(axis=1)
        return xp.where(whole > 0, summed / xp.where(whole > 0, whole, 1), np.nan)

    def trusted(values: Any) -> Any:
        return xp.where(enough, values, np.nan)

    coherence = trusted(mean(of_epochs(means.coherence), weight, total))
    coherency = trusted(mean(of_epochs(means.coherency), weight, total))
    combined = Coherence(arranged(coherence), arranged(coherency), arranged(fraction))
    if means.above is None or means.shares is None:
        return combined
    above = of_epochs(means.above)
    coherent = xp.where(xp.isfinite(above), above, 0) * weight
    of_classes = mean(of_epochs(means.shares), coherent[..., None], coherent.sum(axis=1)[..., None])
    shares = xp.where(enough[..., None], of_classes, np.nan)
    return replace(combined, above=arranged(trusted(mean(above, weight, total))), shares=arranged(shares))
