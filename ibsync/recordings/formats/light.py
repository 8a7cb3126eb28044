"""Raw light of any format as a recording of haemoglobin, whose samples are made when they are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..preprocess import Preprocessing, coupled, haemoglobin
from .source_recording import Signals

PREPROCESS = "pack with preprocess=True (--preprocess)"


@dataclass(frozen=True)
class LightRecording:
    """Haemoglobin that will be made of light: its channels, those that are bad with the reason, and positions in mm."""

    density: Any
    words: Preprocessing
    channels: tuple[str, ...]
    bad: Mapping[str, str]
    optodes_mm: Mapping[str, tuple[float, ...]]
    signal_names = ("hbo", "hbr")
    unit = "mol/L"

    def read(self) -> Signals:
        """HbO and HbR, float64 [channel, time]; NaN in channels without light."""
        made = haemoglobin(self.density, self.words)
        signals = {
            signal: made.get_data(picks=[f"{channel} {signal}" for channel in self.channels], verbose="error")
            for signal in self.signal_names
        }
        dark = [name in self.bad and self.bad[name].startswith("no light") for name in self.channels]
        for samples in signals.values():
            samples[dark] = np.nan
        return signals


def light_recording(raw: Any, words: Preprocessing, name: str) -> LightRecording:
    """
    What becomes of the raw light of an `mne.io.Raw`.

    Raises
    ------
    InputError
        As `preprocess`; `name` is what messages call it.
    """
    density, bad = coupled(raw, words, name)
    places = {entry["ch_name"].partition(" ")[0]: entry["loc"][3:9] for entry in density.info["chs"]}
    optodes_mm = {channel: tuple((1e3 * place).tolist()) for channel, place in places.items()}
    return LightRecording(density, words, tuple(places), bad, optodes_mm)
