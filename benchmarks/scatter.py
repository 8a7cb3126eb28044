"""Re-pairing where dyads differ among themselves: levels, and how often the warning of it comes.

python benchmarks/scatter.py [--studies 4000] [--out benchmarks/results/scatter.json]

Prints a table and writes JSON. Values without signals: everybody brings a level of their own, and every pair an error.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from calibration import LEVEL
from numpy.typing import NDArray
from rates import Rates, asked, write

from ibsync.inference.repaired_test import repair_test
from ibsync.inference.scatter import scatter_test
from ibsync.inference.settings import TestSettings
from ibsync.nulls.draws import Draws
from ibsync.nulls.repaired_null import RepairedNull
from ibsync.nulls.repairing import Repairing

Floats = NDArray[np.float64]
Rng = np.random.Generator

DRAWS, SELDOM, ERROR, PERSON = 999, 0.01, 0.04, 0.03


def values(
    rng: Rng, n: int, sessions: int = 1, features: int = 1, *, of_dyads: float = 0.0, lasting: bool = True,
    mean: float = 0.0, heavy: bool = False, missing: float = 0.0,
) -> Floats:  # fmt: skip
    """Coherence of everybody with everybody's partner: [session, first, second, feature]."""
    a, b = PERSON * rng.standard_normal((2, n, features))
    draw = (lambda shape: rng.standard_t(3, shape)) if heavy else rng.standard_normal
    out = 0.35 + a[:, None] + b + ERROR * draw((sessions, n, n, features))
    own = mean + of_dyads * ERROR * rng.standard_normal((1 if lasting else sessions, n, features))
    out[:, range(n), range(n)] += own
    there = rng.random((sessions, n)) >= missing
    there[0] = True
    out[~(there[:, :, None] & there[:, None])] = np.nan
    return out


DESIGNS: dict[str, tuple[Callable[[Rng], Floats], bool]] = {
    "20 dyads, nothing": (lambda rng: values(rng, 20), True),
    "8 dyads, nothing": (lambda rng: values(rng, 8), True),
    "12 dyads, 20 features, heavy tails": (lambda rng: values(rng, 12, features=20, heavy=True), True),
    "10 dyads x 4 sessions, 30 % missed": (lambda rng: values(rng, 10, 4, missing=0.3), True),
    "20 dyads, all coupled alike": (lambda rng: values(rng, 20, mean=0.06), True),
    "20 dyads differ by 0.5 errors": (lambda rng: values(rng, 20, of_dyads=0.5), False),
    "20 dyads differ by 1 error": (lambda rng: values(rng, 20, of_dyads=1.0), False),
    "20 dyads differ by 2 errors": (lambda rng: values(rng, 20, of_dyads=2.0), False),
    "20 dyads, 20 features, differ by 1 error": (lambda rng: values(rng, 20, features=20, of_dyads=1.0), False),
    "10 dyads x 6 sessions differ by 2 errors": (lambda rng: values(rng, 10, 6, of_dyads=2.0), False),
    "10 dyads x 6 sessions differ by 1 error": (lambda rng: values(rng, 10, 6, of_dyads=1.0), False),
}
"""Values of one study, and whether the warning should be as seldom as .01."""


def main() -> None:
    words = asked(__doc__, studies=4000, seed=1)
    rates = Rates(44, 20)
    for name, (made, quiet) in DESIGNS.items():
        rng = np.random.default_rng([words.seed, *name.encode()])
        found: dict[str, list[bool]] = {"p <= .05, greater": [], "warning": []}
        for study in range(words.studies):
            null = null_of(made(rng), study)
            p = repair_test(null, TestSettings(tail="greater", correct=()))["p"]
            found["p <= .05, greater"].append(bool(p[0] <= LEVEL))
            found["warning"].append(scatter_test([null], seed=study) <= SELDOM)
        for test, hits in found.items():
            holds = quiet and (test == "warning" or "coupled" not in name)
            rates.add(name, test, hits, holds=holds)
    how = (
        f"values without signals, persons' levels sd {PERSON:g}, error of a pair sd {ERROR:g}; share of studies whose "
        f"first feature has p <= {LEVEL:g} by re-pairing (tail greater, {DRAWS} draws), and with a warning (level "
        f"{SELDOM:g} over all features); {words.studies} studies a row"
    )
    write(words.out, how, rows=rates.rows)


def null_of(pair_values: Floats, seed: int) -> RepairedNull:
    """A null of made-up values, with random re-pairings."""
    sessions, n, *_ = pair_values.shape
    labels = [[f"{role}{k}" for k in range(n)] for role in "dab"]
    draws = Draws(Repairing.of(*labels), DRAWS, seed, listed=False)
    return RepairedNull(pair_values, draws, tuple(map(str, range(sessions))))


if __name__ == "__main__":
    main()
