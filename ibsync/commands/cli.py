"""The command line: parse, call one function, print; every mistake of the user ends in one line."""

from __future__ import annotations

import argparse
import codecs
import io
import json
import math
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import IbsyncError, PlanError
from ..recordings.formats.table import FORMAT_NAMES
from ..recordings.whole_files import written_files

DONE, FAILED = 0, 1
_SUBSTITUTES = {"≤": "<=", "≥": ">=", "–": "-", "—": "-", "−": "-", "×": "x", "→": "->", "±": "+/-", "²": "2", "µ": "u"}
PLANS = ("run", "calibrate", "multiverse", "power")
_WHO = ("resume", "workers", "scheduler")
_BACKENDS = "auto, numpy, cuda, or a certain GPU such as cuda:1; default: %(default)s"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the program's name; those of the process by default.

    Returns
    -------
    int
        0 done, 1 failed with one line on standard error, also after Ctrl-C; 143 after SIGTERM, as shells expect. Wrong
        usage raises SystemExit(2), as argparse does.
    """
    _print_in_any_encoding()
    os.environ["HDF5_PLUGIN_PRELOAD"] = "::"  # HDF5, which is loaded later, never loads a library that a file names
    n_written, journals = len(written_files), _journals()
    arguments = _parser().parse_args(argv)
    with _interruptible() as signals:
        try:
            code: int = arguments.command(arguments)
            sys.stdout.flush()
        except BrokenPipeError:
            # The reader of a pipe has gone; without this the interpreter complains once more when it closes the stream.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return FAILED
        except KeyboardInterrupt:
            return _interrupted(arguments, signals, n_written, journals)
        except Exception as error:
            if signals:  # an import that is interrupted may end in any error
                return _interrupted(arguments, signals, n_written, journals)
            if arguments.debug:
                raise
            return _fail(_one_line(error))
    return code


@contextmanager
def _interruptible() -> Iterator[list[int]]:
    """Let SIGTERM end a command as Ctrl-C does; gives the signals that came."""
    came: list[int] = []

    def interrupt(number: int, _: object) -> None:
        came.append(number)
        raise KeyboardInterrupt

    heeded = []
    if threading.current_thread() is threading.main_thread():
        ignored = (signal.SIG_IGN, None)  # by whoever started this process, such as nohup
        heeded = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) not in ignored]
    before = {number: signal.signal(number, interrupt) for number in heeded}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _journals() -> list[Path]:
    """Journals of this process that were not removed."""
    journal = sys.modules.get("ibsync.recordings.journal")  # what was not loaded has written none
    return [path for path in journal.unfinished_files if path.exists()] if journal else []


def _interrupted(arguments: argparse.Namespace, signals: Sequence[int], n_written: int, before: Sequence[Path]) -> int:
    """Say what an interrupted command has written."""
    files = ", ".join(dict.fromkeys(str(path) for path in written_files[n_written:] if path.exists()))
    kept = [path for path in _journals() if path not in before]
    could_resume = not files and getattr(arguments, "resume", None) is False
    go_on = "; with --resume what is finished would be kept" * could_resume
    if kept:
        go_on = f"; what is finished is kept in {kept[-1].name}: run the same command again"
    code = _fail(f"interrupted; {f'written before: {files}' if files else 'no result was written'}{go_on}")
    return 128 + signal.SIGTERM if signal.SIGTERM in signals else code


def _print_in_any_encoding() -> None:
    """Print something like it for a character that the terminal or a log file of Windows cannot hold."""
    codecs.register_error("ibsync", _substitute)
    # A stream that is closed is None; what is said of files that are written must not fail for want of a reader.
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115 - for as long as the process lives
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="ibsync")


def _substitute(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(_SUBSTITUTES.get(character, "?") for character in error.object[error.start : error.end]), error.end


def _fail(message: str) -> int:
    print(f"ibsync: {message}", file=sys.stderr)
    return FAILED


def _one_line(error: Exception) -> str:
    """What went wrong, in one line, whatever raised it."""
    text = " ".join(str(error).split())
    if isinstance(error, IbsyncError):
        return text
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        return f"out of memory ({text or 'no details'}); close other programs or take fewer channels or dyads"
    return f"internal error, {type(error).__name__}: {text}; run again with --debug and report what it shows"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ibsync",
        description="Inter-brain synchrony: wavelet transform coherence of many dyads, with null distributions.",
    )
    parser.add_argument("--version", action=_Version, help="show the version and exit")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(title="commands", dest="name", metavar="COMMAND", required=True)
    for add in (
        _add_demo,
        _add_pack,
        _add_info,
        _add_check,
        _add_run,
        _add_merge,
        _add_multiverse,
        _add_rerun,
        _add_report,
        _add_export,
        _add_calibrate,
        _add_power,
        _add_schema,
        _add_bench,
        _add_doctor,
    ):
        add(commands)
    return parser


class _Version(argparse.Action):
    """Print the version; looked up only when asked, because that takes longer than parsing."""

    def __init__(self, **options: Any) -> None:
        super().__init__(nargs=0, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"ibsync {version('ibsync')}")
        except PackageNotFoundError:
            print("ibsync, a checkout that is not installed")
        parser.exit(DONE)


_Commands = Any  # argparse does not name the type that add_subparsers returns


def _add(
    commands: _Commands, name: str, command: Callable[[argparse.Namespace], int], help_text: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=help_text, description=f"{help_text}.")
    parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    parser.set_defaults(command=command)
    return parser


def _add_demo(commands: _Commands) -> None:
    parser = _add(commands, "demo", _demo, "Simulate a small study, analyse it, and write a report")
    parser.add_argument("-o", "--output", default="ibsync-demo", metavar="FOLDER", help="default: %(default)s")
    _add_overwrite(parser)
    _add_device(parser)


def _add_pack(commands: _Commands) -> None:
    parser = _add(commands, "pack", _pack, f"Pack recordings ({FORMAT_NAMES}, BIDS folders) into one study file")
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="a folder of recordings, or recordings")
    parser.add_argument("-o", "--output", required=True, metavar="STUDY.h5", help="study file to write")
    parser.add_argument("--dyads", metavar="TSV", help="who was recorded with whom; default: dyads.tsv in the folder")
    parser.add_argument("--participants", metavar="TSV", help="people; default: participants.tsv in the folder")
    parser.add_argument("--outcomes", metavar="TSV", help="scores of the dyads; default: outcomes.tsv in the folder")
    parser.add_argument(
        "--signal", nargs="+", metavar="NAME",
        help="signals to take, such as hbo, or hbo=oxyData where a file calls it so; default: all",
    )  # fmt: skip
    parser.add_argument("--sfreq", type=float, metavar="HZ", help="rate of MATLAB files and tables that do not say it")
    parser.add_argument("--crop", action="store_true", help="cut the recordings of a dyad to the time they share")
    parser.add_argument("--resample", type=float, metavar="HZ", help="bring all recordings to one rate")
    parser.add_argument(
        "--on-gap", choices=("error", "interpolate", "nan"), default="error", help="default: %(default)s"
    )
    parser.add_argument("--allow-dod", action="store_true", help="take optical density where there is no haemoglobin")
    light = parser.add_argument_group("raw light")
    light.add_argument("--preprocess", action="store_true", help="make haemoglobin of raw light by MNE's steps")
    light.add_argument(
        "--min-sci", type=float, metavar="X", help="smallest scalp coupling index of a good channel; default: 0.75"
    )
    light.add_argument("--motion", metavar="WORD", help="repair of motion, tddr or none; default: tddr")
    light.add_argument(
        "--ppf", type=float, nargs="+", metavar="F", help="partial pathlength factor, or one a wavelength; default: 6"
    )
    _add_overwrite(parser)
    _add_progress(parser)
    _add_json(parser)


def _add_info(commands: _Commands) -> None:
    parser = _add(commands, "info", _info, "Say what a study file or a result file holds")
    parser.add_argument("file")
    _add_accept_changes(parser)
    _add_json(parser)


def _add_check(commands: _Commands) -> None:
    parser = _add(commands, "check", _check, "Say what would go wrong in a run, without running it")
    parser.add_argument("study", metavar="STUDY.h5")
    parser.add_argument("--plan", metavar="PLAN.toml", help="plan to check against; its own study is not read")
    _add_memory(parser, "memory that a run may take in all, such as 8G; less than it needs is a problem")
    _add_accept_changes(parser)
    _add_json(parser)


def _add_run(commands: _Commands) -> None:
    parser = _add(commands, "run", _run, "Run a plan: synchrony, null distribution, test, result file, report")
    parser.add_argument("plan", metavar="PLAN.toml")
    parser.add_argument("-o", "--output", metavar="OUT.h5", help="result file, instead of the plan's")
    parser.add_argument("--report", metavar="OUT.html", help="HTML report, instead of the plan's")
    help_text = "compute a share of the null, such as 3/16, into out.shard-03-of-16.h5; see merge"
    parser.add_argument("--shard", type=_shard, metavar="I/N", help=help_text)
    _add_memory(parser)
    _add_workers(parser)
    _add_overwrite(parser)
    _add_device(parser)
    _add_json(parser)


def _add_merge(commands: _Commands) -> None:
    parser = _add(commands, "merge", _merge, "Finish a run from all its shards, which ibsync run --shard wrote")
    parser.add_argument("shards", nargs="+", metavar="OUT.shard-*.h5")
    parser.add_argument("-o", "--output", metavar="OUT.h5", help="result file, instead of the plan's")
    parser.add_argument("--report", metavar="OUT.html", help="HTML report, instead of the plan's")
    _add_memory(parser)
    _add_overwrite(parser)
    _add_device(parser)
    _add_json(parser)


_MEMORY = "memory that the command may take in all, such as 8G; the rest lies beside the output"


def _add_memory(parser: argparse.ArgumentParser, help_text: str = _MEMORY) -> None:
    parser.add_argument("--memory", type=_memory, metavar="SIZE", help=help_text)


def _add_multiverse(commands: _Commands) -> None:
    parser = _add(commands, "multiverse", _multiverse, "Test every combination of choices, corrected for all of them")
    parser.add_argument("plan", metavar="PLAN.toml")
    parser.add_argument("-o", "--output", metavar="OUT.csv", help="table, .csv or .json, instead of the plan's")
    parser.add_argument("--picture", metavar="OUT.png", help="specification curve, .png, .svg or .pdf")
    _add_memory(parser)
    _add_workers(parser)
    _add_overwrite(parser)
    _add_device(parser)
    _add_json(parser)


def _add_report(commands: _Commands) -> None:
    parser = _add(commands, "report", _report, "Write the HTML report of one result file, or of several on one page")
    parser.add_argument("results", nargs="+", metavar="OUT.h5")
    parser.add_argument("-o", "--output", required=True, metavar="OUT.html")
    help_text = "name dyads D1, D2, ... and people P1, P2, ..., for a page that is shared"
    parser.add_argument("--pseudonyms", action="store_true", help=help_text)
    _add_accept_changes(parser)
    _add_overwrite(parser)


def _add_rerun(commands: _Commands) -> None:
    help_text = "Repeat a result of ibsync run from the plan that it carries, and compare every number; write nothing"
    parser = _add(commands, "rerun", _rerun, help_text)
    parser.add_argument("result", metavar="OUT.h5")
    parser.add_argument("--study", metavar="STUDY.h5", help="study file, where it lies elsewhere by now")
    _add_accept_changes(parser)
    _add_memory(parser)
    parser.add_argument("--workers", type=int, metavar="N", help="so many processes; default: this one")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="those of a Dask scheduler, such as tcp://host:8786")
    _add_device(parser)
    _add_json(parser)


def _add_export(commands: _Commands) -> None:
    help_text = "Write results as BIDS derivatives: a table and a data dictionary for each dyad, session and task"
    parser = _add(commands, "export", _export, help_text)
    parser.add_argument("results", nargs="+", metavar="OUT.h5")
    parser.add_argument(
        "-o", "--output", required=True, metavar="FOLDER", help="a new folder, such as derivatives/ibsync"
    )
    _add_accept_changes(parser)


def _add_calibrate(commands: _Commands) -> None:
    help_text = "Say whether a plan's test rejects as often as it says on your recordings, and what it would find"
    parser = _add(commands, "calibrate", _calibrate, help_text)
    parser.add_argument("study", metavar="STUDY.h5")
    parser.add_argument("--plan", required=True, metavar="PLAN.toml", help="plan to try; its own study is not read")
    parser.add_argument("--n-sims", type=int, default=200, metavar="N", help="simulations; default: %(default)s")
    _add_accept_changes(parser)
    parser.add_argument("-o", "--output", metavar="FILE", help="picture (.png, .svg, .pdf), page (.html) or .json")
    _add_memory(parser)
    _add_workers(parser)
    _add_overwrite(parser)
    _add_device(parser)
    _add_json(parser)


def _add_power(commands: _Commands) -> None:
    help_text = "Say how many dyads and sessions a study of change or of an outcome needs"
    parser = _add(commands, "power", _power, help_text)
    parser.add_argument("plan", metavar="PLAN.toml")
    parser.add_argument("--n-sims", type=int, metavar="N", help="studies for each number, instead of the plan's")
    parser.add_argument("-o", "--output", metavar="FILE", help="picture (.png, .svg, .pdf) or .json")
    _add_workers(parser)
    _add_overwrite(parser)
    _add_progress(parser)
    _add_json(parser)


def _add_schema(commands: _Commands) -> None:
    parser = _add(commands, "schema", _schema, "Print the keys of a plan file as a JSON schema, for editors")
    parser.add_argument("plan", nargs="?", choices=PLANS, default="run", help="whose plan; default: %(default)s")
    parser.add_argument("--keys", action="store_true", help="print tables in Markdown instead")


def _add_bench(commands: _Commands) -> None:
    from .workloads import WORKLOADS

    parser = _add(commands, "bench", _bench, "Say how long a study of a named size takes here, stage by stage")
    parser.add_argument("--workload", choices=WORKLOADS, default="tiny", help="default: %(default)s, a few seconds")
    help_text = "part of the workload's dyads, above 0 and at most 1; default: all"
    parser.add_argument("--share", type=float, default=1.0, metavar="PART", help=help_text)
    parser.add_argument("--accuracy", choices=("exact", "fast"), default="exact", help="default: %(default)s")
    parser.add_argument("--backend", type=_backend, default="auto", help=_BACKENDS)
    parser.add_argument("--json", metavar="FILE", help="write the figures as JSON too")
    _add_overwrite(parser)


def _add_doctor(commands: _Commands) -> None:
    parser = _add(commands, "doctor", _doctor, "Examine the installation, layer by layer, and say which one fails")
    _add_json(parser)


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")


def _backend(name: str) -> str:
    if not re.fullmatch(r"auto|numpy|cuda(:\d+)?", name):
        raise argparse.ArgumentTypeError(f"{name!r} is none of auto, numpy, cuda and cuda:1, cuda:2, ...")
    return name


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    number, n = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= n:
        raise argparse.ArgumentTypeError(f"{text!r} is no share: write I/N with I from 1 to N, such as 3/16")
    return number, n


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least 1")
    return int(text)


def _add_workers(parser: argparse.ArgumentParser) -> None:
    """Who computes, and whether what is finished is kept."""
    help_text = "keep finished parts in a journal beside the output, and go on from it"
    parser.add_argument("--resume", action="store_true", help=help_text)
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--workers", type=_count, metavar="N", help="compute in N processes on this machine")
    who.add_argument(
        "--scheduler", metavar="ADDRESS", help="compute on the workers of a Dask scheduler, tcp://host:8786"
    )


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--backend", type=_backend, default="auto", help=_BACKENDS)
    _add_progress(parser)


def _memory(text: str) -> str:
    from ..recordings.memory import Budget

    try:
        Budget.of(text)
    except PlanError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def _add_accept_changes(parser: argparse.ArgumentParser) -> None:
    help_text = "take a study or result that was changed after ibsync wrote it"
    parser.add_argument("--accept-changes", action="store_true", help=help_text)


def _add_overwrite(parser: argparse.ArgumentParser) -> None:
    help_text = "replace a file of another kind too, never an input; without, only one of the kind that is written"
    parser.add_argument("--overwrite", action="store_true", help=help_text)


def _add_progress(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--progress", action="store_true", help="show progress even if this is no terminal")


def _words(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Arguments by name, as keywords; progress is shown on a terminal, or where it is asked for."""
    words = {name: getattr(arguments, name) for name in names}
    return {**words, **({"progress": arguments.progress or sys.stderr.isatty()} if "progress" in words else {})}


def _print_json(content: object) -> None:
    print(json.dumps(_with_nulls(content), indent=2, ensure_ascii=False, default=str, allow_nan=False))


def _with_nulls(content: Any) -> Any:
    """The same with None for numbers that JSON does not have."""
    if isinstance(content, Mapping):
        return {key: _with_nulls(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_with_nulls(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _say(arguments: argparse.Namespace, page: object, content: object) -> int:
    """Print a page to be read, or the same for a script."""
    if arguments.json:
        _print_json(content)
    else:
        print(page)
    return DONE


def _page(*parts: object, files: Iterable[object] = ()) -> str:
    return "\n".join([*map(str, parts), *(f"wrote {file}" for file in files)])


def _demo(arguments: argparse.Namespace) -> int:
    from .demo import run_demo

    print(run_demo(arguments.output, **_words(arguments, "overwrite", "backend", "progress")))
    return DONE


def _pack(arguments: argparse.Namespace) -> int:
    from ..recordings.pack import pack

    sources = arguments.sources[0] if len(arguments.sources) == 1 else arguments.sources
    tables = ("dyads", "participants", "outcomes")
    names = (*tables, "signal", "sfreq", "crop", "resample", "on_gap", "allow_dod", "overwrite", "progress")
    words = {name: value for name, value in _words(arguments, "min_sci", "motion", "ppf").items() if value is not None}
    if words and not arguments.preprocess:
        raise PlanError(f"--{next(iter(words)).replace('_', '-')} is of preprocessing: add --preprocess")
    if len(words.get("ppf", ())) == 1:
        (words["ppf"],) = words["ppf"]
    preprocess = words if arguments.preprocess and words else arguments.preprocess
    report = pack(sources, arguments.output, preprocess=preprocess, **_words(arguments, *names))
    return _say(arguments, _page(report, files=[report.output]), report.describe())


def _info(arguments: argparse.Namespace) -> int:
    from .info import describe

    return _say(arguments, *describe(arguments.file, **_words(arguments, "accept_changes")))


def _check(arguments: argparse.Namespace) -> int:
    from .run import check_study

    ready = check_study(arguments.study, arguments.plan, **_words(arguments, "accept_changes", "memory"))
    problems = ready.problems
    _say(arguments, ready, ready.describe())
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        return _fail(f"{arguments.study}: {problems[0]}{more}")
    return DONE


def _run(arguments: argparse.Namespace) -> int:
    from .run import run_plan, run_shard

    who = ("output", "backend", "workers", "scheduler", "memory", "progress")
    if arguments.shard is not None:
        if arguments.resume:
            return _fail("a shard goes on from its file by itself: leave --resume out")
        if arguments.report or arguments.overwrite:
            return _fail(
                f"{'--report' if arguments.report else '--overwrite'} goes with ibsync merge, not with --shard"
            )
        file = run_shard(arguments.plan, arguments.shard, **_words(arguments, *who))
        return _say(arguments, _page(files=[file]), {"shard": list(arguments.shard), "file": str(file)})
    outcomes = run_plan(arguments.plan, **_words(arguments, *who, "report", "resume", "overwrite"))
    return _say_outcomes(arguments, outcomes)


def _say_outcomes(arguments: argparse.Namespace, outcomes: Sequence[Any]) -> int:
    return _say(arguments, "\n\n".join(map(str, outcomes)), [outcome.describe() for outcome in outcomes])


def _merge(arguments: argparse.Namespace) -> int:
    from .run import merge_shards

    names = ("output", "report", "backend", "memory", "overwrite", "progress")
    return _say_outcomes(arguments, merge_shards(arguments.shards, **_words(arguments, *names)))


def _multiverse(arguments: argparse.Namespace) -> int:
    from .multiverse import run_multiverse

    result, files = run_multiverse(
        arguments.plan, **_words(arguments, "output", "picture", "backend", "memory", *_WHO, "overwrite", "progress")
    )
    return _say(arguments, _page(result, "", files=files), {**result.to_dict(), "files": list(map(str, files))})


def _report(arguments: argparse.Namespace) -> int:
    from ..recordings.output_kinds import PAGE
    from ..recordings.whole_files import Output
    from ..results.pseudonyms import pseudonymous
    from ..results.report import page_bytes
    from ..results.result import load

    results = tuple(map(Path, arguments.results))
    output = Output(Path(arguments.output), PAGE, results, arguments.overwrite)
    output.check()
    words = _words(arguments, "accept_changes")
    loaded = [load(path, **words) for path in results]
    print(_page(files=[output.write(page_bytes(pseudonymous(loaded) if arguments.pseudonyms else loaded))]))
    return DONE


def _rerun(arguments: argparse.Namespace) -> int:
    from .rerun import rerun

    names = ("study", "accept_changes", "backend", "memory", "workers", "scheduler", "progress")
    again = rerun(arguments.result, **_words(arguments, *names))
    _say(arguments, again, again.describe())
    return _fail(f"{arguments.result}: the repetition differs") if again.differences else DONE


def _export(arguments: argparse.Namespace) -> int:
    from ..results.bids import write_bids
    from ..results.result import load

    results = [load(path, **_words(arguments, "accept_changes")) for path in arguments.results]
    files = write_bids(results, arguments.output)
    print(f"wrote {len(files)} files into {arguments.output}")
    return DONE


def _calibrate(arguments: argparse.Namespace) -> int:
    from .calibrate import calibrate_plan

    names = "n_sims", "output", "accept_changes", "backend", "memory", *_WHO, "overwrite", "progress"
    results = calibrate_plan(arguments.study, arguments.plan, **_words(arguments, *names))
    return _say(arguments, "\n\n".join(map(str, results)), [result.describe() for result in results])


def _power(arguments: argparse.Namespace) -> int:
    from .power import run_power_plan

    result, files = run_power_plan(
        arguments.plan, **_words(arguments, "n_sims", "output", *_WHO, "overwrite", "progress")
    )
    return _say(arguments, _page(result, files=files), {**result.to_dict(), "files": list(map(str, files))})


def _schema(arguments: argparse.Namespace) -> int:
    from .plan_file import DOCUMENTS
    from .plan_reader import json_schema, key_tables

    document = DOCUMENTS[arguments.plan]
    if arguments.keys:
        print(key_tables(document))
    else:
        _print_json(json_schema(document))
    return DONE


def _bench(arguments: argparse.Namespace) -> int:
    from .bench import run_bench

    words = _words(arguments, "backend", "share", "accuracy", "overwrite")
    speed = run_bench(arguments.workload, output=arguments.json, **words)
    print(_page(speed, files=[arguments.json] if arguments.json else []))
    return DONE


def _doctor(arguments: argparse.Namespace) -> int:
    from .doctor import examine

    examination = examine()
    _say(arguments, examination, examination.describe())
    failed = [finding.layer for finding in examination.findings if finding.state == "failed"]
    return _fail(f"not well: {', '.join(failed)}") if failed else DONE
