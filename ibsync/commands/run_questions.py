"""What a plan asks of its results beyond the test: change over sessions, association with outcomes, prediction."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from ..errors import PlanError
from ..inference.p_values import CORRECTIONS
from ..nulls.repaired_null import Null
from ..nulls.tails import Tail
from ..questions.group_test import AnyNull
from ..questions.outcome_sample import Level, OutcomeLevel
from ..questions.predict_outcome import Prediction, predict_outcome
from ..recordings.whole_files import write_whole
from ..results.layout import FEATURE, ROW
from ..results.result import Result
from ..study.rows import row_coordinates

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from ..study.study import Study
    from .plan_file import Reader

KINDS = ("sign_flip", "session_order", "partners")
OUTCOME_CORRECTIONS = ("fdr", "fdr_by", "max")


@dataclass(frozen=True)
class PlasticitySettings:
    """How a change over sessions is tested.

    Attributes
    ----------
    time : str or mapping of str to float
        "session", "day", or when each session took place.
    kind : str
        What is exchanged: "sign_flip", "session_order", or "partners", for which the null must be a re-pairing.
    between : str, (str, str) or None
        Groups to compare.
    block : str or None
        Dyads that are not independent; "none" in the plan is None.
    mixed_model : bool
        Whether a table of mixed models is written too.
    n_perm, seed, tail, correct, alpha
        As `ibs.plasticity`.
    """

    time: str | Mapping[str, float] = "session"
    kind: str = "sign_flip"
    between: str | tuple[str, str] | None = None
    block: str | None = "person"
    mixed_model: bool = False
    n_perm: int = 10_000
    seed: int = 1
    tail: str = "two-sided"
    correct: tuple[str, ...] | None = None
    alpha: float = 0.05


@dataclass(frozen=True)
class OutcomeSettings:
    """How synchrony is related to one outcome of the study.

    Attributes
    ----------
    name : str
        The outcome.
    covariates : tuple of str
        Others that are held constant.
    level : str
        As `ibs.outcome`, or "parts" for those between and within dyads.
    outcome_level, lag, order, n_perm, seed, tail, correct, alpha
        As `ibs.outcome`.
    predict : bool
        Whether held-out dyads are predicted too.
    """

    name: str
    covariates: tuple[str, ...] = ()
    level: str = "mean"
    outcome_level: str = "mean"
    lag: int = 0
    order: tuple[str, ...] | None = None
    predict: bool = False
    n_perm: int = 10_000
    seed: int = 1
    tail: str = "two-sided"
    correct: tuple[str, ...] | None = None
    alpha: float = 0.05


@dataclass(frozen=True)
class Followup:
    """One further result and where it is written.

    Attributes
    ----------
    name : str
        Such as "plasticity", which stands in the name of its file.
    content : Result, Prediction or pandas.DataFrame
    files : tuple of Path
        Those that were written.
    """

    name: str
    content: Result | Prediction | pd.DataFrame
    files: tuple[Path, ...] = ()

    def describe(self) -> dict[str, Any]:
        """What it found, as a dictionary that JSON can carry."""
        told: dict[str, Any] = {"name": self.name, "files": [str(path) for path in self.files]}
        if isinstance(self.content, Result | Prediction):
            return told | {"headline": self.content.headline, "hypothesis": self.content.hypothesis}
        return told | {str(name): value for name, value in self.content.attrs.items()}

    @property
    def page(self) -> str:
        """What it found, to be read; of a table what entered it, what did not and what to beware of."""
        if isinstance(self.content, Result | Prediction):
            return str(self.content)
        attrs = self.content.attrs
        lines = [f"Linear mixed models: {len(self.content)} rows", f"  entered: {attrs['entered']}"]
        lines += [f"  left out: {attrs['left_out']}"] if attrs["left_out"] else []
        return "\n".join([*lines, f"  {attrs['caution']}"])

    def file_beside(self, output: Path) -> Path:
        """Where it is written: out.h5 -> out_plasticity.h5, a table or prediction as .csv or .json."""
        ending = {Result: output.suffix, Prediction: ".json"}.get(type(self.content), ".csv")
        return named_beside(output, self.name, ending)

    def save(self, path: Path) -> Path:
        """Write it, whole or not at all."""
        if isinstance(self.content, Result | Prediction):
            self.content.save(path)
        else:
            write_whole(path, self.content.to_csv(index=False).encode())
        return path


def named_beside(output: Path, name: str, ending: str) -> Path:
    """`out.h5` and "plasticity" give `out_plasticity.h5`."""
    return output.with_name(f"{output.stem}_{name}{ending}")


# --- what the plan says -----------------------------------------------------------------------------------------------


def read_plasticity(reader: Reader, words: Mapping[str, Any]) -> PlasticitySettings:
    """The table [plasticity]."""
    default = PlasticitySettings()
    reader.keys("plasticity", words, tuple(entry.name for entry in fields(PlasticitySettings)))
    block = words.get("block", default.block)
    if not isinstance(block, str) or not block:
        raise reader.wrong("plasticity.block", block, '"person", "none" or the name of a label of dyads')
    return PlasticitySettings(
        time=_time(reader, words.get("time", default.time)),
        kind=reader.one_of("plasticity.kind", words.get("kind", default.kind), KINDS),
        between=_between(reader, words["between"]) if "between" in words else None,
        block=None if block == "none" else block,
        mixed_model=_flag(reader, "plasticity.mixed_model", words.get("mixed_model", False)),
        **_test_words(reader, "plasticity", words, CORRECTIONS),
    )


def read_outcomes(reader: Reader, value: object) -> tuple[OutcomeSettings, ...]:
    """The table [outcome], or several of them, [[outcome]]."""
    tables = [value] if isinstance(value, dict) else value
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise reader.wrong("outcome", value, "a table; write [outcome] on its own line, or [[outcome]] for each")
    return tuple(_outcome(reader, table) for table in tables)


def _outcome(reader: Reader, words: Mapping[str, Any]) -> OutcomeSettings:
    reader.keys("outcome", words, tuple(entry.name for entry in fields(OutcomeSettings)))
    name = words.get("name")
    if not isinstance(name, str) or not name:
        raise reader.wrong("outcome.name", name, "the name of an outcome of the study")
    covariates = words.get("covariates", [])
    return OutcomeSettings(
        name=name,
        covariates=() if covariates == [] else reader.strings("outcome.covariates", covariates),
        level=reader.one_of("outcome.level", words.get("level", "mean"), (*get_args(Level), "parts")),
        outcome_level=reader.one_of(
            "outcome.outcome_level", words.get("outcome_level", "mean"), get_args(OutcomeLevel)
        ),
        lag=reader.whole("outcome.lag", words.get("lag", 0), 0),
        order=reader.strings("outcome.order", words["order"]) if "order" in words else None,
        predict=_flag(reader, "outcome.predict", words.get("predict", False)),
        **_test_words(reader, "outcome", words, OUTCOME_CORRECTIONS),
    )


def _test_words(reader: Reader, table: str, words: Mapping[str, Any], corrections: Sequence[str]) -> dict[str, Any]:
    """What both tests are told alike."""
    key = f"{table}.correct"
    return {
        "n_perm": reader.whole(f"{table}.n_perm", words.get("n_perm", 10_000), 1),
        "seed": reader.whole(f"{table}.seed", words.get("seed", 1), 0),
        "tail": reader.one_of(f"{table}.tail", words.get("tail", "two-sided"), get_args(Tail)),
        "correct": reader.some_of(key, words["correct"], corrections) if "correct" in words else None,
        "alpha": reader.positive(f"{table}.alpha", words.get("alpha", 0.05), below=1.0),
    }


def _flag(reader: Reader, key: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise reader.wrong(key, value, "true or false")
    return value


def _time(reader: Reader, value: object) -> str | Mapping[str, float]:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, dict) and value and all(_is_number(number) for number in value.values()):
        return {str(name): float(number) for name, number in value.items()}
    raise reader.wrong("plasticity.time", value, '"session", "day" or a table such as { pre = 0, post = 14 }')


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _between(reader: Reader, value: object) -> str | tuple[str, str]:
    if value == "group":
        return "group"
    names = reader.strings("plasticity.between", value)
    if len(names) != 2:
        raise reader.wrong("plasticity.between", value, '"group" or a list of two groups')
    return names[0], names[1]


def names_of(plasticity: PlasticitySettings | None, outcomes: Sequence[OutcomeSettings]) -> list[tuple[str, str]]:
    """Name and ending of each file beside the result, "" for that of a result, before there is any."""
    names = [("plasticity", "")] * (plasticity is not None)
    names += [("mixed_model", ".csv")] * (plasticity is not None and plasticity.mixed_model)
    for asked in outcomes:
        levels = ("between", "within") if asked.level == "parts" else (asked.level,)
        names += [(_file_name("outcome", asked, level), "") for level in levels]
        names += [(_file_name("prediction", asked, asked.level), ".json")] * asked.predict
    return names


def _file_name(what: str, asked: OutcomeSettings, level: str) -> str:
    """Such as "outcome_symptoms_slope"; letters that a file name may not have are turned into "_"."""
    words = [what, re.sub(r"[^\w.-]", "_", asked.name), *[level] * (level != "mean")]
    words += [asked.outcome_level] * (asked.outcome_level != "mean") + [f"lag{asked.lag}"] * (asked.lag > 0)
    return "_".join(words)


# --- before and after the run -----------------------------------------------------------------------------------------


def problems(
    study: Study, kind: str, plasticity: PlasticitySettings | None, outcomes: Sequence[OutcomeSettings]
) -> list[str]:
    """
    What would be refused only after everything was computed, in words.

    Each follow-up is rehearsed on made-up values of one feature, with the people, sessions and outcomes of the study.
    """
    if plasticity is not None and plasticity.kind == "partners":
        if kind != "repair":
            return ["plasticity.kind = 'partners' needs null.kind = 'repair'"]
        plasticity = replace(plasticity, kind="sign_flip", block=None)
    if not study.dyads or (plasticity is None and not outcomes):
        return []
    made = Result(_made_up(study))
    asked: list[tuple[str, Callable[[], object]]] = []
    if plasticity is not None:
        few = replace(plasticity, n_perm=99, correct=())
        asked.append(("plasticity", lambda: _changes(made, made.dataset, None, few)))
    asked += [(f"outcome {one.name!r}", partial(_associations, study, made, _rehearsed(one))) for one in outcomes]
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for name, attempt in asked:
            try:
                attempt()
            except PlanError as error:
                found.append(f"{name}: {error}")
    return found


def _rehearsed(asked: OutcomeSettings) -> OutcomeSettings:
    return replace(asked, n_perm=99, correct=())


def _made_up(study: Study) -> xr.Dataset:
    """Values that mean nothing, of one feature, with the coordinates of the study's rows."""
    import xarray as xr

    rows = row_coordinates(study.dyads)
    values = np.random.default_rng(0).uniform(0.2, 0.5, (len(study.dyads), 1, 1, 1, 1))
    features: dict[str, Any] = {name: ["made up"] for name in FEATURE}
    variables = dict.fromkeys(("coherence", "valid_fraction"), (ROW, values))
    return xr.Dataset(variables, {**rows, **features, "signal": "made up"})


def follow_up(
    study: Study,
    tested: Result,
    real: xr.Dataset,
    null: AnyNull,
    plasticity: PlasticitySettings | None,
    outcomes: Sequence[OutcomeSettings],
) -> list[Followup]:
    """
    All that was asked for, of one signal.

    Parameters
    ----------
    study : Study
    tested : Result
        Of the plan's test; the mean of each row's null is taken off.
    real : xarray.Dataset
    null : Null or SurrogateNull
    plasticity, outcomes
        What the plan says.
    """
    # The results carry their warnings, and the caller says them.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        changes = [] if plasticity is None else _changes(tested, real, null, plasticity)
        return changes + [found for asked in outcomes for found in _associations(study, tested, asked)]


def _changes(tested: Result, real: xr.Dataset, null: AnyNull | None, asked: PlasticitySettings) -> list[Followup]:
    from ..questions.mixed_model import mixed_model
    from ..questions.plasticity import plasticity

    words: dict[str, Any] = {
        "between": asked.between, "block": asked.block, "n_perm": asked.n_perm, "seed": asked.seed,
        "tail": asked.tail, "correct": asked.correct, "alpha": asked.alpha,
    }  # fmt: skip
    if asked.kind == "partners":
        if not isinstance(null, Null):
            raise PlanError("plasticity.kind = 'partners' needs null.kind = 'repair'")
        found = plasticity(real, asked.time, null=null, **words)
    else:
        kind: Any = asked.kind
        found = plasticity(tested, asked.time, kind=kind, **words)
    made = [Followup("plasticity", found)]
    if asked.mixed_model:
        table = mixed_model(tested, asked.time, between=asked.between, alpha=asked.alpha)
        made.append(Followup("mixed_model", table))
    return made


def _associations(study: Study, tested: Result, asked: OutcomeSettings) -> list[Followup]:
    from ..questions.outcome import outcome, outcome_parts

    shared: dict[str, Any] = {
        "covariates": list(asked.covariates), "lag": asked.lag, "study": study, "order": asked.order,
        "seed": asked.seed, "alpha": asked.alpha,
    }  # fmt: skip
    words = {**shared, "n_perm": asked.n_perm, "tail": asked.tail, "correct": asked.correct}
    levels: dict[str, Any] = {"level": asked.level, "outcome_level": asked.outcome_level}
    if asked.level == "parts":
        parts = outcome_parts(tested, asked.name, **words)
        return [Followup(_file_name("outcome", asked, level), part) for level, part in parts.items()]
    made = [Followup(_file_name("outcome", asked, asked.level), outcome(tested, asked.name, **levels, **words))]
    if asked.predict:
        found = predict_outcome(tested, asked.name, **levels, **shared)
        made.append(Followup(_file_name("prediction", asked, asked.level), found))
    return made
