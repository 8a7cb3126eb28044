"""Which loops are used here, those in C or those in NumPy, and why.

`kernels/cpu` is compiled when ibsync is installed, for each set of instructions that the processor's kind may have
(`hatch_build.py`); the best that this processor runs is taken. Where there is none, NumPy does the same work.
"""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from ..errors import DeviceError
from .loops import Loops
from .made_from import BUILDS, LIBRARY, REASON, digest

VARIABLE = "IBSYNC_COMPILED"
NUMPY = "NumPy"


@dataclass(frozen=True)
class Choice:
    """
    Which loops are used.

    Attributes
    ----------
    build : str
        One of `BUILDS`, or "NumPy".
    why : str
    loops : Loops or None
        None for NumPy.
    """

    build: str
    why: str
    loops: Loops | None = None


def choice() -> Choice:
    """What this process uses, by the processor and the variable IBSYNC_COMPILED (0 for NumPy, or the name of a build).

    Raises
    ------
    DeviceError
        If the variable asks for a build that cannot be had.
    """
    return _choice(os.environ.get(VARIABLE, ""))


def loops() -> Loops | None:
    """The compiled loops, None where NumPy is used."""
    return choice().loops


@cache
def _choice(asked: str) -> Choice:
    if asked == "0":
        return Choice(NUMPY, f"{VARIABLE}=0")
    if asked and asked not in BUILDS:
        raise DeviceError(f"{VARIABLE}={asked!r} must be 0 or one of {', '.join(BUILDS)}")
    library = found(Path(__file__).parents[1])
    if isinstance(library, str):
        why = library
    elif (build := best_build(library, asked)) is not None:
        return Choice(build, f"{library._name}, compiled by {library.compiled_by().decode()}", Loops(library, build))
    else:
        why = f"{library._name} holds no loops that this processor can run"
    if asked:
        raise DeviceError(f"{VARIABLE}={asked!r} cannot be had on this machine: {why}; leave it out, or set it to 0")
    return Choice(NUMPY, why)


class _Library(Protocol):
    def processor_runs(self, build: bytes) -> int: ...


def best_build(library: _Library, asked: str = "") -> str | None:
    """The best build of a library, or the one that is asked for, if it is there and the processor runs it."""
    there = (b for b in BUILDS if hasattr(library, f"count_draws_{b}") and library.processor_runs(b.encode()))
    return next((build for build in there if asked in ("", build)), None)


def found(package: Path) -> ctypes.CDLL | str:
    """The library of an installed package or of a checkout, or why there is none."""
    installed, checkout = (
        (package / "compiled", package / "kernels"),
        (package.parent / "build", package.parent / "kernels"),
    )
    for folder, sources in (installed, checkout):
        if (path := folder / LIBRARY).is_file():
            return opened(path, sources / "cpu")
        if (reason := folder / REASON).is_file():
            return " ".join(reason.read_text(encoding="utf-8").split())
    return "this checkout has no compiled loops: python hatch_build.py makes them"


def opened(path: Path, sources: Path) -> ctypes.CDLL | str:
    """A library, or why it is not used: it must be made of the sources that lie here."""
    try:
        library = ctypes.CDLL(str(path))
        for name in ("compiled_by", "compiled_from"):
            getattr(library, name).restype = ctypes.c_char_p
        made_of = library.compiled_from().decode()
    except (OSError, AttributeError) as error:
        return f"{path} cannot be opened ({error}); install ibsync again"
    if made_of != digest(sources):
        return f"{path} was compiled from other sources than those in {sources}; install or compile again"
    return library
