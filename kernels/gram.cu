// variant: PAIRS_OF_HALVES=0 N_PADDED=16 SUMS=3 WARPS_A=1 TILES_A=2 TILES_B=2 STAGES=4
// variant: PAIRS_OF_HALVES=0 N_PADDED=16 SUMS=3 WARPS_A=2 TILES_A=2 TILES_B=4 STAGES=4
// variant: PAIRS_OF_HALVES=0 N_PADDED=16 SUMS=1 WARPS_A=1 TILES_A=2 TILES_B=2 STAGES=4
// variant: PAIRS_OF_HALVES=0 N_PADDED=16 SUMS=1 WARPS_A=2 TILES_A=2 TILES_B=6 STAGES=4
// variant: PAIRS_OF_HALVES=1 N_PADDED=24 SUMS=3 WARPS_A=1 TILES_A=2 TILES_B=2 STAGES=1
// variant: PAIRS_OF_HALVES=1 N_PADDED=24 SUMS=3 WARPS_A=1 TILES_A=2 TILES_B=2 STAGES=4
// variant: PAIRS_OF_HALVES=1 N_PADDED=24 SUMS=3 WARPS_A=2 TILES_A=2 TILES_B=3 STAGES=1
// variant: PAIRS_OF_HALVES=1 N_PADDED=24 SUMS=3 WARPS_A=2 TILES_A=2 TILES_B=3 STAGES=4
// variant: PAIRS_OF_HALVES=1 N_PADDED=24 SUMS=1 WARPS_A=1 TILES_A=2 TILES_B=2 STAGES=4
// variant: PAIRS_OF_HALVES=1 N_PADDED=24 SUMS=1 WARPS_A=2 TILES_A=2 TILES_B=4 STAGES=1
// variant: PAIRS_OF_HALVES=1 N_PADDED=24 SUMS=1 WARPS_A=2 TILES_A=2 TILES_B=4 STAGES=4
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

#ifndef SUMS
#define SUMS 3             // of weight |<x, y>|^2 alone (1), or of weight <x, y> too
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

// Sixteen bytes of a row, of those that a thread copies: the same ones of every cell, and again so many rows below.
struct Place {
    int row, word, byte;  // in global memory from the first row on, in shared memory from the stage on
};
constexpr int PIECES = WORDS / 4;                            // of 16 bytes in a row
constexpr int odd_part(int n) { return n % 2 ? n : odd_part(n / 2); }
constexpr int PLACES = odd_part(PIECES);                     // after so many rounds of 256 copies they begin anew
constexpr int ROWS_BELOW = 256 * PLACES / PIECES;

__device__ __forceinline__ Place place_of(int copy) {
    const int row = copy / PIECES, piece = copy % PIECES;
    return Place{row, row * WORDS + 4 * piece, row * ROW_BYTES + 16 * piece};
}

// Rows of a cell into shared memory, from the first of a tile on; rows beyond the last channel are zeros.
template <int TILE>
__device__ __forceinline__ void fetch(unsigned char* to, const unsigned* first_row, const Place (&places)[PLACES], int n_rows) {
    constexpr int COPIES = TILE * PIECES;
#pragma unroll
    for (int round = 0; 256 * round < COPIES; ++round) {
        const Place& place = places[round % PLACES];
        const int below = round / PLACES * ROWS_BELOW;
        if (256 * (round + 1) > COPIES && place.row + below >= TILE) continue;
        cp_async_16(to + place.byte + below * ROW_BYTES, first_row + place.word + below * WORDS, place.row + below < n_rows);
    }
}

// Pairs within a dyad, whose n_a and n_b channels lie side by side; or all pairs, as those of a single dyad.
//
// grid (ceil(n_b / TILE_B), n_dyads ceil(n_a / TILE_A), n_chunks)      block (256)      STAGES * STAGE_BYTES of shared memory
//
// a, b      [.., n_channels, WORDS]        unit features by cell (units.cuh)
// norm_a, norm_b [.., n_channels], NORMS_BEHIND more    1 / length of the rounded vectors; read if the halves stand
//                                          alone, for channels of a tile that are not there too
// cell, weight [n_listed]                  cells that enter, chunk after chunk     begin [n_chunks + 1]
// partial   [n_chunks, SUMS, n_dyads, n_a, n_b]    sums of weight |<x, y>|^2, weight Re <x, y>, weight Im <x, y>
//
// Each chunk is added up cell after cell: no atomics, and the same bits whatever else is in the batch.
extern "C" __global__ void __launch_bounds__(256, 1)
gram(const unsigned* __restrict__ a, const unsigned* __restrict__ b, const float* __restrict__ norm_a,
     const float* __restrict__ norm_b, const int* __restrict__ cell, const float* __restrict__ weight,
     const int* __restrict__ begin, float* __restrict__ partial, int n_dyads, int n_a, int n_b) {
    IBSYNC_DYNAMIC_SHARED(shared);
    const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
    const int tiles_a = (n_a + TILE_A - 1) / TILE_A, dyad = static_cast<int>(blockIdx.y) / tiles_a;
    const int first_a = static_cast<int>(blockIdx.y) % tiles_a * TILE_A, first_b = static_cast<int>(blockIdx.x) * TILE_B;
    const int warp_a = warp / WARPS_B * 16 * TILES_A, warp_b = warp % WARPS_B * 8 * TILES_B;
    const int start = begin[blockIdx.z], n_cells = begin[blockIdx.z + 1] - start;
    Place places[PLACES];
#pragma unroll
    for (int k = 0; k < PLACES; ++k) places[k] = place_of(static_cast<int>(threadIdx.x) + 256 * k);
    const long long row_a = static_cast<long long>(dyad) * n_a + first_a, row_b = static_cast<long long>(dyad) * n_b + first_b;
    const unsigned *const tile_a = a + row_a * WORDS, *const tile_b = b + row_b * WORDS;
    const int all_a = n_dyads * n_a, all_b = n_dyads * n_b;

    float sums[SUMS][TILES_A][TILES_B][4] = {};

    for (int ahead = 0; ahead < STAGES - 1; ++ahead) {
        if (ahead < n_cells) {
            unsigned char* stage = shared + ahead * STAGE_BYTES;
            const long long coming = cell[start + ahead];
            fetch<TILE_A>(stage, tile_a + coming * all_a * WORDS, places, n_a - first_a);
            fetch<TILE_B>(stage + TILE_A * ROW_BYTES, tile_b + coming * all_b * WORDS, places, n_b - first_b);
        }
        cp_async_commit();
    }
    // The cell that is fetched next is known one round before, and so is the one that is multiplied.
    long long coming = STAGES - 1 < n_cells ? cell[start + STAGES - 1] : 0;
    int next = n_cells > 0 ? cell[start] : 0;
    float next_weight = n_cells > 0 ? weight[start] : 0.0f;
    for (int k = 0; k < n_cells; ++k) {
        if (STAGES > 1) cp_async_wait<(STAGES > 1 ? STAGES - 2 : 0)>();
        __syncthreads();  // this cell has come, and everybody is done with the one before
        if (k + STAGES - 1 < n_cells) {
            unsigned char* stage = shared + (k + STAGES - 1) % STAGES * STAGE_BYTES;
            fetch<TILE_A>(stage, tile_a + coming * all_a * WORDS, places, n_a - first_a);
            fetch<TILE_B>(stage + TILE_A * ROW_BYTES, tile_b + coming * all_b * WORDS, places, n_b - first_b);
        }
        cp_async_commit();
        if (STAGES == 1) {
            cp_async_wait<0>();
            __syncthreads();
        }
        const float w = next_weight;
        const long long here = next;
        if (k + STAGES < n_cells) coming = cell[start + k + STAGES];
        if (k + 1 < n_cells) {
            next = cell[start + k + 1];
            next_weight = weight[start + k + 1];
        }

        const float *const norms_a = norm_a + here * all_a + row_a + (warp_a + lane / 4);
        const float *const norms_b = norm_b + here * all_b + row_b + (warp_b + 2 * (lane % 4));
        float weight_a[TILES_A][2], square_a[TILES_A][2];  // weight / length, weight / length^2
#pragma unroll
        for (int i = 0; i < TILES_A; ++i)
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const float length = PARTS == 2 ? UNSCALE : norms_a[16 * i + 8 * half];
                weight_a[i][half] = w * length;
                square_a[i][half] = w * length * length;
            }

        const unsigned char* rows_a = shared + k % STAGES * STAGE_BYTES + warp_a * ROW_BYTES;
        const unsigned char* rows_b = shared + k % STAGES * STAGE_BYTES + (TILE_A + warp_b) * ROW_BYTES;
        unsigned left[PARTS][STEPS][TILES_A][4];
        // Addresses of four 8 x 8 matrices: rows 0-7 and 8-15, numbers 0-7, then both with numbers 8-15.
        const int matrix_row = lane % 16, matrix_byte = lane / 16 * 16;
#pragma unroll
        for (int part = 0; part < PARTS; ++part)
#pragma unroll
            for (int step = 0; step < STEPS; ++step)
#pragma unroll
                for (int i = 0; i < TILES_A; ++i)
                    ldmatrix_x4(left[part][step][i], rows_a + (16 * i + matrix_row) * ROW_BYTES + 4 * N_PADDED * part + 32 * step + matrix_byte);

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
            for (int side = 0; side < 2; ++side) length_b[side] = PARTS == 2 ? 1.0f : norms_b[8 * j + side];
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
                    const float length = length_b[k4 % 2];
                    const float square = PARTS == 2 ? square_a[i][k4 / 2] : square_a[i][k4 / 2] * (length * length);
                    sums[0][i][j][k4] = fmaf(square, fmaf(re[k4], re[k4], im[k4] * im[k4]), sums[0][i][j][k4]);
                    if (SUMS == 3) {
                        const float scale = weight_a[i][k4 / 2] * length;
                        sums[1 % SUMS][i][j][k4] = fmaf(scale, re[k4], sums[1 % SUMS][i][j][k4]);
                        sums[2 % SUMS][i][j][k4] = fmaf(scale, im[k4], sums[2 % SUMS][i][j][k4]);
                    }
                }
            }
        }
    }

    const long long plane = static_cast<long long>(all_a) * n_b;
    float* out = partial + SUMS * plane * blockIdx.z;
#pragma unroll
    for (int i = 0; i < TILES_A; ++i)
#pragma unroll
        for (int j = 0; j < TILES_B; ++j)
#pragma unroll
            for (int k4 = 0; k4 < 4; ++k4) {
                const int x = first_a + warp_a + 16 * i + lane / 4 + k4 / 2 * 8;
                const int y = first_b + warp_b + 8 * j + 2 * (lane % 4) + k4 % 2;
                if (x >= n_a || y >= n_b) continue;
                const long long at = (static_cast<long long>(dyad) * n_a + x) * n_b + y;
#pragma unroll
                for (int sum = 0; sum < SUMS; ++sum) out[sum * plane + at] = sums[sum][i][j][k4];
            }
}
