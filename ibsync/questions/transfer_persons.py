"""Who met whom, seen from single persons: meetings with trained and with probe partners, and the values of both."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..coupling.measures import measure_in
from ..errors import PlanError, did_you_mean
from ..inference.slopes import slopes
from ..results.layout import FEATURE, ROW
from .outcome_table import mean
from .session_times import Source, numbers_of, refuse_one_time_twice, times_of

if TYPE_CHECKING:
    import xarray as xr

Floats = NDArray[np.float64]
Gain = Literal["slope", "change", "level"]
Which = str | Sequence[str]

_SIDES = ("a", "b")


# --- who met whom -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Meeting:
    """One row of the data, seen from the person whose transfer is asked for; `side` is 0 where that is person a."""

    row: int
    kind: str
    dyad: str
    person: str
    partner: str
    side: int


def meetings_of(source: Source, trained: Which, probe: Which) -> list[Meeting]:
    """
    All rows in which a person meets a trained or a probe partner.

    Raises
    ------
    PlanError
        If `trained` or `probe` is unknown, a dyad is of both kinds, or it is not told who is meant.
    """
    dyads, people = source.labels("dyad"), [source.labels(f"person_{side}") for side in _SIDES]
    may_be = {"trained": _sides_of(source, trained, "trained"), "probe": _sides_of(source, probe, "probe")}
    for row in may_be["trained"]:
        if row in may_be["probe"]:
            raise PlanError(f"dyad {dyads[row]!r} is both trained and probe; name different dyads")
    seen = [{people[side][row] for row, sides in rows.items() for side in sides} for rows in may_be.values()]
    found = []
    for kind, rows in may_be.items():
        for row, sides in rows.items():
            # Where no role tells, the person is the one who has dyads of both kinds.
            both = [side for side in sides if people[side][row] in seen[0] & seen[1]]
            if len(both) > 1:
                one, other = people[0][row], people[1][row]
                raise PlanError(
                    f"dyad {dyads[row]!r}: both {one!r} and {other!r} have trained and probe dyads; give roles, so "
                    "that it is told whose transfer is meant"
                )
            side = (both or sides)[0]
            found.append(Meeting(row, kind, dyads[row], people[side][row], people[1 - side][row], side))
    _refuse_each_other(found)
    return found


def _sides_of(source: Source, which: Which, word: str) -> dict[int, list[int]]:
    """On which sides the person may be in each row of a kind."""
    roles = [source.labels(f"role_{side}") for side in _SIDES]
    groups, dyads = source.labels("group"), source.labels("dyad")
    if isinstance(which, str):
        if which in {*roles[0], *roles[1]} - {""}:
            partners = {row: [roles[0][row] == which, roles[1][row] == which] for row in range(len(dyads))}
            return {row: _other_side(dyads[row], which, is_it) for row, is_it in partners.items() if any(is_it)}
        if which in set(groups) - {""}:
            return {row: [0, 1] for row, group in enumerate(groups) if group == which}
        known = sorted({*roles[0], *roles[1], *groups} - {""})
        listed = ", ".join(map(repr, known)) or "none"
        raise PlanError(
            f"{word}={which!r} is no role and no group; {did_you_mean(which, known) or f'there are {listed}'}"
        )
    for name in which:
        if str(name) not in dyads:
            hint = did_you_mean(name, dyads) or "leave it out"
            raise PlanError(f"{word} names dyad {str(name)!r}, which is not there; {hint}")
    return {row: [0, 1] for row, dyad in enumerate(dyads) if dyad in [str(name) for name in which]}


def _other_side(dyad: str, role: str, is_partner: Sequence[bool]) -> list[int]:
    if all(is_partner):
        raise PlanError(f"dyad {dyad!r}: both persons have the role {role!r}; give them roles that tell them apart")
    return [1 if is_partner[0] else 0]


def _refuse_each_other(meetings: Sequence[Meeting]) -> None:
    """Refuse persons who are partners of other persons: their values hang on each other's."""
    persons = {meeting.person for meeting in meetings}
    for meeting in meetings:
        if meeting.partner in persons:
            raise PlanError(
                f"dyad {meeting.dyad!r}: partner {meeting.partner!r} is a person of the test too, so that persons "
                "cannot be exchanged; leave the dyad out, or see ibs.relations for round robins"
            )


# --- the person's channels first --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Turned:
    """
    Values of the meetings with the person's channels first.

    Parameters
    ----------
    values, valid : float64 [row, feature]
        By the row of the data; NaN where a row is no meeting.
    channels : tuple of list of str
        Channels of the persons, and of the partners.
    shape : tuple of int
        Features: (epoch, channel of the person, channel of the partner, band).
    pairs : str
        Which pairs were asked for, as the attribute of synchrony says it.
    """

    values: Floats
    valid: Floats
    channels: tuple[list[str], list[str]]
    shape: tuple[int, ...]
    pairs: str

    @classmethod
    def of(cls, source: Source, meetings: Sequence[Meeting]) -> Turned:
        """
        Turn the rows in which the person is the second.

        Raises
        ------
        PlanError
            If the measure has no meaning with the two persons in the other order.
        """
        dataset, sides = source.dataset, sorted({meeting.side for meeting in meetings})
        if sides != [0] and measure_in(dataset.attrs).directed:
            dyad = next(meeting.dyad for meeting in meetings if meeting.side)
            raise PlanError(
                f"dyad {dyad!r}: measure {dataset.attrs['measure']!r} asks who is first, and the partner is; put the "
                "person first in all dyads"
            )
        names = [[str(label) for label in dataset[f"channel_{side}"].values] for side in _SIDES]
        channels = tuple(list(dict.fromkeys(n for side in sides for n in names[side ^ turn])) for turn in (0, 1))
        shape = (dataset.sizes["epoch"], len(channels[0]), len(channels[1]), dataset.sizes["band"])
        place = [[[own.index(n) for n in names[side ^ turn]] for turn, own in enumerate(channels)] for side in (0, 1)
                 if side in sides]  # fmt: skip
        given = tuple(dataset.sizes[dim] for dim in FEATURE)
        valid = dataset["valid_fraction"].transpose(*ROW).to_numpy()
        turned = np.full((2, dataset.sizes["dyad"], *shape), np.nan)
        for meeting in meetings:
            at = place[sides.index(meeting.side)]
            for out, rows in zip(turned, (source.values.reshape(-1, *given), valid), strict=True):
                row = np.swapaxes(rows[meeting.row], 1, 2) if meeting.side else rows[meeting.row]
                out[meeting.row][np.ix_(range(shape[0]), at[0], at[1], range(shape[3]))] = row
        flat = turned.reshape(2, dataset.sizes["dyad"], -1)
        pairs = str(dataset.attrs.get("pairs", "all"))
        if pairs not in ("all", "same"):
            listed = [tuple(pair) for pair in json.loads(pairs)]
            pairs = json.dumps(list(dict.fromkeys(pair[::-1] if side else pair for side in sides for pair in listed)))
        return cls(flat[0], flat[1], (channels[0], channels[1]), shape, pairs)

    def coords(self, real: xr.Dataset) -> dict[str, Any]:
        """Labels of the features, with the channels of persons and partners."""
        kept = {str(name): labels for name, labels in real.coords.items() if {*labels.dims} <= {"epoch", "band"}}
        return kept | {"channel_a": self.channels[0], "channel_b": self.channels[1]}


# --- what is known of each person -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Persons:
    """
    What is known of each person who has a dyad of either kind.

    Parameters
    ----------
    names : tuple of str
    rows : tuple of mapping
        Rows of the data of each person by what they are: "trained", "probe", "before".
    partners : tuple of mapping
        Partners of each person by kind of dyad: "trained", "probe".
    gains : Gains
        With trained partners.
    probe, before : float64 [person, feature]
        Synchrony with probe partners at or after the last trained session, and at or before
        the first.
    turned : Turned
    after : bool
        Whether times told which probes came after; else all were taken.
    notes : tuple of str
        Dyads and sessions that are not used.
    """

    names: tuple[str, ...]
    rows: tuple[Mapping[str, list[int]], ...]
    partners: tuple[Mapping[str, set[str]], ...]
    gains: Gains
    probe: Floats
    before: Floats
    turned: Turned
    after: bool
    notes: tuple[str, ...]

    @classmethod
    def of(cls, source: Source, meetings: Sequence[Meeting], gain: Gain, time: str | Mapping[str, float]) -> Persons:
        """
        Gains and probes of each person.

        Raises
        ------
        PlanError
            If nobody has dyads of both kinds, or times are needed and not known.
        """
        names = tuple(sorted({meeting.person for meeting in meetings}))
        own = [[m for m in meetings if m.person == name] for name in names]
        if not any(len({m.kind for m in mine}) == 2 for mine in own):
            raise PlanError(
                "nobody has both a trained and a probe dyad: transfer needs a second partner of the same person"
            )
        turned, when = Turned.of(source, meetings), _when(source, meetings, gain, time)
        after = all(m.row in when for m in meetings)
        filled = {m.row for m in meetings if np.isfinite(turned.values[m.row]).any()}
        rows = tuple(_taken(mine, when, filled) for mine in own)
        gains = [_gain(source, turned, [m for m in mine if m.row in filled], gain, when) for mine in own]
        probe, before = (np.array([mean(turned.values[r[kind]], 0) for r in rows]) for kind in ("probe", "before"))
        partners = tuple({k: {m.partner for m in mine if m.kind == k} for k in ("trained", "probe")} for mine in own)
        notes = _notes(source, meetings, rows, filled)
        return cls(names, rows, partners, Gains.stacked(gains), probe, before, turned, after, notes)

    def only(self, kept: Sequence[int]) -> Persons:
        """Some of the persons."""
        return replace(
            self,
            names=tuple(self.names[k] for k in kept),
            rows=tuple(self.rows[k] for k in kept),
            partners=tuple(self.partners[k] for k in kept),
            gains=self.gains.only(kept),
            probe=self.probe[kept],
            before=self.before[kept],
        )

    def count(self, kind: str) -> list[int]:
        """Rows of a kind behind each person."""
        return [len(rows[kind]) for rows in self.rows]


def _when(source: Source, meetings: Sequence[Meeting], gain: Gain, time: str | Mapping[str, float]) -> dict[int, float]:
    """Time of each row that has one; of the probes all have one or none has."""
    rows = {kind: [m.row for m in meetings if m.kind == kind] for kind in ("trained", "probe")}
    labels = {kind: [source.labels("session")[row] for row in some] for kind, some in rows.items()}
    known = time if isinstance(time, Mapping) else numbers_of([*labels["trained"], *labels["probe"]])
    ordered = all(any(label in known for label in some) for some in labels.values())
    if not isinstance(time, Mapping) and time != "session":
        ordered = True
    needed = rows["trained"] * (ordered or gain != "level") + rows["probe"] * ordered
    return dict(zip(needed, times_of(_rows_of(source, needed), time).tolist(), strict=True))


def _rows_of(source: Source, rows: Sequence[int]) -> Source:
    chosen = list(rows)
    return replace(source, dataset=source.dataset.isel(dyad=chosen), values=source.values[chosen])


def _taken(mine: Sequence[Meeting], when: Mapping[int, float], filled: set[int]) -> dict[str, list[int]]:
    """
    Rows of a person that hold values: with trained partners, and with probe partners after and before training.

    A trained session without values took place, so that it still tells when training began and ended.
    """
    rows = {kind: [m.row for m in mine if m.kind == kind] for kind in ("trained", "probe")}
    with_values = {kind: [row for row in some if row in filled] for kind, some in rows.items()}
    if not all(row in when for row in rows["probe"]) or not rows["trained"]:
        return {**with_values, "before": []}
    times = [when[row] for row in rows["trained"]]
    first, last = min(times), max(times)
    after = [row for row in with_values["probe"] if when[row] >= last]
    before = [row for row in with_values["probe"] if when[row] <= first and row not in after]
    return {"trained": with_values["trained"], "probe": after, "before": before}


@dataclass(frozen=True)
class Gains:
    """
    Gains with trained partners, and what is known of their error.

    Parameters
    ----------
    values : float64 [..., feature]
    scatter, freedom : float64 [..., feature]
        Squared deviations from the person's own lines over sessions, and their degrees of freedom; 0 without a line.
    leverage : float64 [..., feature]
        By what the variance of such a deviation is to be multiplied for that of the gain; NaN without a line.
    """

    values: Floats
    scatter: Floats
    freedom: Floats
    leverage: Floats

    @property
    def error(self) -> Floats:
        """Variance of the error of each gain, sessions of all persons scattering alike: float64 [person, feature]."""
        freedom = self.freedom.sum(axis=0)
        variance: Floats = np.full(freedom.shape, np.nan)
        np.divide(self.scatter.sum(axis=0), freedom, out=variance, where=freedom > 0)
        return np.asarray(self.leverage * variance)

    @classmethod
    def stacked(cls, some: Sequence[Gains]) -> Gains:
        """Those of several persons."""
        return cls(*(np.stack(parts) for parts in zip(*(one.parts for one in some), strict=True)))

    @property
    def parts(self) -> tuple[Floats, Floats, Floats, Floats]:
        """All arrays."""
        return self.values, self.scatter, self.freedom, self.leverage

    def only(self, kept: Sequence[int]) -> Gains:
        """Those of some persons."""
        return Gains(*(part[list(kept)] for part in self.parts))


def _gain(source: Source, turned: Turned, mine: Sequence[Meeting], gain: Gain, when: Mapping[int, float]) -> Gains:
    """Gain of a person with trained partners, the mean over their dyads."""
    of_dyad: dict[str, list[int]] = {}
    for meeting in mine:
        if meeting.kind == "trained":
            of_dyad.setdefault(meeting.dyad, []).append(meeting.row)
    if not of_dyad:
        return _without_line(np.full(turned.values.shape[1], np.nan))
    found = Gains.stacked([_of_dyad(source, turned, dyad, rows, gain, when) for dyad, rows in of_dyad.items()])
    n = np.isfinite(found.values).sum(axis=0)
    leverage = mean(found.leverage, 0) / np.maximum(n, 1)
    return Gains(mean(found.values, 0), found.scatter.sum(axis=0), found.freedom.sum(axis=0), leverage)


def _of_dyad(
    source: Source, turned: Turned, dyad: str, rows: Sequence[int], gain: Gain, when: Mapping[int, float]
) -> Gains:
    if gain == "level":
        return _without_line(mean(turned.values[list(rows)], 0))
    in_time = np.array(sorted(rows, key=lambda row: when[row]))
    times = np.array([when[int(row)] for row in in_time])
    refuse_one_time_twice(source, dyad, in_time, times)
    values = turned.values[in_time]
    if gain == "change":
        rise = values[-1] - values[0] if len(rows) > 1 else np.full(values.shape[1], np.nan)
        return _without_line(np.asarray(rise))
    return _line(values, times)


def _without_line(values: Floats) -> Gains:
    return Gains(values, np.zeros_like(values), np.zeros_like(values), np.full_like(values, np.nan))


def _line(values: Floats, times: Floats) -> Gains:
    """Slope of one dyad over its sessions."""
    slope, present = slopes(values, times), np.isfinite(values)
    when = np.where(present, times[:, None], np.nan)
    spread = np.nansum((when - mean(when, 0)) ** 2, axis=0)
    rest = values - slope * times[:, None]
    freedom = np.maximum(present.sum(axis=0) - 2.0, 0.0)
    scatter = np.where(freedom > 0, np.nansum((rest - mean(rest, 0)) ** 2, axis=0), 0.0)
    leverage = np.divide(1.0, spread, out=np.full(spread.shape, np.nan), where=np.isfinite(slope))
    return Gains(slope, scatter, freedom, leverage)


def _notes(
    source: Source, meetings: Sequence[Meeting], rows: Sequence[Mapping[str, list[int]]], filled: set[int]
) -> tuple[str, ...]:
    """Which dyads and sessions are not used, in words."""
    dyads, sessions = source.labels("dyad"), source.labels("session")
    met = {meeting.dyad for meeting in meetings}
    others = [repr(dyad) for dyad in dict.fromkeys(dyads) if dyad not in met]
    used = {row for own in rows for some in own.values() for row in some}
    during = [f"{dyads[m.row]!r} session {sessions[m.row]!r}" for m in meetings if m.row in filled - used]
    empty = [f"dyad {dyads[m.row]!r} session {sessions[m.row]!r}" for m in meetings if m.row not in filled]
    notes = [f"empty recordings ({', '.join(sorted(empty))})"] if empty else []
    if others:
        notes.append(f"dyad{'s' * (len(others) > 1)} {', '.join(others)} of neither kind")
    if during:
        notes.append(f"probes during training (dyad {', '.join(during)})")
    return tuple(notes)
