"""The tensor-core functions compute the matrix products that the PTX ISA's tables of fragments say."""

from __future__ import annotations

import numpy as np
import pytest
from nvrtc_proof import ARCHITECTURES, compile_for

from ibsync.coupling.backends.cuda.kernel_text import expand_text
from ibsync.coupling.backends.cuda.launch import compiled

# Fragments are read from global memory by the tables of "Matrix Fragments for mma.m16n8k16 with floating point type",
# written as they stand there, element by element; the matrices are loaded by ldmatrix in a second kernel.
SOURCE = r"""
#include "mma.cuh"

// One warp. a [16, 16], b [16, 8] halves; d [16, 8], added to.
extern "C" __global__ void by_table(const unsigned short* a, const unsigned short* b, float* d) {
    const unsigned group = threadIdx.x >> 2, member = threadIdx.x % 4;
    unsigned fa[4] = {0u, 0u, 0u, 0u}, fb[2] = {0u, 0u};
    for (unsigned i = 0; i < 8; ++i) {
        const unsigned row = i < 2 || (4 <= i && i < 6) ? group : group + 8;
        const unsigned column = i < 4 ? member * 2 + (i & 1) : member * 2 + (i & 1) + 8;
        fa[i / 2] |= static_cast<unsigned>(a[16 * row + column]) << 16 * (i & 1);
    }
    for (unsigned i = 0; i < 4; ++i) {
        const unsigned row = i < 2 ? member * 2 + (i & 1) : member * 2 + (i & 1) + 8;
        fb[i / 2] |= static_cast<unsigned>(b[8 * row + group]) << 16 * (i & 1);
    }
    float fd[4];
    for (unsigned i = 0; i < 4; ++i) fd[i] = d[8 * (i < 2 ? group : group + 8) + member * 2 + (i & 1)];
    ibsync::mma_f16(fd, fa, fb);
    for (unsigned i = 0; i < 4; ++i) d[8 * (i < 2 ? group : group + 8) + member * 2 + (i & 1)] = fd[i];
}

// The same with ldmatrix and asynchronous copies; b as it stands [16, 8], or turned [8, 16].
extern "C" __global__ void by_ldmatrix(const unsigned short* a, const unsigned short* b, float* d, bool turned) {
    IBSYNC_DYNAMIC_SHARED(memory);
    unsigned short* tile_a = reinterpret_cast<unsigned short*>(memory);
    unsigned short* tile_b = tile_a + 256;
    const unsigned lane = threadIdx.x;
    ibsync::cp_async_16(tile_a + 8 * lane, a + 8 * lane, true);
    if (lane < 16) ibsync::cp_async_16(tile_b + 8 * lane, b + 8 * lane, true);
    ibsync::cp_async_commit();
    ibsync::cp_async_wait<0>();
    __syncthreads();
    unsigned fa[4], fb[2];
    ibsync::ldmatrix_x4(fa, tile_a + 16 * (lane % 16) + 8 * (lane / 16));
    if (turned) ibsync::ldmatrix_x2(fb, tile_b + 16 * (lane % 8) + 8 * (lane / 8 % 2));
    else ibsync::ldmatrix_x2_trans(fb, tile_b + 8 * (lane % 16));
    float fd[4] = {0.f, 0.f, 0.f, 0.f};
    ibsync::mma_f16(fd, fa, fb);
    const unsigned group = lane / 4, member = lane % 4;
    for (unsigned i = 0; i < 4; ++i) d[8 * (i < 2 ? group : group + 8) + member * 2 + (i & 1)] = fd[i];
}

// Four matrices [8, 8] to [matrix, 8, 8], each lane its two elements; transposed on request.
extern "C" __global__ void matrices(const unsigned short* in, unsigned* out, bool transposed) {
    __shared__ __align__(16) unsigned short tile[256];
    for (unsigned i = threadIdx.x; i < 256; i += 32) tile[i] = in[i];
    __syncthreads();
    unsigned r[4];
    if (transposed) ibsync::ldmatrix_x4_trans(r, tile + 8 * threadIdx.x);
    else ibsync::ldmatrix_x4(r, tile + 8 * threadIdx.x);
    for (unsigned m = 0; m < 4; ++m) out[32 * m + threadIdx.x] = r[m];
}

extern "C" __global__ void halves(const float* in, unsigned* packed, float* low, float* high, int n) {
    const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (i >= n) return;
    packed[i] = ibsync::pack_half2(in[2 * i], in[2 * i + 1]);
    low[i] = ibsync::half_low(packed[i]);
    high[i] = ibsync::half_high(packed[i]);
}

// Two groups of copies; `early` reads before the second wait.
extern "C" __global__ void copies(const float4* in, float4* out, int n_valid, bool early) {
    __shared__ float4 tile[64];
    const int t = static_cast<int>(threadIdx.x);
    ibsync::cp_async_16(tile + t, in + t, t < n_valid);
    ibsync::cp_async_commit();
    ibsync::cp_async_16(tile + 32 + t, in + 32 + t, 32 + t < n_valid);
    ibsync::cp_async_commit();
    ibsync::cp_async_wait<1>();
    out[t] = tile[t];
    if (!early) ibsync::cp_async_wait<0>();
    out[32 + t] = tile[32 + t];
}
"""

DOUBLE = r"""
#include "mma.cuh"
extern "C" __global__ void product(const double* a, const double* b, double* d) {
    const unsigned group = threadIdx.x >> 2, member = threadIdx.x % 4;
    double fd[2] = {d[8 * group + 2 * member], d[8 * group + 2 * member + 1]};
    ibsync::mma_f64(fd, a[4 * group + member], b[8 * member + group]);
    d[8 * group + 2 * member] = fd[0];
    d[8 * group + 2 * member + 1] = fd[1];
}
"""


@pytest.fixture
def kernels(device):
    return compiled(expand_text(SOURCE, "mma_test.cu"), "mma_test", device)


def product(kernels, a, b, how):
    a, b, d = a.astype(np.float16), b.astype(np.float16), np.zeros((16, 8), np.float32)
    if how == "table":
        kernels["by_table"](1, 32, (a, b, d))
    else:
        turned = how == "turned"
        kernels["by_ldmatrix"](1, 32, (a, b.T.copy() if turned else b, d, turned), shared_bytes=768)
    return d


@pytest.mark.parametrize("how", ["table", "turned", "straight"])
def test_every_element_of_a_and_b_has_its_place(kernels, how):
    """Elements that all differ, times a matrix that picks each of them once."""
    a, b = np.arange(256.0).reshape(16, 16), np.arange(128.0).reshape(16, 8)
    for first in (0, 8):
        np.testing.assert_array_equal(
            product(kernels, a, np.eye(16)[:, first : first + 8], how), a[:, first : first + 8]
        )
    np.testing.assert_array_equal(product(kernels, np.eye(16), b, how), b)


@pytest.mark.parametrize("how", ["table", "turned", "straight"])
def test_the_product_is_that_of_numpy(kernels, how):
    rng = np.random.default_rng(1)
    a, b = rng.integers(-8, 9, (16, 16)).astype(float), rng.integers(-8, 9, (16, 8)).astype(float)
    np.testing.assert_array_equal(product(kernels, a, b, how), a @ b)  # small whole numbers: every sum is exact


def test_the_product_is_added_to_what_is_there(kernels):
    d = np.arange(128, dtype=np.float32).reshape(16, 8)
    kernels["by_table"](1, 32, (np.eye(16, dtype=np.float16), np.ones((16, 8), np.float16), d))
    np.testing.assert_array_equal(d, np.arange(128).reshape(16, 8) + 1)


@pytest.mark.parametrize("transposed", [False, True])
def test_ldmatrix_gives_each_lane_two_elements_of_its_row(kernels, transposed):
    tiles, out = np.arange(256, dtype=np.uint16).reshape(4, 8, 8), np.zeros((4, 32), np.uint32)
    kernels["matrices"](1, 32, (tiles, out, transposed))
    expected = tiles.transpose(0, 2, 1) if transposed else tiles
    np.testing.assert_array_equal(out.view(np.uint16).reshape(4, 8, 8), expected)


def packed_halves(kernels, values):
    pairs = np.asarray(values, np.float32).reshape(-1, 2)
    packed = np.zeros(len(pairs), np.uint32)
    low, high = np.zeros((2, len(pairs)), np.float32)
    kernels["halves"](-(-len(pairs) // 64), 64, (pairs, packed, low, high, len(pairs)))
    return packed.view(np.float16), np.stack([low, high], axis=1).reshape(-1)


def test_every_half_is_read_as_the_number_it_is(kernels):
    every = np.arange(65536, dtype=np.uint16).view(np.float16)
    packed, read = packed_halves(kernels, every.astype(np.float32))
    np.testing.assert_array_equal(read, every.astype(np.float32))
    number = ~np.isnan(every)
    np.testing.assert_array_equal(packed.view(np.uint16)[number], every.view(np.uint16)[number])


def test_floats_are_rounded_to_the_nearest_half_and_ties_to_even(kernels):
    rng = np.random.default_rng(2)
    halves = np.arange(0, 0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    ties = (halves[:-1] + halves[1:]) / 2  # exact in float32, subnormals included
    random = rng.standard_normal(20_000) * 2.0 ** rng.integers(-30, 18, 20_000)
    edges = [65519.996, 65520.0, 65536.0, 1e30, np.inf, 2**-25, np.nextafter(np.float32(2**-25), np.float32(1)), 1e-40]
    values = np.concatenate(
        [ties, np.nextafter(ties, np.float32(0)), np.nextafter(ties, np.float32(1e9)), random, edges]
    )
    values = np.concatenate([values, -values]).astype(np.float32)
    with np.errstate(over="ignore"):
        expected = values.astype(np.float16)
    packed, _ = packed_halves(kernels, values)
    np.testing.assert_array_equal(packed.view(np.uint16), expected.view(np.uint16))


def test_copies_are_there_after_their_wait_and_zero_where_not_valid(kernels):
    source, out = np.arange(256, dtype=np.float32).reshape(64, 4), np.empty((64, 4), np.float32)
    kernels["copies"](1, 32, (source, out, 50, False))
    np.testing.assert_array_equal(out, np.where(np.arange(64)[:, None] < 50, source, 0))


def test_a_missing_wait_is_seen(kernels):
    source, out = np.ones((64, 4), np.float32), np.zeros((64, 4), np.float32)
    kernels["copies"](1, 32, (source, out, 64, True))
    assert np.isfinite(out[:32]).all()
    assert np.isnan(out[32:]).all()


def test_the_product_in_double_precision_is_that_of_numpy(device):
    kernel = compiled(expand_text(DOUBLE, "mma_double.cu"), "mma_double", device)["product"]
    a, b, d = np.arange(32.0).reshape(8, 4), np.arange(32.0).reshape(4, 8), np.ones((8, 8))
    kernel(1, 32, (a, b, d))
    np.testing.assert_array_equal(d, a @ b + 1)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_instructions_compile(architecture):
    found = compile_for(architecture, expand_text(SOURCE, "mma_test.cu"), "mma_test")
    assert len(found.kernels) == 5
    assert not found.double
    if architecture >= 80:
        assert compile_for(architecture, expand_text(DOUBLE, "mma_double.cu"), "mma_double").double
