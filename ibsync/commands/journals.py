"""Where commands keep what is finished of a long computation: beside what they write."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from ..errors import PlanError


def journal_file(output: Path) -> Path:
    """Where finished parts are kept: out.h5 -> out.h5.journal."""
    return output.with_name(f"{output.name}.journal")


def journals_of(outputs: Sequence[Path], resume: bool, n: int) -> list[Path | None]:
    """
    The journal beside each of `n` outputs; none where nothing is to be resumed.

    Raises
    ------
    PlanError
        If there is no output.
    """
    if not resume:
        return [None] * n
    if not outputs:
        raise PlanError("--resume keeps its journal beside the output: name one with -o")
    return [journal_file(output) for output in outputs]


def forget(journals: Iterable[Path | None]) -> None:
    """Remove journals whose outputs are written."""
    for journal in filter(None, journals):
        with suppress(OSError):
            journal.unlink()
