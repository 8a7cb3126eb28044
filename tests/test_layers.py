"""Imports point one way, heavy and optional packages stay where they belong, and `import ibsync` is light."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import ibsync

PACKAGE = Path(ibsync.__file__).parent

# The folders in the order of the story. A file imports of its own folder and of those that stand before it.
ORDER = (
    "errors",  # what can go wrong
    "compiled",  # loops in C
    "recordings",  # files of two people
    "coupling",  # two signals become numbers
    "nulls",  # what might have been
    "inference",  # from draws to p
    "results",  # what came out, and what a person sees
    "study",  # the verbs of arrays and of a study
    "questions",  # what a lab asks
    "simulation",  # known truth
    "commands",  # the command line
)
# The ground floor: it knows signals, and nothing of files, draws, tests or labels.
COUPLING_KNOWS = {"errors", "compiled"}
CUDA = "coupling/backends/cuda/"
H5PY_OWNERS = {"hdf5", "hdf5_writing", "contents", "snirf", "study_file_writing", "study_file_reading"}
HEAVY = (
    "scipy.stats",
    "statsmodels",
    "xarray",
    "pandas",
    "matplotlib",
    "h5py",
    "cupy",
    "mne",
    "h5netcdf",
    "tqdm",
    "msgspec",
    "jinja2",
)


def dotted(path: Path, package: Path) -> set[str]:
    """Full names that a file imports, of our own modules ("ibsync.coupling.spec.WTC") and of others."""
    here = path.relative_to(package.parent).with_suffix("").parts
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(here[: len(here) - node.level]) + "." if node.level else ""
            names |= {f"{base}{node.module or ''}.{alias.name}".replace("..", ".") for alias in node.names}
    return names


def files_of(package: Path) -> dict[str, set[str]]:
    """Full names that each file imports, by the file's path in the package; the two doors of the package apart."""
    return {
        path.relative_to(package).as_posix(): dotted(path, package)
        for path in sorted(package.rglob("*.py"))
        if path.parent != package or path.stem not in ("__init__", "__main__")
    }


def folder_of(file: str) -> str:
    """Folder of the package that a file lies in; a file at its root is a folder of its own."""
    return file.split("/")[0].removesuffix(".py")


def faults(package: Path = PACKAGE) -> list[str]:
    """Every import that breaks a rule, in words."""
    found = []
    for file, names in files_of(package).items():
        folder = folder_of(file)
        before = COUPLING_KNOWS if folder == "coupling" else set(ORDER[: ORDER.index(folder)])
        ours = {name.split(".")[1] for name in names if name.startswith("ibsync.")}
        found += [f"{file} imports {name}" for name in sorted(ours & set(ORDER) - before - {folder})]
        others = {name.split(".")[0] for name in names}
        if "cupy" in others and not file.startswith(CUDA):
            found.append(f"{file} imports cupy")
        if "h5py" in others and Path(file).stem not in H5PY_OWNERS:
            found.append(f"{file} imports h5py")
        if file.startswith(CUDA) and any(name.startswith("ibsync.coupling.backends.numpy") for name in names):
            found.append(f"{file} imports the other backend")
        if file == "coupling/backends/numpy.py" and any("backends.cuda" in name for name in names):
            found.append(f"{file} imports the other backend")
    return found


def test_imports_point_one_way():
    assert faults() == []


def test_every_folder_has_a_place_in_the_order():
    assert {folder_of(file) for file in files_of(PACKAGE)} == set(ORDER)


def test_no_file_imports_itself_by_a_detour():
    """A circle of files cannot be read from any end."""
    names = files_of(PACKAGE)
    module = {f"ibsync.{file.removesuffix('.py').removesuffix('/__init__').replace('/', '.')}": file for file in names}
    arrows = {
        file: {module[m] for name in imported if (m := name if name in module else name.rpartition(".")[0]) in module}
        for file, imported in names.items()
    }
    while free := [file for file, targets in arrows.items() if not targets & (set(arrows) - {file})]:
        for file in free:
            del arrows[file]
    assert sorted(arrows) == []


@pytest.mark.parametrize(
    ("file", "line", "fault"),
    [
        ("coupling/spec.py", "from ..study.study import Study", "coupling/spec.py imports study"),
        ("coupling/spec.py", "from ibsync.nulls.tails import Tail", "coupling/spec.py imports nulls"),
        ("coupling/spec.py", "from ..recordings import clock", "coupling/spec.py imports recordings"),
        ("recordings/clock.py", "import ibsync.coupling.plan", "recordings/clock.py imports coupling"),
        ("nulls/counts.py", "def f():\n    from .. import results", "nulls/counts.py imports results"),
        ("results/result.py", "from ..questions.transfer import transfer", "results/result.py imports questions"),
        ("coupling/engine.py", "import cupy as cp", "coupling/engine.py imports cupy"),
        ("commands/cli.py", "from cupy import cuda", "commands/cli.py imports cupy"),
        ("coupling/spec.py", "import h5py", "coupling/spec.py imports h5py"),
        (
            "coupling/backends/numpy.py",
            "from .cuda import launch",
            "coupling/backends/numpy.py imports the other backend",
        ),
        (
            "coupling/backends/cuda/launch.py",
            "from ..numpy import NumpyBackend",
            "coupling/backends/cuda/launch.py imports the other backend",
        ),
        ("coupling/backends/numpy.py", "import numpy", None),
        ("coupling/backends/cuda/device.py", "import cupy", None),
        ("commands/cli.py", "from ..study import study", None),
    ],
)
def test_a_wrong_import_is_caught(tmp_path, file, line, fault):
    package = tmp_path / "ibsync"
    (package / file).parent.mkdir(parents=True)
    (package / file).write_text(line, encoding="utf-8")
    assert faults(package) == ([] if fault is None else [fault])


def loaded_modules(statement: str) -> set[str]:
    """Modules that a fresh interpreter holds after a statement."""
    code = f"{statement}\nimport sys, json; print(json.dumps(sorted(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "statement",
    ["import ibsync", "import ibsync; dir(ibsync)", "import ibsync; ibsync.WTC(bands={'a': (0.02, 0.1)})"],
)
def test_import_takes_nothing_heavy(statement):
    assert loaded_modules(statement).isdisjoint(HEAVY)


def test_what_a_study_needs_is_all_that_is_loaded():
    slow = {"scipy.fft", "scipy.interpolate", "scipy.linalg", "scipy.sparse", "pandas", "xarray", "matplotlib"}
    assert slow.isdisjoint(loaded_modules("import ibsync; ibsync.Study, ibsync.WTC"))
    assert {*slow, "scipy", "threadpoolctl"}.isdisjoint(loaded_modules("import ibsync.commands.info"))


def test_the_parser_of_the_command_line_takes_not_even_numpy():
    assert loaded_modules("import ibsync.commands.cli; ibsync.commands.cli._parser()").isdisjoint((*HEAVY, "numpy"))


def test_the_root_holds_ten_entries_beside_the_names_of_the_package():
    entries = {path.name for path in PACKAGE.iterdir() if path.name not in ("__pycache__", "kernels")}
    assert entries == {"__init__.py", "__main__.py", "py.typed", "errors.py", *ORDER} - {"errors"}
    assert not set(ORDER) & set(ibsync._HOME)  # importing a folder sets an attribute of its name
