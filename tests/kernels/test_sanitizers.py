"""All tests that run kernels on the CPU pass under the sanitizers too, in every order of threads."""

from __future__ import annotations

import os

import pytest
from conftest import host_reason
from host_module import HERE
from sanitized import run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(host_reason() is not None, reason=str(host_reason())),
    pytest.mark.skipif("IBSYNC_HOST_SANITIZE" in os.environ, reason="this is a run under a sanitizer"),
]


@pytest.mark.parametrize("mode", ["address", "thread"])
def test_no_sanitizer_complains_of_a_kernel(mode):
    done = run(mode, "-m", "pytest", str(HERE), "-q", "-s", "-x", "-m", "kernel_run", "-p", "no:cacheprovider")
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout
