"""Files are whole or as they were, only their own kind is replaced, and nothing that was computed is lost."""

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ibsync.errors import InputError, PlanError
from ibsync.recordings import whole_files
from ibsync.recordings.whole_files import Kind, Output, outputs_differ, same_file, write_together, write_whole

NOTE = Kind("a note", lambda path: path.read_bytes().startswith(b"note"))
OLD, NEW = b"note: old", b"note: new, and longer"


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """An output folder; the working folder and the temporary one, empty."""
    for name in ("out", "work", "temporary"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path


def note(path, **words):
    return Output(Path(path), NOTE, **words)


def files_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def refused(output, *parts, kind=InputError):
    with pytest.raises(kind) as error:
        output.check()
    text = str(error.value)
    assert "\n" not in text
    for part in parts:
        assert part in text


def test_a_file_of_its_own_kind_is_replaced_and_no_other(folders):
    mine, other, empty = (folders / "out" / name for name in ("mine", "other", "empty"))
    mine.write_bytes(OLD)
    other.write_bytes(b"years of work")
    empty.touch()
    for path in (mine, empty):
        note(path).write(NEW)
        assert path.read_bytes() == NEW
    refused(note(other), "other", "exists and is not a note", "another name", "--overwrite", "overwrite=True")
    with pytest.raises(InputError, match="is not a note"):
        note(other).write(NEW)
    assert files_in(folders) == ["out/empty", "out/mine", "out/other"]
    assert other.read_bytes() == b"years of work"
    note(other, overwrite=True).write(NEW)
    assert other.read_bytes() == NEW


def test_an_input_is_never_replaced_by_any_of_its_names(folders, monkeypatch):
    path = folders / "out" / "input"
    path.write_bytes(OLD)
    (folders / "out" / "link").symlink_to(path)
    (folders / "out" / "hard").hardlink_to(path)
    monkeypatch.chdir(folders / "out")
    for name in (path, folders / "work" / ".." / "out" / "input", "link", "hard", "input"):
        refused(note(name, inputs=(path,), overwrite=True), "would replace an input", kind=PlanError)


def test_overwriting_ends_where_an_input_folder_begins(folders):
    for name in ("table", "mine"):
        (folders / "out" / name).write_bytes(OLD if name == "mine" else b"a table")
    inputs = (folders / "out",)
    refused(note(folders / "out" / "table", inputs=inputs, overwrite=True), "lies among the inputs", kind=PlanError)
    note(folders / "out" / "mine", inputs=inputs).check()
    note(folders / "out" / "new", inputs=inputs).check()


def test_names_that_no_file_can_have_are_refused_in_one_line(folders):
    (folders / "work" / "loop").symlink_to("loop")
    (folders / "work" / "there").symlink_to("back")
    (folders / "work" / "back").symlink_to("there")
    for name in ("a\0b", "loop", "there", "x" * 300, "loop/x"):
        refused(note(name), "choose another path")


def test_two_outputs_of_one_path_are_refused(folders):
    (folders / "work" / "link").symlink_to("one")
    for one, other in (("one", "./one"), ("one", "link"), ("one", "ONE"), ("\u00e9", "e\u0301")):
        with pytest.raises(PlanError, match="two outputs"):
            outputs_differ([note(one), note(other)])
    outputs_differ([note("one"), note("other")])
    (folders / "work" / "one").touch()
    assert not same_file("one", "ONE"), "of files that exist the system tells"


STEPS = {
    "opening": (whole_files.Path, "open"),
    "writing": (whole_files, "write_all"),
    "forcing to the disk": (whole_files.os, "fsync"),
    "renaming": (whole_files.Path, "replace"),
}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("call", [1, 2])
def test_a_set_that_cannot_be_written_is_kept(folders, monkeypatch, step, code, call):
    paths = [folders / "out" / name for name in ("a.txt", "b.txt")]
    for path in paths:
        path.write_bytes(OLD)
    owner, name = STEPS[step]
    calls, real = [], getattr(owner, name)

    def failing(*arguments, **words):
        target = arguments[0].name if step in ("opening", "renaming") else ""
        calls.append(target)
        if len(calls) == call:
            raise OSError(code, os.strerror(code))
        return real(*arguments, **words)

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, failing)
        with pytest.raises(InputError) as error:
            write_together([(note(path), NEW) for path in paths])
    text = str(error.value)
    assert "\n" not in text
    assert "could not be written" in text
    # The first may have its name by now; what has none is kept under another.
    in_place = [path for path in paths if path.read_bytes() == NEW]
    assert in_place == (paths[:1] if (step, call) == ("renaming", 2) else [])
    kept = [path for path in folders.rglob("*.txt") if path not in paths]
    assert len(kept) == 2 - len(in_place)
    assert all(path.read_bytes() == NEW and str(path) in text for path in kept)
    assert files_in(folders) == sorted(path.relative_to(folders).as_posix() for path in [*paths, *kept])


def test_a_file_that_has_its_name_is_written_whatever_else_fails(folders, monkeypatch):
    def failing(path, **_):
        raise OSError(errno.EROFS, "Read-only file system")

    output = note(folders / "out" / "a.txt")
    with monkeypatch.context() as patched:
        patched.setattr(whole_files, "_check_folder_takes_files", lambda *_, **__: None)
        patched.setattr(whole_files.Path, "unlink", failing)
        write_together([(output, NEW)])
    assert output.path.read_bytes() == NEW


def test_where_a_result_is_kept(folders):
    output = note(folders / "out" / "a.txt")
    (folders / "out").rmdir()
    with pytest.raises(InputError, match=r"does not exist.*a\.txt is kept as"):
        output.write(NEW)
    (kept,) = files_in(folders)
    assert kept.startswith("work/a.kept-")
    assert (folders / kept).read_bytes() == NEW


def test_it_is_kept_in_the_temporary_folder_if_no_other_takes_it(folders, monkeypatch):
    real = whole_files._temporary_name
    monkeypatch.setattr(
        whole_files, "_temporary_name", lambda target: Path("/no/x") if "temporary" not in str(target) else real(target)
    )
    with pytest.raises(InputError, match="is kept as"):
        write_together([(note("a.txt"), NEW)])
    (kept,) = files_in(folders)
    assert kept.startswith("temporary/a.kept-")
    monkeypatch.setattr(whole_files, "_temporary_name", lambda target: Path("/no/x"))
    with pytest.raises(InputError, match=r"no folder takes a\.txt"):
        write_together([(note("a.txt"), NEW)])


def test_a_foreign_file_that_comes_during_the_work_stays(folders):
    output = note(folders / "out" / "a.txt")
    output.check()
    output.path.write_bytes(b"foreign")
    with pytest.raises(InputError, match=r"is not a note.*is kept as"):
        write_together([(output, NEW)])
    assert output.path.read_bytes() == b"foreign"
    with pytest.raises(InputError, match="is not a note"):
        write_whole(output, NEW)
    assert len(files_in(folders)) == 2


# --- temporary files of killed processes ------------------------------------------------------------------------------

KILLED = """
import os, sys
from pathlib import Path
from ibsync.recordings.whole_files import Kind, Output, write_together
last, seen = int(sys.argv[1]), []
def hook(name, arguments):
    if name in ("open", "os.rename", "os.remove", "os.truncate", "fcntl.lockf") and "a.txt" in str(arguments):
        seen.append(name)
        if len(seen) == last:
            os.kill(os.getpid(), 9)
sys.addaudithook(hook)
note = Kind("a note", lambda path: path.read_bytes().startswith(b"note"))
write_together([(Output(Path("a.txt"), note), b"note: new, and longer"), (Output(Path("b.txt"), note), b"note: b")])
print(len(seen))
"""


def killed_at(step):
    return subprocess.run([sys.executable, "-c", KILLED, str(step)], capture_output=True, text=True, check=False)


@pytest.mark.skipif(os.name == "nt", reason="there a file of a killed process is swept after a minute")
def test_a_kill_at_any_step_leaves_whole_files_and_the_next_write_sweeps(folders):
    n_steps = int(killed_at(0).stdout)
    assert n_steps >= 4
    for step in range(1, n_steps + 1):
        Path("a.txt").write_bytes(OLD)
        assert killed_at(step).returncode == -9
        assert Path("a.txt").read_bytes() in (OLD, NEW)
        note("c.txt").write(NEW)
        assert set(files_in(folders)) <= {"work/a.txt", "work/b.txt", "work/c.txt"}


@pytest.mark.skipif(os.name == "nt", reason="needs locks")
def test_only_abandoned_files_of_this_host_are_swept(folders):
    writer = "import sys\nfrom ibsync.recordings.whole_files import *\n"
    writer += "with written_whole(Output(Path('d.txt'), Kind('', bool))) as stream:\n"
    writer += "    stream.write(b'x')\n    print('ready', flush=True)\n    input()"
    living = subprocess.Popen([sys.executable, "-c", writer], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert living.stdout.readline() == "ready\n"
    host = whole_files._HOST
    foreign = [f".e.ibsync-other{host}-1-00000000.tmp", ".f.tmp", ".g.ibsync-x.tmp", f".h.ibsync-{host}-1-0000000z.tmp"]
    abandoned = f".e.ibsync-{host}-1-00000000.tmp"
    for name in (*foreign, abandoned):
        Path(name).write_bytes(b"x")
    note("c.txt").write(NEW)
    (mine,) = (name for name in files_in(folders / "work") if name.startswith(".d"))
    assert files_in(folders / "work") == sorted([*foreign, mine, "c.txt"])
    living.communicate("\n", timeout=60)
    assert living.returncode == 0
    assert Path("d.txt").read_bytes() == b"x"


def test_a_file_system_without_locks_is_written_and_never_swept(folders, monkeypatch):
    def no_locks(stream):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(whole_files, "_lock", no_locks)
    Path(f".e.ibsync-{whole_files._HOST}-1-00000000.tmp").touch()
    note("c.txt").write(NEW)
    assert Path("c.txt").read_bytes() == NEW
    assert len(files_in(folders)) == 2


def test_a_temporary_file_that_is_swept_before_it_is_locked_is_made_anew(folders, monkeypatch):
    real, calls = whole_files._lock, []

    def swept(stream):
        calls.append(stream.name)
        if len(calls) == 1:
            Path(stream.name).unlink()
        real(stream)

    monkeypatch.setattr(whole_files, "_lock", swept)
    note("c.txt").write(NEW)
    assert Path("c.txt").read_bytes() == NEW
    assert len(calls) == 2
