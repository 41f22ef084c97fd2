/* Networks of layers narrower than a vector, in batches, with vectors along the samples: the special
 * paths "column-minibatch" and "column-blocks" of the engine.
 *
 * Along 2 outputs a vector is mostly padding. Here COLUMN_SLICE samples at a time become columns, as
 * in the notes: activations are (n, padded) with padded samples, whole vectors, zeros beyond the
 * slice in dL/dz. Weights are broadcast. A gradient is summed over a slice in registers, over slices
 * in memory.
 *
 * Deleting this file, its lines in kernels.h and table.h and engine/columns.pxi with its rows of
 * STEPPERS leaves the general paths, with the same results to rounding. */

#if N_VECTOR_REGISTERS >= 32
enum { FN(column_vectors) = 4, FN(gradient_rows) = 4 };
#else
enum { FN(column_vectors) = 2, FN(gradient_rows) = 2 };
#endif

#define ROW(i) (x + (index ? index[i] : (i)) * x_stride)
static INLINE void FN(load_few)(const int m, nn_index count, nn_index padded, const real *x,
                                nn_index x_stride, const int64_t *index, real *to) {
    for (nn_index i = 0; i < count; i++) {
        const real *row = ROW(i);
        UNROLLED_FOR(k, m) to[k * padded + i] = row[k];
    }
    for (nn_index i = count; i < padded; i++) UNROLLED_FOR(k, m) to[k * padded + i] = 0;
}

/* to (m, padded) <- rows index[0 .. count - 1] of x, or its first rows if index is NULL, as columns */
static void FN(load_columns)(nn_index m, nn_index count, nn_index padded, const void *x_,
                             nn_index x_stride, const int64_t *index, void *to_) {
    const real *x = x_;
    real *to = to_;
    switch (m) {
    case 1: FN(load_few)(1, count, padded, x, x_stride, index, to); return;
    case 2: FN(load_few)(2, count, padded, x, x_stride, index, to); return;
    case 3: FN(load_few)(3, count, padded, x, x_stride, index, to); return;
    case 4: FN(load_few)(4, count, padded, x, x_stride, index, to); return;
    }
    for (nn_index i = 0; i < padded; i += LANES) {
        const nn_index part = count - i < LANES ? count - i : LANES;
        for (nn_index k = 0; k < m; k += LANES) {
            const nn_index rows = m - k < LANES ? m - k : LANES;
            V v[LANES];
            UNROLLED_FOR(r, LANES)
                v[r] = FN(load_part)(r < part ? ROW(i + r) + k : x, r < part ? rows : 0);
            FN(transpose_square)(v);
            UNROLLED_FOR(r, LANES) if (r < rows) FN(store)(to + (k + r) * padded + i, v[r]);
        }
    }
}
#undef ROW

/* out[o] = bias[o] + sum over k < terms of w[o w_out + k w_in] in[k], for `outputs` rows o of nv
 * vectors */
static INLINE void FN(column_tile)(const int outputs, const int nv, nn_index terms,
                                   nn_index padded, const real *in, const real *w,
                                   nn_index w_out, nn_index w_in, const real *bias, real *out) {
    V sum[4][4];
#define EACH UNROLLED_FOR(o, outputs) UNROLLED_FOR(v, nv)
    EACH sum[o][v] = bias ? FN(set)(bias[o]) : (V){0};
    for (nn_index k = 0; k < terms; k++) {
        V x[4];
        UNROLLED_FOR(v, nv) x[v] = FN(load)(in + k * padded + v * LANES);
        UNROLLED_FOR(o, outputs) {
            const V s = FN(set)(w[o * w_out + k * w_in]);
            UNROLLED_FOR(v, nv) sum[o][v] += x[v] * s;
        }
    }
    EACH FN(store)(out + o * padded + v * LANES, sum[o][v]);
#undef EACH
}

static NOINLINE void FN(column_product)(nn_index outputs, nn_index terms, nn_index padded,
                                        const real *in, const real *w, nn_index w_out,
                                        nn_index w_in, const real *bias, real *out) {
    nn_index i = 0;
#define TILES(nv)                                                                              \
    {                                                                                          \
        nn_index o = 0;                                                                        \
        for (; o + 4 <= outputs; o += 4) TILE(4, nv);                                          \
        for (; o < outputs; o++) TILE(1, nv);                                                  \
    }
#define TILE(count, nv)                                                                        \
    FN(column_tile)(count, nv, terms, padded, in + i, w + o * w_out, w_out, w_in,              \
                    bias ? bias + o : NULL, out + o * padded + i)
    for (; i + FN(column_vectors) * LANES <= padded; i += FN(column_vectors) * LANES)
        TILES(FN(column_vectors))
    for (; i < padded; i += LANES) TILES(1)
#undef TILE
#undef TILES
}

/* to[i] <- the sum of the lanes of v[i], i < count */
static INLINE void FN(sums_of)(const int count, const V *v, real *to) {
    const V zero = {0};
    if (count == 1) {
        to[0] = FN(sum_all)(v[0])[0];
        return;
    }
    UNROLLED
    for (int i = 0; i < count; i += 4)
        FN(four_sums)(v[i], v[i + 1], i + 2 < count ? v[i + 2] : zero,
                      i + 3 < count ? v[i + 3] : zero, to + i);
}

/* g[i stride + j] += sum over the samples of a[i] dz[j], i < m, j < n */
static INLINE void FN(gradient_tile)(const int m, const int n, nn_index padded, const real *a,
                                     const real *dz, real *g, nn_index stride) {
    V sum[16];
    real total[16];
#define EACH UNROLLED_FOR(i, m) UNROLLED_FOR(j, n)
    EACH sum[i * n + j] = (V){0};
    for (nn_index s = 0; s < padded; s += LANES) {
        V d[4];
        UNROLLED_FOR(j, n) d[j] = FN(load)(dz + j * padded + s);
        UNROLLED_FOR(i, m) {
            const V x = FN(load)(a + i * padded + s);
            UNROLLED_FOR(j, n) sum[i * n + j] += x * d[j];
        }
    }
    FN(sums_of)(m * n, sum, total);
    EACH g[i * stride + j] += total[i * n + j];
#undef EACH
}

/* G (m, n) += a dz^T */
static NOINLINE void FN(column_gradient)(nn_index m, nn_index n, nn_index padded, const real *a,
                                         const real *dz, real *g, nn_index stride) {
    nn_index j = 0;
#define TILE(rows, columns)                                                                    \
    FN(gradient_tile)(rows, columns, padded, a + i * padded, dz + j * padded,                  \
                      g + i * stride + j, stride)
#define TILES(rows, columns)                                                                   \
    {                                                                                          \
        nn_index i = 0;                                                                        \
        for (; i + (rows) <= m; i += (rows)) TILE(rows, columns);                              \
        for (; i < m; i++) TILE(1, columns);                                                   \
    }
    for (; j + 4 <= n; j += 4) TILES(FN(gradient_rows), 4)
    switch (n - j) {
    case 1: TILES(4, 1) return;
    case 2: TILES(FN(gradient_rows), 2) return;
    case 3: TILES(FN(gradient_rows), 3) return;
    }
#undef TILES
#undef TILE
}

/* b += the sums of dz over the samples; lost: their rounding errors */
static INLINE void FN(bias_gradient)(nn_index n, nn_index padded, const real *dz, real *b,
                                     real *lost) {
    for (nn_index j = 0; j < n; j += 4) {
        const int count = n - j < 4 ? (int)(n - j) : 4;
        V sum[4] = {{0}};
        real total[4];
        for (nn_index i = 0; i < padded; i += LANES)
            UNROLLED_FOR(k, 4) if (k < count) sum[k] += FN(load)(dz + (j + k) * padded + i);
        FN(sums_of)(4, sum, total);
        for (int k = 0; k < count; k++) NN_TWO_SUM(real, b[j + k], lost[j + k], total[k]);
    }
}

/* z and a of all layers for `count` samples; of the last layer z alone. */
static void FN(columns_forward)(const nn_columns *s) {
    const real *x = s->x;
    for (nn_index l = 0; l < s->n_layers; l++) {
        const nn_column_layer *layer = &s->layers[l];
        FN(column_product)(layer->n, layer->m, s->padded, x, layer->w, 1, layer->w_stride,
                           layer->b, layer->z);
        if (l == s->n_layers - 1) break;
        FN(activation_forward)(layer->n * s->padded, layer->z, layer->a, layer->activation);
        x = layer->a;
    }
}

/* From dz of the last layer: dz of the others, and the gradients += those of these samples. */
static void FN(columns_backward)(const nn_columns *s) {
    const nn_index padded = s->padded;
    for (nn_index l = s->n_layers - 1; l >= 0; l--) {
        const nn_column_layer *layer = &s->layers[l], *before = layer - 1;
        const real *dz = layer->dz;
        FN(column_gradient)(layer->m, layer->n, padded, l ? before->a : s->x, dz,
                            layer->w_gradient, layer->w_stride);
        FN(bias_gradient)(layer->n, padded, dz, layer->b_gradient, layer->b_lost);
        if (l == 0) break;
        FN(column_product)(layer->m, layer->n, padded, dz, layer->w, layer->w_stride, 1, NULL,
                           before->dz);
        FN(activation_backward)(layer->m * padded, before->dz, before->z, before->dz,
                                before->activation);
    }
}
