"""Plans: which rows, which grids, and the weight of every cell in every mean."""

import itertools
import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from refusals import plan_refusal as refusal

from ibsync.coupling.engine import Engine
from ibsync.coupling.plan import GROUPS_PER_OCTAVE, full_resolution_weights, kept_plan, make_plan, trusted_shares
from ibsync.coupling.spec import WTC, Band
from ibsync.coupling.transform.scales import PERIOD_PER_SCALE

N, SFREQ = 600, 10.0
BANDS = {"slow": Band(0.06, 0.2, exclude=(0.09, 0.11)), "fast": (0.3, 0.8)}
EPOCHS = {"early": (0, 20), "late": [(25, 40), (45, 58)]}


def cells_that_enter(plan, coi):
    """1 for every cell of each band x epoch, from frequencies and distances: [band x epoch, row, sample]."""
    freq = (plan.sfreq / (PERIOD_PER_SCALE * plan.scale))[:, None]
    sample = np.arange(plan.n_samples)
    means = []
    for band, parts in itertools.product(plan.bands.values(), plan.epochs.values()):
        in_band = (freq >= band.low_hz) & (freq <= band.high_hz)
        for low, high in band.exclude_hz:
            in_band &= (freq < low) | (freq > high)
        in_time = np.zeros_like(plan.scale[:, None] * sample, bool)
        for start_s, stop_s in parts:
            start, stop = round(start_s * plan.sfreq), round(stop_s * plan.sfreq)
            first, last = {"recording": (0, plan.n_samples - 1), "epoch": (start, stop - 1), "none": (-1e9, 1e9)}[coi]
            # Grinsted's cone: period <= f / sqrt 2 * distance; some scales times sqrt 2 are whole but for rounding.
            distance = np.minimum(sample - first, last - sample) + 1e-9
            in_time |= (sample >= start) & (sample < stop) & (plan.scale[:, None] * math.sqrt(2) <= distance)
        means.append(in_band & in_time)
    return np.array(means, float)


@pytest.mark.parametrize("coi", ["recording", "epoch", "none"])
def test_full_resolution_weights_are_the_cells_of_band_epoch_and_cone(coi):
    plan = make_plan(N, SFREQ, WTC(BANDS, coi=coi), EPOCHS)
    assert_array_equal(full_resolution_weights(plan), cells_that_enter(plan, coi))


@pytest.mark.parametrize("coi", ["recording", "epoch", "none"])
def test_the_weights_of_a_mean_add_up_to_the_samples_that_enter(coi):
    plan = make_plan(N, SFREQ, WTC(BANDS, coi=coi), EPOCHS)
    full = cells_that_enter(plan, coi).sum(axis=2)
    for segment in plan.segments:
        rows = slice(segment.first_row, segment.first_row + segment.n_rows)
        assert_allclose(segment.weights.sum(axis=1), full[:, rows], atol=1e-6)


BEYOND = {"late": (30, 100), "early": (-20, 40), "parts": [(10, 20), (50, 70), (90, 95)]}


@pytest.mark.parametrize("coi", ["recording", "epoch", "none"])
def test_the_share_of_cells_is_of_the_epoch_as_it_was_asked_for(coi):
    plan = make_plan(N, SFREQ, WTC(BANDS, coi=coi), BEYOND)
    inside = cells_that_enter(plan, coi).sum(axis=2).reshape(2, 3, -1)
    freq = SFREQ / (PERIOD_PER_SCALE * plan.scale)
    asked_s = (70, 60, 35)
    expected = [
        [
            inside[b, e].sum() / (band.contains(freq).sum() * asked_s[e] * SFREQ)
            for b, band in enumerate(plan.bands.values())
        ]
        for e in range(3)
    ]
    assert_allclose(trusted_shares(N, SFREQ, WTC(BANDS, coi=coi), BEYOND), expected, rtol=1e-12)
    engine = Engine(N, SFREQ, WTC(BANDS, coi=coi, min_valid=0), epochs=BEYOND)
    x = engine.features(np.random.default_rng(0).standard_normal((1, N)))
    assert_allclose(engine.coherence(x, x).valid_fraction[0, 0].T, expected, rtol=1e-6)


def test_a_band_that_only_some_epochs_hold_is_missing_in_the_others():
    epochs = {"short": (0, 5), "long": (0, 60)}
    engine = Engine(N, SFREQ, WTC(BANDS, min_valid=0), epochs=epochs)
    x = engine.features(np.random.default_rng(0).standard_normal((1, N)))
    found = engine.coherence(x, x)
    assert_array_equal(np.isfinite(found.coherence[0, 0]), [[False, True], [True, True]])
    refusal(lambda: Engine(N, SFREQ, WTC(BANDS), epochs={"short": (0, 5)}), "'short'", "'slow'")
    refusal(lambda: Engine(N, SFREQ, WTC(BANDS), epochs={"e": (60, 90), "long": (0, 60)}), "'e'", "no sample", "60 s")
    refusal(lambda: Engine(N, SFREQ, WTC(BANDS), epochs=["talk"]), "mapping")


@pytest.mark.parametrize("coi", ["recording", "epoch", "none"])
@pytest.mark.parametrize("accuracy", ["exact", "fast"])
def test_weighted_grid_values_sum_a_smooth_course_over_its_samples(coi, accuracy):
    plan = make_plan(N, SFREQ, WTC(BANDS, coi=coi, accuracy=accuracy), EPOCHS)
    full = cells_that_enter(plan, coi)
    for segment in plan.segments:
        group = plan.group(segment, 0)
        # Smoothed products are noise under a Gaussian of one scale or wider.
        scale = plan.scale[segment.first_row]
        impulses = np.random.default_rng(0).standard_normal(N + 400)

        def course(t, scale=scale, impulses=impulses):
            kernel = np.exp(-0.5 * ((t[:, None] - np.arange(-200, N + 200)) / scale) ** 2)
            return kernel @ impulses / np.sqrt((kernel**2).sum(axis=1))

        rows = full[:, segment.first_row : segment.first_row + segment.n_rows]
        found = segment.weights.transpose(0, 2, 1) @ course(group.times)
        assert_allclose(found, rows @ course(np.arange(N)), atol=2e-4 * rows.sum(axis=2).max())


def test_groups_hold_every_row_of_the_bands_and_no_other():
    plan = make_plan(3000, SFREQ, WTC({"a": (0.02, 0.4), "b": (1, 3), "c": Band(0.5, 0.9, exclude=(0.6, 0.7))}))
    freq = plan.scales.freq(SFREQ)
    wanted = np.flatnonzero(np.any([band.contains(freq) for band in plan.bands.values()], axis=0))
    held = np.concatenate([np.arange(first, first + n) for first, n in plan.row_spans])
    assert_array_equal(held, wanted)
    assert max(n for _, n in plan.row_spans) == 12 // GROUPS_PER_OCTAVE


def test_without_bands_the_whole_textbook_range_is_one_band():
    plan = make_plan(500, SFREQ, WTC())
    assert list(plan.bands) == ["all"]
    assert sum(n for _, n in plan.row_spans) == plan.scales.n_rows
    assert plan.n_cells == plan.scales.n_rows * 500


def test_a_range_without_bands_is_one_band_of_its_rows():
    plan = make_plan(500, SFREQ, WTC(fmin=0.5, fmax=1))
    freq = plan.scales.freq(SFREQ)
    assert sum(n for _, n in plan.row_spans) == ((freq >= 0.5) & (freq <= 1)).sum()


def test_cells_are_counted_before_the_cone():
    plan = make_plan(N, SFREQ, WTC(BANDS), EPOCHS)
    n_rows = np.array([cells_that_enter(plan, "none").any(axis=2)[2 * b].sum() for b in range(2)])
    # A cone that cuts everything does not change how many cells the epoch has.
    assert_array_equal(plan.n_cells, n_rows[:, None] * np.array([[200, 280]]) * np.ones((2, 2)))


def test_overlapping_parts_of_an_epoch_count_once():
    overlapping = make_plan(N, SFREQ, WTC(BANDS), {"e": [(20, 40), (5, 25), (40, 41)]})
    joined = make_plan(N, SFREQ, WTC(BANDS), {"e": (5, 41)})
    assert overlapping.epochs == joined.epochs
    for a, b in zip(overlapping.segments, joined.segments, strict=True):
        assert_array_equal(a.weights, b.weights)


def test_an_epoch_that_passes_the_ends_is_cut_to_the_recording():
    assert make_plan(N, SFREQ, WTC(BANDS), {"e": (-5, 100)}).epochs == {"e": [(0.0, 60.0)]}


def test_an_epoch_needs_only_the_times_around_it():
    whole = make_plan(6000, SFREQ, WTC({"fast": (0.5, 1)}))
    short = make_plan(6000, SFREQ, WTC({"fast": (0.5, 1)}), {"e": (300, 330)})
    for few, many in zip(short.segments, whole.segments, strict=True):
        assert len(few.times) < 0.2 * len(many.times)


def test_the_grid_is_the_same_at_both_depths_or_coarser_at_the_first():
    plan = make_plan(3 * N, SFREQ, WTC(BANDS))
    for segment, points in zip(plan.segments, plan.points_per_scale.values(), strict=True):
        times, deep = (plan.group(segment, depth).times for depth in (0, 1))
        if points == 2.5:
            assert_array_equal(times, deep)
        else:
            assert_allclose(np.diff(times).mean() / np.diff(deep).mean(), 2.5 / points, rtol=0.1)
    assert set(plan.points_per_scale.values()) == {1.5, 2.5}


def test_a_group_of_rows_has_a_coarse_grid_where_all_its_means_are_large():
    bands = {"slow": (0.05, 0.1), "fast": (0.4, 0.8)}

    def points(spec, epochs, n=3000):
        plan = make_plan(n, SFREQ, spec, epochs)
        return [plan.points_per_scale[span] for span in plan.row_spans]

    assert set(points(WTC(bands), None, 20_000)) == {1.5}
    assert points(WTC(bands), {"e": (50, 290)}) == [1.5, 1.5, 2.5, 2.5]  # each by its own rows
    assert points(WTC(bands), {"long": (0, 300), "e": (50, 290)}) == points(WTC(bands), {"e": (50, 290)})
    parts = [(30 * k, 30 * k + 25) for k in range(9)]  # 225 s, but ten times the edges
    assert set(points(WTC(bands), {"e": parts})) == {2.5}
    narrow = {"row": (0.49, 0.51)}
    assert points(WTC(narrow), {"e": (50, 290)}) == [2.5]  # one row does not average its errors out
    some = {"e": (50, 120)}
    assert points(WTC(bands), some)[0] == 1.5
    assert points(WTC(bands, coi="none"), some)[0] == 2.5  # coherence changes faster beyond the cone
    assert set(points(WTC(bands, accuracy="reference"), None)) == {math.inf}


def test_where_controls_are_taken_out_the_grid_is_fine_whatever_the_mean():
    plan = make_plan(20_000, SFREQ, WTC({"slow": (0.05, 0.1), "fast": (0.4, 0.8)}))
    assert set(plan.points_per_scale.values()) == {1.5}
    assert set(plan.with_controls.points_per_scale.values()) == {2.5}


@pytest.mark.parametrize("coi", ["recording", "none"])
def test_windows_of_time_add_up_to_every_mean_on_both_grids(coi):
    plan = make_plan(N, SFREQ, WTC(BANDS, coi=coi), EPOCHS)
    for index, segment in enumerate(plan.segments):
        n = len(plan.windows_near(index))
        cut = plan.in_windows(index, np.arange(n))
        mean = cut.parts[1]
        for whole, parts in ((segment.weights, cut.segments[0].weights), (plan.widths[index], cut.widths[0])):
            together = np.zeros_like(whole)
            np.add.at(together, mean, parts)
            assert_allclose(together, whole, atol=1e-9)
        for depth in (0, 1):
            assert len(cut.segments_at(depth)[0].weights) == cut.n_means
        for one, other in (
            (cut.segments[0].weights, cut.deep_segments[0].weights),
            (cut.widths[0], cut.deep_widths[0]),
        ):
            assert_allclose(one.sum(axis=1), other.sum(axis=1), atol=1e-9)


def test_times_without_weight_are_not_listed():
    plan = make_plan(N, SFREQ, WTC(BANDS), {"e": (20, 24)})
    for segment in plan.segments:
        assert_array_equal(segment.times, np.flatnonzero(segment.weights.any(axis=(0, 2))))


@pytest.mark.parametrize("accuracy", ["exact", "fast", "reference"])
def test_feature_bytes_is_the_memory_of_one_channel(accuracy):
    engine = Engine(N, SFREQ, WTC(BANDS, accuracy=accuracy))
    features = engine.features(np.random.default_rng(0).standard_normal((3, N)).astype(np.float32))
    held = features.signals.x if accuracy == "reference" else features.spectra
    assert engine.plan.feature_bytes * 3 == held.nbytes


@pytest.mark.parametrize(
    ("epochs", "parts"),
    [
        ({}, ("epochs", "at least one")),
        ({"task": (70, 80)}, ("'task'", "70 to 80 s", "60 s")),
        ({"task": (20, 10)}, ("'task'", "20 to 10 s")),
        ({"task": (20, 20)}, ("'task'",)),
        ({"task": (-10, 0)}, ("'task'", "no sample")),
        ({"task": (1, 2, 3)}, ("'task'", "(start, stop)")),
        ({"task": ["a", "b"]}, ("'task'", "(start, stop)")),
        ({"task": "rest"}, ("'task'", "(start, stop)")),
        ({"task": 5}, ("'task'", "(start, stop)")),
        ({"task": [(0, 10), (20, 30, 40)]}, ("'task'", "(start, stop)")),
        ({"task": (math.nan, 10)}, ("'task'", "(start, stop)")),
        ({"task": (0, math.inf)}, ("'task'", "(start, stop)")),
        ({"task": []}, ("'task'", "(start, stop)")),
    ],
)
def test_an_epoch_that_holds_nothing_is_refused_by_name(epochs, parts):
    refusal(lambda: make_plan(N, SFREQ, WTC(BANDS), epochs), *parts)


@pytest.mark.parametrize(("coi", "epoch"), [("epoch", (20, 23)), ("recording", (0, 3))])
def test_a_band_too_long_for_an_epoch_is_refused_by_name_with_the_mend(coi, epoch):
    spec = WTC(BANDS, coi=coi)
    refusal(lambda: make_plan(N, SFREQ, spec, {"task": epoch}), "'task'", "3 s", "'slow'", "coi='none'", "lengthen")
    make_plan(N, SFREQ, WTC(BANDS, coi="none"), {"task": epoch})


@pytest.mark.parametrize("sfreq", [0, -1, math.nan, math.inf])
def test_a_rate_that_is_no_rate_is_refused(sfreq):
    refusal(lambda: make_plan(N, sfreq, WTC(BANDS)), "sfreq", "positive")


def test_a_band_that_does_not_fit_is_refused_by_name():
    refusal(lambda: make_plan(N, SFREQ, WTC({"vlf": (0.005, 0.1)})), "'vlf'", "60 s", "record longer")
    refusal(lambda: make_plan(N, SFREQ, WTC({"heart": (1, 6)})), "'heart'", "Nyquist")
    refusal(lambda: make_plan(20, SFREQ, WTC(BANDS)), "20 samples", "too short")


def test_the_plan_of_a_request_is_kept_and_that_of_another_is_not():
    words = (600, 10.0)
    bands = {"one": (0.1, 0.3), "two": (0.3, 0.8)}
    epochs = {"early": (0, 30), "late": (20, 60)}
    first = kept_plan(*words, WTC(bands=bands), epochs)
    assert kept_plan(*words, WTC(bands=dict(bands)), dict(epochs)) is first
    others = [
        kept_plan(601, 10.0, WTC(bands=bands), epochs),
        kept_plan(*words, WTC(bands=bands, accuracy="fast"), epochs),
        kept_plan(*words, WTC(bands=dict(reversed(bands.items()))), epochs),
        kept_plan(*words, WTC(bands=bands), dict(reversed(epochs.items()))),
        kept_plan(*words, WTC(bands=bands), epochs | {"late": (20, 70)}),  # reaches beyond the end
    ]
    assert all(other is not first for other in others)
    assert list(others[2].bands) == ["two", "one"]
    assert list(others[3].epochs) == ["late", "early"]


def test_a_plan_with_many_weights_is_not_kept(monkeypatch):
    monkeypatch.setattr("ibsync.coupling.plan.MOST_KEPT_WEIGHTS", 10)
    assert kept_plan(600, 10.0, WTC(bands=BANDS)) is not kept_plan(600, 10.0, WTC(bands=BANDS))
