"""The tables of a report: the strongest features, the quality of the rows, settings, inputs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import astuple
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from .figures.drawing import finite_mean
from .findings import CORRECTED, Criterion, Finding, number, top_dyad_findings, top_findings
from .layout import of_nulls, tested_values
from .lost import COLUMNS, losses_in, lost_lines
from .wording import dyad_by_dyad, dyads_in_words
from .wording import settings as settings_in

if TYPE_CHECKING:
    import xarray as xr

_MOST_FINDINGS = 20
_MOST_ROWS = 60
_PLACE_HEAD = {"epoch": "epoch", "channel_a": "a", "channel_b": "b", "band": "band"}
# Columns of the table of a group test, and of an outcome: what is known of a feature besides its statistic.
_OF_GROUP = {"n_dyads": "dyads"}
_OF_OUTCOME = {**_OF_GROUP, "slope": "outcome per unit of synchrony", "t": "t"}
_TOLD_ELSEWHERE = {
    "kind", "spec", "versions", "study_sha256", "created", "ibsync_version", "subject", "finding", "hypothesis",
    "not_excluded", "procedure", "statistic", "references", "null_name", "lost", "blas", "loops", "set_id", "set_files",
}  # fmt: skip


def _places(finding: Finding) -> dict[str, str]:
    """Columns that say where a finding is."""
    return _PLACE_HEAD | ({"shift": "shift, s"} if finding.shift else {})


def findings(ds: xr.Dataset, heading: str) -> str:
    """Table of the features with the smallest p; empty if none was tested. `heading` is the tag of its title."""
    found = top_findings(ds, limit=_MOST_FINDINGS)
    if not found:
        return ""
    criterion = Criterion.of(ds)
    corrected = [key for key in CORRECTED if key in ds and bool(np.isfinite(ds[key]).any())]
    own = _OF_OUTCOME if ds.attrs["question"] == "outcome" else _OF_GROUP
    places = {**({"task": "task"} if found[0].task else {}), **_places(found[0])}
    decimals = _decimals(found)
    statistics = (found[0].statistic, "null mean", "null sd", "z", "p", "95 % interval of p")
    corrected += [key for key in of_nulls(ds) if np.isfinite(found[0].values[key])]
    head = (*places.values(), *own.values(), *statistics, *corrected)
    rows = [
        [
            *_finding_cells(finding, places, own, decimals),
            f"{number(finding.values['p_low'])} to {number(finding.values['p_high'])}",
            *(number(finding.values[key]) for key in corrected),
        ]
        for finding in found
    ]
    table = _table(
        head, rows, n_text=len(places), kept=[finding.values[criterion.name] <= criterion.alpha for finding in found]
    )
    return (
        f'<section><{heading}>Smallest p-values</{heading}>{table}<p class="note">Ordered by {criterion.name}. '
        f"Coloured: {criterion.text} ({criterion.words}). The interval is Clopper-Pearson: it covers the finite number "
        "of draws only.</p></section>"
    )


def dyad_findings(ds: xr.Dataset, heading: str) -> str:
    """Table of single dyads, where they were tested."""
    found = top_dyad_findings(ds, limit=_MOST_FINDINGS)
    if not found:
        return ""
    criterion = Criterion.of_dyads(ds)
    key = criterion.name.removeprefix("dyad_")
    decimals = _decimals([finding for _, finding in found])
    places = _places(found[0][1])
    head = ("dyad", *places.values(), found[0][1].statistic, "null mean", "null sd", "z", "p", "p_fdr", "p_max")
    rows = [
        [
            dyad,
            *_finding_cells(finding, places, (), decimals),
            *(number(finding.values[k]) for k in ("p_fdr", "p_max")),
        ]
        for dyad, finding in found
    ]
    table = _table(
        head, rows, n_text=1 + len(places), kept=[finding.values[key] <= criterion.alpha for _, finding in found]
    )
    within = "" if key == "p" else ", corrected within the dyad session"
    return (
        f'<section><{heading}>Single dyads: smallest p-values</{heading}>{table}<p class="note">Each dyad against its '
        f"own surrogates. Coloured: {key} ≤ {criterion.alpha:g}{within}. {escape(dyad_by_dyad(ds))}</p></section>"
    )


def _decimals(found: Sequence[Finding]) -> int:
    """Decimals of a column: enough for its smallest values, but for those far smaller than the first."""
    return min(max(finding.decimals for finding in found), found[0].decimals + 2)


def _finding_cells(finding: Finding, places: Iterable[str], own: Iterable[str], decimals: int) -> list[str]:
    """Where it is, what else is known of it, its statistic, the null of that, z and p."""
    v = finding.values
    known = [*(getattr(finding, name) for name in places), *(f"{v[key]:.4g}" for key in own)]
    values = [finding.text(key, decimals) for key in ("group_statistic", "group_null_mean")]
    return [*known, *values, f"{v['group_null_sd']:.3g}", f"{v['group_z']:.2f}", number(v["p"])]


def quality(ds: xr.Dataset) -> str:
    """Table of the rows: whose they are, and how much of them could be trusted."""
    valid = ds["valid_fraction"].transpose("dyad", ...).to_numpy().reshape(ds.sizes["dyad"], -1)
    missing = np.isnan(tested_values(ds).transpose("dyad", ...).to_numpy()).reshape(ds.sizes["dyad"], -1)
    # Channel pairs that were not asked for are missing everywhere.
    absent = missing[:, ~missing.all(axis=0)].mean(axis=1) if not missing.all() else missing.mean(axis=1)
    names = [
        name for name in ("session", "person_a", "person_b", "group", "task", "n_sessions") if name in ds.variables
    ]
    labels = [ds[name].values for name in ("dyad", *names)]
    worst = np.sort(np.argsort(np.nan_to_num([finite_mean(row) for row in valid]), kind="stable")[:_MOST_ROWS])
    rows = [
        [*(str(label[row]) for label in labels), *_spread_in_words(valid[row]), f"{absent[row]:.1%}"] for row in worst
    ]
    head = ["dyad", *(name.replace("_", " ").removeprefix("n ") for name in names)]
    head += ["valid, mean", "valid, least", "missing values"]
    more = f" Shown: the {_MOST_ROWS} of {len(valid)} rows with the least valid." if len(valid) > _MOST_ROWS else ""
    return (
        f'{_table(head, rows, n_text=1 + len(names))}<p class="note">Valid: share of the cells of time and period that '
        f"entered a value, over epochs, channel pairs and bands.{more}</p>"
    )


def lost(ds: xr.Dataset, heading: str) -> str:
    """Table of what has no value, or one of less than was asked for; empty if nothing is lost."""
    losses = losses_in(ds.attrs)
    if not losses:
        return ""
    lines = "".join(f"<li>{escape(line)}</li>" for line in lost_lines(losses))
    rows = [[str(cell) for cell in astuple(loss)] for loss in losses[:_MOST_ROWS]]
    more = f" Shown: the first {_MOST_ROWS} of {len(losses)}." if len(losses) > _MOST_ROWS else ""
    return (
        f"<section><{heading}>What was lost</{heading}><ul>{lines}</ul>{_table(COLUMNS, rows, n_text=len(COLUMNS))}"
        f'<p class="note">The whole table: the attribute lost of the result.{more}</p></section>'
    )


def _spread_in_words(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> tuple[str, str]:
    finite = values[np.isfinite(values)]
    return (f"{finite.mean():.1%}", f"{finite.min():.1%}") if finite.size else ("–", "–")


def settings(ds: xr.Dataset) -> str:
    """Table of the attributes and the settings of the estimator."""
    rows = [[str(name), str(value)] for name, value in ds.attrs.items() if name not in _TOLD_ELSEWHERE]
    rows += [
        [f"spec: {name}", value if isinstance(value, str) else json.dumps(value)]
        for name, value in settings_in(ds.attrs, "spec").items()
    ]
    if "n_near_ties" in ds:
        rows.append(["near ties, all features", str(int(ds["n_near_ties"].sum()))])
    return _table(["setting", "value"], rows, n_text=2)


def inputs(ds: xr.Dataset) -> str:
    """Table of the study, its size, and the versions of the programs."""
    attrs = ds.attrs
    rows = [
        ["study file, SHA-256", str(attrs.get("study_sha256") or "not stored")],
        ["rows", f"{ds.sizes['dyad']} ({dyads_in_words(ds)})"],
        ["computed", str(attrs.get("created", "not stored"))],
        ["ibsync", str(attrs.get("ibsync_version", "not stored"))],
        *([str(name), str(value)] for name, value in settings_in(attrs, "versions").items()),
        ["linear algebra", str(attrs.get("blas", "not stored"))],
        ["compiled loops", str(attrs.get("loops", "not stored"))],
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
