import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from ibsync.errors import PlanError
from ibsync.nulls import surrogate_signals as families
from ibsync.nulls.random_streams import Purpose, purpose_word, stream
from ibsync.nulls.surrogate_signals import FAMILIES, block_order, fit_ar, fit_ar1, shifts, surrogates

WHO = {"seed": 7, "entity": 0xC0FFEE}
OPTIONS = {"block": {"block": 10}, "iaaft": {"n_iterations": 5}}
RANDOM_SPECTRUM = ("ar1", "ar")


def autoregression(weights, shape, *, seed=0, burn=2000):
    """Gaussian process x(t) = sum of weights[j - 1] x(t - j) + noise, from scipy."""
    from scipy.signal import lfilter

    noise = np.random.default_rng(seed).standard_normal((*shape[:-1], shape[-1] + burn))
    return lfilter([1.0], [1.0, *-np.asarray(weights)], noise)[..., burn:]


def person(n_channels=4, n_samples=256, seed=0):
    """Autocorrelated, correlated channels with means."""
    own = autoregression([0.9], (n_channels, n_samples), seed=seed)
    shared = autoregression([1.6, -0.8], (n_samples,), seed=seed + 100)
    return own + shared + np.arange(n_channels)[:, None]


def drawn(kind, x, draws, **changes):
    return surrogates(kind, x, np.asarray(draws), **{**WHO, **OPTIONS.get(kind, {}), **changes})


def spectra(x):
    return np.fft.rfft(x - np.mean(x, axis=-1, keepdims=True))


def cross_spectra(x):
    transformed = spectra(x)
    return transformed[..., :, None, :] * transformed[..., None, :, :].conj()


def spectral_error(drawn, x):
    """Root mean square over frequencies of the change of |rfft|, relative to that of |rfft|."""
    kept, made = np.abs(spectra(x))[..., 1:], np.abs(spectra(drawn))[..., 1:]
    return np.sqrt(((made - kept) ** 2).sum(axis=-1) / (kept**2).sum(axis=-1))


@pytest.mark.parametrize("kind", FAMILIES)
def test_draw_zero_is_the_recording_bit_for_bit(kind):
    x = person()
    got = drawn(kind, x, [3, 0, 5])
    assert got.shape == (3, *x.shape)
    assert_array_equal(got[1], x)
    assert (got[[0, 2]] != x).any(axis=-1).all()
    single = drawn(kind, x.astype(np.float32), [0])
    assert single.dtype == np.float64
    assert_array_equal(single[0], x.astype(np.float32))


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.parametrize("n_samples", [250, 251])
def test_a_draw_does_not_know_its_batch(kind, n_samples):
    x, draws = person(n_samples=n_samples), np.arange(12)
    whole = drawn(kind, x, draws)
    for n_parts in (2, 5, 12):
        parts = [drawn(kind, x, part) for part in np.array_split(draws, n_parts)]
        assert_array_equal(np.concatenate(parts), whole)
    assert_array_equal(drawn(kind, x, draws[::-1])[::-1], whole)
    assert drawn(kind, x, []).shape == (0, *x.shape)


@pytest.mark.parametrize("kind", FAMILIES)
def test_seed_person_session_and_draw_change_a_surrogate(kind):
    x = person(n_samples=1000)
    base = drawn(kind, x, [1, 2])
    others = [
        drawn(kind, x, [1, 2], seed=8),
        drawn(kind, x, [1, 2], entity=0xC0FFEF),
        drawn(kind, x, [1, 2], variant=1),
        drawn(kind, x, [3, 4]),
        base[::-1],
    ]
    assert all((other != base).mean() > 0.9 for other in others)


@pytest.mark.parametrize("kind", FAMILIES)
def test_missing_and_constant_channels_stay_and_disturb_nothing(kind):
    x = person(5, 200)
    x[1], x[3] = np.nan, 0.1
    got = drawn(kind, x, np.arange(4))
    assert_array_equal(got[:, [1, 3]], np.broadcast_to(x[[1, 3]], (4, 2, 200)))
    assert_array_equal(got[:, [0, 2, 4]], drawn(kind, x[[0, 2, 4]], np.arange(4)))
    nothing = np.full((2, 50), np.nan)
    assert_array_equal(drawn(kind, nothing, [0, 1]), np.stack([nothing, nothing]))


@pytest.mark.parametrize("kind", FAMILIES)
def test_the_signals_given_are_not_written_to(kind):
    x = person()
    x.flags.writeable = False
    drawn(kind, x, [1])
    drawn(kind, x, [0])[:] = 1
    assert (x != 1).all()


@pytest.mark.parametrize("n_samples", [300, 301, 4, 3])
def test_turned_phases_keep_power_mean_and_cross_spectra(n_samples):
    x = person(n_samples=n_samples)
    got = drawn("phase", x, np.arange(1, 20))
    largest = np.abs(np.fft.rfft(x)).max()
    assert_allclose(np.abs(np.fft.rfft(got)), np.broadcast_to(np.abs(np.fft.rfft(x)), np.fft.rfft(got).shape),
                    rtol=1e-12, atol=1e-14 * largest)  # fmt: skip
    assert_allclose(got.mean(axis=-1), np.broadcast_to(x.mean(axis=-1), (19, 4)), rtol=1e-12)
    ends = [0] if n_samples % 2 else [0, -1]
    assert_allclose(
        np.fft.rfft(got)[..., ends], np.broadcast_to(np.fft.rfft(x)[:, ends], (19, 4, len(ends))), atol=1e-14 * largest
    )
    kept = cross_spectra(x)
    assert_allclose(cross_spectra(got), np.broadcast_to(kept, (19, *kept.shape)), rtol=1e-9,
                    atol=1e-12 * np.abs(kept).max())  # fmt: skip
    turned = np.fft.rfft(got)[..., 1 : (n_samples + 1) // 2] / np.fft.rfft(x)[..., 1 : (n_samples + 1) // 2]
    assert (np.abs(turned - 1) > 1e-3).mean() > 0.99


@pytest.mark.parametrize("n_samples", [16, 17])
def test_turned_phases_are_built_from_the_words_of_the_stream(n_samples):
    x, draw = person(2, n_samples), 4242
    words = stream(5, np.array([draw]), 8, entity=9, purpose=purpose_word(Purpose.PHASE, 3))[:, 0]
    time = np.arange(n_samples)
    for channel, got in enumerate(surrogates("phase", x, np.array([draw]), seed=5, entity=9, variant=3)[0]):
        slow = np.zeros(n_samples)
        for f in range(n_samples // 2 + 1):
            weight = (x[channel] * np.exp(-2j * np.pi * f * time / n_samples)).sum() / n_samples
            own = 1 if f in (0, n_samples / 2) else 2
            if own == 2:
                angle = int(words[f // 2]) >> 16 if f % 2 else int(words[f // 2]) & 0xFFFF
                weight *= np.exp(2j * np.pi * angle / 65536)
            slow += own * (weight * np.exp(2j * np.pi * f * time / n_samples)).real
        assert_allclose(got, slow, rtol=1e-11, atol=1e-11)


def test_phases_between_people_are_uniform_and_independent():
    x, y = person(1, 32, seed=1), person(1, 32, seed=2)
    n_draws = 4000
    got = drawn("phase", y, np.arange(1, n_draws + 1))[:, 0]
    relative = (spectra(got) * spectra(x)[0].conj())[:, 1:16]
    vectors = relative / np.abs(relative)
    # Rayleigh: n R^2 is exponential for uniform angles; 12 is passed with probability 6e-6 by each of 45 numbers.
    for order in (1, 2, 3):
        assert (n_draws * np.abs((vectors**order).mean(axis=0)) ** 2).max() < 12
    between = np.abs(vectors.conj().T @ vectors / n_draws) ** 2 * n_draws
    assert between[~np.eye(15, dtype=bool)].max() < 16
    stranger = drawn("phase", y, np.arange(1, n_draws + 1), entity=1)[:, 0]
    apart = spectra(got)[:, 1:16] * spectra(stranger)[:, 1:16].conj()
    assert (n_draws * np.abs((apart / np.abs(apart)).mean(axis=0)) ** 2).max() < 12


def fnirs_like(n_samples=500, n_channels=4):
    from ibsync.simulation.simulate import simulate

    made = simulate(n_dyads=1, n_channels=n_channels, duration=n_samples / 2, sfreq=2.0, seed=3).hbo[0, 0, 0]
    return made.astype(np.float64) * 1e7


@pytest.mark.parametrize("n_samples", [500, 1201])
def test_iaaft_keeps_values_and_nearly_the_spectrum(n_samples):
    x = fnirs_like(n_samples)
    got = drawn("iaaft", x, np.arange(1, 6), n_iterations=100)
    assert_array_equal(np.sort(got, axis=-1), np.broadcast_to(np.sort(x, axis=-1), got.shape))
    assert spectral_error(got, x).max() <= 1e-2
    # Far from what it started with: neither the recording nor a shift of it.
    assert np.abs(np.fft.irfft(spectra(got) * spectra(x).conj())).max() < 0.8 * (n_samples * x.var(axis=-1)).max()


def test_iaaft_error_does_not_grow():
    x = np.concatenate([fnirs_like(), np.exp(fnirs_like(n_channels=2))])
    errors = [
        spectral_error(drawn("iaaft", x, np.arange(1, 5), n_iterations=n), x) for n in (1, 2, 3, 5, 10, 20, 50, 100)
    ]
    assert np.diff(errors, axis=0).max() < 1e-3 * np.max(errors)
    assert (errors[-1] < 0.5 * errors[0]).all()


def test_iaaft_keeps_tied_values():
    x = np.round(3 * fnirs_like())
    got = drawn("iaaft", x, np.arange(1, 4), n_iterations=100)
    assert max(np.unique(row).size for row in x) < 30
    assert_array_equal(np.sort(got, axis=-1), np.broadcast_to(np.sort(x, axis=-1), got.shape))
    assert spectral_error(got, x).max() < 0.1


def test_iaaft_stops_where_further_iterations_change_nothing():
    x = fnirs_like(200)
    assert_array_equal(drawn("iaaft", x, [1], n_iterations=300), drawn("iaaft", x, [1], n_iterations=400))


def test_iaaft_follows_its_definition():
    x, n_iterations = person(2, 60), 7
    got = drawn("iaaft", x, [9], n_iterations=n_iterations)[0]
    words = stream(WHO["seed"], np.array([9]), 16, entity=WHO["entity"], purpose=purpose_word(Purpose.IAAFT))[:, 0]
    angles = words.astype("<u4").view("<u2")[1:30] / 65536
    for channel in range(2):
        spectrum = np.fft.rfft(x[channel])
        spectrum[1:30] *= np.exp(2j * np.pi * angles)
        signal = np.fft.irfft(spectrum)
        for _ in range(n_iterations):
            signal = np.sort(x[channel])[np.argsort(np.argsort(signal))]
            phase = np.angle(np.fft.rfft(signal))
            signal = np.fft.irfft(np.abs(np.fft.rfft(x[channel])) * np.exp(1j * phase))
        assert_array_equal(got[channel], np.sort(x[channel])[np.argsort(np.argsort(signal))])


def test_iaaft_keeps_cross_spectra_within_a_person_closely():
    x = fnirs_like(2000)
    pairs = ~np.eye(4, dtype=bool)
    kept = cross_spectra(x)[pairs]
    for made in drawn("iaaft", x, np.arange(1, 4), n_iterations=100):
        error = np.abs(cross_spectra(made)[pairs] - kept)
        assert np.sqrt((error**2).sum() / (np.abs(kept) ** 2).sum()) < 0.2
        assert np.abs(np.corrcoef(made) - np.corrcoef(x)).max() < 0.05


def test_iaaft_of_skewed_channels_is_no_shift_of_the_recording():
    x = np.exp(fnirs_like(500, 8))
    x = (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)
    made = drawn("iaaft", x, np.arange(1, 4), n_iterations=100)
    agreement = np.fft.irfft((spectra(made) * spectra(x).conj()).sum(axis=1)) / x.size
    assert np.abs(agreement).max() < 0.5


def test_a_shift_is_a_roll_of_all_channels():
    x = person(3, 101)
    draws = np.arange(60)
    moved = shifts(101, draws, **WHO)
    got = drawn("shift", x, draws)
    for row, shift in zip(got, moved, strict=True):
        assert_array_equal(row, np.roll(x, shift, axis=1))
        assert_array_equal(row[:, 50], x[:, (50 - shift) % 101])
    assert_array_equal(np.sort(got), np.broadcast_to(np.sort(x), got.shape))
    assert_allclose(np.abs(spectra(got)), np.broadcast_to(np.abs(spectra(x)), (60, 3, 51)), rtol=1e-10, atol=1e-12)
    kept = cross_spectra(x)
    assert_allclose(cross_spectra(got), np.broadcast_to(kept, (60, *kept.shape)), atol=1e-12 * np.abs(kept).max())


def test_every_shift_occurs_equally_often_and_none_is_left_out():
    from scipy.stats import chisquare

    moved = shifts(23, np.arange(1, 23_001), **WHO)
    counts = np.bincount(moved, minlength=23)
    assert moved.dtype == np.int64
    assert counts.size == 23
    assert chisquare(counts).pvalue > 1e-4
    assert shifts(23, np.array([5, 0]), **WHO)[1] == 0


@pytest.mark.parametrize(("n_samples", "block"), [(60, 10), (67, 10), (20, 10), (9, 1)])
def test_blocks_are_permuted_whole(n_samples, block):
    n_blocks = n_samples // block
    x = person(3, n_samples)
    draws = np.arange(200)
    order = block_order(n_samples, block, draws, **WHO)
    assert order.dtype == np.int64
    assert_array_equal(order[0], np.arange(n_samples))
    assert_array_equal(np.sort(order), np.broadcast_to(np.arange(n_samples), order.shape))
    whole = order[:, : n_blocks * block].reshape(200, n_blocks, block)
    assert (whole[..., 0] % block == 0).all()
    assert_array_equal(whole - whole[..., :1], np.broadcast_to(np.arange(block), whole.shape))
    assert_array_equal(order[:, n_blocks * block :], np.broadcast_to(np.arange(n_blocks * block, n_samples),
                                                                      (200, n_samples - n_blocks * block)))  # fmt: skip
    assert {tuple(np.unique(whole[:, place, 0] // block)) for place in range(n_blocks)} == {tuple(range(n_blocks))}
    got = surrogates("block", x, draws, block=block, **WHO)
    assert_array_equal(got, np.moveaxis(x[:, order], 1, 0))


# Mean of 600 estimates for the AR(1) of each row: g, samples, plain, corrected.
BIAS = [(0.9, 300, 0.8876, 0.9000), (0.98, 300, 0.9636, 0.9765)]


@pytest.mark.parametrize(("g", "n_samples", "plain", "corrected"), BIAS)
def test_lag_one_bias_is_that_of_the_literature(g, n_samples, plain, corrected):
    x = autoregression([g], (400, n_samples), seed=11)
    uncorrected = fit_ar(x, 1).coefficients[:, 0]
    for got, expected in ((uncorrected, plain), (fit_ar1(x), corrected)):
        # Both means are of finite samples.
        error = got.std() * np.sqrt(1 / 400 + 1 / 600)
        assert abs(got.mean() - expected) < 3 * error
    assert abs(fit_ar1(x).mean() - g) < abs(uncorrected.mean() - g) / 3


@pytest.mark.parametrize("n_samples", [4, 20, 100, 300])
@pytest.mark.parametrize("g", [-0.9, 0.0, 0.95, 0.99, 0.999])
def test_lag_one_is_never_missing(g, n_samples):
    got = fit_ar1(autoregression([g], (300, n_samples), seed=2))
    assert (np.abs(got) <= families.LARGEST_AR1).all()


def test_lag_one_of_a_trend_of_nothing_and_of_no_signal():
    x = np.stack([np.linspace(0, 1, 50), np.full(50, 0.1), np.full(50, np.nan), (-1.0) ** np.arange(50)])
    assert_array_equal(fit_ar1(x[1:3]), [0, np.nan])
    assert 0.9 < fit_ar1(x)[0] <= families.LARGEST_AR1
    assert fit_ar1(x)[3] == -families.LARGEST_AR1
    for kind in RANDOM_SPECTRUM:
        assert np.isfinite(drawn(kind, x[[0, 3]], [1])).all()


def power(weights, variance, n_samples):
    """Spectral density of an autoregression at the frequencies of rfft, in units of |rfft|^2 / n."""
    omega = 2 * np.pi * np.fft.rfftfreq(n_samples)
    lags = np.arange(1, len(weights) + 1)
    return variance / np.abs(1 - np.exp(-1j * np.outer(omega, lags)) @ weights) ** 2


def banded(values, n_bands=12):
    return np.array([band.mean() for band in np.array_split(values[1:], n_bands)])


@pytest.mark.parametrize("kind", RANDOM_SPECTRUM)
def test_ensemble_spectrum_is_that_of_the_model(kind):
    x = autoregression([0.8] if kind == "ar1" else [1.2, -0.7], (1, 1000), seed=4) * 3 + 5
    made = drawn(kind, x, np.arange(1, 801))[:, 0]
    model = families.Autoregression(fit_ar1(x)[:, None]) if kind == "ar1" else fit_ar(x)
    variance = x.var() * model.innovation_variance[0]
    expected = power(model.coefficients[0], variance, 1000)
    got = (np.abs(np.fft.rfft(made - 5)) ** 2).mean(axis=0) / 1000
    assert_allclose(banded(got), banded(expected), rtol=0.05)
    assert_allclose(made.var(axis=0).mean(), x.var(), rtol=0.05)
    assert abs(made.mean() - x.mean()) < 4 * np.sqrt(expected[0] / made.size)


def test_an_autoregression_is_stationary_from_its_first_sample():
    x = autoregression([1.9, -0.95], (1, 400), seed=6)
    made = drawn("ar", x, np.arange(1, 3001), order=2)[:, 0]
    model = fit_ar(x, 2)
    # Yule and Walker: lag-1 correlation a1 / (1 - a2), also between the first two samples.
    a1, a2 = model.coefficients[0]
    for t in (0, 1, 5, 399):
        assert_allclose(made[:, t].var(), x.var(), rtol=4 * np.sqrt(2 / 3000))
    for t in (0, 1, 200):
        got = np.corrcoef(made[:, t], made[:, t + 1])[0, 1]
        assert_allclose(np.arctanh(got), np.arctanh(a1 / (1 - a2)), atol=4 / np.sqrt(3000))


def test_innovations_correlate_between_channels_as_residuals_do():
    from scipy.signal import lfilter

    mixing = np.linalg.cholesky([[1, 0.8, -0.5], [0.8, 1, -0.3], [-0.5, -0.3, 1]])
    noise = mixing @ np.random.default_rng(1).standard_normal((3, 4000))
    x = np.stack([lfilter([1.0], [1, -g], row) for g, row in zip((0.9, 0.5, 0.0), noise, strict=True)])
    for kind in RANDOM_SPECTRUM:
        made = drawn(kind, x, [1, 2, 3])
        for row in made:
            residuals = np.stack([lfilter([1, -g], [1.0], y)[1:] for g, y in zip((0.9, 0.5, 0.0), row, strict=True)])
            assert_allclose(np.corrcoef(residuals), mixing @ mixing.T, atol=0.07)
    twins = drawn("ar1", x[[0, 0, 1]], [1])[0]
    assert_allclose(twins[0], twins[1], rtol=1e-7, atol=1e-7)


def test_a_known_autoregression_is_recovered():
    x = autoregression([1.5, -0.75], (30, 3000), seed=8)
    model = fit_ar(x, 2)
    assert_array_equal(model.order, np.full(30, 2))
    assert_allclose(model.coefficients.mean(axis=0), [1.5, -0.75], atol=0.01)
    assert_allclose(x.var(axis=1) * model.innovation_variance, np.ones(30), atol=0.12)
    chosen = fit_ar(x)
    assert (chosen.order == 2).mean() > 0.8
    assert_allclose(chosen.coefficients[:, :2].mean(axis=0), [1.5, -0.75], atol=0.03)
    white = fit_ar(np.random.default_rng(9).standard_normal((50, 500)))
    assert (white.order <= 2).mean() > 0.9
    assert white.order.min() == 1


def test_autoregressions_of_hard_filtered_signals_do_not_run_away():
    from scipy.signal import butter, sosfiltfilt

    narrow = butter(6, (0.01, 0.05), "bandpass", fs=10, output="sos")
    x = sosfiltfilt(narrow, np.random.default_rng(3).standard_normal((2, 4000)))
    assert (fit_ar(x).innovation_variance > 0.9e-12).all()
    for options in ({}, {"order": 30}):
        made = drawn("ar", x, np.arange(1, 201), **options)
        assert_allclose(made.var(axis=-1).mean(axis=0), x.var(axis=-1), rtol=0.25)
        assert_allclose(made[..., -1].var(axis=0), x.var(axis=-1), rtol=0.4)


def test_predictors_solve_the_equations_of_yule_and_walker():
    from scipy.linalg import solve_toeplitz
    from scipy.signal import lfilter

    model = families.Autoregression(np.array([[0.9, -0.5, 0.3, 0.2]]))
    response = lfilter([1.0], [1.0, *-model.coefficients[0]], np.eye(1, 5000)[0])
    covariance = np.array([response[: 5000 - lag] @ response[lag:] for lag in range(5)])
    for order in range(1, 5):
        expected = solve_toeplitz(covariance[:order], covariance[1 : order + 1])
        assert_allclose(model.predictors[order][0, :order], expected, rtol=1e-9, atol=1e-12)
    assert_allclose(model.innovation_variance[0], 1 / covariance[0], rtol=1e-9)


def test_normal_numbers_are_normal():
    from scipy.stats import kstest

    words = stream(1, np.arange(1, 101), 4000, entity=2, purpose=purpose_word(Purpose.AR1))
    for column in words.T[:3]:
        got = families._normals(column, 3, 1333)
        pair = (int(column[6]) + 1) / 2**32, int(column[7]) / 2**32
        assert_allclose(got[0, 6], np.sqrt(-2 * np.log(pair[0])) * np.cos(2 * np.pi * pair[1]), rtol=1e-12)
        assert_allclose(got[0, 7], np.sqrt(-2 * np.log(pair[0])) * np.sin(2 * np.pi * pair[1]), rtol=1e-12)
    many = families._normals(words.reshape(-1), 1, words.size)[0]
    assert kstest(many, "norm").pvalue > 1e-4
    extremes = families._normals(np.array([0, 0, 2**32 - 1, 0], np.uint32), 1, 4)
    assert_allclose(extremes, [[np.sqrt(64 * np.log(2)), 0, 0, 0]], rtol=1e-12)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("aaft", {}, "kind='aaft' is unknown"),
        ("phase", {"block": 3}, "'phase' have no option 'block'; valid: none"),
        ("iaaft", {"n_iteration": 3}, "no option 'n_iteration'; valid: n_iterations"),
        ("iaaft", {"n_iterations": 0}, "n_iterations=0"),
        ("iaaft", {"n_iterations": 2.5}, "n_iterations=2.5"),
        ("block", {}, "need the option block"),
        ("block", {"block": 0}, "block=0"),
        ("block", {"block": 51}, "give 1 to 50"),
        ("block", {"block": 2.0}, "block=2.0"),
        ("ar", {"order": 0}, "order=0"),
        ("ar", {"order": 99}, "order=99"),
        ("ar", {"order": "bic"}, "order='bic'"),
        ("phase", {"variant": -1}, "variant -1"),
        ("phase", {"seed": -1}, "seed -1"),
    ],
)
def test_what_cannot_be_drawn_is_named(kind, options, message):
    with pytest.raises(PlanError, match=message):
        surrogates(kind, person(2, 100), np.arange(3), **{**WHO, **options})


def test_a_channel_with_some_missing_samples_is_not_taken():
    x = person()
    x[0, 3] = np.nan
    for kind in FAMILIES:
        with pytest.raises(AssertionError, match="missing altogether"):
            drawn(kind, x, [1])


def test_rolled_coefficients_are_those_of_the_rolled_signal():
    """On a circle, without padding: why a shift needs no transform of its own, and only the seam is to be left out."""
    rng = np.random.default_rng(5)
    n, scale = 256, 9.0
    x = rng.standard_normal((2, n))
    omega = 2 * np.pi * np.fft.fftfreq(n)
    wavelet = np.where(omega > 0, np.exp(-0.5 * (scale * omega - 6) ** 2), 0)
    draws = np.arange(1, 30)
    where = {"seed": 3, "entity": 8}
    drawn = np.fft.ifft(np.fft.fft(surrogates("shift", x, draws, **where)) * wavelet)
    own = np.fft.ifft(np.fft.fft(x) * wavelet)
    for coefficients, shift in zip(drawn, shifts(n, draws, **where), strict=True):
        assert_allclose(coefficients, np.roll(own, shift, axis=1), rtol=0, atol=1e-12)
