"""The device says what is missing and how to fix it, and the doctor tells it layer by layer."""

from __future__ import annotations

import importlib.util
import json
import sys
import threading

import numpy as np
import pytest
from conftest import host_reason
from fake_cupy import GIB, CompileException, CUDARuntimeError, Machine

from ibsync.commands import doctor
from ibsync.commands.cli import main
from ibsync.coupling.backends.cuda.device import CudaDevice
from ibsync.coupling.backends.cuda.launch import load
from ibsync.errors import DeviceError
from ibsync.nulls.surrogate_signals import surrogates
from ibsync.nulls.surrogates_on_device import shifted_signals

needs_host = pytest.mark.skipif(host_reason() is not None, reason=str(host_reason()))
INSUFFICIENT = CUDARuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient for CUDA runtime")
NO_DEVICE = CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")


def without_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setattr(doctor, "_distributions", lambda: ["numpy"])


def broken_cupy(monkeypatch):
    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name == "cupy":
                raise ImportError("libcudart.so.13:\n cannot open shared object file")

    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    monkeypatch.setattr(doctor, "_distributions", lambda: ["cupy-cuda13x"])


# --------------------------------------------------------------------------------------------------
# the device


def test_without_cupy_the_mend_is_named(monkeypatch):
    without_cupy(monkeypatch)
    with pytest.raises(DeviceError, match=r"CuPy is not installed: pip install 'ibsync\[cuda13\]'"):
        CudaDevice()


def test_a_cupy_that_cannot_be_loaded_is_told_from_one_that_is_absent(monkeypatch):
    broken_cupy(monkeypatch)
    with pytest.raises(DeviceError, match=r"CuPy cannot be loaded \(libcudart.so.13: cannot open"):
        CudaDevice()


@pytest.mark.skipif(importlib.util.find_spec("cupy") is None, reason="CuPy is not installed")
def test_the_real_cupy_without_a_gpu_names_what_is_missing():
    import cupy

    if cupy.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(DeviceError, match=r"no NVIDIA driver|the driver sees no GPU"):
        CudaDevice()


@pytest.mark.parametrize(
    ("machine", "index", "text"),
    [
        (Machine(fails={"driver": INSUFFICIENT}), 0, "no NVIDIA driver, or one too old .* at least version 580"),
        (Machine(fails={"driver": NO_DEVICE}), 0, "the driver sees no GPU; look at nvidia-smi"),
        (
            Machine(fails={"driver": CUDARuntimeError("cudaErrorUnknown: x")}),
            0,
            r"the NVIDIA driver fails \(cudaErr",
        ),
        (Machine(count=0), 0, "the driver sees no GPU"),
        (Machine(count=2), 2, "there is no GPU number 2; this process sees 2, from number 0"),
    ],
)
def test_a_missing_layer_is_named(monkeypatch, machine, index, text):
    machine.install(monkeypatch)
    with pytest.raises(DeviceError, match=text):
        CudaDevice(index)


def test_a_device_says_what_it_is(monkeypatch):
    Machine().install(monkeypatch)
    device = CudaDevice()
    assert (device.name, device.compute_capability, device.largest_shared_bytes) == ("Fake GPU", 86, 101_376)


def test_the_budget_knows_the_pool_and_its_limit(monkeypatch):
    machine = Machine().install(monkeypatch)
    assert CudaDevice().free_bytes() == 4 * GIB
    assert CudaDevice().budget_bytes() == int(0.8 * 4 * GIB)
    machine.pool_limit = GIB
    assert CudaDevice().free_bytes() == GIB // 2


def test_every_thread_keeps_room_for_the_fft_plans_of_a_null(monkeypatch):
    """CuPy has one cache of plans for each thread and device."""
    machine = Machine().install(monkeypatch)
    device = CudaDevice()
    for _ in range(2):
        device.synchronize()
    thread = threading.Thread(target=device.synchronize)
    thread.start()
    thread.join()
    assert [size for _, size in machine.plan_caches] == [64, 64]
    assert len({thread for thread, _ in machine.plan_caches}) == 2


@needs_host
def test_kernels_are_launched_on_their_device_with_the_options_of_the_loader(monkeypatch):
    machine = Machine(count=3).install(monkeypatch)
    device, x, draws = CudaDevice(2), np.arange(20.0).reshape(2, 10), np.array([0, 5], np.uint32)
    shifted = shifted_signals(device, device.from_host(x), device.from_host(draws), seed=1, entity=3)
    np.testing.assert_array_equal(device.to_host(shifted), surrogates("shift", x, draws, seed=1, entity=3))
    ((code, options),) = machine.compiled
    assert options == ("--std=c++17",)
    assert "#include" not in code
    assert set(machine.current) == {2}


def test_a_kernel_that_does_not_compile_is_named_with_the_first_error(monkeypatch):
    log = "kernels/surrogates.cu(7): warning: x\nkernels/surrogates.cu(8): error: y is undefined\n1 error detected"
    Machine(fails={"compile": CompileException(log)}).install(monkeypatch)
    text = r"kernels/surrogates.cu does not compile for Fake GPU: kernels/surrogates.cu\(8\): error: y is undefined$"
    with pytest.raises(DeviceError, match=text):
        load("surrogates", CudaDevice())


def test_a_missing_compiler_is_named_with_its_mend(monkeypatch):
    Machine(fails={"compile": RuntimeError('Failure finding "libnvrtc.so.13"')}).install(monkeypatch)
    with pytest.raises(DeviceError, match=r"was not compiled: Failure finding .*; the compiler NVRTC comes with pip"):
        load("surrogates", CudaDevice())


# --------------------------------------------------------------------------------------------------
# the doctor


def layers(capsys, *arguments) -> tuple[int, dict[str, tuple[str, str]]]:
    """Exit status, and state and text of the layers that concern a GPU."""
    status = main(["doctor", "--json", *arguments])
    told = json.loads(capsys.readouterr().out)
    found = {layer["layer"]: (layer["state"], layer["text"]) for layer in told["layers"]}
    assert told["ok"] == (status == 0)
    return status, {name: seen for name, seen in found.items() if name in ("cupy", "gpu") or name.startswith("gpu ")}


@pytest.fixture(autouse=True)
def _quick_self_test(monkeypatch):
    monkeypatch.setattr(doctor, "_self_test", lambda backend: "well")
    monkeypatch.setattr(doctor, "_distributions", lambda: ["cupy-cuda13x", "numpy"])


def test_a_machine_without_cupy_is_well(monkeypatch, capsys):
    without_cupy(monkeypatch)
    status, found = layers(capsys)
    assert status == 0
    assert list(found) == ["cupy"]
    assert found["cupy"][0] == "absent"
    assert "pip install 'ibsync[cuda13]'" in found["cupy"][1]


def test_an_installed_cupy_that_cannot_be_loaded_is_a_fault(monkeypatch, capsys):
    broken_cupy(monkeypatch)
    status, found = layers(capsys)
    assert status == 1
    assert found["cupy"][0] == "failed"


def test_two_installations_of_cupy_are_a_fault(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "_distributions", lambda: ["cupy-cuda13x", "cupy-cuda12x"])
    status, found = layers(capsys)
    assert status == 1
    assert found == {
        "cupy": (
            "failed",
            "cupy-cuda12x and cupy-cuda13x are both installed and disturb each other; pip uninstall cupy-cuda13x",
        )
    }


@pytest.mark.parametrize("missing", [INSUFFICIENT, NO_DEVICE])
def test_a_machine_without_driver_or_gpu_is_well(monkeypatch, capsys, missing):
    Machine(fails={"driver": missing}).install(monkeypatch)
    status, found = layers(capsys)
    assert status == 0
    assert [seen[0] for seen in found.values()] == ["ok", "absent"]


@needs_host
def test_a_working_gpu_is_well_layer_by_layer(monkeypatch, capsys):
    Machine().install(monkeypatch)
    status, found = layers(capsys)
    assert status == 0
    assert {name: seen[0] for name, seen in found.items()} == dict.fromkeys(
        ["cupy", "gpu", "gpu compiler", "gpu kernel", "gpu fft", "gpu copies"], "ok"
    )
    assert "Fake GPU" in found["gpu"][1]


@needs_host
@pytest.mark.parametrize(
    ("part", "error", "layer", "text"),
    [
        (
            "nvrtc",
            RuntimeError('Failure finding\n "libnvrtc.so.13"'),
            "gpu compiler",
            "NVRTC cannot be loaded (Fail",
        ),
        (
            "compile",
            CompileException("a(1): error: no"),
            "gpu kernel",
            "not compile for Fake GPU: a(1): error: no",
        ),
        (
            "kernel",
            CUDARuntimeError("cudaErrorIllegalAddress"),
            "gpu kernel",
            "a kernel failed (CUDARuntimeError:",
        ),
        ("fft", ImportError('Failure finding "libcufft.so"'), "gpu fft", "an FFT failed (ImportError: Failure"),
        (
            "pinned",
            MemoryError("no"),
            "gpu copies",
            "from pinned memory failed (MemoryError: no); end what else",
        ),
    ],
)
def test_the_layer_that_fails_is_named_with_its_mend(monkeypatch, capsys, part, error, layer, text):
    Machine(fails={part: error}).install(monkeypatch)
    status, found = layers(capsys)
    assert status == 1
    assert found[layer][0] == "failed"
    assert text in found[layer][1]
    assert "\n" not in found[layer][1]
    others = {name for name, seen in found.items() if seen[0] == "failed"} - {layer}
    assert others <= ({"gpu fft"} if layer == "gpu kernel" else set())  # surrogates are turned by a kernel


@needs_host
@pytest.mark.parametrize(
    ("name", "layer", "text"),
    [
        ("shifted_signals", "gpu kernel", "a kernel computes wrong values"),
        ("turned_spectra", "gpu fft", "an FFT is wrong by"),
    ],
)
def test_wrong_values_are_a_fault(monkeypatch, capsys, name, layer, text):
    Machine().install(monkeypatch)
    sound = getattr(__import__("ibsync.commands.gpu_examination", fromlist=[name]), name)
    monkeypatch.setattr(f"ibsync.commands.gpu_examination.{name}", lambda *a, **k: 1.001 * sound(*a, **k))
    status, found = layers(capsys)
    assert status == 1
    assert found[layer][0] == "failed"
    assert text in found[layer][1]
