"""The loader: sources are expanded, signatures read, and wrong launches refused."""

from __future__ import annotations

import re

import numpy as np
import pytest

from ibsync.coupling.backends.cuda.kernel_text import expand, expand_text, kernel_folder
from ibsync.coupling.backends.cuda.launch import compiled, load
from ibsync.coupling.backends.cuda.signatures import declarations
from ibsync.errors import DeviceError

SOURCE = r"""
#include "common.cuh"
// not a kernel: extern "C" __global__ void commented(int n)
extern "C" __global__ void __launch_bounds__(WIDTH * (1 + 1), 2)
scaled(const float* __restrict__ x, /* an, odd; comment */ float* __restrict__ y, float factor, long long n,
       unsigned first, bool negative) {
    const long long i = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i < n) y[i] = (negative ? -1.f : 1.f) * factor * x[first + i];
}
extern "C" __global__ void whole(int* out, int a, long long b, unsigned int c, unsigned long long d, float e, double f,
                                 float2 g, double2 h) {
    out[0] = a == -5 && b == -(1ll << 40) && c == 0xffffffffu && d == ~0ull && e == 0.5f && f == 0.1 && g.y == 2.f
             && h.x == 3.0;
}
extern "C" __global__ void vectors(const float4* x, const unsigned short* y, const ibsync::Complex* z, int* out) {
    out[0] = static_cast<int>(x[1].w) + y[1] + static_cast<int>(z[1].im);
    out[1] = x == nullptr;
}
extern "C" __global__ void reversed(const float* x, float* y) {
    IBSYNC_DYNAMIC_SHARED(memory);
    float* kept = reinterpret_cast<float*>(memory);
    kept[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = kept[blockDim.x - 1 - threadIdx.x];
}
"""


@pytest.fixture
def module(host):
    return compiled(expand_text(SOURCE, "launch_test.cu"), "launch_test", host, WIDTH=64)


# --------------------------------------------------------------------------------------------------
# sources


def test_a_header_stands_once_and_lines_keep_their_numbers():
    text = expand_text('#include "common.cuh"\n#include "mma.cuh"\nint here;\n', "some.cu")
    assert "#include" not in text
    assert text.count("philox4x32_10(Words4 counter") == 1
    assert re.search(r'#line 3 "kernels/some.cu"\nint here;', text)
    assert '#line 1 "kernels/common.cuh"' in text


def test_an_error_names_the_line_of_the_file(host):
    text = expand_text('#include "common.cuh"\n\nint wrong = nothing;\n', "broken.cu")
    with pytest.raises(RuntimeError, match=r"kernels/broken.cu:3:"):
        host.compile(text, "broken", ())


def test_a_source_that_is_not_there_is_named(host):
    with pytest.raises(DeviceError, match=r"no kernel source absent\.cu"):
        load("absent", host)
    with pytest.raises(DeviceError, match=r"no kernel source absent\.cuh"):
        expand_text('#include "absent.cuh"\n', "some.cu")


def test_every_kernel_file_has_its_headers_in_place():
    names = [path.stem for path in kernel_folder().glob("*.cu")]
    assert names
    assert all("#include" not in expand(name) for name in names)


# --------------------------------------------------------------------------------------------------
# signatures


def test_a_signature_is_that_of_the_compiler(module):
    """The parser of the text against what g++ makes of the declaration."""
    codes = {
        "float32": "f4",
        "float64": "f8",
        "int32": "i4",
        "int64": "i8",
        "uint32": "u4",
        "uint64": "u8",
        "bool": "b1",
        "complex64": "c8",
        "complex128": "c16",
    }
    for name in ("scaled", "whole", "reversed"):
        kernel = module[name]
        read = [("*" if p.pointer else "") + codes[str(p.dtypes[0])] for p in kernel.parameters]
        assert read == kernel.raw.signature
    assert [p.name for p in module["scaled"].parameters] == ["x", "y", "factor", "n", "first", "negative"]
    assert module["vectors"].raw.signature == ["*v16", "*u2", "*v8", "*i4"]
    assert set(module.kernels) == {"scaled", "whole", "vectors", "reversed"}


def test_launch_bounds_are_read_with_their_macros(module):
    assert module["scaled"].most_threads == 128
    assert module["whole"].most_threads == 1024


def test_a_type_that_is_not_known_is_named():
    with pytest.raises(DeviceError, match=r"kernel k: the type of parameter 'const Words4\* w' is not known"):
        declarations('extern "C" __global__ void k(int n, const Words4* w) {}')


def test_a_kernel_that_is_not_there_is_named(module):
    with pytest.raises(KeyError, match="has no kernel 'scale'; it has scaled, whole"):
        module["scale"]


# --------------------------------------------------------------------------------------------------
# launches


def test_numbers_arrive_as_the_declared_type(module):
    out = np.zeros(1, np.int32)
    module["whole"](1, 1, (out, -5, -(1 << 40), 2**32 - 1, np.uint64(2**64 - 1), 0.5, 0.1, 1 + 2j, 3.0))
    assert out[0] == 1


def test_a_launch_computes(module):
    x, y = np.arange(1000, dtype=np.float32), np.zeros(900, np.float32)
    module["scaled"]((8, 1), 128, (x, y, 2, 900, 100, True))
    np.testing.assert_array_equal(y, -2 * x[100:])


def test_halves_vectors_and_null_pointers_pass(module):
    x, out = np.arange(8, dtype=np.float32), np.zeros(2, np.int32)
    y, z = np.array([0, 5], np.uint16), np.array([0, 3j], np.complex64)
    module["vectors"](1, 1, (x, y, z, out))
    assert out.tolist() == [15, 0]
    module["vectors"](1, 1, (x.view(np.complex64), y.view(np.float16), z, out))
    assert out[0] == 15


X, Y = np.zeros(8, np.float32), np.zeros(8, np.float32)
GOOD = (X, Y, 1.0, 8, 0, False)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({0: X.astype(float)}, TypeError, r"scaled: x \(array of float32\) got float64"),
        ({0: np.zeros(16, np.float32)[::2]}, TypeError, "x .* is not C-contiguous"),
        ({0: [1.0]}, TypeError, "x .* needs an array of the device, got builtins.list"),
        ({0: 1.0}, TypeError, "x .* needs an array of the device, got builtins.float"),
        ({2: X}, TypeError, "factor .* got array"),
        ({2: "1"}, TypeError, r"factor \(float32\) got '1'"),
        ({2: True}, TypeError, "factor .* got True"),
        ({2: 1e39}, OverflowError, "factor .* cannot hold 1e"),
        ({2: 1j}, TypeError, "factor .* got 1j"),
        ({3: 8.0}, TypeError, "n .* got 8.0"),
        ({3: 2**63}, OverflowError, "n .* cannot hold"),
        ({4: -1}, OverflowError, "first .* cannot hold -1"),
        ({4: 2**32}, OverflowError, "first .* cannot hold"),
        ({5: 1}, TypeError, "negative .* got 1"),
        ({2: float(np.finfo(np.float32).max) * 1.0001}, OverflowError, "factor .* cannot hold 3"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(module, change, error, text):
    arguments = [change.get(place, value) for place, value in enumerate(GOOD)]
    with pytest.raises(error, match=text):
        module["scaled"](1, 32, arguments)


def test_a_vector_array_of_an_odd_size_is_refused(module):
    out = np.zeros(2, np.int32)
    with pytest.raises(TypeError, match=r"x .* has 28 bytes, no multiple of 16"):
        module["vectors"](1, 1, (X[:7], np.zeros(2, np.uint16), np.zeros(2, np.complex64), out))


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3, np.float64(0.1), np.float32(2.0)])
def test_a_number_that_is_not_the_usual_one_arrives_too(module, value):
    cast = module["scaled"]._casts[2]
    np.testing.assert_array_equal(cast(value), np.float32(value), strict=True)


@pytest.mark.parametrize("value", [True, False, "1", None])
def test_no_truth_and_no_word_is_taken_for_a_complex_number(module, value):
    with pytest.raises(TypeError, match=r"g .* got"):
        module["whole"]._casts[7](value)


def test_a_wrong_number_of_arguments_is_refused(module):
    with pytest.raises(TypeError, match="scaled takes 6 arguments, got 5"):
        module["scaled"](1, 32, GOOD[:5])


@pytest.mark.parametrize(
    ("grid", "block", "text"),
    [
        (0, 32, "grid"),
        ((1, 0), 32, "grid"),
        (1, 0, "block"),
        ((), 32, "grid"),
        (1, (3, 43), "more than 128 threads"),
        (1, 2000, "larger than"),
        ((1, 70_000), 32, "larger than"),
    ],
)
def test_sizes_that_no_device_runs_are_refused(module, grid, block, text):
    with pytest.raises(ValueError, match=text):
        module["scaled"](grid, block, GOOD)


def test_dynamic_shared_memory_may_be_large(module):
    x, y = np.arange(32, dtype=np.float32), np.zeros(32, np.float32)
    for shared_bytes in (128, 200 * 1024, 128):
        module["reversed"](1, 32, (x, y), shared_bytes=shared_bytes)
        np.testing.assert_array_equal(y, x[::-1])
    with pytest.raises(ValueError, match="the device has 232448 per block"):
        module["reversed"](1, 32, (x, y), shared_bytes=228 * 1024)


def test_a_module_is_compiled_once_for_its_name_and_macros(host, monkeypatch):
    monkeypatch.setattr("ibsync.coupling.backends.cuda.launch.expand", lambda name: expand_text(SOURCE, f"{name}.cu"))
    first = load("launch_test", host, WIDTH=64)
    assert load("launch_test", host, WIDTH=64) is first
    assert load("launch_test", host, WIDTH=32) is not first
