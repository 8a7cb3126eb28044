"""Couplings of band-passed signals from a study to a report: every room takes a `Coupling` where it takes a `WTC`."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest
from controlled import SFREQ, N, made
from numpy.testing import assert_allclose, assert_array_equal
from refusals import plan_refusal

import ibsync as ibs
from ibsync.commands.run import run_plan
from ibsync.coupling import band_coupling
from ibsync.coupling.band_spec import Coupling
from ibsync.coupling.engine import Engine
from ibsync.coupling.measures import COUPLINGS, MEASURES
from ibsync.coupling.spec import WTC
from ibsync.questions.contrast import contrast
from ibsync.questions.group_test import test as group_test
from ibsync.questions.multiverse import multiverse
from ibsync.results.null_files import load_null, save_null
from ibsync.results.report import report
from ibsync.results.result import Result, load
from ibsync.simulation.calibrate import calibrate
from ibsync.study import pair_values, runner

BANDS = {"slow": (0.3, 0.8), "fast": (0.8, 1.6)}
SPEC = Coupling("plv", BANDS)
WINDOWS = {"xcorr": {"max_lag": 1.0, "window": 8.0}}
EPOCHS = {"early": (0, 30), "late": (30, 60)}


def shared(recording, x):
    """Both people of a dyad share a good part of their first channel."""
    common = np.random.default_rng(int(recording.id[1])).standard_normal(N)
    return recording, {**x, "hbo": (x["hbo"] + np.array([6, 0, 0, 0, 0])[:, None] * common).astype(np.float32)}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return made(tmp_path_factory.mktemp("study") / "five.h5", n=5, change=shared)


@pytest.fixture(scope="module")
def real(study):
    return study.synchrony(SPEC, epochs=EPOCHS)


def direct(study, spec, one, other, **words):
    """Values of two recordings by the engine."""
    engine = Engine(N, SFREQ, spec, backend="numpy", **words)
    long = [study.signals(recording, "hbo")[:3] for recording in (one, other)]
    return engine.measure(*map(engine.features, long), spec.measure)


@pytest.mark.parametrize("kind", COUPLINGS)
def test_synchrony_is_that_of_the_engine(study, kind):
    spec = Coupling(kind, BANDS, **WINDOWS.get(kind, {}))
    real = study.synchrony(spec, epochs=EPOCHS)
    assert set(real.data_vars) == {kind, "valid_fraction", "n_samples"} | ({"lag"} if kind == "xcorr" else set())
    assert real[kind].attrs["long_name"] == MEASURES[kind].definition
    row = study.dyads[2]
    expected = direct(study, spec, row.recording_a, row.recording_b, epochs=EPOCHS)
    assert_allclose(np.moveaxis(expected, -1, 0), real[kind][2], rtol=0, atol=1e-12)


def test_a_repairing_null_holds_everybody_with_everybodys_partner(study, real):
    null = study.null(SPEC, epochs=EPOCHS)
    assert null.attrs["measure"] == "plv"
    one, other = study.dyads[1].recording_a, study.dyads[3].recording_b
    found = null.pair_values[0, 1, 3].reshape(2, 3, 3, 2)
    expected = np.moveaxis(direct(study, SPEC, one, other, epochs=EPOCHS), -1, 0)
    assert_allclose(found, expected, rtol=0, atol=1e-6)
    again = study.synchrony(SPEC, epochs=EPOCHS, null=null)
    assert_allclose(again["plv"], real["plv"], rtol=0, atol=1e-12)


def test_from_a_test_to_a_page_and_back(study, real, tmp_path):
    null = study.null(SPEC, epochs=EPOCHS)
    save_null(null, tmp_path / "null.h5")
    result = group_test(real, load_null(tmp_path / "null.h5"), correct=["max"])
    first = result.dataset.sel(channel_a="S1_D1", channel_b="S1_D1")
    assert (first["p"] < 0.05).all()
    assert_allclose(result.dataset["value"], real["plv"], rtol=0, atol=1e-6)
    result.save(tmp_path / "result.nc")
    read = load(tmp_path / "result.nc")
    assert "phase-locking value of real partners" in read.headline
    methods = read.methods()
    assert "Lachaux" in methods
    assert "band-passed" in methods
    assert "Grinsted" not in methods
    assert "oherence" not in methods
    page = report(read, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Phase-locking value lies between 0 and 1" in page
    assert "Magnitude-squared" not in page
    assert "oherence is magnitude" not in page
    alone = Result(real)
    assert "mean phase-locking value" in alone.headline
    report(alone, tmp_path / "alone.html")


@pytest.mark.filterwarnings("ignore:no single finding", "ignore:autoregressive noise")
@pytest.mark.parametrize("kind", ["phase", "iaaft", "shift", "block", "ar1", "ar"])
def test_every_surrogate_null_takes_a_coupling(study, real, kind):
    spec = Coupling("plv", BANDS, detrend="linear")
    of = study.synchrony(spec, epochs=EPOCHS)
    null = study.null(spec, kind=kind, n=39, epochs=EPOCHS)
    assert_allclose(null.observed.reshape(of["plv"].shape), of["plv"], rtol=0, atol=1e-6)
    result = group_test(of, null)
    assert_allclose(result.dataset["value"], of["plv"], rtol=0, atol=1e-6)
    assert np.isfinite(result.dataset["p"]).all()


@pytest.mark.filterwarnings("ignore:no single finding")
def test_trials_are_exchanged(study):
    trials = {"talk": [(0, 18), (20, 38), (40, 58)]}
    spec = Coupling("wpli", {"fast": (0.8, 1.6)}, coi="none")
    null = study.null(spec, kind="trial", n=19, epochs=trials)
    row = study.dyads[0]
    x, y = (study.signals(recording, "hbo")[:3] for recording in (row.recording_a, row.recording_b))
    engine = Engine(90, SFREQ, spec, backend="numpy")
    expected = [
        engine.measure(engine.features(x[:, k : k + 90]), engine.features(y[:, k : k + 90]), "wpli")
        for k in (0, 100, 200)
    ]
    assert_allclose(null.observed[0].reshape(3, 3), np.mean(expected, axis=0)[..., 0, 0], rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore:no single finding")
def test_a_contrast_of_epochs_is_of_the_measure(study, real):
    found = contrast(real, ("late", "early"))
    assert found.dataset["value"].attrs["long_name"] == "phase-locking value, late - early"
    expected = real["plv"].sel(epoch="late") - real["plv"].sel(epoch="early")
    assert_allclose(found.dataset["value"].isel(epoch=0), expected, rtol=0, atol=1e-12)
    plan_refusal(lambda: contrast(real, ("late", "early"), measure="coherence"), "'coherence'", "'plv'")


@pytest.mark.filterwarnings("ignore:no single finding")
def test_epochs_of_unequal_length_are_not_contrasted_where_the_measure_grows_as_samples_fall(study):
    unequal = {"short": (0, 15), "long": (20, 60)}
    real = study.synchrony(SPEC, epochs=unequal)
    words = ("grows as samples fall", "'short'", "'long'", "'ppc'", "ibs.test(real, null)")
    plan_refusal(lambda: contrast(real, ("short", "long")), *words)
    contrast(study.synchrony(Coupling("ppc", BANDS), epochs=unequal), ("short", "long"))
    null = study.null(SPEC, epochs=unequal)
    contrast(real, ("short", "long"), null=null)
    contrast(group_test(real, null), ("short", "long"))


def test_regions_average_the_measure(study):
    rois = {"front": ["S1_D1", "S1_D2"], "back": ["S2_D2"]}
    every, of_regions = study.synchrony(SPEC), study.synchrony(SPEC, rois=rois)
    front = every["plv"].sel(channel_a=rois["front"], channel_b=rois["front"]).mean(("channel_a", "channel_b"))
    assert_allclose(of_regions["plv"].sel(channel_a="front", channel_b="front"), front, rtol=0, atol=1e-12)


def test_lags_are_an_axis(study, real):
    found = study.synchrony(Coupling("plv", BANDS, lags=[-1, 0, 1]))
    assert found["plv"].dims == ("dyad", "epoch", "channel_a", "channel_b", "band", "shift")
    assert_array_equal(found["shift"], [-1, 0, 1])


def test_controls_are_regressed_out_or_refused(study):
    plan_refusal(lambda: study.synchrony(SPEC, controls=["short"]), "'plv'", "how='regression'")
    assert np.isfinite(study.synchrony(SPEC, controls=["short"], how="regression")["plv"]).all()


def test_what_does_not_fit_is_refused(study):
    plan_refusal(lambda: study.synchrony(SPEC, shares=True), "'plv'", "leave shares out")
    plan_refusal(lambda: study.null(SPEC, measure="coherence"), "leave measure out")
    plan_refusal(lambda: study.null(WTC(BANDS), measure="plv"), "give Coupling('plv', bands=...)")
    plan_refusal(lambda: study.null(Coupling("imcoh", BANDS), roles="interchangeable"), "who is first")
    plan_refusal(lambda: study.synchrony(Coupling("plv", {"slow": (0.02, 0.1)})), "a filter of 165 s", "lasts 60 s")
    assert "a filter of 165 s" in str(study.check(Coupling("plv", {"slow": (0.02, 0.1)})))


@pytest.mark.filterwarnings("ignore:no single finding")
def test_each_person_may_have_a_band(study):
    spec = Coupling("envelope", {"one": ((0.8, 1.6), (0.5, 1.2))})
    real = study.synchrony(spec)
    assert (float(real["band_low_hz"][0]), float(real["band_b_low_hz"][0])) == (0.8, 0.5)
    assert "0.8–1.6 Hz of first and 0.5–1.2 Hz of second persons" in Result(real).methods()
    group_test(real, study.null(spec))
    plan_refusal(lambda: study.null(spec, roles="interchangeable"), "'one'", "nobody is first")


@pytest.mark.filterwarnings("ignore:no single finding")
def test_windowed_cross_correlation_goes_the_whole_way(study, tmp_path):
    spec = Coupling("xcorr", {"one": (0.8, 1.6)}, max_lag=1.0, window=8.0)
    real = study.synchrony(spec)
    assert (abs(real["lag"]) <= 1).all()
    result = group_test(real, study.null(spec), correct=["max"])
    result.save(tmp_path / "x.nc")
    assert "windowed cross-correlation" in load(tmp_path / "x.nc").methods()
    assert np.isfinite(study.null(spec, kind="phase", n=19).observed).all()


def test_friends_have_a_value_without_a_first(study):
    null = study.null(SPEC, roles="interchangeable")
    assert np.isfinite(null.pair_values[0, 0, 1]).all()


def test_a_calibration_takes_a_coupling(study):
    found = calibrate(study, Coupling("plv", {"fast": (0.8, 1.6)}), n_sims=5, n=19, couplings=[0.9])
    assert found.n_sims == 5


def test_a_plan_file_names_a_coupling(study, real, tmp_path):
    plan = tmp_path / "plan.toml"
    words = f'study = "{study.path}"\noutput = "{tmp_path / "out.nc"}"\nreport = "{tmp_path / "out.html"}"\n'
    coupling = '[coupling]\nkind = "plv"\nbands = { slow = [0.3, 0.8], fast = [0.8, 1.6] }\n'
    plan.write_text(words + coupling + "[synchrony]\nepochs = { early = [0, 30], late = [30, 60] }\n")
    run_plan(plan)
    assert_allclose(load(tmp_path / "out.nc").dataset["plv"], real["plv"], rtol=0, atol=1e-12)
    assert (tmp_path / "out.html").exists()
    plan.write_text(words + coupling + "[wtc]\nbands = { slow = [0.3, 0.8] }\n")
    plan_refusal(lambda: run_plan(plan), "keep one")
    plan.write_text(words + coupling.replace("plv", "plw"))
    plan_refusal(lambda: run_plan(plan), "did you mean 'plv'?")


def test_a_multiverse_takes_couplings_beside_wavelet_coherence(study):
    found = multiverse(study, bands=BANDS, signal="hbo", measure=["coherence", "plv", "wpli"], pairs="same", alpha=0.2)
    table = found.table.set_index(["measure", "band"])
    assert table["preset"].to_dict() == {
        (name, band): "grinsted" if name == "coherence" else "band-pass"
        for name in ("coherence", "plv", "wpli") for band in BANDS
    }  # fmt: skip
    real = study.synchrony(SPEC, pairs="same")
    assert_allclose(table.loc[("plv", "slow"), "statistic"], real["plv"].sel(band="slow").mean(), rtol=0, atol=1e-6)
    plan_refusal(lambda: multiverse(study, bands=BANDS, measure=["xcorr"]), "'xcorr'")


@pytest.mark.parametrize("kind", ["plv", "xcorr"])
def test_finished_parts_of_a_coupling_are_taken_from_a_journal(kind, tmp_path, monkeypatch):
    study = ibs.simulate(tmp_path / "s.h5", n_dyads=5, n_channels=2, duration=60.0, sfreq=5.0)
    words = {"max_lag": 1.0, "window": 20.0} if kind == "xcorr" else {}
    spec = ibs.Coupling(kind, {"slow": (0.2, 0.6)}, **words)
    first = study.synchrony(spec, journal=tmp_path / "real.journal")
    null = study.null(spec, n=20, journal=tmp_path / "null.journal")
    computed: list[int] = []
    original = runner._run_here

    def watched(jobs, numbers, worker):
        computed.extend(numbers)
        return original(jobs, numbers, worker)

    monkeypatch.setattr(runner, "_run_here", watched)
    again = study.synchrony(spec, journal=tmp_path / "real.journal")
    second = study.null(spec, n=20, journal=tmp_path / "null.journal")
    assert computed == []
    for name, values in first.data_vars.items():
        assert_array_equal(values, again[name])
    assert_array_equal(null.pair_values, second.pair_values)
    assert ibs.test(first, null).dataset.p_max.equals(ibs.test(again, second).dataset.p_max)


@pytest.mark.parametrize("roles", ["fixed", "interchangeable"])
@pytest.mark.parametrize("kind", ["plv", "envelope", "wpli"])
def test_people_who_are_worked_on_band_by_band_have_the_same_values(study, kind, roles, monkeypatch):
    whole = study.null(Coupling(kind, BANDS), epochs=EPOCHS, roles=roles)
    monkeypatch.setattr(pair_values, "_FEW_PEOPLE", 1e9)
    monkeypatch.setattr(pair_values, "BAND_BYTES", 3 * 16 * N * 2)  # two first persons
    monkeypatch.setattr(pair_values, "SECONDS_AT_ONCE", 2)
    monkeypatch.setattr(band_coupling, "MOST_KEPT_BYTES", 0)
    by_band = study.null(Coupling(kind, BANDS), epochs=EPOCHS, roles=roles)
    np.testing.assert_allclose(by_band.pair_values, whole.pair_values, rtol=0, atol=1e-7)
    assert np.isfinite(by_band.pair_values).any()
