"""Every block of code of README and docs runs, in the order of its page.

Each page has a folder and names of its own. Before it begins there are what pages take for granted: a study with its
spec, synchrony, null and result, and two signals. A block that needs what is not here (a GPU, a cluster) is marked in
the page by ``<!--- skip: next -->``; an HTML comment may also hold code that readers do not see.
"""

from __future__ import annotations

import doctest
import operator
import shlex
import shutil
import warnings
from pathlib import Path

import controlled
import h5py
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from snirf_writer import Person, write_snirf
from sybil import Example
from sybil.document import Document
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser
from test_worked_example import TOLD

import ibsync as ibs
from ibsync.commands.cli import main
from ibsync.commands.plan_file import read_plan

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).parents[1]
DOCS = REPOSITORY / "docs"
DEVELOPERS = ("architecture", "CONTRIBUTING")
PAGES = [REPOSITORY / "README.md", *sorted(p for p in DOCS.glob("*.md") if p.stem not in (*TOLD, *DEVELOPERS))]
SPEC = ibs.WTC(bands={"task": (0.05, 0.15)})
BASE = 'study = "study.h5"\n[wtc]\nbands = { task = [0.05, 0.15] }\n'


def run_bash(example: Example) -> None:
    """Run each command of ibsync here; installing, and looking around in folders, is left out."""
    for line in example.parsed.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        program, *arguments = words[: words.index(">") if ">" in words else None] or ["cd"]
        if program == "ibsync":
            assert main(arguments) == 0, line
        else:
            assert program in ("pip", "git", "cd", "python"), line


def read_toml(example: Example) -> None:
    """Keep a whole plan as its first line names it; read a part of one beside the least that a plan needs."""
    text = example.parsed
    first = text.splitlines()[0]
    name = first.removeprefix("# ") if first.startswith("# ") and first.endswith(".toml") else "plan.toml"
    if "study =" in text or name != "plan.toml":
        Path(name).write_text(text, encoding="utf-8")
    else:
        Path("part.toml").write_text(text if text.startswith("#:") else BASE + text, encoding="utf-8")
        if not text.startswith("#:"):
            read_plan("part.toml")


PARSERS = (PythonCodeBlockParser(), CodeBlockParser("bash", run_bash), CodeBlockParser("toml", read_toml), SkipParser())
PLAN = """study = "study.h5"
output = "out.h5"
report = "out.html"
[wtc]
bands = { task = [0.05, 0.15] }
[synchrony]
signal = "hbo"
[null]
kind = "phase"
n = 19
"""
QUICKER = {
    "calibrate study.h5 --plan plan.toml ": "calibrate study.h5 --plan plan.toml --n-sims 10 ",
    "--n-sims 40": "--n-sims 10",
    'epochs=["talk"], seed=1)': 'epochs=["talk"], seed=1, n_sims=10, n=99)',
    "n = 199": "n = 19",
    "n=199": "n=39",
    "n = 999": "n = 99",
    "9_999": "39",
    "(1, 5000), (5000, 10_000)": "(1, 20), (20, 40)",
    "10_000": "999",
    "n_sims=100": "n_sims=5",
    "n_sims = 500": "n_sims = 5",
    '["repair", "phase"]': '["repair"]',
    "(0.03, 0.12)": "(0.05, 0.12)",
}
"""The same with fewer simulations and draws."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A folder with a small study and a plan, and what pages call by name."""
    folder = tmp_path_factory.mktemp("lab")
    made = {
        "n_dyads": 7, "n_sessions": 3, "n_channels": 2, "duration": 200.0, "sfreq": 4.0, "coupled_band": (0.05, 0.15),
        "coupling": 0.7, "epochs": [("rest", 0, 90), ("talk", 90, 200)], "groups": ("training", "waiting"),
        "growth": ibs.Growth(mean=0.02, sd=0.02, level_sd=0.05, session_sd=0.02),
        "outcomes": {"symptoms": ("session", -0.5), "age": None, "baseline": None},
    }  # fmt: skip
    study = ibs.simulate(folder / "study.h5", **made)
    ibs.simulate(folder / "therapy.h5", **made)
    (folder / "plan.toml").write_text(PLAN, encoding="utf-8")
    bids = folder / "my_bids_folder"
    for k, person in enumerate(f"sub-{n:02d}" for n in range(1, 19)):
        write_snirf(
            bids / person / "nirs" / f"{person}_task-talk_nirs.snirf", Person(n_samples=1000, sfreq=4.0, seed=k)
        )
    rows = [f"sub-{n:02d}\td{(n + 1) // 2}\t{'ab'[n % 2]}" for n in range(1, 19)]
    (bids / "participants.tsv").write_text("\n".join(["participant_id\tdyad_id\trole", *rows]) + "\n", encoding="utf-8")
    epochs = ["talk", "rest"]
    real, null = study.synchrony(SPEC, epochs=epochs), study.null(SPEC, n=999, epochs=epochs)
    result = ibs.test(real, null)
    result.save(folder / "result.nc")
    ibs.save_null(null, folder / "null.nc")
    for k in range(4):
        part = study.null(SPEC, kind="phase", n=40, draws=(1 + 10 * k, 11 + 10 * k))
        ibs.save_null(part, folder / f"part{k}.nc")
    a, b, heart_rate = np.random.default_rng(0).standard_normal((3, 2, 1200))
    names = {
        "np": np, "ibs": ibs, "spec": SPEC, "real": real, "null": null, "result": result,
        "a": a, "b": b, "x": a, "y": b, "heart_rate": heart_rate[0],
        "engine": ibs.Engine(1200, 10.0, ibs.WTC(bands={"task": (0.1, 0.4)}), backend="numpy"),
    }  # fmt: skip
    return folder, names


def of_page(page):
    """What one page alone takes for granted."""
    if page == "controls":
        return {"study": controlled.made("short.h5", 7), "spec": controlled.SPEC}
    if page == "regions":
        channels = ["S1_D1", "S1_D2", "S2_D1", "S3_D3", "S5_D4", "S5_D5", "S6_D5"]
        noise = np.random.default_rng(0).standard_normal((14, len(channels), 600))
        people = {
            f"p{k}": xr.DataArray(x, {"channel": channels, "time": np.arange(600) / 4}) for k, x in enumerate(noise)
        }
        dyads = [(f"d{k}", f"p{2 * k}", f"p{2 * k + 1}") for k in range(7)]
        return {"study": ibs.Study.from_arrays(people, dyads, signal="hbo")}
    if page == "transfer":
        study = ibs.simulate("therapy.h5", n_dyads=6, n_sessions=2, n_channels=1, duration=150.0, sfreq=4.0,
                             strangers=(0, 3), growth=0.1, overwrite=True)  # fmt: skip
        return {"result": ibs.test(study.synchrony(SPEC), study.null(SPEC, kind="phase", n=99), correct=["max"])}
    if page == "plot.heads":
        ibs.pack("docs/data/two-dyads", "dyads.h5", preprocess=True)
        study, spec = ibs.Study.open("dyads.h5"), ibs.WTC({"fast": (0.1, 0.2)}, detrend="linear")
        words = {"signal": "hbo", "pairs": "same"}
        null = study.null(spec, kind="phase", n=19, **words)
        return {"result": ibs.test(study.synchrony(spec, **words), null, correct=["max"], alpha=0.1)}
    if page == "relations":
        people = {
            (p, s): np.random.default_rng([ord(p), int(s)]).standard_normal((1, 600)) for p in "abcdef" for s in "12"
        }
        met = [{"dyad": a + b, "person_a": a, "person_b": b, "session": s} for a in "abc" for b in "def" for s in "12"]
        return {"real": ibs.Study.from_arrays(people, met, sfreq=4.0, signal="hbo").synchrony(SPEC)}
    if page == "significance":
        with h5py.File(REPOSITORY / "tests" / "data" / "grinsted_f.h5") as file:
            oscillation, ice = file["input/x"][()], file["input/y"][()]
        return {
            "oscillation": oscillation,
            "ice": ice,
            "nino3": np.loadtxt(REPOSITORY / "tests" / "data" / "nino3.txt"),
        }
    return {}


def test_what_is_made_quicker_stands_in_some_page():
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [slow for slow in QUICKER if slow not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_of_a_page_runs(page, lab, tmp_path, monkeypatch):
    folder, names = lab
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    shutil.copytree(DOCS / "data", tmp_path / "docs" / "data")
    monkeypatch.chdir(tmp_path)
    text = page.read_text(encoding="utf-8")
    for slow, quick in QUICKER.items():
        text = text.replace(slow, quick)
    (tmp_path / page.name).write_text(text, encoding="utf-8")
    document = Document.parse(str(tmp_path / page.name), *PARSERS)
    document.namespace.update(names, study=ibs.Study.open("study.h5"))
    document.namespace.update(of_page(page.stem))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # so few dyads and draws cannot find much, and say so
        for example in document:
            example.evaluate()
    plt.close("all")


class Shown(doctest.OutputChecker):
    """What an example shows is compared; one that shows nothing need only run."""

    def check_output(self, want, got, optionflags):
        return not want or super().check_output(want, got, optionflags)


PUBLIC = [name for name in ibs.__all__ if name != "plot"] + [f"plot.{name}" for name in ibs.plot.__all__]


@pytest.mark.parametrize("name", PUBLIC)
def test_every_example_of_a_docstring_runs(name, lab, tmp_path, monkeypatch):
    folder, names = lab
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(DOCS / "data", tmp_path / "docs" / "data")
    known = {**{word: getattr(ibs, word) for word in ibs.__all__}, **names, "study": ibs.Study.open("study.h5")}
    known |= of_page(name)
    public = operator.attrgetter(name)(ibs)
    examples = [test for test in doctest.DocTestFinder().find(public, name, globs=known) if test.examples]
    assert examples or isinstance(public, type)
    runner = doctest.DocTestRunner(Shown(), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    said = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for test in examples:
            test.globs.update(known)
            runner.run(test, out=said.append, clear_globs=False)
    plt.close("all")
    assert runner.summarize(verbose=False).failed == 0, "".join(said)
