"""The main job from a plan file: check everything, compute, then write; and what is said of a file or a plan."""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import reduce
from itertools import chain, product
from os.path import exists
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec.structs import asdict, replace

from ..coupling.backends.choice import backend_named
from ..coupling.spec import WTC
from ..errors import IbsyncError, InputError, PlanError
from ..inference.attainable import attainable
from ..inference.settings import TestSettings
from ..inference.surrogate_test import check_surrogate_corrections
from ..nulls.draws import Draws
from ..nulls.random_streams import STREAM_VERSION
from ..nulls.repairing import Repairing
from ..questions.group_test import AnyNull, test, test_together
from ..recordings.journal import Journal, as_kept, opened, require_same
from ..recordings.memory import Budget, Memory
from ..recordings.whole_files import Output, write_together
from ..results.lost import Loss, losses_in, lost_lines
from ..results.result import Result, provenance
from ..results.result_set import set_words
from ..study.memory_need import Need
from ..study.planned import REPAIRINGS, SURROGATES
from ..study.repairing_plan import plan_draws
from ..study.runner import ShareDone
from ..study.study import Check, Study
from ..study.workers import workers_of
from .journals import journal_file
from .plan_file import Null, RunPlan, read_plan
from .run_questions import Followup, follow_up, payload_of
from .run_questions import problems as followup_problems
from .strongest_map import with_map

if TYPE_CHECKING:
    from .run_questions import Content


_PICTURES_BYTES = 48 << 20  # libraries that draw


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
    """What stands in the way of a plan, what it will not give, the pages that say so, and the memory of all of it."""

    pages: tuple[str, ...]
    problems: tuple[str, ...]
    losses: tuple[Loss, ...] = ()
    need: Need | None = None

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
    workers: int | None = None,
    scheduler: str | None = None,
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
        Keep finished parts in a journal beside the output, and go on from one that is there.
    workers, scheduler
        As `study.workers.workers_of`: so many processes, or those of a Dask scheduler. By default one process.
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
        Before any work: if the plan, the study or the output path will not do, or the journal is of another run.
    """
    ready = _ready(path, read_plan(path, output, report), overwrite, memory=memory)
    file = journal_file(ready.plan.output) if resume else None
    with (
        opened(file, ready.identity(backend), ready.inputs) as kept,
        workers_of(workers, scheduler, backend) as executor,
    ):
        outcomes = ready.run(backend=backend, executor=executor, journal=kept, progress=progress)
        if kept is not None:
            kept.remove()
    return outcomes


def run_again(text: str, folder: Path, study: Path | None = None, *, memory: Memory = None, **who: Any) -> list[Result]:
    """Return the results that a plan's text leads to, and write none.

    Parameters
    ----------
    text : str
        Content of a plan file.
    folder : Path
        An empty folder for what memory does not hold.
    study : Path, optional
        Study file, instead of the plan's.
    memory : int or str, optional
        As `run_plan`.
    **who
        Words of `Study.null`: backend, executor, journal, progress.

    Returns
    -------
    list of Result

    Raises
    ------
    InputError, PlanError, DeviceError
        As `run_plan`.
    """
    file = folder / "plan.toml"
    file.write_text(text, encoding="utf-8")
    plan = read_plan(file, folder / "again.h5")
    plan = replace(plan, report=None, study=plan.study if study is None else study)
    return results_of(_ready(file, plan, memory=memory).computed(**who))


def run_shard(
    path: str | Path,
    shard: tuple[int, int],
    *,
    output: str | Path | None = None,
    backend: str = "auto",
    memory: Memory = None,
    workers: int | None = None,
    scheduler: str | None = None,
    progress: bool = False,
) -> Path:
    """Compute a share of the null distributions of a plan, into a file that `merge_shards` finishes a run from.

    A shard that was interrupted goes on from its file.

    Parameters
    ----------
    path : str or Path
        Plan file (TOML).
    shard : (int, int)
        Number of the share, from 1, and how many there are.
    output : str or Path, optional
        Result file of the whole run, instead of the plan's; the shard lies beside it.
    backend, memory, workers, scheduler, progress
        As `run_plan`.

    Returns
    -------
    Path
        The shard, such as ``out.shard-03-of-16.h5``.

    Raises
    ------
    InputError, PlanError, DeviceError
        As `run_plan`; also where the draws of a null stop early, as these are counted in order.
    """
    ready = _ready(path, read_plan(path, output), memory=memory, is_shard=True)
    plan, file = ready.plan, shard_file(ready.plan.output, shard)
    if any(null.stop_at is not None for null in plan.nulls):
        raise PlanError(f"{path}: draws that stop early (stop_at) are counted in order: leave --shard out")
    with (
        Journal.open(file, ready.identity(backend), inputs=ready.inputs, share=shard) as kept,
        workers_of(workers, scheduler, backend) as executor,
    ):
        if not kept.part(_PLAN).numbers:
            kept.part(_PLAN).append(0, {_PLAN: np.frombuffer(str(Path(path).absolute()).encode(), np.uint8)})
        for null, signal in product(plan.nulls, plan.synchrony.signals):
            with suppress(ShareDone):
                ready.null(null, signal, backend=backend, executor=executor, journal=kept, progress=progress)
    return file


def merge_shards(
    paths: Sequence[str | Path],
    *,
    output: str | Path | None = None,
    report: str | Path | None = None,
    backend: str = "auto",
    memory: Memory = None,
    overwrite: bool = False,
    progress: bool = False,
) -> list[Outcome]:
    """Finish a run from all its shards, in any order: the numbers are those of a run that was not shared out.

    Parameters
    ----------
    paths : sequence of path-like
        Files that `run_shard` wrote. They stay.
    output, report, backend, memory, overwrite, progress
        As `run_plan`.

    Returns
    -------
    list of Outcome

    Raises
    ------
    InputError, PlanError
        If shards are missing, unfinished, there twice or of other runs, naming them and what differs.
    """
    with Journal.together(list(map(Path, paths))) as kept:
        known = kept.part(_PLAN)
        if 0 not in known.numbers:
            raise InputError(f"{paths[0]}: does not name its plan: run the shard again")
        plan_path = known.get(0)[_PLAN].tobytes().decode()
        ready = _ready(plan_path, read_plan(plan_path, output, report), overwrite, tuple(map(Path, paths)), memory)
        fix = f"compute all shards again, or put back {plan_path} and the study of which they were computed"
        require_same(Path(paths[0]), kept.identity, as_kept(ready.identity(backend)), fix)
        return ready.run(backend=backend, executor=None, journal=kept, progress=progress)


_PLAN = "plan"


def shard_file(output: Path, shard: tuple[int, int]) -> Path:
    """Where a shard is kept: out.h5 -> out.shard-03-of-16.h5."""
    number, n = shard
    return output.with_name(f"{output.stem}.shard-{number:0{max(2, len(str(n)))}d}-of-{n:02d}{output.suffix}")


@dataclasses.dataclass(frozen=True)
class _Ready:
    """A plan that will go through, its study, its files, and what it may hold; `who` are words of `Study.null`."""

    path: Path
    text: str
    plan: RunPlan
    study: Study
    outputs: Mapping[Path, Output]
    budget: Budget

    @property
    def inputs(self) -> tuple[Path, ...]:
        """Files that are never replaced."""
        return self.path, self.plan.study

    def identity(self, backend: str) -> dict[str, Any]:
        """What a run is asked for, of which study, by which version; not what is done with it once it is computed."""
        tables = ("select", "wtc", "coupling", "synchrony", "null", "second_null")
        words = {
            f"{name}.{key}": value
            for name in tables
            if (table := getattr(self.plan, name)) is not None
            for key, value in asdict(table).items()
        }
        origin = provenance(study_sha256=self.study.sha256, selected=self.study.selected)
        return {
            **words, **self.plan.judged(), **{name: origin[name] for name in ("study_sha256", "ibsync_version")},
            "stream_version": STREAM_VERSION, "backend": backend_named(backend).name,
        }  # fmt: skip

    def null(self, null: Null, signal: str, **who: Any) -> AnyNull:
        """A null of one signal."""
        return self.study.null(
            self.plan.spec, signal=signal, memory=self.budget, **who, **self.plan.judged(), **null.words(),
            **self.plan.synchrony.words(),
        )  # fmt: skip

    def run(self, **who: Any) -> list[Outcome]:
        """Everything computed, then written; what memory does not hold lies beside the output meanwhile."""
        return _written(self.plan, self.computed(**who), self.outputs)

    def computed(self, **who: Any) -> list[Outcome]:
        """The outcomes, which carry the text of the plan."""
        outcomes = _computed(self, **who)
        _refuse_nothing(self.path, outcomes)
        for result in results_of(outcomes):
            result.dataset.attrs["plan"] = self.text
        return outcomes


def _ready(
    path: str | Path, plan: RunPlan, overwrite: bool = False, shards: tuple[Path, ...] = (), memory: Memory = None,
    is_shard: bool = False,
) -> _Ready:  # fmt: skip
    text = Path(path).read_text(encoding="utf-8")
    outputs = _outputs(path, plan, overwrite, shards)
    for file in outputs.values():
        file.check()
    study = Study.open(plan.study, accept_changes=plan.accept_changes).select(**plan.select.words())
    memory = memory or plan.memory
    found = readiness(study, plan, estimate=False, memory=None if is_shard else memory)
    problems = found.problems
    if problems:
        more = f" (and {len(problems) - 1} more; see ibsync check)" if len(problems) > 1 else ""
        raise PlanError(f"{path}: {problems[0]}{more}")
    folder, budget = plan.output_of(plan.synchrony.signals[0]).absolute().parent, Budget.of(memory)
    fits = found.need is None or budget.holds(found.need.least + found.need.in_file)
    return _Ready(Path(path), text, plan, study, outputs, dataclasses.replace(budget, folder=folder, in_files=not fits))


def _outputs(
    path: str | Path, plan: RunPlan, overwrite: bool = False, shards: tuple[Path, ...] = ()
) -> dict[Path, Output]:
    """Everything that a run writes, by path."""
    inputs = (Path(path), plan.study, *shards)
    files = [file for signal in plan.synchrony.signals for file in chain(*plan.files_of(signal).values())]
    return {file: Output(file, kind, inputs, overwrite) for file, kind in files}


def check_study(
    study_path: str | Path, plan_path: str | Path | None, *, accept_changes: bool = False, memory: Memory = None
) -> Readiness:
    """Return what a run would trip over.

    Parameters
    ----------
    study_path : str or Path
        Study file.
    plan_path : str or Path, optional
        Plan file; its own study is not read. Without it only the study is checked.
    accept_changes : bool
        Take a study that was changed after ibsync wrote it.
    memory : int or str, optional
        What a run may hold in all; too little is a problem.

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
    ready = readiness(study.select(**plan.select.words()), plan, memory=memory or plan.memory)
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


def readiness(study: Study, plan: RunPlan, *, estimate: bool = True, memory: Memory = None) -> Readiness:
    """Return what stands in the way of running a plan on a study.

    Parameters
    ----------
    study : Study
        Opened study file.
    plan : RunPlan
        Settings; the plan's paths are not looked at.
    estimate : bool
        Say how long a run will take, and how much memory.
    memory : int or str, optional
        What a run may hold in all; too little is a problem.

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
    budget, need = Budget.of(memory), None
    if (estimate or budget.is_limited) and not of_plan:
        need = _need_of_all(checks, plan)
    if need is not None and not budget.holds(need.least):
        of_plan.append(budget.too_little(need.least, "all of the plan"))
    checks = [dataclasses.replace(check, problems=(*check.problems, *of_plan)) for check in checks]
    pages = tuple(_said_once(dict(zip(plan.synchrony.signals, map(str, checks[:: len(plan.nulls)]), strict=True))))
    pages += (f"All of the plan takes {need}",) if need and estimate else ()
    pages += (f"Caution: {caution}",) if caution else ()
    problems = dict.fromkeys(problem for check in checks for problem in check.problems)
    losses = dict.fromkeys(loss for check in checks for loss in check.losses)
    return Readiness(pages, tuple(problems), tuple(losses), need)


def _said_once(pages: Mapping[str, str]) -> Iterator[str]:
    """The pages of signals, those after the first without the paragraphs that were there before."""
    before: list[str] = []
    for signal, page in pages.items():
        new = [paragraph for paragraph in page.split("\n\n") if paragraph not in before]
        yield (
            "\n\n".join(new)
            if not before
            else f"{signal}: " + ("the same, but\n" + "\n\n".join(new) if new else "the same")
        )
        before += new


def _need_of_all(checks: Sequence[Check], plan: RunPlan) -> Need | None:
    """Memory of all nulls, real values, tests, files and reports of a plan."""
    needs = [check.need for check in checks if check.need is not None]
    if not needs or len(needs) < len(checks):
        return None
    need = reduce(Need.then, needs)
    return dataclasses.replace(
        need,
        libraries=need.libraries + (_PICTURES_BYTES if plan.report else 0),
        work=max(need.work, need.kept),  # a file is made in memory
        in_file=need.in_file * (2 if len(plan.synchrony.signals) > 1 else 1),  # once more where they are put together
    )


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


def _computed(ready: _Ready, **who: Any) -> list[Outcome]:
    """The results of all signals, corrected together and not written yet."""
    started, study, plan, budget = time.perf_counter(), ready.study, ready.plan, ready.budget
    signals = plan.synchrony.signals
    # The null refuses more than the real coherence does, and does so before it computes.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the result carries the caution, and the caller says it
        nulls, *second = [[ready.null(null, signal, **who) for signal in signals] for null in plan.nulls]
        reals = [
            study.synchrony(plan.spec, signal=signal, null=null, memory=budget, **plan.synchrony.words(), **who)
            for signal, null in zip(signals, nulls, strict=True)
        ]
        if second:
            results = [test(reals[0], [nulls[0], second[0][0]], **plan.test.words(), memory=budget)]
        else:
            results = test_together(reals, nulls, **plan.test.words(), memory=budget)
        results = [with_map(result, study, plan.spec, budget) for result in results]
    further = [follow_up(study, *three, plan) for three in zip(results, reals, nulls, strict=True)]
    seconds = time.perf_counter() - started
    return [Outcome(c, r, (), seconds, tuple(f)) for c, r, f in zip(signals, results, further, strict=True)]


def results_of(outcomes: Sequence[Outcome]) -> list[Result]:
    """The results of all signals, and those of further questions."""
    contents = [content for o in outcomes for content in (o.result, *(found.content for found in o.further))]
    return [content for content in contents if isinstance(content, Result)]


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
    pages = _pages(plan, outcomes)
    payloads = {path: payload_of(content) for contents in placed for path, content in contents.items()}
    payloads |= pages
    write_together([(outputs[path], payload) for path, payload in payloads.items()])
    return [
        dataclasses.replace(
            outcome,
            files=(*contents, *(pages if outcome is outcomes[-1] else ())),
            further=_with_files(outcome.further, contents),
        )
        for outcome, contents in zip(outcomes, placed, strict=True)
    ]


def _placed(plan: RunPlan, outcome: Outcome) -> dict[Path, Content]:
    """What is written of one signal beside its pages, by path."""
    output = plan.output_of(outcome.signal)
    return {output: outcome.result} | {further.file_beside(output): further.content for further in outcome.further}


def _with_files(further: Sequence[Followup], contents: Mapping[Path, Content]) -> tuple[Followup, ...]:
    _, *files = contents
    return tuple(dataclasses.replace(one, files=(file,)) for one, file in zip(further, files, strict=True))


def _pages(plan: RunPlan, outcomes: Sequence[Outcome]) -> dict[Path, bytes]:
    """The HTML reports by their paths: that of the test of all signals, and one for each further result."""
    from ..results.report import page_bytes

    results: dict[Path | None, list[Result]] = {plan.page_of(): [outcome.result for outcome in outcomes]}
    for found in chain.from_iterable(outcome.further for outcome in outcomes):
        if isinstance(found.content, Result):
            results.setdefault(plan.page_of(found.name), []).append(found.content)
    return {path: page_bytes(about) for path, about in results.items() if path is not None}
