"""Growth tested by signs of slopes: levels, power and warnings where designs or assumptions differ.

python benchmarks/slopes.py [--studies 1000] [--out benchmarks/results/slopes.json]

Prints a table and writes JSON. Each study has one channel pair; studies are tested 50 at a time as pairs that know
nothing of each other, and one at a time, a third as many, where warnings are counted.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rates import REPOSITORY, Rates, asked, write

import ibsync as ibs

sys.path.insert(0, str(REPOSITORY / "tests"))
from sessions import study

Floats = NDArray[np.float64]
Rng = np.random.Generator

LEVEL, ERROR, TOGETHER, N_DRAWS = 0.05, 0.04, 50, 499
UNLIKE = np.array([2, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16, 18])


def courses(rng: Rng, n_dyads: int, n_sessions: int, n: int, *, own: float, growth: float = 0.0) -> Floats:
    """Levels and slopes of their own, and errors: [dyad, session, study]."""
    level = 0.35 + 0.03 * rng.standard_normal((n_dyads, 1, n))
    slope = growth + own * rng.standard_normal((n_dyads, 1, n))
    return level + slope * np.arange(n_sessions)[:, None] + ERROR * rng.standard_normal((n_dyads, n_sessions, n))


def unlike_courses(rng: Rng, n: int, growth: float) -> Any:
    """12 dyads of 2 to 18 sessions."""
    values = courses(rng, 12, 18, n, own=0.005, growth=growth)
    values[np.arange(18) >= UNLIKE[:, None]] = np.nan
    return study(values)


def few_recordings(rng: Rng, n: int, growth: float) -> Any:
    """8 clients with 18 recordings in 6 sessions."""
    values = courses(rng, 8, 6, n, own=0.005, growth=2 * growth)
    for own, number in zip(values, (2, 2, 2, 2, 2, 2, 3, 3), strict=True):
        own[np.sort(rng.permutation(6)[number:])] = np.nan
    return study(values)


def missed_sessions(rng: Rng, n: int, growth: float) -> Any:
    """14 dyads x 6 sessions, a third missed at random."""
    values = courses(rng, 14, 6, n, own=0.01, growth=growth)
    gone = rng.random((14, 6)) < 1 / 3
    gone[:, :2] = False
    values[gone] = np.nan
    return study(values)


def unlike_lengths(rng: Rng, n: int, growth: float) -> Any:
    """14 dyads x 6 sessions, recordings of 0.2 to 1 of the full length."""
    shares = rng.uniform(0.2, 1, (14, 6))
    values = courses(rng, 14, 6, n, own=0.01, growth=growth)
    values += np.sqrt(1 / shares - 1)[..., None] * ERROR * rng.standard_normal(values.shape)
    real = study(values)  # its rows stand session by session
    real["valid_fraction"] = real["valid_fraction"].copy(
        data=np.broadcast_to(shares.T.ravel()[:, None, None, None, None], real["valid_fraction"].shape)
    )
    return real


DESIGNS: dict[str, Callable[[Rng, int, float], Any]] = {
    "12 dyads of 2 to 18 sessions": unlike_courses,
    "8 clients, 18 recordings": few_recordings,
    "a third of 6 sessions missed": missed_sessions,
    "recordings of 0.2 to 1 of the length": unlike_lengths,
}


def stopping(rule: Callable[[Rng, float], bool]) -> Callable[[Rng], Floats]:
    """16 dyads of up to 10 sessions that stop after one where the rule holds, and have two at least."""

    def made(rng: Rng) -> Floats:
        deviation = ERROR * rng.standard_normal((16, 10, 1))
        values = 0.35 + 0.03 * rng.standard_normal((16, 1, 1)) + deviation
        for own, off in zip(values, deviation, strict=True):
            stops = [session for session in range(1, 9) if rule(rng, off[session, 0])]
            if stops:
                own[stops[0] + 1 :] = np.nan
        return values

    return made


def shaken(sd: float, n_dyads: int = 16) -> Callable[[Rng], Floats]:
    """Sessions with effects on all dyads."""
    return lambda rng: courses(rng, n_dyads, 6, 1, own=0.01) + sd * rng.standard_normal((6, 1))


def skewed(n_dyads: int) -> Callable[[Rng], Floats]:
    """Log-normal slopes with mean 0."""

    def made(rng: Rng) -> Floats:
        slope = 0.02 * (np.exp(rng.standard_normal((n_dyads, 1, 1))) - np.exp(0.5))
        return courses(rng, n_dyads, 6, 1, own=0.0) + slope * np.arange(6)[:, None]

    return made


ASSUMPTIONS: dict[str, tuple[Callable[[Rng], Floats], bool]] = {
    "nobody stops, nothing shared": (stopping(lambda *_: False), True),
    "dyads stop at random, one session in ten": (stopping(lambda rng, _: rng.random() < 0.1), True),
    "dyads stop after a value 0.05 below their mean": (stopping(lambda _, off: off < -0.05), False),
    "session effects, sd 0.01": (shaken(0.01), False),
    "session effects, sd 0.03": (shaken(0.03), False),
    "session effects, sd 0.01, 40 dyads": (shaken(0.01, 40), False),
    "skewed slopes, 8 dyads": (skewed(8), False),
    "skewed slopes, 40 dyads": (skewed(40), False),
}
"""Studies without growth on average, and whether signs of slopes are to keep their level there."""
WARNINGS = {"warning of dropout": "stop early", "of session effects": "move all dyads alike", "of skew": "are skewed"}


def tested(real: Any, **words: Any) -> Any:
    """The dataset of `ibs.plasticity`, without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ibs.plasticity(real, n=N_DRAWS, correct=[], **words).dataset


def of_design(design: Callable[[Rng, int, float], Any], n: int, growth: float, rng: Rng) -> dict[str, list[bool]]:
    """Whether each study rejects, and whether the interval of the mean slope covers the truth."""
    truth = 2 * growth if design is few_recordings else growth
    found: dict[str, list[bool]] = {}
    for _ in range(-(-n // TOGETHER)):
        real = design(rng, TOGETHER, growth)
        for weights in ("equal", "precision"):
            ds = tested(real, weights=weights)
            low, high = (ds[name].to_numpy().ravel() for name in ("statistic_low", "statistic_high"))
            found.setdefault(f"{weights}, p <= .05", []).extend((ds["p"].to_numpy().ravel() <= LEVEL).tolist())
            found.setdefault(f"{weights}, covered", []).extend(((low <= truth) & (truth <= high)).tolist())
    return found


def of_assumption(made: Callable[[Rng], Floats], n: int, rng: Rng) -> dict[str, list[bool]]:
    """Whether each study rejects by signs and by a mixed model, and what it warns of."""
    found: dict[str, list[bool]] = {name: [] for name in ("signs", "signs, dyads alike", "mixed_model", *WARNINGS)}
    for _ in range(n):
        real = study(made(rng))
        ds = tested(real)
        found["signs"].append(bool(ds["p"].item() <= LEVEL))
        found["signs, dyads alike"].append(bool(tested(real, weights="equal")["p"].item() <= LEVEL))
        for name, words in WARNINGS.items():
            found[name].append(words in ds.attrs.get("warning", ""))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table = ibs.mixed_model(real)
        if table["converged"].item():
            found["mixed_model"].append(bool(table["p"].item() <= LEVEL))
    return found


def main() -> None:
    words = asked(__doc__, studies=1000, seed=1)
    rates = Rates(48, 22)
    for name, design in DESIGNS.items():
        for growth in (0.0, 0.01):
            rng = np.random.default_rng([words.seed, *name.encode(), int(1000 * growth)])
            scenario = f"{name}, growth" if growth else name
            for test, hits in of_design(design, words.studies, growth, rng).items():
                rates.add(scenario, test, hits, holds=not growth)
    for name, (made, holds) in ASSUMPTIONS.items():
        rng = np.random.default_rng([words.seed, *name.encode()])
        for test, hits in of_assumption(made, words.studies // 3, rng).items():
            rates.add(name, test, hits, holds=holds)
    how = (
        f"share of studies with p <= {LEVEL:g}, in both tails; of intervals at 95 % that hold the true mean slope; of "
        "studies with a warning (level .01 each); mixed models that converged"
    )
    write(words.out, how, rows=rates.rows)


if __name__ == "__main__":
    main()
