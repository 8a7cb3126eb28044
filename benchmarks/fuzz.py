"""Damage files in many ways and count what ibsync makes of them: prints a table, writes JSON.

python benchmarks/fuzz.py [--n 2000] [--seed 0] [--kinds study result ...] [-o benchmarks/results/fuzz.json]

Every file is one that ibsync reads: its own (study, result, null, state), what the user writes (plan, tables), and
recordings from elsewhere (SNIRF, MATLAB, CSV, FIF), which are read as `pack` reads them. A mutation is a function of
seed and number. It is tried in a process with limits of computing time and memory, which serves many: a hang costs only
its limit, a crash a new process.

refused: one line, as an InputError or PlanError. right: all values as before. samples: other samples of a recording,
or a damaged copy of what no reader can check. other: another text that a reader cannot tell from a right one (a plan
or table says something else, a label of a recording has changed). In files of ibsync's own every value that differs is
wrong. internal: any other exception. memory: more than the limit was claimed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import queue
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

import checkout  # noqa: F401
import h5py
import numpy as np

import ibsync as ibs
from ibsync.commands.machine import machine_facts
from ibsync.commands.plan_file import MultiversePlan, PowerPlan, read_plan
from ibsync.commands.plan_reader import read as read_document
from ibsync.errors import IbsyncError
from ibsync.recordings.dyad_tables import read_outcomes, read_pairs, read_participants, typed_columns
from ibsync.recordings.find_files import describe_file
from ibsync.recordings.formats.reader_process import Limits, ReaderProcess
from ibsync.recordings.formats.source_recording import SignalChoice
from ibsync.recordings.source import Source, read_bids_events, read_channel_marks

CPU_S, CLOCK_S, MEMORY_MB = 10, 120, 800
RECORDING = Limits(cpu_s=5.0, clock_s=60.0)
OWN = ("study", "result", "null", "state")
VERDICTS = ("refused", "right", "samples", "other", "wrong", "internal", "hang", "crash", "memory")
GOAL_IS_0 = ("wrong", "internal", "hang", "crash", "memory")
PACKAGES = ("numpy", "scipy", "h5py", "mne", "msgspec")
N_SAMPLES, SFREQ = 300, 5.0


# --- files to damage --------------------------------------------------------------------------------------------------


def make_files(folder: Path) -> None:
    """One folder of files for each kind."""
    for kind in KINDS:
        (folder / kind).mkdir()
    alike: dict[str, Any] = {"n_channels": 2, "duration": 60.0, "sfreq": SFREQ, "coupled_band": (0.1, 0.3)}
    spec = ibs.WTC(bands={"task": (0.1, 0.4)})
    study = ibs.simulate(folder / "study/plain.h5", n_dyads=4, seed=3, **alike)
    epochs = [("talk", 5, 30), ("rest", 30, 55)]
    ibs.simulate(
        folder / "study/sessions.h5", n_dyads=4, n_sessions=2, epochs=epochs, groups=["one", "two"], seed=1, **alike
    )
    real, null = study.synchrony(spec), study.null(spec, n=200)
    ibs.test(real, null, correct=[]).save(folder / "result/result.h5")
    ibs.save_null(null, folder / "null/repaired.h5")
    ibs.save_null(study.null(spec, kind="phase", n=64), folder / "null/phase.h5")
    ibs.save_null(study.null(spec, kind="phase", n=64, draws=(1, 33)), folder / "state/phase.h5")
    for name, text in PLANS.items():
        (folder / "plan" / f"{name}.toml").write_text(text)
    for kind, texts in TABLES.items():
        for name, text in texts.items():
            (folder / kind / name).write_text(text.replace(" ", "\t" if name.endswith("tsv") else ","))
    make_recordings(folder)


PLANS = {
    "run": 'study = "study.h5"\noutput = "out.h5"\n[wtc]\nbands = { task = [0.02, 0.1], slow = [0.01, 0.02] }\n'
    '[synchrony]\nsignal = ["hbo", "hbr"]\nepochs = { talk = [60, 240] }\n[null]\nn = 1000\nseed = 7\n'
    '[test]\ncorrect = ["fdr", "max"]\nalpha = 0.05\n[plasticity]\ntime = "session"\n',
    "multiverse": 'study = "study.h5"\n[multiverse]\nbands = { task = [0.02, 0.1] }\nmeasure = ["coherence"]\nn = 99\n',
    "power": "[power]\ndyads = [8, 12]\nsessions = 4\ngrowth = 0.01\nnoise_sd = 0.04\nn_sims = 10\n",
}
TABLES = {
    "dyads": {
        "dyads.tsv": "dyad person_a person_b session day group use outcome_score\n"
        "d1 p1 p2 1 0 one 1 3.5\nd1 p1 p2 2 7 one yes n/a\nd2 p3 p4 1 0 two 0 4\n",
        "dyads.csv": "dyad person_a person_b date\n\"d1\" p1 p2 2026-03-31\nd2 p3 p4 2026-04-01\n",
    },
    "outcomes": {"outcomes.tsv": "dyad session symptoms age\nd1 1 12 30.5\nd1 2 8 30.6\nd2 1 n/a 41\n"},
    "participants": {"participants.tsv": "participant_id dyad_id role age\nsub-p1 d1 a 30\nsub-p2 d1 b 31.5\n"},
    "channels": {"channels.tsv": "name source detector status short_channel\nS1-D1 S1 D1 good 0\nS2-D2 S2 D2 bad y\n"},
    "events": {"events.tsv": "onset duration trial_type value\n1.5 20 talk 1\n30 n/a rest 2\n"},
}  # fmt: skip


def make_recordings(folder: Path) -> None:
    """A SNIRF, MATLAB, CSV and FIF file of the same signals."""
    from scipy.io import savemat

    noise = np.random.default_rng(0).standard_normal((N_SAMPLES, 4)).astype(np.float64) * 1e-6
    times = np.arange(N_SAMPLES) / SFREQ
    names = ["S1_D1 hbo", "S2_D2 hbo", "S1_D1 hbr", "S2_D2 hbr"]
    write_snirf(folder / "snirf/groups.snirf", times, noise, h5py.string_dtype())
    write_snirf(folder / "snirf/fixed.snirf", times, noise, h5py.string_dtype("utf-8", 20), compression="gzip")
    words = {"hbo": noise[:, :2], "hbr": noise[:, 2:], "channels": ["S1_D1", "S2_D2"], "good": [1, 1], "unit": "mol/L"}
    savemat(folder / "mat/rate.mat", {**words, "sfreq": SFREQ})
    savemat(folder / "mat/times.mat", {**words, "time": times}, do_compression=True)
    table = np.column_stack([times, noise])
    header = ",".join(["time", *names])
    np.savetxt(folder / "csv/table.csv", table, fmt="%.9g", delimiter=",", comments="", header=header)
    import mne

    mne.set_log_level("ERROR")
    kinds = [name.split()[1] for name in names]
    raw = mne.io.RawArray(noise.T, mne.create_info([n.replace("S1_D1", "S1_D1") for n in names], SFREQ, kinds))
    raw.set_annotations(mne.Annotations([5.0, 30.0], [10.0, 5.0], ["talk", "BAD_jump"]))
    raw.save(folder / "fif/recording_raw.fif")


def write_snirf(path: Path, times: Any, samples: Any, text: Any, **options: Any) -> None:
    """Two channels of HbO and HbR, a probe, and marks."""
    with h5py.File(path, "w") as file:

        def say(name: str, value: str) -> None:
            file.create_dataset(name, data=np.array(value.encode(), text))

        say("formatVersion", "1.1")
        tags = {"SubjectID": "p1", "MeasurementDate": "2026-01-02", "MeasurementTime": "10:00:00", "LengthUnit": "mm"}
        for name, value in {**tags, "TimeUnit": "s", "FrequencyUnit": "Hz"}.items():
            say(f"nirs/metaDataTags/{name}", value)
        file["nirs/probe/wavelengths"] = [760.0, 850.0]
        for side in ("source", "detector"):
            file[f"nirs/probe/{side}Pos2D"] = np.arange(4.0).reshape(2, 2) * 20
        say("nirs/stim1/name", "talk")
        file["nirs/stim1/data"] = [[5.0, 10.0, 1.0], [30.0, 5.0, 1.0]]
        file.create_dataset("nirs/data1/dataTimeSeries", data=samples, **options)
        file["nirs/data1/time"] = times
        for k in range(4):
            entry = f"nirs/data1/measurementList{k + 1}"
            numbers = {"sourceIndex": 1 + k % 2, "detectorIndex": 1 + k % 2, "dataType": 99999, "dataTypeIndex": 1}
            for name, number in numbers.items():
                file[f"{entry}/{name}"] = np.int32(number)
            say(f"{entry}/dataTypeLabel", "HbO" if k < 2 else "HbR")
            say(f"{entry}/dataUnit", "mol/L")


# --- reading ----------------------------------------------------------------------------------------------------------

Values = dict[str, str]


def flat(name: str, value: Any, into: Values) -> Values:
    """Everything a value holds, by its place, as text that is equal where the value is."""
    if is_dataclass(value) and not isinstance(value, type):
        for entry in fields(value):
            if entry.name not in ("path", "source", "read"):
                flat(f"{name}.{entry.name}", getattr(value, entry.name), into)
    elif isinstance(value, Mapping):
        into[f"{name}.keys"] = repr(list(value))
        for key, item in value.items():
            flat(f"{name}[{key}]", item, into)
    elif isinstance(value, np.ndarray) and value.dtype != object:
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        into[name] = f"{value.dtype} {value.shape} {digest}"
    elif isinstance(value, list | tuple | np.ndarray):
        into[f"{name}.length"] = str(len(value))
        for number, item in enumerate(value):
            flat(f"{name}/{number}", item, into)
    else:
        into[name] = repr(value)
    return into


def without_folder(path: Path, values: Values) -> Values:
    """The same, wherever the file lies: rows of tables say where they stand."""
    return {name: text.replace(str(path.parent), "") for name, text in values.items()}


def study_values(path: Path) -> Values:
    study = ibs.Study.open(path)
    values = flat("study", study, {})
    for recording in study.recordings:
        for signal in recording.signal_names:
            flat(f"{recording.id} {signal}", study.signals(recording, signal), values)
    return {**values, "page": str(study).replace(path.name, "")}


def result_values(path: Path) -> Values:
    result = ibs.load(path)
    values: Values = {}
    for group in (result.dataset, result.null):
        flat("attributes", dict(group.attrs), values)
        for name, variable in group.variables.items():
            flat(str(name), [variable.dims, variable.to_numpy(), dict(variable.attrs)], values)
    return {**values, "page": str(result), "methods": result.methods(), "table": result.to_frame().to_csv()}


def null_values(path: Path) -> Values:
    return flat("null", ibs.load_null(path), {})


def plan_values(path: Path) -> Values:
    documents = {"multiverse": MultiversePlan, "power": PowerPlan}
    plan = read_document(path, documents[path.stem]) if path.stem in documents else read_plan(path)
    return without_folder(path, flat("plan", repr(plan), {}))


def people_values(path: Path) -> Values:
    people = read_participants(path)
    return flat("people", [people, typed_columns(people, people)], {})


def channel_values(path: Path) -> Values:
    return flat("marks", read_channel_marks(Source(path, "p1", channels=path), ["S1", "S2"], ["D1", "D2"]), {})


def recording_values(path: Path) -> Values:
    """As `pack` reads it: in a process of its own, of which there is one until it fails."""
    reader = recording_reader()
    recordings = reader.describe(describe_file(path))
    usable = [recording for recording in recordings if not recording.refusal]
    if not usable:
        raise IbsyncError(recordings[0].refusal if recordings else "no recording")
    values = flat("recordings", recordings, {})
    for recording, signals in zip(usable, reader.signals_of(usable), strict=True):
        flat(f"samples of {recording.id}", signals, values)
    return {name: value.replace(path.name, "") for name, value in values.items()}


def recording_reader(kept: list[ReaderProcess] = []) -> ReaderProcess:  # noqa: B006
    if not kept:
        kept.append(ReaderProcess(SignalChoice(), RECORDING))
    return kept[0]


KINDS: dict[str, Callable[[Path], Values]] = {
    "study": study_values, "result": result_values, "null": null_values, "state": null_values, "plan": plan_values,
    "dyads": lambda path: without_folder(path, flat("pairs", read_pairs(path), {})),
    "outcomes": lambda path: without_folder(path, flat("outcomes", read_outcomes(path, ["d1", "d2"]), {})),
    "participants": people_values, "channels": channel_values,
    "events": lambda path: flat("events", read_bids_events(Source(path, "p1", events=path)), {}),
    "snirf": recording_values, "mat": recording_values, "csv": recording_values, "fif": recording_values,
}  # fmt: skip


# --- mutations --------------------------------------------------------------------------------------------------------


def mutate(content: bytes, path: Path, rng: random.Random) -> str:
    """Write a damaged copy, and return how it was damaged."""
    is_hdf5 = content[:4] == b"\x89HDF"
    is_text = b"\0" not in content
    ways = [*BYTES.items(), *(TEXTS.items() if is_text else ())]
    if is_hdf5 and rng.random() < 0.2:
        path.write_bytes(content)
        return through_h5py(path, rng)
    name, way = rng.choice(ways)
    path.write_bytes(way(bytearray(content), rng))
    return name


def _flip(b: bytearray, rng: random.Random, n: int = 1) -> bytes:
    for _ in range(n):
        b[rng.randrange(len(b))] ^= 1 << rng.randrange(8)
    return bytes(b)


def _byte(b: bytearray, rng: random.Random) -> bytes:
    b[rng.randrange(len(b))] = rng.choice([0, 1, 127, 128, 255, rng.randrange(256)])
    return bytes(b)


def _zeros(b: bytearray, rng: random.Random) -> bytes:
    start, n = rng.randrange(len(b)), rng.choice([8, 32, 128, 512])
    b[start : start + n] = bytes(len(b[start : start + n]))
    return bytes(b)


def _splice(b: bytearray, rng: random.Random) -> bytes:
    n = rng.choice([4, 8, 16, 64, 512])
    source, start = rng.randrange(len(b)), rng.randrange(len(b))
    block = b[source : source + n]
    b[start : start + len(block)] = block
    return bytes(b)


def _size(b: bytearray, rng: random.Random) -> bytes:
    """An impossible number where one stands that may be a size or an address."""
    start = 2 * rng.randrange(max(1, len(b) // 2 - 4))
    for _ in range(400):
        if 0 < int.from_bytes(b[start : start + 8], "little") < 1 << 24:
            break
        start = 2 * rng.randrange(max(1, len(b) // 2 - 4))
    old = int.from_bytes(b[start : start + 8], "little")
    new = rng.choice([0, 1, 255, 65535, 1 << 31, 1 << 40, (1 << 63) - 1, (1 << 64) - 1, 2 * old, old + 1])
    b[start : start + 8] = (new % (1 << 64)).to_bytes(8, "little")
    return bytes(b)


def _cut(b: bytearray, rng: random.Random) -> bytes:
    return bytes(b[: rng.randrange(len(b))])


def _append(b: bytearray, rng: random.Random) -> bytes:
    return bytes(b) + rng.randbytes(rng.choice([1, 8, 512, 4096]))


def _insert(b: bytearray, rng: random.Random) -> bytes:
    start = rng.randrange(len(b))
    return bytes(b[:start] + rng.randbytes(rng.choice([1, 8, 100])) + b[start:])


def _word(b: bytearray, rng: random.Random) -> bytes:
    """Other letters within a word."""
    places = [k for k in range(len(b) - 4) if b[k : k + 4].isalnum()]
    if places:
        start = rng.choice(places)
        b[start : start + 4] = bytes(rng.choice(b'abcxyz019/.\0\xff\n"<,;\t') for _ in range(4))
    return bytes(b)


def _token(b: bytearray, rng: random.Random) -> bytes:
    """Something that parsers stumble over."""
    start = rng.randrange(len(b) + 1)
    return bytes(b[:start]) + rng.choice(TOKENS).encode() + bytes(b[start:])


def _lines(b: bytearray, rng: random.Random) -> bytes:
    lines = bytes(b).split(b"\n")
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    if rng.random() < 0.5:
        lines[one] = lines[other]
    else:
        del lines[one]
    return b"\n".join(lines)


TOKENS = (
    '"', "'", "\ufeff", "\0", "\r", "\t", ",", ";", "[" * 3000, "{a=" * 1000, "1" * 5000, "1e999", "-inf", "nan", "n/a",
    "0x", "\u2028", "é", "=1+1", "[[x]]", "\\", "#", "../../x", "x" * 100_000, ".a" * 2000,
)  # fmt: skip
BYTES: dict[str, Callable[[bytearray, random.Random], bytes]] = {
    "bit": _flip, "bits": lambda b, rng: _flip(b, rng, 8), "byte": _byte, "zeros": _zeros, "splice": _splice,
    "size": _size, "cut": _cut, "append": _append, "insert": _insert, "word": _word,
}  # fmt: skip
TEXTS: dict[str, Callable[[bytearray, random.Random], bytes]] = {"token": _token, "lines": _lines}


def through_h5py(path: Path, rng: random.Random) -> str:
    """A change such as another program makes: of a value, of an attribute, or of what there is."""
    with h5py.File(path, "r+") as file:
        items: list[Any] = [file]
        file.visititems(lambda _, item: items.append(item))
        item = rng.choice([x for x in items if isinstance(x, h5py.Dataset)])
        owner = rng.choice(items)
        names = [name for name in owner.attrs if name not in ("DIMENSION_LIST", "REFERENCE_LIST", "CLASS", "NAME")]
        how = rng.choice(["value", "stray attribute", "attribute", "delete", "retype"])
        if how == "value" and item.size:
            place = tuple(rng.randrange(n) for n in item.shape)
            item[place] = (
                b"x" if item.dtype.kind in "SO" else rng.choice([0, -1, 1e9, 7.5]) if item.dtype.kind == "f" else 7
            )
        elif how == "attribute" and names:
            name = rng.choice(names)
            if rng.random() < 0.5:
                del owner.attrs[name]
            else:
                owner.attrs[name] = rng.choice(["x", 3, "[1,", np.float64("nan")])
        elif how == "delete":
            del file[item.name]
        elif how == "retype":
            name = item.name
            del file[name]
            file[name] = rng.choice(["text", [1, 2, 3], np.nan, [["a"]]])
        else:
            how = "stray attribute"
            item.attrs[rng.choice(["scale_factor", "add_offset", "_FillValue", "missing_value"])] = 0.001
    return f"h5py: {how}"


# --- in a process with limits -----------------------------------------------------------------------------------------


def serve(folder: Path) -> None:
    """Answer requests on standard input: kind, file and seed of a mutation; one line of JSON each."""
    answers = os.fdopen(os.dup(1), "w")
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    warnings.simplefilter("ignore")
    os.environ["HDF5_PLUGIN_PRELOAD"] = "::"
    resource.setrlimit(resource.RLIMIT_DATA, (5 * MEMORY_MB << 20, resource.RLIM_INFINITY))
    before: dict[Path, Values] = {}
    for line in sys.stdin:
        kind, name, seed = json.loads(line)
        original, rng = folder / kind / name, random.Random(seed)
        if original not in before:
            before[original] = KINDS[kind](original)
        # A folder for each: the process that reads recordings knows a file again by its path.
        damaged = Path(tempfile.mkdtemp(dir=folder)) / name
        how = mutate(original.read_bytes(), damaged, rng)
        used = resource.getrusage(resource.RUSAGE_SELF)
        resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + CPU_S, resource.RLIM_INFINITY))
        answer = {"how": how, **verdict(kind, damaged, before[original])}
        shutil.rmtree(damaged.parent)
        print(json.dumps(answer), file=answers, flush=True)


def verdict(kind: str, damaged: Path, before: Values) -> dict[str, Any]:
    """What reading a damaged file comes to."""
    peak = _peak_mb()
    try:
        values = KINDS[kind](damaged)
    except IbsyncError as error:
        found, text = "refused" if "\n" not in str(error) else "internal", str(error)[:300]
    except BaseException as error:
        found, text = "internal", f"{type(error).__name__}: {str(error)[:300]}"
    else:
        found, text = compared(kind, before, values)
    if _peak_mb() - peak > MEMORY_MB:
        found = "memory"
    return {"verdict": found, "text": text.replace(str(damaged.parent), "")}


def compared(kind: str, before: Values, values: Values) -> tuple[str, str]:
    differing = sorted(name for name in {**before, **values} if before.get(name) != values.get(name))
    if not differing:
        return "right", ""
    text = "; ".join(f"{name}: {before.get(name)} -> {values.get(name)}"[:150] for name in differing[:3])
    if kind in OWN:
        return "wrong", text
    return "samples" if all(name.startswith("samples") for name in differing) else "other", text


def _peak_mb() -> float:
    """Peak memory of this process; that which reads recordings has a limit of its own."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@dataclass
class Worker:
    """A process that tries mutations; started again after a hang or crash."""

    folder: Path
    process: subprocess.Popen[str] | None = None

    def try_out(self, request: tuple[str, str, str]) -> dict[str, Any]:
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, __file__, "--serve", str(self.folder)], text=True, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )  # fmt: skip
        process = self.process
        assert process.stdin is not None
        assert process.stdout is not None
        clock = threading.Timer(CLOCK_S, process.kill)
        clock.start()
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        too_late = clock.finished.is_set()
        clock.cancel()
        if line:
            return dict(json.loads(line))
        process.communicate()
        code, self.process = process.returncode, None
        is_hang = too_late or code == -24  # SIGXCPU
        return {"how": "?", "verdict": "hang" if is_hang else "crash", "text": f"ended with {code}"}

    def close(self) -> None:
        if self.process is not None:
            self.process.communicate()


# --- all of it --------------------------------------------------------------------------------------------------------


def try_all(folder: Path, requests: Iterable[tuple[str, str, str]], n_workers: int) -> list[dict[str, Any]]:
    waiting: queue.SimpleQueue[tuple[str, str, str]] = queue.SimpleQueue()
    for request in requests:
        waiting.put(request)
    answers: list[dict[str, Any]] = []

    def work() -> None:
        worker = Worker(folder)
        while True:
            try:
                request = waiting.get_nowait()
            except queue.Empty:
                break
            kind, name, seed = request
            answers.append({"kind": kind, "file": name, "seed": seed, **worker.try_out(request)})
        worker.close()

    threads = [threading.Thread(target=work) for _ in range(n_workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def table(counts: Mapping[str, Counter[str]]) -> str:
    rows = [("kind", *VERDICTS)]
    rows += [(kind, *(str(counts[kind][verdict]) for verdict in VERDICTS)) for kind in counts]
    rows.append(("all", *(str(sum(counts[kind][verdict] for kind in counts)) for verdict in VERDICTS)))
    return "\n".join("  ".join(cell.rjust(8) for cell in row) for row in rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=2000, help="mutations in all; default: %(default)s")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--workers", type=int, default=2, help="default: %(default)s")
    parser.add_argument("-o", "--output", metavar="FILE", help="counts, and all that is not refused or right, as JSON")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve(arguments.serve)
        return 0
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_files(folder)
        requests = []
        for number in range(arguments.n):
            kind = arguments.kinds[number % len(arguments.kinds)]
            seed = f"{arguments.seed} {kind} {number}"
            files = sorted(path.name for path in (folder / kind).iterdir())
            requests.append((kind, random.Random(seed).choice(files), seed))
        answers = try_all(folder, requests, arguments.workers)
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for answer in sorted(answers, key=lambda answer: list(KINDS).index(answer["kind"])):
        counts[answer["kind"]][answer["verdict"]] += 1
    seconds = time.perf_counter() - started
    print(table(counts))
    told = [answer for answer in answers if answer["verdict"] not in ("refused", "right")]
    for answer in told:
        if answer["verdict"] in GOAL_IS_0:
            print(json.dumps(answer))
    print(f"{len(answers)} mutations in {seconds:.0f} s")
    if arguments.output:
        content = {
            "machine": machine_facts(PACKAGES), "n": arguments.n, "seed": arguments.seed, "seconds": seconds,
            "counts": {kind: dict(count) for kind, count in counts.items()}, "told": told,
        }  # fmt: skip
        Path(arguments.output).write_text(json.dumps(content, indent=1) + "\n")
    return int(any(counts[kind][verdict] for kind in counts for verdict in GOAL_IS_0))


if __name__ == "__main__":
    sys.exit(main())
