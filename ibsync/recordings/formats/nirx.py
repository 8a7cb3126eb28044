"""Recordings in the folders of NIRx devices, read by MNE; a folder is known by its header, a file .hdr."""

from __future__ import annotations

import warnings

from ...errors import InputError
from ..source import Source
from .fif import recording_of, with_mne
from .source_recording import SignalChoice, SourceRecording, short


def read(source: Source, choice: SignalChoice) -> list[SourceRecording]:
    """The recording in the folder of a header; raw light comes back with its `refusal`."""
    mne = with_mne(source, "NIRx folders")
    folder = source.path.parent
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of versions that were not tried, which raise where they cannot be read
        try:
            raw = mne.io.read_raw_nirx(folder, preload=False, verbose="error")
        except Exception as error:  # MNE raises whatever a folder leads it to
            raise InputError(
                f"{folder}: MNE cannot read this NIRx folder ({short(error)}); export it as SNIRF with the device's "
                "program"
            ) from error
    return [recording_of(raw, source, choice)]
