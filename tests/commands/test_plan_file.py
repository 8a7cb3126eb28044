"""A plan file means what it says, or is refused in one line that names the file and the key."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest

from ibsync.commands.cli import main
from ibsync.commands.plan_file import Null, Test, Wtc, read_plan
from ibsync.coupling.spec import WTC, Band
from ibsync.errors import IbsyncError, InputError, PlanError

COMPLETE = """
study = "therapy.h5"
output = "results/out.h5"
report = "/somewhere/out.html"

[wtc]
bands = { task = [0.02, 0.1], slow = { low_hz = 0.01, high_hz = 0.02, exclude_hz = [[0.012, 0.014]] } }
accuracy = "fast"
min_valid = 0.25

[synchrony]
signal = ["hbo", "hbr"]
pairs = [["S1_D1", "S2_D1"], ["S1_D1", "S1_D1"]]
epochs = { talk = [60, 240.5] }

[null]
kind = "repair"
n = 999
within = ["group"]
seed = 7

[test]
correct = ["max"]
tail = "two-sided"
"""


@pytest.fixture
def plan_file(tmp_path):
    def write(text):
        path = tmp_path / "plan.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_complete_plan_is_read_word_for_word(plan_file, tmp_path):
    plan = read_plan(plan_file(COMPLETE))
    assert plan.study == tmp_path / "therapy.h5"
    assert plan.output == tmp_path / "results" / "out.h5"
    assert str(plan.report) == "/somewhere/out.html"
    assert plan.wtc.spec == WTC(
        bands={"task": (0.02, 0.1), "slow": Band(0.01, 0.02, exclude=[(0.012, 0.014)])},
        accuracy="fast",
        min_valid=0.25,
    )
    assert plan.synchrony.signal == ("hbo", "hbr")
    assert plan.synchrony.pairs == (("S1_D1", "S2_D1"), ("S1_D1", "S1_D1"))
    assert plan.synchrony.epochs == {"talk": (60.0, 240.5)}
    assert plan.null == Null(n=999, within=("group",), seed=7)
    assert plan.test == Test(correct=("max",), tail="two-sided", alpha=0.05)


def test_a_plan_of_one_line_takes_the_documented_defaults(plan_file, tmp_path):
    plan = read_plan(plan_file('study = "s.h5"'))
    assert plan.output == tmp_path / "plan_result.h5"
    assert plan.report is None
    assert plan.wtc.spec == WTC()
    assert msgspec.structs.astuple(plan.synchrony) == (("hbo",), "all", None, (), "both", 2, None, "coherence")
    assert plan.null.words() == {
        "kind": "repair", "n": None, "within": None, "roles": "fixed", "seed": 0, "measure": None,
        "stop_at": None, "options": None,
    }  # fmt: skip
    assert plan.test.words() == {"correct": None, "tail": None, "alpha": 0.05}
    assert plan.tail == "greater"


def test_a_plan_cannot_be_changed(plan_file):
    plan = read_plan(plan_file(COMPLETE))
    for part in (plan, plan.synchrony, plan.null, plan.test):
        with pytest.raises(AttributeError, match="immutable"):
            setattr(part, msgspec.structs.fields(part)[0].name, None)


def test_several_signals_give_one_file_each(plan_file):
    several, single = read_plan(plan_file(COMPLETE)), None
    assert [several.output_of(signal).name for signal in several.synchrony.signal] == ["out_hbo.h5", "out_hbr.h5"]
    assert [[path.name for path, _ in several.files_of(signal)["report"]] for signal in ("hbo", "hbr")] == [
        ["out.html"],
        [],
    ]
    single = read_plan(plan_file('study = "s.h5"\noutput = "out.h5"\n[synchrony]\nsignal = "hbr"'))
    assert single.output_of("hbr").name == "out.h5"
    assert single.files_of("hbr")["report"] == []


def test_epochs_may_be_labels(plan_file):
    assert read_plan(plan_file('study="s.h5"\n[synchrony]\nepochs = ["talk", "rest"]')).synchrony.epochs == (
        "talk",
        "rest",
    )
    assert read_plan(plan_file('study="s.h5"\n[synchrony]\nepochs = "talk"')).synchrony.epochs == ("talk",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('studie = "s.h5"', "unknown key studie; did you mean study?"),
        ('study = "s.h5"\nzzz = 1', "unknown key zzz; known keys: study, accept_changes, output"),
        ('study = "s.h5"\n[wtc]\nvoises = 12', "unknown key wtc.voises; did you mean wtc.voices?"),
        ('study = "s.h5"\n[sinchrony]\npairs = "all"', "unknown key sinchrony; did you mean synchrony?"),
        ('study = "s.h5"\n[synchrony]\nsignals = "hbo"', "did you mean synchrony.signal?"),
        ('study = "s.h5"\n[null]\nsead = 1', "unknown key null.sead; did you mean null.seed?"),
        ('study = "s.h5"\n[test]\ntails = "less"', "did you mean test.tail?"),
        ('output = "o.h5"', "study is missing"),
        ('study = "s.h5"\noutput = "s.h5"', "output and study are one file"),
        ('study = "s.h5"\noutput = "x/../s.h5"', "output and study are one file"),
        ('study = "s.h5"\noutput = "o"\nreport = "o"', "report and output are one file"),
        ('study = "s.h5"\noutput = "plan.toml"', "output and the plan itself are one file"),
        ("study = 3", "study = 3 must be a path in quotation marks"),
        ('study = ""', "study = '' must be a path"),
        ('study = "s.h5"\nwtc = 3', "wtc = 3 must be a table; write [wtc]"),
        ('study = "s.h5"\n[wtc]\nbands = [0.02, 0.1]', "wtc.bands = [0.02, 0.1] must be a table of bands"),
        ('study = "s.h5"\n[wtc]\nbands = { task = 0.1 }', "wtc.bands.task = 0.1 must be [low, high]"),
        ('study = "s.h5"\n[wtc]\nbands = { task = [0.1, 0.02] }', "expected 0 < low < high"),
        ('study = "s.h5"\n[wtc]\nbands = { t = { low = 0.1, high_hz = 0.2 } }', "did you mean wtc.bands.t.low_hz?"),
        (
            'study = "s.h5"\n[wtc]\nbands = { t = { low_hz = 0.1 } }',
            "wtc.bands.t.high_hz is missing; add high_hz = 0.1",
        ),
        ('study = "s.h5"\n[wtc.bands.t]\nlow_hz = 0.1\nhigh_hz = 1\nexclude_hz = 3', "wtc.bands.t.exclude_hz = 3"),
        ('study = "s.h5"\n[wtc]\nvoices = true', "wtc.voices = True must be a whole number"),
        ('study = "s.h5"\n[wtc]\nfmin = "0.1"', "wtc.fmin = '0.1' must be a frequency in Hz"),
        ('study = "s.h5"\n[wtc]\nfmin = 0.2\nfmax = 0.1', "wtc.fmin must be below fmax"),
        ('study = "s.h5"\n[wtc]\naccuracy = "exakt"', "did you mean 'exact'?"),
        (
            'study = "s.h5"\n[synchrony]\nsignal = []',
            "synchrony.signal = [] must be a text in quotation marks, or a list of them",
        ),
        ('study = "s.h5"\n[synchrony]\nsignal = ["hbo", "hbo"]', "must be a list without repetitions"),
        ('study = "s.h5"\n[synchrony]\npairs = "sane"', "did you mean 'same'?"),
        ('study = "s.h5"\n[synchrony]\npairs = [["a"]]', 'must be "all", "same" or a list of pairs'),
        (
            'study = "s.h5"\n[synchrony]\nepochs = { talk = [60, 30] }',
            "synchrony.epochs.talk = [60, 30] must be [start",
        ),
        ('study = "s.h5"\n[synchrony]\nepochs = {}', "synchrony.epochs = {}"),
        ('study = "s.h5"\n[null]\nn = 0', "null.n = 0 must be a whole number of at least 1"),
        ('study = "s.h5"\n[null]\nn = 1e4', "null.n = 10000.0 must be a whole number"),
        ('study = "s.h5"\n[null]\nseed = -1', "null.seed = -1"),
        ('study = "s.h5"\n[null]\nkind = "repare"', "did you mean 'repair'?"),
        ('study = "s.h5"\n[null]\nwithin = "groups"', "did you mean 'group'?"),
        ('study = "s.h5"\n[null]\nwithin = "session"', 'null.within = \'session\' must be "group", "person", "attend'),
        ('study = "s.h5"\n[null]\nwithin = ["group", "task"]', "or left out: partners are exchanged within session"),
        ('study = "s.h5"\n[test]\ncorrect = ["fwe"]', "test.correct = 'fwe' must be one of 'fdr', 'fdr_by', 'max'"),
        ('study = "s.h5"\n[test]\ntail = "right"', "test.tail = 'right' must be one of"),
    ],
)
def test_a_mistake_is_refused_in_one_line_with_file_and_key(plan_file, text, message):
    path = plan_file(text)
    with pytest.raises(PlanError) as caught:
        read_plan(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_every_word_of_the_spec_is_a_key_with_its_default():
    assert Wtc().words() == dataclasses.asdict(WTC())


def test_what_is_not_toml_is_refused_with_its_line(plan_file):
    with pytest.raises(InputError, match=r"is not TOML: .*line 2"):
        read_plan(plan_file('study = "s.h5"\noutput == 3'))


def test_a_byte_order_mark_is_no_part_of_a_plan(tmp_path):
    path = tmp_path / "plan.toml"
    text = 'study = "s.h5"\noutput = "r.h5"\n[wtc]\nbands = { t = [0.1, 0.5] }\n'
    path.write_text(text, encoding="utf-8-sig")
    marked = read_plan(path)
    path.write_text(text, encoding="utf-8")
    assert marked == read_plan(path)


def test_a_binary_file_and_a_missing_file_are_refused(tmp_path):
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    for name in ("binary.toml", "none.toml", "."):
        with pytest.raises(IbsyncError, match=r"is not TOML|cannot be read") as caught:
            read_plan(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["study = " + "[" * 500 + "]" * 500, "study = " + "[" * 50_000, "study = " + "9" * 100_000, 'study = "a\\u0000b"',
     f'study = "{"x" * 1_000_000}"\nwtc = 3', f"{'k' * 1_000_000} = 1"],
)  # fmt: skip
def test_what_is_beyond_measure_is_refused_in_a_short_line(tmp_path, text):
    path = tmp_path / "plan.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(IbsyncError) as error:
        read_plan(path)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000


def test_signals_stand_in_file_names_without_leaving_the_folder(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(
        'study = "s.h5"\noutput = "y.h5"\n[wtc]\nbands = { t = [0.1, 0.4] }\n'
        '[synchrony]\nsignal = ["../../x", "a/b", "a\\u0000b"]\n', encoding="utf-8",
    )  # fmt: skip
    with pytest.raises(PlanError, match="are one file"):
        read_plan(path)
    path.write_text(path.read_text(encoding="utf-8").replace(', "a\\u0000b"', ""), encoding="utf-8")
    plan = read_plan(path)
    assert [plan.output_of(signal) for signal in plan.synchrony.signals] == [
        tmp_path / "y_.._.._x.h5",
        tmp_path / "y_a_b.h5",
    ]


def test_a_path_that_no_system_has_is_one_line(tmp_path, capsys):
    (tmp_path / "plan.toml").write_text(f'study = "{"a" * 300}/x.h5"\n[wtc]\nbands = {{ a = [0.1, 0.2] }}\n')
    assert main(["run", str(tmp_path / "plan.toml")]) == 1
    assert capsys.readouterr().err.count("\n") == 1
