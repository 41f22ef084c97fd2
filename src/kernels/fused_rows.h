/* Products and updates along the rows of one layer of a small network, for fused_steps.h: strips of
 * four vectors, then two, then one, in functions of their own. Sums run in chains, whose number
 * depends on the strip alone. */

/* Expands CALL(NV, v) for strips of NV vectors from vector v on that cover nv vectors. */
#define STRIPS(nv, CALL)                         \
    do {                                         \
        nn_index v = 0;                          \
        for (; v + 4 <= (nv); v += 4) CALL(4, v); \
        if (v + 2 <= (nv)) {                     \
            CALL(2, v);                          \
            v += 2;                              \
        }                                        \
        if (v < (nv)) CALL(1, v);                \
    } while (0)

/* If `updates`, w[k] -= x[k] step; then z += factor[k] w[k], for k < m, in one pass. */
static INLINE void FN(rows_strip)(const int nv, const int updates, nn_index m, real *w,
                                  nn_index stride, const real *x, const real *step,
                                  const real *factor, real *z) {
    const int chains = nv == 1 ? 4 : nv == 2 ? 2 : 1;
    V sum[4][4], steps[4];
    nn_index k = 0;
    UNROLLED_FOR(v, nv) {
        sum[0][v] = FN(load)(z + v * LANES);
        UNROLLED_FOR(c, chains - 1) sum[c + 1][v] = (V){0};
        if (updates) steps[v] = FN(load)(step + v * LANES);
    }
#define ROW(c, k)                                       \
    UNROLLED_FOR(v, nv) {                               \
        real *row = w + (k) * stride + v * LANES;       \
        V value = FN(load)(row);                        \
        if (updates) {                                  \
            value = value - steps[v] * x[k];            \
            FN(store)(row, value);                      \
        }                                               \
        sum[c][v] += value * factor[k];                 \
    }
    for (; k + chains <= m; k += chains)
        UNROLLED_FOR(c, chains) ROW(c, k + c)
    for (; k < m; k++) ROW(0, k)
#undef ROW
    UNROLLED_FOR(v, nv) {
        UNROLLED_FOR(c, chains - 1) sum[0][v] += sum[c + 1][v];
        FN(store)(z + v * LANES, sum[0][v]);
    }
}

/* z += x W, W (m, nv vectors) */
static NOINLINE void FN(rows_product)(nn_index nv, nn_index m, const real *w, const real *x,
                                      real *z) {
#define CALL(NV, v)                                                                            \
    FN(rows_strip)(NV, 0, m, (real *)w + (v) * LANES, nv * LANES, NULL, NULL, x, z + (v) * LANES)
    STRIPS(nv, CALL);
#undef CALL
}

/* W <- W - x step, then z += next W, in one pass over W */
static NOINLINE void FN(rows_update)(nn_index nv, nn_index m, real *w, const real *x,
                                     const real *step, const real *next, real *z) {
#define CALL(NV, v)                                                                       \
    FN(rows_strip)(NV, 1, m, w + (v) * LANES, nv * LANES, x, step + (v) * LANES, next,    \
                   z + (v) * LANES)
    STRIPS(nv, CALL);
#undef CALL
}

/* rows_product for the rows in index[0 .. count - 1]; if `listed`, x holds their factors alone. */
static INLINE void FN(some_rows_product)(const int listed, nn_index nv, nn_index count,
                                         const int32_t *index, const real *w, const real *x,
                                         real *z) {
#define TERM(c, i)                                                                   \
    UNROLLED_FOR(u, width) sum[c][u] += FN(load)(rows + (index[i] * nv + u) * LANES) * \
                                        x[listed ? (i) : index[i]]
#define CALL(NV, from)                                                             \
    do {                                                                           \
        enum { width = NV };                                                       \
        const int chains = listed && NV < 4 ? 4 : 2;                               \
        V sum[4][NV];                                                              \
        nn_index i = 0;                                                            \
        const real *rows = w + (from) * LANES;                                     \
        UNROLLED_FOR(u, NV) {                                                      \
            sum[0][u] = FN(load)(z + ((from) + u) * LANES);                        \
            UNROLLED_FOR(c, chains - 1) sum[c + 1][u] = (V){0};                    \
        }                                                                          \
        for (; i + chains <= count; i += chains) UNROLLED_FOR(c, chains) TERM(c, i + c); \
        for (; i < count; i++) TERM(0, i);                                         \
        UNROLLED_FOR(u, NV) {                                                      \
            UNROLLED_FOR(c, chains - 1) sum[0][u] += sum[c + 1][u];                \
            FN(store)(z + ((from) + u) * LANES, sum[0][u]);                        \
        }                                                                          \
    } while (0)
    STRIPS(nv, CALL);
#undef CALL
#undef TERM
}

/* W <- W - x step in these rows */
static INLINE void FN(some_rows_update)(const int listed, nn_index nv, nn_index count,
                                        const int32_t *index, real *w, const real *x,
                                        const real *step) {
    for (nn_index v = 0; v < nv; v++) {
        const V steps = FN(load)(step + v * LANES);
        for (nn_index i = 0; i < count; i++) {
            real *row = w + (index[i] * nv + v) * LANES;
            FN(store)(row, FN(load)(row) - steps * x[listed ? i : index[i]]);
        }
    }
}

#define SOME_ROWS(name, listed)                                                                  \
    static NOINLINE void FN(name##_product)(nn_index nv, nn_index count, const int32_t *index,  \
                                            const real *w, const real *x, real *z) {            \
        FN(some_rows_product)(listed, nv, count, index, w, x, z);                               \
    }                                                                                           \
    static NOINLINE void FN(name##_update)(nn_index nv, nn_index count, const int32_t *index,   \
                                           real *w, const real *x, const real *step) {          \
        FN(some_rows_update)(listed, nv, count, index, w, x, step);                             \
    }
SOME_ROWS(indexed, 0)
SOME_ROWS(listed, 1)
#undef SOME_ROWS

/* z (n) <- b + W^T a, wt (n, mv vectors) */
static NOINLINE void FN(dot_rows)(nn_index mv, nn_index n, const real *wt, const real *a,
                                  const real *b, real *z) {
    nn_index j = 0;
    for (; j + 4 <= n; j += 4, wt += 4 * mv * LANES) {
        V sum[4] = {{0}, {0}, {0}, {0}};
        for (nn_index v = 0; v < mv; v++) {
            const V av = FN(load)(a + v * LANES);
            UNROLLED_FOR(r, 4) sum[r] += FN(load)(wt + (r * mv + v) * LANES) * av;
        }
        FN(four_sums)(sum[0], sum[1], sum[2], sum[3], z + j);
    }
    for (; j < n; j++, wt += mv * LANES) {
        V sum = {0};
        for (nn_index v = 0; v < mv; v++) sum += FN(load)(wt + v * LANES) * FN(load)(a + v * LANES);
        z[j] = FN(sum_all)(sum)[0];
    }
    for (j = 0; j < n; j += LANES) FN(store)(z + j, FN(load)(z + j) + FN(load)(b + j));
}

/* back <- W dz, then W <- W - a step, in one pass over wt (n, mv vectors) */
static INLINE void FN(back_strip)(const int nv, nn_index n, real *wt, nn_index stride,
                                  const real *dz, const real *step, const real *a, real *back) {
    const int chains = nv == 4 ? 1 : 2;
    V sum[2][4], inputs[4];
    nn_index j = 0;
    UNROLLED_FOR(v, nv) {
        sum[0][v] = sum[1][v] = (V){0};
        inputs[v] = FN(load)(a + v * LANES);
    }
#define ROW(c, j)                                        \
    UNROLLED_FOR(v, nv) {                                \
        real *row = wt + (j) * stride + v * LANES;       \
        const V old = FN(load)(row);                     \
        sum[c][v] += old * dz[j];                        \
        FN(store)(row, old - inputs[v] * step[j]);       \
    }
    for (; j + chains <= n; j += chains)
        UNROLLED_FOR(c, chains) ROW(c, j + c)
    for (; j < n; j++) ROW(0, j)
#undef ROW
    UNROLLED_FOR(v, nv) FN(store)(back + v * LANES, sum[0][v] + sum[1][v]);
}

static NOINLINE void FN(back_update)(nn_index mv, nn_index n, real *wt, const real *dz,
                                     const real *step, const real *a, real *back) {
#define CALL(NV, v)                                                                        \
    FN(back_strip)(NV, n, wt + (v) * LANES, mv * LANES, dz, step, a + (v) * LANES,         \
                   back + (v) * LANES)
    STRIPS(mv, CALL);
#undef CALL
}
#undef STRIPS

/* a <- f(z) for n samples of a layer, rows of `stride`; z may be a. */
static NOINLINE void FN(fused_activate)(const nn_fused_layer *layer, const real *z, real *a,
                                        nn_index n, nn_index stride) {
    const real slope = (real)layer->activation.slope;
#define CASE(NAME, name, ...)                                                                 \
    case NN_##NAME:                                                                           \
        for (nn_index r = 0; r < n; r++, z += stride, a += stride)                            \
            for (nn_index v = 0; v < layer->vectors; v++)                                     \
                FN(store)(a + v * LANES, FN(name##_forward)(FN(load)(z + v * LANES), slope)); \
        break;
    switch (layer->activation.kind) {
    NN_ACTIVATIONS(CASE)
    default: /* none */
        for (nn_index r = 0; r < n && z != a; r++, z += stride, a += stride)
            memcpy(a, z, (size_t)layer->vectors * sizeof(V));
    }
#undef CASE
}

/* dz <- dz f'(u), u = a or z; lanes beyond the layer's outputs become 0. */
static NOINLINE void FN(fused_derive)(const nn_fused_layer *layer, const real *u, real *dz,
                                      nn_index n, nn_index stride) {
    for (nn_index r = 0; r < n; r++, u += stride, dz += stride)
        for (nn_index v = 0; v < layer->vectors; v++) {
            const nn_index left = layer->n - v * LANES;
            V d = FN(derivative)(FN(load)(dz + v * LANES), FN(load)(u + v * LANES),
                                 layer->activation.kind, (real)layer->activation.slope);
            FN(store)(dz + v * LANES, (V)((I)d & FN(first)(left < LANES ? left : LANES)));
        }
}
