"""The whole pipeline on one page: study -> plan -> features -> coherence -> null -> test -> result."""

from __future__ import annotations

import itertools
import json
import math
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, fields, replace
from functools import cache, cached_property, partial, reduce
from inspect import signature
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..coupling.band_spec import BandOfEach, Spec, of_sides
from ..coupling.engine import Engine
from ..coupling.kinds import kind_of
from ..coupling.means import mapped
from ..coupling.spec import PhaseShares
from ..errors import IbsyncError, PlanError, require_known
from ..nulls.hypotheses import AR_WARNING
from ..nulls.random_streams import STREAM_VERSION
from ..nulls.repaired_null import RepairedNull
from ..nulls.surrogate_null import Room, SurrogateNull
from ..nulls.surrogate_signals import MODELS
from ..nulls.tails import Tail
from ..recordings.journal import Journal, opened
from ..recordings.memory import Budget, Memory, held_bytes, in_parts, release
from ..recordings.pack import pack
from ..recordings.recording import DyadRow
from ..recordings.study_file import StudyFile
from ..results.layout import PAIRS_IN_WORDS, PAIRS_OF, SHIFT
from ..results.lost import Loss, encoded, lost_lines, lost_table
from ..results.netcdf import encode_attrs
from ..results.null_files import computed_with
from ..results.result import provenance, variables_of
from .channel_pairs import Axes, Pairs
from .controls import Controls
from .epochs import EpochWords, epoch_names, given_spans
from .losses import LOG, RowPlan, good_pairs, losses_of_values
from .memory_need import Need, need_of_null, need_of_synchrony, need_of_test
from .pair_values import RealMeans, means_of_rows, of_each_dyad, tile_jobs
from .planned import (
    Planned,
    PlannedRepairing,
    dyads_jobs,
    n_features,
    planned,
    rehearsed,
    request_of,
    require_bands,
)
from .regions import Regions, Rois
from .rows import labels_of, occasions_of, row_coordinates, session_label
from .runner import Worker, forget_tables
from .surrogate_runs import Request, Work, begin, run, sources_of
from .time_need import Clock

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


_FEATURES_PUT = 1 << 11  # of a tile, put in their place together: each touches a page of a file or two
_DRAWS_IN_MEMORY = 2 << 30  # bytes of draws of surrogates; where there is no budget either, more lie in a file

PlannedAny = TypeVar("PlannedAny", bound=Planned)


_NUMBERS = itertools.count(1)  # of studies of arrays: no two share a file


@cache
def _temporary_folder() -> TemporaryDirectory[str]:
    """Where studies of arrays lie; removed when Python ends."""
    return TemporaryDirectory(prefix="ibsync-")


@dataclass(frozen=True)
class Check:
    """What `Study.check` found.

    Attributes
    ----------
    problems : tuple of str
        What would stop a run; empty if nothing would.
    page : str
        The study and the request, to be read; `str` adds what is lost and the problems.
    losses : tuple of Loss
        What a run would not give, though it was asked for.
    n_features : int
        Features that the group test would correct together; 0 where no null is checked or it could not be planned.
    """

    problems: tuple[str, ...]
    page: str
    losses: tuple[Loss, ...] = ()
    n_features: int = 0
    _needs: tuple[Callable[[], Need], ...] = field(default=(), repr=False, compare=False)

    @cached_property
    def need(self) -> Need | None:
        """Memory of synchrony, null and test one after the other; None where something stands in the way."""
        return reduce(Need.then, (need() for need in self._needs)) if self._needs and self.ok else None

    @property
    def ok(self) -> bool:
        """Whether a run would go through."""
        return not self.problems

    @property
    def lost(self) -> pd.DataFrame:
        """What a run would not give, as `Result.lost`."""
        return lost_table(self.losses)

    def __str__(self) -> str:
        lost = ["", "Lost:", *(f"  {line}" for line in lost_lines(self.losses))] if self.losses else []
        verdict = ["Problems:", *(f"  {p}" for p in self.problems)] if self.problems else ["Nothing stands in the way."]
        return "\n".join([self.page, *lost, "", *verdict])


class Study(StudyFile):
    """A study file with the verbs of the analysis.

    Examples
    --------
    >>> study = Study.open("therapy.h5")
    >>> spec = WTC(bands={"task": (0.02, 0.1)})
    >>> real = study.synchrony(spec)
    >>> result = test(real, study.null(spec, n=10_000, seed=7))
    """

    def __new__(cls, *args: Any, **words: Any) -> Self:
        """Refuse a path alone, which is what `open` takes."""
        if len(args) == 1 and not words:
            raise PlanError(f"Study({args[0]!r}) opens nothing: write Study.open(path)")
        return super().__new__(cls)

    @classmethod
    def from_arrays(
        cls,
        people: Mapping[Any, Any] | Sequence[Any],
        dyads: Sequence[Any] | pd.DataFrame | str | Path | None = None,
        *,
        sfreq: float | None = None,
        signal: str | Sequence[str] | None = None,
        path: str | Path | None = None,
        **words: Any,
    ) -> Self:
        """A study of recordings that are at hand: arrays, labelled arrays, tables or recordings of MNE.

        Parameters
        ----------
        people : mapping
            ``{"p1": x1, "p2": x2, ...}``, by person, (person, session) or (person, session, task): arrays [channel,
            sample], xarray.DataArray, pandas.DataFrame or `mne.io.Raw`.
        dyads : sequence of (dyad, person_a, person_b), of mappings, or a DataFrame, optional
            Columns as in dyads.tsv: session, group, role_a, outcome_symptoms, ...; two people are one dyad without.
        sfreq : float, optional
            Rate in Hz of arrays that do not say it.
        signal : str, optional
            What arrays hold: "hbo", "hbr", "hbt" or "eeg".
        path : path, optional
            Study file to write. Without it the study lies in a temporary file until Python ends.
        **words
            Further words of `pack`: participants, outcomes, crop, resample, on_gap, overwrite.

        Returns
        -------
        Study

        Raises
        ------
        InputError
            As `pack`. What was marked or changed is logged as a warning.

        Examples
        --------
        >>> x, y = np.random.default_rng(0).standard_normal((2, 3, 600))
        >>> study = Study.from_arrays({"p1": x, "p2": y}, [("d1", "p1", "p2")], sfreq=5.0, signal="hbo")
        >>> study.synchrony(WTC(bands={"task": (0.1, 0.5)})).sizes["channel_a"]
        3
        """
        target = Path(_temporary_folder().name) / f"arrays-{next(_NUMBERS)}.h5" if path is None else path
        found = pack(people, target, dyads=dyads, sfreq=sfreq, signal=signal, **words)
        for note in found.notes:
            LOG.warning(str(note))
        return cls.open(found.output)

    def check(
        self,
        spec: Spec,
        *,
        signal: str = "hbo",
        pairs: Pairs = "all",
        epochs: EpochWords = None,
        controls: Sequence[str] = (),
        how: str = "both",
        n_components: int = 2,
        rois: Rois | None = None,
        roi_average: str = "coherence",
        null: Mapping[str, Any] | None = None,
        estimate: bool = True,
    ) -> Check:
        """Everything that would stop a run, and everything that it would not give, without running it.

        Parameters
        ----------
        spec : WTC or Coupling
        signal, pairs, epochs, controls, how, n_components, rois, roi_average
            As `synchrony`.
        null : mapping, optional
            Words of `Study.null`, such as ``{"kind": "repair", "within": ["group"]}``; without them no null is checked.
        estimate : bool
            Time some dyads of noise, to say how long a run will take and how much memory.

        Returns
        -------
        Check

        Examples
        --------
        >>> print(study.check(spec))
        """
        problems, losses, lines = list[str](), dict[Loss, None](), [str(self), ""]
        words: dict[str, Any] = {"signal": signal, "pairs": pairs, "epochs": epochs}
        taken: dict[str, Any] = {"controls": controls, "how": how, "n_components": n_components}
        of: dict[str, Any] = {"rois": rois, "roi_average": roi_average}
        n_tested, needs, of_draws = [0], list[Callable[[], Need]](), None
        if null is not None:

            def of_null() -> Planned:
                nonlocal of_draws
                request = request_of(spec, **words, **taken, **of, **_null_words(null))
                planned_null = rehearsed(self, request, Worker())
                of_draws = replace(request, controls=planned_null.controls)
                n_tested.append(n_features(planned_null, request))
                needs.append(lambda: need_of_null(self, planned_null, request))
                needs.append(lambda: need_of_test(planned_null, request))
                return planned_null

        def of_synchrony() -> Planned:
            made = planned(self, spec, **words, controls=Controls.of(**taken), regions=Regions.asked(**of))
            if spec.bands:
                needs.append(lambda: need_of_synchrony(self, made, spec, epochs))
            return made

        made: Planned | None = None
        for attempt in (of_synchrony, of_null) if null is not None else (of_synchrony,):
            try:
                made = attempt()
                losses = losses | dict.fromkeys(made.losses)
            except IbsyncError as error:
                problems.append(str(error).removeprefix(f"{self.path}: "))
        clock = Clock(self, spec, epochs, made, of_draws) if estimate and not problems and made is not None else None
        for occasion in occasions_of(self.dyads):
            lines += [*occasion.describe(), *([clock.line(occasion)] if clock else [])]
        labels = () if epochs is None or isinstance(epochs, Mapping) else epochs
        apart = {row.label: row.marks_apart(labels) for row in self.dyads}
        lines += [f"  {label}: {text}; the first is used" for label, text in apart.items() if text]
        lines += [f"  {made.unequal}"] if made is not None and made.unequal else []
        found = Check(tuple(dict.fromkeys(problems)), "\n".join(lines), tuple(losses), n_tested[-1], tuple(needs))
        if not estimate or found.need is None:
            return found
        steps = "synchrony takes" if null is None else "synchrony, null and test take"
        return replace(found, page=f"{found.page}\n  {steps} {found.need}")

    def synchrony(
        self,
        spec: Spec,
        *,
        signal: str = "hbo",
        pairs: Pairs = "all",
        epochs: EpochWords = None,
        controls: Sequence[str] = (),
        how: str = "both",
        n_components: int = 2,
        rois: Rois | None = None,
        roi_average: str = "coherence",
        shares: bool | PhaseShares = False,
        null: RepairedNull | SurrogateNull | None = None,
        backend: str = "auto",
        executor: Executor | None = None,
        journal: str | os.PathLike[str] | Journal | None = None,
        progress: bool = False,
        memory: Memory | Budget = None,
    ) -> xr.Dataset:
        """Coherence or another coupling of every dyad, for channel pairs x bands x epochs, from recordings in full.

        Parameters
        ----------
        spec : WTC or Coupling
            With bands.
        signal : str
            Signal, such as "hbo" or "hbr".
        pairs : {"all", "same"} or sequence of (channel_a, channel_b)
        epochs : sequence of event labels, mapping of name to (start, stop) in s, or None
            None is the whole recording, named "all".
        controls : sequence of str
            What is taken out of every person's channels before two people are compared: "short" (the short channels),
            "global" (the mean of the person's other channels), auxiliary signals such as "heart_rate", or channels.
            They are not tested then. Everybody must have each; values of other controls cannot be compared, as the
            mean coherence of unrelated people depends on their number.
        how : {"both", "own", "regression"}
            Partial coherence given the controls of both people, given each person's own (which takes controls that are
            coherent between partners for synchrony), or least squares on one's own controls in time before the
            transform (`study.controls.Controls` has the formulas).
        n_components : int
            Principal components of the short channels that are taken out, or fewer where somebody has fewer of them.
        rois : mapping of region to channels, optional
            Regions of interest: coherence is averaged over the pairs of good channels of two regions before anything is
            tested, and regions stand in the place of channels from there on; `pairs` names pairs of regions. People of
            other montages have regions of their own: ``{"a": {...}, "b": {...}}``, by person or role as well.
        roi_average : {"coherence", "signal"}
            "signal": instead, the mean of the standardised signals of a region's good channels is transformed.
        shares : bool or PhaseShares
            Also count cells by phase, at the usual level and edges or at others.
        null : RepairedNull or SurrogateNull, optional
            A null that was computed before. Re-pairing computes the real dyads too. Where it was asked for these pairs,
            or for all, in the same words on the same backend, dyads whose recordings it used in full are taken from it
            instead of being computed again. Their values differ by rounding at most (1e-6).
        backend : {"auto", "cuda", "numpy"}
        executor : concurrent.futures.Executor, optional
            Where to compute, some dyads at a time: threads, processes, or other machines that see the study's file
            (docs/scale.md). By default here.
        journal : path-like, optional
            File that keeps what is finished. A call that finds the file of the same request, study and version goes on
            from it; that of another is refused by name. It stays when all is done.
        progress : bool
            Show a bar on standard error.
        memory : int, str or Budget, optional
            What this process may hold in all: bytes, or text such as "8G". Less than is needed at least is refused;
            the result is the same to the bit whatever is allowed. Processes of an executor are not counted.

        Returns
        -------
        xarray.Dataset
            Dimensions dyad (one row per dyad x session), epoch, channel_a, channel_b, band, and shift (s) where the
            spec has several lags. Variables, NaN for pairs that were not asked for: coherence (mean R2), fisher_z
            (artanh of its root, for models), coherency_re, coherency_im, phase (rad, positive: a leads),
            phase_consistency, phase_lag (s, within half a period), valid_fraction; with `shares` share_above (of all
            cells, those with R2 above the level) and, of these, share_in_phase, share_a_leads, share_b_leads and
            share_anti_phase, NaN where there are none. Of a `Coupling` instead the one variable of its measure's
            name, such as plv, valid_fraction (of samples) and n_samples. With `rois` n_pairs, the pairs of good
            channels behind the pairs of regions of each row. The attribute `lost` holds what has no value or one of
            less than was asked for, as `Result(real).lost` tabulates it; it is logged too.

        Raises
        ------
        PlanError, InputError
            If the request does not fit the study, or an epoch or a band would have no value in any dyad.

        Warns
        -----
        RuntimeWarning
            If regions rest on more channels in some dyads than in others.

        Examples
        --------
        >>> real = study.synchrony(spec, signal="hbo", pairs="same", epochs=["talk"])
        """
        asked = PhaseShares.of(shares)
        require_bands(spec)
        if asked and not kind_of(spec).counts_shares:
            raise PlanError(f"shares count cells of wavelet coherence, and {spec.measure!r} has none: leave shares out")
        if not isinstance(null, RepairedNull | SurrogateNull | None):
            raise PlanError(f"null is a {type(null).__name__}; give what Study.null returned, or leave it out")
        asked_controls = Controls.of(controls, how, n_components)
        regions = Regions.asked(rois, roi_average)
        budget = Budget.of(memory)
        made = planned(self, spec, signal=signal, pairs=pairs, epochs=epochs, controls=asked_controls, regions=regions)
        self._tell(made)
        if made.unequal:
            warnings.warn(made.unequal, RuntimeWarning, stacklevel=2)
        axes, rows = made.axes, [one.row for one in made.rows]
        names = epoch_names(epochs)
        shape = (len(rows), len(names), len(axes.a), len(axes.b), spec.n_columns)
        worker = Worker(backend)
        if budget.is_limited:
            forget_tables()  # of what was computed before; what is needed counts them
            need = need_of_synchrony(self, made, spec, epochs, shares=asked is not None)
            budget.require(need.still, "synchrony of this study")
        engine = worker.engine(next(one.plan for one in made.rows if one.plan.computable))
        known: RealMeans = {}
        attrs = _attrs(self, spec, engine, signal=signal, pairs=pairs, epochs=epochs, made=made)
        if isinstance(null, RepairedNull) and not asked and _computed_alike(null.attrs, attrs):
            known = null.real_means
        jobs = dyads_jobs(self, made, made.rows, signal, worker, known=known, shares=asked)
        if asked:
            attrs |= encode_attrs({"phase_shares": asked})
        values = None
        with opened(journal, attrs_that_identify(attrs), (self.path,)) as kept:
            attrs = _with_notes(attrs, kept)
            of = ("synchrony", sorted(attrs_that_identify(attrs).items()))
            who: dict[str, Any] = {"executor": executor, "journal": kept, "progress": progress}
            for numbers, means in means_of_rows(jobs, known, worker, of=of, **who):
                values = _nothing(shape, means) if values is None else values
                _put(values, numbers, means)
        assert values is not None, "a request without any value is refused before"
        for array in _arrays(values).values():
            array[:, :, ~axes.mask] = np.nan
        made = self._with_empty_pairs(made, values.value)
        attrs |= encode_attrs({"lost": encoded(made.losses)})
        dataset = _dataset(values, rows, axes, names, spec, signal, attrs)
        return dataset if regions is None else dataset.assign(n_pairs=(PAIRS_OF, made.n_pairs, PAIRS_IN_WORDS))

    def null(
        self,
        spec: Spec,
        *,
        kind: str = "repair",
        n: int | None = None,
        within: Sequence[str] | None = None,
        roles: str = "fixed",
        seed: int = 0,
        signal: str = "hbo",
        pairs: Pairs = "all",
        epochs: EpochWords = None,
        controls: Sequence[str] = (),
        how: str = "both",
        n_components: int = 2,
        rois: Rois | None = None,
        roi_average: str = "coherence",
        measure: str | None = None,
        tail: Tail | None = None,
        correct: Sequence[str] | None = None,
        alpha: float = 0.05,
        stop_at: int | None = None,
        draws: tuple[int, int] | None = None,
        options: Mapping[str, Any] | None = None,
        backend: str = "auto",
        executor: Executor | None = None,
        journal: str | os.PathLike[str] | Journal | None = None,
        progress: bool = False,
        memory: Memory | Budget = None,
    ) -> RepairedNull | SurrogateNull:
        """Null distribution of the coherence of partners, named by what is exchanged or replaced.

        Parameters
        ----------
        spec : WTC or Coupling
            With bands.
        kind : str
            "repair": everybody with everybody's partner, the group test of whether anything ties people to their own
            partner. Recordings are cut to the shortest of their session, task and block, those of real partners too,
            whose values are kept with the null. Epochs that begin at other times in some dyads, by their events, are
            aligned at their onsets: of everybody equal durations are taken, with as much before and after as all have.
            The others replace or rearrange the second person within each dyad, whose recordings are used in full, and
            test each dyad: "phase" (random Fourier phases, common to all channels of a person), "iaaft" (phases, then
            the values' own distribution), "shift" (all circular shifts), "block" (blocks of the recording in another
            order), "trial" (trials of an epoch exchanged), "ar1" and "ar" (both people simulated as autoregressive
            noise; not calibrated for fNIRS). Each task is a condition: its mean over dyads is compared by itself.
        n : int, optional
            Draws; by default 10 000 re-pairings, or 999 surrogates. Re-pairings are all listed where there are no more
            than 400 000.
        within : sequence of {"group", "person", "attendance"}, optional
            For "repair": what must agree for two dyads to exchange partners, beside session, task and epoch, which
            always do: their group, the person whom they share, or the occasions on which they were recorded. Default:
            nothing, or "person" where somebody is in several dyads. Then whoever that person met is exchanged over the
            person's meetings; ``within=[]`` exchanges over all, which needs partners who could have met any of these
            persons. Without "attendance" the test is approximate where dyads missed sessions.
        roles : {"fixed", "interchangeable"}
            For "repair": whether first persons stay first, or anybody may be put together with anybody, as friends
            may. Then the value of two people is the mean of channel a of the one with b of the other and the reverse,
            and missing where either is.
        seed : int
        signal, pairs, epochs, controls, how, n_components, rois, roi_average, backend, executor, journal, progress
            As `synchrony`; work is shared out by tiles of people, or by dyads and draws of surrogates. Surrogates of a
            person are drawn for the controls too.
        memory
            As `synchrony`; values of re-paired people that it does not hold lie in a temporary file until the null is
            forgotten.
        measure : str, optional
            What is compared, a name of `coupling.measures.MEASURES` such as "imaginary_coherency"; by default
            "coherence", and of a `Coupling` always its own.
        tail : {"greater", "less", "two-sided"}, optional
            Of the later test; surrogate nulls take their maxima in that direction. Default: "greater", of a measure
            with a sign "two-sided".
        correct : sequence of {"fdr", "fdr_by", "max", "cluster", "tfce"}, optional
            Corrections of the later test: what no single finding could pass is refused before anything is computed.
        alpha : float
            Level of the later test; half of it where two nulls are tested at once.
        stop_at : int, optional
            For surrogates: count each feature until so many draws reach its observed value (Besag and Clifford 1991),
            n at most. Cheaper where most features are not coherent; without group test and maximum statistic.
        draws : (start, stop), optional
            For surrogates: compute draws `start` to `stop` - 1 only, to be merged with others by `ibs.merge_nulls`.
        options : mapping, optional
            Of the family: ``block`` in s, ``n_iterations`` of "iaaft" (100), ``order`` of "ar" (by BIC).

        Returns
        -------
        RepairedNull or SurrogateNull
            SurrogateNull for all kinds but "repair".

        Raises
        ------
        PlanError, InputError
            If fewer than two dyads can exchange partners, dyads share both first and second persons or all share one
            recording, so few re-pairings are left within a shared person that no p could reach `alpha`, no single
            finding could pass `correct` at `alpha`, the intervals of an epoch differ, a word does not belong to the
            kind, or interchangeable roles meet shared persons, a measure with a direction or people of different
            channels.

        Warns
        -----
        RuntimeWarning
            For "ar1" and "ar", which reject far too often where signals hold narrow-band physiology.

        Examples
        --------
        >>> null = study.null(spec, kind="repair", n=10_000, within=["group"], seed=7)
        """
        request = request_of(
            spec, kind=kind, n=n, within=within, roles=roles, seed=seed, signal=signal, pairs=pairs, epochs=epochs,
            measure=measure, tail=tail, stop_at=stop_at, options=options, backend=backend, controls=controls, how=how,
            n_components=n_components, rois=rois, roi_average=roi_average, correct=correct, alpha=alpha,
        )  # fmt: skip
        if kind == "repair" and draws is not None:
            raise PlanError("draws is for surrogates: leave it out with kind='repair'")
        if kind in MODELS:
            warnings.warn(AR_WARNING, RuntimeWarning, stacklevel=2)
        budget, worker = Budget.of(memory), Worker(backend)
        made = rehearsed(self, request, worker)
        request = replace(request, controls=made.controls)
        self._tell(made)
        if isinstance(made, PlannedRepairing):
            engine = worker.engine(next(plan for *_, plan in made.exchanges if plan.computable))
        else:
            engine = sources_of(self, request, worker)[1]
        attrs = self._attrs_of_null(request, made, engine)
        need = Need()
        if budget.is_limited:
            forget_tables()
            need = need_of_null(self, made, request)
        budget.require(need.still, "re-pairing of this study" if kind == "repair" else f"a {kind!r} null of this study")
        with opened(journal, _identity(request, attrs), (self.path,)) as kept:
            attrs = _with_notes(attrs, kept)
            work = Work(self, request, worker, executor, kept, progress)
            if isinstance(made, PlannedRepairing):
                if budget.is_limited:  # values stay, and have to leave room for what is made of them
                    need = need.then(need_of_synchrony(self, made, spec, epochs)).then(need_of_test(made, request))
                return self._repairing(work, made, attrs, partial(budget.array, beside=need.still))
            if kept is not None and kept.share is not None:
                work.compute_share()
            attrs |= encode_attrs({"options": dict(request.options)})
            room = budget if budget.is_limited else Budget(held_bytes() + _DRAWS_IN_MEMORY)
            null = run(begin(work, attrs, partial(room.array, beside=need.still)), work, draws)
            worker.begin("")  # the rows know the worker and it their signals, which would stay until Python finds out
            return null

    def _repairing(self, work: Work, made: PlannedRepairing, attrs: dict[str, Any], room: Room) -> RepairedNull:
        request, axes, design = work.request, made.axes, made.draws.design
        names = epoch_names(request.epochs)
        shape = (len(names), len(axes.a), len(axes.b), request.spec.n_columns)
        size = (len(made.tasks), shape[0], math.prod(shape[1:]), len(made.sessions), design.n_people, design.n_people)
        # Features come first, so that a test reads some of them at a time, and from a file in one piece.
        store = room((math.prod(size[:3]), *size[3:]), np.float32)
        for part in in_parts(store):
            store[part] = np.nan
        values = np.moveaxis(store.reshape(size), (3, 4, 5), (0, 1, 2))
        jobs, places = [], []
        for exchange, segment, plan in made.exchanges:
            if plan.computable:
                tiles = tile_jobs(
                    self, exchange.occasion, design.dyads, exchange.block, request.roles, axes, request.signal, plan,
                    request.measure, work.worker, segment.starts, request.controls,
                )  # fmt: skip
                jobs += tiles
                places += [(exchange, segment.epochs)] * len(tiles)
        real: dict[tuple[Any, ...], Any] = {}
        for number, tile in work.run(jobs, ("re-pairing", "tile"), "null", is_shared=True):
            exchange, epochs = places[number]
            for at, epoch in enumerate(epochs):
                found = tile.values[:, :, at].reshape(*tile.values.shape[:2], -1)
                place = values[exchange.session, :, :, exchange.task, epoch]
                for start in range(0, found.shape[-1], _FEATURES_PUT):
                    jobs[number].put(place, found, slice(start, start + _FEATURES_PUT))
                    release(store)
            if tile.real is not None:
                real |= zip(jobs[number].keys, of_each_dyad(tile.real), strict=True)
        computed = np.broadcast_to(axes.mask[:, :, None], (len(made.tasks), *shape)).reshape(-1)
        sessions, dyads, tasks = np.transpose([self._place(made, one) for one in made.rows])
        own = np.empty((len(store), len(made.rows)), np.float32)
        for part in in_parts(store):
            store[part][~computed[part]] = np.nan
            own[part] = store[part][:, sessions, dyads, design.real[dyads]]
        own = own.reshape(len(made.tasks), *shape, -1)
        asked = [[names.index(epoch) for epoch in one.asked] for one in made.rows]
        of_rows = [own[task, ..., row][epochs] for row, (task, epochs) in enumerate(zip(tasks, asked, strict=True))]
        if request.roles != "fixed":  # a channel that is bad in the other person is told of that one
            for one, x in zip(made.rows, of_rows, strict=True):
                x[:, ~good_pairs(one.row, axes).T] = 0.0
        made = self._with_empty_pairs(made, of_rows)
        attrs = attrs | encode_attrs({"lost": encoded(made.losses)})
        if request.roles != "fixed":
            attrs["roles"] = request.roles
        if made.aligned:
            attrs |= encode_attrs({"aligned": made.aligned})
        valid = self._valid_of_cut(work, made, real)
        flat = np.moveaxis(store, 0, -1)
        return RepairedNull(flat, made.draws, made.sessions, "repair", attrs, valid, made.tasks, real_means=real)

    def _valid_of_cut(self, work: Work, made: PlannedRepairing, known: RealMeans) -> NDArray[np.float64] | None:
        """Share of trusted cells of real partners whose recordings are cut: float64 [session, dyad, task x feature]."""
        cut = [one for one in made.rows if not one.is_whole]
        if not cut:
            return None
        request = work.request
        names, n_means = epoch_names(request.epochs), made.axes.mask.size * request.spec.n_columns
        shape = (len(made.sessions), len(made.draws.design), len(made.tasks), len(names), n_means)
        valid = np.full(shape, np.nan)
        at = [(*self._place(made, one), [names.index(epoch) for epoch in one.asked]) for one in cut]
        for place in at:
            valid[place] = 0.0
        jobs = dyads_jobs(self, made, cut, request.signal, work.worker, known=known)
        who: dict[str, Any] = {"executor": work.executor, "journal": work.journal, "of": work.of("cut")}
        for numbers, means in means_of_rows(jobs, known, work.worker, **who):
            for row, fraction in zip(numbers, np.moveaxis(means.valid_fraction, -1, 1), strict=True):
                valid[at[row]] = fraction.reshape(len(fraction), -1)
        valid.reshape(*shape[:4], *made.axes.mask.shape, -1)[..., ~made.axes.mask, :] = np.nan
        return valid.reshape(*shape[:2], -1)

    @staticmethod
    def _place(made: PlannedRepairing, one: RowPlan) -> tuple[int, int, int]:
        """Numbers of a row's session, dyad and task."""
        row, dyads = one.row, made.draws.design.dyads
        return made.sessions.index(session_label(row.session)), dyads.index(row.dyad), made.tasks.index(row.task)

    def _with_empty_pairs(self, made: PlannedAny, values: Iterable[NDArray[np.floating]]) -> PlannedAny:
        """The plan with what turned out to be lost; values [epoch, channel_a, channel_b, band] of each of its rows."""
        whole = replace(made, losses=(*made.losses, *losses_of_values(made.rows, made.axes, values)))
        self._tell(whole)
        return whole

    def _attrs_of_null(self, request: Request, made: Planned, engine: Engine) -> dict[str, Any]:
        signal, pairs, epochs = request.signal, request.pairs, request.epochs
        attrs = _attrs(self, request.spec, engine, signal=signal, pairs=pairs, epochs=epochs, made=made)
        labels = _labels(self.dyads, made.axes, request.spec, epochs)
        return attrs | encode_attrs({"measure": request.measure, "stream_version": STREAM_VERSION, "labels": labels})

    @cached_property
    def _logged(self) -> set[str]:
        """What has been logged of this study."""
        return set()

    def _tell(self, made: Planned) -> None:
        """Log what is lost, each thing once."""
        for line in lost_lines(made.losses):
            if line not in self._logged:
                LOG.warning(line)
                self._logged.add(line)


_NO_IDENTITY = ("blas", "loops", "created", "versions", "lost", "labels", "study")
"""Attributes in which computations may differ that give the same: by less than the tolerance for ties."""


def attrs_that_identify(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes that must be the same for finished parts of a computation to be taken."""
    return {name: value for name, value in attrs.items() if name not in _NO_IDENTITY}


def _computed_alike(null: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a null holds all of these pairs, computed as this process would: results name what made them."""
    same_way = all(null.get(name) == now[name] for name in ("backend", "loops"))
    return same_way and null.get("pairs") in ("all", now["pairs"])


def _identity(request: Request, attrs: Mapping[str, Any]) -> dict[str, Any]:
    """What a null was asked for, of which study, by which version."""
    words = ("kind", "n", "seed", "tail", "stop_at", "within", "roles", "options")
    return {**attrs_that_identify(attrs), **{word: getattr(request, word) for word in words}}


def _with_notes(attrs: dict[str, Any], journal: Journal | None) -> dict[str, Any]:
    """The same with all kinds of processors that a journal's parts were computed on."""
    if journal is None:
        return attrs
    notes = journal.note(json.dumps({name: attrs[name] for name in ("blas", "loops")}))
    return {**attrs, **computed_with(*map(json.loads, notes))}


def _null_words(null: object) -> dict[str, Any]:
    """Words of a null, as `request_of` takes them."""
    if not isinstance(null, Mapping):
        raise PlanError(f"null={null!r} must be a mapping of words of Study.null, such as {{'kind': 'repair'}}")
    of_synchrony = signature(planned).parameters.keys() | {"how", "n_components", "rois", "roi_average"}
    known = [word for word in signature(request_of).parameters if word not in of_synchrony]
    for word in null:
        require_known("null", word, known)
    return dict(null)


# --- numbers ----------------------------------------------------------------------------------------------------------


def _arrays(means: Any) -> dict[str, NDArray[Any]]:
    """The arrays of means that are there, by name."""
    named = ((field.name, getattr(means, field.name)) for field in fields(means))
    return {name: array for name, array in named if array is not None}


def _nothing(shape: tuple[int, ...], like: Any) -> Any:
    """Means [row, epoch, channel_a, channel_b, band] without a value, with the arrays of others."""
    empty = mapped(like, lambda x: np.full((*shape, *x.shape[5:]), np.nan, x.dtype))
    return replace(empty, valid_fraction=np.zeros(shape))


def _put(values: Any, rows: list[int], found: Any) -> None:
    of_found = _arrays(found)
    for name, array in _arrays(values).items():
        array[rows] = np.moveaxis(of_found[name], 4, 1)


def _by_shift(values: Any, n_bands: int) -> Any:
    """The same with an axis of lags behind that of bands."""
    return mapped(values, lambda x: x.reshape(*x.shape[:4], n_bands, -1, *x.shape[5:]))


# --- labels -----------------------------------------------------------------------------------------------------------


def _labels(rows: Sequence[DyadRow], axes: Axes, spec: Spec, epochs: EpochWords) -> str:
    named = [(row.dyad, row.session, row.task) for row in rows]
    return labels_of(named, epoch_names(epochs), axes.a, axes.b, spec.bands or {}, shifts=spec.several_lags)


def _rate(rows: Sequence[DyadRow]) -> dict[str, Any]:
    """The sampling rate in Hz, where all dyads share one."""
    rates = {row.recording_a.sfreq for row in rows}
    return {"sfreq": rates.pop()} if len(rates) == 1 else {}


def _trials(rows: Sequence[DyadRow]) -> dict[str, Any]:
    """Number and length in s of the trials, where recordings are trials."""
    of_trials = [row.recording_a for row in rows if row.recording_a.trial_samples]
    if not of_trials:
        return {}
    n = [recording.n_trials for recording in of_trials]
    seconds = {recording.trial_samples / recording.sfreq for recording in of_trials}
    return {
        "trials": f"{min(n)} to {max(n)}" if min(n) < max(n) else str(n[0]),
        "trial_s": ", ".join(f"{length:g}" for length in sorted(seconds)),
    }


def _attrs(
    study: StudyFile,
    spec: Spec,
    engine: Engine,
    *,
    signal: str,
    pairs: Pairs,
    epochs: EpochWords,
    made: Planned,
) -> dict[str, Any]:
    rows = [one.row for one in made.rows]
    controls: dict[str, Any] = {} if made.controls is None else {"controls": made.controls.to_dict()}
    of_residuals = made.controls is not None and made.controls.how != "regression"
    plan = engine.plan.with_controls if of_residuals else engine.plan
    rois: dict[str, Any] = {} if made.axes.regions is None else {"rois": made.axes.regions.to_dict()}
    return provenance(
        spec=spec.to_dict(), **study.origin, **controls, **rois, kind="synchrony", signal=signal,
        backend=engine.backend.name, **_rate(rows), **_trials(rows), **plan.told, lost=encoded(made.losses),
        pairs=pairs if isinstance(pairs, str) else [list(pair) for pair in pairs],
        epochs=given_spans(epochs) if isinstance(epochs, Mapping) else "all" if epochs is None else list(epochs),
    )  # fmt: skip


def _dataset(
    values: Any,
    rows: Sequence[DyadRow],
    axes: Axes,
    epochs: Sequence[str],
    spec: Spec,
    signal: str,
    attrs: dict[str, Any],
) -> xr.Dataset:
    import xarray as xr

    bands = dict(spec.bands or {})
    dims: tuple[str, ...] = ("dyad", "epoch", "channel_a", "channel_b", "band")
    centre_hz = np.array([band.centre_hz for band in bands.values()])
    if spec.several_lags:
        values, dims, centre_hz = _by_shift(values, len(bands)), (*dims, SHIFT), centre_hz[:, None]
    coords: dict[str, Any] = {
        **row_coordinates(rows),
        "epoch": list(epochs), "channel_a": list(axes.a), "channel_b": list(axes.b), "band": list(bands),
        "band_low_hz": ("band", [band.low_hz for band in bands.values()]),
        "band_high_hz": ("band", [band.high_hz for band in bands.values()]),
        "signal": signal,
    }  # fmt: skip
    if any(isinstance(band, BandOfEach) for band in bands.values()):
        second = [of_sides(band)[1] for band in bands.values()]
        coords["band_b_low_hz"] = ("band", [band.low_hz for band in second])
        coords["band_b_high_hz"] = ("band", [band.high_hz for band in second])
    if spec.lags:
        of_shift = {"units": "s", "long_name": "b at t + shift is compared with a at t; positive: a leads"}
        coords[SHIFT] = (SHIFT if spec.several_lags else (), np.squeeze(spec.lags), of_shift)
    variables = variables_of(values, spec.measure, centre_hz, dims)
    return xr.Dataset(variables, coords, attrs)
