"""The kernels' shared header gives the numbers of the NumPy side, compiled here as C++."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from ibsync.nulls.random_streams import _rounds, integers

HEADER = Path(__file__).parents[2] / "kernels" / "common.cuh"

PROGRAM = """
#include <cstdio>
#include "common.cuh"
int main() {
    unsigned c[4], k[2];
    while (std::scanf("%u %u %u %u %u %u", c, c + 1, c + 2, c + 3, k, k + 1) == 6) {
        ibsync::Words4 out = ibsync::philox4x32_10({c[0], c[1], c[2], c[3]}, k[0], k[1]);
        std::printf("%u %u %u %u %u\\n", out.x, out.y, out.z, out.w, ibsync::below(out.x, 1000u));
    }
}
"""

compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")


@pytest.fixture(scope="module")
def philox(tmp_path_factory):
    """Words of the header's generator for rows of (counter, key)."""
    if compiler is None:
        pytest.skip("no C++ compiler")
    folder = tmp_path_factory.mktemp("philox")
    (folder / "main.cpp").write_text(PROGRAM, encoding="utf-8")
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Werror", f"-I{HEADER.parent}"]
    subprocess.run([compiler, *flags, str(folder / "main.cpp"), "-o", str(folder / "main")], check=True)

    def run(rows):
        text = "\n".join(" ".join(map(str, row)) for row in rows)
        done = subprocess.run([str(folder / "main")], input=text, capture_output=True, text=True, check=True)
        return np.array([line.split() for line in done.stdout.splitlines()], dtype=np.uint64)

    return run


def test_header_gives_the_published_known_answers(philox):
    ones = 0xFFFFFFFF
    pi = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0)
    got = philox([(0,) * 6, (ones,) * 6, pi])[:, :4]
    assert got.tolist() == [
        [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8],
        [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ]


def test_header_and_numpy_draw_the_same_words_and_integers(philox):
    rows = np.random.default_rng(3).integers(0, 2**32, (200, 6), dtype=np.uint64)
    got = philox(rows.tolist())
    expected = np.stack([_rounds(list(row[:4]), int(row[4]), int(row[5])) for row in rows]).astype(np.uint32)
    np.testing.assert_array_equal(got[:, :4], expected.astype(np.uint64))
    np.testing.assert_array_equal(got[:, 4], np.asarray(integers(expected[:, 0], 1000)).astype(np.uint64))
