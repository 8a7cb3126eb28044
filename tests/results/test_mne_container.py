"""Synchrony of a dyad as MNE-Connectivity keeps it."""

import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from refusals import plan_refusal, refusal

import ibsync as ibs
from ibsync.errors import InputError

EPOCHS = {"early": (0, 30), "late": (30, 60)}


@pytest.fixture(scope="module")
def real():
    rng = np.random.default_rng(0)
    people = {(person, day): rng.standard_normal((n, 600)) for person, n in (("p", 3), ("q", 3)) for day in "12"}
    study = ibs.Study.from_arrays(people, [("d", "p", "q")], sfreq=10.0, signal="hbo")
    return study.synchrony(ibs.WTC({"slow": (0.2, 0.5), "fast": (0.5, 1.0)}), epochs=EPOCHS)


@pytest.mark.parametrize("value", [None, "phase"])
def test_connections_are_the_pairs_of_channels_by_band(real, value):
    pytest.importorskip("mne_connectivity")
    made = ibs.to_mne_connectivity(real, "d", session="2", epoch="late", value=value)
    expected = real[value or "coherence"].values[1, 1]
    assert_allclose(made.get_data(), expected.reshape(9, 2))
    dense = made.get_data("dense")
    assert dense.shape == (6, 6, 2)
    assert_allclose(dense[1, 3 + 2], expected[1, 2])
    assert list(made.names) == [*(f"a: ch{k}" for k in (1, 2, 3)), *(f"b: ch{k}" for k in (1, 2, 3))]
    assert_array_equal(made.freqs, [0.1**0.5, 0.5**0.5])


def test_what_is_no_single_dyad_is_refused_with_the_fix(real, monkeypatch):
    monkeypatch.setitem(sys.modules, "mne_connectivity", None)
    refusal(InputError, lambda: ibs.to_mne_connectivity(real, "d"), "pip install mne-connectivity")
    monkeypatch.undo()
    pytest.importorskip("mne_connectivity")
    plan_refusal(lambda: ibs.to_mne_connectivity(real, "d"), "2 rows", "name one")
    plan_refusal(lambda: ibs.to_mne_connectivity(real, "d", session="1"), "early, late")
    plan_refusal(lambda: ibs.to_mne_connectivity(real, "d", session="1", epoch="lat"), "late")
    plan_refusal(lambda: ibs.to_mne_connectivity(real, "d", session="1", epoch="late", value="plv"), "value='plv'")
