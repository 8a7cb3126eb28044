"""Kernel tests: what they need of the machine, and the device that runs kernels on the CPU."""

from __future__ import annotations

import sys

import pytest
from host_module import HostDevice, compiler
from strict import StrictDevice

from ibsync.coupling.backends.cuda.backend import default_device

ORDERS = {"forward": 0, "backward": 1, "shuffled": 7}


def host_reason() -> str | None:
    """Why kernels cannot run on this CPU; None if they can."""
    if not sys.platform.startswith("linux"):
        return "the host shim needs Linux"
    return None if compiler() else "the host shim needs g++"


@pytest.fixture(params=ORDERS)
def device(request):
    """A device on the CPU whose threads run in each of three orders."""
    if reason := host_reason():
        pytest.skip(reason)
    return HostDevice(order=ORDERS[request.param])


@pytest.fixture
def strict(request):
    """A device on the CPU whose arrays do not mix with those of the host; with ``--backend cuda`` the GPU itself."""
    if request.config.getoption("--backend") == "cuda":
        return default_device()
    if reason := host_reason():
        pytest.skip(reason)
    return StrictDevice()


@pytest.fixture
def host():
    """A device on the CPU."""
    if reason := host_reason():
        pytest.skip(reason)
    return HostDevice()


def pytest_configure(config):
    config.addinivalue_line("markers", "kernel_run: runs kernels on the CPU; repeated under the sanitizers")


def pytest_collection_modifyitems(items):
    for item in items:
        if "device" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.kernel_run)
