"""Kernels compiled once per device, and launches that refuse wrong arguments."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import Any

from .device import Device
from .kernel_text import OPTIONS, expand
from .signatures import Cast, Parameter, casts, checked, declarations

_LARGEST_GRID = (2**31 - 1, 65_535, 65_535)
_LARGEST_BLOCK = (1024, 1024, 64)

Size = int | Sequence[int]


def load(name: str, device: Device, **defines: int) -> "Module":
    """
    Kernels of a file for a device, compiled when they are first asked for.

    Parameters
    ----------
    name : str
        File name in the kernel folder without ``.cu``.
    device : Device
    **defines
        Whole numbers that the text knows as macros.

    Raises
    ------
    DeviceError
        If the file is not there or does not compile.
    """
    key = (name, *sorted(defines.items()))
    if key not in device.loaded:
        device.loaded[key] = compiled(expand(name), name, device, **defines)
    module: Module = device.loaded[key]
    return module


def compiled(source: str, name: str, device: Device, **defines: int) -> "Module":
    """Kernels of a text in which headers are expanded; arguments and errors as `load`."""
    options = (*OPTIONS, *(f"-D{macro}={int(value)}" for macro, value in sorted(defines.items())))
    raw = device.compile(source, name, options)
    kernels = {
        kernel: Kernel(kernel, declared.parameters, raw.get_function(kernel), device)
        for kernel, declared in declarations(source).items()
    }
    return Module(name, kernels)


@dataclass(frozen=True)
class Module:
    """The kernels of one file: ``module["name"]``."""

    name: str
    kernels: dict[str, "Kernel"]

    def __getitem__(self, kernel: str) -> "Kernel":
        if kernel not in self.kernels:
            raise KeyError(f"kernels/{self.name}.cu has no kernel {kernel!r}; it has {', '.join(self.kernels)}")
        return self.kernels[kernel]


@dataclass
class Kernel:
    """One kernel of a device; a call launches it and returns at once."""

    name: str
    parameters: tuple[Parameter, ...]
    raw: Any
    device: Device
    _shared_bytes: int = field(default=0, repr=False)

    @cached_property
    def most_threads(self) -> int:
        """Threads that a block may have, by the kernel's launch bounds and its registers."""
        with self.device.active():
            return int(self.raw.max_threads_per_block)

    @cached_property
    def _casts(self) -> tuple[Cast, ...]:
        return casts(self.name, self.parameters, self.device.xp.ndarray)

    def __call__(self, grid: Size, block: Size, args: Sequence[Any], shared_bytes: int = 0, stream: Any = None) -> None:
        """
        Launch.

        Parameters
        ----------
        grid, block : int or sequence of at most three int
            Blocks of the grid and threads of a block.
        args : sequence
            Arrays of the device, numbers, None for a null pointer.
        shared_bytes : int
            Dynamic shared memory of a block.
        stream : optional
            One of the device's streams; without it the current one.

        Raises
        ------
        TypeError, OverflowError
            If an argument does not fit the kernel's signature.
        ValueError
            If a size is empty or larger than a device allows.
        """
        blocks = self._size("grid", grid, _LARGEST_GRID)
        threads = self._size("block", block, _LARGEST_BLOCK)
        if prod(threads) > self.most_threads:
            raise ValueError(f"{self.name}: block {threads} has more than {self.most_threads} threads")
        fitted = checked(self.name, self._casts, args)
        with self.device.active(stream):
            self._make_room(shared_bytes)
            self.raw(blocks, threads, fitted, shared_mem=shared_bytes)

    def _size(self, what: str, size: Size, largest: tuple[int, ...]) -> tuple[int, ...]:
        given = (size,) if isinstance(size, int) else tuple(int(n) for n in size)
        # CuPy would launch an empty grid as one block.
        if not 1 <= len(given) <= 3 or min(given) < 1:
            raise ValueError(f"{self.name}: {what} {given} is not one to three sizes of at least 1")
        whole = given + (1,) * (3 - len(given))
        if any(n > most for n, most in zip(whole, largest, strict=True)):
            raise ValueError(f"{self.name}: {what} {whole} is larger than {largest}")
        return whole

    def _make_room(self, shared_bytes: int) -> None:
        """Let the kernel have its dynamic shared memory: without leave, 48 KiB together with the static one."""
        if not 0 <= shared_bytes <= self.device.largest_shared_bytes:
            largest = self.device.largest_shared_bytes
            raise ValueError(f"{self.name}: {shared_bytes} bytes of shared memory, the device has {largest} per block")
        if shared_bytes > self._shared_bytes:
            self.raw.max_dynamic_shared_size_bytes = shared_bytes
            self._shared_bytes = shared_bytes
