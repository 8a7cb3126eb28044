"""Person, partner and relationship parts of values of who met whom, and draws in which one of them is broken up.

Value of person i with partner j: mean + person_i + partner_j + relationship_ij, plus error from session to session
(Kenny and La Voie 1984, *Adv. Exp. Soc. Psychol.* 18:141). Two designs: a block, in which everybody of one side met
everybody of the other, and a round robin, in which all met each other (Warner, Kenny and Stoto 1979, *J. Pers. Soc.
Psychol.* 37:1742). Variances are estimated without bias by the method of moments, and so may be negative.

Arrays are [..., person, partner, feature]; the diagonal of a round robin is not used.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..nulls.draws import Draws, Integers
from ..nulls.relabelling import Permutations
from .permutation_test import DrawnStatistic

Floats = NDArray[np.float64]
Part = Literal["relationship", "person", "partner"]

PARTS = ("person", "partner", "relationship", "person_session", "partner_session", "error")
"""Parts of the variance; the last three change from session to session."""


@dataclass(frozen=True)
class Effects:
    """Mean [..., feature], effects of persons and of partners [..., person, feature], and of relationships."""

    mean: Floats
    person: Floats
    partner: Floats
    relationship: Floats


class Block:
    """
    Everybody of one side met everybody of the other.

    Parameters
    ----------
    n_persons, n_partners : int
        At least two each.
    """

    def __init__(self, n_persons: int, n_partners: int) -> None:
        self.n_persons, self.n_partners = n_persons, n_partners

    @property
    def n_dyads(self) -> int:
        """Dyads of one session."""
        return self.n_persons * self.n_partners

    @property
    def degrees_of_freedom(self) -> int:
        """Degrees of freedom of the relationships."""
        return (self.n_persons - 1) * (self.n_partners - 1)

    def effects(self, values: Floats) -> Effects:
        """Means of rows and columns less the mean of all, and what they leave."""
        mean = values.mean(axis=(-3, -2))
        person = values.mean(axis=-2) - mean[..., None, :]
        partner = values.mean(axis=-3) - mean[..., None, :]
        rest = values - mean[..., None, None, :] - person[..., :, None, :] - partner[..., None, :, :]
        return Effects(mean, person, partner, rest)

    def variances(self, effects: Effects) -> Floats:
        """Of persons, partners and relationships: float64 [3, ..., feature]."""
        relationship = (effects.relationship**2).sum(axis=(-3, -2)) / self.degrees_of_freedom
        person = (effects.person**2).sum(axis=-2) / (self.n_persons - 1) - relationship / self.n_partners
        partner = (effects.partner**2).sum(axis=-2) / (self.n_partners - 1) - relationship / self.n_persons
        return np.stack([person, partner, relationship])

    def weighted(self, relationships: Floats) -> Floats:
        """Relationship effects, such that the sum of their squares is their variance."""
        return np.asarray(relationships / np.sqrt(self.degrees_of_freedom))


class RoundRobin:
    """
    Everybody met everybody else; value [i, j] and value [j, i] are the same meeting seen from either person.

    Parameters
    ----------
    n_persons : int
        At least four.
    """

    def __init__(self, n_persons: int) -> None:
        self.n_persons = self.n_partners = n_persons
        self._others = ~np.eye(n_persons, dtype=bool)[..., None]

    @property
    def n_dyads(self) -> int:
        """Dyads of one session."""
        return self.n_persons * (self.n_persons - 1) // 2

    @property
    def degrees_of_freedom(self) -> tuple[int, int]:
        """Degrees of freedom of the mean of both views of a meeting, and of half their difference."""
        pairs = (self.n_persons - 1) * (self.n_persons - 2) // 2
        return pairs - 1, pairs

    def effects(self, values: Floats) -> Effects:
        """Effects of persons and partners, cleared of the missing diagonal (Warner et al. 1979, equations 1 to 3)."""
        n = self.n_persons
        filled = np.where(self._others, values, 0.0)
        rows, columns = filled.sum(axis=-2) / (n - 1), filled.sum(axis=-3) / (n - 1)
        mean = rows.mean(axis=-2)
        own, other, whole = (n - 1) ** 2 / (n * (n - 2)), (n - 1) / (n * (n - 2)), (n - 1) / (n - 2)
        person = own * rows + other * columns - whole * mean[..., None, :]
        partner = own * columns + other * rows - whole * mean[..., None, :]
        rest = filled - mean[..., None, None, :] - person[..., :, None, :] - partner[..., None, :, :]
        return Effects(mean, person, partner, np.where(self._others, rest, 0.0))

    def variances(self, effects: Effects) -> Floats:
        """Of persons, partners and relationships: float64 [3, ..., feature]."""
        n, rest = self.n_persons, effects.relationship
        turned = np.swapaxes(rest, -3, -2)
        both, apart = (
            (((rest + sign * turned) / 2) ** 2).sum(axis=(-3, -2)) / freedom
            for sign, freedom in zip((1, -1), self.degrees_of_freedom, strict=True)
        )
        relationship, reciprocity = (both + apart) / 2, (both - apart) / 2
        share = (relationship * (n - 1) + reciprocity) / (n * (n - 2))
        person, partner = ((of**2).sum(axis=-2) / (n - 1) - share for of in (effects.person, effects.partner))
        return np.stack([person, partner, relationship])

    def weighted(self, relationships: Floats) -> Floats:
        """Relationship effects, such that the sum of their squares is their variance."""
        turned = np.swapaxes(relationships, -3, -2)
        both, apart = self.degrees_of_freedom
        mean, half = (relationships + turned) / 2, (relationships - turned) / 2
        return np.asarray(mean / np.sqrt(2 * both) + half / np.sqrt(2 * apart))


Design = Block | RoundRobin


def variance_parts(design: Design, values: Floats) -> Floats:
    """
    Variance of each part, by the method of moments; in a block these are the estimates of the balanced ANOVA.

    What recurs over sessions is told by products of different sessions, what does not by the rest.

    Parameters
    ----------
    design : Block or RoundRobin
    values : float64 [session, person, partner, feature]

    Returns
    -------
    float64 [part, feature]
        As `PARTS`. With one session only person, partner and error, which then holds relationships too; the others NaN.
    """
    within = design.variances(design.effects(values)).mean(axis=1)
    n, missing = len(values), np.full_like(within, np.nan)
    if n == 1:
        return np.concatenate([within[:2], missing[:1], missing[:2], within[2:]])
    of_mean = design.variances(design.effects(values.mean(axis=0)))
    across = (n * of_mean - within) / (n - 1)
    return np.concatenate([across, within - across])


class RelabelledSessions(DrawnStatistic):
    """
    Variance of the relationships that recur over sessions, when persons trade places in all sessions but the first.

    Effects of persons and of partners were taken out in each session, and so do not matter.

    Parameters
    ----------
    design : Block or RoundRobin
    relationships : float64 [session, person, partner, feature]
        Effects of relationships in two sessions or more.
    draws : Draws of Permutations
        Of `places`.
    """

    def __init__(self, design: Design, relationships: Floats, draws: Draws[Permutations]) -> None:
        self.design, self.draws = design, draws
        self._weighted = design.weighted(relationships)

    @staticmethod
    def places(design: Design, sessions: Sequence[str]) -> Permutations:
        """Persons and, in a block, partners of each session but the first."""
        units, strata = [], []
        for session in sessions[1:]:
            for side, n in _sides(design):
                units += [f"{number:04d}" for number in range(n)]
                strata += [f"{session} | {side}"] * n
        return Permutations(tuple(units), tuple(strata))

    def values(self, exchanges: Integers) -> Floats:
        """Variance of the relationships in each draw, float64 [draw, feature]."""
        weighted, n = self._weighted, len(self._weighted)
        alone = (weighted**2).sum(axis=(0, 1, 2))
        out = np.empty((len(exchanges), weighted.shape[-1]))
        sizes = [size for _, size in _sides(self.design)]
        for draw, order in enumerate(exchanges):
            total, at = weighted[0].copy(), 0
            for session in range(1, n):
                places = []
                for size in sizes:
                    places.append(order[at : at + size] - at)
                    at += size
                total += weighted[session][places[0]][:, places[-1]]
            out[draw] = ((total**2).sum(axis=(0, 1)) - alone) / (n * (n - 1))
        return out


def _sides(design: Design) -> list[tuple[str, int]]:
    """Groups of people who may trade places."""
    if isinstance(design, RoundRobin):
        return [("person", design.n_persons)]
    return [("person", design.n_persons), ("partner", design.n_partners)]


class ScatteredValues(DrawnStatistic):
    """
    Variance of persons (or partners), when whom a value belongs to is drawn anew.

    In a block the values of each partner are exchanged over persons (those of each person over partners), whatever the
    partners' own effects; in a round robin whole meetings are exchanged, which takes neither side to have effects.

    Parameters
    ----------
    design : Block or RoundRobin
    part : {"person", "partner"}
    values : float64 [person, partner, feature]
        Mean over sessions.
    draws : Draws of Permutations
        Of `places`.
    """

    def __init__(self, design: Design, part: Part, values: Floats, draws: Draws[Permutations]) -> None:
        self.design, self.part, self.draws = design, part, draws
        self._values = values

    @staticmethod
    def places(design: Design, part: Part) -> Permutations:
        """Values by row in a block, meetings i < j in a round robin."""
        if isinstance(design, RoundRobin):
            i, j = np.triu_indices(design.n_persons, 1)
            units = tuple(f"{one:04d} {two:04d}" for one, two in zip(i, j, strict=True))
            return Permutations(units, ("",) * len(units))
        places = [(i, j) for i in range(design.n_persons) for j in range(design.n_partners)]
        strata = tuple(f"partner {j:04d}" if part == "person" else f"person {i:04d}" for i, j in places)
        return Permutations(tuple(f"{i:04d} {j:04d}" for i, j in places), strata)

    def values(self, exchanges: Integers) -> Floats:
        """Variance of the part in each draw, float64 [draw, feature]."""
        which = ("person", "partner").index(self.part)
        out = np.empty((len(exchanges), self._values.shape[-1]))
        for draw, order in enumerate(exchanges):
            out[draw] = self.design.variances(self.design.effects(self._scattered(order)))[which]
        return out

    def _scattered(self, order: Integers) -> Floats:
        """Values in their places of one draw, float64 [person, partner, feature]."""
        if isinstance(self.design, Block):
            flat = self._values.reshape(-1, self._values.shape[-1])
            return flat[order].reshape(self._values.shape)
        i, j = np.triu_indices(self.design.n_persons, 1)
        out = np.zeros_like(self._values)
        out[i, j], out[j, i] = self._values[i[order], j[order]], self._values[j[order], i[order]]
        return out
