"""How objects show themselves in a notebook: a title and a small table of names and values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any

from .names import first_of

_AXES = {
    "epoch": "epochs",
    "channel_a": "channels of a",
    "channel_b": "channels of b",
    "band": "bands",
    "shift": "shifts",
}


def table_html(title: str, rows: Iterable[tuple[str, str]]) -> str:
    """
    A title and names with their values, as HTML without style, which a notebook gives its own.

    Parameters
    ----------
    title : str
    rows : iterable of (name, value)
        Escaped here.
    """
    cells = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)
    return f"<p><b>{escape(title)}</b></p><table><tbody>{cells}</tbody></table>"


def labels_in(attrs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The labels of what was computed, axis by axis, that attributes hold as JSON."""
    labels = json.loads(str(attrs.get("labels", "{}")))
    for axis, name in _AXES.items():
        if axis in labels:
            yield name, first_of(map(str, labels[axis]))
