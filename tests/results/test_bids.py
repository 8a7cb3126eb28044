"""Results as a BIDS derivative: tables that say what they hold, whole or not at all."""

import json

import numpy as np
import pandas as pd
import pytest
from refusals import refusal

import ibsync as ibs
from ibsync.results.bids import write_bids

SPEC = ibs.WTC(bands={"slow": (0.1, 0.3), "fast": (0.3, 0.6)})


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    path = tmp_path_factory.mktemp("bids") / "study.h5"
    study = ibs.simulate(path, n_dyads=3, n_sessions=2, n_channels=2, duration=60.0, sfreq=4.0)
    return ibs.test(study.synchrony(SPEC), study.null(SPEC, kind="phase", n=19), correct=["max"])


def test_each_dyad_and_session_has_a_table_with_its_dictionary(result, tmp_path):
    files = write_bids([result], tmp_path / "out")
    assert len(files) == 1 + 2 * 6
    about = json.loads((tmp_path / "out" / "dataset_description.json").read_text(encoding="utf-8"))
    assert about["GeneratedBy"][0] == {"Name": "ibsync", "Version": ibs.__version__}
    assert about["SourceDatasets"][0]["SHA256"] == result.dataset.attrs["study_sha256"]
    first = result.dataset.isel(dyad=0)
    stem = tmp_path / "out" / f"dyad-{first.dyad.item()}" / f"ses-{first.session.item()}"
    (table,), (told,) = list(stem.glob("*_desc-hbo_synchrony.tsv")), list(stem.glob("*.json"))
    read = pd.read_csv(table, sep="\t", na_values="n/a")
    assert sorted(read) == sorted(set(json.loads(told.read_text(encoding="utf-8"))) & set(read))
    assert json.loads(told.read_text(encoding="utf-8"))["FirstPerson"] == first.person_a.item()
    np.testing.assert_array_equal(sorted(read.band_low.unique()), [0.1, 0.3])
    for row in read.itertuples():
        cell = {"epoch": row.epoch, "channel_a": row.channel_a, "channel_b": row.channel_b, "band": row.band}
        assert row.value == pytest.approx(first.coherence.sel(cell).item(), abs=1e-12)
        assert row.p_max == first.dyad_p_max.sel(cell).item()


def test_a_folder_that_holds_something_is_left_alone(result, tmp_path):
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    refusal(ibs.InputError, lambda: write_bids([result], tmp_path), str(tmp_path), "there is something already")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_two_dyads_whose_labels_bids_cannot_tell_apart_are_refused(result, tmp_path):
    labels = ["a-1", "a1", *map(str, result.dataset.dyad.values[2:])]
    sessions = ["1", "1", *map(str, result.dataset.session.values[2:])]
    dataset = result.dataset.assign_coords(dyad=labels, session=("dyad", sessions))
    refusal(ibs.InputError, lambda: write_bids([ibs.Result(dataset, result.null)], tmp_path / "out"), "would both be")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    path, epochs = tmp_path_factory.mktemp("bids") / "study.h5", [("talk", 0, 30), ("rest", 30, 60)]
    return ibs.simulate(path, n_dyads=6, n_sessions=3, n_channels=2, duration=60.0, sfreq=4.0, epochs=epochs)


def test_synchrony_that_was_not_tested_is_exported(study, tmp_path):
    real = study.synchrony(SPEC)
    write_bids([ibs.Result(real)], tmp_path / "out")
    first = real.isel(dyad=0)
    (table,) = (tmp_path / "out").rglob(f"dyad-{first.dyad.item()}_ses-{first.session.item()}_*_synchrony.tsv")
    read = pd.read_csv(table, sep="\t", na_values="n/a")
    assert sorted(read.value) == pytest.approx(sorted(first.coherence.values.ravel()), abs=1e-12)
    told = json.loads(table.with_suffix(".json").read_text(encoding="utf-8"))
    assert told["Hypothesis"].startswith("Nothing was tested")
    assert set(read) <= set(told)


def test_other_questions_stand_beside_synchrony_under_their_names(study, tmp_path):
    real = study.synchrony(SPEC, epochs=["talk", "rest"])
    results = [ibs.Result(real), ibs.contrast(real, ["talk", "rest"], correct=[]), ibs.plasticity(real, correct=[])]
    files = write_bids(results, tmp_path / "out")
    endings = {file.stem.rpartition("_")[2] for file in files if file.suffix == ".tsv"}
    assert endings == {"synchrony", "contrast", "plasticity"}


def test_a_dyad_without_values_has_the_same_columns(result, tmp_path):
    none = result.dataset.value.copy()
    none[0] = np.nan
    write_bids([ibs.Result(result.dataset.assign(value=none), result.null)], tmp_path / "out")
    tables = [pd.read_csv(file, sep="\t") for file in (tmp_path / "out").rglob("*.tsv")]
    assert len({tuple(table) for table in tables}) == 1
    assert sorted(map(len, tables))[:2] == [0, 8]


def test_what_cannot_be_exported_is_refused(result, study, tmp_path):
    out = tmp_path / "out"
    refusal(ibs.InputError, lambda: write_bids([], out), str(out), "no result was given")
    refusal(ibs.InputError, lambda: write_bids([result, result], out), "a folder of its own")
    unsaid = result.dataset.assign_coords(dyad=["—", *map(str, result.dataset.dyad.values[1:])])
    refusal(ibs.InputError, lambda: write_bids([ibs.Result(unsaid)], out), "'—' has no letter or digit")
    assert list(tmp_path.iterdir()) == []
