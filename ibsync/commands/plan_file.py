"""What a plan file (TOML) asks for, as frozen dataclasses: unknown keys and wrong types are refused by name."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast, get_args

from ..coupling.measures import MEASURES
from ..coupling.spec import WTC
from ..errors import InputError, PlanError
from ..inference.p_values import CORRECTIONS
from ..nulls.tails import Tail
from ..study.pair_values import DESIGNS, WITHIN
from ..study.study import NULL_KINDS
from ..study.surrogate_runs import FAMILY_OPTIONS
from .run_questions import OutcomeSettings, PlasticitySettings, named_beside, names_of, read_outcomes, read_plasticity

Epochs = tuple[str, ...] | Mapping[str, tuple[float, float]] | None
Pairs = str | tuple[tuple[str, str], ...]

TAILS = get_args(Tail)

_WTC_KINDS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "bands": ((dict,), "a table of bands; write { task = [0.02, 0.1] }"),
    "fmin": ((int, float), "a frequency in Hz"),
    "fmax": ((int, float), "a frequency in Hz"),
    "voices": ((int,), "a whole number"),
    "preset": ((str,), "a word in quotation marks"),
    "accuracy": ((str,), "a word in quotation marks"),
    "coi": ((str,), "a word in quotation marks"),
    "min_valid": ((int, float), "a number from 0 to 1"),
    "period": ((bool,), "true or false"),
}
_TABLES = ("study", "output", "report", "wtc", "synchrony", "null", "test", "plasticity", "outcome")
_BAND_KEYS = ("low_hz", "high_hz", "exclude_hz")


@dataclass(frozen=True)
class SynchronySettings:
    """What is computed for every dyad.

    Attributes
    ----------
    signal : tuple of str
        Signals to analyse, one result file each: "hbo", "hbr".
    pairs : str or tuple of (channel_a, channel_b)
        "all", "same", or channel pairs by name.
    epochs : tuple of str, mapping or None
        Event labels; or names with their (start, stop) in s from the first sample; None is the whole recording.
    """

    signal: tuple[str, ...] = ("hbo",)
    pairs: Pairs = "all"
    epochs: Epochs = None


@dataclass(frozen=True)
class NullSettings:
    """What the dyads are compared with.

    Attributes
    ----------
    kind : str
        Family of the null distribution.
    n : int or None
        How many draws; None is the family's own number.
    within : tuple of str
        What a re-pairing keeps together.
    roles : str
        Whether a re-pairing keeps first persons first.
    seed : int
        Seed of the draws.
    measure : str
        What is tested.
    stop_at : int or None
        Draws reaching the observed value at which a sequential count ends.
    options : mapping
        Options of the family: block (s), n_iterations, order.
    """

    kind: str = "repair"
    n: int | None = None
    within: tuple[str, ...] = ()
    roles: str = "fixed"
    seed: int = 0
    measure: str = "coherence"
    stop_at: int | None = None
    options: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class TestSettings:
    """How the comparison is judged.

    Attributes
    ----------
    correct : tuple of str or None
        Corrections for many tests; None: "fdr" and "max", even where they cannot find anything.
    tail : str
        Direction of the test.
    alpha : float
        Level at which a finding is wanted.
    """

    correct: tuple[str, ...] | None = None
    tail: Tail = "greater"
    alpha: float = 0.05


@dataclass(frozen=True)
class PlanFile:
    """One plan file.

    Attributes
    ----------
    path : Path
        The plan file itself.
    study : Path
        Study file; a relative path in the plan starts at the plan's folder, as do the two that follow.
    output : Path
        Result file.
    report : Path or None
        HTML report.
    wtc : WTC
        What coherence is computed.
    synchrony, null, test
        The settings of each stage.
    plasticity : PlasticitySettings or None
        Change over sessions, if it is asked for.
    outcomes : tuple of OutcomeSettings
        Associations with outcomes.
    """

    path: Path
    study: Path
    output: Path
    report: Path | None = None
    wtc: WTC = field(default_factory=WTC)
    synchrony: SynchronySettings = SynchronySettings()
    null: NullSettings = field(default_factory=NullSettings)
    test: TestSettings = TestSettings()
    plasticity: PlasticitySettings | None = None
    outcomes: tuple[OutcomeSettings, ...] = ()

    def output_of(self, signal: str) -> Path:
        """Result file of one signal: `output`, with the signal in its name when there are several."""
        return with_signal(self.output, signal, self.synchrony.signal)

    def report_of(self, signal: str) -> Path | None:
        """HTML report of one signal, named likewise."""
        return None if self.report is None else with_signal(self.report, signal, self.synchrony.signal)

    def further_of(self, signal: str) -> list[Path]:
        """Files of one signal beside its result: those of changes and outcomes, and their reports."""
        output, report = self.output_of(signal), self.report_of(signal)
        names = names_of(self.plasticity, self.outcomes)
        files = [named_beside(output, name, ending or output.suffix) for name, ending in names]
        return files + [named_beside(report, name, report.suffix) for name, ending in names if report and not ending]


def with_signal(path: Path, signal: str, signal_names: Sequence[str]) -> Path:
    """`out.h5` for the only signal, `out_hbr.h5` for one of several."""
    return path if len(signal_names) == 1 else path.with_name(f"{path.stem}_{signal}{path.suffix}")


def read_plan(path: str | Path) -> PlanFile:
    """Return the plan that a TOML file describes.

    Parameters
    ----------
    path : str or Path
        Plan file.

    Returns
    -------
    PlanFile
        Complete, with defaults for what the file leaves out.

    Raises
    ------
    InputError
        If the file cannot be read or is not TOML.
    PlanError
        If a key is unknown, missing or has a value of the wrong kind; the text names file and key.
    """
    path = Path(path)
    reader = Reader(path)
    words = reader.keys("", parsed_toml(path), _TABLES)
    if "study" not in words:
        raise PlanError(f'{path}: study is missing; add a line such as study = "study.h5"')
    plan = PlanFile(
        path=path,
        study=reader.file(words, "study", ""),
        output=reader.file(words, "output", f"{path.stem}_result.h5"),
        report=reader.file(words, "report", "") if "report" in words else None,
        wtc=_wtc(reader, reader.table(words, "wtc")),
        synchrony=_synchrony(reader, reader.table(words, "synchrony")),
        null=_null(reader, reader.table(words, "null")),
        test=_test(reader, reader.table(words, "test")),
        plasticity=read_plasticity(reader, reader.table(words, "plasticity")) if "plasticity" in words else None,
        outcomes=read_outcomes(reader, words["outcome"]) if "outcome" in words else (),
    )
    check_files_differ(plan)
    return plan


def check_files_differ(plan: PlanFile) -> None:
    """Refuse a plan whose outputs would overwrite its inputs or one another.

    Parameters
    ----------
    plan : PlanFile
        The plan; its files need not exist.

    Raises
    ------
    PlanError
        If two of its paths lead to one file.
    """
    files = [("the plan itself", plan.path), ("study", plan.study)]
    for signal in plan.synchrony.signal:
        files.append(("output", plan.output_of(signal)))
        report = plan.report_of(signal)
        files += [] if report is None else [("report", report)]
        files += [("a further result", file) for file in plan.further_of(signal)]
    seen: dict[Path, str] = {}
    for key, file in files:
        resolved = file.resolve()
        if resolved in seen:
            raise PlanError(f"{plan.path}: {key} and {seen[resolved]} are one file, {file}; give them different names")
        seen[resolved] = key


def parsed_toml(path: Path) -> dict[str, Any]:
    """Content of a TOML file; what cannot be read or is not TOML is an InputError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path of the plan") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is not TOML: {' '.join(str(error).split())}") from error


@dataclass(frozen=True)
class Reader:
    """Values of one plan file, each checked against what its key may hold."""

    path: Path

    def keys(self, table: str, words: Mapping[str, Any], known: Sequence[str]) -> Mapping[str, Any]:
        """The table itself, if all its keys are known."""
        for word in words:
            if word not in known:
                near = difflib.get_close_matches(word, known, 1)
                hint = f"did you mean {_key(table, near[0])}?" if near else f"known keys: {', '.join(known)}"
                raise PlanError(f"{self.path}: unknown key {_key(table, word)}; {hint}")
        return words

    def wrong(self, key: str, value: object, expected: str) -> PlanError:
        """The error of a key whose value is not what was expected."""
        return PlanError(f"{self.path}: {key} = {value!r} must be {expected}")

    def table(self, words: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        """A table, empty if it is not there."""
        value = words.get(key, {})
        if not isinstance(value, dict):
            raise self.wrong(key, value, f"a table; write [{key}] on its own line")
        return value

    def file(self, words: Mapping[str, Any], key: str, default: str) -> Path:
        """A path, relative to the folder of the plan."""
        value = words.get(key, default)
        if not isinstance(value, str) or not value:
            raise self.wrong(key, value, "a path in quotation marks")
        return self.path.parent / Path(value).expanduser()

    def whole(self, key: str, value: object, minimum: int) -> int:
        """A whole number of at least `minimum`."""
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise self.wrong(key, value, f"a whole number of at least {minimum}")
        return value

    def positive(self, key: str, value: object, below: float = float("inf")) -> float:
        """A number above 0 and below a limit."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < below:
            raise self.wrong(key, value, "a number above 0" + (f" and below {below:g}" if below < float("inf") else ""))
        return value

    def number(self, key: str, value: object, minimum: float = -float("inf"), maximum: float = float("inf")) -> float:
        """A number, perhaps within limits."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not minimum <= value <= maximum:
            limits = {"of at least": minimum, "of at most": maximum}
            told = [f"{word} {limit:g}" for word, limit in limits.items() if abs(limit) < float("inf")]
            raise self.wrong(key, value, " ".join(["a number", " and ".join(told)]).strip())
        return value

    def wholes(self, key: str, value: object, minimum: int) -> tuple[int, ...]:
        """One whole number or a rising list of them."""
        items = value if isinstance(value, list) else [value]
        numbers = [self.whole(key, item, minimum) for item in items]
        if not numbers or numbers != sorted(set(numbers)):
            raise self.wrong(key, value, "a list of rising whole numbers, such as [8, 12, 20]")
        return tuple(numbers)

    def one_of(self, key: str, value: object, known: Sequence[str]) -> str:
        """A known word."""
        if not isinstance(value, str) or value not in known:
            near = difflib.get_close_matches(str(value), known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise self.wrong(key, value, f"one of {', '.join(map(repr, known))}{hint}")
        return value

    def strings(self, key: str, value: object) -> tuple[str, ...]:
        """One string or a list of different ones."""
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, list) or not items or not all(isinstance(item, str) and item for item in items):
            raise self.wrong(key, value, "a string or a list of strings")
        if len(set(items)) < len(items):
            raise self.wrong(key, value, "a list without repetitions")
        return tuple(items)

    def some_of(self, key: str, value: object, known: Sequence[str]) -> tuple[str, ...]:
        """A list, perhaps empty, of known words."""
        items = () if value == [] else self.strings(key, value)
        return tuple(self.one_of(key, item, known) for item in items)


def _key(table: str, word: str) -> str:
    return f"{table}.{word}" if table else word


def _known(settings: type) -> tuple[str, ...]:
    return tuple(entry.name for entry in fields(settings))


def _wtc(reader: Reader, words: Mapping[str, Any]) -> WTC:
    reader.keys("wtc", words, _known(WTC))
    for key, value in words.items():
        kinds, expected = _WTC_KINDS[key]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise reader.wrong(f"wtc.{key}", value, expected)
    for name, band in words.get("bands", {}).items():
        _check_band(reader, f"wtc.bands.{name}", band)
    try:
        return WTC.from_dict(words)
    except PlanError as error:
        raise PlanError(f"{reader.path}: wtc: {error}") from error


def _check_band(reader: Reader, key: str, band: object) -> None:
    """Refuse what is neither [low, high] nor a table of edges and holes in Hz."""
    edges: object = band
    holes: object = []
    if isinstance(band, dict):
        reader.keys(key, band, _BAND_KEYS)
        edges, holes = [band.get("low_hz"), band.get("high_hz")], band.get("exclude_hz", [])
    if not _is_pair(edges, int | float):
        raise reader.wrong(key, band, "[low, high], or a table with low_hz, high_hz and perhaps exclude_hz")
    if not isinstance(holes, list) or not all(_is_pair(hole, int | float) for hole in holes):
        raise reader.wrong(f"{key}.exclude_hz", holes, "a list of [low, high] in Hz")


def _synchrony(reader: Reader, words: Mapping[str, Any]) -> SynchronySettings:
    reader.keys("synchrony", words, _known(SynchronySettings))
    default = SynchronySettings()
    return SynchronySettings(
        signal=reader.strings("synchrony.signal", words.get("signal", list(default.signal))),
        pairs=_pairs(reader, words.get("pairs", default.pairs)),
        epochs=_epochs(reader, words["epochs"]) if "epochs" in words else None,
    )


def _pairs(reader: Reader, value: object) -> Pairs:
    if isinstance(value, str):
        return reader.one_of("synchrony.pairs", value, ("all", "same"))
    if isinstance(value, list) and value and all(_is_pair(item, str) for item in value):
        return tuple((a, b) for a, b in value)
    raise reader.wrong("synchrony.pairs", value, '"all", "same" or a list of pairs such as [["S1_D1", "S2_D1"]]')


def _epochs(reader: Reader, value: object) -> Epochs:
    if not isinstance(value, dict):
        return reader.strings("synchrony.epochs", value)
    for name, span in value.items():
        if not _is_pair(span, int | float) or not 0 <= span[0] < span[1]:
            raise reader.wrong(f"synchrony.epochs.{name}", span, "[start, stop] in seconds, start below stop")
    if not value:
        raise reader.wrong("synchrony.epochs", value, "a list of event labels or a table of [start, stop]")
    return {name: (float(start), float(stop)) for name, (start, stop) in value.items()}


def _is_pair(value: object, kind: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(item, kind) and not isinstance(item, bool) for item in value)
    )


def _null(reader: Reader, words: Mapping[str, Any]) -> NullSettings:
    default = NullSettings()
    kind = reader.one_of("null.kind", words.get("kind", default.kind), NULL_KINDS)
    options = tuple(FAMILY_OPTIONS.get(kind, {}))
    reader.keys("null", words, (*(name for name in _known(NullSettings) if name != "options"), *options))
    return NullSettings(
        kind=kind,
        n=reader.whole("null.n", words["n"], 1) if "n" in words else None,
        within=reader.some_of("null.within", words.get("within", list(default.within)), WITHIN),
        roles=reader.one_of("null.roles", words.get("roles", default.roles), tuple(DESIGNS)),
        seed=reader.whole("null.seed", words.get("seed", default.seed), 0),
        measure=reader.one_of("null.measure", words.get("measure", default.measure), MEASURES),
        stop_at=reader.whole("null.stop_at", words["stop_at"], 1) if "stop_at" in words else None,
        options={name: reader.positive(f"null.{name}", words[name]) for name in options if name in words},
    )


def _test(reader: Reader, words: Mapping[str, Any]) -> TestSettings:
    reader.keys("test", words, _known(TestSettings))
    default = TestSettings()
    return TestSettings(
        correct=reader.some_of("test.correct", words["correct"], CORRECTIONS) if "correct" in words else None,
        tail=cast(Tail, reader.one_of("test.tail", words.get("tail", default.tail), TAILS)),
        alpha=reader.positive("test.alpha", words.get("alpha", default.alpha), below=1.0),
    )
