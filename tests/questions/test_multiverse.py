"""A multiverse against slow explicit sums, its level under the null, its refusals, its files, its picture."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from inspect import signature

import numpy as np
import pandas as pd
import pytest
from fits import fitted_out
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from numpy.testing import assert_allclose, assert_array_equal

import ibsync as ibs
from ibsync.commands.cli import main
from ibsync.commands.plan_file import MultiversePlan
from ibsync.commands.plan_reader import read
from ibsync.errors import InputError, PlanError
from ibsync.inference.joint_test import joint_test, pooled_draws, pooled_pairs
from ibsync.nulls.draws import Draws
from ibsync.nulls.repaired_null import RepairedNull
from ibsync.nulls.repairing import Repairing
from ibsync.questions import multiverse as multiverses
from ibsync.recordings.study_file import write_study
from ibsync.results.multiverse_result import CHOICES, NUMBERS, Multiverse

BANDS = {"planted": (0.1, 0.3), "other": (0.6, 1.2)}
TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Five dyads, coupled in one band while they talk."""
    return ibs.simulate(
        tmp_path_factory.mktemp("study") / "study.h5",
        n_dyads=5, n_channels=2, duration=120.0, sfreq=4.0, coupling=0.95, coupled_band=(0.1, 0.3),
        epochs=[("talk", 10.0, 110.0), ("blink", 0.0, 1.0)], seed=1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Four dyads with one channel each, for what takes long."""
    return ibs.simulate(
        tmp_path_factory.mktemp("small") / "small.h5",
        n_dyads=4, n_channels=1, duration=126.0, sfreq=2.0, coupling=0.9, coupled_band=(0.1, 0.3), seed=2,
    )  # fmt: skip


@pytest.fixture(scope="module")
def found(study):
    return ibs.multiverse(study, bands=BANDS, coi=("recording", "none"), epochs=["talk"], pairs="same", seed=3)


def slow_joint(values, tail, alpha):
    """What `joint_test` promises, draw by draw and one statistic at a time."""
    m, n_specs = values.shape
    mean, sd = values.mean(axis=0), values.std(axis=0)
    z = (values - mean) / sd
    oriented = {"greater": z, "less": -z, "two-sided": np.abs(z)}[tail]

    def p_of(k, v):
        upper = sum(values[j, v] >= values[k, v] - TOLERANCE for j in range(m)) / m
        lower = sum(values[j, v] <= values[k, v] + TOLERANCE for j in range(m)) / m
        return {"greater": upper, "less": lower, "two-sided": min(1.0, 2 * min(upper, lower))}[tail]

    p = np.array([p_of(0, v) for v in range(n_specs)])
    p_max, largest, rest = np.zeros(n_specs), 0.0, list(np.argsort(-oriented[0]))
    while rest:
        v = rest[0]
        reached = sum(max(oriented[k, w] for w in rest) >= oriented[0, v] - TOLERANCE / sd[v] for k in range(m)) / m
        largest = max(largest, reached)
        p_max[v] = max(p[v], largest)
        rest = rest[1:]
    medians = np.median(z, axis=1)
    evidence = {"greater": medians, "less": -medians, "two-sided": np.abs(medians)}[tail]
    shares = np.array([np.mean([p_of(k, v) <= alpha + 1e-12 for v in range(n_specs)]) for k in range(m)])
    slack = (TOLERANCE / sd).max()
    return p, p_max, np.mean(evidence >= evidence[0] - slack), shares[0], np.mean(shares >= shares[0])


def some_draws(seed, n_draws=60, n_specs=5, effect=0.02):
    """Correlated statistics around 0.3; draw 0 lies above the others."""
    rng = np.random.default_rng(seed)
    values = 0.3 + 0.01 * (rng.standard_normal((n_draws, n_specs)) + rng.standard_normal((n_draws, 1)))
    values[0, : n_specs // 2] += effect
    return values


# --- the joint test ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tail", ["greater", "less", "two-sided"])
@pytest.mark.parametrize("effect", [0.03, 0.0, -0.03])
def test_joint_test_equals_the_slow_form(tail, effect):
    values = some_draws(4, effect=effect)
    fast = joint_test(values, tail=tail, alpha=0.1)
    p, p_max, median_p, share, share_p = slow_joint(values, tail, 0.1)
    assert_allclose(fast.p, p, rtol=1e-12)
    assert_allclose(fast.p_max, p_max, rtol=1e-12)
    assert_allclose([fast.median_p, fast.share, fast.share_p], [median_p, share, share_p], rtol=1e-12)
    assert_allclose(fast.median_z, np.median(fast.z), rtol=1e-12)


def test_p_max_is_no_smaller_than_p_and_falls_with_z():
    tested = joint_test(some_draws(7, n_specs=9))
    assert (tested.p_max >= tested.p).all()
    assert (np.diff(tested.p_max[np.argsort(tested.z)]) <= 0).all()
    assert len(np.unique(tested.p_max)) > 3
    alone = joint_test(some_draws(7, n_specs=9)[:, :1])
    assert alone.p_max[0] == alone.p[0] == alone.median_p


def test_order_of_statistics_and_of_later_draws_changes_nothing():
    values = some_draws(9, n_specs=6)
    rng = np.random.default_rng(0)
    order, draws = rng.permutation(6), np.r_[0, 1 + rng.permutation(59)]
    first, second = joint_test(values), joint_test(values[draws][:, order])
    assert_allclose(second.p_max, first.p_max[order], rtol=1e-12)
    assert_allclose(second.p, first.p[order], rtol=1e-12)
    assert second.median_p == first.median_p
    assert second.share_p == first.share_p


@pytest.mark.parametrize("tail", ["greater", "two-sided"])
def test_every_draw_as_the_observed_one_gives_a_test_of_its_level(tail):
    """Among all draws at most a part alpha may reject: this is exactness, without any simulation."""
    values = np.random.default_rng(5).standard_normal((40, 6)) @ np.random.default_rng(6).standard_normal((6, 6))
    tests = [joint_test(np.roll(values, -k, axis=0), tail=tail) for k in range(len(values))]
    for alpha in (0.05, 0.1, 0.25):
        limit = alpha * len(values)
        assert 0 < sum(test.p_max.min() <= alpha for test in tests) <= limit
        assert 0 < sum(test.median_p <= alpha for test in tests) <= limit
        assert sum(test.share_p <= alpha for test in tests) <= limit
        assert sum(test.p.min() <= alpha for test in tests) > limit, "without correction it does not hold"


def test_draws_without_a_value_count_as_reaching():
    values = some_draws(2, n_specs=4)
    plain = joint_test(values)
    gaps = values.copy()
    gaps[5, 1] = np.nan
    nothing = np.column_stack([gaps, np.full(60, np.nan)])
    tested = joint_test(nothing)
    assert np.isnan([tested.p[4], tested.p_max[4], tested.z[4]]).all()
    reached = values[1:, 1] >= values[0, 1] - TOLERANCE
    reached[4] = True
    assert tested.p[1] == (reached.sum() + 1) / 60
    assert_allclose(tested.p[[0, 2, 3]], plain.p[[0, 2, 3]], rtol=1e-12)
    assert tested.share * 4 == pytest.approx(round(tested.share * 4))
    unobserved = values.copy()
    unobserved[0, 2] = np.nan
    assert np.isnan(joint_test(unobserved).p_max[2])
    assert np.isfinite(joint_test(unobserved).p_max[[0, 1, 3]]).all()


def test_a_constant_statistic_is_no_finding():
    values = np.column_stack([some_draws(3, n_specs=2), np.full(60, 0.3)])
    tested = joint_test(values)
    assert tested.p[2] == tested.p_max[2] == 1.0
    assert tested.z[2] == 0.0


def random_null(rng, n_dyads, n_specs, n_pairs):
    """Pair values with person effects, in which several specifications go together."""
    people = rng.standard_normal((2, n_dyads, 1))
    shared = people[0][:, None] + people[1][None] + rng.standard_normal((n_dyads, n_dyads, 1))
    own = rng.standard_normal((1, n_dyads, n_dyads, n_specs * n_pairs))
    labels = [f"d{k}" for k in range(n_dyads)]
    design = Repairing.of(labels, [f"{d}a" for d in labels], [f"{d}b" for d in labels])
    values = 0.3 + 0.02 * (shared[None] + own)
    return RepairedNull(values.astype(np.float32), Draws.plan(design, 100, 0), ("1",))


def test_pooled_draws_equal_a_loop_over_permutations():
    null = random_null(np.random.default_rng(1), 4, 3, 2)
    values = null.pair_values.copy()
    values[0, 1, 2, 4] = np.nan
    null = replace(null, pair_values=values)
    groups = np.array([0, 1, 2, 0, 1, 2])
    draws = pooled_draws(null, pooled_pairs(null, groups))
    values = fitted_out(values)
    slow = [
        [np.nanmean([values[0, i, j, groups == g] for i, j in enumerate(sigma)]) for g in range(3)]
        for sigma in itertools.permutations(range(4))
    ]
    assert_allclose(draws, np.array(slow, np.float64), atol=1e-7)


def test_family_wise_rate_over_eight_specifications_is_at_its_level():
    """1000 studies of five dyads without any effect; 99.9 % of binomial counts at 0.05 lie in 29 to 74."""
    rng, n_sims = np.random.default_rng(12), 1000
    counts = np.zeros(4, int)
    groups = np.arange(8).repeat(2)
    for _ in range(n_sims):
        null = random_null(rng, 5, 8, 2)
        tested = joint_test(pooled_draws(null, pooled_pairs(null, groups)))
        counts += np.array([tested.p_max.min(), tested.median_p, tested.share_p, tested.p.min()]) <= 0.05
    assert 29 <= counts[0] <= 74
    assert 29 <= counts[1] <= 74
    assert counts[2] <= 74
    assert counts[3] > 120, "the specifications are so alike that there is nothing to correct"


# --- a study ----------------------------------------------------------------------------------------------------------


def test_one_specification_equals_a_loop_over_all_repairings(study):
    one = ibs.multiverse(study, bands={"planted": (0.1, 0.3)}, signal="hbo").table
    assert len(one) == 1
    null = study.null(ibs.WTC({"planted": (0.1, 0.3)}))
    values = null.pair_values.astype(np.float64)
    means = [
        np.nanmean([values[:, i, j] for i, j in enumerate(sigma)]) for sigma in itertools.permutations(range(5))
    ]  # fmt: skip
    assert len(means) == 120
    reached = sum(mean >= means[0] - TOLERANCE for mean in means)
    row = one.iloc[0]
    assert row["p"] == row["p_max"] == reached / 120
    expected = [means[0], np.mean(means), np.std(means), means[0] - np.mean(means)]
    assert_allclose(row[["statistic", "null_mean", "null_sd", "effect"]].astype(float), expected, atol=1e-7)
    assert_allclose(row[["null_low", "null_high"]].astype(float), np.quantile(means, [0.025, 0.975]), atol=1e-7)
    assert row["n_dyads"] == 5


def test_epochs_and_bands_of_a_run_keep_their_places(study):
    words = {"epochs": {"talk": (10.0, 70.0), "late": (60.0, 110.0), "end": (90.0, 118.0)}, "seed": 1}
    bands = {"quick": (0.9, 1.6)} | BANDS
    table = ibs.multiverse(study, bands=bands, signal="hbr", **words).table
    real = study.synchrony(ibs.WTC(bands), signal="hbr", epochs=words["epochs"])["coherence"]
    assert list(zip(table["epoch"], table["band"], strict=True)) == list(itertools.product(words["epochs"], bands))
    for row in table.itertuples():
        assert row.statistic == pytest.approx(float(real.sel(epoch=row.epoch, band=row.band).mean()), abs=1e-6)
        assert (row.low_hz, row.high_hz) == bands[row.band]


def test_one_channel_pair_equals_the_group_test(study):
    pairs = [("S1_D1", "S1_D1")]
    spec = ibs.WTC(BANDS)
    result = ibs.test(
        study.synchrony(spec, pairs=pairs), study.null(spec, pairs=pairs), correct=["max"], tail="two-sided"
    ).dataset.sel(channel_a="S1_D1", channel_b="S1_D1", epoch="all")
    table = ibs.multiverse(study, bands=BANDS, signal="hbo", pairs=pairs, tail="two-sided").table
    for ours, theirs in {"p": "p", "p_max": "p_max", "z": "group_z", "null_sd": "group_null_sd"}.items():
        assert_allclose(table[ours], result[theirs].values, rtol=2e-5, err_msg=ours)


def test_only_the_planted_band_passes(found):
    table = found.table
    assert list(table.columns) == [*CHOICES, *NUMBERS]
    assert len(table) == 2 * 2 * 2
    assert (table["p_max"] <= 0.05).tolist() == (table["band"] == "planted").tolist()
    assert (table["p_max"] >= table["p"]).all()
    words = found.summary["repair"]
    assert words["n"] == 119
    assert words["exact"]
    assert words["n_passing"] == 4
    assert words["n_specifications"] == 8
    assert words["share"] == 0.5
    text = str(found)
    assert "4 of 8 pass the correction for all 8" in text
    assert "no evidence of absence" in text
    assert "does not exclude" in text
    assert "multiply its p" not in text


def test_bands_of_one_choice_are_computed_in_one_run(study, monkeypatch):
    asked = []
    real = ibs.Study.null
    monkeypatch.setattr(ibs.Study, "null", lambda self, spec, **words: asked.append(words) or real(self, spec, **words))
    bands = [BANDS, {"planted": (0.12, 0.3), "other": BANDS["other"]}]
    table = ibs.multiverse(study, bands=bands, pairs="same", measure=["coherence", "phase_consistency"]).table
    assert [(a["signal"], a["measure"]) for a in asked] == list(
        itertools.product(("hbo", "hbr"), ("coherence", "phase_consistency"))
    )
    assert table["band"].unique().tolist() == ["planted 0.1-0.3 Hz", "planted 0.12-0.3 Hz", "other"]


def test_order_of_choices_changes_nothing(study, found):
    other = ibs.multiverse(
        study, bands=dict(reversed(BANDS.items())), signal=("hbr", "hbo"), coi=("none", "recording"), epochs=["talk"],
        pairs="same", seed=99,
    )  # fmt: skip
    key = list(CHOICES)
    first, second = (m.table.sort_values(key).reset_index(drop=True) for m in (found, other))
    pd.testing.assert_frame_equal(first, second, atol=1e-5, rtol=0)
    assert first["p_max"].tolist() == second["p_max"].tolist()
    assert other.summary["repair"]["p"] == found.summary["repair"]["p"]


def test_surrogates_share_their_draws_and_are_a_family_of_their_own(small, monkeypatch):
    nulls = []
    real = ibs.Study.null
    monkeypatch.setattr(ibs.Study, "null", lambda *a, **words: nulls.append(real(*a, **words)) or nulls[-1])
    words = {"bands": {"planted": (0.1, 0.3), "other": (0.4, 0.8)}, "n": 19, "seed": 3}
    alone = ibs.multiverse(small, **words)
    both = ibs.multiverse(small, kind=("repair", "phase"), **words)
    ours = both.table[both.table["null"] == "repair"].reset_index(drop=True)
    assert ours["p_max"].tolist() == alone.table["p_max"].tolist()
    phase = both.table[both.table["null"] == "phase"]
    pooled = np.concatenate([null.pooled.astype(np.float64) for null in nulls if null.kind == "phase"], axis=1)
    assert pooled.shape == (20, 4)
    assert_allclose(phase["p"], [(draw[1:] >= draw[0] - TOLERANCE).sum() / 20 + 1 / 20 for draw in pooled.T])
    assert_allclose(phase["p_max"], slow_joint(pooled, "greater", 0.05)[1], rtol=1e-12)
    assert_allclose(phase["statistic"], pooled[0], atol=1e-7)
    assert phase["n_dyads"].unique().tolist() == [4]
    # Phases of a person are those of both signals, so that their null draws go together as their values do.
    assert np.corrcoef(pooled[1:, 0], pooled[1:, 2])[0, 1] > 0.5
    assert both.summary["phase"]["n"] == 19
    smallest = min(both.summary.values(), key=lambda s: s["p"])
    assert smallest["p_bonferroni"] == 2 * smallest["p"]
    assert "multiply its p by 2" in both.hypothesis
    assert "each is a family of its own" in both.hypothesis


def test_the_program_of_the_literature_is_a_specification_too(small):
    table = ibs.multiverse(
        small, bands={"planted": (0.1, 0.3)}, signal="hbo", preset=("grinsted/reference", "grinsted-toolbox")
    ).table
    assert table["preset"].tolist() == ["grinsted/reference", "grinsted-toolbox"]
    specs = [ibs.WTC({"planted": (0.1, 0.3)}, preset=p, accuracy="reference") for p in ("grinsted", "grinsted-toolbox")]
    means = [float(small.synchrony(spec)["coherence"].mean()) for spec in specs]
    assert_allclose(table["statistic"], means, atol=1e-7)
    assert abs(means[1] - means[0]) > 1e-5, "the ends of this recording do not meet: nothing is compared"


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ({"bands": {}}, ["bands"]),
        ({"bands": []}, ["bands is empty"]),
        ({"bands": {"high": (0.1, 9)}}, ["'high'", "Nyquist"]),
        ({"signal": ("hbo", "hbx")}, ["'hbx'", "hbr"]),
        ({"signal": ()}, ["signal is empty"]),
        ({"signal": (3,)}, ["signal", "3"]),
        ({"preset": "morlet"}, ["preset", "'morlet'"]),
        ({"preset": "grinsted-toolbox/exact"}, ["'grinsted-toolbox'", "'exact'"]),
        ({"preset": ("grinsted", "grinsted/exact")}, ["'grinsted'", "'grinsted/exact'", "the same"]),
        ({"coi": ("none", "all")}, ["coi", "'all'"]),
        ({"coi": ("none", "none")}, ["'none' twice"]),
        ({"measure": "coherenc"}, ["'coherenc'", "'coherence'"]),
        ({"kind": ("repair", "phases")}, ["kind", "'phases'"]),
        ({"kind": ("repair", "phase"), "n": 18}, ["'phase'", "n=18", "n=19"]),
        ({"kind": ("phase",), "n": 38, "tail": "two-sided"}, ["n=39"]),
        ({"alpha": 0.001}, ["'repair'", "5 dyads", "120 ways", "alpha=0.001"]),
        ({"alpha": 5}, ["alpha=5"]),
        ({"tail": "up"}, ["tail='up'"]),
        ({"within": ("room",)}, ["within='room'"]),
        ({"epochs": ["tlk"]}, ["'tlk'", "'talk'"]),
        ({"pairs": [("S1_D1", "S9_D9")]}, ["S9_D9"]),
        ({"kind": ("repair", "trial"), "epochs": ["talk"]}, ["'talk'", "single trial"]),
    ],
)
def test_mistakes_are_refused_by_name_before_any_work(study, monkeypatch, words, parts):
    monkeypatch.setattr(ibs.Study, "null", lambda *_, **__: pytest.fail("work was begun"))
    with pytest.raises((PlanError, InputError)) as caught:
        ibs.multiverse(study, **{"bands": BANDS, **words})
    text = str(caught.value)
    assert "\n" not in text
    for part in parts:
        assert part in text


def test_a_study_without_dyads_is_refused(study, monkeypatch):
    monkeypatch.setattr(type(study), "dyads", ())
    with pytest.raises(InputError, match="no dyad is marked for use"):
        ibs.multiverse(study, bands=BANDS)


def test_the_function_keeps_its_name():
    assert ibs.multiverse is multiverses.multiverse
    assert ibs.multiverse is ibs.multiverse
    assert ibs.Multiverse is Multiverse


def test_specifications_without_a_value_are_named_with_the_reason(study):
    words = {"signal": "hbo", "pairs": "same", "seed": 3}
    epochs = {"talk": (10, 110), "start": (0, 6)}
    many = ibs.multiverse(study, bands={"task": (0.1, 0.3), "low": (0.025, 0.04)}, epochs=epochs, **words)
    one = ibs.multiverse(study, bands={"task": (0.1, 0.3)}, epochs={"talk": (10, 110)}, **words)
    assert many.summary["repair"]["n_specifications"] == one.summary["repair"]["n_specifications"] == 1
    tested = many.table[np.isfinite(many.table["p"])]
    assert (tested[["band", "epoch"]].to_numpy() == [["task", "talk"]]).all()
    assert tested["p"].to_numpy() == one.table["p"].to_numpy()
    lost = many.attrs["lost"]
    assert len(lost) == 3
    for band, epoch in (("task", "start"), ("low", "start"), ("low", "talk")):
        (line,) = (line for line in lost if f"band {band}, epoch {epoch}" in line)
        assert "free of edge effects" in line
        assert line in str(many)
    with pytest.raises(PlanError, match="no specification has a value"):
        ibs.multiverse(study, bands={"low": (0.02, 0.1)}, epochs={"start": (0, 6)}, **words)


def test_a_specification_that_only_signals_leave_without_a_value_is_named(study, tmp_path):
    recordings = []
    for recording in study.recordings:
        signals = {name: study.signals(recording, name).copy() for name in recording.signal_names}
        for samples in signals.values():
            samples[:, 40:240] = np.nan
        recordings.append((recording, signals))
    write_study(tmp_path / "gaps.h5", recordings, {}, study.all_dyads)
    epochs = {"gap": (10, 60), "whole": (60, 120)}
    words = {"bands": {"task": (0.2, 0.4)}, "signal": "hbo", "pairs": "same", "epochs": epochs}
    many = ibs.multiverse(ibs.Study.open(tmp_path / "gaps.h5"), **words)
    (line,) = many.attrs["lost"]
    assert line.startswith("band task, epoch gap, null repair, hbo")
    assert "too few of its cells are valid" in line
    assert np.isfinite(many.table["p"]).tolist() == [False, True]


# --- files ------------------------------------------------------------------------------------------------------------


def test_files_hold_the_table_and_the_sentences(found, tmp_path):
    found.save(tmp_path / "m.csv")
    read = pd.read_csv(tmp_path / "m.csv", keep_default_na=False)
    pd.testing.assert_frame_equal(read, found.table, check_dtype=False, rtol=1e-12)
    table = found.table.copy()
    table.loc[0, "p"] = np.nan
    replace(found, table=table).save(tmp_path / "m.json")
    content = json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))
    assert content["table"][0]["p"] is None
    assert content["table"][1]["p"] == found.table["p"][1]
    assert content["summary"]["repair"]["n_passing"] == 4
    assert content["hypothesis"] == found.hypothesis
    assert content["attrs"]["study"] == "study.h5"
    with pytest.raises(PlanError, match=r"m\.h5.*\.csv or \.json"):
        found.save(tmp_path / "m.h5")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.csv", "m.json"]


PLAN = """
study = "study.h5"
picture = "curve.svg"
[multiverse]
bands = { planted = [0.1, 0.3], other = { low_hz = 0.6, high_hz = 1.2 } }
signal = "hbo"
pairs = "same"
epochs = ["talk"]
n = 19
"""


@pytest.fixture
def folder(tmp_path, monkeypatch, study):
    (tmp_path / "study.h5").write_bytes(study.path.read_bytes())
    (tmp_path / "many.toml").write_text(PLAN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_command_writes_table_and_picture(folder, capsys):
    assert main(["multiverse", "many.toml"]) == 0
    printed = capsys.readouterr().out
    assert "2 specifications" in printed
    assert "wrote many.csv" in printed
    assert "wrote curve.svg" in printed
    table = pd.read_csv("many.csv", keep_default_na=False)
    assert table["band"].tolist() == ["planted", "other"]
    assert table["p_max"][0] <= 0.05 < table["p_max"][1]
    assert "<svg" in (folder / "curve.svg").read_text(encoding="utf-8")


def test_command_prints_json_for_scripts(folder, capsys):
    assert main(["multiverse", "many.toml", "-o", "m.json", "--picture", "c.png", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["files"] == ["m.json", "c.png"]
    assert content["table"] == json.loads((folder / "m.json").read_text(encoding="utf-8"))["table"]
    assert (folder / "c.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ('signal = "hbo"', 'sgnal = "hbo"', ["multiverse.sgnal", "multiverse.signal"]),
        ('signal = "hbo"', 'signal = "hbx"', ["'hbx'"]),
        ('picture = "curve.svg"', 'pictures = "c.svg"', ["pictures", "picture"]),
        ('picture = "curve.svg"', 'picture = "c.txt"', ["c.txt", ".png"]),
        ('picture = "curve.svg"', 'output = "study.h5"', ["study.h5", ".csv"]),
        ('picture = "curve.svg"', 'picture = "none/c.png"', ["none/c.png", "folder"]),
        ('study = "study.h5"', "", ["study is missing"]),
        ('pairs = "same"', 'kind = ["repairs"]', ["multiverse.kind", "'repair'"]),
        ('pairs = "same"', "seed = -1", ["multiverse.seed", "-1"]),
        ('pairs = "same"', "alpha = 1.5", ["multiverse.alpha", "1.5"]),
        ('pairs = "same"', 'tail = "up"', ["multiverse.tail", "'up'"]),
        ("n = 19", 'n = 9\nkind = ["phase"]', ["many.toml", "'phase'", "n=19"]),
        ('epochs = ["talk"]', "epochs = 3", ["multiverse.epochs"]),
        ("bands = {", "bans = {", ["multiverse.bans", "multiverse.bands"]),
    ],
)
def test_mistakes_in_a_plan_end_in_one_line_and_leave_nothing(folder, capsys, old, new, parts):
    assert old in PLAN
    (folder / "many.toml").write_text(PLAN.replace(old, new), encoding="utf-8")
    assert main(["multiverse", "many.toml"]) == 1
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    for part in parts:
        assert part in text
    assert sorted(path.name for path in folder.iterdir()) == ["many.toml", "study.h5"]


def test_a_plan_needs_no_more_than_a_study_and_bands(tmp_path):
    (tmp_path / "m.toml").write_text('study = "s.h5"\n[multiverse]\nbands = { a = [0.1, 0.2] }\n', encoding="utf-8")
    plan = read(tmp_path / "m.toml", MultiversePlan)
    assert (plan.study, plan.output, plan.picture) == (tmp_path / "s.h5", tmp_path / "m.csv", None)
    defaults = {p.name: p.default for p in signature(ibs.multiverse).parameters.values() if p.kind is p.KEYWORD_ONLY}
    for name in ("backend", "executor", "journal", "progress", "memory"):
        del defaults[name]
    assert plan.multiverse.words() == {**defaults, "bands": {"a": (0.1, 0.2)}, "within": None}


# --- the picture ------------------------------------------------------------------------------------------------------


@pytest.fixture
def figure():
    one = Figure(layout="constrained")
    FigureCanvasAgg(one)
    yield one
    one.canvas.draw()


def marks(ax):
    return [child for child in ax.get_children() if isinstance(child, PathCollection)]


def test_curve_shows_effects_in_order_and_fills_what_passes(found, figure):
    curve, matrix = ibs.plot.specification_curve(found, figure).axes
    table = found.table.sort_values("effect")
    passed = (table["p_max"] <= 0.05).to_numpy()
    filled, hollow = marks(curve)
    assert_allclose(filled.get_offsets()[:, 1], table["effect"][passed])
    assert_allclose(hollow.get_offsets()[:, 1], table["effect"][~passed])
    assert_array_equal(filled.get_offsets()[:, 0], np.flatnonzero(passed))
    assert_allclose([bar.get_y() for bar in curve.patches], table["null_low"] - table["null_mean"])
    assert_allclose([bar.get_height() for bar in curve.patches], table["null_high"] - table["null_low"])
    labels = [label.get_text() for label in matrix.get_yticklabels()]
    assert labels == ["hbo", "hbr", "planted", "other", "recording", "none"]
    heights = matrix.get_yticks()
    dots = np.concatenate([m.get_offsets() for m in marks(matrix)[1:3]])  # of the first row, chosen
    assert_array_equal(np.sort(dots[:, 0]), np.flatnonzero(table["signal"] == "hbo"))
    assert set(dots[:, 1]) == {heights[0]}
    title = figure.get_suptitle()
    assert "4 of 8" in title
    assert "null repair" in title
    assert "epoch talk" in title


@pytest.mark.parametrize("n", [1, 4, 60])
def test_curve_of_any_number_of_specifications(found, figure, n):
    rows = [found.table.iloc[k % 8].to_dict() | {"preset": f"grin$ted {k // 8}"} for k in range(n)]
    drawn = ibs.plot.specification_curve(replace(found, table=pd.DataFrame(rows)), figure)
    assert 7 <= drawn.get_size_inches()[0] <= 13
    assert sum(len(m.get_offsets()) for m in marks(drawn.axes[0])) == n


def test_a_curve_of_nothing_is_refused(found, figure):
    with pytest.raises(PlanError, match="no specification has a value"):
        ibs.plot.specification_curve(replace(found, table=found.table.assign(effect=np.nan)), figure)
