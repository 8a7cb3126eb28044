"""The permutation test is built once: one loop over draws, one assembly of p, one check of what is asked of a test."""

import ast
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from permuted import p_of_draws
from refusals import plan_refusal

import ibsync
from ibsync.inference.permutation_test import ListedStatistic
from ibsync.inference.settings import TestSettings as Settings

PACKAGE = Path(ibsync.__file__).parent

# A surrogate null counts while it is drawn, also on a GPU, since no array could hold its draws; its counts are of these
# same classes, and its p-values come from the same assembly.
STREAMED = {"nulls/counts.py", "nulls/surrogate_null.py"}
LOOP = {"inference/permutation_test.py"}
ONE_PLACE = {
    "StepDown": LOOP | STREAMED,
    "Exceedances": LOOP | STREAMED,
    "Maxima": LOOP | STREAMED,
    "single_step_p": LOOP | {"inference/p_values.py"},
    "step_down_p": {"inference/p_values.py"},
    "adjust_fdr": {"inference/p_values.py"},
    "cluster_masses": {"inference/clusters.py"},
    "tfce": {"inference/clusters.py"},
    "permutations_of_rank": {"nulls/draws.py", "nulls/relabelling.py", "nulls/repairing.py"},
    "check_tail": {"nulls/tails.py", "inference/settings.py", "study/planned.py"},
    "check_corrections": {"inference/p_values.py", "inference/settings.py", "inference/surrogate_test.py"},
    "check_draws": {"nulls/draws.py", "inference/settings.py"},
}
# Files that write the same counts to disk and read them back.
STORES = {"results/null_files.py"}


def calls(tree, name):
    """Whether a function or class of a name is called, or one of its class methods."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            parts = {n.id for n in ast.walk(node.func) if isinstance(n, ast.Name)}
            parts |= {n.attr for n in ast.walk(node.func) if isinstance(n, ast.Attribute)}
            if name in parts:
                return True
    return False


@cache
def trees(package):
    return {path.relative_to(package).as_posix(): ast.parse(path.read_text("utf-8")) for path in package.rglob("*.py")}


def users(name, package=PACKAGE):
    return {file for file, tree in trees(package).items() if calls(tree, name)} - STORES


@pytest.mark.parametrize("name", ONE_PLACE)
def test_each_step_of_the_test_is_taken_in_one_place(name):
    assert users(name) <= ONE_PLACE[name]


def test_a_second_place_is_seen(tmp_path):
    (tmp_path / "second.py").write_text("def f():\n    return StepDown.zeros(3), p_values.single_step_p(1, 2, 3)\n")
    assert users("StepDown", tmp_path) == users("single_step_p", tmp_path) == {"second.py"}
    assert users("Maxima", tmp_path) == set()


def test_a_tail_is_turned_and_doubled_in_one_place():
    """No file but `nulls/tails.py` asks whether a test is two-sided to turn a statistic or to double its p."""
    found = set()
    for file, tree in trees(PACKAGE).items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Compare) and any(
                isinstance(n, ast.Constant) and n.value == "two-sided" for n in ast.walk(node)
            ):
                found.add(file)
    # The largest cluster of a draw is taken of both signs apart.
    assert {file for file in found if file.split("/")[0] in ("inference", "questions", "simulation")} == {
        "inference/clusters.py"
    }
    assert "nulls/tails.py" in found


# --- of any statistic -------------------------------------------------------------------------------------------------


def slow(values, tail):
    """p, single-step and step-down p of row 0 among all rows [draw, feature], by loops over draws and features."""
    z = (values - values.mean(axis=0)) / values.std(axis=0)
    turn = {"greater": lambda x: x, "less": np.negative, "two-sided": np.abs}[tail]
    p = []
    for column in z.T:
        tails = [np.mean([sign * draw >= sign * column[0] - 1e-9 for draw in column]) for sign in (1, -1)]
        p.append({"greater": tails[0], "less": tails[1], "two-sided": min(1.0, 2 * min(tails))}[tail])
    evidence = turn(z)
    single = [max(own, np.mean(evidence.max(axis=1) >= t - 1e-9)) for own, t in zip(p, evidence[0], strict=True)]
    stepped, worst = np.empty(len(p)), 0.0
    for feature in np.argsort(-evidence[0]):
        rest = evidence[:, evidence[0] <= evidence[0, feature]]
        worst = max(worst, np.mean(rest.max(axis=1) >= evidence[0, feature] - 1e-9))
        stepped[feature] = max(worst, p[feature])
    return p, single, stepped


@pytest.mark.parametrize("tail", ["greater", "less", "two-sided"])
def test_p_values_of_listed_draws_are_those_of_slow_loops(tail):
    values = np.random.default_rng(2).gamma(2.0, size=(80, 6)) * [1, 2, 1, 30, 1, 0.1]
    got = p_of_draws(ListedStatistic(values), tail=tail, correct=["max"])
    for name, want in zip(("p", "p_max_single", "p_max"), slow(values, tail), strict=True):
        assert_allclose(got[name], want, rtol=1e-12, err_msg=name)
    assert (got["p"] <= got["p_max"]).all()
    assert (got["p_max"] <= got["p_max_single"]).all()


def test_a_draw_without_a_value_counts_as_reaching_and_a_missing_observation_is_not_tested():
    values = np.random.default_rng(3).standard_normal((40, 3))
    values[5:15, 0], values[0, 1] = np.nan, np.nan
    got = p_of_draws(ListedStatistic(values), tail="greater")
    assert got["p"][0] == (1 + (~(values[1:, 0] < values[0, 0])).sum()) / 40
    assert_array_equal(np.isnan(got["p_max"]), [False, True, False])
    assert got["exceedances"][1] == -1
    assert np.isfinite(got["null_max"]).all()


# --- what is asked ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ({"n": 0}, "0 draws were asked for"),
        ({"n": 2.5}, "2.5 draws were asked for"),
        ({"n": True}, "True draws were asked for"),
        ({"seed": -1}, "seed -1 is not one of"),
        ({"tail": "both"}, "tail='both' is unknown; valid are 'greater', 'less', 'two-sided'"),
        ({"correct": "max"}, "correct='max' is not a list of corrections; valid are 'fdr'"),
        ({"correct": ["bonferroni"]}, "correct='bonferroni' is unknown; valid are 'fdr'"),
        ({"correct": ["fdr", "fdr_by"]}, "both 'fdr' and 'fdr_by'"),
        ({"alpha": 1.0}, "alpha=1.0 must be a number between 0 and 1"),
        ({"alpha": True}, "alpha=True must be a number"),
    ],
)
def test_settings_that_cannot_be_are_refused(words, part):
    plan_refusal(lambda: Settings(**words), part)


def test_settings_have_one_default_each():
    asked = Settings()
    assert (asked.n, asked.seed, asked.tail, asked.alpha) == (10_000, 0, "two-sided", 0.05)
    assert (asked.correct, asked.corrections) == (None, ("fdr", "max"))
    assert Settings(correct=[]).corrections == ()
    assert not asked.needs_neighbours
    assert Settings(correct=["tfce"]).needs_neighbours
