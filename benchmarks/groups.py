"""How often tests of groups and of conditions reject when there is no difference: prints a table, writes JSON.

python benchmarks/groups.py [--studies 4000] [--out benchmarks/results/groups.json]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import permutations

import numpy as np
from numpy.typing import NDArray
from rates import Rates, asked, write

from ibsync.inference.settings import TestSettings
from ibsync.nulls.hypotheses import NullHypothesis
from ibsync.questions.exchanges import Units, exchange_groups, exchange_residuals, flip_signs
from ibsync.questions.shared_people import Blocks

Floats = NDArray[np.float64]
Test = Callable[[Floats], Floats]

LEVEL, DRAWS = 0.05, 999
ASKED = TestSettings(n=DRAWS, seed=1, correct=[])
HYPOTHESIS = NullHypothesis("none", "none", "none", "none")


def units(n: int, people: Sequence[str] = ()) -> Units:
    """So many dyads, of which those with one name share a person."""
    names = [f"d{k:03d}" for k in range(n)]
    members = [{name} for name in people] if people else [set() for _ in names]
    return Units(names, Blocks.of(names, members), (1, 1, 1, 1))


def of_features(values: Floats, who: Units) -> Units:
    return Units(who.dyads, who.blocks, (1, 1, 1, values.shape[1]))


def welch(n_first: int, people: Sequence[str] = ()) -> Test:
    """ibsync's test of two groups."""

    def p(values: Floats) -> Floats:
        who, first = of_features(values, units(len(values), people)), np.arange(len(values)) < n_first
        return np.asarray(exchange_groups(values, first, ("a", "b"), who, HYPOTHESIS, ASKED).run(ASKED)["p"])

    return p


def difference(n_first: int) -> Test:
    """A permutation of the difference of means, twice the smaller p."""

    def p(values: Floats) -> Floats:
        rng, n = np.random.default_rng(1), len(values)
        first = np.array([np.arange(n) < n_first, *(rng.permutation(n) < n_first for _ in range(DRAWS))], float)
        drawn = first @ values / n_first - (1 - first) @ values / (n - n_first)
        tails = (drawn >= drawn[0] - 1e-12).mean(axis=0), (drawn <= drawn[0] + 1e-12).mean(axis=0)
        return np.minimum(1, 2 * np.minimum(*tails))

    return p


def signs(people: Sequence[str] = ()) -> Test:
    """ibsync's test of a contrast."""

    def p(values: Floats) -> Floats:
        who = of_features(values, units(len(values), people))
        return np.asarray(flip_signs(values, who, HYPOTHESIS, ASKED).run(ASKED)["p"])

    return p


def labels(weights: Sequence[float]) -> Callable[[Floats], Floats]:
    """Exchange of the labels of conditions within dyads: values [condition, dyad, feature]."""

    def p(values: Floats) -> Floats:
        rng = np.random.default_rng(1)
        orders = np.array(list(permutations(weights)))
        variants = np.einsum("vc,cdf->vdf", orders, values)
        observed, dyad = variants[0].mean(axis=0), np.arange(values.shape[1])
        drawn = [observed]
        drawn += [variants[rng.integers(0, len(orders), len(dyad)), dyad].mean(axis=0) for _ in range(DRAWS)]
        tails = (np.array(drawn) >= observed - 1e-12).mean(axis=0), (np.array(drawn) <= observed + 1e-12).mean(axis=0)
        return np.minimum(1, 2 * np.minimum(*tails))

    return p


def designs(n: int, seed: int) -> list[tuple[str, str, bool, Floats]]:
    """Design, test, whether its level is claimed, and p of every study."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[str, str, bool, Floats]] = []
    for n_first, n_second, scatter in ((10, 10, 1), (10, 10, 3), (5, 15, 1), (5, 15, 3), (15, 5, 3)):
        values = rng.standard_normal((n_first + n_second, n)) * np.repeat([scatter, 1], [n_first, n_second])[:, None]
        name = f"{n_first} against {n_second} dyads, deviation {scatter} : 1"
        rows.append((name, "Welch's t in the permutation", True, welch(n_first)(values)))
        rows.append((name, "difference of means", False, difference(n_first)(values)))
    skewed = np.exp(rng.standard_normal((20, n))) * np.repeat([1, 1], [10, 10])[:, None]
    rows.append(("10 against 10 dyads, log-normal", "Welch's t in the permutation", True, welch(10)(skewed)))
    people = [f"t{k // 3}" for k in range(30)]
    shared = rng.standard_normal((30, n)) + np.repeat(rng.standard_normal((10, n)), 3, axis=0)
    rows.append(("10 therapists with 3 clients each, 5 a group", "whole blocks", True, welch(15, people)(shared)))
    rows.append(("10 therapists with 3 clients each, 5 a group", "dyads one by one", False, welch(15)(shared)))
    rows.append(("talk - rest, 10 therapists with 3 clients", "whole blocks", True, signs(people)(shared)))
    rows.append(("talk - rest, 10 therapists with 3 clients", "dyads one by one", False, signs()(shared)))
    three = rng.standard_normal((3, 12, n)) * np.array([3.0, 1, 1])[:, None, None]
    weights = (1.0, -0.5, -0.5)
    summed = np.einsum("c,cdf->df", np.array(weights), three)
    name = "3 conditions, the first scatters 3 times as much"
    rows.append((name, "signs of the weighted sum", True, signs()(summed)))
    rows.append((name, "exchange of labels", False, labels(weights)(three)))
    for n_first, n_second, scatter in ((10, 10, 1), (10, 10, 3), (5, 15, 1), (5, 15, 3)):
        name = f"age behind group and synchrony, {n_first} against {n_second}, deviation {scatter} : 1"
        plain, given = confounded(rng, n_first, n_second, scatter, n)
        rows.append((name, "given age", True, given))
        rows.append((name, "Welch's t without age", False, plain))
    return rows


def confounded(rng: np.random.Generator, n_first: int, n_second: int, scatter: float, n: int) -> tuple[Floats, Floats]:
    """p without and with the age, which differs between groups and moves synchrony; 50 studies with one set of ages."""
    plain, given = [], []
    for _ in range(-(-n // 50)):
        first = np.arange(n_first + n_second) < n_first
        age = rng.standard_normal(len(first)) + first
        values = age[:, None] + rng.standard_normal((len(first), 50)) * np.where(first, scatter, 1.0)[:, None]
        who = of_features(values, units(len(values)))
        plain.append(welch(n_first)(values))
        plan = exchange_residuals(values, first, ("a", "b"), age[:, None], who, HYPOTHESIS, ASKED)
        given.append(np.asarray(plan.run(ASKED)["p"]))
    return np.concatenate(plain), np.concatenate(given)


def main() -> None:
    words = asked(__doc__, studies=4000, seed=1)
    rates = Rates(52, 30)
    for design, test, holds, p in designs(words.studies, words.seed):
        rates.add(design, test, p <= LEVEL, holds=holds)
    how = (
        f"values of dyads without any difference; share of {words.studies} studies with p <= {LEVEL:g}, two-sided, "
        f"from {DRAWS} draws or all; studies of one row share their draws"
    )
    write(words.out, how, rows=rates.rows)


if __name__ == "__main__":
    main()
