"""The numbers of a pair that a null can be made for, by name, and the transform for models."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import PlanError

if TYPE_CHECKING:
    from .engine import Coherence

PHASES = ("in_phase", "a_leads", "b_leads", "anti_phase")


@dataclass(frozen=True)
class Measure:
    """A measure by its name, its words in sentences, and its unit."""

    name: str
    words: str
    unit: str = "1"


_MEASURES = {
    "coherence": "coherence",
    "phase_consistency": "phase consistency",
    "in_phase": "share of coherent in-phase cells",
    "a_leads": "share of coherent cells in which the first person leads",
    "b_leads": "share of coherent cells in which the second person leads",
    "anti_phase": "share of coherent anti-phase cells",
    "above": "share of coherent cells",
}
MEASURES = tuple(_MEASURES)


def measure_in(attrs: Mapping[Any, Any]) -> Measure:
    """The measure that a null or a result holds, by its attributes; coherence where they name none."""
    name = str(attrs.get("measure", "coherence"))
    return Measure(name, _MEASURES[name])


def needs_shares(measure: str) -> bool:
    """Whether a measure needs `Engine.coherence` with ``shares``.

    Raises
    ------
    PlanError
        If the measure is unknown.
    """
    if measure not in MEASURES:
        near = difflib.get_close_matches(str(measure), MEASURES, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(map(repr, MEASURES))}"
        raise PlanError(f"measure {measure!r} is not known: {hint}")
    return measure in (*PHASES, "above")


def measured(found: Coherence, measure: str, xp: Any = np) -> NDArray[np.float64]:
    """One number per pair x band x epoch.

    Parameters
    ----------
    found : Coherence
        From `Engine.coherence`, with ``shares`` where the measure needs them.
    measure : {"coherence", "phase_consistency", "in_phase", "a_leads", "b_leads", "anti_phase", "above"}
        Mean R2; modulus of the mean complex coherency; share of all cells that are coherent and in one class of
        phase; share of all cells that are coherent.
    xp : module
        NumPy, or CuPy where `found` was left on the GPU.

    Returns
    -------
    float64 [*a, *b, band, epoch]
        0..1; NaN where there is no mean.

    Raises
    ------
    PlanError
        If the measure is unknown.
    """
    if not needs_shares(measure):
        return found.coherence if measure == "coherence" else xp.abs(found.coherency)
    assert found.shares is not None and found.above is not None, "coherence() was called without shares"
    if measure == "above":
        return found.above
    # Of all cells: a share of none would be undefined in many draws of a null, most of all in short epochs.
    values: NDArray[np.float64] = xp.where(
        found.above > 0, found.shares[..., PHASES.index(measure)] * found.above, found.above
    )
    return values


def fisher_z(r2: ArrayLike) -> NDArray[np.float64]:
    """Artanh of the square root of R2, whose spread depends little on its mean: for models, not for reporting.

    Parameters
    ----------
    r2 : float64
        Magnitude-squared coherence, 0..1; infinity is returned for 1.
    """
    with np.errstate(divide="ignore"):
        return np.asarray(np.arctanh(np.sqrt(r2)))
