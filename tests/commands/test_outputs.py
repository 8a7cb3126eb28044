"""No command destroys a file that is not its own, loses what it computed, or says what is not so when it is stopped."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest

import ibsync as ibs
from ibsync.commands import run as running
from ibsync.commands.cli import main
from ibsync.commands.run import run_plan
from ibsync.errors import InputError
from ibsync.recordings import journal, memory
from ibsync.recordings.journal import Journal
from ibsync.recordings.output_kinds import NULL, PAGE, PICTURE, RESULT, STUDY, json_kind, table_kind
from ibsync.recordings.tables import csv_text
from ibsync.recordings.whole_files import Output
from ibsync.results import result
from ibsync.results.figures.drawing import bytes_of
from ibsync.results.result import save_dataset

SPEC = ibs.WTC(bands={"task": (0.1, 0.4)}, accuracy="fast")
PLAN = """
study = "study.h5"
output = "r.h5"
report = "r.html"
[wtc]
bands = { task = [0.1, 0.4] }
accuracy = "fast"
[synchrony]
signal = ["hbo", "hbr"]
[null]
n = 100
[test]
correct = []
"""
PHASE = PLAN.replace('signal = ["hbo", "hbr"]', 'signal = "hbo"').replace(
    "n = 100", 'kind = "phase"\nn = 128\nseed = 7'
)
MULTIVERSE = """
study = "study.h5"
output = "m.csv"
[multiverse]
bands = { task = [0.1, 0.4] }
signal = ["hbo"]
n = 100
"""
POWER = "[power]\ndyads = [6]\nsessions = [3]\ngrowth = 0.03\ngrowth_sd = 0.01\nnoise_sd = 0.04\nn_sims = 5\nn = 99\n"


@pytest.fixture(scope="module")
def study_bytes(tmp_path_factory):
    path = tmp_path_factory.mktemp("study") / "study.h5"
    ibs.simulate(path, n_dyads=5, n_channels=1, duration=60.0, sfreq=4.0, coupled_band=(0.1, 0.3), seed=3)
    return path.read_bytes()


@pytest.fixture
def folder(tmp_path, monkeypatch, study_bytes):
    """A folder with a study and plans, which is also the working folder; pages are not drawn."""
    (tmp_path / "study.h5").write_bytes(study_bytes)
    plans = {"run": PLAN, "phase": PHASE, "multiverse": MULTIVERSE, "power": POWER}
    for name, text in plans.items():
        (tmp_path / f"{name}.toml").write_text(text, encoding="utf-8")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.chdir(tmp_path)
    page = '<!DOCTYPE html>\n<meta name="generator" content="ibsync">'
    monkeypatch.setattr("ibsync.results.report.html_page", lambda result: page)
    return tmp_path


def files_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def failed_with(capsys, words, *parts):
    """The line on standard error of a command that fails."""
    assert main(words) == 1
    err = capsys.readouterr().err.splitlines()[-1]
    for part in parts:
        assert part in err
    return err


# --- kinds ------------------------------------------------------------------------------------------------------------


def test_each_kind_of_file_is_known_from_all_others(folder):
    from matplotlib.figure import Figure

    study = ibs.Study.open("study.h5")
    real = study.synchrony(SPEC)
    null = study.null(SPEC, n=50)
    power = ibs.study_power(ibs.SynchronyModel(growth=ibs.Growth(0.03, 0.01), noise_sd=0.04), [6], [3], n_sims=5, n=99)
    many = ibs.multiverse(study, bands={"task": (0.1, 0.4)}, signal=["hbo"], n=100)
    for suffix in (".csv", ".json"):
        many.save(f"many{suffix}")
    files = {
        Path("study.h5"): STUDY,
        save_dataset(real, folder / "real.h5"): RESULT,
        ibs.test(real, null, correct=[]).save("result.h5"): RESULT,
        ibs.save_null(null, "null.h5"): NULL,
        ibs.report(ibs.test(real, null, correct=[]), "page.html"): PAGE,
        power.save("power.json"): json_kind("power"),
        Path("many.json"): json_kind("multiverse"),
        Path("many.csv"): table_kind(list(many.table.columns)),
    }
    for suffix in (".png", ".svg", ".pdf"):
        path = Path(f"picture{suffix}")
        path.write_bytes(bytes_of(Figure, suffix))
        files[path] = PICTURE
    kinds = [STUDY, RESULT, NULL, PAGE, PICTURE, json_kind("power"), json_kind("multiverse"), table_kind(["dyad", "p"])]
    kinds.append(files[Path("many.csv")])
    for path, kind in files.items():
        known = [other.name for other in kinds if other.recognises(path)]
        assert known == [kind.name], path


def test_files_that_look_alike_are_not_taken_for_ours(folder):
    import h5py
    from matplotlib.figure import Figure

    with h5py.File("foreign.h5", "w") as file:
        file.attrs.update({"format": "somebody's", "kind": "result"})
    for suffix in (".png", ".svg", ".pdf"):
        Figure().savefig(f"figure{suffix}")
    Path("page.html").write_text("<html><p>ibsync</p></html>", encoding="utf-8")
    Path("other.json").write_text('{"program": "ibsync"}', encoding="utf-8")
    Path("other.csv").write_text("dyad,p,mine\n", encoding="utf-8")
    Path("cut.h5").write_bytes(Path("study.h5").read_bytes()[:3000])
    kinds = [STUDY, RESULT, NULL, PAGE, PICTURE, json_kind("power"), table_kind(["dyad", "p"])]
    for path in folder.glob("*.*"):
        assert [kind.name for kind in kinds if kind.recognises(path)] == [STUDY.name] * (path.name == "study.h5"), path


COMMANDS = {
    "pack": ["pack", "recordings", "-o"],
    "run": ["run", "run.toml", "-o"],
    "run, page": ["run", "phase.toml", "--report"],
    "multiverse": ["multiverse", "multiverse.toml", "-o"],
    "multiverse, picture": ["multiverse", "multiverse.toml", "--picture"],
    "report": ["report", "study.h5", "-o"],
    "calibrate": ["calibrate", "study.h5", "--plan", "phase.toml", "-o"],
    "power": ["power", "power.toml", "-o"],
    "bench": ["bench", "--json"],
}
ENDINGS = {"multiverse": ".csv", "multiverse, picture": ".png", "calibrate": ".svg", "power": ".json", "run": ".h5"}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_foreign_file_and_an_input_are_refused_before_the_work(folder, capsys, monkeypatch, command):
    for name in ("ibsync.commands.run._computed", "ibsync.commands.multiverse.multiverse",
                 "ibsync.commands.calibrate.calibrate", "ibsync.commands.power.study_power",
                 "ibsync.commands.bench._measured", "ibsync.recordings.pack._read_all"):  # fmt: skip
        monkeypatch.setattr(name, lambda *_, **__: pytest.fail("worked for nothing"))
    (folder / "recordings").mkdir()
    mine = folder / f"mine{ENDINGS.get(command, '.docx')}"
    mine.write_bytes(b"years of work")
    if command == "run":
        (folder / "mine_hbo.h5").write_bytes(b"years of work")
    before = {path: (folder / path).read_bytes() for path in files_in(folder)}
    failed_with(capsys, [*COMMANDS[command], mine.name], "mine", "exists and is not a", "--overwrite")
    inputs = [word for word in COMMANDS[command] if word.endswith((".h5", ".toml"))]
    for path in inputs:
        link = folder / f"link{mine.suffix}"
        # A result of two signals is written beside its name.
        (folder / "link_hbo.h5" if command == "run" else link).symlink_to(path)
        failed_with(capsys, [*COMMANDS[command], link.name, "--overwrite"], "link")
        for one in folder.glob("link*"):
            one.unlink()
    assert {path: (folder / path).read_bytes() for path in files_in(folder)} == before


def test_what_is_of_the_kind_is_replaced_and_the_rest_with_a_word(folder, capsys):
    for _ in range(2):
        assert main(["multiverse", "multiverse.toml", "--picture", "m.png"]) == 0
        assert main(["power", "power.toml", "-o", "p.json"]) == 0
    Path("p.png").write_bytes(b"a photograph")
    failed_with(capsys, ["power", "power.toml", "-o", "p.png"], "is not a picture of ibsync's")
    assert main(["power", "power.toml", "-o", "p.png", "--overwrite"]) == 0
    assert PICTURE.recognises(Path("p.png"))


def test_pack_replaces_no_recording_by_any_word(folder, capsys):
    data = folder / "recordings"
    data.mkdir()
    for number in (1, 2):
        table = np.column_stack([np.arange(100) / 4, np.random.default_rng(number).standard_normal(100)])
        np.savetxt(data / f"p{number}.csv", table, delimiter=",", comments="", header="time,S1_D1 hbo")
    (data / "dyads.tsv").write_text("dyad\tperson_a\tperson_b\nd1\tp1\tp2\n", encoding="utf-8")
    (folder / "people.tsv").write_text("participant_id\tage\np1\t30\n", encoding="utf-8")
    words = ["pack", "recordings", "--participants", "people.tsv", "--overwrite", "-o"]
    before = {path: (folder / path).read_bytes() for path in files_in(folder)}
    for name in ("recordings/p1.csv", "recordings/dyads.tsv", "people.tsv"):
        failed_with(capsys, [*words, name], name)
    assert {path: (folder / path).read_bytes() for path in files_in(folder)} == before
    for _ in range(2):
        assert main([*words, "recordings/study.h5"]) == 0


# --- sets and where results are kept ----------------------------------------------------------------------------------


@pytest.fixture
def as_computed(monkeypatch):
    """Let something happen between the end of the computation and the first file."""

    def after(happen):
        computed = running._computed

        def and_then(*arguments, **who):
            results = computed(*arguments, **who)
            happen()
            return results

        monkeypatch.setattr(running, "_computed", and_then)

    return after


def test_results_are_kept_when_their_folder_is_gone(folder, as_computed, capsys):
    (folder / "out").mkdir()
    as_computed(lambda: shutil.rmtree(folder / "out"))
    text = failed_with(capsys, ["run", "run.toml", "-o", "out/r.h5"], "out/r_hbo.h5: the folder", "is kept as")
    kept = sorted(folder.glob("r*.kept-*"))
    assert [path.name.partition(".kept")[0] for path in kept] == ["r", "r_hbo", "r_hbr"]
    assert all(str(path) in text for path in kept)
    assert [ibs.load(path).kind for path in kept if path.suffix == ".h5"] == ["result"] * 2


def test_a_saved_result_is_kept_when_its_folder_is_gone(folder):
    real = ibs.Study.open("study.h5").synchrony(SPEC)
    with pytest.raises(InputError, match=r"is kept as .*r\.kept-"):
        save_dataset(real, folder / "gone" / "r.h5")
    (kept,) = folder.glob("r.kept-*.h5")
    assert ibs.load(kept).kind == "synchrony"


def test_a_set_whose_files_are_of_two_runs_says_so(folder, capsys):
    assert main(["run", "run.toml"]) == 0
    older = Path("r_hbr.h5").read_bytes()
    assert main(["run", "run.toml"]) == 0
    Path("r_hbr.h5").write_bytes(older)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ibs.load("r_hbo.h5")  # of another run of the same plan: the same numbers
    Path("run.toml").write_text(PLAN.replace("0.1,", "0.15,"), encoding="utf-8")
    assert main(["run", "run.toml"]) == 0
    Path("r_hbr.h5").write_bytes(older)
    for name, other in (("r_hbo.h5", "r_hbr.h5"), ("r_hbr.h5", "r_hbo.h5")):
        with pytest.warns(RuntimeWarning, match=f"{name} was written together with {other}, now of another run"):
            result = ibs.load(name)
        assert "now of another run" in result.headline
    capsys.readouterr()
    with pytest.warns(RuntimeWarning):
        assert main(["info", "r_hbo.h5"]) == 0
    assert "now of another run" in capsys.readouterr().out
    Path("r_hbr.h5").unlink()
    assert "another run" not in ibs.load("r_hbo.h5").headline


def test_a_result_looks_for_its_set_in_its_own_folder_only(folder, monkeypatch):
    real = ibs.Study.open("study.h5").synchrony(SPEC)
    words = {"set_id": "x", "set_files": json.dumps(["../outside.h5", "/etc/passwd"])}
    looked = []
    monkeypatch.setattr("ibsync.results.result_set.root_attributes", lambda path, *_: looked.append(path) or {})
    (folder / "in").mkdir()
    for name in ("outside.h5", "in/outside.h5"):
        (folder / name).touch()
    with pytest.warns(RuntimeWarning):
        ibs.load(save_dataset(real.assign_attrs(words), folder / "in" / "r.h5"))
    assert looked == [folder / "in" / "outside.h5"]


# --- journals ---------------------------------------------------------------------------------------------------------


def test_a_memory_that_is_none_or_too_little_is_refused(folder, capsys, monkeypatch):
    with pytest.raises(SystemExit) as error:
        main(["run", "run.toml", "--memory", "8 gigs"])
    assert error.value.code == 2
    assert "'8 gigs' is no amount of memory" in capsys.readouterr().err
    before = files_in(folder)
    failed_with(
        capsys, ["run", "run.toml", "--shard", "1/2", "--memory", "20M"], "memory=20M is too little: re-pairing"
    )
    Path("r.shard-01-of-02.h5").unlink()
    monkeypatch.setattr("ibsync.study.study.Study.null", Mock(side_effect=AssertionError))
    for command in (["run", "run.toml"], ["check", "study.h5", "--plan", "run.toml"]):
        failed_with(capsys, [*command, "--memory", "20M"], "memory=20M is too little: all of the plan needs at least")
    assert files_in(folder) == before


def test_memory_may_be_said_in_the_plan_and_is_heeded_by_all_that_compute(folder, capsys):
    for name, command in {
        "run": ["run", "run.toml"], "check": ["check", "study.h5", "--plan", "run.toml"],
        "multiverse": ["multiverse", "multiverse.toml"],
        "calibrate": ["calibrate", "study.h5", "--plan", "run.toml", "--n-sims", "4"],
    }.items():  # fmt: skip
        plan = Path("multiverse.toml" if name == "multiverse" else "run.toml")
        text = plan.read_text()
        failed_with(capsys, [*command, "--memory", "20M"], "memory=20M is too little", "needs at least")
        plan.write_text('memory = "21M"\n' + text)
        failed_with(capsys, command, "memory=21M is too little", "needs at least")
        plan.write_text('memory = "much"\n' + text)
        failed_with(capsys, command, "memory='much' is no amount of memory")
        plan.write_text(text)


def test_a_run_needs_no_more_than_check_says(folder, capsys):
    """In a process of its own; recordings are without spikes, and nearly all of it is libraries."""
    main(["check", "study.h5", "--plan", "run.toml"])
    said = int(re.search(r"All of the plan takes about (\d+)M of memory", capsys.readouterr().out)[1]) * 10**6
    code = """
import contextlib, io
import ibsync.commands.run
from ibsync.commands.cli import main
from ibsync.commands.machine import peak_rss_bytes
from ibsync.recordings.memory import held_bytes
imported = held_bytes()
with contextlib.redirect_stdout(io.StringIO()):
    main(["run", "run.toml"])
print(peak_rss_bytes() - imported)
"""
    peak = int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout)
    assert said / 1.5 < peak < 1.1 * said


def test_values_that_memory_does_not_hold_lie_beside_the_output_and_change_nothing(folder, monkeypatch):
    (plain, *_) = run_plan("run.toml", memory="64G")
    folders = []
    monkeypatch.setattr(memory.Budget, "require", lambda *_: None)
    monkeypatch.setattr(running, "_need_of_all", lambda *_: None)
    original = memory._in_a_file
    monkeypatch.setattr(memory, "_in_a_file", lambda *words: folders.append(words[2]) or original(*words))
    before = files_in(folder)
    (spilled, *_) = run_plan("run.toml", memory=1)
    assert set(folders) == {Path("r.h5").absolute().parent}
    assert len(folders) == 3  # of two signals, and of both together
    assert files_in(folder) == before
    for name, values in plain.result.dataset.variables.items():
        np.testing.assert_array_equal(values, spilled.result.dataset[name])


def test_a_file_of_the_users_is_no_journal(folder, capsys):
    Path("r.h5.journal").write_text("dear diary")
    failed_with(capsys, ["run", "phase.toml", "--resume"], "r.h5.journal", "is not an ibsync journal")
    assert Path("r.h5.journal").read_text() == "dear diary"


@pytest.mark.parametrize(("name", "value"), [("ibsync_version", "0.0.1"), ("study_sha256", "0" * 64)])
def test_a_journal_of_another_version_or_study_is_neither_taken_nor_removed(folder, capsys, name, value):
    ready = running._ready("phase.toml", running.read_plan("phase.toml"))
    with Journal.open("r.h5.journal", {**ready.identity("auto"), name: value}):
        pass
    before = Path("r.h5.journal").read_bytes()
    failed_with(capsys, ["run", "phase.toml", "--resume"], "r.h5.journal", f"another {name}", "remove the file")
    assert Path("r.h5.journal").read_bytes() == before


def test_a_journal_of_another_processor_is_taken_and_told(folder, monkeypatch):
    study, real = ibs.Study.open("study.h5"), result._blas
    with monkeypatch.context() as patched:
        patched.setattr(result, "_blas", lambda: "another")
        study.null(SPEC, kind="phase", n=128, seed=7, journal="c")
    resumed = study.null(SPEC, kind="phase", n=128, seed=7, journal="c")
    assert resumed.attrs["blas"] == f"another; {real()}"


def test_a_journal_that_cannot_be_written_warns_once_and_the_run_goes_on(folder, monkeypatch):
    def full(stream, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal, "write_all", full)
    with pytest.warns(UserWarning, match=r"No space left on device.*goes on") as warned:
        run_plan("phase.toml", resume=True)
    assert len([warning for warning in warned if warning.category is UserWarning]) == 1
    assert ibs.load("r.h5").kind == "result"
    assert not Path("r.h5.journal").exists()


# --- signals ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def interruptible():
    """Ctrl-C as a terminal has it: a job in the background is started with the signal ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 1), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("n_renamed", [0, 1, 3])
def test_a_signal_ends_in_one_line_that_is_true(folder, capsys, monkeypatch, number, code, n_renamed):
    before = signal.getsignal(number)
    renamed, real = [], Path.replace

    def replaced(path, target):
        if folder in Path(target).absolute().parents:  # tables of the transform lie elsewhere
            if len(renamed) == n_renamed:
                os.kill(os.getpid(), number)
            renamed.append(target)
        return real(path, target)

    monkeypatch.setattr(Path, "replace", replaced)
    if n_renamed == 3:  # everything is written, and is about to be said
        monkeypatch.setattr("ibsync.commands.cli._say", lambda *_: os.kill(os.getpid(), number))
    assert main(["run", "run.toml"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    written = [name for name in ("r_hbo.h5", "r_hbr.h5", "r.html") if Path(name).exists()]
    assert len(written) == n_renamed
    nothing = "no result was written; with --resume what is finished would be kept"
    line = nothing if not written else f"written before: {', '.join(str(folder / n) for n in written)}"
    assert err == f"ibsync: interrupted; {line}\n"
    assert not list(folder.rglob("*.tmp"))
    assert signal.getsignal(number) is before


@pytest.mark.usefixtures("interruptible")
def test_an_import_that_is_interrupted_is_no_internal_error(folder, capsys, monkeypatch):
    def importing(*_, **__):
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        raise ImportError("initialization failed")

    monkeypatch.setattr("ibsync.commands.run.run_plan", importing)
    failed_with(capsys, ["run", "run.toml"], "interrupted; no result was written")


def test_the_library_installs_no_signal_handler():
    code = "import signal; before = [signal.getsignal(n) for n in (2, 15)]\nimport ibsync\n"
    code += "ibsync.simulate('s.h5', n_dyads=2, n_channels=1, duration=30.0); import ibsync.commands.cli\n"
    code += "assert before == [signal.getsignal(n) for n in (2, 15)]"
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", code], check=True, cwd=folder)


# --- studies ----------------------------------------------------------------------------------------------------------

FILLED = """
import resource, sys
import ibsync as ibs
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
try:
    ibs.simulate("study.h5", n_dyads=4, n_channels=3, duration=60.0, seed=1)
except ibs.InputError as error:
    print(error)
"""


@pytest.mark.skipif(os.name == "nt", reason="no such limit there")
@pytest.mark.parametrize("n_bytes", [0, 5_000, 60_000, 120_000])
def test_a_disk_that_fills_while_a_study_is_written_ends_in_one_line(tmp_path, n_bytes):
    done = subprocess.run(
        [sys.executable, "-c", FILLED, str(n_bytes)], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0
    assert done.stdout == "study.h5: could not be written (File too large); free some space or choose another disk\n"
    assert files_in(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="sends a signal to itself")
def test_an_interrupt_while_hdf5_writes_is_raised_when_it_has_finished(tmp_path):
    code = "import os, threading, ibsync as ibs\nfrom ibsync.recordings import hdf5_writing as h\n"
    code += "real, calls = h._Stream.write, []\n"
    code += "def write(self, payload):\n    calls.append(threading.current_thread() is threading.main_thread())\n"
    code += "    if len(calls) == 5: os.kill(os.getpid(), 2)\n    return real(self, payload)\n"
    code += "h._Stream.write = write\nimport signal; signal.signal(2, signal.default_int_handler)\n"
    code += "try: ibs.simulate('s.h5', n_dyads=4, n_channels=3, duration=60.0)\n"
    code += "except KeyboardInterrupt: print('interrupted', any(calls))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted False\n", "")
    assert files_in(tmp_path) == []


def test_writing_stops_at_the_first_recording_that_does_not_fit(tmp_path, monkeypatch):
    from ibsync.recordings import hdf5_writing

    real, made = hdf5_writing._Stream._attempt, []

    def full(stream, *arguments):
        if len(made) > 2 and stream._error is None:
            stream._error = OSError(28, "No space left on device")
        real(stream, *arguments)

    monkeypatch.setattr(hdf5_writing._Stream, "_attempt", full)
    monkeypatch.setattr(hdf5_writing, "check_free_space", lambda *_: None)
    monkeypatch.setattr("ibsync.recordings.study_file_writing.check_free_space", lambda *_: made.append(1))
    with pytest.raises(InputError, match="No space left"):
        ibs.simulate(tmp_path / "s.h5", n_dyads=40, n_channels=8, duration=300.0)
    assert len(made) < 10
    assert files_in(tmp_path) == []


def test_csv_of_other_columns_is_another_kind(folder):
    import pandas as pd

    table = pd.DataFrame({"dyad": ["a"], "p": [0.5]})
    output = Output(folder / "t.csv", table_kind(["dyad", "p"]))
    output.write(csv_text(table).encode())
    output.write(csv_text(table).encode())
    with pytest.raises(InputError, match="same columns"):
        Output(folder / "t.csv", table_kind(["p", "dyad"])).check()
