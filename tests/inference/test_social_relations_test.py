import itertools
from functools import partial
from math import factorial

import numpy as np
import pytest
from meetings_made import dataset
from numpy.testing import assert_allclose, assert_array_equal
from refusals import plan_refusal
from scipy.stats import binom

import ibsync
from ibsync.inference.social_relations import (
    PARTS,
    Block,
    RelabelledSessions,
    RoundRobin,
    ScatteredValues,
    variance_parts,
)
from ibsync.nulls.draws import Draws
from ibsync.questions.relations import relations

DESIGNS = {"block": Block(4, 3), "round robin": RoundRobin(5)}


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def shuffled(places, n=10_000, **options):
    return Draws.plan(places, n, 1, **options)


# --- estimates --------------------------------------------------------------------------------------------------------


SAME = {
    "person": lambda s, i, j, t, k, h: i == k,
    "partner": lambda s, i, j, t, k, h: j == h,
    "relationship": lambda s, i, j, t, k, h: (i, j) == (k, h),
    "person_session": lambda s, i, j, t, k, h: (s, i) == (t, k),
    "partner_session": lambda s, i, j, t, k, h: (s, j) == (t, h),
    "error": lambda s, i, j, t, k, h: (s, i, j) == (t, k, h),
    # What a person shows on either side, and what either of two shows with the other.
    "one person on both sides": lambda s, i, j, t, k, h: (i == h) + (j == k),
    "reciprocity": lambda s, i, j, t, k, h: (i, j) == (h, k),
}


def covariance(design, part):
    """Of all values [session, person, partner] of two sessions, given a (co)variance of 1 in one part."""
    cells = list(itertools.product(range(2), range(design.n_persons), range(design.n_partners)))
    return np.array([[float(SAME[part](*one, *two)) for two in cells] for one in cells])


def expected(design, part):
    """Expectation of the estimates, from their quadratic form: every pair of values is put in."""
    n, m = design.n_persons, design.n_partners
    size = 2 * n * m
    units = np.eye(size).reshape(size, 2, n, m).transpose(1, 2, 3, 0)
    alone = variance_parts(design, units)
    i, j = np.triu_indices(size, 1)
    cross = (variance_parts(design, units[..., i] + units[..., j]) - alone[:, i] - alone[:, j]) / 2
    matrix = np.zeros((6, size, size))
    matrix[:, np.arange(size), np.arange(size)] = alone
    matrix[:, i, j] = matrix[:, j, i] = cross
    return np.einsum("pij,ij->p", matrix, covariance(design, part))


@pytest.mark.parametrize("design", [Block(3, 2), RoundRobin(4)], ids=["block", "round robin"])
@pytest.mark.parametrize("part", PARTS)
def test_estimates_are_without_bias(design, part):
    assert_allclose(expected(design, part), np.array(PARTS) == part, atol=1e-12)


@pytest.mark.parametrize("part", ["one person on both sides", "reciprocity"])
def test_what_both_sides_share_biases_nothing(part):
    assert_allclose(expected(RoundRobin(4), part), 0, atol=1e-12)


def test_a_block_gives_the_estimates_of_the_balanced_anova():
    """Against sums of squares of statsmodels, person x partner x session, and their expectations."""
    import pandas as pd
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    n, m, k = 4, 3, 3
    values = normal(k, n, m, 1) + normal(n, 1, 1, seed=1) + normal(m, 1, seed=2)
    frame = pd.DataFrame(
        [(s, i, j, values[s, i, j, 0]) for s, i, j in itertools.product(range(k), range(n), range(m))],
        columns=["s", "i", "j", "y"],
    )
    table = anova_lm(ols("y ~ C(i) * C(j) + C(s) + C(i):C(s) + C(j):C(s)", frame).fit())
    square = {name.replace("C(", "").replace(")", ""): row["sum_sq"] / row["df"] for name, row in table.iterrows()}
    whole = square["Residual"]
    error, relationship = whole, (square["i:j"] - whole) / k
    of_sessions = [(square["i:s"] - whole) / m, (square["j:s"] - whole) / n]
    person = (square["i"] - square["i:j"] - square["i:s"] + whole) / (m * k)
    partner = (square["j"] - square["i:j"] - square["j:s"] + whole) / (n * k)
    want = [person, partner, relationship, *of_sessions, error]
    assert_allclose(variance_parts(Block(n, m), values)[:, 0], want, rtol=1e-9)


def test_a_block_agrees_with_restricted_likelihood():
    """Balanced and all positive, REML gives the moment estimates (statsmodels MixedLM)."""
    import pandas as pd
    from statsmodels.regression.mixed_linear_model import MixedLM

    n, m = 6, 5
    values = 2 * normal(n, 1, seed=3) + 1.5 * normal(1, m, seed=4) + normal(n, m, seed=5)
    frame = pd.DataFrame(
        [(i, j, values[i, j]) for i, j in itertools.product(range(n), range(m))], columns=["i", "j", "y"]
    ).assign(one=1)
    fit = MixedLM.from_formula("y ~ 1", frame, groups="one", vc_formula={"i": "0 + C(i)", "j": "0 + C(j)"}).fit()
    got = variance_parts(Block(n, m), values[None, :, :, None])[:, 0]
    assert_allclose(got[[0, 1, 5]], [*fit.vcomp, fit.scale], rtol=2e-3)
    assert np.isnan(got[2:5]).all()


def test_round_robin_effects_are_those_of_least_squares():
    n = 5
    values = normal(n, n, 2)
    i, j = np.nonzero(~np.eye(n, dtype=bool))
    columns = np.column_stack([np.ones(len(i)), np.eye(n)[i], np.eye(n)[j]])
    # Least squares without a penalty leaves the two sums of effects free: they are held at 0.
    held = np.zeros((2, 2 * n + 1))
    held[0, 1 : n + 1] = held[1, n + 1 :] = 1
    solved = np.linalg.lstsq(np.vstack([columns, held]), np.vstack([values[i, j], np.zeros((2, 2))]), rcond=None)[0]
    got = RoundRobin(n).effects(values)
    assert_allclose(got.mean, solved[0], rtol=1e-10)
    assert_allclose(got.person, solved[1 : n + 1], atol=1e-12)
    assert_allclose(got.partner, solved[n + 1 :], atol=1e-12)
    assert_allclose(got.relationship[i, j], values[i, j] - columns @ solved, atol=1e-12)


# --- draws ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", DESIGNS)
def test_draws_of_relationships_are_estimates_of_relabelled_sessions(kind):
    design = DESIGNS[kind]
    values = normal(3, design.n_persons, design.n_partners, 2)
    plan = shuffled(RelabelledSessions.places(design, "123"), 30, list_up_to=1)
    test = RelabelledSessions(design, design.effects(values).relationship, plan)
    got = test.drawn(0, 31)
    assert_allclose(got[0], variance_parts(design, values)[2], rtol=1e-9)
    sizes = [design.n_persons] + [design.n_partners] * (kind == "block")
    for draw, order in enumerate(plan.take(0, 31)):
        made, start = values.copy(), 0
        for session in (1, 2):
            places = []
            for size in sizes:
                places.append(order[start : start + size] - start)
                assert_array_equal(np.sort(places[-1]), np.arange(size))
                start += size
            made[session] = values[session][np.ix_(places[0], places[-1])]
        assert_allclose(got[draw], variance_parts(design, made)[2], rtol=1e-9)


@pytest.mark.parametrize("kind", DESIGNS)
@pytest.mark.parametrize("part", ["person", "partner"])
def test_draws_of_persons_are_estimates_of_scattered_values(kind, part):
    design = DESIGNS[kind]
    values = normal(design.n_persons, design.n_partners, 2)
    values[np.eye(*values.shape[:2], dtype=bool)] *= kind == "block"
    plan = shuffled(ScatteredValues.places(design, part), 20, list_up_to=1)
    test = ScatteredValues(design, part, values, plan)
    for draw, order in enumerate(plan.take(0, 21)):
        made = test._scattered(order)
        if kind == "block":
            axis = 0 if part == "person" else 1
            assert_allclose(np.sort(made, axis=axis), np.sort(values, axis=axis))
        else:
            i, j = np.triu_indices(5, 1)
            pairs = {tuple(v) for v in np.c_[values[i, j], values[j, i]]}
            assert {tuple(v) for v in np.c_[made[i, j], made[j, i]]} == pairs
        want = variance_parts(design, made[None])[PARTS.index(part)]
        assert_allclose(test.drawn(draw, draw + 1)[0], want, rtol=1e-12)


# --- rates ------------------------------------------------------------------------------------------------------------

N_STUDIES = 2000


def study(design, *, seed, **spread):
    """Values [session, person, partner, study] of two sessions; `spread` holds standard deviations by part."""
    random = np.random.default_rng(seed)
    n, m = design.n_persons, design.n_partners
    shapes = {
        "person": (1, n, 1), "partner": (1, 1, m), "relationship": (1, n, m),
        "person_session": (2, n, 1), "partner_session": (2, 1, m), "error": (2, n, m),
    }  # fmt: skip
    parts = [sd * random.standard_normal((*shapes[part], N_STUDIES)) for part, sd in {"error": 1.0, **spread}.items()]
    return np.sum([np.broadcast_to(part, (2, n, m, N_STUDIES)) for part in parts], axis=0)


def mirrored(design, *, seed, person=0.0, relationship=0.0, person_session=0.0):
    """The same for channel pairs of one channel, whose value is the same from either side."""
    random = np.random.default_rng(seed)
    n = design.n_persons
    both = random.standard_normal((2, n, n, N_STUDIES)) + relationship * random.standard_normal((1, n, n, N_STUDIES))
    upper = np.triu(np.ones((n, n), bool), 1)[..., None]
    both = np.where(upper, both, 0)
    own = person * random.standard_normal((1, n, N_STUDIES))
    own = own + person_session * random.standard_normal((2, n, N_STUDIES))
    return both + both.swapaxes(1, 2) + own[:, :, None] + own[:, None]


def rejected(design, values, part):
    """Number of studies of whose part p is at most 0.05, and the rate of them that the listed draws allow."""
    if part == "relationship":
        plan = shuffled(RelabelledSessions.places(design, "12"), 1)
        test = RelabelledSessions(design, design.effects(values).relationship, plan)
    else:
        plan = shuffled(ScatteredValues.places(design, part), 1)
        test = ScatteredValues(design, part, values.mean(axis=0), plan)
    assert plan.listed
    # Draws in which people have only changed their names are as good as the observed one.
    alike = {"relationship": 1, "person": factorial(design.n_persons), "partner": factorial(design.n_partners)}[part]
    every = test.drawn(0, plan.n + 1)
    p = (every >= every[0] - 1e-9).mean(axis=0)
    step = alike / (plan.n + 1)
    return int((p <= 0.05 + 1e-12).sum()), int(0.05 / step + 1e-9) * step


FOUR, FIVE = RoundRobin(4), RoundRobin(5)
NOTHING = {
    "relationship, block": (DESIGNS["block"], "relationship", {"person": 1, "partner": 1}),
    "relationship, states": (DESIGNS["block"], "relationship", {"person_session": 1, "partner_session": 1}),
    "relationship, round robin": (FIVE, "relationship", {"person": 1, "partner": 1, "person_session": 1}),
    "person, block": (Block(3, 3), "person", {"partner": 1, "relationship": 1, "partner_session": 1}),
    "partner, block": (Block(3, 3), "partner", {"person": 1, "relationship": 1}),
    "person, round robin": (FOUR, "person", {"relationship": 1}),
}


def as_many_as_chance(found, rate, n=N_STUDIES):
    low, high = binom.ppf([0.0005, 0.9995], n, rate)
    return low <= found <= high


@pytest.mark.parametrize("name", NOTHING)
def test_a_part_that_is_not_there_is_rarely_found(name):
    design, part, spread = NOTHING[name]
    assert as_many_as_chance(*rejected(design, study(design, seed=len(name), **spread), part))


def test_nor_are_relationships_where_both_sides_show_the_same():
    values = mirrored(FIVE, seed=3, person=1.0, person_session=1.0)
    assert as_many_as_chance(*rejected(FIVE, values, "relationship"))


@pytest.mark.slow
def test_nor_are_persons_where_both_sides_show_the_same():
    """With five persons meetings are drawn, for each study by itself."""
    values, found, n = mirrored(FIVE, seed=4, relationship=1.0), 0, 400
    for number in range(n):
        plan = Draws.plan(ScatteredValues.places(FIVE, "person"), 99, number, list_up_to=1)
        every = ScatteredValues(FIVE, "person", values[..., [number]].mean(axis=0), plan).drawn(0, 100)
        found += (every >= every[0] - 1e-9).mean() <= 0.05
    assert as_many_as_chance(found, 0.05, n)


def test_a_partner_part_makes_the_test_of_persons_in_a_round_robin_stricter():
    found, rate = rejected(FOUR, study(FOUR, seed=1, partner=3.0), "person")
    assert found < binom.ppf(0.0005, N_STUDIES, rate)


@pytest.mark.parametrize("design", [DESIGNS["block"], FIVE], ids=["block", "round robin"])
def test_relationships_are_found(design):
    found, _ = rejected(design, study(design, seed=2, person=1, partner=1, relationship=2.0), "relationship")
    assert found > 0.6 * N_STUDIES


# --- the face ---------------------------------------------------------------------------------------------------------

CHANNELS = ("S1_D1", "S1_D2")


def block(n=4, m=3, n_sessions=3, seed=0):
    """Synchrony of all clients with all therapists, and the values [session, person, partner, feature]."""
    values = 0.3 + 0.03 * normal(n_sessions, n, m, 1, 2, 2, 2, seed=seed)
    values += 0.05 * normal(1, n, m, 1, 2, 2, 2, seed=seed + 1)
    cells = list(itertools.product(range(n_sessions), range(n), range(m)))
    rows = [(f"c{i}t{j}", str(s + 1), f"t{j}", "therapist") for s, i, j in cells]
    real = dataset(rows, [f"c{i}" for _, i, _ in cells], np.array([values[cell] for cell in cells]), CHANNELS)
    return real, values.reshape(n_sessions, n, m, -1)


def robin(n=5, n_sessions=2, seed=0):
    """All persons with each other, and the values [session, person, partner, feature] from either side."""
    one = 0.3 + 0.03 * normal(n_sessions, n, n, 1, 2, 2, 2, seed=seed)
    i, j = np.triu_indices(n, 1)
    one[:, j, i] = one[:, i, j].swapaxes(3, 4)
    cells = [(s, a, b) for s in range(n_sessions) for a, b in zip(i, j, strict=True)]
    rows = [(f"d{a}{b}", str(s + 1), f"p{b}", "peer") for s, a, b in cells]
    real = dataset(rows, [f"p{a}" for _, a, _ in cells], np.array([one[cell] for cell in cells]), CHANNELS)
    return real.assign_coords(role_a=("dyad", ["peer"] * len(rows))), one.reshape(n_sessions, n, n, -1)


def test_a_block_is_taken_apart():
    real, values = block()
    got = ibsync.relations(real, n=300, correct=["max"])
    ds, design = got.dataset, Block(4, 3)
    want = variance_parts(design, values)
    assert list(ds["part"].values) == list(PARTS)
    assert_allclose(ds["variance"].values.reshape(6, -1), want, rtol=1e-9)
    assert_allclose(ds["group_statistic"].values.ravel(), want[2], rtol=1e-9)
    mean = values.mean(axis=0)
    assert_allclose(ds["value"].values.reshape(4, 3, -1), mean, rtol=1e-12)
    assert_array_equal(ds["dyad"].values, [f"c{i}t{j}" for i in range(4) for j in range(3)])
    assert_array_equal(ds["person_b"].values[:3], ["t0", "t1", "t2"])
    effects = design.effects(mean)
    assert_allclose(ds["person_effect"].values.reshape(4, -1), effects.person, atol=1e-12)
    assert_allclose(ds["partner_effect"].values.reshape(3, -1), effects.partner, atol=1e-12)
    assert_allclose(ds["relationship_effect"].values.reshape(4, 3, -1), effects.relationship, atol=1e-12)
    assert (ds["p_max"] < 0.05).all()


@pytest.mark.slow
@pytest.mark.parametrize("part", ["relationship", "person", "partner"])
def test_words_and_files(tmp_path, part):
    real, _ = block()
    got = ibsync.relations(real, part, n=300, correct=["max"])
    assert f"a {part} part of the variance of coherence above zero" in got.headline
    assert got.hypothesis.startswith(f"Tested: a {part} part of the variance of coherence above zero, against")
    assert "12 dyads of a block (4 persons with 3 partners, 3 sessions)" in got.methods()
    assert "Warner, Kenny & Stoto 1979, J. Pers. Soc. Psychol. 37:1742" in got.methods()
    back = ibsync.load(got.save(tmp_path / "relations.h5"))
    assert (back.headline, back.methods(), str(back)) == (got.headline, got.methods(), str(got))
    assert "part of the variance" in ibsync.report(back, tmp_path / "r.html").read_text(encoding="utf-8")
    assert got.to_frame().shape[0] == 8 * 13


def test_a_round_robin_is_taken_apart_whichever_side_a_person_was_on():
    real, values = robin()
    got = relations(real, n=50, correct=[]).dataset
    assert got.attrs["exact"] == 1
    assert_allclose(got["variance"].values.reshape(6, -1), variance_parts(RoundRobin(5), values), rtol=1e-9, atol=1e-15)
    assert got.sizes["dyad"] == 10
    flip = np.arange(real.sizes["dyad"]) % 3 == 0
    turned = real.copy(deep=True)
    turned["coherence"].values[flip] = np.swapaxes(real["coherence"].values[flip], 2, 3)
    a, b = real["person_a"].values, real["person_b"].values
    turned = turned.assign_coords(person_a=("dyad", np.where(flip, b, a)), person_b=("dyad", np.where(flip, a, b)))
    turned = turned.isel(dyad=np.random.default_rng(0).permutation(len(flip)), channel_b=[1, 0])
    other = relations(turned, n=50, correct=[]).dataset
    for name in ("variance", "p", "person_effect", "relationship_effect"):
        assert_allclose(other[name].values, got[name].values, rtol=1e-9, atol=1e-15, err_msg=name)


def test_one_session_tells_no_relationship_from_error():
    real, values = block(n_sessions=1)
    got = relations(real, "person", n=50, correct=[]).dataset
    assert_allclose(got["variance"].values.reshape(6, -1), variance_parts(Block(4, 3), values), rtol=1e-9)
    assert np.isnan(got["variance"].sel(part="relationship")).all()
    plan_refusal(partial(relations, real), "in which a relationship cannot be told from error: record two")


def test_the_persons_are_those_of_a_role():
    real, _ = block()
    swapped = relations(real, persons="therapist", n=50, correct=[]).dataset
    plain = relations(real, n=50, correct=[]).dataset
    want = plain["variance"].transpose("part", "epoch", "channel_b", "channel_a", "band").values
    assert_allclose(swapped["variance"].sel(part="person").values, want[1], rtol=1e-9)
    assert list(swapped["person"].values) == ["t0", "t1", "t2"]
    plan_refusal(partial(relations, real, persons="therapists"), "did you mean 'therapist'?")


def test_what_does_not_enter_is_named():
    real, values = block()
    cut = real.isel(dyad=np.flatnonzero((real["dyad"] != "c1t2") | (real["session"] != "2")))
    cut["coherence"].values[0, 0, 1, 1, 0] = np.nan
    with pytest.warns(RuntimeWarning) as caught:
        got = relations(cut, n=50, correct=[])
    assert str(caught[0].message) == (
        "session '2' is left out, it lacks a dyad; 1 features are not tested, they lack a value of a dyad"
    )
    assert np.isnan(got.dataset["p"].values[0, 1, 1, 0])
    assert np.isfinite(got.dataset["p"].values).sum() == 7
    want = variance_parts(Block(4, 3), values[[0, 2]]).reshape(6, 1, 2, 2, 2)
    assert_allclose(got.dataset["variance"].values[:, 0, 0], want[:, 0, 0], rtol=1e-9)
    assert "session '2' is left out" in got.methods()


def test_what_cannot_be_taken_apart_is_refused_by_name():
    real, _ = block()
    some = real.isel(dyad=np.flatnonzero(~np.isin(real["dyad"], ["c1t2", "c3t0"])))
    plan_refusal(partial(relations, some), "lacks 'c1' with 't2', 'c3' with 't0'; parts of synchrony need that")
    one = real.isel(dyad=np.flatnonzero(real["person_b"] == "t1"))
    plan_refusal(partial(relations, one), "'t1' is the only partner")
    few, _ = robin(3)
    plan_refusal(partial(relations, few), "a round robin needs 4 persons, there are 3")
    peers, _ = robin()
    plan_refusal(partial(relations, peers.assign_coords(channel_b=["S1_D1", "own"])), "channel 'S1_D2' is known of one")
    plan_refusal(partial(relations, peers, persons="peer"), "needs dyads of two roles")
    plan_refusal(
        partial(relations, peers.isel(dyad=slice(1, 10))), "lacks 'p0' with 'p1'; parts of synchrony need that"
    )
    import xarray as xr

    twice = xr.concat([real, real.isel(dyad=[0])], "dyad")
    plan_refusal(partial(relations, twice), "has session '1' twice; leave one of the rows out")
    names = twice["dyad"].values.astype(object)
    names[-1] = "again"
    renamed = twice.assign_coords(dyad=names)
    plan_refusal(partial(relations, renamed), "'c0' and 't0' stand twice in session '1'")
    plan_refusal(partial(relations, real, "couple"), "part='couple' is unknown")
    small, _ = block(3, 2)
    plan_refusal(partial(relations, small, "person", correct=["max"]), "6 dyads allow only 6 permutations that differ")
