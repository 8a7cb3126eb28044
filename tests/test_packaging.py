"""The wheel carries the package whole: its kernels are the repository's, and nothing else is added."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of this checkout, opened."""
    folder = tmp_path_factory.mktemp("wheel")
    done = subprocess.run(
        [sys.executable, "-m", *_builder(), str(folder), str(REPOSITORY)], capture_output=True, text=True, check=False
    )
    if done.returncode and "hatchling" in done.stderr and "No matching distribution" in done.stderr:
        pytest.skip("hatchling is neither installed nor to be had")
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def _builder() -> list[str]:
    has = {name: importlib.util.find_spec(name) is not None for name in ("hatchling", "build", "pip")}
    if has["hatchling"] and has["build"]:
        return ["build", "--wheel", "--no-isolation", "--outdir"]
    if has["pip"]:
        return ["pip", "wheel", "--no-deps", *(["--no-build-isolation"] if has["hatchling"] else []), "--wheel-dir"]
    pytest.skip("neither build nor pip is installed")


def _under(archive: zipfile.ZipFile, folder: str) -> dict[str, bytes]:
    names = [name for name in archive.namelist() if name.startswith(folder) and not name.endswith("/")]
    return {name.removeprefix(folder): archive.read(name) for name in names}


def _files(folder: Path, patterns: tuple[str, ...] = ("*",)) -> dict[str, bytes]:
    found = (path for pattern in patterns for path in folder.rglob(pattern))
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in found
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_kernels_in_the_wheel_are_those_of_the_repository(wheel):
    kernels = _files(REPOSITORY / "kernels")
    assert kernels
    assert _under(wheel, "ibsync/kernels/") == kernels


def test_only_kernel_sources_lie_in_the_kernel_folder():
    assert {Path(name).suffix for name in _files(REPOSITORY / "kernels")} <= {".cu", ".cuh"}


def test_the_wheel_holds_every_module_and_the_type_marker(wheel):
    packed = {name for name in _under(wheel, "ibsync/") if not name.startswith("kernels/")}
    assert packed == set(_files(REPOSITORY / "ibsync", ("*.py", "py.typed", "*.html", "*.css", "*.js")))


def test_the_wheel_holds_nothing_beside_the_package(wheel):
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"ibsync"}


def test_the_command_is_declared(wheel):
    (entry_points,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    assert "ibsync = ibsync.__main__:main" in wheel.read(entry_points).decode()
