"""Results that belong together: each names the others, so that one of another run among them is noticed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..recordings.hdf5_writing import root_attributes
from .netcdf import encode_attrs


def set_words(names: Sequence[str], attrs: Sequence[Mapping[Any, Any]]) -> dict[str, Any]:
    """
    Attributes of each result of a set: its identity, and the names of its files.

    Parameters
    ----------
    names : sequence of str
        File of each result.
    attrs : sequence of mapping
        Attributes of each; what was made from one study by one request with one version has one identity.
    """
    if len(names) < 2:
        return {}
    shared = [{str(name): str(value) for name, value in each.items() if name != "created"} for each in attrs]
    identity = hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()[:16]
    return encode_attrs({"set_id": identity, "set_files": list(names)})


def mixed_set(path: str | os.PathLike[str], attrs: Mapping[Any, Any]) -> str:
    """What is to be said of a result beside which a file of its set is of another run; empty if none is."""
    siblings = [Path(path).with_name(Path(name).name) for name in json.loads(str(attrs.get("set_files", "[]")))]
    others = [
        sibling.name
        for sibling in siblings
        if sibling.is_file() and root_attributes(sibling, "set_id").get("set_id") != attrs.get("set_id")
    ]
    if not others:
        return ""
    return (
        f"{Path(path).name} was written together with {' and '.join(others)}, now of another run; corrections over "
        "both no longer hold: run the plan again"
    )
