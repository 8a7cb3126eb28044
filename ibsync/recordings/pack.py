"""Packs recordings and tables of dyads into one study file, and says what it did to them.

The recordings of one person are written once, however many dyads the person is in. What cannot be used as it is
raises one `InputError` before the study file appears; what is changed, marked bad or left out stands in the report.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .align import Fit, OnGap, Wish, fit_recordings
from .dyad_tables import typed_columns
from .find_files import Found, Source, find_sources
from .formats.csv_table import read_csv_recording
from .formats.fif import read_fif_recording
from .formats.mat import read_mat_recording
from .formats.snirf import read_snirf_recordings
from .formats.source_recording import Incoming
from .hdf5 import check_free_space, check_output
from .match_recordings import Cohort, MatchedRow, match, named_files, read_cohort
from .progress import with_bar
from .recording import DyadRow, Recording, check_dyads
from .study_file import write_study

_MOSTLY_MISSING = 0.5
_OTHER_READERS = {".fif": read_fif_recording, ".mat": read_mat_recording, ".csv": read_csv_recording}


@dataclass(frozen=True)
class Note:
    """One thing that was marked, changed or left out: its kind, the recording or file it is about, and why."""

    kind: str
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.where}: {self.text}"


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
        total = ", ".join(f"{n} {kind}" for kind, n in kinds.items()) or "nothing marked, changed or left out"
        return "\n".join([head, total, *map(str, self.notes)])


def pack(
    sources: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    dyads: str | Path | None = None,
    participants: str | Path | None = None,
    outcomes: str | Path | None = None,
    signal: str | Sequence[str] | None = None,
    crop: bool = False,
    resample: float | None = None,
    on_gap: OnGap = "error",
    allow_dod: bool = False,
    progress: bool = False,
) -> PackReport:
    """Pack recordings into a study file; returns what was written, changed and left out.

    Parameters
    ----------
    sources : path or sequence of paths
        A BIDS folder (with derivatives; processed recordings go before raw ones), a folder or list of recordings
        (SNIRF, MNE, MATLAB or CSV: `ibsync.recordings.formats`) with a dyads table, or a SNIRF file of two persons.
    output : path
        Study file to write; it appears whole or not at all.
    dyads, participants, outcomes : path, optional
        Tables as in `ibsync.cohort`; by default those in the folder or, within a BIDS dataset, above it.
    signal : str or sequence of str, optional
        Signals to take, such as ("hbo",); by default all that the files have.
    crop : bool
        Cut the recordings of a dyad to the time they share.
    resample : float, optional
        Rate in Hz that all recordings are brought to.
    on_gap : "error", "interpolate" or "nan"
        What to do with uneven sampling and gaps: refuse, put on an even grid with straight lines over the gaps, or
        with missing samples there. With `resample`, "error" means "interpolate".
    allow_dod : bool
        Take optical density where there is no haemoglobin.
    progress : bool
        Show a progress bar on standard error.

    Raises
    ------
    InputError
        One line that names the file, the item and the mend.
    """
    wish = Wish(crop=crop, resample=_checked_rate(resample), on_gap=on_gap)
    report = PackReport(check_output(Path(output)))
    found = find_sources(sources)
    for note in found.notes:
        report.add("not used", str(sources), note)
    tables = _tables(found, dyads=dyads, participants=participants, outcomes=outcomes)
    cohort = read_cohort(found, tables, has_own_table=dyads is not None, say=report.add)
    files = [*found.sources, *named_files(cohort.pairs, found.sources)]
    signal_names = [signal] if isinstance(signal, str) else signal
    incoming = _read_all(files, report, signal_names=signal_names, allow_dod=allow_dod)
    rows = match(cohort, incoming, report.add)
    fits = fit_recordings(rows, wish, report.add)
    _write(rows, fits, cohort, report, progress=progress)
    return report


def _checked_rate(rate: float | None) -> float | None:
    if rate is not None and not 0 < rate < float("inf"):
        raise InputError(f"resample = {rate!r} is not a rate; give a positive number of Hz")
    return None if rate is None else float(rate)


def _tables(found: Found, **given: str | Path | None) -> dict[str, Path]:
    """The tables that were given, else those that lie with the recordings."""
    tables = dict(found.tables)
    for name, path in given.items():
        if path is not None and not Path(path).is_file():
            raise InputError(f"{path}: no such {name} table; check the name")
        if path is not None:
            tables[name] = Path(path)
    return tables


def _read_all(
    sources: Sequence[Source], report: PackReport, *, signal_names: Sequence[str] | None, allow_dod: bool
) -> list[Incoming]:
    """Read the description of every recording; of several files of one recording, the processed ones."""
    by_key: dict[tuple[str, str, str, str], list[Source]] = {}
    for source in sources:
        by_key.setdefault(source.key, []).append(source)
    incoming: list[Incoming] = []
    for group in by_key.values():
        incoming += _read_processed_first(group, report, signal_names=signal_names, allow_dod=allow_dod)
    return incoming


def _read_processed_first(
    sources: Sequence[Source], report: PackReport, *, signal_names: Sequence[str] | None, allow_dod: bool
) -> list[Incoming]:
    derived = [source for source in sources if source.is_derivative]
    others = [source for source in sources if not source.is_derivative]
    found: list[Incoming] = []
    for group, left_out in ((derived, others), (others, derived)):
        found = [x for source in group for x in _read(source, signal_names=signal_names, allow_dod=allow_dod)] or found
        if any(not recording.refusal for recording in found):
            for source in left_out:
                report.add("not used", source.path.name, "another file holds the processed recording")
            break
    usable = [recording for recording in found if not recording.refusal]
    return usable or found


def _read(source: Source, *, signal_names: Sequence[str] | None, allow_dod: bool) -> list[Incoming]:
    suffix = source.path.suffix.lower()
    if suffix == ".snirf":
        return read_snirf_recordings(source, signal_names=signal_names, allow_dod=allow_dod)
    return [_OTHER_READERS[suffix](source, signal_names=signal_names)]


def _write(
    rows: Sequence[MatchedRow], fits: Mapping[str, Fit], cohort: Cohort, report: PackReport, *, progress: bool
) -> None:
    recordings = {x.id: (x, row) for row in rows for x in (row.a, row.b)}
    layouts = _common_channels([incoming for incoming, _ in recordings.values()])
    plans = {
        name: _planned(incoming, fits[name], row, layouts[incoming.signal_names])
        for name, (incoming, row) in recordings.items()
    }
    dyads = [_dyad_row(row, plans) for row in rows]
    check_dyads(dyads, str(report.output))
    check_free_space(report.output, sum(_bytes(plan) for plan in plans.values()))
    people = typed_columns(cohort.people, dict.fromkeys(incoming.participant for incoming, _ in recordings.values()))
    named = ((incoming, plans[name]) for name, (incoming, _) in recordings.items())
    shown = with_bar(named, "recordings", "recording", progress, len(plans))
    write_study(report.output, (_filled(x, plan, fits[plan.id], report) for x, plan in shown), people, dyads)
    report.recordings, report.people, report.dyads = len(plans), len(people), len(dyads)


def _common_channels(recordings: Sequence[Incoming]) -> dict[tuple[str, ...], tuple[str, ...]]:
    """One channel list for all recordings of the same kind, so that a row means the same channel everywhere."""
    names: dict[tuple[str, ...], dict[str, None]] = {}
    for recording in recordings:
        names.setdefault(recording.signal_names, {}).update(dict.fromkeys(recording.channels))
    return {signal_names: tuple(sorted(found, key=_optode_order)) for signal_names, found in names.items()}


def _optode_order(name: str) -> tuple[int, int]:
    """Source and detector; other names keep the order in which they were met."""
    match = re.fullmatch(r"S(\d+)_D(\d+)", name)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _planned(incoming: Incoming, fit: Fit, row: MatchedRow, channels: tuple[str, ...]) -> Recording:
    """What is known before the signals are read; which channels are good follows."""
    return Recording(
        id=incoming.id,
        participant=incoming.participant,
        session=row.session,
        task=row.task,
        run=incoming.source.run,
        sfreq=fit.sfreq,
        n_samples=fit.n_samples,
        t0=incoming.clock.t0 + fit.start,
        channels=channels,
        signal_names=incoming.signal_names,
        good=(True,) * len(channels),
        events=tuple(replace(event, onset=event.onset - fit.start) for event in incoming.events),
        source_file=incoming.path.name,
        units=incoming.unit,
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
    return 4 * len(recording.signal_names) * len(recording.channels) * recording.n_samples


def _filled(
    incoming: Incoming, plan: Recording, fit: Fit, report: PackReport
) -> tuple[Recording, dict[str, NDArray[np.float32]]]:
    """Read, fit and mark one recording."""
    signals = incoming.read()
    marker = (incoming.source.channels or incoming.path).name
    marked = {channel: f"marked bad in {marker}" for channel, _ in incoming.bad}
    bad = {**_missing_channels(incoming, plan), **_unusable(incoming, signals), **marked}
    good = tuple(channel not in bad for channel in plan.channels)
    _report_recording(incoming, bad, signals, report)
    if not any(good):
        reasons = ", ".join(sorted(set(bad.values())))
        raise InputError(
            f"{incoming.path}: {incoming.id}: none of its {len(good)} channels can be used ({reasons}); "
            "check the file and its channels.tsv, or leave the dyad out"
        )
    rows = [plan.channels.index(channel) for channel in incoming.channels]
    return replace(plan, good=good), {
        signal: _placed(fit.apply(x, incoming.clock), rows, plan) for signal, x in signals.items()
    }


def _placed(samples: NDArray[np.float32], rows: Sequence[int], plan: Recording) -> NDArray[np.float32]:
    placed = np.full((len(plan.channels), plan.n_samples), np.nan, np.float32)
    placed[list(rows)] = samples
    return placed


def _missing_channels(incoming: Incoming, plan: Recording) -> dict[str, str]:
    return {channel: "not in the file" for channel in plan.channels if channel not in incoming.channels}


def _unusable(incoming: Incoming, signals: Mapping[str, NDArray[np.float32]]) -> dict[str, str]:
    """Channels whose samples cannot be analysed, with the reason."""
    bad: dict[str, str] = {}
    for signal, samples in signals.items():
        samples[np.isinf(samples)] = np.nan
        present = np.isfinite(samples)
        highest = np.max(samples, axis=1, where=present, initial=-np.inf)
        lowest = np.min(samples, axis=1, where=present, initial=np.inf)
        share = present.mean(axis=1)
        for k, channel in enumerate(incoming.channels):
            if share[k] == 0:
                bad[channel] = f"no samples in {signal}"
            elif highest[k] == lowest[k]:
                bad[channel] = f"constant {signal}"
            elif share[k] < _MOSTLY_MISSING:
                bad[channel] = f"more than half of {signal} missing"
    return bad


def _report_recording(
    incoming: Incoming, bad: Mapping[str, str], signals: Mapping[str, NDArray[np.float32]], report: PackReport
) -> None:
    said = {channel: f" ({text})" for channel, text in incoming.bad if text}
    for reason in dict.fromkeys(bad.values()):
        names = ", ".join(f"{channel}{said.get(channel, '')}" for channel, r in bad.items() if r == reason)
        report.add("bad channels", incoming.id, f"{reason}: {names}")
    kept = [k for k, channel in enumerate(incoming.channels) if channel not in bad]
    for signal, samples in signals.items():
        lost = np.isnan(samples[kept]).sum(axis=1)
        if lost.any():
            names = ", ".join(f"{incoming.channels[k]} {n}" for k, n in zip(kept, lost, strict=True) if n)
            report.add("missing samples", incoming.id, f"{signal}: {names} of {samples.shape[1]}")
    for note in incoming.notes:
        report.add("not used", incoming.id, note)
    if incoming.unit.startswith("mixed"):
        report.add("units", incoming.id, f"{incoming.unit}; coherence does not depend on them")
