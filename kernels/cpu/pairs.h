/* Products of unit features and their weighted sums, in the precision REAL: included once for each. */

#if VECTOR_BYTES == 32
#define PAIRS_A 2
#else
#define PAIRS_A 4
#endif
#define PAIRS_B 3
#define TILE 24 /* channels of either side whose features are to stay in the second-level cache */
#define CLASSES 4

typedef struct {
  const VECTOR *weights, *widths; /* [mean][batch]; widths NULL where no phase classes are asked for */
  const uint8_t *used;            /* [mean][batch], whether any weight or width is not 0 */
  int64_t n_batches, n_means;
  REAL level, in_phase, anti_phase, direction;
} TYPED(Cells);

/* Sums of n_a x n_b pairs of channels into acc [mean][n_a][n_b][3 + CLASSES]; a and b at the first batch. */
INLINE void TYPED(block_sums)(const VECTOR *a, const VECTOR *b, int64_t step, int64_t K, const int n_a, const int n_b,
                              const TYPED(Cells) *cells, VECTOR *acc) {
  for (int64_t batch = 0; batch < cells->n_batches; batch++, a += step, b += step) {
    VECTOR re[PAIRS_A][PAIRS_B], im[PAIRS_A][PAIRS_B];
    for (int i = 0; i < n_a; i++)
      for (int j = 0; j < n_b; j++) re[i][j] = im[i][j] = (VECTOR){0};
    for (int64_t k = 0; k < K; k++) {
      VECTOR a_re[PAIRS_A], a_im[PAIRS_A];
      for (int i = 0; i < n_a; i++) a_re[i] = a[(i * K + k) * 2], a_im[i] = a[(i * K + k) * 2 + 1];
      for (int j = 0; j < n_b; j++) {
        VECTOR b_re = b[(j * K + k) * 2], b_im = b[(j * K + k) * 2 + 1];
        for (int i = 0; i < n_a; i++) {
          re[i][j] += a_re[i] * b_re, im[i][j] += a_im[i] * b_re;
          re[i][j] += a_im[i] * b_im, im[i][j] -= a_re[i] * b_im;
        }
      }
    }
    for (int64_t mean = 0; mean < cells->n_means; mean++) {
      const int64_t at = mean * cells->n_batches + batch;
      if (!cells->used[at]) continue;
      const VECTOR weight = cells->weights[at];
      VECTOR *sums = acc + mean * n_a * n_b * (3 + CLASSES);
      for (int i = 0; i < n_a; i++)
        for (int j = 0; j < n_b; j++, sums += 3 + CLASSES) {
          const VECTOR squared = re[i][j] * re[i][j] + im[i][j] * im[i][j];
          sums[0] += weight * squared, sums[1] += weight * re[i][j], sums[2] += weight * im[i][j];
          if (cells->widths) {
            const MASK width = (MASK)cells->widths[at];
            const VECTOR cosine = re[i][j] * (VECTOR)((MASK)re[i][j] & MAGNITUDE);
            const MASK above = squared > cells->level;
            const MASK within = above & (cosine > cells->in_phase * squared);
            const MASK beyond = above & (cosine < cells->anti_phase * squared);
            const MASK between = above & ~(within | beyond), leads = im[i][j] * cells->direction > 0;
            sums[3] += (VECTOR)(width & within), sums[4] += (VECTOR)(width & between & leads);
            sums[5] += (VECTOR)(width & between & ~leads), sums[6] += (VECTOR)(width & beyond);
          }
        }
    }
  }
}

#define CASE(x, y) \
  if (n_a == x && n_b == y) TYPED(block_sums)(a, b, step, K, x, y, cells, acc);

static __attribute__((noinline)) void TYPED(block_of)(const VECTOR *a, const VECTOR *b, int64_t step, int64_t K,
                                                      int n_a, int n_b, const TYPED(Cells) *cells, VECTOR *acc) {
  CASE(1, 1) CASE(1, 2) CASE(1, 3) CASE(2, 1) CASE(2, 2) CASE(2, 3)
#if PAIRS_A == 4
  CASE(3, 1) CASE(3, 2) CASE(3, 3) CASE(4, 1) CASE(4, 2) CASE(4, 3)
#endif
}

/* units    [batch][column][K][re, im][lane]  unit features of cells, lanes of a batch being cells; 0 where there are none
   first_a, first_b, step_a, step_b           columns of group g begin at first_a + g step_a; pairs are within groups
   weights  [mean][batch][lane]
   widths   [mean][batch][lane] or NULL       samples that a cell stands for in classes of phase
   limits   [3]                               of R^2, and of cos |cos| for in phase and anti-phase
   direction                                  -1 for a mirrored recording: phases change sign
   squared  [group][mean][a][b]               sums of |<u_a, u_b>|^2
   inner    [group][mean][a][b][re, im]       sums of <u_a, u_b>
   classes  [group][mean][CLASSES][a][b]      sums of widths
   Returns 0, or 1 where memory ran out. */
EXPORTED int32_t TYPED(pair_sums)(const REAL *units, int64_t n_columns, int64_t n_batches, int64_t K, int64_t first_a,
                                  int64_t first_b, int64_t step_a, int64_t step_b, int64_t n_groups, int64_t n_a,
                                  int64_t n_b, const REAL *weights, const REAL *widths, int64_t n_means,
                                  const double *limits, int32_t direction, double *squared, double *inner,
                                  double *classes) {
  uint8_t *used = calloc(n_means * n_batches + 1, 1);
  size_t bytes = sizeof(VECTOR) * (n_means + 1) * PAIRS_A * PAIRS_B * (3 + CLASSES);
  VECTOR *acc = room(bytes);
  if (!used || !acc) {
    free(used), free(acc);
    return 1;
  }
  for (int64_t at = 0; at < n_means * n_batches; at++)
    for (int lane = 0; lane < LANES; lane++)
      used[at] |= weights[at * LANES + lane] != 0 || (widths && widths[at * LANES + lane] != 0);
  const TYPED(Cells) cells = {(const VECTOR *)weights, (const VECTOR *)widths, used, n_batches, n_means,
                              limits[0], limits[1], limits[2], direction};
  const int64_t step = n_columns * 2 * K;
  for (int64_t group = 0; group < n_groups; group++) {
    const VECTOR *of_a = (const VECTOR *)units + (first_a + group * step_a) * 2 * K;
    const VECTOR *of_b = (const VECTOR *)units + (first_b + group * step_b) * 2 * K;
    for (int64_t tile_a = 0; tile_a < n_a; tile_a += TILE)
      for (int64_t tile_b = 0; tile_b < n_b; tile_b += TILE)
        for (int64_t i = tile_a; i < n_a && i < tile_a + TILE; i += PAIRS_A)
          for (int64_t j = tile_b; j < n_b && j < tile_b + TILE; j += PAIRS_B) {
            const int some_a = n_a - i < PAIRS_A ? n_a - i : PAIRS_A, some_b = n_b - j < PAIRS_B ? n_b - j : PAIRS_B;
            memset(acc, 0, sizeof(VECTOR) * n_means * some_a * some_b * (3 + CLASSES));
            TYPED(block_of)(of_a + i * 2 * K, of_b + j * 2 * K, step, K, some_a, some_b, &cells, acc);
            const VECTOR *sums = acc;
            for (int64_t mean = 0; mean < n_means; mean++)
              for (int p = 0; p < some_a; p++)
                for (int q = 0; q < some_b; q++, sums += 3 + CLASSES) {
                  const int64_t pair = (i + p) * n_b + j + q, of_mean = group * n_means + mean;
                  const int64_t at = of_mean * n_a * n_b + pair;
                  squared[at] = TYPED_TOTAL(sums[0]);
                  inner[2 * at] = TYPED_TOTAL(sums[1]);
                  inner[2 * at + 1] = direction * TYPED_TOTAL(sums[2]);
                  for (int number = 0; widths && number < CLASSES; number++)
                    classes[(of_mean * CLASSES + number) * n_a * n_b + pair] = TYPED_TOTAL(sums[3 + number]);
                }
          }
  }
  free(used), free(acc);
  return 0;
}

#undef CASE
#undef PAIRS_A
#undef PAIRS_B
#undef TILE
#undef CLASSES
/* What was defined for this precision. */
#undef REAL
#undef VECTOR
#undef MASK
#undef MAGNITUDE
#undef LANES
#undef TYPED
#undef TYPED_TOTAL
