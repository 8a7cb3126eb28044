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

/* Memory that begins where a vector may begin; NULL where there is none. */
INLINE void *room(size_t bytes) {
  void *found = NULL;
  return posix_memalign(&found, VECTOR_BYTES, bytes) ? NULL : found;
}

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

/* x in every lane. */
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

/* Sum of all lanes. */
INLINE float total_f32(floats x) {
#if FLOATS == 16
  x += SHUFFLED(ints, x, x, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
  x += SHUFFLED(ints, x, x, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
  x += SHUFFLED(ints, x, x, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
#elif FLOATS == 8
  x += SHUFFLED(ints, x, x, 4, 5, 6, 7, 0, 1, 2, 3);
  x += SHUFFLED(ints, x, x, 2, 3, 0, 1, 6, 7, 4, 5);
#else
  x += SHUFFLED(ints, x, x, 2, 3, 0, 1);
#endif
  return x[0] + x[1];
}

INLINE double total_f64(doubles x) {
#if DOUBLES == 8
  x += SHUFFLED(longs, x, x, 4, 5, 6, 7, 0, 1, 2, 3);
  x += SHUFFLED(longs, x, x, 2, 3, 0, 1, 6, 7, 4, 5);
#elif DOUBLES == 4
  x += SHUFFLED(longs, x, x, 2, 3, 0, 1);
#endif
  return x[0] + x[1];
}

/* First and second halves of two vectors, interleaved. */
#if FLOATS == 16
#define LOW_FLOATS(a, b) SHUFFLED(ints, a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
#define HIGH_FLOATS(a, b) SHUFFLED(ints, a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
#define LOW_DOUBLES(a, b) SHUFFLED(longs, a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define HIGH_DOUBLES(a, b) SHUFFLED(longs, a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#elif FLOATS == 8
#define LOW_FLOATS(a, b) SHUFFLED(ints, a, b, 0, 8, 1, 9, 2, 10, 3, 11)
#define HIGH_FLOATS(a, b) SHUFFLED(ints, a, b, 4, 12, 5, 13, 6, 14, 7, 15)
#define LOW_DOUBLES(a, b) SHUFFLED(longs, a, b, 0, 4, 1, 5)
#define HIGH_DOUBLES(a, b) SHUFFLED(longs, a, b, 2, 6, 3, 7)
#else
#define LOW_FLOATS(a, b) SHUFFLED(ints, a, b, 0, 4, 1, 5)
#define HIGH_FLOATS(a, b) SHUFFLED(ints, a, b, 2, 6, 3, 7)
#define LOW_DOUBLES(a, b) SHUFFLED(longs, a, b, 0, 2)
#define HIGH_DOUBLES(a, b) SHUFFLED(longs, a, b, 1, 3)
#endif

/* Half as many lanes in float32 as FLOATS: what DOUBLES lanes of float64 become. */
typedef float half_floats __attribute__((vector_size(VECTOR_BYTES / 2), aligned(4), may_alias));

/* Whether any bit is set. */
#if VECTOR_BYTES == 64
#define ANY(mask) (_mm512_test_epi64_mask((__m512i)(mask), (__m512i)(mask)) != 0)
#elif VECTOR_BYTES == 32
#define ANY(mask) (!_mm256_testz_si256((__m256i)(mask), (__m256i)(mask)))
#else
#define ANY(mask) (vmaxvq_u32((uint32x4_t)(mask)) != 0)
#endif

/* Two vectors of float64 as one of float32. */
INLINE floats joined(const doubles *x) {
#if VECTOR_BYTES == 64
  const __m256 low = _mm512_cvtpd_ps((__m512d)x[0]), high = _mm512_cvtpd_ps((__m512d)x[1]);
  return (floats)_mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
#elif VECTOR_BYTES == 32
  return (floats)_mm256_set_m128(_mm256_cvtpd_ps((__m256d)x[1]), _mm256_cvtpd_ps((__m256d)x[0]));
#else
  return (floats)vcombine_f32(vcvt_f32_f64((float64x2_t)x[0]), vcvt_f32_f64((float64x2_t)x[1]));
#endif
}
