/* Features scaled to length 1 and laid out for pair_sums: read in the precision FROM, written as REAL. */

#define PARTS (LANES / FROM_LANES)

/* Rows of a square become its columns. */
INLINE void TYPED(transpose)(VECTOR *rows) {
  for (int size = LANES; size > 1; size /= 2) {
    VECTOR out[LANES];
    for (int i = 0; i < LANES / 2; i++) {
      out[2 * i] = INTERLEAVED_LOW(rows[i], rows[i + LANES / 2]);
      out[2 * i + 1] = INTERLEAVED_HIGH(rows[i], rows[i + LANES / 2]);
    }
    for (int i = 0; i < LANES; i++) rows[i] = out[i];
  }
}

/* What cells are to be scaled by, 0 for those not valid and for lanes from n on; marks what is not valid, or resolved. */
INLINE FROM_VECTOR TYPED(length)(FROM_VECTOR power, FROM_VECTOR weakest, const Judge *judge,
                                 const Place *place, int n, uint8_t *valid, uint8_t *unresolved) {
  FROM_VECTOR out;
  for (int lane = 0; lane < FROM_LANES; lane++) out[lane] = 1 / FROM_ROOT(power[lane]);
  const FROM_MASK filled = power > (FROM)judge->empty;
  FROM_MASK poor = {0};
  if (judge->tail >= 0) poor = weakest > (FROM)judge->tail * power;
  if (judge->noise) {
    FROM_VECTOR noise;
    for (int lane = 0; lane < FROM_LANES; lane++)
      noise[lane] = lane < n ? judge->noise[place->noise_at + lane * place->noise_step] : 0;
    poor |= power < noise;
  }
  if (n == FROM_LANES && !judge->usable && !ANY(~filled | poor)) return out;
  for (int lane = 0; lane < FROM_LANES; lane++) {
    const int64_t at = place->at + lane * place->step, column = place->column + lane * place->column_step;
    int ok = lane < n && filled[lane] && !(judge->usable && !judge->usable[at]);
    if (ok && poor[lane] && !(judge->known && judge->known[column])) {
      unresolved[at] = 1;
      ok = 0;
    }
    if (!ok) out[lane] = 0;
    if (!ok && lane < n) valid[at] = 0;
  }
  return out;
}

/* u        [cell][2 K][stride]            features, of which the first n_columns are taken
   units    [batch][column][2 K][lane]     as pair_sums takes them; cells that fill the last batch are 0
   valid    [cell][column]                 set to 0 where a cell is not valid, or not resolved
   unresolved [cell][column]               set to 1 where it would be valid if it were resolved */
EXPORTED void TYPED(unit_features)(const FROM *u, int64_t n_cells, int64_t K, int64_t stride, int64_t n_columns,
                                   double empty, double tail, const float *noise, int64_t n_noise,
                                   const uint8_t *usable, const uint8_t *known, REAL *units, uint8_t *valid, uint8_t *unresolved) {
  const Judge judge = {empty, tail, noise, n_noise, usable, known};
  const FROM zeros[LANES] = {0};
  for (int64_t batch = 0; batch * LANES < n_cells; batch++)
    for (int64_t begin = 0; begin < n_columns; begin += LANES) {
      /* The last columns are done together with some that were done before, where there are enough. */
      const int64_t column = begin + LANES > n_columns && n_columns >= LANES ? n_columns - LANES : begin;
      const int n = n_columns < LANES ? n_columns : LANES;
      FROM_VECTOR scale[LANES][PARTS];
      const FROM *rows[LANES];
      int64_t steps[LANES];
      for (int lane = 0; lane < LANES; lane++) {
        const int64_t cell = batch * LANES + lane;
        const int there = cell < n_cells;
        rows[lane] = there ? u + cell * 2 * K * stride + column : zeros;
        steps[lane] = there ? stride : 0;
        for (int part = 0; part < PARTS; part++) {
          scale[lane][part] = (FROM_VECTOR){0};
          const int64_t from = part * FROM_LANES;
          const int some = n - from < FROM_LANES ? n - from : FROM_LANES;
          if (!there || some <= 0) continue;
          FROM_VECTOR power = {0}, weakest = {0};
          for (int64_t k = 0; k < 2 * K; k++) {
            FROM_VECTOR x = {0};
            if (some == FROM_LANES) x = *(const FROM_AT *)(rows[lane] + k * stride + from);
            else for (int c = 0; c < some; c++) x[c] = rows[lane][k * stride + from + c];
            power += x * x;
            if (k == 3) weakest = power;
          }
          const Place place = {cell * n_columns + column + from, 1,
                                      n_noise ? cell % n_noise * n_columns + column + from : 0, 1, column + from, 1};
          scale[lane][part] = TYPED(length)(power, weakest, &judge, &place, some, valid, unresolved);
        }
      }
      for (int64_t k = 0; k < 2 * K; k++) {
        VECTOR square[LANES];
        for (int lane = 0; lane < LANES; lane++) {
          FROM_VECTOR x[PARTS];
          for (int part = 0; part < PARTS; part++) {
            const FROM *at = rows[lane] + k * steps[lane] + part * FROM_LANES;
            x[part] = (FROM_VECTOR){0};
            if (n == LANES) x[part] = *(const FROM_AT *)at;
            else for (int c = 0; c < FROM_LANES && part * FROM_LANES + c < n; c++) x[part][c] = at[c];
            x[part] *= scale[lane][part];
          }
          square[lane] = JOINED(x);
        }
        TYPED(transpose)(square);
        VECTOR *out = (VECTOR *)units + ((batch * n_columns + column) * 2 * K + k);
        for (int c = 0; c < n; c++) out[c * 2 * K] = square[c];
      }
    }
}

#if VECTOR_BYTES == 32
#define FILTERS 5
#define FEATURES 4
#define SOME_FEATURES 2
#else
#define FILTERS 10
#define FEATURES 11
#define SOME_FEATURES 8
#endif

/* n filters at once: products of taps [tap][sum re, difference im, sum im, difference re] and kernels [tap][R][re, im]. */
INLINE void TYPED(filters)(const FROM_VECTOR *taps, int64_t n_taps, const FROM *kernels, int64_t R, const int n,
                           FROM_VECTOR *z) {
  FROM_VECTOR re[FILTERS], im[FILTERS];
  for (int r = 0; r < n; r++) re[r] = im[r] = (FROM_VECTOR){0};
  for (int64_t tap = 0; tap < n_taps; tap++, taps += 4, kernels += 2 * R) {
    const FROM_VECTOR sum_re = taps[0], difference_im = taps[1], sum_im = taps[2], difference_re = taps[3];
    for (int r = 0; r < n; r++) {
      const FROM real = kernels[2 * r], imaginary = kernels[2 * r + 1];
      re[r] += real * sum_re, im[r] += real * sum_im;
      re[r] -= imaginary * difference_im, im[r] += imaginary * difference_re;
    }
  }
  for (int r = 0; r < n; r++) z[2 * r] = re[r], z[2 * r + 1] = im[r];
}

/* n features at once from all filters, by mixing [R][K]. */
INLINE void TYPED(mixed)(const VECTOR *z, int64_t R, const REAL *mixing, int64_t K, const int n, VECTOR *u) {
  VECTOR re[FEATURES], im[FEATURES];
  for (int k = 0; k < n; k++) re[k] = im[k] = (VECTOR){0};
  for (int64_t r = 0; r < R; r++, mixing += K)
    for (int k = 0; k < n; k++) re[k] += mixing[k] * z[2 * r], im[k] += mixing[k] * z[2 * r + 1];
  for (int k = 0; k < n; k++) u[2 * k] = re[k], u[2 * k + 1] = im[k];
}

/* Unit features of evenly spaced times far from both ends, all filtered alike.

   samples  [column][re, im][phase][length]  sample i of the band-limited signal at [i % spacing][i / spacing]
   first, spacing                            sample 0 of the first time's window; samples from one time to the next
   taps     [n_taps][2]                      samples of the window whose filter values are conjugate; the second -1 for
                                             one that stands alone
   kernels  [n_taps][R][re, im]              of the first of them
   mixing   [row][R][K]
   noise    [row][column] or NULL, usable [time][row][column] or NULL, known [column] or NULL, as in
            unit_features
   units    [batch of times][row][column][2 K][lane], lanes being times; valid and unresolved [time][row][column]
   Returns 0, or 1 where memory ran out. */
EXPORTED int32_t TYPED(far_features)(const FROM *samples, int64_t length, int64_t n_columns, int64_t first,
                                     int64_t spacing, int64_t n_times, const int32_t *taps, int64_t n_taps,
                                     const FROM *kernels, int64_t R, const REAL *mixing, int64_t n_rows, int64_t K,
                                     double empty, double tail, const float *noise, const uint8_t *usable,
                                     const uint8_t *known, REAL *units,
                                     uint8_t *valid, uint8_t *unresolved) {
  const Judge judge = {empty, tail, noise, n_rows, usable, known};
  VECTOR *scratch = room(sizeof(VECTOR) * (4 * n_taps + (2 + 2 * PARTS) * R + 2 * K));
  if (!scratch) return 1;
  FROM_VECTOR *window = (FROM_VECTOR *)scratch, *filtered = window + 4 * n_taps;
  VECTOR *z = scratch + 4 * n_taps + 2 * PARTS * R, *u = z + 2 * R;
  for (int64_t column = 0; column < n_columns; column++)
    for (int64_t time = 0; time < n_times; time += LANES) {
      const FROM *re = samples + column * 2 * spacing * length, *im = re + spacing * length;
      for (int part = 0; part < PARTS; part++) {
        for (int64_t tap = 0; tap < n_taps; tap++) {
          FROM_VECTOR x[2][2] = {{{0}}};
          for (int side = 0; side < 2; side++) {
            if (taps[2 * tap + side] < 0) continue;
            const int64_t sample = first + taps[2 * tap + side];
            const int64_t at = sample % spacing * length + sample / spacing + time + part * FROM_LANES;
            x[side][0] = *(const FROM_AT *)(re + at), x[side][1] = *(const FROM_AT *)(im + at);
          }
          window[4 * tap] = x[0][0] + x[1][0], window[4 * tap + 1] = x[0][1] - x[1][1];
          window[4 * tap + 2] = x[0][1] + x[1][1], window[4 * tap + 3] = x[0][0] - x[1][0];
        }
        FROM_VECTOR *out = filtered + part * 2 * R;
        int64_t r = 0;
        for (; r + FILTERS <= R; r += FILTERS) TYPED(filters)(window, n_taps, kernels + 2 * r, R, FILTERS, out + 2 * r);
        for (; r < R; r++) TYPED(filters)(window, n_taps, kernels + 2 * r, R, 1, out + 2 * r);
      }
      for (int64_t r = 0; r < 2 * R; r++) {
        FROM_VECTOR x[PARTS];
        for (int part = 0; part < PARTS; part++) x[part] = filtered[part * 2 * R + r];
        z[r] = JOINED(x);
      }
      const int n = n_times - time < LANES ? n_times - time : LANES;
      for (int64_t row = 0; row < n_rows; row++) {
        const REAL *own = mixing + row * R * K;
        int64_t k = 0;
        for (; k + FEATURES <= K && (K - k) % FEATURES != 8; k += FEATURES) TYPED(mixed)(z, R, own + k, K, FEATURES, u + 2 * k);
        for (; k + SOME_FEATURES <= K; k += SOME_FEATURES) TYPED(mixed)(z, R, own + k, K, SOME_FEATURES, u + 2 * k);
        for (; k < K; k++) TYPED(mixed)(z, R, own + k, K, 1, u + 2 * k);
        VECTOR power = {0}, weakest = {0};
        for (k = 0; k < 2 * K; k++) {
          power += u[k] * u[k];
          if (k == 3) weakest = power;
        }
        const Place place = {(time * n_rows + row) * n_columns + column, n_rows * n_columns, row * n_columns + column, 0,
                             column, 0};
        const VECTOR scale = LENGTH(power, weakest, &judge, &place, n, valid, unresolved);
        VECTOR *out = (VECTOR *)units + ((time / LANES * n_rows + row) * n_columns + column) * 2 * K;
        for (k = 0; k < 2 * K; k++) out[k] = u[k] * scale;
      }
    }
  free(scratch);
  return 0;
}

#undef PARTS
#undef FILTERS
#undef FEATURES
#undef SOME_FEATURES
/* What was defined for this precision. */
#undef REAL
#undef VECTOR
#undef LANES
#undef FROM
#undef FROM_VECTOR
#undef FROM_MASK
#undef FROM_LANES
#undef FROM_AT
#undef FROM_ROOT
#undef AS_REAL
#undef INTERLEAVED_LOW
#undef INTERLEAVED_HIGH
#undef JOINED
#undef LENGTH
#undef TYPED
