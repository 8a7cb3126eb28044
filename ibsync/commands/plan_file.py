"""Every key of every plan file, declared once: its type, its default and what it means."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ..coupling.band_spec import Coupling, Spec
from ..coupling.measures import COUPLINGS, MEASURES, measure_named
from ..coupling.spec import ACCURACIES, CONES, PRESETS, WTC, as_pairs
from ..errors import PlanError
from ..inference.p_values import CORRECTIONS, SINGLE_FEATURE
from ..nulls.surrogate_signals import FAMILY_OPTIONS
from ..nulls.tails import Tail
from ..questions import mixed_model
from ..questions.outcome_sample import OutcomeLevel
from ..questions.predict_outcome import Prediction
from ..recordings.memory import Budget
from ..recordings.output_kinds import PAGE, RESULT, json_kind, table_kind
from ..recordings.whole_files import Kind, Output, same_file
from ..results.calibration_result import TARGET_POWER
from ..simulation.courses import TIES
from ..study.controls import HOW, MOST_CONTROLS
from ..study.planned import NULL_KINDS
from ..study.regions import AVERAGES
from ..study.repairing_plan import DESIGNS, WITHIN
from .plan_reader import PLAN, Block, about, read, toml

if TYPE_CHECKING:
    Accuracy = str
    Agreement = str
    Averaged = str
    Cone = str
    ControlsHow = str
    Correction = str
    CouplingKind = str
    Measure = str
    NullKind = str
    Preset = str
    PresetAccuracy = str
    OutcomeCorrection = str
    Roles = str
    Tie = str
else:
    Accuracy, Agreement, Averaged, Cone, ControlsHow, Correction, Measure, NullKind, Preset, Roles, Tie = (
        Literal[*words]
        for words in (
            ACCURACIES,
            WITHIN,
            AVERAGES,
            CONES,
            HOW,
            CORRECTIONS,
            [name for name in MEASURES if name not in COUPLINGS],
            NULL_KINDS,
            PRESETS,
            DESIGNS,
            TIES,
        )
    )
    CouplingKind = Literal[*COUPLINGS]
    OutcomeCorrection = Literal[*SINGLE_FEATURE]
    PresetAccuracy = Literal[*PRESETS, *(f"{preset}/{accuracy}" for preset in PRESETS for accuracy in ACCURACIES)]

Name = Annotated[str, Meta(min_length=1)]
Names = Name | Annotated[tuple[Name, ...], Meta(min_length=1)]
Count = Annotated[int, Meta(ge=1)]
Whole = Annotated[int, Meta(ge=0)]
Level = Annotated[float, Meta(gt=0, lt=1)]
Spread = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[float, Meta(gt=0)]
Frequency = Annotated[float, Meta(gt=0, title="a frequency in Hz")]
Interval = Annotated[tuple[float, ...], Meta(min_length=2, max_length=2, title="[low, high] in Hz")]
Span = Annotated[
    tuple[float | tuple[float, ...], ...], Meta(min_length=1, title="[start, stop] in s, or a list of them")
]
Pair = Annotated[tuple[Name, ...], Meta(min_length=2, max_length=2)]


class Band(Block, frozen=True):
    """A band of frequencies with holes."""

    low_hz: Annotated[Frequency, about("Lower edge, Hz.", 0.02)]
    high_hz: Annotated[Frequency, about("Upper edge, Hz.", 0.1)]
    exclude_hz: Annotated[
        tuple[Interval, ...], Meta(title="a list of [low, high] in Hz"), about("Ranges left out of the band, Hz.")
    ] = ()


Edges = Annotated[Interval | Band, Meta(title="[low, high], or a table with low_hz, high_hz and perhaps exclude_hz")]
Bands = Annotated[dict[str, Edges], Meta(min_length=1, title="a table of bands, such as { task = [0.02, 0.1] }")]
EdgesOfPeople = Annotated[
    tuple[float | Interval, ...], Meta(min_length=2, max_length=2, title="[low, high] in Hz, or two of them")
]
BandsOfPeople = Annotated[
    dict[str, EdgesOfPeople],
    Meta(min_length=1, title="a table of bands, such as { alpha = [8, 13] } or { alpha = [[8, 13], [6, 9]] }"),
]
Epochs = Annotated[
    Names | Annotated[dict[str, Span], Meta(min_length=1)] | None,
    about("Labels of events; or names with [start, stop] in s from the first sample. Without: the whole recording."),
]
Pairs = Annotated[
    Literal["all", "same"] | Annotated[tuple[Pair, ...], Meta(min_length=1)],
    Meta(title='"all", "same" or a list of pairs such as [["S1_D1", "S2_D1"]]', description="Channel pairs."),
]
Within = Annotated[
    Agreement | tuple[Agreement, ...] | None,
    Meta(
        title='"group", "person", "attendance", a list of these, or left out: partners are exchanged within session, '
        "task and epoch anyway",
        description='What must agree for two dyads to exchange partners. Without: "person" where dyads share a person, '
        "else nothing; [] exchanges over all.",
    ),
]
ControlNames = Annotated[
    Name | tuple[Name, ...],
    Meta(title='a list such as ["short", "heart_rate"]'),
    about("Taken out of every channel: short, global, auxiliary signals or channels of the person."),
]
How = Annotated[
    ControlsHow, about("Partial coherence given the controls of both, given one's own, or regression in time.")
]
Components = Annotated[
    Annotated[int, Meta(ge=1, le=MOST_CONTROLS)], about("Principal components of the short channels, at most.")
]
Members = Annotated[tuple[Name, ...], Meta(min_length=1)]
Rois = Annotated[
    dict[str, Members | Annotated[dict[str, Members], Meta(min_length=1)]],
    Meta(min_length=1, title='a table such as { frontal = ["S1_D1", "S1_D2"] }'),
]
RegionsOf = Annotated[
    Rois | None,
    about(
        "Regions of interest by name; or one such table for each of a and b, of roles or persons. Without: channels."
    ),
]
RoiAverage = Annotated[
    Averaged, about("Whether coherence is averaged over the pairs of channels, or signals before the transform.")
]
Corrections = Correction | tuple[Correction, ...]
OutcomeCorrections = OutcomeCorrection | tuple[OutcomeCorrection, ...]
Draws = Annotated[Count, about("Draws; all are listed where they are few.")]
Seed = Annotated[Whole, about("Everything random follows from it.")]
TestTail = Annotated[Tail, about("Direction of the test.")]
MeasureTail = Annotated[
    Tail | None, about("Direction of the test. Without: greater, of a measure with a sign two-sided.")
]
Alpha = Annotated[Level, about("Level of the test: the largest p that counts.")]
StudyFile = Annotated[Path, about("Study file.", "study.h5")]
AcceptChanges = Annotated[bool, about("Take a file that was changed after ibsync wrote it; results say so.")]
MemoryWords = Annotated[str | None, about("Memory that the command may take in all, unless --memory says so.", '"8G"')]


def _path(pattern: str) -> Any:
    """The default of a path."""
    return msgspec.field(default_factory=partial(Path, pattern))


def _check_spans(epochs: Any) -> None:
    for name, span in epochs.items() if isinstance(epochs, dict) else ():
        pairs = as_pairs(span)
        if not all(isinstance(pair, tuple) and len(pair) == 2 and 0 <= pair[0] < pair[1] for pair in pairs):
            text = toml(span).replace(".0", "")
            raise ValueError(f"epochs.{name} = {text} must be [start, stop] in s, start below stop")


# --- ibsync run, check and calibrate ----------------------------------------------------------------------------------


class Wtc(Block, frozen=True):
    """What is computed of two signals, in the words of `ibs.WTC`."""

    bands: Annotated[Bands | None, about("Named bands, in Hz.")] = None
    fmin: Annotated[Frequency | None, about("Lowest frequency of maps.")] = WTC.fmin
    fmax: Annotated[Frequency | None, about("Highest frequency of maps.")] = WTC.fmax
    voices: Annotated[int, about("Rows per octave.")] = WTC.voices
    preset: Annotated[Preset, about("Smoothing in time: linear, or on a circle as in Grinsted's program.")] = WTC.preset
    accuracy: Annotated[Accuracy, about("1e-6 or 5e-4 per cell, or the definition itself.")] = WTC.accuracy
    coi: Annotated[Cone, about("Whose cone of influence is left out.")] = WTC.coi
    detrend: Annotated[Literal["linear"] | None, about("What is removed from each recording beside its mean.")] = None
    min_valid: Annotated[Share, about("Means of which less is valid are missing.")] = WTC.min_valid
    period: Annotated[bool, about("Whether bands are periods in s.")] = WTC.period
    lags: Annotated[
        tuple[float, ...], about("Lags in s at which b is taken later than a; at a positive lag a leads.")
    ] = ()

    def __post_init__(self) -> None:
        try:
            self.spec  # noqa: B018
        except PlanError as error:
            raise ValueError(str(error)) from error

    @property
    def spec(self) -> WTC:
        """The same as a spec."""
        return WTC(**self.words())


class CouplingWords(Block, frozen=True):
    """Another coupling instead, of band-passed signals, in the words of `ibs.Coupling`."""

    kind: Annotated[CouplingKind, about("The measure.", "plv")]
    bands: Annotated[
        BandsOfPeople,
        about(
            "Named bands, in Hz; two pairs of edges are those of first and of second persons.", {"alpha": [8.0, 13.0]}
        ),
    ]
    accuracy: Annotated[Literal["exact", "fast"], about("Sums in float64 or float32.")] = "exact"
    coi: Annotated[Cone, about("Whose ends are left out, as far as the filter sees them.")] = "recording"
    detrend: Annotated[Literal["linear"] | None, about("What is removed from each recording beside its mean.")] = None
    min_valid: Annotated[Share, about("Values of which a smaller share of samples is valid are missing.")] = 0.5
    period: Annotated[bool, about("Whether bands are periods in s.")] = False
    lags: Annotated[tuple[float, ...], about("Lags in s, in whole samples, at which b is taken later than a.")] = ()
    max_lag: Annotated[Positive | None, about('Largest lag in s that kind = "xcorr" looks at.')] = None
    window: Annotated[Positive | None, about('Length in s of a window of kind = "xcorr".')] = None

    def __post_init__(self) -> None:
        try:
            self.spec  # noqa: B018
        except PlanError as error:
            raise ValueError(str(error)) from error

    @property
    def spec(self) -> Coupling:
        """The same as a spec."""
        return Coupling(**self.words())


class Select(Block, frozen=True):
    """The part of the study that is used, in the words of `Study.select`."""

    lists = ("dyad", "session", "task", "group")
    dyad: Annotated[Names | None, about("Dyads to use. Without: all.")] = None
    session: Annotated[Names | None, about("Sessions to use.")] = None
    task: Annotated[Names | None, about("Tasks to use.")] = None
    group: Annotated[Names | None, about("Groups to use.")] = None
    duration: Annotated[
        Annotated[float, Meta(gt=0)] | None, about("Use the first so many seconds of each recording only.")
    ] = None


class Synchrony(Block, frozen=True):
    """What is computed for every dyad, in the words of `Study.synchrony`."""

    lists = ("signal", "epochs", "controls")
    signal: Annotated[Names, about("Signals; one result file each, p-values are corrected over all.")] = ("hbo",)
    pairs: Pairs = "all"
    epochs: Epochs = None
    controls: ControlNames = ()
    how: How = "both"
    n_components: Components = 2
    rois: RegionsOf = None
    roi_average: RoiAverage = "coherence"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_spans(self.epochs)

    @property
    def signals(self) -> tuple[str, ...]:
        """The signals as a list."""
        return (self.signal,) if isinstance(self.signal, str) else self.signal

    def words(self) -> dict[str, Any]:
        """Keywords of `Study.synchrony`, which takes one signal at a time."""
        words = dict(msgspec.structs.asdict(self))
        del words["signal"]
        return words


class Null(Block, frozen=True):
    """What the dyads are compared with, in the words of `Study.null`."""

    lists = ("within",)
    kind: Annotated[NullKind, about("Re-pairing of partners, or a family of surrogates.")] = "repair"
    n: Annotated[Count | None, about("Draws. Without: 10 000 re-pairings or 999 surrogates.")] = None
    within: Within = None
    roles: Annotated[Roles, about("Whether first persons stay first, for re-pairing.")] = "fixed"
    seed: Seed = 0
    measure: Annotated[
        Measure | None,
        about("Which number of wavelet coherence is tested. Without: coherence. A coupling has one of its own."),
    ] = None
    stop_at: Annotated[Count | None, about("Draws reaching the observed value that end a sequential count.")] = None
    block: Annotated[Positive | None, about('Length of a block in s, of kind = "block".')] = None
    n_iterations: Annotated[Count | None, about('Iterations of kind = "iaaft".')] = None
    order: Annotated[Count | None, about('Order of kind = "ar". Without: by BIC.')] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for kind, names in FAMILY_OPTIONS.items():
            for name in names:
                if getattr(self, name) is not None and kind != self.kind:
                    raise ValueError(f'{name} belongs to kind = "{kind}", not "{self.kind}"; leave it out')

    def words(self) -> dict[str, Any]:
        """Keywords of `Study.null`, which takes the options of a family together."""
        words = super().words()
        options = {name: words.pop(name) for names in FAMILY_OPTIONS.values() for name in names}
        return {**words, "options": {name: value for name, value in options.items() if value is not None} or None}


class SecondNull(Null, frozen=True):
    """A second null that a finding has to pass: surrogates beside a re-pairing, or a re-pairing beside surrogates."""


class Test(Block, frozen=True):
    """How the comparison is judged, in the words of `ibs.test`."""

    lists = ("correct",)
    correct: Annotated[
        Corrections | None, about("Corrections for many tests. Without: fdr and max, even where they can find nothing.")
    ] = None
    tail: MeasureTail = None
    alpha: Alpha = 0.05


class Plasticity(Block, frozen=True):
    """Change over sessions, in the words of `ibs.plasticity`."""

    lists = ("correct",)
    time: Annotated[
        Name | Annotated[dict[str, float], Meta(min_length=1)],
        Meta(title='"session", "day" or a table such as { pre = 0, post = 14 }'),
        about("When each session took place."),
    ] = "session"
    kind: Annotated[
        Literal["sign_flip", "session_order", "partners"], about("What is exchanged; partners as in the null.")
    ] = "sign_flip"
    between: Annotated[
        Literal["group"] | Pair | None,
        Meta(title='"group" or a list of two groups'),
        about("Groups whose changes are compared."),
    ] = None
    block: Annotated[
        Name,
        Meta(title='"person", "none" or the name of a label of dyads'),
        about("Dyads that are not independent: those that share a person or a label."),
    ] = "person"
    weights: Annotated[
        Literal["precision", "equal"] | None, about("How dyads count in the mean slope. Without: by their precision.")
    ] = None
    mixed_model: Annotated[bool, about("Whether a table of mixed models is written too.")] = False
    n: Draws = 10_000
    seed: Seed = 0
    tail: TestTail = "two-sided"
    correct: Annotated[Corrections | None, about("Corrections for many tests. Without: fdr and max.")] = None
    alpha: Alpha = 0.05
    margin: Annotated[
        Annotated[float, Meta(gt=0)] | None, about("Largest statistic that does not matter, for equivalence.")
    ] = None

    def words(self) -> dict[str, Any]:
        """Keywords of `ibs.plasticity`, and `mixed_model`."""
        return {**super().words(), "block": None if self.block == "none" else self.block}


class Contrast(Block, frozen=True):
    """Conditions, groups or both compared, in the words of `ibs.contrast`; `[[contrast]]` for several."""

    lists = ("covariates", "correct")
    weights: Annotated[
        Pair | Annotated[dict[str, float], Meta(min_length=2)] | None,
        Meta(title="a list of two conditions, or a table such as { talk = 1, rest = -1 }"),
        about("Epochs or tasks that are compared; less its own null mean each value."),
    ] = None
    between: Annotated[
        Literal["group"] | Pair | None,
        Meta(title='"group" or a list of two groups'),
        about("Groups that are compared."),
    ] = None
    kind: Annotated[
        Literal["dyads", "partners"], about("What is exchanged: dyads' signs or groups, or partners as in the null.")
    ] = "dyads"
    block: Annotated[
        Name,
        Meta(title='"person", "none" or the name of a label of dyads'),
        about("Dyads that are not independent: those that share a person or a label."),
    ] = "person"
    covariates: Annotated[
        Name | tuple[Name, ...], about("Outcomes or labels of dyads that are held constant between groups.")
    ] = ()
    n: Draws = 10_000
    seed: Seed = 0
    tail: TestTail = "two-sided"
    correct: Annotated[Corrections | None, about("Corrections for many tests. Without: fdr and max.")] = None
    alpha: Alpha = 0.05
    margin: Annotated[
        Annotated[float, Meta(gt=0)] | None, about("Largest statistic that does not matter, for equivalence.")
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weights is None and self.between is None:
            raise ValueError('weights is missing, and between too; name two conditions, weights = ["talk", "rest"]')
        if self.kind == "partners" and (self.between is not None or self.weights is None):
            raise ValueError('kind = "partners" goes with weights and without between')

    def words(self) -> dict[str, Any]:
        """Keywords of `ibs.contrast`, and `kind`."""
        weights = self.weights if isinstance(self.weights, dict | None) else tuple(self.weights)
        return {**super().words(), "weights": weights, "block": None if self.block == "none" else self.block}

    @property
    def file_name(self) -> str:
        """Such as "contrast_talk_rest_training_waiting" or "contrast_talk_rest_partners"."""
        groups = [self.between] if isinstance(self.between, str) else list(self.between or ())
        groups += ["partners"] * (self.kind == "partners")
        groups += ["given", *self.words()["covariates"]] if self.covariates else []
        return "_".join(map(_in_file_name, ("contrast", *(self.weights or ()), *groups)))


class Outcome(Block, frozen=True):
    """Association of synchrony with one outcome, in the words of `ibs.outcome`; `[[outcome]]` for several."""

    lists = ("covariates", "time", "correct")
    name: Annotated[Name, about("The name of an outcome of the study.", "symptoms")]
    covariates: Annotated[Name | tuple[Name, ...], about("Outcomes that are held constant.")] = ()
    level: Annotated[
        Literal["mean", "between", "slope", "within", "parts"],
        about("What is taken of synchrony over sessions; parts: between and within dyads."),
    ] = "mean"
    outcome_level: Annotated[OutcomeLevel, about("What is taken of the outcome over sessions.")] = "mean"
    ahead: Annotated[Whole, about("Sessions between synchrony and outcome.")] = 0
    time: Annotated[Names | None, about("Sessions in time, where their labels hold no number that tells.")] = None
    predict: Annotated[bool, about("Whether the outcome of held-out dyads is predicted too.")] = False
    n: Draws = 10_000
    seed: Seed = 0
    tail: TestTail = "two-sided"
    correct: Annotated[OutcomeCorrections | None, about("Corrections for many tests. Without: fdr and max.")] = None
    alpha: Alpha = 0.05

    def file_name(self, what: str, level: str | None = None) -> str:
        """Such as "outcome_symptoms_slope"."""
        level = self.level if level is None else level
        words = [what, _in_file_name(self.name), *[level] * (level != "mean")]
        words += [self.outcome_level] * (self.outcome_level != "mean") + [f"ahead{self.ahead}"] * (self.ahead > 0)
        return "_".join(words)


class RunPlan(Block, frozen=True):
    """A study, what is computed of it, and how it is tested: `ibsync run`, `check` and `calibrate`."""

    lists = ("contrast", "outcome")
    study: StudyFile
    accept_changes: AcceptChanges = False
    output: Annotated[Path, about("Result file.")] = _path(f"{PLAN}_result.h5")
    report: Annotated[Path | None, about("HTML report, one for all signals.")] = None
    memory: MemoryWords = None
    select: Select = Select()
    wtc: Wtc = Wtc()
    coupling: CouplingWords | None = None
    synchrony: Synchrony = Synchrony()
    null: Null = Null()
    second_null: SecondNull | None = None
    test: Test = Test()
    contrast: Contrast | tuple[Contrast, ...] = ()
    plasticity: Plasticity | None = None
    outcome: Outcome | tuple[Outcome, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        Budget.of(self.memory)
        if self.coupling is not None and self.wtc != Wtc():
            raise ValueError("[wtc] and [coupling] are two ways to compute: keep one")
        if self.second_null is None:
            return
        if (self.null.kind == "repair") == (self.second_null.kind == "repair"):
            raise ValueError(
                'null and second_null are a re-pairing (kind = "repair") and a surrogate null, such as "phase"'
            )
        if self.null.stop_at is not None or self.second_null.stop_at is not None:
            raise ValueError("a null that stops early (stop_at) has no group test: with second_null, leave stop_at out")
        own = self.spec.measure
        if (self.null.measure or own) != (self.second_null.measure or own):
            raise ValueError("null and second_null differ in measure; give both the same")
        if len(self.synchrony.signals) > 1:
            raise ValueError("second_null takes one signal; name one in synchrony.signal, or write a plan for each")

    @property
    def spec(self) -> Spec:
        """What is computed of two signals."""
        return self.wtc.spec if self.coupling is None else self.coupling.spec

    @property
    def nulls(self) -> tuple[Null, ...]:
        """The null, or both, re-pairing first."""
        given = (self.null,) if self.second_null is None else (self.null, self.second_null)
        return tuple(sorted(given, key=lambda null: null.kind != "repair"))

    @property
    def tail(self) -> Tail:
        """Direction of the test, that of the measure where none is asked for."""
        return self.test.tail or measure_named(self.null.measure or self.spec.measure).tail

    def judged(self) -> dict[str, Any]:
        """Tail and level at which each null is judged, in the words of `Study.null`."""
        return {"tail": self.tail, "alpha": self.test.alpha / len(self.nulls)}

    @property
    def contrasts(self) -> tuple[Contrast, ...]:
        """The contrasts as a list."""
        return (self.contrast,) if isinstance(self.contrast, Contrast) else self.contrast

    @property
    def outcomes(self) -> tuple[Outcome, ...]:
        """The outcomes as a list."""
        return (self.outcome,) if isinstance(self.outcome, Outcome) else self.outcome

    def output_of(self, signal: str) -> Path:
        """Result file of one signal: `output`, with the signal in its name when there are several."""
        return with_signal(self.output, signal, self.synchrony.signals)

    def page_of(self, name: str = "") -> Path | None:
        """HTML report of the test of all signals, or of a further result by its name."""
        return named_beside(self.report, name, self.report.suffix) if self.report and name else self.report

    def files_of(self, signal: str) -> dict[str, list[tuple[Path, Kind]]]:
        """All files of one signal, by what they are: its result, the reports, and those of changes and outcomes.

        A report is about all signals, and counts as of the first.
        """
        output, further = self.output_of(signal), self._further()
        beside = [(named_beside(output, name, ending or output.suffix), kind) for name, ending, kind in further]
        pages = [self.page_of(), *(self.page_of(name) for name, _, kind in further if kind is RESULT)]
        of_all = [(page, PAGE) for page in pages if page is not None and signal == self.synchrony.signals[0]]
        return {"output": [(output, RESULT)], "report": of_all[:1], "a further result": beside + of_all[1:]}

    def _further(self) -> list[tuple[str, str, Kind]]:
        """Name, ending and kind of each file beside the result; a result has the ending of the first."""
        names = [(asked.file_name, "", RESULT) for asked in self.contrasts]
        names += [] if self.plasticity is None else [("plasticity", "", RESULT)]
        if self.plasticity is not None and self.plasticity.mixed_model:
            names.append(("mixed_model", ".csv", table_kind(mixed_model.COLUMNS)))
        for asked in self.outcomes:
            levels = ("between", "within") if asked.level == "parts" else (asked.level,)
            names += [(asked.file_name("outcome", level), "", RESULT) for level in levels]
            names += [(asked.file_name("prediction"), ".json", json_kind(Prediction.json_name))] * asked.predict
        return names


def with_signal(path: Path, signal: str, signals: Sequence[str]) -> Path:
    """`out.h5` for the only signal, `out_hbr.h5` for one of several."""
    return path if len(signals) == 1 else path.with_name(f"{path.stem}_{_in_file_name(signal)}{path.suffix}")


def _in_file_name(text: str) -> str:
    """The text, with "_" for what a file name may not have."""
    return re.sub(r"[^\w.-]", "_", text)


def named_beside(output: Path, name: str, ending: str) -> Path:
    """`out.h5` and "plasticity" give `out_plasticity.h5`."""
    return output.with_name(f"{output.stem}_{name}{ending}")


def checked_output(
    file: Path, kinds: Mapping[str, Kind], inputs: Sequence[str | Path], overwrite: bool = False
) -> Output:
    """The file as an output of the kind that its ending says, if it can be written."""
    if file.suffix not in kinds:
        raise PlanError(f"{file}: the ending says the format; it must be one of {', '.join(kinds)}")
    output = Output(file, kinds[file.suffix], tuple(map(Path, inputs)), overwrite)
    output.check()
    return output


def read_plan(path: str | Path, output: str | Path | None = None, report: str | Path | None = None) -> RunPlan:
    """Return the plan of a run.

    Parameters
    ----------
    path : str or Path
        Plan file.
    output, report : str or Path, optional
        Files to write instead of the plan's.

    Raises
    ------
    InputError
        If the file cannot be read or is not TOML.
    PlanError
        If a key is unknown, missing or has a value of the wrong kind, or two of its paths lead to one file.
    """
    plan = read(path, RunPlan)
    files = {"output": output, "report": report}
    named = {key: Path(file) for key, file in files.items() if file is not None}
    plan = msgspec.structs.replace(plan, **named)
    _check_files_differ(Path(path), plan)
    return plan


def _check_files_differ(path: Path, plan: RunPlan) -> None:
    """Refuse a plan whose outputs would overwrite its inputs or one another; the files need not exist."""
    seen = [("the plan itself", path), ("study", plan.study)]
    for signal in plan.synchrony.signals:
        for key, files in plan.files_of(signal).items():
            for file, _ in files:
                other = next((name for name, taken in seen if same_file(file, taken)), None)
                if other is not None:
                    raise PlanError(f"{path}: {key} and {other} are one file, {file}; give them different names")
                seen.append((key, file))


# --- ibsync multiverse ------------------------------------------------------------------------------------------------


class Multiverse(Block, frozen=True):
    """Choices whose combinations are all tested, in the words of `ibs.multiverse`."""

    lists = ("signal", "preset", "coi", "measure", "kind", "epochs", "within", "controls")
    bands: Annotated[
        Bands | Annotated[tuple[Bands, ...], Meta(min_length=1)],
        Meta(title="a table of bands, such as { task = [0.02, 0.1] }, or a list of such tables"),
        about("Named bands, in Hz; several tables may give one name other edges.", {"task": [0.02, 0.1]}),
    ]
    signal: Annotated[Names, about("Signals.")] = ("hbo", "hbr")
    preset: Annotated[
        PresetAccuracy | tuple[PresetAccuracy, ...], about("Smoothing in time, with an accuracy where one is named.")
    ] = ("grinsted",)
    coi: Annotated[Cone | tuple[Cone, ...], about("Whose cone of influence is left out.")] = ("recording",)
    measure: Annotated[Measure | tuple[Measure, ...], about("Which number of wavelet coherence is tested.")] = (
        "coherence",
    )
    kind: Annotated[NullKind | tuple[NullKind, ...], about("Re-pairing, or families of surrogates.")] = ("repair",)
    pairs: Pairs = "all"
    epochs: Epochs = None
    controls: ControlNames = ()
    how: How = "both"
    n_components: Components = 2
    rois: RegionsOf = None
    roi_average: RoiAverage = "coherence"
    n: Annotated[Count | None, about("Draws of each null. Without: 10 000 re-pairings or 999 surrogates.")] = None
    seed: Seed = 0
    tail: MeasureTail = None
    within: Within = None
    alpha: Alpha = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_spans(self.epochs)


class MultiversePlan(Block, frozen=True):
    """A study and all combinations of choices: `ibsync multiverse`."""

    study: StudyFile
    multiverse: Multiverse
    accept_changes: AcceptChanges = False
    output: Annotated[Path, about("Table, .csv or .json.")] = _path(f"{PLAN}.csv")
    picture: Annotated[Path | None, about("Specification curve, .png, .svg or .pdf.")] = None
    memory: MemoryWords = None

    def __post_init__(self) -> None:
        super().__post_init__()
        Budget.of(self.memory)


# --- ibsync power -----------------------------------------------------------------------------------------------------

_EXAMPLES = {
    "growth": "growth = 0.01, the change of coherence per session",
    "tied": 'tied = "growth"',
    "correlation": "correlation = 0.5",
    "noise_sd": 'noise_sd = 0.04, or pilot = "result.h5"',
}


class Power(Block, frozen=True):
    """What is simulated, in the words of `ibs.SynchronyModel`, and how it is tested, in those of `ibs.study_power`."""

    lists = ("dyads", "sessions")
    dyads: Annotated[
        Annotated[int, Meta(ge=2)] | Annotated[tuple[Annotated[int, Meta(ge=2)], ...], Meta(min_length=1)],
        about("Numbers of dyads to try, rising.", [8, 12, 20]),
    ]
    sessions: Annotated[
        Count | Annotated[tuple[Count, ...], Meta(min_length=1)], about("Numbers of sessions, rising.", [4, 6])
    ]
    pilot: Annotated[Path | None, about("Result file whose spreads are taken where the plan gives none.")] = None
    resamples: Annotated[Whole, about("Pilots of dyads drawn anew, for the limits of the power by the pilot.")] = 20
    accept_changes: AcceptChanges = False
    growth: Annotated[float | None, about("Change of coherence per session.")] = None
    growth_sd: Annotated[Spread | None, about("Spread of the dyads' change per session.")] = None
    level_sd: Annotated[Spread | None, about("Spread of the dyads' level.")] = None
    session_sd: Annotated[Spread | None, about("Spread of the sessions of a dyad about its line.")] = None
    session_ar: Annotated[
        Annotated[float, Meta(gt=-1, lt=1)] | None, about("Correlation of these from one session to the next.")
    ] = None
    therapist_sd: Annotated[Spread | None, about("Spread of the therapists' level.")] = None
    therapist_growth_sd: Annotated[Spread | None, about("Spread of the therapists' change per session.")] = None
    noise_sd: Annotated[Spread | None, about("Error of one session of full length.")] = None
    therapists: Annotated[Whole | None, about("Persons who are shared as second persons; 0: none.")] = None
    missing: Annotated[Share | None, about("Share of sessions that did not take place.")] = None
    shortest: Annotated[
        Annotated[float, Meta(gt=0, le=1)] | None,
        about("Recordings last a random share of the full length, this at least."),
    ] = None
    n_pairs: Annotated[Count | None, about("Channel pairs that are tested; growth is in the first.")] = None
    test: Annotated[Literal["plasticity", "outcome"], about("What is tested.")] = "plasticity"
    tied: Annotated[Tie | None, about("What of a dyad the outcome is tied to.")] = None
    correlation: Annotated[Annotated[float, Meta(ge=-1, le=1)] | None, about("Correlation of the outcome with it.")] = (
        None
    )
    alpha: Alpha = 0.05
    tail: TestTail = "two-sided"
    target_power: Annotated[Level, about("Power that is asked for.")] = TARGET_POWER
    n_sims: Annotated[Count, about("Studies for each number of dyads and sessions.")] = 500
    n: Draws = 999
    seed: Seed = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in self.lists:
            numbers = list(getattr(self, key))
            if numbers != sorted(set(numbers)):
                raise ValueError(f"{key} = {numbers} must be a list of rising whole numbers, such as [8, 12, 20]")
        needed = ["tied", "correlation"] if self.test == "outcome" else ["growth"]
        needed += ["noise_sd"] if self.pilot is None else []
        for key in needed:
            if getattr(self, key) is None:
                raise ValueError(f"{key} is missing; add {_EXAMPLES[key]}")
        if self.test == "plasticity" and (self.tied, self.correlation) != (None, None):
            raise ValueError('tied and correlation belong to an outcome; add test = "outcome"')


class PowerPlan(Block, frozen=True):
    """Sizes of a study and what is supposed of it: `ibsync power`."""

    power: Power


DOCUMENTS: Mapping[str, type[Block]] = {
    "run": RunPlan, "calibrate": RunPlan, "multiverse": MultiversePlan, "power": PowerPlan,
}  # fmt: skip
"""Declaration of the plan file that each command reads."""
