"""The GPU backend, whole, with its kernels on the CPU: against the NumPy backend and the definition."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from cells import assert_every_cell_keeps_the_promise, clean_signals, rough_signals
from numpy.testing import assert_allclose, assert_array_equal
from strict import StrictDevice

from ibsync.coupling.backends.cuda.backend import CudaBackend
from ibsync.coupling.backends.cuda.channel_stage import FLOATS, HALVES, Cells, Units, padded
from ibsync.coupling.backends.cuda.pair_stage import MOST_CELLS_PER_CHUNK, CellLists, add_products, times_per_chunk
from ibsync.coupling.backends.cuda.residual_units import _packed
from ibsync.coupling.backends.cuda.signals_on_device import prepare_on
from ibsync.coupling.engine import Engine
from ibsync.coupling.spec import WTC
from ibsync.coupling.transform.signals import prepare
from ibsync.errors import InputError

SFREQ = 10.0
N = 160
BANDS = {"slow": (0.4, 0.8), "fast": (0.9, 1.6)}
EPOCHS = {"early": (0, 8), "late": [(6, 9), (10, 16)]}
# Against the NumPy backend of the same accuracy; rounding to halves is most of it.
NEAR = {"exact": 5e-7, "fast": 1e-4}


def engines(device, *, accuracy="exact", tensor_cores=False):
    """The same request for the NumPy backend and for the GPU's; a small one where tensor cores are imitated, slowly."""
    spec = WTC({"few": (0.9, 1.2)} if tensor_cores else BANDS, accuracy=accuracy, min_valid=0.0, coi="none")
    epochs = {"late": (6, 10)} if tensor_cores else EPOCHS
    pair = [Engine(N, SFREQ, spec, epochs=epochs, backend="numpy") for _ in range(2)]
    pair[1].backend = CudaBackend(device, tensor_cores=tensor_cores)
    return pair


def people(n_a=3, n_b=2, n=N, seed=0):
    rng = np.random.default_rng(seed)
    common = np.cumsum(rng.standard_normal(n))
    a, b = (rng.standard_normal((k, n)) for k in (n_a, n_b))
    return a + common, b + np.roll(common, 2)


def both(device, a, b, *, good=None, seam=None, shares=False, **words):
    """Coherence of the two backends."""
    return [
        engine.coherence(engine.features(a, good, seam=seam), engine.features(b), shares=shares)
        for engine in engines(device, **words)
    ]


def assert_near(found, expected, atol):
    assert np.isfinite(expected.coherence).any()
    assert_allclose(found.coherence, expected.coherence, rtol=0, atol=atol)
    assert_allclose(found.coherency, expected.coherency, rtol=0, atol=atol)
    # Weights are in whole units of 2^-32 samples.
    assert_allclose(found.valid_fraction, expected.valid_fraction, rtol=0, atol=1e-10)


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tensor_cores", [True, False])
@pytest.mark.parametrize("accuracy", ["exact", "fast"])
def test_means_equal_those_of_the_numpy_backend(strict, accuracy, tensor_cores):
    expected, found = both(strict, *people(), accuracy=accuracy, tensor_cores=tensor_cores)
    assert_near(found, expected, NEAR[accuracy])


def test_threads_in_any_order_give_the_same_bits(device, strict):
    expected, found = (both(d, *people(2, 1), accuracy="fast", tensor_cores=True)[1] for d in (strict, device))
    assert_array_equal(found.coherence, expected.coherence)
    assert_array_equal(found.coherency, expected.coherency)


@pytest.mark.slow
@pytest.mark.parametrize("tensor_cores", [True, False])
def test_few_and_many_channels_take_other_tiles_and_give_the_same_bits(strict, tensor_cores):
    a, b = people(40, 2)
    alone, together = (both(strict, some, b, tensor_cores=tensor_cores, accuracy="fast")[1] for some in (a[:1], a))
    # The last bits of cuFFT may depend on the batch; nothing else does.
    atol = 0 if isinstance(strict, StrictDevice) else 1e-6
    assert_allclose(alone.coherence, together.coherence[:1], rtol=0, atol=atol)
    assert_allclose(alone.coherency, together.coherency[:1], rtol=0, atol=atol)


@pytest.mark.parametrize("accuracy", ["fast", pytest.param("exact", marks=pytest.mark.slow)])
@pytest.mark.parametrize("n_channels", [2, pytest.param(40, marks=pytest.mark.slow)])
def test_squares_alone_have_the_bits_that_they_have_with_the_other_sums(strict, accuracy, n_channels):
    engine = engines(strict, accuracy=accuracy, tensor_cores=True)[1]
    a, b = (engine.features(x) for x in people(n_channels, 2))
    asked = []

    class Recording(type(strict)):
        def compile(self, source, name, options):
            asked.append((name, {option for option in options if option.startswith("-DSUMS")}))
            return super().compile(source, name, options)

    strict.__class__ = Recording
    whole = engine.coherence(a, b)
    assert_array_equal(engine.measure(a, b, "coherence"), whole.coherence)
    assert [sums for name, sums in asked if name == "gram"] == [{"-DSUMS=3"}, {"-DSUMS=1"}]
    assert_array_equal(engine.measure(a, b, "phase_consistency"), np.abs(whole.coherency))


def test_squares_alone_of_a_channel_that_needs_the_deeper_rank(strict):
    engine = engines(strict, accuracy="fast", tensor_cores=True)[1]
    x, y = people(2, 1)
    x[1, N // 2] += 1e4
    a = engine.features(x)
    found = engine.measure(a, engine.features(y), "coherence")
    assert a.deep.tolist() == [False, True]
    assert_array_equal(found, engine.coherence(engine.features(x), engine.features(y)).coherence)


@pytest.mark.parametrize(("accuracy", "tensor_cores"), [("exact", False), ("fast", False), ("fast", True)])
def test_every_cell_keeps_the_promise(strict, accuracy, tensor_cores):
    a, b = clean_signals(64, 0)[:3], clean_signals(64, 1)[:2]
    backend = CudaBackend(strict, tensor_cores=tensor_cores)
    assert_every_cell_keeps_the_promise(WTC(accuracy=accuracy), a, b, 1, backend, 4)


@pytest.mark.parametrize("make", [clean_signals, rough_signals])
@pytest.mark.parametrize("n", [64, pytest.param(1000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("accuracy", ["exact", "fast"])
def test_every_cell_of_the_first_half_octave_keeps_the_promise(strict, accuracy, n, make):
    """There the ends' tables need more filters than the interior's."""
    backend = CudaBackend(strict, tensor_cores=False)
    assert_every_cell_keeps_the_promise(WTC(accuracy=accuracy), make(n, 0), make(n, 1), 0, backend)


@pytest.mark.slow
def test_a_spike_is_served_by_the_deeper_rank(strict):
    a, b = people(2, 1)
    a[1, N // 2] += 1e4
    expected, found = both(strict, a, b)
    assert_near(found, expected, NEAR["exact"])
    engine = engines(strict)[1]
    features = engine.features(a)
    engine.coherence(features, engine.features(b))
    assert features.deep.tolist() == [False, True]


def test_gaps_seams_and_constant_channels_are_left_out_alike(strict):
    a, b = people()
    a[0, 40:60] = np.nan
    a[1] = 3.0
    expected, found = both(strict, a, b, seam=[0, 0, 90])
    assert_near(found, expected, NEAR["exact"])
    assert np.isnan(found.coherence[1]).all()
    assert (found.valid_fraction[2] < 1).any()


@pytest.mark.parametrize("accuracy", ["exact", "fast"])
def test_shares_of_phases_equal_those_of_the_numpy_backend(strict, accuracy):
    expected, found = both(strict, *people(), shares=True, accuracy=accuracy)
    assert_near(found, expected, NEAR[accuracy])
    assert_allclose(found.above, expected.above, rtol=0, atol=1e-12)
    assert_allclose(found.shares, expected.shares, rtol=0, atol=1e-12)


def test_a_batch_with_itself_is_the_batch_with_its_copy(strict):
    engine = engines(strict)[1]
    a = people()[0]
    u = engine.features(a)
    once, copied = engine.coherence(u, u), engine.coherence(u, engine.features(a))
    assert_array_equal(once.coherency, copied.coherency)
    assert_allclose(once.coherence[range(3), range(3)], 1, rtol=0, atol=5e-7)
    assert_allclose(once.coherency[range(3), range(3)], 1, rtol=0, atol=5e-7)


@pytest.mark.parametrize(
    ("accuracy", "tensor_cores", "shares"),
    [("fast", True, False), ("fast", False, True), pytest.param("exact", True, False, marks=pytest.mark.slow)],
)
def test_dyads_in_one_pass_have_the_bits_that_they_have_one_by_one(strict, accuracy, tensor_cores, shares):
    engine = engines(strict, accuracy=accuracy, tensor_cores=tensor_cores)[1]
    a, b = (np.stack(sides) for sides in zip(*(people(3, 2, seed=seed) for seed in range(3)), strict=True))
    a[1, 0, 40:60] = np.nan
    b[2, 1] = 3.0
    together = engine.coherence(engine.features(a), engine.features(b), shares=shares, by_dyad=True)
    alone = [engine.coherence(engine.features(x), engine.features(y), shares=shares) for x, y in zip(a, b, strict=True)]
    # The last bits of cuFFT may depend on the batch; nothing else does.
    atol = 0 if isinstance(strict, StrictDevice) else 1e-6
    for name in ("coherence", "coherency", "valid_fraction", *(("shares", "above") if shares else ())):
        expected = np.stack([getattr(one, name) for one in alone])
        assert_allclose(getattr(together, name), expected, rtol=0, atol=atol)
    assert np.isnan(together.coherence[2, :, 1]).all()
    assert np.isfinite(together.coherence[1]).any()


def test_a_dyad_with_a_channel_that_needs_the_deeper_rank_is_computed_again_by_itself(strict):
    engine = engines(strict, accuracy="fast")[1]
    a, b = (np.stack(sides) for sides in zip(*(people(1, 1, seed=seed) for seed in range(2)), strict=True))
    a[1, 0, N // 2] += 1e4
    together = engine.coherence(engine.features(a), engine.features(b), by_dyad=True).coherence
    alone = [engine.coherence(engine.features(x), engine.features(y)).coherence for x, y in zip(a, b, strict=True)]
    assert_allclose(together, np.stack(alone), rtol=0, atol=0 if isinstance(strict, StrictDevice) else 1e-6)


# --- memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_little_memory_changes_no_bit(strict):
    a, b = people(5, 3)
    plenty = both(strict, a, b)[1]
    strict.memory_bytes = 60_000
    little = both(strict, a, b)[1]
    assert_array_equal(little.coherence, plenty.coherence)
    assert_array_equal(little.coherency, plenty.coherency)


class OutOfMemoryError(Exception):
    """As CuPy names it."""


@pytest.mark.slow
def test_memory_that_runs_out_halves_the_batch_and_says_so(strict, monkeypatch):
    a, b = people(5, 2)
    plenty = both(strict, a, b)[1]
    sums = CudaBackend._sums

    def small(self, first, second, depth, shares):
        if first.signals.n_channels * second.signals.n_channels > 6:
            raise OutOfMemoryError
        return sums(self, first, second, depth, shares)

    monkeypatch.setattr(CudaBackend, "_sums", small)
    with pytest.warns(RuntimeWarning, match="does not hold 5 channels at a time: going on with half of them"):
        halved = both(strict, a, b)[1]
    assert_array_equal(halved.coherence, plenty.coherence)
    assert_array_equal(halved.coherency, plenty.coherency)


def test_an_error_that_is_not_of_memory_is_raised(strict, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(CudaBackend, "_sums", broken)
    with pytest.raises(ZeroDivisionError):
        both(strict, *people())


def test_kept_units_serve_the_next_partner(strict, monkeypatch):
    engine = engines(strict)[1]
    a, b = people()
    u, v = engine.features(a), engine.features(b)
    first = engine.coherence(u, v)
    assert u.kept
    monkeypatch.setattr("ibsync.coupling.backends.cuda.backend.UnitMaker", None)  # nothing is made again
    assert_array_equal(engine.coherence(u, v).coherence, first.coherence)


# --- lists of cells ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accuracy", "n_times", "n_rows", "expected"),
    [
        ("exact", 7501, 6, 10), ("fast", 7501, 6, 85), ("fast", 1500, 6, 23), ("fast", 179, 6, 10),
        ("fast", 9, 1, 64), ("exact", 9, 300, 1),
    ],
)  # fmt: skip
def test_chunks_are_long_where_there_are_many(accuracy, n_times, n_rows, expected):
    segment = SimpleNamespace(times=np.arange(n_times), n_rows=n_rows)
    assert times_per_chunk(segment, accuracy) == expected


@pytest.mark.parametrize("form", [FLOATS, HALVES])
def test_sums_of_the_longest_chunk_keep_a_tenth_of_the_promise(strict, form):
    """Coherence of exactly 1 in all cells, where float32 sums are largest: the worst that rounding can do."""
    n_cells, n_features = MOST_CELLS_PER_CHUNK["fast"], 4
    random = np.random.default_rng(form)
    weights = random.uniform(0.5, 1, (1, n_cells, 1))
    lists = CellLists.of(weights, n_cells)
    assert lists.n_chunks == 1
    u = np.zeros((n_cells, 1, 2 * n_features), np.float32)
    u[:, 0, 0] = 1.0
    words, norms = _packed(np, u, n_features, form)
    if form == HALVES:
        norms = norms.astype(np.float32)
    whole = Cells(strict.from_host(np.ones((n_cells, 1), np.uint8)), strict.from_host(np.zeros(2, np.int32)))
    units = Units(form, strict.from_host(words), strict.from_host(norms), whole, n_features, padded(n_features))
    totals = strict.from_host(np.zeros((1, 3, 1, 1, 1)))
    add_products(strict, totals, units, units, lists, 1 << 30)
    squared, real, imaginary = strict.to_host(totals).ravel() / weights.sum()
    assert_allclose([squared, real, imaginary], [1, 1, 0], rtol=0, atol=5e-6)


@pytest.mark.parametrize(("n_rows", "per_chunk"), [(1, 64), (5, 12), (300, 1)])
def test_lists_hold_every_cell_that_enters_once_and_chunks_keep_to_their_stretch(n_rows, per_chunk):
    rng = np.random.default_rng(n_rows)
    weights = rng.standard_normal((3, 150, n_rows)) * (rng.random((3, 150, n_rows)) < 0.3)
    weights[1] = 0
    lists = CellLists.of(weights, per_chunk)
    rebuilt = np.zeros((3, 150 * n_rows))
    for mean in range(3):
        for chunk in range(lists.chunk[mean], lists.chunk[mean + 1]):
            cells = lists.cell[lists.begin[chunk] : lists.begin[chunk + 1]]
            assert len(set(cells // n_rows // per_chunk)) == 1
            assert (np.diff(cells) > 0).all()
            rebuilt[mean, cells] += lists.weight[lists.begin[chunk] : lists.begin[chunk + 1]]
    assert_array_equal(rebuilt, weights.reshape(3, -1))


def test_parts_of_a_list_add_up_to_the_list():
    weights = np.random.default_rng(0).random((2, 90, 12))
    lists = CellLists.of(weights, 5)
    parts = [lists.part(k, min(k + 3, lists.n_chunks)) for k in range(0, lists.n_chunks, 3)]
    assert_array_equal(np.concatenate([part.cell for part in parts]), lists.cell)
    assert_array_equal(np.sum([np.diff(part.chunk) for part in parts], axis=0), np.diff(lists.chunk))


# --- arrays that are on the device already ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_signals_of_the_device_are_prepared_as_those_of_the_host(strict, dtype, monkeypatch):
    monkeypatch.setattr("ibsync.coupling.backends.cuda.signals_on_device._VALUES_AT_ONCE", 150)
    rng = np.random.default_rng(3)
    x = (1000 * rng.standard_normal((2, 4, 50))).astype(dtype)
    x[0, 1] = 7
    good = np.ones((4, 50), bool)
    good[2, :5] = good[2, 20:23] = good[2, -1] = False
    if dtype != np.int16:
        x[1, 2, 30:34] = np.nan
        x[1, 3] = np.nan
    for flags, detrend in ((None, None), (good, None), (None, "linear"), (good, "linear")):
        expected = prepare(x, flags, seam=[[0, 1, 2, 3]] * 2, detrend=detrend)
        found = prepare_on(strict, strict.from_host(x), flags, [[0, 1, 2, 3]] * 2, detrend)
        tiny = 0 if detrend is None else 2e-4 if dtype == np.float32 else 1e-9
        assert_allclose(strict.to_host(found.x), expected.x, rtol=1e-6 if dtype == np.float32 else 1e-13, atol=tiny)
        assert_allclose(found.mean, expected.mean, rtol=1e-6 if dtype == np.float32 else 1e-12, atol=tiny)
        assert_allclose(found.gain, expected.gain, rtol=1e-6 if dtype == np.float32 else 1e-12)
        assert_array_equal(found.status, expected.status)
        assert_array_equal(found.seam, expected.seam)
        assert found.shape == expected.shape
        assert (found.bad is None) == (expected.bad is None)
        if expected.bad is not None:
            assert_array_equal(found.bad, expected.bad)


def test_signals_of_the_device_give_the_same_and_leave_results_there(strict):
    engine = engines(strict)[1]
    a, b = people(2, 1)
    a[0, 30:34] = np.nan
    expected = engine.coherence(engine.features(a), engine.features(b))
    there = [engine.features(strict.from_host(x)) for x in (a, b)]
    found = engine.coherence(*there, on_device=True)
    for name in ("coherence", "coherency", "valid_fraction"):
        value = getattr(found, name)
        assert hasattr(value, "__cuda_array_interface__")
        assert_allclose(strict.to_host(value), getattr(expected, name), rtol=0, atol=1e-12)
    maps = engine.coherence(*there, maps=True).maps
    assert_allclose(maps, engine.coherence(engine.features(a), engine.features(b), maps=True).maps, atol=1e-12)


def test_signals_of_the_device_that_do_not_fit_are_refused(strict):
    on_gpu, on_cpu = engines(strict)[::-1]
    x = people(1, 1)[0]
    with pytest.raises(InputError, match="signals are on a GPU and the backend is 'numpy'"):
        on_cpu.features(strict.from_host(x))
    with pytest.raises(InputError, match="number 0 holds infinite values"):
        on_gpu.features(strict.from_host(np.where(x > 1, np.inf, x)))
    with pytest.raises(InputError, match="good has shape"):
        on_gpu.features(strict.from_host(x), np.ones(3, bool))
    with pytest.raises(InputError, match="complex128"):
        on_gpu.features(strict.from_host(x * 1j))


# --- controls ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accuracy", "tensor_cores", "apart"),
    [
        ("fast", True, False),
        ("exact", False, True),
        pytest.param("exact", True, False, marks=pytest.mark.slow),
        pytest.param("fast", False, True, marks=pytest.mark.slow),
    ],
)
def test_controls_are_taken_out_as_by_the_numpy_backend(strict, accuracy, tensor_cores, apart):
    a, b = people(5, 5)
    expected, found = (
        engine.coherence(*(engine.features(x, n_controls=1, apart=apart) for x in (a, b)))
        for engine in engines(strict, accuracy=accuracy, tensor_cores=tensor_cores)
    )
    assert found.coherence.shape[:2] == ((2, 2) if apart else (4, 4))
    # What is left of a channel is smaller than the channel, and so is less exact.
    assert_near(found, expected, 20 * NEAR[accuracy])


@pytest.mark.slow
def test_gaps_and_spikes_of_controls_count_as_by_the_numpy_backend(strict):
    a, b = people(4, 4)
    a[3, 40:70] = np.nan
    b[3, 100] += 1e4
    expected, found = (
        engine.coherence(*(engine.features(x, n_controls=1) for x in (a, b))) for engine in engines(strict)
    )
    assert_near(found, expected, 20 * NEAR["exact"])


# --- regions of interest ----------------------------------------------------------------------------------------------


def test_means_are_averaged_over_regions_on_the_device(strict):
    a, b = people(3, 3)
    regions = np.array([[1, 1, 0], [0, 0, 1]], bool), np.array([[1, 0, 1]], bool)
    expected, found = (
        engine.coherence(engine.features(a), engine.features(b), regions=regions, shares=True)
        for engine in engines(strict)
    )
    assert found.coherence.shape[:2] == (2, 1)
    assert_near(found, expected, NEAR["exact"])
    assert_allclose(found.shares, expected.shares, rtol=0, atol=1e-6)


# --- lags -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accuracy", "tensor_cores", "n_controls"),
    [("fast", True, 0), ("exact", False, 1), pytest.param("exact", True, 0, marks=pytest.mark.slow)],
)
def test_lags_are_those_of_the_numpy_backend(strict, accuracy, tensor_cores, n_controls):
    a, b = people(3, 3)
    b[0, 60:70] = np.nan
    sides = []
    for engine in engines(strict, accuracy=accuracy, tensor_cores=tensor_cores):
        of = replace(engine.spec, lags=(-0.5, 0.0, 1.0))
        lagged = Engine(N, SFREQ, of, epochs=engine.plan.epochs, backend=engine.backend)
        sides.append(lagged.coherence(*(lagged.features(x, n_controls=n_controls) for x in (a, b))))
    expected, found = sides
    assert found.coherence.shape[:3] == (3 - n_controls, 3 - n_controls, 3 * (1 if tensor_cores else 2))
    assert_near(found, expected, NEAR[accuracy] * (20 if n_controls else 1))
    prepared = prepare_on(strict, strict.from_host(b), None, None, None)
    assert_array_equal(strict.to_host(prepared.repeated(2).x), np.concatenate([strict.to_host(prepared.x)] * 2))
