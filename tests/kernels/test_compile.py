"""Every kernel compiles for every architecture: in registers, without a stack, and in the precision it says."""

from __future__ import annotations

import re

import numpy as np
import pytest
from nvrtc_proof import ARCHITECTURES, REGISTERS, compile_for

from ibsync.coupling.backends.cuda.channel_stage import padded
from ibsync.coupling.backends.cuda.kernel_text import expand, kernel_folder
from ibsync.coupling.backends.cuda.signatures import declarations
from ibsync.coupling.engine import Engine
from ibsync.coupling.spec import WTC

DOUBLE_MARK = "// double precision"
VARIANT = r"^// variant: (.+)$"
# Registers are given to a warp in portions of 256.
PORTION = 256


def double_on_purpose(name: str) -> bool:
    """Whether the first line of a kernel file says that it computes in float64."""
    first = (kernel_folder() / f"{name}.cu").read_text(encoding="utf-8").splitlines()[0]
    return first.startswith(DOUBLE_MARK)


def variants() -> list[tuple[str, tuple[str, ...]]]:
    """Every kernel file as it stands, and once with the macros of each line ``// variant: NAME=VALUE ...`` in it."""
    found = []
    for path in sorted(kernel_folder().glob("*.cu")):
        lines = re.findall(VARIANT, path.read_text(encoding="utf-8"), re.MULTILINE)
        found += [(path.stem, ())] + [(path.stem, tuple(f"-D{macro}" for macro in line.split())) for line in lines]
    return found


def complaints(
    source: str, name: str, architecture: int, *, double: bool = False, defines: tuple[str, ...] = ()
) -> list[str]:
    """What is wrong with a kernel file for an architecture, in words."""
    found = compile_for(architecture, source, name, defines)
    declared = declarations(source)
    wrong = [f"{kernel} declares no __launch_bounds__" for kernel, d in declared.items() if not d.bounds]
    wrong += [f"{k.kernel} has a stack of {k.stack_bytes} bytes" for k in found.kernels if k.stack_bytes]
    wrong += [f"{k.kernel} spills {k.spilled_bytes} bytes" for k in found.kernels if k.spilled_bytes]
    wrong += [f"{k.kernel} fits no multiprocessor with a warp" for k in found.kernels if portions(k) * 4 > REGISTERS]
    if {k.kernel for k in found.kernels} != set(declared):
        wrong.append(f"compiled {[k.kernel for k in found.kernels]}, declared {list(declared)}")
    if found.double != double:
        wrong.append("computes in double precision" if found.double else "is marked as double precision and is not")
    return wrong


def portions(kernel) -> int:
    """Registers of a warp."""
    return -(-kernel.registers * 32 // PORTION) * PORTION


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("name", "defines"), variants())
def test_a_kernel_file_compiles_into_registers(name, defines, architecture):
    double = double_on_purpose(name)
    assert complaints(expand(name), name, architecture, double=double, defines=defines) == []


@pytest.mark.slow
@pytest.mark.parametrize("accuracy", ["exact", "fast"])
@pytest.mark.parametrize("depth", [0, 1])
def test_the_largest_sizes_that_the_engine_asks_for_are_among_the_variants(accuracy, depth):
    plan = Engine(2000, 10.0, WTC(accuracy=accuracy), backend="numpy").plan
    sizes = [plan.group(segment, depth).mixing.shape[1:] for segment in plan.segments_at(depth)]
    n_features, n_filters = (max(size) for size in zip(*sizes, strict=True))
    kind = "f32" if np.dtype(plan.rank(depth).dtype) == np.float32 else "f64"
    asked = {
        "filters": {f"-DFILTERS={-(-n_filters // 8)}"},
        "units": {f"-DN_FILTERS={n_filters}", f"-DN_FEATURES={n_features}", f"-DN_PADDED={padded(n_features)}"},
    }
    for name, macros in asked.items():
        assert any(file == f"{name}_{kind}" and macros <= set(defines) for file, defines in variants())


HEAD = 'extern "C" __global__ void __launch_bounds__(1024, 2) k(float* x) { '
SPILL = (
    HEAD
    + "float v[64]; for (int i = 0; i < 64; ++i) v[i] = x[i * 1024 + threadIdx.x];"
    + "for (int r = 0; r < 9; ++r) for (int i = 0; i < 64; ++i) v[i] = fmaf(v[i], v[(i * 7 + r) % 64], v[63 - i]);"
    + "for (int i = 0; i < 64; ++i) x[i * 1024 + threadIdx.x] = v[i]; }"
)


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        (SPILL, r"k spills \d+ bytes"),
        (HEAD + "volatile float v[64]; v[int(x[0])] = x[1]; x[2] = v[int(x[3])]; }", "k has a stack of 256 bytes"),
        (HEAD + "x[0] = x[1] * 0.1; }", "computes in double precision"),
        ('extern "C" __global__ void k(float* x) { x[0] = 1.f; }', "k declares no __launch_bounds__"),
    ],
    ids=["spill", "stack", "double", "no bounds"],
)
def test_a_planted_fault_is_seen(source, fault):
    assert any(re.search(fault, text) for text in complaints(source, "planted", 90))


def test_a_mark_of_double_precision_without_need_is_seen():
    assert complaints(HEAD + "x[0] = 1.f; }", "planted", 90, double=True) == [
        "is marked as double precision and is not"
    ]


def test_an_error_of_the_compiler_names_the_line():
    with pytest.raises(AssertionError, match=r"kernels/planted\.cu\(3\): error"):
        compile_for(90, '#line 1 "kernels/planted.cu"\n\n\nint wrong = nothing;\n', "planted")
