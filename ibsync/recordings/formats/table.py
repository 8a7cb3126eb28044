"""Formats of recordings: a new one is a file in this folder with a function `read`, and a line below."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ..source import Source
    from .source_recording import SignalChoice, SourceRecording


class Format(NamedTuple):
    """A format by name, the file here that reads it, and its rank: of a folder only the lowest present is packed."""

    name: str
    module: str
    rank: int


FORMATS = {
    ".snirf": Format("SNIRF", "snirf", 1),
    ".fif": Format("MNE", "fif", 1),
    ".nirs": Format("Homer", "nirs", 2),
    ".hdr": Format("NIRx", "nirx", 2),
    ".mat": Format("MATLAB", "mat", 3),
    ".csv": Format("CSV", "csv_table", 4),
}
FORMAT_NAMES = ", ".join(entry.name for entry in FORMATS.values())
ENDINGS = ", ".join(FORMATS)


def read_recordings(source: Source, choice: SignalChoice) -> list[SourceRecording]:
    """Every person's recording in a file, by the reader of its ending; what cannot be used has its `refusal`."""
    if not source.path.exists():
        from .source_recording import refused_recording

        return [
            refused_recording(
                source, f"{source.path}: is a link to a file that is not here; fetch it (git annex get, datalad get)"
            )
        ]
    module = import_module(f".{FORMATS[source.path.suffix.lower()].module}", __package__)
    recordings: list[SourceRecording] = module.read(source, choice)
    return recordings
