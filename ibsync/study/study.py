"""The whole pipeline on one page: study -> plan -> features -> coherence -> null -> test -> result."""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..coupling.engine import Engine
from ..coupling.measures import PHASES, measure_named
from ..coupling.spec import WTC, PhaseShares
from ..coupling.wavelet_coherence import Coherence
from ..errors import IbsyncError, InputError, PlanError, require_known
from ..nulls.hypotheses import AR_WARNING
from ..nulls.random_streams import STREAM_VERSION
from ..nulls.repaired_null import RepairedNull
from ..nulls.surrogate_null import SurrogateNull
from ..nulls.surrogate_signals import MODELS, require_options
from ..nulls.tails import Tail, check_tail
from ..recordings.recording import DyadRow
from ..recordings.study_file import StudyFile
from ..recordings.whole_files import check_writable
from ..results.netcdf import encode_attrs
from ..results.result import mean_variables, provenance
from .channel_pairs import Axes, Pairs
from .epochs import EpochWords, by_epochs, common_epochs, epoch_names, spans_of
from .pair_values import DyadJob, exchangeable, plan_draws, require_symmetry, tile_jobs
from .rows import Occasion, labels_of, occasions_of, require_signal, row_coordinates
from .runner import FEATURE_BYTES, People, Worker, run_jobs
from .surrogate_runs import SURROGATE_KINDS, Request, Work, begin, refuse_drifts, resumed, run, sources_of

if TYPE_CHECKING:
    import xarray as xr

NULL_KINDS = ("repair", *SURROGATE_KINDS)
REPAIRINGS, SURROGATES = 10_000, 999
"""Draws of a null that was not told how many."""


@dataclass(frozen=True)
class Check:
    """What `Study.check` found.

    Attributes
    ----------
    problems : tuple of str
        What would stop a run; empty if nothing would.
    page : str
        The study and the request, to be read; `str` adds the problems.
    """

    problems: tuple[str, ...]
    page: str

    @property
    def ok(self) -> bool:
        """Whether a run would go through."""
        return not self.problems

    def __str__(self) -> str:
        verdict = ["Problems:", *(f"  {p}" for p in self.problems)] if self.problems else ["Nothing stands in the way."]
        return "\n".join([self.page, "", *verdict])


class Study(StudyFile):
    """A study file with the verbs of the analysis.

    Examples
    --------
    >>> study = Study.open("therapy.h5")                                    # doctest: +SKIP
    >>> spec = WTC(bands={"task": (0.02, 0.1)})                             # doctest: +SKIP
    >>> real = study.synchrony(spec)                                        # doctest: +SKIP
    >>> result = test(real, study.null(spec, n=10_000, seed=7))             # doctest: +SKIP
    """

    def check(self, spec: WTC, *, signal: str = "hbo", epochs: EpochWords = None, estimate: bool = True) -> Check:
        """Everything that would stop a run, without running it.

        Parameters
        ----------
        spec : WTC
        signal : str
            Signal, such as "hbo".
        epochs : sequence of event labels, mapping of name to (start, stop) in s, or None
        estimate : bool
            Time one dyad of noise, to say how long a run will take and how much memory.

        Returns
        -------
        Check

        Examples
        --------
        >>> print(study.check(spec))  # doctest: +SKIP
        """
        problems: list[str] = []
        lines = [str(self), ""]
        for occasion in occasions_of(self.dyads, "common"):
            lines += occasion.describe()
            try:
                _require_spec(spec)
                for rows, spans in by_epochs(occasion, epochs):
                    engine = Worker().engine(occasion.plan(spec, spans))
                    require_signal(self, rows, signal)
                if estimate:
                    lines.append(_cost(occasion, engine, Axes.of(self.dyads, "all")))
            except IbsyncError as error:
                problems.append(f"{self.path}: {occasion.label}: {error}")
        labels = () if epochs is None or isinstance(epochs, Mapping) else epochs
        apart = {row.label: row.marks_apart(labels) for row in self.dyads}
        lines += [f"  {label}: {text}; the first is used" for label, text in apart.items() if text]
        if not self.dyads:
            problems.append(f"{self.path}: no dyad is marked for use: set use to 1 in the dyads table")
        return Check(tuple(problems), "\n".join(lines))

    def synchrony(
        self,
        spec: WTC,
        *,
        signal: str = "hbo",
        pairs: Pairs = "all",
        epochs: EpochWords = None,
        length: str = "common",
        shares: bool | PhaseShares = False,
        backend: str = "auto",
        executor: Executor | None = None,
        progress: bool = False,
    ) -> xr.Dataset:
        """Coherence of every dyad, for channel pairs x bands x epochs.

        Parameters
        ----------
        spec : WTC
            With bands.
        signal : str
            Signal, such as "hbo" or "hbr".
        pairs : {"all", "same"} or sequence of (channel_a, channel_b)
        epochs : sequence of event labels, mapping of name to (start, stop) in s, or None
            None is the whole recording, named "all".
        length : {"common", "own"}
            Cut the recordings of a session to the shortest one, as a comparison with re-paired partners needs, or use
            each in full.
        shares : bool or PhaseShares
            Also count cells by phase, at the usual level and edges or at others.
        backend : {"auto", "cuda", "numpy"}
        executor : concurrent.futures.Executor, optional
            Where to compute, a dyad at a time: threads or processes. By default here.
        progress : bool
            Show a bar on standard error.

        Returns
        -------
        xarray.Dataset
            Dimensions dyad (one row per dyad x session), epoch, channel_a, channel_b, band. Variables: coherence
            (mean R2), fisher_z (artanh of its root, for models), coherency_re, coherency_im, phase (rad, positive: a
            leads), phase_consistency, phase_lag (s, within half a period), valid_fraction; with `shares` share_above
            (of all cells, those with R2 above the level) and, of these, share_in_phase, share_a_leads, share_b_leads
            and share_anti_phase, NaN where there are none.

        Raises
        ------
        PlanError, InputError

        Examples
        --------
        >>> real = study.synchrony(spec, signal="hbo", pairs="same", epochs=["talk"])  # doctest: +SKIP
        """
        _require_bands(spec)
        rows = self._rows()
        axes = Axes.of(rows, pairs)
        names = epoch_names(epochs)
        shape = (len(rows), len(names), len(axes.a), len(axes.b), len(spec.bands or {}))
        asked = PhaseShares.of(shares)
        worker = Worker(backend)
        jobs, places = [], []
        for occasion in occasions_of(rows, length):
            for chosen, spans in by_epochs(occasion, epochs):
                plan = occasion.plan(spec, spans)
                worker.engine(plan)  # refuses what cannot be computed
                for row in chosen:
                    sides = ((row.recording_a, axes.a), (row.recording_b, axes.b))
                    a, b = (People(self, (r,), signal, names_of, occasion.n_samples) for r, names_of in sides)
                    jobs.append(DyadJob(a, b, plan, asked))
                    places.append(rows.index(row))
        require_signal(self, rows, signal)
        values = _nothing(shape, asked)
        bar = ("synchrony", "dyad") if progress else None
        for number, coherence in run_jobs(jobs, worker, executor=executor, bar=bar):
            _put(values, places[number], coherence)
        for array in (values.coherence, values.coherency, values.shares, values.above):
            if array is not None:
                array[:, :, ~axes.mask] = np.nan
        used = worker.engine(jobs[0].plan)
        attrs = _attrs(self, spec, used, signal=signal, pairs=pairs, epochs=epochs, length=length, rows=rows)
        if asked:
            attrs |= encode_attrs({"phase_shares": asked})
        return _dataset(values, rows, axes, names, spec, signal, attrs)

    def null(
        self,
        spec: WTC,
        *,
        kind: str = "repair",
        n: int | None = None,
        within: Sequence[str] = (),
        roles: str = "fixed",
        seed: int = 0,
        signal: str = "hbo",
        pairs: Pairs = "all",
        epochs: EpochWords = None,
        length: str = "common",
        measure: str = "coherence",
        tail: Tail | None = None,
        stop_at: int | None = None,
        draws: tuple[int, int] | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        options: Mapping[str, Any] | None = None,
        backend: str = "auto",
        executor: Executor | None = None,
        progress: bool = False,
    ) -> RepairedNull | SurrogateNull:
        """Null distribution of the coherence of partners, named by what is exchanged or replaced.

        Parameters
        ----------
        spec : WTC
            With bands.
        kind : str
            "repair": everybody with everybody's partner, the group test of whether anything ties people to their own
            partner. The others replace or rearrange the second person within each dyad and test each dyad: "phase"
            (random Fourier phases, common to all channels of a person), "iaaft" (phases, then the values' own
            distribution), "shift" (all circular shifts), "block" (blocks of the recording in another order), "trial"
            (trials of an epoch exchanged), "ar1" and "ar" (both people simulated as autoregressive noise; not
            calibrated for fNIRS).
        n : int, optional
            Draws; by default 10 000 re-pairings, or 999 surrogates. Re-pairings are all listed where there are no more
            than a million.
        within : sequence of {"group"}
            For "repair": what must agree for two dyads to exchange partners, beside session, task and epoch, which
            always do; with "group" only dyads of one group exchange.
        roles : {"fixed", "interchangeable"}
            For "repair": whether first persons stay first, or anybody may be put together with anybody, as friends
            may. Then the value of two people is the mean of channel a of the one with b of the other and the reverse,
            and missing where either is.
        seed : int
        signal, pairs, epochs, backend, executor, progress
            As `synchrony`; work is shared out by tiles of people, or by draws of surrogates. Draws that stop early
            (`stop_at`) are counted here, one after the other.
        length : {"common", "own"}
            As `synchrony`; re-pairing takes "own" only where the recordings of an occasion have one length.
        measure : str
            What is compared, a name of `coupling.measures.MEASURES` such as "coherence" or "imaginary_coherency".
        tail : {"greater", "less", "two-sided"}, optional
            Of the later test; surrogate nulls take their maxima in that direction. Default: "greater", of a measure
            with a sign "two-sided".
        stop_at : int, optional
            For surrogates: count each feature until so many draws reach its observed value (Besag and Clifford 1991),
            n at most. Cheaper where most features are not coherent; without group test and maximum statistic.
        draws : (start, stop), optional
            For surrogates: compute draws `start` to `stop` - 1 only, to be merged with others by `ibs.merge_nulls`.
        checkpoint : path-like, optional
            For surrogates: file that holds the state now and then. A run that finds its own file there goes on.
        options : mapping, optional
            Of the family: ``block`` in s, ``n_iterations`` of "iaaft" (100), ``order`` of "ar" (by BIC).

        Returns
        -------
        RepairedNull or SurrogateNull
            SurrogateNull for all kinds but "repair".

        Raises
        ------
        PlanError, InputError
            If fewer than two dyads can exchange partners, a person is in several dyads, epochs differ in timing, a
            word does not belong to the kind, or interchangeable roles meet a measure with a direction or people of
            different channels.

        Warns
        -----
        RuntimeWarning
            For "ar1" and "ar", which reject far too often where signals hold narrow-band physiology.

        Examples
        --------
        >>> null = study.null(spec, kind="repair", n=10_000, within=["group"], seed=7)  # doctest: +SKIP
        """
        require_known("kind", kind, NULL_KINDS)
        _require_bands(spec)
        tail = tail or measure_named(measure).tail
        check_tail(tail)
        only_surrogates = {"stop_at": stop_at, "draws": draws, "checkpoint": checkpoint, "options": options}
        if kind == "repair":
            for word, value in only_surrogates.items():
                if value is not None:
                    raise PlanError(f"{word} is for surrogates: leave it out with kind='repair'")
            return self._repairing(
                spec, REPAIRINGS if n is None else n, within=within, roles=roles, seed=seed, signal=signal, pairs=pairs,
                epochs=epochs, length=length, measure=measure, backend=backend, executor=executor, progress=progress,
            )  # fmt: skip
        if roles != "fixed":
            raise PlanError(f"roles is for re-pairing: leave it out with kind={kind!r}")
        require_options(kind, options or {})
        if kind in MODELS:
            warnings.warn(AR_WARNING, RuntimeWarning, stacklevel=2)
        request = Request(
            spec=spec, kind=kind, n=SURROGATES if n is None else n, seed=seed, signal=signal, pairs=pairs,
            epochs=epochs, length=length, tail=tail, measure=measure, options=dict(options or {}), stop_at=stop_at,
            backend=backend,
        )  # fmt: skip
        return self._surrogates(request, draws, checkpoint, executor, progress)

    def _surrogates(
        self,
        request: Request,
        draws: tuple[int, int] | None,
        checkpoint: str | os.PathLike[str] | None,
        executor: Executor | None,
        progress: bool,
    ) -> SurrogateNull:
        rows = self._rows()
        worker = Worker(request.backend)
        engine = sources_of(self, request, worker)[1]
        refuse_drifts(self, request)
        work = Work(self, request, worker, executor)
        attrs = encode_attrs({
            **_attrs(
                self, request.spec, engine, signal=request.signal, pairs=request.pairs, epochs=request.epochs,
                length=request.length, rows=rows,
            ),
            "measure": request.measure, "options": dict(request.options), "stream_version": STREAM_VERSION,
            "labels": _labels(rows, request.spec, request.pairs, request.epochs),
        })  # fmt: skip
        null = None if checkpoint is None else resumed(check_writable(checkpoint), request, attrs)
        if null is None:
            null = begin(work, attrs)
        return run(null, work, draws, checkpoint=checkpoint, progress=progress)

    def _repairing(
        self, spec: WTC, n: int, *, within: Sequence[str], roles: str, seed: int, signal: str, pairs: Pairs,
        epochs: EpochWords, length: str, measure: str, backend: str, executor: Executor | None, progress: bool,
    ) -> RepairedNull:  # fmt: skip
        rows = self._rows()
        draws = plan_draws(rows, within, n, seed, roles)
        design = draws.design
        axes = Axes.of(rows, pairs)
        if roles == "interchangeable":
            require_symmetry(axes, measure)
        occasions = exchangeable(rows, length)
        worker = Worker(backend)
        plans = [occasion.plan(spec, common_epochs(occasion, epochs)) for occasion in occasions]
        engines = [worker.engine(plan) for plan in plans]
        require_signal(self, rows, signal)
        shape = (len(epoch_names(epochs)), len(axes.a), len(axes.b), len(spec.bands or {}))
        values = np.full((len(occasions), design.n_people, design.n_people, math.prod(shape)), np.nan, np.float32)
        jobs, sessions = [], []
        for session, (occasion, plan) in enumerate(zip(occasions, plans, strict=True)):
            for block in design.blocks:
                tiles = tile_jobs(self, occasion, design.dyads, block, roles, axes, signal, plan, measure, worker)
                jobs += tiles
                sessions += [session] * len(tiles)
        bar = ("re-pairing", "tile") if progress else None
        for number, tile in run_jobs(jobs, worker, executor=executor, bar=bar):
            jobs[number].put(values[sessions[number]], tile)
        values.reshape(*values.shape[:3], *shape)[:, :, :, :, ~axes.mask] = np.nan
        attrs = _attrs(self, spec, engines[0], signal=signal, pairs=pairs, epochs=epochs, length=length, rows=rows)
        labels = _labels(rows, spec, pairs, epochs)
        attrs |= encode_attrs({"measure": measure, "stream_version": STREAM_VERSION, "labels": labels})
        if roles != "fixed":
            attrs["roles"] = roles
        return RepairedNull(values, draws, tuple(o.label for o in occasions), "repair", attrs)

    def _rows(self) -> tuple[DyadRow, ...]:
        if not self.dyads:
            raise InputError(f"{self.path}: no dyad is marked for use: set use to 1 in the dyads table")
        return self.dyads


# --- before anything is computed --------------------------------------------------------------------------------------


def _require_spec(spec: WTC) -> None:
    if not isinstance(spec, WTC):
        raise PlanError(f"spec is a {type(spec).__name__}; give one such as WTC(bands={{'task': (0.02, 0.1)}})")


def _require_bands(spec: WTC) -> None:
    _require_spec(spec)
    if not spec.bands:
        raise PlanError("a study needs bands: name them, such as WTC(bands={'task': (0.02, 0.1)})")


def _cost(occasion: Occasion, engine: Engine, axes: Axes) -> str:
    """Work and memory of an occasion, from one dyad of noise that is timed here and now."""
    n, noise = len(occasion.rows), np.random.default_rng(0)
    a, b = (noise.standard_normal((len(names), occasion.n_samples), np.float32) for names in (axes.a, axes.b))
    engine.coherence(engine.features(a[:1]), engine.features(b[:1]))  # tables are built or loaded before the clock runs
    start = time.perf_counter()
    engine.coherence(engine.features(a), engine.features(b))
    seconds = time.perf_counter() - start
    n_means = len(engine.plan.bands) * len(engine.plan.epochs) * len(a) * len(b)
    held = min(FEATURE_BYTES, 2 * n * len(a) * engine.plan.feature_bytes)
    megabytes = (held + n * n * n_means * (4 + 32)) / 2**20
    return (
        f"  all {len(a)} x {len(b)} channels: {n * len(a) * len(b)} maps in about {n * seconds:.1f} s; re-paired "
        f"{n * n * len(a) * len(b)} maps in about {n * n * seconds:.1f} s at most; about {megabytes:.0f} MB"
    )


# --- numbers ----------------------------------------------------------------------------------------------------------


def _nothing(shape: tuple[int, ...], asked: PhaseShares | None) -> Coherence:
    coherence, coherency = np.full(shape, np.nan), np.full(shape, np.nan, complex)
    if asked is None:
        return Coherence(coherence, coherency, np.zeros(shape))
    shares = np.full((*shape, len(PHASES)), np.nan)
    return Coherence(coherence, coherency, np.zeros(shape), shares=shares, above=np.full(shape, np.nan))


def _put(values: Coherence, row: int, found: Coherence) -> None:
    values.coherence[row] = np.moveaxis(found.coherence, -1, 0)
    values.coherency[row] = np.moveaxis(found.coherency, -1, 0)
    values.valid_fraction[row] = np.moveaxis(found.valid_fraction, -1, 0)
    if values.shares is not None and values.above is not None:
        assert found.shares is not None and found.above is not None
        values.shares[row] = np.moveaxis(found.shares, -2, 0)
        values.above[row] = np.moveaxis(found.above, -1, 0)


# --- labels -----------------------------------------------------------------------------------------------------------


def _labels(rows: Sequence[DyadRow], spec: WTC, pairs: Pairs, epochs: EpochWords) -> str:
    axes = Axes.of(rows, pairs)
    named = [(row.dyad, row.session, row.task) for row in rows]
    return labels_of(named, epoch_names(epochs), axes.a, axes.b, spec.bands or {})


def _rate(rows: Sequence[DyadRow]) -> dict[str, Any]:
    """The sampling rate in Hz, where all dyads share one."""
    rates = {row.recording_a.sfreq for row in rows}
    return {"sfreq": rates.pop()} if len(rates) == 1 else {}


def _attrs(
    study: StudyFile,
    spec: WTC,
    engine: Engine,
    *,
    signal: str,
    pairs: Pairs,
    epochs: EpochWords,
    length: str,
    rows: Sequence[DyadRow],
) -> dict[str, Any]:
    return provenance(
        spec=spec.to_dict(), study_sha256=study.sha256, study=study.path.name, kind="synchrony", signal=signal,
        accuracy=spec.accuracy, preset=spec.preset, backend=engine.backend.name, **_rate(rows),
        length=length, coherence_definition="magnitude-squared", points_per_scale=engine.plan.points_per_scale,
        pairs=pairs if isinstance(pairs, str) else [list(pair) for pair in pairs],
        epochs=spans_of(rows[0], epochs) if isinstance(epochs, Mapping) else "all" if epochs is None else list(epochs),
    )  # fmt: skip


def _dataset(
    values: Coherence,
    rows: Sequence[DyadRow],
    axes: Axes,
    epochs: Sequence[str],
    spec: WTC,
    signal: str,
    attrs: dict[str, Any],
) -> xr.Dataset:
    import xarray as xr

    bands = dict(spec.bands or {})
    dims = ("dyad", "epoch", "channel_a", "channel_b", "band")
    centre_hz = np.array([band.centre_hz for band in bands.values()])
    coords: dict[str, Any] = {
        **row_coordinates(rows),
        "epoch": list(epochs), "channel_a": list(axes.a), "channel_b": list(axes.b), "band": list(bands),
        "band_low_hz": ("band", [band.low_hz for band in bands.values()]),
        "band_high_hz": ("band", [band.high_hz for band in bands.values()]),
        "signal": signal,
    }  # fmt: skip
    variables = mean_variables(
        values.coherence,
        values.coherency,
        values.valid_fraction,
        centre_hz,
        dims,
        shares=values.shares,
        above=values.above,
    )
    return xr.Dataset(variables, coords, attrs)
