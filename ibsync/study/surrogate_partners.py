"""Coherence of a dyad whose partner is replaced: one row of values per draw, draw 0 being the recording itself.

Both classes are a `Source` of `nulls.surrogate_null`: draws are worked on in blocks whose size depends on the recording
alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..coupling.backends.cuda.device import Device
from ..coupling.engine import Engine
from ..coupling.regions import Members
from ..coupling.transform.signals import Signals, prepare
from ..nulls.random_streams import Purpose, permutations, purpose_word
from ..nulls.surrogate_signals import MODELS, block_order, shifts, surrogates
from ..nulls.surrogates_on_device import ON_DEVICE, surrogates_on
from .controls import Controls, together

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


# Enough channels for a block's matrix products to be large, few enough for its signals to stay within some 100 MB.
_BLOCK_VALUES = 1 << 22
_LARGEST_BLOCK = 64
# On a GPU every launch costs. Surrogates that are made there need not pass through the host's memory.
_LARGEST_BLOCK_THERE = 1024
# An eighth of a GPU's memory, 64 bytes for each value. No measure of what is free: draws that are computed together
# have to be the same every time.
_DEVICE_BYTES_PER_VALUE = 8 * 64
_MOST_CHANNELS = 65_535  # that a grid of blocks holds
# Channels on either side when both people are simulated: then the pairs that are dropped cost little.
_MODEL_CHANNELS = 24


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
        One of `nulls.surrogate_signals.FAMILIES`.
    seed : int
    entities : tuple of int
        Identity of the first and of the second person on this occasion.
    measure : str
        One of `measures.MEASURES`.
    options : mapping
        Options of the family.
    controls : Controls, optional
        What is taken out of the channels; `x` and `y` hold them behind the channels (`Controls.read`). Surrogates treat
        a person's controls as the person's channels.
    regions : (bool [region, channel], bool [region, channel]), optional
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
        if self.controls is not None and self.controls.how == "both":
            return self.engine.xp.stack([self._with_both(draws[k : k + 1], self.controls) for k in range(len(draws))])
        partners = self._features(1, draws)
        if self.kind not in MODELS:
            return self._measured(self._first, partners)
        few = max(1, _MODEL_CHANNELS // max(len(self.x), len(self.y)))
        return self.engine.xp.concatenate([self._pairs(draws[k : k + few]) for k in range(0, len(draws), few)])

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
        # On the CPU they are made anew for each block: how its products are shaped, and so round, depends on what is
        # known of them.
        return self._features(0, None) if self.device is None else self._first_there

    @cached_property
    def _first_there(self) -> Any:
        return self._features(0, None)

    @cached_property
    def _filled(self) -> tuple[Signals, Signals]:
        """Signals of both people, ready for the transform."""
        x, y = (prepare(signals, detrend=self.engine.spec.detrend) for signals in (self.x, self.y))
        return x, y

    def _pairs(self, draws: Integers) -> Any:
        """Draw k of one person with draw k of the other; pairs of different draws are computed and dropped."""
        values = self._measured(self._features(0, draws), self._features(1, draws))
        return values[np.arange(len(draws)), np.arange(len(draws))]

    def _with_both(self, draw: Integers, controls: Controls) -> Any:
        """One draw, [epoch, channel_a, channel_b, band], where each person is left without the controls of both."""
        xp, is_model = self.engine.xp, self.kind in MODELS
        first, second = self._drawn(0, draw if is_model else None), self._drawn(1, draw)
        x, y = (xp.asarray(side.signals).reshape(-1, self.x.shape[1]) for side in (first, second))
        goods = together(first.flags(x.shape), second.flags(y.shape), controls)
        seams = together(first.seams(len(x)), second.seams(len(y)), controls)
        a, b = (
            self.engine.features(side, good, seam=seam[:, 0], **self._words)
            for side, good, seam in zip(together(x, y, controls), goods, seams, strict=True)
        )
        return self._measure(a, b).transpose(3, 0, 1, 2)

    def _features(self, person: int, draws: Integers | None) -> Any:
        drawn = self._drawn(person, draws)
        return self.engine.features(drawn.signals, drawn.good, seam=drawn.seam, **self._words)

    def _drawn(self, person: int, draws: Integers | None) -> _Drawn:
        filled = self._filled[person]
        good = None if filled.bad is None else ~filled.bad
        if draws is None:
            return _Drawn(filled.x, good)
        where = {"seed": self.seed, "entity": self.entities[person]}
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

    @property
    def _words(self) -> dict[str, Any]:
        return {} if self.controls is None else self.controls.of_features

    def _measure(self, a: Any, b: Any) -> Any:
        return self.engine.measure(a, b, self.measure, regions=self.regions, on_device=True)

    def _measured(self, first: Any, partners: Any) -> Any:
        values = self._measure(first, partners)
        if values.ndim == 5:  # [a, draw, b, band, epoch]
            return self.engine.xp.ascontiguousarray(values.transpose(1, 4, 0, 2, 3))
        return values.transpose(0, 2, 5, 1, 3, 4)  # of [draw, a, draw, b, band, epoch]


@dataclass(frozen=True)
class _Drawn:
    """Signals [channel, sample] of a recording, or of draws of it [draw, channel, sample], as the engine takes them."""

    signals: Any
    good: NDArray[np.bool_] | None
    seam: NDArray[np.int64] | None = None

    def flags(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """Which samples of one draw are good: bool [channel, sample]."""
        return np.ones(shape, bool) if self.good is None else self.good.reshape(shape)

    def seams(self, n_channels: int) -> NDArray[np.int64]:
        """Seam of each channel of one draw: int64 [channel, 1]."""
        return np.full((n_channels, 1), 0 if self.seam is None else self.seam.item(), np.int64)


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
    regions : (bool [region, channel], bool [region, channel]), optional
        As `SurrogatePartners`.

    Returns
    -------
    float64 [trial_a, trial_b, channel_a, channel_b, band]
    """
    n = engine.plan.n_samples
    cut_x, cut_y = (np.stack([signal[:, start : start + n] for start in starts]) for signal in (x, y))
    words = {} if controls is None else controls.of_features

    def measured(first: NDArray[np.floating], second: NDArray[np.floating]) -> Floats:
        a, b = (engine.features(side, **words) for side in together(first, second, controls))
        return engine.measure(a, b, measure, regions=regions)[..., 0]

    if controls is not None and controls.how == "both":
        return np.array([[measured(first, second) for second in cut_y] for first in cut_x])
    values = measured(cut_x, cut_y)  # [trial_a, a, trial_b, b, band]
    return np.ascontiguousarray(values.transpose(0, 2, 1, 3, 4))
