"""The two verbs against the definition: every cell, every mean, validity, and what must not change a result."""

import numpy as np
import pytest
from cells import (
    assert_every_cell_keeps_the_promise,
    clean_signals,
    rough_signals,
    spoilt_signals,
)
from numpy.testing import assert_allclose, assert_array_equal
from refusals import refusal

import ibsync.coupling.backends.numpy as numpy_backend
from ibsync.coupling.backends.numpy import NumpyBackend
from ibsync.coupling.engine import Engine
from ibsync.coupling.plan import full_resolution_weights
from ibsync.coupling.spec import WTC, Band
from ibsync.coupling.transform.definition import coherency
from ibsync.coupling.transform.maps import coherency_maps
from ibsync.coupling.transform.signals import prepare
from ibsync.coupling.wavelet_coherence import Coherence
from ibsync.errors import DeviceError, InputError, PlanError

N, SFREQ = 600, 10.0
BANDS = {"slow": Band(0.06, 0.2, exclude=(0.09, 0.11)), "fast": (0.3, 0.8)}
EPOCHS = {"early": (0, 30), "late": [(25, 40), (42, 58)]}
# Two runs that differ in the order of float32 sums only.
ROUNDING = 1e-6


def coupled(n_channels, n=N, seed=0):
    """Two people with noise in common: float64 [channel, sample] each."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal(n)
    return common + rng.standard_normal((n_channels, n)), np.roll(common, 4) + rng.standard_normal((n_channels, n))


def result(spec, a, b, *, epochs=EPOCHS, backend="numpy", n=N, good=None):
    engine = Engine(n, SFREQ, spec, epochs=epochs, backend=backend)
    return engine.coherence(engine.features(a, good), engine.features(b))


def means_of_the_definition(plan, a, b):
    """Means over the cells of the definition's maps, of prepared signals."""
    first, stop = plan.row_spans[0][0], sum(plan.row_spans[-1])
    maps = coherency_maps(a, b, plan.scales, (first, stop))
    weights = full_resolution_weights(plan)[:, first:stop].reshape(plan.n_means, -1)
    valid = ~np.isnan(maps).reshape(*maps.shape[:2], -1)
    entered = valid @ weights.T
    coherency = np.nan_to_num(maps).reshape(valid.shape)
    shape = (*maps.shape[:2], len(plan.bands), len(plan.epochs))
    with np.errstate(invalid="ignore"):
        means = [sums / entered for sums in (np.abs(coherency) ** 2 @ weights.T, coherency @ weights.T)]
    return Coherence(*(mean.reshape(shape) for mean in means), entered.reshape(shape) / plan.n_cells)


def assert_close(found, expected, *, atol=ROUNDING):
    assert_allclose(found.coherence, expected.coherence, rtol=0, atol=atol)
    assert_allclose(found.coherency, expected.coherency, rtol=0, atol=atol)
    assert_allclose(found.valid_fraction, expected.valid_fraction, rtol=0, atol=1e-9)


# --- every cell -------------------------------------------------------------------------------------------------------

GROUPS = [(64, 0), (64, 1), (64, 2), (64, 3), (500, 0), (500, 1), (500, 3), (500, 5), (2000, 0), (3000, 6), (3000, 8)]


@pytest.mark.parametrize("make", [clean_signals, rough_signals, spoilt_signals])
@pytest.mark.parametrize(("n", "group"), GROUPS)
@pytest.mark.parametrize("accuracy", ["exact", "fast"])
def test_every_cell_keeps_the_promise(accuracy, n, group, make, backend):
    assert_every_cell_keeps_the_promise(WTC(accuracy=accuracy), make(n, 0), make(n, 1), group, backend)


@pytest.mark.parametrize("make", [clean_signals, rough_signals])
def test_every_cell_keeps_the_promise_in_an_hour_at_ten_hertz(make, backend):
    a, b = make(36000, 0)[[1, 2]], make(36000, 1)[[0, 3]]
    assert_every_cell_keeps_the_promise(WTC(), a, b, 5, backend, n_inner=12)


@pytest.mark.parametrize("voices", [8, 10, 24])
def test_every_cell_keeps_the_promise_at_other_resolutions(voices, backend):
    a, b = clean_signals(300, 0)[:4], clean_signals(300, 1)[:4]
    assert_every_cell_keeps_the_promise(WTC(voices=voices), a, b, 1, backend)


@pytest.mark.parametrize("accuracy", ["exact", "fast"])
def test_a_spike_is_served_by_the_deeper_rank_and_noise_is_not(accuracy):
    noise = np.random.default_rng(5).standard_normal((4, 500))
    spiky = noise.copy()
    spiky[:, 250] += 1e4
    for signals, depth in ((noise, 0), (spiky, 1)):
        spec = WTC(accuracy=accuracy)
        assert assert_every_cell_keeps_the_promise(spec, signals[:2], signals[2:], 2, "numpy") == depth


# --- means ------------------------------------------------------------------------------------------------------------


def test_reference_means_are_the_means_of_the_definitions_map():
    a, b = coupled(2)
    engine = Engine(N, SFREQ, WTC(BANDS, accuracy="reference"), epochs=EPOCHS)
    found = engine.coherence(engine.features(a), engine.features(b))
    weights = full_resolution_weights(engine.plan)
    n_cells = weights.sum(axis=(1, 2))
    for i, j in np.ndindex(2, 2):
        cells = coherency(a[i], b[j], engine.plan.scales)
        squared = (weights * np.abs(cells) ** 2).sum(axis=(1, 2)) / n_cells
        assert_allclose(found.coherency[i, j].reshape(-1), (weights * cells).sum(axis=(1, 2)) / n_cells, atol=1e-12)
        assert_allclose(found.coherence[i, j].reshape(-1), squared, atol=1e-12)
        assert_allclose(found.valid_fraction[i, j], n_cells.reshape(2, 2) / engine.plan.n_cells, atol=1e-12)


@pytest.mark.parametrize("coi", ["recording", "epoch", "none"])
@pytest.mark.parametrize(("accuracy", "limit"), [("exact", 3e-5), ("fast", 5e-5)])
def test_means_over_half_a_minute_equal_the_definitions(coi, accuracy, limit, backend):
    a, b = coupled(3)
    epochs = {"early": (0, 30), "late": (28, 58)}
    found = result(WTC(BANDS, coi=coi, accuracy=accuracy, min_valid=0), a, b, epochs=epochs, backend=backend)
    expected = result(WTC(BANDS, coi=coi, accuracy="reference", min_valid=0), a, b, epochs=epochs)
    assert np.isfinite(expected.coherence).all()
    assert_close(found, expected, atol=limit)


@pytest.mark.parametrize(("accuracy", "limit"), [("exact", 1e-5), ("fast", 5e-5)])
def test_means_over_whole_recordings_equal_the_definitions(accuracy, limit, backend):
    a, b = coupled(3)
    bands = {"slow": (0.05, 0.2), "fast": (0.3, 0.8), "fastest": (1, 4)}
    found = result(WTC(bands, accuracy=accuracy), a, b, epochs=None, backend=backend)
    assert_close(found, result(WTC(bands, accuracy="reference"), a, b, epochs=None), atol=limit)


def shortest_on_a_coarse_grid(spec, n):
    """The shortest epoch, in whole seconds, over which every group of rows has the coarse grid."""
    for seconds in range(5, int(n / SFREQ) + 1):
        epochs = {"start": (0, seconds)} if spec.coi == "none" else {"part": (20, 20 + seconds)}
        plan = Engine(n, SFREQ, spec, epochs=epochs, backend="numpy").plan
        if max(plan.points_per_scale.values()) < 2:
            return epochs
    raise AssertionError("no epoch is long enough")


@pytest.mark.parametrize("coi", ["recording", "epoch", "none"])
@pytest.mark.parametrize("band", [(3.2, 3.3), (2, 2.7), (0.7, 3)], ids=["one row", "half an octave", "two octaves"])
@pytest.mark.parametrize(("accuracy", "limit"), [("exact", 3e-5), ("fast", 5e-5)])
def test_means_over_the_shortest_epochs_on_a_coarse_grid_equal_the_definitions(coi, band, accuracy, limit, backend):
    n = 3500
    walks = np.cumsum(coupled(3, n, 1), axis=-1)
    a, b = (np.concatenate(both) for both in zip(coupled(3, n), walks, strict=True))
    spec = WTC({"band": band}, accuracy=accuracy, coi=coi, min_valid=0)
    engine = Engine(n, SFREQ, spec, epochs=shortest_on_a_coarse_grid(spec, n), backend=backend)
    found = engine.coherence(engine.features(a), engine.features(b))
    assert_close(found, means_of_the_definition(engine.plan, prepare(a), prepare(b)), atol=limit)


@pytest.mark.parametrize("n", [64, 65, 100, 513])
def test_means_over_short_recordings_equal_the_definitions(n, backend):
    a, b = coupled(2, n)
    spec = {"bands": {"all": (0.8, 4.5)}, "coi": "none"}
    found = result(WTC(**spec), a, b, epochs=None, n=n, backend=backend)
    assert_close(found, result(WTC(**spec, accuracy="reference"), a, b, epochs=None, n=n), atol=3e-5)


def test_bands_and_epochs_together_equal_each_alone(backend):
    a, b = coupled(2)
    together = result(WTC(BANDS), a, b, backend=backend)
    for k, name in enumerate(BANDS):
        for e, epoch in enumerate(EPOCHS):
            alone = result(WTC({name: BANDS[name]}), a, b, epochs={epoch: EPOCHS[epoch]}, backend=backend)
            assert_allclose(alone.coherence[..., 0, 0], together.coherence[..., k, e], atol=6e-5)
            assert_allclose(alone.valid_fraction[..., 0, 0], together.valid_fraction[..., k, e], atol=1e-9)


def test_without_bands_the_mean_is_over_the_whole_range(backend):
    a, b = coupled(1)
    found = result(WTC(), a, b, epochs=None, backend=backend)
    assert found.coherence.shape == (1, 1, 1, 1)
    assert_close(found, result(WTC(accuracy="reference"), a, b, epochs=None), atol=1e-5)


def test_phase_is_positive_when_a_leads(backend):
    t = np.arange(N) / SFREQ
    noise = 0.01 * np.random.default_rng(0).standard_normal((2, N))
    lead = np.cos(2 * np.pi * 0.5 * t) + noise[0]
    lag = np.cos(2 * np.pi * 0.5 * (t - 0.5)) + noise[1]
    found = result(WTC({"b": (0.45, 0.55)}), lead, lag, epochs=None, backend=backend)
    assert found.coherency.shape == (1, 1)
    assert_allclose(np.angle(found.coherency), np.pi / 2, atol=0.02)


# --- what a coherence must be -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_channels", [1, 2, 3, 40])
@pytest.mark.parametrize("n", [600, 6000])
def test_coherence_of_a_signal_with_itself_is_one(n, n_channels, backend):
    engine = Engine(n, SFREQ, WTC(BANDS), backend=backend)
    u = engine.features(coupled(n_channels, n)[0])
    found = engine.coherence(u, u)
    diagonal = np.arange(n_channels)
    assert_allclose(found.coherence[diagonal, diagonal], 1, atol=ROUNDING)
    assert_allclose(found.coherency[diagonal, diagonal], 1, atol=ROUNDING)
    assert found.coherence[~np.eye(n_channels, dtype=bool)].max(initial=0) < 0.95


def test_swapping_the_batches_conjugates(backend):
    a, b = coupled(3)
    there, back = result(WTC(BANDS), a, b, backend=backend), result(WTC(BANDS), b, a, backend=backend)
    assert np.abs(there.coherency.imag).max() > 0.01
    assert_allclose(back.coherency.swapaxes(0, 1), there.coherency.conj(), atol=ROUNDING)
    assert_allclose(back.coherence.swapaxes(0, 1), there.coherence, atol=ROUNDING)


def test_a_batch_with_itself_is_the_batch_with_its_copy(backend):
    engine = Engine(N, SFREQ, WTC(BANDS), epochs=EPOCHS, backend=backend)
    a = coupled(3)[0]
    u = engine.features(a)
    assert_close(engine.coherence(u, u), engine.coherence(u, engine.features(a)))


@pytest.mark.parametrize(("gain", "offset"), [(1e-6, 0), (-3, 0), (1, 1e4), (1e9, -5e9)])
def test_gain_and_offset_change_nothing_and_a_sign_only_the_sign(gain, offset, backend):
    a, b = coupled(2)
    plain, other = (result(WTC(BANDS), x, b, backend=backend) for x in (a, gain * a + offset))
    assert_allclose(other.coherence, plain.coherence, atol=ROUNDING)
    assert_allclose(other.coherency, np.sign(gain) * plain.coherency, atol=ROUNDING)


# --- what must not change a result ------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_threads", [2, 3, 7])
def test_the_number_of_threads_changes_no_bit(n_threads):
    a, b = coupled(5)
    found = []
    for threads in (1, n_threads):
        engine = Engine(N, SFREQ, WTC(BANDS), epochs=EPOCHS, backend="numpy")
        engine.backend = NumpyBackend(threads)
        found.append(engine.coherence(engine.features(a), engine.features(b)))
    assert_array_equal(found[1].coherence, found[0].coherence)
    assert_array_equal(found[1].coherency, found[0].coherency)


def test_leading_axes_are_kept_and_change_nothing(backend):
    a, b = coupled(6)
    flat = result(WTC(BANDS), a, b, backend=backend)
    shaped = result(WTC(BANDS), a.reshape(2, 3, N), b.reshape(3, 1, 2, N), backend=backend)
    assert shaped.coherence.shape == (2, 3, 3, 1, 2, 2, 2)
    assert_allclose(shaped.coherence.reshape(flat.coherence.shape), flat.coherence, atol=ROUNDING)
    assert_allclose(shaped.coherency.reshape(flat.coherency.shape), flat.coherency, atol=ROUNDING)


def test_one_channel_at_a_time_equals_all_together(backend):
    a, b = coupled(3)
    together = result(WTC(BANDS), a, b, backend=backend)
    for i, j in np.ndindex(3, 3):
        alone = result(WTC(BANDS), a[i], b[j], backend=backend)
        assert_allclose(alone.coherence, together.coherence[i, j], atol=ROUNDING)


@pytest.mark.parametrize("lags", [(), (0.0, 1.5)])
def test_pairs_within_dyads_are_those_of_each_dyad_alone(lags, backend):
    a, b = (x.reshape(4, -1, N) for x in coupled(12))
    b = b[:, :2]
    a[1, 0, 200:260] = np.nan  # a gap
    a[2, 1, 400] += 1000  # a spike, which needs the deeper rank
    b[3, 1] = 0  # a dead channel
    engine = Engine(N, SFREQ, WTC(BANDS, lags=lags), epochs=EPOCHS, backend=backend)
    found = engine.coherence(engine.features(a), engine.features(b), by_dyad=True, shares=True)
    assert found.coherence.shape == (4, 3, 2, len(BANDS) * max(1, len(lags)), len(EPOCHS))
    for dyad in range(4):
        alone = engine.coherence(engine.features(a[dyad]), engine.features(b[dyad]), shares=True)
        for name in ("coherence", "coherency", "valid_fraction", "shares", "above"):
            limit = 1e-3 if name in ("shares", "above") else ROUNDING  # a cell at the limit of a class may change sides
            assert_allclose(getattr(found, name)[dyad], getattr(alone, name), rtol=0, atol=limit)
    values = engine.measure(engine.features(a), engine.features(b), "coherence", by_dyad=True)
    assert_allclose(values, found.coherence, rtol=0, atol=ROUNDING)


def test_other_numbers_of_dyads_are_refused(backend):
    a, b = coupled(4)
    engine = Engine(N, SFREQ, WTC(BANDS), backend=backend)
    one, two = engine.features(a), engine.features(b.reshape(2, 2, N))
    for sides in ((one, two), (two, engine.features(a.reshape(4, 1, N))), (one, one)):
        with pytest.raises(InputError, match="by_dyad"):
            engine.coherence(*sides, by_dyad=True)
    with pytest.raises(PlanError, match="maps"):
        engine.coherence(two, two, by_dyad=True, maps=True)


def test_the_order_of_channels_changes_nothing(backend):
    a, b = coupled(5)
    order = np.array([3, 0, 4, 1, 2])
    plain, turned = result(WTC(BANDS), a, b, backend=backend), result(WTC(BANDS), a[order], b, backend=backend)
    assert_allclose(turned.coherence, plain.coherence[order], atol=ROUNDING)
    assert_allclose(turned.coherency, plain.coherency[order], atol=ROUNDING)


def test_more_channels_than_a_task_or_tile_holds_equal_few(backend):
    a, b = coupled(70)
    spec, some = WTC({"fast": (0.3, 0.8)}), [0, 1, 31, 32, 33, 63, 64, 69]
    many = result(spec, a, b, epochs=None, backend=backend)
    few = result(spec, a[some], b[some], epochs=None, backend=backend)
    assert_allclose(many.coherence[np.ix_(some, some)], few.coherence, atol=ROUNDING)
    assert_allclose(many.coherency[np.ix_(some, some)], few.coherency, atol=ROUNDING)


def test_float32_and_float64_input_of_the_same_values_agree(backend):
    a, b = (x.astype(np.float32) for x in coupled(3))
    single = result(WTC(BANDS), a, b, backend=backend)
    double = result(WTC(BANDS), a.astype(np.float64), b.astype(np.float64), backend=backend)
    assert_close(single, double)


def test_integers_are_taken_as_numbers(backend):
    a, b = ((100 * x).astype(np.int16) for x in coupled(2))
    assert_close(
        result(WTC(BANDS), a, b, backend=backend), result(WTC(BANDS), a * 1.0, b * 1.0, backend=backend), atol=1e-12
    )


@pytest.mark.parametrize(
    ("name", "size"),
    [
        *((name, size) for name in ("BLOCK_BYTES", "TILE_BYTES") for size in (1 << 12, 1 << 16, 1 << 24)),
        *(("CHANNELS_PER_TASK", size) for size in (1, 4, 100)),
    ],
)
def test_block_sizes_change_nothing(monkeypatch, name, size):
    a, b = coupled(9)
    plain = result(WTC(BANDS), a, b)
    monkeypatch.setattr(numpy_backend, name, size)
    assert_close(result(WTC(BANDS), a, b), plain)


def test_features_serve_many_partners_and_are_not_changed(backend):
    a, b = coupled(2)
    engine = Engine(N, SFREQ, WTC(BANDS), epochs=EPOCHS, backend=backend)
    u, v = engine.features(a), engine.features(b)
    first = engine.coherence(u, v)
    spiky = a.copy()
    spiky[:, 300] += 1e4  # takes the deeper rank, with u as partner
    engine.coherence(u, engine.features(spiky))
    assert_close(engine.coherence(u, v), first)


def test_a_spiky_channel_changes_no_other(backend):
    a, b = coupled(3)
    spiky = np.concatenate([a, a[:1]])
    spiky[3, 300] += 1e4
    plain, beside = result(WTC(BANDS), a, b, backend=backend), result(WTC(BANDS), spiky, b, backend=backend)
    assert_allclose(beside.coherence[:3], plain.coherence, atol=ROUNDING)
    assert_allclose(beside.coherency[:3], plain.coherency, atol=ROUNDING)


@pytest.mark.parametrize("accuracy", ["exact", "fast"])
def test_spiky_channels_are_computed_alike_alone_and_together(accuracy, backend):
    a, b = coupled(3, 3000)
    for side, places in ((a, (300, 1500, 1530)), (b, (1500, 2999, 600))):
        for channel, place in zip(side, places, strict=True):
            channel[place] += 1e3
    spec = WTC(BANDS, accuracy=accuracy)
    together = result(spec, a, b, epochs=None, n=3000, backend=backend)
    for i, j in np.ndindex(3, 3):
        assert_close(
            result(spec, a[i : i + 1], b[j : j + 1], epochs=None, n=3000, backend=backend),
            Coherence(*(values[i : i + 1, j : j + 1] for values in (
                together.coherence, together.coherency, together.valid_fraction))),
        )  # fmt: skip
    engine = Engine(3000, SFREQ, spec, backend=backend)
    u = engine.features(a)
    assert_close(engine.coherence(u, u), engine.coherence(u, engine.features(a)))


@pytest.mark.parametrize(("accuracy", "limit"), [("exact", 3e-5), ("fast", 5e-5)])
@pytest.mark.parametrize("make", [rough_signals, spoilt_signals])
def test_means_of_spoilt_signals_equal_the_definitions(make, accuracy, limit, backend):
    n, bands = 1500, {"slow": (0.06, 0.15), "fast": (0.3, 0.45)}
    a, b = make(n, 0)[:4], make(n, 1)[:4]
    epochs = {"whole": (0, 150), "parts": [(20, 60), (70, 130)]}
    engine = Engine(n, SFREQ, WTC(bands, accuracy=accuracy, min_valid=0), epochs=epochs, backend=backend)
    u = engine.features(a)
    found = engine.coherence(u, engine.features(b))
    assert u.deep.any()
    assert_close(found, means_of_the_definition(engine.plan, prepare(a), prepare(b)), atol=limit)


def test_input_is_not_changed(backend):
    a, b = coupled(2)
    a[0, 50:60] = np.nan
    before = a.copy()
    a.flags.writeable = b.flags.writeable = False
    result(WTC(BANDS), a, b, backend=backend)
    assert_array_equal(a, before)


# --- gaps, masks, unusable channels -----------------------------------------------------------------------------------


def holed(x, kind):
    """A copy with 4 s missing from its channel 1 and the mask to go with it."""
    good = np.ones(x.shape, bool)
    good[1, 300:340] = False
    return (np.where(good, x, np.nan), None) if kind == "gap" else (x, good)


@pytest.mark.parametrize("accuracy", ["exact", "fast", "reference"])
@pytest.mark.parametrize("kind", ["gap", "mask"])
def test_a_gap_takes_cells_out_of_its_channel_only(accuracy, kind):
    a, b = coupled(2)
    spec = WTC(BANDS, accuracy=accuracy, min_valid=0)
    x, good = holed(a, kind)
    plain, found = result(spec, a, b, epochs=None), result(spec, x, b, epochs=None, good=good)
    assert_allclose(found.coherence[0], plain.coherence[0], atol=ROUNDING)
    assert_allclose(found.valid_fraction[0], plain.valid_fraction[0], atol=1e-12)
    assert (plain.valid_fraction[1] - found.valid_fraction[1] > 40 / N).all()  # more than the gap itself


def test_gap_and_mask_of_the_same_samples_agree(backend):
    a, b = coupled(2)
    spec = WTC(BANDS, min_valid=0)
    by_gap, by_mask = (
        result(spec, x, b, backend=backend, good=good) for x, good in (holed(a, "gap"), holed(a, "mask"))
    )
    assert_close(by_gap, by_mask)


def test_a_gap_takes_the_same_cells_out_of_the_definition(backend):
    a, b = coupled(2)
    a[1, 300:340] = np.nan
    b[0, 100:130] = np.nan
    spec = {"bands": BANDS, "min_valid": 0}
    found = result(WTC(**spec), a, b, epochs=None, backend=backend)
    expected = result(WTC(**spec, accuracy="reference"), a, b, epochs=None)
    # In each row each edge of a gap is placed to within half a step of the grid.
    plan = Engine(N, SFREQ, WTC(**spec), backend="numpy").plan
    half_steps = sum(
        np.diff(plan.group(segment, 0).times).mean() / 2 * segment.weights.any(axis=1).sum(axis=1)
        for segment in plan.segments
    )
    n_edges = 2 * np.array([[1, 0], [2, 1]])[..., None, None]  # of pairs: channel 1 of a and channel 0 of b have a gap
    misplaced = n_edges * (half_steps[:, None] / plan.n_cells)
    assert (np.abs(found.valid_fraction - expected.valid_fraction) <= misplaced + 1e-9).all()
    # Coherence there differs from its mean by 1 at most.
    moved = np.abs(found.coherence - expected.coherence)
    assert (moved <= 3e-5 + misplaced / expected.valid_fraction).all()
    assert moved.max() < 0.01


def test_a_pair_loses_the_cells_of_both_channels(backend):
    a, b = coupled(1)
    holed_a, holed_b = a.copy(), b.copy()
    holed_a[0, 150:170], holed_b[0, 400:420] = np.nan, np.nan
    spec = WTC({"fast": (0.3, 0.8)}, coi="none", min_valid=0)
    one, other, both = (
        1 - result(spec, x, y, epochs=None, backend=backend).valid_fraction.item()
        for x, y in ((holed_a, b), (a, holed_b), (holed_a, holed_b))
    )
    assert 0.03 < one < 0.3
    assert_allclose(both, one + other, atol=1e-9)


def test_one_lost_sample_costs_only_the_shortest_windows(backend):
    a, b = coupled(1)
    spec = WTC({"slow": (0.06, 0.2), "fastest": (3, 4.5)}, min_valid=0)
    plain = result(spec, a, b, epochs=None, backend=backend).valid_fraction.reshape(-1)
    a[0, 300] = np.nan
    slow, fastest = plain - result(spec, a, b, epochs=None, backend=backend).valid_fraction.reshape(-1)
    assert slow == 0
    assert 0 < fastest < 0.02


@pytest.mark.parametrize("min_valid", [0.0, 0.3, 0.9])
def test_means_of_too_few_cells_are_nan(min_valid, backend):
    a, b = coupled(2)
    a[1, 100:450] = np.nan
    found = result(WTC(BANDS, min_valid=min_valid), a, b, epochs=None, backend=backend)
    enough = (found.valid_fraction >= min_valid) & (found.valid_fraction > 1e-6)
    assert_array_equal(np.isfinite(found.coherence), enough)
    assert_array_equal(np.isfinite(found.coherency), enough)
    assert (found.valid_fraction[1] < found.valid_fraction[0]).all()


# --- seams ------------------------------------------------------------------------------------------------------------


def test_the_cone_of_a_seam_is_left_out_as_by_the_definition(backend):
    a, b = coupled(2)
    shift = 200
    rolled = np.roll(b, shift, axis=1)
    spec = WTC(bands=BANDS, min_valid=0)
    engine = Engine(N, SFREQ, spec, epochs=EPOCHS, backend=backend)
    found = engine.coherence(engine.features(a), engine.features(rolled, seam=shift))

    plan = engine.plan
    sample = np.arange(N)
    distance = np.where(sample >= shift, sample - shift, shift - 1 - sample)
    entered = full_resolution_weights(plan) * (distance >= np.sqrt(2) * plan.scale[:, None])
    value = coherency(a[0], rolled[1], plan.scales, preset="grinsted")
    expected = np.tensordot(entered, np.abs(value) ** 2, 2) / entered.sum(axis=(1, 2))
    share = entered.sum(axis=(1, 2)) / full_resolution_weights(plan).sum(axis=(1, 2))
    assert share.min() < 0.9  # the seam costs cells
    # Where cells begin and end to count is known to a grid point only.
    assert_allclose(found.coherence[0, 1].ravel(), expected, rtol=0, atol=5e-3)
    plain = engine.coherence(engine.features(a), engine.features(rolled))
    assert_allclose(found.valid_fraction[0, 1] / plain.valid_fraction[0, 1], share.reshape(2, 2), rtol=0, atol=0.02)


def test_away_from_the_seam_a_shifted_recording_has_the_shifted_coefficients(backend):
    """On a recording whose two copies are coherent everywhere, the seam is the only place where they are not."""
    _, b = coupled(1, n=N)
    shift = 250
    engine = Engine(N, SFREQ, WTC(bands={"fast": (0.8, 2.0)}), backend=backend)
    rolled = np.roll(b, shift, axis=1)
    whole = engine.coherence(engine.features(rolled), engine.features(rolled, seam=shift))
    assert_allclose(whole.coherence, 1, rtol=0, atol=1e-6)
    maps = engine.coherence(engine.features(rolled), engine.features(rolled, seam=shift), maps=True).maps[0, 0]
    longest_period = 13  # samples, longer than any scale of the band
    assert np.isnan(maps[:, shift]).all()
    assert np.isfinite(maps[:, shift + 2 * longest_period]).all()


def test_without_a_seam_nothing_is_left_out(backend):
    a, b = coupled(2)
    engine = Engine(N, SFREQ, WTC(bands=BANDS), epochs=EPOCHS, backend=backend)
    plain = engine.coherence(engine.features(a), engine.features(b))
    assert_close(engine.coherence(engine.features(a), engine.features(b, seam=0)), plain)


@pytest.mark.parametrize("seam", [-1, N, 3.5])
def test_a_seam_outside_the_recording_is_refused(seam):
    engine = Engine(N, SFREQ, WTC(bands=BANDS))
    refusal(InputError, lambda: engine.features(np.ones((1, N)), seam=seam), "seam", str(N - 1))


@pytest.mark.parametrize("value", [0.0, 7.5, np.nan])
@pytest.mark.parametrize("accuracy", ["exact", "fast", "reference"])
def test_an_unusable_channel_is_nan_and_leaves_the_others(accuracy, value):
    a, b = coupled(3)
    broken = a.copy()
    broken[1] = value
    spec = WTC(BANDS, accuracy=accuracy, min_valid=0)
    found, plain = result(spec, broken, b), result(spec, a, b)
    assert np.isnan(found.coherence[1]).all()
    assert np.isnan(found.coherency[1]).all()
    assert_array_equal(found.valid_fraction[1], 0)
    for other in (0, 2):
        assert_allclose(found.coherence[other], plain.coherence[other], atol=ROUNDING)
        assert_allclose(found.valid_fraction[other], plain.valid_fraction[other], atol=1e-12)


def test_all_channels_unusable_is_all_nan(backend):
    found = result(WTC(BANDS), np.zeros((2, N)), coupled(2)[1], backend=backend)
    assert np.isnan(found.coherence).all()
    assert_array_equal(found.valid_fraction, 0)


def test_cells_of_a_stop_band_are_nan_as_by_the_definition(backend):
    t = np.arange(N)
    x = np.exp(-0.5 * ((t - 300) / 60) ** 2) * np.cos(2 * np.pi * t / 40)  # nothing near 2 Hz
    y = coupled(1)[1][0]
    spec = {"bands": {"empty": (1.5, 3), "full": (0.22, 0.28)}, "min_valid": 0}
    found = result(WTC(**spec), x, y, epochs=None, backend=backend)
    expected = result(WTC(**spec, accuracy="reference"), x, y, epochs=None)
    assert np.isnan(found.coherence[0]).all()
    assert_allclose(found.coherence, expected.coherence, atol=1e-5)
    assert_allclose(found.valid_fraction, expected.valid_fraction, atol=0.01)


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_signals_that_do_not_fit_are_refused_in_one_line(backend):
    engine = Engine(N, SFREQ, WTC(BANDS), backend=backend)
    infinite = coupled(2)[0]
    infinite[1, 5] = np.inf
    refusal(InputError, lambda: engine.features(np.zeros((2, N + 1))), f"{N + 1} samples", f"planned for {N}")
    refusal(InputError, lambda: engine.features(infinite), "number 1", "NaN")
    refusal(InputError, lambda: engine.features(np.zeros((2, N), complex)), "real", "complex128")
    refusal(InputError, lambda: engine.features(np.zeros((2, N)), np.ones(7, bool)), "good", "(7,)")


@pytest.mark.parametrize("other", [WTC({"else": (0.2, 0.4)}), WTC(BANDS, accuracy="fast"), WTC(BANDS, coi="none")])
def test_features_of_another_plan_are_refused(other, backend):
    a, b = coupled(2)
    one, two = Engine(N, SFREQ, WTC(BANDS), backend=backend), Engine(N, SFREQ, other, backend=backend)
    u, v = one.features(a), two.features(b)
    refusal(InputError, lambda: one.coherence(u, v), "engine")
    refusal(InputError, lambda: one.coherence(v, u), "engine")


def test_an_unknown_backend_is_refused():
    refusal(PlanError, lambda: Engine(N, SFREQ, WTC(BANDS), backend="gpu"), "'gpu'", "'numpy'")


def test_a_missing_backend_is_refused(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)
    monkeypatch.setattr("ibsync.coupling.backends.cuda.backend._devices", {})
    refusal(DeviceError, lambda: Engine(N, SFREQ, WTC(BANDS), backend="cuda"), "'cuda'", "backend='numpy'")


def test_auto_says_which_backend_it_took():
    assert Engine(N, SFREQ, WTC(BANDS), backend="auto").backend.name in ("numpy", "cuda")
