"""Every cell by the definition's own sums at real-valued times, and every cell by an engine, to compare."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.testing import assert_allclose, assert_array_equal
from scipy.signal import butter, sosfiltfilt

from ibsync.coupling.engine import Engine
from ibsync.coupling.plan import Segment
from ibsync.coupling.transform.definition import empty_power, transform

PROMISE = {"exact": 1e-6, "fast": 5e-4}


def clean_signals(n, seed=0):
    """White noise, random walks and band-passed noise: float64 [6, sample]."""
    rng = np.random.default_rng(seed)
    white, walk, passed = rng.standard_normal((3, 2, n))
    band = butter(3, [0.01, 0.2], "bandpass", fs=10, output="sos")
    return np.concatenate([white, np.cumsum(walk, axis=1), sosfiltfilt(band, passed, padlen=min(60, n // 2))])


def rough_signals(n, seed=0):
    """White noise with a spike of 10 000 sd (middle, near an end, last) or a step of 1000 sd: float64 [4, sample]."""
    out = np.random.default_rng(seed + 100).standard_normal((4, n))
    for channel, sample in zip(out, (n // 2, 3, n - 1), strict=False):
        channel[sample] += 1e4
    out[3, n // 3 :] += 1e3
    return out


def spoilt_signals(n, seed=0):
    """Noise or a walk with a spike or step of 100 sd and more, a narrow band, a bridged gap: float64 [6, sample]."""
    rng = np.random.default_rng(seed + 200)
    out = rng.standard_normal((6, n))
    out[3] = np.cumsum(out[3])
    out[0, n // 2] += 100
    out[1, n // 3] += 1000
    out[2, n // 3 :] += 100
    out[3, 3 * n // 5] += 30 * out[3].std()
    out[4] = sosfiltfilt(butter(5, [0.05, 0.5], "bandpass", fs=10, output="sos"), out[4], padlen=min(60, n // 2))
    out[5, n // 2 : n // 2 + n // 10] = np.linspace(*out[5, [n // 2 - 1, n // 2 + n // 10]], n // 10)
    return out


def definition_at(a, b, scales, rows, times):
    """Coherency of each channel of `a` with each of `b` at `rows` and real-valued `times`, by direct sums.

    Returns
    -------
    coherency : complex128 [a, b, time, row]
    power : float64 [a, b, time, row]
        Smaller smoothed power of the two, over the power at which a cell counts as empty.
    """
    weights = scales.smoothing_weights
    guard = len(weights) // 2
    cross = np.zeros((len(a), len(b), len(times), len(rows)), complex)
    power_a = np.zeros((len(a), 1, len(times), len(rows)))
    power_b = np.zeros((1, len(b), len(times), len(rows)))
    for near in range(max(0, rows[0] - guard), min(scales.n_rows, rows[-1] + guard + 1)):
        scale = scales.scale[near]
        wa, wb = (np.array([transform(x, scales.scale[near : near + 1])[0] for x in side]) for side in (a, b))
        products = (wa[:, None] * wb.conj(), np.abs(wa) ** 2, np.abs(wb) ** 2)
        smoothed = [_smoothed_at(product, scale, times) for product in products]
        for k, row in enumerate(rows):
            if abs(near - row) <= guard:
                weight = weights[near - row + guard]
                cross[..., k] += weight * smoothed[0]
                power_a[:, 0, :, k] += weight * smoothed[1]
                power_b[0, :, :, k] += weight * smoothed[2]
    empty_a, empty_b = (np.array([empty_power(x) for x in side]) for side in (a, b))
    power = np.minimum(power_a / empty_a[:, None, None, None], power_b / empty_b[:, None, None])
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(power > 1, cross / np.sqrt(power_a * power_b), np.nan), power


def _smoothed_at(products, scale, times):
    """Gaussian sums of [..., sample] around `times`, over the scale: [..., time]."""
    out = np.empty((*products.shape[:-1], len(times)), products.dtype)
    for k, t in enumerate(times):
        # 12 standard deviations away a weight is 5e-32.
        tau = np.arange(max(0, int(t - 12 * scale)), min(products.shape[-1], int(t + 12 * scale) + 2))
        out[..., k] = products[..., tau[0] : tau[-1] + 1] @ np.exp(-0.5 * ((t - tau) / scale) ** 2)
    return out / (scale * np.sqrt(2 * np.pi)) / scale


def cell_engine(n, spec, group, backend, n_inner=24):
    """An engine whose means are single cells of one group of rows, and where those cells are.

    `backend` is a name, or a backend that is there. All times near the two ends are there, and `n_inner` between them.

    Returns
    -------
    Engine, rows int [row], times float64 [time]
    """
    engine = Engine(n, 10.0, spec, backend=backend if isinstance(backend, str) else "numpy")
    if not isinstance(backend, str):
        engine.backend = backend
    plan = dataclasses.replace(engine.plan)  # plans are kept, and this one is changed
    first, n_rows = plan.row_spans[group]
    finest = dict.fromkeys(plan.row_spans, plan.rank(1).points_per_scale)
    plan.__dict__["points_per_scale"] = finest
    tables = plan.group(Segment(first, n_rows, np.empty(0, np.int64), np.empty(0)), 0)
    last = len(tables.times) - 1
    end = np.count_nonzero(tables.times < 9 * plan.scale[first + n_rows - 1])  # the reach of an end at any depth
    inner = np.linspace(0, last, n_inner).round().astype(int)
    chosen = np.unique(np.concatenate([np.arange(end), inner, last - np.arange(end)]).clip(0, last))
    n_cells = len(chosen) * n_rows
    weights = np.zeros((n_cells, len(tables.times), n_rows))
    weights[:, chosen] = np.eye(n_cells).reshape(n_cells, len(chosen), n_rows)
    engine.plan = dataclasses.replace(
        plan,
        bands={"cells": next(iter(plan.bands.values()))},
        epochs={str(cell): [(0.0, 0.1)] for cell in range(n_cells)},
        n_cells=np.ones((1, n_cells)),
    )
    segments = (Segment(first, n_rows, chosen, weights),)
    engine.plan.__dict__.update(points_per_scale=finest, segments=segments, deep_segments=segments)
    return engine, np.arange(first, first + n_rows), tables.times[chosen]


def engine_at(engine, rows, times, a, b):
    """Coherency and R2 of the engine's cells, complex128 and float64 [a, b, time, row], and the depth needed."""
    features_a = engine.features(a)
    features_b = engine.features(b)
    found = engine.coherence(features_a, features_b)
    shape = (len(a), len(b), len(times), len(rows))
    return found.coherency.reshape(shape), found.coherence.reshape(shape), int(features_a.deep.any())


def assert_every_cell_keeps_the_promise(spec, a, b, group, backend, n_inner=24):
    """Hold every cell of a group of rows against the definition; return the depth that was needed."""
    engine, rows, times = cell_engine(a.shape[1], spec, group, backend, n_inner)
    found, r2, depth = engine_at(engine, rows, times, a, b)
    expected, power = definition_at(a, b, engine.plan.scales, rows, times)
    decided = np.abs(power - 1) > 1e-3  # whether a cell at the very threshold counts as empty is rounding
    assert_array_equal(np.isnan(r2)[decided], np.isnan(expected)[decided])
    both = np.isfinite(r2) & np.isfinite(expected)
    assert both.mean() > 0.5
    assert_allclose(r2[both], np.abs(expected[both]) ** 2, rtol=0, atol=PROMISE[spec.accuracy])
    assert_allclose(found[both], expected[both], rtol=0, atol=PROMISE[spec.accuracy])
    return depth
