// double precision

// Sums of chunks added to the totals of the mean that each belongs to, in the order of the chunks.
//
// grid     (ceil(n_values / 256), n_means)       block (256)
// partial  [n_chunks, n_values]    chunk [n_means + 1]   first chunk of each mean
// totals   [n_means, n_values]     added to
template <class Real>
__device__ void add_chunks(const Real* __restrict__ partial, const int* __restrict__ chunk, double* __restrict__ totals,
                           long long n_values) {
    const long long value = static_cast<long long>(blockIdx.x) * 256 + threadIdx.x;
    if (value >= n_values) return;
    double sum = totals[blockIdx.y * n_values + value];
    for (int k = chunk[blockIdx.y]; k < chunk[blockIdx.y + 1]; ++k) sum += static_cast<double>(partial[k * n_values + value]);
    totals[blockIdx.y * n_values + value] = sum;
}

extern "C" __global__ void __launch_bounds__(256)
add_chunks_f32(const float* __restrict__ partial, const int* __restrict__ chunk, double* __restrict__ totals,
               long long n_values) {
    add_chunks(partial, chunk, totals, n_values);
}

extern "C" __global__ void __launch_bounds__(256)
add_chunks_f64(const double* __restrict__ partial, const int* __restrict__ chunk, double* __restrict__ totals,
               long long n_values) {
    add_chunks(partial, chunk, totals, n_values);
}
