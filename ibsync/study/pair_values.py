"""Coherence of every person with every other, which the re-pairing null exchanges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..coupling.engine import Engine
from ..coupling.measures import measured, needs_shares
from ..errors import InputError, PlanError
from ..nulls.rematching import Matchings
from ..nulls.repairing import Draws, Repairing
from ..recordings.recording import DyadRow, Recording
from ..recordings.study_file import StudyFile
from .channel_pairs import Axes
from .engines import read_ahead
from .rows import Occasion, occasions_of, signals_of

DESIGNS = {"fixed": Repairing, "interchangeable": Matchings}
"""Re-pairing by whether the roles of a dyad's two people may be exchanged."""


_TILE_PEOPLE = 8  # few, as half of the tile of some people with themselves is not needed
FEATURE_BYTES = 256 << 20  # features held at a time; a study larger than this is worked through in tiles of people


def _exchangeable(rows: Sequence[DyadRow], length: str) -> list[Occasion]:
    """Occasions whose recordings may be exchanged: one rate, and one length after cutting to the shortest.

    Raises
    ------
    InputError
        If rates differ, or lengths where each recording is to be used in full.
    """
    occasions = occasions_of(rows, "common" if length == "common" else length, one_rate=True)
    first: dict[str, Occasion] = {}
    for occasion in occasions:
        other = first.setdefault(occasion.label, occasion)
        if other.n_samples != occasion.n_samples:
            raise InputError(
                f"{occasion.label}: dyad {occasion.rows[0].dyad!r} has {occasion.n_samples / occasion.sfreq:g} s and "
                f"dyad {other.rows[0].dyad!r} {other.n_samples / other.sfreq:g} s: re-paired partners need one length; "
                "use length='common'"
            )
    return occasions


def plan_draws(rows: Sequence[DyadRow], within: Sequence[str], n: int, seed: int, roles: str = "fixed") -> Draws:
    """The re-pairings of a study's dyads, before anything is computed.

    Parameters
    ----------
    rows : sequence of DyadRow
    within, n, seed, roles
        As `Study.null`.

    Raises
    ------
    PlanError, InputError
        If fewer than two dyads can exchange partners, a person is in several dyads, a dyad changes its people, or
        `roles` is unknown.
    """
    if roles not in DESIGNS:
        raise PlanError(f"roles={roles!r} is not known: use {' or '.join(map(repr, DESIGNS))}")
    people: dict[str, tuple[str, str, str]] = {}
    for row in rows:
        mine = (row.person_a, row.person_b, row.group)
        if people.setdefault(row.dyad, mine) != mine:
            raise InputError(
                f"dyad {row.dyad!r} has other people or another group in session {row.session!r}: give it its own label"
            )
    a, b, group = (list(column) for column in zip(*people.values(), strict=True))
    strata = {"group": group} if "group" in within else None
    return Draws.plan(DESIGNS[roles].of(list(people), a, b, strata), n, seed)


def _require_symmetry(axes: Axes, measure: str) -> None:
    """Refuse what has no value for two people of whom neither is the first."""
    if measure in ("a_leads", "b_leads"):
        raise PlanError(
            f"measure {measure!r} asks who is first, and roles='interchangeable' says that nobody is: choose another "
            "measure, or roles='fixed'"
        )
    alone = sorted(set(axes.a) ^ set(axes.b))
    if alone:
        whose = "first" if alone[0] in axes.a else "second"
        raise PlanError(
            f"channel {alone[0]!r} is known of {whose} persons only: roles='interchangeable' needs the same channel "
            "names of both; rename or leave out channels"
        )


def _everybody(
    study: StudyFile, rows: Sequence[DyadRow], engine: Engine, axes: Axes, signal: str, n_samples: int, measure: str
) -> Iterator[tuple[Sequence[int], Sequence[int], NDArray[np.float64]]]:
    """Measure of each first person with each second person, in tiles: [i, j, a, b, band, epoch]."""
    n = len(rows)
    per_person = engine.plan.feature_bytes * max(len(axes.a), len(axes.b))
    step = max(1, min(n, int(_feature_bytes(engine) / 2 / per_person)))
    tiles = [range(k, min(k + step, n)) for k in range(0, n, step)]

    def first(tile: range) -> NDArray[np.float32]:
        return np.stack([signals_of(study, rows[k].recording_a, signal, axes.a, n_samples) for k in tile])

    def second(tile: range) -> NDArray[np.float32]:
        return np.stack([signals_of(study, rows[k].recording_b, signal, axes.b, n_samples) for k in tile])

    for i, x in read_ahead(first, tiles):
        features = engine.features(x)
        for j, y in read_ahead(second, tiles):
            found = engine.coherence(features, engine.features(y), shares=needs_shares(measure))
            yield i, j, np.moveaxis(measured(found, measure), 1, 2)


def _feature_bytes(engine: Engine) -> float:
    """Memory that features of two sides may take: on a GPU a share of what is free there."""
    return FEATURE_BYTES if engine.device is None else max(FEATURE_BYTES, engine.device.budget_bytes() / 8)


def _one_another(
    study: StudyFile, rows: Sequence[DyadRow], engine: Engine, axes: Axes, signal: str, n_samples: int, measure: str
) -> Iterator[tuple[Sequence[int], Sequence[int], NDArray[np.float64]]]:
    """Measure of everybody with everybody else, in both orders of channels: [i, j, a, b, band, epoch], symmetric.

    First persons are numbered 0 to N - 1 and second ones N to 2N - 1. The work is ordered by the names of people, so
    that it does not change by a bit when first and second persons change places.
    """
    people: list[tuple[str, Recording]] = [(row.person_a, row.recording_a) for row in rows]
    people += [(row.person_b, row.recording_b) for row in rows]
    order = sorted(range(len(people)), key=lambda k: people[k][0])
    held = max(1, int(_feature_bytes(engine) / (engine.plan.feature_bytes * len(axes.a))))
    step = min(_TILE_PEOPLE, max(1, held // 2))
    tiles = [tuple(order[k : k + step]) for k in range(0, len(order), step)]

    def made(tile: tuple[int, ...]) -> Any:
        return engine.features(np.stack([signals_of(study, people[k][1], signal, axes.a, n_samples) for k in tile]))

    features = cache(made) if len(order) <= held else made
    to_b = [axes.a.index(name) for name in axes.b]
    for number, i in enumerate(tiles):
        first = features(i)
        for j in tiles[number:]:
            second = first if j is i else features(j)
            one = np.moveaxis(measured(engine.coherence(first, second, shares=needs_shares(measure)), measure), 1, 2)
            both = ((one + np.swapaxes(one, 2, 3)) / 2)[:, :, :, to_b]
            if j is i:
                below = np.tril_indices(len(i), -1)
                both[below] = both[below[::-1]]
                both[np.diag_indices(len(i))] = np.nan
            else:
                yield j, i, np.swapaxes(both, 0, 1)
            yield i, j, both
