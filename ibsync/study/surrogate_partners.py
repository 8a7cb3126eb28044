"""Coherence of a dyad whose partner is replaced: one row of values per draw, draw 0 being the recording itself.

Both classes are a `Source` of `nulls.surrogate_null`: draws are worked on in blocks whose size depends on the recording
alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..coupling.backends.cuda.device import Device
from ..coupling.engine import Engine
from ..coupling.regions import Members
from ..coupling.transform.signals import Signals, prepare
from ..nulls.random_streams import Purpose, permutations, purpose_word
from ..nulls.surrogate_signals import MODELS, block_order, shifts, surrogates
from ..nulls.surrogates_on_device import ON_DEVICE, surrogates_on
from .controls import Controls, measured_with_both, together
from .engines import channels_together

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


# Enough channels for a block's matrix products to be large, few enough for its signals to stay within some 100 MB.
_BLOCK_VALUES = 1 << 22
_LARGEST_BLOCK = 64
_JOB_VALUES = 1 << 26  # samples of surrogates of one job, some ten seconds on one core
LARGEST_JOB = 1024
"""Most draws of a row that are one job."""
# On a GPU every launch costs. Surrogates that are made there need not pass through the host's memory.
_LARGEST_BLOCK_THERE = 1024
# An eighth of a GPU's memory, 64 bytes for each value. No measure of what is free: draws that are computed together
# have to be the same every time.
_DEVICE_BYTES_PER_VALUE = 8 * 64
_MOST_CHANNELS = 65_535  # that a grid of blocks holds


def draws_of_job(n_channels: int, n_samples: int) -> int:
    """Draws of a row that are one job, wherever it is computed: a power of two, no less than a block of the CPU."""
    fitting = _JOB_VALUES // max(1, n_channels * n_samples)
    return 1 << int(np.clip(fitting, 1, LARGEST_JOB)).bit_length() - 1


def block_size(n_channels: int, n_samples: int, device: Device | None = None, kind: str = "phase") -> int:
    """Draws of a family to be computed together for a person with so many channels and samples: a power of two."""
    n_values, most = max(1, n_channels * n_samples), _LARGEST_BLOCK
    if device is None:
        fitting = _BLOCK_VALUES // n_values
    else:
        fitting = min(device.memory_bytes // (_DEVICE_BYTES_PER_VALUE * n_values), _MOST_CHANNELS // max(1, n_channels))
        most = _LARGEST_BLOCK_THERE if kind in ON_DEVICE else _LARGEST_BLOCK
    return 1 << int(np.clip(fitting, 1, most)).bit_length() - 1


@dataclass(frozen=True)
class SurrogatePartners:
    """
    The second person of a dyad (with `MODELS` both) replaced by surrogates.

    Parameters
    ----------
    engine : Engine
    x, y : float [channel, sample]
        Signals of both people; NaN for gaps and missing channels. Surrogates are made of the signals, detrended if the
        engine's are, with gaps filled; gaps stay where they are, or move with the samples around them.
    kind : str
        One of `nulls.surrogate_signals.FAMILIES`, or "trial" where recordings are trials end to end: those of the
        second person are exchanged.
    seed : int
    entities : tuple of int
        Identity of the first and of the second person on this occasion.
    measure : str
        One of `measures.MEASURES`.
    options : mapping
        Options of the family; of "trial" the samples of a `trial`, and as `groups` the identity and the numbers of the
        trials that are exchanged for each other.
    controls : Controls, optional
        What is taken out of the channels; `x` and `y` hold them behind the channels (`Controls.read`). Surrogates treat
        a person's controls as the person's channels.
    regions : (bool [1, region, channel], bool [1, region, channel]), optional
        Which channels make up each region of both people; values are those of regions then.
    """

    engine: Engine
    x: NDArray[np.floating]
    y: NDArray[np.floating]
    kind: str
    seed: int
    entities: tuple[int, int]
    measure: str = "coherence"
    options: Mapping[str, Any] = field(default_factory=dict)
    controls: Controls | None = None
    regions: Members | None = None

    @property
    def block(self) -> int:
        """Draws to be computed together."""
        return block_size(len(self.y), self.y.shape[1], self.device, self.kind)

    @property
    def device(self) -> Device | None:
        """The GPU on which values lie; None on the host."""
        return self.engine.device

    def values(self, draws: Integers) -> Any:
        """Statistic of each draw: float64 [draw, epoch, channel_a, channel_b, band] of the device."""
        with self.engine.active():
            return self._values(draws)

    def _values(self, draws: Integers) -> Any:
        return self._shifted(draws) if self.kind == "shift" else self._found(draws)

    def _found(self, draws: Integers) -> Any:
        if self.kind in MODELS or (self.controls is not None and self.controls.how == "both"):
            few = max(1, channels_together(self.device) // max(len(self.x), len(self.y)))
            return self.engine.xp.concatenate([self._paired(draws[k : k + few]) for k in range(0, len(draws), few)])
        values = self._measure(self._first, self._features(*self._drawn(1, draws)))  # [a, draw, b, band, epoch]
        return self.engine.xp.ascontiguousarray(values.transpose(1, 4, 0, 2, 3))

    def _shifted(self, draws: Integers) -> Any:
        """A seam costs cells, which is no reason for a draw to be missing: only what is missing in the data is."""
        xp, real, found = self.engine.xp, self._real, self._tolerant._found(draws)
        found = xp.where(xp.asarray(draws == 0)[:, None, None, None, None], real, found)
        return xp.where(xp.isfinite(real), found, np.nan)

    @cached_property
    def _real(self) -> Any:
        """Values of the recording itself."""
        return replace(self, kind="phase").values(np.zeros(1, np.int64))

    @cached_property
    def _tolerant(self) -> SurrogatePartners:
        return replace(self, engine=self.engine.tolerant)

    @property
    def _first(self) -> Any:
        """Features of the first person's recording."""
        # On the CPU they are made anew for each block: what an earlier block needed must not be seen in this one.
        return self._features(*self._drawn(0, None)) if self.device is None else self._first_there

    @cached_property
    def _first_there(self) -> Any:
        return self._features(*self._drawn(0, None))

    @cached_property
    def _filled(self) -> tuple[Signals, Signals]:
        """Signals of both people, ready for the transform."""
        x, y = (prepare(signals, detrend=self.engine.spec.detrend) for signals in (self.x, self.y))
        return x, y

    def _paired(self, draws: Integers) -> Any:
        """Every draw as a dyad of its own: of models draw k of both people, of others the person and draw k."""
        drawn = self._drawn(0, draws if self.kind in MODELS else None), self._drawn(1, draws)
        first, second = (side.of_dyads(len(draws), self.engine.xp) for side in drawn)
        parts = (together(x, y, self.controls) for x, y in zip(first, second, strict=True))
        x, good, seam = ((*both,) for both in parts)
        a, b = (self._features(x[side], good[side], seam[side][..., 0]) for side in (0, 1))
        values = self._measure(a, b, by_dyad=True)  # [draw, a, b, band, epoch]
        return self.engine.xp.ascontiguousarray(values.transpose(0, 4, 1, 2, 3))

    def _features(self, x: Any, good: NDArray[np.bool_] | None, seam: NDArray[np.int64] | None) -> Any:
        words = {} if self.controls is None else self.controls.of_features
        return self.engine.features(x, good, seam=seam, **words)

    def _drawn(self, person: int, draws: Integers | None) -> _Drawn:
        filled = self._filled[person]
        good = None if filled.bad is None else ~filled.bad
        if draws is None:
            return _Drawn(filled.x, good)
        where = {"seed": self.seed, "entity": self.entities[person]}
        if self.kind == "trial":
            order = exchanged_samples(filled.n_samples, draws, self.seed, **self.options)
            flags = None if good is None else np.moveaxis(good[:, order], 1, 0)
            return _Drawn(np.moveaxis(filled.x[:, order], 1, 0), flags)
        if self.device is not None and self.kind in ON_DEVICE:
            drawn = surrogates_on(self.device, self.kind, filled.x, draws, **where)
        else:
            drawn = surrogates(self.kind, filled.x, draws, **where, **self.options)
        n = filled.n_samples
        seam = None
        if self.kind == "shift":
            seam = shifts(n, draws, **where)[:, None]
            order = (np.arange(n) - seam) % n
        elif self.kind == "block":
            order = block_order(n, self.options["block"], draws, **where)
        if good is not None and self.kind in ("shift", "block"):
            good = np.moveaxis(good[:, order], 1, 0)
        return _Drawn(drawn, good, seam)

    def _measure(self, a: Any, b: Any, *, by_dyad: bool = False) -> Any:
        return self.engine.measure(a, b, self.measure, regions=self.regions, by_dyad=by_dyad, on_device=True)


def exchanged_samples(
    n_samples: int, draws: Integers, seed: int, *, trial: int, groups: Sequence[tuple[int, Sequence[int]]]
) -> Integers:
    """Which sample of a recording of trials stands where in each draw: int64 [draw, sample].

    Parameters
    ----------
    n_samples : int
    draws : int64 [draw]
    seed : int
    trial : int
        Samples of a trial.
    groups : sequence of (int, sequence of int)
        Identity, and the numbers of trials that are exchanged for each other.
    """
    place = np.tile(np.arange(n_samples // trial), (len(draws), 1))
    for entity, trials in groups:
        numbers = np.array(trials)
        orders = permutations(seed, draws, len(numbers), entity=entity, purpose=purpose_word(Purpose.TRIAL))
        place[:, numbers] = numbers[orders]
    return (place[:, :, None] * trial + np.arange(trial)).reshape(len(draws), n_samples)


class _Drawn(NamedTuple):
    """Signals [channel, sample] of a recording, or of draws of it [draw, channel, sample], as the engine takes them."""

    signals: Any
    good: NDArray[np.bool_] | None
    seam: NDArray[np.int64] | None = None

    def of_dyads(self, n: int, xp: Any) -> tuple[Any, NDArray[np.bool_], NDArray[np.int64]]:
        """Signals, flags and seams of so many draws, [draw, channel, sample or 1] each."""
        x = xp.asarray(self.signals)
        shape = (n, *x.shape[-2:])
        good = np.broadcast_to(True if self.good is None else self.good, shape)
        seam = np.broadcast_to(0 if self.seam is None else self.seam[..., None], (*shape[:2], 1))
        return xp.broadcast_to(x, shape), good, seam


@dataclass(frozen=True)
class TrialPartners:
    """
    Trials of the second person exchanged within each epoch.

    Parameters
    ----------
    tables : sequence of float [trial_a, trial_b, channel_a, channel_b, band]
        For each epoch the statistic of every trial of the first person with every trial of the second.
    seed : int
    entities : sequence of int
        Identity of each dyad x epoch on this occasion.
    """

    tables: Sequence[NDArray[np.floating]]
    seed: int
    entities: Sequence[int]

    @property
    def block(self) -> int:
        """Draws to be computed together."""
        return _LARGEST_BLOCK

    @property
    def device(self) -> None:
        """Values lie on the host."""
        return

    def values(self, draws: Integers) -> Floats:
        """Mean over the trials that have a value: float64 [draw, epoch, channel_a, channel_b, band]."""
        return np.stack([self._epoch(t, e, draws) for t, e in zip(self.tables, self.entities, strict=True)], axis=1)

    def _epoch(self, table: NDArray[np.floating], entity: int, draws: Integers) -> Floats:
        n = len(table)
        purpose = purpose_word(Purpose.TRIAL)
        order = permutations(self.seed, draws, n, entity=entity, purpose=purpose)
        out = np.empty((len(draws), *table.shape[2:]))
        for k, partners in enumerate(order):
            values = table[np.arange(n), partners].astype(np.float64)
            present = np.isfinite(values)
            total, count = np.where(present, values, 0).sum(axis=0), present.sum(axis=0)
            out[k] = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
        return out


def trial_table(
    engine: Engine,
    x: NDArray[np.floating],
    y: NDArray[np.floating],
    starts: Sequence[int],
    measure: str,
    controls: Controls | None = None,
    regions: Members | None = None,
) -> Floats:
    """
    Statistic of every trial of one person with every trial of the other, each cut out and transformed by itself.

    Parameters
    ----------
    engine : Engine
        Planned for the length of a trial, with one epoch.
    x, y : float [channel, sample]
        Signals of both people over the whole recording.
    starts : sequence of int
        First sample of each trial.
    measure : str
    controls : Controls, optional
        What is taken out of the channels, behind them in `x` and `y`.
    regions : (bool [1, region, channel], bool [1, region, channel]), optional
        As `SurrogatePartners`.

    Returns
    -------
    float64 [trial_a, trial_b, channel_a, channel_b, band]
    """
    n = engine.plan.n_samples
    cut_x, cut_y = (np.stack([signal[:, start : start + n] for start in starts]) for signal in (x, y))
    if controls is not None and controls.how == "both":
        return measured_with_both(engine, cut_x, cut_y, controls, measure, regions)[..., 0]
    words = {} if controls is None else controls.of_features
    a, b = (engine.features(side, **words) for side in (cut_x, cut_y))
    values = engine.measure(a, b, measure, regions=regions)[..., 0]  # [trial_a, a, trial_b, b, band]
    return np.ascontiguousarray(values.transpose(0, 2, 1, 3, 4))
