"""`ibsync info`: what a file holds. For a study nothing but its reader is imported, so that it answers at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..recordings.hdf5 import open_hdf5
from ..recordings.journal import described
from ..recordings.study_file import StudyFile

if TYPE_CHECKING:
    from ..results.result import Result


def describe(path: str | Path, *, accept_changes: bool = False) -> tuple[str, dict[str, Any]]:
    """Return what a study file, a result file, a shard or a journal holds, as text and as a dictionary for JSON.

    Parameters
    ----------
    path : str or Path
        File written by `ibsync pack`, `ibsync run` or their Python counterparts.
    accept_changes : bool
        Take a file that was changed after ibsync wrote it.

    Returns
    -------
    text : str
        A page to read.
    content : dict
        The same for a script.

    Raises
    ------
    InputError
        If the file is none of these.
    """
    unfinished = described(path)
    if unfinished is not None:
        return unfinished
    with open_hdf5(Path(path)) as file:
        is_result = bool({"format", "kind"} & set(file.attrs))
    if is_result:
        from ..results.result import load

        result = load(path, accept_changes=accept_changes)
        return str(result), _result_content(result)
    study = StudyFile.open(path, accept_changes=accept_changes)
    return str(study), study.describe()


def _result_content(result: Result) -> dict[str, Any]:
    sizes = {str(name): size for name, size in result.dataset.sizes.items()}
    attrs = {str(name): _parsed(value) for name, value in result.dataset.attrs.items()}
    return {"kind": result.kind, "headline": result.headline, "sizes": sizes, "attributes": attrs}


def _parsed(value: Any) -> Any:
    """JSON text as what it says; anything else as plain Python."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value.item() if hasattr(value, "item") else value
