"""The worked examples of the docs: their code runs as it stands there, and finds what was simulated."""

from __future__ import annotations

import re
import shlex
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

import ibsync
from ibsync.commands.cli import main

TOLD = ("couples", "courses", "four-regions", "therapist", "therapy-trial")
PAGE = Path(__file__).parents[1] / "docs" / "therapy-trial.md"
# Lines of sizes, in the order of the page, and what they become here.
SIZES = {
    "DYADS, SESSIONS, CHANNELS, SECONDS = ": "DYADS, SESSIONS, CHANNELS, SECONDS = 8, 5, 2, 180.0",
    "DYADS, SESSIONS, CHANNELS, SECONDS, THERAPISTS, DRAWS = ": (
        "DYADS, SESSIONS, CHANNELS, SECONDS, THERAPISTS, DRAWS = 14, 3, 2, 180.0, 7, 19"
    ),
}
SLOWER = {"n_sims=200": "n_sims=20, n=99", "[8, 16, 24, 32]": "[8, 16]"}


def blocks(text):
    """Kind and content of each block of code."""
    return re.findall(r"^```(python|toml|bash)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def small(text):
    for start, line in SIZES.items():
        text, n = re.subn(rf"^{re.escape(start)}[\d., ]+$", line, text, flags=re.MULTILINE)
        assert n == 1, start
    for slow, quick in SLOWER.items():
        assert text.count(slow) == 1, slow
        text = text.replace(slow, quick)
    return text


def run(text, folder):
    """Everything that a page computes, by name, in a folder."""
    names: dict[str, object] = {}
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.chdir(folder)
        warnings.simplefilter("ignore", RuntimeWarning)  # so few dyads and draws cannot find much, and say so
        for kind, code in blocks(text):
            if kind == "toml":
                assert len(code.splitlines()) <= 30
                Path("plan.toml").write_text(code, encoding="utf-8")
            elif kind == "bash":
                for line in code.splitlines():
                    program, *arguments = shlex.split(line)
                    assert (program, main(arguments)) == ("ibsync", 0), line
            else:
                exec(compile(code, "page", "exec"), names)
    plt.close("all")
    return names


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """What the page of the trial computes, and the folder it was computed in."""
    folder = tmp_path_factory.mktemp("trial")
    return run(small(PAGE.read_text(encoding="utf-8")), folder), folder


def test_ten_couples_from_files_to_report(tmp_path):
    names = run((PAGE.parent / "couples.md").read_text(encoding="utf-8"), tmp_path)
    talk, interaction, groups = (names[name].dataset for name in ("talk", "interaction", "groups"))
    assert (talk["statistic_low"] > 0).any()
    assert talk.sizes["dyad"] == 10
    assert interaction.attrs["n"] == 251
    for name in ("couples_contrast_talk_rest.html", "couples_contrast_talk_rest_training_waiting.html"):
        page = (tmp_path / name).read_text(encoding="utf-8")
        assert "contrast talk - rest" in page
    saved = ibsync.load(tmp_path / "couples_result_contrast_talk_rest_training_waiting.h5")
    assert "group training minus that of group waiting" in saved.methods()
    assert groups["epoch"].item() == "all"


def test_one_therapist_from_files_to_report(tmp_path):
    names = run((PAGE.parent / "therapist.md").read_text(encoding="utf-8"), tmp_path)
    result, null = names["result"], names["null"]
    assert (result.dataset["p_max"].max() <= 0.05).item()
    assert "re-paired partners of the same person" in result.headline
    assert (null.exact, null.draws.n) == (False, 40319)
    saved = ibsync.load(tmp_path / "therapist_result.h5")
    assert saved.hypothesis == result.hypothesis
    assert "approximate where persons missed sessions" in (tmp_path / "therapist.html").read_text(encoding="utf-8")


def test_courses_of_unlike_length_from_files_to_report(tmp_path):
    names = run((PAGE.parent / "courses.md").read_text(encoding="utf-8"), tmp_path)
    growth = names["growth"].dataset
    assert growth["p"].item() < 0.01
    assert growth["weight"].values.ravel()[-1] > 20 * growth["weight"].values.ravel()[0]
    saved = ibsync.load(tmp_path / "courses_result_plasticity.h5")
    np.testing.assert_allclose(saved.dataset["group_statistic"], growth["group_statistic"])
    assert "weighted by their precision" in saved.methods()
    assert "lie within ±0.005" in (tmp_path / "courses_plasticity.html").read_text(encoding="utf-8")


def test_four_regions_with_short_channels_from_files_to_report(tmp_path):
    names = run((PAGE.parent / "four-regions.md").read_text(encoding="utf-8"), tmp_path)
    result, plain = names["result"], names["plain"]
    found = result.dataset["p_max"].squeeze() <= 0.05
    assert found.sum() == 1
    assert found.sel(channel_a="frontal", channel_b="frontal")
    assert (plain.dataset["p_max"] <= 0.05).all()
    saved = ibsync.load(tmp_path / "regions_result.h5")
    np.testing.assert_array_equal(saved.dataset["p_max"], result.dataset["p_max"])
    assert "the controls of both people were taken out" in saved.methods()


def test_epochs_of_eeg_go_from_files_to_a_page(tmp_path):
    pytest.importorskip("mne")
    text, _, _ = (PAGE.parent / "eeg.md").read_text(encoding="utf-8").partition("## A real dyad")  # tests/test_pages.py
    names = run(text, tmp_path)
    for result in (names["result"], ibsync.load(tmp_path / "sounds_result.h5")):
        found = result.to_frame().query("p_max <= 0.05")
        assert set(found["channel_a"]) == set(found["channel_b"]) == {"Pz"}
    np.testing.assert_array_equal(names["result"].dataset["p"], ibsync.load(tmp_path / "sounds_result.h5").dataset["p"])
    assert "40 trials of 2 s" in (tmp_path / "sounds.html").read_text(encoding="utf-8")


def test_followers_are_found_at_their_lag(tmp_path):
    names = run((PAGE.parent / "lags.md").read_text(encoding="utf-8"), tmp_path)
    coherence = names["real"]["coherence"].mean(["dyad", "epoch"]).squeeze()
    assert coherence.isel(channel_a=0, channel_b=0).idxmax().item() == 2.0
    assert "shift 2.0 s" in names["result"].headline
    saved = ibsync.load(tmp_path / "followers_result.h5")
    np.testing.assert_allclose(saved.dataset["p_max"], names["result"].dataset["p_max"])
    assert "shift, s" in (tmp_path / "followers.html").read_text(encoding="utf-8")


def test_the_first_trial_grows_where_it_was_simulated(page):
    names, folder = page
    slope = names["growth_of_eight"].dataset["group_statistic"].values[0, :, :, 0].diagonal()
    assert slope[0] > 0.005
    assert abs(slope[1]) < slope[0] / 2
    assert names["partners"].dataset["n_sessions"].values.max() == 5
    for name in ("report.html", "report_plasticity.html", "result_mixed_model.csv", "therapy-growth.png"):
        assert (folder / name).stat().st_size > 200, name


def test_the_second_trial_has_its_therapists_and_strangers(page):
    names, folder = page
    assert "'t01' in dyads" in names["growth"].dataset.attrs["blocks"]
    assert "dyads share a person" in names["table"].attrs["caution"]
    assert names["change"].dataset.sizes["dyad"] == 14
    assert re.search(
        r"entered: 14 persons \(\d+ sessions with 7 trained partners, 14 probes after training", str(names["change"])
    )
    assert (names["change"].dataset["n_probe"].values == 1).all()
    assert np.isfinite(names["gain"].dataset["group_statistic"].values[0, 0, 0, 0])
    assert tuple(names["power"].dyads) == (8, 16)
    assert "<html" in (folder / "trial.html").read_text(encoding="utf-8")
