import itertools
from math import factorial

import numpy as np
import pytest
from fits import fitted_out
from numpy.testing import assert_allclose, assert_array_equal

from ibsync.errors import PlanError
from ibsync.nulls.draws import Draws
from ibsync.nulls.repaired_null import PairSums, RepairedNull, closed_moments, group_means, sum_pairs
from ibsync.nulls.repairing import Repairing, doubly_centred


def design_of(n, strata=None, names=None):
    dyads = names or [f"d{row:02d}" for row in range(n)]
    return Repairing.of(dyads, [f"{d}-a" for d in dyads], [f"{d}-b" for d in dyads], strata)


def null_of(values, design=None, n=200, seed=1, **options):
    design = design or design_of(values.shape[1])
    draws = Draws.plan(design, n, seed, **options)
    return RepairedNull(values, draws, tuple(f"s{number}" for number in range(len(values))))


def group_mean_by_definition(values, partners):
    """Mean over sessions and dyads of the pair values that exist, [feature]."""
    chosen = fitted_out(values)[:, np.arange(len(partners)), partners].reshape(-1, values.shape[3])
    return np.array([np.mean(c[np.isfinite(c)]) if np.isfinite(c).any() else np.nan for c in chosen.T])


@pytest.mark.parametrize("n", [2, 3, 5])
def test_all_repairings_are_listed_once_with_fixed_points(n):
    draws = Draws.plan(design_of(n), 10, seed=0)
    listed = draws.take(0, draws.n + 1)
    assert draws.listed
    assert draws.n + 1 == factorial(n)
    assert sorted(map(tuple, listed.tolist())) == list(itertools.permutations(range(n)))
    assert_array_equal(listed[0], np.arange(n))
    assert draws.min_p == 1 / factorial(n)


def test_blocks_are_never_mixed_and_the_count_is_the_product_of_factorials():
    site = ["x", "y", "x", "y", "x", "z", "y", "z"]
    design = design_of(8, {"site": site})
    assert design.n_ways == factorial(3) * factorial(3) * factorial(2)
    draws = Draws.plan(design, 1, seed=0)
    listed = draws.take(0, draws.n + 1)
    assert len(set(map(tuple, listed.tolist()))) == design.n_ways == len(listed)
    assert all(site[i] == site[j] for partners in listed for i, j in enumerate(partners))
    drawn = Draws.plan(design, 20, seed=0, list_up_to=1)
    assert not drawn.listed
    assert all(site[i] == site[j] for partners in drawn.take(0, 21) for i, j in enumerate(partners))


def test_two_columns_that_must_agree_make_finer_blocks():
    design = design_of(8, {"group": list("cccctttt"), "site": list("xxyyxxyy")})
    assert sorted(len(block) for block in design.blocks) == [2, 2, 2, 2]
    assert design.n_ways == 2**4


def test_enumeration_gives_way_to_draws_above_both_limits():
    design = design_of(6)
    assert Draws.plan(design, 720, 0, list_up_to=0).listed
    random = Draws.plan(design, 719, 0, list_up_to=0)
    assert not random.listed
    assert (random.n, random.min_p) == (719, 1 / 720)
    assert Draws.plan(design, 99, 0).listed
    assert Draws.plan(design_of(9), 99, 0).listed
    assert not Draws.plan(design_of(10), 99, 0).listed


def test_random_draws_are_uniform_with_fixed_points_and_without_repeats_of_a_person():
    draws = Draws.plan(design_of(4), 24_000, 5, list_up_to=0)
    draws = Draws(draws.design, 24_000, 5, listed=False)
    got = draws.take(1, 24_001)
    _, counts = np.unique(got, axis=0, return_counts=True)
    from scipy.stats import chisquare

    assert len(counts) == 24
    assert chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize("n_splits", [1, 2, 7])
def test_a_draw_does_not_know_its_range(n_splits):
    draws = Draws.plan(design_of(12, {"group": list("aabbaabbaabb")}), 500, 3, list_up_to=0)
    listed = Draws.plan(design_of(6), 1, 3)
    for source in (draws, listed):
        edges = np.linspace(0, 501, n_splits + 1).astype(int)
        parts = [source.take(start, stop) for start, stop in itertools.pairwise(edges)]
        assert_array_equal(np.concatenate(parts), source.take(0, 501))


def test_seed_and_purpose_change_the_draws():
    design = design_of(20)
    base = Draws.plan(design, 100, 1).take(0, 101)
    assert_array_equal(base[0], np.arange(20))
    assert not (Draws.plan(design, 100, 2).take(1, 101) == base[1:]).all(axis=1).any()


def test_blocks_of_one_size_are_permuted_independently():
    design = design_of(20, {"group": ["c"] * 10 + ["t"] * 10})
    partners = Draws.plan(design, 50, 1).take(1, 51)
    assert not (partners[:, :10] == partners[:, 10:] - 10).all(axis=1).any()


def test_draws_do_not_depend_on_the_order_of_rows():
    names = ["kim", "lee", "ada", "bo", "cy", "di", "el", "flo", "gus", "hal", "ivy"]
    order = np.random.default_rng(0).permutation(len(names))
    plain = Draws.plan(design_of(11, names=names), 50, 9)
    mixed = Draws.plan(design_of(11, names=[names[i] for i in order]), 50, 9)
    pairs = [
        [{(draws.design.dyads[i], draws.design.dyads[j]) for i, j in enumerate(row)} for row in draws.take(1, 51)]
        for draws in (plain, mixed)
    ]
    assert pairs[0] == pairs[1]


def test_one_dyad_cannot_be_repaired():
    with pytest.raises(PlanError, match="at least 2 dyads, found 1"):
        design_of(1)
    with pytest.raises(PlanError, match=r"'d00' is alone in its block \(site=x\)"):
        design_of(2, {"site": ["x", "y"]})
    with pytest.raises(PlanError, match=r"'d02' is alone in its block \(site=y\)"):
        design_of(4, {"site": ["x", "x", "y", "x"]})


def test_dyads_that_share_people_in_both_roles_are_named():
    with pytest.raises(PlanError, match="dyads 'd1', 'd2' are linked by 'x', shared in both roles"):
        Repairing.of(["d1", "d2"], ["x", "y"], ["p", "x"])


def test_a_dyad_listed_twice_and_ragged_columns_are_refused():
    with pytest.raises(PlanError, match="'d1' is listed twice"):
        Repairing.of(["d1", "d1"], ["a", "b"], ["c", "d"])
    with pytest.raises(PlanError, match="site has 1 labels for 2 dyads"):
        Repairing.of(["d1", "d2"], ["a", "b"], ["c", "d"], {"site": ["x"]})


@pytest.mark.parametrize("n", [0, 2**32])
def test_a_silly_number_of_draws_is_refused(n):
    with pytest.raises(PlanError, match="draws"):
        Draws.plan(design_of(3), n, 0)


def test_pair_values_of_a_wrong_shape_are_refused():
    with pytest.raises(PlanError, match=r"\(1, 3, 3\)"):
        RepairedNull(np.zeros((1, 2, 3, 4)), Draws.plan(design_of(3), 9, 0), ("s0",))


def test_one_permutation_serves_all_sessions_and_features():
    rng = np.random.default_rng(7)
    values = rng.random((3, 5, 5, 4))
    null = null_of(values)
    partners = null.draws.take(0, null.draws.n + 1)
    got = group_means(null.pair_sums(), null.design.pairs_of(partners))
    assert_allclose(got, [group_mean_by_definition(values, row) for row in partners], rtol=1e-13)


def test_missing_sessions_and_channels_are_left_out_of_the_mean():
    rng = np.random.default_rng(8)
    values = rng.random((2, 4, 4, 3)).astype(np.float32)
    values[1, 2, :] = values[1, :, 2] = np.nan
    values[:, 0, :, 1] = np.nan
    values[..., 2] = np.nan
    null = null_of(values)
    partners = null.draws.take(0, null.draws.n + 1)
    got = group_means(null.pair_sums(np.array([2, 0, 1])), null.design.pairs_of(partners))
    expected = [group_mean_by_definition(values.astype(float), row)[[2, 0, 1]] for row in partners]
    assert_allclose(got, expected, rtol=1e-13)
    assert np.isnan(got[:, 0]).all()


@pytest.mark.parametrize("n_splits", [1, 2, 7])
def test_sums_are_equal_to_the_last_bit_for_any_split_of_draws_and_features(n_splits):
    null = null_of(np.random.default_rng(9).random((1, 12, 12, 30)), n=100)
    cells = null.design.pairs_of(null.draws.take(0, 101))
    table = null.pair_sums().sums
    whole = sum_pairs(cells, table)
    rows = [sum_pairs(part, table) for part in np.array_split(cells, n_splits)]
    columns = [sum_pairs(cells, part) for part in np.array_split(table, n_splits, axis=1)]
    assert_array_equal(np.concatenate(rows), whole)
    assert_array_equal(np.concatenate(columns, axis=1), whole)


def test_pairs_across_blocks_are_never_read():
    values = np.random.default_rng(10).random((1, 6, 6, 2))
    site = np.array(list("xxxyyy"))
    spoiled = values.copy()
    spoiled[:, site[:, None] != site] = 1e9
    results = []
    for source in (values, spoiled):
        null = null_of(source, design_of(6, {"site": list(site)}))
        cells = null.design.pairs_of(null.draws.take(0, null.draws.n + 1))
        results.append((group_means(null.pair_sums(), cells), closed_moments(null.pair_sums(), null.design)[1]))
    for plain, other in zip(*results, strict=True):
        assert_array_equal(plain, other)


@pytest.mark.parametrize("strata", [None, {"site": list("xxyyyy")}])
def test_closed_form_moments_equal_those_of_all_repairings(strata):
    values = np.random.default_rng(11).random((2, 6, 6, 5))
    null = null_of(values, design_of(6, strata))
    everything = group_means(null.pair_sums(), null.design.pairs_of(null.draws.take(0, null.draws.n + 1)))
    mean, sd = closed_moments(null.pair_sums(), null.design)
    assert_allclose(mean, everything.mean(axis=0), rtol=1e-12)
    assert_allclose(sd, everything.std(axis=0), rtol=1e-10)


def test_closed_form_holds_when_the_first_persons_miss_channels():
    values = np.random.default_rng(12).random((2, 5, 5, 1))
    values[1, 3] = np.nan
    null = null_of(values)
    everything = group_means(null.pair_sums(), null.design.pairs_of(null.draws.take(0, 120)))
    mean, sd = closed_moments(null.pair_sums(), null.design)
    assert_allclose(mean, everything.mean(axis=0), rtol=1e-12)
    assert_allclose(sd, everything.std(axis=0), rtol=1e-10)


def test_moments_have_no_closed_form_where_draws_have_unlike_numbers_of_values():
    values = np.random.default_rng(13).random((1, 4, 4, 3))
    values[0, 1, :, 0] = values[0, :, 2, 0] = np.nan
    values[..., 1] = np.nan
    null = null_of(values)
    for moments in closed_moments(null.pair_sums(), null.design):
        assert_array_equal(np.isfinite(moments), [False, False, True])


def test_double_centring_removes_additive_person_effects():
    rng = np.random.default_rng(15)
    design = design_of(6, {"site": list("xxxyyy")})
    table = PairSums(rng.random((len(design.pairs), 2)), np.ones((len(design.pairs), 2))).sums
    effect = rng.normal(size=6)[design.pairs[:, 0]] + rng.normal(size=6)[design.pairs[:, 1]]
    assert_allclose(doubly_centred(table + effect[:, None], design), doubly_centred(table, design), atol=1e-14)
    assert np.abs(doubly_centred(table, design)).max() > 0.1


def test_real_cells_are_the_diagonal():
    design = design_of(5, {"site": list("xyxyx")})
    assert_array_equal(design.pairs[design.real_pairs[0]], np.stack([np.arange(5)] * 2, axis=1))


def test_pooled_sums_give_the_mean_over_the_features_of_a_group():
    values = np.random.default_rng(16).random((1, 4, 4, 6))
    null = null_of(values)
    pooled = null.pair_sums().pooled(np.array([0, 1, 0, 1, 1, 0]), 2)
    got = group_means(pooled, null.design.real_pairs)[0]
    own = values[0, np.arange(4), np.arange(4)].mean(axis=0)
    assert_allclose(got, [own[[0, 2, 5]].mean(), own[[1, 3, 4]].mean()], rtol=1e-13)
