"""Kernels with one fault each. As a program, ``planted.py KERNEL ORDER`` runs one and prints its result.

Each has a process of its own, since the shim and the sanitizers end it.
"""

from __future__ import annotations

import sys

import numpy as np
from host_module import HostDevice

from ibsync.coupling.backends.cuda.kernel_text import expand_text
from ibsync.coupling.backends.cuda.launch import Module, compiled

SOURCE = r"""
#include "mma.cuh"
#define T static_cast<int>(threadIdx.x)

extern "C" __global__ void sound(const float* in, float* out, int n) {
    __shared__ float tile[64];
    IBSYNC_DYNAMIC_SHARED(memory);
    float* kept = reinterpret_cast<float*>(memory);
    kept[T] = tile[T] = in[T];
    __syncthreads();
    const float other = __shfl_xor_sync(0xffffffffu, tile[n - 1 - T], 1);
    out[T] = other + kept[n - 1 - T];
}
extern "C" __global__ void static_overrun(const float* in, float* out, int n) {
    __shared__ float tile[64];
    float* place = tile + T;
    if (T == n - 1) ++place;
    *place = in[T];
    __syncthreads();
    out[T] = tile[T];
}
extern "C" __global__ void dynamic_overrun(const float* in, float* out, int n) {
    IBSYNC_DYNAMIC_SHARED(memory);
    float* tile = reinterpret_cast<float*>(memory);
    tile[T == n - 1 ? n : T] = in[T];
    __syncthreads();
    out[T] = in[T];
}
extern "C" __global__ void dynamic_underrun(const float* in, float* out, int n) {
    IBSYNC_DYNAMIC_SHARED(memory);
    float* tile = reinterpret_cast<float*>(memory);
    tile[T == n - 1 ? -1 : T] = in[T];
    __syncthreads();
    out[T] = in[T];
}
extern "C" __global__ void missing_barrier(const float* in, float* out, int n) {
    __shared__ float tile[64];
    tile[T] = in[T];
    out[T] = tile[n - 1 - T];
}
extern "C" __global__ void missing_second_barrier(const float* in, float* out, int n) {
    __shared__ float tile[64];
    float sum = 0.f;
    for (int round = 0; round < 3; ++round) {
        tile[T] = in[T] + static_cast<float>(round);
        __syncthreads();
        sum = sum * 3.f + tile[n - 1 - T];
    }
    out[T] = sum;
}
extern "C" __global__ void shuffle_is_no_barrier(const float* in, float* out, int n) {
    __shared__ float tile[64];
    tile[T] = in[T];
    const float mine = __shfl_sync(0xffffffffu, in[T], T % 32);
    out[T] = tile[T ^ 1] + 0.f * mine + 0.f * static_cast<float>(n);
}
extern "C" __global__ void lost_update(const float* in, float* out, int n) {
    __shared__ int count;
    if (T == 0) count = 0;
    __syncthreads();
    if (in[T] >= 0.f) count += 1;
    __syncthreads();
    if (T < n) out[T] = static_cast<float>(count);
}
extern "C" __global__ void write_outside(const float* in, float* out, int n) { out[T + n - 1] = in[T]; }
extern "C" __global__ void read_outside(const float* in, float* out, int n) { out[T] = in[T + (T == n - 1 ? 1 : 0)]; }
extern "C" __global__ void barrier_in_branch(const float* in, float* out, int n) {
    if (T < n / 2) __syncthreads();
    out[T] = in[T];
    __syncthreads();
}
extern "C" __global__ void return_before_barrier(const float* in, float* out, int n) {
    if (T >= n / 2) return;
    out[T] = in[T];
    __syncthreads();
}
extern "C" __global__ void lane_missing(const float* in, float* out, int n) {
    if (T % 32 == 31) return;
    unsigned a[4] = {0u, 0u, 0u, 0u}, b[2] = {0u, 0u};
    float d[4] = {in[T], 0.f, 0.f, 0.f};
    ibsync::mma_f16(d, a, b);
    out[T] = d[0] + 0.f * static_cast<float>(n);
}
extern "C" __global__ void lane_left_out(const float* in, float* out, int n) {
    out[T] = __shfl_sync(0x7fffffffu, in[T], 0) + 0.f * static_cast<float>(n);
}
extern "C" __global__ void copy_not_aligned(const float* in, float* out, int n) {
    __shared__ __align__(16) float tile[132];
    ibsync::cp_async_16(tile + 4 * (T % 32) + 1, in, n < 0);
    out[T] = in[T];
}
extern "C" __global__ void unwritten(const float* in, float* out, int n) {
    __shared__ float tile[64];
    IBSYNC_DYNAMIC_SHARED(memory);
    if (T == 0) tile[0] = in[0];
    __syncthreads();
    out[T] = T < n / 2 ? tile[T] : reinterpret_cast<float*>(memory)[T];
}
extern "C" __global__ void overflowing(const float* in, float* out, int n) {
    const int row = n * n * n;               // 2^18
    out[T] = in[T] + static_cast<float>(row * row);
}
"""
N = 64


def planted(device: HostDevice) -> Module:
    """All kernels with a fault."""
    return compiled(expand_text(SOURCE, "planted.cu"), "planted", device)


def main(kernel: str, order: int) -> None:
    values, out = np.arange(1, N + 1, dtype=np.float32), np.zeros(N, np.float32)
    planted(HostDevice(order=order))[kernel](1, N, (values, out, N), shared_bytes=4 * N)
    sys.stdout.write(str(out.tolist()))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
