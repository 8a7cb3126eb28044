"""Studies in numbers, without signals: coherence of dyads by session as a model says, thousands of studies a minute."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from ..inference.slopes import Lines
from ..nulls.shared_partners import components
from ..results.layout import ROW, refuse_lags, refuse_rows_twice, tested_values
from ..results.result import Result, provenance
from .checks import fraction, number, positive_fraction, whole
from .courses import Courses, Growth, Normals, Roster, Tie, attended, check_outcomes, courses_of, outcomes_of

if TYPE_CHECKING:
    import xarray as xr

Floats = NDArray[np.float64]
Seed = int | tuple[int, ...]

TASK = "simulated"
_OWNER = "SynchronyModel"
_COHERENCE, _GROWTH = "simulated_coherence", "simulated_growth"
_COURSES, _SESSIONS, _THERAPISTS, _OUTCOMES, _ATTENDANCE, _LENGTHS, _PEOPLE, _NOISE, _PILOT = range(9)


@dataclass(frozen=True)
class Drawn:
    """One study of a model.

    Attributes
    ----------
    coherence : ndarray
        float64 [dyad, session, pair]; NaN where a session did not take place.
    truth : ndarray
        float64 [dyad, session, pair]: the same without error of measurement, of all sessions.
    growth : ndarray
        float64 [dyad]: change per session in the first channel pair, which alone grows on average.
    outcomes : mapping of str to ndarray
        float64 [dyad, session].
    shares : ndarray
        float64 [dyad, session]: length of each recording as a share of the full one.
    """

    coherence: Floats
    truth: Floats
    growth: Floats
    outcomes: Mapping[str, Floats]
    shares: Floats


@dataclass(frozen=True)
class SynchronyModel:
    """How the coherence of dyads in their sessions comes about.

    Coherence is a number that is normal about the truth: `level`, the course of `growth`, and two people's own
    parts. It is not kept within 0 and 1, so spreads are to be small beside the level's distance from either. Channel
    pairs are independent of each other; the mean growth is that of the first alone, and outcomes are tied to it.

    Attributes
    ----------
    level : float
        Mean coherence in the first session.
    growth : Growth
        Change per session and what dyads, sessions and therapists differ in, in units of coherence.
    noise_sd : float
        Standard deviation of the error of one session of full length.
    person_sd, person_growth_sd : float
        Standard deviations, over people, of what a person brings to coherence with anybody, and of its change per
        session.
    n_pairs : int
        Channel pairs (x bands x epochs) that are tested.
    outcomes : mapping of name to (what, correlation) or None
        As in `ibs.simulate`; the truth is that of the first channel pair, without people's own parts.
    therapists : int
        So many persons are shared as second persons, by the dyads in turn; 0: each dyad has its own.
    groups : tuple of str
        Group labels, given to the dyads in turn.
    missing : float
        Share of sessions, at random, that did not take place; each dyad keeps one at least.
    shortest : float
        Recordings last a random share of the full length, between this and 1; the variance of the error grows as they
        get shorter.

    Examples
    --------
    >>> model = SynchronyModel(growth=Growth(mean=0.02, sd=0.01), noise_sd=0.04)
    >>> real = model.study(n_dyads=12, n_sessions=6, seed=1)
    >>> real.coherence.shape
    (72, 1, 1, 1, 1)
    """

    level: float = 0.33
    growth: Growth = field(default_factory=Growth)
    noise_sd: float = 0.04
    person_sd: float = 0.0
    person_growth_sd: float = 0.0
    n_pairs: int = 1
    outcomes: Mapping[str, Tie] = field(default_factory=dict)
    therapists: int = 0
    groups: tuple[str, ...] = ()
    missing: float = 0.0
    shortest: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.growth, Growth):
            raise PlanError(f"SynchronyModel: growth = {self.growth!r} must be a Growth, such as ibs.Growth(mean=0.01)")
        number(f"{_OWNER}: level", self.level)
        for name in ("noise_sd", "person_sd", "person_growth_sd"):
            if number(f"{_OWNER}: {name}", value := getattr(self, name), " of at least 0") < 0:
                raise PlanError(f"{_OWNER}: {name} = {value!r} must be a number of at least 0")
        whole(f"{_OWNER}: n_pairs", self.n_pairs, 1)
        whole(f"{_OWNER}: therapists", self.therapists)
        fraction(f"{_OWNER}: missing", self.missing)
        positive_fraction(f"{_OWNER}: shortest", self.shortest)
        check_outcomes(self.outcomes, self.growth, 2, taken=(_COHERENCE, _GROWTH))

    @property
    def roster(self) -> Roster:
        """Names, groups and therapists of the dyads."""
        return Roster(self.therapists, self.groups)

    @classmethod
    def of_pilot(cls, pilot: Result | xr.Dataset, growth: float = 0.0, **more: Any) -> SynchronyModel:
        """
        A model that varies as a pilot study does.

        Of every channel pair, band and epoch straight lines are fitted to the sessions of each dyad. What they leave
        gives `noise_sd`, and beyond what it explains the spread of their slopes and of their values at the first
        session gives that of `growth`; variances are averaged over channel pairs, bands and epochs. Deviations of the
        sessions themselves and errors of measurement look alike and both count as error. Where no dyad has three
        sessions, dyads are taken to change alike. Where there is a null its mean is subtracted.

        Parameters
        ----------
        pilot : Result or xarray.Dataset
            From `ibs.test` or `Study.synchrony`. Choose bands and channels first, if they differ.
        growth : float
            Mean change per session, which is yours to suppose and not the pilot's.
        **more
            Further attributes of the model.

        Raises
        ------
        PlanError
            If fewer than two dyads have two sessions, or one stands twice in a session.
        """
        own = _Pilot.of(pilot)
        return cls._varying(own.level, own.spread, growth, more)

    @classmethod
    def resampled(
        cls, pilot: Result | xr.Dataset, n: int = 20, growth: float = 0.0, *, seed: int = 0, **more: Any
    ) -> tuple[SynchronyModel, ...]:
        """
        Models of pilots that might have been: `of_pilot` of its dyads, drawn anew with replacement.

        Dyads that share a person are drawn together, unless one person is in all of them. Give the models to
        `study_power` as `resampled`, to see how much the power is uncertain because the pilot is small.

        Parameters
        ----------
        pilot, growth, **more
            As `of_pilot`.
        n : int
            Models.
        seed : int

        Returns
        -------
        tuple of SynchronyModel

        Raises
        ------
        PlanError
            As `of_pilot`.

        Examples
        --------
        >>> model = SynchronyModel(growth=Growth(sd=0.01), noise_sd=0.04)
        >>> len(SynchronyModel.resampled(model.study(8, 4), 5))
        5
        """
        whole(f"{_OWNER}: n", n)
        own, rng = _Pilot.of(pilot), _stream(seed, _PILOT)
        drawn = [own.drawn(rng) for _ in range(n)]
        # Not 0, so that an outcome can be tied to a level or growth that does not vary in a draw.
        spreads = [_Spread(*(max(part, 1e-9) for part in one.spread)) for one in drawn]
        return tuple(cls._varying(one.level, s, growth, more) for one, s in zip(drawn, spreads, strict=True))

    @classmethod
    def _varying(cls, level: float, spread: _Spread, growth: float, more: Mapping[str, Any]) -> SynchronyModel:
        course = Growth(mean=growth, sd=spread.growth, level_sd=spread.level)
        return cls(level=level, growth=course, noise_sd=spread.noise, **more)

    def draw(self, n_dyads: int, n_sessions: int, seed: Seed = 0) -> Drawn:
        """One study as arrays; each seed, a whole number or several, gives a study of its own in all its numbers."""
        whole(f"{_OWNER}: n_dyads", n_dyads, 1)
        whole(f"{_OWNER}: n_sessions", n_sessions, 1)
        check_outcomes(self.outcomes, self.growth, n_sessions)
        courses, growth, outcomes = self._courses(n_dyads, n_sessions, seed)
        first, second = self._people(n_dyads, n_sessions, seed)
        truth = self.level + courses + (first + second)
        shares = self.shortest + (1 - self.shortest) * _stream(seed, _LENGTHS).random((n_dyads, n_sessions))
        noise = self.noise_sd / np.sqrt(shares)[..., None] * _stream(seed, _NOISE).standard_normal(truth.shape)
        took_place = attended(_stream(seed, _ATTENDANCE).random((n_dyads, n_sessions)), self.missing)
        coherence = np.where(took_place[..., None], truth + noise, np.nan)
        return Drawn(coherence, truth, growth, outcomes, shares)

    def study(self, n_dyads: int, n_sessions: int, seed: Seed = 0) -> xr.Dataset:
        """
        One study as `Study.synchrony` would return it, for every test over dyads and sessions.

        Its rows carry the outcomes and, as outcomes too, "simulated_coherence" and "simulated_growth".

        Parameters
        ----------
        n_dyads, n_sessions, seed
            As `draw`.

        Returns
        -------
        xarray.Dataset
            Dimensions dyad (one row per dyad x session), epoch, channel_a, channel_b, band; channel_b counts the pairs.
        """
        return _dataset(self, self.draw(n_dyads, n_sessions, seed))

    def _courses(self, n_dyads: int, n_sessions: int, seed: Seed) -> tuple[Floats, Floats, dict[str, Floats]]:
        """What is added to the level, float64 [dyad, session, pair], the first pair's slopes [dyad], the outcomes."""
        n_rows = self.n_pairs * n_dyads
        normals = Normals(
            dyads=_stream(seed, _COURSES).standard_normal((n_rows, 2)),
            sessions=_stream(seed, _SESSIONS).standard_normal((n_rows, n_sessions)),
            therapists=_stream(seed, _THERAPISTS).standard_normal((self.n_pairs * self.therapists, 2)),
            outcomes=lambda name: _stream(seed, _OUTCOMES, *name.encode()).standard_normal((n_dyads, 1 + n_sessions)),
        )
        therapists = self.roster.therapists(n_dyads)
        if therapists is not None:  # those of each pair are others: int64 [pair x dyad]
            therapists = (np.arange(self.n_pairs)[:, None] * self.therapists + therapists).reshape(-1)
        every = courses_of(self.growth, normals, therapists)
        values = every.values.reshape(self.n_pairs, n_dyads, n_sessions).copy()
        values[1:] -= self.growth.mean * np.arange(n_sessions)
        first = Courses(every.growth[:n_dyads], every.line[:n_dyads], every.deviation[:n_dyads])
        outcomes = outcomes_of(self.outcomes, self.growth, first, normals.outcomes)
        return np.moveaxis(values, 0, -1), first.growth, outcomes

    def _people(self, n_dyads: int, n_sessions: int, seed: Seed) -> tuple[Floats, Floats]:
        """What first and second persons bring, float64 [dyad, session, pair] each."""
        normals = _stream(seed, _PEOPLE).standard_normal((2, 2, n_dyads, 1, self.n_pairs))
        level, change = self.person_sd * normals[0], self.person_growth_sd * normals[1]
        first, second = level + change * np.arange(n_sessions)[:, None]
        return first, second


def therapist_labels(model: SynchronyModel, dyads: NDArray[np.int64]) -> list[str]:
    """Therapist of each dyad if another of these dyads has the same one, else nothing."""
    if not model.therapists:
        return [""] * len(dyads)
    of_dyads = [model.roster.names(int(dyad))[2] for dyad in dyads]
    return [name if of_dyads.count(name) > 1 else "" for name in of_dyads]


def _stream(seed: Seed, *purpose: int) -> np.random.Generator:
    """Random numbers of one purpose, which no other purpose and no size changes."""
    key = seed if isinstance(seed, tuple) else (seed,)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key, spawn_key=purpose)))


# --- as the other verbs take it ---------------------------------------------------------------------------------------


def _dataset(model: SynchronyModel, drawn: Drawn) -> xr.Dataset:
    """One row per dyad and session that took place, session by session."""
    import xarray as xr

    at = np.argwhere(np.isfinite(drawn.coherence[..., 0]).T)[:, ::-1]
    dyads, sessions = at.T
    names = [model.roster.names(int(dyad)) for dyad in dyads]
    roles = ("client", "therapist") if model.therapists else ("a", "b")
    coherence = drawn.coherence[dyads, sessions][:, None, None, :, None]
    growth = np.broadcast_to(drawn.growth[:, None], drawn.truth.shape[:2])
    outcomes = {**drawn.outcomes, _COHERENCE: drawn.truth[..., 0], _GROWTH: growth}
    of_rows: dict[str, Any] = {
        "session": [f"{session + 1}" for session in sessions],
        "task": [TASK] * len(at),
        "person_a": [first for _, first, _ in names],
        "person_b": [second for *_, second in names],
        "role_a": [roles[0]] * len(at),
        "role_b": [roles[1]] * len(at),
        "group": [model.roster.group(int(dyad)) for dyad in dyads],
        **{f"outcome_{name}": values[dyads, sessions] for name, values in outcomes.items()},
    }
    coords = {
        "dyad": [dyad for dyad, *_ in names],
        **{name: ("dyad", column) for name, column in of_rows.items()},
        "epoch": ["all"], "channel_a": ["S1_D1"], "channel_b": [f"S{k + 1}_D1" for k in range(coherence.shape[3])],
        "band": [TASK], "band_low_hz": ("band", [0.02]), "band_high_hz": ("band", [0.1]), "signal": "hbo",
    }  # fmt: skip
    variables = {
        "coherence": (ROW, coherence, {"units": "1", "long_name": "mean magnitude-squared coherence"}),
        "valid_fraction": (
            ROW,
            np.broadcast_to(drawn.shares[dyads, sessions][:, None, None, None, None], coherence.shape),
            {"units": "1"},
        ),
    }
    return xr.Dataset(variables, coords, dict(_attrs()))


@cache
def _attrs() -> Mapping[str, str | int | float]:
    return provenance(
        spec={"bands": {TASK: [0.02, 0.1]}}, study=TASK, kind="synchrony", signal="hbo", accuracy="exact", pairs="all",
        preset="grinsted", epochs="all", backend="numpy", measure="coherence",
    )  # fmt: skip


# --- a pilot ----------------------------------------------------------------------------------------------------------


class _Spread(NamedTuple):
    """Standard deviations of a pilot."""

    level: float
    growth: float
    noise: float


@dataclass(frozen=True)
class _Pilot:
    """
    Dyads of a pilot.

    Parameters
    ----------
    lines : Lines [dyad, feature]
    total, n : float64 [dyad]
        Sum of the values of each dyad, and how many there are.
    blocks : tuple of int64 [dyad]
        Dyads that are drawn together.
    """

    lines: Lines
    total: Floats
    n: Floats
    blocks: tuple[NDArray[np.int64], ...]

    @classmethod
    def of(cls, pilot: Result | xr.Dataset) -> _Pilot:
        dataset = pilot.dataset if isinstance(pilot, Result) else pilot
        if "session" not in dataset.coords or "dyad" not in dataset.dims:
            raise PlanError("the pilot has no dyads with sessions: give the result of ibs.test, or of Study.synchrony")
        refuse_rows_twice(dataset)
        refuse_lags(dataset)
        values = tested_values(dataset)
        values = values - dataset["null_mean"] if "null_mean" in dataset else values
        array = values.transpose(*ROW).to_numpy().reshape(dataset.sizes["dyad"], -1).astype(np.float64)
        times = _times([str(label) for label in dataset["session"].values])
        names = dataset["dyad"].values.astype(str)
        of_dyads = [names == name for name in dict.fromkeys(names)]
        lines = Lines.stacked([Lines.of(array[own], times[own]) for own in of_dyads])
        if not (np.isfinite(lines.slope).sum(axis=0) >= 2).any():
            raise PlanError("the pilot has fewer than two dyads with two sessions, so it does not tell how they change")
        total, n = (
            np.array([part[own].sum() for own in of_dyads]) for part in (np.nan_to_num(array), np.isfinite(array))
        )
        persons = [name for name in ("person_a", "person_b") if name in dataset.coords]
        people = [{str(one) for name in persons for one in dataset[name].values[own]} for own in of_dyads]
        linked = components(people) if persons else []
        alone = [[dyad] for dyad in range(len(of_dyads))]
        return cls(lines, total, n, tuple(map(np.array, linked if len(linked) > 1 else alone)))

    @property
    def level(self) -> float:
        """Mean of all values."""
        return float(self.total.sum() / self.n.sum())

    @property
    def spread(self) -> _Spread:
        """Components of variance by moments, averaged over features before roots are taken."""
        return _components(self.lines.only(np.isfinite(self.lines.slope).sum(axis=0) >= 2))

    def drawn(self, rng: np.random.Generator) -> _Pilot:
        """As many blocks, with replacement; drawn again where fewer than two dyads have a slope."""
        while True:
            chosen = np.concatenate([self.blocks[k] for k in rng.integers(len(self.blocks), size=len(self.blocks))])
            lines = Lines(*(getattr(self.lines, entry.name)[chosen] for entry in fields(Lines)))
            if (np.isfinite(lines.slope).sum(axis=0) >= 2).any():
                return replace(self, lines=lines, total=self.total[chosen], n=self.n[chosen])


def _components(of: Lines) -> _Spread:
    """From lines, of which each feature has two at least."""
    has = np.isfinite(of.slope)
    n_dyads = has.sum(axis=0)

    def mean(part: Floats) -> Floats:
        return np.asarray(np.where(has, part, 0.0).sum(axis=0) / n_dyads)

    def variance(part: Floats) -> Floats:
        return np.asarray(np.where(has, (part - mean(part)) ** 2, 0.0).sum(axis=0) / (n_dyads - 1))

    square = np.where(has, of.square, 1.0)
    freedom = of.freedom.sum(axis=0)
    if freedom.any():
        noise = float(np.where(has, of.residual, 0.0)[:, freedom > 0].sum(axis=0).dot(1 / freedom[freedom > 0]))
        noise /= int((freedom > 0).sum())
        change = float(np.mean(variance(of.slope) - noise * mean(1 / square)))
    else:
        about = np.where(has, (of.slope - mean(of.slope)) ** 2 * square, 0.0)
        noise, change = float(np.mean(about.sum(axis=0) / (n_dyads - 1))), 0.0
    error = mean(1 / np.maximum(of.n, 1) + of.mean_time**2 / square)
    level = float(np.mean(variance(of.start) - noise * error))
    return _Spread(*(float(np.sqrt(max(part, 0.0))) for part in (level, change, noise)))


def _times(labels: Sequence[str]) -> Floats:
    """Time of each row: the number in its session's label, counted from the first; else places of the labels."""
    numbers = {label: re.findall(r"\d+", label) for label in labels}
    if all(len(digits) == 1 for digits in numbers.values()):
        when = np.array([float(numbers[label][0]) for label in labels])
        return np.asarray(when - when.min())
    places = {label: place for place, label in enumerate(dict.fromkeys(labels))}
    return np.array([float(places[label]) for label in labels])
