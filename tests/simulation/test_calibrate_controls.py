"""Calibration of tests with controls."""

import pytest
from controlled import made
from refusals import plan_refusal

from ibsync.coupling.spec import WTC
from ibsync.simulation.calibrate import calibrate

FAST = WTC({"fast": (0.5, 1)})


@pytest.mark.parametrize(("kind", "how"), [("repair", "own"), ("phase", "both"), ("phase", "regression")])
def test_calibration_takes_controls(tmp_path, kind, how):
    study = made(tmp_path / "s.h5").select(duration=30)
    words = {"controls": ["short", "resp"], "how": how, "n_sims": 2, "couplings": (0.8,), "pairs": "same"}
    n = {"phase": 3, "repair": None}[kind]
    assert calibrate(study, FAST, kind=kind, n=n, alpha=0.5, **words).n_sims == 2


def test_the_global_mean_is_refused(tmp_path):
    study = made(tmp_path / "s.h5")
    plan_refusal(lambda: calibrate(study, FAST, controls=["global"], how="own"), "no 'global' mean", "leave it out")
