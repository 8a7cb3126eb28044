"""Re-pairing where a person is in several dyads: who is exchanged, by brute force, and what is refused."""

from dataclasses import fields, replace
from itertools import permutations, product
from math import factorial

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from refusals import plan_refusal

from ibsync.inference.alike import alike_within_persons
from ibsync.inference.repaired_test import dyad_summary, repair_test
from ibsync.inference.settings import TestSettings as Settings
from ibsync.nulls.draws import Draws
from ibsync.nulls.hypotheses import repairing_hypothesis
from ibsync.nulls.rematching import Matchings
from ibsync.nulls.repaired_null import RepairedNull, closed_moments
from ibsync.nulls.repairing import Repairing


def names(n, letter="d"):
    return [f"{letter}{k + 1}" for k in range(n)]


def clients_of(therapists, *, swapped=False, within=True, **words):
    """One dyad a client; the therapist is the first person, or with `swapped` the second."""
    people = (therapists, names(len(therapists), "c"))
    a, b = people[::-1] if swapped else people
    return Repairing.of(names(len(therapists)), a, b, {"person": therapists} if within else None, **words)


def null_of(design, values=None, n=1, n_features=3, n_sessions=2, seed=0):
    if values is None:
        values = np.random.default_rng(seed).standard_normal((n_sessions, len(design), len(design), n_features))
    return RepairedNull(values, Draws.plan(design, n, seed), tuple(names(len(values), "s")))


def p_of(null):
    return repair_test(null, Settings(tail="greater", correct=()))["p"]


# --- who is exchanged -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("swapped", [False, True])
def test_clients_of_one_therapist_are_exchanged_over_the_meetings(swapped):
    """A plain loop over all permutations of five clients, two sessions, mean over cells."""
    null = null_of(clients_of(["t"] * 5, swapped=swapped))
    assert null.draws.n == factorial(5) - 1
    means = [
        np.mean([null.pair_values[s, meeting, order[meeting]] for s in range(2) for meeting in range(5)], axis=0)
        for order in permutations(range(5))
    ]
    assert_allclose(p_of(null), (np.array(means) >= means[0] - 1e-9).mean(axis=0), rtol=1e-12)
    mean, sd = closed_moments(null.pair_sums(), null.design)
    assert_allclose(mean, np.mean(means, axis=0))
    assert_allclose(sd, np.std(means, axis=0))


def test_within_the_person_only_clients_of_one_therapist_exchange():
    therapists = ["t1", "t2", "t1", "t2", "t2"]
    within, over = clients_of(therapists), clients_of(therapists, within=False)
    assert (within.n_ways, over.n_ways) == (2 * 6, 120)
    assert (within.within_person, over.within_person) == (True, False)
    assert all(therapists[i] == therapists[j] for i, j in within.pairs)
    assert len(over.pairs) == 25
    names_of = [repairing_hypothesis(design) for design in (within, over)]
    assert [null.others for null in names_of] == [
        "re-paired partners of the same person", "re-paired partners of all persons",
    ]  # fmt: skip
    assert "any partner could have met any of the shared persons" in names_of[1].statement


def test_sets_that_share_first_and_sets_that_share_second_persons_stay_apart():
    a, b = ["t", "t", "t", "c4", "c5", "x"], ["c1", "c2", "c3", "u", "u", "y"]
    design = Repairing.of(names(6), a, b)
    assert sorted(tuple(block.tolist()) for block in design.blocks) == [(0, 1, 2, 5), (3, 4)]
    only = Repairing.of(names(3), a[3:], b[3:])
    assert only.n_ways == 6  # nobody hinders one who shares nobody


def test_the_order_of_rows_does_not_matter():
    therapists = ["t1", "t2", "t1", "t2", "t2", "t1"]
    a, b, dyads = therapists, names(6, "c"), names(6)
    values = np.random.default_rng(1).standard_normal((2, 6, 6, 4))
    order = np.random.default_rng(2).permutation(6)
    words = {"recordings": ["r1", "r2", "r1", "r2", "r3", "r3"]}
    plain = Repairing.of(dyads, a, b, **words)
    mixed = Repairing.of(*([column[k] for k in order] for column in (dyads, a, b)),
                         recordings=[words["recordings"][k] for k in order])  # fmt: skip
    p = p_of(null_of(plain, values)), p_of(null_of(mixed, values[:, order][:, :, order]))
    assert_array_equal(*p)
    draws = [Draws(d, 20, 3, False).take(1, 21) for d in (plain, mixed)]
    pairs = [
        [{(d.dyads[i], d.dyads[j]) for i, j in enumerate(row)} for row in rows]
        for d, rows in zip((plain, mixed), draws, strict=True)
    ]
    assert pairs[0] == pairs[1]


# --- recordings that several dyads share ------------------------------------------------------------------------------


def families():
    """Two mothers of two, two of three and two of one; mothers are first persons."""
    sizes = [2, 3, 1, 2, 3, 1]
    mothers = [f"m{k}" for k, size in enumerate(sizes) for _ in range(size)]
    recordings = [f"m{k}_rec" if size > 1 else "" for k, size in enumerate(sizes) for _ in range(size)]
    return Repairing.of([f"d{k:02d}" for k in range(12)], mothers, names(12, "c"), recordings=recordings)


def test_dyads_that_share_a_recording_move_as_one_unit_among_sets_of_their_size():
    design = families()
    assert design.n_ways == 2**3
    expected = []
    for swaps in product((False, True), repeat=3):
        partners = np.arange(12)
        for swap, (one, other) in zip(
            swaps, ((range(2), range(6, 8)), (range(2, 5), range(8, 11)), ([5], [11])), strict=True
        ):
            if swap:
                partners[[*one, *other]] = [*other, *one]
        expected.append(tuple(partners))
    assert sorted(map(tuple, design.listed(np.arange(8)).tolist())) == sorted(expected)
    null = null_of(design)
    means = np.array([null.pair_values[:, np.arange(12), order].mean(axis=(0, 1)) for order in expected])
    assert_allclose(p_of(null), (means >= means[0] - 1e-9).mean(axis=0), rtol=1e-12)
    mean, sd = closed_moments(null.pair_sums(), null.design)
    assert_allclose(mean, means.mean(axis=0))
    assert_allclose(sd, means.std(axis=0))
    assert "moving together" in repairing_hypothesis(design).name


def test_a_unit_that_lost_a_dyad_exchanges_with_those_of_its_new_size():
    design, keep = families(), [row for row in range(12) if row != 3]
    columns = {entry.name: tuple(getattr(design, entry.name)[row] for row in keep) for entry in fields(design)}
    fewer = replace(design, **columns)  # of the two sets of three dyads one is left with two
    assert sorted(units.shape for units in fewer.moves) == [(1, 3), (2, 1), (3, 2)]
    assert fewer.n_ways == 6 * 2
    assert len(set(fewer.entities)) == 3


def test_random_draws_move_whole_units_too():
    drawn = Draws(families(), 200, 1, False).take(1, 201)
    assert set(map(tuple, drawn.tolist())) == set(map(tuple, families().listed(np.arange(8)).tolist()))


def test_the_partners_of_one_dyad_are_those_of_other_units():
    design = families()
    null = null_of(design)
    for dyad, others in ((0, [6, 7]), (2, [8, 9, 10]), (5, [11])):
        expected = np.concatenate([null.pair_values[0, dyad, others], null.pair_values[0, others, dyad]])
        assert_allclose(dyad_summary(null)["null_mean"][0, dyad], expected.mean(axis=0))


def test_one_dyad_is_compared_with_partners_of_the_same_person():
    null = null_of(clients_of(["t1", "t2", "t1", "t2", "t2"]))
    values = null.pair_values[1]
    expected = np.array([values[1, 3], values[1, 4], values[3, 1], values[4, 1]])
    assert_allclose(dyad_summary(null)["null_mean"][1, 1], expected.mean(axis=0))


def test_a_class_and_sets_without_another_of_their_size_are_refused():
    words = {"recordings": ["teacher_rec"] * 4}
    plan_refusal(
        lambda: Repairing.of(names(4), ["t"] * 4, names(4, "c"), {"person": ["t"] * 4}, **words),
        "'d1', 'd2', 'd3', 'd4' recording 'teacher_rec'", "an exchange among them changes nothing", "kind='phase'",
    )  # fmt: skip
    recordings, mothers = ["m1", "m1", "m2", "m2", "m3", "m3", "m3"], ["m1", "m1", "m2", "m2", "m3", "m3", "m3"]
    plan_refusal(
        lambda: Repairing.of(names(7), mothers, names(7, "c"), recordings=recordings),
        "'d5', 'd6', 'd7' recording 'm3'", "no other set of their size", "dyad=['d1', 'd2', 'd3', 'd4']",
    )  # fmt: skip
    plan_refusal(
        lambda: Repairing.of(names(7), mothers, names(7, "c"), {"person": mothers}, recordings=recordings),
        "'d1', 'd2' recording 'm1'; dyads 'd3', 'd4' recording 'm2'", "within=[]",
    )  # fmt: skip


def test_a_unit_whose_dyads_differ_in_group_exchanges_with_its_like():
    words = {"recordings": ["m1", "m1", "m2", "m2", "m3", "m3", "m4", "m4"]}
    group = ["x", "y", "y", "x", "x", "x", "x", "x"]
    design = Repairing.of(names(8), names(8, "a"), names(8, "b"), {"group": group}, **words)
    assert sorted(tuple(block.tolist()) for block in design.blocks) == [(0, 1, 2, 3), (4, 5, 6, 7)]


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_sets_that_share_both_roles_are_named_with_the_line_for_the_rest():
    a, b = ["t", "t", "u", "v", "w"], ["c1", "c2", "c2", "c4", "c5"]
    plan_refusal(
        lambda: Repairing.of(names(5), a, b),
        "dyads 'd1', 'd2', 'd3' are linked by 'c2', 't', shared in both roles", "ibs.relations", "kind='phase'",
        "study.select(dyad=['d4', 'd5'])",
    )  # fmt: skip


def test_a_therapist_with_one_client_is_named_with_both_ways_out():
    plan_refusal(
        lambda: clients_of(["t1", "t1", "t2", "t3", "t3"]),
        "'t2' and 'c3' (dyad 'd3')", "within=[]", "study.select(dyad=['d1', 'd2', 'd4', 'd5'])",
    )  # fmt: skip


def test_interchangeable_roles_need_people_who_occur_once():
    plan_refusal(
        lambda: Matchings.of(names(3), ["t", "t", "x"], names(3, "c")), "person 't' is in dyads 'd1', 'd2'",
        "roles='fixed'",
    )  # fmt: skip


# --- exactness and warning --------------------------------------------------------------------------------------------


def test_a_test_is_exact_where_all_who_exchange_have_the_same_occasions():
    attendance = ["1, 2", "1", "1, 2", "1"]
    design = clients_of(["t"] * 4, attendance=attendance)
    assert not design.same_attendance
    null = null_of(design)
    assert null.draws.listed
    assert not null.exact
    assert "approximate where persons missed sessions" in repairing_hypothesis(design).statement
    apart = Repairing.of(names(4), ["t"] * 4, names(4, "c"), {"attendance": attendance}, attendance=attendance)
    assert null_of(apart).exact
    assert apart.n_ways == 4
    assert null_of(clients_of(["t"] * 4)).exact


def persons_null(effect, seed, design):
    """Meetings whose therapist and clients differ, and clients who are like their therapist by so much."""
    rng = np.random.default_rng(seed)
    a = np.array(design.persons_a)
    own = a[:, None] == a
    by_pair = rng.standard_normal((len(set(a)), len(a)))[np.unique(a, return_inverse=True)[1]]
    values = rng.standard_normal((1, len(a), len(a), 1)) + (by_pair + effect * own)[None, :, :, None]
    values += rng.standard_normal((len(set(a)), 1))[np.unique(a, return_inverse=True)[1]][None, :, :, None]
    return null_of(design, values + 5 * np.eye(len(a))[None, :, :, None])


def test_clients_who_are_like_their_therapist_are_told():
    design = clients_of(np.repeat(["t1", "t2", "t3", "t4"], 4).tolist(), within=False)
    assert alike_within_persons(persons_null(2.0, 1, design)) <= 0.01
    swapped = Repairing.of(design.dyads, design.persons_b, design.persons_a)
    null = persons_null(2.0, 1, design)
    assert alike_within_persons(null_of(swapped, null.pair_values.swapaxes(1, 2))) == alike_within_persons(null)
    within = clients_of(np.repeat(["t1", "t2"], 3).tolist())
    assert np.isnan(alike_within_persons(null_of(within)))
    assert np.isnan(alike_within_persons(null_of(Repairing.of(names(4), names(4, "a"), names(4, "b")))))


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(4, 4, 4, 4), (2, 3, 5, 8)])
def test_the_warning_of_alike_clients_is_rarely_wrong(sizes):
    """500 studies whose therapists and pairs of therapist and client differ at random."""
    design = clients_of([f"t{k}" for k, size in enumerate(sizes) for _ in range(size)], within=False)
    p = [alike_within_persons(persons_null(0.0, seed, design)) for seed in range(500)]
    assert np.mean(np.array(p) <= 0.05) < 0.08
