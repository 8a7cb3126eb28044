"""Arrays in, labelled arrays out: `wtc`, `partial_wtc`, `multiple_wtc` and `xwt`."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..coupling.band_rows import requested_rows
from ..coupling.engine import Engine
from ..coupling.plan import Epochs, Plan, full_resolution_weights, make_plan
from ..coupling.spec import WTC
from ..coupling.transform.cone import cone_of_influence
from ..coupling.transform.maps import coherency_maps, cross_wavelet_maps
from ..coupling.transform.signals import REASONS, Signals, prepare
from ..coupling.wavelet_coherence import Coherence
from ..errors import InputError, PlanError
from ..recordings.objects import Samples, rate_of, require_together, samples_of
from ..results.lost import lost_lines
from .engines import EnginePlan
from .epochs import given_spans, in_every_trial
from .losses import LOG
from .lost_epochs import losses_of_recording
from .pointwise_levels import CAUTION, LEVEL, lag1, pair_levels

if TYPE_CHECKING:
    import xarray as xr

MAP_BYTES = 4 << 30  # largest map that is made in memory


def wtc(
    a: ArrayLike,
    b: ArrayLike,
    sfreq: float | None = None,
    *,
    signal: str | None = None,
    bands: Mapping[str, Any] | None = None,
    fmin: float | None = None,
    fmax: float | None = None,
    epochs: Epochs | None = None,
    grid: str | float | None = None,
    significance: str | None = None,
    n: int = 300,
    seed: int = 0,
    spec: WTC | None = None,
    channels_a: Sequence[str] | None = None,
    channels_b: Sequence[str] | None = None,
    backend: str = "auto",
    **words: Any,
) -> xr.Dataset:
    """Wavelet transform coherence of every channel of `a` with every channel of `b`.

    Parameters
    ----------
    a, b : array [channel, sample], [sample] or [trial, channel, sample], DataArray, DataFrame, mne.io.Raw or Epochs
        Recordings made at once; NaN marks a gap. With bands also trials of one length, the same of both: each is
        transformed by itself, and means are over the cells of all (docs/eeg.md). Of an xarray.DataArray the dimension
        `time` is that of samples, of a pandas.DataFrame the rows are; names of channels are kept. What MNE's
        annotations or its list of bad channels call bad is missing.
    sfreq : float, optional
        Sampling rate, Hz; needed where neither object says it.
    signal : {"hbo", "hbr", "hbt", "eeg"}, optional
        Of recordings of MNE that hold several.
    bands : mapping of str to (low, high) in Hz or Band, optional
        Asks for means over bands and epochs instead of maps.
    fmin, fmax : float, optional
        Frequency range of a map, Hz; default: the full textbook range.
    epochs : mapping of str to (start, stop) or a sequence of such intervals in s, optional
        With bands; default: the whole recording, named "all". Of trials in s from the first sample of each.
    grid : "full" or float, optional
        Maps at every sample (default without bands) or every so many seconds.
    significance : {"ar1", "phase"}, optional
        With maps: the 95 % level of R2 of each row and pair, for a contour. "ar1": both channels simulated as AR(1)
        noise, as in geophysics, which is no null of fNIRS (a RuntimeWarning says so). "phase": `b` phase randomised,
        for stationary signals of any spectrum; remove drifts first. Each cell is judged on its own either way.
    n : int
        Simulated or surrogate pairs behind each level.
    seed : int
        Seed of the levels.
    spec : WTC, optional
        Instead of single words.
    channels_a, channels_b : sequence of str, optional
        Channel labels; default the object's own, else a0, a1, .. and b0, b1, ..
    backend : {"auto", "cuda", "numpy"}
        Of means; maps are computed on the CPU.
    **words
        Further words of `WTC`: voices, preset, accuracy, coi, min_valid, period.

    Returns
    -------
    xarray.Dataset
        Maps: coherence (magnitude-*squared*, 0..1) and phase (rad, positive: a leads), dimensions channel_a, channel_b,
        freq (Hz, falling: period rises), time (s); coordinates period (s) and coi (s, longest trusted period). If
        asked for, significance_level, dimensions channel_a, channel_b, freq.
        Means: coherence, coherency_re, coherency_im, phase, phase_consistency, phase_lag (s), valid_fraction,
        dimensions channel_a, channel_b, band, epoch.

    Raises
    ------
    PlanError
        If a word is wrong, a band does not fit the recording, or a map would not fit into memory.
    InputError
        If lengths differ or a signal is infinite.

    Notes
    -----
    Grinsted, Moore & Jevrejeva 2004 with linear smoothing in time. The phase is that of the *smoothed* cross product.
    Maps are computed in float64 at every sample whatever the accuracy; means come from features at the accuracy asked.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((2, 600))
    >>> wtc(x[0], x[1], sfreq=10.0, fmin=0.1).coherence.dims
    ('channel_a', 'channel_b', 'freq', 'time')
    """
    spec = _merged(spec, bands, fmin, fmax, words)
    is_means = spec.bands is not None and grid is None
    objects = {"a": a, "b": b}
    found, sfreq, (channels_a, channels_b) = _taken(
        objects, sfreq, signal, channels_a, channels_b, takes_trials=is_means
    )
    signals = _pair(found, channels_a, channels_b, spec.detrend)
    if is_means:
        if significance is not None:
            raise PlanError("significance goes with maps: leave out bands, or test band means with Study.null")
        trial = found[0].trial_samples
        if trial and epochs is not None:
            epochs = in_every_trial(given_spans(epochs), len(found[0].trials), trial / sfreq)
        engine = Engine(signals[0].n_samples, sfreq, spec, epochs=epochs, backend=backend, trial=trial)
        _tell_losses(engine.plan, epochs, trial)
        made = map(engine.features, (own.values for own in found)) if trial else map(engine.features_of, signals)
        means = engine.coherence(*made)
        grid_of = {"points_per_scale": engine.plan.told["points_per_scale"]}
        return _means_dataset(means, engine.plan, signals, channels_a, channels_b, engine.backend.name, **grid_of)
    if epochs is not None:
        raise PlanError("epochs go with bands: name bands, or cut the map's time axis instead")
    if backend not in ("auto", "numpy"):
        raise PlanError(f"maps are computed on the CPU: leave out backend={backend!r}, or name bands")
    view = _View(signals[0].n_samples, sfreq, spec, grid)
    view.refuse_if_too_large(signals[0].n_channels * signals[1].n_channels)
    levels = None if significance is None else view.levels(significance, signals, n, seed)
    ds = view.dataset(view.coherency(*signals), signals, channels_a, channels_b)
    if levels is not None:
        ds["significance_level"] = levels
    if significance == "ar1":
        warnings.warn(CAUTION, RuntimeWarning, stacklevel=2)
    return ds


def partial_wtc(
    a: ArrayLike,
    b: ArrayLike,
    controls: ArrayLike,
    sfreq: float | None = None,
    *,
    signal: str | None = None,
    bands: Mapping[str, Any] | None = None,
    fmin: float | None = None,
    fmax: float | None = None,
    epochs: Epochs | None = None,
    grid: str | float | None = None,
    spec: WTC | None = None,
    channels_a: Sequence[str] | None = None,
    channels_b: Sequence[str] | None = None,
    **words: Any,
) -> xr.Dataset:
    """Coherence of `a` with `b` after what both share with `controls` is taken out.

    Parameters
    ----------
    a, b : array [channel, sample] or [sample], DataArray, DataFrame or mne.io.Raw
    controls : array [channel, sample] or [sample], DataArray or DataFrame
        Signals to be controlled for (heart rate, respiration, a short channel, a stimulus), all at once.
    sfreq, signal, bands, fmin, fmax, epochs, grid, spec, channels_a, channels_b, **words
        As `wtc`.

    Returns
    -------
    xarray.Dataset
        As `wtc`; `coherence` is the squared modulus and `phase` the angle of the partial coherency. NaN where the
        controls explain a channel completely.

    Raises
    ------
    PlanError, InputError
        As `wtc`.

    Notes
    -----
    With one control z, (C_xy - C_xz C_zy) / sqrt((1 - |C_xz|^2)(1 - |C_zy|^2)) of complex coherencies (Mihanovic,
    Orlic & Pasaric 2009, J. Mar. Syst. 78:1); with several, products become C_xZ C_ZZ^-1 C_Zy.

    Examples
    --------
    >>> partial_wtc(a, b, heart_rate, sfreq=10.0, bands={"task": (0.05, 0.15)}).coherence
    """
    spec = _merged(spec, bands, fmin, fmax, words)
    objects = {"a": a, "b": b, "controls": controls}
    found, sfreq, (channels_a, channels_b) = _taken(objects, sfreq, signal, channels_a, channels_b)
    signals = _pair(found, channels_a, channels_b, spec.detrend)
    third = prepare(np.atleast_2d(found[2].values), detrend=spec.detrend)
    if third.n_samples != signals[0].n_samples:
        raise InputError(
            f"controls have {third.n_samples} samples, a and b {signals[0].n_samples}: cut all to one length"
        )
    _require_usable(third, "control")
    if epochs is not None and spec.bands is None:
        raise PlanError("epochs go with bands: name bands, or cut the map's time axis instead")
    view = _View(signals[0].n_samples, sfreq, spec, "full" if spec.bands and grid is None else grid)
    n_channels = [s.n_channels for s in (*signals, third)]
    view.refuse_if_too_large(n_channels[0] * n_channels[1] + sum(n_channels) * n_channels[2])
    partial = _partial(view.coherency, *signals, third)
    if spec.bands is None or grid is not None:
        return view.dataset(partial, signals, channels_a, channels_b)
    plan = make_plan(signals[0].n_samples, sfreq, spec, epochs)
    _tell_losses(plan, epochs)
    return _means_dataset(_map_means(partial, plan), plan, signals, channels_a, channels_b, "numpy")


def multiple_wtc(
    y: ArrayLike,
    x: ArrayLike | Sequence[ArrayLike],
    sfreq: float | None = None,
    *,
    signal: str | None = None,
    fmin: float | None = None,
    fmax: float | None = None,
    grid: str | float | None = None,
    spec: WTC | None = None,
    channels: Sequence[str] | None = None,
    **words: Any,
) -> xr.Dataset:
    """Coherence of every channel of `y` with several signals taken together.

    Parameters
    ----------
    y : array [channel, sample] or [sample], DataArray, DataFrame or mne.io.Raw
    x : array [signal, sample] or another object as `y`, or sequence of arrays [sample]
        What explains `y`, all at once.
    sfreq, signal, fmin, fmax, grid, spec, **words
        As `wtc`; there are maps only.
    channels : sequence of str, optional
        Labels of the channels of `y`; default its own, else a0, a1, ...

    Returns
    -------
    xarray.Dataset
        coherence (0 to 1), dimensions channel_a, freq, time; coordinates as `wtc`. NaN where a channel has none, or a
        signal of `x` has none.

    Raises
    ------
    PlanError, InputError
        As `wtc`.

    Notes
    -----
    c C^-1 c^H, with c the complex coherencies of y with each signal and C those among the signals (Ng & Chan 2012,
    J. Atmos. Ocean. Technol. 29:1845, for two). It grows with the number of signals, related or not: with one it is the
    coherence of `wtc`.

    Examples
    --------
    >>> multiple_wtc(y[0], [x[0], x[1]], sfreq=10.0, fmin=0.05, fmax=0.2).coherence
    """
    spec = _merged(spec, None, fmin, fmax, words)
    if spec.bands is not None:
        raise PlanError("multiple_wtc makes maps: leave out bands, and give fmin and fmax")
    several = x if isinstance(x, Sequence) and not isinstance(x, str) else [x]
    named = {f"x[{k}]" if len(several) > 1 else "x": one for k, one in enumerate(several)}
    found, sfreq, (channels,) = _taken({"y": y, **named}, sfreq, signal, channels)
    lengths = {one.values.shape[-1] for one in found[1:]}
    if len(lengths) > 1:
        raise InputError(f"the signals of x have {min(lengths)} to {max(lengths)} samples: cut all to one length")
    together = Samples(np.concatenate([np.atleast_2d(one.values) for one in found[1:]]))
    signals = _pair([found[0], together], channels, None, spec.detrend)
    _require_usable(signals[1], "signal")
    _refuse_repeated(signals[1])
    n_y, n_x = signals[0].n_channels, signals[1].n_channels
    view = _View(signals[0].n_samples, sfreq, spec, grid)
    view.refuse_if_too_large((n_y + n_x) * n_x)
    to_x = np.moveaxis(view.coherency(*signals), 1, -1)
    among = np.moveaxis(view.coherency(signals[1], signals[1]), (0, 1), (-2, -1))
    usable = np.asarray(np.isfinite(among).all(axis=(-2, -1)))
    # Signals may explain each other at some cells, and then explain no more than one of them.
    inverse = np.linalg.pinv(np.where(usable[..., None, None], among, np.eye(n_x)), rcond=1e-9, hermitian=True)
    explained = np.einsum("artx,rtxz,artz->art", to_x, inverse, to_x.conj()).real
    value = np.where(usable, np.clip(explained, 0, 1), np.nan)
    first = signals[0], signals[1].part(np.arange(n_x) == 0)
    labelled = view.dataset(np.sqrt(value)[:, None].astype(complex), first, channels, None)
    return labelled.isel(channel_b=0, drop=True)[["coherence"]]


def xwt(
    a: ArrayLike,
    b: ArrayLike,
    sfreq: float | None = None,
    *,
    signal: str | None = None,
    fmin: float | None = None,
    fmax: float | None = None,
    grid: str | float | None = None,
    spec: WTC | None = None,
    channels_a: Sequence[str] | None = None,
    channels_b: Sequence[str] | None = None,
    **words: Any,
) -> xr.Dataset:
    """Cross-wavelet power of every channel of `a` with every channel of `b`.

    Parameters
    ----------
    a, b : array [channel, sample] or [sample], DataArray, DataFrame or mne.io.Raw
        Recordings made at once; NaN marks a gap.
    sfreq, signal, fmin, fmax, grid, spec, channels_a, channels_b, **words
        As `wtc`; there are maps only.

    Returns
    -------
    xarray.Dataset
        power, the modulus of W_a conj(W_b) of channels of unit variance, and phase (rad, positive: a leads), neither
        smoothed; dimensions and coordinates as the maps of `wtc`.

    Raises
    ------
    PlanError, InputError
        As `wtc`.

    Notes
    -----
    Grinsted, Moore & Jevrejeva 2004. High where both have power, related or not; coherence divides by it.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((2, 600))
    >>> xwt(x[0], x[1], sfreq=10.0, fmin=0.1).power.dims
    ('channel_a', 'channel_b', 'freq', 'time')
    """
    spec = _merged(spec, None, fmin, fmax, words)
    if spec.bands is not None:
        raise PlanError("xwt makes maps: leave out bands, and give fmin and fmax")
    found, sfreq, (channels_a, channels_b) = _taken({"a": a, "b": b}, sfreq, signal, channels_a, channels_b)
    signals = _pair(found, channels_a, channels_b, spec.detrend)
    view = _View(signals[0].n_samples, sfreq, spec, grid)
    view.refuse_if_too_large(signals[0].n_channels * signals[1].n_channels)
    cross = cross_wavelet_maps(*signals, view.plan.scales, view.rows, view.every)
    labelled = view.dataset(cross, signals, channels_a, channels_b)
    about = {"units": "1", "long_name": "cross-wavelet power of channels of unit variance"}
    power = labelled["coherence"].copy(data=np.where(np.isnan(cross), np.nan, np.abs(cross))).assign_attrs(about)
    del labelled.attrs["coherence_definition"]
    return labelled.drop_vars("coherence").assign(power=power)


def _tell_losses(plan: Plan, epochs: Mapping[str, Any] | None, trial: int = 0) -> None:
    """Log which epochs and bands have no value, or one of less than was asked for."""
    losses = losses_of_recording(EnginePlan(plan.n_samples, plan.sfreq, plan.spec, epochs, trial))
    for line in lost_lines(losses):
        LOG.warning(line)


def _merged(
    spec: WTC | None, bands: Mapping[str, Any] | None, fmin: float | None, fmax: float | None, words: dict[str, Any]
) -> WTC:
    if not isinstance(spec, WTC | None):
        raise PlanError(f"spec is a {type(spec).__name__}, and this is of wavelet coherence: give a WTC, or use Engine")
    given = {k: v for k, v in {"bands": bands, "fmin": fmin, "fmax": fmax, **words}.items() if v is not None}
    merged = WTC.from_dict(given if spec is None else {k: v for k, v in given.items() if k not in ("fmin", "fmax")})
    if spec is not None:
        merged = replace(spec, **given)  # unknown words have been refused
    if merged.lags:
        raise PlanError("lags are for studies, or for Engine: leave them out of the spec, or shift b by hand")
    return merged


def _require_usable(signals: Signals, what: str) -> None:
    """Refuse signals of which one has no data, where all are needed at once."""
    if (signals.status != 0).any():
        which = int(np.flatnonzero(signals.status)[0])
        raise InputError(f"{what} number {which} is unusable ({REASONS[signals.status[which]]}): leave it out")


def _refuse_repeated(signals: Signals) -> None:
    """Refuse signals of which one is another, but for its offset and gain."""
    unit = (signals.x - signals.mean[:, None]) * signals.gain[:, None]
    alike = np.abs(unit @ unit.T) / signals.n_samples > 1 - 1e-9
    again = np.argwhere(np.triu(alike, 1))
    if len(again):
        first, second = again[0].tolist()
        raise InputError(f"signals {first} and {second} of x are the same: leave one out")


def _taken(
    objects: Mapping[str, Any],
    sfreq: float | None,
    signal: str | None,
    *given: Sequence[str] | None,
    takes_trials: bool = False,
) -> tuple[list[Samples], float, list[Sequence[str] | None]]:
    """
    Channels of each object, the rate in Hz that all have, and labels of the channels of the first ones.

    Labels are as given, else as the objects have them. Channels that are marked bad have no value, which is logged.
    """
    found = {name: samples_of(x, name, signal) for name, x in objects.items()}
    rate = rate_of(found.items(), sfreq)
    require_together(found, rate)
    for name, own in found.items():
        if own.trials and not takes_trials:
            raise PlanError(f"{name} is cut into trials, of which wtc makes means: name bands, or give one trial")
        if own.bad:
            LOG.warning("%s: %s marked bad, no value", name, ", ".join(own.bad))
    taken = list(found.values())
    return taken, rate, [own.channels if labels is None else labels for own, labels in zip(taken, given, strict=False)]


def _pair(
    found: Sequence[Samples], channels_a: Sequence[str] | None, channels_b: Sequence[str] | None, detrend: str | None
) -> tuple[Signals, Signals]:
    prepared = []
    for name, own, labels in zip("ab", found, (channels_a, channels_b), strict=False):
        array = np.atleast_2d(own.values)
        if labels is not None and len(labels) != len(array):
            raise InputError(f"channels_{name} has {len(labels)} labels for an array of shape {own.values.shape}")
        prepared.append(prepare(array, names=labels, detrend=detrend))
    first, second = prepared
    if first.n_samples != second.n_samples:
        raise InputError(f"a has {first.n_samples} samples, b {second.n_samples}: cut both to the time they share")
    return first, second


class _View:
    """Rows and times of a map."""

    def __init__(self, n_samples: int, sfreq: float, spec: WTC, grid: str | float | None) -> None:
        self.plan = make_plan(n_samples, sfreq, replace(spec, coi="none"))
        self.rows = requested_rows(spec, self.plan.scales, sfreq)
        self.every = _every(grid, sfreq)
        self.definition = spec.preset if spec.accuracy == "reference" else None
        self.spec = spec

    def refuse_if_too_large(self, n_maps: int) -> None:
        n_times = len(range(0, self.plan.n_samples, self.every))
        wanted = 32 * n_maps * (self.rows[1] - self.rows[0]) * n_times
        if wanted > MAP_BYTES:
            raise PlanError(
                f"{n_maps} maps of {self.rows[1] - self.rows[0]} rows x {n_times} samples need {wanted / 2**30:.1f} GiB"
                f" (limit {MAP_BYTES / 2**30:.0f}): ask for bands, a coarser grid (grid=1.0 is one column a second), "
                "a narrower fmin..fmax or fewer channels"
            )

    def coherency(self, a: Signals, b: Signals) -> NDArray[np.complex128]:
        return coherency_maps(a, b, self.plan.scales, self.rows, self.every, definition=self.definition)

    def levels(self, kind: str, signals: tuple[Signals, Signals], n: int, seed: int) -> xr.Variable:
        """Pointwise level of R2 of each pair and row."""
        import xarray as xr

        values = pair_levels(kind, *signals, self.plan.scales, self.rows, n=n, seed=seed, definition=self.definition)
        attrs: dict[str, Any] = {
            "units": "1",
            "long_name": f"pointwise {LEVEL:.0%} level of coherence",
            "level": LEVEL,
            "family": kind,
            "n": n,
            "seed": seed,
        }
        if kind == "ar1":
            lags = {f"lag1_{side}": lag1(s.x).tolist() for side, s in zip("ab", signals, strict=True)}
            attrs |= {**lags, "caution": CAUTION}
        return xr.Variable(("channel_a", "channel_b", "freq"), values, attrs)

    def dataset(
        self,
        coherency: NDArray[np.complex128],
        signals: tuple[Signals, Signals],
        channels_a: Sequence[str] | None,
        channels_b: Sequence[str] | None,
    ) -> xr.Dataset:
        import xarray as xr

        freq = self.plan.scales.freq(self.plan.sfreq)[self.rows[0] : self.rows[1]]
        cone = cone_of_influence(self.plan.n_samples) / self.plan.sfreq
        sample = np.arange(0, self.plan.n_samples, self.every)
        dims = ("channel_a", "channel_b", "freq", "time")
        phase = np.angle(coherency)
        phase[np.isnan(coherency)] = np.nan
        coherence = np.minimum(np.abs(coherency) ** 2, 1)
        return xr.Dataset(
            {
                "coherence": (dims, coherence, {"units": "1", "long_name": "magnitude-squared coherence"}),
                "phase": (dims, phase, {"units": "rad", "long_name": "phase; positive: a leads"}),
            },
            {
                **_channel_coords(signals, channels_a, channels_b),
                "freq": ("freq", freq, {"units": "Hz"}),
                "period": ("freq", 1 / freq, {"units": "s"}),
                "time": ("time", sample / self.plan.sfreq, {"units": "s"}),
                "coi": ("time", cone[sample], {"units": "s", "long_name": "longest trusted period"}),
            },
            _attrs(self.plan, self.spec, "reference" if self.definition else "numpy"),
        )


def _every(grid: str | float | None, sfreq: float) -> int:
    if grid is None or grid == "full":
        return 1
    if isinstance(grid, str) or not grid > 0:
        raise PlanError(f"grid must be 'full' or a step in s, got {grid!r}")
    every = round(grid * sfreq)
    if every < 1 or not math.isclose(every / sfreq, grid, rel_tol=1e-6):
        raise PlanError(
            f"grid={grid!r} s is not a whole number of samples at {sfreq:g} Hz: use grid={max(every, 1) / sfreq:g}"
        )
    return every


def _partial(
    coherency: Callable[[Signals, Signals], NDArray[np.complex128]], a: Signals, b: Signals, z: Signals
) -> NDArray[np.complex128]:
    """Partial coherency given all channels of `z`: complex128 [a, b, row, time]."""
    among = np.moveaxis(coherency(z, z), (0, 1), (-2, -1))
    to_a, to_b = (np.moveaxis(coherency(x, z), 1, -1)[..., None] for x in (a, b))
    usable = np.asarray(np.isfinite(among).all(axis=(-2, -1)))
    among = np.where(usable[..., None, None], among, np.eye(z.n_channels))
    among = among + 1e-12 * np.eye(z.n_channels)  # controls may repeat each other
    # Rows of C_xZ against C_ZZ^-1: solve with the transpose, as <u_x, u_z> is linear in x.
    solved = np.linalg.solve(np.swapaxes(among, -1, -2)[None], to_a)
    own_a = 1 - np.einsum("artz,artz->art", solved[..., 0], to_a[..., 0].conj()).real
    solved_b = np.linalg.solve(np.swapaxes(among, -1, -2)[None], to_b)
    own_b = 1 - np.einsum("artz,artz->art", solved_b[..., 0], to_b[..., 0].conj()).real
    shared = np.einsum("artz,brtz->abrt", solved[..., 0], to_b[..., 0].conj())
    left = own_a[:, None] * own_b[None]
    with np.errstate(divide="ignore", invalid="ignore"):
        value = (coherency(a, b) - shared) / np.sqrt(left)
    explained = (np.minimum(own_a[:, None], own_b[None]) <= 1e-9) | ~usable
    return np.asarray(np.where(explained, np.nan, value))


def _map_means(coherency: NDArray[np.complex128], plan: Plan) -> Coherence:
    """Plain means over the full-resolution cells of each band x epoch: arrays [a, b, band, epoch]."""
    first, stop = requested_rows(plan.spec, plan.scales, plan.sfreq)
    weights = full_resolution_weights(plan)[:, first:stop]
    valid = ~np.isnan(coherency)
    value = np.where(valid, coherency, 0)
    weight, squared, inner = (
        np.einsum("mrt,abrt->abm", weights, v) for v in (valid.astype(float), np.abs(value) ** 2, value)
    )
    shape = (*coherency.shape[:2], len(plan.bands), len(plan.epochs))
    fraction = (weight / plan.n_cells.reshape(-1)).reshape(shape)
    enough = (fraction >= plan.spec.min_valid) & (fraction > 0)
    share = np.where(enough, 1 / np.where(enough, weight.reshape(shape), 1), np.nan)
    return Coherence(np.minimum(squared.reshape(shape) * share, 1), inner.reshape(shape) * share, fraction)


def _means_dataset(
    means: Coherence,
    plan: Plan,
    signals: tuple[Signals, Signals],
    channels_a: Sequence[str] | None,
    channels_b: Sequence[str] | None,
    backend: str,
    **more: Any,
) -> xr.Dataset:
    import xarray as xr

    from ..results.result import mean_variables

    dims = ("channel_a", "channel_b", "band", "epoch")
    centre_hz = np.array([band.centre_hz for band in plan.bands.values()])[:, None]
    return xr.Dataset(
        mean_variables(means.coherence, means.coherency, means.valid_fraction, centre_hz, dims),
        {
            **_channel_coords(signals, channels_a, channels_b),
            "band": list(plan.bands),
            "epoch": list(plan.epochs),
            "band_low_hz": ("band", [band.low_hz for band in plan.bands.values()]),
            "band_high_hz": ("band", [band.high_hz for band in plan.bands.values()]),
        },
        _attrs(plan, plan.spec, backend, **more),
    )


def _channel_coords(
    signals: tuple[Signals, Signals], channels_a: Sequence[str] | None, channels_b: Sequence[str] | None
) -> dict[str, Any]:
    coords: dict[str, Any] = {}
    for side, batch, labels in (("a", signals[0], channels_a), ("b", signals[1], channels_b)):
        coords[f"channel_{side}"] = (
            list(labels) if labels is not None else [f"{side}{k}" for k in range(batch.n_channels)]
        )
        coords[f"status_{side}"] = (f"channel_{side}", [REASONS[s] or "fine" for s in batch.status])
    return coords


def _attrs(plan: Plan, spec: WTC, backend: str, **more: Any) -> dict[str, Any]:
    from ..results.result import provenance

    return provenance(
        spec=spec.to_dict(), accuracy=spec.accuracy, preset=spec.preset, backend=backend, sfreq=plan.sfreq,
        coherence_definition="magnitude-squared", **more,
    )  # fmt: skip
