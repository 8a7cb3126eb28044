"""The loops read and write nothing that is not theirs: their tests pass under the sanitizers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from compiled_here import REPOSITORY, hatch_build
from sanitized import OPTIONS

import ibsync
from ibsync.compiled.choice import VARIABLE
from ibsync.compiled.made_from import LIBRARY

HERE = Path(__file__).parent
PACKAGE = Path(ibsync.__file__).parent
SANITIZE = ("-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc here"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="sanitizers were tried on Linux"),
]


@pytest.fixture
def sanitized(tmp_path, monkeypatch):
    """A copy of the package whose library is built for the sanitizers: what finds it, and runs Python with it."""
    hatch = hatch_build()
    copy = tmp_path / "ibsync"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", LIBRARY))
    shutil.copytree(REPOSITORY / "kernels", copy / "kernels", dirs_exist_ok=True)
    monkeypatch.setenv("CC", "gcc")
    hatch.compile_loops(copy / "compiled" / LIBRARY, *SANITIZE)
    asked = ["gcc", "-print-file-name=libasan.so"]
    runtime = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    if not Path(runtime).is_absolute():
        pytest.skip("gcc has no libasan.so")
    environment = {**os.environ, **OPTIONS, "PYTHONPATH": str(tmp_path), "LD_PRELOAD": runtime, VARIABLE: ""}

    def run(*words):
        return subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
            timeout=900,
        )  # fmt: skip

    return run


def test_no_sanitizer_complains_of_a_loop(sanitized):
    """Of the calls themselves, of coherence as a whole, and of tests by re-pairing."""
    files = [str(HERE / name) for name in ("test_pairs.py", "test_count_draws.py", "test_both_paths.py")]
    done = sanitized("-m", "pytest", *files, "-q", "-s", "-x", "-p", "no:cacheprovider", "-k", "not every_cell")
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout


def test_a_planted_fault_is_found(sanitized):
    """One unit fewer than the sums read: the sanitizers are there, and see arrays of NumPy."""
    fault = (
        "import ctypes, numpy as np; from ibsync.compiled.choice import choice; from ibsync.compiled.loops import *;"
        "loops = choice().loops; u = loops.unit_features(np.ones((64, 2, 40)), np.float32, Judge(0.0));"
        "short = np.empty((1, 40, 2, 16), np.float32);"
        "import ibsync.compiled.loops as module; module._vectors = lambda array: short.ctypes.data;"
        "loops.pair_sums(u, Columns(0, 20, 20, 20), np.ones((1, 64)), 1)"
    )
    done = sanitized("-c", fault)
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr
