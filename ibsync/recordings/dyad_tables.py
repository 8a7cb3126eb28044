"""Hides who was recorded with whom: `dyads.tsv`, `participants.tsv` and `outcomes.tsv` become pairs of persons.

dyads.tsv
    One row per dyad (or per dyad and session). `dyad`; `person_a` and `person_b`, or `file_a` and `file_b` (relative
    to the table); optional `session`, `task`, `run`, `day` (a number) or `date` (2026-03-31), `group`, `role_a`,
    `role_b`, `use` (0 leaves the row out of analyses) and any number of `outcome_<name>`. Without `session` or `task`
    a row stands for all they share.
participants.tsv
    BIDS: `participant_id`, and `dyad_id` (two people each), optional `role`, `group`, and what else there is.
outcomes.tsv
    `dyad`, optional `session` and `task`, and one column per outcome.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from math import isnan
from pathlib import Path

from ..errors import InputError
from .names import label_of, path_named, suggestion
from .tables import MISSING_WORDS, Row, number_in, read_table, yes_in

_KNOWN = (
    "dyad", "person_a", "person_b", "file_a", "file_b", "session", "task", "run", "day", "date", "group", "role_a",
    "role_b", "use",
)  # fmt: skip
_TARGET = ("dyad", "session", "task")
_LABELS = ("dyad_id", "role", "group")


@dataclass(frozen=True)
class Pair:
    """Two persons, or two files, that a table puts together.

    `persons` may be empty where `files` are named, and `files` is where persons are. An empty session, task or run
    means all that both have. `where` is table and line, for messages. `day` counts as the table does, or from
    1970-01-01 to its date; NaN where there is neither.
    """

    dyad: str
    persons: tuple[str, ...]
    where: str
    files: tuple[Path, ...] = ()
    session: str = ""
    task: str = ""
    run: str = ""
    group: str = ""
    roles: tuple[str, str] = ("", "")
    use: bool = True
    outcomes: Mapping[str, float] = field(default_factory=dict)
    day: float = float("nan")


def read_pairs(path: Path) -> tuple[list[Pair], list[str]]:
    """The pairs of a dyads table, and notes on columns that mean nothing here."""
    by_file = "file_a" in next(iter(read_table(path, others=_KNOWN).values()), {})
    sides = ("file_a", "file_b") if by_file else ("person_a", "person_b")
    rows = read_table(path, ("dyad", *sides), _KNOWN)
    if not rows:
        raise InputError(f"{path}: the table has no dyad; add one row per dyad")
    pairs = [_pair(path, f"{path}: line {number}", row, sides, by_file) for number, row in rows.items()]
    _check_no_repeat(pairs)
    columns = next(iter(rows.values()))
    unknown = [name for name in columns if name not in _KNOWN and not name.startswith("outcome_")]
    return pairs, [f"{path.name}: the column {name} is not used{suggestion(name, _KNOWN)}" for name in unknown]


def given_pairs(dyads: object) -> list[Pair]:
    """
    The pairs of a table that is at hand: a pandas.DataFrame, or rows (dyad, person_a, person_b) or by column.

    Raises
    ------
    InputError
        As for a file, naming the row.
    """
    rows = dyads.to_dict("records") if hasattr(dyads, "to_dict") and not isinstance(dyads, Mapping) else dyads
    if not isinstance(rows, Sequence) or isinstance(rows, str) or not rows:
        raise InputError(f"dyads={dyads!r} names no dyad; give rows such as ('d1', 'p1', 'p2')")
    pairs = [_given_pair(f"dyads: row {number}", row) for number, row in enumerate(rows, 1)]
    _check_no_repeat(pairs)
    return pairs


def _given_pair(where: str, given: object) -> Pair:
    sides = ("person_a", "person_b")
    if isinstance(given, Sequence) and not isinstance(given, str) and len(given) == 3:
        given = dict(zip(("dyad", *sides), given, strict=True))
    if not isinstance(given, Mapping) or not {"dyad", *sides} <= given.keys():
        raise InputError(f"{where}: {given!r} is no row; write (dyad, person_a, person_b), or a dict of these")
    known = [name for name in _KNOWN if not name.startswith("file_")]
    for name in given:
        if name not in known and not str(name).startswith("outcome_"):
            raise InputError(f"{where}: {name!r} means nothing{suggestion(str(name), known)}; it may be {known}")
    row = {
        str(name): label_of(value) or ("" if value is None or value != value else str(value))
        for name, value in given.items()
    }
    return _pair(Path(), where, row, sides, by_file=False)


def doubtful_labels(pairs: Sequence[Pair]) -> list[str]:
    """Notes on labels that other programs write for a missing one."""
    labels = {label for p in pairs for label in (p.dyad, *p.persons, p.session, p.task, p.run, p.group, *p.roles)}
    return [
        f"{label} is a label here; write n/a where one is missing"
        for label in sorted(labels)
        if label.lower() in MISSING_WORDS
    ]


def _pair(path: Path, where: str, row: Row, sides: tuple[str, str], by_file: bool) -> Pair:
    for name in ("dyad", *sides):
        if not row[name]:
            raise InputError(f"{where}: {name} is empty; fill it in or remove the line")
    a, b = row[sides[0]], row[sides[1]]
    if a == b and not by_file:
        raise InputError(f"{where}: dyad {row['dyad']!r} names {a} twice; name two different people")
    persons = (row.get("person_a", ""), row.get("person_b", ""))
    return Pair(
        dyad=row["dyad"],
        persons=persons if all(persons) else (),
        files=tuple(path_named(path.parent / name).resolve() for name in (a, b)) if by_file else (),
        where=where,
        session=row.get("session", ""),
        task=row.get("task", ""),
        run=row.get("run", ""),
        group=row.get("group", ""),
        roles=(row.get("role_a", ""), row.get("role_b", "")),
        use=yes_in(where, "use", row.get("use", ""), True),
        outcomes={
            k.removeprefix("outcome_"): number_in(where, k, v) for k, v in row.items() if k.startswith("outcome_")
        },
        day=_day(where, row),
    )


def _day(where: str, row: Row) -> float:
    if row.get("day") and row.get("date"):
        raise InputError(f"{where}: both day and date are given; keep one of the columns")
    if not row.get("date"):
        return number_in(where, "day", row.get("day", ""))
    try:
        return float(date.fromisoformat(row["date"]).toordinal() - date(1970, 1, 1).toordinal())
    except ValueError:
        raise InputError(f"{where}: date is {row['date']!r}; write it as 2026-03-31") from None


def _check_no_repeat(pairs: Sequence[Pair]) -> None:
    seen: dict[object, Pair] = {}
    for pair in pairs:
        key = (frozenset(pair.files or pair.persons), pair.session, pair.task, pair.run)
        if key in seen:
            raise InputError(
                f"{pair.where}: dyad {pair.dyad!r} repeats {seen[key].where.rsplit(': ', 1)[-1]}; remove one"
            )
        seen[key] = pair


def read_participants(path: Path) -> dict[str, Row]:
    """The rows of a participants table by person."""
    people: dict[str, Row] = {}
    for number, row in read_table(path, ("participant_id",), _LABELS).items():
        name = row.pop("participant_id")
        if not name:
            raise InputError(f"{path}: line {number}: participant_id is empty; fill it in or remove the line")
        if people.setdefault(name, row) is not row:
            raise InputError(f"{path}: line {number}: {name} stands twice; keep one line per person")
    return people


def row_of(people: Mapping[str, Row], name: str) -> Row:
    """What the participants table says of a person, whose name may lack `sub-` on either side; empty if nothing."""
    bare = name.removeprefix("sub-")
    return next((people[other] for other in (name, bare, f"sub-{bare}") if other in people), {})


def pairs_of_participants(path: Path, people: Mapping[str, Row]) -> list[Pair]:
    """The pairs that `dyad_id` makes; within a pair the roles decide the order, else the table."""
    dyads: dict[str, list[str]] = {}
    for name, row in people.items():
        if row.get("dyad_id"):
            dyads.setdefault(row["dyad_id"], []).append(name)
    for dyad, names in dyads.items():
        if len(names) != 2:
            raise InputError(
                f"{path}: dyad_id {dyad} has {len(names)} people ({', '.join(names)}), not two; "
                "correct it, or name the pairs in a dyads.tsv"
            )
    ordered = {dyad: sorted(names, key=lambda name: people[name].get("role", "")) for dyad, names in dyads.items()}
    return [Pair(dyad, tuple(names), f"{path}: dyad_id {dyad}") for dyad, names in ordered.items()]


def read_outcomes(path: Path, known: Iterable[str]) -> list[tuple[str, dict[str, str], dict[str, float]]]:
    """For every row of an outcomes table: where it stands, what it applies to, and its numbers."""
    dyads = set(known)
    scores = []
    for number, row in read_table(path, _TARGET[:1], _TARGET).items():
        where = f"{path}: line {number}"
        if row["dyad"] not in dyads:
            near = suggestion(row["dyad"], dyads)
            raise InputError(f"{where}: the study has no dyad {row['dyad']!r}{near}; correct or remove the line")
        target = {name: row[name] for name in _TARGET if row.get(name)}
        numbers = {k.removeprefix("outcome_"): number_in(where, k, v) for k, v in row.items() if k not in _TARGET}
        scores.append((where, target, numbers))
    return scores


def typed_columns(people: Mapping[str, Row], names: Iterable[str]) -> dict[str, dict[str, str | float]]:
    """Columns of the participants table for the given people, numbers where a whole column is numeric."""
    rows = {name: row_of(people, name) for name in names}
    every = dict.fromkeys(column for row in people.values() for column in row)
    columns = {column: [row.get(column, "") for row in rows.values()] for column in every}
    numbers = {column: _numbers(column, values) for column, values in columns.items()}
    return {
        name: {column: (of[k] if (of := numbers[column]) else columns[column][k]) for column in columns}
        for k, name in enumerate(rows)
    }


def _numbers(column: str, values: Sequence[str]) -> list[float]:
    """The column as numbers; empty where it holds anything else."""
    if column in _LABELS:
        return []
    try:
        numbers = [number_in("", column, value) for value in values]
    except InputError:
        return []
    return [] if all(map(isnan, numbers)) else numbers


def with_roles(pair: Pair, people: Mapping[str, Row], persons: tuple[str, str]) -> Pair:
    """The pair with roles and group filled in from the participants table where its own table has none."""
    rows = [row_of(people, name) for name in persons]
    roles = (pair.roles[0] or rows[0].get("role", ""), pair.roles[1] or rows[1].get("role", ""))
    groups = list(dict.fromkeys(row["group"] for row in rows if row.get("group")))
    return replace(pair, roles=roles, group=pair.group or "/".join(groups))
