"""Inter-brain synchrony: wavelet transform coherence of many dyads, with null distributions.

The names below are loaded when first used, so that ``import ibsync`` is quick and needs neither GPU nor CuPy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .analysis import Study
    from .arrays import partial_wtc, wtc
    from .calibration import Calibration, calibrate
    from .contrasts import contrast
    from .engine import Engine
    from .errors import DeviceError, IbsyncError, InputError, PlanError
    from .grids import frequency_bands, time_windows
    from .longitudinal.generalisation import transfer
    from .longitudinal.growth import plasticity
    from .longitudinal.mixed_models import mixed_model
    from .longitudinal.outcomes import outcome, outcome_parts
    from .longitudinal.predictions import Prediction, predict_outcome
    from .longitudinal.social_relations import relations
    from .multiverses import multiverse
    from .null_files import load_null, merge_nulls, save_null
    from .pictures import plot
    from .pictures.report import report
    from .power import wavelet_power
    from .recordings.pack import pack
    from .results import Result, load
    from .simulations.courses import Growth
    from .simulations.sample_size import StudyPower, study_power
    from .simulations.simulation import simulate
    from .simulations.synchrony_model import SynchronyModel
    from .spec import WTC, Band, PhaseShares
    from .specifications import Multiverse
    from .testing import test, test_together

__version__ = "0.1.0"

__all__ = [
    "WTC",
    "Band",
    "Calibration",
    "DeviceError",
    "Engine",
    "Growth",
    "IbsyncError",
    "InputError",
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
    "multiverse",
    "outcome",
    "outcome_parts",
    "pack",
    "partial_wtc",
    "plasticity",
    "plot",
    "predict_outcome",
    "relations",
    "report",
    "save_null",
    "simulate",
    "study_power",
    "test",
    "test_together",
    "time_windows",
    "transfer",
    "wavelet_power",
    "wtc",
]

_HOME = {
    "WTC": "spec",
    "Band": "spec",
    "Calibration": "calibration",
    "DeviceError": "errors",
    "Engine": "engine",
    "Growth": "simulations.courses",
    "IbsyncError": "errors",
    "InputError": "errors",
    "Multiverse": "specifications",
    "PhaseShares": "spec",
    "PlanError": "errors",
    "Prediction": "longitudinal.predictions",
    "Result": "results",
    "Study": "analysis",
    "StudyPower": "simulations.sample_size",
    "SynchronyModel": "simulations.synchrony_model",
    "calibrate": "calibration",
    "contrast": "contrasts",
    "frequency_bands": "grids",
    "load": "results",
    "load_null": "null_files",
    "merge_nulls": "null_files",
    "mixed_model": "longitudinal.mixed_models",
    "multiverse": "multiverses",
    "outcome": "longitudinal.outcomes",
    "outcome_parts": "longitudinal.outcomes",
    "pack": "recordings.pack",
    "partial_wtc": "arrays",
    "plasticity": "longitudinal.growth",
    "predict_outcome": "longitudinal.predictions",
    "relations": "longitudinal.social_relations",
    "report": "pictures.report",
    "save_null": "null_files",
    "simulate": "simulations.simulation",
    "study_power": "simulations.sample_size",
    "test": "testing",
    "test_together": "testing",
    "time_windows": "grids",
    "transfer": "longitudinal.generalisation",
    "wavelet_power": "power",
    "wtc": "arrays",
}


def __getattr__(name: str) -> Any:
    if name == "plot":
        return import_module(".pictures.plot", __name__)
    if name not in _HOME:
        raise AttributeError(f"module 'ibsync' has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
