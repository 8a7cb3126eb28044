"""Surrogate nulls counted as they are drawn, against all values kept and counted at the end."""

import errno
import itertools
from dataclasses import dataclass
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from ibsync.errors import InputError, PlanError
from ibsync.inference.p_values import p_value
from ibsync.inference.surrogate_test import surrogate_test
from ibsync.nulls.surrogate_null import SurrogateNull, drawn, drawn_values, observed_values
from ibsync.recordings.memory import Budget, map_of
from ibsync.results.null_files import load_null, merge_nulls, save_null

N_FEATURES, N_DRAWS = 7, 150
GROUPS = np.array([0, 0, 0, 1, 1, 1, 1])


@dataclass
class Row:
    """A row whose values are noise of their own, in [0, 1]; feature 0 of the recording itself is raised."""

    number: int
    block: int = 8
    device: None = None
    effect: float = 0.0
    missing: tuple[int, ...] = ()

    def values(self, draws):
        out = np.array([np.random.default_rng([self.number, int(k)]).random(N_FEATURES) for k in draws])
        out[draws == 0, 0] += self.effect
        out[:, list(self.missing)] = np.nan
        return np.clip(out, 0, 1)


def rows(**words):
    return [Row(0, **words), Row(1, block=4, missing=(3,)), Row(2, effect=0.4)]


def begun(sources, n=N_DRAWS, **words):
    words = {"kind": "phase", "n": n, "seed": 3, "tail": "greater", **words}
    labels = [f"d{k}" for k in range(len(sources))]
    values = map(observed_values, sources)
    return SurrogateNull.begin(values, rows=labels, groups=GROUPS, dtype=np.dtype(np.float64), **words)


def advance(null, sources, start, stop):
    """Count draws start to stop - 1; yields the first that is still to be counted."""
    if null.stop_at is not None:
        for first, end in null.steps(start, stop):
            going_on = null.going_on()
            null.add_until(first, end, {row: drawn_values(sources[row], first, end) for row in going_on})
            yield end
            if null.complete:
                return
    for first, end in [] if null.stop_at is not None else null.steps(start, stop):
        for row, source in enumerate(sources):
            null.put(first, row, drawn_values(source, first, end))
        null.take_in(first, end)
        yield end


def test_steps_end_where_blocks_end():
    null = begun(rows(), 300)
    assert null.steps(1, 301) == [(1, 65), (65, 129), (129, 193), (193, 257), (257, 301)]
    assert null.steps(60, 150, 32) == [(60, 65), (65, 97), (97, 129), (129, 150)]
    assert null.steps(60, 301, 256) == [(60, 257), (257, 301)]
    assert null.steps(257, 258, 256) == [(257, 258)]


def counted(sources, n=N_DRAWS, ranges=None, **words):
    null = begun(sources, n, **words)
    for start, stop in ranges or [(1, n + 1)]:
        for _ in advance(null, sources, start, stop):
            pass
    return null


def assert_same(one, other):
    for a, b in zip([*one.by_row, one.together], [*other.by_row, other.together], strict=True):
        assert_array_equal(a.exceedances.at_least, b.exceedances.at_least)
        assert_array_equal(a.exceedances.above, b.exceedances.above)
        assert_array_equal(a.exceedances.at_most, b.exceedances.at_most)
        assert_array_equal(a.step_down.counts, b.step_down.counts)
        assert_array_equal(a.maxima.values, b.maxima.values)
        assert_array_equal(a.moments.sums, b.moments.sums)
        assert_array_equal(a.moments.squares, b.moments.squares)
        assert_array_equal(a.stopped_at, b.stopped_at)
    assert_array_equal(one.pooled, other.pooled)
    assert one.done == other.done


def kept(sources, n=N_DRAWS):
    """All values, [row, draw 0..n, feature]."""
    return np.stack([row.values(np.arange(n + 1)) for row in sources])


# --- against everything kept ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tail", ["greater", "less", "two-sided"])
def test_p_of_rows_and_group_count_the_draws_that_reach_the_observed_value(tail):
    sources = rows()
    found = surrogate_test([counted(sources, tail=tail)], correct=["fdr", "max"])[0]
    values = kept(sources)
    group = np.nanmean(values, axis=0)
    for p, draws in [*zip(found["dyad_p"], values, strict=True), (found["p"], group)]:
        above = (draws[1:] >= draws[0]).sum(axis=0)
        below = (draws[1:] <= draws[0]).sum(axis=0)
        expected = {"greater": above, "less": below, "two-sided": np.minimum(above, below)}[tail]
        expected = np.minimum(1, (2 if tail == "two-sided" else 1) * p_value(expected, N_DRAWS))
        assert_array_equal(p, np.where(np.isnan(draws[0]), np.nan, expected))


def test_the_z_that_is_shown_is_the_one_that_maxima_are_taken_of():
    sources = rows()
    null = counted(sources)
    found = surrogate_test([null], correct=["max"])[0]
    for row, source in enumerate(sources):
        values = source.values(np.arange(N_DRAWS + 1))
        z = (values - values.mean(axis=0)) / values.std(axis=0)
        tested = np.isfinite(z[0])
        assert_allclose(found["z"][row], z[0], rtol=1e-12)
        largest = z[1:, tested].max(axis=1)
        single = [(1 + np.sum(largest >= value)) / (N_DRAWS + 1) for value in z[0, tested]]
        order = np.argsort(z[0, tested])
        stepped = np.empty(tested.sum())
        for rank, feature in enumerate(order):
            among = z[1:, tested][:, order[: rank + 1]].max(axis=1)
            stepped[feature] = (1 + np.sum(among >= z[0, tested][feature])) / (N_DRAWS + 1)
        stepped[order[::-1]] = np.maximum.accumulate(stepped[order[::-1]])
        assert_allclose(null.by_row[row].maxima.values, largest, rtol=1e-12)
        assert_allclose(found["dyad_p_max"][row, tested], stepped, rtol=1e-12)
        assert (stepped <= np.array(single) + 1e-12).all()


def test_moments_and_pooled_values_are_those_of_all_draws():
    sources = rows()
    null = counted(sources)
    found = surrogate_test([null], correct=[])[0]
    values = kept(sources)
    assert_allclose(found["null_mean"], values.mean(axis=1), rtol=1e-12)
    assert_allclose(found["null_sd"], values.std(axis=1), rtol=1e-12)
    group = np.nanmean(values, axis=0)
    assert_allclose(found["group_statistic"], group[0], rtol=1e-12)
    assert_allclose(found["group_null_mean"], group.mean(axis=0), rtol=1e-12)
    assert_allclose(found["group_null_sd"], group.std(axis=0), rtol=1e-12)
    pooled = np.stack([group[:, k == GROUPS].mean(axis=1) for k in range(2)], axis=1)
    assert_allclose(null.pooled, pooled, rtol=1e-6)
    assert_array_equal(found["null_hist"].sum(axis=1), [N_DRAWS, N_DRAWS])


def test_a_missing_value_is_tested_nowhere():
    found = surrogate_test([counted(rows())], correct=["fdr", "max"])[0]
    for name in ("dyad_p", "dyad_p_fdr", "dyad_p_max", "z"):
        assert np.isnan(found[name][1, 3])
        assert np.isfinite(found[name][[0, 2], 3]).all()
    assert found["dyad_exceedances"][1, 3] == -1
    assert found["n_dyads"][3] == 2
    assert np.isfinite(found["p"]).all()


# --- any split gives the same integers --------------------------------------------------------------------------------


@given(cuts=st.lists(st.integers(2, N_DRAWS), max_size=4, unique=True), order=st.randoms(use_true_random=False))
@settings(max_examples=15, deadline=None)
def test_any_split_of_the_draws_gives_the_same_integers(cuts, order):
    edges = [1, *sorted(cuts), N_DRAWS + 1]
    ranges = list(itertools.pairwise(edges))
    order.shuffle(ranges)
    assert_same(counted(rows(), ranges=ranges), counted(rows()))


def test_parts_computed_apart_merge_into_the_whole(tmp_path):
    parts = [counted(rows(), ranges=[r]) for r in [(101, 151), (1, 33), (33, 101)]]
    merged = merge_nulls([load_null(save_null(part, tmp_path / "part.h5")) for part in parts])
    assert merged.complete
    merge_nulls(parts)
    assert not parts[0].complete
    assert merge_nulls(parts).complete
    assert_same(merged, counted(rows()))


def test_draws_that_are_kept_in_a_file_give_the_same(tmp_path, monkeypatch):
    in_memory = counted(rows())
    room = Budget(1, tmp_path).array
    assert map_of(begun(rows(), room=room).values) is not None
    assert_same(counted(rows(), room=room), in_memory)
    monkeypatch.setattr("os.posix_fallocate", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
    with pytest.raises(InputError, match=r"cannot hold 1M of values .* set TMPDIR to a larger disk"):
        begun(rows(), room=room)


def test_a_null_of_19_draws_costs_19_and_the_recording():
    drawn_numbers = []

    class Watched(Row):
        def values(self, draws):
            drawn_numbers.extend(draws.tolist())
            return super().values(draws)

    null = counted([Watched(0, block=1)], n=19)
    assert null.complete
    assert drawn_numbers == list(range(20))


def test_all_draws_are_alike_whichever_was_observed():
    """Exchanging the recording with a draw exchanges their z: mean and deviation are those of both."""
    order = np.arange(N_DRAWS + 1)
    order[[0, 17]] = 17, 0

    class Exchanged(Row):
        def values(self, draws):
            return super().values(order[draws])

    one, other = counted([Row(0, block=1)]).by_row[0], counted([Exchanged(0, block=1)]).by_row[0]
    assert_allclose(one.standard.mean, other.standard.mean, rtol=1e-13)
    assert_allclose(one.standard.sd, other.standard.sd, rtol=1e-12)
    assert_allclose(other.maxima.values[16], one.standard.shown_z.max(), rtol=1e-12)


def test_a_null_read_back_goes_on_where_it_stopped(tmp_path):
    sources = rows()
    null = begun(sources)
    for reached in advance(null, sources, 1, N_DRAWS + 1):
        if reached > 60:
            break
    assert not null.complete
    again = load_null(save_null(null, tmp_path / "state.h5"))
    ((start, stop),) = again.done
    assert start == 1
    for _ in advance(again, sources, stop, N_DRAWS + 1):
        pass
    assert_same(again, counted(sources))


def test_draws_are_computed_in_the_same_company_whatever_the_range():
    seen = []

    class Watched(Row):
        def values(self, draws):
            seen.append(draws.tolist())
            return super().values(draws)

    drawn(Watched(0, block=8), 5, 20)
    assert seen == [list(range(1, 9)), list(range(9, 17)), list(range(17, 25))]


def test_what_does_not_belong_together_is_refused():
    null = counted(rows(), ranges=[(1, 51)])
    with pytest.raises(PlanError, match="draws 40 to 50 have been counted already"):
        null.merge(counted(rows(), ranges=[(40, 60)]))
    with pytest.raises(PlanError, match="differ in seed"):
        null.merge(counted(rows(), ranges=[(60, 70)], seed=4))
    with pytest.raises(PlanError, match="different observed values"):
        null.merge(counted(rows(effect=0.1), ranges=[(60, 70)]))
    with pytest.raises(PlanError, match="holds 50 of 150 draws"):
        surrogate_test([null])
    with pytest.raises(PlanError, match="'cluster' is for re-pairing"):
        surrogate_test([counted(rows())], correct=["cluster"])


# --- several signals --------------------------------------------------------------------------------------------------


def test_signals_tested_together_are_corrected_over_both():
    first, second = rows(), [Row(10), Row(11), Row(12)]
    both = surrogate_test([counted(first), counted(second)], correct=["fdr", "max"])
    alone = surrogate_test([counted(first)], correct=["fdr", "max"])[0]
    assert (np.nan_to_num(both[0]["p_max"]) >= np.nan_to_num(alone["p_max_single"])).all()
    assert_array_equal(both[0]["p"], alone["p"])
    z = []
    for sources in (first, second):
        group = np.nanmean(kept(sources), axis=0)
        z.append((group - group.mean(axis=0)) / group.std(axis=0))
    for at, found in enumerate(both):
        assert_allclose(found["group_z"], z[at][0], rtol=1e-11)
        assert_allclose(found["null_max"], np.hstack(z)[1:].max(axis=1), rtol=1e-6)
        single = (np.hstack(z)[1:].max(axis=1)[:, None] >= z[at][0] - 1e-9).sum(axis=0)
        assert_allclose(found["p_max"], np.maximum(found["p"], (1 + single) / (N_DRAWS + 1)), rtol=1e-12)
    from scipy.stats import false_discovery_control

    p = np.concatenate([both[0]["dyad_p"][2], both[1]["dyad_p"][2]])
    assert_array_equal(np.concatenate([both[0]["dyad_p_fdr"][2], both[1]["dyad_p_fdr"][2]]), false_discovery_control(p))


# --- sequential -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [1, 8, 64])
def test_a_sequential_count_stops_at_the_h_th_exceedance_whatever_the_block(block):
    h = 6
    sources = rows(block=block)
    null = counted(sources, stop_at=h)
    found = surrogate_test([null], correct=["fdr"])[0]
    values = kept(sources)
    for row in range(3):
        for feature in range(N_FEATURES):
            observed = values[row, 0, feature]
            if np.isnan(observed):
                assert np.isnan(found["dyad_p"][row, feature])
                continue
            reached = np.cumsum(values[row, 1:, feature] >= observed)
            if reached[-1] >= h:
                last = 1 + int(np.argmax(reached >= h))
                assert found["dyad_draws"][row, feature] == last
                assert found["dyad_p"][row, feature] == h / last
            else:
                assert found["dyad_p"][row, feature] == (1 + reached[-1]) / (N_DRAWS + 1)
    assert np.isnan(found["p"]).all()


def test_a_sequential_null_does_not_draw_what_nobody_needs():
    sources = [Row(5), Row(6)]
    null = begun(sources, n=100_000, stop_at=2)
    reached = list(advance(null, sources, 1, 100_001))
    assert null.complete
    assert len(reached) < 100


def test_sequential_p_is_valid_at_every_level():
    """P(p <= alpha) <= alpha when the observed value is one more draw (Besag and Clifford 1991)."""
    h, n, runs = 5, 99, 4000
    rng = np.random.default_rng(0)
    values = rng.random((runs, n + 1))
    reached = np.cumsum(values[:, 1:] >= values[:, :1], axis=1)
    stopped = reached[:, -1] >= h
    last = 1 + np.argmax(reached >= h, axis=1)
    p = np.where(stopped, h / last, (1 + reached[:, -1]) / (n + 1))
    for alpha in (0.05, 0.1, 0.2):
        assert np.mean(p <= alpha) < alpha + 4 * np.sqrt(alpha * (1 - alpha) / runs)


def test_what_a_sequential_null_cannot_give_is_refused():
    with pytest.raises(PlanError, match="stop_at counts one tail"):
        begun(rows(), stop_at=5, tail="two-sided")
    with pytest.raises(PlanError, match="no maximum statistic"):
        surrogate_test([counted(rows(), stop_at=5)], correct=["max"])
    with pytest.raises(PlanError, match="cannot be merged"):
        counted(rows(), stop_at=5, ranges=[(1, 10)]).merge(begun(rows(), stop_at=5))
    with pytest.raises(PlanError, match="in order"):
        counted(rows(), stop_at=5, ranges=[(20, 30)])
    for wrong in (0, -1, 2.5, True):
        with pytest.raises(PlanError, match="stop_at"):
            begun(rows(), stop_at=wrong)
    with pytest.raises(PlanError, match="8000000"):
        begun(rows(), n=8_000_001)


@dataclass
class Gappy(Row):
    """Every second draw is missing."""

    def values(self, draws):
        out = super().values(draws)
        out[draws % 2 == 1] = np.nan
        return out


def test_missing_draws_are_no_draws():
    null = counted([Gappy(0), Gappy(1)])
    found = surrogate_test([null], correct=["max"])[0]
    values = Gappy(0).values(np.arange(0, N_DRAWS + 1, 2))
    b = (values[1:] >= values[0]).sum(axis=0)
    assert_array_equal(found["dyad_p"][0], p_value(b, len(values) - 1))
    assert (found["dyad_p_max"][0] >= found["dyad_p"][0]).all()
    assert (
        found["dyad_p_max"][0].max() > 0.9
    )  # of a maximum over draws that exist, the smallest feature is no exception
    ended = counted([Gappy(0), Gappy(1)], stop_at=4)
    found = surrogate_test([ended], correct=["fdr"])[0]
    for feature in range(N_FEATURES):
        reached = np.cumsum(values[1:, feature] >= values[0, feature])
        if reached[-1] >= 4:
            assert found["dyad_p"][0, feature] == 4 / (1 + int(np.argmax(reached >= 4)))
