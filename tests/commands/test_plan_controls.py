"""Controls in plan files: run, check and refusals."""

import json

import pytest
from controlled import made
from refusals import refusal

from ibsync.commands.run import check_study, run_plan
from ibsync.errors import IbsyncError
from ibsync.results.result import load

PLAN = """
study = "study.h5"
[wtc]
bands = {{ fast = [0.5, 1.0] }}
[synchrony]
pairs = "same"
{keys}
[test]
correct = ["max"]
alpha = 0.2
"""


@pytest.fixture
def plan(tmp_path):
    made(tmp_path / "study.h5")

    def write(keys):
        (tmp_path / "plan.toml").write_text(PLAN.format(keys=keys))
        return tmp_path / "plan.toml"

    return write


def test_a_plan_takes_controls(plan, tmp_path):
    path = plan('controls = ["short", "heart_rate"]\nhow = "both"\nn_components = 1')
    assert not check_study(tmp_path / "study.h5", path).problems
    run_plan(path)
    result = load(tmp_path / "plan_result.h5")
    expected = {"of": ["short", "heart_rate"], "how": "both", "n_components": 1, "n": 4}
    assert json.loads(result.dataset.attrs["controls"]) == expected
    assert "short" in result.methods()


@pytest.mark.parametrize(
    ("keys", "part"),
    [
        ('controls = ["hart_rate"]', "did you mean 'heart_rate'?"),
        ('controls = "short"\nhow = "partial"', "how"),
        ("n_components = 0", "n_components"),
    ],
)
def test_what_cannot_be_is_refused(plan, keys, part):
    refusal(IbsyncError, lambda: run_plan(plan(keys)), part)
