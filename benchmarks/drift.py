"""How often surrogates reject where recordings only drift: prints a table, writes JSON.

python benchmarks/drift.py [--studies 200] [--draws 39] [--out benchmarks/results/drift.json]
"""

from __future__ import annotations

import numpy as np
from calibration import (
    BAND_S,
    DURATION_S,
    LEVEL,
    OPTIONS,
    SFREQ_HZ,
    Floats,
    pair_tables,
    repairing_p,
)
from rates import Rates, asked, write
from scenarios import simulate

from ibsync.coupling.engine import Engine
from ibsync.coupling.spec import WTC
from ibsync.inference.p_values import p_value
from ibsync.study.surrogate_partners import SurrogatePartners

KINDS = ("phase", "iaaft", "shift", "block", "ar1")
DRIFTS = (0.0, 3.0, 6.0, 10.0, 30.0)
N_DYADS = 6


def drifting(drift: float, n_studies: int, seed: int) -> Floats:
    """Independent persons whose recordings rise or fall by about `drift` sd: float64 [study, dyad, person, sample]."""
    signals = simulate("independent", n_studies, N_DYADS, seed=seed)
    rng = np.random.default_rng([seed, 1])
    slope = rng.uniform(0.5, 1.5, (*signals.shape[:3], 1)) * rng.choice([-1, 1], (*signals.shape[:3], 1))
    spread = signals.std(axis=-1, keepdims=True)
    return signals + drift * spread * slope * np.linspace(-0.5, 0.5, signals.shape[-1])


def surrogate_p(kind: str, detrend: str | None, studies: Floats, n_draws: int, seed: int) -> Floats:
    """p of the mean over dyads: float64 [study]."""
    spec = WTC({"tested": (1 / BAND_S[1], 1 / BAND_S[0])}, accuracy="fast", detrend=detrend)
    engine = Engine(studies.shape[-1], SFREQ_HZ, spec, backend="numpy")
    draws = np.arange(n_draws + 1)
    values = [
        SurrogatePartners(engine, x[:1], x[1:], kind, seed, (2 * k, 2 * k + 1), options=OPTIONS.get(kind, {}))
        .values(draws)
        .reshape(-1)
        for k, x in enumerate(studies.reshape(-1, 2, studies.shape[-1]))
    ]
    means = np.reshape(values, (len(studies), N_DYADS, -1)).mean(axis=1)
    return p_value((means[:, 1:] >= means[:, :1] - 1e-6).sum(axis=1), n_draws)


def main() -> None:
    words = asked(__doc__, studies=200, draws=39, seed=1)
    rates = Rates(6, 20)
    for drift in DRIFTS:
        studies = drifting(drift, words.studies, words.seed)
        rejected = {"re-pairing": repairing_p(pair_tables(studies)) <= LEVEL}
        for kind in KINDS:
            for detrend in (None, "linear") if drift == DRIFTS[-1] else (None,):
                p = surrogate_p(kind, detrend, studies, words.draws, words.seed)
                rejected[f"{kind}{', detrended' if detrend else ''}"] = p <= LEVEL
        for test, which in rejected.items():
            rates.add(f"{drift:g} sd", test, which, holds="detrended" in test or test == "re-pairing")
    how = (
        f"{N_DYADS} dyads of independent persons, {DURATION_S:g} s at {SFREQ_HZ:g} Hz, each recording with a straight "
        f"drift of 0.5 to 1.5 times the given number of its standard deviations; mean R2 of periods {BAND_S[0]:g}-"
        f"{BAND_S[1]:g} s over dyads; share of studies with p <= {LEVEL:g} from {words.draws} draws"
    )
    write(words.out, how, rows=rates.rows)


if __name__ == "__main__":
    main()
