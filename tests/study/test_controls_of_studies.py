"""Controls in studies: against the engine and slow forms, in every null, and refusals before long work."""

from dataclasses import replace

import numpy as np
import pytest
from controlled import AUXILIARY, CHANNELS, LONG, SFREQ, SHORT, SPEC, N, made
from numpy.testing import assert_allclose, assert_array_equal
from refusals import plan_refusal, refusal

from ibsync.coupling.engine import Engine
from ibsync.coupling.spec import WTC
from ibsync.errors import InputError
from ibsync.questions.group_test import test as group_test
from ibsync.study.controls import Controls, components, others, regressed
from ibsync.study.wtc import partial_wtc

FAST = WTC({"fast": (0.5, 1)})


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return made(tmp_path_factory.mktemp("study") / "four.h5")


def by_engine(study, row, *, apart=None, common=()):
    """Coherence of a dyad [a, b, band], its controls put together by hand."""
    engine = Engine(N, SFREQ, SPEC, backend="numpy")
    features = []
    for recording in (row.recording_a, row.recording_b):
        x, aux = study.signals(recording, "hbo"), study.auxiliary(recording)
        rows = [*x[:3], *([] if apart is None else apart(x[:3]))]
        rows += [x[CHANNELS.index(name)] if name in CHANNELS else aux[AUXILIARY.index(name)] for name in common]
        features.append(engine.features(np.array(rows), n_controls=len(common), apart=apart is not None))
    return engine.coherence(*features).coherence[..., 0]


# --- real synchrony ---------------------------------------------------------------------------------------------------


def test_short_channels_are_not_tested_unless_they_are_named(study):
    assert tuple(study.synchrony(SPEC)["channel_a"].values) == LONG
    named = study.synchrony(SPEC, pairs=[("S3_D3", "S4_D4")])
    assert np.isfinite(named["coherence"].sel(channel_a="S3_D3", channel_b="S4_D4")).all()


@pytest.mark.parametrize("controls", [["short", "heart_rate"], ["heart_rate"], ["resp", "S3_D3"], ["short"]])
def test_values_are_those_of_the_engine(study, controls):
    real = study.synchrony(SPEC, controls=controls, how="own")
    common = [name for word in controls for name in (SHORT if word == "short" else [word])]
    expected = by_engine(study, study.dyads[1], common=common)
    assert_allclose(real["coherence"].values[1, 0], expected, rtol=0, atol=1e-5)


def test_global_is_the_mean_of_all_other_channels(study):
    def mean(x):
        return [np.delete(x - x.mean(axis=1, keepdims=True), k, axis=0).mean(axis=0) for k in range(3)]

    real = study.synchrony(SPEC, controls=["global", "heart_rate"], how="own")
    expected = by_engine(study, study.dyads[2], apart=mean, common=["heart_rate"])
    assert_allclose(real["coherence"].values[2, 0], expected, rtol=0, atol=1e-5)


def test_controls_that_are_channels_are_not_tested(study):
    real = study.synchrony(SPEC, controls=["S1_D2"])
    assert tuple(real["channel_a"].values) == ("S1_D1", "S2_D2")


def test_both_equals_partial_wtc(study):
    real = study.synchrony(SPEC, controls=["short", "resp"], how="both")
    a, b = (
        (study.signals(r, "hbo"), study.auxiliary(r)) for r in (study.dyads[0].recording_a, study.dyads[0].recording_b)
    )
    controls = np.concatenate([part for x, aux in (a, b) for part in (x[3:], aux[1:])])
    expected = partial_wtc(a[0][:3], b[0][:3], controls, sfreq=SFREQ, spec=SPEC)
    assert_allclose(real["coherence"].values[0, 0], expected["coherence"].values[..., 0], rtol=0, atol=3e-5)


def test_regression_is_least_squares_before_the_transform(study):
    real = study.synchrony(SPEC, controls=["short", "heart_rate"], how="regression")
    engine = Engine(N, SFREQ, SPEC, backend="numpy")
    features = []
    for recording in (study.dyads[0].recording_a, study.dyads[0].recording_b):
        x = study.signals(recording, "hbo").astype(float)
        columns = np.column_stack([np.ones(N), *x[3:], study.auxiliary(recording)[0]])
        left = x[:3].T - columns @ np.linalg.lstsq(columns, x[:3].T, rcond=None)[0]
        features.append(engine.features(left.T))
    assert_allclose(real["coherence"].values[0, 0], engine.coherence(*features).coherence[..., 0], rtol=0, atol=1e-5)


def test_people_with_more_short_channels_give_as_many_components(tmp_path):
    study = made(tmp_path / "s.h5", n_short=lambda k: 1 + k % 2)
    real = study.synchrony(SPEC, controls=["short"], how="own")
    assert '"n": 1' in real.attrs["controls"]
    x = study.signals("d0b", "hbo")
    unit = (x[3:] - x[3:].mean(axis=1, keepdims=True)) / x[3:].std(axis=1, keepdims=True)
    first = np.linalg.svd(unit.astype(float), full_matrices=False)[2][0]
    engine = Engine(N, SFREQ, SPEC, backend="numpy")
    features = engine.features(np.stack([*x[:3], first]), n_controls=1)
    other = engine.features(study.signals("d0a", "hbo"), n_controls=1)
    expected = engine.coherence(other, features).coherence[..., 0]
    assert_allclose(real["coherence"].values[0, 0], expected, rtol=0, atol=1e-5)


def test_controls_of_both_are_taken_out_unless_another_word_is_given(study):
    assert_allclose(*(study.synchrony(FAST, controls=["short"], **w)["coherence"] for w in ({}, {"how": "both"})))


def test_own_controls_are_warned_of(study):
    words = {"controls": ["short"], "how": "own"}
    with pytest.warns(RuntimeWarning, match="pass for synchrony .*: take out the controls of both, how='both'"):
        result = group_test(study.synchrony(FAST, **words), study.null(FAST, **words), correct=[])
    assert "with how='own', controls that are coherent" in result.headline


# --- nulls ------------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:with how='own'")
@pytest.mark.parametrize("how", ["own", "both", "regression"])
def test_re_pairing_holds_the_same_real_values(study, how):
    words = {"controls": ["short", "heart_rate"], "how": how}
    result = group_test(study.synchrony(FAST, **words), study.null(FAST, **words), correct=["max"], alpha=0.2)
    assert np.isfinite(result.dataset["p"]).all()


@pytest.mark.parametrize(
    ("controls", "how"), [(["heart_rate"], "own"), (["global", "short"], "own"), (["short"], "both")]
)
def test_re_paired_values_are_those_of_dyads_that_met_so(study, controls, how):
    words = {"controls": controls, "how": how}
    null = study.null(FAST, kind="repair", n=19, **words)
    mixed = replace(study.dyads[0], recording_b=study.dyads[1].recording_b, person_b="p1b")
    expected = replace(study, all_dyads=(mixed,)).synchrony(FAST, **words)["coherence"].values[0, 0]
    assert_allclose(null.pair_values[0, 0, 1].reshape(expected.shape), expected, rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore:autoregressive noise", "ignore:with how='own'")
@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("phase", "own"),
        ("phase", "regression"),
        ("shift", "both"),
        *(pytest.param(kind, "both", marks=pytest.mark.slow) for kind in ("phase", "block", "ar1")),
        *(pytest.param(kind, "own", marks=pytest.mark.slow) for kind in ("shift", "block", "iaaft", "ar1")),
    ],
)
def test_surrogates_hold_the_same_real_values(study, kind, how):
    few = study.select(dyad="d0", duration=30)
    words = {"controls": ["heart_rate"], "how": how}
    options = {"block": 10.0} if kind == "block" else None
    null = few.null(FAST, kind=kind, n=3, seed=3, options=options, **words)
    result = group_test(few.synchrony(FAST, **words), null, correct=["max"], alpha=0.5)
    assert np.isfinite(result.dataset["p"]).all()


def test_a_draw_is_the_engine_on_the_surrogates_of_channels_and_controls(study):
    from ibsync.nulls.random_streams import entity_ids
    from ibsync.nulls.surrogate_signals import surrogates
    from ibsync.study.planned import rehearsed, request_of
    from ibsync.study.runner import Worker
    from ibsync.study.surrogate_runs import sources_of

    request = request_of(SPEC, kind="phase", n=3, seed=5, controls=["short"], how="own", backend="numpy")
    worker = Worker("numpy")
    request = replace(request, controls=rehearsed(study, request, worker).controls)
    found = sources_of(study, request, worker)[0][0].values(np.array([0, 2]))
    x, y = (study.signals(name, "hbo").astype(float) for name in ("d0a", "d0b"))
    turned = surrogates("phase", y, np.array([2]), seed=5, entity=int(entity_ids(["p0a | 1 | ", "p0b | 1 | "])[1]))[0]
    engine = Engine(N, SFREQ, SPEC, backend="numpy")
    expected = engine.coherence(engine.features(x, n_controls=2), engine.features(turned, n_controls=2))
    assert_allclose(found[1, 0], expected.coherence[..., 0], rtol=0, atol=1e-5)


def test_trials_take_controls_too(study):
    epochs = {"talk": [(0, 20), (20, 40), (40, 60)]}
    spec = WTC({"fast": (0.5, 1)})
    null = study.select(dyad="d0").null(spec, kind="trial", n=5, epochs=epochs, controls=["heart_rate"])
    assert np.isfinite(null.observed).all()


def test_interchangeable_roles_take_controls_too(study):
    words = {"controls": ["short"], "how": "both"}
    null = study.null(FAST, kind="repair", roles="interchangeable", n=19, **words)
    result = group_test(study.synchrony(FAST, **words), null, correct=["max"], alpha=0.2)
    assert np.isfinite(result.dataset["p"]).all()


def test_real_and_null_of_other_controls_are_refused(study):
    real, null = study.synchrony(SPEC, controls=["short"]), study.null(SPEC, n=19)
    plan_refusal(lambda: group_test(real, null), "differ in controls", "compute both with the same words")


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ({"controls": ["heart_rat"]}, ["nobody has 'heart_rat'", "did you mean 'heart_rate'?"]),
        ({"controls": 3}, ["controls=3 must be a list of names"]),
        ({"controls": ["resp", "resp"]}, ["names one twice"]),
        ({"controls": ["resp"], "how": "partial"}, ["how", "own", "both", "regression"]),
        ({"controls": ["global"], "how": "both"}, ["how='both' does not take 'global'"]),
        ({"controls": ["short"], "n_components": 0}, ["n_components=0 must be a whole number from 1 to 8"]),
        ({"controls": ["S1_D1"], "pairs": [("S1_D1", "S2_D2")]}, ["'S1_D1' is a control", "leave it out"]),
        ({"controls": [*AUXILIARY, *LONG[:2], "S3_D3"], "how": "both"}, ["10 controls", "name fewer"]),
    ],
)
def test_words_that_cannot_be_are_refused(study, words, parts):
    plan_refusal(lambda: study.synchrony(SPEC, **words), *parts)
    if "how" not in parts:
        assert not study.check(SPEC, **words).ok if "nobody" in parts[0] else True


def test_short_without_short_channels_is_refused(tmp_path):
    study = made(tmp_path / "s.h5", n_short=lambda _: 0)
    plan_refusal(lambda: study.synchrony(SPEC, controls=["short"]), "no recording of this study has a short channel")


@pytest.mark.parametrize(
    ("control", "change", "parts"),
    [
        ("short", lambda one, x: (replace(one, short=()), x), ["has no good short channel"]),
        ("resp", lambda one, x: (replace(one, auxiliary=("heart_rate", "ecg")), x), ["has no control 'resp'"]),
        ("S1_D2", lambda one, x: (replace(one, good=(True, False, True, True, True)), x), ["has no control 'S1_D2'"]),
        ("resp", lambda one, x: (one, x | {"auxiliary": np.full((2, N), np.nan, np.float32)}), ["does not vary"]),
        ("resp", lambda one, x: (one, x | {"auxiliary": np.ones((2, N), np.float32)}), ["does not vary"]),
        ("resp", lambda one, x: (one, x | {"auxiliary": 3 * x["hbo"][:2] + 1}), ["is channel 'S1_D2' itself"]),
    ],
)
def test_a_person_without_the_control_is_named(tmp_path, control, change, parts):
    def of_one(one, x):
        return change(one, x) if one.id == "d2b" else (one, x)

    study = made(tmp_path / "s.h5", change=of_one)
    text = refusal(InputError, lambda: study.null(SPEC, controls=[control]), "dyad 'd2', session '1', p2b", *parts)
    assert study.check(SPEC, controls=[control]).problems[0] in text


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_components_span_the_signals():
    x = np.random.default_rng(0).standard_normal((3, 50))
    unit = (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)
    found = components(x, 3)
    assert_allclose(np.linalg.lstsq(found.T, unit.T, rcond=None)[0].T @ found, unit, atol=1e-10)
    right = np.linalg.svd(unit, full_matrices=False)[2]
    assert_allclose(abs(np.corrcoef(components(x, 1)[0], right[0])[0, 1]), 1, atol=1e-12)


def test_gaps_of_components_and_of_means():
    x = np.random.default_rng(0).standard_normal((3, 50))
    x[0, 10:20] = x[1, 15:20] = np.nan
    assert_array_equal(np.flatnonzero(np.isnan(components(x, 1)[0])), np.arange(15, 20))
    found = others(x)
    assert_array_equal(np.argwhere(np.isnan(found)), [[2, k] for k in range(15, 20)])
    centred = x - np.nanmean(x, axis=1, keepdims=True)
    assert_allclose(found[2, 12], centred[1, 12])
    x[2, 17] = np.nan
    assert np.isnan(others(x)[:, 17]).all()


def test_regression_leaves_gaps():
    rng = np.random.default_rng(0)
    x, z = rng.standard_normal(50), rng.standard_normal((2, 50))
    x[3], z[1, 7] = np.nan, np.nan
    found = regressed(x, z)
    assert_array_equal(np.flatnonzero(np.isnan(found)), [3, 7])
    there = np.isfinite(found)
    assert_allclose(z[:, there] @ found[there], 0, atol=1e-12)


def test_what_provenance_says():
    assert Controls.of([], "own", 2) is None
    controls = Controls.of("short", "both", 2)
    assert replace(controls, n_short=2).to_dict() == {"of": ["short"], "how": "both", "n_components": 2, "n": 4}


def test_methods_say_what_was_taken_out(study):
    words = {"controls": ["short", "resp"]}
    result = group_test(study.synchrony(FAST, **words), study.null(FAST, **words), correct=["max"], alpha=0.2)
    assert "Of short, resp, the controls of both people were taken out" in result.methods()
    assert "6 signals for each channel" in result.methods()
