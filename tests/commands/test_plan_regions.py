"""Regions of interest in plan files: run, check and refusals."""

import json

import pytest
from controlled import made
from refusals import refusal

from ibsync.commands.calibrate import calibrate_plan
from ibsync.commands.run import check_study, run_plan
from ibsync.errors import IbsyncError
from ibsync.results.result import load

PLAN = """
study = "study.h5"
report = "report.html"
[wtc]
bands = {{ fast = [0.5, 1.0] }}
[synchrony.rois]
{rois}
[test]
correct = ["max"]
alpha = 0.2
"""
SAME = 'front = ["S1_D1", "S1_D2"]\nback = ["S2_D2"]'


@pytest.fixture
def plan(tmp_path):
    made(tmp_path / "study.h5")

    def write(rois):
        (tmp_path / "plan.toml").write_text(PLAN.format(rois=rois))
        return tmp_path / "plan.toml"

    return write


@pytest.mark.parametrize("rois", [SAME, f"[synchrony.rois.a]\n{SAME}\n[synchrony.rois.b]\n{SAME}"])
def test_a_plan_takes_regions(plan, tmp_path, rois):
    path = plan(rois)
    assert not check_study(tmp_path / "study.h5", path).problems
    run_plan(path)
    result = load(tmp_path / "plan_result.h5")
    assert list(result.dataset["channel_a"].values) == ["front", "back"]
    assert json.loads(result.dataset.attrs["rois"])["average"] == "coherence"
    assert result.dataset["n_pairs"].dtype.kind == "i"
    page = (tmp_path / "report.html").read_text()
    assert "front" in page
    assert "pairs of regions" in page


@pytest.mark.parametrize(
    ("rois", "part"),
    [
        ('front = ["S1_D3"]', "did you mean"),
        ("front = []", "synchrony.rois"),
        ('front = "S1_D1"', "synchrony.rois"),
    ],
)
def test_what_cannot_be_is_refused(plan, rois, part):
    refusal(IbsyncError, lambda: run_plan(plan(rois)), part)


def test_calibration_has_no_regions(plan, tmp_path):
    refusal(IbsyncError, lambda: calibrate_plan(tmp_path / "study.h5", plan(SAME)), "synchrony.rois")
