"""What is lost: named before anything is computed, kept with the result, and refused where nothing is left."""

import json
import logging
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from refusals import refusal

import ibsync as ibs
from ibsync.coupling.engine import Engine
from ibsync.coupling.spec import WTC
from ibsync.errors import InputError, PlanError
from ibsync.recordings.recording import DyadRow, Event, Recording
from ibsync.recordings.study_file import write_study
from ibsync.results.lost import COLUMNS, Loss, encoded, losses_in, lost_in_a_sentence, lost_lines

SFREQ, N = 4.0, 480  # 120 s
CHANNELS = ("S1_D1", "S2_D2")
SPEC = WTC({"slow": (0.05, 0.1), "fast": (0.2, 0.4)})
REFERENCE = replace(SPEC, accuracy="reference")
pytestmark = pytest.mark.filterwarnings("ignore:no single finding", "ignore:.*is left out")


def signals(dyad, person, n=N, session=0):
    random = np.random.default_rng([dyad, person, session])
    common = np.random.default_rng([dyad, 7, session]).standard_normal((2, N))
    return (random.standard_normal((2, N)) + 0.5 * common)[:, :n].astype(np.float32)


def made(folder, lengths, *, sessions=("1",), groups="", bad=(), gaps=(), unused=(), events=()):
    """A study of dyads d0, d1, ...: samples of each, in each session; 0 where it was not there."""
    rows, recordings = [], []
    for dyad, of_sessions in enumerate(lengths):
        for s, (session, n) in enumerate(zip(sessions, np.atleast_1d(of_sessions), strict=True)):
            if not n:
                continue
            pair = []
            for person in (0, 1):
                who = f"p{dyad}{'ab'[person]}"
                good = tuple((dyad, person, channel) not in bad for channel in CHANNELS)
                recording = Recording(
                    f"{who}_{session}", who, session, "", "", SFREQ, int(n), 0.0, CHANNELS, ("hbo",), good,
                    events=tuple(events),
                )  # fmt: skip
                x = signals(dyad, person, int(n), s)
                for channel, start, stop in (gap[2:] for gap in gaps if gap[:2] == (dyad, person)):
                    x[CHANNELS.index(channel), start:stop] = np.nan
                pair.append(recording)
                recordings.append((recording, {"hbo": x}))
            group = groups[dyad] if groups else ""
            rows.append(
                DyadRow(
                    f"d{dyad}", session, "", *pair, pair[0].participant, pair[1].participant, group=group,
                    use=(dyad, session) not in unused,
                )
            )  # fmt: skip
    write_study(folder / "s.h5", recordings, {}, rows)
    return ibs.Study.open(folder / "s.h5")


def coherence(i, j, n, session=0, epochs=None):
    """Coherence of the first person of a dyad with the second of another by the definition: [a, b, band, epoch]."""
    engine = Engine(n, SFREQ, REFERENCE, epochs=epochs)
    return engine.coherence(
        engine.features(signals(i, 0, n, session)), engine.features(signals(j, 1, n, session))
    ).coherence


def rows_of(lost, **words):
    return lost[np.logical_and.reduce([lost[name] == value for name, value in words.items()])]


# --- recordings that are cut ------------------------------------------------------------------------------------------


def test_partners_are_cut_to_the_shortest_of_their_session_and_block(tmp_path):
    study = made(
        tmp_path, [(480, 480), (400, 480), (480, 480), (480, 360)], sessions=("1", "2"), groups="xxyy"
    )  # fmt: skip
    real, null = study.synchrony(SPEC), study.null(SPEC, within=["group"])
    common = {(0, "x"): 400, (0, "y"): 480, (1, "x"): 480, (1, "y"): 360}
    for session, (block, members) in ((s, b) for s in (0, 1) for b in (("x", (0, 1)), ("y", (2, 3)))):
        for i in members:
            for j in members:
                direct = np.moveaxis(coherence(i, j, common[session, block], session), -1, 0)
                assert_allclose(null.pair_values[session, i, j].reshape(direct.shape), direct, atol=1e-5)
    result = ibs.test(real, null, correct=[])
    for row in range(8):
        dyad, session = row // 2, row % 2
        n = common[session, "xxyy"[dyad]]
        assert_allclose(result.dataset["value"][row, 0], coherence(dyad, dyad, n, session)[..., 0], atol=1e-5)
        full = [(480, 480), (400, 480), (480, 480), (480, 360)][dyad][session]
        assert_allclose(result.dataset["coherence"][row, 0], coherence(dyad, dyad, full, session)[..., 0], atol=1e-5)
    cut = rows_of(result.lost, what="cut")
    assert set(zip(cut.dyad, cut.session, strict=True)) == {("d0", "1"), ("d2", "2")}
    assert cut.reason.iloc[0] == "100 of 120 s, because 'd1' ('p1a', 'p1b') has 100 s"
    assert cut.fix.iloc[0] == "mark 'd1' use=0 to keep 120 s"
    assert "shared length" in result.dataset["value"].attrs["long_name"]
    assert "shortest of their session, task and block" in result.methods()


def test_the_group_statistic_and_the_own_values_are_those_of_the_null(tmp_path):
    study = made(tmp_path, [480, 480, 400, 480, 480])
    real, null = study.synchrony(SPEC), study.null(SPEC)
    result = ibs.test(real, null, correct=[]).dataset
    own = np.stack([coherence(k, k, 400)[..., 0] for k in range(5)])
    assert_allclose(result["group_statistic"][0], own.mean(axis=0), atol=1e-5)
    others = [coherence(*pair, 400)[..., 0] for k in range(1, 5) for pair in ((0, k), (k, 0))]
    assert_allclose(result["null_mean"][0, 0], np.mean(others, axis=0), atol=1e-5)
    assert_allclose(result["z"], (result["value"] - result["null_mean"]) / result["null_sd"], atol=1e-4)


def test_contrasts_and_changes_of_partners_take_what_the_null_holds(tmp_path):
    epochs = {"talk": (20, 60), "rest": (55, 95)}
    fast = WTC({"fast": (0.2, 0.4)})
    study = made(tmp_path, [(480, 480), (480, 400), (480, 480), (480, 480)], sessions=("1", "2"))
    words = {"epochs": epochs, "pairs": "same"}
    real, null = study.synchrony(fast, **words), study.null(fast, **words)

    def own(dyad, session):
        n = (480, 400)[session]
        engine = Engine(n, SFREQ, replace(fast, accuracy="reference"), epochs=epochs)
        a, b = (engine.features(signals(dyad, person, n, session)) for person in (0, 1))
        return np.diagonal(engine.coherence(a, b).coherence[:, :, 0]).T  # [channel, epoch]

    values = np.array([[own(dyad, session) for session in (0, 1)] for dyad in range(4)])
    contrast = ibs.contrast(real, ("talk", "rest"), null=null, correct=[]).dataset
    found = np.diagonal(contrast["value"].to_numpy()[:, 0, :, :, 0], axis1=1, axis2=2)
    assert_allclose(found, (values[..., 0] - values[..., 1]).mean(axis=1), atol=1e-5)
    growth = ibs.plasticity(real, null=null, correct=[]).dataset
    found = np.diagonal(growth["value"].to_numpy()[..., 0], axis1=2, axis2=3)
    assert_allclose(np.moveaxis(found, 1, 2), values[:, 1] - values[:, 0], atol=1e-5)
    tested = ibs.test(real, null, correct=[])
    less = tested.dataset["value"] - tested.dataset["null_mean"]
    slopes = ibs.plasticity(tested, correct=[]).dataset["value"]
    assert_allclose(slopes, less.to_numpy()[1::2] - less.to_numpy()[::2], atol=1e-10)


def test_surrogates_use_each_recording_in_full(tmp_path):
    study = made(tmp_path, [480, 400])
    null = study.null(SPEC, kind="phase", n=19)
    for dyad, n in enumerate((480, 400)):
        assert_allclose(null.observed[dyad].reshape(2, 2, 2), coherence(dyad, dyad, n)[..., 0], atol=1e-5)


# --- epochs and bands -------------------------------------------------------------------------------------------------


def test_an_epoch_that_one_recording_lacks_is_missing_there_and_named(tmp_path):
    study = made(tmp_path, [480, 480, 240], groups="xxy")
    epochs = {"first": (20, 55), "last": (70, 110)}
    fast = WTC({"fast": (0.2, 0.4)})
    real = study.synchrony(fast, epochs=epochs)
    assert np.isfinite(real["coherence"][:2]).all()
    assert np.isfinite(real["coherence"][2, 0]).all()
    assert np.isnan(real["coherence"][2, 1]).all()
    assert (real["valid_fraction"][2, 1] == 0).all()
    alone = Engine(240, SFREQ, replace(fast, accuracy="reference"), epochs={"first": (20, 55)})
    direct = alone.coherence(*(alone.features(signals(2, person, 240)) for person in (0, 1)))
    assert_allclose(real["coherence"][2, 0], direct.coherence[..., 0], atol=1e-5)
    (loss,) = losses_in(real.attrs)
    assert (loss.dyad, loss.epoch, loss.band, loss.what) == ("d2", "last", "fast", "no value")
    assert "begins at 70 s" in loss.reason
    assert "ends at 60 s" in loss.reason
    null = study.null(fast, epochs=epochs, kind="phase", n=19)
    assert np.isnan(null.observed.reshape(3, 2, -1)[2, 1]).all()
    assert np.isfinite(null.observed.reshape(3, 2, -1)[2, 0]).all()
    refused = "'last', band 'fast' has no value in any dyad"
    refusal(PlanError, lambda: study.null(fast, epochs=epochs), refused, "'d2' ('p2a', 'p2b') has 60 s", "to keep 40 s")


def test_who_cuts_everybody_is_named_wherever_it_stands(tmp_path):
    study = made(tmp_path, [240, 480, 480])
    spec = WTC({"fast": (0.2, 0.4)})
    last = {"last": (70, 110)}
    refusal(PlanError, lambda: study.null(spec, epochs=last), "'d0' ('p0a', 'p0b') has 60 s", "to keep 40 s")


def test_gaps_are_told_where_roles_are_interchangeable(tmp_path):
    """A channel that is bad in the second person is missing both ways, and told once, as bad."""
    study = made(tmp_path, [480] * 3, bad=[(1, 1, "S2_D2")], gaps=[(0, 0, "S1_D1", 0, 400), (0, 0, "S2_D2", 0, 400)])
    null = study.null(WTC({"fast": (0.2, 0.4)}), roles="interchangeable")
    lost = losses_in(null.attrs)
    assert [loss.dyad for loss in lost if loss.what == "no value" and loss.channel == "(all)"] == ["d0"]
    assert [(loss.dyad, loss.channel) for loss in lost if loss.channel != "(all)"] == [("d1", "S2_D2")]


def test_a_band_that_one_recording_does_not_support_is_missing_there(tmp_path):
    study = made(tmp_path, [480, 100])
    real = study.synchrony(SPEC)
    assert np.isnan(real["coherence"][1].sel(band="slow")).all()
    assert np.isfinite(real["coherence"][1].sel(band="fast")).all()
    (loss,) = losses_in(real.attrs)
    assert (loss.dyad, loss.band) == ("d1", "slow")


def test_the_fix_that_is_named_works(tmp_path):
    study = made(tmp_path, [480, 480])
    with pytest.raises(PlanError) as caught:
        study.synchrony(WTC({"slow": (0.03, 0.2)}), epochs={"rest": (0, 40)})
    text = str(caught.value)
    assert "% of its cells are free of edge effects, 50 % are needed" in text
    low = float(text.split("lower limit to ")[1].split(" Hz")[0])
    last = float(text.split("let it last until ")[1].split(" s")[0])
    for spec, stop in ((WTC({"slow": (low, 0.2)}), 40), (WTC({"slow": (0.03, 0.2)}), last)):
        assert np.isfinite(study.synchrony(spec, epochs={"rest": (0, stop)})["coherence"]).all()
    with pytest.raises(PlanError) as caught:
        study.synchrony(WTC({"slow": (0.0175, 0.1)}))
    n = round(float(str(caught.value).rsplit("record ", 1)[1].split(" s")[0]) * SFREQ)
    engine = Engine(n, SFREQ, WTC({"slow": (0.0175, 0.1)}))
    x = engine.features(np.random.default_rng(0).standard_normal((1, n)))
    assert np.isfinite(engine.coherence(x, x).coherence).all()


@pytest.mark.parametrize("verb", ["synchrony", "null"])
def test_what_has_no_value_in_any_dyad_is_refused(tmp_path, verb):
    study = made(tmp_path, [480, 480])
    call = getattr(study, verb)
    refusal(PlanError, lambda: call(SPEC, epochs={"e": (60, 600)}), "'e'", "60 of 540 s", "ends at 120 s")
    refusal(PlanError, lambda: call(SPEC, epochs={"e": (200, 300)}), "'e'", "begins at 200 s")
    refusal(PlanError, lambda: call(SPEC, epochs={"e": (-50, -10)}), "'e'", "before the recording begins")
    refusal(PlanError, lambda: call(SPEC, epochs={"e": (5, 100), "f": (2, 6)}), "'f'", "free of edge effects")
    refusal(PlanError, lambda: call(WTC({"low": (0.01, 0.02), "fast": (0.2, 0.4)})), "'low'", "record longer")


def test_marks_that_reach_beyond_the_recording_count_in_full(tmp_path):
    events = (Event(-10.0, 40.0, "early"), Event(60.0, 90.0, "late"), Event(115.0, 40.0, "end"))
    study = made(tmp_path, [480, 480], events=events)
    fast = WTC({"fast": (0.2, 0.4)}, coi="none", min_valid=0)
    real = study.synchrony(fast, epochs=["early", "late"])
    assert_allclose(real["valid_fraction"].sel(epoch="early"), 30 / 40)
    assert_allclose(real["valid_fraction"].sel(epoch="late"), 60 / 90)
    assert {loss.what for loss in losses_in(real.attrs)} == {"cut"}
    refusal(PlanError, lambda: study.synchrony(WTC({"fast": (0.2, 0.4)}), epochs=["end"]), "5 of 40 s")


def test_trials_that_are_too_short_are_refused(tmp_path):
    study = made(tmp_path, [480, 480])
    trials = {"talk": [(10, 40), (50, 80)]}
    refusal(
        PlanError, lambda: study.null(SPEC, kind="trial", n=9, epochs=trials), "'talk', band 'slow'", "trial of 30 s"
    )
    assert study.null(WTC({"fast": (0.2, 0.4)}), kind="trial", n=9, epochs=trials).complete


def test_an_epoch_of_two_arrays_counts_in_full_and_is_logged(caplog):
    words = {"sfreq": SFREQ, "bands": {"fast": (0.2, 0.4)}}
    ds = ibs.wtc(signals(0, 0), signals(0, 1), epochs={"e": (60, 180), "f": (10, 100)}, coi="none", **words)
    assert_allclose(ds["valid_fraction"].sel(epoch="e"), 0.5)
    assert "epoch e: cut: 60 of 120 s, the recording ends at 120 s" in caplog.text
    assert "epoch f" not in caplog.text


# --- dyads, sessions, channels, gaps ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """Seven kinds of loss in one study."""
    return made(
        tmp_path_factory.mktemp("broken"), [(480, 480), (480, 0), (480, 480), (480, 480), (480, 0)],
        sessions=("1", "2"), bad={(2, 0, "S2_D2")}, gaps=[(3, 1, "S1_D1", 60, 420)], unused={(4, "1")},
    )  # fmt: skip


def test_everything_that_is_lost_is_in_the_table(broken):
    real = broken.synchrony(SPEC)
    lost = ibs.test(real, broken.null(SPEC), correct=[]).lost
    assert list(lost.columns) == list(COLUMNS)
    assert rows_of(lost, dyad="d4").reason.tolist() == ["marked use=0 in the dyads table"]
    assert rows_of(lost, dyad="d1", session="2").what.tolist() == ["no value"]
    assert rows_of(lost, dyad="d2", session="1", channel="S2_D2").person.tolist() == ["p2a"]
    assert rows_of(lost, dyad="d3", what="cut").reason.str.contains("90.0 s missing").all()
    empty = rows_of(lost, dyad="d3", session="1", channel="S1_D1", what="no value")
    assert set(empty.band) == {"slow", "fast"}
    assert set(empty.person) == {"p3b"}
    missing = np.isnan(real["coherence"].isel(epoch=0).to_numpy())
    for row, dyad in enumerate(real["dyad"].values):
        for a, b, k in np.argwhere(missing[row]):
            named = rows_of(lost, dyad=str(dyad), session=str(real["session"].values[row]), what="no value")
            band = str(real["band"].values[k])
            assert (named.channel.isin([CHANNELS[a], CHANNELS[b]]) & named.band.isin([band, "(all)"])).any()


def test_pairs_that_no_dyad_has_are_named(tmp_path):
    bad = {(0, 0, "S1_D1"), (1, 1, "S2_D2")}
    study = made(tmp_path, [480, 480], bad=bad)
    lost = ibs.Result(study.synchrony(SPEC)).lost
    assert rows_of(lost, dyad="(all)").channel.tolist() == ["S1_D1 - S2_D2"]
    assert "1 channel pair without a value (good in no dyad): S1_D1 - S2_D2 in every dyad" in str(study.check(SPEC))
    refusal(InputError, lambda: study.synchrony(SPEC, pairs=[("S1_D1", "S2_D2")]), "s.h5", "good in any dyad")


def test_losses_are_logged_everywhere(broken, tmp_path):
    broken._logged.clear()
    result = ibs.test(broken.synchrony(SPEC), broken.null(SPEC), correct=[])
    page = ibs.report(result, tmp_path / "page.html").read_text(encoding="utf-8")
    for text in (result.headline, str(result), result.methods(), page):
        for name in ("d4 / 1", "d1 / 2", "S2_D2"):
            assert name in text
    check = broken.check(SPEC, null={"kind": "repair"}, estimate=False)
    assert {(loss.dyad, loss.session) for loss in check.losses} >= {("d4", "1"), ("d1", "2"), ("d2", "1"), ("d3", "2")}
    assert "marked use=0" in str(check)
    again = ibs.load(result.save(tmp_path / "out.h5"))
    pd.testing.assert_frame_equal(again.lost, result.lost)
    growth = ibs.plasticity(result, correct=[])
    assert set(growth.lost.dyad) == set(result.lost.dyad)


def test_losses_are_logged_once(broken, caplog):
    broken._logged.clear()
    with caplog.at_level(logging.WARNING, "ibsync"):
        broken.synchrony(SPEC)
        first = len(caplog.records)
        broken.synchrony(SPEC)
    assert first > 3
    assert len(caplog.records) == first
    assert {record.name for record in caplog.records} == {"ibsync"}


def test_a_dyad_alone_on_an_occasion_is_named(tmp_path):
    study = made(tmp_path, [(480, 0), (480, 480), (480, 0)], sessions=("1", "2"))
    lost = ibs.Result(study.synchrony(SPEC)).lost
    assert "not exchanged" not in set(lost.what)
    null = study.null(SPEC)
    (alone,) = (loss for loss in losses_in(null.attrs) if loss.what == "not exchanged")
    assert (alone.dyad, alone.session) == ("d1", "2")


def test_nothing_is_said_where_nothing_is_lost(tmp_path):
    study = made(tmp_path, [480] * 3)
    result = ibs.test(study.synchrony(SPEC), study.null(SPEC), correct=[])
    assert result.lost.empty
    assert "lost" not in str(result).lower()
    assert "Lost" not in str(study.check(SPEC, estimate=False))
    assert "shared length" not in result.dataset["value"].attrs["long_name"]


def test_many_losses_are_a_few_lines():
    many = [Loss(f"d{k}", "1", epoch="rest", band="task", reason="why", fix="do this") for k in range(40)]
    many += [Loss(f"d{k}", "1", person=f"p{k}", channel=f"S{k}_D1", reason="bad", fix="x") for k in range(30)]
    assert lost_lines(many) == [
        "epoch rest, band task: no value in d0 / 1, d1 / 1, d2 / 1, and 37 more: why: do this",
        "30 channels without a value (bad): S0_D1 in d0 / 1 (p0); S1_D1 in d1 / 1 (p1); S2_D1 in d2 / 1 (p2); and 27 "
        "more: x",
    ]
    assert len(lost_in_a_sentence(many)) < 250
    unlike = [Loss("d", "1", epoch="e", band="b", reason=f"{k}") for k in range(100)]
    (line,) = lost_lines(unlike)
    assert line == "epoch e, band b: no value in d / 1: 100 reasons, of d / 1 for example: 0"
    kinds = [Loss("d", "1", epoch=f"e{k}", band="b", reason="r") for k in range(100)]
    assert len(lost_lines([*unlike, *kinds])) == 11


# --- objects that do not belong ---------------------------------------------------------------------------------------


def test_values_that_were_changed_by_hand_are_refused(tmp_path):
    study = made(tmp_path, [480, 480, 400, 480])
    real = study.synchrony(SPEC)
    for null in (study.null(SPEC), study.null(SPEC, kind="phase", n=19)):
        for other in (real.copy(), real.copy(), real.copy()):
            ibs.test(other, null, correct=[])
        doubled = real.assign(coherence=real["coherence"] * 2)
        emptied = real.assign(coherence=real["coherence"].where(real["band"] != "fast"))
        for changed in (doubled, emptied):
            refusal(PlanError, lambda changed=changed, null=null: ibs.test(changed, null), "changed after", "'d")


def test_wrong_objects_are_refused_in_one_line(tmp_path):
    study = made(tmp_path, [480, 480])
    real, null = study.synchrony(SPEC), study.null(SPEC)
    for words in ({"executor": 2}, {"epochs": 3}, {"epochs": [("a", 0, 60)]}, {"backend": 3}, {"pairs": [(1, 2)]}):
        for verb in (study.synchrony, study.null):
            refusal(PlanError, lambda verb=verb, words=words: verb(SPEC, **words), next(iter(words)))
    refusal(PlanError, lambda: study.null(SPEC, kind="phase", draws="x"), "draws='x'")
    refusal(PlanError, lambda: study.null(SPEC, kind="block", options=3), "options=3")
    refusal(PlanError, lambda: study.null(SPEC, kind="phase", journal=3), "journal=3")
    refusal(PlanError, lambda: ibs.Study("x"), "Study.open")
    refusal(InputError, lambda: ibs.Study.open(3), "give the path of a file, got 3")
    refusal(PlanError, lambda: ibs.calibrate(study, None), "spec is a NoneType")
    refusal(InputError, lambda: ibs.calibrate(None, SPEC), "Study.open")
    refusal(PlanError, lambda: ibs.merge_nulls([]), "parts")
    refusal(PlanError, lambda: ibs.plasticity(real, kind="sign_flip", null=null), "null and kind='sign_flip'")
    assert "'knid' is unknown" in study.check(SPEC, null={"knid": "repair"}, estimate=False).problems[0]


def test_sessions_are_listed_by_their_numbers_or_as_they_come(tmp_path):
    for sessions, listed in ((("1", "10", "2"), ["1", "2", "10"]), (("pre", "post"), ["pre", "post"])):
        study = made(tmp_path, [(480,) * len(sessions)] * 2, sessions=sessions)
        assert study.describe()["sessions"] == listed
        assert f"sessions      {', '.join(listed)}" in str(study)


def test_a_dyad_without_a_good_channel_is_named(tmp_path):
    study = made(tmp_path, [480, 480], bad={(0, 1, name) for name in CHANNELS})
    lost = ibs.Result(study.synchrony(SPEC)).lost
    assert "no channel pair that is asked for is good" in rows_of(lost, dyad="d0", channel="(all)").reason.tolist()
    assert "everything in d0 / 1" in lost_in_a_sentence(losses_in(study.synchrony(SPEC).attrs))


def test_nulls_come_back_with_what_they_lost(tmp_path):
    study = made(tmp_path, [480, 480, 400])
    real, null = study.synchrony(SPEC), study.null(SPEC)
    ibs.save_null(null, tmp_path / "null.h5")
    again = ibs.test(real, ibs.load_null(tmp_path / "null.h5"), correct=[])
    result = ibs.test(real, null, correct=[])
    pd.testing.assert_frame_equal(again.lost, result.lost)
    for name in ("value", "valid_fraction", "p"):
        assert_allclose(again.dataset[name], result.dataset[name], atol=0)
    assert (result.dataset["valid_fraction"] < real["valid_fraction"])[:2].all()


def test_a_long_table_is_saved(tmp_path):
    study = made(tmp_path, [480, 480])
    real = study.synchrony(SPEC)
    losses = [Loss(f"d{k}", "1", channel=f"S{k}_D1", reason="bad" * 20) for k in range(5000)]
    result = ibs.Result(real.assign_attrs(lost=json.dumps(encoded(losses))))
    pd.testing.assert_frame_equal(ibs.load(result.save(tmp_path / "r.h5")).lost, result.lost)


def test_nulls_are_shown_in_a_line(tmp_path):
    study = made(tmp_path, [480, 480])
    shown = repr(study.null(SPEC, seed=3))
    assert shown == "RepairedNull(all 1 re-pairings of 2 dyads, 1 sessions, 8 features, seed 3)"
    shown = repr(study.null(SPEC, kind="phase", n=19))
    assert shown == "SurrogateNull('phase', 19 of 19 draws of 2 rows, 8 features, seed 0)"


def test_gaps_beyond_what_is_selected_are_not_told(tmp_path):
    study = made(
        tmp_path, [480] * 2, gaps=[(0, 0, "S1_D1", 300, 320), (1, 0, "S1_D1", 100, 120), (1, 0, "S1_D1", 400, 480)]
    )
    lost = study.select(duration=60).synchrony(WTC({"fast": (0.2, 0.4)})).attrs
    assert [(loss.dyad, loss.reason) for loss in losses_in(lost)] == [
        ("d1", "5.0 s missing in at least one good channel of 'p1a'")
    ]


def test_an_epoch_that_is_named_twice_is_refused(tmp_path):
    study = made(tmp_path, [480] * 2, events=(Event(10.0, 60.0, "talk"),))
    refusal(PlanError, lambda: study.synchrony(SPEC, epochs=["talk", "talk"]), "'talk' twice")


def test_objects_of_other_kinds_are_refused_in_one_line(tmp_path):
    study = made(tmp_path, [480] * 4)
    real = study.synchrony(SPEC)
    for call in (
        lambda: ibs.contrast(real, 3),
        lambda: ibs.contrast(real, between=3),
        lambda: ibs.contrast(real[["valid_fraction"]], ("a", "b")),
        lambda: ibs.plasticity(real, [1, 2]),
        lambda: ibs.report("result.h5", tmp_path / "page.html"),
        lambda: ibs.report(None, tmp_path / "page.html"),
        lambda: ibs.save_null(real, tmp_path / "null.h5"),
        lambda: ibs.calibrate(study, SPEC, n_sims="5"),
    ):
        refusal(PlanError, call)
    for call in (lambda: ibs.load(None), lambda: ibs.load_null(3), lambda: ibs.Result(real).save(None)):
        refusal(InputError, call, "give the path of a file")
