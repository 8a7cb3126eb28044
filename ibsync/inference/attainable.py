"""Whether a number of draws or of dyads can show anything at a level."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..nulls.draws import Draws
from ..nulls.relabelling import LEAST_UNITS
from .settings import TestSettings


def attainable(
    settings: TestSettings,
    n_features: int,
    draws: Draws[Any] | int,
    *,
    n_ways: int | None = None,
    units: str | None = None,
) -> str:
    """
    Which corrections no single finding could pass, and why, in one sentence; empty if each could.

    A single finding among V features survives a false discovery rate only if V / (m + 1) <= alpha (with
    Benjamini-Yekutieli V times the harmonic sum), and a maximum statistic or a plain p only if 1 / (m + 1) <= alpha;
    two-sided p-values are twice as large.

    Parameters
    ----------
    settings : TestSettings
    n_features : int
        Features V that are tested together.
    draws : Draws or int
        Of the test, or how many random ones.
    n_ways : int, optional
        Draws that differ, the observed one included, where that is fewer than all.
    units : str, optional
        What is exchanged, with its number: "12 dyads", which is the default for 12 units of the design.
    """
    n_draws = draws if isinstance(draws, int) else draws.n
    ways = n_draws + 1 if n_ways is None else n_ways
    needed = {name: _needed(name, n_features, settings) for name in settings.corrections or ("",)}
    short = [name for name, least in needed.items() if ways < least]
    if not short:
        return ""
    least = max(needed[name] for name in short)
    named = " or ".join(map(repr, filter(None, short)))
    head = f"no single finding could pass {named}".rstrip()
    tests = f"{n_features} features tested with {named or 'no correction'} at alpha={settings.alpha:g}"
    if isinstance(draws, int) or not draws.listed:
        return (
            f"{head}: {tests} need n={least - 1} draws, {n_draws} were asked for; ask for more, test fewer features, "
            "or correct with 'max'"
        )
    design, p = draws.design, settings.min_p(ways)
    differ = " that differ" if ways <= n_draws else ""
    of_ways = getattr(design, "ways", None)
    more = (
        f"record at least {_dyads_for(least, of_ways)} {design.unit_noun} in one block"
        if of_ways
        else "record more of them"
    )
    return (
        f"{head}: {units or f'{len(design)} dyads'} allow only {ways} {design.noun}{differ} (smallest p {p:.3g}), too "
        f"few for {tests}; {more} or test fewer features"
    )


def n_tested(values: NDArray[np.float64]) -> int:
    """Features with a value in at least two dyads or units, of float64 [unit, feature]."""
    return int((np.isfinite(values).sum(axis=0) >= LEAST_UNITS).sum())


def _needed(name: str, n_features: int, settings: TestSettings) -> int:
    """Exchanges, the observed one included, of which a single finding needs so many to pass a correction."""
    factor = 1.0
    if name in ("fdr", "fdr_by"):
        factor = n_features * (float(np.sum(1.0 / np.arange(1, n_features + 1))) if name == "fdr_by" else 1.0)
    return ceil(settings.n_sides * factor / settings.alpha * (1 - 1e-12))


def _dyads_for(needed: int, ways: Callable[[int], int]) -> int:
    """Smallest number of dyads that can be paired in at least `needed` ways."""
    n = 1
    while ways(n) < needed:
        n += 1
    return n
