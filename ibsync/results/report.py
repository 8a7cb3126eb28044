"""One self-contained HTML page about a result: pictures first, then tables, words and provenance."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
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
from .pages import Section, page
from .pseudonyms import pseudonymous
from .report_figures import pictures
from .report_tables import dyad_findings, findings, inputs, lost, quality, settings
from .result import Result

if TYPE_CHECKING:
    import xarray as xr

_TITLE = "Inter-brain synchrony"
_MEANS_LITTLE = "its null mean is not 0, so that a value means little without its null."


def report(
    result: Result | Sequence[Result],
    out_html: str | os.PathLike[str],
    *,
    pseudonyms: bool = False,
    overwrite: bool = False,
) -> Path:
    """
    Write one HTML page about a result, or about several that belong together, whole or not at all.

    Parameters
    ----------
    result : Result or sequence of Result
        A result, or saved real synchrony (then without null and tests). Several, such as a test, the change over
        sessions and its relation to an outcome, stand below each other, with a table of contents.
    out_html : str or path-like
        The page; an older page is replaced. It needs no other file and no network.
    pseudonyms : bool
        Name dyads D1, D2, ... and people P1, P2, ..., for a page that is shared.
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
    if pseudonyms:
        result = pseudonymous([result] if isinstance(result, Result) else result)
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
    parts: list[dict[str, Any]] = []
    for number, one in enumerate(results, start=1):
        first = parts[-1]["first_figure"] + len(parts[-1]["pictures"]) if parts else 1
        parts.append(_part(one, number if len(results) > 1 else 0, first))
    return page("report.html", title=_TITLE, parts=parts, scripted=True)


def _name(ds: xr.Dataset) -> str:
    """What a result is about and of which signal, to tell it from others on the page."""
    subject = _subject(ds)
    return f"{subject[:1].upper()}{subject[1:]}{wording.signal_in_words(ds, ', ')}"


def _subject(ds: xr.Dataset) -> str:
    return str(ds.attrs.get("subject", measure_in(ds.attrs).subject))


def _part(result: Result, number: int, first_figure: int) -> dict[str, Any]:
    """Everything about one result, by the names that the template knows; number is 0 where it is the only one."""
    ds = result.dataset
    tested = [findings(ds), dyad_findings(ds)] if is_tested(ds) else []
    words = [
        Section("Methods, for the paper", result.methods()),
        Section("What this does not show", _not_shown(ds)),
    ]
    return {
        "title": f"{number}. {_name(ds)}" if number else f"{_TITLE}: {_subject(ds)}",
        "headline": result.headline, "hypothesis": result.hypothesis, "facts": _facts(ds),
        "place": f" of result {number}" * (number > 0), "first_figure": first_figure, "pictures": pictures(result),
        "sections": [*filter(None, [*tested, lost(ds)]), *words, quality(ds), settings(ds), inputs(ds)],
    }  # fmt: skip


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


def _facts(ds: xr.Dataset) -> dict[str, str]:
    return {
        "Study": _study_in_words(ds),
        "Paired": wording.paired_in_words(ds),
        "Signal": wording.signal_in_words(ds) or "not stored",
        "Bands": wording.bands_in_words(ds),
        **({"Tasks": ", ".join(tasks)} if (tasks := tasks_of(ds)) else {}),
        **({"Lags": ", ".join(f"{lag:g} s" for lag in ds[SHIFT].values)} if SHIFT in ds.dims else {}),
        "Epochs": ", ".join(str(label) for label in ds["epoch"].values),
        "Null": wording.null_in_words(ds.attrs) if is_tested(ds) else "none",
        **_who(ds),
    }


def _study_in_words(ds: xr.Dataset) -> str:
    """How many dyads and sessions, and how many of the dyads met in one session only, such as strangers."""
    _, counts = np.unique(ds["dyad"].values, return_counts=True)
    once = int((counts == 1).sum())
    told = f", {once} of the {ds.attrs.get('unit', 'dyad')}s in one only" if 0 < once < len(counts) else ""
    return f"{wording.dyads_in_words(ds)}{told}"


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
