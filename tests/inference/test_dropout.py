"""Dropout that goes with the values: against all choices of who stopped, its false alarms, and the warning."""

from itertools import combinations, product

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import binom
from sessions import quiet, study

from ibsync.inference.dropout import dropout_test
from ibsync.questions.plasticity import plasticity


def courses(random, n_dyads, n_sessions, n_features=1, *, stops=None):
    """Noise [dyad, session, feature]; a dyad stops after the second session at the earliest, where `stops` says so."""
    values = random.standard_normal((n_dyads, n_sessions, n_features))
    for own in values:
        for session in range(1, n_sessions - 1):
            if stops(own[session]):
                own[session + 1 :] = np.nan
                break
    return values


def test_p_is_the_share_of_all_choices_of_who_stopped():
    values = courses(np.random.default_rng(3), 6, 4, 2, stops=lambda x: x[0] < -0.5)
    last = np.isfinite(values[..., 0]).sum(axis=1) - 1
    sessions = [s for s in range(3) if (last == s).any() and (last > s).any()]
    assert sessions
    parts, variance = [], 0.0
    for session in sessions:
        here = np.flatnonzero(last >= session)
        left = values[here, session] - values[here, session].mean(axis=0)
        stopped = last[here] == session
        n, k = len(here), int(stopped.sum())
        choices = [np.flatnonzero(stopped).tolist(), *map(list, combinations(range(n), k))]
        parts.append([left[chosen].sum(axis=0) for chosen in choices])
        variance = variance + left.var(axis=0, ddof=1) * k * (n - k) / n
    first = sum(part[0] for part in parts) / np.sqrt(variance)
    every = np.array([sum(pick) for pick in product(*(part[1:] for part in parts))]) / np.sqrt(variance)
    exact = (np.abs(every).max(axis=1) >= np.abs(first).max() - 1e-9).mean()
    p, difference = dropout_test(values)
    assert abs(p - exact) < 4 * np.sqrt(exact * (1 - exact) / 1000) + 1e-3
    feature = np.abs(first).argmax()
    n_stopped = sum((last == session).sum() for session in sessions)
    assert_allclose(difference, sum(part[0] for part in parts)[feature] / n_stopped, rtol=1e-9)


def test_false_alarms_come_as_often_as_they_may_and_dropout_after_low_values_is_seen():
    random = np.random.default_rng(5)
    alarms = {
        name: np.mean([dropout_test(courses(random, 14, 8, 3, stops=rule))[0] <= 0.05 for _ in range(300)])
        for name, rule in {"at random": lambda _: random.random() < 0.15, "low": lambda x: x[0] < -1.2}.items()
    }
    low, high = binom.ppf([0.001, 0.999], 300, 0.05) / 300
    assert low <= alarms["at random"] <= high
    assert alarms["low"] > 0.9


@pytest.mark.parametrize("values", [np.zeros((3, 4, 2)), np.full((3, 4, 2), np.nan), np.zeros((2, 1, 1))])
def test_without_dropout_or_scatter_there_is_nothing_to_say(values):
    assert dropout_test(values) == (1.0, 0.0)


def test_plasticity_warns_and_names_a_way_out():
    values = 0.3 + 0.04 * courses(np.random.default_rng(7), 16, 8, 2, stops=lambda x: x[0] < -1)
    with pytest.warns(RuntimeWarning, match=r"stop early had lower values .* mixed_model is misled much less"):
        found = plasticity(study(values), correct=[])
    assert "stop early" in found.dataset.attrs["warning"]
    random = np.random.default_rng(8)
    values = 0.3 + 0.04 * courses(random, 16, 8, 2, stops=lambda _: random.random() < 0.1)
    assert "stop early" not in quiet(study(values), correct=[]).dataset.attrs.get("warning", "")
