"""Files that the documents name are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md")), REPOSITORY / "benchmarks" / "README.md"]
NAMED = re.compile(r"\b(?:ibsync|tests|benchmarks|kernels|docs)/[\w/-]+\.(?:py|md|sh|cuh|cu|json|png)\b")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_is_there(page):
    named = {name for name in NAMED.findall(page.read_text(encoding="utf-8")) if "NAME" not in name}
    assert sorted(name for name in named if not (REPOSITORY / name).is_file()) == []
