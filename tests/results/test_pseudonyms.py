"""A page that leaves the lab: no label of dyad or person in it, and the same numbers."""

import numpy as np

import ibsync as ibs
from ibsync.results.pseudonyms import _Names, pseudonymous
from ibsync.results.report import page_bytes

SPEC = ibs.WTC(bands={"slow": (0.05, 0.3)})


def made():
    rng = np.random.default_rng(0)
    people = {
        (name, session): rng.standard_normal((2, 240))
        for name in ("anna", "berta", "carl", "dora", "emil", "fritz") for session in ("2026-03-01", "2026-03-08")
    }  # fmt: skip
    people["anna", "2026-03-01"][1] = 0  # a channel without a value: a loss that names the person
    dyads = [
        {"dyad": dyad, "person_a": a, "person_b": b, "session": session}
        for dyad, a, b in (("anna+berta", "anna", "berta"), ("7", "carl", "dora"), ("anna", "emil", "fritz"))
        for session in ("2026-03-01", "2026-03-08")
    ]
    study = ibs.Study.from_arrays(people, dyads, sfreq=4.0, signal="hbo")
    return ibs.test(study.synchrony(SPEC), study.null(SPEC, kind="phase", n=19), correct=["max"])


def test_no_label_is_left_and_no_number_is_changed():
    result = made()
    before = result.dataset.copy(deep=True)
    shared, again = pseudonymous([result, result])
    assert result.dataset.identical(before)
    for name in result.dataset.data_vars:
        np.testing.assert_array_equal(shared.dataset[name].values, result.dataset[name].values)
    assert shared.dataset.identical(again.dataset)
    assert sorted(set(shared.dataset.dyad.values)) == ["D1", "D2", "D3"]
    assert len(set(shared.dataset.person_a.values) | set(shared.dataset.person_b.values)) == 6
    assert list(shared.dataset.session.values) == ["1", "2"] * 3
    same = [set(result.dataset.dyad.values[shared.dataset.dyad.values == name]) for name in ("D1", "D2", "D3")]
    assert all(len(labels) == 1 for labels in same)
    page = page_bytes([shared]).decode() + str(shared) + shared.lost.to_string() + str(shared.dataset.attrs)
    for label in ("anna", "berta", "carl", "dora", "emil", "fritz", "2026-03", str(result.dataset.attrs["study"])):
        assert label not in page, label
    assert "anna" in str(result.lost)


def test_one_label_may_name_a_dyad_a_person_and_a_session():
    names = _Names({"01": "P2", "ann": "P1"}, {"01": "D7"}, {"01": "3"})
    assert [names.of(kind, "01") for kind in ("dyad", "person_a", "session", "person")] == ["D7", "P2", "3", "P2"]
    told = names.told("dyad '01', session '01': '01' and ann have 01 values; dyad 01 is left out")
    assert told == "dyad 'D7', session '3': 'P2' and P1 have 01 values; dyad D7 is left out"


def test_short_labels_are_told_from_words_and_dates_are_always_labels():
    names = _Names({"a": "P2", "of": "P1"}, {"a": "D7", "2": "D1"}, {"20240301": "1", "20240308": "2"})
    told = names.told("2 of 3 sessions of dyad a: a channel of person of in session 20240308, 'a' on 20240301, dyad 2")
    assert told == "2 of 3 sessions of dyad D7: a channel of person P1 in session 2, 'P2' on 1, dyad D1"


def test_initials_are_labels_wherever_they_stand():
    names = _Names({"AB": "P3", "s": "P4"}, {"QX": "D2"})
    assert names.told("QX (AB, 's'), each person's own") == "D2 (P3, 'P4'), each person's own"


def test_sessions_that_keep_their_labels_keep_them_in_sentences():
    names = _Names({"1": "P2"}, {"1": "D7"})
    assert names.told("sessions '1', '2' and '1'") == "sessions '1', '2' and '1'"
    assert names.told("dyad '1' in session '1', and session 1") == "dyad 'D7' in session '1', and session 1"
