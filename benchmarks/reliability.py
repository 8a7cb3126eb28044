"""Write the tables of docs/reliability.md from benchmarks/results.

python benchmarks/reliability.py
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
RESULTS = REPOSITORY / "benchmarks" / "results"
VERDICTS = {"refused": "refused", "right": "as it was", "samples": "samples", "other": "other values", "wrong": "wrong",
            "internal": "internal error", "hang": "hang", "crash": "crash", "memory": "memory"}  # fmt: skip


def table(header: Sequence[object], rows: Sequence[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def fuzz(found: dict[str, Any]) -> str:
    counts = found["counts"]
    rows = [[kind, *(of_kind.get(name, 0) for name in VERDICTS)] for kind, of_kind in counts.items()]
    rows.append(["all", *(sum(of_kind.get(name, 0) for of_kind in counts.values()) for name in VERDICTS)])
    return table(["file", *VERDICTS.values()], rows)


def faults(found: dict[str, Any]) -> str:
    keys = ("where", "fault", "injected", "struck", "survived")
    return table(keys, [[row[key] for key in keys] for row in found["rows"]])


def costs(found: dict[str, Any]) -> str:
    rows = [
        [section, job, *(f"{median(column):.2f}" for column in zip(*runs, strict=True))]
        for section, jobs in found["sections"].items()
        for job, runs in jobs.items()
    ]
    return table(["what", "how", "s on the clock", "s of computing"], rows)


def main() -> None:
    page = REPOSITORY / "docs" / "reliability.md"
    text = page.read_text(encoding="utf-8")
    for name, of_file in (("fuzz", fuzz), ("faults", faults), ("border-costs", costs)):
        made = of_file(json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8")))
        mark = f"<!-- {name}: {{}} -->"
        begin, end = mark.format("begin"), mark.format("end")
        text = re.sub(f"{begin}.*{end}", lambda _, new=f"{begin}\n{made}\n{end}": new, text, flags=re.DOTALL)
    page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
