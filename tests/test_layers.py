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

# What each module may import of ours. Read from top to bottom: a module knows only what stands above it.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    # Random numbers and surrogates, and kernels that give the same on a device.
    "philox": {"errors"},
    "families": {"errors", "philox"},
    "cuda": {"errors", "philox", "families"},
    # What is asked, and how it is computed.
    "spec": {"errors"},
    "definition": {"errors", "spec"},
    "signals": {"errors", "definition"},
    "tables": {"errors", "spec", "definition"},
    "plan": {"errors", "spec", "tables"},
    "backends": {"errors", "cuda", "spec", "definition", "signals", "tables", "plan"},
    "maps": {"errors", "spec", "definition", "signals"},
    "sparse": {"spec", "definition"},
    "engine": {"errors", "cuda", "spec", "signals", "tables", "plan", "backends", "maps"},
    # Files: people, recordings, dyads.
    "storage": {"errors"},
    "hdf5": {"errors", "storage"},
    "recording": {"errors"},
    "study_layout": {"errors", "hdf5", "recording"},
    "study_reading": {"errors", "hdf5", "recording", "study_layout"},
    "study": {"errors", "hdf5", "recording", "study_layout", "study_reading"},
    "clock": {"errors"},
    "sources": {"errors"},
    "cohort": {"errors", "sources"},
    "snirf": {"errors", "hdf5", "recording", "clock"},
    "incoming": {"errors", "recording", "clock", "sources", "snirf"},
    "foreign": {"errors", "recording", "clock", "sources", "snirf", "incoming"},
    "matching": {"errors", "sources", "cohort", "incoming"},
    "fitting": {"errors", "clock", "incoming", "matching"},
    "pack": {"errors", "hdf5", "recording", "study", "sources", "cohort", "incoming", "foreign", "matching", "fitting"},
    "synthesis": {"errors"},
    "courses": {"errors"},
    # Null distributions and tests, on host arrays.
    "surrogates": {"errors", "philox"},
    "matchings": {"philox", "surrogates"},
    "accumulate": {"errors"},
    "grouptest": {"errors", "surrogates", "accumulate"},
    "streamed": {"errors", "accumulate", "cuda", "grouptest"},
    "clusters": {"errors", "grouptest"},
    "inference": {"errors", "surrogates", "accumulate", "grouptest", "clusters"},
    "surrogatetest": {"errors", "grouptest", "inference", "streamed"},
    "exchanges": {"errors", "grouptest", "inference", "philox"},
    "jointtest": {"errors", "accumulate", "grouptest", "inference", "surrogates"},
    "limits": set(),
    "held_out": set(),
    "freedman_lane": {"errors", "accumulate", "grouptest", "inference", "philox", "limits"},
    "associations": {"freedman_lane"},
    "relations": {"freedman_lane"},
    "labels": {"errors", "exchanges", "philox"},
    "intervals": {"exchanges", "labels", "limits"},
    "drawntest": {"errors", "accumulate", "grouptest", "inference"},
    "signflip": {"errors", "accumulate", "clusters", "exchanges", "grouptest", "inference"},
    "significance": {"errors", "spec", "definition", "signals", "sparse", "philox", "families"},
    # A study's rows, and what is drawn for one of them.
    "grids": {"errors"},
    "occasions": {"errors", "spec", "engine", "recording", "study"},
    "measures": {"errors", "engine"},
    "sampling": {"signals", "engine", "measures", "families", "philox", "cuda"},
    # Results in words and files.
    "null_files": {"errors", "storage", "philox", "accumulate", "streamed", "surrogates", "matchings"},
    "wording": {"errors"},
    "results": {"errors", "measures", "storage", "wording"},
    "specifications": {"errors", "grouptest", "storage", "wording"},
    "blocks": {"errors"},
    "changes": {"errors", "labels", "results", "wording", "blocks"},
    "wanted": {"grouptest"},
    "outcome_tables": {"errors", "study", "results"},
    "outcome_samples": {"errors", "freedman_lane", "labels", "blocks", "outcome_tables"},
}
# The places that know all stages (arrays in, studies in), and the faces above it, which may use anything.
FACES = {
    "__init__",
    "__main__",
    "analysis",
    "arrays",
    "bench",
    "calibration",
    "common_causes",
    "contrasts",
    "cli",
    "curve",
    "demo",
    "doctor",
    "drawing",
    "followups",
    "generalisation",
    "histograms",
    "job",
    "machine",
    "meetings",
    "mixed_models",
    "multiverse",
    "multiverses",
    "outcomes",
    "page_tables",
    "panels",
    "growth",
    "growth_lines",
    "people",
    "plot",
    "power",
    "power_curves",
    "power_plan",
    "predictions",
    "report",
    "sample_size",
    "scalogram",
    "scatters",
    "settings",
    "simulated_tests",
    "simulation",
    "social_relations",
    "strangers",
    "surrogate_runs",
    "synchrony_model",
    "testing",
    "workloads",
}
FOLDERS = {"recordings", "nulls", "longitudinal", "simulations", "pictures", "commands"}
H5PY_OWNERS = {"hdf5", "snirf", "study_layout", "study_reading"}
HEAVY = ("scipy.stats", "statsmodels", "xarray", "pandas", "matplotlib", "h5py", "cupy", "mne", "h5netcdf", "tqdm")


def dotted(path: Path, package: Path) -> set[str]:
    """Full names that a file imports, of our own modules ("ibsync.spec.WTC") and of others."""
    here = path.relative_to(package.parent).with_suffix("").parts
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(here[: len(here) - node.level]) + "." if node.level else ""
            names |= {f"{base}{node.module or ''}.{alias.name}".replace("..", ".") for alias in node.names}
    return names


def module_of(name: str) -> str:
    """Our own module, or the third-party package, that a full name belongs to."""
    parts = name.split(".")
    if parts[0] != "ibsync":
        return parts[0]
    inside = len(parts) > 2 and parts[1] in FOLDERS
    return parts[2 if inside else 1]


def module_at(path: Path, package: Path) -> str:
    """Name of the module in a file."""
    parts = path.relative_to(package).parts
    return parts[0].removesuffix(".py") if parts[0] not in FOLDERS else path.stem


def faults(package: Path = PACKAGE) -> list[str]:
    """Every import that breaks a rule, in words."""
    found = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).parts
        full_names = dotted(path, package)
        module, names = module_at(path, package), {module_of(name) for name in full_names}
        where = path.relative_to(package).as_posix()
        if module not in FACES:
            ours = names & (set(ALLOWED) | FACES) - {module}
            found += [f"{where} imports {name}" for name in sorted(ours - ALLOWED.get(module, set()))]
        if "cupy" in names and parts[0] != "cuda":
            found.append(f"{where} imports cupy")
        if "h5py" in names and module not in H5PY_OWNERS:
            found.append(f"{where} imports h5py")
        if module == "backends":
            other = "numpy" if "cuda" in where else "cuda"
            crossing = f"ibsync.backends.{other}"
            found += [f"{where} imports {crossing}" for name in full_names if f"{name}.".startswith(f"{crossing}.")]
    return found


def test_imports_point_one_way():
    assert faults() == []


def test_every_module_has_a_place_in_the_order():
    modules = {module_at(path, PACKAGE) for path in PACKAGE.rglob("*.py")}
    assert modules - set(ALLOWED) - FACES == set()


def test_the_order_has_no_cycle():
    position = {module: number for number, module in enumerate(ALLOWED)}
    assert all(position[below] < position[module] for module, allowed in ALLOWED.items() for below in allowed)


@pytest.mark.parametrize(
    ("file", "line", "fault"),
    [
        ("spec.py", "from .engine import Engine", "spec.py imports engine"),
        ("spec.py", "from ibsync.engine import Engine", "spec.py imports engine"),
        ("study.py", "import ibsync.analysis", "study.py imports analysis"),
        ("tables.py", "def f():\n    from . import results", "tables.py imports results"),
        ("engine.py", "import cupy as cp", "engine.py imports cupy"),
        ("cli.py", "from cupy import cuda", "cli.py imports cupy"),
        ("spec.py", "import h5py", "spec.py imports h5py"),
        ("backends/numpy.py", "from ..engine import Engine", "backends/numpy.py imports engine"),
        ("backends/numpy.py", "from .cuda import module", "backends/numpy.py imports ibsync.backends.cuda"),
        (
            "backends/cuda/module.py",
            "from ..numpy import Backend",
            "backends/cuda/module.py imports ibsync.backends.numpy",
        ),
        ("backends/numpy.py", "import ibsync.backends.cuda", "backends/numpy.py imports ibsync.backends.cuda"),
        ("backends/numpy.py", "import numpy", None),
        ("backends/cuda.py", "import cupy", "backends/cuda.py imports cupy"),
        ("cuda/device.py", "from ..plan import Plan", "cuda/device.py imports plan"),
        ("cuda/device.py", "import cupy", None),
        ("backends/cuda.py", "from ..cuda.module import load", None),
        ("cli.py", "from . import engine, results", None),
    ],
)
def test_a_planted_import_is_caught(tmp_path, file, line, fault):
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


def test_the_parser_of_the_command_line_takes_not_even_numpy():
    assert loaded_modules("import ibsync.commands.cli; ibsync.commands.cli._parser()").isdisjoint((*HEAVY, "numpy"))


def test_no_module_hides_a_function_of_its_name():
    """Importing ``ibsync.power`` sets the attribute `power`; a function of that name would be gone then."""
    hidden = {
        name for name, home in ibsync._HOME.items() if (PACKAGE / f"{name}.py").exists() or (PACKAGE / name).is_dir()
    }
    assert hidden == set()
