"""How a page is put together: templates in which all text is escaped, tables, a policy that lets nothing else in."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES = Path(__file__).parent / "templates"
_NOTHING = ("", "–", "(all)")


@dataclass(frozen=True)
class Table:
    """
    A table of a page.

    Attributes
    ----------
    head : sequence of str
        Names of the columns.
    rows : sequence of sequence of str
    n_text : int
        Columns after these hold numbers.
    name : str
        What it is called where it is filtered or saved; one without a name is only read.
    kept : sequence of bool
        Rows that pass a test.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    n_text: int
    name: str = ""
    kept: Sequence[bool] = ()

    def without_empty_columns(self) -> Table:
        """The same without columns in which no row says anything; the first stays."""
        told = [k for k in range(len(self.head)) if k == 0 or any(row[k] not in _NOTHING for row in self.rows)]
        rows = [[row[k] for k in told] for row in self.rows]
        return replace(self, head=[self.head[k] for k in told], rows=rows, n_text=sum(k < self.n_text for k in told))


@dataclass(frozen=True)
class Section:
    """A part of a page: its title, a paragraph, a list, a table, a note below them."""

    title: str
    text: str = ""
    lines: Sequence[str] = ()
    table: Table | None = None
    note: str = ""


def page(template: str, **words: Any) -> str:
    """
    A page that needs nothing but itself.

    Parameters
    ----------
    template : str
        Name of a file among the templates.
    **words
        What it shows. Text is escaped.
    """
    return _environment().get_template(template).render(words)


def fragment(template: str, macro: str, *arguments: Any) -> str:
    """What a macro of a template makes of its arguments, to stand in a page of others, such as a notebook."""
    return str(getattr(_environment().get_template(template).module, macro)(*arguments))


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=False,
    )  # fmt: skip
    made.globals.update(policy=_policy, text_of=_text_of)
    return made


@cache
def _text_of(name: str) -> Any:
    """A style sheet or script of ours as it stands."""
    from markupsafe import Markup

    return Markup((_TEMPLATES / name).read_text(encoding="utf-8"))  # noqa: S704


def _policy(style: str, script: str = "") -> str:
    """Content security policy of a page with one style sheet and at most one script: these, and pictures within it."""
    parts = ["default-src 'none'", "img-src data:", f"style-src '{_digest(style)}'"]
    return "; ".join([*parts, f"script-src '{_digest(script)}'"] if script else parts)


def _digest(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"
