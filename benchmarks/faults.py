"""What faults do to files: kills at random moments, full disks at every write, folders that vanish; prints a table.

python benchmarks/faults.py [--kill 50] [--term 20] [--int 20] [--only pack run ...] [--seed 0] [-o NAME.json]

After each fault every file must be whole, as it was or as it is to be; nothing of the user's may be missing or changed;
what was computed must lie where the message says; and a resumed run must end in the result of one that was left alone.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from checkout import REPOSITORY  # isort: skip
import h5py
import numpy as np
from measure import provenance

import ibsync as ibs
from ibsync.errors import IbsyncError
from ibsync.recordings import hdf5_writing, whole_files
from ibsync.recordings.output_kinds import PAGE, PICTURE
from ibsync.recordings.whole_files import Output, write_together
from ibsync.results.figures.drawing import bytes_of
from ibsync.results.report import page_bytes

PACKAGES = ("ibsync", "numpy", "h5py")
SIGNALS = {"SIGKILL": "kill", "SIGTERM": "term", "SIGINT": "int"}
CODES = {"SIGKILL": {-9}, "SIGTERM": {143, -15}, "SIGINT": {1, -2}}
"""How a process may end that was struck. Before the command line has begun, and inside an extension module, Python ends
by the signal itself."""
WTC = '[wtc]\nbands = { task = [0.1, 0.4] }\naccuracy = "fast"\n'
RUN = f'study = "study.h5"\noutput = "r.h5"\n{WTC}[synchrony]\nsignal = ["hbo", "hbr"]\n[null]\nn = 500\nseed = SEED\n'
RESUME = f'study = "study.h5"\noutput = "r.h5"\n{WTC}[null]\nkind = "phase"\nn = 2000\nseed = SEED\n'
MULTIVERSE = (
    'study = "study.h5"\noutput = "m.csv"\npicture = "m.png"\n[multiverse]\nbands = { task = [0.1, 0.4] }\n'
    'signal = ["hbo"]\nn = 200\nseed = SEED\n'
)
MINE = {"notes.txt": b"mine", "r.null.h5": b"mine too", ".r.h5.backup": b"mine as well", "thesis.tmp": b"years of work"}
# States are written at every step, so that kills meet them; a run of minutes has the same steps further apart.
PROGRAM = """
import sys
try:
    from ibsync.__main__ import main
except KeyboardInterrupt:
    sys.exit(1)
sys.exit(main())
"""


@dataclass(frozen=True)
class Verb:
    """A command in a folder of its own, and what it writes there."""

    name: str
    words: tuple[str, ...]
    plan: str
    outputs: tuple[str, ...]

    def write_plan(self, folder: Path, seed: int) -> None:
        (folder / "plan.toml").write_text(self.plan.replace("SEED", str(seed)), encoding="utf-8")


VERBS = (
    Verb("pack", ("pack", "recordings", "-o", "s.h5"), "", ("s.h5",)),
    Verb("run", ("run", "plan.toml"), RUN, ("r_hbo.h5", "r_hbr.h5")),
    Verb("run --resume", ("run", "plan.toml", "--resume"), RESUME, ("r.h5",)),
    Verb(
        "calibrate",
        ("calibrate", "study.h5", "--plan", "plan.toml", "--n-sims", "20", "-o", "c.json"),
        RESUME.replace("2000", "99"),
        ("c.json",),
    ),
    Verb("multiverse", ("multiverse", "plan.toml"), MULTIVERSE, ("m.csv", "m.png")),
)


@dataclass
class Row:
    """A line of the table."""

    where: str
    fault: str
    injected: int = 0
    struck: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def survived(self) -> int:
        """Faults after which all was well."""
        return max(0, self.struck - len(self.problems))


# --- what is in a file ------------------------------------------------------------------------------------------------


def digest(path: Path) -> str:
    """Of everything that a file says, but for the moment at which it was made."""
    if path.suffix == ".json":
        content = json.loads(path.read_text(encoding="utf-8"))
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    sha = hashlib.sha256()
    if path.suffix != ".h5":
        sha.update(path.read_bytes())
        return sha.hexdigest()
    with h5py.File(path, "r") as file:
        names = sorted(["/", *_names(file)])
        for name in names:
            item = file[name]
            sha.update(name.encode())
            for key in sorted(
                set(item.attrs) - {"created", "ibsync_digests", "REFERENCE_LIST", "DIMENSION_LIST", "_Netcdf4Dimid"}
            ):
                sha.update(f"{key}={item.attrs[key]!r}".encode())
            if isinstance(item, h5py.Dataset):
                values = np.asarray(item[()])
                sha.update(repr(values.tolist()).encode() if values.dtype == object else values.tobytes())
    return sha.hexdigest()


def _names(file: h5py.File) -> list[str]:
    names: list[str] = []
    file.visit(names.append)
    return names


# --- signals ----------------------------------------------------------------------------------------------------------


class Trial:
    """A verb, its folder, and what its files held before and hold after a run that is left alone."""

    def __init__(self, verb: Verb, folder: Path, source: Path, seed: int) -> None:
        self.verb, self.folder = verb, folder
        self.chance = random.Random(f"{verb.name} {seed}")
        shutil.copytree(source, folder)
        for name, content in MINE.items():
            (folder / name).write_bytes(content)
        self.before = self._of_a_whole_run(seed=1)
        self.old = {name: (folder / name).read_bytes() for name in verb.outputs}
        if verb.name == "pack":
            (folder / "recordings" / "p1.csv").write_bytes((folder / "recordings" / "p3.csv").read_bytes())
        started = time.perf_counter()
        self.after = self._of_a_whole_run(seed=2)
        self.seconds = time.perf_counter() - started
        self.inputs = {
            path: path.read_bytes() for path in folder.rglob("*") if path.name not in verb.outputs and path.is_file()
        }

    def _of_a_whole_run(self, seed: int) -> dict[str, str]:
        self.verb.write_plan(self.folder, seed)
        done = self.start()
        out, err = done.communicate()
        if done.returncode:
            raise SystemExit(f"{self.verb.name} does not run: {out}{err}")
        return {name: digest(self.folder / name) for name in self.verb.outputs}

    def start(self, **words: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROGRAM, *self.verb.words]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler), **words,
        )  # fmt: skip

    def restore(self) -> None:
        """Put back what the outputs held before."""
        for name, content in self.old.items():
            (self.folder / name).write_bytes(content)

    def strike(self, name: str) -> tuple[bool, str]:
        """Send a signal at a random moment; whether it struck, and what is wrong then."""
        if self.verb.name != "run --resume":
            self.restore()
        process = self.start()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(self.chance.uniform(0, self.seconds))
        struck = process.poll() is None
        if struck:
            process.send_signal(getattr(signal, name))
        _, err = process.communicate(timeout=120)
        problems = [] if not struck or process.returncode in {0, *CODES[name]} else [f"exit {process.returncode}"]
        problems += self.spoiled()
        if name != "SIGKILL":
            problems += [f"left {path.name}" for path in self.folder.rglob("*.tmp") if path.name not in MINE]
            if (
                struck and (len(err.splitlines()) > 1 or "Traceback" in err) and "ibsync" in err
            ):  # not Python's own start
                problems.append(f"said {err[-300:]!r}")
        if not struck and self.verb.name == "run --resume":
            problems += [f"{file} is not the result of a run left alone" for file in self.others()]
            self.restore()
        return struck, "; ".join(problems)

    def spoiled(self) -> list[str]:
        """Outputs that are neither old nor new, and files of the user's that are missing or changed."""
        wrong = []
        for name in self.verb.outputs:
            try:
                held = digest(self.folder / name)
            except (OSError, ValueError) as error:
                held = f"{type(error).__name__}"
            if held not in (self.before[name], self.after[name]):
                wrong.append(f"{name} is neither as it was nor as it is to be ({held})")
        wrong += [f"{path.name} is lost or changed" for path, content in self.inputs.items()
                  if not path.is_file() or path.read_bytes() != content]  # fmt: skip
        return wrong

    def others(self) -> list[str]:
        return [name for name in self.verb.outputs if digest(self.folder / name) != self.after[name]]

    def finish(self) -> list[str]:
        """Problems after a last run that is left alone: another result, or rubbish that it has not swept."""
        self._of_a_whole_run(seed=2)
        known = {*self.inputs, *(self.folder / name for name in self.verb.outputs)}
        rubbish = [path for path in self.folder.rglob("*") if path.is_file() and path not in known]
        return [f"{name} differs at the end" for name in self.others()] + [f"rubbish {path.name}" for path in rubbish]


def signalled(verb: Verb, source: Path, folder: Path, counts: Mapping[str, int], seed: int) -> list[Row]:
    """The rows of one verb; kills go on until so many have struck."""
    trial, rows = Trial(verb, folder, source, seed), []
    for name, wanted in counts.items():
        row = Row(verb.name, name)
        while row.struck < wanted and row.injected < 5 * wanted:
            struck, problem = trial.strike(name)
            row.injected += 1
            row.struck += struck
            row.problems += [problem] * bool(problem)
        row.problems += trial.finish() if wanted else []
        rows.append(row)
    return rows


# --- disks that are full or read-only ---------------------------------------------------------------------------------

STEPS: dict[str, tuple[Any, str]] = {
    "open": (whole_files.Path, "open"),
    "write": (whole_files, "write_all"),
    "write of HDF5": (hdf5_writing, "write_all"),
    "sync": (whole_files.os, "fsync"),
    "rename": (whole_files.Path, "replace"),
    "remove": (whole_files.Path, "unlink"),
}


def writers(folder: Path) -> dict[str, tuple[Callable[[], object], tuple[Path, ...]]]:
    """Everything that writes: a call, and the files that it makes."""
    from matplotlib.figure import Figure

    study = ibs.Study.open(folder / "study.h5")
    spec = ibs.WTC(bands={"task": (0.1, 0.4)}, accuracy="fast")
    real, null = study.synchrony(spec), study.null(spec, n=200)
    surrogates = study.null(spec, kind="phase", n=64)
    result = ibs.test(real, null, correct=[])
    power = ibs.study_power(ibs.SynchronyModel(growth=ibs.Growth(0.03), noise_sd=0.04), [6], [3], n_sims=5, n=99)
    many = ibs.multiverse(study, bands={"task": (0.1, 0.4)}, signal=["hbo"], n=200)
    picture, page, content = bytes_of(Figure, ".png"), folder / "page.html", page_bytes(result)
    names = ("w.study.h5", "w.r.h5", "w.null.h5", "w.phase.h5", "w.json", "w.csv", "w.png", "w.png2.png")
    s, r, n, p, j, c, one, two = (folder / name for name in names)
    return {
        "study": (lambda: ibs.simulate(s, n_dyads=1, n_channels=1, duration=30.0), (s,)),
        "result": (lambda: result.save(r), (r,)),
        "null": (lambda: ibs.save_null(null, n), (n,)),
        "surrogate null": (lambda: ibs.save_null(surrogates, p), (p,)),
        "page": (lambda: Output(page, PAGE).write(content), (page,)),
        "JSON": (lambda: power.save(j), (j,)),
        "table": (lambda: many.save(c), (c,)),
        "set": (lambda: write_together([(Output(path, PICTURE), picture) for path in (one, two)]), (one, two)),
    }  # fmt: skip


@contextlib.contextmanager
def failing(step: str, call: int, code: int) -> Iterator[list[int]]:
    """Let the n-th call of a step fail, of those that concern temporary files."""
    owner, name = STEPS[step]
    real, calls = getattr(owner, name), []

    def fail(*arguments: Any, **words: Any) -> Any:
        path = str(getattr(arguments[0], "name", arguments[0]))
        if step not in ("open", "remove", "rename") or ".tmp" in path:
            calls.append(1)
            if len(calls) == call:
                raise OSError(code, os.strerror(code))
        return real(*arguments, **words)

    setattr(owner, name, fail)
    try:
        yield calls
    finally:
        setattr(owner, name, real)


def full_disks(folder: Path) -> list[Row]:
    """Each writer, each of its steps failing once."""
    rows = []
    for name, (write, paths) in writers(folder).items():
        write()
        row = Row(name, "no room, read-only, quota at a step")
        old = {path: path.read_bytes() for path in paths}
        present = set(folder.rglob("*"))
        for step in STEPS:
            for call in range(1, 400):
                code = (errno.ENOSPC, errno.EROFS, errno.EDQUOT)[call % 3]
                with failing(step, call, code) as calls:
                    problem = _written_in_spite(write, paths, old, present, folder)
                if len(calls) < call:
                    break
                row.injected += 1
                row.struck += 1
                row.problems += [f"{step} {call} {errno.errorcode[code]}: {problem}"] * bool(problem)
        rows.append(row)
    return rows


def _written_in_spite(
    write: Callable[[], object], paths: Sequence[Path], old: Mapping[Path, bytes], present: set[Path], folder: Path
) -> str:
    """What is wrong after a write during which something failed; the folder is put in order again."""
    wrong = ""
    try:
        write()
    except IbsyncError as error:
        text = str(error)
        kept = [Path(name) for name in re.findall(r"is kept as (\S+?)(?:[,;]|$)", text)]
        missing = [path.name for path in kept if not path.is_file() or not path.stat().st_size]
        unsaid = paths[0].suffix != ".h5" or "study" not in paths[0].name
        if "\n" in text or missing or (unsaid and not kept and "no folder takes" not in text):
            wrong = f"said {text!r}, missing {missing}"
        for path in kept:
            path.unlink(missing_ok=True)
    except Exception as error:  # what is looked for
        wrong = f"{type(error).__name__}: {error}"
    whole = {digest(path) for path in paths}
    for path in paths:
        path.write_bytes(old[path])
    if whole != {digest(path) for path in paths}:
        wrong += " a file is not whole"
    rubbish = [path for path in folder.rglob("*") if path not in present]
    if any(not path.name.endswith(".tmp") for path in rubbish):
        wrong += f" left {[path.name for path in rubbish]}"
    for path in rubbish:  # a step that removes may fail too: the next process sweeps
        path.unlink()
    return wrong


def limited(verb: Verb, source: Path, folder: Path, sizes: Sequence[int]) -> Row:
    """A process that may write files of so many bytes only, as a quota has it."""
    row = Row(verb.name, "files limited in size")
    trial = Trial(verb, folder, source, seed=0)
    for size in sizes:
        for path in trial.old:
            (folder / path).unlink(missing_ok=True)
        command = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({size},) * 2)\n{PROGRAM}"
        done = subprocess.run(
            [sys.executable, "-c", command, *verb.words], cwd=folder, capture_output=True, text=True, check=False,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )  # fmt: skip
        row.injected, row.struck = row.injected + 1, row.struck + (done.returncode != 0)
        left = [path.name for path in folder.rglob("*") if path.is_file() and path not in trial.inputs]
        if done.returncode not in (0, 1) or len(done.stderr.splitlines()) > 1 or (done.returncode and left):
            row.problems.append(f"{size} bytes: exit {done.returncode}, {done.stderr[-200:]!r}, left {left}")
    return row


def small_disks(verb: Verb, source: Path, folder: Path, shares: Sequence[float]) -> Row:
    """A real file system that is too small, where one can be mounted."""
    row = Row(verb.name, "tmpfs too small")
    folder.mkdir()
    needed = sum(path.stat().st_size for path in source.rglob("*") if path.is_file())
    for share in shares:
        size = int(needed * share) + 100_000
        if subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], check=False, capture_output=True
        ).returncode:
            return replace(row, fault="tmpfs too small: cannot be mounted here")
        try:
            shutil.copytree(source, folder, dirs_exist_ok=True)
            verb.write_plan(folder, 1)
            taken = shutil.disk_usage(folder).free - 20_000
            (folder / "filler").write_bytes(bytes(max(0, taken)))
            before = set(folder.rglob("*"))
            done = subprocess.run(
                [sys.executable, "-c", PROGRAM, *verb.words], cwd=folder, capture_output=True, text=True, check=False,
                env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            )  # fmt: skip
            left = [path.name for path in folder.rglob("*") if path not in before]
            row.injected, row.struck = row.injected + 1, row.struck + (done.returncode != 0)
            if done.returncode not in (0, 1) or len(done.stderr.splitlines()) > 1 or (done.returncode and left):
                row.problems.append(f"{size} bytes: exit {done.returncode}, {done.stderr[-200:]!r}, left {left}")
            for name in re.findall(r"is kept as (\S+?)(?:[,;]|\n|$)", done.stderr):
                Path(name).unlink()
        finally:
            subprocess.run(["umount", folder], check=True)
    return row


def vanishing_folders(source: Path, folder: Path, n: int, seed: int) -> Row:
    """The folder of the output is removed at a random moment of a run."""
    row, chance = Row("run", "folder removed"), random.Random(seed)
    words = ("run", "plan.toml", "-o", "out/r.h5")
    shutil.copytree(source, folder)
    VERBS[1].write_plan(folder, 1)
    for _ in range(n):
        (folder / "out").mkdir(exist_ok=True)
        started = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *words], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )  # fmt: skip
        time.sleep(chance.uniform(0.5, 2.0))
        shutil.rmtree(folder / "out")
        _, err = started.communicate()
        kept = [Path(name) for name in re.findall(r"is kept as (\S+?)(?:[,;]|\n|$)", err)]
        row.injected, row.struck = row.injected + 1, row.struck + (started.returncode != 0)
        refused_early = "does not exist" in err and "kept" not in err
        if started.returncode not in (0, 1) or not (refused_early or started.returncode == 0 or len(kept) == 2):
            row.problems.append(f"exit {started.returncode}, {err[-300:]!r}")
        for path in kept:
            digest(path)
            path.unlink()
        shutil.rmtree(folder / "out", ignore_errors=True)
    return row


# --- the table --------------------------------------------------------------------------------------------------------


def sources(folder: Path, seed: int) -> Path:
    """A folder with recordings and a small study."""
    (folder / "recordings").mkdir(parents=True)
    for person in range(1, 13):
        signals = np.random.default_rng([seed, person]).standard_normal((240, 2)).cumsum(axis=0)
        table = np.column_stack([np.arange(240) / 4, signals])
        header = "time,S1_D1 hbo,S1_D1 hbr"
        np.savetxt(folder / "recordings" / f"p{person}.csv", table, delimiter=",", comments="", header=header)
    dyads = [f"d{k}\tp{2 * k - 1}\tp{2 * k}" for k in range(1, 7)]
    text = "\n".join(["dyad\tperson_a\tperson_b", *dyads]) + "\n"
    (folder / "recordings" / "dyads.tsv").write_text(text, encoding="utf-8")
    ibs.simulate(
        folder / "study.h5", n_dyads=6, n_channels=1, duration=60.0, sfreq=4.0, coupled_band=(0.1, 0.3), seed=3
    )
    return folder


def all_rows(arguments: argparse.Namespace, scratch: Path) -> Iterator[Row]:
    source = sources(scratch / "source", arguments.seed)
    verbs = [verb for verb in VERBS if verb.name in arguments.only]
    counts = {name: getattr(arguments, word) for name, word in SIGNALS.items()}
    with ThreadPoolExecutor(arguments.workers) as pool:
        places = [scratch / f"signals {verb.name}" for verb in verbs]
        jobs = [
            pool.submit(signalled, v, source, f, counts, arguments.seed) for v, f in zip(verbs, places, strict=True)
        ]
        for job in jobs:
            yield from job.result()
    if "faults" in arguments.only:
        yield from full_disks(Path(shutil.copytree(source, scratch / "faults")))
        for verb in VERBS[:2]:
            yield limited(verb, source, scratch / f"limited {verb.name}", (0, 2_000, 20_000))
            yield small_disks(verb, source, scratch / f"small {verb.name}", (1.0, 1.05, 1.2))
        yield vanishing_folders(source, scratch / "vanishing", max(1, arguments.kill // 10), arguments.seed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, n in {"kill": 50, "term": 20, "int": 20}.items():
        parser.add_argument(f"--{name}", type=int, default=n, metavar="N", help=f"of each command; default: {n}")
    names = [*(verb.name for verb in VERBS), "faults"]
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--workers", type=int, default=2, help="commands at a time; default: 2")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", type=Path, metavar="NAME.json")
    arguments = parser.parse_args()
    started, rows = time.perf_counter(), list[Row]()
    with tempfile.TemporaryDirectory(prefix="ibsync-faults-") as name, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        os.environ["IBSYNC_CACHE_DIR"] = str(Path(name) / "tables")
        print(f"{'where':<16} {'fault':<40} injected  struck  survived")
        for row in all_rows(arguments, Path(name)):
            rows.append(row)
            print(f"{row.where:<16} {row.fault:<40} {row.injected:8d}  {row.struck:6d}  {row.survived:8d}")
            print("".join(f"    {problem}\n" for problem in row.problems), end="", flush=True)
    seconds = time.perf_counter() - started
    print(f"{seconds:.0f} s")
    if arguments.out:
        content = {
            "machine": provenance(REPOSITORY, PACKAGES),
            "seconds": seconds,
            "rows": [{**asdict(row), "survived": row.survived} for row in rows],
        }
        arguments.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return int(any(row.problems for row in rows))


if __name__ == "__main__":
    sys.exit(main())
