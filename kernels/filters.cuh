// Filters that a group's rows share, at every time: complex inner products of a window of samples with R kernels.
#pragma once

#include "multiply_add.cuh"

using namespace ibsync;

// FILTERS and TIMES (per thread) come from -D; the defaults keep the file compilable on its own.
#ifndef FILTERS
#define FILTERS 4
#endif
#ifndef TIMES
#define TIMES 4
#endif

// z_r(t) = sum_p kernel_r(p) sample(begin_t + p): one thread for one channel, FILTERS filters and TIMES times.
//
// The order of the additions depends on the filter alone, so a channel's features have the same bits in every batch.
//
// grid     (ceil(n_channels / 32), ceil(n_times / TIMES))      block (32, 8)
// samples  [.., re/im, n_channels]      begins [n_times]       first sample of each window
// kernels  [n_filters, n_points], or for each time when kernel_stride (complex numbers) is not 0: then TIMES is 1
// z        [n_times, n_filters, re/im, n_channels]
template <class Real, class Real2>
__device__ void filters(const Real* __restrict__ samples, const int* __restrict__ begins,
                        const Real2* __restrict__ kernels, Real* __restrict__ z, int n_filters, int n_points,
                        int n_times, int n_channels, long long kernel_stride) {
    const int channel = static_cast<int>(blockIdx.x) * 32 + static_cast<int>(threadIdx.x);
    const int slice = static_cast<int>(threadIdx.y), first_time = static_cast<int>(blockIdx.y) * TIMES;
    if (channel >= n_channels) return;
    const long long step = 2LL * n_channels;
    const Real* window[TIMES];
    for (int t = 0; t < TIMES; ++t) {
        const int time = min(first_time + t, n_times - 1);
        window[t] = samples + begins[time] * step + channel;
    }
    const Real2* kernel[FILTERS];
    for (int i = 0; i < FILTERS; ++i) {
        const int filter = min(slice + 8 * i, n_filters - 1);
        kernel[i] = kernels + first_time * kernel_stride + static_cast<long long>(filter) * n_points;
    }
    Real re[FILTERS][TIMES] = {}, im[FILTERS][TIMES] = {};
    for (int p = 0; p < n_points; ++p) {
        Real2 weight[FILTERS];
#pragma unroll
        for (int i = 0; i < FILTERS; ++i) weight[i] = kernel[i][p];
#pragma unroll
        for (int t = 0; t < TIMES; ++t) {
            const Real x = window[t][p * step], y = window[t][p * step + n_channels];
#pragma unroll
            for (int i = 0; i < FILTERS; ++i) {
                re[i][t] = multiply_add(-weight[i].y, y, multiply_add(weight[i].x, x, re[i][t]));
                im[i][t] = multiply_add(weight[i].y, x, multiply_add(weight[i].x, y, im[i][t]));
            }
        }
    }
#pragma unroll
    for (int i = 0; i < FILTERS; ++i) {
        const int filter = slice + 8 * i;
#pragma unroll
        for (int t = 0; t < TIMES; ++t) {
            const int time = first_time + t;
            if (filter >= n_filters || time >= n_times) continue;
            const long long at = (static_cast<long long>(time) * n_filters + filter) * step + channel;
            z[at] = re[i][t];
            z[at + n_channels] = im[i][t];
        }
    }
}
