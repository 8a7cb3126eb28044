"""Made-up studies for tests: coherences with person effects, a known coupling, and an honest re-pairing test."""

import json

import numpy as np
import xarray as xr

from ibsync.coupling.measures import MEASURES
from ibsync.inference.settings import TestSettings
from ibsync.nulls.hypotheses import REPAIRED
from ibsync.questions import group_test
from ibsync.results.record import NullDraws, Record
from ibsync.results.result import build_result

CHANNELS = ["S1_D1", "S1_D2", "S2_D1", "S2_D2", "S3_D2", "S3_D3"]
BANDS = {"task": (0.02, 0.1), "slow": (0.01, 0.02)}
COUPLED = (2, 3)  # channel_a, channel_b of the coupling, in band "task" and epoch "talk"


def pair_coherence(n_dyads=12, n_sessions=1, *, coupling=0.08, seed=0):
    """Coherence of person i with person j: [session, i, j, epoch, channel_a, channel_b, band]."""
    random = np.random.default_rng(seed)
    shape = (n_sessions, n_dyads, n_dyads, 2, len(CHANNELS), len(CHANNELS), len(BANDS))
    person = 0.02 * random.standard_normal((2, n_dyads))
    c = 0.33 + 0.04 * random.standard_normal(shape)
    c += person[0][None, :, None, None, None, None, None] + person[1][None, None, :, None, None, None, None]
    real = np.arange(n_dyads)
    for session in range(n_sessions):
        c[session, real, real, 0, *COUPLED, 0] += coupling * (1 + 0.4 * session)
    return np.clip(c, 0.01, 0.99)


def make_real(n_dyads=12, n_sessions=1, **options):
    """A `real` dataset as synchrony() returns it."""
    c = pair_coherence(n_dyads, n_sessions, **options)
    real = np.arange(n_dyads)
    rows = c[:, real, real].reshape(n_sessions * n_dyads, *c.shape[3:])
    random = np.random.default_rng(99)
    phase = random.uniform(-np.pi, np.pi, rows.shape)
    dims = ("dyad", "epoch", "channel_a", "channel_b", "band")
    dyads = [f"dyad{d + 1:02d}" for d in range(n_dyads)] * n_sessions
    sessions = [f"ses-{s + 1}" for s in range(n_sessions) for _ in range(n_dyads)]
    centre = np.array([np.sqrt(low * high) for low, high in BANDS.values()])
    return xr.Dataset(
        {
            "coherence": (dims, rows, {"units": "1"}),
            "coherency_re": (dims, np.sqrt(rows) * 0.5 * np.cos(phase)),
            "coherency_im": (dims, np.sqrt(rows) * 0.5 * np.sin(phase)),
            "phase": (dims, phase, {"units": "rad"}),
            "phase_consistency": (dims, np.sqrt(rows) * 0.5),
            "phase_lag": (dims, phase / (2 * np.pi * centre), {"units": "s"}),
            "valid_fraction": (dims, random.uniform(0.7, 1.0, rows.shape)),
        },
        coords={
            "dyad": dyads,
            "session": ("dyad", sessions),
            "person_a": ("dyad", [d + "-a" for d in dyads]),
            "person_b": ("dyad", [d + "-b" for d in dyads]),
            "group": ("dyad", ["pairs"] * len(dyads)),
            "task": ("dyad", ["talk"] * len(dyads)),
            "epoch": ["talk", "rest"],
            "channel_a": CHANNELS,
            "channel_b": CHANNELS,
            "band": list(BANDS),
            "band_low_hz": ("band", [low for low, _ in BANDS.values()]),
            "band_high_hz": ("band", [high for _, high in BANDS.values()]),
            "signal": "hbo",
        },
        attrs={
            "kind": "synchrony",
            "spec": json.dumps(
                {"bands": BANDS, "voices": 12, "preset": "grinsted", "coi": "recording", "min_valid": 0.5}
            ),
            "accuracy": "exact",
            "preset": "grinsted",
            "backend": "numpy",
            "sfreq": 10.0,
            "study_sha256": "ab" * 32,
            "pairs": "all",
            "ibsync_version": "0.1.0",
            "versions": json.dumps({"python": "3.12.1", "numpy": "2.1.0", "scipy": "1.14.0", "h5py": "3.11.0"}),
            "created": "2026-01-02T03:04:05+00:00",
            "coherence_definition": "magnitude-squared",
        },
    )


def make_test_arrays(n_dyads=12, n_sessions=1, *, n_draws=999, **options):
    """Arrays of an honest re-pairing test of `make_real(...)`, by the names of a Result."""
    c = pair_coherence(n_dyads, n_sessions, **options)
    random = np.random.default_rng(7)
    orders = np.array([random.permutation(n_dyads) for _ in range(n_draws)])
    person = np.arange(n_dyads)
    over_sessions = c.mean(0)
    draws = np.array([over_sessions[person, order].mean(0) for order in orders])
    observed = c[:, person, person].mean((0, 1))
    mean, sd = draws.mean(0), draws.std(0, ddof=1)
    exceedances = (draws >= observed - 1e-12).sum(0)
    p = (exceedances + 1) / (n_draws + 1)
    null_max = ((draws - mean) / sd).reshape(n_draws, -1).max(1)
    z = (observed - mean) / sd
    edges = np.linspace(0, 1, 4097)
    averaged = draws.mean((2, 3))
    hist = np.array([[np.histogram(averaged[:, e, b], edges)[0] for b in range(2)] for e in range(2)])
    return {
        **_own_null(c),
        "group_statistic": observed,
        "group_null_mean": mean,
        "group_null_sd": sd,
        "group_z": z,
        "exceedances": exceedances.astype("int64"),
        "p": p,
        "p_low": np.maximum(p - 0.01, 0),
        "p_high": np.minimum(p + 0.01, 1),
        "p_fdr": _benjamini_hochberg(p),
        "p_max": (1 + (null_max[:, None] >= z.ravel()).sum(0).reshape(z.shape)) / (n_draws + 1),
        "n_dyads": np.full(z.shape, n_dyads),
        "n_near_ties": np.zeros(z.shape, "int64"),
        "null_hist": hist.astype("int64"),
        "hist_center": (edges[:-1] + edges[1:]) / 2,
        "null_max": null_max.astype("float32"),
    }


def _own_null(c):
    n_dyads = c.shape[1]
    others = [[np.concatenate([np.delete(s[i], i, 0), np.delete(s[:, i], i, 0)]) for i in range(n_dyads)] for s in c]
    others = np.array(others).reshape(-1, 2 * (n_dyads - 1), *c.shape[3:])
    real = c[:, np.arange(n_dyads), np.arange(n_dyads)].reshape(-1, *c.shape[3:])
    mean, sd = others.mean(1), others.std(1, ddof=1)
    return {
        "null_mean": mean,
        "null_sd": sd,
        "z": (real - mean) / sd,
        "percentile": 100 * (others < real[:, None]).mean(1),
    }


def _benjamini_hochberg(p):
    flat = p.ravel()
    order = np.argsort(flat)[::-1]
    scaled = np.minimum.accumulate(flat[order] * flat.size / np.arange(flat.size, 0, -1))
    adjusted = np.empty_like(flat)
    adjusted[order] = scaled
    return adjusted.reshape(p.shape)


def record(n_draws=999, *, exact=False, min_p=0.001, alpha=0.05, tail="greater", correct=("fdr", "max")):
    """What is kept of a re-pairing test of coherence."""
    draws = NullDraws(REPAIRED, n_draws, exact, min_p, 7)
    words = group_test._words(MEASURES["coherence"], REPAIRED, tail)
    return Record("test", draws, words, TestSettings(tail=tail, correct=correct, alpha=alpha), "coherence")


def make_result(n_dyads=12, n_sessions=1, *, n_draws=999, alpha=0.05, **options):
    arrays = make_test_arrays(n_dyads, n_sessions, n_draws=n_draws, **options)
    real = make_real(n_dyads, n_sessions, **options)
    return built(real, arrays, record(n_draws, alpha=alpha))


def built(real, arrays, kept):
    """A result whose value is the coherence of its rows."""
    return build_result(real, {"value": real["coherence"].values, **arrays}, kept)


def make_maps(n_times=600, *, sfreq=5.0, phase=np.pi / 4, seed=3):
    """A dataset as wtc(..., grid="full") returns it: coherent at 8 s from 30 s to 90 s, there with the given phase."""
    random = np.random.default_rng(seed)
    period = 0.4 * 2 ** (np.arange(78) / 12)
    time = np.arange(n_times) / sfreq
    rough = random.standard_normal((len(period), n_times))
    kernel = np.exp(-0.5 * np.linspace(-2.5, 2.5, 15) ** 2)
    for axis, width in ((1, 3), (0, 1)):
        for _ in range(width):
            rough = np.apply_along_axis(np.convolve, axis, rough, kernel / kernel.sum(), mode="same")
    coherence = 0.31 + 0.16 * rough / rough.std()
    bump = np.exp(-((np.log2(period / 8) / 0.6) ** 4))[:, None] * np.exp(-(((time - 60) / 32) ** 6))[None, :]
    coherence = np.clip(coherence + 0.62 * bump, 0.0, 0.99)
    angle = np.where(bump > 0.2, phase, random.uniform(-np.pi, np.pi, coherence.shape))
    index = np.arange(n_times)
    coi = np.maximum(1.0330436 / np.sqrt(2) / sfreq * np.minimum(index, n_times - 1 - index), 1e-5)
    dims = ("channel_a", "channel_b", "freq", "time")
    return xr.Dataset(
        {"coherence": (dims, coherence[None, None]), "phase": (dims, angle[None, None])},
        coords={
            "channel_a": ["S1_D1"],
            "channel_b": ["S2_D2"],
            "freq": 1 / period,
            "period": ("freq", period),
            "time": time,
            "coi": ("time", coi),
        },
    )
