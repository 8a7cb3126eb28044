// variant: N_FEATURES=16 SHARES=0
// variant: N_FEATURES=16 SHARES=1
// variant: N_FEATURES=22 SHARES=0
// variant: N_FEATURES=22 SHARES=1
#include "gram_plain.cuh"

extern "C" __global__ void __launch_bounds__(256, 2)
gram_plain_f32(const float* __restrict__ a, const float* __restrict__ b, const int* __restrict__ cell,
               const float* __restrict__ weight, const float* __restrict__ width, const int* __restrict__ begin, float level,
               float in_phase, float anti_phase, float* __restrict__ partial, int n_dyads, int n_a, int n_b) {
    gram_plain(a, b, cell, weight, width, begin, level, in_phase, anti_phase, partial, n_dyads, n_a, n_b);
}
