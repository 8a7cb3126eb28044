"""Two streams in, synchrony of the last seconds out: `Live`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..coupling.band_spec import Spec, of_sides
from ..coupling.engine import Engine
from ..coupling.plan import refuse_bad_rate
from ..errors import InputError, PlanError
from ..results.result import provenance, variables_of
from .planned import require_bands

if TYPE_CHECKING:
    import xarray as xr

_DIMS = ("channel_a", "channel_b", "band", "epoch")


def _is_number(value: object, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


class Live:
    """Synchrony over a window that moves along two streams, planned once.

    Parameters
    ----------
    n_channels : int or (int, int)
        Channels of both people, or of each.
    sfreq : float
        Sampling rate, Hz.
    window_s : float
        Length of the window, s, rounded to whole samples; the attribute `window_s` of the values is what it became.
    spec : WTC or Coupling
        With bands.
    channels_a, channels_b : sequence of str, optional
        Channel labels; default a0, a1, .. and b0, b1, ..
    backend : {"auto", "cuda", "numpy"}

    Raises
    ------
    PlanError
        If a word is wrong, or a band does not fit the window.

    Examples
    --------
    >>> live = Live(2, 10.0, 60.0, WTC(bands={"task": (0.08, 0.2)}))
    >>> rng = np.random.default_rng(0)
    >>> live.push(rng.standard_normal((2, 590)), rng.standard_normal((2, 590))) is None
    True
    >>> live.push(rng.standard_normal((2, 20)), rng.standard_normal((2, 20))).coherence.shape
    (2, 2, 1, 1)
    """

    def __init__(
        self,
        n_channels: int | tuple[int, int],
        sfreq: float,
        window_s: float,
        spec: Spec,
        *,
        channels_a: Sequence[str] | None = None,
        channels_b: Sequence[str] | None = None,
        backend: str = "auto",
    ) -> None:
        require_bands(spec)
        if spec.lags:
            raise PlanError("lags are for studies: leave them out of the spec")
        n_of_each: tuple[Any, ...] = (n_channels, n_channels)
        if isinstance(n_channels, Sequence | np.ndarray) and np.ndim(n_channels) == 1:
            n_of_each = tuple(n_channels)
        if len(n_of_each) != 2 or not all(_is_number(n, Integral) and n > 0 for n in n_of_each):
            raise PlanError(f"n_channels={n_channels!r} must be a whole number, or two")
        labels = []
        for side, n, given in zip("ab", n_of_each, (channels_a, channels_b), strict=True):
            names = [f"{side}{k}" for k in range(n)] if given is None else given
            listed = list(names) if isinstance(names, Iterable) and not isinstance(names, str) else []
            if not listed or not all(isinstance(name, str) for name in listed):
                raise PlanError(f"channels_{side}={given!r} is not a list of labels")
            if len(listed) != n:
                raise PlanError(f"channels_{side} has {len(listed)} labels for {n} channels")
            if len({*listed}) < n:
                raise PlanError(f"channels_{side}={given!r} names a channel twice")
            labels.append(listed)
        refuse_bad_rate(sfreq)
        if not _is_number(window_s, Real) or not 2 <= window_s * sfreq < math.inf:
            raise PlanError(f"window_s={window_s!r} is no length of a window: give s")
        n_samples = round(float(window_s) * sfreq)
        try:
            self.engine = Engine(n_samples, sfreq, spec, backend=backend)
        except PlanError as error:
            told = str(error).replace("a recording of", "a window of").replace("record longer", "give a longer window")
            raise PlanError(f"window_s={window_s:g} will not do: {told}") from error
        self._window = [np.empty((n, n_samples)) for n in n_of_each]
        self._n_pushed = 0
        plan = self.engine.plan
        self._centre_hz = np.array([band.centre_hz for band in plan.bands.values()])[:, None]
        first = {name: of_sides(band)[0] for name, band in plan.bands.items()}
        self._coords: dict[str, Any] = {
            "channel_a": labels[0],
            "channel_b": labels[1],
            "band": list(plan.bands),
            "epoch": list(plan.epochs),
            "band_low_hz": ("band", [band.low_hz for band in first.values()]),
            "band_high_hz": ("band", [band.high_hz for band in first.values()]),
        }
        name = self.engine.backend.name
        words = {"sfreq": plan.sfreq, "window_s": n_samples / plan.sfreq}
        self._attrs = provenance(spec=spec.to_dict(), backend=name, **words, **plan.told)

    def __repr__(self) -> str:
        a, b = (len(window) for window in self._window)
        return f"Live({a} x {b} channels, {self._attrs['window_s']:g} s at {self.engine.plan.sfreq:g} Hz)"

    def push(self, samples_a: ArrayLike, samples_b: ArrayLike) -> xr.Dataset | None:
        """
        Take new samples of both people, and give the means over the last window.

        Parameters
        ----------
        samples_a, samples_b : float [channel, sample]
            Samples since the last call, as many of both; NaN where one is missing.

        Returns
        -------
        xarray.Dataset or None
            Dimensions channel_a, channel_b, band, epoch, and the variables of `wtc` with bands (of a `Coupling` those
            of `Study.synchrony`); the coordinate `time` is the end of the window in s since the first sample. None
            until the first window is full.

        Raises
        ------
        InputError
            If channels or numbers of samples do not fit, or a sample is infinite. Nothing is taken then.
        """
        import xarray as xr

        new = [self._checked(x, side) for side, x in zip("ab", (samples_a, samples_b), strict=True)]
        n_new = new[0].shape[1]
        if new[1].shape[1] != n_new:
            raise InputError(f"a has {n_new} new samples, b {new[1].shape[1]}: push as many of both")
        n = self.engine.plan.n_samples
        for window, samples in zip(self._window, new, strict=True):
            kept = min(n_new, n)
            window[:, : n - kept] = window[:, kept:].copy()
            window[:, n - kept :] = samples[:, n_new - kept :]
        self._n_pushed += n_new
        if self._n_pushed < n:
            return None
        means = self.engine.coherence(*map(self.engine.features, self._window))
        variables = variables_of(means, self.engine.spec.measure, self._centre_hz, _DIMS)
        coords = {**self._coords, "time": ((), self._n_pushed / self.engine.plan.sfreq, {"units": "s"})}
        return xr.Dataset(variables, coords, self._attrs)

    def _checked(self, samples: ArrayLike, side: str) -> NDArray[np.float64]:
        n_channels = len(self._window["ab".index(side)])
        array = np.asarray(samples)
        if array.ndim != 2 or len(array) != n_channels or array.dtype.kind not in "fiu":
            found = f"{array.dtype} of shape {array.shape}"
            raise InputError(
                f"samples_{side} must be real numbers [channel, sample] of {n_channels} channels, got {found}"
            )
        if np.isinf(array).any():
            raise InputError(f"samples_{side} holds infinite values: replace them by NaN to mark a gap")
        return array.astype(np.float64)
