"""Compiled counting of re-pairings gives the integers and maxima of NumPy, bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from permuted import repair_test

from ibsync.compiled.choice import VARIABLE, loops
from ibsync.compiled.loops import Division, in_slabs
from ibsync.inference import repaired_test
from ibsync.nulls.draws import Draws
from ibsync.nulls.repaired_null import RepairedNull
from ibsync.nulls.repairing import Repairing

TAILS = ("greater", "less", "two-sided")


def null_of(values, *, strata=None, n=700):
    names = [f"d{row:02d}" for row in range(values.shape[1])]
    design = Repairing.of(names, [f"{name}a" for name in names], [f"{name}b" for name in names], strata)
    return RepairedNull(values, Draws.plan(design, n, 5), tuple(f"s{number}" for number in range(len(values))))


def random_values(n_sessions, n_dyads, n_features, dtype):
    return np.random.default_rng(2).normal(size=(n_sessions, n_dyads, n_dyads, n_features)).astype(dtype)


def whole():
    return null_of(random_values(1, 9, 50, np.float32))


def blocks():
    return null_of(random_values(2, 12, 33, np.float64), strata={"site": list("xxxxyyyyyzzz")})


def missing_sessions():
    values = random_values(3, 10, 40, np.float32)
    values[0, :4] = values[0, :, :4] = np.nan
    values[2, 7] = np.nan
    return null_of(values)


def missing_values():
    values = random_values(2, 10, 70, np.float64)
    values[np.random.default_rng(3).random(values.shape) < 0.2] = np.nan
    values[..., 5] = np.nan
    return null_of(values)


def draws_without_a_value():
    """Two people of whom only one pair each was recorded: most draws of the second feature have no value."""
    values = random_values(1, 8, 3, np.float64)
    values[..., 1] = np.nan
    values[0, 2, 2, 1], values[0, 2, 3, 1] = 0.5, 0.2
    return null_of(values)


def ties():
    return null_of(np.rint(random_values(1, 8, 40, np.float32)))


DESIGNS = (whole, blocks, missing_sessions, missing_values, draws_without_a_value, ties)


@pytest.mark.filterwarnings("ignore:.*:RuntimeWarning")
@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("design", DESIGNS)
def test_integers_and_maxima_are_those_of_numpy(design, tail, build, monkeypatch):
    null = design()
    monkeypatch.setattr(repaired_test, "_TILE_BYTES", 8 * len(null.design.pairs) * 35)  # several tiles, none full
    counted = repair_test(null, tail=tail, correct=["fdr", "max"])
    monkeypatch.setenv(VARIABLE, "0")
    plain = repair_test(null, tail=tail, correct=["fdr", "max"])
    assert counted.keys() == plain.keys()
    for name, values in plain.items():
        assert_array_equal(counted[name], values, err_msg=name)
    assert plain["exceedances"].max() > 0


def test_a_running_maximum_is_carried_through_tiles_of_any_width(build):
    rng = np.random.default_rng(4)
    values, drawn = rng.normal(size=(30, 100)), rng.integers(0, 30, (200, 4), dtype=np.int32)
    z = values[drawn].sum(axis=1)  # in the order of dyads
    limits = [np.full(100, 1.0), np.full(100, 1.5), np.linspace(2, 6, 100)]
    for width in (1, 15, 16, 17, 33, 100):
        largest, steps = np.full(200, -np.inf), []
        for start in range(0, 100, width):
            part = slice(start, start + width)
            n = len(limits[0][part])
            division = Division(np.empty((200, 0)), np.full(n, -1, np.int32), np.zeros(n))
            counts = loops().count_draws(
                in_slabs(values[:, part]), drawn, division, [limit[part] for limit in limits], "greater", largest
            )
            assert_array_equal(counts[0], (z[:, part] >= 1.0).sum(axis=0))
            assert_array_equal(counts[1], (z[:, part] > 1.5).sum(axis=0))
            assert_array_equal(counts[2], (z[:, part] <= 1.5).sum(axis=0))
            steps.append(counts[3])
        running = np.maximum.accumulate(z, axis=1)
        assert_array_equal(np.concatenate(steps), (running >= limits[2]).sum(axis=0))
        assert_array_equal(largest, running[:, -1])


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"drawn": np.zeros((5, 3), np.int64)}, TypeError),
        ({"drawn": np.zeros((3, 5), np.int32).T}, TypeError),
        ({"drawn": np.full((5, 3), 4, np.int32)}, IndexError),
        ({"drawn": np.full((5, 3), -1, np.int32)}, IndexError),
        ({"table": np.zeros((1, 4, 8))}, TypeError),
        ({"table": np.zeros((1, 4, 16), np.float32)}, TypeError),
        ({"largest": np.zeros(4)}, TypeError),
        ({"largest": np.zeros(10)[::2]}, TypeError),
        ({"limits": [np.zeros(17)] * 3}, TypeError),
        ({"pattern": np.zeros(7, np.int32)}, IndexError),
        ({"pattern": np.full(7, -1, np.int64)}, TypeError),
    ],
)
def test_arrays_of_another_kind_do_not_reach_c(fault, error, build):
    words = {
        "table": np.zeros((1, 4, 16)), "drawn": np.zeros((5, 3), np.int32), "largest": np.zeros(5),
        "limits": [np.zeros(7)] * 3, "pattern": np.full(7, -1, np.int32),
    } | fault  # fmt: skip
    division = Division(np.empty((5, 0)), words.pop("pattern"), np.zeros(7))
    with pytest.raises(error):
        loops().count_draws(**words, division=division, tail="greater")
