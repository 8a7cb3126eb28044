/* Draws of a re-pairing test: sums over their pairs, and what these reach, in one pass. */
#include "vectors.h"

#define COLUMNS 16 /* of one slab of the table */
#define PARTS (COLUMNS / DOUBLES)

/* Largest of each lane and all before it. */
INLINE doubles running_largest(doubles x) {
#if DOUBLES == 8
  x = larger(x, SHUFFLED(longs, x, x, 0, 0, 1, 2, 3, 4, 5, 6));
  x = larger(x, SHUFFLED(longs, x, x, 0, 1, 0, 1, 2, 3, 4, 5));
  return larger(x, SHUFFLED(longs, x, x, 0, 1, 2, 3, 0, 1, 2, 3));
#elif DOUBLES == 4
  x = larger(x, SHUFFLED(longs, x, x, 0, 0, 1, 2));
  return larger(x, SHUFFLED(longs, x, x, 0, 1, 0, 1));
#else
  return larger(x, SHUFFLED(longs, x, x, 0, 0));
#endif
}

/* table    [slab][pair][COLUMNS]  values, added in the order of dyads; NaN in columns that fill the last slab
   pairs    [draw][dyad]           pairs of each draw
   roots    [draw][pattern]        roots of the number of values, NaN for none; by which sums are divided
   pattern  [slab][COLUMNS]        which of them divides a column, -1 for none
   shift    [slab][COLUMNS]        what is then taken away
   low, high, evidence [slab][COLUMNS]  what is to be reached, passed, and reached by the running maximum
   tail     1: large is evidence, -1: small is, 0: large in absolute value
   largest  [draw]                 largest evidence of all features before these; on return these included
   counts   [4][slab][COLUMNS]     draws that reach low, pass high, stay at or below it, and whose maximum reaches;
                                   added to */
EXPORTED void BUILD(count_draws)(const double *table, int64_t n_slabs, int64_t n_pairs, const int32_t *pairs,
                                 int64_t n_draws, int64_t n_dyads, const double *roots, int64_t n_patterns,
                                 const int32_t *pattern, const double *shift, const double *low, const double *high,
                                 const double *evidence, int32_t tail, double *largest, int64_t *counts) {
  const doubles nothing = all_doubles(-__builtin_inf());
  const doubles sign = all_doubles(tail < 0 ? -1.0 : 1.0);
  for (int64_t slab = 0; slab < n_slabs; slab++) {
    const double *values = table + slab * n_pairs * COLUMNS;
    const int32_t *own = pattern + slab * COLUMNS;
    int divided = 0;
    for (int column = 0; column < COLUMNS; column++) divided |= own[column] >= 0;
    doubles lo[PARTS], hi[PARTS], ev[PARTS];
    longs reach[PARTS], pass[PARTS], stay[PARTS], step[PARTS];
    for (int part = 0; part < PARTS; part++) {
      int64_t at = slab * COLUMNS + part * DOUBLES;
      lo[part] = *(const doubles_at *)(low + at);
      hi[part] = *(const doubles_at *)(high + at);
      ev[part] = *(const doubles_at *)(evidence + at);
      reach[part] = pass[part] = stay[part] = step[part] = (longs){0};
    }
    for (int64_t draw = 0; draw < n_draws; draw++) {
      const int32_t *chosen = pairs + draw * n_dyads;
      doubles z[PARTS];
      for (int part = 0; part < PARTS; part++) z[part] = (doubles){0};
      for (int64_t dyad = 0; dyad < n_dyads; dyad++) {
        const double *row = values + (int64_t)chosen[dyad] * COLUMNS;
        for (int part = 0; part < PARTS; part++) z[part] += *(const doubles_at *)(row + part * DOUBLES);
      }
      if (divided)
        for (int part = 0; part < PARTS; part++) {
          doubles root;
          for (int lane = 0; lane < DOUBLES; lane++) {
            int32_t number = own[part * DOUBLES + lane];
            root[lane] = number < 0 ? 1.0 : roots[draw * n_patterns + number];
          }
          z[part] = z[part] / root - *(const doubles_at *)(shift + slab * COLUMNS + part * DOUBLES);
        }
      doubles before = all_doubles(largest[draw]);
      for (int part = 0; part < PARTS; part++) {
        reach[part] -= z[part] >= lo[part];
        pass[part] -= z[part] > hi[part];
        stay[part] -= z[part] <= hi[part];
        doubles strength = tail ? z[part] * sign : magnitude(z[part]), running = before;
        if (any_larger(strength, before)) { /* seldom: as often as a draw's largest is passed */
          running = larger(running_largest(larger(strength, nothing)), before);
          before = all_doubles(running[DOUBLES - 1]);
        }
        step[part] -= running >= ev[part];
      }
      largest[draw] = before[0];
    }
    for (int part = 0; part < PARTS; part++)
      for (int lane = 0; lane < DOUBLES; lane++) {
        int64_t *count = counts + slab * COLUMNS + part * DOUBLES + lane;
        count[0] += reach[part][lane];
        count[n_slabs * COLUMNS] += pass[part][lane];
        count[2 * n_slabs * COLUMNS] += stay[part][lane];
        count[3 * n_slabs * COLUMNS] += step[part][lane];
      }
  }
}

#undef PARTS
#undef COLUMNS
