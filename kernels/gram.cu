// variant: PAIRS_OF_HALVES=0 N_PADDED=16 WARPS_A=1 TILES_A=2 TILES_B=2 STAGES=4
// variant: PAIRS_OF_HALVES=0 N_PADDED=16 WARPS_A=2 TILES_A=2 TILES_B=4 STAGES=4
// variant: PAIRS_OF_HALVES=1 N_PADDED=24 WARPS_A=1 TILES_A=2 TILES_B=2 STAGES=1
// variant: PAIRS_OF_HALVES=1 N_PADDED=24 WARPS_A=1 TILES_A=2 TILES_B=2 STAGES=4
// variant: PAIRS_OF_HALVES=1 N_PADDED=24 WARPS_A=2 TILES_A=2 TILES_B=3 STAGES=1
// variant: PAIRS_OF_HALVES=1 N_PADDED=24 WARPS_A=2 TILES_A=2 TILES_B=3 STAGES=4
#include "mma.cuh"

using namespace ibsync;

// Sums over cells of products of unit features, for all pairs of channels, on tensor cores.
//
// Sizes come from -D; the defaults keep the file compilable on its own.
#ifndef PAIRS_OF_HALVES
#define PAIRS_OF_HALVES 0  // 1: every number is a half and the half of what rounding left of it
#endif
#ifndef N_PADDED
#define N_PADDED 16        // complex features of a channel, a multiple of 8
#endif
#ifndef WARPS_A
#define WARPS_A 2          // of 8 warps; the others lie along b
#endif
#ifndef TILES_A
#define TILES_A 2          // tiles of 16 channels of a in a warp
#endif
#ifndef TILES_B
#define TILES_B 4          // tiles of 8 channels of b in a warp
#endif
#ifndef STAGES
#define STAGES 3           // cells on their way from memory
#endif

constexpr int WARPS_B = 8 / WARPS_A;
constexpr int TILE_A = 16 * TILES_A * WARPS_A, TILE_B = 8 * TILES_B * WARPS_B;  // channels of a block
constexpr int PARTS = PAIRS_OF_HALVES ? 2 : 1;
constexpr int STEPS = N_PADDED / 8;                      // of 16 numbers (8 complex ones) each
constexpr int WORDS = PARTS * N_PADDED;                  // of a channel's cell
constexpr int ROW_BYTES = 4 * WORDS + 16;                // 16 more, so that eight rows lie in different banks
constexpr int STAGE_BYTES = (TILE_A + TILE_B) * ROW_BYTES;
constexpr float UNSCALE = 1.0f / (128.0f * 128.0f);      // numbers are stored times 128
static_assert(N_PADDED % 8 == 0 && (ROW_BYTES / 16) % 2 == 1, "rows of a tile would share banks");

// (re, im) -> (im, -re): with it the same product gives the imaginary part.
__device__ __forceinline__ unsigned turned(unsigned word) { return ((word >> 16) | (word << 16)) ^ 0x80000000u; }

// Rows first .. first + TILE - 1 of a cell into shared memory; rows beyond the last channel are zeros.
template <int TILE>
__device__ void fetch(unsigned char* to, const unsigned* words, long long cell, int first, int n_channels) {
    constexpr int PIECES = WORDS / 4;
    for (int k = static_cast<int>(threadIdx.x); k < TILE * PIECES; k += 256) {
        const int row = k / PIECES, piece = k % PIECES;
        const bool there = first + row < n_channels;
        const long long channel = cell * n_channels + (there ? first + row : 0);
        cp_async_16(to + row * ROW_BYTES + 16 * piece, words + channel * WORDS + 4 * piece, there);
    }
}

// grid (ceil(n_b / TILE_B), ceil(n_a / TILE_A), n_chunks)      block (256)      STAGES * STAGE_BYTES of shared memory
//
// a, b      [.., n_channels, WORDS]        unit features by cell (units.cuh)
// norm_a, norm_b [.., n_channels]          1 / length of the rounded vectors; read if the halves stand alone
// cell, weight [n_listed]                  cells that enter, chunk after chunk     begin [n_chunks + 1]
// partial   [n_chunks, 3, n_a, n_b]        sums of weight |<x, y>|^2, weight Re <x, y>, weight Im <x, y>
//
// Each chunk is added up cell after cell: no atomics, and the same bits whatever else is in the batch.
extern "C" __global__ void __launch_bounds__(256)
gram(const unsigned* __restrict__ a, const unsigned* __restrict__ b, const float* __restrict__ norm_a,
     const float* __restrict__ norm_b, const int* __restrict__ cell, const float* __restrict__ weight,
     const int* __restrict__ begin, float* __restrict__ partial, int n_a, int n_b) {
    IBSYNC_DYNAMIC_SHARED(shared);
    const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
    const int first_a = static_cast<int>(blockIdx.y) * TILE_A, first_b = static_cast<int>(blockIdx.x) * TILE_B;
    const int warp_a = warp / WARPS_B * 16 * TILES_A, warp_b = warp % WARPS_B * 8 * TILES_B;
    const int start = begin[blockIdx.z], n_cells = begin[blockIdx.z + 1] - start;

    float squared[TILES_A][TILES_B][4] = {}, real[TILES_A][TILES_B][4] = {}, imaginary[TILES_A][TILES_B][4] = {};

    for (int ahead = 0; ahead < STAGES - 1; ++ahead) {
        if (ahead < n_cells) {
            unsigned char* stage = shared + ahead * STAGE_BYTES;
            fetch<TILE_A>(stage, a, cell[start + ahead], first_a, n_a);
            fetch<TILE_B>(stage + TILE_A * ROW_BYTES, b, cell[start + ahead], first_b, n_b);
        }
        cp_async_commit();
    }
    for (int k = 0; k < n_cells; ++k) {
        if (STAGES > 1) cp_async_wait<(STAGES > 1 ? STAGES - 2 : 0)>();
        __syncthreads();  // this cell has come, and everybody is done with the one before
        const int ahead = k + STAGES - 1;
        if (ahead < n_cells) {
            unsigned char* stage = shared + ahead % STAGES * STAGE_BYTES;
            fetch<TILE_A>(stage, a, cell[start + ahead], first_a, n_a);
            fetch<TILE_B>(stage + TILE_A * ROW_BYTES, b, cell[start + ahead], first_b, n_b);
        }
        cp_async_commit();
        if (STAGES == 1) {
            cp_async_wait<0>();
            __syncthreads();
        }

        const unsigned char* rows_a = shared + k % STAGES * STAGE_BYTES + warp_a * ROW_BYTES;
        const unsigned char* rows_b = shared + k % STAGES * STAGE_BYTES + (TILE_A + warp_b) * ROW_BYTES;
        const float w = weight[start + k];
        const long long here = cell[start + k];

        unsigned left[PARTS][STEPS][TILES_A][4];
        // Addresses of four 8 x 8 matrices: rows 0-7 and 8-15, numbers 0-7, then both with numbers 8-15.
        const int row_a = lane % 16, byte_a = lane / 16 * 16;
#pragma unroll
        for (int part = 0; part < PARTS; ++part)
#pragma unroll
            for (int step = 0; step < STEPS; ++step)
#pragma unroll
                for (int i = 0; i < TILES_A; ++i)
                    ldmatrix_x4(left[part][step][i], rows_a + (16 * i + row_a) * ROW_BYTES + 4 * N_PADDED * part + 32 * step + byte_a);

        float length_a[TILES_A][2];
#pragma unroll
        for (int i = 0; i < TILES_A; ++i)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int channel = first_a + warp_a + 16 * i + lane / 4 + 8 * half;
                length_a[i][half] = PARTS == 2 ? UNSCALE : channel < n_a ? norm_a[here * n_a + channel] : 0.0f;
            }

#pragma unroll
        for (int j = 0; j < TILES_B; ++j) {
            unsigned right[PARTS][STEPS][2];
#pragma unroll
            for (int part = 0; part < PARTS; ++part)
#pragma unroll
                for (int step = 0; step < STEPS; ++step)
                    ldmatrix_x2(right[part][step],
                                rows_b + (8 * j + lane % 8) * ROW_BYTES + 4 * N_PADDED * part + 32 * step + lane / 8 % 2 * 16);
            float length_b[2];
#pragma unroll
            for (int side = 0; side < 2; ++side) {
                const int channel = first_b + warp_b + 8 * j + 2 * (lane % 4) + side;
                length_b[side] = PARTS == 2 ? 1.0f : channel < n_b ? norm_b[here * n_b + channel] : 0.0f;
            }
#pragma unroll
            for (int i = 0; i < TILES_A; ++i) {
                float re[4] = {}, im[4] = {};
                // What rounding left first: small numbers then add up before the large ones come.
#pragma unroll
                for (int product = PARTS == 2 ? 0 : 2; product < 3; ++product) {
                    const int part_a = product == 0 ? 1 : 0, part_b = product == 1 ? 1 : 0;
#pragma unroll
                    for (int step = 0; step < STEPS; ++step) {
                        const unsigned(&x)[4] = left[part_a % PARTS][step][i];
                        const unsigned other[4] = {turned(x[0]), turned(x[1]), turned(x[2]), turned(x[3])};
                        mma_f16(re, x, right[part_b % PARTS][step]);
                        mma_f16(im, other, right[part_b % PARTS][step]);
                    }
                }
#pragma unroll
                for (int k4 = 0; k4 < 4; ++k4) {
                    const float scale = length_a[i][k4 / 2] * length_b[k4 % 2];
                    const float x = re[k4] * scale, y = im[k4] * scale;
                    squared[i][j][k4] = fmaf(w, fmaf(x, x, y * y), squared[i][j][k4]);
                    real[i][j][k4] = fmaf(w, x, real[i][j][k4]);
                    imaginary[i][j][k4] = fmaf(w, y, imaginary[i][j][k4]);
                }
            }
        }
    }

    const long long plane = static_cast<long long>(n_a) * n_b;
    float* out = partial + 3 * plane * blockIdx.z;
#pragma unroll
    for (int i = 0; i < TILES_A; ++i)
#pragma unroll
        for (int j = 0; j < TILES_B; ++j)
#pragma unroll
            for (int k4 = 0; k4 < 4; ++k4) {
                const int x = first_a + warp_a + 16 * i + lane / 4 + k4 / 2 * 8;
                const int y = first_b + warp_b + 8 * j + 2 * (lane % 4) + k4 % 2;
                if (x >= n_a || y >= n_b) continue;
                const long long at = static_cast<long long>(x) * n_b + y;
                out[at] = squared[i][j][k4];
                out[plane + at] = real[i][j][k4];
                out[2 * plane + at] = imaginary[i][j][k4];
            }
}
