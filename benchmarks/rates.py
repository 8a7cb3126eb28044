"""What benchmarks of levels share: rates with their limits as they are found, numbers on the command line, JSON."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from measure import provenance
from numpy.typing import ArrayLike, NDArray

from ibsync.inference.p_values import clopper_pearson

Row = dict[str, Any]

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGES = ("ibsync", "numpy", "scipy")


def asked(doc: str, **numbers: int) -> argparse.Namespace:
    """Options of a script by its docstring: numbers with their defaults, and `out`, where JSON is to be written."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    for name, default in numbers.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--out", type=Path)
    return parser.parse_args()


def rate_row(scenario: str, test: str, rejected: NDArray[np.bool_], *, holds: bool, **more: Any) -> Row:
    """Rejections in one cell of a table, with 95 % Clopper-Pearson limits."""
    n, count = len(rejected), int(rejected.sum())
    low, high = (float(limit) for limit in clopper_pearson(np.array(count), n))
    return {
        "scenario": scenario, "test": test, "n": n, "rejected": count, "rate": count / n, "low": low, "high": high,
        "hypothesis_holds": holds, **more,
    }  # fmt: skip


class Rates:
    """
    Rows of rates, each printed when it is added.

    Parameters
    ----------
    scenario_width, test_width : int
        Characters of the first columns.
    """

    def __init__(self, scenario_width: int, test_width: int) -> None:
        self.rows: list[Row] = []
        self._widths = scenario_width, test_width

    def add(self, scenario: str, test: str, rejected: ArrayLike, *, holds: bool) -> None:
        """Whether each study rejects, and whether the hypothesis holds there."""
        row = rate_row(scenario, test, np.asarray(rejected), holds=holds)
        self.rows.append(row)
        place = "  ".join(name.ljust(width) for name, width in zip((scenario, test), self._widths, strict=True))
        print(f"{place} {row['rate']:.3f} [{row['low']:.3f}, {row['high']:.3f}] of {row['n']}", flush=True)


def write(path: Path | None, how: str, **found: Any) -> None:
    """JSON of what was found, how, and by which versions on which machine; nothing without a path."""
    if path is not None:
        content = {"how": how, **found, "provenance": provenance(REPOSITORY, PACKAGES)}
        path.write_text(json.dumps(content, indent=1) + "\n")
