"""Write the README's speed table from a file of measured figures.

python benchmarks/readme.py benchmarks/results/NAME.json [--check]
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- speed table: begin -->\n", "<!-- speed table: end -->\n"
RIVALS = {
    "hypyp": "HyPyP {hypyp[HyPyP]}, transforms kept",
    "pycwt": "pycwt {pycwt[pycwt]}",
    "textbook": "the definition vectorised in NumPy, transforms kept",
}
NAMES = {"exact": 'ibsync, `"exact"`', "fast": 'ibsync, `"fast"`'}


def table(figures: Mapping[str, Any], source: str) -> str:
    """Markdown of the table, with where it comes from."""
    dyad, pairs = (figures["sections"][name] for name in ("dyad", "all-pairs"))
    names = NAMES | {key: text.format(**figures["provenance"]["rivals"]) for key, text in RIVALS.items()}
    lines = ["| CPU time of one map | one dyad, 20 x 20 channels | all 440 x 440 channels |", "| --- | --- | --- |"]
    for key, name in names.items():
        ours = key in NAMES
        cells = [_cell(section, key, ours=ours) for section in (dyad, pairs)]
        lines.append(f"| {name} | {cells[0]} | {cells[1]} |")
    return "\n".join([*lines, "", *_sentences(figures, source), ""])


def _cell(section: Mapping[str, Any], key: str, *, ours: bool) -> str:
    found = section["cpu_s_per_map"][key]
    text = f"{1e3 * found['median']:.3g} ms ({1e3 * found['min']:.3g} to {1e3 * found['max']:.3g})"
    return f"{text}, {section['times_faster'][f'{key} vs hypyp']['median']:.0f}x HyPyP" if ours else text


def _sentences(figures: Mapping[str, Any], source: str) -> list[str]:
    whole = figures["sections"]["end-to-end"]["seconds"]["first"]
    built = figures["sections"]["tables"]["seconds"]["exact"]
    made = figures["provenance"]
    how = (
        "A map is one channel pair over 10 min at 10 Hz, periods 5 to 50 s, 12 voices; features included. "
        "Median (range) of turns taken side by side in one run; ratios are medians of the ratios within a turn. "
        "The other programs return full maps, ibsync means over bands and epochs, and HyPyP and pycwt are other "
        "estimators: comparable in speed, not in value."
    )
    study = (
        "20 dyads x 22 channels, 193 600 maps and 10 000 permutations, from study file to saved p-values: "
        f"{whole['wall_s']['median']:.0f} s on {made['cores']} cores, {whole['peak_rss_bytes']['max'] / 1e6:.0f} MB at "
        f"most. The tables of a recording length are built once, in {built['build_wall_s']['median']:.1f} s, and "
        f"loaded in {1e3 * built['load_wall_s']['median']:.0f} ms."
    )
    if "nulls" in figures["sections"]:
        nulls = figures["sections"]["nulls"]["seconds"]
        study += (
            " 1000 phase surrogates of one dyad, 20 x 20 channels, 400 000 maps, `fast`, counted: "
            f"{nulls['phase']['null_wall_s']['median']:.0f} s; a million re-pairings of 20 dyads x 2420 features: "
            f"{nulls['re-pairings']['wall_s']['median']:.0f} s."
        )
    where = (
        f"{made['cpu']}, {made['cores']} cores, {made['date'][:10]}; raw figures in [{source}]({source}); to repeat "
        "them, [benchmarks/README.md](benchmarks/README.md)."
    )
    return [line for part in (how, study, where) for line in (*textwrap.wrap(part, 118, break_on_hyphens=False), "")][
        :-1
    ]


def main() -> None:
    """Rewrite the table, or with --check fail if it is not that of the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figures", type=Path)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    readme = REPOSITORY / "README.md"
    text = readme.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    source = arguments.figures.resolve().relative_to(REPOSITORY).as_posix()
    new = before + BEGIN + table(json.loads(arguments.figures.read_text(encoding="utf-8")), source) + END + after
    if arguments.check and new != text:
        sys.exit(f"README.md: the speed table is not that of {source}: run python benchmarks/readme.py {source}")
    if not arguments.check:
        readme.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
