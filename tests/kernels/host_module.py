"""Kernels compiled for the CPU, and a device that runs them.

`HostDevice` stands in the place of `CudaDevice` (ibsync/coupling/backends/cuda/device.py): its arrays are NumPy's, and
the kernels are the same sources, one fiber per CUDA thread. Arguments are checked against the C++ signature, which
CuPy does not do.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ibsync.coupling.backends.cuda.signatures import declarations

HERE = Path(__file__).parent
CACHE = Path(tempfile.gettempdir()) / f"ibsync-host-kernels-{os.getuid() if hasattr(os, 'getuid') else 'user'}"
SHIM = ("cuda_host.h", "mma_host.h", "cuda_host.cpp")
SANITIZE = {
    "none": (),
    "address": ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fsanitize-sections=cuda_shared"),
    "thread": ("-fsanitize=thread",),
}
WARNINGS = ("-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas")
# Products and sums are rounded one by one, and a symbol of one library is never taken for that of another.
SEMANTICS = ("-std=c++20", "-ffp-contract=off", "-fno-gnu-unique", "-fvisibility=hidden", "-fPIC", "-g")
EXPORT = """
extern "C" __attribute__((visibility("default"))) const char* {name}__signature() {{
    return cuda_host::signature({name});
}}
extern "C" __attribute__((visibility("default"))) unsigned {name}__threads() {{ return {bounds}; }}
extern "C" __attribute__((visibility("default"))) void {name}__launch(
    const unsigned* g, const unsigned* b, std::size_t shared_bytes, unsigned order, long long only, void** params) {{
    cuda_host::launch({name}, dim3{{g[0], g[1], g[2]}}, dim3{{b[0], b[1], b[2]}}, shared_bytes, order, only, params);
}}
"""
# The shim keeps the running block in global variables.
_one_at_a_time = threading.Lock()


def compiler() -> str | None:
    """The C++ compiler, g++ alone: the section of shared arrays and the sanitizers were tried with it."""
    return shutil.which("g++")


def build(source: str, name: str, options: tuple[str, ...] = (), sanitize: str | None = None) -> Path:
    """The shared library of one expanded kernel source, kept by its content."""
    flags = (*SANITIZE[sanitize or os.environ.get("IBSYNC_HOST_SANITIZE", "none")],)
    defines = tuple(option for option in options if option.startswith("-D"))
    exports = "".join(EXPORT.format(name=k, bounds=d.bounds or 1024) for k, d in declarations(source).items())
    text = f'#include "cuda_host.h"\n{source}\n{exports}'
    runtime = _runtime()
    key = _key(text, runtime.name, flags, defines)
    library = CACHE / f"{name}-{key}.so"
    if not library.exists():
        unit = CACHE / f"{name}-{key}.cpp"
        unit.write_text(text, encoding="utf-8")
        speed = ("-O1", "-fno-omit-frame-pointer")
        _compile(library, [*speed, "-shared", *WARNINGS, *flags, *defines, str(unit), str(runtime)])
    return library


def _runtime() -> Path:
    """The shim's own object, never instrumented: it switches fibers under the sanitizers' eyes."""
    CACHE.mkdir(exist_ok=True)
    runtime = CACHE / f"cuda_host-{_key(*((HERE / file).read_text(encoding='utf-8') for file in SHIM))}.o"
    if not runtime.exists():
        _compile(runtime, ["-O2", "-c", *WARNINGS, str(HERE / "cuda_host.cpp")])
    return runtime


def _key(*parts: object) -> str:
    return hashlib.sha256(repr((parts, SEMANTICS)).encode()).hexdigest()[:16]


def _compile(result: Path, arguments: list[str]) -> None:
    """Compile, and put the result in its place in one step, since other processes may do the same."""
    partial = result.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
    # A compiler under a preloaded sanitizer is slow and reports its own leaks.
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    command = [str(compiler()), *SEMANTICS, f"-I{HERE}", *arguments, "-o", str(partial)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"g++ failed\n{done.stderr}")
    partial.rename(result)


class HostModule:
    """A kernel file on the CPU, in the form of cupy.RawModule."""

    def __init__(
        self,
        source: str,
        name: str,
        options: tuple[str, ...] = (),
        *,
        device: HostDevice | None = None,
        sanitize: str | None = None,
    ):
        self._library = ctypes.CDLL(str(build(source, name, options, sanitize)))
        self._device = device or HostDevice()

    def get_function(self, name: str) -> HostKernel:
        return HostKernel(self._library, name, self._device)


class HostKernel:
    """One kernel on the CPU, in the form of cupy.RawKernel."""

    def __init__(self, library: ctypes.CDLL, name: str, device: HostDevice):
        self.name = name
        self.max_dynamic_shared_size_bytes = 48 * 1024
        self.max_threads_per_block = getattr(library, f"{name}__threads")()
        self._device = device
        self._launch = getattr(library, f"{name}__launch")
        signature = getattr(library, f"{name}__signature")
        signature.restype = ctypes.c_char_p
        self.signature = signature().decode().split()

    def __call__(self, grid, block, args, *, shared_mem: int = 0) -> None:
        """Run every block, or the device's `only` block, in the device's order of threads."""
        if len(args) != len(self.signature):
            raise TypeError(f"{self.name} takes {len(self.signature)} arguments, got {len(args)}")
        if min(grid) < 1 or min(block) < 1:  # CuPy would launch one block
            raise ValueError(f"{self.name}: empty grid {grid} or block {block}")
        if shared_mem > self.max_dynamic_shared_size_bytes:  # the driver says CUDA_ERROR_INVALID_VALUE
            raise ValueError(f"{self.name}: {shared_mem} bytes of shared memory were not asked for")
        cells = [self._cell(i, a, want) for i, (a, want) in enumerate(zip(args, self.signature, strict=True))]
        params = (ctypes.c_void_p * len(cells))(*map(ctypes.addressof, cells))
        order, only = ctypes.c_uint(self._device.order), ctypes.c_longlong(self._device.only)
        with _one_at_a_time:
            self._launch(_three(grid), _three(block), ctypes.c_size_t(shared_mem), order, only, params)

    def _cell(self, position: int, value: Any, want: str) -> Any:
        """What the kernel reads one parameter from."""
        if want.startswith("*") and isinstance(value, np.uintp) and value == 0:
            return ctypes.c_void_p(0)
        pointer = isinstance(value, np.ndarray)
        dtype = getattr(value, "dtype", None)
        got = ("*" if pointer else "") + (f"{dtype.kind}{dtype.itemsize}" if dtype else type(value).__name__)
        if not (got == want or (pointer and _fits(value, want))):
            raise TypeError(f"{self.name} argument {position}: the kernel wants {want}, got {got}")
        if pointer and not value.flags.c_contiguous:
            raise TypeError(f"{self.name} argument {position} is not C-contiguous")
        if pointer:
            return ctypes.c_void_p(value.ctypes.data)
        return (ctypes.c_char * 16).from_buffer_copy(value.tobytes().ljust(16, b"\0"))


def _fits(array: np.ndarray, want: str) -> bool:
    """Whether an array may stand for a pointer to halves or to small vectors, which NumPy has no type for."""
    if want == "*u2":
        return array.dtype == np.float16
    return want.startswith("*v") and array.nbytes % int(want[2:]) == 0


def _three(size):
    return (ctypes.c_uint * 3)(*(*size, 1, 1)[:3])


@dataclass
class HostDevice:
    """
    A device whose kernels run on the CPU.

    Parameters
    ----------
    order : int
        Threads and blocks forward (0), backward (1) or shuffled (a seed).
    only : int
        The one block to run, -1 for all.
    memory_bytes : int
        What `free_bytes` says.
    """

    order: int = 0
    only: int = -1
    memory_bytes: int = 2**30
    name: str = "the CPU, in place of a GPU"
    compute_capability: int = 90
    largest_shared_bytes: int = 227 * 1024
    xp: Any = field(default=np, repr=False)
    loaded: dict[tuple[Any, ...], Any] = field(default_factory=dict, repr=False)

    def compiler_version(self):
        return 13, 0

    def compile(self, source: str, name: str, options: tuple[str, ...]) -> HostModule:
        return HostModule(source, name, options, device=self)

    def from_host(self, x):
        return np.array(x, order="C")

    def upload(self, x):
        return np.array(x, np.float64, order="C")

    def to_host(self, x):
        return np.array(x)

    def release(self):
        pass

    def free_bytes(self) -> int:
        return self.memory_bytes

    def budget_bytes(self) -> int:
        return int(0.8 * self.memory_bytes)

    @contextmanager
    def active(self, stream: Any = None):
        yield

    def synchronize(self) -> None:
        pass
