"""Controls taken out of each person's features: against the definition, in plain float64."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from ibsync.coupling.backends.residuals import without_controls
from ibsync.coupling.engine import Engine
from ibsync.coupling.plan import full_resolution_weights
from ibsync.coupling.spec import WTC
from ibsync.coupling.transform.definition import coherency, residual_coherency
from ibsync.coupling.transform.maps import coherency_maps
from ibsync.coupling.transform.signals import prepare
from ibsync.study.wtc import partial_wtc

N, SFREQ = 500, 10.0
BANDS = {"slow": (0.1, 0.25), "fast": (0.3, 0.8)}
# What is left of a channel is smaller than the channel, and so is less exact than the promise of a cell; for each
# control that is taken out.
NEAR = {"exact": 3e-6, "fast": 3e-5}


def people(n_controls, n_channels=2, n=N, seed=0):
    """Two people whose channels hold some of their own controls, and something in common."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal(n)
    out = []
    for lag in (0, 3):
        controls = rng.standard_normal((n_controls, n)) + 0.5 * common
        mixed = rng.standard_normal((n_channels, n_controls)) @ controls
        out.append(np.vstack([rng.standard_normal((n_channels, n)) + np.roll(common, lag) + mixed, controls]))
    return out


def means(accuracy, a, b, n_controls, *, apart=False, **words):
    engine = Engine(a.shape[1], SFREQ, WTC(BANDS, accuracy=accuracy, min_valid=0.0), backend="numpy")
    features = [engine.features(x, n_controls=n_controls, apart=apart, **words) for x in (a, b)]
    return engine.coherence(*features)


def definition(a, b, n_controls):
    """Mean R2 [a, b, band] over the cells of the definition's maps."""
    engine = Engine(a.shape[1], SFREQ, WTC(BANDS, min_valid=0.0), backend="numpy")
    scales, weights = engine.plan.scales, full_resolution_weights(engine.plan)
    signals = prepare(np.vstack([a, b]))
    among = coherency_maps(signals, signals, scales, (0, scales.n_rows))
    n = len(a) - n_controls
    out = np.empty((n, n, len(BANDS)))
    for i, j in np.ndindex(n, n):
        chosen = [i, *range(n, len(a)), len(a) + j, *range(len(a) + n, 2 * len(a))]
        cells = residual_coherency(among[np.ix_(chosen, chosen)], n_controls)
        valid = ~np.isnan(cells)
        squared = np.where(valid, np.abs(np.nan_to_num(cells)) ** 2, 0)
        out[i, j] = (weights * squared).sum(axis=(1, 2)) / (weights * valid).sum(axis=(1, 2))
    return out


@pytest.mark.parametrize("n", [N, 3 * N])  # the longer ones' means are large: without controls the grid is coarse
@pytest.mark.parametrize("n_controls", [1, 2, 4])
@pytest.mark.parametrize("accuracy", ["exact", "fast"])
def test_means_equal_those_of_the_definition(accuracy, n_controls, n):
    a, b = people(n_controls, n=n)
    found = means(accuracy, a, b, n_controls)
    assert_allclose(found.coherence[..., 0], definition(a, b, n_controls), rtol=0, atol=n_controls * NEAR[accuracy])


def test_the_reference_is_the_definition():
    a, b = people(1, n_channels=1)
    a, b = a[:, :200], b[:, :200]
    engine = Engine(200, SFREQ, WTC({"fast": (0.5, 0.8)}, accuracy="reference"))
    found = engine.coherence(*(engine.features(x, n_controls=1) for x in (a, b)))
    signals, scales = [*a, *b], engine.plan.scales
    cells = residual_coherency(np.array([[coherency(x, y, scales) for y in signals] for x in signals]), 1)
    weights = full_resolution_weights(engine.plan)
    assert_allclose(found.coherence.item(), (weights * np.abs(cells) ** 2).sum() / weights.sum(), rtol=1e-12)


def test_residuals_are_those_of_least_squares():
    rng = np.random.default_rng(1)
    x, a, y, b = (rng.standard_normal((k, 7)) + 1j * rng.standard_normal((k, 7)) for k in (1, 2, 1, 3))
    vectors = np.vstack([x, a, y, b])
    among = (vectors @ vectors.conj().T)[..., None, None]
    left = [u[0] - c.T @ np.linalg.lstsq(c.T, u[0], rcond=None)[0] for u, c in ((x, a), (y, b))]
    expected = (left[0] @ left[1].conj()) / np.linalg.norm(left[0]) / np.linalg.norm(left[1])
    assert_allclose(residual_coherency(among, 2).item(), expected, rtol=1e-10)


def test_controls_of_both_equal_partial_wtc():
    a, b = people(1)
    controls = np.vstack([a[2:], b[2:]])
    both = [np.vstack([x[:2], controls]) for x in (a, b)]
    found = means("exact", *both, 2).coherence[..., 0]
    expected = partial_wtc(a[:2], b[:2], controls, sfreq=SFREQ, spec=WTC(BANDS, min_valid=0.0))
    assert_allclose(found, expected["coherence"].values[..., 0], rtol=0, atol=NEAR["exact"])


def test_a_control_that_repeats_another_changes_nothing():
    a, b = people(1)
    twice = [np.vstack([x, x[-1:] * 3 + 1]) for x in (a, b)]
    once, again = means("exact", a, b, 1), means("exact", *twice, 2)
    assert_allclose(again.coherence, once.coherence, rtol=0, atol=1e-6)


def test_a_channel_that_is_its_own_control_has_no_value():
    a, b = people(1)
    a[0] = a[-1]
    found = means("exact", a, b, 1)
    assert np.isnan(found.coherence[0]).all()
    assert np.isfinite(found.coherence[1]).all()


def test_a_gap_in_a_control_is_a_gap_of_every_channel():
    a, b = people(1)
    a[-1, 200:320] = np.nan
    with_gap = means("exact", a, b, 1).valid_fraction
    assert (with_gap < means("exact", *people(1), 1).valid_fraction - 0.1).all()
    assert_array_equal(with_gap[0], with_gap[1])


def test_a_control_apart_is_taken_out_of_its_channel_alone():
    a, b = people(2)
    channels, controls = a[:2], a[2:]
    found = means("exact", a, b, 0, apart=True)
    for k in range(2):
        alone = means("exact", np.vstack([channels[k], controls[k]]), np.vstack([b[1], b[3]]), 1)
        assert_allclose(found.coherence[k, 1], alone.coherence[0, 0], rtol=0, atol=1e-6)


def test_people_of_a_batch_have_controls_of_their_own():
    (a, b), (c, d) = people(2), people(2, seed=5)
    engine = Engine(N, SFREQ, WTC(BANDS), backend="numpy")
    many = engine.coherence(*(engine.features(np.stack(x), n_controls=2) for x in ((a, c), (b, d))))
    one = engine.coherence(*(engine.features(x, n_controls=2) for x in (c, b)))
    assert many.coherence.shape == (2, 2, 2, 2, 2, 1)
    assert_allclose(many.coherence[1, :, 0], one.coherence, rtol=0, atol=1e-6)


def test_a_spike_in_a_control_is_served_by_the_deeper_rank():
    a, b = people(1)
    a[-1, 250] += 1e4
    found = means("exact", a, b, 1)
    assert_allclose(found.coherence[..., 0], definition(a, b, 1), rtol=0, atol=NEAR["exact"])


def test_nothing_is_taken_out_where_a_control_is_nothing():
    rng = np.random.default_rng(0)
    u = rng.standard_normal((5, 8, 3))
    left = without_controls(np, u, np.zeros((5, 8, 1)), np.zeros((3, 1), np.int64))
    assert_array_equal(left, u)
