// Lets g++ compile a CUDA kernel file for the CPU. For tests only: see cuda_host.cpp.
//
// Only what is listed here exists; add an intrinsic when a kernel needs it. Floating-point atomics are left out on
// purpose: their sums depend on the order of the threads.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)
// All static shared variables go into one section, refilled with NaN before each block.
#define __shared__ static __attribute__((section("cuda_shared")))
#define IBSYNC_DYNAMIC_SHARED(name) \
    unsigned char* const name = static_cast<unsigned char*>(cuda_host::dynamic_shared())

struct uint3 { unsigned x, y, z; };
struct dim3 { unsigned x = 1, y = 1, z = 1; };
struct alignas(8) int2 { int x, y; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) int4 { int x, y, z, w; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(16) double2 { double x, y; };
inline int2 make_int2(int x, int y) { return {x, y}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline double2 make_double2(double x, double y) { return {x, y}; }

// ---- arithmetic --------------------------------------------------------------------------------
using std::isfinite;
using std::isinf;
using std::isnan;
template <class T> T min(T a, T b) { return b < a ? b : a; }
template <class T> T max(T a, T b) { return a < b ? b : a; }
inline float min(float a, float b) { return std::fmin(a, b); }
inline float max(float a, float b) { return std::fmax(a, b); }
inline double min(double a, double b) { return std::fmin(a, b); }
inline double max(double a, double b) { return std::fmax(a, b); }
template <class T> T __ldg(const T* p) { return *p; }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline double rsqrt(double x) { return 1.0 / std::sqrt(x); }
inline float __fmaf_rn(float x, float y, float z) { return std::fma(x, y, z); }
inline float __fmul_rn(float x, float y) { return x * y; }
inline float __fadd_rn(float x, float y) { return x + y; }
inline float __fsub_rn(float x, float y) { return x - y; }
inline float __fdiv_rn(float x, float y) { return x / y; }
inline float __fsqrt_rn(float x) { return std::sqrt(x); }
inline double __fma_rn(double x, double y, double z) { return std::fma(x, y, z); }
inline double __dmul_rn(double x, double y) { return x * y; }
inline double __dadd_rn(double x, double y) { return x + y; }
inline double __dsub_rn(double x, double y) { return x - y; }
inline double __ddiv_rn(double x, double y) { return x / y; }
inline float __saturatef(float x) { return x > 0.0f ? std::fmin(x, 1.0f) : 0.0f; }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>((std::uint64_t{a} * b) >> 32); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }

namespace cuda_host {
template <class To, class From> To bits(From value) {
    static_assert(sizeof(To) == sizeof(From));
    To out;
    std::memcpy(&out, &value, sizeof(To));
    return out;
}
// Sine and cosine of pi x, exact at multiples of 1/2.
template <class T> void turn(T x, T* sine, T* cosine) {
    const double r = std::remainder(static_cast<double>(x), 2.0), quarter = std::nearbyint(2 * r);
    const double angle = 3.14159265358979323846 * (r - quarter / 2), s = std::sin(angle), c = std::cos(angle);
    const int quadrant = static_cast<int>(quarter) & 3;
    const double sines[4] = {s, c, -s, -c};
    *sine = static_cast<T>(sines[quadrant]);
    *cosine = static_cast<T>(sines[(quadrant + 1) & 3]);
}
}  // namespace cuda_host

inline unsigned __float_as_uint(float x) { return cuda_host::bits<unsigned>(x); }
inline int __float_as_int(float x) { return cuda_host::bits<int>(x); }
inline float __uint_as_float(unsigned x) { return cuda_host::bits<float>(x); }
inline float __int_as_float(int x) { return cuda_host::bits<float>(x); }
inline long long __double_as_longlong(double x) { return cuda_host::bits<long long>(x); }
inline double __longlong_as_double(long long x) { return cuda_host::bits<double>(x); }
inline int __float2int_rn(float x) { return static_cast<int>(std::nearbyint(x)); }
inline long long __float2ll_rn(float x) { return static_cast<long long>(std::nearbyint(x)); }
inline long long __double2ll_rn(double x) { return static_cast<long long>(std::nearbyint(x)); }
inline void sincospif(float x, float* s, float* c) { cuda_host::turn(x, s, c); }
inline void sincospi(double x, double* s, double* c) { cuda_host::turn(x, s, c); }

// ---- the running block: cuda_host.cpp, compiled without sanitizers -----------------------------
namespace cuda_host {
uint3 thread_index(), block_index();
dim3 block_dim(), grid_dim();
unsigned lane();
void* dynamic_shared();
[[noreturn]] void stop(const char* what, int line);
void sync_block(int line);
void sync_warp(unsigned mask, int line);
// What the live lanes of a warp gave, at most 64 bytes each; ones of lanes that are gone.
struct Given {
    const unsigned char* all;   // [32][64]
    unsigned live;
    template <class T> T of(unsigned lane) const {
        static_assert(sizeof(T) <= 64);
        T out;
        std::memcpy(&out, all + 64 * lane, sizeof(T));
        return out;
    }
};
Given exchange(unsigned mask, const void* mine, std::size_t bytes, int line);
unsigned live_lanes();

struct Copy { void* to; uint4 value; };   // of cp.async, on its way
void start_copy(Copy copy);
void close_copies();
Copy* landing_copies(unsigned groups_left, std::size_t* n);

void run_grid(dim3 grid, dim3 block, std::size_t shared_bytes, unsigned order, long long only, void (*body)(void*),
              void* argument, char* shared_begin, char* shared_end);

template <class T> T from_lane(unsigned mask, T value, unsigned source, int line) {
    const Given given = exchange(mask, &value, sizeof(T), line);
    return given.of<T>(source < 32 ? source : lane());
}
inline unsigned ballot(unsigned mask, bool flag, int line) {
    const Given given = exchange(mask, &flag, 1, line);
    unsigned out = 0;
    for (unsigned l = 0; l < 32; ++l) out |= (given.live >> l & mask >> l & given.of<unsigned char>(l) & 1u) << l;
    return out;
}
}  // namespace cuda_host

#define threadIdx (cuda_host::thread_index())
#define blockIdx (cuda_host::block_index())
#define blockDim (cuda_host::block_dim())
#define gridDim (cuda_host::grid_dim())
#define warpSize 32
#define __syncthreads() cuda_host::sync_block(__LINE__)
#define IBSYNC_HOST_MASK(...) (0xffffffffu __VA_OPT__(& (__VA_ARGS__)))
#define __syncwarp(...) cuda_host::sync_warp(IBSYNC_HOST_MASK(__VA_ARGS__), __LINE__)
#define __activemask() cuda_host::live_lanes()
#define __shfl_sync(mask, v, source) cuda_host::from_lane((mask), (v), (source) % 32u, __LINE__)
#define __shfl_down_sync(mask, v, d) cuda_host::from_lane((mask), (v), cuda_host::lane() + (d), __LINE__)
#define __shfl_up_sync(mask, v, d) cuda_host::from_lane((mask), (v), cuda_host::lane() - (d), __LINE__)
#define __shfl_xor_sync(mask, v, d) cuda_host::from_lane((mask), (v), cuda_host::lane() ^ (d), __LINE__)
#define __ballot_sync(mask, flag) cuda_host::ballot((mask), (flag), __LINE__)
#define __any_sync(mask, flag) (cuda_host::ballot((mask), (flag), __LINE__) != 0)
#define __all_sync(mask, flag) (cuda_host::ballot((mask), !(flag), __LINE__) == 0)
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __threadfence_block() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

// ---- atomics on integers -----------------------------------------------------------------------
template <class T> using Same = std::type_identity_t<T>;
template <class T> T atomicAdd(T* address, Same<T> value) {
    static_assert(std::is_integral_v<T>, "sums of floating-point atomics depend on the order of the threads");
    return __atomic_fetch_add(address, value, __ATOMIC_RELAXED);
}
template <class T> T atomicSub(T* address, Same<T> value) { return __atomic_fetch_sub(address, value, __ATOMIC_RELAXED); }
template <class T> T atomicOr(T* address, Same<T> value) { return __atomic_fetch_or(address, value, __ATOMIC_RELAXED); }
template <class T> T atomicAnd(T* address, Same<T> value) { return __atomic_fetch_and(address, value, __ATOMIC_RELAXED); }
template <class T> T atomicExch(T* address, Same<T> value) { return __atomic_exchange_n(address, value, __ATOMIC_RELAXED); }
template <class T> T atomicCAS(T* address, Same<T> expected, Same<T> value) {
    __atomic_compare_exchange_n(address, &expected, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
    return expected;
}
template <class T> T atomicMax(T* address, Same<T> value) {
    static_assert(std::is_integral_v<T>);
    T old = __atomic_load_n(address, __ATOMIC_RELAXED);
    while (old < value && !__atomic_compare_exchange_n(address, &old, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
    return old;
}
template <class T> T atomicMin(T* address, Same<T> value) {
    static_assert(std::is_integral_v<T>);
    T old = __atomic_load_n(address, __ATOMIC_RELAXED);
    while (value < old && !__atomic_compare_exchange_n(address, &old, value, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
    return old;
}

#include "mma_host.h"

// ---- used by the functions that host_module.py adds for each kernel ----------------------------
extern char __start_cuda_shared[] __attribute__((weak, visibility("hidden")));
extern char __stop_cuda_shared[] __attribute__((weak, visibility("hidden")));

namespace cuda_host {
template <class... A, std::size_t... I>
void call(void (*kernel)(A...), void** params, std::index_sequence<I...>) {
    kernel(*static_cast<std::decay_t<A>*>(params[I])...);
}
template <class... A>   // params as in cuLaunchKernel
void launch(void (*kernel)(A...), dim3 grid, dim3 block, std::size_t shared_bytes, unsigned order, long long only,
            void** params) {
    struct Call { void (*kernel)(A...); void** params; } c{kernel, params};
    run_grid(grid, block, shared_bytes, order, only, [](void* p) {
        auto* c = static_cast<Call*>(p);
        call(c->kernel, c->params, std::index_sequence_for<A...>{});
    }, &c, __start_cuda_shared, __stop_cuda_shared);
}
template <class T> std::string code() {   // numpy's kind and itemsize, * for a pointer, v and bytes for other types
    if constexpr (std::is_pointer_v<T>) return "*" + code<std::remove_cv_t<std::remove_pointer_t<T>>>();
    else if constexpr (std::is_same_v<T, bool>) return "b1";
    else if constexpr (std::is_same_v<T, float2>) return "c8";
    else if constexpr (std::is_same_v<T, double2>) return "c16";
    else if constexpr (std::is_void_v<T>) return "v1";
    else if constexpr (std::is_class_v<T>) return "v" + std::to_string(sizeof(T));
    else if constexpr (std::is_floating_point_v<T>) return "f" + std::to_string(sizeof(T));
    else return (std::is_signed_v<T> ? "i" : "u") + std::to_string(sizeof(T));
}
template <class... A> const char* signature(void (*)(A...)) {
    static const std::string s = ((code<std::decay_t<A>>() + " ") + ... + std::string());
    return s.c_str();
}
}  // namespace cuda_host
