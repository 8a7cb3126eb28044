"""Programs run under the sanitizers, each of which must be loaded before Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from host_module import HERE, SANITIZE, compiler

LIBRARIES = {"address": "libasan.so", "thread": "libtsan.so"}
OPTIONS = {
    # Python's own leaks are no concern; small arrays come under the sanitizer by malloc.
    "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1:exitcode=66",
    "PYTHONMALLOC": "malloc",
    "OPENBLAS_NUM_THREADS": "1",
}
# The thread sanitizer ends a program whose addresses were laid out too freely by the system.
LAYOUT_FAULT = "unexpected memory mapping"


def run(mode: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the arguments and kernels built for a sanitizer ("none" too); skip where there is none."""
    paths = [str(HERE.parents[1]), str(HERE)]
    environment = {**os.environ, **OPTIONS, "IBSYNC_HOST_SANITIZE": mode, "PYTHONPATH": os.pathsep.join(paths)}
    if mode in LIBRARIES:
        environment["LD_PRELOAD"] = _library(mode)
    done = subprocess.run(
        [*_fixed_layout(mode), sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=300,
    )
    if LAYOUT_FAULT in done.stderr:
        pytest.skip("the thread sanitizer cannot run with this system's layout of addresses")
    return done


def _fixed_layout(mode: str) -> list[str]:
    """Words before a command that keep its addresses from being laid out at random, where they can be had."""
    words = ["setarch", "-R"]
    if mode != "thread" or shutil.which("setarch") is None:
        return []
    return words if subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0 else []


def _library(mode: str) -> str:
    assert mode in SANITIZE
    asked = [str(compiler()), f"-print-file-name={LIBRARIES[mode]}"]
    path = Path(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip())
    if not path.is_absolute():
        pytest.skip(f"g++ has no {LIBRARIES[mode]}")
    return str(path)
