"""Write the README's speed table and docs/cost.png from a file of measured figures.

python benchmarks/readme.py benchmarks/results/NAME.json [--check]

Below it come the figures of a GPU, from the newest file of benchmarks/gpu.py beside it; nothing where there is none.
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
JOBS = {
    "small": "small study, 4 x 4 channels",
    "dyad": "one dyad, 20 x 20 channels",
    "all-pairs": "all 440 x 440 channels",
}
NAMES = {"exact": 'ibsync, `"exact"`', "fast": 'ibsync, `"fast"`'}


def table(figures: Mapping[str, Any], source: str) -> str:
    """Markdown of the table, with where it comes from."""
    made = figures["provenance"]
    names = dict(NAMES)
    if "before" in made:
        names |= {f"{key}, before": f"{name} at commit {made['before'][:7]}" for key, name in NAMES.items()}
    names |= {key: text.format(**made["rivals"]) for key, text in RIVALS.items()}
    jobs = {job: text for job, text in JOBS.items() if job in figures["sections"]}
    lines = [f"| CPU time of one map | {' | '.join(jobs.values())} |", "| --- " * (1 + len(jobs)) + "|"]
    for key, name in names.items():
        lines.append(" | ".join([f"| {name}", *(_cell(figures["sections"][job], key) for job in jobs)]) + " |")
    return "\n".join([*lines, "", *_sentences(figures, source), ""])


def _cell(section: Mapping[str, Any], key: str) -> str:
    found = section["cpu_s_per_map"][key]
    text = f"{1e3 * found['median']:.3g} ms ({1e3 * found['min']:.3g} to {1e3 * found['max']:.3g})"
    if key.removesuffix(", before") not in NAMES:
        return text
    return f"{text}, {section['times_faster'][f'{key} vs hypyp']['median']:.0f}x HyPyP"


def _sentences(figures: Mapping[str, Any], source: str) -> list[str]:
    whole = figures["sections"]["end-to-end"]["seconds"]["first"]
    built = figures["sections"]["tables"]["seconds"]["exact"]
    made = figures["provenance"]
    small = (
        "The small study has 10 dyads x 2 sessions of 2 min at 8.333 Hz, three bands from 0.05 to 0.9 Hz, and is read "
        "from its file. "
        if "small" in figures["sections"]
        else ""
    )
    how = (
        f"A map is one channel pair over 10 min at 10 Hz, periods 5 to 50 s, 12 voices; features included. {small}"
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
    return _wrapped(how, study, where)


def cost_picture(figures: Mapping[str, Any], path: Path) -> None:
    """Cost as recordings, channels, dyads and draws grow, on logarithmic axes."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    growth = figures["sections"]["growth"]
    figure, axes = plt.subplots(1, len(growth["sizes"]), figsize=(10, 2.9), sharey=True, layout="constrained")
    for axis, (along, sizes) in zip(axes, growth["sizes"].items(), strict=True):
        for name, seconds in growth["cpu_s"][along].items():
            color, line = f"C{list(NAMES).index(name.split(',')[0])}", "--" if name.endswith("before") else "-"
            axis.loglog(sizes, seconds, line, color=color, marker="o", ms=3, label=name)
        axis.set_xticks(sizes, [f"{size:g}" if size < 1e4 else f"{size / 1000:g}k" for size in sizes])
        axis.minorticks_off()
        axis.set_xlabel(along)
        axis.grid(visible=True, which="major", lw=0.3)
    axes[0].set_ylabel("CPU time (s)")
    axes[0].legend(fontsize="small")
    figure.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(figure)


def _wrapped(*parts: str) -> list[str]:
    """Paragraphs with an empty line between them."""
    return [line for part in parts for line in (*textwrap.wrap(part, 118, break_on_hyphens=False), "")][:-1]


# --- a GPU ------------------------------------------------------------------------------------------------------------

GPU_NAMES = {
    **NAMES,
    "textbook, float32": "the definition vectorised in CuPy, float32, transforms kept",
    "textbook, float64": "the same, float64",
}


def newest_gpu(folder: Path) -> Path | None:
    """The newest whole run of gpu.py on a GPU among the files of a folder."""
    found = []
    for path in folder.glob("*.json"):
        report = json.loads(path.read_text(encoding="utf-8"))
        if is_of_a_gpu(report):
            found.append((report["provenance"]["date"], path))
    return max(found)[1] if found else None


def is_of_a_gpu(report: Mapping[str, Any]) -> bool:
    """Whether figures were measured on a GPU, by its own events and at full size."""
    made, wanted = report.get("provenance", {}), {"textbook", "stages"}
    told = made.get("backend"), made.get("clock"), made.get("size")
    return told == ("cuda", "CUDA events", "full") and wanted <= {*report["sections"]}


def gpu_table(figures: Mapping[str, Any], source: str) -> str:
    """Markdown of a GPU's figures, with where they come from."""
    made, sections = figures["provenance"], figures["sections"]
    book = sections["textbook"]
    lines = [f"| Time of one map on one {made['gpu']['name']} | one dyad, 20 x 20 channels |", "| --- | --- |"]
    for key, name in GPU_NAMES.items():
        took = book["s_per_map"][key]
        text = f"{1e6 * took['median']:.3g} us ({1e6 * took['min']:.3g} to {1e6 * took['max']:.3g})"
        if key in NAMES:
            text += f", {book['times_faster'][f'{key} vs textbook, float32']['median']:.0f}x float32 in CuPy"
        lines.append(f"| {name} | {text} |")
    return "\n".join(["", *lines, "", *_wrapped(*_gpu_sentences(made, sections, source)), ""])


def _gpu_sentences(made: Mapping[str, Any], sections: Mapping[str, Any], source: str) -> list[str]:
    jobs = sections["stages"]["jobs"]
    rates = [
        f"{what}, {accuracy}: {jobs[f'{job}, {accuracy}']['maps_per_s']:.2g} maps/s "
        f"({100 * jobs[f'{job}, {accuracy}']['part_of_roofline']:.0f} % of the roofline)"
        for job, what in (("all pairs", "all pairs of 440 x 440 channels"), ("phase null", "phase surrogates, counted"))
        for accuracy in NAMES
    ]
    how = (
        "As above, signals on the GPU; the programs in turn on the same GPU, and checked equal. The textbook returns "
        f"full maps. {'; '.join(rates)}."
    )
    runs = sections.get("workloads", {}).get("runs", {}).get("typical", {})
    if {"cuda", "numpy"} <= {*runs}:
        how += (
            " The study of 193 600 maps and 10 000 permutations, from file to saved p-values: "
            f"{runs['cuda']['wall_s']:.1f} s, on this machine's {made['cores']} cores {runs['numpy']['wall_s']:.1f} s."
        )
    gpu = made["gpu"]
    where = (
        f"{gpu['name']}, driver {gpu['driver']}, CUDA {gpu['cuda_of_runtime']}, CuPy {gpu['cupy']}, "
        f"{made['date'][:10]}; raw figures in [{source}]({source})."
    )
    return [how, where]


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
    source, figures = _read(arguments.figures)
    of_gpu = newest_gpu(arguments.figures.parent)
    made = table(figures, source) + (gpu_table(*_read(of_gpu)[::-1]) if of_gpu else "")
    new = before + BEGIN + made + END + after
    if arguments.check and new != text:
        sys.exit(f"README.md: the speed table is not that of {source}: run python benchmarks/readme.py {source}")
    if not arguments.check:
        readme.write_text(new, encoding="utf-8")
        if "growth" in figures["sections"]:
            cost_picture(figures, REPOSITORY / "docs" / "cost.png")


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    """Name of a file in the repository, and what it holds."""
    return path.resolve().relative_to(REPOSITORY).as_posix(), json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
