"""Studies of trials: values of each trial by itself, trials exchanged, people re-paired, words that do not fit."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from refusals import plan_refusal, refusal

import ibsync as ibs
from ibsync.coupling.band_spec import Coupling
from ibsync.coupling.engine import Engine
from ibsync.coupling.spec import WTC
from ibsync.errors import InputError
from ibsync.results.report import report
from ibsync.results.wording import settings
from ibsync.study.surrogate_partners import exchanged_samples

SFREQ, TRIAL, N_TRIALS = 50.0, 150, 6
BANDS = {"theta": (4, 7), "alpha": (8, 13)}
PLV = Coupling("plv", BANDS, coi="none")
WAVES = WTC({"slow": (1.5, 4)})


def trials(seed, n=N_TRIALS, common=0.0):
    """Trials [trial, channel, sample] of two channels."""
    return np.random.default_rng(seed).standard_normal((n, 2, TRIAL)) + common


@pytest.fixture(scope="module")
def study():
    """Three dyads, of which the third has one trial less."""
    people = {}
    for k in range(3):
        n = N_TRIALS - (k == 2)
        common = np.random.default_rng(100 + k).standard_normal((n, 1, TRIAL))
        people |= {f"a{k}": trials(2 * k, n, common), f"b{k}": trials(2 * k + 1, n, common)}
    dyads = [(f"d{k}", f"a{k}", f"b{k}") for k in range(3)]
    return ibs.Study.from_arrays(people, dyads, sfreq=SFREQ, signal="eeg")


def signals(study, row):
    return [study.signals(recording, "eeg") for recording in (row.recording_a, row.recording_b)]


def direct(spec, x, y, **words):
    """Values [epoch, a, b, band] of two recordings by the engine."""
    engine = Engine(x.shape[1], SFREQ, spec, backend="numpy", trial=TRIAL, **words)
    return np.moveaxis(engine.measure(engine.features(x), engine.features(y), spec.measure), -1, 0)


def test_a_study_keeps_the_trials(study):
    recording = study.dyads[0].recording_a
    assert (recording.n_trials, recording.trial_samples) == (N_TRIALS, TRIAL)
    assert_allclose(study.signals(recording, "eeg")[:, :TRIAL], signals(study, study.dyads[0])[0][:, :TRIAL])
    assert "5 to 6 of 3 s in 6 of 6 recordings" in str(study)
    assert study.select(duration=7).dyads[0].recording_a.n_trials == 2
    refusal(InputError, lambda: study.select(duration=1), "a trial has 3 s")


@pytest.mark.parametrize("spec", [PLV, WAVES])
@pytest.mark.parametrize("epochs", [None, {"late": (1.5, 3)}])
def test_synchrony_is_that_of_the_engine_of_trials(study, spec, epochs):
    real = study.synchrony(spec, signal="eeg", epochs=epochs)
    assert settings(real.attrs, "epochs") == ({"late": [[1.5, 3.0]]} if epochs else {})
    for k, row in enumerate(study.dyads):
        x, y = signals(study, row)
        every = {"late": [(3 * t + 1.5, 3 * t + 3) for t in range(row.recording_a.n_trials)]}
        expected = direct(spec, x, y, epochs=every if epochs else None)
        assert_allclose(real[spec.measure].values[k], expected, rtol=0, atol=1e-6)
    assert (real.attrs["trials"], real.attrs["trial_s"]) == ("5 to 6", "3")


@pytest.mark.parametrize("spec", [PLV, WAVES])
def test_people_meet_trial_by_trial_cut_to_equal_numbers(study, spec):
    null = study.null(spec, signal="eeg", n=6)
    n = TRIAL * (N_TRIALS - 1)
    x, y = signals(study, study.dyads[0])[0][:, :n], signals(study, study.dyads[2])[1]
    assert_allclose(null.pair_values[0, 0, 2].reshape(1, 2, 2, -1), direct(spec, x, y), rtol=0, atol=1e-6)
    assert "15 of 18 s" in str(null.attrs["lost"])


@pytest.mark.parametrize("spec", [PLV, WAVES])
def test_a_draw_exchanges_the_trials_of_the_second_person(study, spec, tmp_path):
    one = study.select(dyad="d0")
    null = one.null(spec, kind="trial", signal="eeg", n=19)
    real = one.synchrony(spec, signal="eeg")
    assert_allclose(null.observed.reshape(-1), real[spec.measure].values.reshape(-1), rtol=0, atol=1e-6)
    result = ibs.test(real, null, correct=["max"])
    assert "6 trials of 3 s in each dyad" in result.methods()
    assert "exchange of trials" in result.methods()
    assert result.to_frame()["p"].min() == 0.05  # what they share is gone once trials are exchanged
    assert report(result, tmp_path / "page.html").exists()


def test_trials_are_exchanged_within_epochs_and_whole():
    draws = np.arange(5)
    order = exchanged_samples(12, draws, 3, trial=2, groups=[(7, [0, 2, 3]), (8, [1, 5])])
    assert (order[0] == np.arange(12)).all()
    by_trial = order.reshape(5, 6, 2)
    assert (by_trial[..., 1] == by_trial[..., 0] + 1).all()
    number = by_trial[..., 0] // 2
    assert (np.sort(number[:, [0, 2, 3]]) == [0, 2, 3]).all()
    assert (np.sort(number[:, [1, 5]]) == [1, 5]).all()
    assert (number[:, 4] == 4).all()
    assert len({tuple(of_draw) for of_draw in number}) > 2


def test_trials_of_one_label_are_an_epoch(tmp_path):
    mne = pytest.importorskip("mne")
    info = mne.create_info(["Fz", "Cz"], SFREQ, "eeg")
    events = np.array([[k * TRIAL, 0, 1 + k % 2] for k in range(N_TRIALS)])
    made = {
        name: mne.EpochsArray(trials(seed), info, events, event_id={"rest": 1, "talk": 2}, verbose="error")
        for name, seed in (("p1", 0), ("p2", 1))
    }
    study = ibs.Study.from_arrays(made)
    real = study.synchrony(PLV, signal="eeg", epochs=["talk"])
    x, y = (trials(seed)[1::2].swapaxes(0, 1).reshape(2, -1) for seed in (0, 1))
    assert_allclose(real.plv.values[0], direct(PLV, x, y), rtol=0, atol=1e-6)
    null = study.null(PLV, kind="trial", signal="eeg", epochs=["rest", "talk"], n=19)
    assert_allclose(null.observed.reshape(2, 2, 2, 2)[1], real.plv.values[0, 0], rtol=0, atol=1e-6)


def test_conditions_of_trials_are_contrasted_and_lags_stay_within_trials(tmp_path):
    mne = pytest.importorskip("mne")
    info, people = mne.create_info(["Fz", "Cz"], SFREQ, "eeg"), {}
    events = np.array([[k * TRIAL, 0, 1 + k % 2] for k in range(2 * N_TRIALS)])
    for k in range(7):
        common = trials(100 + k, 2 * N_TRIALS)[:, :1] * (np.arange(2 * N_TRIALS) % 2)[:, None, None]
        for side in "ab":
            x = trials(10 * k + (side == "b"), 2 * N_TRIALS) + common
            people[f"{side}{k}"] = mne.EpochsArray(x, info, events, 0, {"rest": 1, "talk": 2}, verbose="error")
    study = ibs.Study.from_arrays(people, [(f"d{k}", f"a{k}", f"b{k}") for k in range(7)])
    real = study.synchrony(PLV, signal="eeg", epochs=["talk", "rest"])
    found = ibs.contrast(real, ("talk", "rest"), correct=["max"])
    assert (found.to_frame()["p_max"].min(), len(found.dataset["channel_a"])) == (2 / 128, 2)
    lags = study.synchrony(Coupling("plv", {"alpha": (8, 13)}, coi="none", lags=(-0.1, 0, 0.1)), signal="eeg")
    early, now, late = lags.plv.mean(["dyad", "epoch", "channel_a", "channel_b", "band"]).values
    assert max(early, late) < now / 2


def test_arrays_give_means_over_trials():
    a, b = trials(0), trials(1)
    found = ibs.wtc(a, b, SFREQ, bands={"slow": (1.5, 4)}, epochs={"late": (1.5, 3)}, min_valid=0.1)
    x, y = (side.swapaxes(0, 1).reshape(2, -1) for side in (a, b))
    every = {"late": [(3 * k + 1.5, 3 * k + 3) for k in range(N_TRIALS)]}
    expected = direct(WTC({"slow": (1.5, 4)}, min_valid=0.1), x, y, epochs=every)
    assert_allclose(np.moveaxis(found.coherence.values, -1, 0), expected, rtol=0, atol=1e-6)


def test_equal_numbers_of_trials_have_one_level_and_unbiased_forms_do_not_change():
    rng = np.random.default_rng(4)
    level = {}
    for n in (20, 60):
        x, y = rng.standard_normal((2, 40, n * TRIAL))
        for kind in ("plv", "coh", "pli", "ppc", "dwpli"):
            values = direct(Coupling(kind, {"alpha": (8, 13)}, coi="none"), x, y)
            level[kind, n] = np.mean(values)
    for kind in ("plv", "coh", "pli"):
        assert_allclose(level[kind, 20] / level[kind, 60], 3**0.5, rtol=0.1)
    for kind in ("ppc", "dwpli"):
        assert abs(level[kind, 20]) < 0.2 * level["plv", 20]


def test_what_does_not_fit_is_refused_with_the_fix(study):
    spec = Coupling("plv", BANDS)
    plan_refusal(lambda: study.null(spec, kind="phase", signal="eeg"), "d0", "kind='trial'", "'repair'")
    plan_refusal(lambda: ibs.calibrate(study, PLV, signal="eeg"), "d0", "before they are cut")
    slow = Coupling("plv", {"slow": (0.1, 0.3)}, coi="none")
    plan_refusal(lambda: study.synchrony(slow, signal="eeg"), "a trial lasts 3 s", "cut longer trials")
    long = Coupling("plv", {"theta": (1, 3)})
    plan_refusal(lambda: study.synchrony(long, signal="eeg"), "a filter of 3.3", "coi='none'")
    waves = WTC({"slow": (0.2, 0.5)})
    plan_refusal(lambda: study.synchrony(waves, signal="eeg"), "trials of 3 s", "cut trials of ")
    plan_refusal(lambda: study.synchrony(PLV, signal="eeg", epochs={"x": (1, 4)}), "within a trial of 3 s", "label")
    plan_refusal(lambda: ibs.wtc(trials(0), trials(1), SFREQ), "name bands")
    plan_refusal(lambda: ibs.xwt(trials(0), trials(1), SFREQ), "give one trial")
    refusal(InputError, lambda: ibs.wtc(trials(0), trials(1, 5), SFREQ, bands={"b": (1.5, 4)}), "6 trials", "5 trials")
    single = ibs.Study.from_arrays({"p": trials(0, 1), "q": trials(1, 1)}, sfreq=SFREQ, signal="eeg")
    plan_refusal(lambda: single.null(PLV, kind="trial", signal="eeg"), "single trial", "two and more")
    other = {"p": trials(0), "q": trials(1), "r": trials(2)[..., :120], "s": trials(3)[..., :120]}
    mixed = ibs.Study.from_arrays(other, [("d", "p", "q"), ("e", "r", "s")], sfreq=SFREQ, signal="eeg")
    refusal(InputError, lambda: mixed.null(PLV, signal="eeg"), "trials of 2.4 s", "trials of 3 s", "cut all alike")
