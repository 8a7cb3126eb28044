// double precision
// variant: FILTERS=4 TIMES=4
// variant: FILTERS=4 TIMES=1
// variant: FILTERS=10 TIMES=2
// variant: FILTERS=10 TIMES=1
#include "filters.cuh"

extern "C" __global__ void __launch_bounds__(256)
filters_f64(const double* __restrict__ samples, const int* __restrict__ begins, const double2* __restrict__ kernels,
            double* __restrict__ z, int n_filters, int n_points, int n_times, int n_channels, long long kernel_stride) {
    filters(samples, begins, kernels, z, n_filters, n_points, n_times, n_channels, kernel_stride);
}
