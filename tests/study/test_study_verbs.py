"""The pipeline on small studies: labels, numbers against the engine and SciPy, epochs, lengths, refusals."""

import json
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from numpy.testing import assert_allclose, assert_array_equal
from refusals import plan_refusal, refusal

from ibsync.coupling.band_spec import Coupling
from ibsync.coupling.engine import Engine
from ibsync.coupling.plan import trusted_shares
from ibsync.coupling.spec import WTC
from ibsync.errors import InputError, PlanError
from ibsync.questions import group_test as testing
from ibsync.questions.group_test import test as group_test
from ibsync.recordings.recording import DyadRow, Event, Recording
from ibsync.recordings.study_file import write_study
from ibsync.results.layout import asked_pairs
from ibsync.results.null_files import load_null, save_null
from ibsync.results.result import Result
from ibsync.study.channel_pairs import Axes
from ibsync.study.pair_values import DyadsJob, tile_jobs
from ibsync.study.rows import occasions_of
from ibsync.study.runner import Worker
from ibsync.study.study import Study

SFREQ, N = 5.0, 300
CHANNELS = ("S1_D1", "S1_D2", "S2_D2")
SPEC = WTC({"slow": (0.1, 0.3), "fast": (0.5, 1)})
EVENTS = (Event(5.0, 20.0, "talk", 1.0), Event(30.0, 25.0, "rest", 1.0))
COLUMNS = [
    "dyad", "session", "task", "epoch", "group", "signal", "channel_a", "channel_b", "band", "value", "null_mean",
    "null_sd", "z", "p", "p_fdr", "p_max", "valid_fraction", "n_dyads",
]  # fmt: skip


def signals(dyad, person, n=N, session=1):
    """Noise, half of it in common with the partner: float32 [channel, sample]."""
    common = np.random.default_rng([dyad, session]).standard_normal((len(CHANNELS), N))
    own = np.random.default_rng([dyad, session, person + 1]).standard_normal((len(CHANNELS), N))
    return (common + own)[:, :n].astype(np.float32)


def recording(dyad, person, session="1", **words):
    words = {"participant": f"p{dyad}{'ab'[person]}", "n_samples": N, "events": EVENTS, "sfreq": SFREQ} | words
    words = {"channels": CHANNELS, "signal_names": ("hbo", "hbr")} | words
    good = words.pop("good", (True,) * len(words["channels"]))
    return Recording(f"d{dyad}{person}s{session}", session=session, task="", run="", t0=0.0, good=good, **words)


def row(a, b, dyad, **words):
    return DyadRow(dyad, a.session, "", a, b, a.participant, b.participant, **words)


def made(path, rows):
    """A study of these dyad rows; hbr is hbo upside down."""
    recordings = []
    for k, one in enumerate(rows):
        for person, who in enumerate((one.recording_a, one.recording_b)):
            x = signals(k, person, who.n_samples, int(who.session))[: len(who.channels)]
            recordings.append((who, {name: x * (-1) ** c for c, name in enumerate(who.signal_names)}))
    write_study(path, recordings, {}, rows)
    return Study.open(path)


def rows_of(n, **words):
    return [row(recording(k, 0, **words), recording(k, 1, **words), f"d{k}", group="xy"[k % 2]) for k in range(n)]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return made(tmp_path_factory.mktemp("study") / "four.h5", rows_of(4))


@pytest.fixture(scope="module")
def real(study):
    return study.synchrony(SPEC)


@pytest.fixture(scope="module")
def null(study):
    return study.null(SPEC, seed=3)


def pair_values(null, real):
    """[session, i, j, epoch, channel_a, channel_b, band]"""
    shape = tuple(real.sizes[name] for name in ("epoch", "channel_a", "channel_b", "band"))
    return null.pair_values.reshape(*null.pair_values.shape[:3], *shape)


# --- real synchrony ---------------------------------------------------------------------------------------------------


def test_synchrony_is_labelled_completely(study, real):
    assert dict(real.sizes) == {"dyad": 4, "epoch": 1, "channel_a": 3, "channel_b": 3, "band": 2}
    assert set(real.data_vars) == {
        "coherence", "fisher_z", "coherency_re", "coherency_im", "phase", "phase_consistency", "phase_lag",
        "valid_fraction",
    }  # fmt: skip
    for variable in real.data_vars.values():
        assert variable.dims == ("dyad", "epoch", "channel_a", "channel_b", "band")
        assert variable.dtype == np.float64
        assert variable.attrs["units"]
    assert real["dyad"].values.tolist() == ["d0", "d1", "d2", "d3"]
    assert real["person_b"].values.tolist() == ["p0b", "p1b", "p2b", "p3b"]
    assert real["group"].values.tolist() == ["x", "y", "x", "y"]
    assert set(real["session"].values) == {"1"}
    assert real["epoch"].values.tolist() == ["all"]
    assert real["channel_a"].values.tolist() == real["channel_b"].values.tolist() == list(CHANNELS)
    assert real["band"].values.tolist() == ["slow", "fast"]
    assert_allclose(real["band_low_hz"], [0.1, 0.5])
    assert_allclose(real["band_high_hz"], [0.3, 1])
    assert real["signal"].item() == "hbo"


def test_synchrony_says_where_it_comes_from(study, real):
    assert real.attrs["kind"] == "synchrony"
    assert WTC.from_dict(json.loads(real.attrs["spec"])) == SPEC
    assert real.attrs["study_sha256"] == study.sha256
    assert real.attrs["coherence_definition"] == "magnitude-squared"
    words = ("accuracy", "preset", "backend", "sfreq", "pairs")
    assert [real.attrs[w] for w in words] == ["exact", "grinsted", real.attrs["backend"], SFREQ, "all"]
    assert real.attrs["backend"] in ("numpy", "cuda")
    assert {"ibsync_version", "versions", "created"} <= set(real.attrs)
    assert "seed" not in real.attrs


def test_synchrony_equals_the_definition_dyad_by_dyad(study, real):
    engine = Engine(N, SFREQ, WTC(SPEC.bands, accuracy="reference"))
    for k in range(4):
        a, b = (engine.features(signals(k, person)) for person in (0, 1))
        found = engine.coherence(a, b)
        one = real.isel(dyad=k, epoch=0)
        assert_allclose(one["coherence"], found.coherence[..., 0], atol=1e-5)
        assert_allclose(one["coherency_re"] + 1j * one["coherency_im"], found.coherency[..., 0], atol=1e-5)
        assert_allclose(one["valid_fraction"], found.valid_fraction[..., 0], atol=1e-9)


def test_phase_lag_and_consistency_follow_from_the_coherency(real):
    coherency = real["coherency_re"].values + 1j * real["coherency_im"].values
    assert_allclose(real["phase"], np.angle(coherency), atol=1e-12)
    assert_allclose(real["phase_consistency"], np.abs(coherency), atol=1e-12)
    centre = np.sqrt(real["band_low_hz"] * real["band_high_hz"])
    assert_allclose(real["phase_lag"], real["phase"] / (2 * np.pi * centre), atol=1e-12)


def test_person_b_following_has_a_positive_phase_and_lag(tmp_path):
    lead, follow = recording(0, 0), recording(0, 1)
    common = np.random.default_rng(0).standard_normal((3, N + 2))
    parts = [(lead, common[:, 2:]), (follow, common[:, :-2])]  # two samples, 0.4 s, later
    write_study(tmp_path / "s.h5", [(r, {"hbo": x, "hbr": x}) for r, x in parts], {}, [row(lead, follow, "d0")])
    found = Study.open(tmp_path / "s.h5").synchrony(SPEC, pairs="same")
    for k in range(3):
        assert_allclose(found["phase_lag"].isel(dyad=0, epoch=0, channel_a=k, channel_b=k), 0.4, atol=0.05)


def test_another_signal_is_another_signal(study, real):
    hbr = study.synchrony(SPEC, signal="hbr")
    assert hbr["signal"].item() == "hbr"
    assert_allclose(hbr["coherence"], real["coherence"], atol=1e-6)  # both people upside down


def test_coupled_channels_stand_out(real):
    fast = real["coherence"].sel(band="fast", epoch="all").mean("dyad").values
    assert np.diagonal(fast).min() > fast[~np.eye(3, dtype=bool)].max() + 0.05


@pytest.mark.parametrize(
    ("pairs", "wanted"),
    [
        ("same", np.eye(3, dtype=bool)),
        ([("S1_D1", "S2_D2"), ("S1_D2", "S1_D1")], np.array([[0, 0, 1], [1, 0, 0], [0, 0, 0]], bool)),
    ],
)
def test_only_the_pairs_asked_for_have_values(study, real, null, pairs, wanted):
    some, some_null = study.synchrony(SPEC, pairs=pairs), study.null(SPEC, pairs=pairs, seed=3)
    for found, everything in (
        (some["coherence"].values[None, None], real["coherence"].values[None, None]),
        (some["phase"].values[None, None], real["phase"].values[None, None]),
        (pair_values(some_null, real), pair_values(null, real)),
    ):
        assert np.isnan(found[..., ~wanted, :]).all()
        assert_allclose(found[..., wanted, :], everything[..., wanted, :], atol=1e-6)


@pytest.mark.parametrize(
    ("spec", "measure"),
    [(SPEC, "coherence"), (SPEC, "in_phase"), (replace(SPEC, lags=(-1.0, 0.0, 1.0)), "coherence"),
     (Coupling("plv", {"fast": (0.3, 0.9)}), "plv")],
)  # fmt: skip
@pytest.mark.parametrize("pairs", ["same", [("S1_D1", "S2_D2"), ("S1_D2", "S1_D1")]])
def test_pairs_that_share_no_channel_have_the_values_that_they_have_among_all(study, spec, measure, pairs):
    words = {"epochs": {"early": (0.0, 20.0), "late": (10.0, 30.0)}, "measure": measure}
    some, every = (study.null(spec, pairs=chosen, **words) for chosen in (pairs, "all"))
    asked = np.isfinite(some.pair_values).any(axis=(0, 1, 2))
    assert 0 < asked.sum() < len(asked)
    assert_allclose(some.pair_values[..., asked], every.pair_values[..., asked], atol=2e-6)
    words.pop("measure")
    taken = study.synchrony(spec, pairs=pairs, null=some, **words)
    computed = study.synchrony(spec, pairs=pairs, **words)
    for name, values in computed.items():
        assert_allclose(taken[name], values, atol=1e-4 if name in ("phase", "phase_lag") else 2e-6, err_msg=name)


def test_a_bad_or_missing_channel_is_nan_for_its_dyad_only(tmp_path):
    rows = rows_of(3)
    bad = replace(rows[1].recording_a, good=(True, False, True))
    fewer = recording(2, 1, channels=CHANNELS[:2])
    rows[1], rows[2] = replace(rows[1], recording_a=bad), replace(rows[2], recording_b=fewer)
    study = made(tmp_path / "s.h5", rows)
    missing = np.isnan(study.synchrony(SPEC)["coherence"].sel(epoch="all").values).all(axis=-1)
    assert_array_equal(missing[0], False)
    assert_array_equal(missing[1], [[False] * 3, [True] * 3, [False] * 3])
    assert_array_equal(missing[2], [[False, False, True]] * 3)
    values = study.null(SPEC).pair_values.reshape(3, 3, 3, 3, 2)  # one session: [i, j, a, b, band]
    assert np.isnan(values[1, :, 1]).all()
    assert np.isnan(values[:, 2, :, 2]).all()
    assert np.isfinite(values[0, 1]).all()


# --- epochs -----------------------------------------------------------------------------------------------------------


def test_epochs_by_label_are_the_events_intervals(study):
    by_label = study.synchrony(SPEC, epochs=["talk", "rest"])
    by_time = study.synchrony(SPEC, epochs={"talk": (5, 25), "rest": [(30, 55)]})
    assert by_label["epoch"].values.tolist() == ["talk", "rest"]
    assert_allclose(by_label["coherence"], by_time["coherence"], atol=1e-6)
    talk, rest = (by_label["coherence"].sel(epoch=name).values for name in ("talk", "rest"))
    assert np.nanmax(np.abs(talk - rest)) > 0.05


def test_several_events_of_a_label_are_one_epoch(tmp_path):
    twice = (Event(3.0, 12.0, "talk", 1.0), Event(40.0, 15.0, "talk", 1.0))
    study = made(tmp_path / "s.h5", rows_of(2, events=twice))
    joined = study.synchrony(SPEC, epochs={"talk": [(3, 15), (40, 55)]})
    assert_allclose(study.synchrony(SPEC, epochs=["talk"])["coherence"], joined["coherence"], atol=1e-6)


def test_marks_that_differ_between_two_people_are_told_by_check(tmp_path):
    late = (Event(9.0, 20.0, "talk", 1.0), Event(30.0, 25.0, "rest", 1.0))
    study = made(tmp_path / "s.h5", [row(recording(0, 0), recording(0, 1, events=late), "d0")])
    assert "'talk' is at 5 s for 20 s in d00s1, at 9 s for 20 s in d01s1" in study.check(SPEC, epochs=["talk"]).page
    assert "'talk' is at" not in study.check(SPEC, epochs=["rest"]).page


def test_marks_without_a_duration_are_no_epoch(tmp_path):
    study = made(tmp_path / "s.h5", rows_of(2, events=(Event(3.0, 0.0, "go"),)))
    refusal(PlanError, lambda: study.synchrony(SPEC, epochs=["go"]), "'go' have no duration", "[start, stop]")


def test_a_label_that_only_the_second_person_has_is_found(tmp_path):
    other = (Event(1.0, 0.0, "start"),)
    study = made(tmp_path / "s.h5", [row(recording(0, 0, events=other), recording(0, 1), "d0")])
    talk = study.synchrony(SPEC, epochs=["talk"])["coherence"]
    assert_allclose(talk, study.synchrony(SPEC, epochs={"talk": (5, 25)})["coherence"], atol=1e-6)


@pytest.fixture(scope="module")
def shifted(tmp_path_factory):
    """Dyad 1 talks 4 s later than the others."""
    rows = rows_of(3)
    late = recording(1, 0, events=(Event(9.0, 20.0, "talk", 1.0),)), recording(1, 1, events=())
    rows[1] = row(*late, "d1", group="y")
    return made(tmp_path_factory.mktemp("shifted") / "s.h5", rows)


def test_each_dyad_has_epochs_at_its_own_times(shifted):
    found = shifted.synchrony(SPEC, epochs=["talk"])["coherence"]
    for name, start in (("d0", 5), ("d1", 9)):
        alone = shifted.synchrony(SPEC, epochs={"talk": (start, start + 20)})["coherence"]
        assert_allclose(found.sel(dyad=name), alone.sel(dyad=name), atol=1e-6)


def at_onsets(tmp_path, shifts, durations=(20.0, 20.0, 20.0), tails=(0, 0, 0)):
    """Dyads whose recordings begin so many samples earlier, so that talk, and rest after it, begin later."""
    recordings, rows = [], []
    for k, (shift, duration, tail) in enumerate(zip(shifts, durations, tails, strict=True)):
        events = (Event(2.0, 8.0, "rest", 1.0), Event(10.0 + shift / SFREQ, duration, "talk", 1.0))
        pair = [recording(k, person, events=events, n_samples=N - tail) for person in (0, 1)]
        for person, who in enumerate(pair):
            whole = np.random.default_rng([k, person]).standard_normal((len(CHANNELS), N + 100)).astype(np.float32)
            x = whole[:, 50 - shift : 50 - shift + who.n_samples]
            recordings.append((who, {"hbo": x, "hbr": x}))
        rows.append(row(*pair, f"d{k}"))
    write_study(tmp_path / f"{shifts}.h5", recordings, {}, rows)
    return Study.open(tmp_path / f"{shifts}.h5")


def test_recordings_that_begin_earlier_have_the_pair_values_of_those_that_do_not(tmp_path):
    plain = at_onsets(tmp_path, (0, 0, 0)).select(duration=(N - 20) / SFREQ).null(SPEC, epochs=["talk"])
    shifted = at_onsets(tmp_path, (0, 20, 10)).null(SPEC, epochs=["talk"])
    assert_array_equal(shifted.pair_values, plain.pair_values)


@pytest.mark.filterwarnings("ignore:no single finding")
@pytest.mark.parametrize("roles", ["fixed", "interchangeable"])
def test_epochs_at_different_times_are_aligned_at_their_onsets(tmp_path, roles):
    """Talk is later by `starts`, and lasts 15 s in dyad 1; the recordings of dyad 2 are shorter."""
    starts = (0, 20, 10)
    study = at_onsets(tmp_path, starts, durations=(20.0, 15.0, 20.0), tails=(0, 0, 15))
    n = min(N - 20, N - 15 - 10)
    epochs = ["talk", "rest"]
    real, null = study.synchrony(SPEC, epochs=epochs), study.null(SPEC, epochs=epochs, roles=roles)
    x = [[study.signals(who, "hbo") for who in (one.recording_a, one.recording_b)] for one in study.dyads]
    reference = WTC(SPEC.bands, accuracy="reference")
    talk = Engine(n, SFREQ, reference, epochs={"talk": (10, 25)})
    rest = Engine(N - 15, SFREQ, reference, epochs={"rest": (2, 10)})
    people = [(k, 0) for k in range(3)] + [(k, 1) for k in range(3)]
    values = pair_values(null, real)[0]
    for i, j in np.ndindex(3, 3):
        column = j if roles == "fixed" else 3 + j
        parts = [
            [x[k][person][:, starts[k] * aligned :][:, : engine.plan.n_samples] for k, person in (people[i], (j, 1))]
            for engine, aligned in ((talk, 1), (rest, 0))
        ]
        for e, (engine, (a, b)) in enumerate(zip((talk, rest), parts, strict=True)):
            expected = engine.coherence(engine.features(a), engine.features(b)).coherence[..., 0]
            if roles != "fixed":
                turned = engine.coherence(engine.features(b), engine.features(a)).coherence[..., 0]
                expected = (expected + turned) / 2
            assert_allclose(values[i, column, e], expected, atol=1e-5)
    found = group_test(real, null, correct=())
    own = values[range(3), range(3) if roles == "fixed" else range(3, 6)]
    assert_allclose(found.dataset["value"].isel(epoch=0).values, own[:, 0], atol=1e-6)
    shares = trusted_shares(n, SFREQ, SPEC, {"talk": (10, 25)})[0]
    assert_allclose(found.dataset["valid_fraction"].values[:, 0, 0, 0], [shares] * 3, atol=1e-6)
    assert "aligned at the onsets of talk, with equal durations" in found.methods()
    lost = found.lost
    shortened = lost[(lost["epoch"] == "talk") & lost["reason"].str.contains("15 of 20 s")]
    assert set(shortened["dyad"]) == {"d0", "d2"}
    loaded = load_null(save_null(null, tmp_path / "n.nc"))
    assert loaded.attrs["aligned"] == null.attrs["aligned"]


def test_events_that_follow_each_other_in_other_ways_cannot_be_aligned(tmp_path):
    rows = rows_of(2)
    for name, events, words in (
        ("count", (Event(9.0, 9.0, "talk", 1.0),), ["has 2 intervals, that of dyad 'd0' 1", "name them apart"]),
        ("order", tuple(Event(t, 5.0, "talk", 1.0) for t in (9.0, 30.0)), ["9-14, 30-35", "5-10, 20-25"]),
    ):
        others = tuple(Event(t, 5.0, "talk", 1.0) for t in (5.0, 20.0))
        rows = [
            row(recording(k, 0, events=own), recording(k, 1, events=own), f"d{1 - k}")
            for k, own in enumerate((others, events))
        ]
        study = made(tmp_path / f"{name}.h5", rows)
        refusal(PlanError, lambda study=study: study.null(SPEC, epochs=["talk"]), "'talk'", *words)
        assert not study.check(SPEC, epochs=["talk"], null={"kind": "repair"}).ok


# --- lengths and rates ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    """Dyad 2 stops after 48 s, the others after 60 s."""
    rows = rows_of(3)
    rows[2] = row(recording(2, 0, n_samples=240), recording(2, 1, n_samples=240), "d2")
    return made(tmp_path_factory.mktemp("uneven") / "s.h5", rows)


def test_synchrony_uses_each_recording_in_full(uneven):
    found = uneven.synchrony(SPEC)["coherence"]
    for k, n in enumerate((N, N, 240)):
        engine = Engine(n, SFREQ, WTC(SPEC.bands, accuracy="reference"))
        direct = engine.coherence(*(engine.features(signals(k, person, n)) for person in (0, 1)))
        assert_allclose(found[k, 0], direct.coherence[..., 0], atol=1e-5)


@pytest.mark.filterwarnings("ignore:no single finding")
def test_a_null_keeps_its_own_real_pairs_cut_like_the_others(uneven):
    real, null = uneven.synchrony(SPEC), uneven.null(SPEC)
    found = group_test(real, null, correct=()).dataset
    engine = Engine(240, SFREQ, WTC(SPEC.bands, accuracy="reference"))
    for i, j in np.ndindex(3, 3):
        direct = engine.coherence(engine.features(signals(i, 0, 240)), engine.features(signals(j, 1, 240)))
        assert_allclose(null.pair_values[0, i, j].reshape(3, 3, 2), direct.coherence[..., 0], atol=1e-5)
        if i == j:
            assert_allclose(found["value"][i, 0], direct.coherence[..., 0], atol=1e-5)
            assert_allclose(found["valid_fraction"][i, 0], direct.valid_fraction[..., 0], atol=1e-6)
    assert_allclose(found["coherence"], real["coherence"], atol=0)
    assert np.abs(found["value"] - found["coherence"])[:2].max() > 1e-3
    assert_allclose(found["value"][2], found["coherence"][2], atol=0)
    assert "shared length" in found["value"].attrs["long_name"]
    assert "in full" in found["coherence"].attrs["long_name"]


def test_two_rates_are_refused_in_a_null_and_fine_without(tmp_path):
    rows = [*rows_of(2), row(recording(2, 0, sfreq=4.0), recording(2, 1, sfreq=4.0), "d2")]
    study = made(tmp_path / "s.h5", rows)
    assert np.isfinite(study.synchrony(SPEC)["coherence"]).all()
    refusal(InputError, lambda: study.null(SPEC), "'d2'", "4 Hz", "5 Hz", "resample")


# --- null -------------------------------------------------------------------------------------------------------------


def test_the_nulls_diagonal_is_the_real_synchrony(real, null):
    values = pair_values(null, real)
    assert_allclose(values[0, range(4), range(4)], real["coherence"], atol=1e-6)


def test_the_nulls_other_cells_are_the_re_paired_people(real, null):
    values = pair_values(null, real)
    engine = Engine(N, SFREQ, WTC(SPEC.bands, accuracy="reference"))
    for i, j in ((0, 1), (1, 0), (3, 2)):
        direct = engine.coherence(engine.features(signals(i, 0)), engine.features(signals(j, 1)))
        assert_allclose(values[0, i, j, 0], direct.coherence[..., 0], atol=1e-5)


def test_epochs_are_in_the_same_order_in_real_and_null(study):
    epochs = {"late": (30, 55), "early": (5, 25)}
    real = study.synchrony(SPEC, epochs=epochs)
    values = pair_values(study.null(SPEC, epochs=epochs), real)
    assert_allclose(values[0, range(4), range(4)], real["coherence"], atol=1e-6)


@pytest.mark.parametrize("budget", [1, 100_000, 10_000_000])
def test_tiles_of_people_change_nothing(study, null, monkeypatch, budget):
    monkeypatch.setattr("ibsync.study.runner.FEATURE_BYTES", budget)
    tiled = study.null(SPEC, seed=3)
    assert_allclose(tiled.pair_values, null.pair_values, atol=1e-6)


def test_one_tile_holds_fewer_people_than_the_study(study, monkeypatch):
    """That the smallest budget above really cuts the work."""
    monkeypatch.setattr("ibsync.study.runner.FEATURE_BYTES", 1)
    (occasion,) = occasions_of(study.dyads)
    plan, dyads = occasion.plan(SPEC, None), [row.dyad for row in study.dyads]
    axes = Axes.of(study.dyads, "all")
    jobs = tile_jobs(
        study, occasion, dyads, np.arange(4), "fixed", axes, "hbo", plan, "coherence", Worker(), dict.fromkeys(dyads, 0)
    )
    assert [(len(job.rows), len(job.columns)) for job in jobs] == [(1, 1)] * 16


def test_partners_stay_within_their_group(study, real):
    grouped = study.null(SPEC, within=("group",))
    assert grouped.design.n_ways == 4
    values = pair_values(grouped, real)
    first, second = np.array(["x", "y", "x", "y"])[[*np.indices((4, 4))]]
    assert_array_equal(np.isnan(values[0]).all(axis=(2, 3, 4, 5)), first != second)


def test_a_session_that_a_dyad_missed_is_nan_and_the_test_goes_on(tmp_path):
    rows = [row(recording(k, 0, s), recording(k, 1, s), f"d{k}") for k in range(3) for s in ("1", "2")][:-1]
    study = made(tmp_path / "s.h5", rows)
    real, null = study.synchrony(SPEC), study.null(SPEC)
    assert real.sizes["dyad"] == 5
    assert null.sessions == ("1", "2")
    assert np.isnan(null.pair_values[1, 2]).all()
    assert np.isnan(null.pair_values[1, :, 2]).all()
    assert np.isfinite(null.pair_values[1, :2, :2]).all()
    with pytest.warns(RuntimeWarning, match="no single finding"):
        found = group_test(real, null, correct=()).dataset
    assert_allclose(found["group_statistic"], real["coherence"].mean("dyad"), atol=1e-6)
    assert np.isfinite(found["null_mean"]).all()


# --- test -------------------------------------------------------------------------------------------------------------


def test_p_equals_a_permutation_test_written_with_scipy(real, null):
    found = group_test(real, null, correct=("max",)).dataset
    values = pair_values(null, real).astype(float)[0]
    assert found.attrs["exact"] == 1
    assert found.attrs["n"] == 23
    for a, b, band in np.ndindex(3, 3, 2):
        table = values[:, :, 0, a, b, band]
        by_scipy = scipy.stats.permutation_test(
            (np.arange(4),), lambda order, table=table: table[order.astype(int), np.arange(4)].mean(),
            permutation_type="pairings", alternative="greater", n_resamples=np.inf, vectorized=False,
        )  # fmt: skip
        one = found.isel(epoch=0, channel_a=a, channel_b=b, band=band)
        assert_allclose(one["p"], by_scipy.pvalue, atol=1e-12)
        assert_allclose(one["group_statistic"], by_scipy.statistic, atol=1e-6)
        assert_allclose(one["group_null_mean"], by_scipy.null_distribution.mean(), atol=1e-6)
    same = np.diagonal(found["p"].sel(epoch="all", band="fast"))
    assert_allclose(same, 1 / 24)


def test_each_dyads_z_is_against_its_own_partners(real, null):
    found = group_test(real, null, correct=("max",)).dataset
    values = pair_values(null, real).astype(float)[0, :, :, 0]
    for k in range(4):
        others = [j for j in range(4) if j != k]
        partners = np.concatenate([values[k, others], values[others, k]])
        one = found.isel(dyad=k, epoch=0)
        assert_allclose(one["null_mean"], partners.mean(axis=0), atol=1e-6)
        assert_allclose(one["null_sd"], partners.std(axis=0, ddof=1), atol=1e-6)
        assert_allclose(one["z"], (values[k, k] - partners.mean(axis=0)) / partners.std(axis=0, ddof=1), rtol=1e-4)


def test_the_table_has_the_agreed_columns(real, null):
    table = group_test(real, null, correct=("max",)).to_frame()
    assert list(table.columns) == COLUMNS
    of_group = table[table["dyad"] == "(all)"]
    assert len(of_group) == 18
    assert len(table) == 18 + 4 * 18
    assert of_group.index.max() == 17
    assert of_group["p"].notna().all()
    assert table["p"][18:].isna().all()
    assert table["z"].notna().all()


def test_the_same_seed_gives_the_same_p(tmp_path):
    study = made(tmp_path / "s.h5", rows_of(12))
    spec = WTC({"fast": (0.5, 1)})
    real = study.synchrony(spec)
    found = {}
    for name, seed in (("one", 7), ("again", 7), ("other", 8)):
        null = study.null(spec, n=400, seed=seed)
        assert not null.draws.listed
        found[name] = group_test(real, null, correct=())
    assert_array_equal(found["one"].dataset["p"], found["again"].dataset["p"])
    assert_array_equal(found["one"].null["null_hist"], found["again"].null["null_hist"])
    assert (found["one"].null["null_hist"] != found["other"].null["null_hist"]).any()


def test_too_few_draws_for_a_correction_are_told(real, null):
    with pytest.warns(RuntimeWarning, match="no single finding could pass") as told:
        found = group_test(real, null).dataset
    assert found.attrs["caution"] in str(told[0].message)
    refusal(PlanError, lambda: group_test(real, null, correct=("fdr",)), "could pass 'fdr'")


def test_a_correction_that_can_find_nothing_is_refused_before_anything_is_computed(study, real, null, monkeypatch):
    n = null.draws.n + 1
    with pytest.warns(RuntimeWarning):
        tested = int(np.isfinite(group_test(real, null).dataset["p"].values).sum())
    monkeypatch.setattr("ibsync.study.surrogate_runs.run_jobs", None)  # of nulls of both kinds
    told = f"{tested} features tested with 'fdr'"
    plan_refusal(lambda: study.null(SPEC, correct=["fdr"], alpha=0.9 * tested / n), told, f"only {n} re-pairings")
    plan_refusal(lambda: study.null(SPEC, correct=["max"], alpha=0.9 / n), f"at alpha={0.9 / n:g}")
    plan_refusal(lambda: study.null(SPEC, kind="phase", n=39, correct=["fdr"]), told, "39 were asked for")
    plan_refusal(lambda: study.null(SPEC, kind="phase", n=19, correct=["max"], tail="two-sided"), "n=39 draws")
    plan_refusal(lambda: study.null(SPEC, kind="phase", n=99, correct=["tfce"]), "'tfce' is for re-pairing")
    plan_refusal(lambda: study.null(SPEC, alpha=2), "between 0 and 1")
    words = {"kind": "repair", "correct": ["max"], "alpha": 0.9 / n}
    (problem,) = study.check(SPEC, null=words, estimate=False).problems
    assert "no single finding could pass 'max'" in problem
    assert study.check(SPEC, null={**words, "alpha": 1 / n}, estimate=False).n_features == tested
    lagged = WTC(SPEC.bands, lags=[-1, 0, 1])
    assert study.check(lagged, null={"kind": "repair"}, estimate=False).n_features == 3 * tested


MISMATCHES = {
    "spec": ({"spec": WTC({"slow": (0.1, 0.3), "fast": (0.5, 1.1)})}, "spec"),
    "accuracy": ({"spec": WTC(SPEC.bands, accuracy="fast")}, "spec"),
    "signal": ({"signal": "hbr"}, "signal"),
    "pairs": ({"pairs": "same"}, "pairs"),
    "number of epochs": ({"epochs": ["talk", "rest"]}, "epochs"),
    "times of epochs": ({"epochs": {"all": (5, 30)}}, "epochs"),
    "names of epochs": ({"epochs": {"talk": (0, 60)}}, "epochs"),
}


@pytest.mark.parametrize(("words", "part"), MISMATCHES.values(), ids=MISMATCHES.keys())
def test_a_null_of_another_request_is_refused(study, real, words, part):
    other = study.null(words.get("spec", SPEC), **{k: v for k, v in words.items() if k != "spec"})
    refusal(
        PlanError, lambda: group_test(real, other, correct=()), part, "real and null" if part != "epochs" else "null"
    )


def test_a_null_of_another_study_is_refused(real, shifted):
    refusal(PlanError, lambda: group_test(real, shifted.null(SPEC), correct=()), "two different studies")


# --- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["synchrony", "null"])
@pytest.mark.parametrize(
    ("words", "kind", "parts"),
    [
        ({"pairs": [("S1_D1", "S2_D1")]}, PlanError, ("'S2_D1'", "did you mean 'S")),
        ({"pairs": [("Cz", "S1_D1")]}, PlanError, ("'Cz'", "S1_D1, S1_D2, S2_D2")),
        ({"pairs": "some"}, PlanError, ("'some'", "'same'")),
        ({"pairs": [("S1_D1",)]}, PlanError, ("pairs", "(channel_a, channel_b)")),
        ({"pairs": 3}, PlanError, ("pairs", "(channel_a, channel_b)")),
        ({"pairs": []}, PlanError, ("pairs", "no pair")),
        ({"epochs": ["tallk"]}, PlanError, ("'tallk'", "did you mean 'talk'")),
        ({"epochs": ["zzz"]}, PlanError, ("'zzz'", "'rest', 'talk'")),
        ({"epochs": "talk"}, PlanError, ("['talk']",)),
        ({"epochs": {"e": 5}}, PlanError, ("'e'", "(start, stop)")),
        ({"epochs": {"e": [(0, 10), (20, 30, 40)]}}, PlanError, ("'e'", "(start, stop)")),
        ({"epochs": {"e": (70, 80)}}, PlanError, ("'e'", "60 s")),
        ({"epochs": []}, PlanError, ("epochs", "at least one")),
        ({"signal": "hbx"}, InputError, ("'hbx'", "hbo, hbr")),
        ({"backend": "gpu"}, PlanError, ("'gpu'", "'numpy'")),
    ],
)
def test_words_that_name_nothing_are_refused_in_one_line(study, verb, words, kind, parts):
    refusal(kind, lambda: getattr(study, verb)(SPEC, **words), *parts)


def test_wrong_objects_are_refused_in_one_line(study, real, null):
    refusal(PlanError, lambda: group_test(null, real), "Study.null", "not Dataset")
    refusal(PlanError, lambda: group_test(real, real), "Study.null", "not Dataset")
    refusal(PlanError, lambda: group_test(null, null), "Study.synchrony", "not RepairedNull and RepairedNull")
    for verb in (study.synchrony, study.null):
        refusal(PlanError, lambda verb=verb: verb({"bands": {"t": (0.1, 0.5)}}), "spec is a dict", "WTC(")
    assert "spec is a dict" in study.check({"bands": {}}).problems[0]
    for seed in (None, 1.5, "1"):
        refusal(PlanError, lambda seed=seed: study.null(SPEC, n=5, seed=seed), f"seed {seed!r}", "integer")


def test_what_a_verb_cannot_do_is_refused_in_one_line(study):
    refusal(PlanError, lambda: study.synchrony(WTC()), "bands")
    refusal(PlanError, lambda: study.null(WTC()), "bands")
    refusal(PlanError, lambda: study.null(SPEC, kind="shuffle"), "'shuffle'", "'repair'")
    refusal(PlanError, lambda: study.null(SPEC, within=("sex",)), "'sex'", "'group'")
    refusal(PlanError, lambda: study.null(SPEC, within=("session",)), "'session'", "leave")
    refusal(PlanError, lambda: study.null(SPEC, n=0), "draws")
    refusal(PlanError, lambda: study.synchrony(WTC({"vlf": (0.005, 0.1)})), "'vlf'", "record longer")


def test_dyads_that_share_people_in_both_roles_are_refused_in_a_null(tmp_path):
    rows = rows_of(3)
    rows.append(row(rows[0].recording_a, rows[2].recording_b, "mixed"))
    write_rows = {r.recording_a.id: r.recording_a for r in rows} | {r.recording_b.id: r.recording_b for r in rows}
    write_study(
        tmp_path / "s.h5",
        [(r, {c: signals(int(r.id[1]), int(r.id[2])) for c in r.signal_names}) for r in write_rows.values()],
        {},
        rows,
    )
    study = Study.open(tmp_path / "s.h5")
    assert study.synchrony(SPEC).sizes["dyad"] == 4
    refusal(PlanError, lambda: study.null(SPEC), "'d0', 'd2', 'mixed' are linked by 'p0a', 'p2b'", "relations")


def test_a_lone_dyad_is_refused_in_a_null(tmp_path):
    study = made(tmp_path / "s.h5", rows_of(1))
    assert study.synchrony(SPEC).sizes["dyad"] == 1
    refusal(PlanError, lambda: study.null(SPEC), "at least 2 dyads")


def test_groups_of_one_dyad_are_refused_in_a_null(tmp_path):
    study = made(tmp_path / "s.h5", rows_of(2))
    refusal(PlanError, lambda: study.null(SPEC, within=("group",)), "alone in its block", "fewer columns")


def test_a_study_without_dyads_in_use_is_refused(tmp_path):
    study = made(tmp_path / "s.h5", [replace(one, use=False) for one in rows_of(2)])
    refusal(InputError, lambda: study.synchrony(SPEC), "s.h5", "use")
    refusal(InputError, lambda: study.null(SPEC), "s.h5", "use")


# --- check ------------------------------------------------------------------------------------------------------------


def test_a_check_of_a_sound_request_names_no_problem(study):
    check = study.check(SPEC, estimate=False)
    assert check.ok
    assert check.problems == ()
    assert "Nothing stands in the way" in str(check)
    assert "4 dyads, 60.0 s at 5 Hz" in str(check)


def test_a_check_estimates_work_and_memory(study):
    page = str(study.check(SPEC))
    assert "36 maps" in page  # 4 dyads x 9 pairs
    assert "144 maps" in page  # 16 pairs of people x 9


@pytest.mark.parametrize(
    ("spec", "words", "part"),
    [
        (WTC({"vlf": (0.005, 0.1)}), {}, "'vlf'"),
        (SPEC, {"epochs": ["pause"]}, "'pause'"),
        (SPEC, {"signal": "hbt"}, "'hbt'"),
        (SPEC, {"epochs": {"e": (0, 1)}}, "'e'"),
    ],
)
def test_a_check_names_what_would_stop_a_run(study, spec, words, part):
    check = study.check(spec, estimate=False, **words)
    assert not check.ok
    assert part in check.problems[0]
    assert check.problems[0] in str(check)


# --- several signals --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_signals(tmp_path_factory):
    """Real synchrony and null of hbo and hbr of six dyads."""
    study = made(tmp_path_factory.mktemp("together") / "six.h5", rows_of(6))
    signal_names = ("hbo", "hbr")
    return [study.synchrony(SPEC, signal=c) for c in signal_names], [
        study.null(SPEC, signal=c, seed=3) for c in signal_names
    ]


@pytest.mark.filterwarnings("ignore:no single finding")
def test_signals_tested_together_are_corrected_over_all_of_them(two_signals):
    reals, nulls = two_signals
    alone = [group_test(real, null) for real, null in zip(reals, nulls, strict=True)]
    results = testing.test_together(reals, nulls)
    for one, two in zip(alone, results, strict=True):
        for name in ("p", "group_z"):
            assert_array_equal(one.dataset[name], two.dataset[name])
        for name in ("null_hist", "pooled_statistic"):
            assert_array_equal(one.null[name], two.null[name])
        assert (two.dataset["p_max"] >= one.dataset["p_max"]).all()
    together = [result.dataset for result in results]
    p, p_fdr = (np.concatenate([ds[name].values.ravel() for ds in together]) for name in ("p", "p_fdr"))
    assert_allclose(p_fdr, scipy.stats.false_discovery_control(p), rtol=1e-12)
    assert [ds["signal"].item() for ds in together] == ["hbo", "hbr"]


@pytest.mark.filterwarnings("ignore:no single finding")
def test_nulls_of_other_draws_are_not_tested_together(two_signals, study):
    reals, nulls = two_signals
    other = replace(nulls[1], draws=replace(nulls[1].draws, seed=4))
    refusal(PlanError, lambda: testing.test_together(reals, [nulls[0], other]), "seed")


# --- real dyads that a null holds already -----------------------------------------------------------------------------


@pytest.fixture
def computed(monkeypatch):
    """Numbers of the dyads that `synchrony` computes."""
    numbers = []
    run = DyadsJob.run

    def counted(job, worker):
        numbers.append(len(job.a.recordings))
        return run(job, worker)

    monkeypatch.setattr(DyadsJob, "run", counted)
    return numbers


@pytest.mark.parametrize("words", [{}, {"signal": "hbr"}, {"pairs": "same"}, {"epochs": ["talk"]}])
def test_real_dyads_are_taken_from_a_re_pairing_null(study, computed, words):
    real = study.synchrony(SPEC, **words)
    null = study.null(SPEC, n=20, measure="phase_consistency", **words)
    computed.clear()
    again = study.synchrony(SPEC, null=null, **words)
    assert not computed
    for name, values in real.items():
        assert_allclose(again[name], values, rtol=0, atol=1e-6 if name.startswith("phase") else 1e-7)
    assert again.attrs | {"created": ""} == real.attrs | {"created": ""}


@pytest.mark.parametrize(
    ("words", "of_null"),
    [
        ({"shares": True}, {}),
        ({}, {"signal": "hbr"}),
        ({}, {"kind": "phase"}),
        ({"epochs": ["talk"]}, {}),
        ({}, {"controls": ["S2_D2"]}),
        ({}, {"roles": "interchangeable"}),
        ({}, {"pairs": "same"}),
        ({"pairs": [("S1_D1", "S2_D2")]}, {"pairs": "same"}),
    ],
)
def test_dyads_that_the_null_does_not_hold_are_computed(study, computed, words, of_null):
    null = study.null(SPEC, n=20, **of_null)
    computed.clear()
    found = study.synchrony(SPEC, null=null, **words)
    assert sum(computed) == len(study.dyads)
    assert_array_equal(found["coherence"], study.synchrony(SPEC, **words)["coherence"])


@pytest.mark.parametrize("pairs", ["same", [("S1_D1", "S2_D2")]])
def test_a_null_of_all_pairs_holds_any_of_them(study, computed, pairs):
    null = study.null(SPEC, n=20)
    computed.clear()
    found = study.synchrony(SPEC, null=null, pairs=pairs)
    assert not sum(computed)
    assert_allclose(found["coherence"], study.synchrony(SPEC, pairs=pairs)["coherence"], rtol=0, atol=1e-7)


@pytest.mark.parametrize("pairs", ["same", [("S1_D1", "S2_D2")]])
def test_pairs_that_were_not_asked_for_have_no_value_at_all(study, pairs):
    real, every = study.synchrony(SPEC, pairs=pairs), study.synchrony(SPEC)
    wanted = [[a == b if pairs == "same" else (a, b) in pairs for b in CHANNELS] for a in CHANNELS]
    for name, values in real.data_vars.items():
        expected = every[name].where(asked_pairs(real))
        assert_allclose(values, expected, rtol=0, atol=1e-7, err_msg=str(name))
    assert asked_pairs(real).values.tolist() == wanted
    frame = Result(real).to_frame()
    assert len(frame) == real.sizes["dyad"] * 2 * sum(map(sum, wanted))
    assert frame["valid_fraction"].notna().all()


def test_dyads_of_a_null_are_taken_whoever_else_is_computed(study, computed):
    null = study.select(dyad=[row.dyad for row in study.dyads[:2]]).null(SPEC, n=1)
    real = study.synchrony(SPEC)
    computed.clear()
    found = study.synchrony(SPEC, null=null)
    assert sum(computed) == len(study.dyads) - len(null.real_means) < len(study.dyads)
    assert_allclose(found["coherence"], real["coherence"], rtol=0, atol=1e-7)


def test_dyads_that_were_computed_on_another_backend_are_computed_again(study, computed):
    null = study.null(SPEC, n=20)
    for name, value in (("backend", "cuda"), ("loops", "neon")):
        computed.clear()
        study.synchrony(SPEC, null=replace(null, attrs={**null.attrs, name: value}))
        assert sum(computed) == len(study.dyads)


def test_dyads_that_the_null_cut_are_computed_in_full(tmp_path, computed):
    rows = [row(recording(k, 0, n_samples=n), recording(k, 1, n_samples=n), f"d{k}") for k, n in enumerate((N, N, 250))]
    study = made(tmp_path / "study.h5", rows)
    null = study.null(SPEC, n=5)
    assert_allclose(
        null.valid_fraction[0, :2],
        study.select(duration=50).synchrony(SPEC)["valid_fraction"].values.reshape(3, -1)[:2],
    )
    computed.clear()
    found = study.synchrony(SPEC, null=null)
    assert sum(computed) == 2
    assert_allclose(found["coherence"], study.synchrony(SPEC)["coherence"], rtol=0, atol=1e-7)


def test_what_is_no_null_is_refused(study):
    plan_refusal(lambda: study.synchrony(SPEC, null=[1, 2]), "null is a list")


def test_an_occasion_without_values_is_no_obstacle_to_the_time_of_others(tmp_path):
    rows = rows_of(3) + rows_of(3, session="2", n_samples=20)
    check = made(tmp_path / "study.h5", rows).check(WTC({"slow": (0.1, 0.3)}), null={"n": 5})
    assert check.ok
    assert str(check).count("re-paired") == 1
    assert "too short: no band has a value in any epoch" in str(check)


@pytest.mark.parametrize("n_dyads", [2, 4])
def test_a_null_of_shares_gives_the_shares_that_are_asked_for(study, n_dyads):
    part = study.select(dyad=[row.dyad for row in study.dyads[:n_dyads]])
    found = study.synchrony(SPEC, null=part.null(SPEC, n=1, measure="in_phase"))
    assert set(found.data_vars) == set(study.synchrony(SPEC).data_vars)
