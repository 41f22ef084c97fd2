/* The first layer in blocks of LOOKAHEAD_STEPS consecutive steps at batch size 1 that share one
 * pass over W: the special path "lookahead-sgd" of the engine, for first layers that are large
 * compared with the L1 cache.
 *
 * With W and b from before the block and s_k = eta_k dL/dz_k, step k of the block needs
 *     z_k = W_k' x_k + b_k = (W' x_k + b) - sum over j < k of (x_j . x_k + 1) s_j.
 * The products with W are taken for all samples of the block in one pass, the products of the
 * samples with each other (their Gram matrix) need no W, and the s_j follow one after the other:
 * the algorithm is the sequential one with other rounding. The block's updates W <- W - x_k s_k
 * wait for the next block's pass, so that each block reads and writes W once.
 *
 * Deleting this file, its lines in kernels.h and table.h and engine/lookahead.pxi with its row of
 * STEPPERS leaves the general path, with the same results to rounding. */

/* nv vectors of rows `from` to `to` of the m rows of W: the updates of a block, in its order, then
 * the products with the next, whose sums are in z between calls. old, next: (m, LOOKAHEAD_STEPS);
 * steps, z: (LOOKAHEAD_STEPS, n). */
static INLINE void FN(lookahead_strip)(const int nv, const int whole, const int updates,
                                       const int forwards, nn_index part, nn_index from,
                                       nn_index to, nn_index m, nn_index n, real *w,
                                       nn_index w_stride, const real *old, const real *steps,
                                       const real *next, const real *bias, real *z) {
    V sum[LOOKAHEAD_STEPS][LOOKAHEAD_VECTORS];
#define EACH UNROLLED_FOR(k, LOOKAHEAD_STEPS) UNROLLED_FOR(v, nv)
    EACH sum[k][v] = (V){0};
    if (forwards && from) EACH sum[k][v] = LOAD(z + k * n, v);
    w += from * w_stride;
    for (nn_index i = from; i < to; i++, w += w_stride) {
        V row[LOOKAHEAD_VECTORS];
        UNROLLED_FOR(v, nv) __builtin_prefetch(w + (2 * nv + v) * LANES, 1);
        UNROLLED_FOR(v, nv) row[v] = LOAD(w, v);
        if (updates) {
            EACH row[v] -= LOAD(steps + k * n, v) * old[i * LOOKAHEAD_STEPS + k];
            UNROLLED_FOR(v, nv) STORE(w, v, row[v]);
        }
        if (forwards) EACH sum[k][v] += row[v] * next[i * LOOKAHEAD_STEPS + k];
    }
    if (forwards && to == m) EACH sum[k][v] += LOAD(bias, v);
    if (forwards) EACH STORE(z + k * n, v, sum[k][v]);
#undef EACH
}

static INLINE void FN(lookahead_strips)(const int updates, const int forwards, nn_index m,
                                        nn_index n, real *w, nn_index w_stride, const real *old,
                                        const real *steps, const real *next, const real *bias,
                                        real *z) {
    const nn_index cached = m * n * sizeof(real) <= LOOKAHEAD_CACHED;
    const nn_index same_sets = w_stride * sizeof(real) % LOOKAHEAD_SETS == 0;
    const nn_index rows = cached ? m : same_sets ? LOOKAHEAD_ROWS / 4 : LOOKAHEAD_ROWS;
#define STRIP(nv, whole, part)                                                             \
    FN(lookahead_strip)(nv, whole, updates, forwards, part, from, to, m, n, w + j,         \
                        w_stride, old, steps + j, next, bias + j, z + j)
    for (nn_index from = 0, to, j; from < m; from = to) {
        to = m - from < rows ? m : from + rows;
        j = 0;
        for (; j + LOOKAHEAD_VECTORS * LANES <= n; j += LOOKAHEAD_VECTORS * LANES)
            STRIP(LOOKAHEAD_VECTORS, 1, LANES);
        for (; j + LANES <= n; j += LANES) STRIP(1, 1, LANES);
        if (j < n) STRIP(1, 0, n - j);
    }
#undef STRIP
}

static void FN(lookahead_pass)(nn_index m, nn_index n, void *w, nn_index w_stride, const void *old,
                               const void *steps, const void *next, const void *bias, void *z) {
    if (old && next) FN(lookahead_strips)(1, 1, m, n, w, w_stride, old, steps, next, bias, z);
    else if (next) FN(lookahead_strips)(0, 1, m, n, w, w_stride, NULL, bias, next, bias, z);
    else FN(lookahead_strips)(1, 0, m, n, w, w_stride, old, steps, NULL, bias, z);
}

#undef GRAM_ROWS
#if N_VECTOR_REGISTERS >= 32
#define GRAM_ROWS 4
#else
#define GRAM_ROWS 2
#endif

/* GRAM_ROWS rows and four columns of the Gram matrix: the products of the samples a[0], a[1], ...
 * with b[0 .. 3] or, if first < 4, of b[first], b[first + 1], ... with those before them. */
static INLINE void FN(gram_tile)(const int first, nn_index m, const real *const *a,
                                 const real *const *b, real *out) {
    V sum[GRAM_ROWS][4];
    UNROLLED_FOR(r, GRAM_ROWS)
        UNROLLED_FOR(c, 4) sum[r][c] = (V){0};
    nn_index i = 0;
#define TERMS(LOAD_X)                                                              \
    do {                                                                           \
        V x[4];                                                                    \
        UNROLLED_FOR(c, 4) x[c] = LOAD_X(b[c] + i);                         \
        UNROLLED_FOR(r, GRAM_ROWS) {                                      \
            V ar = first < 4 ? x[(first + r) & 3] : LOAD_X(a[r] + i);                \
            UNROLLED_FOR(c, 4) if (c < first + r) sum[r][c] += ar * x[c]; \
        }                                                                          \
    } while (0)
    for (; i + LANES <= m; i += LANES) TERMS(FN(load));
#define PART_OF(at) FN(load_part)(at, m - i)
    if (i < m) TERMS(PART_OF);
#undef PART_OF
#undef TERMS
    for (int r = 0; r < GRAM_ROWS; r++) {
        real products[4];
        FN(four_sums)(sum[r][0], sum[r][1], sum[r][2], sum[r][3], products);
        for (int c = 0; c < 4; c++)
            if (c < first + r) out[r * LOOKAHEAD_STEPS + c] = -1 - products[c];
    }
}

/* out[k][j] <- -(x_j . x_k + 1) for j < k of a block's samples. Returns 1 if all are finite. */
static int FN(lookahead_gram)(nn_index m, const void *const *x_, void *out_) {
    const real *x[LOOKAHEAD_STEPS];
    real *out = out_, bad = 0;
    for (int k = 0; k < LOOKAHEAD_STEPS; k++) x[k] = x_[k];
    for (int k = 0; k < LOOKAHEAD_STEPS; k += 4) {
        for (int r = 0; r < 4; r += GRAM_ROWS)
            for (int j = 0; j < k; j += 4)
                FN(gram_tile)(4, m, x + k + r, x + j, out + (k + r) * LOOKAHEAD_STEPS + j);
        FN(gram_tile)(0, m, NULL, x + k, out + k * LOOKAHEAD_STEPS + k);
#if GRAM_ROWS == 2
        FN(gram_tile)(2, m, NULL, x + k, out + (k + 2) * LOOKAHEAD_STEPS + k);
#endif
    }
    for (int k = 1; k < LOOKAHEAD_STEPS; k++)
        for (int j = 0; j < k; j++) bad += out[k * LOOKAHEAD_STEPS + j] * 0;
    return bad == 0;
}

/* out (m, LOOKAHEAD_STEPS) <- the samples as columns. */
static void FN(lookahead_columns)(nn_index m, const void *const *x_, void *out_) {
    const real *x[LOOKAHEAD_STEPS];
    real *out = out_;
    V v[LOOKAHEAD_STEPS];
    nn_index i = 0;
    for (int k = 0; k < LOOKAHEAD_STEPS; k++) x[k] = x_[k];
    for (; i + LANES <= m; i += LANES) {
        UNROLLED_FOR(k, LOOKAHEAD_STEPS) v[k] = FN(load)(x[k] + i);
        FN(interleave)(LOOKAHEAD_STEPS, LOOKAHEAD_STEPS, v);
        UNROLLED_FOR(k, LOOKAHEAD_STEPS)
            FN(store)(out + i * LOOKAHEAD_STEPS + k * LANES, v[k]);
    }
    for (; i < m; i++)
        for (int k = 0; k < LOOKAHEAD_STEPS; k++) out[i * LOOKAHEAD_STEPS + k] = x[k][i];
}
