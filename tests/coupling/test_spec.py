"""The words of a request: units, holes, refusals that name the fix, round trips, and the rows they name."""

import json
import math
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from refusals import plan_refusal as refusal

from ibsync.coupling.band_rows import band_rows, requested_rows
from ibsync.coupling.spec import WTC, Band
from ibsync.coupling.transform.scales import PERIOD_PER_SCALE, Scales, textbook_scales

SFREQ = 10.0
SCALES = Scales(3000, 12)
FREQ = SFREQ / (PERIOD_PER_SCALE * 2 * 2 ** (np.arange(109) / 12))


# --- bands ------------------------------------------------------------------------------------------------------------


def test_a_band_in_periods_is_the_band_in_frequencies():
    in_hz = Band(0.02, 0.1, exclude=(0.04, 0.05))
    for in_s in (Band(10, 50, period=True, exclude=(20, 25)), Band(period=(10, 50), exclude=(20, 25))):
        assert_allclose((in_s.low_hz, in_s.high_hz), (in_hz.low_hz, in_hz.high_hz), rtol=1e-15)
        assert_allclose(in_s.exclude_hz, in_hz.exclude_hz, rtol=1e-15)


def test_several_holes_are_kept_in_order():
    assert Band(0.1, 1, exclude=[(0.2, 0.3), (0.5, 0.6)]).exclude_hz == ((0.2, 0.3), (0.5, 0.6))
    assert Band(0.1, 1).exclude_hz == ()


def test_a_band_contains_its_edges_and_not_its_holes():
    freq = np.array([0.099, 0.1, 0.15, 0.2, 0.3, 0.31, 1.0, 1.01])
    band = Band(0.1, 1, exclude=(0.2, 0.3))
    assert_array_equal(band.contains(freq), [False, True, True, False, False, True, True, False])


def test_the_centre_is_the_geometric_middle():
    assert_allclose(Band(0.02, 0.08).centre_hz, 0.04, rtol=1e-15)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Band(),
        lambda: Band(0.1),
        lambda: Band(0.2, 0.1),
        lambda: Band(0.1, 0.1),
        lambda: Band(-0.1, 0.1),
        lambda: Band(0, 0.1),
        lambda: Band(0.1, math.inf),
        lambda: Band(math.nan, 0.1),
        lambda: Band("low", "high"),
        lambda: Band(period=5),
        lambda: Band(period=(5,)),
        lambda: Band(0.1, 0.2, period=(5, 10, 20)),
    ],
)
def test_a_band_that_is_no_range_is_refused(make):
    refusal(make, "band", "expected")


@pytest.mark.parametrize("hole", [0.15, (0.2, 0.1), (0.1, 0.2, 0.3), [(0.1, 0.2), (0.3,)], "low", [(0.1, "x")]])
def test_a_hole_that_is_no_range_is_refused(hole):
    refusal(lambda: Band(0.05, 0.5, exclude=hole), "exclude", "expected")


def test_a_band_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        Band(0.1, 0.2).low_hz = 0.05


# --- the whole request ------------------------------------------------------------------------------------------------


def test_bands_given_as_pairs_periods_mappings_and_objects_agree():
    spec = WTC({"pair": (0.02, 0.1), "object": Band(0.02, 0.1), "mapping": {"low_hz": 0.02, "high_hz": 0.1}})
    assert set(spec.bands.values()) == {Band(0.02, 0.1)}
    assert WTC({"x": (10, 50)}, period=True) == WTC({"x": Band(10, 50, period=True)})


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ({"preset": "grinstead"}, ("preset", "'grinsted'")),
        ({"preset": "pycwt"}, ("preset", "'grinsted'")),
        ({"accuracy": "exakt"}, ("accuracy", "did you mean 'exact'")),
        ({"coi": "recordings"}, ("coi", "did you mean 'recording'")),
        ({"preset": "grinsted-toolbox"}, ("accuracy='reference'", "preset='grinsted'")),
        ({"preset": "grinsted-toolbox", "accuracy": "fast"}, ("accuracy='reference'",)),
        ({"voices": 0}, ("voices", "2 to 64")),
        ({"voices": 65}, ("voices", "2 to 64")),
        ({"voices": 7.5}, ("voices", "2 to 64")),
        ({"voices": True}, ("voices", "2 to 64")),
        ({"voices": "many"}, ("voices", "2 to 64")),
        ({"voices": None}, ("voices", "2 to 64")),
        ({"voices": math.nan}, ("voices", "2 to 64")),
        ({"min_valid": -0.1}, ("min_valid", "[0, 1]")),
        ({"min_valid": 1.5}, ("min_valid", "[0, 1]")),
        ({"min_valid": math.nan}, ("min_valid", "[0, 1]")),
        ({"min_valid": "half"}, ("min_valid", "[0, 1]")),
        ({"fmin": 0}, ("fmin", "positive")),
        ({"fmax": -1}, ("fmax", "positive")),
        ({"fmax": math.inf}, ("fmax", "positive")),
        ({"fmin": "low"}, ("fmin", "positive")),
        ({"fmin": 0.2, "fmax": 0.1}, ("fmin", "below fmax")),
        ({"bands": {}}, ("bands", "at least one")),
        ({"bands": [(0.1, 0.2)]}, ("bands", "name")),
        ({"bands": (0.1, 0.2)}, ("bands", "name")),
        ({"bands": {"slow": (0.2, 0.1)}}, ("'slow'", "low < high")),
        ({"bands": {"slow": 0.1}}, ("'slow'", "expected")),
        ({"bands": {"slow": (0.1, 0.2, 0.3)}}, ("'slow'", "expected")),
        ({"bands": {"slow": {"low": 0.1, "high_hz": 0.2}}}, ("'slow'", "low_hz")),
        ({"bands": {"slow": {"low_hz": 0.1, "high_hz": 0.2, "hole": (0.1, 0.2)}}}, ("'slow'", "hole")),
    ],
)
def test_a_request_out_of_range_is_refused_in_one_line(words, parts):
    refusal(lambda: WTC(**words), *parts)


def test_an_unknown_setting_names_the_nearest_known_one():
    refusal(lambda: WTC.from_dict({"acuracy": "exact"}), "'acuracy'", "did you mean 'accuracy'")
    refusal(lambda: WTC.from_dict({"zzz": 1}), "'zzz'", "known: bands")


@pytest.mark.parametrize(
    "spec",
    [
        WTC(),
        WTC(
            bands={"a": Band(0.01, 0.1, exclude=[(0.03, 0.04), (0.05, 0.06)]), "b": (0.1, 1 / 3)}, voices=10, coi="none"
        ),
        WTC(bands={"a": (7, 30)}, period=True, min_valid=0.25, accuracy="fast"),
        WTC(fmin=0.013, fmax=0.7, preset="grinsted-toolbox", accuracy="reference"),
    ],
)
def test_a_request_survives_json(spec):
    again = WTC.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert again == spec
    assert hash(again) == hash(spec)
    assert list(again.bands or ()) == list(spec.bands or ())


def test_equal_requests_have_equal_hashes():
    one, two = WTC({"a": (0.1, 0.2), "b": (0.2, 0.3)}, voices=12), WTC({"b": (0.2, 0.3), "a": (0.1, 0.2)}, voices=12.0)
    assert one == two
    assert hash(one) == hash(two)


def test_a_request_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        WTC().voices = 10


# --- rows -------------------------------------------------------------------------------------------------------------


def test_rows_are_the_textbook_range():
    assert SCALES.n_rows == 109
    assert Scales(147, 12).n_rows == 57
    assert Scales(512, 10).n_rows == 65
    assert_allclose(SCALES.freq(SFREQ), FREQ, rtol=1e-14)


def test_a_band_names_its_rows_only():
    spec = WTC({"slow": (0.02, 0.1), "fast": (0.5, 0.7)})
    for name, (low, high) in {"slow": (0.02, 0.1), "fast": (0.5, 0.7)}.items():
        assert_array_equal(band_rows(name, spec.bands[name], SCALES, SFREQ), (low <= FREQ) & (high >= FREQ))
    first, stop = requested_rows(spec, SCALES, SFREQ)
    assert first == np.flatnonzero(FREQ <= 0.7)[0]
    assert stop == np.flatnonzero(FREQ >= 0.02)[-1] + 1


def test_edges_that_are_rows_themselves_are_included():
    band = Band(float(FREQ[50]), float(FREQ[40]))
    assert_array_equal(np.flatnonzero(band_rows("b", band, SCALES, SFREQ)), np.arange(40, 51))


def test_a_hole_takes_its_rows_out():
    hole = (FREQ >= 0.04) & (FREQ <= 0.06)
    rows = band_rows("b", Band(0.02, 0.1, exclude=(0.04, 0.06)), SCALES, SFREQ)
    assert hole.sum() > 2
    assert_array_equal(rows, (FREQ >= 0.02) & (FREQ <= 0.1) & ~hole)


def test_without_bands_and_range_every_row_is_asked_for():
    assert requested_rows(WTC(), SCALES, SFREQ) == (0, 109)


@pytest.mark.parametrize(
    ("fmin", "fmax"), [(0.02, 0.1), (0.02, None), (None, 0.1), (None, 4.9), (1e-4, 0.1), (1e-4, 100)]
)
def test_a_range_is_clipped_to_what_there_is(fmin, fmax):
    chosen = [row for row, freq in enumerate(FREQ) if (fmin or 0) <= freq <= (fmax or np.inf)]
    assert requested_rows(WTC(fmin=fmin, fmax=fmax), SCALES, SFREQ) == (chosen[0], chosen[-1] + 1)


def test_a_band_above_nyquist_is_refused():
    refusal(lambda: band_rows("hot", Band(1, 6), SCALES, SFREQ), "'hot'", "Nyquist", "5 Hz")
    refusal(lambda: band_rows("hot", Band(6, 7), SCALES, SFREQ), "'hot'", "Nyquist")


@pytest.mark.parametrize("fmin", [5.0, 6.0, 9.9, 50.0])
def test_a_range_above_nyquist_is_refused(fmin):
    refusal(lambda: requested_rows(WTC(fmin=fmin), SCALES, SFREQ), "fmin..fmax", "Nyquist")


@pytest.mark.parametrize("fmax", [0.015, 0.005, 0.0005])
def test_a_range_below_the_longest_period_is_refused(fmax):
    refusal(lambda: requested_rows(WTC(fmax=fmax), Scales(300, 12), SFREQ), "fmin..fmax", "period", "record longer")


def test_a_band_longer_than_the_recording_supports_is_refused():
    lowest = float(FREQ[-1])
    text = refusal(lambda: band_rows("slow", Band(lowest / 2, 0.1), SCALES, SFREQ), "'slow'", "300 s", "record longer")
    assert f"{1 / lowest:.4g} s" in text
    # A band may end between the last row and where the next would be.
    assert band_rows("slow", Band(lowest / 2 ** (1 / 13), 0.1), SCALES, SFREQ)[-1]


def test_a_hole_that_empties_a_band_is_refused():
    refusal(lambda: band_rows("b", Band(0.02, 0.1, exclude=(0.01, 0.2)), SCALES, SFREQ), "'b'", "no row", "voices")


def test_a_band_between_two_rows_is_refused():
    between = Band(float(FREQ[41]) * 1.001, float(FREQ[40]) * 0.999)
    refusal(lambda: band_rows("thin", between, SCALES, SFREQ), "'thin'", "no row", "widen")


def test_a_recording_too_short_for_a_transform_is_refused():
    refusal(lambda: textbook_scales(31, 12), "31 samples", "32")
    assert textbook_scales(32, 12).n_rows == 1 + round(math.log2(0.17 * 32) * 12)
