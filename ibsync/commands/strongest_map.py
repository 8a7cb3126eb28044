"""Coherence over time and period where a test found the smallest p, for the report of a run."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..coupling.spec import WTC
from ..errors import IbsyncError, PlanError
from ..recordings.memory import Budget
from ..results.findings import Finding, top_findings
from ..results.result import Result
from ..study.rows import signals_of
from ..study.wtc import wtc

if TYPE_CHECKING:
    import xarray as xr

    from ..recordings.study_file import DyadRow, StudyFile

_N_SURROGATES = 100
_MOST_SAMPLES = 20_000
_MOST_COLUMNS = 600
_BYTES_OF_CELL, _BYTES_AT_LEAST = 340, 64 << 20  # of time and scale, with surrogates or without; of tables
_NO_LIMIT = Budget.of(None)
_LOG = logging.getLogger(__name__)


def with_map(result: Result, study: StudyFile, spec: object, budget: Budget = _NO_LIMIT) -> Result:
    """
    The result with a scalogram of the channel pair of the smallest p, in the dyad whose coherence is largest there.

    It is that of the two signals as `ibs.wtc` gives it, with the 95 % level of phase-randomised signals. A result of
    other couplings, of regions, of trials, with controls or lags is given back as it is, for no scalogram of two
    channels shows what was tested there. So is one whose map cannot be made; the log says why.
    """
    ds = result.dataset
    if not isinstance(spec, WTC) or any(spec.lags) or {"rois", "controls"} & set(ds.attrs):
        return result
    found = top_findings(ds, limit=1) if ds.attrs.get("measure") == "coherence" else []
    row = _row(study, ds, found[0]) if found else None
    if row is None or row.recording_a.trial_samples:
        return result
    n_bytes = map_bytes(max(row.recording_a.n_samples, row.recording_b.n_samples), spec.voices)
    try:
        if not budget.holds(n_bytes):
            raise PlanError(budget.too_little(n_bytes, "the scalogram of the strongest pair"))
        return replace(result, maps=_map(study, spec, row, found[0], str(ds["signal"].item())))
    except IbsyncError as error:
        _LOG.warning("no scalogram of the strongest pair: %s", error)
        return result


def map_bytes(n_samples: int, voices: int) -> int:
    """Memory that a scalogram takes at most while it is made; scales span from two samples to a few cones' length."""
    return _BYTES_AT_LEAST + int(_BYTES_OF_CELL * n_samples * voices * max(1.0, np.log2(n_samples) - 2))


def _row(study: StudyFile, ds: xr.Dataset, finding: Finding) -> DyadRow | None:
    """The dyad row in which the value of a finding is largest; None where none has a value."""
    at = {dim: getattr(finding, dim) for dim in ("epoch", "channel_a", "channel_b", "band")}
    values = ds["value"].sel(at).to_numpy()
    if finding.task:
        values = np.where(ds["task"].values.astype(str) == finding.task, values, np.nan)
    if not np.isfinite(values).any():
        return None
    best = ds.isel(dyad=int(np.nanargmax(values)))
    label = tuple(str(best[name].item()) for name in ("dyad", "session", "task"))
    return next(row for row in study.dyads if (row.dyad, row.session, row.task) == label)


def _map(study: StudyFile, spec: WTC, row: DyadRow, finding: Finding, signal: str) -> xr.Dataset:
    people = (row.recording_a, finding.channel_a), (row.recording_b, finding.channel_b)
    n = min(recording.n_samples for recording, _ in people)
    a, b = (signals_of(study, recording, signal, (channel,), n) for recording, channel in people)
    level: dict[str, Any] = {"significance": "phase", "n": _N_SURROGATES} if n <= _MOST_SAMPLES else {}
    whole = wtc(
        a, b, row.recording_a.sfreq, voices=spec.voices, preset=spec.preset, detrend=spec.detrend, **level,
        channels_a=[finding.channel_a], channels_b=[finding.channel_b],
    )  # fmt: skip
    maps = whole.isel(channel_a=0, channel_b=0)
    step = -(-maps.sizes["time"] // _MOST_COLUMNS)
    # Phases are not averaged: those of a few moments stand for the rest.
    thin = maps.coarsen(time=step, boundary="trim").mean()
    thin["phase"] = (
        ("freq", "time"),
        maps["phase"].transpose("freq", "time").to_numpy()[:, step // 2 :: step][:, : thin.sizes["time"]],
    )
    kept = thin[["coherence", "phase", *(["significance_level"] if level else [])]].astype(np.float32)
    kept.attrs = {
        "dyad": row.dyad,
        "session": row.session,
        "task": row.task,
        "n_surrogates": _N_SURROGATES if level else 0,
    }
    return kept
