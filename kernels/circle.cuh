// A group's band-limited signal, read off its circle.
#pragma once

// Samples first .. first + n_samples - 1 (on the circle) of all channels, channels side by side.
//
// grid     (ceil(n_samples / 32), ceil(n_channels / 32))       block (32, 8)
// circle   [n_channels, n_circle]                              samples  [n_samples, re/im, n_channels]
template <class Real>
__device__ void take_samples(const double2* __restrict__ circle, Real* __restrict__ samples, int first, int n_samples,
                             int n_circle, int n_channels) {
    __shared__ double2 tile[32][33];
    const int lane = static_cast<int>(threadIdx.x), slice = static_cast<int>(threadIdx.y);
    const int first_sample = static_cast<int>(blockIdx.x) * 32, first_channel = static_cast<int>(blockIdx.y) * 32;
    for (int k = slice; k < 32; k += 8) {
        const int channel = first_channel + k, sample = first_sample + lane;
        if (channel >= n_channels || sample >= n_samples) continue;
        int point = (first + sample) % n_circle;
        if (point < 0) point += n_circle;
        tile[k][lane] = circle[static_cast<long long>(channel) * n_circle + point];
    }
    __syncthreads();
    for (int k = slice; k < 32; k += 8) {
        const int channel = first_channel + lane, sample = first_sample + k;
        if (channel >= n_channels || sample >= n_samples) continue;
        const long long at = 2LL * sample * n_channels + channel;
        samples[at] = static_cast<Real>(tile[lane][k].x);
        samples[at + n_channels] = static_cast<Real>(tile[lane][k].y);
    }
}
