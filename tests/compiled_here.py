"""The compiled loops of the package under test: made where a checkout has none, built with other words for a test."""

from __future__ import annotations

import importlib.util
import os
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

import ibsync
from ibsync.compiled import choice
from ibsync.compiled.made_from import BUILDS

REPOSITORY = Path(__file__).parents[1]


def hatch_build() -> SimpleNamespace:
    """What hatch_build.py defines; skips where hatchling is not installed."""
    if importlib.util.find_spec("hatchling") is None:
        pytest.skip("hatchling is not installed")
    return SimpleNamespace(**runpy.run_path(str(REPOSITORY / "hatch_build.py")))


def usable_builds() -> list[str]:
    """Builds of the compiled loops that this processor runs."""
    _compile_checkout()
    found = choice.found(Path(ibsync.__file__).parent)
    return [] if isinstance(found, str) else [build for build in BUILDS if choice.best_build(found, build)]


def _compile_checkout() -> None:
    """Compile into a checkout's build folder, if that checkout is under test and has no loops of these sources."""
    checkout = Path(ibsync.__file__).parents[1] == REPOSITORY
    if not checkout or os.environ.get(choice.VARIABLE) or importlib.util.find_spec("hatchling") is None:
        return
    if choice.loops() is None:
        hatch_build().put_loops(REPOSITORY / "build")
        choice._choice.cache_clear()
