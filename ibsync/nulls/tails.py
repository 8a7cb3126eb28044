"""The tails of a test."""

from __future__ import annotations

from typing import Literal

Tail = Literal["greater", "less", "two-sided"]
