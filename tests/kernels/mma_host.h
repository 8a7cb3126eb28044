// The functions of kernels/mma.cuh on the CPU: lanes exchange their registers and each computes what is its own.
//
// Who holds which element follows the tables of the PTX ISA ("Matrix Fragments for mma.m16n8k16", "ldmatrix"), as the
// instructions do, so that a kernel with a wrong layout gives wrong numbers here too.
#pragma once

namespace cuda_host {

inline unsigned short half_bits(float x) {   // to nearest, ties to even, as cvt.rn.f16.f32
    const unsigned word = bits<unsigned>(x), sign = word >> 16 & 0x8000u, size = word & 0x7fffffffu;
    if (size > 0x7f800000u) return 0x7fff;
    if (size >= 0x477ff000u) return static_cast<unsigned short>(sign | 0x7c00u);   // 65520 and more
    if (size < 0x38800000u) {   // below 2^-14: steps of 2^-24, which a sum with 1/2 rounds to
        const float sum = bits<float>(size) + 0.5f;
        return static_cast<unsigned short>(sign | (bits<unsigned>(sum) - 0x3f000000u));
    }
    const unsigned odd = size >> 13 & 1u;
    return static_cast<unsigned short>(sign | ((size - 0x38000000u + 0xfffu + odd) >> 13));
}

inline float half_value(unsigned half) {
    const unsigned exponent = half >> 10 & 31u, mantissa = half & 1023u;
    const float size = exponent == 31  ? bits<float>(0x7f800000u | mantissa << 13)
                       : exponent == 0 ? static_cast<float>(mantissa) * 0x1p-24f
                                       : bits<float>((exponent + 112u) << 23 | mantissa << 13);
    return half & 0x8000u ? -size : size;
}

template <class T> Given whole_warp(const T& mine, int line) {
    const Given given = exchange(0xffffffffu, &mine, sizeof(T), line);
    if (given.live != 0xffffffffu) stop("a matrix instruction needs all 32 lanes of the warp", line);
    return given;
}

inline void check_aligned(const void* p, int line) {
    if (reinterpret_cast<std::uintptr_t>(p) % 16) stop("address of a 16-byte access is not a multiple of 16", line);
}

template <int N> void ldmatrix(unsigned (&r)[N], const void* row, bool transposed, int line) {
    const Given rows = whole_warp(row, line);
    const unsigned l = lane();
    for (int matrix = 0; matrix < N; ++matrix) {
        unsigned word = 0;
        for (unsigned i = 0; i < 2; ++i) {
            const unsigned first = l / 4, second = 2 * (l % 4) + i;
            const void* from = rows.of<const void*>(8 * matrix + (transposed ? second : first));
            check_aligned(from, line);
            word |= static_cast<unsigned>(static_cast<const unsigned short*>(from)[transposed ? first : second]) << 16 * i;
        }
        r[matrix] = word;
    }
}

}  // namespace cuda_host

namespace ibsync {

inline unsigned pack_half2(float low, float high) {
    return cuda_host::half_bits(low) | static_cast<unsigned>(cuda_host::half_bits(high)) << 16;
}
inline float half_low(unsigned pair) { return cuda_host::half_value(pair & 0xffffu); }
inline float half_high(unsigned pair) { return cuda_host::half_value(pair >> 16); }

inline void mma_f16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    struct Fragments { unsigned a[4], b[2]; } mine{{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
    const cuda_host::Given warp = cuda_host::whole_warp(mine, __LINE__);
    const unsigned group = cuda_host::lane() / 4, member = cuda_host::lane() % 4;
    for (unsigned i = 0; i < 4; ++i) {
        const unsigned low_row = i / 2, column = 2 * member + i % 2;   // row: group + 8 low_row
        for (unsigned k = 0; k < 16; ++k) {   // element k of a row lies in the lane of k % 8 / 2, in the upper registers from 8
            const unsigned word_a = warp.of<Fragments>(4 * group + k % 8 / 2).a[low_row + 2 * (k / 8)];
            const unsigned word_b = warp.of<Fragments>(4 * column + k % 8 / 2).b[k / 8];
            d[i] += cuda_host::half_value(word_a >> 16 * (k % 2) & 0xffffu) *
                    cuda_host::half_value(word_b >> 16 * (k % 2) & 0xffffu);
        }
    }
}

inline void mma_f64(double (&d)[2], double a, double b) {
    struct Fragments { double a, b; } mine{a, b};
    const cuda_host::Given warp = cuda_host::whole_warp(mine, __LINE__);
    const unsigned group = cuda_host::lane() / 4, member = cuda_host::lane() % 4;
    for (unsigned i = 0; i < 2; ++i)
        for (unsigned k = 0; k < 4; ++k) d[i] = std::fma(warp.of<Fragments>(4 * group + k).a, warp.of<Fragments>(4 * (2 * member + i) + k).b, d[i]);
}

inline void ldmatrix_x4(unsigned (&r)[4], const void* row) { cuda_host::ldmatrix(r, row, false, __LINE__); }
inline void ldmatrix_x2(unsigned (&r)[2], const void* row) { cuda_host::ldmatrix(r, row, false, __LINE__); }
inline void ldmatrix_x4_trans(unsigned (&r)[4], const void* row) { cuda_host::ldmatrix(r, row, true, __LINE__); }
inline void ldmatrix_x2_trans(unsigned (&r)[2], const void* row) { cuda_host::ldmatrix(r, row, true, __LINE__); }

// The source is read now and lands at the wait, so that a missing wait leaves the NaN of unwritten memory.
inline void cp_async_16(void* shared, const void* global, bool valid) {
    cuda_host::check_aligned(shared, __LINE__);
    cuda_host::Copy copy{shared, {0, 0, 0, 0}};
    if (valid) {
        cuda_host::check_aligned(global, __LINE__);
        copy.value = *static_cast<const uint4*>(global);
    }
    cuda_host::start_copy(copy);
}
inline void cp_async_commit() { cuda_host::close_copies(); }
template <int N> void cp_async_wait() {
    std::size_t n;
    const cuda_host::Copy* copies = cuda_host::landing_copies(N, &n);
    for (std::size_t i = 0; i < n; ++i) *static_cast<uint4*>(copies[i].to) = copies[i].value;
}

}  // namespace ibsync
