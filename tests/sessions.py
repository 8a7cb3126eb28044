"""Made-up values of dyads over sessions, their slopes by numpy.polyfit, and their test without its warnings."""

import warnings

import numpy as np
import xarray as xr
from scipy.optimize import brentq

from ibsync.questions.plasticity import plasticity

DIMS = ("dyad", "epoch", "channel_a", "channel_b", "band")


def study(values, *, sessions=None, valid=0.9, groups=None, task="talk"):
    """Real synchrony from values [dyad, session, feature], one row per session that has a value."""
    values = np.asarray(values, float)
    n_dyads, n_sessions, n_features = values.shape
    sessions = sessions or [f"ses-{s + 1:02d}" for s in range(n_sessions)]
    at = [(d, s) for s in range(n_sessions) for d in range(n_dyads) if np.isfinite(values[d, s]).any()]
    dyads, when = np.array(at).T
    rows = values[dyads, when].reshape(len(at), 1, 1, n_features, 1)
    groups = groups or ["pairs"] * n_dyads
    return xr.Dataset(
        {"coherence": (DIMS, rows), "valid_fraction": (DIMS, np.broadcast_to(valid, rows.shape).copy())},
        {
            "dyad": [f"d{d + 1:02d}" for d in dyads],
            "session": ("dyad", [sessions[s] for s in when]),
            "task": ("dyad", [task] * len(at)),
            "person_a": ("dyad", [f"d{d + 1:02d}-a" for d in dyads]),
            "group": ("dyad", [groups[d] for d in dyads]),
            "epoch": ["all"],
            "channel_a": ["S1_D1"],
            "channel_b": [f"S{k + 1}_D1" for k in range(n_features)],
            "band": ["task"],
            "band_low_hz": ("band", [0.02]),
            "band_high_hz": ("band", [0.1]),
            "signal": "hbo",
        },
        {"study_sha256": "ab" * 32, "spec": "{}", "ibsync_version": "0", "sfreq": 5.0},
    )


def noise(n_dyads, n_sessions, n_features=2, *, seed=0, growth=0.0, missing=0.0):
    """Values around 0.3, optionally growing per session, with sessions missing at random (two are always there)."""
    random = np.random.default_rng(seed)
    values = 0.3 + 0.05 * random.standard_normal((n_dyads, n_sessions, n_features))
    values += growth * np.arange(n_sessions)[:, None]
    gone = random.random((n_dyads, n_sessions)) < missing
    gone[:, :2] = False
    values[gone] = np.nan
    return values


def fitted(values, times):
    """Slopes by numpy.polyfit, one by one: [dyad, feature] from [dyad, session, feature]."""
    out = np.full((len(values), values.shape[2]), np.nan)
    for dyad, feature in np.ndindex(out.shape):
        y = values[dyad, :, feature]
        there = np.isfinite(y)
        if there.sum() >= 2:
            out[dyad, feature] = np.polyfit(np.asarray(times, float)[there], y[there], 1)[0]
    return out


def precisions(values, times, lengths=None, value=0.0):
    """Slopes, and the weights of their mean, one line and one root at a time: [dyad, feature] each."""
    times, shape = np.asarray(times, float), (len(values), values.shape[2])
    slope, square, residual, freedom = np.full((4, *shape), np.nan)
    for dyad, feature in np.ndindex(shape):
        there = np.isfinite(values[dyad, :, feature])
        if there.sum() < 2:
            continue
        t, y = times[there], values[dyad, there, feature]
        w = np.ones(len(t)) if lengths is None else lengths[dyad, there]
        slope[dyad, feature], start = np.polyfit(t, y, 1, w=np.sqrt(w))
        square[dyad, feature] = np.sum(w * (t - np.average(t, weights=w)) ** 2)
        residual[dyad, feature] = np.sum(w * (y - start - slope[dyad, feature] * t) ** 2)
        freedom[dyad, feature] = len(t) - 2
    variance = np.nansum(residual, axis=0) / np.nansum(freedom, axis=0) / square
    weights = np.zeros(shape)
    for feature in range(shape[1]):
        own = np.isfinite(slope[:, feature])
        b, v = slope[own, feature] - value, variance[own, feature]

        def excess(spread, b=b, v=v):
            return np.sum(b**2 / (spread + v)) - len(b)

        spread = 0.0 if excess(0.0) <= 0 else brentq(excess, 0.0, 1e6 * np.max(b**2), xtol=1e-18, rtol=1e-14)
        weights[own, feature] = 1 / (spread + v)
    return slope, weights


def quiet(*args, **words):
    """The same without its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return plasticity(*args, **words)
