"""From real synchrony and a null distribution to a result: what belongs together, what can be found, what is."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..coupling.measures import MEASURES, Measure, measure_in
from ..errors import PlanError
from ..inference.alike import alike_within_groups, alike_within_persons
from ..inference.attainable import attainable
from ..inference.clusters import adjacent_channels, feature_graph, successive_epochs, touching_bands
from ..inference.repaired_test import BYTES_OF_ROW, bytes_of_test, dyad_summary, repair_test
from ..inference.scatter import scatter_test
from ..inference.settings import TestSettings
from ..inference.surrogate_test import surrogate_test
from ..nulls.hypotheses import AR_WARNING, SURROGATES, NullHypothesis, repairing_hypothesis
from ..nulls.random_streams import STREAM_VERSION
from ..nulls.repaired_null import RepairedNull
from ..nulls.surrogate_null import SurrogateNull
from ..nulls.surrogate_signals import MODELS
from ..nulls.tails import Tail
from ..recordings.memory import Budget, Memory, release
from ..results.layout import ARRAYS, ROW, SHIFT, TASK, axes_of, real_name, refuse_rows_twice, rows_of_task
from ..results.lost import encoded, losses_in
from ..results.netcdf import accepted_changes, encode_attrs
from ..results.record import NullDraws, Quantity, Record, Words
from ..results.result import Result, build_result, measure_values
from ..results.wording import names_in, null_in_words, settings
from ..study.controls import OWN_WARNING
from ..study.rows import labels_of, session_label
from .shared_people import in_all, speaking_of
from .two_nulls import arrays_of_both, hypothesis_of_both, require_two_kinds

if TYPE_CHECKING:
    import xarray as xr
    from scipy.sparse import csr_array

AnyNull = RepairedNull | SurrogateNull
Arrays = dict[str, NDArray[Any]]
Floats = NDArray[np.float64]

_SAME = ("study_sha256", "selected", "spec", "signal", "pairs", "epochs", "controls", "rois", "backend")
SELDOM = 0.01
"""Level of a warning that an assumption fails."""

_ROUNDING = 1e-3
"""More than values of one pair can differ by when they are computed twice."""


def test(
    real: xr.Dataset,
    null: AnyNull | Sequence[AnyNull],
    *,
    correct: Sequence[str] | None = None,
    tail: Tail | None = None,
    alpha: float = 0.05,
    neighbours: Sequence[tuple[str, str]] | None = None,
    memory: Memory | Budget = None,
) -> Result:
    """Test of real dyads against their null, task by task.

    A task is a condition: its mean over dyads (and their sessions) is tested by itself, and no mean is taken over
    tasks. Of a study with several, the variables of the group test have the dimension ``tested_task``; corrections are
    over all of them. To test one alone, choose it before computing: ``study.select(task="talk")``.

    Parameters
    ----------
    real : xarray.Dataset
        From `Study.synchrony`.
    null : RepairedNull or SurrogateNull, or a sequence of one of each
        From `Study.null`, of the same study and spec. With a re-pairing null and one of single dyads, such as "phase",
        a finding has to pass both: p is the larger of the two, "fdr" is over these p, and p_max is twice the larger.
        Columns of single dyads are those of the second kind; ``p_of_null`` and ``p_max_of_null`` [against, ...] tell
        the nulls apart.
        Re-pairing excludes what all people share, such as a stimulus; phase randomisation a rhythm that the two people
        of a dyad have by themselves.
    correct : sequence of {"fdr", "fdr_by", "max", "cluster", "tfce"}, optional
        Corrections over all tasks x channel pairs x bands x epochs; may be empty. One that is named must be able to
        find something at `alpha`. Default: "fdr" and "max", with a warning where they cannot.
    tail : {"greater", "less", "two-sided"}, optional
        Default: "greater"; where the null is of a measure with a sign, "two-sided".
    alpha : float
        Level at which a finding is wanted.
    neighbours : sequence of (channel, channel), optional
        For "cluster" and "tfce": channels that lie side by side. Default: those that share a source or a detector by
        their names (S1_D1, S1_D2). Tasks are not neighbours.
    memory : int, str or Budget, optional
        What this process may hold in all: bytes, or text such as "8G". Less than is needed is refused.

    Returns
    -------
    Result

    Raises
    ------
    PlanError
        If `real` and `null` do not belong together, a correction is unknown or not for two nulls, or the draws are too
        few for one that was named (of two nulls, at half of `alpha`).

    Warns
    -----
    RuntimeWarning
        If the draws are too few for a single finding to survive the default corrections (the result carries the
        sentence as ``caution``), or if partners were exchanged between groups or persons that differ, or real dyads
        differ among themselves more than re-paired ones (``warning``).

    Examples
    --------
    >>> real = study.synchrony(spec)
    >>> test(real, study.null(spec), correct=["fdr", "max"]).headline
    >>> test(real, [study.null(spec), study.null(spec, kind="phase", n=99)]).headline
    """
    nulls = list(null) if isinstance(null, Sequence) else [null]
    budget = Budget.of(memory)
    tails = {_tail(tail, one) for one in nulls}
    if len(tails) > 1:
        raise PlanError("the nulls are of measures with and without a sign: compute both of one measure")
    asked = TestSettings(tail=tails.pop() if tails else "greater", correct=correct, alpha=alpha, neighbours=neighbours)
    _require_memory(budget, nulls, asked)
    return _tested([real], nulls, asked)[0] if len(nulls) == 1 else _against_both(real, nulls, asked)


def _require_memory(budget: Budget, nulls: Sequence[AnyNull], asked: TestSettings) -> None:
    """Refuse a memory that does not hold what a test gives of every row and feature, and a part of the draws."""
    repaired = [null for null in nulls if isinstance(null, RepairedNull)]
    n_rows = sum(len(null.sessions) * len(null.design) * null.n_features for null in repaired)
    n_features = sum(null.n_features for null in repaired)
    of_maps = {"with_neighbours": asked.needs_neighbours}
    work = bytes_of_test(repaired[0].draws, n_features, **of_maps) if repaired else 0
    budget.require(work + BYTES_OF_ROW * n_rows, "this test")


def _against_both(real: xr.Dataset, nulls: Sequence[AnyNull], asked: TestSettings) -> Result:
    """Test against a re-pairing and a surrogate null."""
    stops = any(isinstance(null, SurrogateNull) and null.stop_at is not None for null in nulls)
    require_two_kinds([null.kind for null in nulls], asked, sequential=stops)
    nulls = sorted(nulls, key=lambda null: null.kind != "repair")
    measures = {measure_in(null.attrs) for null in nulls}
    if len(measures) > 1:
        raise PlanError("the nulls are of two measures: compute both of one")
    halved = replace(asked, alpha=asked.alpha / 2)
    one, other = (_tested([real], [null], halved, stacklevel=5)[0] for null in nulls)
    kinds = [str(result.dataset.attrs["null_kind"]) for result in (one, other)]
    first, second = (_draws(null, asked) for null in nulls)
    hypothesis = hypothesis_of_both(first.null, second.null, one.dataset.attrs)
    measure, attrs = measures.pop(), [result.dataset.attrs for result in (one, other)]
    words = _words(measure, hypothesis, asked.tail)
    procedure = f"{words.procedure}; p is the larger of the two, p_max twice the larger (Berger 1982)"
    words = replace(words, procedure=procedure, references=("Berger 1982, Technometrics 24:295",))
    if isinstance(nulls[0], RepairedNull) and nulls[0].valid_fraction is not None:
        words = replace(words, procedure=_over_shared_length(words, nulls[0]).procedure)
    drawn = replace(second, null=hypothesis, min_p=max(float(own["min_p"]) for own in attrs))
    caution, warning = ("; ".join(dict.fromkeys(filter(None, (a.get(w, "") for a in attrs)))) for w in _DOUBTS)
    corrected = names_in(attrs[1], "correct")
    record = Record(
        "test", drawn, words, replace(asked, correct=corrected), measure.name,
        {**_settings(nulls[0]), **_settings(nulls[1]), "row_null": null_in_words(attrs[1])},
        caution=caution, warning=warning, corrected_over=names_in(attrs[0], "corrected_over"),
    )  # fmt: skip
    losses = list(dict.fromkeys([*losses_in(attrs[0]), *losses_in(attrs[1])]))
    rows = other.dataset.assign_coords(against=kinds)
    if losses:
        rows = rows.assign_attrs(encode_attrs({"lost": encoded(losses)}))
    return build_result(rows, arrays_of_both(one.dataset, other.dataset, record.test), record)


_DOUBTS = ("caution", "warning")


def test_together(
    reals: Sequence[xr.Dataset],
    nulls: Sequence[AnyNull],
    *,
    correct: Sequence[str] | None = None,
    tail: Tail | None = None,
    alpha: float = 0.05,
    memory: Memory | Budget = None,
) -> list[Result]:
    """Test of several signals, such as HbO and HbR, with p-values corrected over all of them.

    Parameters
    ----------
    reals : sequence of xarray.Dataset
    nulls : sequence of RepairedNull or SurrogateNull
        One for each of `reals`, of one kind, drawn with the same seed and number of draws.
    correct, tail, alpha, memory
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

    Examples
    --------
    >>> reals = [study.synchrony(spec, signal=signal) for signal in ("hbo", "hbr")]
    >>> nulls = [study.null(spec, signal=signal, n=999) for signal in ("hbo", "hbr")]
    >>> hbo, hbr = test_together(reals, nulls)
    """
    if not isinstance(reals, Sequence) or not isinstance(nulls, Sequence) or not 0 < len(reals) == len(nulls):
        raise PlanError("give a list of real values and a list of as many nulls, one of each for each signal")
    budget, asked = Budget.of(memory), TestSettings(tail=_tail(tail, nulls[0]), correct=correct, alpha=alpha)
    _require_memory(budget, nulls, asked)
    return _tested(reals, nulls, asked)


def _tail(tail: Tail | None, null: AnyNull) -> Tail:
    if not isinstance(null, AnyNull):
        raise PlanError(f"give a null of Study.null behind the real values, not {type(null).__name__}")
    return tail or measure_in(null.attrs).tail


def _tested(
    reals: Sequence[xr.Dataset], nulls: Sequence[AnyNull], asked: TestSettings, *, stacklevel: int = 4
) -> list[Result]:
    for real, null in zip(reals, nulls, strict=True):
        require_match(real, null)
    reals = [
        _with_tasks(_untested(real)).assign_attrs(accepted_changes(real.attrs, null.attrs))
        for real, null in zip(reals, nulls, strict=True)
    ]
    n_tested, of_repairings, of_surrogates = _sorted_out(nulls)
    for null in of_surrogates:
        if null.tail != asked.tail:
            raise PlanError(
                f"the null took its maxima for tail={null.tail!r}, the test asks for {asked.tail!r}: compute the null "
                f"with tail={asked.tail!r}"
            )
    test = asked
    if of_surrogates and asked.correct is None and of_surrogates[0].stop_at is not None:
        test = replace(asked, correct=("fdr",))
    caution = attainable(test, n_tested, of_surrogates[0].n if of_surrogates else of_repairings[0].draws)
    doubts = [] if of_surrogates else [_alike(reals[0], of_repairings[0]), _scatter(of_repairings)]
    doubts += [OWN_WARNING] if settings(reals[0].attrs, "controls").get("how") == "own" else []
    refuse_or_warn(caution, asked.correct, *doubts, stacklevel=stacklevel)
    of_models = [AR_WARNING] if nulls[0].kind in MODELS else []
    measure = measure_in(nulls[0].attrs)
    draws = _draws(nulls[0], test)
    record = Record(
        "test", draws, _words(measure, draws.null, test.tail), test, measure.name,
        _settings(nulls[0]), caution=caution, warning="; ".join(filter(None, of_models + doubts)),
        corrected_over=[str(real["signal"].item()) for real in reals],
    )  # fmt: skip
    if of_repairings:
        return _repaired(reals, of_repairings, record)
    return _surrogated(reals, of_surrogates, record)


def _tasks(real: xr.Dataset) -> list[str]:
    """All tasks, as a null counts them."""
    return list(dict.fromkeys(real["task"].values.astype(str).tolist()))


def _untested(real: xr.Dataset) -> xr.Dataset:
    """Real synchrony without what an earlier test has added to its rows."""
    return real.drop_vars([name for name in (*ARRAYS, "against") if name in real.variables])


def _with_tasks(real: xr.Dataset) -> xr.Dataset:
    """Rows with the axis of tasks that their group test will have; the same where there is one task."""
    tasks = _tasks(real)
    return real.assign_coords({TASK: tasks}) if len(tasks) > 1 else real


def _alike(real: xr.Dataset, null: RepairedNull) -> str:
    """Why partners should not be exchanged between groups or persons, in words; empty if nothing speaks against it."""
    p = alike_within_persons(null)
    if p <= SELDOM:
        return (
            f"partners of one person are more coherent with that person's other meetings than partners of others are "
            f"(p = {p:.3g}), so real pairs would be above most re-paired ones without any interaction: exchange within "
            "the shared person, study.null(..., within=['person'])"
        )
    if "group" not in real.coords:
        return ""
    groups = dict(zip(real["dyad"].values.astype(str).tolist(), real["group"].values.astype(str).tolist(), strict=True))
    p = alike_within_groups(null, groups)
    if not p <= SELDOM:
        return ""
    return (
        f"pseudo-dyads of one group are more coherent than those of two (p = {p:.3g}), so real pairs, always of one "
        "group, would be above most re-paired ones without any interaction: exchange within groups, "
        "study.null(..., within=['group'])"
    )


def _scatter(nulls: Sequence[RepairedNull]) -> str:
    """Why a mean over dyads is not what re-pairing tests, in words; empty if nothing speaks against it."""
    p = scatter_test(nulls)
    if not p <= SELDOM:
        return ""
    return (
        f"real dyads differ among themselves more than re-paired ones (p = {p:.3g}), so a few dyads can make "
        "p small while the mean of dyads like these is not above that of re-paired ones: draw conclusions about these "
        "dyads only, or add a second null, "
        "ibs.test(real, [null, study.null(..., kind='phase')])"
    )


def _draws(null: AnyNull, test: TestSettings) -> NullDraws:
    if isinstance(null, SurrogateNull):
        return NullDraws(hypothesis_of(null), null.n, False, test.min_p(null.n + 1), null.seed)
    return draws_of_repairing(null, test)


def draws_of_repairing(null: RepairedNull, test: TestSettings) -> NullDraws:
    """The draws of a re-pairing null, as a result keeps them."""
    return NullDraws.of(hypothesis_of(null), null.draws, test)


def hypothesis_of(null: AnyNull) -> NullHypothesis:
    """The hypothesis of a null of `Study.null`, with whom it speaks of where one person is in every dyad."""
    if isinstance(null, SurrogateNull):
        return SURROGATES[null.kind]
    people = zip(null.design.persons_a, null.design.persons_b, strict=True)
    return speaking_of(repairing_hypothesis(null.design), in_all([set(pair) for pair in people]))


def _settings(null: AnyNull) -> dict[str, Any]:
    """What is told of some nulls only."""
    if isinstance(null, SurrogateNull):
        return {"stop_at": null.stop_at or 0}
    return {} if null.design.roles == "fixed" else {"roles": null.design.roles}


_ABOVE_NULL = {"greater": "above the null", "less": "below the null", "two-sided": "different from the null"}
_MORE_COHERENT = {"greater": "more coherent than", "less": "less coherent than", "two-sided": "unlike"}
_LARGER = {"greater": "a larger", "less": "a smaller", "two-sided": "another"}


def _words(measure: Measure, null: NullHypothesis, tail: Tail) -> Words:
    """The sentences of the test."""
    larger = f"{_LARGER[tail]} {measure.words} of real partners than {null.others}"
    return Words(
        subject=measure.subject,
        tested=f"{measure.words} of real partners {_ABOVE_NULL[tail]}",
        finding=f"real partners {_MORE_COHERENT[tail]} {null.others}" if measure.name == "coherence" else larger,
        procedure=f"The mean {measure.words} over dyads was compared with the same mean under the null",
        value=Quantity(measure.words, measure.unit),
        statistic=Quantity(measure.words, measure.unit),
        name=measure.words,
    )


def refuse_or_warn(caution: str, correct: Sequence[str] | None, *others: str, stacklevel: int = 3) -> None:
    """
    Refuse corrections that were named and could find nothing; warn of those that were not, and of whatever else.

    Parameters
    ----------
    caution : str
        What no single finding could pass, and why; empty if there is nothing.
    correct : sequence of str or None
        Corrections that were named.
    *others : str
        Further warnings; empty ones are left out.
    stacklevel : int
        Frames up to the caller of the public function; 3 for the caller of the one that calls this.

    Raises
    ------
    PlanError
    """
    if caution and correct:
        raise PlanError(caution)
    for sentence in filter(None, (caution, *others)):
        warnings.warn(sentence, RuntimeWarning, stacklevel=stacklevel)


def _sorted_out(nulls: Sequence[AnyNull]) -> tuple[int, list[RepairedNull], list[SurrogateNull]]:
    """Features that are corrected together, and the nulls by their type, of which there is one."""
    repairings = [null for null in nulls if isinstance(null, RepairedNull)]
    surrogates = [null for null in nulls if isinstance(null, SurrogateNull)]
    if repairings and surrogates:
        raise PlanError("signals are tested together against nulls of one kind: give nulls of one kind")
    if repairings:
        n = sum(null.n_tested for null in repairings)
    else:
        n = sum(int(np.isfinite(null.together.standard.statistic).sum()) for null in surrogates)
    return n, repairings, surrogates


def require_match(real: xr.Dataset, null: AnyNull) -> None:
    """Refuse a null that was computed from other data, with other settings, or with other random numbers.

    Raises
    ------
    PlanError
        Naming what differs.
    """
    if not hasattr(real, "data_vars") or not isinstance(null, AnyNull):
        raise PlanError(
            f"give what Study.synchrony returned and then a null of Study.null, not {type(real).__name__} and "
            f"{type(null).__name__}"
        )
    for name in _SAME:
        ours, theirs = real.attrs.get(name), null.attrs.get(name)
        if ours != theirs and name == "study_sha256":
            raise PlanError("real and null are of two different studies: compute both from one study file")
        if ours != theirs:
            raise PlanError(
                f"real and null differ in {name} ({ours!r} and {theirs!r}): compute both with the same words"
            )
    refuse_rows_twice(real)
    _require_labels(real, null)
    drawn = null.attrs.get("stream_version", STREAM_VERSION)
    if int(str(drawn)) != STREAM_VERSION:
        raise PlanError(f"the null was drawn with stream version {drawn}, this is {STREAM_VERSION}: compute it again")


def _require_labels(real: xr.Dataset, null: AnyNull) -> None:
    """Refuse values that were reordered, or of which some were chosen, after they were computed."""
    if "labels" not in null.attrs:
        return
    rows = zip(*(real[name].values for name in ("dyad", "session", "task")), strict=True)
    axes = [real[name].values for name in ("epoch", "channel_a", "channel_b", "band")]
    shifts = real[SHIFT].values if SHIFT in real.dims else ()
    ours, theirs = json.loads(labels_of(rows, *axes, shifts=shifts)), json.loads(str(null.attrs["labels"]))
    for axis in ours | theirs:
        if ours.get(axis) != theirs.get(axis):
            raise PlanError(
                f"real and null differ in the labels of {axis}: give the values as Study.synchrony returned them, in "
                "their order; choose dyads, channels, epochs and bands before computing"
            )


# --- re-pairing -------------------------------------------------------------------------------------------------------


def _repaired(
    reals: Sequence[xr.Dataset],
    nulls: Sequence[RepairedNull],
    record: Record,
) -> list[Result]:
    joint = _joint(nulls)
    groups = np.concatenate([k * 2**32 + epoch_and_band(_shape(real)) for k, real in enumerate(reals)])
    groups = np.unique(groups, return_inverse=True)[1]
    found = repair_test(joint, record.test, groups=groups, graph=neighbour_graph(reals, record.test))
    results, feature, group = [], 0, 0
    for real, null in zip(reals, nulls, strict=True):
        n_groups = math.prod(_shape(real)) // (real.sizes["channel_a"] * real.sizes["channel_b"])
        features = slice(feature, feature + null.n_features)
        arrays = _of_signal(found, features, slice(group, group + n_groups))
        rows = real_pairs(real, null)
        cut = null.valid_fraction is not None
        of_signal = replace(record, words=_over_shared_length(record.words, null)) if cut else record
        results.append(build_result(rows, arrays | _against_partners(real, null), of_signal))
        feature, group = features.stop, group + n_groups
    return results


def _shape(real: xr.Dataset) -> tuple[int, ...]:
    """Sizes of the axes of a group test, bands with all lags each: (task, epoch, channel_a, channel_b, band)."""
    *first, n_bands = (real.sizes.get(dim, 1) for dim in (TASK, "epoch", "channel_a", "channel_b", "band"))
    return (*first, n_bands * real.sizes.get(SHIFT, 1))


def neighbour_graph(reals: Sequence[xr.Dataset], asked: TestSettings) -> csr_array[Any] | None:
    """
    Which features of some signals are neighbours: in time, in frequency, and by the channels at both ends.

    Epochs are neighbours when one begins where the other ends, bands when they touch, lags when none is between them,
    channels when they share a source or a detector. Features of different signals or tasks are not.

    Parameters
    ----------
    reals : sequence of xarray.Dataset
        From `Study.synchrony`.
    asked : TestSettings

    Returns
    -------
    csr_array, bool [feature, feature], or None
        None where no correction needs to know.
    """
    if not asked.needs_neighbours:
        return None
    from scipy.sparse import block_diag, csr_array

    graphs = []
    for real in reals:
        a, b = ([str(name) for name in real[dim].values] for dim in ("channel_a", "channel_b"))
        # Regions lie side by side only if somebody says so, whatever they are called.
        side_by_side = () if asked.neighbours is None and "rois" in real.attrs else asked.neighbours
        edges = np.column_stack([real["band_low_hz"].values, real["band_high_hz"].values])
        of_task = feature_graph(
            successive_epochs(_spans_of(real)),
            adjacent_channels(a, side_by_side),
            adjacent_channels(b, side_by_side),
            touching_bands(edges),
            n_lags=real.sizes.get(SHIFT, 1),
        )
        graphs += [of_task] * real.sizes.get(TASK, 1)
    return csr_array(block_diag(graphs))


def _spans_of(real: xr.Dataset) -> list[list[tuple[float, float]]]:
    """Intervals of each epoch in s; epochs named after events have none and touch nothing."""
    stored = settings(real.attrs, "epochs")
    return [[(float(start), float(stop)) for start, stop in stored.get(str(name), [])] for name in real["epoch"].values]


def _joint(nulls: Sequence[RepairedNull]) -> RepairedNull:
    """All features of several nulls that share their draws."""
    first = nulls[0]
    for other in nulls[1:]:
        if other.draws != first.draws or other.sessions != first.sessions:
            raise PlanError("nulls to be tested together must share dyads, sessions, n and seed: compute them alike")
        if other.attrs.get("measure") != first.attrs.get("measure"):
            raise PlanError("nulls to be tested together differ in measure: compute them alike")
    if len(nulls) == 1:
        return first
    values, start = first.room(len(first.sessions), first.design.n_people, sum(null.n_features for null in nulls)), 0
    for null in nulls:
        for part in null.parts():
            values[..., start + part.start : start + part.stop] = null.pair_values[..., part]
            release(values)
        start += null.n_features
    return replace(first, pair_values=values)


def epoch_and_band(shape: Sequence[int]) -> NDArray[np.int64]:
    """
    Number of the epoch and band of each feature of a shape [..., epoch, channel_a, channel_b, band]: int64 [feature].

    Axes before that of epochs, such as tasks, are counted with it.
    """
    *first, _, _, n_bands = shape
    number = np.arange(math.prod(first) * n_bands).reshape(*first, 1, 1, n_bands)
    return np.broadcast_to(number, tuple(shape)).reshape(-1)


def _of_signal(found: Mapping[str, NDArray[Any]], features: slice, groups: slice) -> Arrays:
    """The part of a joint test that belongs to one signal."""
    parts = {"null_hist": groups, "pooled_statistic": groups}
    parts |= dict.fromkeys(("null_max", "null_cluster", "null_tfce", "hist_center"), slice(None))
    return {name: values[parts.get(name, features)] for name, values in found.items()}


def _against_partners(real: xr.Dataset, null: RepairedNull) -> Arrays:
    """Each dyad row against its own re-paired partners: [dyad, feature]."""
    summary, at = dyad_summary(null), _places(real, null)
    return {name: null.of_rows(summary[name], *at) for name in ("null_mean", "null_sd", "z", "percentile")}


def _places(real: xr.Dataset, null: RepairedNull) -> tuple[NDArray[np.int64], ...]:
    """Session, dyad and task of each row, as the null counts them."""
    sessions = [null.sessions.index(session_label(session)) for session in real["session"].values]
    dyads = [null.design.dyads.index(str(dyad)) for dyad in real["dyad"].values]
    return np.array(sessions), np.array(dyads), np.array([null.tasks.index(str(task)) for task in real["task"].values])


def real_pairs(real: xr.Dataset, null: RepairedNull) -> xr.Dataset:
    """
    Real synchrony as a re-pairing null holds it: `value` is that of recordings cut like those of re-paired partners.

    Parameters
    ----------
    real : xarray.Dataset
        From `Study.synchrony`, which uses each recording in full.
    null : RepairedNull

    Returns
    -------
    xarray.Dataset
        `real` with `value`, the share of cells behind it, and what the null has lost.

    Raises
    ------
    PlanError
        If values of `real` were changed after they were computed.
    """
    measure = measure_in(null.attrs)
    held, valid = null.real_pairs(*_places(real, null))
    dims = axes_of(real, ROW)
    shape = tuple(real.sizes[dim] for dim in dims)
    held = held.reshape(shape)
    cut = np.zeros(shape, bool) if valid is None else np.isfinite(valid).reshape(shape)
    if null.design.roles == "fixed" and (measure.needs != "shares" or "share_above" in real):
        computed = measure_values(real, measure.name).transpose(*axes_of(real, ROW)).to_numpy()
        _refuse_changed(real, computed, np.where(cut, computed, held))
        held = np.where(cut | np.isnan(computed), held, computed)
    told = dict(real["valid_fraction"].attrs)
    of_real = real["valid_fraction"].transpose(*axes_of(real, ROW)).to_numpy()
    rows = real.assign(
        value=(dims, held),
        valid_fraction=(dims, of_real if valid is None else np.where(cut, valid.reshape(shape), of_real), told),
    )
    if cut.any():
        name = real_name(real)
        rows[name] = real[name].assign_attrs(long_name=f"{MEASURES[name].definition}, in full")
    return rows.assign_attrs(lost=null.attrs["lost"]) if "lost" in null.attrs else rows


def _refuse_changed(real: xr.Dataset, computed: Floats, held: Floats) -> None:
    """Refuse values of a row and feature that differ from those of the null."""
    valid = real["valid_fraction"].transpose(*axes_of(real, ROW)).to_numpy()
    borderline = np.abs(valid - float(settings(real.attrs, "spec").get("min_valid", 0.5))) < _ROUNDING
    emptied = np.isnan(computed) & np.isfinite(held) & ~borderline
    changed = emptied | (np.abs(computed - held) > _ROUNDING)
    if changed.any():
        row = int(np.flatnonzero(changed.reshape(len(changed), -1).any(axis=1))[0])
        raise PlanError(
            f"values of real were changed after they were computed (dyad {str(real['dyad'].values[row])!r}): the test "
            "takes its values from the null, which holds others; give what Study.synchrony returned"
        )


def _over_shared_length(words: Words, null: RepairedNull) -> Words:
    """The words of a test whose recordings were cut to the length that partners share."""
    cut = "recordings were cut to the shortest of their session, task and block, those of real partners too"
    aligned = " and ".join(names_in(null.attrs, "aligned"))
    if aligned:
        cut += f", and aligned at the onsets of {aligned}, with equal durations"
    value = replace(words.value, words=f"{words.value.words} over the shared length")
    return replace(words, value=value, procedure=f"For re-pairing, {cut}. {words.procedure}")


# --- surrogates -------------------------------------------------------------------------------------------------------


def _surrogated(reals: Sequence[xr.Dataset], nulls: Sequence[SurrogateNull], record: Record) -> list[Result]:
    results = []
    for real, null, found in zip(reals, nulls, surrogate_test(nulls, correct=record.test.corrections), strict=True):
        arrays = {**found, "value": null.observed, "n_dyads": _n_dyads(real, null.observed)}
        if null.kind != "trial" and record.measure == real_name(real):
            computed = real[record.measure].transpose(*axes_of(real, ROW)).to_numpy()
            _refuse_changed(real, computed, null.observed.reshape(computed.shape))
            arrays["value"] = computed
        # Trials are transformed one by one, which is another estimate than that of `real`.
        rows = real[["valid_fraction"]] if null.kind == "trial" else real
        if null.kind == "trial" and "lost" in null.attrs:
            rows = rows.assign_attrs(lost=null.attrs["lost"])
        results.append(build_result(rows, arrays, record))
    return results


def _n_dyads(real: xr.Dataset, observed: NDArray[np.float64]) -> NDArray[np.int64]:
    """Dyads with a value in any session of each task: int64 [task x feature]."""
    names = np.unique(real["dyad"].values, return_inverse=True)[1]
    rows = [[rows_of_task(real, task) & (names == dyad) for dyad in range(names.max() + 1)] for task in _tasks(real)]
    present = np.isfinite(observed)
    return np.concatenate([np.sum([present[own].any(axis=0) for own in of_task], axis=0) for of_task in rows])
