"""Recordings are read in a process of their own: what hangs, crashes or fills the memory there is one line here."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from snirf_writer import Person, write_snirf

from ibsync.errors import InputError
from ibsync.recordings.find_files import describe_file
from ibsync.recordings.formats import reader_process
from ibsync.recordings.formats.reader_process import Limits, ReaderProcess
from ibsync.recordings.formats.source_recording import SignalChoice
from ibsync.recordings.source import Source

unix_only = pytest.mark.skipif(reader_process.resource is None, reason="the system has no such limits")
TABLE = "time,S1_D1 hbo\n" + "\n".join(f"{k / 5},{np.sin(k)}" for k in range(100))


@pytest.fixture
def csv(tmp_path) -> Path:
    path = tmp_path / "ann.csv"
    path.write_text(TABLE)
    return path


@pytest.fixture
def silent(tmp_path) -> Path:
    """A file that never answers."""
    path = tmp_path / "bob.csv"
    os.mkfifo(path)
    return path


def refusal(path: Path, limits: Limits) -> str:
    with ReaderProcess(SignalChoice(), limits) as reader, pytest.raises(InputError) as caught:
        reader.describe(Source(path, path.stem))
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text


def test_signals_come_in_order_and_exact(tmp_path, csv):
    people = Person(tags={"SubjectID": "a"}), Person(tags={"SubjectID": "b"}, seed=1)
    write_snirf(tmp_path / "two.snirf", *people)
    with ReaderProcess(SignalChoice()) as reader:
        described = [*reader.describe(describe_file(csv)), *reader.describe(describe_file(tmp_path / "two.snirf"))]
        signals = list(reader.signals_of(reversed(described)))
    assert [recording.participant for recording in described] == ["ann", "a", "b"]
    assert_allclose(signals[2]["hbo"][0], np.sin(np.arange(100)), rtol=1e-13)  # pandas 2 rounds the last bit
    columns = [k for k, column in enumerate(people[0].columns) if column[0] == "hbo"]
    assert_array_equal(signals[1]["hbo"], people[0].values.T[columns])
    assert_array_equal(signals[0]["hbo"], people[1].values.T[columns])


@unix_only
def test_damage_that_makes_hdf5_loop(tmp_path):
    """Strings of variable length in a damaged heap: HDF5 searches for ever and heeds no interrupt."""
    path = tmp_path / "ann.snirf"
    write_snirf(path, Person())
    content = bytearray(path.read_bytes())
    heap = content.index(b"GCOL") + 16
    content[heap : heap + 128] = bytes(128)
    path.write_bytes(content)
    assert "could not be read in 3 s of computing" in refusal(path, Limits(cpu_s=2.5))


@unix_only
def test_a_file_that_never_answers(silent):
    assert "could not be read within 2 s" in refusal(silent, Limits(clock_s=2))


@unix_only
def test_content_that_would_fill_the_memory(tmp_path):
    path = tmp_path / "ann.snirf"
    write_snirf(path, Person())
    with h5py.File(path, "r+") as file:
        data = file["nirs/data1"]
        n_columns = data["dataTimeSeries"].shape[1]
        del data["dataTimeSeries"], data["time"]
        data["time"] = [0, 1 / 8]
        data.create_dataset("dataTimeSeries", (12_000_000, n_columns), "f8", chunks=(10_000, n_columns), compression=9)
        data["dataTimeSeries"][::10_000] = 1.0
    with ReaderProcess(SignalChoice(), Limits(memory_bytes=100 * 2**20)) as reader:
        recordings = reader.describe(Source(path, path.stem))
        with pytest.raises(InputError, match=r"MiB of memory, far more than its size|Unable to allocate"):
            list(reader.signals_of(recordings))


@unix_only
def test_a_crash_is_one_line_and_the_next_file_is_read(csv, silent):
    with ReaderProcess(SignalChoice()) as reader:
        described = reader.describe(describe_file(csv))
        threading.Timer(0.5, reader._process.kill).start()
        with pytest.raises(InputError, match=r"bob\.csv: reading it ended the program that reads it \(Killed\)"):
            reader.describe(Source(silent, "bob"))
        assert next(reader.signals_of(described))["hbo"].shape == (1, 100)


@unix_only
def test_a_crash_while_two_recordings_are_asked_for(csv):
    """The answer to the second request is never taken for that to the first."""
    with ReaderProcess(SignalChoice(), Limits(clock_s=5)) as reader:
        (recording,) = reader.describe(describe_file(csv))

        def recordings():
            yield recording
            reader._process.kill()
            reader._process.wait()
            yield recording

        with pytest.raises(InputError, match=r"ann\.csv: reading it ended the program that reads it \(Killed\)"):
            list(reader.signals_of(recordings()))
        assert len(list(reader.signals_of([recording, recording]))) == 2


def test_nothing_is_left_running(csv):
    with ReaderProcess(SignalChoice()) as reader:
        reader.describe(describe_file(csv))
        process = reader._process
    assert process.returncode is not None


@unix_only
def test_the_process_ends_with_the_one_that_asks(csv):
    script = (
        "import os\nfrom ibsync.recordings.formats.reader_process import ReaderProcess\n"
        "from ibsync.recordings.formats.source_recording import SignalChoice\n"
        "print(ReaderProcess(SignalChoice())._process.pid, flush=True)\nos.kill(os.getpid(), 9)\n"
    )
    pid = int(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False).stdout)
    for _ in range(100):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{pid}/stat").exists() and " Z " in Path(f"/proc/{pid}/stat").read_text():
            return
        time.sleep(0.1)
    pytest.fail("the reading process outlived the one that asks")


def test_libraries_lie_where_the_program_that_asks_found_them(tmp_path, csv):
    """The Python below a virtual environment, whose script names the places itself."""
    csv.with_name("bob.csv").write_text(TABLE)
    csv.with_name("csv.py").write_text("raise SystemExit('the wrong csv')")
    csv.with_name("dyads.tsv").write_text("dyad\tperson_a\tperson_b\nd\tann\tbob\n")
    script = (
        f"import sys\nsys.path += {[path for path in sys.path if path]!r} + [{str(tmp_path)!r}]\n"
        f"import ibsync as ibs\nprint(ibs.pack({str(tmp_path)!r}, 'study.h5').dyads)\n"
    )
    environment = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    (tmp_path / "run").mkdir()
    program = [getattr(sys, "_base_executable", sys.executable), "-P", "-c", script]
    told = subprocess.run(program, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path / "run")
    assert told.stdout == "1\n", told.stderr


def test_a_python_that_cannot_be_started_is_one_line(csv, monkeypatch):
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(InputError, match="read in a process of their own, and 'Python' cannot be started"):
        ReaderProcess(SignalChoice())


@pytest.mark.parametrize("way", ["file", "standard input"])
def test_scripts_need_no_guard(tmp_path, csv, way):
    """A script of two lines packs once, wherever it is started, also beside files named like modules."""
    csv.with_name("bob.csv").write_text(TABLE)
    csv.with_name("numpy.py").write_text("raise SystemExit('the wrong numpy')")
    csv.with_name("dyads.tsv").write_text("dyad\tperson_a\tperson_b\nd\tann\tbob\n")
    script = f"import ibsync as ibs\nprint(ibs.pack({str(tmp_path)!r}, 'study.h5').dyads)\n"
    path = tmp_path / "elsewhere" / "script.py"
    path.parent.mkdir()
    path.write_text(script)
    words = [str(path)] if way == "file" else ["-P", "-"]
    done = subprocess.run(
        [sys.executable, *words], input=script, capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert (done.returncode, done.stdout.split()) == (0, ["1"]), done.stderr
