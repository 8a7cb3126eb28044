"""The measures of coupling: one table of their names, words, ranges and formulas, which everything else reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import require_known

if TYPE_CHECKING:
    from .wavelet_coherence import Coherence

PHASES = ("in_phase", "a_leads", "b_leads", "anti_phase")


@dataclass(frozen=True)
class Measure:
    """One number of a channel pair, band and epoch that a null can be made for.

    Attributes
    ----------
    name : str
        The word that chooses it, as in ``measure="coherence"``.
    words : str
        Its name in sentences.
    definition : str
        What it is, as labels of data and the documentation say it.
    needs : {"coherence", "coherency", "shares"}
        Which of the means over cells it is computed from; shares are computed only where a measure needs them.
    formula : function of (Coherence, module of its arrays)
        The value of each pair x band x epoch, float64 [*a, *b, band, epoch].
    range : (float, float)
        Smallest and largest value.
    unit : str
        "1" for a pure number.
    directed : bool
        Whether it changes when the two persons change places, so that somebody must be the first.
    """

    name: str
    words: str
    definition: str
    needs: Literal["coherence", "coherency", "shares"]
    formula: Callable[[Coherence, Any], Any]
    range: tuple[float, float] = (0.0, 1.0)
    unit: str = "1"
    directed: bool = False

    @property
    def signed(self) -> bool:
        """Whether it lies on both sides of 0."""
        return self.range[0] < 0

    @property
    def tail(self) -> Literal["greater", "two-sided"]:
        """Tail of a test against a null where none is asked for."""
        return "two-sided" if self.signed else "greater"

    def of(self, means: Coherence, xp: Any = np) -> NDArray[np.float64]:
        """Its values, float64 [*a, *b, band, epoch]; NaN where there is no mean.

        Parameters
        ----------
        means : Coherence
            From `Engine.coherence`, with ``shares`` where the measure needs them.
        xp : module
            NumPy, or CuPy where `means` was left on the GPU.
        """
        # Rounding may carry a mean of unit vectors beyond 1.
        values: NDArray[np.float64] = xp.clip(self.formula(means, xp), *self.range)
        return values


def _share(phase: str) -> Callable[[Coherence, Any], Any]:
    """Share of all cells: one of the coherent cells would be undefined in many draws of a null."""

    def formula(means: Coherence, xp: Any) -> Any:
        assert means.shares is not None and means.above is not None, "coherence() was called without shares"
        return xp.where(means.above > 0, means.shares[..., PHASES.index(phase)] * means.above, means.above)

    return formula


def _imaginary(means: Coherence, xp: Any) -> Any:
    # NaN put into a complex array has the imaginary part 0.
    return xp.where(xp.isnan(means.coherency), np.nan, means.coherency.imag)


MEASURES: Mapping[str, Measure] = {
    measure.name: measure
    for measure in (
        Measure(
            "coherence", "coherence", "mean magnitude-squared coherence", "coherence",
            lambda means, _: means.coherence,
        ),
        Measure(
            "phase_consistency", "phase consistency", "modulus of the mean complex coherency", "coherency",
            lambda means, _: abs(means.coherency),
        ),
        Measure(
            "imaginary_coherency", "imaginary part of coherency", "imaginary part of the mean complex coherency",
            "coherency", _imaginary, range=(-1.0, 1.0), directed=True,
        ),
        Measure(
            "in_phase", "share of coherent in-phase cells", "share of the cells that are coherent and in phase",
            "shares", _share("in_phase"),
        ),
        Measure(
            "a_leads", "share of coherent cells in which the first person leads",
            "share of the cells that are coherent and in which a leads", "shares", _share("a_leads"), directed=True,
        ),
        Measure(
            "b_leads", "share of coherent cells in which the second person leads",
            "share of the cells that are coherent and in which b leads", "shares", _share("b_leads"), directed=True,
        ),
        Measure(
            "anti_phase", "share of coherent anti-phase cells",
            "share of the cells that are coherent and in anti-phase", "shares", _share("anti_phase"),
        ),
        Measure(
            "above", "share of coherent cells", "share of the cells that are coherent", "shares",
            lambda means, _: means.above,
        ),
    )
}  # fmt: skip


def measure_named(name: str) -> Measure:
    """The measure of a name.

    Raises
    ------
    PlanError
        If there is none; the nearest name is suggested.
    """
    require_known("measure", name, MEASURES)
    return MEASURES[name]


def measure_in(attrs: Mapping[Any, Any]) -> Measure:
    """The measure that a null or a result holds, by its attributes; coherence where they name none.

    Raises
    ------
    PlanError
        If they name one that is not known.
    """
    return measure_named(str(attrs.get("measure", "coherence")))


def fisher_z(r2: ArrayLike) -> NDArray[np.float64]:
    """Artanh of the square root of R2, whose spread depends little on its mean: for models, not for reporting.

    Parameters
    ----------
    r2 : float64
        Magnitude-squared coherence, 0..1; infinity is returned for 1.
    """
    with np.errstate(divide="ignore"):
        return np.asarray(np.arctanh(np.sqrt(r2)))
