"""One question asked in many defensible ways: bands, signals, presets, cones, measures and nulls, and one answer."""

from __future__ import annotations

import itertools
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..coupling.backends.choice import backend_named
from ..coupling.band_spec import XCORR, Coupling, Spec
from ..coupling.measures import COUPLINGS, MEASURES
from ..coupling.spec import CONES, WTC, Band
from ..errors import PlanError, require_known
from ..inference.joint_test import JointTest, joint_test, pooled_draws, pooled_pairs
from ..inference.settings import TestSettings
from ..nulls.random_streams import STREAM_VERSION
from ..nulls.repaired_null import RepairedNull
from ..nulls.surrogate_null import SurrogateNull
from ..nulls.tails import Tail
from ..recordings.journal import Journal, opened
from ..recordings.memory import Budget, Memory
from ..recordings.progress import with_bar
from ..results.lost import NO_VALUE, Loss, losses_in
from ..results.multiverse_result import CHOICES, NUMBERS, Multiverse
from ..results.result import provenance
from ..study.channel_pairs import Pairs
from ..study.controls import Controls
from ..study.epochs import EpochWords, epoch_names
from ..study.losses import NoValueError
from ..study.planned import NULL_KINDS, REPAIRINGS, SURROGATES, rehearsed, request_of
from ..study.regions import Regions, Rois
from ..study.repairing_plan import plan_draws, require_within
from ..study.rows import used_rows
from ..study.runner import Worker
from ..study.study import Study
from ..study.surrogate_runs import Request
from .group_test import hypothesis_of

FILTERED = "band-pass"
"""What stands in the place of a preset of couplings of band-passed signals."""

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Words = str | Sequence[str]
BandWords = Mapping[str, Any] | Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class _Run:
    """Specifications that one computation serves: all epochs and bands of one choice of everything else."""

    null: str
    signal: str
    preset: str
    coi: str
    measure: str
    spec: Spec


@dataclass(frozen=True)
class _Request:
    """What all runs have in common."""

    pairs: Pairs
    epochs: EpochWords
    n: int | None
    test: TestSettings
    within: tuple[str, ...] | None
    backend: str
    computed: Mapping[str, Any]

    def n_of(self, null: str) -> int:
        """Draws that are asked for."""
        return self.n if self.n is not None else REPAIRINGS if null == "repair" else SURROGATES


def multiverse(
    study: Study,
    *,
    bands: BandWords,
    signal: Words = ("hbo", "hbr"),
    preset: Words = ("grinsted",),
    coi: Words = ("recording",),
    measure: Words = ("coherence",),
    kind: Words = ("repair",),
    pairs: Pairs = "all",
    epochs: EpochWords = None,
    controls: Sequence[str] = (),
    how: str = "both",
    n_components: int = 2,
    rois: Rois | None = None,
    roi_average: str = "coherence",
    n: int | None = None,
    seed: int = 0,
    tail: Tail | None = None,
    within: Sequence[str] | None = None,
    alpha: float = 0.05,
    backend: str = "auto",
    executor: Executor | None = None,
    journal: str | os.PathLike[str] | Journal | None = None,
    progress: bool = False,
    memory: Memory | Budget = None,
) -> Multiverse:
    """Test every combination of choices, and correct for having tried them all.

    A specification is one null, signal, preset, cone rule, measure, epoch and band. Its statistic is the mean over
    dyads, sessions and channel pairs. All specifications of one null use the same draws: the same re-pairings, or the
    same phases, shifts or blocks of each person. How they depend on one another is therefore known from the draws, and
    the correction for their number costs no more than it must.

    Parameters
    ----------
    study : Study
    bands : mapping of name to (low, high) in Hz or Band, or sequence of such mappings
        Several mappings may give one name other edges; what they have in common counts once.
    signal : sequence of str
    preset : sequence of str
        "grinsted", "grinsted-toolbox", or a preset and an accuracy such as "grinsted/fast". Without one the accuracy is
        "exact", and "reference" for "grinsted-toolbox", which is slow.
    coi : sequence of {"recording", "epoch", "none"}
    measure : sequence of str
        Of those that `Study.null` knows, such as "coherence" and "plv". Couplings of band-passed signals, all but
        "xcorr", know no presets: each is computed once for all of them, and named "band-pass" there.
    kind : sequence of str
        Kinds that `Study.null` knows, such as "repair" and "phase".
    pairs, epochs, controls, how, n_components, rois, roi_average, within, seed, backend, executor, journal, progress
        As `Study.null`.
    memory : int, str or Budget, optional
        What the process may hold in all, as `Study.null`; one null after the other is computed, and none is kept.
    n : int, optional
        Draws of every null; by default 10 000 re-pairings and 999 surrogates.
    tail : {"greater", "less", "two-sided"}, optional
        Default: "greater", or "two-sided" where the measures have a sign; to be named where they differ.
    alpha : float
        Level of p_max and of the share.

    Returns
    -------
    Multiverse

    Raises
    ------
    PlanError, InputError
        Before anything is computed: if a word is unknown or named twice, the study lacks a dyad or signal, a band does
        not fit its recordings, or the draws are too few for any p to reach alpha.

    Examples
    --------
    >>> many = multiverse(study, bands={"task": (0.02, 0.1)}, kind=["repair", "phase"], n=99)
    >>> many.hypothesis
    """
    labels = epoch_names(epochs)
    runs = _grid(bands, signal, preset, coi, measure, kind)
    tail = tail or _tail_of({run.measure for run in runs})
    asked = TestSettings(REPAIRINGS if n is None else n, seed, tail, alpha=alpha)
    taken: dict[str, Any] = {
        "controls": controls, "how": how, "n_components": n_components, "rois": rois, "roi_average": roi_average
    }  # fmt: skip
    request = _Request(pairs, epochs, n, asked, within if within is None else tuple(within), backend, taken)
    _check_words(request)
    reduced = _rehearse(study, runs, request)
    found: dict[str, list[tuple[_Run, Floats, Integers]]] = {run.null: [] for run in runs}
    words: dict[str, dict[str, Any]] = {}
    lost = [line for one in reduced.values() for line in one.lost]
    asked_for = {
        "bands": bands, "signal": signal, "preset": preset, "coi": coi, "measure": measure, "kind": kind,
        "pairs": pairs, "epochs": epochs, "n": n, "seed": seed, "tail": tail, "within": within, **taken,
        "stream_version": STREAM_VERSION, "backend": backend_named(backend).name, **study.origin,
        "ibsync_version": provenance()["ibsync_version"],
    }  # fmt: skip
    with opened(journal, asked_for, (study.path,)) as kept:
        for run in with_bar(runs, "multiverse", "run", progress):
            one = reduced[run]
            if one.spec is None:
                continue
            null = study.null(
                one.spec, kind=run.null, n=request.n_of(run.null), seed=seed, signal=run.signal, pairs=pairs,
                epochs=one.epochs, measure=run.measure, tail=tail, alpha=alpha, within=within, backend=backend,
                executor=executor, journal=kept, progress=progress, memory=memory, **taken,
            )  # fmt: skip
            words[run.null] = _about(null, asked)
            pooled, behind = _pooled(study, null, len(epoch_names(one.epochs)), len(one.spec.bands or {}))
            n_values = len(labels) * len(run.spec.bands or {})
            values, n_dyads = np.full((len(pooled), n_values), np.nan), np.zeros(n_values, np.int64)
            values[:, one.places], n_dyads[one.places] = pooled, behind
            found[run.null].append((run, values, n_dyads))
            lost += _without_value(run, null, one, behind)
    rows, summary = [], {}
    for kind, parts in found.items():
        if not parts:
            continue
        tested = joint_test(np.concatenate([values for _, values, _ in parts], axis=1), tail=tail, alpha=alpha)
        n_dyads = np.concatenate([dyads for _, _, dyads in parts])
        choices = [choice for run, _, _ in parts for choice in _choices(run, labels)]
        rows += [_row(choice, tested, n_dyads, v) for v, choice in enumerate(choices)]
        summary[kind] = {**words[kind], **_summary(tested, alpha, len(found))}
    import pandas as pd

    table = pd.DataFrame(rows, columns=[*CHOICES, *NUMBERS])
    return Multiverse(table, summary, alpha, tail, {**_attrs(study, request), "lost": lost})


def _grid(bands: BandWords, signal: Words, preset: Words, coi: Words, measure: Words, kind: Words) -> list[_Run]:
    """All runs; words of one list that are unknown or named twice are refused."""
    merged = _merged(bands)
    specs: dict[tuple[str, str], WTC] = {}
    for chosen, cone in itertools.product(_listed("preset", preset), _listed("coi", coi, CONES)):
        name, _, accuracy = chosen.partition("/")
        spec = WTC(merged, preset=name, accuracy=accuracy or _accuracy_of(name), coi=cone)
        twin = next((other for (other, _), known in specs.items() if known == spec), None)
        if twin is not None:
            raise PlanError(f"preset names {twin!r} and {chosen!r}, which are the same: leave one out")
        specs[chosen, cone] = spec
    measures = _listed("measure", measure, tuple(name for name in MEASURES if name != XCORR))
    computed: list[tuple[str, str, str, Spec]] = [
        (*ways, name, spec) for ways, spec in specs.items() for name in measures if name not in COUPLINGS
    ]
    computed += [
        (FILTERED, cone, name, Coupling(name, merged, coi=cone))
        for cone in _listed("coi", coi, CONES) for name in measures if name in COUPLINGS
    ]  # fmt: skip
    return [
        _Run(null, one_signal, *ways)
        for null in _listed("kind", kind, NULL_KINDS) for one_signal in _listed("signal", signal) for ways in computed
    ]  # fmt: skip


def _tail_of(measures: Iterable[str]) -> Tail:
    """The tail that all measures take where none is named."""
    tails = {MEASURES[name].tail for name in measures}
    if len(tails) > 1:
        raise PlanError("measures with and without a sign are tested in different tails: name one, as tail='two-sided'")
    return tails.pop()


def _accuracy_of(preset: str) -> str:
    return "reference" if preset == "grinsted-toolbox" else "exact"


def _merged(bands: BandWords) -> dict[str, Band]:
    """The bands of one or several mappings, each once; a name with several edges is told apart by them."""
    sets = [bands] if isinstance(bands, Mapping) else list(bands) if isinstance(bands, Sequence) else [bands]
    # A spec knows what a band may be, and says what is wrong with one that is none.
    parsed = [item for one in sets for item in cast("Mapping[str, Band]", WTC(one or {}).bands).items()]
    if not parsed:
        raise PlanError("bands is empty: name at least one, such as bands={'task': (0.02, 0.1)}")
    order = [name for name, _ in parsed]
    unique = sorted(dict.fromkeys(parsed), key=lambda item: order.index(item[0]))
    names = [name for name, _ in unique]
    return {name if names.count(name) == 1 else f"{name} {_edges(band)}": band for name, band in unique}


def _edges(band: Band) -> str:
    return f"{band.low_hz:.4g}-{band.high_hz:.4g} Hz"


def _listed(word: str, value: Words, known: Sequence[str] = ()) -> list[str]:
    """One word or several different ones."""
    items = [value] if isinstance(value, str) else list(value) if isinstance(value, Iterable) else [value]
    if not items:
        raise PlanError(f"{word} is empty: name at least one")
    for item in items:
        if not isinstance(item, str):
            raise PlanError(f"{word} must be words, got {item!r}")
        if known:
            require_known(word, item, known)
        if items.count(item) > 1:
            raise PlanError(f"{word} names {item!r} twice: a specification counts once")
    return items


def _choices(run: _Run, epochs: Sequence[str]) -> list[dict[str, Any]]:
    """What was chosen, for each epoch x band of a run in the order of its values."""
    return [
        {"null": run.null, "signal": run.signal, "band": name, "low_hz": band.low_hz, "high_hz": band.high_hz,
         "epoch": epoch, "preset": run.preset, "coi": run.coi, "measure": run.measure}
        for epoch in epochs for name, band in (run.spec.bands or {}).items()
    ]  # fmt: skip


# --- before anything is computed --------------------------------------------------------------------------------------


def _check_words(request: _Request) -> None:
    require_within(request.within)


@dataclass(frozen=True)
class _Reduced:
    """What can be computed of a run, and what cannot, in words.

    Parameters
    ----------
    spec : WTC, Coupling or None
        With the bands that have a value in any dyad; None if none has.
    epochs : sequence, mapping or None
        Likewise.
    places : int64 [epoch x band]
        Where these stand among all of the run.
    lost : tuple of str
    """

    spec: Spec | None
    epochs: EpochWords
    places: Integers
    lost: tuple[str, ...] = ()


def _rehearse(study: Study, runs: Sequence[_Run], request: _Request) -> dict[_Run, _Reduced]:
    """Everything that would stop a run, for all runs: a long computation must not end at its last specification."""
    tasks = list(dict.fromkeys(row.task for row in used_rows(study)))
    if len(tasks) > 1:
        raise PlanError(
            f"the study holds the tasks {' and '.join(tasks)}, which are conditions, not ways to compute one thing: "
            f"choose one, study.select(task={tasks[0]!r})"
        )
    for kind in dict.fromkeys(run.null for run in runs):
        _require_reach(study, kind, request)
    worker = Worker(request.backend)
    reduced = {run: _reduced(study, run, request, worker) for run in runs}
    if all(one.spec is None for one in reduced.values()):
        raise PlanError(f"no specification has a value: {next(iter(reduced.values())).lost[0]}")
    return reduced


def _reduced(study: Study, run: _Run, request: _Request, worker: Worker) -> _Reduced:
    """The run without the epochs and bands that have no value in any dyad."""
    spec: Spec | None = run.spec
    epochs, lost = request.epochs, list[str]()
    while spec is not None:
        try:
            rehearsed(study, _null_request(run, spec, epochs, request), worker)
            break
        except NoValueError as error:
            bands = {name: band for name, band in (spec.bands or {}).items() if name not in error.bands}
            gone = [loss for loss in error.losses if loss.epoch in error.epochs or loss.band in error.bands]
            lost += [_not_tested(run, loss) for loss in gone]
            if not bands or error.epochs >= set(epoch_names(epochs)):
                spec = None
            else:
                spec, epochs = replace(spec, bands=bands), _without(epochs, error.epochs)
    names, all_bands = epoch_names(request.epochs), list(run.spec.bands or {})
    kept = set() if spec is None else set(itertools.product(epoch_names(epochs), spec.bands or {}))
    places = [k for k, place in enumerate(itertools.product(names, all_bands)) if place in kept]
    return _Reduced(spec, epochs, np.array(places, np.int64), tuple(lost))


def _without_value(
    run: _Run, null: RepairedNull | SurrogateNull, reduced: _Reduced, n_dyads: Integers
) -> Iterator[str]:
    """Which specifications of a run that was computed have no value, and why."""
    spec, losses = reduced.spec or run.spec, losses_in(null.attrs)
    places = itertools.product(epoch_names(reduced.epochs), spec.bands or {})
    for (epoch, band), n in zip(places, n_dyads, strict=True):
        if n == 0:
            unknown = Loss("", epoch=epoch, band=band, reason="every value is missing", fix="see Study.check")
            here = (loss for loss in losses if (loss.epoch, loss.band, loss.what) == (epoch, band, NO_VALUE))
            yield _not_tested(run, next(here, unknown))


def _not_tested(run: _Run, loss: Loss) -> str:
    place = f"band {loss.band}, epoch {loss.epoch}, null {run.null}, {run.signal}, {run.preset}, cone {run.coi}"
    return f"{place}, {run.measure}: {loss.reason}: {loss.fix}"


def _without(epochs: EpochWords, names: Collection[str]) -> EpochWords:
    if isinstance(epochs, Mapping):
        return {name: span for name, span in epochs.items() if name not in names}
    return None if epochs is None else [name for name in epochs if name not in names]


def _null_request(run: _Run, spec: Spec, epochs: EpochWords, request: _Request) -> Request:
    return request_of(
        spec, kind=run.null, n=request.n_of(run.null), within=request.within, seed=request.test.seed,
        signal=run.signal, pairs=request.pairs, epochs=epochs, measure=run.measure, tail=request.test.tail,
        alpha=request.test.alpha, backend=request.backend, **request.computed,
    )  # fmt: skip


def _require_reach(study: Study, kind: str, request: _Request) -> None:
    """Refuse a null whose smallest p lies above alpha."""
    test, wanted = request.test, request.n_of(kind)
    needed = int(np.ceil(test.n_sides / test.alpha * (1 - 1e-12)))
    if kind == "repair":
        draws = plan_draws(study.dyads, request.within, wanted, test.seed, alpha=test.alpha, n_sides=test.n_sides)
        if draws.listed and draws.n + 1 < needed:
            raise PlanError(
                f"null 'repair': {len(draws.design)} dyads can be paired in {draws.n + 1} ways, so that no p is below "
                f"{test.min_p(draws.n + 1):.3g}, and alpha={test.alpha:g} is asked for: record more dyads or leave "
                "this null out"
            )
    if wanted + 1 < needed and not (kind == "repair" and draws.listed):
        raise PlanError(
            f"null {kind!r}: with n={wanted} draws no p is below {test.min_p(wanted + 1):.3g}, and "
            f"alpha={test.alpha:g} is asked for: ask for n={needed - 1} or more"
        )


# --- numbers ----------------------------------------------------------------------------------------------------------


def _about(null: RepairedNull | SurrogateNull, test: TestSettings) -> dict[str, Any]:
    """How a null was drawn; the same for all runs of its kind."""
    hypothesis = hypothesis_of(null)
    words = {"null": hypothesis.statement, "not_excluded": hypothesis.not_excluded}
    if isinstance(null, SurrogateNull):
        drawn = {"n": null.n, "listed": False, "exact": False, "seed": null.seed}
    else:
        draws = null.draws
        drawn = {"n": draws.n, "listed": draws.listed, "exact": draws.listed and hypothesis.holds, "seed": draws.seed}
    return words | drawn | {"min_p": test.min_p(drawn["n"] + 1)}


def _pooled(study: Study, null: RepairedNull | SurrogateNull, n_epochs: int, n_bands: int) -> tuple[Floats, Integers]:
    """Pooled statistic of each draw [draw, epoch x band], draw 0 the observed one, and dyads behind each [.]."""
    if isinstance(null, SurrogateNull):
        return null.pooled.astype(np.float64), _dyads_of_rows(study, null)
    feature = np.arange(null.n_features)
    pooled = pooled_pairs(null, feature // (null.n_features // n_epochs) * n_bands + feature % n_bands)
    own = pooled.counts[null.design.real_pairs[0]]
    return pooled_draws(null, pooled), (own > 0).sum(axis=0)


def _dyads_of_rows(study: Study, null: SurrogateNull) -> Integers:
    """Dyads with a value in any session and channel pair: int64 [epoch x band]."""
    member = null.groups[:, None] == np.arange(null.pooled.shape[1])
    there = np.isfinite(null.observed).astype(np.float64) @ member > 0
    dyads = np.array([row.dyad for row in study.dyads])
    return np.asarray(np.sum([there[dyads == dyad].any(axis=0) for dyad in np.unique(dyads)], axis=0))


def _row(choice: Mapping[str, Any], tested: JointTest, n_dyads: Integers, v: int) -> dict[str, Any]:
    return {
        **choice, "statistic": tested.statistic[v], "null_mean": tested.mean[v], "null_sd": tested.sd[v],
        "effect": tested.statistic[v] - tested.mean[v], "z": tested.z[v], "p": tested.p[v], "p_max": tested.p_max[v],
        "n_dyads": int(n_dyads[v]), "null_low": tested.low[v], "null_high": tested.high[v],
    }  # fmt: skip


def _summary(tested: JointTest, alpha: float, n_nulls: int) -> dict[str, Any]:
    there = np.isfinite(tested.p_max)
    effect = (tested.statistic - tested.mean)[there]
    return {
        "n_specifications": int(there.sum()),
        "n_passing": int((tested.p_max[there] <= alpha).sum()),
        "smallest_p_max": float(tested.p_max[there].min(initial=1.0)),
        "median_effect": float(np.median(effect)) if effect.size else float("nan"),
        "median_z": tested.median_z, "p": tested.median_p, "p_bonferroni": min(1.0, n_nulls * tested.median_p),
        "share": tested.share, "share_p": tested.share_p,
    }  # fmt: skip


def _attrs(study: Study, request: _Request) -> dict[str, Any]:
    return provenance(
        kind="multiverse", **study.origin, seed=request.test.seed,
        alpha=request.test.alpha, tail=request.test.tail, stream_version=STREAM_VERSION,
        within="" if request.within is None else list(request.within),
        pairs=request.pairs if isinstance(request.pairs, str) else [list(pair) for pair in request.pairs],
        epochs=request.epochs if isinstance(request.epochs, Mapping) else epoch_names(request.epochs),
        **_computed(**request.computed),
    )  # fmt: skip


def _computed(
    controls: Sequence[str], how: str, n_components: int, rois: Rois | None, roi_average: str
) -> dict[str, str]:
    """What was taken out of channels, and over which regions was averaged, where anything was."""
    of = {"controls": Controls.of(controls, how, n_components), "rois": Regions.asked(rois, roi_average)}
    return {name: str(value) for name, value in of.items() if value is not None}
