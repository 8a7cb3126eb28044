"""The fuzzer tells right from wrong; how much is refused is not judged here."""

from __future__ import annotations

import random

import pytest
from benchmark_files import load

pytestmark = pytest.mark.slow

fuzz = load("fuzz")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    fuzz.make_files(folder)
    return folder


def test_undamaged_files_are_read_to_the_same_values(folder):
    for kind, read in fuzz.KINDS.items():
        for path in (folder / kind).iterdir():
            assert fuzz.verdict(kind, path, read(path))["verdict"] == "right", path


def test_a_mutation_is_a_function_of_its_seed(folder, tmp_path):
    original = folder / "study" / "plain.h5"
    for seed in range(60):
        how = [fuzz.mutate(original.read_bytes(), tmp_path / f"{k}.h5", random.Random(seed)) for k in range(2)]
        assert how[0] == how[1]
        if not how[0].startswith("h5py"):
            assert (tmp_path / "0.h5").read_bytes() == (tmp_path / "1.h5").read_bytes()


@pytest.mark.parametrize(
    ("kind", "values", "verdict"),
    [
        ("study", {"a": "1", "samples": "2"}, "right"), ("study", {"a": "1", "samples": "3"}, "wrong"),
        ("snirf", {"a": "1", "samples": "3"}, "samples"), ("snirf", {"a": "2", "samples": "2"}, "other"),
        ("snirf", {"samples": "2"}, "other"),
    ],
)  # fmt: skip
def test_values_that_differ_are_told(kind, values, verdict):
    assert fuzz.compared(kind, {"a": "1", "samples": "2"}, values)[0] == verdict


def test_a_hang_a_crash_and_an_error_are_counted(folder, monkeypatch, tmp_path):
    program = tmp_path / "hangs.py"
    program.write_text(
        "import os, sys, fuzz\n"
        "def study(path):\n"
        "    study.calls += 1\n"
        "    if study.calls == 1: return {}\n"
        "    how = os.environ['HOW']\n"
        "    if how == 'hang':\n"
        "        while True: pass\n"
        "    if how == 'crash': os.abort()\n"
        "    raise KeyError('x')\n"
        "study.calls = 0\n"
        "fuzz.CPU_S = 1\n"
        "fuzz.KINDS['study'] = study\n"
        "fuzz.serve(fuzz.Path(sys.argv[2]))\n"
    )
    monkeypatch.setattr(fuzz, "__file__", str(program))
    monkeypatch.setenv("PYTHONPATH", str(fuzz.checkout.REPOSITORY / "benchmarks"))
    for how, verdict in (("hang", "hang"), ("crash", "crash"), ("error", "internal")):
        monkeypatch.setenv("HOW", how)
        (answer,) = fuzz.try_all(folder, [("study", "plain.h5", "0")], 1)
        assert answer["verdict"] == verdict
