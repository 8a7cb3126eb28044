"""Calibration on people who never met: at its level, too often or not attainable, power, and what they share."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

import ibsync as ibs
from ibsync.commands.cli import main
from ibsync.coupling.spec import WTC, Band
from ibsync.errors import InputError, PlanError
from ibsync.inference.alike import alike_within_groups
from ibsync.nulls.draws import Draws
from ibsync.nulls.repaired_null import RepairedNull
from ibsync.nulls.repairing import Repairing
from ibsync.recordings.study_file import write_study
from ibsync.results.calibration_result import Calibration
from ibsync.results.figures.calibration import html_page, picture_bytes
from ibsync.simulation.calibrate import calibrate
from ibsync.simulation.calibrated_tests import Design, RepairedStudies, SurrogateDyads, largest_p, usable_pairs
from ibsync.simulation.common_causes import common_bursts
from ibsync.simulation.pseudo_dyads import Injection, pseudo_dyads
from ibsync.study.rows import occasions_of

BAND = Band(0.1, 0.3)
SPEC = WTC(bands={"task": BAND}, accuracy="fast")
SMALL = {"n_channels": 2, "duration": 120.0, "sfreq": 4.0, "coupled_band": (0.1, 0.3)}
FEW = {"n_sims": 40, "couplings": (0.1, 0.7)}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    path = tmp_path_factory.mktemp("calibrate") / "study.h5"
    return ibs.simulate(path, n_dyads=8, coupling=0.0, epochs=[("talk", 10, 60), ("talk", 60, 110)], seed=2, **SMALL)


@pytest.fixture(scope="module")
def with_stimulus(tmp_path_factory):
    path = tmp_path_factory.mktemp("calibrate") / "stimulus.h5"
    return ibs.simulate(path, n_dyads=8, coupling=0.0, shared_stimulus=0.5, seed=2, **SMALL)


@pytest.fixture(scope="module")
def repaired(study):
    return calibrate(study, SPEC, **FEW)


def made(**changes) -> Calibration:
    base = Calibration(
        kind="phase", alpha=0.05, n_sims=200, false_positives=10, attainable=0.05, n=39,
        rank_edges=(0, 20, 40), rank_counts=(90, 110), couplings=(0.2, 0.4, 0.8), detections=(5, 20, 45), n_power=50,
        level_unit="pseudo-dyads", power_unit="pseudo-dyads", design="As described.", warnings=(), signal="hbo",
        bands=("task",), seed=0,
    )  # fmt: skip
    return replace(base, **changes)


def design(**changes) -> Design:
    base = Design(
        spec=SPEC, kind="repair", n_draws=99, alpha=0.05, signal="hbo", pairs="same", epochs=None, within=(),
        measure="coherence", seed=3, backend="auto", options={},
    )  # fmt: skip
    return replace(base, **changes)


# Level and power


def test_re_pairing_is_at_its_level_and_finds_strong_coupling(repaired):
    assert repaired.state == "level"
    assert repaired.n == 23
    assert repaired.verdict.startswith("False-positive rate as stated as far as so few simulations can tell: ")
    assert repaired.power[0] < repaired.power[1]
    assert repaired.power[1] >= 0.8
    assert 0.1 < repaired.detectable_coupling <= 0.7
    words = f"A coupling of {repaired.detectable_coupling:.2f} in one channel pair would have been found"
    assert words in repaired.verdict


def test_one_seed_gives_one_calibration(study, repaired):
    assert calibrate(study, SPEC, **FEW) == repaired
    assert calibrate(study, SPEC, seed=1, **FEW).rank_counts != repaired.rank_counts


def test_the_power_does_not_depend_on_the_other_couplings_tried(study, repaired):
    alone = calibrate(study, SPEC, n_sims=40, couplings=(0.7,))
    assert alone.detections == repaired.detections[1:]


@pytest.mark.slow
def test_phase_surrogates_are_at_their_level_only_without_a_shared_stimulus(study, with_stimulus):
    words = {"kind": "phase", "n_sims": 60, "n": 19, "couplings": ()}
    without, shared = calibrate(study, SPEC, **words), calibrate(with_stimulus, SPEC, **words)
    assert without.false_positives <= stats.binom.ppf(0.9995, 60, 0.05)
    assert without.state != "liberal"
    assert shared.state == "liberal"
    assert shared.verdict.startswith("False-positive rate TOO HIGH: ")
    assert "use kind='repair'" in shared.verdict
    assert calibrate(with_stimulus, SPEC, n_sims=40, couplings=()).state != "liberal"


def test_surrogates_of_pseudo_dyads_find_strong_coupling(study):
    found = calibrate(study, SPEC, kind="shift", n_sims=40, n=19, couplings=(0.1, 0.95))
    assert found.power[1] >= 0.8
    assert found.power[0] <= 0.5


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("trial", {"epochs": ["talk"], "n": 1, "alpha": 0.5}),
        ("block", {"options": {"block": 30.0}}),
        ("ar1", {"epochs": ["talk"], "measure": "phase_consistency", "pairs": "all"}),
    ],
)
def test_every_kind_can_be_calibrated(study, kind, words):
    found = calibrate(study, SPEC, kind=kind, n_sims=4, couplings=(0.5,), **{"n": 19, **words})
    assert sum(found.rank_counts) == 4


def test_a_rank_of_re_pairing_is_that_of_all_permutations_counted_one_by_one(study):
    tests = RepairedStudies(study, design(), progress=False)
    null = tests._halved(5)
    table = null.pair_values[0].astype(float)[..., np.isfinite(null.pair_values).any(axis=(0, 1, 2))]
    n = len(table)
    drawn = [table[range(n), order].mean(axis=0) for order in itertools.permutations(range(n))]
    z = (np.array(drawn) - np.mean(drawn, axis=0)) / np.std(drawn, axis=0)
    largest = z.max(axis=1)
    assert tests.rank(5) == (largest[1:] >= largest[0] - 1e-6).sum()


def test_halves_never_met(study):
    tests = RepairedStudies(study, design(), progress=False)
    met = {(row.person_a, row.person_b) for row in study.dyads}
    for simulation in range(5):
        halves = tests._halved(simulation).design
        assert not met & set(itertools.product(halves.persons_a, halves.persons_b))


def test_the_largest_statistic_is_ranked_among_draws_standardised_together():
    values = np.random.default_rng(0).standard_normal((20, 5)) * [1, 10, 0.1, 1, 1]
    values[:, 3] = np.nan
    values[4, 4] = np.nan
    tested = values[:, [0, 1, 2, 4]]
    z = (tested - np.nanmean(tested, axis=0)) / np.nanstd(tested, axis=0)
    expected = [(1 + sum(np.nanmax(row) >= one for row in z[1:])) / 20 for one in z[0]]
    np.testing.assert_allclose(largest_p(values)[[0, 1, 2, 4]], expected)
    assert np.isnan(largest_p(values)[3])


# Few dyads


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    return ibs.simulate(tmp_path_factory.mktemp("few") / "four.h5", n_dyads=4, coupling=0.0, seed=1, **SMALL)


def test_a_level_that_few_dyads_cannot_reach_is_said(four):
    found = calibrate(four, SPEC, n_sims=8, couplings=())
    assert (found.state, found.attainable, found.false_positives) == ("unattainable", 0.0, 0)
    assert "Not attainable: studies of 2 dyads without interaction allow no p below 0.5" in found.verdict
    assert "4 dyads are few" in found.verdict


def subset(study, n: int):
    return replace(study, all_dyads=study.all_dyads[:n])


def test_too_few_dyads_are_refused(study, monkeypatch):
    monkeypatch.setattr("ibsync.coupling.engine.Engine.features", lambda *_, **__: pytest.fail("the work has begun"))
    with pytest.raises(PlanError, match="at least 4 dyads"):
        calibrate(subset(study, 3), SPEC)
    with pytest.raises(PlanError, match="never met"):
        calibrate(subset(study, 1), SPEC, kind="phase")


# People who never met


def test_the_first_pseudo_dyads_share_nobody_and_none_of_them_met(study):
    found = pseudo_dyads(study.dyads, occasions_of(study.dyads), ["session"], 0)
    names = [(first.person_a, second.person_b) for first, second in found]
    assert len(set(names)) == len(names) == 8 * 7
    assert not set(names) & {(row.person_a, row.person_b) for row in study.dyads}
    assert all(len({person for pair in names[k : k + 8] for person in pair}) == 16 for k in range(0, 56, 8))


def test_pseudo_dyads_stay_within_a_group_and_leave_out_all_who_met(study):
    rows = [replace(row, group="xy"[k % 2]) for k, row in enumerate(study.dyads)]
    occasions = occasions_of(rows)
    found = pseudo_dyads(rows, occasions, ["group"], 0)
    assert len(found) == 2 * 4 * 3
    assert all(first.group == second.group for first, second in found)
    therapist = [replace(row, person_a="therapist") for row in study.dyads]
    with pytest.raises(PlanError, match="never met"):
        pseudo_dyads(therapist, occasions_of(therapist), ["session"], 0)


def test_channel_pairs_that_are_bad_in_anybody_are_left_out(study):
    row = study.dyads[0]
    bad = replace(row, recording_b=replace(row.recording_b, good=(False, True)))
    same = [("S1_D1", "S1_D1"), ("S2_D2", "S2_D2")]
    assert usable_pairs([row, bad], same) == same[1:]
    with pytest.raises(InputError, match="none of the channel pairs"):
        usable_pairs([bad], same[:1])


# Coupling that is put in


def injected(coupling: float, draw: int, x: np.ndarray) -> np.ndarray:
    return Injection(coupling, (BAND,), 0, draw, 7).into(x.astype(np.float32), 4.0).astype(float)


def test_injected_coupling_is_the_coherency_within_the_band_and_leaves_the_rest():
    noise = np.random.default_rng(1).standard_normal((2, 200, 480))
    a, b = (np.stack([injected(0.5, draw, x) for draw, x in enumerate(side)]) for side in noise)
    before, after = np.fft.rfft(noise), np.fft.rfft(np.stack([a, b]))
    inside = BAND.contains(np.fft.rfftfreq(480, 1 / 4.0))

    def coherency(spectra):
        cross, power = (
            (spectra[0] * spectra[1].conj())[:, inside].sum(),
            (np.abs(spectra[..., inside]) ** 2).sum((1, 2)),
        )
        return cross / np.sqrt(power.prod())

    assert abs(coherency(before)) < 0.05
    # Smoothed spectra are not the spectra: nine bins cost some three hundredths of the coupling.
    np.testing.assert_allclose(coherency(after), 0.5, atol=0.04)
    np.testing.assert_allclose(after[..., ~inside], before[..., ~inside], atol=1e-4)
    gain = (np.abs(after) ** 2)[..., inside].mean() / (np.abs(before) ** 2)[..., inside].mean()
    np.testing.assert_allclose(gain, 1.0, atol=0.04)


def test_injection_keeps_gaps_and_leaves_what_cannot_be_coupled():
    x = np.random.default_rng(1).standard_normal(480)
    x[100:120] = np.nan
    assert np.array_equal(np.isnan(injected(0.5, 0, x)), np.isnan(x))
    assert np.isnan(injected(0.5, 0, np.full(480, np.nan))).all()
    np.testing.assert_array_equal(injected(0.5, 0, np.ones(480)), 1.0)


def test_only_one_channel_pair_is_coupled(study):
    tests = SurrogateDyads(study, design(kind="phase", n_draws=19), 4)
    plain, coupled = tests._study([0]), tests._study([0], 0.8)
    for name in plain.give:
        before, after = plain.signals(name), coupled.signals(name)
        np.testing.assert_array_equal(before[1:], after[1:])
        assert np.abs(before[0] - after[0]).max() > 0


# What people share


def bursting(study, path, *, common: bool):
    """The same study with power that rises and falls: at the same times for everybody, or at each person's own."""
    rng, recordings = np.random.default_rng(0), []
    time = np.arange(study.recordings[0].n_samples)
    for recording in study.recordings:
        start = 0 if common else rng.integers(len(time))
        gain = np.exp(1.5 * np.sin(2 * np.pi * 3 * (time + start) / len(time)))
        recordings.append((recording, {"hbo": study.signals(recording) * gain.astype(np.float32)}))
    recordings = [(replace(recording, signal_names=("hbo",)), signals) for recording, signals in recordings]
    write_study(path, recordings, study.participants, study.all_dyads)
    return ibs.Study.open(path)


@pytest.mark.slow
def test_bursts_that_everybody_has_are_told_from_bursts_of_ones_own(study, tmp_path):
    shared = bursting(study, tmp_path / "shared.h5", common=True)
    correlation, p = common_bursts(shared, SPEC.bands, "hbo", 0)["task"]
    assert correlation > 0.5
    assert p == 0.001
    own = bursting(study, tmp_path / "own.h5", common=False)
    assert common_bursts(own, SPEC.bands, "hbo", 0)["task"][1] > 0.05
    for kind, words in (("repair", "re-pairing allows for it"), ("phase", "use kind='repair'")):
        found = calibrate(shared, SPEC, kind=kind, n_sims=4, couplings=(), n=19)
        assert any("rises and falls together" in text and words in text for text in found.warnings)


def test_bursts_of_a_recording_that_is_too_short_are_not_judged(study):
    assert common_bursts(study, {"slow": Band(0.02, 0.03)}, "hbo", 0) == {}


def paired_values(shift: float, n: int = 8) -> tuple[RepairedNull, dict[str, str]]:
    """Values of people of two groups; those of one group are larger by `shift` where they never met."""
    label = np.arange(n) % 2
    values = (
        np.random.default_rng(4).standard_normal((1, n, n, 3)) + shift * (label[:, None] == label)[None, :, :, None]
    )
    values[0, :, :, 2] = np.nan
    names = [f"d{k}" for k in range(n)]
    repairing = Repairing.of(names, [f"a{k}" for k in range(n)], [f"b{k}" for k in range(n)])
    return RepairedNull(values, Draws.plan(repairing, 99, 0), ("1",)), dict(zip(names, map(str, label), strict=True))


def test_groups_that_are_not_exchangeable_are_noticed():
    assert alike_within_groups(*paired_values(1.5), 0) <= 0.05
    assert alike_within_groups(*paired_values(0.0), 0) > 0.05
    null, groups = paired_values(0.0)
    assert np.isnan(alike_within_groups(null, dict.fromkeys(groups, "one"), 0))


def test_physiology_of_real_partners_is_compared_with_that_of_others(study):
    rng, signals = np.random.default_rng(0), {}
    for row in study.dyads:
        breath = rng.standard_normal(row.recording_a.n_samples)
        signals |= {row.recording_a.id: breath, row.recording_b.id: breath + 0.1 * rng.standard_normal(breath.size)}
    words = {"n_sims": 4, "couplings": ()}
    assert any(
        "auxiliary signals of real partners" in text
        for text in calibrate(study, SPEC, physiology=signals, **words).warnings
    )
    own = {name: rng.standard_normal(signal.size) for name, signal in signals.items()}
    assert not any("auxiliary" in text for text in calibrate(study, SPEC, physiology=own, **words).warnings)
    first = study.dyads[0].recording_a.id
    with pytest.raises(InputError, match="bring it to the rate"):
        calibrate(study, SPEC, physiology=signals | {first: np.zeros(3)}, **words)
    with pytest.raises(InputError, match=first):
        calibrate(study, SPEC, physiology={}, **words)


# What is told


def test_limits_and_ranks_are_those_of_scipy():
    found = made()
    limits = stats.binomtest(10, 200).proportion_ci(method="exact")
    np.testing.assert_allclose(found.limits, limits)
    np.testing.assert_allclose(found.rank_p, stats.chisquare([90, 110]).pvalue)
    uneven = made(rank_edges=(0, 10, 40))
    np.testing.assert_allclose(uneven.rank_p, stats.chisquare([90, 110], [50, 150]).pvalue)
    assert np.isnan(made(rank_edges=(0, 40), rank_counts=(200,)).rank_p)


@pytest.mark.parametrize(
    ("found", "expected"),
    [((5, 20, 45), 0.72), ((45, 50, 50), 0.2), ((5, 45, 20), 0.4 - 0.2 / 8), ((5, 20, 30), np.nan)],
)
def test_the_coupling_of_80_percent_lies_between_those_tried(found, expected):
    np.testing.assert_allclose(made(detections=found).detectable_coupling, expected)


@pytest.mark.parametrize(
    ("changes", "state", "words"),
    [
        (
            {},
            "level",
            "False-positive rate as stated: 10 of 200 simulated pseudo-dyads without interaction "
            "were called coherent (5.0 %",
        ),
        ({"false_positives": 0}, "cautious", "the test is safe"),
        ({"false_positives": 40}, "liberal", "use kind='repair'"),
        ({"false_positives": 40, "kind": "ar1"}, "liberal", "autoregressive noise"),
        ({"attainable": 0.0, "false_positives": 0}, "unattainable", "no p below 0.025"),
        ({"rank_counts": (160, 40)}, "level", "smaller than they should be"),
        ({"rank_counts": (40, 160)}, "level", "p-values are larger than"),
        ({"detections": (45, 50, 50)}, "level", "A coupling of 0.20 or less"),
        ({"detections": (5, 20, 30)}, "level", "No coupling tried would have been found in 80 % of pseudo-dyads"),
        ({"warnings": ("Bursts.",)}, "level", "Bursts."),
    ],
)
def test_the_verdict_says_what_it_means(changes, state, words):
    found = made(**changes)
    assert found.state == state
    assert words in found.verdict
    assert words in str(found)


def test_a_calibration_is_saved_whole(repaired, tmp_path):
    repaired.save(tmp_path / "found.json")
    stored = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert stored == repaired.to_dict()
    assert (stored["kind"], stored["n_sims"], stored["verdict"]) == ("repair", 40, repaired.verdict)
    assert made(detections=(0, 0, 0)).to_dict()["detectable_coupling"] is None


def test_the_picture_shows_rate_ranks_and_power():
    figure = ibs.plot.calibration(made())
    assert len(figure.axes) == 3
    level, ranks, power = figure.axes
    np.testing.assert_allclose(level.lines[0].get_ydata(), 5.0)
    assert [bar.get_height() for bar in ranks.containers[0]] == [90, 110]
    np.testing.assert_allclose(power.lines[0].get_ydata(), [10, 40, 90])
    assert len(ibs.plot.calibration(made(couplings=(), detections=())).axes) == 2


def test_pictures_and_pages_are_written_alike_each_time():
    for suffix, start in ((".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")):
        assert picture_bytes(made(), suffix).startswith(start)
    page = html_page(made(warnings=("Bursts <b>.",)))
    assert page == html_page(made(warnings=("Bursts <b>.",)))
    assert "Bursts &lt;b&gt;." in page
    assert "http" not in page.replace("http-equiv", "")
    with pytest.raises(PlanError, match=r"not '\.gif'"):
        picture_bytes(made(), ".gif")


# Mistakes


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"kind": "fase"}, "did you mean 'phase'"),
        ({"alpha": 1.5}, "must be a number between 0 and 1"),
        ({"n_sims": 0}, "n_sims must be at least 1"),
        ({"n": 5, "kind": "phase"}, "n of at least 19"),
        ({"n": 10**6}, "n must lie between"),
        ({"couplings": (0.0,)}, "couplings must lie"),
        ({"couplings": (0.5, 0.2)}, "couplings must rise"),
        ({"within": ["room"]}, "within='room'"),
        ({"measure": "coherense"}, "did you mean 'coherence'"),
        ({"options": {"block": 3.0}}, "option 'block'"),
        ({"seed": -1}, "seed -1"),
        ({"pairs": "some"}, "pairs='some' is unknown"),
        ({"signal": "hbt"}, "has no 'hbt'"),
        ({"epochs": ["tolk"]}, "did you mean 'talk'"),
        ({"epochs": ["tolk"], "kind": "phase"}, "did you mean 'talk'"),
        ({"kind": "phase", "signal": "hbt"}, "has no 'hbt'"),
        ({"kind": "trial", "n": 19}, "name the epochs"),
        ({"kind": "block", "options": {"block": 100.0}}, "fewer than two blocks"),
    ],
)
def test_a_mistake_is_refused_before_the_work_begins(study, monkeypatch, words, told):
    monkeypatch.setattr("ibsync.coupling.engine.Engine.features", lambda *_, **__: pytest.fail("the work has begun"))
    with pytest.raises((PlanError, InputError), match=told):
        calibrate(study, SPEC, **words)


def test_bands_are_needed(study):
    with pytest.raises(PlanError, match="needs bands"):
        calibrate(study, WTC())


# Command line

PLAN = """
study = "elsewhere.h5"
[wtc]
bands = { task = [0.1, 0.3] }
accuracy = "fast"
[synchrony]
pairs = "same"
signal = ["hbo", "hbr"]
[null]
seed = 5
"""


@pytest.fixture
def folder(study, tmp_path, monkeypatch):
    (tmp_path / "study.h5").write_bytes(study.path.read_bytes())
    (tmp_path / "plan.toml").write_text(PLAN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_prints_the_verdict_and_writes_a_file_for_each_signal(folder, capsys):
    for name in ("found.json", "found.html", "found.png"):
        assert main(["calibrate", "study.h5", "--plan", "plan.toml", "--n-sims", "8", "-o", name]) == 0
    printed = capsys.readouterr().out
    stored = json.loads((folder / "found_hbo.json").read_text(encoding="utf-8"))
    same = calibrate(ibs.Study.open("study.h5"), SPEC, n_sims=8, seed=5)
    assert stored == same.to_dict()
    assert str(same) in printed
    assert "wrote found_hbr.json" in printed
    assert (folder / "found_hbr.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert (folder / "found_hbr.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_prints_json(folder, capsys):
    assert main(["calibrate", "study.h5", "--plan", "plan.toml", "--n-sims", "4", "--json"]) == 0
    hbo, hbr = json.loads(capsys.readouterr().out)
    assert (hbo["signal"], hbr["signal"], hbo["file"]) == ("hbo", "hbr", None)


@pytest.mark.parametrize(
    ("arguments", "change", "told"),
    [
        (["none.h5", "--plan", "plan.toml"], ("", ""), "none.h5"),
        (["study.h5", "--plan", "none.toml"], ("", ""), "none.toml"),
        (["study.h5", "--plan", "plan.toml", "-o", "found.gif"], ("", ""), ".png, .svg"),
        (["study.h5", "--plan", "plan.toml", "-o", "nowhere/found.png"], ("", ""), "nowhere"),
        (["study.h5", "--plan", "plan.toml", "--n-sims", "0"], ("", ""), "n_sims"),
        (["study.h5", "--plan", "plan.toml"], ("[null]", "[nul]"), "unknown key nul"),
        (["study.h5", "--plan", "plan.toml"], ("[null]", '[test]\ntail = "less"\n[null]'), "test.tail"),
        (["study.h5", "--plan", "plan.toml"], ("0.3]", "3.0]"), "Nyquist"),
    ],
)
def test_a_mistake_of_the_command_ends_in_one_line(folder, capsys, monkeypatch, arguments, change, told):
    monkeypatch.setattr("ibsync.coupling.engine.Engine.features", lambda *_, **__: pytest.fail("the work has begun"))
    (folder / "plan.toml").write_text(PLAN.replace(*change) if change[0] else PLAN, encoding="utf-8")
    before = sorted(folder.iterdir())
    assert main(["calibrate", *arguments]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("ibsync: ")
    assert captured.err.count("\n") == 1
    assert told in captured.err
    assert sorted(folder.iterdir()) == before
