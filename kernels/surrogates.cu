// double precision: spectra and signals of surrogates are those of the host, to rounding.
#include "streams.cuh"

// Spectra of one person with the phases of each draw added; all channels get the same phases, DC and Nyquist stay.
//
// grid  (ceil(n_frequencies / 256), n_draws)      block (256)
// spectra [n_channels, n_frequencies]             table [65536] exp(2 pi i q / 65536)
// draws [n_draws] draw numbers, 0 the recording   turned [n_draws, n_channels, n_frequencies]
// n_turned  frequencies 1 .. n_turned are turned
extern "C" __global__ void __launch_bounds__(256)
turn_spectra(const double2* __restrict__ spectra, const double2* __restrict__ table,
             const unsigned* __restrict__ draws, double2* __restrict__ turned, int n_channels, int n_frequencies,
             int n_turned, unsigned key_low, unsigned key_high, unsigned entity, unsigned purpose) {
    const int f = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (f >= n_frequencies) return;
    const unsigned draw = draws[blockIdx.y];
    const ibsync::Stream stream{key_low, key_high, entity, purpose};
    const bool stays = f == 0 || f > n_turned || draw == 0u;
    const double2 factor = table[stays ? 0u : ibsync::phase_bits(stream, draw, static_cast<unsigned>(f))];
    const long long first = static_cast<long long>(blockIdx.y) * n_channels * n_frequencies;
    for (int channel = 0; channel < n_channels; ++channel) {
        const long long cell = static_cast<long long>(channel) * n_frequencies + f;
        const double2 z = spectra[cell];
        turned[first + cell] = make_double2(z.x * factor.x - z.y * factor.y, z.x * factor.y + z.y * factor.x);
    }
}

// Signals of one person, begun elsewhere on their circle: sample t of a draw is sample (t - shift) mod n.
//
// grid  (ceil(n_samples / 256), n_draws)          block (256)
// signals [n_channels, n_samples]                 draws [n_draws]
// shifted [n_draws, n_channels, n_samples]
extern "C" __global__ void __launch_bounds__(256)
shift_signals(const double* __restrict__ signals, const unsigned* __restrict__ draws, double* __restrict__ shifted,
              int n_channels, int n_samples, unsigned key_low, unsigned key_high, unsigned entity, unsigned purpose) {
    const int t = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (t >= n_samples) return;
    const ibsync::Stream stream{key_low, key_high, entity, purpose};
    const int shift = static_cast<int>(ibsync::shift_of(stream, draws[blockIdx.y], static_cast<unsigned>(n_samples)));
    const int from = t >= shift ? t - shift : t - shift + n_samples;
    const long long first = static_cast<long long>(blockIdx.y) * n_channels * n_samples;
    for (int channel = 0; channel < n_channels; ++channel) {
        const long long row = static_cast<long long>(channel) * n_samples;
        shifted[first + row + t] = signals[row + from];
    }
}
