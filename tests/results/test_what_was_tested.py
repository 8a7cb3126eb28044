"""Every question says what it tested, in which unit, against which hypothesis, and at which level."""

import html
import json

import numpy as np
import pytest
from fake_results import make_real, make_result
from meetings_made import made_meetings

import ibsync as ibs
from ibsync.inference.p_values import CORRECTIONS
from ibsync.nulls.hypotheses import OVER_PERSONS, REMATCHED, REPAIRED, SURROGATES, WITHIN_PERSON, repairing_hypothesis
from ibsync.nulls.rematching import Matchings
from ibsync.results.layout import ARRAYS
from ibsync.results.report import page_bytes
from ibsync.study.planned import NULL_KINDS

ALPHA = 0.2


def meetings():
    return made_meetings(8, 3, slope=4.0, noise=0.01, n_probes=1, seed=3)


def scores(level):
    random = np.random.default_rng(1)
    return {(f"dyad{d + 1:02d}", f"ses-{s + 1}"): random.standard_normal() for d in range(8) for s in range(level)}


# question: (how it is asked, unit of value, its name, name of the group statistic, its unit)
ASKED = {
    "contrast": (
        lambda: ibs.contrast(make_real(8), ("talk", "rest"), correct=[], alpha=ALPHA),
        "1", "coherence, talk - rest", "difference of coherence", "1",
    ),
    "plasticity": (
        lambda: ibs.plasticity(make_real(8, 3), correct=[], alpha=ALPHA),
        "coherence per session", "change of coherence per session", "change of coherence per session",
        "coherence per session",
    ),
    "plasticity by day": (
        lambda: ibs.plasticity(make_real(8, 3), {f"ses-{s}": s**2 for s in (1, 2, 3)}, correct=[], alpha=ALPHA),
        "coherence per unit of time", "change of coherence per unit of time", "change of coherence per unit of time",
        "coherence per unit of time",
    ),
    "outcome": (
        lambda: ibs.outcome(make_result(8, 2, n_draws=19), scores(2), correct=[], alpha=ALPHA),
        "1", "coherence less the mean of its null", "correlation with 'outcome'", "1",
    ),
    "outcome of slopes": (
        lambda: ibs.outcome(make_real(8, 3), scores(3), level="slope", correct=[], alpha=ALPHA),
        "coherence per session", "change of coherence per session", "correlation with 'outcome'", "1",
    ),
    "transfer": (
        lambda: ibs.transfer(meetings(), "therapist", "stranger", n=99, correct=[], alpha=ALPHA),
        "1", "synchrony with 'stranger' after training", "correlation", "1",
    ),
    "transfer of change": (
        lambda: ibs.transfer(meetings(), "therapist", "stranger", kind="change", correct=[], alpha=ALPHA),
        "1", "change of coherence with 'stranger' from before training to after", "change of coherence", "1",
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=ASKED)
def asked(request):
    ask, *expected = ASKED[request.param]
    return request.param.split(" ")[0], ask(), expected


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_value_has_its_unit_and_its_name_and_is_called_coherence_nowhere(asked):
    question, result, (unit, name, statistic, statistic_unit) = asked
    ds = result.dataset
    assert "coherence" not in ds
    assert ds.attrs["question"] == question
    assert (ds["value"].attrs["units"], ds["value"].attrs["long_name"]) == (unit, name)
    held = ds["group_statistic"].attrs
    assert (held["long_name"], held["units"]) == (statistic, statistic_unit)
    for other in ("group_null_mean", "group_null_sd"):
        assert ds[other].attrs["units"] == statistic_unit
    assert "value" in result.to_frame()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_result_carries_what_it_prints(asked, tmp_path):
    _, result, _ = asked
    attrs = result.dataset.attrs
    assert attrs["hypothesis"] in result.hypothesis
    assert result.hypothesis.endswith(f"a small p does not exclude {attrs['not_excluded']}.")
    assert f" {attrs['finding']} (p ≤ {ALPHA:g}, not corrected)" in result.headline
    assert attrs["procedure"] in result.methods()
    assert f"alpha: {ALPHA:g}" in result.methods()
    assert all(work in result.methods() for work in json.loads(attrs["references"]))
    again = ibs.load(result.save(tmp_path / "result.h5"))
    assert (str(again), again.methods()) == (str(result), result.methods())


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_tables_hold_no_draws(asked):
    _, result, _ = asked
    assert not {"draw", "hist_bin"} & set(result.dataset.sizes)
    assert result.null["null_max"].dims == ("draw",)


def test_every_null_of_a_study_has_a_hypothesis_of_its_own():
    repairings = [REPAIRED, REMATCHED, WITHIN_PERSON, OVER_PERSONS]
    nulls = [REPAIRED, *SURROGATES.values()]
    assert {null.kind for null in nulls} == set(NULL_KINDS)
    assert {null.kind for null in repairings} == {"repair"}
    assert len({null.statement for null in [*SURROGATES.values(), *repairings]}) == len(SURROGATES) + 4
    assert repairing_hypothesis(Matchings.of(["d1", "d2"], ["a", "b"], ["c", "d"])) is REMATCHED


def test_every_correction_has_an_array_in_the_layout():
    assert {correction.array for correction in CORRECTIONS.values()} <= set(ARRAYS)


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ("all", "2 x 2 channels"),
        ("same", "2 channels, each with the partner's of the same name"),
        ([("S1_D1", "S2_D2")], "1 named pair of 2 x 2 channels"),
    ],
)
def test_text_page_and_methods_say_which_channels_were_paired(tmp_path, pairs, words):
    study = ibs.simulate(tmp_path / "study.h5", n_dyads=3, n_channels=2, duration=120.0, sfreq=4.0)
    spec = ibs.WTC(bands={"task": (0.05, 0.15)})
    null = study.null(spec, kind="phase", n=19, pairs=pairs)
    result = ibs.test(study.synchrony(spec, pairs=pairs), null, correct=["max"])
    assert f"3 dyads, {words}, hbo" in str(result)
    assert f"3 dyads, {words}{',' * (pairs == 'same')} of hbo" in result.methods()
    assert words in html.unescape(page_bytes([result]).decode())
    channels = result.dataset["channel_a"].values.tolist()
    every = {"all": [(a, b) for a in channels for b in channels], "same": [(a, a) for a in channels]}
    rows = result.to_frame()
    expected = every[pairs] if isinstance(pairs, str) else pairs
    assert list(zip(rows.channel_a, rows.channel_b, strict=True)) == (1 + 3) * expected
