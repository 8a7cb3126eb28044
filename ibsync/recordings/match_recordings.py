"""Hides how tables of dyads meet the recordings: names, files, sessions and tasks become rows of two recordings."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isnan, nan
from pathlib import Path

from ..errors import InputError
from .dyad_tables import (
    Pair,
    doubtful_labels,
    pairs_of_participants,
    read_outcomes,
    read_pairs,
    read_participants,
    row_of,
    with_roles,
)
from .find_files import SourceFiles, describe_file
from .formats.source_recording import SourceRecording
from .names import first_of, plain, suggestion
from .source import Source
from .tables import Row

DEFAULT_SESSION = "1"
Say = Callable[[str, str, str], None]
Labels = tuple[str, str, str]


@dataclass(frozen=True)
class MatchedRow:
    """A pair with the two recordings that it stands for, in one session and task."""

    pair: Pair
    a: SourceRecording
    b: SourceRecording
    session: str
    task: str

    @property
    def label(self) -> str:
        """Table, line, dyad and task, for messages."""
        return f"{self.pair.where}: dyad {self.pair.dyad!r}" + (f", task {self.task}" if self.task else "")


@dataclass(frozen=True)
class Cohort:
    """What the tables say: who is who, and who was recorded with whom."""

    people: Mapping[str, Row]
    pairs: tuple[Pair, ...]
    tables: Mapping[str, Path]


def read_cohort(files: SourceFiles, tables: Mapping[str, Path], *, has_own_table: bool, say: Say) -> Cohort:
    """Read the tables; a dyads table goes before `dyad_id`. No pair at all is right for files that hold two persons."""
    people = read_participants(tables["participants"]) if "participants" in tables else {}
    if "dyads" in tables and (files.is_folder or has_own_table or len(files.sources) > 1):
        pairs, notes = read_pairs(tables["dyads"])
        for kind, texts in (("not used", notes), ("labels", doubtful_labels(pairs))):
            for text in texts:
                say(kind, str(tables["dyads"]), text)
    else:
        pairs = pairs_of_participants(tables["participants"], people) if people and files.is_folder else []
    return Cohort(people, tuple(pairs), tables)


def named_files(pairs: Sequence[Pair], known: Sequence[Source]) -> list[Source]:
    """The files that a dyads table names and that are not among the sources yet."""
    known_paths = {source.path.resolve() for source in known}
    sources: dict[Path, Source] = {}
    for pair in pairs:
        for path in (path for path in pair.files if path not in known_paths and path not in sources):
            try:
                sources[path] = describe_file(path)
            except InputError as error:
                raise InputError(f"{pair.where}: dyad {pair.dyad!r}: {error}") from None
    return list(sources.values())


def match(cohort: Cohort, recordings: Sequence[SourceRecording], say: Say) -> list[MatchedRow]:
    """The rows of the study: every pair in every session and task that both have.

    Raises
    ------
    InputError
        Where there is no pair, a name or file is unknown, or a pair shares no usable recording.
    """
    pairs = cohort.pairs or _pairs_within_files(recordings)
    if not pairs:
        raise InputError(_why_no_pairs(recordings))
    rows = [row for pair in pairs for row in _rows_of(pair, recordings, say)]
    _check_distinct(rows)
    rows = [
        replace(row, pair=with_roles(row.pair, cohort.people, (row.a.participant, row.b.participant))) for row in rows
    ]
    if cohort.people:
        _tell_unlisted(rows, cohort, say)
    return _with_outcomes(rows, cohort.tables["outcomes"]) if "outcomes" in cohort.tables else rows


def _tell_unlisted(rows: Sequence[MatchedRow], cohort: Cohort, say: Say) -> None:
    """Note people of whom the participants table says nothing, neither group nor role."""
    people = dict.fromkeys(x.participant for row in rows for x in (row.a, row.b))
    names = [f"{name}{suggestion(name, cohort.people)}" for name in people if not row_of(cohort.people, name)]
    if names:
        say("participants", str(cohort.tables["participants"]), f"does not list {', '.join(names)}")


def _pairs_within_files(recordings: Sequence[SourceRecording]) -> list[Pair]:
    """The pairs of files that hold two persons each."""
    by_path: dict[Path, list[SourceRecording]] = {}
    for recording in recordings:
        by_path.setdefault(recording.path, []).append(recording)
    by_path = {path: people for path, people in by_path.items() if len(people) > 1}
    for path, people in by_path.items():
        if len(people) > 2:
            names = ", ".join(person.participant for person in people)
            raise InputError(f"{path}: holds {len(people)} people ({names}); name the pairs in a dyads.tsv")
    return [
        Pair(a.dyad or path.stem, (), str(path), files=(path.resolve(),) * 2, roles=(a.role, b.role))
        for path, (a, b) in by_path.items()
    ]


def _why_no_pairs(recordings: Sequence[SourceRecording]) -> str:
    refused = [recording.refusal for recording in recordings if recording.refusal]
    if len(refused) == len(recordings):
        return refused[0]
    if len(recordings) == 1:
        return (
            f"{recordings[0].path}: holds one person; give a folder of recordings with a dyads.tsv, or a two-person "
            "file"
        )
    folder = os.path.commonpath([recording.path.parent for recording in recordings])
    return (
        f"{folder}: nothing says who was recorded with whom; add dyads.tsv "
        "(dyad, person_a, person_b) or a dyad_id column in participants.tsv"
    )


def _rows_of(pair: Pair, recordings: Sequence[SourceRecording], say: Say) -> list[MatchedRow]:
    a, b = _recordings_of_files(pair, recordings) if pair.files else _recordings_of_persons(pair, recordings)
    common = [labels for labels in a if labels in b]
    if not common:
        raise InputError(f"{pair.where}: dyad {pair.dyad!r}: {_nothing_common(pair, a, b, recordings)}")
    for labels in {**a, **b}:
        if labels not in common:
            whose = a.get(labels) or b[labels]
            say("skipped", whose.id, f"dyad {pair.dyad}: the partner has no recording of that session and task")
    usable = [labels for labels in common if _is_usable(pair, a[labels], b[labels], say)]
    if not usable:
        raise InputError(_refused(pair, a[common[0]].refusal))
    sessions = list(dict.fromkeys(session or DEFAULT_SESSION for session, _, _ in usable))
    if not isnan(pair.day) and len(sessions) > 1:
        raise InputError(
            f"{pair.where}: dyad {pair.dyad!r} has one day for sessions {', '.join(sessions)}; write one row per "
            "session"
        )
    return [_row(pair, a[labels], b[labels], labels, usable) for labels in usable]


def _is_usable(pair: Pair, a: SourceRecording, b: SourceRecording, say: Say) -> bool:
    if bool(a.refusal) != bool(b.refusal):
        raise InputError(_refused(pair, a.refusal or b.refusal))
    if a.refusal:
        say("skipped", f"{a.id} and {b.id}", a.refusal)
    return not a.refusal


def _refused(pair: Pair, refusal: str) -> str:
    return refusal if refusal.startswith(pair.where) else f"{pair.where}: dyad {pair.dyad!r}: {refusal}"


def _row(
    pair: Pair, a: SourceRecording, b: SourceRecording, labels: Labels, all_labels: Sequence[Labels]
) -> MatchedRow:
    """Runs have no column of their own: where there are several of a task, the task's name tells them apart."""
    session, task, run = labels
    if sum(other[:2] == labels[:2] for other in all_labels) > 1:
        task = f"{task}_run-{run}".strip("_")
    return MatchedRow(pair, a, b, session or DEFAULT_SESSION, task)


def _recordings_of_persons(
    pair: Pair, recordings: Sequence[SourceRecording]
) -> tuple[dict[Labels, SourceRecording], dict[Labels, SourceRecording]]:
    a, b = (_by_labels(pair, _recordings_named(name, pair, recordings)) for name in pair.persons)
    both = {recording.participant for side in (a, b) for recording in side.values()}
    if a and b and len(both) == 1:
        raise InputError(
            f"{pair.where}: dyad {pair.dyad!r}: {' and '.join(pair.persons)} are the same person; name two"
        )
    return a, b


def _recordings_named(name: str, pair: Pair, recordings: Sequence[SourceRecording]) -> list[SourceRecording]:
    """All recordings of the person of that name; own names go before those that a file gives."""
    for names_of in (_own_names, _names_in_file):
        matches = [recording for recording in recordings if name in names_of(recording)]
        people = sorted({recording.participant for recording in matches})
        if len(people) > 1:
            raise InputError(f"{pair.where}: {name} may be {' or '.join(people)}; write one of these")
        if matches:
            return matches
    known = sorted({recording.participant for recording in recordings})
    near = suggestion(name, known) or f" (there are {first_of(known)})"
    raise InputError(
        f"{pair.where}: dyad {pair.dyad!r}: there is no recording of {name!r}{near}; correct the name or add the file"
    )


def _own_names(recording: SourceRecording) -> tuple[str, ...]:
    return recording.participant, recording.participant.removeprefix("sub-")


def _names_in_file(recording: SourceRecording) -> tuple[str, ...]:
    return tuple(plain(name) for name in recording.names if name)


def _by_labels(pair: Pair, recordings: Sequence[SourceRecording]) -> dict[Labels, SourceRecording]:
    """The recordings that the pair means, by session, task and run; the pair's label fills in for a missing one."""
    target = (pair.session, pair.task, pair.run)
    by_labels: dict[Labels, SourceRecording] = {}
    for recording in recordings:
        labels = tuple(own or label for own, label in zip(recording.key[1:], target, strict=True))
        if any(label and own != label for own, label in zip(labels, target, strict=True)):
            continue
        other = by_labels.setdefault((labels[0], labels[1], labels[2]), recording)
        if other is not recording:
            raise InputError(
                f"{recording.path}: the same recording ({recording.id}) as {other.path}; "
                "keep one, give the folder of one pipeline, or name the files of each row in file_a and file_b"
            )
    return by_labels


def _nothing_common(
    pair: Pair,
    a: Mapping[Labels, SourceRecording],
    b: Mapping[Labels, SourceRecording],
    recordings: Sequence[SourceRecording],
) -> str:
    target = ", ".join(f"{k} {v}" for k, v in (("session", pair.session), ("task", pair.task), ("run", pair.run)) if v)
    every = [_recordings_named(name, pair, recordings) for name in pair.persons] if pair.persons else [[], []]
    have = [
        ", ".join(recording.id for recording in side.values() or named) or "nothing"
        for side, named in zip((a, b), every, strict=True)
    ]
    of_what = f" of {target}" if target else ""
    return f"no recording{of_what} that both have (there are {have[0]}; {have[1]}); correct the labels or add the file"


def _recordings_of_files(
    pair: Pair, recordings: Sequence[SourceRecording]
) -> tuple[dict[Labels, SourceRecording], dict[Labels, SourceRecording]]:
    people = [[recording for recording in recordings if recording.path.resolve() == path] for path in pair.files]
    if pair.files[0] == pair.files[1] and len(people[0]) == 2:
        a, b = people[0]
    elif len(people[0]) == len(people[1]) == 1 and pair.files[0] != pair.files[1]:
        a, b = people[0][0], people[1][0]
    else:
        raise InputError(
            f"{pair.where}: dyad {pair.dyad!r} needs two files of one person each, or one of two; correct it"
        )
    a, b = (
        replace(x, participant=name)
        for x, name in zip((a, b), pair.persons or (a.participant, b.participant), strict=True)
    )
    if a.participant == b.participant:
        raise InputError(f"{pair.where}: both files are of {a.participant}; add columns person_a and person_b")
    # Files that are named one by one belong together whatever their names say; the table's labels come first.
    own = a.key[1:]
    labels = (pair.session or own[0], pair.task or own[1], pair.run or own[2])
    return {labels: a}, {labels: b}


def _check_distinct(rows: Sequence[MatchedRow]) -> None:
    by_id: dict[str, tuple[SourceRecording, MatchedRow]] = {}
    seen: dict[frozenset[str], MatchedRow] = {}
    couples: dict[tuple[str, str, str], MatchedRow] = {}
    for row in rows:
        for recording in (row.a, row.b):
            other, first = by_id.setdefault(recording.id, (recording, row))
            if (other.path, other.names) != (recording.path, recording.names):
                raise InputError(f"{recording.path}: the same recording ({recording.id}) as {other.path}; keep one")
            if (first.session, first.task) != (row.session, row.task):
                raise InputError(f"{row.label}: {recording.id} already stands for another session or task; correct one")
        first = couples.setdefault((row.pair.dyad, row.session, row.task), row)
        if {first.a.participant, first.b.participant} != {row.a.participant, row.b.participant}:
            raise InputError(f"{row.label}: names another couple than {first.pair.where}; give each a name of its own")
        key = frozenset((row.a.id, row.b.id))
        if key in seen:
            raise InputError(f"{row.label}: the two recordings are paired already ({seen[key].label}); remove one row")
        seen[key] = row


def _with_outcomes(rows: Sequence[MatchedRow], path: Path) -> list[MatchedRow]:
    """The rows with the numbers of an outcomes table; a line for what is not in the study is an error."""
    result, seen = list(rows), set[str]()
    for where, target, numbers in read_outcomes(path, {row.pair.dyad for row in rows}):
        named = ", ".join(f"{name} {value!r}" for name, value in target.items())
        if named in seen:
            raise InputError(f"{where}: {named} has a line already; keep one of the two")
        seen.add(named)
        hits = [k for k, row in enumerate(result) if _is_target(row, target)]
        if not hits:
            raise InputError(
                f"{where}: dyad {target['dyad']!r} has no such session or task; correct or remove the line"
            )
        for k in hits:
            outcomes = result[k].pair.outcomes
            for name in (name for name in numbers if not isnan(outcomes.get(name, nan))):
                raise InputError(f"{where}: {name} of {result[k].label} is given already; keep one of the two")
            result[k] = replace(result[k], pair=replace(result[k].pair, outcomes={**outcomes, **numbers}))
    return result


def _is_target(row: MatchedRow, target: Mapping[str, str]) -> bool:
    labels = {"dyad": row.pair.dyad, "session": row.session, "task": row.task}
    return target.items() <= labels.items()
