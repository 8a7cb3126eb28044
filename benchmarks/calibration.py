"""How often tests of inter-brain synchrony reject when there is none, and when there is: prints tables, writes JSON.

python benchmarks/calibration.py [--sims 2500] [--draws 39] [--only SECTION ...] [--out benchmarks/results/NAME.json]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache, partial
from itertools import permutations
from math import factorial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from measure import provenance, usable_cores
from numpy.typing import NDArray
from rates import PACKAGES, REPOSITORY, Row, rate_row
from scenarios import BAND_S, DURATION_S, SCENARIOS, SFREQ_HZ, WITHOUT_INTERACTION, simulate

from ibsync.coupling.engine import Engine
from ibsync.coupling.spec import WTC
from ibsync.inference.p_values import p_value
from ibsync.inference.repaired_test import repair_test
from ibsync.inference.settings import TestSettings
from ibsync.nulls.counts import tie_tolerance
from ibsync.nulls.draws import Draws
from ibsync.nulls.repaired_null import RepairedNull
from ibsync.nulls.repairing import Repairing
from ibsync.study.surrogate_partners import SurrogatePartners

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

LEVEL = 0.05

BLOCK_S, LEAST_LAG_S = 30.0, 40.0
OPTIONS: dict[str, dict[str, Any]] = {"block": {"block": round(BLOCK_S * SFREQ_HZ)}}
KINDS = ("phase", "iaaft", "shift", "block", "ar1")
STATIONARY = ("independent", "ar1")
HOLDS = {"phase": STATIONARY, "iaaft": STATIONARY, "shift": STATIONARY, "block": (), "ar1": ("ar1",)}
"""Scenarios that fulfil the hypothesis of each family. Blocks are not exchangeable in any recording with a spectrum."""

SLOW, ONE_IN = ("iaaft",), 5
"""Families that are tested on one piece of work in five only: making such a surrogate costs most."""

N_DYADS = 6
ALL_REPAIRINGS = factorial(N_DYADS) - 1
PART = 25  # simulations in one piece of work
TOGETHER = 4  # studies in one call: small calls cost more than the pairs between studies that nobody needs


# --- a dyad against surrogates of it ----------------------------------------------------------------------------------


@cache
def engine() -> Engine:
    """Plan of the tested band over a whole recording."""
    return Engine(round(DURATION_S * SFREQ_HZ), SFREQ_HZ, _request(BAND_S), backend="numpy")


def _request(periods_s: tuple[float, float], **options: Any) -> WTC:
    return WTC(bands={"tested": (1 / periods_s[1], 1 / periods_s[0])}, accuracy="fast", **options)


def ranks(kind: str, pairs: Floats, n_draws: int, *, seed: int, first: int = 0) -> Integers:
    """Draws that reach the real coherence, for each simulated dyad.

    Parameters
    ----------
    kind : str
        Family of surrogates, or "shift of at least 40 s".
    pairs : float64 [sim, person, sample]
    n_draws : int
    seed : int
    first : int
        Number of the first simulation, which makes the surrogates of each its own.

    Returns
    -------
    int64 [sim]
        0..n_draws; evenly spread where the null holds.
    """
    drawn = _far_shifted if kind == MINIMUM_LAG else partial(_surrogates, kind)
    values = [drawn(pair, n_draws, seed, first + sim) for sim, pair in enumerate(pairs)]
    return np.array([_n_reaching(v) for v in values], dtype=np.int64)


def _surrogates(kind: str, pair: Floats, n_draws: int, seed: int, sim: int) -> Floats:
    """Coherence of the recording and of each draw, float64 [draw]."""
    partners = SurrogatePartners(
        engine(), pair[:1], pair[1:], kind, seed, (2 * sim, 2 * sim + 1), options=OPTIONS.get(kind, {})
    )
    return partners.values(np.arange(n_draws + 1)).reshape(-1)


MINIMUM_LAG = f"shift of at least {LEAST_LAG_S:.0f} s"


def _far_shifted(pair: Floats, n_draws: int, seed: int, sim: int) -> Floats:
    """As `_surrogates`, but leaving out short shifts, which is a habit and not a null of ibsync."""
    n, least = pair.shape[-1], round(LEAST_LAG_S * SFREQ_HZ)
    shift = np.random.default_rng([seed, sim]).integers(least, n - least + 1, n_draws)
    shift = np.concatenate([[0], shift])
    drawn = pair[1, (np.arange(n) - shift[:, None]) % n]
    here = engine()
    return here.coherence(here.features(pair[0]), here.features(drawn, seam=shift)).coherence.reshape(-1)


def _n_reaching(values: Floats) -> int:
    tolerance = tie_tolerance(values[:1], np.dtype(np.float32))[0]
    return int(np.sum(values[1:] >= values[0] - tolerance))


# --- real dyads against re-paired ones --------------------------------------------------------------------------------


def pair_tables(studies: Floats) -> Floats:
    """Coherence of every first with every second person, [sim, A, B], of studies [sim, dyad, person, sample]."""
    here = engine()
    tables = []
    for start in range(0, len(studies), TOGETHER):
        first, second = (here.features(studies[start : start + TOGETHER, :, person]) for person in range(2))
        found = here.coherence(first, second).coherence[..., 0, 0]  # [sim, A, sim, B]
        sim = np.arange(len(found))
        tables.append(found[sim, :, sim])
    return np.concatenate(tables)


def repairing_p(tables: Floats, n_draws: int = ALL_REPAIRINGS) -> Floats:
    """p of the mean over real dyads against all re-pairings, or `n_draws` of more: [sim] from [sim, A, B]."""
    names = [f"d{row:03d}" for row in range(tables.shape[1])]
    design = Repairing.of(names, [f"{d}-a" for d in names], [f"{d}-b" for d in names])
    draws = Draws.plan(design, n_draws, 1, list_up_to=n_draws + 1)
    null = RepairedNull(np.moveaxis(tables, 0, -1)[None], draws, ("1",))
    return np.asarray(repair_test(null, TestSettings(tail="greater", correct=[]))["p"])


def derangement_p(tables: Floats, n_draws: int = ALL_REPAIRINGS) -> Floats:
    """As `repairing_p`, but nobody may draw their own partner: no group, hence no valid test."""
    n = tables.shape[1]
    own = np.arange(n)
    if factorial(n) <= n_draws + 1:
        drawn = np.array([order for order in permutations(range(n)) if not np.any(order == own)])
    else:
        rng = np.random.default_rng(1)
        drawn = np.argsort(rng.random((4 * n_draws, n)), axis=1)
        drawn = drawn[(drawn != own).all(axis=1)][:n_draws]
    real = np.trace(tables, axis1=1, axis2=2)
    reached = sum((tables[:, own, order].sum(axis=1) >= real - 1e-12).astype(np.int64) for order in drawn)
    return p_value(np.asarray(reached), len(drawn))


def welch_p(tables: Floats, _n_draws: int = 0) -> Floats:
    """Real dyads against all pseudo-dyads as if these were independent observations (Welch's t, one-sided)."""
    from scipy.stats import ttest_ind

    n = tables.shape[1]
    real = np.diagonal(tables, axis1=1, axis2=2)
    others = tables[:, ~np.eye(n, dtype=bool)]
    return np.asarray(ttest_ind(real, others, axis=1, equal_var=False, alternative="greater").pvalue)


def own_pseudo_p(tables: Floats, _n_draws: int = 0) -> Floats:
    """Each real dyad against the mean of its own two persons' pseudo-dyads (paired t, one-sided)."""
    from scipy.stats import ttest_1samp

    n = tables.shape[1]
    real = np.diagonal(tables, axis1=1, axis2=2)
    of_pseudo = (tables.sum(axis=1) + tables.sum(axis=2) - 2 * real) / (2 * n - 2)
    return np.asarray(ttest_1samp(real - of_pseudo, 0.0, axis=1, alternative="greater").pvalue)


GROUP_TESTS: dict[str, Callable[[Floats, int], Floats]] = {
    "re-pairing": repairing_p,
    "derangements": derangement_p,
    "t, all pseudo-dyads": welch_p,
    "t, own pseudo mean": own_pseudo_p,
}


# --- pieces of work ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Settings:
    """Size of a run."""

    sims: int
    draws: int
    seed: int
    processes: int

    def n_sims(self, scenario: str) -> int:
        """All simulations where hypotheses hold, a fifth of them where they are known not to."""
        return self.sims if scenario in STATIONARY else max(2, self.sims // 5)


@dataclass(frozen=True)
class Piece:
    """Some simulations of one scenario, with random numbers that no other piece has."""

    scenario: str
    part: int
    n_sims: int
    settings: Settings


def _pieces(settings: Settings, n_sims: Callable[[str], int]) -> list[Piece]:
    return [
        Piece(scenario, part, min(PART, n_sims(scenario) - first), settings)
        for scenario in SCENARIOS
        for part, first in enumerate(range(0, n_sims(scenario), PART))
    ]


def _dyad_piece(piece: Piece) -> dict[str, Integers]:
    """Ranks of every family that is tested on this piece, int64 [sim]."""
    settings = piece.settings
    pairs = simulate(piece.scenario, piece.n_sims, seed=settings.seed, part=piece.part)[:, 0]
    first = piece.part * PART
    kinds = [kind for kind in (*KINDS, MINIMUM_LAG) if kind not in SLOW or piece.part % ONE_IN == 0]
    return {kind: ranks(kind, pairs, settings.draws, seed=settings.seed, first=first) for kind in kinds}


def _group_piece(piece: Piece) -> Floats:
    """Pair tables, float64 [sim, A, B]."""
    return pair_tables(simulate(piece.scenario, piece.n_sims, N_DYADS, seed=piece.settings.seed, part=piece.part))


def _worked(work: Callable[[Piece], Any], pieces: Sequence[Piece], n_processes: int) -> dict[str, list[Any]]:
    """What each piece gave, by scenario and in order."""
    found: dict[str, list[Any]] = {piece.scenario: [] for piece in pieces}
    if n_processes == 1:
        results = list(map(work, pieces))
    else:
        with ProcessPoolExecutor(n_processes, get_context("spawn")) as pool:
            results = list(pool.map(work, pieces))
    for piece, result in zip(pieces, results, strict=True):
        found[piece.scenario].append(result)
    return found


# --- sections ---------------------------------------------------------------------------------------------------------


def measure_dyads(settings: Settings) -> dict[str, Any]:
    """Every family of surrogates in every scenario."""
    found = _worked(_dyad_piece, _pieces(settings, settings.n_sims), settings.processes)
    rows = []
    for scenario, parts in found.items():
        for kind in (*KINDS, MINIMUM_LAG):
            b = np.concatenate([part[kind] for part in parts if kind in part])
            histogram = np.bincount(b, minlength=settings.draws + 1)
            holds = scenario in HOLDS.get(kind, ())
            rejected = p_value(b, settings.draws) <= LEVEL
            rows.append(
                rate_row(scenario, kind, rejected, holds=holds, ranks=histogram.tolist(), p_even=_p_even(histogram))
            )
    return {
        "how": f"one dyad, one channel each, {DURATION_S:g} s at {SFREQ_HZ:g} Hz, mean R2 of periods {BAND_S[0]:g}-"
        f"{BAND_S[1]:g} s; share of dyads with p <= {LEVEL:g} from {settings.draws} draws. Columns that name a family "
        f"are ibsync's, {' and '.join(SLOW)} on about one simulation in {ONE_IN}; a least lag of shifts is a habit of "
        "the field",
        "rows": rows,
    }


def _p_even(histogram: Integers) -> float:
    """p of the chi-square test that all ranks are equally frequent."""
    from scipy.stats import chisquare

    return float(chisquare(histogram).pvalue)


def measure_groups(settings: Settings) -> dict[str, Any]:
    """Group tests of real against re-paired dyads in every scenario."""
    pieces = _pieces(settings, lambda _: settings.sims)
    found = _worked(_group_piece, pieces, settings.processes)
    rows = []
    for scenario, parts in found.items():
        tables = np.concatenate(parts)
        for test, p in GROUP_TESTS.items():
            holds = test == "re-pairing" and scenario in WITHOUT_INTERACTION
            rows.append(rate_row(scenario, test, p(tables, ALL_REPAIRINGS) <= LEVEL, holds=holds))
    return {
        "how": f"{N_DYADS} dyads, otherwise as above; share of studies with p <= {LEVEL:g}. Re-pairing is ibsync's "
        "test, all re-pairings listed; the others are habits of the field",
        "rows": rows,
    }


def measure_person_effects(settings: Settings) -> dict[str, Any]:
    """The group tests on pair values a_i + b_j + error: no signals, hence many studies."""
    n_sims, n_draws = 8 * settings.sims, 999
    rng = np.random.default_rng([settings.seed, 0])
    rows = []
    for sd in (0.0, 1.0):
        for n in (5, 8, 12, 20):
            effect_a, effect_b = sd * rng.standard_normal((2, n_sims, n))
            tables = effect_a[:, :, None] + effect_b[:, None, :] + rng.standard_normal((n_sims, n, n))
            for test, p in GROUP_TESTS.items():
                rejected = p(tables, n_draws) <= LEVEL
                rows.append(rate_row(f"{n} dyads, sd {sd:g}", test, rejected, holds=test == "re-pairing"))
    return {
        "how": "no interaction; the value of a pair is an effect of each person (standard deviation sd) plus an error "
        f"of 1; {n_draws} draws where not all re-pairings are listed; share of studies with p <= {LEVEL:g}",
        "rows": rows,
    }


RECORD_S = 600.0
DURATIONS_S = {(6.0, 10.0): (30.0, 60.0, 120.0, 300.0), BAND_S: (60.0, 120.0, 300.0)}
"""Segments that hold the periods of a band."""


def measure_durations(settings: Settings) -> dict[str, Any]:
    """Mean coherence of strangers in segments of a recording: transformed one by one, or cut out of one transform."""
    n_sims = max(2, settings.sims // 5)
    pairs = simulate("independent", n_sims, seed=settings.seed, duration_s=RECORD_S)[:, 0]
    rows = [row for band, durations in DURATIONS_S.items() for row in of_durations(pairs, band, durations)]
    return {
        "how": f"mean R2 of two strangers (scenario independent) in the middle of a recording of {RECORD_S:g} s, and "
        f"its standard error; {n_sims} dyads",
        "durations": rows,
    }


def of_durations(pairs: Floats, band_s: tuple[float, float], durations_s: Sequence[float]) -> Iterator[Row]:
    request = _request(band_s, min_valid=0.0)  # the cone leaves little of a short segment
    epochs = {f"{d:g}": [((RECORD_S - d) / 2, (RECORD_S + d) / 2)] for d in durations_s}
    whole = Engine(pairs.shape[-1], SFREQ_HZ, request, epochs=epochs, backend="numpy")
    cut = np.stack([_coherence(whole, pair) for pair in pairs])
    for number, d in enumerate(durations_s):
        begin, end = whole.plan.epoch_samples[number][0]
        segment = Engine(end - begin, SFREQ_HZ, request, backend="numpy")
        alone = np.concatenate([_coherence(segment, pair[:, begin:end]) for pair in pairs])
        means = {"transformed_alone": _mean(alone), "cut_from_whole": _mean(cut[:, number])}
        yield {"periods_s": band_s, "duration_s": d, **means}


def _coherence(here: Engine, pair: Floats) -> Floats:
    """Band mean of each epoch, float64 [epoch]."""
    return np.asarray(here.coherence(here.features(pair[0]), here.features(pair[1])).coherence[0])


def _mean(values: Floats) -> dict[str, float]:
    return {"mean": float(values.mean()), "standard_error": float(values.std(ddof=1) / np.sqrt(len(values)))}


SECTIONS: dict[str, Callable[[Settings], dict[str, Any]]] = {
    "dyads": measure_dyads,
    "groups": measure_groups,
    "person effects": measure_person_effects,
    "durations": measure_durations,
}


# --- what is printed --------------------------------------------------------------------------------------------------


def _page(name: str, found: Mapping[str, Any]) -> Iterator[str]:
    yield f"\n== {name} ({found['seconds']:.0f} s)\n{found['how']}."
    if "durations" in found:
        header = ["periods, s", "segment, s", "transformed alone", "cut from the whole"]
        yield from aligned([header, *map(_duration_cells, found["durations"])])
        return
    yield from rate_table(found["rows"])


def rate_table(rows: Sequence[Row]) -> Iterator[str]:
    """Rates by scenario and test, and what the marks mean."""
    tests = list(dict.fromkeys(row["test"] for row in rows))
    cells = {(row["scenario"], row["test"]): row for row in rows}
    body = []
    for scenario in dict.fromkeys(row["scenario"] for row in rows):
        here = [cells.get((scenario, test)) for test in tests]
        sims = max(row["n"] for row in here if row)
        body.append([scenario, *("-" if row is None else rate_cell(row) for row in here), str(sims)])
    yield from aligned([["", *tests, "sims"], *body])
    marked = "* the hypothesis holds; " * any(row["hypothesis_holds"] for row in rows)
    yield f"{marked}brackets: 95 % Clopper-Pearson limits"


def rate_cell(row: Row) -> str:
    digits = (f"{row[key]:.3f}".lstrip("0") for key in ("rate", "low", "high"))
    return "{} [{}, {}]".format(*digits) + ("*" if row["hypothesis_holds"] else " ")


def _duration_cells(row: Row) -> list[str]:
    both = (row["transformed_alone"], row["cut_from_whole"])
    band = "{:g}-{:g}".format(*row["periods_s"])
    return [band, f"{row['duration_s']:g}", *(f"{v['mean']:.3f} +- {v['standard_error']:.3f}" for v in both)]


def aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))


# --- command ----------------------------------------------------------------------------------------------------------


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="False positive rates and power of every null, on simulated signals.")
    parser.add_argument("--sims", type=int, default=2500, help="simulations where hypotheses hold (default 2500)")
    parser.add_argument("--draws", type=int, default=39, help="surrogates of each dyad (default 39)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=len(usable_cores()))
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), metavar="SECTION",
                        help=f"some of: {', '.join(SECTIONS)}")  # fmt: skip
    parser.add_argument("-o", "--out", type=Path, metavar="NAME.json", help="write all figures")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    """Run the sections asked for; what is known is on disk after each of them."""
    arguments = _arguments(words)
    settings = Settings(arguments.sims, arguments.draws, arguments.seed, arguments.processes)
    report: dict[str, Any] = {
        "provenance": provenance(REPOSITORY, PACKAGES), "settings": asdict(settings), "level": LEVEL, "sections": {},
    }  # fmt: skip
    for name in arguments.only:
        started = time.perf_counter()
        found = SECTIONS[name](settings)
        report["sections"][name] = found = found | {"seconds": round(time.perf_counter() - started, 1)}
        print("\n".join(_page(name, found)), flush=True)
        if arguments.out:
            arguments.out.parent.mkdir(parents=True, exist_ok=True)
            arguments.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
