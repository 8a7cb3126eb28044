"""Packs recordings and tables of dyads into one study file, and says what it did to them.

The recordings of one person are written once, however many dyads the person is in. What cannot be used as it is
raises one `InputError` before the study file appears; what is changed, marked bad or left out stands in the report.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from os import PathLike
from os.path import isfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .align import Fit, OnGap, Wish, fit_recordings
from .dyad_tables import given_pairs, typed_columns
from .find_files import SourceFiles, find_sources
from .formats.reader_process import ReaderProcess
from .formats.source_recording import SignalChoice, Signals, SourceRecording
from .hdf5_writing import check_free_space
from .match_recordings import Cohort, MatchedRow, match, named_files, read_cohort
from .names import as_path
from .objects import Held, recording_of, sources_of
from .output_kinds import STUDY
from .preprocess import Preprocessing
from .progress import with_bar
from .quality import Copies, usable_signals
from .recording import AUXILIARY, DyadRow, Recording, check_dyads
from .source import Source
from .study_file import write_study
from .whole_files import Output

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Note:
    """One thing that was marked, changed or left out: its kind, the recording or file it is about, and why."""

    kind: str
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.where}: {self.text}"


_NAMED = 3
"""Recordings that a line names where more have the same note."""


@dataclass
class PackReport:
    """What `pack` wrote, and everything it marked, changed or left out."""

    output: Path
    recordings: int = 0
    people: int = 0
    dyads: int = 0
    notes: list[Note] = field(default_factory=list)

    def add(self, kind: str, where: str, text: str) -> None:
        """Take down one note."""
        self.notes.append(Note(kind, where, text))

    def describe(self) -> dict[str, Any]:
        """The report as a dictionary that JSON can carry."""
        counts = {"recordings": self.recordings, "people": self.people, "dyads": self.dyads}
        return {"output": str(self.output), **counts, "notes": [vars(note) for note in self.notes]}

    def __str__(self) -> str:
        kinds = Counter(note.kind for note in self.notes)
        head = f"{self.output.name}: {self.recordings} recordings of {self.people} people in {self.dyads} dyad rows"
        notes = ", ".join(f"{kind} ({n})" for kind, n in kinds.items())
        total = f"notes: {notes}" if notes else "nothing marked, changed or left out"
        return "\n".join([head, total, *self._lines()])

    def _lines(self) -> Iterator[str]:
        """The notes, those that say the same of several recordings in one line."""
        of_text: dict[tuple[str, str], list[str]] = {}
        for note in self.notes:
            of_text.setdefault((note.kind, note.text), []).append(note.where)
        for (kind, text), places in of_text.items():
            more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED + 1 else ""
            yield str(Note(kind, ", ".join(places[: _NAMED if more else None]) + more, text))


def pack(
    sources: str | Path | Sequence[Any] | Mapping[Any, Any],
    output: str | Path,
    *,
    dyads: str | Path | Sequence[Any] | pd.DataFrame | None = None,
    participants: str | Path | None = None,
    outcomes: str | Path | None = None,
    signal: str | Sequence[str] | Mapping[str, str] | None = None,
    sfreq: float | None = None,
    crop: bool = False,
    resample: float | None = None,
    on_gap: OnGap = "error",
    allow_dod: bool = False,
    preprocess: bool | Mapping[str, Any] | Preprocessing = False,
    overwrite: bool = False,
    progress: bool = False,
) -> PackReport:
    """Pack recordings into a study file; returns what was written, changed and left out.

    Parameters
    ----------
    sources : path, sequence of paths, or recordings that are at hand
        A BIDS folder (with derivatives; processed recordings go before raw ones), a folder or list of recordings
        (SNIRF, MNE, MATLAB or CSV: `ibsync.recordings.formats`) with a dyads table, or a SNIRF file of two persons.
        Or ``{"p1": x1, "p2": x2}``, by person, (person, session) or (person, session, task): arrays [channel, sample],
        xarray.DataArray, pandas.DataFrame or `mne.io.Raw`; a list will do for recordings of MNE that name their
        subjects.
    output : path
        Study file to write; it appears whole or not at all, and replaces an older study.
    dyads, participants, outcomes : path, optional
        Tables as `ibsync.recordings.dyad_tables` describes; by default those in the folder or, within a BIDS dataset,
        above it. For recordings that are at hand `dyads` may be rows as well, ``[("d1", "p1", "p2")]`` or a
        pandas.DataFrame, and two people are one dyad without.
    signal : str, sequence of str, or mapping, optional
        Signals to take, such as ("hbo",); by default all that the files have. Of arrays: which signal they are. A
        mapping says what MATLAB files or tables call them, ``{"hbo": "oxyData"}``, as "hbo=oxyData" does.
    sfreq : float, optional
        Rate in Hz of arrays, MATLAB files and tables that do not say it.
    crop : bool
        Cut the recordings of a dyad to the time they share.
    resample : float, optional
        Rate in Hz that all recordings are brought to.
    on_gap : "error", "interpolate" or "nan"
        What to do with uneven sampling and gaps: refuse, put on an even grid with straight lines over the gaps, or
        with missing samples there. With `resample`, "error" means "interpolate".
    allow_dod : bool
        Take optical density where there is no haemoglobin.
    preprocess : bool or mapping
        Make haemoglobin of raw light, by MNE's steps: True, or words of `Preprocessing` such as ``{"min_sci": 0.5}``.
        The study file and every methods paragraph name them.
    overwrite : bool
        Replace a file that is no study; never a recording or a table of `sources`.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    PackReport
        What was written, and every note on it.

    Raises
    ------
    InputError
        One line that names the file, the item and the fix.

    Examples
    --------
    >>> print(pack("my_bids_folder/", "packed.h5"))
    """
    if on_gap not in get_args(OnGap):
        raise InputError(f"on_gap={on_gap!r} is unknown; valid are {', '.join(map(repr, get_args(OnGap)))}")
    wish = Wish(crop=crop, resample=_checked_rate(resample, "resample"), on_gap=on_gap)
    words = Preprocessing.asked(preprocess)
    preprocessing = {} if words is None else words.to_dict()
    choice = SignalChoice.asked(signal, allow_dod=allow_dod, preprocess=words, sfreq=sfreq)
    tables_given = {
        name: as_path(path) for name, path in (("participants", participants), ("outcomes", outcomes)) if path
    }
    if (objects := sources_of(sources)) is not None:
        target = Output(as_path(output), STUDY, tuple(tables_given.values()), overwrite)
        report = PackReport(target.check())
        recordings = [recording_of(x, source, sfreq=sfreq, choice=choice) for source, x in objects.items()]
        cohort = _given_cohort(recordings, dyads, tables_given, report)
        _fit_and_write(target, cohort, recordings, wish, Held(), report, preprocessing, progress=progress)
        return report
    if dyads is not None:
        tables_given["dyads"] = as_path(dyads)
    folders = sources if isinstance(sources, Sequence) and not isinstance(sources, str) else [sources]
    target = Output(as_path(output), STUDY, (*map(as_path, folders), *tables_given.values()), overwrite)
    report = PackReport(target.check())
    files = find_sources(cast("str | Path | Sequence[str | Path]", sources))
    for note in files.notes:
        report.add("not used", str(sources), note)
    tables = _tables(files, tables_given)
    cohort = read_cohort(files, tables, has_own_table=dyads is not None, say=report.add)
    saying = [source.path.name for source in files.sources if source.path.suffix.lower() not in (".mat", ".csv")]
    if _checked_rate(sfreq, "sfreq") is not None and saying:
        raise InputError(f"{saying[0]} says its rate: leave out sfreq (resample= brings it to another)")
    everything = [*files.sources, *named_files(cohort.pairs, files.sources)]
    read = [*(source.path for source in everything), *tables.values()]
    target = replace(target, inputs=(*target.inputs, *read))
    target.require_replaceable()
    with ReaderProcess(choice) as reader:
        recordings = _read_all(everything, reader, report)
        _fit_and_write(target, cohort, recordings, wish, reader, report, preprocessing, progress=progress)
    return report


def _given_cohort(
    recordings: Sequence[SourceRecording], dyads: Any, tables: Mapping[str, Path], report: PackReport
) -> Cohort:
    """Who is who, and who was recorded with whom, of recordings that are at hand."""
    nowhere = SourceFiles((), {}, is_folder=False)
    if isinstance(dyads, str | PathLike):
        tables = _tables(nowhere, {**tables, "dyads": Path(dyads)})
        return read_cohort(nowhere, tables, has_own_table=True, say=report.add)
    people = list(dict.fromkeys(recording.participant for recording in recordings))
    if dyads is None and len(people) != 2:
        raise InputError(f"{len(people)} people: say who is with whom, dyads=[('d1', {people[0]!r}, ...), ...]")
    pairs = given_pairs([("dyad", *people)] if dyads is None else dyads)
    return replace(
        read_cohort(nowhere, _tables(nowhere, tables), has_own_table=False, say=report.add), pairs=tuple(pairs)
    )


def _fit_and_write(
    target: Output,
    cohort: Cohort,
    recordings: Sequence[SourceRecording],
    wish: Wish,
    reader: ReaderProcess | Held,
    report: PackReport,
    preprocessing: Mapping[str, Any],
    *,
    progress: bool,
) -> None:
    rows = match(cohort, recordings, report.add)
    used = {recording.id for row in rows for recording in (row.a, row.b)}
    for recording in recordings:
        if recording.id not in used:
            report.add("not used", recording.path.name, f"no dyad row takes {recording.id}")
    fits = fit_recordings(rows, wish, report.add)
    _write(target, rows, fits, cohort, reader, report, preprocessing, progress=progress)


def _checked_rate(rate: float | None, name: str) -> float | None:
    if rate is not None and (not isinstance(rate, Real) or not 0 < rate < float("inf")):
        raise InputError(f"{name} = {rate!r} is not a rate; give a positive number of Hz")
    return None if rate is None else float(rate)


def _tables(files: SourceFiles, given: Mapping[str, Path]) -> dict[str, Path]:
    """The tables by path, else those that lie with the recordings."""
    for name, path in given.items():
        if not isfile(path):
            raise InputError(f"{path}: no such {name} table; check the name")
    return {**files.tables, **given}


def _read_all(sources: Sequence[Source], reader: ReaderProcess, report: PackReport) -> list[SourceRecording]:
    """The description of every recording; of several files of one recording, the processed ones."""
    by_key: dict[tuple[str, str, str, str], list[Source]] = {}
    for source in sources:
        by_key.setdefault(source.key, []).append(source)
    return [recording for group in by_key.values() for recording in _read_processed_first(group, reader, report)]


def _read_processed_first(
    sources: Sequence[Source], reader: ReaderProcess, report: PackReport
) -> list[SourceRecording]:
    derived = [source for source in sources if source.is_derivative]
    others = [source for source in sources if not source.is_derivative]
    recordings: list[SourceRecording] = []
    for group, rest in ((derived, others), (others, derived)):
        recordings = [recording for source in group for recording in reader.describe(source)] or recordings
        usable = [recording for recording in recordings if not recording.refusal]
        if usable:
            for source in rest:
                report.add("not used", source.path.name, f"{usable[0].path.name} holds this recording, processed")
            return usable
    return recordings


def _write(
    target: Output,
    rows: Sequence[MatchedRow],
    fits: Mapping[str, Fit],
    cohort: Cohort,
    reader: ReaderProcess | Held,
    report: PackReport,
    preprocessing: Mapping[str, Any],
    *,
    progress: bool,
) -> None:
    originals = {x.id: (x, row) for row in rows for x in (row.a, row.b)}
    channels = _common_channels([original for original, _ in originals.values()])
    plans = {
        name: _planned(original, fits[name], row, channels[original.signal_names])
        for name, (original, row) in originals.items()
    }
    dyads = [_dyad_row(row, plans) for row in rows]
    check_dyads(dyads, str(report.output))
    for dyad in dyads:
        if apart := dyad.marks_apart():
            report.add("marks", dyad.label, f"{apart}; epochs by label take those of {dyad.recording_a.id}")
    check_free_space(report.output, sum(_bytes(plan) for plan in plans.values()))
    people = typed_columns(cohort.people, dict.fromkeys(plan.participant for plan in plans.values()))
    copies = Copies(report.add, {frozenset((dyad.recording_a.id, dyad.recording_b.id)) for dyad in dyads})
    signals = reader.signals_of(originals[name][0] for name in plans)
    read = with_bar(zip(plans.items(), signals, strict=True), "recordings", "recording", progress, len(plans))
    recordings = (_filled(originals[name][0], x, plan, fits[name], copies, report) for (name, plan), x in read)
    used = any(original.found_bad is not None for original, _ in originals.values())
    write_study(target, recordings, people, dyads, preprocessing=preprocessing if used else {})
    report.recordings, report.people, report.dyads = len(plans), len(people), len(dyads)


def _common_channels(originals: Sequence[SourceRecording]) -> dict[tuple[str, ...], tuple[str, ...]]:
    """One channel list for all recordings of the same kind, so that a row means the same channel everywhere."""
    names: dict[tuple[str, ...], dict[str, None]] = {}
    for original in originals:
        names.setdefault(original.signal_names, {}).update(dict.fromkeys(original.channels))
    return {signal_names: tuple(sorted(channels, key=_optode_order)) for signal_names, channels in names.items()}


def _optode_order(name: str) -> tuple[int, int]:
    """Source and detector; other names keep the order in which they were met."""
    match = re.fullmatch(r"S(\d+)_D(\d+)", name)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _planned(original: SourceRecording, fit: Fit, row: MatchedRow, channels: tuple[str, ...]) -> Recording:
    """What is known before the signals are read; which channels are good follows."""
    return Recording(
        id=original.id,
        participant=original.participant,
        session=row.session,
        task=row.task,
        run=original.source.run,
        sfreq=fit.sfreq,
        n_samples=fit.n_samples,
        t0=original.clock.t0 + fit.start,
        channels=channels,
        signal_names=original.signal_names,
        good=(True,) * len(channels),
        events=fit.moved(original.events),
        source_file=original.path.name,
        units=original.unit,
        short=tuple(name in original.short for name in channels) if original.short else (),
        optodes_mm=tuple(original.optodes_mm.get(name, (np.nan,) * 6) for name in channels)
        if original.optodes_mm
        else (),
        auxiliary=tuple(original.auxiliary),
        trial_samples=fit.trial_samples,
    )


def _dyad_row(row: MatchedRow, plans: Mapping[str, Recording]) -> DyadRow:
    return DyadRow(
        dyad=row.pair.dyad,
        session=row.session,
        task=row.task,
        recording_a=plans[row.a.id],
        recording_b=plans[row.b.id],
        person_a=row.a.participant,
        person_b=row.b.participant,
        role_a=row.pair.roles[0],
        role_b=row.pair.roles[1],
        group=row.pair.group,
        use=row.pair.use,
        outcomes=row.pair.outcomes,
        day=row.pair.day,
    )


def _bytes(recording: Recording) -> int:
    n_rows = len(recording.signal_names) * len(recording.channels) + len(recording.auxiliary)
    return 4 * n_rows * recording.n_samples


def _filled(
    original: SourceRecording, signals: Signals, plan: Recording, fit: Fit, copies: Copies, report: PackReport
) -> tuple[Recording, dict[str, NDArray[np.float32]]]:
    """Fit and mark one recording."""
    beside = [
        fit.apply_beside(signals.pop(name).astype(np.float32), own, original.clock)
        for name, own in original.auxiliary.items()
    ]
    usable, bad = usable_signals(original, signals, plan.channels, report.add)
    good = tuple(channel not in bad for channel in plan.channels)
    if not any(good):
        reasons = ", ".join(sorted(set(bad.values())))
        raise InputError(
            f"{original.path}: {original.id}: none of its {len(good)} channels can be used ({reasons}); "
            "check the file and its channels.tsv, or leave the dyad out"
        )
    copies.look_at(original.id, original.channels, bad, usable)
    rows = [plan.channels.index(channel) for channel in original.channels]
    samples = {signal: np.full((len(good), plan.n_samples), np.nan, np.float32) for signal in usable}
    for signal, x in usable.items():
        samples[signal][rows] = fit.apply(x, original.clock)
    if beside:
        samples[AUXILIARY] = np.concatenate(beside)
    return replace(plan, good=good), samples
