"""What NVRTC says of a kernel file for an architecture: no GPU and no driver are needed."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from ibsync.coupling.backends.cuda.kernel_text import OPTIONS

# What CuPy puts behind the options of a compilation.
CUPY_OPTIONS = ("-ftz=true", "--device-as-default-execution-space")
ARCHITECTURES = (75, 80, 90, 120)
# Registers of a multiprocessor, and threads that it can hold at least one block of.
REGISTERS = 65_536


@dataclass(frozen=True)
class Resources:
    """What one kernel takes, as the assembler reports it."""

    kernel: str
    stack_bytes: int
    spilled_bytes: int
    registers: int
    shared_bytes: int


@dataclass(frozen=True)
class Compiled:
    """A cubin's kernels, and whether a warning names arithmetic in double precision."""

    kernels: tuple[Resources, ...]
    double: bool
    log: str


def nvrtc():
    """CuPy's binding of NVRTC; a test is skipped where it or the compiler is missing."""
    pytest.importorskip("cupy", reason="CuPy is not installed")
    from cupy.cuda import nvrtc

    try:
        nvrtc.getVersion()
    except Exception as error:  # the binding has its own error for a library that is not there
        pytest.skip(f"NVRTC cannot be loaded: {error}")
    return nvrtc


def compile_for(architecture: int, source: str, name: str, defines: tuple[str, ...] = ()) -> Compiled:
    """The resources of an expanded source; AssertionError with the compiler's words if it does not compile."""
    binding = nvrtc()
    if architecture not in binding.getSupportedArchs():
        pytest.skip(f"this NVRTC does not know sm_{architecture}")
    report = ("--ptxas-options=-v", "--ptxas-options=--warn-on-double-precision-use")
    program = binding.createProgram(source, f"{name}.cu", (), ())
    try:
        binding.compileProgram(program, (f"-arch=sm_{architecture}", *OPTIONS, *defines, *CUPY_OPTIONS, *report))
        return parsed(binding.getProgramLog(program))
    except binding.NVRTCError:
        raise AssertionError(binding.getProgramLog(program)) from None
    finally:
        binding.destroyProgram(program)


def parsed(log: str) -> Compiled:
    """The report of ptxas, kernel by kernel."""
    parts = re.split(r"Compiling entry function '(\w+)'", log)[1:]
    kernels = tuple(_resources(kernel, text) for kernel, text in zip(parts[::2], parts[1::2], strict=True))
    return Compiled(kernels, "double precision" in log, log)


def _resources(kernel: str, text: str) -> Resources:
    def sum_of(pattern: str) -> int:
        return sum(map(int, re.findall(pattern, text)))

    return Resources(
        kernel,
        stack_bytes=sum_of(r"(\d+) bytes stack frame"),
        spilled_bytes=sum_of(r"(\d+) bytes spill"),
        registers=sum_of(r"Used (\d+) registers"),
        shared_bytes=sum_of(r"(\d+) bytes smem"),
    )
