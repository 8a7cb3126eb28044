"""One person in many dyads, from a study to a result: which exchange is the default, and what is refused or told."""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from refusals import plan_refusal

import ibsync as ibs
from ibsync.recordings.recording import DyadRow, Recording
from ibsync.recordings.study_file import write_study
from ibsync.results.null_files import load_null, save_null

SFREQ, N = 5.0, 200
SPEC = ibs.WTC({"fast": (0.5, 1)})


def recording(name, person, session):
    return Recording(
        name, participant=person, session=session, task="", run="", t0=0.0, sfreq=SFREQ, n_samples=N, events=(),
        channels=("S1_D1",), good=(True,), signal_names=("hbo",),
    )  # fmt: skip


def study_of(path, therapists, *, sessions=("1",), missed=(), shared=False, swapped=False):
    """One client a dyad; a recording of the therapist for each meeting, or with `shared` one for all at a time."""
    rows, signals = [], {}
    for k, therapist in enumerate(therapists):
        for session in sessions:
            if (k, session) in missed:
                continue
            own = f"{therapist}_{session}" if shared else f"{therapist}_{k}_{session}"
            pair = [recording(own, therapist, session), recording(f"c{k}_{session}", f"c{k}", session)]
            for one in pair:
                rng = np.random.default_rng(list(one.id.encode()))
                signals.setdefault(one.id, (one, {"hbo": rng.standard_normal((1, N)).astype(np.float32)}))
            a, b = (signals[one.id][0] for one in (pair[::-1] if swapped else pair))
            rows.append(DyadRow(f"d{k}", session, "", a, b, a.participant, b.participant))
    write_study(path, list(signals.values()), {}, rows)
    return ibs.Study.open(path)


def null_and_result(study, **words):
    """Null and result, with the caution about few draws left aside."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        null = study.null(SPEC, **words)
        return null, ibs.test(study.synchrony(SPEC), null)


def test_one_therapist_within_the_person_is_the_default(tmp_path):
    study = study_of(tmp_path / "s.h5", ["t"] * 4, sessions=("1", "2"))
    null, result = null_and_result(study)
    assert (null.draws.n, null.exact) == (23, True)
    values = null.pair_values.astype(float)
    real = study.synchrony(SPEC)["coherence"].values.reshape(4, 2)
    assert_allclose(np.diagonal(values[:, :, :, 0], axis1=1, axis2=2).T, real, rtol=1e-6)
    orders = null.design.listed(np.arange(24))
    means = np.array([values[:, np.arange(4), order].mean() for order in orders])
    assert_allclose(result.dataset["p"].item(), np.mean(means >= means[0] - 1e-9))
    assert result.dataset.attrs["exact"] == 1
    assert "re-paired partners of the same person" in result.headline
    assert "re-pairing of partners within the person whom they share, all 23" in result.methods()
    assert "pseudo-dyads of the same shared person" in result.hypothesis
    assert "speaks of the dyads of 't' only" in result.hypothesis
    same = study_of(tmp_path / "swapped.h5", ["t"] * 4, sessions=("1", "2"), swapped=True)
    assert_allclose(null_and_result(same)[1].dataset["p"].item(), result.dataset["p"].item())


def test_exchange_over_all_is_asked_for_and_named(tmp_path):
    study = study_of(tmp_path / "s.h5", ["t1", "t1", "t2", "t2"])
    plan_refusal(
        lambda: study.null(SPEC), "'t1' has 2, 't2' has 2 dyads", "only 4 re-pairings", "0.25, above alpha=0.05",
        "within=[] (24 re-pairings), if anybody could have met any of them",
    )  # fmt: skip
    assert "within=[]" in study.check(SPEC, null={"kind": "repair"}, estimate=False).problems[0]
    null, result = null_and_result(study, within=[])
    assert null.draws.n == 23
    assert "re-paired partners of all persons" in result.headline
    assert "over all persons" in result.methods()
    assert "any partner could have met any of the shared persons" in result.hypothesis
    assert null_and_result(study, within=["person"])[0].draws.n == 3  # what is asked for is taken as it is
    assert study.null(SPEC, alpha=0.25).draws.n == 3  # whose smallest p is enough at that level
    few = study_of(tmp_path / "few.h5", ["t"] * 3)
    plan_refusal(lambda: few.null(SPEC), "only 6 re-pairings", "record more dyads of one person")


def test_missed_sessions_make_it_approximate_and_attendance_exact(tmp_path):
    study = study_of(tmp_path / "s.h5", ["t"] * 6, sessions=("1", "2"), missed=[(0, "2"), (1, "2"), (2, "2")])
    null, result = null_and_result(study)
    assert (null.draws.listed, null.exact, result.dataset.attrs["exact"]) == (True, False, 0)
    assert "approximate where persons missed sessions" in result.hypothesis
    assert "all 719 besides the real one" in result.methods()
    exact, result = null_and_result(study, within=["person", "attendance"])
    assert (exact.draws.n, exact.exact, result.dataset.attrs["exact"]) == (35, True, 1)
    assert "approximate" not in result.hypothesis
    alone = study_of(tmp_path / "alone.h5", ["t"] * 3, sessions=("1", "2"), missed=[(0, "2")])
    plan_refusal(lambda: alone.null(SPEC, within=["attendance"]), "'d0' is alone in its block (attendance=1)")


def test_a_class_is_refused_and_families_move_together(tmp_path):
    study = study_of(tmp_path / "class.h5", ["t"] * 5, shared=True)
    plan_refusal(lambda: study.null(SPEC), "recording 't_1'", "'d0', 'd1', 'd2', 'd3', 'd4'", "changes nothing")
    mothers = [f"m{k}" for k in range(4) for _ in range(2)]
    families = study_of(tmp_path / "families.h5", mothers, shared=True)
    plan_refusal(lambda: families.null(SPEC), "'d0', 'd1' recording 'm0_1'", "within=[]")
    null, result = null_and_result(families, within=[])
    assert null.draws.n == 23
    children = null.design.listed(np.arange(24)).reshape(24, 4, 2)
    assert_array_equal(children[:, :, 1], children[:, :, 0] + 1)
    assert "dyads that share a recording moving together" in result.methods()
    plan_refusal(lambda: ibs.calibrate(families, SPEC, within=[], n_sims=5), "'d0', 'd1' share a recording")


def test_both_roles_and_interchangeable_roles_are_refused(tmp_path):
    study = study_of(tmp_path / "s.h5", ["t", "t", "c0", "x", "y", "z"])
    plan_refusal(
        lambda: study.null(SPEC), "dyads 'd0', 'd1', 'd2' are linked by 'c0', 't'", "ibs.relations",
        "study.select(dyad=['d3', 'd4', 'd5'])",
    )  # fmt: skip
    assert study.select(dyad=["d3", "d4", "d5"]).null(SPEC).draws.n == 5
    plan_refusal(lambda: study.null(SPEC, roles="interchangeable"), "roles='fixed'")


def test_a_saved_null_keeps_who_moves_together_and_who_was_there(tmp_path):
    mothers = [f"m{k}" for k in range(4) for _ in range(2)]
    study = study_of(tmp_path / "s.h5", mothers, sessions=("1", "2"), missed=[(0, "2"), (1, "2")], shared=True)
    null, result = null_and_result(study, within=[])
    loaded = load_null(save_null(null, tmp_path / "null.nc"))
    assert loaded.draws == null.draws
    assert not loaded.exact
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        again = ibs.test(study.synchrony(SPEC), loaded)
    assert again.dataset["p"].item() == result.dataset["p"].item()
    assert again.hypothesis == result.hypothesis


@pytest.fixture(scope="module")
def clinic(tmp_path_factory):
    """Two therapists of four clients, three sessions."""
    path = tmp_path_factory.mktemp("clinic") / "s.h5"
    return study_of(path, ["t1"] * 4 + ["t2"] * 4, sessions=("1", "2", "3"))


def test_growth_is_re_paired_within_the_person(clinic):
    null, _ = null_and_result(clinic)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        growth = ibs.plasticity(clinic.synchrony(SPEC), null=null)
    assert growth.dataset.attrs["n"] == 24**2 - 1
    slopes = np.array([-0.5, 0, 0.5]) @ null.pair_values[..., 0].transpose(1, 0, 2).astype(float)
    means = np.array([slopes[np.arange(8), order].mean() for order in null.design.listed(np.arange(24**2))])
    size = np.mean(means >= means[0] - 1e-9), np.mean(means <= means[0] + 1e-9)
    assert_allclose(growth.dataset["p"].item(), min(1, 2 * min(size)))
    assert "within the person whom they share" in growth.methods()
    assert "re-paired partners of the same person" in growth.hypothesis


def test_calibration_and_multiverse_take_shared_persons(clinic):
    page = ibs.calibrate(clinic, SPEC, n_sims=5, n=19, couplings=[0.9])
    assert "from other meetings" in page.design
    many = ibs.multiverse(clinic, bands={"fast": (0.5, 1)}, signal=["hbo"], kind=["repair"], n=99)
    assert "pseudo-dyads of the same shared person" in many.hypothesis
