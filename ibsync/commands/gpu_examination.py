"""Small pieces of work on a device, each against its known answer: a part that fails is named with its fix."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..coupling.backends.cuda.device import NVRTC_MEND, Device, one_line
from ..errors import DeviceError
from ..nulls.surrogate_signals import surrogates
from ..nulls.surrogates_on_device import shifted_signals, turned_spectra

_SHAPE = (3, 1000)
_DRAWS = np.array([1, 2, 3], np.uint32)
_SEED, _ENTITY = 1, 2
_FFT_ERROR = 1e-12

TOOLKIT_MEND = "pip install 'ibsync[cuda13]' brings CUDA's libraries"
MEMORY_MEND = "end what else uses the GPU (nvidia-smi), or raise the limit of locked memory (ulimit -l)"
RUN_MEND = "look at nvidia-smi and at the driver's messages (dmesg); CUPY_CACHE_DIR may need emptying"


def check_kernel(device: Device) -> str:
    """
    Compile kernels and shift a recording with one; the shifts must be the host's, to the last bit.

    Raises
    ------
    DeviceError
        If it does not compile, run or agree.
    """
    signals = _signals()

    def shifted() -> NDArray[np.float64]:
        given, draws = device.from_host(signals), device.from_host(_DRAWS)
        return device.to_host(shifted_signals(device, given, draws, seed=_SEED, entity=_ENTITY))

    found = _tried("a kernel", RUN_MEND, shifted)
    if not np.array_equal(found, surrogates("shift", signals, _DRAWS, seed=_SEED, entity=_ENTITY)):
        raise DeviceError(f"a kernel computes wrong values; {RUN_MEND}")
    return f"compiled for compute capability {device.compute_capability / 10} and right to the last bit"


def check_fft(device: Device) -> str:
    """
    Transform surrogates with turned phases back; they must be the host's, to rounding.

    Raises
    ------
    DeviceError
        If the FFT fails or disagrees.
    """
    signals = _signals()

    def transformed() -> NDArray[np.float64]:
        spectra = device.xp.fft.rfft(device.from_host(signals))
        turned = turned_spectra(device, spectra, _SHAPE[1], device.from_host(_DRAWS), seed=_SEED, entity=_ENTITY)
        return device.to_host(device.xp.fft.irfft(turned, _SHAPE[1]))

    expected = surrogates("phase", signals, _DRAWS, seed=_SEED, entity=_ENTITY)
    error = float(np.abs(_tried("an FFT", TOOLKIT_MEND, transformed) - expected).max() / np.abs(signals).max())
    if not error < _FFT_ERROR:
        raise DeviceError(f"an FFT is wrong by {error:.1e} of the signal; {TOOLKIT_MEND}")
    return f"right to {error:.0e} of the signal"


def check_pinned_memory(device: Device) -> str:
    """
    Copy an array by way of page-locked memory.

    Raises
    ------
    DeviceError
        If there is none or the copy differs.
    """
    values = np.arange(1 << 16, dtype=np.float64).reshape(256, -1)
    found = _tried("a copy from pinned memory", MEMORY_MEND, lambda: device.to_host(device.upload(values)))
    if not np.array_equal(found, values):
        raise DeviceError(f"a copy from pinned memory differs; {MEMORY_MEND}")
    return f"copied; {device.free_bytes() / 2**30:.1f} GiB of the device free"


def check_compiler(device: Device) -> str:
    """
    Version of the compiler NVRTC.

    Raises
    ------
    DeviceError
        If it cannot be loaded.
    """
    try:
        major, minor = device.compiler_version()
    except (ImportError, RuntimeError, OSError) as error:
        raise DeviceError(f"NVRTC cannot be loaded ({one_line(error)}); {NVRTC_MEND}") from error
    return f"NVRTC {major}.{minor}"


def _signals() -> NDArray[np.float64]:
    return np.random.default_rng(0).standard_normal(_SHAPE).cumsum(axis=1)


def _tried(what: str, fix: str, work: Callable[[], NDArray[np.float64]]) -> NDArray[np.float64]:
    """What some work gives; whatever breaks in CUDA's libraries becomes a DeviceError with the fix."""
    try:
        return work()
    except DeviceError:
        raise
    except (ImportError, RuntimeError, MemoryError, OSError) as error:
        raise DeviceError(f"{what} failed ({type(error).__name__}: {one_line(error)}); {fix}") from error
