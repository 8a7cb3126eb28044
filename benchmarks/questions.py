"""Levels and power behind the figures of docs: re-pairing, partners, outcomes, transfer, relations. No signals.

python benchmarks/questions.py [--only SECTION ...] [--out benchmarks/results/questions.json]

Sections: repairing, partners, spread, covariate, trend, transfer, relations. Prints tables and writes JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Iterator
from itertools import permutations
from math import e
from pathlib import Path
from typing import Any

import numpy as np
from calibration import LEVEL
from model_null import study_and_null
from numpy.typing import NDArray
from rates import REPOSITORY, Rates, write

import ibsync as ibs
from ibsync import Growth, SynchronyModel
from ibsync.inference.partial_correlation import FreedmanLane
from ibsync.inference.permutation_test import permutation_test
from ibsync.inference.settings import TestSettings
from ibsync.inference.social_relations import Block, RelabelledSessions, RoundRobin, ScatteredValues
from ibsync.inference.spread import spread_test
from ibsync.nulls.draws import Draws
from ibsync.nulls.relabelling import Permutations

sys.path.insert(0, str(REPOSITORY / "tests"))
from meetings_made import made_meetings
from sessions import study

Floats = NDArray[np.float64]
Rng = np.random.Generator
Found = Iterator[tuple[str, str, NDArray[np.bool_], bool]]
"""Scenario, test, whether each study was found, and whether the hypothesis holds."""

DRAWS, SELDOM = 999, 0.01


def quietly(verb: Callable[..., Any], *words: Any, **named: Any) -> Any:
    """The dataset of a verb, without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return verb(*words, **named).dataset


def repairing(rng: Rng) -> Found:
    """All re-pairings, derangements alone, and Welch's t of real against all other pairs; 16 000 studies."""
    from scipy.stats import ttest_ind

    for n in (5, 8, 20):
        every = np.array(list(permutations(range(5)))[1:]) if n == 5 else None
        orders = np.array([rng.permutation(n) for _ in range(40 * DRAWS)]) if every is None else every
        apart = orders[(orders != np.arange(n)).all(axis=1)][:DRAWS]
        off = ~np.eye(n, dtype=bool)
        for sd in (0.0, 1.0):
            p: dict[str, list[float]] = {"all re-pairings": [], "derangements only": [], "Welch t": []}
            for number in range(16_000):
                c = rng.standard_normal((n, n)) + sd * (rng.standard_normal((n, 1)) + rng.standard_normal(n))
                real = np.trace(c) - 1e-9
                start = 0 if every is not None else number % 39 * DRAWS
                for test, drawn in zip(p, (orders[start : start + DRAWS], apart), strict=False):
                    reached = (c[np.arange(n), drawn].sum(axis=1) >= real).sum()
                    p[test].append((reached + 1) / (len(drawn) + 1))
                p["Welch t"].append(ttest_ind(np.diag(c), c[off], equal_var=False, alternative="greater").pvalue)
            for test, found in p.items():
                yield f"{n} dyads, sd of people {sd:g}", test, np.array(found) <= LEVEL, test == "all re-pairings"


def partners(rng: Rng) -> Found:
    """Growth by partners and by signs where people change, 8 dyads x 4 sessions; 400 studies."""
    for growth in (0.0, 0.015):
        model = SynchronyModel(level=0.5, growth=Growth(growth), person_sd=0.02, person_growth_sd=0.02, n_pairs=1)
        found: dict[str, list[bool]] = {"partners": [], "signs": []}
        for number in range(400):
            real, null = study_and_null(model, 8, 4, (int(rng.integers(2**31)), number))
            result = quiet_test(real, null)
            found["partners"].append(quietly(ibs.plasticity, real, null=null, correct=[])["p"].item() <= LEVEL)
            found["signs"].append(quietly(ibs.plasticity, result, correct=[])["p"].item() <= LEVEL)
        for test, hits in found.items():
            yield f"growth {growth:g}, people change", test, np.array(hits), not growth


def quiet_test(real: Any, null: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ibs.test(real, null, correct=[])


def of_outcome(values: Floats, outcome: Floats, covariate: Floats | None = None) -> FreedmanLane:
    """The test of one synchrony with an outcome, given a covariate."""
    columns = [np.ones(len(values))] + ([] if covariate is None else [covariate])
    names = tuple(f"d{k:02d}" for k in range(len(values)))
    draws = Draws.plan(Permutations(names, ("",) * len(names)), DRAWS, 0, list_up_to=1)
    return FreedmanLane(values[:, None], outcome, np.column_stack(columns), draws)


SPREADS: dict[str, Callable[[Rng, Floats], Floats]] = {
    "independent": lambda rng, x: rng.standard_normal(len(x)),
    "independent, heavy tails (t with 3)": lambda rng, x: rng.standard_t(3, len(x)),
    "spread grows: exp(x / 2)": lambda rng, x: np.exp(x / 2) * rng.standard_normal(len(x)),
    "spread grows: exp(x)": lambda rng, x: np.exp(x) * rng.standard_normal(len(x)),
    "spread grows with distance: |x|": lambda rng, x: np.abs(x) * rng.standard_normal(len(x)),
}


def spread(rng: Rng) -> Found:
    """An outcome that is not correlated with synchrony, whose spread may go with it; 2000 studies."""
    for n in (12, 40):
        for name, made in SPREADS.items():
            found: dict[str, list[bool]] = {"permutation": [], "HC3": [], "warning": []}
            for number in range(2000):
                x = rng.standard_normal(n)
                test = of_outcome(x, made(rng, x))
                found["permutation"].append(permutation_test(test, TestSettings(correct=()))["p"][0] <= LEVEL)
                found["HC3"].append(test.robust("two-sided")["hc3_p"][0] <= LEVEL)
                found["warning"].append(spread_test(test, seed=number) <= SELDOM)
            for test_name, hits in found.items():
                yield f"{name}, {n} dyads", test_name, np.array(hits), name.startswith("independent")


def covariate(rng: Rng) -> Found:
    """20 dyads, a covariate behind synchrony (correlation 0.7) and outcome; 3000 studies."""
    errors: dict[str, Callable[[], Floats]] = {
        "normal errors": lambda: rng.standard_normal(20),
        "log-normal errors": lambda: (np.exp(rng.standard_normal(20)) - e**0.5) / np.sqrt(e * (e - 1)),
        "normal errors, squares on both sides": lambda: rng.standard_normal(20),
    }
    for name, error in errors.items():
        found: dict[str, list[bool]] = {"given the covariate": [], "without it": []}
        for _ in range(3000):
            z = rng.standard_normal(20)
            behind = (z**2 - 1) / np.sqrt(2) if "squares" in name else z
            x, y = (0.7 * behind + np.sqrt(1 - 0.49) * error() for _ in range(2))
            for test, given in zip(found, (z, None), strict=True):
                p = permutation_test(of_outcome(x, y, given), TestSettings(correct=()))["p"]
                found[test].append(bool(p[0] <= LEVEL))
        for test, hits in found.items():
            yield name, test, np.array(hits), test.startswith("given") and "squares" not in name


def trend(rng: Rng) -> Found:
    """Sessions of 12 dyads in which synchrony and outcome both grow, "within"; 600 studies."""
    for sessions in (3, 6):
        grown = np.arange(sessions, dtype=float)
        values = 0.3 + 0.02 * (0.5 * grown[:, None] + rng.standard_normal((12, sessions, 600)))
        outcomes = 0.5 * grown + rng.standard_normal((12, sessions))
        for test, given in {"within": [], "within, given the session": ["session"]}.items():
            hits = []
            for start in range(0, 600, 10):  # an outcome of its own for every ten studies
                outcomes = 0.5 * grown + rng.standard_normal((12, sessions))
                table = {
                    (f"d{d + 1:02d}", f"ses-{s + 1:02d}"): outcomes[d, s] for d in range(12) for s in range(sessions)
                }
                real = study(values[..., start : start + 10])
                words: dict[str, Any] = {"level": "within", "covariates": given, "n": DRAWS, "correct": []}
                hits.append(quietly(ibs.outcome, real, table, **words)["p"].to_numpy().ravel() <= LEVEL)
            yield f"{sessions} sessions", test, np.concatenate(hits), bool(given)


TRANSFERS: dict[str, dict[str, Any]] = {
    "7 persons with partners of their own": {"n_persons": 7},
    "12 persons, 3 therapists who differ": {"n_therapists": 3, "therapist_sd": 0.03},
    "12 persons, 3 strangers who differ": {"n_strangers": 3, "stranger_sd": 0.05},
    "12 persons, 2 therapists and 4 strangers who differ": {
        "n_therapists": 2, "n_strangers": 4, "therapist_sd": 0.03, "stranger_sd": 0.05,
    },
    "change, 12 persons, 8 strangers who differ": {"n_strangers": 8, "stranger_sd": 0.05},
    "slope 2, 8 persons, gains without error": {"n_persons": 8, "slope": 2.0, "noise": 1e-6},
}  # fmt: skip


def transfer(rng: Rng) -> Found:
    """Gain with one partner and synchrony with another, 3 sessions, all permutations; 2048 studies."""
    channels = tuple(f"S{k}_D{k}" for k in range(16))
    for name, design in TRANSFERS.items():
        kind = "change" if name.startswith("change") else "association"
        parts = []
        for _ in range(4):
            words = {"n_persons": 12, "n_sessions": 3, "channels": channels, "seed": int(rng.integers(2**31)), **design}
            more = {"kind": kind} if kind == "change" else {}
            parts.append(quietly(ibs.transfer, made_meetings(**words), "therapist", "stranger", correct=[], **more))
        p = np.concatenate([part["p"].to_numpy().ravel() for part in parts])
        yield name, "p", p <= LEVEL, not name.startswith("slope")
        if name.startswith("slope"):
            low, high = (
                np.concatenate([part[end].to_numpy().ravel() for part in parts]) for end in ("slope_low", "slope_high")
            )
            yield name, "interval covers", (low <= 2) & (high >= 2), True


N_RELATED = 2000
RELATIONS: tuple[tuple[str, dict[str, float], bool], ...] = (
    ("relationship", {"person": 1, "partner": 1}, True),
    ("relationship", {"person": 1, "partner": 1, "person_session": 1, "partner_session": 1}, True),
    ("relationship", {"unlike": 0.7}, False),
    ("relationship", {"relationship": 1, "person": 1, "partner": 1}, False),
    ("person", {"relationship": 1}, True),
    ("person", {"relationship": 1, "partner": 1}, True),
    ("person", {"person_session": 1}, False),
    ("person", {"unlike": 0.7}, False),
    ("person", {"person": 1}, False),
)
"""What is tested, standard deviations of what is there ("unlike": of the log of a person's error), and if it holds."""


def relations(rng: Rng) -> Found:
    """Parts of synchrony in a block of 5 x 4 and a round robin of 6, two sessions; 2000 studies."""
    designs: dict[str, Any] = {"block 5 x 4": Block(5, 4), "round robin of 6": RoundRobin(6)}
    for design_name, design in designs.items():
        n, m = design.n_persons, design.n_partners
        shapes = {
            "person": (1, n, 1), "partner": (1, 1, m), "relationship": (1, n, m), "person_session": (2, n, 1),
            "partner_session": (2, 1, m),
        }  # fmt: skip
        for part, there, holds in RELATIONS:
            values = rng.standard_normal((2, n, m, N_RELATED))
            values = values * np.exp(there.get("unlike", 0.0) * rng.standard_normal((1, n, 1, N_RELATED)))
            for name, sd in there.items():
                if name in shapes:
                    values = values + sd * rng.standard_normal((*shapes[name], N_RELATED))
            p = of_part(design, part, values)
            yield f"{part}; {', '.join(there)}", design_name, p <= LEVEL + 1e-12, holds


def of_part(design: Any, part: str, values: Floats) -> Floats:
    """p of each study, [study]."""
    if part == "relationship":
        plan: Any = Draws.plan(RelabelledSessions.places(design, "12"), DRAWS, 1, list_up_to=1)
        test: Any = RelabelledSessions(design, design.effects(values).relationship, plan)
    else:
        plan = Draws.plan(ScatteredValues.places(design, part), DRAWS, 1, list_up_to=1)
        test = ScatteredValues(design, part, values.mean(axis=0), plan)
    every = test.drawn(0, plan.n + 1)
    return np.asarray((every >= every[0] - 1e-9).mean(axis=0))


SECTIONS: dict[str, Callable[[Rng], Found]] = {
    made.__name__: made for made in (repairing, partners, spread, covariate, trend, transfer, relations)
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="sections that were not run stay as they are there")
    words = parser.parse_args()
    kept = json.loads(words.out.read_text())["sections"] if words.out and words.out.exists() else {}
    for section in words.only:
        rates = Rates(60, 26)
        for scenario, test, hits, holds in SECTIONS[section](np.random.default_rng([words.seed, *section.encode()])):
            rates.add(scenario, test, hits, holds=holds)
        kept[section] = {"how": SECTIONS[section].__doc__, "rows": rates.rows}
        how = f"share of studies with p <= {LEVEL:g}, two-sided unless named, {DRAWS} draws or all; warnings at .01"
        write(words.out, how, sections=kept)


if __name__ == "__main__":
    main()
