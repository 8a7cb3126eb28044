"""The wheel carries the package whole: its kernels are the repository's, and nothing else is added."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from compiled_here import hatch_build

from ibsync.compiled.choice import VARIABLE
from ibsync.compiled.made_from import LIBRARY, REASON

REPOSITORY = Path(__file__).parents[1]
MACHINES = ("x86_64", "aarch64", "arm64")


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
    assert {Path(name).suffix for name in _files(REPOSITORY / "kernels")} <= {".cu", ".cuh", ".c", ".h"}


def test_the_wheel_holds_every_module_and_the_type_marker(wheel):
    packed = {name for name in _under(wheel, "ibsync/") if not name.startswith("kernels/")}
    (loops,) = packed & {f"compiled/{LIBRARY}", f"compiled/{REASON}"}
    assert packed - {loops} == set(_files(REPOSITORY / "ibsync", ("*.py", "py.typed", "*.html", "*.css", "*.js")))


def test_the_wheel_holds_nothing_beside_the_package(wheel):
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"ibsync"}


def test_the_command_is_declared(wheel):
    (entry_points,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    assert "ibsync = ibsync.__main__:main" in wheel.read(entry_points).decode()


def test_the_wheel_is_named_after_what_it_holds(wheel):
    """Compiled loops serve every Python of one platform; that they run on others is not claimed."""
    compiled = f"ibsync/compiled/{LIBRARY}" in wheel.namelist()
    (head,) = [name for name in wheel.namelist() if name.endswith(".dist-info/WHEEL")]
    tag = f"py3-none-{hatch_build().platform_tag()}" if compiled else "py3-none-any"
    assert f"Tag: {tag}\n" in wheel.read(head).decode()
    assert "manylinux" not in tag
    assert Path(str(wheel.filename)).stem.endswith(tag)


@pytest.mark.parametrize(
    ("name", "machine", "tag"),
    [
        ("linux-x86_64", "x86_64", "linux_x86_64"),
        ("macosx-10.13-universal2", "x86_64", "macosx_10_13_x86_64"),
        ("macosx-10.13-universal2", "arm64", "macosx_11_0_arm64"),
        ("macosx-14.0-arm64", "arm64", "macosx_14_0_arm64"),
    ],
)
def test_a_platform_is_named_as_installers_know_it(name, machine, tag):
    assert hatch_build().platform_tag(name, machine) == tag


def test_the_wheel_holds_loops_where_there_is_a_compiler(wheel):
    if shutil.which("cc") is None or sys.platform == "win32" or platform.machine() not in MACHINES:
        pytest.skip("no C compiler, or none of these processors")
    assert f"ibsync/compiled/{LIBRARY}" in wheel.namelist()


def test_loops_of_the_wheel_are_used_where_it_is_unpacked(wheel, tmp_path):
    wheel.extractall(tmp_path)
    look = "from ibsync.compiled.choice import choice; print(choice().why)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), VARIABLE: ""}
    told = subprocess.run(
        [sys.executable, "-c", look], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    if f"ibsync/compiled/{LIBRARY}" in wheel.namelist():
        assert told.stdout.startswith(str(tmp_path / "ibsync" / "compiled" / LIBRARY))
    else:
        assert told.stdout.strip() == " ".join(wheel.read(f"ibsync/compiled/{REASON}").decode().split())
