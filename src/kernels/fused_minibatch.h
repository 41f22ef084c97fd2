/* Mini-batches on networks with at most FUSED_VECTORS vectors per layer: the special path
 * "fused-minibatch" of the engine, on the layers of fused_sgd.h.
 *
 * The products of such networks take no longer than the calls, tiles and copies around them in the
 * general path. Here samples are read in place, and W is kept twice, as (m, n) and as its
 * transpose, so that the backward product is of the same kind as the forward one. The transpose is
 * made anew from W, or for few samples updated by the same sums in the same order; both give the
 * same bits.
 *
 * Deleting this file, its lines in kernels.h, fused.h and table.h and the use of `fused_forward`
 * and `fused_update` in engine/fused.pxi leaves the general path, with the same results to
 * rounding. */

#undef FUSED_SUMS
#if N_VECTOR_REGISTERS >= 32
#define FUSED_SUMS 16 /* vectors of sums that are kept in registers */
#else
#define FUSED_SUMS 8
#endif

/* sum[r] = sum over k < m of x[r][k] w[k], for `rows` samples r. */
static INLINE void FN(fused_sums)(const int nv, const int rows, nn_index m, const real *const *x,
                                  const real *w, V (*sum)[FUSED_VECTORS]) {
#define EACH UNROLLED_FOR(r, rows) UNROLLED_FOR(v, nv)
    EACH sum[r][v] = (V){0};
    for (nn_index k = 0; k < m; k++, w += nv * LANES) {
        V wk[FUSED_VECTORS];
        UNROLLED_FOR(v, nv) wk[v] = FN(load)(w + v * LANES);
        UNROLLED_FOR(r, rows) {
            V xk = FN(set)(x[r][k]);
            UNROLLED_FOR(v, nv) sum[r][v] += wk[v] * xk;
        }
    }
#undef EACH
}

/* out <- x w (+ bias, unless NULL) for `rows` samples. */
static INLINE void FN(fused_tile)(const int nv, const int rows, nn_index m, const real *const *x,
                                  const real *w, const real *bias, real *out,
                                  nn_index out_stride) {
    V sum[8][FUSED_VECTORS];
    FN(fused_sums)(nv, rows, m, x, w, sum);
    UNROLLED_FOR(v, nv) {
        const V b = bias ? FN(load)(bias + v * LANES) : (V){0};
        UNROLLED_FOR(r, rows) FN(store)(out + r * out_stride + v * LANES, sum[r][v] + b);
    }
}

/* w[i] -= eta (sum over samples r of scalars[r][i] vectors[r]) for rows i = k .. k + rows - 1. */
static INLINE void FN(fused_update_tile)(const int nv, const int rows, nn_index batch,
                                         const real *const *scalars, nn_index k,
                                         const real *vectors, nn_index stride, real *w, real eta) {
    V sum[8][FUSED_VECTORS];
#define EACH UNROLLED_FOR(i, rows) UNROLLED_FOR(v, nv)
    EACH sum[i][v] = (V){0};
    for (nn_index r = 0; r < batch; r++, vectors += stride) {
        V vector[FUSED_VECTORS];
        const real *scalar = scalars[r] + k;
        UNROLLED_FOR(v, nv) vector[v] = FN(load)(vectors + v * LANES);
        UNROLLED_FOR(i, rows) {
            V s = FN(set)(scalar[i]);
            UNROLLED_FOR(v, nv) sum[i][v] += vector[v] * s;
        }
    }
    w += k * nv * LANES;
    EACH FN(store)(w + (i * nv + v) * LANES, FN(load)(w + (i * nv + v) * LANES) - sum[i][v] * eta);
#undef EACH
}

/* CALL(NV, ROWS, first) for all rows first < count: first as many ROWS at a time as the registers
 * hold, then one by one. */
#define BY_ROWS(nv, count, CALL)                             \
    switch (nv) {                                            \
    case 1: ROWS_OF(1, 8, count, CALL) break;                \
    case 2: ROWS_OF(2, (FUSED_SUMS / 2), count, CALL) break; \
    case 3: ROWS_OF(3, (FUSED_SUMS / 4), count, CALL) break; \
    default: ROWS_OF(4, (FUSED_SUMS / 4), count, CALL)       \
    }
#define ROWS_OF(NV, ROWS, count, CALL)                                      \
    {                                                                       \
        nn_index first = 0;                                                 \
        for (; first + ROWS <= (count); first += ROWS) CALL(NV, ROWS, first); \
        for (; first < (count); first++) CALL(NV, 1, first);                \
    }

static NOINLINE void FN(fused_product)(nn_index vectors, nn_index n, nn_index m,
                                       const real *const *x, const real *w, const real *bias,
                                       real *out, nn_index out_stride) {
#define TILE(NV, ROWS, first) \
    FN(fused_tile)(NV, ROWS, m, x + first, w, bias, out + (first) * out_stride, out_stride)
    BY_ROWS(vectors, n, TILE)
#undef TILE
}

static NOINLINE void FN(fused_update_rows)(nn_index vectors, nn_index count, nn_index batch,
                                           const real *const *scalars, const real *from,
                                           nn_index from_stride, real *w, real eta) {
#define TILE(NV, ROWS, first) \
    FN(fused_update_tile)(NV, ROWS, batch, scalars, first, from, from_stride, w, eta)
    BY_ROWS(vectors, count, TILE)
#undef TILE
}
#undef BY_ROWS
#undef ROWS_OF

/* rows[r] <- the address of sample first + r of x, or of sample_index[first + r] unless that is
 * NULL, for r < n. */
static NOINLINE void FN(fused_row_pointers)(nn_index n, nn_index first, const void *x,
                                            nn_index x_stride, const int64_t *sample_index,
                                            const real **rows) {
    for (nn_index r = 0; r < n; r++)
        rows[r] = (const real *)x + (sample_index ? sample_index[first + r] : first + r) * x_stride;
}

static void FN(fused_forward)(const nn_fused_batch *s) {
    const real *x[FUSED_SLICE];
    for (nn_index first = 0; first < s->batch; first += FUSED_SLICE) {
        const nn_index n = s->batch - first < FUSED_SLICE ? s->batch - first : FUSED_SLICE;
        FN(fused_row_pointers)(n, first, s->x, s->x_stride, s->sample_index, x);
        for (nn_index l = 0; l < s->n_layers; l++) {
            const nn_fused_layer *layer = &s->layers[l];
            real *z = (real *)layer->rows_z + first * layer->row_stride;
            FN(fused_product)(layer->vectors, n, layer->m, x, layer->w, layer->b, z,
                              layer->row_stride);
            FN(fused_activate)(layer, z, (real *)layer->rows_a + first * layer->row_stride, n,
                               layer->row_stride);
            FN(fused_row_pointers)(n, first, layer->rows_a, layer->row_stride, NULL, x);
        }
    }
}

/* Samples first .. first + n - 1: dz of the layer before `layer`. */
static INLINE void FN(fused_backward_slice)(const nn_fused_layer *layer, nn_index first,
                                            nn_index n) {
    const nn_fused_layer *before = layer - 1;
    const real *dz[FUSED_SLICE];
    real *da = (real *)before->rows_dz + first * before->row_stride;
    FN(fused_row_pointers)(n, first, layer->rows_dz, layer->row_stride, NULL, dz);
    FN(fused_product)(before->vectors, n, layer->n, dz, layer->wt, NULL, da, before->row_stride);
    FN(fused_derive)(before, (const real *)before->rows_z + first * before->row_stride, da, n,
                     before->row_stride);
}

/* wt <- the transpose of w */
static NOINLINE void FN(fused_turn)(const nn_fused_layer *layer) {
    const nn_index m = layer->m, n = layer->n, w_stride = layer->vectors * LANES,
                   wt_stride = layer[-1].vectors * LANES;
    for (nn_index i = 0; i < m; i += LANES) {
        const real *w = (const real *)layer->w + i * w_stride;
        real *wt = (real *)layer->wt + i;
        for (nn_index j = 0; j < n; j += LANES, wt += LANES * wt_stride) {
            V v[LANES];
            UNROLLED_FOR(r, LANES) v[r] = i + r < m ? FN(load)(w + r * w_stride + j) : (V){0};
            FN(transpose_square)(v);
            UNROLLED_FOR(c, LANES) if (j + c < n) FN(store)(wt + c * wt_stride, v[c]);
        }
    }
}

/* W of layer l, and its transpose if `both`, <- after the step along the gradients of samples
 * first .. first + n - 1. */
static INLINE void FN(fused_update_slice)(const nn_fused_batch *s, nn_index l, nn_index first,
                                          nn_index n, int both) {
    const nn_fused_layer *layer = &s->layers[l], *before = layer - 1;
    const real *rows[FUSED_SLICE], eta = (real)s->eta;
    const nn_index stride = layer->row_stride;
    const real *dz = (const real *)layer->rows_dz + first * stride;
    if (l == 0) FN(fused_row_pointers)(n, first, s->x, s->x_stride, s->sample_index, rows);
    else FN(fused_row_pointers)(n, first, before->rows_a, before->row_stride, NULL, rows);
    FN(fused_update_rows)(layer->vectors, layer->m, n, rows, dz, stride, layer->w, eta);
    if (both) {
        const real *a = (const real *)before->rows_a + first * before->row_stride;
        FN(fused_row_pointers)(n, first, layer->rows_dz, stride, NULL, rows);
        FN(fused_update_rows)(before->vectors, layer->n, n, rows, a, before->row_stride, layer->wt,
                              eta);
    }
}

static INLINE void FN(fused_update_bias)(const nn_fused_batch *s, const nn_fused_layer *layer) {
    const real *dz = layer->rows_dz, eta = (real)s->eta;
    for (nn_index v = 0; v < layer->vectors; v++) {
        real *b = (real *)layer->b + v * LANES;
        SUM_OVER_ROWS(sum, s->batch, FN(load)(dz + r * layer->row_stride + v * LANES))
        FN(store)(b, FN(load)(b) - sum * eta);
    }
}

/* All gradients are taken before any weight changes. */
static void FN(fused_update)(const nn_fused_batch *s) {
    for (nn_index l = s->n_layers - 1; l > 0; l--)
        for (nn_index first = 0; first < s->batch; first += FUSED_SLICE) {
            const nn_index n = s->batch - first < FUSED_SLICE ? s->batch - first : FUSED_SLICE;
            FN(fused_backward_slice)(&s->layers[l], first, n);
        }
    for (nn_index l = 0; l < s->n_layers; l++) {
        const int turns = l > 0 && s->batch >= FUSED_TURN_BATCH;
        for (nn_index first = 0; first < s->batch; first += FUSED_SLICE) {
            const nn_index n = s->batch - first < FUSED_SLICE ? s->batch - first : FUSED_SLICE;
            FN(fused_update_slice)(s, l, first, n, l > 0 && !turns);
        }
        if (turns) FN(fused_turn)(&s->layers[l]);
        FN(fused_update_bias)(s, &s->layers[l]);
    }
}
