"""How often tests reject on simulated dyads: at their level where their hypothesis holds, above it where it does not.

A rate is at its level when the count of rejections lies in the central 99.9 % of the binomial distribution. All seeds
are fixed, so a gate that passes keeps passing until the program changes.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from benchmark_files import load

pytestmark = pytest.mark.slow

N_SIMS, N_DRAWS = 300, 19  # p <= 0.05 where no draw reaches the real value
SEED = 20


@cache
def ranks(kind: str, scenario: str, n_sims: int = N_SIMS):
    pairs = load("scenarios").simulate(scenario, n_sims, seed=SEED)[:, 0]
    return load("calibration").ranks(kind, pairs, N_DRAWS, seed=SEED)


@cache
def tables(scenario: str):
    calibration = load("calibration")
    return calibration.pair_tables(load("scenarios").simulate(scenario, N_SIMS, calibration.N_DYADS, seed=SEED))


@cache
def person_effects(n_sims: int, n_dyads: int):
    """Values of pairs without interaction, in which persons differ: [sim, A, B]."""
    rng = np.random.default_rng(SEED)
    effects = rng.standard_normal((n_sims, n_dyads, 1)) + rng.standard_normal((n_sims, 1, n_dyads))
    return effects + rng.standard_normal((n_sims, n_dyads, n_dyads))


def band(n_sims: int, level: float = 0.05) -> tuple[int, int]:
    """Counts of rejections that a test at its level gives in 99.9 of 100 runs."""
    from scipy.stats import binom

    low, high = binom.interval(0.999, n_sims, level)
    return int(low), int(high)


def at_level(rejected) -> bool:
    low, high = band(len(rejected))
    return low <= np.sum(rejected) <= high


def test_the_band_is_the_tabulated_one():
    found = {n: band(n) for n in (500, 1000, 2500, 10_000)}
    assert found == {500: (11, 42), 1000: (29, 74), 2500: (91, 162), 10_000: (430, 573)}


@pytest.mark.parametrize("scenario", ["independent", "stimulus", "bursts"])
def test_repairing_is_at_its_level_whatever_the_paradigm(scenario):
    assert at_level(load("calibration").repairing_p(tables(scenario)) <= 0.05)


@pytest.mark.parametrize("kind", ["phase", "shift"])
def test_surrogates_are_at_their_level_on_independent_persons(kind):
    assert at_level(ranks(kind, "independent") == 0)


def test_ranks_of_phase_surrogates_are_even():
    from scipy.stats import chisquare

    counts = np.bincount(ranks("phase", "independent"), minlength=N_DRAWS + 1)
    assert len(counts) == N_DRAWS + 1
    assert chisquare(counts).pvalue > 0.001


@pytest.mark.parametrize("scenario", ["stimulus", "bursts"])
def test_phase_surrogates_take_a_shared_paradigm_for_coupling(scenario):
    assert np.mean(ranks("phase", scenario) == 0) > 0.10


def test_phase_surrogates_find_strong_coupling_of_a_single_dyad():
    assert np.mean(ranks("phase", "coupled 1.2", 150) == 0) >= 0.8


def test_red_noise_is_at_its_level_on_red_noise_alone():
    assert at_level(ranks("ar1", "ar1") == 0)
    assert np.mean(ranks("ar1", "independent", 100) == 0) > 0.15


def test_a_group_without_fixed_points_rejects_too_often():
    calibration, values = load("calibration"), person_effects(2000, 5)
    assert at_level(calibration.repairing_p(values) <= 0.05)
    assert np.sum(calibration.derangement_p(values) <= 0.05) > band(2000)[1]


def test_pseudo_dyads_are_no_independent_observations():
    calibration, values = load("calibration"), person_effects(2000, 5)
    for p in (calibration.welch_p, calibration.own_pseudo_p):
        assert np.sum(p(values, 0) <= 0.05) < band(2000)[0]


def test_means_of_epochs_do_not_depend_on_their_length_but_those_of_short_recordings_do():
    calibration = load("calibration")
    pairs = load("scenarios").simulate("independent", 100, seed=SEED, duration_s=calibration.RECORD_S)[:, 0]
    short, long = calibration.of_durations(pairs, (6.0, 10.0), (30.0, 120.0))
    spread = long["cut_from_whole"]["standard_error"] + short["cut_from_whole"]["standard_error"]
    assert abs(short["cut_from_whole"]["mean"] - long["cut_from_whole"]["mean"]) < 2 * spread
    assert short["transformed_alone"]["mean"] - short["cut_from_whole"]["mean"] > 0.03
