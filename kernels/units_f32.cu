// variant: N_FILTERS=20 N_FEATURES=16 N_PADDED=16 FORM=0
// variant: N_FILTERS=20 N_FEATURES=16 N_PADDED=16 FORM=1
#include "units.cuh"

extern "C" __global__ void __launch_bounds__(256, 2)
units_far_f32(const float* __restrict__ z, const float* __restrict__ mixing, long long mixing_stride,
          const int* __restrict__ cell, const unsigned char* __restrict__ usable, int has_usable, int n_rows,
          int conjugated, const float* __restrict__ noise_gain, int noise_stride, const float* __restrict__ energy, float empty,
          float tail, unsigned* __restrict__ words, float* __restrict__ norms, unsigned char* __restrict__ valid,
          int* __restrict__ flags, int n_channels) {
    units<float>(z, mixing, mixing_stride, Times{cell, usable, has_usable, n_rows, conjugated},
               Limits<float>{noise_gain, energy, noise_stride, empty, tail}, Packed{words, norms, valid, flags},
               n_channels);
}

extern "C" __global__ void __launch_bounds__(256, 2)
units_near_f32(const float* __restrict__ z, const float2* __restrict__ mixing, long long mixing_stride,
          const int* __restrict__ cell, const unsigned char* __restrict__ usable, int has_usable, int n_rows,
          int conjugated, const float* __restrict__ noise_gain, int noise_stride, const float* __restrict__ energy, float empty,
          float tail, unsigned* __restrict__ words, float* __restrict__ norms, unsigned char* __restrict__ valid,
          int* __restrict__ flags, int n_channels) {
    units<float>(z, mixing, mixing_stride, Times{cell, usable, has_usable, n_rows, conjugated},
               Limits<float>{noise_gain, energy, noise_stride, empty, tail}, Packed{words, norms, valid, flags},
               n_channels);
}
