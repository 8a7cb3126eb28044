"""A study from file to p-values with the GPU's backend, its kernels on the CPU: the same as without a GPU."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from strict import StrictDevice

import ibsync as ibs
from ibsync.commands.cli import main
from ibsync.coupling.backends.cuda.backend import CudaBackend
from ibsync.study.runner import People
from ibsync.study.surrogate_partners import SurrogatePartners

SPEC = ibs.WTC(bands={"task": (0.1, 0.3)}, voices=6, accuracy="fast")
WORDS = {"pairs": "all", "epochs": {"early": (0, 25), "late": (20, 60)}}
PLAN = """
study = "study.h5"
output = "out.h5"
[wtc]
bands = { task = [0.1, 0.3] }
voices = 6
accuracy = "fast"
[null]
kind = "phase"
n = 19
[test]
correct = ["max"]
"""


@pytest.fixture
def gpu(strict, monkeypatch):
    """What engines find where they look for a GPU: one without tensor cores, which are slow to imitate."""
    if isinstance(strict, StrictDevice):
        strict.compute_capability = 70
    monkeypatch.setattr("ibsync.coupling.backends.cuda.backend._devices", {0: strict})
    monkeypatch.setattr("ibsync.study.surrogate_partners._LARGEST_BLOCK_THERE", 32)  # so many draws at a time
    return strict


@pytest.fixture
def study(tmp_path):
    return ibs.simulate(tmp_path / "study.h5", n_dyads=4, n_channels=1, duration=60.0, sfreq=2.0, seed=1)


def test_synchrony_and_re_pairing_are_those_of_the_cpu(gpu, study):
    real = {name: study.synchrony(SPEC, shares=True, backend=name, **WORDS) for name in ("numpy", "cuda")}
    for name in ("coherence", "phase_consistency", "valid_fraction"):
        assert_allclose(real["cuda"][name], real["numpy"][name], rtol=0, atol=2e-6)
    # The smaller a mean of the complex coherency, the less is known of its angle.
    apart = (real["cuda"]["phase"] - real["numpy"]["phase"]) * real["numpy"]["phase_consistency"]
    assert_allclose(apart, 0, atol=2e-6)
    assert_allclose(real["cuda"]["share_in_phase"], real["numpy"]["share_in_phase"], rtol=0, atol=0.05)
    assert real["cuda"].attrs["backend"] == "cuda"
    null = {name: study.null(SPEC, n=23, seed=3, backend=name, **WORDS) for name in ("numpy", "cuda")}
    assert_allclose(null["cuda"].pair_values, null["numpy"].pair_values, rtol=0, atol=2e-6)
    p = [ibs.test(real[name], null[name], correct=[]).dataset["p"] for name in ("numpy", "cuda")]
    assert_allclose(*p, rtol=0, atol=1 / 23)


def test_synchrony_on_the_gpu_is_one_pass_over_many_dyads(gpu, study, monkeypatch):
    """Four dyads of one channel: on the CPU's limit of channels two at a time, on the GPU's all."""
    monkeypatch.setattr("ibsync.study.engines.CHANNELS_TOGETHER", 2)
    asked, whole = [], CudaBackend.coherence_of_dyads

    def recorded(backend, a, b, n_dyads, shares=None):
        asked.append(n_dyads)
        return whole(backend, a, b, n_dyads, shares)

    monkeypatch.setattr(CudaBackend, "coherence_of_dyads", recorded)
    study.synchrony(SPEC, backend="cuda", **WORDS)
    assert asked == [4]


def test_auto_takes_the_gpu_and_a_null_of_the_other_backend_is_refused(gpu, study):
    real = study.synchrony(SPEC, backend="auto", **WORDS)
    assert real.attrs["backend"] == "cuda"
    with pytest.raises(ibs.PlanError, match="backend"):
        ibs.test(real, study.null(SPEC, n=23, seed=3, backend="numpy", **WORDS))


@pytest.mark.parametrize("seconds", [(8.0, 60.0), (60.0, 8.0)])
def test_a_recording_too_short_for_every_band_is_left_out_on_the_gpu_too(gpu, tmp_path, seconds):
    """The values that it lacks lie where those of the others do."""
    study = ibs.simulate(
        tmp_path / "two.h5", n_dyads=1, n_sessions=2, n_channels=1, duration=seconds, sfreq=2.0,
        coupled_band=(0.2, 0.5), seed=1,
    )  # fmt: skip
    nulls = [study.null(SPEC, kind="phase", n=3, seed=5, backend=name) for name in ("cuda", "numpy")]
    assert_allclose(nulls[0].observed, nulls[1].observed, rtol=0, atol=2e-6)
    assert np.isnan(nulls[0].observed).all(axis=1).tolist() == [second < 10 for second in seconds]


def test_a_null_reads_and_transforms_what_stays_once_for_all_blocks(gpu, study, monkeypatch):
    """Four dyads in three blocks: eight people are read, and of four the features are made as they are."""
    monkeypatch.setattr("ibsync.study.surrogate_partners._LARGEST_BLOCK_THERE", 2)
    monkeypatch.setattr("ibsync.study.planned.refuse_drifts", lambda *_: None)  # which reads too
    seen = {"read": 0, "first": 0}
    read, drawn = People.read, SurrogatePartners._drawn

    def reading(people):
        seen["read"] += 1
        return read(people)

    def drawing(partners, person, draws):
        seen["first"] += draws is None
        return drawn(partners, person, draws)

    monkeypatch.setattr(People, "read", reading)
    monkeypatch.setattr(SurrogatePartners, "_drawn", drawing)
    study.null(SPEC, kind="phase", n=6, seed=5, backend="cuda")
    assert seen == {"read": 2 * 4, "first": 4}


@pytest.mark.slow
def test_parts_counted_apart_are_the_whole(gpu, tmp_path, monkeypatch):
    monkeypatch.setattr("ibsync.study.surrogate_partners._LARGEST_BLOCK_THERE", 4)
    study = ibs.simulate(tmp_path / "two.h5", n_dyads=2, n_channels=1, duration=60.0, sfreq=2.0, seed=1)

    def null(draws=None):
        return study.null(SPEC, kind="phase", n=10, seed=5, draws=draws, backend="cuda")

    whole, merged = null(), ibs.merge_nulls([null((1, 4)), null((4, 11))])
    for one, other in zip([*whole.by_row, whole.together], [*merged.by_row, merged.together], strict=True):
        assert_array_equal(one.exceedances.at_least, other.exceedances.at_least)
        assert_array_equal(one.maxima.values, other.maxima.values)
        assert_array_equal(one.moments.sums, other.moments.sums)


def test_the_command_runs_on_the_gpu(gpu, study, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plan.toml").write_text(PLAN)
    p = {}
    for backend in ("cuda", "numpy"):
        assert main(["run", "plan.toml", "--backend", backend, "--json"]) == 0
        assert "out.h5" in json.dumps(json.loads(capsys.readouterr().out))
        result = ibs.load("out.h5")
        assert result.dataset.attrs["backend"] == backend
        p[backend] = result.dataset["p"].values
    assert_allclose(p["cuda"], p["numpy"], rtol=0, atol=1.5 / 20)
    assert np.isfinite(p["cuda"]).all()
