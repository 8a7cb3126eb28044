"""How synchrony of dyads goes over sessions and what is tied to it: the arithmetic that simulations share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from ..errors import PlanError
from .checks import number

Floats = NDArray[np.float64]
Tie = tuple[str, float] | None

TIES = ("level", "growth", "session")
"""What of a dyad an outcome may be tied to."""


@dataclass(frozen=True)
class Growth:
    """How synchrony goes over sessions, and in what dyads differ.

    In session s = 1, 2, ... the synchrony of dyad d of therapist t is

        level + level_d + level_t + (mean + growth_d + growth_t) (s - 1) + deviation_ds

    with independent normal deviations of mean 0. Its unit is that of the level: coupling in `ibs.simulate`, coherence
    in `ibs.SynchronyModel`.

    Attributes
    ----------
    mean : float
        Change per session, mean over dyads.
    sd : float
        Standard deviation of the dyads' own change per session (random slopes).
    level_sd : float
        Standard deviation of the dyads' level.
    session_sd : float
        Standard deviation of the sessions of a dyad about its line.
    session_ar : float
        Correlation of these from one session to the next, stationary AR(1); above -1 and below 1.
    therapist_sd, therapist_growth_sd : float
        Standard deviations of level and change per session between therapists, common to their dyads.

    Examples
    --------
    >>> Growth(mean=0.03, sd=0.01).mean
    0.03
    """

    mean: float = 0.0
    sd: float = 0.0
    level_sd: float = 0.0
    session_sd: float = 0.0
    session_ar: float = 0.0
    therapist_sd: float = 0.0
    therapist_growth_sd: float = 0.0

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if number(f"Growth: {entry.name}", value) < 0 and entry.name.endswith("sd"):
                raise PlanError(f"Growth: {entry.name} = {value!r} must be at least 0")
        if not -1 < self.session_ar < 1:
            raise PlanError(f"Growth: session_ar = {self.session_ar!r} must lie between -1 and 1")

    def spread(self, what: str, n_sessions: int) -> float:
        """Standard deviation over dyads of what an outcome may be tied to."""
        slope = self.sd**2 + self.therapist_growth_sd**2
        if what == "growth":
            return float(np.sqrt(slope))
        if what == "session":
            return self.session_sd
        return float(np.sqrt(self.level_sd**2 + self.therapist_sd**2 + slope * ((n_sessions - 1) / 2) ** 2))


@dataclass(frozen=True)
class Normals:
    """Independent standard normal numbers behind a study: of level and growth of dyads [dyad, 2] and therapists
    [therapist, 2], of sessions [dyad, session], and of an outcome, by its name, [dyad, 1 + session].
    """

    dyads: Floats
    sessions: Floats
    therapists: Floats
    outcomes: Callable[[str], Floats]


@dataclass(frozen=True)
class Courses:
    """Synchrony of every dyad over sessions, less the level of the study.

    `growth` [dyad] is the change per session, `line` [dyad, session] level and change, and `deviation` [dyad, session]
    what each session differs by from it.
    """

    growth: Floats
    line: Floats
    deviation: Floats

    @property
    def values(self) -> Floats:
        """What is added to the level of the study, float64 [dyad, session]."""
        return self.line + self.deviation


@dataclass(frozen=True)
class Roster:
    """Names, groups and therapists of dyads by their number, in turn; without therapists each has a second person."""

    n_therapists: int
    groups: tuple[str, ...]

    def therapist(self, dyad: int) -> int:
        """Number of the therapist: each works in every group."""
        return (dyad // max(1, len(self.groups))) % self.n_therapists

    def therapists(self, n_dyads: int) -> NDArray[np.int64] | None:
        """Numbers of the therapists, int64 [dyad]; None where nobody is shared."""
        return np.array([self.therapist(dyad) for dyad in range(n_dyads)]) if self.n_therapists else None

    def names(self, dyad: int) -> tuple[str, str, str]:
        """Of a dyad and its two people."""
        number = f"{dyad + 1:02d}"
        second = f"t{self.therapist(dyad) + 1:02d}" if self.n_therapists else f"p{number}b"
        return f"d{number}", f"p{number}a", second

    def group(self, dyad: int) -> str:
        """Label of the group; empty where there are none."""
        return self.groups[dyad % len(self.groups)] if self.groups else ""


def courses_of(growth: Growth, normals: Normals, therapists: NDArray[np.int64] | None = None) -> Courses:
    """Synchrony over sessions from normal numbers, and the number of each dyad's therapist where they are shared."""
    level, slope = growth.level_sd * normals.dyads[:, 0], growth.mean + growth.sd * normals.dyads[:, 1]
    if therapists is not None:
        level = level + growth.therapist_sd * normals.therapists[therapists, 0]
        slope = slope + growth.therapist_growth_sd * normals.therapists[therapists, 1]
    line = level[:, None] + slope[:, None] * np.arange(normals.sessions.shape[1])
    return Courses(slope, line, growth.session_sd * autoregressive(normals.sessions, growth.session_ar))


def autoregressive(normals: Floats, coefficient: float) -> Floats:
    """Stationary AR(1) of unit variance along the last axis, from independent normal numbers."""
    out = normals.copy()
    for at in range(1, out.shape[-1]):
        out[..., at] = coefficient * out[..., at - 1] + np.sqrt(1 - coefficient**2) * normals[..., at]
    return out


def check_outcomes(outcomes: Mapping[str, Tie], growth: Growth, n_sessions: int, taken: tuple[str, ...] = ()) -> None:
    """Refuse a tie to what does not vary or does not exist, or a correlation that is none."""
    known: list[str] = []
    for name, tie in outcomes.items():
        if name in (*TIES, *taken):
            raise PlanError(f"outcome {name!r} has a name that is taken; choose another")
        if tie is not None:
            _check_tie(name, tie, known, growth, n_sessions)
        known.append(name)


def _check_tie(name: str, tie: object, known: list[str], growth: Growth, n_sessions: int) -> None:
    if not isinstance(tie, tuple | list) or len(tie) != 2 or not isinstance(tie[0], str):
        raise PlanError(f"outcome {name!r} = {tie!r} must be (what it is tied to, correlation), or None for nothing")
    what, correlation = tie
    if what not in (*TIES, *known):
        listed = ", ".join(map(repr, (*TIES, *known)))
        raise PlanError(f"outcome {name!r} is tied to {what!r}; tie it to one of {listed}, or name that outcome before")
    if isinstance(correlation, bool) or not isinstance(correlation, int | float) or not -1 <= correlation <= 1:
        raise PlanError(f"outcome {name!r}: correlation {correlation!r} must lie between -1 and 1")
    if what in TIES and growth.spread(what, n_sessions) == 0:
        word = {"growth": "sd", "level": "level_sd", "session": "session_sd"}[what]
        raise PlanError(f"outcome {name!r} is tied to {what}, which is the same everywhere; give Growth({word}=...)")


def outcomes_of(
    outcomes: Mapping[str, Tie], growth: Growth, courses: Courses, draw: Callable[[str], Floats]
) -> dict[str, Floats]:
    """Numbers of mean 0 and standard deviation 1 whose correlation with the truth is known: float64 [dyad, session].

    They are the same in all sessions, unless tied to "session", the deviation of each, or to such an outcome. "level"
    is the mean of a dyad's line over all sessions, "growth" its change per session.
    """
    n_sessions = courses.line.shape[1]
    mean_line = courses.line.mean(axis=1) - growth.mean * (n_sessions - 1) / 2
    truth = {"level": mean_line[:, None], "growth": (courses.growth - growth.mean)[:, None],
             "session": courses.deviation}  # fmt: skip
    scores: dict[str, Floats] = {}
    for name, tie in outcomes.items():
        what, correlation = (None, 0.0) if tie is None else tie
        if what is None:
            cause = np.zeros((len(courses.line), 1))
        elif what in scores:
            cause = scores[what]
        else:
            cause = truth[what] / growth.spread(what, n_sessions)
        noise = draw(name)
        noise = noise[:, 1:] if cause.shape[1] > 1 else noise[:, :1]
        scores[name] = correlation * cause + np.sqrt(1 - correlation**2) * noise
    return {name: np.broadcast_to(values, courses.line.shape) for name, values in scores.items()}


def attended(uniforms: Floats, missing: float) -> NDArray[np.bool_]:
    """Which sessions took place: bool [dyad, session] from uniform numbers; each dyad keeps at least one."""
    took_place = uniforms >= missing
    took_place[np.arange(len(uniforms)), uniforms.argmax(axis=1)] = True
    return took_place
