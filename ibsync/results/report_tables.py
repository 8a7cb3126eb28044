"""The tables of a report: the strongest features, the quality of the rows, settings, inputs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple
from typing import TYPE_CHECKING, Any

import numpy as np

from ..inference.p_values import CORRECTIONS
from .figures.drawing import finite_mean
from .findings import CORRECTED, Criterion, Finding, number, top_dyad_findings, top_findings
from .layout import asked_pairs, of_nulls, tested_values
from .lost import COLUMNS, losses_in, lost_lines
from .pages import Section, Table
from .wording import dyad_by_dyad, dyads_in_words
from .wording import settings as settings_in

if TYPE_CHECKING:
    import xarray as xr

_MOST_FINDINGS = 400
_MOST_ROWS = 400
_PLACE_HEAD = {"epoch": "epoch", "channel_a": "a", "channel_b": "b", "band": "band"}
# Columns of the table of a group test, and of an outcome: what is known of a feature besides its statistic.
_OF_GROUP = {"n_dyads": "dyads"}
_OF_OUTCOME = {**_OF_GROUP, "slope": "outcome per unit of synchrony", "t": "t"}
_TOLD_ELSEWHERE = {
    "kind", "spec", "versions", "study_sha256", "created", "ibsync_version", "subject", "finding", "hypothesis",
    "not_excluded", "procedure", "statistic", "references", "null_name", "lost", "blas", "loops", "set_id", "set_files",
    "question", "listed", "coherence_definition", "plan", "positions_mm",
}  # fmt: skip
# Settings whose names do not say by themselves what they are.
_WORDS = {
    "n": "draws of the null", "sfreq": "sampling rate, Hz", "stream_version": "version of the random numbers",
    "points_per_scale": "samples per scale, at least", "correct": "corrections", "min_p": "smallest p that is possible",
    "corrected_over": "corrected together", "null_kind": "null", "exact": "p is exact", "coi": "cone of influence",
    "min_valid": "least valid fraction", "fmin": "lowest frequency, Hz", "fmax": "highest frequency, Hz",
    "voices": "voices per octave", "rois": "regions", "stop_at": "counts ended at, draws", "entered": "what entered",
    "blocks": "exchanged together",
}  # fmt: skip


def _places(finding: Finding) -> dict[str, str]:
    """Columns that say where a finding is."""
    return _PLACE_HEAD | ({"shift": "shift, s"} if finding.shift else {})


def findings(ds: xr.Dataset, *, limit: int = _MOST_FINDINGS) -> Section | None:
    """Table of the features with the smallest p; none if none was tested."""
    found = top_findings(ds, limit=limit)
    if not found:
        return None
    criterion, alpha = Criterion.of(ds), float(ds.attrs["alpha"])
    corrected = [key for key in CORRECTED if key in ds and bool(np.isfinite(ds[key]).any())]
    own = _OF_OUTCOME if ds.attrs["question"] == "outcome" else _OF_GROUP
    places = {**({"task": "task"} if found[0].task else {}), **_places(found[0])}
    decimals = _decimals(found)
    corrected += [key for key in of_nulls(ds) if np.isfinite(found[0].values[key])]
    has_limits = any(np.isfinite(finding.values["statistic_low"]) for finding in found)
    is_drawn = any(finding.values["p_low"] < finding.values["p_high"] for finding in found)
    limits, of_p = [f"{100 * (1 - alpha):g} % interval"] * has_limits, ["95 % interval of p"] * is_drawn
    rows = [
        [
            *_finding_cells(finding, places, own, decimals),
            *[_span(finding, "statistic_low", "statistic_high", decimals)] * has_limits,
            *[f"{number(finding.values['p_low'])} to {number(finding.values['p_high'])}"] * is_drawn,
            *(number(finding.values[key]) for key in corrected),
        ]
        for finding in found
    ]
    head = (*places.values(), *own.values(), *_statistics(found[0]), *limits, *of_p, *corrected)
    kept = [finding.values[criterion.name] <= criterion.alpha for finding in found]
    n_tested = int(np.isfinite(ds["p"]).sum())
    notes = [
        f"Ordered by {criterion.name}. Coloured: {criterion.text} ({criterion.words}).",
        _interval_words(ds) * has_limits,
        "The interval of p is Clopper-Pearson: it covers the finite number of draws only." * is_drawn,
        f"The first {len(found)} of {n_tested}; the results file holds all." * (n_tested > len(found)),
    ]  # fmt: skip
    table = Table(head, rows, len(places), "smallest p-values", kept)
    return Section("Smallest p-values", table=table.without_empty_columns(), note=" ".join(filter(None, notes)))


def _interval_words(ds: xr.Dataset) -> str:
    """How the interval of the statistic was made."""
    by = "Fisher's z" if ds.attrs["question"] == "outcome" else "inversion of the test"
    return f"The interval of the statistic is by {by}, each by itself."


def _span(finding: Finding, low: str, high: str, decimals: int) -> str:
    if np.isnan([finding.values[low], finding.values[high]]).any():
        return "–"
    return f"{finding.text(low, decimals)} to {finding.text(high, decimals)}"


def _statistics(finding: Finding) -> tuple[str, ...]:
    return finding.statistic, "null mean", "null sd", "z", "p"


def dyad_findings(ds: xr.Dataset) -> Section | None:
    """Table of single dyads, where they were tested."""
    found = top_dyad_findings(ds, limit=_MOST_FINDINGS)
    if not found:
        return None
    criterion = Criterion.of_dyads(ds)
    key = criterion.name.removeprefix("dyad_")
    decimals = _decimals([finding for _, finding in found])
    places = _places(found[0][1])
    rows = [
        [
            dyad,
            *_finding_cells(finding, places, (), decimals),
            *(number(finding.values[k]) for k in ("p_fdr", "p_max")),
        ]
        for dyad, finding in found
    ]
    head = ("dyad", *places.values(), *_statistics(found[0][1]), "p_fdr", "p_max")
    kept = [finding.values[key] <= criterion.alpha for _, finding in found]
    within = "" if key == "p" else ", corrected within the dyad session"
    return Section(
        "Single dyads: smallest p-values",
        table=Table(head, rows, 1 + len(places), "single dyads", kept).without_empty_columns(),
        note=f"Each dyad against its own surrogates. Coloured: {key} ≤ {criterion.alpha:g}{within}. {dyad_by_dyad(ds)}",
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


def quality(ds: xr.Dataset) -> Section:
    """Table of the rows: whose they are, and how much of them could be trusted."""
    pair, asked = ("channel_a", "channel_b"), asked_pairs(ds).to_numpy()

    def of_asked(values: xr.DataArray) -> np.ndarray[Any, Any]:
        """[row, all else], of the pairs that were asked for."""
        return values.transpose("dyad", *pair, ...).to_numpy()[:, asked].reshape(ds.sizes["dyad"], -1)

    valid, absent = of_asked(ds["valid_fraction"]), np.isnan(of_asked(tested_values(ds))).mean(axis=1)
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
    return Section(
        "Quality",
        table=Table(head, rows, 1 + len(names), "quality").without_empty_columns(),
        note="Valid: share of the cells of time and period that entered a value, over epochs, channel pairs and "
        f"bands.{more}",
    )


def lost(ds: xr.Dataset) -> Section | None:
    """Table of what has no value, or one of less than was asked for; none if nothing is lost."""
    losses = losses_in(ds.attrs)
    if not losses:
        return None
    rows = [[str(cell) for cell in astuple(loss)] for loss in losses[:_MOST_ROWS]]
    more = f"The first {_MOST_ROWS} of {len(losses)}; the table lost of the result holds all." * (
        len(losses) > len(rows)
    )
    table = Table(COLUMNS, rows, len(COLUMNS), "what was lost").without_empty_columns()
    return Section("What was lost", lines=lost_lines(losses), table=table, note=more)


def _spread_in_words(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> tuple[str, str]:
    finite = values[np.isfinite(values)]
    return (f"{finite.mean():.1%}", f"{finite.min():.1%}") if finite.size else ("–", "–")


def settings(ds: xr.Dataset) -> Section:
    """Table of the attributes and the settings of the estimator, those that say something."""
    attrs = {str(name): value for name, value in ds.attrs.items() if name not in _TOLD_ELSEWHERE}
    attrs |= {name: value for name, value in settings_in(ds.attrs, "spec").items() if name not in attrs}
    rows = [[_WORDS.get(name, name.replace("_", " ")), _in_words(name, value)] for name, value in attrs.items()]
    if "n_near_ties" in ds:
        rows.append(["near ties, all features", str(int(ds["n_near_ties"].sum()))])
    return Section("Settings", table=Table(["setting", "value"], [row for row in rows if row[1]], 2))


def _in_words(name: str, value: Any) -> str:
    """A setting without brackets, quotes and what is empty."""
    if name == "exact":
        return "yes" if value else "no"
    if name == "correct":
        return ", ".join(CORRECTIONS[one].short if one in CORRECTIONS else one for one in _parsed(value)) or "none"
    return _plain(_parsed(value))


def _parsed(value: Any) -> Any:
    if isinstance(value, str) and value[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        if {"low_hz", "high_hz"} <= set(value):
            without = _plain(value.get("exclude_hz"))
            return f"{_plain(value['low_hz'])} to {_plain(value['high_hz'])} Hz" + f" without {without}" * bool(without)
        told = {key: _plain(item) for key, item in value.items()}
        return "; ".join(f"{key}: {text}" for key, text in told.items() if text)
    if isinstance(value, list | tuple):
        return ", ".join(_plain(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "" if value is None else str(value)


def inputs(ds: xr.Dataset) -> Section:
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
    return Section("Inputs and versions", table=Table(["input or program", "value"], rows, 2))
