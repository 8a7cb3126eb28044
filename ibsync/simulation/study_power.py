"""How many dyads and sessions a longitudinal study needs: the share of simulated studies in which its test finds it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError, require_known
from ..inference.p_values import clopper_pearson
from ..inference.partial_correlation import LEAST_UNITS as LEAST_OF_OUTCOME
from ..inference.partial_correlation import FreedmanLane
from ..inference.permutation_test import permutation_test
from ..inference.settings import TestSettings
from ..inference.signflip import sign_flip_test
from ..inference.slopes import Lines
from ..nulls.draws import D, Draws
from ..nulls.random_streams import STREAM_VERSION
from ..nulls.relabelling import LEAST_UNITS, Permutations, Signs
from ..nulls.tails import Tail, n_sides
from ..recordings.journal import Journal, opened
from ..recordings.output_kinds import MARK, JsonFile
from ..results.calibration_result import TARGET_POWER
from ..results.result import provenance
from ..study.runner import People, Worker, run_jobs
from .checks import is_whole, whole
from .courses import TIES
from .study_model import Drawn, SynchronyModel, therapist_labels

Floats = NDArray[np.float64]
Limits = tuple[float, float]
TestName = Literal["plasticity", "outcome"]
Level = Literal["mean", "slope", "within"]

_LEVELS: Mapping[str, Level] = dict(zip(TIES, ("mean", "slope", "within"), strict=True))
"""How an outcome is tested that is tied to so much of a dyad."""
STUDIES_OF_JOB = 25
_SHARE = 5
"""One study in so many is simulated of each resampled pilot."""


@dataclass(frozen=True)
class StudyPower(JsonFile):
    """How often the test of a longitudinal study finds what was simulated, by dyads and sessions.

    Attributes
    ----------
    test : str
        "plasticity" or "outcome".
    level : str
        For "outcome", what is related: "mean", "slope" or "within"; else empty.
    tail : str
    alpha : float
        Level of the test, family-wise over the channel pairs of the model.
    dyads, sessions : tuple of int
        Sizes that were tried.
    detections : tuple of tuple of int
        Studies, by dyads and sessions, in which it was found, of `n_sims` each.
    n_sims : int
    target_power : float
        Power that is asked for.
    model : SynchronyModel
        What was simulated.
    n, seed : int
        Permutations of each test, and what everything random follows from.
    resampled : tuple of tuple of tuple of float
        Power, by dyads, sessions and pilot, of models of resampled pilots; empty without them.

    Examples
    --------
    >>> model = SynchronyModel(growth=Growth(mean=0.01, sd=0.01), noise_sd=0.04)
    >>> print(study_power(model, [8, 12], [4], n_sims=20, n=99))
    """

    json_name = "power"

    test: str
    level: str
    tail: Tail
    alpha: float
    dyads: tuple[int, ...]
    sessions: tuple[int, ...]
    detections: tuple[tuple[int, ...], ...]
    n_sims: int
    target_power: float
    model: SynchronyModel = field(repr=False)
    n: int
    seed: int
    resampled: tuple[tuple[tuple[float, ...], ...], ...] = ()

    @property
    def pilot_limits(self) -> tuple[Floats, Floats] | None:
        """5th and 95th percentile of the power over resampled pilots, float64 [dyads, sessions] each; None without."""
        if not self.resampled:
            return None
        low, high = np.quantile(np.array(self.resampled), [0.05, 0.95], axis=2)
        return low, high

    @property
    def power(self) -> Floats:
        """Share of studies in which it was found, float64 [dyads, sessions]."""
        return np.array(self.detections) / self.n_sims

    @property
    def limits(self) -> tuple[Floats, Floats]:
        """Clopper-Pearson limits of the power, 95 %: float64 [dyads, sessions] each."""
        return clopper_pearson(np.array(self.detections), self.n_sims)

    @property
    def enough(self) -> dict[int, int | None]:
        """By number of sessions the fewest dyads tried that reach the target power; None if no number does."""
        reached = self.power >= self.target_power
        return {
            sessions: next((n for n, is_enough in zip(self.dyads, column, strict=True) if is_enough), None)
            for sessions, column in zip(self.sessions, reached.T, strict=True)
        }

    @property
    def sentences(self) -> tuple[str, ...]:
        """What is needed, by number of sessions; and what no number of simulations can fix."""
        return (*(self._enough_words(sessions) for sessions in self.sessions), *self._unattainable_words())

    def _enough_words(self, sessions: int) -> str:
        column, n_dyads = self.sessions.index(sessions), self.enough[sessions]
        row = len(self.dyads) - 1 if n_dyads is None else self.dyads.index(n_dyads)
        low, high = (float(limit[row, column]) for limit in self.limits)
        share = f"{_percent(self.power[row, column])} (95 % limits {_percent(low)} to {_percent(high)}"
        if self.pilot_limits:
            least, most = (float(limit[row, column]) for limit in self.pilot_limits)
            share += f"; by the pilot {_percent(least)} to {_percent(most)}"
        share += ")"
        many = f"{sessions} session{'s' * (sessions > 1)}"
        if n_dyads is None:
            reached = f"{self.dyads[row]} reach {share}"
            return f"{many}: no number of dyads tried reaches {_percent(self.target_power)}; {reached}."
        fewest = " or fewer" * (row == 0)
        return f"{many}: {n_dyads} dyads{fewest} reach {_percent(self.target_power)}: found in {share}."

    def _unattainable_words(self) -> list[str]:
        if self.test != "plasticity":
            return []
        least = {n: _least_p(n, self) for n in self.dyads}
        shared = f" of {self.model.therapists} therapists" * (self.model.therapists > 0)
        return [
            f"{n} dyads{shared} allow no p below {p:.3g}, so that at alpha {self.alpha:g} nothing can be found."
            for n, p in least.items()
            if p > self.alpha * (1 + 1e-12)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Everything, as a dictionary that JSON can carry."""
        stored = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        low, high = self.limits
        derived = {"power": self.power.tolist(), "low": low.tolist(), "high": high.tolist()}
        if self.pilot_limits:
            derived |= dict(zip(("pilot_low", "pilot_high"), (end.tolist() for end in self.pilot_limits), strict=True))
        return {
            MARK: self.json_name, **stored, "model": asdict(self.model), **derived,
            "enough": {str(s): n for s, n in self.enough.items()}, "sentences": list(self.sentences),
        }  # fmt: skip

    def __str__(self) -> str:
        low, high = self.limits
        cells = [["dyads", *(f"{sessions} sessions" for sessions in self.sessions)]]
        for row, n in enumerate(self.dyads):
            of_row = zip(self.power[row], low[row], high[row], strict=True)
            texts = [f"{share:.2f} [{least:.2f}, {most:.2f}]" for share, least, most in of_row]
            if self.pilot_limits:
                by_pilot = zip(*(limit[row] for limit in self.pilot_limits), strict=True)
                texts = [f"{own} {least:.2f}-{most:.2f}" for own, (least, most) in zip(texts, by_pilot, strict=True)]
            cells.append([str(n), *texts])
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        table = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
        return "\n".join([self.title, *(f"  {line}" for line in (*table, *self.sentences, self.design))])

    @property
    def title(self) -> str:
        """What was tested, in words."""
        pairs = self.model.n_pairs
        of_pairs = f", family-wise over {pairs} tests" if pairs > 1 else ""
        return f"Power of {self._test_words} at alpha {self.alpha:g}, {self.tail}{of_pairs}"

    @property
    def _test_words(self) -> str:
        if self.test == "plasticity":
            return f"a change of {self.model.growth.mean:g} per session"
        how = {"mean": "mean synchrony", "slope": "change of synchrony", "within": "synchrony of sessions"}[self.level]
        return f"an association of {how} with an outcome"

    @property
    def design(self) -> str:
        """How the studies were simulated, in words."""
        default = asdict(SynchronyModel())
        own = asdict(self.model)
        course = {name: value for name, value in own.pop("growth").items() if value != default["growth"][name]}
        del own["level"], default["level"]
        settings = {f"growth {name}": value for name, value in course.items()}
        settings |= {name: value for name, value in own.items() if value != default[name] or name == "noise_sd"}
        words = ", ".join(f"{name.replace('_', ' ')} {_plain(value)}" for name, value in settings.items())
        pilot = ""
        if self.resampled:
            pilot = (
                f" Behind the limits: 5 to 95 % of {len(self.resampled[0][0])} pilots of dyads drawn with replacement."
            )
        return f"{self.n_sims} studies for each number, {self.n} permutations, seed {self.seed}; {words}.{pilot}"


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return "; ".join(
            f"{name} with {tie[0]}, correlation {tie[1]:g}" if tie else f"{name} alone" for name, tie in value.items()
        )
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _least_p(n_dyads: int, of: StudyPower) -> float:
    n_units = len({of.model.roster.names(dyad)[2] for dyad in range(n_dyads)})
    if n_units < LEAST_UNITS:
        return 1.0
    draws = Draws.plan(Signs(tuple(_labels(n_units))), of.n, of.seed, list_up_to=of.n)
    return min(1.0, n_sides(of.tail) * draws.min_p)


def study_power(
    model: SynchronyModel,
    dyads: Sequence[int],
    sessions: Sequence[int],
    *,
    test: TestName = "plasticity",
    outcome: str | None = None,
    level: Level | None = None,
    alpha: float = 0.05,
    tail: Tail = "two-sided",
    target_power: float = TARGET_POWER,
    n_sims: int = 500,
    n: int = 999,
    seed: int = 0,
    resampled: Sequence[SynchronyModel] = (),
    executor: Executor | None = None,
    journal: str | os.PathLike[str] | Journal | None = None,
    progress: bool = False,
) -> StudyPower:
    """How many dyads and sessions a study needs, from studies simulated by a model.

    A study counts if its test finds the first channel pair, in which the model has growth and what goes with
    outcomes. The tests are those of `ibs.plasticity` (signs of slopes) and `ibs.outcome`, with the step-down maximum
    where there are several pairs; clients of one therapist change signs together, and outcomes only among themselves.
    Studies in which too few dyads have two sessions find nothing.

    Parameters
    ----------
    model : SynchronyModel
        What there is to find and how much dyads, sessions and measurements vary. With nothing to find the power is the
        false-positive rate.
    dyads, sessions : sequence of int
        Numbers to try, rising.
    test : {"plasticity", "outcome"}
    outcome : str, optional
        For "outcome": name of one of `model.outcomes`; it may be left out where there is one.
    level : {"mean", "slope", "within"}, optional
        For "outcome", as in `ibs.outcome`. Default: what fits that to which the outcome is tied.
    alpha : float
    tail : {"two-sided", "greater", "less"}
    target_power : float
        Power that is asked for.
    n_sims : int
        Studies for each number of dyads and sessions.
    n : int
        Permutations of each test; all are listed where there are no more than that.
    seed : int
        Everything random follows from it.
    resampled : sequence of SynchronyModel
        Models of resampled pilots, from `SynchronyModel.resampled`: a fifth of `n_sims` studies of each tell between
        which limits the power may lie for all that the pilot knows.
    executor, journal
        As `Study.synchrony`.
    progress : bool
        Show a bar on standard error.

    Returns
    -------
    StudyPower

    Raises
    ------
    PlanError
        If a word or number is out of its range, or the permutations cannot give a p of `alpha`.

    Examples
    --------
    >>> from ibsync import Growth
    >>> model = SynchronyModel(growth=Growth(mean=0.03, sd=0.01), noise_sd=0.04)
    >>> study_power(model, [8, 12], [4], n_sims=100, n=199).enough
    {4: 8}
    """
    n_dyads, n_sessions = _rising("dyads", dyads), _rising("sessions", sessions)
    if not isinstance(model, SynchronyModel):
        raise PlanError(f"model = {model!r} must be an ibs.SynchronyModel")
    asked = TestSettings(n, seed, tail, ("max",) if model.n_pairs > 1 else (), alpha)
    tested = _Tested(model, *_relation(model, test, outcome, level), asked)
    _check(tested, n_dyads, n_sessions, target_power, n_sims)
    cells = [(n, s) for n in n_dyads for s in n_sessions]
    n_each = -(-n_sims // _SHARE)
    runs = [(tested, n_sims), *((replace(tested, model=one), n_each) for one in resampled)]
    jobs = [
        StudiesJob(of, n, s, seed, first, min(first + STUDIES_OF_JOB, n_studies))
        for of, n_studies in runs
        for n, s in cells
        for first in range(0, n_studies, STUDIES_OF_JOB)
    ]
    words: dict[str, Any] = {
        "model": model, "resampled": tuple(resampled), "dyads": n_dyads, "sessions": n_sessions, "test": test,
        "outcome": tested.outcome, "level": tested.level, "alpha": alpha, "tail": tail, "n_sims": n_sims, "n": n,
        "seed": seed, "ibsync_version": provenance()["ibsync_version"], "stream_version": STREAM_VERSION,
    }  # fmt: skip
    with opened(journal, words) as kept:
        bar = ("power", "batch") if progress else None
        of_jobs = dict(run_jobs(jobs, Worker("numpy"), executor=executor, bar=bar, journal=kept, of=("power",)))
    found = np.concatenate([of_jobs[number] for number in range(len(jobs))])
    shape, n_own = (len(n_dyads), len(n_sessions)), len(cells) * n_sims
    counts = found[:n_own].reshape(*shape, n_sims).sum(axis=2)
    shares = found[n_own:].reshape(-1, *shape, n_each).mean(axis=3)
    return StudyPower(
        test=test, level=tested.level or "", tail=tail, alpha=float(alpha), dyads=n_dyads, sessions=n_sessions,
        detections=tuple(tuple(row) for row in counts.tolist()), n_sims=n_sims,
        target_power=float(target_power), model=model, n=n, seed=seed,
        resampled=tuple(tuple(map(tuple, row)) for row in np.moveaxis(shares, 0, 2).tolist()) if len(shares) else (),
    )  # fmt: skip


@dataclass(frozen=True)
class StudiesJob:
    """Some simulated studies of one number of dyads and sessions."""

    tested: _Tested
    n_dyads: int
    n_sessions: int
    seed: int
    start: int
    stop: int
    people: tuple[People, ...] = ()

    @property
    def name(self) -> str:
        """Which studies, in words."""
        return f"studies {self.start + 1} to {self.stop} of {self.n_dyads} dyads with {self.n_sessions} sessions"

    def run(self, _: Worker) -> NDArray[np.bool_]:
        """Whether the first channel pair is found in each."""
        studies = range(self.start, self.stop)
        return np.array([self.tested.finds(self.n_dyads, self.n_sessions, (self.seed, k)) for k in studies])


# --- what is tested ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Tested:
    """The test of one study, and what it is to find."""

    model: SynchronyModel
    outcome: str | None
    level: Level | None
    asked: TestSettings

    def finds(self, n_dyads: int, n_sessions: int, seed: tuple[int, ...]) -> bool:
        """Whether the first channel pair is found in one study."""
        drawn = self.model.draw(n_dyads, n_sessions, seed)
        run = self._plasticity if self.outcome is None else self._outcome
        # One seed for all tests would tie them to one set of draws.
        p = run(drawn, seed[-1])
        return bool(p <= self.asked.alpha * (1 + 1e-12))

    def _plasticity(self, drawn: Drawn, seed: int) -> float:
        """The p of `ibs.plasticity`: signs of slopes, clients of one therapist together."""
        lines = _lines(drawn, drawn.shares)
        dyads = np.flatnonzero(np.isfinite(lines.slope).any(axis=1))
        of_dyads = [name or f"d{dyad}" for dyad, name in zip(dyads, therapist_labels(self.model, dyads), strict=True)]
        names = list(dict.fromkeys(of_dyads))
        if len(names) < LEAST_UNITS:
            return 1.0
        member = np.array([[own == name for own in of_dyads] for name in names], np.float64)
        weights = lines.weights()[dyads]
        sums, mass = member @ (weights * np.nan_to_num(lines.slope[dyads])), member @ weights
        return self._first(sign_flip_test(sums, self._drawn(Signs(tuple(names)), seed), self.asked, weights=mass))

    def _outcome(self, drawn: Drawn, seed: int) -> float:
        """The p of `ibs.outcome`."""
        assert self.outcome is not None
        values, outcome, units, strata = _related(drawn, drawn.outcomes[self.outcome], self.level, self.model)
        labels = sorted(set(strata))
        intercepts = np.array([[own == label for label in labels] for own in strata], np.float64)
        if len(units) < LEAST_OF_OUTCOME or len(units) - len(labels) < 2:
            return 1.0
        draws = self._drawn(Permutations(tuple(units), tuple(strata)), seed)
        return self._first(permutation_test(FreedmanLane(values, outcome, intercepts, draws), self.asked))

    def _drawn(self, design: D, seed: int) -> Draws[D]:
        return Draws.plan(design, self.asked.n, seed, list_up_to=self.asked.n)

    def _first(self, test: Mapping[str, NDArray[Any]]) -> float:
        """The p of the first pair, corrected if there are others."""
        return float(test["p_max" if self.asked.corrections else "p"][0])


def _relation(
    model: SynchronyModel, test: str, outcome: str | None, level: Level | None
) -> tuple[str | None, Level | None]:
    """The outcome that is tested, and at which level; nothing for plasticity."""
    require_known("test", test, get_args(TestName))
    if test == "plasticity":
        if outcome is not None or level is not None:
            raise PlanError("outcome and level belong to test='outcome'; leave them out, or name that test")
        return None, None
    name = _one_outcome(model, outcome)
    if level is not None:
        require_known("level", level, get_args(Level))
    return name, level or _level_of(model, name)


def _one_outcome(model: SynchronyModel, name: str | None) -> str:
    if not model.outcomes:
        raise PlanError("test='outcome' needs an outcome: SynchronyModel(outcomes={'gain': ('growth', 0.5)})")
    if name is None and len(model.outcomes) > 1:
        raise PlanError(f"there are outcomes {', '.join(map(repr, model.outcomes))}; name one: outcome=...")
    chosen = next(iter(model.outcomes)) if name is None else name
    if chosen not in model.outcomes:
        raise PlanError(f"there is no outcome {chosen!r}; there are {', '.join(map(repr, model.outcomes))}")
    return chosen


def _level_of(model: SynchronyModel, name: str) -> Level:
    """What is related to an outcome that is tied, perhaps through others, to so much of a dyad."""
    tie = model.outcomes[name]
    while tie is not None and tie[0] not in TIES:
        tie = model.outcomes[tie[0]]
    return "mean" if tie is None else _LEVELS[tie[0]]


def _labels(n_dyads: int) -> list[str]:
    return [f"d{dyad + 1:02d}" for dyad in range(n_dyads)]


def _lines(drawn: Drawn, lengths: Floats) -> Lines:
    """Change per session of each dyad, its sessions weighted by `lengths` [dyad, session]: [dyad, pair]."""
    times = np.arange(drawn.coherence.shape[1], dtype=np.float64)
    rows = zip(drawn.coherence, lengths, strict=True)
    return Lines.stacked([Lines.of(values, times, of_session[:, None]) for values, of_session in rows])


def _related(
    drawn: Drawn, outcome: Floats, level: Level | None, model: SynchronyModel
) -> tuple[Floats, Floats, list[str], list[str]]:
    """Synchrony [unit, pair], outcome [unit], labels of units, and within which they are exchanged."""
    present = np.isfinite(drawn.coherence[..., 0])
    labels = _labels(len(present))
    if level == "within":
        present &= present.sum(axis=1, keepdims=True) >= 2
        dyads, sessions = np.nonzero(present)
        strata = [labels[dyad] for dyad in dyads]
        return drawn.coherence[dyads, sessions], outcome[dyads, sessions], [str(s) for s in sessions], strata
    n = present.sum(axis=1)
    mean = np.where(present[..., None], drawn.coherence, 0.0).sum(axis=1) / n[:, None]
    values = mean if level == "mean" else _lines(drawn, np.ones_like(drawn.shares)).slope
    dyads = np.flatnonzero(np.isfinite(values).all(axis=1))
    of_dyads = np.where(present, outcome, 0.0).sum(axis=1) / n
    return values[dyads], of_dyads[dyads], [labels[dyad] for dyad in dyads], therapist_labels(model, dyads)


# --- what is asked for ------------------------------------------------------------------------------------------------


def _rising(name: str, numbers: Sequence[int]) -> tuple[int, ...]:
    """Whole numbers of at least 1, each above the one before."""
    listed = [numbers] if isinstance(numbers, int | np.integer) else list(numbers)
    for number in listed:
        if not is_whole(number, 1):
            raise PlanError(f"{name} holds {number!r}; give whole numbers of at least 1")
    if not listed or listed != sorted(set(listed)):
        raise PlanError(f"{name} must rise, each number once, got {listed!r}")
    return tuple(int(number) for number in listed)


def _check(
    tested: _Tested, dyads: tuple[int, ...], sessions: tuple[int, ...], target_power: float, n_sims: int
) -> None:
    """Refuse numbers that no test can be made of."""
    least = LEAST_UNITS if tested.outcome is None else LEAST_OF_OUTCOME
    if dyads[0] < least:
        raise PlanError(f"{dyads[0]} dyads are too few for this test; give {least} or more")
    if sessions[0] < 2 and tested.level != "mean":
        raise PlanError("1 session does not tell a change or a course; give 2 or more sessions")
    if isinstance(target_power, bool) or not isinstance(target_power, int | float) or not 0 < target_power < 1:
        raise PlanError(f"target_power = {target_power!r} must lie between 0 and 1")
    whole("n_sims", n_sims, 1)
    asked = tested.asked
    if asked.min_p(asked.n + 1) > asked.alpha * (1 + 1e-12):
        raise PlanError(
            f"{asked.n} permutations cannot give a p of {asked.alpha:g}: take n of at least "
            f"{int(np.ceil(asked.n_sides / asked.alpha * (1 - 1e-12))) - 1}"
        )
