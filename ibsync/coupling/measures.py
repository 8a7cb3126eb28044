"""The measures of coupling: one table of their names, words, ranges and formulas, which everything else reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import PlanError, require_known

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
    needs : {"coherence", "coherency", "shares", "coupling"}
        Which of the means over cells of a `WTC` it is computed from, shares only where a measure needs them; or the
        value of the `Coupling` that has its name.
    formula : function of (Coherence or Coupled, module of its arrays)
        The value of each pair x band x epoch, float64 [*a, *b, band, epoch].
    range : (float, float)
        Smallest and largest value.
    unit : str
        "1" for a pure number.
    directed : bool
        Whether it changes when the two persons change places, so that somebody must be the first.
    upward : bool
        Whether more is always stronger coupling, although an estimate may lie below 0.
    grows : bool
        Whether it is the larger the fewer samples there are, so that unlike numbers cannot be compared.
    reference : str
        Who defined it.
    """

    name: str
    words: str
    definition: str
    needs: Literal["coherence", "coherency", "shares", "coupling"]
    formula: Callable[[Any, Any], Any]
    range: tuple[float, float] = (0.0, 1.0)
    unit: str = "1"
    directed: bool = False
    upward: bool = False
    grows: bool = False
    reference: str = ""

    @property
    def signed(self) -> bool:
        """Whether both sides of 0 mean something."""
        return self.range[0] < 0 and not self.upward

    @property
    def subject(self) -> str:
        """What it is a number of, as a heading says it."""
        return self.words if self.needs == "coupling" else "wavelet transform coherence"

    @property
    def tail(self) -> Literal["greater", "two-sided"]:
        """Tail of a test against a null where none is asked for."""
        return "two-sided" if self.signed else "greater"

    def of(self, means: Any, xp: Any = np) -> NDArray[np.float64]:
        """Its values, float64 [*a, *b, band, epoch]; NaN where there is no mean.

        Parameters
        ----------
        means : Coherence or Coupled
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


_GROWING = ("plv", "ciplv", "ccorr", "coh", "pli", "wpli", "xcorr")


def _coupling(name: str, words: str, definition: str, **more: Any) -> Measure:
    """A measure of band-passed signals; `forms.FORMS` has its form."""
    return Measure(
        name, words, definition, "coupling", lambda means, _: means.value, grows=name in _GROWING, **more
    )  # fmt: skip


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
        _coupling(
            "plv", "phase-locking value", "modulus of the mean of exp(i (phase a - phase b))",
            reference="Lachaux, Rodriguez, Martinerie & Varela 1999, Hum. Brain Mapp. 8:194",
        ),
        _coupling(
            "ciplv", "corrected imaginary phase-locking value",
            "modulus of the imaginary part of that mean c, divided by the root of 1 - Re(c)^2",
            reference="Bruña, Maestú & Pereda 2018, J. Neural Eng. 15:056011",
        ),
        _coupling(
            "ppc", "pairwise phase consistency", "mean cosine of the differences of phase of two samples",
            range=(-1.0, 1.0), upward=True,
            reference="Vinck, van Wingerden, Womelsdorf, Fries & Pennartz 2010, NeuroImage 51:112",
        ),
        _coupling(
            "ccorr", "circular correlation", "modulus of the correlation of the sines of phases about their means",
            reference="Burgess 2013, Front. Hum. Neurosci. 7:881",
        ),
        _coupling(
            "accorr", "adjusted circular correlation",
            "correlation of the sines of phases about means that suit the pair", range=(-1.0, 1.0),
            reference="Zimmermann, Schultz-Nielsen, Dumas & Konvalinka 2024, Imaging Neurosci. 2:1",
        ),
        _coupling(
            "coh", "coherence of band-passed signals (modulus, not squared)",
            "modulus of the correlation of the analytic signals",
            reference="Nunez et al. 1997, Electroencephalogr. Clin. Neurophysiol. 103:499",
        ),
        _coupling(
            "imcoh", "imaginary part of the coherence of band-passed signals",
            "imaginary part of the correlation of the analytic signals", range=(-1.0, 1.0), directed=True,
            reference="Nolte et al. 2004, Clin. Neurophysiol. 115:2292",
        ),
        _coupling(
            "pli", "phase lag index", "modulus of the mean sign of the imaginary cross product",
            reference="Stam, Nolte & Daffertshofer 2007, Hum. Brain Mapp. 28:1178",
        ),
        _coupling(
            "wpli", "weighted phase lag index",
            "modulus of the sum of imaginary cross products over the sum of their moduli",
            reference="Vinck, Oostenveld, van Wingerden, Battaglia & Pennartz 2011, NeuroImage 55:1548",
        ),
        _coupling(
            "dwpli", "debiased squared weighted phase lag index",
            "squared weighted phase lag index over products of different samples only", range=(-1.0, 1.0), upward=True,
            reference="Vinck, Oostenveld, van Wingerden, Battaglia & Pennartz 2011, NeuroImage 55:1548",
        ),
        _coupling(
            "envelope", "envelope correlation", "correlation of the envelopes", range=(-1.0, 1.0),
            reference="Zamm et al. 2018, Ann. N. Y. Acad. Sci. 1423:251",
        ),
        _coupling(
            "power", "power correlation", "correlation of the squared envelopes", range=(-1.0, 1.0),
            reference="Bruns, Eckhorn, Jokeit & Ebner 2000, NeuroReport 11:1509",
        ),
        _coupling(
            "correlation", "correlation of band-passed signals", "correlation of the band-passed signals",
            range=(-1.0, 1.0),
        ),
        _coupling(
            "xcorr", "windowed cross-correlation",
            "largest over lags of the mean correlation of windows of the band-passed signals",
            range=(-1.0, 1.0), upward=True,
            reference="Boker, Xu, Rotondo & King 2002, Psychol. Methods 7:338",
        ),
    )
}  # fmt: skip

COUPLINGS = tuple(name for name, measure in MEASURES.items() if measure.needs == "coupling")
"""Measures of band-passed signals, each the kind of a `Coupling`."""


def measure_named(name: str) -> Measure:
    """The measure of a name.

    Raises
    ------
    PlanError
        If there is none; the nearest name is suggested.
    """
    require_known("measure", name, MEASURES)
    return MEASURES[name]


def require_measure(spec: Any, name: str) -> None:
    """
    Refuse a measure that a spec does not compute.

    Raises
    ------
    PlanError
        If it is unknown, or of another kind of coupling.
    """
    measure = measure_named(name)
    own = getattr(spec, "measure", name)
    if own in COUPLINGS and name != own:
        raise PlanError(f"Coupling({own!r}) has no measure {name!r}: leave measure out, or give the spec of the other")
    if own not in COUPLINGS and measure.needs == "coupling" and own != name:
        raise PlanError(f"measure {name!r} is of band-passed signals: give Coupling({name!r}, bands=...) as spec")


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
