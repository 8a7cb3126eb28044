"""What a test does on a study's own recordings of people who never met: rates, ranks, power, and what they mean."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ..inference.p_values import clopper_pearson
from ..nulls.surrogate_signals import MODELS
from ..recordings.output_kinds import MARK, JsonFile

Limits = tuple[float, float]
TARGET_POWER = 0.8
_SURE = 0.01
_VAGUE = 3.0


@dataclass(frozen=True)
class Calibration(JsonFile):
    """
    What a test does on a study's own recordings.

    Attributes
    ----------
    kind : str
        Family of the null, as in `Study.null`.
    alpha : float
        Level at which the test claims to reject people who do not interact.
    n_sims, false_positives : int
        Simulations without interaction, and those that were called coherent.
    attainable : float
        Level that p-values of so many draws can have, alpha at most.
    n : int
        Draws m of each simulated test.
    rank_edges, rank_counts : tuple of int
        Edges [cell + 1] of the ranks b of 0..m, and simulations in each cell.
    couplings : tuple of float
        Coherency that was put into one channel pair of people who never met.
    detections : tuple of int
        Simulations in which it was found, of `n_power` for each coupling.
    n_power : int
    level_unit, power_unit : str
        What was simulated, in words.
    design : str
        How, in words.
    warnings : tuple of str
        What the recordings have in common though people do not interact, in words.
    signal : str
    bands : tuple of str
    seed : int

    Examples
    --------
    >>> print(calibrate(study, spec, n_sims=10))
    """

    json_name = "calibration"

    kind: str
    alpha: float
    n_sims: int
    false_positives: int
    attainable: float
    n: int
    rank_edges: tuple[int, ...]
    rank_counts: tuple[int, ...]
    couplings: tuple[float, ...]
    detections: tuple[int, ...]
    n_power: int
    level_unit: str
    power_unit: str
    design: str
    warnings: tuple[str, ...]
    signal: str
    bands: tuple[str, ...]
    seed: int

    @property
    def rate(self) -> float:
        """Share of simulations without interaction that were called coherent."""
        return self.false_positives / self.n_sims

    @property
    def limits(self) -> Limits:
        """Clopper-Pearson limits of the rate, 95 %."""
        return _limits(self.false_positives, self.n_sims)

    @property
    def state(self) -> str:
        """One word: "level", "liberal", "cautious", or "unattainable" where no p can be as small as alpha."""
        if not self.attainable:
            return "unattainable"
        low, high = self.limits
        if low > self.alpha:
            return "liberal"
        return "cautious" if high < self.attainable else "level"

    @property
    def expected_counts(self) -> tuple[float, ...]:
        """Simulations to be expected in each cell of ranks, if all ranks are equally likely."""
        return tuple(float(n) for n in self.n_sims * np.diff(self.rank_edges) / (self.n + 1))

    @property
    def rank_p(self) -> float:
        """P of the chi-square test that all ranks are equally likely; NaN where there are too few simulations."""
        from scipy.special import chdtrc

        if len(self.rank_counts) < 2:
            return float("nan")
        expected = np.array(self.expected_counts)
        return float(chdtrc(len(expected) - 1, ((np.array(self.rank_counts) - expected) ** 2 / expected).sum()))

    @property
    def power(self) -> tuple[float, ...]:
        """Share of simulations in which each coupling was found."""
        return tuple(n / self.n_power for n in self.detections)

    @property
    def power_limits(self) -> tuple[Limits, ...]:
        """Clopper-Pearson limits of the power, 95 %."""
        return tuple(_limits(n, self.n_power) for n in self.detections)

    @property
    def detectable_coupling(self) -> float:
        """Coupling found in 80 % of simulations: between two tried, or the weakest tried; NaN if none is so often."""
        rising = np.maximum.accumulate([0.0, *self.power])[1:]
        enough = np.flatnonzero(rising >= TARGET_POWER)
        if not enough.size:
            return float("nan")
        around = slice(max(int(enough[0]) - 1, 0), int(enough[0]) + 1)
        return float(np.interp(TARGET_POWER, rising[around], self.couplings[around]))

    @property
    def sentences(self) -> tuple[str, ...]:
        """What came out, what it means and what to do: the level first, without the warnings."""
        return (_level_words(self), *_rank_words(self), *_power_words(self))

    @property
    def verdict(self) -> str:
        """`sentences` and `warnings` in one paragraph."""
        return " ".join([*self.sentences, *self.warnings])

    def to_dict(self) -> dict[str, Any]:
        """Everything, as a dictionary that JSON can carry."""
        stored = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        names = (
            *("rate", "limits", "state", "expected_counts", "rank_p"),
            *("power", "power_limits", "detectable_coupling", "verdict"),
        )
        derived = {name: getattr(self, name) for name in names}
        return {MARK: self.json_name} | {name: _plain(value) for name, value in {**stored, **derived}.items()}

    def __str__(self) -> str:
        title = f"Calibration of kind={self.kind!r}, {self.signal}, bands {', '.join(self.bands)}"
        tried = zip(self.couplings, self.detections, self.power, self.power_limits, strict=True)
        lines = [
            *self.sentences,
            *(f"Warning: {sentence}" for sentence in self.warnings),
            *(f"coupling {g:g}: found in {n} of {self.n_power} ({_percent(p)}, {_span(*at)})" for g, n, p, at in tried),
            self.design,
        ]
        return "\n".join([title, *(f"  {line}" for line in lines)])


def _limits(count: int, n: int) -> Limits:
    low, high = clopper_pearson(np.array(count), n)
    return float(low), float(high)


def _plain(value: Any) -> Any:
    """What JSON can carry: lists for tuples, None for what is not a number."""
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _span(low: float, high: float) -> str:
    return f"95 % limits {100 * low:.1f}-{100 * high:.1f} %"


def _level_words(c: Calibration) -> str:
    counted = (
        f"{c.false_positives} of {c.n_sims} simulated {c.level_unit} without interaction were called coherent "
        f"({_percent(c.rate)}, {_span(*c.limits)}) at a nominal {_percent(c.alpha)}"
    )
    if c.state == "level":
        far = " as far as so few simulations can tell" * (c.limits[1] > _VAGUE * c.alpha)
        return f"False-positive rate as stated{far}: {counted}."
    if c.state == "cautious":
        return f"False-positive rate low: {counted}; the test is safe and loses power."
    if c.state == "unattainable":
        return (
            f"Not attainable: {c.level_unit} without interaction allow no p below {1 / (c.n + 1):.3g}, so that a "
            f"level of {c.alpha:g} could not be tried; what can be found is told by the power alone."
        )
    if c.kind == "repair":
        fix = "re-pairing cannot do that on people who never met: please report it"
    elif c.kind in MODELS:
        fix = "autoregressive noise is not like these recordings: use kind='repair', or 'phase' for single dyads"
    else:
        fix = (
            "the recordings share something that is not interaction (stimulus, physiology, bursts of power), and this "
            "test takes it for synchrony: use kind='repair'"
        )
    return f"False-positive rate TOO HIGH: {counted}; {fix}."


def _rank_words(c: Calibration) -> list[str]:
    if c.state == "unattainable" or not c.rank_p < _SURE:
        return []
    low = sum(c.rank_counts[: (len(c.rank_counts) + 1) // 2]) > c.n_sims / 2
    which = "smaller than they should be: do not trust small ones" if low else "larger than they should be"
    return [f"Without interaction its p-values are {which} (chi-square p = {c.rank_p:.2g})."]


def _power_words(c: Calibration) -> list[str]:
    if not c.couplings:
        return []
    if c.state == "liberal":
        return ["What it finds of a simulated coupling means little, as it finds coherence without any."]
    g = c.detectable_coupling
    if np.isfinite(g):
        size = f"{g:.2f}" + " or less" * (g == c.couplings[0])
        return [f"A coupling of {size} in one channel pair would have been found in 80 % of {c.power_unit}."]
    strongest = f"a coupling of {c.couplings[-1]:g} in one channel pair was found in {_percent(c.power[-1])}"
    return [f"No coupling tried would have been found in 80 % of {c.power_unit}: {strongest}."]
