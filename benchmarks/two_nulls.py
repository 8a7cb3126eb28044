"""What re-pairing, phase surrogates and both together take for interaction: prints a table, writes JSON.

python benchmarks/two_nulls.py [--studies 200] [--draws 99] [--out benchmarks/results/two-nulls.json]
"""

from __future__ import annotations

import numpy as np
from calibration import (
    BAND_S,
    DURATION_S,
    LEVEL,
    SFREQ_HZ,
    Floats,
    pair_tables,
    repairing_p,
)
from drift import N_DYADS, surrogate_p
from rates import Rates, asked, write
from scenarios import simulate

FOOLS_BOTH = ("both of these", "coupled")
OWN_GAIN, OWN_HZ, OWN_WIDTH_HZ = 1.5, (0.055, 0.16), 0.006


def own_rhythms(shape: tuple[int, int], n: int, seed: int) -> Floats:
    """A rhythm of each dyad's own frequency in both persons, with phases that know nothing of each other."""
    rng = np.random.default_rng([seed, 2])
    frequencies = np.fft.rfftfreq(n, 1 / SFREQ_HZ)
    centre = rng.uniform(*OWN_HZ, (*shape, 1, 1))
    gain = np.exp(-0.5 * ((frequencies - centre) / OWN_WIDTH_HZ) ** 2)
    spectra = rng.standard_normal((2, *shape, 2, len(frequencies)))
    waves = np.fft.irfft((spectra[0] + 1j * spectra[1]) * gain, n)
    return np.asarray(OWN_GAIN * waves / waves.std(axis=-1, keepdims=True))


def main() -> None:
    words = asked(__doc__, studies=200, draws=99, seed=1)
    size, seed = (words.studies, N_DYADS), words.seed
    plain, stimulus, coupled = (simulate(s, *size, seed=seed) for s in ("independent", "stimulus", "coupled 0.7"))
    own = own_rhythms(size, plain.shape[-1], seed)
    designs = {
        "nothing shared": plain, "a stimulus for all": stimulus, "a rhythm of each dyad's own": plain + own,
        "both of these": stimulus + own, "coupled": coupled,
    }  # fmt: skip
    rates = Rates(30, 20)
    for design, signals in designs.items():
        repaired = repairing_p(pair_tables(signals))
        phase = surrogate_p("phase", None, signals, words.draws, seed)
        found = {"re-pairing": repaired, "phase": phase, "both, the larger p": np.maximum(repaired, phase)}
        for test, p in found.items():
            rates.add(design, test, p <= LEVEL, holds=test.startswith("both") and design not in FOOLS_BOTH)
    how = (
        f"{N_DYADS} dyads, {DURATION_S:g} s at {SFREQ_HZ:g} Hz; mean R2 of periods {BAND_S[0]:g}-{BAND_S[1]:g} s over "
        f"dyads; share of {words.studies} studies with p <= {LEVEL:g}, all re-pairings and {words.draws} surrogates"
    )
    write(words.out, how, rows=rates.rows)


if __name__ == "__main__":
    main()
