"""Who is exchanged where a person is in several dyads: decided for each set of dyads that people link."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import combinations

from ..errors import PlanError


def components(members: Sequence[set[str]]) -> list[list[int]]:
    """
    Sets that are linked by a common element, directly or through others.

    Parameters
    ----------
    members : sequence of set of str
        Of each dyad what it may share: its people.

    Returns
    -------
    list of list of int
        Indices, each once, in the order of the first of each component.
    """
    part = list(range(len(members)))
    for one, other in combinations(range(len(members)), 2):
        if members[one] & members[other]:
            part = [part[one] if number == part[other] else number for number in part]
    return [[at for at, other in enumerate(part) if other == number] for number in dict.fromkeys(part)]


@dataclass(frozen=True)
class SharedPartners:
    """
    Who is shared by the dyads that people link, of which one role is shared and the other exchanged.

    Parameters
    ----------
    persons : tuple of str
        Of each dyad the person whom its set shares; its first person where it shares nobody.
    roles : tuple of {"first", "second", ""}
        Role of that person; empty where a dyad shares nobody.
    """

    persons: tuple[str, ...]
    roles: tuple[str, ...]

    @classmethod
    def of(cls, dyads: Sequence[str], persons_a: Sequence[str], persons_b: Sequence[str]) -> SharedPartners:
        """
        From the people of each dyad.

        Raises
        ------
        PlanError
            If some dyads share first and second persons, so that neither can be exchanged.
        """
        people = [{a, b} for a, b in zip(persons_a, persons_b, strict=True)]
        persons, roles = list(persons_a), [""] * len(dyads)
        hindering = dict[str, str]()
        for members in (part for part in components(people) if len(part) > 1):
            shared = {p for one, other in combinations(members, 2) for p in people[one] & people[other]}
            sides = [name for name, side in (("first", persons_a), ("second", persons_b)) if _on(side, members, shared)]
            if len(sides) > 1:
                own = [dyads[at] for at in members]
                hindering |= dict.fromkeys(own, f"dyads {named(own)} are linked by {named(sorted(shared))}")
                continue
            for at in members:
                persons[at], roles[at] = next(iter(shared)), sides[0]
        if hindering:
            raise PlanError(
                f"{'; '.join(dict.fromkeys(hindering.values()))}, shared in both roles, so that neither first nor "
                "second persons can be exchanged: take ibs.relations, or a null of single dyads such as "
                f"kind='phase'{or_select(dyads, hindering)}"
            )
        return cls(tuple(persons), tuple(roles))

    def __bool__(self) -> bool:
        """Whether anybody is in several dyads."""
        return any(self.roles)

    @property
    def sides(self) -> tuple[str, ...]:
        """
        Which role of each dyad stays, where in some sets the first and in others the second persons are shared.

        Exchanged persons of these never exchange with each other. Empty text where one role is shared or none.
        """
        return (
            tuple(role or "first" for role in self.roles) if len({*self.roles} - {""}) > 1 else ("",) * len(self.roles)
        )


def _on(side: Sequence[str], members: Sequence[int], shared: Collection[str]) -> bool:
    return any(side[at] in shared for at in members)


def named(labels: Collection[str]) -> str:
    """Labels in quotes, one after the other."""
    return ", ".join(map(repr, labels))


def or_select(dyads: Sequence[str], without: Collection[str]) -> str:
    """The line with which the other dyads can be tested; empty where there are not two."""
    rest = [dyad for dyad in dyads if dyad not in without]
    return f", or leave these dyads out, study.select(dyad={rest!r})" if len(rest) > 1 else ""
