"""The table of measures: formulas against their definitions, symmetries, and who else has to know each name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from refusals import plan_refusal as refusal

from ibsync.coupling.engine import Engine
from ibsync.coupling.measures import COUPLINGS, MEASURES, PHASES, measure_in, measure_named
from ibsync.coupling.plan import full_resolution_weights
from ibsync.coupling.spec import WTC
from ibsync.coupling.transform.definition import coherency
from ibsync.coupling.wavelet_coherence import Coherence
from ibsync.nulls.hypotheses import REPAIRED, SURROGATES
from ibsync.study.planned import NULL_KINDS

N, SFREQ = 600, 10.0
BANDS = {"slow": (0.06, 0.2), "fast": (0.3, 0.8)}
EPOCHS = {"early": (0, 30), "late": [(25, 40), (42, 58)]}
OF_CELLS = [name for name in MEASURES if name not in COUPLINGS]
DOCS = Path(__file__).parents[2] / "docs"


def lagged(n_channels, lag=4, seed=0):
    """Two people with noise in common, the second later by `lag` samples: float64 [channel, sample] each."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal(N)
    return common + rng.standard_normal((n_channels, N)), np.roll(common, lag) + rng.standard_normal((n_channels, N))


def measured(name, a, b, accuracy="exact", backend="numpy"):
    engine = Engine(N, SFREQ, WTC(BANDS, accuracy=accuracy), epochs=EPOCHS, backend=backend)
    return engine.measure(engine.features(a), engine.features(b), name)


# --- formulas ---------------------------------------------------------------------------------------------------------


def test_measures_are_the_numbers_of_their_names():
    means = Coherence(
        np.array([0.25, np.nan, 1.0]),
        np.array([0.3 - 0.4j, np.nan, 1j]),
        np.ones(3),
        shares=np.array([[0.1, 0.2, 0.3, 0.4], [np.nan] * 4, [np.nan] * 4]),
        above=np.array([0.5, np.nan, 0]),
    )
    expected = {
        "coherence": [0.25, np.nan, 1],
        "phase_consistency": [0.5, np.nan, 1],
        "imaginary_coherency": [-0.4, np.nan, 1],
        "in_phase": [0.05, np.nan, 0],
        "a_leads": [0.1, np.nan, 0],
        "b_leads": [0.15, np.nan, 0],
        "anti_phase": [0.2, np.nan, 0],
        "above": [0.5, np.nan, 0],
    }
    assert list(expected) == OF_CELLS
    for name, values in expected.items():
        assert_allclose(MEASURES[name].of(means), values, rtol=1e-15)


@pytest.mark.parametrize(("accuracy", "limit"), [("exact", 3e-5), ("fast", 5e-4), ("reference", 1e-12)])
def test_imaginary_coherency_is_the_mean_of_the_imaginary_part_over_all_cells(accuracy, limit, backend):
    if accuracy == "reference" and backend == "cuda":
        pytest.skip("the definition is computed on the CPU")
    a, b = lagged(2)
    engine = Engine(N, SFREQ, WTC(BANDS, accuracy=accuracy), epochs=EPOCHS, backend=backend)
    found = engine.measure(engine.features(a), engine.features(b), "imaginary_coherency")
    weights = full_resolution_weights(engine.plan)
    expected = np.empty((2, 2, weights.shape[0]))
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            cells = np.imag(coherency(x, y, engine.plan.scales))
            expected[i, j] = [(w * cells).sum() / w.sum() for w in weights]
    assert_allclose(found.reshape(expected.shape), expected, rtol=0, atol=limit)
    assert expected.max() > 0.2  # a leads


def test_a_mean_of_unit_vectors_stays_within_the_range_of_its_measure():
    one = np.full(2, 1 + 1e-7)
    means = Coherence(one, one * np.array([1, -1j]), np.ones(2))
    assert_array_equal(MEASURES["phase_consistency"].of(means), [1, 1])
    assert_array_equal(MEASURES["imaginary_coherency"].of(means), [0, -1])


# --- symmetries -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OF_CELLS)
def test_measures_with_a_direction_change_with_the_order_of_the_two_and_others_do_not(name):
    a, b = lagged(3)
    there, back = measured(name, a, b), np.swapaxes(measured(name, b, a), 0, 1)
    if not MEASURES[name].directed:
        assert_allclose(back, there, rtol=0, atol=1e-6)
    else:
        assert np.abs(back - there).max() > 0.05
    if name == "imaginary_coherency":
        assert_allclose(back, -there, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", OF_CELLS)
def test_the_range_has_a_sign_where_values_have_one(name):
    values = measured(name, *lagged(3, lag=-4))
    low, high = MEASURES[name].range
    assert values.min() >= low
    assert values.max() <= high
    assert MEASURES[name].signed == (values.min() < 0)
    assert MEASURES[name].tail == ("two-sided" if MEASURES[name].signed else "greater")


# --- names ------------------------------------------------------------------------------------------------------------


def test_an_unknown_measure_is_refused_with_the_nearest_name():
    refusal(lambda: measure_named("anti-phase"), "'anti-phase'", "did you mean 'anti_phase'?")
    refusal(lambda: measure_named("qqq"), "'qqq'", "'coherence'", "'above'")
    refusal(lambda: measured("coherance", *lagged(1)), "'coherance'", "'coherence'")
    refusal(lambda: measure_in({"measure": "plw"}), "'plw'", "did you mean 'plv'?")
    assert measure_in({}).name == "coherence"


def test_every_measure_is_described_once_and_stands_in_the_documentation():
    pages = [(DOCS / page).read_text(encoding="utf-8") for page in ("method.md", "measures.md")]
    rows = [line for page in pages for line in page.splitlines() if line.startswith("| `")]
    for name, measure in MEASURES.items():
        assert name == measure.name
        assert measure.words
        assert measure.unit
        low, high = measure.range
        assert f"| `{name}` | {measure.definition} | {low:g} to {high:g} | {measure.tail} |" in rows
    words = [measure.words for measure in MEASURES.values()]
    assert len(set(words)) == len(words)
    assert set(PHASES) <= set(MEASURES)


def test_every_null_has_a_hypothesis_and_words():
    for kind in NULL_KINDS:
        null = ({"repair": REPAIRED} | SURROGATES)[kind]
        assert null.kind == kind
        assert null.name
        assert null.statement
        assert null.not_excluded
