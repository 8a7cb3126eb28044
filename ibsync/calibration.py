"""How often a test rejects on a study's own recordings of people who never met, and what coupling it would find.

Null data are recordings of people who never met, and therefore cannot have interacted, but who saw the same stimuli,
breathed, moved and were recorded with the same machine. What a test calls synchrony there is not interaction.

For surrogates of single dyads (``"phase"``, ``"iaaft"``, ``"shift"``, ...) a simulation is one pseudo-dyad. Where
recordings share a stimulus or bursts of power these tests reject far more often than they say, and should: they test
independence, and the recordings are not independent. Then only re-pairing tells interaction from what everybody shares.

For re-pairing a simulation is a study of people who never met. Partners are put together at random, so such a test
rejects as often as it says whoever the people are; what can be learnt is how fine its p-values are, and that nothing
is wrong with its making. That people are exchangeable it takes for granted, here as in the analysis.

For the power a shared component is put into recordings of people who never met, in the bands and in one channel pair.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .analysis import NULL_KINDS, REPAIRINGS, WITHIN, Study
from .common_causes import common_bursts, group_difference, shared_physiology
from .errors import PlanError
from .measures import needs_shares
from .nulls.inference import clopper_pearson
from .nulls.philox import split_seed
from .occasions import EpochWords, Pairs
from .sampling import MODELS
from .simulated_tests import Design, RepairedStudies, SimulatedTests, SurrogateDyads
from .spec import WTC
from .storage import JsonFile
from .surrogate_runs import FAMILY_OPTIONS

Limits = tuple[float, float]

REPAIR_DRAWS, SURROGATE_DRAWS = 999, 39
"""Draws of a simulated test that was not told how many."""
COUPLINGS = (0.2, 0.4, 0.6, 0.8)
POWER_SHARE = 4
"""Simulations of the level for each simulation of one coupling."""
WANTED_POWER = 0.8
MOST_CELLS = 20
_FEWEST_IN_CELL = 5
_SURE = 0.01
_VAGUE = 3.0
_FEW_DYADS = 6


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
    n_draws : int
        Draws m of each simulated test.
    rank_edges, rank_counts : tuple of int
        Edges [cell + 1] of the ranks b of 0..m, and simulations in each cell.
    couplings : tuple of float
        Coherency that was put into one channel pair of people who never met.
    found : tuple of int
        Simulations in which it was found, of `n_power` for each coupling.
    n_power : int
    level_unit, power_unit : str
        What was simulated, in words.
    design : str
        How, in words.
    warnings : tuple of str
        What the recordings have in common though people do not interact, in words.
    chroma : str
    bands : tuple of str
    seed : int
    """

    kind: str
    alpha: float
    n_sims: int
    false_positives: int
    attainable: float
    n_draws: int
    rank_edges: tuple[int, ...]
    rank_counts: tuple[int, ...]
    couplings: tuple[float, ...]
    found: tuple[int, ...]
    n_power: int
    level_unit: str
    power_unit: str
    design: str
    warnings: tuple[str, ...]
    chroma: str
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
        return tuple(float(n) for n in self.n_sims * np.diff(self.rank_edges) / (self.n_draws + 1))

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
        return tuple(n / self.n_power for n in self.found)

    @property
    def power_limits(self) -> tuple[Limits, ...]:
        """Clopper-Pearson limits of the power, 95 %."""
        return tuple(_limits(n, self.n_power) for n in self.found)

    @property
    def coupling_found(self) -> float:
        """Coupling found in 80 % of simulations: between two tried, or the weakest tried; NaN if none is so often."""
        rising = np.maximum.accumulate([0.0, *self.power])[1:]
        enough = np.flatnonzero(rising >= WANTED_POWER)
        if not enough.size:
            return float("nan")
        around = slice(max(int(enough[0]) - 1, 0), int(enough[0]) + 1)
        return float(np.interp(WANTED_POWER, rising[around], self.couplings[around]))

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
            *("power", "power_limits", "coupling_found", "verdict"),
        )
        derived = {name: getattr(self, name) for name in names}
        return {name: _plain(value) for name, value in {**stored, **derived}.items()}

    def __str__(self) -> str:
        title = f"Calibration of kind={self.kind!r}, {self.chroma}, bands {', '.join(self.bands)}"
        tried = zip(self.couplings, self.found, self.power, self.power_limits, strict=True)
        lines = [
            *self.sentences,
            *(f"Warning: {sentence}" for sentence in self.warnings),
            *(f"coupling {g:g}: found in {n} of {self.n_power} ({_percent(p)}, {_span(*at)})" for g, n, p, at in tried),
            self.design,
        ]
        return "\n".join([title, *(f"  {line}" for line in lines)])


def calibrate(
    study: Study,
    spec: WTC,
    *,
    kind: str = "repair",
    n_sims: int = 200,
    n_draws: int | None = None,
    couplings: Sequence[float] = COUPLINGS,
    alpha: float = 0.05,
    chroma: str = "hbo",
    pairs: Pairs = "same",
    epochs: EpochWords = None,
    within: Sequence[str] = ("session",),
    measure: str = "coherence",
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    physiology: Mapping[str, ArrayLike] | None = None,
    backend: str = "auto",
    progress: bool = False,
) -> Calibration:
    """
    False positives and power of a test on a study's own recordings.

    Parameters
    ----------
    study : Study
    spec : WTC
        With bands.
    kind : str
        As `Study.null`.
    n_sims : int
        Simulations without interaction; a quarter as many are made for each coupling.
    n_draws : int, optional
        Draws of each simulated test; by default 999 re-pairings (all, where there are fewer), or 39 surrogates.
    couplings : sequence of float
        Coherency of two people in every band, 0 to 1, put into one of the channel pairs; may be empty.
    alpha : float
        Level of the family-wise test over channel pairs, epochs and bands; upper tail.
    chroma, pairs, epochs, within, measure, seed, options, backend, progress
        As `Study.null`. Surrogates are tested over four channel pairs at most, drawn at random, and so is power.
    physiology : mapping of recording id to float [sample], optional
        Pulse, breathing or another auxiliary signal of every recording, at its rate: real partners are tested against
        re-paired ones.

    Returns
    -------
    Calibration

    Raises
    ------
    PlanError, InputError
        If a word or a number is out of its range, or the study cannot be calibrated: re-pairing takes four dyads that
        may exchange partners, surrogates two people who never met. Nothing has been computed then.
    """
    few = REPAIR_DRAWS if kind == "repair" else SURROGATE_DRAWS
    design = Design(
        spec=spec, kind=kind, n_draws=few if n_draws is None else n_draws, alpha=alpha, chroma=chroma, pairs=pairs,
        epochs=epochs, within=tuple(within), measure=measure, seed=seed, backend=backend, options=dict(options or {}),
    )  # fmt: skip
    _check(design, n_sims, couplings)
    tests: SimulatedTests
    if kind == "repair":
        RepairedStudies.check(study, design)
        tests = RepairedStudies(study, design, progress=progress)
    else:
        tests = SurrogateDyads(study, design, n_sims)
    # Before the long part, as signals may be refused here.
    warnings = tuple(_warnings(study, design, tests, physiology))
    n_power = max(1, n_sims // POWER_SHARE)
    ranks = np.array([tests.rank(k) for k in _bar(range(n_sims), "level", progress)])
    found = [
        sum(tests.finds(k, float(g)) for k in _bar(range(n_power), f"coupling {g:g}", progress)) for g in couplings
    ]
    edges, counts = _cells(ranks, tests.n_draws)
    # Not alpha (m + 1) itself, which rounding may put below the whole number that it is.
    most = int(np.floor(alpha * (tests.n_draws + 1) * (1 + 1e-12)))
    return Calibration(
        kind=kind, alpha=alpha, n_sims=n_sims, false_positives=int((ranks < most).sum()),
        attainable=most / (tests.n_draws + 1), n_draws=tests.n_draws, rank_edges=edges, rank_counts=counts,
        couplings=tuple(float(g) for g in couplings), found=tuple(found), n_power=n_power, level_unit=tests.level_unit,
        power_unit=tests.power_unit, design=tests.page,
        warnings=warnings, chroma=chroma, bands=tuple(spec.bands or {}), seed=seed,
    )  # fmt: skip


def _check(design: Design, n_sims: int, couplings: Sequence[float]) -> None:
    """Refuse words and numbers that cannot be meant."""
    if design.kind not in NULL_KINDS:
        near = difflib.get_close_matches(str(design.kind), NULL_KINDS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(map(repr, NULL_KINDS))}"
        raise PlanError(f"null kind {design.kind!r} is not known: {hint}")
    if not design.spec.bands:
        raise PlanError("calibration needs bands: name them, such as WTC(bands={'task': (0.02, 0.1)})")
    needs_shares(design.measure)
    split_seed(design.seed)
    for word in design.within:
        if word not in WITHIN:
            raise PlanError(f"within={word!r} is not known: use some of {', '.join(map(repr, WITHIN))}")
    for word in design.options:
        if word not in FAMILY_OPTIONS.get(design.kind, ()):
            raise PlanError(f"option {word!r} does not belong to kind {design.kind!r}: leave it out")
    if not 0 < design.alpha < 1:
        raise PlanError(f"alpha must lie between 0 and 1, got {design.alpha!r}")
    if n_sims < 1:
        raise PlanError(f"n_sims must be at least 1, got {n_sims!r}: 200 are usual")
    if not 1 <= design.n_draws <= REPAIRINGS:
        raise PlanError(f"n_draws must lie between 1 and {REPAIRINGS}, got {design.n_draws!r}")
    if design.alpha * (design.n_draws + 1) < 1 - 1e-12:
        raise PlanError(
            f"{design.n_draws} draws cannot give a p of {design.alpha:g}: take n_draws of at least "
            f"{int(np.ceil(1 / design.alpha * (1 - 1e-12))) - 1}"
        )
    for g in couplings:
        if not 0 < g <= 1:
            raise PlanError(f"couplings must lie above 0 and at most at 1, got {g!r}")
    if list(couplings) != sorted(set(couplings)):
        raise PlanError(f"couplings must rise, each named once, got {list(couplings)!r}")


def _cells(ranks: NDArray[np.int64], n_draws: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Edges and counts of cells of ranks: as many as the simulations fill, of one width if that leaves enough."""
    most = int(np.clip(len(ranks) // _FEWEST_IN_CELL, 1, min(MOST_CELLS, n_draws + 1)))
    even = next(n for n in range(most, 0, -1) if (n_draws + 1) % n == 0)
    n_cells = even if 2 * even >= most else most
    edges = np.round(np.linspace(0, n_draws + 1, n_cells + 1)).astype(int)
    counts = np.histogram(ranks, edges - 0.5)[0]
    return tuple(edges.tolist()), tuple(counts.tolist())


def _limits(count: int, n: int) -> Limits:
    low, high = clopper_pearson(np.array(count), n)
    return float(low), float(high)


def _plain(value: Any) -> Any:
    """What JSON can carry: lists for tuples, None for what is not a number."""
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _bar(simulations: range, what: str, progress: bool) -> Iterable[int]:
    if not progress:
        return simulations
    from tqdm.auto import tqdm

    return tqdm(simulations, desc=what, unit="simulation")


# --- words ------------------------------------------------------------------------------------------------------------


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
        return f"At its level{far}: {counted}."
    if c.state == "cautious":
        return f"Below its level: {counted}; it errs on the safe side and loses power."
    if c.state == "unattainable":
        return (
            f"Not attainable: {c.level_unit} without interaction allow no p below {1 / (c.n_draws + 1):.3g}, so that a "
            f"level of {c.alpha:g} could not be tried; what can be found is told by the power alone."
        )
    if c.kind == "repair":
        mend = "re-pairing cannot do that on people who never met: please report it"
    elif c.kind in MODELS:
        mend = "autoregressive noise is not like these recordings: use kind='repair', or 'phase' for single dyads"
    else:
        mend = (
            "the recordings share something that is not interaction (stimulus, physiology, bursts of power), and this "
            "test takes it for synchrony: use kind='repair'"
        )
    return f"NOT at its level: {counted}; {mend}."


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
        return ["What it finds of a planted coupling means little, as it finds coherence without any."]
    g = c.coupling_found
    if np.isfinite(g):
        size = f"{g:.2f}" + " or less" * (g == c.couplings[0])
        return [f"A coupling of {size} in one channel pair would have been found in 80 % of {c.power_unit}."]
    strongest = f"a coupling of {c.couplings[-1]:g} in one channel pair was found in {_percent(c.power[-1])}"
    return [f"No coupling tried would have been found in 80 % of {c.power_unit}: {strongest}."]


def _warnings(
    study: Study, design: Design, tests: SimulatedTests, physiology: Mapping[str, ArrayLike] | None
) -> Iterable[str]:
    n_dyads = len({row.dyad for row in study.dyads})
    if n_dyads < _FEW_DYADS:
        yield f"{n_dyads} dyads are few: what they do says little about others."
    yield from _burst_words(study, design)
    if isinstance(tests, RepairedStudies) and "group" not in design.within:
        p = group_difference(tests.null, {row.dyad: row.group for row in study.dyads}, design.seed)
        if p <= design.alpha:
            yield (
                "People of one group are more coherent with each other than with those of another although they never "
                f"met (p = {p:.2g}): they are not exchangeable; use within=['session', 'group']."
            )
    if physiology is not None:
        p = shared_physiology(
            study, physiology, design.spec, epochs=design.epochs, within=design.within, seed=design.seed,
            backend=design.backend,
        )  # fmt: skip
        if p <= design.alpha:
            yield (
                f"The auxiliary signals of real partners are more coherent than those of re-paired ones (p = {p:.2g}): "
                "part of what re-pairing finds may be shared physiology; regress it out before packing."
            )


def _burst_words(study: Study, design: Design) -> Iterable[str]:
    found = common_bursts(study, dict(design.spec.bands or {}), design.chroma, design.seed)
    for name, (correlation, p) in found.items():
        if p * len(found) <= _SURE:
            meaning = (
                "re-pairing allows for it"
                if design.kind == "repair"
                else "surrogates of single dyads take such bursts for synchrony; use kind='repair'"
            )
            yield (
                f"In band {name!r} the power of people who never met rises and falls together (mean correlation of "
                f"envelopes {correlation:.2f}, p = {p:.2g}): {meaning}."
            )
