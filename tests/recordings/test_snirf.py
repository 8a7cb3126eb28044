"""SNIRF in all its spellings reads to the same numbers; what cannot be trusted is refused in one line."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from snirf_writer import HB, Person, write_channels, write_snirf

from ibsync.errors import InputError
from ibsync.recordings.formats.snirf import haemoglobin, read_snirf

SHARED = Path(__file__).parents[3] / "shared" / "data"
FIXTURES = Path(__file__).parents[1] / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared recordings are not here")
needs_quirks = pytest.mark.skipif(not (SHARED / "quirks").is_dir(), reason="the shared recordings are not here")
RAW = tuple(("intensity", s, 1, w) for w in (1, 2) for s in range(1, 7))
ONSETS = (8.69, 44.48, 81.57)


def only_block(path: Path):
    (person,) = read_snirf(path)
    (block,) = person.blocks
    return block


def one_line(error: pytest.ExceptionInfo[InputError], path: Path, *words: str) -> None:
    text = str(error.value)
    assert "\n" not in text
    for word in (path.name, *words):
        assert word in text


def quirk(number: int) -> Path:
    return next((SHARED / "quirks").glob(f"q{number:02d}_*.snirf"))


@pytest.fixture(scope="module")
def techen() -> np.ndarray:
    """float64 [channel, time]: the stretch that the odd files were made of, read with h5py alone."""
    with h5py.File(SHARED / "snirf_vendors" / "techen_neuro_run01.snirf") as file:
        return file["nirs/data1/dataTimeSeries"][3000:5000].T


@needs_quirks
@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 6, 12, 14, 15, 17])
def test_odd_raw_files_read_to_the_numbers_of_their_source(number, techen):
    block = only_block(quirk(number))
    assert_allclose(block.read(), techen, rtol=1e-7 if number == 1 else 1e-14)
    assert block.clock.irregular == ""
    assert_allclose(block.clock.sfreq, 20.0330768, rtol=1e-8)


@needs_quirks
@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 15, 16, 17])
def test_odd_files_have_their_three_events_on_time(number):
    onsets = [event.onset for event in only_block(quirk(number)).events]
    assert_allclose(onsets, ONSETS, atol=0.005)


@needs_quirks
def test_shuffled_channels_are_told_apart_by_name(techen):
    names = [
        (c.name, c.wavelength_nm) for c in only_block(SHARED / "snirf_vendors" / "techen_neuro_run01.snirf").channels
    ]
    block = only_block(quirk(16))
    shuffled = [(c.name, c.wavelength_nm) for c in block.channels]
    assert shuffled != names
    assert sorted(shuffled) == sorted(names)
    assert_array_equal(block.read([shuffled.index(name) for name in names]), techen)


@needs_quirks
def test_the_gap_is_found_and_the_samples_are_still_readable(techen):
    clock = only_block(quirk(13)).clock
    assert "gap of 3" in clock.irregular
    assert_allclose(clock.sfreq, 20.033, atol=0.005)
    assert_array_equal(only_block(quirk(13)).read(), techen)


@needs_quirks
def test_transposed_file_is_refused():
    with pytest.raises(InputError) as error:
        read_snirf(quirk(18))
    one_line(error, quirk(18), "transposed", "[time, channel]")


@needs_quirks
@pytest.mark.parametrize(
    ("number", "signal_names", "unit"), [(7, "hbo hbr", ""), (9, "hbo hbr", "uM"), (10, "hbo hbr hbt", "mol/L")]
)
def test_odd_haemoglobin_files(number, signal_names, unit):
    (person,) = read_snirf(quirk(number))
    found = haemoglobin(person)
    assert " ".join(found.columns) == signal_names
    assert found.unit == unit
    assert len(found.channels) == 9
    all_nan = [name for name, x in zip(found.channels, found.read()["hbo"], strict=True) if np.isnan(x).all()]
    assert all_nan == (["S3_D5", "S3_D6"] if number == 7 else [])


@needs_quirks
def test_micromolar_and_molar_files_agree_apart_from_the_unit():
    micromolar, molar = (haemoglobin(read_snirf(quirk(n))[0]).read()["hbr"] for n in (9, 10))
    assert_allclose(micromolar, 1e6 * molar, rtol=1e-6)


@needs_quirks
def test_the_processed_one_of_two_blocks_is_taken():
    (person,) = read_snirf(quirk(11))
    found = haemoglobin(person)
    assert [block.channels[0].kind for block in person.blocks] == ["intensity", "hbo"]
    assert found.block is person.blocks[1]
    assert "data1 is not used" in found.notes[0]
    assert_array_equal(found.read()["hbo"], haemoglobin(read_snirf(quirk(10))[0]).read()["hbo"])


@needs_shared
@pytest.mark.parametrize(
    ("name", "n_channels", "n_samples", "sfreq", "n_events"),
    [
        ("techen_neuro_run01", 18, 8000, 20.0330768, 6),
        ("Simple_Probe", 8, 1200, 10.0, 4),
        ("nirx_nirsport2_sub-01_task-inclusion_nirs", 52, 2969, 10.172526, 2),
        ("homer3_SubjDataSample_test", 4, 9015, 25.0400641, 0),
        ("nirx_mne_hypyp_sample_1", 102, 510, 5.08626302, 0),
        ("nirx_mne_hypyp_sample_3", 102, 509, 5.08626302, 0),
    ],
)
def test_vendor_files(name, n_channels, n_samples, sfreq, n_events):
    path = SHARED / "snirf_vendors" / f"{name}.snirf"
    block = only_block(path)
    assert (len(block.channels), block.clock.n_samples, len(block.events)) == (n_channels, n_samples, n_events)
    assert_allclose(block.clock.sfreq, sfreq, rtol=1e-8)
    with h5py.File(path) as file:
        assert_array_equal(block.read(), file["nirs/data1/dataTimeSeries"][()].T)


@needs_shared
def test_the_minimum_example_has_no_samples_and_says_so():
    path = SHARED / "snirf_vendors" / "minimum_example.snirf"
    with pytest.raises(InputError) as error:
        read_snirf(path)
    one_line(error, path, "/nirs/data1", "dataTimeSeries is missing")


@needs_shared
def test_the_two_person_file_equals_the_two_single_files_bit_for_bit():
    root = SHARED / "hyperscanning_fnirs"
    people = read_snirf(root / "dyad-134_task-convo_twosubjects.snirf")
    assert [person.subject for person in people] == ["DYAD134_1", "DYAD134_2"]
    for person, label in zip(people, "AB", strict=True):
        single = only_block(root / f"sub-134{label}" / "nirs" / f"sub-134{label}_task-convo_nirs.snirf")
        assert person.blocks[0].channels == single.channels
        assert_array_equal(person.blocks[0].read(), single.read())


def test_real_files_of_the_fixtures_read_to_what_h5py_finds():
    paths = sorted(FIXTURES.glob("*.snirf"))
    assert len(paths) == 3
    for path in paths:
        block = only_block(path)
        with h5py.File(path) as file:
            data = file["nirs/data1"]
            assert_array_equal(block.read(), data["dataTimeSeries"][()].T)
            times = data["time"][()].ravel()
            groups = [data[f"measurementList{k}"] for k in range(1, len(block.channels) + 1)]
            sources = [int(np.ravel(group["sourceIndex"][()])[0]) for group in groups]
        assert_allclose(block.clock.elapsed(), times - times[0], atol=1e-6)
        assert [channel.source for channel in block.channels] == sources


def test_channels_come_in_natural_order(tmp_path):
    block = only_block(write_snirf(tmp_path / "x.snirf", person := Person(columns=RAW)))
    assert [c.source for c in block.channels] == [1, 2, 3, 4, 5, 6] * 2
    assert [c.wavelength_nm for c in block.channels] == [760.0] * 6 + [850.0] * 6
    assert_array_equal(block.read(), person.values.T)


@pytest.mark.parametrize("shape", [(-1,), (-1, 1), (1, -1)])
@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.float64])
def test_channel_arrays_of_any_shape_and_type_read_like_channel_groups(tmp_path, shape, dtype):
    lists = Person(columns=RAW, as_lists=lambda values: np.array(values, dtype).reshape(shape))
    as_lists = only_block(write_snirf(tmp_path / "lists.snirf", lists))
    as_groups = only_block(write_snirf(tmp_path / "groups.snirf", Person(columns=RAW)))
    assert as_lists.channels == as_groups.channels


@pytest.mark.parametrize(
    "text",
    [
        lambda value: np.array(value, h5py.string_dtype("ascii")),
        lambda value: np.array(value, h5py.string_dtype("utf-8")),
        lambda value: np.array(value.encode() + b"\0\0"),
        lambda value: np.array([value.encode()]),
        lambda value: np.array([[value]], h5py.string_dtype()),
    ],
    ids=["ascii", "utf-8", "fixed", "fixed (1,)", "utf-8 (1,1)"],
)
def test_text_of_every_kind(tmp_path, text):
    (person,) = read_snirf(write_snirf(tmp_path / "x.snirf", Person(tags={"SubjectID": "P1"}, unit="uM"), text=text))
    assert (person.subject, person.blocks[0].channels[0].unit, person.kinds) == ("P1", "uM", ("hbo", "hbr"))


def test_text_that_is_not_utf8_is_replaced_and_numbers_among_tags_are_taken(tmp_path):
    path = write_snirf(tmp_path / "x.snirf", Person(tags={"UnixTime": np.array([17]), "Lab": np.array(b"M\xfcnchen")}))
    (person,) = read_snirf(path)
    assert person.tags["UnixTime"] == "17"
    assert person.tags["Lab"] == "M\ufffdnchen"


def test_data_offset_is_added(tmp_path):
    path = write_snirf(tmp_path / "x.snirf", person := Person())
    with h5py.File(path, "a") as file:
        file["nirs/data1/dataOffset"] = [1.0, 2.0, 3.0, 4.0]
    assert_array_equal(only_block(path).read(), person.values.T + np.array([[1.0], [2.0], [3.0], [4.0]]))


@pytest.mark.parametrize("unit", ["s", "ms", "us", "unknown", None, ""])
def test_time_units_and_stims_in_seconds(tmp_path, unit):
    stims = {"stim1": ("talk", [[14.5, 2.0, 1.0]])}
    block = only_block(write_snirf(tmp_path / "x.snirf", Person(t0=12.5, time_unit=unit, stims=stims)))
    assert_allclose([block.clock.t0, block.clock.sfreq], [12.5, 10.0], rtol=1e-12)
    (event,) = block.events
    assert_allclose([event.onset, event.duration, event.value], [2.0, 2.0, 1.0], atol=1e-12)
    assert event.label == "talk"


def test_an_unknown_time_unit_is_refused(tmp_path):
    path = write_snirf(tmp_path / "x.snirf", Person(time_unit="furlong"))
    with pytest.raises(InputError) as error:
        read_snirf(path)
    one_line(error, path, "TimeUnit is 'furlong'")


@pytest.mark.parametrize("unit", ["s", "ms"])
def test_start_and_step_stand_for_all_times(tmp_path, unit):
    clock = only_block(write_snirf(tmp_path / "x.snirf", Person(times=np.array([2.0, 0.25]), time_unit=unit))).clock
    assert (clock.t0, clock.sfreq, clock.n_samples) == (2.0, 4.0, 200)


def test_two_samples_with_two_times_are_a_full_time_vector(tmp_path):
    clock = only_block(write_snirf(tmp_path / "x.snirf", Person(n_samples=2, times=np.array([2.0, 2.5])))).clock
    assert (clock.t0, clock.sfreq) == (2.0, 2.0)


def test_stims_that_repeat_are_kept_once_and_odd_rows_are_read(tmp_path):
    nan = np.nan
    stims = {
        "stim1": ("a", [[1, 5, 1], [9, 5, 1]]),
        "stim01": ("a", [[1, 5, 1], [9, 5, 1]]),
        "stim2": ("b", [[3, 2]]),
        "stim3": ("c", [[nan, 1, 1], [4, nan, nan]]),
        "stim4": ("d", [[5, 1, 2, 7, 8]]),
        "stim5": ("", [6, 1, 1]),
    }
    events = only_block(write_snirf(tmp_path / "x.snirf", Person(stims=stims))).events
    assert [(e.onset, e.duration, e.label) for e in events] == [
        (1, 5, "a"), (3, 2, "b"), (4, 0, "c"), (5, 1, "d"), (6, 1, "5"), (9, 5, "a"),
    ]  # fmt: skip
    assert [e.value for e in events[3:5]] == [2, 1]
    assert np.isnan([events[1].value, events[2].value]).all()


def jittered(gap: float = 0.0, jitter: float = 0.0) -> np.ndarray:
    times = np.arange(200) / 10 + jitter * np.random.default_rng(3).uniform(-1, 1, 200)
    times[120:] += gap
    return times


@pytest.mark.parametrize(
    ("times", "word"), [(jittered(gap=3), "gap of 3.1 s at 11.9"), (jittered(jitter=0.005), "uneven")]
)
def test_uneven_times_are_described(tmp_path, times, word):
    clock = only_block(write_snirf(tmp_path / "x.snirf", Person(times=times))).clock
    assert word in clock.irregular
    assert_allclose(clock.sfreq, 10, rtol=1e-3)


def test_times_rounded_to_milliseconds_are_an_even_clock(tmp_path):
    times = np.round(np.arange(3000) / 7.8125, 3)
    clock = only_block(write_snirf(tmp_path / "x.snirf", Person(n_samples=3000, times=times))).clock
    assert clock.irregular == ""
    assert_allclose(clock.sfreq, 7.8125, rtol=1e-6)


@pytest.mark.parametrize(
    ("times", "word"),
    [
        (np.r_[np.arange(100), np.arange(100)] / 10, "does not increase at sample 100"),
        (np.r_[np.nan, np.arange(199)], "missing values"),
        (np.arange(150) / 10, "150 values for 200 samples"),
        (np.array([0.0, 0.0]), "step of 0"),
    ],
)
def test_impossible_times_are_refused(tmp_path, times, word):
    path = write_snirf(tmp_path / "x.snirf", Person(times=times))
    with pytest.raises(InputError) as error:
        read_snirf(path)
    one_line(error, path, "/nirs/data1", word, "export")


def test_transposed_and_mismatched_samples_are_refused(tmp_path):
    values = np.zeros((4, 200))
    path = write_snirf(tmp_path / "t.snirf", Person(samples=values, times=np.arange(200) / 10))
    with pytest.raises(InputError) as error:
        read_snirf(path)
    one_line(error, path, "transposed")
    path = write_snirf(tmp_path / "m.snirf", Person(samples=np.zeros((200, 3))))
    with pytest.raises(InputError) as error:
        read_snirf(path)
    one_line(error, path, "4 channels are described")


def test_missing_parts_are_named(tmp_path):
    for name, word in (("dataTimeSeries", "dataTimeSeries is missing"), ("time", "time has 0 values")):
        path = write_snirf(tmp_path / "x.snirf", Person())
        with h5py.File(path, "a") as file:
            del file[f"nirs/data1/{name}"]
        with pytest.raises(InputError) as error:
            read_snirf(path)
        one_line(error, path, word)


def test_files_that_are_no_snirf_are_refused(tmp_path):
    (tmp_path / "text.snirf").write_text("not HDF5")
    (tmp_path / "empty.snirf").write_bytes(b"")
    h5py.File(tmp_path / "other.snirf", "w").close()
    cases = (
        ("text", "not an HDF5 file"),
        ("empty", "not an HDF5 file"),
        ("other", "no /nirs group"),
        ("none", "no such file"),
    )
    for name, word in cases:
        path = tmp_path / f"{name}.snirf"
        with pytest.raises(InputError) as error:
            read_snirf(path)
        one_line(error, path, word)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9, 0.999])
def test_truncated_file_is_refused(tmp_path, share):
    path = write_snirf(tmp_path / "x.snirf", Person())
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(InputError) as error:
        read_snirf(path)
    one_line(error, path, "truncated", "copy or export it again")


def replace_samples(path: Path, make) -> Path:
    with h5py.File(path, "a") as file:
        del file["nirs/data1/dataTimeSeries"]
        make(file, file["nirs/data1"])
    return path


def external_link(file, data):
    data["dataTimeSeries"] = h5py.ExternalLink("other.h5", "/x")


def soft_link(file, data):
    data["dataTimeSeries"] = h5py.SoftLink("/nirs/data1/time")


def external_storage(file, data):
    data.create_dataset("dataTimeSeries", (200, 4), "f8", external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)])


def virtual(file, data):
    layout = h5py.VirtualLayout((200, 4), "f8")
    layout[:] = h5py.VirtualSource("other.h5", "x", (200, 4))
    data.create_virtual_dataset("dataTimeSeries", layout)


def bomb(file, data):
    data.create_dataset("dataTimeSeries", (2**38, 4), "f8", chunks=(1024, 4), compression="gzip")


def large_chunk(file, data):
    data.create_dataset("dataTimeSeries", (2**24, 4), "f8", chunks=(2**24, 4))


def large_chunk_written(file, data):
    data.create_dataset("dataTimeSeries", (2**24, 4), "f8", chunks=(2**24, 4), compression="gzip", compression_opts=1)
    data["dataTimeSeries"].id.write_direct_chunk((0, 0), bytes(2**20))


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (external_link, "link"),
        (soft_link, "link"),
        (external_storage, "other files"),
        (virtual, "other files"),
        (bomb, "more than the file can hold"),
        (large_chunk, "more than the file can hold"),
        (large_chunk_written, "chunks above"),
    ],
)
def test_content_that_leads_elsewhere_or_claims_too_much_is_refused(tmp_path, make, word):
    path = replace_samples(write_snirf(tmp_path / "x.snirf", Person()), make)
    with pytest.raises(InputError) as error:
        read_snirf(path)
    one_line(error, path, "dataTimeSeries", word)


def test_a_filter_that_needs_a_plugin_is_refused(tmp_path):
    def unknown_filter(file, data):
        creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        creation.set_chunk((200, 4))
        creation.set_filter(32001, h5py.h5z.FLAG_OPTIONAL, (2, 2, 8, 6400))
        space = h5py.h5s.create_simple((200, 4))
        h5py.h5d.create(data.id, b"dataTimeSeries", h5py.h5t.NATIVE_DOUBLE, space, creation)

    path = replace_samples(write_snirf(tmp_path / "x.snirf", Person()), unknown_filter)
    with pytest.raises(InputError) as error:
        read_snirf(path)
    one_line(error, path, "filter 32001", "h5repack")


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("sourceIndex", 3, "source 3 and detector 1, but the probe has 2 sources and 2 detectors"),
        ("sourceIndex", 100663296, "source 100663296"),
        ("detectorIndex", 65542, "detector 65542"),
        ("wavelengthIndex", 3, "wavelength 3 of 2"),
        ("dataType", 77, "dataType 77"),
    ],
)
@pytest.mark.parametrize("described_by", ["Pos2D", "Pos3D", "Labels"])
def test_a_channel_that_the_probe_does_not_have_is_refused(tmp_path, name, value, word, described_by):
    columns = (("intensity", 1, 1, 1), ("intensity", 2, 2, 2))
    path = write_snirf(tmp_path / "x.snirf", Person(columns=columns))
    with h5py.File(path, "a") as file:
        for side in ("source", "detector"):
            values = ["one", "two"] if described_by == "Labels" else np.zeros((2, int(described_by[3])))
            file[f"nirs/probe/{side}{described_by}"] = values
    assert read_snirf(path)[0].blocks[0].channels
    with h5py.File(path, "a") as file:
        file[f"nirs/data1/measurementList1/{name}"][...] = value
    with pytest.raises(InputError) as error:
        read_snirf(path)
    one_line(error, path, word)


@pytest.mark.parametrize("step", [1e300, 1e-300, 5e-324, 1e-9, 1e4])
def test_an_implausible_clock_is_refused(tmp_path, step):
    for times in (np.array([0.0, step]), np.arange(200) * step):
        path = write_snirf(tmp_path / "x.snirf", Person(times=times))
        with pytest.raises(InputError) as error:
            read_snirf(path)
        one_line(error, path, "time")


def test_values_that_are_neither_numbers_nor_text_are_refused(tmp_path):
    path = write_snirf(tmp_path / "x.snirf", Person())
    with h5py.File(path, "a") as file:
        del file["nirs/data1/time"]
        file["nirs/data1/time"] = np.array([(1, b"a")], [("x", "i4"), ("y", "S1")])
    with pytest.raises(InputError) as error:
        read_snirf(path)
    one_line(error, path, "time", "neither numbers nor text")


def test_link_in_the_middle_of_a_path_is_refused(tmp_path):
    write_snirf(tmp_path / "real.snirf", Person())
    with h5py.File(tmp_path / "x.snirf", "w") as file:
        file["nirs"] = h5py.ExternalLink("real.snirf", "/nirs")
    with pytest.raises(InputError) as error:
        read_snirf(tmp_path / "x.snirf")
    one_line(error, tmp_path / "x.snirf", "nirs is a link")


def test_raw_intensity_is_refused_with_the_steps_that_mend_it(tmp_path):
    (person,) = read_snirf(write_snirf(tmp_path / "x.snirf", Person(columns=RAW)))
    with pytest.raises(InputError) as error:
        haemoglobin(person)
    steps = "mne.preprocessing.nirs.optical_density -> temporal_derivative_distribution_repair -> beer_lambert_law"
    one_line(error, person.path, "raw intensity", steps)


def test_optical_density_is_taken_only_when_asked_for(tmp_path):
    columns = (("dod", 1, 1, 1), ("dod", 1, 1, 2))
    (person,) = read_snirf(write_snirf(tmp_path / "x.snirf", dod := Person(columns=columns)))
    with pytest.raises(InputError) as error:
        haemoglobin(person)
    one_line(error, person.path, "optical density", "allow_dod", "beer_lambert_law")
    signals = haemoglobin(person, allow_dod=True).read()
    assert list(signals) == ["dod760", "dod850"]
    assert_array_equal(signals["dod850"][0], dod.values[:, 1].astype(np.float32))


def test_haemoglobin_is_sorted_by_channel_and_what_a_channel_lacks_is_nan(tmp_path):
    columns = (("hbr", 2, 1), ("hbo", 10, 1), ("hbo", 2, 1), ("hbt", 2, 1), ("intensity", 1, 1, 1))
    (person,) = read_snirf(write_snirf(tmp_path / "x.snirf", written := Person(columns=columns)))
    found = haemoglobin(person)
    signals = found.read()
    assert found.channels == ("S2_D1", "S10_D1")
    assert list(signals) == ["hbo", "hbr", "hbt"]
    assert_array_equal(signals["hbo"], written.values[:, [2, 1]].T.astype(np.float32))
    assert np.isnan(signals["hbr"][1]).all()
    assert "S1_D1 intensity is not used" in found.notes[0]


def test_a_channel_that_stands_twice_is_refused(tmp_path):
    (person,) = read_snirf(write_snirf(tmp_path / "x.snirf", Person(columns=(*HB, ("hbo", 1, 1)))))
    with pytest.raises(InputError) as error:
        haemoglobin(person)
    one_line(error, person.path, "S1_D1 hbo stands twice")


def test_several_persons_and_blocks_in_one_file(tmp_path):
    slow, fast = Person(sfreq=7.8125, seed=1, t0=3.0, time_unit="ms"), Person(sfreq=10, seed=2)
    path = write_snirf(tmp_path / "x.snirf", slow, fast, names=("nirs10", "nirs2"))
    with h5py.File(path, "a") as file:
        raw = file.create_group("nirs2/data2")
        raw["dataTimeSeries"], raw["time"] = np.ones((50, 12)), [0.0, 0.1]
        write_channels(raw, RAW, None, lambda value: np.array(value, h5py.string_dtype()))
    people = read_snirf(path)
    assert [person.group for person in people] == ["nirs2", "nirs10"]
    assert [len(person.blocks) for person in people] == [2, 1]
    assert_array_equal(people[1].blocks[0].read(), slow.values.T)
    assert (people[1].blocks[0].clock.sfreq, people[1].blocks[0].clock.t0) == (7.8125, 3.0)


def test_long_recordings_are_read_in_slabs_to_the_same_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr("ibsync.recordings.formats.snirf._SLAB_VALUES", 28)
    path = write_snirf(tmp_path / "x.snirf", person := Person())
    assert_array_equal(only_block(path).read(), person.values.T)
    assert_array_equal(only_block(path).read([3, -1])[0], person.values[:, 3])
