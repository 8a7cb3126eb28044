"""Permutation tests in one call: the settings of a test as keywords."""

from ibsync.inference import repaired_test, signflip
from ibsync.inference.partial_correlation import FreedmanLane
from ibsync.inference.permutation_test import permutation_test
from ibsync.inference.settings import TestSettings as Settings
from ibsync.nulls.draws import Draws, list_up_to
from ibsync.nulls.relabelling import Permutations, Signs


def repair_test(null, *, tail="greater", correct=None, **options):
    return repaired_test.repair_test(null, Settings(tail=tail, correct=correct), **options)


def sign_flip_test(values, labels, *, n=10_000, seed=0, tail="two-sided", correct=None, **options):
    """Flips of the signs of values [unit, feature]."""
    settings = Settings(n, seed, tail, correct)
    draws = Draws.plan(Signs(tuple(labels)), n, seed, list_up_to=list_up_to(settings.corrections))
    return signflip.sign_flip_test(values, draws, settings, **options)


def p_of_draws(statistic, *, tail="two-sided", correct=None, **options):
    return permutation_test(statistic, Settings(tail=tail, correct=correct), **options)


def permutations(units, strata=None, n=10_000, seed=0, **options):
    """Draws of permutations within strata."""
    strata = [""] * len(units) if strata is None else strata
    return Draws.plan(Permutations(tuple(units), tuple(strata)), n, seed, **options)


def freedman_lane(values, outcome, nuisance, draws, *, groups=None, **words):
    return p_of_draws(FreedmanLane(values, outcome, nuisance, draws, groups), **words)
