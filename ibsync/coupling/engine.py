"""`Engine`: the two verbs under everything, for whatever kind of coupling and on whatever backend."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError, PlanError
from .backends.backend import Backend, Batch
from .backends.cuda.device import Device, on_a_device
from .backends.cuda.signals_on_device import prepare_on
from .band_spec import Spec
from .kinds import kind_of
from .means import mapped
from .measures import measure_named, require_measure
from .plan import Epochs
from .regions import Members, averaged
from .spec import WTC, PhaseShares
from .transform.signals import Signals, prepare, unwrapped
from .trials import in_trials


class Engine:
    """Plans once for a recording length, then computes features of channels and the coupling of pairs.

    Parameters
    ----------
    n_samples : int
        Length of the recordings.
    sfreq : float
        Sampling rate, Hz.
    spec : WTC or Coupling, optional
        Bands, accuracy, preset; default: WTC, the full textbook range as one band.
    epochs : mapping of str to (start, stop) or a sequence of such intervals, in s, optional
        Default: the whole recording, named "all".
    backend : {"auto", "cuda", "numpy"} or Backend
        "auto" takes the first GPU when it is usable, "cuda:1" the second.
    trial : int
        Samples of a trial, where recordings are trials of one length end to end: nothing is computed across the end of
        a trial, and values are over the samples or cells of all trials (`coupling.trials`). By default they are not.

    Attributes
    ----------
    backend : Backend
        The one that was taken; results name it by its `name`.
    plan : Plan or BandPlan

    Raises
    ------
    PlanError
        If a band or an epoch does not fit the recording.
    DeviceError
        If the backend asked for is not there.

    Examples
    --------
    >>> eng = Engine(3000, 10.0, WTC(bands={"slow": (0.02, 0.1)}))
    >>> u = eng.features(np.random.default_rng(0).standard_normal((4, 3000)))
    >>> eng.coherence(u, u).coherence.shape
    (4, 4, 1, 1)
    """

    def __init__(
        self,
        n_samples: int,
        sfreq: float,
        spec: Spec | None = None,
        *,
        epochs: Epochs | None = None,
        backend: str | Backend = "auto",
        trial: int = 0,
    ) -> None:
        self.spec: Any = spec or WTC()
        self.trial = trial
        if trial and (n_samples % trial or trial < 0):
            raise PlanError(f"{n_samples} samples are no whole number of trials of {trial}: give trials of one length")
        self.kind = kind_of(self.spec, trial)
        self.backend = self.kind.backend(backend, self.spec) if isinstance(backend, str) else backend
        self.plan: Any = self.kind.plan(n_samples, sfreq, self.spec, epochs)

    @property
    def device(self) -> Device | None:
        """The GPU that computes; None on the CPU."""
        return self.backend.device

    @property
    def xp(self) -> Any:
        """NumPy, or CuPy on the GPU."""
        return self.backend.xp

    def active(self) -> AbstractContextManager[None]:
        """Context in which arrays of this engine are combined: of several GPUs it makes the right one current."""
        return nullcontext() if self.device is None else self.device.active()

    @cached_property
    def tolerant(self) -> Engine:
        """The same engine with `min_valid` 0: a mean of whatever cells are left."""
        spec, plan = replace(self.spec, min_valid=0.0), self.plan
        return Engine(plan.n_samples, plan.sfreq, spec, epochs=plan.epochs, backend=self.backend, trial=self.trial)

    def features(
        self,
        x: ArrayLike,
        good: ArrayLike | None = None,
        *,
        seam: ArrayLike | None = None,
        n_controls: int = 0,
        apart: bool = False,
    ) -> Batch:
        """Features of channels, kept where the backend computes.

        Parameters
        ----------
        x : array [..., channel, sample] or [sample]
            Real signals; NaN marks a gap. With backend "cuda" also an array on the GPU, which stays
            there: CuPy's, or whatever has ``__cuda_array_interface__``.
        good : bool array broadcastable to `x`, optional
            False marks samples not to be trusted.
        seam : int array broadcastable to the channels, optional
            First sample after a place where two ends of a recording were joined, as a circular shift does; 0 for
            none. Cells in the cone of influence of the seam are left out.
        n_controls : int
            How many of the last channels, of each person by the leading axes, are controls: they have no features of
            their own, and the others' are what is left when the controls are taken out, cell by cell
            (`backends.residuals`). A cell in which a control is missing is missing.
        apart : bool
            Whether the second half of the channels before them are controls as well, of one channel of the first half
            each.

        Returns
        -------
        An opaque batch for `coherence`.

        Raises
        ------
        InputError
            If the length is not the planned one, a signal is infinite, or it is on a GPU and the backend is not.
        """
        with self.active():
            if not self.trial:
                return self.features_of(self._prepared(x, good, seam).with_controls(n_controls, apart=apart))
            signals = self._prepared(*self._trials_of(x, good, seam), None).with_controls(n_controls, apart=apart)
            shape = (*signals.shape[:-2], signals.shape[-1]) if getattr(x, "ndim", 2) > 1 else ()
            return self.features_of(replace(signals, shape=shape))

    def _trials_of(self, x: Any, good: ArrayLike | None, seam: ArrayLike | None) -> tuple[Any, Any]:
        """Signals and flags [..., trial, channel, sample of a trial]."""
        if seam is not None:
            raise InputError("trials are not shifted: leave out seam")
        array = x if on_a_device(x) else np.asarray(unwrapped(x))
        if array.shape[-1:] != (self.plan.n_samples,):
            raise InputError(
                f"signals have {(array.shape or (0,))[-1]} samples, the engine was planned for {self.plan.n_samples}"
            )
        flags = None if good is None else in_trials(np.broadcast_to(np.asarray(good, bool), array.shape), self.trial)
        return in_trials(array, self.trial), flags

    def features_of(self, signals: Signals) -> Batch:
        """As `features`, of signals that are prepared."""
        if signals.n_samples != (self.trial or self.plan.n_samples):
            raise InputError(
                f"signals have {signals.n_samples} samples, the engine was planned for {self.plan.n_samples}"
            )
        with self.active():
            features: Batch = self.kind.features(self.backend, signals, self.plan)
            return features

    @property
    def _detrend(self) -> str | None:
        return getattr(self.spec, "detrend", None)  # not every kind of coupling has the word

    def _prepared(self, x: Any, good: ArrayLike | None, seam: ArrayLike | None) -> Signals:
        if not on_a_device(x):
            return prepare(x, good, seam=seam, detrend=self._detrend)
        if self.device is None:
            raise InputError(
                f"signals are on a GPU and the backend is {self.backend.name!r}: copy them, or use backend='cuda'"
            )
        return prepare_on(self.device, x, good, seam, self._detrend)

    def coherence(
        self,
        a: Batch,
        b: Batch,
        *,
        maps: bool = False,
        shares: bool | PhaseShares = False,
        regions: Members | None = None,
        by_dyad: bool = False,
        on_device: bool = False,
    ) -> Any:
        """Band x epoch means for all pairs of a channel of `a` with a channel of `b`.

        Parameters
        ----------
        a, b : batches from `features`
        maps : bool
            Also return the coherency at every sample, computed in float64 (slow, and large).
        shares : bool or PhaseShares
            Also return how the phase of coherent cells is shared out. Cells of the grid are counted, each for the
            samples nearest to it.
        regions : (bool [..., region, channel], bool [..., region, channel]), optional
            Which channels make up each region of `a` and of `b`, for every person or for each by the leading axes:
            means are averaged over the pairs of channels of two regions, which stand in the place of channels then.
        by_dyad : bool
            The first axis of `a` and of `b` counts dyads, and pairs are formed within a dyad only: means are
            [dyad, *a, *b, band, epoch]. Many small dyads take little longer than one; not for maps.
        on_device : bool
            Leave the results where they were computed, with backend "cuda" as CuPy arrays; not for maps.

        Returns
        -------
        Coherence, or Coupled of a `Coupling`

        Raises
        ------
        InputError
            If a batch was made for another request.
        """
        if maps and by_dyad:
            raise PlanError("maps are of all pairs: leave out by_dyad, or take the dyads one by one")
        means = self._means(self.backend, a, b, PhaseShares.of(shares), regions, by_dyad=by_dyad)
        if self.device is not None and not on_device:
            means = mapped(means, self.device.to_host)
        return replace(means, maps=self._maps(a.signals, b.signals)) if maps else means

    def measure(
        self,
        a: Batch,
        b: Batch,
        name: str,
        *,
        regions: Members | None = None,
        by_dyad: bool = False,
        on_device: bool = False,
    ) -> NDArray[np.float64]:
        """One number for all pairs of a channel of `a` with a channel of `b`.

        Parameters
        ----------
        a, b : batches from `features`
        name : str
            One of `measures.MEASURES`.
        regions : (bool [..., region, channel], bool [..., region, channel]), optional
            As `coherence`: the measure of averaged means.
        by_dyad : bool
            As `coherence`: pairs within a dyad only.
        on_device : bool
            Leave the values where they were computed.

        Returns
        -------
        float64 [*a, *b, band, epoch], by dyad [dyad, *a, *b, band, epoch]
            NaN where less than `min_valid` of the cells entered.

        Raises
        ------
        PlanError
            If the measure is unknown.
        InputError
            If a batch was made for another request.
        """
        measure = measure_named(name)
        require_measure(self.spec, name)
        backend = self.backend.squaring if measure.needs == "coherence" else self.backend
        shares = PhaseShares.of(measure.needs == "shares")
        means = self._means(backend, a, b, shares, regions, by_dyad=by_dyad)
        return self.measure_of(means, name, on_device=on_device)

    def measure_of(self, means: Any, name: str, *, on_device: bool = False) -> NDArray[np.float64]:
        """A measure of means from `coherence`, which may have been left on the device."""
        with self.active():
            values = measure_named(name).of(means, self.xp)
        return values if self.device is None or on_device else self.device.to_host(values)

    def diagonal(self, means: Any, axis: int) -> Any:
        """
        Means of each person of `a` with the person of `b` in the same place, on the host.

        Parameters
        ----------
        means : Coherence or Coupled
            [person, ..., person, ...] from `coherence`, which may have been left on the device.
        axis : int
            That of the persons of `b`.

        Returns
        -------
        Coherence or Coupled
            [person, ...], without the axis of the persons of `b`.
        """
        with self.active():
            number = self.xp.arange(means.value.shape[0])
            own = mapped(means, lambda x: self.xp.moveaxis(x, axis, 1)[number, number])
        return own if self.device is None else mapped(own, self.device.to_host)

    def _means(
        self, backend: Backend, a: Batch, b: Batch, shares: PhaseShares | None, regions: Members | None,
        *, by_dyad: bool,
    ) -> Any:  # fmt: skip
        if (a.signals.controls is None) != (b.signals.controls is None):
            raise InputError("controls are taken out of one person only: give both theirs")
        if not (_same_request(a.plan, self.plan) and _same_request(b.plan, self.plan)):
            raise InputError(
                "features come from an engine with another request: make both with this engine's features()"
            )
        n_axes = len(a.signals.shape), len(b.signals.shape)
        with self.active():
            if not by_dyad:
                means = self.kind.means(backend, a, b, shares)
                if regions is None:
                    return means
                one, members = mapped(means, lambda x: x[None]), (regions[0][None], regions[1][None])
                return mapped(averaged(one, n_axes, members, self.xp), lambda x: x[0])
            if min(n_axes) < 2 or a.signals.shape[0] != b.signals.shape[0]:
                raise InputError(
                    f"by_dyad needs [dyad, ..., channel] of as many dyads on both sides, got {a.signals.shape} and "
                    f"{b.signals.shape}"
                )
            means = self.kind.means_of_dyads(backend, a, b, shares)
            return means if regions is None else averaged(means, (n_axes[0] - 1, n_axes[1] - 1), regions, self.xp)

    def _maps(self, *sides: Signals) -> NDArray[np.complex128]:
        a, b = (
            replace(side, x=self.device.to_host(side.x)) if self.device and on_a_device(side.x) else side
            for side in sides
        )
        return self.kind.maps(a, b, self.plan)


def _same_request(one: Any, other: Any) -> bool:
    mine, theirs = (
        (plan.n_samples, plan.sfreq, plan.spec, plan.epochs, getattr(plan, "trial", 0)) for plan in (one, other)
    )
    return one is other or mine == theirs
