"""Tests of growth where therapies end, at random or after a session of low synchrony: prints a table, writes JSON.

python benchmarks/dropout.py [--studies 400] [--out benchmarks/results/dropout.json]
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from calibration import PACKAGES, REPOSITORY, rate_row
from measure import provenance
from numpy.typing import NDArray

import ibsync as ibs

sys.path.insert(0, str(REPOSITORY / "tests"))
from sessions import study

LEVEL, N_DYADS, N_SESSIONS, ERROR = 0.05, 16, 10, 0.04
RULES = {
    "nobody stops": lambda *_: False,
    "at random, one session in ten": lambda rng, _: rng.random() < 0.1,
    "after a value 0.05 below the dyad's mean": lambda _, deviation: deviation < -0.05,
}


def courses(rule: Any, rng: np.random.Generator) -> NDArray[np.float64]:
    """Values [dyad, session, 1] without growth; a dyad has two sessions at least."""
    deviation = ERROR * rng.standard_normal((N_DYADS, N_SESSIONS, 1))
    values = 0.35 + 0.03 * rng.standard_normal((N_DYADS, 1, 1)) + deviation
    for own, off in zip(values, deviation, strict=True):
        stops = [session for session in range(1, N_SESSIONS - 1) if rule(rng, off[session, 0])]
        if stops:
            own[stops[0] + 1 :] = np.nan
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path)
    words = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name, rule in RULES.items():
        rng = np.random.default_rng([words.seed, *name.encode()])
        found: dict[str, list[bool]] = {"plasticity": [], "warning of dropout": [], "mixed_model": []}
        for _ in range(words.studies):
            real = study(courses(rule, rng))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                growth = ibs.plasticity(real, n=499, correct=[])
                table = ibs.mixed_model(real)
            found["plasticity"].append(bool(growth.dataset["p"].item() <= LEVEL))
            found["warning of dropout"].append("stop early" in growth.dataset.attrs.get("warning", ""))
            if table["converged"].item():
                found["mixed_model"].append(bool(table["p"].item() <= LEVEL))
        for test, rejected in found.items():
            rows.append(rate_row(name, test, np.array(rejected), holds=test != "plasticity"))
            row = rows[-1]
            print(
                f"{name:<42} {test:<20} {row['rate']:.3f} [{row['low']:.3f}, {row['high']:.3f}] of {row['n']}",
                flush=True,
            )
    how = (
        f"{N_DYADS} dyads, up to {N_SESSIONS} sessions, no growth, error of a session {ERROR:g}; share of studies with "
        f"p <= {LEVEL:g}, and of those with a warning (level .01); mixed models that converged"
    )
    if words.out:
        made = {"how": how, "rows": rows, "provenance": provenance(REPOSITORY, PACKAGES)}
        words.out.write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
