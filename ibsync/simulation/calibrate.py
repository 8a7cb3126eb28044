"""How often a test rejects on a study's own recordings of pseudo-dyads, and what coupling it would find.

Null data are recordings of people who never met, and therefore cannot have interacted, but who saw the same stimuli,
breathed, moved and were recorded with the same machine. What a test calls synchrony there is not interaction.

For surrogates of single dyads (``"phase"``, ``"iaaft"``, ``"shift"``, ...) a simulation is one pseudo-dyad. Where
recordings share a stimulus or bursts of power these tests reject far more often than they say, and should: they test
independence, and the recordings are not independent. Then only re-pairing tells interaction from what everybody shares.

For re-pairing a simulation is a study of people who never met. Partners are put together at random, so such a test
rejects as often as it says whoever the people are; what can be learnt is how fine its p-values are, and that nothing
is wrong with its making. That people are exchangeable it takes for granted, here as in the analysis.

For the power a shared component is put into recordings of people who never met, in the bands and in one channel pair.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..coupling.backends.choice import backend_named
from ..coupling.band_spec import Spec
from ..coupling.measures import measure_named, require_measure
from ..errors import PlanError, require_known
from ..inference.alike import alike_within_groups
from ..inference.settings import TestSettings
from ..nulls.random_streams import STREAM_VERSION
from ..nulls.surrogate_signals import require_options
from ..recordings.journal import Journal, opened
from ..recordings.memory import Budget, Memory
from ..results.calibration_result import _SURE, Calibration
from ..results.result import provenance
from ..study.channel_pairs import Pairs
from ..study.controls import Controls
from ..study.epochs import EpochWords
from ..study.planned import NULL_KINDS, REPAIRINGS, planned, require_bands
from ..study.repairing_plan import require_within
from ..study.rows import used_rows
from ..study.runner import Worker, run_jobs
from ..study.study import Study
from .calibrated_tests import Design, RepairedStudies, SurrogateDyads, simulation_jobs
from .checks import is_whole
from .common_causes import common_bursts, shared_physiology

REPAIR_DRAWS, SURROGATE_DRAWS = 999, 39
"""Draws of a simulated test that was not told how many."""
COUPLINGS = (0.2, 0.4, 0.6, 0.8)
POWER_SHARE = 4
"""Simulations of the level for each simulation of one coupling."""
MOST_CELLS = 20
_FEWEST_IN_CELL = 5
_FEW_DYADS = 6

_Tests = RepairedStudies | SurrogateDyads


def calibrate(
    study: Study,
    spec: Spec,
    *,
    kind: str = "repair",
    n_sims: int = 200,
    n: int | None = None,
    couplings: Sequence[float] = COUPLINGS,
    alpha: float = 0.05,
    signal: str = "hbo",
    pairs: Pairs = "same",
    epochs: EpochWords = None,
    controls: Sequence[str] = (),
    how: str = "both",
    n_components: int = 2,
    within: Sequence[str] | None = None,
    measure: str | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    physiology: Mapping[str, ArrayLike] | None = None,
    backend: str = "auto",
    executor: Executor | None = None,
    journal: str | os.PathLike[str] | Journal | None = None,
    progress: bool = False,
    memory: Memory | Budget = None,
) -> Calibration:
    """
    False positives and power of a test on a study's own recordings.

    Parameters
    ----------
    study : Study
    spec : WTC or Coupling
        With bands.
    kind : str
        As `Study.null`.
    n_sims : int
        Simulations without interaction; a quarter as many are made for each coupling.
    n : int, optional
        Draws of each simulated test; by default 999 re-pairings (all, where there are fewer), or 39 surrogates.
    couplings : sequence of float
        Coherency of two people in every band, 0 to 1, put into one of the channel pairs; may be empty.
    alpha : float
        Level of the family-wise test over channel pairs, epochs and bands; upper tail.
    signal, pairs, epochs, controls, how, n_components, within, measure, seed, options
    backend, executor, journal, progress, memory
        As `Study.null`, without "global" among the controls. Surrogates are tested over four channel pairs at most,
        drawn at random, and so is power.
    physiology : mapping of recording id to float [sample], optional
        Pulse, breathing or another auxiliary signal of every recording, at its rate: real partners are tested against
        re-paired ones.

    Returns
    -------
    Calibration

    Raises
    ------
    PlanError, InputError
        If a word or a number is out of its range, or the study cannot be calibrated: re-pairing takes four dyads that
        may exchange partners, surrogates two people who never met. Nothing has been computed then.

    Examples
    --------
    >>> calibrate(study, spec, kind="repair", n_sims=10).verdict  # 200 and more for a paper
    """
    require_bands(spec)
    if spec.lags:
        raise PlanError("calibration tries coupling without a lag: leave lags out of the spec")
    measure = spec.measure if measure is None else measure
    require_measure(spec, measure)
    of_trials = [row for row in used_rows(study) if row.recording_a.trial_samples]
    if of_trials:
        raise PlanError(
            f"{of_trials[0].label}: calibration shifts continuous recordings against each other, and this is cut into "
            "trials: calibrate the recordings before they are cut"
        )
    few = REPAIR_DRAWS if kind == "repair" else SURROGATE_DRAWS
    asked = Controls.of(controls, how, n_components)
    if asked is not None and asked.apart:
        raise PlanError(
            "calibration tests few channel pairs at a time and has no 'global' mean: leave it out of controls"
        )
    made = planned(study, spec, signal=signal, pairs=pairs, epochs=epochs, controls=asked)
    design = Design(
        spec=spec, kind=kind, n_draws=few if n is None else n, alpha=alpha, signal=signal, pairs=pairs,
        epochs=epochs, within=within if within is None else tuple(within), measure=measure, seed=seed,
        backend=backend, options=dict(options or {}), controls=made.controls,
    )  # fmt: skip
    _check(design, n_sims, couplings)
    asked_for = {
        **{entry.name: getattr(design, entry.name) for entry in fields(design)}, **study.origin, "n_sims": n_sims,
        "couplings": tuple(couplings), "backend": backend_named(backend).name, "stream_version": STREAM_VERSION,
        "ibsync_version": provenance()["ibsync_version"],
    }  # fmt: skip
    with opened(journal, asked_for, (study.path,)) as kept:
        who: dict[str, Any] = {"executor": executor, "journal": kept}
        tests: _Tests
        if kind == "repair":
            tests = RepairedStudies(study, design, progress=progress, memory=memory, **who)
        else:
            tests = SurrogateDyads(study, design, n_sims)
        # Before the long part, as signals may be refused here.
        warnings = tuple(_warnings(study, design, tests, physiology))
        n_power, worker = max(1, n_sims // POWER_SHARE), Worker(backend)

        def simulated(coupling: float | None, n: int, what: str) -> NDArray[np.int64]:
            jobs = simulation_jobs(tests, study, design, n_sims, coupling, n)
            worker.once(jobs[0].key, lambda: tests)
            bar = (what, "batch") if progress else None
            of = ("calibrate", coupling, repr(design), n_sims)
            parts = dict(run_jobs(jobs, worker, bar=bar, of=of, **who))
            return np.concatenate([parts[number] for number in range(len(jobs))])

        ranks = simulated(None, n_sims, "level")
        n_found = [int(simulated(float(g), n_power, f"coupling {g:g}").sum()) for g in couplings]
    edges, counts = _cells(ranks, tests.n_draws)
    # Not alpha (m + 1) itself, which rounding may put below the whole number that it is.
    most = int(np.floor(alpha * (tests.n_draws + 1) * (1 + 1e-12)))
    return Calibration(
        kind=kind, alpha=alpha, n_sims=n_sims, false_positives=int((ranks < most).sum()),
        attainable=most / (tests.n_draws + 1), n=tests.n_draws, rank_edges=edges, rank_counts=counts,
        couplings=tuple(float(g) for g in couplings), detections=tuple(n_found), n_power=n_power,
        level_unit=tests.level_unit, power_unit=tests.power_unit, design=tests.page, warnings=warnings,
        signal=signal, bands=tuple(spec.bands or {}), seed=seed,
    )  # fmt: skip


def _check(design: Design, n_sims: int, couplings: Sequence[float]) -> None:
    require_known("kind", design.kind, NULL_KINDS)
    if measure_named(design.measure).signed:
        raise PlanError(
            f"measure {design.measure!r} has a sign and is tested in both tails; calibration tries tests of the upper "
            "tail: choose a measure without a sign"
        )
    TestSettings(design.n_draws, design.seed, "greater", ("max",), design.alpha)
    require_within(design.within)
    require_options(design.kind, design.options)
    if not is_whole(n_sims, 1):
        raise PlanError(f"n_sims must be at least 1, got {n_sims!r}: 200 are usual")
    if design.n_draws > REPAIRINGS:
        raise PlanError(f"n must lie between 1 and {REPAIRINGS}, got {design.n_draws!r}")
    if design.alpha * (design.n_draws + 1) < 1 - 1e-12:
        raise PlanError(
            f"{design.n_draws} draws cannot give a p of {design.alpha:g}: take n of at least "
            f"{int(np.ceil(1 / design.alpha * (1 - 1e-12))) - 1}"
        )
    for g in couplings:
        if not 0 < g <= 1:
            raise PlanError(f"couplings must lie above 0 and at most at 1, got {g!r}")
    if list(couplings) != sorted(set(couplings)):
        raise PlanError(f"couplings must rise, each named once, got {list(couplings)!r}")


def _cells(ranks: NDArray[np.int64], n_draws: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Edges and counts of cells of ranks: as many as the simulations fill, of one width if that leaves enough."""
    most = int(np.clip(len(ranks) // _FEWEST_IN_CELL, 1, min(MOST_CELLS, n_draws + 1)))
    even = next(n for n in range(most, 0, -1) if (n_draws + 1) % n == 0)
    n_cells = even if 2 * even >= most else most
    edges = np.round(np.linspace(0, n_draws + 1, n_cells + 1)).astype(int)
    counts = np.histogram(ranks, edges - 0.5)[0]
    return tuple(edges.tolist()), tuple(counts.tolist())


# --- words ------------------------------------------------------------------------------------------------------------


def _warnings(study: Study, design: Design, tests: _Tests, physiology: Mapping[str, ArrayLike] | None) -> Iterable[str]:
    n_dyads = len({row.dyad for row in study.dyads})
    if n_dyads < _FEW_DYADS:
        yield f"{n_dyads} dyads are few: what they do says little about others."
    yield from _burst_words(study, design)
    if isinstance(tests, RepairedStudies) and "group" not in (design.within or ()):
        p = alike_within_groups(tests.null, {row.dyad: row.group for row in study.dyads}, design.seed)
        if p <= design.alpha:
            yield (
                "People of one group are more coherent with each other than with those of another although they never "
                f"met (p = {p:.2g}): they are not exchangeable; use within=['group']."
            )
    if physiology is not None:
        p = shared_physiology(
            study, physiology, design.spec, epochs=design.epochs, within=design.within, seed=design.seed,
            backend=design.backend,
        )  # fmt: skip
        if p <= design.alpha:
            yield (
                f"The auxiliary signals of real partners are more coherent than those of re-paired ones (p = {p:.2g}): "
                "part of what re-pairing finds may be shared physiology; regress it out before packing."
            )


def _burst_words(study: Study, design: Design) -> Iterable[str]:
    bursts = common_bursts(study, dict(design.spec.bands or {}), design.signal, design.seed)
    for name, (correlation, p) in bursts.items():
        if p * len(bursts) <= _SURE:
            meaning = (
                "re-pairing allows for it"
                if design.kind == "repair"
                else "surrogates of single dyads take such bursts for synchrony; use kind='repair'"
            )
            yield (
                f"In band {name!r} the power of people who never met rises and falls together (mean correlation of "
                f"envelopes {correlation:.2f}, p = {p:.2g}): {meaning}."
            )
