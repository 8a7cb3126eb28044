"""Couplings of band-passed signals against HyPyP and MNE-Connectivity; writes docs/conformance.md.

python benchmarks/conformance.py [-o docs/conformance.md]

The other programs were run once, where both were installed, and their numbers are kept in tests/data/couplings.h5:

python benchmarks/conformance.py --oracle
"""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.signal

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "tests" / "data" / "couplings.h5"
N_SAMPLES, SFREQ, BAND = 2000, 100.0, (8.0, 13.0)
N_TRIALS, N_TRIAL, BIN = 40, 200, 20
N_CUT = 4  # trials that the continuous signals are cut into
N_WTC, WTC_SFREQ, N_PAIRS = 3000, 10.0, 60
HYPYP_ROWS = [0.2, *[1.0] * 13, 0.2]  # over which HyPyP smooths, 12 to the octave
WTC_BANDS = {"0.05-0.1 Hz": (0.05, 0.1), "0.1-0.2 Hz": (0.1, 0.2), "0.2-0.5 Hz": (0.2, 0.5)}
HYPYP = {
    "plv": "plv", "ccorr": "ccorr", "accorr": "accorr", "coh": "coh", "imcoh": "imcoh", "pli": "pli",
    "wpli": "wpli", "envelope": "envcorr", "power": "powcorr",
}  # fmt: skip
"""Ours and what HyPyP calls it."""
MNE = {
    "plv": "plv", "ciplv": "ciplv", "ppc": "ppc", "coh": "coh", "imcoh": "imcoh", "pli": "pli", "wpli": "wpli",
    "dwpli": "wpli2_debiased",
}  # fmt: skip
"""Ours and what MNE-Connectivity calls it."""


def signals() -> tuple[Any, Any]:
    """Two people of three channels [person, channel, sample], and trials of six channels [trial, channel, sample]."""
    rng = np.random.default_rng(0)
    common = rng.standard_normal(N_SAMPLES)
    x = rng.standard_normal((2, 3, N_SAMPLES)) + 0.7 * common
    x[1] = np.roll(x[1], 1, axis=-1)
    trials = rng.standard_normal((N_TRIALS, 6, N_TRIAL)) + 0.6 * rng.standard_normal((N_TRIALS, 1, N_TRIAL))
    trials[:, 3:] = np.roll(trials[:, 3:], 2, axis=-1)
    return x.astype(np.float32).astype(float), trials.astype(np.float32).astype(float)


REACH = 82  # samples to either side that the filter sees that MNE makes for this band and rate


def analytic(x: Any) -> Any:
    """Analytic signals [..., sample] by MNE's filter and SciPy, over the samples from which the filter sees no end."""
    import mne
    import scipy.fft
    import scipy.signal

    length = x.shape[-1]
    margin = [(0, 0)] * (x.ndim - 1) + [(2 * N_SAMPLES, 2 * N_SAMPLES)]
    apart = np.pad(x - x.mean(axis=-1, keepdims=True), margin)
    rows = mne.filter.filter_data(apart.reshape(-1, apart.shape[-1]), SFREQ, *BAND, verbose=False)
    filtered = rows.reshape(apart.shape)
    n = scipy.fft.next_fast_len(length + 2 * REACH, real=True)  # as we pad
    start = 2 * N_SAMPLES - REACH
    return scipy.signal.hilbert(filtered[..., start : start + n])[..., 2 * REACH : length]


def related(pair: int) -> Any:
    """Two people's AR(1) noise of 300 s at 10 Hz, related by a quarter more in each of six pairs: [person, sample]."""
    rng = np.random.default_rng(pair)
    x = scipy.signal.lfilter([1.0], [1.0, -0.9], rng.standard_normal((3, N_WTC)))
    return x[:2] + 0.25 * (pair % 6) * x[2]


def hypyp_wtc() -> Any:
    """HyPyP's mean coherence inside the cone, periods 2 to 20 s: [pair, band]."""
    from hypyp.wavelet.implementations.pywavelets_wavelet import ComplexMorletWavelet
    from hypyp.wavelet.pair_signals import PairSignals

    found = np.empty((N_PAIRS, len(WTC_BANDS)))
    for pair in range(N_PAIRS):
        wavelet = ComplexMorletWavelet(period_range=(2, 20), disable_caching=True)
        made = wavelet.wtc(PairSignals(np.arange(N_WTC) / WTC_SFREQ, *related(pair)))
        freq, inside = 1 / np.asarray(made.periods), np.asarray(made.periods)[:, None] <= np.asarray(made.coi)
        for b, (low, high) in enumerate(WTC_BANDS.values()):
            rows = (freq >= low - 1e-9) & (freq <= high + 1e-9)
            found[pair, b] = np.asarray(made.W)[rows][inside[rows]].mean()
    return found


def keep_oracles() -> None:
    """Run the other programs, and keep their numbers."""
    from hypyp.analyses import compute_sync
    from mne_connectivity import spectral_connectivity_epochs

    x, trials = signals()
    z = analytic(x)
    of_trials = analytic(x.reshape(2, 3, N_CUT, -1)).swapaxes(1, 2)  # [person, trial, channel, sample]
    joined = of_trials.swapaxes(1, 2).reshape(2, 1, 3, 1, -1)
    with h5py.File(KEPT, "w") as file:
        file.attrs.update({name: version(name) for name in ("hypyp", "mne", "mne-connectivity", "numpy", "scipy")})
        file["signals"], file["trials"] = x.astype(np.float32), trials.astype(np.float32)
        for name, theirs in HYPYP.items():
            found = compute_sync(z[:, None, :, None], theirs, optimization=None)  # [frequency, channel, channel]
            file[f"hypyp/{name}"] = np.asarray(found)[0, :3, 3:]
            for kept, of in (("together", joined), ("mean", of_trials[..., None, :])):
                file[f"hypyp trials {kept}/{name}"] = np.asarray(compute_sync(of, theirs, optimization=None))[0, :3, 3:]
        file["hypyp wtc"] = hypyp_wtc()
        indices = np.repeat(range(3), 3), np.tile(range(3, 6), 3)
        for name, theirs in MNE.items():
            made = spectral_connectivity_epochs(
                trials, method=theirs, indices=indices, sfreq=SFREQ, mode="fourier", fmin=0.0, fmax=SFREQ / 2,
                verbose=False,
            )  # fmt: skip
            at = np.flatnonzero(np.isclose(made.freqs, BIN * SFREQ / N_TRIAL))[0]
            file[f"mne/{name}"] = made.get_data()[:, at].reshape(3, 3)


def ours(file: Any) -> dict[str, dict[str, Any]]:
    """Our values beside those that are kept: [channel_a, channel_b] each, by program and measure."""
    from ibsync.coupling.band_spec import Coupling
    from ibsync.coupling.engine import Engine
    from ibsync.coupling.forms import FORMS, PairSums

    x, trials = file["signals"][:].astype(float), file["trials"][:].astype(float)
    found: dict[str, dict[str, Any]] = {"hypyp": {}, "hypyp trials together": {}, "hypyp trials mean": {}, "mne": {}}
    length = N_SAMPLES // N_CUT
    for name in HYPYP:
        engine = Engine(N_SAMPLES, SFREQ, Coupling(name, {"alpha": BAND}), backend="numpy")
        found["hypyp"][name] = engine.measure(engine.features(x[0]), engine.features(x[1]), name)[..., 0, 0]
        whole = Engine(N_SAMPLES, SFREQ, engine.spec, backend="numpy", trial=length)
        found["hypyp trials together"][name] = whole.measure(*map(whole.features, x), name)[..., 0, 0]
        single = Engine(length, SFREQ, engine.spec, backend="numpy")
        each = [
            single.measure(*map(single.features, x[..., start : start + length]), name)[..., 0, 0]
            for start in range(0, N_SAMPLES, length)
        ]
        found["hypyp trials mean"][name] = np.mean(np.abs(each) if name == "imcoh" else each, axis=0)
    for program in ("hypyp", "hypyp trials together"):  # which gives the modulus
        found[program]["imcoh"] = abs(found[program]["imcoh"])
    # MNE sums over trials: its Fourier coefficients take the place of the analytic signal, trials that of samples.
    tapered = (trials - trials.mean(axis=-1, keepdims=True)) * np.hanning(N_TRIAL)
    z = np.fft.rfft(tapered)[:, :, BIN].T[None]
    for name in MNE:
        feature, value = FORMS[name]
        found["mne"][name] = value(PairSums(feature(z[:, :3]), feature(z[:, 3:]), None, None, [(0, N_TRIALS)], 0, np))[
            0
        ]
    return found


def page() -> str:
    """The table of differences."""
    programs = {
        "hypyp": ("HyPyP", HYPYP),
        "hypyp trials together": ("HyPyP, trials joined,", HYPYP),
        "hypyp trials mean": ("HyPyP, mean of trials,", HYPYP),
        "mne": ("MNE-Connectivity", MNE),
    }
    with h5py.File(KEPT, "r") as file:
        found, lines = ours(file), []
        for program, (name, words) in programs.items():
            for measure, theirs in words.items():
                off = abs(found[program][measure] - file[program][measure][:])
                lines.append(f"| `{measure}` | {name} `{theirs}` | {off.max():.1e} | {np.median(off):.1e} |")
        versions = ", ".join(f"{name} {value}" for name, value in sorted(file.attrs.items()))
        wtc = wtc_table(file["hypyp wtc"][:])
    return _PAGE.format(versions=versions, rows="\n".join(lines), wtc=wtc)


def defined(x: Any, y: Any, row_weights: Any) -> Any:
    """Mean R2 inside the cone by the definition, smoothed over rows by other weights: [band]."""
    from ibsync.coupling.transform.cone import cone_of_influence
    from ibsync.coupling.transform.definition import smooth, transform
    from ibsync.coupling.transform.scales import PERIOD_PER_SCALE, textbook_scales

    scale = textbook_scales(N_WTC, 12).scale
    a, b = (transform((side - side.mean()) / side.std(), scale) for side in (x, y))
    weights = np.asarray(row_weights) / np.sum(row_weights)
    cross, *own = (
        smooth(product / scale[:, None], scale, weights, circular=False)
        for product in (a * b.conj(), abs(a) ** 2, abs(b) ** 2)
    )
    freq = WTC_SFREQ / (PERIOD_PER_SCALE * scale)
    inside = PERIOD_PER_SCALE * scale[:, None] <= cone_of_influence(N_WTC)
    value = abs(cross) ** 2 / (own[0] * own[1])
    rows = [(freq >= low) & (freq <= high) for low, high in WTC_BANDS.values()]
    return [value[of_band][inside[of_band]].mean() for of_band in rows]


def wtc_table(theirs: Any) -> str:
    """Wavelet coherence of pairs of signals beside HyPyP's, band by band."""
    import scipy.stats

    import ibsync as ibs

    found = [ibs.wtc(*related(pair), WTC_SFREQ, bands=WTC_BANDS).coherence for pair in range(N_PAIRS)]
    mine, lines = np.array([values[0, 0, :, 0] for values in found]), []
    wide = np.array([defined(*related(pair), HYPYP_ROWS) for pair in range(N_PAIRS)])
    apart = np.arange(N_PAIRS) % 6 == 0
    for b, name in enumerate(WTC_BANDS):
        means = [values[apart, b].mean() for values in (mine, theirs, wide)]
        rank = scipy.stats.spearmanr(mine[:, b], theirs[:, b])[0]
        lines.append(
            f"| {name} | {means[0]:.3f} | {means[1]:.3f} | {means[0] / means[1]:.2f} | {rank:.3f} | {means[2]:.3f} |"
        )
    return "\n".join(lines)


_PAGE = """\
# Conformance

Do the numbers agree with those of other programs? This page is written by `benchmarks/conformance.py`. The other
programs were run once, and their numbers lie in `tests/data`; a test compares every one of them with ours, to 1e-6.
Versions: {versions}.

## Couplings of band-passed signals

**HyPyP.** Nine pairs of channels, 20 s at 100 Hz, 8 to 13 Hz. HyPyP was given analytic signals made by MNE-Python's
filter and SciPy's Hilbert transform, as [measures.md](measures.md) defines them. Its own filter reflects signals at
their ends; values then differ near the ends, by up to 0.02 in slow bands.

**HyPyP, trials.** The same 20 s cut into four trials, each filtered by itself. *Joined*: HyPyP was given the
samples of all trials as one epoch. That is what ibsync computes. *Mean of trials*: HyPyP was given four epochs, and
averaged their values, as it does by default. That is the mean of the values that ibsync computes of each trial as a
recording of its own, and a larger number ([eeg.md](eeg.md)).

**MNE-Connectivity.** 40 trials of 2 s, and one Fourier coefficient (10 Hz) of each. It sums over trials where
ibsync sums over samples, so the formula is what is compared.

| measure | against | largest difference | median |
| --- | --- | --- | --- |
{rows}

These differ by definition:

- HyPyP's `imcoh` is the modulus of ours. MNE's has our sign: positive where the first channel leads.
- `coh` is the modulus of the coherency in all three programs. Square it before you compare it with a
  magnitude-squared coherence.
- MNE-Connectivity's `envelope_correlation` makes signals orthogonal first, unless told otherwise. Two heads share
  no currents, and ours does not.
- Our `correlation` has no counterpart in either program.

## Wavelet coherence

`preset="grinsted-toolbox"` equals the output of Grinsted's program to 1e-14 ([method.md](method.md#presets)). There
are no presets `hypyp` and `matlab`, for these reasons.

**HyPyP.** `ComplexMorletWavelet.wtc` differs from the definition in four places:

- It smooths over 1.2 octaves of scales, Grinsted over 0.6. This makes most of the difference: see the last
  column of the table below.
- At the ends of the range of periods that was asked for it repeats the last row. So the same cell has another value
  where another range was asked for.
- Its wavelet has a centre of 2π, not 6, and a period is its scale, not 1.033 times it.
- It smooths in time on a circle.

A preset would need a second transform and smoothing, and its numbers would still depend on the range of periods. To
compare two projects, compare ranks, or differences from a null of the same program. 60 pairs of AR(1) noise of 300
s at 10 Hz, ten of them unrelated, HyPyP's periods 2 to 20 s, inside the cone:

| band | unrelated, ibsync | unrelated, HyPyP | ratio | rank correlation of all | definition, over 1.2 octaves |
| --- | --- | --- | --- | --- | --- |
{wtc}

The ratio depends on the band, and on the length of the recordings: no single factor
converts one into the other.

**MATLAB.** `wcoherence` could not be run here. By its documentation it averages over `NumScalesToSmooth` scales, by
default as many as `VoicesPerOctave` (12): one octave, between Grinsted's 0.6 and HyPyP's 1.2. Its values are then
below ours too. A preset that was never compared with the program would promise what nobody knows.

`coherence` of `WTC` is magnitude-squared. Take its root before you compare it with one that is not.
"""


def main() -> None:
    """Keep the numbers of the other programs, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--oracle", action="store_true", help="run the other programs")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "docs" / "conformance.md")
    arguments = parser.parse_args()
    if arguments.oracle:
        keep_oracles()
        return
    sys.path.insert(0, str(ROOT))
    arguments.output.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
