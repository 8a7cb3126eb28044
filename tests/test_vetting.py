"""No file of ibsync's is believed that is not what ibsync wrote, and none leads elsewhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

import ibsync as ibs
from ibsync.commands.cli import main
from ibsync.errors import InputError
from ibsync.recordings.contents import DIGESTS, as_fixed_text, write_digests
from ibsync.recordings.study_file_writing import is_signal

SPEC = ibs.WTC(bands={"task": (0.1, 0.4)})
ALIKE = {"n_channels": 2, "duration": 60.0, "sfreq": 4.0, "coupled_band": (0.1, 0.3)}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A study, a result, and a null of either family, by name."""
    folder = tmp_path_factory.mktemp("written")
    study = ibs.simulate(folder / "study.h5", n_dyads=4, seed=3, epochs=[("talk", 5, 50)], **ALIKE)
    real, null = study.synchrony(SPEC), study.null(SPEC, n=30)
    ibs.test(real, null, correct=[]).save(folder / "result.h5")
    ibs.save_null(null, folder / "null.h5")
    ibs.save_null(study.null(SPEC, kind="phase", n=8, draws=(1, 5)), folder / "state.h5")
    return folder


@pytest.fixture
def folder(written, tmp_path):
    return Path(shutil.copytree(written, tmp_path / "files"))


def read_study(path, **words):
    """Everything in a study."""
    study = ibs.Study.open(path, **words)
    return study, [study.signals(r, signal) for r in study.recordings for signal in r.signal_names]


READERS = {"study.h5": read_study, "result.h5": ibs.load, "null.h5": ibs.load_null, "state.h5": ibs.load_null}


def refused(name, folder, *words):
    with pytest.raises(InputError) as error:
        READERS[name](folder / name)
    text = str(error.value)
    assert "\n" not in text
    for word in (name, *words):
        assert word in text


def edit(path, change, *, with_digests=False):
    """Change a file, and with a forger's care its digests too."""
    with h5py.File(path, "r+") as file:
        change(file)
        if with_digests:
            write_digests(file, path, is_signal if path.name == "study.h5" else lambda _: False)


def datasets(path):
    names = []
    with h5py.File(path) as file:
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    return [name for name in names if not is_bare(path, name)]


def is_bare(path, name):
    with h5py.File(path) as file:
        return b"not a netCDF variable" in file[name].attrs.get("NAME", b"")


@pytest.mark.parametrize("name", READERS)
def test_one_changed_value_anywhere_is_refused(folder, name):
    for place in datasets(folder / name):
        changed = folder / "changed"
        changed.mkdir(exist_ok=True)
        shutil.copy(folder / name, changed / name)
        with h5py.File(changed / name, "r+") as file:
            values = file[place][()]
            if not values.size:
                continue
            values = np.array(values)
            flat = values.reshape(-1).view(np.uint8)
            flat[0] ^= 1
            file[place][()] = values if values.ndim else values.item()
        refused(name, changed, "was changed after ibsync wrote it", "accept_changes=True")


@pytest.mark.parametrize("name", READERS)
def test_a_stray_attribute_or_member_is_refused_and_named(folder, name):
    place = datasets(folder / name)[0]
    for change, member in (
        (lambda file: file[place].attrs.create("scale_factor", 0.001), place.split("/")[0]),
        (lambda file: file.attrs.create("history", as_fixed_text("mine")), "attributes"),
        (lambda file: file.create_dataset("mine", data=[1.0]), "mine"),
        (lambda file: file.attrs.__delitem__(DIGESTS), "no digests"),
    ):
        before = (folder / name).read_bytes()
        edit(folder / name, change)
        refused(name, folder, "was changed after ibsync wrote it", member)
        (folder / name).write_bytes(before)


@pytest.mark.parametrize("name", READERS)
def test_a_file_that_was_only_packed_anew_is_what_it_was(folder, name):
    """As h5repack does: the oldest layout, other filters, another order."""
    before = READERS[name](folder / name)
    with h5py.File(folder / name) as old, h5py.File(folder / "new.h5", "w") as new:
        for key in sorted(old, reverse=True):
            old.copy(key, new)
        for key, value in sorted(old.attrs.items()):
            new.attrs.create(key, value, dtype=old.attrs.get_id(key).dtype)
    (folder / "new.h5").replace(folder / name)
    after = READERS[name](folder / name)
    if name == "result.h5":
        assert before.dataset.identical(after.dataset)
    if name == "study.h5":
        assert before[0].sha256 == after[0].sha256


def soft_link(file, place):
    del file[place]
    file[place] = h5py.SoftLink("/elsewhere")


def external_link(file, place):
    del file[place]
    file[place] = h5py.ExternalLink("other.h5", "/x")


def external_storage(file, place):
    del file[place]
    file.create_dataset(place, (2,), "f8", external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)])


def virtual(file, place):
    del file[place]
    layout = h5py.VirtualLayout((2,), "f8")
    layout[:] = h5py.VirtualSource("other.h5", "x", shape=(2,))
    file.create_virtual_dataset(place, layout)


def bomb(file, place):
    del file[place]
    file.create_dataset(place, (400_000_000,), "f8", chunks=(1_000_000,))


def many_small_bombs(file, place):
    del file[place]
    for k in range(800):
        file.create_dataset(f"bomb{k}", (100_000,), "f8", chunks=(100_000,))


def plugin(file, place):
    del file[place]
    creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    creation.set_chunk((2,))
    creation.set_filter(32001, h5py.h5z.FLAG_OPTIONAL, (1, 2))
    space = h5py.h5s.create_simple((2,))
    h5py.h5d.create(file.id, place.encode(), h5py.h5t.NATIVE_DOUBLE, space, creation)


def cycle(file, place):
    del file[place]
    file[f"{place}/again"] = file["/"]


def deep(file, place):
    file.create_group("/".join("abcdefghijklmnopqrstu"))


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    ("change", "word"),
    [
        (soft_link, "link"), (external_link, "link"), (external_storage, "other files"), (virtual, "other files"),
        (bomb, "more than the file can hold"), (many_small_bombs, "that the file does not hold"),
        (plugin, "filter 32001"), (cycle, "two places"), (deep, "groups deep"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("accept_changes", [False, True])
def test_what_leads_elsewhere_or_claims_too_much_is_refused_always(folder, name, change, word, accept_changes):
    place = datasets(folder / name)[0]
    edit(folder / name, lambda file: change(file, place))
    with pytest.raises(InputError, match=word):
        READERS[name](folder / name, accept_changes=accept_changes)


@pytest.mark.parametrize(
    ("place", "value", "word"),
    [
        ("index/sampling_frequency", -4.0, "sampling_frequency is -4.0 in row 0"),
        ("index/sampling_frequency", 1e9, "sampling_frequency"),
        ("index/sampling_frequency", np.nan, "sampling_frequency"),
        ("index/n_samples", 0, "n_samples"),
        ("index/n_missing", -1, "n_missing"),
        ("index/row", -1, "row"),
        ("index/t0", np.inf, "t0"),
        ("index/channel_good", 7, "channel_good"),
        ("events/onset", np.nan, "onset"),
        ("events/recording", -1, "recording"),
        ("dyads/use", 3, "use"),
    ],
)
def test_impossible_numbers_of_a_study_are_refused_even_with_their_digests(folder, place, value, word):
    def change(file):
        file[place][(0,) * file[place].ndim] = value

    edit(folder / "study.h5", change, with_digests=True)
    refused("study.h5", folder, word)


@pytest.mark.parametrize("place", ["dyads/role_a", "index/t0", "montages/montage1/channel", "recordings/block1/hbo"])
def test_a_group_in_place_of_a_column_is_refused(folder, place):
    def change(file):
        names = [key for key in file if key == place.split("/")[0]] and list(file["montages"])
        real = place.replace("montage1", names[0])
        del file[real]
        file.create_group(real)

    edit(folder / "study.h5", change, with_digests=True)
    refused("study.h5", folder)


def test_a_member_that_hdf5_cannot_read_is_named(folder):
    content = bytearray((folder / "study.h5").read_bytes())
    with h5py.File(folder / "study.h5") as file:
        start = h5py.h5o.get_info(file["dyads/role_a"].id).addr
    content[start + 20] ^= 1
    (folder / "study.h5").write_bytes(content)
    refused("study.h5", folder, "/dyads: role_a is damaged (")


def test_text_of_variable_length_is_not_even_read(folder):
    edit(folder / "null.h5", lambda file: file.attrs.__setitem__("null", "{"))
    refused("null.h5", folder, "attributes")
    edit(folder / "null.h5", lambda file: file.attrs.__setitem__("null", as_fixed_text("{")), with_digests=True)
    refused("null.h5", folder, "damaged")


def test_accepted_changes_stand_in_what_is_computed(folder, capsys, monkeypatch):
    def change(file):
        file["dyads/group"][...] = as_fixed_text(["x"] * 4)
        file["recordings/block1/hbo"][0] += 1

    untouched = ibs.Study.open(folder / "study.h5")
    edit(folder / "study.h5", change)
    study = ibs.Study.open(folder / "study.h5", accept_changes=True)
    first = study.recordings[0].id
    assert study.accepted_changes == f"study.h5: dyads, hbo of {first}"
    assert study.sha256 != untouched.sha256
    real = study.synchrony(SPEC)
    assert real.attrs["study_sha256"] == study.sha256
    result = ibs.test(real, study.null(SPEC, n=30), correct=[])
    assert f"Accepted although changed after ibsync wrote it: study.h5: dyads, hbo of {first}." in result.methods()
    result.save(folder / "again.h5")
    assert ibs.load(folder / "again.h5").methods() == result.methods()

    monkeypatch.chdir(folder)
    assert main(["info", "study.h5"]) == 1
    assert main(["info", "study.h5", "--accept-changes"]) == 0
    plan = 'study = "study.h5"\noutput = "out.h5"\n{}[wtc]\nbands = {{ task = [0.1, 0.4] }}\n[null]\nn = 30\n'
    (folder / "plan.toml").write_text(plan.format(""))
    assert main(["run", "plan.toml"]) == 1
    (folder / "plan.toml").write_text(plan.format("accept_changes = true\n"))
    assert main(["run", "plan.toml"]) == 0
    assert "hbo of" in str(ibs.load(folder / "out.h5").dataset.attrs["accepted_changes"])
    assert "was changed after ibsync wrote it" in capsys.readouterr().err


def test_accepted_changes_of_a_result_and_a_null_are_told(folder):
    edit(folder / "result.h5", lambda file: file["p"].attrs.create("scale_factor", 0.001))
    result = ibs.load(folder / "result.h5", accept_changes=True)
    assert result.dataset.attrs["accepted_changes"] == "result.h5: p"
    assert result.dataset["p"].max() > 0.01, "an attribute changes no value"
    edit(folder / "null.h5", lambda file: file.attrs.create("history", 1))
    study, null = ibs.Study.open(folder / "study.h5"), ibs.load_null(folder / "null.h5", accept_changes=True)
    tested = ibs.test(study.synchrony(SPEC), null, correct=[])
    assert tested.dataset.attrs["accepted_changes"] == "null.h5: attributes"


def test_a_result_that_xarray_saved_again_is_told_and_can_be_accepted(folder):
    before = ibs.load(folder / "result.h5").dataset
    with xr.open_dataset(folder / "result.h5") as plain:
        plain.load().to_netcdf(folder / "again.h5")
    shutil.move(folder / "again.h5", folder / "result.h5")
    refused("result.h5", folder)
    after = ibs.load(folder / "result.h5", accept_changes=True).dataset
    for name in before.variables:
        np.testing.assert_array_equal(before[name].values, after[name].values)


def test_a_study_that_was_replaced_after_it_was_opened_is_noticed(folder):
    study = ibs.Study.open(folder / "study.h5")
    ibs.simulate(folder / "study.h5", n_dyads=4, seed=99, epochs=[("talk", 5, 50)], **ALIKE)
    with pytest.raises(InputError, match="since the study was opened"):
        study.synchrony(SPEC)
    assert ibs.Study.open(folder / "study.h5").sha256 != study.sha256


def test_the_digest_of_a_study_is_that_of_what_it_says(folder, tmp_path):
    ibs.simulate(tmp_path / "again.h5", n_dyads=4, seed=3, epochs=[("talk", 5, 50)], **ALIKE)
    assert ibs.Study.open(tmp_path / "again.h5").sha256 == ibs.Study.open(folder / "study.h5").sha256


def test_only_the_command_line_forbids_plugins(monkeypatch, capsys):
    monkeypatch.setenv("HDF5_PLUGIN_PRELOAD", "")
    assert main(["info", "nowhere.h5"]) == 1
    assert os.environ["HDF5_PLUGIN_PRELOAD"] == "::"
    assert "no such file" in capsys.readouterr().err
    code = "import os, ibsync, ibsync.commands.cli; ibsync.Study; print('HDF5_PLUGIN_PRELOAD' in os.environ)"
    clean = {name: value for name, value in os.environ.items() if name != "HDF5_PLUGIN_PRELOAD"}
    done = subprocess.run([sys.executable, "-c", code], env=clean, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_what_ibsync_writes_is_checked_by_hdf5_and_holds_no_text_of_variable_length(folder):
    """The superblock of the layout in which HDF5 keeps a checksum of everything but values; no global heap of text."""
    for name in READERS:
        assert (folder / name).read_bytes()[8] >= 2

        def check(place, item, name=name):
            dtypes = [
                item.attrs.get_id(key).dtype for key in item.attrs if key not in ("DIMENSION_LIST", "REFERENCE_LIST")
            ]
            dtypes += [item.dtype] if isinstance(item, h5py.Dataset) else []
            assert not any(dtype.kind == "O" for dtype in dtypes), (name, place)

        with h5py.File(folder / name) as file:
            check("/", file)
            file.visititems(check)
            assert json.loads(file.attrs[DIGESTS])


@pytest.mark.parametrize("opened", [ibs.Study.open, ibs.load, ibs.load_null, lambda path: ibs.pack(path, "x.h5")])
def test_what_is_no_file_name_is_one_line(opened):
    for name in ("a" * 300, "nul\0byte"):
        with pytest.raises(InputError):
            opened(name)
    with pytest.raises(InputError, match=r"give|no recording"):
        opened(3)
