"""A journal survives torn records, changed bits and full disks, and is never given to another computation."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from ibsync.errors import InputError, PlanError
from ibsync.recordings import journal as journals
from ibsync.recordings.journal import Journal

ASKED = {"seed": 7, "study_sha256": "ab" * 32, "ibsync_version": "0.1.0", "bands": {"task": (0.1, 0.2)}}


def arrays_of(number):
    rng = np.random.default_rng(number)
    return {
        "value/real": rng.standard_normal((number % 3, 4)).astype(np.float32),
        "value/z": rng.standard_normal(5) + 1j * number,
        "flag": np.array(number % 2 == 0),
    }


def written(path, numbers, *of, **words):
    with Journal.open(path, ASKED, **words) as journal:
        for number in numbers:
            journal.part(*of).append(number, arrays_of(number))


def assert_held(path, numbers, *of):
    with Journal.open(path, ASKED) as journal:
        part = journal.part(*of)
        held = {number: part.get(number) for number in part.numbers}
    assert sorted(held) == sorted(numbers)
    for number, arrays in held.items():
        for name, array in arrays_of(number).items():
            assert_array_equal(arrays[name], array)
            assert arrays[name].dtype == array.dtype


def test_what_was_written_comes_back_by_call_and_number(tmp_path):
    path = tmp_path / "out.h5.journal"
    written(path, [3, 0, 8], "null", "hbo")
    written(path, [1, 3], "null", "hbr")
    assert_held(path, [0, 3, 8], "null", "hbo")
    assert_held(path, [1, 3], "null", "hbr")
    assert_held(path, [], "null")


def test_a_part_can_be_read_as_soon_as_it_is_written_even_over_a_torn_one(tmp_path):
    path = tmp_path / "j"
    written(path, range(4))
    path.write_bytes(path.read_bytes()[:-5])
    with Journal.open(path, ASKED) as journal:
        part = journal.part()
        assert part.numbers == {0, 1, 2}
        for number in (3, 4):
            part.append(number, arrays_of(number))
            assert_array_equal(part.get(number)["value/z"], arrays_of(number)["value/z"])


def test_cut_anywhere_a_file_gives_the_records_that_are_whole_and_grows_again(tmp_path):
    path, cut = tmp_path / "whole", tmp_path / "cut"
    ends = []
    for number in range(3):
        written(path, [number])
        ends.append(path.stat().st_size)
    content = path.read_bytes()
    for size in range(0, len(content), 7):
        cut.write_bytes(content[:size])
        if 0 < size < len(journals.JOURNAL_MAGIC):
            with pytest.raises(InputError, match="exists and is not an ibsync journal"):
                Journal.open(cut, ASKED)
            continue
        n = sum(end <= size for end in ends)
        assert_held(cut, range(n))
        written(cut, [9])
        assert_held(cut, [*range(n), 9])


def test_one_changed_bit_takes_away_its_record_and_those_after_it(tmp_path):
    path = tmp_path / "j"
    written(path, [0])
    first = path.stat().st_size
    written(path, [1])
    second = path.stat().st_size
    written(path, [2])
    whole = path.read_bytes()
    for at in (first + 3, first + 20, first + 33, first + 60, second - 1):
        changed = bytearray(whole)
        changed[at] ^= 4
        path.write_bytes(bytes(changed))
        assert_held(path, [0])


@pytest.mark.parametrize(
    ("word", "value"), [("seed", 8), ("study_sha256", "cd" * 32), ("ibsync_version", "0.2.0"), ("bands", {})]
)
def test_another_computation_is_refused_by_what_differs(tmp_path, word, value):
    path = tmp_path / "j"
    written(path, [0])
    with pytest.raises(PlanError, match=f"another {word}: .*remove the file to begin anew"):
        Journal.open(path, {**ASKED, word: value})
    with pytest.raises(PlanError, match="another measure: measure=None, now 'x'"):
        Journal.open(path, {**ASKED, "measure": "x"})
    with pytest.raises(PlanError, match="another seed: seed=7, now None"):
        Journal.open(path, {name: value for name, value in ASKED.items() if name != "seed"})
    assert_held(path, [0])


def test_what_is_no_journal_stays_as_it_is(tmp_path):
    path = tmp_path / "thesis.txt"
    path.write_text("a thesis")
    with pytest.raises(InputError, match="exists and is not an ibsync journal"):
        Journal.open(path, ASKED)
    assert path.read_text() == "a thesis"
    with pytest.raises(InputError, match=r"folder .* does not exist"):
        Journal.open(tmp_path / "no" / "j", ASKED)


def test_two_cannot_write_one_file(tmp_path):
    path = tmp_path / "j"
    with Journal.open(path, ASKED) as journal:
        journal.part().append(0, arrays_of(0))
        with pytest.raises(InputError, match="by another computation"):
            Journal.open(path, ASKED)
        code = f"from ibsync.recordings.journal import Journal; Journal.open({str(path)!r}, {{}})"
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert "is being written by another computation" in other.stderr
    assert_held(path, [0])


def test_a_full_disk_is_told_of_once_and_ends_nothing(tmp_path, monkeypatch):
    path = tmp_path / "j"
    real, full = journals.write_all, []

    def failing(stream, content):
        if full:
            stream.write(content[:11])
            raise OSError(28, "No space left on device")
        real(stream, content)

    monkeypatch.setattr(journals, "write_all", failing)
    with Journal.open(path, ASKED) as journal:
        part = journal.part()
        part.append(0, arrays_of(0))
        full.append(True)
        with pytest.warns(UserWarning, match=r"No space left.*goes on"):
            part.append(1, arrays_of(1))
        part.append(2, arrays_of(2))  # a second warning would be an error
        full.clear()
        part.append(3, arrays_of(3))
        assert part.numbers == {0, 3}
    assert_held(path, [0, 3])


def test_a_file_that_is_gone_is_told_of(tmp_path, monkeypatch):
    monkeypatch.setattr(journals, "_SYNC_SECONDS", 0.0)
    path = tmp_path / "j"
    with Journal.open(path, ASKED) as journal:
        path.unlink()
        with pytest.warns(UserWarning, match="gone"):
            journal.part().append(0, arrays_of(0))
        journal.part().append(1, arrays_of(1))


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="a superuser writes everywhere")
def test_a_folder_that_takes_no_file_is_refused_before_the_work(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match="no file can be written"):
        Journal.open(tmp_path / "j", ASKED)


def test_notes_are_kept_once_each(tmp_path):
    path = tmp_path / "j"
    with Journal.open(path, ASKED) as journal:
        assert journal.note("avx2") == ["avx2"]
        assert journal.note("avx2") == ["avx2"]
    with Journal.open(path, ASKED) as journal:
        assert journal.note("avx512") == ["avx2", "avx512"]


def test_shards_are_read_together_in_any_order(tmp_path):
    paths = [tmp_path / f"{k}" for k in (1, 2, 3)]
    for k, path in enumerate(paths, 1):
        written(path, [k, 10 + k], share=(k, 3))
    journal = Journal.together([paths[2], paths[0], paths[1]])
    assert journal.part().numbers == {1, 2, 3, 11, 12, 13}
    assert_array_equal(journal.part().get(12)["value/z"], arrays_of(12)["value/z"])
    journal.close()
    for error, given in {
        "shards 2/3 are missing": paths[::2],
        "is shard 1/3, and so is": [*paths, paths[0]],
        "cannot be read": [*paths, tmp_path / "no"],
    }.items():
        with pytest.raises((InputError, PlanError), match=error):
            Journal.together(given)
    with Journal.open(tmp_path / "strange", {**ASKED, "seed": 8}, share=(2, 3)):
        pass
    with pytest.raises(PlanError, match="strange: was begun with another seed: seed=8, now 7"):
        Journal.together([paths[0], tmp_path / "strange", paths[2]])
    written(tmp_path / "whole", [0])
    with pytest.raises(PlanError, match="not a shard"):
        Journal.together([*paths, tmp_path / "whole"])
    written(tmp_path / "other", [0], share=(2, 4))
    with pytest.raises(PlanError, match="is shard 2/4, the others are of 3"):
        Journal.together([*paths, tmp_path / "other"])


def test_objects_are_refused(tmp_path):
    with Journal.open(tmp_path / "j", ASKED) as journal, pytest.raises(TypeError, match="numbers"):
        journal.part().append(0, {"value": np.array([None])})
