import hashlib
import json
import re
from base64 import b64decode, b64encode
from html.parser import HTMLParser

import numpy as np
import pytest
from fake_results import make_real, make_result

from ibsync.errors import InputError
from ibsync.results import netcdf as storage
from ibsync.results.report import html_page, report
from ibsync.results.result import Result

VOID = {"meta", "img", "br", "link", "hr", "input"}


class Page(HTMLParser):
    """Tags, attributes, cells and text of a page; fails on tags that do not match."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.rows, self.headings, self.text = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, text):
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += text
        if self.open and self.open[-1] in ("h2", "h3"):
            self.headings.append(text)
        if not {"style", "script"} & set(self.open):
            self.text.append(text)

    def attributes(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def result():
    return make_result(6, 2, n_draws=199)


@pytest.fixture(scope="module")
def small():
    """One epoch, one band, one session, two channels: pictures that are drawn fast."""
    result = make_result(4, 1, n_draws=19)
    one = {"epoch": [0], "band": [0]}
    return Result(result.dataset.isel(one | {"channel_a": [0, 2], "channel_b": [2, 3]}), result.null.isel(one))


@pytest.fixture
def no_pictures(monkeypatch):
    monkeypatch.setattr("ibsync.results.report.pictures", lambda result: [])


@pytest.fixture(scope="module")
def text(result):
    return html_page(result)


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_pictures_come_before_tables_and_words(page):
    figures = [heading for heading in page.headings if heading.startswith("Figure")]
    assert figures == page.headings[: len(figures)]
    for number, subject in enumerate(
        ["p is smallest", "by band", "channel pairs", "dyads", "null", "sessions"], start=1
    ):
        assert figures[number - 1].startswith(f"Figure {number}.")
        assert subject in figures[number - 1]
    assert [name for name, _ in page.tags].index("img") < [name for name, _ in page.tags].index("table")


def test_page_needs_nothing_from_outside(text, page):
    assert all(attrs["src"].startswith("data:image/") for attrs in page.attributes("img"))
    assert not {"link", "iframe", "object", "base", "form"} & {name for name, _ in page.tags}
    assert not any({"style", *(name for name in attrs if name.startswith("on"))} & set(attrs) for _, attrs in page.tags)
    outside = [value for _, attrs in page.tags for name, value in attrs.items() if name in ("href", "src", "action")]
    assert all(value.startswith("data:") for value in outside)
    style, script = (re.search(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)[1] for tag in ("style", "script"))
    assert "url(" not in style
    assert "@import" not in style
    assert not re.search(r"fetch|XMLHttp|import|eval|innerHTML|https?:", script)
    assert len(text) < 3_000_000


def test_policy_lets_in_our_style_and_script_and_nothing_else(text, page):
    (policy,) = [attrs["content"] for attrs in page.attributes("meta") if "http-equiv" in attrs]
    digests = {
        tag: b64encode(
            hashlib.sha256(re.search(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)[1].encode()).digest()
        ).decode()
        for tag in ("style", "script")
    }
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digests['style']}'; "
        f"script-src 'sha256-{digests['script']}'"
    )
    assert page.attributes("script") == [{}]


def test_pictures_are_images_with_alternative_text(page):
    images = page.attributes("img")
    assert len(images) == 4 + 2 + 4 + 4 + 5 + 5
    for attrs in images:
        kind, payload = re.fullmatch(r"data:image/(svg\+xml|png);base64,(.*)", attrs["src"]).groups()
        start = b64decode(payload)[:400]
        assert (b"<svg" in start or b"<?xml" in start) if kind == "svg+xml" else start.startswith(b"\x89PNG")
        assert int(attrs["width"]) > 300
        assert int(attrs["height"]) > 200
    told = [attrs["alt"] for attrs in images]
    assert sum(len(alt) > 40 and not alt.startswith("As before") for alt in told) == 6
    assert sum("epoch" in alt for alt in told if alt.startswith("As before")) == 1 + 3 + 3 + 4 + 4


def test_headline_hypothesis_and_methods_are_on_the_page(result, page):
    words = " ".join("".join(page.text).split())
    for sentence in (result.headline, result.hypothesis, result.methods()):
        assert " ".join(sentence.split()) in words


def test_table_of_findings_holds_the_smallest_p_values(result, page):
    ds = result.dataset
    start = next(index for index, row in enumerate(page.rows) if row[-1:] == ["p_max"])
    head, rows = page.rows[start], page.rows[start + 1 : start + 145]
    smallest = np.sort(ds["p_max"].values.ravel())
    np.testing.assert_allclose([float(row[head.index("p_max")]) for row in rows], smallest, rtol=5e-3)
    epoch, a, b, band = rows[0][:4]
    feature = ds.sel(epoch=epoch, channel_a=a, channel_b=b, band=band)
    assert rows[0][4] == f"{feature['n_dyads'].item()}"
    shown = rows[0][5:]
    assert shown[0] == f"{feature['group_statistic'].item():.3f}"
    assert shown[1] == f"{feature['group_null_mean'].item():.3f}"
    assert float(shown[4]) == pytest.approx(feature["p"].item(), rel=5e-3)
    low, high = (float(end) for end in shown[5].split(" to "))
    assert low == pytest.approx(feature["p_low"].item(), abs=1e-3)
    assert high == pytest.approx(feature["p_high"].item(), rel=5e-3)


def test_rows_that_survive_are_marked(result, page):
    kept = sum(attrs.get("class") == "kept" for attrs in page.attributes("tr"))
    assert kept == int((result.dataset["p_max"] <= 0.05).sum()) > 0


@pytest.mark.usefixtures("no_pictures")
def test_effects_have_their_intervals_and_exact_p_have_none(small):
    ds = small.dataset.copy(deep=True)
    ds["p_low"], ds["p_high"] = ds["p"].copy(), ds["p"].copy()
    ds["statistic_low"], ds["statistic_high"] = ds["group_statistic"] - 0.25, ds["group_statistic"] + 0.125
    page = Page(html_page(Result(ds)))
    start = next(index for index, row in enumerate(page.rows) if row[-1:] == ["p_max"])
    head, row = page.rows[start : start + 2]
    assert "95 % interval of p" not in head
    statistic = float(row[head.index(str(ds.attrs["statistic"]))])
    low, high = map(float, row[head.index("95 % interval")].split(" to "))
    assert (low, high) == pytest.approx((statistic - 0.25, statistic + 0.125), abs=2e-3)


@pytest.mark.usefixtures("no_pictures")
def test_columns_in_which_nothing_stands_are_left_out(small):
    ds = small.dataset.assign_coords(group=("dyad", [""] * 4))
    page = Page(html_page(Result(ds)))
    head = next(row for row in page.rows if "valid, mean" in row)
    assert "group" not in head
    assert head[:2] == ["dyad", "session"]


@pytest.mark.usefixtures("no_pictures")
def test_everything_lost_is_listed_with_its_reason(small):
    lost = [[f"d{k}", "1", "", "(all)", "talk", "(all)", "(all)", "no value", f"reason {k}", "fix"] for k in range(30)]
    page = Page(html_page(Result(small.dataset.assign_attrs(lost=json.dumps(lost)))))
    start = next(index for index, row in enumerate(page.rows) if row[-2:] == ["reason", "fix"])
    assert "task" not in page.rows[start]
    assert [row[-2] for row in page.rows[start + 1 : start + 31]] == [f"reason {k}" for k in range(30)]


def test_several_results_have_a_title_each_and_figures_are_numbered_through(small):
    hbr = Result(small.dataset.assign_coords(signal="hbr"), small.null)
    page = Page(html_page([small, hbr]))
    titles = [heading for heading in page.headings if re.match(r"\d\. ", heading)]
    assert titles == ["1. Wavelet transform coherence, hbo", "2. Wavelet transform coherence, hbr"]
    figures = [int(re.match(r"Figure (\d+)\.", text)[1]) for text in page.headings if text.startswith("Figure")]
    assert figures == list(range(1, len(figures) + 1))
    assert len({attrs["id"] for attrs in page.attributes("article")}) == 2


@pytest.mark.usefixtures("no_pictures")
def test_dyads_of_one_session_are_told_from_those_of_several():
    real = make_real(3, 2)
    page = Page(html_page(Result(real.isel(dyad=[0, 1, 2, 3], channel_a=[0], channel_b=[0]))))
    assert "3 dyads, 4 dyad sessions, 2 of the dyads in one only" in page.text


@pytest.mark.parametrize(("alpha", "n"), [(0.001, 0), (0.01, 1), (0.05, 3)])
def test_page_is_coloured_at_the_level_of_the_test(small, alpha, n):
    ds = small.dataset.copy(deep=True).assign_attrs(alpha=alpha)
    ds["p_max"].values.flat[:] = [0.01, 0.026, 0.05, 0.9]
    page = Page(html_page(Result(ds)))
    assert sum(attrs.get("class") == "kept" for attrs in page.attributes("tr")) == n
    text = "".join(page.text)
    assert f"Coloured: p_max ≤ {alpha:g} (family-wise)" in text
    assert f"Dots: p_max ≤ {alpha:g} (family-wise)" in text
    assert f"{n} are marked" in next(a["alt"] for a in page.attributes("img") if "are marked" in a["alt"])
    others = {"0.001", "0.01", "0.05"} - {f"{alpha:g}"}
    assert not any(f"≤ {other} " in text for other in others)


def test_inputs_and_settings_are_listed(page):
    cells = {row[0]: row[1] for row in page.rows if len(row) == 2}
    assert cells["study file, SHA-256"] == "ab" * 32
    assert cells["seed"] == "7"
    assert cells["draws of the null"] == "199"
    assert cells["bands"] == "task: 0.02, 0.1; slow: 0.01, 0.02"
    assert not [value for value in cells.values() if re.search(r'[\[\]{}"]|^$|^null$', value)]
    assert cells["numpy"] == "2.1.0"
    assert cells["least valid fraction"] == "0.5"
    assert cells["near ties, all features"] == "0"


@pytest.mark.usefixtures("no_pictures")
def test_quality_table_tells_valid_and_missing_shares(small):
    ds = small.dataset.copy(deep=True)
    ds["value"][2, 0, 0] = np.nan
    ds["valid_fraction"][2] = 0.25
    ds["valid_fraction"][2, 0, 0, 0, 0] = 0.125
    page = Page(html_page(Result(ds)))
    row = next(row for row in page.rows if row[:2] == ["dyad03", "ses-1"])
    assert row[-3:] == ["21.9%", "12.5%", "50.0%"]


@pytest.mark.usefixtures("no_pictures")
def test_quality_is_of_the_pairs_that_were_asked_for(small):
    ds = small.dataset.copy(deep=True)
    first = str(ds["channel_a"][0].item()), str(ds["channel_b"][0].item())
    ds["valid_fraction"][:] = 0.0
    ds["valid_fraction"][:, :, 0, 0] = 0.5
    ds["value"][:, :, 1:, 1:] = np.nan
    page = Page(html_page(Result(ds.assign_attrs(pairs=json.dumps([first])))))
    row = next(row for row in page.rows if row[:2] == ["dyad03", "ses-1"])
    assert row[-3:] == ["50.0%", "50.0%", "0.0%"]


@pytest.mark.usefixtures("no_pictures")
def test_quality_of_a_large_study_shows_the_worst_rows(monkeypatch):
    monkeypatch.setattr("ibsync.results.report_tables._MOST_ROWS", 60)
    ds = make_real(70)
    ds["valid_fraction"][[3, 68]] = [[[[[0.05]]]], [[[[np.nan]]]]]
    page = Page(html_page(Result(ds.isel(channel_a=[0], channel_b=[0]))))
    dyads = [row[0] for row in page.rows if re.fullmatch(r"dyad\d\d", row[0])]
    assert len(dyads) == 60
    assert {"dyad04", "dyad69"} <= set(dyads)
    assert "60 of 70 rows with the least valid" in "".join(page.text)


def test_hostile_labels_stay_text(small):
    hostile = '<script>alert("1")</script>&amp;\'"><img src=x onerror=alert(1)>$headline'
    ds = small.dataset.assign_coords(
        dyad=[hostile] * 4,
        session=("dyad", [hostile, "1", "2", "3"]),
        person_a=("dyad", [hostile] * 4),
        channel_a=[hostile + str(index) for index in range(2)],
        epoch=[hostile],
        band=[hostile],
        signal=hostile,
    )
    ds = ds.assign_attrs(backend=hostile, study_sha256=hostile, hypothesis=hostile, not_excluded=hostile, tail=hostile)
    labels = {name: ds[name].values for name in ("epoch", "band")}
    page = Page(html_page(Result(ds, small.null.assign_coords(labels))))
    assert page.attributes("script") == [{}]
    assert all(attrs["src"].startswith("data:image/") for attrs in page.attributes("img"))
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert any(row[0] == hostile for row in page.rows)
    assert {"backend", hostile} in [set(row) for row in page.rows]
    for attrs in page.attributes("img"):
        payload = b64decode(attrs["src"].split(",", 1)[1])
        assert b"<script" not in payload
        assert b"onerror" not in re.sub(rb"<!--.*?-->", b"", payload, flags=re.DOTALL)


def test_labels_the_font_lacks_and_broken_text_do_not_stop_the_page(small, tmp_path):
    ds = small.dataset.assign_coords(channel_a=["二人 🙂", "\ud800x"], channel_b=["a--b\x00\x1b", " "])
    written = report(Result(ds), tmp_path / "out.html").read_text(encoding="utf-8")
    assert "二人" in written


def test_equal_results_give_equal_pages(small):
    assert html_page(Result(small.dataset.copy(deep=True), small.null)) == html_page(small)


def test_page_of_real_synchrony_has_neither_null_nor_p(tmp_path):
    page = Page(html_page(Result(make_real(4).isel(epoch=[0], band=[0]))))
    assert len(page.attributes("img")) == 2
    assert "Smallest p-values" not in page.headings
    assert "nothing was tested" in "".join(page.text)


def test_many_panels_are_cut_and_the_cut_is_told():
    real = make_real(3)
    many = real.isel(epoch=[0, 1] * 8).assign_coords(epoch=[f"e{index}" for index in range(16)])
    text = "".join(Page(html_page(Result(many.isel(channel_a=[0, 1], channel_b=[0, 1])))).text)
    assert "The first 12 of 32 panels are shown" in text


def test_all_missing_result_still_makes_a_page(small):
    ds = small.dataset.copy(deep=True)
    for name in ds.data_vars:
        if ds[name].dtype.kind == "f":
            ds[name] = ds[name].where(False)
    page = Page(html_page(Result(ds, small.null)))
    assert "No value could be tested" in "".join(page.text)


def test_failed_write_keeps_the_old_page(small, tmp_path, monkeypatch):
    path = tmp_path / "out.html"
    path.write_text(old := '<meta name="generator" content="ibsync">')

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(storage.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        report(small, path)
    assert path.read_text() == old
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.html"]


def test_path_is_refused_before_the_pictures_are_drawn(result, tmp_path, monkeypatch):
    monkeypatch.setattr("ibsync.results.report.html_page", lambda result: pytest.fail("drawn for nothing"))
    with pytest.raises(InputError, match="does not exist"):
        report(result, tmp_path / "missing" / "out.html")


def test_settings_of_the_users_plots_are_left_alone(small):
    import matplotlib as mpl

    text = html_page(small)
    with mpl.rc_context({"font.size": 33, "axes.facecolor": "black", "svg.hashsalt": "mine"}):
        assert html_page(small) == text
        assert mpl.rcParams["font.size"] == 33


def test_panels_without_a_value_are_not_drawn_and_the_smallest_p_comes_first():
    result = make_result(4, 1, n_draws=19)
    many = result.dataset.isel(epoch=[0, 1] * 8).assign_coords(epoch=[f"e{index}" for index in range(16)])
    many = many.isel(band=[0], channel_a=[0, 1], channel_b=[0, 1]).copy(deep=True)
    for name in ("value", "p", "group_statistic"):
        many[name][{"epoch": [0, 1]}] = np.nan
    many["p"][{"epoch": range(2, 16)}] = 0.5
    many["p"][{"epoch": 9}] = 0.001
    page = Page(html_page(Result(many)))
    alts = [attrs["alt"] for attrs in page.attributes("img")]
    drawn = [alt for alt in alts if alt.startswith("As before: epoch")]
    assert not [alt for alt in drawn if "epoch e0" in alt or re.search(r"epoch e1\b", alt)]
    text = "".join(page.text)
    assert "The first 12 of 14 panels are shown" in text
    assert drawn[0] == "As before: epoch e2."
    assert not any("epoch e9" in alt for alt in drawn)  # it stands first, under the words of the whole figure
