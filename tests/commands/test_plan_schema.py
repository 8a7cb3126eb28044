"""The schema and the tables of plan files hold the keys that are read, no more and no fewer."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from ibsync.commands.cli import PLANS, main
from ibsync.commands.demo import PLAN_TEXT
from ibsync.commands.plan_file import DOCUMENTS
from ibsync.commands.plan_reader import json_schema, key_tables, read

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None), "integer": int}


def fits(value, schema, root):
    """Whether a JSON schema allows a value, of the words that are in ours."""
    if "$ref" in schema:
        return fits(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if "anyOf" in schema:
        return any(fits(value, one, root) for one in schema["anyOf"])
    if "enum" in schema:
        return value in schema["enum"]
    if "const" in schema:
        return value == schema["const"]
    if isinstance(value, bool) != (schema["type"] == "boolean"):
        return False
    if not isinstance(value, TYPES.get(schema["type"], int | float)):
        return False
    if isinstance(value, dict):
        known, more = schema.get("properties", {}), schema.get("additionalProperties", {})
        return (
            set(schema.get("required", ())) <= set(value)
            and schema.get("minProperties", 0) <= len(value)
            and all(name in known or more for name in value)
            and all(fits(item, known.get(name, more), root) for name, item in value.items())
        )
    if isinstance(value, list):
        within = schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
        return within and all(fits(item, schema["items"], root) for item in value)
    if isinstance(value, str):
        return len(value) >= schema.get("minLength", 0)
    return (
        value >= schema.get("minimum", value)
        and value <= schema.get("maximum", value)
        and ("exclusiveMinimum" not in schema or value > schema["exclusiveMinimum"])
        and ("exclusiveMaximum" not in schema or value < schema["exclusiveMaximum"])
    )


def of_a_block(key):
    return any("$ref" in one for one in (key, *key.get("anyOf", ())))


def plans():
    """Every plan file that a page or the demo shows, by where it stands; parts of one are made whole."""
    yield "demo", PLAN_TEXT
    for page in PAGES:
        for i, text in enumerate(
            re.findall(r"^```toml\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
        ):
            whole = "study" in tomllib.loads(text) or "power" in tomllib.loads(text)
            yield f"{page.name} {i}", text if whole else f'study = "study.h5"\n{text}'


def document_of(text):
    return DOCUMENTS[next((name for name in ("multiverse", "power") if name in tomllib.loads(text)), "run")]


PLAN_TEXTS = dict(plans())


def test_the_pages_show_plans_of_every_kind():
    assert {document_of(text) for text in PLAN_TEXTS.values()} == set(DOCUMENTS.values())
    assert len(PLAN_TEXTS) >= 7


@pytest.mark.parametrize("name", PLAN_TEXTS)
def test_a_plan_that_is_shown_is_read_and_fits_the_schema(name, tmp_path):
    text = PLAN_TEXTS[name]
    (tmp_path / "plan.toml").write_text(text, encoding="utf-8")
    read(tmp_path / "plan.toml", document_of(text))
    schema = json_schema(document_of(text))
    assert fits(tomllib.loads(text), schema, schema)


@pytest.mark.parametrize(
    "more",
    ["studies = 1", "[wtc]\nvoises = 12", "[wtc]\nvoices = true", "[wtc.bands]\na = [0.1]", "[null]\nn = 0",
     "[null]\nwithin = 'session'", "[test]\nalpha = 1", "[test]\ntail = 'up'", "[outcome]\nlevel = 'mean'",
     "[synchrony]\nepochs = {}"],
)  # fmt: skip
def test_the_schema_refuses_what_the_reader_refuses(more):
    schema = json_schema(DOCUMENTS["run"])
    assert fits({"study": "s.h5"}, schema, schema)
    assert not fits(tomllib.loads(f'study = "s.h5"\n{more}'), schema, schema)


@pytest.mark.parametrize("plan", PLANS)
def test_every_key_of_a_schema_says_what_it_means(plan, capsys):
    assert main(["schema", plan]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema == json.loads(json.dumps(json_schema(DOCUMENTS[plan])))
    for block in schema["$defs"].values():
        assert block["additionalProperties"] is False
        for name, key in block["properties"].items():
            assert "description" in key or of_a_block(key), name


def test_the_command_knows_every_kind_of_plan():
    assert set(PLANS) == set(DOCUMENTS)


@pytest.mark.parametrize("plan", ["run", "multiverse", "power"])
def test_the_tables_in_the_docs_are_those_of_the_declaration(plan, capsys):
    page = (ROOT / "docs" / "plan-files.md").read_text(encoding="utf-8")
    shown = re.search(rf"<!-- keys of {plan}: begin -->\n\n(.*)\n\n<!-- keys of {plan}: end -->", page, re.DOTALL)
    assert main(["schema", plan, "--keys"]) == 0
    assert shown.group(1) + "\n" == capsys.readouterr().out == key_tables(DOCUMENTS[plan]) + "\n"


@pytest.mark.parametrize("document", dict.fromkeys(DOCUMENTS.values()))
def test_the_tables_name_every_key(document):
    blocks = json_schema(document)["$defs"]
    blocks.pop("Band", None)
    keys = [name for block in blocks.values() for name, key in block["properties"].items() if not of_a_block(key)]
    assert sorted(re.findall(r"^\| `(\w+)`", key_tables(document), re.MULTILINE)) == sorted(keys)
