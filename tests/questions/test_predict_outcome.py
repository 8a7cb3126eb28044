"""Prediction of held-out dyads against a loop that refits everything, and its p on outcomes that nothing predicts."""

import json
from functools import partial

import numpy as np
import pandas as pd
import pytest
from fake_results import make_real
from numpy.testing import assert_allclose, assert_array_equal
from permuted import permutations as exchanges
from refusals import plan_refusal
from scipy.stats import binom

import ibsync
from ibsync.inference.cross_validation import HeldOut

PENALTIES = (0.01, 0.3, 5.0)


def names(n):
    return [f"dyad{row + 1:02d}" for row in range(n)]


def sample(n, n_features, n_covariates=0, *, seed=0, effect=0.0):
    random = np.random.default_rng(seed)
    covariates = random.standard_normal((n, n_covariates))
    y = random.standard_normal(n) + covariates.sum(axis=1)
    values = random.standard_normal((n, n_features)) * np.linspace(1, 30, n_features)
    values[:, 0] += effect * y
    return values, covariates, y


def ridge(x, y, z, penalty):
    """Weights of z and of x by the normal equations, x penalised: [column]."""
    design = np.column_stack([z, x])
    square = np.diag(np.r_[np.zeros(z.shape[1]), np.full(x.shape[1], penalty)])
    return np.linalg.solve(design.T @ design + square, design.T @ y)


def slow_prediction(values, covariates, y, folds, penalties, top=None):
    """Every fold refitted from its training dyads, the penalty by refitting without each of them in turn."""
    predicted, baseline = np.empty(len(y)), np.empty(len(y))
    for held in folds:
        train = np.array([row for row in range(len(y)) if row not in held])
        z, z_held = (np.column_stack([np.ones(len(rows)), covariates[rows]]) for rows in (train, held))
        of_x, of_y = (np.linalg.lstsq(z, v[train])[0] for v in (values, y))
        x, x_held = values[train] - z @ of_x, values[held] - z_held @ of_x
        sd = x.std(axis=0)
        x, x_held = x / sd, x_held / sd
        left = y[train] - z @ of_y
        if top is not None:
            chosen = np.argsort(-np.abs([np.corrcoef(column, left)[0, 1] for column in x.T]))[:top]
            x, x_held = x[:, chosen], x_held[:, chosen]
        errors = []
        for penalty in penalties:
            scaled = penalty * len(train) * x.shape[1]
            out = []
            for place in range(len(train)):
                rest = np.arange(len(train)) != place
                w = ridge(x[rest], y[train][rest], z[rest], scaled)
                out.append(y[train][place] - np.r_[z[place], x[place]] @ w)
            errors.append(np.square(out).sum())
        best = penalties[int(np.argmin(errors))] * len(train) * x.shape[1]
        w = ridge(x, y[train], z, best)
        predicted[held] = np.column_stack([z_held, x_held]) @ w
        baseline[held] = z_held @ of_y
    return predicted, baseline


def singles(n):
    return [np.array([row]) for row in range(n)]


@pytest.mark.parametrize(("n_covariates", "top"), [(0, None), (2, None), (0, 3), (2, 3), (1, 1)])
def test_predictions_are_those_of_refitting_every_fold(n_covariates, top):
    values, covariates, y = sample(11, 8, n_covariates, effect=1.0)
    folds = [np.array([0, 4, 7]), *(np.array([row]) for row in (1, 2, 3, 5, 6, 8, 9, 10))]
    model = HeldOut(values, covariates, folds, PENALTIES, top)
    outcomes = np.stack([y, y[::-1], np.roll(y, 3)])
    predicted, baseline = model.predict(outcomes)
    for draw, own in enumerate(outcomes):
        slow, base = slow_prediction(values, covariates, own, folds, PENALTIES, top)
        assert_allclose(predicted[draw], slow, rtol=1e-8, atol=1e-10)
        assert_allclose(baseline[draw], base, rtol=1e-10)
        r2 = 1 - ((own - slow) ** 2).sum() / ((own - base) ** 2).sum()
        assert_allclose(model.r_squared(outcomes)[draw], r2, rtol=1e-8)


def test_the_mean_of_features_is_least_squares_without_the_dyad():
    real, y = make_real(10, 2), np.random.default_rng(1).standard_normal(10)
    got = ibsync.predict_outcome(real, dict(zip(names(10), y, strict=True)), model="mean", n=19)
    x = real["coherence"].values.reshape(2, 10, -1).mean(axis=(0, 2))
    for row in range(10):
        rest = np.arange(10) != row
        slope, start = np.polyfit(x[rest], y[rest], 1)
        assert_allclose(got.table["predicted"][row], start + slope * x[row], rtol=1e-8)
        assert_allclose(got.table["baseline"][row], y[rest].mean(), rtol=1e-12)
    assert "least squares on the mean of 144 features" in got.methods()


def test_the_p_value_repeats_the_whole_cross_validation():
    real = make_real(9, 1).isel(channel_a=[1, 2], channel_b=[2, 3])
    random = np.random.default_rng(2)
    y, age = random.standard_normal(9), random.standard_normal(9)
    got = ibsync.predict_outcome(
        real, dict(zip(names(9), y, strict=True)), covariates={"age": dict(zip(names(9), age, strict=True))},
        top=3, n=40, penalties=PENALTIES, alpha=0.1,
    )  # fmt: skip
    z = np.column_stack([np.ones(9), age])
    fitted = z @ np.linalg.lstsq(z, y)[0]
    orders = exchanges(names(9), n=40, list_up_to=40).take(0, 41)
    values = real["coherence"].values.reshape(9, -1)
    r2 = []
    for order in orders:
        own = fitted + (y - fitted)[order]
        slow, base = slow_prediction(values, age[:, None], own, singles(9), PENALTIES, 3)
        r2.append(1 - ((own - slow) ** 2).sum() / ((own - base) ** 2).sum())
    assert_allclose(got.r2, r2[0], rtol=1e-8)
    assert_allclose(got.null_r2, r2[1:], rtol=1e-7)
    assert_allclose(got.p, (np.array(r2) >= r2[0] - 1e-9).mean())
    assert "the 3 that went best with the outcome of the training dyads with 'age' as covariates" in got.methods()


def test_choosing_features_before_the_folds_inflates_and_ours_does_not():
    """Nothing to be found in 400 features of 20 dyads: chosen outside, R2 is large; inside, it is not."""
    outside, inside = [], []
    for seed in range(30):
        values, covariates, y = sample(20, 400, seed=seed)
        r = np.abs(((values - values.mean(axis=0)) / values.std(axis=0)).T @ (y - y.mean()))
        best = np.argsort(-r)[:10]
        outside.append(HeldOut(values[:, best], covariates, singles(20)).r_squared(y[None])[0])
        inside.append(HeldOut(values, covariates, singles(20), top=10).r_squared(y[None])[0])
    assert np.median(outside) > 0.4
    assert np.median(inside) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("top", [None, 4])
def test_p_keeps_its_level_where_a_covariate_goes_with_both(top):
    """Of 300 studies of 14 dyads whose synchrony and outcome both follow a covariate, nothing else."""
    hits = 0
    for seed in range(300):
        random = np.random.default_rng(seed)
        age = random.standard_normal(14)
        x = age[:, None] + random.standard_normal((14, 12))
        y = 2 * age + random.standard_normal(14)
        held_out = HeldOut(x, age[:, None], singles(14), (0.01, 1.0), top)
        z = np.column_stack([np.ones(14), age])
        fitted = z @ np.linalg.lstsq(z, y)[0]
        orders = np.array([np.arange(14), *(random.permutation(14) for _ in range(39))])
        r2 = held_out.r_squared(fitted + (y - fitted)[orders])
        hits += (r2 >= r2[0] - 1e-12).mean() <= 0.05
    low, high = binom.ppf([0.0005, 0.9995], 300, 0.05)
    assert low <= hits <= high


def test_a_planted_outcome_is_predicted_and_said(tmp_path):
    real = make_real(16, 2, coupling=0.1)
    x = real["coherence"].sel(epoch="talk", channel_a="S2_D1", band="task").values.reshape(2, 16, -1).mean(axis=(0, 2))
    y = dict(zip(names(16), 100 * x + 0.4 * np.random.default_rng(0).standard_normal(16), strict=True))
    few = real.isel(epoch=[0], channel_a=[2], band=[0])
    got = ibsync.predict_outcome(few, pd.Series(y, name="liking"))
    assert got.p == 0.001
    assert got.r2 > 0.5
    assert got.correlation > 0.7
    assert got.headline.startswith("Synchrony predicts 'liking' of dyads that were held out: out-of-sample R2 0.")
    assert "does not exclude" in str(got)
    back = json.loads(got.save(tmp_path / "p.json").read_text(encoding="utf-8"))
    assert back["r2"] == got.r2
    assert back["attrs"]["n_folds"] == 16
    assert pd.read_csv(got.save(tmp_path / "p.csv"))["predicted"].tolist() == got.table["predicted"].tolist()
    plan_refusal(lambda: got.save(tmp_path / "p.h5"), "must end in .csv or .json")
    noise = ibsync.predict_outcome(few, dict(zip(names(16), np.random.default_rng(3).random(16), strict=True)), n=99)
    assert "was not shown to predict" in noise.headline


def test_dyads_that_share_a_person_are_held_out_together():
    real = make_real(9, 1)
    clients = real.assign_coords(person_b=("dyad", ["t1", "t1", "t2", "t2", "t2", *"abcd"]))
    y = dict(zip(names(9), np.random.default_rng(1).random(9), strict=True))
    got = ibsync.predict_outcome(clients, y, n=50)
    assert_array_equal(got.table["fold"], [1, 1, 2, 2, 2, 3, 4, 5, 6])
    rest = got.table["outcome"][2:].mean()
    assert_allclose(got.table["baseline"][:2], rest, rtol=1e-12)
    assert "held out together, and permuted among themselves" in got.methods()


def test_what_cannot_be_predicted_is_refused_or_told():
    real = make_real(9, 2)
    y = dict(zip(names(9), np.random.default_rng(1).random(9), strict=True))
    ask = partial(ibsync.predict_outcome, real, y, n=30, alpha=0.1)
    plan_refusal(partial(ask, level="within"), "level='within' is not offered for predictions")
    plan_refusal(partial(ask, model="forest"), "model='forest' is unknown; valid are 'ridge', 'mean'")
    plan_refusal(partial(ask, top=0), "top=0 is a number of features")
    plan_refusal(partial(ask, top=3, model="mean"), "for model='ridge'")
    plan_refusal(partial(ask, penalties=[0.0]), "penalties=[0.0] must be numbers above 0")
    plan_refusal(partial(ask, alpha=0.01), "30 permutations give no p below 0.0323, above alpha=0.01")
    few = dict(list(y.items())[:5])
    plan_refusal(partial(ibsync.predict_outcome, real, few), "5 dyads in 5 folds that share nobody are too few")
    same = dict.fromkeys(names(9), 2.0)
    plan_refusal(partial(ibsync.predict_outcome, real, same), "outcome 'outcome' is the same for all dyads")
    holes = real.copy(deep=True)
    holes["coherence"].values[:, 0, 0, 1, 0] = np.nan  # not asked for, so not left out
    holes["coherence"].values[[0, 9], 0, 0, 0, 0] = np.nan
    with pytest.warns(RuntimeWarning, match="1 of 143 features, without a value in every dyad"):
        got = ibsync.predict_outcome(holes, y, n=30)
    assert got.attrs["n_features"] == 142
    holes["coherence"].values[[0, 9]] = np.nan
    with pytest.warns(RuntimeWarning, match="dyad 'dyad01' is left out, without synchrony"):
        ibsync.predict_outcome(holes, y, n=30)
