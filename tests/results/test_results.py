import errno
import json
import os
import signal
import stat
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr
from fake_results import BANDS, CHANNELS, COUPLED, built, make_real, make_result, make_test_arrays, record

from ibsync.errors import InputError
from ibsync.nulls.hypotheses import SURROGATES
from ibsync.recordings.whole_files import check_writable
from ibsync.results import netcdf as storage
from ibsync.results.result import Result, load, provenance, save_dataset

LABELS = ["dyad", "session", "task", "epoch", "group", "signal", "channel_a", "channel_b", "band"]
NUMBERS = ["value", "null_mean", "null_sd", "z", "p", "p_fdr", "p_max", "valid_fraction", "n_dyads"]
COLUMNS = [*LABELS, *NUMBERS]


@pytest.fixture(scope="module")
def result():
    return make_result(6, 2, n_draws=199)


def is_one_line(error):
    return "\n" not in str(error.value)


def test_saved_result_comes_back_identical(result, tmp_path):
    path = result.save(tmp_path / "out.h5")
    again = load(path)
    for back, given in ((again.dataset, result.dataset), (again.null, result.null)):
        xr.testing.assert_identical(back, given)
        for name, variable in given.variables.items():
            if variable.dtype.kind in "fiu":
                assert back[name].dtype == variable.dtype, name


def test_plain_xarray_opens_the_file(result, tmp_path):
    path = result.save(tmp_path / "out.nc")
    with xr.open_dataset(path, engine="h5netcdf") as plain:
        np.testing.assert_array_equal(plain["p_max"].values, result.dataset["p_max"].values)
        assert plain["coherence"].dims == ("dyad", "epoch", "channel_a", "channel_b", "band")
        assert plain.attrs["null_kind"] == "repair"
        assert not {"draw", "hist_bin"} & set(plain.dims)
    with xr.open_dataset(path, engine="h5netcdf", group="null") as null:
        xr.testing.assert_identical(null.load(), result.null)


def test_every_array_of_numbers_carries_a_checksum(result, tmp_path):
    with h5py.File(result.save(tmp_path / "out.h5")) as file:
        assert file["coherence"].fletcher32
        assert file["p"].fletcher32
        assert file["null/null_max"].fletcher32


def test_real_synchrony_is_saved_and_loaded(tmp_path):
    real = make_real(3)
    again = load(save_dataset(real, tmp_path / "real.h5"))
    assert again.kind == "synchrony"
    xr.testing.assert_identical(again.dataset, real)
    assert again.hypothesis.startswith("Nothing was tested")
    assert "nothing was tested" in again.headline


def test_attributes_that_netcdf_cannot_hold_become_json(tmp_path):
    real = make_real(3).assign_attrs(nothing=None, yes=True, nested={"a": [1, None]}, big=2**70, number=np.int64(3))
    attrs = load(save_dataset(real, tmp_path / "real.h5")).dataset.attrs
    assert json.loads(attrs["nothing"]) is None
    assert json.loads(attrs["yes"]) is True
    assert json.loads(attrs["nested"]) == {"a": [1, None]}
    assert json.loads(attrs["big"]) == 2**70
    assert attrs["number"] == 3
    assert real.attrs["nothing"] is None, "saving must not change the dataset"


def test_labels_of_any_script_survive(tmp_path):
    real = make_real(3).assign_coords(dyad=["Zoë & Ünal", "二人", "a<b>$x$"])
    assert load(save_dataset(real, tmp_path / "real.h5")).dataset["dyad"].values.tolist() == [
        "Zoë & Ünal",
        "二人",
        "a<b>$x$",
    ]


@pytest.mark.parametrize("call", ["fsync", "replace", "interrupt"])
def test_failed_write_leaves_the_old_file_and_nothing_else(result, tmp_path, monkeypatch, call):
    path = result.save(tmp_path / "out.h5")
    old = path.read_bytes()
    (tmp_path / "none").mkdir()
    monkeypatch.chdir(tmp_path / "none")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    def interrupt(*args):
        raise KeyboardInterrupt

    target, attribute = (storage.Path, "replace") if call == "replace" else (storage.os, "fsync")
    monkeypatch.setattr(target, attribute, interrupt if call == "interrupt" else full)
    expected = KeyboardInterrupt if call == "interrupt" else InputError
    with pytest.raises(expected) as error:
        result.save(path)
    if call != "interrupt":
        assert is_one_line(error)
        assert "free some space" in str(error.value)
    assert path.read_bytes() == old
    assert sorted(entry.name for entry in tmp_path.rglob("*")) == ["none", "out.h5"]


def test_disk_that_fills_up_midway_leaves_nothing(result, tmp_path):
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Without this, too large a write would end the process in place of raising.
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(InputError, match=r"out\.h5: could not be written"):
            result.save(tmp_path / "out.h5")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)
    assert list(tmp_path.iterdir()) == []


def test_written_file_has_ordinary_permissions(result, tmp_path):
    mask = os.umask(0o022)
    try:
        path = result.save(tmp_path / "out.h5")
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_check_writable_accepts_new_and_old_files_and_leaves_no_trace(tmp_path):
    assert check_writable(tmp_path / "new.h5") == tmp_path.resolve() / "new.h5"
    (tmp_path / "old.h5").write_bytes(b"x")
    check_writable(tmp_path / "old.h5")
    assert [entry.name for entry in tmp_path.iterdir()] == ["old.h5"]


def test_check_writable_follows_a_link(result, tmp_path):
    save_dataset(make_real(3), tmp_path / "real.h5")
    (tmp_path / "link.h5").symlink_to("real.h5")
    result.save(tmp_path / "link.h5")
    assert (tmp_path / "link.h5").is_symlink()
    assert load(tmp_path / "real.h5").kind == "result"


def test_paths_that_cannot_be_written_are_refused(tmp_path, monkeypatch):
    (tmp_path / "locked.h5").write_bytes(b"x")
    (tmp_path / "locked.h5").chmod(0o444)
    refused = {
        tmp_path / "missing" / "out.h5": "does not exist",
        tmp_path: "is a folder",
        tmp_path / "locked.h5": "read-only",
        tmp_path / "locked.h5" / "out.h5": "does not exist",
    }
    for path, reason in refused.items():
        with pytest.raises(InputError, match=reason) as error:
            check_writable(path)
        assert is_one_line(error)
        assert str(path) in str(error.value)
    monkeypatch.setattr(
        storage.Path, "touch", lambda *a, **k: (_ for _ in ()).throw(OSError(30, "Read-only file system"))
    )
    with pytest.raises(InputError, match="Read-only file system"):
        check_writable(tmp_path / "new.h5")


@pytest.mark.skipif(not Path("/dev/null").exists(), reason="needs a device file")
def test_device_is_refused():
    with pytest.raises(InputError, match="not an ordinary file"):
        check_writable("/dev/null")


def test_truncated_file_is_refused_in_one_line_at_every_length(tmp_path):
    whole = save_dataset(make_real(3), tmp_path / "whole.h5").read_bytes()
    cut = tmp_path / "cut.h5"
    for length in [0, 4, 8, 100, len(whole) // 3, len(whole) // 2, len(whole) - 1]:
        cut.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"cut\.h5") as error:
            load(cut)
        assert is_one_line(error)


def test_changed_byte_in_an_array_is_noticed(result, tmp_path):
    path = result.save(tmp_path / "out.h5")
    with h5py.File(path) as file:
        chunk = file["coherence"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset + chunk.size // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="coherence is damaged"):
        load(path)


def test_foreign_files_are_refused(tmp_path):
    (tmp_path / "text.h5").write_text("dyad,session\n")
    with h5py.File(tmp_path / "study.h5", "w") as file:
        file["x"] = np.zeros(3)
    xr.Dataset({"coherence": 1.0}).to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    for name, reason in {
        "text.h5": "not an HDF5 file",
        "study.h5": r"study\.h5",
        "other.nc": "not a results file",
        "none.h5": "no such file",
        ".": "is a folder",
    }.items():
        with pytest.raises(InputError, match=reason) as error:
            load(tmp_path / name)
        assert is_one_line(error)


def test_frame_has_the_named_columns_group_rows_first(result):
    frame = result.to_frame()
    assert list(frame.columns) == COLUMNS
    n_features, n_rows = 2 * 6 * 6 * 2, 12
    assert len(frame) == n_features * (1 + n_rows)
    group, rows = frame[:n_features], frame[n_features:]
    assert set(group["dyad"]) == {"(all)"}
    for name in ("session", "task", "group"):
        assert set(group[name]) == {"(all)"}
    assert set(rows["dyad"]) == {f"dyad{d:02d}" for d in range(1, 7)}
    assert set(rows["session"]) == {"ses-1", "ses-2"}
    assert rows[["p", "p_fdr", "p_max"]].isna().all().all()
    assert group[["p", "p_fdr", "p_max"]].notna().all().all()
    assert set(rows["task"]) == {"talk"}
    assert set(rows["group"]) == {"pairs"}
    assert set(frame["signal"]) == {"hbo"}
    assert all(frame[name].dtype == np.float64 for name in NUMBERS)


def test_frame_rows_hold_the_values_of_their_labels(result):
    ds, frame = result.dataset, result.to_frame()
    where = {"epoch": "rest", "channel_a": "S2_D1", "channel_b": "S3_D3", "band": "slow"}
    chosen = frame[np.logical_and.reduce([frame[name] == label for name, label in where.items()])]
    feature = ds.sel(where)
    group = chosen[chosen["dyad"] == "(all)"].iloc[0]
    for column, variable in {
        "value": "group_statistic",
        "null_sd": "group_null_sd",
        "z": "group_z",
        "p_max": "p_max",
    }.items():
        assert group[column] == feature[variable].item()
    assert group["valid_fraction"] == pytest.approx(feature["valid_fraction"].values.mean(), rel=1e-14)
    row = chosen[(chosen["dyad"] == "dyad04") & (chosen["session"] == "ses-2")].iloc[0]
    index = 6 + 3
    assert ds["dyad"].values[index] == "dyad04"
    assert ds["session"].values[index] == "ses-2"
    for column in ("value", "null_mean", "null_sd", "z", "valid_fraction"):
        assert row[column] == feature[column].values[index]


def test_frame_of_real_synchrony_has_no_group_rows():
    frame = Result(make_real(3)).to_frame()
    assert list(frame.columns) == COLUMNS
    assert len(frame) == 3 * 2 * 6 * 6 * 2
    assert frame[["null_mean", "z", "p"]].isna().all().all()


def test_build_result_keeps_real_and_names_the_axes():
    real, arrays = make_real(6, 2), make_test_arrays(6, 2, n_draws=99)
    before = real.copy(deep=True)
    flat = {name: np.ravel(values) if name.startswith("p") else values for name, values in arrays.items()}
    result = built(real, {**flat, "further": np.arange(2.0)}, record())
    ds = result.dataset
    xr.testing.assert_identical(real, before)
    for name in real.variables:
        np.testing.assert_array_equal(ds[name].values, real[name].values)
    assert ds["p"].dims == ("epoch", "channel_a", "channel_b", "band")
    np.testing.assert_array_equal(ds["p"].values, arrays["p"])
    assert ds["z"].dims == ("dyad", "epoch", "channel_a", "channel_b", "band")
    assert result.null["null_hist"].dims == ("epoch", "band", "hist_bin")
    assert "hist_center" in result.null.coords
    assert "further" not in ds
    assert ds.attrs["kind"] == "result"
    assert ds.attrs["spec"] == real.attrs["spec"]
    assert json.loads(ds.attrs["correct"]) == ["fdr", "max"]


def test_what_was_tested_carries_its_name_and_its_unit(result):
    ds = result.dataset
    for name in ("value", "group_statistic", "null_mean"):
        assert ds[name].attrs["units"] == "1"
    assert ds["value"].attrs["long_name"] == "coherence"
    assert ds["percentile"].attrs["units"] == "%"


def test_draws_and_bins_are_kept_apart_from_the_table(result):
    sizes = result.dataset.sizes
    assert set(sizes) == {"dyad", "epoch", "channel_a", "channel_b", "band"}
    frame = result.dataset.to_dataframe()
    assert len(frame) == np.prod(list(sizes.values())) == len(result.to_frame()) - 144


def test_attributes_of_an_earlier_test_are_not_kept():
    real = make_real(6).assign_attrs(contrast='{"talk": 1}', roles="interchangeable")
    assert not {"contrast", "roles"} & set(built(real, make_test_arrays(6, n_draws=99), record()).dataset.attrs)


def test_build_result_computes_the_group_z_where_it_is_not_given():
    arrays = make_test_arrays(6, n_draws=99)
    given = arrays.pop("group_z")
    ds = built(make_real(6), arrays, record()).dataset
    np.testing.assert_allclose(ds["group_z"].values, given, rtol=1e-12)


def test_provenance_names_versions_and_omits_what_is_unknown():
    attrs = provenance(spec={"voices": 12}, seed=7, study_sha256="ab", kind="result", flag=None)
    assert json.loads(attrs["spec"]) == {"voices": 12}
    assert json.loads(attrs["versions"])["numpy"] == np.__version__
    assert attrs["seed"] == 7
    assert attrs["flag"] == "null"
    assert attrs["created"].endswith("+00:00")
    assert not {"seed", "spec"} & set(provenance())


def test_headline_names_the_coupled_pair_and_the_correction(result):
    a, b = (CHANNELS[index] for index in COUPLED)
    p = result.dataset["p_max"].sel(epoch="talk", channel_a=a, channel_b=b, band="task").item()
    assert p <= 0.05
    assert f"{a} with {b}, band task, epoch talk" in result.headline
    assert "p_max ≤ 0.05" in result.headline
    kept = int((result.dataset["p_max"] <= 0.05).sum())
    assert result.headline.startswith(f"{kept} of 144 tests")


def test_headline_says_when_no_p_can_be_small_enough():
    arrays = make_test_arrays(3, n_draws=99, coupling=0.0)
    arrays = {**arrays, "p": np.full_like(arrays["p"], 1 / 6), "p_max": np.full_like(arrays["p"], 0.5)}
    ds = built(make_real(3, coupling=0.0), arrays, record(min_p=1 / 6))
    assert ds.headline.startswith("No test shows")
    assert "no p can fall below 0.167" in ds.headline


def test_headline_falls_back_on_the_corrections_that_were_made():
    arrays = make_test_arrays(6, n_draws=199)
    del arrays["p_max"]
    assert "p_fdr ≤ 0.05, false discovery rate" in built(make_real(6), arrays, record()).headline
    del arrays["p_fdr"]
    uncorrected = built(make_real(6), arrays, record())
    assert "p ≤ 0.05, not corrected" in uncorrected.headline
    assert "No correction for multiple tests was made" in uncorrected.methods()
    assert uncorrected.to_frame()["p_max"].isna().all()


def test_hypothesis_says_what_was_tested_and_what_stays_open(result):
    assert "pseudo-dyads of the same paradigm" in result.hypothesis
    assert "does not exclude" in result.hypothesis
    own = Result(result.dataset.assign_attrs(hypothesis="Tested: mine.", not_excluded="yours."))
    assert own.hypothesis == "Tested: mine; a small p does not exclude yours."
    assert "shared stimuli" in SURROGATES["phase"].not_excluded


def test_methods_tell_what_a_reader_needs(result):
    text = result.methods()
    for needed in [
        *["ibsync 0.1.0", "preset grinsted", "accuracy exact", "backend numpy", "6 dyads, 12 dyad sessions", "10 Hz"],
        *[
            "task (0.02–0.1 Hz)",
            "talk, rest",
            "cone of influence",
            "199 draws, seed 7",
            "(b + 1)/(m + 1)",
            "numpy 2.1.0",
        ],
        *[
            "Grinsted, Moore & Jevrejeva 2004",
            "Phipson & Smyth 2010",
            "Benjamini & Hochberg 1995",
            "Westfall & Young 1993",
        ],
    ]:
        assert needed in text, needed
    assert "\n" not in text


def test_methods_cite_only_what_was_used(result):
    exact = Result(result.dataset.drop_vars("p_max").assign_attrs(listed=1, n=720))
    text = exact.methods()
    assert "all 720 besides the real one" in text
    assert "Westfall" not in text
    assert "Phipson" not in text
    untested = Result(make_real(3)).methods()
    assert "null" not in untested
    assert "Benjamini" not in untested


def test_methods_tell_tail_and_kind_of_false_discovery_rate(result):
    text = Result(result.dataset.assign_attrs(tail="two-sided", correct='["fdr_by", "max"]')).methods()
    assert "twice that of the smaller tail, no smaller than 0.001; tail: two-sided" in text
    assert "Benjamini & Yekutieli 2001, Ann. Stat." in text
    assert "Hochberg" not in text


def test_histogram_without_bin_places_covers_0_to_1_evenly():
    arrays = make_test_arrays(6, n_draws=99)
    given = arrays.pop("hist_center")
    null = built(make_real(6), arrays, record()).null
    np.testing.assert_allclose(null["hist_center"].values, given, rtol=1e-12)


def test_text_of_a_result_lists_its_smallest_p_values(result):
    text = str(result)
    ds = result.dataset
    smallest = np.sort(ds["p_max"].values.ravel())[:5]
    listed = [float(line.split("p_max ")[1]) for line in text.splitlines() if line.startswith("    ")]
    np.testing.assert_allclose(listed, smallest, rtol=1e-2)
    assert all(band in text for band in BANDS)


def test_missing_features_are_never_the_smallest():
    arrays = make_test_arrays(6, n_draws=99)
    hole = (0, *COUPLED, 0)
    for name in ("p", "p_fdr", "p_max", "group_statistic", "group_z"):
        arrays[name] = arrays[name].copy()
        arrays[name][hole] = np.nan
    result = built(make_real(6), arrays, record())
    assert " of 143 tests" in result.headline or result.headline.startswith("No test")
    assert "nan" not in str(result)
    for name in ("p", "p_fdr", "p_max"):
        arrays[name] = np.full_like(arrays[name], np.nan)
    empty = built(make_real(6), arrays, record())
    assert empty.headline == "No value could be tested: every one is missing."
    assert "smallest" not in str(empty)


# --- the level of the test --------------------------------------------------------------------------------------------


def at_level(alpha, p_max):
    """A result whose smallest corrected p-values are given."""
    arrays = make_test_arrays(6, n_draws=199)
    given = np.full(arrays["p"].shape, 0.9)
    given.flat[: len(p_max)] = p_max
    return built(make_real(6), {**arrays, "p": given, "p_max": given}, record(alpha=alpha))


@pytest.mark.parametrize(
    ("alpha", "n"), [(0.001, 0), (0.01, 1), (0.03, 2), (0.05, 3), (0.0499, 2)], ids=lambda value: f"{value}"
)
def test_headline_counts_what_passes_at_the_level_of_the_test(alpha, n):
    result = at_level(alpha, [0.01, 0.026, 0.05])
    subject = ["No test shows", "1 of 144 tests shows", "2 of 144 tests show", "3 of 144 tests show"][n]
    assert result.headline.startswith(f"{subject} real partners more coherent")
    assert f"(p_max ≤ {alpha:g}, family-wise)" in result.headline
    assert f"alpha: {alpha:g}" in result.methods()


def test_single_dyads_are_counted_at_the_level_of_the_test():
    real, arrays = make_real(6), make_test_arrays(6, n_draws=199)
    p = np.full(real["coherence"].shape, 0.9)
    p[0, 0, 0, 0, 0], p[1, 0, 0, 0, 0] = 0.01, 0.03
    for alpha, n in ((0.001, 0), (0.01, 1), (0.05, 2)):
        headline = built(real, {**arrays, "dyad_p": p, "dyad_p_max": p}, record(alpha=alpha)).headline
        assert f"Dyad by dyad: {n} of 864 tests pass (dyad_p_max ≤ {alpha:g}, family-wise" in headline
        assert f"in {n} of 6 dyad sessions" in headline


# --- files of other versions ------------------------------------------------------------------------------------------


def test_files_of_another_version_are_refused_by_name(result, tmp_path):
    path = result.save(tmp_path / "old.h5")
    with h5py.File(path, "r+") as file:
        del file.attrs["format"]
    with pytest.raises(InputError, match=r"old\.h5: was written by another version .* compute it again") as error:
        load(path)
    assert is_one_line(error)


def test_linear_algebra_is_named_alike_in_whatever_order_it_was_loaded(monkeypatch):
    pools = [
        {"user_api": "blas", "internal_api": "openblas", "version": version, "architecture": "Haswell"}
        for version in ("0.3.31", "0.3.30")
    ]
    for order in (pools, pools[::-1]):
        monkeypatch.setattr("threadpoolctl.threadpool_info", lambda order=order: [*order, {"user_api": "openmp"}])
        assert provenance()["blas"] == "openblas 0.3.30 Haswell, openblas 0.3.31 Haswell"
