"""Recordings that are at hand: what labelled arrays, tables and recordings of MNE say, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from numpy.testing import assert_array_equal

import ibsync as ibs
from ibsync.recordings.objects import samples_of

SFREQ = 10.0
BANDS = {"b": (0.1, 0.5)}
TIMES = np.arange(600) / SFREQ
CHANNELS = ["S1_D1", "S2_D1", "S3_D1"]


@pytest.fixture(scope="module")
def pair():
    """Three channels for each of two people, 60 s at 10 Hz."""
    x, y = np.random.default_rng(3).standard_normal((2, 3, 600))
    return x, y + 0.5 * x


def data_array(values, **coords):
    return xr.DataArray(values, dims=("channel", "time"), coords={"channel": CHANNELS, "time": TIMES, **coords})


def raw_of(values, kinds="hbo", *, person="", bads=()):
    mne = pytest.importorskip("mne")
    kinds = [kinds] * len(values) if isinstance(kinds, str) else kinds
    names = [f"{CHANNELS[k % 3]} {kind}" for k, kind in enumerate(kinds)]
    info = mne.create_info(names, SFREQ, kinds)
    info["bads"] = [names[k] for k in bads]
    if person:
        info["subject_info"] = {"his_id": person}
    return mne.io.RawArray(values, info, verbose="error")


OBJECTS = {
    "xarray": data_array,
    "xarray, time first": lambda x: data_array(x).transpose("time", "channel"),
    "xarray, time in ms": lambda x: data_array(x, time=("time", TIMES * 1000, {"units": "ms"})),
    "xarray, dates": lambda x: data_array(x, time=pd.Timestamp("2026-01-01") + pd.to_timedelta(TIMES, unit="s")),
    "pandas, index in s": lambda x: pd.DataFrame(x.T, columns=CHANNELS, index=TIMES),
    "pandas, column": lambda x: pd.DataFrame(x.T, columns=CHANNELS).assign(Time=TIMES),
    "pandas, dates": lambda x: pd.DataFrame(x.T, pd.to_timedelta(TIMES, unit="s"), CHANNELS),
    "mne": raw_of,
}


@pytest.mark.parametrize("kind", OBJECTS)
def test_wtc_takes_labelled_objects_with_their_names_and_rate(kind, pair):
    x, y = (OBJECTS[kind](side) for side in pair)
    found = ibs.wtc(x, y, bands=BANDS)
    assert_array_equal(found.coherence, ibs.wtc(*pair, SFREQ, bands=BANDS).coherence)
    assert list(found.channel_a.values) == list(found.channel_b.values) == CHANNELS
    assert found.attrs["sfreq"] == SFREQ
    named = ibs.wtc(x, y, bands=BANDS, channels_a=["p", "q", "r"])
    assert list(named.channel_a.values) == ["p", "q", "r"]


@pytest.mark.parametrize("kind", OBJECTS)
def test_partial_wtc_takes_them_too(kind, pair):
    x, y = pair
    of = OBJECTS[kind]
    found = ibs.partial_wtc(of(x), of(y), of(x[::-1] + y), bands=BANDS)
    assert_array_equal(found.coherence, ibs.partial_wtc(x, y, x[::-1] + y, SFREQ, bands=BANDS).coherence)


def test_one_channel_keeps_its_name(pair):
    one = xr.DataArray(pair[0][0], dims="time", coords={"time": TIMES}, name="temple")
    series = pd.Series(pair[1][0], TIMES, name="forehead")
    found = ibs.wtc(one, series, bands=BANDS)
    assert (found.channel_a.item(), found.channel_b.item()) == ("temple", "forehead")


def test_what_mne_calls_bad_is_missing(pair, caplog):
    mne = pytest.importorskip("mne")
    raw = raw_of(pair[0], bads=[1])
    raw.set_annotations(mne.Annotations([10.0, 30.0], [5.0, 2.0], ["bad movement", "talk"]))
    found = samples_of(raw, "a")
    assert found.bad == ("S2_D1",)
    assert np.isnan(found.values[1]).all()
    assert_array_equal(np.isnan(found.values[0]), (TIMES >= 10) & (TIMES < 15))
    values = ibs.wtc(raw, raw_of(pair[1]), bands=BANDS, min_valid=0.1).coherence
    assert np.isnan(values[1]).all()
    assert np.isfinite(values[0]).all()
    assert "a: S2_D1 marked bad, no value" in caplog.text


def test_of_several_signals_one_is_chosen(pair):
    both = [raw_of(np.vstack([x, -2 * x]), ["hbo"] * 3 + ["hbr"] * 3) for x in pair]
    with pytest.raises(ibs.InputError, match="a holds hbo, hbr: choose one, signal='hbo' or signal='hbr'"):
        ibs.wtc(*both, bands=BANDS)
    assert_array_equal(samples_of(both[0], "a", "hbr").values, -2 * pair[0])
    assert ibs.wtc(*both, bands=BANDS, signal="hbr").sizes["channel_a"] == 3


REFUSED = {
    "transposed": (lambda x: x.T, "a has 600 channels of 3 samples: turn it round"),
    "path": (lambda _: "a.snirf", "a must be real numbers .channel, sample., .* got <U7"),
    "nothing": (lambda _: None, "a must be real numbers .* got NoneType"),
    "ragged": (lambda _: [[1.0, 2.0], [3.0]], "a must be real numbers .* got list"),
    "complex": (lambda x: x * 1j, "a must be real numbers .* got complex128"),
    "four axes": (lambda x: x[None, None], r"a must be real numbers .* shape \(1, 1, 3, 600\)"),
    "Dataset": (lambda x: xr.Dataset({"hbo": data_array(x)}), "a is a Dataset; give one of its variables: hbo"),
    "no time": (
        lambda x: data_array(x).rename(time="t"),
        "a has the dimensions channel, t: call that of samples 'time'",
    ),
    "people": (
        lambda x: data_array(x).expand_dims("person"),
        "a has the dimensions person, .*: choose one of 'person'",
    ),
    "uneven": (
        lambda x: data_array(x, time=np.where(np.arange(600) > 300, TIMES + 4, TIMES)),
        "a: .*; put it on an even grid",
    ),
    "backwards": (lambda x: data_array(x, time=TIMES[::-1]), "a: time does not increase"),
    "text": (lambda x: pd.DataFrame(x.T).assign(mark="talk"), "a: the column mark holds no numbers"),
    "unknown unit": (
        lambda x: data_array(x, time=("time", TIMES, {"units": "samples"})),
        "a: its time is in 'samples': give it in s or ms",
    ),
    "objects": (lambda x: x.astype(object), r"a holds objects: make numbers of it, such as np.asarray\(x, float\)"),
    "no rate": (lambda x: x, "nothing says the sampling rate of a; give sfreq in Hz"),
    "other rate": (lambda x: data_array(x, time=TIMES * 2), "a is 5 Hz, and b has 10 Hz: resample both"),
    "raw light": (lambda x: raw_of(x, "fnirs_cw_amplitude"), r"a holds raw light: give ibs.preprocess\(a\)"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_recording_is_refused_with_the_fix(case, pair):
    of, words = REFUSED[case]
    other = pair[1] if case == "no rate" else data_array(pair[1])
    with pytest.raises(ibs.InputError, match=words):
        ibs.wtc(of(pair[0]), other, bands=BANDS)


class OnDevice:
    """An array on a GPU, as far as it is looked at."""

    def __init__(self, values):
        self.values = values
        self.__cuda_array_interface__ = {}


class OfCupy(OnDevice):
    """One of CuPy."""

    def get(self):
        return self.values


def test_an_array_of_cupy_is_copied_and_one_that_cannot_be_is_refused(pair):
    found = ibs.wtc(*map(OfCupy, pair), SFREQ, bands=BANDS)
    assert_array_equal(found.coherence, ibs.wtc(*pair, SFREQ, bands=BANDS).coherence)
    with pytest.raises(ibs.InputError, match="a is a OnDevice on a GPU: copy it to the host"):
        ibs.wtc(*map(OnDevice, pair), SFREQ, bands=BANDS)


STARTS = {
    "dates": (pd.Timestamp("2026-01-01 10:00"), pd.Timestamp("2026-01-01 10:01"), "b begins 60 s after a"),
    "seconds": (pd.Timedelta(0), pd.Timedelta(-5, "s"), "b begins 5 s before a"),
}


@pytest.mark.parametrize("case", STARTS)
def test_recordings_that_say_that_they_began_at_other_times_are_refused(case, pair):
    *starts, words = STARTS[case]
    x, y = (
        pd.DataFrame(values.T, start + pd.to_timedelta(TIMES, unit="s"), CHANNELS)
        for values, start in zip(pair, starts, strict=True)
    )
    with pytest.raises(ibs.InputError, match=f"{words}: cut both to the time they share"):
        ibs.wtc(x, y, bands=BANDS)
    with pytest.raises(ibs.InputError, match="crop"):
        ibs.Study.from_arrays({"p": x, "q": y}, signal="hbo")
    raws = raw_of(pair[0]).crop(10), raw_of(pair[1]).crop(0, 49.9)
    with pytest.raises(ibs.InputError, match="b begins 10 s before a"):
        ibs.wtc(*raws, bands=BANDS)


def test_columns_that_know_missing_values_are_taken(pair):
    x = pd.DataFrame(pair[0].T, columns=CHANNELS).astype("Float64")
    x.iloc[3, 0] = pd.NA
    found = samples_of(x, "a").values
    assert np.isnan(found[0, 3])
    assert_array_equal(found[1:], pair[0][1:])


def test_other_kinds_of_coupling_are_refused_where_maps_are_of_wavelets(pair):
    for function in (ibs.wtc, ibs.xwt):
        with pytest.raises(ibs.PlanError, match="spec is a Coupling, and this is of wavelet coherence"):
            function(*pair, SFREQ, spec=ibs.Coupling("plv", BANDS))


def test_a_rate_that_contradicts_the_object_is_refused(pair):
    with pytest.raises(ibs.InputError, match="sfreq is 8 Hz, and a has 10 Hz: correct sfreq, or leave it out"):
        ibs.wtc(data_array(pair[0]), pair[1], 8.0, bands=BANDS)


def test_averages_of_mne_are_refused_and_trials_meet_trials(pair):
    mne = pytest.importorskip("mne")
    epochs = mne.EpochsArray(np.stack([pair[0]] * 2), raw_of(pair[0], "eeg").info, verbose="error")
    with pytest.raises(ibs.InputError, match=r"a has 2 trials of 600 samples, .*, b is continuous: give the same"):
        ibs.wtc(epochs, pair[1], bands=BANDS)
    with pytest.raises(ibs.InputError, match="a is an average over trials"):
        ibs.wtc(epochs.average(), pair[1], bands=BANDS)


# --- studies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("of", [lambda x: x, *OBJECTS.values()], ids=["numpy", *OBJECTS])
def test_a_study_of_objects_has_what_a_call_of_wtc_has(of, pair):
    study = ibs.Study.from_arrays({"p1": of(pair[0]), "p2": of(pair[1])}, sfreq=SFREQ, signal="hbo")
    found = study.synchrony(ibs.WTC(BANDS))
    expected = ibs.wtc(*(x.astype(np.float32) for x in pair), SFREQ, bands=BANDS)
    np.testing.assert_allclose(np.squeeze(found.coherence), np.squeeze(expected.coherence), atol=2e-6)
    assert study.dyads[0].person_a == "p1"


def test_sessions_and_columns_of_dyads_come_along(pair, tmp_path):
    people = {(person, session): x for session in ("1", "2") for person, x in zip("pq", pair, strict=True)}
    people |= {("r", "1"): pair[0]}
    table = pd.DataFrame({"dyad": ["d"], "person_a": ["p"], "person_b": ["q"], "group": ["g"], "outcome_score": [3.5]})
    study = ibs.Study.from_arrays(people, table, sfreq=SFREQ, signal="hbo", path=tmp_path / "s.h5")
    assert [(row.dyad, row.session, row.group, row.outcomes) for row in study.dyads] == [
        ("d", "1", "g", {"score": 3.5}),
        ("d", "2", "g", {"score": 3.5}),
    ]
    assert study.path == tmp_path / "s.h5"


def test_what_packing_changed_is_logged(pair, caplog):
    ibs.Study.from_arrays({"p": pair[0], "q": pair[1], "r": pair[0]}, [("d", "p", "q")], sfreq=SFREQ, signal="hbo")
    assert "not used: r: no dyad row takes r" in caplog.text


def test_recordings_of_mne_are_packed_by_their_subjects(pair, tmp_path):
    raws = [
        raw_of(np.vstack([x, -x]), ["hbo"] * 3 + ["hbr"] * 3, person=who) for x, who in zip(pair, "uv", strict=True)
    ]
    report = ibs.pack(raws, tmp_path / "s.h5")
    study = ibs.Study.open(report.output)
    assert study.recordings[0].signal_names == ("hbo", "hbr")
    assert [(row.person_a, row.person_b) for row in study.dyads] == [("u", "v")]
    np.testing.assert_allclose(study.signals("v", "hbr"), -pair[1], rtol=1e-6)
    with pytest.raises(ibs.InputError, match="sfreq is 55 Hz, and u has 10 Hz"):
        ibs.pack(raws, tmp_path / "s.h5", sfreq=55)
    with pytest.raises(ibs.InputError, match="u stands twice: name sessions"):
        ibs.pack([raws[0], raws[0]], tmp_path / "s.h5")


PACKING_REFUSED = {
    "no name": (lambda x, y: [x, y], {}, "recording 1 names no person: give {'p1': x1, 'p2': x2}"),
    "one": (lambda x, y: x, {}, "one recording is no dyad"),
    "none": (lambda x, y: {}, {}, "no recording is given"),
    "no rate": (lambda x, y: {"p": x, "q": y}, {"signal": "hbo"}, "sampling rate of p; give sfreq"),
    "no signal": (lambda x, y: {"p": x, "q": y}, {"sfreq": 10}, "p: nothing says what was recorded; give signal='hbo'"),
    "three people": (
        lambda x, y: {"p": x, "q": y, "r": y},
        {"sfreq": 10, "signal": "hbo"},
        r"3 people: say who is with whom, dyads=\[\('d1', 'p', ...\), ...\]",
    ),
    "unknown person": (
        lambda x, y: {"p": x, "q": y},
        {"sfreq": 10, "signal": "hbo", "dyads": [("d", "p", "w")]},
        "dyads: row 1: dyad 'd': there is no recording of 'w'",
    ),
    "short row": (
        lambda x, y: {"p": x, "q": y},
        {"sfreq": 10, "signal": "hbo", "dyads": [("d", "p")]},
        r"dyads: row 1: \('d', 'p'\) is no row; write \(dyad, person_a, person_b\)",
    ),
    "no row": (
        lambda x, y: {"p": x, "q": y},
        {"sfreq": 10, "signal": "hbo", "dyads": []},
        r"dyads=\[\] names no dyad",
    ),
    "unknown column": (
        lambda x, y: {"p": x, "q": y},
        {"sfreq": 10, "signal": "hbo", "dyads": [{"dyad": "d", "person_a": "p", "person_b": "q", "sesion": "1"}]},
        "dyads: row 1: 'sesion' means nothing.*session",
    ),
    "key": (lambda x, y: {("p", 1, 2, 3): x}, {}, r"\('p', 1, 2, 3\) names no recording"),
    "lengths": (
        lambda x, y: {"p": x, "q": y[:, :500]},
        {"sfreq": 10, "signal": "hbo"},
        "crop",
    ),
}


@pytest.mark.parametrize("case", PACKING_REFUSED)
def test_packing_refuses_with_the_fix_and_writes_nothing(case, pair, tmp_path):
    of, words, message = PACKING_REFUSED[case]
    with pytest.raises(ibs.InputError, match=message):
        ibs.pack(of(*pair), tmp_path / "s.h5", **words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", [1e300, 1e-40])
def test_sizes_that_single_precision_does_not_hold_are_refused(size, pair, tmp_path):
    x = pair[0].copy()
    x[1] *= size
    with pytest.raises(ibs.InputError, match=r"p: hbo of channel ch2 reaches .*: give it in another unit"):
        ibs.pack({"p": x, "q": pair[1]}, tmp_path / "s.h5", sfreq=SFREQ, signal="hbo")
    raw = raw_of(x, bads=[1])
    ibs.pack({"p": raw, "q": raw_of(pair[1])}, tmp_path / "s.h5")
    assert ibs.Study.open(tmp_path / "s.h5").recordings[0].bad_channels == ("S2_D1",)


def test_labels_may_be_dates_and_whole_numbers(pair, tmp_path):
    first, second = pd.Timestamp("2026-01-05"), pd.Timestamp("2026-02-05 10:30")
    table = pd.DataFrame({"dyad": [1.0, 1.0], "person_a": ["p"] * 2, "person_b": ["q"] * 2, "session": [first, second]})
    people = {(name, day): x for day in (first, second) for name, x in zip("pq", pair, strict=True)}
    study = ibs.Study.from_arrays(people, table, sfreq=SFREQ, signal="hbo")
    rows = [(row.dyad, row.session) for row in study.dyads]
    assert rows == [("1", "2026-01-05"), ("1", "2026-02-05T10:30:00")]


def test_files_say_their_rate(tmp_path):
    mne = pytest.importorskip("mne")
    mne.io.RawArray(np.ones((1, 99)), mne.create_info(["Cz"], 9.0, "eeg"), verbose="error").save(
        tmp_path / "a_raw.fif", verbose="error"
    )
    with pytest.raises(ibs.InputError, match=r"a_raw.fif says its rate: leave out sfreq"):
        ibs.pack(tmp_path, tmp_path / "s.h5", sfreq=10)
    for wrong in (0, "10"):
        with pytest.raises(ibs.InputError, match=r"sfreq = .* is not a rate"):
            ibs.pack(tmp_path, tmp_path / "s.h5", sfreq=wrong)
