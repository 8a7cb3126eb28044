"""The pairs of channels that a request names."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError, did_you_mean, require_known
from ..recordings.recording import DyadRow, Recording
from ..recordings.study_file import StudyFile
from .controls import Controls
from .regions import SIDES, Regions, good_in, recording_of
from .runner import People

Pairs = str | Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Matching:
    """
    Pairs of channels that share none: of all pairs of n channels, the n that are asked for cost a fraction.

    Parameters
    ----------
    a, b : tuple of int
        Places of the first and of the second channel of each pair.
    shape : (int, int)
        Channels of both people.
    """

    a: tuple[int, ...]
    b: tuple[int, ...]
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.a)

    def spread(self, values: Any, axis: int, xp: Any = np) -> Any:
        """Values of pairs along an axis as those of all pairs of channels, along two axes; NaN of the others."""
        full = xp.full((*values.shape[:axis], *self.shape, *values.shape[axis + 1 :]), np.nan, values.dtype)
        full[(slice(None),) * axis + (list(self.a), list(self.b))] = values
        return full

    def features(self, n_columns: int) -> NDArray[np.int64]:
        """Places of [pair, column] among [channel_a, channel_b, column], flat in that order."""
        every = np.arange(math.prod(self.shape) * n_columns).reshape(*self.shape, n_columns)
        return every[list(self.a), list(self.b)].reshape(-1)


@dataclass(frozen=True)
class Axes:
    """
    Channels of both people over all dyads, or their regions of interest, and which pairs are asked for.

    Parameters
    ----------
    a, b : tuple of str
        Names of channels or of regions.
    mask : bool [channel_a, channel_b]
    regions : Regions, optional
    beside : tuple of str
        Channels that are read beside those of regions, as the mean of all is a control.
    """

    a: tuple[str, ...]
    b: tuple[str, ...]
    mask: NDArray[np.bool_]
    regions: Regions | None = None
    beside: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        rows: Sequence[DyadRow],
        pairs: Pairs,
        controls: Controls | None = None,
        regions: Regions | None = None,
    ) -> Axes:
        """Channels or regions of some rows; `pairs`: "all", "same" or a list of (channel_a, channel_b), or of regions.

        Controls are left out, and so are short channels, unless the list or a region names them.
        """
        recordings = [(row.recording_a, row.recording_b) for row in rows]
        taken = set() if controls is None else set(controls.names)
        left_out = not_tested(itertools.chain(*recordings), taken)
        listed = [] if isinstance(pairs, str) else _listed_pairs(pairs)
        named = {name for pair in listed for name in pair} if regions is None else regions.channels
        if taken & named:
            raise PlanError(
                f"channel {min(taken & named)!r} is a control, of which nothing is left to be tested: leave it out of "
                f"controls or of {'pairs' if regions is None else 'rois'}"
            )
        left_out -= named
        channels = [
            tuple(name for name in dict.fromkeys(itertools.chain(*(r.channels for r in side))) if name not in left_out)
            for side in zip(*recordings, strict=True)
        ]
        a, b = channels if regions is None else regions.names_in(rows)
        if isinstance(pairs, str):
            require_known("pairs", pairs, ("all", "same"), "a list of (channel_a, channel_b)")
            mask = np.ones((len(a), len(b)), bool) if pairs == "all" else np.array(a)[:, None] == np.array(b)
        else:
            mask = np.zeros((len(a), len(b)), bool)
            noun = "channel" if regions is None else "region"
            for first, second in listed:
                mask[_position(first, a, noun), _position(second, b, noun)] = True
        if not (a and b):
            raise PlanError(f"all channels are controls ({', '.join(sorted(taken))}) or short, so that none is tested")
        if not mask.any():
            raise PlanError(f"pairs={pairs!r} holds no pair of channels: name some, or write pairs='all'")
        if regions is None:
            return cls(a, b, mask)
        return cls(a, b, mask, regions, _beside(regions, controls, channels))

    @property
    def matching(self) -> Matching | None:
        """The pairs, where several channels are each in one pair at most, as the same channels of both people are."""
        most = max(int(self.mask.sum(axis).max()) for axis in (0, 1))
        if self.regions is not None or most > 1 or min(self.mask.shape) < 2:
            return None
        a, b = np.nonzero(self.mask)
        return Matching(tuple(a.tolist()), tuple(b.tolist()), self.mask.shape)

    @property
    def noun(self) -> str:
        """What is paired."""
        return "channel" if self.regions is None else "region"

    def names(self, side: str) -> tuple[str, ...]:
        """Names of first ("a") or second ("b") persons."""
        return self.a if side == "a" else self.b

    def members(self, row: DyadRow, side: str, names: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        """Channels of a person of a dyad that stand behind each name."""
        if self.regions is None:
            return tuple((name,) for name in names)
        regions = self.regions.in_row(row, side)
        return tuple(regions.get(name, ()) for name in names)

    def n_pairs(self, row: DyadRow) -> NDArray[np.int64]:
        """How many pairs of good channels of a row stand behind each pair that is asked for: [channel_a, channel_b]."""
        return np.where(self.mask, np.outer(*(self.n_good(row, side) for side in SIDES)), 0)

    def n_good(self, row: DyadRow, side: str) -> NDArray[np.int64]:
        """How many good channels of a person of a dyad stand behind each name of that side: int64 [name]."""
        members = self.members(row, side, self.names(side))
        return np.array([good_in(recording_of(row, side), names) for names in members], np.int64)

    def people(
        self,
        study: StudyFile,
        persons: Sequence[tuple[DyadRow, str]],
        signal: str,
        n_samples: int,
        starts: Sequence[int],
        controls: Controls | None,
        *,
        names: Sequence[str],
    ) -> People:
        """Persons of dyads, each by its row and "a" or "b", and what is read of them for some names."""
        recordings = tuple(recording_of(row, side) for row, side in persons)
        if self.regions is None:
            return People(study, recordings, signal, tuple(names), n_samples, tuple(starts), controls)
        members = tuple(self.members(row, side, names) for row, side in persons)
        channels = tuple(dict.fromkeys([*itertools.chain(*itertools.chain(*members)), *self.beside]))
        words = (signal, channels, n_samples, tuple(starts), controls)
        return People(study, recordings, *words, members, self.regions.average)


def _beside(regions: Regions, controls: Controls | None, channels: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    if controls is None or not controls.apart:
        return ()
    if regions.average == "signal":
        raise PlanError(
            "roi_average='signal' does not take the control 'global', which leaves each channel out of its own mean: "
            "use roi_average='coherence'"
        )
    return tuple(dict.fromkeys(itertools.chain(*channels)))


def not_tested(recordings: Iterable[Recording], controls: Iterable[str]) -> set[str]:
    """Channels that "all" and "same" leave out: controls, and those that are short in some recording."""
    return {*controls, *(name for recording in recordings for name in recording.short_channels)}


def _listed_pairs(pairs: Any) -> list[tuple[str, str]]:
    listed = list(pairs) if isinstance(pairs, Iterable) else [pairs]
    for pair in listed:
        named = isinstance(pair, Sequence) and len(pair) == 2 and all(isinstance(name, str) for name in pair)
        if isinstance(pair, str) or not named:
            raise PlanError(f"pairs must be 'all', 'same' or a list of (channel_a, channel_b), got {pair!r} in it")
    return listed


def _position(name: str, names: tuple[str, ...], noun: str) -> int:
    if name not in names:
        hint = did_you_mean(name, names) or f"there are {', '.join(names)}"
        raise PlanError(f"no {noun} {name!r}; {hint}")
    return names.index(name)
