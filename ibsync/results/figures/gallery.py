"""The pictures that `ibs.plot` offers, and nothing else."""

from .association import association
from .calibration import calibration
from .courses import session_slopes, time_course
from .group import band_summary, dyad_matrix, pair_matrix
from .links import connectogram, heads
from .maps import group_map, time_map
from .null_histograms import max_histogram, null_histogram
from .partners import partners
from .phases import lags, phase_rose
from .scalogram import wtc
from .sessions import dyad_slopes, growth, growth_map
from .specification_curve import specification_curve
from .study_power import study_power

__all__ = [
    "association",
    "band_summary",
    "calibration",
    "connectogram",
    "dyad_matrix",
    "dyad_slopes",
    "group_map",
    "growth",
    "growth_map",
    "heads",
    "lags",
    "max_histogram",
    "null_histogram",
    "pair_matrix",
    "partners",
    "phase_rose",
    "session_slopes",
    "specification_curve",
    "study_power",
    "time_course",
    "time_map",
    "wtc",
]


def __dir__() -> list[str]:
    return __all__
