"""Files that the documents name are there; lists that stand in two places are the same."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import ibsync

REPOSITORY = Path(__file__).parents[1]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md")), REPOSITORY / "benchmarks" / "README.md"]
NAMED = re.compile(r"\b(?:ibsync|tests|benchmarks|kernels|docs)/[\w/-]+\.(?:py|md|sh|cuh|cu|json|png)\b")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_is_there(page):
    named = {name for name in NAMED.findall(page.read_text(encoding="utf-8")) if "NAME" not in name}
    assert sorted(name for name in named if not (REPOSITORY / name).is_file()) == []


def test_the_api_page_has_every_public_name():
    text = (REPOSITORY / "docs" / "api.md").read_text(encoding="utf-8")
    named = re.findall(r"^::: ibsync\.(\w+)$", text, re.MULTILINE)
    assert sorted(named) == sorted(set(ibsync.__all__) - {"plot"})
    assert "::: ibsync.results.figures.gallery" in text


def test_every_page_is_in_the_navigation():
    text = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8")
    pages = {path.relative_to(REPOSITORY / "docs").as_posix() for path in (REPOSITORY / "docs").rglob("*.md")}
    assert sorted(pages) == sorted(re.findall(r": ([\w/-]+\.md)$", text, re.MULTILINE))


def test_one_version_and_one_list_of_dependencies():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    recipe = (REPOSITORY / "conda" / "recipe.yaml").read_text(encoding="utf-8")
    citation = (REPOSITORY / "CITATION.cff").read_text(encoding="utf-8")
    assert ibsync.__version__ == project["version"]
    assert f'version: "{ibsync.__version__}"' in recipe
    assert f"\nversion: {ibsync.__version__}\n" in citation
    wanted = [line.replace(">=", " >=") for line in project["dependencies"]]
    named = {"matplotlib": "matplotlib-base", "msgspec": "msgspec-python"}  # names of conda-forge
    for line in wanted:
        name, version = line.split(" ")
        assert f"    - {named.get(name, name)} {version}\n" in recipe
