"""Surrogate recordings of one person: what is left of the signals names the hypothesis that they test.

A draw treats all channels of the person alike (the same phases, the same shift, the same order of blocks), because a
maximum over channel pairs is a valid correction only if the relations between the channels survive. Draw 0 is the
recording itself. Draws are made one by one: a draw then has the same bits in every batch, and its working arrays stay
inside a cache.

* ``"phase"``: every frequency is turned by a random angle (Theiler et al. 1992, *Physica D* 58:77; Prichard and
  Theiler 1994, *Phys. Rev. Lett.* 73:951). Power and cross-spectra of the person stay; values become Gaussian.
* ``"iaaft"``: values stay exactly, the power spectrum closely (Schreiber and Schmitz 1996, *Phys. Rev. Lett.* 77:635).
* ``"shift"``: the recording is closed to a circle and begins elsewhere. All stays but the time that the partner shares.
* ``"block"``: pieces of the recording are put in another order.
* ``"ar1"``, ``"ar"``: Gaussian noise with the autocorrelation of an autoregression fitted to each channel.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..coupling.transform.signals import drift
from ..errors import InputError, PlanError, require_known
from .random_streams import Purpose, Words, integers, normal_pairs, permutations, purpose_word, stream

Floats = NDArray[np.float64]
Complexes = NDArray[np.complex128]
Integers = NDArray[np.int64]

FAMILY_OPTIONS: dict[str, tuple[str, ...]] = {
    "phase": (),
    "iaaft": ("n_iterations",),
    "shift": (),
    "ar1": (),
    "ar": ("order",),
    "block": ("block",),
}
"""Options of each family."""

FAMILIES = tuple(FAMILY_OPTIONS)
"""Names of the families."""

LARGEST_AR1 = 0.9999
"""Lag-1 coefficients are kept this close to 0, so that a model stays stationary."""

LARGEST_ORDER = 30
"""Longest autoregression that is tried."""

MOST_DRIFT = 4.0
"""A recording that rises by so many of its standard deviations has surrogates unlike it: its two ends do not meet."""

_ANGLES = 1 << 16
# A hard filter leaves signals that are predicted to the last bit, by a recursion that rounding makes unstable.
_LEAST_INNOVATION = 1e-12


def refuse_drift(where: str, names: Iterable[str], x: NDArray[np.floating]) -> None:
    """
    Refuse signals whose surrogates would make any partner look synchronous.

    Parameters
    ----------
    where : str
        Whose signals they are; the message begins with it.
    names : iterable of str
        Channels.
    x : float [channel, sample]
        NaN marks a gap.

    Raises
    ------
    InputError
        If a channel drifts by `MOST_DRIFT` and more.
    """
    drifts = {name: size for name, size in zip(names, drift(x), strict=True) if size >= MOST_DRIFT}
    if drifts:
        worst = max(drifts, key=drifts.__getitem__)
        others = f" (and {len(drifts) - 1} more)" if len(drifts) > 1 else ""
        raise InputError(
            f"{where}: channel {worst}{others} drifts by {drifts[worst]:.0f} standard deviations over the recording, "
            "so surrogates of it are unlike it and everything would be significant; remove the drift with "
            "detrend='linear' (in a plan detrend = \"linear\" beside the bands)"
        )


@dataclass(frozen=True)
class _Source:
    """Where the random words of a person come from."""

    seed: int
    entity: int
    purpose: Purpose
    variant: int

    def words(self, draw: int, n_words: int) -> Words:
        """First words of one draw, uint32 [word]."""
        purpose = purpose_word(self.purpose, self.variant)
        return stream(self.seed, np.array([draw]), n_words, entity=self.entity, purpose=purpose)[:, 0]


Maker = Callable[[int], Floats]
"""Signals [channel, sample] of a draw."""


def surrogates(
    kind: str,
    x: NDArray[np.floating],
    draws: NDArray[np.integer],
    *,
    seed: int,
    entity: int,
    variant: int = 0,
    **options: Any,
) -> Floats:
    """
    Surrogates of one person's signals.

    Parameters
    ----------
    kind : str
        One of `FAMILIES`.
    x : float [channel, sample]
        Finite, but for channels that are missing altogether (NaN). These and constant channels come back as they are
        and do not count among the person's channels.
    draws : int [draw]
        Draw numbers k; 0 is the recording itself.
    seed : int
        The user's seed.
    entity : int
        Identity of the person, from `random_streams.entity_id`.
    variant : int
        Number of the session or condition, 0..65535; each has draws of its own.
    **options
        ``"iaaft"``: ``n_iterations`` (100), spectral and rank steps at most. ``"block"``: ``block``, samples of a
        block; must be given. ``"ar"``: ``order`` of all channels (None: the smallest BIC of each, `fit_ar`).

    Returns
    -------
    float64 [draw, channel, sample]

    Raises
    ------
    PlanError
        If the family or an option is unknown, missing or out of its range.

    Notes
    -----
    ``"phase"`` keeps the complex cross-spectra within the person and every mean. ``"shift"`` keeps both and the
    values, ``"block"`` the values and what a block holds.

    ``"iaaft"`` begins with turned phases common to the channels and then iterates each channel by itself. On
    haemoglobin-like signals the power spectrum is kept to a root mean square of 1e-3 (10 min at 10 Hz) to 1e-2
    (500 samples), and cross-spectra within the person to 3 % and 16 %. Skewed values cost more: 30 % of the
    cross-spectra at a skewness of 1; at 6 the power is kept to 5 to 10 % and the cross-spectra are lost. Iterating all
    channels with common phases (Schreiber and Schmitz 2000, *Physica D* 142:346) is no way out: with skewed values
    and many channels it ends in a circular shift of the recording (correlation 0.99), which is not a surrogate.

    ``"ar1"`` and ``"ar"`` are parametric bootstraps. Each channel has its mean and variance in expectation and is
    stationary from the first sample on; innovations correlate between channels as the residuals do, and channels of
    unlike autocorrelation come to their own correlation within the memory of the models.
    """
    k, signals = np.asarray(draws), np.asarray(x, dtype=np.float64)
    assert signals.ndim == 2, "signals are [channel, sample]"
    missing = np.isnan(signals)
    assert (missing.any(axis=1) == missing.all(axis=1)).all(), "a channel is finite or missing altogether"
    require_known("kind", kind, FAMILIES)
    require_options(kind, options)
    if kind in ("shift", "block"):
        return _rearranged(signals, _order(kind, signals.shape[1], k, seed, entity, variant, options))
    varying = np.ptp(signals, axis=1) > 0
    out = np.repeat(signals[None], k.size, axis=0)
    if not varying.any():
        return out
    maker = _maker(kind, signals[varying], _Source(seed, entity, _PURPOSES[kind], variant), options)
    for row in np.flatnonzero(k):
        out[row, varying] = maker(int(k[row]))
    return out


def shifts(n_samples: int, draws: NDArray[np.integer], *, seed: int, entity: int, variant: int = 0) -> Integers:
    """
    Circular shift of each draw, uniform over 0..n-1: a surrogate at sample t is the recording at (t - shift) mod n.

    No shift is left out: shifts of at least some lag are not a group, and a test with them rejects too often.

    Parameters
    ----------
    n_samples : int
    draws, seed, entity, variant
        As `surrogates`.

    Returns
    -------
    int64 [draw]
        0 for draw 0.
    """
    k = np.asarray(draws)
    words = stream(seed, k, 1, entity=entity, purpose=purpose_word(Purpose.SHIFT, variant))[0]
    return np.where(k == 0, 0, integers(words, n_samples)).astype(np.int64)


def block_order(
    n_samples: int, block: int, draws: NDArray[np.integer], *, seed: int, entity: int, variant: int = 0
) -> Integers:
    """
    Which sample of the recording stands at each place when its whole blocks are permuted.

    Parameters
    ----------
    n_samples : int
    block : int
        Samples of a block. What is left after the last whole block stays at the end.
    draws, seed, entity, variant
        As `surrogates`.

    Returns
    -------
    int64 [draw, sample]

    Raises
    ------
    PlanError
        If the recording holds fewer than two blocks.
    """
    if not (_is_whole(block) and 1 <= block <= n_samples // 2):
        raise PlanError(
            f"block={block!r} must be a whole number of samples of which {n_samples} hold at least two: give 1 to "
            f"{n_samples // 2}"
        )
    n_blocks = n_samples // block
    purpose = purpose_word(Purpose.BLOCK, variant)
    order = permutations(seed, np.asarray(draws), n_blocks, entity=entity, purpose=purpose).astype(np.int64)
    within = order[:, :, None] * block + np.arange(block)
    rest = np.arange(n_blocks * block, n_samples)
    n_draws = len(order)
    return np.concatenate(
        [within.reshape(n_draws, n_blocks * block), np.broadcast_to(rest, (n_draws, rest.size))], axis=1
    )


def fit_ar1(x: NDArray[np.floating]) -> Floats:
    """
    Lag-1 autocorrelation of each channel, corrected for its bias.

    An estimate around the sample mean falls short by (1 + 3 g) / n (Marriott and Pope 1954, *Biometrika* 41:390;
    Kendall 1954, *Biometrika* 41:403).

    Parameters
    ----------
    x : float [channel, sample]

    Returns
    -------
    float64 [channel]
        Within ±`LARGEST_AR1`; 0 for a constant channel, NaN for a missing one.
    """
    signals = np.asarray(x, dtype=np.float64)
    g, _ = _burg(signals, 1)
    corrected = np.clip(g[:, 0] + (1 + 3 * g[:, 0]) / signals.shape[1], -LARGEST_AR1, LARGEST_AR1)
    return np.where(np.isnan(signals).any(axis=1), np.nan, np.where(np.ptp(signals, axis=1) > 0, corrected, 0.0))


@dataclass(frozen=True)
class Autoregression:
    """
    Stationary autoregression of each channel.

    Parameters
    ----------
    reflections : float64 [channel, lag]
        Partial autocorrelations, each within ±1; 0 beyond the order of a channel.
    """

    reflections: Floats

    @property
    def order(self) -> Integers:
        """Lags that each channel uses, int64 [channel]."""
        lags = np.arange(1, self.reflections.shape[1] + 1)
        return np.asarray(np.where(self.reflections != 0, lags, 0).max(axis=1, initial=0), dtype=np.int64)

    @property
    def coefficients(self) -> Floats:
        """Weight of each earlier sample: x(t) = sum of coefficients[j - 1] x(t - j) + innovation; [channel, lag]."""
        weights: Floats = self.predictors[-1]
        return weights

    @property
    def innovation_variance(self) -> Floats:
        """Variance of the innovations as a part of the variance of the process, float64 [channel]."""
        return np.asarray(np.prod(1 - self.reflections**2, axis=1))

    @cached_property
    def predictors(self) -> list[Floats]:
        """Best weights of 0, 1, 2, ... earlier samples (Levinson's recursion), each float64 [channel, lag]."""
        found = [np.zeros_like(self.reflections)]
        for m in range(self.reflections.shape[1]):
            weights, k = found[-1].copy(), self.reflections[:, m, None]
            weights[:, :m] -= k * found[-1][:, :m][:, ::-1]
            weights[:, m] = k[:, 0]
            found.append(weights)
        return found


def fit_ar(x: NDArray[np.floating], order: int | None = None) -> Autoregression:
    """
    Autoregression of each channel, by Burg's recursion.

    Parameters
    ----------
    x : float [channel, sample]
        Finite, no channel constant.
    order : int, optional
        Lags of every channel; without it each channel has the order of smallest BIC, from 1 to the smallest of
        `LARGEST_ORDER`, ``10 log10(n)`` and ``n - 2``. Recursions end where innovations would hold less than 1e-12 of
        the variance.

    Returns
    -------
    Autoregression

    Raises
    ------
    PlanError
        If the order does not fit the recording.
    """
    signals = np.asarray(x, dtype=np.float64)
    n = signals.shape[1]
    if order is not None and not (_is_whole(order) and 1 <= order <= n - 2):
        raise PlanError(f"order={order!r} must be a whole number from 1 to {n - 2}, the samples less two")
    longest = max(1, min(LARGEST_ORDER, int(10 * np.log10(n)), n - 2)) if order is None else order
    # Burg: stable at every order, and narrow peaks (the Mayer wave) are not flattened as by Yule and Walker.
    reflections, variance = _burg(signals, longest)
    if order is not None:
        return Autoregression(reflections)
    lags = np.arange(1, longest + 1)
    chosen = lags[np.argmin(n * np.log(variance) + lags * np.log(n), axis=1)]
    return Autoregression(np.where(lags <= chosen[:, None], reflections, 0.0)[:, : chosen.max(initial=1)])


def _burg(x: Floats, order: int) -> tuple[Floats, Floats]:
    """Reflections and relative residual variance of orders 1, 2, ..., both [channel, lag] (Burg 1975)."""
    forward = backward = x - x.mean(axis=1, keepdims=True)
    reflections, variance = np.zeros((2, len(x), order))
    left = np.ones(len(x))
    for m in range(order):
        ahead, behind = forward[:, 1:], backward[:, :-1]
        power = (ahead**2 + behind**2).sum(axis=1)
        k = np.divide(2 * (ahead * behind).sum(axis=1), power, out=np.zeros(len(x)), where=power > 0)
        limit = np.sqrt(np.maximum(1 - _LEAST_INNOVATION / left, 0))
        reflections[:, m] = k = np.clip(k, -limit, limit)
        variance[:, m] = left = left * (1 - k**2)
        forward, backward = ahead - k[:, None] * behind, behind - k[:, None] * ahead
    return reflections, variance


def require_options(kind: str, options: Iterable[str]) -> None:
    """Refuse an option that surrogates of a kind do not have."""
    valid = FAMILY_OPTIONS.get(kind, ())
    for name in options:
        if name not in valid:
            raise PlanError(f"surrogates of kind {kind!r} have no option {name!r}; valid: {', '.join(valid) or 'none'}")


def _is_whole(number: object) -> bool:
    return isinstance(number, int | np.integer) and not isinstance(number, bool)


def _order(
    kind: str, n: int, draws: NDArray[np.integer], seed: int, entity: int, variant: int, options: dict[str, Any]
) -> Integers:
    """Which sample stands at each place, int64 [draw, sample]."""
    if kind == "shift":
        shift = shifts(n, draws, seed=seed, entity=entity, variant=variant)
        return (np.arange(n) - shift[:, None]) % n
    if "block" not in options:
        raise PlanError("surrogates of kind 'block' need the option block: give the samples of a block")
    return block_order(n, options["block"], draws, seed=seed, entity=entity, variant=variant)


def _rearranged(x: Floats, order: Integers) -> Floats:
    out = np.empty((len(order), *x.shape))
    for row, places in enumerate(order):
        np.take(x, places, axis=1, out=out[row])
    return out


def _maker(kind: str, x: Floats, source: _Source, options: dict[str, Any]) -> Maker:
    """Function that makes a draw of channels that all vary."""
    if kind == "phase":
        return _phase(x, source)
    if kind == "iaaft":
        return _iaaft(x, source, **options)
    model = Autoregression(fit_ar1(x)[:, None]) if kind == "ar1" else fit_ar(x, **options)
    return _autoregressive(x, model, source)


_PURPOSES = {"phase": Purpose.PHASE, "iaaft": Purpose.IAAFT, "ar1": Purpose.AR1, "ar": Purpose.AR}


@cache
def turns() -> Complexes:
    """exp(2 pi i q / 65536) for every 16-bit q."""
    table: Complexes = np.exp(2j * np.pi * np.arange(_ANGLES) / _ANGLES)
    table.flags.writeable = False
    return table


def _turned(spectrum: Complexes, n: int, draw: int, source: _Source) -> Complexes:
    """
    Spectrum with the phases of a draw added, complex128 [channel, frequency]; DC and Nyquist stay.

    Frequency f takes 16 bits of word f // 2: the low ones if f is even, the high ones if it is odd.
    """
    n_turned = (n - 1) // 2
    words = source.words(draw, n_turned // 2 + 1)
    halves = np.stack([words & 0xFFFF, words >> 16], axis=1).reshape(-1)
    factors = np.ones(spectrum.shape[1], dtype=np.complex128)
    factors[1 : n_turned + 1] = turns()[halves[1 : n_turned + 1]]
    return spectrum * factors


def _phase(x: Floats, source: _Source) -> Maker:
    n = x.shape[1]
    spectrum = np.fft.rfft(x)
    return lambda draw: np.fft.irfft(_turned(spectrum, n, draw, source), n)


def _iaaft(x: Floats, source: _Source, n_iterations: int = 100) -> Maker:
    if not (_is_whole(n_iterations) and n_iterations >= 1):
        raise PlanError(f"n_iterations={n_iterations!r} must be a whole number of at least 1; 100 is usual")
    n = x.shape[1]
    spectrum = np.fft.rfft(x - x.mean(axis=1, keepdims=True))
    amplitude, values = np.abs(spectrum), np.sort(x, axis=1)
    centred = values - values.mean(axis=1, keepdims=True)

    def make(draw: int) -> Floats:
        out = np.fft.irfft(_turned(spectrum, n, draw, source), n)
        for channel, start in enumerate(out):
            order = _iterated(start, amplitude[channel], centred[channel], n_iterations)
            out[channel, order] = values[channel]
        return out

    return make


def _iterated(start: Floats, amplitude: Floats, values: Floats, n_iterations: int) -> Integers:
    """
    Places of the sorted values after the iterations, int64 [sample].

    Both steps go to the nearest signal of that spectrum or of these values, so the error cannot grow. Iterations end
    early where a step changes no rank: all further ones would be the same.
    """
    n, order = start.size, np.argsort(start, kind="stable")
    signal, unchanged = np.empty(n), np.arange(n)
    for _ in range(n_iterations):
        signal[order] = values
        spectrum = np.fft.rfft(signal)
        size = np.abs(spectrum)
        spectrum *= np.divide(amplitude, size, out=np.ones_like(size), where=size > 0)
        # In their last order the new values are nearly sorted, which the stable sort puts to use.
        moved = np.argsort(np.fft.irfft(spectrum, n)[order], kind="stable")
        if np.array_equal(moved, unchanged):
            break
        order = order[moved]
    return order


def _autoregressive(x: Floats, model: Autoregression, source: _Source) -> Maker:
    from scipy.signal import lfilter

    n_channels, n = x.shape
    mean, sd = x.mean(axis=1, keepdims=True), x.std(axis=1, keepdims=True)
    inverse = np.concatenate([np.ones((n_channels, 1)), -model.coefficients], axis=1)
    mixing = _symmetric_root(_residual_correlation(x - mean, inverse))
    scale = sd * np.sqrt(model.innovation_variance)[:, None]
    start = _stationary_start(model, inverse)
    n_start = start.shape[1]

    def make(draw: int) -> Floats:
        innovations = mixing @ _normals(source.words(draw, n_channels * n + n_channels * n % 2), n_channels, n)
        innovations[:, :n_start] = np.einsum("cij,cj->ci", start, innovations[:, :n_start])
        drawn = [lfilter([1.0], weights, row) for weights, row in zip(inverse, innovations, strict=True)]
        return np.asarray(scale * np.stack(drawn) + mean)

    return make


def _stationary_start(model: Autoregression, inverse: Floats) -> Floats:
    """
    Matrix [channel, sample, sample] that makes a filter begin in its stationary state.

    Applied to the first innovations, in units of the standard deviation of the later ones. Without earlier samples,
    sample t is predicted from the t samples there are, whose error is larger.
    """
    n_channels, order = model.reflections.shape
    error = np.cumprod(1 - model.reflections[:, ::-1] ** 2, axis=1)[:, ::-1] ** -0.5
    samples = np.zeros((n_channels, order, order))
    for t in range(order):
        weights = model.predictors[t][:, :t][:, ::-1]
        samples[:, t] = np.einsum("cj,cjk->ck", weights, samples[:, :t])
        samples[:, t, t] = error[:, t]
    start = np.zeros_like(samples)
    for lag in range(order):
        start[:, lag:] += inverse[:, lag, None, None] * samples[:, : order - lag]
    return start


def _residual_correlation(centred: Floats, inverse: Floats) -> Floats:
    from scipy.signal import lfilter

    order = inverse.shape[1] - 1
    residuals = np.stack([lfilter(w, [1.0], row)[order:] for w, row in zip(inverse, centred, strict=True)])
    residuals /= np.linalg.norm(residuals, axis=1, keepdims=True)
    return np.asarray(residuals @ residuals.T)


def _symmetric_root(correlation: Floats) -> Floats:
    """Symmetric square root, which also exists where channels repeat each other."""
    values, vectors = np.linalg.eigh(correlation)
    return np.asarray((vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T)


def _normals(words: Words, n_channels: int, n_samples: int) -> Floats:
    """Standard normal numbers [channel, sample] from twin words."""
    pairs = np.stack(normal_pairs(words), axis=1)
    return pairs.reshape(-1)[: n_channels * n_samples].reshape(n_channels, n_samples)


MODELS = ("ar1", "ar")
"""Families that simulate both people; the others replace the second person and keep the first."""
