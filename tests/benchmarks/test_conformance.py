"""Couplings against the kept numbers of HyPyP and MNE-Connectivity, and the page that tells of them."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest
from benchmark_files import load
from numpy.testing import assert_allclose

from ibsync.coupling.measures import COUPLINGS

ROOT = Path(__file__).parents[2]
conformance = load("conformance")
OF_NO_PROGRAM = {"correlation", "xcorr"}


@pytest.mark.parametrize("program", ["hypyp", "hypyp trials together", "hypyp trials mean", "mne"])
def test_couplings_are_those_of_the_other_programs(program):
    with h5py.File(conformance.KEPT, "r") as file:
        found = conformance.ours(file)[program]
        assert set(found) == set(file[program])
        for name, values in found.items():
            assert_allclose(values, file[program][name][:], rtol=0, atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_wavelet_coherence_ranks_pairs_as_hypyp_does():
    with h5py.File(conformance.KEPT, "r") as file:
        theirs = file["hypyp wtc"][:]
    lines = conformance.wtc_table(theirs).splitlines()
    assert all(line in (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8") for line in lines)
    assert all(float(line.split("|")[5]) > 0.95 for line in lines)


def test_every_measure_has_an_oracle():
    assert set(conformance.HYPYP) | set(conformance.MNE) == set(COUPLINGS) - OF_NO_PROGRAM


def test_the_page_names_every_comparison():
    page = (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8")
    programs = {"HyPyP": conformance.HYPYP, "MNE-Connectivity": conformance.MNE}
    programs |= dict.fromkeys(("HyPyP, trials joined,", "HyPyP, mean of trials,"), conformance.HYPYP)
    for name, words in programs.items():
        for ours, theirs in words.items():
            assert f"| `{ours}` | {name} `{theirs}` |" in page
