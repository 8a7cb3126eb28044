// Shared by all kernels: counter-based random numbers and complex products.
//
// The same text compiles as CUDA (device code) and as C++17 (host tests). No other header is included.
#pragma once

#ifdef __CUDACC__
#define IBSYNC_FUNCTION __device__ __forceinline__
// Shared memory whose size is given at the launch, 16-byte aligned.
#define IBSYNC_DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#else
#define IBSYNC_FUNCTION inline
#endif

namespace ibsync {

using u32 = unsigned int;
using u64 = unsigned long long;

struct Words4 {
    u32 x, y, z, w;
};

// Philox4x32-10 (Salmon et al. 2011, SC11): a random function of (counter, key), equal on every backend.
//
// counter   (block within the draw, surrogate k, entity id, purpose)
// key       low and high word of the user's 64-bit seed
IBSYNC_FUNCTION Words4 philox4x32_10(Words4 counter, u32 key_low, u32 key_high) {
    constexpr u32 multiplier_x = 0xD2511F53u, multiplier_z = 0xCD9E8D57u;
    constexpr u32 weyl_low = 0x9E3779B9u, weyl_high = 0xBB67AE85u;
    for (int round = 0; round < 10; ++round) {
        const u64 product_x = static_cast<u64>(multiplier_x) * counter.x;
        const u64 product_z = static_cast<u64>(multiplier_z) * counter.z;
        counter = Words4{static_cast<u32>(product_z >> 32) ^ counter.y ^ key_low, static_cast<u32>(product_z),
                         static_cast<u32>(product_x >> 32) ^ counter.w ^ key_high, static_cast<u32>(product_x)};
        key_low += weyl_low;
        key_high += weyl_high;
    }
    return counter;
}

// A whole number below n from one random word; biased by less than n / 2^32.
IBSYNC_FUNCTION u32 below(u32 word, u32 n) { return static_cast<u32>((static_cast<u64>(word) * n) >> 32); }

struct Complex {
    float re, im;
};

// sum + x conj(y): one term of an inner product of features.
IBSYNC_FUNCTION Complex add_product(Complex sum, Complex x, Complex y) {
    sum.re += x.re * y.re + x.im * y.im;
    sum.im += x.im * y.re - x.re * y.im;
    return sum;
}

}  // namespace ibsync
