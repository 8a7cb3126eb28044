// double precision
// variant: N_FEATURES=46 SHARES=0
// variant: N_FEATURES=46 SHARES=1
#include "gram_plain.cuh"

extern "C" __global__ void __launch_bounds__(256, 1)
gram_plain_f64(const double* __restrict__ a, const double* __restrict__ b, const int* __restrict__ cell,
               const double* __restrict__ weight, const double* __restrict__ width, const int* __restrict__ begin, double level,
               double in_phase, double anti_phase, double* __restrict__ partial, int n_dyads, int n_a, int n_b) {
    gram_plain(a, b, cell, weight, width, begin, level, in_phase, anti_phase, partial, n_dyads, n_a, n_b);
}
