"""Compiled products, sums, scaling and filters against slow forms in float64, and what does not reach C."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from ibsync.compiled.choice import loops
from ibsync.compiled.loops import Columns, Far, Judge
from ibsync.coupling.plan import make_plan
from ibsync.coupling.spec import WTC, PhaseShares
from ibsync.coupling.transform.definition import EMPTY_SHARE

F32, F64 = np.float32, np.float64
# Relative to sums of products of unit vectors, each of which is at most 1.
ROUNDING = {F32: 2e-6, F64: 1e-14}
TYPES = [(F32, F32), (F64, F32), (F64, F64)]


def features(n_cells, n_features, n_columns, dtype=F64, seed=0):
    """Features of which many pairs are nearly alike, with real and imaginary parts in turn: [cell, part, column]."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal((n_cells, 2 * n_features, 1))
    return (common + 0.7 * rng.standard_normal((n_cells, 2 * n_features, n_columns))).astype(dtype)


def products(u, a, b):
    """<u_a, u_b> of unit features in float64: complex [cell, a, b]."""
    x = u.astype(F64)
    unit = x[:, ::2] + 1j * x[:, 1::2]
    unit = unit / np.sqrt((np.abs(unit) ** 2).sum(axis=1))[:, None]
    return np.einsum("cka,ckb->cab", unit[:, :, a], unit[:, :, b].conj())


def plain_units(u, dtype=F32):
    return loops().unit_features(u, dtype, Judge(0.0))


@pytest.mark.parametrize("n_cells", [1, 16, 50])
@pytest.mark.parametrize(("n_a", "n_b"), [(1, 1), (2, 3), (3, 5), (4, 4), (5, 2), (7, 30), (27, 26)])
@pytest.mark.parametrize("dtype", [F32, F64])
def test_sums_of_pairs_are_those_of_their_definition(dtype, n_a, n_b, n_cells, build):
    u = features(n_cells, 5, n_a + n_b)
    weights = np.random.default_rng(1).standard_normal((3, n_cells))
    weights[1, n_cells // 2 :] = 0
    expected = products(u, slice(0, n_a), slice(n_a, None))
    for direction in (1, -1):
        found = loops().pair_sums(plain_units(u, dtype), Columns(0, n_a, n_a, n_b), weights, direction)
        limit = ROUNDING[dtype] * np.abs(weights).sum(axis=1).max()
        inner = np.einsum("mc,cab->mab", weights, expected if direction > 0 else expected.conj())
        assert_allclose(found.inner[0], inner, rtol=0, atol=limit)
        assert_allclose(found.squared[0], np.einsum("mc,cab->mab", weights, np.abs(expected) ** 2), rtol=0, atol=limit)
        assert found.classes is None


@pytest.mark.parametrize("dtype", [F32, F64])
def test_groups_are_paired_within_themselves(dtype, build):
    """Many small dyads at once: the first four channels of each with its last four."""
    n_dyads, n_cells = 5, 40
    u, weights = features(n_cells, 8, 8 * n_dyads), np.random.default_rng(2).random((2, n_cells))
    found = loops().pair_sums(plain_units(u, dtype), Columns(0, 4, 4, 4, n_dyads, 8, 8), weights, 1)
    assert found.squared.shape == (n_dyads, 2, 4, 4)
    for dyad in range(n_dyads):
        a = slice(8 * dyad, 8 * dyad + 4)
        own = products(u, a, slice(a.stop, a.stop + 4))
        limit = ROUNDING[dtype] * n_cells
        assert_allclose(found.inner[dyad], np.einsum("mc,cab->mab", weights, own), rtol=0, atol=limit)


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("asked", [PhaseShares(), PhaseShares(0.3, 20, 80), PhaseShares(0.5, 100, 120)])
@pytest.mark.parametrize("dtype", [F32, F64])
def test_classes_of_phase_are_those_of_the_angle(dtype, asked, direction, build):
    n_cells = 37
    u = features(n_cells, 1, 12, seed=3)
    turned = np.exp(2j * np.pi * np.random.default_rng(4).random((n_cells, 12)))
    z = (u[:, ::2] + 1j * u[:, 1::2]) * turned[:, None]
    u[:, ::2], u[:, 1::2] = z.real, z.imag
    u = np.concatenate([u, features(n_cells, 2, 12, seed=5)], axis=1)
    widths = np.random.default_rng(6).integers(0, 5, (2, n_cells)).astype(F64)
    units = plain_units(u, dtype)
    found = loops().pair_sums(units, Columns(0, 6, 6, 6), widths, direction, (widths, asked.limits))
    value = products(u, slice(0, 6), slice(6, None))
    angle = np.degrees(np.angle(value)) * direction
    above = np.abs(value) ** 2 > asked.level
    near, far = np.abs(angle) < asked.in_phase, np.abs(angle) > asked.anti_phase
    classes = [near, ~near & ~far & (angle > 0), ~near & ~far & (angle < 0), far]
    for number, which in enumerate(classes):
        expected = np.einsum("mc,cab->mab", widths, (which & above).astype(F64))
        assert_array_equal(found.classes[0, :, number], expected)
    assert sum(which.any() for which in classes) == 4


@pytest.mark.parametrize("n_columns", [1, 3, 8, 15, 16, 17, 40])
@pytest.mark.parametrize("n_cells", [1, 15, 16, 35])
@pytest.mark.parametrize(("of", "to"), TYPES)
def test_units_have_length_one_where_a_cell_is_valid(of, to, n_cells, n_columns, build):
    rng = np.random.default_rng(7)
    whole = features(n_cells, 6, n_columns + 5, of) * 10 ** rng.uniform(-8, 4, (n_cells, 1, n_columns + 5)).astype(of)
    u = whole[..., 2 : 2 + n_columns]  # some of an array's columns
    power = (u.astype(F64) ** 2).sum(axis=1)
    tail = (u[:, :4].astype(F64) ** 2).sum(axis=1)
    usable = rng.random((n_cells, n_columns)) < 0.8
    noise = (10 ** rng.uniform(-9, -5, (n_cells, n_columns))).astype(F32)
    known = rng.random(n_columns) < 0.3
    judges = [Judge(EMPTY_SHARE), Judge(EMPTY_SHARE, 0.5), Judge(EMPTY_SHARE, 0.5, noise, usable, known)]
    for judge in judges:
        found = loops().unit_features(u, to, judge)
        valid = power > EMPTY_SHARE
        poor = np.zeros_like(valid) if judge.tail < 0 else tail > judge.tail * power
        if judge.usable is not None:
            valid &= usable
            poor = (poor | (power < noise)) & ~known
        assert_array_equal(found.unresolved, valid & poor)
        valid &= ~poor
        assert_array_equal(found.valid, valid)
        expected = np.where(valid[:, None], u / np.sqrt(np.where(valid, power, 1.0))[:, None], 0.0)
        assert_allclose(in_cells(found)[:n_cells], expected, rtol=0, atol=3e-7 if to == F32 else 1e-15)
        assert not in_cells(found)[n_cells:].any()


def in_cells(units):
    """Unit features as [cell, part, column], with the cells that fill the last batch."""
    _, n_columns, n_parts, lanes = units.u.shape
    by_row = units.u.reshape(-1, units.n_rows, n_columns, n_parts, lanes)
    return by_row.transpose(0, 4, 1, 3, 2).reshape(-1, n_parts, n_columns)


@pytest.mark.parametrize("n_times", [1, 16, 21])
@pytest.mark.parametrize(("accuracy", "depth"), [("exact", 0), ("exact", 1), ("fast", 0)])
@pytest.mark.parametrize("epoch_s", [20.0, 400.0])
def test_far_features_are_filtered_mixed_and_scaled(epoch_s, accuracy, depth, n_times, build):
    """On tables of their own: filters at points of the signal, and half-way between, where epochs are short."""
    plan = make_plan(4000, 10.0, WTC(bands={"band": (0.1, 0.5)}, accuracy=accuracy), {"epoch": (0.0, epoch_s)})
    group = plan.group(plan.segments_at(depth)[0], depth)
    of, to = group.kernels.real.dtype, F64 if depth else F32
    n_phases = len(group.kernels)
    assert n_phases == (2 if epoch_s < 100 or depth else 1)
    spacing, n_columns = group.half_steps * n_phases // 2, 3
    rng = np.random.default_rng(8)
    samples = rng.standard_normal((group.n_samples, 2, n_columns)).astype(of)
    samples[:, :, 2] = 0  # no power: not valid
    usable, noise = np.ones((n_times * group.n_rows, n_columns), bool), np.full((group.n_rows, n_columns), 1e-3, F32)
    usable[3::5, 1] = False
    for phase in range(n_phases):
        times = group.n_end + (group.n_end * group.half_steps % 2 != phase) + n_phases * np.arange(n_times)
        taps, kernels = group.folded[phase]
        far = Far(
            planar(samples, spacing), int(group.begins(times[:1])[0]), n_times, taps, kernels,
            group.mixing_by_filter[np.dtype(to).name],
        )  # fmt: skip
        found = loops().far_features(far, to, Judge(EMPTY_SHARE, usable=usable, noise=noise))
        x = samples[:, 0].astype(F64) + 1j * samples[:, 1]
        windows = np.stack([x[begin : begin + group.n_points] for begin in group.begins(times)])
        z = np.einsum("rp,tpc->trc", group.kernels[phase].astype(complex), windows)
        u = np.einsum("jkr,trc->tjkc", group.mixing.astype(F64), z).reshape(len(usable), -1, n_columns)
        power = (np.abs(u) ** 2).sum(axis=1)
        valid = (power > EMPTY_SHARE) & usable
        poor = power < np.tile(noise, (n_times, 1))
        assert_array_equal(found.unresolved, valid & poor)
        valid &= ~poor
        unit = np.where(valid[:, None], u / np.sqrt(np.where(valid, power, 1.0))[:, None], 0)
        got = in_cells(found)[: len(usable)]
        assert_allclose(got[:, ::2] + 1j * got[:, 1::2], unit, rtol=0, atol={F32: 2e-6, F64: 1e-12}[to])
        assert_array_equal(found.valid, valid)
        assert not found.valid[:, 2].any()
        weights = rng.random((2, len(usable)))
        sums = loops().pair_sums(found, Columns(0, 1, 1, 1), weights, 1)
        expected = weights @ (unit[:, :, 0] * unit[:, :, 1].conj()).sum(axis=1)
        assert_allclose(sums.inner[0, :, 0, 0], expected, rtol=0, atol=1e-4 if to == F32 else 1e-10)


def planar(samples, spacing):
    """Samples [sample, re/im, column] as C reads them."""
    padded = np.zeros((-(-len(samples) // spacing) * spacing + 32 * spacing, *samples.shape[1:]), samples.dtype)
    padded[: len(samples)] = samples
    return np.ascontiguousarray(padded.reshape(-1, spacing, *samples.shape[1:]).transpose(3, 2, 1, 0))


def test_other_arrays_do_not_reach_c(build):
    compiled, u = loops(), features(20, 3, 4)
    units = plain_units(u)
    for wrong in (u.transpose(2, 1, 0), u[:, :, ::2], u[::2], u[:, ::2], u[..., ::-1]):
        with pytest.raises(TypeError):
            compiled.unit_features(wrong, F32, Judge(0.0))
    for judge in (
        Judge(0.0, noise=np.ones((20, 3), F32)),
        Judge(0.0, noise=np.ones((20, 4))),
        Judge(0.0, usable=np.ones((19, 4), bool)),
        Judge(0.0, usable=np.ones((20, 4), np.int64)),
    ):
        with pytest.raises(TypeError):
            compiled.unit_features(u, F32, judge)
    with pytest.raises(KeyError):
        compiled.unit_features(u.astype(np.float16), F32, Judge(0.0))
    for columns in (Columns(0, 2, 2, 3), Columns(3, 0, 2, 2), Columns(-1, 0, 2, 2), Columns(0, 2, 1, 1, 3, 1, 1)):
        with pytest.raises(IndexError):
            compiled.pair_sums(units, columns, np.ones((1, 20)), 1)
    for n_cells in (19, 33):
        with pytest.raises(ValueError, match="cells"):
            compiled.pair_sums(units, Columns(0, 2, 2, 2), np.ones((1, n_cells)), 1)


def test_a_window_beyond_the_samples_does_not_reach_c(build):
    taps = np.array([[1, 0]], np.int32)
    words = {"taps": taps, "kernels": np.ones((1, 2, 2)), "mixing": np.ones((1, 2, 3), F32)}
    samples = np.zeros((1, 2, 2, 40))
    loops().far_features(Far(samples, 0, 5, **words), F32, Judge(0.0))
    for first, n_times in ((-1, 5), (78, 5), (0, 41)):
        with pytest.raises(IndexError):
            loops().far_features(Far(samples, first, n_times, **words), F32, Judge(0.0))
    for name, wrong in (
        ("taps", taps.astype(np.int64)),
        ("kernels", np.ones((1, 2, 2), F32)),
        ("mixing", np.ones((1, 2, 3))),
    ):
        with pytest.raises(TypeError):
            loops().far_features(Far(samples, 0, 5, **(words | {name: wrong})), F32, Judge(0.0))
