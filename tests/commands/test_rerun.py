"""A result is repeated from its own file: the same numbers, another study refused, a changed number named."""

import json
import re
from dataclasses import replace

import h5py
import numpy as np
import pytest

import ibsync as ibs
from ibsync.commands.cli import main
from ibsync.commands.rerun import _difference
from ibsync.results.result import load

PLAN = """
study = "study.h5"
output = "out.h5"
report = "out.html"

[wtc]
bands = { slow = [0.1, 0.3] }

[synchrony]
signal = ["hbo", "hbr"]

[null]
n = 99

[[contrast]]
weights = ["talk", "rest"]

[test]
correct = ["max"]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rerun")
    epochs = [("talk", 0, 30), ("rest", 30, 60)]
    ibs.simulate(folder / "study.h5", n_dyads=6, n_channels=1, duration=60.0, sfreq=4.0, epochs=epochs)
    (folder / "plan.toml").write_text(PLAN.replace("[null]", 'epochs = ["talk", "rest"]\n[null]'), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["run", "plan.toml"]) == 0
    (folder / "plan.toml").unlink()
    return folder


@pytest.mark.parametrize("name", ["out_hbr.h5", "out_hbo_contrast_talk_rest.h5"])
def test_a_result_is_repeated_to_the_last_bit_and_nothing_is_written(folder, name, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    before = sorted(folder.iterdir())
    assert main(["rerun", name, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["identical"]
    assert told["n_arrays"] > 15
    assert sorted(folder.iterdir()) == before


def test_the_study_is_found_beside_the_result_and_another_one_is_refused(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["rerun", str(folder / "out_hbo.h5")]) == 0
    assert "are identical" in capsys.readouterr().out
    ibs.simulate("other.h5", n_dyads=6, n_channels=1, duration=60.0, sfreq=4.0, seed=1)
    assert main(["rerun", str(folder / "out_hbo.h5"), "--study", "other.h5"]) == 1
    assert "other.h5: another study than" in capsys.readouterr().err


def test_a_number_that_does_not_come_out_again_is_named(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    changed = tmp_path / "changed.h5"
    changed.write_bytes((folder / "out_hbo.h5").read_bytes())
    with h5py.File(changed, "r+") as file:
        file["p"][...] = file["p"][...] + 0.25
    assert main(["rerun", str(changed), "--accept-changes"]) == 1
    said = capsys.readouterr()
    assert "1 of" in said.out
    assert "p by up to 0.25" in said.out
    assert "the repetition differs" in said.err


def test_labels_and_infinite_values_are_compared(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    changed = load(folder / "out_hbo.h5")
    labels = ["another", *map(str, changed.dataset["person_a"].values[1:])]
    changed.dataset.coords["person_a"] = ("dyad", labels)
    assert len(changed.maps)
    changed.maps["coherence"] = changed.maps["coherence"] + 0.5
    changed.save(tmp_path / "changed.h5")
    assert main(["rerun", str(tmp_path / "changed.h5"), "--json"]) == 1
    assert set(json.loads(capsys.readouterr().out)["differences"]) == {"person_a", "map coherence"}
    replace(changed, maps=type(changed.maps)()).save(tmp_path / "no_maps.h5")  # as where memory is little
    assert main(["rerun", str(tmp_path / "no_maps.h5"), "--json"]) == 1
    assert set(json.loads(capsys.readouterr().out)["differences"]) == {"person_a"}
    labels = np.array(["a", np.nan], object)
    assert _difference(labels, labels.copy()) == 0.0
    one, other = np.array([np.inf, np.nan, 1.0]), np.array([np.inf, np.nan, 1.5])
    assert _difference(one, other) == 0.5
    assert _difference(one, one) == 0.0
    assert np.isinf(_difference(one, -one))
    assert np.isnan(_difference(one, np.zeros(3)))


def test_a_result_of_python_holds_no_plan(folder, tmp_path, monkeypatch, capsys):
    result = load(folder / "out_hbo.h5")
    result.dataset.attrs.pop("plan")
    result.save(tmp_path / "mine.h5")
    assert main(["rerun", str(tmp_path / "mine.h5")]) == 1
    assert "holds no plan" in capsys.readouterr().err


def test_a_page_to_share_and_tables_for_bids_from_the_command_line(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(folder / "out_hbo.h5"), "-o", "shared.html", "--pseudonyms"]) == 0
    dataset = load(folder / "out_hbo.h5").dataset
    labels = {str(label) for name in ("dyad", "person_a", "person_b") for label in dataset[name].values}
    page = re.sub('base64,[^"]+', "", (tmp_path / "shared.html").read_text(encoding="utf-8"))
    assert not any(label in page for label in labels)
    assert main(["export", str(folder / "out_hbo.h5"), str(folder / "out_hbr.h5"), "-o", "derivatives/ibsync"]) == 0
    assert len(list((tmp_path / "derivatives").rglob("*.tsv"))) == 12
