"""Changes over sessions and outcomes from a plan file: what is read, refused before the run, computed and written."""

import json

import numpy as np
import pandas as pd
import pytest
from refusals import plan_refusal

import ibsync
from ibsync.commands.cli import main
from ibsync.commands.plan_file import read_plan
from ibsync.errors import PlanError

PLAN = """
study = "study.h5"
output = "out.h5"
[wtc]
bands = { task = [0.1, 0.3] }
voices = 6
[synchrony]
pairs = "same"
[null]
n = 99
[test]
correct = []
"""
MORE = """
[plasticity]
correct = []
mixed_model = true
[[outcome]]
name = "symptoms"
outcome_level = "change"
covariates = ["baseline"]
correct = []
n = 99
[[outcome]]
name = "symptoms"
level = "parts"
correct = []
n = 99
[[outcome]]
name = "skill"
correct = []
predict = true
"""


@pytest.fixture(scope="module")
def study_file(tmp_path_factory):
    """Eight dyads in three sessions, with an outcome of sessions and one of dyads."""
    path = tmp_path_factory.mktemp("study") / "study.h5"
    made = ibsync.simulate(path, n_dyads=8, n_sessions=3, n_channels=1, duration=60.0, sfreq=2.0, seed=2)
    random = np.random.default_rng(0)
    skill = dict(zip(sorted({row.dyad for row in made.dyads}), random.standard_normal(8), strict=True))
    with_outcomes(path, {row.label: {"symptoms": random.normal(20, 3), "skill": skill[row.dyad]} for row in made.dyads})
    return path


def with_outcomes(path, outcomes):
    """The study written again with these outcomes."""
    from dataclasses import replace

    from ibsync.recordings.study_file import StudyFile, write_study

    study = StudyFile.open(path)
    recordings = [(r, {c: np.array(study.signals(r, c)) for c in r.signal_names}) for r in study.recordings]
    rows = [replace(row, outcomes=outcomes[row.label]) for row in study.all_dyads]
    write_study(path, recordings, study.participants, rows)


@pytest.fixture
def folder(study_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.h5").symlink_to(study_file)
    return tmp_path


def plan_of(folder, text):
    (folder / "plan.toml").write_text(PLAN + text, encoding="utf-8")
    return folder / "plan.toml"


def test_what_a_plan_says_is_read_word_for_word(tmp_path):
    plan = read_plan(plan_of(tmp_path, MORE))
    assert plan.plasticity.mixed_model
    assert plan.plasticity.block == "person"
    assert [(one.name, one.level, one.outcome_level) for one in plan.outcomes] == [
        ("symptoms", "mean", "change"), ("symptoms", "parts", "mean"), ("skill", "mean", "mean"),
    ]  # fmt: skip
    text = """
[plasticity]
time = { pre = 0, post = 14.5 }
between = ["a", "b"]
block = "none"
tail = "greater"
[outcome]
name = "symptoms"
time = ["pre", "post"]
ahead = 1
"""
    plan = read_plan(plan_of(tmp_path, text))
    assert plan.plasticity.time == {"pre": 0.0, "post": 14.5}
    assert (plan.plasticity.between, plan.plasticity.tail) == (("a", "b"), "greater")
    assert plan.plasticity.words()["block"] is None
    assert (plan.outcomes[0].time, plan.outcomes[0].ahead) == (("pre", "post"), 1)
    assert read_plan(plan_of(tmp_path, "")).files_of("hbo")["a further result"] == []


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[plasticity]\nkinds = 1", ["unknown key plasticity.kinds", "did you mean plasticity.kind"]),
        ("[plasticity]\nkind = 'signs'", ["plasticity.kind", "'sign_flip', 'session_order', 'partners'"]),
        ("[plasticity]\ntime = 3", ["plasticity.time", "a table such as"]),
        ("[plasticity]\ntime = { pre = 'now' }", ["plasticity.time"]),
        ("[plasticity]\nbetween = ['a']", ["plasticity.between", "list of two groups"]),
        ("[plasticity]\nblock = 3", ["plasticity.block"]),
        ("[plasticity]\nmixed_model = 1", ["plasticity.mixed_model", "true or false"]),
        ("[contrast]\nn = 9", ["contrast.weights is missing", 'weights = ["talk", "rest"]']),
        ("[contrast]\nweights = ['a']", ["contrast.weights", "a list of two conditions"]),
        ("[contrast]\nbetween = 'group'\nkind = 'partners'", ["contrast.kind", "goes with weights"]),
        ("[outcome]\nlevel = 'mean'", ["outcome.name", "the name of an outcome"]),
        ("[outcome]\nname = 'x'\nlevel = 'all'", ["outcome.level"]),
        ("[outcome]\nname = 'x'\ncorrect = ['tfce']", ["outcome.correct"]),
        ("[outcome]\nname = 'x'\ncovariate = ['y']", ["unknown key outcome.covariate", "outcome.covariates"]),
        ("[[outcome]]\nname = 'x'\n[[outcome]]\nname = 'x'", ["a further result", "are one file"]),
    ],
)
def test_a_mistake_is_refused_by_its_key(tmp_path, text, parts):
    path = plan_of(tmp_path, text)
    plan_refusal(lambda: read_plan(path), "plan.toml", *parts)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[outcome]\nname = 'symptom'", ["outcome 'symptom'", "did you mean 'symptoms'"]),
        ("[outcome]\nname = 'skill'\ncovariates = ['age']", ["there is no covariate 'age'"]),
        ("[outcome]\nname = 'skill'\nlevel = 'within'", ["varies over the sessions of no dyad"]),
        ("[outcome]\nname = 'skill'\nlevel = 'slope'\nahead = 1", ["ahead pairs single sessions"]),
        ("[outcome]\nname = 'symptoms'\nlevel = 'within'\npredict = true", ["is not offered for predictions"]),
        ("[contrast]\nweights = ['talk', 'rest']", ["contrast_talk_rest: there is no condition 'talk'"]),
        ("[contrast]\nbetween = ['a', 'b']", ["contrast_a_b: there is no group 'a'"]),
        ("[plasticity]\nbetween = ['a', 'b']", ["plasticity: there is no group 'a'"]),
        ("[plasticity]\ntime = 'day'", ["plasticity: time='day' is unknown"]),
        ("[plasticity]\nblock = 'site'", ["block='site' is no label"]),
    ],
)
def test_what_cannot_be_done_is_refused_before_the_run(folder, monkeypatch, text, parts):
    monkeypatch.setattr("ibsync.coupling.engine.Engine.features", lambda *_, **__: pytest.fail("the work has begun"))
    plan_of(folder, text)
    from ibsync.commands.run import run_plan

    plan_refusal(lambda: run_plan("plan.toml"), "plan.toml", *parts)
    assert sorted(path.name for path in folder.iterdir()) == ["plan.toml", "study.h5"]


def test_a_plan_of_two_nulls_gives_what_python_gives(folder):
    from ibsync.commands.run import run_plan

    plan_of(folder, '[second_null]\nkind = "phase"\nn = 99\n[plasticity]\ncorrect = []\n')
    (outcome,) = run_plan("plan.toml")
    study, spec = ibsync.Study.open(folder / "study.h5"), read_plan(folder / "plan.toml").wtc.spec
    real = study.synchrony(spec, pairs="same")
    nulls = [study.null(spec, pairs="same", n=99), study.null(spec, kind="phase", pairs="same", n=99)]
    expected = ibsync.test(real, nulls, correct=[])
    np.testing.assert_array_equal(outcome.result.dataset["p_of_null"], expected.dataset["p_of_null"])
    assert outcome.result.headline == expected.headline


def test_growth_less_its_null_takes_sessions_of_any_length(tmp_path, monkeypatch):
    from ibsync.commands.run import check_study

    monkeypatch.chdir(tmp_path)
    lengths = (60.0, 90.0, 120.0)
    ibsync.simulate("study.h5", n_dyads=8, n_sessions=3, n_channels=1, duration=lengths, sfreq=2.0, seed=2)
    plan = plan_of(tmp_path, "[plasticity]\ncorrect = []\n")
    assert check_study("study.h5", plan).problems == ()


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('[plasticity]\nkind = "partners"\nmargin = 0.1', "are not for kind = 'partners': leave them out"),
        ('[plasticity]\nkind = "partners"\nweights = "precision"', "are not for kind = 'partners'"),
        ('[contrast]\nweights = ["a", "b"]\nkind = "partners"\nmargin = 0.1', "contrast.margin is not for"),
    ],
)
def test_what_partners_do_not_have_is_refused_before_the_run(folder, text, part):
    from ibsync.commands.run import run_plan

    plan_of(folder, text)
    plan_refusal(lambda: run_plan("plan.toml"), part)


def test_contrasts_beside_covariates_have_a_file_of_their_own(tmp_path):
    text = '[[contrast]]\nbetween = ["a", "b"]\n[[contrast]]\nbetween = ["a", "b"]\ncovariates = "age"\n'
    names = [one.file_name for one in read_plan(plan_of(tmp_path, text)).contrasts]
    assert names == ["contrast_a_b", "contrast_a_b_given_age"]


def test_two_nulls_of_a_plan_have_to_be_of_two_kinds(tmp_path):
    for text, part in (
        ('[second_null]\nkind = "repair"', 'a re-pairing (kind = "repair") and a surrogate null'),
        ('[second_null]\nkind = "phase"\nmeasure = "imaginary_coherency"', "differ in measure"),
    ):
        plan_refusal(lambda text=text: read_plan(plan_of(tmp_path, text)), part)
    both = plan_of(tmp_path, '[second_null]\nkind = "phase"').read_text(encoding="utf-8")
    both = both.replace("[synchrony]", '[synchrony]\nsignal = ["hbo", "hbr"]')
    (tmp_path / "plan.toml").write_text(both, encoding="utf-8")
    plan_refusal(lambda: read_plan(tmp_path / "plan.toml"), "second_null takes one signal")


def test_check_tells_what_a_run_would_trip_over(folder, capsys):
    plan_of(folder, "[outcome]\nname = 'skill'\ncovariates = ['age']")
    assert main(["check", "study.h5", "--plan", "plan.toml"]) == 1
    assert "there is no covariate 'age'" in capsys.readouterr().err
    plan_of(folder, "[outcome]\nname = 'skill'")
    assert main(["check", "study.h5", "--plan", "plan.toml"]) == 0


def test_partners_need_a_re_pairing(folder):
    from ibsync.commands.run import run_plan

    text = PLAN.replace("n = 99", 'n = 99\nkind = "phase"') + "[plasticity]\nkind = 'partners'"
    (folder / "plan.toml").write_text(text, encoding="utf-8")
    with pytest.raises(PlanError, match=r"plasticity.kind = 'partners' needs null.kind = 'repair'"):
        run_plan("plan.toml")


@pytest.mark.slow
def test_the_run_writes_what_python_computes(folder, capsys):
    plan_of(folder, MORE.replace("[plasticity]", "[plasticity]\nseed = 3"))
    assert main(["run", "plan.toml", "--report", "out.html", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    results = ["plasticity", "outcome_symptoms_change", "outcome_symptoms_between", "outcome_symptoms_within"]
    results += ["outcome_skill"]
    files = [f"out_{name}.h5" for name in results] + [f"out_{name}.html" for name in results]
    files += ["out_mixed_model.csv", "out_prediction_skill.json", "out.h5", "out.html", "plan.toml", "study.h5"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(files)
    assert {found["name"] for found in told["further"]} == {*results, "mixed_model", "prediction_skill"}
    tested, study = ibsync.load("out.h5"), ibsync.Study.open("study.h5")
    change = ibsync.plasticity(tested, correct=[], seed=3).dataset
    np.testing.assert_array_equal(ibsync.load("out_plasticity.h5").dataset["p"], change["p"])
    skill = ibsync.outcome(tested, "skill", study=study, correct=[]).dataset
    np.testing.assert_array_equal(ibsync.load("out_outcome_skill.h5").dataset["p"], skill["p"])
    table = pd.read_csv("out_mixed_model.csv", keep_default_na=False)
    assert table["term"].tolist() == ["time"]
    np.testing.assert_allclose(table["estimate"], ibsync.mixed_model(tested)["estimate"], rtol=1e-9)
    found = json.loads((folder / "out_prediction_skill.json").read_text(encoding="utf-8"))
    assert found["p"] == ibsync.predict_outcome(tested, "skill", study=study, seed=0).p


def test_slopes_of_partners_and_the_printed_page(folder, capsys):
    plan_of(folder, "[plasticity]\nkind = 'partners'\ncorrect = []")
    assert main(["run", "plan.toml"]) == 0
    told = capsys.readouterr().out
    assert "wrote out_plasticity.h5" in told
    assert "change of coherence per session" in told
    assert ibsync.load("out_plasticity.h5").dataset.attrs["null_kind"] == "repair"


def test_a_contrast_of_dyads_and_one_of_partners(folder):
    """Both of the same conditions, each in a file of its own, as the functions compute them."""
    contrasts = "".join(
        f"[[contrast]]\nweights = ['early', 'late']\nkind = '{kind}'\nn = 99\ncorrect = []\n"
        for kind in ("dyads", "partners")
    )
    text = PLAN.replace('pairs = "same"', 'pairs = "same"\nepochs = { early = [0, 30], late = [30, 60] }')
    (folder / "plan.toml").write_text(text + contrasts)
    assert main(["run", "plan.toml"]) == 0
    tested, study = ibsync.load("out.h5"), ibsync.Study.open("study.h5")
    epochs = {"early": (0, 30), "late": (30, 60)}
    words = {"pairs": "same", "epochs": epochs}
    spec = ibsync.WTC(bands={"task": (0.1, 0.3)}, voices=6)
    null = study.null(spec, n=99, **words)
    of_dyads = ibsync.contrast(tested, ("early", "late"), n=99, correct=[])
    of_partners = ibsync.contrast(study.synchrony(spec, **words), ("early", "late"), null=null, correct=[])
    for name, expected in (("early_late", of_dyads), ("early_late_partners", of_partners)):
        found = ibsync.load(f"out_contrast_{name}.h5").dataset
        np.testing.assert_array_equal(found["p"], expected.dataset["p"])
        assert np.isfinite(found["p"]).all()


def test_the_page_does_not_say_that_nothing_stands_in_the_way_of_a_plan_that_is_refused(folder, capsys):
    plan_of(folder, "[outcome]\nname = 'skill'\ncovariates = ['age']")
    assert main(["check", "study.h5", "--plan", "plan.toml"]) == 1
    told = capsys.readouterr().out
    assert "Nothing stands in the way" not in told
    assert "Problems:\n  outcome 'skill': there is no covariate 'age'" in told


def test_what_entered_the_mixed_models_is_printed(folder, capsys):
    plan_of(folder, "[plasticity]\ncorrect = []\nmixed_model = true")
    assert main(["run", "plan.toml"]) == 0
    told = capsys.readouterr().out
    assert "Linear mixed models: 1 rows\n  entered: 8 dyads with 24 sessions\n  z and p of a mixed model" in told
