"""The one place that knows CuPy: a GPU with its arrays, compiler, memory and streams."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from textwrap import shorten
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ....errors import DeviceError
from .upload_ring import Ring

MEMORY_SHARE = 0.8
"""Part of the free memory that a budget takes; the rest is for FFT work areas and fragments."""
N_FFT_PLANS = 64
"""Kept in each thread. One phase null goes round 18 of them, and CuPy keeps 16: each would be made anew every time."""


class Device(Protocol):
    """
    What code around kernels may ask of a device; tests put one in its place that runs kernels on the CPU.

    Attributes
    ----------
    name : str
    compute_capability : int
        Major and minor version in one number: 90 of an H100.
    memory_bytes : int
        Memory in all.
    xp : module
        NumPy's functions on arrays of the device.
    largest_shared_bytes : int
        Shared memory that a block can have.
    loaded : dict
        Compiled modules, kept by `module.load`.
    """

    name: str
    compute_capability: int
    memory_bytes: int
    xp: Any
    largest_shared_bytes: int
    loaded: dict[tuple[Any, ...], Any]

    def compiler_version(self) -> tuple[int, int]:
        """Major and minor version of the compiler."""

    def compile(self, source: str, name: str, options: tuple[str, ...]) -> Any:
        """Compile a source; the result has ``get_function(kernel)``."""

    def from_host(self, x: NDArray[Any]) -> Any:
        """C-contiguous copy of a host array on the device."""

    def upload(self, x: NDArray[Any]) -> Any:
        """Copy of real rows on the device, as float64; runs beside the device's work where it can."""

    def to_host(self, x: Any) -> NDArray[Any]:
        """Copy of a device array on the host, when all work before it is done."""

    def free_bytes(self) -> int:
        """Memory that can still be had."""

    def budget_bytes(self) -> int:
        """Memory that a batch may plan with."""

    def release(self) -> None:
        """Give memory back that is held for later use."""

    def active(self, stream: Any = None) -> AbstractContextManager[None]:
        """Context in which work goes to this device, and to a stream of it."""

    def synchronize(self) -> None:
        """Wait until all work of the device is done; errors of earlier launches are raised here."""


@dataclass
class CudaDevice:
    """
    A GPU through CuPy.

    Parameters
    ----------
    index : int
        Number of the device among those that the process sees.

    Raises
    ------
    DeviceError
        If CuPy, the driver or the GPU is missing; the text says which, and the fix.
    """

    index: int = 0
    xp: Any = field(init=False, repr=False)
    name: str = field(init=False)
    compute_capability: int = field(init=False)
    memory_bytes: int = field(init=False)
    largest_shared_bytes: int = field(init=False)
    loaded: dict[tuple[Any, ...], Any] = field(init=False, repr=False, default_factory=dict)
    _ring: Ring | None = field(init=False, repr=False, default=None)
    _thread: threading.local = field(init=False, repr=False, default_factory=threading.local)

    def __post_init__(self) -> None:
        self.xp = import_cupy()
        count = device_count(self.xp)
        if not 0 <= self.index < count:
            raise DeviceError(f"there is no GPU number {self.index}; this process sees {count}, from number 0")
        facts = self.xp.cuda.runtime.getDeviceProperties(self.index)
        self.name = facts["name"].decode()
        self.compute_capability = 10 * facts["major"] + facts["minor"]
        self.memory_bytes = facts["totalGlobalMem"]
        self.largest_shared_bytes = facts["sharedMemPerBlockOptin"]

    def compiler_version(self) -> tuple[int, int]:
        """Version of NVRTC; a RuntimeError of CuPy's if it cannot be loaded."""
        major, minor = self.xp.cuda.nvrtc.getVersion()
        return major, minor

    def compile(self, source: str, name: str, options: tuple[str, ...]) -> Any:
        """CuPy's module of a source; CuPy keeps compiled ones on disk."""
        module = self.xp.RawModule(code=source, options=options, backend="nvrtc")
        try:
            with self.active():
                module.compile()
        except self.xp.cuda.compiler.CompileException as error:
            first = next((line for line in str(error).splitlines() if "error" in line), str(error))
            raise DeviceError(f"kernels/{name}.cu does not compile for {self.name}: {first.strip()}") from error
        except (RuntimeError, OSError) as error:
            raise DeviceError(f"kernels/{name}.cu was not compiled: {one_line(error)}; {NVRTC_MEND}") from error
        return module

    def from_host(self, x: NDArray[Any]) -> Any:
        """C-contiguous copy on the device; the host array may be changed as soon as this returns."""
        with self.active():
            return self.xp.asarray(np.ascontiguousarray(x), blocking=True)

    def upload(self, x: NDArray[Any]) -> Any:
        """Copy of real rows on the device, as float64, by way of page-locked memory and a stream of its own."""
        with self.active():
            if self._ring is None:
                self._ring = Ring(self.xp)
            return self._ring.upload(x)

    def to_host(self, x: Any) -> NDArray[Any]:
        """Copy on the host, after the work of the current stream."""
        with self.active():
            copied: NDArray[Any] = self.xp.asnumpy(x)
        return copied

    def free_bytes(self) -> int:
        """Memory that the driver has free, and that CuPy's pool holds unused."""
        with self.active():
            free: int = self.xp.cuda.runtime.memGetInfo()[0]
            pool = self.xp.get_default_memory_pool()
            available: int = free + pool.free_bytes()
            limit: int = pool.get_limit()
            used: int = pool.used_bytes()
        return min(available, limit - used) if limit else available

    def budget_bytes(self) -> int:
        """`MEMORY_SHARE` of the free memory."""
        return int(self.free_bytes() * MEMORY_SHARE)

    def release(self) -> None:
        """Give back what CuPy's pool and its FFT plans hold."""
        self._ring = None
        with self.active():
            self.synchronize()
            self.xp.fft.config.get_plan_cache().clear()
            self.xp.get_default_memory_pool().free_all_blocks()

    @contextmanager
    def active(self, stream: Any = None) -> Iterator[None]:
        """Make this device the current one, and the stream too if one is given."""
        with self.xp.cuda.Device(self.index):
            if not hasattr(self._thread, "n_fft_plans"):
                self._thread.n_fft_plans = N_FFT_PLANS
                self.xp.fft.config.get_plan_cache().set_size(N_FFT_PLANS)
            if stream is None:
                yield
            else:
                with stream:
                    yield

    def synchronize(self) -> None:
        """Wait for all work of the device."""
        with self.active():
            self.xp.cuda.runtime.deviceSynchronize()


def on_a_device(x: object) -> bool:
    """Whether an array lies on a GPU (CuPy's, PyTorch's, JAX's, Numba's)."""
    return hasattr(x, "__cuda_array_interface__")


CUPY_MEND = "pip install 'ibsync[cuda13]', or 'ibsync[cuda12]' for a driver older than 580"
NVRTC_MEND = "the compiler NVRTC comes with pip install 'ibsync[cuda13]'"
DRIVER_MEND = "install NVIDIA's driver of at least version 580, or 'ibsync[cuda12]' with one of at least 525"


def import_cupy() -> Any:
    """
    Return the module cupy.

    Raises
    ------
    DeviceError
        If it is not installed or cannot be loaded.
    """
    try:
        return import_module("cupy")
    except ModuleNotFoundError as error:
        if error.name != "cupy":
            raise DeviceError(f"CuPy lacks {error.name}: {CUPY_MEND}") from error
        raise DeviceError(f"CuPy is not installed: {CUPY_MEND}") from error
    except ImportError as error:
        raise DeviceError(f"CuPy cannot be loaded ({one_line(error)}): {CUPY_MEND}") from error


def device_count(cupy: Any) -> int:
    """
    Return the number of GPUs that the process sees, at least 1.

    Raises
    ------
    DeviceError
        If the driver is missing or too old, or there is no GPU.
    """
    runtime = cupy.cuda.runtime
    try:
        count: int = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        if "cudaErrorNoDevice" in str(error):
            count = 0
        elif "InsufficientDriver" in str(error):
            raise DeviceError(f"no NVIDIA driver, or one too old for this CuPy: {DRIVER_MEND}") from error
        else:
            raise DeviceError(f"the NVIDIA driver fails ({one_line(error)}); look at nvidia-smi") from error
    if count < 1:
        raise DeviceError("the driver sees no GPU; look at nvidia-smi and CUDA_VISIBLE_DEVICES")
    return count


def one_line(error: BaseException) -> str:
    """Text of an error without line breaks, its beginning if it is long."""
    return shorten(str(error), 240, placeholder=" ...")
