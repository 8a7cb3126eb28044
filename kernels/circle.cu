// double precision
#include "circle.cuh"

// Bins of the padded transform, turned to a group's first time, on the group's circle; zero elsewhere.
//
// grid     (ceil(n_circle / 256), n_channels)         block (256)
// spectra  [n_channels, n_stored]   bin 0 first       turn  [n_bins]   e^{i omega_k t_0} of bins 1..n_bins
// circle   [n_channels, n_circle]
extern "C" __global__ void __launch_bounds__(256)
place_bins(const double2* __restrict__ spectra, const double2* __restrict__ turn, double2* __restrict__ circle,
           int n_stored, int n_bins, int n_circle) {
    const int point = static_cast<int>(blockIdx.x) * 256 + static_cast<int>(threadIdx.x);
    if (point >= n_circle) return;
    const long long channel = blockIdx.y;
    double2 value = make_double2(0.0, 0.0);
    if (point >= 1 && point <= n_bins) {
        const double2 bin = spectra[channel * n_stored + point], by = turn[point - 1];
        value = make_double2(bin.x * by.x - bin.y * by.y, bin.x * by.y + bin.y * by.x);
    }
    circle[channel * n_circle + point] = value;
}

extern "C" __global__ void __launch_bounds__(256)
take_samples_f32(const double2* __restrict__ circle, float* __restrict__ samples, int first, int n_samples,
                 int n_circle, int n_channels) {
    take_samples(circle, samples, first, n_samples, n_circle, n_channels);
}

extern "C" __global__ void __launch_bounds__(256)
take_samples_f64(const double2* __restrict__ circle, double* __restrict__ samples, int first, int n_samples,
                 int n_circle, int n_channels) {
    take_samples(circle, samples, first, n_samples, n_circle, n_channels);
}
