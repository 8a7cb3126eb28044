// Unit features of every row from the filters that a group shares: u_j = L_j z, scaled to unit length and packed.
#pragma once

#include "mma.cuh"
#include "multiply_add.cuh"

using namespace ibsync;

// Sizes come from -D; the defaults keep the file compilable on its own.
#ifndef N_FILTERS
#define N_FILTERS 20
#endif
#ifndef N_FEATURES
#define N_FEATURES 16
#endif
#ifndef N_PADDED
#define N_PADDED 16
#endif
#ifndef FORM
#define FORM 1
#endif

// Forms in which a channel's unit vector of K complex features is stored, as 32-bit words.
constexpr int FLOATS = 0;       // re, im as floats                          2 K words
constexpr int HALVES = 1;       // re, im as halves, K padded with zeros     K words; norms of the rounded vectors beside
constexpr int HALF_PAIRS = 2;   // the same twice: rounded, then the rest    2 K words
constexpr int DOUBLES = 3;      // re, im as doubles                         4 K words
constexpr int WORDS = FORM == HALVES    ? N_PADDED
                      : FORM == DOUBLES ? 4 * N_FEATURES
                      : FORM == FLOATS  ? 2 * N_FEATURES
                                        : 2 * N_PADDED;

// Halves hold numbers times this power of two: what is left of a small number after rounding is then not too small.
constexpr float HALF_SCALE = 128.0f;

struct Times {
    const int* cell;              // [time] first of the time's n_rows cells in the output
    const unsigned char* usable;  // [time, row, channel], read if has_usable
    int has_usable, n_rows, conjugated;
};

template <class Real> struct Limits {
    const Real* noise_gain;       // [time or 1, row] times energy: power below which a cell is too weak for the rank
    const Real* energy;           // [channel]
    int noise_stride;             // 0 where all times share one gain, else n_rows
    Real empty, tail;             // smallest power; largest share of the two weakest features (0: not checked)
};

struct Packed {
    unsigned* words;              // [cell, channel, WORDS]
    float* norms;                 // [cell, channel] 1 / length of the rounded vector, of HALVES only
    unsigned char* valid;         // [cell, channel] 1: valid, 2: not resolved, 0: neither
    int* flags;                   // [channel] set where a cell is not resolved; [n_channels] where one is not valid
};

template <class Real> __device__ __forceinline__ Real root(Real x);
template <> __device__ __forceinline__ float root(float x) { return sqrtf(x); }
template <> __device__ __forceinline__ double root(double x) { return sqrt(x); }

template <class Real>
__device__ __forceinline__ void add_mixed(Real& re, Real& im, Real weight, Real x, Real y) {
    re = multiply_add(weight, x, re);
    im = multiply_add(weight, y, im);
}

template <class Real, class Complex2>
__device__ __forceinline__ void add_mixed(Real& re, Real& im, Complex2 weight, Real x, Real y) {
    re = multiply_add(-weight.y, y, multiply_add(weight.x, x, re));
    im = multiply_add(weight.y, x, multiply_add(weight.x, y, im));
}

// 1 / length of a vector as its halves have it; 0 for an empty one.
__device__ __forceinline__ float inverse_length(const unsigned* words) {
    float power = 0.0f;
    for (int k = 0; k < N_FEATURES; ++k) {
        const float re = half_low(words[k]), im = half_high(words[k]);
        power += re * re + im * im;
    }
    return power > 0.0f ? 1.0f / sqrtf(power) : 0.0f;
}

// One feature into its place among a channel's words.
template <class Real> __device__ void store(unsigned* words, int feature, Real re, Real im) {
    if (FORM == DOUBLES) {
        reinterpret_cast<double*>(words)[2 * feature] = re;
        reinterpret_cast<double*>(words)[2 * feature + 1] = im;
    } else if (FORM == FLOATS) {
        words[2 * feature] = __float_as_uint(static_cast<float>(re));
        words[2 * feature + 1] = __float_as_uint(static_cast<float>(im));
    } else {
        const float x = HALF_SCALE * static_cast<float>(re), y = HALF_SCALE * static_cast<float>(im);
        const unsigned high = pack_half2(x, y);
        words[feature] = high;
        if (FORM == HALF_PAIRS) words[N_PADDED + feature] = pack_half2(x - half_low(high), y - half_high(high));
    }
}

// grid     (ceil(n_channels / 32), n_times)          block (32, 8)
// z        [n_times, N_FILTERS, re/im, n_channels]
// mixing   [row, N_FEATURES, N_FILTERS] real, or complex with one set per time (mixing_stride numbers apart)
//
// Powers are summed in one order for every channel: its features have the same bits in every batch.
template <class Real, class Mixing>
__device__ void units(const Real* __restrict__ z, const Mixing* __restrict__ mixing, long long mixing_stride,
                      Times times, Limits<Real> limits, Packed out, int n_channels) {
    constexpr int PER_THREAD = (N_FEATURES + 7) / 8;
    __shared__ Real filtered[N_FILTERS][2][32];
    __shared__ Real partial[2][8][32];
    constexpr bool STAGED = FORM != DOUBLES;  // so that a warp writes neighbouring words; doubles would not fit
    __shared__ unsigned staged[STAGED ? 32 : 1][STAGED ? WORDS + 1 : 1];
    const int lane = static_cast<int>(threadIdx.x), slice = static_cast<int>(threadIdx.y), time = static_cast<int>(blockIdx.y);
    const int first_channel = static_cast<int>(blockIdx.x) * 32, channel = first_channel + lane;
    const bool there = channel < n_channels;
    const long long step = 2LL * n_channels, base = static_cast<long long>(time) * N_FILTERS * step + channel;
    for (int r = slice; r < N_FILTERS; r += 8)
        for (int part = 0; part < 2; ++part)
            filtered[r][part][lane] = there ? z[base + r * step + part * n_channels] : Real(0);
    __syncthreads();
    for (int row = 0; row < times.n_rows; ++row) {
        Real re[PER_THREAD] = {}, im[PER_THREAD] = {};
        const Mixing* rows = mixing + time * mixing_stride + static_cast<long long>(row) * N_FEATURES * N_FILTERS;
        for (int r = 0; r < N_FILTERS; ++r) {
            const Real x = filtered[r][0][lane], y = filtered[r][1][lane];
#pragma unroll
            for (int i = 0; i < PER_THREAD; ++i)
                add_mixed(re[i], im[i], rows[min(slice + 8 * i, N_FEATURES - 1) * N_FILTERS + r], x, y);
        }
        Real power = 0, weakest = 0;
        for (int i = 0; i < PER_THREAD; ++i) {
            const int feature = slice + 8 * i;
            if (feature >= N_FEATURES) continue;
            const Real square = re[i] * re[i] + im[i] * im[i];
            power += square;
            if (feature < 2) weakest += square;
        }
        partial[0][slice][lane] = power;
        partial[1][slice][lane] = weakest;
        __syncthreads();
        power = weakest = 0;
        for (int k = 0; k < 8; ++k) {
            power += partial[0][k][lane];
            weakest += partial[1][k][lane];
        }
        const long long of_row = static_cast<long long>(times.cell[time]) + row;
        const long long here = of_row * n_channels + channel;
        bool valid = there && power > limits.empty;
        if (valid && times.has_usable)
            valid = times.usable[(static_cast<long long>(time) * times.n_rows + row) * n_channels + channel] != 0;
        bool resolved = true;
        if (valid && limits.tail > 0) {
            const Real weakest_power = limits.noise_gain[time * limits.noise_stride + row] * limits.energy[channel];
            resolved = weakest <= limits.tail * power && !(power < weakest_power);
        }
        valid = valid && resolved;
        if (slice == 0 && there) {
            out.valid[here] = resolved ? valid : 2;
            if (!resolved) atomicOr(out.flags + channel, 1);
            if (!valid) atomicOr(out.flags + n_channels, 1);
        }
        const Real length = valid ? 1 / root(power) : Real(0);
        const Real turned = times.conjugated ? -length : length;
        unsigned* words = out.words + (of_row * n_channels + first_channel) * WORDS;
        unsigned* mine = STAGED ? staged[STAGED ? lane : 0] : words + static_cast<long long>(lane) * WORDS;
        if (STAGED || there)
            for (int i = 0; i < PER_THREAD; ++i)
                if (slice + 8 * i < N_FEATURES) store<Real>(mine, slice + 8 * i, re[i] * length, im[i] * turned);
        if ((FORM == HALVES || FORM == HALF_PAIRS) && slice < N_PADDED - N_FEATURES)
            store<Real>(mine, N_FEATURES + slice, Real(0), Real(0));
        __syncthreads();
        if (STAGED) {
            const int n_words = min(32, n_channels - first_channel) * WORDS;
            for (int k = slice * 32 + lane; k < n_words; k += 256) words[k] = staged[k / WORDS][k % WORDS];
        }
        if (FORM == HALVES && slice == 0 && there) out.norms[here] = inverse_length(mine);
        __syncthreads();
    }
}
