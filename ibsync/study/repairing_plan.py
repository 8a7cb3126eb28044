"""Who may exchange partners in a study: what must agree, who is shared, which recordings, which occasions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..errors import InputError, PlanError, require_known
from ..nulls.draws import Draws
from ..nulls.rematching import Matchings
from ..nulls.repairing import Repairing
from ..nulls.shared_partners import SharedPartners, components
from ..recordings.recording import DyadRow
from .rows import occasion_label

WITHIN = ("group", "person", "attendance")
"""What may be asked to agree for two dyads to exchange partners."""

DESIGNS = {"fixed": Repairing, "interchangeable": Matchings}
"""Re-pairing by whether the roles of a dyad's two people may be exchanged."""

LEVEL = 0.05
"""Level that the smallest p of a default must reach where none is asked for."""


def plan_draws(
    rows: Sequence[DyadRow], within: Sequence[str] | None, n: int, seed: int, roles: str = "fixed", *,
    alpha: float = LEVEL, n_sides: int = 1,
) -> Draws[Repairing]:  # fmt: skip
    """The re-pairings of a study's dyads, before anything is computed.

    Parameters
    ----------
    rows : sequence of DyadRow
    within, n, seed, roles
        As `Study.null`.
    alpha, n_sides : float, int
        Level that the smallest p must reach where `within` is left to the default, and tails of the test.

    Raises
    ------
    PlanError, InputError
        If fewer than two dyads can exchange partners, dyads share people in both roles, a dyad changes its people,
        `roles` is unknown, or so few re-pairings within a shared person are left that no p could reach alpha.
    """
    require_within(within)
    require_known("roles", roles, DESIGNS)
    people: dict[str, tuple[str, str, str]] = {}
    for row in rows:
        own = (row.person_a, row.person_b, row.group)
        if people.setdefault(row.dyad, own) != own:
            raise InputError(
                f"dyad {row.dyad!r} has other people or another group in session {row.session!r}: give it its own label"
            )
    a, b, group = (list(column) for column in zip(*people.values(), strict=True))
    is_shared = len({*a, *b}) < 2 * len(people)
    asked = within if within is not None else ["person"] * (is_shared and roles == "fixed")
    labels = {"group": group, "attendance": _attendance(rows)}
    if "person" in asked:
        labels["person"] = list(SharedPartners.of(list(people), a, b).persons)
    design = DESIGNS[roles].of(
        list(people), a, b, {name: labels[name] for name in asked}, recordings=_shared_recordings(rows),
        attendance=labels["attendance"],
    )  # fmt: skip
    draws = Draws.plan(design, n, seed)
    if within is None and is_shared and draws.listed and n_sides * draws.min_p > alpha:
        _refuse_few(rows, draws, alpha, n_sides)
    return draws


def _attendance(rows: Sequence[DyadRow]) -> list[str]:
    """Occasions of each dyad."""
    occasions: dict[str, set[str]] = {}
    for row in rows:
        occasions.setdefault(row.dyad, set()).add(occasion_label(row.session, row.task))
    return [", ".join(sorted(labels)) for labels in occasions.values()]


def _shared_recordings(rows: Sequence[DyadRow]) -> list[str]:
    """A recording that each dyad shares with others, one for all that are linked so; empty where it shares none."""
    own: dict[str, set[str]] = {}
    for row in rows:
        own.setdefault(row.dyad, set()).update((row.recording_a.id, row.recording_b.id))
    recordings = list(own.values())
    labels = [""] * len(recordings)
    for members in (part for part in components(recordings) if len(part) > 1):
        ids = [name for at in members for name in recordings[at]]
        for at in members:
            labels[at] = min(name for name in ids if ids.count(name) > 1)
    return labels


def _refuse_few(rows: Sequence[DyadRow], draws: Draws[Repairing], alpha: float, n_sides: int) -> None:
    """Refuse the default where exchange within a shared person leaves too few re-pairings, naming what would do."""
    design = draws.design
    several = [p for p in dict.fromkeys((*design.persons_a, *design.persons_b)) if _dyads_of(design, p) > 1]
    shared = ", ".join(f"{person!r} has {_dyads_of(design, person)}" for person in several)
    try:
        over_all = plan_draws(rows, [], draws.n, draws.seed)
    except PlanError:
        over_all = draws
    fix = (
        f"exchange over all persons, within=[] ({over_all.n + 1} re-pairings), if anybody could have met any of them"
        if n_sides * over_all.min_p <= alpha
        else "record more dyads of one person"
    )
    raise PlanError(
        f"within the person whom dyads share ({shared} dyads) there are only {design.n_ways} re-pairings, so that no p "
        f"falls below {n_sides * draws.min_p:.3g}, above alpha={alpha:g}: {fix}"
    )


def _dyads_of(design: Repairing, person: str) -> int:
    return (*design.persons_a, *design.persons_b).count(person)


def require_within(within: Sequence[str] | None) -> None:
    """Refuse a word that would change nothing."""
    if within is None:
        return
    if isinstance(within, str) or not isinstance(within, Iterable):
        word = within if isinstance(within, str) else "group"
        raise PlanError(f"within={within!r} is not a list; write within=[{word!r}], or leave it out")
    for word in within:
        if word in ("session", "epoch", "task"):
            raise PlanError(f"within={word!r}: partners are always exchanged within a {word}; leave {word!r} out")
        require_known("within", word, WITHIN)
