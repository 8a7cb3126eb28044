"""`Engine`: the two verbs under everything, and the choice of backend."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError, PlanError
from .backends.cuda.device import Device, on_a_device
from .backends.cuda.signals_on_device import prepare_on
from .plan import Epochs, Plan, make_plan
from .spec import WTC, PhaseShares
from .transform.maps import coherency_maps
from .transform.scales import requested_rows
from .transform.signals import Signals, prepare

BACKENDS = ("auto", "cuda", "numpy")


@dataclass(frozen=True)
class Coherence:
    """Band x epoch means for all pairs of a channel of `a` with a channel of `b`.

    Attributes
    ----------
    coherence : float64 [*a, *b, band, epoch]
        Mean magnitude-squared coherence R2, 0..1; NaN where less than `min_valid` of the cells entered.
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

    def on_host(self, device: Device) -> Coherence:
        """The same with all arrays copied from a device."""
        there = {field.name: getattr(self, field.name) for field in fields(self)}
        copied: dict[str, Any] = {name: device.to_host(x) for name, x in there.items() if x is not None}
        return Coherence(**copied)


class Engine:
    """Plans once for a recording length, then computes features and coherence.

    Parameters
    ----------
    n_samples : int
        Length of the recordings.
    sfreq : float
        Sampling rate, Hz.
    spec : WTC, optional
        Bands, accuracy, preset; default: the full textbook range as one band.
    epochs : mapping of str to (start, stop) or a sequence of such intervals, in s, optional
        Default: the whole recording, named "all".
    backend : {"auto", "cuda", "numpy"}
        "auto" takes the GPU when one is usable.

    Attributes
    ----------
    backend : str
        The backend that was taken.
    plan : Plan

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
        spec: WTC | None = None,
        *,
        epochs: Epochs | None = None,
        backend: str = "auto",
    ) -> None:
        self.spec = spec or WTC()
        self._device = _device(backend, self.spec)
        self.backend: str = self._device.name
        self.plan: Plan = make_plan(n_samples, sfreq, self.spec, epochs)

    @property
    def device(self) -> Device | None:
        """The GPU that computes; None on the CPU."""
        device: Device | None = getattr(self._device, "device", None)
        return device

    @property
    def xp(self) -> Any:
        """NumPy, or CuPy on the GPU."""
        return np if self.device is None else self.device.xp

    @cached_property
    def tolerant(self) -> Engine:
        """The same engine with `min_valid` 0: a mean of whatever cells are left."""
        spec, plan = replace(self.spec, min_valid=0.0), self.plan
        return Engine(plan.n_samples, plan.sfreq, spec, epochs=plan.epochs, backend=self.backend)

    def features(self, x: ArrayLike, good: ArrayLike | None = None, *, seam: ArrayLike | None = None) -> Any:
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

        Returns
        -------
        An opaque batch for `coherence`.

        Raises
        ------
        InputError
            If the length is not the planned one, a signal is infinite, or it is on a GPU and the backend is not.
        """
        signals = self._prepared(x, good, seam)
        if signals.n_samples != self.plan.n_samples:
            raise InputError(
                f"signals have {signals.n_samples} samples, the engine was planned for {self.plan.n_samples}"
            )
        return self._device.features(signals, self.plan)

    def _prepared(self, x: Any, good: ArrayLike | None, seam: ArrayLike | None) -> Signals:
        if not on_a_device(x):
            return prepare(x, good, seam=seam)
        if self.device is None:
            raise InputError(
                f"signals are on a GPU and the backend is {self.backend!r}: copy them, or use backend='cuda'"
            )
        return prepare_on(self.device, x, good, seam)

    def coherence(
        self, a: Any, b: Any, *, maps: bool = False, shares: bool | PhaseShares = False, on_device: bool = False
    ) -> Coherence:
        """Band x epoch means for all pairs of a channel of `a` with a channel of `b`.

        Parameters
        ----------
        a, b : batches from `features`
        maps : bool
            Also return the coherency at every sample, computed in float64 (slow, and large).
        shares : bool or PhaseShares
            Also return how the phase of coherent cells is shared out. Cells of the grid are counted, each for the
            samples nearest to it.
        on_device : bool
            Leave the results where they were computed, with backend "cuda" as CuPy arrays; not for maps.

        Returns
        -------
        Coherence

        Raises
        ------
        InputError
            If a batch was made for another request.
        """
        if not (_same_request(a.plan, self.plan) and _same_request(b.plan, self.plan)):
            raise InputError(
                "features come from an engine with another request: make both with this engine's features()"
            )
        sums = self._device.coherence(a, b, PhaseShares.of(shares))
        shape = (*a.signals.shape, *b.signals.shape)
        means = _means(sums, self.plan, (*shape, len(self.plan.bands), len(self.plan.epochs)), self.xp)
        if self.device is not None and not on_device:
            means = means.on_host(self.device)
        return replace(means, maps=self._maps(a.signals, b.signals, shape)) if maps else means

    def _maps(self, a: Signals, b: Signals, shape: tuple[int, ...]) -> NDArray[np.complex128]:
        rows = requested_rows(self.spec, self.plan.scales, self.plan.sfreq)
        definition = self.spec.preset if self.spec.accuracy == "reference" else None
        if self.device is not None:
            a, b = (replace(side, x=self.device.to_host(side.x)) if on_a_device(side.x) else side for side in (a, b))
        found = coherency_maps(a, b, self.plan.scales, rows, definition=definition)
        return found.reshape(*shape, *found.shape[2:])


def _same_request(one: Plan, other: Plan) -> bool:
    mine, theirs = ((plan.n_samples, plan.sfreq, plan.spec, plan.epochs) for plan in (one, other))
    return one is other or mine == theirs


def _means(sums: Any, plan: Plan, shape: tuple[int, ...], xp: Any) -> Coherence:
    def arranged(values: NDArray[Any]) -> NDArray[Any]:
        found: NDArray[Any] = xp.ascontiguousarray(xp.moveaxis(values, 0, -1)).reshape(shape)
        return found

    weight = sums.weight
    fraction = xp.clip(weight / xp.asarray(plan.n_cells).reshape(-1, 1, 1), 0, 1)
    # A mean over next to nothing is no mean, whatever min_valid says.
    enough = (fraction >= plan.spec.min_valid) & (fraction > 1e-6)
    share = xp.where(enough, 1 / xp.where(enough, weight, 1), np.nan)
    coherence = xp.clip(sums.squared * share, 0, 1)
    means = Coherence(arranged(coherence), arranged(sums.inner * share), arranged(fraction))
    if sums.phases is None:
        return means
    classes, width = (
        xp.where(enough, part, np.nan) for part in (xp.moveaxis(sums.phases.classes, 1, 0), sums.phases.width)
    )
    coherent = classes.sum(axis=0)
    shares, above = (_ratio(*parts, xp) for parts in ((classes, coherent), (coherent, width)))
    return replace(means, shares=xp.stack([arranged(share) for share in shares], axis=-1), above=arranged(above))


def _ratio(part: Any, whole: Any, xp: Any) -> Any:
    """Quotient, NaN where the whole is nothing."""
    some = whole > 0
    return xp.where(some, part / xp.where(some, whole, 1), np.nan)


def _device(name: str, spec: WTC) -> Any:
    if name not in BACKENDS:
        raise PlanError(f"backend must be one of {', '.join(map(repr, BACKENDS))}, got {name!r}")
    if spec.accuracy == "reference":
        from .backends.reference import ReferenceBackend

        if name == "cuda":
            raise PlanError("accuracy 'reference' is computed on the CPU: use backend='numpy' or 'auto'")
        return ReferenceBackend()
    if name != "numpy":
        from .backends.cuda.backend import CudaBackend, usable_gpu

        if name == "cuda" or usable_gpu():
            return CudaBackend()
    from .backends.numpy import NumpyBackend

    return NumpyBackend()
