"""Budgets say what they mean; arrays in a file are arrays, leave nothing behind, and fail in one clear line."""

import os
import signal
import subprocess
import sys
import tempfile

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from ibsync.errors import InputError, PlanError
from ibsync.recordings.memory import Budget, array_as, held_bytes, in_parts, map_of, release

MB = 10**6


@pytest.mark.parametrize(
    ("memory", "n_bytes"),
    [("8G", 8000 * MB), ("500M", 500 * MB), (" 2 gb", 2000 * MB), ("7.5GiB", 15 << 29), (5, 5), ("1024", 1024)],
)
def test_amounts_of_memory(memory, n_bytes):
    assert Budget.of(memory) == Budget(n_bytes)


@pytest.mark.parametrize("memory", ["8 gigs", 0, "0G", "-1G", -1, True, 1.5, "", "1e9", "inf", "G", [1]])
def test_what_is_no_amount_is_refused(memory):
    with pytest.raises(PlanError, match="no amount of memory"):
        Budget.of(memory)


def test_no_budget_is_no_limit():
    assert Budget.of(None) == Budget()
    Budget().require(1 << 60, "anything")
    assert map_of(Budget().array((3,), np.float32)) is None


def test_less_than_is_needed_is_refused_with_what_is_needed():
    with pytest.raises(PlanError, match=r"memory=1M is too little: a thing needs at least \d+M") as error:
        Budget(MB).require(5 * MB, "a thing")
    needed = str(error.value).split("at least ")[1].split(",")[0]
    assert 0 <= Budget.of(needed).n_bytes - held_bytes() - 5 * MB < 8 * MB
    Budget(held_bytes() + 20 * MB).require(5 * MB, "a thing")


def test_an_array_lies_in_memory_where_that_holds_it(tmp_path):
    held = held_bytes()
    for room, in_file in [(40 * MB, False), (2 * MB, True)]:
        values = Budget(held + room, tmp_path).array((10, 100_000), np.float32)
        assert (map_of(values) is not None) == in_file
        assert (map_of(values.T[3:]) is not None) == in_file
        assert (map_of(array_as(values.T, (2, 3), np.float32)) is not None) == in_file
        assert_array_equal(values, 0)


@pytest.mark.skipif(not held_bytes(), reason="the system does not say what is held")
def test_memory_of_a_file_is_given_back_and_its_values_stay(tmp_path):
    expected = np.arange(20_000_000, dtype=np.float32).reshape(20, -1)
    values = Budget(1, tmp_path).array(expected.shape, np.float32)
    held = held_bytes()
    for part in in_parts(values):
        values[part] = expected[part]
    assert held_bytes() - held < 8 * MB
    assert_array_equal(values[3], expected[3])
    values[3] = 7
    release(values[::2].T)
    assert_array_equal(values[3], 7)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_before_the_work(tmp_path):
    with pytest.raises(InputError, match=r"cannot hold .* free some space"):
        Budget(1, tmp_path).array((1 << 55,), np.float32)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_gone_is_named(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"gone: cannot hold .* set TMPDIR"):
        Budget(1, tmp_path / "gone").array((4,), np.float32)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone too"))
    with pytest.raises(InputError, match="gone too: cannot hold"):
        Budget(1).array((4,), np.float32)


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be removed there")
def test_values_outlive_their_folder(tmp_path):
    folder = tmp_path / "spill"
    folder.mkdir()
    values = Budget(1, folder).array((1000,), np.float32)
    folder.rmdir()
    values[:] = 3
    release(values)
    assert_array_equal(values, 3)


@pytest.mark.skipif(sys.platform == "win32", reason="signals differ there")
@pytest.mark.parametrize("name", ["SIGINT", "SIGKILL"])
def test_nothing_is_left_behind_when_the_process_ends(tmp_path, name):
    code = (
        "import pathlib, sys, time\nfrom ibsync.recordings.memory import Budget\n"
        "values = Budget(1, pathlib.Path(sys.argv[1])).array((10**6,), 'f4')\nvalues[:] = 1\n"
        "print('ready', flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout.readline().strip() == b"ready"
        os.kill(process.pid, getattr(signal, name))
    assert process.returncode != 0
    assert list(tmp_path.iterdir()) == []
