"""A bar on standard error, where one is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def with_bar(jobs: Iterable[T], what: str, unit: str, progress: bool, total: int | None = None) -> Iterable[T]:
    """The same jobs, shown as they are done; `total` where they have no length."""
    if not progress:
        return jobs
    from tqdm.auto import tqdm

    return tqdm(jobs, desc=what, unit=unit, total=total)
