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

ROOT = Path(__file__).parents[1]
KEPT = ROOT / "tests" / "data" / "couplings.h5"
N_SAMPLES, SFREQ, BAND = 2000, 100.0, (8.0, 13.0)
N_TRIALS, N_TRIAL, BIN = 40, 200, 20
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


def keep_oracles() -> None:
    """Run the other programs, and keep their numbers."""
    import mne
    import scipy.fft
    import scipy.signal
    from hypyp.analyses import compute_sync
    from mne_connectivity import spectral_connectivity_epochs

    x, trials = signals()
    reach = 82  # half of the filter that MNE makes for this band and rate
    apart = np.pad(x - x.mean(axis=-1, keepdims=True), ((0, 0), (0, 0), (2 * N_SAMPLES, 2 * N_SAMPLES)))
    filtered = mne.filter.filter_data(apart, SFREQ, *BAND, verbose=False)
    n = scipy.fft.next_fast_len(N_SAMPLES + 2 * reach, real=True)  # as we pad
    start = 2 * N_SAMPLES - reach
    z = scipy.signal.hilbert(filtered[..., start : start + n])[..., 2 * reach : N_SAMPLES]
    with h5py.File(KEPT, "w") as file:
        file.attrs.update({name: version(name) for name in ("hypyp", "mne", "mne-connectivity", "numpy", "scipy")})
        file["signals"], file["trials"] = x.astype(np.float32), trials.astype(np.float32)
        for name, theirs in HYPYP.items():
            found = compute_sync(z[:, None, :, None], theirs, optimization=None)  # [frequency, channel, channel]
            file[f"hypyp/{name}"] = np.asarray(found)[0, :3, 3:]
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
    found: dict[str, dict[str, Any]] = {"hypyp": {}, "mne": {}}
    for name in HYPYP:
        engine = Engine(N_SAMPLES, SFREQ, Coupling(name, {"alpha": BAND}), backend="numpy")
        found["hypyp"][name] = engine.measure(engine.features(x[0]), engine.features(x[1]), name)[..., 0, 0]
    found["hypyp"]["imcoh"] = abs(found["hypyp"]["imcoh"])  # HyPyP gives the modulus
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
    programs = {"hypyp": ("HyPyP", HYPYP), "mne": ("MNE-Connectivity", MNE)}
    with h5py.File(KEPT, "r") as file:
        found, lines = ours(file), []
        for program, (name, words) in programs.items():
            for measure, theirs in words.items():
                off = abs(found[program][measure] - file[program][measure][:])
                lines.append(f"| `{measure}` | {name} `{theirs}` | {off.max():.1e} | {np.median(off):.1e} |")
        versions = ", ".join(f"{name} {value}" for name, value in sorted(file.attrs.items()))
    return _PAGE.format(versions=versions, rows="\n".join(lines))


_PAGE = """\
# Conformance of couplings

Written by `benchmarks/conformance.py`. The other programs were run once; their numbers lie in `tests/data`, and a test
compares every one of them to 1e-6. Versions: {versions}.

HyPyP: nine pairs of channels, 20 s at 100 Hz, 8 to 13 Hz; it was given MNE-Python's filter of the signals with zeros
around them and SciPy's Hilbert transform, padded as ours, over the samples from which the filter sees no end: what
[measures.md](measures.md) defines. MNE-Connectivity: 40 trials of 2 s, one
Fourier coefficient (10 Hz) of each, over which it sums where we sum over samples: what is compared is the formula.

| measure | against | largest difference | median |
| --- | --- | --- | --- |
{rows}

What differs by definition: HyPyP's `imcoh` is the modulus of ours. Its `coh`, like ours and MNE's, is the modulus of
the coherency: square it to compare with a magnitude-squared coherence. MNE's `imcoh` has our sign: positive where the
first channel leads. MNE-Connectivity's `envelope_correlation` makes signals orthogonal first, unless told otherwise;
two heads share no currents, and ours does not. Our `correlation` has no counterpart in either program.
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
