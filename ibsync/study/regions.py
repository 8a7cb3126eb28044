"""Regions of interest: which channels make up each, for everybody or by person or role, and their mean signals."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..coupling.transform.signals import FINE, prepare
from ..errors import PlanError, did_you_mean, require_known
from ..recordings.recording import DyadRow, Recording

Rois = Mapping[str, Sequence[str]] | Mapping[str, Mapping[str, Sequence[str]]]

AVERAGES = ("coherence", "signal")
"""What is averaged over the channels of a region."""

SIDES = ("a", "b")

EVERYBODY = ""


@dataclass(frozen=True)
class Regions:
    """
    Regions of interest, as the words of `Study.synchrony` ask for them.

    Parameters
    ----------
    of : mapping of whose to mapping of region to tuple of str
        Channels by region: of everybody (""), or of persons, of roles, or of "a" and "b", the first that fits.
    average : {"coherence", "signal"}
        Coherence is averaged over the pairs of channels of two regions, or the standardised signals of a region over
        its channels before the transform.
    """

    of: Mapping[str, Mapping[str, tuple[str, ...]]]
    average: str = "coherence"

    @classmethod
    def asked(cls, rois: object, roi_average: str) -> Regions | None:
        """What the words ask for; None for nothing.

        Raises
        ------
        PlanError
            If they are no regions, or one is empty.
        """
        require_known("roi_average", roi_average, AVERAGES)
        if rois is None:
            return None
        if not isinstance(rois, Mapping) or not rois:
            raise PlanError(f"rois={rois!r} must be channels by region, such as {{'frontal': ['S1_D1', 'S1_D2']}}")
        by_whom = {isinstance(value, Mapping) for value in rois.values()}
        if len(by_whom) > 1:
            raise PlanError("rois mix regions of everybody with those of a person or role: give one or the other")
        of = rois if by_whom == {True} else {EVERYBODY: rois}
        return cls({str(who): _checked(who, regions) for who, regions in of.items()}, roi_average)

    @property
    def words(self) -> dict[str, Any]:
        """The words of `Study.null` that ask for these."""
        return {"rois": self.of.get(EVERYBODY, self.of), "roi_average": self.average}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able form."""
        return {"of": {who: dict(regions) for who, regions in self.of.items()}, "average": self.average}

    def __str__(self) -> str:
        return json.dumps(self.to_dict())

    @property
    def channels(self) -> set[str]:
        """All channels of all regions."""
        return {name for regions in self.of.values() for members in regions.values() for name in members}

    def names_in(self, rows: Sequence[DyadRow]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """
        Names of the regions of first and of second persons.

        Raises
        ------
        PlanError
            If somebody of whom there are regions is not there, or a channel is not, or somebody has no regions.
        """
        self._require_of(rows)
        a, b = (tuple(dict.fromkeys(name for row in rows for name in self.in_row(row, side))) for side in SIDES)
        return a, b

    def in_row(self, row: DyadRow, side: str) -> Mapping[str, tuple[str, ...]]:
        """
        Channels by region of one person of a dyad.

        Raises
        ------
        PlanError
            If the person has no regions.
        """
        for who in (EVERYBODY, *_names(row, side)):
            if who in self.of:
                return self.of[who]
        raise PlanError(
            f"rois: {row.label}: {getattr(row, f'person_{side}')} has no regions: name those of the person, of the "
            f"role {getattr(row, f'role_{side}')!r} or of {side!r}"
        )

    def _require_of(self, rows: Sequence[DyadRow]) -> None:
        """Refuse regions of somebody who is not there, and channels that nobody has."""
        people = [(row, side) for row in rows for side in SIDES]
        known = dict.fromkeys(name for row, side in people for name in _names(row, side))
        for who in self.of:
            if who != EVERYBODY and who not in known:
                hint = did_you_mean(who, known) or f"there are {', '.join(known)}"
                raise PlanError(f"rois: nobody is {who!r}; {hint}")
        recorded: dict[int, set[str]] = {}
        for row, side in people:
            recorded.setdefault(id(self.in_row(row, side)), set()).update(recording_of(row, side).channels)
        for regions in self.of.values():
            channels = sorted(recorded.get(id(regions), ()))
            for region, members in regions.items() if channels else ():
                for name in members:
                    if name not in channels:
                        hint = did_you_mean(name, channels) or f"there are {', '.join(channels[:12])}"
                        raise PlanError(f"rois: region {region!r} names a channel {name!r} that nobody has; {hint}")

    def refuse_by_role(self, rows: Sequence[DyadRow]) -> None:
        """Refuse regions that depend on who is first, where nobody is."""
        persons = {EVERYBODY, *(person for row in rows for person in (row.person_a, row.person_b))}
        if not persons.issuperset(self.of):
            raise PlanError("roles='interchangeable' needs the same regions of both people: give rois of everybody")


def _names(row: DyadRow, side: str) -> Iterator[str]:
    """What regions of a person of a dyad may be called after."""
    yield from filter(None, (getattr(row, f"person_{side}"), getattr(row, f"role_{side}"), side))


def _checked(who: object, regions: object) -> dict[str, tuple[str, ...]]:
    """Channels by region, as tuples."""
    whose = f" of {who!r}" if who != EVERYBODY else ""
    if not isinstance(regions, Mapping) or not regions:
        raise PlanError(f"rois{whose} must be channels by region, such as {{'frontal': ['S1_D1', 'S1_D2']}}")
    for region, members in regions.items():
        is_list = isinstance(members, Iterable) and not isinstance(members, str)
        if not is_list or not all(isinstance(name, str) for name in members):
            raise PlanError(f"rois{whose}: region {region!r} is {members!r}; give a list of channels")
        if not list(members):
            raise PlanError(f"rois{whose}: region {region!r} has no channel: name its channels, or leave it out")
    return {str(region): tuple(dict.fromkeys(members)) for region, members in regions.items()}


def recording_of(row: DyadRow, side: str) -> Recording:
    """Recording of the first ("a") or second ("b") person of a dyad."""
    return row.recording_a if side == "a" else row.recording_b


def good_in(recording: Recording, members: Sequence[str]) -> int:
    """How many of some channels are good in a recording."""
    good = dict(zip(recording.channels, recording.good, strict=True))
    return sum(good.get(name, False) for name in members)


def mean_signals(x: NDArray[np.floating], members: NDArray[np.bool_]) -> NDArray[np.float32]:
    """
    Means of standardised signals over the channels of each region: float32 [region, sample].

    Parameters
    ----------
    x : float [channel, sample]
        NaN for gaps and for channels that are missing. Those that are missing or do not vary are left out; a sample
        that one of the others lacks is missing in the mean, as a channel that comes and goes would leave steps.
    members : bool [region, channel]
    """
    ready = prepare(x)
    unit = (ready.x.astype(np.float64) - ready.mean[:, None]) * ready.gain[:, None]
    if ready.bad is not None:
        unit[ready.bad] = np.nan
    fine = ready.status == FINE
    out = np.full((len(members), x.shape[1]), np.nan, np.float32)
    for region, of_region in enumerate(members):
        if (of_region & fine).any():
            out[region] = unit[of_region & fine].mean(axis=0)
    return out
