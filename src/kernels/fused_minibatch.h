/* Mini-batches on networks of a few vectors a layer: a special path of the network program, beside
 * fused_sgd.h and over its layers.
 *
 * The products of such networks take no longer than the calls, tiles and copies around them in the
 * general path. Here samples are read where they are, and W is kept twice, as (m, n) and as its
 * transpose, so that the way back is a product of the same kind. Both are updated by the same sums
 * in the same order and stay equal to the last bit.
 *
 * Deleting this file, its lines in kernels.h and table.h and the use of `fused_forward` and
 * `fused_update` in engine/fused.pxi leaves the general path, with the same results to rounding. */

#undef FUSED_SUMS
#if N_VECTOR_REGISTERS >= 32
#define FUSED_SUMS 16 /* vectors of sums that are kept in registers */
#else
#define FUSED_SUMS 8
#endif

/* sum[r][v] = row k of w times x[r][k], summed over k < m, for `rows` samples r */
static INLINE void FN(batch_sums)(const int nv, const int rows, nn_index m, const real *const *x,
                                  const real *w, V (*sum)[FUSED_VECTORS]) {
#define EACH                       \
    UNROLLED                       \
    for (int r = 0; r < rows; r++) \
        UNROLLED                   \
        for (int v = 0; v < nv; v++)
    EACH sum[r][v] = (V){0};
    for (nn_index k = 0; k < m; k++, w += nv * LANES) {
        V wk[FUSED_VECTORS];
        UNROLLED
        for (int v = 0; v < nv; v++) wk[v] = FN(load)(w + v * LANES);
        UNROLLED
        for (int r = 0; r < rows; r++) {
            V xk = FN(set)(x[r][k]);
            UNROLLED
            for (int v = 0; v < nv; v++) sum[r][v] += wk[v] * xk;
        }
    }
#undef EACH
}

/* For `rows` samples: out <- x w, plus bias unless that is NULL */
static INLINE void FN(batch_tile)(const int nv, const int rows, nn_index m, const real *const *x,
                                  const real *w, const real *bias, real *out, nn_index row) {
    V sum[8][FUSED_VECTORS];
    FN(batch_sums)(nv, rows, m, x, w, sum);
    UNROLLED
    for (int v = 0; v < nv; v++) {
        const V b = bias ? FN(load)(bias + v * LANES) : (V){0};
        UNROLLED
        for (int r = 0; r < rows; r++) FN(store)(out + r * row + v * LANES, sum[r][v] + b);
    }
}

/* Samples first .. first + n - 1 of a layer: a <- f(z); z is a unless f' uses it */
static NOINLINE void FN(batch_activate)(const nn_fused_layer *layer, nn_index first, nn_index n) {
    const real *z = (const real *)layer->rows_z + first * layer->row_stride;
    real *a = (real *)layer->rows_a + first * layer->row_stride;
    const real slope = (real)layer->activation.slope;
#define CASE(NAME, name, ...)                                                             \
    case NN_##NAME:                                                                       \
        for (nn_index r = 0; r < n; r++, z += layer->row_stride, a += layer->row_stride)  \
            for (nn_index v = 0; v < layer->vectors; v++)                                 \
                FN(store)(a + v * LANES, FN(name##_forward)(FN(load)(z + v * LANES), slope)); \
        break;
    switch (layer->activation.kind) {
    NN_ACTIVATIONS(CASE)
    }
#undef CASE
}

/* dz <- dz f'; lanes beyond the layer's outputs are 0 */
static NOINLINE void FN(batch_derive)(const nn_fused_layer *layer, nn_index first, nn_index n) {
    const real *u = (const real *)layer->rows_z + first * layer->row_stride;
    real *dz = (real *)layer->rows_dz + first * layer->row_stride;
    for (nn_index r = 0; r < n; r++, u += layer->row_stride, dz += layer->row_stride)
        for (nn_index v = 0; v < layer->vectors; v++) {
            const nn_index left = layer->n - v * LANES;
            V d = FN(derivative)(FN(load)(dz + v * LANES), FN(load)(u + v * LANES),
                                 layer->activation.kind, (real)layer->activation.slope);
            FN(store)(dz + v * LANES, (V)((I)d & FN(first)(left < LANES ? left : LANES)));
        }
}

/* Rows k .. k + rows - 1 of w (their vectors nv) less eta times the sum over the samples r of
 * scalars[r][k] times the vectors of r */
static INLINE void FN(batch_update)(const int nv, const int rows, nn_index batch,
                                    const real *const *scalars, nn_index k, const real *vectors,
                                    nn_index row, real *w, real eta) {
    V sum[8][FUSED_VECTORS];
#define EACH                       \
    UNROLLED                       \
    for (int i = 0; i < rows; i++) \
        UNROLLED                   \
        for (int v = 0; v < nv; v++)
    EACH sum[i][v] = (V){0};
    for (nn_index r = 0; r < batch; r++, vectors += row) {
        V vector[FUSED_VECTORS];
        const real *scalar = scalars[r] + k;
        UNROLLED
        for (int v = 0; v < nv; v++) vector[v] = FN(load)(vectors + v * LANES);
        UNROLLED
        for (int i = 0; i < rows; i++) {
            V s = FN(set)(scalar[i]);
            UNROLLED
            for (int v = 0; v < nv; v++) sum[i][v] += vector[v] * s;
        }
    }
    w += k * nv * LANES;
    EACH FN(store)(w + (i * nv + v) * LANES, FN(load)(w + (i * nv + v) * LANES) - sum[i][v] * eta);
#undef EACH
}

/* CALL(NV, ROWS, at) for at = 0, ROWS, ... below count, ROWS as large as registers allow, then for
 * what is left */
#define BY_ROWS(nv, count, CALL)                                                             \
    switch (nv) {                                                                            \
    case 1: ROWS_OF(1, 8, count, CALL) break;                                                \
    case 2: ROWS_OF(2, (FUSED_SUMS / 2), count, CALL) break;                                 \
    case 3: ROWS_OF(3, (FUSED_SUMS / 4), count, CALL) break;                                 \
    default: ROWS_OF(4, (FUSED_SUMS / 4), count, CALL)                                       \
    }
#define ROWS_OF(NV, ROWS, count, CALL)                                                       \
    {                                                                                        \
        nn_index at = 0;                                                                     \
        for (; at + ROWS <= (count); at += ROWS) CALL(NV, ROWS, at);                         \
        for (; at < (count); at++) CALL(NV, 1, at);                                          \
    }

/* batch_tile for n samples, batch_update for `count` rows, in tiles */
static NOINLINE void FN(batch_product)(nn_index vectors, nn_index n, nn_index m,
                                       const real *const *x, const real *w, const real *bias,
                                       real *out, nn_index row) {
#define TILE(NV, ROWS, at) FN(batch_tile)(NV, ROWS, m, x + at, w, bias, out + (at) * row, row)
    BY_ROWS(vectors, n, TILE)
#undef TILE
}

static NOINLINE void FN(batch_updates)(nn_index vectors, nn_index count, nn_index batch,
                                       const real *const *scalars, const real *from, nn_index row,
                                       real *w, real eta) {
#define TILE(NV, ROWS, at) FN(batch_update)(NV, ROWS, batch, scalars, at, from, row, w, eta)
    BY_ROWS(vectors, count, TILE)
#undef TILE
}
#undef BY_ROWS
#undef ROWS_OF

/* rows[0 .. n - 1] <- where the rows `first`, first + 1, ... of x are, in the order of draws unless
 * that is NULL */
static NOINLINE void FN(batch_rows)(nn_index n, nn_index first, const void *x, nn_index x_stride,
                                    const int64_t *draws, const real **rows) {
    for (nn_index r = 0; r < n; r++)
        rows[r] = (const real *)x + (draws ? draws[first + r] : first + r) * x_stride;
}

static void FN(fused_forward)(const nn_fused_batch *s) {
    const real *x[FUSED_SLICE];
    for (nn_index first = 0; first < s->batch; first += FUSED_SLICE) {
        const nn_index n = s->batch - first < FUSED_SLICE ? s->batch - first : FUSED_SLICE;
        FN(batch_rows)(n, first, s->x, s->x_stride, s->draws, x);
        for (nn_index l = 0; l < s->count; l++) {
            const nn_fused_layer *layer = &s->layers[l];
            real *z = (real *)layer->rows_z + first * layer->row_stride;
            FN(batch_product)(layer->vectors, n, layer->m, x, layer->w, layer->b, z, layer->row_stride);
            FN(batch_activate)(layer, first, n);
            FN(batch_rows)(n, first, layer->rows_a, layer->row_stride, NULL, x);
        }
    }
}

static void FN(fused_update)(const nn_fused_batch *s) {
    const real *rows[FUSED_SLICE], *other[FUSED_SLICE], eta = (real)s->eta;
    for (nn_index l = s->count - 1; l > 0;
         l--) /* all gradients are taken before any weight changes */
        for (nn_index first = 0; first < s->batch; first += FUSED_SLICE) {
            const nn_fused_layer *layer = &s->layers[l];
            const nn_index n = s->batch - first < FUSED_SLICE ? s->batch - first : FUSED_SLICE;
            real *da = (real *)layer[-1].rows_dz + first * layer[-1].row_stride;
            FN(batch_rows)(n, first, layer->rows_dz, layer->row_stride, NULL, rows);
            FN(batch_product)(layer[-1].vectors, n, layer->n, rows, layer->wt, NULL, da,
                              layer[-1].row_stride);
            FN(batch_derive)(layer - 1, first, n);
        }
    for (nn_index l = 0; l < s->count; l++)
        for (nn_index first = 0; first < s->batch; first += FUSED_SLICE) {
            const nn_fused_layer *layer = &s->layers[l], *before = layer - 1;
            const nn_index n = s->batch - first < FUSED_SLICE ? s->batch - first : FUSED_SLICE;
            const real *dz = (const real *)layer->rows_dz + first * layer->row_stride;
            if (l == 0) FN(batch_rows)(n, first, s->x, s->x_stride, s->draws, rows);
            else FN(batch_rows)(n, first, before->rows_a, before->row_stride, NULL, rows);
            FN(batch_updates)(layer->vectors, layer->m, n, rows, dz, layer->row_stride, layer->w, eta);
            if (l > 0) {
                const real *a = (const real *)before->rows_a + first * before->row_stride;
                FN(batch_rows)(n, first, layer->rows_dz, layer->row_stride, NULL, other);
                FN(batch_updates)(before->vectors, layer->n, n, other, a, before->row_stride, layer->wt,
                                  eta);
            }
            for (nn_index v = 0; v < layer->vectors; v++) {
                real *b = (real *)layer->b + v * LANES;
                V sum = {0};
                for (nn_index r = 0; r < n; r++) sum += FN(load)(dz + r * layer->row_stride + v * LANES);
                FN(store)(b, FN(load)(b) - sum * eta);
            }
        }
}
