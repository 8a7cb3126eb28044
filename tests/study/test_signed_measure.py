"""A measure with a sign, the imaginary part of coherency, through every verb of a study, and back to front."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from refusals import plan_refusal as refusal

import ibsync as ibs
from ibsync.commands.cli import main
from ibsync.recordings.recording import DyadRow, Recording
from ibsync.recordings.study_file import write_study
from ibsync.study.study import Study

MEASURE = "imaginary_coherency"
SPEC = ibs.WTC(bands={"slow": (0.1, 0.25), "fast": (0.3, 0.6)})
EPOCHS = {"talk": (5, 80), "rest": (70, 115)}
SFREQ, N, LAG = 4.0, 480, 3
PLAN = f"""
study = "study.h5"
output = "out.h5"
[wtc]
bands = {{ slow = [0.1, 0.25] }}
[null]
measure = "{MEASURE}"
[test]
correct = []
"""


def written(path, *, turned=False):
    """Five dyads of two sessions, the second person later by some samples; turned, that person comes first."""
    recordings, rows = [], []
    for dyad, session in itertools.product(range(5), "12"):
        rng = np.random.default_rng([dyad, int(session)])
        shared = rng.standard_normal(N + LAG)
        own = rng.standard_normal((2, 2, N))
        people = []
        for side, part, noise in zip("ab", (shared[LAG:], shared[:-LAG]), own, strict=True):
            person = Recording(
                f"{side}{dyad}-{session}", participant=f"{side}{dyad}", session=session, task="talk", run="",
                sfreq=SFREQ, n_samples=N, t0=0.0, channels=("c0", "c1"), good=(True,) * 2, signal_names=("hbo",),
                events=(),
            )  # fmt: skip
            people.append(person)
            recordings.append((person, {"hbo": (part + noise).astype(np.float32)}))
        people = people[::-1] if turned else people
        rows.append(DyadRow(f"d{dyad}", session, "talk", *people, *(one.participant for one in people)))
    write_study(path, recordings, {}, rows)
    return Study.open(path)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return written(tmp_path_factory.mktemp("study") / "study.h5")


@pytest.fixture(scope="module")
def real(study):
    return study.synchrony(SPEC, epochs=EPOCHS)


@pytest.fixture(scope="module")
def null(study):
    return study.null(SPEC, epochs=EPOCHS, measure=MEASURE)


def outcome(real, null, **words):
    return ibs.test(real, null, correct=[], **words).dataset


def test_re_pairing_tests_the_imaginary_part_in_both_tails(real, null):
    result = ibs.test(real, null, correct=[])
    found = result.dataset
    assert found.attrs["measure"] == MEASURE
    assert found.attrs["tail"] == "two-sided"
    assert found["value"].attrs == {"units": "1", "long_name": "imaginary part of coherency"}
    assert_allclose(found["value"], real["coherency_im"], rtol=0, atol=1e-6)
    of_dyads = real["coherency_im"].mean("dyad")  # every dyad has both sessions
    assert_allclose(found["group_statistic"], of_dyads.transpose(*found["group_statistic"].dims), rtol=0, atol=1e-6)
    assert (found["group_statistic"] > 0.2).all()  # the first person leads
    assert (found["p"] == 2 / 120).all()  # all 5! re-pairings
    assert "imaginary part of coherency" in result.hypothesis
    assert "imaginary part of coherency" in result.headline
    assert outcome(real, null, tail="less")["p"].min() == 1


def test_the_histogram_of_a_null_holds_both_signs(real, null):
    result = ibs.test(real, null, correct=[])
    centre, counts = result.null["hist_center"], result.null["null_hist"]
    assert (float(centre[0]), float(centre[-1])) == pytest.approx((-1, 1), abs=1e-3)
    mean = (centre * counts).sum("hist_bin") / counts.sum("hist_bin")
    expected = result.dataset["group_null_mean"].mean(["channel_a", "channel_b"])
    # The 119 listed re-pairings lack the real one, which the null mean holds.
    expected = (120 * expected - result.null["pooled_statistic"]) / 119
    assert_allclose(mean, expected.transpose(*mean.dims), rtol=0, atol=3e-4)
    assert (counts.where(centre < 0).sum("hist_bin") > 0).any()


@pytest.mark.parametrize("kind", ["repair", "phase"])
def test_a_study_back_to_front_has_the_other_sign_and_the_same_p(tmp_path, kind):
    found = []
    for turned in (False, True):
        study = written(tmp_path / f"{turned}.h5", turned=turned)
        null = study.null(SPEC, kind=kind, n=39, measure=MEASURE)
        found.append(outcome(study.synchrony(SPEC), null))
    there, back = found
    turned = back["group_statistic"].rename(channel_a="channel_b", channel_b="channel_a")
    assert_allclose(-turned.transpose(*there["group_statistic"].dims), there["group_statistic"], rtol=0, atol=1e-6)
    if kind == "repair":
        p = back["p"].rename(channel_a="channel_b", channel_b="channel_a").transpose(*there["p"].dims)
        assert_array_equal(p, there["p"])


def test_surrogates_hold_the_imaginary_part(study):
    real, null = study.synchrony(SPEC), study.null(SPEC, kind="phase", n=79, measure=MEASURE)
    assert null.tail == "two-sided"
    assert_allclose(null.observed, real["coherency_im"].to_numpy().reshape(null.observed.shape), rtol=0, atol=1e-6)
    result = ibs.test(real, null, correct=[])
    assert (result.dataset["p"] == 2 / 80).all()
    mean = (result.null["hist_center"] * result.null["null_hist"]).sum("hist_bin") / 79
    drawn = null.pooled[1:].mean(axis=0)
    assert_allclose(mean.to_numpy().ravel(), drawn, rtol=0, atol=3e-4)
    refusal(lambda: study.null(SPEC, kind="phase", n=9, measure=MEASURE, stop_at=2), "stop_at", "tail='greater'")


def test_a_contrast_is_of_the_measure_that_is_named_or_of_that_of_the_null(real, null):
    expected = real["coherency_im"].sel(epoch="talk") - real["coherency_im"].sel(epoch="rest")
    of_dyads = expected.groupby("dyad").mean().transpose("dyad", "channel_a", "channel_b", "band")
    words = {"correct": [], "alpha": 0.1}
    for found in (
        ibs.contrast(real, ("talk", "rest"), measure=MEASURE, **words),
        ibs.contrast(real, ("talk", "rest"), null=null, correct=[]),
    ):
        assert_allclose(found.dataset["value"].isel(epoch=0), of_dyads, rtol=0, atol=1e-6)
        assert found.dataset.attrs["measure"] == MEASURE
        assert "imaginary part of coherency" in found.dataset["value"].attrs["long_name"]
        assert_allclose(found.dataset["group_statistic"].isel(epoch=0), of_dyads.mean("dyad"), rtol=0, atol=1e-6)
    refusal(lambda: ibs.contrast(real, ("talk", "rest"), null=null, measure="coherence"), "'coherence'", f"{MEASURE!r}")
    refusal(lambda: ibs.contrast(real, ("talk", "rest"), measure="in_phase"), "'in_phase'", "shares=True")


def difference(values):
    """Second session less the first, of values of rows."""
    first, second = (values.isel(dyad=values["session"].to_numpy() == label) for label in "12")
    assert_array_equal(first["dyad"], second["dyad"])
    return second.to_numpy() - first.to_numpy()


def test_growth_is_that_of_the_measure(real, null):
    slopes = ibs.plasticity(ibs.test(real, null, correct=[]), correct=[], alpha=0.1)
    less = outcome(real, null)
    expected = difference((less["value"] - less["null_mean"]).transpose(*real["coherence"].dims))
    assert_allclose(slopes.dataset["value"], expected, rtol=0, atol=1e-6)
    assert "change of imaginary part of coherency per session" in slopes.hypothesis
    partners = ibs.plasticity(real, null=null, correct=[])
    assert_allclose(partners.dataset["value"], difference(real["coherency_im"]), rtol=0, atol=1e-6)


def test_a_plan_and_a_multiverse_take_it(study, tmp_path, monkeypatch):
    plan = tmp_path / "plan.toml"
    plan.write_text(PLAN.replace("study.h5", str(study.path)), encoding="utf-8")
    assert main(["run", str(plan)]) == 0
    found = ibs.load(tmp_path / "out.h5").dataset
    assert (found.attrs["measure"], found.attrs["tail"]) == (MEASURE, "two-sided")
    table = ibs.multiverse(study, bands={"slow": (0.1, 0.25)}, signal="hbo", measure=MEASURE)
    assert table.tail == "two-sided"
    pooled = float(found["group_statistic"].mean())
    assert float(table.table["statistic"].iloc[0]) == pytest.approx(pooled, abs=1e-6)
    both = {"bands": {"slow": (0.1, 0.25)}, "signal": "hbo", "measure": ["coherence", MEASURE]}
    refusal(lambda: ibs.multiverse(study, **both), "tail='two-sided'")
    assert len(ibs.multiverse(study, **both, tail="two-sided").table) == 2


def test_nobody_is_first_where_roles_are_interchangeable_and_calibration_has_one_tail(study):
    refusal(lambda: study.null(SPEC, measure=MEASURE, roles="interchangeable"), f"{MEASURE!r}", "interchangeable")
    refusal(lambda: ibs.calibrate(study, SPEC, measure=MEASURE), f"{MEASURE!r}", "sign")
