"""Fixtures of every test: the backends under test, and a cache folder that is not the user's."""

from __future__ import annotations

import os

import pytest
from threadpoolctl import threadpool_limits

BACKENDS = ("numpy",)


@pytest.fixture(params=BACKENDS)
def backend(request):
    """Name of a backend; one that this machine lacks is skipped."""
    if request.param == "cuda":
        cupy = pytest.importorskip("cupy")
        if not cupy.cuda.is_available():
            pytest.skip("no usable GPU")
    return request.param


@pytest.fixture(scope="session", autouse=True)
def one_blas_thread():
    """Idle BLAS threads spin, which on a busy machine makes small matrices many times slower."""
    with threadpool_limits(1, user_api="blas"):
        yield


@pytest.fixture(scope="session", autouse=True)
def cache_of_this_session(tmp_path_factory):
    """Tables go to a folder of this session's own."""
    before = os.environ.get("IBSYNC_CACHE_DIR")
    os.environ["IBSYNC_CACHE_DIR"] = str(tmp_path_factory.mktemp("tables"))
    yield
    if before is None:
        del os.environ["IBSYNC_CACHE_DIR"]
    else:
        os.environ["IBSYNC_CACHE_DIR"] = before
