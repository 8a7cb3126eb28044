// double precision
// variant: N_FILTERS=30 N_FEATURES=22 N_PADDED=24 FORM=0
// variant: N_FILTERS=30 N_FEATURES=22 N_PADDED=24 FORM=2
// variant: N_FILTERS=30 N_FEATURES=22 N_PADDED=24 FORM=3
// variant: N_FILTERS=80 N_FEATURES=46 N_PADDED=48 FORM=3
#include "units.cuh"

extern "C" __global__ void __launch_bounds__(256, 2)
units_far_f64(const double* __restrict__ z, const double* __restrict__ mixing, long long mixing_stride,
          const int* __restrict__ cell, const unsigned char* __restrict__ usable, int has_usable, int n_rows,
          int conjugated, const double* __restrict__ noise_gain, int noise_stride, const double* __restrict__ energy, double empty,
          double tail, unsigned* __restrict__ words, float* __restrict__ norms, unsigned char* __restrict__ valid,
          int* __restrict__ flags, int n_channels) {
    units<double>(z, mixing, mixing_stride, Times{cell, usable, has_usable, n_rows, conjugated},
               Limits<double>{noise_gain, energy, noise_stride, empty, tail}, Packed{words, norms, valid, flags},
               n_channels);
}

extern "C" __global__ void __launch_bounds__(256, 2)
units_near_f64(const double* __restrict__ z, const double2* __restrict__ mixing, long long mixing_stride,
          const int* __restrict__ cell, const unsigned char* __restrict__ usable, int has_usable, int n_rows,
          int conjugated, const double* __restrict__ noise_gain, int noise_stride, const double* __restrict__ energy, double empty,
          double tail, unsigned* __restrict__ words, float* __restrict__ norms, unsigned char* __restrict__ valid,
          int* __restrict__ flags, int n_channels) {
    units<double>(z, mixing, mixing_stride, Times{cell, usable, has_usable, n_rows, conjugated},
               Limits<double>{noise_gain, energy, noise_stride, empty, tail}, Packed{words, norms, valid, flags},
               n_channels);
}
