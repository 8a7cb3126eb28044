"""Which loops are used: the best that the processor runs, never another, and NumPy with a reason where none is."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from compiled_here import hatch_build

import ibsync
from ibsync.compiled import choice as chooser
from ibsync.compiled.choice import NUMPY, VARIABLE, best_build, choice
from ibsync.compiled.made_from import BUILDS, LIBRARY, REASON
from ibsync.errors import DeviceError

PACKAGE = Path(ibsync.__file__).parent


def library(there, runs):
    """A library with some builds, on a processor that runs some."""
    names = {f"count_draws_{build}": None for build in there}
    return SimpleNamespace(**names, processor_runs=lambda build: build.decode() in runs)


@pytest.mark.parametrize(
    ("there", "runs", "best"),
    [
        (["avx512", "avx2"], ["avx2", "avx512"], "avx512"),
        (["avx512", "avx2"], ["avx2"], "avx2"),
        (["avx512", "avx2"], [], None),
        (["avx2"], ["avx2", "avx512"], "avx2"),
        (["neon"], ["neon"], "neon"),
        ([], ["avx2", "avx512"], None),
    ],
)
def test_the_best_build_that_the_processor_runs_is_taken(there, runs, best):
    assert best_build(library(there, runs)) == best


@pytest.mark.parametrize("asked", BUILDS)
def test_no_build_is_taken_that_the_processor_does_not_run_even_if_asked_for(asked):
    others = [build for build in BUILDS if build != asked]
    assert best_build(library(BUILDS, others), asked) is None
    assert best_build(library(BUILDS, [asked]), asked) == asked


def test_zero_takes_numpy(monkeypatch):
    monkeypatch.setenv(VARIABLE, "0")
    assert (choice().build, choice().loops) == (NUMPY, None)


def test_the_variable_takes_a_build(build):
    assert choice().build == build
    assert choice().loops is not None


def test_an_unknown_word_is_refused(monkeypatch):
    monkeypatch.setenv(VARIABLE, "sse2")
    with pytest.raises(DeviceError, match="IBSYNC_COMPILED='sse2' must be 0 or one of avx512, avx2, neon"):
        choice()


def test_what_the_processor_has_is_what_the_system_says(build):
    flags = next((set(line.split()) for line in _cpuinfo() if line.startswith("flags")), set())
    wanted = {"avx2": {"avx2", "fma"}, "avx512": {"avx512f", "avx512vl", "avx512bw", "avx512dq"}}
    if not flags or build not in wanted:
        pytest.skip("the system has no list of flags")
    assert wanted[build] <= flags


def _cpuinfo():
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="ascii", errors="replace").splitlines() if path.is_file() else []


@pytest.fixture
def package(tmp_path):
    """A folder like that of an installed package, with the sources that the library in it is to be made of."""
    (tmp_path / "ibsync" / "compiled").mkdir(parents=True)
    own = PACKAGE / "kernels" if (PACKAGE / "kernels").is_dir() else PACKAGE.parent / "kernels"
    shutil.copytree(own / "cpu", tmp_path / "ibsync" / "kernels" / "cpu")
    return tmp_path / "ibsync"


def test_an_installation_without_a_library_says_why(package):
    assert chooser.found(package) == "this checkout has no compiled loops: python hatch_build.py makes them"
    (package / "compiled" / REASON).write_text("no C compiler\n", encoding="utf-8")
    assert chooser.found(package) == "no C compiler"


def test_a_library_that_cannot_be_opened_is_not_used(package):
    (package / "compiled" / LIBRARY).write_bytes(b"no library")
    assert "cannot be opened" in chooser.found(package)


def test_a_library_of_other_sources_is_not_used(package):
    hatch = hatch_build()
    try:
        hatch.compile_loops(package / "compiled" / LIBRARY)
    except hatch.NotCompiledError as error:
        pytest.skip(str(error))
    assert not isinstance(chooser.found(package), str)
    with (package / "kernels" / "cpu" / "loops.c").open("a") as file:
        file.write("/* changed */\n")
    assert "was compiled from other sources" in chooser.found(package)


def compiled_into(folder, monkeypatch, **words):
    for name, word in words.items():
        monkeypatch.setenv(name, word)
    return hatch_build().put_loops(folder)


@pytest.mark.skipif(sys.platform == "win32", reason="nothing is compiled on Windows")
@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ({"CC": "", "PATH": ""}, "no C compiler .* was found"),
        ({"CC": "/none/cc"}, "the C compiler /none/cc failed: .*No such file"),
        ({"CC": f"{sys.executable} -c 'exit(3)'"}, "failed: exit status 3"),
    ],
)
def test_without_a_working_compiler_the_reason_stands_in_the_place_of_the_library(words, reason, tmp_path, monkeypatch):
    made = compiled_into(tmp_path, monkeypatch, **words)
    assert made == tmp_path / REASON
    assert [path.name for path in tmp_path.iterdir()] == [REASON]
    assert re.search(reason, made.read_text(encoding="utf-8"))


def test_a_compiler_that_knows_no_avx512_leaves_the_other_builds(tmp_path, monkeypatch):
    real = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if real is None or choice().build not in ("avx2", "avx512"):
        pytest.skip("no compiled loops for x86-64 here")
    old = tmp_path / "cc"
    old.write_text(f'#!/bin/sh\ncase "$*" in *avx512*) exit 1;; esac\nexec {real} "$@"\n', encoding="utf-8")
    old.chmod(0o755)
    made = compiled_into(tmp_path / "build", monkeypatch, CC=str(old))
    names = subprocess.run(["grep", "-c", "count_draws_avx512", str(made)], capture_output=True, text=True, check=False)
    assert made.name == LIBRARY
    assert names.stdout.strip() == "0"
    assert best_build(chooser.opened(made, Path(__file__).parents[2] / "kernels" / "cpu")) == "avx2"


def test_the_loops_compile_without_a_warning(tmp_path):
    hatch = hatch_build()
    try:
        hatch.compile_loops(tmp_path / LIBRARY)
    except hatch.NotCompiledError as error:
        pytest.skip(str(error))
    # gcc takes vectors that are filled lane by lane for unfilled ones.
    hatch.compile_loops(tmp_path / LIBRARY, "-Wall", "-Wextra", "-Werror", "-Wno-maybe-uninitialized")
