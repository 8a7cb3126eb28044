"""Interchangeable roles: every perfect matching once, p against a slow loop, and nobody is first."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from fits import draw_statistics, fitted_out
from numpy.testing import assert_allclose, assert_array_equal
from permuted import repair_test

import ibsync as ibs
from ibsync.commands.calibrate import calibrate_plan
from ibsync.commands.plan_file import read_plan
from ibsync.commands.run import readiness, run_plan
from ibsync.coupling.engine import Engine
from ibsync.coupling.spec import WTC
from ibsync.errors import PlanError
from ibsync.inference.attainable import attainable
from ibsync.inference.repaired_test import dyad_summary
from ibsync.inference.settings import TestSettings as Settings
from ibsync.nulls.draws import Draws
from ibsync.nulls.rematching import Matchings
from ibsync.nulls.repaired_null import RepairedNull, closed_moments, group_means
from ibsync.recordings.recording import DyadRow, Recording
from ibsync.recordings.study_file import write_study

SPEC = WTC({"slow": (0.1, 0.3)})
SFREQ, N, CHANNELS = 5.0, 300, ("S1_D1", "S2_D2", "S3_D3")


def all_matchings(people):
    """Every way to put people together two by two, slowly: lists of frozensets."""
    if not people:
        return [[]]
    first, rest = people[0], people[1:]
    return [
        [frozenset((first, other)), *more]
        for other in rest
        for more in all_matchings([person for person in rest if person != other])
    ]


def design_of(n, strata=None):
    dyads = [f"d{row:02d}" for row in range(n)]
    return Matchings.of(dyads, [f"{d}-a" for d in dyads], [f"{d}-b" for d in dyads], strata)


def named(design, partners):
    """A draw as a set of pairs of names."""
    people = (*design.persons_a, *design.persons_b)
    return frozenset(frozenset((people[p], people[q])) for p, q in enumerate(partners))


def symmetric(values):
    return (values + np.swapaxes(values, 1, 2)) / 2


def random_values(n_dyads, n_features, *, n_sessions=1, gain=0.0, seed=0):
    values = symmetric(np.random.default_rng(seed).beta(4, 8, (n_sessions, 2 * n_dyads, 2 * n_dyads, n_features)))
    for d in range(n_dyads):
        values[:, d, n_dyads + d] += gain
        values[:, n_dyads + d, d] += gain
    return values


def null_of(values, design=None, n=200, seed=1, **options):
    draws = Draws.plan(design or design_of(values.shape[1] // 2), n, seed, **options)
    return RepairedNull(values, draws, tuple(f"s{number}" for number in range(len(values))))


def all_means(values):
    """Group statistic of all matchings straight from the definition, the real one first: [matching, feature]."""
    n = values.shape[1] // 2
    real = [(d, n + d) for d in range(n)]
    fitted = fitted_out(values, real, np.triu(np.ones((2 * n, 2 * n), bool), k=1), one_role=True)
    matchings = [[sorted(pair) for pair in m] for m in all_matchings(list(range(2 * n)))]
    matchings = np.array([real, *(m for m in matchings if m != [[*pair] for pair in real])])
    return draw_statistics(
        fitted, np.stack([fitted[:, m[:, 0], m[:, 1]].reshape(-1, values.shape[3]) for m in matchings])
    )


# --- which matchings --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "count"), [(2, 3), (3, 15), (4, 105), (5, 945), (6, 10_395)])
def test_every_matching_is_listed_once_the_real_one_first(n, count):
    design = design_of(n)
    draws = Draws.plan(design, 10, seed=0)
    listed = draws.take(0, draws.n + 1)
    assert draws.listed
    assert draws.n + 1 == design.n_ways == count == Matchings.ways(n)
    assert draws.min_p == 1 / count
    assert_array_equal(listed[0], [*range(n, 2 * n), *range(n)])
    assert_array_equal(np.take_along_axis(listed, listed, axis=1), np.broadcast_to(np.arange(2 * n), listed.shape))
    assert (listed != np.arange(2 * n)).all()
    assert len({tuple(row) for row in listed.tolist()}) == count


def test_the_list_is_that_of_the_definition():
    people = [person for d in range(3) for person in (f"d{d:02d}-a", f"d{d:02d}-b")]
    design = design_of(3)
    got = [named(design, row) for row in design.listed(np.arange(15))]
    assert got == [frozenset(matching) for matching in all_matchings(people)]


def test_blocks_are_never_mixed_and_the_count_is_the_product():
    site = list("xyxyxzyz")
    design = design_of(8, {"site": site})
    assert design.n_ways == 15 * 15 * 3
    for draws in (Draws.plan(design, 1, seed=0), Draws.plan(design, 600, seed=0, list_up_to=1)):
        drawn = draws.take(0, draws.n + 1)
        assert all(site[p % 8] == site[q % 8] for row in drawn for p, q in enumerate(row))
        assert draws.listed == (len({tuple(row) for row in drawn.tolist()}) == len(drawn) == 675)


@pytest.mark.parametrize(("n", "seed"), [(3, 5), (2, 6)])
def test_random_matchings_are_uniform(n, seed):
    from scipy.stats import chisquare

    draws = Draws(design_of(n), 30_000, seed, listed=False)
    _, counts = np.unique(draws.take(1, 30_001), axis=0, return_counts=True)
    assert len(counts) == Matchings.ways(n)
    assert chisquare(counts).pvalue > 1e-4


def test_blocks_are_drawn_independently():
    drawn = Draws(design_of(6, {"site": list("xxxyyy")}), 400, 1, listed=False).take(1, 401)
    places = np.searchsorted([0, 1, 2, 6, 7, 8], drawn[:, [0, 1, 2, 6, 7, 8]])
    others = np.searchsorted([3, 4, 5, 9, 10, 11], drawn[:, [3, 4, 5, 9, 10, 11]])
    # Of 15 matchings the other block has the same one in 1 of 15 draws.
    assert 10 < (places == others).all(axis=1).sum() < 50


@pytest.mark.parametrize("n_splits", [1, 2, 7])
def test_a_draw_does_not_know_its_range(n_splits):
    random = Draws.plan(design_of(12, {"group": list("aabbaabbaabb")}), 500, 3, list_up_to=0)
    for source in (random, Draws.plan(design_of(5), 1, 3)):
        edges = np.linspace(0, 501, n_splits + 1).astype(int)
        parts = [source.take(start, stop) for start, stop in itertools.pairwise(edges)]
        assert_array_equal(np.concatenate(parts), source.take(0, 501))
        assert_array_equal(source.take(0, 1)[0], source.design.real)


@pytest.mark.parametrize("list_up_to", [0, 10_000])
def test_draws_know_neither_the_order_of_rows_nor_who_is_first(list_up_to):
    first, second = ["kim", "lee", "ada", "bo", "cy"], ["zoe", "abe", "max", "ned", "amy"]
    order, swapped = [3, 1, 4, 0, 2], {1, 4}
    mixed = [(second[i], first[i]) if i in swapped else (first[i], second[i]) for i in order]
    plain = Matchings.of(list("vwxyz"), first, second)
    other = Matchings.of(["vwxyz"[i] for i in order], *map(list, zip(*mixed, strict=True)))
    draws = [Draws.plan(design, 60, 9, list_up_to=list_up_to) for design in (plain, other)]
    got = [[named(d.design, row) for row in d.take(0, 61)] for d in draws]
    assert draws[0].listed == bool(list_up_to)
    assert got[0] == got[1]
    assert len(set(got[0])) > 50


def test_random_draws_do_not_know_the_real_pairing():
    names = [f"p{k}" for k in range(12)]
    one = Matchings.of(list("uvwxyz"), names[:6], names[6:])
    two = Matchings.of(list("uvwxyz"), names[0::2], names[1::2])
    got = [[named(d, row) for row in Draws(d, 40, 2, listed=False).take(0, 41)] for d in (one, two)]
    assert got[0][1:] == got[1][1:]
    assert got[0][0] != got[1][0]


def test_designs_that_cannot_be_matched_are_refused():
    with pytest.raises(PlanError, match="at least 2 dyads, found 1"):
        design_of(1)
    with pytest.raises(PlanError, match=r"'d02' is alone in its block \(site=y\)"):
        design_of(4, {"site": list("xxyx")})
    with pytest.raises(PlanError, match="'x' is in dyads 'd1', 'd2'"):
        Matchings.of(["d1", "d2"], ["x", "y"], ["p", "x"])
    with pytest.raises(PlanError, match=r"\(1, 6, 6\)"):
        RepairedNull(np.zeros((1, 3, 3, 4)), Draws.plan(design_of(3), 9, 0), ("s0",))


def test_a_shortfall_counts_matchings():
    settings = Settings(tail="greater", correct=["max"], alpha=0.01)
    said = attainable(settings, 1, Draws.plan(design_of(3), 10, 0))
    assert "3 dyads allow only 15" in said
    assert "at least 4 dyads" in said
    assert not attainable(settings, 1, Draws.plan(design_of(4), 10, 0))


# --- the test ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tail", ["greater", "less", "two-sided"])
@pytest.mark.parametrize(("n", "gaps"), [(3, False), (4, False), (4, True)])
def test_exact_p_equals_a_slow_loop_over_all_matchings(n, gaps, tail):
    values = random_values(n, 4, n_sessions=2, gain=0.05, seed=n)
    if gaps:
        values[1, [1, n + 1]] = values[1, :, [1, n + 1]] = np.nan
        values[:, 2, :, 0] = values[:, :, 2, 0] = np.nan
    got = repair_test(null_of(values), tail=tail)
    means = all_means(values)
    real = means[0]
    upper, lower = ((sign * (means - real) >= -1e-12).mean(axis=0) for sign in (1, -1))
    expected = {"greater": upper, "less": lower, "two-sided": np.minimum(1, 2 * np.minimum(upper, lower))}[tail]
    assert len(means) == Matchings.ways(n)
    assert_allclose(got["p"], expected, rtol=1e-13)
    assert_allclose(got["group_statistic"], real, rtol=1e-13)
    z = (means - means.mean(axis=0)) / means.std(axis=0)
    oriented = {"greater": z, "less": -z, "two-sided": np.abs(z)}[tail]
    zr = (real - means.mean(axis=0)) / means.std(axis=0)
    best = {"greater": zr, "less": -zr, "two-sided": np.abs(zr)}[tail]
    single = (oriented.max(axis=1)[:, None] >= best - 1e-12).mean(axis=0)
    assert_allclose(got["p_max_single"], np.fmax(expected, single), rtol=1e-13)


def test_smallest_p_is_one_over_the_number_of_matchings():
    got = repair_test(null_of(random_values(4, 1, gain=1.0)))
    assert got["p"][0] == 1 / 105
    assert got["n_dyads"][0] == 4


@pytest.mark.parametrize("strata", [None, {"site": list("xxyyy")}, {"site": list("xyxyx")}])
def test_closed_form_moments_equal_those_of_all_matchings(strata):
    null = null_of(random_values(5, 4, n_sessions=2, seed=3), design_of(5, strata))
    everything = group_means(null.pair_sums(), null.design.pairs_of(null.draws.take(0, null.draws.n + 1)))
    mean, sd = closed_moments(null.pair_sums(), null.design)
    assert len(everything) == null.design.n_ways
    assert_allclose(mean, everything.mean(axis=0), rtol=1e-12)
    assert_allclose(sd, everything.std(axis=0), rtol=1e-10)


def test_moments_of_two_dyads():
    values = random_values(2, 3, seed=8)
    moments = closed_moments(null_of(values).pair_sums(), null_of(values).design)
    assert_allclose(moments, [all_means(values).mean(axis=0), all_means(values).std(axis=0)], 1e-12)


def test_moments_with_missing_people_come_from_all_matchings():
    values = random_values(4, 4, seed=4)
    for person, feature in ((5, 0), (2, 0), (7, 3)):
        values[0, person, :, feature] = values[0, :, person, feature] = np.nan
    values[..., 1] = np.nan
    got = repair_test(null_of(values))
    means = all_means(values)[:, [0, 2, 3]]
    assert_allclose(got["group_null_mean"][[0, 2, 3]], means.mean(axis=0), rtol=1e-12)
    assert_allclose(got["group_null_sd"][[0, 2, 3]], means.std(axis=0), rtol=1e-12)
    # With one person missing every matching has three values, with two it has two or three.
    closed = closed_moments(null_of(values).pair_sums(), null_of(values).design)
    assert_array_equal(np.isfinite(closed), [[False, False, True, True]] * 2)
    assert np.isnan(got["group_null_mean"][1])


def test_centred_values_sum_to_nothing_over_anybody():
    design = design_of(5, {"site": list("xyxyx")})
    table = np.random.default_rng(1).random((len(design.pairs), 2))
    centred = design.centred(table)
    for person in range(10):
        assert_allclose(centred[(design.pairs == person).any(axis=1)].sum(axis=0), 0, atol=1e-14)
    effect = np.random.default_rng(2).normal(size=10)[design.pairs].sum(axis=1)
    assert_allclose(design.centred(table + effect[:, None]), centred, atol=1e-13)
    assert np.abs(centred).max() > 0.1


@pytest.mark.parametrize("n", [4, 9])
def test_effects_of_persons_leave_every_count_as_it_is(n):
    values = random_values(n, 6, gain=0.03, seed=2)
    effect = np.random.default_rng(5).normal(size=(2 * n, 6))
    null = null_of(values, n=999)
    other = replace(null, pair_values=values + effect[:, None] + effect)
    plain, moved = repair_test(null), repair_test(other)
    for name in ("exceedances", "p", "p_max", "p_fdr"):
        assert_array_equal(plain[name], moved[name])
    assert null.draws.listed == (n == 4)
    assert np.abs(plain["group_statistic"] - moved["group_statistic"]).min() > 1e-3


@pytest.mark.parametrize("n", [4, 9])
def test_calling_the_other_person_first_leaves_every_count_as_it_is(n):
    values = random_values(n, 6, n_sessions=2, gain=0.03, seed=6)
    values[1, 2] = values[1, :, 2] = np.nan
    null = null_of(values, n=999)
    moved = np.arange(2 * n)
    moved[[1, n + 1, 3, n + 3]] = [n + 1, 1, n + 3, 3]
    old = null.design
    people = [[*old.persons_a, *old.persons_b][p] for p in moved]
    design = Matchings.of(old.dyads, people[:n], people[n:])
    other = replace(null, pair_values=values[:, moved][:, :, moved], draws=replace(null.draws, design=design))
    plain, swapped = repair_test(null), repair_test(other)
    for name in ("exceedances", "p", "p_max", "p_fdr", "n_dyads"):
        assert_array_equal(plain[name], swapped[name])
    for one, two in zip(dyad_summary(null).values(), dyad_summary(other).values(), strict=True):
        assert_allclose(one, two, rtol=1e-12)


@pytest.mark.slow
def test_under_the_hypothesis_the_test_keeps_its_level():
    """400 studies of four dyads, whose people differ: family-wise over three features, and each by itself."""
    from scipy.stats import binom

    random = np.random.default_rng(20)
    draws = Draws.plan(design_of(4), 10, 0)
    found = []
    for _ in range(400):
        person = random.normal(size=(8, 3))
        noise = random.normal(size=(1, 8, 8, 3))
        values = symmetric(noise + 0.8 * random.normal(size=(1, 8, 8, 1))) + person[:, None] + person
        found.append([repair_test(RepairedNull(values, draws, ("s",)), workers=1)[name] for name in ("p", "p_max")])
    p, p_max = np.array(found).transpose(1, 0, 2)
    low, high = binom.interval(0.999, 400, 5 / 105)  # 5 of 105 is the largest level below 0.05
    assert all(low <= count <= high for count in (p <= 0.05).sum(axis=0))
    assert low <= (p_max.min(axis=1) <= 0.05).sum() <= high


def test_a_dyad_stands_against_its_own_people_with_strangers():
    values = random_values(5, 2, seed=9)
    design = design_of(5, {"site": list("xyxyx")})
    got = dyad_summary(null_of(values, design))
    for d in range(5):
        strangers = [p for p in range(10) if p % 2 == d % 5 % 2 and p < 5 and p != d]
        strangers += [5 + p for p in strangers]
        others = np.array([values[0, mine, p] for mine in (d, 5 + d) for p in strangers])
        own = values[0, d, 5 + d]
        assert_allclose(got["statistic"][0, d], own)
        assert_allclose(got["null_mean"][0, d], others.mean(axis=0))
        assert_allclose(got["null_sd"][0, d], others.std(axis=0, ddof=1))
        assert_allclose(got["percentile"][0, d], 100 * ((others <= own).sum(axis=0) + 1) / (len(others) + 1))


def test_real_cells_are_the_real_dyads():
    design = design_of(4, {"site": list("xyxy")})
    assert_array_equal(design.pairs[design.real_pairs[0]], [(d, 4 + d) for d in range(4)])


# --- studies ----------------------------------------------------------------------------------------------------------


def signals(dyad, person):
    common = np.random.default_rng([dyad, 7]).standard_normal((len(CHANNELS), N))
    own = np.random.default_rng([dyad, person + 1]).standard_normal((len(CHANNELS), N))
    return (common + own).astype(np.float32)


def made(path, n=4, swapped=(), bad=(), channels_b=CHANNELS):
    """A study of n dyads; in `swapped` the second person is called the first, of `bad` people channel 1 is bad."""
    rows, recordings = [], []
    for d in range(n):
        pair = []
        for person in (0, 1):
            names = channels_b if person else CHANNELS
            good = tuple((d, person) not in bad or k != 1 for k in range(len(names)))
            one = Recording(
                f"d{d}{person}", f"p{d}{'ab'[person]}", session="", task="", run="", sfreq=SFREQ, n_samples=N, t0=0.0,
                channels=names, signal_names=("hbo", "hbr"), good=good, events=(),
            )  # fmt: skip
            x = signals(d, person)
            recordings.append((one, {"hbo": x, "hbr": -x[:, ::-1]}))
            pair.append(one)
        a, b = pair[::-1] if d in swapped else pair
        rows.append(DyadRow(f"d{d}", "", "", a, b, a.participant, b.participant))
    write_study(path, recordings, {}, rows)
    return ibs.Study.open(path)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return made(tmp_path_factory.mktemp("friends") / "s.h5")


def shaped(null):
    """[person, person, channel_a, channel_b] of the only session, epoch and band."""
    return null.pair_values[0].reshape(*null.pair_values.shape[1:3], len(CHANNELS), len(CHANNELS))


@pytest.mark.parametrize("budget", [1, 1 << 28])
def test_pair_values_are_the_mean_of_both_orders(study, monkeypatch, budget):
    monkeypatch.setattr("ibsync.study.runner.FEATURE_BYTES", budget)
    values = shaped(study.null(SPEC, roles="interchangeable"))
    for accuracy, pairs in (
        ("exact", itertools.combinations(range(8), 2)),
        ("reference", [(0, 4), (1, 0), (2, 7), (5, 6)]),
    ):
        engine = Engine(N, SFREQ, WTC(SPEC.bands, accuracy=accuracy))
        features = [engine.features(signals(p % 4, p // 4)) for p in range(8)]
        for p, q in pairs:
            of_p, of_q = features[p], features[q]
            one, other = (engine.coherence(*both).coherence[..., 0, 0] for both in ((of_p, of_q), (of_q, of_p)))
            assert_allclose(values[p, q], (one + other) / 2, atol=1e-5)
    assert_array_equal(values, np.swapaxes(values, 0, 1))
    assert_array_equal(values, np.swapaxes(values, 2, 3))
    assert np.isnan(values[range(8), range(8)]).all()


def test_a_bad_channel_is_missing_in_both_orders(tmp_path):
    values = shaped(made(tmp_path / "s.h5", bad=[(2, 1)]).null(SPEC, roles="interchangeable"))
    others = [p for p in range(8) if p != 6]
    assert np.isnan(values[6, :, 1]).all()
    assert np.isnan(values[6, :, :, 1]).all()
    assert np.isfinite(values[6, others][:, [0, 2]][:, :, [0, 2]]).all()
    assert np.isfinite(values[0, 4]).all()


@pytest.mark.parametrize("pairs", ["same", [("S1_D1", "S2_D2"), ("S3_D3", "S3_D3")]])
def test_channel_pairs_keep_their_meaning(study, pairs):
    whole = shaped(study.null(SPEC, roles="interchangeable"))
    some = shaped(study.null(SPEC, roles="interchangeable", pairs=pairs))
    wanted = np.eye(3, dtype=bool) if pairs == "same" else np.array([[0, 1, 0], [0, 0, 0], [0, 0, 1]], bool)
    assert np.isnan(some[..., ~wanted]).all()
    assert_array_equal(some[..., wanted], whole[..., wanted])


@pytest.mark.parametrize(
    ("n", "measure"),
    [(9, "coherence"), *((4, m) for m in ("coherence", "phase_consistency", "in_phase", "anti_phase", "above"))],
)
def test_who_is_called_first_changes_no_p_of_a_study(tmp_path, measure, n):
    words = {"roles": "interchangeable", "n": 199, "measure": measure, "seed": 4}
    found = []
    for name, swapped in (("one", ()), ("two", (1, 3))):
        mine = made(tmp_path / f"{name}.h5", n, swapped, bad=[(2, 1)])
        found.append(ibs.test(mine.synchrony(SPEC), mine.null(SPEC, **words), correct=["max"], alpha=0.2))
    for name in ("p", "p_max", "exceedances", "n_near_ties", "n_dyads", "value"):
        assert_array_equal(found[0].dataset[name], found[1].dataset[name])
    for name in ("z", "percentile", "group_z"):
        assert_allclose(found[0].dataset[name], found[1].dataset[name], rtol=1e-6)
    assert_allclose(found[0].null["null_max"], found[1].null["null_max"], rtol=1e-6)
    assert found[0].dataset.attrs["exact"] == (n == 4)


def test_end_to_end(tmp_path):
    study = ibs.simulate(
        tmp_path / "s.h5", n_dyads=5, n_channels=2, duration=120, sfreq=5, coupling=0.7, coupled_band=(0.05, 0.2)
    )
    spec = WTC({"task": (0.05, 0.2)})
    real, null = study.synchrony(spec), study.null(spec, roles="interchangeable", seed=1)
    assert null.draws.listed
    assert null.draws.n == 944
    result = ibs.test(real, null, correct=["max"])
    data = result.dataset
    assert data.attrs["roles"] == "interchangeable"
    assert data.attrs["min_p"] == 1 / 945
    coherence = data["coherence"].transpose("dyad", "epoch", "channel_a", "channel_b", "band").values
    assert_array_equal(coherence, real["coherence"])
    both = (coherence + np.swapaxes(coherence, 2, 3)) / 2
    assert_allclose(data["value"].values, both, atol=1e-5)
    assert_allclose(data["group_statistic"].values, both.mean(axis=0), atol=1e-5)
    assert_allclose(data["z"] * data["null_sd"] + data["null_mean"], data["value"], atol=1e-9)
    own = data["p_max"].values[0, [0, 1], [0, 1], 0]
    assert (own <= 0.02).all()
    assert "re-matching of all persons" in result.methods()
    assert "any two persons of the same paradigm" in result.hypothesis
    assert "(all)" in set(result.to_frame()["dyad"])
    result.save(tmp_path / "r.h5")
    assert ibs.load(tmp_path / "r.h5").hypothesis == result.hypothesis
    again = ibs.load_null(ibs.save_null(null, tmp_path / "n.h5"))
    assert again.draws == null.draws
    assert isinstance(again.design, Matchings)
    assert_array_equal(ibs.test(real, again, correct=["max"]).dataset["p_max"], data["p_max"])


def test_signals_are_tested_together(study):
    signals_of_both = ("hbo", "hbr")
    nulls = [study.null(SPEC, roles="interchangeable", signal=c) for c in signals_of_both]
    reals = [study.synchrony(SPEC, signal=c) for c in signals_of_both]
    together = ibs.test_together(reals, nulls, correct=["max"])
    for result, real, null in zip(together, reals, nulls, strict=True):
        alone = ibs.test(real, null, correct=["max"]).dataset
        assert_array_equal(result.dataset["p"], alone["p"])
        assert (result.dataset["p_max"] >= alone["p_max"]).all()
        assert_array_equal(result.dataset["value"], alone["value"])
    mixed = [nulls[0], study.null(SPEC, signal="hbr")]
    with pytest.raises(PlanError, match="must share dyads"):
        ibs.test_together(reals, mixed, correct=[])


def test_fixed_roles_are_the_default_and_leave_no_trace(study):
    plain, said = study.null(SPEC, seed=2), study.null(SPEC, seed=2, roles="fixed")
    assert_array_equal(plain.pair_values, said.pair_values)
    assert plain.draws == said.draws
    assert plain.pair_values.shape[:3] == (1, 4, 4)
    result = ibs.test(study.synchrony(SPEC), plain, correct=[]).dataset
    assert "roles" not in result.attrs
    assert "statistic" not in result


def test_what_has_no_meaning_without_a_first_person_is_refused(study, tmp_path):
    def refused(call, *parts):
        with pytest.raises(PlanError) as caught:
            call()
        assert "\n" not in str(caught.value)
        for part in parts:
            assert part in str(caught.value)

    words = {"roles": "interchangeable"}
    for measure in ("a_leads", "b_leads"):
        refused(lambda measure=measure: study.null(SPEC, measure=measure, **words), repr(measure), "interchangeable")
    refused(lambda: study.null(SPEC, roles="swapped"), "roles='swapped'", "'fixed', 'interchangeable'")
    refused(lambda: study.null(SPEC, kind="phase", **words), "roles is for re-pairing", "'phase'")
    other = made(tmp_path / "other.h5", channels_b=(*CHANNELS[:2], "S4_D4"))
    refused(lambda: other.null(SPEC, **words), "'S3_D3'", "first persons only", "same names of both")
    epochs = {"talk": (5, 25), "rest": (30, 55)}
    real, null = study.synchrony(SPEC, epochs=epochs), study.null(SPEC, epochs=epochs, **words)
    refused(lambda: ibs.contrast(real, ("talk", "rest"), null=null), "interchangeable", "contrasts")


def test_a_plan_file_asks_for_it(study, tmp_path):
    text = f"""
study = "{study.path}"
output = "out.h5"
[wtc]
bands = {{ slow = [0.1, 0.3] }}
[null]
roles = "interchangeable"
[test]
correct = ["max"]
alpha = 0.02
"""
    plan = tmp_path / "plan.toml"
    plan.write_text(text, encoding="utf-8")
    assert read_plan(plan).null.roles == "interchangeable"
    assert readiness(study, read_plan(plan), estimate=False).problems == ()
    (outcome,) = run_plan(plan)
    data = outcome.result.dataset
    assert (data.attrs["roles"], data.attrs["n"]) == ("interchangeable", 104)
    with pytest.raises(PlanError, match=r"plan\.toml: null\.roles = 'interchangeable' is not offered"):
        calibrate_plan(study.path, plan, n_sims=10)
    plan.write_text(text.replace("interchangeable", "interchangable"), encoding="utf-8")
    with pytest.raises(PlanError, match=r"null\.roles = 'interchangable' .* did you mean 'interchangeable'"):
        read_plan(plan)
    plan.write_text(text.replace('"interchangeable"', '"fixed"'), encoding="utf-8")
    assert "4 dyads allow only 24" in readiness(study, read_plan(plan), estimate=False).problems[0]
