"""The whole pipeline on one page: study -> plan -> features -> coherence -> null -> test -> result."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .engine import Coherence, Engine
from .errors import IbsyncError, InputError, PlanError
from .measures import PHASES
from .nulls.grouptest import Tail
from .nulls.inference import dyad_summary, repair_test, shortfall
from .nulls.philox import STREAM_VERSION
from .nulls.surrogates import Draws, Null, Repairing
from .occasions import (
    Axes,
    EpochWords,
    Occasion,
    Pairs,
    by_epochs,
    common_epochs,
    engine_of,
    epoch_names,
    occasion_label,
    occasions_of,
    require_chroma,
    signals_of,
    spans_of,
)
from .recordings.recording import DyadRow
from .recordings.study import StudyFile
from .results import FEATURE, Result, build_result, mean_variables, provenance
from .spec import WTC, PhaseShares
from .storage import encode_attrs

if TYPE_CHECKING:
    import xarray as xr

NULL_KINDS = ("repair",)
WITHIN = ("session", "epoch", "task", "group")
FEATURE_BYTES = 256 << 20  # features held at a time; a study larger than this is worked through in tiles of people


@dataclass(frozen=True)
class Check:
    """What `Study.check` found.

    Attributes
    ----------
    problems : tuple of str
        What would stop a run; empty if nothing would.
    page : str
        The study, the request and the problems, to be read.
    """

    problems: tuple[str, ...]
    page: str

    @property
    def ok(self) -> bool:
        """Whether a run would go through."""
        return not self.problems

    def __str__(self) -> str:
        return self.page


class Study(StudyFile):
    """A study file with the verbs of the analysis.

    Examples
    --------
    >>> study = Study.open("therapy.h5")                                    # doctest: +SKIP
    >>> spec = WTC(bands={"task": (0.02, 0.1)})                             # doctest: +SKIP
    >>> real = study.synchrony(spec)                                        # doctest: +SKIP
    >>> result = test(real, study.null(spec, n=10_000, seed=7))             # doctest: +SKIP
    """

    def check(self, spec: WTC, *, chroma: str = "hbo", epochs: EpochWords = None, estimate: bool = True) -> Check:
        """Everything that would stop a run, without running it.

        Parameters
        ----------
        spec : WTC
        chroma : str
            Signal, such as "hbo".
        epochs : sequence of event labels, mapping of name to (start, stop) in s, or None
        estimate : bool
            Time one dyad of noise, to say how long a run will take and how much memory.

        Returns
        -------
        Check
        """
        problems: list[str] = []
        lines = [str(self), ""]
        for occasion in occasions_of(self.dyads, "common"):
            lines += occasion.describe()
            try:
                for rows, spans in by_epochs(occasion, epochs):
                    engine = engine_of(occasion, spec, spans, "auto", {})
                    require_chroma(self, rows, chroma)
                if estimate:
                    lines.append(_cost(occasion, engine, Axes.of(self.dyads, "all")))
            except IbsyncError as error:
                problems.append(f"{self.path}: {occasion.label}: {error}")
        if not self.dyads:
            problems.append(f"{self.path}: no dyad is marked for use: set use to 1 in the dyads table")
        lines += ["", "Problems:", *(f"  {p}" for p in problems)] if problems else ["", "Nothing stands in the way."]
        return Check(tuple(problems), "\n".join(lines))

    def synchrony(
        self,
        spec: WTC,
        *,
        chroma: str = "hbo",
        pairs: Pairs = "all",
        epochs: EpochWords = None,
        length: str = "common",
        shares: bool | PhaseShares = False,
        backend: str = "auto",
        progress: bool = False,
    ) -> xr.Dataset:
        """Coherence of every dyad, for channel pairs x bands x epochs.

        Parameters
        ----------
        spec : WTC
            With bands.
        chroma : str
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
        progress : bool
            Show a bar on standard error.

        Returns
        -------
        xarray.Dataset
            Dimensions dyad (one row per dyad x session), epoch, channel_a, channel_b, band. Variables: coherence
            (mean R2), fisher_z (artanh of its root, for models), coherency_re, coherency_im, phase (rad, positive: a
            leads), phase_consistency, lag (s, within half a period), valid_fraction; with `shares` share_above (of all
            cells, those with R2 above the level) and, of these, share_in_phase, share_a_leads, share_b_leads and
            share_anti_phase, NaN where there are none.

        Raises
        ------
        PlanError, InputError
        """
        _require_bands(spec)
        rows = self._rows()
        axes = Axes.of(rows, pairs)
        names = epoch_names(epochs)
        shape = (len(rows), len(names), len(axes.a), len(axes.b), len(spec.bands or {}))
        asked = PhaseShares.of(shares)
        values = _nothing(shape, asked)
        engines: dict[Any, Engine] = {}
        jobs = [
            (occasion, row, engine_of(occasion, spec, spans, backend, engines))
            for occasion in occasions_of(rows, length)
            for chosen, spans in by_epochs(occasion, epochs)
            for row in chosen
        ]
        require_chroma(self, rows, chroma)
        for occasion, row, engine in _bar(jobs, "synchrony", progress):
            a = engine.features(signals_of(self, row.recording_a, chroma, axes.a, occasion.n_samples))
            b = engine.features(signals_of(self, row.recording_b, chroma, axes.b, occasion.n_samples))
            _put(values, rows.index(row), engine.coherence(a, b, shares=shares))
        for array in (values.coherence, values.coherency, values.shares, values.above):
            if array is not None:
                array[:, :, ~axes.wanted] = np.nan
        used = engines[next(iter(engines))]
        attrs = _attrs(self, spec, used, chroma=chroma, pairs=pairs, epochs=epochs, length=length, rows=rows)
        if asked:
            attrs |= encode_attrs({"phase_shares": asked})
        return _dataset(values, rows, axes, names, spec, chroma, attrs)

    def null(
        self,
        spec: WTC,
        *,
        kind: str = "repair",
        n: int = 10_000,
        within: Sequence[str] = ("session",),
        seed: int = 0,
        chroma: str = "hbo",
        pairs: Pairs = "all",
        epochs: EpochWords = None,
        backend: str = "auto",
        progress: bool = False,
    ) -> Null:
        """Null distribution by partner re-pairing: coherence of everybody with everybody's partner, once.

        Parameters
        ----------
        spec : WTC
            With bands.
        kind : {"repair"}
        n : int
            Permutations drawn; all are listed where there are no more than a million.
        within : sequence of {"session", "epoch", "task", "group"}
            What must agree for two dyads to exchange partners. Session, task and epoch always do; with "group" only
            dyads of one group exchange.
        seed : int
        chroma, pairs, epochs, backend, progress
            As `synchrony`.

        Returns
        -------
        Null

        Raises
        ------
        PlanError, InputError
            If fewer than two dyads can exchange partners, a person is in several dyads, or epochs differ in timing.
        """
        if kind not in NULL_KINDS:
            raise PlanError(f"null kind {kind!r} is not known: use one of {', '.join(map(repr, NULL_KINDS))}")
        _require_bands(spec)
        unknown = [word for word in within if word not in WITHIN]
        if unknown:
            raise PlanError(f"within={unknown[0]!r} is not known: use some of {', '.join(map(repr, WITHIN))}")
        rows = self._rows()
        draws = plan_draws(rows, within, n, seed)
        design = draws.design
        axes = Axes.of(rows, pairs)
        occasions = occasions_of(rows, "common", one_rate=True)
        engines: dict[Any, Engine] = {}
        planned = [(o, engine_of(o, spec, common_epochs(o, epochs), backend, engines)) for o in occasions]
        require_chroma(self, rows, chroma)
        n_features = len(epoch_names(epochs)) * len(axes.a) * len(axes.b) * len(spec.bands or {})
        values = np.full((len(occasions), len(design), len(design), n_features), np.nan, np.float32)
        jobs = [(s, o, e, block) for s, (o, e) in enumerate(planned) for block in design.blocks]
        for s, occasion, engine, block in _bar(jobs, "re-pairing", progress):
            present = [i for i in block if design.dyads[i] in occasion.by_dyad]
            people = [occasion.by_dyad[design.dyads[i]] for i in present]
            for i, j, coherence in _everybody(self, people, engine, axes, chroma, occasion.n_samples):
                flat = np.moveaxis(coherence, -1, 2)  # [i, j, epoch, a, b, band]
                flat[:, :, :, ~axes.wanted] = np.nan
                values[np.ix_([s], np.take(present, i), np.take(present, j))] = flat.reshape(1, len(i), len(j), -1)
        used = planned[0][1]
        attrs = _attrs(self, spec, used, chroma=chroma, pairs=pairs, epochs=epochs, length="common", rows=rows)
        return Null(values, draws, tuple(o.label for o in occasions), kind, attrs)

    def _rows(self) -> tuple[DyadRow, ...]:
        if not self.dyads:
            raise InputError(f"{self.path}: no dyad is marked for use: set use to 1 in the dyads table")
        return self.dyads


def test(real: xr.Dataset, null: Null, *, correct: Sequence[str] = ("fdr", "max"), tail: Tail = "greater") -> Result:
    """Group test of real dyads against re-paired ones.

    Parameters
    ----------
    real : xarray.Dataset
        From `Study.synchrony`.
    null : Null
        From `Study.null`, of the same study and spec.
    correct : sequence of {"fdr", "fdr_by", "max"}
        Corrections over all channel pairs x bands x epochs; may be empty.
    tail : {"greater", "less", "two-sided"}

    Returns
    -------
    Result

    Raises
    ------
    PlanError
        If `real` and `null` do not belong together, or a correction is unknown.

    Warns
    -----
    RuntimeWarning
        If the draws are too few for a single finding to survive; the result carries the sentence as ``caution``.
    """
    return test_together([real], [null], correct=correct, tail=tail)[0]


def test_together(
    reals: Sequence[xr.Dataset],
    nulls: Sequence[Null],
    *,
    correct: Sequence[str] = ("fdr", "max"),
    tail: Tail = "greater",
) -> list[Result]:
    """Group test of several signals, such as HbO and HbR, with p-values corrected over all of them.

    Parameters
    ----------
    reals : sequence of xarray.Dataset
    nulls : sequence of Null
        One for each of `reals`, drawn with the same seed and number of permutations.
    correct, tail
        As `test`.

    Returns
    -------
    list of Result
        One for each of `reals`.

    Raises
    ------
    PlanError
        As `test`, and if the nulls were not drawn alike.

    Warns
    -----
    RuntimeWarning
        As `test`.
    """
    for real, null in zip(reals, nulls, strict=True):
        _require_match(real, null)
    joint = _joint(nulls)
    n_tested = int(np.isfinite(joint.pair_values).any(axis=(0, 1, 2)).sum())
    caution = shortfall(joint.draws, n_tested, correct)
    if caution:
        warnings.warn(f"no single finding can pass: {caution}", RuntimeWarning, stacklevel=3)
    groups = np.concatenate([k * 2**16 + _epoch_and_band(real) for k, real in enumerate(reals)])
    found = repair_test(joint, correct=correct, tail=tail, groups=np.unique(groups, return_inverse=True)[1])
    attrs = {
        "null_kind": joint.kind, "n_draws": joint.draws.n, "exact": int(joint.draws.exact), "min_p": joint.draws.min_p,
        "seed": joint.draws.seed, "tail": tail, "correct": list(correct), "stream_version": STREAM_VERSION,
        "caution": caution, "corrected_over": [str(real["chroma"].item()) for real in reals],
    }  # fmt: skip
    results, feature, group = [], 0, 0
    for real, null in zip(reals, nulls, strict=True):
        shape = tuple(real.sizes[d] for d in FEATURE)
        n_groups = shape[0] * shape[3]
        features = slice(feature, feature + null.n_features)
        arrays = _of_signal(found, features, slice(group, group + n_groups), shape)
        results.append(build_result(real, arrays | _per_row(real, null, shape), attrs))
        feature, group = features.stop, group + n_groups
    return results


def _joint(nulls: Sequence[Null]) -> Null:
    """All features of several nulls that share their draws."""
    first = nulls[0]
    for other in nulls[1:]:
        if other.draws != first.draws or other.sessions != first.sessions:
            raise PlanError("nulls to be tested together must share dyads, sessions, n and seed: compute them alike")
    values = first.pair_values if len(nulls) == 1 else np.concatenate([null.pair_values for null in nulls], axis=3)
    return replace(first, pair_values=values)


def _epoch_and_band(real: xr.Dataset) -> NDArray[np.int64]:
    """Number of each feature's epoch and band: int64 [feature]."""
    n_epochs, _, _, n_bands = shape = tuple(real.sizes[d] for d in FEATURE)
    number = np.arange(n_epochs * n_bands).reshape(n_epochs, 1, 1, n_bands)
    return np.broadcast_to(number, shape).reshape(-1)


def _of_signal(
    found: Mapping[str, NDArray[Any]], features: slice, groups: slice, shape: tuple[int, ...]
) -> dict[str, NDArray[Any]]:
    """The part of a joint test that belongs to one signal, in the shape of its features."""
    special = {
        "null_max": found["null_max"],
        "null_hist": found["null_hist"][groups].reshape(shape[0], shape[3], -1),
        "pooled_statistic": found["pooled_statistic"][groups].reshape(shape[0], shape[3]),
    }
    return {
        name: special[name] if name in special else values[features].reshape(shape) for name, values in found.items()
    }


def _per_row(real: xr.Dataset, null: Null, shape: tuple[int, ...]) -> dict[str, NDArray[np.float64]]:
    """Each dyad row against its own re-paired partners: [dyad, epoch, channel_a, channel_b, band]."""
    summary = dyad_summary(null)
    labels = [occasion_label(*key) for key in zip(real["session"].values, real["task"].values, strict=True)]
    at = [
        (null.sessions.index(label), null.design.dyads.index(str(dyad)))
        for label, dyad in zip(labels, real["dyad"].values, strict=True)
    ]
    sessions, dyads = np.array(at).T
    names = ("null_mean", "null_sd", "z", "percentile")
    return {name: summary[name][sessions, dyads].reshape(len(at), *shape) for name in names}


def _require_match(real: xr.Dataset, null: Null) -> None:
    for name in ("study_sha256", "spec", "chroma", "pairs", "epochs", "length", "backend"):
        ours, theirs = real.attrs.get(name), null.attrs.get(name)
        if ours != theirs:
            raise PlanError(
                f"real and null differ in {name} ({ours!r} and {theirs!r}): compute both with the same words"
                + (" (length='common')" if name == "length" else "")
            )


# --- before anything is computed --------------------------------------------------------------------------------------


def plan_draws(rows: Sequence[DyadRow], within: Sequence[str], n: int, seed: int) -> Draws:
    """The re-pairings of a study's dyads, before anything is computed.

    Parameters
    ----------
    rows : sequence of DyadRow
    within, n, seed
        As `Study.null`.

    Raises
    ------
    PlanError, InputError
        If fewer than two dyads can exchange partners, a person is in several dyads, or a dyad changes its people.
    """
    people: dict[str, tuple[str, str, str]] = {}
    for row in rows:
        mine = (row.person_a, row.person_b, row.group)
        if people.setdefault(row.dyad, mine) != mine:
            raise InputError(
                f"dyad {row.dyad!r} has other people or another group in session {row.session!r}: give it its own label"
            )
    a, b, group = (list(column) for column in zip(*people.values(), strict=True))
    strata = {"group": group} if "group" in within else None
    return Draws.plan(Repairing.of(list(people), a, b, strata), n, seed)


def _require_bands(spec: WTC) -> None:
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


def _everybody(
    study: StudyFile, rows: Sequence[DyadRow], engine: Engine, axes: Axes, chroma: str, n_samples: int
) -> Iterator[tuple[range, range, NDArray[np.float64]]]:
    """Mean R2 of each first person with each second person, in tiles: [i, j, a, b, band, epoch]."""
    n = len(rows)
    per_person = engine.plan.feature_bytes * max(len(axes.a), len(axes.b))
    step = max(1, min(n, int(FEATURE_BYTES / 2 / per_person)))
    tiles = [range(k, min(k + step, n)) for k in range(0, n, step)]
    for i in tiles:
        people = [signals_of(study, rows[k].recording_a, chroma, axes.a, n_samples) for k in i]
        first = engine.features(np.stack(people))
        for j in tiles:
            people = [signals_of(study, rows[k].recording_b, chroma, axes.b, n_samples) for k in j]
            found = engine.coherence(first, engine.features(np.stack(people)))
            yield i, j, np.moveaxis(found.coherence, 1, 2)


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


def _bar(jobs: Sequence[Any], what: str, progress: bool) -> Iterable[Any]:
    if not progress:
        return jobs
    from tqdm.auto import tqdm

    return tqdm(jobs, desc=what, unit="dyad" if what == "synchrony" else "block")


# --- labels -----------------------------------------------------------------------------------------------------------


def _rate(rows: Sequence[DyadRow]) -> dict[str, Any]:
    """The sampling rate in Hz, where all dyads share one."""
    rates = {row.recording_a.sfreq for row in rows}
    return {"sfreq": rates.pop()} if len(rates) == 1 else {}


def _attrs(
    study: StudyFile,
    spec: WTC,
    engine: Engine,
    *,
    chroma: str,
    pairs: Pairs,
    epochs: EpochWords,
    length: str,
    rows: Sequence[DyadRow],
) -> dict[str, Any]:
    return provenance(
        spec=spec.to_dict(), study_sha256=study.sha256, study=study.path.name, kind="synchrony", chroma=chroma,
        accuracy=spec.accuracy, preset=spec.preset, backend=engine.backend, **_rate(rows),
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
    chroma: str,
    attrs: dict[str, Any],
) -> xr.Dataset:
    import xarray as xr

    bands = dict(spec.bands or {})
    dims = ("dyad", "epoch", "channel_a", "channel_b", "band")
    centre_hz = np.array([band.centre_hz for band in bands.values()])
    of_rows = {
        "session": [row.session for row in rows], "task": [row.task for row in rows],
        "person_a": [row.person_a for row in rows], "person_b": [row.person_b for row in rows],
        "group": [row.group for row in rows],
    }  # fmt: skip
    coords: dict[str, Any] = {
        "dyad": [row.dyad for row in rows],
        **{name: ("dyad", column) for name, column in of_rows.items()},
        "epoch": list(epochs), "channel_a": list(axes.a), "channel_b": list(axes.b), "band": list(bands),
        "band_low_hz": ("band", [band.low_hz for band in bands.values()]),
        "band_high_hz": ("band", [band.high_hz for band in bands.values()]),
        "chroma": chroma,
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
