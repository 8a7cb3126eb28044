"""CuPy as far as ibsync uses it, over NumPy arrays and kernels on the CPU; each part can be made to fail."""

from __future__ import annotations

import sys
import threading
from contextlib import nullcontext
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from host_module import HostDevice, HostModule

GIB = 2**30


class CUDARuntimeError(RuntimeError):
    """As CuPy's."""


class CompileException(Exception):  # noqa: N818
    """As CuPy's, which is no RuntimeError."""


@dataclass
class Machine:
    """A machine with GPUs that work, unless a part is said to fail."""

    count: int = 1
    pool_limit: int = 0
    fails: dict[str, Exception] = field(default_factory=dict)
    compiled: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    current: list[object] = field(default_factory=list)
    plan_caches: list[tuple[int, int]] = field(default_factory=list)

    def must(self, part: str) -> None:
        """Raise what the part is said to raise."""
        if part in self.fails:
            raise self.fails[part]

    def modules(self) -> dict[str, ModuleType]:
        """What `import cupy` and `import cupyx` find."""
        cupyx = ModuleType("cupyx")
        cupyx.empty_pinned = self._empty_pinned
        return {"cupy": _Cupy(self), "cupyx": cupyx}

    def install(self, monkeypatch) -> Machine:
        """Put the fakes where imports find them."""
        for name, module in self.modules().items():
            monkeypatch.setitem(sys.modules, name, module)
        return self

    def _empty_pinned(self, shape, dtype):
        self.must("pinned")
        return np.empty(shape, dtype)


class Array(np.ndarray):
    """A NumPy array with the `set` of CuPy's; any kind of NumPy array passes for one of the device."""

    def set(self, source, stream=None):
        assert stream is not None
        self[...] = source


class _Cupy(ModuleType):
    __version__ = "14.0.0"
    __file__ = "/fake/cupy/__init__.py"
    ndarray = np.ndarray

    def __init__(self, machine: Machine):
        super().__init__("cupy")
        self._machine = machine
        cache = SimpleNamespace(set_size=lambda n: machine.plan_caches.append((threading.get_ident(), n)))
        config = SimpleNamespace(get_plan_cache=lambda: cache)
        self.fft = SimpleNamespace(rfft=self._rfft, irfft=np.fft.irfft, config=config)
        self.cuda = SimpleNamespace(
            runtime=SimpleNamespace(
                CUDARuntimeError=CUDARuntimeError, getDeviceCount=self._count, memGetInfo=lambda: (3 * GIB, 8 * GIB),
                getDeviceProperties=self._properties, deviceSynchronize=lambda: machine.must("synchronize"),
            ),
            nvrtc=SimpleNamespace(getVersion=self._nvrtc_version),
            compiler=SimpleNamespace(CompileException=CompileException),
            Device=self._device, Stream=_Stream, Event=_Event,
            get_current_stream=lambda: _Stream(non_blocking=True),
        )  # fmt: skip

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def _count(self) -> int:
        self._machine.must("driver")
        return self._machine.count

    def _nvrtc_version(self) -> tuple[int, int]:
        self._machine.must("nvrtc")
        return 13, 2

    def _properties(self, index: int) -> dict[str, Any]:
        return {
            "name": b"Fake GPU",
            "major": 8,
            "minor": 6,
            "sharedMemPerBlockOptin": 101_376,
            "totalGlobalMem": 8 * GIB,
        }

    def _device(self, index: int):
        self._machine.current.append(index)
        return nullcontext()

    def _rfft(self, x):
        self._machine.must("fft")
        return np.fft.rfft(x)

    def empty(self, shape, dtype=float):
        return np.empty(shape, dtype).view(Array)

    def asarray(self, x, *, blocking: bool = False):
        assert blocking, "without it a pinned source is copied later"
        return np.array(x)

    def asnumpy(self, x):
        return np.array(x)

    def get_default_memory_pool(self):
        limit = self._machine.pool_limit
        return SimpleNamespace(free_bytes=lambda: GIB, used_bytes=lambda: GIB // 2, get_limit=lambda: limit)

    def RawModule(self, *, code: str, options: tuple[str, ...], backend: str):  # noqa: N802
        assert backend == "nvrtc"
        return _RawModule(self._machine, code, options)


class _RawModule:
    def __init__(self, machine: Machine, code: str, options: tuple[str, ...]):
        self._machine, self._code, self._options = machine, code, options

    def compile(self) -> None:
        self._machine.must("compile")
        self._machine.compiled.append((self._code, self._options))

    def get_function(self, name: str):
        kernel = HostModule(self._code, "fake", self._options, device=HostDevice()).get_function(name)
        if "kernel" in self._machine.fails:
            return _Failing(self._machine)
        return kernel


class _Failing:
    """A kernel whose launch fails."""

    max_threads_per_block = 1024

    def __init__(self, machine: Machine):
        self._machine = machine

    def __call__(self, grid, block, args, *, shared_mem: int = 0) -> None:
        self._machine.must("kernel")


class _Stream:
    def __init__(self, *, non_blocking: bool):
        assert non_blocking

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def synchronize(self) -> None:
        pass

    def wait_event(self, event) -> None:
        pass


class _Event:
    def __init__(self, *, disable_timing: bool):
        assert disable_timing

    def record(self, stream) -> None:
        pass

    def synchronize(self) -> None:
        pass
