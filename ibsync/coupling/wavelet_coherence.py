"""Wavelet coherence as a kind of coupling: its plan, its features, and the means over cells of pairs of features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from .backends.backend import Backend, Batch
from .backends.choice import backend_named
from .backends.sums import Sums
from .band_rows import band_rows, requested_rows
from .means import mapped, ratio
from .plan import Epochs, Plan, kept_plan, trusted_shares
from .spec import WTC, Band, PhaseShares
from .transform.maps import coherency_maps
from .transform.scales import textbook_scales
from .transform.signals import Signals


@dataclass(frozen=True)
class Coherence:
    """Band x epoch means for all pairs of a channel of `a` with a channel of `b`.

    Attributes
    ----------
    coherence : float64 [*a, *b, band, epoch]
        Mean magnitude-squared coherence R2, 0..1; NaN where less than `min_valid` of the cells entered. With lags,
        bands follow one another with all lags each.
    coherency : complex128, same shape
        Mean of the complex coherency; its angle is the phase (positive: a leads), its modulus the phase consistency.
    valid_fraction : float64, same shape
        Share of the band x epoch's cells that entered.
    maps : complex128 [*a, *b, row, sample] or None
        Complex coherency of the planned rows at every sample, where asked for.
    shares : float64 [*a, *b, band, epoch, class] or None
        Of the coherent cells (R2 above a level), the shares in phase, with a leading, with b leading, and in
        anti-phase, where asked for; NaN where no cell is coherent.
    above : float64 [*a, *b, band, epoch] or None
        Share of the cells that are coherent, where asked for.
    """

    coherence: NDArray[np.float64]
    coherency: NDArray[np.complex128]
    valid_fraction: NDArray[np.float64]
    maps: NDArray[np.complex128] | None = None
    shares: NDArray[np.float64] | None = None
    above: NDArray[np.float64] | None = None

    @property
    def value(self) -> NDArray[np.float64]:
        """What is NaN where a pair has no value."""
        return self.coherence


class WaveletCoherence:
    """The kind of coupling that a `WTC` asks for."""

    takes_controls = True
    counts_shares = True

    def backend(self, name: str, spec: WTC) -> Backend:
        """The backend of a name; the definition's own where that is the accuracy."""
        if spec.accuracy != "reference":
            return backend_named(name)
        from .backends.reference import ReferenceBackend

        if name not in ("auto", "numpy"):
            raise PlanError("accuracy 'reference' is computed on the CPU: use backend='numpy' or 'auto'")
        return ReferenceBackend()

    def plan(self, n_samples: int, sfreq: float, spec: WTC, epochs: Epochs | None) -> Plan:
        """Rows, grids and weights of cells."""
        return kept_plan(n_samples, sfreq, spec, epochs)

    def trusted_shares(self, n_samples: int, sfreq: float, spec: WTC, epochs: Epochs | None) -> NDArray[np.float64]:
        """Share of the cells of each epoch and band outside the cone of influence: float64 [epoch, band]."""
        return trusted_shares(n_samples, sfreq, spec, epochs)

    def refuse_band(self, name: str, band: Band, n_samples: int, sfreq: float, spec: WTC) -> None:
        """Refuse a band that a recording does not hold."""
        band_rows(name, band, textbook_scales(n_samples, spec.voices), sfreq)

    def features(self, backend: Backend, signals: Signals, plan: Plan) -> Batch:
        """Unit vectors of every channel and cell, or what they are made of."""
        return backend.features(signals, plan if signals.controls is None else plan.with_controls)

    def means(self, backend: Backend, a: Batch, b: Batch, shares: PhaseShares | None) -> Coherence:
        """Means over the cells of each band x epoch, where the backend computes."""
        n_lags = len(a.plan.shifts)
        sums = backend.coherence(a, backend.at_lags(b) if a.plan.spec.lags else b, shares)
        sizes = (math.prod(a.signals.shape), n_lags, math.prod(b.signals.shape))
        return _means(sums, a.plan, backend.xp, sizes, (2, 4, 0, 3, 1), (*a.signals.shape, *b.signals.shape))

    def means_of_dyads(self, backend: Backend, a: Batch, b: Batch, shares: PhaseShares | None) -> Coherence:
        """The same for pairs within a dyad, which the first axis of both counts."""
        (n_dyads, *of_a), (_, *of_b) = a.signals.shape, b.signals.shape
        shape = (n_dyads, *of_a, *of_b)
        if a.plan.spec.lags:
            sides = ((a.of_dyad(dyad, n_dyads), b.of_dyad(dyad, n_dyads)) for dyad in range(n_dyads))
            return _stacked([self.means(backend, *of_dyad, shares) for of_dyad in sides], shape, backend.xp)
        sums = backend.coherence_of_dyads(a, b, n_dyads, shares)
        sizes = (n_dyads, math.prod(of_a), math.prod(of_b))
        return _means(sums, a.plan, backend.xp, sizes, (2, 3, 4, 0, 1), shape)

    def maps(self, a: Signals, b: Signals, plan: Plan) -> NDArray[np.complex128]:
        """Complex coherency at every sample, in float64 on the CPU: complex128 [*a, *b, row, sample]."""
        rows = requested_rows(plan.spec, plan.scales, plan.sfreq)
        definition = plan.spec.preset if plan.spec.accuracy == "reference" else None
        maps = coherency_maps(a, b, plan.scales, rows, definition=definition)
        return maps.reshape(*a.shape, *b.shape, *maps.shape[2:])


def _stacked(parts: Sequence[Coherence], shape: tuple[int, ...], xp: Any) -> Coherence:
    """Means of dyads one behind the other, whose pairs have the axes `shape`."""
    arrays = {field.name: [getattr(part, field.name) for part in parts] for field in fields(Coherence)}
    whole = {name: xp.stack(values) for name, values in arrays.items() if values[0] is not None}
    return mapped(Coherence(**whole), lambda x: x.reshape(*shape, *x.shape[3:]))


def _means(
    sums: Sums, plan: Plan, xp: Any, sizes: tuple[int, ...], order: tuple[int, ...], shape: tuple[int, ...]
) -> Coherence:
    """Means from sums: their [band, epoch, *sizes] in another order of axes, that of [*shape, band, epoch]."""

    def arranged(values: NDArray[Any]) -> NDArray[Any]:
        of_means = values.reshape(len(plan.bands), len(plan.epochs), *sizes).transpose(order)
        moved: NDArray[Any] = xp.ascontiguousarray(of_means).reshape(*shape, -1, len(plan.epochs))
        return moved

    n_cells = xp.asarray(plan.n_cells).reshape(-1, *[1] * (sums.weight.ndim - 1))
    fraction = xp.clip(sums.weight / n_cells, 0, 1)
    # A mean over next to nothing is no mean, whatever min_valid says.
    enough = (fraction >= plan.spec.min_valid) & (fraction > 1e-6)
    share = xp.where(enough, 1 / xp.where(enough, sums.weight, 1), np.nan)
    coherence = xp.clip(sums.squared * share, 0, 1)
    means = Coherence(arranged(coherence), arranged(sums.inner * share), arranged(fraction))
    if sums.phases is None:
        return means
    classes = xp.where(enough, xp.moveaxis(sums.phases.classes, 1, 0), np.nan)
    coherent = classes.sum(axis=0)
    of_coherent, above = (
        ratio(*parts, xp) for parts in ((classes, coherent), (coherent, xp.where(enough, sums.phases.width, np.nan)))
    )
    by_class = xp.stack([arranged(share) for share in of_coherent], axis=-1)
    return replace(means, shares=by_class, above=arranged(above))
