"""The harness sees faults: each kernel of `planted` has one, and a run of it must end with the right words."""

from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import ORDERS, host_reason
from host_module import HERE, HostDevice
from planted import N, planted
from sanitized import run

pytestmark = pytest.mark.skipif(host_reason() is not None, reason=str(host_reason()))


def outcome(kernel: str, mode: str = "none", order: str = "forward"):
    """The result of a planted kernel, or the words with which its process ended."""
    done = run(mode, str(HERE / "planted.py"), kernel, str(ORDERS[order]))
    return np.array(json.loads(done.stdout.replace("nan", "NaN"))) if done.returncode == 0 else done.stderr


@pytest.mark.parametrize("mode", ["none", "address", "thread"])
def test_a_sound_kernel_passes(mode):
    reversed_values = np.arange(N, 0, -1)
    expected = reversed_values + reversed_values.reshape(-1, 2)[:, ::-1].reshape(-1)
    np.testing.assert_array_equal(outcome("sound", mode), expected)


@pytest.mark.parametrize(
    ("kernel", "words"),
    [
        ("dynamic_overrun", "wrote beside the dynamic shared memory"),
        ("dynamic_underrun", "wrote beside the dynamic shared memory"),
        ("barrier_in_branch", "threads wait at different barriers"),
        ("return_before_barrier", "a thread returned while others wait at __syncthreads"),
        ("lane_missing", "a matrix instruction needs all 32 lanes|a lane returned while others of its warp wait"),
        ("lane_left_out", "a mask leaves out a live lane"),
        ("copy_not_aligned", "address of a 16-byte access is not a multiple of 16"),
    ],
)
def test_the_shim_stops(kernel, words):
    ended = outcome(kernel)
    assert isinstance(ended, str), f"{kernel} went through"
    assert any(word in ended for word in words.split("|")), ended


@pytest.mark.parametrize("kernel", ["missing_barrier", "missing_second_barrier"])
def test_a_missing_barrier_changes_the_result(kernel):
    forward, backward = outcome(kernel), outcome(kernel, order="backward")
    assert not np.array_equal(forward, backward, equal_nan=True)


def test_memory_that_nobody_wrote_is_nan():
    found = outcome("unwritten")
    assert found[0] == 1
    assert np.isnan(found[1:]).all()


@pytest.mark.parametrize(
    ("kernel", "words"),
    [
        ("static_overrun", "global-buffer-overflow"),
        ("dynamic_overrun", "use-after-poison"),
        ("write_outside", "heap-buffer-overflow"),
        ("read_outside", "heap-buffer-overflow"),
        ("overflowing", "signed integer overflow"),
    ],
)
def test_the_address_sanitizer_names_the_line(kernel, words):
    ended = outcome(kernel, "address")
    assert isinstance(ended, str), f"{kernel} went through"
    assert words in ended
    assert "kernels/planted.cu:" in ended


@pytest.mark.parametrize(
    "kernel", ["missing_barrier", "missing_second_barrier", "lost_update", "shuffle_is_no_barrier"]
)
def test_the_thread_sanitizer_names_the_race(kernel):
    ended = outcome(kernel, "thread")
    assert isinstance(ended, str), f"{kernel} went through"
    assert "data race" in ended
    assert "kernels/planted.cu:" in ended


@pytest.mark.parametrize(
    ("place", "value", "text"),
    [
        (0, np.zeros(N), r"argument 0: the kernel wants \*f4, got \*f8"),
        (0, np.zeros(2 * N, np.float32)[::2], "argument 0 is not C-contiguous"),
        (2, N, "argument 2: the kernel wants i4, got int"),
        (2, np.int64(N), "argument 2: the kernel wants i4, got i8"),
    ],
)
def test_the_compiled_signature_refuses_what_the_launcher_would_not_have_cast(place, value, text):
    """The launcher reads the source, the shim has the compiler's types: one checks the other."""
    arguments = [np.zeros(N, np.float32), np.zeros(N, np.float32), np.int32(N)]
    arguments[place] = value
    raw = planted(HostDevice())["sound"].raw
    with pytest.raises(TypeError, match=text):
        raw((1,), (N,), arguments, shared_mem=4 * N)


def test_the_compiled_signature_refuses_a_wrong_count_and_an_empty_grid():
    raw = planted(HostDevice())["sound"].raw
    with pytest.raises(TypeError, match="takes 3 arguments, got 0"):
        raw((1,), (N,), ())
    with pytest.raises(ValueError, match="empty grid"):
        raw((0,), (N,), (np.zeros(N, np.float32), np.zeros(N, np.float32), np.int32(N)))
