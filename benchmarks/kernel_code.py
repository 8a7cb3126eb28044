"""Read what the compiler made of the kernels that real plans ask for: no GPU is needed, and nothing is timed.

    python benchmarks/kernel_code.py [--nvdisasm PATH] [-o NAME.json]

NVRTC comes with `pip install '.[test]'`, nvdisasm with CUDA's toolkit or `pip install nvidia-cuda-nvdisasm`. Of each
kernel: registers, spills and shared memory as the assembler reports them, and the instructions of its hottest loop by
class. The bound of a loop is the part of its time in which the pipe that does its arithmetic is busy, if nothing is
ever waited for: a warp scheduler issues one instruction a clock.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import checkout
import numpy as np
from host_operations import CountingDevice
from measure import provenance

from ibsync.commands.bench import map_spec
from ibsync.coupling.backends.cuda.backend import CudaBackend
from ibsync.coupling.backends.cuda.kernel_text import OPTIONS, expand
from ibsync.coupling.engine import Engine
from ibsync.coupling.spec import WTC
from ibsync.nulls.surrogates_on_device import surrogates_on

ARCHITECTURE = 90
CUPY_OPTIONS = ("-ftz=true", "--device-as-default-execution-space")
"""What CuPy puts behind the options of a compilation."""
CLASSES = {
    "tensor fp16": r"HMMA",
    "fp64": r"D(FMA|MUL|ADD|SETP|MNMX)",
    "fp32": r"F(FMA|MUL|ADD)\b",
    "conversion": r"F2F|F2FP|I2F|F2I|HADD2|HMUL2",
    "matrix and shared loads": r"LDSM|LDS\b",
    "shared stores": r"STS",
    "asynchronous copies": r"LDGSTS|LDGDEPBAR|DEPBAR|LDGDEP",
    "global loads": r"LDG\b",
    "constant loads": r"LDC|ULDC",
    "global stores": r"STG|RED|ATOM",
    "moves and integers": r"U?(I?MAD|MOV|SHF|LOP|PRMT|SEL|IADD|LEA|ISETP)|CS2R|VIADD|VIMNMX",
    "branches and barriers": r"BRA|BAR|BSYNC|BSSY|WARPSYNC|PLOP3|EXIT",
}
"""Classes of instructions, by the beginning of their names."""
CYCLES = {"tensor fp16": 4.0, "fp64": 2.0, "fp32": 1.0}
"""Clocks for which an instruction of a warp keeps its pipe, of one of four schedulers: sm_90 does 4096 operations in
halves (of which `mma.sync` reaches some 0.63), 128 in fp64 and 256 in fp32 a clock."""
REGISTERS, THREADS = 65_536, 256


@dataclass(frozen=True)
class Asked:
    """A file and its macros, as a plan asks for them."""

    file: str
    macros: tuple[str, ...]


@dataclass
class Recorder(CountingDevice):
    """Remembers what is compiled."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.asked: set[Asked] = set()

    def compile(self, source: str, name: str, options: tuple[str, ...]) -> Any:
        self.asked.add(Asked(name, tuple(option for option in options if option not in OPTIONS)))
        return super().compile(source, name, options)


def asked_for() -> list[Asked]:
    """What two plans ask for with few and many channels, shares, deep channels and surrogates."""
    device = Recorder()
    x = np.random.default_rng(0).standard_normal((80, 2000)).cumsum(axis=1)
    with np.errstate(all="ignore"):
        for accuracy in ("exact", "fast"):
            for spec, n in ((map_spec(accuracy), 6000), (WTC(accuracy=accuracy), 2000)):
                engine = Engine(n, 10.0, spec, backend=CudaBackend(device))
                for n_channels in (2, 80):
                    some = np.tile(x[:n_channels], (1, -(-n // 2000)))[:, :n]
                    a, b = engine.features(some), engine.features(some)
                    engine.coherence(a, b)
                    engine.measure(a, b, "coherence")
                few = engine.features(some[:2])
                engine.coherence(few, few, shares=True)
                engine.backend._sums(few, few, 1, None)  # the deeper rank
        for kind in ("phase", "shift"):
            surrogates_on(device, kind, x[:2], np.arange(2), seed=1, entity=1)
    return sorted(device.asked, key=lambda asked: (asked.file, asked.macros))


# --- compiled ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kernel:
    """What a kernel takes, and the instructions of its hottest loop; without a loop, of the whole kernel."""

    kernel: str
    registers: int
    spilled_bytes: int
    static_shared_bytes: int
    blocks_by_registers: int
    instructions: int
    by_class: dict[str, int]
    arithmetic: str
    bound: float


def compiled(asked: Asked) -> tuple[bytes, str]:
    """The machine code of a file, and what the assembler says of it."""
    from cupy.cuda import nvrtc

    program = nvrtc.createProgram(expand(asked.file), f"{asked.file}.cu", (), ())
    words = (f"-arch=sm_{ARCHITECTURE}", *OPTIONS, *asked.macros, *CUPY_OPTIONS, "--ptxas-options=-v")
    nvrtc.compileProgram(program, words)
    return nvrtc.getCUBIN(program) + b"\0", nvrtc.getProgramLog(program)  # the binding drops the last byte


def kernels_of(asked: Asked, nvdisasm: str) -> Iterator[Kernel]:
    """Each kernel of a file."""
    code, log = compiled(asked)
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(code)
        file.flush()
        text = subprocess.run([nvdisasm, "-c", file.name], capture_output=True, text=True, check=True).stdout
    reports = re.split(r"Compiling entry function '(\w+)'", log)[1:]
    for kernel, report in zip(reports[::2], reports[1::2], strict=True):
        loop = _hottest_loop(re.split(rf"\.text\.{kernel}:", text)[1].split("\n.text.")[0].split("\n.section")[0])
        by_class = Counter(map(_class_of, loop))
        pipe = "tensor fp16" if by_class["tensor fp16"] else max(CYCLES, key=lambda name: CYCLES[name] * by_class[name])
        busiest = max(len(loop), *(CYCLES[name] * by_class[name] for name in CYCLES))
        registers = _sum_of(r"Used (\d+) registers", report)
        yield Kernel(
            kernel, registers, _sum_of(r"(\d+) bytes spill", report), _sum_of(r"(\d+) bytes smem", report),
            REGISTERS // (-(-registers // 8) * 8 * THREADS), len(loop),
            {name: by_class[name] for name in [*CLASSES, "other"] if by_class[name]},
            pipe, CYCLES[pipe] * by_class[pipe] / busiest,
        )  # fmt: skip


def _sum_of(pattern: str, text: str) -> int:
    return sum(map(int, re.findall(pattern, text)))


def _hottest_loop(text: str) -> list[str]:
    """Names of the instructions of the smallest loop that has most of the arithmetic."""
    names: list[str] = []
    labels: dict[str, int] = {}
    jumps: list[tuple[int, str]] = []
    for line in text.splitlines():
        if label := re.match(r"\s*(\.L_\w+):", line):
            labels[label[1]] = len(names)
        if found := re.search(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+ )?\s*([A-Z][\w.]*)", line):
            if target := re.search(r"BRA(?:\.\w+)* .*`\((\.L_\w+)\)", line):
                jumps.append((len(names), target[1]))
            names.append(found[1])
    loops = [names[labels[target] : place + 1] for place, target in jumps if labels.get(target, place + 1) <= place]
    loops = [loop for loop in loops if len(loop) > 1] or [names]
    return max(loops, key=lambda loop: (_arithmetic(loop), -len(loop)))


def _arithmetic(loop: list[str]) -> float:
    return sum(CYCLES.get(_class_of(name), 0.0) for name in loop)


def _class_of(name: str) -> str:
    return next((kind for kind, pattern in CLASSES.items() if re.match(pattern, name)), "other")


# --- command ----------------------------------------------------------------------------------------------------------


def _nvdisasm(given: str | None) -> str:
    """The disassembler: as given, on the PATH, or beside NVRTC."""
    beside = Path(np.__file__).parents[1] / "nvidia" / "cu13" / "bin" / "nvdisasm"
    found = given or shutil.which("nvdisasm") or (str(beside) if beside.exists() else None)
    if found is None:
        raise SystemExit("kernel_code.py: no nvdisasm: pip install nvidia-cuda-nvdisasm, or --nvdisasm PATH")
    return found


def main() -> None:
    """Print one line for each kernel, and write all if a file is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nvdisasm", metavar="PATH")
    parser.add_argument("-o", "--output", type=Path, metavar="NAME.json")
    arguments = parser.parse_args()
    nvdisasm = _nvdisasm(arguments.nvdisasm)
    found = [
        {"file": asked.file, "macros": [macro[2:] for macro in asked.macros], **asdict(kernel)}
        for asked in asked_for()
        for kernel in kernels_of(asked, nvdisasm)
    ]
    for one in found:
        shares = ", ".join(f"{n} {kind}" for kind, n in one["by_class"].items())
        print(
            f"{one['kernel']} {' '.join(one['macros'])}: {one['registers']} registers, {one['spilled_bytes']} bytes "
            f"spilled, {one['blocks_by_registers']} blocks; loop of {one['instructions']}: {shares}; "
            f"{one['arithmetic']} busy {100 * one['bound']:.0f} % at best"
        )
    if arguments.output:
        from cupy.cuda import nvrtc

        report = {
            "provenance": provenance(checkout.REPOSITORY, ("numpy", "cupy-cuda13x", "nvidia-cuda-nvrtc")),
            "nvrtc": list(nvrtc.getVersion()), "architecture": f"sm_{ARCHITECTURE}", "kernels": found,
        }  # fmt: skip
        arguments.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
