"""Values of a dyad under each null: draw 0 is the recording, and every draw is what the slow way gives."""

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from ibsync.coupling.engine import Engine
from ibsync.coupling.spec import WTC
from ibsync.nulls.random_streams import Purpose, permutations, purpose_word
from ibsync.nulls.surrogate_null import drawn
from ibsync.nulls.surrogate_signals import FAMILIES, MODELS, block_order, shifts, surrogates
from ibsync.study.surrogate_partners import SurrogatePartners, TrialPartners, block_size, trial_table

N, SFREQ = 600, 5.0
SPEC = WTC(bands={"slow": (0.04, 0.1), "fast": (0.2, 0.4)})
EPOCHS = {"first": (0, 60), "rest": (60, 120)}
OPTIONS = {"block": {"block": 75}, "iaaft": {"n_iterations": 4}}
SEED, ENTITIES = 11, (101, 202)
# Two runs that differ in the order of float32 sums only.
ROUNDING = 2e-6


def people(n_a=2, n_b=3, seed=0):
    rng = np.random.default_rng(seed)
    common = np.cumsum(rng.standard_normal(N)) * 0.1
    return common + rng.standard_normal((n_a, N)), common + rng.standard_normal((n_b, N))


def engine(spec=SPEC, epochs=EPOCHS):
    return Engine(N, SFREQ, spec, epochs=epochs)


def partners(kind, x, y, **words):
    return SurrogatePartners(
        words.pop("engine", engine()), x, y, kind, SEED, ENTITIES, options=OPTIONS.get(kind, {}), **words
    )


def direct(eng, x, y, **seam):
    """Mean coherence, [epoch, a, b, band]."""
    found = eng.coherence(eng.features(x), eng.features(y, **seam)).coherence
    return found.transpose(3, 0, 1, 2)


@pytest.mark.parametrize("kind", FAMILIES)
def test_draw_zero_is_the_recording(kind):
    x, y = people()
    assert_allclose(partners(kind, x, y).values(np.array([0]))[0], direct(engine(), x, y), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("kind", FAMILIES)
def test_every_draw_is_the_coherence_with_that_surrogate(kind):
    x, y = people()
    draws = np.array([3, 1, 70])
    found = partners(kind, x, y).values(draws)
    ys = surrogates(kind, y, draws, seed=SEED, entity=ENTITIES[1], **OPTIONS.get(kind, {}))
    xs = [x] * 3
    if kind in MODELS:
        xs = surrogates(kind, x, draws, seed=SEED, entity=ENTITIES[0])
    seams = shifts(N, draws, seed=SEED, entity=ENTITIES[1]) if kind == "shift" else [0, 0, 0]
    # A seam costs cells, and a mean of fewer than `min_valid` of them is still a draw.
    eng = engine().tolerant if kind == "shift" else engine()
    for k in range(3):
        assert_allclose(found[k], direct(eng, xs[k], ys[k], seam=int(seams[k])), rtol=0, atol=ROUNDING)
    assert np.nanmax(np.abs(found[0] - found[1])) > 0.01


def test_a_shift_is_missing_only_where_the_recording_is():
    x, y = people()
    spec = WTC(bands=SPEC.bands, min_valid=0.85)
    real = direct(engine(spec), x, y)
    found = partners("shift", x, y, engine=engine(spec)).values(np.arange(40))
    assert np.isnan(real).any()
    assert np.isfinite(real).any()
    assert_array_equal(np.isnan(found), np.broadcast_to(np.isnan(real), found.shape))


@pytest.mark.parametrize("kind", ["phase", "shift", "block"])
def test_gaps_stay_with_the_samples_they_belong_to(kind):
    x, y = people(1, 2)
    y[1, 200:230] = np.nan
    eng = engine(epochs=None)
    draws = np.array([1, 2, 3, 4])
    found = partners(kind, x, y, engine=eng).values(draws)
    filled = y.copy()
    filled[1, 200:230] = np.interp(np.arange(200, 230), [199, 230], y[1, [199, 230]])
    where = {"seed": SEED, "entity": ENTITIES[1]}
    ys = surrogates(kind, filled, draws, **where, **OPTIONS.get(kind, {}))
    order = np.tile(np.arange(N), (4, 1))
    seams = np.zeros(4, int)
    if kind == "shift":
        seams = shifts(N, draws, **where)
        order = (np.arange(N) - seams[:, None]) % N
    elif kind == "block":
        order = block_order(N, 75, draws, **where)
    good = np.isfinite(y)
    real = direct(eng, x, y)[0]
    eng = eng.tolerant if kind == "shift" else eng
    for k in range(4):
        b = eng.features(ys[k], good[:, order[k]], seam=int(seams[k]))
        expected = eng.coherence(eng.features(x), b).coherence.transpose(3, 0, 1, 2)
        if kind == "shift":
            expected = np.where(np.isfinite(real), expected, np.nan)
        assert_allclose(found[k], expected, rtol=0, atol=ROUNDING)


def test_a_missing_channel_is_missing_in_every_draw():
    x, y = people()
    y[1] = np.nan
    for kind in FAMILIES:
        found = partners(kind, x, y).values(np.array([0, 1, 2]))
        assert np.isnan(found[:, :, :, 1]).all()
        assert np.isfinite(found[:, :, :, [0, 2], 1]).all()


@pytest.mark.parametrize("kind", ["phase", "shift"])
def test_a_draw_has_the_same_bits_whatever_the_range(kind):
    x, y = people()
    source = partners(kind, x, y)
    whole = drawn(source, 1, 81)
    assert_array_equal(drawn(source, 30, 50), whole[29:49])
    assert_array_equal(drawn(partners(kind, x, y), 77, 78), whole[76:77])


def test_a_block_depends_on_the_recording_alone_and_fills_whole_steps():
    assert [block_size(*shape) for shape in [(1, 100), (20, 6000), (20, 27_000), (100, 100_000)]] == [64, 32, 4, 1]


@pytest.mark.parametrize(
    ("kind", "memory_gib", "shape", "n_draws"),
    [
        ("phase", 139, (46, 6000), 1024), ("shift", 80, (46, 6000), 512), ("phase", 8, (46, 6000), 32),
        ("iaaft", 139, (46, 6000), 64), ("phase", 139, (200, 600), 256), ("phase", 1, (300, 100_000), 1),
    ],
)  # fmt: skip
def test_a_block_on_a_gpu_depends_on_its_memory_too(kind, memory_gib, shape, n_draws):
    assert block_size(*shape, SimpleNamespace(memory_bytes=memory_gib << 30), kind) == n_draws


def test_a_spike_in_one_block_does_not_change_another():
    """A cell that needs the deeper rank is no reason to compute others more deeply than before."""
    x, y = people(1, 1)
    spiky = y.copy()
    spiky[0, 300] += 1e4
    eng = engine(epochs=None)
    calm = partners("shift", x, y, engine=eng)
    before = calm.values(np.arange(1, 5))
    partners("shift", x, spiky, engine=eng).values(np.arange(0, 5))
    assert_array_equal(calm.values(np.arange(1, 5)), before)


def test_the_measure_is_the_one_asked_for():
    x, y = people()
    eng = engine()
    found = partners("phase", x, y, engine=eng, measure="phase_consistency").values(np.array([0]))[0]
    expected = np.abs(eng.coherence(eng.features(x), eng.features(y)).coherency).transpose(3, 0, 1, 2)
    assert_allclose(found, expected, rtol=0, atol=ROUNDING)


# --- trials -----------------------------------------------------------------------------------------------------------


def test_trials_are_cut_transformed_and_exchanged():
    x, y = people()
    eng = Engine(150, SFREQ, WTC(bands={"fast": (0.2, 0.4)}))
    starts = [0, 160, 330, 450]
    table = trial_table(eng, x, y, starts, "coherence")
    assert table.shape == (4, 4, 2, 3, 1)
    alone = eng.coherence(eng.features(x[:, 160:310]), eng.features(y[:, 450:600])).coherence[..., 0]
    assert_allclose(table[1, 3], alone, rtol=0, atol=ROUNDING)

    table[0, 0] = np.nan
    source = TrialPartners([table, table[:2, :2]], SEED, [5, 6])
    draws = np.arange(0, 40)
    found = source.values(draws)
    order = permutations(SEED, draws, 4, entity=5, purpose=purpose_word(Purpose.TRIAL))
    for k in draws:
        expected = np.nanmean([table[i, order[k, i]] for i in range(4)], axis=0)
        assert_allclose(found[k, 0], expected, rtol=1e-12)
    assert_allclose(found[0, 0], np.nanmean([table[i, i] for i in range(4)], axis=0), rtol=1e-12)
    assert {tuple(row) for row in order} - {(0, 1, 2, 3)}
