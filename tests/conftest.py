"""Fixtures of every test: the backends under test, and a cache folder that is not the user's."""

from __future__ import annotations

import os
from functools import cache

import hypothesis
import pytest
from compiled_here import usable_builds
from threadpoolctl import threadpool_limits

from ibsync.compiled.choice import VARIABLE, choice
from ibsync.coupling.backends.cuda.backend import default_device
from ibsync.errors import DeviceError

BACKENDS = ("numpy", "cuda")

# The same cases in every run.
hypothesis.settings.register_profile("fixed", derandomize=True)
hypothesis.settings.load_profile("fixed")


def pytest_addoption(parser):
    parser.addoption(
        "--backend",
        choices=BACKENDS,
        help="run only the tests that take a backend or a GPU, with this one; no usable GPU is then an error",
    )


def pytest_generate_tests(metafunc):
    if "backend" in metafunc.fixturenames:
        asked = metafunc.config.getoption("--backend")
        metafunc.parametrize("backend", [asked] if asked else BACKENDS, indirect=True)


def pytest_collection_modifyitems(config, items):
    if config.getoption("--backend"):
        others = [item for item in items if not on_a_backend(item.fixturenames, config.getoption("--backend"))]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]


def on_a_backend(fixtures, name):
    """Whether a test runs on a backend by name: it takes one, or a device that may be a GPU and none on the CPU."""
    return "backend" in fixtures or (name == "cuda" and "strict" in fixtures and "device" not in fixtures)


@pytest.fixture
def backend(request):
    """Name of a backend; a GPU that is not there is skipped, and an error where it was asked for."""
    if request.param == "cuda" and (reason := no_gpu()):
        if request.config.getoption("--backend"):
            pytest.fail(reason)
        pytest.skip(reason)
    return request.param


@pytest.fixture(params=["0", *usable_builds()])
def path(request, monkeypatch):
    """Both paths on the CPU: 0 for NumPy, and each build of the compiled loops."""
    monkeypatch.setenv(VARIABLE, request.param)
    return request.param


@pytest.fixture(params=usable_builds() or ["none"])
def build(request, monkeypatch):
    """Name of a build of the compiled loops, which are used; each that this processor runs."""
    if request.param == "none":
        pytest.skip(choice().why)
    monkeypatch.setenv(VARIABLE, request.param)
    return request.param


@cache
def no_gpu() -> str:
    """Why no GPU can be used; empty if one can."""
    try:
        default_device()
    except DeviceError as error:
        return str(error)
    return ""


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
