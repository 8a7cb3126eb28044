"""Where the kernel sources lie, and the text that a compiler gets."""

import re
from pathlib import Path

from ....errors import DeviceError

OPTIONS = ("--std=c++17",)
"""Options of every compilation. No fast mathematics: division, roots and functions keep their documented error."""

_INCLUDE = re.compile(r'^#include "([^"]+)"[^\n]*$', re.MULTILINE)
_ONCE = re.compile(r"^#pragma once[^\n]*$", re.MULTILINE)


def kernel_folder() -> Path:
    """
    Folder of the kernel sources: in the package where it was installed, beside it in a checkout.

    Raises
    ------
    DeviceError
        If neither is there.
    """
    package = Path(__file__).parents[3]
    for folder in (package / "kernels", package.parent / "kernels"):
        if (folder / "common.cuh").is_file():
            return folder
    raise DeviceError(f"no kernel sources beside {package}; install ibsync anew")


def expand(name: str) -> str:
    """
    Text of a kernel file with its headers in the place of their ``#include`` lines, each once.

    A compiler then needs no include path, CuPy's cache sees a changed header, and ``#line`` keeps errors at the line
    of the file that a person edits.

    Parameters
    ----------
    name : str
        File name in the kernel folder without ``.cu``.

    Raises
    ------
    DeviceError
        If the file or a header is not there.
    """
    return expand_text(_read(f"{name}.cu"), f"{name}.cu")


def expand_text(text: str, file: str) -> str:
    """Text with headers of the kernel folder in the place of its ``#include`` lines; `file` is named in errors."""
    return _expanded(text, file, set())


def _read(file: str) -> str:
    path = kernel_folder() / file
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DeviceError(f"no kernel source {file} in {path.parent}; install ibsync anew") from error


def _expanded(text: str, file: str, seen: set[str]) -> str:
    text = _ONCE.sub("", text)
    pieces, start = [f'#line 1 "kernels/{file}"\n'], 0
    for include in _INCLUDE.finditer(text):
        header, line = include[1], text.count("\n", 0, include.end()) + 2
        pieces.append(text[start : include.start()])
        if header not in seen:
            seen.add(header)
            pieces += [_expanded(_read(header), header, seen), f'\n#line {line} "kernels/{file}"']
        start = include.end()
    return "".join([*pieces, text[start:]])
