"""Couplings of band-passed signals as a kind: analytic signals of channels, and sums over samples of their pairs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, PlanError
from .backends.backend import Backend
from .backends.choice import backend_named
from .band_plan import BandPlan, band_shares, make_band_plan, refuse_bands
from .band_spec import Coupling, of_sides
from .cross_correlation import largest_over_lags
from .forms import FORMS, PairSums
from .means import Coupled
from .plan import Epochs
from .spec import Band, PhaseShares
from .transform.band_pass import analytic_signals, usable_samples
from .transform.signals import Signals
from .trials import end_to_end, with_one_gain

MOST_KEPT_BYTES = 256 << 20
"""Features of several bands that are kept of some people on the CPU and on a GPU alike."""


@dataclass(frozen=True, eq=False)
class BandPassed:
    """
    Channels of some people, with the features of each band, made when they are first asked for.

    Large ones are kept of one band only, so that memory does not grow with the number of bands.
    """

    signals: Signals
    plan: BandPlan
    backend: Backend
    _kept: dict[Band, tuple[Any, Any]] = field(default_factory=dict, repr=False)

    def feature(self, band: Band) -> tuple[Any, Any]:
        """The feature of a band, 0 where it has no value, and float where it has one or None: [channel, sample]."""
        if band not in self._kept:
            n_channels = self.signals.n_channels // self.plan.n_trials  # each trial stands as a channel
            if self.plan.feature_bytes * n_channels > MOST_KEPT_BYTES:
                self._kept.clear()
            self._kept[band] = self._made(band)
        return self._kept[band]

    def _made(self, band: Band) -> tuple[Any, Any]:
        xp, form = self.backend.xp, FORMS[self.plan.spec.kind]
        signals, of = self.signals, (band, self.plan.sfreq, self.plan.dtype)
        if self.plan.trial:  # of whole recordings, as a mean that a feature takes off is that of all trials
            signals = with_one_gain(signals, self.plan.n_trials)
            feature = form.feature(self._joined(analytic_signals(xp, signals, *of)))
        else:
            feature = analytic_signals(xp, signals, *of, form.feature)
        usable = usable_samples(signals, band, self.plan.sfreq)
        if usable is None:
            return feature, None
        has = xp.asarray(self._joined(usable)).astype(feature.real.dtype)
        return feature * has, has

    def _joined(self, x: Any) -> Any:
        """Samples of whole recordings, [channel, sample], of those of single trials where there are any."""
        n_channels = (self.signals.shape or (1,))[-1]
        return end_to_end(x, n_channels, self.plan.n_trials) if self.plan.trial else x


@dataclass(frozen=True)
class BandCoupling:
    """
    The kind of coupling that a `Coupling` asks for.

    Parameters
    ----------
    trial : int
        Samples of a trial, where recordings are trials end to end; sums then run over the samples of all trials.
    """

    trial: int = 0

    takes_controls = False
    counts_shares = False

    def backend(self, name: str, spec: Coupling) -> Backend:  # noqa: ARG002
        """The backend of a name."""
        return backend_named(name)

    def plan(self, n_samples: int, sfreq: float, spec: Coupling, epochs: Epochs | None) -> BandPlan:
        """Samples of bands and epochs."""
        return make_band_plan(n_samples, sfreq, spec, epochs, self.trial)

    def trusted_shares(
        self, n_samples: int, sfreq: float, spec: Coupling, epochs: Epochs | None
    ) -> NDArray[np.float64]:
        """Share of the samples of each epoch and band that enter: float64 [epoch, band]."""
        return band_shares(n_samples, sfreq, spec, epochs, self.trial)

    def refuse_band(self, name: str, band: Band, n_samples: int, sfreq: float, spec: Coupling) -> None:
        """Refuse a band that a recording does not hold."""
        refuse_bands(name, band, n_samples, sfreq, self.trial, spec.coi)

    def features(self, backend: Backend, signals: Signals, plan: BandPlan) -> BandPassed:
        """Analytic signals, or what is made of them."""
        if signals.controls is not None:
            raise InputError(f"controls cannot be taken out of {plan.spec.kind!r} cell by cell: use how='regression'")
        return BandPassed(signals, plan, backend)

    def means(self, backend: Backend, a: BandPassed, b: BandPassed, shares: PhaseShares | None) -> Coupled:
        """The measure of all pairs, where the backend computes."""
        return self._coupled(backend, a, b, shares, 1, (*a.signals.shape, *b.signals.shape))

    def means_of_dyads(self, backend: Backend, a: BandPassed, b: BandPassed, shares: PhaseShares | None) -> Coupled:
        """The same for pairs within a dyad, which the first axis of both counts."""
        (n_dyads, *of_a), (_, *of_b) = a.signals.shape, b.signals.shape
        return self._coupled(backend, a, b, shares, n_dyads, (n_dyads, *of_a, *of_b))

    def maps(self, a: Signals, b: Signals, plan: BandPlan) -> NDArray[np.complex128]:  # noqa: ARG002
        """There are none."""
        raise PlanError(f"{plan.spec.kind!r} is a sum over samples and has no maps over time: use WTC, or epochs")

    def _coupled(
        self, backend: Backend, a: BandPassed, b: BandPassed, shares: PhaseShares | None, n_dyads: int,
        shape: tuple[int, ...],
    ) -> Coupled:  # fmt: skip
        if shares is not None:
            raise PlanError(f"shares count cells of wavelet coherence, and {a.plan.spec.kind!r} has none: leave it out")
        xp, plan = backend.xp, a.plan
        columns = []
        for band, name in enumerate(plan.bands):
            for shift in plan.shifts:
                of_epochs = zip(self._sums(xp, a, b, n_dyads, name, band, shift), plan.n_cells[band], strict=True)
                columns.append([self._value(plan, sums, n) for sums, n in of_epochs])
        arrays = [xp.stack([xp.stack(of, axis=-1) for of in column], axis=-2) for column in _transposed(columns)]
        return Coupled(*(array.reshape(*shape, *array.shape[-2:]) for array in arrays))

    def _sums(
        self, xp: Any, a: BandPassed, b: BandPassed, n_dyads: int, name: str, band: int, shift: int
    ) -> list[PairSums]:
        """Sums of each epoch."""
        first, second = of_sides(a.plan.bands[name])
        (x, has_x), (y, has_y) = a.feature(first), b.feature(second)
        if has_x is None and has_y is not None:
            has_x = xp.ones(x.shape, y.real.dtype)
        if has_y is None and has_x is not None:
            has_y = xp.ones(y.shape, x.real.dtype)
        by_dyad = partial(_by_dyad, n_dyads=n_dyads)
        of = (by_dyad(x), by_dyad(y), by_dyad(has_x), by_dyad(has_y))
        return [PairSums(*of, parts, shift, xp) for parts in a.plan.parts[band]]

    def _value(self, plan: BandPlan, sums: PairSums, n_asked: float) -> tuple[Any, ...]:
        """Value, valid fraction and samples of one band and epoch, and the lag in s where there is one."""
        xp, form, min_valid = sums.xp, FORMS[plan.spec.kind], plan.spec.min_valid
        if not sums.parts:
            shape = (*sums.a.shape[:2], sums.b.shape[1])
            nothing = xp.full(shape, np.nan)
            return (nothing, xp.zeros(shape), xp.zeros(shape), nothing)[: 4 if plan.window else 3]
        fraction = xp.clip(sums.n / n_asked, 0, 1)
        enough = (fraction >= min_valid) & (sums.n > 0.5)
        if not plan.window:
            return xp.where(enough, form.value(sums), np.nan), fraction, sums.n
        value, lag = largest_over_lags(sums, plan.window, plan.largest_lag, min_valid)
        return xp.where(enough, value, np.nan), fraction, sums.n, xp.where(enough, lag / plan.sfreq, np.nan)


def _transposed(columns: list[list[tuple[Any, ...]]]) -> list[list[list[Any]]]:
    """Columns of each array, from the arrays of each column and epoch."""
    return [[[of_epoch[k] for of_epoch in column] for column in columns] for k in range(len(columns[0][0]))]


def _by_dyad(x: Any, n_dyads: int) -> Any:
    """[dyad, channel, sample] of what has the channels of one dyad after another."""
    return None if x is None else x.reshape(n_dyads, math.prod(x.shape[:-1]) // n_dyads, x.shape[-1])
