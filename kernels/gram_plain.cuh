// Sums over cells of products of unit features, for all pairs of channels, without tensor cores.
#pragma once

#ifndef N_FEATURES
#define N_FEATURES 16
#endif
#ifndef SHARES
#define SHARES 0  // 1: how the phase of coherent cells is shared out as well
#endif

constexpr int TILE = 32, PIECE = 8;      // channels of a block on either side; complex features at a time
constexpr int CLASSES = SHARES ? 4 : 0;  // in phase, a leads, b leads, anti-phase
constexpr int SUMS = 3 + CLASSES;

// Pairs within a dyad, whose n_a and n_b channels lie side by side; or all pairs, as those of a single dyad.
//
// grid (ceil(n_b / 32), n_dyads ceil(n_a / 32), n_chunks)      block (16, 16)
//
// a, b      [.., n_channels, N_FEATURES, re/im]        unit features by cell
// cell, weight, width [n_listed]                       cells that enter; width is read if SHARES
// partial   [n_chunks, SUMS, n_dyads, n_a, n_b]                 of weight |<x, y>|^2, weight Re, weight Im; widths by class
template <class Real>
__device__ void gram_plain(const Real* __restrict__ a, const Real* __restrict__ b, const int* __restrict__ cell,
                           const Real* __restrict__ weight, const Real* __restrict__ width, const int* __restrict__ begin,
                           Real level, Real in_phase, Real anti_phase, Real* __restrict__ partial, int n_dyads, int n_a, int n_b) {
    __shared__ Real left[PIECE][2][TILE + 1], right[PIECE][2][TILE + 1];
    const int column = static_cast<int>(threadIdx.x), line = static_cast<int>(threadIdx.y);
    const int tiles_a = (n_a + TILE - 1) / TILE, dyad = static_cast<int>(blockIdx.y) / tiles_a;
    const int first_a = static_cast<int>(blockIdx.y) % tiles_a * TILE, first_b = static_cast<int>(blockIdx.x) * TILE;
    const long long all_a = static_cast<long long>(n_dyads) * n_a, all_b = static_cast<long long>(n_dyads) * n_b;
    const long long row_a = static_cast<long long>(dyad) * n_a + first_a, row_b = static_cast<long long>(dyad) * n_b + first_b;
    const int start = begin[blockIdx.z], stop = begin[blockIdx.z + 1];
    Real sums[SUMS][2][2] = {};
    for (int k = start; k < stop; ++k) {
        const long long here = cell[k];
        Real re[2][2] = {}, im[2][2] = {};
        for (int first = 0; first < N_FEATURES; first += PIECE) {
            __syncthreads();
            for (int e = line * 16 + column; e < TILE * PIECE * 2; e += 256) {
                const int channel = e / (2 * PIECE), part = e % 2, feature = e % (2 * PIECE) / 2;
                const bool within = first + feature < N_FEATURES;
                const long long at = 2LL * (first + feature) + part;
                left[feature][part][channel] = within && first_a + channel < n_a
                    ? a[(here * all_a + row_a + channel) * 2 * N_FEATURES + at] : Real(0);
                right[feature][part][channel] = within && first_b + channel < n_b
                    ? b[(here * all_b + row_b + channel) * 2 * N_FEATURES + at] : Real(0);
            }
            __syncthreads();
#pragma unroll
            for (int feature = 0; feature < PIECE; ++feature)
#pragma unroll
                for (int i = 0; i < 2; ++i)
#pragma unroll
                    for (int j = 0; j < 2; ++j) {
                        const Real xr = left[feature][0][line + 16 * i], xi = left[feature][1][line + 16 * i];
                        const Real yr = right[feature][0][column + 16 * j], yi = right[feature][1][column + 16 * j];
                        re[i][j] += xr * yr + xi * yi;
                        im[i][j] += xi * yr - xr * yi;
                    }
        }
        const Real w = weight[k];
#pragma unroll
        for (int i = 0; i < 2; ++i)
#pragma unroll
            for (int j = 0; j < 2; ++j) {
                const Real x = re[i][j], y = im[i][j], square = x * x + y * y;
                sums[0][i][j] += w * square;
                sums[1][i][j] += w * x;
                sums[2][i][j] += w * y;
                if (CLASSES && square > level) {
                    const Real cosine = x * (x < 0 ? -x : x);  // times |z|^2 it falls with the angle as the cosine does
                    const int chosen = cosine > in_phase * square ? 0 : cosine < anti_phase * square ? 3 : y > 0 ? 1 : 2;
#pragma unroll
                    for (int c = 0; c < CLASSES; ++c) sums[3 + c][i][j] += c == chosen ? width[k] : Real(0);
                }
            }
    }
    const long long plane = all_a * n_b;
    Real* out = partial + SUMS * plane * blockIdx.z;
    for (int i = 0; i < 2; ++i)
        for (int j = 0; j < 2; ++j) {
            const int x = first_a + line + 16 * i, y = first_b + column + 16 * j;
            if (x >= n_a || y >= n_b) continue;
            for (int s = 0; s < SUMS; ++s) out[s * plane + (static_cast<long long>(dyad) * n_a + x) * n_b + y] = sums[s][i][j];
        }
}
