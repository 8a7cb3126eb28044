"""What a notebook shows of a study, a null and a result: short, escaped, and what their text says."""

from html.parser import HTMLParser

import pytest
from fake_results import make_real, make_result

import ibsync as ibs
from ibsync.recordings.notebook import labels_in, table_html
from ibsync.results.result import Result

SPEC = ibs.WTC({"fast": (0.1, 0.3)})


class Cells(HTMLParser):
    """Cells of an HTML table, row by row; fails on tags that do not match."""

    def __init__(self, text):
        super().__init__()
        self.open, self.rows, self.text = [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return ibs.simulate(
        tmp_path_factory.mktemp("notebook") / "study.h5", n_dyads=4, n_channels=2, duration=80, sfreq=5.0
    )


def test_a_study_is_short_and_its_table_is_its_text(study):
    assert repr(study).startswith("Study('")
    assert repr(study).endswith("study.h5', 8 people, 4 dyad rows, 8 recordings)")
    assert "selected task simulated" in repr(study.select(task="simulated"))
    rows = dict(Cells(study._repr_html_()).rows)
    assert rows["recordings"] == "8, 80.0 to 80.0 s"
    for line in str(study).splitlines()[1:]:
        name, _, value = line.strip().partition("  ")
        assert rows[name] == value.strip()


@pytest.mark.parametrize("words", [{}, {"kind": "phase", "n": 9}])
def test_a_null_tells_what_it_holds(study, words):
    null = study.null(SPEC, **words)
    assert len(repr(null)) < 120
    page = Cells(null._repr_html_())
    assert repr(null) in page.text
    assert dict(page.rows) == {
        "epochs": "all", "channels of a": "S1_D1, S2_D2", "channels of b": "S1_D1, S2_D2", "bands": "fast",
    }  # fmt: skip


def test_a_result_shows_its_headline_and_its_smallest_p():
    result = make_result(6, 1, n_draws=99)
    assert len(repr(result)) < 600
    page = Cells(result._repr_html_())
    assert result.headline in page.text
    assert result.hypothesis in page.text
    assert len(page.rows) == 1 + 5
    assert page.rows[0][-1] == "p_max"
    assert page.rows[1][-1] == f"{float(result.dataset['p_max'].min()):.3g}"


def test_real_synchrony_has_no_table():
    real = Result(make_real(3))
    assert Cells(real._repr_html_()).rows == []
    assert "nothing was tested" in repr(real)


def test_labels_are_escaped():
    assert table_html("<b>", [("a&", "<i>")]) == (
        "<p><b>&lt;b&gt;</b></p><table><tbody><tr><th>a&amp;</th><td>&lt;i&gt;</td></tr></tbody></table>"
    )
    assert list(labels_in({})) == []
    result = make_result(3, 1, n_draws=19)
    hostile = Result(result.dataset.assign_coords(channel_a=["<script>alert(1)</script>"] * 6), result.null)
    assert "<script" not in hostile._repr_html_()
