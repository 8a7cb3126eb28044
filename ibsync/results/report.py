"""One self-contained HTML page about a result: pictures first, then tables, words and provenance."""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np

from ..coupling.measures import measure_in
from ..errors import PlanError
from ..recordings.names import as_path
from ..recordings.output_kinds import PAGE
from ..recordings.whole_files import Output
from . import wording
from .findings import is_tested
from .layout import SHIFT, tasks_of
from .report_figures import Picture, pictures
from .report_tables import dyad_findings, findings, inputs, lost, quality, settings
from .result import Result

if TYPE_CHECKING:
    import xarray as xr

_TITLE = "Inter-brain synchrony"
_MEANS_LITTLE = "its null mean is not 0, so that a value means little without its null."

_STYLE = """
:root { --ink: #1c2733; --soft: #5a6875; --rule: #dde3e8; --real: #0072B2; --wash: #f3f7fa; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 2.2rem 1.5rem 4rem; }
h1 { font-size: 1.05rem; font-weight: 600; color: var(--soft); margin: 0 0 .8rem; }
h2 { font-size: 1.3rem; margin: 3rem 0 .8rem; padding-bottom: .3rem; border-bottom: 1px solid var(--rule); }
h3, h4 { font-size: 1rem; margin: 0 0 .6rem; }
.headline { font-size: 1.4rem; line-height: 1.4; font-weight: 600; margin: 0; padding-left: 1rem;
  border-left: 5px solid var(--real); overflow-wrap: anywhere; }
.tested { color: var(--soft); margin: 1rem 0 0 calc(1rem + 5px); overflow-wrap: anywhere; }
.facts { display: flex; flex-wrap: wrap; gap: .6rem 2.2rem; margin: 1.6rem 0 0; padding: .9rem 1.2rem;
  background: var(--wash); border-radius: 6px; }
.facts div { min-width: 0; overflow-wrap: anywhere; }
.facts dt { font-size: .78rem; color: var(--soft); } .facts dd { margin: 0; font-weight: 600; }
nav ul { list-style: none; margin: 0; padding: 1rem 1.2rem; background: var(--wash); border-radius: 6px; }
nav li + li { margin-top: .7rem; } nav a { color: var(--real); font-weight: 600; } nav li { overflow-wrap: anywhere; }
article { margin-top: 4.5rem; } article header h2 { font-size: 1.6rem; border: 0; margin: 0 0 .8rem; }
article section > h3 { font-size: 1.2rem; margin: 2.4rem 0 .7rem; padding-bottom: .3rem;
  border-bottom: 1px solid var(--rule); }
figure { margin: 2.2rem 0; break-inside: avoid; }
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
figcaption { color: var(--soft); font-size: .9rem; margin-top: .5rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .38rem .55rem; border-bottom: 1px solid var(--rule); vertical-align: top; }
td { overflow-wrap: break-word; } thead th { color: var(--soft); font-weight: 600; vertical-align: bottom; }
.n { text-align: right; white-space: nowrap; } tr.kept td { background: #eaf4fb; font-weight: 600; }
.note { color: var(--soft); font-size: .88rem; } code { font-size: .86em; overflow-wrap: anywhere; }
@page { margin: 15mm; }
@media print { article { break-before: page; margin: 0; }
  body { font-size: 10pt; } main { max-width: none; padding: 0; } h2 { break-after: avoid; }
  table { font-size: 7.5pt; } th, td { padding: .2rem .3rem; }
  .scroll { overflow: visible; } figure img { max-height: 21cm; }
  tr { break-inside: avoid; } tr.kept td, .facts { print-color-adjust: exact; } }
"""

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="generator" content="ibsync">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Inter-brain synchrony: report</title>
<style>$style</style>
</head>
<body>
<main>
$body
</main>
</body>
</html>
""")

# One result; h1, h2 and h3 stand for the ranks of its headings, which are lower where several share a page.
_ONE = Template("""<header>
<$h1>$title</$h1>
<p class="headline">$headline</p>
<p class="tested">$hypothesis</p>
$facts
</header>
<section aria-label="Pictures">
$figures
</section>
$findings
$lost
<section>
<$h2>Methods, for the paper</$h2>
<p>$methods</p>
</section>
<section>
<$h2>What this does not show</$h2>
<p>$not_excluded</p>
</section>
<section>
<$h2>Quality</$h2>
$quality
</section>
<section>
<$h2>Settings</$h2>
$settings
</section>
<section>
<$h2>Inputs and versions</$h2>
$inputs
</section>""")


def report(result: Result | Sequence[Result], out_html: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """
    Write one HTML page about a result, or about several that belong together, whole or not at all.

    Parameters
    ----------
    result : Result or sequence of Result
        A result, or saved real synchrony (then without null and tests). Several, such as a test, the change over
        sessions and its relation to an outcome, stand below each other, with a table of contents.
    out_html : str or path-like
        The page; an older page is replaced. It needs no other file and no network.
    overwrite : bool
        Replace a file that is no page of ibsync's.

    Returns
    -------
    pathlib.Path
        The page that was written.

    Raises
    ------
    InputError
        If the page cannot be written there, or something else has its name.
    PlanError
        If there is no result.

    Examples
    --------
    >>> report(result, "report.html")
    """
    output = Output(as_path(out_html), PAGE, overwrite=overwrite)
    output.check()
    return output.write(page_bytes(result))


def page_bytes(result: Result | Sequence[Result]) -> bytes:
    """The page as the content of a file."""
    return html_page(result).encode("utf-8", errors="replace")


def html_page(result: Result | Sequence[Result]) -> str:
    """The page as text; equal results give equal pages."""
    given: list[Any] = list(result) if isinstance(result, list | tuple) else [result]
    results = [one for one in given if isinstance(one, Result)]
    if len(results) < len(given):
        raise PlanError("report: give results, such as ibs.load(path) or Result(real), and nothing else")
    if not results:
        raise PlanError("report: there is no result; give at least one")
    if len(results) > 1:
        return _PAGE.substitute(style=_STYLE, body=_several(results))
    title = f"{_TITLE}: {_subject(results[0].dataset)}"
    return _PAGE.substitute(style=_STYLE, body=_body(results[0], title, rank=1, first=1))


def _several(results: Sequence[Result]) -> str:
    """Contents, and an article for each result; figures are numbered through."""
    articles, entries, first = [], [], 1
    for number, result in enumerate(results, start=1):
        name = f"{number}. {_name(result.dataset)}"
        body = _body(result, name, rank=2, first=first)
        first += body.count("<figure>")
        articles.append(f'<article id="result-{number}">\n{body}\n</article>')
        entries.append(f'<li><a href="#result-{number}">{escape(name)}</a><br>{escape(result.headline)}</li>')
    contents = f'<nav aria-label="Contents"><ul>{"".join(entries)}</ul></nav>'
    return "\n".join([f"<h1>{_TITLE}: {len(results)} results</h1>", contents, *articles])


def _name(ds: xr.Dataset) -> str:
    """What a result is about and of which signal, to tell it from others on the page."""
    subject = _subject(ds)
    return f"{subject[:1].upper()}{subject[1:]}{wording.signal_in_words(ds, ', ')}"


def _subject(ds: xr.Dataset) -> str:
    return str(ds.attrs.get("subject", measure_in(ds.attrs).subject))


def _body(result: Result, title: str, *, rank: int, first: int) -> str:
    """Everything about one result; its heading has the rank, and its figures are numbered from the first."""
    ds = result.dataset
    section, figure = f"h{rank + 1}", f"h{rank + 2}"
    figures = [_figure(number, picture, figure) for number, picture in enumerate(pictures(result), start=first)]
    return _ONE.substitute(
        h1=f"h{rank}",
        h2=section,
        title=escape(title),
        headline=escape(result.headline),
        hypothesis=escape(result.hypothesis),
        facts=_facts(ds),
        figures="\n".join(figures),
        findings=findings(ds, section) + dyad_findings(ds, section) if is_tested(ds) else "",
        lost=lost(ds, section),
        methods=escape(result.methods()),
        not_excluded=escape(_not_shown(ds)),
        quality=quality(ds),
        settings=settings(ds),
        inputs=inputs(ds),
    )


def _not_shown(ds: xr.Dataset) -> str:
    if not is_tested(ds):
        words = "coherence" if measure_in(ds.attrs).needs != "coupling" else measure_in(ds.attrs).words
        return f"Nothing was tested: high {words} alone is no evidence of interaction. {_reading(ds)}"
    excluded, question = wording.not_excluded(ds.attrs), ds.attrs["question"]
    if question == "plasticity":
        return f"{excluded} The test is of the mean over dyads: no single dyad was tested, however steep its slope."
    return excluded if question == "outcome" else f"{excluded} {_reading(ds)}"


def _reading(ds: xr.Dataset) -> str:
    """How large a value may be, and what it means by itself."""
    measure = measure_in(ds.attrs)
    if measure.needs != "coupling":
        return f"Coherence is magnitude-squared, 0 to 1; {_MEANS_LITTLE}"
    low, high = measure.range
    return f"{measure.words[0].upper()}{measure.words[1:]} lies between {low:g} and {high:g}; {_MEANS_LITTLE}"


def _facts(ds: xr.Dataset) -> str:
    facts = {
        "Study": wording.dyads_in_words(ds),
        "Regions" if "rois" in ds.attrs else "Channels": f"{ds.sizes['channel_a']} × {ds.sizes['channel_b']}",
        "Signal": wording.signal_in_words(ds) or "not stored",
        "Bands": wording.bands_in_words(ds),
        **({"Tasks": ", ".join(tasks)} if (tasks := tasks_of(ds)) else {}),
        **({"Lags": ", ".join(f"{lag:g} s" for lag in ds[SHIFT].values)} if SHIFT in ds.dims else {}),
        "Epochs": ", ".join(str(label) for label in ds["epoch"].values),
        "Null": wording.null_in_words(ds.attrs) if is_tested(ds) else "none",
        **_who(ds),
    }
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts.items())
    return f'<dl class="facts">{items}</dl>'


def _who(ds: xr.Dataset) -> dict[str, str]:
    """Who entered an analysis of dyads over sessions, and who did not."""
    if ds.attrs.get("question") not in ("plasticity", "outcome"):
        return {}
    entered = ds["n_dyads"].to_numpy()[np.isfinite(ds["p"].to_numpy())]
    facts = {"Dyads per test": _span_in_words(entered)} if entered.size else {}
    if "n_sessions" in ds:
        facts["Sessions per dyad"] = _span_in_words(ds["n_sessions"].to_numpy())
    return {**facts, "Left out": str(ds.attrs.get("left_out") or "no dyad")}


def _span_in_words(counts: np.ndarray[Any, Any]) -> str:
    low, high = int(counts.min()), int(counts.max())
    return str(low) if low == high else f"{low} to {high}"


def _figure(number: int, picture: Picture, heading: str) -> str:
    return (
        f'<figure><{heading}>Figure {number}. {escape(picture.title)}</{heading}><img alt="{escape(picture.alt)}" '
        f'src="{picture.source}"><figcaption>{escape(picture.caption)}</figcaption></figure>'
    )
