"""Coherent cells counted by phase: each cell against the definition, then means, symmetries, words and labels."""

import json

import numpy as np
import pytest
from cells import clean_signals, definition_at, rough_signals
from numpy.testing import assert_allclose, assert_array_equal
from refusals import plan_refusal as refusal

import ibsync.coupling.backends.numpy as numpy_backend
from ibsync.coupling.backends.numpy import NumpyBackend
from ibsync.coupling.engine import Engine
from ibsync.coupling.measures import COUPLINGS, MEASURES, PHASES, fisher_z
from ibsync.coupling.plan import full_resolution_weights, make_plan
from ibsync.coupling.spec import WTC, PhaseShares
from ibsync.coupling.transform.definition import coherency
from ibsync.recordings.recording import DyadRow, Recording
from ibsync.recordings.study_file import write_study
from ibsync.results.result import load, save_dataset
from ibsync.results.tidy_table import tidy_table
from ibsync.study.study import Study

N, SFREQ = 600, 10.0
BANDS = {"slow": (0.06, 0.2), "fast": (0.3, 0.8)}
EPOCHS = {"early": (0, 30), "late": [(25, 40), (42, 58)]}
PROMISE = {"exact": 1e-6, "fast": 5e-4}
VARIABLES = {"share_above", *(f"share_{name}" for name in PHASES)}


def coupled(n_channels, n=N, lag=4, seed=0):
    """Two people with noise in common, the second later by `lag` samples: float64 [channel, sample] each."""
    rng = np.random.default_rng(seed)
    common = rng.standard_normal(n)
    return common + rng.standard_normal((n_channels, n)), np.roll(common, lag) + rng.standard_normal((n_channels, n))


def engine_of(accuracy="exact", *, bands=BANDS, epochs=EPOCHS, n=N, **words):
    return Engine(n, SFREQ, WTC(bands, accuracy=accuracy, **words), epochs=epochs)


def found_by(engine, a, b, shares=True):
    return engine.coherence(engine.features(a), engine.features(b), shares=shares)


def classes_of(value, asked):
    """Whether a cell is coherent and in phase, with a leading, with b leading, in anti-phase: bool [class, ...]."""
    degrees = np.degrees(np.angle(value))
    coherent = np.abs(value) ** 2 > asked.level
    return coherent & np.array(
        [
            np.abs(degrees) < asked.in_phase,
            (degrees >= asked.in_phase) & (degrees <= asked.anti_phase),
            (degrees <= -asked.in_phase) & (degrees >= -asked.anti_phase),
            np.abs(degrees) > asked.anti_phase,
        ]
    )


def undecided(value, asked, slack):
    """Cells so near a level or an edge that an error of `slack` may move them: bool, and coherent or nearly so."""
    r2, degrees = np.abs(value) ** 2, np.abs(np.degrees(np.angle(value)))
    edges = np.minimum(np.abs(degrees - asked.in_phase), np.abs(degrees - asked.anti_phase))
    turned = np.degrees(slack) / np.sqrt(np.maximum(r2, 1e-3))
    return (np.abs(r2 - asked.level) < 2 * slack) | (edges < turned) & (r2 > asked.level - 2 * slack)


def nearest_counts(plan, times, row):
    """Samples of each mean in one row, half a sample to either side, nearest to each time: float64 [mean, time]."""
    entered = full_resolution_weights(plan)[:, row]
    halfway = (times[1:] + times[:-1]) / 2
    low, high = np.concatenate([[-np.inf], halfway]), np.concatenate([halfway, [np.inf]])
    sample = np.arange(plan.n_samples)[:, None]
    return entered @ np.maximum(np.minimum(high, sample + 0.5) - np.maximum(low, sample - 0.5), 0)


# --- every cell -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [PhaseShares(), PhaseShares(0.5, 100, 120), PhaseShares(0.3, 20, 80)])
@pytest.mark.parametrize("make", [clean_signals, rough_signals])
@pytest.mark.parametrize("accuracy", ["exact", "fast"])
def test_every_cell_of_the_grid_is_counted_in_the_class_that_the_definition_gives(accuracy, make, asked):
    a, b = make(N, 0)[[0, 2]], make(N, 1)[[1, 3]]
    b[1] += np.roll(a[0], 3) * (1 if make is clean_signals else 0)
    engine = engine_of(accuracy, epochs={"early": (0, 20), "late": (35, 60)}, coi="none")
    u, v = engine.features(a), engine.features(b)
    found = engine.coherence(u, v, shares=asked)
    assert u.deep.any() == (make is rough_signals)
    plan = engine.plan
    expected, allowed = np.zeros((4, 2, 2, plan.n_means)), np.zeros((2, 2, plan.n_means))
    width = np.zeros((2, 2, plan.n_means))
    deep = (u.deep[:, None] | v.deep)[..., None]  # each pair is computed at its own depth
    for depth, mine in ((0, ~deep), (1, deep)):
        for segment, counts in zip(plan.segments_at(depth), plan.widths_at(depth), strict=True):
            rows = np.arange(segment.first_row, segment.first_row + segment.n_rows)
            times = plan.group(segment, depth).times
            value, _ = definition_at(a, b, plan.scales, rows, times)
            assert not np.isnan(value).any()
            expected += mine * np.einsum("kabtr,mtr->kabm", classes_of(value, asked), counts)
            allowed += mine * np.einsum("abtr,mtr->abm", undecided(value, asked, PROMISE[accuracy]), counts)
            width += mine * counts.sum(axis=(1, 2))
    above = expected.sum(axis=0)
    assert above.max() > 0.1 * width.max()
    assert (allowed < 0.02 * width).all()
    shape = (2, 2, plan.n_means)
    assert (np.abs(found.above.reshape(shape) * width - above) <= allowed + 1e-3).all()
    counted = np.nan_to_num(found.shares.reshape(*shape, 4)) * (found.above.reshape(shape) * width)[..., None]
    assert (np.abs(np.moveaxis(counted, -1, 0) - expected) <= allowed + 1e-3).all()


@pytest.mark.parametrize(
    ("epochs", "low"), [(None, 0.3), ({"all": (0, 60), "one": (30, 45), "cut": [(5, 21), (33.3, 50)]}, 0.1)]
)
@pytest.mark.parametrize("coi", ["recording", "epoch", "none"])
@pytest.mark.parametrize("accuracy", ["exact", "fast"])
def test_each_cell_stands_for_the_samples_nearest_to_it(accuracy, coi, epochs, low, monkeypatch):
    asked = engine_of(accuracy, bands={"slow": (low, 0.4), "fast": (0.4, 0.8)}, epochs=epochs, coi=coi).plan
    # The coarse or the fine grid.
    monkeypatch.setattr("ibsync.coupling.plan.LARGE_MEAN", {coi: 0 if epochs is None else np.inf})
    plan = make_plan(asked.n_samples, asked.sfreq, asked.spec, asked.epochs)
    same_grid = [one is deep for one, deep in zip(plan.segments_at(0), plan.segments_at(1), strict=True)]
    assert same_grid == [points == 2.5 for points in plan.points_per_scale.values()]
    assert all(same_grid) == any(same_grid) == (epochs is not None)
    for depth in (0, 1):
        total = np.zeros(plan.n_means)
        for segment, widths in zip(plan.segments_at(depth), plan.widths_at(depth), strict=True):
            times = plan.group(segment, depth).times
            for r in range(segment.n_rows):
                expected = nearest_counts(plan, times, segment.first_row + r)
                assert_allclose(widths[:, :, r], expected, rtol=0, atol=0.2501)  # both edges are in quarters
                assert_allclose(widths[:, :, r].sum(axis=1), expected.sum(axis=1), rtol=0, atol=1e-9)
            assert (widths >= 0).all()
            assert not widths[segment.weights == 0].any()
            total += widths.sum(axis=(1, 2))
        assert_allclose(total, full_resolution_weights(plan).sum(axis=(1, 2)), rtol=1e-12)


# --- means ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [PhaseShares(), PhaseShares(0.2, 30, 120)])
def test_reference_shares_are_the_shares_of_the_definitions_map(asked):
    a, b = coupled(2)
    engine = engine_of("reference")
    found = found_by(engine, a, b, asked)
    weights = full_resolution_weights(engine.plan)
    n_cells = weights.sum(axis=(1, 2))
    for i, j in np.ndindex(2, 2):
        counts = np.einsum("krt,mrt->mk", classes_of(coherency(a[i], b[j], engine.plan.scales), asked), weights)
        above = counts.sum(axis=1)
        assert (above > 0).all()
        assert_allclose(found.above[i, j].reshape(-1), above / n_cells, atol=1e-12)
        assert_allclose(found.shares[i, j].reshape(-1, 4), counts / above[:, None], atol=1e-12)


@pytest.mark.parametrize(
    ("n", "bands", "epochs", "limit"),
    [
        (600, BANDS, None, 0.015),
        (600, BANDS, {"early": (0, 30), "late": (28, 58)}, 0.03),
        (3000, {"slow": (0.02, 0.1), "fast": (0.1, 0.5)}, None, 0.01),
    ],
)
def test_shares_of_all_cells_are_near_those_at_full_resolution(n, bands, epochs, limit, backend):
    a, b = coupled(3, n)
    exact, fast, expected = (
        found_by(engine_of(accuracy, bands=bands, epochs=epochs, n=n, min_valid=0), a, b)
        for accuracy in ("exact", "fast", "reference")
    )
    for found in (exact, fast):
        for measure in ("above", *PHASES):
            assert_allclose(MEASURES[measure].of(found), MEASURES[measure].of(expected), rtol=0, atol=limit)
        assert np.sqrt(np.mean((found.above - expected.above) ** 2)) < 0.35 * limit


@pytest.mark.parametrize("accuracy", ["exact", "fast", "reference"])
def test_where_too_few_cells_are_valid_there_are_neither_means_nor_shares(accuracy):
    a, b = coupled(2)
    a[1, 100:300] = np.nan
    found = found_by(engine_of(accuracy, min_valid=0.6), a, b, PhaseShares(0.2))
    missing = np.isnan(found.coherence)
    assert missing.any()
    assert not missing.all()
    assert_array_equal(np.isnan(found.above), missing)
    assert_array_equal(np.isnan(found.shares), np.broadcast_to(missing[..., None], found.shares.shape))
    for name in MEASURES.keys() - COUPLINGS:
        assert_array_equal(np.isnan(MEASURES[name].of(found)), missing)


@pytest.mark.parametrize("accuracy", ["exact", "fast", "reference"])
def test_gaps_take_their_cells_out(accuracy):
    a, b = coupled(2)
    a[1, 200:280] = np.nan
    found = found_by(engine_of(accuracy, min_valid=0), a, b)
    plain = found_by(engine_of(accuracy, min_valid=0), np.nan_to_num(a), b)
    expected = found_by(engine_of("reference", min_valid=0), a, b)
    assert_allclose(found.above, expected.above, rtol=0, atol=0.03)
    assert_array_equal(found.above[0], plain.above[0])
    assert np.abs(found.above[1] - plain.above[1]).max() > 0.01


# --- what shares must be ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("sign", "lag", "phase"), [(1, 0, 0), (1, 0.5, 1), (1, -0.5, 2), (-1, 0, 3)])
def test_a_steady_phase_fills_one_class(sign, lag, phase, backend):
    t = np.arange(N) / SFREQ
    noise = 0.01 * np.random.default_rng(0).standard_normal((2, N))
    a, b = np.cos(np.pi * t) + noise[0], sign * np.cos(np.pi * (t - lag)) + noise[1]  # 0.5 Hz: a quarter is 0.5 s
    found = found_by(engine_of(bands={"b": (0.45, 0.55)}, epochs=None), a, b)
    assert_array_equal(found.above, 1)
    assert_array_equal(found.shares.reshape(4), np.arange(4) == phase)


@pytest.mark.parametrize("accuracy", ["exact", "fast", "reference"])
def test_shares_sum_to_one_and_measures_to_the_share_above(accuracy):
    found = found_by(engine_of(accuracy), *coupled(3), PhaseShares(0.4))
    assert np.isfinite(found.shares).all()
    assert_allclose(found.shares.sum(axis=-1), 1, rtol=1e-12)
    assert_allclose(sum(MEASURES[name].of(found) for name in PHASES), found.above, rtol=1e-12)
    assert (found.shares >= 0).all()
    assert (found.above > 0).all()
    assert (found.above < 1).all()


def test_a_higher_level_leaves_fewer_cells_and_level_zero_leaves_all(backend):
    engine = engine_of()
    above = np.stack([found_by(engine, *coupled(3), PhaseShares(level)).above for level in (0, 0.3, 0.7, 0.95)])
    assert_array_equal(above[0], 1)
    assert (np.diff(above, axis=0) <= 0).all()
    assert (above.min(axis=(1, 2, 3, 4)) < above.max(axis=(1, 2, 3, 4)))[1:].all()
    assert (np.diff(above.mean(axis=(1, 2, 3, 4))) < -0.05).all()


def swapped(shares):
    return shares[..., [0, 2, 1, 3]]


@pytest.mark.parametrize("accuracy", ["exact", "fast", "reference"])
def test_swapped_people_and_reversed_time_swap_who_leads(accuracy):
    a, b = coupled(3)
    engine = engine_of(accuracy, epochs={"early": (0, 30), "late": (30, 60)})
    asked = PhaseShares(0.4)
    found, back = found_by(engine, a, b, asked), found_by(engine, b, a, asked)
    reversed_ = found_by(engine, a[:, ::-1], b[:, ::-1], asked)
    assert np.abs(found.shares[..., 1] - found.shares[..., 2]).max() > 0.1
    assert_allclose(swapped(back.shares).swapaxes(0, 1), found.shares, rtol=0, atol=1e-12)
    assert_allclose(back.above.swapaxes(0, 1), found.above, rtol=0, atol=1e-12)
    assert_allclose(swapped(reversed_.shares)[..., ::-1, :], found.shares, rtol=0, atol=1e-3)
    assert_allclose(reversed_.above[..., ::-1], found.above, rtol=0, atol=1e-3)


@pytest.mark.parametrize("accuracy", ["exact", "fast", "reference"])
def test_shares_change_no_other_number_and_are_absent_unless_asked_for(accuracy):
    engine, (a, b) = engine_of(accuracy), coupled(3)
    plain, found = found_by(engine, a, b, shares=False), found_by(engine, a, b)
    assert plain.shares is None
    assert plain.above is None
    for name in ("coherence", "coherency", "valid_fraction"):
        assert_array_equal(getattr(found, name), getattr(plain, name))
    assert found.shares.dtype == found.above.dtype == np.float64
    assert found.shares.shape == (3, 3, 2, 2, 4)
    assert found.above.shape == (3, 3, 2, 2)


def test_leading_axes_are_kept(backend):
    a, b = coupled(6)
    engine = engine_of()
    flat, shaped = found_by(engine, a, b), found_by(engine, a.reshape(2, 3, N), b.reshape(3, 1, 2, N))
    assert shaped.shares.shape == (2, 3, 3, 1, 2, 2, 2, 4)
    assert_array_equal(shaped.shares.reshape(flat.shares.shape), flat.shares)
    assert_array_equal(shaped.above.reshape(flat.above.shape), flat.above)


@pytest.mark.parametrize(("name", "size"), [("BLOCK_BYTES", 1 << 14), ("TILE_BYTES", 1 << 14), ("threads", 3)])
def test_how_the_work_is_split_changes_nothing(monkeypatch, name, size):
    a, b = coupled(20)
    engine = engine_of()
    plain = found_by(engine, a, b)
    if name == "threads":
        engine.backend = NumpyBackend(size)
    else:
        monkeypatch.setattr(numpy_backend, name, size)
    found = found_by(engine, a, b)
    # A cell at the very level may fall to either side: one cell is up to 2e-3 of an epoch.
    assert np.mean(found.above != plain.above) < 0.01
    assert_allclose(found.above, plain.above, rtol=0, atol=2e-3)
    assert_allclose(MEASURES["in_phase"].of(found), MEASURES["in_phase"].of(plain), rtol=0, atol=2e-3)


@pytest.mark.parametrize("accuracy", ["exact", "fast", "reference"])
def test_without_a_coherent_cell_there_are_no_shares_and_without_a_mean_nothing(accuracy):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 2, N))
    a[1] = 0
    found = found_by(engine_of(accuracy), a, b, PhaseShares(0.9999))
    assert np.isnan(found.shares).all()
    assert_array_equal(found.above[0], 0)
    assert np.isnan(found.above[1]).all()
    assert_array_equal(MEASURES["in_phase"].of(found)[0], 0)
    assert np.isnan(MEASURES["in_phase"].of(found)[1]).all()


# --- words ------------------------------------------------------------------------------------------------------------


def test_impossible_levels_and_edges_are_refused():
    for level in (-0.1, 1, np.nan, "high", True):
        refusal(lambda level=level: PhaseShares(level), "level", repr(level))
    for edges in ((0, 90), (100, 90), (45, 180), (np.nan, 90), ("a", 90)):
        refusal(lambda edges=edges: PhaseShares(0.7, *edges), "in_phase", repr(edges))
    engine = engine_of()
    u = engine.features(coupled(1)[0])
    refusal(lambda: engine.coherence(u, u, shares=0.7), "shares", "0.7")
    assert PhaseShares(in_phase=90, anti_phase=90).anti_phase == 90


def test_fisher_z_is_half_the_log_of_the_odds_of_r():
    r = np.array([0.1, 0.5, 0.9])
    assert_allclose(fisher_z(r**2), 0.5 * np.log((1 + r) / (1 - r)), rtol=1e-14)
    assert_array_equal(fisher_z([0.0, 1.0, np.nan]), [0, np.inf, np.nan])


# --- studies ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two dyads of three channels, 60 s."""
    recordings, rows = [], []
    for k in range(2):
        people = []
        for who, x in zip("ab", coupled(3, seed=k), strict=True):
            recording = Recording(
                f"{who}{k}", participant=f"{who}{k}", session="1", task="", run="", sfreq=SFREQ, n_samples=N, t0=0.0,
                channels=("S1_D1", "S1_D2", "S2_D2"), good=(True,) * 3, signal_names=("hbo",), events=(),
            )  # fmt: skip
            people.append(recording)
            recordings.append((recording, {"hbo": x.astype(np.float32)}))
        rows.append(DyadRow(f"d{k}", "1", "", *people, *(who.participant for who in people)))
    path = tmp_path_factory.mktemp("study") / "two.h5"
    write_study(path, recordings, {}, rows)
    return Study.open(path)


@pytest.fixture(scope="module")
def real(study):
    return study.synchrony(WTC(BANDS), shares=True)


def test_synchrony_with_shares_holds_them_dyad_by_dyad(study, real):
    assert set(real.data_vars) >= VARIABLES
    assert json.loads(real.attrs["phase_shares"]) == {"level": 0.7, "in_phase": 45.0, "anti_phase": 135.0}
    row = study.dyads[1]
    engine = Engine(row.recording_a.n_samples, row.recording_a.sfreq, WTC(BANDS))
    a, b = (engine.features(study.signals(who, "hbo")) for who in (row.recording_a, row.recording_b))
    found = engine.coherence(a, b, shares=True)
    one = real.isel(dyad=1, epoch=0)
    assert_array_equal(one["share_above"], found.above[..., 0])
    for k, name in enumerate(PHASES):
        variable = real[f"share_{name}"]
        assert_array_equal(one[f"share_{name}"], found.shares[..., 0, k])
        assert variable.dims == ("dyad", "epoch", "channel_a", "channel_b", "band")
        assert variable.attrs["units"] == "1"
        assert name.replace("_", " ") in variable.attrs["long_name"]
    assert np.isfinite(real["share_above"]).all()


def test_synchrony_without_shares_is_the_same_without_them(study, real):
    plain = study.synchrony(WTC(BANDS))
    assert set(real.data_vars) - set(plain.data_vars) == VARIABLES
    assert "phase_shares" not in plain.attrs
    for name in plain.data_vars:
        assert_array_equal(plain[name], real[name])


def test_unwanted_pairs_have_no_shares_and_other_levels_are_kept(study):
    found = study.synchrony(WTC(BANDS), pairs="same", shares=PhaseShares(0.3, 60, 120))
    assert json.loads(found.attrs["phase_shares"]) == {"level": 0.3, "in_phase": 60.0, "anti_phase": 120.0}
    unwanted = ~np.eye(3, dtype=bool)
    for name in VARIABLES:
        assert np.isnan(found[name].values[:, :, unwanted]).all()
    assert np.isfinite(found["share_above"].values[:, :, ~unwanted]).all()


def test_fisher_z_stands_beside_coherence(real):
    assert_allclose(real["fisher_z"], np.arctanh(np.sqrt(real["coherence"])), rtol=1e-14)
    assert real["fisher_z"].attrs["units"] == "1"


def test_shares_are_saved_and_loaded_and_leave_the_table_alone(study, real, tmp_path):
    again = load(save_dataset(real, tmp_path / "real.nc")).dataset
    assert again.identical(real)
    assert tidy_table(again).equals(tidy_table(study.synchrony(WTC(BANDS))))
