"""Plan files (TOML) against their declaration: read, refused by file and key, and described for editors and readers."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from ..errors import InputError, PlanError, did_you_mean

_LONGEST = 600  # characters of an error
PLAN = "PLAN"  # in the default of a path: the name of the plan without its ending


class Block(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One table of a plan file. A field is a key: its type says what it may hold, its default what is taken without it.

    What a type cannot say is refused in `__post_init__` by a ValueError whose text begins with the key.
    """

    lists: ClassVar[tuple[str, ...]] = ()
    """Keys that take one value for a list of one."""

    def __post_init__(self) -> None:
        for key in self.lists:
            value = getattr(self, key)
            if value is not None and not isinstance(value, tuple | dict):
                msgspec.structs.force_setattr(self, key, (value,))
            elif isinstance(value, tuple) and any(
                isinstance(item, str) and item in value[:i] for i, item in enumerate(value)
            ):
                raise ValueError(f"{key} = {list(value)!r} must be a list without repetitions")

    def words(self) -> dict[str, Any]:
        """All keys with their values, as keywords of the Python function that they are named after."""
        return dict(msgspec.to_builtins(self))


B = TypeVar("B", bound=Block)


def about(text: str, example: Any = None) -> msgspec.Meta:
    """What a key means, in a sentence; and a value to show where a plan lacks it."""
    return msgspec.Meta(description=text, examples=None if example is None else [example])


def read(path: str | Path, document: type[B]) -> B:
    """Return what a plan file says, with the defaults of its declaration for what it leaves out.

    Parameters
    ----------
    path : str or Path
        Plan file; relative paths in it start at its folder.
    document : type
        Declaration of the whole file.

    Raises
    ------
    InputError
        If the file cannot be read or is not TOML.
    PlanError
        If a key is unknown, missing or has a value of the wrong kind; the text names file and key.
    """
    path = Path(path)
    words = parsed_toml(path)
    for field in msgspec.structs.fields(document):
        if isinstance(default := _default(field), Path):
            words.setdefault(field.name, str(default).replace(PLAN, path.stem))
    try:
        return msgspec.convert(words, document, dec_hook=_path_from(path.parent))
    except msgspec.ValidationError:
        raise PlanError(f"{path}: {_clipped(_fault_in_table('', words, document))}") from None


def parsed_toml(path: Path) -> dict[str, Any]:
    """Content of a TOML file; what cannot be read or is not TOML is an InputError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path of the plan") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not TOML, not even text; give the plan file, saved as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: is not TOML: {_clipped(' '.join(str(error).split()))}") from error
    except (RecursionError, ValueError) as error:
        raise InputError(f"{path}: holds brackets or digits beyond measure; correct the plan") from error


def _clipped(text: str) -> str:
    """Text of at most a few lines; its end says what is right."""
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} ... {text[-_LONGEST // 2 :]}"


def _path_from(folder: Path) -> Any:
    def path(kind: type, value: object) -> Path:
        if kind is not Path or not isinstance(value, str) or not value or "\0" in value:
            raise ValueError
        return folder / Path(value).expanduser()

    return path


def _default(field: msgspec.structs.FieldInfo) -> Any:
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


# --- declarations -----------------------------------------------------------------------------------------------------


def _alternatives(kind: Any) -> Iterable[tuple[Any, dict[str, Any]]]:
    """Each plain type that a declaration allows, with its limits."""
    if get_origin(kind) is Annotated:
        inner, *metas = get_args(kind)
        named = ((name, getattr(meta, name)) for meta in metas for name in ("gt", "ge", "lt", "le"))
        limits = {name: limit for name, limit in named if limit is not None}
        return [(plain, own or limits) for plain, own in _alternatives(inner)]
    if get_origin(kind) in (Union, UnionType):
        return list(chain.from_iterable(_alternatives(part) for part in get_args(kind) if part is not NoneType))
    return [(kind, {})]


def _meta(kind: Any, name: str) -> Any:
    """A word of a declaration's own annotation, the outermost first; also of what may be None."""
    if get_origin(kind) is Annotated:
        inner, *metas = get_args(kind)
        return next((v for meta in reversed(metas) if (v := getattr(meta, name))), None) or _meta(inner, name)
    parts = [part for part in get_args(kind) if part is not NoneType]
    return _meta(parts[0], name) if get_origin(kind) in (Union, UnionType) and len(parts) == 1 else None


def valid(kind: Any, key: str = "") -> str:
    """What a declaration allows, in words."""
    words = [_plain(plain, limits, key) for plain, limits in _alternatives(kind)]
    return str(
        _meta(kind, "title") or ", or ".join([words[0], *(word.replace(words[0], "them") for word in words[1:])])
    )


def _plain(kind: Any, limits: Mapping[str, Any], key: str) -> str:
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return f"one of {', '.join(map(repr, parts))}" if len(parts) > 1 else repr(parts[0])
    if origin is tuple:
        return f"a list of {valid(parts[0], key)}"
    if isinstance(kind, type) and issubclass(kind, Block):
        return f"a table; write [{key}] on its own line"
    names = {bool: "true or false", str: "a text in quotation marks", Path: "a path in quotation marks"}
    named = {int: "a whole number", float: "a number"}
    words = {"gt": "above", "ge": "of at least", "lt": "below", "le": "of at most"}
    return names.get(kind) or " ".join([
        named.get(kind, "a table"), " and ".join(f"{words[name]} {limit:g}" for name, limit in limits.items()),
    ]).strip()  # fmt: skip


# --- what is wrong ----------------------------------------------------------------------------------------------------


def _fits(value: object, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind, dec_hook=_path_from(Path()))
    except msgspec.ValidationError:
        return False
    return True


def _dotted(table: str, word: str) -> str:
    return f"{table}.{word}" if table else word


def _fault(key: str, value: object, kind: Any) -> str:
    """What is wrong with a value that its declaration does not allow: as deep inside it as can be told."""
    for plain, _ in _alternatives(kind):
        if isinstance(value, dict) and isinstance(plain, type) and issubclass(plain, Block):
            return _fault_in_table(key, value, plain)
        parts: Iterable[tuple[str, object]] = ()
        if isinstance(value, dict) and get_origin(plain) is dict:
            parts = [(_dotted(key, name), item) for name, item in value.items()]
        elif isinstance(value, list) and get_origin(plain) is tuple and not _meta(kind, "title"):
            parts = [(key, item) for item in value]
        inside = get_args(plain)[-1 if isinstance(value, dict) else 0] if parts else None
        wrong = next(((name, item) for name, item in parts if not _fits(item, inside)), None)
        if wrong:
            return _fault(*wrong, inside)
    known = [word for plain, _ in _alternatives(kind) if get_origin(plain) is Literal for word in get_args(plain)]
    near = did_you_mean(value, known) if isinstance(value, str) else ""
    return "; ".join(filter(None, [f"{key} = {value!r} must be {valid(kind, key)}", near]))


def _fault_in_table(key: str, words: Mapping[str, Any], block: type[Block]) -> str:
    fields = {field.name: field for field in msgspec.structs.fields(block)}
    for word in words:
        if word not in fields:
            near = difflib.get_close_matches(word, fields, 1)
            hint = f"did you mean {_dotted(key, near[0])}?" if near else f"known keys: {', '.join(fields)}"
            return f"unknown key {_dotted(key, word)}; {hint}"
    for name, field in fields.items():
        if name in words and not _fits(words[name], field.type):
            return _fault(_dotted(key, name), words[name], field.type)
    for name, field in fields.items():
        if name not in words and field.required:
            return _missing(_dotted(key, name), field)
    try:
        msgspec.convert(words, block, dec_hook=_path_from(Path()))
    except msgspec.ValidationError as error:
        text = str(error)
        named = (first := re.match(r"\w+", text)) is not None and first.group() in fields
        return _dotted(key, text) if named or not key else f"{key}: {text}"
    raise AssertionError(f"{key} is as it was declared")


def _missing(key: str, field: msgspec.structs.FieldInfo) -> str:
    if isinstance(field.type, type) and issubclass(field.type, Block):
        needed = [_example(part) for part in msgspec.structs.fields(field.type) if part.required]
        return f"the table [{key}] is missing; add it with {' and '.join(needed)}"
    meaning = _meta(field.type, "description")
    return f"{key} is missing; add {_example(field)} ({meaning[0].lower()}{meaning[1:].rstrip('.')})"


def _example(field: msgspec.structs.FieldInfo) -> str:
    return f"{field.name} = {toml((_meta(field.type, 'examples') or ['...'])[0])}"


# --- for editors and readers ------------------------------------------------------------------------------------------


def toml(value: Any) -> str:
    """A value as a plan file has it on one line."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(str(value) if isinstance(value, Path) else value)


def json_schema(document: type[Block]) -> dict[str, Any]:
    """The declaration of a plan file as a JSON schema, for editors."""
    schema = msgspec.json.schema(document, schema_hook=lambda _: {"type": "string", "minLength": 1})
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Plan file of ibsync", **schema}


def key_tables(document: type[Block]) -> str:
    """All keys of a plan file with values, defaults and meaning, as tables in Markdown."""
    return "\n\n".join("\n".join([*title, "| key | value | default | meaning |", "| --- | --- | --- | --- |", *rows])
                       for title, rows in _sections("", document))  # fmt: skip


def _sections(table: str, block: type[Block]) -> Iterable[tuple[list[str], list[str]]]:
    fields = {field.name: field for field in msgspec.structs.fields(block)}
    inner = {
        name: plain
        for name, field in fields.items()
        for plain, _ in _alternatives(field.type)
        if isinstance(plain, type) and issubclass(plain, Block)
    }
    rows = [_row(name, field) for name, field in fields.items() if name not in inner]
    if rows:
        title = [f"`[{table}]`: {(block.__doc__ or '').splitlines()[0]}", ""] if table else []
        yield title, rows
    for name, plain in inner.items():
        yield from _sections(_dotted(table, name), plain)


def _row(name: str, field: msgspec.structs.FieldInfo) -> str:
    default = None if field.required else _default(field)
    shown = "required" if field.required else "" if default is None else f"`{toml(default)}`"
    cells = (f"`{name}`", valid(field.type), shown, _meta(field.type, "description"))
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
