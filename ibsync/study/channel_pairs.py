"""The pairs of channels that a request names."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError, did_you_mean, require_known
from ..recordings.recording import DyadRow, Recording
from .controls import Controls

Pairs = str | Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Axes:
    """Channel names of both people, over all dyads, and which pairs are asked for."""

    a: tuple[str, ...]
    b: tuple[str, ...]
    mask: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: Sequence[DyadRow], pairs: Pairs, controls: Controls | None = None) -> Axes:
        """Channels of some rows; `pairs`: "all", "same" or a list of (channel_a, channel_b).

        Controls are left out, and so are short channels, unless the list names them.
        """
        recordings = [(row.recording_a, row.recording_b) for row in rows]
        taken = set() if controls is None else set(controls.names)
        left_out = not_tested(itertools.chain(*recordings), taken)
        if not isinstance(pairs, str):
            named = {name for pair in _listed_pairs(pairs) for name in pair}
            if taken & named:
                raise PlanError(
                    f"channel {min(taken & named)!r} is a control, of which nothing is left to be tested: leave it out "
                    "of controls or of pairs"
                )
            left_out -= named
        a, b = (
            tuple(name for name in dict.fromkeys(itertools.chain(*(r.channels for r in side))) if name not in left_out)
            for side in zip(*recordings, strict=True)
        )
        if isinstance(pairs, str):
            require_known("pairs", pairs, ("all", "same"), "a list of (channel_a, channel_b)")
            mask = np.ones((len(a), len(b)), bool) if pairs == "all" else np.array(a)[:, None] == np.array(b)
        else:
            mask = np.zeros((len(a), len(b)), bool)
            for first, second in _listed_pairs(pairs):
                mask[_position(first, a), _position(second, b)] = True
        if not mask.any():
            raise PlanError(f"pairs={pairs!r} holds no pair of channels: name some, or write pairs='all'")
        return cls(a, b, mask)


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


def _position(name: str, names: tuple[str, ...]) -> int:
    if name not in names:
        hint = did_you_mean(name, names) or f"there are {', '.join(names)}"
        raise PlanError(f"no channel {name!r}; {hint}")
    return names.index(name)
