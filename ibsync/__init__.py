"""Inter-brain synchrony: wavelet transform coherence of many dyads, with null distributions.

The names below are loaded when first used, so that ``import ibsync`` is quick and needs neither GPU nor CuPy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .coupling.band_grids import frequency_bands, time_windows
    from .coupling.band_spec import Coupling
    from .coupling.engine import Engine
    from .coupling.spec import WTC, Band, PhaseShares
    from .errors import DeviceError, IbsyncError, InputError, PlanError
    from .questions.contrast import contrast
    from .questions.group_test import test, test_together
    from .questions.mixed_model import mixed_model
    from .questions.multiverse import multiverse
    from .questions.outcome import outcome, outcome_parts
    from .questions.plasticity import plasticity
    from .questions.predict_outcome import Prediction, predict_outcome
    from .questions.relations import relations
    from .questions.reliability import reliability
    from .questions.transfer import transfer
    from .recordings.pack import pack
    from .recordings.preprocess import preprocess
    from .results.calibration_result import Calibration
    from .results.figures import gallery as plot
    from .results.mne_container import to_mne_connectivity
    from .results.multiverse_result import Multiverse
    from .results.null_files import load_null, merge_nulls, save_null
    from .results.report import report
    from .results.result import Result, load
    from .simulation.calibrate import calibrate
    from .simulation.courses import Growth
    from .simulation.simulate import simulate
    from .simulation.study_model import SynchronyModel
    from .simulation.study_power import StudyPower, study_power
    from .study.live import Live
    from .study.study import Study
    from .study.wavelet_power import wavelet_power
    from .study.wtc import multiple_wtc, partial_wtc, wtc, xwt

__version__ = "0.1.0"

__all__ = [
    "WTC",
    "Band",
    "Calibration",
    "Coupling",
    "DeviceError",
    "Engine",
    "Growth",
    "IbsyncError",
    "InputError",
    "Live",
    "Multiverse",
    "PhaseShares",
    "PlanError",
    "Prediction",
    "Result",
    "Study",
    "StudyPower",
    "SynchronyModel",
    "calibrate",
    "contrast",
    "frequency_bands",
    "load",
    "load_null",
    "merge_nulls",
    "mixed_model",
    "multiple_wtc",
    "multiverse",
    "outcome",
    "outcome_parts",
    "pack",
    "partial_wtc",
    "plasticity",
    "plot",
    "predict_outcome",
    "preprocess",
    "relations",
    "reliability",
    "report",
    "save_null",
    "simulate",
    "study_power",
    "test",
    "test_together",
    "time_windows",
    "to_mne_connectivity",
    "transfer",
    "wavelet_power",
    "wtc",
    "xwt",
]

_HOME = {
    "WTC": "coupling.spec",
    "Band": "coupling.spec",
    "Calibration": "simulation.calibrate",
    "Coupling": "coupling.band_spec",
    "DeviceError": "errors",
    "Engine": "coupling.engine",
    "Growth": "simulation.courses",
    "IbsyncError": "errors",
    "InputError": "errors",
    "Live": "study.live",
    "Multiverse": "results.multiverse_result",
    "PhaseShares": "coupling.spec",
    "PlanError": "errors",
    "Prediction": "questions.predict_outcome",
    "Result": "results.result",
    "Study": "study.study",
    "StudyPower": "simulation.study_power",
    "SynchronyModel": "simulation.study_model",
    "calibrate": "simulation.calibrate",
    "contrast": "questions.contrast",
    "frequency_bands": "coupling.band_grids",
    "load": "results.result",
    "load_null": "results.null_files",
    "merge_nulls": "results.null_files",
    "mixed_model": "questions.mixed_model",
    "multiple_wtc": "study.wtc",
    "multiverse": "questions.multiverse",
    "outcome": "questions.outcome",
    "outcome_parts": "questions.outcome",
    "pack": "recordings.pack",
    "partial_wtc": "study.wtc",
    "plasticity": "questions.plasticity",
    "predict_outcome": "questions.predict_outcome",
    "preprocess": "recordings.preprocess",
    "relations": "questions.relations",
    "reliability": "questions.reliability",
    "report": "results.report",
    "save_null": "results.null_files",
    "simulate": "simulation.simulate",
    "study_power": "simulation.study_power",
    "test": "questions.group_test",
    "test_together": "questions.group_test",
    "time_windows": "coupling.band_grids",
    "to_mne_connectivity": "results.mne_container",
    "transfer": "questions.transfer",
    "wavelet_power": "study.wavelet_power",
    "wtc": "study.wtc",
    "xwt": "study.wtc",
}


def __getattr__(name: str) -> Any:
    if name == "plot":
        return import_module(".results.figures.gallery", __name__)
    if name not in _HOME:
        raise AttributeError(f"module 'ibsync' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
