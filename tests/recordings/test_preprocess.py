"""Raw light becomes haemoglobin by MNE's own steps, whatever file it comes in; bad channels stay, and are named."""

from __future__ import annotations

import sys

import h5py
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.io import savemat
from snirf_writer import Person, write_snirf

import ibsync as ibs
from ibsync.commands.cli import main
from ibsync.recordings.formats import nirx
from ibsync.recordings.formats.source_recording import SignalChoice
from ibsync.recordings.preprocess import Preprocessing, light_of
from ibsync.recordings.source import Source

mne = pytest.importorskip("mne")

SFREQ, N = 10.0, 600
PAIRS = [(1, 1), (2, 1), (2, 2)]
COLUMNS = tuple(("intensity", s, d, w) for s, d in PAIRS for w in (1, 2))
PLACES = {"sourcePos3D": [[0, 0, 0], [60, 0, 0]], "detectorPos3D": [[30, 0, 0], [60, 30, 0]]}  # mm


def light(seed, *, loose=()):
    """Light [time, channel] in which the heart beats, but for the pairs that are loose."""
    rng = np.random.default_rng(seed)
    time = np.arange(N) / SFREQ
    heart = np.sin(2 * np.pi * 1.1 * time + seed)
    slow = np.cumsum(rng.standard_normal((N, len(COLUMNS))), axis=0) / 2000
    beats = [0.02 * heart * (k // 2 not in loose) for k in range(len(COLUMNS))]
    return 0.5 + slow + np.transpose(beats) + 0.003 * rng.standard_normal((N, len(COLUMNS)))


def write(path, *people, **places):
    write_snirf(
        path, *(Person(COLUMNS, samples=x, sfreq=SFREQ, tags={"SubjectID": f"p{k}"}) for k, x in enumerate(people))
    )
    with h5py.File(path, "a") as file:
        for group in (name for name in file if name.startswith("nirs")):
            for name, values in (places or PLACES).items():
                file[f"{group}/probe/{name}"] = np.array(values, float)
    return path


def raw_of(samples):
    """The same light as MNE's reader of SNIRF has it."""
    names = [f"S{s}_D{d} {760 if w == 1 else 850}" for _, s, d, w in COLUMNS]
    info = mne.create_info(names, SFREQ, "fnirs_cw_amplitude", verbose="error")
    for channel, (_, s, d, w) in zip(info["chs"], COLUMNS, strict=True):
        channel["loc"][3:6] = np.array(PLACES["sourcePos3D"][s - 1]) / 1000
        channel["loc"][6:9] = np.array(PLACES["detectorPos3D"][d - 1]) / 1000
        channel["loc"][9] = 760 if w == 1 else 850
    return mne.io.RawArray(samples.T, info, verbose="error")


def by_hand(samples, ppf=6.0, motion=True):
    """MNE's steps, one after the other: {signal: float64 [channel, time]}."""
    nirs = mne.preprocessing.nirs
    density = nirs.optical_density(raw_of(samples), verbose="error")
    made = nirs.beer_lambert_law(nirs.tddr(density, verbose="error") if motion else density, ppf=ppf)
    return {kind: made.get_data(picks=[f"S{s}_D{d} {kind}" for s, d in PAIRS]) for kind in ("hbo", "hbr")}


@pytest.fixture
def pair(tmp_path):
    """Raw light of two people in two files, of one file a pair of optodes is loose; and who was with whom."""
    a, b = light(0), light(1, loose=[1])
    write(tmp_path / "p0.snirf", a)
    write(tmp_path / "p1.snirf", b)
    (tmp_path / "dyads.tsv").write_text("dyad\tperson_a\tperson_b\nd\tp0\tp1\n")
    return tmp_path, a, b


def stored(study, person, signal):
    return study.signals(next(r for r in study.recordings if r.participant == person), signal)


def test_raw_snirf_is_packed_as_mne_makes_it(pair):
    folder, a, b = pair
    report = ibs.pack(folder, folder / "s.h5", preprocess=True)
    study = ibs.Study.open(report.output)
    for person, samples in (("p0", a), ("p1", b)):
        for signal, expected in by_hand(samples).items():
            assert_allclose(stored(study, person, signal), expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    assert study.recordings[0].channels == ("S1_D1", "S2_D1", "S2_D2")
    assert [r.bad_channels for r in study.recordings] == [(), ("S2_D1",)]
    assert study.recordings[0].distances_mm == pytest.approx((30, 30, 30))
    assert "scalp coupling index below 0.75: S2_D1" in str(report)
    assert study.recordings[0].units == "mol/L"


def test_words_are_obeyed_and_kept(pair, capsys):
    folder, _, b = pair
    words = {"min_sci": 0, "motion": "none", "ppf": [5.0, 7.0]}
    study = ibs.Study.open(ibs.pack(folder, folder / "s.h5", preprocess=words).output)
    assert_allclose(stored(study, "p1", "hbr"), by_hand(b, (5.0, 7.0), motion=False)["hbr"], rtol=1e-4, atol=1e-12)
    assert not study.recordings[1].bad_channels
    kept = {"min_sci": 0, "motion": "none", "ppf": [5.0, 7.0], "mne": mne.__version__}
    assert study.describe()["preprocessing"] == kept
    arguments = ["--preprocess", "--min-sci", "0", "--motion", "none", "--ppf", "5", "7"]
    assert main(["pack", str(folder), "-o", str(folder / "c.h5"), *arguments]) == 0
    assert ibs.Study.open(folder / "c.h5").sha256 == study.sha256
    assert main(["info", str(folder / "c.h5")]) == 0
    assert "preprocessed  min_sci 0.0, motion none, ppf [5.0, 7.0]" in capsys.readouterr().out


def test_a_methods_paragraph_says_how_light_became_haemoglobin(pair):
    folder, *_ = pair
    study = ibs.Study.open(ibs.pack(folder, folder / "s.h5", preprocess=True).output)
    real = study.synchrony(ibs.WTC({"task": (0.1, 0.5)}))
    text = ibs.Result(real).methods()
    assert text.startswith(
        f"Raw light was turned into haemoglobin with MNE-Python {mne.__version__}: channels with a scalp"
    )
    for words in (
        "below 0.75",
        "temporal derivative distribution repair",
        "pathlength factor 6",
        "Pollonini",
        "Fishburn",
    ):
        assert words in text
    plain = ibs.simulate(folder / "plain.h5", n_dyads=2, n_channels=1, duration=60.0, sfreq=5.0)
    assert "Raw light" not in ibs.Result(plain.synchrony(ibs.WTC({"task": (0.1, 0.5)}))).methods()
    assert plain.preprocessing == ""


def test_two_people_of_one_file(tmp_path):
    a, b = light(2), light(3)
    path = write(tmp_path / "both.snirf", a, b)
    study = ibs.Study.open(ibs.pack(path, tmp_path / "s.h5", preprocess=True).output)
    for person, samples in (("p0", a), ("p1", b)):
        expected = by_hand(samples)["hbo"]
        assert_allclose(stored(study, person, "hbo"), expected, rtol=0, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("value", [0.0, -0.1, np.nan])
def test_a_channel_without_light_is_bad_and_spoils_no_other(tmp_path, value):
    a = light(4)
    a[100:105, 3] = value
    path = write(tmp_path / "both.snirf", a, light(5))
    report = ibs.pack(path, tmp_path / "s.h5", preprocess=True)
    recording = ibs.Study.open(report.output).recordings[0]
    assert recording.bad_channels == ("S2_D1",)
    found = ibs.Study.open(report.output).signals(recording, "hbo")
    assert np.isnan(found[1]).all()
    assert np.isfinite(found[[0, 2]]).all()
    assert "no light in 5 samples: S2_D1" in str(report)


def test_homers_nirs_files(tmp_path):
    a, b = light(6), light(7)
    marks = np.zeros((N, 2))
    marks[[100, 101, 300], [0, 0, 1]] = 1
    for name, samples in (("p0", a), ("p1", b)):
        probe = {
            "MeasList": [[s, d, 1, w] for _, s, d, w in COLUMNS], "MeasListAct": [1] * 5 + [0], "Lambda": [760, 850],
            "SrcPos": np.array(PLACES["sourcePos3D"]) / 10, "DetPos": np.array(PLACES["detectorPos3D"]) / 10,
            "SpatialUnit": "cm",
        }  # fmt: skip
        content = {"d": samples, "t": np.arange(N) / SFREQ, "SD": probe, "s": marks, "aux": np.zeros((N, 1))}
        savemat(tmp_path / f"{name}.nirs", content, appendmat=False)
    (tmp_path / "dyads.tsv").write_text("dyad\tperson_a\tperson_b\nd\tp0\tp1\n")
    study = ibs.Study.open(ibs.pack(tmp_path, tmp_path / "s.h5", preprocess=True).output)
    for person, samples in (("p0", a), ("p1", b)):
        expected = by_hand(samples)["hbo"]
        assert_allclose(stored(study, person, "hbo"), expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    assert [(e.onset, e.label) for e in study.recordings[0].events] == [(10.0, "1"), (30.0, "2")]
    assert study.recordings[0].bad_channels == ("S2_D2",)
    with pytest.raises(ibs.InputError, match=r"p0.nirs: holds raw intensity.*preprocess=True \(--preprocess\)"):
        ibs.pack(tmp_path, tmp_path / "t.h5")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"SD": None}, "has no SD"),
        ({"d": np.zeros((N, 2))}, r"d is \(600, 2\) for SD.MeasList \(6, 4\)"),
        ({"t": None}, "t is missing or holds no numbers"),
    ],
)
def test_a_nirs_file_that_lacks_something_is_refused_in_one_line(tmp_path, change, words):
    probe = {
        "MeasList": [[s, d, 1, w] for _, s, d, w in COLUMNS],
        "Lambda": [760, 850],
        "SrcPos": PLACES["sourcePos3D"],
        "DetPos": PLACES["detectorPos3D"],
    }
    content = {"d": light(0), "t": np.arange(N) / SFREQ, "SD": probe} | change
    kept = {name: value for name, value in content.items() if value is not None}
    savemat(tmp_path / "p0.nirs", kept, appendmat=False)
    (tmp_path / "p1.nirs").write_bytes((tmp_path / "p0.nirs").read_bytes())
    (tmp_path / "dyads.tsv").write_text("dyad\tperson_a\tperson_b\nd\tp0\tp1\n")
    with pytest.raises(ibs.InputError, match=f"p0.nirs: {words}"):
        ibs.pack(tmp_path, tmp_path / "s.h5", preprocess=True)


def test_nirx_folders_are_read_by_mne_and_named_by_their_folder(tmp_path, monkeypatch):
    samples, asked = light(8), []
    monkeypatch.setattr(mne.io, "read_raw_nirx", lambda folder, **_: asked.append(folder) or raw_of(samples))
    source = Source(tmp_path / "sub-01" / "NIRS-2019_001.hdr", "sub-01")
    (found,) = nirx.read(source, SignalChoice(preprocess=Preprocessing()))
    assert asked == [tmp_path / "sub-01"]
    assert_allclose(found.read()["hbo"], by_hand(samples)["hbo"])
    monkeypatch.undo()
    folder = tmp_path / "sub-02"
    folder.mkdir()
    (folder / "NIRS-2019_001.hdr").write_text('[GeneralInfo]\nNIRStar="99"\n')
    with pytest.raises(ibs.InputError, match=r"sub-02: MNE cannot read this NIRx folder .*; export it as SNIRF"):
        ibs.pack([folder / "NIRS-2019_001.hdr"], tmp_path / "s.h5", preprocess=True)


def test_the_function_and_objects_give_the_same(pair):
    folder, a, b = pair
    made = ibs.preprocess(raw_of(b))
    assert_allclose(made.get_data(picks="hbo"), by_hand(b)["hbo"])
    assert made.info["bads"] == ["S2_D1 hbo", "S2_D1 hbr"]
    report = ibs.pack({"p0": raw_of(a), "p1": raw_of(b)}, folder / "o.h5", preprocess=True)
    study = ibs.Study.open(report.output)
    assert study.recordings[1].bad_channels == ("S2_D1",)
    assert_array_equal(stored(study, "p1", "hbo"), by_hand(b)["hbo"].astype(np.float32))
    light = mne.preprocessing.nirs.optical_density(raw_of(b), verbose="error")
    assert_allclose(ibs.preprocess(light).get_data(picks="hbr"), by_hand(b)["hbr"])


def test_recordings_that_are_processed_already_are_left_as_they_are(tmp_path):
    for name in ("p0", "p1"):
        write_snirf(tmp_path / f"{name}.snirf", Person(seed=int(name[1])))
    (tmp_path / "dyads.tsv").write_text("dyad\tperson_a\tperson_b\nd\tp0\tp1\n")
    plain = ibs.Study.open(ibs.pack(tmp_path, tmp_path / "a.h5").output)
    told = ibs.Study.open(ibs.pack(tmp_path, tmp_path / "b.h5", preprocess=True).output)
    assert told.sha256 == plain.sha256
    assert told.preprocessing == ""


REFUSED = {
    "slow": ({"sfreq": 2.0}, {}, "sampled at 2 Hz, and the scalp coupling index .* min_sci=0"),
    "flat probe": ({"places": {}}, {}, "has no positions of optodes"),
    "one wavelength": ({"wavelengths": [760.0, 760.0]}, {}, "no channel has light of two known wavelengths"),
    "three factors": ({}, {"ppf": (6.0, 6.0, 6.0)}, "ppf"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_light_that_cannot_become_haemoglobin_is_refused_with_the_fix(case, tmp_path):
    change, words, message = REFUSED[case]
    path = tmp_path / "both.snirf"
    write_snirf(path, *(Person(COLUMNS, samples=light(k), sfreq=change.get("sfreq", SFREQ)) for k in (0, 1)))
    with h5py.File(path, "a") as file:
        for group in ("nirs1", "nirs2"):
            for name, values in change.get("places", PLACES).items():
                file[f"{group}/probe/{name}"] = np.array(values, float)
            file[f"{group}/probe/wavelengths"][:] = change.get("wavelengths", [760.0, 850.0])
    with pytest.raises(ibs.InputError, match=message):
        ibs.pack(path, tmp_path / "s.h5", preprocess={"min_sci": 0.75, **words})
    assert not (tmp_path / "s.h5").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"min_sci": 1.5}, "min_sci=1.5 must be a number from 0 to below 1"),
        ({"min_sci": "high"}, "min_sci='high' must be"),
        ({"motion": "tdr"}, "motion='tdr' is unknown.*mean 'tddr'"),
        ({"ppf": 0}, "ppf=0 must be a positive number"),
        ({"sci": 0.5}, "preprocess='sci' is unknown.*min_sci"),
        ("yes", "preprocess='yes': write True, or a mapping"),
    ],
)
def test_wrong_words_are_refused_before_any_file_is_read(words, message, tmp_path):
    with pytest.raises(ibs.IbsyncError, match=message):
        ibs.pack(tmp_path / "none", tmp_path / "s.h5", preprocess=words)


def test_words_without_preprocessing_are_refused(tmp_path, capsys):
    assert main(["pack", str(tmp_path), "-o", str(tmp_path / "s.h5"), "--min-sci", "0.5"]) != 0
    assert "--min-sci is of preprocessing: add --preprocess" in capsys.readouterr().err


def test_what_mne_lacks_is_told(monkeypatch):
    raw = light_of(light(0).T, SFREQ, [(s, d, 760.0 if w == 1 else 850.0) for _, s, d, w in COLUMNS], {})
    with pytest.raises(ibs.InputError, match="raw: has no positions of optodes"):
        ibs.preprocess(raw)
    with pytest.raises(ibs.InputError, match="S1_D1 has light of 760 nm alone"):
        ibs.preprocess(raw_of(light(0)).pick([0, 2, 3]))
    with pytest.raises(ibs.InputError, match="raw: holds hbo; preprocessing begins with raw intensity"):
        ibs.preprocess(ibs.preprocess(raw_of(light(0))).pick("hbo"))
    monkeypatch.setitem(sys.modules, "mne", None)
    with pytest.raises(ibs.InputError, match=r"preprocessing needs MNE; install it with: pip install 'ibsync\[mne\]'"):
        Preprocessing().to_dict()
