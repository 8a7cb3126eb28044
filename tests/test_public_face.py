"""What a lab types: one spelling for each idea, unknown words refused with the nearest one, complete docstrings."""

import inspect
import re
from functools import partial

import pytest
from refusals import plan_refusal

import ibsync as ibs

FUNCTIONS = [name for name in ibs.__all__ if inspect.isroutine(getattr(ibs, name))]
ABANDONED = {"n_perm", "n_draws", "n_surrogates", "order", "chroma", "chromas", "sims", "lag", "wanted", "measures"}
"""Other spellings of n, time, signal, n_sims, ahead, target_power and measure."""
LAG_OF_SIGNALS = {"simulate"}
"""Here a lag is a time between signals."""
TWO_SIDED = ("contrast", "plasticity", "outcome", "outcome_parts", "transfer", "study_power")


@pytest.mark.parametrize("name", FUNCTIONS)
def test_each_idea_has_one_spelling(name):
    words = inspect.signature(getattr(ibs, name)).parameters
    assert not ABANDONED & set(words) - ({"lag"} if name in LAG_OF_SIGNALS else set())
    assert words["seed"].default == 0 if "seed" in words else True
    assert words["alpha"].default == 0.05 if "alpha" in words else True


@pytest.mark.parametrize("name", TWO_SIDED)
def test_questions_are_two_sided_by_default(name):
    assert inspect.signature(getattr(ibs, name)).parameters["tail"].default == "two-sided"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_document_what_they_take_return_and_refuse(name):
    function = getattr(ibs, name)
    text = inspect.getdoc(function) or ""
    for section in ("Parameters", "Returns", "Raises", "Examples"):
        assert f"\n{section}\n{'-' * len(section)}\n" in text, section
    for parameter in inspect.signature(function).parameters:
        assert re.search(rf"^(.*, )?\**{parameter}( :|,|$)", text, re.MULTILINE), parameter


@pytest.mark.parametrize(
    ("ask", "nearest"),
    [
        (partial(ibs.WTC, {"b": (0.1, 0.3)}, preset="grinstd"), "preset='grinstd' is unknown.*mean 'grinsted'"),
        (partial(ibs.WTC, {"b": (0.1, 0.3)}, coi="recordng"), "coi='recordng' is unknown.*mean 'recording'"),
        (partial(ibs.study_power, ibs.SynchronyModel(), [8], [3], tail="grater"), "tail='grater'.*mean 'greater'"),
        (partial(ibs.study_power, ibs.SynchronyModel(), [8], [3], test="plastic"), "test='plastic'.*mean 'plasticity'"),
    ],
)
def test_an_unknown_word_is_refused_with_the_nearest(ask, nearest):
    with pytest.raises(ibs.PlanError, match=nearest):
        ask()


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    path = tmp_path_factory.mktemp("face") / "study.h5"
    return ibs.simulate(path, n_dyads=3, n_channels=1, duration=60.0, sfreq=5.0)


def test_the_verbs_of_a_study_refuse_unknown_words(study):
    spec = ibs.WTC({"b": (0.1, 0.3)})
    for words, nearest in (
        ({"kind": "phse"}, "kind='phse' is unknown"),
        ({"kind": "block", "options": {"lenght": 3.0}}, "of kind 'block' have no option 'lenght'"),
        ({"within": ["grop"]}, "did you mean 'group'?"),
        ({"within": "group"}, "write within=['group']"),
        ({"pairs": "al"}, "did you mean 'all'?"),
        ({"measure": "coherense"}, "did you mean 'coherence'?"),
        ({"kind": "phase", "tail": "greter"}, "did you mean 'greater'?"),
        ({"roles": "fixe"}, "did you mean 'fixed'?"),
    ):
        plan_refusal(partial(study.null, spec, **words), nearest)


def test_pictures_and_maps_pass_no_word_over(study):
    real = study.synchrony(ibs.WTC({"b": (0.1, 0.3)}))
    plan_refusal(partial(ibs.plot.pair_matrix, real, show="values"), "show='values' is", "did you mean 'value'?")
    x = [0.0, 1.0, 0.0, -1.0] * 50
    plan_refusal(partial(ibs.wtc, x, x, sfreq=5.0, backend="cuda"), "maps are computed on the CPU")


def test_what_is_no_data_and_no_null_is_refused_by_name(study):
    spec = ibs.WTC({"b": (0.1, 0.3)})
    real, null = study.synchrony(spec), study.null(spec, n=5)
    for ask, words in (
        (partial(ibs.test, real, None), ["Study.null", "NoneType"]),
        (partial(ibs.test, None, null), ["Study.synchrony", "NoneType"]),
        (partial(ibs.test, real, null, correct=5), ["correct=5 is not a list"]),
        (partial(ibs.test_together, [], []), ["as many nulls"]),
        (partial(ibs.test_together, [real], [null, null]), ["as many nulls"]),
        (partial(ibs.test_together, real, null), ["as many nulls"]),
        (partial(ibs.contrast, None, ("a", "b")), ["Study.synchrony", "NoneType"]),
        (partial(ibs.plasticity, None), ["Study.synchrony", "NoneType"]),
        (partial(ibs.plasticity, real, kind="partners"), ["null="]),
        (partial(ibs.outcome, None, "x"), ["Study.synchrony", "NoneType"]),
        (partial(study.null, spec, within=1), ["within=1 is not a list"]),
        (partial(study.null, spec, kind="phase", n=True), ["True draws"]),
        (partial(study.null, spec, kind="phase", n=1.5), ["1.5 draws"]),
    ):
        plan_refusal(ask, *words)
