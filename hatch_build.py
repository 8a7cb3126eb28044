"""Compiles the loops of `kernels/cpu` for the processor at hand; without a compiler the wheel is pure and NumPy serves.

python hatch_build.py    # in a checkout: build/libloops.so, which the checkout's ibsync uses
"""

from __future__ import annotations

import json
import os
import platform
import runpy
import shlex
import shutil
import struct
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).parent
SOURCES = ROOT / "kernels" / "cpu"
AVX2 = ["-mavx2", "-mfma"]
# By kind of processor, the sets of instructions that are compiled for, and the words that ask for them.
BUILDS = {
    "x86_64": {
        "avx2": AVX2,
        "avx512": [*AVX2, *(f"-mavx512{part}" for part in ("f", "vl", "bw", "dq")), "-mprefer-vector-width=512"],
    },
    "aarch64": {"neon": []},
}
MACHINES = {"AMD64": "x86_64", "arm64": "aarch64"}
# NaN and infinities keep their meaning; a product and a sum may be rounded as one.
FLAGS = [
    "-std=gnu11", "-O3", "-fPIC", "-fvisibility=hidden", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast",
]  # fmt: skip
# The package is not installed yet.
NAMES = SimpleNamespace(**runpy.run_path(str(ROOT / "ibsync" / "compiled" / "made_from.py")))


class NotCompiledError(Exception):
    """Why there are no compiled loops."""


def put_loops(folder: Path) -> Path:
    """Compile into a folder: the library, or a text that says why there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    library, reason = folder / NAMES.LIBRARY, folder / NAMES.REASON
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / library.name
        try:
            compile_loops(made)
        except NotCompiledError as error:
            library.unlink(missing_ok=True)
            reason.write_text(f"{error}\n", encoding="utf-8")
            return reason
        # In one step: other processes may use the one that is there, or make the same.
        partial = library.with_suffix(f".{os.getpid()}")
        shutil.copyfile(made, partial)
        partial.replace(library)
    reason.unlink(missing_ok=True)
    return library


def compile_loops(library: Path, *more: str) -> None:
    """Compile all sets of instructions that the compiler knows into one library, with `more` words for the compiler."""
    machine = MACHINES.get(platform.machine(), platform.machine())
    if sys.platform == "win32" or struct.calcsize("P") != 8 or machine not in BUILDS:
        raise NotCompiledError(f"there are no compiled loops for {machine} under {platform.system()}")
    compiler = _compiler()
    flags = [*FLAGS, *more]
    with tempfile.TemporaryDirectory() as folder:
        objects, errors = [], []
        for build, words in BUILDS[machine].items():
            made = str(Path(folder) / f"{build}.o")
            try:
                _run([*compiler, *flags, *words, "-c", str(SOURCES / "loops.c"), "-o", made])
                objects.append(made)
            except NotCompiledError as error:  # an old compiler knows some of them
                errors.append(error)
        if not objects:
            raise errors[0]
        known = [f"-DCOMPILER={json.dumps(_version(compiler))}", f'-DSOURCES="{NAMES.digest(SOURCES)}"']
        _run([*compiler, *flags, *known, "-shared", str(SOURCES / "processor.c"), *objects, "-o", str(library)])


def _compiler() -> list[str]:
    if asked := shlex.split(os.environ.get("CC", "")):
        return asked
    for name in ("cc", "gcc", "clang"):
        if found := shutil.which(name):
            return [found]
    raise NotCompiledError("no C compiler (cc, gcc or clang) was found when ibsync was installed")


def _version(compiler: list[str]) -> str:
    return _run([*compiler, "--version"]).splitlines()[0]


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, timeout=300)
    except (OSError, subprocess.SubprocessError) as error:
        raise NotCompiledError(f"the C compiler {command[0]} failed: {error}") from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()
        raise NotCompiledError(f"the C compiler {command[0]} failed: {' '.join(said[:3])}")
    return done.stdout


def platform_tag(name: str = sysconfig.get_platform(), machine: str = platform.machine()) -> str:
    """Platform of a wheel that was compiled here; that it runs on others is for auditwheel and its like to find."""
    name = name.replace("universal2", machine)
    if name.startswith("macosx-10.") and machine == "arm64":
        name = "macosx-11.0-arm64"  # no earlier system runs on these
    return name.replace("-", "_").replace(".", "_")


class CompiledLoops(BuildHookInterface[Any]):
    """Puts the library into the wheel, or beside the checkout that is installed editable."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and name the wheel after its platform where that was possible."""
        if version == "editable":
            try:
                put_loops(ROOT / "build")
            except OSError as error:
                self.app.display_warning(f"no compiled loops: {error}; NumPy does their work")
            return
        self.folder = tempfile.mkdtemp()
        made = put_loops(Path(self.folder))
        build_data["force_include"][str(made)] = f"ibsync/compiled/{made.name}"
        if made.name == NAMES.LIBRARY:
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{platform_tag()}"
        else:
            self.app.display_warning(made.read_text(encoding="utf-8").strip() + "; NumPy does their work")

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002
        """Leave nothing behind."""
        if version != "editable":
            shutil.rmtree(self.folder, ignore_errors=True)


if __name__ == "__main__":
    sys.stdout.write(f"{put_loops(ROOT / 'build')}\n")
