from functools import partial
from itertools import permutations

import numpy as np
import pytest
from meetings_made import made_meetings
from numpy.testing import assert_allclose, assert_array_equal
from permuted import freedman_lane, p_of_draws, sign_flip_test
from permuted import permutations as exchanges
from refusals import plan_refusal
from scipy.stats import binom

import ibsync
from ibsync.inference.associations import Associations, passed_over
from ibsync.nulls.hypotheses import SURROGATES
from ibsync.questions.transfer import transfer


def names(n):
    return [f"p{k + 1:02d}" for k in range(n)]


def shuffles(n_units, n=10_000, **options):
    return exchanges(names(n_units), n=n, **options)


def sides(n_units=9, n_features=4, *, slope=0.5, seed=0):
    random = np.random.default_rng(seed)
    first = random.standard_normal((n_units, n_features))
    return first, slope * first + random.standard_normal((n_units, n_features))


def band(rate, n):
    """Counts that a binomial variable leaves in 1 of 1000 cases."""
    return binom.ppf([0.0005, 0.9995], n, rate)


# --- the statistic ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_covariates", [0, 2])
@pytest.mark.parametrize("tail", ["greater", "less"])
def test_each_feature_is_the_test_of_one_outcome(n_covariates, tail):
    first, second = sides()
    nuisance = np.column_stack([np.ones(9), np.random.default_rng(1).standard_normal((9, n_covariates))])
    plan = shuffles(9, 400, list_up_to=1)
    test = Associations(first, second, nuisance, plan)
    got = p_of_draws(test, tail=tail)
    for at in range(4):
        want = freedman_lane(first[:, [at]], second[:, at], nuisance, plan, tail=tail, correct=[])
        assert got["p"][at] == want["p"][0]
        for name in ("group_statistic", "slope", "t"):
            assert_allclose(got[name][at], want[name][0], rtol=1e-12, err_msg=name)


def test_exact_p_equals_scipy():
    from scipy.stats import pearsonr, permutation_test

    first, second = sides(6)
    test = Associations(first, second, np.ones((6, 1)), shuffles(6))
    got = p_of_draws(test)
    for at, (x, y) in enumerate(zip(first.T, second.T, strict=True)):
        want = permutation_test(
            (y,), lambda other, x=x: pearsonr(x, other).statistic, permutation_type="pairings", n_resamples=np.inf
        )
        assert_allclose(got["p"][at], want.pvalue, rtol=1e-13)


def test_who_is_passed_over_leaves_every_order_as_likely():
    orders = np.array(list(permutations(range(5))))
    kept = np.array([0, 2, 3])
    induced, counts = np.unique(passed_over(orders, kept), axis=0, return_counts=True)
    assert_array_equal(induced, list(permutations(range(3))))
    assert_array_equal(counts, 20)
    # Unit 0 would take the value of unit 1, who takes that of unit 4, who takes that of unit 2.
    assert_array_equal(passed_over(np.array([[1, 4, 3, 0, 2]]), kept), [[1, 2, 0]])


def test_missing_values_on_either_side_leave_a_unit_out_of_that_feature():
    first, second = sides(7, 5)
    first[2, 1] = second[4, 1] = second[0, 2] = np.nan
    second[:4, 3] = np.nan
    second[:, 4] = 0.5
    plan = shuffles(7)
    test = Associations(first, second, np.ones((7, 1)), plan)
    got = p_of_draws(test, tail="greater")
    assert_array_equal(test.n_units, [7, 5, 6, 3, 7])
    assert_array_equal(np.isfinite(got["p"]), [True, True, True, False, False])
    assert test.n_tested == 3
    for at in (1, 2):
        here = np.isfinite(first[:, at]) & np.isfinite(second[:, at])
        x, y = first[here, at], second[here, at]
        every = np.array([np.corrcoef(x, y[list(order)])[0, 1] for order in permutations(range(here.sum()))])
        assert_allclose(got["p"][at], (every >= every[0] - 1e-12).mean(), rtol=1e-13)
        assert_allclose(got["slope"][at], np.polyfit(x, y, 1)[0], rtol=1e-12)


@pytest.mark.parametrize("exact", [True, False])
def test_the_interval_holds_the_slopes_that_are_not_rejected(exact):
    first, second = sides(7, 3, seed=4)
    second[3, 2] = np.nan
    first[[1, 2], 1] = 0.25  # a draw that exchanges these changes nothing
    plan = shuffles(7, 999, list_up_to=50_000 if exact else 1)
    test = Associations(first, second, np.ones((7, 1)), plan)
    for level in (0.8, 0.95):
        low, high = test.interval(alpha=1 - level)
        for at in range(3):
            for edge, way in ((low[at], -1), (high[at], 1)):
                for step, inside in ((-1e-7, True), (1e-7, False)):
                    left = second - (edge + way * step) * first
                    p = p_of_draws(Associations(first, left, np.ones((7, 1)), plan))["p"]
                    assert (p[at] > 1 - level + 1e-12) == inside


def test_too_few_draws_bound_no_slope():
    first, second = sides(9, 2)
    low, high = Associations(first, second, np.ones((9, 1)), shuffles(9, 30, list_up_to=1)).interval(alpha=0.05)
    assert_array_equal(low, -np.inf)
    assert_array_equal(high, np.inf)


# --- what is related --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planted():
    return made_meetings(10, 4, slope=4.0, noise=0.01, n_probes=2, seed=3)


def rows_of(real, person, role, session=None):
    """Coherence of a person's rows, by session, [row, feature]."""
    keep = (real["person_a"] == person) & (real["role_b"] == role)
    if session is not None:
        keep &= real["session"] == session
    chosen = real.isel(dyad=keep.values).sortby("session")
    return chosen["coherence"].values.reshape(chosen.sizes["dyad"], -1)


def test_gain_and_probe_are_those_of_each_person(planted):
    got = transfer(planted, trained="therapist", probe="stranger", n=50, correct=[]).dataset
    assert_array_equal(got["dyad"], names(10))
    for at, person in enumerate(names(10)):
        trained = rows_of(planted, person, "therapist")
        assert_allclose(got["gain"][at].values.ravel(), np.polyfit(np.arange(4), trained, 1)[0], rtol=1e-9)
        assert_allclose(got["probe"][at].values.ravel(), rows_of(planted, person, "stranger", "5").mean(0))
        assert_allclose(got["probe_before"][at].values.ravel(), rows_of(planted, person, "stranger", "0").mean(0))
        assert str(got["trained_partner"][at].item()) == f"t{at + 1:02d}"
        assert str(got["probe_partner"][at].item()) == f"x{2 * at + 1:02d}, x{2 * at + 2:02d}"
    assert_array_equal(got["n_trained"], 4)
    assert_array_equal(got["n_probe"], 2)
    assert_array_equal(got["n_probe_before"], 2)
    x, y = (got[name].values.reshape(10, -1) for name in ("gain", "probe"))
    assert_allclose(got["value"].values.reshape(10, -1), y)
    r = [np.corrcoef(*pair)[0, 1] for pair in zip(x.T, y.T, strict=True)]
    assert_allclose(got["group_statistic"].values.ravel(), r, rtol=1e-9)
    assert_array_equal(got["n_dyads"], 10)


def test_other_gains_and_the_change_of_probes(planted):
    ask = partial(transfer, planted, "therapist", "stranger", n=50, correct=[])
    change, level = ask(gain="change").dataset, ask(gain="level", change=True).dataset
    for at, person in enumerate(names(10)):
        trained = rows_of(planted, person, "therapist")
        assert_allclose(change["gain"][at].values.ravel(), trained[-1] - trained[0], rtol=1e-9)
        assert_allclose(level["gain"][at].values.ravel(), trained.mean(0), rtol=1e-9)
    assert_allclose(level["value"].values, (level["probe"] - level["probe_before"]).values)


def test_reliability_takes_the_scatter_about_the_lines_for_error(planted):
    holes = planted.copy(deep=True)
    at = np.flatnonzero((planted["dyad"] == "p04-t").values & (planted["session"] == "2").values)[0]
    holes["coherence"].values[at, 0, 0, 0, 0] = np.nan
    got = transfer(holes, "therapist", "stranger", n=50, correct=[]).dataset
    times, scatter, freedom, leverage, slopes = np.arange(4.0), 0.0, 0, [], []
    for person in names(10):
        y = rows_of(holes, person, "therapist")[:, 0]
        here = np.isfinite(y)
        slope, level = np.polyfit(times[here], y[here], 1)
        scatter += ((y - level - slope * times)[here] ** 2).sum()
        freedom += here.sum() - 2
        leverage.append(1 / (here.sum() * times[here].var()))
        slopes.append(slope)
    want = 1 - scatter / freedom * np.mean(leverage) / np.var(slopes, ddof=1)
    assert_allclose(got["gain_reliability"].values.ravel()[0], want, rtol=1e-9)
    level = transfer(planted, "therapist", "stranger", gain="level", n=50, correct=[]).dataset
    assert np.isnan(level["gain_reliability"]).all()


def test_the_planted_transfer_is_found_and_told(planted, tmp_path):
    got = ibsync.transfer(planted, trained="therapist", probe="stranger", n=4000, correct=["max"])
    assert (got.dataset["p_max"] < 0.05).mean() > 0.5
    assert (got.dataset["slope_low"] > 0).mean() > 0.5
    said = (
        "an association of the slope of synchrony with 'therapist' over sessions with synchrony with 'stranger' after"
    )
    assert said in got.headline
    assert got.hypothesis.startswith(f"Tested: {said} training over persons, against the hypothesis that a person's")
    assert "which raise synchrony with anybody" in got.hypothesis
    assert "10 persons (40 sessions with 10 trained partners, 20 probes after training and 20 before" in got.methods()
    assert str(got).splitlines()[1].strip().startswith("10 persons, 2 x 2 channels")
    back = ibsync.load(got.save(tmp_path / "transfer.h5"))
    assert (back.headline, back.methods(), str(back)) == (got.headline, got.methods(), str(got))
    assert said.replace("'", "&#39;") in ibsync.report(back, tmp_path / "t.html").read_text(encoding="utf-8")
    assert got.to_frame().shape[0] == 8 * 11


def test_the_order_of_rows_and_the_side_of_the_person_change_nothing(planted):
    want = transfer(planted, "therapist", "stranger", n=200, correct=["max"]).dataset
    order = np.random.default_rng(0).permutation(planted.sizes["dyad"])
    turned = planted.isel(dyad=order)
    flip = np.arange(len(order)) % 3 == 0
    values = turned["coherence"].values.copy()
    values[flip] = np.swapaxes(values[flip], 2, 3)
    turned["coherence"] = (turned["coherence"].dims, values)
    for one, other in (("person_a", "person_b"), ("role_a", "role_b")):
        a, b = turned[one].values.copy(), turned[other].values.copy()
        turned = turned.assign_coords({one: ("dyad", np.where(flip, b, a)), other: ("dyad", np.where(flip, a, b))})
    got = transfer(turned, "therapist", "stranger", n=200, correct=["max"]).dataset
    assert list(got.channel_a.values) == list(want.channel_a.values)
    for name in ("gain", "probe", "p", "p_max", "slope_low"):
        assert_allclose(got[name].values, want[name].values, rtol=1e-9, err_msg=name)


def test_a_person_on_the_second_side_brings_the_own_channels(planted):
    """All persons second, with channels of other names than their partners'."""
    turned = planted.transpose("dyad", "epoch", "channel_b", "channel_a", "band").rename(
        channel_a="channel_b", channel_b="channel_a", person_a="person_b", person_b="person_a", role_a="role_b",
        role_b="role_a",
    )  # fmt: skip
    turned = turned.assign_coords(channel_b=["own1", "own2"])
    got = transfer(turned, "therapist", "stranger", n=50, correct=[]).dataset
    assert list(got.channel_a.values) == ["own1", "own2"]
    assert list(got.channel_b.values) == ["S1_D1", "S1_D2"]
    want = transfer(planted, "therapist", "stranger", n=50, correct=[]).dataset
    assert_allclose(got["gain"].values, want["gain"].values)
    named = turned.assign_attrs(pairs='[["S1_D1", "own1"]]')
    frame = transfer(named, "therapist", "stranger", n=50, correct=[]).to_frame()
    assert {*zip(frame["channel_a"], frame["channel_b"], strict=True)} == {("own1", "S1_D1")}
    leads = turned.assign_attrs(measure="a_leads")
    plan_refusal(partial(transfer, leads, "therapist", "stranger"), "'a_leads'", "put the person first")


def test_kinds_are_named_by_role_by_group_or_by_dyads(planted):
    want = transfer(planted, "therapist", "stranger", n=50, correct=[]).dataset
    is_trained = planted["role_b"].values == "therapist"
    grouped = planted.assign_coords(group=("dyad", np.where(is_trained, "therapy", "probe"))).drop_vars(
        ["role_a", "role_b"]
    )
    by_group = transfer(grouped, "therapy", "probe", n=50, correct=[]).dataset
    dyads = planted["dyad"].values
    listed = transfer(
        grouped, sorted(set(dyads[is_trained])), sorted(set(dyads[~is_trained])), n=50, correct=[]
    ).dataset
    for other in (by_group, listed):
        assert_array_equal(other["p"], want["p"])
        assert_array_equal(other["dyad"], want["dyad"])


def test_a_result_is_taken_less_the_mean_of_its_null(planted):
    shifted = planted.assign(null_mean=planted["coherence"] * 0.25).assign_attrs(
        null_kind="phase", null_name=SURROGATES["phase"].name, n=99, listed=0, seed=1
    )
    got = transfer(ibsync.Result(shifted), "therapist", "stranger", n=50, correct=[])
    raw = transfer(planted, "therapist", "stranger", n=50, correct=[])
    assert_allclose(got.dataset["gain"].values, 0.75 * raw.dataset["gain"].values)
    assert "taken less the mean of its null (Fourier phase" in got.methods()
    assert "raw coherence" in raw.hypothesis
    assert "raw coherence" not in got.hypothesis


def test_times_tell_which_probes_came_after(planted):
    renamed = planted.assign_coords(
        session=("dyad", [{"0": "pre", "5": "post"}.get(s, s) for s in planted["session"].values])
    )
    every = transfer(renamed, "therapist", "stranger", n=50, correct=[])
    assert "No times told which probes came after training, and all were taken" in every.methods()
    mean = np.stack([rows_of(planted, person, "stranger").mean(0) for person in names(10)])
    assert_allclose(every.dataset["probe"].values.reshape(10, -1), mean)
    time = {"pre": 0, "post": 60, **{str(s): 10 * s for s in range(1, 5)}}
    told = transfer(renamed, "therapist", "stranger", time=time, n=50, correct=[]).dataset
    want = transfer(planted, "therapist", "stranger", n=50, correct=[]).dataset
    assert_allclose(told["gain"].values, want["gain"].values / 10)
    assert_allclose(told["probe"].values, want["probe"].values)
    ask = partial(transfer, renamed, "therapist", "stranger")
    plan_refusal(partial(ask, kind="change"), "needs the times of all sessions")
    plan_refusal(partial(ask, time={str(s): s for s in range(6)} | {"pre": 0}), "session 'post' has no place in time")
    during = planted.assign_coords(
        session=("dyad", np.where(planted["session"].values == "0", "2", planted["session"].values))
    )
    with pytest.warns(RuntimeWarning, match="probes during training .dyad 'p.*session '2'.* are not used"):
        transfer(during, "therapist", "stranger", n=50, correct=[])


# --- who enters -------------------------------------------------------------------------------------------------------


def without(real, keep):
    return real.isel(dyad=np.flatnonzero(keep(real)))


def test_who_does_not_enter_is_named(planted):
    def keep(real):
        person, role, session = (real[name].values for name in ("person_a", "role_b", "session"))
        no_probe = (person == "p02") & (role == "stranger")
        no_training = (person == "p05") & (role == "therapist")
        one_session = (person == "p07") & (role == "therapist") & (session != "2")
        return ~(no_probe | no_training | one_session)

    some = without(planted, keep)
    some = some.assign_coords(role_b=("dyad", np.where(some["person_a"] == "p09", "sibling", some["role_b"])))
    with pytest.warns(RuntimeWarning, match="person 'p02' is left out, without a probe dyad") as caught:
        got = transfer(some, "therapist", "stranger", n=50, correct=[])
    told = got.dataset.attrs["left_out"]
    assert told == str(caught[0].message)
    assert "person 'p05' is left out, without a trained dyad" in told
    assert "person 'p07' is left out, without a gain (values in two trained sessions)" in told
    assert "of neither kind are not used" in told
    assert "'p09-t'" in told
    assert list(got.dataset["dyad"].values) == [f"p{k:02d}" for k in (1, 3, 4, 6, 8, 10)]
    assert told in got.methods()


def test_persons_with_the_same_partners_are_exchanged():
    real = made_meetings(12, 3, n_therapists=3, seed=2)
    got = transfer(real, "therapist", "stranger", n=50, correct=[])
    assert got.dataset.attrs["n"] == 24**3 - 1
    assert "permuted among persons with the same shared partners" in got.methods()
    x, y = (got.dataset[name].values.reshape(12, -1) for name in ("gain", "probe"))
    therapist = np.arange(12) % 3
    for side in (x, y):
        for t in range(3):
            side[therapist == t] -= side[therapist == t].mean(axis=0)
    r = (x * y).sum(0) / np.sqrt((x**2).sum(0) * (y**2).sum(0))
    assert_allclose(got.dataset["group_statistic"].values.ravel(), r, rtol=1e-9)


def test_who_shares_partners_as_nobody_else_does_is_left_out():
    real = made_meetings(9, 3, seed=2)
    partner = real["person_b"].values.copy()
    partner[(real["person_a"].values == "p01") & (real["role_b"].values == "stranger")] = "x02"
    shared = real.assign_coords(person_b=("dyad", partner))
    # p01 and p02 share a stranger and exchange with one another; p09 joins p01 in a therapist as well.
    partner = partner.copy()
    partner[(real["person_a"].values == "p09") & (real["role_b"].values == "therapist")] = "t01"
    alone = real.assign_coords(person_b=("dyad", partner))
    assert transfer(shared, "therapist", "stranger", n=50, correct=[]).dataset.sizes["dyad"] == 9
    with pytest.warns(
        RuntimeWarning, match="persons 'p01', 'p02', 'p09' are left out, without anybody to be exchanged"
    ):
        got = transfer(alone, "therapist", "stranger", n=50, correct=[])
    assert list(got.dataset["dyad"].values) == names(8)[2:]


def test_what_cannot_be_tested_is_refused_by_name(planted):
    ask = partial(transfer, planted, "therapist", "stranger", n=100, correct=[])
    plan_refusal(partial(transfer, planted, "therapis", "stranger"), "trained='therapis'", "did you mean 'therapist'?")
    plan_refusal(partial(transfer, planted, "therapist", ["p01-x"]), "probe names dyad 'p01-x'", "did you mean 'p01-x")
    plan_refusal(partial(transfer, planted, "therapist", "therapist"), "is both trained and probe")
    plan_refusal(partial(transfer, planted, ["p01-t"], ["p02-x03"]), "nobody has both a trained and a probe dyad")
    both = planted.assign_coords(role_a=("dyad", np.where(planted["dyad"] == "p03-t", "therapist", "client")))
    plan_refusal(partial(transfer, both, "therapist", "stranger"), "dyad 'p03-t': both persons have the role")
    few = without(planted, lambda real: np.isin(real["person_a"].values, names(3)))
    plan_refusal(partial(transfer, few, "therapist", "stranger"), "over 4 persons at least, 3 can be")
    partner = np.where(planted["dyad"] == "p03-x05", "p04", planted["person_b"])
    plan_refusal(
        partial(transfer, planted.assign_coords(person_b=("dyad", partner)), "therapist", "stranger"),
        "dyad 'p03-x05': partner 'p04' is a person of the test too",
    )
    bare = planted.drop_vars(["role_a", "role_b"])
    is_trained = planted["role_b"].values == "therapist"
    dyads = planted["dyad"].values
    one_partner = bare.assign_coords(
        person_b=("dyad", np.where(planted["person_a"] == "p01", "everybody", planted["person_b"]))
    )
    kinds = [sorted(set(dyads[is_trained])), sorted(set(dyads[~is_trained]))]
    plan_refusal(partial(transfer, one_partner, *kinds), "both 'p01' and 'everybody' have trained and probe dyads")
    age = dict(zip(names(10), np.arange(10.0) ** 2, strict=True))
    plan_refusal(partial(ask, covariates={"age": dict.fromkeys(names(10), 3.0)}), "covariate 'age' is the same for all")
    twice = {"age": age, "days": {k: 365 * v + 1 for k, v in age.items()}}
    plan_refusal(partial(ask, covariates=twice), "covariate 'days' is a sum of the others")
    plan_refusal(partial(ask, covariates={"age": age | {"p11": 1}}), "'p11', who is no person of the test")
    plan_refusal(partial(ask, covariates=["age"]), "there is no covariate 'age'")
    many = {f"c{k}": dict(zip(names(10), np.random.default_rng(k).normal(size=10), strict=True)) for k in range(8)}
    plan_refusal(partial(ask, covariates=many), "8 covariates are too many for 10 persons; name at most 7")
    plan_refusal(partial(ask, gain="rise"), "gain='rise' is unknown")
    plan_refusal(partial(ask, kind="change", covariates={"age": age}), "leave them out of kind='change'")
    five = without(planted, lambda real: np.isin(real["person_a"].values, names(4)))
    plan_refusal(
        partial(transfer, five, "therapist", "stranger", correct=["fdr"]), "4 persons allow only 24 permutations"
    )


def test_covariates_are_found_in_the_data(planted):
    age = dict(zip(names(10), np.random.default_rng(0).normal(size=10), strict=True))
    carried = planted.assign_coords(outcome_age=("dyad", [age[p] for p in planted["person_a"].values]))
    by_name = transfer(carried, "therapist", "stranger", covariates=["age"], n=100, correct=[])
    given = transfer(planted, "therapist", "stranger", covariates={"age": age}, n=100, correct=[])
    assert_array_equal(by_name.dataset["p"], given.dataset["p"])
    assert "Freedman & Lane 1983" in given.methods()
    with pytest.warns(RuntimeWarning, match="person 'p10' is left out, without a value of 'age'"):
        transfer(planted, "therapist", "stranger", covariates={"age": age | {"p10": np.nan}}, n=100, correct=[])


# --- change with probe partners ---------------------------------------------------------------------------------------


def test_change_flips_the_signs_of_units(planted):
    got = transfer(planted, "therapist", "stranger", kind="change", correct=["max"]).dataset
    change = np.stack(
        [rows_of(planted, p, "stranger", "5").mean(0) - rows_of(planted, p, "stranger", "0").mean(0) for p in names(10)]
    )
    want = sign_flip_test(change, names(10), correct=["max"])
    for name in ("group_statistic", "p", "p_max"):
        assert_allclose(got[name].values.ravel(), want[name], rtol=1e-12, err_msg=name)


def test_persons_who_share_a_probe_partner_are_one_unit():
    real = made_meetings(10, 3, n_strangers=6, seed=1)
    got = transfer(real, "therapist", "stranger", kind="change", correct=[])
    assert got.dataset.attrs["n"] == 2**6 - 1
    change = (got.dataset["probe"] - got.dataset["probe_before"]).values.reshape(10, -1)
    units = [change[np.arange(10) % 6 == k].mean(0) for k in range(6)]
    assert_allclose(got.dataset["group_statistic"].values.ravel(), np.mean(units, axis=0), rtol=1e-9)
    assert "over 6 units, persons who share a probe partner being one" in got.methods()
    one = made_meetings(10, 3, n_strangers=1, seed=1)
    plan_refusal(
        partial(transfer, one, "therapist", "stranger", kind="change"),
        "all persons share probe partners ('x01'), whose own change cannot be told from theirs",
    )


# --- rates ------------------------------------------------------------------------------------------------------------

MANY = tuple(f"S{k}_D{k}" for k in range(16))


def rates(real, **words):
    """The result of a study whose 512 features are as many independent studies; all permutations are listed."""
    got = transfer(real, "therapist", "stranger", correct=[], **words).dataset
    assert got.attrs["exact"] == 1
    assert got["p"].size == 512
    return got


@pytest.mark.parametrize(
    "design",
    [
        {"n_persons": 7},
        {"n_therapists": 3, "therapist_sd": 0.03},
        {"n_strangers": 3, "stranger_sd": 0.05},
        {"n_therapists": 2, "n_strangers": 4, "therapist_sd": 0.03, "stranger_sd": 0.05},
    ],
    ids=["own partners", "shared therapists", "shared strangers", "both shared"],
)
def test_without_transfer_few_are_found(design):
    got = rates(made_meetings(**{"n_persons": 12, "n_sessions": 3, "channels": MANY, "seed": 5} | design))
    low, high = band(0.05, 512)
    assert low <= (got["p"] <= 0.05).sum() <= high


def test_a_change_with_strangers_that_is_none_is_rarely_found():
    got = rates(made_meetings(12, 3, n_strangers=8, stranger_sd=0.05, channels=MANY, seed=6), kind="change")
    low, high = band(0.05, 512)
    assert low <= (got["p"] <= 0.05).sum() <= high


@pytest.mark.slow
def test_the_interval_covers_and_transfer_is_found():
    # Sessions hold next to no noise: the measured gain is the gain itself, and the planted slope that of the values.
    got = rates(made_meetings(8, 3, slope=2.0, noise=1e-6, channels=MANY, seed=7))
    least, most = band(0.95, 512)
    assert least <= ((got["slope_low"] <= 2.0) & (got["slope_high"] >= 2.0)).sum() <= most
    assert_array_equal((got["slope_low"] > 0) | (got["slope_high"] < 0), got["p"] <= 0.05)
    assert (got["p"] <= 0.05).mean() > 0.6


@pytest.mark.slow
def test_error_of_gains_makes_the_slope_smaller_by_their_reliability():
    got = rates(made_meetings(8, 3, slope=2.0, noise=0.02, person_sd=0.0, channels=MANY, seed=8))
    # Gains have sd 0.02 and slopes over times 0, 1, 2 an error of variance 0.02^2 / 2.
    share = 1 / (1 + 1 / 2)
    n = 512
    assert abs(got["slope"].mean() - 2 * share) < 4 * got["slope"].std() / n**0.5
    assert abs(got["gain_reliability"].median() - share) < 0.06


# --- from recordings --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Eight clients who gain unlike with their therapists and show it with strangers."""
    path = tmp_path_factory.mktemp("transfer") / "study.h5"
    growth = ibsync.Growth(mean=0.1, sd=0.15)
    return ibsync.simulate(
        path, n_dyads=8, n_sessions=4, n_channels=1, duration=400.0, sfreq=2.0, coupling=0.2, growth=growth,
        strangers=(0, 5), transfer=1.0, seed=3,
    )  # fmt: skip


@pytest.mark.slow
def test_transfer_that_is_put_into_recordings_is_found(simulated):
    spec = ibsync.WTC(bands={"task": (0.03, 0.08)}, accuracy="fast")
    real = simulated.synchrony(spec)
    got = ibsync.transfer(real, trained="therapist", probe="stranger", tail="greater", correct=[]).dataset
    assert got["p"].item() < 0.05
    assert_array_equal(got["n_trained"], 4)
    planted = {row.person_a: row.outcomes["simulated_growth"] for row in simulated.dyads if row.role_b == "therapist"}
    assert np.corrcoef([planted[person] for person in got["dyad"].values], got["gain"].values.ravel())[0, 1] > 0.6
    result = ibsync.test(real, simulated.null(spec, kind="phase", n=19, seed=1), correct=[])
    less = ibsync.transfer(result, "therapist", "stranger", correct=[])
    want = (result.dataset["coherence"] - result.dataset["null_mean"]).values.ravel()
    first = real["person_a"].values == less.dataset["dyad"].values[0]
    after = first & (real["session"].values == "5")
    assert_allclose(less.dataset["probe"].values[0].ravel(), want[after])
    assert "less the mean of its null" in less.methods()


# --- recordings that hold nothing, or stand twice ---------------------------------------------------------------------


def row_of(real, dyad, session):
    return int(np.flatnonzero((real["dyad"].values == dyad) & (real["session"].values == session))[0])


@pytest.mark.parametrize("gain", ["slope", "change", "level"])
def test_empty_recordings_count_as_absent_and_are_named(gain):
    real = made_meetings(8, channels=("S1_D1",), seed=3)
    rows = [row_of(real, "p03-t", "2"), row_of(real, "p05-t", "4"), row_of(real, "p06-x06", "0")]
    real["coherence"].values[rows] = np.nan
    said = "empty recordings (dyad 'p03-t' session '2', dyad 'p05-t' session '4', dyad 'p06-x06' session '0') are not"
    with pytest.warns(RuntimeWarning, match="empty recordings"):
        got = transfer(real, "therapist", "stranger", gain=gain, n=99, correct=[]).dataset
    absent = real.isel(dyad=np.delete(np.arange(real.sizes["dyad"]), rows))
    want = transfer(absent, "therapist", "stranger", gain=gain, n=99, correct=[]).dataset
    assert said in got.attrs["left_out"]
    for name in ("gain", "probe", "probe_before", "n_trained", "n_probe", "n_probe_before", "p"):
        assert_array_equal(got[name].values, want[name].values, err_msg=name)


def test_an_empty_last_session_still_tells_when_training_ended():
    real = made_meetings(8, channels=("S1_D1",), seed=3)
    real["coherence"].values[row_of(real, "p05-t", "4")] = np.nan
    when = {str(k): k for k in range(5)} | {"5": 3.5}  # after session 3, before session 4
    plan_refusal(lambda: transfer(real, "therapist", "stranger", time=when), "without a probe at or after the last")


def test_a_probe_that_stands_twice_is_refused():
    import xarray as xr

    real = made_meetings(8, channels=("S1_D1",))
    for row in (row_of(real, "p03-x03", "5"), row_of(real, "p03-t", "1")):
        twice = xr.concat([real, real.isel(dyad=[row])], "dyad")
        plan_refusal(partial(transfer, twice, "therapist", "stranger", gain="level"), "twice; leave one of the rows")
