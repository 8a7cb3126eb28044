"""The main job from a plan file: check everything, compute, then write; and what is said of a file or a plan."""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Mapping, Sequence
from itertools import chain
from os.path import exists
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..coupling.spec import WTC
from ..errors import IbsyncError, InputError, PlanError
from ..inference.attainable import attainable
from ..inference.settings import TestSettings
from ..inference.surrogate_test import check_surrogate_corrections
from ..nulls.draws import Draws
from ..nulls.repairing import Repairing
from ..questions.group_test import AnyNull, test, test_together
from ..recordings.memory import Budget, Memory
from ..recordings.output_kinds import NULL
from ..recordings.whole_files import Output, write_together
from ..results.lost import Loss, losses_in, lost_lines
from ..results.result import Result
from ..results.result_set import set_words
from ..study.planned import REPAIRINGS, SURROGATES
from ..study.repairing_plan import plan_draws
from ..study.study import Study
from ..study.surrogate_runs import forget_state
from .plan_file import Null, RunPlan, named_beside, read_plan
from .run_questions import Followup, follow_up, payload_of
from .run_questions import problems as followup_problems

if TYPE_CHECKING:
    from .run_questions import Content


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a run made.

    Attributes
    ----------
    signal : str
        The signal that was analysed.
    result : Result
        Real synchrony, null and test.
    files : tuple of Path
        Files that were written.
    seconds : float
        Time from reading the study to the end of the test.
    further : tuple of Followup
        Changes over sessions and associations with outcomes, as the plan asks for them.
    """

    signal: str
    result: Result
    files: tuple[Path, ...]
    seconds: float
    further: tuple[Followup, ...] = ()

    def __str__(self) -> str:
        pages = [str(self.result), *(followup.page for followup in self.further if followup.page)]
        return "\n\n".join([*pages, "\n".join(f"wrote {path}" for path in self.files)])

    def describe(self) -> dict[str, Any]:
        """The outcome for a script, as a dictionary that JSON can carry."""
        from ..results.findings import top_findings

        attrs = self.result.dataset.attrs
        return {
            "signal": self.signal,
            "headline": self.result.headline,
            "hypothesis": self.result.hypothesis,
            "findings": [dataclasses.asdict(finding) for finding in top_findings(self.result.dataset, limit=10)],
            "lost": self.result.lost.to_dict("records"),
            "files": [str(path) for path in self.files],
            "seconds": round(self.seconds, 3),
            "further": [found.describe() for found in self.further],
            **{name: attrs[name] for name in ("backend", "n", "exact", "min_p", "seed") if name in attrs},
        }


@dataclasses.dataclass(frozen=True)
class Readiness:
    """What stands in the way of a plan, what it will not give, and the pages that say so."""

    pages: tuple[str, ...]
    problems: tuple[str, ...]
    losses: tuple[Loss, ...] = ()

    def describe(self) -> dict[str, Any]:
        """The same for a script, as a dictionary that JSON can carry."""
        lost = [dataclasses.asdict(loss) for loss in self.losses]
        return {"ok": not self.problems, "problems": self.problems, "lost": lost, "pages": self.pages}

    def __str__(self) -> str:
        return "\n\n".join(self.pages)


def run_plan(
    path: str | Path,
    *,
    output: str | Path | None = None,
    report: str | Path | None = None,
    backend: str = "auto",
    memory: Memory = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = False,
) -> list[Outcome]:
    """Run a plan file, and return what came out for each of its signals.

    Nothing is written before everything has been computed. All files are complete before the first takes its name; if
    they cannot be written, they are kept elsewhere, and the error says where.

    Parameters
    ----------
    path : str or Path
        Plan file (TOML).
    output, report : str or Path, optional
        Files to write instead of the plan's.
    backend : {"auto", "numpy", "cuda"}
        Where to compute.
    memory : int or str, optional
        What the process may hold in all, as `Study.null`; what it does not hold lies beside the output.
    resume : bool
        Keep the state of a surrogate null beside the output while it is computed, and take up one that is there.
    overwrite : bool
        Replace files that are not of the kind that is written; never the plan or the study.
    progress : bool
        Whether to show progress on standard error.

    Returns
    -------
    list of Outcome
        In the order of the plan's signals.

    Raises
    ------
    InputError, PlanError, DeviceError
        Before any work: if the plan, the study or the output path will not do.
    """
    plan = read_plan(path, output, report)
    if resume and all(null.kind == "repair" for null in plan.nulls):
        raise PlanError(f"{path}: re-pairings are computed in one go; leave --resume out")
    outputs = _outputs(path, plan, overwrite)
    states = {signal: state_file(plan.output_of(signal)) for signal in plan.synchrony.signals} if resume else {}
    for file in (*outputs.values(), *(Output(state, NULL, (plan.study,)) for state in states.values())):
        file.check()
    study = Study.open(plan.study, accept_changes=plan.accept_changes).select(**plan.select.words())
    problems = readiness(study, plan, estimate=False).problems
    if problems:
        more = f" (and {len(problems) - 1} more; see ibsync check)" if len(problems) > 1 else ""
        raise PlanError(f"{path}: {problems[0]}{more}")
    folder = plan.output_of(plan.synchrony.signals[0]).absolute().parent
    budget = dataclasses.replace(Budget.of(memory), folder=folder)
    outcomes, nulls = _computed(study, plan, backend, states, progress, budget)
    _refuse_nothing(path, outcomes)
    outcomes = _written(plan, outcomes, outputs)
    for signal, null in zip(plan.synchrony.signals, nulls, strict=True):
        if signal in states:
            forget_state(states[signal], null)
    return outcomes


def _outputs(path: str | Path, plan: RunPlan, overwrite: bool = False) -> dict[Path, Output]:
    """Everything that a run writes, by path."""
    inputs = (Path(path), plan.study)
    files = [file for signal in plan.synchrony.signals for file in chain(*plan.files_of(signal).values())]
    return {file: Output(file, kind, inputs, overwrite) for file, kind in files}


def state_file(output: Path) -> Path:
    """Where the state of an unfinished null is kept: out.h5 -> .out.h5.state."""
    return output.with_name(f".{output.name}.state")


def check_study(study_path: str | Path, plan_path: str | Path | None, *, accept_changes: bool = False) -> Readiness:
    """Return what a run would trip over.

    Parameters
    ----------
    study_path : str or Path
        Study file.
    plan_path : str or Path, optional
        Plan file; its own study is not read. Without it only the study is checked.
    accept_changes : bool
        Take a study that was changed after ibsync wrote it.

    Returns
    -------
    Readiness
        Pages to read, and the problems among them.
    """
    study = Study.open(study_path, accept_changes=accept_changes)
    if plan_path is None:
        check = study.check(WTC(), signal=study.recordings[0].signal_names[0])
        return Readiness((str(check),), check.problems, check.losses)
    plan = read_plan(plan_path)
    ready = readiness(study.select(**plan.select.words()), plan)
    return dataclasses.replace(ready, problems=(*ready.problems, *_path_problems(plan_path, plan)))


def _path_problems(path: str | Path, plan: RunPlan) -> list[str]:
    """Files of a plan that a run could not read or write."""
    problems = [] if exists(plan.study) else [f"{plan.study}: the study that the plan names is not there"]
    for output in _outputs(path, plan).values():
        try:
            output.check()
        except IbsyncError as error:
            problems.append(str(error))
    return problems


def readiness(study: Study, plan: RunPlan, *, estimate: bool = True) -> Readiness:
    """Return what stands in the way of running a plan on a study.

    Parameters
    ----------
    study : Study
        Opened study file.
    plan : RunPlan
        Settings; the plan's paths are not looked at.
    estimate : bool
        Say how long a run will take.

    Returns
    -------
    Readiness
        Without problems if the run will go through.
    """
    checks = [
        study.check(
            plan.spec, signal=signal, **plan.synchrony.words(), estimate=estimate,
            null={**null.words(), **plan.judged()},
        )
        for signal in plan.synchrony.signals
        for null in plan.nulls
    ]  # fmt: skip
    caution, of_plan = "", list[str]()
    try:
        cautions = [
            _caution(study, plan, null, sum(check.n_features for check in checks[at :: len(plan.nulls)]))
            for at, null in enumerate(plan.nulls)
        ]
        caution = "; ".join(dict.fromkeys(filter(None, cautions)))
        of_plan = followup_problems(study, plan)
    except IbsyncError as error:
        of_plan.append(str(error))
    checks = [dataclasses.replace(check, problems=(*check.problems, *of_plan)) for check in checks]
    pages = tuple(str(check) for check in checks[:: len(plan.nulls)]) + ((f"Caution: {caution}",) if caution else ())
    problems = dict.fromkeys(problem for check in checks for problem in check.problems)
    losses = dict.fromkeys(loss for check in checks for loss in check.losses)
    return Readiness(pages, tuple(problems), tuple(losses))


def _caution(study: Study, plan: RunPlan, null: Null, n_features: int) -> str:
    """Why no single finding could pass; a plan without bands or with an impossible design is refused."""
    if not plan.spec.bands:
        raise PlanError("wtc.bands is missing; name at least one, such as bands = { task = [0.02, 0.1] }")
    if not study.dyads:
        return ""
    names = plan.test.words()["correct"]
    settings = TestSettings(**plan.judged(), correct=names)
    draws: Draws[Repairing] | int = null.n or SURROGATES
    if null.kind == "repair":
        draws = plan_draws(
            study.dyads, null.within, null.n or REPAIRINGS, null.seed, null.roles, alpha=settings.alpha,
            n_sides=settings.n_sides,
        )  # fmt: skip
    else:
        check_surrogate_corrections(null.kind, names or (), null.stop_at)
    caution = attainable(settings, n_features, draws) if n_features else ""
    if caution and names:
        raise PlanError(f"{caution} (or leave test.correct out)")
    return caution


def _computed(
    study: Study, plan: RunPlan, backend: str, states: Mapping[str, Path], progress: bool, budget: Budget
) -> tuple[list[Outcome], list[AnyNull]]:
    """The results of all signals, corrected together and not written yet, and the nulls behind them."""
    started = time.perf_counter()
    words: dict[str, Any] = {**plan.synchrony.words(), "backend": backend, "progress": progress, "memory": budget}
    signals, spec = plan.synchrony.signals, plan.spec
    # The null refuses more than the real coherence does, and does so before it computes.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the result carries the caution, and the caller says it
        nulls, *second = [
            [
                study.null(
                    spec, signal=c, checkpoint=None if null.kind == "repair" else states.get(c),
                    **plan.judged(), **null.words(), **words,
                )
                for c in signals
            ]
            for null in plan.nulls
        ]  # fmt: skip
        reals = [
            study.synchrony(spec, signal=signal, null=null, **words)
            for signal, null in zip(signals, nulls, strict=True)
        ]
        if second:
            results = [test(reals[0], [nulls[0], second[0][0]], **plan.test.words(), memory=budget)]
        else:
            results = test_together(reals, nulls, **plan.test.words(), memory=budget)
    further = [follow_up(study, *three, plan) for three in zip(results, reals, nulls, strict=True)]
    seconds = time.perf_counter() - started
    outcomes = [Outcome(c, r, (), seconds, tuple(f)) for c, r, f in zip(signals, results, further, strict=True)]
    return outcomes, second[0] if second else nulls


def _refuse_nothing(path: str | Path, outcomes: Sequence[Outcome]) -> None:
    """Refuse a run of which nothing could be tested."""
    for outcome in outcomes:
        dataset = outcome.result.dataset
        tested = [name for name in ("p", "dyad_p") if name in dataset and bool(dataset[name].notnull().any())]
        if not tested:
            why = "; ".join(lost_lines(losses_in(dataset.attrs))) or "see valid_fraction of ibs.Study.synchrony"
            raise InputError(f"{path}: {outcome.signal}: nothing could be tested, every value is missing: {why}")


def _written(plan: RunPlan, outcomes: Sequence[Outcome], outputs: Mapping[Path, Output]) -> list[Outcome]:
    """The outcomes with their files; everything is drawn and complete before the first file takes its name."""
    placed = [_placed(plan, outcome) for outcome in outcomes]
    results = {
        path: content for contents in placed for path, content in contents.items() if isinstance(content, Result)
    }
    words = set_words([path.name for path in results], [result.dataset.attrs for result in results.values()])
    for result in results.values():
        result.dataset.attrs.update(words)
    pages = [_pages(plan, outcome) for outcome in outcomes]
    payloads = {path: payload_of(content) for contents in placed for path, content in contents.items()}
    payloads |= {path: text for texts in pages for path, text in texts.items()}
    write_together([(outputs[path], payload) for path, payload in payloads.items()])
    return [
        dataclasses.replace(outcome, files=(*contents, *texts), further=_with_files(outcome.further, contents))
        for outcome, contents, texts in zip(outcomes, placed, pages, strict=True)
    ]


def _placed(plan: RunPlan, outcome: Outcome) -> dict[Path, Content]:
    """What is written of one signal beside its pages, by path."""
    output = plan.output_of(outcome.signal)
    return {output: outcome.result} | {further.file_beside(output): further.content for further in outcome.further}


def _with_files(further: Sequence[Followup], contents: Mapping[Path, Content]) -> tuple[Followup, ...]:
    _, *files = contents
    return tuple(dataclasses.replace(one, files=(file,)) for one, file in zip(further, files, strict=True))


def _pages(plan: RunPlan, outcome: Outcome) -> dict[Path, bytes]:
    """The HTML reports of one signal by their paths: that of the test, and one for each further result."""
    from ..results.report import page_bytes

    report = plan.report_of(outcome.signal)
    if report is None:
        return {}
    pages = {report: page_bytes(outcome.result)}
    for found in outcome.further:
        if isinstance(found.content, Result):
            pages[named_beside(report, found.name, report.suffix)] = page_bytes(found.content)
    return pages
