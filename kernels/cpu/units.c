/* Unit features: of float32 and float64 ones in float32, and of the deeper rank's in float64. */
#include "vectors.h"

/* What makes cells valid, and resolved: of the features' power. */
typedef struct {
  double empty, tail;    /* least power; largest share of the two weakest features, negative where none is asked for */
  const float *noise;    /* [n_noise][column] or NULL: least power that does not drown; cell c has row c % n_noise */
  int64_t n_noise;
  const uint8_t *usable; /* [cell][column] or NULL */
  const uint8_t *known;  /* [column] or NULL: columns whose cells are not asked whether they are resolved */
} Judge;

/* Where the lanes of a vector lie in [cell][column] and in the noise, and how far from one to the next. */
typedef struct {
  int64_t at, step, noise_at, noise_step, column, column_step;
} Place;

#define REAL float
#define VECTOR floats
#define LANES FLOATS
#define FROM float
#define FROM_VECTOR floats
#define FROM_MASK ints
#define FROM_LANES FLOATS
#define FROM_AT floats_at
#define FROM_ROOT __builtin_sqrtf
#define AS_REAL floats_at
#define INTERLEAVED_LOW LOW_FLOATS
#define INTERLEAVED_HIGH HIGH_FLOATS
#define JOINED(x) (x)[0]
#define LENGTH BUILD(length_f32_f32)
#define TYPED(name) BUILD(name##_f32_f32)
#include "units.h"

#define REAL float
#define VECTOR floats
#define LANES FLOATS
#define FROM double
#define FROM_VECTOR doubles
#define FROM_MASK longs
#define FROM_LANES DOUBLES
#define FROM_AT doubles_at
#define FROM_ROOT __builtin_sqrt
#define AS_REAL half_floats
#define INTERLEAVED_LOW LOW_FLOATS
#define INTERLEAVED_HIGH HIGH_FLOATS
#define JOINED(x) joined(x)
#define LENGTH BUILD(length_f32_f32)
#define TYPED(name) BUILD(name##_f64_f32)
#include "units.h"

#define REAL double
#define VECTOR doubles
#define LANES DOUBLES
#define FROM double
#define FROM_VECTOR doubles
#define FROM_MASK longs
#define FROM_LANES DOUBLES
#define FROM_AT doubles_at
#define FROM_ROOT __builtin_sqrt
#define AS_REAL doubles_at
#define INTERLEAVED_LOW LOW_DOUBLES
#define INTERLEAVED_HIGH HIGH_DOUBLES
#define JOINED(x) (x)[0]
#define LENGTH BUILD(length_f64_f64)
#define TYPED(name) BUILD(name##_f64_f64)
#include "units.h"
