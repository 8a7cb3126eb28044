"""One self-contained HTML page about a result: pictures first, then tables, words and provenance."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import numpy as np

from .. import wording
from ..storage import check_writable, write_whole
from .drawing import finite_mean
from .panels import Picture, pictures

if TYPE_CHECKING:
    import xarray as xr

    from ..results import Result

_MOST_FINDINGS = 20
_MOST_ROWS = 60
_PLACE_HEAD = ("epoch", "a", "b", "band")
_MORE_P = ("p_cluster", "p_tfce")
_TOLD_ELSEWHERE = {
    "kind",
    "spec",
    "versions",
    "hypothesis",
    "not_excluded",
    "study_sha256",
    "created",
    "ibsync_version",
}

_STYLE = """
:root { --ink: #1c2733; --soft: #5a6875; --rule: #dde3e8; --real: #0072B2; --wash: #f3f7fa; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 2.2rem 1.5rem 4rem; }
h1 { font-size: 1.05rem; font-weight: 600; color: var(--soft); margin: 0 0 .8rem; }
h2 { font-size: 1.3rem; margin: 3rem 0 .8rem; padding-bottom: .3rem; border-bottom: 1px solid var(--rule); }
h3 { font-size: 1rem; margin: 0 0 .6rem; }
.headline { font-size: 1.4rem; line-height: 1.4; font-weight: 600; margin: 0; padding-left: 1rem;
  border-left: 5px solid var(--real); overflow-wrap: anywhere; }
.tested { color: var(--soft); margin: 1rem 0 0 calc(1rem + 5px); overflow-wrap: anywhere; }
.facts { display: flex; flex-wrap: wrap; gap: .6rem 2.2rem; margin: 1.6rem 0 0; padding: .9rem 1.2rem;
  background: var(--wash); border-radius: 6px; }
.facts div { min-width: 0; overflow-wrap: anywhere; }
.facts dt { font-size: .78rem; color: var(--soft); } .facts dd { margin: 0; font-weight: 600; }
figure { margin: 2.2rem 0; break-inside: avoid; }
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
figcaption { color: var(--soft); font-size: .9rem; margin-top: .5rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .38rem .7rem; border-bottom: 1px solid var(--rule); vertical-align: top; }
td { overflow-wrap: break-word; } thead th { color: var(--soft); font-weight: 600; white-space: nowrap; }
.n { text-align: right; white-space: nowrap; } tr.kept td { background: #eaf4fb; font-weight: 600; }
.note { color: var(--soft); font-size: .88rem; } code { font-size: .86em; overflow-wrap: anywhere; }
@page { margin: 15mm; }
@media print { body { font-size: 10pt; } main { max-width: none; padding: 0; } h2 { break-after: avoid; }
  table { font-size: 7.5pt; } th, td { padding: .2rem .3rem; } thead th { white-space: normal; }
  .scroll { overflow: visible; } figure img { max-height: 21cm; }
  tr { break-inside: avoid; } tr.kept td, .facts { print-color-adjust: exact; } }
"""

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Inter-brain synchrony: report</title>
<style>$style</style>
</head>
<body>
<main>
<header>
<h1>Inter-brain synchrony: wavelet transform coherence</h1>
<p class="headline">$headline</p>
<p class="tested">$hypothesis</p>
$facts
</header>
<section aria-label="Pictures">
$figures
</section>
$findings
<section>
<h2>Methods, for the paper</h2>
<p>$methods</p>
</section>
<section>
<h2>What this does not show</h2>
<p>$not_excluded Coherence is magnitude-squared, 0 to 1; its null mean is not 0, so that
a value means little without its null.</p>
</section>
<section>
<h2>Quality</h2>
$quality
</section>
<section>
<h2>Settings</h2>
$settings
</section>
<section>
<h2>Inputs and versions</h2>
$inputs
</section>
</main>
</body>
</html>
""")


def report(result: Result, out_html: str | os.PathLike[str]) -> Path:
    """
    Write one HTML page about a result, whole or not at all.

    Parameters
    ----------
    result : Result
        A result, or saved real synchrony (then without null and tests).
    out_html : str or path-like
        The page; replaced if it exists. It needs no other file and no network.

    Returns
    -------
    pathlib.Path
        The page that was written.

    Raises
    ------
    InputError
        If the page cannot be written there.
    """
    target = check_writable(out_html)
    write_whole(target, html_page(result).encode("utf-8", errors="replace"))
    return target


def html_page(result: Result) -> str:
    """The page as text; equal results give equal pages."""
    ds = result.dataset
    return _PAGE.substitute(
        style=_STYLE,
        headline=escape(result.headline),
        hypothesis=escape(result.hypothesis),
        facts=_facts(ds),
        figures="\n".join(_figure(number, picture) for number, picture in enumerate(pictures(ds), start=1)),
        findings=_findings(ds) + _dyad_findings(ds) if wording.is_tested(ds) else "",
        methods=escape(result.methods()),
        not_excluded=escape(_not_shown(ds)),
        quality=_quality(ds),
        settings=_settings(ds),
        inputs=_inputs(ds),
    )


def _not_shown(ds: xr.Dataset) -> str:
    if not wording.is_tested(ds):
        return "Nothing was tested: high coherence alone is no evidence of interaction."
    return f"A small p does not exclude {wording.not_excluded(ds.attrs).strip().rstrip('.')}."


def _facts(ds: xr.Dataset) -> str:
    facts = {
        "Study": wording.dyads_in_words(ds),
        "Channels": f"{ds.sizes['channel_a']} × {ds.sizes['channel_b']}",
        "Signal": str(ds["chroma"].item()) if "chroma" in ds.coords else "not stored",
        "Bands": wording.bands_in_words(ds),
        "Epochs": ", ".join(str(label) for label in ds["epoch"].values),
        "Null": wording.null_in_words(ds.attrs) if wording.is_tested(ds) else "none",
    }
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items())
    return f'<dl class="facts">{items}</dl>'


def _figure(number: int, picture: Picture) -> str:
    return (
        f'<figure><h3>Figure {number}. {escape(picture.title)}</h3><img alt="{escape(picture.alt)}" '
        f'src="{picture.source}"><figcaption>{escape(picture.caption)}</figcaption></figure>'
    )


def _findings(ds: xr.Dataset) -> str:
    name, words = wording.criterion(ds)
    found = wording.top_findings(ds, limit=_MOST_FINDINGS)
    if not found:
        return ""
    more = [key for key in _MORE_P if key in ds and bool(np.isfinite(ds[key]).any())]
    measure = "coherence" if ds.attrs.get("measure", "coherence") == "coherence" else str(ds.attrs["measure"])
    head = (*_PLACE_HEAD, measure, "null mean", "null sd", "z", "p", "95 % interval of p", "p_fdr", "p_max", *more)
    rows = [
        [*_finding_cells(finding, interval=True), *(wording.number(finding.values[k]) for k in more)]
        for finding in found
    ]
    table = _table(head, rows, n_text=4, kept=[finding.values[name] <= wording.ALPHA for finding in found])
    return (
        f'<section><h2>Smallest p-values</h2>{table}<p class="note">Ordered by {name}. Coloured: {name} ≤ '
        f"{wording.ALPHA} ({words}). The interval is Clopper-Pearson: it covers the finite number of draws only.</p>"
        "</section>"
    )


def _dyad_findings(ds: xr.Dataset) -> str:
    """Table of single dyads, where they were tested."""
    found = wording.top_dyad_findings(ds, limit=_MOST_FINDINGS)
    if not found:
        return ""
    names = ("p_max", "p_fdr", "p")
    key = next(name for name in names if any(np.isfinite(finding.values[name]) for _, finding in found))
    measure = "coherence" if ds.attrs.get("measure", "coherence") == "coherence" else str(ds.attrs["measure"])
    head = ("dyad", *_PLACE_HEAD, measure, "null mean", "null sd", "z", "p", "p_fdr", "p_max")
    rows = [[dyad, *_finding_cells(finding, interval=False)] for dyad, finding in found]
    table = _table(head, rows, n_text=5, kept=[finding.values[key] <= wording.ALPHA for _, finding in found])
    within = "" if key == "p" else ", corrected within the dyad session"
    return (
        f'<section><h2>Single dyads: smallest p-values</h2>{table}<p class="note">Each dyad against its own surrogates'
        f". Coloured: {key} ≤ {wording.ALPHA}{within}. {escape(wording.dyad_by_dyad(ds))}</p></section>"
    )


def _finding_cells(finding: wording.Finding, *, interval: bool) -> list[str]:
    v, number = finding.values, wording.number
    places = [finding.epoch, finding.channel_a, finding.channel_b, finding.band]
    values = [f"{v[key]:.3f}" for key in ("group_statistic", "group_null_mean")]
    values += [f"{v['group_null_sd']:.4f}", f"{v['group_z']:.2f}", number(v["p"])]
    limits = [f"{number(v['p_low'])} to {number(v['p_high'])}"] if interval else []
    return [*places, *values, *limits, number(v["p_fdr"]), number(v["p_max"])]


def _quality(ds: xr.Dataset) -> str:
    valid = ds["valid_fraction"].transpose("dyad", ...).to_numpy().reshape(ds.sizes["dyad"], -1)
    absent = np.isnan(ds["coherence"].transpose("dyad", ...).to_numpy()).reshape(ds.sizes["dyad"], -1).mean(1)
    names = [name for name in ("session", "person_a", "person_b", "group", "task") if name in ds.coords]
    labels = [ds[name].values for name in ("dyad", *names)]
    worst = np.sort(np.argsort(np.nan_to_num([finite_mean(row) for row in valid]), kind="stable")[:_MOST_ROWS])
    rows = [
        [*(str(label[row]) for label in labels), *_spread_in_words(valid[row]), f"{absent[row]:.1%}"] for row in worst
    ]
    head = ["dyad", *(name.replace("_", " ") for name in names), "valid, mean", "valid, least", "missing values"]
    more = f" Shown: the {_MOST_ROWS} of {len(valid)} rows with the least valid." if len(valid) > _MOST_ROWS else ""
    return (
        f'{_table(head, rows, n_text=1 + len(names))}<p class="note">Valid: share of the cells of time and period that '
        f"entered a value, over epochs, channel pairs and bands.{more}</p>"
    )


def _spread_in_words(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> tuple[str, str]:
    finite = values[np.isfinite(values)]
    return (f"{finite.mean():.1%}", f"{finite.min():.1%}") if finite.size else ("–", "–")


def _settings(ds: xr.Dataset) -> str:
    rows = [[str(name), str(value)] for name, value in ds.attrs.items() if name not in _TOLD_ELSEWHERE]
    rows += [
        [f"spec: {name}", value if isinstance(value, str) else json.dumps(value)]
        for name, value in wording.settings(ds.attrs, "spec").items()
    ]
    if "n_near_ties" in ds:
        rows.append(["near ties, all features", str(int(ds["n_near_ties"].sum()))])
    return _table(["setting", "value"], rows, n_text=2)


def _inputs(ds: xr.Dataset) -> str:
    attrs = ds.attrs
    rows = [
        ["study file, SHA-256", str(attrs.get("study_sha256") or "not stored")],
        ["rows", f"{ds.sizes['dyad']} ({wording.dyads_in_words(ds)})"],
        ["computed", str(attrs.get("created", "not stored"))],
        ["ibsync", str(attrs.get("ibsync_version", "not stored"))],
        *([str(name), str(value)] for name, value in wording.settings(attrs, "versions").items()),
    ]
    return _table(["input or program", "value"], rows, n_text=2)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, n_text: int, kept: Sequence[bool] = ()) -> str:
    """An HTML table of escaped text; columns after the first `n_text` hold numbers."""
    kinds = ["" if column < n_text else ' class="n"' for column in range(len(head))]
    top = "".join(f'<th scope="col"{kind}>{escape(cell)}</th>' for kind, cell in zip(kinds, head, strict=True))
    body = []
    for index, row in enumerate(rows):
        cells = "".join(f"<td{kind}>{escape(cell)}</td>" for kind, cell in zip(kinds, row, strict=True))
        mark = ' class="kept"' if index < len(kept) and kept[index] else ""
        body.append(f"<tr{mark}>{cells}</tr>")
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'
