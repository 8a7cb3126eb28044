"""Specifications with controls."""

import numpy as np
from controlled import made
from numpy.testing import assert_allclose

from ibsync.coupling.spec import WTC
from ibsync.questions.multiverse import multiverse


def test_a_multiverse_takes_controls(tmp_path):
    study = made(tmp_path / "s.h5")
    found = multiverse(study, bands={"fast": (0.5, 1)}, signal=("hbo",), alpha=0.2, controls=["resp"])
    real = study.synchrony(WTC({"fast": (0.5, 1)}), controls=["resp"])["coherence"].values
    assert_allclose(found.table["statistic"].iloc[0], np.nanmean(real), rtol=0, atol=1e-5)
