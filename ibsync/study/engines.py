"""Engines of rows that share a length and epochs, and recordings read ahead of them."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from ..coupling.engine import Engine
from ..coupling.spec import WTC
from .epochs import Spans
from .rows import Occasion

Item = TypeVar("Item")
Read = TypeVar("Read")


def read_ahead(read: Callable[[Item], Read], items: Iterable[Item]) -> Iterator[tuple[Item, Read]]:
    """Each item with what was read of it; the next one is read while this one is worked on."""
    with ThreadPoolExecutor(1) as pool:
        pending: deque[tuple[Item, Future[Read]]] = deque()
        for item in items:
            pending.append((item, pool.submit(read, item)))
            if len(pending) > 1:
                earlier, reading = pending.popleft()
                yield earlier, reading.result()
        for item, reading in pending:
            yield item, reading.result()


def engine_of(occasion: Occasion, spec: WTC, spans: Spans | None, backend: str, made: dict[Any, Engine]) -> Engine:
    """The engine of an occasion and timing of epochs; `made` keeps it for the next one of the kind."""
    key = (occasion.n_samples, occasion.sfreq, json.dumps(spans))
    if key not in made:
        made[key] = Engine(occasion.n_samples, occasion.sfreq, spec, epochs=spans, backend=backend)
    return made[key]
