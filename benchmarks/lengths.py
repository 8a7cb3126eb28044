"""How often conditions and groups of unequal length differ without interaction: prints a table, writes JSON.

python benchmarks/lengths.py [--studies 600] [--out benchmarks/results/lengths.json]
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from groups import LEVEL, signs, welch
from numpy.typing import NDArray
from rates import Rates, asked, write

from ibsync.coupling.engine import Engine
from ibsync.coupling.spec import WTC

Floats = NDArray[np.float64]

SFREQ, SECONDS, DYADS = 2.0, (120, 600), 20
BAND = (0.03, 0.1)


def people(seconds: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Autoregressive noise of as many people as there are dyads: float32 [person, sample]."""
    x = rng.standard_normal((DYADS, round(seconds * SFREQ) + 100))
    for t in range(1, x.shape[1]):
        x[:, t] += 0.7 * x[:, t - 1]
    return x[:, 100:].astype(np.float32)


def coherence(a: NDArray[np.float32], b: NDArray[np.float32], coi: str) -> Floats:
    """Coherence of everybody with everybody: float64 [first, second]."""
    engine = Engine(a.shape[1], SFREQ, WTC({"band": BAND}, accuracy="fast", coi=coi), backend="numpy")
    return np.asarray(engine.coherence(engine.features(a), engine.features(b)).coherence[..., 0, 0])


def of_session(coi: str, rng: np.random.Generator) -> dict[str, Floats]:
    """Values of everybody with everybody in a session, by how long they were recorded."""
    short, long = ([people(seconds, rng) for _ in range(2)] for seconds in SECONDS)
    first = round(SECONDS[0] * SFREQ)
    return {
        "short": coherence(*short, coi),
        "long": coherence(*long, coi),
        "cut": coherence(*(x[:, :first] for x in long), coi),
    }


def studies(n: int, sessions: int, coi: str, rng: np.random.Generator) -> dict[str, Floats]:
    """Means over sessions, float64 [dyad, study], by how long dyads were recorded and what was done to the values."""
    found: dict[str, list[Floats]] = {}
    for _ in range(-(-n // DYADS)):
        made = [of_session(coi, rng) for _ in range(sessions)]
        tables = {name: np.mean([session[name] for session in made], axis=0) for name in made[0]}
        for shift in range(DYADS):  # the people of a block in other pairs, of whom nobody is in two
            partner = (np.arange(DYADS) + shift) % DYADS
            for name, table in tables.items():
                paired = table[:, partner]
                own = np.diag(paired)
                others = (paired.sum(axis=0) + paired.sum(axis=1) - 2 * own) / (2 * DYADS - 2)
                found.setdefault(name, []).append(own)
                found.setdefault(f"{name} less null", []).append(own - others)
    return {name: np.stack(values[:n], axis=1) for name, values in found.items()}


TREATMENTS = {
    "raw, each at its own length": ("short", "long", False),
    "raw, both cut to 2 minutes": ("short", "cut", True),
    "less the mean of its own null": ("short less null", "long less null", True),
}
CONES = {"recording": "cone left out", "none": "cone kept"}


def designs(n: int, seed: int) -> Iterator[tuple[str, str, bool, Floats]]:
    """Design, what was done, whether its level is claimed, and p of every study."""
    rng = np.random.default_rng(seed)
    for coi, cone in CONES.items():
        for sessions in (1, 6):
            values = studies(n, sessions, coi, rng)
            told = f"{sessions} session{'s' * (sessions > 1)}, {cone}"
            for words, (short, long, holds) in TREATMENTS.items():
                yield f"tasks, {told}", words, holds, signs()(values[long] - values[short])
                both = np.concatenate([values[long], values[short]])
                yield f"groups, {told}", words, holds, welch(DYADS)(both)


def main() -> None:
    words = asked(__doc__, studies=600, seed=1)
    rates = Rates(40, 30)
    for design, test, holds, p in designs(words.studies, words.seed):
        rates.add(design, test, p <= LEVEL, holds=holds)
    how = (
        f"2 against 10 minutes of noise, {DYADS} dyads (in each group), {BAND[0]:g} to {BAND[1]:g} Hz; share of "
        f"{words.studies} studies with p <= {LEVEL:g}, two-sided; {DYADS} studies each are made of the same people in "
        "other pairs"
    )
    write(words.out, how, rows=rates.rows)


if __name__ == "__main__":
    main()
