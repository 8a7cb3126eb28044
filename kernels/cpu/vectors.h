/* Vectors of the processor at hand, by the extensions of gcc and clang. Each build of the loops has its own width. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#define VECTOR_BYTES 64
#define BUILD(name) name##_avx512
#elif defined(__AVX2__)
#include <immintrin.h>
#define VECTOR_BYTES 32
#define BUILD(name) name##_avx2
#elif defined(__aarch64__)
#include <arm_neon.h>
#define VECTOR_BYTES 16
#define BUILD(name) name##_neon
#else
#error "no build for this processor"
#endif

#define FLOATS (VECTOR_BYTES / 4)
#define DOUBLES (VECTOR_BYTES / 8)
#define EXPORTED __attribute__((visibility("default")))
#define INLINE static inline __attribute__((always_inline))

typedef float floats __attribute__((vector_size(VECTOR_BYTES)));
typedef double doubles __attribute__((vector_size(VECTOR_BYTES)));
typedef int32_t ints __attribute__((vector_size(VECTOR_BYTES)));
typedef int64_t longs __attribute__((vector_size(VECTOR_BYTES)));
/* The same anywhere in memory. */
typedef float floats_at __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
typedef double doubles_at __attribute__((vector_size(VECTOR_BYTES), aligned(8), may_alias));

#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define SHUFFLED(type, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#endif
#endif
#ifndef SHUFFLED
#define SHUFFLED(type, a, b, ...) __builtin_shuffle(a, b, (type){__VA_ARGS__})
#endif

/* Lane by lane x > y ? x : y, so y where x is no number. */
INLINE doubles larger(doubles x, doubles y) {
#if VECTOR_BYTES == 64
  return (doubles)_mm512_max_pd((__m512d)x, (__m512d)y);
#elif VECTOR_BYTES == 32
  return (doubles)_mm256_max_pd((__m256d)x, (__m256d)y);
#else
  return (doubles)vbslq_f64(vcgtq_f64((float64x2_t)x, (float64x2_t)y), (float64x2_t)x, (float64x2_t)y);
#endif
}

INLINE doubles all_doubles(double x) { return (doubles){0} + x; }
INLINE doubles magnitude(doubles x) { return (doubles)((longs)x & INT64_MAX); }

/* Whether x > y in any lane. */
INLINE int any_larger(doubles x, doubles y) {
#if VECTOR_BYTES == 64
  return _mm512_cmp_pd_mask((__m512d)x, (__m512d)y, _CMP_GT_OQ) != 0;
#elif VECTOR_BYTES == 32
  return _mm256_movemask_pd(_mm256_cmp_pd((__m256d)x, (__m256d)y, _CMP_GT_OQ)) != 0;
#else
  return vmaxvq_u32(vreinterpretq_u32_u64(vcgtq_f64((float64x2_t)x, (float64x2_t)y))) != 0;
#endif
}
