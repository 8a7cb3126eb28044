/* The pair stage in float32 and, for the deeper rank, in float64. */
#include "vectors.h"

#define REAL float
#define VECTOR floats
#define MASK ints
#define MAGNITUDE INT32_MAX
#define LANES FLOATS
#define TYPED(name) BUILD(name##_f32)
#define TYPED_TOTAL total_f32
#include "pairs.h"

#define REAL double
#define VECTOR doubles
#define MASK longs
#define MAGNITUDE INT64_MAX
#define LANES DOUBLES
#define TYPED(name) BUILD(name##_f64)
#define TYPED_TOTAL total_f64
#include "pairs.h"
