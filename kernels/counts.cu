// double precision: a value is compared and rounded as on the host, and every count is a whole number.
#include "common.cuh"

// How many draws of a thread block one thread looks at before it adds to the counts.
#define DRAWS 64

// Draws that reach, pass, or stay at or below the observed statistic. NaN is counted nowhere.
//
// grid  (ceil(n_features / 128), ceil(n_draws / DRAWS))       block (128)
// values [n_draws, n_features]   low, high [n_features] observed statistic minus and plus its tolerance
// counts [3, n_features] at least, above, at most; added to
extern "C" __global__ void __launch_bounds__(128)
add_exceedances(const double* __restrict__ values, const double* __restrict__ low, const double* __restrict__ high,
                unsigned long long* __restrict__ counts, int n_draws, int n_features) {
    const int feature = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (feature >= n_features) return;
    const int first = static_cast<int>(blockIdx.y) * DRAWS, last = min(first + DRAWS, n_draws);
    const double below = low[feature], beyond = high[feature];
    unsigned at_least = 0u, above = 0u, at_most = 0u;
    for (int draw = first; draw < last; ++draw) {
        const double value = values[static_cast<long long>(draw) * n_features + feature];
        at_least += value >= below;
        above += value > beyond;
        at_most += value <= beyond;
    }
    if (at_least) atomicAdd(&counts[feature], static_cast<unsigned long long>(at_least));
    if (above) atomicAdd(&counts[n_features + feature], static_cast<unsigned long long>(above));
    if (at_most) atomicAdd(&counts[2ll * n_features + feature], static_cast<unsigned long long>(at_most));
}

// Draws that reach a bound.
//
// grid  (ceil(n_features / 128), ceil(n_draws / DRAWS))       block (128)
// values [n_draws, n_features]   low [n_features]   counts [n_features], added to
extern "C" __global__ void __launch_bounds__(128)
add_reaching(const double* __restrict__ values, const double* __restrict__ low,
             unsigned long long* __restrict__ counts, int n_draws, int n_features) {
    const int feature = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (feature >= n_features) return;
    const int first = static_cast<int>(blockIdx.y) * DRAWS, last = min(first + DRAWS, n_draws);
    unsigned reached = 0u;
    for (int draw = first; draw < last; ++draw)
        reached += values[static_cast<long long>(draw) * n_features + feature] >= low[feature];
    if (reached) atomicAdd(&counts[feature], static_cast<unsigned long long>(reached));
}

// Running maximum of the evidence of each draw, over features in ascending order of their observed evidence.
// Evidence is z = (value - mean) scale, -z, or |z|; a missing value is none. One warp per draw.
//
// grid  (ceil(n_draws / 8))                    block (256)
// values [n_draws, n_features]                 mean, scale [n_features]
// order [n_ordered] features                   tail 1 greater, -1 less, 0 two-sided
// running [n_draws, n_ordered]                 largest [n_draws], -inf without features
extern "C" __global__ void __launch_bounds__(256)
running_maxima(const double* __restrict__ values, const double* __restrict__ mean, const double* __restrict__ scale,
               const int* __restrict__ order, double* __restrict__ running, double* __restrict__ largest, int n_draws,
               int n_features, int n_ordered, int tail) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int draw = static_cast<int>(blockIdx.x) * 8 + static_cast<int>(threadIdx.x) / 32;
    const double none = __longlong_as_double(static_cast<long long>(0xfff0000000000000ull));  // -infinity
    double carried = none;
    for (int start = 0; start < n_ordered; start += 32) {
        const int place = start + lane;
        const bool inside = draw < n_draws && place < n_ordered;
        double best = none;
        if (inside) {
            const int feature = order[place];
            const double z = (values[static_cast<long long>(draw) * n_features + feature] - mean[feature]) * scale[feature];
            const double evidence = tail > 0 ? z : tail < 0 ? -z : fabs(z);
            best = isnan(evidence) ? none : evidence;
        }
        for (int step = 1; step < 32; step *= 2) {
            const double before = __shfl_up_sync(0xffffffffu, best, step);
            best = fmax(best, lane >= step ? before : none);
        }
        best = fmax(best, carried);
        if (inside) running[static_cast<long long>(draw) * n_ordered + place] = best;
        carried = __shfl_sync(0xffffffffu, best, 31);
    }
    if (lane == 0 && draw < n_draws) largest[draw] = carried;
}

// Sums in whole units: values to 2^-32, their squares of 2^-20. What is not finite is left out.
//
// grid  (ceil(n_features / 128), ceil(n_draws / DRAWS))       block (128)
// values [n_draws, n_features]
// sums [3, n_features] draws, sums, squares in two's complement, added to
// outside [1] number of values beyond [-1, 1], added to; the sums are of no use then
extern "C" __global__ void __launch_bounds__(128)
add_sums(const double* __restrict__ values, unsigned long long* __restrict__ sums, unsigned* __restrict__ outside,
         int n_draws, int n_features) {
    const int feature = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (feature >= n_features) return;
    const int first = static_cast<int>(blockIdx.y) * DRAWS, last = min(first + DRAWS, n_draws);
    long long present = 0, sum = 0, squares = 0;
    unsigned beyond = 0u;
    for (int draw = first; draw < last; ++draw) {
        const double value = values[static_cast<long long>(draw) * n_features + feature];
        if (!isfinite(value)) continue;
        if (fabs(value) > 1.0) {
            ++beyond;
            continue;
        }
        const long long unit = static_cast<long long>(rint(value * 1048576.0));
        present += 1;
        sum += static_cast<long long>(rint(value * 4294967296.0));
        squares += unit * unit;
    }
    if (present) atomicAdd(&sums[feature], static_cast<unsigned long long>(present));
    if (sum) atomicAdd(&sums[n_features + feature], static_cast<unsigned long long>(sum));
    if (squares) atomicAdd(&sums[2ll * n_features + feature], static_cast<unsigned long long>(squares));
    if (beyond) atomicAdd(outside, beyond);
}
