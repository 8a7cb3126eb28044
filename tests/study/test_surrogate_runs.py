"""Surrogate nulls of a study, end to end: counts against a slow loop, parts and checkpoints, words, refusals."""

import json
from dataclasses import replace
from functools import wraps
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from refusals import refusal
from scipy.signal import detrend

import ibsync as ibs
from ibsync.commands.cli import main
from ibsync.commands.run import journal_file
from ibsync.coupling.engine import Engine
from ibsync.errors import InputError, PlanError
from ibsync.nulls.random_streams import entity_id
from ibsync.nulls.surrogate_signals import surrogates
from ibsync.recordings.study_file import write_study

SFREQ, DURATION, N_DRAWS = 4.0, 120.0, 39
SPEC = ibs.WTC(bands={"slow": (0.06, 0.15), "fast": (0.3, 0.6)}, accuracy="fast")
TRIALS = {"talk": [(5, 35), (40, 70), (80, 110)]}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    path = tmp_path_factory.mktemp("study") / "s.h5"
    return ibs.simulate(
        path, n_dyads=3, n_channels=2, duration=DURATION, sfreq=SFREQ, coupling=0.8, coupled_band=(0.06, 0.15),
        coupled_pairs=0.5, epochs=[("talk", 5, 35), ("talk", 40, 70), ("talk", 80, 110), ("rest", 0, 20)], seed=4,
    )  # fmt: skip


@pytest.fixture(scope="module")
def real(study):
    return study.synchrony(SPEC)


@pytest.fixture(scope="module")
def null(study):
    return study.null(SPEC, kind="phase", n=N_DRAWS, seed=9)


def warned_test(real, null, **words):
    with pytest.warns(RuntimeWarning, match="no single finding"):
        return ibs.test(real, null, **words)


# --- numbers ----------------------------------------------------------------------------------------------------------


def test_counts_are_those_of_a_loop_over_surrogates_written_out(study, real, null):
    found = warned_test(real, null).dataset
    row = study.dyads[1]
    x, y = (study.signals(recording, "hbo") for recording in (row.recording_a, row.recording_b))
    engine = Engine(x.shape[1], SFREQ, SPEC)
    entity = entity_id(f"{row.person_b} | {row.session} | {row.task}")
    ys = surrogates("phase", y.astype(np.float64), np.arange(N_DRAWS + 1), seed=9, entity=entity)
    u = engine.features(x)
    values = np.stack([engine.coherence(u, engine.features(z)).coherence[..., 0] for z in ys])
    at = found.isel(dyad=1, epoch=0)
    assert_allclose(at["coherence"], values[0], rtol=0, atol=2e-6)
    assert_allclose(at["null_mean"], values.mean(axis=0), rtol=0, atol=2e-6)
    assert_allclose(at["null_sd"], values.std(axis=0), rtol=0, atol=1e-5)
    b = (values[1:] >= values[0]).sum(axis=0)
    assert_array_equal(at["dyad_exceedances"], b)
    assert_allclose(at["dyad_p"], (b + 1) / (N_DRAWS + 1))


def test_coupled_channels_stand_out_and_tables_carry_each_dyads_p(real, null):
    result = warned_test(real, null)
    table = result.to_frame()
    group, dyads = table[table.dyad == "(all)"], table[table.dyad != "(all)"]
    planted = (dyads.channel_a == "S1_D1") & (dyads.channel_b == "S1_D1") & (dyads.band == "slow")
    assert (dyads[planted].p <= 2 / 40).all()
    assert dyads.p.notna().all()
    assert (dyads.p_max >= dyads.p - 1e-12).all()
    assert group.p.min() == 1 / 40
    assert "independent" in result.hypothesis
    assert "does not exclude shared stimuli" in result.hypothesis
    assert "Dyad by dyad" in result.headline
    assert "phase randomisation" in result.methods()


@pytest.fixture(scope="module")
def drifting(study, tmp_path_factory):
    """The same study; one channel of the second person of the second dyad rises by 40 standard deviations."""
    path = tmp_path_factory.mktemp("drifting") / "s.h5"
    recordings = []
    for recording in study.recordings:
        signals = {name: study.signals(recording, name) for name in recording.signal_names}
        if recording.id == study.dyads[1].recording_b.id:
            x = signals["hbo"]
            x[1] += np.float32(40 * x[1].std()) * np.linspace(0, 1, x.shape[1], dtype=np.float32)
        recordings.append((recording, signals))
    write_study(path, recordings, {}, study.all_dyads)
    return ibs.Study.open(path)


@pytest.mark.parametrize("kind", ["phase", "iaaft", "shift", "block"])
def test_surrogates_of_a_recording_that_drifts_are_refused_by_name(drifting, kind):
    row = drifting.dyads[1]
    with pytest.raises(
        InputError, match=r"channel S\d_D\d drifts by \d\d standard dev.*detrend='linear'.*beside the bands"
    ) as caught:
        drifting.null(SPEC, kind=kind, n=3, options={"block": 20} if kind == "block" else None)
    assert row.label in str(caught.value)
    assert row.person_b in str(caught.value)


def test_drift_of_the_person_who_is_not_replaced_does_no_harm(drifting, study):
    turned = [replace(r, recording_a=r.recording_b, recording_b=r.recording_a, person_a=r.person_b, person_b=r.person_a)
              for r in drifting.all_dyads]  # fmt: skip
    replace(drifting, all_dyads=tuple(turned)).null(SPEC, kind="phase", n=2)


def test_detrending_treats_real_and_surrogate_alike_and_stands_in_the_methods(drifting):
    spec = replace(SPEC, detrend="linear")
    real, null = drifting.synchrony(spec), drifting.null(spec, kind="phase", n=N_DRAWS, seed=9)
    found = warned_test(real, null)
    row = drifting.dyads[1]
    x, y = (detrend(drifting.signals(r, "hbo").astype(float)) for r in (row.recording_a, row.recording_b))
    engine = Engine(x.shape[1], SFREQ, SPEC)
    entity = entity_id(f"{row.person_b} | {row.session} | {row.task}")
    ys = surrogates("phase", y, np.arange(N_DRAWS + 1), seed=9, entity=entity)
    u = engine.features(x)
    values = np.stack([engine.coherence(u, engine.features(detrend(z))).coherence[..., 0] for z in ys])
    at = found.dataset.isel(dyad=1, epoch=0)
    assert_allclose(at["coherence"], values[0], rtol=0, atol=1e-5)
    assert_allclose(at["null_mean"], values.mean(axis=0), rtol=0, atol=1e-5)
    assert "best fitting straight line was removed from every recording" in found.methods()


def test_a_draw_of_a_person_does_not_depend_on_who_else_is_in_the_study(study, null, tmp_path):
    kept = study.dyads[1]
    recordings = [(r, {c: study.signals(r, c) for c in r.signal_names}) for r in (kept.recording_a, kept.recording_b)]
    write_study(tmp_path / "one.h5", recordings, {}, [replace(kept, outcomes={})])
    alone = ibs.Study.open(tmp_path / "one.h5").null(SPEC, kind="phase", n=N_DRAWS, seed=9)
    assert_array_equal(alone.by_row[0].exceedances.at_least, null.by_row[1].exceedances.at_least)
    assert_array_equal(alone.by_row[0].moments.sums, null.by_row[1].moments.sums)


def test_the_seed_changes_the_draws(study, null):
    other = study.null(SPEC, kind="phase", n=N_DRAWS, seed=10)
    assert_array_equal(other.observed, null.observed)
    assert (other.by_row[0].moments.sums != null.by_row[0].moments.sums).all()


@pytest.mark.parametrize("kind", ["iaaft", "shift", "block", "ar1", "ar"])
@pytest.mark.filterwarnings("ignore:autoregressive noise")
def test_every_family_runs_and_says_what_it_tests(study, real, kind):
    options = {"iaaft": {"n_iterations": 3}, "block": {"block": 20.0}, "ar": {"order": 2}}.get(kind)
    null = study.null(SPEC, kind=kind, n=19, seed=1, options=options)
    result = ibs.test(real, null, correct=[])
    p = result.dataset["dyad_p"].values
    assert ((p >= 1 / 20) & (p <= 1)).all()
    assert_allclose(null.observed.reshape(real["coherence"].shape), real["coherence"], rtol=0, atol=2e-6)
    assert "hypothesis that" in result.hypothesis


def test_autoregressive_nulls_warn(study):
    with pytest.warns(RuntimeWarning, match="no calibrated null for fNIRS"):
        study.null(SPEC, kind="ar1", n=1)


def test_a_block_is_a_whole_wavelet_by_default(study):
    null = study.null(ibs.WTC(bands={"fast": (0.3, 0.6)}), kind="block", n=1)
    assert json.loads(null.attrs["options"]) == {}
    refusal(PlanError, lambda: study.null(SPEC, kind="block", options={"block": 70}), "120 s", "70 s", "shorter")


def test_the_measure_is_tested_instead_of_coherence(study):
    shares = study.synchrony(SPEC, shares=True)
    null = study.null(SPEC, kind="phase", n=39, seed=2, measure="in_phase")
    result = ibs.test(shares, null, correct=[])
    expected = shares["share_above"] * shares["share_in_phase"].fillna(0)
    assert_allclose(result.dataset["value"], expected, rtol=0, atol=1e-5)
    assert "in-phase" in result.hypothesis
    assert_allclose(result.to_frame()["value"], [*result.dataset["group_statistic"].values.ravel(),
                                                  *expected.values.ravel()], atol=1e-5)  # fmt: skip


# --- trials -----------------------------------------------------------------------------------------------------------


def test_trials_are_exchanged_within_each_dyad(study):
    spec = ibs.WTC(bands={"fast": (0.3, 0.6)})
    real = study.synchrony(spec, epochs=["talk"])
    null = study.null(spec, kind="trial", n=199, seed=3, epochs=["talk"])
    result = ibs.test(real, null, correct=[])
    row = study.dyads[0]
    x, y = (study.signals(recording, "hbo") for recording in (row.recording_a, row.recording_b))
    engine = Engine(120, SFREQ, spec)
    starts = [20, 160, 320]
    own = [
        engine.coherence(engine.features(x[:, s : s + 120]), engine.features(y[:, s : s + 120])).coherence
        for s in starts
    ]
    assert_allclose(result.dataset["value"][0, 0], np.mean(own, axis=0)[..., 0], rtol=0, atol=2e-6)
    # Three trials have six orders: p is near a multiple of 1/6.
    p = result.dataset["dyad_p"].values
    assert np.abs(p * 6 - np.round(p * 6)).max() < 0.75
    assert "trial" in result.hypothesis


def test_a_band_that_only_long_trials_hold_has_a_value_in_these(study):
    """The values of either epoch are those that it has alone."""
    long, short = [(0, 58), (60, 118)], [(0, 20), (30, 50), (60, 80)]
    words = {"kind": "trial", "n": 19, "seed": 3}
    spec = ibs.WTC(bands={"slow": (0.08, 0.15), "fast": (0.3, 0.6)}, accuracy="fast")
    both = study.null(spec, epochs={"long": long, "short": short}, **words).observed
    both = both.reshape(3, 2, 2, 2, 2)  # [row, epoch, channel_a, channel_b, band]
    alone = study.null(spec, epochs={"long": long}, **words).observed
    assert_array_equal(both[:, 0], alone.reshape(3, 2, 2, 2))
    assert np.isfinite(alone).all()
    fast = ibs.WTC(bands={"fast": (0.3, 0.6)}, accuracy="fast")
    alone = study.null(fast, epochs={"short": short}, **words).observed
    assert_allclose(both[:, 1, ..., 1], alone.reshape(3, 2, 2), rtol=0, atol=1e-12)
    assert np.isnan(both[:, 1, ..., 0]).all()


def test_trials_that_cannot_be_exchanged_are_refused(study):
    spec = ibs.WTC(bands={"fast": (0.3, 0.6)})
    refusal(PlanError, lambda: study.null(spec, kind="trial"), "name the epochs")
    refusal(PlanError, lambda: study.null(spec, kind="trial", epochs=["rest"]), "'rest'", "single trial")
    uneven = {"talk": [(5, 35), (40, 80)]}
    refusal(PlanError, lambda: study.null(spec, kind="trial", epochs=uneven), "30 to 40 s", "one length")
    late = {"talk": [(5, 35), (100, 130)]}
    refusal(PlanError, lambda: study.null(spec, kind="trial", epochs=late), "beyond the recording")
    refusal(PlanError, lambda: study.null(SPEC, kind="trial", epochs=TRIALS), "a trial of 30 s", "slow")


# --- parts and checkpoints --------------------------------------------------------------------------------------------


def same_counts(one, other):
    for a, b in zip([*one.by_row, one.together], [*other.by_row, other.together], strict=True):
        assert_array_equal(a.exceedances.at_least, b.exceedances.at_least)
        assert_array_equal(a.moments.sums, b.moments.sums)
        assert_array_equal(a.maxima.values, b.maxima.values)


def test_parts_in_files_merge_into_the_same_null(study, null, tmp_path):
    for number, draws in enumerate([(11, 40), (1, 11)]):
        part = study.null(SPEC, kind="phase", n=N_DRAWS, seed=9, draws=draws)
        ibs.save_null(part, tmp_path / f"{number}.h5")
    merged = ibs.merge_nulls([ibs.load_null(tmp_path / f"{number}.h5") for number in range(2)])
    same_counts(merged, null)
    assert dict(merged.attrs) | {"created": 0} == dict(null.attrs) | {"created": 0}


def nothing_to_run(_jobs, numbers, _worker):
    assert list(numbers) == []
    return iter(())


def nothing_but_real_dyads(jobs, numbers, worker):
    assert all(type(jobs[number]).__name__ == "DyadsJob" for number in numbers)
    return ((number, jobs[number].run(worker)) for number in numbers)


def test_a_journal_is_taken_up_and_a_strange_one_refused(study, null, tmp_path, monkeypatch):
    path = tmp_path / "null.journal"
    words = {"kind": "phase", "n": N_DRAWS, "seed": 9, "journal": path}
    same_counts(study.null(SPEC, **words), null)
    with monkeypatch.context() as patched:
        patched.setattr("ibsync.study.runner._run_here", nothing_to_run)
        same_counts(study.null(SPEC, **words), null)
    refusal(PlanError, lambda: study.null(SPEC, **{**words, "seed": 8}), "seed=9", "8")
    other = ibs.WTC(bands={"slow": (0.06, 0.15)}, accuracy="fast")
    refusal(PlanError, lambda: study.null(other, **words), "another spec")
    refusal(PlanError, lambda: study.null(SPEC, **{**words, "kind": "shift"}), "kind='phase'")
    refusal(PlanError, lambda: study.synchrony(SPEC, journal=path), "another kind")
    refusal(InputError, lambda: study.null(SPEC, **{**words, "journal": tmp_path / "no" / "x"}), "folder")


@pytest.mark.parametrize("stop_at", [None, 5])
def test_an_interrupt_loses_nothing_that_was_finished(study, tmp_path, monkeypatch, stop_at):
    from ibsync.study import surrogate_runs

    monkeypatch.setattr(surrogate_runs, "draws_of_job", lambda *_: 8)
    monkeypatch.setattr(surrogate_runs, "STEP", 8)
    run, done = surrogate_runs.DrawsJob.run, []

    @wraps(run)
    def interrupted(job, worker):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(job.name)
        return run(job, worker)

    words = {"kind": "phase", "n": N_DRAWS, "seed": 9, "stop_at": stop_at}
    whole, words["journal"] = study.null(SPEC, **words), tmp_path / "null.journal"
    with monkeypatch.context() as patched:
        patched.setattr(surrogate_runs.DrawsJob, "run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            study.null(SPEC, **words)
    again = []

    @wraps(run)
    def watched(job, worker):
        again.append(job.name)
        return run(job, worker)

    monkeypatch.setattr(surrogate_runs.DrawsJob, "run", watched)
    same_counts(study.null(SPEC, **words), whole)
    assert len(done) == 3
    assert not set(done) & set(again)


def test_a_repairing_null_is_saved_and_read_back(study, tmp_path):
    null = study.null(SPEC, n=10, seed=2)
    again = ibs.load_null(ibs.save_null(null, tmp_path / "n.h5"))
    assert_array_equal(again.pair_values, null.pair_values)
    assert again.draws == null.draws
    real = study.synchrony(SPEC)
    one, other = (warned_test(real, n).dataset for n in (null, again))
    assert_array_equal(one["p"], other["p"])


def test_a_null_of_another_random_stream_is_refused(study, real, null, tmp_path, monkeypatch):
    from dataclasses import replace

    ibs.save_null(null, tmp_path / "n.h5")
    strange = replace(null, attrs={**null.attrs, "stream_version": 0})
    refusal(PlanError, lambda: ibs.test(real, strange), "stream version 0")
    monkeypatch.setattr("ibsync.results.null_files.STREAM_VERSION", 2)
    refusal(InputError, lambda: ibs.load_null(tmp_path / "n.h5"), "n.h5", "stream version 1", "version 2")


def test_a_damaged_or_strange_file_is_no_null(study, real, tmp_path):
    (tmp_path / "x.h5").write_bytes(b"nothing")
    refusal(InputError, lambda: ibs.load_null(tmp_path / "x.h5"), "x.h5")
    ibs.Result(real).save(tmp_path / "r.h5")
    refusal(InputError, lambda: ibs.load_null(tmp_path / "r.h5"), "r.h5", "not a null")


# --- sequential -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_sequential_counts_give_each_dyad_its_p(study, real, tmp_path):
    null = study.null(SPEC, kind="phase", n=399, seed=9, stop_at=5)
    found = ibs.test(real, null, correct=["fdr"], alpha=0.3).dataset
    fixed = ibs.test(real, study.null(SPEC, kind="phase", n=399, seed=9), correct=[]).dataset
    assert np.isnan(found["p"]).all()
    assert (found["dyad_draws"] <= 399).all()
    assert (found["dyad_draws"] < 200).any()
    whole = found["dyad_draws"] == 399
    assert_array_equal(found["dyad_p"].values[whole], fixed["dyad_p"].values[whole])
    assert np.abs(found["dyad_p"] - fixed["dyad_p"]).max() < 0.5
    result = ibs.Result(found)
    assert "Dyad by dyad" in result.headline
    assert "smallest p of single dyads" in str(result)
    assert "counts ended at 5 draws" in result.methods()
    ibs.report(result, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Single dyads" in page
    assert "<h2>Smallest p-values" not in page
    assert ">nan<" not in page.lower()


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_what_does_not_belong_to_a_kind_is_refused(study):
    refusal(PlanError, lambda: study.null(SPEC, kind="fase"), "'fase'", "did you mean 'phase'")
    refusal(PlanError, lambda: study.null(SPEC, stop_at=5), "stop_at is for surrogates")
    refusal(PlanError, lambda: study.null(SPEC, kind="phase", measure="coherense"), "did you mean 'coherence'")
    refusal(PlanError, lambda: study.null(SPEC, kind="phase", tail="up"), "'greater'")
    refusal(PlanError, lambda: study.null(SPEC, kind="phase", options={"n_iterations": 3}), "n_iterations", "phase")
    refusal(PlanError, lambda: study.null(SPEC, kind="phase", n=0), "draws")
    refusal(PlanError, lambda: study.null(SPEC, kind="phase", seed=-1), "seed")
    refusal(PlanError, lambda: study.null(SPEC, kind="phase", n=9, draws=(5, 20)), "draws=(5, 20)")


def test_a_null_and_a_value_that_differ_are_refused_by_name(study, real, null):
    exact = ibs.WTC(bands=SPEC.bands)
    refusal(PlanError, lambda: ibs.test(study.synchrony(exact), null), "differ in spec")
    refusal(PlanError, lambda: ibs.test(study.synchrony(SPEC, signal="hbr"), null), "differ in signal")
    refusal(PlanError, lambda: ibs.test(real, null, tail="two-sided"), "tail='two-sided'")
    refusal(PlanError, lambda: ibs.test(real, null, correct=["cluster"], alpha=0.5), "'cluster'")
    refusal(PlanError, lambda: ibs.test(real, null, correct=["fdr"]), "need n=159 draws, 39 were asked for")
    refusal(
        PlanError, lambda: ibs.test_together([real, real], [null, study.null(SPEC, n=9)]), "against nulls of one kind"
    )


def test_values_in_another_order_or_some_of_them_are_refused(study, real, null):
    repaired = study.null(SPEC, n=9)
    for other in (real.isel(dyad=[1, 0, 2]), real.isel(dyad=[0, 1]), real.isel(band=[1, 0]), real.isel(channel_a=[0])):
        for n in (null, repaired):
            refusal(PlanError, lambda other=other, n=n: ibs.test(other, n), "labels of")


def test_a_level_or_block_out_of_range_is_refused(study, real, null):
    for alpha in (0, 1, 2, "x"):
        refusal(PlanError, lambda alpha=alpha: ibs.test(real, null, alpha=alpha), "alpha")
    refusal(PlanError, lambda: study.null(SPEC, kind="block", options={"block": 0}), "block=0")
    refusal(PlanError, lambda: study.null(SPEC, kind="phase", stop_at=0), "stop_at=0")
    refusal(PlanError, lambda: study.null(SPEC, kind="phase", n=99, stop_at=2, draws=(50, 99)), "in order")


# --- command line -----------------------------------------------------------------------------------------------------

PLAN = """
study = "study.h5"
output = "out.h5"
report = "out.html"
[wtc]
bands = { slow = [0.06, 0.15] }
accuracy = "fast"
[synchrony]
pairs = "same"
[null]
kind = "phase"
n = 39
seed = 9
[test]
correct = ["fdr", "max"]
"""


def test_a_plan_with_surrogates_runs_and_reports(study, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.h5").write_bytes(study.path.read_bytes())
    (tmp_path / "plan.toml").write_text(PLAN, encoding="utf-8")
    assert main(["check", "study.h5", "--plan", "plan.toml"]) == 0
    assert main(["run", "plan.toml"]) == 0
    assert "Dyad by dyad" in capsys.readouterr().out
    result = ibs.load(tmp_path / "out.h5")
    assert result.dataset.attrs["null_kind"] == "phase"
    page = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert "Fourier phase randomisation of the second person" in page
    assert "Single dyads: smallest p-values" in page
    assert "tests the group, not single dyads" not in page


@pytest.mark.parametrize(("old", "new"), [('["fdr", "max"]', '["cluster"]'), ("seed = 9", "seed = 9\nstop_at = 3")])
def test_a_correction_that_surrogates_lack_is_refused_before_the_run(study, tmp_path, monkeypatch, capsys, old, new):
    monkeypatch.setattr("ibsync.coupling.engine.Engine.features", lambda *_, **__: pytest.fail("the work has begun"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.h5").write_bytes(study.path.read_bytes())
    (tmp_path / "plan.toml").write_text(PLAN.replace(old, new), encoding="utf-8")
    assert main(["run", "plan.toml"]) == 1
    assert "correct" in capsys.readouterr().err


def test_a_plan_whose_family_has_no_such_option_is_refused(tmp_path, capsys):
    (tmp_path / "plan.toml").write_text(PLAN.replace("seed = 9", "block = 3"), encoding="utf-8")
    assert main(["run", str(tmp_path / "plan.toml")]) == 1
    assert "null.block" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["phase", "iaaft"])
def test_an_unfinished_run_is_taken_up_and_leaves_nothing_behind(study, tmp_path, monkeypatch, capsys, kind):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.h5").write_bytes(study.path.read_bytes())
    (tmp_path / "plan.toml").write_text(PLAN.replace('kind = "phase"', f'kind = "{kind}"'), encoding="utf-8")
    with monkeypatch.context() as patched:
        patched.setattr("ibsync.study.study.Study.synchrony", lambda *_, **__: pytest.fail("stopped here"))
        with pytest.raises(pytest.fail.Exception):
            main(["run", "plan.toml", "--resume"])
    assert journal_file(Path("out.h5")) == Path("out.h5.journal")
    before = Path("out.h5.journal").read_bytes()
    (tmp_path / "other.toml").write_text(Path("plan.toml").read_text("utf-8").replace("seed = 9", "seed = 8"), "utf-8")
    assert main(["run", "other.toml", "--resume"]) == 1
    assert "out.h5.journal: was begun with another null.seed: null.seed=9, now 8" in capsys.readouterr().err
    assert Path("out.h5.journal").read_bytes() == before
    (tmp_path / "other.toml").unlink()
    with monkeypatch.context() as patched:
        patched.setattr("ibsync.study.runner._run_here", nothing_but_real_dyads)
        assert main(["run", "plan.toml", "--resume"]) == 0
    resumed = ibs.load(tmp_path / "out.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.h5", "out.html", "plan.toml", "study.h5"]
    assert main(["run", "plan.toml", "-o", "again.h5"]) == 0
    again = ibs.load(tmp_path / "again.h5")
    for one, other in ((resumed.dataset, again.dataset), (resumed.null, again.null)):
        for name, array in one.variables.items():
            assert_array_equal(array.to_numpy(), other[name].to_numpy())


def test_a_run_with_autoregressive_noise_says_so_in_one_line(study, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.h5").write_bytes(study.path.read_bytes())
    (tmp_path / "plan.toml").write_text(PLAN.replace('"phase"', '"ar1"'), encoding="utf-8")
    assert main(["run", "plan.toml"]) == 0
    assert "Warning: autoregressive noise is no calibrated null" in capsys.readouterr().out


# --- parts from several processors ------------------------------------------------------------------------------------


def shifted(part, by):
    """A part whose observed values another processor has rounded otherwise."""
    for tally in [*part.by_row, part.together]:
        tally.standard.statistic = tally.standard.statistic + by
    return part


def test_parts_whose_observed_values_differ_by_rounding_are_merged(study, null):
    first, other = (study.null(SPEC, kind="phase", n=N_DRAWS, seed=9, draws=d) for d in ((1, 21), (21, N_DRAWS + 1)))
    observed = first.observed
    first.attrs, other.attrs = (
        {**part.attrs, "blas": word, "loops": word} for part, word in ((first, "one"), (other, "other"))
    )
    merged = ibs.merge_nulls([first, shifted(other, 5e-7)])
    assert merged.attrs["blas"] == merged.attrs["loops"] == "one; other"
    assert_array_equal(merged.observed, observed)
    same_counts(merged, null)


def test_parts_by_compiled_loops_and_by_numpy_are_merged(study, build, monkeypatch):
    words = {"kind": "phase", "n": N_DRAWS, "seed": 9}
    whole = study.null(SPEC, **words)
    first = study.null(SPEC, draws=(1, 21), **words)
    monkeypatch.setenv("IBSYNC_COMPILED", "0")
    merged = ibs.merge_nulls([first, study.null(SPEC, draws=(21, N_DRAWS + 1), **words)])
    assert merged.attrs["loops"] == f"{build}; NumPy"
    assert whole.attrs["loops"] == build
    for part, alone in zip(merged.by_row, whole.by_row, strict=True):
        assert_array_equal(part.exceedances.at_least, alone.exceedances.at_least)
        tolerance = np.nanmax(alone.standard.z_tolerance)  # maxima are those of z
        assert tolerance < 1e-4
        assert_allclose(part.maxima.values, alone.maxima.values, rtol=0, atol=tolerance)


def test_parts_that_differ_by_more_or_come_from_another_version_are_refused(study):
    words = {"kind": "phase", "n": N_DRAWS, "seed": 9}
    first = study.null(SPEC, draws=(1, 21), **words)
    other = study.null(SPEC, draws=(21, N_DRAWS + 1), **words)
    refusal(PlanError, lambda: ibs.merge_nulls([first, shifted(other, 2e-6)]), "different observed values")
    missing = study.null(SPEC, draws=(21, N_DRAWS + 1), **words)
    missing.by_row[0].standard.statistic[0] = np.nan
    refusal(PlanError, lambda: ibs.merge_nulls([first, missing]), "different observed values")
    old = study.null(SPEC, draws=(21, N_DRAWS + 1), **words)
    old.attrs = {**old.attrs, "ibsync_version": "0.0.1"}
    refusal(PlanError, lambda: ibs.merge_nulls([first, old]), "ibsync_version", "0.0.1")
