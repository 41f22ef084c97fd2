/* Mini-batches on networks of a few vectors a layer: a special path of the network program, beside sgd_small.h and over its layers.
 *
 * The products of such networks take no longer than the calls, tiles and copies around them in the general path. Here samples are read
 * where they are, activations are taken while the sums are in registers, and W is kept twice, as (m, n) and as its transpose, so that the
 * way back is a product of the same kind. Both are updated by the same sums in the same order and stay equal to the last bit.
 *
 * Deleting this file, its lines in kernels.h and kernel_type.h and the use of `small_forward` and `small_update` in program.pxi leaves
 * the general path, with the same results to rounding. */

#undef SMALL_SUMS
#if LEVEL_BYTES == 64
#define SMALL_SUMS 16 /* vectors of sums that are kept in registers */
#else
#define SMALL_SUMS 8
#endif

/* sum[r][v] = row k of w times x[r][k], summed over k < m, for `rows` samples r */
static INLINE void FN(batch_sums)(const int nv, const int rows, nn_index m, const real *const *x, const real *w, V (*sum)[FN(MOST)]) {
#define EACH                       \
    UNROLLED                       \
    for (int r = 0; r < rows; r++) \
        UNROLLED                   \
        for (int v = 0; v < nv; v++)
    EACH sum[r][v] = (V){0};
    for (nn_index k = 0; k < m; k++, w += nv * LANES) {
        V wk[FN(MOST)];
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

/* For `rows` samples: a <- f(x W + b) */
static INLINE void FN(batch_forward)(const int nv, const int rows, const nn_small_layer *layer, const real *const *x, real *a) {
    V sum[8][FN(MOST)];
    FN(batch_sums)(nv, rows, layer->m, x, layer->w, sum);
    UNROLLED
    for (int r = 0; r < rows; r++)
        UNROLLED
        for (int v = 0; v < nv; v++) {
            V z = sum[r][v] + FN(load)((const real *)layer->b + v * LANES);
            FN(store)(a + r * layer->row + v * LANES, FN(activation_of)(z, layer->activation));
        }
}

/* For `rows` samples: dz of the layer before <- (dz W') f'(a); lanes beyond its outputs are 0 */
static INLINE void FN(batch_back)(const int nv, const int rows, const nn_small_layer *layer, const real *const *dz, nn_index first) {
    const nn_small_layer *before = layer - 1;
    V sum[8][FN(MOST)];
    FN(batch_sums)(nv, rows, layer->n, dz, layer->wt, sum);
    UNROLLED
    for (int r = 0; r < rows; r++)
        UNROLLED
        for (int v = 0; v < nv; v++) {
            const nn_index at = (first + r) * before->row + v * LANES, left = before->n - v * LANES;
            V d = FN(derivative_of)(sum[r][v], FN(load)((const real *)before->rows_a + at), before->activation);
            FN(store)((real *)before->rows_dz + at, (V)((I)d & FN(first)(left < LANES ? left : LANES)));
        }
}

/* Rows k .. k + rows - 1 of w (their vectors nv) less eta times the sum over the samples r of scalars[r][k] times the vectors of r */
static INLINE void FN(batch_update)(const int nv, const int rows, nn_index batch, const real *const *scalars, nn_index k,
                                    const real *vectors, nn_index row, real *w, real eta) {
    V sum[8][FN(MOST)];
#define EACH                       \
    UNROLLED                       \
    for (int i = 0; i < rows; i++) \
        UNROLLED                   \
        for (int v = 0; v < nv; v++)
    EACH sum[i][v] = (V){0};
    for (nn_index r = 0; r < batch; r++, vectors += row) {
        V vector[FN(MOST)];
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

/* CALL(NV, ROWS, at) for at = 0, ROWS, ... below count, ROWS as large as registers allow, then for what is left */
#define BY_ROWS(nv, count, CALL)                                                             \
    switch (nv) {                                                                            \
    case 1: ROWS_OF(1, 8, count, CALL) break;                                                \
    case 2: ROWS_OF(2, (SMALL_SUMS / 2), count, CALL) break;                                 \
    case 3: ROWS_OF(3, (SMALL_SUMS / 4), count, CALL) break;                                 \
    default: ROWS_OF(4, (SMALL_SUMS / 4), count, CALL)                                       \
    }
#define ROWS_OF(NV, ROWS, count, CALL)                                                       \
    {                                                                                        \
        nn_index at = 0;                                                                     \
        for (; at + ROWS <= (count); at += ROWS) CALL(NV, ROWS, at);                         \
        for (; at + 2 <= (count); at += 2) CALL(NV, 2, at);                                  \
        if (at < (count)) CALL(NV, 1, at);                                                   \
    }

enum { FN(SLICE) = 64 }; /* samples whose places are held at a time */

/* rows[0 .. n - 1] <- where the rows `first`, first + 1, ... of x are, in the order of draws unless that is NULL */
static INLINE void FN(batch_rows)(nn_index n, nn_index first, const void *x, nn_index x_row, const int64_t *draws, const real **rows) {
    for (nn_index r = 0; r < n; r++) rows[r] = (const real *)x + (draws ? draws[first + r] : first + r) * x_row;
}

static void FN(small_forward)(const nn_small_batch *s) {
    const real *x[FN(SLICE)];
    for (nn_index first = 0; first < s->batch; first += FN(SLICE)) {
        const nn_index n = s->batch - first < FN(SLICE) ? s->batch - first : FN(SLICE);
        FN(batch_rows)(n, first, s->x, s->x_row, s->draws, x);
        for (nn_index l = 0; l < s->count; l++) {
            const nn_small_layer *layer = &s->layers[l];
            real *a = (real *)layer->rows_a + first * layer->row;
#define FORWARD(NV, ROWS, at) FN(batch_forward)(NV, ROWS, layer, x + at, a + (at) * layer->row)
            BY_ROWS(layer->vectors, n, FORWARD)
#undef FORWARD
            FN(batch_rows)(n, first, layer->rows_a, layer->row, NULL, x);
        }
    }
}

static void FN(small_update)(const nn_small_batch *s) {
    const real *rows[FN(SLICE)], *other[FN(SLICE)], eta = (real)s->eta;
    for (nn_index l = s->count - 1; l > 0; l--) /* all gradients are taken before any weight changes */
        for (nn_index first = 0; first < s->batch; first += FN(SLICE)) {
            const nn_small_layer *layer = &s->layers[l];
            const nn_index n = s->batch - first < FN(SLICE) ? s->batch - first : FN(SLICE);
            FN(batch_rows)(n, first, layer->rows_dz, layer->row, NULL, rows);
#define BACK(NV, ROWS, at) FN(batch_back)(NV, ROWS, layer, rows + at, first + (at))
            BY_ROWS(layer[-1].vectors, n, BACK)
#undef BACK
        }
    for (nn_index l = 0; l < s->count; l++)
        for (nn_index first = 0; first < s->batch; first += FN(SLICE)) {
            const nn_small_layer *layer = &s->layers[l], *before = layer - 1;
            const nn_index n = s->batch - first < FN(SLICE) ? s->batch - first : FN(SLICE);
            const real *dz = (const real *)layer->rows_dz + first * layer->row;
            if (l == 0) FN(batch_rows)(n, first, s->x, s->x_row, s->draws, rows);
            else FN(batch_rows)(n, first, before->rows_a, before->row, NULL, rows);
#define UPDATE(NV, ROWS, at) FN(batch_update)(NV, ROWS, n, rows, at, dz, layer->row, layer->w, eta)
            BY_ROWS(layer->vectors, layer->m, UPDATE)
#undef UPDATE
            if (l > 0) {
                const real *a = (const real *)before->rows_a + first * before->row;
                FN(batch_rows)(n, first, layer->rows_dz, layer->row, NULL, other);
#define UPDATE(NV, ROWS, at) FN(batch_update)(NV, ROWS, n, other, at, a, before->row, layer->wt, eta)
                BY_ROWS(before->vectors, layer->n, UPDATE)
#undef UPDATE
            }
            for (nn_index v = 0; v < layer->vectors; v++) {
                real *b = (real *)layer->b + v * LANES;
                V sum = {0};
                for (nn_index r = 0; r < n; r++) sum += FN(load)(dz + r * layer->row + v * LANES);
                FN(store)(b, FN(load)(b) - sum * eta);
            }
        }
}
#undef BY_ROWS
#undef ROWS_OF
